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

/* The leaf that the scan has found: its range, or the part of it inside the scan's. */
static uint64_t scan_end(const struct scan *scan)
{
    uint64_t end = scan->iova | (pgtable_span(scan->table, scan->height) - 1);

    return end < scan->last ? end : scan->last;
}

/* Makes the scan's leaf tracked and clean, or not tracked; returns whether it was not so before. */
static bool set_tracked(const struct scan *scan, bool on)
{
    const struct piommu_pgtable *table = scan->table;
    descriptor_slot *slot = scan_slot(scan);

    for (;;) {
        uint64_t old = descriptor_read(slot);
        uint64_t plain = piommu_pgtable_untracked_(table, old);
        uint64_t descriptor = on ? piommu_pgtable_tracked_(table, plain) : plain;

        if (descriptor == old) {
            return false;
        }
        if (descriptor_exchange(slot, old, descriptor)) {
            pgtable_clean(table, slot, 1);
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
        if (set_tracked(&scan, on)) {
            gather_add(gather, scan.iova, scan_end(&scan));
            cursor->changed += pgtable_span(table, scan.height);
        }
        piommu_scan_skip_(&scan);
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
            pgtable_clean(table, slot, 1);
            return true;
        }
    }
}

/*
 * Hardware may note a write in any one member of a contiguous group, for all of them. Looks at the
 * scan's leaf, or at all of its group; returns whether it is dirty, and makes it clean if wanted.
 */
static bool read_leaf(const struct scan *scan, bool clear)
{
    const struct piommu_pgtable *table = scan->table;
    uint32_t index = pgtable_index(table, scan->height, scan->iova);
    uint32_t members = 1;
    bool dirty = false;

    if ((scan->descriptor & DESCRIPTOR_CONTIGUOUS) != 0) {
        members <<= table->group_shift[scan->height];
        index &= ~(members - 1);
    }
    for (uint32_t i = 0; i < members; i++) {
        descriptor_slot *slot = &scan->tables[scan->height][index + i];

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
        uint64_t leaf_mask = pgtable_leaf_size(table, scan.descriptor, scan.height) - 1;
        uint64_t leaf_first = scan.iova & ~leaf_mask;
        uint64_t first = leaf_first < iova ? iova : leaf_first;
        uint64_t last = (scan.iova | leaf_mask) < scan.last ? scan.iova | leaf_mask : scan.last;

        if (read_leaf(&scan, clear)) {
            if (bitmap != NULL) {
                mark(bitmap, iova, unit_shift, first, last);
            }
            if (clear) {
                gather_add(gather, leaf_first, scan.iova | leaf_mask);
            }
            *dirty += last - first + 1;
        }
        /* Behind all members of a group, which are in the same table. */
        scan.iova = (scan.iova | leaf_mask) & ~(pgtable_span(table, scan.height) - 1);
        piommu_scan_skip_(&scan);
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
