/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef MEMORY_H
#define MEMORY_H

/*
 * The ops shim that the library gets here, and the memory behind it. Tables lie at random places,
 * with random content before they are handed out and garbage after they came back.
 *
 * A table memory of 256 MiB is at 0x50000000; where the machine has more than 1 GiB, another one
 * is at 0x100000000, so that addresses of tables have bits above 31.
 *
 * Non-coherent walks. The emulated CPU has no caches, so a missing clean could not be seen. So the
 * library gets one half of the table memory to write to, and the walker the other half as physical
 * addresses: only what the library cleans is copied from one to the other.
 */

#include <piommu/os.h>

/* Tells which table memory new tables come from; for all shims. */
void memory_choose(bool high, uint64_t seed);

/* Where hardware finds the tables. */
enum memory_view {
    MEMORY_COHERENT,   /* where the library writes them */
    MEMORY_COPY,       /* in the other half, when they are cleaned */
    MEMORY_BEYOND_RAM, /* at addresses of which all of the highest bits of 52 are in use */
};

/* The shim. With MEMORY_BEYOND_RAM the CPU cannot walk; memory_walker_read can read there. */
struct piommu_host memory_host(enum memory_view view);

/* The allocation after so many more fails, and all behind it; -1: none does. */
void memory_limit(int allocations);

/* Whether all memory came back. */
bool memory_is_all_free(void);

/* Reads and writes what a walker sees. False if there is no table memory at this address. */
bool memory_walker_read(uint64_t physical, uint64_t *value);
bool memory_walker_write(uint64_t physical, uint64_t value);

#endif
