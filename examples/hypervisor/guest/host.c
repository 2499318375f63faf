/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The port: piommu's ops shim in a guest at EL1, with the MMU off and one CPU. Who waits gives the
 * CPU away, to the hypervisor, which may have to go on with what was asked for.
 */

#include "host.h"

#include "guest.h"

/* The library asks for few sizes, again and again: blocks of powers of two, a list for each. */
#define POOL_SIZE      ((size_t)256 << 10)
#define SMALLEST_SHIFT 4u
#define CLASSES        14u /* the largest has 128 KiB */

struct block {
    struct block *next;
};

static _Alignas(GUEST_PAGE_SIZE) uint8_t pool[POOL_SIZE];
static size_t used; /* from the start on, in lists or not */
static size_t outstanding;
static struct block *free_blocks[CLASSES];

/* The class of the smallest blocks that are large enough; CLASSES if there are none. */
static unsigned int class_of(size_t size)
{
    unsigned int class = 0;

    while (class < CLASSES && ((size_t)1 << (class + SMALLEST_SHIFT)) < size) {
        class ++;
    }
    return class;
}

/* A block at a multiple of its size, as far as a page; its content is anything. */
static void *take_block(unsigned int class)
{
    size_t size = (size_t)1 << (class + SMALLEST_SHIFT);
    size_t alignment = size < GUEST_PAGE_SIZE ? size : GUEST_PAGE_SIZE;
    size_t start = (used + alignment - 1) & ~(alignment - 1);
    struct block *block;

    if (class >= CLASSES) {
        return NULL;
    }
    block = free_blocks[class];
    if (block != NULL) {
        free_blocks[class] = block->next;
        return block;
    }
    if (start > POOL_SIZE || size > POOL_SIZE - start) {
        return NULL;
    }
    used = start + size;
    return pool + start;
}

static void *pool_alloc(void *ctx, size_t size)
{
    void *memory = take_block(class_of(size));

    (void)ctx;
    if (memory != NULL) {
        outstanding += size;
    }
    return memory;
}

static void pool_free(void *ctx, void *memory, size_t size)
{
    struct block *block = memory;
    unsigned int class = class_of(size);

    (void)ctx;
    block->next = free_blocks[class];
    free_blocks[class] = block;
    outstanding -= size;
}

/* Devices of a guest, the virtual ones as well, use its own addresses. */
static void *dma_alloc(void *ctx, const struct piommu_dma_request *request, uint64_t *physical)
{
    void *memory;

    /* Rings ask for no more than a page, and no block is aligned to less than it has bytes. */
    if (request->alignment > GUEST_PAGE_SIZE || request->alignment > request->size ||
        (uintptr_t)(pool + POOL_SIZE - 1) > request->max_physical) {
        return NULL;
    }
    memory = pool_alloc(ctx, request->size);
    *physical = (uintptr_t)memory;
    return memory;
}

static void barrier(void *ctx, enum piommu_barrier kind)
{
    (void)ctx;
    (void)kind;
    machine_barrier();
}

static int mmio_map(void *ctx, uint64_t physical, uint64_t size, uintptr_t *base)
{
    (void)ctx;
    (void)size;
    *base = (uintptr_t)physical;
    return 0;
}

static void mmio_unmap(void *ctx, uintptr_t base, uint64_t size)
{
    (void)ctx;
    (void)base;
    (void)size;
}

static uint32_t mmio_read(void *ctx, uintptr_t address, unsigned int width)
{
    (void)ctx;
    return (uint32_t)machine_mmio_read(address, width);
}

static void mmio_write(void *ctx, uintptr_t address, unsigned int width, uint32_t value)
{
    (void)ctx;
    machine_mmio_write(address, width, value);
}

/* One CPU without interrupts: nobody can get in between. */
static void *lock_create(void *ctx)
{
    (void)ctx;
    return pool;
}

static void lock_destroy(void *ctx, void *lock)
{
    (void)ctx;
    (void)lock;
}

static unsigned long lock_take(void *ctx, void *lock)
{
    (void)ctx;
    (void)lock;
    return 0;
}

static void lock_release(void *ctx, void *lock, unsigned long state)
{
    (void)ctx;
    (void)lock;
    (void)state;
}

static uint64_t now(void *ctx)
{
    (void)ctx;
    return machine_now();
}

static void yield(void *ctx, uint64_t deadline)
{
    (void)ctx;
    (void)deadline;
    hypercall(HYPERCALL_YIELD, 0, 0, 0);
}

static void log_line(void *ctx, enum piommu_log_level level, const char *line)
{
    (void)ctx;
    (void)level;
    machine_printf("piommu: %s\n", line);
}

static const struct piommu_os callbacks = {
    .size = sizeof(struct piommu_os),
    .alloc = pool_alloc,
    .free = pool_free,
    .dma_alloc = dma_alloc,
    .dma_free = pool_free,
    .barrier = barrier,
    .mmio_map = mmio_map,
    .mmio_unmap = mmio_unmap,
    .mmio_read = mmio_read,
    .mmio_write = mmio_write,
    .lock_create = lock_create,
    .lock_destroy = lock_destroy,
    .lock = lock_take,
    .unlock = lock_release,
    .now = now,
    .wait = yield,
    .log = log_line,
};

struct piommu_host guest_shim(void)
{
    return (struct piommu_host){.os = &callbacks, .ctx = NULL};
}

size_t guest_pool_outstanding(void)
{
    return outstanding;
}
