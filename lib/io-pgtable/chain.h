/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_LIB_IO_PGTABLE_CHAIN_H
#define PIOMMU_LIB_IO_PGTABLE_CHAIN_H

/* Tables that nothing links to, chained through their first words; see tables.c. */

#include "descriptor.h"

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

#endif
