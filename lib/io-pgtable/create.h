/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_LIB_IO_PGTABLE_CREATE_H
#define PIOMMU_LIB_IO_PGTABLE_CREATE_H

/* The life of a table object: what its beginnings (create.c, adopt.c) and its end share. */

#include "pgtable.h"

/* A root smaller than this could not be pointed at: the register's low bits mean something else. */
#define MIN_ROOT_SIZE 64u

/* Bytes that the root takes; its alignment, too. */
static inline size_t root_memory(const struct piommu_pgtable *table)
{
    return table->info.root_size < MIN_ROOT_SIZE ? MIN_ROOT_SIZE : table->info.root_size;
}

/* create.c: makes the object without a root. */
int piommu_pgtable_make_object_(struct piommu_host host, unsigned int needs,
                                const struct piommu_pgtable_config *config,
                                struct piommu_pgtable **result);

#endif
