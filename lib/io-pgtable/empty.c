/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Tables that are linked, but empty: unmaps have emptied them, and the next detach may take them
 * out. They are listed through their own first words, none of which makes a valid descriptor; see
 * tables.c. They are detached in the order in which they became empty, so that the quota keeps
 * those that are most likely to be used again.
 *
 * The last one is not on the list yet, since it is the most likely of all: a page that is mapped
 * and unmapped again and again costs no listing.
 */

#include "pgtable.h"

#include "../base/compiler.h"
#include "../base/gather.h"
#include "chain.h"
#include "inspect.h"

static uint64_t place(const struct piommu_pgtable *table, unsigned int height, uint64_t iova)
{
    return (iova & ~(pgtable_span(table, height + 1) - 1)) |
           ((uint64_t)height << PLACE_HEIGHT_SHIFT);
}

static uint64_t last_place(const struct piommu_pgtable *table)
{
    return place(table, table->empty.last_height, table->empty.last_iova);
}

void piommu_empty_list_last_(struct piommu_pgtable *table)
{
    descriptor_slot *slots = table->empty.last;

    chain_write_pointer(slots, EMPTY_NEXT, NULL);
    chain_write_pointer(slots, EMPTY_PREVIOUS, table->empty.newest);
    descriptor_write(&slots[EMPTY_PLACE], last_place(table));
    if (table->empty.newest != NULL) {
        chain_write_pointer(table->empty.newest, EMPTY_NEXT, slots);
    } else {
        table->empty.oldest = slots;
    }
    table->empty.newest = slots;
    table->empty.last = NULL;
    counter_add(table, &table->tables_empty, 1);
}

void piommu_empty_unlist_(struct piommu_pgtable *table, descriptor_slot *slots)
{
    descriptor_slot *next = chain_read_pointer(slots, EMPTY_NEXT);
    descriptor_slot *previous = chain_read_pointer(slots, EMPTY_PREVIOUS);

    if (next != NULL) {
        chain_write_pointer(next, EMPTY_PREVIOUS, previous);
    } else {
        table->empty.newest = previous;
    }
    if (previous != NULL) {
        chain_write_pointer(previous, EMPTY_NEXT, next);
    } else {
        table->empty.oldest = next;
    }
    descriptor_write(&slots[EMPTY_NEXT], 0);
    descriptor_write(&slots[EMPTY_PREVIOUS], 0);
    descriptor_write(&slots[EMPTY_PLACE], 0);
    counter_subtract(table, &table->tables_empty, 1);
}

uint32_t piommu_empty_count_(const struct piommu_pgtable *table)
{
    return (uint32_t)counter_read(&table->tables_empty) + (table->empty.last != NULL);
}

bool piommu_empty_is_noted_(const struct piommu_pgtable *table, descriptor_slot *slots,
                            unsigned int height, uint64_t iova)
{
    descriptor_slot *next;

    if (slots == table->empty.last) {
        return last_place(table) == place(table, height, iova);
    }
    next = chain_read_pointer(slots, EMPTY_NEXT);
    return descriptor_read(&slots[EMPTY_PLACE]) == place(table, height, iova) &&
           (next != NULL ? chain_read_pointer(next, EMPTY_PREVIOUS) : table->empty.newest) == slots;
}

void piommu_empty_block_(struct piommu_pgtable *table, struct piommu_range span,
                         struct piommu_gather *gather)
{
    if (counter_read(&table->tables_detached) == 0) {
        table->detached_range = span;
    } else {
        if (span.first < table->detached_range.first) {
            table->detached_range.first = span.first;
        }
        if (span.last > table->detached_range.last) {
            table->detached_range.last = span.last;
        }
    }
    counter_add(table, &table->tables_detached, 1);
    gather->blocking++;
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

/* Detaches all but so many. Apart from its callers, which have nothing else to do as a rule. */
static NEVER_INLINE void detach(struct piommu_pgtable *table, uint32_t keep,
                                struct piommu_gather *gather)
{
    descriptor_slot *detached = gather->tables;

    while (piommu_empty_count_(table) > keep) {
        descriptor_slot *slots;
        uint64_t word;
        unsigned int height;
        struct piommu_range span;

        if (table->empty.oldest == NULL) {
            piommu_empty_list_last_(table);
        }
        slots = table->empty.oldest;
        word = descriptor_read(&slots[EMPTY_PLACE]);
        height = (unsigned int)((word & PLACE_HEIGHT_MASK) >> PLACE_HEIGHT_SHIFT);
        span.first = word & ~PLACE_HEIGHT_MASK;
        span.last = span.first | (pgtable_span(table, height + 1) - 1);
        empty_forget(table, slots);
        if (table->recent.slots == slots) {
            pgtable_forget_recent(table);
        }
        tables_push(&detached, slots, cut_link(table, height, span.first));
        gather_add(gather, span.first, span.last);
        piommu_empty_block_(table, span, gather);
    }
    gather->tables = detached;
    piommu_host_barrier(table->host, PIOMMU_BARRIER_WRITE);
}

void piommu_pgtable_detach_empty(struct piommu_pgtable *table, struct piommu_gather *gather)
{
    if (!pgtable_is_disjoint(table) && piommu_empty_count_(table) > table->empty_tables_kept) {
        detach(table, table->empty_tables_kept, gather);
        return;
    }
    piommu_host_barrier(table->host, PIOMMU_BARRIER_WRITE);
}

void piommu_pgtable_trim(struct piommu_pgtable *table, struct piommu_gather *gather)
{
    if (!pgtable_is_disjoint(table)) {
        detach(table, 0, gather);
        return;
    }
    piommu_disjoint_trim_(table, gather);
    piommu_host_barrier(table->host, PIOMMU_BARRIER_WRITE);
}
