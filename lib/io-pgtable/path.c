/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* The way from the root to the table being worked on. */

#include "pgtable.h"

#include "chain.h"

void piommu_path_begin_(struct path *path, struct piommu_pgtable *table)
{
    path->table = table;
    path->replace = false;
    path->height = table->root_height;
    path->iova = table->aperture.first;
    path->tables[path->height] = table->root;
    path->fresh[path->height] = false;
    path->change[path->height] = 0;
    path->own = (struct piommu_range){.first = 0, .last = UINT64_MAX};
    path->unmap = NULL;
}

/*
 * Links the fresh table at `height`, to which `slot` of the table above will lead. Its content must
 * be visible before the link is; if the table above is not linked either, its own link does the
 * ordering. In a disjoint table nobody else is on the way to it, since it lies wholly inside the
 * range of this call.
 */
static void link_fresh(struct path *path, unsigned int height, descriptor_slot *slot)
{
    struct piommu_pgtable *table = path->table;
    uint32_t count = pgtable_is_disjoint(table) ? LINK_IN_USE : (uint32_t)path->change[height];
    uint64_t descriptor =
        pgtable_encode(table, path->fresh_physical[height]) | table->link_attributes;

    descriptor = descriptor_with_count(descriptor, count);
    pgtable_clean(table, path->tables[height], pgtable_slots(table));
    if (path->fresh[height + 1]) {
        descriptor_write(slot, descriptor);
        return;
    }
    piommu_host_barrier(table->host, PIOMMU_BARRIER_WRITE);
    descriptor_write(slot, descriptor);
    pgtable_clean(table, slot, 1);
}

static void leave(struct path *path)
{
    unsigned int height = path->height;
    descriptor_slot *slot;

    path->height++;
    slot = path_slot(path);
    if (path->fresh[height]) {
        /* A link in the place of a leaf brings no further slot into use. */
        path->change[path->height] += descriptor_read(slot) == 0;
        link_fresh(path, height, slot);
    } else if (pgtable_is_disjoint(path->table)) {
        if (path->unmap != NULL) {
            piommu_disjoint_leave_(path);
        }
    } else if (path->change[height] != 0) {
        uint64_t descriptor = descriptor_read(slot);
        uint32_t count = descriptor_count(descriptor) + (uint32_t)path->change[height];

        /* Not cleaned: hardware ignores the count, so a walker may see the old one for ever. */
        descriptor_write(slot, descriptor_with_count(descriptor, count));
        if (count == 0) {
            empty_note(path->table, path->tables[height], height, path->iova);
        }
    }
}

void piommu_path_move_(struct path *path, uint64_t iova)
{
    const struct piommu_pgtable *table = path->table;

    while (path->height < table->root_height &&
           ((iova ^ path->iova) >> table->shift[path->height + 1]) != 0) {
        leave(path);
    }
    path->iova = iova;
}

void piommu_path_end_(struct path *path)
{
    while (path->height < path->table->root_height) {
        leave(path);
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
    unsigned int height = path->height - 1;
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
            piommu_tables_push_(spare, slots, physical);
        }
        return;
    }
    if (path_is_dirty(path)) {
        piommu_tables_clear_(table, path->tables[path->height]);
        path->dirty[path->height] = false;
    }
    path->height = height;
    path->tables[height] = slots;
    path->fresh[height] = true;
    path->dirty[height] = dirty;
    path->fresh_physical[height] = physical;
    path->change[height] = 0;
}
