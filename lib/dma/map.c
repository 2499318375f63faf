/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* Mapping and unmapping one buffer. */

#include "dma.h"

/* ---- The builder ---- */

void piommu_dma_builder_open_(struct builder *builder, struct piommu_segment *pieces, size_t room,
                              struct piommu_dma_device *device, enum piommu_dma_direction direction,
                              unsigned int flags, uint64_t iova)
{
    bool synced = (flags & PIOMMU_DMA_NO_CPU_SYNC) == 0;

    builder->pieces = pieces;
    builder->room = room;
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

static int map_pieces(struct builder *builder)
{
    struct piommu_domain *domain = builder->device->space->domain;
    uint64_t size = 0;
    int error;

    if (builder->count == 0) {
        return 0;
    }
    error = piommu_domain_map_list(domain, builder->next, builder->pieces, builder->count,
                                   builder->prot);
    for (size_t i = 0; i < builder->count; i++) {
        size += builder->pieces[i].size;
    }
    builder->count = 0;
    builder->apart = 0;
    if (error == 0) {
        builder->next += size;
    }
    return error;
}

void piommu_dma_builder_part_(struct builder *builder)
{
    builder->apart = builder->count;
}

/*
 * What adjoins in memory and is mapped by one call can be unmapped only as a whole: it may share a
 * leaf or a request.
 */
static bool would_be_joined(const struct builder *builder, uint64_t physical)
{
    const struct piommu_segment *before = &builder->pieces[builder->count - 1];

    return builder->count == builder->apart && before->physical + before->size == physical;
}

static int add_piece(struct builder *builder, uint64_t physical, uint64_t size)
{
    int error = 0;

    if (builder->count == builder->room ||
        (builder->count != 0 && would_be_joined(builder, physical))) {
        error = map_pieces(builder);
    }
    if (error == 0) {
        builder->pieces[builder->count++] =
            (struct piommu_segment){.physical = physical, .size = size};
    }
    return error;
}

/* Bounces bytes that lie in one granule. */
static int add_page(struct builder *builder, uint64_t physical, uint64_t size)
{
    struct piommu_dma_device *device = builder->device;
    struct piommu_dma_space *space = device->space;
    struct bounce_page *page;
    int error = piommu_dma_take_page_(space, physical, size, &page);

    if (error != 0) {
        return error;
    }
    page->next = builder->pages;
    builder->pages = page;
    piommu_dma_fill_page_(device, page, builder->copies);
    return add_piece(builder, piommu_dma_page_physical_(space, page), space->granule_mask + 1);
}

/* Is there something beside this end of a buffer that the device must not see or destroy? */
static bool is_bounced(const struct builder *builder, uint64_t end)
{
    const struct piommu_dma_space *space = builder->device->space;

    return (builder->bounces_granules && (end & space->granule_mask) != 0) ||
           (builder->bounces_lines && (end & space->line_mask) != 0);
}

int piommu_dma_builder_add_(struct builder *builder, uint64_t physical, uint64_t size)
{
    uint64_t mask = builder->device->space->granule_mask;
    uint64_t last = physical + (size - 1);
    uint64_t first_of_tail = last & ~mask;
    bool head = is_bounced(builder, physical);
    bool tail = is_bounced(builder, last + 1);
    uint64_t middle = head ? (physical | mask) + 1 : physical;
    uint64_t middle_size = (tail ? first_of_tail : last + 1) - middle;
    int error = 0;

    if ((head || tail) && first_of_tail <= physical) {
        return add_page(builder, physical, size);
    }
    if (head) {
        error = add_page(builder, physical, middle - physical);
    }
    if (error == 0 && middle_size != 0) {
        struct span span = span_of(builder->device->space, middle, middle_size);

        if (builder->cleans) {
            piommu_dma_clean_(builder->device, middle, middle_size);
        }
        error = add_piece(builder, span.first, span.size);
    }
    if (error == 0 && tail) {
        error = add_page(builder, first_of_tail, last - first_of_tail + 1);
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

static NEVER_INLINE int record_single(struct piommu_dma_device *device, uint64_t address,
                                      uint64_t size, enum piommu_dma_direction direction)
{
    struct record record = {.device = device,
                            .address = address,
                            .size = size,
                            .direction = direction,
                            .kind = RECORD_SINGLE};

    return piommu_dma_record_(device, &record);
}

static NEVER_INLINE int map_carefully(struct piommu_dma_device *device, uint64_t physical,
                                      uint64_t size, enum piommu_dma_direction direction,
                                      unsigned int flags, struct span all)
{
    struct piommu_dma_space *space = device->space;
    struct piommu_segment pieces[PIOMMU_DMA_PIECES];
    struct builder builder;
    int error;

    piommu_dma_builder_open_(&builder, pieces, PIOMMU_DMA_PIECES, device, direction, flags,
                             all.first);
    error = piommu_dma_builder_add_(&builder, physical, size);
    if (error == 0) {
        error = piommu_dma_builder_finish_(&builder);
    }
    if (error == 0) {
        error =
            record_single(device, all.first | (physical & space->granule_mask), size, direction);
    }
    return error != 0 ? piommu_dma_undo_(space, all, builder.next - all.first, builder.pages, error)
                      : 0;
}

/* What most mappings need is asked for here. */
static ALWAYS_INLINE int find_addresses(struct piommu_dma_device *device, uint64_t hint,
                                        uint64_t size, uint64_t *iova)
{
    const struct piommu_iova_request request = {
        .size = size, .limit = device->mask, .preferred = device->preferred};

    if (device->space->lazy && size == device->space->granule_mask + 1 && device->preferred == 0) {
        *iova = piommu_dma_take_stock_(device);
        if (*iova != 0) {
            return 0;
        }
    }
    if (LIKELY(size < device->space->large &&
               piommu_iova_alloc(device->space->iova, &request, iova) == 0)) {
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
        error = map_carefully(device, physical, size, direction, flags, all);
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
    struct record record = {.device = device,
                            .address = address,
                            .size = size,
                            .direction = direction,
                            .kind = RECORD_SINGLE};
    struct bounce_page *pages = NULL;
    int error = piommu_dma_check_record_(device, &record);

    if (error == 0) {
        error = piommu_dma_before_unmap_(device, address, size, direction, flags, &pages);
    }
    if (error != 0) {
        return error;
    }
    piommu_dma_drop_record_(device, &record);
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
    struct record record = {
        .device = device, .size = size, .direction = direction, .kind = RECORD_RESOURCE};
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
    record.address = all.first | (physical & space->granule_mask);
    prot = device->prot[direction] & ~PIOMMU_PROT_NONCACHEABLE;
    error = piommu_domain_map(space->domain, all.first, memory.first, memory.size,
                              prot | (space->can & PIOMMU_PROT_DEVICE));
    if (error != 0) {
        return piommu_dma_undo_(space, all, 0, NULL, error);
    }
    error = piommu_dma_record_(device, &record);
    if (error != 0) {
        return piommu_dma_undo_(space, all, all.size, NULL, error);
    }
    *address = record.address;
    return 0;
}

int piommu_dma_unmap_resource(struct piommu_dma_device *device, uint64_t address, uint64_t size,
                              enum piommu_dma_direction direction)
{
    const struct record record = {.device = device,
                                  .address = address,
                                  .size = size,
                                  .direction = direction,
                                  .kind = RECORD_RESOURCE};
    int error;

    if (device == NULL || !direction_is_valid(direction)) {
        return -PIOMMU_EINVAL;
    }
    error = piommu_dma_check_record_(device, &record);
    if (error != 0) {
        return error;
    }
    piommu_dma_drop_record_(device, &record);
    return release_around(device->space, address, size, NULL);
}
