/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef VIRTIO_BLK_H
#define VIRTIO_BLK_H

/*
 * A driver for virtio block devices, on piommu/virtio.h alone: it knows nothing of IOMMUs. All
 * addresses that it gives to the device are those that its shim's dma_alloc returns and those that
 * its caller passes; when the device is behind an IOMMU, both are IOVAs.
 *
 * Functions that return int return 0 or a negative PIOMMU_E*. After -PIOMMU_EIO and
 * -PIOMMU_ETIMEDOUT the device is to be restarted.
 */

#include <piommu/virtio.h>

/* The virtio device type, and the PCI IDs of such a device without the legacy interface. */
#define BLK_TYPE   2u
#define BLK_VENDOR 0x1af4
#define BLK_DEVICE 0x1042

#define BLK_SECTOR_SIZE ((size_t)512)
#define BLK_SLOTS       8u /* requests that can be in flight */
#define BLK_MAX_PIECES  8u /* of the data of one request */

/* How the driver learns that the device is done. */
struct blk_interrupt {
    /*
     * Waits until the device interrupts, and tells whether it did before this time of the shim's
     * clock. NULL: the driver polls.
     */
    bool (*wait)(void *context, uint64_t deadline);
    /* Called when the device was asked why, and has released its line. */
    void (*done)(void *context);
    void *context;
};

enum blk_operation { BLK_READ, BLK_WRITE, BLK_FLUSH };

/* What the device reads and writes of a request besides its data; see the driver. */
struct blk_header;

struct blk_slot {
    struct blk_header *header;
    uint64_t header_address; /* for the device */
    uint16_t head;           /* of the request in the ring */
    bool in_flight;
};

struct blk {
    struct piommu_host host;
    struct piommu_virtio_device *device;
    struct piommu_virtqueue *queue;
    struct blk_interrupt interrupt;
    struct blk_slot slots[BLK_SLOTS];
    struct blk_header *headers; /* all of them */
    uint64_t features;          /* agreed on */
    uint64_t sectors;           /* of the device */
    unsigned int in_flight;
    unsigned int interrupts; /* taken since the start */
};

/*
 * Starts a device that was opened, and owns it from then on; after an error it is closed.
 *
 * interrupt: copied.
 */
int blk_start(struct blk *blk, struct piommu_host host, struct piommu_virtio_device *device,
              const struct blk_interrupt *interrupt);

/* Resets the device, gives everything back and closes it. */
int blk_stop(struct blk *blk);

/* Resets the device and starts it again; what was in flight is forgotten. */
int blk_restart(struct blk *blk);

/*
 * Puts a request into the ring. Its data is in `count` pieces, in multiples of the sector size all
 * together; their `writable` is not looked at. -PIOMMU_ENOSPC: BLK_SLOTS requests are in flight.
 */
int blk_submit(struct blk *blk, enum blk_operation operation, uint64_t sector,
               const struct piommu_virtio_buffer *pieces, unsigned int count);

/*
 * Shows the device what was submitted and waits until all of it is done. -PIOMMU_EBADMSG: the
 * device says that a request has failed; -PIOMMU_EIO: the device is broken, or has stopped because
 * of what it was given; -PIOMMU_ETIMEDOUT.
 */
int blk_finish(struct blk *blk);

#endif
