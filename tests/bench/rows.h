/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_TESTS_BENCH_ROWS_H
#define PIOMMU_TESTS_BENCH_ROWS_H

#include <piommu/context.h>

#include "bench.h"

struct piommu_backend;

extern const struct shape shapes[];
extern const size_t shape_count;

/* How much to do. */
struct effort {
    unsigned int repetitions; /* of each row, interleaved */
    unsigned int divisor;     /* of the number of calls in a repetition */
};

/* The page size of a shape's tables. */
static inline uint64_t shape_granule(const struct shape *shape)
{
    return 1ull << shape->granule_shift;
}

/* Random numbers; the same ones in each run. */
static inline uint64_t random_next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* rows.c: the rows that take time, of one shape. */
void rows_measure(const struct shape *shape, const struct effort *effort);

/* rows.c: those of tables that several CPUs may change at once. */
void rows_measure_disjoint(const struct shape *shape, const struct effort *effort);

/* core.c: an IOMMU that does nothing, with tables like those of the first shape. */
extern const struct piommu_backend null_backend;

/* core.c: a domain with a device behind an IOMMU. */
struct core {
    struct piommu_context *context;
    struct piommu_instance *instance;
    struct piommu_device *device;
    struct piommu_domain *domain;
};
bool core_open(struct core *core, const struct piommu_os *os, const struct piommu_backend *backend,
               const void *where);
void core_close(struct core *core);

/* dma.c: the DMA API, beside Linux's parts in the order in which its DMA layer calls them. */
void dma_measure(const struct effort *effort);

/* core.c: what the core adds to a page table. */
void core_measure(const struct effort *effort);
/* A domain of the core, without hardware behind it. */
extern const struct implementation over_core;

/* rows.c: the CPU time of this thread in ns. */
double now(void);

/* threads.c: to be called before the program binds itself to a CPU. */
void threads_find_cpus(void);

#define THREADS 2u

/* What threads do with an object, which is their own or which they share. */
struct thread_work {
    const char *name; /* of the implementation */
    bool (*run)(const struct thread_work *work, void *object, unsigned int thread);
    const void *implementation;
    uint64_t page;
    size_t count;
};

/*
 * threads.c: adds the row for two threads, of those implementations that have work to do. The first
 * of the objects is also the one to share.
 */
void threads_compare(const char *group, const struct effort *effort,
                     const struct thread_work works[LIMIT], void *objects[LIMIT][THREADS]);
/* threads.c: the row for two threads that map and unmap. */
void threads_measure(const struct shape *shape, const struct effort *effort,
                     const struct usage *usage);

/* check.c: that all do the same, and under the same conditions; wrong() if not. */
void check_fairness(const struct shape *shape);

/* counts.c: what is exact. */

/* Cache lines cleaned by a table whose walker does not snoop. */
void counts_measure(void);

/* virtio.c: requests and doorbells of virtio-iommu. */
void virtio_count(void);
/* virtio.c: what the rings take. */
void virtio_measure(const struct effort *effort);
/* virtio.c: requests for callgrind; false: it went wrong. */
bool virtio_run(const char *operation, size_t calls);

/*
 * Makes `calls` calls of one operation between two functions that callgrind can be told to look at.
 * Returns whether the names mean something.
 */
bool counts_run(const char *operation, const char *implementation, size_t calls);

#endif
