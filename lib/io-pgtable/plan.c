/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * How many tables a range can need. Counted without looking at what is mapped.
 *
 * A table at height H translates one span of height H + 1. It is needed where that span meets the
 * range, unless the whole span is translated by a leaf above.
 */

#include "pgtable.h"

/* How many spans of a height a range meets. */
static uint64_t spans(const struct piommu_pgtable *table, struct piommu_range range,
                      unsigned int height)
{
    return (range.last >> table->shift[height]) - (range.first >> table->shift[height]) + 1;
}

/*
 * Tables at `height`, if leaves may be used up to `highest_leaf`. The least height of a leaf that
 * makes such a table needless decides which part of the range needs none.
 */
static uint64_t tables_at(const struct piommu_pgtable *table, struct piommu_range range,
                          unsigned int height, unsigned int highest_leaf)
{
    unsigned int leaf = height + 1;
    uint64_t needed = spans(table, range, height + 1);
    uint64_t first;
    uint64_t end;

    while (leaf <= highest_leaf && ((table->leaf_heights >> leaf) & 1) == 0) {
        leaf++;
    }
    if (leaf > highest_leaf) {
        return needed;
    }
    /* The whole spans of such leaves, as numbers: from `first` up to, but not with, `end`. */
    first = (range.first >> table->shift[leaf]) +
            ((range.first & (pgtable_span(table, leaf) - 1)) != 0 ? 1 : 0);
    end = (range.last >> table->shift[leaf]) +
          ((~range.last & (pgtable_span(table, leaf) - 1)) == 0 ? 1 : 0);
    if (first < end) {
        needed -= (end - first) << (table->shift[leaf] - table->shift[height + 1]);
    }
    return needed;
}

/* Tables below the given height, with leaves up to `highest_leaf`. */
static uint64_t tables_below(const struct piommu_pgtable *table, struct piommu_range range,
                             unsigned int height, unsigned int highest_leaf)
{
    uint64_t tables = 0;

    for (unsigned int h = 0; h < height; h++) {
        tables += tables_at(table, range, h, highest_leaf);
    }
    return tables;
}

static unsigned int highest_leaf_within(const struct piommu_pgtable *table, uint64_t alignment)
{
    unsigned int height = table->root_height;

    while (height > 0 && (((table->leaf_heights >> height) & 1) == 0 ||
                          pgtable_span(table, height) > alignment)) {
        height--;
    }
    return height;
}

/*
 * Tables that a cut needs: the worst is that at either end of the range lies the largest leaf that
 * there can be. Both ends may be in one leaf, and then have its first table in common.
 */
static uint64_t tables_to_cut(const struct piommu_pgtable *table, struct piommu_range range)
{
    unsigned int height = highest_leaf_within(table, UINT64_MAX);
    uint64_t mask = pgtable_span(table, height) - 1;
    bool front = (range.first & mask) != 0;
    bool back = (~range.last & mask) != 0;
    struct piommu_range before = {.first = range.first & ~mask, .last = range.first - 1};
    struct piommu_range behind = {.first = range.last + 1, .last = range.last | mask};
    uint64_t tables = 0;

    if (height == 0) {
        return 0;
    }
    for (unsigned int h = 0; h < height; h++) {
        uint64_t front_tables = front ? tables_at(table, before, h, height - 1) : 0;
        uint64_t back_tables = back ? tables_at(table, behind, h, height - 1) : 0;
        uint64_t span = pgtable_span(table, h + 1);

        tables += front_tables + back_tables;
        /* The two remainders may meet in one table. */
        if (front_tables != 0 && back_tables != 0 &&
            (before.last & ~(span - 1)) == (behind.first & ~(span - 1))) {
            tables--;
        }
    }
    return tables;
}

int piommu_pgtable_plan(const struct piommu_pgtable *table, uint64_t iova, uint64_t size,
                        uint64_t alignment, uint64_t *to_map, uint64_t *to_cut)
{
    struct piommu_range range = {.first = iova, .last = iova + (size - 1)};
    int error = piommu_pgtable_check_range_(table, iova, size);

    if (alignment < table->info.granule || (alignment & (alignment - 1)) != 0) {
        error = -PIOMMU_EINVAL;
    }
    if (error != 0) {
        return error;
    }
    if (to_map != NULL) {
        *to_map =
            tables_below(table, range, table->root_height, highest_leaf_within(table, alignment));
    }
    if (to_cut != NULL) {
        *to_cut = tables_to_cut(table, range);
    }
    return 0;
}
