/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The port: piommu's ops shim on this machine. One CPU, no interrupts, no scheduler, virtual
 * addresses equal to physical ones, DMA coherent; so most callbacks are one line. docs/porting.md
 * says what a larger system has to add.
 */

#include "host.h"

#include "machine.h"

#include <piommu/error.h>

static void *host_alloc(void *ctx, size_t size)
{
    (void)ctx;
    return machine_alloc(size);
}

static void host_free(void *ctx, void *memory, size_t size)
{
    (void)ctx;
    machine_free(memory, size);
}

/* Gives from the arena what lies behind all that was given before. */
static void *arena_alloc(struct host_arena *arena, const struct piommu_dma_request *request,
                         uint64_t *address)
{
    uint64_t start = (arena->device_address + arena->used + request->alignment - 1) &
                     ~((uint64_t)request->alignment - 1);
    uint64_t offset = start - arena->device_address;

    if (offset > arena->size || request->size > arena->size - offset ||
        start + (request->size - 1) > request->max_physical) {
        return NULL;
    }
    arena->used = (size_t)offset + request->size;
    arena->outstanding += request->size;
    *address = start;
    return arena->memory + offset;
}

static void arena_free(struct host_arena *arena, size_t size)
{
    if (size > arena->outstanding) {
        machine_fail("an arena was given back more than it gave");
    }
    arena->outstanding -= size;
    if (arena->outstanding == 0) {
        arena->used = 0;
    }
}

static void *host_dma_alloc(void *ctx, const struct piommu_dma_request *request, uint64_t *physical)
{
    void *memory;

    if (ctx != NULL) {
        return arena_alloc(ctx, request, physical);
    }
    memory = machine_pages_alloc(request->size, request->alignment);
    if (memory == NULL) {
        return NULL;
    }
    *physical = machine_physical(memory);
    /*
     * The allocator gives the lowest pages that fit: if these are too high, no others are low
     * enough.
     */
    if (*physical > request->max_physical ||
        request->max_physical - *physical < request->size - 1) {
        machine_pages_free(memory, request->size);
        return NULL;
    }
    return memory;
}

static void host_dma_free(void *ctx, void *memory, size_t size)
{
    if (ctx != NULL) {
        arena_free(ctx, size);
    } else {
        machine_pages_free(memory, size);
    }
}

static void host_barrier(void *ctx, enum piommu_barrier kind)
{
    (void)ctx;
    (void)kind;
    machine_barrier();
}

static int host_mmio_map(void *ctx, uint64_t physical, uint64_t size, uintptr_t *base)
{
    (void)ctx;
    (void)size;
    *base = (uintptr_t)physical;
    return 0;
}

static void host_mmio_unmap(void *ctx, uintptr_t base, uint64_t size)
{
    (void)ctx;
    (void)base;
    (void)size;
}

static uint32_t host_mmio_read(void *ctx, uintptr_t address, unsigned int width)
{
    (void)ctx;
    return (uint32_t)machine_mmio_read(address, width);
}

static void host_mmio_write(void *ctx, uintptr_t address, unsigned int width, uint32_t value)
{
    (void)ctx;
    machine_mmio_write(address, width, value);
}

static uint32_t host_pci_read(void *ctx, struct piommu_pci_function function, unsigned int offset,
                              unsigned int width)
{
    (void)ctx;
    return machine_pci_read(function.bdf, offset, width);
}

static void host_pci_write(void *ctx, struct piommu_pci_function function, unsigned int offset,
                           unsigned int width, uint32_t value)
{
    (void)ctx;
    machine_pci_write(function.bdf, offset, width, value);
}

static int host_pci_bar(void *ctx, struct piommu_pci_function function, unsigned int number,
                        struct piommu_pci_bar *bar)
{
    (void)ctx;
    return machine_pci_bar(function.bdf, number, &bar->physical, &bar->size) == 0 ? 0
                                                                                  : -PIOMMU_ENODEV;
}

/* One CPU and no interrupts: nobody can get in between. The lock only checks that this is so. */
struct host_lock {
    bool held;
};

static void *host_lock_create(void *ctx)
{
    struct host_lock *lock = machine_alloc(sizeof(*lock));

    (void)ctx;
    if (lock != NULL) {
        lock->held = false;
    }
    return lock;
}

static void host_lock_destroy(void *ctx, void *lock)
{
    (void)ctx;
    machine_free(lock, sizeof(struct host_lock));
}

static unsigned long host_lock_take(void *ctx, void *pointer)
{
    struct host_lock *lock = pointer;

    (void)ctx;
    if (lock->held) {
        machine_fail("a lock was taken twice");
    }
    lock->held = true;
    return 0;
}

static void host_lock_release(void *ctx, void *pointer, unsigned long state)
{
    struct host_lock *lock = pointer;

    (void)ctx;
    (void)state;
    lock->held = false;
}

static uint64_t host_now(void *ctx)
{
    (void)ctx;
    return machine_now();
}

static void host_log(void *ctx, enum piommu_log_level level, const char *line)
{
    static const char *const names[] = {"error", "warning", "info"};

    (void)ctx;
    machine_printf("     piommu %s: %s\n", names[level], line);
}

static void *host_memory_at(void *ctx, uint64_t physical, uint64_t size)
{
    (void)ctx;
    (void)size;
    return (void *)(uintptr_t)physical;
}

static const struct piommu_os callbacks = {
    .size = sizeof(struct piommu_os),
    .alloc = host_alloc,
    .free = host_free,
    .dma_alloc = host_dma_alloc,
    .dma_free = host_dma_free,
    .dma_virtual = NULL, /* linear: virtual and physical addresses are equal */
    .cache_clean = NULL, /* coherent */
    .barrier = host_barrier,
    .mmio_map = host_mmio_map,
    .mmio_unmap = host_mmio_unmap,
    .mmio_read = host_mmio_read,
    .mmio_write = host_mmio_write,
    .pci_config_read = host_pci_read,
    .pci_config_write = host_pci_write,
    .pci_bar = host_pci_bar,
    .lock_create = host_lock_create,
    .lock_destroy = host_lock_destroy,
    .lock = host_lock_take,
    .unlock = host_lock_release,
    .now = host_now,
    .wait = NULL, /* nobody else could use the CPU meanwhile */
    .log = host_log,
    .memory_at = host_memory_at,
};

struct piommu_host host_shim(void)
{
    return (struct piommu_host){.os = &callbacks, .ctx = NULL};
}

struct piommu_host host_shim_in(struct host_arena *arena)
{
    return (struct piommu_host){.os = &callbacks, .ctx = arena};
}
