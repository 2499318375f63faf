/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Two allocators of one kind: pages, and a heap of small objects. Each is a list of its free blocks
 * in the order of their addresses; the links are in the free blocks themselves. The first block
 * that fits is taken; a block that comes back grows together with its neighbours.
 *
 * Memory is filled with a pattern when it is given out and another when it comes back, so that code
 * which counts on zeros, or uses what it has freed, fails soon and always in the same way.
 */

#include <string.h>

#include "internal.h"
#include "machine.h"

#define HEAP_SIZE ((size_t)4 << 20)

#define POISON_ALLOCATED 0xa5
#define POISON_FREED     0xdd

struct block {
    struct block *next;
    size_t size;
};

struct pool {
    struct block *first;
    size_t granule;       /* what sizes and addresses are multiples of; a power of two */
    uintptr_t start, end; /* all of its memory, free or not */
    size_t outstanding;
};

static struct pool pages = {.granule = MACHINE_PAGE_SIZE};
static struct pool heap = {.granule = sizeof(struct block)};

static struct block *block_at(uintptr_t address)
{
    return (struct block *)address;
}

static size_t rounded_size(const struct pool *pool, size_t bytes)
{
    return (bytes + pool->granule - 1) & ~(pool->granule - 1);
}

/*
 * Puts a range that was in use into the list of free blocks. False, and nothing is touched, if a
 * part of it is free already.
 */
static bool insert(struct pool *pool, uintptr_t address, size_t size)
{
    struct block **link = &pool->first;
    struct block *previous = NULL;
    struct block *block = block_at(address);

    while (*link != NULL && (uintptr_t)*link < address) {
        previous = *link;
        link = &previous->next;
    }
    if (previous != NULL && (uintptr_t)previous + previous->size > address) {
        return false;
    }
    if (*link != NULL && (uintptr_t)*link - address < size) {
        return false;
    }

    memset(block, POISON_FREED, size);
    block->next = *link;
    block->size = size;
    *link = block;
    if (block->next != NULL && address + size == (uintptr_t)block->next) {
        block->size += block->next->size;
        block->next = block->next->next;
    }
    if (previous != NULL && (uintptr_t)previous + previous->size == address) {
        previous->size += block->size;
        previous->next = block->next;
    }
    return true;
}

static void *pool_alloc(struct pool *pool, size_t bytes, size_t alignment)
{
    size_t size = rounded_size(pool, bytes);
    struct block **link;

    if (size < bytes || size == 0 || alignment == 0 || (alignment & (alignment - 1)) != 0) {
        return NULL;
    }
    if (alignment < pool->granule) {
        alignment = pool->granule;
    }

    for (link = &pool->first; *link != NULL; link = &(*link)->next) {
        struct block *block = *link;
        uintptr_t end = (uintptr_t)block + block->size;
        uintptr_t address = ((uintptr_t)block + alignment - 1) & ~(alignment - 1);

        if (address < (uintptr_t)block || address > end || end - address < size) {
            continue;
        }
        /* What is left above and below stays in the list. */
        if (end - address > size) {
            struct block *above = block_at(address + size);

            above->next = block->next;
            above->size = end - address - size;
            block->next = above;
        }
        if (address > (uintptr_t)block) {
            block->size = address - (uintptr_t)block;
        } else {
            *link = block->next;
        }
        pool->outstanding += bytes;
        return memset((void *)address, POISON_ALLOCATED, size);
    }
    return NULL;
}

static void pool_free(struct pool *pool, void *memory, size_t bytes)
{
    uintptr_t address = (uintptr_t)memory;
    size_t size = rounded_size(pool, bytes);

    if (memory == NULL) {
        return;
    }
    if (address % pool->granule != 0 || address < pool->start || address >= pool->end ||
        size > pool->end - address || size < bytes || bytes == 0 || bytes > pool->outstanding) {
        machine_fail("free of %zu bytes at %p, which was not allocated like this", bytes, memory);
    }
    if (!insert(pool, address, size)) {
        machine_fail("%zu bytes at %p were freed twice", bytes, memory);
    }
    pool->outstanding -= bytes;
}

void *machine_pages_alloc(size_t bytes, size_t alignment)
{
    return pool_alloc(&pages, bytes, alignment);
}

void machine_pages_free(void *memory, size_t bytes)
{
    pool_free(&pages, memory, bytes);
}

size_t machine_pages_outstanding(void)
{
    return pages.outstanding;
}

void *machine_alloc(size_t bytes)
{
    return pool_alloc(&heap, bytes, 1);
}

void machine_free(void *memory, size_t bytes)
{
    pool_free(&heap, memory, bytes);
}

size_t machine_heap_outstanding(void)
{
    return heap.outstanding;
}

/*
 * Gives a pool its memory: one free block. It is not filled; that would take seconds for a large
 * RAM.
 */
static void pool_start(struct pool *pool, uintptr_t start, uintptr_t end)
{
    pool->start = start;
    pool->end = end;
    pool->first = block_at(start);
    pool->first->next = NULL;
    pool->first->size = end - start;
}

void machine_memory_start(uint64_t ram_base, uint64_t ram_size)
{
    const uint64_t block = (uint64_t)2 << 20; /* the MMU maps RAM by 2 MiB */
    uint64_t start = (uint64_t)(uintptr_t)image_end;
    uint64_t end = (ram_base + ram_size) & ~(block - 1);

    /* The device tree blob is below the image, so everything above the image is free. */
    if (end <= start || end - start <= HEAP_SIZE) {
        machine_fail("%llu bytes of RAM are not enough", (unsigned long long)ram_size);
    }
    pool_start(&heap, start, start + HEAP_SIZE);
    pool_start(&pages, start + HEAP_SIZE, end);
}
