/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* Removing leaves, whole ones only; for parts see cut.c. */

#include "pgtable.h"

#include "../base/gather.h"
#include "quick.h"

int piommu_pgtable_check_range_(const struct piommu_pgtable *table, uint64_t iova, uint64_t size)
{
    if (size == 0 || ((iova | size) & (table->info.granule - 1)) != 0) {
        return -PIOMMU_EINVAL;
    }
    if (!pgtable_has_range(table, iova, size)) {
        return -PIOMMU_ERANGE;
    }
    return 0;
}

int piommu_pgtable_check_change_(const struct piommu_pgtable *table, uint64_t iova, uint64_t size)
{
    int error = piommu_pgtable_check_range_(table, iova, size);

    return error == 0 && table->adopted ? -PIOMMU_EOPNOTSUPP : error;
}

/* The range of the leaf at an address, or the address alone if there is none. */
static struct piommu_range leaf_range(const struct piommu_pgtable *table, uint64_t iova)
{
    struct piommu_range range = {.first = iova, .last = iova};
    unsigned int height;
    uint64_t descriptor = piommu_pgtable_find_leaf_(table, iova, &height);

    if (descriptor != 0) {
        uint64_t mask = pgtable_leaf_size(table, descriptor, height) - 1;

        range.first = iova & ~mask;
        range.last = iova | mask;
    }
    return range;
}

bool piommu_pgtable_cuts_(const struct piommu_pgtable *table, uint64_t iova, uint64_t last)
{
    return leaf_range(table, iova).first != iova || leaf_range(table, last).last != last;
}

/*
 * How many of the slots behind a run belong to a contiguous group that the run has begun to clear:
 * a budget must not end inside a group, whose rest would be a group that breaks the rules.
 */
static uint32_t rest_of_group(const struct path *path, uint32_t cleared)
{
    const struct piommu_pgtable *table = path->table;
    unsigned int height = path->height;
    uint32_t next = pgtable_index(table, height, path->iova) + cleared;
    uint32_t rest = (0u - next) & ((1u << table->group_shift[height]) - 1);

    if (rest == 0 || (descriptor_read(&path->tables[height][next]) & DESCRIPTOR_CONTIGUOUS) == 0) {
        return 0;
    }
    return rest;
}

/* Clears leaves side by side, up to a slot without one; returns how many. See fill_slots. */
static inline uint32_t clear_slots(descriptor_slot *slots, unsigned int height, uint32_t limit)
{
    const uint64_t mask = piommu_le64(DESCRIPTOR_TYPE_MASK);
    const uint64_t type = piommu_le64(height == 0 ? DESCRIPTOR_PAGE : DESCRIPTOR_BLOCK);
    uint32_t cleared = 0;

    while (limit - cleared >= SLOTS_AT_ONCE) {
        descriptor_slot *line = &slots[cleared];

        if ((((descriptor_raw(&line[0]) ^ type) | (descriptor_raw(&line[1]) ^ type) |
              (descriptor_raw(&line[2]) ^ type) | (descriptor_raw(&line[3]) ^ type) |
              (descriptor_raw(&line[4]) ^ type) | (descriptor_raw(&line[5]) ^ type) |
              (descriptor_raw(&line[6]) ^ type) | (descriptor_raw(&line[7]) ^ type)) &
             mask) != 0) {
            break;
        }
        descriptor_write(&line[0], 0);
        descriptor_write(&line[1], 0);
        descriptor_write(&line[2], 0);
        descriptor_write(&line[3], 0);
        descriptor_write(&line[4], 0);
        descriptor_write(&line[5], 0);
        descriptor_write(&line[6], 0);
        descriptor_write(&line[7], 0);
        cleared += SLOTS_AT_ONCE;
    }
    while (cleared < limit && (descriptor_raw(&slots[cleared]) & mask) == type) {
        descriptor_write(&slots[cleared], 0);
        cleared++;
    }
    return cleared;
}

/* Clears leaves from the current slot on, up to a slot without one; returns how many. */
static uint32_t clear_run(struct path *path, uint64_t last, uint64_t budget)
{
    struct piommu_pgtable *table = path->table;
    unsigned int height = path->height;
    descriptor_slot *slots = path_slot(path);
    uint32_t limit = table->index_mask[height] - pgtable_index(table, height, path->iova) + 1;
    uint64_t wanted = ((last - path->iova) >> table->shift[height]) + 1;
    uint32_t cleared;

    if (wanted < limit) {
        limit = (uint32_t)wanted;
    }
    if (budget < limit) {
        cleared = clear_slots(slots, height, (uint32_t)budget);
        if (cleared == budget) {
            cleared += clear_slots(&slots[cleared], height, rest_of_group(path, cleared));
        }
    } else {
        cleared = clear_slots(slots, height, limit);
    }
    if (cleared != 0) {
        pgtable_clean(table, slots, cleared);
        path->change[height] -= (int32_t)cleared;
    }
    return cleared;
}

bool piommu_pgtable_remove_(struct piommu_pgtable *table, uint64_t *iova, uint64_t last,
                            uint64_t budget, struct piommu_gather *gather, uint64_t *removed)
{
    struct path path;
    bool done = false;

    piommu_path_begin_(&path, table);
    while (!done && budget != 0) {
        uint64_t descriptor;
        uint64_t end; /* last address of what is dealt with in this turn */
        uint32_t cleared;

        piommu_path_move_(&path, *iova);
        descriptor = descriptor_read(path_slot(&path));
        while (descriptor_is_table(descriptor, path.height)) {
            path_enter(&path, descriptor);
            descriptor = descriptor_read(path_slot(&path));
        }
        cleared = clear_run(&path, last, budget);
        if (cleared != 0) {
            uint64_t size = (uint64_t)cleared << table->shift[path.height];

            end = *iova + (size - 1);
            gather_add(gather, *iova, end);
            *removed += size;
            budget -= budget < cleared ? budget : cleared;
        } else {
            end = *iova | (pgtable_span(table, path.height) - 1);
            budget--;
        }
        done = end >= last;
        if (!done) {
            *iova = end + 1;
        }
    }
    piommu_path_end_(&path);
    return done;
}

NEVER_INLINE int unmap_slowly(struct piommu_pgtable *table, uint64_t iova, uint64_t size,
                              struct piommu_gather *gather, uint64_t *unmapped)
{
    uint64_t last = iova + (size - 1);
    int error;

    *unmapped = 0;
    error = piommu_pgtable_check_change_(table, iova, size);
    if (error != 0) {
        return error;
    }
    if (piommu_pgtable_cuts_(table, iova, last)) {
        return -PIOMMU_ECUT;
    }
    piommu_pgtable_remove_(table, &iova, last, UINT64_MAX, gather, unmapped);
    return *unmapped != 0 ? 0 : -PIOMMU_ENOENT;
}

/*
 * The rest of the short way where the walker does not snoop, or the table has become empty: apart,
 * so that the way itself calls nothing and needs no stack.
 */
NEVER_INLINE int finish_leaf(struct piommu_pgtable *table, descriptor_slot *slot, uint64_t iova,
                             uint64_t link_descriptor, unsigned int shift)
{
    pgtable_clean(table, slot, 1);
    if (descriptor_links_empty(link_descriptor)) {
        piommu_empty_note_(table, pgtable_next(table, link_descriptor),
                           (shift - table->shift[0]) / table->index_bits, iova);
    }
    return 0;
}

/* Unmaps one leaf, and leaves everything else to the general code. */
ALWAYS_INLINE int unmap_leaf(struct piommu_pgtable *table, uint64_t iova, uint64_t size,
                             struct piommu_gather *gather, uint64_t *unmapped,
                             unsigned int page_shift, unsigned int index_bits)
{
    struct descent descent;

    if (iova - table->aperture.first > table->last_offset || (iova & (size - 1)) != 0) {
        return unmap_slowly(table, iova, size, gather, unmapped);
    }
    descent = descend_quickly(table, iova, page_shift, index_bits);
    if (1ull << descent.shift != size || descent.link == NULL ||
        (descent.descriptor & DESCRIPTOR_TYPE_MASK) !=
            (descent.shift == page_shift ? DESCRIPTOR_PAGE : DESCRIPTOR_BLOCK)) {
        return unmap_slowly(table, iova, size, gather, unmapped);
    }
    descriptor_write(descent.slot, 0);
    *unmapped = size;
    gather_add(gather, iova, iova + (size - 1));
    descent.link_descriptor = descriptor_count_down(descent.link_descriptor, 1);
    descriptor_write(descent.link, descent.link_descriptor);
    if (!table->coherent_walk || descriptor_links_empty(descent.link_descriptor)) {
        return finish_leaf(table, descent.slot, iova, descent.link_descriptor, descent.shift);
    }
    return 0;
}

/*
 * Unmaps leaves of one size that lie in one table. If the range turns out to have a hole or a table
 * in it, the general code goes on from there; a range that is aligned to its first leaf's size, and
 * in one table, cuts nothing.
 */
NEVER_INLINE int unmap_run(struct piommu_pgtable *table, uint64_t iova, uint64_t size,
                           struct piommu_gather *gather, uint64_t *unmapped)
{
    struct descent descent;
    unsigned int height;
    uint64_t count;
    uint64_t next;
    uint32_t cleared;

    if (!pgtable_has_range(table, iova, size)) {
        return unmap_slowly(table, iova, size, gather, unmapped);
    }
    descent = descend_any(table, iova);
    height = descent_height(table, &descent);
    count = size >> descent.shift;
    if (!pgtable_is_leaf(table, descent.descriptor, height) ||
        ((iova | size) & ((1ull << descent.shift) - 1)) != 0 ||
        count > descent_slots(table, iova, &descent)) {
        return unmap_slowly(table, iova, size, gather, unmapped);
    }
    cleared = clear_slots(descent.slot, height, (uint32_t)count);
    pgtable_clean(table, descent.slot, cleared);
    *unmapped = (uint64_t)cleared << descent.shift;
    next = iova + *unmapped;
    gather_add(gather, iova, next - 1);
    if (descent.link != NULL) {
        descent.link_descriptor = descriptor_count_down(descent.link_descriptor, cleared);
        descriptor_write(descent.link, descent.link_descriptor);
        if (descriptor_links_empty(descent.link_descriptor)) {
            piommu_empty_note_(table, pgtable_next(table, descent.link_descriptor), height, iova);
        }
    }
    if (cleared != count) {
        piommu_pgtable_remove_(table, &next, iova + (size - 1), UINT64_MAX, gather, unmapped);
    }
    return 0;
}

NEVER_INLINE int unmap_block(struct piommu_pgtable *table, uint64_t iova, uint64_t size,
                             struct piommu_gather *gather, uint64_t *unmapped)
{
    return unmap_leaf(table, iova, size, gather, unmapped, table->shift[0], table->index_bits);
}

int piommu_pgtable_unmap(struct piommu_pgtable *table, uint64_t iova, uint64_t size,
                         struct piommu_gather *gather, uint64_t *unmapped)
{
    if (size == table->quick_page) {
        switch (size) {
        case 1u << 12:
            return unmap_leaf(table, iova, 1u << 12, gather, unmapped, 12, 9);
        case 1u << 14:
            return unmap_leaf(table, iova, 1u << 14, gather, unmapped, 14, 11);
        case 1u << 16:
            return unmap_leaf(table, iova, 1u << 16, gather, unmapped, 16, 13);
        default: /* both are 0 */
            break;
        }
    }
    if (is_quick_leaf(table, size)) {
        return unmap_block(table, iova, size, gather, unmapped);
    }
    if (table->quick_sizes != 0 && size != 0) {
        return unmap_run(table, iova, size, gather, unmapped);
    }
    return unmap_slowly(table, iova, size, gather, unmapped);
}

int piommu_pgtable_unmap_some(struct piommu_pgtable *table, uint64_t iova, uint64_t size,
                              uint32_t budget, struct piommu_gather *gather,
                              struct piommu_pgtable_cursor *cursor)
{
    uint64_t last = iova + (size - 1);
    uint64_t next = iova + cursor->done;
    int error = piommu_pgtable_check_change_(table, iova, size);

    if (error != 0) {
        return error;
    }
    if (cursor->done >= size) {
        return -PIOMMU_EINVAL;
    }
    if (cursor->done == 0 && piommu_pgtable_cuts_(table, iova, last)) {
        return -PIOMMU_ECUT;
    }
    if (!piommu_pgtable_remove_(table, &next, last, budget != 0 ? budget : 1, gather,
                                &cursor->changed)) {
        cursor->done = next - iova;
        return -PIOMMU_EAGAIN;
    }
    cursor->done = size;
    return cursor->changed != 0 ? 0 : -PIOMMU_ENOENT;
}

int piommu_pgtable_unmap_leaves(struct piommu_pgtable *table, uint64_t first, uint64_t last,
                                struct piommu_gather *gather, struct piommu_range *removed,
                                uint64_t *unmapped)
{
    uint64_t iova;

    *unmapped = 0;
    if (first > last) {
        return -PIOMMU_EINVAL;
    }
    if (first < table->aperture.first || last > table->aperture.last) {
        return -PIOMMU_ERANGE;
    }
    if (table->adopted) {
        return -PIOMMU_EOPNOTSUPP;
    }
    removed->first = leaf_range(table, first).first;
    removed->last = leaf_range(table, last).last;
    iova = removed->first;
    piommu_pgtable_remove_(table, &iova, removed->last, UINT64_MAX, gather, unmapped);
    return *unmapped != 0 ? 0 : -PIOMMU_ENOENT;
}
