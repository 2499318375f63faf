/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_LIB_IOVA_SUMMARY_H
#define PIOMMU_LIB_IOVA_SUMMARY_H

/* What nodes know of the free runs in them. */

#include "../base/compiler.h"
#include "leaf.h"

static inline uint32_t run_length(uint64_t length)
{
    return length < LONGEST ? (uint32_t)length : LONGEST;
}

static inline int16_t short_length(uint64_t length)
{
    return (int16_t)(length < LONGEST_SHORT ? (int)length : LONGEST_SHORT);
}

/*
 * Whether a node has room for `size` granules at a multiple of 1 << shift, not above its own size.
 */
static inline bool has_room(const struct node *node, uint64_t size, unsigned int shift)
{
    if (shift > own_shift(node)) {
        return false;
    }
    if (shift <= SHORT_SHIFT && size <= LONGEST_SHORT) {
        return (uint64_t)node->short_run[shift] >= size;
    }
    return node->level != 0 && node->u.inner.run[shift] >= size;
}

/* A part of a node that is free, `to` not included; empty where they are the same. */
struct run {
    uint64_t from;
    uint64_t to;
};

/* The free runs of a node that are not inside of one child, and the children between them. */
struct runs {
    struct run head; /* up to the left child; empty if that has no node */
    struct node *left;
    struct run middle;
    struct node *right;
    struct run tail; /* from the right child on; empty if that has no node */
};

static OUTLINE_IF_SHALLOW struct runs runs_of(const struct node *node)
{
    uint64_t middle = node->first + (1ull << (own_shift(node) - 1));
    uint64_t end = last_of(node) + 1;
    struct runs runs = {.head = {node->first, node->first},
                        .left = node->u.inner.child[0],
                        .middle = {middle, middle},
                        .right = node->u.inner.child[1],
                        .tail = {end, end}};

    if (is_node(runs.left)) {
        runs.head.to = runs.left->first + runs.left->prefix;
        runs.middle.from = last_of(runs.left) + 1 - runs.left->suffix;
    } else if (runs.left == FREE) {
        runs.middle.from = node->first;
    }
    if (is_node(runs.right)) {
        runs.middle.to = runs.right->first + runs.right->prefix;
        runs.tail.from = last_of(runs.right) + 1 - runs.right->suffix;
    } else if (runs.right == FREE) {
        runs.middle.to = end;
    }
    return runs;
}

/* Rounded so that rounding it down to any alignment of short runs leaves what is there. */
static inline int16_t short_length_before(uint64_t length)
{
    return (int16_t)(length <= LONGEST_SHORT ? (int)length : LONGEST_SHORT + 1);
}

/*
 * The longest short runs of a node whose prefix is known. The first run begins at a multiple of
 * all; the middle of the node and its end are multiples of all but its own size.
 */
static OUTLINE_IF_SHALLOW unsigned int update_short_runs(struct node *node, const struct runs *runs)
{
    static const int16_t none[SHORT_LANES] = {0};
    const int16_t *left = is_node(runs->left) ? runs->left->short_run : none;
    const int16_t *right = is_node(runs->right) ? runs->right->short_run : none;
    uint64_t middle = node->first + (1ull << (own_shift(node) - 1));
    int16_t head = short_length(runs->head.to - runs->head.from);
    int16_t before = short_length_before(middle - runs->middle.from);
    int16_t behind = short_length(runs->middle.to - middle);
    int16_t tail = short_length_before(runs->tail.to - runs->tail.from);
    int16_t best[SHORT_LANES];

    for (unsigned int i = 0; i < SHORT_LANES; i += LANES) {
        lanes mask = ~lanes_from(low_bits + i);
        lanes run = longer((lanes_of(before) & mask) + lanes_of(behind), lanes_of(tail) & mask);

        run = shorter(longer(run, lanes_of(head)), lanes_of((int16_t)LONGEST_SHORT));
        run = longer(longer(run, lanes_from(left + i)), lanes_from(right + i));
        lanes_to(best + i, run);
    }
    if (own_shift(node) <= SHORT_SHIFT) {
        best[own_shift(node)] = short_length(node->prefix);
    }
    return set_short_runs(node, best, own_shift(node));
}

/* The longest run of a child at an alignment; what begins before it or behind it is not its own. */
static inline uint32_t long_run_of(const struct node *child, unsigned int shift)
{
    return is_node(child) && child->level != 0 && shift <= own_shift(child)
               ? child->u.inner.run[shift]
               : 0;
}

static inline uint32_t aligned_length(const struct run *run, unsigned int shift)
{
    uint64_t start = align_up(run->from, shift);

    return start < run->to ? run_length(run->to - start) : 0;
}

static OUTLINE_IF_SHALLOW unsigned int update_long_runs(struct node *node, const struct runs *runs)
{
    bool changed = false;

    for (unsigned int shift = 0; shift <= own_shift(node); shift++) {
        const uint32_t lengths[] = {
            aligned_length(&runs->head, shift), aligned_length(&runs->middle, shift),
            aligned_length(&runs->tail, shift), long_run_of(runs->right, shift)};
        uint32_t longest = long_run_of(runs->left, shift);

        for (unsigned int i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
            longest = lengths[i] > longest ? lengths[i] : longest;
        }
        changed = changed || node->u.inner.run[shift] != longest;
        node->u.inner.run[shift] = longest;
    }
    return changed ? CHANGED_LONG : 0;
}

/*
 * Whether long runs may have changed, after other edges of the children: one was long or is, or the
 * node is large enough for what is at large alignments only.
 */
static inline bool concerns_long_runs(const struct node *node, const struct runs *runs)
{
    return own_shift(node) > SHORT_SHIFT || node->u.inner.run[0] >= LONGEST_SHORT ||
           runs->middle.to - runs->middle.from >= LONGEST_SHORT;
}

/* Computes what a node knows of itself after a change below; tells what has changed. */
static inline unsigned int inner_update(struct node *node, unsigned int below)
{
    struct runs runs = runs_of(node);
    unsigned int changed = 0;

    if ((below & CHANGED_EDGES) != 0) {
        const struct run *prefix = runs.left == FREE ? &runs.middle : &runs.head;
        const struct run *suffix = runs.right == FREE ? &runs.middle : &runs.tail;

        changed = set_edges(node, run_length(prefix->to - prefix->from),
                            run_length(suffix->to - suffix->from));
    }
    if ((below & CHANGED_LONG) != 0 ||
        ((below & CHANGED_EDGES) != 0 && concerns_long_runs(node, &runs))) {
        changed |= update_long_runs(node, &runs);
    }
    return changed | update_short_runs(node, &runs);
}

#endif
