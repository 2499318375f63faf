/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* What is exact about the IOVA allocator: the nodes that calls look at, memory, instructions. */

#include <math.h>
#include <string.h>

#include "iova_work.h"
#include "report.h"
#include "rows.h"

/* Steps beyond those that fill a space, before its memory is counted. */
#define COUNTED_STEPS 4096u
#define MOST_VISITED  4096u

/* How many calls have looked at so many nodes. */
static size_t visits[MOST_VISITED];

static void note_visits(void *space)
{
    uint32_t visited = iova_ours_visited(space);

    visits[visited < MOST_VISITED ? visited : MOST_VISITED - 1]++;
}

static uint64_t noting_alloc(void *space, uint64_t pages, uint64_t highest)
{
    uint64_t address = iova_ours.alloc(space, pages, highest);

    note_visits(space);
    return address;
}

static bool noting_free(void *space, uint64_t address, uint64_t pages)
{
    bool good = iova_ours.free(space, address, pages);

    note_visits(space);
    return good;
}

/* The worst call over the median one, in a workload without anything kept for CPUs. */
static double worst_over_median(const struct workload *workload)
{
    struct iova_allocator noting = iova_ours;
    struct population population;
    size_t calls = 0;
    size_t passed = 0;
    uint32_t median = 0;
    uint32_t most = 0;

    noting.alloc = noting_alloc;
    noting.free = noting_free;
    memset(visits, 0, sizeof(visits));
    population_open(&population, workload, &noting, 0);
    counted_steps(&population, workload->fill + workload->ageing[OURS]);
    population_check(&population);
    population_close(&population);
    for (uint32_t i = 0; i < MOST_VISITED; i++) {
        calls += visits[i];
        most = visits[i] != 0 ? i : most;
    }
    for (passed = visits[0]; passed <= calls / 2; passed += visits[median]) {
        median++;
    }
    return (double)most / (double)median;
}

static void count_visits(void)
{
    double worst = 0;

    for (size_t i = 0; i < workload_count; i++) {
        double here = worst_over_median(&workloads[i]);

        worst = here > worst ? here : worst;
    }
    report_add_exact("iova", "worst", UNIT_VISITED, worst, NAN);
}

/* The memory for each range that lives. */
static void count_bytes(const char *name, const struct workload *workload)
{
    double bytes[LIMIT] = {NAN, NAN};

    for (unsigned int i = 0; i < LIMIT; i++) {
        struct population population;

        if (iova_allocators[i] == NULL) {
            continue;
        }
        population_open(&population, workload, iova_allocators[i], 1);
        counted_steps(&population, workload->fill + COUNTED_STEPS);
        bytes[i] = (double)iova_allocators[i]->bytes(population.space) / (double)population.count;
        population_close(&population);
    }
    report_add_exact("iova", name, UNIT_RANGE, bytes[OURS], bytes[PEER]);
}

void iova_count(void)
{
    count_visits();
    count_bytes("bytes_per_range_10k", &workloads[0]);
    count_bytes("bytes_per_range_100k", &workloads[1]);
}

static void run_pairs(const struct iova_allocator *allocator, size_t calls)
{
    void *space = allocator->create(1);

    if (!counted_pairs(allocator, space, calls, 1)) {
        wrong("%s: pairs failed", allocator->name);
    }
    allocator->destroy(space);
}

static void run_steps(const struct iova_allocator *allocator, size_t calls)
{
    struct population population;

    population_open(&population, &workloads[0], allocator, 1);
    counted_steps(&population, workloads[0].fill + calls);
    population_close(&population);
}

bool iova_run(const char *operation, const char *name, size_t calls)
{
    const struct iova_allocator *allocator = NULL;

    for (unsigned int i = 0; i < LIMIT; i++) {
        if (iova_allocators[i] != NULL && strcmp(iova_allocators[i]->name, name) == 0) {
            allocator = iova_allocators[i];
        }
    }
    if (allocator == NULL) {
        return false;
    }
    if (strcmp(operation, "iova_lifo") == 0) {
        run_pairs(allocator, calls);
    } else if (strcmp(operation, "iova_random_10k") == 0) {
        run_steps(allocator, calls);
    } else {
        return false;
    }
    return true;
}
