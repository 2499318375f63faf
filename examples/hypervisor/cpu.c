/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The CPU as a guest has it. Bits: Arm ARM, the pages of HCR_EL2, CPTR_EL2, MDCR_EL2, CNTHCTL_EL2
 * and SPSR_EL2, and D1 "Exception vectors".
 */

#include "cpu.h"

#include <stddef.h>
#include <string.h>

#include "sysreg.h"

#define HCR_VM    ((uint64_t)1 << 0)  /* stage 2 */
#define HCR_SWIO  ((uint64_t)1 << 1)  /* a guest that invalidates by set and way cleans, too */
#define HCR_FMO   ((uint64_t)1 << 3)  /* FIQ, */
#define HCR_IMO   ((uint64_t)1 << 4)  /* IRQ, */
#define HCR_AMO   ((uint64_t)1 << 5)  /* and SError come to EL2 */
#define HCR_DC    ((uint64_t)1 << 12) /* stage 1 is off, and memory is cacheable all the same */
#define HCR_TWI   ((uint64_t)1 << 13) /* traps: WFI, */
#define HCR_TWE   ((uint64_t)1 << 14) /* WFE, */
#define HCR_TSC   ((uint64_t)1 << 19) /* SMC, */
#define HCR_TIDCP ((uint64_t)1 << 20) /* registers that the implementation defines, */
#define HCR_TACR  ((uint64_t)1 << 21) /* ACTLR_EL1, */
#define HCR_TSW   ((uint64_t)1 << 22) /* cache maintenance by set and way */
#define HCR_RW    ((uint64_t)1 << 31) /* EL1 is AArch64 */
#define HCR_GUEST                                                                             \
    (HCR_VM | HCR_SWIO | HCR_FMO | HCR_IMO | HCR_AMO | HCR_DC | HCR_TWI | HCR_TWE | HCR_TSC | \
     HCR_TIDCP | HCR_TACR | HCR_TSW | HCR_RW)

#define CPTR_TFP ((uint64_t)1 << 10) /* floating point and SIMD */
#define CPTR_TTA ((uint64_t)1 << 20) /* trace registers */

/* Performance monitors and debug. */
#define MDCR_TPMCR ((uint64_t)1 << 5)
#define MDCR_TPM   ((uint64_t)1 << 6)
#define MDCR_TDA   ((uint64_t)1 << 9)
#define MDCR_TDOSA ((uint64_t)1 << 10)
#define MDCR_TDRA  ((uint64_t)1 << 11)
#define MDCR_TRAPS (MDCR_TPMCR | MDCR_TPM | MDCR_TDA | MDCR_TDOSA | MDCR_TDRA)

#define CNTHCTL_EL1PCTEN ((uint64_t)1 << 0) /* guests may read the physical counter */

#define PSTATE_MODE_EL1T 0x4u
#define PSTATE_MODE_EL1H 0x5u
#define PSTATE_AARCH32   0x10u
#define PSTATE_MODES     0x1fu
#define PSTATE_MASKED    0x3c0u /* D, A, I, F */

/* The bits that are RES1 in Armv8.0; MMU and caches off. */
#define SCTLR_EL1_RESET 0x30d00800u

_Static_assert(offsetof(struct cpu_frame, pc) == 248, "vectors.S has another layout");

/* vectors.S */
extern char guest_vectors[];
enum cpu_exit guest_enter(struct cpu_frame *frame);

/* Whose system registers the CPU has, as they are in memory; NULL: nobody's. */
static const struct cpu *loaded;

void cpu_start(void)
{
    WRITE_SYSREG(vbar_el2, (uintptr_t)guest_vectors);
    WRITE_SYSREG(mdcr_el2, READ_SYSREG(mdcr_el2) | MDCR_TRAPS);
    WRITE_SYSREG(cnthctl_el2, CNTHCTL_EL1PCTEN);
    WRITE_SYSREG(vpidr_el2, READ_SYSREG(midr_el1));
    WRITE_SYSREG(vmpidr_el2, READ_SYSREG(mpidr_el1));
    /* For good: at EL2 none of it means anything, but that interrupts do not go to EL1. */
    WRITE_SYSREG(hcr_el2, HCR_GUEST);
    instruction_barrier();
}

void cpu_reset(struct cpu *cpu, uint64_t pc, uint64_t x0)
{
    loaded = NULL;
    memset(cpu, 0, sizeof(*cpu));
    cpu->frame.pc = pc;
    cpu->frame.x[0] = x0;
    cpu->frame.pstate = PSTATE_MASKED | PSTATE_MODE_EL1H;
    cpu->system.sctlr_el1 = SCTLR_EL1_RESET;
}

static void load_system(const struct cpu_system *system)
{
#define CPU_LOAD(name) WRITE_SYSREG(name, system->name);
    CPU_SYSTEM_REGISTERS(CPU_LOAD)
#undef CPU_LOAD
}

static void save_system(struct cpu_system *system)
{
#define CPU_SAVE(name) system->name = READ_SYSREG(name);
    CPU_SYSTEM_REGISTERS(CPU_SAVE)
#undef CPU_SAVE
}

enum cpu_exit cpu_run(struct cpu *cpu, uint64_t vttbr, uint64_t vtcr)
{
    uint64_t own_cptr = READ_SYSREG(cptr_el2);
    enum cpu_exit reason;

    if (loaded != cpu) {
        load_system(&cpu->system);
        loaded = cpu;
    }
    WRITE_SYSREG(vtcr_el2, vtcr);
    WRITE_SYSREG(vttbr_el2, vttbr);
    WRITE_SYSREG(cptr_el2, own_cptr | CPTR_TFP | CPTR_TTA);
    instruction_barrier();

    reason = guest_enter(&cpu->frame);

    WRITE_SYSREG(cptr_el2, own_cptr);
    instruction_barrier();
    save_system(&cpu->system);
    return reason;
}

/* The offset of the vector for a synchronous exception, by where it comes from. */
static uint64_t vector_offset(uint64_t pstate)
{
    if ((pstate & PSTATE_AARCH32) != 0) {
        return 0x600;
    }
    switch (pstate & PSTATE_MODES) {
    case PSTATE_MODE_EL1T:
        return 0x000;
    case PSTATE_MODE_EL1H:
        return 0x200;
    default: /* EL0 */
        return 0x400;
    }
}

bool cpu_inject(struct cpu *cpu, uint64_t esr, uint64_t far)
{
    struct cpu_frame *frame = &cpu->frame;
    uint64_t handler = cpu->system.vbar_el1 + vector_offset(frame->pstate);

    if (frame->pc == handler) {
        return false;
    }
    loaded = NULL;
    cpu->system.esr_el1 = esr;
    cpu->system.far_el1 = far;
    cpu->system.elr_el1 = frame->pc;
    cpu->system.spsr_el1 = frame->pstate;
    frame->pc = handler;
    frame->pstate = PSTATE_MASKED | PSTATE_MODE_EL1H;
    return true;
}
