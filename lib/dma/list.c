/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Mapping and unmapping lists. A list gets one range of addresses, in which its runs follow each
 * other: what is contiguous in memory, and begins and ends in a granule.
 */

#include "dma.h"

/* A list, read run by run. */
struct runs {
    const struct piommu_segment *list;
    size_t count;
    size_t next;
    uint64_t physical; /* the run */
    uint64_t size;
};

static struct runs runs_of(const struct piommu_segment *list, size_t count)
{
    return (struct runs){.list = list, .count = count};
}

/* The list has been checked. */
static bool next_run(struct runs *runs)
{
    if (runs->next == runs->count) {
        return false;
    }
    runs->physical = runs->list[runs->next].physical;
    runs->size = runs->list[runs->next].size;
    runs->next++;
    while (runs->next < runs->count &&
           runs->list[runs->next].physical == runs->physical + runs->size) {
        runs->size += runs->list[runs->next].size;
        runs->next++;
    }
    return true;
}

/* What a list looks like. */
struct survey {
    uint64_t size;  /* of the addresses */
    uint64_t edges; /* bits in which a start or an end is off a multiple */
    bool adjoins;   /* buffers adjoin each other */
};

/* Whether each buffer is a run of its own, and of whole granules. */
static bool list_is_pages(const struct piommu_dma_space *space, const struct survey *survey)
{
    return !survey->adjoins && (survey->edges & space->granule_mask) == 0;
}

static int survey_list(const struct piommu_dma_space *space, const struct piommu_segment *list,
                       size_t count, struct survey *survey)
{
    struct runs runs = runs_of(list, count);
    uint64_t end = list->physical + 1; /* of the buffer before: it is none that the first adjoins */
    bool has_empty = false;
    bool wraps = false;

    *survey = (struct survey){0};
    for (size_t i = 0; i < count; i++) {
        uint64_t physical = list[i].physical;
        uint64_t size = list[i].size;

        has_empty |= size == 0;
        wraps |= size - 1 > UINT64_MAX - physical;
        survey->edges |= physical | size;
        survey->adjoins |= physical == end;
        survey->size += size;
        wraps |= survey->size < size;
        end = physical + size;
    }
    if (has_empty || wraps) {
        return has_empty ? -PIOMMU_EINVAL : -PIOMMU_ERANGE;
    }
    if (list_is_pages(space, survey)) {
        return 0;
    }
    survey->size = 0;
    while (next_run(&runs)) {
        struct span span = span_of(space, runs.physical, runs.size);

        if (span.size == 0 || survey->size + span.size < survey->size) {
            return -PIOMMU_ERANGE;
        }
        survey->size += span.size;
    }
    return 0;
}

/* The segments that a device is to use. */
struct segments {
    const struct piommu_dma_device *device;
    struct piommu_dma_segment *result;
    size_t room;
    size_t used;
};

/* How many bytes may follow in a segment that ends before `address`, and has `size`. */
static uint64_t bytes_left(const struct piommu_dma_device *device, uint64_t address, uint64_t size)
{
    uint64_t of_segment = device->max_segment_size - size;
    uint64_t of_boundary = (~address & device->boundary_mask) + 1;

    return of_segment < of_boundary ? of_segment : of_boundary;
}

/* Adds a range of addresses: to the last segment, as far as it may grow, then in new ones. */
static int add_range(struct segments *segments, uint64_t address, uint64_t size)
{
    const struct piommu_dma_device *device = segments->device;
    struct piommu_dma_segment *last =
        segments->used != 0 ? &segments->result[segments->used - 1] : NULL;

    while (size != 0) {
        bool grows = last != NULL && last->address + last->size == address &&
                     (address & device->boundary_mask) != 0 &&
                     last->size < device->max_segment_size;
        uint64_t left;

        if (!grows) {
            if (segments->used == segments->room) {
                return -PIOMMU_ENOSPC;
            }
            last = &segments->result[segments->used++];
            *last = (struct piommu_dma_segment){.address = address};
        }
        left = bytes_left(device, address, last->size);
        left = left < size ? left : size;
        last->size += left;
        address += left;
        size -= left;
    }
    return 0;
}

static int make_segments(struct segments *segments, const struct piommu_segment *list, size_t count,
                         uint64_t iova, const struct survey *survey)
{
    uint64_t mask = segments->device->space->granule_mask;
    struct runs runs = runs_of(list, count);
    int error = 0;

    if ((survey->edges & mask) == 0) {
        return add_range(segments, iova, survey->size);
    }
    while (error == 0 && next_run(&runs)) {
        error = add_range(segments, iova | (runs.physical & mask), runs.size);
        iova += span_of(segments->device->space, runs.physical, runs.size).size;
    }
    return error;
}

static int map_runs(struct builder *builder, const struct piommu_segment *list, size_t count)
{
    struct runs runs = runs_of(list, count);
    int error = 0;

    while (error == 0 && next_run(&runs)) {
        error = piommu_dma_builder_add_(builder, runs.physical, runs.size);
    }
    return error == 0 ? piommu_dma_builder_finish_(builder) : error;
}

/* From the first byte of a mapped list to the last. */
static struct record record_of(struct piommu_dma_device *device,
                               const struct piommu_dma_segment *segments, size_t count,
                               enum piommu_dma_direction direction)
{
    const struct piommu_dma_segment *last = &segments[count - 1];

    return (struct record){.device = device,
                           .address = segments->address,
                           .size = last->address + last->size - segments->address,
                           .direction = direction,
                           .kind = RECORD_LIST};
}

static NEVER_INLINE int record_list(struct piommu_dma_device *device,
                                    const struct segments *segments,
                                    enum piommu_dma_direction direction)
{
    struct record record = record_of(device, segments->result, segments->used, direction);

    return piommu_dma_record_(device, &record);
}

/* Apart, so that the short way does not need its stack. */
static NEVER_INLINE int map_carefully(struct piommu_dma_device *device,
                                      const struct piommu_segment *list, size_t count,
                                      enum piommu_dma_direction direction, unsigned int flags,
                                      struct span all, const struct segments *segments)
{
    struct piommu_segment pieces[PIOMMU_DMA_PIECES];
    struct builder builder;
    int error;

    piommu_dma_builder_open_(&builder, pieces, PIOMMU_DMA_PIECES, device, direction, flags,
                             all.first);
    error = map_runs(&builder, list, count);
    if (error == 0 && device->space->debug) {
        error = record_list(device, segments, direction);
    }
    return error != 0 ? piommu_dma_undo_(device->space, all, builder.next - all.first,
                                         builder.pages, error)
                      : 0;
}

static int map_addresses(struct piommu_dma_device *device, const struct piommu_segment *list,
                         size_t count, enum piommu_dma_direction direction, unsigned int flags,
                         const struct survey *survey, struct span all,
                         const struct segments *segments)
{
    struct piommu_dma_space *space = device->space;

    /* As it is, if it can be. */
    if (LIKELY(!device->careful && list_is_pages(space, survey))) {
        int error =
            piommu_domain_map_list(space->domain, all.first, list, count, device->prot[direction]);

        return error != 0 ? piommu_dma_undo_(space, all, 0, NULL, error) : 0;
    }
    return map_carefully(device, list, count, direction, flags, all, segments);
}

/*
 * Addresses that need no cut at a boundary, if there are such. What most lists need does not cross
 * one even where nobody takes care.
 */
static int find_addresses(struct piommu_dma_device *device, const struct piommu_segment *list,
                          uint64_t size, uint64_t *iova)
{
    struct piommu_dma_space *space = device->space;
    const struct piommu_iova_request request = {
        .size = size, .limit = device->mask, .preferred = device->preferred};
    uint64_t boundary = device->boundary_mask + 1;

    if (LIKELY(size < space->large && piommu_iova_alloc(space->iova, &request, iova) == 0)) {
        if (size > boundary || ((*iova ^ (*iova + (size - 1))) & ~device->boundary_mask) == 0) {
            return 0;
        }
        (void)piommu_iova_free(space->iova, *iova, size);
    }
    return piommu_dma_find_addresses_(device, list->physical & ~space->granule_mask, size,
                                      device->mask, size <= boundary ? boundary : 0, iova);
}

int piommu_dma_map_sg(struct piommu_dma_device *device, const struct piommu_segment *list,
                      size_t count, enum piommu_dma_direction direction, unsigned int flags,
                      struct piommu_dma_segment *result, size_t room, size_t *used)
{
    struct segments segments = {.device = device, .result = result, .room = room};
    struct survey survey;
    struct span all;
    int error;

    if (device == NULL || list == NULL || count == 0 || result == NULL || used == NULL ||
        !direction_is_valid(direction) || (flags & ~PIOMMU_DMA_NO_CPU_SYNC) != 0) {
        return -PIOMMU_EINVAL;
    }
    error = survey_list(device->space, list, count, &survey);
    if (error == 0) {
        error = find_addresses(device, list, survey.size, &all.first);
    }
    if (error != 0) {
        return error;
    }
    all.size = survey.size;
    error = make_segments(&segments, list, count, all.first, &survey);
    if (error != 0) {
        (void)piommu_iova_free(device->space->iova, all.first, all.size);
        return error;
    }
    error = map_addresses(device, list, count, direction, flags, &survey, all, &segments);
    if (error == 0) {
        *used = segments.used;
    }
    return error;
}

/* Is each segment behind the one before? Else a bounce page might be collected twice. */
static bool are_ascending(const struct piommu_dma_segment *segments, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        if (segments[i].address < segments[i - 1].address ||
            segments[i].address - segments[i - 1].address < segments[i - 1].size) {
            return false;
        }
    }
    return true;
}

/* Gives all bytes of a list back to the CPU, and collects its bounce pages. */
static int before_unmap(struct piommu_dma_device *device, const struct piommu_dma_segment *segments,
                        size_t count, enum piommu_dma_direction direction, unsigned int flags,
                        struct bounce_page **pages)
{
    int error = 0;

    for (size_t i = 0; i < count && error == 0; i++) {
        error = piommu_dma_before_unmap_(device, segments[i].address, segments[i].size, direction,
                                         flags, pages);
    }
    return error;
}

int piommu_dma_unmap_sg(struct piommu_dma_device *device, const struct piommu_dma_segment *segments,
                        size_t count, enum piommu_dma_direction direction, unsigned int flags)
{
    struct bounce_page *pages = NULL;
    struct record record;

    if (device == NULL || segments == NULL || count == 0 || !direction_is_valid(direction) ||
        (flags & ~PIOMMU_DMA_NO_CPU_SYNC) != 0) {
        return -PIOMMU_EINVAL;
    }
    record = record_of(device, segments, count, direction);
    if (device->careful) {
        int error = piommu_dma_check_record_(device, &record);

        if (error == 0 && !are_ascending(segments, count)) {
            error = -PIOMMU_EINVAL;
        }
        if (error == 0) {
            error = before_unmap(device, segments, count, direction, flags, &pages);
        }
        if (error != 0) {
            return error;
        }
        piommu_dma_drop_record_(device, &record);
    }
    return release_around(device->space, record.address, record.size, pages);
}
