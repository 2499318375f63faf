/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "pgtable.h"

/* A root smaller than this could not be pointed at: the register's low bits mean something else. */
#define MIN_ROOT_SIZE 64u

static size_t root_size(const struct piommu_pgtable *table)
{
    size_t size = table->root_slots * sizeof(descriptor_slot);

    return size < MIN_ROOT_SIZE ? MIN_ROOT_SIZE : size;
}

static int take_root(struct piommu_pgtable *table)
{
    size_t size = root_size(table);
    struct piommu_dma_request request = {.size = size,
                                         .alignment = size,
                                         .max_physical = table->max_table,
                                         .purpose = PIOMMU_DMA_TABLE,
                                         .owner = table->owner};
    uint64_t physical;

    table->root = table->host.os->dma_alloc(table->host.ctx, &request, &physical);
    if (table->root == NULL) {
        return -PIOMMU_ENOMEM;
    }
    if (((physical | (uintptr_t)table->root) & (size - 1)) != 0 || physical > table->max_table ||
        table->max_table - physical < size - 1) {
        table->host.os->dma_free(table->host.ctx, table->root, size);
        return -PIOMMU_EINVAL;
    }
    memset(table->root, 0, size);
    table->virtual_offset = (uintptr_t)table->root - (uintptr_t)physical;
    table->info.root_size = size;
    piommu_pgtable_set_root_(table, physical);
    pgtable_clean(table, table->root, size / sizeof(*table->root));
    piommu_host_barrier(table->host, PIOMMU_BARRIER_WRITE);
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
    error = piommu_host_check_(host, PIOMMU_OS_NEED_BASE |
                                         (config->coherent_walk ? 0u : PIOMMU_OS_NEED_CLEAN));
    if (error != 0) {
        return error;
    }
    table = piommu_host_alloc(host, sizeof(*table));
    if (table == NULL) {
        return -PIOMMU_ENOMEM;
    }
    table->host = host;
    table->linear = host.os->dma_virtual == NULL;
    table->coherent_walk = config->coherent_walk;
    table->owner = config->owner;
    table->empty_tables_kept = config->empty_tables_kept;
    error = piommu_pgtable_set_format_(table, config);
    if (error == 0) {
        error = take_root(table);
    }
    if (error != 0) {
        piommu_host_free(host, table, sizeof(*table));
        return error;
    }
    *result = table;
    return 0;
}

/*
 * Frees every table below the root, children first, by a walk that remembers its place per level.
 */
static void free_tables(struct piommu_pgtable *table)
{
    descriptor_slot *tables[LEVELS];
    uint32_t index[LEVELS] = {0};
    unsigned int level = table->start_level;

    tables[level] = table->root;
    for (;;) {
        uint64_t descriptor;

        if (level == LAST_LEVEL || index[level] == pgtable_slots(table, level)) {
            if (level == table->start_level) {
                return;
            }
            piommu_tables_give_one_(table, tables[level]);
            level--;
            index[level]++;
            continue;
        }
        descriptor = descriptor_read(&tables[level][index[level]]);
        if (descriptor_is_table(descriptor, level)) {
            level++;
            tables[level] = pgtable_next(table, descriptor);
            index[level] = 0;
        } else {
            index[level]++;
        }
    }
}

void piommu_pgtable_destroy(struct piommu_pgtable *table)
{
    if (table == NULL) {
        return;
    }
    free_tables(table);
    table->host.os->dma_free(table->host.ctx, table->root, table->info.root_size);
    piommu_host_free(table->host, table, sizeof(*table));
}

void piommu_pgtable_get_info(const struct piommu_pgtable *table, struct piommu_pgtable_info *info)
{
    *info = table->info;
}

void piommu_pgtable_get_statistics(const struct piommu_pgtable *table,
                                   struct piommu_pgtable_statistics *statistics)
{
    *statistics = table->statistics;
}
