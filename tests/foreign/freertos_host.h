/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef FREERTOS_HOST_H
#define FREERTOS_HOST_H

/**
 * @file freertos_host.h
 * Stands in for the FreeRTOS kernel: does what tests/package/foreign-headers/freertos promises, and
 * ends the test when a caller breaks what is asked of him there. One thread: tasks are created and
 * never run; an interrupt is a call between freertos_host_enter_interrupt and _leave_interrupt.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <FreeRTOS.h>
#include <task.h>

/** Since freertos_host_start. */
struct freertos_host_counters {
    unsigned int allocations;
    unsigned int sections;           /**< critical sections in tasks, the outermost ones */
    unsigned int interrupt_sections; /**< and in interrupts, each */
    unsigned int delays;
    unsigned int yields;
    unsigned int notifications;
};

/** As it is when the scheduler has just been started; the tick count is 0. */
void freertos_host_start(void);
/** Fails the test if anything was taken and not given back, or some context not left. */
void freertos_host_assert_idle(void);
struct freertos_host_counters freertos_host_counters(void);

void freertos_host_enter_interrupt(void);
void freertos_host_leave_interrupt(void);
/** Called whenever interrupts are not masked any more: where one that was pending comes. */
void freertos_host_on_unmask(void (*callback)(void *ctx), void *ctx);
/** One of the taskSCHEDULER_ states. */
void freertos_host_set_scheduler(BaseType_t state);
void freertos_host_set_ticks(TickType_t ticks);
/** The kth allocation from now on (1: the next) finds no memory; 0: all do. */
void freertos_host_fail_allocation(unsigned int kth);
/** As above, for the creation of the next task. */
void freertos_host_fail_task(void);

#endif
