/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Memory of tables.
 *
 * A table that is in no one's use is chained through its own first words. Hardware may still walk
 * it (an empty table stays linked until the next sync), so no such word may have the bit set that
 * makes a descriptor valid: they are stored in the order of descriptors, and pointers, page
 * addresses and shifted levels all have bit 0 clear.
 */

#include "pgtable.h"

#include "../base/gather.h"

/* Words of a table on a chain of spare or detached tables. */
#define WORD_NEXT     0
#define WORD_PHYSICAL 1
/* Words of a table on the list of empty ones: WORD_NEXT, and */
#define WORD_PREVIOUS 1
#define WORD_PLACE    2 /* first input address, with the level in bits 3:1 */

#define PLACE_LEVEL_SHIFT 1
#define PLACE_LEVEL_MASK  0xeull

static void write_pointer(descriptor_slot *slots, unsigned int word, descriptor_slot *pointer)
{
    descriptor_write(&slots[word], (uint64_t)(uintptr_t)pointer);
}

static descriptor_slot *read_pointer(descriptor_slot *slots, unsigned int word)
{
    return (descriptor_slot *)(uintptr_t)descriptor_read(&slots[word]);
}

/*
 * A shim that answers outside what it was asked for is refused here, before hardware sees the
 * address.
 */
static bool acceptable(const struct piommu_pgtable *table, const void *memory, uint64_t physical,
                       uint64_t size)
{
    if ((physical & (size - 1)) != 0 || ((uintptr_t)memory & (size - 1)) != 0 ||
        physical > table->max_table || table->max_table - physical < size - 1) {
        return false;
    }
    return !table->linear || (uintptr_t)physical + table->virtual_offset == (uintptr_t)memory;
}

static int take_one(struct piommu_pgtable *table, descriptor_slot **slots, uint64_t *physical)
{
    size_t size = table->slots * sizeof(descriptor_slot);
    struct piommu_dma_request request = {.size = size,
                                         .alignment = size,
                                         .max_physical = table->max_table,
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

int piommu_tables_take_(struct piommu_pgtable *table, uint32_t count, descriptor_slot **chain)
{
    *chain = NULL;
    for (; count != 0; count--) {
        descriptor_slot *slots;
        uint64_t physical;
        int error = take_one(table, &slots, &physical);

        if (error != 0) {
            piommu_tables_give_(table, *chain);
            *chain = NULL;
            return error;
        }
        write_pointer(slots, WORD_NEXT, *chain);
        descriptor_write(&slots[WORD_PHYSICAL], physical);
        *chain = slots;
    }
    return 0;
}

descriptor_slot *piommu_tables_pop_(descriptor_slot **chain, uint64_t *physical)
{
    descriptor_slot *slots = *chain;

    *chain = read_pointer(slots, WORD_NEXT);
    *physical = descriptor_read(&slots[WORD_PHYSICAL]);
    descriptor_write(&slots[WORD_NEXT], 0);
    descriptor_write(&slots[WORD_PHYSICAL], 0);
    return slots;
}

void piommu_tables_give_one_(struct piommu_pgtable *table, descriptor_slot *slots)
{
    table->host.os->dma_free(table->host.ctx, slots, table->slots * sizeof(*slots));
    table->statistics.tables_freed++;
}

void piommu_tables_give_(struct piommu_pgtable *table, descriptor_slot *chain)
{
    while (chain != NULL) {
        descriptor_slot *next = read_pointer(chain, WORD_NEXT);

        piommu_tables_give_one_(table, chain);
        chain = next;
    }
}

void piommu_tables_note_empty_(struct piommu_pgtable *table, descriptor_slot *slots,
                               unsigned int level, uint64_t iova)
{
    uint64_t first = iova & ~(pgtable_span(table, level - 1) - 1);

    write_pointer(slots, WORD_NEXT, NULL);
    write_pointer(slots, WORD_PREVIOUS, table->newest_empty);
    descriptor_write(&slots[WORD_PLACE], first | ((uint64_t)level << PLACE_LEVEL_SHIFT));
    if (table->newest_empty != NULL) {
        write_pointer(table->newest_empty, WORD_NEXT, slots);
    } else {
        table->oldest_empty = slots;
    }
    table->newest_empty = slots;
    table->statistics.tables_empty++;
}

void piommu_tables_forget_empty_(struct piommu_pgtable *table, descriptor_slot *slots)
{
    descriptor_slot *next = read_pointer(slots, WORD_NEXT);
    descriptor_slot *previous = read_pointer(slots, WORD_PREVIOUS);

    if (next != NULL) {
        write_pointer(next, WORD_PREVIOUS, previous);
    } else {
        table->newest_empty = previous;
    }
    if (previous != NULL) {
        write_pointer(previous, WORD_NEXT, next);
    } else {
        table->oldest_empty = next;
    }
    descriptor_write(&slots[WORD_NEXT], 0);
    descriptor_write(&slots[WORD_PREVIOUS], 0);
    descriptor_write(&slots[WORD_PLACE], 0);
    table->statistics.tables_empty--;
}

/*
 * Cuts the link to an empty table. If that empties the table above, it joins the list in its turn.
 */
static void detach(struct piommu_pgtable *table, unsigned int level, uint64_t first)
{
    struct path path;

    piommu_path_begin_(&path, table);
    piommu_path_move_(&path, first);
    while (path.level < level - 1) {
        path_enter(&path, descriptor_read(path_slot(&path)));
    }
    descriptor_write(path_slot(&path), 0);
    pgtable_clean(table, path_slot(&path), 1);
    path.change[path.level] = -1;
    piommu_path_end_(&path);
}

void piommu_pgtable_detach_empty(struct piommu_pgtable *table, struct piommu_gather *gather)
{
    while (table->statistics.tables_empty > table->empty_tables_kept) {
        descriptor_slot *slots = table->oldest_empty;
        uint64_t place = descriptor_read(&slots[WORD_PLACE]);
        unsigned int level = (unsigned int)((place & PLACE_LEVEL_MASK) >> PLACE_LEVEL_SHIFT);
        uint64_t first = place & ~PLACE_LEVEL_MASK;

        piommu_tables_forget_empty_(table, slots);
        detach(table, level, first);
        write_pointer(slots, WORD_NEXT, gather->tables);
        gather->tables = slots;
        gather_add(gather, first, first + (pgtable_span(table, level - 1) - 1));
    }
    piommu_host_barrier(table->host, PIOMMU_BARRIER_WRITE);
}

void piommu_pgtable_release(struct piommu_pgtable *table, struct piommu_gather *gather)
{
    piommu_tables_give_(table, gather->tables);
    gather->tables = NULL;
    gather->pending = false;
}

void piommu_pgtable_move_detached(struct piommu_pgtable *table, struct piommu_gather *from,
                                  struct piommu_gather *to)
{
    (void)table;
    while (from->tables != NULL) {
        descriptor_slot *slots = from->tables;

        from->tables = read_pointer(slots, WORD_NEXT);
        write_pointer(slots, WORD_NEXT, to->tables);
        to->tables = slots;
    }
}
