/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Mapping: what is refused, which leaves are chosen, what a conflict leaves, what can be expressed.
 */

#include "pgtable_fixture.h"

#include <stdlib.h>
#include <string.h>

static void test_map_refuses_malformed_arguments(void **state)
{
    struct piommu_pgtable_config config = stage1_config(39);
    struct pgt *p = open_table(&config);

    (void)state;
    for (unsigned int bit = 0; bit < 12; bit++) {
        uint64_t odd = 1ull << bit;

        map_fails(p, odd, 0, 4096, READ, -PIOMMU_EINVAL);
        map_fails(p, 0, odd, 4096, READ, -PIOMMU_EINVAL);
        map_fails(p, 0, 0, odd, READ, -PIOMMU_EINVAL);
        map_fails(p, 0, 0, 4096 + odd, READ, -PIOMMU_EINVAL);
        unmap_fails(p, odd, 4096, -PIOMMU_EINVAL);
        unmap_fails(p, 0, odd, -PIOMMU_EINVAL);
        unmap_fails(p, 0, 4096 + odd, -PIOMMU_EINVAL);
    }
    map_fails(p, 0, 0, 0, READ, -PIOMMU_EINVAL);
    map_fails(p, 0, 0, UINT64_MAX, READ, -PIOMMU_EINVAL);
    unmap_fails(p, 0, 0, -PIOMMU_EINVAL);
    unmap_fails(p, 0, UINT64_MAX, -PIOMMU_EINVAL);
    for (unsigned int bit = 13; bit < 32; bit++) {
        map_fails(p, 0, 0, 4096, READ | 1u << bit, -PIOMMU_EINVAL);
    }
    map_fails(p, 0, 0, 4096, 0, -PIOMMU_EINVAL);
    map_fails(p, 0, 0, 4096, PIOMMU_PROT_DEVICE, -PIOMMU_EINVAL);
    expect_empty(p);
    assert_int_equal(p->requests, 1);
    close_table(p);
}

static int call_map_list(struct pgt *p, uint64_t iova, const struct piommu_segment *segments,
                         size_t count, piommu_prot prot, uint64_t *mapped)
{
    *mapped = 0x5a5a5a5a5a5a5a5aull;
    return piommu_pgtable_map_list(p->table, iova, segments, count, prot, mapped);
}

/* Fails without having changed anything. */
static void map_list_fails(struct pgt *p, uint64_t iova, const struct piommu_segment *segments,
                           size_t count, piommu_prot prot, int error)
{
    uint64_t mapped;
    uint64_t bytes = fake_os_bytes_outstanding(p->os);

    assert_int_equal(call_map_list(p, iova, segments, count, prot, &mapped), error);
    assert_int_equal(mapped, 0);
    assert_int_equal(fake_os_bytes_outstanding(p->os), bytes);
    verify(p);
}

static void test_map_list_checks_every_segment_before_it_stores(void **state)
{
    struct piommu_pgtable_config config = stage2_config(39, 40);
    struct pgt *p = open_table(&config);
    const struct piommu_segment good = {.physical = 8 * MIB, .size = 8192};
    const struct {
        struct piommu_segment segment;
        int error;
    } bad[] = {
        {{.physical = 0, .size = 0}, -PIOMMU_EINVAL},
        {{.physical = 1, .size = 4096}, -PIOMMU_EINVAL},
        {{.physical = 2048, .size = 4096}, -PIOMMU_EINVAL},
        {{.physical = 0, .size = 4095}, -PIOMMU_EINVAL},
        {{.physical = 0, .size = 2048}, -PIOMMU_EINVAL},
        {{.physical = 0, .size = 4097}, -PIOMMU_EINVAL},
        {{.physical = TIB, .size = 4096}, -PIOMMU_ERANGE},
        {{.physical = TIB - 4096, .size = 8192}, -PIOMMU_ERANGE},
        {{.physical = UINT64_MAX - 4095, .size = 4096}, -PIOMMU_ERANGE},
        {{.physical = UINT64_MAX - 4095, .size = 8192}, -PIOMMU_ERANGE},
        {{.physical = 0, .size = 512 * GIB}, -PIOMMU_ERANGE},
        {{.physical = 0, .size = UINT64_MAX - 4095}, -PIOMMU_ERANGE},
        /* With the good ones, or taken three times, this comes to 0 modulo 2^64. */
        {{.physical = 0, .size = UINT64_MAX - 16383}, -PIOMMU_ERANGE},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        for (size_t at = 0; at < 3; at++) {
            struct piommu_segment segments[3] = {good, good, good};

            segments[at] = bad[i].segment;
            map_list_fails(p, 4096, segments, 3, READ, bad[i].error);
        }
        map_list_fails(p, 4096, &bad[i].segment, 1, READ, bad[i].error);
    }
    map_list_fails(p, 4096, &good, 0, READ, -PIOMMU_EINVAL);
    map_list_fails(p, 4095, &good, 1, READ, -PIOMMU_EINVAL);
    map_list_fails(p, 4096, &good, 1, 0, -PIOMMU_EINVAL);
    map_list_fails(p, 4096, &good, 1, 0x2000u | READ, -PIOMMU_EINVAL);
    map_list_fails(p, 4096, &good, 1, READ | PIOMMU_PROT_PRIVILEGED, -PIOMMU_EOPNOTSUPP);
    map_list_fails(p, 512 * GIB - 4096, &good, 1, READ, -PIOMMU_ERANGE);
    map_list_fails(p, UINT64_MAX - 4095, &good, 1, READ, -PIOMMU_ERANGE);
    expect_empty(p);
    assert_int_equal(p->requests, 1);
    close_table(p);
}

static void test_sums_of_segments_do_not_wrap(void **state)
{
    struct piommu_pgtable_config config = stage1_config(48);
    struct pgt *p = open_table(&config);
    struct piommu_segment segments[4] = {
        {.physical = 0, .size = 4096},
        {.physical = 0, .size = 1ull << 63},
        {.physical = 0, .size = 1ull << 63},
        {.physical = 0, .size = 4096},
    };

    (void)state;
    map_list_fails(p, 0, segments, 4, READ, -PIOMMU_ERANGE);
    for (unsigned int i = 0; i < 4; i++) {
        segments[i].size = 1ull << 47;
    }
    map_list_fails(p, 0, segments, 3, READ, -PIOMMU_ERANGE);
    close_table(p);
}

static void test_map_list_lays_segments_side_by_side(void **state)
{
    struct piommu_pgtable_config config = stage1_config(40);
    struct pgt *p = open_table(&config);
    const struct piommu_segment segments[] = {
        {.physical = 0x7000, .size = 8192},     {.physical = 0x3000, .size = 4096},
        {.physical = 6 * MIB, .size = 2 * MIB}, {.physical = 2 * GIB, .size = GIB},
        {.physical = 0x7000, .size = 4096},
    };
    uint64_t start = GIB - 2 * MIB - 3 * 4096;
    uint64_t size = GIB + 2 * MIB + 4 * 4096;
    uint64_t mapped;

    (void)state;
    assert_int_equal(call_map_list(p, start, segments, 5, READ_WRITE, &mapped), 0);
    assert_int_equal(mapped, size);
    EXPECT_LEAVES(p, {start, 0x7000, 4096}, {start + 4096, 0x8000, 4096},
                  {start + 8192, 0x3000, 4096}, {GIB - 2 * MIB, 6 * MIB, 2 * MIB},
                  {GIB, 2 * GIB, GIB}, {2 * GIB, 0x7000, 4096});
    unmap_and_sync(p, start, size, size);
    expect_empty(p);
    close_table(p);
}

static void test_map_list_reports_a_conflict_in_any_segment(void **state)
{
    struct piommu_pgtable_config config = stage1_config(39);
    const struct piommu_segment segments[] = {
        {.physical = 0x10000, .size = 8192},
        {.physical = 0x20000, .size = 8192},
        {.physical = 0x30000, .size = 8192},
    };

    (void)state;
    for (unsigned int i = 0; i < 6; i++) {
        struct pgt *p = open_table(&config);
        struct piommu_translation translation;
        uint64_t start = 2 * MIB - 3 * 4096;
        uint64_t mapped;

        map(p, start + i * 4096, 0x99000, 4096, READ);
        assert_int_equal(call_map_list(p, start, segments, 3, READ, &mapped), -PIOMMU_EEXIST);
        assert_int_equal(mapped, i * 4096);
        expect_counts(p, i + 1, 0, 0);
        for (unsigned int page = 0; page < 6; page++) {
            int result = piommu_pgtable_lookup(p->table, start + page * 4096, &translation);

            assert_int_equal(result, page <= i ? 0 : -PIOMMU_ENOENT);
            if (page <= i) {
                assert_int_equal(translation.physical,
                                 page == i ? 0x99000
                                           : segments[page / 2].physical + page % 2 * 4096);
            }
        }
        close_table(p);
    }
}

static void test_leaves_are_as_large_as_both_alignments_and_the_size_allow(void **state)
{
    const struct {
        uint64_t iova;
        uint64_t physical;
        uint64_t size;
        size_t pages;
        size_t middle;
        size_t large;
    } cases[] = {
        {0, 0, 4096, 1, 0, 0},
        {0, 0, 2 * MIB - 4096, 511, 0, 0},
        {0, 0, 2 * MIB, 0, 1, 0},
        {2 * MIB, 4 * MIB, 2 * MIB, 0, 1, 0},
        {4096, 4096, 2 * MIB, 512, 0, 0},
        {4096, 0, 2 * MIB, 512, 0, 0},
        {0, 4096, 2 * MIB, 512, 0, 0},
        {0, MIB, 4 * MIB, 1024, 0, 0},
        {2 * MIB - 4096, 4 * MIB - 4096, 2 * MIB + 8192, 2, 1, 0},
        {2 * MIB - 4096, 4 * MIB, 8192, 2, 0, 0},
        {0, 0, GIB, 0, 0, 1},
        {0, 0, GIB - 2 * MIB, 0, 511, 0},
        {0, 2 * MIB, GIB, 0, 512, 0},
        {2 * MIB, 0, GIB, 0, 512, 0},
        {2 * MIB, 2 * MIB, GIB, 0, 512, 0},
        {GIB - 2 * MIB - 4096, 3 * GIB - 2 * MIB - 4096, 2 * GIB + 4 * MIB + 8192, 2, 2, 2},
        {GIB - 4096, 2 * GIB - 4096, GIB + 4096, 1, 0, 1},
        {GIB, GIB, 3 * GIB + 6 * MIB + 12288, 3, 3, 3},
        {511 * GIB, 0, 2 * GIB, 0, 0, 2},
        {512 * GIB - 4096, 512 * GIB - 4096, 8192, 2, 0, 0},
    };

    (void)state;
    for (unsigned int stage = 1; stage <= 2; stage++) {
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
            struct piommu_pgtable_config config =
                stage == 1 ? stage1_config(40) : stage2_config(40, 40);
            struct pgt *p = open_table(&config);

            map(p, cases[i].iova, cases[i].physical, cases[i].size, READ_WRITE);
            expect_counts(p, cases[i].pages, cases[i].middle, cases[i].large);
            unmap_and_sync(p, cases[i].iova, cases[i].size, cases[i].size);
            expect_empty(p);
            assert_int_equal(p->linked_count, 0);
            close_table(p);
        }
    }
}

static void test_only_the_configured_leaf_sizes_are_used(void **state)
{
    struct piommu_pgtable_config config = stage1_config(40);
    struct pgt *p;

    (void)state;
    config.leaf_sizes = 4 * KIB;
    p = open_table(&config);
    assert_int_equal(p->info.leaf_sizes, 4 * KIB);
    map(p, 0, 0, 4 * MIB, READ);
    expect_counts(p, 1024, 0, 0);
    close_table(p);

    config.leaf_sizes = 4 * KIB + 2 * MIB;
    p = open_table(&config);
    assert_int_equal(p->info.leaf_sizes, 4 * KIB + 2 * MIB);
    map(p, GIB, GIB, GIB + 4096, READ);
    expect_counts(p, 1, 512, 0);
    close_table(p);

    config.leaf_sizes = 4 * KIB + GIB;
    p = open_table(&config);
    assert_int_equal(p->info.leaf_sizes, 4 * KIB + GIB);
    map(p, GIB, GIB, GIB + 2 * MIB, READ);
    expect_counts(p, 512, 0, 1);
    close_table(p);
}

static void test_below_a_table_the_configured_leaf_sizes_still_hold(void **state)
{
    struct piommu_pgtable_config config = stage1_config(40);
    struct pgt *p;
    uint64_t mapped;

    (void)state;
    config.leaf_sizes = 4 * KIB + GIB;
    p = open_table(&config);
    map(p, GIB + 2 * MIB, 0, 4096, READ);
    /* A large block would fit if there were no table, and the size in between is not in use. */
    assert_int_equal(call_map(p, GIB, 4 * GIB, GIB, READ, &mapped), -PIOMMU_EEXIST);
    assert_int_equal(mapped, 2 * MIB);
    expect_counts(p, 513, 0, 0);
    close_table(p);
}

static void test_segments_that_continue_each_other_share_a_leaf(void **state)
{
    struct piommu_pgtable_config config = stage1_config(40);
    struct pgt *p = open_table(&config);
    const struct piommu_segment segments[] = {
        {.physical = 6 * MIB, .size = 4096},
        {.physical = 6 * MIB + 4096, .size = MIB},
        {.physical = 7 * MIB + 4096, .size = MIB - 4096},
        {.physical = 8 * MIB + 4096, .size = 4096},
    };
    uint64_t mapped;

    (void)state;
    assert_int_equal(call_map_list(p, 2 * MIB, segments, 4, READ, &mapped), 0);
    assert_int_equal(mapped, 2 * MIB + 4096);
    EXPECT_LEAVES(p, {2 * MIB, 6 * MIB, 2 * MIB}, {4 * MIB, 8 * MIB + 4096, 4096});
    close_table(p);
}

static void test_map_goes_below_a_table_that_is_there_already(void **state)
{
    struct piommu_pgtable_config config = stage1_config(39);
    struct pgt *p;
    uint64_t requests;

    (void)state;
    config.empty_tables_kept = 8;
    p = open_table(&config);
    map(p, 4 * MIB + 4096, 0, 4096, READ);
    unmap_and_sync(p, 4 * MIB + 4096, 4096, 4096);
    assert_int_equal(p->linked_count, 2);

    /* The empty table is still there, so that no block fits. */
    requests = p->requests;
    map(p, 4 * MIB, 8 * MIB, 2 * MIB, READ);
    expect_counts(p, 512, 0, 0);
    map(p, 6 * MIB, 10 * MIB, 2 * MIB, READ);
    expect_counts(p, 512, 1, 0);
    assert_int_equal(p->requests, requests);
    close_table(p);
}

static void test_a_conflict_leaves_what_lies_before_it(void **state)
{
    struct piommu_pgtable_config config = stage1_config(40);
    struct pgt *p = open_table(&config);
    uint64_t mapped;

    (void)state;
    map(p, 8 * MIB, 0, 2 * MIB, READ); /* a block */
    map(p, 20 * MIB, 0, 4096, READ);   /* a page */
    map(p, 3 * GIB, GIB, GIB, READ);   /* a large block */

    /* At once. */
    assert_int_equal(call_map(p, 8 * MIB, 0, 4096, WRITE | READ, &mapped), -PIOMMU_EEXIST);
    assert_int_equal(mapped, 0);
    assert_int_equal(call_map(p, 9 * MIB, 0, 4096, READ, &mapped), -PIOMMU_EEXIST);
    assert_int_equal(mapped, 0);
    assert_int_equal(call_map(p, 8 * MIB, 0, 2 * MIB, READ, &mapped), -PIOMMU_EEXIST);
    assert_int_equal(mapped, 0);
    assert_int_equal(call_map(p, 20 * MIB, 0, 4096, READ, &mapped), -PIOMMU_EEXIST);
    assert_int_equal(mapped, 0);
    assert_int_equal(call_map(p, 20 * MIB, 0, 2 * MIB, READ, &mapped), -PIOMMU_EEXIST);
    assert_int_equal(mapped, 0);
    assert_int_equal(call_map(p, 3 * GIB + 5 * MIB, 0, 4096, READ, &mapped), -PIOMMU_EEXIST);
    assert_int_equal(mapped, 0);
    EXPECT_LEAVES(p, {8 * MIB, 0, 2 * MIB}, {20 * MIB, 0, 4096}, {3 * GIB, GIB, GIB});

    /* After some pages, and after a block. */
    assert_int_equal(call_map(p, 8 * MIB - 8192, 0x5000, 4 * MIB, READ, &mapped), -PIOMMU_EEXIST);
    assert_int_equal(mapped, 8192);
    assert_int_equal(call_map(p, 18 * MIB, 0, 6 * MIB, READ, &mapped), -PIOMMU_EEXIST);
    assert_int_equal(mapped, 2 * MIB);
    EXPECT_LEAVES(p, {8 * MIB - 8192, 0x5000, 4096}, {8 * MIB - 4096, 0x6000, 4096},
                  {8 * MIB, 0, 2 * MIB}, {18 * MIB, 0, 2 * MIB}, {20 * MIB, 0, 4096},
                  {3 * GIB, GIB, GIB});
    assert_int_equal(call_map(p, GIB, GIB, 3 * GIB, READ, &mapped), -PIOMMU_EEXIST);
    assert_int_equal(mapped, 2 * GIB);
    EXPECT_LEAVES(p, {8 * MIB - 8192, 0x5000, 4096}, {8 * MIB - 4096, 0x6000, 4096},
                  {8 * MIB, 0, 2 * MIB}, {18 * MIB, 0, 2 * MIB}, {20 * MIB, 0, 4096},
                  {GIB, GIB, GIB}, {2 * GIB, 2 * GIB, GIB}, {3 * GIB, GIB, GIB});

    /* A page in the middle of where a block would have gone: pages up to it. */
    map(p, 30 * MIB + 3 * 4096, 0, 4096, READ);
    assert_int_equal(call_map(p, 30 * MIB, 2 * MIB, 2 * MIB, READ, &mapped), -PIOMMU_EEXIST);
    assert_int_equal(mapped, 3 * 4096);
    unmap_and_sync(p, 30 * MIB, 2 * MIB, 4 * 4096);

    /* The last page of the range. */
    map(p, 33 * MIB, 0, 4096, READ);
    assert_int_equal(call_map(p, 32 * MIB, 0, MIB + 4096, READ, &mapped), -PIOMMU_EEXIST);
    assert_int_equal(mapped, MIB);
    close_table(p);
}

static void test_a_conflict_leaves_no_tables_that_a_sync_cannot_free(void **state)
{
    struct piommu_pgtable_config config = stage1_config(48);
    struct pgt *p = open_table(&config);
    uint64_t mapped;

    (void)state;
    /* The conflict is at the start, and tables would have been needed further on. */
    map(p, 0, 0, 4096, READ);
    assert_int_equal(call_map(p, 0, 0, 4 * MIB + 4096, READ, &mapped), -PIOMMU_EEXIST);
    assert_int_equal(mapped, 0);
    verify(p);
    assert_int_equal(call_map(p, 2 * MIB - 4096, 4096, 6 * MIB, READ, &mapped), 0);
    verify(p);
    assert_int_equal(call_map(p, 512 * GIB - 4096, 0, 8192, READ, &mapped), 0);
    unmap_and_sync(p, 0, 1ull << 48, 6 * MIB + 3 * 4096);
    expect_empty(p);
    assert_int_equal(p->linked_count, 0);
    close_table(p);
}

static void test_translations_are_denied_to_whom_they_are_not_for(void **state)
{
    struct piommu_pgtable_config config = stage1_config(39);
    struct pgt *p = open_table(&config);
    struct piommu_walker_access write = {.write = true};
    struct piommu_walker_access execute = {.execute = true, .privileged = true};
    struct piommu_walker_access read = {.read = true};
    struct piommu_walker_result result;

    (void)state;
    map(p, 0x1000, 0x1000, 4096, READ);
    piommu_walker_translate(&p->regime, &p->memory, 0x1000, &write, &result);
    assert_int_equal(result.fault, PIOMMU_WALKER_FAULT_PERMISSION);
    piommu_walker_translate(&p->regime, &p->memory, 0x1000, &execute, &result);
    assert_int_equal(result.fault, PIOMMU_WALKER_FAULT_PERMISSION);
    piommu_walker_translate(&p->regime, &p->memory, 0x1fff, &read, &result);
    assert_int_equal(result.fault, PIOMMU_WALKER_FAULT_NONE);
    assert_int_equal(result.output, 0x1fff);
    piommu_walker_translate(&p->regime, &p->memory, 0x2000, &read, &result);
    assert_int_equal(result.fault, PIOMMU_WALKER_FAULT_TRANSLATION);
    piommu_walker_translate(&p->regime, &p->memory, 0x0fff, &read, &result);
    assert_int_equal(result.fault, PIOMMU_WALKER_FAULT_TRANSLATION);
    close_table(p);
}

static void test_neighbours_of_other_kinds_do_not_mix(void **state)
{
    struct piommu_pgtable_config config = stage1_config(48);
    struct pgt *p = open_table(&config);
    struct piommu_translation translation;
    const piommu_prot prots[] = {READ, READ_WRITE, READ | PIOMMU_PROT_PRIVILEGED,
                                 READ | PIOMMU_PROT_DEVICE, READ | PIOMMU_PROT_NONCACHEABLE};

    (void)state;
    for (unsigned int i = 0; i < 20; i++) {
        map(p, i * 4096, (40u - i) * 4096, 4096, prots[i % 5]);
    }
    for (unsigned int i = 0; i < 20; i++) {
        assert_int_equal(piommu_pgtable_lookup(p->table, i * 4096 + 77, &translation), 0);
        assert_int_equal(translation.physical, (40u - i) * 4096 + 77);
        assert_int_equal(translation.prot, prots[i % 5]);
        assert_int_equal(translation.leaf_size, 4096);
    }
    close_table(p);
}

static void test_lookup_finds_nothing_in_holes_at_each_level(void **state)
{
    struct piommu_pgtable_config config = stage1_config(48);
    struct pgt *p = open_table(&config);
    const uint64_t holes[] = {0x7fffull, 0x9000ull,     0,         2 * MIB, GIB - 1,
                              GIB,       512 * GIB - 1, 512 * GIB, TIB,     UINT64_MAX >> 16};
    struct piommu_translation translation;

    (void)state;
    map(p, 0x8000, 0x8000, 4096, READ);
    for (size_t i = 0; i < sizeof(holes) / sizeof(holes[0]); i++) {
        assert_int_equal(piommu_pgtable_lookup(p->table, holes[i], &translation), -PIOMMU_ENOENT);
    }
    assert_int_equal(piommu_pgtable_lookup(p->table, 1ull << 48, &translation), -PIOMMU_ERANGE);
    assert_int_equal(piommu_pgtable_lookup(p->table, UINT64_MAX, &translation), -PIOMMU_ERANGE);
    assert_int_equal(piommu_pgtable_translate(p->table, 1ull << 48), PIOMMU_PGTABLE_NO_ADDRESS);
    close_table(p);
}

/* The first leaf of a range, or no leaf if size is 0. */
static void expect_next(struct pgt *p, uint64_t first, uint64_t last, uint64_t input,
                        uint64_t output, uint64_t size)
{
    struct piommu_translation translation;
    uint64_t found;
    int result = piommu_pgtable_next_leaf(p->table, first, last, &found, &translation);

    if (size == 0) {
        assert_int_equal(result, -PIOMMU_ENOENT);
        return;
    }
    assert_int_equal(result, 0);
    assert_int_equal(found, input);
    assert_int_equal(translation.physical, output);
    assert_int_equal(translation.leaf_size, size);
    assert_int_equal(translation.prot, READ);
}

static void test_next_leaf_finds_the_first_leaf_that_reaches_into_the_range(void **state)
{
    struct piommu_pgtable_config config = stage1_config(48);
    struct pgt *p = open_table(&config);
    uint64_t top = 1ull << 48;

    (void)state;
    expect_next(p, 0, UINT64_MAX, 0, 0, 0);
    map(p, 0x8000, 0x3000, 4096, READ);
    map(p, 4 * MIB, 8 * MIB, 2 * MIB, READ);
    map(p, 600 * GIB, 2 * GIB, GIB, READ);
    map(p, top - 4096, 0x7000, 4096, READ);

    expect_next(p, 0, UINT64_MAX, 0x8000, 0x3000, 4096);
    expect_next(p, 0x8000, 0x8000, 0x8000, 0x3000, 4096);
    expect_next(p, 0x8fff, 0x8fff, 0x8000, 0x3000, 4096);
    expect_next(p, 0x8001, 0x9000, 0x8000, 0x3000, 4096);
    expect_next(p, 0, 0x7fff, 0, 0, 0);
    expect_next(p, 0, 0x8000, 0x8000, 0x3000, 4096);
    expect_next(p, 0x9000, UINT64_MAX, 4 * MIB, 8 * MIB, 2 * MIB);
    expect_next(p, 0x9000, 4 * MIB - 1, 0, 0, 0);
    expect_next(p, 0x9000, 4 * MIB, 4 * MIB, 8 * MIB, 2 * MIB);
    expect_next(p, 6 * MIB - 1, 6 * MIB, 4 * MIB, 8 * MIB, 2 * MIB);
    expect_next(p, 6 * MIB, 600 * GIB - 1, 0, 0, 0);
    expect_next(p, 6 * MIB, UINT64_MAX, 600 * GIB, 2 * GIB, GIB);
    expect_next(p, 601 * GIB - 1, UINT64_MAX, 600 * GIB, 2 * GIB, GIB);
    expect_next(p, 601 * GIB, top - 4097, 0, 0, 0);
    expect_next(p, 601 * GIB, top - 4096, top - 4096, 0x7000, 4096);
    expect_next(p, top - 1, UINT64_MAX, top - 4096, 0x7000, 4096);
    expect_next(p, top, UINT64_MAX, 0, 0, 0);
    expect_next(p, UINT64_MAX, UINT64_MAX, 0, 0, 0);
    close_table(p);
}

static void test_sizes_above_four_gibibytes_need_no_loop(void **state)
{
    struct piommu_pgtable_config config = stage2_config(48, 48);
    struct pgt *p = open_table(&config);

    (void)state;
    map(p, 511 * GIB, 511 * GIB, 515 * GIB, READ_WRITE);
    expect_counts(p, 0, 0, 515);
    assert_int_equal(p->linked_count, 3);
    unmap_and_sync(p, 511 * GIB, 515 * GIB, 515 * GIB);
    expect_empty(p);
    close_table(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_map_refuses_malformed_arguments),
        cmocka_unit_test(test_map_list_checks_every_segment_before_it_stores),
        cmocka_unit_test(test_sums_of_segments_do_not_wrap),
        cmocka_unit_test(test_map_list_lays_segments_side_by_side),
        cmocka_unit_test(test_map_list_reports_a_conflict_in_any_segment),
        cmocka_unit_test(test_leaves_are_as_large_as_both_alignments_and_the_size_allow),
        cmocka_unit_test(test_only_the_configured_leaf_sizes_are_used),
        cmocka_unit_test(test_below_a_table_the_configured_leaf_sizes_still_hold),
        cmocka_unit_test(test_segments_that_continue_each_other_share_a_leaf),
        cmocka_unit_test(test_map_goes_below_a_table_that_is_there_already),
        cmocka_unit_test(test_a_conflict_leaves_what_lies_before_it),
        cmocka_unit_test(test_a_conflict_leaves_no_tables_that_a_sync_cannot_free),
        cmocka_unit_test(test_translations_are_denied_to_whom_they_are_not_for),
        cmocka_unit_test(test_neighbours_of_other_kinds_do_not_mix),
        cmocka_unit_test(test_lookup_finds_nothing_in_holes_at_each_level),
        cmocka_unit_test(test_next_leaf_finds_the_first_leaf_that_reaches_into_the_range),
        cmocka_unit_test(test_sizes_above_four_gibibytes_need_no_loop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
