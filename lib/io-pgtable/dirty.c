/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Dirty tracking. Hardware changes the leaves concerned by atomic updates at any time, so this side
 * changes them by compare-and-exchange only.
 *
 * Source: Arm ARM, "Hardware management of the dirty state".
 */

#include "pgtable.h"

#include <piommu/io-pgtable-dirty.h>

#include "../base/gather.h"

#if DESCRIPTOR_ATOMIC

/* The leaf that a scan has found, with all members if it is a contiguous group. */
struct leaf {
    descriptor_slot *slots;
    uint32_t members;
    struct piommu_range range;
};

static struct leaf found_leaf(const struct scan *scan)
{
    const struct piommu_pgtable *table = scan->table;
    uint64_t mask = pgtable_leaf_size(table, scan->descriptor, scan->height) - 1;
    struct leaf leaf = {.range = {.first = scan->iova & ~mask, .last = scan->iova | mask}};

    leaf.members = (uint32_t)(mask >> table->shift[scan->height]) + 1;
    leaf.slots = &scan->tables[scan->height][pgtable_index(table, scan->height, leaf.range.first)];
    return leaf;
}

/* Goes on behind a leaf, all of whose members are in the scan's table. */
static void skip_leaf(struct scan *scan, const struct leaf *leaf)
{
    scan->iova = leaf->range.last;
    piommu_scan_skip_(scan);
}

/* Makes a leaf tracked or not; returns whether it was not so before. */
static bool set_tracked(const struct piommu_pgtable *table, descriptor_slot *slot, bool on)
{
    for (;;) {
        uint64_t old = descriptor_read(slot);
        uint64_t descriptor = old;

        if (!on) {
            descriptor = piommu_pgtable_untracked_(table, old);
        } else if (!piommu_pgtable_is_tracked_(old)) {
            descriptor = piommu_pgtable_tracked_(table, old);
        }
        if (descriptor == old) {
            return false;
        }
        if (descriptor_exchange(slot, old, descriptor)) {
            return true;
        }
    }
}

int piommu_pgtable_track_dirty_some(struct piommu_pgtable *table, bool on, uint32_t budget,
                                    struct piommu_gather *gather,
                                    struct piommu_pgtable_cursor *cursor)
{
    struct scan scan;

    if ((table->info.flags & PIOMMU_PGTABLE_DIRTY) == 0 || table->adopted) {
        return -PIOMMU_EOPNOTSUPP;
    }
    if (cursor->done > table->aperture.last - table->aperture.first) {
        return -PIOMMU_EINVAL;
    }
    table->tracking = on;
    piommu_scan_begin_(&scan, table, table->aperture.first + cursor->done, table->aperture.last);
    scan.budget = budget != 0 ? budget : 1;
    while (piommu_scan_next_(&scan)) {
        struct leaf leaf = found_leaf(&scan);
        bool changed = false;

        for (uint32_t i = 0; i < leaf.members; i++) {
            changed = set_tracked(table, &leaf.slots[i], on) || changed;
        }
        if (changed) {
            gather_add(gather, leaf.range.first, leaf.range.last);
            cursor->changed += leaf.range.last - leaf.range.first + 1;
        }
        skip_leaf(&scan, &leaf);
    }
    piommu_host_barrier(table->host, PIOMMU_BARRIER_WRITE);
    if (!scan.done) {
        cursor->done = scan.iova - table->aperture.first;
        return -PIOMMU_EAGAIN;
    }
    return 0;
}

int piommu_pgtable_track_dirty(struct piommu_pgtable *table, bool on, struct piommu_gather *gather)
{
    struct piommu_pgtable_cursor cursor = {.done = 0};
    int error;

    do {
        error = piommu_pgtable_track_dirty_some(table, on, UINT32_MAX, gather, &cursor);
    } while (error == -PIOMMU_EAGAIN);
    return error;
}

/* Sets the bits of all units that a range meets. */
static void mark(uint8_t *bitmap, uint64_t iova, unsigned int unit_shift, uint64_t first,
                 uint64_t last)
{
    uint64_t end = (last - iova) >> unit_shift;

    for (uint64_t bit = (first - iova) >> unit_shift; bit <= end; bit++) {
        bitmap[bit / 8] |= (uint8_t)(1u << (bit % 8));
    }
}

/* Makes one leaf clean; returns whether it was dirty. */
static bool make_clean(const struct piommu_pgtable *table, descriptor_slot *slot)
{
    for (;;) {
        uint64_t old = descriptor_read(slot);

        if (!piommu_pgtable_is_dirty_(table, old)) {
            return false;
        }
        if (descriptor_exchange(slot, old, piommu_pgtable_tracked_(table, old))) {
            return true;
        }
    }
}

/*
 * Tells whether a leaf is dirty, and makes it clean if wanted. Hardware may note a write in any one
 * member of a contiguous group, for all of them.
 */
static bool read_leaf(const struct piommu_pgtable *table, const struct leaf *leaf, bool clear)
{
    bool dirty = false;

    for (uint32_t i = 0; i < leaf->members; i++) {
        descriptor_slot *slot = &leaf->slots[i];

        if (clear) {
            dirty = make_clean(table, slot) || dirty;
        } else {
            dirty = piommu_pgtable_is_dirty_(table, descriptor_read(slot)) || dirty;
        }
    }
    return dirty;
}

int piommu_pgtable_read_dirty(struct piommu_pgtable *table, uint64_t iova, uint64_t size,
                              uint64_t unit, uint8_t *bitmap, bool clear,
                              struct piommu_gather *gather, uint64_t *dirty)
{
    unsigned int unit_shift = 0;
    struct scan scan;
    int error;

    *dirty = 0;
    error = piommu_pgtable_check_range_(table, iova, size);
    if (unit < table->info.granule || (unit & (unit - 1)) != 0 || (clear && gather == NULL)) {
        error = -PIOMMU_EINVAL;
    }
    if (error != 0) {
        return error;
    }
    if ((table->info.flags & PIOMMU_PGTABLE_DIRTY) == 0 || (clear && table->adopted)) {
        return -PIOMMU_EOPNOTSUPP;
    }
    while (1ull << unit_shift != unit) {
        unit_shift++;
    }
    piommu_scan_begin_(&scan, table, iova, iova + (size - 1));
    while (piommu_scan_next_(&scan)) {
        struct leaf leaf = found_leaf(&scan);
        uint64_t first = leaf.range.first < iova ? iova : leaf.range.first;
        uint64_t last = leaf.range.last < scan.last ? leaf.range.last : scan.last;

        if (read_leaf(table, &leaf, clear)) {
            if (bitmap != NULL) {
                mark(bitmap, iova, unit_shift, first, last);
            }
            if (clear) {
                gather_add(gather, leaf.range.first, leaf.range.last);
            }
            *dirty += last - first + 1;
        }
        skip_leaf(&scan, &leaf);
    }
    if (clear) {
        piommu_host_barrier(table->host, PIOMMU_BARRIER_WRITE);
    }
    return 0;
}

#else /* Without atomic updates of a descriptor no table has PIOMMU_PGTABLE_DIRTY. */

int piommu_pgtable_track_dirty_some(struct piommu_pgtable *table, bool on, uint32_t budget,
                                    struct piommu_gather *gather,
                                    struct piommu_pgtable_cursor *cursor)
{
    (void)table;
    (void)on;
    (void)budget;
    (void)gather;
    (void)cursor;
    return -PIOMMU_EOPNOTSUPP;
}

int piommu_pgtable_track_dirty(struct piommu_pgtable *table, bool on, struct piommu_gather *gather)
{
    (void)table;
    (void)on;
    (void)gather;
    return -PIOMMU_EOPNOTSUPP;
}

int piommu_pgtable_read_dirty(struct piommu_pgtable *table, uint64_t iova, uint64_t size,
                              uint64_t unit, uint8_t *bitmap, bool clear,
                              struct piommu_gather *gather, uint64_t *dirty)
{
    (void)table;
    (void)iova;
    (void)size;
    (void)unit;
    (void)bitmap;
    (void)clear;
    (void)gather;
    *dirty = 0;
    return -PIOMMU_EOPNOTSUPP;
}

#endif
