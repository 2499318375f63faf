/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_LIB_IO_PGTABLE_DESCRIPTOR_H
#define PIOMMU_LIB_IO_PGTABLE_DESCRIPTOR_H

/*
 * One slot of a table in memory, and the bits of a descriptor that all formats share.
 *
 * Source: Arm ARM, VMSAv8-64 translation table level -1 to 3 descriptor formats; VMSAv8-32
 * long-descriptor translation table format descriptors.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "../base/byte_order.h"
#include "../base/compiler.h"

#define DESCRIPTOR_VALID     1ull
#define DESCRIPTOR_TYPE_MASK 3ull
#define DESCRIPTOR_BLOCK     1ull
#define DESCRIPTOR_TABLE     3ull
#define DESCRIPTOR_PAGE      3ull

/* A leaf that is member of a contiguous group. */
#define DESCRIPTOR_CONTIGUOUS (1ull << 52)

/*
 * How many slots of the table below are in use is kept in the descriptor that links it, in bits
 * that hardware ignores there in all formats: 58:52 (bits 6:0 of the count), 7:2 (bits 12:7) and 11
 * (bit 13). So a count costs no memory and no further cache line.
 */
#define DESCRIPTOR_COUNT_LOW_SHIFT    52
#define DESCRIPTOR_COUNT_LOW_BITS     7
#define DESCRIPTOR_COUNT_MIDDLE_SHIFT 2
#define DESCRIPTOR_COUNT_MIDDLE_BITS  6
#define DESCRIPTOR_COUNT_HIGH_SHIFT   11
#define DESCRIPTOR_COUNT_MASK         0x07f00000000008fcull
#define DESCRIPTOR_ABOVE_COUNT_LOW \
    (~0ull << (DESCRIPTOR_COUNT_LOW_SHIFT + DESCRIPTOR_COUNT_LOW_BITS))

/*
 * In a disjoint table slots are not counted: all who change one would meet at its count. There the
 * same bits, again as a number, tell what is to be done before a link is followed to fill the table
 * below: nothing, or see piommu_disjoint_prepare_.
 */
#define LINK_IDLE    0u /* the table is empty, and counted among those kept */
#define LINK_IN_USE  1u
#define LINK_UNCLEAN 2u /* a walker that does not snoop may not see the link yet */

/* PIOMMU_DESCRIPTOR_HALVES makes a host with such a store do without it, to test the other way. */
#if ATOMIC_LLONG_LOCK_FREE == 2 && !defined(PIOMMU_DESCRIPTOR_HALVES)

typedef _Atomic uint64_t descriptor_slot;

static inline uint64_t descriptor_read(descriptor_slot *slot)
{
    return piommu_le64(atomic_load_explicit(slot, memory_order_relaxed));
}

/* The slot as it is in memory: for questions that need no number, since bytes are not swapped. */
static inline uint64_t descriptor_raw(descriptor_slot *slot)
{
    return atomic_load_explicit(slot, memory_order_relaxed);
}

static inline void descriptor_write(descriptor_slot *slot, uint64_t descriptor)
{
    atomic_store_explicit(slot, piommu_le64(descriptor), memory_order_relaxed);
}

/*
 * Reads a descriptor that may lead to a table: what was in that table when another CPU stored the
 * descriptor is visible afterwards.
 */
static inline uint64_t descriptor_read_link(descriptor_slot *slot)
{
    return piommu_le64(atomic_load_explicit(slot, memory_order_acquire));
}

/* Stores a descriptor that other CPUs follow at once. */
static inline void descriptor_write_link(descriptor_slot *slot, uint64_t descriptor)
{
    atomic_store_explicit(slot, piommu_le64(descriptor), memory_order_release);
}

/* Changes the permissions of a leaf; see below. */
static inline void descriptor_change(descriptor_slot *slot, uint64_t descriptor, bool high_first)
{
    (void)high_first;
    descriptor_write(slot, descriptor);
}

/*
 * Replaces `expected` by `descriptor`; returns false if hardware, or in a disjoint table another
 * CPU, has changed the slot in between.
 */
static inline bool descriptor_exchange(descriptor_slot *slot, uint64_t expected,
                                       uint64_t descriptor)
{
    uint64_t old = piommu_le64(expected);

    return atomic_compare_exchange_strong_explicit(slot, &old, piommu_le64(descriptor),
                                                   memory_order_release, memory_order_relaxed);
}

#define DESCRIPTOR_ATOMIC 1

#else

#define DESCRIPTOR_ATOMIC 0

/*
 * No single-copy-atomic 64-bit store: two halves, in an order in which a walker never sees a valid
 * descriptor that is half written. Making valid stores the half with the valid bit last, making
 * invalid first. A valid descriptor changes only in the count above, where any mixture of old and
 * new halves leads to the same table, and in permissions; see descriptor_change.
 */
typedef struct {
    _Atomic uint32_t half[2];
} descriptor_slot;

static inline uint64_t descriptor_read(descriptor_slot *slot)
{
    uint32_t low = atomic_load_explicit(&slot->half[0], memory_order_relaxed);
    uint32_t high = atomic_load_explicit(&slot->half[1], memory_order_relaxed);

    return (uint64_t)piommu_le32(low) | ((uint64_t)piommu_le32(high) << 32);
}

static inline uint64_t descriptor_raw(descriptor_slot *slot)
{
    return piommu_le64(descriptor_read(slot));
}

/* There is no other CPU. */
static inline uint64_t descriptor_read_link(descriptor_slot *slot)
{
    return descriptor_read(slot);
}

static inline void descriptor_write(descriptor_slot *slot, uint64_t descriptor)
{
    uint32_t low = piommu_le32((uint32_t)descriptor);
    uint32_t high = piommu_le32((uint32_t)(descriptor >> 32));

    if ((descriptor & DESCRIPTOR_VALID) != 0) {
        atomic_store_explicit(&slot->half[1], high, memory_order_relaxed);
        atomic_store_explicit(&slot->half[0], low, memory_order_release);
    } else {
        atomic_store_explicit(&slot->half[0], low, memory_order_relaxed);
        atomic_store_explicit(&slot->half[1], high, memory_order_release);
    }
}

/* Changes the permissions of a leaf and nothing else, in the order that the caller has found. */
static inline void descriptor_change(descriptor_slot *slot, uint64_t descriptor, bool high_first)
{
    uint32_t low = piommu_le32((uint32_t)descriptor);
    uint32_t high = piommu_le32((uint32_t)(descriptor >> 32));

    if (high_first) {
        atomic_store_explicit(&slot->half[1], high, memory_order_relaxed);
        atomic_store_explicit(&slot->half[0], low, memory_order_release);
    } else {
        atomic_store_explicit(&slot->half[0], low, memory_order_relaxed);
        atomic_store_explicit(&slot->half[1], high, memory_order_release);
    }
}

#endif

/* Height 0 is the table farthest from the root, whose leaves are pages (architectural level 3). */
static inline bool descriptor_is_table(uint64_t descriptor, unsigned int height)
{
    return height > 0 && (descriptor & DESCRIPTOR_TYPE_MASK) == DESCRIPTOR_TABLE;
}

static inline uint32_t descriptor_count(uint64_t descriptor)
{
    uint32_t low = (uint32_t)(descriptor >> DESCRIPTOR_COUNT_LOW_SHIFT) &
                   ((1u << DESCRIPTOR_COUNT_LOW_BITS) - 1);
    uint32_t middle = (uint32_t)(descriptor >> DESCRIPTOR_COUNT_MIDDLE_SHIFT) &
                      ((1u << DESCRIPTOR_COUNT_MIDDLE_BITS) - 1);
    uint32_t high = (uint32_t)(descriptor >> DESCRIPTOR_COUNT_HIGH_SHIFT) & 1;

    return low | (middle << DESCRIPTOR_COUNT_LOW_BITS) |
           (high << (DESCRIPTOR_COUNT_LOW_BITS + DESCRIPTOR_COUNT_MIDDLE_BITS));
}

static inline uint64_t descriptor_with_count(uint64_t descriptor, uint32_t count)
{
    uint64_t low = count & ((1u << DESCRIPTOR_COUNT_LOW_BITS) - 1);
    uint64_t middle =
        (count >> DESCRIPTOR_COUNT_LOW_BITS) & ((1u << DESCRIPTOR_COUNT_MIDDLE_BITS) - 1);
    uint64_t high = count >> (DESCRIPTOR_COUNT_LOW_BITS + DESCRIPTOR_COUNT_MIDDLE_BITS);

    return (descriptor & ~DESCRIPTOR_COUNT_MASK) | (low << DESCRIPTOR_COUNT_LOW_SHIFT) |
           (middle << DESCRIPTOR_COUNT_MIDDLE_SHIFT) | (high << DESCRIPTOR_COUNT_HIGH_SHIFT);
}

/*
 * The same, relative to what the descriptor says, for counts that stay in their bounds. Nearly
 * always the low part neither overflows nor underflows.
 */
static inline uint64_t descriptor_count_up(uint64_t descriptor, uint32_t slots)
{
    uint64_t sum = descriptor + ((uint64_t)slots << DESCRIPTOR_COUNT_LOW_SHIFT);

    if (LIKELY(((sum ^ descriptor) & DESCRIPTOR_ABOVE_COUNT_LOW) == 0 &&
               slots < (1u << DESCRIPTOR_COUNT_LOW_BITS))) {
        return sum;
    }
    return descriptor_with_count(descriptor, descriptor_count(descriptor) + slots);
}

static inline uint64_t descriptor_count_down(uint64_t descriptor, uint32_t slots)
{
    uint64_t difference = descriptor - ((uint64_t)slots << DESCRIPTOR_COUNT_LOW_SHIFT);

    if (LIKELY(((difference ^ descriptor) & DESCRIPTOR_ABOVE_COUNT_LOW) == 0 &&
               slots < (1u << DESCRIPTOR_COUNT_LOW_BITS))) {
        return difference;
    }
    return descriptor_with_count(descriptor, descriptor_count(descriptor) - slots);
}

/* The table that the descriptor links is empty; in a disjoint table: and kept as such. */
static inline bool descriptor_links_empty(uint64_t descriptor)
{
    return (descriptor & DESCRIPTOR_COUNT_MASK) == 0;
}

/* In a disjoint table: the table below may be filled at once. */
static inline bool descriptor_links_in_use(uint64_t descriptor)
{
    return (descriptor & DESCRIPTOR_COUNT_MASK) == (uint64_t)LINK_IN_USE
                                                       << DESCRIPTOR_COUNT_LOW_SHIFT;
}

#endif
