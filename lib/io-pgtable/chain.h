/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_LIB_IO_PGTABLE_CHAIN_H
#define PIOMMU_LIB_IO_PGTABLE_CHAIN_H

/* Tables that nothing links to, chained through their first words; see tables.c. */

#include "pgtable.h"

/* Words of a table on a chain. */
#define CHAIN_NEXT     0
#define CHAIN_PHYSICAL 1 /* and CHAIN_DIRTY if the rest is not zero */

#define CHAIN_DIRTY 2ull

static inline void chain_write_pointer(descriptor_slot *slots, unsigned int word,
                                       descriptor_slot *pointer)
{
    descriptor_write(&slots[word], (uint64_t)(uintptr_t)pointer);
}

static inline descriptor_slot *chain_read_pointer(descriptor_slot *slots, unsigned int word)
{
    return (descriptor_slot *)(uintptr_t)descriptor_read(&slots[word]);
}

static inline descriptor_slot *chain_next(descriptor_slot *slots)
{
    return chain_read_pointer(slots, CHAIN_NEXT);
}

static inline void chain_push(descriptor_slot **chain, descriptor_slot *slots)
{
    chain_write_pointer(slots, CHAIN_NEXT, *chain);
    *chain = slots;
}

static inline descriptor_slot *chain_pop(descriptor_slot **chain)
{
    descriptor_slot *slots = *chain;

    *chain = chain_next(slots);
    return slots;
}

/* The list of linked, empty tables goes through their first words, too; see empty.c. */

/* Words of a table on that list. */
#define EMPTY_NEXT     0 /* newer */
#define EMPTY_PREVIOUS 1 /* older */
#define EMPTY_PLACE    2 /* first input address, with the height in bits 3:1 */

#define PLACE_HEIGHT_SHIFT 1
#define PLACE_HEIGHT_MASK  0xeull

/* empty.c: takes a linked, empty table off the list, behind which the last one is not yet. */
void piommu_empty_unlist_(struct piommu_pgtable *table, descriptor_slot *slots);

/* Forgets that a linked table is empty, since it is about to be filled or detached. */
static inline void empty_forget(struct piommu_pgtable *table, descriptor_slot *slots)
{
    if (slots == table->empty.last) {
        table->empty.last = NULL;
    } else {
        piommu_empty_unlist_(table, slots);
    }
}

/* empty.c: puts the table that became empty last on the list, to make place for the next. */
void piommu_empty_list_last_(struct piommu_pgtable *table);

/* Notes that the linked table at `height` that covers iova has become empty. */
static inline void empty_note(struct piommu_pgtable *table, descriptor_slot *slots,
                              unsigned int height, uint64_t iova)
{
    if (table->empty.last != NULL) {
        piommu_empty_list_last_(table);
    }
    table->empty.last = slots;
    table->empty.last_height = height;
    table->empty.last_iova = iova;
}

/*
 * Prepares the table below a link for being filled, whatever the kind of the table: to be done
 * before anything is stored there.
 */
static inline void link_prepare(struct piommu_pgtable *table, descriptor_slot *link,
                                uint64_t descriptor)
{
    if (pgtable_is_disjoint(table)) {
        if (!descriptor_links_in_use(descriptor)) {
            (void)piommu_disjoint_prepare_(table, link, descriptor);
        }
    } else if (descriptor_links_empty(descriptor)) {
        empty_forget(table, pgtable_next(table, descriptor));
    }
}

/* Puts a table, zero but for its first words, in front of a chain. */
static inline void tables_push(descriptor_slot **chain, descriptor_slot *slots, uint64_t physical)
{
    descriptor_write(&slots[CHAIN_PHYSICAL], physical);
    chain_push(chain, slots);
}

#endif
