/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* The judge on 32-bit Arm, in Hyp mode. */

#include "cpu.h"

#include "machine.h"

#include <stddef.h>

/* Registers of coprocessor 15, by their names in the Arm ARM. */
#define SCTLR "0, %0, c1, c0, 0"
#define TTBCR "0, %0, c2, c0, 2"
#define MAIR0 "0, %0, c10, c2, 0"
#define MAIR1 "0, %0, c10, c2, 1"
#define HCR   "4, %0, c1, c1, 0"
#define VTCR  "4, %0, c2, c1, 2"
#define TTBR0 "0, %Q0, %R0, c2"
#define TTBR1 "1, %Q0, %R0, c2"
#define VTTBR "6, %Q0, %R0, c2"

#define WRITE_32(name, value) __asm__ volatile("mcr p15, " name ::"r"((uint32_t)(value)) : "memory")
#define WRITE_64(name, value) \
    __asm__ volatile("mcrr p15, " name ::"r"((uint64_t)(value)) : "memory")

#define HCR_VM (1u << 0)
#define HCR_DC (1u << 12)

#define SCTLR_RES1 0x00c50078u
#define SCTLR_M    (1u << 0)

#define TTBCR_EAE (1u << 31)

uint64_t cpu_queries;

static bool has_stage2;
static volatile uint64_t *window;
static uint64_t window_base;

/* The window's block: Normal Write-Back, not shareable, for everybody. */
#define WINDOW_MASK 0x3fffffffull
#define WINDOW_LEAF (1ull << 10 | 1ull << 6 | 1ull)

unsigned int cpu_physical_bits(void)
{
    return 40; /* of a Cortex-A15 */
}

static void barrier(void)
{
    __asm__ volatile("dsb; isb" ::: "memory");
}

void cpu_invalidate(void)
{
    barrier();
    __asm__ volatile("mcr p15, 4, %0, c8, c7, 4" ::"r"(0) : "memory"); /* TLBIALLNSNH */
    barrier();
}

void cpu_use(const struct cpu_regime *regime)
{
    uint32_t hcr = 0;
    uint32_t sctlr = SCTLR_RES1;

    has_stage2 = (regime->stages & CPU_STAGE2) != 0;
    window = NULL;
    if ((regime->stages & CPU_STAGE1) != 0) {
        sctlr |= SCTLR_M;
        WRITE_32(TTBCR, regime->tcr);
        WRITE_32(MAIR0, regime->mair);
        WRITE_32(MAIR1, regime->mair >> 32);
        WRITE_64(TTBR0, regime->ttbr0);
        WRITE_64(TTBR1, regime->ttbr1);
    } else if (regime->window != 0) {
        window = (volatile uint64_t *)(uintptr_t)regime->window;
        window_base = 0;
        window[0] = WINDOW_LEAF;
        sctlr |= SCTLR_M;
        WRITE_32(TTBCR, TTBCR_EAE);
        WRITE_32(MAIR0, 0xff);
        WRITE_64(TTBR0, regime->window_intermediate);
    } else {
        hcr |= HCR_DC;
    }
    if (has_stage2) {
        hcr |= HCR_VM;
        WRITE_32(VTCR, regime->vtcr);
        WRITE_64(VTTBR, regime->vttbr);
    }
    WRITE_32(HCR, hcr);
    barrier();
    WRITE_32(SCTLR, sctlr);
    cpu_invalidate();
}

#define TRANSLATE(operation)                                                                  \
    __asm__ volatile("mcr p15, 0, %1, c7, c8, " #operation "; isb; mrrc p15, 0, %Q0, %R0, c7" \
                     : "=r"(par)                                                              \
                     : "r"(virtual))

uint64_t cpu_translate(enum cpu_access access, uint64_t address)
{
    uint32_t virtual = (uint32_t)address;
    uint64_t par = 0;

    cpu_queries++;
    if (window != NULL) {
        if (window_base != (address & ~WINDOW_MASK)) {
            window_base = address & ~WINDOW_MASK;
            window[0] = window_base | WINDOW_LEAF;
            cpu_invalidate();
        }
        virtual &= (uint32_t)WINDOW_MASK;
    }
    switch ((unsigned int)access + (has_stage2 ? (unsigned int)CPU_ACCESSES : 0)) {
    case CPU_PRIVILEGED_READ:
        TRANSLATE(0); /* ATS1CPR */
        break;
    case CPU_PRIVILEGED_WRITE:
        TRANSLATE(1);
        break;
    case CPU_UNPRIVILEGED_READ:
        TRANSLATE(2);
        break;
    case CPU_UNPRIVILEGED_WRITE:
        TRANSLATE(3);
        break;
    case CPU_ACCESSES + CPU_PRIVILEGED_READ:
        TRANSLATE(4); /* ATS12NSOPR */
        break;
    case CPU_ACCESSES + CPU_PRIVILEGED_WRITE:
        TRANSLATE(5);
        break;
    case CPU_ACCESSES + CPU_UNPRIVILEGED_READ:
        TRANSLATE(6);
        break;
    default:
        TRANSLATE(7);
        break;
    }
    return par;
}

/* boot-arm.S */
_Noreturn void cpu_exception(uint32_t syndrome, uint32_t link, uint32_t fault);

void cpu_exception(uint32_t syndrome, uint32_t link, uint32_t fault)
{
    machine_fail("exception: syndrome 0x%x, at 0x%x, address 0x%x", (unsigned int)syndrome,
                 (unsigned int)link, (unsigned int)fault);
}

/* Division by zero in libgcc ends here. */
int raise(int signal);

int raise(int signal)
{
    machine_fail("signal %d", signal);
}

/* Of "Semihosting for AArch32 and AArch64". */
#define SYS_GET_CMDLINE              0x15
#define SYS_EXIT_EXTENDED            0x20
#define ADP_STOPPED_APPLICATION_EXIT 0x20026

static uint32_t semihosting(uint32_t number, void *parameters)
{
    register uint32_t operation __asm__("r0") = number;
    register void *block __asm__("r1") = parameters;

    __asm__ volatile("svc 0x123456" : "+r"(operation) : "r"(block) : "memory");
    return operation;
}

void cpu_command_line(char *text, unsigned int size)
{
    uint32_t parameters[2] = {(uint32_t)(uintptr_t)text, size};

    text[0] = '\0';
    if (semihosting(SYS_GET_CMDLINE, parameters) != 0) {
        text[0] = '\0';
    }
}

void cpu_exit(int status)
{
    uint32_t parameters[2] = {ADP_STOPPED_APPLICATION_EXIT, (uint32_t)status & 0xff};

    for (;;) {
        (void)semihosting(SYS_EXIT_EXTENDED, parameters);
    }
}
