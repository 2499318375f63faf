/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "port.h"

#include "transcript.h"

#include <piommu/error.h>
#include <stdlib.h>

/* ---- Memory ---- */

static void *port_alloc(void *ctx, size_t size)
{
    struct port *port = ctx;
    void *memory = malloc(size);

    port->heap += memory != NULL ? size : 0;
    return memory;
}

static void port_free(void *ctx, void *memory, size_t size)
{
    struct port *port = ctx;

    port->heap -= size;
    free(memory);
}

static void *port_dma_alloc(void *ctx, const struct piommu_dma_request *request, uint64_t *physical)
{
    struct port *port = ctx;

    return memory_tables_take(port->memory, request->size, request->alignment,
                              request->max_physical, physical);
}

static void port_dma_free(void *ctx, void *memory, size_t size)
{
    struct port *port = ctx;

    memory_tables_give(port->memory, memory, size);
}

/* The map is linear, so this could be NULL; but to look into tables by their registers needs it. */
static void *port_dma_virtual(void *ctx, uint64_t physical)
{
    struct port *port = ctx;

    return memory_tables_virtual(port->memory, physical);
}

static void port_cache_clean(void *ctx, const void *address, size_t size)
{
    struct port *port = ctx;

    if (!port->forgets_clean) {
        memory_tables_clean(port->memory, address, size);
    }
}

/* There is one thread, and the hardware is simulated in it. */
static void port_barrier(void *ctx, enum piommu_barrier kind)
{
    (void)ctx;
    (void)kind;
}

/* ---- Registers ---- */

/* Register addresses are physical ones; the model has an opinion on those where nothing is. */
static int port_mmio_map(void *ctx, uint64_t physical, uint64_t size, uintptr_t *base)
{
    struct port *port = ctx;

    if (port->model == NULL || physical > UINTPTR_MAX - size) {
        return -PIOMMU_ENODEV;
    }
    *base = (uintptr_t)physical;
    port->register_maps++;
    return 0;
}

static void port_mmio_unmap(void *ctx, uintptr_t base, uint64_t size)
{
    struct port *port = ctx;

    (void)base;
    (void)size;
    port->register_maps--;
}

static uint32_t port_mmio_read(void *ctx, uintptr_t address, unsigned int width)
{
    struct port *port = ctx;

    return piommu_ipmmu_model_read(port->model, address, width);
}

static void port_mmio_write(void *ctx, uintptr_t address, unsigned int width, uint32_t value)
{
    struct port *port = ctx;

    piommu_ipmmu_model_write(port->model, address, width, value);
}

/* ---- Locks, time, log ---- */

/* One thread: nobody can get in between. */
static void *port_lock_create(void *ctx)
{
    struct port *port = ctx;
    bool *held = calloc(1, sizeof(*held));

    port->locks += held != NULL;
    return held;
}

static void port_lock_destroy(void *ctx, void *lock)
{
    struct port *port = ctx;

    port->locks--;
    free(lock);
}

static unsigned long port_lock(void *ctx, void *lock)
{
    bool *held = lock;

    (void)ctx;
    must(*held ? -PIOMMU_EBUSY : 0, "taking a lock");
    *held = true;
    return 0;
}

static void port_unlock(void *ctx, void *lock, unsigned long state)
{
    bool *held = lock;

    (void)ctx;
    (void)state;
    *held = false;
}

/* A microsecond goes by whenever somebody looks: so deadlines are reached, in each run alike. */
static uint64_t port_now(void *ctx)
{
    struct port *port = ctx;

    port->clock += 1000;
    return port->clock;
}

static void port_log(void *ctx, enum piommu_log_level level, const char *line)
{
    static const char *const names[] = {"error", "warning", "info"};

    (void)ctx;
    note("piommu %s: %s", names[level], line);
}

static const struct piommu_os callbacks = {
    .size = sizeof(struct piommu_os),
    .alloc = port_alloc,
    .free = port_free,
    .dma_alloc = port_dma_alloc,
    .dma_free = port_dma_free,
    .dma_virtual = port_dma_virtual,
    .cache_clean = port_cache_clean,
    .barrier = port_barrier,
    .mmio_map = port_mmio_map,
    .mmio_unmap = port_mmio_unmap,
    .mmio_read = port_mmio_read,
    .mmio_write = port_mmio_write,
    .lock_create = port_lock_create,
    .lock_destroy = port_lock_destroy,
    .lock = port_lock,
    .unlock = port_unlock,
    .now = port_now,
    .log = port_log,
};

struct piommu_host port_host(struct port *port)
{
    return (struct piommu_host){.os = &callbacks, .ctx = port};
}

bool port_is_empty(const struct port *port)
{
    return port->heap == 0 && port->locks == 0 && port->register_maps == 0 &&
           memory_tables_taken(port->memory) == 0;
}
