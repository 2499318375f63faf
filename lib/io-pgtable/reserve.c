/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The reserve: tables, zero but for their first words, that wait to be used.
 *
 * An exclusive table chains them. In a disjoint one several CPUs take and give at the same time.
 * There as many places were allocated as tables are reserved, some with a table in them (full), the
 * others waiting for one to be released (vacant). Each place is on a stack, by number, whose top
 * changes by compare-and-swap. With it changes a count, so that a top that has gone and come back
 * is not taken for the old one; and numbers instead of pointers through the tables let a CPU that
 * comes late read a place that is gone from the stack, but never memory that is gone.
 */

#include "pgtable.h"

#include "chain.h"

/* Tables in the reserve are zero but for their first words. */
static void clear(const struct piommu_pgtable *table, descriptor_slot *slots)
{
    uint64_t physical = descriptor_read(&slots[CHAIN_PHYSICAL]);

    if ((physical & CHAIN_DIRTY) != 0) {
        piommu_tables_clear_(table, slots);
        descriptor_write(&slots[CHAIN_PHYSICAL], physical & ~CHAIN_DIRTY);
    }
}

#if HAS_DISJOINT

#define FEWEST_PLACES 8u

/* The top of a stack: the place's number plus 1 in the low half, or 0; changes in the high one. */
#define TOP_MASK   0xffffffffull
#define ONE_CHANGE (TOP_MASK + 1)

struct place {
    descriptor_slot *slots;
    _Atomic uint32_t below; /* the number, plus 1, of the next place on the stack */
};

typedef _Atomic uint64_t stack_top;

struct places {
    uint32_t count;
    stack_top full;
    stack_top vacant;
    stack_top unused; /* those that are not reserved any more, or not yet */
    struct place place[];
};

static uint64_t places_size(uint32_t count)
{
    return sizeof(struct places) + (uint64_t)count * sizeof(struct place);
}

/* Takes the place on top of a stack, or returns NULL. */
static struct place *pop(struct places *places, stack_top *top)
{
    uint64_t old = atomic_load_explicit(top, memory_order_acquire);
    struct place *place;
    uint64_t below;

    do {
        if ((old & TOP_MASK) == 0) {
            return NULL;
        }
        place = &places->place[(old & TOP_MASK) - 1];
        below = atomic_load_explicit(&place->below, memory_order_relaxed);
    } while (!atomic_compare_exchange_strong_explicit(top, &old,
                                                      ((old & ~TOP_MASK) + ONE_CHANGE) | below,
                                                      memory_order_acq_rel, memory_order_acquire));
    return place;
}

static void push(struct places *places, stack_top *top, struct place *place)
{
    uint64_t number = (uint64_t)(place - places->place) + 1;
    uint64_t old = atomic_load_explicit(top, memory_order_relaxed);

    do {
        atomic_store_explicit(&place->below, (uint32_t)(old & TOP_MASK), memory_order_relaxed);
    } while (!atomic_compare_exchange_strong_explicit(top, &old,
                                                      ((old & ~TOP_MASK) + ONE_CHANGE) | number,
                                                      memory_order_acq_rel, memory_order_relaxed));
}

static descriptor_slot *take_from_places(struct piommu_pgtable *table)
{
    struct places *places = table->places;
    struct place *place = places != NULL ? pop(places, &places->full) : NULL;
    descriptor_slot *slots;

    if (place == NULL) {
        return NULL;
    }
    slots = place->slots;
    counter_subtract(table, &table->tables_spare, 1);
    push(places, &places->vacant, place);
    return slots;
}

static bool give_to_places(struct piommu_pgtable *table, descriptor_slot *slots)
{
    struct places *places = table->places;
    struct place *place = places != NULL ? pop(places, &places->vacant) : NULL;

    if (place == NULL) {
        return false;
    }
    clear(table, slots);
    place->slots = slots;
    counter_add(table, &table->tables_spare, 1);
    push(places, &places->full, place);
    return true;
}

/* Makes `count` more places vacant. Nobody else takes or gives meanwhile. */
static int add_places(struct piommu_pgtable *table, uint32_t count)
{
    struct places *old = table->places;
    uint32_t old_count = old != NULL ? old->count : 0;
    uint32_t wanted = table->tables_reserved + count;

    if (wanted > old_count) {
        bool doubles = old_count < UINT32_MAX / 2 - FEWEST_PLACES;
        uint32_t enough = doubles ? 2 * old_count + FEWEST_PLACES : UINT32_MAX;
        uint64_t size = places_size(enough > wanted ? enough : wanted);
        struct places *places =
            size == (size_t)size ? piommu_host_alloc_(table->host, (size_t)size) : NULL;

        if (places == NULL) {
            return -PIOMMU_ENOMEM;
        }
        if (old != NULL) {
            memcpy(places, old, (size_t)places_size(old_count));
            piommu_host_free_(table->host, old, (size_t)places_size(old_count));
        }
        places->count = enough > wanted ? enough : wanted;
        for (uint32_t i = old_count; i < places->count; i++) {
            push(places, &places->unused, &places->place[i]);
        }
        table->places = places;
    }
    for (; count != 0; count--) {
        push(table->places, &table->places->vacant, pop(table->places, &table->places->unused));
    }
    return 0;
}

/* Takes a place away, a vacant one first. */
static void drop_place(struct piommu_pgtable *table)
{
    struct places *places = table->places;
    struct place *place = pop(places, &places->vacant);

    if (place == NULL) {
        piommu_tables_free_(table, take_from_places(table));
        place = pop(places, &places->vacant);
    }
    push(places, &places->unused, place);
}

void piommu_reserve_destroy_(struct piommu_pgtable *table)
{
    if (table->places != NULL) {
        piommu_host_free_(table->host, table->places, (size_t)places_size(table->places->count));
    }
}

#else

/* There are exclusive tables only. */
static descriptor_slot *take_from_places(struct piommu_pgtable *table)
{
    (void)table;
    return NULL;
}

static bool give_to_places(struct piommu_pgtable *table, descriptor_slot *slots)
{
    (void)table;
    (void)slots;
    return false;
}

static int add_places(struct piommu_pgtable *table, uint32_t count)
{
    (void)table;
    (void)count;
    return 0;
}

static void drop_place(struct piommu_pgtable *table)
{
    (void)table;
}

void piommu_reserve_destroy_(struct piommu_pgtable *table)
{
    (void)table;
}

#endif

descriptor_slot *piommu_reserve_take_(struct piommu_pgtable *table)
{
    if (pgtable_is_disjoint(table)) {
        return take_from_places(table);
    }
    if (table->spare == NULL) {
        return NULL;
    }
    counter_subtract(table, &table->tables_spare, 1);
    return chain_pop(&table->spare);
}

bool piommu_reserve_give_(struct piommu_pgtable *table, descriptor_slot *slots)
{
    if (pgtable_is_disjoint(table)) {
        return give_to_places(table, slots);
    }
    if (counter_read(&table->tables_spare) >= table->tables_reserved) {
        return false;
    }
    clear(table, slots);
    counter_add(table, &table->tables_spare, 1);
    chain_push(&table->spare, slots);
    return true;
}

int piommu_pgtable_reserve(struct piommu_pgtable *table, uint32_t count)
{
    descriptor_slot *chain = NULL;
    int error = 0;

    if (table->adopted) {
        return -PIOMMU_EOPNOTSUPP;
    }
    if (count > UINT32_MAX - table->tables_reserved) {
        return -PIOMMU_EINVAL;
    }
    for (uint32_t i = 0; i < count && error == 0; i++) {
        descriptor_slot *slots;

        error = piommu_tables_get_(table, &slots);
        if (error == 0) {
            chain_push(&chain, slots);
        }
    }
    if (error == 0 && pgtable_is_disjoint(table)) {
        error = add_places(table, count);
    }
    if (error == 0) {
        table->tables_reserved += count;
    }
    while (chain != NULL) {
        descriptor_slot *slots = chain_pop(&chain);

        if (error != 0) {
            piommu_tables_free_(table, slots);
        } else {
            (void)piommu_reserve_give_(table, slots);
        }
    }
    return error;
}

void piommu_pgtable_unreserve(struct piommu_pgtable *table, uint32_t count)
{
    if (count > table->tables_reserved) {
        count = table->tables_reserved;
    }
    for (; count != 0; count--) {
        table->tables_reserved--;
        if (pgtable_is_disjoint(table)) {
            drop_place(table);
        } else if (counter_read(&table->tables_spare) > table->tables_reserved) {
            piommu_tables_free_(table, piommu_reserve_take_(table));
        }
    }
}
