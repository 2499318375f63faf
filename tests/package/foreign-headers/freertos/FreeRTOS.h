/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef FOREIGN_FREERTOS_H
#define FOREIGN_FREERTOS_H

/*
 * A stand-in for the header of this name: no part of FreeRTOS. It states what the kernel's public
 * documentation promises of the few names that examples/freertos uses, so that the port can be
 * compiled, and tested against these promises, without the kernel. Whether it runs on the kernel is
 * not shown by this.
 */

#include <stddef.h>
#include <stdint.h>

#include <FreeRTOSConfig.h>

/* Types for results and counts; as wide as a register. */
typedef long BaseType_t;
typedef unsigned long UBaseType_t;
/* Counts ticks and wraps round; 16, 32 or 64 bits by configuration. */
#ifndef FOREIGN_TICK_TYPE
#define FOREIGN_TICK_TYPE uint32_t
#endif
typedef FOREIGN_TICK_TYPE TickType_t;

/* Answers of functions that have succeeded or are true, or not. */
#define pdFALSE ((BaseType_t)0)
#define pdTRUE  ((BaseType_t)1)
#define pdPASS  pdTRUE

/* As a time to wait: for ever. */
#define portMAX_DELAY ((TickType_t) ~(TickType_t)0)
/* Milliseconds as ticks, rounded down. In V10 the product has to fit into a TickType_t. */
#define pdMS_TO_TICKS(milliseconds) \
    ((TickType_t)((TickType_t)((milliseconds)*configTICK_RATE_HZ) / 1000u))

/* Memory from the heap is aligned to this, and no better. */
#define portBYTE_ALIGNMENT 8

/* From tasks, not in a critical section: it may suspend the scheduler. NULL: there is no memory. */
void *pvPortMalloc(size_t size);
/* Likewise. NULL is ignored. */
void vPortFree(void *memory);
/* Bytes that are free, in pieces of whatever size. */
size_t xPortGetFreeHeapSize(void);

/*
 * Whether the caller is in an interrupt. From anywhere. Only in the ports for Cortex-M; where
 * the configuration answers the question in another way, it is not here.
 */
#ifndef PIOMMU_FREERTOS_IN_INTERRUPT
BaseType_t xPortIsInsideInterrupt(void);
#endif
/* In an interrupt, at its end: switches to a task that has become ready, if told so. */
void portYIELD_FROM_ISR(BaseType_t woken);

/* In the ports for Cortex-A: the handler of the timer that makes the ticks, in its interrupt. */
void FreeRTOS_Tick_Handler(void);
/* Likewise: the task that calls it has the registers of the floating point unit to itself. */
void portTASK_USES_FLOATING_POINT(void);

#endif
