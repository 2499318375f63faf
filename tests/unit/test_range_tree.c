/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* The ordered set of ranges, against a plain array of flags. */

#include "../../lib/base/range_tree.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SPACE 512u

/* Checks order, parents, heights and balance of the whole tree; returns how many ranges it has. */
static size_t check_tree(const struct range_tree *tree)
{
    size_t count = 0;
    uint64_t next = 0;
    bool first = true;

    for (const struct range_node *node = piommu_range_tree_from_(tree, 0); node != NULL;
         node = piommu_range_tree_next_(node)) {
        uint32_t heights[2];

        assert_true(first || node->first >= next);
        assert_true(node->last >= node->first);
        for (int side = 0; side < 2; side++) {
            const struct range_node *child = node->child[side];

            heights[side] = child != NULL ? child->height : 0;
            assert_true(child == NULL || child->parent == node);
        }
        assert_int_equal(node->height, (heights[0] > heights[1] ? heights[0] : heights[1]) + 1);
        assert_true(heights[0] <= heights[1] + 1 && heights[1] <= heights[0] + 1);
        next = node->last + 1;
        first = false;
        count++;
    }
    return count;
}

static uint32_t next_random(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

static void test_an_empty_tree_has_nothing(void **state)
{
    struct range_tree tree = {NULL};

    (void)state;
    assert_null(piommu_range_tree_from_(&tree, 0));
    assert_null(piommu_range_tree_from_(&tree, UINT64_MAX));
    assert_false(range_tree_overlaps(&tree, 0, UINT64_MAX));
}

static void test_overlapping_ranges_are_refused(void **state)
{
    struct range_tree tree = {NULL};
    struct range_node middle = {.first = 10, .last = 20};
    static const uint64_t overlapping[][2] = {{10, 20},        {0, 10},  {20, 30},
                                              {0, UINT64_MAX}, {15, 15}, {9, 21}};
    struct range_node below = {.first = 0, .last = 9};
    struct range_node above = {.first = 21, .last = UINT64_MAX};

    (void)state;
    assert_true(piommu_range_tree_insert_(&tree, &middle));
    for (size_t i = 0; i < sizeof(overlapping) / sizeof(overlapping[0]); i++) {
        struct range_node other = {.first = overlapping[i][0], .last = overlapping[i][1]};

        assert_false(piommu_range_tree_insert_(&tree, &other));
        assert_true(range_tree_overlaps(&tree, other.first, other.last));
    }
    assert_false(range_tree_overlaps(&tree, 0, 9));
    assert_false(range_tree_overlaps(&tree, 21, UINT64_MAX));
    assert_true(piommu_range_tree_insert_(&tree, &below));
    assert_true(piommu_range_tree_insert_(&tree, &above));
    assert_int_equal(check_tree(&tree), 3);
    assert_ptr_equal(piommu_range_tree_from_(&tree, UINT64_MAX), &above);
    assert_ptr_equal(piommu_range_tree_from_(&tree, 9), &below);
    assert_ptr_equal(piommu_range_tree_from_(&tree, 10), &middle);
}

static void test_random_ranges_are_found_in_order(void **state)
{
    static struct range_node nodes[SPACE];
    struct range_node *owner[SPACE]; /* by address */
    struct range_tree tree = {NULL};
    uint32_t seed = 1;
    size_t count = 0;

    (void)state;
    memset(owner, 0, sizeof(owner));
    for (unsigned int step = 0; step < 20000; step++) {
        uint32_t address = next_random(&seed) % SPACE;
        uint32_t length = 1 + next_random(&seed) % 6;
        uint32_t expected = address;

        if (owner[address] != NULL) {
            struct range_node *node = owner[address];

            piommu_range_tree_remove_(&tree, node);
            for (uint64_t i = node->first; i <= node->last; i++) {
                owner[i] = NULL;
            }
            count--;
        } else if (address + length <= SPACE) {
            /* The first address names the node: no two ranges begin there. */
            struct range_node *node = &nodes[address];
            bool is_free = true;

            for (uint32_t i = 0; i < length; i++) {
                is_free = is_free && owner[address + i] == NULL;
            }
            if (is_free || owner[address] == NULL) {
                struct range_node saved = *node;

                node->first = address;
                node->last = address + length - 1;
                assert_int_equal(piommu_range_tree_insert_(&tree, node), is_free);
                if (is_free) {
                    for (uint32_t i = 0; i < length; i++) {
                        owner[address + i] = node;
                    }
                    count++;
                } else {
                    *node = saved;
                }
            }
        }
        while (expected < SPACE && owner[expected] == NULL) {
            expected++;
        }
        assert_ptr_equal(piommu_range_tree_from_(&tree, address),
                         expected < SPACE ? owner[expected] : NULL);
        if (step % 64 == 0) {
            assert_int_equal(check_tree(&tree), count);
        }
    }
    while (tree.root != NULL) {
        piommu_range_tree_remove_(&tree, tree.root);
        check_tree(&tree);
    }
}

static void test_sorted_input_stays_balanced(void **state)
{
    static struct range_node nodes[1 << 12];
    struct range_tree tree = {NULL};

    (void)state;
    for (uint32_t i = 0; i < 1u << 12; i++) {
        nodes[i].first = nodes[i].last = i;
        assert_true(piommu_range_tree_insert_(&tree, &nodes[i]));
    }
    assert_int_equal(check_tree(&tree), 1u << 12);
    /* An AVL tree of n nodes is at most 1.44 log2(n + 2) high. */
    assert_true(tree.root->height <= 17);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_empty_tree_has_nothing),
        cmocka_unit_test(test_overlapping_ranges_are_refused),
        cmocka_unit_test(test_random_ranges_are_found_in_order),
        cmocka_unit_test(test_sorted_input_stays_balanced),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
