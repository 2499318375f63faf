/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef CPU_H
#define CPU_H

/* The CPU as a guest has it: its registers, how it is entered and left, exceptions put into it. */

#include <stdbool.h>
#include <stdint.h>

/* What changes with each exception. vectors.S knows the layout. */
struct cpu_frame {
    uint64_t x[31];
    uint64_t pc;
    uint64_t pstate;
};

/*
 * The system registers that EL1 and EL0 can write, of Armv8.0 without floating point, debug and
 * performance monitors, which are trapped. Extensions that have a state of their own (pointer
 * authentication, SVE) are trapped as long as nobody opens them.
 */
#define CPU_SYSTEM_REGISTERS(REGISTER) \
    REGISTER(sctlr_el1)                \
    REGISTER(cpacr_el1)                \
    REGISTER(ttbr0_el1)                \
    REGISTER(ttbr1_el1)                \
    REGISTER(tcr_el1)                  \
    REGISTER(mair_el1)                 \
    REGISTER(amair_el1)                \
    REGISTER(contextidr_el1)           \
    REGISTER(vbar_el1)                 \
    REGISTER(elr_el1)                  \
    REGISTER(spsr_el1)                 \
    REGISTER(esr_el1)                  \
    REGISTER(far_el1)                  \
    REGISTER(afsr0_el1)                \
    REGISTER(afsr1_el1)                \
    REGISTER(par_el1)                  \
    REGISTER(sp_el0)                   \
    REGISTER(sp_el1)                   \
    REGISTER(tpidr_el0)                \
    REGISTER(tpidrro_el0)              \
    REGISTER(tpidr_el1)                \
    REGISTER(csselr_el1)               \
    REGISTER(cntkctl_el1)              \
    REGISTER(cntv_ctl_el0)             \
    REGISTER(cntv_cval_el0)

#define CPU_DECLARE(name) uint64_t name;
struct cpu_system {
    CPU_SYSTEM_REGISTERS(CPU_DECLARE)
};
#undef CPU_DECLARE

struct cpu {
    struct cpu_frame frame;
    struct cpu_system system;
};

/* Why a guest was left: the kind of vector. */
enum cpu_exit {
    CPU_EXIT_SYNCHRONOUS, /* an instruction of its own */
    CPU_EXIT_IRQ,
    CPU_EXIT_FIQ,
    CPU_EXIT_SERROR,
};

/* Makes EL2 ready for guests. */
void cpu_start(void);

/* As after a reset: at this address, with this in x0. */
void cpu_reset(struct cpu *cpu, uint64_t pc, uint64_t x0);

/* Runs a guest with these stage-2 tables until it is left. */
enum cpu_exit cpu_run(struct cpu *cpu, uint64_t vttbr, uint64_t vtcr);

/*
 * Puts an exception into a guest, as if EL1 had taken it: at its next instruction it is in its
 * handler. False: it is at the first instruction of that handler already, so that it would never
 * come out.
 */
bool cpu_inject(struct cpu *cpu, uint64_t esr, uint64_t far);

#endif
