/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* Finding a place: down the tree, on a way of which it is known that there is one. */

#include "../base/memory.h"
#include "summary.h"

/* What is looked for. */
struct wish {
    uint64_t size;
    unsigned int shift;
    uint64_t limit;
};

/* The highest place in a run, or the lowest; false: it does not fit. */
static bool place_in_run(const struct wish *wish, struct run run, bool lowest, uint64_t *place)
{
    uint64_t start = align_up(run.from, wish->shift);

    if (start < run.from || start > run.to || run.to - start < wish->size) {
        return false;
    }
    *place = lowest ? start : align_down(run.to - wish->size, wish->shift);
    return true;
}

static bool child_has_room(const struct wish *wish, const struct node *link)
{
    return is_node(link) && has_room(link, wish->size, wish->shift);
}

/* Finds the highest place in a node that has room. */
static APART_IF_SHALLOW bool highest_in(struct tree *tree, const struct wish *wish,
                                        const struct node *node, uint64_t *place)
{
    unsigned int at = 0;

    while (node->level != 0) {
        struct runs runs = runs_of(node);

        tree->visited++;
        if (place_in_run(wish, runs.tail, false, place)) {
            return true;
        }
        if (child_has_room(wish, runs.right)) {
            node = runs.right;
        } else if (place_in_run(wish, runs.middle, false, place)) {
            return true;
        } else if (child_has_room(wish, runs.left)) {
            node = runs.left;
        } else {
            return place_in_run(wish, runs.head, false, place);
        }
    }
    tree->visited++;
    (void)leaf_highest(node, (unsigned int)wish->size, wish->shift, LEAF_SIZE, &at);
    *place = node->first + at;
    return true;
}

/* Finds the lowest place in a node that has room. */
static APART_IF_SHALLOW bool lowest_in(struct tree *tree, const struct wish *wish,
                                       const struct node *node, uint64_t *place)
{
    unsigned int at = 0;

    while (node->level != 0) {
        struct runs runs = runs_of(node);

        tree->visited++;
        if (place_in_run(wish, runs.head, true, place)) {
            return true;
        }
        if (child_has_room(wish, runs.left)) {
            node = runs.left;
        } else if (place_in_run(wish, runs.middle, true, place)) {
            return true;
        } else if (child_has_room(wish, runs.right)) {
            node = runs.right;
        } else {
            return place_in_run(wish, runs.tail, true, place);
        }
    }
    tree->visited++;
    (void)leaf_lowest(node, (unsigned int)wish->size, wish->shift, LEAF_SIZE, &at);
    *place = node->first + at;
    return true;
}

/* What of a run lies up to the limit. */
static struct run clip(const struct wish *wish, struct run run)
{
    run.to = run.to <= wish->limit ? run.to : wish->limit + 1;
    run.from = run.from < run.to ? run.from : run.to;
    return run;
}

/* How many granules of a leaf lie up to a limit that lies in it. */
static unsigned int count_up_to(const struct node *leaf, uint64_t limit)
{
    return (unsigned int)(limit - leaf->first) + 1;
}

static bool is_below(const struct wish *wish, const struct node *link)
{
    return is_node(link) && last_of(link) <= wish->limit;
}

/* Finds the highest place up to the limit in a node, but for what is in the child `done`. */
static APART_IF_SHALLOW bool highest_beside(struct tree *tree, const struct wish *wish,
                                            const struct node *node, const struct node *done,
                                            uint64_t *place)
{
    struct runs runs = runs_of(node);

    tree->visited++;
    if (is_below(wish, runs.right) && runs.right != done) {
        if (place_in_run(wish, clip(wish, runs.tail), false, place)) {
            return true;
        }
        if (child_has_room(wish, runs.right)) {
            return highest_in(tree, wish, runs.right, place);
        }
    }
    if (place_in_run(wish, clip(wish, runs.middle), false, place)) {
        return true;
    }
    if (is_below(wish, runs.left) && runs.left != done && child_has_room(wish, runs.left)) {
        return highest_in(tree, wish, runs.left, place);
    }
    return place_in_run(wish, clip(wish, runs.head), false, place);
}

/* The highest place: first where the limit lies, then, on the way up, in what is below it. */
static APART_IF_SHALLOW bool search_highest(struct tree *tree, const struct wish *wish,
                                            uint64_t *place)
{
    const struct node *node = tree->root;
    const struct node *done = NULL;
    const struct node *child;
    unsigned int at;

    while (node->level != 0 && is_node(child = node->u.inner.child[side_of(node, wish->limit)]) &&
           is_in(child, wish->limit)) {
        node = child;
        tree->visited++;
    }
    if (node->level == 0) {
        if (wish->shift <= LEAF_SHIFT && wish->size <= LEAF_SIZE &&
            leaf_highest(node, (unsigned int)wish->size, wish->shift,
                         count_up_to(node, wish->limit), &at)) {
            *place = node->first + at;
            return true;
        }
        done = node;
        node = node->parent;
    }
    while (node != NULL && !highest_beside(tree, wish, node, done, place)) {
        done = node;
        node = node->parent;
    }
    return node != NULL;
}

/* The lowest place: on the way down to where the limit lies, in what is below it. */
static APART_IF_SHALLOW bool search_lowest(struct tree *tree, const struct wish *wish,
                                           uint64_t *place)
{
    const struct node *node = tree->root;
    unsigned int at;

    while (node->level != 0) {
        struct runs runs = runs_of(node);

        tree->visited++;
        if (place_in_run(wish, clip(wish, runs.head), true, place)) {
            return true;
        }
        if (is_node(runs.left) && is_in(runs.left, wish->limit)) {
            node = runs.left;
            continue;
        }
        if (is_below(wish, runs.left) && child_has_room(wish, runs.left)) {
            return lowest_in(tree, wish, runs.left, place);
        }
        if (place_in_run(wish, clip(wish, runs.middle), true, place)) {
            return true;
        }
        if (is_node(runs.right) && is_in(runs.right, wish->limit)) {
            node = runs.right;
            continue;
        }
        if (!is_below(wish, runs.right)) {
            return false;
        }
        return child_has_room(wish, runs.right)
                   ? lowest_in(tree, wish, runs.right, place)
                   : place_in_run(wish, clip(wish, runs.tail), true, place);
    }
    if (wish->shift > LEAF_SHIFT || wish->size > LEAF_SIZE ||
        !leaf_lowest(node, (unsigned int)wish->size, wish->shift, count_up_to(node, wish->limit),
                     &at)) {
        return false;
    }
    *place = node->first + at;
    return true;
}

bool piommu_iova_tree_search_(struct tree *tree, uint64_t size, unsigned int shift, uint64_t limit,
                              uint64_t *first)
{
    const struct wish wish = {.size = size, .shift = shift, .limit = limit};
    const struct node *root = tree->root;

    if (shift > own_shift(root)) {
        /* Only the beginning of all is a multiple of that. */
        *first = 0;
        return root->prefix >= size && size - 1 <= limit;
    }
    if (limit >= last_of(root)) {
        return has_room(root, size, shift) &&
               (tree->bottom_up ? lowest_in(tree, &wish, root, first)
                                : highest_in(tree, &wish, root, first));
    }
    return tree->bottom_up ? search_lowest(tree, &wish, first) : search_highest(tree, &wish, first);
}
