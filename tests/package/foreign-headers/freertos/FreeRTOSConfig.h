/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef FOREIGN_FREERTOS_CONFIG_H
#define FOREIGN_FREERTOS_CONFIG_H

/* The application's configuration, as a test wants it: what examples/freertos asks for. */

/* Ticks in a second. */
#define configTICK_RATE_HZ 1000u
/* Words of the smallest stack that a task can have. */
#define configMINIMAL_STACK_SIZE 128u
/* Functions that are left out of the kernel unless they are asked for. */
#define INCLUDE_vTaskDelay             1
#define INCLUDE_vTaskDelete            1
#define INCLUDE_xTaskGetSchedulerState 1

#endif
