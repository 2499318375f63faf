/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "memory.h"
#include "random.h"

#include "machine.h"

#include <stdlib.h>
#include <string.h>

#define PAGE_SIZE      4096ull
#define HALF_SIZE      0x08000000ull
#define HALF_PAGES     (HALF_SIZE / PAGE_SIZE)
#define LOW_BASE       0x50000000ull
#define HIGH_BASE      0x100000000ull
#define HEAP_SIZE      (4u << 20)
#define HEAP_CLASSES   20u
#define SMALLEST_CLASS 5u /* log2 of bytes */

/* Physical memory for tables: two halves, as explained in the header. */
struct pool {
    uint64_t base;
    uint64_t used[HALF_PAGES / 64]; /* a bit for each page of the first half */
    uint64_t pages_used;
};

static struct pool low = {.base = LOW_BASE};
static struct pool high = {.base = HIGH_BASE};
static struct pool *current = &low;
static struct random placement;
static int allocations_left = -1;

static bool page_is_used(const struct pool *pool, uint64_t page)
{
    return (pool->used[page / 64] >> page % 64 & 1) != 0;
}

static void page_flip(struct pool *pool, uint64_t page)
{
    pool->used[page / 64] ^= 1ull << page % 64;
}

static void fill(uint64_t address, uint64_t size, uint64_t value)
{
    volatile uint64_t *words = (volatile uint64_t *)(uintptr_t)address;

    /* Most of a table is never looked at; where it is, is seldom beyond the first KiB. */
    for (uint64_t i = 0; i < size / sizeof(*words); i++) {
        words[i] = value;
    }
}

/* Takes pages from the first one that is free after a random place; 0 if there are none. */
static uint64_t pages_take(struct pool *pool, uint64_t size, uint64_t alignment)
{
    uint64_t pages = (size + PAGE_SIZE - 1) / PAGE_SIZE;
    uint64_t step = alignment <= PAGE_SIZE ? 1 : alignment / PAGE_SIZE;
    uint64_t page = random_below(&placement, (uint32_t)HALF_PAGES) & ~(step - 1);

    for (uint64_t tries = 0; tries < HALF_PAGES; tries += step) {
        uint64_t count = 0;

        if (page + pages > HALF_PAGES) {
            page = 0;
        }
        while (count < pages && !page_is_used(pool, page + count)) {
            count++;
        }
        if (count == pages) {
            while (count > 0) {
                page_flip(pool, page + --count);
            }
            pool->pages_used += pages;
            return pool->base + page * PAGE_SIZE;
        }
        page += step;
    }
    return 0;
}

static void pages_give(uint64_t address, uint64_t size)
{
    struct pool *pool = address >= HIGH_BASE ? &high : &low;
    uint64_t page = (address - pool->base) / PAGE_SIZE;
    uint64_t pages = (size + PAGE_SIZE - 1) / PAGE_SIZE;

    for (uint64_t i = 0; i < pages; i++) {
        if (!page_is_used(pool, page + i)) {
            machine_fail("the library freed table memory at 0x%llx that it does not have",
                         (unsigned long long)address);
        }
        page_flip(pool, page + i);
    }
    pool->pages_used -= pages;
}

/* The heap: a free list for each power of two. */

struct heap_block {
    struct heap_block *next;
};

static struct heap_block *heap_free_lists[HEAP_CLASSES];
static uint64_t heap_memory[HEAP_SIZE / sizeof(uint64_t)];
static size_t heap_top;
static size_t heap_blocks;

static unsigned int heap_class(size_t size)
{
    unsigned int class = 0;

    while ((size_t)1 << (SMALLEST_CLASS + class) < size) {
        class ++;
    }
    if (class >= HEAP_CLASSES) {
        machine_fail("%u bytes are more than the heap can give", (unsigned int)size);
    }
    return class;
}

static void *heap_alloc(void *ctx, size_t size)
{
    unsigned int class = heap_class(size);
    size_t bytes = (size_t)1 << (SMALLEST_CLASS + class);
    struct heap_block *block = heap_free_lists[class];

    (void)ctx;
    if (block != NULL) {
        heap_free_lists[class] = block->next;
    } else if (heap_top + bytes <= HEAP_SIZE) {
        block = (void *)&heap_memory[heap_top / sizeof(uint64_t)];
        heap_top += bytes;
    } else {
        return NULL;
    }
    heap_blocks++;
    memset(block, 0xa5, size);
    return block;
}

static void heap_free(void *ctx, void *memory, size_t size)
{
    struct heap_block *block = memory;
    unsigned int class = heap_class(size);

    (void)ctx;
    memset(memory, 0x5a, size);
    block->next = heap_free_lists[class];
    heap_free_lists[class] = block;
    heap_blocks--;
}

/* For the software walker; the size stands before the memory. */
void *calloc(size_t count, size_t size)
{
    size_t bytes = count * size + 16;
    size_t *memory = heap_alloc(NULL, bytes);

    if (memory == NULL) {
        return NULL;
    }
    memset(memory, 0, bytes);
    memory[0] = bytes;
    return (unsigned char *)memory + 16;
}

void free(void *memory)
{
    if (memory != NULL) {
        size_t *start = (void *)((unsigned char *)memory - 16);

        heap_free(NULL, start, *start);
    }
}

/* The shim. Its ctx is one of these. */
struct view {
    uint64_t distance; /* from what the library writes to what the walker reads */
    bool has_copy;     /* there is memory at that distance */
};

#define BEYOND_RAM 0x000f800000000000ull

static struct view views[] = {
    [MEMORY_COHERENT] = {0, false},
    [MEMORY_COPY] = {HALF_SIZE, true},
    [MEMORY_BEYOND_RAM] = {BEYOND_RAM, false},
};

static uint64_t distance(const void *ctx)
{
    return ((const struct view *)ctx)->distance;
}

static bool has_copy(const void *ctx)
{
    return ((const struct view *)ctx)->has_copy;
}

static void *host_dma_alloc(void *ctx, const struct piommu_dma_request *request, uint64_t *physical)
{
    struct pool *pool = current;
    uint64_t size = request->size;
    uint64_t address;

    if (allocations_left == 0) {
        return NULL;
    }
    allocations_left -= allocations_left > 0 ? 1 : 0;
    if (pool->base + distance(ctx) + HALF_SIZE - 1 > request->max_physical) {
        pool = &low;
    }
    if (pool->base + distance(ctx) + HALF_SIZE - 1 > request->max_physical) {
        return NULL;
    }
    address = pages_take(pool, size, request->alignment);
    if (address == 0) {
        return NULL;
    }
    /* A small root lies anywhere in its page, so that all bits of its register get used. */
    if (size < PAGE_SIZE && request->alignment < PAGE_SIZE) {
        uint64_t places = (PAGE_SIZE - size) / request->alignment + 1;

        address += random_below(&placement, (uint32_t)places) * request->alignment;
    }
    /* Garbage that would translate. */
    fill(address, size, 0x0000000040000f47ull | 0x1000);
    if (has_copy(ctx)) {
        fill(address + distance(ctx), size, 0x0000000040000f45ull | 0x2000);
    }
    *physical = address + distance(ctx);
    return (void *)(uintptr_t)address;
}

static void host_dma_free(void *ctx, void *memory, size_t size)
{
    uint64_t address = (uint64_t)(uintptr_t)memory;

    fill(address, size, 0x0000000070000f47ull);
    if (has_copy(ctx)) {
        fill(address + distance(ctx), size, 0x0000000070000f47ull);
    }
    pages_give(address & ~(PAGE_SIZE - 1), size);
}

static void host_cache_clean(void *ctx, const void *address, size_t size)
{
    uint64_t first = (uint64_t)(uintptr_t)address & ~7ull;
    uint64_t end = (uint64_t)(uintptr_t)address + size;

    for (; first < end; first += 8) {
        *(volatile uint64_t *)(uintptr_t)(first + distance(ctx)) =
            *(const volatile uint64_t *)(uintptr_t)first;
    }
}

static void host_barrier(void *ctx, enum piommu_barrier kind)
{
    (void)ctx;
    (void)kind;
    machine_barrier();
}

static void host_log(void *ctx, enum piommu_log_level level, const char *line)
{
    (void)ctx;
    (void)level;
    machine_printf("piommu: %s\n", line);
}

static const struct piommu_os callbacks = {
    .size = sizeof(struct piommu_os),
    .alloc = heap_alloc,
    .free = heap_free,
    .dma_alloc = host_dma_alloc,
    .dma_free = host_dma_free,
    .cache_clean = host_cache_clean,
    .barrier = host_barrier,
    .log = host_log,
};

struct piommu_host memory_host(enum memory_view view)
{
    return (struct piommu_host){.os = &callbacks, .ctx = &views[view]};
}

void memory_choose(bool is_high, uint64_t seed)
{
    current = is_high && sizeof(void *) > 4 ? &high : &low;
    placement.state = seed;
}

void memory_limit(int allocations)
{
    allocations_left = allocations;
}

bool memory_is_all_free(void)
{
    return low.pages_used == 0 && high.pages_used == 0 && heap_blocks == 0;
}

static bool is_table_memory(uint64_t physical)
{
    return physical - LOW_BASE < 2 * HALF_SIZE ||
           (sizeof(void *) > 4 && physical - HIGH_BASE < 2 * HALF_SIZE);
}

bool memory_walker_read(uint64_t physical, uint64_t *value)
{
    if (physical >= BEYOND_RAM) {
        physical -= BEYOND_RAM;
    }
    if (!is_table_memory(physical)) {
        return false;
    }
    *value = *(const volatile uint64_t *)(uintptr_t)physical;
    return true;
}

bool memory_walker_write(uint64_t physical, uint64_t value)
{
    if (!is_table_memory(physical)) {
        return false;
    }
    *(volatile uint64_t *)(uintptr_t)physical = value;
    return true;
}
