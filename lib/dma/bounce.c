/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* The pool of pages that stand for the ends of buffers. */

#include "dma.h"

#define MOST_PAGES 65536u

static size_t granule_of(const struct piommu_dma_space *space)
{
    return (size_t)space->granule_mask + 1;
}

int piommu_dma_open_pool_(struct piommu_dma_space *space, uint32_t pages)
{
    const struct piommu_host host = space->host;
    struct bounce_pool *pool = &space->pool;
    struct piommu_dma_request request = {.size = pages * granule_of(space),
                                         .alignment = granule_of(space),
                                         .max_physical = space->last_physical,
                                         .purpose = PIOMMU_DMA_BUFFER,
                                         .owner = space->cookie};

    if (pages == 0) {
        return 0;
    }
    if (host.os->memory_at == NULL || pages > MOST_PAGES ||
        pages * (space->granule_mask + 1) > SIZE_MAX / 2) {
        return -PIOMMU_EINVAL;
    }
    pool->pages = piommu_host_alloc_(host, pages * sizeof(struct bounce_page));
    if (pool->pages == NULL) {
        return -PIOMMU_ENOMEM;
    }
    pool->count = pages;
    pool->memory = host.os->dma_alloc(host.ctx, &request, &pool->first);
    if (pool->memory == NULL) {
        return -PIOMMU_ENOMEM;
    }
    pool->last = pool->first + (request.size - 1);
    if ((pool->first & space->granule_mask) != 0 || pool->last < pool->first) {
        return -PIOMMU_EINVAL;
    }
    for (uint32_t i = pages; i-- > 0;) {
        pool->pages[i].next = pool->free;
        pool->free = &pool->pages[i];
    }
    return 0;
}

void piommu_dma_close_pool_(struct piommu_dma_space *space, bool reachable)
{
    const struct piommu_host host = space->host;
    struct bounce_pool *pool = &space->pool;

    if (pool->memory != NULL && !reachable) {
        host.os->dma_free(host.ctx, pool->memory, pool->count * granule_of(space));
    }
    piommu_host_free_(host, pool->pages, pool->count * sizeof(struct bounce_page));
    *pool = (struct bounce_pool){0};
}

int piommu_dma_take_page_(struct piommu_dma_space *space, uint64_t physical, uint64_t size,
                          struct bounce_page **result)
{
    struct bounce_pool *pool = &space->pool;
    struct bounce_page *page;
    unsigned long state;

    if (pool->count == 0) {
        return -PIOMMU_EOPNOTSUPP;
    }
    state = space_lock(space);
    page = pool->free;
    if (page != NULL) {
        pool->free = page->next;
        pool->used++;
        pool->used_most = pool->used > pool->used_most ? pool->used : pool->used_most;
    }
    space_unlock(space, state);
    if (page == NULL) {
        return -PIOMMU_EAGAIN;
    }
    page->physical = physical;
    page->offset = (uint32_t)(physical & space->granule_mask);
    page->size = (uint32_t)size;
    *result = page;
    return 0;
}

void piommu_dma_give_pages_(struct piommu_dma_space *space, struct bounce_page *pages)
{
    struct bounce_pool *pool = &space->pool;
    unsigned long state;

    if (pages == NULL) {
        return;
    }
    state = space_lock(space);
    while (pages != NULL) {
        struct bounce_page *next = pages->next;

        pages->size = 0;
        pages->next = pool->free;
        pool->free = pages;
        pool->used--;
        pages = next;
    }
    space_unlock(space, state);
}

uint64_t piommu_dma_page_physical_(const struct piommu_dma_space *space,
                                   const struct bounce_page *page)
{
    return space->pool.first + (uint64_t)(page - space->pool.pages) * (space->granule_mask + 1);
}

uint8_t *piommu_dma_page_memory_(const struct piommu_dma_space *space,
                                 const struct bounce_page *page)
{
    return space->pool.memory + (size_t)(page - space->pool.pages) * granule_of(space);
}

struct bounce_page *piommu_dma_page_at_(struct piommu_dma_space *space, uint64_t physical)
{
    struct bounce_pool *pool = &space->pool;
    struct bounce_page *page;

    if (pool->count == 0 || physical < pool->first || physical > pool->last) {
        return NULL;
    }
    page = &pool->pages[(physical - pool->first) / (space->granule_mask + 1)];
    return page->size != 0 ? page : NULL;
}
