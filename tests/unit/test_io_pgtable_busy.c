/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * -PIOMMU_EBUSY: where a table was detached nothing new is put in its place before the release,
 * and a map that is refused has changed nothing.
 */

#include "pgtable_fixture.h"

#include <stdlib.h>
#include <string.h>

static uint64_t outstanding(const struct pgt *p)
{
    struct piommu_pgtable_statistics statistics = statistics_of(p);

    return statistics.tables_allocated - statistics.tables_freed;
}

/* Refused by all calls that map, and each time without a trace. */
static void expect_busy(struct pgt *p, uint64_t iova, uint64_t physical, uint64_t size)
{
    struct piommu_pgtable_cursor cursor = {0};
    const struct piommu_segment segments[] = {
        {.physical = physical, .size = p->info.granule},
        {.physical = physical + p->info.granule, .size = size - p->info.granule},
    };
    size_t count = size == p->info.granule ? 1 : 2;
    uint64_t bytes = fake_os_bytes_outstanding(p->os);
    struct piommu_pgtable_statistics before = statistics_of(p);
    struct piommu_pgtable_statistics after;
    size_t leaves = count_leaves(p);
    size_t linked;
    uint64_t mapped = 1;

    observe_tree(p);
    linked = p->linked_count;
    map_fails(p, iova, physical, size, READ, -PIOMMU_EBUSY);
    assert_int_equal(piommu_pgtable_map_list(p->table, iova, segments, count, READ, &mapped),
                     -PIOMMU_EBUSY);
    assert_int_equal(mapped, 0);
    assert_int_equal(
        piommu_pgtable_map_some(p->table, iova, segments, count, READ, UINT32_MAX, &cursor),
        -PIOMMU_EBUSY);
    assert_int_equal(cursor.changed, 0);
    assert_int_equal(cursor.done, 0);
    verify(p);
    after = statistics_of(p);
    assert_int_equal(fake_os_bytes_outstanding(p->os), bytes);
    assert_int_equal(after.tables_allocated - after.tables_freed,
                     before.tables_allocated - before.tables_freed);
    assert_int_equal(after.tables_spare, before.tables_spare);
    assert_int_equal(after.tables_empty, before.tables_empty);
    assert_int_equal(p->linked_count, linked);
    assert_int_equal(count_leaves(p), leaves);
}

static void trim_quietly(struct pgt *p, struct piommu_gather *gather)
{
    fill_tlb(p);
    fake_os_forbid(p->os, FAKE_OS_FORBID_ALLOCATION | FAKE_OS_FORBID_FREE | FAKE_OS_FORBID_WAIT);
    piommu_pgtable_trim(p->table, gather);
    fake_os_forbid(p->os, 0);
    p->unsynced = true;
    verify(p);
}

static void finish_sync(struct pgt *p, struct piommu_gather *gather)
{
    invalidate(p, gather);
    release(p, gather);
    p->unsynced = false;
    verify(p);
}

/* How the tables of a test are taken out: how an owner would do it in each kind of table. */
enum way {
    WAY_DETACH,   /* exclusive: detach_empty */
    WAY_TRIM,     /* exclusive: trim what the quota keeps */
    WAY_DISJOINT, /* trim */
    WAYS,
};

static struct pgt *open_way(enum way way, struct piommu_pgtable_config config)
{
    if (way == WAY_TRIM) {
        config.empty_tables_kept = 100;
    }
    if (way == WAY_DISJOINT) {
        config.flags |= PIOMMU_PGTABLE_DISJOINT;
    }
    return open_table(&config);
}

static bool is_possible(enum way way)
{
    return way != WAY_DISJOINT || stores_at_once();
}

static void take_out(struct pgt *p, enum way way, struct piommu_gather *gather)
{
    if (way == WAY_DETACH) {
        detach_empty(p, gather);
    } else {
        trim_quietly(p, gather);
    }
}

/* Removes a page, so that its table is empty in both kinds, and what is empty. */
static void remove_page(struct pgt *p, enum way way, uint64_t iova, struct piommu_gather *gather)
{
    if (way == WAY_DISJOINT) {
        /* Until this is released nothing may be mapped there, whatever else is refused. */
        unmap_and_sync(p, iova, 4096, 4096);
    } else {
        unmap(p, iova, 4096, gather, 4096);
    }
    take_out(p, way, gather);
}

static void nothing_is_put_where_a_table_was_before_its_release(void **state)
{
    (void)state;
    for (unsigned int way = 0; way < WAYS; way++) {
        struct piommu_gather gather;
        struct pgt *p;

        if (!is_possible((enum way)way)) {
            continue;
        }
        p = open_way((enum way)way, stage1_config(48));
        piommu_gather_init(&gather);
        map(p, 0, 0, 4096, READ);
        map(p, 6 * MIB, 0, 4096, READ);
        remove_page(p, (enum way)way, 6 * MIB, &gather);
        assert_int_equal(p->linked_count, 3);
        /* A page, another, the last, a run, one over the end, a block, more than a block. */
        expect_busy(p, 6 * MIB, 0, 4096);
        expect_busy(p, 6 * MIB + 8 * 4096, 0, 4096);
        expect_busy(p, 8 * MIB - 4096, 0, 4096);
        expect_busy(p, 6 * MIB + 4096, 0, 64 * 4096);
        expect_busy(p, 8 * MIB - 4096, 0, 2 * 4096);
        expect_busy(p, 6 * MIB - 4096, 0, 2 * 4096);
        expect_busy(p, 6 * MIB, 0, 2 * MIB);
        expect_busy(p, 6 * MIB, 0x1000, 2 * MIB);
        expect_busy(p, 4 * MIB, 0, 8 * MIB);
        expect_busy(p, 2 * MIB, 0, GIB);
        /* Elsewhere all is as ever: in tables that are there, and in new ones. */
        map(p, 4096, 0, 4096, READ);
        map(p, 4 * MIB, 0, 2 * MIB, READ);
        map(p, 8 * MIB, 0, 4096, READ);
        map(p, GIB, 0, GIB, READ);
        map(p, 600 * GIB, 0, 4096, READ);
        finish_sync(p, &gather);
        map(p, 6 * MIB, 0, 2 * MIB, READ);
        expect_counts(p, 4, 2, 1);
        close_table(p);
    }
}

static void nothing_is_put_where_tables_of_all_levels_were(void **state)
{
    (void)state;
    for (unsigned int way = 0; way < WAYS; way++) {
        struct piommu_gather gather;
        struct pgt *p;

        if (!is_possible((enum way)way)) {
            continue;
        }
        p = open_way((enum way)way, stage1_config(48));
        piommu_gather_init(&gather);
        map(p, 700 * GIB, 0, 4096, READ);
        remove_page(p, (enum way)way, 700 * GIB, &gather);
        assert_int_equal(p->linked_count, 0);
        expect_busy(p, 700 * GIB, 0, 4096);
        expect_busy(p, 701 * GIB, 0, 4096);
        expect_busy(p, 512 * GIB, 0, 4096);
        expect_busy(p, TIB - 4096, 0, 4096);
        expect_busy(p, 800 * GIB, 0, GIB);
        expect_busy(p, 512 * GIB - 4096, 0, 8192);
        map(p, 512 * GIB - 4096, 0, 4096, READ);
        map(p, TIB, 0, 4096, READ);
        finish_sync(p, &gather);
        map(p, 700 * GIB, 0, 4096, READ);
        expect_counts(p, 3, 0, 0);
        close_table(p);
    }
}

static void pages_go_into_tables_that_are_between(void **state)
{
    (void)state;
    for (unsigned int way = 0; way < WAYS; way++) {
        struct piommu_gather gather;
        struct pgt *p;
        uint64_t mapped;
        int result;

        if (!is_possible((enum way)way)) {
            continue;
        }
        p = open_way((enum way)way, stage1_config(48));
        piommu_gather_init(&gather);
        map(p, 0, 0, 4096, READ);
        map(p, 4 * MIB, 0, 4096, READ);
        map(p, 12 * MIB, 0, 4096, READ);
        if (way == WAY_DISJOINT) {
            unmap_and_sync(p, 0, 4096, 4096);
            unmap_and_sync(p, 12 * MIB, 4096, 4096);
        } else {
            unmap(p, 0, 4096, &gather, 4096);
            unmap(p, 12 * MIB, 4096, &gather, 4096);
        }
        take_out(p, (enum way)way, &gather);
        map(p, 4 * MIB + 4096, 0x3000, 2 * MIB - 4096, READ);
        expect_busy(p, 0, 0, 4096);
        expect_busy(p, 14 * MIB - 4096, 0, 4096);
        expect_busy(p, 2 * MIB, 0, 2 * MIB); /* between: in the hull of the two */
        expect_busy(p, 8 * MIB, 0, 4096);
        /* Beyond the two there is nothing in the way. */
        map(p, 14 * MIB, 0, 4096, READ);
        /* Into the table that is there, and on from it to where one is missing: nothing. */
        result = call_map(p, 6 * MIB, 0, 4096, READ, &mapped);
        assert_int_equal(result, -PIOMMU_EBUSY);
        finish_sync(p, &gather);
        map(p, 6 * MIB, 0, 4096, READ);
        map(p, 0, 0, 2 * MIB, READ);
        map(p, 12 * MIB, 0, 2 * MIB, READ);
        close_table(p);
    }
}

/* In whatever order the tables are taken out. */
static void the_refused_range_grows_in_both_directions(void **state)
{
    static const uint64_t orders[][3] = {{4 * MIB, 12 * MIB, 20 * MIB},
                                         {20 * MIB, 12 * MIB, 4 * MIB},
                                         {12 * MIB, 4 * MIB, 20 * MIB}};
    struct piommu_pgtable_config config = stage1_config(48);

    (void)state;
    for (size_t i = 0; i < COUNT_OF(orders); i++) {
        struct pgt *p = open_table(&config);
        struct piommu_gather gathers[3];

        map(p, 60 * MIB, 0, 4096, READ); /* so that the level above never empties */
        for (size_t j = 0; j < 3; j++) {
            map(p, orders[i][j], 0, 4096, READ);
        }
        for (size_t j = 0; j < 3; j++) {
            piommu_gather_init(&gathers[j]);
            unmap(p, orders[i][j], 4096, &gathers[j], 4096);
            detach_empty(p, &gathers[j]);
        }
        for (size_t j = 0; j < 3; j++) {
            expect_busy(p, 4 * MIB, 0, 4096);
            expect_busy(p, 12 * MIB, 0, 2 * MIB);
            expect_busy(p, 20 * MIB, 0, 4096);
            expect_busy(p, 22 * MIB - 4096, 0, 4096);
            invalidate(p, &gathers[j]);
            release(p, &gathers[j]);
            /* Outside there is nothing in the way at any time. */
            map(p, 2 * MIB + j * 8192, 0, 4096, READ);
            map(p, 22 * MIB + j * 8192, 0, 4096, READ);
        }
        p->unsynced = false;
        map(p, 4 * MIB, 0, 18 * MIB, READ);
        close_table(p);
    }
}

static void the_refused_range_lasts_until_the_last_release(void **state)
{
    struct piommu_pgtable_config config = stage1_config(48);
    struct piommu_gather first;
    struct piommu_gather second;
    struct pgt *p = open_table(&config);

    (void)state;
    piommu_gather_init(&first);
    piommu_gather_init(&second);
    map(p, 0, 0, 4096, READ);
    map(p, 4 * MIB, 0, 4096, READ);
    map(p, 60 * MIB, 0, 4096, READ); /* so that the level above never empties */
    map(p, GIB, 0, 4096, READ);
    unmap(p, 0, 4096, &first, 4096);
    detach_empty(p, &first);
    unmap(p, 4 * MIB, 4096, &second, 4096);
    detach_empty(p, &second);
    expect_busy(p, 0, 0, 4096);
    expect_busy(p, 4 * MIB, 0, 4096);
    invalidate(p, &second);
    release(p, &second);
    /* The first still waits. */
    expect_busy(p, 0, 0, 4096);
    map(p, 8 * MIB, 0, 4096, READ);
    /* A gather that holds nothing changes nothing. */
    release(p, &second);
    detach_empty(p, &second);
    release(p, &second);
    expect_busy(p, 0, 0, 4096);
    finish_sync(p, &first);
    map(p, 0, 0, 2 * MIB, READ);
    map(p, 4 * MIB, 0, 2 * MIB, READ);
    /* It begins anew: what was refused before is no longer. */
    piommu_gather_init(&first);
    unmap(p, GIB, 4096, &first, 4096);
    detach_empty(p, &first);
    expect_busy(p, GIB, 0, 4096);
    map(p, 2 * MIB, 0, 4096, READ);
    finish_sync(p, &first);
    close_table(p);
}

static void after_a_failed_sync_it_stays_until_the_parked_tables_are_released(void **state)
{
    (void)state;
    for (unsigned int way = 0; way < WAYS; way++) {
        struct piommu_gather gather;
        struct piommu_gather parked;
        struct pgt *p;

        if (!is_possible((enum way)way)) {
            continue;
        }
        p = open_way((enum way)way, stage1_config(48));
        piommu_gather_init(&gather);
        piommu_gather_init(&parked);
        map(p, 0, 0, 4096, READ);
        map(p, 4 * MIB, 0, 4096, READ);
        remove_page(p, (enum way)way, 4 * MIB, &gather);
        expect_busy(p, 4 * MIB, 0, 4096);
        piommu_pgtable_move_detached(p->table, &gather, &parked);
        expect_busy(p, 4 * MIB, 0, 4096);
        invalidate(p, &gather);
        release(p, &gather);
        expect_busy(p, 4 * MIB, 0, 4096);
        expect_busy(p, 4 * MIB, 0, 2 * MIB);
        /* Others come and go in the meantime. */
        map(p, 10 * MIB, 0, 4096, READ);
        remove_page(p, (enum way)way, 10 * MIB, &gather);
        finish_sync(p, &gather);
        expect_busy(p, 4 * MIB, 0, 4096);
        piommu_pgtable_move_detached(p->table, &parked, &gather);
        release(p, &parked);
        expect_busy(p, 4 * MIB, 0, 4096);
        stale_tlb_invalidate_all(p->tlb);
        release(p, &gather);
        map(p, 4 * MIB, 0, 2 * MIB, READ);
        map(p, 10 * MIB, 0, 2 * MIB, READ);
        close_table(p);
    }
}

static void portions_before_the_place_are_mapped_and_the_series_can_go_on(void **state)
{
    static const struct piommu_segment segments[] = {
        {.physical = 0x5000, .size = MIB},
        {.physical = 0x5000 + MIB, .size = 4 * MIB},
    };

    (void)state;
    for (unsigned int way = 0; way < WAYS; way++) {
        struct piommu_pgtable_cursor cursor = {0};
        struct piommu_gather gather;
        struct pgt *p;
        uint64_t changed;
        int result;

        if (!is_possible((enum way)way)) {
            continue;
        }
        p = open_way((enum way)way, stage1_config(48));
        piommu_gather_init(&gather);
        map(p, 2 * MIB - 4096, 0, 4096, READ); /* keeps what is above in its place */
        map(p, 6 * MIB, 0, 4096, READ);
        remove_page(p, (enum way)way, 6 * MIB, &gather);
        do {
            changed = cursor.changed;
            result = piommu_pgtable_map_some(p->table, 4 * MIB, segments, 2, READ, 100, &cursor);
            assert_true(cursor.changed <= 2 * MIB);
            verify(p);
        } while (result == -PIOMMU_EAGAIN);
        assert_int_equal(result, -PIOMMU_EBUSY);
        assert_int_equal(cursor.changed, changed);
        assert_true(changed > 2 * MIB - 100 * 4096 && changed <= 2 * MIB);
        assert_int_equal(count_leaves(p), 1 + changed / 4096);
        /* Again in vain, then after the release to the end. */
        assert_int_equal(
            piommu_pgtable_map_some(p->table, 4 * MIB, segments, 2, READ, 100, &cursor),
            -PIOMMU_EBUSY);
        assert_int_equal(cursor.changed, changed);
        finish_sync(p, &gather);
        do {
            result = piommu_pgtable_map_some(p->table, 4 * MIB, segments, 2, READ, 100, &cursor);
        } while (result == -PIOMMU_EAGAIN);
        assert_int_equal(result, 0);
        assert_int_equal(cursor.changed, 5 * MIB);
        verify(p);
        assert_int_equal(count_leaves(p), 1 + 5 * 256);
        close_table(p);
    }
}

static void other_errors_come_first_and_lack_of_memory_does_not(void **state)
{
    struct piommu_pgtable_config config = stage1_config(48);
    struct piommu_gather gather;
    struct pgt *p = open_table(&config);
    uint64_t mapped;

    (void)state;
    piommu_gather_init(&gather);
    map(p, 0, 0, 4096, READ);
    map(p, 6 * MIB, 0, 4096, READ);
    map(p, 8 * MIB, 0, 4096, READ);
    unmap(p, 6 * MIB, 4096, &gather, 4096);
    detach_empty(p, &gather);
    map_fails(p, 6 * MIB + 1, 0, 4096, READ, -PIOMMU_EINVAL);
    map_fails(p, 6 * MIB, 0, 0, READ, -PIOMMU_EINVAL);
    map_fails(p, 6 * MIB, 0, 4096, 0, -PIOMMU_EINVAL);
    map_fails(p, 6 * MIB, 1ull << 48, 4096, READ, -PIOMMU_ERANGE);
    map_fails(p, 6 * MIB, 0, 4096, WRITE, -PIOMMU_EOPNOTSUPP);
    fake_os_fail_call(p->os, 1, true);
    expect_busy(p, 6 * MIB, 0, 4096);
    expect_busy(p, 4 * MIB, 0x1000, 4 * MIB);
    fake_os_fail_call(p->os, 0, false);
    /* A conflict behind the place is hidden; one before it leaves nothing to be put there. */
    expect_busy(p, 6 * MIB, 0, 4 * MIB);
    assert_int_equal(call_map(p, 0, 0, 4096, READ, &mapped), -PIOMMU_EEXIST);
    assert_int_equal(mapped, 0);
    assert_int_equal(call_map(p, 0, 0, 8 * MIB, READ, &mapped), -PIOMMU_EEXIST);
    assert_int_equal(mapped, 0);
    finish_sync(p, &gather);
    assert_int_equal(call_map(p, 6 * MIB, 0, 4 * MIB, READ, &mapped), -PIOMMU_EEXIST);
    assert_int_equal(mapped, 2 * MIB);
    verify(p);
    close_table(p);
}

static void a_refused_map_takes_nothing_from_the_reserve(void **state)
{
    (void)state;
    for (unsigned int way = 0; way < WAYS; way++) {
        struct piommu_gather gather;
        struct pgt *p;

        if (!is_possible((enum way)way)) {
            continue;
        }
        p = open_way((enum way)way, stage1_config(48));
        assert_int_equal(piommu_pgtable_reserve(p->table, 9), 0);
        piommu_gather_init(&gather);
        map(p, 600 * GIB, 0, 4096, READ);
        remove_page(p, (enum way)way, 600 * GIB, &gather);
        assert_int_equal(statistics_of(p).tables_spare, 6);
        /* Tables below 512 GiB could be had, those above could not. */
        expect_busy(p, 512 * GIB - 4096, 0, 8192);
        assert_int_equal(statistics_of(p).tables_spare, 6);
        finish_sync(p, &gather);
        assert_int_equal(statistics_of(p).tables_spare, 9);
        map(p, 512 * GIB - 4096, 0, 8192, READ);
        assert_int_equal(outstanding(p), 9);
        close_table(p);
    }
}

static int obey(void *cookie, const struct piommu_range *range)
{
    struct pgt *p = cookie;

    stale_tlb_invalidate(p->tlb, range->first, range->last, false);
    return 0;
}

/* What it puts tables under was a leaf, and no table. */
static void a_cut_is_not_refused(void **state)
{
    struct piommu_pgtable_config config = stage1_config(48);
    struct piommu_gather gather;
    struct piommu_gather other;
    struct pgt *p = open_table(&config);
    uint64_t unmapped;

    (void)state;
    piommu_gather_init(&gather);
    piommu_gather_init(&other);
    map(p, 0, 0, 4096, READ);
    map(p, 4 * MIB, 0, 2 * MIB, READ);
    map(p, 8 * MIB, 0, 4096, READ);
    unmap(p, 0, 4096, &gather, 4096);
    unmap(p, 8 * MIB, 4096, &gather, 4096);
    detach_empty(p, &gather);
    assert_int_equal(piommu_pgtable_unmap_cut(p->table, 4 * MIB, MIB, obey, p, &other, &unmapped),
                     0);
    assert_int_equal(unmapped, MIB);
    verify(p);
    expect_counts(p, 256, 0, 0);
    expect_busy(p, 2 * MIB, 0, 2 * MIB);
    finish_sync(p, &gather);
    close_table(p);
}

static void tables_that_stay_linked_are_used_meanwhile(void **state)
{
    struct piommu_pgtable_config config = stage1_config(48);
    struct piommu_gather gather;
    struct pgt *p;

    (void)state;
    config.empty_tables_kept = 1;
    p = open_table(&config);
    piommu_gather_init(&gather);
    map(p, 0, 0, 4096, READ);
    map(p, 4 * MIB, 0, 4096, READ);
    map(p, 8 * MIB, 0, 4096, READ);
    map(p, 12 * MIB, 0, 4096, READ);
    unmap(p, 0, 4096, &gather, 4096);
    unmap(p, 8 * MIB, 4096, &gather, 4096);
    unmap(p, 4 * MIB, 4096, &gather, 4096); /* the last one, which the quota keeps */
    detach_empty(p, &gather);
    map(p, 4 * MIB + 4096, 0, 4096, READ);
    expect_busy(p, 8 * MIB + 4096, 0, 4096);
    /* One that is empty and not yet detached. */
    unmap(p, 4 * MIB + 4096, 4096, &gather, 4096);
    map(p, 4 * MIB + 8192, 0, 4096, READ);
    finish_sync(p, &gather);
    close_table(p);
}

static void an_unmap_of_a_disjoint_table_refuses_nothing_outside_its_range(void **state)
{
    struct piommu_pgtable_config config = stage1_config(48);
    struct piommu_gather gather;
    struct piommu_gather other;
    struct pgt *p;

    (void)state;
    if (!stores_at_once()) {
        skip();
    }
    config.flags = PIOMMU_PGTABLE_DISJOINT;
    p = open_table(&config);
    piommu_gather_init(&gather);
    piommu_gather_init(&other);
    map(p, 2 * MIB, 0, 4096, READ);
    map(p, 10 * MIB, 0, 4096, READ);
    unmap(p, 2 * MIB, 2 * MIB, &gather, 4096);
    unmap(p, 10 * MIB, 2 * MIB, &other, 4096);
    detach_empty(p, &gather);
    map(p, 0, 0, 4096, READ);
    map(p, 4 * MIB, 0x1000, 2 * MIB, READ);
    map(p, 6 * MIB, 0, 4 * MIB, READ);
    detach_empty(p, &other);
    invalidate(p, &other);
    release(p, &other);
    map(p, 10 * MIB, 0, 2 * MIB, READ);
    finish_sync(p, &gather);
    map(p, 2 * MIB, 0, 2 * MIB, READ);
    expect_counts(p, 513, 4, 0);
    close_table(p);
}

/* Both ends of the space, in every format; and groups. */
static void every_format_refuses_at_both_ends_of_its_space(void **state)
{
    static const struct kind kinds[] = {
        {S1_64, 4096, 48, 48, PIOMMU_PGTABLE_TTBR1, 0},
        {S1_64, 4096, 48, 48, PIOMMU_PGTABLE_CONTIGUOUS, 0},
        {S1_64, 4096, 52, 52, PIOMMU_PGTABLE_CONTIGUOUS | PIOMMU_PGTABLE_TTBR1, 0},
        {S2_64, 4096, 40, 40, PIOMMU_PGTABLE_CONCATENATE, 0},
        {S1_64, 16384, 47, 48, PIOMMU_PGTABLE_CONTIGUOUS | PIOMMU_PGTABLE_TTBR1, 0},
        {S2_64, 65536, 46, 48, PIOMMU_PGTABLE_CONTIGUOUS, 0},
        {S1_32, 4096, 32, 40, 0, 0},
        {S1_32, 4096, 31, 40, PIOMMU_PGTABLE_TTBR1, 0},
        {S2_32, 4096, 40, 40, 0, 0},
    };

    (void)state;
    for (size_t i = 0; i < 2 * COUNT_OF(kinds); i++) {
        struct piommu_pgtable_config config = config_of_kind(&kinds[i / 2]);
        uint64_t granule = config.granule;
        struct piommu_gather gather;
        struct pgt *p;
        uint64_t size;
        uint64_t edge;
        uint64_t most;

        if (i % 2 == 1) {
            config.flags |= disjoint_flag();
        }
        p = open_table(&config);
        size = granule * granule / 8; /* of what a table of pages spans */
        edge = p->info.aperture.last - (granule - 1);
        most = 32 * size; /* a group, if there are any */
        map(p, base_of(p) + (1ull << (config.input_bits - 1)), 0, granule, READ);
        map(p, edge, 0, granule, READ);
        map(p, base_of(p), 0, granule, READ);
        unmap_and_sync(p, base_of(p), granule, granule);
        map(p, base_of(p), 0, granule, READ);
        piommu_gather_init(&gather);
        unmap(p, base_of(p), granule, &gather, granule);
        unmap(p, edge, granule, &gather, granule);
        if (is_disjoint(&p->info)) {
            sync_gather(p, &gather);
        }
        trim_quietly(p, &gather);
        expect_busy(p, base_of(p), 0, granule);
        expect_busy(p, base_of(p) + granule, 0, granule);
        expect_busy(p, base_of(p), 0, size);
        expect_busy(p, base_of(p) + size - granule, 0, granule);
        expect_busy(p, edge, 0, granule);
        expect_busy(p, edge - 3 * granule, 0, 4 * granule);
        expect_busy(p, p->info.aperture.last - (size - 1), 0, size);
        if (most < 1ull << (config.input_bits - 2) && most <= 1ull << config.output_bits) {
            expect_busy(p, base_of(p), 0, most);
            expect_busy(p, p->info.aperture.last - (most - 1), 0, most);
        }
        finish_sync(p, &gather);
        map(p, base_of(p), 0, size, READ);
        map(p, edge, 0, granule, READ);
        close_table(p);
    }
}

static void what_was_released_goes_back_before_it_is_asked_for(void **state)
{
    struct piommu_pgtable_config config = stage1_config(48);
    struct pgt *p = open_table(&config);

    (void)state;
    /* The documented sequence, again and again: never refused. */
    for (unsigned int i = 0; i < 20; i++) {
        map(p, 5 * GIB, 0, 4096, READ);
        map(p, 900 * GIB, 0, 4096, READ);
        unmap_and_sync(p, i % 2 == 0 ? 5 * GIB : 900 * GIB, 4096, 4096);
        unmap_and_sync(p, i % 2 == 0 ? 900 * GIB : 5 * GIB, 4096, 4096);
        expect_empty(p);
        assert_int_equal(outstanding(p), 0);
    }
    close_table(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_put_where_a_table_was_before_its_release),
        cmocka_unit_test(nothing_is_put_where_tables_of_all_levels_were),
        cmocka_unit_test(pages_go_into_tables_that_are_between),
        cmocka_unit_test(the_refused_range_grows_in_both_directions),
        cmocka_unit_test(the_refused_range_lasts_until_the_last_release),
        cmocka_unit_test(after_a_failed_sync_it_stays_until_the_parked_tables_are_released),
        cmocka_unit_test(portions_before_the_place_are_mapped_and_the_series_can_go_on),
        cmocka_unit_test(other_errors_come_first_and_lack_of_memory_does_not),
        cmocka_unit_test(a_refused_map_takes_nothing_from_the_reserve),
        cmocka_unit_test(a_cut_is_not_refused),
        cmocka_unit_test(tables_that_stay_linked_are_used_meanwhile),
        cmocka_unit_test(an_unmap_of_a_disjoint_table_refuses_nothing_outside_its_range),
        cmocka_unit_test(every_format_refuses_at_both_ends_of_its_space),
        cmocka_unit_test(what_was_released_goes_back_before_it_is_asked_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
