/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef SAMPLE_H
#define SAMPLE_H

/*
 * What an application does with the port: one device behind a Renesas IPMMU, which may reach what
 * was mapped for it and nothing else. All functions but sample_interrupt are for tasks.
 */

#include "piommu_freertos.h"

#include <piommu/ipmmu-vmsa.h>
#include <piommu/piommu.h>

#include <semphr.h>
#include <stdatomic.h>

/* Where the device's DMA enters. */
struct sample_hardware {
    struct piommu_ipmmu_vmsa_config root;  /* the unit that walks tables, and interrupts */
    struct piommu_ipmmu_vmsa_config cache; /* the unit to which the device is wired */
    uint32_t micro_tlb;                    /* by which of its ports */
    uint64_t timeout;                      /* of the units, in nanoseconds; 0: the default */
    /*
     * Masks the root's interrupt at the interrupt controller, or lets it come again: the line can
     * still be up when the handler has left something to a task. Called in both. NULL: there is no
     * interrupt.
     */
    void (*mask)(void *cookie, bool masked);
    void *cookie; /* handed to it */
};

struct sample {
    struct piommu_freertos port;
    struct sample_hardware hardware;
    /*
     * Tasks call the library one after the other: see piommu_freertos.h.
     */
    SemaphoreHandle_t calls;
    TaskHandle_t service;
    struct piommu_context *context;
    struct piommu_instance *root;
    struct piommu_instance *cache;
    struct piommu_device *device;
    struct piommu_domain *domain;
    /* Written in the interrupt. */
    atomic_uint faults;
    struct piommu_fault fault; /* the last one */
};

/*
 * Starts the units and puts the device into a domain of its own, in which nothing is mapped. Enable
 * the root's interrupt after it. 0, or a negative PIOMMU_E*: then nothing is left.
 */
int sample_open(struct sample *sample, const struct piommu_freertos_board *board,
                const struct sample_hardware *hardware);
/* Disable the root's interrupt before it. 0, or the first error: then units may be left. */
int sample_close(struct sample *sample);

/* Lets the device read and write memory. */
int sample_map(struct sample *sample, uint64_t iova, uint64_t physical, uint64_t size);
/* Takes it away: after success the memory can be used for something else. */
int sample_unmap(struct sample *sample, uint64_t iova, uint64_t size);

/* The handler of the root's interrupt, which is a level: it stays up until this has been here. */
void sample_interrupt(struct sample *sample);
/*
 * What the handler leaves to a task; SAMPLE_BUDGET reports at most, so that a device that makes
 * faults without end does not keep others from the units. The number of reports, or a negative
 * PIOMMU_E*.
 */
int sample_service(struct sample *sample);
#define SAMPLE_BUDGET 16

#endif
