/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* What can be wrong with the attributes of a leaf; an object of its own for verify.c. */

#include "attributes.h"
#include "inspect.h"

static bool stage2_memory_is_reserved(const struct piommu_pgtable *table, uint64_t kind)
{
    if ((table->info.flags & PIOMMU_PGTABLE_FORCE_WRITE_BACK) != 0) {
        return kind == 4 || kind > 7;
    }
    return kind > 3 && (kind & 3) == 0; /* inner cacheability 00 of normal memory */
}

/* Attribute bits that mean something in leaves of this format. */
static uint64_t known_bits(const struct piommu_pgtable *table)
{
    uint64_t bits = LEAF_SHAREABILITY_MASK | LEAF_ACCESS_FLAG | DESCRIPTOR_CONTIGUOUS |
                    LEAF_SOFTWARE_MASK | LEAF_SOFTWARE_SPARE;

    if (!pgtable_is_32bit(table)) {
        bits |= LEAF_DIRTY_MODIFIER;
    }
    if (pgtable_is_stage1(table)) {
        return bits | LEAF_S1_MEMORY_MASK | LEAF_S1_NON_SECURE | LEAF_S1_UNPRIVILEGED |
               LEAF_S1_READ_ONLY | LEAF_S1_NOT_GLOBAL | LEAF_S1_PRIVILEGED_NO_EXEC |
               LEAF_S1_NO_EXEC;
    }
    return bits | LEAF_S2_MEMORY_MASK | LEAF_S2_READ | LEAF_S2_WRITE | LEAF_S2_EXEC_MASK;
}

void piommu_pgtable_check_leaf_(const struct piommu_pgtable *table, uint64_t descriptor,
                                unsigned int height, struct piommu_leaf_problems *problems)
{
    /* A leaf's address field begins at its size; what lies below, down to the page, is reserved. */
    uint64_t address = table->address_mask & ~(pgtable_span(table, height) - 1);
    uint64_t shareability = (descriptor & LEAF_SHAREABILITY_MASK) >> LEAF_SHAREABILITY_SHIFT;

    problems->reserved_bits = (descriptor & ~(address | table->address_fold | known_bits(table) |
                                              DESCRIPTOR_TYPE_MASK)) != 0;
    problems->access_flag =
        !piommu_pgtable_is_accessed_(descriptor) && (table->info.flags & PIOMMU_PGTABLE_DIRTY) == 0;
    problems->shareability = !leaves_share_alike(table) && shareability == 1;
    problems->dirty_state = piommu_pgtable_is_tracked_(descriptor) && !pgtable_is_32bit(table) &&
                            (table->info.flags & PIOMMU_PGTABLE_DIRTY) == 0;
    if (pgtable_is_stage1(table)) {
        bool non_secure = (descriptor & LEAF_S1_NON_SECURE) != 0;

        problems->memory_type =
            ((descriptor & LEAF_S1_MEMORY_MASK) >> LEAF_S1_MEMORY_SHIFT) > S1_DEVICE;
        problems->execute_never = false;
        problems->non_secure = non_secure != ((table->info.flags & PIOMMU_PGTABLE_NON_SECURE) != 0);
    } else {
        problems->memory_type = stage2_memory_is_reserved(
            table, (descriptor & LEAF_S2_MEMORY_MASK) >> LEAF_S2_MEMORY_SHIFT);
        /* Without FEAT_XNX the lower bit has no meaning, whatever it seems to forbid. */
        problems->execute_never = (descriptor & LEAF_S2_EXEC_UNPRIVILEGED) != 0 &&
                                  (table->info.flags & PIOMMU_PGTABLE_XNX) == 0;
        problems->non_secure = false;
    }
}
