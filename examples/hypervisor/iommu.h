/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef IOMMU_H
#define IOMMU_H

/* The machine's IOMMU, and what it has reported. */

#include <piommu/fdt.h>
#include <piommu/piommu.h>

#define IOMMU_FAULTS 64u

struct iommu {
    struct piommu_fdt tree;
    struct piommu_context *context;
    struct piommu_instance *instance;
    struct piommu_requirements requirements;
    int host_bridge;
    uint16_t bdf;
    unsigned int intid;
    unsigned int interrupts; /* how many came */
    /* Reports since the last iommu_forget, the first IOMMU_FAULTS of fault_count. */
    struct piommu_fault faults[IOMMU_FAULTS];
    unsigned int fault_count;
};

/* Finds it in the device tree, starts it, and asks what it demands. */
void iommu_start(struct iommu *iommu);
void iommu_stop(struct iommu *iommu);

/* The ID by which it knows the DMA of a PCI function. */
uint32_t iommu_endpoint(struct iommu *iommu, uint16_t bdf);

/* Takes in what it has to report; returns how many reports that were. */
unsigned int iommu_service(struct iommu *iommu);
void iommu_forget(struct iommu *iommu);

#endif
