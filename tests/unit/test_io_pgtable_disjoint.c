/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Disjoint tables, seen from one CPU: which tables an unmap takes out and which stay, what the
 * quota counts, trim, memory, and that all else is as in exclusive tables.
 */

#include "pgtable_fixture.h"

#include <stdlib.h>
#include <string.h>

/* Ends the test where there are no disjoint tables. To be called before anything is open. */
static struct piommu_pgtable_config disjoint(struct piommu_pgtable_config config, uint16_t quota)
{
    if (!stores_at_once()) {
        skip();
    }
    config.flags |= PIOMMU_PGTABLE_DISJOINT;
    config.empty_tables_kept = quota;
    return config;
}

/* Stage 1, 48 bits, 4 KiB: tables of levels 1 to 3 span 512 GiB, 1 GiB and 2 MiB. */
static struct pgt *open_disjoint(uint16_t quota)
{
    struct piommu_pgtable_config config = disjoint(stage1_config(48), quota);

    return open_table(&config);
}

static void expect_tables(struct pgt *p, size_t linked, size_t empty, uint32_t counted)
{
    observe_tree(p);
    assert_int_equal(p->linked_count, linked);
    assert_int_equal(p->empty_count, empty);
    assert_int_equal(statistics_of(p).tables_empty, counted);
}

static void expect_span(const struct piommu_gather *gather, uint64_t first, uint64_t last)
{
    assert_true(gather->pending);
    assert_int_equal(gather->range.first, first);
    assert_int_equal(gather->range.last, last);
}

static uint64_t frees_of(const struct pgt *p)
{
    struct fake_os_counters counters;

    fake_os_get_counters(p->os, &counters);
    return counters.dma_frees;
}

static void trim(struct pgt *p, struct piommu_gather *gather)
{
    fill_tlb(p);
    fake_os_forbid(p->os, FAKE_OS_FORBID_ALLOCATION | FAKE_OS_FORBID_FREE | FAKE_OS_FORBID_WAIT);
    piommu_pgtable_trim(p->table, gather);
    fake_os_forbid(p->os, 0);
    p->unsynced = true;
    verify(p);
}

/* What comes after detach_empty or trim. */
static void finish_sync(struct pgt *p, struct piommu_gather *gather)
{
    invalidate(p, gather);
    release(p, gather);
    p->unsynced = false;
    verify(p);
}

static void trim_and_sync(struct pgt *p)
{
    struct piommu_gather gather;

    piommu_gather_init(&gather);
    trim(p, &gather);
    finish_sync(p, &gather);
}

/* ---- Creation ---- */

static const struct kind formats[] = {
    {S1_64, 4096, 48, 48, PIOMMU_PGTABLE_DISJOINT, 0},
    {S1_64, 4096, 40, 48, PIOMMU_PGTABLE_DISJOINT | PIOMMU_PGTABLE_TTBR1, 0},
    {S1_64, 4096, 52, 52, PIOMMU_PGTABLE_DISJOINT | PIOMMU_PGTABLE_CONTIGUOUS, 0},
    {S1_64, 4096, 20, 32, PIOMMU_PGTABLE_DISJOINT | PIOMMU_PGTABLE_SMALL_INPUT, 0},
    {S1_64, 4096, 39, 40, PIOMMU_PGTABLE_DISJOINT | PIOMMU_PGTABLE_DIRTY, 0},
    {S1_64, 4096, 39, 40, PIOMMU_PGTABLE_DISJOINT | PIOMMU_PGTABLE_NON_SECURE, 0},
    {S1_64, 16384, 47, 48, PIOMMU_PGTABLE_DISJOINT, 0},
    {S1_64, 65536, 52, 52, PIOMMU_PGTABLE_DISJOINT, 0},
    {S2_64, 4096, 40, 40, PIOMMU_PGTABLE_DISJOINT | PIOMMU_PGTABLE_XNX, 0},
    {S2_64, 4096, 43, 48, PIOMMU_PGTABLE_DISJOINT | PIOMMU_PGTABLE_CONCATENATE, 0},
    {S2_64, 16384, 40, 40, PIOMMU_PGTABLE_DISJOINT | PIOMMU_PGTABLE_BBM_LEVEL_2, 0},
    {S2_64, 65536, 46, 48, PIOMMU_PGTABLE_DISJOINT | PIOMMU_PGTABLE_FORCE_WRITE_BACK, 0},
    {S1_32, 4096, 32, 40, PIOMMU_PGTABLE_DISJOINT, 0},
    {S1_32, 4096, 31, 40, PIOMMU_PGTABLE_DISJOINT | PIOMMU_PGTABLE_TTBR1, 0},
    {S2_32, 4096, 40, 40, PIOMMU_PGTABLE_DISJOINT, 0},
};

static void every_format_has_disjoint_tables_where_there_are_atomics(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(formats); i++) {
        struct fake_os *os = fake_os_create(&(struct fake_os_options){.scattered = true});
        struct piommu_pgtable_config config = config_of_kind(&formats[i]);
        struct piommu_pgtable *table = NULL;
        struct piommu_pgtable_info info;

        config.flags = formats[i].flags; /* on a host without as well */
        if (!stores_at_once()) {
            assert_int_equal(piommu_pgtable_create(fake_os_host(os), &config, &table),
                             -PIOMMU_EOPNOTSUPP);
            assert_null(table);
        } else {
            assert_int_equal(piommu_pgtable_create(fake_os_host(os), &config, &table), 0);
            piommu_pgtable_get_info(table, &info);
            assert_int_equal(info.flags, config.flags);
            piommu_pgtable_destroy(table);
        }
        assert_int_equal(fake_os_bytes_outstanding(os), 0);
        fake_os_destroy(os);
    }
}

/* The same leaves, however large, as in an exclusive table. */
static void disjoint_tables_are_built_like_exclusive_ones(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(formats); i++) {
        struct piommu_pgtable_config config = config_of_kind(&formats[i]);
        struct pgt *tables[2];

        if ((config.flags & PIOMMU_PGTABLE_DIRTY) != 0 && !stores_at_once()) {
            continue;
        }
        for (unsigned int j = 0; j < 2; j++) {
            uint64_t granule = config.granule;
            uint64_t half = 1ull << (config.input_bits - 1);
            struct pgt *p;

            p = tables[j] = open_table(&config);
            p->has_tlb = false;
            map(p, base_of(p) + half - 3 * granule, 0, 7 * granule, READ_WRITE);
            map(p, base_of(p), half & ((1ull << config.output_bits) / 2 - 1), 2 * granule, READ);
            map(p, p->info.aperture.last - (granule - 1), 0, granule, READ);
            config.flags &= ~PIOMMU_PGTABLE_DISJOINT;
        }
        assert_int_equal(count_leaves(tables[0]), count_leaves(tables[1]));
        assert_int_equal(tables[0]->linked_count, tables[1]->linked_count);
        assert_int_equal(tables[0]->requests, tables[1]->requests);
        close_table(tables[0]);
        close_table(tables[1]);
    }
}

/* ---- Tables that stay ---- */

static void a_table_that_several_unmaps_empty_stays_linked_and_is_not_counted(void **state)
{
    (void)state;
    for (uint16_t quota = 0; quota <= 8; quota = (uint16_t)(quota + 4)) {
        struct pgt *p = open_disjoint(quota);
        struct piommu_gather gather;

        piommu_gather_init(&gather);
        map(p, 4 * GIB, 0x7000, 2 * MIB, READ);
        unmap(p, 4 * GIB, MIB, &gather, MIB);
        expect_tables(p, 3, 0, 0);
        unmap(p, 4 * GIB + MIB, MIB, &gather, MIB);
        assert_null(gather.tables);
        expect_span(&gather, 4 * GIB, 4 * GIB + 2 * MIB - 1);
        expect_tables(p, 3, 1, 0);
        sync_gather(p, &gather);
        expect_tables(p, 3, 1, 0);
        assert_int_equal(frees_of(p), 0);
        close_table(p);
    }
}

static void an_unmap_of_less_than_a_table_leaves_it_even_if_nothing_else_was_in_it(void **state)
{
    struct pgt *p = open_disjoint(0);

    (void)state;
    map(p, 6 * MIB + 5 * 4096, 0, 4096, READ);
    unmap_and_sync(p, 6 * MIB, 2 * MIB - 4096, 4096);
    expect_tables(p, 3, 1, 0);
    map(p, 6 * MIB + 5 * 4096, 0, 4096, READ);
    unmap_and_sync(p, 6 * MIB + 4096, 2 * MIB - 4096, 4096);
    expect_tables(p, 3, 1, 0);
    map(p, 6 * MIB + 5 * 4096, 0, 4096, READ);
    unmap_and_sync(p, 6 * MIB + 5 * 4096, 4096, 4096);
    expect_tables(p, 3, 1, 0);
    assert_int_equal(p->requests, 4); /* the root, and each of them once */
    close_table(p);
}

static void an_empty_table_is_used_again_by_a_map(void **state)
{
    struct pgt *p = open_disjoint(0);
    uint64_t requests;

    (void)state;
    map(p, 0, 0, 4096, READ);
    unmap_and_sync(p, 0, 4096, 4096);
    requests = p->requests;
    /* Of another page, of all of it, and where a block would fit if it were not there. */
    map(p, 8 * 4096, 0, 4096, READ);
    unmap_and_sync(p, 8 * 4096, 4096, 4096);
    map(p, 0, 2 * MIB, 2 * MIB, READ);
    expect_counts(p, 512, 0, 0);
    assert_int_equal(p->requests, requests);
    expect_tables(p, 3, 0, 0);
    close_table(p);
}

static void detach_empty_leaves_nothing_to_detach_and_makes_removals_visible(void **state)
{
    (void)state;
    for (unsigned int coherent = 0; coherent < 2; coherent++) {
        struct piommu_pgtable_config config = disjoint(stage1_config(48), 0);
        struct piommu_gather gather;
        struct piommu_gather before;
        uint64_t unmapped;
        uint64_t barriers;
        struct pgt *p;

        config.coherent_walk = coherent != 0;
        p = open_table(&config);
        piommu_gather_init(&gather);
        map(p, 0, 0x5000, 2 * MIB, READ);
        map(p, 6 * MIB, 0, 4096, READ);
        assert_int_equal(call_unmap(p, 0, MIB, &gather, &unmapped), 0);
        assert_int_equal(call_unmap(p, MIB, MIB, &gather, &unmapped), 0);
        assert_int_equal(call_unmap(p, 6 * MIB, 2 * MIB, &gather, &unmapped), 0);
        before = gather;
        barriers = p->write_barriers;
        detach_empty(p, &gather); /* compares what the walker sees with what lookup says */
        assert_true(p->write_barriers > barriers);
        assert_ptr_equal(gather.tables, before.tables);
        expect_span(&gather, before.range.first, before.range.last);
        expect_tables(p, 3, 1, 0);
        finish_sync(p, &gather);
        close_table(p);
    }
}

/* ---- Tables that go ---- */

static void an_unmap_takes_out_the_tables_wholly_inside_its_range_at_all_levels(void **state)
{
    static const struct {
        uint64_t first;
        uint64_t size;
        size_t linked; /* of three tables, one below the other, with a page at 3 GiB + 6 MiB */
        size_t empty;
    } cases[] = {
        {3 * GIB + 6 * MIB, 2 * MIB - 4096, 3, 1},
        {3 * GIB + 6 * MIB, 2 * MIB, 2, 1},
        {3 * GIB + 6 * MIB - 4096, 2 * MIB + 8192, 2, 1},
        {3 * GIB, GIB - 4096, 2, 1},
        {3 * GIB + 4096, GIB - 4096, 2, 1},
        {3 * GIB, GIB, 1, 1},
        {2 * GIB, 2 * GIB, 1, 1},
        {0, 512 * GIB - 4096, 1, 1},
        {4096, 512 * GIB - 4096, 1, 1},
        {0, 512 * GIB, 0, 0},
        {0, 256 * TIB, 0, 0},
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct pgt *p = open_disjoint(0);
        struct piommu_gather gather;
        size_t gone = 3 - cases[i].linked;
        static const uint64_t spans[] = {0, 2 * MIB, GIB, 512 * GIB};
        uint64_t page = 3 * GIB + 6 * MIB;

        piommu_gather_init(&gather);
        map(p, page, 0, 4096, READ);
        unmap(p, cases[i].first, cases[i].size, &gather, 4096);
        expect_tables(p, cases[i].linked, cases[i].empty, 0);
        assert_true((gather.tables != NULL) == (gone != 0));
        /* The gather covers what the topmost table translates, and nothing beyond the range. */
        assert_true(gather.range.first >= cases[i].first);
        assert_true(gather.range.last <= cases[i].first + (cases[i].size - 1));
        if (gone != 0) {
            assert_true(gather.range.first <= (page & ~(spans[gone] - 1)));
            assert_true(gather.range.last >= (page | (spans[gone] - 1)));
        }
        /* They are freed by the release, and nothing before. */
        assert_int_equal(frees_of(p), 0);
        detach_empty(p, &gather);
        invalidate(p, &gather);
        assert_int_equal(frees_of(p), 0);
        release(p, &gather);
        assert_int_equal(frees_of(p), gone);
        assert_int_equal(statistics_of(p).tables_freed, gone);
        release(p, &gather);
        assert_int_equal(frees_of(p), gone);
        p->unsynced = false;
        expect_tables(p, cases[i].linked, cases[i].empty, 0);
        expect_empty(p);
        close_table(p);
    }
}

static void an_unmap_takes_out_tables_between_those_that_it_has_to_leave(void **state)
{
    struct pgt *p = open_disjoint(0);
    struct piommu_gather gather;

    (void)state;
    /* Pages in five neighbouring tables, the outer ones cut by the range. */
    map(p, GIB - 3 * MIB, 0x9000, 7 * MIB, READ);
    expect_tables(p, 7, 0, 0);
    piommu_gather_init(&gather);
    unmap(p, GIB - 3 * MIB, 5 * MIB + 4096, &gather, 5 * MIB + 4096);
    expect_tables(p, 5, 1, 0); /* the first table is empty, and was not wholly inside */
    sync_gather(p, &gather);
    assert_int_equal(frees_of(p), 2);
    assert_int_equal(count_leaves(p), 2 * 256 - 1);
    close_table(p);
}

static void an_unmap_takes_out_tables_that_were_empty_before(void **state)
{
    struct pgt *p = open_disjoint(0);

    (void)state;
    map(p, 0, 0x1000, 6 * MIB, READ);
    map(p, 6 * MIB, 0, 4096, READ);
    for (unsigned int i = 0; i < 3; i++) {
        unmap_and_sync(p, i * 2 * MIB, MIB, MIB);
        unmap_and_sync(p, i * 2 * MIB + MIB, MIB, MIB);
    }
    expect_tables(p, 6, 3, 0);
    /* The first is not wholly inside; the last had a page. */
    unmap_and_sync(p, 4096, 8 * MIB - 4096, 4096);
    expect_tables(p, 3, 1, 0);
    assert_int_equal(frees_of(p), 3);
    close_table(p);
}

static void an_unmap_that_fails_takes_out_nothing(void **state)
{
    struct pgt *p = open_disjoint(2);
    struct piommu_gather gather;
    struct piommu_range removed;
    uint64_t unmapped;

    (void)state;
    map(p, 0, 0, 4096, READ);
    unmap_and_sync(p, 0, 4096, 4096);
    map(p, 2 * MIB, 0, 4096, READ);
    unmap_and_sync(p, 2 * MIB, 2 * MIB, 4096);
    map(p, 4 * MIB, 0, 2 * MIB, READ);
    expect_tables(p, 4, 2, 1);
    unmap_fails(p, 0, 4 * MIB, -PIOMMU_ENOENT);
    unmap_fails(p, 0, 4 * MIB + 4096, -PIOMMU_ECUT);
    unmap_fails(p, 0, 4 * MIB + 1, -PIOMMU_EINVAL);
    unmap_fails(p, 0, 512 * TIB, -PIOMMU_ERANGE);
    piommu_gather_init(&gather);
    assert_int_equal(
        piommu_pgtable_unmap_leaves(p->table, 0, 4 * MIB - 1, &gather, &removed, &unmapped),
        -PIOMMU_ENOENT);
    assert_false(gather.pending);
    assert_null(gather.tables);
    expect_tables(p, 4, 2, 1);
    close_table(p);
}

static void unmap_leaves_takes_out_the_tables_in_its_true_range(void **state)
{
    struct pgt *p = open_disjoint(0);
    struct piommu_gather gather;
    struct piommu_range removed;
    uint64_t unmapped;

    (void)state;
    map(p, 2 * MIB, 0x1000, 6 * MIB, READ);
    piommu_gather_init(&gather);
    fill_tlb(p);
    fake_os_forbid(p->os, FAKE_OS_FORBID_ALLOCATION | FAKE_OS_FORBID_FREE);
    assert_int_equal(piommu_pgtable_unmap_leaves(p->table, 2 * MIB + 77, 8 * MIB - 4096 - 1,
                                                 &gather, &removed, &unmapped),
                     0);
    fake_os_forbid(p->os, 0);
    p->unsynced = true;
    /* The page at its start is widened; the last table keeps a page. */
    assert_int_equal(removed.first, 2 * MIB);
    assert_int_equal(removed.last, 8 * MIB - 4097);
    assert_int_equal(unmapped, 6 * MIB - 4096);
    let_lines_arrive(p);
    expect_tables(p, 3, 0, 0);
    expect_span(&gather, 2 * MIB, 8 * MIB - 4097);
    sync_gather(p, &gather);
    EXPECT_LEAVES(p, {8 * MIB - 4096, 6 * MIB, 4096});
    close_table(p);
}

/* ---- Portions ---- */

static void unmap_in_portions(struct pgt *p, uint64_t iova, uint64_t size, uint32_t budget,
                              bool syncs)
{
    struct piommu_pgtable_cursor cursor = {0};
    struct piommu_gather gather;
    unsigned int calls = 0;
    int result;

    piommu_gather_init(&gather);
    do {
        uint64_t frees = frees_of(p);
        uint64_t changed = cursor.changed;
        /* Everything after each of hundreds of calls takes long. */
        bool looks = calls++ % (budget < 100 ? 32 : 1) == 0;

        if (looks) {
            fill_tlb(p);
        }
        fake_os_forbid(p->os, FAKE_OS_FORBID_ALLOCATION | FAKE_OS_FORBID_FREE);
        result = piommu_pgtable_unmap_some(p->table, iova, size, budget, &gather, &cursor);
        fake_os_forbid(p->os, 0);
        p->unsynced = true;
        let_lines_arrive(p);
        if (looks) {
            verify(p);
        }
        if (syncs && looks) {
            sync_gather(p, &gather);
            /* As many tables as the budget, and one per level. */
            assert_true(frees_of(p) - frees <= budget + 3ull);
            assert_true(cursor.changed - changed <= budget * 4096ull);
        }
    } while (result == -PIOMMU_EAGAIN);
    assert_int_equal(result, 0);
    sync_gather(p, &gather);
}

static void portions_take_out_the_same_tables_as_one_unmap(void **state)
{
    static const uint32_t budgets[] = {7, 511, 512, 513, 100000};
    static const struct {
        uint64_t first;
        uint64_t size;
        size_t linked; /* afterwards */
    } cases[] = {
        {GIB - 2 * MIB, 6 * MIB, 3},
        {GIB - 2 * MIB, 6 * MIB - 4096, 4},
        {GIB - 2 * MIB + 4096, 6 * MIB - 4096, 4},
        {GIB - 3 * MIB, 512 * GIB, 2},
        {0, GIB, 4},
        {0, 512 * GIB, 0},
        {0, 256 * TIB, 0},
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        for (size_t b = 0; b < COUNT_OF(budgets); b++) {
            for (unsigned int syncs = 0; syncs < 2; syncs++) {
                struct pgt *p = open_disjoint(0);

                p->has_tlb = b > 0;
                if (is_left_out()) {
                    close_table(p);
                    continue;
                }
                /* Tables of three pages each, on either side of 1 GiB: two of level 2. */
                for (uint64_t table = GIB - 2 * MIB; table < GIB + 4 * MIB; table += 2 * MIB) {
                    map_quickly(p, table, 0x5000, 4096, READ);
                    map_quickly(p, table + 7 * 4096, 0x5000, 4096, READ);
                    map_quickly(p, table + 511 * 4096ull, 0x5000, 4096, READ);
                }
                expect_tables(p, 6, 0, 0);
                unmap_in_portions(p, cases[i].first, cases[i].size, budgets[b], syncs == 1);
                observe_tree(p);
                assert_int_equal(p->linked_count, cases[i].linked);
                close_table(p);
            }
        }
    }
}

/* A table is taken out when the last of its leaves is gone, not when a portion has passed it. */
static void portions_leave_a_table_that_is_not_empty(void **state)
{
    struct pgt *p = open_disjoint(0);
    struct piommu_pgtable_cursor cursor = {0};
    struct piommu_gather gather;
    struct piommu_gather other;
    uint64_t unmapped;

    (void)state;
    map(p, 0, 0x1000, 4096, READ);
    map(p, 2 * MIB, 0x1000, 2 * MIB, READ);
    piommu_gather_init(&gather);
    piommu_gather_init(&other);
    fill_tlb(p);
    p->unsynced = true;
    /* The first page, its table and a part of the next. */
    assert_int_equal(piommu_pgtable_unmap_some(p->table, 0, 8 * MIB, 512 + 100, &gather, &cursor),
                     -PIOMMU_EAGAIN);
    assert_int_equal(cursor.done, 2 * MIB + 100 * 4096);
    let_lines_arrive(p);
    verify(p);
    expect_tables(p, 3, 0, 0);
    sync_gather(p, &gather);
    expect_tables(p, 3, 0, 0);
    /* What is behind the first portion goes in one, the rest of its table as well. */
    fill_tlb(p);
    p->unsynced = true;
    assert_int_equal(piommu_pgtable_unmap_some(p->table, 0, 8 * MIB, 100000, &gather, &cursor), 0);
    assert_int_equal(cursor.changed, 2 * MIB + 4096);
    let_lines_arrive(p);
    expect_tables(p, 2, 1, 0);
    expect_span(&gather, 2 * MIB, 4 * MIB - 1);
    sync_gather(p, &gather);

    /* A portion that begins in the middle of a table of which others have the first part. */
    map(p, 2 * MIB, 0x1000, 2 * MIB, READ);
    assert_int_equal(call_unmap(p, 3 * MIB, 5 * MIB, &other, &unmapped), 0);
    assert_int_equal(unmapped, MIB);
    let_lines_arrive(p);
    expect_tables(p, 3, 0, 0);
    sync_gather(p, &other);
    assert_int_equal(count_leaves(p), 256);
    close_table(p);
}

static void portions_leave_what_is_above_a_kept_table(void **state)
{
    static const uint32_t budgets[] = {1, 256, 512, 700, 100000};

    (void)state;
    for (size_t b = 0; b < COUNT_OF(budgets); b++) {
        struct pgt *p = open_disjoint(1);

        /* The first is kept; what comes later must not take out the one above it. */
        map(p, 0, 0x1000, 4096, READ);
        map(p, 2 * MIB, 0x1000, 4096, READ);
        map(p, 6 * MIB, 0x1000, 4096, READ);
        unmap_in_portions(p, 0, 512 * GIB, budgets[b], b % 2 == 0);
        expect_tables(p, 3, 1, 1);
        expect_empty(p);
        close_table(p);
    }
}

static void an_unmap_of_all_leaves_of_a_table_takes_it_out(void **state)
{
    (void)state;
    for (uint16_t quota = 0; quota < 2; quota++) {
        struct pgt *p = open_disjoint(quota);
        struct piommu_gather gather;

        map(p, 0, 0, 4096, READ);
        map(p, 4 * MIB, 0x1000, 2 * MIB, READ);
        map(p, GIB, 0, GIB - 2 * MIB, READ);
        map(p, 2 * GIB - 2 * MIB, 0, 2 * MIB, READ);
        /* 512 pages; and 512 blocks in the table above. */
        piommu_gather_init(&gather);
        unmap(p, 4 * MIB, 2 * MIB, &gather, 2 * MIB);
        expect_tables(p, 4u + quota, quota, quota);
        expect_span(&gather, 4 * MIB, 6 * MIB - 1);
        sync_gather(p, &gather);
        unmap(p, GIB, GIB, &gather, GIB);
        /* The one that is kept already is all that may be kept. */
        expect_tables(p, 3u + quota, quota, quota);
        expect_span(&gather, GIB, 2 * GIB - 1);
        sync_gather(p, &gather);
        EXPECT_LEAVES(p, {0, 0, 4096});
        close_table(p);
    }
}

static void portions_that_end_with_a_table_count_it_once(void **state)
{
    static const uint32_t budgets[] = {256, 511, 512, 513, 1024, 100000};

    (void)state;
    for (size_t b = 0; b < COUNT_OF(budgets); b++) {
        struct pgt *p = open_disjoint(8);
        uint64_t requests;

        map(p, 0, 0x1000, 4096, READ);
        map(p, 2 * MIB, 0x1000, 2 * MIB, READ);
        map(p, 6 * MIB, 0x1000, 5 * 4096, READ);
        unmap_in_portions(p, 0, 32 * MIB, budgets[b], false);
        expect_tables(p, 5, 3, 3);
        requests = p->requests;
        map(p, 2 * MIB, 0, 4096, READ);
        map(p, 6 * MIB, 0, 4096, READ);
        map(p, 0, 0, 4096, READ);
        expect_tables(p, 5, 0, 0);
        assert_int_equal(p->requests, requests);
        close_table(p);
    }
}

/* ---- The quota ---- */

static void tables_that_an_unmap_has_emptied_are_kept_up_to_the_quota(void **state)
{
    (void)state;
    for (uint16_t quota = 0; quota <= 6; quota++) {
        struct pgt *p = open_disjoint(quota);
        unsigned int kept = quota < 4 ? quota : 4;
        struct piommu_gather gather;
        uint64_t requests;

        for (unsigned int i = 0; i < 4; i++) {
            map(p, i * 2 * MIB, 0, 4096, READ);
        }
        map(p, 10 * MIB, 0, 4096, READ);
        piommu_gather_init(&gather);
        unmap(p, 0, 8 * MIB, &gather, 4 * 4096);
        expect_tables(p, 3 + kept, kept, kept);
        sync_gather(p, &gather);
        expect_tables(p, 3 + kept, kept, kept);
        assert_int_equal(statistics_of(p).tables_freed, 4 - kept);

        /* They are used again without an allocation, and then not counted any more. */
        requests = p->requests;
        for (unsigned int i = 0; i < 4; i++) {
            map(p, i * 2 * MIB + 9 * 4096, 0, 4096, READ);
        }
        assert_int_equal(p->requests - requests, 4 - kept);
        expect_tables(p, 7, 0, 0);
        /* So there is room for as many again. */
        unmap_and_sync(p, 0, 8 * MIB, 4 * 4096);
        expect_tables(p, 3 + kept, kept, kept);
        close_table(p);
    }
}

static void the_quota_is_for_all_unmaps_together(void **state)
{
    struct pgt *p = open_disjoint(2);

    (void)state;
    for (uint64_t i = 0; i < 5; i++) {
        map(p, i * GIB, 0, 4096, READ);
    }
    for (uint64_t i = 0; i < 5; i++) {
        unmap_and_sync(p, i * GIB, 2 * MIB, 4096);
        assert_int_equal(statistics_of(p).tables_empty, i < 2 ? i + 1 : 2);
    }
    /* Level 1, five of level 2 of which three are empty, and two that are kept. */
    expect_tables(p, 8, 5, 2);
    close_table(p);
}

static void a_kept_table_that_becomes_empty_by_parts_is_not_counted_again(void **state)
{
    struct pgt *p = open_disjoint(1);

    (void)state;
    map(p, 0, 0, 4096, READ);
    unmap_and_sync(p, 0, 2 * MIB, 4096);
    expect_tables(p, 3, 1, 1);
    map(p, 4096, 0, 4096, READ);
    expect_tables(p, 3, 0, 0);
    unmap_and_sync(p, 4096, 4096, 4096);
    expect_tables(p, 3, 1, 0);
    /* Another one finds the quota free. */
    map(p, 2 * MIB, 0, 4096, READ);
    unmap_and_sync(p, 2 * MIB, 2 * MIB, 4096);
    expect_tables(p, 4, 2, 1);
    close_table(p);
}

static void an_unmap_around_a_kept_table_keeps_to_the_quota(void **state)
{
    (void)state;
    for (uint16_t quota = 1; quota <= 3; quota++) {
        struct pgt *p = open_disjoint(quota);

        map(p, 8 * MIB, 0, 4096, READ);
        for (unsigned int i = 0; i < 5; i++) {
            /* Each time in another table, and the range contains those before. */
            map(p, (i % 3) * 2 * MIB, 0, 4096, READ);
            unmap_and_sync(p, 0, 6 * MIB, 4096);
            observe_tree(p);
            assert_int_equal(statistics_of(p).tables_empty, p->empty_count);
            assert_int_equal(p->linked_count, 3 + p->empty_count);
            assert_in_range(p->empty_count, 1, quota);
        }
        unmap_fails(p, 0, 6 * MIB, -PIOMMU_ENOENT);
        close_table(p);
    }
}

static void a_quota_spares_a_hot_table_its_allocation(void **state)
{
    struct pgt *p = open_disjoint(1);

    (void)state;
    for (unsigned int i = 0; i < 20; i++) {
        map(p, 77 * GIB + 4 * MIB, i * 4096ull, 2 * MIB - 4096, READ);
        unmap_and_sync(p, 77 * GIB + 4 * MIB, 2 * MIB, 2 * MIB - 4096);
    }
    assert_int_equal(statistics_of(p).tables_allocated, 3);
    assert_int_equal(statistics_of(p).tables_freed, 0);
    expect_tables(p, 3, 1, 1);
    close_table(p);
}

static void without_a_quota_nothing_wholly_inside_is_kept(void **state)
{
    struct pgt *p = open_disjoint(0);

    (void)state;
    for (unsigned int i = 0; i < 5; i++) {
        map(p, 77 * GIB + 4 * MIB, 0, 4096, READ);
        unmap_and_sync(p, 77 * GIB + 4 * MIB, 2 * MIB, 4096);
        assert_int_equal(statistics_of(p).tables_freed, i + 1);
    }
    close_table(p);
}

static void a_kept_table_keeps_those_above_it(void **state)
{
    struct pgt *p = open_disjoint(5);
    uint64_t requests;

    (void)state;
    map(p, 0, 0, 4096, READ);
    unmap_and_sync(p, 0, 256 * TIB, 4096);
    expect_tables(p, 3, 1, 1);
    requests = p->requests;
    map(p, 0, 0, 4096, READ);
    assert_int_equal(p->requests, requests);
    close_table(p);
}

/* ---- Trim ---- */

static void trim_takes_out_all_empty_tables_of_all_levels_in_one_call(void **state)
{
    (void)state;
    for (uint16_t quota = 0; quota <= 4; quota++) {
        struct pgt *p = open_disjoint(quota);
        struct piommu_gather gather;
        struct piommu_pgtable_statistics before;

        map(p, 100 * GIB, 0, 4096, READ);
        map(p, 0, 0x1000, 4 * MIB, READ); /* two of level 3 */
        map(p, 3 * GIB, 0, 4096, READ);
        map(p, 700 * GIB, 0, 4096, READ);
        map(p, 255 * TIB, 0, 4096, READ);
        unmap_and_sync(p, 4096, 4 * MIB - 4096, 4 * MIB - 4096);
        unmap_and_sync(p, 0, 4096, 4096);
        unmap_and_sync(p, 3 * GIB, 2 * MIB, 4096);
        unmap_and_sync(p, 700 * GIB, 4096, 4096);
        unmap_and_sync(p, 255 * TIB, GIB, 4096);
        before = statistics_of(p);
        piommu_gather_init(&gather);
        trim(p, &gather);
        assert_non_null(gather.tables);
        assert_true(gather.range.first == 0 && gather.range.last >= 255 * TIB + 512 * GIB - 1);
        expect_tables(p, 3, 0, 0); /* on the way to 100 GiB */
        assert_int_equal(statistics_of(p).tables_freed, before.tables_freed);
        finish_sync(p, &gather);
        assert_int_equal(statistics_of(p).tables_allocated - statistics_of(p).tables_freed, 3);
        EXPECT_LEAVES(p, {100 * GIB, 0, 4096});
        close_table(p);
    }
}

static void trim_covers_no_more_than_what_it_takes_out(void **state)
{
    struct pgt *p = open_disjoint(3);
    struct piommu_gather gather;

    (void)state;
    map(p, 0, 0, 4096, READ);
    map(p, 6 * MIB, 0, 4096, READ);
    map(p, 8 * MIB, 0, 4096, READ);
    map(p, 12 * MIB, 0, 4096, READ);
    unmap_and_sync(p, 6 * MIB, 4096, 4096);
    unmap_and_sync(p, 8 * MIB, 2 * MIB, 4096);
    piommu_gather_init(&gather);
    trim(p, &gather);
    expect_span(&gather, 6 * MIB, 10 * MIB - 1);
    finish_sync(p, &gather);
    /* Nothing is left for a second one. */
    trim(p, &gather);
    assert_false(gather.pending);
    assert_null(gather.tables);
    p->unsynced = false;
    close_table(p);
}

static void trim_makes_removals_visible(void **state)
{
    struct piommu_pgtable_config config = disjoint(stage1_config(48), 0);
    struct piommu_gather gather;
    uint64_t unmapped;
    struct pgt *p;

    (void)state;
    config.coherent_walk = false;
    p = open_table(&config);
    map(p, 0, 0, 8192, READ);
    piommu_gather_init(&gather);
    assert_int_equal(call_unmap(p, 0, 4096, &gather, &unmapped), 0);
    trim(p, &gather); /* compares what the walker sees with what lookup says */
    finish_sync(p, &gather);
    EXPECT_LEAVES(p, {4096, 4096, 4096});
    close_table(p);
}

/* ---- Cutting ---- */

static int obey(void *cookie, const struct piommu_range *range)
{
    struct pgt *p = cookie;

    stale_tlb_invalidate(p->tlb, range->first, range->last, false);
    return 0;
}

static void cut(struct pgt *p, uint64_t iova, uint64_t size, uint64_t expected)
{
    struct piommu_gather gather;
    uint64_t unmapped;

    piommu_gather_init(&gather);
    fill_tlb(p);
    assert_int_equal(piommu_pgtable_unmap_cut(p->table, iova, size, obey, p, &gather, &unmapped),
                     0);
    assert_int_equal(unmapped, expected);
    assert_false(gather.pending);
    assert_null(gather.tables);
    verify(p);
}

static void tables_that_a_cut_empties_stay_until_they_are_trimmed_or_unmapped(void **state)
{
    (void)state;
    for (uint16_t quota = 0; quota <= 2; quota++) {
        struct pgt *p = open_disjoint(quota);
        uint64_t requests;

        map(p, 2 * MIB, 0x1000, 2 * MIB, READ);
        map(p, 4 * MIB, 4 * MIB, 4 * MIB, READ);
        /* The table lies wholly inside; the block behind it is cut. */
        cut(p, 2 * MIB, 3 * MIB, 3 * MIB);
        expect_tables(p, 4, 1, 0);
        requests = p->requests;
        map(p, 2 * MIB + 4096, 0, 4096, READ);
        assert_int_equal(p->requests, requests);
        cut(p, 2 * MIB, 2 * MIB, 4096);
        expect_tables(p, 4, 1, 0);
        trim_and_sync(p);
        expect_tables(p, 3, 0, 0);

        map(p, 2 * MIB, 0, 4096, READ);
        cut(p, 2 * MIB, 2 * MIB, 4096);
        expect_tables(p, 4, 1, 0);
        unmap_and_sync(p, 0, 8 * MIB, 3 * MIB);
        observe_tree(p);
        assert_true(p->linked_count <= 2u + quota);
        close_table(p);
    }
}

static void cuts_leave_what_they_do_in_exclusive_tables(void **state)
{
    struct piommu_pgtable_config config = disjoint(stage1_config(48), 0);

    (void)state;
    for (unsigned int i = 0; i < 2; i++) {
        struct pgt *p = open_table(&config);

        map(p, GIB, 3 * GIB, GIB, READ);
        cut(p, GIB + 2 * MIB + 4096, 4096, 4096);
        expect_counts(p, 511, 511, 0);
        assert_int_equal(p->linked_count, 3);
        cut(p, GIB, GIB, GIB - 4096);
        expect_tables(p, 3, 1, i == 0 ? 0 : 1);
        close_table(p);
        config.flags = 0;
    }
}

/* ---- Memory ---- */

static void expect_reserve(const struct pgt *p, uint32_t reserved, uint32_t spare)
{
    assert_int_equal(statistics_of(p).tables_reserved, reserved);
    assert_int_equal(statistics_of(p).tables_spare, spare);
}

static void map_unmap_cut_and_release_stay_inside_the_reserve(void **state)
{
    (void)state;
    for (uint16_t quota = 0; quota <= 2; quota++) {
        struct pgt *p = open_disjoint(quota);
        uint64_t start = GIB - 3 * MIB;
        uint64_t size = 8 * MIB + 4096;
        struct fake_os_counters before;
        struct fake_os_counters after;
        uint64_t to_map;
        uint64_t to_cut;

        assert_int_equal(piommu_pgtable_plan(p->table, start, size, 4096, &to_map, &to_cut), 0);
        assert_int_equal(piommu_pgtable_reserve(p->table, (uint32_t)(to_map + to_cut)), 0);
        expect_reserve(p, (uint32_t)(to_map + to_cut), (uint32_t)(to_map + to_cut));
        fake_os_get_counters(p->os, &before);
        for (unsigned int round = 0; round < 6; round++) {
            /* Pages, and blocks with pages at the ends. */
            map(p, start, round % 2 == 0 ? 0 : start, size, READ);
            unmap_and_sync(p, start, MIB, MIB);
            if (round % 2 != 0) {
                cut(p, GIB - MIB, 6 * MIB, 6 * MIB);
            }
            unmap_and_sync(p, start, round < 3 ? size : 512 * GIB,
                           round % 2 == 0 ? size - MIB : size - 7 * MIB);
            if (round == 4) {
                trim_and_sync(p);
                expect_reserve(p, (uint32_t)(to_map + to_cut), (uint32_t)(to_map + to_cut));
            }
        }
        fake_os_get_counters(p->os, &after);
        assert_int_equal(after.dma_allocations, before.dma_allocations);
        assert_int_equal(after.dma_frees, before.dma_frees);
        close_table(p);
    }
}

static void an_exhausted_reserve_goes_to_the_shim_and_is_filled_again_first(void **state)
{
    struct pgt *p = open_disjoint(0);
    uint64_t requests;

    (void)state;
    assert_int_equal(piommu_pgtable_reserve(p->table, 2), 0);
    assert_int_equal(piommu_pgtable_reserve(p->table, 2), 0);
    expect_reserve(p, 4, 4);
    requests = p->requests;
    map(p, 0, 0, 4096, READ);
    expect_reserve(p, 4, 1);
    map(p, GIB, 0, 4096, READ);
    expect_reserve(p, 4, 0);
    assert_int_equal(p->requests - requests, 1);
    unmap_and_sync(p, 0, 512 * GIB, 8192);
    expect_reserve(p, 4, 4);
    assert_int_equal(frees_of(p), 1);
    /* Those in use are freed when they are released. */
    map(p, 0, 0, 4096, READ);
    piommu_pgtable_unreserve(p->table, 2);
    expect_reserve(p, 2, 1);
    unmap_and_sync(p, 0, 512 * GIB, 4096);
    expect_reserve(p, 2, 2);
    piommu_pgtable_unreserve(p->table, UINT32_MAX);
    expect_reserve(p, 0, 0);
    assert_int_equal(p->piece_count, 1);
    close_table(p);
}

static void a_map_without_memory_changes_nothing(void **state)
{
    (void)state;
    for (uint32_t reserved = 0; reserved <= 5; reserved++) {
        struct pgt *p = open_disjoint(0);
        uint64_t start = 512 * GIB - 2 * MIB - 4096;
        uint64_t size = GIB + 4 * MIB + 8192;
        unsigned int nth = 0;
        uint64_t mapped;
        int result;

        map(p, 0, 0, 4096, READ);
        assert_int_equal(piommu_pgtable_reserve(p->table, reserved), 0);
        do {
            struct piommu_pgtable_statistics before = statistics_of(p);
            struct piommu_pgtable_statistics after;

            nth++;
            fake_os_fail_call(p->os, nth, nth % 2 == 0);
            result = call_map(p, start, start, size, READ, &mapped);
            fake_os_fail_call(p->os, 0, false);
            if (result != 0) {
                assert_int_equal(result, -PIOMMU_ENOMEM);
                assert_int_equal(mapped, 0);
                EXPECT_LEAVES(p, {0, 0, 4096});
                expect_tables(p, 3, 0, 0);
                expect_reserve(p, reserved, reserved);
                after = statistics_of(p);
                assert_int_equal(after.tables_allocated - after.tables_freed,
                                 before.tables_allocated - before.tables_freed);
            }
        } while (result != 0);
        /* Below 512 GiB: levels 2 and 3; above: levels 1, 2 and 3. */
        assert_int_equal(nth - 1, 5 - reserved);
        expect_counts(p, 3, 2, 1);
        close_table(p);
    }
}

static void conflicts_leave_what_lies_before_them(void **state)
{
    static const uint64_t conflicts[] = {0,       4096,           8 * 4096, 2 * MIB - 4096,
                                         2 * MIB, 4 * MIB - 4096, 4 * MIB,  6 * MIB};

    (void)state;
    for (size_t i = 0; i < COUNT_OF(conflicts); i++) {
        struct pgt *p = open_disjoint(0);
        struct pgt *other;
        struct piommu_pgtable_config config = stage1_config(48);
        uint64_t requests;
        uint64_t mapped;

        other = open_table(&config);
        map(p, conflicts[i], 0, 4096, READ);
        map(other, conflicts[i], 0, 4096, READ);
        requests = p->requests;
        assert_int_equal(call_map(p, 0, 0x7000, 8 * MIB, READ, &mapped), -PIOMMU_EEXIST);
        assert_int_equal(mapped, conflicts[i]);
        verify(p);
        assert_int_equal(call_map(other, 0, 0x7000, 8 * MIB, READ, &mapped), -PIOMMU_EEXIST);
        assert_int_equal(p->requests, other->requests);
        assert_true(conflicts[i] > 4096 || p->requests == requests);
        assert_int_equal(p->linked_count, other->linked_count);
        assert_int_equal(count_leaves(p), 1 + conflicts[i] / 4096);
        close_table(p);
        close_table(other);
    }
}

/* ---- Cleaning ---- */

static uint64_t cleaned_since(struct pgt *p, uint64_t *mark)
{
    struct fake_os_counters counters;
    uint64_t lines;

    fake_os_get_counters(p->os, &counters);
    lines = counters.cleaned_lines - *mark;
    *mark = counters.cleaned_lines;
    return lines;
}

static void exactly_the_lines_that_changed_are_cleaned(void **state)
{
    struct piommu_pgtable_config config = disjoint(stage1_config(39), 0);
    struct piommu_gather gather;
    uint64_t mark = 0;
    struct pgt *p;

    (void)state;
    config.coherent_walk = false;
    p = open_table(&config);
    map(p, 2 * MIB, 0, 4096, READ);
    cleaned_since(p, &mark);
    map(p, 2 * MIB + 9 * 4096, 0, 4096, READ); /* one page: one line */
    assert_int_equal(cleaned_since(p, &mark), 1);
    unmap_and_sync(p, 2 * MIB, 10 * 4096, 8192);
    assert_int_equal(cleaned_since(p, &mark), 2);
    map(p, 2 * MIB, 0x1000, 2 * MIB, READ); /* 512 pages in a table that is there */
    assert_int_equal(cleaned_since(p, &mark), 64);
    map(p, 4 * MIB, 0x1000, 2 * MIB, READ); /* 512 pages in a new one, and its link */
    assert_int_equal(cleaned_since(p, &mark), 65);
    piommu_gather_init(&gather);
    unmap(p, 2 * MIB, MIB, &gather, MIB);
    assert_int_equal(cleaned_since(p, &mark), 32);
    unmap(p, 3 * MIB, MIB, &gather, MIB);
    assert_int_equal(cleaned_since(p, &mark), 32);
    detach_empty(p, &gather);
    assert_int_equal(cleaned_since(p, &mark), 0);
    finish_sync(p, &gather);
    map_fails(p, 0, 0, 0, READ, -PIOMMU_EINVAL);
    unmap_fails(p, 0, 4096, -PIOMMU_ENOENT);
    assert_int_equal(cleaned_since(p, &mark), 0);
    trim_and_sync(p);
    assert_int_equal(cleaned_since(p, &mark), 1); /* a link */
    close_table(p);
}

/* ---- Looking ---- */

static void count_problem(void *cookie, const struct piommu_pgtable_problem *problem)
{
    unsigned int *seen = cookie;

    *seen |= 1u << problem->kind;
}

static void expect_problem(struct pgt *p, uint64_t location, uint64_t descriptor,
                           enum piommu_pgtable_problem_kind kind)
{
    uint64_t before = peek(p, location);
    struct piommu_pgtable_report report;
    unsigned int seen = 0;

    poke(p, location, descriptor);
    p->is_verifying = true;
    assert_int_equal(piommu_pgtable_verify(p->table, count_problem, &seen, &report),
                     -PIOMMU_EBADMSG);
    p->is_verifying = false;
    assert_true((seen & 1u << kind) != 0);
    assert_true(report.problems != 0);
    poke(p, location, before);
    verify(p);
}

static void damage_is_found(void **state)
{
    struct fake_os_options options = {.scattered = true};
    struct piommu_pgtable_config config = disjoint(stage1_config(48), 4);
    uint64_t page;
    uint64_t link;
    struct pgt *p;

    (void)state;
    config.output_bits = 40;
    p = open_table_with(&config, &options);
    p->has_hostile_links = true;
    map(p, 0, 0, 8192, READ);
    map(p, 2 * MIB, 0, 4096, READ);
    map(p, 6 * MIB, 0, 8192, READ);
    map(p, 8 * MIB, 0, 2 * MIB, READ);
    unmap_and_sync(p, 0, 2 * MIB, 8192);    /* kept */
    unmap_and_sync(p, 6 * MIB, 4096, 4096); /* emptied by two */
    unmap_and_sync(p, 6 * MIB + 4096, 4096, 4096);
    expect_tables(p, 5, 2, 1);
    page = locate(p, 2 * MIB, 3);
    link = locate(p, 2 * MIB, 2);
    expect_problem(p, page, peek(p, page) & ~2ull, PIOMMU_PGTABLE_PROBLEM_PAGE_TYPE);
    expect_problem(p, page, peek(p, page) | 1ull << 44, PIOMMU_PGTABLE_PROBLEM_OUTPUT);
    expect_problem(p, page, peek(p, page) & ~(1ull << 10), PIOMMU_PGTABLE_PROBLEM_ACCESS_FLAG);
    expect_problem(p, link, peek(p, locate(p, 6 * MIB, 2)), PIOMMU_PGTABLE_PROBLEM_TABLE_SHARED);
    expect_problem(p, link, peek(p, link) | 1ull << 44, PIOMMU_PGTABLE_PROBLEM_TABLE_ADDRESS);
    expect_problem(p, locate(p, 2 * MIB, 0), 0x401, PIOMMU_PGTABLE_PROBLEM_BLOCK_LEVEL);
    /* A leaf in a table that is counted as empty. */
    expect_problem(p, locate(p, 5 * 4096, 3), peek(p, page), PIOMMU_PGTABLE_PROBLEM_COUNT);
    close_table(p);
}

static void an_adopted_table_may_be_a_disjoint_one(void **state)
{
    struct fake_os_options options = {.scattered = true};
    struct piommu_pgtable_config config = disjoint(stage2_config(40, 40), 0);
    struct piommu_pgtable *adopted = NULL;
    struct piommu_translation translation;
    struct piommu_pgtable_info info;
    struct piommu_gather gather;
    uint64_t bytes;
    struct pgt *p = open_table_with(&config, &options);

    (void)state;
    p->has_hostile_links = true;
    map(p, 5 * MIB, 0x7000, 8192, READ_WRITE);
    map(p, GIB, 0, 4096, READ);
    unmap_and_sync(p, GIB, 4096, 4096);
    assert_int_equal(
        piommu_pgtable_adopt(p->host, &p->config,
                             fake_os_pointer(p->os, p->info.root_physical, p->info.root_size),
                             p->info.root_physical, &adopted),
        0);
    piommu_pgtable_get_info(adopted, &info);
    assert_true(info.adopted);
    assert_int_equal(info.flags & PIOMMU_PGTABLE_DISJOINT, PIOMMU_PGTABLE_DISJOINT);
    assert_int_equal(piommu_pgtable_lookup(adopted, 5 * MIB + 4097, &translation), 0);
    assert_int_equal(translation.physical, 0x8001);
    assert_int_equal(piommu_pgtable_lookup(adopted, GIB, &translation), -PIOMMU_ENOENT);
    p->is_verifying = true;
    assert_int_equal(piommu_pgtable_verify(adopted, NULL, NULL, NULL), 0);
    p->is_verifying = false;
    piommu_gather_init(&gather);
    assert_int_equal(piommu_pgtable_map(adopted, 0, 0, 4096, READ, &bytes), -PIOMMU_EOPNOTSUPP);
    assert_int_equal(piommu_pgtable_unmap(adopted, 5 * MIB, 4096, &gather, &bytes),
                     -PIOMMU_EOPNOTSUPP);
    assert_int_equal(piommu_pgtable_unmap_cut(adopted, 5 * MIB, 4096, obey, p, &gather, &bytes),
                     -PIOMMU_EOPNOTSUPP);
    assert_int_equal(piommu_pgtable_reserve(adopted, 1), -PIOMMU_EOPNOTSUPP);
    assert_false(gather.pending);
    piommu_pgtable_destroy(adopted);
    close_table(p);
}

static void destruction_frees_tables_in_all_states(void **state)
{
    (void)state;
    for (uint32_t budget = 0; budget <= 1000; budget = budget * 9 + 1) {
        struct pgt *p = open_disjoint(1);
        int result = 0;

        map(p, 0, 0x1000, 4 * MIB, READ);
        map(p, GIB, 0, 4096, READ);
        map(p, 2 * GIB, 0, 4096, READ);
        unmap_and_sync(p, 0, 4 * MIB - 4096, 4 * MIB - 4096);
        unmap_and_sync(p, GIB, 4096, 4096);
        assert_int_equal(piommu_pgtable_reserve(p->table, 3), 0);
        p->is_torn_down = true;
        p->ready = false;
        do {
            uint64_t frees = frees_of(p);

            result = piommu_pgtable_destroy_some(p->table, budget);
            assert_true(frees_of(p) - frees <= (budget == 0 ? 1 : budget));
        } while (result == -PIOMMU_EAGAIN);
        assert_int_equal(result, 0);
        close_fixture(p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_format_has_disjoint_tables_where_there_are_atomics),
        cmocka_unit_test(disjoint_tables_are_built_like_exclusive_ones),
        cmocka_unit_test(a_table_that_several_unmaps_empty_stays_linked_and_is_not_counted),
        cmocka_unit_test(an_unmap_of_less_than_a_table_leaves_it_even_if_nothing_else_was_in_it),
        cmocka_unit_test(an_empty_table_is_used_again_by_a_map),
        cmocka_unit_test(detach_empty_leaves_nothing_to_detach_and_makes_removals_visible),
        cmocka_unit_test(an_unmap_takes_out_the_tables_wholly_inside_its_range_at_all_levels),
        cmocka_unit_test(an_unmap_takes_out_tables_between_those_that_it_has_to_leave),
        cmocka_unit_test(an_unmap_takes_out_tables_that_were_empty_before),
        cmocka_unit_test(an_unmap_that_fails_takes_out_nothing),
        cmocka_unit_test(unmap_leaves_takes_out_the_tables_in_its_true_range),
        cmocka_unit_test(portions_take_out_the_same_tables_as_one_unmap),
        cmocka_unit_test(portions_leave_a_table_that_is_not_empty),
        cmocka_unit_test(portions_leave_what_is_above_a_kept_table),
        cmocka_unit_test(an_unmap_of_all_leaves_of_a_table_takes_it_out),
        cmocka_unit_test(portions_that_end_with_a_table_count_it_once),
        cmocka_unit_test(tables_that_an_unmap_has_emptied_are_kept_up_to_the_quota),
        cmocka_unit_test(the_quota_is_for_all_unmaps_together),
        cmocka_unit_test(a_kept_table_that_becomes_empty_by_parts_is_not_counted_again),
        cmocka_unit_test(an_unmap_around_a_kept_table_keeps_to_the_quota),
        cmocka_unit_test(a_quota_spares_a_hot_table_its_allocation),
        cmocka_unit_test(without_a_quota_nothing_wholly_inside_is_kept),
        cmocka_unit_test(a_kept_table_keeps_those_above_it),
        cmocka_unit_test(trim_takes_out_all_empty_tables_of_all_levels_in_one_call),
        cmocka_unit_test(trim_covers_no_more_than_what_it_takes_out),
        cmocka_unit_test(trim_makes_removals_visible),
        cmocka_unit_test(tables_that_a_cut_empties_stay_until_they_are_trimmed_or_unmapped),
        cmocka_unit_test(cuts_leave_what_they_do_in_exclusive_tables),
        cmocka_unit_test(map_unmap_cut_and_release_stay_inside_the_reserve),
        cmocka_unit_test(an_exhausted_reserve_goes_to_the_shim_and_is_filled_again_first),
        cmocka_unit_test(a_map_without_memory_changes_nothing),
        cmocka_unit_test(conflicts_leave_what_lies_before_them),
        cmocka_unit_test(exactly_the_lines_that_changed_are_cleaned),
        cmocka_unit_test(damage_is_found),
        cmocka_unit_test(an_adopted_table_may_be_a_disjoint_one),
        cmocka_unit_test(destruction_frees_tables_in_all_states),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
