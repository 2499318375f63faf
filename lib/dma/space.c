/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* Spaces and devices, and where in a space a mapping goes. */

#include "../base/bits.h"
#include "dma.h"

#define DEFAULT_CACHE_LINE   64u
#define DEFAULT_LAZY_COUNT   256u
#define DEFAULT_LAZY_TIME    10000000u /* nanoseconds */
#define DEFAULT_SEGMENT_SIZE 0x10000u
#define DEFAULT_BOUNDARY     0x100000000u
/* So many wait for one sync that a larger number would save nothing any more. */
#define MOST_LAZY 65536u

/* ---- Addresses ---- */

/* The largest leaf that a mapping can begin with; 0: only the smallest. */
static uint64_t leaf_for(const struct piommu_dma_space *space, uint64_t hint, uint64_t size)
{
    uint64_t best = 0;

    for (uint64_t left = space->leaf_sizes; left != 0; left &= left - 1) {
        uint64_t leaf = left & (~left + 1);

        if (leaf <= size && (hint & (leaf - 1)) == 0) {
            best = leaf;
        }
    }
    return best;
}

/* Where large leaves can be used, or a boundary is not crossed, if there is such a place. */
static NEVER_INLINE int find_place(struct piommu_dma_device *device, uint64_t hint, uint64_t size,
                                   uint64_t limit, uint64_t boundary, uint64_t *iova)
{
    struct piommu_dma_space *space = device->space;
    struct piommu_iova_request request = {
        .size = size, .limit = limit, .preferred = device->preferred, .boundary = boundary};
    int error;

    if (size >= space->large) {
        request.alignment = leaf_for(space, hint, size);
    }
    error = piommu_iova_alloc(space->iova, &request, iova);
    if (error == -PIOMMU_ENOSPC && request.boundary != 0) {
        request.boundary = 0;
        error = piommu_iova_alloc(space->iova, &request, iova);
    }
    if (error == -PIOMMU_ENOSPC && request.alignment != 0) {
        request.alignment = 0;
        error = piommu_iova_alloc(space->iova, &request, iova);
    }
    return error == -PIOMMU_ERANGE ? -PIOMMU_ENOSPC : error;
}

int piommu_dma_find_addresses_(struct piommu_dma_device *device, uint64_t hint, uint64_t size,
                               uint64_t limit, uint64_t boundary, uint64_t *iova)
{
    int error = find_place(device, hint, size, limit, boundary, iova);

    if (error == -PIOMMU_ENOSPC && device->space->lazy) {
        /* What waits is free as soon as it is flushed; what does not obey is not. */
        int flushed = piommu_dma_space_flush(device->space);

        error = find_place(device, hint, size, limit, boundary, iova);
        error = error == -PIOMMU_ENOSPC && flushed == -PIOMMU_EAGAIN ? flushed : error;
    }
    return error;
}

/* ---- Regions ---- */

static struct region *region_over(const struct piommu_dma_space *space, uint64_t address)
{
    struct region *region = space->regions;

    while (region != NULL && (address < region->range.first || address > region->range.last)) {
        region = region->next;
    }
    return region;
}

/* The start of the next region above an address, or the end of a range. */
static uint64_t end_before_region(const struct piommu_dma_space *space, uint64_t address,
                                  uint64_t last)
{
    for (const struct region *region = space->regions; region != NULL; region = region->next) {
        if (region->range.first > address && region->range.first <= last) {
            last = region->range.first - 1;
        }
    }
    return last;
}

/* Takes addresses out. What waits, or lies in a lane's stock, is in nobody's way. */
static int take_addresses(struct piommu_dma_space *space, struct piommu_range range)
{
    int error = piommu_iova_take(space->iova, range);

    if (error == -PIOMMU_EEXIST && space->lazy) {
        int flushed = piommu_dma_space_flush(space);

        error = piommu_iova_take(space->iova, range);
        error = error == -PIOMMU_EEXIST && flushed == -PIOMMU_EAGAIN ? flushed : error;
    }
    return error;
}

static int add_region(struct piommu_dma_space *space, struct piommu_range range)
{
    struct region *region = piommu_host_alloc_(space->host, sizeof(*region));
    int error;

    if (region == NULL) {
        return -PIOMMU_ENOMEM;
    }
    error = take_addresses(space, range);
    if (error != 0) {
        piommu_host_free_(space->host, region, sizeof(*region));
        return error;
    }
    region->range = range;
    region->next = space->regions;
    space->regions = region;
    return 0;
}

static void drop_region(struct piommu_dma_space *space)
{
    struct region *region = space->regions;

    space->regions = region->next;
    piommu_host_free_(space->host, region, sizeof(*region));
}

/* Gives back what was taken since there was only `before`. */
static void untake_ranges(struct piommu_dma_space *space, const struct region *before)
{
    while (space->regions != before) {
        const struct piommu_range range = space->regions->range;

        (void)piommu_iova_free(space->iova, range.first, range.last - range.first + 1);
        drop_region(space);
    }
}

/* Takes what of a range is not in a region yet: those of several devices may overlap. */
static int take_range(struct piommu_dma_space *space, struct piommu_range range)
{
    uint64_t address = range.first & ~space->granule_mask;
    uint64_t last = range.last | space->granule_mask;

    address = address > space->usable.first ? address : space->usable.first;
    last = last < space->usable.last ? last : space->usable.last;
    while (address <= last) {
        const struct region *region = region_over(space, address);
        struct piommu_range part = {.first = address,
                                    .last = end_before_region(space, address, last)};
        int error = region != NULL ? 0 : add_region(space, part);

        if (error != 0) {
            return error;
        }
        part.last = region != NULL ? region->range.last : part.last;
        if (part.last >= last) {
            break;
        }
        address = part.last + 1;
    }
    return 0;
}

int piommu_dma_space_take(struct piommu_dma_space *space, struct piommu_range range)
{
    return space != NULL ? take_addresses(space, range) : -PIOMMU_EINVAL;
}

/* ---- Spaces ---- */

/* What of the aperture is given out, in whole granules: IOMMUs may have all 64 bits. */
static struct piommu_range usable_range(const struct piommu_domain_info *info)
{
    const uint64_t mask = info->granule - 1;
    const uint64_t highest = PIOMMU_IOVA_MAX_GRANULES - 1;
    struct piommu_range range = info->aperture;

    if (range.first / info->granule <= highest && range.last / info->granule > highest) {
        range.last = highest * info->granule + mask;
    }
    if ((range.first & mask) != 0 && range.first < range.last - mask) {
        range.first = (range.first | mask) + 1;
    }
    if ((range.last & mask) != mask && range.last > mask) {
        range.last -= (range.last & mask) + 1;
    }
    return range;
}

/* Whether a domain will do. What it is would take much of the stack: it is asked for again. */
static NEVER_INLINE int check_domain(const struct piommu_dma_space_config *config)
{
    struct piommu_domain_info info;

    piommu_domain_get_info(config->domain, &info);
    if (info.type != PIOMMU_DOMAIN_DMA || config->cache_line > info.granule) {
        return -PIOMMU_EINVAL;
    }
    return config->lazy && !info.disjoint && !info.told_each ? -PIOMMU_EOPNOTSUPP : 0;
}

static NEVER_INLINE void set_options(struct piommu_dma_space *space,
                                     const struct piommu_dma_space_config *config)
{
    uint32_t line = config->cache_line != 0 ? config->cache_line : DEFAULT_CACHE_LINE;
    struct piommu_domain_info info;

    piommu_domain_get_info(config->domain, &info);
    space->domain = config->domain;
    space->granule_mask = info.granule - 1;
    space->usable = usable_range(&info);
    space->last_physical = info.last_physical;
    space->leaf_sizes = info.leaf_sizes & ~space->granule_mask & ~info.granule;
    space->large =
        space->leaf_sizes != 0 ? space->leaf_sizes & (~space->leaf_sizes + 1) : UINT64_MAX;
    space->can = info.prot;
    space->write_only = info.write_only;
    space->lazy = config->lazy;
    space->lazy_count = config->lazy_count != 0 ? config->lazy_count : DEFAULT_LAZY_COUNT;
    space->lazy_time = config->lazy_time != 0 ? config->lazy_time : DEFAULT_LAZY_TIME;
    space->released = config->released;
    space->cookie = config->cookie;
    space->line_mask = line - 1;
    space->debug = config->debug;
    piommu_gather_init(&space->stuck);
    atomic_init(&space->flushes, 0);
}

static NEVER_INLINE int open_addresses(struct piommu_dma_space *space,
                                       const struct piommu_dma_space_config *config)
{
    struct piommu_domain_info info;
    struct piommu_iova_config addresses = {.granule = space->granule_mask + 1,
                                           .aperture = space->usable,
                                           .bottom_up = config->bottom_up,
                                           .cpus = config->cpus};

    piommu_domain_get_info(space->domain, &info);
    addresses.serialised = !info.disjoint;
    return piommu_iova_create(space->host, &addresses, &space->iova);
}

static NEVER_INLINE struct piommu_range msi_window_of(const struct piommu_dma_space *space)
{
    struct piommu_domain_info info;

    piommu_domain_get_info(space->domain, &info);
    return info.msi_window;
}

static int open_space(struct piommu_dma_space *space, const struct piommu_dma_space_config *config)
{
    const struct piommu_host host = space->host;
    struct piommu_range taken = {.first = 0, .last = space->granule_mask};
    int error;

    space->lock = host.os->lock_create(host.ctx);
    if (space->lock == NULL) {
        return -PIOMMU_ENOMEM;
    }
    error = open_addresses(space, config);
    if (error == 0) {
        error = take_range(space, taken);
    }
    if (error == 0) {
        taken = msi_window_of(space);
    }
    if (error == 0 && (taken.first | taken.last) != 0) {
        error = take_range(space, taken);
    }
    if (error == 0 && space->lazy) {
        error = piommu_dma_open_lanes_(
            space, host.os->cpu != NULL && config->cpus != 0 ? config->cpus : 1);
    }
    return error == 0 ? piommu_dma_open_pool_(space, config->bounce_pages) : error;
}

static void close_space(struct piommu_dma_space *space, bool reachable)
{
    const struct piommu_host host = space->host;

    piommu_dma_close_pool_(space, reachable);
    piommu_dma_close_lanes_(space);
    while (space->regions != NULL) {
        drop_region(space);
    }
    piommu_iova_destroy(space->iova);
    if (space->lock != NULL) {
        host.os->lock_destroy(host.ctx, space->lock);
    }
    piommu_host_free_(host, space, sizeof(*space));
}

int piommu_dma_space_create(struct piommu_host host, const struct piommu_dma_space_config *config,
                            struct piommu_dma_space **result)
{
    struct piommu_dma_space *space;
    int error;

    if (config == NULL || result == NULL || config->domain == NULL ||
        config->lazy_count > MOST_LAZY ||
        (config->cache_line != 0 && !is_power_of_two(config->cache_line))) {
        return -PIOMMU_EINVAL;
    }
    error = piommu_host_check_(host, PIOMMU_OS_NEED_LOCK);
    if (error != 0) {
        return error;
    }
    error = check_domain(config);
    if (error != 0) {
        return error;
    }
    space = piommu_host_alloc_(host, sizeof(*space));
    if (space == NULL) {
        return -PIOMMU_ENOMEM;
    }
    space->host = host;
    set_options(space, config);
    error = open_space(space, config);
    if (error != 0) {
        close_space(space, false);
        return error;
    }
    *result = space;
    return 0;
}

int piommu_dma_space_destroy(struct piommu_dma_space *space)
{
    int error;

    if (space == NULL) {
        return 0;
    }
    if (space->devices != NULL) {
        return -PIOMMU_EBUSY;
    }
    error = piommu_dma_space_flush(space);
    if (error != 0) {
        return error;
    }
    close_space(space, space->pool.used != 0);
    return 0;
}

int piommu_dma_space_abandon(struct piommu_dma_space *space)
{
    if (space == NULL) {
        return 0;
    }
    if (space->devices != NULL) {
        return -PIOMMU_EBUSY;
    }
    close_space(space, space->pool.used != 0);
    return 0;
}

void piommu_dma_space_get_statistics(struct piommu_dma_space *space,
                                     struct piommu_dma_statistics *statistics)
{
    unsigned long state = space_lock(space);

    *statistics = (struct piommu_dma_statistics){.bounce_pages_used = space->pool.used,
                                                 .bounce_pages_most = space->pool.used_most,
                                                 .stuck = space->stuck_count + space->stuck_lost};
    space_unlock(space, state);
    for (uint32_t i = 0; i < space->lane_count; i++) {
        statistics->waiting += atomic_load_explicit(&space->lanes[i].count, memory_order_relaxed);
    }
    statistics->flushes = atomic_load_explicit(&space->flushes, memory_order_relaxed);
}

/* ---- Devices ---- */

static int check_limits(struct piommu_dma_device *device,
                        const struct piommu_dma_device_config *config)
{
    const struct piommu_os *os = device->space->host.os;

    if (!is_power_of_two(device->boundary_mask + 1) ||
        device->boundary_mask < device->space->granule_mask) {
        return -PIOMMU_EINVAL;
    }
    if (config->non_coherent &&
        (os->memory_at == NULL || os->cache_clean == NULL || os->cache_invalidate == NULL)) {
        return -PIOMMU_EINVAL;
    }
    return piommu_dma_device_set_masks(device, config->mask, config->coherent_mask);
}

static void set_limits(struct piommu_dma_device *device,
                       const struct piommu_dma_device_config *config)
{
    const struct piommu_dma_space *space = device->space;
    const piommu_prot cached = config->non_coherent ? space->can & PIOMMU_PROT_NONCACHEABLE : 0;
    const piommu_prot write = PIOMMU_PROT_WRITE | cached;

    device->non_coherent = config->non_coherent;
    device->preferred = config->preferred;
    device->max_segment_size =
        config->max_segment_size != 0 ? config->max_segment_size : DEFAULT_SEGMENT_SIZE;
    device->boundary_mask =
        (config->segment_boundary != 0 ? config->segment_boundary : DEFAULT_BOUNDARY) - 1;
    device->careful = device->untrusted || device->non_coherent || space->debug;
    device->prot[PIOMMU_DMA_BIDIRECTIONAL] = PIOMMU_PROT_READ | write;
    device->prot[PIOMMU_DMA_TO_DEVICE] = PIOMMU_PROT_READ | cached;
    device->prot[PIOMMU_DMA_FROM_DEVICE] = space->write_only ? write : PIOMMU_PROT_READ | write;
}

static int take_regions(struct piommu_dma_space *space, const struct piommu_device *device)
{
    struct piommu_reserved_region region;
    int error = 0;

    for (size_t i = 0; error == 0 && piommu_device_reserved_region(device, i, &region) == 0; i++) {
        error = take_range(space, region.range);
    }
    return error;
}

static NEVER_INLINE void describe(struct piommu_dma_device *device,
                                  const struct piommu_device *core_device)
{
    struct piommu_device_info info;

    piommu_device_get_info(core_device, &info);
    device->name = info.name;
    device->untrusted = info.untrusted;
}

int piommu_dma_device_add(struct piommu_dma_space *space, struct piommu_device *core_device,
                          const struct piommu_dma_device_config *config,
                          struct piommu_dma_device **added)
{
    static const struct piommu_dma_device_config defaults;
    const struct region *before;
    struct piommu_dma_device *device;
    int error;

    if (space == NULL || core_device == NULL || added == NULL) {
        return -PIOMMU_EINVAL;
    }
    device = piommu_host_alloc_(space->host, sizeof(*device));
    if (device == NULL) {
        return -PIOMMU_ENOMEM;
    }
    device->space = space;
    describe(device, core_device);
    if (device->untrusted && space->lazy) {
        piommu_host_free_(space->host, device, sizeof(*device));
        return -PIOMMU_EOPNOTSUPP;
    }
    config = config != NULL ? config : &defaults;
    set_limits(device, config);
    before = space->regions;
    error = check_limits(device, config);
    if (error == 0) {
        error = take_regions(space, core_device);
    }
    if (error != 0) {
        untake_ranges(space, before);
        piommu_host_free_(space->host, device, sizeof(*device));
        return error;
    }
    device->next = space->devices;
    space->devices = device;
    *added = device;
    return 0;
}

void piommu_dma_device_remove(struct piommu_dma_device *device)
{
    struct piommu_dma_device **link;

    if (device == NULL) {
        return;
    }
    link = &device->space->devices;
    while (*link != device) {
        link = &(*link)->next;
    }
    *link = device->next;
    if (device->space->debug) {
        piommu_dma_drop_records_(device);
    }
    piommu_host_free_(device->space->host, device, sizeof(*device));
}

int piommu_dma_device_set_masks(struct piommu_dma_device *device, uint64_t mask,
                                uint64_t coherent_mask)
{
    struct piommu_domain_info info;
    uint64_t lowest;

    if (device == NULL) {
        return -PIOMMU_EINVAL;
    }
    piommu_domain_get_info(device->space->domain, &info);
    /* The granule at 0 is not given out. */
    lowest = info.aperture.first != 0 ? info.aperture.first : info.granule;
    lowest |= info.granule - 1;
    mask = mask != 0 ? mask : UINT64_MAX;
    coherent_mask = coherent_mask != 0 ? coherent_mask : mask;
    if (mask < lowest || coherent_mask < lowest) {
        return -PIOMMU_ERANGE;
    }
    device->mask = mask;
    device->coherent_mask = coherent_mask;
    return 0;
}
