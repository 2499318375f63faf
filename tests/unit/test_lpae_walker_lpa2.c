/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Tests of the page-table walker with 52-bit addresses in 4K and 16K tables (DS = 1, FEAT_LPA2),
 * with tables written by hand and numbers from the Arm ARM, VMSAv8-64.
 */
#include "test_lpae_walker_fixture.h"

#define TCR_DS   BIT(59)
#define VTCR_DS  BIT(32)
#define VTCR_SL2 BIT(33)

/* Inner shareable, write-back walks; an output of 52 bits. */
#define WALKS   (UINT64_C(3) << 12 | 1 << 10 | 1 << 8)
#define TCR_52  (WALKS | UINT64_C(6) << 32)
#define VTCR_52 (BIT(31) | WALKS | UINT64_C(6) << 16)

/* TG0 */
#define GRANULE_4K  0
#define GRANULE_16K 2
#define GRANULE_64K 1

/* Leaves without shareability, since DS = 1 puts address bits there. */
#define S1_LARGE (S1_LEAF & ~SH_INNER)
#define S2_LARGE (S2_LEAF & ~SH_INNER)

static uint64_t tcr_of(unsigned int input_bits, unsigned int granule)
{
    return TCR_DS | TCR_52 | (64 - input_bits) | (uint64_t)granule << 14;
}

static uint64_t vtcr_of(unsigned int input_bits, unsigned int start, unsigned int granule)
{
    return VTCR_DS | VTCR_52 | (64 - input_bits) | (uint64_t)(start & 3) << 6 |
           (uint64_t)granule << 14 | (start > 3 ? VTCR_SL2 : 0);
}

static enum piommu_walker_setup setup_tcr(uint64_t tcr, uint64_t ttbr)
{
    return piommu_walker_regime_from_tcr(&everything, tcr, ttbr, 0xff44, false, &fixture.regime);
}

static enum piommu_walker_setup setup_vtcr(uint64_t vtcr, uint64_t vttbr)
{
    return piommu_walker_regime_from_vtcr(&everything, vtcr, vttbr, &fixture.regime);
}

static struct piommu_walker_regime make_large_regime(unsigned int stage, unsigned int granule_shift,
                                                     unsigned int input_bits, int start_level,
                                                     uint64_t root)
{
    struct piommu_walker_regime regime =
        make_regime(stage, granule_shift, input_bits, start_level, root);

    regime.output_bits = 52;
    regime.uses_lpa2 = true;
    regime.walk_shareability = 3;
    return regime;
}

/* A descriptor's address field: bits 51:50 go to 9:8. */
static uint64_t address_field(uint64_t address)
{
    return (address & (BIT(50) - 1)) | address >> 50 << 8;
}

#define HIGH_TABLES UINT64_C(0xd123400000000)

/* 52-bit input, 4K, one table per level and one page, entry n + 2 at level n. All is up high. */
static uint64_t build_five_levels(unsigned int stage, uint64_t output, uint64_t leaf)
{
    memset(fixture.regions, 0, sizeof(fixture.regions));
    fixture.forbidden_table = 0xbad0000;
    fixture.regime = make_large_regime(stage, 12, 52, -1, HIGH_TABLES);
    put(HIGH_TABLES + 8 * 1, address_field(HIGH_TABLES + 0x1000) | TABLE);
    put(HIGH_TABLES + 0x1000 + 8 * 2, address_field(HIGH_TABLES + 0x2000) | TABLE);
    put(HIGH_TABLES + 0x2000 + 8 * 3, address_field(HIGH_TABLES + 0x3000) | TABLE);
    put(HIGH_TABLES + 0x3000 + 8 * 4, address_field(HIGH_TABLES + 0x4000) | TABLE);
    put(HIGH_TABLES + 0x4000 + 8 * 5, address_field(output) | leaf | PAGE);
    return BIT(48) | UINT64_C(2) << 39 | UINT64_C(3) << 30 | UINT64_C(4) << 21 | UINT64_C(5) << 12;
}

#define LAST_LEVEL_ENTRY (HIGH_TABLES + 0x4000 + 8 * 5)

/*
 * Regimes from registers.
 */

static void test_walker_takes_ds_only_where_hardware_has_it(void **state)
{
    struct piommu_walker_hardware old = everything;

    (void)state;
    old.has_lpa2 = false;
    assert_int_equal(setup_tcr(tcr_of(52, GRANULE_4K), 0), PIOMMU_WALKER_SETUP_OK);
    assert_true(fixture.regime.uses_lpa2);
    assert_int_equal(fixture.regime.output_bits, 52);
    fixture.regime.hardware.has_lpa2 = false;
    assert_int_equal(piommu_walker_validate(&fixture.regime), PIOMMU_WALKER_SETUP_UNSUPPORTED);
    assert_int_equal(
        piommu_walker_regime_from_tcr(&old, tcr_of(48, GRANULE_4K), 0, 0, false, &fixture.regime),
        PIOMMU_WALKER_SETUP_RESERVED_BITS);
    assert_int_equal(setup_vtcr(vtcr_of(52, 4, GRANULE_4K), 0), PIOMMU_WALKER_SETUP_OK);
    assert_true(fixture.regime.uses_lpa2);
    assert_int_equal(
        piommu_walker_regime_from_vtcr(&old, vtcr_of(40, 1, GRANULE_4K), 0, &fixture.regime),
        PIOMMU_WALKER_SETUP_RESERVED_BITS);
    /* Without DS, the same sizes are out of the question. */
    assert_int_equal(setup_tcr(tcr_of(48, GRANULE_4K) & ~TCR_DS, 0),
                     PIOMMU_WALKER_SETUP_OUTPUT_SIZE);
    assert_int_equal(setup_tcr((tcr_of(52, GRANULE_4K) & ~(TCR_DS | BIT(33))), 0),
                     PIOMMU_WALKER_SETUP_INPUT_SIZE);
    fixture.regime = make_large_regime(1, 12, 48, 0, 0);
    fixture.regime.format = PIOMMU_WALKER_FORMAT_AARCH32;
    assert_int_equal(piommu_walker_validate(&fixture.regime), PIOMMU_WALKER_SETUP_UNSUPPORTED);
}

static void test_walker_takes_ds_with_64k_only_for_the_sake_of_the_other_half(void **state)
{
    const uint64_t upper_4k = UINT64_C(2) << 30 | 16 << 16;
    const uint64_t upper_64k = UINT64_C(3) << 30 | 16 << 16;

    (void)state;
    assert_int_equal(setup_tcr(tcr_of(48, GRANULE_64K), 0), PIOMMU_WALKER_SETUP_RESERVED_BITS);
    assert_int_equal(setup_tcr(tcr_of(48, GRANULE_64K) | upper_64k, 0),
                     PIOMMU_WALKER_SETUP_RESERVED_BITS);
    assert_int_equal(setup_tcr(tcr_of(48, GRANULE_64K) | upper_4k | BIT(23), 0),
                     PIOMMU_WALKER_SETUP_RESERVED_BITS);
    assert_int_equal(setup_tcr(tcr_of(48, GRANULE_64K) | upper_4k, 0), PIOMMU_WALKER_SETUP_OK);
    assert_false(fixture.regime.uses_lpa2);
    assert_int_equal(piommu_walker_regime_from_tcr(&everything, tcr_of(48, GRANULE_4K) | upper_64k,
                                                   0, 0, true, &fixture.regime),
                     PIOMMU_WALKER_SETUP_OK);
    assert_false(fixture.regime.uses_lpa2);
    assert_int_equal(setup_vtcr(vtcr_of(42, 1, GRANULE_64K), 0), PIOMMU_WALKER_SETUP_RESERVED_BITS);
    fixture.regime = make_large_regime(1, 16, 48, 1, 0);
    assert_int_equal(piommu_walker_validate(&fixture.regime), PIOMMU_WALKER_SETUP_GRANULE);
}

static void test_walker_derives_the_start_level_of_stage1_with_ds(void **state)
{
    static const struct {
        unsigned int granule; /* TG0 */
        int level;
        unsigned int first, last;
    } cases[] = {
        {GRANULE_4K, 3, 16, 21},  {GRANULE_4K, 2, 22, 30},  {GRANULE_4K, 1, 31, 39},
        {GRANULE_4K, 0, 40, 48},  {GRANULE_4K, -1, 49, 52}, {GRANULE_16K, 3, 16, 25},
        {GRANULE_16K, 2, 26, 36}, {GRANULE_16K, 1, 37, 47}, {GRANULE_16K, 0, 48, 52},
    };
    struct piommu_walker_hardware large_tables = everything;
    unsigned int accepted = 0, accepted_large = 0;

    (void)state;
    large_tables.has_small_tables = false;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (unsigned int bits = cases[i].first; bits <= cases[i].last; bits++) {
            assert_int_equal(setup_tcr(tcr_of(bits, cases[i].granule), 0), PIOMMU_WALKER_SETUP_OK);
            assert_int_equal(fixture.regime.start_level, cases[i].level);
        }
    }
    for (unsigned int i = 0; i < 128; i++) {
        uint64_t tcr = tcr_of(1 + i % 64, i / 64 ? GRANULE_16K : GRANULE_4K);

        accepted += setup_tcr(tcr, 0) == PIOMMU_WALKER_SETUP_OK;
        accepted_large += piommu_walker_regime_from_tcr(&large_tables, tcr, 0, 0, false,
                                                        &fixture.regime) == PIOMMU_WALKER_SETUP_OK;
    }
    assert_int_equal(accepted, 2 * (52 - 16 + 1));
    assert_int_equal(accepted_large, 2 * (52 - 25 + 1));
}

static void test_walker_knows_the_root_size_of_stage1_with_ds(void **state)
{
    static const struct {
        unsigned int granule, bits, bytes;
    } cases[] = {
        {GRANULE_4K, 48, 4096}, {GRANULE_4K, 49, 16},   {GRANULE_4K, 50, 32},
        {GRANULE_4K, 51, 64},   {GRANULE_4K, 52, 128},  {GRANULE_16K, 47, 16384},
        {GRANULE_16K, 48, 16},  {GRANULE_16K, 51, 128}, {GRANULE_16K, 52, 256},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(setup_tcr(tcr_of(cases[i].bits, cases[i].granule), 0),
                         PIOMMU_WALKER_SETUP_OK);
        assert_true(piommu_walker_root_size(&fixture.regime) == cases[i].bytes);
    }
}

/* All of T0SZ, SL0 and SL2, against the list of what hardware was seen to accept. */
static void test_walker_accepts_exactly_the_legal_start_levels_of_stage2_with_ds(void **state)
{
    /* SL2 and SL0 as a number, level, input bits from and to, least physical bits. */
    static const struct {
        unsigned int granule, start;
        int level;
        unsigned int first, last, physical_bits;
    } cases[] = {
        {GRANULE_4K, 0, 2, 22, 34, 32},  {GRANULE_4K, 1, 1, 31, 43, 32},
        {GRANULE_4K, 2, 0, 40, 52, 44},  {GRANULE_4K, 3, 3, 16, 25, 32},
        {GRANULE_4K, 4, -1, 49, 52, 52}, {GRANULE_4K, 5, 0, 99, 99, 0},
        {GRANULE_4K, 6, 0, 99, 99, 0},   {GRANULE_4K, 7, 0, 99, 99, 0},
        {GRANULE_16K, 0, 3, 16, 29, 32}, {GRANULE_16K, 1, 2, 26, 40, 32},
        {GRANULE_16K, 2, 1, 37, 51, 42}, {GRANULE_16K, 3, 0, 48, 52, 32},
        {GRANULE_16K, 4, 0, 99, 99, 0},  {GRANULE_16K, 5, 0, 99, 99, 0},
        {GRANULE_16K, 6, 0, 99, 99, 0},  {GRANULE_16K, 7, 0, 99, 99, 0},
    };
    static const unsigned int sizes[] = {32, 36, 40, 42, 44, 48, 52};

    (void)state;
    for (size_t i = 0; i < 16 * 7 * 2 * 64; i++) {
        size_t c = i / (7 * 2 * 64);
        struct piommu_walker_hardware hardware = everything;
        unsigned int bits = 1 + (unsigned int)i % 64;
        bool is_legal, is_accepted;

        hardware.physical_bits = sizes[i / 128 % 7];
        hardware.has_small_tables = i / 64 % 2;
        is_legal = bits >= cases[c].first && bits <= cases[c].last &&
                   bits <= hardware.physical_bits &&
                   hardware.physical_bits >= cases[c].physical_bits;
        if (!hardware.has_small_tables && (bits < 25 || cases[c].level == 3)) {
            is_legal = is_legal && bits >= 25 && cases[c].granule != GRANULE_4K;
        }
        is_accepted = piommu_walker_regime_from_vtcr(
                          &hardware, vtcr_of(bits, cases[c].start, cases[c].granule), 0,
                          &fixture.regime) == PIOMMU_WALKER_SETUP_OK;
        if (is_legal != is_accepted) {
            fail_msg("TG0 %u SL %u, %u input bits, %u physical bits: legal %d, accepted %d",
                     cases[c].granule, cases[c].start, bits, hardware.physical_bits, is_legal,
                     is_accepted);
        }
        if (is_accepted) {
            assert_int_equal(fixture.regime.start_level, cases[c].level);
        }
    }
}

static void test_walker_decodes_the_root_register_with_ds(void **state)
{
    (void)state;
    assert_int_equal(setup_tcr(tcr_of(52, GRANULE_4K), 0x10080 | 0xd << 2), PIOMMU_WALKER_SETUP_OK);
    assert_true(fixture.regime.root == (UINT64_C(0xd) << 48 | 0x10080));
    assert_int_equal(setup_tcr(tcr_of(52, GRANULE_4K), 0x10040),
                     PIOMMU_WALKER_SETUP_ROOT_ALIGNMENT);
    /* With fewer output bits, too, no root may sit where the register may hold address bits. */
    assert_int_equal(setup_tcr((tcr_of(49, GRANULE_4K) & ~BIT(33)) | BIT(32), 0x10040),
                     PIOMMU_WALKER_SETUP_OK);
    assert_int_equal(fixture.regime.output_bits, 48);
    assert_true(fixture.regime.root == 0x10040);
    assert_int_equal(setup_tcr((tcr_of(49, GRANULE_4K) & ~BIT(33)) | BIT(32), 0x10010),
                     PIOMMU_WALKER_SETUP_ROOT_ALIGNMENT);
    assert_int_equal(setup_vtcr(vtcr_of(52, 2, GRANULE_4K), 0x20000 | 0xf << 2),
                     PIOMMU_WALKER_SETUP_OK);
    assert_true(fixture.regime.root == (UINT64_C(0xf) << 48 | 0x20000));
    assert_true(piommu_walker_root_size(&fixture.regime) == 0x10000);
    assert_int_equal(setup_vtcr(vtcr_of(52, 2, GRANULE_4K), 0x28000),
                     PIOMMU_WALKER_SETUP_ROOT_ALIGNMENT);
}

/*
 * Translation.
 */

static void test_walker_translates_a_page_through_five_levels(void **state)
{
    (void)state;
    for (unsigned int stage = 1; stage <= 2; stage++) {
        uint64_t input =
            build_five_levels(stage, UINT64_C(0xfabcdef012000), stage == 1 ? S1_LARGE : S2_LARGE);

        assert_output(input + 0x345, UINT64_C(0xfabcdef012345), 12);
        assert_int_equal(fixture.result.step_count, 5);
        for (int i = 0; i < 5; i++) {
            const struct piommu_walker_step *step = &fixture.result.steps[i];

            assert_int_equal(step->level, i - 1);
            assert_true(step->location ==
                        HIGH_TABLES + 0x1000 * (uint64_t)i + 8 * (uint64_t)(i + 1));
            assert_int_equal(step->is_table, i < 4);
        }
        assert_true(fixture.result.steps[0].next_table == HIGH_TABLES + 0x1000);
    }
}

/* Descriptors next to the address that they mean. */
static void test_walker_joins_52_bit_addresses_with_4k_and_16k(void **state)
{
    static const struct {
        unsigned int granule_shift, input_bits;
        int level;
        uint64_t field, output;
        unsigned int leaf_shift;
    } cases[] = {
        {12, 21, 3, UINT64_C(0x3abcdef012000) | 3 << 8, UINT64_C(0xfabcdef012000), 12},
        {12, 48, 0, UINT64_C(0x3008000000000) | 1 << 8, UINT64_C(0x7008000000000), 39},
        {14, 47, 1, UINT64_C(0x3001000000000) | 2 << 8, UINT64_C(0xb001000000000), 36},
        {12, 30, 2, UINT64_C(0x3ffffffe00000) | 3 << 8, UINT64_C(0xfffffffe00000), 21},
        {12, 39, 1, UINT64_C(0x0000040000000) | 2 << 8, UINT64_C(0x8000040000000), 30},
        {14, 25, 3, UINT64_C(0x3fffffffc000) | 1 << 8, UINT64_C(0x43fffffffc000), 14},
        {14, 36, 2, UINT64_C(0x2000002000000) | 1 << 8, UINT64_C(0x6000002000000), 25},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t last = BIT(cases[i].leaf_shift) - 1;
        uint64_t type = cases[i].level == 3 ? PAGE : BLOCK;

        for (unsigned int stage = 1; stage <= 2; stage++) {
            memset(fixture.regions, 0, sizeof(fixture.regions));
            fixture.regime = make_large_regime(stage, cases[i].granule_shift, cases[i].input_bits,
                                               cases[i].level, 0x10000);
            put(0x10000, cases[i].field | (stage == 1 ? S1_LARGE : S2_LARGE) | type);
            assert_output(0, cases[i].output, cases[i].leaf_shift);
            assert_output(last, cases[i].output | last, cases[i].leaf_shift);
            assert_int_equal(fixture.result.level, cases[i].level);
        }
    }
}

static void test_walker_follows_tables_above_48_bits_with_16k(void **state)
{
    const uint64_t table = UINT64_C(0xa345600004000);

    (void)state;
    fixture.regime = make_large_regime(1, 14, 52, 0, 0x10000);
    put(0x10000 + 8 * 31, address_field(table) | TABLE);
    put(table + 8 * 2047, address_field(UINT64_C(0xf000000000)) | S1_LARGE | BLOCK);
    assert_output(BIT(52) - 1, UINT64_C(0xffffffffff), 36);
    assert_int_equal(fixture.result.step_count, 2);
    assert_true(fixture.result.steps[0].location == 0x10000 + 8 * 31);
    /* Bits below the granule are no address. */
    put(0x10000 + 8 * 31, get(0x10000 + 8 * 31) | UINT64_C(3) << 12);
    assert_output(BIT(52) - 1, UINT64_C(0xffffffffff), 36);
}

static void test_walker_reports_faults_of_level_minus_1(void **state)
{
    uint64_t input;

    (void)state;
    input = build_five_levels(1, 0x5000, S1_LARGE);
    assert_fault(0, PIOMMU_WALKER_FAULT_TRANSLATION, -1);
    assert_int_equal(piommu_walker_fault_status(fixture.result.fault, fixture.result.level), 0x2b);
    /* A block cannot be there. */
    put(HIGH_TABLES, S1_LARGE | BLOCK);
    assert_fault(0, PIOMMU_WALKER_FAULT_TRANSLATION, -1);
    fixture.regime.output_bits = 48;
    fixture.regime.root = 0x10000;
    put(0x10008, address_field(BIT(51)) | TABLE);
    assert_fault(input, PIOMMU_WALKER_FAULT_ADDRESS_SIZE, -1);
    assert_int_equal(piommu_walker_fault_status(fixture.result.fault, fixture.result.level), 0x29);
    fixture.regime.root = 0xbad0000;
    assert_fault(input, PIOMMU_WALKER_FAULT_WALK_ABORT, -1);
    assert_int_equal(piommu_walker_fault_status(fixture.result.fault, fixture.result.level), 0x13);
    /* What happens before the first read is a matter of level 0. */
    fixture.regime.root = BIT(48);
    assert_fault(input, PIOMMU_WALKER_FAULT_ADDRESS_SIZE, 0);
    assert_fault(BIT(52), PIOMMU_WALKER_FAULT_TRANSLATION, 0);
    assert_int_equal(fixture.result.step_count, 0);
    assert_int_equal(piommu_walker_fault_status(PIOMMU_WALKER_FAULT_NONE, -1), 0);
}

static void test_walker_knows_where_ds_allows_blocks(void **state)
{
    static const struct {
        unsigned int granule_shift, input_bits;
        int level;
        bool with_ds, without_ds;
    } cases[] = {
        {12, 48, 0, true, false},  {12, 39, 1, true, true},  {12, 30, 2, true, true},
        {14, 48, 0, false, false}, {14, 47, 1, true, false}, {14, 36, 2, true, true},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        fixture.forbidden_table = UINT64_MAX;
        fixture.regime = make_large_regime(1, cases[i].granule_shift, cases[i].input_bits,
                                           cases[i].level, 0x10000);
        put(0x10000, S1_LARGE | BLOCK);
        assert_fault(0,
                     cases[i].with_ds ? PIOMMU_WALKER_FAULT_NONE : PIOMMU_WALKER_FAULT_TRANSLATION,
                     cases[i].level);
        assert_int_equal(check(), !cases[i].with_ds);
        fixture.regime.uses_lpa2 = false;
        fixture.regime.output_bits = 48;
        assert_fault(
            0, cases[i].without_ds ? PIOMMU_WALKER_FAULT_NONE : PIOMMU_WALKER_FAULT_TRANSLATION,
            cases[i].level);
        assert_int_equal(check(), !cases[i].without_ds);
    }
}

static void test_walker_reports_addresses_beyond_a_smaller_output_size_with_ds(void **state)
{
    static const unsigned int sizes[] = {40, 44, 48};

    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        for (unsigned int bit = sizes[i] - 1; bit < 52; bit++) {
            bool is_too_high = bit >= sizes[i];

            memset(fixture.regions, 0, sizeof(fixture.regions));
            fixture.forbidden_table = UINT64_MAX;
            fixture.regime = make_large_regime(1, 12, 30, 2, 0x10000);
            fixture.regime.output_bits = sizes[i];
            put(0x10000, address_field(BIT(bit)) | S1_LARGE | BLOCK);
            put(0x10008, 0x20000 | TABLE);
            put(0x20000, address_field(BIT(bit)) | S1_LARGE | PAGE);
            put(0x10010, address_field(BIT(bit)) | TABLE);
            assert_fault(
                0, is_too_high ? PIOMMU_WALKER_FAULT_ADDRESS_SIZE : PIOMMU_WALKER_FAULT_NONE, 2);
            assert_fault(BIT(21),
                         is_too_high ? PIOMMU_WALKER_FAULT_ADDRESS_SIZE : PIOMMU_WALKER_FAULT_NONE,
                         3);
            assert_fault(BIT(22),
                         is_too_high ? PIOMMU_WALKER_FAULT_ADDRESS_SIZE
                                     : PIOMMU_WALKER_FAULT_WALK_ABORT,
                         is_too_high ? 2 : 3);
            if (is_too_high) {
                assert_int_equal(check(), 3);
                assert_int_equal(fixture.problems[PIOMMU_WALKER_PROBLEM_ADDRESS_SIZE], 3);
            }
        }
    }
}

static void test_walker_indexes_concatenated_roots_with_ds(void **state)
{
    static const struct {
        unsigned int granule_shift, input_bits;
        int start_level;
        unsigned int entries;
    } cases[] = {
        {12, 52, 0, 16 * 512},  {12, 50, 0, 4 * 512},  {12, 52, -1, 16}, {12, 49, -1, 2},
        {14, 51, 1, 16 * 2048}, {14, 49, 1, 4 * 2048}, {14, 52, 0, 32},  {14, 48, 0, 2},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t last = 8 * (uint64_t)(cases[i].entries - 1);

        memset(fixture.regions, 0, sizeof(fixture.regions));
        fixture.regime = make_large_regime(2, cases[i].granule_shift, cases[i].input_bits,
                                           cases[i].start_level, BIT(24));
        assert_int_equal(piommu_walker_validate(&fixture.regime), PIOMMU_WALKER_SETUP_OK);
        assert_true(piommu_walker_root_size(&fixture.regime) == last + 8);
        put(BIT(24) + last, address_field(UINT64_C(0xdead000000000)) | TABLE);
        translate(BIT(cases[i].input_bits) - 1, reading);
        assert_int_equal(fixture.result.fault, PIOMMU_WALKER_FAULT_WALK_ABORT);
        assert_true(fixture.result.steps[0].location == BIT(24) + last);
        assert_true(fixture.result.steps[1].location ==
                    UINT64_C(0xdead000000000) + BIT(cases[i].granule_shift) - 8);
        fixture.regime.root += last + 8 > 64 ? (last + 8) / 2 : 32;
        assert_int_equal(piommu_walker_validate(&fixture.regime),
                         PIOMMU_WALKER_SETUP_ROOT_ALIGNMENT);
    }
}

static void test_walker_translates_the_upper_half_of_52_bits(void **state)
{
    (void)state;
    fixture.regime = make_large_regime(1, 12, 52, -1, 0x10000);
    fixture.regime.is_upper_half = true;
    put(0x10000 + 8 * 15, address_field(BIT(51) | 0x20000) | TABLE);
    put((BIT(51) | 0x20000) + 8 * 511, address_field(BIT(50)) | S1_LARGE | BLOCK);
    assert_output(UINT64_MAX, BIT(50) | (BIT(39) - 1), 39);
    assert_fault(~(BIT(52) - 1), PIOMMU_WALKER_FAULT_TRANSLATION, -1);
    assert_fault(~(BIT(52) - 1) - 1, PIOMMU_WALKER_FAULT_TRANSLATION, 0);
    assert_fault(BIT(52) - 1, PIOMMU_WALKER_FAULT_TRANSLATION, 0);
}

/*
 * Attributes.
 */

static void test_walker_takes_the_shareability_from_the_regime_with_ds(void **state)
{
    (void)state;
    for (unsigned int high = 0; high < 4; high++) {
        for (unsigned int stage = 1; stage <= 2; stage++) {
            uint64_t input =
                build_five_levels(stage, (uint64_t)high << 50, stage == 1 ? S1_LARGE : S2_LARGE);

            for (unsigned int shareability = 0; shareability < 4; shareability++) {
                fixture.regime.walk_shareability = shareability;
                assert_output(input, (uint64_t)high << 50, 12);
                assert_int_equal(fixture.result.attributes.shareability, shareability);
                /* Also where 9:8 look like the reserved shareability. */
                assert_int_equal(check(), 0);
            }
        }
    }
    assert_int_equal(setup_tcr((tcr_of(48, GRANULE_4K) & ~BIT(12)) | UINT64_C(3) << 28, 0),
                     PIOMMU_WALKER_SETUP_OK);
    assert_int_equal(fixture.regime.walk_shareability, 2);
    assert_int_equal(piommu_walker_regime_from_tcr(&everything,
                                                   (tcr_of(48, GRANULE_4K) & ~BIT(12)) |
                                                       UINT64_C(3) << 28 | UINT64_C(2) << 30 |
                                                       16 << 16,
                                                   0, 0, true, &fixture.regime),
                     PIOMMU_WALKER_SETUP_OK);
    assert_true(fixture.regime.uses_lpa2);
    assert_int_equal(fixture.regime.walk_shareability, 3);
}

static void test_walker_updates_descriptors_with_ds(void **state)
{
    const uint64_t output = UINT64_C(0xfabcdef012000);
    uint64_t input;

    (void)state;
    fixture.memory.compare_exchange64 = compare_exchange64;
    input = build_five_levels(1, output, (S1_LARGE & ~AF) | AP_RO | DBM);
    fixture.regime.access_flag_updates = fixture.regime.dirty_updates = true;
    assert_int_equal(translate(input, writing), PIOMMU_WALKER_FAULT_NONE);
    assert_true(fixture.result.output == output);
    assert_true(get(LAST_LEVEL_ENTRY) == (address_field(output) | S1_LARGE | DBM | PAGE));
    input = build_five_levels(2, output, (S2_LARGE & ~S2_W) | DBM);
    fixture.regime.access_flag_updates = fixture.regime.dirty_updates = true;
    assert_int_equal(translate(input, writing), PIOMMU_WALKER_FAULT_NONE);
    assert_true(get(LAST_LEVEL_ENTRY) == (address_field(output) | S2_LARGE | DBM | PAGE));
}

/*
 * The checker.
 */

static void test_checker_finds_nothing_in_a_good_tree_with_ds(void **state)
{
    (void)state;
    for (unsigned int stage = 1; stage <= 2; stage++) {
        build_five_levels(stage, UINT64_C(0xfabcdef012000), stage == 1 ? S1_LARGE : S2_LARGE);
        assert_int_equal(check(), 0);
        /* What hardware ignores in table descriptors; 9:8 are not among that here. */
        put(HIGH_TABLES + 8, get(HIGH_TABLES + 8) | UINT64_C(0xff) << 51 | 0xcfc);
        put(LAST_LEVEL_ENTRY, get(LAST_LEVEL_ENTRY) | UINT64_C(0xf) << 55);
        put(LAST_LEVEL_ENTRY + 8, ~UINT64_C(1));
        assert_int_equal(check(), 0);
    }
}

static void test_checker_finds_reserved_bits_with_ds(void **state)
{
    (void)state;
    for (unsigned int stage = 1; stage <= 2; stage++) {
        uint64_t leaf = stage == 1 ? S1_LARGE : S2_LARGE;

        for (unsigned int bit = 59; bit <= 64; bit++) {
            uint64_t bad = bit == 64 ? BIT(50) : BIT(bit);

            build_five_levels(stage, 0x5000, leaf | bad);
            assert_problem(PIOMMU_WALKER_PROBLEM_RESERVED_BITS);
            build_five_levels(stage, 0x5000, leaf);
            put(HIGH_TABLES + 8, get(HIGH_TABLES + 8) | bad);
            assert_problem(stage == 1 && bit < 64 ? PIOMMU_WALKER_PROBLEM_TABLE_ATTRIBUTES
                                                  : PIOMMU_WALKER_PROBLEM_RESERVED_BITS);
        }
    }
    /* Address bits below those of the block. */
    build_five_levels(1, 0x5000, S1_LARGE);
    put(HIGH_TABLES + 0x1000, BIT(39) | BIT(38) | S1_LARGE | BLOCK);
    assert_problem(PIOMMU_WALKER_PROBLEM_RESERVED_BITS);
    put(HIGH_TABLES + 0x1000, BIT(39) | S1_LARGE | BLOCK);
    assert_int_equal(check(), 0);
    put(HIGH_TABLES, BIT(39) | S1_LARGE | BLOCK);
    assert_problem(PIOMMU_WALKER_PROBLEM_BLOCK_LEVEL);
    assert_int_equal(fixture.last_problem.level, -1);
}

static void test_checker_accepts_contiguous_groups_above_48_bits(void **state)
{
    static const struct {
        unsigned int granule_shift, input_bits;
        int level;
        unsigned int members, shift;
    } cases[] = {
        {12, 21, 3, 16, 12},  {12, 30, 2, 16, 21}, {12, 39, 1, 16, 30},
        {14, 25, 3, 128, 14}, {14, 36, 2, 32, 25},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t leaf = S1_LARGE | CONTIGUOUS | (cases[i].level == 3 ? PAGE : BLOCK);
        uint64_t output = BIT(51) | BIT(49) | (uint64_t)cases[i].members << cases[i].shift;
        uint64_t member = 0x10000 + 8 * (uint64_t)(cases[i].members - 1);

        memset(fixture.regions, 0, sizeof(fixture.regions));
        fixture.forbidden_table = UINT64_MAX;
        fixture.regime = make_large_regime(1, cases[i].granule_shift, cases[i].input_bits,
                                           cases[i].level, 0x10000);
        for (unsigned int j = 0; j < cases[i].members; j++) {
            put(0x10000 + 8 * (uint64_t)j,
                address_field(output + ((uint64_t)j << cases[i].shift)) | leaf);
        }
        assert_int_equal(check(), 0);
        /* What is wrong is the address, not the shareability. */
        put(member, get(member) ^ BIT(8));
        assert_problem(PIOMMU_WALKER_PROBLEM_CONTIGUOUS_ADDRESS);
        put(member, get(member) ^ BIT(8) ^ BIT(48));
        assert_problem(PIOMMU_WALKER_PROBLEM_CONTIGUOUS_ADDRESS);
        put(member, get(member) ^ BIT(48) ^ AP_RO);
        assert_problem(PIOMMU_WALKER_PROBLEM_CONTIGUOUS_ATTRIBUTES);
    }
}

static void test_checker_lets_hardware_update_single_members_above_48_bits(void **state)
{
    static const uint64_t clean[2] = {(S1_LARGE & ~AF) | AP_RO | DBM,
                                      (S2_LARGE & ~(AF | S2_W)) | DBM};
    const uint64_t output = BIT(51) | BIT(50) | BIT(16);

    (void)state;
    for (unsigned int stage = 1; stage <= 2; stage++) {
        memset(fixture.regions, 0, sizeof(fixture.regions));
        fixture.forbidden_table = UINT64_MAX;
        fixture.regime = make_large_regime(stage, 12, 21, 3, 0x10000);
        fixture.regime.access_flag_updates = fixture.regime.dirty_updates = true;
        fixture.memory.compare_exchange64 = compare_exchange64;
        for (unsigned int i = 0; i < 16; i++) {
            put(0x10000 + 8 * (uint64_t)i, address_field(output + 0x1000 * (uint64_t)i) |
                                               clean[stage - 1] | CONTIGUOUS | PAGE);
        }
        assert_int_equal(check(), 0);
        assert_int_equal(translate(0x3000, writing), PIOMMU_WALKER_FAULT_NONE);
        assert_true(fixture.result.attributes.dirty && fixture.result.attributes.contiguous);
        assert_true(get(0x10018) == (address_field(output + 0x3000) |
                                     (stage == 1 ? S1_LARGE : S2_LARGE) | DBM | CONTIGUOUS | PAGE));
        assert_int_equal(check(), 0);
        put(0x10018, get(0x10018) & ~DBM);
        assert_problem(PIOMMU_WALKER_PROBLEM_CONTIGUOUS_ATTRIBUTES);
    }
}

static void test_checker_knows_that_the_new_blocks_have_no_groups(void **state)
{
    (void)state;
    fixture.forbidden_table = UINT64_MAX;
    fixture.regime = make_large_regime(1, 12, 48, 0, 0x10000);
    put(0x10000, S1_LARGE | BLOCK | CONTIGUOUS);
    assert_problem(PIOMMU_WALKER_PROBLEM_CONTIGUOUS_LEVEL);
    fixture.regime = make_large_regime(1, 14, 47, 1, 0x20000);
    put(0x20000, S1_LARGE | BLOCK | CONTIGUOUS);
    assert_problem(PIOMMU_WALKER_PROBLEM_CONTIGUOUS_LEVEL);
}

/*
 * The stale TLB.
 */

static void test_stale_tlb_works_with_five_levels(void **state)
{
    const uint64_t output = UINT64_C(0xfabcdef012000);
    uint64_t input;

    (void)state;
    input = build_five_levels(2, output, S2_LARGE);
    stale_tlb_fill(fixture.tlb, &fixture.regime, &fixture.memory);
    assert_int_equal(stale_tlb_leaf_count(fixture.tlb), 1);
    assert_int_equal(stale_tlb_table_count(fixture.tlb), 4);
    assert_true(stale_tlb_table_reaches(fixture.tlb, HIGH_TABLES + 0x4ff8, 8));
    put(LAST_LEVEL_ENTRY, 0);
    put(HIGH_TABLES + 8, 0);
    assert_tlb_output(input + 5, output + 5);
    stale_tlb_invalidate(fixture.tlb, input, input, true);
    assert_int_equal(tlb_translate(input, reading), PIOMMU_WALKER_FAULT_TRANSLATION);
    assert_int_equal(fixture.result.level, 3);
    stale_tlb_invalidate(fixture.tlb, input, input, false);
    assert_int_equal(tlb_translate(input, reading), PIOMMU_WALKER_FAULT_TRANSLATION);
    assert_int_equal(fixture.result.level, -1);
}

static void test_stale_tlb_keeps_the_largest_blocks(void **state)
{
    (void)state;
    fixture.regime = make_large_regime(2, 12, 52, 0, 0x10000);
    put(0x10008, address_field(BIT(51)) | S2_LARGE | BLOCK);
    assert_tlb_output(BIT(39), BIT(51));
    put(0x10008, 0);
    assert_tlb_output(BIT(40) - 1, BIT(51) + BIT(39) - 1);
    assert_true(stale_tlb_leaf_reaches(fixture.tlb, BIT(51) + BIT(39) - 1, UINT64_MAX));
    stale_tlb_invalidate(fixture.tlb, BIT(40) - 1, BIT(40) - 1, true);
    assert_int_equal(tlb_translate(BIT(39), reading), PIOMMU_WALKER_FAULT_TRANSLATION);
    /* Another shareability is another register, not a descriptor that changed. */
    assert_int_equal(stale_tlb_conflicts(fixture.tlb), 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        MODEL_TEST(test_walker_takes_ds_only_where_hardware_has_it),
        MODEL_TEST(test_walker_takes_ds_with_64k_only_for_the_sake_of_the_other_half),
        MODEL_TEST(test_walker_derives_the_start_level_of_stage1_with_ds),
        MODEL_TEST(test_walker_knows_the_root_size_of_stage1_with_ds),
        MODEL_TEST(test_walker_accepts_exactly_the_legal_start_levels_of_stage2_with_ds),
        MODEL_TEST(test_walker_decodes_the_root_register_with_ds),
        MODEL_TEST(test_walker_translates_a_page_through_five_levels),
        MODEL_TEST(test_walker_joins_52_bit_addresses_with_4k_and_16k),
        MODEL_TEST(test_walker_follows_tables_above_48_bits_with_16k),
        MODEL_TEST(test_walker_reports_faults_of_level_minus_1),
        MODEL_TEST(test_walker_knows_where_ds_allows_blocks),
        MODEL_TEST(test_walker_reports_addresses_beyond_a_smaller_output_size_with_ds),
        MODEL_TEST(test_walker_indexes_concatenated_roots_with_ds),
        MODEL_TEST(test_walker_translates_the_upper_half_of_52_bits),
        MODEL_TEST(test_walker_takes_the_shareability_from_the_regime_with_ds),
        MODEL_TEST(test_walker_updates_descriptors_with_ds),
        MODEL_TEST(test_checker_finds_nothing_in_a_good_tree_with_ds),
        MODEL_TEST(test_checker_finds_reserved_bits_with_ds),
        MODEL_TEST(test_checker_accepts_contiguous_groups_above_48_bits),
        MODEL_TEST(test_checker_lets_hardware_update_single_members_above_48_bits),
        MODEL_TEST(test_checker_knows_that_the_new_blocks_have_no_groups),
        MODEL_TEST(test_stale_tlb_works_with_five_levels),
        MODEL_TEST(test_stale_tlb_keeps_the_largest_blocks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
