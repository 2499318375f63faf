/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef FREERTOS_CONFIG_H
#define FREERTOS_CONFIG_H

/* For the sample on QEMU's "virt" machine, with the kernel's ports for AArch64. */

#include <stdint.h>

#define configUSE_PREEMPTION             1
#define configUSE_TIME_SLICING           1
#define configUSE_IDLE_HOOK              0
#define configUSE_TICK_HOOK              0
#define configUSE_16_BIT_TICKS           0
#define configTICK_RATE_HZ               1000
#define configMAX_PRIORITIES             5
#define configMINIMAL_STACK_SIZE         1024 /* words of 8 bytes */
#define configMAX_TASK_NAME_LEN          16
#define configTOTAL_HEAP_SIZE            (1024 * 1024)
#define configSUPPORT_DYNAMIC_ALLOCATION 1
#define configSUPPORT_STATIC_ALLOCATION  0
#define configUSE_MUTEXES                1
#define configUSE_TASK_NOTIFICATIONS     1
#define configUSE_TIMERS                 0
#define configCHECK_FOR_STACK_OVERFLOW   2
#define configUSE_MALLOC_FAILED_HOOK     0

/* What the port needs. */
#define INCLUDE_vTaskDelay             1
#define INCLUDE_xTaskGetSchedulerState 1
/* What the sample needs. */
#define INCLUDE_vTaskDelete 1

/*
 * The interrupt controller: GICv2 at the addresses that the board has it; GICv3 goes by system
 * registers. Of 32 priorities, which both have, the kernel may be called from interrupts of 18 to
 * 31. It wants the tick at the last but one.
 */
#define configINTERRUPT_CONTROLLER_BASE_ADDRESS         0x08000000ul
#define configINTERRUPT_CONTROLLER_CPU_INTERFACE_OFFSET 0x10000ul
#define configUNIQUE_INTERRUPT_PRIORITIES               32
#define configMAX_API_CALL_INTERRUPT_PRIORITY           18

/* board.c */
void board_start_tick(void);
void board_clear_tick(void);
void board_assertion_failed(const char *file, int line);

#define configSETUP_TICK_INTERRUPT() board_start_tick()
#define configCLEAR_TICK_INTERRUPT() board_clear_tick()
#define configASSERT(holds)                             \
    do {                                                \
        if (!(holds)) {                                 \
            board_assertion_failed(__FILE__, __LINE__); \
        }                                               \
    } while (0)

/* The kernel's count of the interrupts that it is in; no header of it has the name. */
extern uint64_t ullPortInterruptNesting;
#define PIOMMU_FREERTOS_IN_INTERRUPT() (ullPortInterruptNesting != 0)

#endif
