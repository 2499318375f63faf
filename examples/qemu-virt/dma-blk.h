/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef DMA_BLK_H
#define DMA_BLK_H

/*
 * A driver for virtio disks on piommu/dma.h: all memory that the device touches comes from the DMA
 * API or goes through it. The ring is in a coherent buffer; the data of a request is mapped for as
 * long as the request lasts. Which domain the device is in, and whether its space is strict or
 * lazy, is its caller's business.
 *
 * Functions that return int return 0 or a negative PIOMMU_E*.
 */

#include "host.h"
#include "virtio-blk.h"

#include <piommu/dma.h>

/* A request whose data is mapped. */
struct dma_blk_request {
    enum piommu_dma_direction direction;
    bool single;                                        /* one buffer, not a list */
    struct piommu_dma_segment segments[BLK_MAX_PIECES]; /* what the device was given */
    size_t used;
};

struct dma_blk {
    struct blk blk;
    struct piommu_dma_device *device;
    struct piommu_dma_buffer ring;
    struct host_arena arena;
    struct dma_blk_request requests[BLK_SLOTS];
    unsigned int mapped; /* the first so many of them are */
};

/* Starts the disk at this PCI function, by polling. */
int dma_blk_start(struct dma_blk *disk, struct piommu_dma_device *device, uint16_t bdf);

/* Resets the disk, and gives everything back. */
int dma_blk_stop(struct dma_blk *disk);

/* Resets the disk and starts it again; what was in flight is unmapped and forgotten. */
int dma_blk_restart(struct dma_blk *disk);

/*
 * Maps the data of a request, pieces of physical memory, and puts it into the ring. -PIOMMU_ENOSPC,
 * -PIOMMU_EAGAIN: when those that are in flight are finished, there may be room; nothing was
 * changed.
 */
int dma_blk_submit(struct dma_blk *disk, enum blk_operation operation, uint64_t sector,
                   const struct piommu_segment *list, size_t count);

/*
 * As blk_finish; then the data is unmapped. After -PIOMMU_EIO and -PIOMMU_ETIMEDOUT it is not,
 * since nobody knows what the disk still does: dma_blk_restart does it.
 */
int dma_blk_finish(struct dma_blk *disk);

#endif
