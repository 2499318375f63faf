/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Single leaves that exist: what hardware has noted in them, and how their permissions change.
 *
 * Dirty state. A leaf with the modifier set allows writing; as long as its permission bit says that
 * it does not, it is clean, and the walker changes that bit at the first write.
 *
 * Source: Arm ARM, "Hardware management of the dirty state".
 */

#include "attributes.h"
#include "inspect.h"

uint64_t piommu_pgtable_access_mask_(const struct piommu_pgtable *table)
{
    if (pgtable_is_stage1(table)) {
        return LEAF_S1_UNPRIVILEGED | LEAF_S1_READ_ONLY | LEAF_S1_NO_EXEC |
               LEAF_S1_PRIVILEGED_NO_EXEC | LEAF_SOFTWARE_MASK;
    }
    return LEAF_S2_READ | LEAF_S2_WRITE | LEAF_S2_EXEC_MASK | LEAF_SOFTWARE_MASK;
}

static uint64_t permission_to_write(const struct piommu_pgtable *table, uint64_t descriptor)
{
    return pgtable_is_stage1(table) ? ~descriptor & LEAF_S1_READ_ONLY : descriptor & LEAF_S2_WRITE;
}

uint64_t piommu_pgtable_tracked_(const struct piommu_pgtable *table, uint64_t descriptor)
{
    if (permission_to_write(table, descriptor) == 0) {
        return descriptor;
    }
    descriptor |= LEAF_DIRTY_MODIFIER;
    return pgtable_is_stage1(table) ? descriptor | LEAF_S1_READ_ONLY : descriptor & ~LEAF_S2_WRITE;
}

uint64_t piommu_pgtable_tracked_dirty_(const struct piommu_pgtable *table, uint64_t descriptor)
{
    return permission_to_write(table, descriptor) != 0 ? descriptor | LEAF_DIRTY_MODIFIER
                                                       : descriptor;
}

uint64_t piommu_pgtable_untracked_(const struct piommu_pgtable *table, uint64_t descriptor)
{
    if (!piommu_pgtable_is_tracked_(descriptor)) {
        return descriptor;
    }
    descriptor &= ~LEAF_DIRTY_MODIFIER;
    return pgtable_is_stage1(table) ? descriptor & ~LEAF_S1_READ_ONLY : descriptor | LEAF_S2_WRITE;
}

bool piommu_pgtable_is_tracked_(uint64_t descriptor)
{
    return (descriptor & LEAF_DIRTY_MODIFIER) != 0;
}

bool piommu_pgtable_is_dirty_(const struct piommu_pgtable *table, uint64_t descriptor)
{
    return piommu_pgtable_is_tracked_(descriptor) && permission_to_write(table, descriptor) != 0;
}

bool piommu_pgtable_is_accessed_(uint64_t descriptor)
{
    return (descriptor & LEAF_ACCESS_FLAG) != 0;
}

uint64_t piommu_pgtable_noted_bits_(void)
{
    return LEAF_ACCESS_FLAG | LEAF_WRITTEN;
}
