/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_TESTS_BENCH_H
#define PIOMMU_TESTS_BENCH_H

/*
 * What the parts of the benchmark share.
 *
 * Everything measured is behind the same functions (struct implementation): this library, Linux
 * compiled from its source package, and the limit, which stores descriptors into a flat array and
 * does nothing else. All three get their memory from the same pool and use the same barrier.
 *
 * This header needs no libc, so that it can be included beside the kernel's headers.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where the mappings begin: in the middle of the smallest aperture, not at its start. */
#define BENCH_BASE 0x4000000000ull
/* From an input address to its output address: keeps the alignment of the largest block used. */
#define BENCH_OFFSET 0x80000000ull

/* A kind of table that is measured. */
struct shape {
    const char *name;
    bool stage2;
    uint8_t input_bits;
    unsigned int granule_shift;
    uint64_t large_page; /* the page size for mapping 2 MiB: a block if there is one of this size */
};

/* How a table is to be used. */
struct usage {
    bool coherent_walk;
    bool disjoint;         /* calls on disjoint ranges may run in parallel */
    uint16_t empties_kept; /* ours only: Linux keeps all of them */
};

/*
 * Something to measure. Pages have the size `page`; map and unmap return whether all was done, and
 * an unmap ends with the invalidation. A lookup returns what the implementation itself does: the
 * output address, or `absent`.
 */
struct implementation {
    const char *name;
    bool (*can)(const struct usage *usage);
    void *(*create)(const struct shape *shape, const struct usage *usage);
    void (*destroy)(void *table);
    bool (*map)(void *table, uint64_t iova, uint64_t physical, uint64_t page, size_t count);
    bool (*unmap)(void *table, uint64_t iova, uint64_t page, size_t count);
    uint64_t (*lookup)(void *table, uint64_t iova);
    uint64_t absent;
};

enum { OURS, PEER, LIMIT, IMPLEMENTATIONS };

extern const struct implementation ours;
/* The shim that ours runs on. */
extern const struct piommu_os ours_os;
extern const struct implementation limit;
#ifdef BENCH_WITH_LINUX
extern const struct implementation linux_peer;
/* An unmap without its last step, and that step for all of them. */
bool linux_unmap_lazily(void *table, uint64_t iova, uint64_t page, size_t count);
void linux_flush(void *table);
#endif

/* Which of them are there; NULL where one is not. */
extern const struct implementation *const implementations[IMPLEMENTATIONS];

/* The last step of an unmap. No operation while times are taken; the checks put a counter in. */
typedef void (*bench_invalidate)(void *cookie, uint64_t first, uint64_t last);
extern bench_invalidate invalidate;

/* pool.c: memory that is never clean, last in first out, backed by huge pages, VA == PA. */

void *pool_alloc(size_t size);
void pool_free(void *memory, size_t size);
/* Pieces of `size` bytes that this thread has taken and not given back. */
long pool_in_use(size_t size);
/* Objects that are no tables. */
void *pool_alloc_object(size_t size);
void pool_free_object(void *object);
/* Fills what is given back with dirt, at a cost that no timed row should pay. */
extern bool pool_poisons;

/* The barrier between stores to tables and what hardware does next; all use this one. */
static inline void bench_barrier(void)
{
#if defined(__x86_64__)
    __asm__ volatile("sfence" ::: "memory");
#else
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

/* Cleaning of caches for a walker that does not snoop: counted, not done. */
#define BENCH_LINE 64u
extern uint64_t cleaned_lines;

static inline void bench_clean(const void *address, size_t size)
{
    uintptr_t first = (uintptr_t)address / BENCH_LINE;
    uintptr_t last = ((uintptr_t)address + size - 1) / BENCH_LINE;

    cleaned_lines += last - first + 1;
}

/* Makes the program fail at its end: results were wrong, or the comparison would not be fair. */
void wrong(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
