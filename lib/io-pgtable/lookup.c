/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "pgtable.h"

uint64_t piommu_pgtable_find_leaf_(const struct piommu_pgtable *table, uint64_t iova,
                                   unsigned int *level)
{
    descriptor_slot *slots = table->root;

    for (*level = table->start_level;; (*level)++) {
        uint64_t descriptor = descriptor_read(&slots[pgtable_index(table, *level, iova)]);

        if (!descriptor_is_table(descriptor, *level)) {
            return descriptor_is_leaf(descriptor, *level) ? descriptor : 0;
        }
        slots = pgtable_next(table, descriptor);
    }
}

static void describe(const struct piommu_pgtable *table, uint64_t descriptor, unsigned int level,
                     uint64_t iova, struct piommu_translation *result)
{
    uint64_t offset_mask = pgtable_span(table, level) - 1;

    result->physical = (descriptor & DESCRIPTOR_ADDRESS & ~offset_mask) | (iova & offset_mask);
    result->leaf_size = offset_mask + 1;
    result->prot = piommu_pgtable_leaf_prot_(table, descriptor);
}

int piommu_pgtable_lookup(struct piommu_pgtable *table, uint64_t iova,
                          struct piommu_translation *result)
{
    unsigned int level;
    uint64_t descriptor;

    if (iova > table->last_input) {
        return -PIOMMU_ERANGE;
    }
    descriptor = piommu_pgtable_find_leaf_(table, iova, &level);
    if (descriptor == 0) {
        return -PIOMMU_ENOENT;
    }
    describe(table, descriptor, level, iova, result);
    return 0;
}

int piommu_pgtable_next_leaf(struct piommu_pgtable *table, uint64_t first, uint64_t last,
                             uint64_t *found, struct piommu_translation *result)
{
    if (last > table->last_input) {
        last = table->last_input;
    }
    while (first <= last) {
        unsigned int level;
        uint64_t descriptor = piommu_pgtable_find_leaf_(table, first, &level);
        uint64_t span_mask = pgtable_span(table, level) - 1;

        if (descriptor != 0) {
            *found = first & ~span_mask;
            describe(table, descriptor, level, *found, result);
            return 0;
        }
        first = (first | span_mask) + 1;
    }
    return -PIOMMU_ENOENT;
}
