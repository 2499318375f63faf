/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_LIB_IO_PGTABLE_QUICK_H
#define PIOMMU_LIB_IO_PGTABLE_QUICK_H

/*
 * The short way down, which map, unmap and lookup take where table->quick_sizes is not 0. For
 * single pages, where the way is what counts, it is made once for each granule, with constant
 * shifts.
 */

#include "pgtable.h"

#include "../base/compiler.h"
#include "options.h"

/* Slots in a cache line of 64 bytes: what most CPUs have, and what is looked at in one go. */
#define SLOTS_AT_ONCE 8u

/* Whether a size is that of a page of that granule, and the short ways may be taken. */
static ALWAYS_INLINE bool is_quick_page(const struct piommu_pgtable *table, uint64_t size,
                                        uint32_t granule)
{
    return PIOMMU_PGTABLE_WITH_SHORT_WAYS && built_with_granule(granule) && size == granule &&
           table->quick_page == granule;
}

/* Whether the short ways may be taken in a table of that granule with a root of that height. */
static ALWAYS_INLINE bool is_quick_way(const struct piommu_pgtable *table, uint32_t granule,
                                       unsigned int root_height)
{
    return PIOMMU_PGTABLE_WITH_SHORT_WAYS && built_with_granule(granule) &&
           table->quick_way == (granule | root_height);
}

/* Whether a size may be that of a run of leaves, and the short ways may be taken. */
static ALWAYS_INLINE bool is_quick_run(const struct piommu_pgtable *table, uint64_t size)
{
    return PIOMMU_PGTABLE_WITH_SHORT_WAYS && table->quick_sizes != 0 && size != 0;
}

/* Where a way down has ended. The link is as it was on the way. */
struct descent {
    descriptor_slot *slot;
    descriptor_slot *link; /* the slot that leads to its table; NULL in the root */
    uint64_t link_descriptor;
    unsigned int height;
};

/*
 * Whether a descriptor has both type bits set, as links above the pages have, and pages: asked so
 * that it costs an instruction less.
 */
static ALWAYS_INLINE bool has_both_type_bits(uint64_t descriptor)
{
    return (((uint32_t)descriptor + 1) & DESCRIPTOR_TYPE_MASK) == 0;
}

/* The table that a descriptor leads to, in a table for which the short ways are. */
static ALWAYS_INLINE descriptor_slot *quick_next(const struct piommu_pgtable *table,
                                                 uint64_t descriptor)
{
    return (descriptor_slot *)((uintptr_t)(descriptor & table->address_mask) +
                               table->virtual_offset);
}

/* Follows the link that the descent stands at to the next one; returns false if there is none. */
static ALWAYS_INLINE bool follow(const struct piommu_pgtable *table, uint64_t iova,
                                 unsigned int shift, unsigned int index_bits,
                                 struct descent *descent)
{
    descriptor_slot *slots = quick_next(table, descent->link_descriptor);

    if (UNLIKELY(!has_both_type_bits(descent->link_descriptor))) {
        return false;
    }
    descent->link = &slots[(iova >> shift) & ((1u << index_bits) - 1)];
    descent->link_descriptor = descriptor_read_link(descent->link);
    return true;
}

/*
 * Goes down to the slot of a page; returns false if there is no table that has it, or if the
 * address is outside of the aperture, which the slots of the root span exactly.
 */
static ALWAYS_INLINE bool descend_to_page(const struct piommu_pgtable *table, uint64_t iova,
                                          unsigned int page_shift, unsigned int index_bits,
                                          unsigned int root_height, struct descent *descent)
{
    uint64_t root_index = (iova - table->aperture.first) >> table->root_shift;
    descriptor_slot *slots;

    if (UNLIKELY(root_index > table->root_mask)) {
        return false;
    }
    descent->link = &table->root[root_index];
    descent->link_descriptor = descriptor_read_link(descent->link);
    switch (root_height) {
    /* 4 would be 52 bits of input with a small granule, for which the short ways are not. */
    case 3:
        if (!follow(table, iova, page_shift + 2 * index_bits, index_bits, descent)) {
            return false;
        }
        /* fall through */
    case 2:
        if (!follow(table, iova, page_shift + index_bits, index_bits, descent)) {
            return false;
        }
        /* fall through */
    case 1:
        break;
    default:
        return false;
    }
    if (UNLIKELY(!has_both_type_bits(descent->link_descriptor))) {
        return false;
    }
    slots = quick_next(table, descent->link_descriptor);
    descent->slot = &slots[(iova >> page_shift) & ((1u << index_bits) - 1)];
    return true;
}

/*
 * Does the same for a change, in an exclusive table with the table's own walk cache of one entry:
 * what is mapped and unmapped is mostly near to what was so before. In a disjoint table several
 * CPUs would write that entry at once, and one of them would find the halves of two; so there it
 * stays empty.
 */
static ALWAYS_INLINE bool find_page(struct piommu_pgtable *table, uint64_t iova,
                                    unsigned int page_shift, unsigned int index_bits,
                                    struct descent *descent)
{
    uint64_t index = (iova >> page_shift) & ((1u << index_bits) - 1);
    uint64_t tag = iova >> (page_shift + index_bits);

    if (tag == table->recent.tag) {
        descent->link = table->recent.link;
        descent->link_descriptor = descriptor_read(descent->link);
        descent->slot = &table->recent.slots[index];
        return true;
    }
    if (!descend_to_page(table, iova, page_shift, index_bits, table->root_height, descent)) {
        return false;
    }
    if (!pgtable_is_disjoint(table)) {
        table->recent.tag = tag;
        table->recent.link = descent->link;
        table->recent.slots = descent->slot - index;
    }
    return true;
}

/* Goes down to the first descriptor that does not lead to a table, and returns it. */
static inline uint64_t descend_to_leaf(const struct piommu_pgtable *table, uint64_t iova,
                                       struct descent *descent)
{
    unsigned int shift = table->root_shift;
    uint64_t descriptor;

    descent->link = NULL;
    descent->link_descriptor = 0;
    descent->height = table->root_height;
    descent->slot = &table->root[(iova >> shift) & table->root_mask];
    descriptor = descriptor_read_link(descent->slot);
    while (descriptor_is_table(descriptor, descent->height)) {
        descent->link = descent->slot;
        descent->link_descriptor = descriptor;
        descent->height--;
        shift -= table->index_bits;
        descent->slot = &quick_next(table, descriptor)[(iova >> shift) & table->index_mask[0]];
        descriptor = descriptor_read_link(descent->slot);
    }
    return descriptor;
}

/* How many slots there are from the descent's to the end of its table. */
static inline uint64_t descent_slots(const struct piommu_pgtable *table, uint64_t iova,
                                     const struct descent *descent)
{
    return table->index_mask[descent->height] + 1u - pgtable_index(table, descent->height, iova);
}

#endif
