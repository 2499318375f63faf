/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* The end of a table object. */

#include "create.h"

/*
 * Frees the reserve and the tables below the root, children first, by a walk that remembers its
 * place per height. Returns whether all are gone; false says that the budget did not suffice.
 */
static bool tear_down(struct piommu_pgtable *table, uint32_t budget)
{
    descriptor_slot **tables = table->teardown.tables;
    uint32_t *index = table->teardown.index;
    unsigned int height = table->teardown.height;

    if (!table->teardown.begun) {
        table->teardown.begun = true;
        height = table->root_height;
        tables[height] = table->root;
    }
    for (; budget != 0; budget--) {
        descriptor_slot *done; /* a table that nothing needs any more */

        if (counter_read(&table->tables_spare) != 0) {
            done = piommu_reserve_take_(table);
        } else if (height != 0 && index[height] <= table->index_mask[height]) {
            uint64_t descriptor = descriptor_read(&tables[height][index[height]]);

            index[height]++;
            if (descriptor_is_table(descriptor, height)) {
                height--;
                tables[height] = pgtable_next(table, descriptor);
                index[height] = 0;
            }
            continue;
        } else if (height == table->root_height) {
            return true;
        } else {
            done = tables[height];
            height++;
        }
        piommu_tables_free_(table, done);
    }
    table->teardown.height = height;
    return false;
}

int piommu_pgtable_destroy_some(struct piommu_pgtable *table, uint32_t budget)
{
    if (table == NULL) {
        return 0;
    }
    if (!table->adopted) {
        if (!tear_down(table, budget != 0 ? budget : 1)) {
            return -PIOMMU_EAGAIN;
        }
        piommu_reserve_destroy_(table);
        table->host.os->dma_free(table->host.ctx, table->root, root_memory(table));
    }
    piommu_host_free_(table->host, table, sizeof(*table));
    return 0;
}

void piommu_pgtable_destroy(struct piommu_pgtable *table)
{
    while (piommu_pgtable_destroy_some(table, UINT32_MAX) != 0) {
    }
}
