/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef RING_DEVICE_H
#define RING_DEVICE_H

/**
 * @file ring_device.h
 * A device behind virtio-mmio with one queue, and its driver up to that queue. The device knows
 * where the driver has put its ring, and does nothing by itself: what happens in the ring is up to
 * the test. Any breach of the rules for registers ends the test.
 *
 * Source: OASIS Virtual I/O Device (VIRTIO) Version 1.2, section 4.2 (virtio over MMIO).
 */

#include "fake_os.h"

#include <piommu/virtio.h>

/** Change what is set by ring_device_create before the driver is opened. */
struct ring_device {
    struct fake_os *os;
    uint64_t offered;   /**< features besides VERSION_1 */
    uint32_t queue_max; /**< the most entries; as many as there are by default */
    bool non_coherent;  /**< it does not snoop the caches */
    bool interrupted;   /**< says that its queue has interrupted, once */

    /* What the driver has said. */
    uint64_t accepted;
    uint32_t status;
    uint16_t size;
    uint64_t descriptors;
    uint64_t driver_area;
    uint64_t device_area;
    bool ready;
    unsigned int doorbells;

    /* The driver. */
    struct piommu_virtio_device *driver;
    struct piommu_virtqueue *queue;
    uint64_t memory; /**< physical address of pages for the requests' pieces */

    /* Private. */
    uint32_t device_select;
    uint32_t driver_select;
    uint32_t queue_select;
};

enum { RING_DEVICE_PAGES = 16 };

/** Makes the device; `options` for the fake OS may be NULL. */
struct ring_device *ring_device_create(const struct fake_os_options *options);
/** Opens the driver, and agrees on everything that is offered and wanted. */
void ring_device_open(struct ring_device *device, uint64_t wanted);
/** Opens the driver with all of PIOMMU_VIRTIO_F_GENERIC, makes the queue, and starts. */
void ring_device_start(struct ring_device *device, const struct piommu_virtqueue_config *config);
/** Resets the device, agrees on the same again, and hands the same ring to it. */
void ring_device_restart(struct ring_device *device);
/** Closes the driver as far as it is open, and frees the device. */
void ring_device_destroy(struct ring_device *device);

/** What lies in memory as the device sees it; all is little-endian. */
uint64_t ring_device_get(struct ring_device *device, uint64_t physical, size_t size);
void ring_device_put(struct ring_device *device, uint64_t physical, uint64_t value, size_t size);

#endif
