/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The sample on the kernel's simulator for POSIX systems, with a modelled IPMMU. See README.md
 * beside this file. Exit status: 0: all was as it should be; 1: it was not.
 */

#include "simulator.h"

#include <stdio.h>

#define IOVA        0x40000000u
#define STACK_WORDS (configMINIMAL_STACK_SIZE * 4u)
/* Long enough for the task that services the unit: there are no interrupts here, so it polls. */
#define PAUSE pdMS_TO_TICKS(300)

static struct simulator simulator;
static struct sample sample;
static bool failed;

static void expect(bool holds, const char *what)
{
    printf("%s %s\n", holds ? "PASS" : "FAIL", what);
    failed = failed || !holds;
}

static void use(void)
{
    expect(!simulator_device_writes(&simulator, IOVA, 1), "nothing is mapped: DMA is refused");
    vTaskDelay(PAUSE);
    expect(atomic_load(&sample.faults) == 1 && sample.fault.iova == IOVA, "and that is reported");
    expect(sample_map(&sample, IOVA, SIMULATOR_BUFFER, PIOMMU_FREERTOS_GRANULE) == 0, "map");
    expect(simulator_device_writes(&simulator, IOVA + 5, 42) &&
               simulator_buffer(&simulator, 5) == 42,
           "DMA reaches the buffer");
    expect(sample_unmap(&sample, IOVA, PIOMMU_FREERTOS_GRANULE) == 0, "unmap and sync");
    expect(!simulator_device_writes(&simulator, IOVA + 5, 43), "DMA is refused again");
}

static void application_task(void *parameter)
{
    struct piommu_freertos_board board;
    struct sample_hardware hardware;

    (void)parameter;
    simulator_describe(&simulator, &board, &hardware);
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
    if (!simulator_open(&simulator) ||
        xTaskCreate(application_task, "application", STACK_WORDS, NULL, 1, NULL) != pdPASS) {
        fprintf(stderr, "no memory\n");
        return 1;
    }
    vTaskStartScheduler();
    simulator_close(&simulator);
    return failed ? 1 : 0;
}
