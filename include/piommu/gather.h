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
    /** Something was removed and not yet synced. */
    bool pending;
    /** All that was removed lies in this range; it may contain live mappings too. */
    struct piommu_range range;
    /** Private: page tables that were detached and wait for the invalidation. */
    void *tables;
    /** Private: the first and the last of the mapping records that wait to be removed. */
    void *first_record;
    void *last_record;
};

/** Makes a gather empty. To be called before its first use. */
static inline void piommu_gather_init(struct piommu_gather *gather)
{
    gather->pending = false;
    gather->range.first = 0;
    gather->range.last = 0;
    gather->tables = 0;
    gather->first_record = 0;
    gather->last_record = 0;
}

#ifdef __cplusplus
}
#endif

#endif
