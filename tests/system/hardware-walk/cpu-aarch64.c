/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* The judge on AArch64, at EL2. */

#include "cpu.h"

#include "internal.h" /* of the example: READ_SYSREG, WRITE_SYSREG */
#include "machine.h"

#include <stddef.h>

/* Arm ARM, HCR_EL2. */
#define HCR_VM  (1ull << 0)  /* stage 2 translates */
#define HCR_DC  (1ull << 12) /* stage 1 is off, and counts as Normal Write-Back */
#define HCR_RW  (1ull << 31) /* EL1 is AArch64 */
#define HCR_FWB (1ull << 46)

/* Arm ARM, SCTLR_EL1: bits that are one where later extensions gave them no other meaning. */
#define SCTLR_RES1         0x30d00800ull
#define SCTLR_RES1_AARCH32 0x00c50078ull
#define SCTLR_M            (1ull << 0)

uint64_t cpu_queries;

static bool has_stage2;

unsigned int cpu_physical_bits(void)
{
    return 52; /* of -cpu max; image_main checks it */
}

void cpu_invalidate(void)
{
    __asm__ volatile("dsb ish; tlbi vmalls12e1; dsb ish; isb" ::: "memory");
}

void cpu_use(const struct cpu_regime *regime)
{
    uint64_t hcr = regime->is_aarch32 ? 0 : HCR_RW;
    uint64_t sctlr = regime->is_aarch32 ? SCTLR_RES1_AARCH32 : SCTLR_RES1;

    has_stage2 = (regime->stages & CPU_STAGE2) != 0;
    if ((regime->stages & CPU_STAGE1) != 0) {
        sctlr |= SCTLR_M;
        WRITE_SYSREG(tcr_el1, regime->tcr);
        WRITE_SYSREG(mair_el1, regime->mair);
        WRITE_SYSREG(ttbr0_el1, regime->ttbr0);
        WRITE_SYSREG(ttbr1_el1, regime->ttbr1);
    } else {
        hcr |= HCR_DC;
    }
    if (has_stage2) {
        hcr |= HCR_VM;
        WRITE_SYSREG(vtcr_el2, regime->vtcr);
        WRITE_SYSREG(vttbr_el2, regime->vttbr);
    }
    if (regime->force_write_back) {
        hcr |= HCR_FWB;
    }
    WRITE_SYSREG(hcr_el2, hcr);
    instruction_barrier();
    WRITE_SYSREG(sctlr_el1, sctlr);
    instruction_barrier();
    cpu_invalidate();
}

#define TRANSLATE(instruction) \
    __asm__ volatile("at " #instruction ", %1; isb; mrs %0, par_el1" : "=r"(par) : "r"(address))

uint64_t cpu_translate(enum cpu_access access, uint64_t address)
{
    uint64_t par = 0;

    cpu_queries++;
    switch ((unsigned int)access + (has_stage2 ? (unsigned int)CPU_ACCESSES : 0)) {
    case CPU_PRIVILEGED_READ:
        TRANSLATE(s1e1r);
        break;
    case CPU_PRIVILEGED_WRITE:
        TRANSLATE(s1e1w);
        break;
    case CPU_UNPRIVILEGED_READ:
        TRANSLATE(s1e0r);
        break;
    case CPU_UNPRIVILEGED_WRITE:
        TRANSLATE(s1e0w);
        break;
    case CPU_ACCESSES + CPU_PRIVILEGED_READ:
        TRANSLATE(s12e1r);
        break;
    case CPU_ACCESSES + CPU_PRIVILEGED_WRITE:
        TRANSLATE(s12e1w);
        break;
    case CPU_ACCESSES + CPU_UNPRIVILEGED_READ:
        TRANSLATE(s12e0r);
        break;
    default:
        TRANSLATE(s12e0w);
        break;
    }
    return par;
}

/* boot-aarch64.S */
uint64_t cpu_visit(uint64_t address, uint64_t spsr);

/* Arm ARM, ESR_ELx.EC. */
#define CLASS_SHIFT                   26
#define CLASS_SVC                     0x15u
#define CLASS_HVC                     0x16u
#define CLASS_INSTRUCTION_ABORT_BELOW 0x20u
#define CLASS_INSTRUCTION_ABORT_SAME  0x21u
#define SYNDROME_STATUS               0x3fu

#define SPSR_MASKED 0x3c0u /* no interrupts */
#define SPSR_EL0    0x0u
#define SPSR_EL1    0x5u /* with its own stack pointer */

struct cpu_execution cpu_execute(uint64_t address, bool privileged, uint64_t vectors)
{
    struct cpu_execution result = {false, false, 0};
    uint64_t esr, class, esr_el1;

    WRITE_SYSREG(esr_el1, 0);
    WRITE_SYSREG(vbar_el1, vectors);
    instruction_barrier();
    esr = cpu_visit(address, SPSR_MASKED | (privileged ? SPSR_EL1 : SPSR_EL0));

    class = esr >> CLASS_SHIFT & 0x3f;
    if (class == CLASS_HVC) {
        /* By way of EL1, either as asked for or because of a fault of stage 1. */
        esr_el1 = READ_SYSREG(esr_el1);
        class = esr_el1 >> CLASS_SHIFT & 0x3f;
        if (class == CLASS_SVC) {
            result.executed = true;
            return result;
        }
        if (class == (privileged ? CLASS_INSTRUCTION_ABORT_SAME : CLASS_INSTRUCTION_ABORT_BELOW)) {
            result.status = (unsigned int)esr_el1 & SYNDROME_STATUS;
            return result;
        }
    } else if (class == CLASS_INSTRUCTION_ABORT_BELOW) {
        result.stage2 = true;
        result.status = (unsigned int)esr & SYNDROME_STATUS;
        return result;
    }
    machine_fail("executing at 0x%llx: ESR_EL2 0x%llx ELR_EL2 0x%llx ESR_EL1 0x%llx",
                 (unsigned long long)address, (unsigned long long)esr,
                 (unsigned long long)READ_SYSREG(elr_el2),
                 (unsigned long long)READ_SYSREG(esr_el1));
}

/* Of "Semihosting for AArch32 and AArch64". */
#define SYS_GET_CMDLINE              0x15
#define SYS_EXIT_EXTENDED            0x20
#define ADP_STOPPED_APPLICATION_EXIT 0x20026

static uint64_t semihosting(uint64_t number, void *parameters)
{
    register uint64_t operation __asm__("x0") = number;
    register void *block __asm__("x1") = parameters;

    __asm__ volatile("hlt #0xf000" : "+r"(operation) : "r"(block) : "memory");
    return operation;
}

void cpu_command_line(char *text, unsigned int size)
{
    uint64_t parameters[2] = {(uint64_t)(uintptr_t)text, size};

    text[0] = '\0';
    if (semihosting(SYS_GET_CMDLINE, parameters) != 0) {
        text[0] = '\0';
    }
}

void cpu_exit(int status)
{
    uint64_t parameters[2] = {ADP_STOPPED_APPLICATION_EXIT, (uint64_t)(status & 0xff)};

    for (;;) {
        (void)semihosting(SYS_EXIT_EXTENDED, parameters);
    }
}
