/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Mapping with all granules, formats and halves: the largest legal leaves, contiguous groups,
 * 52-bit addresses, both ends of the space.
 */

#include "pgtable_fixture.h"

#include <stdlib.h>
#include <string.h>

static const struct kind kinds[] = {
    {S1_64, 4096, 48, 48, 0, 0},
    {S1_64, 4096, 48, 48, PIOMMU_PGTABLE_CONTIGUOUS, 0},
    {S1_64, 4096, 40, 44, PIOMMU_PGTABLE_TTBR1 | PIOMMU_PGTABLE_CONTIGUOUS, 0},
    {S1_64, 4096, 52, 52, PIOMMU_PGTABLE_CONTIGUOUS, 0},
    {S1_64, 4096, 52, 52, PIOMMU_PGTABLE_TTBR1, 0},
    {S1_64, 4096, 16, 32, PIOMMU_PGTABLE_SMALL_INPUT | PIOMMU_PGTABLE_CONTIGUOUS, 0},
    {S1_64, 4096, 22, 32, PIOMMU_PGTABLE_SMALL_INPUT | PIOMMU_PGTABLE_TTBR1, 0},
    {S2_64, 4096, 40, 40, PIOMMU_PGTABLE_CONTIGUOUS, 0},
    {S2_64, 4096, 43, 48, PIOMMU_PGTABLE_CONCATENATE, 0},
    {S2_64, 4096, 52, 52, PIOMMU_PGTABLE_CONCATENATE | PIOMMU_PGTABLE_CONTIGUOUS, 0},
    {S1_64, 16384, 47, 48, 0, 0},
    {S1_64, 16384, 48, 48, PIOMMU_PGTABLE_TTBR1 | PIOMMU_PGTABLE_CONTIGUOUS, 0},
    {S1_64, 16384, 52, 52, PIOMMU_PGTABLE_CONTIGUOUS, 0},
    {S2_64, 16384, 40, 40, PIOMMU_PGTABLE_CONTIGUOUS, 0},
    {S2_64, 16384, 51, 52, PIOMMU_PGTABLE_CONCATENATE, 0},
    {S1_64, 65536, 48, 48, PIOMMU_PGTABLE_CONTIGUOUS, 0},
    {S1_64, 65536, 52, 52, PIOMMU_PGTABLE_CONTIGUOUS, 0},
    {S1_64, 65536, 52, 48, PIOMMU_PGTABLE_TTBR1, 0},
    {S2_64, 65536, 46, 48, PIOMMU_PGTABLE_CONCATENATE | PIOMMU_PGTABLE_CONTIGUOUS, 0},
    {S2_64, 65536, 52, 52, 0, 0},
    {S1_32, 4096, 32, 40, 0, 0},
    {S1_32, 4096, 31, 40, PIOMMU_PGTABLE_TTBR1, 0},
    {S1_32, 4096, 30, 32, 0, 0},
    {S2_32, 4096, 40, 40, 0, 0},
    {S2_32, 4096, 34, 40, PIOMMU_PGTABLE_CONCATENATE, 0},
    {S1_64, 4096, 48, 48, PIOMMU_PGTABLE_DISJOINT | PIOMMU_PGTABLE_CONTIGUOUS, 0},
    {S2_64, 4096, 52, 52, PIOMMU_PGTABLE_DISJOINT | PIOMMU_PGTABLE_CONCATENATE, 0},
    {S1_64, 16384, 48, 48, PIOMMU_PGTABLE_DISJOINT | PIOMMU_PGTABLE_TTBR1, 0},
    {S2_64, 65536, 46, 48, PIOMMU_PGTABLE_DISJOINT | PIOMMU_PGTABLE_CONTIGUOUS, 0},
    {S1_32, 4096, 31, 40, PIOMMU_PGTABLE_DISJOINT | PIOMMU_PGTABLE_TTBR1, 0},
};

static struct pgt *open_kind(const struct kind *kind)
{
    struct piommu_pgtable_config config = config_of_kind(kind);

    return open_table(&config);
}

static uint64_t aperture_size(const struct pgt *p)
{
    return 1ull << p->info.input_bits;
}

static uint64_t output_size(const struct pgt *p)
{
    return 1ull << p->info.output_bits;
}

/* How many leaves and groups the piece takes, each as large as can be. */
static uint64_t greedy_count(const struct pgt *p, const struct greedy_piece *piece)
{
    uint64_t sizes = p->info.leaf_sizes | p->info.contiguous_sizes;
    uint64_t count = 0;
    uint64_t done = 0;

    while (done < piece->size && count < 100000) {
        uint64_t odd = (piece->iova + done) | (piece->physical + done);
        uint64_t size = 0;

        for (unsigned int bit = 12; bit < 64; bit++) {
            if ((sizes >> bit & 1) != 0 && (odd & ((1ull << bit) - 1)) == 0 &&
                piece->size - done >= 1ull << bit) {
                size = 1ull << bit;
            }
        }
        done += size;
        count++;
    }
    return count;
}

/* The largest number of descriptors that one test maps: the time is spent on looking at them. */
#define MOST_LEAVES 700

/* Empties the table without looking at it again and again. */
static void forget_all(struct pgt *p)
{
    struct piommu_gather gather;
    struct piommu_range removed;
    uint64_t unmapped;

    piommu_gather_init(&gather);
    assert_int_equal(piommu_pgtable_unmap_leaves(p->table, p->info.aperture.first,
                                                 p->info.aperture.last, &gather, &removed,
                                                 &unmapped),
                     0);
    piommu_pgtable_detach_empty(p->table, &gather);
    stale_tlb_invalidate_all(p->tlb);
    piommu_pgtable_release(p->table, &gather);
    observe_tree(p);
    assert_int_equal(p->linked_count, 0);
}

static void check_piece(struct pgt *p, struct greedy_piece piece)
{
    if (piece.size == 0 || piece.size > aperture_size(p) || piece.physical > output_size(p) ||
        piece.size > output_size(p) - piece.physical ||
        piece.iova - base_of(p) > aperture_size(p) - piece.size ||
        greedy_count(p, &piece) > MOST_LEAVES || is_left_out()) {
        return;
    }
    p->has_tlb = greedy_count(p, &piece) < 64;
    map_quickly(p, piece.iova, piece.physical, piece.size, READ_WRITE);
    expect_greedy(p, &piece, 1);
    if (p->has_tlb || p->info.granule == 4096) {
        verify(p);
    }
    forget_all(p);
}

static void check_size(struct pgt *p, uint64_t size, uint64_t smaller)
{
    uint64_t granule = p->info.granule;
    uint64_t base = base_of(p);
    uint64_t top = base + (aperture_size(p) - size); /* the last place for one */
    uint64_t highest = output_size(p) - size;

    check_piece(p, (struct greedy_piece){base, 0, size});
    check_piece(p, (struct greedy_piece){base + size, 3 * size, size});
    check_piece(p, (struct greedy_piece){top, highest, size});
    check_piece(p, (struct greedy_piece){base, 0, size - granule});
    check_piece(p, (struct greedy_piece){base, 0, size - smaller});
    check_piece(p, (struct greedy_piece){base + size, 0, size + granule});
    check_piece(p, (struct greedy_piece){base + size, size, 2 * size + smaller});
    check_piece(p,
                (struct greedy_piece){base + size - granule, size - granule, size + 2 * granule});
    check_piece(
        p, (struct greedy_piece){base + size - smaller, 2 * size - smaller, size + 2 * smaller});
    check_piece(p, (struct greedy_piece){top - granule, highest - granule, size + granule});
    /* Congruent by the smaller size alone, or not even by that. */
    check_piece(p, (struct greedy_piece){base + size, smaller, size});
    check_piece(p, (struct greedy_piece){base + smaller, 2 * size, size});
    check_piece(p, (struct greedy_piece){base + size, granule, smaller});
    check_piece(p, (struct greedy_piece){base + granule, size, size});
    check_piece(p, (struct greedy_piece){top, highest - smaller, size});
}

static void test_leaves_are_as_large_as_alignment_and_size_allow(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        struct pgt *p = open_kind(&kinds[i]);
        uint64_t sizes = p->info.leaf_sizes | p->info.contiguous_sizes;
        uint64_t smaller = p->info.granule;

        /* The observer is slow with large tables. */
        p->is_watched = p->info.granule == 4096;
        for (unsigned int bit = 12; bit < 63; bit++) {
            if ((sizes >> bit & 1) != 0) {
                check_size(p, 1ull << bit, smaller);
                smaller = 1ull << bit;
            }
        }
        close_table(p);
    }
}

static void test_the_whole_space_can_be_mapped_at_once(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        struct pgt *p = open_kind(&kinds[i]);
        struct greedy_piece piece = {base_of(p), 0, aperture_size(p)};
        uint64_t mapped;

        p->has_tlb = false;
        if (piece.size > output_size(p)) {
            map_fails(p, piece.iova, 0, piece.size, READ, -PIOMMU_ERANGE);
        } else if (greedy_count(p, &piece) < 70000) {
            assert_int_equal(call_map(p, piece.iova, 0, piece.size, READ, &mapped), 0);
            assert_int_equal(mapped, piece.size);
            expect_greedy(p, &piece, 1);
            forget_all(p);
        }
        close_table(p);
    }
}

/* The three things that Linux's io-pgtable does not check, and their neighbours. */
static void test_ranges_that_cross_any_limit_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        struct pgt *p = open_kind(&kinds[i]);
        uint64_t granule = p->info.granule;
        uint64_t base = base_of(p);
        uint64_t last = p->info.aperture.last;
        uint64_t end = output_size(p);

        /* The end beyond the input. */
        map_fails(p, last - granule + 1, 0, 2 * granule, READ, -PIOMMU_ERANGE);
        map_fails(p, base, 0, aperture_size(p) + granule, READ, -PIOMMU_ERANGE);
        map_fails(p, base + granule, 0, aperture_size(p), READ, -PIOMMU_ERANGE);
        map_fails(p, base + granule, 0, 0 - granule, READ, -PIOMMU_ERANGE);
        if (last != UINT64_MAX) {
            map_fails(p, last + 1, 0, granule, READ, -PIOMMU_ERANGE);
            map_fails(p, 0 - granule, 0, granule, READ, -PIOMMU_ERANGE);
        }
        if (base != 0) {
            map_fails(p, base - granule, 0, granule, READ, -PIOMMU_ERANGE);
            map_fails(p, base - granule, 0, 2 * granule, READ, -PIOMMU_ERANGE);
            map_fails(p, 0, 0, granule, READ, -PIOMMU_ERANGE);
        }
        /* The end beyond the output. */
        map_fails(p, base, end, granule, READ, -PIOMMU_ERANGE);
        map_fails(p, base, end - granule, 2 * granule, READ, -PIOMMU_ERANGE);
        map_fails(p, base, 0 - granule, granule, READ, -PIOMMU_ERANGE);
        map_fails(p, base, 0 - granule, 2 * granule, READ, -PIOMMU_ERANGE);
        /* Misaligned. */
        for (uint64_t odd = 1; odd < granule; odd *= 2) {
            map_fails(p, base, odd, granule, READ, -PIOMMU_EINVAL);
            map_fails(p, base + odd, 0, granule, READ, -PIOMMU_EINVAL);
            map_fails(p, base, 0, granule + odd, READ, -PIOMMU_EINVAL);
            map_fails(p, base, end + odd, granule, READ, -PIOMMU_EINVAL);
        }
        expect_empty(p);
        assert_int_equal(p->requests, 1);
        close_table(p);
    }
}

static void test_the_last_granule_of_the_space_is_reached(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        struct pgt *p = open_kind(&kinds[i]);
        uint64_t granule = p->info.granule;
        uint64_t last = p->info.aperture.last;
        uint64_t base = base_of(p);
        struct piommu_translation translation;

        p->has_tlb = false;
        map(p, last - granule + 1, output_size(p) - granule, granule, READ_WRITE);
        map(p, base, 0, granule, READ);
        assert_int_equal(piommu_pgtable_lookup(p->table, last, &translation), 0);
        assert_int_equal(translation.physical, output_size(p) - 1);
        EXPECT_LEAVES(p, {base, 0, granule},
                      {last - granule + 1, output_size(p) - granule, granule});
        unmap_and_sync(p, last - granule + 1, granule, granule);
        EXPECT_LEAVES(p, {base, 0, granule});
        unmap_and_sync(p, base, aperture_size(p), granule);
        expect_empty(p);
        close_table(p);
    }
}

/* ---- 52 bits ---- */

static void test_known_descriptors_beyond_48_bits(void **state)
{
    static const struct {
        uint32_t granule;
        uint64_t size;
        uint64_t physical;
        uint64_t address_bits; /* of the descriptor */
        uint64_t mask;
    } cases[] = {
        {65536, 64 * KIB, 0xf765432100000ull, 0x765432100000ull | 0xf000, 0x000fffffffff0000ull},
        {4096, 4 * KIB, 0xfabcdef012000ull, 0x3abcdef012000ull | 3ull << 8, 0x000ffffffffff000ull},
        {4096, 512 * GIB, 0x7008000000000ull, 0x3008000000000ull | 1ull << 8,
         0x000ffffffffff000ull},
        {16384, 64 * GIB, 0xb001000000000ull, 0x3001000000000ull | 2ull << 8,
         0x000fffffffffc000ull},
        {65536, 4 * TIB, 0x9040000000000ull, 0x040000000000ull | 0x9000, 0x000fffffffff0000ull},
        {65536, 512 * MIB, 0x1000020000000ull, 0x20000000ull | 0x1000, 0x000fffffffff0000ull},
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        for (unsigned int stage = 1; stage <= 2; stage++) {
            struct piommu_pgtable_config config =
                config_of(stage == 1 ? S1_64 : S2_64, cases[i].granule, 52, 52);
            struct pgt *p = open_table(&config);
            uint64_t fold = cases[i].granule == 65536 ? 0xf000 : 0x300;
            struct piommu_walker_result result;

            p->has_tlb = false;
            map(p, cases[i].size, cases[i].physical, cases[i].size, READ);
            assert_true(hardware_translates(p, cases[i].size, &result));
            assert_int_equal(result.descriptor & (cases[i].mask | fold) & ~(0xffull << 51),
                             cases[i].address_bits);
            assert_int_equal(result.output, cases[i].physical);
            close_table(p);
        }
    }
}

static void test_output_may_cross_a_fold_of_the_address(void **state)
{
    static const struct {
        uint32_t granule;
        unsigned int fold;
    } cases[] = {
        {65536, 48}, {65536, 49}, {65536, 51}, {4096, 48},  {4096, 50},
        {4096, 51},  {16384, 50}, {16384, 48}, {16384, 51},
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        for (unsigned int variant = 0; variant < 4; variant++) {
            struct piommu_pgtable_config config =
                config_of(variant % 2 == 0 ? S1_64 : S2_64, cases[i].granule, 52, 52);
            uint64_t boundary = 1ull << cases[i].fold;
            struct pgt *p;

            config.flags = variant / 2 == 0 ? 0 : PIOMMU_PGTABLE_CONTIGUOUS;
            p = open_table(&config);
            p->is_watched = false;
            for (unsigned int bit = 12; bit < 43; bit++) {
                uint64_t size = 1ull << bit;

                if ((p->info.leaf_sizes & size) == 0) {
                    continue;
                }
                check_piece(p, (struct greedy_piece){8 * size, boundary - size, 2 * size});
                check_piece(p, (struct greedy_piece){8 * size, boundary - 3 * size, 70 * size});
                check_piece(
                    p, (struct greedy_piece){boundary - 2 * size, boundary - 2 * size, 5 * size});
                check_piece(p, (struct greedy_piece){16 * size - p->info.granule,
                                                     boundary - p->info.granule,
                                                     size + 2 * p->info.granule});
            }
            close_table(p);
        }
    }
}

static void test_links_reach_tables_beyond_48_bits(void **state)
{
    static const struct kind high_kinds[] = {
        {S1_64, 65536, 48, 52, 0, 0},
        {S2_64, 65536, 52, 52, 0, 0},
        {S1_64, 4096, 52, 52, 0, 0},
        {S2_64, 4096, 48, 52, 0, 0},
        {S1_64, 16384, 52, 52, 0, 0},
        {S1_64, 16384, 47, 52, 0, 0},
        {S1_64, 4096, 52, 52, PIOMMU_PGTABLE_TTBR1, 0},
    };
    static const uint64_t elevations[] = {1ull << 48, 1ull << 49, 1ull << 50, 1ull << 51,
                                          0xf765400000000ull};

    (void)state;
    for (size_t i = 0; i < COUNT_OF(high_kinds); i++) {
        for (size_t e = 0; e < COUNT_OF(elevations); e++) {
            struct piommu_pgtable_config config = config_of_kind(&high_kinds[i]);
            struct pgt *p;
            uint64_t granule = high_kinds[i].granule;

            p = open_elevated_table(&config, elevations[e]);
            p->has_tlb = false;
            map(p, base_of(p), 0xe000000000000ull, 2 * granule, READ);
            map(p, p->info.aperture.last - granule + 1, 0, granule, READ);
            map(p, base_of(p) + aperture_size(p) / 2 - granule, granule, 2 * granule, READ);
            assert_int_equal(count_leaves(p), 5);
            unmap_all(p);
            assert_int_equal(p->linked_count, 0);
            close_table(p);
        }
    }
}

/* ---- Contiguous groups ---- */

struct group_case {
    uint32_t granule;
    uint64_t leaf;
    unsigned int members;
};

static const struct group_case groups[] = {
    {4096, 4 * KIB, 16},   {4096, 2 * MIB, 16},   {4096, GIB, 16},        {16384, 16 * KIB, 128},
    {16384, 32 * MIB, 32}, {65536, 64 * KIB, 32}, {65536, 512 * MIB, 32},
};

static struct pgt *open_groups(const struct group_case *group, unsigned int stage)
{
    struct piommu_pgtable_config config =
        config_of(stage == 1 ? S1_64 : S2_64, group->granule, 44, 48);

    config.flags = PIOMMU_PGTABLE_CONTIGUOUS;
    return open_table(&config);
}

static size_t marked_leaves(struct pgt *p, uint64_t first, uint64_t leaf, unsigned int count)
{
    size_t marked = 0;

    for (unsigned int i = 0; i < count; i++) {
        struct piommu_walker_result result;

        if (hardware_translates(p, first + i * leaf, &result)) {
            marked += result.attributes.contiguous ? 1u : 0u;
        }
    }
    return marked;
}

static void test_a_group_is_marked_only_when_it_is_whole_and_aligned(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(groups); i++) {
        for (unsigned int stage = 1; stage <= 2; stage++) {
            struct pgt *p = open_groups(&groups[i], stage);
            uint64_t leaf = groups[i].leaf;
            unsigned int members = groups[i].members;
            uint64_t whole = leaf * members;

            p->has_tlb = false;
            /* Whole. */
            map(p, whole, 3 * whole, whole, READ);
            assert_int_equal(marked_leaves(p, whole, leaf, members), members);
            /* A member short, at either end. */
            map(p, 2 * whole, whole, whole - leaf, READ);
            assert_int_equal(marked_leaves(p, 2 * whole, leaf, members), 0);
            map(p, 3 * whole + leaf, whole + leaf, whole - leaf, READ);
            assert_int_equal(marked_leaves(p, 3 * whole, leaf, members), 0);
            /* What completes it later comes too late: the others are live. */
            map(p, 3 * whole - leaf, 2 * whole - leaf, leaf, READ);
            assert_int_equal(marked_leaves(p, 2 * whole, leaf, members), 0);
            /* Another offset of the output. */
            map(p, 4 * whole, whole + leaf, whole, READ);
            assert_int_equal(marked_leaves(p, 4 * whole, leaf, members), 0);
            /* A group between odd ends. */
            map(p, 6 * whole - leaf, 8 * whole - leaf, whole + 2 * leaf, READ);
            assert_int_equal(marked_leaves(p, 5 * whole, leaf, members), 0);
            assert_int_equal(marked_leaves(p, 6 * whole, leaf, members), members);
            assert_int_equal(marked_leaves(p, 7 * whole, leaf, members), 0);
            unmap_all(p);
            close_table(p);
        }
    }
}

static void test_without_the_flag_no_group_is_marked(void **state)
{
    struct piommu_pgtable_config config = stage1_config(44);
    struct pgt *p = open_table(&config);

    (void)state;
    p->has_tlb = false;
    map(p, 0, 0, 64 * GIB, READ);
    map(p, 64 * GIB, 0, 64 * MIB, READ);
    map(p, 65 * GIB, 0, 128 * KIB, READ);
    assert_int_equal(marked_leaves(p, 0, GIB, 64), 0);
    assert_int_equal(marked_leaves(p, 64 * GIB, 2 * MIB, 32), 0);
    assert_int_equal(marked_leaves(p, 65 * GIB, 4 * KIB, 32), 0);
    close_table(p);
}

static void test_a_conflict_within_a_group_leaves_single_leaves(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(groups); i++) {
        uint64_t leaf = groups[i].leaf;
        unsigned int members = groups[i].members;
        uint64_t whole = leaf * members;

        for (unsigned int at = 0; at < members; at += 1 + members / 5) {
            struct pgt *p = open_groups(&groups[i], 1);
            uint64_t mapped;

            p->has_tlb = false;
            map(p, whole + at * leaf, 0, leaf, READ);
            assert_int_equal(call_map(p, whole, 4 * whole, whole, READ, &mapped), -PIOMMU_EEXIST);
            assert_int_equal(mapped, at * leaf);
            verify(p);
            assert_int_equal(marked_leaves(p, whole, leaf, members), 0);
            assert_int_equal(count_leaves(p), at + 1u);
            close_table(p);
        }
    }
}

static void test_a_table_in_the_place_of_a_member_prevents_the_group(void **state)
{
    struct piommu_pgtable_config config = stage1_config(44);
    struct pgt *p;

    (void)state;
    config.flags = PIOMMU_PGTABLE_CONTIGUOUS;
    config.empty_tables_kept = 8;
    p = open_table(&config);
    map(p, 64 * MIB + 6 * MIB, 0, 4096, READ);
    unmap_and_sync(p, 64 * MIB + 6 * MIB, 4096, 4096);
    map(p, 64 * MIB, 128 * MIB, 32 * MIB, READ);
    assert_int_equal(marked_leaves(p, 64 * MIB, 2 * MIB, 3), 0);
    assert_int_equal(marked_leaves(p, 64 * MIB + 8 * MIB, 2 * MIB, 12), 0);
    /* In the table there are groups of pages instead. */
    assert_int_equal(marked_leaves(p, 64 * MIB + 6 * MIB, 4096, 512), 512);
    map(p, 32 * MIB, 128 * MIB, 32 * MIB, READ);
    assert_int_equal(marked_leaves(p, 32 * MIB, 2 * MIB, 16), 16);
    close_table(p);
}

static void test_a_group_counts_as_one_leaf(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(groups); i++) {
        struct pgt *p = open_groups(&groups[i], 2);
        uint64_t leaf = groups[i].leaf;
        uint64_t whole = leaf * groups[i].members;
        struct piommu_translation translation;
        uint64_t found;

        map(p, 2 * whole, 0, whole, READ);
        assert_int_equal(piommu_pgtable_lookup(p->table, 2 * whole + 3 * leaf + 7, &translation),
                         0);
        assert_int_equal(translation.leaf_size, whole);
        assert_int_equal(translation.physical, 3 * leaf + 7);
        assert_int_equal(
            piommu_pgtable_next_leaf(p->table, 2 * whole + leaf, UINT64_MAX, &found, &translation),
            0);
        assert_int_equal(found, 2 * whole);
        assert_int_equal(translation.physical, 0);
        unmap_fails(p, 2 * whole, leaf, -PIOMMU_ECUT);
        unmap_fails(p, 3 * whole - leaf, leaf, -PIOMMU_ECUT);
        unmap_fails(p, 2 * whole + leaf, whole - leaf, -PIOMMU_ECUT);
        unmap_fails(p, whole, 2 * whole - leaf, -PIOMMU_ECUT);
        unmap_fails(p, 2 * whole + leaf, 2 * whole, -PIOMMU_ECUT);
        EXPECT_LEAVES(p, {2 * whole, 0, whole});
        unmap_and_sync(p, whole, 3 * whole, whole);
        expect_empty(p);
        close_table(p);
    }
}

static void test_segments_that_continue_each_other_form_a_group(void **state)
{
    struct piommu_pgtable_config config = stage1_config(40);
    const struct piommu_segment segments[] = {
        {.physical = 0x100000, .size = 0x3000}, {.physical = 0x103000, .size = 0xa000},
        {.physical = 0x10d000, .size = 0x4000}, {.physical = 0x111000, .size = 0xf000},
        {.physical = 0x130000, .size = 0x8000}, {.physical = 0x139000, .size = 0x8000},
    };
    struct pgt *p;
    uint64_t mapped;

    (void)state;
    config.flags = PIOMMU_PGTABLE_CONTIGUOUS;
    p = open_table(&config);
    assert_int_equal(piommu_pgtable_map_list(p->table, 0x40000, segments, 6, READ_WRITE, &mapped),
                     0);
    assert_int_equal(mapped, 0x30000);
    verify(p);
    assert_int_equal(marked_leaves(p, 0x40000, 4096, 16), 16);
    assert_int_equal(marked_leaves(p, 0x50000, 4096, 16), 16);
    assert_int_equal(marked_leaves(p, 0x60000, 4096, 16), 0);
    close_table(p);
}

static void test_map_takes_all_tables_before_it_stores_with_every_granule(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        struct pgt *p = open_kind(&kinds[i]);
        uint64_t granule = p->info.granule;
        uint64_t middle = base_of(p) + aperture_size(p) / 2;
        uint64_t mapped;

        p->has_tlb = false;
        for (unsigned int nth = 1;; nth++) {
            fake_os_fail_call(p->os, nth, true);
            if (call_map(p, middle - granule, granule, 2 * granule, READ, &mapped) == 0) {
                break;
            }
            fake_os_fail_call(p->os, 0, false);
            assert_int_equal(mapped, 0);
            expect_empty(p);
            assert_int_equal(p->piece_count, 1);
        }
        fake_os_fail_call(p->os, 0, false);
        EXPECT_LEAVES(p, {middle - granule, granule, granule}, {middle, 2 * granule, granule});
        close_table(p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_leaves_are_as_large_as_alignment_and_size_allow),
        cmocka_unit_test(test_the_whole_space_can_be_mapped_at_once),
        cmocka_unit_test(test_ranges_that_cross_any_limit_are_refused),
        cmocka_unit_test(test_the_last_granule_of_the_space_is_reached),
        cmocka_unit_test(test_known_descriptors_beyond_48_bits),
        cmocka_unit_test(test_output_may_cross_a_fold_of_the_address),
        cmocka_unit_test(test_links_reach_tables_beyond_48_bits),
        cmocka_unit_test(test_a_group_is_marked_only_when_it_is_whole_and_aligned),
        cmocka_unit_test(test_without_the_flag_no_group_is_marked),
        cmocka_unit_test(test_a_conflict_within_a_group_leaves_single_leaves),
        cmocka_unit_test(test_a_table_in_the_place_of_a_member_prevents_the_group),
        cmocka_unit_test(test_a_group_counts_as_one_leaf),
        cmocka_unit_test(test_segments_that_continue_each_other_form_a_group),
        cmocka_unit_test(test_map_takes_all_tables_before_it_stores_with_every_granule),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
