/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* The generic timer's virtual counter. */

#include "internal.h"
#include "machine.h"

uint64_t machine_now(void)
{
    const uint64_t second = 1000000000;
    uint64_t frequency = READ_SYSREG(cntfrq_el0);
    uint64_t ticks;

    /* Without the ISB the counter may be read ahead of earlier instructions. */
    instruction_barrier();
    ticks = READ_SYSREG(cntvct_el0);
    /* ticks * second overflows after five minutes at 62.5 MHz; the rest of a second never does. */
    return ticks / frequency * second + ticks % frequency * second / frequency;
}

void machine_delay(uint64_t nanoseconds)
{
    uint64_t start = machine_now();

    while (machine_now() - start < nanoseconds) {
        __asm__ volatile("yield");
    }
}
