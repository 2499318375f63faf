/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* The life of a table object. */

#include "pgtable.h"

#include <piommu/io-pgtable-inspect.h>

#include "chain.h"

/* A root smaller than this could not be pointed at: the register's low bits mean something else. */
#define MIN_ROOT_SIZE 64u

/* Bytes that the root takes; its alignment, too. */
static size_t root_memory(const struct piommu_pgtable *table)
{
    return table->info.root_size < MIN_ROOT_SIZE ? MIN_ROOT_SIZE : table->info.root_size;
}

/* Whether hardware can find a root there. */
static bool acceptable(const struct piommu_pgtable *table, const void *root, uint64_t physical)
{
    size_t size = root_memory(table);

    return ((physical | (uintptr_t)root) & (size - 1)) == 0 && physical <= table->last_output &&
           table->last_output - physical >= size - 1;
}

static int take_root(struct piommu_pgtable *table)
{
    size_t size = root_memory(table);
    struct piommu_dma_request request = {.size = size,
                                         .alignment = size,
                                         .max_physical = table->last_output,
                                         .purpose = PIOMMU_DMA_TABLE,
                                         .owner = table->owner};
    uint64_t physical;

    table->root = table->host.os->dma_alloc(table->host.ctx, &request, &physical);
    if (table->root == NULL) {
        return -PIOMMU_ENOMEM;
    }
    if (!acceptable(table, table->root, physical)) {
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

/* Makes the object without a root. */
static int make_object(struct piommu_host host, unsigned int needs,
                       const struct piommu_pgtable_config *config, struct piommu_pgtable **result)
{
    struct piommu_pgtable *table;
    int error = piommu_host_check_(host, needs);

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
    if (error != 0) {
        piommu_host_free(host, table, sizeof(*table));
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
    error =
        make_object(host, PIOMMU_OS_NEED_BASE | (config->coherent_walk ? 0u : PIOMMU_OS_NEED_CLEAN),
                    config, &table);
    if (error != 0) {
        return error;
    }
    error = take_root(table);
    if (error != 0) {
        piommu_host_free(host, table, sizeof(*table));
        return error;
    }
    *result = table;
    return 0;
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
    error = make_object(host, PIOMMU_OS_NEED_BASE, &wanted, &table);
    if (error != 0) {
        return error;
    }
    /* Whoever has built it may have used a root that is smaller than what this library takes. */
    if (((root_physical | (uintptr_t)root) & (table->info.root_size - 1)) != 0 ||
        root_physical > table->last_output ||
        table->last_output - root_physical < table->info.root_size - 1) {
        piommu_host_free(host, table, sizeof(*table));
        return -PIOMMU_EINVAL;
    }
    table->adopted = true;
    table->quick_sizes = 0;
    table->quick_page = 0;
    table->info.adopted = true;
    table->root = root;
    piommu_pgtable_set_root_(table, root_physical);
    *result = table;
    return 0;
}

/*
 * Frees tables below the root, children first, by a walk that remembers its place per height.
 * Returns whether all are gone.
 */
static bool free_tables(struct piommu_pgtable *table, uint64_t budget)
{
    unsigned int height = table->teardown.height;
    descriptor_slot **tables = table->teardown.tables;
    uint32_t *index = table->teardown.index;

    for (; budget != 0; budget--) {
        uint64_t descriptor;

        if (height == 0 || index[height] > table->index_mask[height]) {
            if (height == table->root_height) {
                return true;
            }
            piommu_tables_free_(table, tables[height]);
            height++;
            index[height]++;
            continue;
        }
        descriptor = descriptor_read(&tables[height][index[height]]);
        if (descriptor_is_table(descriptor, height)) {
            height--;
            tables[height] = pgtable_next(table, descriptor);
            index[height] = 0;
        } else {
            index[height]++;
        }
    }
    table->teardown.height = height;
    return false;
}

/* Frees all tables but the root; returns false if the budget did not suffice. */
static bool tear_down(struct piommu_pgtable *table, uint64_t budget)
{
    if (table->adopted) {
        return true;
    }
    if (!table->teardown.begun) {
        table->teardown.begun = true;
        table->teardown.height = table->root_height;
        table->teardown.tables[table->root_height] = table->root;
        table->teardown.index[table->root_height] = 0;
    }
    for (; table->spare != NULL; budget--) {
        if (budget == 0) {
            return false;
        }
        piommu_tables_free_(table, chain_pop(&table->spare));
    }
    return free_tables(table, budget);
}

int piommu_pgtable_destroy_some(struct piommu_pgtable *table, uint32_t budget)
{
    if (table == NULL) {
        return 0;
    }
    if (!tear_down(table, budget != 0 ? budget : 1)) {
        return -PIOMMU_EAGAIN;
    }
    if (!table->adopted) {
        table->host.os->dma_free(table->host.ctx, table->root, root_memory(table));
    }
    piommu_host_free(table->host, table, sizeof(*table));
    return 0;
}

void piommu_pgtable_destroy(struct piommu_pgtable *table)
{
    while (piommu_pgtable_destroy_some(table, UINT32_MAX) != 0) {
    }
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
