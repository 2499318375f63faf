/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* The beginning of a table object, and what can be asked of one. */

#include "create.h"

/* Whether hardware can find a root there. */
static bool acceptable(const struct piommu_dma_request *request, const void *root,
                       uint64_t physical)
{
    return ((physical | (uintptr_t)root) & (request->alignment - 1)) == 0 &&
           physical <= request->max_physical - (request->size - 1);
}

static int take_root(struct piommu_pgtable *table, const struct piommu_pgtable_config *config)
{
    size_t size = root_memory(table);
    struct piommu_dma_request request = {.size = size,
                                         .alignment = size,
                                         .max_physical = table->last_output,
                                         .purpose = PIOMMU_DMA_TABLE,
                                         .owner = table->owner};
    uint64_t physical;

    if (config->root_alignment > size) {
        request.alignment = config->root_alignment;
    }
    if (config->root_bits != 0) {
        request.max_physical = (1ull << config->root_bits) - 1;
    }
    if (request.max_physical < size - 1) {
        return -PIOMMU_EINVAL;
    }
    table->root = table->host.os->dma_alloc(table->host.ctx, &request, &physical);
    if (table->root == NULL) {
        return -PIOMMU_ENOMEM;
    }
    if (!acceptable(&request, table->root, physical)) {
        table->host.os->dma_free(table->host.ctx, table->root, size);
        return -PIOMMU_EINVAL;
    }
    memset(table->root, 0, size);
    table->virtual_offset = (uintptr_t)table->root - (uintptr_t)physical;
    piommu_pgtable_set_root_(table, physical);
    pgtable_clean(table, table->root, size / sizeof(*table->root));
    piommu_host_barrier(table->host, PIOMMU_BARRIER_WRITE);
    return 0;
}

int piommu_pgtable_make_object_(struct piommu_host host, unsigned int needs,
                                const struct piommu_pgtable_config *config,
                                struct piommu_pgtable **result)
{
    struct piommu_pgtable *table;
    int error = piommu_host_check_(host, needs);

    if (error != 0) {
        return error;
    }
    table = piommu_host_alloc_(host, sizeof(*table));
    if (table == NULL) {
        return -PIOMMU_ENOMEM;
    }
    table->host = host;
    table->linear = host.os->dma_virtual == NULL;
    table->coherent_walk = config->coherent_walk;
    table->disjoint = (config->flags & PIOMMU_PGTABLE_DISJOINT) != 0;
    table->owner = config->owner;
    table->empty_tables_kept = config->empty_tables_kept;
    error = piommu_pgtable_set_format_(table, config);
    if (error != 0) {
        piommu_host_free_(host, table, sizeof(*table));
        return error;
    }
    *result = table;
    return 0;
}

int piommu_pgtable_create(struct piommu_host host, const struct piommu_pgtable_config *config,
                          struct piommu_pgtable **result)
{
    struct piommu_pgtable *table;
    int error;

    if (config == NULL || result == NULL) {
        return -PIOMMU_EINVAL;
    }
    error = piommu_pgtable_make_object_(
        host, PIOMMU_OS_NEED_BASE | (config->coherent_walk ? 0u : PIOMMU_OS_NEED_CLEAN), config,
        &table);
    if (error != 0) {
        return error;
    }
    error = take_root(table, config);
    if (error != 0) {
        piommu_host_free_(host, table, sizeof(*table));
        return error;
    }
    *result = table;
    return 0;
}

void piommu_pgtable_get_info(const struct piommu_pgtable *table, struct piommu_pgtable_info *info)
{
    *info = table->info;
}

void piommu_pgtable_get_statistics(const struct piommu_pgtable *table,
                                   struct piommu_pgtable_statistics *statistics)
{
    statistics->tables_allocated = counter_read(&table->tables_allocated);
    statistics->tables_freed = counter_read(&table->tables_freed);
    statistics->tables_empty = piommu_empty_count_(table);
    statistics->tables_reserved = table->tables_reserved;
    statistics->tables_spare = (uint32_t)counter_read(&table->tables_spare);
}
