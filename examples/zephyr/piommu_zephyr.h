/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_ZEPHYR_H
#define PIOMMU_ZEPHYR_H

/**
 * @file piommu_zephyr.h
 * A port of piommu to Zephyr.
 *
 * Rules for who calls the library: threads call one at a time, under a k_mutex, with no spin lock
 * held and interrupts not locked, since the calls may wait; piommu_instance_interrupt, and whatever
 * else says "neither allocates nor waits", from interrupts too.
 */

#include <piommu/instance.h>
#include <piommu/os.h>

#include <zephyr/kernel.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The shim, for the library's constructors. There is one; it needs no state. From anywhere. */
struct piommu_host piommu_zephyr_host(void);

/** An instance whose interrupt is connected. It must stay as long as that can come. */
struct piommu_zephyr_unit {
    struct piommu_instance *instance;
    struct k_mutex *calls; /**< that of the threads that call the library */
    unsigned int irq;      /**< a level: it is disabled while the work is to be done */
    struct k_work work;    /**< private: what the interrupt has left */
    atomic_t stopped;      /**< private: neither is to do anything any more */
    atomic_t handlers;     /**< private: how many run */
};

/** Makes it ready for piommu_zephyr_isr. Thread. */
void piommu_zephyr_unit_init(struct piommu_zephyr_unit *unit, struct piommu_instance *instance,
                             unsigned int irq, struct k_mutex *calls);

/**
 * The handler, for IRQ_CONNECT or irq_connect_dynamic; its parameter is the unit. What cannot be
 * done in an interrupt is done in the system's work queue.
 */
void piommu_zephyr_isr(const void *unit);

/**
 * Disables the interrupt; when it returns, neither the handler nor the work calls the library any
 * more, so that the instance can be destroyed. Thread, without the mutex, which the work may want.
 */
void piommu_zephyr_unit_stop(struct piommu_zephyr_unit *unit);

#ifdef __cplusplus
}
#endif

#endif
