/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* Removing leaves, whole ones only; for parts see cut.c. */

#include "pgtable.h"

#include "../base/gather.h"
#include "chain.h"
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

    while (PIOMMU_PGTABLE_WITH_SHORT_WAYS && limit - cleared >= SLOTS_AT_ONCE) {
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

/* Leaves the table on top. In a disjoint table what is empty may go. */
static void leave(struct path *path, struct removal *removal)
{
    if (pgtable_is_disjoint(path->table)) {
        piommu_disjoint_leave_(path, removal);
    } else {
        piommu_path_leave_(path);
    }
}

/* One way through the range. Returns whether all of it is done. */
static bool remove_once(struct piommu_pgtable *table, struct removal *removal)
{
    struct path path;
    uint64_t end; /* last address of what is dealt with in this turn */
    bool done;

    piommu_path_begin_(&path, table);
    path.own = (struct piommu_range){.first = removal->first, .last = removal->last};
    do {
        uint64_t descriptor;
        uint32_t cleared;

        while (path_ends_before(&path, removal->iova)) {
            leave(&path, removal);
        }
        path.iova = removal->iova;
        descriptor = descriptor_read_link(path_slot(&path));
        while (descriptor_is_table(descriptor, path.height) &&
               !descriptor_links_empty(descriptor)) {
            path_enter(&path, descriptor);
            descriptor = descriptor_read_link(path_slot(&path));
        }
        cleared = clear_run(&path, removal->last, removal->budget);
        if (cleared != 0) {
            uint64_t size = (uint64_t)cleared << table->shift[path.height];

            end = removal->iova + (size - 1);
            if (removal->span.last == 0) {
                removal->span.first = removal->iova;
            }
            removal->span.last = end;
            removal->removed += size;
            removal->budget -= removal->budget < cleared ? removal->budget : cleared;
            removal->found = true;
        } else {
            /* A hole, or an empty table, which is as good as one; but it stays linked. */
            removal->kept[path.height] |= descriptor != 0;
            end = removal->iova | (pgtable_span(table, path.height) - 1);
            removal->budget--;
        }
        done = end >= removal->last;
        if (!done) {
            removal->iova = end + 1;
        }
    } while (!done && removal->budget != 0);
    if (!done) {
        path.own.last = end;
    }
    while (path.height < table->root_height) {
        leave(&path, removal);
    }
    return done;
}

bool piommu_pgtable_remove_(struct piommu_pgtable *table, struct removal *removal)
{
    bool whole = removal->iova == removal->first && removal->budget == UINT64_MAX;
    bool done;

    removal->begin = removal->iova;
    removal->found = removal->removed != 0;
    done = remove_once(table, removal);
    if (pgtable_is_disjoint(table) && whole && removal->passed && removal->found) {
        removal->iova = removal->first;
        removal->budget = UINT64_MAX;
        (void)remove_once(table, removal);
    }
    if (removal->gather != NULL && removal->span.last != 0) {
        gather_add(removal->gather, removal->span.first, removal->span.last);
    }
    return done;
}

static NEVER_INLINE int unmap_slowly(struct piommu_pgtable *table, uint64_t iova, uint64_t size,
                                     struct piommu_gather *gather, uint64_t *unmapped)
{
    struct removal removal = {.first = iova,
                              .last = iova + (size - 1),
                              .iova = iova,
                              .budget = UINT64_MAX,
                              .gather = gather};
    int error;

    *unmapped = 0;
    error = piommu_pgtable_check_change_(table, iova, size);
    if (error != 0) {
        return error;
    }
    if (piommu_pgtable_cuts_(table, iova, removal.last)) {
        return -PIOMMU_ECUT;
    }
    piommu_pgtable_remove_(table, &removal);
    *unmapped = removal.removed;
    return removal.removed != 0 ? 0 : -PIOMMU_ENOENT;
}

/* Apart, so that the short way needs no stack. */
static NEVER_INLINE void make_visible(const struct piommu_pgtable *table, descriptor_slot *slot)
{
    pgtable_clean(table, slot, 1);
}

/* Unmaps one page, and leaves everything else to the general code. */
static ALWAYS_INLINE int unmap_page(struct piommu_pgtable *table, uint64_t iova,
                                    struct piommu_gather *gather, uint64_t *unmapped,
                                    unsigned int page_shift, unsigned int index_bits)
{
    const uint64_t size = 1ull << page_shift;
    struct descent descent;

    if (UNLIKELY((iova & (size - 1)) != 0) ||
        !find_page(table, iova, page_shift, index_bits, &descent) ||
        UNLIKELY(!has_both_type_bits(descriptor_read(descent.slot)))) {
        return unmap_slowly(table, iova, size, gather, unmapped);
    }
    descriptor_write(descent.slot, 0);
    *unmapped = size;
    gather_add(gather, iova, iova + (size - 1));
    if (UNLIKELY(!table->coherent_walk)) {
        make_visible(table, descent.slot);
    }
    if (!pgtable_is_disjoint(table)) {
        uint64_t descriptor = descriptor_count_down(descent.link_descriptor, 1);

        descriptor_write(descent.link, descriptor);
        if (descriptor_links_empty(descriptor)) {
            empty_note(table, quick_next(table, descriptor), 0, iova);
        }
    }
    return 0;
}

/*
 * Unmaps leaves of one size that lie in one table. If the range turns out to have a hole or a table
 * in it, the general code goes on from there; a range that is aligned to its first leaf's size, and
 * in one table, cuts nothing.
 */
static NEVER_INLINE int unmap_run(struct piommu_pgtable *table, uint64_t iova, uint64_t size,
                                  struct piommu_gather *gather, uint64_t *unmapped)
{
    struct descent descent;
    uint64_t descriptor;
    uint64_t span;
    uint64_t count;
    uint32_t cleared;

    if (!pgtable_has_range(table, iova, size)) {
        return unmap_slowly(table, iova, size, gather, unmapped);
    }
    descriptor = descend_to_leaf(table, iova, &descent);
    span = pgtable_span(table, descent.height);
    count = size >> table->shift[descent.height];
    if (!pgtable_is_leaf(table, descriptor, descent.height) || ((iova | size) & (span - 1)) != 0 ||
        count > descent_slots(table, iova, &descent)) {
        return unmap_slowly(table, iova, size, gather, unmapped);
    }
    cleared = clear_slots(descent.slot, descent.height, (uint32_t)count);
    pgtable_clean(table, descent.slot, cleared);
    *unmapped = (uint64_t)cleared << table->shift[descent.height];
    gather_add(gather, iova, iova + (*unmapped - 1));
    if (descent.link == NULL) {
        /* The root stays. */
    } else if (!pgtable_is_disjoint(table)) {
        descriptor = descriptor_count_down(descent.link_descriptor, cleared);
        descriptor_write(descent.link, descriptor);
        if (descriptor_links_empty(descriptor)) {
            empty_note(table, quick_next(table, descriptor), descent.height, iova);
        }
    } else if (cleared == pgtable_slots(table)) {
        struct piommu_range whole = {.first = iova, .last = iova + (*unmapped - 1)};

        (void)piommu_disjoint_emptied_(table, descent.link, &whole, gather);
    }
    if (cleared != count) {
        struct removal removal = {.first = iova,
                                  .last = iova + (size - 1),
                                  .iova = iova + *unmapped,
                                  .budget = UINT64_MAX,
                                  .removed = *unmapped,
                                  .gather = gather};

        piommu_pgtable_remove_(table, &removal);
        *unmapped = removal.removed;
    }
    return 0;
}

int piommu_pgtable_unmap(struct piommu_pgtable *table, uint64_t iova, uint64_t size,
                         struct piommu_gather *gather, uint64_t *unmapped)
{
    if (is_quick_page(table, size, GRANULE_4K)) {
        return unmap_page(table, iova, gather, unmapped, 12, 9);
    }
    if (is_quick_page(table, size, GRANULE_64K)) {
        return unmap_page(table, iova, gather, unmapped, 16, 13);
    }
    if (is_quick_page(table, size, GRANULE_16K)) {
        return unmap_page(table, iova, gather, unmapped, 14, 11);
    }
    if (is_quick_run(table, size)) {
        return unmap_run(table, iova, size, gather, unmapped);
    }
    return unmap_slowly(table, iova, size, gather, unmapped);
}

int piommu_pgtable_unmap_leaves(struct piommu_pgtable *table, uint64_t first, uint64_t last,
                                struct piommu_gather *gather, struct piommu_range *removed,
                                uint64_t *unmapped)
{
    struct removal removal = {.budget = UINT64_MAX, .gather = gather};

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
    removal.first = removed->first;
    removal.last = removed->last;
    removal.iova = removed->first;
    piommu_pgtable_remove_(table, &removal);
    *unmapped = removal.removed;
    return *unmapped != 0 ? 0 : -PIOMMU_ENOENT;
}
