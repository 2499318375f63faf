/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* Mapping over what may be mapped: the same again, or something else in its place. */

#include "core.h"

/* A map call of one segment, and what was found where it is to go. */
struct wish {
    struct piommu_domain *domain;
    struct piommu_range range;
    uint64_t physical;
    piommu_prot prot;
    uint64_t gaps;  /* parts where nothing is mapped */
    uint64_t other; /* bytes that are mapped otherwise */
};

/* Without the flags that name what is the default anyway. */
static piommu_prot plain(piommu_prot prot)
{
    const piommu_prot uncached = PIOMMU_PROT_NONCACHEABLE | PIOMMU_PROT_DEVICE;
    piommu_prot usual = (prot & uncached) != 0 ? PIOMMU_PROT_SHARE_OUTER : PIOMMU_PROT_SHARE_INNER;

    return (prot & PIOMMU_PROT_SHARE_MASK) == usual ? prot & ~PIOMMU_PROT_SHARE_MASK : prot;
}

/*
 * Finds the next part of the wish's range, from `at` on, that is mapped as one or not mapped at
 * all.
 */
static APART_IF_SHALLOW struct piommu_range next_part(const struct wish *wish, uint64_t at,
                                                      bool *mapped, bool *as_wished)
{
    struct piommu_range part = {.first = at, .last = wish->range.last};
    struct piommu_translation found;
    uint64_t iova;
    uint64_t last;

    *mapped = false;
    if (piommu_domain_next(wish->domain, at, wish->range.last, &iova, &found) != 0) {
        return part;
    }
    if (iova > at) {
        part.last = iova - 1;
        return part;
    }
    last = iova + (found.leaf_size - 1);
    part.last = last < part.last ? last : part.last;
    *mapped = true;
    *as_wished = found.physical + (at - iova) == wish->physical + (at - wish->range.first) &&
                 plain(found.prot) == plain(wish->prot);
    return part;
}

static void survey(struct wish *wish)
{
    uint64_t at = wish->range.first;

    for (;;) {
        bool mapped;
        bool as_wished = false;
        struct piommu_range part = next_part(wish, at, &mapped, &as_wished);

        if (!mapped) {
            wish->gaps++;
        } else if (!as_wished) {
            wish->other += range_size(part);
        }
        if (part.last == wish->range.last) {
            return;
        }
        at = part.last + 1;
    }
}

static int map_part(const struct wish *wish, struct piommu_range part)
{
    struct piommu_segment segment = {
        .physical = wish->physical + (part.first - wish->range.first),
        .size = range_size(part),
    };

    return piommu_domain_map_checked_(wish->domain, part.first, &segment, 1, wish->prot);
}

/* Unmaps parts that were mapped by this call. */
static APART_IF_SHALLOW int undo(const struct wish *wish, const struct piommu_range *parts,
                                 uint64_t count)
{
    struct piommu_gather gather;
    uint64_t unmapped = 0;

    piommu_gather_init(&gather);
    for (uint64_t i = 0; i < count; i++) {
        (void)piommu_domain_unmap_checked_(wish->domain, parts[i], &gather, &unmapped);
    }
    return gather.pending ? piommu_domain_sync_checked_(wish->domain, &gather) : 0;
}

/* Counts one map call for all the gaps that it has filled. */
static void count_fill(struct piommu_domain *domain, const struct piommu_range *gaps,
                       uint64_t count)
{
    uint64_t maps = domain->statistics.maps;

    for (uint64_t i = 0; i < count; i++) {
        piommu_domain_count_map_(domain, gaps[i].first, range_size(gaps[i]));
    }
    if (domain->statistics.maps != maps) {
        domain->statistics.maps = maps + 1;
    }
}

/* Maps all gaps, or none. */
static APART_IF_SHALLOW int fill(const struct wish *wish)
{
    struct piommu_host host = wish->domain->context->host;
    struct piommu_range *gaps;
    uint64_t at = wish->range.first;
    uint64_t count = 0;
    int error = 0;

    if (wish->gaps > SIZE_MAX / sizeof(*gaps)) {
        return -PIOMMU_ENOMEM;
    }
    gaps = piommu_host_alloc_(host, (size_t)wish->gaps * sizeof(*gaps));
    if (gaps == NULL) {
        return -PIOMMU_ENOMEM;
    }
    for (;;) {
        bool mapped;
        bool as_wished;
        struct piommu_range part = next_part(wish, at, &mapped, &as_wished);

        if (!mapped) {
            error = map_part(wish, part);
            if (error != 0) {
                break;
            }
            gaps[count++] = part;
        }
        if (part.last == wish->range.last) {
            break;
        }
        at = part.last + 1;
    }
    if (error != 0 && undo(wish, gaps, count) != 0) {
        error = -PIOMMU_EFAILED;
    }
    count_fill(wish->domain, gaps, error == 0 ? count : 0);
    piommu_host_free_(host, gaps, (size_t)wish->gaps * sizeof(*gaps));
    return error;
}

/* What the arguments of a call say; nothing is checked yet. */
static struct wish wish_of(struct piommu_domain *domain, uint64_t iova, uint64_t physical,
                           uint64_t size, piommu_prot prot)
{
    return (struct wish){.domain = domain,
                         .range = {.first = iova, .last = iova + (size - 1)},
                         .physical = physical,
                         .prot = prot};
}

/* Checks a wish, and looks at what is there. */
static APART_IF_SHALLOW int begin(struct wish *wish)
{
    struct piommu_segment segment = {.physical = wish->physical, .size = range_size(wish->range)};
    uint64_t last;
    int error =
        piommu_domain_check_map_(wish->domain, wish->range.first, &segment, 1, wish->prot, &last);

    if (error == 0) {
        survey(wish);
    }
    return error;
}

static APART_IF_SHALLOW void trace(const struct wish *wish, int error)
{
    struct piommu_segment segment = {.physical = wish->physical, .size = range_size(wish->range)};

    if (domain_is_traced(wish->domain)) {
        piommu_trace_map_(wish->domain, wish->range.first, &segment, 1, wish->prot, error);
    }
}

int piommu_domain_map_again(struct piommu_domain *domain, uint64_t iova, uint64_t physical,
                            uint64_t size, piommu_prot prot)
{
    struct wish wish = wish_of(domain, iova, physical, size, prot);
    int error;

    if (!enter_mapping(domain)) {
        return -PIOMMU_EINVAL;
    }
    error = begin(&wish);
    if (error == 0 && wish.other != 0) {
        error = -PIOMMU_EEXIST;
    }
    if (error == 0 && wish.gaps != 0) {
        error = fill(&wish);
    }
    trace(&wish, error);
    return error;
}

/*
 * Takes the memory that a replacement can need, so that it cannot run out of it between removing
 * the old and mapping the new.
 */
static APART_IF_SHALLOW int reserve(struct piommu_domain *domain, struct piommu_range range,
                                    uint32_t *tables)
{
    *tables = 0;
    if (domain_has_table(domain)) {
        uint64_t to_map;
        uint64_t to_cut;
        int error = piommu_pgtable_plan(domain->table, range.first, range_size(range),
                                        domain->table_info.granule, &to_map, &to_cut);

        if (error != 0) {
            return error;
        }
        if (to_map + to_cut > UINT32_MAX) {
            return -PIOMMU_ENOMEM;
        }
        error = piommu_pgtable_reserve(domain->table, (uint32_t)(to_map + to_cut));
        if (error != 0) {
            return error;
        }
        *tables = (uint32_t)(to_map + to_cut);
    }
    if (!domain_has_table(domain) || domain_splits(domain)) {
        domain->spare = piommu_host_alloc_(domain->context->host, sizeof(*domain->spare));
        if (domain->spare == NULL) {
            if (*tables != 0) {
                piommu_pgtable_unreserve(domain->table, *tables);
            }
            return -PIOMMU_ENOMEM;
        }
    }
    return 0;
}

static void unreserve(struct piommu_domain *domain, uint32_t tables)
{
    if (tables != 0) {
        piommu_pgtable_unreserve(domain->table, tables);
    }
    piommu_host_free_(domain->context->host, domain->spare, sizeof(*domain->spare));
    domain->spare = NULL;
}

/* Puts the new in place of the old. */
static int exchange(const struct wish *wish)
{
    struct piommu_domain *domain = wish->domain;
    uint64_t unmapped = 0;
    int error = piommu_domain_cut_checked_(domain, wish->range, &unmapped);

    if (error != 0) {
        return error;
    }
    error = map_part(wish, wish->range);
    if (error == 0) {
        piommu_domain_count_map_(domain, wish->range.first, range_size(wish->range));
        return 0;
    }
    return error == -PIOMMU_EFAILED ? error : -PIOMMU_EIO;
}

static int replace(struct wish *wish, bool hole)
{
    struct piommu_domain *domain = wish->domain;
    uint32_t tables;
    int error;

    if (piommu_requests_pending_(domain, wish->range)) {
        return -PIOMMU_EEXIST;
    }
    if (domain->parked.pending && ranges_overlap(domain->parked.range, wish->range)) {
        return -PIOMMU_EBUSY; /* a table that was here is not known to be forgotten */
    }
    if (!hole && domain->statistics.endpoints != 0) {
        return -PIOMMU_EHOLE;
    }
    error = reserve(domain, wish->range, &tables);
    if (error == 0) {
        error = exchange(wish);
        unreserve(domain, tables);
    }
    return error;
}

int piommu_domain_replace(struct piommu_domain *domain, uint64_t iova, uint64_t physical,
                          uint64_t size, piommu_prot prot, unsigned int flags, uint64_t *replaced)
{
    struct wish wish = wish_of(domain, iova, physical, size, prot);
    int error;

    if (!enter_mapping(domain) || (flags & ~PIOMMU_ALLOW_HOLE) != 0) {
        return -PIOMMU_EINVAL;
    }
    error = begin(&wish);
    if (error == 0 && wish.other != 0) {
        error = replace(&wish, (flags & PIOMMU_ALLOW_HOLE) != 0);
    } else if (error == 0 && wish.gaps != 0) {
        error = fill(&wish);
    }
    if (error == 0 && replaced != NULL) {
        *replaced = wish.other;
    }
    trace(&wish, error);
    return error;
}
