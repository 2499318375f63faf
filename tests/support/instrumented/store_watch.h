/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef STORE_WATCH_H
#define STORE_WATCH_H

/*
 * Looks at a page table after every single store that the library makes, in programs of calls that
 * know nothing of it: the linker puts this between them and the library (--wrap), for all tables
 * that host_open() makes.
 *
 * After each store it asks whether the one descriptor that changed may be what it is now:
 *  - it is well-formed, and fits the other members of its contiguous group;
 *  - it is in the range of the call that is being made, and leads where the arguments of that call
 *    say, or where it led before;
 *  - it changes at most once in a call, so that there is an old answer and a new one and nothing
 *    else; in a cut without FEAT_BBM level 2 it may be invalid in between, up to the invalidation;
 *  - a table is linked when all of its content is final, and visible to a walker that does not
 *    snoop; it is cut off when there is nothing in it; then it stays so, and is not used again or
 *    freed, until it is released.
 * And some addresses in and around the range are walked from the root by the independent walker.
 *
 * A TLB that forgets nothing by itself sees each store, too.
 *
 * Where the walker does not snoop, it has a memory of its own, which a line reaches when it is
 * cleaned, at the latest at the barrier behind that; but the cache may also write back any dirty
 * line at any time, word by word in any order. STORE_WATCH_SEED and store_watch_seed() choose when.
 */

#include <stdint.h>

/* Statistics, to see that there was something to look at. */
struct store_watch_counts {
    uint64_t calls;
    uint64_t stores;   /* to tables that hardware can reach */
    uint64_t changes;  /* of these: what hardware takes notice of */
    uint64_t walks;    /* from the root */
    uint64_t arrivals; /* words that reached the memory of a walker that does not snoop */
    uint64_t leaks;    /* lines that did so before they were cleaned */
};

/* Chooses what is random; the same seed gives the same run. */
void store_watch_seed(uint64_t seed);
struct store_watch_counts store_watch_counts(void);
/* Has this called before each atomic access that the library makes; NULL: nothing. */
void store_watch_before(void (*before)(void *ctx), void *ctx);

#endif
