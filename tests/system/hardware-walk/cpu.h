/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef CPU_H
#define CPU_H

/*
 * The judge: the translation hardware of the (emulated) CPU, asked by address translation
 * instructions from EL2 or Hyp mode.
 */

#include <stdbool.h>
#include <stdint.h>

/* Who accesses how. */
enum cpu_access {
    CPU_PRIVILEGED_READ,
    CPU_PRIVILEGED_WRITE,
    CPU_UNPRIVILEGED_READ,
    CPU_UNPRIVILEGED_WRITE,
    CPU_ACCESSES,
};

static inline bool cpu_access_is_write(enum cpu_access access)
{
    return access == CPU_PRIVILEGED_WRITE || access == CPU_UNPRIVILEGED_WRITE;
}

static inline bool cpu_access_is_privileged(enum cpu_access access)
{
    return access == CPU_PRIVILEGED_READ || access == CPU_PRIVILEGED_WRITE;
}

/* Which stages translate. */
enum cpu_stages {
    CPU_STAGE1 = 1,
    CPU_STAGE2 = 2, /* stage 1 is off, and counts as Normal Write-Back, not shareable */
    CPU_BOTH_STAGES = 3,
};

/* Values of registers that define a translation regime; AArch32 names in brackets. */
struct cpu_regime {
    enum cpu_stages stages;
    bool is_aarch32;       /* of stage 1 */
    bool force_write_back; /* HCR_EL2.FWB */
    uint64_t tcr;          /* TCR_EL1 (TTBCR) */
    uint64_t ttbr0;
    uint64_t ttbr1;
    uint64_t mair; /* MAIR_EL1 (MAIR0, and MAIR1 in the upper half) */
    uint64_t vtcr; /* VTCR_EL2 (VTCR) */
    uint64_t vttbr;
    /*
     * AArch32, stage 2 alone: instructions take addresses of 32 bits, so stage 1 has to lead beyond
     * 4 GiB. It uses a table at this physical address, memory of the test, which stage 2 must map,
     * readable, at the intermediate address below. 0: stage 1 is off.
     */
    uint64_t window;
    uint64_t window_intermediate;
};

/* Programs the registers, and empties the TLB. */
void cpu_use(const struct cpu_regime *regime);

/* Makes the TLB forget everything of the regime. */
void cpu_invalidate(void);

/* Asks, and returns PAR_EL1 (PAR); with stage 2 alone, for an intermediate physical address. */
uint64_t cpu_translate(enum cpu_access access, uint64_t address);

/* The width of physical addresses that the CPU implements. */
unsigned int cpu_physical_bits(void);

/* How many times cpu_translate was called. */
extern uint64_t cpu_queries;

/*
 * The fields of PAR, which have the same places in both architectures. Arm ARM, PAR_EL1; for
 * AArch32, PAR in its 64-bit format.
 */
#define CPU_PAR_FAULT            1ull
#define CPU_PAR_STATUS_SHIFT     1
#define CPU_PAR_STATUS_MASK      (0x3full << CPU_PAR_STATUS_SHIFT)
#define CPU_PAR_TABLE_WALK       (1ull << 8)
#define CPU_PAR_STAGE2           (1ull << 9)
#define CPU_PAR_SHAREABILITY     7 /* shift */
#define CPU_PAR_ATTRIBUTES       56
#define CPU_PAR_PHYSICAL_MASK    0x000ffffffffff000ull
#define CPU_PAR_TRANSLATION_MASK (CPU_PAR_FAULT | 3ull << 7 | CPU_PAR_PHYSICAL_MASK | 0xffull << 56)
#define CPU_PAR_FAULT_MASK \
    (CPU_PAR_FAULT | CPU_PAR_STATUS_MASK | CPU_PAR_TABLE_WALK | CPU_PAR_STAGE2)

/* Fault status codes, to which the level is added. */
#define CPU_STATUS_ADDRESS_SIZE 0u
#define CPU_STATUS_TRANSLATION  4u
#define CPU_STATUS_ACCESS_FLAG  8u
#define CPU_STATUS_PERMISSION   12u
/* Level -1 has codes of its own. */
#define CPU_STATUS_ADDRESS_SIZE_MINUS_1 0x29u
#define CPU_STATUS_TRANSLATION_MINUS_1  0x2bu

/* What became of an attempt to execute. */
struct cpu_execution {
    bool executed;
    bool stage2;         /* if not: the fault came from stage 2 */
    unsigned int status; /* and this is its status */
};

/*
 * Goes to an address at EL1 or EL0, to execute the instruction there, which must be CPU_TRIAL. What
 * EL1 gets is sent on to EL2 by vectors that must be mapped, for execution by EL1, at the address
 * `vectors`: CPU_VECTOR at each of the offsets. AArch64 only.
 */
struct cpu_execution cpu_execute(uint64_t address, bool privileged, uint64_t vectors);

#define CPU_TRIAL           0xd4000001u /* svc #0 */
#define CPU_VECTOR          0xd4000002u /* hvc #0 */
#define CPU_VECTOR_FROM_EL1 0x200u      /* synchronous exception, own stack pointer */
#define CPU_VECTOR_FROM_EL0 0x400u

/* The text that follows -append, or the name of the image; at most `size` - 1 characters. */
void cpu_command_line(char *text, unsigned int size);

/* Ends the run. */
_Noreturn void cpu_exit(int status);

#endif
