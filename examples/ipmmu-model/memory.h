/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef MEMORY_H
#define MEMORY_H

/*
 * The simulated physical memory. The part for page tables is there twice, as the CPU sees it
 * through its caches and as it lies in memory, where the IOMMU reads it; only cleaning takes bytes
 * from the first to the second. Exactly the bytes that are named go over, not whole lines: a clean
 * that was forgotten has no neighbour to help it.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MEMORY_PAGE 0x1000u
/* Of each guest. */
#define MEMORY_GUEST_SIZE 0x221000u

/* What physical memory is for. */
enum region {
    REGION_HOST,    /* where a guest's addresses would lead if nobody translated them */
    REGION_TABLES,  /* page tables */
    REGION_GUEST_A, /* memory of the guests */
    REGION_GUEST_B,
    REGION_GUEST_C,
    REGIONS,
};

struct memory;

/* NULL: no memory. */
struct memory *memory_create(void);
void memory_destroy(struct memory *memory);

/* Physical address where a region begins. */
uint64_t memory_base(enum region region);

/* ---- What devices see ---- */

/* A byte by its physical address, but not of page tables; NULL: there is none. */
uint8_t *memory_byte(struct memory *memory, uint64_t physical);
/* Fills all memory but the tables again as it was in the beginning. */
void memory_restore(struct memory *memory);
/* Is all memory but the tables as it was in the beginning? */
bool memory_is_untouched(const struct memory *memory);
/* Reads a descriptor, of a table or of what hardware takes for one. False: there is no memory. */
bool memory_read64(void *memory, uint64_t physical, uint64_t *value);

/* ---- What the CPU sees: memory for page tables ---- */

/* NULL: there is none. `highest` is where the last byte may lie. */
void *memory_tables_take(struct memory *memory, size_t size, size_t alignment, uint64_t highest,
                         uint64_t *physical);
void memory_tables_give(struct memory *memory, const void *tables, size_t size);
/* Pages that are taken. */
unsigned int memory_tables_taken(const struct memory *memory);
/* The address for the CPU; NULL: no table can be there. */
void *memory_tables_virtual(struct memory *memory, uint64_t physical);
/* Writes bytes back to where the IOMMU sees them. */
void memory_tables_clean(struct memory *memory, const void *address, size_t size);

#endif
