/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef FOREIGN_FREERTOS_TASK_H
#define FOREIGN_FREERTOS_TASK_H

/* A stand-in: see FreeRTOS.h. That header is included first, as the kernel wants it. */

#ifndef FOREIGN_FREERTOS_H
#error "FreeRTOS.h comes before task.h"
#endif

/* The kernel's version, as text. */
#define tskKERNEL_VERSION_NUMBER "V0"

typedef struct foreign_task *TaskHandle_t;
typedef void (*TaskFunction_t)(void *parameter);

/* States of the scheduler. */
#define taskSCHEDULER_SUSPENDED   ((BaseType_t)0)
#define taskSCHEDULER_NOT_STARTED ((BaseType_t)1)
#define taskSCHEDULER_RUNNING     ((BaseType_t)2)

/* In a task: interrupts from which the kernel may be called stay out until the last EXIT. Nests. */
void taskENTER_CRITICAL(void);
void taskEXIT_CRITICAL(void);
/* The same in an interrupt: EXIT gets what ENTER has returned. Nests. */
UBaseType_t taskENTER_CRITICAL_FROM_ISR(void);
void taskEXIT_CRITICAL_FROM_ISR(UBaseType_t state);

/* Ticks since the scheduler was started. From tasks, not in a critical section. */
TickType_t xTaskGetTickCount(void);
/* The same, from interrupts. */
TickType_t xTaskGetTickCountFromISR(void);
/* From tasks: one of the states above. */
BaseType_t xTaskGetSchedulerState(void);

/* Blocks a task until so many ticks have come. The scheduler runs; not in a critical section. */
void vTaskDelay(TickType_t ticks);
/* Lets another task of the same priority run. As vTaskDelay. */
void taskYIELD(void);

/* Creates a task; a higher priority is a higher number. pdPASS, or there is no memory. */
BaseType_t xTaskCreate(TaskFunction_t function, const char *name, uint32_t stack_words,
                       void *parameter, UBaseType_t priority, TaskHandle_t *created);
/* Ends a task; NULL: the one that calls, which does not return from it. A task never returns. */
void vTaskDelete(TaskHandle_t task);
/* Lets the tasks run. Returns only if there is no memory, or on a simulator that was ended. */
void vTaskStartScheduler(void);
/* Ends a simulator's scheduler. */
void vTaskEndScheduler(void);

/* In a task: no other one runs until as many xTaskResumeAll; interrupts come. Nests. */
void vTaskSuspendAll(void);
/* pdTRUE: another task has run meanwhile. */
BaseType_t xTaskResumeAll(void);

/* Each task has a counter, on which it can block: until it is above 0 or the time is over. */
uint32_t ulTaskNotifyTake(BaseType_t clear, TickType_t ticks);
/* Counts it up, in an interrupt. *woken becomes pdTRUE if a task of higher priority is ready. */
void vTaskNotifyGiveFromISR(TaskHandle_t task, BaseType_t *woken);

#endif
