/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Mappings that are built piece by piece. Links that follow each other wait in a builder, so that a
 * backend that is told each mapping is told of them together; but not where their memory adjoins,
 * since each can be unlinked alone.
 */

#include "dma.h"

/* Links that follow each other, mapped since the caller's last sync. */
struct run {
    struct run *next;
    struct span links;
    struct bounce_page *pages;
};

struct piommu_dma_range {
    struct piommu_dma_device *device;
    struct span all;
    uint64_t address;
    uint64_t size;
    uint64_t linked; /* bytes of granules that are mapped, and synced */
    bool stuck;      /* hardware may know something of it that it should have forgotten */
    struct run *runs;
    bool waits; /* links are in the builder, or were mapped by it, and make no run yet */
    enum piommu_dma_direction direction; /* of these */
    unsigned int flags;
    uint64_t begin; /* where they begin, and where the next one would */
    uint64_t end;
    struct builder builder;
};

int piommu_dma_reserve(struct piommu_dma_device *device, uint64_t physical, uint64_t size,
                       struct piommu_dma_range **result, uint64_t *address)
{
    struct piommu_dma_space *space;
    struct piommu_dma_range *range;
    struct span memory;
    int error;

    if (device == NULL || result == NULL || address == NULL || size == 0) {
        return -PIOMMU_EINVAL;
    }
    space = device->space;
    memory = span_of(space, physical, size);
    if (memory.size == 0) {
        return -PIOMMU_ERANGE;
    }
    range = piommu_host_alloc_(space->host, sizeof(*range));
    if (range == NULL) {
        return -PIOMMU_ENOMEM;
    }
    range->device = device;
    range->size = size;
    range->all.size = memory.size;
    error = piommu_dma_find_addresses_(device, memory.first, memory.size, device->mask, 0,
                                       &range->all.first);
    if (error == 0) {
        range->address = range->all.first | (physical & space->granule_mask);
        error = piommu_dma_record_(device, range->address, size, PIOMMU_DMA_BIDIRECTIONAL,
                                   RECORD_RANGE);
        if (error != 0) {
            (void)piommu_iova_free(space->iova, range->all.first, range->all.size);
        }
    }
    if (error != 0) {
        piommu_host_free_(space->host, range, sizeof(*range));
        return error;
    }
    *result = range;
    *address = range->address;
    return 0;
}

static struct span waiting_links(const struct piommu_dma_range *range)
{
    return (struct span){.first = range->begin, .size = range->end - range->begin};
}

static int take_back(struct piommu_dma_range *range, struct span links, uint64_t mapped,
                     struct bounce_page *pages, int error)
{
    const struct span none = {0};

    error = piommu_dma_withdraw_(range->device->space, links, mapped, none, pages, error);
    range->stuck = range->stuck || error == -PIOMMU_EFAILED;
    return error;
}

static struct span pop_run(struct piommu_dma_range *range, struct bounce_page **pages)
{
    struct run *run = range->runs;
    const struct span links = run->links;

    *pages = run->pages;
    range->runs = run->next;
    piommu_host_free_(range->device->space->host, run, sizeof(*run));
    return links;
}

/* Takes back all links since the last sync, as far as they were mapped. */
static int drop_links(struct piommu_dma_range *range, int error)
{
    struct bounce_page *pages;

    if (range->waits) {
        range->waits = false;
        error = take_back(range, waiting_links(range), range->builder.next - range->begin,
                          range->builder.pages, error);
    }
    while (range->runs != NULL) {
        struct span links = pop_run(range, &pages);

        error = take_back(range, links, links.size, pages, error);
    }
    return error;
}

/* What waits becomes a run: what comes next does not follow it. */
static int end_run(struct piommu_dma_range *range)
{
    struct run *run = piommu_host_alloc_(range->device->space->host, sizeof(*run));
    int error;

    if (run == NULL) {
        return drop_links(range, -PIOMMU_ENOMEM);
    }
    error = piommu_dma_builder_finish_(&range->builder);
    if (error != 0) {
        piommu_host_free_(range->device->space->host, run, sizeof(*run));
        return drop_links(range, error);
    }
    *run = (struct run){
        .next = range->runs, .links = waiting_links(range), .pages = range->builder.pages};
    range->runs = run;
    range->waits = false;
    return 0;
}

int piommu_dma_range_sync(struct piommu_dma_range *range)
{
    struct bounce_page *pages;
    int error;

    if (range == NULL) {
        return -PIOMMU_EINVAL;
    }
    if (range->waits) {
        error = piommu_dma_builder_finish_(&range->builder);
        if (error != 0) {
            return drop_links(range, error);
        }
        range->linked += waiting_links(range).size;
        range->waits = false;
    }
    while (range->runs != NULL) {
        range->linked += pop_run(range, &pages).size;
    }
    return 0;
}

/* The granules of a part; size 0 if it is not in the range. */
static struct span part_of(const struct piommu_dma_range *range, uint64_t offset, uint64_t size)
{
    const struct span none = {0};

    if (size == 0 || offset >= range->size || size > range->size - offset) {
        return none;
    }
    return span_of(range->device->space, range->address + offset, size);
}

static void begin_links(struct piommu_dma_range *range, uint64_t iova,
                        enum piommu_dma_direction direction, unsigned int flags)
{
    piommu_dma_builder_open_(&range->builder, range->device, direction, flags, iova);
    range->direction = direction;
    range->flags = flags;
    range->begin = iova;
    range->end = iova;
    range->waits = true;
}

int piommu_dma_link(struct piommu_dma_range *range, uint64_t offset, uint64_t physical,
                    uint64_t size, enum piommu_dma_direction direction, unsigned int flags)
{
    struct span part;
    int error;

    if (range == NULL || size == 0 || !direction_is_valid(direction) ||
        (flags & ~PIOMMU_DMA_NO_CPU_SYNC) != 0 ||
        ((range->address + offset - physical) & range->device->space->granule_mask) != 0) {
        return -PIOMMU_EINVAL;
    }
    part = part_of(range, offset, size);
    if (part.size == 0 || span_of(range->device->space, physical, size).size == 0) {
        return -PIOMMU_ERANGE;
    }
    if (range->waits &&
        (part.first != range->end || direction != range->direction || flags != range->flags)) {
        error = end_run(range);
        if (error != 0) {
            return error;
        }
    }
    if (!range->waits) {
        begin_links(range, part.first, direction, flags);
    }
    range->end = part.first + part.size;
    piommu_dma_builder_part_(&range->builder);
    error = piommu_dma_builder_add_(&range->builder, physical, size);
    return error != 0 ? drop_links(range, error) : 0;
}

int piommu_dma_unlink(struct piommu_dma_range *range, uint64_t offset, uint64_t size,
                      enum piommu_dma_direction direction, unsigned int flags)
{
    struct bounce_page *pages = NULL;
    struct piommu_dma_device *device;
    struct span part;
    uint64_t removed;
    int error;

    if (range == NULL || !direction_is_valid(direction) || (flags & ~PIOMMU_DMA_NO_CPU_SYNC) != 0) {
        return -PIOMMU_EINVAL;
    }
    device = range->device;
    part = part_of(range, offset, size);
    if (part.size == 0) {
        return -PIOMMU_EINVAL;
    }
    error = piommu_dma_range_sync(range);
    if (error == 0 && device->careful) {
        error = piommu_dma_before_unmap_(device, range->address + offset, size, direction, flags,
                                         &pages);
    }
    if (error != 0) {
        return error;
    }
    error = piommu_dma_unmap_part_(device->space, part, pages, &removed);
    range->linked -= removed;
    range->stuck = range->stuck || error == -PIOMMU_EFAILED;
    return error;
}

int piommu_dma_unreserve(struct piommu_dma_range *range)
{
    struct piommu_dma_space *space;
    int error;

    if (range == NULL) {
        return 0;
    }
    space = range->device->space;
    if (range->linked != 0) {
        return -PIOMMU_EBUSY;
    }
    error = drop_links(range, 0);
    piommu_dma_drop_record_(range->device, range->address);
    if (range->stuck && piommu_dma_anything_stuck_(space)) {
        /* The addresses are free as soon as what is stuck is forgotten. */
        (void)piommu_dma_withdraw_(space, range->all, 0, range->all, NULL, -PIOMMU_EFAILED);
    } else {
        (void)piommu_iova_free(space->iova, range->all.first, range->all.size);
    }
    piommu_host_free_(space->host, range, sizeof(*range));
    return error;
}
