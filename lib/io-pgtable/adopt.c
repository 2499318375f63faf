/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* Tables that somebody else has made. */

#include "create.h"

#include <piommu/io-pgtable-inspect.h>

/* Whoever has built it may have used a root that is smaller than what this library takes. */
static bool root_fits(const struct piommu_pgtable *table, uint64_t root)
{
    return (root & (table->info.root_size - 1)) == 0 && root <= table->last_output &&
           table->last_output - root >= table->info.root_size - 1;
}

int piommu_pgtable_describe(struct piommu_host host, const struct piommu_pgtable_config *config,
                            uint64_t root, struct piommu_pgtable_info *info)
{
    struct piommu_pgtable *table;
    int error;

    if (config == NULL || info == NULL || host.os == NULL) {
        return -PIOMMU_EINVAL;
    }
    error = piommu_pgtable_make_object_(host, PIOMMU_OS_NEED_BASE, config, &table);
    if (error != 0) {
        return error;
    }
    if (root_fits(table, root)) {
        table->info.adopted = true;
        piommu_pgtable_set_root_(table, root);
        piommu_pgtable_get_info(table, info);
    } else {
        error = -PIOMMU_EINVAL;
    }
    piommu_host_free_(host, table, sizeof(*table));
    return error;
}

int piommu_pgtable_adopt(struct piommu_host host, const struct piommu_pgtable_config *config,
                         void *root, uint64_t root_physical, struct piommu_pgtable **result)
{
    struct piommu_pgtable_config wanted;
    struct piommu_pgtable *table;
    int error;

    if (config == NULL || root == NULL || result == NULL || host.os == NULL ||
        host.os->dma_virtual == NULL) {
        return -PIOMMU_EINVAL;
    }
    wanted = *config;
    wanted.leaf_sizes = 0;
    error = piommu_pgtable_make_object_(host, PIOMMU_OS_NEED_BASE, &wanted, &table);
    if (error != 0) {
        return error;
    }
    if (((uintptr_t)root & (table->info.root_size - 1)) != 0 || !root_fits(table, root_physical)) {
        piommu_host_free_(host, table, sizeof(*table));
        return -PIOMMU_EINVAL;
    }
    table->adopted = true;
    table->disjoint = false; /* whatever it is to its owner: here it does not change */
    table->quick_sizes = 0;
    table->quick_page = 0;
    table->quick_way = 0;
    table->info.adopted = true;
    table->root = root;
    piommu_pgtable_set_root_(table, root_physical);
    *result = table;
    return 0;
}
