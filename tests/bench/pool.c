/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The allocator that all implementations share.
 *
 * A free list for each power of two and thread, so that the cost is that of a pop or a push; new
 * memory comes in large portions, touched beforehand. What is handed out is dirty: clearing a table
 * is work of whoever maps.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "bench.h"

#define SMALLEST     12 /* log2 of the smallest piece */
#define CLASSES      10
#define PORTION      ((size_t)32 << 20)
#define PORTION_UNIT ((size_t)2 << 20)
#define DIRT         0xdb

struct piece {
    struct piece *next;
};

static _Thread_local struct {
    struct piece *free[CLASSES];
    unsigned char *fresh;
    size_t fresh_size;
} pool;

/* In use less what other threads have taken: for rows with one thread. */
static _Thread_local long in_use[CLASSES];

bool pool_poisons;

static unsigned int size_class(size_t size)
{
    unsigned int order = 0;

    while (((size_t)1 << (SMALLEST + order)) < size) {
        order++;
    }
    if (order >= CLASSES) {
        fprintf(stderr, "bench: nobody should ask for a table of %zu bytes\n", size);
        exit(2);
    }
    return order;
}

static void refill(void)
{
    unsigned char *memory = mmap(NULL, PORTION + PORTION_UNIT, PROT_READ | PROT_WRITE,
                                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uintptr_t skip;

    if (memory == MAP_FAILED) {
        fprintf(stderr, "bench: out of memory\n");
        exit(2);
    }
    skip = (PORTION_UNIT - ((uintptr_t)memory & (PORTION_UNIT - 1))) & (PORTION_UNIT - 1);
    pool.fresh = memory + skip;
    pool.fresh_size = PORTION;
    /* Where there are no huge pages times are higher, for all alike. */
    (void)madvise(pool.fresh, PORTION, MADV_HUGEPAGE);
    memset(pool.fresh, DIRT, PORTION);
}

void *pool_alloc(size_t size)
{
    unsigned int order = size_class(size);
    struct piece *piece = pool.free[order];
    size_t piece_size = (size_t)1 << (SMALLEST + order);

    in_use[order]++;
    if (piece != NULL) {
        pool.free[order] = piece->next;
        return piece;
    }
    if (pool.fresh_size < piece_size || ((uintptr_t)pool.fresh & (piece_size - 1)) != 0) {
        size_t skip = -(uintptr_t)pool.fresh & (piece_size - 1);

        if (pool.fresh_size < piece_size + skip) {
            refill();
            skip = 0;
        }
        pool.fresh += skip;
        pool.fresh_size -= skip;
    }
    pool.fresh += piece_size;
    pool.fresh_size -= piece_size;
    return pool.fresh - piece_size;
}

void pool_free(void *memory, size_t size)
{
    unsigned int order = size_class(size);
    struct piece *piece = memory;

    if (pool_poisons) {
        memset(memory, DIRT, (size_t)1 << (SMALLEST + order));
    }
    in_use[order]--;
    piece->next = pool.free[order];
    pool.free[order] = piece;
}

long pool_in_use(size_t size)
{
    return in_use[size_class(size)];
}

void *pool_alloc_object(size_t size)
{
    /* At the beginning of a cache line, so that in each run the same things share one. */
    return aligned_alloc(BENCH_LINE, (size + BENCH_LINE - 1) / BENCH_LINE * BENCH_LINE);
}

void pool_free_object(void *object)
{
    free(object);
}
