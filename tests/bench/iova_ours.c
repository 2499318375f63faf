/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* The allocator of this library, on a shim with locks that lock and threads that have numbers. */

#include <piommu/error.h>
#include <piommu/iova.h>

#include "iova.h"

static void *create_lock(void *ctx)
{
    struct spin *spin = pool_alloc_object(sizeof(*spin));

    (void)ctx;
    if (spin != NULL) {
        spin->taken = 0;
    }
    return spin;
}

static void destroy_lock(void *ctx, void *lock)
{
    (void)ctx;
    pool_free_object(lock);
}

static unsigned long lock_plainly(void *ctx, void *lock)
{
    (void)ctx;
    spin_lock_plainly(lock);
    return 0;
}

static void unlock_plainly(void *ctx, void *lock, unsigned long state)
{
    (void)ctx;
    (void)state;
    spin_unlock_plainly(lock);
}

static unsigned int number_of_thread(void *ctx)
{
    (void)ctx;
    return this_cpu;
}

/* The shim of the tables, which has the memory, with these. */
const struct piommu_os *iova_ours_os(void)
{
    static struct piommu_os os;

    if (os.size == 0) {
        os = ours_os;
        os.lock_create = create_lock;
        os.lock_destroy = destroy_lock;
        os.lock = lock_plainly;
        os.unlock = unlock_plainly;
        os.cpu = number_of_thread;
    }
    return &os;
}

static void *ours_create(unsigned int cpus)
{
    const struct piommu_iova_config config = {
        .granule = IOVA_PAGE,
        .aperture = {.first = IOVA_FIRST, .last = IOVA_LAST},
        .cpus = cpus,
    };
    struct piommu_iova_space *space;
    int error = piommu_iova_create((struct piommu_host){.os = iova_ours_os()}, &config, &space);

    if (error != 0) {
        wrong("ours: a space for IOVAs cannot be created: error %d", error);
        return NULL;
    }
    return space;
}

static void ours_destroy(void *space)
{
    piommu_iova_destroy(space);
}

static uint64_t ours_alloc(void *space, uint64_t pages, uint64_t highest)
{
    const struct piommu_iova_request request = {
        .size = pages * IOVA_PAGE,
        .alignment = iova_alignment(pages),
        .limit = highest,
    };
    uint64_t address;
    int error = piommu_iova_alloc(space, &request, &address);

    if (error == 0) {
        return address;
    }
    if (error != -PIOMMU_ENOSPC) {
        wrong("ours: no IOVA: error %d", error);
    }
    return 0;
}

static bool ours_free(void *space, uint64_t address, uint64_t pages)
{
    return piommu_iova_free(space, address, pages * IOVA_PAGE) == 0;
}

static uint64_t ours_bytes(void *space)
{
    struct piommu_iova_statistics statistics;

    piommu_iova_get_statistics(space, &statistics);
    return statistics.bytes;
}

uint32_t iova_ours_visited(void *space)
{
    struct piommu_iova_statistics statistics;

    piommu_iova_get_statistics(space, &statistics);
    return statistics.visited_last;
}

const struct iova_allocator iova_ours = {
    .name = "piommu",
    .create = ours_create,
    .destroy = ours_destroy,
    .alloc = ours_alloc,
    .free = ours_free,
    .bytes = ours_bytes,
};
