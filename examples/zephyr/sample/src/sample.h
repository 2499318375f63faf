/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef SAMPLE_H
#define SAMPLE_H

#include "edu.h"

#include <piommu_zephyr.h>

#include <piommu/piommu.h>

#define PAGE_SIZE 4096u

struct sample {
    uint16_t iommu;    /* bus in bits 15:8, device in 7:3, function in 2:0 */
    uint16_t function; /* what is put behind it */
    struct edu edu;    /* without registers: it is another function, which makes no DMA */
    enum piommu_fault_answer answer; /* to the next fault */

    struct k_mutex calls; /* one call of the library at a time */
    struct piommu_context *context;
    struct piommu_instance *instance;
    struct piommu_device *device;
    struct piommu_domain *domain;
    struct piommu_zephyr_unit unit;
};

/* Prints a claim with ok or FAIL, and counts it. */
void check(bool holds, const char *claim);

/* A page of memory at this address, for the function. */
int map(struct sample *sample, uint64_t iova, void *page, piommu_prot prot);
int unmap(struct sample *sample, uint64_t iova);
int attach(struct sample *sample);

/* The checks of a function that makes DMA: the first before it is in a domain, the others there. */
void check_closed(struct sample *sample);
int check_dma(struct sample *sample);

#endif
