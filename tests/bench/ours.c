/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* This library, as its users call it: through the archive's public functions. */

#include <piommu/error.h>
#include <piommu/io-pgtable.h>

#include "bench.h"

static void *host_alloc(void *ctx, size_t size)
{
    (void)ctx;
    return pool_alloc_object(size);
}

static void host_free(void *ctx, void *memory, size_t size)
{
    (void)ctx;
    (void)size;
    pool_free_object(memory);
}

static void *host_dma_alloc(void *ctx, const struct piommu_dma_request *request, uint64_t *physical)
{
    void *memory = pool_alloc(request->size);

    (void)ctx;
    *physical = (uintptr_t)memory;
    return memory;
}

static void host_dma_free(void *ctx, void *memory, size_t size)
{
    (void)ctx;
    pool_free(memory, size);
}

static void host_cache_clean(void *ctx, const void *address, size_t size)
{
    (void)ctx;
    bench_clean(address, size);
}

static void host_barrier(void *ctx, enum piommu_barrier kind)
{
    (void)ctx;
    (void)kind;
    bench_barrier();
}

/* One thread uses the core, so that there is nothing to lock out. */
static void *host_lock_create(void *ctx)
{
    static char lock;

    (void)ctx;
    return &lock;
}

static void host_lock_destroy(void *ctx, void *lock)
{
    (void)ctx;
    (void)lock;
}

static unsigned long host_lock(void *ctx, void *lock)
{
    (void)ctx;
    (void)lock;
    return 0;
}

static uint64_t host_now(void *ctx)
{
    (void)ctx;
    return 0;
}

static void host_unlock(void *ctx, void *lock, unsigned long state)
{
    (void)ctx;
    (void)lock;
    (void)state;
}

const struct piommu_os ours_os = {
    .size = sizeof(ours_os),
    .alloc = host_alloc,
    .free = host_free,
    .dma_alloc = host_dma_alloc,
    .dma_free = host_dma_free,
    .cache_clean = host_cache_clean,
    .barrier = host_barrier,
    .lock_create = host_lock_create,
    .lock_destroy = host_lock_destroy,
    .lock = host_lock,
    .unlock = host_unlock,
    .now = host_now,
};

static bool ours_can(const struct usage *usage)
{
    (void)usage;
    return true;
}

static void *ours_create(const struct shape *shape, const struct usage *usage)
{
    struct piommu_pgtable_config config = {
        .format = shape->stage2 ? PIOMMU_ARM_64_LPAE_S2 : PIOMMU_ARM_64_LPAE_S1,
        .granule = 1u << shape->granule_shift,
        .input_bits = shape->input_bits,
        .output_bits = 48,
        .coherent_walk = usage->coherent_walk,
        .empty_tables_kept = usage->empties_kept,
        /* As Linux does it, so that the trees have the same height. */
        .flags = (shape->stage2 ? PIOMMU_PGTABLE_CONCATENATE : 0) |
                 (usage->disjoint ? PIOMMU_PGTABLE_DISJOINT : 0),
    };
    struct piommu_pgtable *table;
    int error = piommu_pgtable_create((struct piommu_host){.os = &ours_os}, &config, &table);

    if (error != 0) {
        wrong("ours: a table %s cannot be created: error %d", shape->name, error);
        return NULL;
    }
    return table;
}

static void ours_destroy(void *table)
{
    piommu_pgtable_destroy(table);
}

static bool ours_map(void *table, uint64_t iova, uint64_t physical, uint64_t page, size_t count)
{
    uint64_t mapped;

    return piommu_pgtable_map(table, iova, physical, page * count,
                              PIOMMU_PROT_READ | PIOMMU_PROT_WRITE, &mapped) == 0;
}

static bool ours_unmap(void *table, uint64_t iova, uint64_t page, size_t count)
{
    struct piommu_gather gather;
    uint64_t unmapped;

    piommu_gather_init(&gather);
    if (piommu_pgtable_unmap(table, iova, page * count, &gather, &unmapped) != 0) {
        return false;
    }
    piommu_pgtable_detach_empty(table, &gather);
    invalidate(table, gather.range.first, gather.range.last);
    if (piommu_gather_has_tables(&gather)) {
        piommu_pgtable_release(table, &gather);
    }
    return unmapped == page * count;
}

static uint64_t ours_lookup(void *table, uint64_t iova)
{
    return piommu_pgtable_translate(table, iova);
}

const struct implementation ours = {
    .name = "piommu",
    .can = ours_can,
    .create = ours_create,
    .destroy = ours_destroy,
    .map = ours_map,
    .unmap = ours_unmap,
    .lookup = ours_lookup,
    .absent = PIOMMU_PGTABLE_NO_ADDRESS,
};
