/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_TESTS_BENCH_IOVA_WORK_H
#define PIOMMU_TESTS_BENCH_IOVA_WORK_H

/* What allocators of I/O virtual addresses are made to do. */

#include "iova.h"

/* The allocators that are there, by OURS and PEER; NULL where one is not. */
extern const struct iova_allocator *const iova_allocators[LIMIT];

/*
 * Random replacement. Each step draws a size, releases ranges that are drawn until there are fewer
 * than `most_ranges`, and no more than `most_pages` with the one to come, and asks for that one.
 * Where there is no place for it, more are released and it is asked for again: whoever finds places
 * only when much is free pays for all the calls that fail, and what lives remains a fair sample.
 */
struct workload {
    const char *name;
    uint64_t limit;
    size_t most_ranges;
    uint64_t most_pages;
    bool powers; /* sizes are powers of two; else anything from 1 to 64 pages */
    size_t fill; /* steps until it is full; nearly all of them only allocate */
    /* Of each allocator: steps until all is as it will stay, and those of a repetition. */
    size_t ageing[LIMIT];
    size_t steps[LIMIT];
};

extern const struct workload workloads[];
extern const size_t workload_count;

struct iova_range {
    uint64_t address;
    uint64_t pages;
};

/* A space with what lives in it. */
struct population {
    const struct workload *workload;
    const struct iova_allocator *allocator;
    void *space;
    uint64_t most_pages; /* at first those of the workload */
    struct iova_range *live;
    size_t count;
    uint64_t pages;
    size_t failures; /* calls that have found no place */
    uint64_t random;
};

/* Ends the program where there is no memory. */
void population_open(struct population *population, const struct workload *workload,
                     const struct iova_allocator *allocator, unsigned int cpus);
/* wrong(), if a range is not taken back, or none given out of an empty space. */
void counted_steps(struct population *population, size_t steps);
/* wrong(), if ranges overlap, or lie where they must not. */
void population_check(const struct population *population);
void population_close(struct population *population);

/* The most ranges that counted_pairs() has at a time. */
#define MOST_DEEP 64u

/*
 * Allocates single pages and releases them, last in, first out, `depth` of them at a time. Returns
 * whether that went well. The name is for callgrind.
 */
bool counted_pairs(const struct iova_allocator *allocator, void *space, size_t pairs, size_t depth);

#endif
