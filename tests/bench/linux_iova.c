/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Linux's allocator of I/O virtual addresses, called as its DMA layer does: with the ranges that it
 * keeps for each CPU, which are given up before an allocation fails.
 */

#include <linux/iova.h>

#include "linux_iova_shim.h"

/* The memory of a space; objects that were given back count, as those that ours keeps do. */
struct linux_space {
    struct iova_domain domain;
    uint64_t bytes_before;
};

unsigned int linux_cpus;
uint64_t linux_bytes;

static void *linux_create(unsigned int cpus)
{
    uint64_t before = linux_bytes;
    struct linux_space *space = linux_zeroed(sizeof(*space));

    linux_cpus = cpus;
    space->bytes_before = before;
    if (iova_cache_get() != 0) {
        wrong("Linux: no caches of objects for IOVAs");
    }
    init_iova_domain(&space->domain, IOVA_PAGE, IOVA_FIRST / IOVA_PAGE);
    if (iova_domain_init_rcaches(&space->domain) != 0) {
        wrong("Linux: no caches of IOVAs");
    }
    return space;
}

static void linux_destroy(void *cookie)
{
    struct linux_space *space = cookie;

    put_iova_domain(&space->domain);
    iova_cache_put();
    pool_free_object(space);
}

static uint64_t linux_alloc(void *cookie, uint64_t pages, uint64_t highest)
{
    struct linux_space *space = cookie;

    return alloc_iova_fast(&space->domain, pages, highest / IOVA_PAGE, true) * IOVA_PAGE;
}

static bool linux_free(void *cookie, uint64_t address, uint64_t pages)
{
    struct linux_space *space = cookie;

    free_iova_fast(&space->domain, address / IOVA_PAGE, pages);
    return true;
}

static uint64_t linux_bytes_of(void *cookie)
{
    struct linux_space *space = cookie;

    return linux_bytes - space->bytes_before;
}

const struct iova_allocator iova_linux = {
    .name = "Linux",
    .create = linux_create,
    .destroy = linux_destroy,
    .alloc = linux_alloc,
    .free = linux_free,
    .bytes = linux_bytes_of,
};
