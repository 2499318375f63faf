/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_GATHER_H
#define PIOMMU_GATHER_H

/**
 * @file gather.h
 * What was unmapped but may still be usable by a device.
 *
 * An unmap removes a mapping from the tables, or marks it for removal, and notes it in a gather. A
 * sync of that gather makes the hardware forget it. Until that sync has returned success the pages
 * behind it must not be reused and its addresses must not be mapped again.
 *
 * A gather lives in memory of the caller (the stack will do), serves one domain or one page table,
 * is emptied by each successful sync, and must not be moved or dropped while it is not empty.
 */

#include <piommu/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Everything in it is private, except that `range` may be read while `pending` is true. */
struct piommu_gather {
    /** All that was removed lies in this range; it may contain live mappings too. */
    struct piommu_range range;
    /** Private: page tables that were detached and wait for the invalidation. */
    void *tables;
    /** Private: the first of the mapping records that wait to be removed. */
    void *first_record;
    /** Private: the last of them. */
    void *last_record;
    /**
     * Private: how many of them keep others from being put in their place: those of trim, and of an
     * exclusive table's piommu_pgtable_detach_empty.
     */
    uint32_t blocking;
    /** Something was removed and not yet synced. */
    bool pending;
};

/** Makes a gather empty. To be called before its first use. */
static inline void piommu_gather_init(struct piommu_gather *gather)
{
    const struct piommu_gather empty = {{0, 0}, 0, 0, 0, 0, false};

    *gather = empty;
}

/**
 * Whether page tables were detached into a gather. If so, the invalidation must reach walk caches,
 * and piommu_pgtable_release is called after it. If not, hardware that can may be told to forget
 * leaves alone, and the gather may be made empty by piommu_gather_init instead.
 */
static inline bool piommu_gather_has_tables(const struct piommu_gather *gather)
{
    return gather->tables != 0;
}

#ifdef __cplusplus
}
#endif

#endif
