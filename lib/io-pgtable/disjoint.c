/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * What disjoint tables do otherwise, where calls on different ranges run at the same time.
 *
 * Leaves need nothing: a slot that holds one, or will, belongs to one range, and so to one call. A
 * table that lies wholly inside a call's range belongs to that call, too. What is shared is the
 * tables on the edges of ranges, and all above: they are linked by compare-and-swap and never taken
 * out while other calls run.
 */

#include "pgtable.h"

#include "../base/gather.h"
#include "chain.h"

#if HAS_DISJOINT

bool piommu_disjoint_install_(struct piommu_pgtable *table, descriptor_slot *slot,
                              descriptor_slot *slots, uint64_t physical)
{
    uint32_t state = table->coherent_walk ? LINK_IN_USE : LINK_UNCLEAN;
    uint64_t descriptor =
        descriptor_with_count(pgtable_encode(table, physical) | table->link_attributes, state);

    pgtable_clean(table, slots, pgtable_slots(table));
    piommu_host_barrier(table->host, PIOMMU_BARRIER_WRITE);
    if (!descriptor_exchange(slot, 0, descriptor)) {
        return false;
    }
    if (state == LINK_UNCLEAN) {
        return piommu_disjoint_prepare_(table, slot, descriptor);
    }
    return true;
}

bool piommu_disjoint_prepare_(struct piommu_pgtable *table, descriptor_slot *slot, uint64_t link)
{
    uint64_t ready = descriptor_with_count(link, LINK_IN_USE);

    if (descriptor_links_empty(link)) {
        /* Of several that begin to fill the table, one counts. */
        if (descriptor_exchange(slot, link, ready)) {
            counter_subtract(table, &table->tables_empty, 1);
        }
        return true;
    }
    /*
     * LINK_UNCLEAN: whoever has linked the table may not have come to cleaning the link yet, but
     * what is mapped by this call must be reachable when it returns. So everyone cleans it who
     * finds it like this, and then says so. Nobody changes a link to a table that others fill in
     * any other way, so a store will do.
     *
     * It is enough to look at the lowest link on a way: a table is linked only by someone who has
     * made all links above it ready.
     */
    pgtable_clean(table, slot, 1);
    piommu_host_barrier(table->host, PIOMMU_BARRIER_WRITE);
    descriptor_write_link(slot, ready);
    return true;
}

/* Counts one more empty table that stays linked, if the quota allows that. */
static bool keep_one(struct piommu_pgtable *table)
{
    uint64_t kept = counter_read(&table->tables_empty);

    while (kept < table->empty_tables_kept) {
        if (atomic_compare_exchange_strong_explicit(&table->tables_empty, &kept, kept + 1,
                                                    memory_order_relaxed, memory_order_relaxed)) {
            return true;
        }
    }
    return false;
}

/* Cuts the link to an empty table; true. */
static bool detach(struct piommu_pgtable *table, descriptor_slot *slot,
                   const struct piommu_range *span, struct piommu_gather *gather)
{
    uint64_t descriptor = descriptor_read(slot);
    descriptor_slot *detached = gather->tables;

    descriptor_write(slot, 0);
    pgtable_clean(table, slot, 1);
    tables_push(&detached, pgtable_next(table, descriptor), pgtable_decode(table, descriptor));
    gather->tables = detached;
    gather_add(gather, span->first, span->last);
    return true;
}

bool piommu_disjoint_emptied_(struct piommu_pgtable *table, descriptor_slot *slot,
                              const struct piommu_range *span, struct piommu_gather *gather)
{
    if (keep_one(table)) {
        descriptor_write_link(slot, descriptor_with_count(descriptor_read(slot), LINK_IDLE));
        return false;
    }
    return detach(table, slot, span, gather);
}

static bool is_all_zero(const struct piommu_pgtable *table, descriptor_slot *slots)
{
    uint32_t i = 0;

    while (i < pgtable_slots(table) && descriptor_raw(&slots[i]) == 0) {
        i++;
    }
    return i == pgtable_slots(table);
}

void piommu_disjoint_leave_(struct path *path, struct removal *removal)
{
    unsigned int height = path->height++;
    const struct piommu_range span = path_span(path, height);
    bool kept = removal->kept[height];

    removal->kept[height] = false;
    /* Where the range does not contain the table, it does not contain those above either. */
    if (removal->gather == NULL || !path_owns(path, height)) {
        return;
    }
    /* What an earlier portion has left in it was not seen on this way. */
    if (span.first < removal->begin) {
        kept = kept || !is_all_zero(path->table, path->tables[height]);
    }
    if (!kept && !removal->found) {
        removal->passed = true;
        kept = true;
    }
    if (!kept) {
        kept = !piommu_disjoint_emptied_(path->table, path_slot(path), &span, removal->gather);
    }
    removal->kept[path->height] |= kept;
}

/* The slot at `height` for iova, or, where the way ends above, that one. */
static descriptor_slot *find_slot(const struct piommu_pgtable *table, uint64_t iova,
                                  unsigned int *height)
{
    unsigned int wanted = *height;
    descriptor_slot *slots = table->root;

    *height = table->root_height;
    for (;;) {
        descriptor_slot *slot = &slots[pgtable_index(table, *height, iova)];
        uint64_t descriptor = descriptor_read_link(slot);

        if (*height == wanted || !descriptor_is_table(descriptor, *height)) {
            return slot;
        }
        slots = pgtable_next(table, descriptor);
        (*height)--;
    }
}

/* Detaches the empty ones of the tables whose links are at `height`. */
static void trim_height(struct piommu_pgtable *table, unsigned int wanted,
                        struct piommu_gather *gather)
{
    uint64_t iova = table->aperture.first;

    for (;;) {
        unsigned int height = wanted;
        descriptor_slot *slot = find_slot(table, iova, &height);
        uint64_t descriptor = descriptor_read(slot);
        struct piommu_range span = {.first = iova,
                                    .last = iova | (pgtable_span(table, height) - 1)};

        if (descriptor_is_table(descriptor, height) &&
            is_all_zero(table, pgtable_next(table, descriptor))) {
            if (descriptor_links_empty(descriptor)) {
                counter_subtract(table, &table->tables_empty, 1);
            }
            (void)detach(table, slot, &span, gather);
            piommu_empty_block_(table, span, gather);
        }
        if (span.last >= table->aperture.last) {
            break;
        }
        iova = span.last + 1;
    }
}

void piommu_disjoint_trim_(struct piommu_pgtable *table, struct piommu_gather *gather)
{
    for (unsigned int height = 1; height <= table->root_height; height++) {
        trim_height(table, height, gather);
    }
}

#endif
