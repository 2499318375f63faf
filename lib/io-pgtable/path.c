/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* The way from the root to the table being worked on. */

#include "pgtable.h"

void piommu_path_begin_(struct path *path, struct piommu_pgtable *table)
{
    path->table = table;
    path->level = table->start_level;
    path->iova = 0;
    path->tables[path->level] = table->root;
    path->fresh[path->level] = false;
    path->change[path->level] = 0;
}

/*
 * Links the fresh table at `level`, to which `slot` of the table above will lead. Its content must
 * be visible before the link is; if the table above is not linked either, its own link does the
 * ordering.
 */
static void link_fresh(struct path *path, unsigned int level, descriptor_slot *slot)
{
    struct piommu_pgtable *table = path->table;
    uint64_t descriptor = path->fresh_physical[level] | DESCRIPTOR_TABLE;

    pgtable_clean(table, path->tables[level], table->slots);
    if (path->fresh[level - 1]) {
        descriptor_write(slot, descriptor_with_count(descriptor, (uint32_t)path->change[level]));
        return;
    }
    piommu_host_barrier(table->host, PIOMMU_BARRIER_WRITE);
    descriptor_write(slot, descriptor_with_count(descriptor, (uint32_t)path->change[level]));
    pgtable_clean(table, slot, 1);
}

static void leave(struct path *path)
{
    unsigned int level = path->level;
    descriptor_slot *slot;

    path->level--;
    slot = path_slot(path);
    if (path->fresh[level]) {
        link_fresh(path, level, slot);
        path->change[path->level]++;
    } else if (path->change[level] != 0) {
        uint64_t descriptor = descriptor_read(slot);
        uint32_t count = descriptor_count(descriptor) + (uint32_t)path->change[level];

        /* Not cleaned: hardware ignores the count, so a walker may see the old one for ever. */
        descriptor_write(slot, descriptor_with_count(descriptor, count));
        if (count == 0) {
            piommu_tables_note_empty_(path->table, path->tables[level], level, path->iova);
        }
    }
}

void piommu_path_move_(struct path *path, uint64_t iova)
{
    const struct piommu_pgtable *table = path->table;

    while (path->level > table->start_level &&
           ((iova ^ path->iova) >> table->shift[path->level - 1]) != 0) {
        leave(path);
    }
    path->iova = iova;
}

void piommu_path_end_(struct path *path)
{
    while (path->level > path->table->start_level) {
        leave(path);
    }
}
