/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Changing permissions in place. The architecture asks for no break-before-make if nothing but
 * permissions and software bits change. Source: Arm ARM, "Using break-before-make when updating
 * translation table entries".
 */

#include "pgtable.h"

#include "../base/gather.h"

/* The leaf with new access bits. What hardware has noted about writes is kept. */
static uint64_t with_access(const struct piommu_pgtable *table, uint64_t old, uint64_t access)
{
    uint64_t mask = piommu_pgtable_access_mask_(table);
    uint64_t plain = (piommu_pgtable_untracked_(table, old) & ~mask) | access;

    if ((table->info.flags & PIOMMU_PGTABLE_DIRTY) == 0 ||
        !(table->tracking || piommu_pgtable_is_tracked_(old))) {
        return plain;
    }
    return piommu_pgtable_is_dirty_(table, old) ? piommu_pgtable_tracked_dirty_(table, plain)
                                                : piommu_pgtable_tracked_(table, plain);
}

/* Changes one leaf; returns whether it was not so before. */
static bool change(const struct piommu_pgtable *table, descriptor_slot *slot, uint64_t access)
{
    for (;;) {
        uint64_t old = descriptor_read(slot);
        uint64_t descriptor = with_access(table, old, access);

        if (descriptor == old) {
            return false;
        }
#if DESCRIPTOR_ATOMIC
        /* Hardware may be noting a write at this very moment. */
        if (piommu_pgtable_is_tracked_(old)) {
            if (descriptor_exchange(slot, old, descriptor)) {
                return true;
            }
            continue;
        }
#endif
        descriptor_change(slot, descriptor,
                          !piommu_pgtable_allows_write_(table, old) &&
                              piommu_pgtable_allows_write_(table, descriptor));
        return true;
    }
}

/* Changes leaves side by side, from the scan's on; returns how many there are. */
static uint32_t change_run(const struct scan *scan, uint64_t access, struct piommu_gather *gather)
{
    const struct piommu_pgtable *table = scan->table;
    unsigned int height = scan->height;
    descriptor_slot *slots = scan_slot(scan);
    uint32_t limit = table->index_mask[height] - pgtable_index(table, height, scan->iova) + 1;
    uint64_t wanted = ((scan->last - scan->iova) >> table->shift[height]) + 1;
    uint32_t first = UINT32_MAX; /* of those that changed */
    uint32_t behind = 0;         /* the last of those */
    uint32_t count = 0;

    if (wanted < limit) {
        limit = (uint32_t)wanted;
    }
    while (count < limit && pgtable_is_leaf(table, descriptor_read(&slots[count]), height)) {
        if (change(table, &slots[count], access)) {
            first = count < first ? count : first;
            behind = count + 1;
        }
        count++;
    }
    if (behind != 0) {
        pgtable_clean(table, &slots[first], behind - first);
        gather_add(gather, scan->iova + ((uint64_t)first << table->shift[height]),
                   scan->iova + (((uint64_t)behind << table->shift[height]) - 1));
    }
    return count;
}

int piommu_pgtable_protect(struct piommu_pgtable *table, uint64_t iova, uint64_t size,
                           piommu_prot prot, struct piommu_gather *gather, uint64_t *changed)
{
    const piommu_prot rights = PIOMMU_PROT_READ | PIOMMU_PROT_WRITE | PIOMMU_PROT_EXECUTE_ALL;
    uint64_t last = iova + (size - 1);
    uint64_t access;
    struct scan scan;
    int error;

    *changed = 0;
    error = piommu_pgtable_check_range_(table, iova, size);
    if ((prot & ~(PIOMMU_PROT_ACCESS | PIOMMU_PROT_SOFTWARE_MASK)) != 0 || (prot & rights) == 0) {
        error = -PIOMMU_EINVAL;
    }
    if (error != 0) {
        return error;
    }
    access = table->access_attributes[prot & PIOMMU_PROT_ACCESS];
    if (access == 0 || table->adopted) {
        return -PIOMMU_EOPNOTSUPP;
    }
    if (piommu_pgtable_cuts_(table, iova, last)) {
        return -PIOMMU_ECUT;
    }
    access |= (uint64_t)(prot & PIOMMU_PROT_SOFTWARE_MASK) << LEAF_SOFTWARE_SHIFT;
    piommu_scan_begin_(&scan, table, iova, last);
    while (piommu_scan_next_(&scan)) {
        uint32_t count = change_run(&scan, access, gather);

        *changed += (uint64_t)count << table->shift[scan.height];
        scan.iova += ((uint64_t)count - 1) << table->shift[scan.height];
        piommu_scan_skip_(&scan);
    }
    piommu_host_barrier(table->host, PIOMMU_BARRIER_WRITE);
    return *changed != 0 ? 0 : -PIOMMU_ENOENT;
}
