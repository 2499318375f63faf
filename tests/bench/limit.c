/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The limit: descriptors in one flat array, stored without a look at anything. No table can be
 * faster; how near one comes is what the benchmark shows.
 *
 * A flat table covers a window at BENCH_BASE. As long as a part of it, of the size of a table, has
 * not been touched, storing to its first slot also clears it, as a map has to clear a new table.
 */

#include <string.h>

#include "bench.h"

#define WINDOW_SLOTS ((size_t)1 << 18)
#define ATTRIBUTES   0x743ull

struct flat {
    uint64_t *slots;
    unsigned int shift;
    size_t slots_in_table;
    bool fresh[WINDOW_SLOTS >> 9];
};

static bool limit_can(const struct usage *usage)
{
    (void)usage;
    return true;
}

static void *limit_create(const struct shape *shape, const struct usage *usage)
{
    struct flat *flat = pool_alloc_object(sizeof(*flat));

    (void)usage;
    flat->slots = pool_alloc(WINDOW_SLOTS * sizeof(*flat->slots));
    flat->shift = shape->granule_shift;
    flat->slots_in_table = ((size_t)1 << shape->granule_shift) / sizeof(*flat->slots);
    memset(flat->fresh, 1, sizeof(flat->fresh));
    return flat;
}

static void limit_destroy(void *table)
{
    struct flat *flat = table;

    pool_free(flat->slots, WINDOW_SLOTS * sizeof(*flat->slots));
    pool_free_object(flat);
}

/* The window repeats, which serves rows with larger pages. */
static size_t slot_of(const struct flat *flat, uint64_t iova, uint64_t page)
{
    unsigned int shift = page > (1ull << flat->shift) ? 21 : flat->shift;

    return ((iova - BENCH_BASE) >> shift) & (WINDOW_SLOTS - 1);
}

static inline void store(uint64_t *slot, uint64_t descriptor)
{
    __atomic_store_n(slot, descriptor, __ATOMIC_RELAXED);
}

/* A cache line at a time, since the loop would else cost more than the stores. */
static inline void store_run(uint64_t *slots, uint64_t descriptor, uint64_t step, size_t count)
{
    for (; count >= 8; count -= 8) {
        store(&slots[0], descriptor);
        store(&slots[1], descriptor + step);
        store(&slots[2], descriptor + 2 * step);
        store(&slots[3], descriptor + 3 * step);
        store(&slots[4], descriptor + 4 * step);
        store(&slots[5], descriptor + 5 * step);
        store(&slots[6], descriptor + 6 * step);
        store(&slots[7], descriptor + 7 * step);
        descriptor += 8 * step;
        slots += 8;
    }
    for (; count != 0; count--) {
        store(slots++, descriptor);
        descriptor += step;
    }
}

static bool limit_map(void *table, uint64_t iova, uint64_t physical, uint64_t page, size_t count)
{
    struct flat *flat = table;
    size_t slot = slot_of(flat, iova, page);
    uint64_t descriptor = physical | ATTRIBUTES;

    while (count != 0) {
        size_t run = flat->slots_in_table - (slot & (flat->slots_in_table - 1));

        if (flat->fresh[slot / flat->slots_in_table]) {
            size_t first = slot & ~(flat->slots_in_table - 1);

            flat->fresh[slot / flat->slots_in_table] = false;
            memset(&flat->slots[first], 0, flat->slots_in_table * sizeof(*flat->slots));
        }
        run = run < count ? run : count;
        store_run(&flat->slots[slot], descriptor, page, run);
        descriptor += run * page;
        slot = (slot + run) & (WINDOW_SLOTS - 1);
        count -= run;
    }
    bench_barrier();
    return true;
}

static bool limit_unmap(void *table, uint64_t iova, uint64_t page, size_t count)
{
    struct flat *flat = table;
    size_t slot = slot_of(flat, iova, page);

    store_run(&flat->slots[slot], 0, 0, count);
    bench_barrier();
    invalidate(table, iova, iova + page * count - 1);
    return true;
}

static uint64_t limit_lookup(void *table, uint64_t iova)
{
    struct flat *flat = table;
    uint64_t mask = (1ull << flat->shift) - 1;
    uint64_t descriptor = __atomic_load_n(&flat->slots[slot_of(flat, iova, 0)], __ATOMIC_RELAXED);

    return descriptor == 0 ? 0 : (descriptor & 0xfffffffff000ull & ~mask) | (iova & mask);
}

const struct implementation limit = {
    .name = "limit",
    .can = limit_can,
    .create = limit_create,
    .destroy = limit_destroy,
    .map = limit_map,
    .unmap = limit_unmap,
    .lookup = limit_lookup,
};
