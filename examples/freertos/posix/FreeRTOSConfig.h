/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef FREERTOS_CONFIG_H
#define FREERTOS_CONFIG_H

/* For the sample on the kernel's simulator. A board has a configuration already. */

#define configUSE_PREEMPTION             1
#define configUSE_TIME_SLICING           1
#define configUSE_IDLE_HOOK              0
#define configUSE_TICK_HOOK              0
#define configUSE_16_BIT_TICKS           0
#define configTICK_RATE_HZ               1000
#define configMAX_PRIORITIES             5
#define configMINIMAL_STACK_SIZE         4096
#define configMAX_TASK_NAME_LEN          16
#define configTOTAL_HEAP_SIZE            (1024 * 1024)
#define configSUPPORT_DYNAMIC_ALLOCATION 1
#define configSUPPORT_STATIC_ALLOCATION  0
#define configUSE_MUTEXES                1
#define configUSE_TASK_NOTIFICATIONS     1
#define configUSE_TIMERS                 0
#define configCHECK_FOR_STACK_OVERFLOW   0
#define configUSE_MALLOC_FAILED_HOOK     0

/* The simulator has no question for it, and the sample calls the library from tasks alone. */
#define PIOMMU_FREERTOS_IN_INTERRUPT() 0

/* What the port needs. */
#define INCLUDE_vTaskDelay             1
#define INCLUDE_xTaskGetSchedulerState 1
/* What the sample needs. */
#define INCLUDE_vTaskDelete 1

#endif
