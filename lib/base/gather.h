/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_LIB_BASE_GATHER_H
#define PIOMMU_LIB_BASE_GATHER_H

#include <piommu/gather.h>

/* Extends the gather's range over what was removed. */
static inline void gather_add(struct piommu_gather *gather, uint64_t first, uint64_t last)
{
    if (!gather->pending) {
        gather->pending = true;
        gather->range.first = first;
        gather->range.last = last;
        return;
    }
    if (first < gather->range.first) {
        gather->range.first = first;
    }
    if (last > gather->range.last) {
        gather->range.last = last;
    }
}

#endif
