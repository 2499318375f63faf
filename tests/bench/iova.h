/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_TESTS_BENCH_IOVA_H
#define PIOMMU_TESTS_BENCH_IOVA_H

/*
 * The allocators of I/O virtual addresses: this library's, and Linux's compiled from its source
 * package. Both have the same locks, memory from the same place, and know in the same way on which
 * CPU they are. Needs no libc.
 */

#include "bench.h"

#define IOVA_PAGE    4096ull
#define IOVA_FIRST   IOVA_PAGE
#define IOVA_LAST    ((1ull << 48) - 1)
#define IOVA_LAST_32 0xffffffffull

/*
 * Ranges are given out at multiples of their size, rounded up to a power of two: that is how Linux
 * does it, and so it is what both do.
 */
static inline uint64_t iova_alignment(uint64_t pages)
{
    return IOVA_PAGE << (pages == 1 ? 0 : 64 - __builtin_clzll(pages - 1));
}

struct piommu_os;

struct iova_allocator {
    const char *name;
    /* A space in which everything is free, for so many CPUs. */
    void *(*create)(unsigned int cpus);
    void (*destroy)(void *space);
    /* The address of a range that ends at or below `highest`; 0: there is none. */
    uint64_t (*alloc)(void *space, uint64_t pages, uint64_t highest);
    bool (*free)(void *space, uint64_t address, uint64_t pages);
    /* How much memory it has asked for. */
    uint64_t (*bytes)(void *space);
};

extern const struct iova_allocator iova_ours;
#ifdef BENCH_WITH_LINUX
extern const struct iova_allocator iova_linux;
#endif

/* The shim of iova_ours: locks that cost something, threads that have numbers. */
const struct piommu_os *iova_ours_os(void);

/* Of iova_ours: the nodes that the last call looked at. */
uint32_t iova_ours_visited(void *space);

/* The number that the running thread has for allocators that keep ranges for each CPU. */
extern _Thread_local unsigned int this_cpu;

/* A lock that, as in a kernel, costs an atomic operation even where nobody waits for it. */
struct spin {
    int taken;
};

static inline void spin_lock_plainly(struct spin *spin)
{
    while (__atomic_exchange_n(&spin->taken, 1, __ATOMIC_ACQUIRE) != 0) {
        while (__atomic_load_n(&spin->taken, __ATOMIC_RELAXED) != 0) {
#if defined(__x86_64__)
            __builtin_ia32_pause();
#endif
        }
    }
}

static inline void spin_unlock_plainly(struct spin *spin)
{
    __atomic_store_n(&spin->taken, 0, __ATOMIC_RELEASE);
}

struct effort;

/* iova_counts.c: the rows that are exact. */
void iova_count(void);
/* iova_counts.c: calls for callgrind; false: there are no such. */
bool iova_run(const char *operation, const char *implementation, size_t calls);
/* iova_rows.c: the rows that take time. */
void iova_measure(const struct effort *effort);

#endif
