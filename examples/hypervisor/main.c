/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* A hypervisor with guests, and a device that they drive themselves: start and end. */

#include "hypervisor.h"
#include "judge.h"
#include "machine.h"
#include "transcript.h"

/* images.S */
extern const uint8_t image_a[], image_a_end[], image_b[], image_b_end[], image_c[], image_c_end[];

#define PAGES_A 6u
#define PAGES_B 5u /* fewer, so that A has an address that B has not */
#define PAGES_C 4u

static struct guest_config configs[GUESTS] = {
    {.name = "A",
     .domain_name = "guest A",
     .image = image_a,
     .image_end = image_a_end,
     .vmid = 1,
     .stray_dma = PIOMMU_FAULT_BLOCK},
    /* B is to try more than one thing. */
    {.name = "B",
     .domain_name = "guest B",
     .image = image_b,
     .image_end = image_b_end,
     .vmid = 2,
     .stray_dma = PIOMMU_FAULT_NOTE},
    /* C is told of its faults, and sees to them itself. */
    {.name = "C",
     .domain_name = "guest C",
     .image = image_c,
     .image_end = image_c_end,
     .vmid = 3,
     .stray_dma = PIOMMU_FAULT_NOTE},
};

static void ask(struct hypervisor *hypervisor)
{
    const struct piommu_requirements *requirements = &hypervisor->iommu.requirements;
    const struct stage2_geometry *geometry = &hypervisor->geometry;

    section("The IOMMU is asked before any guest is laid out");
    check(requirements->leaf_sizes != 0 && requirements->aperture.first <= GUEST_RAM,
          "it maps pieces of %llu bytes, at addresses 0x%llx..0x%llx",
          (unsigned long long)(requirements->leaf_sizes & (0 - requirements->leaf_sizes)),
          (unsigned long long)requirements->aperture.first,
          (unsigned long long)requirements->aperture.last);
    check(!requirements->tables && requirements->shared.formats == 0,
          "it takes requests, and cannot walk the CPU's tables: each guest gets a domain beside "
          "its stage 2");
    check(stage2_choose(requirements, &hypervisor->geometry) &&
              geometry->granule == GUEST_PAGE_SIZE,
          "so stage 2 has a granule of %u bytes, %u bits of address in and %u out",
          geometry->granule, geometry->input_bits, geometry->output_bits);
    check(machine_ram_base() + machine_ram_size() - 1 <=
              (1ull << (requirements->output_bits - 1) << 1) - 1,
          "all RAM can be given to devices: the IOMMU emits %u bits", requirements->output_bits);
}

/* The pages of all alternate, so that whatever runs over the end of one hits another guest. */
static void deal_pages(struct hypervisor *hypervisor)
{
    static const unsigned int counts[GUESTS] = {PAGES_A, PAGES_B, PAGES_C};

    for (unsigned int slot = 0; slot < PAGES_A; slot++) {
        for (unsigned int i = 0; i < GUESTS; i++) {
            uint8_t *page;

            if (slot < counts[i]) {
                page = machine_pages_alloc(GUEST_PAGE_SIZE, GUEST_PAGE_SIZE);
                must(page != NULL ? 0 : -PIOMMU_ENOMEM, "a page for a guest");
                guest_put_page(&hypervisor->guests[i], slot, page);
            }
        }
    }
    for (unsigned int i = 0; i < GUESTS; i++) {
        hypervisor->guests[i].cpu.frame.x[0] = counts[i];
    }
}

static void make_guests(struct hypervisor *hypervisor)
{
    bool all = true;

    section("Three guests, with the same addresses and different memory");
    for (unsigned int i = 0; i < GUESTS; i++) {
        configs[i].instance = hypervisor->iommu.instance;
        configs[i].geometry = &hypervisor->geometry;
        guest_create(&hypervisor->guests[i], &configs[i]);
        machine_printf("     guest %s: 0x%llx is physical 0x%llx, VTTBR_EL2 0x%llx, VTCR_EL2 "
                       "0x%llx\n",
                       hypervisor->guests[i].name, GUEST_RAM,
                       (unsigned long long)machine_physical(hypervisor->guests[i].ram),
                       (unsigned long long)hypervisor->guests[i].stage2.vttbr,
                       (unsigned long long)hypervisor->guests[i].stage2.vtcr);
    }
    deal_pages(hypervisor);
    viommu_create(&hypervisor->viommu, "guest C's own IOMMU", &hypervisor->guests[2],
                  &hypervisor->iommu.requirements);
    for (unsigned int i = 0; i < GUESTS; i++) {
        all = all && judge_views(&hypervisor->guests[i]);
    }
    check(all, "domain, stage-2 table and the CPU's own walk agree on each page, and around");
    check(judge_apart(hypervisor), "and nothing that one of them reaches is another's");
}

static void stop(struct hypervisor *hypervisor, size_t heap, size_t pages)
{
    section("The end: everything is given back");
    if (hypervisor->edu.owner != NULL) {
        passthrough_take(&hypervisor->edu);
    }
    passthrough_close(&hypervisor->edu);
    viommu_destroy(&hypervisor->viommu);
    for (unsigned int i = 0; i < GUESTS; i++) {
        guest_destroy(&hypervisor->guests[i]);
    }
    iommu_stop(&hypervisor->iommu);
    check(machine_heap_outstanding() == heap && machine_pages_outstanding() == pages,
          "%u bytes of heap and %u of pages are left",
          (unsigned int)(machine_heap_outstanding() - heap),
          (unsigned int)(machine_pages_outstanding() - pages));
}

int main(void)
{
    static struct hypervisor hypervisor;
    size_t heap = machine_heap_outstanding();
    size_t pages = machine_pages_outstanding();

    machine_printf("A hypervisor with piommu %s on QEMU virt, EL%u, %llu MiB of RAM\n",
                   piommu_version(), machine_current_el(),
                   (unsigned long long)(machine_ram_size() >> 20));
    if (machine_current_el() != 2) {
        machine_fail("guests need EL2: -M virt,virtualization=on");
    }
    cpu_start();
    iommu_start(&hypervisor.iommu);
    ask(&hypervisor);
    make_guests(&hypervisor);
    step_guests(&hypervisor);
    step_device(&hypervisor);
    step_stray_dma(&hypervisor);
    step_move(&hypervisor);
    step_foreign_dma(&hypervisor);
    step_balloon(&hypervisor);
    step_outside(&hypervisor);
    step_own_iommu(&hypervisor);
    step_foreign_mapping(&hypervisor);
    step_own_limits(&hypervisor);
    stop(&hypervisor, heap, pages);
    return summary();
}
