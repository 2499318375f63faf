/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef FOREIGN_FREERTOS_SEMPHR_H
#define FOREIGN_FREERTOS_SEMPHR_H

/* A stand-in: see FreeRTOS.h. That header is included first, as the kernel wants it. */

#ifndef FOREIGN_FREERTOS_H
#error "FreeRTOS.h comes before semphr.h"
#endif

typedef struct foreign_semaphore *SemaphoreHandle_t;

/* A mutex, with priority inheritance; from tasks. NULL: there is no memory. */
SemaphoreHandle_t xSemaphoreCreateMutex(void);
void vSemaphoreDelete(SemaphoreHandle_t semaphore);
/* Takes a mutex, in a task. pdTRUE, unless the time is over. */
BaseType_t xSemaphoreTake(SemaphoreHandle_t semaphore, TickType_t ticks);
/* Gives it back: the task that has taken it. */
BaseType_t xSemaphoreGive(SemaphoreHandle_t semaphore);

#endif
