/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_LIB_VIRTIO_VIRTIO_H
#define PIOMMU_LIB_VIRTIO_VIRTIO_H

/* The private side of virtio: what the generic part asks of a transport. */

#include <piommu/virtio.h>

#include "../base/compiler.h"
#include "../base/host.h"
#include "../base/options.h"

#if !PIOMMU_VIRTIO_WITH_PCI && !PIOMMU_VIRTIO_WITH_MMIO
#error "piommu: the PIOMMU_VIRTIO_WITH_* leave no transport"
#endif

/* Physical addresses of the three parts of a ring, by the names that both kinds have. */
struct virtio_ring_addresses {
    uint64_t descriptors;
    uint64_t driver_area;
    uint64_t device_area;
};

struct virtio_transport {
    uint8_t (*get_status)(struct piommu_virtio_device *device);
    void (*set_status)(struct piommu_virtio_device *device, uint8_t status);
    uint64_t (*get_features)(struct piommu_virtio_device *device);
    void (*set_features)(struct piommu_virtio_device *device, uint64_t features);
    /* Reads and acknowledges. */
    uint8_t (*interrupt_status)(struct piommu_virtio_device *device);
    uint32_t (*config_generation)(struct piommu_virtio_device *device);
    uint32_t (*config_read)(struct piommu_virtio_device *device, uint32_t offset, uint32_t width);
    void (*config_write_byte)(struct piommu_virtio_device *device, uint32_t offset, uint8_t value);
    /*
     * The most entries of a queue as the device says, 0 if there is no such queue or it is in use.
     */
    uint32_t (*queue_max)(struct piommu_virtio_device *device, uint16_t index);
    /* Starts a queue of `size` entries; sets the doorbell for notify. 0 or -PIOMMU_EBADMSG. */
    int (*queue_start)(struct piommu_virtio_device *device, uint16_t index, uint16_t size,
                       const struct virtio_ring_addresses *addresses, uintptr_t *doorbell);
    void (*notify)(struct piommu_virtio_device *device, uint16_t index, uintptr_t doorbell);
    /* Identifies the device again, and sets up what a loss of power may have undone. */
    int (*wake)(struct piommu_virtio_device *device);
    void (*close)(struct piommu_virtio_device *device);
};

/* The head of each transport's own structure. */
struct piommu_virtio_device {
    struct piommu_host host;
    const struct virtio_transport *transport;
    uint64_t features; /* agreed on */
    uint32_t type;
    uint32_t config_size;  /* bytes of device configuration that can be accessed */
    uint8_t messages_used; /* interrupt messages; 0: the line */
    bool non_coherent;
};

extern const struct virtio_transport piommu_virtio_mmio_transport_;
extern const struct virtio_transport piommu_virtio_pci_transport_;

/* The only one that is built, if there is one alone. */
static inline const struct virtio_transport *virtio_transport_of(
    const struct piommu_virtio_device *device)
{
    if (!PIOMMU_VIRTIO_WITH_PCI) {
        return &piommu_virtio_mmio_transport_;
    }
    return PIOMMU_VIRTIO_WITH_MMIO ? device->transport : &piommu_virtio_pci_transport_;
}

/* Whether rings of a device are packed, with the features that were agreed on. */
static inline bool virtio_is_packed(uint64_t features)
{
    return PIOMMU_VIRTIO_WITH_PACKED && (features & PIOMMU_VIRTIO_F_RING_PACKED) != 0;
}

/* What the shim must have for a device's memory. */
static inline unsigned int virtio_coherency_needs(bool non_coherent)
{
    return non_coherent ? PIOMMU_OS_NEED_CLEAN | PIOMMU_OS_NEED_INVALIDATE : 0;
}

#endif
