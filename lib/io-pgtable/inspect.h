/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_LIB_IO_PGTABLE_INSPECT_H
#define PIOMMU_LIB_IO_PGTABLE_INSPECT_H

/* What the files that look into tables share. */

#include <piommu/io-pgtable-inspect.h>

#include "pgtable.h"

/* walk.c: decodes the descriptor that stands for `iova` in a table at `height`. */
void piommu_pgtable_decode_step_(const struct piommu_pgtable *table, unsigned int height,
                                 uint64_t table_physical, uint64_t iova, uint64_t descriptor,
                                 struct piommu_pgtable_step *step);

/* empty.c: tells whether the linked table at `height` that begins at iova is on the list. */
bool piommu_empty_is_noted_(const struct piommu_pgtable *table, descriptor_slot *slots,
                            unsigned int height, uint64_t iova);

/* leaf_check.c: what is wrong with the attribute bits of a leaf. */
struct piommu_leaf_problems {
    bool reserved_bits;
    bool access_flag;
    bool shareability;
    bool memory_type;
    bool execute_never;
    bool dirty_state;
    bool non_secure;
};

/* leaf.c: the bits of a leaf that hardware changes, if it notes accesses and writes. */
uint64_t piommu_pgtable_noted_bits_(void);

void piommu_pgtable_check_leaf_(const struct piommu_pgtable *table, uint64_t descriptor,
                                unsigned int height, struct piommu_leaf_problems *problems);

#endif
