/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Deferred domains while they are filled. Below the cursor everything is where it is going to be:
 * in the tables, or with a backend that takes requests in the record. Above it lies what is still
 * to come: in the record, or, if the host tells its frames itself, nowhere.
 */

#include "core.h"

bool piommu_deferred_below_(const struct piommu_domain *domain, struct piommu_range *range)
{
    if (range->first >= domain->cursor) {
        return false;
    }
    if (range->last >= domain->cursor) {
        range->last = domain->cursor - 1;
    }
    return true;
}

bool piommu_deferred_above_(const struct piommu_domain *domain, struct piommu_range *range)
{
    if (range->last < domain->cursor) {
        return false;
    }
    if (range->first < domain->cursor) {
        range->first = domain->cursor;
    }
    return true;
}

static bool host_tells(const struct piommu_domain *domain)
{
    return domain->config.next_frames != NULL;
}

bool piommu_deferred_unknown_(const struct piommu_domain *domain, struct piommu_range range)
{
    return domain_splits(domain) && host_tells(domain) && piommu_deferred_above_(domain, &range);
}

/* Maps what lies below the cursor. */
static int map_below(struct piommu_domain *domain, uint64_t iova,
                     const struct piommu_segment *segments, size_t count, piommu_prot prot)
{
    return domain_has_table(domain)
               ? piommu_tables_map_unseen_(domain, iova, segments, count, prot)
               : piommu_requests_record_only_(domain, iova, segments, count, prot);
}

/* Takes back what a call has mapped below the cursor. */
static void undo_below(struct piommu_domain *domain, struct piommu_range range)
{
    if (domain_has_table(domain)) {
        (void)piommu_tables_unmap_unseen_(domain, range.first, range_size(range), 0);
    } else {
        piommu_requests_discard_(domain, range);
    }
}

/*
 * Maps segments that end below the cursor, and of the one behind them `left` bytes, up to it. If
 * that fails, what was recorded, from the cursor to `recorded`, goes, too.
 */
static NEVER_INLINE int map_up_to_cursor(struct piommu_domain *domain,
                                         const struct piommu_segment *segments, size_t count,
                                         uint64_t left, piommu_prot prot, uint64_t recorded)
{
    struct piommu_segment last = {.physical = segments[count].physical, .size = left};
    uint64_t size = count != 0 ? segments_size(segments, count) : 0;
    struct piommu_range whole = {.first = domain->cursor - left - size,
                                 .last = domain->cursor - left - 1};
    int error = 0;

    if (count != 0) {
        error = map_below(domain, whole.first, segments, count, prot);
    }
    if (error == 0 && left != 0) {
        error = map_below(domain, domain->cursor - left, &last, 1, prot);
        if (error != 0 && count != 0) {
            undo_below(domain, whole);
        }
    }
    if (error != 0 && !host_tells(domain)) {
        whole = (struct piommu_range){.first = domain->cursor, .last = recorded};
        piommu_requests_discard_(domain, whole);
    }
    return error;
}

/* Records what lies from the cursor on: all segments, without the first `left` bytes. */
static NEVER_INLINE int record_from_cursor(struct piommu_domain *domain,
                                           const struct piommu_segment *segments, size_t count,
                                           uint64_t left, piommu_prot prot)
{
    struct piommu_segment first = {.physical = segments->physical + left,
                                   .size = segments->size - left};
    struct piommu_range range = {.first = domain->cursor,
                                 .last = domain->cursor + (first.size - 1)};
    int error = piommu_requests_record_only_(domain, range.first, &first, 1, prot);

    if (error == 0 && count > 1) {
        error = piommu_requests_record_only_(domain, range.last + 1, segments + 1, count - 1, prot);
        if (error != 0) {
            piommu_requests_discard_(domain, range);
        }
    }
    return error;
}

/* Maps a range with the cursor in it. */
static NEVER_INLINE int map_across(struct piommu_domain *domain, uint64_t iova,
                                   const struct piommu_segment *segments, size_t count,
                                   piommu_prot prot)
{
    uint64_t left = domain->cursor - iova;
    size_t below = 0; /* segments that end below the cursor */
    int error = 0;

    while (segments[below].size <= left) {
        left -= segments[below].size;
        below++;
    }
    if (!host_tells(domain)) {
        error = record_from_cursor(domain, segments + below, count - below, left, prot);
        if (error != 0) {
            return error;
        }
    }
    return map_up_to_cursor(domain, segments, below, left, prot,
                            iova + (segments_size(segments, count) - 1));
}

int piommu_deferred_map_(struct piommu_domain *domain, uint64_t iova,
                         const struct piommu_segment *segments, size_t count, piommu_prot prot)
{
    uint64_t last = iova + (segments_size(segments, count) - 1);

    if (last < domain->cursor) {
        return map_below(domain, iova, segments, count, prot);
    }
    if (iova < domain->cursor) {
        return map_across(domain, iova, segments, count, prot);
    }
    return host_tells(domain) ? 0
                              : piommu_requests_record_only_(domain, iova, segments, count, prot);
}

/* Unmaps in the part that is populated; nothing there is fine. */
static ALWAYS_INLINE int unmap_below(struct piommu_domain *domain, struct piommu_range range,
                                     struct piommu_gather *gather, uint64_t *unmapped)
{
    uint64_t bytes = 0;
    uint64_t done;
    int error =
        domain_has_table(domain)
            ? piommu_pgtable_unmap(domain->table, range.first, range_size(range), gather, &bytes)
            : piommu_requests_unmap_(domain, range, UINT32_MAX, gather, &done, &bytes);

    *unmapped += error == 0 ? bytes : 0;
    return error == -PIOMMU_ENOENT ? 0 : error;
}

static ALWAYS_INLINE int unmap_above(struct piommu_domain *domain, struct piommu_range range,
                                     struct piommu_gather *gather, uint64_t *unmapped)
{
    uint64_t bytes = 0;
    uint64_t done;
    int error = piommu_requests_unmap_(domain, range, UINT32_MAX, gather, &done, &bytes);

    *unmapped += bytes;
    return error == -PIOMMU_ENOENT ? 0 : error;
}

int piommu_deferred_unmap_(struct piommu_domain *domain, struct piommu_range range,
                           struct piommu_gather *gather, uint64_t *unmapped)
{
    struct piommu_range below = range;
    struct piommu_range above = range;
    bool recorded = piommu_deferred_above_(domain, &above) && !host_tells(domain);
    int error = 0;

    /* No leaf lies across the cursor, so only the ends of the whole range can cut. */
    if (recorded && piommu_requests_cuts_(domain, above)) {
        return -PIOMMU_ECUT;
    }
    if (piommu_deferred_below_(domain, &below)) {
        error = unmap_below(domain, below, gather, unmapped);
    }
    if (error == 0 && recorded) {
        error = unmap_above(domain, above, gather, unmapped);
    }
    if (error == 0 && *unmapped == 0 && !piommu_deferred_unknown_(domain, range)) {
        error = -PIOMMU_ENOENT;
    }
    return error;
}

int piommu_deferred_unmap_leaves_(struct piommu_domain *domain, struct piommu_range *range,
                                  struct piommu_gather *gather, uint64_t *unmapped)
{
    struct piommu_range below = *range;
    struct piommu_range above = *range;
    bool recorded = piommu_deferred_above_(domain, &above) && !host_tells(domain);
    bool unknown = piommu_deferred_unknown_(domain, *range);
    int error = 0;

    if (piommu_deferred_below_(domain, &below)) {
        uint64_t bytes = 0;

        if (domain_has_table(domain)) {
            struct piommu_range removed = below;

            error = piommu_pgtable_unmap_leaves(domain->table, below.first, below.last, gather,
                                                &removed, &bytes);
            below = error == 0 ? removed : below;
            *unmapped += error == 0 ? bytes : 0;
            error = error == -PIOMMU_ENOENT ? 0 : error;
        } else {
            below = piommu_requests_widen_(domain, below);
            error = unmap_below(domain, below, gather, unmapped);
        }
        range->first = below.first;
        range->last = below.last > range->last ? below.last : range->last;
    }
    if (error == 0 && recorded) {
        above = piommu_requests_widen_(domain, above);
        error = unmap_above(domain, above, gather, unmapped);
        range->first = above.first < range->first ? above.first : range->first;
        range->last = above.last;
    }
    if (error == 0 && *unmapped == 0 && !unknown) {
        error = -PIOMMU_ENOENT;
    }
    return error;
}

int piommu_deferred_lookup_(struct piommu_domain *domain, uint64_t iova,
                            struct piommu_translation *result)
{
    if (iova < domain->cursor && domain_has_table(domain)) {
        return piommu_pgtable_lookup(domain->table, iova, result);
    }
    /* Of what is above, the record knows nothing if the host is to tell it. */
    return piommu_requests_lookup_(domain, iova, result);
}

int piommu_deferred_next_(struct piommu_domain *domain, uint64_t first, uint64_t last,
                          uint64_t *found, struct piommu_translation *result)
{
    if (domain_has_table(domain) && first < domain->cursor) {
        struct piommu_range below = {.first = first, .last = last};

        (void)piommu_deferred_below_(domain, &below);
        if (piommu_pgtable_next_leaf(domain->table, below.first, below.last, found, result) == 0) {
            return 0;
        }
    }
    return piommu_requests_next_(domain, first, last, found, result);
}

/* How many leaves a range takes at most. */
static uint64_t count_leaves(const struct piommu_pgtable_info *info, uint64_t iova,
                             uint64_t physical, uint64_t size)
{
    uint64_t count = 0;

    while (size != 0) {
        uint64_t sizes = info->leaf_sizes;
        uint64_t leaf = lowest_bit(sizes);
        uint64_t step;

        for (sizes &= ~leaf; sizes != 0; sizes &= ~lowest_bit(sizes)) {
            uint64_t larger = lowest_bit(sizes);

            if (((iova | physical) & (larger - 1)) != 0 || size < larger) {
                break;
            }
            leaf = larger;
        }
        /* All of this size up to where a larger one might fit. */
        step = sizes != 0 ? lowest_bit(sizes) - (iova & (lowest_bit(sizes) - 1)) : size;
        step = (step < size ? step : size) & ~(leaf - 1);
        step = step != 0 ? step : leaf;
        count += step / leaf;
        iova += step;
        physical += step;
        size -= step;
    }
    return count;
}

/* Maps a first portion of a piece in the tables; tells how much. */
static int fill_tables(struct piommu_domain *domain, const struct piommu_frames *frames,
                       uint32_t *budget, uint64_t *filled)
{
    struct piommu_segment segment = {.physical = frames->physical, .size = frames->size};
    struct piommu_pgtable_cursor cursor = {.done = 0};
    uint64_t leaves;
    int error = piommu_pgtable_map_some(domain->table, frames->iova, &segment, 1, frames->prot,
                                        *budget, &cursor);

    *filled = cursor.done;
    if (error != 0 && error != -PIOMMU_EAGAIN) {
        return error;
    }
    leaves = count_leaves(&domain->table_info, frames->iova, frames->physical, cursor.done);
    *budget = error == 0 && leaves < *budget ? *budget - (uint32_t)leaves : 0;
    return 0;
}

/* The next piece that the host tells, from where population stands. */
static int ask_host(struct piommu_domain *domain, struct piommu_frames *frames)
{
    const struct piommu_domain_config *config = &domain->config;
    struct piommu_segment segment;
    uint64_t last;
    int error = config->next_frames(config->frames_cookie, domain->cursor, frames);

    if (error != 0) {
        return error;
    }
    segment.physical = frames->physical;
    segment.size = frames->size;
    error = piommu_domain_check_map_(domain, frames->iova, &segment, 1, frames->prot, &last);
    if (error != 0) {
        return error;
    }
    if (last < domain->cursor) {
        return -PIOMMU_EBADMSG;
    }
    if (frames->iova < domain->cursor) {
        uint64_t behind = domain->cursor - frames->iova;

        frames->iova += behind;
        frames->physical += behind;
        frames->size -= behind;
    }
    return 0;
}

/* Moves what is next to where it is going to be. -PIOMMU_ENOENT: nothing is left. */
static int step(struct piommu_domain *domain, uint32_t *budget)
{
    struct piommu_frames frames;
    uint64_t filled;
    int error;

    if (host_tells(domain)) {
        error = ask_host(domain, &frames);
    } else {
        error = piommu_requests_peek_(domain, &frames) ? 0 : -PIOMMU_ENOENT;
    }
    if (error != 0) {
        return error;
    }
    if (domain_has_table(domain)) {
        error = fill_tables(domain, &frames, budget, &filled);
    } else {
        struct piommu_segment segment = {.physical = frames.physical, .size = frames.size};

        error = piommu_requests_record_only_(domain, frames.iova, &segment, 1, frames.prot);
        filled = frames.size;
        (*budget)--;
    }
    if (error != 0) {
        return error;
    }
    if (host_tells(domain)) {
        domain->statistics.mapped += domain_is_disjoint(domain) ? 0 : filled;
    } else {
        piommu_requests_consume_(domain, filled);
    }
    if (frames.iova + (filled - 1) >= domain->geometry.aperture.last) {
        return -PIOMMU_ENOENT;
    }
    domain->cursor = frames.iova + filled;
    return 0;
}

/* Makes what a domain has in hardware. */
static int wake(struct piommu_domain *domain)
{
    int error = domain_takes_tables(domain) ? piommu_domain_make_table_(domain) : 0;

    domain->splits = true; /* from now on, if there is a table nothing may go past the cursor */
    if (error == 0) {
        error = piommu_bindings_make_permanent_(domain);
    }
    if (error != 0) {
        piommu_bindings_drop_all_(domain);
        if (domain_has_table(domain)) {
            piommu_pgtable_destroy(domain->table);
            domain->table = NULL;
        }
        domain->splits = host_tells(domain);
        return error;
    }
    domain->phase = PHASE_POPULATING;
    return 0;
}

static int populate(struct piommu_domain *domain, uint32_t budget)
{
    int error = domain->phase == PHASE_DORMANT ? wake(domain) : 0;

    if (error != 0) {
        return error;
    }
    if (!domain_has_table(domain) && !host_tells(domain)) {
        error = -PIOMMU_ENOENT; /* the record is where it is going to be */
    }
    while (error == 0 && budget != 0) {
        error = step(domain, &budget);
    }
    if (error == 0) {
        return -PIOMMU_EAGAIN;
    }
    if (error == -PIOMMU_ENOENT) {
        domain->phase = PHASE_COMPLETE;
        domain->splits = false;
        piommu_bindings_drop_unused_(domain); /* there are none, but the checks are judged anew */
        error = 0;
    }
    return error;
}

int piommu_domain_populate(struct piommu_domain *domain, uint32_t budget)
{
    int error;

    if (domain == NULL || domain->config.type != PIOMMU_DOMAIN_DEFERRED) {
        return -PIOMMU_EINVAL;
    }
    if (domain_is_populated(domain)) {
        return 0;
    }
    if (domain_failed(domain)) {
        return -PIOMMU_EFAILED;
    }
    error = populate(domain, budget != 0 ? budget : 1);
    if (domain_is_traced(domain)) {
        piommu_trace_change_(domain, PIOMMU_EVENT_POPULATE, domain->cursor, 0, error);
    }
    return error;
}
