/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Tables that are linked, but empty: unmaps have emptied them, and the next detach may take them
 * out. They are listed through their own first words, none of which makes a valid descriptor; see
 * tables.c. They are detached in the order in which they became empty, so that the quota keeps
 * those that are most likely to be used again.
 */

#include "pgtable.h"

#include "../base/gather.h"
#include "chain.h"
#include "inspect.h"

void piommu_empty_note_(struct piommu_pgtable *table, descriptor_slot *slots, unsigned int height,
                        uint64_t iova)
{
    uint64_t first = iova & ~(pgtable_span(table, height + 1) - 1);

    chain_write_pointer(slots, EMPTY_NEXT, NULL);
    chain_write_pointer(slots, EMPTY_PREVIOUS, table->newest_empty);
    descriptor_write(&slots[EMPTY_PLACE], first | ((uint64_t)height << PLACE_HEIGHT_SHIFT));
    if (table->newest_empty != NULL) {
        chain_write_pointer(table->newest_empty, EMPTY_NEXT, slots);
    } else {
        table->oldest_empty = slots;
    }
    table->newest_empty = slots;
    table->statistics.tables_empty++;
}

bool piommu_empty_is_noted_(const struct piommu_pgtable *table, descriptor_slot *slots,
                            unsigned int height, uint64_t iova)
{
    descriptor_slot *next = chain_read_pointer(slots, EMPTY_NEXT);

    return descriptor_read(&slots[EMPTY_PLACE]) ==
               (iova | ((uint64_t)height << PLACE_HEIGHT_SHIFT)) &&
           (next != NULL ? chain_read_pointer(next, EMPTY_PREVIOUS) : table->newest_empty) == slots;
}

/*
 * Cuts the link to an empty table, and returns the table's address. If that empties the table
 * above, it joins the list in its turn.
 */
static uint64_t cut_link(struct piommu_pgtable *table, unsigned int height, uint64_t first)
{
    struct path path;
    uint64_t descriptor;

    piommu_path_begin_(&path, table);
    piommu_path_move_(&path, first);
    while (path.height > height + 1) {
        path_enter(&path, descriptor_read(path_slot(&path)));
    }
    descriptor = descriptor_read(path_slot(&path));
    descriptor_write(path_slot(&path), 0);
    pgtable_clean(table, path_slot(&path), 1);
    path.change[path.height] = -1;
    piommu_path_end_(&path);
    return pgtable_decode(table, descriptor);
}

static void detach(struct piommu_pgtable *table, uint32_t keep, struct piommu_gather *gather)
{
    descriptor_slot *detached = gather->tables;

    while (table->statistics.tables_empty > keep) {
        descriptor_slot *slots = table->oldest_empty;
        uint64_t place = descriptor_read(&slots[EMPTY_PLACE]);
        unsigned int height = (unsigned int)((place & PLACE_HEIGHT_MASK) >> PLACE_HEIGHT_SHIFT);
        uint64_t first = place & ~PLACE_HEIGHT_MASK;

        empty_forget(table, slots);
        descriptor_write(&slots[CHAIN_PHYSICAL], cut_link(table, height, first));
        chain_push(&detached, slots);
        gather_add(gather, first, first + (pgtable_span(table, height + 1) - 1));
    }
    gather->tables = detached;
}

void piommu_pgtable_detach_empty(struct piommu_pgtable *table, struct piommu_gather *gather)
{
    if (table->statistics.tables_empty > table->empty_tables_kept) {
        detach(table, table->empty_tables_kept, gather);
    }
    piommu_host_barrier(table->host, PIOMMU_BARRIER_WRITE);
}

void piommu_pgtable_trim(struct piommu_pgtable *table, struct piommu_gather *gather)
{
    detach(table, 0, gather);
    piommu_host_barrier(table->host, PIOMMU_BARRIER_WRITE);
}
