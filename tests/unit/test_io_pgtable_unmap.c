/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* Unmapping: what is removed and what is refused, gathers, and the life of empty tables. */

#include "pgtable_fixture.h"

#include <stdlib.h>
#include <string.h>

/*
 * The gather's range holds all that was removed, and before a detach nothing beyond what was asked.
 */
static void expect_range(const struct piommu_gather *gather, uint64_t first, uint64_t last,
                         uint64_t asked_first, uint64_t asked_last)
{
    assert_true(gather->pending);
    assert_true(gather->range.first <= first && gather->range.last >= last);
    assert_true(gather->range.first >= asked_first && gather->range.last <= asked_last);
}

static void test_unmap_removes_exactly_the_range(void **state)
{
    struct piommu_pgtable_config config = stage1_config(39);
    struct pgt *p = open_table(&config);
    struct piommu_gather gather;

    (void)state;
    map(p, 0, 0, 8 * 4096, READ);
    piommu_gather_init(&gather);
    unmap(p, 2 * 4096, 3 * 4096, &gather, 3 * 4096);
    expect_range(&gather, 2 * 4096, 5 * 4096 - 1, 2 * 4096, 5 * 4096 - 1);
    EXPECT_LEAVES(p, {0, 0, 4096}, {0x1000, 0x1000, 4096}, {0x5000, 0x5000, 4096},
                  {0x6000, 0x6000, 4096}, {0x7000, 0x7000, 4096});
    sync_gather(p, &gather);
    assert_false(stale_tlb_holds_input(p->tlb, 2 * 4096, 5 * 4096 - 1));
    EXPECT_LEAVES(p, {0, 0, 4096}, {0x1000, 0x1000, 4096}, {0x5000, 0x5000, 4096},
                  {0x6000, 0x6000, 4096}, {0x7000, 0x7000, 4096});
    /* The addresses can be mapped again after the sync. */
    map(p, 2 * 4096, 0x90000, 3 * 4096, READ);
    close_table(p);
}

static void test_unmap_skips_holes_at_every_level(void **state)
{
    struct piommu_pgtable_config config = stage1_config(48);
    struct pgt *p = open_table(&config);
    struct piommu_gather gather;
    uint64_t last = (1ull << 48) - 1;

    (void)state;
    map(p, 0x3000, 0, 4096, READ);
    map(p, 6 * MIB, 0, 2 * MIB, READ);
    map(p, 5 * GIB, 0, GIB, READ);
    map(p, 700 * GIB, 0, 4096, READ);
    map(p, last - 4095, 0, 4096, READ);
    piommu_gather_init(&gather);
    unmap(p, 0, 1ull << 48, &gather, GIB + 2 * MIB + 3 * 4096);
    expect_range(&gather, 0x3000, last, 0, last);
    expect_empty(p);
    assert_int_equal(statistics_of(p).tables_freed, 0);
    sync_gather(p, &gather);
    assert_int_equal(p->linked_count, 0);
    assert_int_equal(statistics_of(p).tables_freed, statistics_of(p).tables_allocated);
    assert_int_equal(statistics_of(p).tables_allocated, 9);
    close_table(p);
}

static void test_unmap_of_holes_alone_finds_nothing(void **state)
{
    struct piommu_pgtable_config config = stage2_config(48, 48);
    struct pgt *p = open_table(&config);

    (void)state;
    unmap_fails(p, 0, 4096, -PIOMMU_ENOENT);
    unmap_fails(p, 0, 1ull << 48, -PIOMMU_ENOENT);
    map(p, 0x8000, 0, 4096, READ);
    map(p, 4 * GIB, 0, GIB, READ);
    unmap_fails(p, 0x9000, 4 * GIB - 0x9000, -PIOMMU_ENOENT);
    unmap_fails(p, 0, 0x8000, -PIOMMU_ENOENT);
    unmap_fails(p, 5 * GIB, (1ull << 48) - 5 * GIB, -PIOMMU_ENOENT);
    unmap_and_sync(p, 0x8000, 4096, 4096);
    unmap_fails(p, 0x8000, 4096, -PIOMMU_ENOENT);
    close_table(p);
}

static void test_unmap_that_would_cut_a_block_changes_nothing(void **state)
{
    struct piommu_pgtable_config config = stage1_config(48);
    struct pgt *p = open_table(&config);
    const struct expected_leaf leaves[] = {
        {0x5000, 0, 4096},           {2 * MIB - 4096, 0, 4096}, {2 * MIB, 4 * MIB, 2 * MIB},
        {4 * MIB, 8 * MIB, 2 * MIB}, {6 * MIB, 0, 4096},        {2 * GIB, GIB, GIB},
        {3 * GIB, 0, 4096},
    };
    const struct piommu_range cuts[] = {
        {2 * MIB, 2 * MIB}, /* the first page of a block */
        {4 * MIB - 4096, 4 * MIB - 4096},
        {3 * MIB, 3 * MIB},
        {2 * MIB + 4096, 4 * MIB - 4096}, /* all but the first page */
        {2 * MIB, 4 * MIB - 8192},
        {0, 2 * MIB}, /* much before it, and one page of it */
        {0, 4 * MIB}, /* a whole block, and one page of the next */
        {2 * MIB, 6 * MIB - 8192},
        {2 * MIB + 4096, 6 * MIB - 4096},
        {4 * MIB - 4096, 4 * MIB}, /* both ends in blocks */
        {6 * MIB - 4096, 6 * MIB},
        {2 * GIB, 2 * GIB + 2 * MIB - 4096},
        {0, 2 * GIB},
        {0, 3 * GIB - 8192},
        {3 * GIB - 4096, 3 * GIB},
        {2 * GIB + 4096, (1ull << 48) - 4096},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(leaves) / sizeof(leaves[0]); i++) {
        map(p, leaves[i].input, leaves[i].output, leaves[i].size, READ);
    }
    for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
        /* Here `last` is the address of the last page. */
        unmap_fails(p, cuts[i].first, cuts[i].last + 4096 - cuts[i].first, -PIOMMU_ECUT);
        expect_leaves(p, leaves, sizeof(leaves) / sizeof(leaves[0]));
    }
    /* Ends that touch a block without cutting it. */
    unmap_and_sync(p, 4 * MIB, 2 * GIB - 4 * MIB, 2 * MIB + 4096);
    unmap_and_sync(p, 0, 4 * MIB, 2 * MIB + 8192);
    unmap_and_sync(p, GIB, 3 * GIB, GIB + 4096);
    expect_empty(p);
    assert_int_equal(p->linked_count, 0);
    close_table(p);
}

static void test_unmap_may_be_larger_than_what_was_mapped(void **state)
{
    struct piommu_pgtable_config config = stage1_config(39);
    struct pgt *p = open_table(&config);
    struct piommu_gather gather;

    (void)state;
    map(p, 3 * MIB, 3 * MIB, 2 * MIB, READ);
    piommu_gather_init(&gather);
    unmap(p, 2 * MIB, 4 * MIB, &gather, 2 * MIB);
    expect_range(&gather, 3 * MIB, 5 * MIB - 1, 2 * MIB, 6 * MIB - 1);
    sync_gather(p, &gather);
    expect_empty(p);
    close_table(p);
}

static void test_one_gather_takes_many_unmaps(void **state)
{
    struct piommu_pgtable_config config = stage1_config(48);
    struct pgt *p = open_table(&config);
    struct piommu_gather gather;
    const uint64_t places[] = {40 * GIB, 3 * MIB, 900 * GIB, 41 * GIB, 0, (1ull << 48) - 4096};
    uint64_t first = UINT64_MAX;
    uint64_t last = 0;
    uint64_t unmapped;

    (void)state;
    for (size_t i = 0; i < 6; i++) {
        map(p, places[i], 0, 4096, READ);
    }
    piommu_gather_init(&gather);
    for (size_t i = 0; i < 6; i++) {
        first = places[i] < first ? places[i] : first;
        last = places[i] + 4095 > last ? places[i] + 4095 : last;
        unmap(p, places[i], 4096, &gather, 4096);
        expect_range(&gather, first, last, first, last);
    }
    /* Unmaps that fail leave the gather as it is. */
    assert_int_equal(call_unmap(p, GIB, 4096, &gather, &unmapped), -PIOMMU_ENOENT);
    assert_int_equal(unmapped, 0);
    expect_range(&gather, first, last, first, last);
    sync_gather(p, &gather);
    assert_int_equal(p->linked_count, 0);
    close_table(p);
}

static void test_a_gather_can_be_used_again_after_each_sync(void **state)
{
    struct piommu_pgtable_config config = stage1_config(39);
    struct pgt *p = open_table(&config);
    struct piommu_gather gather;

    (void)state;
    piommu_gather_init(&gather);
    for (unsigned int i = 0; i < 4; i++) {
        uint64_t place = (8 - i) * GIB;

        map(p, place, 0, 4096, READ);
        unmap(p, place, 4096, &gather, 4096);
        expect_range(&gather, place, place + 4095, place, place + 4095);
        sync_gather(p, &gather);
    }
    /* Nothing to do: harmless. */
    sync_gather(p, &gather);
    expect_empty(p);
    close_table(p);
}

static void test_tables_are_freed_by_release_and_nothing_before(void **state)
{
    struct piommu_pgtable_config config = stage1_config(48);
    struct pgt *p = open_table(&config);
    struct piommu_gather gather;
    struct fake_os_counters counters;

    (void)state;
    map(p, 5 * GIB, 0, 4096, READ);
    assert_int_equal(statistics_of(p).tables_allocated, 3);
    piommu_gather_init(&gather);
    unmap(p, 5 * GIB, 4096, &gather, 4096);
    assert_int_equal(statistics_of(p).tables_empty, 1);
    assert_int_equal(p->linked_count, 3);

    detach_empty(p, &gather);
    assert_int_equal(p->linked_count, 0);
    assert_int_equal(statistics_of(p).tables_empty, 0);
    assert_int_equal(statistics_of(p).tables_freed, 0);
    /* A walk cache may lead to any of them: the range covers what the topmost one translates. */
    assert_true(gather.range.first == 0 && gather.range.last >= 512 * GIB - 1);
    fake_os_get_counters(p->os, &counters);
    assert_int_equal(counters.dma_frees, 0);

    invalidate(p, &gather);
    release(p, &gather);
    assert_int_equal(statistics_of(p).tables_freed, 3);
    assert_int_equal(statistics_of(p).tables_allocated, 3);
    fake_os_get_counters(p->os, &counters);
    assert_int_equal(counters.dma_frees, 3);
    /* Released once, and no more. */
    release(p, &gather);
    fake_os_get_counters(p->os, &counters);
    assert_int_equal(counters.dma_frees, 3);
    p->unsynced = false;
    verify(p);
    close_table(p);
}

static void test_detach_covers_no_more_than_what_is_detached(void **state)
{
    struct piommu_pgtable_config config = stage1_config(48);
    struct pgt *p = open_table(&config);
    struct piommu_gather gather;

    (void)state;
    map(p, 0, 0, 4096, READ);
    map(p, 8 * MIB + 5 * 4096, 0, 4096, READ);
    piommu_gather_init(&gather);
    unmap(p, 8 * MIB + 5 * 4096, 4096, &gather, 4096);
    expect_range(&gather, 8 * MIB + 5 * 4096, 8 * MIB + 6 * 4096 - 1, 8 * MIB, 10 * MIB - 1);
    detach_empty(p, &gather);
    assert_int_equal(gather.range.first, 8 * MIB);
    assert_int_equal(gather.range.last, 10 * MIB - 1);
    invalidate(p, &gather);
    release(p, &gather);
    p->unsynced = false;
    EXPECT_LEAVES(p, {0, 0, 4096});
    close_table(p);
}

static void test_a_table_that_was_filled_again_is_not_detached(void **state)
{
    struct piommu_pgtable_config config = stage1_config(48);

    (void)state;
    for (unsigned int quota = 0; quota < 3; quota++) {
        struct pgt *p;
        struct piommu_gather gather;

        config.empty_tables_kept = (uint16_t)quota;
        p = open_table(&config);
        map(p, 0, 0, 4096, READ);
        map(p, GIB, 0, 4096, READ);
        piommu_gather_init(&gather);
        unmap(p, 0, 4096, &gather, 4096);
        unmap(p, GIB, 4096, &gather, 4096);
        assert_int_equal(statistics_of(p).tables_empty, 2);
        /* Other addresses of the same table: they were not unmapped. */
        map(p, 4096, 0x7000, 4096, READ);
        assert_int_equal(statistics_of(p).tables_empty, 1);
        sync_gather(p, &gather);
        EXPECT_LEAVES(p, {4096, 0x7000, 4096});
        assert_int_equal(statistics_of(p).tables_empty, quota == 0 ? 0 : 1);
        /* And emptied once more. */
        unmap_and_sync(p, 4096, 4096, 4096);
        expect_empty(p);
        assert_int_equal(statistics_of(p).tables_empty, quota);
        close_table(p);
    }
}

static void test_the_tables_emptied_last_are_kept(void **state)
{
    (void)state;
    for (unsigned int quota = 0; quota <= 8; quota++) {
        struct piommu_pgtable_config config = stage1_config(39);
        const unsigned int order[] = {3, 0, 5, 1, 4, 2};
        struct pgt *p;
        struct piommu_gather gather;
        uint64_t requests;
        unsigned int kept = quota < 6 ? quota : 6;

        config.empty_tables_kept = (uint16_t)quota;
        p = open_table(&config);
        map(p, 60 * MIB, 0, 4096, READ); /* so that the level above never empties */
        for (unsigned int i = 0; i < 6; i++) {
            map(p, i * 2 * MIB, 0, 4096, READ);
        }
        piommu_gather_init(&gather);
        for (unsigned int i = 0; i < 6; i++) {
            unmap(p, order[i] * 2 * MIB, 4096, &gather, 4096);
        }
        assert_int_equal(statistics_of(p).tables_empty, 6);
        sync_gather(p, &gather);
        assert_int_equal(statistics_of(p).tables_empty, kept);
        assert_int_equal(statistics_of(p).tables_freed, 6 - kept);

        /* Whether a table is there shows in whether one is asked for. */
        for (unsigned int i = 6; i-- > 0;) {
            bool is_kept = 6 - i <= kept;

            requests = p->requests;
            map(p, order[i] * 2 * MIB + 4096, 0, 4096, READ);
            assert_int_equal(p->requests - requests, is_kept ? 0 : 1);
        }
        close_table(p);
    }
}

static void test_a_quota_spares_a_hot_page_its_tables(void **state)
{
    struct piommu_pgtable_config config = stage1_config(48);
    struct pgt *p;

    (void)state;
    config.empty_tables_kept = 1;
    p = open_table(&config);
    map(p, 77 * GIB, 0, 4096, READ);
    for (unsigned int i = 0; i < 20; i++) {
        unmap_and_sync(p, 77 * GIB, 4096, 4096);
        map(p, 77 * GIB, i * 4096, 4096, READ);
    }
    assert_int_equal(statistics_of(p).tables_allocated, 3);
    assert_int_equal(statistics_of(p).tables_freed, 0);
    /* Kept empty tables are no leak: the next ones push them out. */
    unmap_and_sync(p, 77 * GIB, 4096, 4096);
    map(p, 0, 0, 4096, READ);
    unmap_and_sync(p, 0, 4096, 4096);
    assert_int_equal(statistics_of(p).tables_empty, 1);
    close_table(p);
}

static void test_moved_tables_live_until_the_other_gather_is_released(void **state)
{
    struct piommu_pgtable_config config = stage1_config(48);
    struct pgt *p = open_table(&config);
    struct piommu_gather first;
    struct piommu_gather second;
    struct piommu_gather parked;

    (void)state;
    piommu_gather_init(&first);
    piommu_gather_init(&second);
    piommu_gather_init(&parked);
    map(p, 0, 0, 4096, READ);
    map(p, 600 * GIB, 0, 4096, READ);

    /* The invalidation fails: nothing may be freed, and the gather's memory goes away. */
    unmap(p, 0, 4096, &first, 4096);
    detach_empty(p, &first);
    piommu_pgtable_move_detached(p->table, &first, &parked);
    release(p, &first);
    memset(&first, 0xee, sizeof(first));
    assert_int_equal(statistics_of(p).tables_freed, 0);
    verify(p);

    /* A second one joins them. */
    unmap(p, 600 * GIB, 4096, &second, 4096);
    detach_empty(p, &second);
    piommu_pgtable_move_detached(p->table, &second, &parked);
    release(p, &second);
    assert_int_equal(statistics_of(p).tables_freed, 0);
    verify(p);

    /* Moving from an empty gather changes nothing. */
    piommu_gather_init(&first);
    piommu_pgtable_move_detached(p->table, &first, &parked);
    assert_int_equal(statistics_of(p).tables_freed, 0);

    stale_tlb_invalidate_all(p->tlb);
    release(p, &parked);
    p->unsynced = false;
    assert_int_equal(statistics_of(p).tables_freed, 6);
    expect_empty(p);
    close_table(p);
}

static void test_two_gathers_do_not_free_each_others_tables(void **state)
{
    struct piommu_pgtable_config config = stage1_config(48);
    struct pgt *p = open_table(&config);
    struct piommu_gather first;
    struct piommu_gather second;
    struct fake_os_counters counters;

    (void)state;
    map(p, 0, 0, 4096, READ);
    map(p, 3 * GIB, 0, 4096, READ);
    map(p, 900 * GIB, 0, 4096, READ);
    piommu_gather_init(&first);
    piommu_gather_init(&second);
    unmap(p, 0, 4096, &first, 4096);
    detach_empty(p, &first);
    unmap(p, 3 * GIB, 4096, &second, 4096);
    detach_empty(p, &second);
    invalidate(p, &second);
    release(p, &second);
    fake_os_get_counters(p->os, &counters);
    assert_int_equal(counters.dma_frees, 3); /* the tables of levels 1 to 3 above 3 GiB */
    invalidate(p, &first);
    release(p, &first);
    p->unsynced = false;
    EXPECT_LEAVES(p, {900 * GIB, 0, 4096});
    assert_int_equal(p->linked_count, 3);
    close_table(p);
}

static void test_counts_survive_full_tables(void **state)
{
    struct piommu_pgtable_config config = stage1_config(39);
    struct pgt *p = open_table(&config);
    struct piommu_gather gather;

    (void)state;
    /*
     * All 512 entries of a table, removed in two orders: the count of live entries reaches both
     * ends.
     */
    for (unsigned int round = 0; round < 2; round++) {
        for (unsigned int i = 0; i < 512; i += 64) {
            map(p, i * 4096, i * 4096, 64 * 4096, READ);
        }
        expect_counts(p, 512, 0, 0);
        piommu_gather_init(&gather);
        for (unsigned int i = 0; i < 512; i += 32) {
            unsigned int at = round == 0 ? i : 480 - i;

            assert_int_equal(statistics_of(p).tables_empty, 0);
            unmap(p, at * 4096, 32 * 4096, &gather, 32 * 4096);
        }
        assert_int_equal(statistics_of(p).tables_empty, 1);
        sync_gather(p, &gather);
        assert_int_equal(p->linked_count, 0);
        expect_empty(p);
    }
    /* And a full table of blocks. */
    map(p, GIB, 2 * MIB, GIB, READ);
    expect_counts(p, 0, 512, 0);
    unmap_and_sync(p, GIB, GIB - 2 * MIB, GIB - 2 * MIB);
    assert_int_equal(p->linked_count, 1);
    unmap_and_sync(p, 2 * GIB - 2 * MIB, 2 * MIB, 2 * MIB);
    assert_int_equal(p->linked_count, 0);
    close_table(p);
}

static void test_tables_go_level_by_level_as_their_parts_do(void **state)
{
    struct piommu_pgtable_config config = stage2_config(48, 48);
    struct pgt *p = open_table(&config);

    (void)state;
    map(p, 0, 0, 4096, READ);
    map(p, 2 * MIB, 0, 2 * MIB, READ);
    map(p, GIB, 0, GIB, READ);
    map(p, 512 * GIB, 0, GIB, READ);
    assert_int_equal(p->linked_count, 4);
    unmap_and_sync(p, 0, 4096, 4096);
    assert_int_equal(p->linked_count, 3);
    unmap_and_sync(p, 2 * MIB, 2 * MIB, 2 * MIB);
    assert_int_equal(p->linked_count, 2);
    unmap_and_sync(p, GIB, GIB, GIB);
    assert_int_equal(p->linked_count, 1);
    unmap_and_sync(p, 512 * GIB, GIB, GIB);
    assert_int_equal(p->linked_count, 0);
    close_table(p);
}

static void test_unmap_at_the_end_of_concatenated_roots(void **state)
{
    (void)state;
    for (unsigned int input = 31; input <= 42; input++) {
        struct piommu_pgtable_config config = stage2_config(input, 42);
        struct pgt *p = open_table(&config);
        uint64_t end = 1ull << input;

        map(p, end - 6 * MIB - 4096, 0x7000, 4096, READ);
        map(p, end - 2 * MIB, 0, 2 * MIB, READ);
        map(p, end / 2, 0, 4096, READ);
        map(p, end / 2 - 2 * MIB, 0, 2 * MIB, READ);
        EXPECT_LEAVES(p, {end / 2 - 2 * MIB, 0, 2 * MIB}, {end / 2, 0, 4096},
                      {end - 6 * MIB - 4096, 0x7000, 4096}, {end - 2 * MIB, 0, 2 * MIB});
        unmap_and_sync(p, end / 2, end / 2, 2 * MIB + 8192);
        EXPECT_LEAVES(p, {end / 2 - 2 * MIB, 0, 2 * MIB});
        unmap_and_sync(p, 0, end, 2 * MIB);
        assert_int_equal(p->linked_count, 0);
        close_table(p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unmap_removes_exactly_the_range),
        cmocka_unit_test(test_unmap_skips_holes_at_every_level),
        cmocka_unit_test(test_unmap_of_holes_alone_finds_nothing),
        cmocka_unit_test(test_unmap_that_would_cut_a_block_changes_nothing),
        cmocka_unit_test(test_unmap_may_be_larger_than_what_was_mapped),
        cmocka_unit_test(test_one_gather_takes_many_unmaps),
        cmocka_unit_test(test_a_gather_can_be_used_again_after_each_sync),
        cmocka_unit_test(test_tables_are_freed_by_release_and_nothing_before),
        cmocka_unit_test(test_detach_covers_no_more_than_what_is_detached),
        cmocka_unit_test(test_a_table_that_was_filled_again_is_not_detached),
        cmocka_unit_test(test_the_tables_emptied_last_are_kept),
        cmocka_unit_test(test_a_quota_spares_a_hot_page_its_tables),
        cmocka_unit_test(test_moved_tables_live_until_the_other_gather_is_released),
        cmocka_unit_test(test_two_gathers_do_not_free_each_others_tables),
        cmocka_unit_test(test_counts_survive_full_tables),
        cmocka_unit_test(test_tables_go_level_by_level_as_their_parts_do),
        cmocka_unit_test(test_unmap_at_the_end_of_concatenated_roots),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
