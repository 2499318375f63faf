/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Memory of tables: from the shim, or from the reserve.
 *
 * A table that nothing links to is chained through its own first words, and otherwise zero. Until
 * an invalidation is complete hardware may still walk it, so no such word may have the bit set that
 * makes a descriptor valid: they are stored in the order of descriptors, and pointers and page
 * addresses have bit 0 clear.
 */

#include "pgtable.h"

#include "chain.h"

/*
 * A shim that answers outside what it was asked for is refused here, before hardware sees the
 * address.
 */
static bool acceptable(const struct piommu_pgtable *table, const void *memory, uint64_t physical,
                       uint64_t size)
{
    if ((physical & (size - 1)) != 0 || ((uintptr_t)memory & (size - 1)) != 0 ||
        physical > table->last_output || table->last_output - physical < size - 1) {
        return false;
    }
    return !table->linear || (uintptr_t)physical + table->virtual_offset == (uintptr_t)memory;
}

/* Gets a zeroed table from the shim. */
static int get_one(struct piommu_pgtable *table, descriptor_slot **slots, uint64_t *physical)
{
    size_t size = pgtable_slots(table) * sizeof(descriptor_slot);
    struct piommu_dma_request request = {.size = size,
                                         .alignment = size,
                                         .max_physical = table->last_output,
                                         .purpose = PIOMMU_DMA_TABLE,
                                         .owner = table->owner};
    void *memory = table->host.os->dma_alloc(table->host.ctx, &request, physical);

    if (memory == NULL) {
        return -PIOMMU_ENOMEM;
    }
    if (!acceptable(table, memory, *physical, size)) {
        table->host.os->dma_free(table->host.ctx, memory, size);
        return -PIOMMU_EINVAL;
    }
    memset(memory, 0, size);
    table->statistics.tables_allocated++;
    *slots = memory;
    return 0;
}

void piommu_tables_free_(struct piommu_pgtable *table, descriptor_slot *slots)
{
    table->host.os->dma_free(table->host.ctx, slots, pgtable_slots(table) * sizeof(*slots));
    table->statistics.tables_freed++;
}

/* Gets `count` tables from the shim in front of a chain: all, or none. */
static int get_tables(struct piommu_pgtable *table, uint64_t count, descriptor_slot **chain)
{
    descriptor_slot *before = *chain;

    for (; count != 0; count--) {
        descriptor_slot *slots;
        uint64_t physical;
        int error = get_one(table, &slots, &physical);

        if (error != 0) {
            while (*chain != before) {
                descriptor_slot *next = chain_next(*chain);

                piommu_tables_free_(table, *chain);
                *chain = next;
            }
            return error;
        }
        descriptor_write(&slots[CHAIN_PHYSICAL], physical);
        chain_push(chain, slots);
    }
    return 0;
}

int piommu_tables_take_(struct piommu_pgtable *table, uint64_t count, descriptor_slot **chain)
{
    uint32_t spare = table->statistics.tables_spare;
    uint32_t from_reserve = count < spare ? (uint32_t)count : spare;
    int error;

    *chain = NULL;
    error = get_tables(table, count - from_reserve, chain);
    if (error != 0) {
        return error;
    }
    for (uint32_t i = 0; i < from_reserve; i++) {
        chain_push(chain, chain_pop(&table->spare));
    }
    table->statistics.tables_spare -= from_reserve;
    return 0;
}

descriptor_slot *piommu_tables_pop_(descriptor_slot **chain, uint64_t *physical)
{
    descriptor_slot *slots = chain_pop(chain);

    *physical = descriptor_read(&slots[CHAIN_PHYSICAL]);
    descriptor_write(&slots[CHAIN_NEXT], 0);
    descriptor_write(&slots[CHAIN_PHYSICAL], 0);
    return slots;
}

void piommu_tables_give_(struct piommu_pgtable *table, descriptor_slot *chain)
{
    while (chain != NULL) {
        descriptor_slot *slots = chain_pop(&chain);

        if (table->statistics.tables_spare < table->statistics.tables_reserved) {
            table->statistics.tables_spare++;
            chain_push(&table->spare, slots);
        } else {
            piommu_tables_free_(table, slots);
        }
    }
}

int piommu_pgtable_reserve(struct piommu_pgtable *table, uint32_t count)
{
    int error;

    if (table->adopted) {
        return -PIOMMU_EOPNOTSUPP;
    }
    if (count > UINT32_MAX - table->statistics.tables_reserved) {
        return -PIOMMU_EINVAL;
    }
    error = get_tables(table, count, &table->spare);
    if (error == 0) {
        table->statistics.tables_reserved += count;
        table->statistics.tables_spare += count;
    }
    return error;
}

void piommu_pgtable_unreserve(struct piommu_pgtable *table, uint32_t count)
{
    struct piommu_pgtable_statistics *statistics = &table->statistics;

    if (count > statistics->tables_reserved) {
        count = statistics->tables_reserved;
    }
    statistics->tables_reserved -= count;
    while (statistics->tables_spare > statistics->tables_reserved) {
        statistics->tables_spare--;
        piommu_tables_free_(table, chain_pop(&table->spare));
    }
}

void piommu_pgtable_release(struct piommu_pgtable *table, struct piommu_gather *gather)
{
    descriptor_slot *detached = gather->tables;

    gather->tables = NULL;
    gather->pending = false;
    if (detached != NULL) {
        piommu_tables_give_(table, detached);
    }
}

void piommu_pgtable_move_detached(struct piommu_pgtable *table, struct piommu_gather *from,
                                  struct piommu_gather *to)
{
    descriptor_slot *source = from->tables;
    descriptor_slot *target = to->tables;

    (void)table;
    while (source != NULL) {
        chain_push(&target, chain_pop(&source));
    }
    from->tables = NULL;
    to->tables = target;
}
