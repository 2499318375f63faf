/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* Page tables of the library, walked by the CPU's own stage-2 hardware. */

#include "demo.h"
#include "host.h"

/* Compares what the CPU's own stage-2 walk says of an address with what the library says. */
static bool walk_agrees(struct piommu_pgtable *table, uint64_t address, bool write)
{
    struct piommu_pgtable_info info;
    struct piommu_translation expected;
    struct machine_par par;
    uint64_t raw;
    int error = piommu_pgtable_lookup(table, address, &expected);
    bool allowed =
        error == 0 && (expected.prot & (write ? PIOMMU_PROT_WRITE : PIOMMU_PROT_READ)) != 0;

    piommu_pgtable_get_info(table, &info);
    must(machine_stage2_translate(info.registers.stage2.vttbr, piommu_pgtable_vtcr_el2(&info),
                                  address, write, &raw),
         "a stage-2 walk");
    par = machine_par_decode(raw, address);
    if (par.fault || !allowed) {
        return par.fault && !allowed;
    }
    return par.physical == expected.physical;
}

static unsigned int walks;
static unsigned int disagreements;

static void compare(struct piommu_pgtable *table, uint64_t address)
{
    for (unsigned int write = 0; write < 2; write++) {
        walks++;
        if (!walk_agrees(table, address, write != 0)) {
            disagreements++;
            machine_printf("     differ at 0x%llx, %s\n", (unsigned long long)address,
                           write != 0 ? "write" : "read");
        }
    }
}

void stage2(void)
{
    const uint64_t mib = 1024 * 1024;
    const uint64_t big = 3 * 1024 * mib; /* a gigabyte, a 2 MiB block and pages: all leaf sizes */
    const uint64_t big_size = 1024 * mib + 2 * mib + 3 * PAGE;
    struct piommu_pgtable_config config = {.format = PIOMMU_ARM_64_LPAE_S2,
                                           .granule = PAGE,
                                           .input_bits = 40,
                                           .output_bits = 40,
                                           .coherent_walk = true};
    struct piommu_pgtable *table;
    struct piommu_pgtable_info info;
    struct piommu_segment segments[PAGES];
    struct piommu_gather gather;
    uint8_t *pages[PAGES];
    uint64_t done;

    section("The same mappings in a stage-2 table, walked by the CPU's own hardware");
    if (machine_current_el() != 2) {
        machine_printf("     skipped: this run is at EL1, which has no stage 2 to use\n");
        return;
    }
    take_scattered(pages, PAGES);
    for (unsigned int i = 0; i < PAGES; i++) {
        segments[i].physical = machine_physical(pages[i]);
        segments[i].size = PAGE;
    }
    must(piommu_pgtable_create(host_shim(), &config, &table), "creating a stage-2 table");
    piommu_pgtable_get_info(table, &info);
    machine_printf("     VTTBR_EL2 0x%llx, VTCR_EL2 0x%llx: start level %u, root of %u bytes\n",
                   (unsigned long long)info.registers.stage2.vttbr,
                   (unsigned long long)piommu_pgtable_vtcr_el2(&info), info.start_level,
                   (unsigned int)info.root_size);
    must(piommu_pgtable_map_list(table, SOURCE_IOVA, segments, PAGES,
                                 PIOMMU_PROT_READ | PIOMMU_PROT_WRITE, &done),
         "mapping the list");
    must(piommu_pgtable_map(table, READ_ONLY_IOVA, machine_physical(pages[0]), PAGE,
                            PIOMMU_PROT_READ, &done),
         "mapping read-only");
    must(piommu_pgtable_map(table, big, big, big_size, PIOMMU_PROT_READ | PIOMMU_PROT_WRITE, &done),
         "mapping blocks");

    /* Every page around the list and the read-only page, holes included. */
    for (uint64_t address = SOURCE_IOVA - 16 * PAGE; address < SOURCE_IOVA + 32 * PAGE;
         address += PAGE) {
        compare(table, address);
        compare(table, address + PAGE - 1);
    }
    for (uint64_t address = READ_ONLY_IOVA - 2 * PAGE; address < READ_ONLY_IOVA + 3 * PAGE;
         address += PAGE) {
        compare(table, address);
    }
    check(disagreements == 0, "pages, read-only and holes: %u walks agree with lookup", walks);
    walks = 0;
    for (uint64_t address = big - 4 * mib; address < big + big_size + 4 * mib; address += mib / 2) {
        compare(table, address);
    }
    for (uint64_t address = big + 1026 * mib - 2 * PAGE; address < big + big_size + 2 * PAGE;
         address += PAGE) {
        compare(table, address);
    }
    compare(table, 0);
    compare(table, (1ull << 40) - 1);
    compare(table, 1ull << 40);
    check(disagreements == 0, "1 GiB and 2 MiB blocks, their edges, the ends: %u walks agree",
          walks);
    walks = 0;
    piommu_gather_init(&gather);
    must(piommu_pgtable_unmap(table, SOURCE_IOVA, PAGES * PAGE, &gather, &done), "unmapping");
    piommu_pgtable_detach_empty(table, &gather);
    piommu_pgtable_release(table, &gather);
    for (unsigned int i = 0; i < PAGES; i++) {
        compare(table, SOURCE_IOVA + i * PAGE);
    }
    check(disagreements == 0, "after unmap: %u walks fault as lookup says", walks);
    piommu_pgtable_destroy(table);
    give_pages(pages, PAGES);
}
