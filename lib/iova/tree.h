/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_LIB_IOVA_TREE_H
#define PIOMMU_LIB_IOVA_TREE_H

/*
 * Which granules are free: a binary tree over the space. A leaf covers 512 granules with two bits
 * each; a node covers a power of two of them, at a multiple of that, and has two children, one for
 * each half. What is wholly free, or wholly taken by one range, has no node: the link says so.
 * Neither has what is free but for one child: the link leads on to that, and all around it is free.
 * So a lone range takes two nodes, wherever it lies.
 *
 * Each node knows, for every alignment, the longest run of free granules that begins at a multiple
 * of it: so whether a place exists is known at the root, and where, by one way down. Most changes
 * concern short runs only; those are kept apart, and are cheap to compute.
 *
 * Everything here is in granules, and under the space's lock.
 */

#include <piommu/iova.h>

#define LEAF_SHIFT 9u
#define LEAF_SIZE  (1u << LEAF_SHIFT)
#define LEAF_WORDS (LEAF_SIZE / 64)
/* Levels above the leaves. The highest node begins at 0. */
#define MAX_LEVEL 34u

_Static_assert(UINT64_C(1) << (LEAF_SHIFT + MAX_LEVEL) == PIOMMU_IOVA_MAX_GRANULES,
               "the highest tree is of all granules that there may be");
/* Runs are counted up to this; longer ones count as this long. */
#define LONGEST UINT32_MAX
/*
 * What most requests are about: runs shorter than LONGEST_SHORT, at alignments of up to 1 <<
 * SHORT_SHIFT. As many lanes as a machine's vectors hold, so that compilers use those.
 */
#define SHORT_SHIFT   14u
#define SHORT_LANES   16u
#define LONGEST_SHORT ((1 << SHORT_SHIFT) - 1)

struct node {
    struct node *parent; /* of a spare node: the next one */
    uint64_t first;
    uint32_t prefix; /* free granules at its beginning */
    uint32_t suffix; /* at its end */
    /* The longest run, by alignment up to its own size; LONGEST_SHORT: or longer. */
    int16_t short_run[SHORT_LANES];
    uint8_t level; /* 0: a leaf */
    uint8_t side;  /* of its parent */
    union {
        struct {
            struct node *child[2];
            /* The same; not kept up to date where `short_run` is enough to know. */
            uint32_t run[LEAF_SHIFT + 1 + MAX_LEVEL];
        } inner;
        struct {
            uint64_t taken[LEAF_WORDS];
            uint64_t starts[LEAF_WORDS]; /* where ranges begin */
        } leaf;
    } u;
};

/*
 * Links to what has no node. A range that is taken begins in the first, and goes on in the other.
 */
#define FREE  ((struct node *)0)
#define START ((struct node *)1)
#define REST  ((struct node *)2)

static inline bool is_node(const struct node *link)
{
    return (uintptr_t)link > 2;
}

static inline unsigned int own_shift(const struct node *node)
{
    return LEAF_SHIFT + node->level;
}

static inline uint64_t last_of(const struct node *node)
{
    return node->first + ((1ull << own_shift(node)) - 1);
}

static inline bool is_in(const struct node *node, uint64_t at)
{
    return (at ^ node->first) >> own_shift(node) == 0;
}

/* In which half of a node an address lies. */
static inline unsigned int side_of(const struct node *node, uint64_t at)
{
    return (unsigned int)(at >> (own_shift(node) - 1)) & 1u;
}

struct tree {
    struct node *root;
    struct node *spare;
    uint32_t nodes;
    uint32_t spares;
    uint32_t visited;
    bool bottom_up;
};

/* Makes the root, of which there must be a spare node: everything up to its end is free. */
void piommu_iova_tree_open_(struct tree *tree, unsigned int level);
void piommu_iova_tree_add_spare_(struct tree *tree, struct node *node);

/*
 * Finds a place for `size` granules (below LONGEST) at a multiple of 1 << shift, that ends at or
 * below `limit`. False: there is none.
 */
bool piommu_iova_tree_search_(struct tree *tree, uint64_t size, unsigned int shift, uint64_t limit,
                              uint64_t *first);
/* Whether all of a range is free. */
bool piommu_iova_tree_is_free_(struct tree *tree, uint64_t first, uint64_t last);
/* How many spare nodes it takes at most to take a range. */
uint32_t piommu_iova_tree_needs_(const struct tree *tree, uint64_t first, uint64_t last);
/* Takes a range that is free; there are spare nodes enough. */
void piommu_iova_tree_take_(struct tree *tree, uint64_t first, uint64_t last);
/* Frees a range that was taken as such; false: it was not. */
bool piommu_iova_tree_give_(struct tree *tree, uint64_t first, uint64_t last);
/* Finds the range in which a granule lies; false: it is free. */
bool piommu_iova_tree_find_(struct tree *tree, uint64_t granule, uint64_t *first, uint64_t *last);

#endif
