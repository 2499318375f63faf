/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_LIB_IOVA_LEAF_H
#define PIOMMU_LIB_IOVA_LEAF_H

/* Leaves: 512 granules, by their place in the leaf. Short, and used by one file. */

#include "tree.h"

static inline uint64_t align_up(uint64_t value, unsigned int shift)
{
    uint64_t mask = (1ull << shift) - 1;

    return (value + mask) & ~mask;
}

static inline uint64_t align_down(uint64_t value, unsigned int shift)
{
    return value & ~((1ull << shift) - 1);
}

/*
 * The first bit that is set, from one on; LEAF_SIZE: none. `flip` is all ones to look for clear
 * ones.
 */
static inline unsigned int next_bit(const uint64_t *bits, unsigned int from, uint64_t flip)
{
    unsigned int word = from / 64;
    uint64_t value;

    if (from >= LEAF_SIZE) {
        return LEAF_SIZE;
    }
    value = (bits[word] ^ flip) & (UINT64_MAX << (from % 64));
    while (value == 0) {
        word++;
        if (word == LEAF_WORDS) {
            return LEAF_SIZE;
        }
        value = bits[word] ^ flip;
    }
    return word * 64 + (unsigned int)__builtin_ctzll(value);
}

static inline unsigned int next_set(const uint64_t *bits, unsigned int from)
{
    return next_bit(bits, from, 0);
}

static inline unsigned int next_clear(const uint64_t *bits, unsigned int from)
{
    return next_bit(bits, from, UINT64_MAX);
}

/* The last bit that is set, up to one; LEAF_SIZE: none. `flip` as above. */
static inline unsigned int last_bit(const uint64_t *bits, unsigned int to, uint64_t flip)
{
    unsigned int word = to / 64;
    uint64_t value = (bits[word] ^ flip) & (UINT64_MAX >> (63 - to % 64));

    while (value == 0) {
        if (word == 0) {
            return LEAF_SIZE;
        }
        word--;
        value = bits[word] ^ flip;
    }
    return word * 64 + 63 - (unsigned int)__builtin_clzll(value);
}

static inline unsigned int last_set(const uint64_t *bits, unsigned int to)
{
    return last_bit(bits, to, 0);
}

static inline unsigned int last_clear(const uint64_t *bits, unsigned int to)
{
    return last_bit(bits, to, UINT64_MAX);
}

static inline bool is_set(const uint64_t *bits, unsigned int place)
{
    return ((bits[place / 64] >> (place % 64)) & 1) != 0;
}

/* The bits of a word that belong to a range of places. */
static inline uint64_t mask_of(unsigned int word, unsigned int first, unsigned int last)
{
    unsigned int low = first > word * 64 ? first - word * 64 : 0;
    unsigned int high = last < word * 64 + 63 ? last - word * 64 : 63;

    return (UINT64_MAX << low) & (UINT64_MAX >> (63 - high));
}

static inline void set_bits(uint64_t *bits, unsigned int first, unsigned int last)
{
    for (unsigned int word = first / 64; word <= last / 64; word++) {
        bits[word] |= mask_of(word, first, last);
    }
}

static inline void clear_bits(uint64_t *bits, unsigned int first, unsigned int last)
{
    for (unsigned int word = first / 64; word <= last / 64; word++) {
        bits[word] &= ~mask_of(word, first, last);
    }
}

/* What has to be cleared in an address to make it a multiple of each alignment. */
static const int16_t low_bits[SHORT_LANES] = {0,   1,   3,    7,    15,   31,   63,    127,
                                              255, 511, 1023, 2047, 4095, 8191, 16383, 16383};

/*
 * Several alignments at once. Where the CPU has vectors, and the compiler may use them, gcc and
 * clang make one instruction of each operation; a loop is left as it is by gcc 12 at -O2 (row
 * iova.random_10k of the benchmark). Kernels are built without vectors: some compilers refuse
 * their types then.
 */
#if defined(__SSE2__) || defined(__ARM_NEON)
#define LANES 8u
typedef int16_t lanes __attribute__((vector_size(16)));

static inline lanes lanes_of(int16_t value)
{
    return (lanes){value, value, value, value, value, value, value, value};
}

static inline lanes lanes_from(const int16_t *values)
{
    lanes result;

    memcpy(&result, values, sizeof(result));
    return result;
}

static inline void lanes_to(int16_t *values, lanes from)
{
    memcpy(values, &from, sizeof(from));
}

static inline lanes longer(lanes left, lanes right)
{
    lanes mask = left > right;

    return (left & mask) | (right & ~mask);
}

static inline lanes shorter(lanes left, lanes right)
{
    lanes mask = left < right;

    return (left & mask) | (right & ~mask);
}
#else
#define LANES 1u
typedef int lanes;

static inline lanes lanes_of(int16_t value)
{
    return value;
}

static inline lanes lanes_from(const int16_t *values)
{
    return *values;
}

static inline void lanes_to(int16_t *values, lanes from)
{
    *values = (int16_t)from;
}

static inline lanes longer(lanes left, lanes right)
{
    return left > right ? left : right;
}

static inline lanes shorter(lanes left, lanes right)
{
    return left < right ? left : right;
}
#endif

/* What of a node's summary has changed. */
#define CHANGED_SHORT 1u
#define CHANGED_EDGES 2u
#define CHANGED_LONG  4u

/* Sets the lanes that mean something in a node of `1 << own` granules; the others stay 0. */
static inline unsigned int set_short_runs(struct node *node, int16_t *runs, unsigned int own)
{
    int16_t difference = 0;

    for (unsigned int i = own + 1; i < SHORT_LANES; i++) {
        runs[i] = 0;
    }
    for (unsigned int i = 0; i < SHORT_LANES; i++) {
        difference = (int16_t)(difference | (node->short_run[i] ^ runs[i]));
    }
    memcpy(node->short_run, runs, sizeof(node->short_run));
    return difference != 0 ? CHANGED_SHORT : 0;
}

static inline unsigned int set_edges(struct node *node, uint32_t prefix, uint32_t suffix)
{
    unsigned int changed = node->prefix != prefix || node->suffix != suffix ? CHANGED_EDGES : 0;

    node->prefix = prefix;
    node->suffix = suffix;
    return changed;
}

/* Computes what a leaf knows of itself; tells what has changed. */
static inline unsigned int leaf_update(struct node *leaf)
{
    const uint64_t *taken = leaf->u.leaf.taken;
    unsigned int first = next_clear(taken, 0);
    uint32_t prefix = 0;
    uint32_t suffix = 0;
    int16_t runs[SHORT_LANES] = {0};

    while (first < LEAF_SIZE) {
        unsigned int end = next_set(taken, first);

        prefix = first == 0 ? end : prefix;
        suffix = end == LEAF_SIZE ? end - first : suffix;
        for (unsigned int i = 0; i < SHORT_LANES; i += LANES) {
            lanes bits = lanes_from(low_bits + i);
            lanes start = (lanes_of((int16_t)first) + bits) & ~bits;
            lanes run = lanes_of((int16_t)end) - start; /* below 0: no such start in it */

            run = longer(run, lanes_from(runs + i));
            lanes_to(runs + i, run);
        }
        first = next_clear(taken, end);
    }
    return set_short_runs(leaf, runs, LEAF_SHIFT) | set_edges(leaf, prefix, suffix);
}

/* Finds the lowest place in a leaf that ends before `limit`. */
static inline bool leaf_lowest(const struct node *leaf, unsigned int size, unsigned int shift,
                               unsigned int limit, unsigned int *place)
{
    const uint64_t *taken = leaf->u.leaf.taken;
    unsigned int first = next_clear(taken, 0);

    while (first < limit) {
        unsigned int end = next_set(taken, first);
        unsigned int start = (unsigned int)align_up(first, shift);

        end = end < limit ? end : limit;
        if (start + size <= end) {
            *place = start;
            return true;
        }
        first = next_clear(taken, end);
    }
    return false;
}

/* Finds the highest one. */
static inline bool leaf_highest(const struct node *leaf, unsigned int size, unsigned int shift,
                                unsigned int limit, unsigned int *place)
{
    const uint64_t *taken = leaf->u.leaf.taken;
    unsigned int last = limit == 0 ? LEAF_SIZE : last_clear(taken, limit - 1);

    while (last < LEAF_SIZE) {
        unsigned int before = last_set(taken, last);
        unsigned int first = before == LEAF_SIZE ? 0 : before + 1;
        unsigned int start =
            last + 1 >= size ? (unsigned int)align_down(last + 1 - size, shift) : 0;

        if (start >= first && start + size <= last + 1) {
            *place = start;
            return true;
        }
        last = first == 0 ? LEAF_SIZE : last_clear(taken, first - 1);
    }
    return false;
}

#endif
