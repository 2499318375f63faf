/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef SAMPLE_H
#define SAMPLE_H

/*
 * What an application does with the port: one device behind an IOMMU, which may reach what was
 * mapped for it and nothing else. All functions but sample_interrupt are for tasks.
 */

#include "piommu_freertos.h"

#include <piommu/piommu.h>

#include <semphr.h>
#include <stdatomic.h>

/* One instance of the library: by which backend, and what is told that. */
struct sample_unit {
    const struct piommu_backend *backend; /* NULL: there is no such unit */
    const void *config;                   /* stays as long as the sample is open */
};

/* Where the device's DMA enters, and who hears of it when that is refused. */
struct sample_hardware {
    struct sample_unit root; /* the unit that interrupts */
    /* The unit to which the device is wired, if it is not the root but works for it. */
    struct sample_unit cache;
    uint32_t id;      /* by which that unit knows the device */
    uint64_t timeout; /* of the units, in nanoseconds; 0: the default */
    /*
     * Masks the root's interrupt at the interrupt controller, or lets it come: the line can still
     * be up when the handler has left something to a task. Called in both. It is masked before
     * sample_open, and after sample_close. NULL: there is no interrupt.
     */
    void (*mask)(void *cookie, bool masked);
    /*
     * Told of each fault in the task that services the unit, without the mutex, so that it may call
     * the functions below. What it points to is gone when it returns. NULL: they are only counted.
     */
    void (*report)(void *cookie, const struct piommu_fault *fault);
    void *cookie; /* handed to both */
};

struct sample {
    struct piommu_freertos port;
    struct sample_hardware hardware;
    /* Tasks call the library one after the other: see piommu_freertos.h. */
    SemaphoreHandle_t calls;
    TaskHandle_t service;
    struct piommu_context *context;
    struct piommu_instance *root;
    struct piommu_instance *cache; /* NULL: there is none */
    struct piommu_device *device;
    struct piommu_domain *domain;
    /* Written in the interrupt. */
    atomic_uint faults;     /* heard of */
    atomic_uint interrupts; /* handled */
    atomic_uint left_over;  /* of those, how many have left something to the task */
};

/*
 * Starts the units, puts the device into a domain of its own, in which nothing is mapped, and lets
 * the interrupt come. 0, or a negative PIOMMU_E*: then nothing is left.
 */
int sample_open(struct sample *sample, const struct piommu_freertos_board *board,
                const struct sample_hardware *hardware);
/* 0, or the first error: then units may be left. */
int sample_close(struct sample *sample);

/* Lets the device read and write memory. */
int sample_map(struct sample *sample, uint64_t iova, uint64_t physical, uint64_t size);
/* Takes it away: after success the memory can be used for something else. */
int sample_unmap(struct sample *sample, uint64_t iova, uint64_t size);

/* The handler of the root's interrupt, which is a level: it stays up until this has been here. */
void sample_interrupt(struct sample *sample);
/*
 * What the handler leaves to a task; SAMPLE_BUDGET reports at most, so that a device that makes
 * faults without end does not keep others from the units. Hands on what has been heard of here and
 * in the interrupt. The number of reports that came here, or a negative PIOMMU_E*.
 */
int sample_service(struct sample *sample);
#define SAMPLE_BUDGET 16
/* What the handler and the task hear of before the task hands it on; more pushes out the oldest. */
#define SAMPLE_RECORDS (2u * SAMPLE_BUDGET)

#endif
