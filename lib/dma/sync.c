/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Caches and bounce pages: what CPU and device see of each other's work. What lies where is looked
 * up in the tables.
 */

#include "dma.h"

/* Something mapped that is contiguous in memory: all of it in a bounce page, or none. */
struct piece {
    uint64_t address;
    uint64_t last;
    uint64_t physical;
    struct bounce_page *page;
};

static uint64_t lower_of(uint64_t left, uint64_t right)
{
    return left < right ? left : right;
}

static void *memory_at(const struct piommu_dma_space *space, uint64_t physical, uint64_t size)
{
    return space->host.os->memory_at(space->host.ctx, physical, size);
}

static void clean(const struct piommu_dma_space *space, const void *memory, uint64_t size)
{
    space->host.os->cache_clean(space->host.ctx, memory, (size_t)size);
}

static void invalidate(const struct piommu_dma_space *space, const void *memory, uint64_t size)
{
    space->host.os->cache_invalidate(space->host.ctx, memory, (size_t)size);
}

/* What is mapped from an address on. */
static int find_piece(struct piommu_dma_space *space, uint64_t address, uint64_t last,
                      struct piece *piece)
{
    struct piommu_translation translation;
    uint64_t first_of_pool = space->pool.first;
    uint64_t found;
    int error = piommu_domain_next(space->domain, address, last, &found, &translation);

    if (error != 0) {
        return error;
    }
    if (found > address) {
        return -PIOMMU_ENOENT;
    }
    piece->address = address;
    piece->last = lower_of(last, found + (translation.leaf_size - 1));
    piece->physical = translation.physical + (address - found);
    piece->page = piommu_dma_page_at_(space, piece->physical);
    if (piece->page != NULL) {
        piece->last = lower_of(piece->last, address | space->granule_mask);
    } else if (space->pool.count != 0 && piece->physical < first_of_pool &&
               piece->last - address >= first_of_pool - piece->physical) {
        /* Where a page follows in memory it may be mapped as one with what is before. */
        piece->last = address + (first_of_pool - piece->physical - 1);
    }
    return 0;
}

/* The part of a piece in a bounce page that belongs to the buffer: its first byte, and how many. */
static uint64_t part_of_page(const struct piommu_dma_space *space, const struct piece *piece,
                             uint32_t *first)
{
    uint64_t from = piece->address & space->granule_mask;
    uint64_t to = piece->last & space->granule_mask;
    uint64_t end = piece->page->offset + piece->page->size - 1;

    from = from > piece->page->offset ? from : piece->page->offset;
    to = lower_of(to, end);
    *first = (uint32_t)from;
    return from <= to ? to - from + 1 : 0;
}

/* Copies between a bounce page and the buffer. */
static void copy(struct piommu_dma_device *device, const struct piece *piece, bool to_page)
{
    struct piommu_dma_space *space = device->space;
    uint32_t first;
    uint64_t size = part_of_page(space, piece, &first);
    uint8_t *page = piommu_dma_page_memory_(space, piece->page) + first;
    void *buffer;

    if (size == 0) {
        return;
    }
    buffer = memory_at(space, piece->page->physical + (first - piece->page->offset), size);
    if (to_page) {
        memcpy(page, buffer, (size_t)size);
        if (device->non_coherent) {
            clean(space, page, size);
        }
    } else {
        if (device->non_coherent) {
            invalidate(space, page, size);
        }
        memcpy(buffer, page, (size_t)size);
    }
}

/*
 * What is behind a piece goes to the CPU or to the device. In a bounce page it goes to the device
 * in whatever direction the mapping is: what the device leaves alone must come back as it was.
 */
static void sync_piece(struct piommu_dma_device *device, const struct piece *piece, bool to_device)
{
    uint64_t size = piece->last - piece->address + 1;

    if (piece->page != NULL) {
        copy(device, piece, to_device);
    } else if (device->non_coherent && to_device) {
        piommu_dma_clean_(device, piece->physical, size);
    } else if (device->non_coherent) {
        invalidate(device->space, memory_at(device->space, piece->physical, size), size);
    }
}

void piommu_dma_clean_(struct piommu_dma_device *device, uint64_t physical, uint64_t size)
{
    clean(device->space, memory_at(device->space, physical, size), size);
}

void piommu_dma_fill_page_(struct piommu_dma_device *device, const struct bounce_page *page,
                           bool is_copied)
{
    struct piommu_dma_space *space = device->space;
    uint8_t *memory = piommu_dma_page_memory_(space, page);
    size_t size = (size_t)space->granule_mask + 1;

    memset(memory, 0, size);
    if (is_copied) {
        memcpy(memory + page->offset, memory_at(space, page->physical, page->size), page->size);
    }
    if (device->non_coherent) {
        clean(space, memory, size);
    }
}

/* Is all of a range mapped? */
static int check_mapped(struct piommu_dma_space *space, uint64_t address, uint64_t last)
{
    struct piece piece = {.last = address - 1};

    do {
        int error = find_piece(space, piece.last + 1, last, &piece);

        if (error != 0) {
            return error;
        }
    } while (piece.last != last);
    return 0;
}

int piommu_dma_take_back_(struct piommu_dma_device *device, uint64_t address, uint64_t size,
                          enum piommu_dma_direction direction, bool sync,
                          struct bounce_page **pages)
{
    struct piommu_dma_space *space = device->space;
    uint64_t last = address + (size - 1);
    struct piece piece = {.last = address - 1};
    int error;

    if (size == 0 || last < address) {
        return -PIOMMU_EINVAL;
    }
    error = check_mapped(space, address, last);
    if (error != 0) {
        return error;
    }
    do {
        if (find_piece(space, piece.last + 1, last, &piece) != 0) {
            return -PIOMMU_ENOENT; /* somebody else has unmapped it meanwhile */
        }
        if (sync && direction != PIOMMU_DMA_TO_DEVICE) {
            sync_piece(device, &piece, false);
        }
        /* A page that segments share belongs to the one with its first byte: it is taken once. */
        if (pages != NULL && piece.page != NULL &&
            (piece.address & space->granule_mask) <= piece.page->offset &&
            (piece.last & space->granule_mask) >= piece.page->offset) {
            piece.page->next = *pages;
            *pages = piece.page;
        }
    } while (piece.last != last);
    return 0;
}

static int give_to_device(struct piommu_dma_device *device, uint64_t address, uint64_t size)
{
    struct piommu_dma_space *space = device->space;
    uint64_t last = address + (size - 1);
    struct piece piece = {.last = address - 1};
    int error = check_mapped(space, address, last);

    if (error != 0) {
        return error;
    }
    do {
        if (find_piece(space, piece.last + 1, last, &piece) != 0) {
            return -PIOMMU_ENOENT;
        }
        sync_piece(device, &piece, true);
    } while (piece.last != last);
    piommu_host_barrier(space->host, PIOMMU_BARRIER_WRITE);
    return 0;
}

/* A device that snoops and has no bounce pages needs nothing; then this is all there is to do. */
static int check_sync(struct piommu_dma_device *device, uint64_t address, uint64_t size,
                      enum piommu_dma_direction direction)
{
    if (device == NULL || size == 0 || address + (size - 1) < address ||
        !direction_is_valid(direction)) {
        return -PIOMMU_EINVAL;
    }
    return device->careful ? piommu_dma_check_part_(device, address, size, direction) : 0;
}

int piommu_dma_sync_single_for_cpu(struct piommu_dma_device *device, uint64_t address,
                                   uint64_t size, enum piommu_dma_direction direction)
{
    int error = check_sync(device, address, size, direction);

    if (error != 0 || !device->careful) {
        return error;
    }
    return piommu_dma_take_back_(device, address, size, direction, true, NULL);
}

int piommu_dma_sync_single_for_device(struct piommu_dma_device *device, uint64_t address,
                                      uint64_t size, enum piommu_dma_direction direction)
{
    int error = check_sync(device, address, size, direction);

    if (error != 0 || !device->careful) {
        return error;
    }
    return give_to_device(device, address, size);
}

int piommu_dma_sync_sg_for_cpu(struct piommu_dma_device *device,
                               const struct piommu_dma_segment *segments, size_t count,
                               enum piommu_dma_direction direction)
{
    int error = segments != NULL ? 0 : -PIOMMU_EINVAL;

    for (size_t i = 0; i < count && error == 0; i++) {
        error = piommu_dma_sync_single_for_cpu(device, segments[i].address, segments[i].size,
                                               direction);
    }
    return error;
}

int piommu_dma_sync_sg_for_device(struct piommu_dma_device *device,
                                  const struct piommu_dma_segment *segments, size_t count,
                                  enum piommu_dma_direction direction)
{
    int error = segments != NULL ? 0 : -PIOMMU_EINVAL;

    for (size_t i = 0; i < count && error == 0; i++) {
        error = piommu_dma_sync_single_for_device(device, segments[i].address, segments[i].size,
                                                  direction);
    }
    return error;
}
