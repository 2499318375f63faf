/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_LIB_BASE_RANGE_TREE_H
#define PIOMMU_LIB_BASE_RANGE_TREE_H

/*
 * An ordered set of ranges that do not overlap: an AVL tree whose nodes are part of the caller's
 * objects, so that it never allocates. Insert, remove and find take O(log n) steps.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct range_node {
    uint64_t first; /* set by the caller before insert, not changed while in a tree */
    uint64_t last;
    struct range_node *parent;
    struct range_node *child[2]; /* lower, higher */
    uint32_t height;             /* of the subtree; a leaf has 1 */
};

struct range_tree {
    struct range_node *root;
};

/* The object around a node. */
#define RANGE_TREE_ENTRY(node, type, member) \
    ((type *)(void *)((char *)(node)-offsetof(type, member)))

/* The lowest range that reaches `address` or lies above it, or NULL. */
struct range_node *piommu_range_tree_from_(const struct range_tree *tree, uint64_t address);

/* The next higher range, or NULL. */
struct range_node *piommu_range_tree_next_(const struct range_node *node);

/* Adds a range; false, and nothing done, if it overlaps one that is there. */
bool piommu_range_tree_insert_(struct range_tree *tree, struct range_node *node);

/* Takes a range out. */
void piommu_range_tree_remove_(struct range_tree *tree, struct range_node *node);

/* Tells whether any range overlaps [first, last]. */
static inline bool range_tree_overlaps(const struct range_tree *tree, uint64_t first, uint64_t last)
{
    const struct range_node *node = piommu_range_tree_from_(tree, first);

    return node != NULL && node->first <= last;
}

#endif
