/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_LIB_IO_PGTABLE_CHAIN_H
#define PIOMMU_LIB_IO_PGTABLE_CHAIN_H

/* Tables that nothing links to, chained through their first words; see tables.c. */

#include "pgtable.h"

/* Words of a table on a chain. */
#define CHAIN_NEXT     0
#define CHAIN_PHYSICAL 1

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

/* Takes a linked, empty table off the list, since it is about to be filled or detached. */
static inline void empty_forget(struct piommu_pgtable *table, descriptor_slot *slots)
{
    descriptor_slot *next = chain_read_pointer(slots, EMPTY_NEXT);
    descriptor_slot *previous = chain_read_pointer(slots, EMPTY_PREVIOUS);

    if (next != NULL) {
        chain_write_pointer(next, EMPTY_PREVIOUS, previous);
    } else {
        table->newest_empty = previous;
    }
    if (previous != NULL) {
        chain_write_pointer(previous, EMPTY_NEXT, next);
    } else {
        table->oldest_empty = next;
    }
    descriptor_write(&slots[EMPTY_NEXT], 0);
    descriptor_write(&slots[EMPTY_PREVIOUS], 0);
    descriptor_write(&slots[EMPTY_PLACE], 0);
    table->statistics.tables_empty--;
}

#endif
