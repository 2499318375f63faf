/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* Mapping and unmapping one buffer. */

#include "dma.h"

/* ---- The builder ---- */

void piommu_dma_builder_open_(struct builder *builder, struct piommu_dma_device *device,
                              enum piommu_dma_direction direction, unsigned int flags,
                              uint64_t iova)
{
    bool synced = (flags & PIOMMU_DMA_NO_CPU_SYNC) == 0;

    builder->device = device;
    builder->next = iova;
    builder->prot = device->prot[direction];
    builder->bounces_granules = device->untrusted;
    /* Of a line that the device has written in part, nobody could save the rest. */
    builder->bounces_lines = device->non_coherent && direction != PIOMMU_DMA_TO_DEVICE;
    builder->copies = synced;
    builder->cleans = synced && device->non_coherent;
    builder->count = 0;
    builder->apart = 0;
    builder->pages = NULL;
}

/* Maps what was collected; not all of what comes after that is done (map_pieces). */
static NEVER_INLINE int send_pieces(struct builder *builder)
{
    uint16_t count = builder->count;

    builder->sent = 0;
    for (uint16_t i = 0; i < count; i++) {
        builder->sent += builder->pieces[i].size;
    }
    builder->count = 0;
    builder->apart = 0;
    return count != 0 ? piommu_domain_map_list(builder->device->space->domain, builder->next,
                                               builder->pieces, count, builder->prot)
                      : 0;
}

static ALWAYS_INLINE int map_pieces(struct builder *builder)
{
    int error = send_pieces(builder);

    if (error == 0) {
        builder->next += builder->sent;
    }
    return error;
}

void piommu_dma_builder_part_(struct builder *builder)
{
    builder->apart = builder->count;
}

/*
 * What adjoins in memory and is mapped by one call can be unmapped only as a whole: it may share a
 * leaf or a request. So it is where an earlier part ends; of a page for bouncing nobody knows.
 */
static bool must_map_first(const struct builder *builder, bool bounces)
{
    const struct piommu_segment *before;

    if (builder->count == PIOMMU_DMA_PIECES) {
        return true;
    }
    if (builder->count == 0 || builder->count != builder->apart) {
        return false;
    }
    before = &builder->pieces[builder->count - 1];
    return bounces || before->physical + before->size ==
                          (builder->physical & ~builder->device->space->granule_mask);
}

static void add_piece(struct builder *builder, uint64_t physical, uint64_t size)
{
    builder->pieces[builder->count++] = (struct piommu_segment){.physical = physical, .size = size};
}

/* Bounces bytes that lie in one granule. */
static int add_page(struct builder *builder, uint64_t size)
{
    struct piommu_dma_device *device = builder->device;
    struct piommu_dma_space *space = device->space;
    struct bounce_page *page;
    int error = piommu_dma_take_page_(space, builder->physical, size, &page);

    if (error != 0) {
        return error;
    }
    page->next = builder->pages;
    builder->pages = page;
    piommu_dma_fill_page_(device, page, builder->copies);
    add_piece(builder, piommu_dma_page_physical_(space, page), space->granule_mask + 1);
    return 0;
}

static void add_memory(struct builder *builder, uint64_t size)
{
    struct span span = span_of(builder->device->space, builder->physical, size);

    if (builder->cleans) {
        piommu_dma_clean_(builder->device, builder->physical, size);
    }
    add_piece(builder, span.first, span.size);
}

/* Is there something beside this end of a buffer that the device must not see or destroy? */
static bool is_bounced(const struct builder *builder, uint64_t end)
{
    const struct piommu_dma_space *space = builder->device->space;

    return (builder->bounces_granules && (end & space->granule_mask) != 0) ||
           (builder->bounces_lines && (end & space->line_mask) != 0);
}

/*
 * How much of what is left comes next, and whether it is bounced: the granules at its ends may be,
 * what is between them is not.
 */
static uint64_t next_part(const struct builder *builder, bool *bounces)
{
    uint64_t mask = builder->device->space->granule_mask;
    uint64_t last = builder->physical + (builder->left - 1);
    uint64_t last_granule = last & ~mask;
    bool head = is_bounced(builder, builder->physical);
    bool tail = is_bounced(builder, last + 1);

    *bounces = head || (tail && last_granule <= builder->physical);
    if (last_granule <= builder->physical) {
        return builder->left;
    }
    if (head) {
        return (builder->physical | mask) + 1 - builder->physical;
    }
    return (tail ? last_granule : last + 1) - builder->physical;
}

/* Adds what comes next, if there is room; else tells that pieces have to be mapped first. */
static NEVER_INLINE int add_next(struct builder *builder, bool *full)
{
    bool bounces;
    uint64_t size = next_part(builder, &bounces);
    int error = 0;

    *full = must_map_first(builder, bounces);
    if (*full) {
        return 0;
    }
    if (bounces) {
        error = add_page(builder, size);
    } else {
        add_memory(builder, size);
    }
    builder->physical += size;
    builder->left -= size;
    return error;
}

/* Mapping is not below the rest: both need much of the stack. */
int piommu_dma_builder_add_(struct builder *builder, uint64_t physical, uint64_t size)
{
    int error = 0;

    builder->physical = physical;
    builder->left = size;
    while (error == 0 && builder->left != 0) {
        bool full;

        error = add_next(builder, &full);
        if (full) {
            error = map_pieces(builder);
        }
    }
    return error;
}

int piommu_dma_builder_finish_(struct builder *builder)
{
    int error = map_pieces(builder);

    if (error == 0 && (builder->cleans || builder->pages != NULL)) {
        piommu_host_barrier(builder->device->space->host, PIOMMU_BARRIER_WRITE);
    }
    return error;
}

/* ---- One buffer ---- */

int piommu_dma_before_unmap_(struct piommu_dma_device *device, uint64_t address, uint64_t size,
                             enum piommu_dma_direction direction, unsigned int flags,
                             struct bounce_page **pages)
{
    bool sync = (flags & PIOMMU_DMA_NO_CPU_SYNC) == 0;

    return piommu_dma_take_back_(device, address, size, direction, sync, pages);
}

static NEVER_INLINE int map_carefully(struct piommu_dma_device *device, uint64_t physical,
                                      uint64_t size, enum piommu_dma_direction direction,
                                      unsigned int flags, uint64_t iova, struct leftover *leftover)
{
    struct builder builder;
    int error;

    piommu_dma_builder_open_(&builder, device, direction, flags, iova);
    error = piommu_dma_builder_add_(&builder, physical, size);
    if (error == 0) {
        error = piommu_dma_builder_finish_(&builder);
    }
    if (error == 0) {
        error = piommu_dma_record_(device, iova | (physical & device->space->granule_mask), size,
                                   direction, RECORD_SINGLE);
    }
    *leftover = leftover_of(&builder, iova);
    return error;
}

/* What most mappings need is asked for here. */
static INLINE_IF_NOT_SHALLOW bool take_addresses(struct piommu_dma_device *device, uint64_t size,
                                                 uint64_t *iova)
{
    const struct piommu_iova_request request = {
        .size = size, .limit = device->mask, .preferred = device->preferred};

    if (device->space->lazy && size == device->space->granule_mask + 1 && device->preferred == 0) {
        *iova = piommu_dma_take_stock_(device);
        if (*iova != 0) {
            return true;
        }
    }
    return size < device->space->large &&
           piommu_iova_alloc(device->space->iova, &request, iova) == 0;
}

static ALWAYS_INLINE int find_addresses(struct piommu_dma_device *device, uint64_t hint,
                                        uint64_t size, uint64_t *iova)
{
    if (LIKELY(take_addresses(device, size, iova))) {
        return 0;
    }
    return piommu_dma_find_addresses_(device, hint, size, device->mask, 0, iova);
}

int piommu_dma_map_single(struct piommu_dma_device *device, uint64_t physical, uint64_t size,
                          enum piommu_dma_direction direction, unsigned int flags,
                          uint64_t *address)
{
    struct piommu_dma_space *space;
    struct span memory;
    struct span all;
    int error;

    if (UNLIKELY(device == NULL || address == NULL || size == 0 || !direction_is_valid(direction) ||
                 (flags & ~PIOMMU_DMA_NO_CPU_SYNC) != 0)) {
        return -PIOMMU_EINVAL;
    }
    space = device->space;
    memory = span_of(space, physical, size);
    if (UNLIKELY(memory.size == 0)) {
        return -PIOMMU_ERANGE;
    }
    error = find_addresses(device, memory.first, memory.size, &all.first);
    if (UNLIKELY(error != 0)) {
        return error;
    }
    all.size = memory.size;
    if (UNLIKELY(device->careful)) {
        struct leftover leftover;

        error = map_carefully(device, physical, size, direction, flags, all.first, &leftover);
        if (error != 0) {
            error = piommu_dma_undo_(space, all, leftover.mapped, leftover.pages, error);
        }
    } else {
        error = piommu_domain_map(space->domain, all.first, memory.first, memory.size,
                                  device->prot[direction]);
        if (UNLIKELY(error != 0)) {
            error = piommu_dma_undo_(space, all, 0, NULL, error);
        }
    }
    if (LIKELY(error == 0)) {
        *address = all.first | (physical & space->granule_mask);
    }
    return error;
}

static NEVER_INLINE int unmap_carefully(struct piommu_dma_device *device, uint64_t address,
                                        uint64_t size, enum piommu_dma_direction direction,
                                        unsigned int flags)
{
    struct bounce_page *pages = NULL;
    int error = piommu_dma_check_record_(device, address, size, direction, RECORD_SINGLE);

    if (error == 0) {
        error = piommu_dma_before_unmap_(device, address, size, direction, flags, &pages);
    }
    if (error != 0) {
        return error;
    }
    piommu_dma_drop_record_(device, address);
    return release_around(device->space, address, size, pages);
}

int piommu_dma_unmap_single(struct piommu_dma_device *device, uint64_t address, uint64_t size,
                            enum piommu_dma_direction direction, unsigned int flags)
{
    if (UNLIKELY(device == NULL || !direction_is_valid(direction) ||
                 (flags & ~PIOMMU_DMA_NO_CPU_SYNC) != 0)) {
        return -PIOMMU_EINVAL;
    }
    if (UNLIKELY(device->careful)) {
        return unmap_carefully(device, address, size, direction, flags);
    }
    return release_around(device->space, address, size, NULL);
}

/* ---- Registers ---- */

int piommu_dma_map_resource(struct piommu_dma_device *device, uint64_t physical, uint64_t size,
                            enum piommu_dma_direction direction, uint64_t *address)
{
    struct piommu_dma_space *space;
    struct span memory;
    struct span all;
    piommu_prot prot;
    int error;

    if (device == NULL || address == NULL || size == 0 || !direction_is_valid(direction)) {
        return -PIOMMU_EINVAL;
    }
    space = device->space;
    if (device->untrusted && ((physical | size) & space->granule_mask) != 0) {
        return -PIOMMU_EINVAL;
    }
    memory = span_of(space, physical, size);
    if (memory.size == 0) {
        return -PIOMMU_ERANGE;
    }
    error = find_addresses(device, memory.first, memory.size, &all.first);
    if (error != 0) {
        return error;
    }
    all.size = memory.size;
    prot = device->prot[direction] & ~PIOMMU_PROT_NONCACHEABLE;
    error = piommu_domain_map(space->domain, all.first, memory.first, memory.size,
                              prot | (space->can & PIOMMU_PROT_DEVICE));
    if (error != 0) {
        return piommu_dma_undo_(space, all, 0, NULL, error);
    }
    error = piommu_dma_record_(device, all.first | (physical & space->granule_mask), size,
                               direction, RECORD_RESOURCE);
    if (error != 0) {
        return piommu_dma_undo_(space, all, all.size, NULL, error);
    }
    *address = all.first | (physical & space->granule_mask);
    return 0;
}

int piommu_dma_unmap_resource(struct piommu_dma_device *device, uint64_t address, uint64_t size,
                              enum piommu_dma_direction direction)
{
    int error;

    if (device == NULL || !direction_is_valid(direction)) {
        return -PIOMMU_EINVAL;
    }
    error = piommu_dma_check_record_(device, address, size, direction, RECORD_RESOURCE);
    if (error != 0) {
        return error;
    }
    piommu_dma_drop_record_(device, address);
    return release_around(device->space, address, size, NULL);
}
