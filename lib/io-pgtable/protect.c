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

#if DESCRIPTOR_ATOMIC

static bool needs_high_first(const struct piommu_pgtable *table, uint64_t old, uint64_t new)
{
    (void)table;
    (void)old;
    (void)new;
    return false;
}

#else

#define HIGH_HALF              (~0ull << 32)

/* What makes a leaf dangerous, for unprivileged and privileged transactions apart. */
#define MAY_EXECUTE            1u
#define MAY_EXECUTE_PRIVILEGED 2u
#define MAY_CHANGE             4u /* write what may be executed */
#define MAY_CHANGE_PRIVILEGED  8u

static unsigned int dangers(const struct piommu_pgtable *table, uint64_t descriptor)
{
    piommu_prot prot = pgtable_leaf_prot(table, descriptor);
    unsigned int found = 0;

    if ((prot & PIOMMU_PROT_EXECUTE) != 0) {
        found |= MAY_EXECUTE;
        if ((prot & PIOMMU_PROT_WRITE) != 0 && (prot & PIOMMU_PROT_PRIVILEGED) == 0) {
            found |= MAY_CHANGE;
        }
    }
    if ((prot & PIOMMU_PROT_EXECUTE_PRIVILEGED) != 0) {
        found |= MAY_EXECUTE_PRIVILEGED;
        if ((prot & PIOMMU_PROT_WRITE) != 0) {
            found |= MAY_CHANGE_PRIVILEGED;
        }
    }
    return found;
}

/*
 * The rights to execute are in the high half of a leaf, those to read and write, and whether they
 * are for privileged transactions alone, in the low one. The order of the two stores is such that
 * in between nothing is dangerous that is so neither before nor afterwards.
 */
static bool needs_high_first(const struct piommu_pgtable *table, uint64_t old, uint64_t new)
{
    uint64_t between = (old & HIGH_HALF) | (new & ~HIGH_HALF);

    return (dangers(table, between) & ~dangers(table, old) & ~dangers(table, new)) != 0;
}

#endif

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
        descriptor_change(slot, descriptor, needs_high_first(table, old, descriptor));
        return true;
    }
}

/*
 * Changes leaves side by side, from the scan's on, as far as its budget goes; returns how many. A
 * contiguous group is changed whole.
 */
static uint32_t change_run(struct scan *scan, uint64_t access, struct piommu_gather *gather)
{
    const struct piommu_pgtable *table = scan->table;
    unsigned int height = scan->height;
    descriptor_slot *slots = scan_slot(scan);
    uint32_t index = pgtable_index(table, height, scan->iova);
    uint32_t group_mask = (1u << table->group_shift[height]) - 1;
    uint32_t limit = table->index_mask[height] - index + 1;
    uint64_t wanted = ((scan->last - scan->iova) >> table->shift[height]) + 1;
    uint32_t first = UINT32_MAX; /* of those that changed */
    uint32_t behind = 0;         /* the last of those */
    uint32_t count = 0;

    if (wanted < limit) {
        limit = (uint32_t)wanted;
    }
    while (count < limit) {
        uint64_t descriptor = descriptor_read(&slots[count]);

        if (!pgtable_is_leaf(table, descriptor, height)) {
            break;
        }
        if (count != 0 &&
            ((descriptor & DESCRIPTOR_CONTIGUOUS) == 0 || ((index + count) & group_mask) == 0)) {
            if (scan->budget == 0) {
                break;
            }
            scan->budget--;
        }
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

/* Changes what the budget allows from where the cursor stands. */
static int protect(struct piommu_pgtable *table, uint64_t iova, uint64_t size, piommu_prot prot,
                   uint64_t budget, struct piommu_gather *gather,
                   struct piommu_pgtable_cursor *cursor)
{
    const piommu_prot rights = PIOMMU_PROT_READ | PIOMMU_PROT_WRITE | PIOMMU_PROT_EXECUTE_ALL;
    uint64_t last = iova + (size - 1);
    uint64_t access;
    struct scan scan;
    int error = piommu_pgtable_check_range_(table, iova, size);

    if ((prot & ~(PIOMMU_PROT_ACCESS | PIOMMU_PROT_SOFTWARE_MASK)) != 0 || (prot & rights) == 0) {
        error = -PIOMMU_EINVAL;
    }
    if (error != 0) {
        return error;
    }
    if (cursor->done >= size) {
        return -PIOMMU_EINVAL;
    }
    access = table->access_attributes[prot & PIOMMU_PROT_ACCESS];
    if (access == 0 || table->adopted) {
        return -PIOMMU_EOPNOTSUPP;
    }
    if (cursor->done == 0 && piommu_pgtable_cuts_(table, iova, last)) {
        return -PIOMMU_ECUT;
    }
    access |= (uint64_t)(prot & PIOMMU_PROT_SOFTWARE_MASK) << LEAF_SOFTWARE_SHIFT;
    piommu_scan_begin_(&scan, table, iova + cursor->done, last);
    scan.budget = budget;
    while (piommu_scan_next_(&scan)) {
        uint32_t count = change_run(&scan, access, gather);

        cursor->changed += (uint64_t)count << table->shift[scan.height];
        scan.iova += ((uint64_t)count - 1) << table->shift[scan.height];
        piommu_scan_skip_(&scan);
    }
    piommu_host_barrier(table->host, PIOMMU_BARRIER_WRITE);
    if (!scan.done) {
        cursor->done = scan.iova - iova;
        return -PIOMMU_EAGAIN;
    }
    cursor->done = size;
    return cursor->changed != 0 ? 0 : -PIOMMU_ENOENT;
}

int piommu_pgtable_protect(struct piommu_pgtable *table, uint64_t iova, uint64_t size,
                           piommu_prot prot, struct piommu_gather *gather, uint64_t *changed)
{
    struct piommu_pgtable_cursor cursor = {.done = 0};
    int error = protect(table, iova, size, prot, UINT64_MAX, gather, &cursor);

    *changed = cursor.changed;
    return error;
}

int piommu_pgtable_protect_some(struct piommu_pgtable *table, uint64_t iova, uint64_t size,
                                piommu_prot prot, uint32_t budget, struct piommu_gather *gather,
                                struct piommu_pgtable_cursor *cursor)
{
    return protect(table, iova, size, prot, budget != 0 ? budget : 1, gather, cursor);
}
