/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef VIOMMU_KINDS_H
#define VIOMMU_KINDS_H

/**
 * @file viommu_kinds.h
 * The honest virtio-iommu devices that a driver meets, as parameters of the model. None of them
 * lies; they differ in what they offer and in where they are stricter or laxer than the
 * specification.
 */

#include "virtio_iommu_model.h"

enum viommu_kind {
    VIOMMU_PLAIN,  /**< the model's defaults */
    VIOMMU_STRICT, /**< all that the specification has, as it wants it */
    /** As QEMU's: cuts in an UNMAP remove what precedes them, a bad DMA is many reports. */
    VIOMMU_LAX,
    /**
     * As cloud-hypervisor's: one readable and one writable descriptor or nothing, no reports, the
     * top of the address space is refused, and bypass is on though its byte reads 0 at first.
     */
    VIOMMU_RIGID,
    /** As crosvm's: no bypass of any kind, no PROBE; who is not alone in a domain cannot leave. */
    VIOMMU_REFUSING,
};

/** The features of rings, which are no matter of the kind. */
#define VIOMMU_RING_FEATURES (VIOMMU_MODEL_F_INDIRECT_DESC | VIOMMU_MODEL_F_EVENT_IDX)

/** Fills in the parameters of a kind, behind virtio-pci and without features of rings. */
void viommu_kind_parameters(enum viommu_kind kind, struct viommu_model_parameters *parameters);

#endif
