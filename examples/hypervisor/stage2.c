/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * A guest's stage-2 tables. Bits: Arm ARM, the pages of ID_AA64MMFR0_EL1 and VTTBR_EL2.
 */

#include "stage2.h"

#include "host.h"
#include "machine.h"
#include "sysreg.h"
#include "transcript.h"

/* More than the hypervisor's own MMU maps is of no use. */
#define OWN_BITS 40u

#define VTTBR_VMID_SHIFT 48

/* How many bits of physical address the CPU implements. */
static unsigned int cpu_physical_bits(void)
{
    static const uint8_t bits[] = {32, 36, 40, 42, 44, 48};
    uint64_t range = READ_SYSREG(id_aa64mmfr0_el1) & 0xf;

    /* With 52 bits (6) only what works with every granule. */
    return range < sizeof(bits) ? bits[range] : 48;
}

/* Granules that the CPU's stage 2 can have, as a sum. */
static uint64_t cpu_granules(void)
{
    uint64_t features = READ_SYSREG(id_aa64mmfr0_el1);
    uint64_t granules = 0;

    /* TGran4 and TGran64 are negative where there is none, TGran16 is 0. */
    if ((features >> 28 & 0x8) == 0) {
        granules |= 0x1000;
    }
    if ((features >> 20 & 0xf) != 0) {
        granules |= 0x4000;
    }
    if ((features >> 24 & 0x8) == 0) {
        granules |= 0x10000;
    }
    return granules;
}

static unsigned int width(uint64_t last)
{
    unsigned int bits = 0;

    while (bits < 64 && last >> bits != 0) {
        bits++;
    }
    return bits;
}

static unsigned int lower(unsigned int a, unsigned int b)
{
    return a < b ? a : b;
}

bool stage2_choose(const struct piommu_requirements *requirements, struct stage2_geometry *geometry)
{
    uint64_t iommu_granule = requirements->leaf_sizes & (0 - requirements->leaf_sizes);
    uint64_t granules = cpu_granules() & ~(iommu_granule - 1);
    unsigned int bits = lower(cpu_physical_bits(), OWN_BITS);

    /*
     * Guest memory is given and taken in pieces that both translate, so the granule is not below
     * the IOMMU's. Guests find no address that the IOMMU could not translate for their devices.
     */
    geometry->granule = (uint32_t)(granules & (0 - granules));
    geometry->input_bits = (uint8_t)lower(bits, width(requirements->aperture.last));
    geometry->output_bits = (uint8_t)bits;
    return granules != 0;
}

void stage2_create(struct stage2 *stage2, const struct stage2_geometry *geometry, uint8_t vmid)
{
    struct piommu_pgtable_config config = {.format = PIOMMU_ARM_64_LPAE_S2,
                                           .granule = geometry->granule,
                                           .input_bits = geometry->input_bits,
                                           .output_bits = geometry->output_bits,
                                           .coherent_walk = true};
    struct piommu_pgtable_info info;

    must(piommu_pgtable_create(host_shim(), &config, &stage2->table), "creating a stage-2 table");
    piommu_pgtable_get_info(stage2->table, &info);
    stage2->vttbr = info.registers.stage2.vttbr | (uint64_t)vmid << VTTBR_VMID_SHIFT;
    stage2->vtcr = piommu_pgtable_vtcr_el2(&info);
}

/* Drops what TLBs hold of both stages for this VMID; a busier hypervisor does it by address. */
static void invalidate(const struct stage2 *stage2)
{
    WRITE_SYSREG(vtcr_el2, stage2->vtcr);
    WRITE_SYSREG(vttbr_el2, stage2->vttbr);
    __asm__ volatile("isb; dsb ishst; tlbi vmalls12e1is; dsb ish; isb" ::: "memory");
}

void stage2_destroy(struct stage2 *stage2)
{
    invalidate(stage2);
    WRITE_SYSREG(vttbr_el2, 0);
    instruction_barrier();
    piommu_pgtable_destroy(stage2->table);
    stage2->table = NULL;
}

void stage2_map(struct stage2 *stage2, uint64_t ipa, uint64_t physical, uint64_t size,
                piommu_prot prot)
{
    uint64_t mapped;

    /* Nothing is invalidated: what was invalid is in no TLB. */
    must(piommu_pgtable_map(stage2->table, ipa, physical, size, prot, &mapped),
         "mapping at stage 2");
}

void stage2_unmap(struct stage2 *stage2, uint64_t ipa, uint64_t size)
{
    struct piommu_gather gather;
    uint64_t unmapped;

    piommu_gather_init(&gather);
    must(piommu_pgtable_unmap(stage2->table, ipa, size, &gather, &unmapped),
         "unmapping at stage 2");
    piommu_pgtable_detach_empty(stage2->table, &gather);
    if (!told("forget-tlbi")) {
        invalidate(stage2);
    }
    piommu_pgtable_release(stage2->table, &gather);
}
