/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* Long calls in portions. They keep no state: what is left is the caller's next call. */

#include "core.h"

/* Maps a first portion in the tables; sets how much. -PIOMMU_EAGAIN counts as success. */
static NEVER_INLINE int map_tables(struct piommu_domain *domain, uint64_t iova,
                                   struct piommu_segment segment, piommu_prot prot, uint32_t budget,
                                   uint64_t *mapped)
{
    struct piommu_pgtable_cursor cursor = {.done = 0};
    int error = piommu_pgtable_map_some(domain->table, iova, &segment, 1, prot, budget, &cursor);

    *mapped = cursor.changed;
    return error == -PIOMMU_EAGAIN ? 0 : error;
}

/* The part of a range that one portion can deal with: one side of the point of population. */
static bool first_side(const struct piommu_domain *domain, struct piommu_range *range)
{
    return domain_splits(domain) ? piommu_deferred_below_(domain, range) : true;
}

int piommu_domain_map_some(struct piommu_domain *domain, uint64_t iova, uint64_t physical,
                           uint64_t size, piommu_prot prot, uint32_t budget, uint64_t *mapped)
{
    const struct piommu_segment segment = {.physical = physical, .size = size};
    struct piommu_range range = {.first = iova};
    int error;

    if (!enter_mapping(domain) || mapped == NULL) {
        return -PIOMMU_EINVAL;
    }
    *mapped = 0;
    error = piommu_domain_check_map_(domain, range.first, &segment, 1, prot, &range.last);
    if (error == 0 && first_side(domain, &range) && domain_has_table(domain)) {
        struct piommu_segment side = {.physical = segment.physical, .size = range_size(range)};

        error = map_tables(domain, range.first, side, prot, budget, mapped);
        if (error != 0) {
            error = piommu_tables_undo_map_(domain, range.first, *mapped, error);
            *mapped = 0;
        }
    } else if (error == 0) {
        error = piommu_domain_map_checked_(domain, range.first, &segment, 1, prot);
        *mapped = error == 0 ? segment.size : 0;
    }
    if (error == 0) {
        piommu_domain_count_map_(domain, range.first, *mapped);
        error = *mapped == segment.size ? 0 : -PIOMMU_EAGAIN;
    }
    if (domain_is_traced(domain)) {
        piommu_trace_map_(domain, range.first, &segment, 1, prot, error);
    }
    return error;
}

/* Unmaps a first portion of what lies on one side. */
static int unmap_side(struct piommu_domain *domain, struct piommu_range range, bool in_table,
                      uint32_t budget, struct piommu_gather *gather, uint64_t *done,
                      uint64_t *unmapped)
{
    struct piommu_pgtable_cursor cursor = {.done = 0};
    uint64_t last;
    int error;

    if (in_table) {
        error = piommu_pgtable_unmap_some(domain->table, range.first, range_size(range), budget,
                                          gather, &cursor);
        *done = error == -PIOMMU_EAGAIN ? cursor.done : range_size(range);
        *unmapped = cursor.changed;
        return error == -PIOMMU_ENOENT || error == -PIOMMU_EAGAIN ? 0 : error;
    }
    error =
        piommu_requests_unmap_(domain, range, budget != 0 ? budget : 1, gather, &last, unmapped);
    *done = last - range.first + 1;
    return error == -PIOMMU_ENOENT ? 0 : error;
}

static int unmap_portion(struct piommu_domain *domain, struct piommu_range range, uint32_t budget,
                         struct piommu_gather *gather, uint64_t *done, uint64_t *unmapped)
{
    struct piommu_range side = range;
    bool below = first_side(domain, &side);
    bool recorded = !domain_splits(domain) || domain->config.next_frames == NULL;

    /* What the whole call would refuse for its end, the first portion does. */
    if (below && side.last != range.last && recorded) {
        struct piommu_range above = range;

        if (piommu_deferred_above_(domain, &above) && piommu_requests_cuts_(domain, above)) {
            return -PIOMMU_ECUT;
        }
    }
    if (below) {
        return unmap_side(domain, side, domain_has_table(domain), budget, gather, done, unmapped);
    }
    if (!recorded) {
        *done = range_size(range);
        return 0;
    }
    return unmap_side(domain, range, false, budget, gather, done, unmapped);
}

int piommu_domain_unmap_some(struct piommu_domain *domain, uint64_t iova, uint64_t size,
                             uint32_t budget, struct piommu_gather *gather, uint64_t *done,
                             uint64_t *unmapped)
{
    struct piommu_range range = {.first = iova, .last = iova + (size - 1)};
    uint64_t behind = 0;
    uint64_t bytes = 0;
    int error;

    if (!enter_mapping(domain) || gather == NULL || done == NULL) {
        return -PIOMMU_EINVAL;
    }
    error = piommu_domain_check_range_(domain, iova, size);
    if (error == 0 && may_be_reserved(domain, range.first, range.last) &&
        piommu_held_overlaps_(domain, range)) {
        error = -PIOMMU_ERESERVED;
    }
    if (error == 0) {
        error = unmap_portion(domain, range, budget, gather, &behind, &bytes);
    }
    *done = error == 0 ? behind : 0;
    if (error == 0) {
        if (bytes != 0) {
            piommu_domain_count_unmap_(domain, bytes);
        }
        if (unmapped != NULL) {
            *unmapped = bytes;
        }
        error = behind == size ? 0 : -PIOMMU_EAGAIN;
    }
    if (domain_is_traced(domain)) {
        piommu_trace_change_(domain, PIOMMU_EVENT_UNMAP, iova, size, error);
    }
    return error;
}
