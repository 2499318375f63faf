/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "board.h"

#include "sysreg.h"

#include <piommu/error.h>

/* ---- What ends the run ---- */

void board_assertion_failed(const char *file, int line)
{
    machine_fail("an assertion of the kernel does not hold: %s, line %d", file, line);
}

void vApplicationStackOverflowHook(TaskHandle_t task, char *name)
{
    (void)task;
    machine_fail("the stack of task %s has overflown", name);
}

void board_check(void)
{
    if (machine_current_el() != 1) {
        machine_fail("the kernel's port was built for EL1 (leave out virtualization=on)");
    }
    if (machine_gic_version() != BOARD_GIC_VERSION) {
        machine_fail("the kernel's port is for GICv%u, the machine has GICv%u", BOARD_GIC_VERSION,
                     machine_gic_version());
    }
}

/* ---- Interrupts ---- */

/* Priorities are in the upper bits of a byte. */
#define PRIORITY(number) ((number) * (256u / configUNIQUE_INTERRUPT_PRIORITIES))
#define TICK_PRIORITY    PRIORITY(configUNIQUE_INTERRUPT_PRIORITIES - 2u)
/* It may interrupt the tick, and does not come while the kernel is in a critical section. */
#define HANDLER_PRIORITY PRIORITY(configMAX_API_CALL_INTERRUPT_PRIORITY + 2u)

#define INTID(acknowledged) ((acknowledged)&0x3ffu) /* GICv2 has the CPU above it */

/* The virtual timer is PPI 11 of every board that keeps to Arm's rules. */
#define TICK_INTID 27u

static struct {
    unsigned int intid; /* 0: nobody has it */
    void (*function)(void *cookie);
    void *cookie;
} handler;

void board_set_handler(unsigned int intid, void (*function)(void *cookie), void *cookie)
{
    handler.function = function;
    handler.cookie = cookie;
    handler.intid = intid;
    machine_interrupt_set_priority(intid, HANDLER_PRIORITY);
}

/* The port acknowledges the interrupt before, and ends it afterwards. */
void vApplicationIRQHandler(uint32_t acknowledged)
{
    unsigned int intid = INTID(acknowledged);

    if (intid == TICK_INTID) {
        FreeRTOS_Tick_Handler();
    } else if (intid == handler.intid && intid != 0) {
        handler.function(handler.cookie);
    }
    /* What a device was told is with it before the interrupt may come again. */
    machine_barrier();
}

/* ---- The tick ---- */

static uint64_t period;
static uint64_t next;

static void set_timer(void)
{
    WRITE_SYSREG(cntv_cval_el0, next);
    instruction_barrier();
}

void board_start_tick(void)
{
    period = READ_SYSREG(cntfrq_el0) / configTICK_RATE_HZ;
    next = READ_SYSREG(cntvct_el0) + period;
    set_timer();
    WRITE_SYSREG(cntv_ctl_el0, 1);
    machine_interrupt_set_priority(TICK_INTID, TICK_PRIORITY);
    machine_interrupt_enable(TICK_INTID, false);
}

/* The line of the timer goes down when its time is set anew. Late ticks are made up for. */
void board_clear_tick(void)
{
    next += period;
    set_timer();
}

/* ---- The port ---- */

#define GRANULES 64u

static _Alignas(
    PIOMMU_FREERTOS_GRANULE) unsigned char pool[(size_t)GRANULES * PIOMMU_FREERTOS_GRANULE];
static unsigned char taken[GRANULES];

static uint64_t board_nanoseconds(void *cookie)
{
    (void)cookie;
    return machine_now();
}

static uint32_t board_pci_read(void *cookie, struct piommu_pci_function function,
                               unsigned int offset, unsigned int width)
{
    (void)cookie;
    return machine_pci_read(function.bdf, offset, width);
}

static void board_pci_write(void *cookie, struct piommu_pci_function function, unsigned int offset,
                            unsigned int width, uint32_t value)
{
    (void)cookie;
    machine_pci_write(function.bdf, offset, width, value);
}

static int board_pci_bar(void *cookie, struct piommu_pci_function function, unsigned int number,
                         struct piommu_pci_bar *bar)
{
    (void)cookie;
    return machine_pci_bar(function.bdf, number, &bar->physical, &bar->size) == 0 ? 0
                                                                                  : -PIOMMU_ENODEV;
}

static void board_log(void *cookie, enum piommu_log_level level, const char *line)
{
    (void)cookie;
    (void)level;
    machine_printf("     piommu: %s\n", line);
}

void board_describe(struct piommu_freertos_board *board)
{
    /* All devices of this machine snoop, so rings are in the same memory. */
    const struct piommu_freertos_pool memory = {
        .memory = pool, .physical = machine_physical(pool), .granules = GRANULES, .taken = taken};

    *board = (struct piommu_freertos_board){
        .cached = memory,
        .uncached = memory,
        .nanoseconds = board_nanoseconds,
        .pci_read = board_pci_read,
        .pci_write = board_pci_write,
        .pci_bar = board_pci_bar,
        .log = board_log,
    };
}

unsigned int board_granules_taken(void)
{
    unsigned int count = 0;

    for (unsigned int i = 0; i < GRANULES; i++) {
        count += taken[i];
    }
    return count;
}
