/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* The tree of what is free: how it is changed, and looked at by address. */

#include "tree.h"

#include "../base/memory.h"
#include "leaf.h"
#include "summary.h"

#define CHANGED_ALL (CHANGED_SHORT | CHANGED_EDGES | CHANGED_LONG)

/* Makes a node of which everything is free, and which lies around an address. */
static struct node *make(struct tree *tree, uint64_t at, unsigned int level)
{
    struct node *node = tree->spare;
    uint32_t size = run_length(1ull << (LEAF_SHIFT + level));

    tree->spare = node->parent;
    tree->spares--;
    tree->nodes++;
    tree->visited++;
    memset(node, 0, sizeof(*node));
    node->first = align_down(at, LEAF_SHIFT + level);
    node->level = (uint8_t)level;
    node->prefix = size;
    node->suffix = size;
    for (unsigned int i = 0; i <= SHORT_SHIFT && i <= LEAF_SHIFT + level; i++) {
        node->short_run[i] = short_length(size);
    }
    for (unsigned int shift = 0; level != 0 && shift <= LEAF_SHIFT + level; shift++) {
        node->u.inner.run[shift] = size;
    }
    return node;
}

static void set_child(struct node *parent, unsigned int side, struct node *child)
{
    parent->u.inner.child[side] = child;
    if (is_node(child)) {
        child->parent = parent;
        child->side = (uint8_t)side;
    }
}

void piommu_iova_tree_add_spare_(struct tree *tree, struct node *node)
{
    node->parent = tree->spare;
    tree->spare = node;
    tree->spares++;
}

void piommu_iova_tree_open_(struct tree *tree, unsigned int level)
{
    tree->root = make(tree, 0, level);
}

/* What takes the place of a node that is not needed; itself, if it is. */
static struct node *substitute(const struct tree *tree, struct node *node)
{
    struct node *left = node->u.inner.child[0];
    struct node *right = node->u.inner.child[1];

    if (node == tree->root) {
        return node;
    }
    if (node->level == 0) {
        return node->prefix == LEAF_SIZE ? FREE : node;
    }
    if (left == FREE && (right == FREE || is_node(right))) {
        return right;
    }
    return right == FREE && is_node(left) ? left : node;
}

/* After a change in a node: computes what those above know of themselves, as far as it changes. */
static void propagate(struct tree *tree, struct node *node, unsigned int changed)
{
    while (node != NULL && changed != 0) {
        struct node *parent = node->parent;
        struct node *instead = substitute(tree, node);

        tree->visited++;
        if (instead != node) {
            set_child(parent, node->side, instead);
            piommu_iova_tree_add_spare_(tree, node);
            tree->nodes--;
            changed = CHANGED_ALL;
        } else if (node->level != 0) {
            changed = inner_update(node, changed);
        }
        node = parent;
    }
}

/* Goes down to the node of a level in which an address lies, and makes what is missing. */
static struct node *reach(struct tree *tree, uint64_t at, unsigned int level)
{
    struct node *node = tree->root;

    while (node->level != level) {
        unsigned int side = side_of(node, at);
        struct node *child = node->u.inner.child[side];

        tree->visited++;
        if (!is_node(child)) {
            child = make(tree, at, level);
            set_child(node, side, child);
        } else if (!is_in(child, at) || child->level < level) {
            /* It gets a new node above it, which has room for both. */
            struct node *lower = child;
            struct node *upper;
            unsigned int top = level;

            while ((at ^ lower->first) >> (LEAF_SHIFT + top) != 0) {
                top++;
            }
            upper = make(tree, at, top);
            set_child(node, side, upper);
            set_child(upper, side_of(upper, lower->first), lower);
            (void)inner_update(upper, CHANGED_ALL);
            child = upper;
        }
        node = child;
    }
    return node;
}

/* A leaf, or what a link says that has no node. */
struct part {
    struct node *link;
    uint64_t first;
    uint64_t last;
};

/* What is around a child in its half of a node, on the side of an address, is free. */
static struct part gap(const struct node *child, struct part half, uint64_t at)
{
    half.link = FREE;
    if (at < child->first) {
        half.last = child->first - 1;
    } else {
        half.first = last_of(child) + 1;
    }
    return half;
}

/* Goes down as far as there are nodes. */
static struct part locate(struct tree *tree, uint64_t at)
{
    struct node *node = tree->root;
    struct part part;

    for (;;) {
        unsigned int shift = own_shift(node) - 1;

        tree->visited++;
        part.link = node->u.inner.child[side_of(node, at)];
        if (is_node(part.link) && is_in(part.link, at) && part.link->level != 0) {
            node = part.link;
            continue;
        }
        part.first = align_down(at, shift);
        part.last = part.first + ((1ull << shift) - 1);
        if (is_node(part.link)) {
            if (!is_in(part.link, at)) {
                return gap(part.link, part, at);
            }
            part.first = part.link->first;
            part.last = last_of(part.link);
        }
        return part;
    }
}

bool piommu_iova_tree_is_free_(struct tree *tree, uint64_t first, uint64_t last)
{
    uint64_t at = first;

    for (;;) {
        struct part part = locate(tree, at);

        if (part.link == START || part.link == REST) {
            return false;
        }
        if (part.link != FREE &&
            next_set(part.link->u.leaf.taken, (unsigned int)(at - part.first)) <=
                (last < part.last ? last : part.last) - part.first) {
            return false;
        }
        if (part.last >= last) {
            return true;
        }
        at = part.last + 1;
    }
}

/*
 * The level of the largest part that begins at an address and ends at or below `last`; -1: it is
 * less than a leaf.
 */
static int level_of_piece(const struct tree *tree, uint64_t at, uint64_t last)
{
    int level = -1;

    while (level + 1 < (int)tree->root->level &&
           (at & ((1ull << (LEAF_SHIFT + (unsigned int)(level + 1))) - 1)) == 0 &&
           last - at >= (1ull << (LEAF_SHIFT + (unsigned int)(level + 1))) - 1) {
        level++;
    }
    return level;
}

/* The last address of the piece of a range that begins at one; the level is that of above. */
static uint64_t end_of_piece(uint64_t at, uint64_t last, int level)
{
    uint64_t end =
        level < 0 ? at | (LEAF_SIZE - 1) : at + ((1ull << (LEAF_SHIFT + (unsigned int)level)) - 1);

    return end < last ? end : last;
}

uint32_t piommu_iova_tree_needs_(const struct tree *tree, uint64_t first, uint64_t last)
{
    uint32_t nodes = 2;

    for (uint64_t at = first, end;; at = end + 1) {
        end = end_of_piece(at, last, level_of_piece(tree, at, last));
        if (end == last) {
            return nodes;
        }
        nodes += 2;
    }
}

/* Takes or frees a piece of a leaf. */
static void change_leaf(struct tree *tree, struct node *leaf, uint64_t at, uint64_t last,
                        bool start, bool take)
{
    unsigned int from = (unsigned int)(at - leaf->first);
    unsigned int to = (unsigned int)(last - leaf->first);

    if (take) {
        set_bits(leaf->u.leaf.taken, from, to);
        if (start) {
            set_bits(leaf->u.leaf.starts, from, from);
        }
    } else {
        clear_bits(leaf->u.leaf.taken, from, to);
        clear_bits(leaf->u.leaf.starts, from, from);
    }
    propagate(tree, leaf, leaf_update(leaf));
}

/* Changes the link to a part that has no node. */
static void change_link(struct tree *tree, uint64_t at, unsigned int level, struct node *link)
{
    struct node *parent = reach(tree, at, level + 1);

    set_child(parent, side_of(parent, at), link);
    propagate(tree, parent, CHANGED_ALL);
}

static bool change(struct tree *tree, uint64_t first, uint64_t last, bool take)
{
    for (uint64_t at = first, end;; at = end + 1) {
        int level = level_of_piece(tree, at, last);

        end = end_of_piece(at, last, level);
        if (level < 0) {
            change_leaf(tree, reach(tree, at, 0), at, end, at == first, take);
        } else {
            change_link(tree, at, (unsigned int)level, !take ? FREE : at == first ? START : REST);
        }
        if (end == last) {
            return true;
        }
    }
}

void piommu_iova_tree_take_(struct tree *tree, uint64_t first, uint64_t last)
{
    (void)change(tree, first, last, true);
}

/* Where the range begins in which a granule lies. */
static uint64_t find_first(struct tree *tree, uint64_t at)
{
    for (;;) {
        struct part part = locate(tree, at);

        if (part.link == START) {
            return part.first;
        }
        if (is_node(part.link)) {
            unsigned int start =
                last_set(part.link->u.leaf.starts, (unsigned int)(at - part.first));

            if (start != LEAF_SIZE) {
                return part.first + start;
            }
        }
        at = part.first - 1;
    }
}

/* Where the range ends that goes on behind a granule. */
static uint64_t find_last(struct tree *tree, uint64_t at)
{
    uint64_t end = last_of(tree->root);

    while (at != end) {
        struct part part = locate(tree, at + 1);
        unsigned int from = (unsigned int)(at + 1 - part.first);
        unsigned int starts;
        unsigned int clear;

        if (part.link == FREE || part.link == START) {
            break;
        }
        at = part.last;
        if (part.link != REST) {
            starts = next_set(part.link->u.leaf.starts, from);
            clear = next_clear(part.link->u.leaf.taken, from);
            clear = starts < clear ? starts : clear;
            at = part.first + clear - 1;
            if (clear != LEAF_SIZE) {
                break;
            }
        }
    }
    return at;
}

bool piommu_iova_tree_find_(struct tree *tree, uint64_t granule, uint64_t *first, uint64_t *last)
{
    struct part part = locate(tree, granule);

    if (part.link == FREE ||
        (is_node(part.link) &&
         !is_set(part.link->u.leaf.taken, (unsigned int)(granule - part.first)))) {
        return false;
    }
    *first = find_first(tree, granule);
    *last = find_last(tree, is_node(part.link) ? granule : part.last);
    return true;
}

enum given { GIVEN_NOT, GIVEN, GIVEN_ELSEWHERE };

/* Nearly always a range lies in one leaf, and ends where another or something free begins. */
static APART_IF_SHALLOW enum given give_in_leaf(struct tree *tree, uint64_t first, uint64_t last)
{
    struct part part = locate(tree, first);
    unsigned int from = (unsigned int)(first - part.first);
    unsigned int to = (unsigned int)(last - part.first);
    unsigned int next;
    unsigned int clear;

    if (!is_node(part.link) || last >= part.last) {
        return GIVEN_ELSEWHERE;
    }
    next = next_set(part.link->u.leaf.starts, from + 1);
    clear = next_clear(part.link->u.leaf.taken, from);
    if (!is_set(part.link->u.leaf.starts, from) || (next < clear ? next : clear) != to + 1) {
        return GIVEN_NOT;
    }
    change_leaf(tree, part.link, first, last, true, false);
    return GIVEN;
}

static APART_IF_SHALLOW bool is_one_range(struct tree *tree, uint64_t first, uint64_t last)
{
    uint64_t found_first;
    uint64_t found_last;

    return piommu_iova_tree_find_(tree, first, &found_first, &found_last) && found_first == first &&
           found_last == last;
}

bool piommu_iova_tree_give_(struct tree *tree, uint64_t first, uint64_t last)
{
    enum given given = give_in_leaf(tree, first, last);

    if (given != GIVEN_ELSEWHERE) {
        return given == GIVEN;
    }
    return is_one_range(tree, first, last) && change(tree, first, last, false);
}
