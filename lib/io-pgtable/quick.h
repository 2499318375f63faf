/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_LIB_IO_PGTABLE_QUICK_H
#define PIOMMU_LIB_IO_PGTABLE_QUICK_H

/*
 * The short way down, which map, unmap and lookup take where table->quick_sizes is not 0. For
 * single pages, where the way is what counts, it is made once for each granule, with constant
 * shifts: a level then costs about a dozen instructions on x86-64, and half as much again without.
 */

#include "pgtable.h"

/* Slots in a cache line of 64 bytes: what most CPUs have, and what is looked at in one go. */
#define SLOTS_AT_ONCE 8u

#define ALWAYS_INLINE __attribute__((always_inline)) static inline
#define NEVER_INLINE  __attribute__((noinline)) static

/* Whether a size is that of one leaf, and the short ways may be taken. */
static inline bool is_quick_leaf(const struct piommu_pgtable *table, uint64_t size)
{
    return (size & table->quick_sizes) != 0 && (size & (size - 1)) == 0;
}

/* Where a way down has ended: at the first descriptor that does not lead to a table. */
struct descent {
    descriptor_slot *slot;
    uint64_t descriptor;   /* its content */
    descriptor_slot *link; /* the slot that leads to its table; NULL in the root */
    uint64_t link_descriptor;
    unsigned int shift; /* log2 of what the slot spans */
};

/* Goes down one level, to slots of that shift; returns false if there is no table below. */
ALWAYS_INLINE bool descend_once(const struct piommu_pgtable *table, uint64_t iova,
                                unsigned int shift, unsigned int index_bits,
                                struct descent *descent)
{
    descriptor_slot *slots;

    if ((descent->descriptor & DESCRIPTOR_TYPE_MASK) != DESCRIPTOR_TABLE) {
        return false;
    }
    slots = (descriptor_slot *)((uintptr_t)(descent->descriptor & table->address_mask) +
                                table->virtual_offset);
    descent->link = descent->slot;
    descent->link_descriptor = descent->descriptor;
    descent->slot = &slots[(iova >> shift) & ((1u << index_bits) - 1)];
    descent->descriptor = descriptor_read(descent->slot);
    descent->shift = shift;
    return true;
}

ALWAYS_INLINE struct descent descend_quickly(const struct piommu_pgtable *table, uint64_t iova,
                                             unsigned int page_shift, unsigned int index_bits)
{
    struct descent descent = {.link = NULL, .shift = table->root_shift};

    descent.slot = &table->root[(iova >> descent.shift) & table->root_mask];
    descent.descriptor = descriptor_read(descent.slot);
    switch (table->root_height) {
    case 4:
        if (!descend_once(table, iova, page_shift + 3 * index_bits, index_bits, &descent)) {
            break;
        }
        /* fall through */
    case 3:
        if (!descend_once(table, iova, page_shift + 2 * index_bits, index_bits, &descent)) {
            break;
        }
        /* fall through */
    case 2:
        if (!descend_once(table, iova, page_shift + index_bits, index_bits, &descent)) {
            break;
        }
        /* fall through */
    case 1:
        descend_once(table, iova, page_shift, index_bits, &descent);
        break;
    default:
        break;
    }
    return descent;
}

/* The same with the shifts of the table: for runs of leaves and for blocks. */
static inline struct descent descend_any(const struct piommu_pgtable *table, uint64_t iova)
{
    return descend_quickly(table, iova, table->shift[0], table->index_bits);
}

static inline unsigned int descent_height(const struct piommu_pgtable *table,
                                          const struct descent *descent)
{
    return (descent->shift - table->shift[0]) / table->index_bits;
}

/* How many slots there are from the descent's to the end of its table. */
static inline uint64_t descent_slots(const struct piommu_pgtable *table, uint64_t iova,
                                     const struct descent *descent)
{
    uint64_t mask = descent->link != NULL ? pgtable_slots(table) - 1u : table->root_mask;

    return mask + 1 - ((iova >> descent->shift) & mask);
}

#endif
