/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "dma-blk.h"

#include <piommu/error.h>

#define RING_SIZE ((size_t)65536) /* with the tables of indirect descriptors */

static const struct blk_interrupt polling = {.wait = NULL};

/* ---- Start and stop ---- */

/*
 * The ring and what belongs to it are taken from an arena in the coherent buffer, since a callback
 * of the shim, which is asked for their memory, must not call the DMA API.
 */
static int open_ring(struct dma_blk *disk)
{
    int error = piommu_dma_alloc(disk->device, RING_SIZE, &disk->ring);

    disk->arena = (struct host_arena){
        .memory = disk->ring.memory, .device_address = disk->ring.address, .size = RING_SIZE};
    return error;
}

int dma_blk_start(struct dma_blk *disk, struct piommu_dma_device *device, uint16_t bdf)
{
    const struct piommu_virtio_pci_config config = {.function = {.bdf = bdf}, .type = BLK_TYPE};
    struct piommu_virtio_device *opened;
    struct piommu_host host;
    int error;

    *disk = (struct dma_blk){.device = device};
    error = open_ring(disk);
    if (error != 0) {
        return error;
    }
    host = host_shim_in(&disk->arena);
    error = piommu_virtio_pci_open(host, &config, &opened);
    if (error == 0) {
        error = blk_start(&disk->blk, host, opened, &polling);
    }
    if (error != 0) {
        (void)piommu_dma_free(device, &disk->ring);
    }
    return error;
}

/* ---- Data ---- */

static int map(struct dma_blk *disk, struct dma_blk_request *request, enum blk_operation operation,
               const struct piommu_segment *list, size_t count)
{
    request->direction = operation == BLK_READ ? PIOMMU_DMA_FROM_DEVICE : PIOMMU_DMA_TO_DEVICE;
    request->single = count == 1;
    if (request->single) {
        request->used = 1;
        request->segments[0].size = list->size;
        return piommu_dma_map_single(disk->device, list->physical, list->size, request->direction,
                                     0, &request->segments[0].address);
    }
    return piommu_dma_map_sg(disk->device, list, count, request->direction, 0, request->segments,
                             BLK_MAX_PIECES, &request->used);
}

static int unmap(struct dma_blk *disk, const struct dma_blk_request *request)
{
    if (request->single) {
        return piommu_dma_unmap_single(disk->device, request->segments[0].address,
                                       request->segments[0].size, request->direction, 0);
    }
    return piommu_dma_unmap_sg(disk->device, request->segments, request->used, request->direction,
                               0);
}

/* The first error counts. */
static int unmap_all(struct dma_blk *disk)
{
    int result = 0;

    for (unsigned int i = 0; i < disk->mapped; i++) {
        int error = unmap(disk, &disk->requests[i]);

        result = result != 0 ? result : error;
    }
    disk->mapped = 0;
    return result;
}

int dma_blk_stop(struct dma_blk *disk)
{
    int error = blk_stop(&disk->blk);

    if (error == 0) {
        error = unmap_all(disk);
    }
    return error != 0 ? error : piommu_dma_free(disk->device, &disk->ring);
}

int dma_blk_restart(struct dma_blk *disk)
{
    int error = blk_restart(&disk->blk);

    return error != 0 ? error : unmap_all(disk);
}

/* ---- Requests ---- */

int dma_blk_submit(struct dma_blk *disk, enum blk_operation operation, uint64_t sector,
                   const struct piommu_segment *list, size_t count)
{
    struct piommu_virtio_buffer pieces[BLK_MAX_PIECES];
    struct dma_blk_request *request = &disk->requests[disk->mapped];
    int error;

    if (disk->mapped == BLK_SLOTS) {
        return -PIOMMU_ENOSPC;
    }
    error = map(disk, request, operation, list, count);
    if (error != 0) {
        return error;
    }
    for (size_t i = 0; i < request->used; i++) {
        pieces[i] = (struct piommu_virtio_buffer){.physical = request->segments[i].address,
                                                  .size = (uint32_t)request->segments[i].size};
    }
    error = blk_submit(&disk->blk, operation, sector, pieces, (unsigned int)request->used);
    if (error != 0) {
        int worse = unmap(disk, request);

        return worse != 0 ? worse : error;
    }
    disk->mapped++;
    return 0;
}

int dma_blk_finish(struct dma_blk *disk)
{
    int error = blk_finish(&disk->blk);

    if (error == 0 || error == -PIOMMU_EBADMSG) {
        int worse = unmap_all(disk);

        error = worse != 0 ? worse : error;
    }
    return error;
}
