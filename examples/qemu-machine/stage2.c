/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Asks the CPU what a set of stage-2 tables does with an address, as a hypervisor at EL2 can: it
 * points the CPU's stage-2 translation at them for a moment and executes an address translation
 * instruction. The program itself runs at EL2, which stage 2 does not apply to.
 */

#include "internal.h"
#include "machine.h"

/* HCR_EL2: stage 2 on; stage 1 off and taken as Normal Write-Back; EL1 is AArch64. */
#define HCR_VM ((uint64_t)1 << 0)
#define HCR_DC ((uint64_t)1 << 12)
#define HCR_RW ((uint64_t)1 << 31)

/* Drops what the TLB holds of both stages for the VMID that VTTBR_EL2 names. */
static void invalidate_tlb(void)
{
    __asm__ volatile("tlbi vmalls12e1; dsb nsh; isb" ::: "memory");
}

int machine_stage2_translate(uint64_t vttbr, uint64_t vtcr, uint64_t address, bool write,
                             uint64_t *par)
{
    uint64_t old_hcr, old_vtcr, old_vttbr;

    if (machine_current_el() != 2) {
        return -1;
    }
    old_hcr = READ_SYSREG(hcr_el2);
    old_vtcr = READ_SYSREG(vtcr_el2);
    old_vttbr = READ_SYSREG(vttbr_el2);

    /* The tables are in memory before the walker may read them. */
    machine_barrier();
    WRITE_SYSREG(vtcr_el2, vtcr);
    WRITE_SYSREG(vttbr_el2, vttbr);
    instruction_barrier();
    WRITE_SYSREG(hcr_el2, HCR_VM | HCR_DC | HCR_RW);
    instruction_barrier();
    invalidate_tlb();

    if (write) {
        __asm__ volatile("at s12e1w, %0" ::"r"(address) : "memory");
    } else {
        __asm__ volatile("at s12e1r, %0" ::"r"(address) : "memory");
    }
    instruction_barrier(); /* PAR_EL1 is written by now */
    *par = READ_SYSREG(par_el1);

    invalidate_tlb();
    WRITE_SYSREG(hcr_el2, old_hcr);
    instruction_barrier();
    WRITE_SYSREG(vtcr_el2, old_vtcr);
    WRITE_SYSREG(vttbr_el2, old_vttbr);
    instruction_barrier();
    return 0;
}

/* Arm ARM, PAR_EL1: the two layouts are told apart by bit 0. */
struct machine_par machine_par_decode(uint64_t par, uint64_t address)
{
    struct machine_par result = {.fault = (par & 1) != 0};

    if (result.fault) {
        result.status = (unsigned int)(par >> 1) & 0x3f;
        result.table_walk = (par >> 8 & 1) != 0;
        result.stage2 = (par >> 9 & 1) != 0;
    } else {
        result.physical = (par & 0x000ffffffffff000) | (address & 0xfff);
        result.attributes = (unsigned int)(par >> 56) & 0xff;
        result.shareability = (unsigned int)(par >> 7) & 3;
    }
    return result;
}
