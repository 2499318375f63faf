/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Calls that change what is mapped, and such as unmap beyond or within what was mapped as one.
 *
 * Where a mapping has to go for a moment although a part of it stays, DMA to that part may fail.
 * Nobody gets such a hole who has not asked for it.
 */

#include "core.h"

/* Whether a range may not be touched because the library itself has mapped something there. */
static bool held(const struct piommu_domain *domain, struct piommu_range range)
{
    return may_be_reserved(domain, range.first, range.last) && piommu_held_overlaps_(domain, range);
}

/* The range, widened to the leaves of a table that reach across its ends. */
static struct piommu_range widen_to_leaves(const struct piommu_domain *domain,
                                           struct piommu_range range)
{
    struct piommu_translation leaf;

    if (piommu_pgtable_lookup(domain->table, range.first, &leaf) == 0) {
        range.first &= ~(leaf.leaf_size - 1);
    }
    if (piommu_pgtable_lookup(domain->table, range.last, &leaf) == 0) {
        range.last |= leaf.leaf_size - 1;
    }
    return range;
}

/* The range, widened to what is mapped as one across its ends. */
static struct piommu_range widen(const struct piommu_domain *domain, struct piommu_range range)
{
    return domain_has_table(domain) ? widen_to_leaves(domain, range)
                                    : piommu_requests_widen_(domain, range);
}

int piommu_domain_unmap_leaves(struct piommu_domain *domain, uint64_t first, uint64_t last,
                               struct piommu_gather *gather, struct piommu_range *removed,
                               uint64_t *unmapped)
{
    struct piommu_range range = {.first = first, .last = last};
    uint64_t bytes = 0;
    uint64_t done;
    int error;

    if (!enter_mapping(domain) || gather == NULL || first > last) {
        return -PIOMMU_EINVAL;
    }
    if (first < domain->geometry.aperture.first || last > domain->geometry.aperture.last) {
        error = -PIOMMU_ERANGE;
    } else if (held(domain, range)) {
        error = -PIOMMU_ERESERVED;
    } else if (domain_splits(domain)) {
        error = piommu_deferred_unmap_leaves_(domain, &range, gather, &bytes);
    } else if (domain_has_table(domain)) {
        error = piommu_pgtable_unmap_leaves(domain->table, first, last, gather, &range, &bytes);
    } else {
        range = piommu_requests_widen_(domain, range);
        error = piommu_requests_unmap_(domain, range, UINT32_MAX, gather, &done, &bytes);
    }
    if (domain_is_traced(domain)) {
        piommu_trace_change_(domain, PIOMMU_EVENT_UNMAP, first, last - first + 1, error);
    }
    if (error != 0) {
        return error;
    }
    piommu_domain_count_unmap_(domain, bytes);
    if (removed != NULL) {
        *removed = range;
    }
    if (unmapped != NULL) {
        *unmapped = bytes;
    }
    return 0;
}

static int invalidate(void *cookie, const struct piommu_range *range)
{
    /* Leaves may have been replaced by tables, which a walk cache must not know as leaves. */
    return piommu_domain_invalidate_(cookie, *range, true);
}

static APART_IF_SHALLOW int cut_in_tables(struct piommu_domain *domain, struct piommu_range range,
                                          uint64_t *unmapped, uint64_t *lost)
{
    struct piommu_range whole = widen_to_leaves(domain, range);
    struct piommu_gather gather;
    int error;

    piommu_gather_init(&gather);
    error = piommu_pgtable_unmap_cut(domain->table, range.first, range_size(range), invalidate,
                                     domain, &gather, unmapped);
    if (error != 0 && gather.pending) {
        /* The invalidation has failed: what was cut went with it. */
        *lost = domain->table_info.live_cut ? 0 : range_size(whole) - range_size(range);
    }
    return error;
}

/* Whether taking out `whole` to remove `range` would let DMA fail that is to work. */
static bool opens_hole(const struct piommu_domain *domain, struct piommu_range range)
{
    struct piommu_range whole;

    if (domain->statistics.endpoints == 0 ||
        (domain_has_table(domain) && domain->table_info.live_cut)) {
        return false;
    }
    whole = widen(domain, range);
    return range.first != whole.first || range.last != whole.last;
}

/* Counts what a cut has removed; nothing there is fine. */
static int count_cut(struct piommu_domain *domain, int error, uint64_t bytes, uint64_t lost,
                     uint64_t *unmapped)
{
    *unmapped += bytes;
    if (bytes != 0) {
        piommu_domain_count_unmap_(domain, bytes + lost);
    }
    return error == -PIOMMU_ENOENT ? 0 : error;
}

/* Cuts on both sides of the point up to which a domain is populated. */
static APART_IF_SHALLOW int cut_split(struct piommu_domain *domain, struct piommu_range range,
                                      uint64_t *unmapped)
{
    struct piommu_range below = range;
    struct piommu_range above = range;
    bool recorded = piommu_deferred_above_(domain, &above) && domain->config.next_frames == NULL;
    bool populated = piommu_deferred_below_(domain, &below);
    uint64_t tables = 0;
    uint64_t bytes = 0;
    uint64_t lost = 0;
    int error = 0;

    /* Either side can run out of memory: that of the second is taken before the first is cut. */
    if (recorded && populated && domain_has_table(domain)) {
        error = piommu_pgtable_plan(domain->table, below.first, range_size(below),
                                    domain->table_info.granule, NULL, &tables);
        error = error == 0 ? piommu_pgtable_reserve(domain->table, (uint32_t)tables) : error;
        tables = error == 0 ? tables : 0;
    }
    if (error == 0 && recorded) {
        error = piommu_requests_cut_(domain, above, &bytes, &lost);
        error = count_cut(domain, error, bytes, lost, unmapped);
    }
    if (error == 0 && populated) {
        bytes = 0;
        lost = 0;
        error = domain_has_table(domain) ? cut_in_tables(domain, below, &bytes, &lost)
                                         : piommu_requests_cut_(domain, below, &bytes, &lost);
        error = count_cut(domain, error, bytes, lost, unmapped);
    }
    if (tables != 0) {
        piommu_pgtable_unreserve(domain->table, (uint32_t)tables);
    }
    return error;
}

static APART_IF_SHALLOW int cut_whole(struct piommu_domain *domain, struct piommu_range range,
                                      uint64_t *unmapped)
{
    uint64_t bytes = 0;
    uint64_t lost = 0;
    int error = domain_has_table(domain) ? cut_in_tables(domain, range, &bytes, &lost)
                                         : piommu_requests_cut_(domain, range, &bytes, &lost);

    return count_cut(domain, error, bytes, lost, unmapped);
}

int piommu_domain_cut_checked_(struct piommu_domain *domain, struct piommu_range range,
                               uint64_t *unmapped)
{
    return domain_splits(domain) ? cut_split(domain, range, unmapped)
                                 : cut_whole(domain, range, unmapped);
}

int piommu_domain_unmap_cut(struct piommu_domain *domain, uint64_t iova, uint64_t size,
                            unsigned int flags, uint64_t *unmapped)
{
    struct piommu_range range = {.first = iova, .last = iova + (size - 1)};
    struct piommu_translation result;
    uint64_t found;
    uint64_t bytes = 0;
    int error;

    if (!enter_mapping(domain) || (flags & ~PIOMMU_ALLOW_HOLE) != 0) {
        return -PIOMMU_EINVAL;
    }
    error = piommu_domain_check_range_(domain, iova, size);
    if (error == 0 && held(domain, range)) {
        error = -PIOMMU_ERESERVED;
    }
    if (error == 0) {
        error = piommu_domain_next(domain, range.first, range.last, &found, &result);
        /* Where the rest is not known yet, nothing is no mistake. */
        error = error == -PIOMMU_ENOENT && piommu_deferred_unknown_(domain, range) ? 0 : error;
    }
    if (error == 0 && (flags & PIOMMU_ALLOW_HOLE) == 0 && opens_hole(domain, range)) {
        error = -PIOMMU_EHOLE;
    }
    if (error == 0 && domain_failed(domain)) {
        error = -PIOMMU_EFAILED;
    }
    if (error == 0) {
        error = piommu_domain_cut_checked_(domain, range, &bytes);
    }
    if (error == 0) {
        piommu_domain_count_sync_(domain);
        if (unmapped != NULL) {
            *unmapped = bytes;
        }
    }
    if (domain_is_traced(domain)) {
        piommu_trace_change_(domain, PIOMMU_EVENT_UNMAP, iova, size, error);
    }
    return error;
}

static APART_IF_SHALLOW int protect_in_tables(struct piommu_domain *domain,
                                              struct piommu_range range, piommu_prot prot,
                                              uint64_t *changed)
{
    struct piommu_gather gather;
    int error;

    piommu_gather_init(&gather);
    error = piommu_pgtable_protect(domain->table, range.first, range_size(range), prot, &gather,
                                   changed);
    if (error != 0 || !gather.pending) {
        return error;
    }
    return piommu_tables_sync_(domain, &gather);
}

/* Protects in one of the places where a domain has mappings. */
static int protect_part(struct piommu_domain *domain, struct piommu_range range, bool in_table,
                        piommu_prot prot, bool hole, uint64_t *changed)
{
    uint64_t bytes = 0;
    uint64_t lost = 0;
    int error = in_table ? protect_in_tables(domain, range, prot, &bytes)
                         : piommu_requests_protect_(domain, range, prot, hole, &bytes, &lost);

    if (lost != 0) {
        domain->statistics.mapped -= lost;
    }
    *changed += bytes;
    return error;
}

/* Protects on both sides of the point up to which a domain is populated. */
static APART_IF_SHALLOW int protect_split(struct piommu_domain *domain, struct piommu_range range,
                                          piommu_prot prot, bool hole, uint64_t *changed)
{
    struct piommu_range below = range;
    struct piommu_range above = range;
    bool in_record = piommu_deferred_above_(domain, &above) && domain->config.next_frames == NULL;
    int error = -PIOMMU_ENOENT;

    /* Either part may be empty, and only the range's own ends can cut: those are seen first. */
    if (in_record && piommu_requests_cuts_(domain, above)) {
        return -PIOMMU_ECUT;
    }
    if (piommu_deferred_below_(domain, &below)) {
        error = protect_part(domain, below, domain_has_table(domain), prot, hole, changed);
    }
    if (in_record && (error == 0 || error == -PIOMMU_ENOENT)) {
        int recorded = protect_part(domain, above, false, prot, hole, changed);

        error = error == 0 && recorded == -PIOMMU_ENOENT ? 0 : recorded;
    }
    return error == -PIOMMU_ENOENT && piommu_deferred_unknown_(domain, range) ? 0 : error;
}

/* Checks the arguments of a call that protects. */
static APART_IF_SHALLOW int check_protect(const struct piommu_domain *domain,
                                          struct piommu_range range, piommu_prot prot,
                                          unsigned int flags)
{
    int error;

    if ((flags & ~PIOMMU_ALLOW_HOLE) != 0 ||
        (prot & ~(PIOMMU_PROT_ACCESS | PIOMMU_PROT_SOFTWARE_MASK)) != 0) {
        return -PIOMMU_EINVAL;
    }
    error = piommu_domain_check_range_(domain, range.first, range_size(range));
    if (error == 0) {
        error = piommu_domain_check_prot_(domain, prot);
    }
    if (error == 0 && held(domain, range)) {
        error = -PIOMMU_ERESERVED;
    }
    return error == 0 && domain_failed(domain) ? -PIOMMU_EFAILED : error;
}

static APART_IF_SHALLOW void trace_protect(const struct piommu_domain *domain,
                                           struct piommu_range range, piommu_prot prot, int error)
{
    struct piommu_event event = {.kind = PIOMMU_EVENT_PROTECT,
                                 .error = error,
                                 .iova = range.first,
                                 .size = range_size(range),
                                 .prot = prot};

    if (domain_is_traced(domain)) {
        piommu_trace_domain_(domain, &event);
    }
}

int piommu_domain_protect(struct piommu_domain *domain, uint64_t iova, uint64_t size,
                          piommu_prot prot, unsigned int flags, uint64_t *changed)
{
    struct piommu_range range = {.first = iova, .last = iova + (size - 1)};
    bool hole = (flags & PIOMMU_ALLOW_HOLE) != 0;
    uint64_t bytes = 0;
    int error;

    if (!enter_mapping(domain)) {
        return -PIOMMU_EINVAL;
    }
    error = check_protect(domain, range, prot, flags);
    if (error == 0) {
        error = domain_splits(domain)
                    ? protect_split(domain, range, prot, hole, &bytes)
                    : protect_part(domain, range, domain_has_table(domain), prot, hole, &bytes);
    }
    if (error == 0 && changed != NULL) {
        *changed = bytes;
    }
    trace_protect(domain, range, prot, error);
    return error;
}

/* Protects a first portion in the tables; sets the last address that is behind. */
static APART_IF_SHALLOW int protect_some_in_tables(struct piommu_domain *domain,
                                                   struct piommu_range range, piommu_prot prot,
                                                   uint32_t budget, uint64_t *last,
                                                   uint64_t *changed)
{
    struct piommu_pgtable_cursor cursor = {.done = 0};
    struct piommu_gather gather;
    int error;
    int synced;

    piommu_gather_init(&gather);
    error = piommu_pgtable_protect_some(domain->table, range.first, range_size(range), prot, budget,
                                        &gather, &cursor);
    *last = error == -PIOMMU_EAGAIN ? range.first + (cursor.done - 1) : range.last;
    *changed = cursor.changed;
    synced = gather.pending ? piommu_tables_sync_(domain, &gather) : 0;
    error = error == -PIOMMU_EAGAIN ? 0 : error;
    return synced != 0 ? synced : error;
}

/* Protects a first portion on one side of the point of population. */
static APART_IF_SHALLOW int protect_some_on_side(struct piommu_domain *domain,
                                                 struct piommu_range range, bool in_table,
                                                 piommu_prot prot, bool hole, uint32_t budget,
                                                 uint64_t *last, uint64_t *changed)
{
    if (in_table) {
        return protect_some_in_tables(domain, range, prot, budget, last, changed);
    }
    if (piommu_requests_cuts_(domain, range)) {
        return -PIOMMU_ECUT;
    }
    range.last = piommu_requests_end_of_(domain, range, budget);
    *last = range.last;
    return protect_part(domain, range, false, prot, hole, changed);
}

int piommu_domain_protect_some(struct piommu_domain *domain, uint64_t iova, uint64_t size,
                               piommu_prot prot, unsigned int flags, uint32_t budget,
                               uint64_t *done, uint64_t *changed)
{
    struct piommu_range range = {.first = iova, .last = iova + (size - 1)};
    struct piommu_range side = range;
    bool hole = (flags & PIOMMU_ALLOW_HOLE) != 0;
    uint64_t bytes = 0;
    uint64_t last = range.last;
    int error;

    if (!enter_mapping(domain) || done == NULL) {
        return -PIOMMU_EINVAL;
    }
    error = check_protect(domain, range, prot, flags);
    budget = budget != 0 ? budget : 1;
    if (error == 0 && domain_splits(domain) && domain->config.next_frames == NULL) {
        struct piommu_range above = range;

        /* What the whole call would refuse for its end, the first portion does. */
        error = piommu_deferred_above_(domain, &above) && piommu_requests_cuts_(domain, above)
                    ? -PIOMMU_ECUT
                    : 0;
    }
    if (error != 0) {
        last = iova - 1;
    } else if (!domain_splits(domain) || piommu_deferred_below_(domain, &side)) {
        error = protect_some_on_side(domain, side, domain_has_table(domain), prot, hole, budget,
                                     &last, &bytes);
    } else if (domain->config.next_frames == NULL) {
        error = protect_some_on_side(domain, range, false, prot, hole, budget, &last, &bytes);
    }
    error = error == -PIOMMU_ENOENT ? 0 : error;
    *done = error == 0 ? last - iova + 1 : 0;
    if (error == 0) {
        if (changed != NULL) {
            *changed = bytes;
        }
        error = last == range.last ? 0 : -PIOMMU_EAGAIN;
    }
    trace_protect(domain, range, prot, error);
    return error;
}
