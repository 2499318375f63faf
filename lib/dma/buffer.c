/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* Coherent buffers: memory of the host, in one piece or in several that it joins. */

#include "dma.h"

/* A piece of a buffer. */
struct buffer_piece {
    struct buffer_piece *next;
    void *memory;
    uint64_t physical;
    uint64_t size;
};

static enum piommu_dma_purpose purpose_of(const struct piommu_dma_device *device)
{
    return device->non_coherent ? PIOMMU_DMA_BUFFER_UNCACHED : PIOMMU_DMA_BUFFER;
}

static void free_pieces(struct piommu_host host, struct buffer_piece *pieces)
{
    while (pieces != NULL) {
        struct buffer_piece *next = pieces->next;

        host.os->dma_free(host.ctx, pieces->memory, (size_t)pieces->size);
        piommu_host_free_(host, pieces, sizeof(*pieces));
        pieces = next;
    }
}

/* A piece of memory, or NULL. */
static APART_IF_SHALLOW struct buffer_piece *alloc_piece(struct piommu_dma_device *device,
                                                         uint64_t size)
{
    struct piommu_dma_space *space = device->space;
    const struct piommu_host host = space->host;
    struct piommu_dma_request request = {.size = (size_t)size,
                                         .alignment = (size_t)space->granule_mask + 1,
                                         .max_physical = space->last_physical,
                                         .purpose = purpose_of(device),
                                         .owner = space->cookie};
    struct buffer_piece *piece;

    if (size > SIZE_MAX) {
        return NULL;
    }
    piece = piommu_host_alloc_(host, sizeof(*piece));
    if (piece == NULL) {
        return NULL;
    }
    piece->size = size;
    piece->memory = host.os->dma_alloc(host.ctx, &request, &piece->physical);
    if (piece->memory != NULL && (piece->physical & space->granule_mask) == 0) {
        return piece;
    }
    if (piece->memory != NULL) {
        host.os->dma_free(host.ctx, piece->memory, request.size);
    }
    piommu_host_free_(host, piece, sizeof(*piece));
    return NULL;
}

static uint64_t half_of(uint64_t size, uint64_t granule_mask)
{
    return (size / 2 + granule_mask) & ~granule_mask;
}

/* As few pieces as the host has, the largest first; NULL: there is not memory enough. */
static APART_IF_SHALLOW struct buffer_piece *alloc_pieces(struct piommu_dma_device *device,
                                                          uint64_t size, size_t *count)
{
    const struct piommu_dma_space *space = device->space;
    struct buffer_piece *pieces = NULL;
    struct buffer_piece **end = &pieces;
    uint64_t most = size;

    *count = 0;
    while (size != 0) {
        uint64_t wanted = most < size ? most : size;
        struct buffer_piece *piece = alloc_piece(device, wanted);

        if (piece != NULL) {
            *end = piece;
            end = &piece->next;
            size -= wanted;
            (*count)++;
        } else if (wanted <= space->granule_mask + 1 || space->host.os->dma_join == NULL) {
            free_pieces(space->host, pieces);
            return NULL;
        } else {
            most = half_of(wanted, space->granule_mask);
        }
    }
    return pieces;
}

/* Makes the pieces contiguous for the CPU, if there are several. */
static APART_IF_SHALLOW void *join(struct piommu_dma_device *device,
                                   const struct buffer_piece *pieces, size_t count)
{
    const struct piommu_host host = device->space->host;
    size_t bytes = count * sizeof(struct piommu_segment);
    struct piommu_segment *segments;
    void *memory;

    if (count == 1) {
        return pieces->memory;
    }
    segments = piommu_host_alloc_(host, bytes);
    if (segments == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < count; i++, pieces = pieces->next) {
        segments[i] = (struct piommu_segment){.physical = pieces->physical, .size = pieces->size};
    }
    memory = host.os->dma_join(host.ctx, segments, count, purpose_of(device));
    piommu_host_free_(host, segments, bytes);
    return memory;
}

static void split(struct piommu_dma_space *space, const struct buffer_piece *pieces, void *memory,
                  uint64_t size)
{
    if (pieces->next != NULL && memory != NULL) {
        space->host.os->dma_split(space->host.ctx, memory, size);
    }
}

static int map_pieces(struct piommu_dma_device *device, const struct buffer_piece *pieces,
                      struct span all)
{
    piommu_prot prot = device->prot[PIOMMU_DMA_BIDIRECTIONAL];
    uint64_t next = all.first;
    int error = 0;

    for (; pieces != NULL && error == 0; pieces = pieces->next) {
        error =
            piommu_domain_map(device->space->domain, next, pieces->physical, pieces->size, prot);
        next += error == 0 ? pieces->size : 0;
    }
    return error != 0 ? piommu_dma_undo_(device->space, all, next - all.first, NULL, error) : 0;
}

/* Finds addresses, and maps memory that the device may see. */
static APART_IF_SHALLOW int map_buffer(struct piommu_dma_device *device,
                                       struct piommu_dma_buffer *buffer, uint64_t size)
{
    const struct buffer_piece *pieces = buffer->pieces;
    struct span all = {.size = size};
    int error = piommu_dma_find_addresses_(device, pieces->physical, size, device->coherent_mask, 0,
                                           &all.first);

    if (error != 0) {
        return error;
    }
    error = map_pieces(device, pieces, all);
    if (error != 0) {
        return error;
    }
    buffer->address = all.first;
    error = piommu_dma_record_(device, buffer->address, buffer->size, PIOMMU_DMA_BIDIRECTIONAL,
                               RECORD_BUFFER);
    return error != 0 ? piommu_dma_undo_(device->space, all, all.size, NULL, error) : 0;
}

int piommu_dma_alloc(struct piommu_dma_device *device, uint64_t size,
                     struct piommu_dma_buffer *buffer)
{
    struct piommu_dma_space *space;
    struct span span;
    size_t count;
    int error;

    if (device == NULL || buffer == NULL || size == 0) {
        return -PIOMMU_EINVAL;
    }
    space = device->space;
    span = span_of(space, 0, size);
    *buffer = (struct piommu_dma_buffer){.size = size};
    buffer->pieces =
        span.size != 0 && span.size <= SIZE_MAX ? alloc_pieces(device, span.size, &count) : NULL;
    if (buffer->pieces == NULL) {
        return -PIOMMU_ENOMEM;
    }
    buffer->memory = join(device, buffer->pieces, count);
    error = buffer->memory != NULL ? 0 : -PIOMMU_ENOMEM;
    if (error == 0) {
        memset(buffer->memory, 0, (size_t)span.size);
        piommu_host_barrier(space->host, PIOMMU_BARRIER_WRITE);
        error = map_buffer(device, buffer, span.size);
    }
    if (error == -PIOMMU_EFAILED) {
        buffer->unmapped = true; /* but the device may have seen it */
    } else if (error != 0) {
        split(space, buffer->pieces, buffer->memory, span.size);
        free_pieces(space->host, buffer->pieces);
        *buffer = (struct piommu_dma_buffer){0};
    }
    return error;
}

int piommu_dma_free(struct piommu_dma_device *device, struct piommu_dma_buffer *buffer)
{
    struct piommu_dma_space *space;
    struct span span;
    int error;

    if (device == NULL || buffer == NULL || buffer->pieces == NULL) {
        return -PIOMMU_EINVAL;
    }
    space = device->space;
    span = span_of(space, buffer->address, buffer->size);
    if (buffer->unmapped) {
        error = piommu_dma_space_flush(space);
    } else {
        error = piommu_dma_check_record_(device, buffer->address, buffer->size,
                                         PIOMMU_DMA_BIDIRECTIONAL, RECORD_BUFFER);
        if (error == 0) {
            piommu_dma_drop_record_(device, buffer->address);
            error = piommu_dma_release_(space, span.first, span.size, false, NULL);
        }
        buffer->unmapped = error == -PIOMMU_EFAILED;
    }
    if (error != 0) {
        return error;
    }
    split(space, buffer->pieces, buffer->memory, span.size);
    free_pieces(space->host, buffer->pieces);
    *buffer = (struct piommu_dma_buffer){0};
    return 0;
}
