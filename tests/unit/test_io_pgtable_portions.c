/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* Calls in portions: bounds by budget, the same result as in one call, going on after a failure. */

#include "pgtable_fixture.h"

#include <stdlib.h>
#include <string.h>

static const uint32_t budgets[] = {0, 2, 7, 16, 100, 1000, UINT32_MAX};

static uint64_t sum_of(const struct piommu_segment *segments, size_t count)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < count; i++) {
        sum += segments[i].size;
    }
    return sum;
}

/* ---- Comparing two tables ---- */

struct snapshot {
    const struct pgt *p;
    struct piommu_walker_leaf *leaves;
    size_t count;
};

static bool take_leaf(void *ctx, const struct piommu_walker_leaf *leaf)
{
    struct snapshot *snapshot = ctx;

    if (snapshot->count % 256 == 0) {
        snapshot->leaves =
            realloc(snapshot->leaves, (snapshot->count + 256) * sizeof(*snapshot->leaves));
    }
    snapshot->leaves[snapshot->count++] = *leaf;
    return true;
}

static struct snapshot snapshot_of(struct pgt *p)
{
    struct snapshot snapshot = {.p = p};

    assert_true(piommu_walker_for_each_leaf(&p->regime, &p->memory, take_leaf, &snapshot));
    return snapshot;
}

static void expect_same_leaves(struct pgt *one, struct pgt *other)
{
    struct snapshot first = snapshot_of(one);
    struct snapshot second = snapshot_of(other);

    assert_int_equal(first.count, second.count);
    for (size_t i = 0; i < first.count; i++) {
        assert_int_equal(first.leaves[i].input, second.leaves[i].input);
        assert_int_equal(first.leaves[i].shift, second.leaves[i].shift);
        assert_int_equal(first.leaves[i].descriptor, second.leaves[i].descriptor);
    }
    free(first.leaves);
    free(second.leaves);
}

/* ---- map_some ---- */

struct layout {
    enum piommu_pgtable_format format;
    uint32_t granule;
    unsigned int input;
    uint32_t flags;
    uint64_t iova;
    size_t count;
    struct piommu_segment segments[5];
};

static const struct layout layouts[] = {
    {PIOMMU_ARM_64_LPAE_S1, 4096, 48, 0, 0, 1, {{0, 40 * 4096}}},
    {PIOMMU_ARM_64_LPAE_S1, 4096, 48, 0, 2 * MIB - 4096, 1, {{2 * MIB - 4096, 6 * MIB + 8192}}},
    {PIOMMU_ARM_64_LPAE_S1,
     4096,
     48,
     0,
     GIB - 3 * 4096,
     5,
     {{0x7000, 8192}, {0x3000, 4096}, {6 * MIB, 2 * MIB}, {8 * MIB, 4 * MIB}, {0x7000, 4096}}},
    {PIOMMU_ARM_64_LPAE_S1,
     4096,
     48,
     PIOMMU_PGTABLE_TTBR1,
     0 - 2 * GIB - 4096,
     2,
     {{GIB - 4096, GIB + 4096}, {2 * GIB, GIB}}},
    {PIOMMU_ARM_64_LPAE_S1,
     4096,
     48,
     PIOMMU_PGTABLE_CONTIGUOUS,
     0x38000,
     3,
     {{0x108000, 0x1c000}, {0x124000, 0x4000}, {0x128000, 0x20000}}},
    {PIOMMU_ARM_64_LPAE_S1,
     4096,
     48,
     PIOMMU_PGTABLE_CONTIGUOUS,
     30 * MIB,
     1,
     {{62 * MIB, 70 * MIB + 64 * KIB}}},
    {PIOMMU_ARM_64_LPAE_S2,
     65536,
     42,
     PIOMMU_PGTABLE_CONTIGUOUS,
     GIB - 65536,
     1,
     {{GIB - 65536, 512 * MIB + 4 * 65536}}},
    {PIOMMU_ARM_64_LPAE_S2,
     16384,
     40,
     PIOMMU_PGTABLE_CONTIGUOUS,
     32 * MIB,
     2,
     {{64 * MIB, 33 * MIB}, {97 * MIB, 4 * MIB}}},
    {PIOMMU_ARM_32_LPAE_S2, 4096, 40, 0, 512 * GIB - 4096, 1, {{GIB - 4096, 2 * GIB}}},
};

static struct pgt *open_layout(const struct layout *layout)
{
    struct piommu_pgtable_config config =
        config_of(layout->format, layout->granule, layout->input, 40);
    struct pgt *p;

    if (layout->format == PIOMMU_ARM_64_LPAE_S1 || layout->granule != 4096) {
        config.output_bits = 48;
    }
    config.flags = layout->flags;
    p = open_table(&config);
    p->has_tlb = false;
    return p;
}

/* Look at the whole table after this call? Not after each of very many. */
static bool is_looked_at(uint64_t call)
{
    return call < 8 || call % 256 == 0;
}

static uint32_t at_least_one(uint32_t budget)
{
    return budget == 0 ? 1 : budget;
}

static unsigned int levels_of(const struct pgt *p)
{
    return (unsigned int)(3 - p->info.start_level + 1);
}

static void test_map_some_ends_as_map_list_within_its_budget(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(layouts); i++) {
        const struct layout *layout = &layouts[i];
        uint64_t size = sum_of(layout->segments, layout->count);
        struct pgt *whole = open_layout(layout);
        uint64_t mapped;

        assert_int_equal(piommu_pgtable_map_list(whole->table, layout->iova, layout->segments,
                                                 layout->count, READ_WRITE, &mapped),
                         0);
        assert_int_equal(mapped, size);
        for (size_t b = 0; b < COUNT_OF(budgets); b++) {
            struct pgt *p = open_layout(layout);
            struct piommu_pgtable_cursor cursor = {0};
            uint64_t calls = 0;
            int result;

            do {
                size_t leaves = is_looked_at(calls) ? count_leaves(p) : 0;
                uint64_t requests = p->requests;
                uint64_t changed = cursor.changed;

                result = piommu_pgtable_map_some(p->table, layout->iova, layout->segments,
                                                 layout->count, READ_WRITE, budgets[b], &cursor);
                assert_true(result == 0 || result == -PIOMMU_EAGAIN);
                if (is_looked_at(calls)) {
                    assert_true(count_leaves(p) - leaves <= at_least_one(budgets[b]));
                    verify(p);
                }
                calls++;
                assert_true(p->requests - requests <=
                            (uint64_t)at_least_one(budgets[b]) + levels_of(p));
                assert_int_equal(cursor.done, cursor.changed);
                /* It goes on, however little. */
                assert_true(cursor.changed > changed);
            } while (result == -PIOMMU_EAGAIN);
            assert_int_equal(cursor.changed, size);
            assert_true(calls >= count_leaves(p) / at_least_one(budgets[b]));
            expect_same_leaves(p, whole);
            assert_int_equal(p->linked_count, whole->requests - 1);
            close_table(p);
        }
        close_table(whole);
    }
}

static void test_map_some_maps_from_iova_on_up_to_changed(void **state)
{
    const struct layout *layout = &layouts[2];
    struct pgt *p = open_layout(layout);
    struct piommu_pgtable_cursor cursor = {0};
    struct piommu_translation translation;

    (void)state;
    while (piommu_pgtable_map_some(p->table, layout->iova, layout->segments, layout->count, READ, 1,
                                   &cursor) == -PIOMMU_EAGAIN) {
        assert_int_equal(
            piommu_pgtable_lookup(p->table, layout->iova + cursor.changed - 1, &translation), 0);
        assert_int_equal(
            piommu_pgtable_lookup(p->table, layout->iova + cursor.changed, &translation),
            -PIOMMU_ENOENT);
    }
    close_table(p);
}

static void test_map_some_stops_at_a_conflict(void **state)
{
    (void)state;
    for (uint32_t budget = 1; budget <= 9; budget++) {
        for (unsigned int at = 0; at < 8; at++) {
            struct piommu_pgtable_config config = stage1_config(40);
            struct pgt *p = open_table(&config);
            const struct piommu_segment segments[] = {{0x10000, 0x3000}, {0x20000, 0x5000}};
            struct piommu_pgtable_cursor cursor = {0};
            uint64_t start = 2 * MIB - 3 * 4096;
            int result;

            map(p, start + at * 4096, 0x99000, 4096, READ);
            do {
                result =
                    piommu_pgtable_map_some(p->table, start, segments, 2, READ, budget, &cursor);
                verify(p);
            } while (result == -PIOMMU_EAGAIN);
            assert_int_equal(result, -PIOMMU_EEXIST);
            assert_int_equal(cursor.changed, at * 4096);
            assert_int_equal(count_leaves(p), at + 1);
            close_table(p);
        }
    }
}

static void test_map_some_can_go_on_after_running_out_of_memory(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(layouts); i++) {
        const struct layout *layout = &layouts[i];
        struct pgt *whole = open_layout(layout);
        struct pgt *p = open_layout(layout);
        struct piommu_pgtable_cursor cursor = {0};
        unsigned int failures = 0;
        uint64_t mapped;
        int result;

        assert_int_equal(piommu_pgtable_map_list(whole->table, layout->iova, layout->segments,
                                                 layout->count, READ, &mapped),
                         0);
        do {
            struct piommu_pgtable_cursor before = cursor;
            uint64_t bytes = fake_os_bytes_outstanding(p->os);
            size_t leaves = count_leaves(p);

            /* Each call fails at its first request for memory, and then at its second. */
            for (uint64_t nth = 1; nth <= 2; nth++) {
                fake_os_fail_call(p->os, nth, true);
                result = piommu_pgtable_map_some(p->table, layout->iova, layout->segments,
                                                 layout->count, READ, 3, &cursor);
                fake_os_fail_call(p->os, 0, false);
                if (result != -PIOMMU_ENOMEM) {
                    break;
                }
                failures++;
                assert_int_equal(cursor.done, before.done);
                assert_int_equal(cursor.changed, before.changed);
                assert_int_equal(fake_os_bytes_outstanding(p->os), bytes);
                assert_int_equal(count_leaves(p), leaves);
            }
            if (result == -PIOMMU_ENOMEM) {
                result = piommu_pgtable_map_some(p->table, layout->iova, layout->segments,
                                                 layout->count, READ, 3, &cursor);
            }
            verify(p);
        } while (result == -PIOMMU_EAGAIN);
        assert_int_equal(result, 0);
        assert_true(failures != 0);
        expect_same_leaves(p, whole);
        close_table(p);
        close_table(whole);
    }
}

static void map_some_fails(struct pgt *p, uint64_t iova, const struct piommu_segment *segments,
                           size_t count, piommu_prot prot, int error)
{
    struct piommu_pgtable_cursor cursor = {0};

    assert_int_equal(piommu_pgtable_map_some(p->table, iova, segments, count, prot, 1, &cursor),
                     error);
    assert_int_equal(cursor.changed, 0);
    expect_empty(p);
    assert_int_equal(p->piece_count, 1);
}

static void test_map_some_checks_its_arguments_as_map_list(void **state)
{
    struct piommu_pgtable_config config = stage2_config(39, 40);
    struct pgt *p = open_table(&config);
    const struct piommu_segment good = {0, 8192};
    const struct piommu_segment odd = {0, 8191};
    const struct piommu_segment high = {TIB - 4096, 8192};
    const struct piommu_segment empty = {0, 0};
    const struct piommu_segment late[3] = {good, good, high};
    const struct piommu_segment huge[2] = {{0, 1ull << 63}, {0, 1ull << 63}};

    (void)state;
    map_some_fails(p, 0, &good, 0, READ, -PIOMMU_EINVAL);
    map_some_fails(p, 1, &good, 1, READ, -PIOMMU_EINVAL);
    map_some_fails(p, 0, &odd, 1, READ, -PIOMMU_EINVAL);
    map_some_fails(p, 0, &empty, 1, READ, -PIOMMU_EINVAL);
    map_some_fails(p, 0, &good, 1, 0, -PIOMMU_EINVAL);
    map_some_fails(p, 0, &good, 1, READ | 1u << 13, -PIOMMU_EINVAL);
    map_some_fails(p, 0, &high, 1, READ, -PIOMMU_ERANGE);
    map_some_fails(p, 0, huge, 2, READ, -PIOMMU_ERANGE);
    map_some_fails(p, 512 * GIB - 4096, &good, 1, READ, -PIOMMU_ERANGE);
    map_some_fails(p, 512 * GIB, &good, 1, READ, -PIOMMU_ERANGE);
    map_some_fails(p, 0, &good, 1, READ | PIOMMU_PROT_GLOBAL, -PIOMMU_EOPNOTSUPP);
    /* Checked before the first leaf, not when the budget gets there. */
    map_some_fails(p, 0, late, 3, READ, -PIOMMU_ERANGE);
    close_table(p);
}

/* ---- unmap_some ---- */

/* Pages, blocks, groups and holes of all kinds, up to `end`. */
static void fill(struct pgt *p)
{
    uint64_t base = base_of(p);

    map_quickly(p, base + 0x5000, 0x5000, 0x3000, READ);
    map_quickly(p, base + 0x10000, 0x10000, 0x24000, READ);
    map_quickly(p, base + 2 * MIB, 2 * MIB, 2 * MIB, READ);
    map_quickly(p, base + 6 * MIB - 4096, 2 * MIB - 4096, 8192, READ);
    map_quickly(p, base + 32 * MIB, 0, 32 * MIB, READ);
    map_quickly(p, base + 3 * GIB, 0, GIB, READ);
    map_quickly(p, base + 5 * GIB + 7 * MIB, 0, 4096, READ);
    map_quickly(p, base + 700 * GIB, 0, 4096, READ);
    map_quickly(p, p->info.aperture.last - 4095, 0, 4096, READ);
}

static struct pgt *open_filled(uint32_t flags)
{
    struct piommu_pgtable_config config = stage1_config(42);
    struct pgt *p;

    config.flags = possible_flags(flags);
    p = open_table(&config);
    fill(p);
    return p;
}

static size_t count_empty_tables(struct pgt *p)
{
    observe_tree(p);
    return p->empty_count;
}

static void unmap_in_portions(struct pgt *p, uint64_t iova, uint64_t size, uint32_t budget,
                              uint64_t expected, bool sync_between)
{
    struct piommu_pgtable_cursor cursor = {0};
    struct piommu_gather gather;
    unsigned int calls = 0;
    int result;

    piommu_gather_init(&gather);
    do {
        bool is_looked = is_looked_at(calls);
        size_t leaves = is_looked ? count_leaves(p) : 0;
        size_t empty = is_looked ? count_empty_tables(p) : 0;
        uint64_t done = cursor.done;

        p->unsynced = true;
        fake_os_forbid(p->os, FAKE_OS_FORBID_ALLOCATION | FAKE_OS_FORBID_FREE);
        result = piommu_pgtable_unmap_some(p->table, iova, size, budget, &gather, &cursor);
        fake_os_forbid(p->os, 0);
        assert_true(result == 0 || result == -PIOMMU_EAGAIN);
        if (is_looked) {
            assert_true(leaves - count_leaves(p) <= at_least_one(budget));
            assert_true(count_empty_tables(p) <=
                        empty + (uint64_t)at_least_one(budget) + levels_of(p));
            verify(p);
        }
        assert_true(cursor.done > done || result == 0);
        assert_true(cursor.changed <= cursor.done);
        if (sync_between && is_looked) {
            let_lines_arrive(p);
            sync_gather(p, &gather);
        }
        calls++;
        assert_true(calls < 1000000);
    } while (result == -PIOMMU_EAGAIN);
    assert_int_equal(cursor.changed, expected);
    assert_int_equal(cursor.done, size);
    sync_gather(p, &gather);
    verify(p);
}

static void test_unmap_some_ends_as_unmap_within_its_budget(void **state)
{
    static const uint32_t kinds[] = {0, PIOMMU_PGTABLE_CONTIGUOUS, PIOMMU_PGTABLE_TTBR1,
                                     PIOMMU_PGTABLE_DISJOINT | PIOMMU_PGTABLE_CONTIGUOUS};

    (void)state;
    for (size_t k = 0; k < COUNT_OF(kinds); k++) {
        for (size_t b = 0; b < COUNT_OF(budgets); b++) {
            struct pgt *p = open_filled(kinds[k]);
            uint64_t all = 0x3000 + 0x24000 + 2 * MIB + 8192 + 32 * MIB + GIB + 3 * 4096;

            unmap_in_portions(p, base_of(p), 1ull << 42, budgets[b], all, b % 2 == 0);
            expect_empty(p);
            assert_int_equal(p->linked_count, 0);
            close_table(p);

            p = open_filled(kinds[k]);
            unmap_in_portions(p, base_of(p) + 2 * MIB, 6 * GIB, budgets[b],
                              2 * MIB + 8192 + 32 * MIB + GIB + 4096, b % 2 != 0);
            unmap_in_portions(p, base_of(p), 2 * MIB, budgets[b], 0x27000, true);
            assert_int_equal(count_leaves(p), 2);
            close_table(p);
        }
    }
}

static void test_unmap_some_finds_nothing_only_if_the_whole_series_does(void **state)
{
    struct piommu_pgtable_config config = stage1_config(42);

    (void)state;
    for (uint32_t budget = 1; budget < 9; budget++) {
        struct pgt *p = open_table(&config);
        struct piommu_pgtable_cursor cursor = {0};
        struct piommu_gather gather;
        int result;

        piommu_gather_init(&gather);
        map(p, 0x8000, 0, 4096, READ);
        map(p, 3 * GIB, 0, 4096, READ);
        do {
            result = piommu_pgtable_unmap_some(p->table, 0x9000, 2 * GIB, budget, &gather, &cursor);
        } while (result == -PIOMMU_EAGAIN);
        assert_int_equal(result, -PIOMMU_ENOENT);
        assert_int_equal(cursor.changed, 0);
        assert_false(gather.pending);

        /* A leaf at the beginning, and nothing but holes in the last portion. */
        cursor = (struct piommu_pgtable_cursor){0};
        do {
            result = piommu_pgtable_unmap_some(p->table, 0x8000, 2 * GIB, budget, &gather, &cursor);
        } while (result == -PIOMMU_EAGAIN);
        assert_int_equal(result, 0);
        assert_int_equal(cursor.changed, 4096);
        p->unsynced = true;
        sync_gather(p, &gather);
        EXPECT_LEAVES(p, {3 * GIB, 0, 4096});
        close_table(p);
    }
}

static void unmap_some_fails(struct pgt *p, uint64_t iova, uint64_t size, int error)
{
    struct piommu_pgtable_cursor cursor = {0};
    struct piommu_gather gather;
    size_t leaves = count_leaves(p);
    int result;

    piommu_gather_init(&gather);
    do {
        result = piommu_pgtable_unmap_some(p->table, iova, size, 1, &gather, &cursor);
    } while (result == -PIOMMU_EAGAIN);
    assert_int_equal(result, error);
    assert_int_equal(cursor.changed, 0);
    assert_false(gather.pending);
    assert_int_equal(count_leaves(p), leaves);
    verify(p);
}

static void test_unmap_some_refuses_as_unmap_before_it_removes_anything(void **state)
{
    struct pgt *p = open_filled(PIOMMU_PGTABLE_CONTIGUOUS);

    (void)state;
    unmap_some_fails(p, 1, 4096, -PIOMMU_EINVAL);
    unmap_some_fails(p, 0, 4095, -PIOMMU_EINVAL);
    unmap_some_fails(p, 0, 0, -PIOMMU_EINVAL);
    unmap_some_fails(p, 1ull << 42, 4096, -PIOMMU_ERANGE);
    unmap_some_fails(p, 0, (1ull << 42) + 4096, -PIOMMU_ERANGE);
    unmap_some_fails(p, 4096, 0 - 4096ull, -PIOMMU_ERANGE);
    unmap_some_fails(p, 0x9000, 4096, -PIOMMU_ENOENT);
    /* The end of the range is behind many leaves: known beforehand all the same. */
    unmap_some_fails(p, 0, 3 * MIB, -PIOMMU_ECUT);
    unmap_some_fails(p, 3 * MIB, GIB, -PIOMMU_ECUT);
    unmap_some_fails(p, 0, 3 * GIB + 4096, -PIOMMU_ECUT);
    unmap_some_fails(p, 0, 0x18000, -PIOMMU_ECUT);
    unmap_some_fails(p, 0, 40 * MIB, -PIOMMU_ECUT);
    close_table(p);
}

/* ---- protect_some ---- */

static void protect_in_portions(struct pgt *p, uint64_t iova, uint64_t size, piommu_prot prot,
                                uint32_t budget, uint64_t expected)
{
    struct piommu_pgtable_cursor cursor = {0};
    struct piommu_gather gather;
    uint64_t last = iova + (size - 1);
    unsigned int calls = 0;
    int result;

    piommu_gather_init(&gather);
    do {
        struct piommu_translation translation;
        uint64_t found = iova + cursor.done;
        uint64_t done = cursor.done;
        size_t changed = 0;

        fake_os_forbid(p->os, FAKE_OS_FORBID_ALLOCATION | FAKE_OS_FORBID_FREE);
        result = piommu_pgtable_protect_some(p->table, iova, size, prot, budget, &gather, &cursor);
        fake_os_forbid(p->os, 0);
        assert_true(result == 0 || result == -PIOMMU_EAGAIN);
        assert_true(cursor.done > done || result == 0);
        /* What is behind has the new rights; it is no more than the budget. */
        while (cursor.done > done && found <= iova + (cursor.done - 1) &&
               piommu_pgtable_next_leaf(p->table, found, iova + (cursor.done - 1), &found,
                                        &translation) == 0) {
            assert_int_equal(translation.prot & PIOMMU_PROT_ACCESS, prot);
            changed++;
            if (found + (translation.leaf_size - 1) >= iova + (cursor.done - 1)) {
                break;
            }
            found += translation.leaf_size;
        }
        assert_true(changed <= at_least_one(budget));
        /* And what lies ahead has the old ones. */
        if (result == -PIOMMU_EAGAIN && piommu_pgtable_next_leaf(p->table, iova + cursor.done, last,
                                                                 &found, &translation) == 0) {
            assert_int_not_equal(translation.prot & PIOMMU_PROT_ACCESS, prot);
        }
        if (is_looked_at(calls)) {
            verify(p);
        }
        calls++;
        assert_true(calls < 1000000);
    } while (result == -PIOMMU_EAGAIN);
    assert_int_equal(cursor.changed, expected);
    assert_int_equal(cursor.done, size);
    p->unsynced = true;
    sync_gather(p, &gather);
}

static void test_protect_some_ends_as_protect_within_its_budget(void **state)
{
    static const uint32_t kinds[] = {0, PIOMMU_PGTABLE_CONTIGUOUS, PIOMMU_PGTABLE_TTBR1,
                                     PIOMMU_PGTABLE_DISJOINT | PIOMMU_PGTABLE_CONTIGUOUS};

    (void)state;
    for (size_t k = 0; k < COUNT_OF(kinds); k++) {
        for (size_t b = 0; b < COUNT_OF(budgets); b++) {
            struct pgt *whole = open_filled(kinds[k]);
            struct pgt *p = open_filled(kinds[k]);
            uint64_t all = 0x3000 + 0x24000 + 2 * MIB + 8192 + 32 * MIB + GIB + 3 * 4096;
            struct piommu_gather gather;
            uint64_t changed;

            whole->may_change_access = true;
            p->may_change_access = true;
            protect_in_portions(p, base_of(p), 1ull << 42, READ_WRITE, budgets[b], all);
            protect_in_portions(p, base_of(p) + 2 * MIB, 6 * GIB, READ, budgets[b],
                                2 * MIB + 8192 + 32 * MIB + GIB + 4096);
            piommu_gather_init(&gather);
            assert_int_equal(piommu_pgtable_protect(whole->table, base_of(p), 1ull << 42,
                                                    READ_WRITE, &gather, &changed),
                             0);
            assert_int_equal(piommu_pgtable_protect(whole->table, base_of(p) + 2 * MIB, 6 * GIB,
                                                    READ, &gather, &changed),
                             0);
            whole->unsynced = true;
            sync_gather(whole, &gather);
            expect_same_leaves(p, whole);
            close_table(whole);
            close_table(p);
        }
    }
}

static void protect_some_fails(struct pgt *p, uint64_t iova, uint64_t size, piommu_prot prot,
                               int error)
{
    struct piommu_pgtable_cursor cursor = {0};
    struct piommu_gather gather;
    int result;

    piommu_gather_init(&gather);
    do {
        result = piommu_pgtable_protect_some(p->table, iova, size, prot, 1, &gather, &cursor);
    } while (result == -PIOMMU_EAGAIN);
    assert_int_equal(result, error);
    assert_int_equal(cursor.changed, 0);
    assert_false(gather.pending);
    verify(p);
}

static void test_protect_some_refuses_as_protect_before_it_changes_anything(void **state)
{
    struct pgt *p = open_filled(PIOMMU_PGTABLE_CONTIGUOUS);

    (void)state;
    protect_some_fails(p, 1, 4096, READ_WRITE, -PIOMMU_EINVAL);
    protect_some_fails(p, 0, 4095, READ_WRITE, -PIOMMU_EINVAL);
    protect_some_fails(p, 0, 0, READ_WRITE, -PIOMMU_EINVAL);
    protect_some_fails(p, 0, 6 * GIB, 0, -PIOMMU_EINVAL);
    protect_some_fails(p, 0, 6 * GIB, READ | PIOMMU_PROT_DEVICE, -PIOMMU_EINVAL);
    protect_some_fails(p, 0, 6 * GIB, READ | 1u << 20, -PIOMMU_EINVAL);
    protect_some_fails(p, 0, 6 * GIB, WRITE, -PIOMMU_EOPNOTSUPP);
    protect_some_fails(p, 1ull << 42, 4096, READ_WRITE, -PIOMMU_ERANGE);
    protect_some_fails(p, 0, (1ull << 42) + 4096, READ_WRITE, -PIOMMU_ERANGE);
    protect_some_fails(p, 4096, 0 - 4096ull, READ_WRITE, -PIOMMU_ERANGE);
    protect_some_fails(p, 0x9000, 4096, READ_WRITE, -PIOMMU_ENOENT);
    protect_some_fails(p, 8 * MIB, 16 * MIB, READ_WRITE, -PIOMMU_ENOENT);
    protect_some_fails(p, 0, 3 * MIB, READ_WRITE, -PIOMMU_ECUT);
    protect_some_fails(p, 0, 3 * GIB + 4096, READ_WRITE, -PIOMMU_ECUT);
    protect_some_fails(p, 0, 0x18000, READ_WRITE, -PIOMMU_ECUT);
    protect_some_fails(p, 0, 40 * MIB, READ_WRITE, -PIOMMU_ECUT);
    close_table(p);
}

/* ---- destroy_some ---- */

static void test_destroy_some_frees_all_within_its_budget(void **state)
{
    (void)state;
    for (size_t b = 0; b < COUNT_OF(budgets); b++) {
        struct pgt *p = open_filled(PIOMMU_PGTABLE_CONTIGUOUS);
        struct piommu_gather gather;
        uint64_t removed;
        int result;

        assert_int_equal(piommu_pgtable_reserve(p->table, 7), 0);
        /* Empty tables, too. */
        piommu_gather_init(&gather);
        assert_int_equal(piommu_pgtable_unmap(p->table, 700 * GIB, 4096, &gather, &removed), 0);
        p->is_torn_down = true;
        p->ready = false;
        do {
            struct fake_os_counters before;
            struct fake_os_counters after;

            fake_os_get_counters(p->os, &before);
            result = piommu_pgtable_destroy_some(p->table, budgets[b]);
            fake_os_get_counters(p->os, &after);
            assert_true(result == 0 || result == -PIOMMU_EAGAIN);
            assert_true(after.dma_frees - before.dma_frees <=
                        (uint64_t)at_least_one(budgets[b]) + 1);
        } while (result == -PIOMMU_EAGAIN);
        close_fixture(p);
    }
}

static void test_destroy_some_of_an_empty_table_ends(void **state)
{
    (void)state;
    for (size_t b = 0; b < COUNT_OF(budgets); b++) {
        struct piommu_pgtable_config config = stage2_config(42, 42);
        struct pgt *p = open_table(&config);
        unsigned int calls = 1;

        p->is_torn_down = true;
        p->ready = false;
        while (piommu_pgtable_destroy_some(p->table, budgets[b]) == -PIOMMU_EAGAIN) {
            calls++;
        }
        /* The root has 8 tables of 512 slots. */
        assert_true(calls <= 8 * 512 + 2);
        close_fixture(p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_map_some_ends_as_map_list_within_its_budget),
        cmocka_unit_test(test_map_some_maps_from_iova_on_up_to_changed),
        cmocka_unit_test(test_map_some_stops_at_a_conflict),
        cmocka_unit_test(test_map_some_can_go_on_after_running_out_of_memory),
        cmocka_unit_test(test_map_some_checks_its_arguments_as_map_list),
        cmocka_unit_test(test_unmap_some_ends_as_unmap_within_its_budget),
        cmocka_unit_test(test_unmap_some_finds_nothing_only_if_the_whole_series_does),
        cmocka_unit_test(test_unmap_some_refuses_as_unmap_before_it_removes_anything),
        cmocka_unit_test(test_protect_some_ends_as_protect_within_its_budget),
        cmocka_unit_test(test_protect_some_refuses_as_protect_before_it_changes_anything),
        cmocka_unit_test(test_destroy_some_frees_all_within_its_budget),
        cmocka_unit_test(test_destroy_some_of_an_empty_table_ends),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
