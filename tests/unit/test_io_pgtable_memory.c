/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* The memory of tables: failing and lying shims, how much is taken, what is cleaned and when. */

#include "pgtable_fixture.h"

#include <stdlib.h>
#include <string.h>

static struct piommu_pgtable_config non_coherent(struct piommu_pgtable_config config)
{
    config.coherent_walk = false;
    return config;
}

/* ---- Allocation failures ---- */

static void test_map_fails_cleanly_at_each_allocation(void **state)
{
    struct piommu_pgtable_config config = stage1_config(48);
    struct pgt *p = open_table(&config);
    /* Needs tables of three levels, at both ends. */
    uint64_t start = 512 * GIB - 2 * MIB - 4096;
    uint64_t size = GIB + 4 * MIB + 8192;
    uint64_t mapped;
    unsigned int nth = 1;

    (void)state;
    map(p, 0, 0, 4096, READ);
    for (;; nth++) {
        uint64_t requests = p->requests;

        fake_os_fail_call(p->os, nth, true);
        if (call_map(p, start, start, size, READ, &mapped) == 0) {
            fake_os_fail_call(p->os, 0, false);
            assert_int_equal(p->requests - requests, nth - 1);
            break;
        }
        fake_os_fail_call(p->os, 0, false);
        assert_int_equal(mapped, 0);
        EXPECT_LEAVES(p, {0, 0, 4096});
        assert_int_equal(p->linked_count, 3);
        assert_int_equal(p->piece_count, 4);
        fake_os_fail_call(p->os, nth, false);
        map_fails(p, start, start, size, READ, -PIOMMU_ENOMEM);
        fake_os_fail_call(p->os, 0, false);
    }
    assert_int_equal(mapped, size);
    /* Below 512 GiB: levels 2 and 3; above: levels 1, 2 and 3. */
    assert_int_equal(nth - 1, 5);
    expect_counts(p, 3, 2, 1);
    close_table(p);
}

static void test_map_list_fails_cleanly_at_each_allocation(void **state)
{
    struct piommu_pgtable_config config = stage2_config(40, 40);
    struct pgt *p = open_table(&config);
    const struct piommu_segment segments[] = {
        {.physical = 0, .size = 4096},
        {.physical = 0x7000, .size = 2 * MIB},
        {.physical = 0, .size = 2 * GIB},
    };
    uint64_t mapped;
    unsigned int nth = 1;

    (void)state;
    for (;; nth++) {
        fake_os_fail_call(p->os, nth, false);
        if (piommu_pgtable_map_list(p->table, GIB - 4096, segments, 3, READ, &mapped) == 0) {
            fake_os_fail_call(p->os, 0, false);
            break;
        }
        fake_os_fail_call(p->os, 0, false);
        assert_int_equal(mapped, 0);
        expect_empty(p);
        assert_int_equal(p->piece_count, 1);
    }
    assert_int_equal(mapped, 2 * GIB + 2 * MIB + 4096);
    assert_int_equal(nth - 1, p->piece_count - 1);
    verify(p);
    close_table(p);
}

static void test_nothing_else_than_map_asks_for_memory(void **state)
{
    struct piommu_pgtable_config config = stage1_config(48);
    struct pgt *p = open_table(&config);
    struct piommu_gather gather;

    (void)state;
    map(p, 0, 0, 3 * MIB, READ);
    fake_os_fail_call(p->os, 1, true);
    piommu_gather_init(&gather);
    unmap(p, MIB * 2, MIB, &gather, MIB);
    sync_gather(p, &gather);
    /* Nor does a map into tables that are there. */
    map(p, 6 * MIB, 0, 2 * MIB, READ);
    fake_os_fail_call(p->os, 0, false);
    close_table(p);
}

/* ---- Amounts ---- */

static void test_map_takes_exactly_the_tables_it_needs(void **state)
{
    const struct {
        uint64_t iova;
        uint64_t size;
        unsigned int tables;
    } steps[] = {
        {0, 4096, 3}, /* levels 1 to 3 */
        {4096, 4096, 0},
        {2 * MIB - 4096, 4096, 0},
        {2 * MIB, 2 * MIB, 0},     /* a block where the table is */
        {6 * MIB - 4096, 8192, 2}, /* two tables of level 3 */
        {GIB, GIB, 0},
        {2 * GIB, GIB - 2 * MIB, 1},
        {3 * GIB - 2 * MIB, 4096, 1},
        {512 * GIB - 4096, 8192, 5},
        {TIB, 3 * GIB, 1},
        {TIB + 3 * GIB + 4096, 1022 * 4096, 3}, /* ends of two tables of level 3 */
        {TIB + 3 * GIB, 4096, 0},
        {TIB + 3 * GIB + 4 * MIB - 4096, 4096, 0},
        {2 * TIB - GIB, 2 * GIB, 2}, /* either side of a link of level 0 */
    };
    struct piommu_pgtable_config config = stage1_config(48);
    struct pgt *p = open_table(&config);

    (void)state;
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        uint64_t requests = p->requests;
        struct fake_os_counters before;
        struct fake_os_counters after;

        fake_os_get_counters(p->os, &before);
        map(p, steps[i].iova, steps[i].iova, steps[i].size, READ);
        fake_os_get_counters(p->os, &after);
        assert_int_equal(p->requests - requests, steps[i].tables);
        assert_int_equal(after.dma_frees, before.dma_frees);
        assert_int_equal(after.allocations, before.allocations);
    }
    close_table(p);
}

/* Neither time nor memory goes into what cannot be mapped. */
static void test_map_asks_for_no_table_behind_a_conflict(void **state)
{
    struct piommu_pgtable_config config = stage1_config(48);
    struct pgt *p = open_table(&config);
    uint64_t requests;
    uint64_t mapped;

    (void)state;
    map(p, 4096, 0, 4096, READ);
    requests = p->requests;
    /* The output is one page off, so that nothing but pages will do. */
    assert_int_equal(call_map(p, 0, 4096, 4 * GIB, READ, &mapped), -PIOMMU_EEXIST);
    assert_int_equal(mapped, 4096);
    assert_int_equal(p->requests, requests);
    close_table(p);
}

static void test_map_list_counts_a_table_of_two_segments_once(void **state)
{
    struct piommu_pgtable_config config = stage1_config(39);
    struct pgt *p = open_table(&config);
    struct piommu_segment segments[40];
    uint64_t mapped;

    (void)state;
    for (size_t i = 0; i < 40; i++) {
        segments[i] = (struct piommu_segment){.physical = (i * 7 % 40) * 8192, .size = 4096};
    }
    assert_int_equal(
        piommu_pgtable_map_list(p->table, 2 * MIB - 20 * 4096, segments, 40, READ, &mapped), 0);
    assert_int_equal(mapped, 40 * 4096);
    verify(p);
    assert_int_equal(p->requests - 1, 3); /* one of level 2, two of level 3 */
    close_table(p);
}

/* ---- Shims that lie ---- */

enum lie {
    LIE_MISALIGNED,
    LIE_MISALIGNED_VIRTUAL,
    LIE_MISALIGNED_PHYSICAL,
    LIE_TOO_HIGH,
    LIE_ACROSS_THE_LIMIT,
    LIE_NOT_LINEAR,
};

struct liar {
    struct fake_os *os;
    struct piommu_os below;
    struct piommu_os shim;
    enum lie lie;
    unsigned int honest_answers; /* before the lie */
    unsigned int outstanding;
    uint64_t limit;
    void *answer;
    void *real;
    size_t size;
};

static void *liar_alloc(void *ctx, size_t size)
{
    struct liar *liar = ctx;

    return liar->below.alloc(liar->os, size);
}

static void liar_free(void *ctx, void *memory, size_t size)
{
    struct liar *liar = ctx;

    liar->below.free(liar->os, memory, size);
}

static void *liar_dma_alloc(void *ctx, const struct piommu_dma_request *request, uint64_t *physical)
{
    struct liar *liar = ctx;
    struct piommu_dma_request larger = *request;
    uint8_t *memory;

    if (liar->honest_answers != 0) {
        liar->honest_answers--;
        liar->outstanding++;
        return liar->below.dma_alloc(liar->os, request, physical);
    }
    larger.size *= 2;
    memory = liar->below.dma_alloc(liar->os, &larger, physical);
    liar->real = memory;
    liar->size = larger.size;
    liar->answer = memory;
    liar->outstanding++;
    switch (liar->lie) {
    case LIE_MISALIGNED:
        liar->answer = memory + request->size / 2;
        *physical += request->size / 2;
        break;
    case LIE_MISALIGNED_VIRTUAL:
        liar->answer = memory + request->size / 2;
        break;
    case LIE_MISALIGNED_PHYSICAL:
        *physical += request->size / 2;
        break;
    case LIE_TOO_HIGH:
        *physical = liar->limit + 1;
        break;
    case LIE_ACROSS_THE_LIMIT:
        *physical = UINT64_MAX - request->size + 1;
        break;
    case LIE_NOT_LINEAR:
        *physical += request->size;
        break;
    }
    return liar->answer;
}

static void liar_dma_free(void *ctx, void *memory, size_t size)
{
    struct liar *liar = ctx;

    liar->outstanding--;
    if (memory == liar->answer) {
        liar->below.dma_free(liar->os, liar->real, liar->size);
        liar->answer = NULL;
        return;
    }
    liar->below.dma_free(liar->os, memory, size);
}

static void *liar_dma_virtual(void *ctx, uint64_t physical)
{
    struct liar *liar = ctx;

    return liar->below.dma_virtual(liar->os, physical);
}

static void liar_barrier(void *ctx, enum piommu_barrier kind)
{
    struct liar *liar = ctx;

    liar->below.barrier(liar->os, kind);
}

static struct liar *hire_liar(enum lie lie, bool scattered, unsigned int honest_answers)
{
    struct fake_os_options options = {.scattered = scattered};
    struct liar *liar = calloc(1, sizeof(*liar));

    liar->os = fake_os_create(&options);
    liar->below = *fake_os_host(liar->os).os;
    liar->lie = lie;
    liar->honest_answers = honest_answers;
    liar->limit = UINT32_MAX;
    liar->shim = (struct piommu_os){
        .size = sizeof(struct piommu_os),
        .alloc = liar_alloc,
        .free = liar_free,
        .dma_alloc = liar_dma_alloc,
        .dma_free = liar_dma_free,
        .dma_virtual = scattered ? liar_dma_virtual : NULL,
        .barrier = liar_barrier,
    };
    return liar;
}

static void test_memory_that_is_not_as_asked_for_is_refused(void **state)
{
    (void)state;
    for (unsigned int lie = LIE_MISALIGNED; lie <= LIE_NOT_LINEAR; lie++) {
        for (unsigned int honest = 0; honest <= 3; honest++) {
            bool scattered = lie != LIE_NOT_LINEAR && honest % 2 == 0;
            struct liar *liar = hire_liar((enum lie)lie, scattered, honest);
            struct piommu_host host = {.os = &liar->shim, .ctx = liar};
            struct piommu_pgtable_config config = stage1_config(39);
            struct piommu_pgtable *table = NULL;
            struct piommu_translation translation;
            uint64_t mapped = 1;
            int result;

            config.output_bits = 32;
            result = piommu_pgtable_create(host, &config, &table);
            if (honest == 0 && lie == LIE_NOT_LINEAR) {
                /* The first answer defines what is linear; the next one is honest, and differs. */
                assert_int_equal(result, 0);
                liar->honest_answers = 1;
            }
            if (honest == 0 && lie != LIE_NOT_LINEAR) {
                assert_int_equal(result, -PIOMMU_EINVAL);
            } else {
                assert_int_equal(result, 0);
                result = piommu_pgtable_map(table, 2 * MIB - 4096, 0, 8192, READ, &mapped);
                assert_int_equal(result, -PIOMMU_EINVAL);
                assert_int_equal(mapped, 0);
                assert_int_equal(liar->outstanding, 1);
                assert_int_equal(piommu_pgtable_lookup(table, 2 * MIB, &translation),
                                 -PIOMMU_ENOENT);
                assert_int_equal(piommu_pgtable_lookup(table, 2 * MIB - 1, &translation),
                                 -PIOMMU_ENOENT);
                piommu_pgtable_destroy(table);
            }
            assert_int_equal(liar->outstanding, 0);
            fake_os_destroy(liar->os);
            free(liar);
        }
    }
}

static void test_a_reserve_refuses_memory_that_is_not_as_asked_for(void **state)
{
    (void)state;
    for (unsigned int lie = LIE_MISALIGNED; lie <= LIE_ACROSS_THE_LIMIT; lie++) {
        for (unsigned int honest = 1; honest <= 4; honest++) {
            struct liar *liar = hire_liar((enum lie)lie, true, honest);
            struct piommu_host host = {.os = &liar->shim, .ctx = liar};
            struct piommu_pgtable_config config = stage1_config(39);
            struct piommu_pgtable_statistics statistics;
            struct piommu_pgtable *table = NULL;

            config.output_bits = 32;
            assert_int_equal(piommu_pgtable_create(host, &config, &table), 0);
            assert_int_equal(piommu_pgtable_reserve(table, 4), -PIOMMU_EINVAL);
            assert_int_equal(liar->outstanding, 1);
            piommu_pgtable_get_statistics(table, &statistics);
            assert_int_equal(statistics.tables_reserved, 0);
            assert_int_equal(statistics.tables_spare, 0);
            assert_int_equal(statistics.tables_allocated, statistics.tables_freed);
            piommu_pgtable_destroy(table);
            assert_int_equal(liar->outstanding, 0);
            fake_os_destroy(liar->os);
            free(liar);
        }
    }
}

/* ---- Walkers that do not snoop ---- */

static void exercise(struct pgt *p)
{
    struct piommu_gather gather;
    uint64_t mapped;

    map(p, 0, 0, 4096, READ);
    map(p, 2 * MIB - 4096, 0x7000, 2 * MIB + 8192, READ_WRITE);
    map(p, 8 * MIB, 0, 2 * MIB, READ);
    map(p, 3 * GIB - 4096, 0, 8192, READ);
    map(p, 4 * GIB, 0, GIB, READ);
    assert_int_equal(call_map(p, 8 * MIB - 8192, 0, 16384, READ, &mapped), -PIOMMU_EEXIST);
    assert_int_equal(mapped, 8192);
    verify(p);
    piommu_gather_init(&gather);
    unmap(p, 8 * MIB - 8192, 2 * MIB + 8192, &gather, 2 * MIB + 8192);
    unmap(p, 3 * GIB, 4096, &gather, 4096);
    sync_gather(p, &gather);
    map(p, 8 * MIB, 0x99000, 8192, READ);
    unmap_and_sync(p, 0, 8 * GIB, GIB + 2 * MIB + 6 * 4096);
    expect_empty(p);
}

static void test_the_walker_sees_each_change_in_every_mode(void **state)
{
    (void)state;
    for (unsigned int mode = 0; mode < 32; mode++) {
        struct piommu_pgtable_config config =
            (mode & 1) != 0 ? stage1_config(40) : stage2_config(40, 40);
        struct fake_os_options options = {
            .scattered = (mode & 2) != 0, .non_coherent = (mode & 4) != 0, .seed = mode};
        struct pgt *p;

        config.coherent_walk = !options.non_coherent;
        config.empty_tables_kept = (mode & 8) != 0 ? 2 : 0;
        config.flags = (mode & 16) != 0 ? disjoint_flag() : 0;
        p = open_table_with(&config, &options);
        exercise(p);
        close_table(p);
    }
}

/* How many lines the last call cleaned. */
static uint64_t cleaned_since(struct pgt *p, uint64_t *mark)
{
    struct fake_os_counters counters;
    uint64_t lines;

    fake_os_get_counters(p->os, &counters);
    lines = counters.cleaned_lines - *mark;
    *mark = counters.cleaned_lines;
    return lines;
}

static void test_only_lines_that_changed_are_cleaned(void **state)
{
    struct piommu_pgtable_config config = non_coherent(stage1_config(39));
    struct pgt *p = open_table(&config);
    struct piommu_gather gather;
    uint64_t mark = 0;

    (void)state;
    assert_int_equal(cleaned_since(p, &mark), 4096 / 64); /* the root */
    map(p, 0, 0, 4096, READ);
    assert_int_equal(cleaned_since(p, &mark), 2 * 4096 / 64 + 1); /* two tables, one link */
    map(p, 4096, 0, 4096, READ);
    assert_int_equal(cleaned_since(p, &mark), 1);
    map(p, 8 * 4096, 0, 8 * 4096, READ);
    assert_int_equal(cleaned_since(p, &mark), 1);
    map(p, 23 * 4096, 0, 2 * 4096, READ);
    assert_int_equal(cleaned_since(p, &mark), 2);
    map(p, 64 * 4096, 0, 256 * 4096, READ);
    assert_int_equal(cleaned_since(p, &mark), 32);
    map(p, 2 * MIB, 0, 16 * MIB, READ);
    assert_int_equal(cleaned_since(p, &mark), 2); /* slots 1 to 8 of level 2 */
    map(p, 511 * 4096, 511 * 4096, 4096, READ);
    assert_int_equal(cleaned_since(p, &mark), 1);

    piommu_gather_init(&gather);
    unmap(p, 64 * 4096, 9 * 4096, &gather, 9 * 4096);
    assert_int_equal(cleaned_since(p, &mark), 2);
    unmap(p, 73 * 4096, 247 * 4096, &gather, 247 * 4096);
    assert_int_equal(cleaned_since(p, &mark), 31);
    unmap(p, 0, 2 * MIB, &gather, 13 * 4096);
    /* Slots 0 and 1; 8 to 15; 23 and 24; 511. Neighbours within a line may cost a clean each. */
    assert_int_equal(cleaned_since(p, &mark), 5);
    detach_empty(p, &gather);
    assert_int_equal(cleaned_since(p, &mark), 1);
    invalidate(p, &gather);
    release(p, &gather);
    p->unsynced = false;
    assert_int_equal(cleaned_since(p, &mark), 0);
    verify(p);
    unmap_and_sync(p, 2 * MIB, 2 * MIB, 2 * MIB);
    assert_int_equal(cleaned_since(p, &mark), 1);
    map_fails(p, 0, 0, 0, READ, -PIOMMU_EINVAL);
    unmap_fails(p, 0, 4096, -PIOMMU_ENOENT);
    unmap_fails(p, 4 * MIB, 4096, -PIOMMU_ECUT);
    assert_int_equal(cleaned_since(p, &mark), 0);
    close_table(p);
}

/*
 * A test of the tests: whichever clean the library left out, the walker's view would differ from
 * the CPU's after the call.
 */
static void test_a_lost_clean_does_not_go_unnoticed(void **state)
{
    (void)state;
    for (uint64_t lost = 1;; lost++) {
        struct piommu_pgtable_config config = non_coherent(stage1_config(39));
        struct pgt *p;
        struct piommu_gather gather;
        uint64_t count;
        bool is_seen;

        config.flags = PIOMMU_PGTABLE_CONTIGUOUS;
        p = open_table(&config);
        p->is_watched = false;
        p->lost_clean = p->cleans + lost;
        assert_int_equal(piommu_pgtable_map(p->table, 0x8000, 0, 0x40000, READ, &count), 0);
        let_lines_arrive(p);
        observe_tree(p);
        is_seen = stale_descriptors(p) != 0;
        assert_int_equal(piommu_pgtable_map(p->table, 6 * MIB, 0, 4096, READ, &count), 0);
        let_lines_arrive(p);
        observe_tree(p);
        is_seen = is_seen || stale_descriptors(p) != 0;
        piommu_gather_init(&gather);
        assert_int_equal(piommu_pgtable_protect(p->table, 0, 0x10000, READ_WRITE, &gather, &count),
                         0);
        let_lines_arrive(p);
        is_seen = is_seen || stale_descriptors(p) != 0;
        assert_int_equal(piommu_pgtable_unmap(p->table, 0x8000, 0x8000, &gather, &count), 0);
        let_lines_arrive(p);
        is_seen = is_seen || stale_descriptors(p) != 0;
        assert_int_equal(piommu_pgtable_unmap(p->table, 6 * MIB, 4096, &gather, &count), 0);
        let_lines_arrive(p);
        is_seen = is_seen || stale_descriptors(p) != 0;
        piommu_pgtable_detach_empty(p->table, &gather);
        let_lines_arrive(p);
        observe_tree(p);
        is_seen = is_seen || stale_descriptors(p) != 0;
        stale_tlb_invalidate_all(p->tlb);
        piommu_pgtable_release(p->table, &gather);
        if (p->cleans < p->lost_clean) {
            assert_true(lost > 8);
            close_table(p);
            return;
        }
        assert_true(is_seen);
        close_table(p);
    }
}

static void test_every_map_ends_with_a_write_barrier(void **state)
{
    (void)state;
    for (unsigned int coherent = 0; coherent < 2; coherent++) {
        struct piommu_pgtable_config config = stage1_config(39);
        struct piommu_segment segment = {.physical = 0, .size = 4096};
        struct pgt *p;
        uint64_t before;
        uint64_t mapped;

        config.coherent_walk = coherent != 0;
        p = open_table(&config);
        assert_int_equal(p->write_barriers >= 1, true); /* the root's content */
        map(p, 0, 0, 4096, READ);
        before = p->write_barriers;
        map(p, 4096, 0, 4096, READ);
        assert_int_equal(p->write_barriers - before, 1);
        assert_int_equal(piommu_pgtable_map_list(p->table, 2 * 4096, &segment, 1, READ, &mapped),
                         0);
        assert_int_equal(p->write_barriers - before, 2);
        /* What a conflict leaves mapped is there to be used. */
        map(p, 5 * 4096, 0, 4096, READ);
        before = p->write_barriers;
        assert_int_equal(call_map(p, 3 * 4096, 0, 4 * 4096, READ, &mapped), -PIOMMU_EEXIST);
        assert_int_equal(p->write_barriers - before, 1);
        close_table(p);
    }
}

static void test_what_was_unmapped_is_visible_before_the_invalidation(void **state)
{
    (void)state;
    for (uint32_t seed = 0; seed < 24; seed++) {
        struct piommu_pgtable_config config = non_coherent(stage1_config(39));
        struct fake_os_options options = {.non_coherent = true, .seed = seed * 2654435761u};
        struct pgt *p;
        struct piommu_gather gather;
        uint64_t unmapped;
        uint64_t before;

        config.empty_tables_kept = seed % 3 == 0 ? 4 : 0;
        p = open_table_with(&config, &options);
        map(p, 0, 0, 4096, READ);
        map(p, GIB, 0, 4096, READ);
        piommu_gather_init(&gather);
        assert_int_equal(call_unmap(p, 0, 4096, &gather, &unmapped), 0);
        if (seed % 2 == 0) {
            assert_int_equal(call_unmap(p, GIB, 4096, &gather, &unmapped), 0);
        }
        before = p->write_barriers;
        detach_empty(p, &gather); /* compares what the walker sees with what lookup says */
        assert_true(p->write_barriers > before);
        invalidate(p, &gather);
        release(p, &gather);
        p->unsynced = false;
        verify(p);
        close_table(p);
    }
}

static void test_roots_of_all_sizes_start_empty_for_every_walker(void **state)
{
    (void)state;
    for (unsigned int input = 25; input <= 48; input++) {
        struct piommu_pgtable_config config = non_coherent(stage2_config(input, 48));
        struct fake_os_options options = {.non_coherent = true, .scattered = true, .seed = input};
        struct pgt *p;
        uint64_t mark = 0;

        for (unsigned int stage = 1; stage <= 2; stage++) {
            config.format = stage == 1 ? PIOMMU_ARM_64_LPAE_S1 : PIOMMU_ARM_64_LPAE_S2;
            p = open_table_with(&config, &options);
            mark = 0;
            assert_int_equal(cleaned_since(p, &mark),
                             p->info.root_size < 64 ? 1 : p->info.root_size / 64);
            expect_empty(p);
            close_table(p);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_map_fails_cleanly_at_each_allocation),
        cmocka_unit_test(test_map_list_fails_cleanly_at_each_allocation),
        cmocka_unit_test(test_nothing_else_than_map_asks_for_memory),
        cmocka_unit_test(test_map_takes_exactly_the_tables_it_needs),
        cmocka_unit_test(test_map_asks_for_no_table_behind_a_conflict),
        cmocka_unit_test(test_map_list_counts_a_table_of_two_segments_once),
        cmocka_unit_test(test_memory_that_is_not_as_asked_for_is_refused),
        cmocka_unit_test(test_a_reserve_refuses_memory_that_is_not_as_asked_for),
        cmocka_unit_test(test_the_walker_sees_each_change_in_every_mode),
        cmocka_unit_test(test_only_lines_that_changed_are_cleaned),
        cmocka_unit_test(test_a_lost_clean_does_not_go_unnoticed),
        cmocka_unit_test(test_every_map_ends_with_a_write_barrier),
        cmocka_unit_test(test_what_was_unmapped_is_visible_before_the_invalidation),
        cmocka_unit_test(test_roots_of_all_sizes_start_empty_for_every_walker),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
