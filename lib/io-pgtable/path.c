/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* The way from the root to the table being worked on. */

#include "pgtable.h"

#include "chain.h"

void piommu_path_begin_(struct path *path, struct piommu_pgtable *table)
{
    path->table = table;
    path->replace = false;
    path->height = (uint8_t)table->root_height;
    path->fresh_heights = 0;
    path->dirty = false;
    path->iova = table->aperture.first;
    path->tables[path->height] = table->root;
    path->change[path->height] = 0;
    path->own = (struct piommu_range){.first = 0, .last = UINT64_MAX};
}

/*
 * The link to a fresh table. In a disjoint table nobody else is on the way to it, since it lies
 * wholly inside the range of this call.
 */
static uint64_t link_to(const struct path *path, uint64_t physical, int32_t used)
{
    const struct piommu_pgtable *table = path->table;
    uint32_t count = pgtable_is_disjoint(table) ? LINK_IN_USE : (uint32_t)used;

    return descriptor_with_count(pgtable_encode(table, physical) | table->link_attributes, count);
}

/*
 * Links the highest fresh table, of which `used` slots are in use. What it leads to must be visible
 * before the link is.
 */
static void link_fresh(struct path *path, descriptor_slot *slot, int32_t used)
{
    const struct piommu_pgtable *table = path->table;

    path->fresh_heights = 0;
    /* A link in the place of a leaf brings no further slot into use. */
    path->change[path->height] += descriptor_read(slot) == 0;
    piommu_host_barrier(table->host, PIOMMU_BARRIER_WRITE);
    descriptor_write(slot, link_to(path, path->fresh_physical, used));
    pgtable_clean(table, slot, 1);
}

void piommu_path_leave_(struct path *path)
{
    const struct piommu_pgtable *table = path->table;
    unsigned int height = path->height;
    int32_t change = path->change[height];
    bool fresh = path_is_fresh(path);
    descriptor_slot *slot;

    path->height++;
    path->dirty = false;
    slot = path_slot(path);
    if (fresh) {
        pgtable_clean(table, path->tables[height], pgtable_slots(table));
        if (!path_is_fresh(path)) {
            link_fresh(path, slot, change);
            return;
        }
    }
    if (!pgtable_is_disjoint(table) && change != 0) {
        uint64_t descriptor = descriptor_read(slot);
        uint32_t count = descriptor_count(descriptor) + (uint32_t)change;

        /* Not cleaned: hardware ignores the count, so a walker may see the old one for ever. */
        descriptor_write(slot, descriptor_with_count(descriptor, count));
        if (count == 0) {
            empty_note(path->table, path->tables[height], height, path->iova);
        }
    }
}

void piommu_path_move_(struct path *path, uint64_t iova)
{
    while (path_ends_before(path, iova)) {
        piommu_path_leave_(path);
    }
    path->iova = iova;
}

void piommu_path_end_(struct path *path)
{
    while (path->height < path->table->root_height) {
        piommu_path_leave_(path);
    }
}

void piommu_path_enter_to_fill_(struct path *path, uint64_t descriptor)
{
    link_prepare(path->table, path_slot(path), descriptor);
    path_enter(path, descriptor);
}

void piommu_path_enter_new_(struct path *path, descriptor_slot **spare)
{
    struct piommu_pgtable *table = path->table;
    unsigned int height = path->height - 1u;
    uint64_t physical;
    bool dirty;
    descriptor_slot *slots = piommu_tables_pop_(spare, &physical, &dirty);

    if (pgtable_is_disjoint(table) && !path_owns(path, height)) {
        /*
         * A neighbour may need the same table at the same time, so it is linked before it is
         * filled. If the neighbour was faster, or if this call was, the slot says so.
         */
        if (dirty) {
            piommu_tables_clear_(table, slots);
        }
        if (!piommu_disjoint_install_(table, path_slot(path), slots, physical)) {
            tables_push(spare, slots, physical);
        }
        return;
    }
    if (path->dirty) {
        piommu_tables_clear_(table, path->tables[path->height]);
    }
    if (path_is_fresh(path)) {
        /* Nobody sees this link before that to the highest fresh table. */
        descriptor_write(path_slot(path), link_to(path, physical, 0));
        path->change[path->height]++;
    } else {
        path->fresh_physical = physical;
        path->fresh_heights = path->height;
    }
    path->height = (uint8_t)height;
    path->tables[height] = slots;
    path->dirty = dirty;
    path->change[height] = 0;
}
