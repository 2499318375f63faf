/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Reserved regions: addresses that nobody may map, and those that a device uses by their physical
 * address all the time. What the library maps for the latter is there only while groups come, are
 * there, and go: a deferred domain is populated by then.
 */

#include "core.h"

/* What a device may do in its direct regions. */
#define DIRECT_PROT ((piommu_prot)(PIOMMU_PROT_READ | PIOMMU_PROT_WRITE))

const struct piommu_reserved_region *piommu_next_region_(struct region_cursor *cursor)
{
    if (!cursor->begun) {
        cursor->begun = true;
        cursor->device = cursor->group->devices;
        cursor->endpoint = cursor->group->endpoints;
        cursor->node = cursor->endpoint != NULL ? cursor->endpoint->facts.reserved : NULL;
    }
    while (cursor->device != NULL) {
        if (cursor->index < cursor->device->region_count) {
            return &cursor->device->regions[cursor->index++];
        }
        cursor->device = cursor->device->next;
        cursor->index = 0;
    }
    while (cursor->endpoint != NULL) {
        const struct reserved_node *node = cursor->node;

        if (node != NULL) {
            cursor->node = node->next;
            return &node->region;
        }
        cursor->endpoint = cursor->endpoint->next;
        cursor->node = cursor->endpoint != NULL ? cursor->endpoint->facts.reserved : NULL;
    }
    return NULL;
}

/* Whether the library maps a region in a domain. */
static bool is_direct(const struct piommu_domain *domain,
                      const struct piommu_reserved_region *region)
{
    return region->kind == PIOMMU_RESERVED_DIRECT ||
           (region->kind == PIOMMU_RESERVED_RELAXABLE && domain->config.map_relaxable);
}

static bool counts(const struct piommu_domain *domain, const struct piommu_reserved_region *region)
{
    return region->kind != PIOMMU_RESERVED_RELAXABLE || domain->config.map_relaxable;
}

/* Direct regions take whole granules. */
static struct piommu_range extent(const struct piommu_domain *domain,
                                  const struct piommu_reserved_region *region)
{
    struct piommu_range range = region->range;

    if (is_direct(domain, region)) {
        range.first &= ~domain->geometry.granule_mask;
        range.last |= domain->geometry.granule_mask;
    }
    return range;
}

uint64_t piommu_regions_count_(const struct piommu_domain *domain, const struct piommu_group *group)
{
    struct region_cursor cursor = {.group = group};
    const struct piommu_reserved_region *region;
    uint64_t count = 0;

    while ((region = piommu_next_region_(&cursor)) != NULL) {
        count += counts(domain, region) ? 1 : 0;
    }
    return count;
}

static bool in_window(const struct piommu_domain *domain, struct piommu_range range)
{
    return domain->window.first <= domain->window.last && ranges_overlap(domain->window, range);
}

bool piommu_reserved_overlaps_(const struct piommu_domain *domain, struct piommu_range range)
{
    if (in_window(domain, range)) {
        return true;
    }
    for (const struct piommu_group *group = domain->groups; group != NULL; group = group->next) {
        struct region_cursor cursor = {.group = group};
        const struct piommu_reserved_region *region;

        while ((region = piommu_next_region_(&cursor)) != NULL) {
            if (counts(domain, region) && ranges_overlap(extent(domain, region), range)) {
                return true;
            }
        }
    }
    return false;
}

bool piommu_held_overlaps_(const struct piommu_domain *domain, struct piommu_range range)
{
    for (const struct doorbell *doorbell = domain->doorbells; doorbell != NULL;
         doorbell = doorbell->next) {
        struct piommu_range page = {.first = doorbell->iova,
                                    .last = doorbell->iova + (doorbell->size - 1)};

        if (ranges_overlap(page, range)) {
            return true;
        }
    }
    if (!domain_has_table(domain)) {
        /* What a record was made for counts, whatever the granule is now. */
        return piommu_requests_direct_(domain, piommu_requests_widen_(domain, range));
    }
    for (const struct piommu_group *group = domain->groups; group != NULL; group = group->next) {
        struct region_cursor cursor = {.group = group};
        const struct piommu_reserved_region *region;

        while ((region = piommu_next_region_(&cursor)) != NULL) {
            if (is_direct(domain, region) && ranges_overlap(extent(domain, region), range)) {
                return true;
            }
        }
    }
    return false;
}

bool piommu_regions_forbid_(const struct piommu_domain *domain, struct piommu_range range)
{
    for (const struct piommu_group *group = domain->groups; group != NULL; group = group->next) {
        struct region_cursor cursor = {.group = group};
        const struct piommu_reserved_region *region;

        while ((region = piommu_next_region_(&cursor)) != NULL) {
            if (counts(domain, region) && !is_direct(domain, region) &&
                ranges_overlap(region->range, range)) {
                return true;
            }
        }
    }
    return false;
}

/* Finds the first part of a range that no direct region of the domain's groups covers. */
static bool next_uncovered(const struct piommu_domain *domain, struct piommu_range *range,
                           struct piommu_range *part)
{
    bool moved = true;

    while (moved) {
        moved = false;
        part->first = range->first;
        part->last = range->last;
        for (const struct piommu_group *group = domain->groups; group != NULL;
             group = group->next) {
            struct region_cursor cursor = {.group = group};
            const struct piommu_reserved_region *region;

            while ((region = piommu_next_region_(&cursor)) != NULL) {
                struct piommu_range held = extent(domain, region);

                if (!is_direct(domain, region) || !ranges_overlap(held, *part)) {
                    continue;
                }
                if (held.first > part->first) {
                    part->last = held.first - 1;
                } else if (held.last >= range->last) {
                    return false;
                } else {
                    range->first = held.last + 1;
                    moved = true;
                }
                if (moved) {
                    break;
                }
            }
            if (moved) {
                break;
            }
        }
    }
    return true;
}

/* Unmaps what the library has mapped in a range, with a backend that takes requests. */
static NEVER_INLINE void unmap_records(struct piommu_domain *domain, struct piommu_range part)
{
    struct piommu_gather gather;
    uint64_t unmapped = 0;
    uint64_t done;

    piommu_gather_init(&gather);
    if (piommu_requests_unmap_(domain, part, UINT32_MAX, &gather, &done, &unmapped) == 0 &&
        piommu_requests_sync_(domain, &gather) != 0) {
        /* A unit has failed, which may go on to reach what was its device's own; nobody else's. */
        piommu_requests_forget_(domain, &gather);
    }
}

/* Maps a part of a direct region: in tables page by page, so that any page can go alone. */
static int map_direct(struct piommu_domain *domain, struct piommu_range part)
{
    struct piommu_segment segment = {.physical = part.first,
                                     .size = domain->geometry.granule_mask + 1};

    if (domain_failed(domain)) {
        return -PIOMMU_EFAILED;
    }
    if (!domain_has_table(domain)) {
        return piommu_requests_map_direct_(domain, part, DIRECT_PROT);
    }
    while (segment.physical - 1 != part.last) {
        int error = piommu_tables_map_(domain, segment.physical, &segment, 1, DIRECT_PROT);

        if (error != 0) {
            return piommu_tables_undo_map_(domain, part.first, segment.physical - part.first,
                                           error);
        }
        segment.physical += segment.size;
    }
    return 0;
}

/*
 * With a backend that takes requests the records are what is mapped as one. Finds the first in a
 * range that no direct region needs any more. Not inlined, as what it needs on the stack is not
 * needed while that is unmapped.
 */
static NEVER_INLINE bool next_unneeded(struct piommu_domain *domain, struct piommu_range range,
                                       struct piommu_range *record)
{
    struct piommu_translation next;

    while (piommu_requests_next_(domain, range.first, range.last, &record->first, &next) == 0) {
        struct piommu_range rest;
        struct piommu_range part;

        record->last = record->first + (next.leaf_size - 1);
        rest = *record;
        if (next_uncovered(domain, &rest, &part) && part.first == record->first &&
            part.last == record->last) {
            return true;
        }
        if (record->last >= range.last) {
            return false;
        }
        range.first = record->last + 1;
    }
    return false;
}

static NEVER_INLINE void sweep_requests(struct piommu_domain *domain, struct piommu_range range)
{
    struct piommu_range record;

    while (next_unneeded(domain, range, &record)) {
        unmap_records(domain, record);
        if (record.last >= range.last) {
            return;
        }
        range.first = record.last + 1;
    }
}

static APART_IF_SHALLOW void sweep_tables(struct piommu_domain *domain, struct piommu_range range)
{
    struct piommu_range part;

    while (next_uncovered(domain, &range, &part)) {
        (void)piommu_tables_undo_map_(domain, part.first, range_size(part), 0);
        if (part.last >= range.last) {
            break;
        }
        range.first = part.last + 1;
    }
}

void piommu_direct_sweep_(struct piommu_domain *domain, const struct piommu_reserved_region *region)
{
    if (!domain_is_paging(domain) || !is_direct(domain, region)) {
        return;
    }
    if (domain_has_table(domain)) {
        sweep_tables(domain, extent(domain, region));
    } else {
        sweep_requests(domain, extent(domain, region));
    }
}

void piommu_direct_unmap_(struct piommu_domain *domain, const struct piommu_group *group)
{
    struct region_cursor cursor = {.group = group};
    const struct piommu_reserved_region *region;

    while ((region = piommu_next_region_(&cursor)) != NULL) {
        piommu_direct_sweep_(domain, region);
    }
}

/*
 * Finds the first part of a range that no direct region covers, and that no other region of the
 * group that is to come has brought already.
 */
static APART_IF_SHALLOW bool next_unmapped(struct piommu_domain *domain, struct piommu_range *range,
                                           struct piommu_range *part)
{
    while (next_uncovered(domain, range, part)) {
        struct piommu_translation next;
        uint64_t iova;
        uint64_t last;

        if (piommu_domain_next(domain, part->first, part->last, &iova, &next) != 0) {
            return true;
        }
        if (iova > part->first) {
            part->last = iova - 1;
            return true;
        }
        last = iova + (next.leaf_size - 1);
        if (last >= range->last) {
            return false;
        }
        range->first = last + 1;
    }
    return false;
}

/* Whether a domain can have a region mapped. */
static int check_region(const struct piommu_domain *domain, struct piommu_range range)
{
    const struct geometry *geometry = &domain->geometry;

    if (range.first < geometry->aperture.first || range.last > geometry->aperture.last ||
        range.last > geometry->last_output) {
        return -PIOMMU_ERANGE;
    }
    return (DIRECT_PROT & ~geometry->prot) != 0 ? -PIOMMU_EOPNOTSUPP : 0;
}

/* Maps what of a region is not mapped yet, by this group or by others. */
static NEVER_INLINE int map_region(struct piommu_domain *domain,
                                   const struct piommu_reserved_region *region)
{
    struct piommu_range range = extent(domain, region);
    struct piommu_range part;
    int error = check_region(domain, range);

    while (error == 0 && next_unmapped(domain, &range, &part)) {
        error = map_direct(domain, part);
        if (part.last >= range.last) {
            break;
        }
        range.first = part.last + 1;
    }
    return error;
}

/* Tables of direct regions that went when a unit failed: nobody else has their gather. */
static NEVER_INLINE void sync_parked(struct piommu_domain *domain)
{
    struct piommu_gather gather;

    piommu_gather_init(&gather);
    (void)piommu_tables_sync_(domain, &gather);
}

int piommu_direct_map_(struct piommu_domain *domain, const struct piommu_group *group)
{
    struct region_cursor cursor = {.group = group};
    const struct piommu_reserved_region *region;

    if (PIOMMU_CORE_WITH_TABLES &&
        atomic_load_explicit(&domain->has_parked, memory_order_relaxed) != 0) {
        sync_parked(domain);
    }
    while ((region = piommu_next_region_(&cursor)) != NULL) {
        int error = is_direct(domain, region) ? map_region(domain, region) : 0;

        if (error != 0) {
            return error;
        }
    }
    return 0;
}

/* Not inlined even by the linker; see next_unneeded. */
NEVER_INLINE bool piommu_regions_conflict_(const struct piommu_group *group,
                                           struct piommu_domain *domain)
{
    struct region_cursor cursor = {.group = group};
    const struct piommu_reserved_region *region;

    while ((region = piommu_next_region_(&cursor)) != NULL) {
        struct piommu_range range = extent(domain, region);
        struct piommu_range part;

        if (!counts(domain, region)) {
            continue;
        }
        if (!is_direct(domain, region)) {
            if (piommu_domain_any_mapped_(domain, range)) {
                return true;
            }
            continue;
        }
        if (piommu_regions_forbid_(domain, range) || in_window(domain, range)) {
            return true;
        }
        while (next_uncovered(domain, &range, &part)) {
            /* What is left of a region whose device has gone is in nobody's way. */
            if (domain_has_table(domain) ? piommu_domain_any_mapped_(domain, part)
                                         : piommu_requests_foreign_(domain, part)) {
                return true;
            }
            if (part.last >= range.last) {
                break;
            }
            range.first = part.last + 1;
        }
    }
    return false;
}
