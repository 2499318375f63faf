/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef DMA_MEMORY_H
#define DMA_MEMORY_H

/*
 * Physical memory behind a cache of the CPU. Some devices snoop the cache, others see what lies
 * behind it. What the CPU has written goes to memory when it is cleaned (and a barrier has come),
 * or whenever the cache likes; what is in memory comes to the CPU when the line is invalidated, or
 * whenever the cache likes, if the CPU has not written there.
 */

#include "pgtable_host.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DMA_MEMORY_LINE 64u
#define DMA_MEMORY_PAGE 4096u

struct dma_memory;

/* Says what is wrong, and ends the process. */
void dma_fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* Never NULL; filled with a pattern that depends on the place. */
struct dma_memory *dma_memory_create(uint64_t physical, size_t pages);
void dma_memory_destroy(struct dma_memory *memory);

/* Is all of a range in it? */
bool dma_memory_has(const struct dma_memory *memory, uint64_t physical, uint64_t size);
/* Does a pointer lead into it, through the cache or not? */
bool dma_memory_holds(const struct dma_memory *memory, const void *pointer);
/* Where the CPU finds it, through the cache and past it. */
uint8_t *dma_memory_cached(struct dma_memory *memory, uint64_t physical);
uint8_t *dma_memory_uncached(struct dma_memory *memory, uint64_t physical);
/* The physical address of what a pointer leads to. */
uint64_t dma_memory_physical(const struct dma_memory *memory, const void *pointer);

/* What the shim's callbacks do. To invalidate what was written and not cleaned ends the test. */
void dma_memory_clean(struct dma_memory *memory, const void *pointer, size_t size);
void dma_memory_invalidate(struct dma_memory *memory, const void *pointer, size_t size);
void dma_memory_barrier(struct dma_memory *memory);

/* What a device does. */
void dma_memory_read(const struct dma_memory *memory, uint64_t physical, bool snoops,
                     uint8_t *buffer, size_t size);
void dma_memory_write(struct dma_memory *memory, uint64_t physical, bool snoops,
                      const uint8_t *buffer, size_t size);

/* The cache writes a line back if it has to, and fetches it again: which one, `number` says. */
void dma_memory_refetch(struct dma_memory *memory, uint64_t number);
void dma_memory_refetch_all(struct dma_memory *memory);

#endif
