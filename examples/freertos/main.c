/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The sample on the kernel's simulator for POSIX systems, with a modelled IPMMU. See README.md
 * beside this file. Exit status: 0: all was as it should be; 1: it was not.
 */

#include "simulator.h"

#include <stdio.h>

#include <queue.h>

#define IOVA        0x40000000u
#define STACK_WORDS (configMINIMAL_STACK_SIZE * 4u)
/* The task that services the unit polls: there are no interrupts here. */
#define PATIENCE pdMS_TO_TICKS(2000)
/* Nothing is reported for so long. */
#define PAUSE pdMS_TO_TICKS(300)

static struct simulator simulator;
static struct sample sample;
static QueueHandle_t faults;
static bool failed;

/*
 * Tasks are threads of the host, which the kernel stops anywhere: within the host's library, too.
 * So no other task may run while this one is there, or in the model, which has no locks of its own.
 */
static void expect(bool holds, const char *what)
{
    vTaskSuspendAll();
    printf("%s %s\n", holds ? "PASS" : "FAIL", what);
    failed = failed || !holds;
    (void)xTaskResumeAll();
}

static bool device_writes(uint64_t iova, unsigned char byte)
{
    bool written;

    vTaskSuspendAll();
    written = simulator_device_writes(&simulator, iova, byte);
    (void)xTaskResumeAll();
    return written;
}

/* In the task that services the unit. */
static void on_report(void *cookie, const struct piommu_fault *fault)
{
    (void)cookie;
    (void)xQueueSend(faults, fault, 0);
}

static bool is_reported(uint64_t iova)
{
    struct piommu_fault fault;

    return xQueueReceive(faults, &fault, PATIENCE) == pdTRUE && fault.iova == iova &&
           xQueueReceive(faults, &fault, PAUSE) != pdTRUE;
}

static void use(void)
{
    expect(!device_writes(IOVA, 1), "nothing is mapped: DMA is refused");
    expect(is_reported(IOVA), "and that is reported");
    expect(sample_map(&sample, IOVA, SIMULATOR_BUFFER, PIOMMU_FREERTOS_GRANULE) == 0, "map");
    expect(device_writes(IOVA + 5, 42) && simulator_buffer(&simulator, 5) == 42,
           "DMA reaches the buffer");
    expect(sample_unmap(&sample, IOVA, PIOMMU_FREERTOS_GRANULE) == 0, "unmap and sync");
    expect(!device_writes(IOVA + 5, 43) && simulator_buffer(&simulator, 5) == 42,
           "DMA is refused again");
    expect(is_reported(IOVA + 5), "and reported");
    expect(atomic_load(&sample.faults) == 2, "no other DMA was refused");
}

static void application_task(void *parameter)
{
    struct piommu_freertos_board board;
    struct sample_hardware hardware;

    (void)parameter;
    simulator_describe(&simulator, &board, &hardware);
    hardware.report = on_report;
    expect(sample_open(&sample, &board, &hardware) == 0, "units started, device in its domain");
    if (!failed) {
        use();
        expect(sample_close(&sample) == 0, "all taken down");
    }
    vTaskEndScheduler();
    vTaskDelete(NULL);
}

int main(void)
{
    faults = xQueueCreate(SAMPLE_RECORDS, sizeof(struct piommu_fault));
    if (faults == NULL || !simulator_open(&simulator) ||
        xTaskCreate(application_task, "application", STACK_WORDS, NULL, 1, NULL) != pdPASS) {
        fprintf(stderr, "no memory\n");
        return 1;
    }
    vTaskStartScheduler();
    simulator_close(&simulator);
    return failed ? 1 : 0;
}
