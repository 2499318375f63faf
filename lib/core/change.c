/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Calls that change what is mapped, and such as unmap beyond or within what was mapped as one.
 *
 * Where a mapping has to go for a moment although a part of it stays, DMA to that part may fail.
 * Nobody gets such a hole who has not asked for it.
 */

#include "core.h"

static uint64_t range_size(struct piommu_range range)
{
    return range.last - range.first + 1;
}

static void count_unmap(struct piommu_domain *domain, uint64_t bytes)
{
    domain->statistics.unmaps++;
    domain->statistics.mapped -= bytes;
}

int piommu_domain_unmap_leaves(struct piommu_domain *domain, uint64_t first, uint64_t last,
                               struct piommu_gather *gather, struct piommu_range *removed,
                               uint64_t *unmapped)
{
    struct piommu_range range = {.first = first, .last = last};
    uint64_t bytes = 0;
    int error;

    if (!domain_is_paging(domain) || gather == NULL || first > last) {
        return -PIOMMU_EINVAL;
    }
    if (first < domain->aperture.first || last > domain->aperture.last) {
        return -PIOMMU_ERANGE;
    }
    if (domain_uses_tables(domain)) {
        error = piommu_pgtable_unmap_leaves(domain->table, first, last, gather, &range, &bytes);
    } else {
        range = piommu_requests_widen_(domain, range);
        error = piommu_requests_unmap_(domain, range.first, range.last, gather, &bytes);
    }
    if (error != 0) {
        return error;
    }
    count_unmap(domain, bytes);
    if (removed != NULL) {
        *removed = range;
    }
    if (unmapped != NULL) {
        *unmapped = bytes;
    }
    return 0;
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

static int invalidate(void *cookie, const struct piommu_range *range)
{
    struct piommu_domain *domain = cookie;
    struct piommu_instance *instance = domain->instance;

    /* Leaves may have been replaced by tables, which a walk cache must not know as leaves. */
    return instance->backend->invalidate(instance->unit, domain->handle, *range, true);
}

static int cut_in_tables(struct piommu_domain *domain, struct piommu_range range,
                         struct piommu_range whole, uint64_t *unmapped, uint64_t *lost)
{
    struct piommu_gather gather;
    int error;

    piommu_gather_init(&gather);
    error = piommu_pgtable_unmap_cut(domain->table, range.first, range_size(range), invalidate,
                                     domain, &gather, unmapped);
    if (error != 0 && gather.pending) {
        /* The invalidation has failed: what was cut went with it. */
        *lost = domain->live_cut ? 0 : range_size(whole) - range_size(range);
        return piommu_instance_fail_(domain->instance, error);
    }
    return error;
}

/* Whether taking out `whole` to remove `range` would let DMA fail that is to work. */
static bool opens_hole(const struct piommu_domain *domain, struct piommu_range range,
                       struct piommu_range whole)
{
    if (domain->statistics.endpoints == 0 ||
        (range.first == whole.first && range.last == whole.last)) {
        return false;
    }
    return !domain->live_cut;
}

int piommu_domain_unmap_cut(struct piommu_domain *domain, uint64_t iova, uint64_t size,
                            unsigned int flags, uint64_t *unmapped)
{
    struct piommu_range range = {.first = iova, .last = iova + (size - 1)};
    struct piommu_range whole;
    struct piommu_translation result;
    uint64_t found;
    uint64_t bytes = 0;
    uint64_t lost = 0;
    int error;

    if (!domain_is_paging(domain) || (flags & ~PIOMMU_ALLOW_HOLE) != 0) {
        return -PIOMMU_EINVAL;
    }
    error = piommu_domain_check_range_(domain, iova, size);
    if (error != 0) {
        return error;
    }
    error = piommu_domain_next(domain, range.first, range.last, &found, &result);
    if (error != 0) {
        return error;
    }
    whole = domain_uses_tables(domain) ? widen_to_leaves(domain, range)
                                       : piommu_requests_widen_(domain, range);
    if ((flags & PIOMMU_ALLOW_HOLE) == 0 && opens_hole(domain, range, whole)) {
        return -PIOMMU_EHOLE;
    }
    if (instance_failed(domain->instance)) {
        return -PIOMMU_EFAILED;
    }
    error = domain_uses_tables(domain) ? cut_in_tables(domain, range, whole, &bytes, &lost)
                                       : piommu_requests_cut_(domain, range, whole, &bytes, &lost);
    if (bytes != 0) {
        count_unmap(domain, bytes + lost);
    }
    if (error == 0) {
        domain->statistics.syncs++;
        if (unmapped != NULL) {
            *unmapped = bytes;
        }
    }
    return error;
}

static int protect_in_tables(struct piommu_domain *domain, struct piommu_range range,
                             piommu_prot prot, uint64_t *changed)
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

int piommu_domain_protect(struct piommu_domain *domain, uint64_t iova, uint64_t size,
                          piommu_prot prot, unsigned int flags, uint64_t *changed)
{
    struct piommu_range range = {.first = iova, .last = iova + (size - 1)};
    bool hole = (flags & PIOMMU_ALLOW_HOLE) != 0;
    uint64_t bytes = 0;
    uint64_t lost = 0;
    int error;

    if (!domain_is_paging(domain) || (flags & ~PIOMMU_ALLOW_HOLE) != 0 ||
        (prot & ~(PIOMMU_PROT_ACCESS | PIOMMU_PROT_SOFTWARE_MASK)) != 0) {
        return -PIOMMU_EINVAL;
    }
    error = piommu_domain_check_range_(domain, iova, size);
    if (error == 0) {
        error = piommu_domain_check_prot_(domain, prot);
    }
    if (error != 0) {
        return error;
    }
    if (instance_failed(domain->instance)) {
        return -PIOMMU_EFAILED;
    }
    error = domain_uses_tables(domain)
                ? protect_in_tables(domain, range, prot, &bytes)
                : piommu_requests_protect_(domain, range, prot, hole, &bytes, &lost);
    domain->statistics.mapped -= lost;
    if (error == 0 && changed != NULL) {
        *changed = bytes;
    }
    return error;
}

int piommu_domain_next(struct piommu_domain *domain, uint64_t first, uint64_t last, uint64_t *found,
                       struct piommu_translation *result)
{
    if (!domain_is_paging(domain) || found == NULL || result == NULL) {
        return -PIOMMU_EINVAL;
    }
    return domain_uses_tables(domain)
               ? piommu_pgtable_next_leaf(domain->table, first, last, found, result)
               : piommu_requests_next_(domain, first, last, found, result);
}
