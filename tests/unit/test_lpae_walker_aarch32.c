/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Tests of the page-table walker with the 32-bit long-descriptor format, with tables written by
 * hand and numbers from the Arm ARM, VMSAv8-32.
 */
#include "test_lpae_walker_fixture.h"

/* TTBCR and VTCR: walks are inner shareable and write-back. */
#define EAE       BIT(31)
#define WALKS     (UINT64_C(3) << 12 | 1 << 10 | 1 << 8)
#define TTBCR     (EAE | WALKS)
#define TTBCR_TOP (EAE | WALKS << 16)
#define VTCR      (BIT(31) | WALKS)

static const struct piommu_walker_hardware armv8 = {
    .physical_bits = 44,
    .has_small_tables = true,
    .has_access_flag_updates = true,
    .has_dirty_updates = true,
    .break_before_make_level = 2,
};

static const struct piommu_walker_hardware armv7 = {
    .physical_bits = 40,
    .is_armv7 = true,
};

static enum piommu_walker_setup setup_lower(uint64_t ttbcr, uint64_t ttbr0)
{
    return piommu_walker_regime_from_ttbcr(&armv8, (uint32_t)ttbcr, ttbr0, 0x0004ff44, 0xf4, false,
                                           &fixture.regime);
}

static enum piommu_walker_setup setup_upper(uint64_t ttbcr, uint64_t ttbr1)
{
    return piommu_walker_regime_from_ttbcr(&armv8, (uint32_t)ttbcr, ttbr1, 0x0004ff44, 0xf4, true,
                                           &fixture.regime);
}

static enum piommu_walker_setup setup_stage2(uint64_t vtcr, uint64_t vttbr)
{
    return piommu_walker_regime_from_aarch32_vtcr(&armv8, (uint32_t)vtcr, vttbr, &fixture.regime);
}

/* 32 - T0SZ bits, where T0SZ has a sign, which S repeats. */
static uint64_t vtcr_of(unsigned int input_bits, unsigned int start)
{
    return VTCR | ((32 - input_bits) & 0xf) | (input_bits > 32 ? BIT(4) : 0) | start << 6;
}

/* One table per level and one page, entry n + 1 at level n; in the second of stage 2's roots. */
static uint64_t build_three_levels(unsigned int stage, uint64_t leaf)
{
    uint64_t root_entry = stage == 1 ? 2 : 514;

    memset(fixture.regions, 0, sizeof(fixture.regions));
    assert_int_equal(stage == 1 ? setup_lower(TTBCR, 0x10000)
                                : setup_stage2(vtcr_of(40, 1), 0x10000),
                     PIOMMU_WALKER_SETUP_OK);
    put(0x10000 + 8 * root_entry, 0x30000 | TABLE);
    put(0x30000 + 8 * 3, 0x40000 | TABLE);
    put(0x40000 + 8 * 4, leaf | PAGE);
    fixture.forbidden_table = 0xbad0000;
    return root_entry << 30 | UINT64_C(3) << 21 | UINT64_C(4) << 12;
}

/*
 * Regimes from registers.
 */

static void test_walker_decodes_ttbcr_fields(void **state)
{
    const struct piommu_walker_regime *regime = &fixture.regime;

    (void)state;
    assert_int_equal(setup_lower(TTBCR | 3 | BIT(22), UINT64_C(0x0012000012345000)),
                     PIOMMU_WALKER_SETUP_OK);
    assert_int_equal(regime->format, PIOMMU_WALKER_FORMAT_AARCH32);
    assert_int_equal(regime->stage, 1);
    assert_int_equal(regime->granule_shift, 12);
    assert_int_equal(regime->input_bits, 29);
    assert_int_equal(regime->output_bits, 40);
    assert_true(regime->root == 0x12345000);
    assert_int_equal(regime->identifier, 0x12);
    assert_true(regime->identifier_is_upper);
    assert_false(regime->is_disabled || regime->is_upper_half || regime->access_flag_updates);
    assert_int_equal(regime->walk_inner_cacheability, 1);
    assert_int_equal(regime->walk_outer_cacheability, 1);
    assert_int_equal(regime->walk_shareability, 3);
    assert_true(regime->mair == UINT64_C(0x000000f40004ff44));
    assert_int_equal(setup_lower(TTBCR | BIT(7), 0), PIOMMU_WALKER_SETUP_OK);
    assert_true(regime->is_disabled);
}

static void test_walker_decodes_the_upper_half_of_ttbcr(void **state)
{
    const struct piommu_walker_regime *regime = &fixture.regime;

    (void)state;
    /* All fields of the lower half say something else. */
    assert_int_equal(setup_upper(EAE | 5 | BIT(7) | 2 << 8 | 2 << 10 | 2 << 12 | 3 << 16 | 1 << 24 |
                                     3 << 26 | 3 << 28,
                                 UINT64_C(0x0034000000001000)),
                     PIOMMU_WALKER_SETUP_OK);
    assert_int_equal(regime->input_bits, 29);
    assert_true(regime->is_upper_half && !regime->is_disabled);
    assert_int_equal(regime->identifier, 0x34);
    assert_int_equal(regime->walk_inner_cacheability, 1);
    assert_int_equal(regime->walk_outer_cacheability, 3);
    assert_int_equal(regime->walk_shareability, 3);
    assert_int_equal(setup_upper(TTBCR_TOP | 1 << 16 | BIT(23), 0), PIOMMU_WALKER_SETUP_OK);
    assert_true(regime->is_disabled);
}

static void test_walker_refuses_reserved_ttbcr_values(void **state)
{
    static const unsigned int reserved[] = {3, 4, 5, 14, 15, 19, 20, 21, 30};

    (void)state;
    for (size_t i = 0; i < sizeof(reserved) / sizeof(reserved[0]); i++) {
        assert_int_equal(setup_lower(TTBCR | BIT(reserved[i]), 0),
                         PIOMMU_WALKER_SETUP_RESERVED_BITS);
        assert_int_equal(setup_upper(TTBCR_TOP | BIT(reserved[i]), 0),
                         PIOMMU_WALKER_SETUP_RESERVED_BITS);
    }
    /* Short descriptors, and TTBCR2. */
    assert_int_equal(setup_lower(TTBCR & ~EAE, 0), PIOMMU_WALKER_SETUP_UNSUPPORTED);
    assert_int_equal(setup_lower(TTBCR | BIT(6), 0), PIOMMU_WALKER_SETUP_UNSUPPORTED);
    assert_int_equal(setup_lower(TTBCR & ~BIT(13), 0), PIOMMU_WALKER_SETUP_RESERVED_BITS);
    assert_int_equal(setup_lower(TTBCR, BIT(56)), PIOMMU_WALKER_SETUP_RESERVED_BITS);
    /* Bit 0 of the root's register came with Armv8. */
    assert_int_equal(setup_lower(TTBCR, BIT(0)), PIOMMU_WALKER_SETUP_OK);
    assert_true(fixture.regime.is_common_not_private && fixture.regime.root == 0);
    assert_int_equal(piommu_walker_regime_from_ttbcr(&armv7, (uint32_t)TTBCR, BIT(0), 0, 0, false,
                                                     &fixture.regime),
                     PIOMMU_WALKER_SETUP_RESERVED_BITS);
}

/* T0SZ or T1SZ, start level, entries of the root. */
static void test_walker_derives_start_level_and_root_of_stage1_from_ttbcr(void **state)
{
    static const struct {
        int level;
        unsigned int entries;
    } cases[8] = {{1, 4}, {1, 2}, {2, 512}, {2, 256}, {2, 128}, {2, 64}, {2, 32}, {2, 16}};

    (void)state;
    for (unsigned int size = 0; size < 8; size++) {
        uint64_t bytes = 8 * (uint64_t)cases[size].entries;

        for (unsigned int upper = 0; upper < 2; upper++) {
            uint64_t ttbcr = TTBCR | TTBCR_TOP | size << (upper ? 16 : 0);

            assert_int_equal(upper ? setup_upper(ttbcr, 0) : setup_lower(ttbcr, 0),
                             PIOMMU_WALKER_SETUP_OK);
            assert_int_equal(fixture.regime.start_level, cases[size].level);
            assert_int_equal(fixture.regime.input_bits, 32 - size);
            assert_true(piommu_walker_root_size(&fixture.regime) == bytes);
            /* Aligned to its size, and no more than that. */
            assert_int_equal(upper ? setup_upper(ttbcr, 0x10000 + bytes)
                                   : setup_lower(ttbcr, 0x10000 + bytes),
                             PIOMMU_WALKER_SETUP_OK);
            assert_true(fixture.regime.root == 0x10000 + bytes);
            assert_int_equal(upper ? setup_upper(ttbcr, 0x10000 + bytes / 2)
                                   : setup_lower(ttbcr, 0x10000 + bytes / 2),
                             PIOMMU_WALKER_SETUP_ROOT_ALIGNMENT);
        }
    }
}

static void test_walker_decodes_aarch32_vtcr_fields(void **state)
{
    static const unsigned int reserved[] = {5,  14, 15, 16, 17, 18, 19, 20, 21,
                                            22, 23, 24, 25, 26, 27, 28, 29, 30};
    const struct piommu_walker_regime *regime = &fixture.regime;

    (void)state;
    assert_int_equal(setup_stage2(vtcr_of(40, 1), UINT64_C(0x00ab000000012000)),
                     PIOMMU_WALKER_SETUP_OK);
    assert_int_equal(regime->format, PIOMMU_WALKER_FORMAT_AARCH32);
    assert_int_equal(regime->stage, 2);
    assert_int_equal(regime->input_bits, 40);
    assert_int_equal(regime->output_bits, 40);
    assert_int_equal(regime->start_level, 1);
    assert_int_equal(regime->identifier, 0xab);
    assert_true(regime->root == 0x12000 && piommu_walker_root_size(regime) == 0x2000);
    assert_int_equal(regime->walk_shareability, 3);
    for (size_t i = 0; i < sizeof(reserved) / sizeof(reserved[0]); i++) {
        assert_int_equal(setup_stage2(vtcr_of(32, 1) | BIT(reserved[i]), 0),
                         PIOMMU_WALKER_SETUP_RESERVED_BITS);
    }
    assert_int_equal(setup_stage2(vtcr_of(32, 1) & ~BIT(31), 0), PIOMMU_WALKER_SETUP_RESERVED_BITS);
    assert_int_equal(setup_stage2(vtcr_of(40, 1), BIT(56)), PIOMMU_WALKER_SETUP_RESERVED_BITS);
    /* S has to be a copy of the sign of T0SZ. */
    assert_int_equal(setup_stage2(vtcr_of(32, 1) | BIT(4), 0), PIOMMU_WALKER_SETUP_RESERVED_BITS);
    assert_int_equal(setup_stage2(vtcr_of(33, 1) & ~BIT(4), 0), PIOMMU_WALKER_SETUP_RESERVED_BITS);
}

/* All of T0SZ and SL0. */
static void test_walker_accepts_exactly_the_legal_start_levels_of_aarch32_stage2(void **state)
{
    static const unsigned int first[2] = {25, 31}, last[2] = {34, 40};

    (void)state;
    for (unsigned int start = 0; start < 4; start++) {
        for (unsigned int bits = 25; bits <= 40; bits++) {
            bool is_legal = start < 2 && bits >= first[start] && bits <= last[start];
            uint64_t bytes;

            assert_int_equal(setup_stage2(vtcr_of(bits, start), 0),
                             is_legal ? PIOMMU_WALKER_SETUP_OK : PIOMMU_WALKER_SETUP_START_LEVEL);
            if (!is_legal) {
                continue;
            }
            assert_int_equal(fixture.regime.input_bits, bits);
            assert_int_equal(fixture.regime.start_level, start ? 1 : 2);
            bytes = UINT64_C(8) << (bits - (start ? 30 : 21));
            assert_true(piommu_walker_root_size(&fixture.regime) == bytes);
            assert_int_equal(setup_stage2(vtcr_of(bits, start), bytes), PIOMMU_WALKER_SETUP_OK);
            assert_int_equal(setup_stage2(vtcr_of(bits, start), bytes / 2),
                             PIOMMU_WALKER_SETUP_ROOT_ALIGNMENT);
        }
    }
}

static void test_walker_refuses_what_aarch32_does_not_have(void **state)
{
    struct piommu_walker_regime good;

    (void)state;
    assert_int_equal(setup_lower(TTBCR, 0x10000), PIOMMU_WALKER_SETUP_OK);
    good = fixture.regime;
    fixture.regime.granule_shift = 14;
    assert_int_equal(piommu_walker_validate(&fixture.regime), PIOMMU_WALKER_SETUP_GRANULE);
    fixture.regime = good;
    fixture.regime.output_bits = 42;
    assert_int_equal(piommu_walker_validate(&fixture.regime), PIOMMU_WALKER_SETUP_OUTPUT_SIZE);
    fixture.regime = good;
    fixture.regime.input_bits = 33;
    assert_int_equal(piommu_walker_validate(&fixture.regime), PIOMMU_WALKER_SETUP_INPUT_SIZE);
    fixture.regime.input_bits = 24;
    assert_int_equal(piommu_walker_validate(&fixture.regime), PIOMMU_WALKER_SETUP_INPUT_SIZE);
    fixture.regime = good;
    fixture.regime.other_half_bits = 33;
    assert_int_equal(piommu_walker_validate(&fixture.regime), PIOMMU_WALKER_SETUP_INPUT_SIZE);
    fixture.regime = good;
    fixture.regime.ignores_top_byte = true;
    assert_int_equal(piommu_walker_validate(&fixture.regime), PIOMMU_WALKER_SETUP_UNSUPPORTED);
    fixture.regime = good;
    fixture.regime.access_flag_updates = true;
    assert_int_equal(piommu_walker_validate(&fixture.regime), PIOMMU_WALKER_SETUP_UNSUPPORTED);
    assert_int_equal(setup_stage2(vtcr_of(40, 1), 0x10000), PIOMMU_WALKER_SETUP_OK);
    fixture.regime.forced_write_back = true;
    assert_int_equal(piommu_walker_validate(&fixture.regime), PIOMMU_WALKER_SETUP_UNSUPPORTED);
    fixture.regime.forced_write_back = false;
    fixture.regime.input_bits = 41;
    assert_int_equal(piommu_walker_validate(&fixture.regime), PIOMMU_WALKER_SETUP_INPUT_SIZE);
    fixture.regime.input_bits = 25;
    fixture.regime.start_level = 3;
    assert_int_equal(piommu_walker_validate(&fixture.regime), PIOMMU_WALKER_SETUP_START_LEVEL);
}

static void test_walker_has_no_more_output_bits_than_hardware(void **state)
{
    static const unsigned int sizes[][2] = {{32, 32}, {36, 36}, {40, 40}, {42, 40}, {52, 40}};

    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct piommu_walker_hardware hardware = armv8;

        hardware.physical_bits = sizes[i][0];
        assert_int_equal(piommu_walker_regime_from_ttbcr(&hardware, (uint32_t)TTBCR, 0, 0, 0, false,
                                                         &fixture.regime),
                         PIOMMU_WALKER_SETUP_OK);
        assert_int_equal(fixture.regime.output_bits, sizes[i][1]);
    }
}

/*
 * Translation.
 */

static void test_walker_translates_a_page_through_three_levels(void **state)
{
    (void)state;
    for (unsigned int stage = 1; stage <= 2; stage++) {
        uint64_t leaf = UINT64_C(0xfedcba9000) | (stage == 1 ? S1_LEAF : S2_LEAF);
        uint64_t input = build_three_levels(stage, leaf);

        assert_output(input + 0xabc, UINT64_C(0xfedcba9abc), 12);
        assert_int_equal(fixture.result.level, 3);
        assert_int_equal(fixture.result.step_count, 3);
        assert_true(fixture.result.steps[0].location == (stage == 1 ? 0x10010 : 0x11010));
        assert_true(fixture.result.steps[1].location == 0x30018);
        assert_true(fixture.result.steps[2].location == 0x40020);
    }
}

static void test_walker_translates_aarch32_blocks(void **state)
{
    (void)state;
    assert_int_equal(setup_lower(TTBCR, 0x10000), PIOMMU_WALKER_SETUP_OK);
    put(0x10008, UINT64_C(0xffc0000000) | S1_LEAF | BLOCK);
    assert_output(0x7fffffff, UINT64_C(0xffffffffff), 30);
    assert_int_equal(setup_lower(TTBCR | 2, 0x20000), PIOMMU_WALKER_SETUP_OK);
    put(0x20008, UINT64_C(0xffffe00000) | S1_LEAF | BLOCK);
    assert_output(0x3fffff, UINT64_C(0xffffffffff), 21);
}

static void test_walker_indexes_the_smallest_roots(void **state)
{
    (void)state;
    /* Two entries, at an address that is aligned to them only. */
    assert_int_equal(setup_lower(TTBCR | 1, 0x10010), PIOMMU_WALKER_SETUP_OK);
    put(0x10018, 0x40000000 | S1_LEAF | BLOCK);
    assert_output(0x7fffffff, 0x7fffffff, 30);
    assert_fault(0x3fffffff, PIOMMU_WALKER_FAULT_TRANSLATION, 1);
    /* Sixteen entries of level 2. */
    assert_int_equal(setup_lower(TTBCR | 7, 0x20080), PIOMMU_WALKER_SETUP_OK);
    put(0x200f8, 0x200000 | S1_LEAF | BLOCK);
    assert_output(0x1ffffff, 0x3fffff, 21);
    assert_fault(0, PIOMMU_WALKER_FAULT_TRANSLATION, 2);
}

static void test_walker_indexes_concatenated_roots_of_aarch32(void **state)
{
    static const unsigned int cases[][2] = {{34, 0}, {33, 0}, {32, 0}, {31, 0}, {40, 1}, {39, 1}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        unsigned int bits = cases[i][0];
        uint64_t last;

        memset(fixture.regions, 0, sizeof(fixture.regions));
        assert_int_equal(setup_stage2(vtcr_of(bits, cases[i][1]), 0x20000), PIOMMU_WALKER_SETUP_OK);
        last = piommu_walker_root_size(&fixture.regime) - 8;
        put(0x20000 + last, 0x40000000 | S2_LEAF | BLOCK);
        assert_output(BIT(bits) - 1, cases[i][1] ? 0x7fffffff : 0x401fffff, cases[i][1] ? 30 : 21);
        assert_true(fixture.result.steps[0].location == 0x20000 + last);
    }
}

/* Which half translates what, for all pairs of T0SZ and T1SZ. */
static void test_walker_divides_the_input_between_the_halves(void **state)
{
    (void)state;
    put(0x20000, 0);
    for (unsigned int i = 0; i < 64; i++) {
        uint64_t lower_size = i % 8, upper_size = i / 8;
        uint64_t ttbcr = EAE | lower_size | upper_size << 16;
        uint64_t lower_last = BIT(32 - lower_size) - 1;
        uint64_t upper_first = BIT(32) - BIT(32 - upper_size);
        uint64_t probes[12] = {0, 1, BIT(31) - 1, BIT(31), BIT(32) - 1, BIT(32), BIT(40)};

        if (upper_size == 0) {
            upper_first = lower_last + 1;
        } else if (lower_size == 0) {
            lower_last = upper_first - 1;
        }
        probes[7] = lower_last;
        probes[8] = lower_last + 1;
        probes[9] = upper_first - 1;
        probes[10] = upper_first;
        probes[11] = UINT64_MAX;
        for (size_t j = 0; j < sizeof(probes) / sizeof(probes[0]); j++) {
            uint64_t input = probes[j];

            assert_int_equal(setup_lower(ttbcr, 0x20000), PIOMMU_WALKER_SETUP_OK);
            assert_int_equal(translate(input, reading), PIOMMU_WALKER_FAULT_TRANSLATION);
            assert_int_equal(fixture.result.step_count, input <= lower_last);
            assert_int_equal(piommu_walker_input_is_in_range(&fixture.regime, input),
                             input <= lower_last);
            assert_int_equal(setup_upper(ttbcr, 0x20000), PIOMMU_WALKER_SETUP_OK);
            assert_int_equal(translate(input, reading), PIOMMU_WALKER_FAULT_TRANSLATION);
            assert_int_equal(fixture.result.step_count,
                             input >= upper_first && input <= UINT32_MAX);
        }
    }
}

static void test_walker_translates_the_upper_half_of_32_bits(void **state)
{
    (void)state;
    for (unsigned int size = 1; size < 8; size++) {
        uint64_t first = BIT(32) - BIT(32 - size);
        unsigned int shift = size == 1 ? 30 : 21;

        memset(fixture.regions, 0, sizeof(fixture.regions));
        assert_int_equal(setup_upper(TTBCR_TOP | size << 16, 0x10000), PIOMMU_WALKER_SETUP_OK);
        put(0x10000, 0x40000000 | S1_LEAF | BLOCK);
        put(0x10000 + piommu_walker_root_size(&fixture.regime) - 8, 0x80000000 | S1_LEAF | BLOCK);
        assert_output(first, 0x40000000, shift);
        assert_output(UINT32_MAX, 0x80000000 + BIT(shift) - 1, shift);
        assert_fault(first - 1, PIOMMU_WALKER_FAULT_TRANSLATION, 1);
        assert_int_equal(fixture.result.step_count, 0);
    }
}

static void test_walker_reports_aarch32_faults_at_their_level(void **state)
{
    uint64_t input;

    (void)state;
    input = build_three_levels(2, 0x5000 | S2_LEAF);
    assert_fault(0, PIOMMU_WALKER_FAULT_TRANSLATION, 1);
    assert_fault(input - 0x600000, PIOMMU_WALKER_FAULT_TRANSLATION, 2);
    assert_fault(input - 0x1000, PIOMMU_WALKER_FAULT_TRANSLATION, 3);
    put(0x40020, 0x5000 | S2_LEAF | BLOCK);
    assert_fault(input, PIOMMU_WALKER_FAULT_TRANSLATION, 3);
    put(0x40020, (0x5000 | S2_LEAF | PAGE) & ~(AF | S2_R));
    assert_fault(input, PIOMMU_WALKER_FAULT_ACCESS_FLAG, 3);
    put(0x40020, (0x5000 | S2_LEAF | PAGE) & ~S2_R);
    assert_fault(input, PIOMMU_WALKER_FAULT_PERMISSION, 3);
    put(0x30018, 0xbad0000 | TABLE);
    assert_fault(input, PIOMMU_WALKER_FAULT_WALK_ABORT, 3);
    /* There is no level 0, not even for an input that no table covers. */
    assert_fault(BIT(40), PIOMMU_WALKER_FAULT_TRANSLATION, 1);
    assert_int_equal(fixture.result.step_count, 0);
    fixture.regime.start_level = 2;
    assert_fault(input, PIOMMU_WALKER_FAULT_TRANSLATION, 1);
    assert_int_equal(fixture.result.step_count, 0);
    build_three_levels(1, 0x5000 | S1_LEAF);
    fixture.regime.is_disabled = true;
    assert_fault(0, PIOMMU_WALKER_FAULT_TRANSLATION, 1);
    fixture.regime.is_disabled = false;
    fixture.regime.root = BIT(40);
    assert_fault(0, PIOMMU_WALKER_FAULT_ADDRESS_SIZE, 0);
}

static void test_walker_treats_high_address_bits_by_architecture_version(void **state)
{
    (void)state;
    for (unsigned int bit = 40; bit < 48; bit++) {
        uint64_t input = build_three_levels(1, 0x5000 | S1_LEAF | BIT(bit));

        assert_fault(input, PIOMMU_WALKER_FAULT_ADDRESS_SIZE, 3);
        put(0x30018, 0x40000 | TABLE | BIT(bit));
        assert_fault(input, PIOMMU_WALKER_FAULT_ADDRESS_SIZE, 2);
        put(0x10010, 0x30000 | TABLE | BIT(bit));
        assert_fault(input, PIOMMU_WALKER_FAULT_ADDRESS_SIZE, 1);
        fixture.regime.hardware = armv7;
        assert_output(input, 0x5000, 12);
        assert_int_equal(setup_lower(TTBCR, BIT(bit)), PIOMMU_WALKER_SETUP_ROOT_ADDRESS);
        assert_int_equal(piommu_walker_regime_from_ttbcr(&armv7, (uint32_t)TTBCR, BIT(bit), 0, 0,
                                                         false, &fixture.regime),
                         PIOMMU_WALKER_SETUP_RESERVED_BITS);
    }
}

/*
 * Permissions and attributes.
 */

static void test_walker_applies_the_permission_table_of_aarch32_stage1(void **state)
{
    /* In the order: as they are, with WXN, with UWXN. */
    static const struct {
        uint64_t bits;
        const char *rights, *rights_wxn, *rights_uwxn;
    } cases[] = {
        {0, "rwx---", "rw----", "rwx---"},
        {AP_USER, "rwxrwx", "rw-rw-", "rw-rwx"},
        {AP_RO, "r-x---", "r-x---", "r-x---"},
        {AP_RO | AP_USER, "r-xr-x", "r-xr-x", "r-xr-x"},
        {PXN, "rw----", "rw----", "rw----"},
        {PXN | AP_USER, "rw-rwx", "rw-rw-", "rw-rwx"},
        {UXN, "rw----", "rw----", "rw----"},
        {UXN | AP_USER, "rw-rw-", "rw-rw-", "rw-rw-"},
        {AP_RO | AP_USER | PXN, "r--r-x", "r--r-x", "r--r-x"},
        {AP_RO | AP_USER | UXN, "r--r--", "r--r--", "r--r--"},
        {AP_RO | AP_USER | PXN | UXN, "r--r--", "r--r--", "r--r--"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t input = build_three_levels(1, 0x5000 | AF | cases[i].bits);

        assert_rights_at(input, cases[i].rights);
        fixture.regime.write_implies_no_execute = true;
        assert_rights_at(input, cases[i].rights_wxn);
        fixture.regime.write_implies_no_execute = false;
        fixture.regime.unprivileged_write_implies_no_execute = true;
        assert_rights_at(input, cases[i].rights_uwxn);
    }
}

static void test_walker_applies_table_attributes_of_aarch32_stage1(void **state)
{
    uint64_t input;

    (void)state;
    input = build_three_levels(1, 0x5000 | AF | AP_USER);
    assert_rights_at(input, "rwxrwx");
    put(0x10010, 0x30000 | TABLE | BIT(62));
    assert_rights_at(input, "r-xr-x");
    put(0x30018, 0x40000 | TABLE | BIT(59));
    assert_rights_at(input, "r--r-x");
    /* Without the right to read there is none to execute. */
    put(0x30018, 0x40000 | TABLE | BIT(61));
    assert_rights_at(input, "r-x---");
    put(0x30018, 0x40000 | TABLE | BIT(60));
    assert_rights_at(input, "r--r--");
    fixture.regime.ignores_table_attributes = true;
    assert_rights_at(input, "rwxrwx");
}

static void test_walker_applies_the_permission_table_of_aarch32_stage2(void **state)
{
    static const struct {
        uint64_t bits;
        const char *rights, *rights_with_xnx;
    } cases[] = {
        {0, "------", "------"},
        {S2_R, "r-xr-x", "r-xr-x"},
        {S2_W, "-w--w-", "-w--w-"},
        {S2_R | S2_W, "rwxrwx", "rwxrwx"},
        {S2_R | UINT64_C(1) << 53, "r-xr-x", "r--r-x"},
        {S2_R | UINT64_C(2) << 53, "r--r--", "r--r--"},
        {S2_R | UINT64_C(3) << 53, "r--r--", "r-xr--"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t input = build_three_levels(2, 0x5000 | AF | S2_WB | cases[i].bits);

        put(0x30018, 0x40000 | TABLE | UINT64_C(0x1f) << 59);
        assert_rights_at(input, cases[i].rights);
        fixture.regime.hardware.has_execute_never_by_privilege = true;
        assert_rights_at(input, cases[i].rights_with_xnx);
        fixture.regime.hardware.is_armv7 = true;
        assert_rights_at(input, cases[i].rights);
    }
}

static void test_walker_decodes_aarch32_attributes(void **state)
{
    const struct piommu_walker_attributes *attributes = &fixture.result.attributes;
    uint64_t input;

    (void)state;
    input = build_three_levels(1, 0x5000 | AF | NG | AP_USER | 2 << 8 | BIT(5) | 4 << 2 |
                                      CONTIGUOUS | UINT64_C(5) << 55);
    assert_output(input, 0x5000, 12);
    assert_int_equal(attributes->memory_index, 4);
    /* Slot 4 is the lowest byte of MAIR1. */
    assert_int_equal(attributes->memory_type, 0xf4);
    assert_int_equal(attributes->shareability, 2);
    assert_int_equal(attributes->software_bits, 5);
    assert_true(attributes->not_global && attributes->non_secure && attributes->contiguous);
    input = build_three_levels(2, 0x5000 | AF | S2_R | UINT64_C(5) << 2);
    assert_output(input, 0x5000, 12);
    assert_int_equal(attributes->memory_type, 0x44);
}

static void test_walker_knows_no_dirty_state_and_no_nt_bit_in_aarch32(void **state)
{
    uint64_t input;

    (void)state;
    input = build_three_levels(1, 0x5000 | S1_LEAF | AP_RO | DBM);
    assert_int_equal(translate(input, writing), PIOMMU_WALKER_FAULT_PERMISSION);
    assert_false(fixture.result.attributes.writable_clean);
    assert_false(fixture.result.attributes.dirty_bit_modifier);
    put(0x40020, 0x5000 | S1_LEAF | PAGE | DBM);
    assert_int_equal(translate(input, writing), PIOMMU_WALKER_FAULT_NONE);
    assert_false(fixture.result.attributes.dirty);
    put(0x10008, S1_LEAF | BLOCK | BIT(16));
    assert_output(0x40000000, 0, 30);
    assert_false(fixture.result.attributes.no_cache_entry);
}

/*
 * The checker.
 */

static void test_checker_finds_nothing_in_a_good_aarch32_tree(void **state)
{
    (void)state;
    for (unsigned int stage = 1; stage <= 2; stage++) {
        build_three_levels(stage, 0x5000 | (stage == 1 ? S1_LEAF : S2_LEAF));
        assert_int_equal(check(), 0);
        /* What hardware ignores in table descriptors belongs to software. */
        put(0x30018, get(0x30018) | UINT64_C(0x7f) << 52 | 0xffc);
        put(0x40020, get(0x40020) | UINT64_C(0xf) << 55);
        put(0x40028, ~UINT64_C(1));
        assert_int_equal(check(), 0);
    }
}

static void test_checker_finds_reserved_bits_of_aarch32(void **state)
{
    (void)state;
    for (unsigned int i = 0; i < 4; i++) {
        unsigned int stage = 1 + i % 2;
        uint64_t leaf = 0x5000 | (stage == 1 ? S1_LEAF : S2_LEAF);
        bool is_armv7 = i / 2;

        for (unsigned int bit = 40; bit <= 51; bit++) {
            enum piommu_walker_problem_kind kind = bit < 48 && !is_armv7
                                                       ? PIOMMU_WALKER_PROBLEM_ADDRESS_SIZE
                                                       : PIOMMU_WALKER_PROBLEM_RESERVED_BITS;

            build_three_levels(stage, leaf | BIT(bit));
            fixture.regime.hardware.is_armv7 = is_armv7;
            assert_problem(kind);
            put(0x40020, leaf | PAGE);
            put(0x30018, 0x40000 | TABLE | BIT(bit));
            assert_problem(kind);
        }
        for (unsigned int bit = 59; bit <= 63; bit++) {
            build_three_levels(stage, leaf | BIT(bit));
            assert_problem(PIOMMU_WALKER_PROBLEM_RESERVED_BITS);
            put(0x40020, leaf | PAGE);
            put(0x30018, 0x40000 | TABLE | BIT(bit));
            assert_problem(stage == 1 ? PIOMMU_WALKER_PROBLEM_TABLE_ATTRIBUTES
                                      : PIOMMU_WALKER_PROBLEM_RESERVED_BITS);
        }
    }
}

static void test_checker_finds_bad_leaves_of_aarch32(void **state)
{
    static const struct {
        unsigned int stage;
        uint64_t clear, set;
        enum piommu_walker_problem_kind kind;
    } cases[] = {
        {1, AF, 0, PIOMMU_WALKER_PROBLEM_ACCESS_FLAG},
        {2, AF, 0, PIOMMU_WALKER_PROBLEM_ACCESS_FLAG},
        {1, SH_INNER, BIT(8), PIOMMU_WALKER_PROBLEM_SHAREABILITY},
        {1, 0, UINT64_C(7) << 2, PIOMMU_WALKER_PROBLEM_MEMORY_TYPE},
        {2, S2_WB, UINT64_C(4) << 2, PIOMMU_WALKER_PROBLEM_MEMORY_TYPE},
        {1, 2, 0, PIOMMU_WALKER_PROBLEM_PAGE_TYPE},
        {2, 0, BIT(11), PIOMMU_WALKER_PROBLEM_RESERVED_BITS},
        {2, UXN, BIT(53), PIOMMU_WALKER_PROBLEM_RESERVED_BITS},
        {2, 0, BIT(53), PIOMMU_WALKER_PROBLEM_EXECUTE_NEVER},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        build_three_levels(cases[i].stage, 0x5000 | (cases[i].stage == 1 ? S1_LEAF : S2_LEAF));
        fixture.regime.mair_slots_in_use = 0xf;
        put(0x40020, (get(0x40020) & ~cases[i].clear) | cases[i].set);
        assert_problem(cases[i].kind);
    }
}

static void test_checker_finds_bad_aarch32_blocks_and_groups(void **state)
{
    (void)state;
    build_three_levels(1, 0x5000 | S1_LEAF);
    /* nT is for AArch64 alone. */
    put(0x10008, 0x40000000 | S1_LEAF | BLOCK | BIT(16));
    assert_problem(PIOMMU_WALKER_PROBLEM_RESERVED_BITS);
    put(0x10008, 0x40000000 | S1_LEAF | BLOCK | CONTIGUOUS);
    assert_problem(PIOMMU_WALKER_PROBLEM_CONTIGUOUS_RANGE);
    put(0x10008, 0);
    build_group(16, 12, 0x40080, 0x80000, S1_LEAF | PAGE);
    build_group(16, 21, 0x30080, 0x4000000, S1_LEAF | BLOCK);
    assert_int_equal(check(), 0);
    put(0x30088, 0x4200000 | S1_LEAF | BLOCK);
    assert_problem(PIOMMU_WALKER_PROBLEM_CONTIGUOUS_MIXED);
    put(0x30088, 0x4400000 | S1_LEAF | BLOCK | CONTIGUOUS);
    assert_problem(PIOMMU_WALKER_PROBLEM_CONTIGUOUS_ADDRESS);
    /* Stage 2 has room for groups of level 1. */
    assert_int_equal(setup_stage2(vtcr_of(40, 1), 0x20000), PIOMMU_WALKER_SETUP_OK);
    build_group(16, 30, 0x20080, UINT64_C(0xc00000000), S2_LEAF | BLOCK);
    assert_int_equal(check(), 0);
}

static void test_checker_refuses_an_illegal_aarch32_regime(void **state)
{
    (void)state;
    build_three_levels(2, 0x5000 | S2_LEAF);
    fixture.regime.input_bits = 30;
    assert_problem(PIOMMU_WALKER_PROBLEM_REGIME);
}

/*
 * All leaves, and the stale TLB.
 */

static uint64_t visited[4];
static unsigned int visited_count;

static bool note_input(void *ctx, const struct piommu_walker_leaf *leaf)
{
    assert_ptr_equal(ctx, &visited_count);
    assert_true(visited_count < 4);
    visited[visited_count++] = leaf->input;
    return true;
}

static void visit_leaves(void)
{
    visited_count = 0;
    assert_true(
        piommu_walker_for_each_leaf(&fixture.regime, &fixture.memory, note_input, &visited_count));
}

static void test_walker_visits_the_leaves_that_its_half_can_reach(void **state)
{
    (void)state;
    for (unsigned int i = 0; i < 4; i++) {
        put(0x10000 + 8 * i, (uint64_t)i << 30 | S1_LEAF | BLOCK);
    }
    assert_int_equal(setup_upper(TTBCR_TOP | 1 << 16, 0x10000), PIOMMU_WALKER_SETUP_OK);
    visit_leaves();
    assert_int_equal(visited_count, 2);
    assert_true(visited[0] == 0x80000000 && visited[1] == 0xc0000000);
    /* The upper half takes 1 GiB from the lower one, or only a part of the last block. */
    assert_int_equal(setup_lower(TTBCR | 2 << 16, 0x10000), PIOMMU_WALKER_SETUP_OK);
    visit_leaves();
    assert_int_equal(visited_count, 3);
    assert_int_equal(setup_lower(TTBCR | 3 << 16, 0x10000), PIOMMU_WALKER_SETUP_OK);
    visit_leaves();
    assert_int_equal(visited_count, 4);
    assert_int_equal(setup_upper(TTBCR_TOP | 1, 0x10000), PIOMMU_WALKER_SETUP_OK);
    visit_leaves();
    assert_int_equal(visited_count, 2);
    assert_true(visited[0] == 0x80000000 && visited[1] == 0xc0000000);
}

static void test_stale_tlb_works_with_aarch32_tables(void **state)
{
    uint64_t input;

    (void)state;
    for (unsigned int stage = 1; stage <= 2; stage++) {
        stale_tlb_invalidate_all(fixture.tlb);
        input = build_three_levels(stage, 0x5000 | (stage == 1 ? S1_LEAF : S2_LEAF));
        stale_tlb_fill(fixture.tlb, &fixture.regime, &fixture.memory);
        assert_int_equal(stale_tlb_leaf_count(fixture.tlb), 1);
        assert_int_equal(stale_tlb_table_count(fixture.tlb), 2);
        put(0x40020, 0);
        put(0x30018, 0);
        assert_tlb_output(input + 5, 0x5005);
        stale_tlb_invalidate(fixture.tlb, input, input, true);
        assert_int_equal(tlb_translate(input, reading), PIOMMU_WALKER_FAULT_TRANSLATION);
        assert_int_equal(fixture.result.level, 3);
        stale_tlb_invalidate(fixture.tlb, input, input, false);
        assert_int_equal(tlb_translate(input, reading), PIOMMU_WALKER_FAULT_TRANSLATION);
        assert_int_equal(fixture.result.level, 2);
    }
}

static void test_stale_tlb_does_not_answer_for_the_other_half(void **state)
{
    (void)state;
    assert_int_equal(setup_lower(TTBCR | 7 << 16, 0x10000), PIOMMU_WALKER_SETUP_OK);
    put(0x10018, 0xc0000000 | S1_LEAF | BLOCK);
    assert_tlb_output(0xfdffffff, 0xfdffffff);
    assert_int_equal(tlb_translate(0xfe000000, reading), PIOMMU_WALKER_FAULT_TRANSLATION);
    assert_int_equal(fixture.result.step_count, 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        MODEL_TEST(test_walker_decodes_ttbcr_fields),
        MODEL_TEST(test_walker_decodes_the_upper_half_of_ttbcr),
        MODEL_TEST(test_walker_refuses_reserved_ttbcr_values),
        MODEL_TEST(test_walker_derives_start_level_and_root_of_stage1_from_ttbcr),
        MODEL_TEST(test_walker_decodes_aarch32_vtcr_fields),
        MODEL_TEST(test_walker_accepts_exactly_the_legal_start_levels_of_aarch32_stage2),
        MODEL_TEST(test_walker_refuses_what_aarch32_does_not_have),
        MODEL_TEST(test_walker_has_no_more_output_bits_than_hardware),
        MODEL_TEST(test_walker_translates_a_page_through_three_levels),
        MODEL_TEST(test_walker_translates_aarch32_blocks),
        MODEL_TEST(test_walker_indexes_the_smallest_roots),
        MODEL_TEST(test_walker_indexes_concatenated_roots_of_aarch32),
        MODEL_TEST(test_walker_divides_the_input_between_the_halves),
        MODEL_TEST(test_walker_translates_the_upper_half_of_32_bits),
        MODEL_TEST(test_walker_reports_aarch32_faults_at_their_level),
        MODEL_TEST(test_walker_treats_high_address_bits_by_architecture_version),
        MODEL_TEST(test_walker_applies_the_permission_table_of_aarch32_stage1),
        MODEL_TEST(test_walker_applies_table_attributes_of_aarch32_stage1),
        MODEL_TEST(test_walker_applies_the_permission_table_of_aarch32_stage2),
        MODEL_TEST(test_walker_decodes_aarch32_attributes),
        MODEL_TEST(test_walker_knows_no_dirty_state_and_no_nt_bit_in_aarch32),
        MODEL_TEST(test_checker_finds_nothing_in_a_good_aarch32_tree),
        MODEL_TEST(test_checker_finds_reserved_bits_of_aarch32),
        MODEL_TEST(test_checker_finds_bad_leaves_of_aarch32),
        MODEL_TEST(test_checker_finds_bad_aarch32_blocks_and_groups),
        MODEL_TEST(test_checker_refuses_an_illegal_aarch32_regime),
        MODEL_TEST(test_walker_visits_the_leaves_that_its_half_can_reach),
        MODEL_TEST(test_stale_tlb_works_with_aarch32_tables),
        MODEL_TEST(test_stale_tlb_does_not_answer_for_the_other_half),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
