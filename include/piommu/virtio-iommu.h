/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_VIRTIO_IOMMU_H
#define PIOMMU_VIRTIO_IOMMU_H

/**
 * @file virtio-iommu.h
 * The backend for virtio-iommu devices, behind virtio-pci or virtio-mmio.
 *
 * What the device is trusted with: isolation itself. A device that claims to block and does not
 * cannot be found out. What it is not trusted with: the safety of this program's memory, and its
 * time.
 *
 * Blocking. With the policy PIOMMU_UNKNOWN_IDS_BLOCK the device's `bypass` field is written to 0
 * when the instance starts, so an endpoint in no domain reaches nothing; the field survives a reset
 * of the device and is left at 0 when the instance is destroyed. With PIOMMU_UNKNOWN_IDS_LEAVE the
 * field is as it was, and an added device that is blocked sits in a domain without mappings. It
 * stays there when it was removed, or when adding it has failed half-way, until the instance is
 * destroyed; a small record of it is kept so long. Only if the instance fails, and while it is
 * suspended, the field is 0 nevertheless.
 *
 * Identity domains exist with every device: where it offers no bypass by domain, all that it can
 * map is mapped to itself, but for the reserved regions of each ID.
 *
 * Mapping flags. PIOMMU_PROT_READ, with or without PIOMMU_PROT_WRITE; PIOMMU_PROT_DEVICE where the
 * device offers the MMIO feature. Nothing else can be expressed.
 *
 * Requests. A map call becomes one request for each physically contiguous run, however long, and
 * one doorbell for as many as fit into the ring (the device's, but at most 128 entries; without
 * indirect descriptors a request takes two); a sync likewise. Several callers have requests in
 * flight at once. Posts (post.h) share the ring with them.
 *
 * A device that insists on VIRTIO_F_ACCESS_PLATFORM for itself is refused (-PIOMMU_EOPNOTSUPP):
 * its own accesses would go through an IOMMU, and there is none but itself.
 *
 * Source: OASIS Virtual I/O Device (VIRTIO) Version 1.2, section 5.13 (IOMMU device).
 */

#include <piommu/backend.h>
#include <piommu/virtio.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The virtio device type of an IOMMU. */
#define PIOMMU_VIRTIO_IOMMU_TYPE 23u

/**
 * Where the device is: the backend_config of piommu_instance_create. Zero selects the default of
 * each member marked so. What it points to must stay as long as the instance.
 */
struct piommu_virtio_iommu_config {
    /** Behind virtio-mmio: physical address of its registers. Default: it is behind virtio-pci. */
    uint64_t registers;
    uint64_t registers_size; /**< behind virtio-mmio: bytes of registers */
    /** Behind virtio-pci: the PCI function. */
    struct piommu_pci_function pci;
    /** As piommu_virtio_pci_config::messages. Default: the interrupt line. */
    const struct piommu_virtio_message *messages;
    unsigned int message_count; /**< how many messages */
    /** As piommu_virtio_pci_config::non_coherent. Default: coherent. */
    bool non_coherent;
    /**
     * The shim's `wait` sleeps until an interrupt comes: the device interrupts when it has answered
     * a request, too. To be set also by a host whose `wait` does not sleep, if it wants to be
     * interrupted for what was posted (post.h). Default: answers are looked for, and only faults
     * interrupt.
     */
    bool wait_sleeps;
    /**
     * IDs of devices that run already (a framebuffer, a disk that firmware uses) and must not be
     * interrupted: they get all memory before those in no domain are blocked, until they are added.
     * If piommu_context_config::choose_domain names a domain then, they go there without having
     * been blocked. Reserved regions are not asked for before that. With a device that cannot
     * bypass by domain they are interrupted for a moment all the same. If the device does not know
     * an ID, creating the instance fails with -PIOMMU_EINVAL. Default: none.
     */
    const uint32_t *running;
    uint32_t running_count; /**< how many of them */
};

/** The backend, for piommu_instance_create. Never NULL. Runs beside anything. */
const struct piommu_backend *piommu_virtio_iommu_backend(void);

#ifdef __cplusplus
}
#endif

#endif
