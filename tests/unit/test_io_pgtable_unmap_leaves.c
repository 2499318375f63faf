/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* Unmapping by any address: whole leaves go, and the true range comes back. */

#include "pgtable_fixture.h"

#include <stdlib.h>
#include <string.h>

#define S1_64 PIOMMU_ARM_64_LPAE_S1
#define S2_64 PIOMMU_ARM_64_LPAE_S2
#define S1_32 PIOMMU_ARM_32_LPAE_S1
#define S2_32 PIOMMU_ARM_32_LPAE_S2

static int unmap_leaves(struct pgt *p, uint64_t first, uint64_t last, struct piommu_gather *gather,
                        struct piommu_range *removed, uint64_t *unmapped)
{
    int result;

    *unmapped = 0x5a5a5a5a5a5a5a5aull;
    *removed = (struct piommu_range){7, 5};
    fill_tlb(p);
    fake_os_forbid(p->os, FAKE_OS_FORBID_ALLOCATION | FAKE_OS_FORBID_FREE | FAKE_OS_FORBID_WAIT);
    result = piommu_pgtable_unmap_leaves(p->table, first, last, gather, removed, unmapped);
    fake_os_forbid(p->os, 0);
    if (result == 0) {
        p->unsynced = true;
    }
    return result;
}

static void expect_removal(struct pgt *p, uint64_t first, uint64_t last, uint64_t true_first,
                           uint64_t true_last, uint64_t bytes)
{
    struct piommu_gather gather;
    struct piommu_range removed;
    uint64_t unmapped;

    piommu_gather_init(&gather);
    assert_int_equal(unmap_leaves(p, first, last, &gather, &removed, &unmapped), 0);
    assert_int_equal(removed.first, true_first);
    assert_int_equal(removed.last, true_last);
    assert_int_equal(unmapped, bytes);
    assert_true(gather.pending);
    assert_true(gather.range.first >= true_first && gather.range.last <= true_last);
    let_lines_arrive(p);
    verify(p);
    sync_gather(p, &gather);
    assert_false(stale_tlb_holds_input(p->tlb, true_first, true_last));
}

static void expect_refusal(struct pgt *p, uint64_t first, uint64_t last, int error)
{
    struct piommu_gather gather;
    struct piommu_range removed;
    uint64_t unmapped;

    piommu_gather_init(&gather);
    assert_int_equal(unmap_leaves(p, first, last, &gather, &removed, &unmapped), error);
    assert_int_equal(unmapped, 0);
    assert_false(gather.pending);
    verify(p);
}

/* Pages, a group, blocks. */
static struct pgt *open_filled(bool coherent)
{
    struct piommu_pgtable_config config = stage1_config(48);
    struct pgt *p;

    config.flags = PIOMMU_PGTABLE_CONTIGUOUS;
    config.coherent_walk = coherent;
    p = open_table(&config);
    map_quickly(p, 0x3000, 0, 0x3000, READ);
    map_quickly(p, 0x20000, 0, 0x10000, READ);
    map_quickly(p, 0x31000, 0, 0x1000, READ);
    map_quickly(p, 4 * MIB, 0, 4 * MIB, READ);
    map_quickly(p, 3 * GIB, 0, GIB, READ);
    map_quickly(p, (1ull << 48) - 4096, 0, 4096, READ);
    verify(p);
    return p;
}

static void test_the_true_range_is_widened_to_whole_leaves(void **state)
{
    static const struct {
        struct piommu_range asked;
        struct piommu_range removed;
        uint64_t bytes;
    } cases[] = {
        {{0x3000, 0x3fff}, {0x3000, 0x3fff}, 0x1000},
        {{0x3fff, 0x3fff}, {0x3000, 0x3fff}, 0x1000},
        {{0x3123, 0x4000}, {0x3000, 0x4fff}, 0x2000},
        {{0x2801, 0x3000}, {0x2801, 0x3fff}, 0x1000},
        {{0, 0x5fff}, {0, 0x5fff}, 0x3000},
        {{0, 0x7777}, {0, 0x7777}, 0x3000},
        {{0x5800, 0x1ffff}, {0x5000, 0x1ffff}, 0x1000},
        /* The group as a whole. */
        {{0x20000, 0x20000}, {0x20000, 0x2ffff}, 0x10000},
        {{0x2ffff, 0x30000}, {0x20000, 0x30000}, 0x10000},
        {{0x27fff, 0x28000}, {0x20000, 0x2ffff}, 0x10000},
        {{0x5000, 0x21000}, {0x5000, 0x2ffff}, 0x11000},
        {{0x2abcd, 0x31001}, {0x20000, 0x31fff}, 0x11000},
        /* Blocks. */
        {{5 * MIB, 5 * MIB}, {4 * MIB, 6 * MIB - 1}, 2 * MIB},
        {{6 * MIB - 1, 6 * MIB}, {4 * MIB, 8 * MIB - 1}, 4 * MIB},
        {{6 * MIB, 3 * GIB + 5}, {6 * MIB, 4 * GIB - 1}, 2 * MIB + GIB},
        {{3 * GIB + 123, 3 * GIB + 123}, {3 * GIB, 4 * GIB - 1}, GIB},
        {{0x31000, 4 * MIB}, {0x31000, 6 * MIB - 1}, 0x1000 + 2 * MIB},
        {{4 * GIB - 1, (1ull << 48) - 1}, {3 * GIB, (1ull << 48) - 1}, GIB + 4096},
        {{(1ull << 48) - 1, (1ull << 48) - 1}, {(1ull << 48) - 4096, (1ull << 48) - 1}, 4096},
        {{0, (1ull << 48) - 1}, {0, (1ull << 48) - 1}, 0x14000 + 4 * MIB + GIB + 4096},
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct pgt *p = open_filled(i % 2 == 0);
        struct piommu_walker_result result;

        expect_removal(p, cases[i].asked.first, cases[i].asked.last, cases[i].removed.first,
                       cases[i].removed.last, cases[i].bytes);
        assert_false(hardware_translates(p, cases[i].asked.first, &result));
        assert_false(hardware_translates(p, cases[i].asked.last, &result));
        unmap_all(p);
        close_table(p);
    }
}

static void test_ranges_without_leaves_or_beyond_the_aperture_are_refused(void **state)
{
    struct pgt *p = open_filled(true);

    (void)state;
    expect_refusal(p, 0, 0x2fff, -PIOMMU_ENOENT);
    expect_refusal(p, 0x6000, 0x6000, -PIOMMU_ENOENT);
    expect_refusal(p, 0x30000, 0x30fff, -PIOMMU_ENOENT);
    expect_refusal(p, 8 * MIB, 3 * GIB - 1, -PIOMMU_ENOENT);
    expect_refusal(p, 4 * GIB, (1ull << 48) - 4097, -PIOMMU_ENOENT);
    expect_refusal(p, 1, 0, -PIOMMU_EINVAL);
    expect_refusal(p, 0x4000, 0x3fff, -PIOMMU_EINVAL);
    expect_refusal(p, 1ull << 48, 1ull << 48, -PIOMMU_ERANGE);
    expect_refusal(p, 0, 1ull << 48, -PIOMMU_ERANGE);
    expect_refusal(p, UINT64_MAX, UINT64_MAX, -PIOMMU_ERANGE);
    expect_refusal(p, 0, UINT64_MAX, -PIOMMU_ERANGE);
    close_table(p);
}

static void test_every_format_has_its_last_leaf(void **state)
{
    static const struct {
        enum piommu_pgtable_format format;
        uint32_t granule;
        uint8_t input;
        uint8_t output;
        uint32_t flags;
    } kinds[] = {
        {S1_64, 4096, 48, 48, PIOMMU_PGTABLE_TTBR1},
        {S1_64, 4096, 52, 52, 0},
        {S1_64, 16384, 48, 48, PIOMMU_PGTABLE_TTBR1},
        {S2_64, 65536, 46, 48, 0},
        {S2_64, 4096, 42, 42, 0},
        {S1_32, 4096, 31, 40, PIOMMU_PGTABLE_TTBR1},
        {S1_32, 4096, 32, 40, 0},
        {S2_32, 4096, 40, 40, 0},
        {S1_64, 4096, 48, 48, PIOMMU_PGTABLE_TTBR1 | PIOMMU_PGTABLE_DISJOINT},
        {S2_64, 65536, 46, 48, PIOMMU_PGTABLE_DISJOINT},
    };

    (void)state;
    for (size_t k = 0; k < COUNT_OF(kinds); k++) {
        struct piommu_pgtable_config config =
            config_of(kinds[k].format, kinds[k].granule, kinds[k].input, kinds[k].output);
        uint64_t granule = kinds[k].granule;
        uint64_t last;
        uint64_t base;
        struct pgt *p;

        config.flags = possible_flags(kinds[k].flags);
        p = open_table(&config);
        last = p->info.aperture.last;
        base = base_of(p);
        map(p, last - granule + 1, 0, granule, READ);
        map(p, base, 0, granule, READ);
        expect_removal(p, last, last, last - granule + 1, last, granule);
        expect_removal(p, base + 5, last - 5, base, last - 5, granule);
        if (base != 0) {
            expect_refusal(p, base - 1, base, -PIOMMU_ERANGE);
            expect_refusal(p, 0, 0, -PIOMMU_ERANGE);
        }
        expect_empty(p);
        close_table(p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_true_range_is_widened_to_whole_leaves),
        cmocka_unit_test(test_ranges_without_leaves_or_beyond_the_aperture_are_refused),
        cmocka_unit_test(test_every_format_has_its_last_leaf),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
