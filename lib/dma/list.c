/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Mapping and unmapping lists. A list gets one range of addresses, in which its runs follow each
 * other: what is contiguous in memory, and begins and ends in a granule.
 */

#include "dma.h"

/* A list, read run by run. */
struct runs {
    const struct piommu_segment *next;
    const struct piommu_segment *end;
};

static struct runs runs_of(const struct piommu_segment *list, size_t count)
{
    return (struct runs){.next = list, .end = list + count};
}

/* The list has been checked. */
static bool next_run(struct runs *runs, struct piommu_segment *run)
{
    if (runs->next == runs->end) {
        return false;
    }
    *run = *runs->next++;
    while (runs->next != runs->end && runs->next->physical == run->physical + run->size) {
        run->size += runs->next->size;
        runs->next++;
    }
    return true;
}

/* What is known of a list before anything is mapped. */
struct plan {
    struct span all; /* its addresses */
    uint64_t edges;  /* bits in which a start or an end is off a multiple */
    bool adjoins;    /* buffers adjoin each other */
    size_t used;     /* segments */
    struct leftover leftover;
};

/* Whether each buffer is a run of its own, and of whole granules. */
static bool list_is_pages(const struct piommu_dma_space *space, const struct plan *plan)
{
    return !plan->adjoins && (plan->edges & space->granule_mask) == 0;
}

/* Checks a list, and finds out what it looks like. */
static APART_IF_SHALLOW int survey_list(const struct piommu_dma_space *space,
                                        const struct piommu_segment *list, size_t count,
                                        struct plan *plan)
{
    struct runs runs = runs_of(list, count);
    struct piommu_segment run;
    uint64_t end = list->physical + 1; /* of the buffer before: it is none that the first adjoins */
    uint64_t edges = 0;
    uint64_t sum = 0;
    bool adjoins = false;
    bool has_empty = false;
    bool wraps = false;

    for (size_t i = 0; i < count; i++) {
        uint64_t physical = list[i].physical;
        uint64_t size = list[i].size;

        has_empty |= size == 0;
        wraps |= size - 1 > UINT64_MAX - physical;
        edges |= physical | size;
        adjoins |= physical == end;
        sum += size;
        wraps |= sum < size;
        end = physical + size;
    }
    *plan = (struct plan){.all = {.size = sum}, .edges = edges, .adjoins = adjoins};
    if (has_empty || wraps) {
        return has_empty ? -PIOMMU_EINVAL : -PIOMMU_ERANGE;
    }
    if (list_is_pages(space, plan)) {
        return 0;
    }
    sum = 0;
    while (next_run(&runs, &run)) {
        struct span span = span_of(space, run.physical, run.size);

        if (span.size == 0 || sum + span.size < sum) {
            return -PIOMMU_ERANGE;
        }
        sum += span.size;
    }
    plan->all.size = sum;
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

static APART_IF_SHALLOW int make_segments(const struct piommu_dma_device *device,
                                          const struct piommu_segment *list, size_t count,
                                          struct piommu_dma_segment *result, size_t room,
                                          struct plan *plan)
{
    struct segments segments = {.device = device, .result = result, .room = room};
    struct runs runs = runs_of(list, count);
    struct piommu_segment run;
    uint64_t mask = device->space->granule_mask;
    uint64_t iova = plan->all.first;
    int error = 0;

    if ((plan->edges & mask) == 0) {
        error = add_range(&segments, iova, plan->all.size);
        runs.next = runs.end;
    }
    while (error == 0 && next_run(&runs, &run)) {
        error = add_range(&segments, iova | (run.physical & mask), run.size);
        iova += span_of(device->space, run.physical, run.size).size;
    }
    plan->used = segments.used;
    return error;
}

/* From the first byte of a mapped list to the last. */
static uint64_t size_of(const struct piommu_dma_segment *segments, size_t count)
{
    const struct piommu_dma_segment *last = &segments[count - 1];

    return last->address + last->size - segments->address;
}

/* What most lists need does not cross a boundary even where nobody takes care. */
static APART_IF_SHALLOW bool take_addresses(struct piommu_dma_device *device, uint64_t size,
                                            uint64_t *iova)
{
    struct piommu_dma_space *space = device->space;
    const struct piommu_iova_request request = {
        .size = size, .limit = device->mask, .preferred = device->preferred};

    if (LIKELY(size < space->large && piommu_iova_alloc(space->iova, &request, iova) == 0)) {
        if (size > device->boundary_mask + 1 ||
            ((*iova ^ (*iova + (size - 1))) & ~device->boundary_mask) == 0) {
            return true;
        }
        (void)piommu_iova_free(space->iova, *iova, size);
    }
    return false;
}

/* Addresses that need no cut at a boundary, if there are such. */
static int find_addresses(struct piommu_dma_device *device, uint64_t hint, uint64_t size,
                          uint64_t *iova)
{
    uint64_t boundary = device->boundary_mask + 1;

    if (LIKELY(take_addresses(device, size, iova))) {
        return 0;
    }
    return piommu_dma_find_addresses_(device, hint & ~device->space->granule_mask, size,
                                      device->mask, size <= boundary ? boundary : 0, iova);
}

/* Finds addresses for a list, and makes its segments. */
static APART_IF_SHALLOW int make_plan(struct piommu_dma_device *device,
                                      const struct piommu_segment *list, size_t count,
                                      struct piommu_dma_segment *result, size_t room,
                                      struct plan *plan)
{
    int error = survey_list(device->space, list, count, plan);

    if (error == 0) {
        error = find_addresses(device, list->physical, plan->all.size, &plan->all.first);
    }
    if (error != 0) {
        return error;
    }
    error = make_segments(device, list, count, result, room, plan);
    if (error != 0) {
        (void)piommu_iova_free(device->space->iova, plan->all.first, plan->all.size);
    }
    return error;
}

static int map_runs(struct builder *builder, struct runs runs)
{
    struct piommu_segment run;
    int error = 0;

    while (error == 0 && next_run(&runs, &run)) {
        error = piommu_dma_builder_add_(builder, run.physical, run.size);
    }
    return error == 0 ? piommu_dma_builder_finish_(builder) : error;
}

/* Apart, so that the short way does not need its stack. */
static NEVER_INLINE int map_carefully(struct piommu_dma_device *device, struct runs runs,
                                      enum piommu_dma_direction direction, unsigned int flags,
                                      struct plan *plan, const struct piommu_dma_segment *result)
{
    struct builder builder;
    int error;

    piommu_dma_builder_open_(&builder, device, direction, flags, plan->all.first);
    error = map_runs(&builder, runs);
    if (error == 0) {
        error = piommu_dma_record_(device, result->address, size_of(result, plan->used), direction,
                                   RECORD_LIST);
    }
    plan->leftover = leftover_of(&builder, plan->all.first);
    return error;
}

int piommu_dma_map_sg(struct piommu_dma_device *device, const struct piommu_segment *list,
                      size_t count, enum piommu_dma_direction direction, unsigned int flags,
                      struct piommu_dma_segment *result, size_t room, size_t *used)
{
    struct plan plan;
    int error;

    if (device == NULL || list == NULL || count == 0 || result == NULL || used == NULL ||
        !direction_is_valid(direction) || (flags & ~PIOMMU_DMA_NO_CPU_SYNC) != 0) {
        return -PIOMMU_EINVAL;
    }
    error = make_plan(device, list, count, result, room, &plan);
    if (error != 0) {
        return error;
    }
    if (UNLIKELY(device->careful || !list_is_pages(device->space, &plan))) {
        error = map_carefully(device, runs_of(list, count), direction, flags, &plan, result);
    } else {
        /* As it is. */
        error = piommu_domain_map_list(device->space->domain, plan.all.first, list, count,
                                       device->prot[direction]);
    }
    if (UNLIKELY(error != 0)) {
        return piommu_dma_undo_(device->space, plan.all, plan.leftover.mapped, plan.leftover.pages,
                                error);
    }
    *used = plan.used;
    return 0;
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
    uint64_t size;

    if (device == NULL || segments == NULL || count == 0 || !direction_is_valid(direction) ||
        (flags & ~PIOMMU_DMA_NO_CPU_SYNC) != 0) {
        return -PIOMMU_EINVAL;
    }
    size = size_of(segments, count);
    if (device->careful) {
        int error =
            piommu_dma_check_record_(device, segments->address, size, direction, RECORD_LIST);

        if (error == 0 && !are_ascending(segments, count)) {
            error = -PIOMMU_EINVAL;
        }
        if (error == 0) {
            error = before_unmap(device, segments, count, direction, flags, &pages);
        }
        if (error != 0) {
            return error;
        }
        piommu_dma_drop_record_(device, segments->address);
    }
    return release_around(device->space, segments->address, size, pages);
}
