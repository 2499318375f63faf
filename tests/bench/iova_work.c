/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "iova_work.h"
#include "rows.h"

#define MOST_PAGES 64u
#define POWERS     7u /* 1 to 64 */

/* Of the pages below 4 GiB without the first one, 98 of 100. */
#define FULL_PAGES (((1ull << 20) - 1) * 98 / 100)

/*
 * Ageing: what Linux takes grows until each range has been replaced a few times; in a nearly full
 * space ours fails to find a place only after as many steps. Linux takes a thousand times as long
 * for some, and does fewer of those.
 */
const struct workload workloads[] = {
    {
        .name = "random_10k",
        .limit = IOVA_LAST,
        .most_ranges = 10000,
        .most_pages = UINT64_MAX,
        .fill = 10000,
        .ageing = {50000, 50000},
        .steps = {16384, 8192},
    },
    {
        .name = "fragmented_100k",
        .limit = IOVA_LAST,
        .most_ranges = 100000,
        .most_pages = UINT64_MAX,
        .fill = 100000,
        .ageing = {300000, 300000},
        .steps = {16384, 1024},
    },
    {
        .name = "full_32bit",
        .limit = IOVA_LAST_32,
        .most_ranges = FULL_PAGES,
        .most_pages = FULL_PAGES,
        .powers = true,
        .fill = 57000,
        .ageing = {200000, 4000},
        .steps = {16384, 256},
    },
};
const size_t workload_count = sizeof(workloads) / sizeof(workloads[0]);

const struct iova_allocator *const iova_allocators[LIMIT] = {
    [OURS] = &iova_ours,
#ifdef BENCH_WITH_LINUX
    [PEER] = &iova_linux,
#endif
};

_Thread_local unsigned int this_cpu;

/* A number below `end`, from the lower half of a random number. */
static uint64_t below(uint64_t random, uint64_t end)
{
    return ((random & 0xffffffff) * end) >> 32;
}

static uint64_t draw_pages(const struct workload *workload, uint64_t random)
{
    return workload->powers ? 1ull << below(random, POWERS) : 1 + below(random, MOST_PAGES);
}

static bool is_full(const struct population *population, uint64_t pages)
{
    return population->count == population->workload->most_ranges ||
           population->pages + pages > population->most_pages;
}

static bool release(struct population *population, uint64_t random)
{
    struct iova_range *range = &population->live[below(random, population->count)];
    bool good = population->allocator->free(population->space, range->address, range->pages);

    population->pages -= range->pages;
    *range = population->live[--population->count];
    return good;
}

void population_open(struct population *population, const struct workload *workload,
                     const struct iova_allocator *allocator, unsigned int cpus)
{
    *population = (struct population){
        .workload = workload,
        .allocator = allocator,
        .space = allocator->create(cpus),
        .most_pages = workload->most_pages,
        .live = calloc(workload->most_ranges, sizeof(*population->live)),
        .random = 88172645463325252ull,
    };
    if (population->space == NULL || population->live == NULL) {
        fprintf(stderr, "bench: no memory for %s\n", workload->name);
        exit(2);
    }
}

void population_close(struct population *population)
{
    population->allocator->destroy(population->space);
    free(population->live);
}

__attribute__((noinline)) void counted_steps(struct population *population, size_t steps)
{
    const struct iova_allocator *allocator = population->allocator;
    const struct workload *workload = population->workload;
    bool good = true;

    for (size_t i = 0; i < steps; i++) {
        uint64_t random = random_next(&population->random);
        uint64_t pages = draw_pages(workload, random);
        uint64_t address;

        for (random >>= 32; is_full(population, pages); random = random_next(&population->random)) {
            good &= release(population, random);
        }
        address = allocator->alloc(population->space, pages, workload->limit);
        while (address == 0 && population->count != 0) {
            population->failures++;
            good &= release(population, random_next(&population->random));
            address = allocator->alloc(population->space, pages, workload->limit);
        }
        good &= address != 0;
        population->live[population->count++] = (struct iova_range){address, pages};
        population->pages += pages;
    }
    if (!good) {
        wrong("%s: %s: a call failed", allocator->name, workload->name);
    }
}

static int by_address(const void *a, const void *b)
{
    uint64_t x = ((const struct iova_range *)a)->address;
    uint64_t y = ((const struct iova_range *)b)->address;

    return (x > y) - (x < y);
}

void population_check(const struct population *population)
{
    size_t size = population->count * sizeof(*population->live);
    struct iova_range *sorted = malloc(size);
    uint64_t next = IOVA_FIRST;

    if (sorted == NULL) {
        wrong("no memory to check ranges");
        return;
    }
    memcpy(sorted, population->live, size);
    qsort(sorted, population->count, sizeof(*sorted), by_address);
    for (size_t i = 0; i < population->count; i++) {
        const struct iova_range *range = &sorted[i];

        if (range->address < next || range->address % iova_alignment(range->pages) != 0) {
            wrong("%s: %s: range of %llu pages at %#llx: overlaps, or is not aligned",
                  population->allocator->name, population->workload->name,
                  (unsigned long long)range->pages, (unsigned long long)range->address);
            break;
        }
        next = range->address + range->pages * IOVA_PAGE;
    }
    if (next - 1 > population->workload->limit) {
        wrong("%s: %s: beyond the limit", population->allocator->name, population->workload->name);
    }
    free(sorted);
}

__attribute__((noinline)) bool counted_pairs(const struct iova_allocator *allocator, void *space,
                                             size_t pairs, size_t depth)
{
    uint64_t addresses[MOST_DEEP];
    bool good = true;

    for (size_t done = 0; done < pairs; done += depth) {
        for (size_t i = 0; i < depth; i++) {
            addresses[i] = allocator->alloc(space, 1, IOVA_LAST);
            good &= addresses[i] != 0;
        }
        for (size_t i = depth; i-- > 0;) {
            good &= allocator->free(space, addresses[i], 1);
        }
    }
    return good;
}
