/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* How many tables a range takes: plans against what really happens; the reserve; trimming. */

#include "pgtable_fixture.h"

#include <stdlib.h>
#include <string.h>

static const struct kind kinds[] = {
    {S1_64, 4096, 48, 48, 0, 0},
    {S1_64, 4096, 48, 48, PIOMMU_PGTABLE_TTBR1 | PIOMMU_PGTABLE_CONTIGUOUS, 0},
    {S1_64, 4096, 48, 48, 0, 4 * KIB + GIB},
    {S1_64, 4096, 48, 48, 0, 4 * KIB},
    {S1_64, 4096, 52, 52, 0, 0},
    {S1_64, 4096, 31, 48, 0, 0},
    {S1_64, 4096, 20, 48, PIOMMU_PGTABLE_SMALL_INPUT, 0},
    {S2_64, 4096, 40, 40, 0, 0},
    {S2_64, 4096, 43, 48, PIOMMU_PGTABLE_CONCATENATE, 0},
    {S1_64, 16384, 48, 48, PIOMMU_PGTABLE_CONTIGUOUS, 0},
    {S2_64, 16384, 48, 52, 0, 0},
    {S1_64, 65536, 52, 52, PIOMMU_PGTABLE_CONTIGUOUS, 0},
    {S2_64, 65536, 40, 40, 0, 0},
    {S1_32, 4096, 32, 40, 0, 0},
    {S2_32, 4096, 40, 40, 0, 0},
    {S1_64, 4096, 48, 48, PIOMMU_PGTABLE_DISJOINT, 0},
    {S2_64, 16384, 40, 48, PIOMMU_PGTABLE_DISJOINT | PIOMMU_PGTABLE_CONTIGUOUS, 0},
};

static struct pgt *open_kind(const struct kind *kind)
{
    struct piommu_pgtable_config config = config_of_kind(kind);
    struct pgt *p;

    p = open_table(&config);
    p->has_tlb = false;
    /* What is stored and when is not the question here. */
    p->is_watched = false;
    return p;
}

static uint64_t aperture_size(const struct pgt *p)
{
    return 1ull << p->info.input_bits;
}

static uint64_t plan_to_map(const struct pgt *p, uint64_t iova, uint64_t size, uint64_t alignment)
{
    uint64_t to_map = UINT64_MAX;

    assert_int_equal(piommu_pgtable_plan(p->table, iova, size, alignment, &to_map, NULL), 0);
    return to_map;
}

static uint64_t plan_to_cut(const struct pgt *p, uint64_t iova, uint64_t size)
{
    uint64_t to_cut = UINT64_MAX;

    assert_int_equal(piommu_pgtable_plan(p->table, iova, size, p->info.granule, NULL, &to_cut), 0);
    return to_cut;
}

/* Empties the table without looking at it. Returns how many tables there were. */
static uint64_t forget_all(struct pgt *p)
{
    struct piommu_gather gather;
    struct piommu_range removed;
    uint64_t unmapped;
    uint64_t tables = p->piece_count - 1;

    piommu_gather_init(&gather);
    piommu_pgtable_unmap_leaves(p->table, p->info.aperture.first, p->info.aperture.last, &gather,
                                &removed, &unmapped);
    piommu_pgtable_trim(p->table, &gather);
    piommu_pgtable_release(p->table, &gather);
    assert_int_equal(p->piece_count, 1);
    return tables;
}

/* ---- Mapping ---- */

/* The most leaves that one test maps. */
#define MOST_LEAVES 9000

/*
 * The tables that a range takes if it is mapped in the worst way that the alignment allows: input
 * and output differ by just the alignment, so that no larger leaf fits.
 */
static void check_plan(struct pgt *p, uint64_t iova, uint64_t size, uint64_t alignment)
{
    uint64_t largest = p->info.granule;
    uint64_t physical = (iova & (alignment - 1)) + alignment;
    uint64_t mapped;
    uint64_t planned;

    if (is_left_out()) {
        return;
    }
    if (size == 0 || size > aperture_size(p) || iova - base_of(p) > aperture_size(p) - size ||
        physical + size > 1ull << p->info.output_bits) {
        return;
    }
    /* Where the input is a multiple of twice the alignment, and only there, is the output not. */
    if ((iova & alignment) != 0) {
        physical += alignment;
        if (physical + size > 1ull << p->info.output_bits) {
            return;
        }
    }
    for (unsigned int bit = 12; bit < 48; bit++) {
        if ((p->info.leaf_sizes >> bit & 1) != 0 && 1ull << bit <= alignment) {
            largest = 1ull << bit;
        }
    }
    if (size / largest > MOST_LEAVES) {
        return;
    }
    planned = plan_to_map(p, iova, size, alignment);
    assert_int_equal(call_map(p, iova, physical, size, READ, &mapped), 0);
    if (p->piece_count - 1 != planned) {
        fail_msg("granule %u, input %u: 0x%llx bytes at 0x%llx, aligned to 0x%llx: %u, not %u",
                 (unsigned int)p->info.granule, (unsigned int)p->info.input_bits,
                 (unsigned long long)size, (unsigned long long)iova, (unsigned long long)alignment,
                 (unsigned int)(p->piece_count - 1), (unsigned int)planned);
    }
    forget_all(p);
}

/* Ranges around the place where tables of a level meet. */
static void check_plans_around(struct pgt *p, uint64_t meeting, uint64_t alignment)
{
    uint64_t granule = p->info.granule;
    const uint64_t before[] = {0, granule, 2 * granule, alignment, alignment + granule};
    const uint64_t after[] = {0, granule, alignment, 3 * alignment, 2 * alignment - granule};

    for (size_t b = 0; b < COUNT_OF(before); b++) {
        for (size_t a = 0; a < COUNT_OF(after); a++) {
            check_plan(p, meeting - before[b], before[b] + after[a], alignment);
        }
    }
}

static void test_to_map_is_what_an_empty_table_takes(void **state)
{
    (void)state;
    for (size_t k = 0; k < COUNT_OF(kinds); k++) {
        struct pgt *p = open_kind(&kinds[k]);
        uint64_t base = base_of(p);

        for (unsigned int bit = p->regime.granule_shift; bit < p->info.input_bits; bit += 3) {
            for (unsigned int a = 12; a <= bit + 2 && a < 44; a++) {
                uint64_t alignment = 1ull << a;

                if (alignment >= p->info.granule) {
                    check_plans_around(p, base + (1ull << bit), alignment);
                }
            }
        }
        for (unsigned int bit = 12; bit < p->info.input_bits && bit < 44; bit++) {
            uint64_t alignment = 1ull << bit;

            if (alignment >= p->info.granule) {
                check_plan(p, base, alignment, alignment);
                check_plan(p, base, 17 * alignment, alignment);
                check_plan(p, base + aperture_size(p) - alignment, alignment, alignment);
                check_plan(p, base + aperture_size(p) - alignment, alignment, p->info.granule);
                check_plan(p, base + alignment - p->info.granule, 2 * p->info.granule, alignment);
            }
        }
        close_table(p);
    }
}

static void test_known_plans(void **state)
{
    static const struct {
        uint64_t iova;
        uint64_t size;
        uint64_t alignment;
        uint64_t to_map;
        uint64_t to_cut;
    } rows[] = {
        {0, 4096, 4096, 3, 2},
        {0, 2 * MIB, 4096, 3, 1},
        {0, 2 * MIB, 2 * MIB, 2, 1},
        {0, GIB, 4096, 2 + 512, 0},
        {0, GIB, 2 * MIB, 2, 0},
        {0, GIB, GIB, 1, 0},
        {4096, GIB, 2 * MIB, 2 + 1 + 2, 4},
        {0, 512 * GIB, GIB, 1, 0},
        {0, 512 * GIB, 4096, 1 + 512 + 512 * 512, 0},
        {0, 1ull << 48, 4096, 512 + 512 * 512 + 512 * 512 * 512, 0},
        {0, 1ull << 48, 2 * MIB, 512 + 512 * 512, 0},
        {0, 1ull << 48, GIB, 512, 0},
        {0, 1ull << 48, 1ull << 47, 512, 0},
        {2 * MIB, 2 * MIB, 4096, 3, 1},
        {2 * MIB, 4096, 4096, 3, 2},
        {GIB - 4096, 8192, 4096, 1 + 2 + 2, 4},
        {4096, 4096, 4096, 3, 2},
        {MIB, 2 * MIB, 4096, 1 + 1 + 2, 3},
    };
    struct piommu_pgtable_config config = stage1_config(48);
    struct pgt *p = open_table(&config);

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        uint64_t to_map;
        uint64_t to_cut;

        assert_int_equal(piommu_pgtable_plan(p->table, rows[i].iova, rows[i].size,
                                             rows[i].alignment, &to_map, &to_cut),
                         0);
        assert_int_equal(to_map, rows[i].to_map);
        assert_int_equal(to_cut, rows[i].to_cut);
        assert_int_equal(piommu_pgtable_plan(p->table, rows[i].iova, rows[i].size,
                                             rows[i].alignment, NULL, NULL),
                         0);
    }
    assert_int_equal(p->requests, 1);
    close_table(p);
}

static void plan_fails(struct pgt *p, uint64_t iova, uint64_t size, uint64_t alignment, int error)
{
    uint64_t to_map;
    uint64_t to_cut;

    assert_int_equal(piommu_pgtable_plan(p->table, iova, size, alignment, &to_map, &to_cut), error);
}

static void test_plan_refuses_malformed_ranges(void **state)
{
    (void)state;
    for (size_t k = 0; k < COUNT_OF(kinds); k++) {
        struct pgt *p = open_kind(&kinds[k]);
        uint64_t granule = p->info.granule;
        uint64_t base = base_of(p);

        plan_fails(p, base, 0, granule, -PIOMMU_EINVAL);
        plan_fails(p, base + granule / 2, granule, granule, -PIOMMU_EINVAL);
        plan_fails(p, base, granule / 2, granule, -PIOMMU_EINVAL);
        plan_fails(p, base, granule, 0, -PIOMMU_EINVAL);
        plan_fails(p, base, granule, granule / 2, -PIOMMU_EINVAL);
        plan_fails(p, base, granule, 3 * granule, -PIOMMU_EINVAL);
        plan_fails(p, base, granule, granule + 1, -PIOMMU_EINVAL);
        plan_fails(p, base, aperture_size(p) + granule, granule, -PIOMMU_ERANGE);
        plan_fails(p, base + granule, aperture_size(p), granule, -PIOMMU_ERANGE);
        if (base == 0) {
            plan_fails(p, aperture_size(p), granule, granule, -PIOMMU_ERANGE);
        } else {
            plan_fails(p, base - granule, granule, granule, -PIOMMU_ERANGE);
        }
        assert_true(plan_to_map(p, base, granule, 1ull << 63) <= 5);
        close_table(p);
    }
}

/* A small generator of numbers; the same on every machine. */
static uint32_t next_random(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

static void test_no_order_of_calls_takes_more_than_to_map(void **state)
{
    (void)state;
    for (uint32_t seed = 1; seed <= 60; seed++) {
        const struct kind *kind = &kinds[seed % COUNT_OF(kinds)];
        struct pgt *p = open_kind(kind);
        uint64_t granule = p->info.granule;
        uint64_t slots = granule / 8;
        uint32_t random = seed;
        /* Three or four tables of pages, beginning anywhere. */
        uint64_t pages = 3 * slots + next_random(&random) % slots;
        uint64_t start = next_random(&random) % (2 * slots);
        uint64_t iova = base_of(p) + start * granule;
        uint64_t size = pages * granule;
        uint64_t planned;
        uint64_t before;

        if ((start + pages) * granule > aperture_size(p)) {
            close_table(p);
            continue;
        }
        planned = plan_to_map(p, iova, size, granule);
        for (unsigned int round = 0; round < 3; round++) {
            /* Something is there already, in the range and around it; its tables do not count. */
            uint64_t mapped;

            for (unsigned int i = 0; i < round * 4; i++) {
                uint64_t at = next_random(&random) % (start + pages);

                piommu_pgtable_map(p->table, base_of(p) + at * granule, 0, granule, READ, &mapped);
            }
            before = p->piece_count;
            for (unsigned int i = 0; i < 40; i++) {
                uint64_t at = next_random(&random) % pages;
                uint64_t count = 1 + next_random(&random) % (pages - at);

                piommu_pgtable_map(p->table, iova + at * granule,
                                   (at + next_random(&random) % 2) * granule, count * granule, READ,
                                   &mapped);
            }
            piommu_pgtable_map(p->table, iova, granule, size, READ, &mapped);
            assert_true(p->piece_count - before <= planned);
            forget_all(p);
        }
        close_table(p);
    }
}

/* ---- Cutting ---- */

static int agree(void *cookie, const struct piommu_range *range)
{
    (void)cookie;
    (void)range;
    return 0;
}

/* The leaf of this size that contains the address, if it fits everything. */
static bool map_around(struct pgt *p, uint64_t address, uint64_t leaf)
{
    uint64_t first = address & ~(leaf - 1);
    uint64_t mapped;

    if (leaf > aperture_size(p) || leaf > 1ull << p->info.output_bits) {
        return false;
    }
    return piommu_pgtable_map(p->table, first, 0, leaf, READ, &mapped) == 0;
}

/* The tables that the worst mapping makes a cut take, by trying all leaves at both ends. */
static uint64_t worst_cut(struct pgt *p, uint64_t iova, uint64_t size)
{
    uint64_t worst = 0;
    uint64_t sizes = p->info.leaf_sizes | p->info.contiguous_sizes;

    for (unsigned int at_first = 12; at_first < 44; at_first++) {
        for (unsigned int at_last = 12; at_last < 44; at_last++) {
            struct piommu_gather gather;
            uint64_t unmapped;
            uint64_t before;

            if ((sizes >> at_first & 1) == 0 || (sizes >> at_last & 1) == 0) {
                continue;
            }
            map_around(p, iova, 1ull << at_first);
            map_around(p, iova + size - 1, 1ull << at_last);
            piommu_gather_init(&gather);
            before = p->requests;
            assert_int_equal(
                piommu_pgtable_unmap_cut(p->table, iova, size, agree, NULL, &gather, &unmapped), 0);
            worst = p->requests - before > worst ? p->requests - before : worst;
            forget_all(p);
        }
    }
    return worst;
}

static void check_cut_plan(struct pgt *p, uint64_t iova, uint64_t size)
{
    uint64_t planned;
    uint64_t worst;

    if (is_left_out()) {
        return;
    }
    if (size == 0 || size > aperture_size(p) || iova - base_of(p) > aperture_size(p) - size) {
        return;
    }
    planned = plan_to_cut(p, iova, size);
    /* Sizes left out make for many tables. */
    if (planned > 600) {
        return;
    }
    worst = worst_cut(p, iova, size);
    if (worst != planned) {
        fail_msg("granule %u, input %u, leaves 0x%llx: a cut of 0x%llx at 0x%llx: %u, not %u",
                 (unsigned int)p->info.granule, (unsigned int)p->info.input_bits,
                 (unsigned long long)p->info.leaf_sizes, (unsigned long long)size,
                 (unsigned long long)iova, (unsigned int)worst, (unsigned int)planned);
    }
}

static void test_to_cut_is_what_the_worst_mapping_takes(void **state)
{
    (void)state;
    for (size_t k = 0; k < COUNT_OF(kinds); k++) {
        struct pgt *p = open_kind(&kinds[k]);
        uint64_t granule = p->info.granule;

        for (unsigned int bit = 13; bit < p->info.input_bits && bit < 44; bit += 2) {
            uint64_t meeting = base_of(p) + (1ull << bit);

            if (1ull << bit <= granule) {
                continue;
            }
            check_cut_plan(p, meeting, granule);
            check_cut_plan(p, meeting - granule, granule);
            check_cut_plan(p, meeting - granule, 2 * granule);
            check_cut_plan(p, meeting - (1ull << bit), 1ull << bit);
            check_cut_plan(p, meeting - (1ull << bit) / 2, 1ull << bit);
            check_cut_plan(p, meeting, (1ull << bit) / 2);
            check_cut_plan(p, meeting + granule, (1ull << bit) - 2 * granule);
            check_cut_plan(p, meeting - granule, (1ull << bit) + granule);
        }
        close_table(p);
    }
}

/* ---- The reserve ---- */

static void forbid_memory(struct pgt *p, bool is_forbidden)
{
    fake_os_forbid(p->os, is_forbidden ? FAKE_OS_FORBID_ALLOCATION | FAKE_OS_FORBID_FREE : 0);
}

static void expect_reserve(const struct pgt *p, uint32_t reserved, uint32_t spare)
{
    assert_int_equal(statistics_of(p).tables_reserved, reserved);
    assert_int_equal(statistics_of(p).tables_spare, spare);
}

static void unmap_sync_forbidden(struct pgt *p, uint64_t iova, uint64_t size)
{
    struct piommu_gather gather;
    uint64_t unmapped;

    piommu_gather_init(&gather);
    fill_tlb(p);
    forbid_memory(p, true);
    assert_int_equal(piommu_pgtable_unmap(p->table, iova, size, &gather, &unmapped), 0);
    piommu_pgtable_detach_empty(p->table, &gather);
    stale_tlb_invalidate(p->tlb, gather.range.first, gather.range.last, false);
    piommu_pgtable_release(p->table, &gather);
    forbid_memory(p, false);
    verify(p);
}

static void test_with_a_reserve_nothing_is_allocated(void **state)
{
    (void)state;
    for (unsigned int variant = 0; variant < 4; variant++) {
        struct piommu_pgtable_config config = stage1_config(48);
        uint64_t iova = GIB - 6 * MIB - 4096;
        uint64_t size = 12 * MIB;
        uint64_t to_map;
        uint64_t to_cut;
        uint64_t mapped;
        struct pgt *p;

        config.coherent_walk = variant % 2 == 0;
        config.flags = variant / 2 == 0 ? 0 : PIOMMU_PGTABLE_CONTIGUOUS;
        p = open_table(&config);
        assert_int_equal(piommu_pgtable_plan(p->table, iova, size, 4096, &to_map, &to_cut), 0);
        assert_int_equal(piommu_pgtable_reserve(p->table, (uint32_t)(to_map + to_cut)), 0);
        expect_reserve(p, (uint32_t)(to_map + to_cut), (uint32_t)(to_map + to_cut));
        verify(p);
        for (unsigned int round = 0; round < 6; round++) {
            struct piommu_gather gather;
            uint64_t unmapped;

            forbid_memory(p, true);
            assert_int_equal(
                piommu_pgtable_map(p->table, iova, iova + (round % 2) * 4096, size, READ, &mapped),
                0);
            forbid_memory(p, false);
            p->has_tlb = false;
            verify(p);
            piommu_gather_init(&gather);
            forbid_memory(p, true);
            assert_int_equal(piommu_pgtable_unmap_cut(p->table, iova + MIB, 3 * MIB + 4096, agree,
                                                      NULL, &gather, &unmapped),
                             0);
            forbid_memory(p, false);
            verify(p);
            unmap_sync_forbidden(p, iova, size);
            expect_empty(p);
            expect_reserve(p, (uint32_t)(to_map + to_cut), (uint32_t)(to_map + to_cut));
        }
        close_table(p);
    }
}

static void test_tables_of_the_reserve_come_first_and_go_back(void **state)
{
    struct piommu_pgtable_config config = stage1_config(48);
    struct pgt *p = open_table(&config);

    (void)state;
    assert_int_equal(piommu_pgtable_reserve(p->table, 0), 0);
    expect_reserve(p, 0, 0);
    assert_int_equal(piommu_pgtable_reserve(p->table, 2), 0);
    assert_int_equal(piommu_pgtable_reserve(p->table, 2), 0);
    expect_reserve(p, 4, 4);
    assert_int_equal(statistics_of(p).tables_allocated, 4);
    map(p, 0, 0, 4096, READ); /* three */
    expect_reserve(p, 4, 1);
    assert_int_equal(statistics_of(p).tables_allocated, 4);
    map(p, GIB, 0, 4096, READ); /* two, of which one is from the shim */
    expect_reserve(p, 4, 0);
    assert_int_equal(statistics_of(p).tables_allocated, 5);
    unmap_and_sync(p, 0, 4096, 4096);
    expect_reserve(p, 4, 2);
    assert_int_equal(statistics_of(p).tables_freed, 0);
    unmap_and_sync(p, GIB, 4096, 4096);
    expect_reserve(p, 4, 4);
    assert_int_equal(statistics_of(p).tables_freed, 1);
    close_table(p);
}

static void test_unreserve_gives_back_what_is_not_in_use(void **state)
{
    struct piommu_pgtable_config config = stage1_config(48);
    struct pgt *p = open_table(&config);

    (void)state;
    assert_int_equal(piommu_pgtable_reserve(p->table, 10), 0);
    piommu_pgtable_unreserve(p->table, 0);
    expect_reserve(p, 10, 10);
    piommu_pgtable_unreserve(p->table, 3);
    expect_reserve(p, 7, 7);
    assert_int_equal(statistics_of(p).tables_freed, 3);
    verify(p);
    map(p, 0, 0, 4096, READ); /* three are in use */
    expect_reserve(p, 7, 4);
    piommu_pgtable_unreserve(p->table, 5);
    assert_int_equal(statistics_of(p).tables_reserved, 2);
    verify(p);
    /* More than is there: it is empty then. */
    piommu_pgtable_unreserve(p->table, UINT32_MAX);
    expect_reserve(p, 0, 0);
    assert_int_equal(statistics_of(p).tables_freed, 7);
    EXPECT_LEAVES(p, {0, 0, 4096});
    unmap_and_sync(p, 0, 4096, 4096);
    expect_reserve(p, 0, 0);
    assert_int_equal(statistics_of(p).tables_freed, 10);
    piommu_pgtable_unreserve(p->table, 1);
    expect_reserve(p, 0, 0);
    close_table(p);
}

static void test_reserve_fails_cleanly_at_each_allocation(void **state)
{
    struct piommu_pgtable_config config = stage1_config(48);
    struct pgt *p = open_table(&config);

    (void)state;
    assert_int_equal(piommu_pgtable_reserve(p->table, 2), 0);
    for (unsigned int nth = 1; nth <= 6; nth++) {
        uint64_t bytes = fake_os_bytes_outstanding(p->os);

        fake_os_fail_call(p->os, nth, true);
        assert_int_equal(piommu_pgtable_reserve(p->table, 5), nth <= 5 ? -PIOMMU_ENOMEM : 0);
        fake_os_fail_call(p->os, 0, false);
        if (nth <= 5) {
            assert_int_equal(fake_os_bytes_outstanding(p->os), bytes);
            expect_reserve(p, 2, 2);
            verify(p);
        }
    }
    expect_reserve(p, 7, 7);
    close_table(p);
}

static void test_reserves_are_not_larger_than_their_counter(void **state)
{
    struct piommu_pgtable_config config = stage1_config(48);
    struct pgt *p = open_table(&config);
    uint64_t requests;

    (void)state;
    assert_int_equal(piommu_pgtable_reserve(p->table, 2), 0);
    requests = p->requests;
    assert_int_equal(piommu_pgtable_reserve(p->table, UINT32_MAX), -PIOMMU_EINVAL);
    assert_int_equal(piommu_pgtable_reserve(p->table, UINT32_MAX - 1), -PIOMMU_EINVAL);
    assert_int_equal(p->requests, requests);
    expect_reserve(p, 2, 2);
    close_table(p);
}

static void test_a_failed_map_gives_the_reserve_its_tables_back(void **state)
{
    struct piommu_pgtable_config config = stage1_config(48);
    struct pgt *p = open_table(&config);

    (void)state;
    assert_int_equal(piommu_pgtable_reserve(p->table, 2), 0);
    fake_os_fail_call(p->os, 1, true);
    map_fails(p, 0, 0, 4096, READ, -PIOMMU_ENOMEM); /* needs three */
    expect_reserve(p, 2, 2);
    fake_os_fail_call(p->os, 0, false);
    map(p, 0, 0, 4096, READ);
    expect_reserve(p, 2, 0);
    close_table(p);
}

/* ---- Empty tables ---- */

static void test_trim_detaches_what_the_quota_keeps(void **state)
{
    (void)state;
    for (unsigned int quota = 0; quota <= 6; quota++) {
        struct piommu_pgtable_config config = stage1_config(39);
        struct piommu_gather gather;
        struct pgt *p;
        unsigned int kept = quota < 4 ? quota : 4;

        config.empty_tables_kept = (uint16_t)quota;
        p = open_table(&config);
        map(p, 60 * MIB, 0, 4096, READ);
        piommu_gather_init(&gather);
        for (unsigned int i = 0; i < 4; i++) {
            map(p, i * 2 * MIB, 0, 4096, READ);
        }
        for (unsigned int i = 0; i < 4; i++) {
            unmap(p, i * 2 * MIB, 4096, &gather, 4096);
        }
        sync_gather(p, &gather);
        assert_int_equal(statistics_of(p).tables_empty, kept);

        fill_tlb(p);
        fake_os_forbid(p->os, FAKE_OS_FORBID_ALLOCATION | FAKE_OS_FORBID_FREE);
        piommu_pgtable_trim(p->table, &gather);
        fake_os_forbid(p->os, 0);
        p->unsynced = true;
        assert_int_equal(statistics_of(p).tables_empty, 0);
        assert_int_equal(statistics_of(p).tables_freed, 4 - kept);
        assert_int_equal(gather.pending, kept != 0);
        if (kept != 0) {
            /* The tables that were emptied last are those that were kept. */
            assert_true(gather.range.first <= (4 - kept) * 2 * MIB);
            assert_true(gather.range.last >= 8 * MIB - 1 && gather.range.last < 60 * MIB);
        }
        verify(p);
        invalidate(p, &gather);
        release(p, &gather);
        p->unsynced = false;
        assert_int_equal(statistics_of(p).tables_freed, 4);
        EXPECT_LEAVES(p, {60 * MIB, 0, 4096});
        close_table(p);
    }
}

static void test_trim_takes_whole_branches(void **state)
{
    struct piommu_pgtable_config config = stage1_config(48);
    struct piommu_gather gather;
    struct pgt *p;

    (void)state;
    config.empty_tables_kept = 100;
    p = open_table(&config);
    map(p, 0, 0, 4096, READ);
    map(p, 700 * GIB, 0, 4096, READ);
    unmap_and_sync(p, 700 * GIB, 4096, 4096);
    unmap_and_sync(p, 0, 4096, 4096);
    assert_int_equal(p->linked_count, 6);
    piommu_gather_init(&gather);
    fill_tlb(p);
    piommu_pgtable_trim(p->table, &gather);
    p->unsynced = true;
    observe_tree(p);
    assert_int_equal(p->linked_count, 0);
    assert_true(gather.range.first == 0 && gather.range.last >= TIB - 1);
    invalidate(p, &gather);
    release(p, &gather);
    p->unsynced = false;
    expect_empty(p);
    assert_int_equal(statistics_of(p).tables_freed, 6);
    close_table(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_to_map_is_what_an_empty_table_takes),
        cmocka_unit_test(test_known_plans),
        cmocka_unit_test(test_plan_refuses_malformed_ranges),
        cmocka_unit_test(test_no_order_of_calls_takes_more_than_to_map),
        cmocka_unit_test(test_to_cut_is_what_the_worst_mapping_takes),
        cmocka_unit_test(test_with_a_reserve_nothing_is_allocated),
        cmocka_unit_test(test_tables_of_the_reserve_come_first_and_go_back),
        cmocka_unit_test(test_unreserve_gives_back_what_is_not_in_use),
        cmocka_unit_test(test_reserve_fails_cleanly_at_each_allocation),
        cmocka_unit_test(test_reserves_are_not_larger_than_their_counter),
        cmocka_unit_test(test_a_failed_map_gives_the_reserve_its_tables_back),
        cmocka_unit_test(test_trim_detaches_what_the_quota_keeps),
        cmocka_unit_test(test_trim_takes_whole_branches),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
