/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_LIB_IO_PGTABLE_DESCRIPTOR_H
#define PIOMMU_LIB_IO_PGTABLE_DESCRIPTOR_H

/*
 * One slot of a table in memory, and the bits of a descriptor that all formats share.
 *
 * Source: Arm ARM, VMSAv8-64 translation table level 0 to 3 descriptor formats.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "../base/byte_order.h"

#define DESCRIPTOR_VALID     1ull
#define DESCRIPTOR_TYPE_MASK 3ull
#define DESCRIPTOR_BLOCK     1ull
#define DESCRIPTOR_TABLE     3ull
#define DESCRIPTOR_PAGE      3ull

/* Output or next-table address: bits 47:12 with a 4 KiB granule and at most 48 bits of output. */
#define DESCRIPTOR_ADDRESS 0x0000fffffffff000ull

/*
 * How many slots of the table below are in use is kept in the descriptor that links it, in bits
 * that hardware ignores there: 58:51 (low part) and 7:2 (high part). So a count costs no memory and
 * no further cache line.
 */
#define DESCRIPTOR_COUNT_LOW_SHIFT  51
#define DESCRIPTOR_COUNT_LOW_BITS   8
#define DESCRIPTOR_COUNT_HIGH_SHIFT 2
#define DESCRIPTOR_COUNT_HIGH_BITS  6
#define DESCRIPTOR_COUNT_MASK       0x07f80000000000fcull

#if ATOMIC_LLONG_LOCK_FREE == 2

typedef _Atomic uint64_t descriptor_slot;

static inline uint64_t descriptor_read(descriptor_slot *slot)
{
    return piommu_le64(atomic_load_explicit(slot, memory_order_relaxed));
}

static inline void descriptor_write(descriptor_slot *slot, uint64_t descriptor)
{
    atomic_store_explicit(slot, piommu_le64(descriptor), memory_order_relaxed);
}

#else

/*
 * No single-copy-atomic 64-bit store: two halves, in an order in which a walker never sees a valid
 * descriptor that is half written. Making valid stores the half with the valid bit last, making
 * invalid first. A change of a valid descriptor happens only in the count above, where any mixture
 * of old and new halves leads to the same table.
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

#endif

static inline bool descriptor_is_table(uint64_t descriptor, unsigned int level)
{
    return level < 3 && (descriptor & DESCRIPTOR_TYPE_MASK) == DESCRIPTOR_TABLE;
}

static inline bool descriptor_is_leaf(uint64_t descriptor, unsigned int level)
{
    return (descriptor & DESCRIPTOR_TYPE_MASK) == (level == 3 ? DESCRIPTOR_PAGE : DESCRIPTOR_BLOCK);
}

static inline uint32_t descriptor_count(uint64_t descriptor)
{
    uint64_t low =
        (descriptor >> DESCRIPTOR_COUNT_LOW_SHIFT) & ((1u << DESCRIPTOR_COUNT_LOW_BITS) - 1);
    uint64_t high =
        (descriptor >> DESCRIPTOR_COUNT_HIGH_SHIFT) & ((1u << DESCRIPTOR_COUNT_HIGH_BITS) - 1);

    return (uint32_t)(low | (high << DESCRIPTOR_COUNT_LOW_BITS));
}

static inline uint64_t descriptor_with_count(uint64_t descriptor, uint32_t count)
{
    uint64_t low = count & ((1u << DESCRIPTOR_COUNT_LOW_BITS) - 1);
    uint64_t high = count >> DESCRIPTOR_COUNT_LOW_BITS;

    return (descriptor & ~DESCRIPTOR_COUNT_MASK) | (low << DESCRIPTOR_COUNT_LOW_SHIFT) |
           (high << DESCRIPTOR_COUNT_HIGH_SHIFT);
}

#endif
