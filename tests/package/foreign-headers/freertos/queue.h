/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef FOREIGN_FREERTOS_QUEUE_H
#define FOREIGN_FREERTOS_QUEUE_H

/* A stand-in: see FreeRTOS.h. That header is included first, as the kernel wants it. */

#ifndef FOREIGN_FREERTOS_H
#error "FreeRTOS.h comes before queue.h"
#endif

typedef struct foreign_queue *QueueHandle_t;

/* Holds copies of so many items of this size. NULL: there is no memory. */
QueueHandle_t xQueueCreate(UBaseType_t length, UBaseType_t size);
/* From tasks, as is xQueueReceive. pdTRUE, unless it was full until the time was over. */
BaseType_t xQueueSend(QueueHandle_t queue, const void *item, TickType_t ticks);
/* Takes the oldest item out. pdTRUE, unless there was none until the time was over. */
BaseType_t xQueueReceive(QueueHandle_t queue, void *item, TickType_t ticks);

#endif
