/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef RANDOM_H
#define RANDOM_H

/* Pseudo-random numbers: the same seed gives the same run, on every machine. */

#include <stdbool.h>
#include <stdint.h>

struct random {
    uint64_t state;
};

/* SplitMix64: every state is a good one, and each number depends on all bits of the seed. */
static inline uint64_t random_next(struct random *random)
{
    uint64_t value = random->state += 0x9e3779b97f4a7c15ull;

    value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9ull;
    value = (value ^ value >> 27) * 0x94d049bb133111ebull;
    return value ^ value >> 31;
}

/* A number below `limit`, which is not 0. No division: a 32-bit CPU may have none. */
static inline uint32_t random_below(struct random *random, uint32_t limit)
{
    return (uint32_t)((random_next(random) >> 32) * limit >> 32);
}

/* True in `percent` of 100 cases. */
static inline bool random_percent(struct random *random, uint32_t percent)
{
    return random_below(random, 100) < percent;
}

/* A number of `bits` bits. */
static inline uint64_t random_bits(struct random *random, unsigned int bits)
{
    return bits == 0 ? 0 : random_next(random) >> (64u - bits);
}

#endif
