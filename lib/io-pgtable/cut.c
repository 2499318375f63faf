/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Unmapping a range that ends inside leaves.
 *
 * What a cut leaf translates outside the range is mapped again, by smaller leaves, with the same
 * attributes. In general the leaf has to go, and be forgotten by hardware, before those take its
 * place (break-before-make); a walker with FEAT_BBM level 2 bears the replacement at once.
 *
 * Source: Arm ARM, "Using break-before-make when updating translation table entries", "Support
 * levels for changing block size".
 */

#include "pgtable.h"

#include "../base/gather.h"

/* What stays of a leaf, if something does. */
struct remainder {
    uint64_t physical;
    uint64_t attributes;
};

/* The leaf at an end of the range, or, if there is none, the address alone. */
struct boundary {
    struct piommu_range leaf;
    uint64_t descriptor;
    uint64_t physical; /* where leaf.first leads */
};

static struct boundary examine(const struct piommu_pgtable *table, uint64_t iova)
{
    struct boundary boundary = {.leaf = {.first = iova, .last = iova}};
    unsigned int height;
    uint64_t descriptor = piommu_pgtable_find_leaf_(table, iova, &height);
    uint64_t span_mask = pgtable_span(table, height) - 1;
    uint64_t leaf_mask;

    if (descriptor == 0) {
        return boundary;
    }
    leaf_mask = pgtable_leaf_size(table, descriptor, height) - 1;
    boundary.leaf.first = iova & ~leaf_mask;
    boundary.leaf.last = iova | leaf_mask;
    boundary.descriptor = descriptor;
    boundary.physical = (pgtable_decode(table, descriptor) & ~span_mask) -
                        ((iova & ~span_mask) - (iova & ~leaf_mask));
    return boundary;
}

/* The part of a leaf from `first` on. */
static void keep(const struct piommu_pgtable *table, const struct boundary *boundary,
                 uint64_t first, struct remainder *remainder)
{
    const uint64_t not_attributes =
        table->address_mask | table->address_fold | DESCRIPTOR_TYPE_MASK | DESCRIPTOR_CONTIGUOUS;

    remainder->physical = boundary->physical + (first - boundary->leaf.first);
    remainder->attributes = boundary->descriptor & ~not_attributes;
    /* Hardware may have noted a write in another member of a group, or be about to. */
    if ((table->info.flags & PIOMMU_PGTABLE_DIRTY) != 0 &&
        piommu_pgtable_is_tracked_(remainder->attributes)) {
        remainder->attributes = piommu_pgtable_tracked_dirty_(
            table, piommu_pgtable_untracked_(table, remainder->attributes));
    }
}

/* Everything that a cut needs to know before it changes anything. */
struct plan {
    struct piommu_range range;
    struct piommu_range whole;     /* the range, widened to the leaves that are cut */
    struct remainder remainder[2]; /* in front of the range, and behind it */
    uint64_t mapped;               /* bytes in the range */
};

/* Where a remainder lies, and what it is mapped to; false if nothing stays there. */
static bool find_remainder(const struct plan *plan, unsigned int i, uint64_t *iova,
                           struct piommu_segment *segment)
{
    *iova = i == 0 ? plan->whole.first : plan->range.last + 1;
    segment->physical = plan->remainder[i].physical;
    segment->size =
        i == 0 ? plan->range.first - plan->whole.first : plan->whole.last - plan->range.last;
    return segment->size != 0;
}

static NEVER_INLINE void make_plan(const struct piommu_pgtable *table, struct plan *plan)
{
    uint64_t first = plan->range.first;
    uint64_t last = plan->range.last;
    struct boundary boundary = examine(table, first);
    struct scan scan;

    plan->whole = plan->range;
    if (boundary.leaf.first < first) {
        keep(table, &boundary, boundary.leaf.first, &plan->remainder[0]);
        plan->whole.first = boundary.leaf.first;
    }
    boundary = examine(table, last);
    if (boundary.leaf.last > last) {
        keep(table, &boundary, last + 1, &plan->remainder[1]);
        plan->whole.last = boundary.leaf.last;
    }
    plan->mapped = 0;
    piommu_scan_begin_(&scan, table, first, last);
    while (piommu_scan_next_(&scan)) {
        uint64_t end = scan.iova | (pgtable_span(table, scan.height) - 1);
        uint64_t from = scan.iova < first ? first : scan.iova;

        plan->mapped += (end > last ? last : end) - from + 1;
        piommu_scan_skip_(&scan);
    }
}

/*
 * Counts the tables for the remainders. The probe sees the leaves that are cut as in the way; those
 * are what the tables replace, so it is told to look through them.
 */
static NEVER_INLINE uint64_t count_tables(const struct piommu_pgtable *table,
                                          const struct plan *plan)
{
    struct probe probe;

    piommu_probe_begin_(&probe, table);
    probe.replace = true;
    for (unsigned int i = 0; i < 2; i++) {
        struct piommu_segment segment;
        struct source source;
        uint64_t iova;

        if (find_remainder(plan, i, &iova, &segment)) {
            piommu_source_begin_(&source, iova, &segment, 1);
            piommu_probe_count_(&probe, source);
        }
    }
    return probe.missing;
}

static NEVER_INLINE void store_remainders(struct piommu_pgtable *table, const struct plan *plan,
                                          bool replace, descriptor_slot **spare)
{
    struct path path;

    piommu_path_begin_(&path, table);
    path.replace = replace;
    for (unsigned int i = 0; i < 2; i++) {
        struct piommu_segment segment;
        struct source source;
        uint64_t iova;

        if (find_remainder(plan, i, &iova, &segment)) {
            piommu_source_begin_(&source, iova, &segment, 1);
            piommu_store_leaves_(&path, &source, plan->remainder[i].attributes, spare);
        }
    }
    piommu_path_end_(&path);
    piommu_host_barrier(table->host, PIOMMU_BARRIER_WRITE);
}

/* Returns where there was something to remove. */
static NEVER_INLINE struct piommu_range remove_range(struct piommu_pgtable *table,
                                                     struct piommu_range range)
{
    struct removal removal = {
        .first = range.first, .last = range.last, .iova = range.first, .budget = UINT64_MAX};

    piommu_pgtable_remove_(table, &removal);
    piommu_host_barrier(table->host, PIOMMU_BARRIER_WRITE);
    return removal.span;
}

int piommu_pgtable_unmap_cut(struct piommu_pgtable *table, uint64_t iova, uint64_t size,
                             piommu_pgtable_invalidate invalidate, void *cookie,
                             struct piommu_gather *gather, uint64_t *unmapped)
{
    bool replace = table->info.live_cut;
    struct plan plan = {.range = {.first = iova, .last = iova + (size - 1)}};
    struct piommu_range removed;
    descriptor_slot *spare;
    int error;

    *unmapped = 0;
    error = piommu_pgtable_check_change_(table, iova, size);
    if (error != 0) {
        return error;
    }
    make_plan(table, &plan);
    if (plan.mapped == 0) {
        return -PIOMMU_ENOENT;
    }
    error = piommu_tables_take_(table, count_tables(table, &plan), &spare);
    if (error != 0) {
        return error;
    }
    if (replace) {
        store_remainders(table, &plan, true, &spare);
        (void)remove_range(table, plan.range);
        removed = plan.whole;
    } else {
        removed = remove_range(table, plan.whole);
    }
    error = invalidate(cookie, &removed);
    if (error != 0) {
        gather_add(gather, removed.first, removed.last);
        piommu_tables_give_(table, spare);
    } else if (!replace) {
        store_remainders(table, &plan, false, &spare);
    }
    *unmapped = plan.mapped;
    return error;
}
