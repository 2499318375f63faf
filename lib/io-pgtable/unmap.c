/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "pgtable.h"

#include "../base/gather.h"

/* Tells whether a leaf lies across the boundary between `below` and below + 1. */
static bool crosses(const struct piommu_pgtable *table, uint64_t below)
{
    unsigned int level;
    uint64_t mask;

    if (piommu_pgtable_find_leaf_(table, below, &level) == 0) {
        return false;
    }
    mask = pgtable_span(table, level) - 1;
    return (below & mask) != mask;
}

static int check(const struct piommu_pgtable *table, uint64_t iova, uint64_t size)
{
    if (size == 0 || ((iova | size) & (table->info.granule - 1)) != 0) {
        return -PIOMMU_EINVAL;
    }
    if (iova > table->last_input || size - 1 > table->last_input - iova) {
        return -PIOMMU_ERANGE;
    }
    if ((iova != 0 && crosses(table, iova - 1)) || crosses(table, iova + (size - 1))) {
        return -PIOMMU_ECUT;
    }
    return 0;
}

/* Clears leaves from the current slot on, up to a slot without one; returns how many. */
static uint32_t clear_run(struct path *path, uint64_t last)
{
    struct piommu_pgtable *table = path->table;
    unsigned int level = path->level;
    descriptor_slot *slots = path_slot(path);
    uint32_t limit = pgtable_slots(table, level) - pgtable_index(table, level, path->iova);
    uint64_t wanted = ((last - path->iova) >> table->shift[level]) + 1;
    uint32_t cleared = 0;

    if (wanted < limit) {
        limit = (uint32_t)wanted;
    }
    while (cleared < limit && descriptor_is_leaf(descriptor_read(&slots[cleared]), level)) {
        descriptor_write(&slots[cleared], 0);
        cleared++;
    }
    if (cleared != 0) {
        pgtable_clean(table, slots, cleared);
        path->change[level] -= (int32_t)cleared;
    }
    return cleared;
}

int piommu_pgtable_unmap(struct piommu_pgtable *table, uint64_t iova, uint64_t size,
                         struct piommu_gather *gather, uint64_t *unmapped)
{
    struct path path;
    uint64_t last;
    int error;

    *unmapped = 0;
    error = check(table, iova, size);
    if (error != 0) {
        return error;
    }
    last = iova + (size - 1);
    piommu_path_begin_(&path, table);
    while (iova <= last) {
        uint64_t descriptor;
        uint64_t cleared;

        piommu_path_move_(&path, iova);
        descriptor = descriptor_read(path_slot(&path));
        while (descriptor_is_table(descriptor, path.level)) {
            path_enter(&path, descriptor);
            descriptor = descriptor_read(path_slot(&path));
        }
        cleared = (uint64_t)clear_run(&path, last) << table->shift[path.level];
        if (cleared != 0) {
            gather_add(gather, iova, iova + (cleared - 1));
            *unmapped += cleared;
            iova += cleared;
        } else {
            iova = (iova | (pgtable_span(table, path.level) - 1)) + 1;
        }
    }
    piommu_path_end_(&path);
    return *unmapped != 0 ? 0 : -PIOMMU_ENOENT;
}
