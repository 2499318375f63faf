/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Creation: what is refused, what a table turns out to be, and what hardware makes of its
 * registers.
 */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include "test_io_pgtable_fixture.h"

static const uint8_t output_widths[] = {32, 36, 40, 42, 44, 48};

#define OUTPUT_WIDTHS (sizeof(output_widths) / sizeof(output_widths[0]))

/* Calls visit for each geometry that exists, on one fake OS. */
static void for_each_geometry(bool coherent,
                              void (*visit)(struct fake_os *os,
                                            const struct piommu_pgtable_config *config))
{
    struct fake_os_options options = {.scattered = true, .non_coherent = !coherent};
    struct fake_os *os = fake_os_create(&options);

    for (unsigned int stage = 1; stage <= 2; stage++) {
        for (unsigned int input = 25; input <= 48; input++) {
            for (size_t i = 0; i < OUTPUT_WIDTHS; i++) {
                struct piommu_pgtable_config config = stage1_config(input);

                if (stage == 2) {
                    config = stage2_config(input, output_widths[i]);
                }
                config.output_bits = output_widths[i];
                config.coherent_walk = coherent;
                if (stage == 1 || input <= config.output_bits) {
                    visit(os, &config);
                }
            }
        }
    }
    fake_os_destroy(os);
}

static void check_geometry(struct fake_os *os, const struct piommu_pgtable_config *config)
{
    struct pgt *p = open_table_on(os, config);
    const struct piommu_pgtable_info *info = &p->info;
    struct walker_regime regime;
    uint64_t root_size = walker_root_size(&p->regime);
    size_t memory = root_size < 64 ? 64 : root_size;
    unsigned int irgn = config->coherent_walk ? 1 : 0;
    unsigned int sh = config->coherent_walk ? 3 : 2;

    assert_int_equal(info->format, config->format);
    assert_int_equal(info->granule, 4096);
    assert_int_equal(info->input_bits, config->input_bits);
    assert_int_equal(info->output_bits, config->output_bits);
    assert_int_equal(info->leaf_sizes, 4 * KIB + 2 * MIB + (info->start_level <= 1 ? GIB : 0));
    assert_int_equal(info->write_only, config->format == PIOMMU_ARM_64_LPAE_S2);
    assert_int_equal(info->start_level, p->regime.start_level);
    assert_int_equal(info->root_physical, p->regime.root);
    /* No root is smaller than the alignment that all hardware can express. */
    assert_int_equal(info->root_size, root_size);
    assert_int_equal(info->root_physical % memory, 0);

    /* The only request so far was for the root. */
    assert_int_equal(p->requests, 1);
    assert_int_equal(p->last_request.size, memory);
    assert_int_equal(p->last_request.alignment, memory);
    assert_int_equal(p->last_request.max_physical, (1ull << config->output_bits) - 1);
    assert_int_equal(p->last_request.purpose, PIOMMU_DMA_TABLE);

    assert_int_equal(p->regime.stage, config->format == PIOMMU_ARM_64_LPAE_S1 ? 1 : 2);
    assert_int_equal(p->regime.granule_shift, 12);
    assert_int_equal(p->regime.input_bits, config->input_bits);
    assert_int_equal(p->regime.output_bits, config->output_bits);
    assert_false(p->regime.is_disabled);
    assert_false(p->regime.ignores_top_byte);
    assert_false(p->regime.access_flag_updates);
    assert_false(p->regime.has_wide_identifiers);
    assert_false(p->regime.is_common_not_private);
    assert_int_equal(p->regime.identifier, 0);
    assert_int_equal(p->regime.walk_inner_cacheability, irgn);
    assert_int_equal(p->regime.walk_outer_cacheability, irgn);
    assert_int_equal(p->regime.walk_shareability, sh);

    /* The same registers work on hardware with larger addresses. */
    assert_int_equal(decode_registers(info, 48, &regime), WALKER_SETUP_OK);

    if (config->format == PIOMMU_ARM_64_LPAE_S1) {
        const struct piommu_pgtable_stage1_registers *registers = &info->registers.stage1;
        uint64_t tcr = piommu_pgtable_tcr_el1(info, NULL);

        assert_int_equal(registers->ttbr, info->root_physical);
        assert_int_equal(registers->tsz, 64 - config->input_bits);
        assert_int_equal(registers->tg, 0);
        assert_int_equal(registers->irgn, irgn);
        assert_int_equal(registers->orgn, irgn);
        assert_int_equal(registers->sh, sh);
        assert_int_equal(registers->ips, (tcr >> 32) & 7);
        assert_int_equal((tcr >> 23) & 1, 1); /* EPD1: no walks by TTBR1 */
        assert_int_equal((tcr >> 39) & 3, 0); /* HA, HD */
        assert_int_equal(piommu_pgtable_vtcr_el2(info), 0);
    } else {
        const struct piommu_pgtable_stage2_registers *registers = &info->registers.stage2;
        uint64_t vtcr = piommu_pgtable_vtcr_el2(info);

        assert_int_equal(registers->vttbr, info->root_physical);
        assert_int_equal(registers->tsz, 64 - config->input_bits);
        assert_int_equal(registers->tg, 0);
        assert_int_equal(registers->irgn, irgn);
        assert_int_equal(registers->orgn, irgn);
        assert_int_equal(registers->sh, sh);
        assert_int_equal(registers->ps, (vtcr >> 16) & 7);
        assert_int_equal(registers->sl, 2 - info->start_level);
        assert_int_equal((vtcr >> 31) & 1, 1);
        assert_int_equal(piommu_pgtable_tcr_el1(info, NULL), 0);
    }
    expect_empty(p);
    close_table(p);
}

static void test_registers_describe_the_table_for_every_geometry(void **state)
{
    (void)state;
    for_each_geometry(true, check_geometry);
}

static void test_registers_tell_a_walker_that_does_not_snoop_to_bypass_the_caches(void **state)
{
    (void)state;
    for_each_geometry(false, check_geometry);
}

static void check_last_leaves(struct fake_os *os, const struct piommu_pgtable_config *config)
{
    struct pgt *p = open_table_on(os, config);
    uint64_t end = 1ull << config->input_bits;
    uint64_t output_end = 1ull << config->output_bits;
    uint64_t middle = end / 2;
    uint64_t mapped;

    map(p, end - 4096, output_end - 4096, 4096, READ);
    map(p, 0, 0, 4096, READ_WRITE);
    map(p, middle, 2 * MIB, 2 * MIB, WRITE | READ);
    map(p, middle - 4096, 4096, 4096, READ);
    EXPECT_LEAVES(p, {0, 0, 4096}, {middle - 4096, 4096, 4096}, {middle, 2 * MIB, 2 * MIB},
                  {end - 4096, output_end - 4096, 4096});

    map_fails(p, end, 0, 4096, READ, -PIOMMU_ERANGE);
    map_fails(p, end - 8192, 0, 3 * 4096, READ, -PIOMMU_ERANGE);
    map_fails(p, UINT64_MAX - 4095, 0, 4096, READ, -PIOMMU_ERANGE);
    map_fails(p, UINT64_MAX - 4095, 0, 8192, READ, -PIOMMU_ERANGE);
    map_fails(p, 4096, 0, UINT64_MAX - 4095, READ, -PIOMMU_ERANGE);
    map_fails(p, 4096, 0, end, READ, -PIOMMU_ERANGE);
    map_fails(p, end + 4096, 0, 4096, READ, -PIOMMU_ERANGE);
    map_fails(p, 8192, output_end, 4096, READ, -PIOMMU_ERANGE);
    map_fails(p, 8192, output_end - 4096, 8192, READ, -PIOMMU_ERANGE);
    map_fails(p, 8192, UINT64_MAX - 4095, 4096, READ, -PIOMMU_ERANGE);
    map_fails(p, 8192, UINT64_MAX - 4095, 8192, READ, -PIOMMU_ERANGE);
    unmap_fails(p, end, 4096, -PIOMMU_ERANGE);
    unmap_fails(p, end - 4096, 8192, -PIOMMU_ERANGE);
    unmap_fails(p, UINT64_MAX - 4095, 4096, -PIOMMU_ERANGE);
    unmap_fails(p, UINT64_MAX - 4095, 8192, -PIOMMU_ERANGE);
    unmap_fails(p, 4096, UINT64_MAX - 4095, -PIOMMU_ERANGE);

    for (unsigned int bit = config->input_bits; bit < 64; bit++) {
        struct piommu_translation translation;
        uint64_t found;

        assert_int_equal(piommu_pgtable_lookup(p->table, 1ull << bit, &translation),
                         -PIOMMU_ERANGE);
        assert_int_equal(
            piommu_pgtable_next_leaf(p->table, 1ull << bit, UINT64_MAX, &found, &translation),
            -PIOMMU_ENOENT);
    }
    unmap_and_sync(p, end - 4096, 4096, 4096);
    unmap_and_sync(p, 0, end, 2 * MIB + 8192);
    expect_empty(p);
    assert_int_equal(p->linked_count, 0);

    /* The whole space. What lies beyond the output width stays out. */
    if (config->input_bits <= config->output_bits && config->input_bits <= 41) {
        assert_int_equal(call_map(p, 0, 0, end, READ, &mapped), 0);
        assert_int_equal(mapped, end);
        if ((p->info.leaf_sizes & GIB) != 0) {
            expect_counts(p, 0, 0, (size_t)(end / GIB));
        } else {
            expect_counts(p, 0, (size_t)(end / (2 * MIB)), 0);
        }
        unmap_and_sync(p, 0, end, end);
        expect_empty(p);
    }
    close_table(p);
}

static void test_both_ends_of_every_geometry_map_and_nothing_beyond(void **state)
{
    (void)state;
    for_each_geometry(true, check_last_leaves);
}

/* One of two errors, where the contract leaves it open which. */
static void assert_refused(int result)
{
    assert_true(result == -PIOMMU_EINVAL || result == -PIOMMU_EOPNOTSUPP);
}

static int try_create(struct fake_os *os, const struct piommu_pgtable_config *config)
{
    struct piommu_pgtable *table = NULL;
    int result = piommu_pgtable_create(fake_os_host(os), config, &table);

    if (result == 0) {
        piommu_pgtable_destroy(table);
    }
    assert_int_equal(fake_os_bytes_outstanding(os), 0);
    return result;
}

static void test_create_refuses_what_does_not_exist(void **state)
{
    struct fake_os *os = fake_os_create(NULL);
    struct piommu_pgtable_config config;

    (void)state;
    for (unsigned int input = 0; input <= 255; input++) {
        config = stage1_config(input);
        assert_int_equal(try_create(os, &config),
                         input >= 25 && input <= 52 ? 0 : -PIOMMU_EOPNOTSUPP);
        config = stage2_config(input, 48);
        assert_int_equal(try_create(os, &config),
                         input >= 25 && input <= 48 ? 0 : -PIOMMU_EOPNOTSUPP);
    }
    for (unsigned int output = 0; output <= 255; output++) {
        bool exists = output == 32 || output == 36 || output == 40 || output == 42 ||
                      output == 44 || output == 48 || output == 52;

        config = stage1_config(32);
        config.output_bits = (uint8_t)output;
        assert_int_equal(try_create(os, &config), exists ? 0 : -PIOMMU_EOPNOTSUPP);
        config = stage2_config(32, output);
        assert_int_equal(try_create(os, &config), exists ? 0 : -PIOMMU_EOPNOTSUPP);
    }
    for (size_t i = 0; i + 1 < OUTPUT_WIDTHS; i++) {
        config = stage2_config(output_widths[i] + 1u, output_widths[i]);
        assert_refused(try_create(os, &config));
        config = stage2_config(48, output_widths[i]);
        assert_refused(try_create(os, &config));
    }
    for (unsigned int format = 0; format <= 16; format++) {
        config = stage1_config(32);
        config.output_bits = 40;
        config.format = (enum piommu_pgtable_format)format;
        assert_int_equal(try_create(os, &config),
                         format >= 1 && format <= 4 ? 0 : -PIOMMU_EOPNOTSUPP);
    }
    for (unsigned int bit = 0; bit < 32; bit++) {
        config = stage1_config(32);
        config.granule = 1u << bit;
        assert_int_equal(try_create(os, &config),
                         bit == 12 || bit == 14 || bit == 16 ? 0 : -PIOMMU_EOPNOTSUPP);
    }
    config = stage1_config(32);
    config.granule = 0;
    assert_refused(try_create(os, &config));
    fake_os_destroy(os);
}

static void test_create_accepts_only_sums_of_leaf_sizes_that_exist(void **state)
{
    struct fake_os *os = fake_os_create(NULL);

    (void)state;
    for (unsigned int bit = 0; bit < 64; bit++) {
        struct piommu_pgtable_config config = stage1_config(32);
        bool exists = bit == 12 || bit == 21 || bit == 30 || bit == 39;

        config.leaf_sizes = 4096 | (1ull << bit);
        assert_int_equal(try_create(os, &config), exists ? 0 : -PIOMMU_EOPNOTSUPP);
        if (bit != 12) {
            config.leaf_sizes = 1ull << bit;
            assert_refused(try_create(os, &config));
        }
    }
    fake_os_destroy(os);
}

static void test_create_refuses_missing_arguments(void **state)
{
    struct fake_os *os = fake_os_create(NULL);
    struct piommu_pgtable_config config = stage1_config(32);
    struct piommu_pgtable *table;
    struct piommu_host nobody = {.os = NULL, .ctx = os};

    (void)state;
    assert_int_equal(piommu_pgtable_create(fake_os_host(os), NULL, &table), -PIOMMU_EINVAL);
    assert_int_equal(piommu_pgtable_create(fake_os_host(os), &config, NULL), -PIOMMU_EINVAL);
    assert_int_equal(piommu_pgtable_create(nobody, &config, &table), -PIOMMU_EINVAL);
    piommu_pgtable_destroy(NULL);
    fake_os_destroy(os);
}

static void test_create_refuses_a_shim_with_a_hole(void **state)
{
    struct fake_os *os = fake_os_create(NULL);
    struct piommu_os *shim = fake_os_callbacks(os);
    struct piommu_os complete = *shim;
    struct piommu_pgtable_config config = stage1_config(32);

    (void)state;
    shim->alloc = NULL;
    assert_int_equal(try_create(os, &config), -PIOMMU_EINVAL);
    *shim = complete;
    shim->free = NULL;
    assert_int_equal(try_create(os, &config), -PIOMMU_EINVAL);
    *shim = complete;
    shim->dma_alloc = NULL;
    assert_int_equal(try_create(os, &config), -PIOMMU_EINVAL);
    *shim = complete;
    shim->dma_free = NULL;
    assert_int_equal(try_create(os, &config), -PIOMMU_EINVAL);
    *shim = complete;
    shim->barrier = NULL;
    assert_int_equal(try_create(os, &config), -PIOMMU_EINVAL);
    *shim = complete;
    shim->size = 0;
    assert_int_equal(try_create(os, &config), -PIOMMU_EINVAL);
    shim->size = offsetof(struct piommu_os, barrier);
    assert_int_equal(try_create(os, &config), -PIOMMU_EINVAL);
    *shim = complete;
    shim->cache_clean = NULL;
    assert_int_equal(try_create(os, &config), 0);
    config.coherent_walk = false;
    assert_int_equal(try_create(os, &config), -PIOMMU_EINVAL);
    *shim = complete;
    fake_os_destroy(os);
}

static void test_create_fails_cleanly_at_each_allocation(void **state)
{
    (void)state;
    for (unsigned int format = 1; format <= 2; format++) {
        for (unsigned int nth = 1;; nth++) {
            struct fake_os *os = fake_os_create(NULL);
            struct piommu_pgtable_config config = stage1_config(40);
            int result;

            config.format = (enum piommu_pgtable_format)format;
            fake_os_fail_call(os, nth, true);
            result = try_create(os, &config);
            fake_os_destroy(os);
            if (nth > 2) { /* the object and the root */
                assert_int_equal(result, 0);
                break;
            }
            assert_int_equal(result, -PIOMMU_ENOMEM);
        }
    }
}

static void test_owner_and_config_are_passed_on_and_copied(void **state)
{
    struct piommu_pgtable_config config = stage2_config(40, 40);
    struct pgt *p;
    int owner = 0;

    (void)state;
    config.owner = &owner;
    p = open_table(&config);
    assert_ptr_equal(p->last_request.owner, &owner);
    memset(&p->config, 0xff, sizeof(p->config));
    p->config.coherent_walk = true;
    map(p, 4 * GIB, 4096, 4096, READ);
    assert_ptr_equal(p->last_request.owner, &owner);
    assert_int_equal(p->last_request.size, 4096);
    assert_int_equal(p->last_request.alignment, 4096);
    assert_int_equal(p->last_request.max_physical, (1ull << 40) - 1);
    assert_int_equal(p->last_request.purpose, PIOMMU_DMA_TABLE);
    close_table(p);
}

static void test_destroy_frees_whatever_is_mapped(void **state)
{
    struct piommu_pgtable_config config = stage1_config(48);
    struct pgt *p;
    struct piommu_gather gather;

    (void)state;
    config.empty_tables_kept = 3;
    p = open_table(&config);
    for (unsigned int i = 0; i < 12; i++) {
        map(p, i * (37 * TIB / 2) / 8 & ~0xfffull, 0, 4096, READ);
    }
    map(p, 3 * GIB, 3 * GIB, GIB + 2 * MIB + 4096, READ);
    piommu_gather_init(&gather);
    unmap(p, 0, 4096, &gather, 4096);
    close_table(p); /* checks that all memory is back */
}

static void test_each_kind_of_memory_has_its_own_mair_slot(void **state)
{
    struct pgt *p;
    struct piommu_pgtable_config config = stage1_config(48);
    uint64_t mair;

    (void)state;
    p = open_table(&config);
    mair = p->info.registers.stage1.mair;
    /* Each kind of memory has one slot of 0 to 2, and the others are not in use. */
    for (unsigned int i = 0; i < 3; i++) {
        uint8_t slot = (uint8_t)(mair >> (8 * i));

        assert_true(slot == 0x44 || slot == 0xff || slot == 0x04);
        for (unsigned int j = 0; j < i; j++) {
            assert_int_not_equal(slot, (uint8_t)(mair >> (8 * j)));
        }
    }
    close_table(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_registers_describe_the_table_for_every_geometry),
        cmocka_unit_test(test_registers_tell_a_walker_that_does_not_snoop_to_bypass_the_caches),
        cmocka_unit_test(test_both_ends_of_every_geometry_map_and_nothing_beyond),
        cmocka_unit_test(test_create_refuses_what_does_not_exist),
        cmocka_unit_test(test_create_accepts_only_sums_of_leaf_sizes_that_exist),
        cmocka_unit_test(test_create_refuses_missing_arguments),
        cmocka_unit_test(test_create_refuses_a_shim_with_a_hole),
        cmocka_unit_test(test_create_fails_cleanly_at_each_allocation),
        cmocka_unit_test(test_owner_and_config_are_passed_on_and_copied),
        cmocka_unit_test(test_destroy_frees_whatever_is_mapped),
        cmocka_unit_test(test_each_kind_of_memory_has_its_own_mair_slot),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
