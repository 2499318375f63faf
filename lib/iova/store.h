/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_LIB_IOVA_STORE_H
#define PIOMMU_LIB_IOVA_STORE_H

/*
 * What a CPU keeps of the ranges that were released there, so as to give them out again without the
 * space's lock. A range is in one slot, which is changed by compare-and-swap: so nobody waits for
 * anybody, whichever CPU looks into the store of whichever.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "../base/compiler.h"

/* Sizes that are kept, in granules: 1 to this. */
#define STORE_MAX_SIZE 64u
/*
 * Slots of the smallest size, which is by far the most common (and is released by so many together
 * where the DMA API is lazy), and of each other one.
 */
#define STORE_SINGLES 256u
#define STORE_OTHERS  16u
#define STORE_SLOTS   (STORE_SINGLES + (STORE_MAX_SIZE - 1) * STORE_OTHERS)

struct store {
    uint8_t apart[64]; /* from what is before, the store of another CPU too */
    /* How many slots of each size are in use, from the first one on: near enough to begin with. */
    _Atomic uint16_t used[STORE_MAX_SIZE + 1];
    /* The first granule, plus 1; 0: empty. */
    _Atomic uintptr_t slot[STORE_SLOTS];
};

static inline unsigned int store_begin(uint64_t size)
{
    return size == 1 ? 0 : STORE_SINGLES + ((unsigned int)size - 2) * STORE_OTHERS;
}

static inline unsigned int store_room(uint64_t size)
{
    return size == 1 ? STORE_SINGLES : STORE_OTHERS;
}

/* The size of the ranges in a slot. */
static inline uint64_t store_size_of(unsigned int slot)
{
    return slot < STORE_SINGLES ? 1 : (slot - STORE_SINGLES) / STORE_OTHERS + 2;
}

static inline bool store_has_size(uint64_t size)
{
    return size <= STORE_MAX_SIZE;
}

/*
 * Changes a slot, unless somebody else has. Acquires what is taken, and releases what is put. Where
 * calls are serialised there is nobody else, and the price of an atomic operation is saved.
 */
static ALWAYS_INLINE bool store_change(_Atomic uintptr_t *slot, bool serialised, uintptr_t from,
                                       uintptr_t to)
{
    if (serialised) {
        bool good = atomic_load_explicit(slot, memory_order_relaxed) == from;

        if (good) {
            atomic_store_explicit(slot, to, memory_order_relaxed);
        }
        return good;
    }
    return atomic_compare_exchange_strong_explicit(slot, &from, to, memory_order_acq_rel,
                                                   memory_order_relaxed);
}

/*
 * Takes the range that was put there last, if it begins at a multiple of 1 << shift and ends at or
 * below a limit.
 */
static ALWAYS_INLINE bool store_take(struct store *store, bool serialised, uint64_t size,
                                     unsigned int shift, uint64_t limit, uint64_t *place)
{
    unsigned int used = atomic_load_explicit(&store->used[size], memory_order_relaxed);
    _Atomic uintptr_t *slot = &store->slot[store_begin(size)];
    uintptr_t value = used != 0 ? atomic_load_explicit(&slot[used - 1], memory_order_relaxed) : 0;
    bool taken;

    if (used == 0) {
        return false;
    }
    *place = (uint64_t)value - 1;
    if (value != 0 && ((*place & ((1ull << shift) - 1)) != 0 || *place + (size - 1) > limit)) {
        return false;
    }
    /* An empty one there is the trace of somebody else: it is passed next time. */
    taken = value != 0 && store_change(&slot[used - 1], serialised, value, 0);
    atomic_store_explicit(&store->used[size], (uint16_t)(used - 1), memory_order_relaxed);
    return taken;
}

/* Puts a range there; false: there is no room. */
static ALWAYS_INLINE bool store_put(struct store *store, bool serialised, uint64_t size,
                                    uint64_t place)
{
    unsigned int used = atomic_load_explicit(&store->used[size], memory_order_relaxed);
    bool put;

    if (used == store_room(size) || place >= UINTPTR_MAX) {
        return false;
    }
    put = store_change(&store->slot[store_begin(size) + used], serialised, 0, (uintptr_t)place + 1);
    atomic_store_explicit(&store->used[size], (uint16_t)(used + 1), memory_order_relaxed);
    return put;
}

/* Empties a slot; false: it was empty. */
static inline bool store_empty(struct store *store, unsigned int slot, uint64_t *place)
{
    uintptr_t value = 0;

    if (atomic_load_explicit(&store->slot[slot], memory_order_relaxed) != 0) {
        value = atomic_exchange_explicit(&store->slot[slot], 0, memory_order_acquire);
    }
    *place = (uint64_t)value - 1;
    return value != 0;
}

#endif
