/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "freertos_host.h"

#include "expect.h"

#include <semphr.h>

#include <stdlib.h>
#include <string.h>

/* So many yields take a tick. */
#define YIELDS_IN_A_TICK 16u
/* What masks of interrupts look like: anything that the caller cannot guess. */
#define MASK   0x51u
#define POISON 0xa5
/* In front of a block of the heap. */
#define HEADER _Alignof(max_align_t)

struct foreign_task {
    bool exists;
};

struct foreign_semaphore {
    bool exists;
    bool taken;
};

static struct {
    bool interrupt;
    unsigned int nesting;           /* of critical sections in tasks */
    unsigned int interrupt_nesting; /* and in interrupts */
    BaseType_t scheduler;
    TickType_t ticks;
    size_t blocks;
    unsigned int fail_allocation;
    bool fail_task;
    struct foreign_task task;
    struct foreign_semaphore mutex;
    void (*unmasked)(void *ctx);
    void *unmasked_ctx;
    struct freertos_host_counters counters;
} host;

/* What most of the kernel asks of callers. */
#define EXPECT_TASK()              \
    do {                           \
        EXPECT(!host.interrupt);   \
        EXPECT(host.nesting == 0); \
    } while (0)

#define EXPECT_MAY_BLOCK()                               \
    do {                                                 \
        EXPECT_TASK();                                   \
        EXPECT(host.scheduler == taskSCHEDULER_RUNNING); \
    } while (0)

/* ---- For tests ---- */

void freertos_host_start(void)
{
    host = (__typeof__(host)){.scheduler = taskSCHEDULER_RUNNING};
}

void freertos_host_assert_idle(void)
{
    EXPECT_MAY_BLOCK();
    EXPECT(host.interrupt_nesting == 0);
    EXPECT(host.blocks == 0);
    EXPECT(!host.task.exists);
    EXPECT(!host.mutex.exists);
}

struct freertos_host_counters freertos_host_counters(void)
{
    return host.counters;
}

void freertos_host_enter_interrupt(void)
{
    EXPECT_TASK();
    host.interrupt = true;
}

void freertos_host_leave_interrupt(void)
{
    EXPECT(host.interrupt);
    EXPECT(host.interrupt_nesting == 0);
    host.interrupt = false;
}

void freertos_host_on_unmask(void (*callback)(void *ctx), void *ctx)
{
    host.unmasked = callback;
    host.unmasked_ctx = ctx;
}

void freertos_host_set_scheduler(BaseType_t state)
{
    host.scheduler = state;
}

void freertos_host_set_ticks(TickType_t ticks)
{
    host.ticks = ticks;
}

void freertos_host_fail_allocation(unsigned int kth)
{
    host.fail_allocation = kth;
}

void freertos_host_fail_task(void)
{
    host.fail_task = true;
}

/* ---- The heap ---- */

/* Every other block is aligned to portBYTE_ALIGNMENT only. The byte before a block says how far. */
static size_t offset_of_next(void)
{
    return host.counters.allocations % 2 == 0 ? HEADER : HEADER + portBYTE_ALIGNMENT;
}

void *pvPortMalloc(size_t size)
{
    size_t offset = offset_of_next();
    unsigned char *block;

    EXPECT_TASK();
    host.counters.allocations++;
    if (host.fail_allocation != 0 && --host.fail_allocation == 0) {
        return NULL;
    }
    block = malloc(offset + size);
    EXPECT(block != NULL);
    memset(block, POISON, offset + size);
    host.blocks++;
    block[offset - 1] = (unsigned char)offset;
    return block + offset;
}

void vPortFree(void *memory)
{
    unsigned char *bytes = memory;

    EXPECT_TASK();
    if (bytes != NULL) {
        EXPECT(host.blocks != 0);
        host.blocks--;
        free(bytes - bytes[-1]);
    }
}

/* ---- Critical sections ---- */

BaseType_t xPortIsInsideInterrupt(void)
{
    return host.interrupt ? pdTRUE : pdFALSE;
}

void portYIELD_FROM_ISR(BaseType_t woken)
{
    (void)woken;
    EXPECT(host.interrupt);
}

void taskENTER_CRITICAL(void)
{
    EXPECT(!host.interrupt);
    host.counters.sections += host.nesting == 0;
    host.nesting++;
}

void taskEXIT_CRITICAL(void)
{
    EXPECT(!host.interrupt);
    EXPECT(host.nesting != 0);
    host.nesting--;
    if (host.nesting == 0 && host.unmasked != NULL) {
        host.unmasked(host.unmasked_ctx);
    }
}

UBaseType_t taskENTER_CRITICAL_FROM_ISR(void)
{
    EXPECT(host.interrupt);
    host.counters.interrupt_sections++;
    return MASK + host.interrupt_nesting++;
}

void taskEXIT_CRITICAL_FROM_ISR(UBaseType_t state)
{
    EXPECT(host.interrupt);
    EXPECT(host.interrupt_nesting != 0);
    EXPECT(state == MASK + --host.interrupt_nesting);
}

/* ---- Time ---- */

TickType_t xTaskGetTickCount(void)
{
    EXPECT_TASK();
    return host.ticks;
}

TickType_t xTaskGetTickCountFromISR(void)
{
    EXPECT(host.interrupt);
    return host.ticks;
}

BaseType_t xTaskGetSchedulerState(void)
{
    EXPECT(!host.interrupt);
    return host.scheduler;
}

void vTaskDelay(TickType_t ticks)
{
    EXPECT_MAY_BLOCK();
    EXPECT(ticks != 0);
    host.ticks = (TickType_t)(host.ticks + ticks);
    host.counters.delays++;
}

void taskYIELD(void)
{
    EXPECT_MAY_BLOCK();
    host.counters.yields++;
    if (host.counters.yields % YIELDS_IN_A_TICK == 0) {
        host.ticks++;
    }
}

/* ---- Tasks and mutexes ---- */

BaseType_t xTaskCreate(TaskFunction_t function, const char *name, uint32_t stack_words,
                       void *parameter, UBaseType_t priority, TaskHandle_t *created)
{
    EXPECT_TASK();
    EXPECT(function != NULL && name != NULL && stack_words >= configMINIMAL_STACK_SIZE);
    EXPECT(!host.task.exists);
    (void)parameter;
    (void)priority;
    if (host.fail_task) {
        return pdFALSE;
    }
    host.task.exists = true;
    *created = &host.task;
    return pdPASS;
}

void vTaskDelete(TaskHandle_t task)
{
    EXPECT_TASK();
    EXPECT(task == &host.task && host.task.exists);
    host.task.exists = false;
}

/* Nobody runs a task here. */
uint32_t ulTaskNotifyTake(BaseType_t clear, TickType_t ticks)
{
    (void)clear;
    (void)ticks;
    fail_msg("a task has run");
    return 0;
}

void vTaskNotifyGiveFromISR(TaskHandle_t task, BaseType_t *woken)
{
    EXPECT(host.interrupt);
    EXPECT(task == &host.task && host.task.exists);
    *woken = pdTRUE;
    host.counters.notifications++;
}

SemaphoreHandle_t xSemaphoreCreateMutex(void)
{
    EXPECT_TASK();
    EXPECT(!host.mutex.exists);
    if (host.fail_allocation != 0 && --host.fail_allocation == 0) {
        return NULL;
    }
    host.mutex = (struct foreign_semaphore){.exists = true};
    return &host.mutex;
}

void vSemaphoreDelete(SemaphoreHandle_t semaphore)
{
    EXPECT_TASK();
    EXPECT(semaphore == &host.mutex && semaphore->exists && !semaphore->taken);
    semaphore->exists = false;
}

BaseType_t xSemaphoreTake(SemaphoreHandle_t semaphore, TickType_t ticks)
{
    EXPECT_MAY_BLOCK();
    EXPECT(semaphore == &host.mutex && semaphore->exists && !semaphore->taken);
    (void)ticks;
    semaphore->taken = true;
    return pdTRUE;
}

BaseType_t xSemaphoreGive(SemaphoreHandle_t semaphore)
{
    EXPECT_TASK();
    EXPECT(semaphore == &host.mutex && semaphore->exists && semaphore->taken);
    semaphore->taken = false;
    return pdTRUE;
}
