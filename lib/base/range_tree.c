/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "range_tree.h"

enum { LOWER, HIGHER };

static uint32_t height(const struct range_node *node)
{
    return node != NULL ? node->height : 0;
}

static void update_height(struct range_node *node)
{
    uint32_t lower = height(node->child[LOWER]);
    uint32_t higher = height(node->child[HIGHER]);

    node->height = (lower > higher ? lower : higher) + 1;
}

/* Puts `replacement` (which may be NULL) where `node` hangs. */
static void replace(struct range_tree *tree, const struct range_node *node,
                    struct range_node *replacement)
{
    struct range_node *parent = node->parent;

    if (parent == NULL) {
        tree->root = replacement;
    } else {
        parent->child[parent->child[HIGHER] == node] = replacement;
    }
    if (replacement != NULL) {
        replacement->parent = parent;
    }
}

/* Turns the child on `side` up into the node's place, and returns it. */
static struct range_node *rotate(struct range_tree *tree, struct range_node *node, int side)
{
    struct range_node *up = node->child[side];
    struct range_node *middle = up->child[!side];

    replace(tree, node, up);
    up->child[!side] = node;
    node->parent = up;
    node->child[side] = middle;
    if (middle != NULL) {
        middle->parent = node;
    }
    update_height(node);
    update_height(up);
    return up;
}

/* Restores heights and balance from `node` up to the root. */
static void rebalance(struct range_tree *tree, struct range_node *node)
{
    while (node != NULL) {
        uint32_t lower = height(node->child[LOWER]);
        uint32_t higher = height(node->child[HIGHER]);

        if (lower > higher + 1 || higher > lower + 1) {
            int side = higher > lower ? HIGHER : LOWER;
            struct range_node *heavy = node->child[side];

            if (height(heavy->child[!side]) > height(heavy->child[side])) {
                rotate(tree, heavy, !side);
            }
            node = rotate(tree, node, side);
        } else {
            update_height(node);
        }
        node = node->parent;
    }
}

struct range_node *piommu_range_tree_from_(const struct range_tree *tree, uint64_t address)
{
    struct range_node *node = tree->root;
    struct range_node *best = NULL;

    while (node != NULL) {
        if (node->last >= address) {
            best = node;
            node = node->child[LOWER];
        } else {
            node = node->child[HIGHER];
        }
    }
    return best;
}

struct range_node *piommu_range_tree_next_(const struct range_node *node)
{
    if (node->child[HIGHER] != NULL) {
        node = node->child[HIGHER];
        while (node->child[LOWER] != NULL) {
            node = node->child[LOWER];
        }
        return (struct range_node *)node;
    }
    while (node->parent != NULL && node->parent->child[HIGHER] == node) {
        node = node->parent;
    }
    return node->parent;
}

bool piommu_range_tree_insert_(struct range_tree *tree, struct range_node *node)
{
    struct range_node *parent = NULL;
    struct range_node *place = tree->root;
    int side = LOWER;

    while (place != NULL) {
        parent = place;
        if (node->last < place->first) {
            side = LOWER;
        } else if (node->first > place->last) {
            side = HIGHER;
        } else {
            return false;
        }
        place = place->child[side];
    }
    node->parent = parent;
    node->child[LOWER] = NULL;
    node->child[HIGHER] = NULL;
    node->height = 1;
    if (parent == NULL) {
        tree->root = node;
    } else {
        parent->child[side] = node;
    }
    rebalance(tree, parent);
    return true;
}

void piommu_range_tree_remove_(struct range_tree *tree, struct range_node *node)
{
    struct range_node *unbalanced;

    if (node->child[LOWER] != NULL && node->child[HIGHER] != NULL) {
        /* The next higher range has no lower child: it takes the node's place. */
        struct range_node *next = piommu_range_tree_next_(node);

        unbalanced = next->parent == node ? next : next->parent;
        replace(tree, next, next->child[HIGHER]);
        replace(tree, node, next);
        for (int side = LOWER; side <= HIGHER; side++) {
            next->child[side] = node->child[side];
            if (next->child[side] != NULL) {
                next->child[side]->parent = next;
            }
        }
        next->height = node->height;
    } else {
        unbalanced = node->parent;
        replace(tree, node, node->child[node->child[LOWER] == NULL]);
    }
    rebalance(tree, unbalanced);
}
