/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * That the comparison is one: both sides build trees of the same size out of the same dirty memory,
 * translate the same, invalidate what they unmap, and give everything back.
 */

#include <string.h>

#include "rows.h"

#define SIZES        8u /* of tables and roots: 4 KiB to 512 KiB */
#define CHECK_PAGES  2048u
#define CHECK_ROUNDS 4000u

static struct {
    unsigned int calls;
    uint64_t first;
    uint64_t last;
} seen;

static void note_invalidation(void *cookie, uint64_t first, uint64_t last)
{
    (void)cookie;
    seen.calls++;
    seen.first = first < seen.first ? first : seen.first;
    seen.last = last > seen.last ? last : seen.last;
}

static void memory_in_use(long in_use[SIZES])
{
    for (unsigned int i = 0; i < SIZES; i++) {
        in_use[i] = pool_in_use((size_t)4096 << i);
    }
}

/* An unmap must have made hardware forget at least its range. */
static void check_unmap(const struct implementation *implementation, void *table, uint64_t iova,
                        uint64_t page, size_t count)
{
    seen.calls = 0;
    seen.first = UINT64_MAX;
    seen.last = 0;
    if (!implementation->unmap(table, iova, page, count)) {
        wrong("%s: unmap failed", implementation->name);
    }
    if (seen.calls == 0 || seen.first > iova || seen.last < iova + page * count - 1) {
        wrong("%s: unmapped without an invalidation of all of it", implementation->name);
    }
}

/* Random maps and unmaps against a plain array. */
static void check_translations(const struct implementation *implementation, void *table,
                               uint64_t page)
{
    static uint64_t model[CHECK_PAGES];
    uint64_t random = 362436069ull;

    memset(model, 0, sizeof(model));
    for (unsigned int round = 0; round < CHECK_ROUNDS; round++) {
        size_t first = random_next(&random) % CHECK_PAGES;
        size_t count = 1 + random_next(&random) % 600;
        uint64_t iova = BENCH_BASE + first * page;
        uint64_t physical = BENCH_OFFSET + (random_next(&random) % (1u << 20)) * page;
        size_t used = 0;

        count = count < CHECK_PAGES - first ? count : CHECK_PAGES - first;
        for (size_t i = first; i < first + count; i++) {
            used += model[i] != 0;
        }
        if (used == 0) {
            if (!implementation->map(table, iova, physical, page, count)) {
                wrong("%s: map failed", implementation->name);
                return;
            }
            for (size_t i = 0; i < count; i++) {
                model[first + i] = physical + i * page;
            }
        } else {
            /* What is there from the first page on, up to a hole. */
            for (used = 0; used < count && model[first + used] != 0; used++) {
                model[first + used] = 0;
            }
            if (used != 0) {
                check_unmap(implementation, table, iova, page, used);
            }
        }
        for (unsigned int i = 0; i < 16; i++) {
            size_t at = random_next(&random) % CHECK_PAGES;
            uint64_t found = implementation->lookup(table, BENCH_BASE + at * page);

            if (found != (model[at] != 0 ? model[at] : implementation->absent)) {
                wrong("%s: page %zu leads to %#llx, not to %#llx", implementation->name, at,
                      (unsigned long long)found, (unsigned long long)model[at]);
                return;
            }
        }
    }
}

/* The memory that a table takes for a root and for a range of pages. */
static void check_memory(const struct implementation *implementation, const struct shape *shape,
                         long taken[SIZES])
{
    const struct usage usage = {.coherent_walk = true};
    uint64_t page = shape_granule(shape);
    long before[SIZES];
    long after[SIZES];
    void *table;

    memory_in_use(before);
    table = implementation->create(shape, &usage);
    if (!implementation->map(table, BENCH_BASE, BENCH_OFFSET + page, page, 4096)) {
        wrong("%s: map failed", implementation->name);
    }
    memory_in_use(taken);
    for (unsigned int i = 0; i < SIZES; i++) {
        taken[i] -= before[i];
    }
    check_unmap(implementation, table, BENCH_BASE, page, 4096);
    check_translations(implementation, table, page);
    implementation->destroy(table);
    memory_in_use(after);
    if (memcmp(before, after, sizeof(before)) != 0) {
        wrong("%s: does not give all of its tables back", implementation->name);
    }
}

void check_fairness(const struct shape *shape)
{
    bench_invalidate no_operation = invalidate;
    long taken[LIMIT][SIZES];
    unsigned char *memory;

    invalidate = note_invalidation;
    pool_poisons = true;
    for (unsigned int i = 0; i < LIMIT; i++) {
        if (implementations[i] != NULL) {
            check_memory(implementations[i], shape, taken[i]);
        }
    }
    if (implementations[PEER] != NULL &&
        memcmp(taken[OURS], taken[PEER], sizeof(taken[OURS])) != 0) {
        wrong("%s: the two trees are not of the same size", shape->name);
    }
    memory = pool_alloc(4096);
    for (unsigned int i = sizeof(void *); i < 4096; i++) {
        if (memory[i] == 0) {
            wrong("the pool hands out clean memory");
            break;
        }
    }
    pool_free(memory, 4096);
    pool_poisons = false;
    invalidate = no_operation;
}
