/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "mmio.h"

int mmio_add(struct mmio_table *table, uint64_t first, uint64_t size, mmio_handler *handler,
             void *ctx)
{
    uint64_t last = first + (size - 1);

    if (table->count == MMIO_RANGES || size == 0 || last < first) {
        return -1;
    }
    for (unsigned int i = 0; i < table->count; i++) {
        if (first <= table->ranges[i].last && last >= table->ranges[i].first) {
            return -1;
        }
    }
    table->ranges[table->count++] =
        (struct mmio_range){.first = first, .last = last, .handler = handler, .ctx = ctx};
    return 0;
}

void mmio_remove(struct mmio_table *table, uint64_t first)
{
    for (unsigned int i = 0; i < table->count; i++) {
        if (table->ranges[i].first == first) {
            table->ranges[i] = table->ranges[--table->count];
            return;
        }
    }
}

bool mmio_access(const struct mmio_table *table, uint64_t address, struct mmio_access *access)
{
    for (unsigned int i = 0; i < table->count; i++) {
        const struct mmio_range *range = &table->ranges[i];

        if (address >= range->first && address <= range->last &&
            access->width - 1 <= range->last - address) {
            access->offset = address - range->first;
            range->handler(range->ctx, access);
            return true;
        }
    }
    return false;
}
