/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * What comes after a mapping: it is taken out of the tables, the hardware is made to forget it, and
 * only then its addresses and bounce pages are free again. At once, or for many mappings together.
 * Where the hardware does not obey they are stuck until it does.
 */

#include "../base/gather.h"
#include "dma.h"

/* Puts away what hardware has not forgotten. The gather is empty afterwards. */
static APART_IF_SHALLOW void put_away(struct piommu_dma_space *space, struct piommu_gather *gather,
                                      const struct waiting *waiting, uint32_t count,
                                      struct bounce_page *pages)
{
    unsigned long state = space_lock(space);

    (void)piommu_domain_merge_gather(space->domain, gather, &space->stuck);
    for (uint32_t i = 0; i < count; i++) {
        if (space->stuck_count < STUCK_ROOM) {
            space->stuck_waiting[space->stuck_count++] = waiting[i];
        } else {
            space->stuck_lost++;
        }
    }
    while (pages != NULL) {
        struct bounce_page *next = pages->next;

        pages->next = space->stuck_pages;
        space->stuck_pages = pages;
        pages = next;
    }
    space_unlock(space, state);
}

/* The same for one mapping; the addresses are to be free once it is forgotten, if there are any. */
static NEVER_INLINE int put_away_one(struct piommu_dma_space *space, struct piommu_gather *gather,
                                     struct span addresses, struct bounce_page *pages)
{
    const struct waiting waiting = {.address = addresses.first, .size = addresses.size};

    put_away(space, gather, &waiting, addresses.size != 0 ? 1 : 0, pages);
    return -PIOMMU_EFAILED;
}

bool piommu_dma_anything_stuck_(struct piommu_dma_space *space)
{
    unsigned long state = space_lock(space);
    bool any = space->stuck.pending || space->stuck_in_use;

    space_unlock(space, state);
    return any;
}

/* What a caller is told of an unmap that was refused. */
static NEVER_INLINE int refusal(int error)
{
    return error == -PIOMMU_ECUT || error == -PIOMMU_ERESERVED || error == -PIOMMU_ERANGE
               ? -PIOMMU_EINVAL
               : error;
}

/* Not a struct span: this one would go through memory, in halves, and wait there. */
static ALWAYS_INLINE int release_now(struct piommu_dma_space *space, uint64_t first, uint64_t size,
                                     struct bounce_page *pages)
{
    struct piommu_gather gather;
    uint64_t removed;
    int error;

    piommu_gather_init(&gather);
    error = piommu_domain_unmap(space->domain, first, size, &gather, &removed);
    if (UNLIKELY(error != 0)) {
        return refusal(error);
    }
    error = piommu_domain_sync(space->domain, &gather);
    if (UNLIKELY(error != 0)) {
        return put_away_one(space, &gather, (struct span){first, size}, pages);
    }
    if (UNLIKELY(pages != NULL)) {
        piommu_dma_give_pages_(space, pages);
    }
    /* Something else than what was mapped: nobody knows whose addresses these are. */
    if (UNLIKELY(removed != size)) {
        return -PIOMMU_EINVAL;
    }
    return piommu_iova_free(space->iova, first, size);
}

int piommu_dma_withdraw_(struct piommu_dma_space *space, struct span range, uint64_t mapped,
                         struct span addresses, struct bounce_page *pages, int error)
{
    struct piommu_gather gather;

    piommu_gather_init(&gather);
    if (mapped != 0) {
        (void)piommu_domain_unmap(space->domain, range.first, mapped, &gather, NULL);
        if (piommu_domain_sync(space->domain, &gather) != 0) {
            error = -PIOMMU_EFAILED;
        }
    }
    if (error == -PIOMMU_EFAILED) {
        /* Also what the failed call has mapped for a moment is to be invalidated. */
        gather_add(&gather, range.first, range.first + (range.size - 1));
        return put_away_one(space, &gather, addresses, pages);
    }
    piommu_dma_give_pages_(space, pages);
    return error;
}

int piommu_dma_undo_(struct piommu_dma_space *space, struct span all, uint64_t mapped,
                     struct bounce_page *pages, int error)
{
    error = piommu_dma_withdraw_(space, all, mapped, all, pages, error);
    if (error != -PIOMMU_EFAILED) {
        (void)piommu_iova_free(space->iova, all.first, all.size);
    }
    return error;
}

int piommu_dma_unmap_part_(struct piommu_dma_space *space, struct span part,
                           struct bounce_page *pages, uint64_t *removed)
{
    const struct span none = {0};
    struct piommu_gather gather;
    int error;

    *removed = 0;
    piommu_gather_init(&gather);
    error = piommu_domain_unmap(space->domain, part.first, part.size, &gather, removed);
    if (error != 0) {
        return refusal(error);
    }
    if (piommu_domain_sync(space->domain, &gather) != 0) {
        return put_away_one(space, &gather, none, pages);
    }
    piommu_dma_give_pages_(space, pages);
    return *removed == part.size ? 0 : -PIOMMU_EINVAL;
}

/* ---- Lazily ---- */

static bool claim(struct lane *lane)
{
    return atomic_load_explicit(&lane->in_use, memory_order_relaxed) == 0 &&
           atomic_exchange_explicit(&lane->in_use, 1, memory_order_acquire) == 0;
}

static void unclaim(struct lane *lane)
{
    atomic_store_explicit(&lane->in_use, 0, memory_order_release);
}

static uint32_t count_of(const struct lane *lane)
{
    return atomic_load_explicit(&lane->count, memory_order_relaxed);
}

static void set_count(struct lane *lane, uint32_t count)
{
    atomic_store_explicit(&lane->count, count, memory_order_relaxed);
}

static struct lane *claim_other(struct piommu_dma_space *space, uint32_t number)
{
    for (uint32_t i = 1; i < space->lane_count; i++) {
        struct lane *lane = &space->lanes[(number + i) % space->lane_count];

        if (claim(lane)) {
            return lane;
        }
    }
    return NULL;
}

static ALWAYS_INLINE struct lane *claim_any(struct piommu_dma_space *space)
{
    const struct piommu_host host = space->host;
    uint32_t number = space->lane_count > 1 ? host.os->cpu(host.ctx) : 0;
    struct lane *lane;

    number = number < space->lane_count ? number : 0;
    lane = &space->lanes[number];
    return LIKELY(claim(lane)) ? lane : claim_other(space, number);
}

/* Gives back what a claimed lane has in stock. */
static void empty_stock(struct piommu_dma_space *space, struct lane *lane)
{
    while (lane->stocked != 0) {
        const struct waiting *granule = &lane->stock[--lane->stocked];

        (void)piommu_iova_free(space->iova, granule->address, granule->size);
    }
}

/*
 * The addresses of a mapping are free. Single granules stay with the lane: it is claimed for many
 * of them at once, where the allocator would need an atomic operation for each (row dma.page_lazy
 * of the benchmark).
 */
static void give_addresses(struct piommu_dma_space *space, struct lane *lane,
                           const struct waiting *waiting)
{
    if (waiting->size == space->granule_mask + 1 && lane->stocked < space->lazy_count) {
        lane->stock[lane->stocked++] = *waiting;
    } else {
        (void)piommu_iova_free(space->iova, waiting->address, waiting->size);
    }
}

uint64_t piommu_dma_take_stock_(struct piommu_dma_device *device)
{
    struct piommu_dma_space *space = device->space;
    struct lane *lane = claim_any(space);
    uint64_t address = 0;

    if (lane == NULL) {
        return 0;
    }
    if (lane->stocked != 0 &&
        lane->stock[lane->stocked - 1].address + space->granule_mask <= device->mask) {
        address = lane->stock[--lane->stocked].address;
    }
    unclaim(lane);
    return address;
}

/* What has waited in a claimed lane is free. */
static APART_IF_SHALLOW void give_all(struct piommu_dma_space *space, struct lane *lane,
                                      uint32_t count)
{
    /* Mostly it is so: as many granules were taken from the stock as have come to wait. */
    if (LIKELY(lane->stocked == 0 && !lane->mixed && space->released == NULL)) {
        struct waiting *granules = lane->waiting;

        lane->waiting = lane->stock;
        lane->stock = granules;
        lane->stocked = count;
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        const struct waiting *waiting = &lane->waiting[i];

        if (space->released != NULL) {
            space->released(space->cookie, waiting->address, waiting->size);
        }
        give_addresses(space, lane, waiting);
    }
}

/* Makes all of a claimed lane unreachable. */
static APART_IF_SHALLOW int drain(struct piommu_dma_space *space, struct lane *lane)
{
    uint32_t count = count_of(lane);
    int error = piommu_domain_sync(space->domain, &lane->gather);

    if (error != 0) {
        put_away(space, &lane->gather, lane->waiting, count, NULL);
        set_count(lane, 0);
        lane->mixed = false;
        return -PIOMMU_EFAILED;
    }
    give_all(space, lane, count);
    set_count(lane, 0);
    lane->mixed = false;
    if (count != 0) {
        (void)atomic_fetch_add_explicit(&space->flushes, 1, memory_order_relaxed);
    }
    return 0;
}

static int release_later(struct piommu_dma_space *space, struct lane *lane, uint64_t first,
                         uint64_t size)
{
    uint32_t count = count_of(lane);
    uint64_t removed;
    int error = piommu_domain_unmap(space->domain, first, size, &lane->gather, &removed);

    if (UNLIKELY(error != 0)) {
        return refusal(error);
    }
    if (UNLIKELY(removed != size)) {
        error = drain(space, lane);
        return error != 0 ? error : -PIOMMU_EINVAL;
    }
    if (count == 0) {
        lane->since = space->host.os->now(space->host.ctx);
    }
    lane->waiting[count] = (struct waiting){.address = first, .size = size};
    lane->mixed = lane->mixed || size != space->granule_mask + 1;
    set_count(lane, count + 1);
    return count + 1 < space->lazy_count ? 0 : drain(space, lane);
}

int piommu_dma_release_(struct piommu_dma_space *space, uint64_t first, uint64_t size, bool lazily,
                        struct bounce_page *pages)
{
    if (UNLIKELY(size == 0)) {
        return -PIOMMU_EINVAL;
    }
    if (space->lazy && lazily && pages == NULL) {
        struct lane *lane = claim_any(space);

        if (LIKELY(lane != NULL)) {
            int error = release_later(space, lane, first, size);

            unclaim(lane);
            return error;
        }
    }
    return release_now(space, first, size, pages);
}

/* Gives the addresses and pages back that were stuck, but for those that came meanwhile. */
static void forget_stuck(struct piommu_dma_space *space, uint32_t count, struct bounce_page *pages)
{
    unsigned long state;

    /* Nobody else touches the first of them. */
    for (uint32_t i = 0; i < count; i++) {
        (void)piommu_iova_free(space->iova, space->stuck_waiting[i].address,
                               space->stuck_waiting[i].size);
    }
    piommu_dma_give_pages_(space, pages);
    state = space_lock(space);
    space->stuck_count -= count;
    memmove(space->stuck_waiting, space->stuck_waiting + count,
            space->stuck_count * sizeof(struct waiting));
    space->stuck_in_use = false;
    space_unlock(space, state);
}

/* A gather without a mapping request in it is no proof. */
static NEVER_INLINE bool has_failed(const struct piommu_dma_space *space)
{
    struct piommu_domain_info info;

    piommu_domain_get_info(space->domain, &info);
    return info.failed;
}

/* Returns `result` if there is nothing worse. */
static NEVER_INLINE int flush_stuck(struct piommu_dma_space *space, int result)
{
    struct piommu_gather gather;
    struct bounce_page *pages;
    uint32_t count;
    unsigned long state;

    piommu_gather_init(&gather);
    state = space_lock(space);
    /* Whoever uses it has what is stuck in a gather of his own, and its fate is not known yet. */
    if (space->stuck_in_use || !space->stuck.pending) {
        result = space->stuck_in_use ? -PIOMMU_EAGAIN : result;
        space_unlock(space, state);
        return result;
    }
    space->stuck_in_use = true;
    count = space->stuck_count;
    pages = space->stuck_pages;
    space->stuck_pages = NULL;
    (void)piommu_domain_merge_gather(space->domain, &space->stuck, &gather);
    space_unlock(space, state);
    if (!has_failed(space) && piommu_domain_sync(space->domain, &gather) == 0) {
        forget_stuck(space, count, pages);
        return result;
    }
    put_away(space, &gather, NULL, 0, pages);
    state = space_lock(space);
    space->stuck_in_use = false;
    space_unlock(space, state);
    return -PIOMMU_EFAILED;
}

int piommu_dma_space_flush(struct piommu_dma_space *space)
{
    int result = 0;

    if (space == NULL) {
        return -PIOMMU_EINVAL;
    }
    for (uint32_t i = 0; i < space->lane_count; i++) {
        struct lane *lane = &space->lanes[i];

        if (claim(lane)) {
            (void)drain(space, lane); /* what fails is stuck */
            empty_stock(space, lane);
            unclaim(lane);
        } else {
            result = -PIOMMU_EAGAIN;
        }
    }
    return flush_stuck(space, result);
}

int piommu_dma_space_poll(struct piommu_dma_space *space, uint64_t *next)
{
    uint64_t soonest = UINT64_MAX;
    int result = 0;

    if (space == NULL) {
        return -PIOMMU_EINVAL;
    }
    for (uint32_t i = 0; i < space->lane_count; i++) {
        struct lane *lane = &space->lanes[i];
        uint64_t left = space->lazy_time;

        if (count_of(lane) == 0) {
            continue;
        }
        if (claim(lane)) {
            uint64_t waited = space->host.os->now(space->host.ctx) - lane->since;

            left = UINT64_MAX;
            if (count_of(lane) != 0 && waited < space->lazy_time) {
                left = space->lazy_time - waited;
            } else if (count_of(lane) != 0 && drain(space, lane) != 0) {
                result = -PIOMMU_EFAILED;
            }
            unclaim(lane);
        } else {
            left /= 8; /* somebody unmaps there right now */
        }
        soonest = left < soonest ? left : soonest;
    }
    if (next != NULL) {
        *next = soonest;
    }
    return result;
}

/* ---- The lanes ---- */

int piommu_dma_open_lanes_(struct piommu_dma_space *space, uint32_t lanes)
{
    space->lanes = piommu_host_alloc_(space->host, lanes * sizeof(struct lane));
    if (space->lanes == NULL) {
        return -PIOMMU_ENOMEM;
    }
    space->lane_count = lanes;
    for (uint32_t i = 0; i < lanes; i++) {
        struct lane *lane = &space->lanes[i];

        atomic_init(&lane->in_use, 0);
        atomic_init(&lane->count, 0);
        piommu_gather_init(&lane->gather);
        lane->waiting = piommu_host_alloc_(space->host, space->lazy_count * sizeof(struct waiting));
        lane->stock = piommu_host_alloc_(space->host, space->lazy_count * sizeof(struct waiting));
        if (lane->waiting == NULL || lane->stock == NULL) {
            return -PIOMMU_ENOMEM;
        }
    }
    return 0;
}

void piommu_dma_close_lanes_(struct piommu_dma_space *space)
{
    for (uint32_t i = 0; i < space->lane_count; i++) {
        piommu_host_free_(space->host, space->lanes[i].waiting,
                          space->lazy_count * sizeof(struct waiting));
        piommu_host_free_(space->host, space->lanes[i].stock,
                          space->lazy_count * sizeof(struct waiting));
    }
    piommu_host_free_(space->host, space->lanes, space->lane_count * sizeof(struct lane));
    space->lanes = NULL;
    space->lane_count = 0;
}
