/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef ZEPHYR_HOST_H
#define ZEPHYR_HOST_H

/**
 * @file zephyr_host.h
 * Stands in for Zephyr: does what tests/package/foreign-headers/zephyr promises, and ends the test
 * when a caller breaks what is asked of him there. One thread; an interrupt is a call between
 * zephyr_host_enter_interrupt and _leave_interrupt. Registers, caches and barriers are a model's.
 */

#include <zephyr/drivers/pcie/pcie.h>
#include <zephyr/kernel.h>

#include <piommu/models/ipmmu-vmsa.h>

/** A tick is 100 microseconds. */
#define ZEPHYR_HOST_TICK_NANOSECONDS 100000u
/** Physical addresses of the image are where it is, modulo this, from ZEPHYR_HOST_MEMORY on. */
#define ZEPHYR_HOST_ALIGNMENT 0x100000u
#define ZEPHYR_HOST_MEMORY    0x80000000u

/** Since zephyr_host_start. */
struct zephyr_host_counters {
    unsigned int sleeps;
    unsigned int yields;
    unsigned int locks_in_interrupts;
    unsigned int works;
    unsigned int log_lines;
};

/** The kernel runs; `model` gets what is for hardware. NULL: none. */
void zephyr_host_start(struct piommu_ipmmu_model *model);
/** Fails the test if anything was taken and not given back, or some context not left. */
void zephyr_host_assert_idle(void);
struct zephyr_host_counters zephyr_host_counters(void);

void zephyr_host_enter_interrupt(void);
void zephyr_host_leave_interrupt(void);
void zephyr_host_set_pre_kernel(bool pre_kernel);
/** Called whenever a spin lock was released: where an interrupt that was pending comes. */
void zephyr_host_on_unlock(void (*callback)(void *ctx), void *ctx);
/** Called while work is cancelled: what it does that runs already, or an interrupt. */
void zephyr_host_on_cancel(void (*callback)(void *ctx), void *ctx);
/** Runs the work that was submitted. False: there was none. */
bool zephyr_host_run_work(void);
/** Whether an interrupt is enabled. */
bool zephyr_host_irq_enabled(void);
/** The kth allocation from the system heap from now on finds no memory; 0: all do. */
void zephyr_host_fail_allocation(unsigned int kth);
/** No memory for blocks, or pieces, is found while this is set. */
void zephyr_host_exhaust(bool exhausted);
/** The configuration space of the only function there is, which is at this place. */
uint32_t *zephyr_host_function(pcie_bdf_t bdf);
/** The last line of the log, with its level in front. */
const char *zephyr_host_log(void);

/** The physical address of memory of the image. */
uint64_t zephyr_host_physical(const void *memory);
/** What is at a physical address of the image. False: it is not there. */
bool zephyr_host_read64(void *ctx, uint64_t physical, uint64_t *value);

#endif
