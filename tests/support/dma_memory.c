/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "dma_memory.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct dma_memory {
    uint64_t physical;
    size_t size;
    uint8_t *cached; /* what the CPU sees */
    uint8_t *synced; /* the same when the line was fetched or cleaned last */
    uint8_t *behind; /* what is in memory */
    /* Cleaned since the last barrier: may not have arrived. */
    bool *leaving;
    size_t lines;
};

void dma_fail(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    abort();
}

static uint8_t *allocate(size_t size)
{
    uint8_t *bytes = aligned_alloc(DMA_MEMORY_PAGE, size);

    CHECK(bytes != NULL);
    return bytes;
}

struct dma_memory *dma_memory_create(uint64_t physical, size_t pages)
{
    struct dma_memory *memory = calloc(1, sizeof(*memory));

    CHECK(memory != NULL);
    memory->physical = physical;
    memory->size = pages * DMA_MEMORY_PAGE;
    memory->lines = memory->size / DMA_MEMORY_LINE;
    memory->cached = allocate(memory->size);
    memory->synced = allocate(memory->size);
    memory->behind = allocate(memory->size);
    memory->leaving = calloc(memory->lines, sizeof(*memory->leaving));
    CHECK(memory->leaving != NULL);
    for (size_t i = 0; i < memory->size; i++) {
        memory->cached[i] = (uint8_t)(i * 7 + i / DMA_MEMORY_PAGE);
    }
    memcpy(memory->synced, memory->cached, memory->size);
    memcpy(memory->behind, memory->cached, memory->size);
    return memory;
}

void dma_memory_destroy(struct dma_memory *memory)
{
    free(memory->cached);
    free(memory->synced);
    free(memory->behind);
    free(memory->leaving);
    free(memory);
}

bool dma_memory_has(const struct dma_memory *memory, uint64_t physical, uint64_t size)
{
    return physical >= memory->physical && size <= memory->size &&
           physical - memory->physical <= memory->size - size;
}

static bool lies_in(const struct dma_memory *memory, const uint8_t *part, const void *pointer)
{
    return (uintptr_t)pointer >= (uintptr_t)part &&
           (uintptr_t)pointer - (uintptr_t)part < memory->size;
}

bool dma_memory_holds(const struct dma_memory *memory, const void *pointer)
{
    return lies_in(memory, memory->cached, pointer) || lies_in(memory, memory->behind, pointer);
}

static size_t offset_of(const struct dma_memory *memory, uint64_t physical, size_t size)
{
    if (!dma_memory_has(memory, physical, size)) {
        dma_fail("%#" PRIx64 " is no memory of a buffer", physical);
    }
    return (size_t)(physical - memory->physical);
}

uint8_t *dma_memory_cached(struct dma_memory *memory, uint64_t physical)
{
    return memory->cached + offset_of(memory, physical, 1);
}

uint8_t *dma_memory_uncached(struct dma_memory *memory, uint64_t physical)
{
    return memory->behind + offset_of(memory, physical, 1);
}

uint64_t dma_memory_physical(const struct dma_memory *memory, const void *pointer)
{
    const uint8_t *part =
        lies_in(memory, memory->cached, pointer) ? memory->cached : memory->behind;

    return memory->physical + ((uintptr_t)pointer - (uintptr_t)part);
}

static bool is_dirty(const struct dma_memory *memory, size_t line)
{
    size_t offset = line * DMA_MEMORY_LINE;

    return memcmp(memory->cached + offset, memory->synced + offset, DMA_MEMORY_LINE) != 0;
}

static void copy_line(uint8_t *to, const uint8_t *from, size_t line)
{
    memcpy(to + line * DMA_MEMORY_LINE, from + line * DMA_MEMORY_LINE, DMA_MEMORY_LINE);
}

static void arrive(struct dma_memory *memory, size_t line)
{
    if (memory->leaving[line]) {
        copy_line(memory->behind, memory->synced, line);
        memory->leaving[line] = false;
    }
}

static void fetch(struct dma_memory *memory, size_t line)
{
    copy_line(memory->cached, memory->behind, line);
    copy_line(memory->synced, memory->behind, line);
}

static void leave(struct dma_memory *memory, size_t line)
{
    if (is_dirty(memory, line)) {
        copy_line(memory->synced, memory->cached, line);
        memory->leaving[line] = true;
    }
}

/* The lines of a range of the cache: from *first to before the result. */
static size_t lines_of(const struct dma_memory *memory, const void *pointer, size_t size,
                       size_t *first)
{
    size_t offset = offset_of(memory, dma_memory_physical(memory, pointer), size);

    *first = offset / DMA_MEMORY_LINE;
    return (offset + size + DMA_MEMORY_LINE - 1) / DMA_MEMORY_LINE;
}

void dma_memory_clean(struct dma_memory *memory, const void *pointer, size_t size)
{
    size_t first;
    size_t behind = lines_of(memory, pointer, size, &first);

    for (size_t line = first; line < behind; line++) {
        leave(memory, line);
    }
}

void dma_memory_invalidate(struct dma_memory *memory, const void *pointer, size_t size)
{
    size_t first;
    size_t behind = lines_of(memory, pointer, size, &first);

    for (size_t line = first; line < behind; line++) {
        if (is_dirty(memory, line)) {
            dma_fail("the line at %#" PRIx64 " is invalidated, and what was written there lost",
                     memory->physical + line * DMA_MEMORY_LINE);
        }
        arrive(memory, line);
        fetch(memory, line);
    }
}

void dma_memory_barrier(struct dma_memory *memory)
{
    for (size_t line = 0; line < memory->lines; line++) {
        arrive(memory, line);
    }
}

void dma_memory_read(const struct dma_memory *memory, uint64_t physical, bool snoops,
                     uint8_t *buffer, size_t size)
{
    size_t offset = offset_of(memory, physical, size);

    memcpy(buffer, (snoops ? memory->cached : memory->behind) + offset, size);
}

void dma_memory_write(struct dma_memory *memory, uint64_t physical, bool snoops,
                      const uint8_t *buffer, size_t size)
{
    size_t offset = offset_of(memory, physical, size);

    memcpy(memory->behind + offset, buffer, size);
    if (snoops) {
        memcpy(memory->cached + offset, buffer, size);
        memcpy(memory->synced + offset, buffer, size);
    }
}

void dma_memory_refetch(struct dma_memory *memory, uint64_t number)
{
    size_t line = (size_t)(number % memory->lines);

    leave(memory, line);
    arrive(memory, line);
    fetch(memory, line);
}

void dma_memory_refetch_all(struct dma_memory *memory)
{
    for (size_t line = 0; line < memory->lines; line++) {
        dma_memory_refetch(memory, line);
    }
}
