/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Memory of tables: from the shim, or from the reserve.
 *
 * A table that nothing links to is chained through its own first words, and otherwise zero, or, if
 * it is new, as the shim gave it. Until an invalidation is complete hardware may still walk what
 * was linked before, so no such word may have the bit set that makes a descriptor valid: they are
 * stored in the order of descriptors, and pointers and page addresses have bit 0 clear.
 */

#include "pgtable.h"

#include "../base/compiler.h"
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

int piommu_tables_get_(struct piommu_pgtable *table, descriptor_slot **result)
{
    size_t size = pgtable_slots(table) * sizeof(descriptor_slot);
    struct piommu_dma_request request = {.size = size,
                                         .alignment = size,
                                         .max_physical = table->last_output,
                                         .purpose = PIOMMU_DMA_TABLE,
                                         .owner = table->owner};
    uint64_t physical;
    descriptor_slot *slots = table->host.os->dma_alloc(table->host.ctx, &request, &physical);

    if (slots == NULL) {
        return -PIOMMU_ENOMEM;
    }
    if (!acceptable(table, slots, physical, size)) {
        table->host.os->dma_free(table->host.ctx, slots, size);
        return -PIOMMU_EINVAL;
    }
    descriptor_write(&slots[CHAIN_PHYSICAL], physical | CHAIN_DIRTY);
    counter_add(table, &table->tables_allocated, 1);
    *result = slots;
    return 0;
}

void piommu_tables_free_(struct piommu_pgtable *table, descriptor_slot *slots)
{
    table->host.os->dma_free(table->host.ctx, slots, pgtable_slots(table) * sizeof(*slots));
    counter_add(table, &table->tables_freed, 1);
}

void piommu_tables_clear_(const struct piommu_pgtable *table, descriptor_slot *slots)
{
    memset(slots, 0, pgtable_slots(table) * sizeof(*slots));
}

/*
 * Gives each table back to where it came from; only those of the shim are dirty. In a disjoint
 * table another CPU may have filled the reserve meanwhile.
 */
static void undo(struct piommu_pgtable *table, descriptor_slot *chain)
{
    while (chain != NULL) {
        descriptor_slot *slots = chain_pop(&chain);
        bool dirty = (descriptor_read(&slots[CHAIN_PHYSICAL]) & CHAIN_DIRTY) != 0;

        if (dirty || !piommu_reserve_give_(table, slots)) {
            piommu_tables_free_(table, slots);
        }
    }
}

int piommu_tables_take_(struct piommu_pgtable *table, uint64_t count, descriptor_slot **chain)
{
    descriptor_slot *tail = NULL;

    *chain = NULL;
    for (; count != 0; count--) {
        descriptor_slot *taken = piommu_reserve_take_(table);

        if (taken == NULL) {
            int error = piommu_tables_get_(table, &taken);

            if (error != 0) {
                undo(table, *chain);
                return error;
            }
        }
        /* First in, first out: CPUs like memory to be filled in the order that most shims give. */
        chain_write_pointer(taken, CHAIN_NEXT, NULL);
        if (tail != NULL) {
            chain_write_pointer(tail, CHAIN_NEXT, taken);
        } else {
            *chain = taken;
        }
        tail = taken;
    }
    return 0;
}

descriptor_slot *piommu_tables_pop_(descriptor_slot **chain, uint64_t *physical, bool *dirty)
{
    descriptor_slot *slots = chain_pop(chain);
    uint64_t word = descriptor_read(&slots[CHAIN_PHYSICAL]);

    *physical = word & ~CHAIN_DIRTY;
    *dirty = (word & CHAIN_DIRTY) != 0;
    descriptor_write(&slots[CHAIN_NEXT], 0);
    descriptor_write(&slots[CHAIN_PHYSICAL], 0);
    return slots;
}

void piommu_tables_give_(struct piommu_pgtable *table, descriptor_slot *chain)
{
    while (chain != NULL) {
        descriptor_slot *slots = chain_pop(&chain);

        if (!piommu_reserve_give_(table, slots)) {
            piommu_tables_free_(table, slots);
        }
    }
}

/* Apart from its caller, which has nothing else to do as a rule. */
static NEVER_INLINE void release_tables(struct piommu_pgtable *table, struct piommu_gather *gather)
{
    piommu_tables_give_(table, gather->tables);
    gather->tables = NULL;
    counter_subtract(table, &table->tables_detached, gather->blocking);
    gather->blocking = 0;
}

void piommu_pgtable_release(struct piommu_pgtable *table, struct piommu_gather *gather)
{
    gather->pending = false;
    if (gather->tables != NULL) {
        release_tables(table, gather);
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
    to->blocking += from->blocking;
    from->blocking = 0;
}
