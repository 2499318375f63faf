/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Tests of the test model itself: the page-table walker, the checker and the stale TLB, with tables
 * written by hand and numbers from the Arm ARM, VMSAv8-64.
 */
#include "test_lpae_walker_fixture.h"

/*
 * Translation.
 */

static void test_walker_translates_a_page_through_four_levels(void **state)
{
    (void)state;
    build_four_levels(1, UINT64_C(0x123456789000) | S1_LEAF);
    assert_output(FOUR_LEVEL_INPUT + 0xabc, UINT64_C(0x123456789abc), 12);
    assert_int_equal(fixture.result.level, 3);
    assert_int_equal(fixture.result.step_count, 4);
    assert_true(fixture.result.steps[0].location == 0x10008);
    assert_true(fixture.result.steps[1].location == 0x20010);
    assert_true(fixture.result.steps[2].location == 0x30018);
    assert_true(fixture.result.steps[3].location == 0x40020);
    assert_true(fixture.result.steps[2].is_table && fixture.result.steps[2].next_table == 0x40000);
    assert_false(fixture.result.steps[3].is_table);
    assert_int_equal(fixture.reads, 4);
}

static void test_walker_decodes_stage1_attributes(void **state)
{
    const struct piommu_walker_attributes *attributes = &fixture.result.attributes;

    (void)state;
    build_four_levels(1, 0x5000 | S1_LEAF | CONTIGUOUS | BIT(5) | UINT64_C(0xa) << 55);
    assert_output(FOUR_LEVEL_INPUT, 0x5000, 12);
    assert_int_equal(attributes->memory_index, 1);
    assert_int_equal(attributes->memory_type, 0xff);
    assert_int_equal(attributes->shareability, 3);
    assert_int_equal(attributes->software_bits, 0xa);
    assert_true(attributes->access_flag && attributes->not_global && attributes->non_secure);
    assert_true(attributes->contiguous);
    put(0x40020, 0x5000 | AF | AP_USER | PAGE | 3 << 2);
    assert_output(FOUR_LEVEL_INPUT, 0x5000, 12);
    assert_int_equal(attributes->memory_type, 0xf4);
    assert_false(attributes->not_global || attributes->non_secure || attributes->contiguous);
}

static void test_walker_reports_translation_fault_at_the_level_of_the_hole(void **state)
{
    (void)state;
    build_four_levels(2, 0x5000 | S2_LEAF);
    /* All but bit 0 of an invalid descriptor is free for software. */
    put(0x40000 + 8 * 5, ~UINT64_C(1));
    assert_fault(0, PIOMMU_WALKER_FAULT_TRANSLATION, 0);
    assert_fault(BIT(39), PIOMMU_WALKER_FAULT_TRANSLATION, 1);
    assert_fault(BIT(39) | UINT64_C(2) << 30, PIOMMU_WALKER_FAULT_TRANSLATION, 2);
    assert_fault(FOUR_LEVEL_INPUT + 0x1000, PIOMMU_WALKER_FAULT_TRANSLATION, 3);
    assert_fault(FOUR_LEVEL_INPUT, PIOMMU_WALKER_FAULT_NONE, 3);
}

static void test_walker_reports_input_out_of_range_at_level_0(void **state)
{
    (void)state;
    fixture.regime = make_regime(1, 12, 39, 1, 0x10000);
    put(0x10000, 0x40000000 | S1_LEAF | BLOCK);
    assert_fault(BIT(39), PIOMMU_WALKER_FAULT_TRANSLATION, 0);
    assert_fault(UINT64_MAX, PIOMMU_WALKER_FAULT_TRANSLATION, 0);
    assert_fault(BIT(39) - 1, PIOMMU_WALKER_FAULT_TRANSLATION, 1);
    fixture.regime.is_disabled = true;
    assert_fault(0, PIOMMU_WALKER_FAULT_TRANSLATION, 0);
    assert_int_equal(fixture.result.step_count, 0);
}

static void test_walker_reports_reserved_types_as_translation_faults(void **state)
{
    (void)state;
    build_four_levels(1, 0x5000 | S1_LEAF);
    put(0x40020, 0x5000 | S1_LEAF | BLOCK);
    assert_fault(FOUR_LEVEL_INPUT, PIOMMU_WALKER_FAULT_TRANSLATION, 3);
    put(0x10008, S1_LEAF | BLOCK);
    assert_fault(FOUR_LEVEL_INPUT, PIOMMU_WALKER_FAULT_TRANSLATION, 0);
    fixture.regime = make_regime(1, 14, 47, 1, 0x10000);
    put(0x10000, S1_LEAF | BLOCK);
    assert_fault(0, PIOMMU_WALKER_FAULT_TRANSLATION, 1);
    fixture.regime = make_regime(1, 16, 48, 1, 0x10000);
    assert_output(BIT(42) - 1, BIT(42) - 1, 42);
    fixture.regime.hardware.physical_bits = 48;
    assert_fault(0, PIOMMU_WALKER_FAULT_TRANSLATION, 1);
}

static void test_walker_reports_address_size_fault_at_the_level_of_the_descriptor(void **state)
{
    (void)state;
    build_four_levels(1, BIT(40) | S1_LEAF);
    fixture.regime.output_bits = 40;
    assert_fault(FOUR_LEVEL_INPUT, PIOMMU_WALKER_FAULT_ADDRESS_SIZE, 3);
    put(0x40020, (BIT(40) - 0x1000) | S1_LEAF | PAGE);
    assert_output(FOUR_LEVEL_INPUT, BIT(40) - 0x1000, 12);
    put(0x20010, BIT(40) | TABLE);
    assert_fault(FOUR_LEVEL_INPUT, PIOMMU_WALKER_FAULT_ADDRESS_SIZE, 1);
    fixture.regime.root = BIT(40);
    assert_fault(FOUR_LEVEL_INPUT, PIOMMU_WALKER_FAULT_ADDRESS_SIZE, 0);
}

static void test_walker_reports_walk_abort_at_the_level_of_the_table_read(void **state)
{
    (void)state;
    build_four_levels(1, 0x5000 | S1_LEAF);
    put(0x20010, 0xbad0000 | TABLE);
    assert_fault(FOUR_LEVEL_INPUT, PIOMMU_WALKER_FAULT_WALK_ABORT, 2);
    assert_true(fixture.result.steps[2].location == 0xbad0000 + 8 * 3);
    fixture.regime.root = 0xbad0000;
    assert_fault(FOUR_LEVEL_INPUT, PIOMMU_WALKER_FAULT_WALK_ABORT, 0);
}

static void test_walker_reports_access_flag_before_permission(void **state)
{
    (void)state;
    build_four_levels(2, (0x5000 | S2_LEAF) & ~(AF | S2_R));
    assert_fault(FOUR_LEVEL_INPUT, PIOMMU_WALKER_FAULT_ACCESS_FLAG, 3);
    put(0x40020, get(0x40020) | AF);
    assert_fault(FOUR_LEVEL_INPUT, PIOMMU_WALKER_FAULT_PERMISSION, 3);
    assert_true(fixture.result.output == 0x5000);
}

static void test_walker_follows_a_table_that_points_back_until_level_3(void **state)
{
    (void)state;
    fixture.regime = make_regime(1, 12, 48, 0, 0x10000);
    put(0x10000, 0x10000 | S1_LEAF | TABLE);
    assert_output(0x123, 0x10123, 12);
    assert_int_equal(fixture.result.step_count, 4);
}

static void test_walker_gives_fault_status_codes(void **state)
{
    (void)state;
    assert_int_equal(piommu_walker_fault_status(PIOMMU_WALKER_FAULT_NONE, 3), 0);
    assert_int_equal(piommu_walker_fault_status(PIOMMU_WALKER_FAULT_ADDRESS_SIZE, 1), 0x01);
    assert_int_equal(piommu_walker_fault_status(PIOMMU_WALKER_FAULT_TRANSLATION, 0), 0x04);
    assert_int_equal(piommu_walker_fault_status(PIOMMU_WALKER_FAULT_TRANSLATION, 3), 0x07);
    assert_int_equal(piommu_walker_fault_status(PIOMMU_WALKER_FAULT_ACCESS_FLAG, 3), 0x0b);
    assert_int_equal(piommu_walker_fault_status(PIOMMU_WALKER_FAULT_PERMISSION, 2), 0x0e);
    assert_int_equal(piommu_walker_fault_status(PIOMMU_WALKER_FAULT_WALK_ABORT, 2), 0x16);
}

static void test_walker_translates_blocks_of_every_size(void **state)
{
    static const struct {
        unsigned int granule_shift, input_bits;
        int level;
        unsigned int leaf_shift;
    } cases[] = {
        {12, 30, 2, 21}, {12, 39, 1, 30}, {14, 36, 2, 25}, {16, 42, 2, 29},
        {16, 48, 1, 42}, {12, 21, 3, 12}, {14, 25, 3, 14}, {16, 29, 3, 16},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t leaf = BIT(cases[i].leaf_shift);

        fixture.regime =
            make_regime(1, cases[i].granule_shift, cases[i].input_bits, cases[i].level, 0x10000);
        /* Input of entry 1, output of leaf number 5. */
        put(0x10008, (5 * leaf) | S1_LEAF | (cases[i].level == 3 ? PAGE : BLOCK));
        assert_output(2 * leaf - 1, 6 * leaf - 1, cases[i].leaf_shift);
        assert_fault(2 * leaf, PIOMMU_WALKER_FAULT_TRANSLATION, cases[i].level);
    }
}

static void test_walker_joins_52_bit_addresses_with_64k(void **state)
{
    (void)state;
    fixture.regime = make_regime(1, 16, 52, 1, 0x10000);
    fixture.regime.output_bits = 52;
    put(0x10000 + 8 * 1023, UINT64_C(0x600000000000) | 0x5000 | TABLE);
    put(UINT64_C(0x5600000000000) + 8 * 8191, 0x20000 | TABLE);
    put(0x20000 + 8 * 8191, UINT64_C(0x765432100000) | 0xf000 | S1_LEAF | PAGE);
    assert_output(BIT(52) - 1, UINT64_C(0xf76543210ffff), 16);

    fixture.regime = make_regime(1, 16, 29, 3, 0x70000);
    fixture.regime.output_bits = 52;
    put(0x70000, UINT64_C(0x765432100000) | 0xf000 | S1_LEAF | PAGE);
    assert_output(0, UINT64_C(0xf765432100000), 16);
    fixture.regime = make_regime(1, 16, 48, 1, 0x70000);
    fixture.regime.output_bits = 52;
    put(0x70000, UINT64_C(0x7c0000000000) | 0xf000 | S1_LEAF | BLOCK);
    assert_output(BIT(42) - 1, UINT64_C(0xf7fffffffffff), 42);

    fixture.regime = make_regime(2, 16, 42, 2, 0x80000);
    fixture.regime.output_bits = 52;
    put(0x80000, UINT64_C(0x765420000000) | 0xf000 | S2_LEAF | BLOCK);
    assert_output(0x1234567, UINT64_C(0xf765421234567), 29);
    /* With a smaller output size 52-bit hardware objects to these bits; other hardware does not. */
    fixture.regime.output_bits = 48;
    assert_fault(0x1234567, PIOMMU_WALKER_FAULT_ADDRESS_SIZE, 2);
    fixture.regime.hardware.physical_bits = 48;
    assert_output(0x1234567, UINT64_C(0x765421234567), 29);
}

static void test_walker_indexes_concatenated_roots(void **state)
{
    static const struct {
        unsigned int granule_shift, input_bits;
        int start_level;
        unsigned int entries;
    } cases[] = {
        {12, 40, 1, 2 * 512},   {12, 42, 1, 8 * 512},   {12, 43, 1, 16 * 512},
        {12, 32, 2, 4 * 512},   {12, 25, 3, 16 * 512},  {14, 40, 2, 16 * 2048},
        {14, 48, 1, 2 * 2048},  {14, 29, 3, 16 * 2048}, {16, 44, 2, 4 * 8192},
        {16, 46, 2, 16 * 8192}, {12, 32, 1, 4},         {12, 44, 0, 32},
        {12, 48, 0, 512},       {14, 42, 1, 64},        {16, 48, 1, 64},
        {16, 36, 2, 128},       {12, 36, 1, 64},        {14, 36, 2, 2048},
        {16, 42, 2, 8192},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t root = BIT(24);
        unsigned int shift;

        memset(fixture.regions, 0, sizeof(fixture.regions));
        fixture.regime =
            make_regime(2, cases[i].granule_shift, cases[i].input_bits, cases[i].start_level, root);
        assert_int_equal(piommu_walker_validate(&fixture.regime), PIOMMU_WALKER_SETUP_OK);
        assert_true(piommu_walker_root_size(&fixture.regime) == 8 * (uint64_t)cases[i].entries);
        shift = piommu_walker_level_shift(&fixture.regime, cases[i].start_level);
        assert_true(BIT(shift) * cases[i].entries == BIT(cases[i].input_bits));
        put(root + 8 * (uint64_t)(cases[i].entries - 1),
            cases[i].start_level == 3 ? S2_LEAF | PAGE : 0xdead0000 | TABLE);
        translate(BIT(cases[i].input_bits) - 1, reading);
        assert_int_equal(fixture.result.fault, cases[i].start_level == 3
                                                   ? PIOMMU_WALKER_FAULT_NONE
                                                   : PIOMMU_WALKER_FAULT_WALK_ABORT);
        fixture.regime.root += piommu_walker_root_size(&fixture.regime) / 2;
        assert_int_equal(piommu_walker_validate(&fixture.regime),
                         PIOMMU_WALKER_SETUP_ROOT_ALIGNMENT);
    }
}

static void test_walker_translates_the_upper_half(void **state)
{
    (void)state;
    fixture.regime = make_regime(1, 12, 39, 1, 0x10000);
    fixture.regime.is_upper_half = true;
    put(0x10000 + 8 * 511, 0x40000000 | S1_LEAF | BLOCK);
    assert_output(UINT64_MAX, 0x7fffffff, 30);
    assert_fault(~(BIT(39) - 1), PIOMMU_WALKER_FAULT_TRANSLATION, 1);
    assert_fault(~(BIT(39) - 1) - 1, PIOMMU_WALKER_FAULT_TRANSLATION, 0);
    assert_fault(BIT(39) - 1, PIOMMU_WALKER_FAULT_TRANSLATION, 0);
    assert_fault(UINT64_MAX >> 8, PIOMMU_WALKER_FAULT_TRANSLATION, 0);
    fixture.regime.ignores_top_byte = true;
    assert_output(UINT64_MAX >> 8, 0x7fffffff, 30);
    fixture.regime.is_upper_half = false;
    assert_output((BIT(39) - 1) | UINT64_C(0xa5) << 56, 0x7fffffff, 30);
}

/*
 * Permissions.
 */

static void test_walker_applies_the_stage1_permission_table(void **state)
{
    static const struct {
        uint64_t bits;
        const char *rights;
    } cases[] = {
        {0, "rwx--x"},
        {AP_USER, "rw-rwx"},
        {AP_RO, "r-x--x"},
        {AP_RO | AP_USER, "r-xr-x"},
        {PXN, "rw---x"},
        {UXN, "rwx---"},
        {AP_USER | UXN, "rw-rw-"},
        {AP_RO | AP_USER | PXN, "r--r-x"},
        {AP_RO | AP_USER | PXN | UXN, "r--r--"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        build_four_levels(1, 0x5000 | AF | cases[i].bits);
        assert_rights(cases[i].rights);
    }
    build_four_levels(1, 0x5000 | AF | AP_USER);
    fixture.regime.write_implies_no_execute = true;
    assert_rights("rw-rw-");
}

static void test_walker_applies_table_attributes_of_stage1(void **state)
{
    (void)state;
    build_four_levels(1, 0x5000 | AF | AP_USER);
    put(0x10008, 0x20000 | TABLE | BIT(62));
    assert_rights("r-xr-x");
    put(0x30018, 0x40000 | TABLE | BIT(61));
    assert_rights("r-x--x");
    put(0x20010, 0x30000 | TABLE | BIT(60));
    assert_rights("r-x---");
    put(0x20010, 0x30000 | TABLE | BIT(59));
    assert_rights("r----x");
    assert_int_equal(fixture.result.level, 3);
    fixture.regime.ignores_table_attributes = true;
    assert_rights("rw-rwx");
}

static void test_walker_applies_the_stage2_permission_table(void **state)
{
    static const struct {
        uint64_t bits;
        const char *rights, *rights_without_xnx;
    } cases[] = {
        {0, "--x--x", "--x--x"},
        {S2_R, "r-xr-x", "r-xr-x"},
        {S2_W, "-wx-wx", "-wx-wx"},
        {S2_R | S2_W, "rwxrwx", "rwxrwx"},
        {S2_R | UINT64_C(1) << 53, "r--r-x", "r-xr-x"},
        {S2_R | UINT64_C(2) << 53, "r--r--", "r--r--"},
        {S2_R | UINT64_C(3) << 53, "r-xr--", "r--r--"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        build_four_levels(2, 0x5000 | AF | S2_WB | cases[i].bits);
        /* Stage 2 has no table attributes. */
        put(0x10008, 0x20000 | TABLE | UINT64_C(0x1f) << 59);
        assert_rights(cases[i].rights);
        fixture.regime.hardware.has_execute_never_by_privilege = false;
        assert_rights(cases[i].rights_without_xnx);
    }
}

static void test_walker_decodes_stage2_memory_types(void **state)
{
    static const struct {
        unsigned int index, type, forced_type;
    } cases[] = {
        {0, 0x00, 0x00},     {1, 0x04, 0x04},    {2, 0x08, 0x08},    {3, 0x0c, 0x0c},
        {4, 0x100, 0x100},   {5, 0x44, 0x44},    {6, 0x4b, 0xff},    {7, 0x4f, 0x200},
        {8, 0x100, 0x100},   {9, 0xb4, 0x100},   {0xa, 0xbb, 0x100}, {0xb, 0xbf, 0x100},
        {0xc, 0x100, 0x100}, {0xd, 0xf4, 0x100}, {0xe, 0xfb, 0x100}, {0xf, 0xff, 0x100},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct piommu_walker_attributes *attributes = &fixture.result.attributes;

        build_four_levels(2, 0x5000 | AF | S2_R | (uint64_t)cases[i].index << 2);
        for (int forced = 0; forced <= 1; forced++) {
            unsigned int type = forced ? cases[i].forced_type : cases[i].type;

            fixture.regime.forced_write_back = forced;
            assert_fault(FOUR_LEVEL_INPUT, PIOMMU_WALKER_FAULT_NONE, 3);
            assert_int_equal(attributes->memory_index, cases[i].index);
            assert_int_equal(attributes->memory_type_is_reserved, type == 0x100);
            assert_int_equal(attributes->memory_type_is_inherited, type == 0x200);
            if (type < 0x100) {
                assert_int_equal(attributes->memory_type, type);
            }
        }
    }
}

/*
 * Access flag and dirty state.
 */

static void test_walker_updates_the_access_flag_and_the_dirty_state(void **state)
{
    (void)state;
    build_four_levels(1, 0x5000 | DBM | (0x7c4 & ~AF));
    put(0x40020, get(0x40020) | AP_RO);
    fixture.memory.compare_exchange64 = compare_exchange64;
    fixture.regime.access_flag_updates = true;
    assert_int_equal(translate(FOUR_LEVEL_INPUT, writing), PIOMMU_WALKER_FAULT_PERMISSION);
    assert_true(get(0x40020) == (0x53c7 | DBM));
    assert_int_equal(translate(FOUR_LEVEL_INPUT, reading), PIOMMU_WALKER_FAULT_NONE);
    assert_true(get(0x40020) == (0x57c7 | DBM));
    fixture.regime.dirty_updates = true;
    assert_int_equal(translate(FOUR_LEVEL_INPUT, reading), PIOMMU_WALKER_FAULT_NONE);
    assert_true(fixture.result.attributes.writable_clean);
    assert_true(get(0x40020) == (0x57c7 | DBM));
    assert_int_equal(translate(FOUR_LEVEL_INPUT, writing), PIOMMU_WALKER_FAULT_NONE);
    assert_true(get(0x40020) == (0x5747 | DBM));
    assert_true(fixture.result.descriptor == (0x5747 | DBM));
    assert_true(fixture.result.attributes.dirty && !fixture.result.attributes.writable_clean);
}

static void test_walker_makes_stage2_leaves_dirty_by_the_write_bit(void **state)
{
    (void)state;
    build_four_levels(2, 0x577c | DBM);
    fixture.memory.compare_exchange64 = compare_exchange64;
    fixture.regime.access_flag_updates = true;
    assert_int_equal(translate(FOUR_LEVEL_INPUT, writing), PIOMMU_WALKER_FAULT_PERMISSION);
    fixture.regime.dirty_updates = true;
    assert_int_equal(translate(FOUR_LEVEL_INPUT, writing), PIOMMU_WALKER_FAULT_NONE);
    assert_true(get(0x40020) == (0x57ff | DBM));
}

static void test_walker_starts_again_when_the_descriptor_changes_under_it(void **state)
{
    (void)state;
    build_four_levels(2, 0x577c | DBM);
    fixture.memory.compare_exchange64 = compare_exchange64;
    fixture.regime.access_flag_updates = true;
    fixture.regime.dirty_updates = true;
    fixture.intruding_location = 0x40020;
    fixture.intruding_value = 0;
    assert_int_equal(translate(FOUR_LEVEL_INPUT, writing), PIOMMU_WALKER_FAULT_TRANSLATION);
    assert_true(get(0x40020) == 0);
}

static void test_walker_leaves_memory_alone_without_a_way_to_update_it(void **state)
{
    (void)state;
    build_four_levels(2, (0x577c & ~AF) | DBM);
    fixture.regime.access_flag_updates = true;
    fixture.regime.dirty_updates = true;
    assert_int_equal(translate(FOUR_LEVEL_INPUT, writing), PIOMMU_WALKER_FAULT_NONE);
    assert_true(fixture.result.descriptor == (0x57ff | DBM));
    assert_true(get(0x40020) == (0x537f | DBM));
}

/*
 * Regimes from registers.
 */

#define TCR_WALKS  (UINT64_C(3) << 12 | 1 << 10 | 1 << 8)
#define VTCR_FIXED BIT(31)

static uint64_t tcr_of(unsigned int size_field, unsigned int granule, unsigned int output)
{
    return size_field | (uint64_t)granule << 14 | (uint64_t)output << 32 | TCR_WALKS;
}

static uint64_t vtcr_of(unsigned int input_bits, unsigned int start, unsigned int granule,
                        unsigned int output)
{
    return VTCR_FIXED | TCR_WALKS | (64 - input_bits) | start << 6 | (uint64_t)granule << 14 |
           (uint64_t)output << 16;
}

static enum piommu_walker_setup setup_tcr(uint64_t tcr, uint64_t ttbr)
{
    return piommu_walker_regime_from_tcr(&everything, tcr, ttbr, 0xff44, false, &fixture.regime);
}

static enum piommu_walker_setup setup_vtcr(uint64_t vtcr, uint64_t vttbr)
{
    return piommu_walker_regime_from_vtcr(&everything, vtcr, vttbr, &fixture.regime);
}

static void test_walker_decodes_tcr_fields(void **state)
{
    const struct piommu_walker_regime *regime = &fixture.regime;

    (void)state;
    assert_int_equal(setup_tcr(tcr_of(25, 0, 2) | BIT(36) | BIT(37) | BIT(39) | BIT(40) | BIT(41),
                               UINT64_C(0x1234000012345001)),
                     PIOMMU_WALKER_SETUP_OK);
    assert_int_equal(regime->stage, 1);
    assert_int_equal(regime->granule_shift, 12);
    assert_int_equal(regime->input_bits, 39);
    assert_int_equal(regime->output_bits, 40);
    assert_int_equal(regime->start_level, 1);
    assert_true(regime->root == 0x12345000 && regime->is_common_not_private);
    assert_int_equal(regime->identifier, 0x1234);
    assert_true(regime->ignores_top_byte && regime->ignores_table_attributes);
    assert_true(regime->access_flag_updates && regime->dirty_updates);
    assert_false(regime->is_disabled || regime->identifier_is_upper);
    assert_int_equal(regime->walk_inner_cacheability, 1);
    assert_int_equal(regime->walk_outer_cacheability, 1);
    assert_int_equal(regime->walk_shareability, 3);
    assert_int_equal(setup_tcr(tcr_of(25, 0, 2) | BIT(7) | BIT(22), 0x1000),
                     PIOMMU_WALKER_SETUP_OK);
    assert_true(regime->is_disabled && regime->identifier_is_upper);
}

static void test_walker_decodes_the_upper_half_of_tcr(void **state)
{
    static const unsigned int granules[4] = {0, 14, 12, 16};

    (void)state;
    for (unsigned int value = 0; value < 4; value++) {
        uint64_t tcr = (uint64_t)value << 30 | 16 << 16 | UINT64_C(5) << 32 | BIT(38) | BIT(42);
        enum piommu_walker_setup setup =
            piommu_walker_regime_from_tcr(&everything, tcr, 0x10000, 0, true, &fixture.regime);

        assert_int_equal(setup, value ? PIOMMU_WALKER_SETUP_OK : PIOMMU_WALKER_SETUP_GRANULE);
        if (setup != PIOMMU_WALKER_SETUP_OK) {
            continue;
        }
        assert_int_equal(fixture.regime.granule_shift, granules[value]);
        assert_int_equal(fixture.regime.input_bits, 48);
        assert_true(fixture.regime.is_upper_half && fixture.regime.ignores_top_byte);
        assert_true(fixture.regime.ignores_table_attributes);
    }
}

static void test_walker_refuses_reserved_tcr_values(void **state)
{
    (void)state;
    assert_int_equal(setup_tcr(tcr_of(16, 3, 5), 0), PIOMMU_WALKER_SETUP_GRANULE);
    assert_int_equal(setup_tcr(tcr_of(16, 0, 7), 0), PIOMMU_WALKER_SETUP_RESERVED_BITS);
    assert_int_equal(setup_tcr(tcr_of(16, 0, 6), 0), PIOMMU_WALKER_SETUP_OUTPUT_SIZE);
    assert_int_equal(setup_tcr(tcr_of(16, 2, 6), 0), PIOMMU_WALKER_SETUP_OUTPUT_SIZE);
    assert_int_equal(setup_tcr(tcr_of(16, 1, 6), 0), PIOMMU_WALKER_SETUP_OK);
    assert_int_equal(setup_tcr(tcr_of(16, 0, 5) | BIT(58), 0), PIOMMU_WALKER_SETUP_RESERVED_BITS);
    assert_int_equal(setup_tcr(tcr_of(16, 0, 5) | BIT(60), 0), PIOMMU_WALKER_SETUP_RESERVED_BITS);
    assert_int_equal(setup_tcr(tcr_of(16, 0, 5) | BIT(6), 0), PIOMMU_WALKER_SETUP_RESERVED_BITS);
    assert_int_equal(setup_tcr(tcr_of(16, 0, 5) | BIT(63), 0), PIOMMU_WALKER_SETUP_RESERVED_BITS);
    assert_int_equal(setup_tcr((tcr_of(16, 0, 5) & ~(BIT(13))), 0),
                     PIOMMU_WALKER_SETUP_RESERVED_BITS);
    /* An ASID of more than 8 bits with AS = 0. */
    assert_int_equal(setup_tcr(tcr_of(16, 0, 5), BIT(56)), PIOMMU_WALKER_SETUP_RESERVED_BITS);
}

static void test_walker_limits_the_output_size_to_what_hardware_has(void **state)
{
    struct piommu_walker_hardware small = everything;

    (void)state;
    small.physical_bits = 44;
    small.has_dirty_updates = false;
    assert_int_equal(piommu_walker_regime_from_tcr(&small, tcr_of(16, 0, 5) | BIT(39) | BIT(40), 0,
                                                   0, false, &fixture.regime),
                     PIOMMU_WALKER_SETUP_OK);
    assert_int_equal(fixture.regime.output_bits, 44);
    assert_true(fixture.regime.access_flag_updates);
    assert_false(fixture.regime.dirty_updates);
}

/* Input bits that stage 1 accepts, first to last, per granule and start level. */
static void test_walker_derives_the_start_level_of_stage1(void **state)
{
    static const struct {
        unsigned int granule; /* TG0 */
        int level;
        unsigned int first, last;
    } cases[] = {
        {0, 3, 16, 21}, {0, 2, 22, 30}, {0, 1, 31, 39}, {0, 0, 40, 48},
        {2, 3, 16, 25}, {2, 2, 26, 36}, {2, 1, 37, 47}, {2, 0, 48, 48},
        {1, 3, 17, 29}, {1, 2, 30, 42}, {1, 1, 43, 52},
    };
    unsigned int accepted = 0;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (unsigned int bits = cases[i].first; bits <= cases[i].last; bits++) {
            unsigned int output = cases[i].granule == 1 ? 6 : 5;

            assert_int_equal(setup_tcr(tcr_of(64 - bits, cases[i].granule, output), 0),
                             PIOMMU_WALKER_SETUP_OK);
            assert_int_equal(fixture.regime.start_level, cases[i].level);
        }
    }
    for (unsigned int granule = 0; granule < 3; granule++) {
        for (unsigned int field = 0; field < 64; field++) {
            accepted += setup_tcr(tcr_of(field, granule, 5), 0) == PIOMMU_WALKER_SETUP_OK;
        }
    }
    assert_int_equal(accepted, 33 + 33 + 36);
}

static void test_walker_limits_the_input_size_to_what_hardware_has(void **state)
{
    struct piommu_walker_hardware small = everything;
    const unsigned int granules[3] = {0, 1, 2};

    (void)state;
    small.has_small_tables = false;
    small.has_large_virtual_addresses = false;
    for (size_t i = 0; i < 3; i++) {
        for (unsigned int field = 0; field < 64; field++) {
            bool is_legal = field >= 16 && field <= 39;

            assert_int_equal(piommu_walker_regime_from_tcr(&small, tcr_of(field, granules[i], 5), 0,
                                                           0, false, &fixture.regime),
                             is_legal ? PIOMMU_WALKER_SETUP_OK : PIOMMU_WALKER_SETUP_INPUT_SIZE);
        }
    }
}

static void test_walker_knows_the_root_size_of_stage1(void **state)
{
    static const struct {
        unsigned int bits;
        unsigned int bytes_4k, bytes_16k, bytes_64k;
    } cases[] = {
        {32, 32, 1024, 64},   {36, 512, 16384, 1024}, {39, 4096, 64, 8192}, {40, 16, 128, 16384},
        {42, 64, 512, 65536}, {44, 256, 2048, 32},    {48, 4096, 16, 512},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(setup_tcr(tcr_of(64 - cases[i].bits, 0, 5), 0), PIOMMU_WALKER_SETUP_OK);
        assert_true(piommu_walker_root_size(&fixture.regime) == cases[i].bytes_4k);
        assert_int_equal(setup_tcr(tcr_of(64 - cases[i].bits, 2, 5), 0), PIOMMU_WALKER_SETUP_OK);
        assert_true(piommu_walker_root_size(&fixture.regime) == cases[i].bytes_16k);
        assert_int_equal(setup_tcr(tcr_of(64 - cases[i].bits, 1, 5), 0), PIOMMU_WALKER_SETUP_OK);
        assert_true(piommu_walker_root_size(&fixture.regime) == cases[i].bytes_64k);
    }
    assert_int_equal(setup_tcr(tcr_of(64 - 52, 1, 6), 0), PIOMMU_WALKER_SETUP_OK);
    assert_true(piommu_walker_root_size(&fixture.regime) == 8192);
    assert_int_equal(setup_vtcr(vtcr_of(52, 2, 1, 6), 0), PIOMMU_WALKER_SETUP_OK);
    assert_true(piommu_walker_root_size(&fixture.regime) == 8192);
}

static void test_walker_checks_the_alignment_and_size_of_the_root(void **state)
{
    (void)state;
    assert_int_equal(setup_tcr(tcr_of(64 - 42, 0, 5), 0x10040), PIOMMU_WALKER_SETUP_OK);
    assert_int_equal(setup_tcr(tcr_of(64 - 42, 0, 5), 0x10020), PIOMMU_WALKER_SETUP_ROOT_ALIGNMENT);
    assert_int_equal(setup_tcr(tcr_of(64 - 42, 0, 5), 0x10002), PIOMMU_WALKER_SETUP_ROOT_ALIGNMENT);
    assert_int_equal(setup_tcr(tcr_of(64 - 42, 0, 2), BIT(40)), PIOMMU_WALKER_SETUP_ROOT_ADDRESS);
    /* 44 bits with 64K: a root of 32 bytes, but register bits 5:2 hold address bits 51:48. */
    assert_int_equal(setup_tcr(tcr_of(64 - 44, 1, 6), 0x10040 | 0xf << 2), PIOMMU_WALKER_SETUP_OK);
    assert_true(fixture.regime.root == (UINT64_C(0xf) << 48 | 0x10040));
    assert_int_equal(setup_tcr(tcr_of(64 - 44, 1, 6), 0x10042), PIOMMU_WALKER_SETUP_RESERVED_BITS);
    assert_int_equal(setup_tcr(tcr_of(64 - 44, 1, 5), 0x10020), PIOMMU_WALKER_SETUP_OK);
    assert_true(fixture.regime.root == 0x10020);
    fixture.regime.output_bits = 52;
    assert_int_equal(piommu_walker_validate(&fixture.regime), PIOMMU_WALKER_SETUP_ROOT_ALIGNMENT);
}

static void test_walker_decodes_vtcr_fields(void **state)
{
    const struct piommu_walker_regime *regime = &fixture.regime;

    (void)state;
    assert_int_equal(setup_vtcr(vtcr_of(40, 1, 0, 2) | BIT(19) | BIT(21) | BIT(22),
                                UINT64_C(0xabcd000000002000)),
                     PIOMMU_WALKER_SETUP_OK);
    assert_int_equal(regime->stage, 2);
    assert_int_equal(regime->granule_shift, 12);
    assert_int_equal(regime->input_bits, 40);
    assert_int_equal(regime->output_bits, 40);
    assert_int_equal(regime->start_level, 1);
    assert_int_equal(regime->identifier, 0xabcd);
    assert_true(regime->root == 0x2000 && piommu_walker_root_size(regime) == 0x2000);
    assert_true(regime->access_flag_updates && regime->dirty_updates);
    assert_int_equal(setup_vtcr(vtcr_of(40, 1, 0, 2), 0x3000), PIOMMU_WALKER_SETUP_ROOT_ALIGNMENT);
    assert_int_equal(setup_vtcr(vtcr_of(40, 1, 0, 2) & ~BIT(31), 0),
                     PIOMMU_WALKER_SETUP_RESERVED_BITS);
    assert_int_equal(setup_vtcr(vtcr_of(40, 1, 0, 2) | BIT(20), 0),
                     PIOMMU_WALKER_SETUP_RESERVED_BITS);
    assert_int_equal(setup_vtcr(vtcr_of(40, 1, 0, 2) | BIT(23), 0),
                     PIOMMU_WALKER_SETUP_RESERVED_BITS);
    assert_int_equal(setup_vtcr(vtcr_of(40, 1, 0, 2) | BIT(24), 0),
                     PIOMMU_WALKER_SETUP_RESERVED_BITS);
    assert_int_equal(setup_vtcr(vtcr_of(40, 1, 0, 2) | BIT(34), 0),
                     PIOMMU_WALKER_SETUP_RESERVED_BITS);
    assert_int_equal(setup_vtcr(vtcr_of(34, 0, 0, 2) | BIT(33), 0),
                     PIOMMU_WALKER_SETUP_START_LEVEL);
    assert_int_equal(setup_vtcr(vtcr_of(40, 1, 3, 2), 0), PIOMMU_WALKER_SETUP_GRANULE);
    /* The input of stage 2 may not be larger than its output. */
    assert_int_equal(setup_vtcr(vtcr_of(40, 1, 0, 1), 0), PIOMMU_WALKER_SETUP_INPUT_SIZE);
}

/* All of T0SZ and SL0, against the list of what hardware was seen to accept. */
static void test_walker_accepts_exactly_the_legal_start_levels_of_stage2(void **state)
{
    static const struct {
        unsigned int granule, start; /* TG0, SL0 */
        int level;
        unsigned int first, last, physical_bits;
    } cases[] = {
        {0, 3, 3, 16, 25, 32}, {0, 0, 2, 22, 34, 32}, {0, 1, 1, 31, 43, 32}, {0, 2, 0, 40, 48, 44},
        {2, 0, 3, 16, 29, 32}, {2, 1, 2, 26, 40, 32}, {2, 2, 1, 37, 48, 42}, {2, 3, 0, 99, 99, 0},
        {1, 0, 3, 17, 33, 32}, {1, 1, 2, 30, 46, 32}, {1, 2, 1, 43, 52, 44}, {1, 3, 0, 99, 99, 0},
    };
    static const unsigned int sizes[] = {40, 42, 44, 48, 52};

    (void)state;
    for (size_t i = 0; i < 12 * 5 * 2 * 64; i++) {
        size_t c = i / (5 * 2 * 64);
        struct piommu_walker_hardware hardware = everything;
        unsigned int bits = 1 + (unsigned int)i % 64;
        bool is_legal, is_accepted;

        hardware.physical_bits = sizes[i / 128 % 5];
        hardware.has_small_tables = i / 64 % 2;
        is_legal = bits >= cases[c].first && bits <= cases[c].last &&
                   bits <= hardware.physical_bits &&
                   hardware.physical_bits >= cases[c].physical_bits;
        /* Small tables are short input, and level 3 as a start with 4K. */
        if (!hardware.has_small_tables &&
            (bits < 25 || (cases[c].granule == 0 && cases[c].level == 3))) {
            is_legal = false;
        }
        is_accepted = piommu_walker_regime_from_vtcr(&hardware,
                                                     vtcr_of(bits, cases[c].start, cases[c].granule,
                                                             cases[c].granule == 1 ? 6 : 5),
                                                     0, &fixture.regime) == PIOMMU_WALKER_SETUP_OK;
        if (is_legal != is_accepted) {
            fail_msg("TG0 %u SL0 %u, %u input bits, %u physical bits: legal %d, accepted %d",
                     cases[c].granule, cases[c].start, bits, hardware.physical_bits, is_legal,
                     is_accepted);
        }
        if (is_accepted) {
            assert_int_equal(fixture.regime.start_level, cases[c].level);
        }
    }
}

static void test_walker_needs_small_tables_for_level_3_and_short_input(void **state)
{
    struct piommu_walker_hardware hardware = everything;

    (void)state;
    hardware.has_small_tables = false;
    assert_int_equal(
        piommu_walker_regime_from_vtcr(&hardware, vtcr_of(25, 3, 0, 5), 0, &fixture.regime),
        PIOMMU_WALKER_SETUP_START_LEVEL);
    assert_int_equal(
        piommu_walker_regime_from_vtcr(&hardware, vtcr_of(25, 0, 0, 5), 0, &fixture.regime),
        PIOMMU_WALKER_SETUP_OK);
    assert_int_equal(
        piommu_walker_regime_from_vtcr(&hardware, vtcr_of(24, 0, 0, 5), 0, &fixture.regime),
        PIOMMU_WALKER_SETUP_INPUT_SIZE);
    assert_int_equal(
        piommu_walker_regime_from_vtcr(&hardware, vtcr_of(25, 0, 2, 5), 0, &fixture.regime),
        PIOMMU_WALKER_SETUP_OK);
}

static void test_walker_faults_at_level_0_in_an_illegal_regime(void **state)
{
    (void)state;
    build_four_levels(2, 0x5000 | S2_LEAF);
    fixture.regime.start_level = 1;
    assert_fault(FOUR_LEVEL_INPUT, PIOMMU_WALKER_FAULT_TRANSLATION, 0);
    assert_int_equal(fixture.reads, 0);
    fixture.regime.start_level = 0;
    fixture.regime.unprivileged_write_implies_no_execute = true;
    assert_int_equal(piommu_walker_validate(&fixture.regime), PIOMMU_WALKER_SETUP_UNSUPPORTED);
    fixture.regime.unprivileged_write_implies_no_execute = false;
    fixture.regime.other_half_bits = 20;
    assert_int_equal(piommu_walker_validate(&fixture.regime), PIOMMU_WALKER_SETUP_UNSUPPORTED);
}

/*
 * The checker.
 */

static void build_for_checker(unsigned int stage)
{
    fixture.forbidden_table = 0xbad0000;
    build_four_levels(stage, 0x5000 | (stage == 1 ? S1_LEAF : S2_LEAF));
}

static void test_checker_finds_nothing_in_a_good_tree(void **state)
{
    (void)state;
    for (unsigned int stage = 1; stage <= 2; stage++) {
        build_for_checker(stage);
        assert_int_equal(check(), 0);
        /* What hardware ignores in table descriptors belongs to software. */
        put(0x10008, get(0x10008) | UINT64_C(0xff) << 51 | 0xffc);
        put(0x40020, get(0x40020) | UINT64_C(0xf) << 55);
        put(0x40028, ~UINT64_C(1));
        assert_int_equal(check(), 0);
    }
}

/* Bit by bit, since a count that software keeps there sets any of them. */
static void test_checker_leaves_the_software_bits_of_tables_alone(void **state)
{
    static const struct {
        unsigned int granule_shift, input_bits;
        int level;
        unsigned int output_bits;
    } cases[] = {{12, 39, 1, 48}, {14, 47, 1, 48}, {16, 48, 1, 48}, {16, 48, 1, 52}};

    (void)state;
    fixture.forbidden_table = UINT64_MAX;
    for (size_t i = 0; i < 2 * sizeof(cases) / sizeof(cases[0]); i++) {
        fixture.regime = make_regime(1 + i % 2, cases[i / 2].granule_shift, cases[i / 2].input_bits,
                                     cases[i / 2].level, 0x10000);
        fixture.regime.output_bits = cases[i / 2].output_bits;
        put(0x20000, 0);
        for (unsigned int bit = 2; bit <= 58; bit++) {
            if (bit == 12) {
                bit = 51;
            }
            put(0x10000, 0x20000 | TABLE | BIT(bit));
            assert_int_equal(check(), 0);
            assert_fault(0, PIOMMU_WALKER_FAULT_TRANSLATION, cases[i / 2].level + 1);
            assert_true(fixture.result.steps[0].next_table == 0x20000);
        }
    }
}

static void test_checker_says_where_the_problem_is(void **state)
{
    (void)state;
    build_for_checker(1);
    put(0x40020, get(0x40020) & ~AF);
    assert_problem(PIOMMU_WALKER_PROBLEM_ACCESS_FLAG);
    assert_int_equal(fixture.last_problem.level, 3);
    assert_true(fixture.last_problem.input == FOUR_LEVEL_INPUT);
    assert_true(fixture.last_problem.location == 0x40020);
    assert_true(fixture.last_problem.descriptor == get(0x40020));
    fixture.regime.is_upper_half = true;
    assert_problem(PIOMMU_WALKER_PROBLEM_ACCESS_FLAG);
    assert_true(fixture.last_problem.input == (FOUR_LEVEL_INPUT | UINT64_C(0xffff) << 48));
    fixture.regime.access_flag_updates = true;
    assert_int_equal(check(), 0);
}

static void test_checker_finds_bad_leaves_of_stage1(void **state)
{
    static const struct {
        uint64_t clear, set;
        enum piommu_walker_problem_kind kind;
    } cases[] = {
        {0, BIT(48), PIOMMU_WALKER_PROBLEM_RESERVED_BITS},
        {0, BIT(49), PIOMMU_WALKER_PROBLEM_RESERVED_BITS},
        {0, BIT(50), PIOMMU_WALKER_PROBLEM_RESERVED_BITS},
        {0, BIT(59), PIOMMU_WALKER_PROBLEM_RESERVED_BITS},
        {0, BIT(63), PIOMMU_WALKER_PROBLEM_RESERVED_BITS},
        {SH_INNER, BIT(8), PIOMMU_WALKER_PROBLEM_SHAREABILITY},
        {0, UINT64_C(7) << 2, PIOMMU_WALKER_PROBLEM_MEMORY_TYPE},
        {0, DBM | AP_RO, PIOMMU_WALKER_PROBLEM_WRITABLE_CLEAN},
        {2, 0, PIOMMU_WALKER_PROBLEM_PAGE_TYPE},
        {0, BIT(47), PIOMMU_WALKER_PROBLEM_ADDRESS_SIZE},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        build_for_checker(1);
        fixture.regime.output_bits = 44;
        fixture.regime.mair_slots_in_use = 0xf;
        put(0x40020, (get(0x40020) & ~cases[i].clear) | cases[i].set);
        assert_problem(cases[i].kind);
    }
    build_for_checker(1);
    put(0x40020, get(0x40020) | DBM | AP_RO);
    fixture.regime.access_flag_updates = fixture.regime.dirty_updates = true;
    assert_int_equal(check(), 0);
}

static void test_checker_finds_bad_leaves_of_stage2(void **state)
{
    (void)state;
    build_for_checker(2);
    put(0x40020, get(0x40020) | BIT(53));
    assert_problem(PIOMMU_WALKER_PROBLEM_EXECUTE_NEVER);
    put(0x40020, get(0x40020) & ~UXN);
    assert_int_equal(check(), 0);
    fixture.regime.hardware.has_execute_never_by_privilege = false;
    assert_problem(PIOMMU_WALKER_PROBLEM_RESERVED_BITS);
    put(0x40020, 0x5000 | S2_LEAF | PAGE | BIT(11));
    assert_problem(PIOMMU_WALKER_PROBLEM_RESERVED_BITS);
    put(0x40020, ((0x5000 | S2_LEAF) & ~S2_WB) | PAGE | UINT64_C(8) << 2);
    assert_problem(PIOMMU_WALKER_PROBLEM_MEMORY_TYPE);
    put(0x40020, 0x5000 | S2_LEAF | PAGE);
    fixture.regime.forced_write_back = true;
    assert_problem(PIOMMU_WALKER_PROBLEM_MEMORY_TYPE);
    put(0x40020, ((0x5000 | S2_LEAF) & ~(S2_WB | S2_W)) | PAGE | DBM | UINT64_C(6) << 2);
    assert_problem(PIOMMU_WALKER_PROBLEM_WRITABLE_CLEAN);
}

static void test_checker_finds_bad_blocks(void **state)
{
    (void)state;
    build_for_checker(1);
    put(0x10010, S1_LEAF | BLOCK);
    assert_problem(PIOMMU_WALKER_PROBLEM_BLOCK_LEVEL);
    put(0x10010, 0);
    put(0x20000, 0x40000000 | S1_LEAF | BLOCK);
    put(0x30000, 0x40200000 | S1_LEAF | BLOCK);
    assert_int_equal(check(), 0);
    put(0x20000, 0x40200000 | S1_LEAF | BLOCK);
    assert_problem(PIOMMU_WALKER_PROBLEM_RESERVED_BITS);
    put(0x20000, 0x40000000 | S1_LEAF | BLOCK | BIT(16));
    assert_problem(PIOMMU_WALKER_PROBLEM_RESERVED_BITS);
    fixture.regime.hardware.break_before_make_level = 1;
    assert_int_equal(check(), 0);
    /* Each byte of a block has to have an address, not only the first. */
    fixture.regime = make_regime(1, 16, 48, 1, 0x50000);
    fixture.regime.output_bits = 40;
    put(0x50000, S1_LEAF | BLOCK);
    assert_problem(PIOMMU_WALKER_PROBLEM_ADDRESS_SIZE);
}

static void test_checker_knows_the_address_bits_of_64k(void **state)
{
    (void)state;
    fixture.regime = make_regime(1, 16, 42, 2, 0x10000);
    fixture.forbidden_table = UINT64_MAX;
    put(0x10000, 0x20000 | 0x1000 | TABLE);
    put(UINT64_C(0x1000000020000), 0x30000 | 0xf000 | S1_LEAF | PAGE);
    fixture.regime.output_bits = 52;
    assert_int_equal(check(), 0);
    put(0x20000, 0x30000 | 0xf000 | S1_LEAF | PAGE);
    fixture.regime.output_bits = fixture.regime.hardware.physical_bits = 48;
    assert_int_equal(check(), 2);
    assert_int_equal(fixture.problems[PIOMMU_WALKER_PROBLEM_RESERVED_BITS], 2);
}

static void test_checker_finds_bad_table_descriptors(void **state)
{
    (void)state;
    build_for_checker(1);
    put(0x20010, get(0x20010) | BIT(63));
    assert_problem(PIOMMU_WALKER_PROBLEM_TABLE_ATTRIBUTES);
    build_for_checker(2);
    put(0x20010, get(0x20010) | BIT(59));
    assert_problem(PIOMMU_WALKER_PROBLEM_RESERVED_BITS);
    build_for_checker(2);
    put(0x20010, get(0x20010) | BIT(50));
    assert_problem(PIOMMU_WALKER_PROBLEM_RESERVED_BITS);
    build_for_checker(2);
    fixture.regime.output_bits = 48;
    put(0x20010, 0xffff0000 | TABLE);
    assert_problem(PIOMMU_WALKER_PROBLEM_TABLE_UNREADABLE);
    assert_true(fixture.last_problem.location == 0xffff0000);
    put(0x20010, 0xbad0000 | TABLE);
    assert_problem(PIOMMU_WALKER_PROBLEM_TABLE_OUTSIDE);
    assert_true(fixture.last_problem.location == 0x20010);
    fixture.forbidden_table = 0x10ff8;
    put(0x20010, 0x30000 | TABLE);
    assert_problem(PIOMMU_WALKER_PROBLEM_TABLE_OUTSIDE);
    fixture.regime.input_bits = 34;
    assert_problem(PIOMMU_WALKER_PROBLEM_REGIME);
    build_for_checker(1);
    fixture.regime.output_bits = 40;
    put(0x20010, BIT(41) | TABLE);
    assert_problem(PIOMMU_WALKER_PROBLEM_ADDRESS_SIZE);
}

static void test_checker_finds_tables_reached_twice(void **state)
{
    (void)state;
    build_for_checker(2);
    put(0x30020, 0x40000 | TABLE);
    assert_problem(PIOMMU_WALKER_PROBLEM_TABLE_SHARED);
    assert_true(fixture.last_problem.location == 0x30020);
    put(0x30020, 0);
    put(0x40020, 0);
    put(0x30018, 0x10000 | TABLE);
    assert_problem(PIOMMU_WALKER_PROBLEM_TABLE_SHARED);
    /* The second of two concatenated tables is part of the root as well. */
    fixture.regime = make_regime(2, 12, 40, 1, 0x50000);
    put(0x50000, 0x51000 | TABLE);
    assert_problem(PIOMMU_WALKER_PROBLEM_TABLE_SHARED);
    put(0x50000, 0x52000 | TABLE);
    assert_int_equal(check(), 0);
    /* A root smaller than a granule may not lie inside of a table. */
    fixture.regime = make_regime(1, 12, 42, 0, 0x50040);
    put(0x50040, 0x50000 | TABLE);
    assert_problem(PIOMMU_WALKER_PROBLEM_TABLE_SHARED);
}

static void test_checker_remembers_many_tables(void **state)
{
    (void)state;
    fixture.forbidden_table = UINT64_MAX;
    fixture.regime = make_regime(1, 12, 36, 1, 0x10000);
    for (unsigned int i = 0; i < 64; i++) {
        put(0x10000 + 8 * i, (0x20000 + 0x1000 * (uint64_t)i) | TABLE);
    }
    for (unsigned int i = 0; i < 64; i++) {
        put(0x20000 + 0x1000 * (uint64_t)i, (0x60000 + 0x1000 * (uint64_t)i) | TABLE);
    }
    for (unsigned int i = 0; i < 64; i++) {
        put(0x60000 + 0x1000 * (uint64_t)i, 0);
    }
    assert_int_equal(check(), 0);
    put(0x20008, (0x60000 + 0x1000 * 63) | TABLE);
    assert_problem(PIOMMU_WALKER_PROBLEM_TABLE_SHARED);
}

static void test_checker_accepts_contiguous_groups_of_every_size(void **state)
{
    static const struct {
        unsigned int granule_shift, input_bits;
        int level;
        unsigned int members, shift;
    } cases[] = {
        {12, 21, 3, 16, 12}, {12, 30, 2, 16, 21}, {12, 39, 1, 16, 30}, {14, 25, 3, 128, 14},
        {14, 36, 2, 32, 25}, {16, 29, 3, 32, 16}, {16, 42, 2, 32, 29},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t leaf = S1_LEAF | (cases[i].level == 3 ? PAGE : BLOCK);
        uint64_t table = 0x10000 + 8 * cases[i].members;
        uint64_t output = (uint64_t)cases[i].members << cases[i].shift;

        memset(fixture.regions, 0, sizeof(fixture.regions));
        fixture.forbidden_table = UINT64_MAX;
        fixture.regime =
            make_regime(1, cases[i].granule_shift, cases[i].input_bits, cases[i].level, 0x10000);
        build_group(cases[i].members, cases[i].shift, table, output, leaf);
        assert_int_equal(check(), 0);
        /* One leaf further: aligned to the leaf, but not to the group. */
        build_group(cases[i].members, cases[i].shift, table,
                    output + (UINT64_C(1) << cases[i].shift), leaf);
        assert_problem(PIOMMU_WALKER_PROBLEM_CONTIGUOUS_ADDRESS);
        assert_true(fixture.last_problem.input == output);
        /* The last member gone. */
        build_group(cases[i].members - 1, cases[i].shift, table, output, leaf);
        put(table + 8 * (cases[i].members - 1), 0);
        assert_problem(PIOMMU_WALKER_PROBLEM_CONTIGUOUS_MIXED);
    }
}

static void test_checker_finds_bad_contiguous_groups(void **state)
{
    const uint64_t leaf = S1_LEAF | PAGE;
    const uint64_t member = 0x40000 + 8 * 5;

    (void)state;
    build_for_checker(1);
    build_group(16, 12, 0x40000, 0x80000, leaf);
    assert_int_equal(check(), 0);
    put(member, get(member) & ~CONTIGUOUS);
    assert_problem(PIOMMU_WALKER_PROBLEM_CONTIGUOUS_MIXED);
    put(member, 0xf0000 | leaf | CONTIGUOUS);
    assert_problem(PIOMMU_WALKER_PROBLEM_CONTIGUOUS_ADDRESS);
    put(member, 0x85000 | leaf | CONTIGUOUS | AP_RO);
    assert_problem(PIOMMU_WALKER_PROBLEM_CONTIGUOUS_ATTRIBUTES);
    put(member, 0x85000 | leaf | CONTIGUOUS | UINT64_C(0xf) << 55);
    assert_int_equal(check(), 0);
    put(0x40000, 0);
    assert_problem(PIOMMU_WALKER_PROBLEM_CONTIGUOUS_MIXED);
}

static void test_checker_lets_hardware_update_single_members_of_a_group(void **state)
{
    const uint64_t leaf = (S1_LEAF & ~AF) | AP_RO | DBM | PAGE;

    (void)state;
    build_for_checker(1);
    build_group(16, 12, 0x40000, 0x80000, leaf);
    put(0x40008, (get(0x40008) | AF) & ~AP_RO);
    fixture.regime.access_flag_updates = fixture.regime.dirty_updates = true;
    assert_int_equal(check(), 0);
    put(0x40008, get(0x40008) & ~DBM);
    assert_problem(PIOMMU_WALKER_PROBLEM_CONTIGUOUS_ATTRIBUTES);
}

static void test_checker_finds_contiguous_groups_out_of_place(void **state)
{
    (void)state;
    fixture.forbidden_table = UINT64_MAX;
    /* Four entries at level 1 cannot make a group of 16. */
    fixture.regime = make_regime(1, 12, 32, 1, 0x10000);
    build_group(4, 30, 0x10000, 0, S1_LEAF | BLOCK);
    assert_problem(PIOMMU_WALKER_PROBLEM_CONTIGUOUS_RANGE);
    fixture.regime = make_regime(1, 16, 48, 1, 0x20000);
    put(0x20000, S1_LEAF | BLOCK | CONTIGUOUS);
    assert_problem(PIOMMU_WALKER_PROBLEM_CONTIGUOUS_LEVEL);
}

/*
 * All leaves.
 */

static unsigned int leaf_count;
static struct piommu_walker_leaf leaves[4];

static bool note_leaf(void *ctx, const struct piommu_walker_leaf *leaf)
{
    assert_ptr_equal(ctx, &leaf_count);
    assert_true(leaf_count < 4);
    leaves[leaf_count++] = *leaf;
    return leaf_count < 4;
}

static void test_walker_visits_all_leaves_in_order(void **state)
{
    (void)state;
    leaf_count = 0;
    build_four_levels(1, 0x5000 | S1_LEAF);
    put(0x10008, 0x20000 | TABLE | BIT(62));
    put(0x20ff8, 0x40000000 | S1_LEAF | BLOCK);
    put(0x30000, (0x200000 | S1_LEAF | BLOCK) & ~AF);
    assert_true(
        piommu_walker_for_each_leaf(&fixture.regime, &fixture.memory, note_leaf, &leaf_count));
    assert_int_equal(leaf_count, 3);
    assert_true(leaves[0].input == (BIT(39) | UINT64_C(2) << 30));
    assert_true(leaves[0].output == 0x200000 && leaves[0].shift == 21 && leaves[0].level == 2);
    assert_true(leaves[1].input == FOUR_LEVEL_INPUT && leaves[1].location == 0x40020);
    assert_false(leaves[1].attributes.privileged.write);
    assert_true(leaves[2].input == (BIT(39) | UINT64_C(511) << 30) && leaves[2].shift == 30);
    put(0x40028, 0x6000 | S1_LEAF | PAGE);
    leaf_count = 1;
    assert_false(
        piommu_walker_for_each_leaf(&fixture.regime, &fixture.memory, note_leaf, &leaf_count));
    leaf_count = 0;
    put(0x10010, 0xbad0000 | TABLE);
    assert_false(
        piommu_walker_for_each_leaf(&fixture.regime, &fixture.memory, note_leaf, &leaf_count));
}

static unsigned int link_count;
static struct piommu_walker_link links[4];

static bool note_link(void *ctx, const struct piommu_walker_link *link)
{
    assert_ptr_equal(ctx, &link_count);
    assert_true(link_count < 4);
    links[link_count++] = *link;
    return link_count < 4;
}

static void test_walker_visits_all_links_with_or_without_leaves(void **state)
{
    (void)state;
    link_count = 0;
    build_four_levels(1, 0x5000 | S1_LEAF);
    put(0x10008, 0x20000 | TABLE | BIT(62));
    put(0x40020, 0);
    put(0x20ff8, 0x40000000 | S1_LEAF | BLOCK);
    assert_true(
        piommu_walker_for_each_link(&fixture.regime, &fixture.memory, note_link, &link_count));
    assert_int_equal(link_count, 3);
    assert_true(links[0].input == BIT(39) && links[0].level == 0);
    assert_true(links[0].location == 0x10008 && links[0].descriptor == get(0x10008));
    assert_true(links[0].next.level == 1 && links[0].next.table == 0x20000);
    assert_true(links[2].input == (FOUR_LEVEL_INPUT & ~UINT64_C(0x1fffff)) && links[2].level == 2);
    assert_true(links[2].next.table == 0x40000 && links[2].next.inherited == BIT(62));
    /* One that leads to where nothing is counts, and does not keep others from being seen. */
    link_count = 0;
    put(0x10000, 0xbad0000 | TABLE);
    put(0x40020, 0x5000 | S1_LEAF | PAGE);
    assert_false(
        piommu_walker_for_each_link(&fixture.regime, &fixture.memory, note_link, &link_count));
    assert_int_equal(link_count, 4);
    leaf_count = 0;
    assert_false(
        piommu_walker_for_each_leaf(&fixture.regime, &fixture.memory, note_leaf, &leaf_count));
    assert_int_equal(leaf_count, 2);
    /* One that a walk cannot follow does not count. */
    link_count = 0;
    fixture.regime.output_bits = 44;
    put(0x10000, BIT(45) | TABLE);
    assert_true(
        piommu_walker_for_each_link(&fixture.regime, &fixture.memory, note_link, &link_count));
    assert_int_equal(link_count, 3);
}

/*
 * The stale TLB.
 */

static void test_stale_tlb_keeps_a_leaf_until_it_is_invalidated(void **state)
{
    (void)state;
    build_four_levels(2, 0x5000 | S2_LEAF);
    assert_tlb_output(FOUR_LEVEL_INPUT + 1, 0x5001);
    put(0x40020, 0);
    assert_tlb_output(FOUR_LEVEL_INPUT + 2, 0x5002);
    assert_true(stale_tlb_leaf_reaches(fixture.tlb, 0x5fff, 0x6000));
    assert_false(stale_tlb_leaf_reaches(fixture.tlb, 0x6000, 0x7000));
    assert_false(stale_tlb_leaf_reaches(fixture.tlb, 0x4000, 0x4fff));
    assert_true(stale_tlb_holds_input(fixture.tlb, FOUR_LEVEL_INPUT, FOUR_LEVEL_INPUT));
    stale_tlb_invalidate(fixture.tlb, 0, FOUR_LEVEL_INPUT - 1, false);
    stale_tlb_invalidate(fixture.tlb, FOUR_LEVEL_INPUT + 0x1000, UINT64_MAX, false);
    assert_tlb_output(FOUR_LEVEL_INPUT, 0x5000);
    stale_tlb_invalidate(fixture.tlb, FOUR_LEVEL_INPUT + 0xfff, FOUR_LEVEL_INPUT + 0xfff, true);
    assert_int_equal(tlb_translate(FOUR_LEVEL_INPUT, reading), PIOMMU_WALKER_FAULT_TRANSLATION);
    assert_false(stale_tlb_leaf_reaches(fixture.tlb, 0, UINT64_MAX));
}

static void test_stale_tlb_never_keeps_invalid_descriptors(void **state)
{
    (void)state;
    build_four_levels(2, (0x5000 | S2_LEAF) & ~AF);
    assert_int_equal(tlb_translate(FOUR_LEVEL_INPUT, reading), PIOMMU_WALKER_FAULT_ACCESS_FLAG);
    assert_int_equal(tlb_translate(FOUR_LEVEL_INPUT + 0x1000, reading),
                     PIOMMU_WALKER_FAULT_TRANSLATION);
    assert_int_equal(stale_tlb_leaf_count(fixture.tlb), 0);
    put(0x40020, 0x5000 | S2_LEAF | PAGE);
    put(0x40028, 0x6000 | S2_LEAF | PAGE);
    assert_tlb_output(FOUR_LEVEL_INPUT, 0x5000);
    assert_tlb_output(FOUR_LEVEL_INPUT + 0x1000, 0x6000);
    fixture.regime.output_bits = 44;
    fixture.regime.input_bits = 44;
    stale_tlb_invalidate_all(fixture.tlb);
    put(0x20010, BIT(44) | TABLE);
    assert_int_equal(tlb_translate(FOUR_LEVEL_INPUT, reading), PIOMMU_WALKER_FAULT_ADDRESS_SIZE);
    assert_int_equal(stale_tlb_table_count(fixture.tlb), 1);
}

static void test_stale_tlb_follows_cached_tables_until_they_are_invalidated(void **state)
{
    (void)state;
    build_four_levels(2, 0x5000 | S2_LEAF);
    assert_tlb_output(FOUR_LEVEL_INPUT, 0x5000);
    assert_int_equal(stale_tlb_table_count(fixture.tlb), 3);
    /* The whole subtree is cut off, yet the level-3 table is still in use. */
    put(0x10008, 0);
    put(0x40ff8, 0x7000 | S2_LEAF | PAGE);
    fixture.reads = 0;
    assert_tlb_output(FOUR_LEVEL_INPUT + 0x1fb000, 0x7000);
    assert_int_equal(fixture.reads, 1);
    assert_true(stale_tlb_table_reaches(fixture.tlb, 0x40ff8, 8));
    assert_true(stale_tlb_table_reaches(fixture.tlb, 0x30000, 0x1000));
    assert_true(stale_tlb_table_reaches(fixture.tlb, 0x1f000, 0x1001));
    assert_false(stale_tlb_table_reaches(fixture.tlb, 0x41000, 0x1000));
    assert_false(stale_tlb_table_reaches(fixture.tlb, 0x1f000, 0x1000));
    assert_false(stale_tlb_table_reaches(fixture.tlb, 0x10000, 0x1000));

    stale_tlb_invalidate(fixture.tlb, 0, UINT64_MAX, true);
    assert_int_equal(stale_tlb_leaf_count(fixture.tlb), 0);
    assert_tlb_output(FOUR_LEVEL_INPUT, 0x5000);
    /* A byte elsewhere under the same level-1 entry drops the tables above, not the one below. */
    stale_tlb_invalidate(fixture.tlb, FOUR_LEVEL_INPUT + 0x200000, FOUR_LEVEL_INPUT + 0x200000,
                         false);
    assert_int_equal(stale_tlb_table_count(fixture.tlb), 1);
    assert_true(stale_tlb_table_reaches(fixture.tlb, 0x40000, 0x1000));
    stale_tlb_invalidate(fixture.tlb, FOUR_LEVEL_INPUT, FOUR_LEVEL_INPUT, false);
    assert_int_equal(tlb_translate(FOUR_LEVEL_INPUT, reading), PIOMMU_WALKER_FAULT_TRANSLATION);
    assert_int_equal(fixture.result.level, 0);
}

static void test_stale_tlb_keeps_tables_of_walks_that_met_a_hole(void **state)
{
    (void)state;
    build_four_levels(2, 0x5000 | S2_LEAF);
    assert_int_equal(tlb_translate(FOUR_LEVEL_INPUT + 0x1000, reading),
                     PIOMMU_WALKER_FAULT_TRANSLATION);
    assert_true(stale_tlb_table_reaches(fixture.tlb, 0x40000, 0x1000));
    assert_int_equal(stale_tlb_table_count(fixture.tlb), 3);
    assert_int_equal(tlb_translate(FOUR_LEVEL_INPUT + 0x1000, reading),
                     PIOMMU_WALKER_FAULT_TRANSLATION);
    assert_int_equal(fixture.result.step_count, 1);
    assert_int_equal(stale_tlb_table_count(fixture.tlb), 3);
}

static void test_stale_tlb_keeps_the_attributes_of_cached_tables(void **state)
{
    (void)state;
    build_four_levels(1, 0x5000 | S1_LEAF);
    put(0x10008, 0x20000 | TABLE | BIT(62));
    put(0x40028, 0x6000 | S1_LEAF | PAGE);
    assert_tlb_output(FOUR_LEVEL_INPUT, 0x5000);
    put(0x10008, 0x20000 | TABLE);
    assert_int_equal(tlb_translate(FOUR_LEVEL_INPUT + 0x1000, writing),
                     PIOMMU_WALKER_FAULT_PERMISSION);
    stale_tlb_invalidate_all(fixture.tlb);
    assert_int_equal(tlb_translate(FOUR_LEVEL_INPUT + 0x1000, writing), PIOMMU_WALKER_FAULT_NONE);
}

static void test_stale_tlb_keeps_old_permissions(void **state)
{
    (void)state;
    build_four_levels(2, 0x5000 | S2_LEAF);
    assert_int_equal(tlb_translate(FOUR_LEVEL_INPUT, reading), PIOMMU_WALKER_FAULT_NONE);
    put(0x40020, (0x5000 | S2_LEAF | PAGE) & ~S2_W);
    assert_int_equal(tlb_translate(FOUR_LEVEL_INPUT, writing), PIOMMU_WALKER_FAULT_NONE);
    stale_tlb_invalidate(fixture.tlb, FOUR_LEVEL_INPUT, FOUR_LEVEL_INPUT, true);
    assert_int_equal(tlb_translate(FOUR_LEVEL_INPUT, writing), PIOMMU_WALKER_FAULT_PERMISSION);
    /* The other way round as well: a denied access leaves an entry behind. */
    put(0x40020, 0x5000 | S2_LEAF | PAGE);
    assert_int_equal(tlb_translate(FOUR_LEVEL_INPUT, writing), PIOMMU_WALKER_FAULT_PERMISSION);
    assert_int_equal(stale_tlb_conflicts(fixture.tlb), 0);
}

static void test_stale_tlb_keeps_a_contiguous_group_as_one_entry(void **state)
{
    (void)state;
    build_four_levels(2, 0);
    build_group(16, 12, 0x40000, 0x80000, S2_LEAF | PAGE);
    assert_tlb_output(FOUR_LEVEL_INPUT, 0x84000);
    assert_int_equal(fixture.result.leaf_shift, 12);
    put(0x40000 + 8 * 15, 0);
    assert_tlb_output(FOUR_LEVEL_INPUT + 0xb000, 0x8f000);
    assert_true(stale_tlb_leaf_reaches(fixture.tlb, 0x8ffff, 0x8ffff));
    assert_false(stale_tlb_leaf_reaches(fixture.tlb, 0x90000, UINT64_MAX));
    /* Any byte of the group drops all of it. */
    stale_tlb_invalidate(fixture.tlb, FOUR_LEVEL_INPUT - 0x1000, FOUR_LEVEL_INPUT - 0x1000, true);
    assert_int_equal(tlb_translate(FOUR_LEVEL_INPUT + 0xb000, reading),
                     PIOMMU_WALKER_FAULT_TRANSLATION);
}

static void test_stale_tlb_drops_a_block_by_any_of_its_bytes(void **state)
{
    (void)state;
    fixture.regime = make_regime(2, 12, 32, 1, 0x10000);
    put(0x10008, 0x80000000 | S2_LEAF | BLOCK);
    assert_tlb_output(0x40000000, 0x80000000);
    put(0x10008, 0);
    assert_tlb_output(0x7fffffff, 0xbfffffff);
    assert_true(stale_tlb_leaf_reaches(fixture.tlb, 0xbfffffff, UINT64_MAX));
    stale_tlb_invalidate(fixture.tlb, 0x60000000, 0x60000fff, true);
    assert_int_equal(tlb_translate(0x40000000, reading), PIOMMU_WALKER_FAULT_TRANSLATION);
}

static void test_stale_tlb_does_not_keep_blocks_with_no_translation_set(void **state)
{
    (void)state;
    fixture.regime = make_regime(2, 12, 32, 1, 0x10000);
    fixture.regime.hardware.break_before_make_level = 1;
    put(0x10008, 0x80000000 | S2_LEAF | BLOCK | BIT(16));
    assert_tlb_output(0x40000000, 0x80000000);
    assert_int_equal(stale_tlb_leaf_count(fixture.tlb), 0);
}

static void test_stale_tlb_writes_through_dirty_entries_without_an_update(void **state)
{
    (void)state;
    build_four_levels(2, 0x577c | DBM);
    fixture.memory.compare_exchange64 = compare_exchange64;
    fixture.regime.access_flag_updates = fixture.regime.dirty_updates = true;
    assert_tlb_output(FOUR_LEVEL_INPUT, 0x5000);
    assert_true(get(0x40020) == (0x577f | DBM));
    assert_int_equal(tlb_translate(FOUR_LEVEL_INPUT, writing), PIOMMU_WALKER_FAULT_NONE);
    assert_true(get(0x40020) == (0x57ff | DBM));
    assert_int_equal(stale_tlb_leaf_count(fixture.tlb), 1);
    /* Made clean again, but the TLB still believes it dirty. */
    put(0x40020, 0x577f | DBM);
    assert_int_equal(tlb_translate(FOUR_LEVEL_INPUT, writing), PIOMMU_WALKER_FAULT_NONE);
    assert_true(get(0x40020) == (0x577f | DBM));
    stale_tlb_invalidate(fixture.tlb, FOUR_LEVEL_INPUT, FOUR_LEVEL_INPUT, true);
    assert_int_equal(tlb_translate(FOUR_LEVEL_INPUT, writing), PIOMMU_WALKER_FAULT_NONE);
    assert_true(get(0x40020) == (0x57ff | DBM));
}

static void test_stale_tlb_counts_changes_that_needed_break_before_make(void **state)
{
    static const struct {
        uint64_t after;
        unsigned int conflicts;
    } cases[] = {
        {0x5000 | S2_LEAF | PAGE, 0},
        {(0x5000 | S2_LEAF | PAGE) & ~S2_W, 0},
        {0x5000 | S2_LEAF | PAGE | UINT64_C(3) << 56, 0},
        {0, 0},
        {0x6000 | S2_LEAF | PAGE, 1},
        {(0x5000 | S2_LEAF | PAGE) & ~SH_INNER, 1},
        {(0x5000 | S2_LEAF | PAGE) & ~(UINT64_C(1) << 2), 1},
        {0x5000 | S2_LEAF | PAGE | CONTIGUOUS, 1},
    };
    uint64_t expected = 0;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        build_four_levels(2, 0x5000 | S2_LEAF);
        stale_tlb_invalidate_all(fixture.tlb);
        assert_tlb_output(FOUR_LEVEL_INPUT, 0x5000);
        put(0x40020, cases[i].after);
        assert_tlb_output(FOUR_LEVEL_INPUT, 0x5000);
        expected += cases[i].conflicts;
        assert_int_equal(stale_tlb_conflicts(fixture.tlb), expected);
    }
}

static void test_stale_tlb_counts_block_and_page_side_by_side(void **state)
{
    (void)state;
    build_four_levels(2, 0x604000 | S2_LEAF);
    assert_tlb_output(FOUR_LEVEL_INPUT, 0x604000);
    put(0x30018, 0x600000 | S2_LEAF | BLOCK);
    /* The table that the walk cache holds would hide the block. */
    stale_tlb_invalidate(fixture.tlb, FOUR_LEVEL_INPUT + 0x1000, FOUR_LEVEL_INPUT + 0x1000, false);
    assert_tlb_output(FOUR_LEVEL_INPUT + 0x1000, 0x605000);
    assert_int_equal(stale_tlb_conflicts(fixture.tlb), 1);
    fixture.regime.hardware.break_before_make_level = 2;
    stale_tlb_invalidate_all(fixture.tlb);
    assert_tlb_output(FOUR_LEVEL_INPUT, 0x604000);
    put(0x30018, 0x40000 | TABLE);
    assert_tlb_output(FOUR_LEVEL_INPUT, 0x604000);
    assert_int_equal(stale_tlb_conflicts(fixture.tlb), 1);
}

static void test_stale_tlb_fills_itself_with_all_that_can_be_cached(void **state)
{
    (void)state;
    build_four_levels(1, 0x5000 | S1_LEAF);
    put(0x20ff8, 0x40000000 | S1_LEAF | BLOCK);
    put(0x30000, (0x200000 | S1_LEAF | BLOCK) & ~AF);
    build_group(16, 12, 0x40080, 0x10000, S1_LEAF | PAGE);
    fixture.memory.compare_exchange64 = compare_exchange64;
    fixture.regime.access_flag_updates = true;
    stale_tlb_fill(fixture.tlb, &fixture.regime, &fixture.memory);
    assert_int_equal(stale_tlb_leaf_count(fixture.tlb), 3);
    assert_int_equal(stale_tlb_table_count(fixture.tlb), 3);
    assert_false(stale_tlb_leaf_reaches(fixture.tlb, 0x200000, 0x3fffff));
    assert_true(get(0x30000) == ((0x200000 | S1_LEAF | BLOCK) & ~AF));
    stale_tlb_fill(fixture.tlb, &fixture.regime, &fixture.memory);
    assert_int_equal(stale_tlb_leaf_count(fixture.tlb), 3);
    assert_int_equal(stale_tlb_conflicts(fixture.tlb), 0);
}

static void test_stale_tlb_fills_itself_with_links_to_empty_tables(void **state)
{
    (void)state;
    build_four_levels(1, 0x5000 | S1_LEAF);
    put(0x40020, 0);
    /* Another one, which ends early, and one that nobody can follow. */
    put(0x20018, 0x50000 | TABLE);
    put(0x50000, 0);
    put(0x10010, 0xbad0000 | TABLE);
    stale_tlb_fill(fixture.tlb, &fixture.regime, &fixture.memory);
    assert_int_equal(stale_tlb_leaf_count(fixture.tlb), 0);
    assert_int_equal(stale_tlb_table_count(fixture.tlb), 5);
    assert_true(stale_tlb_table_reaches(fixture.tlb, 0x40000, 0x1000));
    assert_true(stale_tlb_table_reaches(fixture.tlb, 0x50000, 0x1000));
    assert_true(stale_tlb_table_reaches(fixture.tlb, 0xbad0000, 0x1000));
    /* What it holds it does not take again, nor exchange for what memory has now. */
    put(0x30018, 0x60000 | TABLE);
    put(0x60020, 0x7000 | S1_LEAF | PAGE);
    stale_tlb_fill(fixture.tlb, &fixture.regime, &fixture.memory);
    assert_int_equal(stale_tlb_table_count(fixture.tlb), 5);
    assert_false(stale_tlb_table_reaches(fixture.tlb, 0x60000, 0x1000));
    assert_int_equal(tlb_translate(FOUR_LEVEL_INPUT, reading), PIOMMU_WALKER_FAULT_TRANSLATION);
    stale_tlb_invalidate(fixture.tlb, FOUR_LEVEL_INPUT, FOUR_LEVEL_INPUT, false);
    assert_int_equal(stale_tlb_table_count(fixture.tlb), 2);
    stale_tlb_fill(fixture.tlb, &fixture.regime, &fixture.memory);
    assert_int_equal(stale_tlb_table_count(fixture.tlb), 5);
    assert_tlb_output(FOUR_LEVEL_INPUT, 0x7000);
}

static void test_stale_tlb_ignores_the_tag_of_an_address(void **state)
{
    (void)state;
    build_four_levels(1, 0x5000 | S1_LEAF);
    fixture.regime.ignores_top_byte = true;
    assert_tlb_output(FOUR_LEVEL_INPUT | UINT64_C(0x5a) << 56, 0x5000);
    put(0x40020, 0);
    assert_tlb_output(FOUR_LEVEL_INPUT | UINT64_C(0xa5) << 56, 0x5000);
    stale_tlb_invalidate(fixture.tlb, FOUR_LEVEL_INPUT, FOUR_LEVEL_INPUT, true);
    assert_int_equal(tlb_translate(FOUR_LEVEL_INPUT, reading), PIOMMU_WALKER_FAULT_TRANSLATION);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        MODEL_TEST(test_walker_translates_a_page_through_four_levels),
        MODEL_TEST(test_walker_decodes_stage1_attributes),
        MODEL_TEST(test_walker_reports_translation_fault_at_the_level_of_the_hole),
        MODEL_TEST(test_walker_reports_input_out_of_range_at_level_0),
        MODEL_TEST(test_walker_reports_reserved_types_as_translation_faults),
        MODEL_TEST(test_walker_reports_address_size_fault_at_the_level_of_the_descriptor),
        MODEL_TEST(test_walker_reports_walk_abort_at_the_level_of_the_table_read),
        MODEL_TEST(test_walker_reports_access_flag_before_permission),
        MODEL_TEST(test_walker_follows_a_table_that_points_back_until_level_3),
        MODEL_TEST(test_walker_gives_fault_status_codes),
        MODEL_TEST(test_walker_translates_blocks_of_every_size),
        MODEL_TEST(test_walker_joins_52_bit_addresses_with_64k),
        MODEL_TEST(test_walker_indexes_concatenated_roots),
        MODEL_TEST(test_walker_translates_the_upper_half),
        MODEL_TEST(test_walker_applies_the_stage1_permission_table),
        MODEL_TEST(test_walker_applies_table_attributes_of_stage1),
        MODEL_TEST(test_walker_applies_the_stage2_permission_table),
        MODEL_TEST(test_walker_decodes_stage2_memory_types),
        MODEL_TEST(test_walker_updates_the_access_flag_and_the_dirty_state),
        MODEL_TEST(test_walker_makes_stage2_leaves_dirty_by_the_write_bit),
        MODEL_TEST(test_walker_starts_again_when_the_descriptor_changes_under_it),
        MODEL_TEST(test_walker_leaves_memory_alone_without_a_way_to_update_it),
        MODEL_TEST(test_walker_decodes_tcr_fields),
        MODEL_TEST(test_walker_decodes_the_upper_half_of_tcr),
        MODEL_TEST(test_walker_refuses_reserved_tcr_values),
        MODEL_TEST(test_walker_limits_the_output_size_to_what_hardware_has),
        MODEL_TEST(test_walker_derives_the_start_level_of_stage1),
        MODEL_TEST(test_walker_limits_the_input_size_to_what_hardware_has),
        MODEL_TEST(test_walker_knows_the_root_size_of_stage1),
        MODEL_TEST(test_walker_checks_the_alignment_and_size_of_the_root),
        MODEL_TEST(test_walker_decodes_vtcr_fields),
        MODEL_TEST(test_walker_accepts_exactly_the_legal_start_levels_of_stage2),
        MODEL_TEST(test_walker_needs_small_tables_for_level_3_and_short_input),
        MODEL_TEST(test_walker_faults_at_level_0_in_an_illegal_regime),
        MODEL_TEST(test_checker_finds_nothing_in_a_good_tree),
        MODEL_TEST(test_checker_leaves_the_software_bits_of_tables_alone),
        MODEL_TEST(test_checker_says_where_the_problem_is),
        MODEL_TEST(test_checker_finds_bad_leaves_of_stage1),
        MODEL_TEST(test_checker_finds_bad_leaves_of_stage2),
        MODEL_TEST(test_checker_finds_bad_blocks),
        MODEL_TEST(test_checker_knows_the_address_bits_of_64k),
        MODEL_TEST(test_checker_finds_bad_table_descriptors),
        MODEL_TEST(test_checker_finds_tables_reached_twice),
        MODEL_TEST(test_checker_remembers_many_tables),
        MODEL_TEST(test_checker_accepts_contiguous_groups_of_every_size),
        MODEL_TEST(test_checker_finds_bad_contiguous_groups),
        MODEL_TEST(test_checker_lets_hardware_update_single_members_of_a_group),
        MODEL_TEST(test_checker_finds_contiguous_groups_out_of_place),
        MODEL_TEST(test_walker_visits_all_leaves_in_order),
        MODEL_TEST(test_walker_visits_all_links_with_or_without_leaves),
        MODEL_TEST(test_stale_tlb_keeps_a_leaf_until_it_is_invalidated),
        MODEL_TEST(test_stale_tlb_never_keeps_invalid_descriptors),
        MODEL_TEST(test_stale_tlb_follows_cached_tables_until_they_are_invalidated),
        MODEL_TEST(test_stale_tlb_keeps_tables_of_walks_that_met_a_hole),
        MODEL_TEST(test_stale_tlb_keeps_the_attributes_of_cached_tables),
        MODEL_TEST(test_stale_tlb_keeps_old_permissions),
        MODEL_TEST(test_stale_tlb_keeps_a_contiguous_group_as_one_entry),
        MODEL_TEST(test_stale_tlb_drops_a_block_by_any_of_its_bytes),
        MODEL_TEST(test_stale_tlb_does_not_keep_blocks_with_no_translation_set),
        MODEL_TEST(test_stale_tlb_writes_through_dirty_entries_without_an_update),
        MODEL_TEST(test_stale_tlb_counts_changes_that_needed_break_before_make),
        MODEL_TEST(test_stale_tlb_counts_block_and_page_side_by_side),
        MODEL_TEST(test_stale_tlb_fills_itself_with_all_that_can_be_cached),
        MODEL_TEST(test_stale_tlb_fills_itself_with_links_to_empty_tables),
        MODEL_TEST(test_stale_tlb_ignores_the_tag_of_an_address),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
