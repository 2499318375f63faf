/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_VIRTIO_IOMMU_H
#define PIOMMU_VIRTIO_IOMMU_H

/**
 * @file virtio-iommu.h
 * The backend for virtio-iommu devices, behind virtio-pci.
 *
 * What the device is trusted with: isolation itself. A device that claims to block and does not
 * cannot be found out. What it is not trusted with: the safety of this program's memory, and its
 * time.
 *
 * Blocking. With the policy PIOMMU_UNKNOWN_IDS_BLOCK the device's `bypass` field is written to 0
 * when the instance starts, so an endpoint in no domain reaches nothing; the field survives a reset
 * of the device and is left at 0 when the instance is destroyed. With PIOMMU_UNKNOWN_IDS_LEAVE the
 * field is not touched, and an added device that is blocked sits in a domain without mappings. It
 * stays there when it was removed, or when adding it has failed half-way, until the instance is
 * destroyed; a small record of it is kept so long. Only if the instance fails the field is written
 * to 0 nevertheless.
 *
 * Mapping flags. PIOMMU_PROT_READ, with or without PIOMMU_PROT_WRITE; PIOMMU_PROT_DEVICE where the
 * device offers the MMIO feature. Nothing else can be expressed.
 *
 * Source: OASIS Virtual I/O Device (VIRTIO) Version 1.2, section 5.13 (IOMMU device).
 */

#include <piommu/backend.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The virtio device type of an IOMMU. */
#define PIOMMU_VIRTIO_IOMMU_TYPE 23u

/** Where the device is: the backend_config of piommu_instance_create. */
struct piommu_virtio_iommu_config {
    /** The PCI function. */
    struct piommu_pci_function pci;
};

/** The backend, for piommu_instance_create. Never NULL. Runs beside anything. */
const struct piommu_backend *piommu_virtio_iommu_backend(void);

#ifdef __cplusplus
}
#endif

#endif
