/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* Creation and destruction: what is refused, what is accepted, what memory is taken. */

#include "pgtable_fixture.h"

#include <stdlib.h>
#include <string.h>

static const uint32_t granules[] = {4096, 16384, 65536};
static const uint8_t output_widths[] = {32, 36, 40, 42, 44, 48, 52};

static const uint32_t stage1_flags = PIOMMU_PGTABLE_TTBR1 | PIOMMU_PGTABLE_NON_SECURE;
static const uint32_t stage2_flags = PIOMMU_PGTABLE_CONCATENATE;
static const uint32_t stage2_64_flags = PIOMMU_PGTABLE_FORCE_WRITE_BACK | PIOMMU_PGTABLE_XNX;
static const uint32_t all_64_flags =
    PIOMMU_PGTABLE_SMALL_INPUT | PIOMMU_PGTABLE_CONTIGUOUS | PIOMMU_PGTABLE_DIRTY;

/* ---- The header's rules, once more ---- */

static uint32_t flags_of(enum piommu_pgtable_format format)
{
    uint32_t flags = PIOMMU_PGTABLE_BBM_LEVEL_2 | disjoint_flag();
    uint32_t flags_64 = stores_at_once() ? all_64_flags : all_64_flags & ~PIOMMU_PGTABLE_DIRTY;

    switch (format) {
    case PIOMMU_ARM_64_LPAE_S1:
        return flags | stage1_flags | flags_64;
    case PIOMMU_ARM_64_LPAE_S2:
        return flags | stage2_flags | stage2_64_flags | flags_64;
    case PIOMMU_ARM_32_LPAE_S1:
        return flags | stage1_flags;
    case PIOMMU_ARM_32_LPAE_S2:
        return flags | stage2_flags;
    }
    return 0;
}

static bool is_64(const struct piommu_pgtable_config *config)
{
    return config->format == PIOMMU_ARM_64_LPAE_S1 || config->format == PIOMMU_ARM_64_LPAE_S2;
}

static bool is_second_stage(const struct piommu_pgtable_config *config)
{
    return config->format == PIOMMU_ARM_64_LPAE_S2 || config->format == PIOMMU_ARM_32_LPAE_S2;
}

static bool granule_exists(const struct piommu_pgtable_config *config)
{
    return config->granule == 4096 ||
           (is_64(config) && (config->granule == 16384 || config->granule == 65536));
}

static bool output_exists(const struct piommu_pgtable_config *config)
{
    for (size_t i = 0; i < COUNT_OF(output_widths); i++) {
        if (config->output_bits == output_widths[i]) {
            return is_64(config) || config->output_bits <= 40;
        }
    }
    return false;
}

static unsigned int least_input(const struct piommu_pgtable_config *config)
{
    if (!is_64(config) || (config->flags & PIOMMU_PGTABLE_SMALL_INPUT) == 0) {
        return 25;
    }
    return config->granule == 65536 ? 17 : 16;
}

static unsigned int greatest_input(const struct piommu_pgtable_config *config)
{
    if (config->format == PIOMMU_ARM_32_LPAE_S1) {
        return (config->flags & PIOMMU_PGTABLE_TTBR1) != 0 ? 31 : 32;
    }
    if (is_second_stage(config)) {
        return config->output_bits;
    }
    return 52;
}

static int expected_result(const struct piommu_pgtable_config *config)
{
    if ((config->flags & ~PIOMMU_PGTABLE_FLAGS) != 0) {
        return -PIOMMU_EINVAL;
    }
    if (config->format < PIOMMU_ARM_64_LPAE_S1 || config->format > PIOMMU_ARM_32_LPAE_S2 ||
        (config->flags & ~flags_of(config->format)) != 0 || !granule_exists(config) ||
        !output_exists(config) || config->input_bits < least_input(config) ||
        config->input_bits > greatest_input(config)) {
        return -PIOMMU_EOPNOTSUPP;
    }
    return 0;
}

/* ---- Trying ---- */

static int try_create(struct fake_os *os, const struct piommu_pgtable_config *config)
{
    struct piommu_pgtable *table = NULL;
    int result = piommu_pgtable_create(fake_os_host(os), config, &table);

    if (result == 0) {
        piommu_pgtable_destroy(table);
    } else {
        assert_null(table);
    }
    assert_int_equal(fake_os_bytes_outstanding(os), 0);
    return result;
}

static void expect_creation(struct fake_os *os, const struct piommu_pgtable_config *config)
{
    int result = try_create(os, config);

    if (result != expected_result(config)) {
        fail_msg("format %d, granule %u, input %u, output %u, flags 0x%x: %d, not %d",
                 (int)config->format, (unsigned int)config->granule,
                 (unsigned int)config->input_bits, (unsigned int)config->output_bits,
                 (unsigned int)config->flags, result, expected_result(config));
    }
}

/* One of two errors, where the contract leaves it open which. */
static void assert_refused(int result)
{
    assert_true(result == -PIOMMU_EINVAL || result == -PIOMMU_EOPNOTSUPP);
}

static void test_create_knows_just_the_widths_that_exist(void **state)
{
    struct fake_os *os = fake_os_create(NULL);

    (void)state;
    for (unsigned int format = 1; format <= 4; format++) {
        for (size_t g = 0; g < COUNT_OF(granules); g++) {
            for (unsigned int input = 0; input <= 66; input++) {
                for (size_t o = 0; o < COUNT_OF(output_widths); o++) {
                    struct piommu_pgtable_config config = config_of(
                        (enum piommu_pgtable_format)format, granules[g], input, output_widths[o]);

                    expect_creation(os, &config);
                    config.flags = PIOMMU_PGTABLE_SMALL_INPUT;
                    expect_creation(os, &config);
                    config.flags = PIOMMU_PGTABLE_TTBR1;
                    expect_creation(os, &config);
                    config.flags = PIOMMU_PGTABLE_CONCATENATE;
                    expect_creation(os, &config);
                }
            }
        }
    }
    fake_os_destroy(os);
}

static void test_create_knows_just_the_output_widths_that_exist(void **state)
{
    struct fake_os *os = fake_os_create(NULL);

    (void)state;
    for (unsigned int format = 1; format <= 4; format++) {
        for (unsigned int output = 0; output <= 255; output++) {
            struct piommu_pgtable_config config =
                config_of((enum piommu_pgtable_format)format, 4096, 32, output);

            expect_creation(os, &config);
        }
        for (unsigned int input = 64; input <= 255; input++) {
            struct piommu_pgtable_config config =
                config_of((enum piommu_pgtable_format)format, 4096, input, 40);

            expect_creation(os, &config);
        }
    }
    fake_os_destroy(os);
}

static void test_create_knows_just_the_formats_and_granules_that_exist(void **state)
{
    struct fake_os *os = fake_os_create(NULL);

    (void)state;
    for (unsigned int format = 0; format <= 16; format++) {
        struct piommu_pgtable_config config =
            config_of((enum piommu_pgtable_format)format, 4096, 32, 40);

        expect_creation(os, &config);
        for (unsigned int bit = 0; bit < 32; bit++) {
            config.granule = 1u << bit;
            expect_creation(os, &config);
        }
        config.granule = 0;
        assert_refused(try_create(os, &config));
        config.granule = 4097;
        assert_refused(try_create(os, &config));
        config.granule = 4096 + 16384;
        assert_refused(try_create(os, &config));
    }
    fake_os_destroy(os);
}

static void test_each_flag_is_taken_where_it_means_something(void **state)
{
    struct fake_os *os = fake_os_create(NULL);

    (void)state;
    for (unsigned int format = 1; format <= 4; format++) {
        struct piommu_pgtable_config config =
            config_of((enum piommu_pgtable_format)format, 4096, 31, 40);

        for (uint32_t flags = 0; flags <= PIOMMU_PGTABLE_FLAGS; flags++) {
            config.flags = flags;
            expect_creation(os, &config);
        }
        for (unsigned int bit = 9; bit < 32; bit++) {
            config.flags = 1u << bit;
            expect_creation(os, &config);
            config.flags = 1u << bit | PIOMMU_PGTABLE_BBM_LEVEL_2;
            expect_creation(os, &config);
        }
    }
    fake_os_destroy(os);
}

/* ---- Leaf sizes ---- */

/* Bytes of the leaves of a granule, from the page up. */
static const uint64_t sizes_of_granule[3][4] = {
    {4 * KIB, 2 * MIB, GIB, 512 * GIB},
    {16 * KIB, 32 * MIB, 64 * GIB, 0},
    {64 * KIB, 512 * MIB, 4 * TIB, 0},
};

static bool granule_has_size(size_t granule, uint64_t size)
{
    for (size_t i = 0; i < 4; i++) {
        if (sizes_of_granule[granule][i] == size) {
            return true;
        }
    }
    return false;
}

static void test_create_accepts_only_sums_of_leaf_sizes_that_exist(void **state)
{
    struct fake_os *os = fake_os_create(NULL);

    (void)state;
    for (unsigned int format = 1; format <= 4; format++) {
        for (size_t g = 0; g < (format <= 2 ? COUNT_OF(granules) : 1); g++) {
            for (unsigned int bit = 0; bit < 64; bit++) {
                struct piommu_pgtable_config config =
                    config_of((enum piommu_pgtable_format)format, granules[g], 30, 40);
                uint64_t size = 1ull << bit;
                int result;

                config.leaf_sizes = granules[g] | size;
                result = try_create(os, &config);
                if (!granule_has_size(g, size)) {
                    assert_int_equal(result, -PIOMMU_EOPNOTSUPP);
                } else if (bit < 36) {
                    assert_int_equal(result, 0);
                } else {
                    /* The largest ones need wider addresses: left out, or refused. */
                    assert_true(result == 0 || result == -PIOMMU_EOPNOTSUPP);
                }
                if (size != granules[g]) {
                    config.leaf_sizes = size;
                    assert_refused(try_create(os, &config));
                }
            }
        }
    }
    fake_os_destroy(os);
}

static void test_leaf_sizes_that_do_not_fit_are_left_out(void **state)
{
    static const struct {
        uint32_t granule;
        uint8_t input;
        uint8_t output;
        uint64_t asked;
        uint64_t used;
    } cases[] = {
        /* Not even two of them in the aperture, or above the root's level. */
        {4096, 25, 32, 4 * KIB + 2 * MIB + GIB, 4 * KIB + 2 * MIB},
        {4096, 30, 32, 4 * KIB + GIB, 4 * KIB},
        {4096, 31, 32, 4 * KIB + GIB, 4 * KIB + GIB},
        {4096, 48, 48, 4 * KIB, 4 * KIB},
        {4096, 48, 48, 4 * KIB + GIB, 4 * KIB + GIB},
        {4096, 52, 52, 0, 4 * KIB + 2 * MIB + GIB + 512 * GIB},
        {4096, 52, 48, 0, 4 * KIB + 2 * MIB + GIB + 512 * GIB},
        {4096, 48, 52, 0, 4 * KIB + 2 * MIB + GIB + 512 * GIB},
        {4096, 39, 52, 0, 4 * KIB + 2 * MIB + GIB},
        {4096, 48, 48, 0, 4 * KIB + 2 * MIB + GIB},
        {16384, 48, 48, 0, 16 * KIB + 32 * MIB},
        {16384, 48, 52, 0, 16 * KIB + 32 * MIB + 64 * GIB},
        {16384, 36, 52, 0, 16 * KIB + 32 * MIB},
        {16384, 37, 52, 0, 16 * KIB + 32 * MIB + 64 * GIB},
        {16384, 25, 40, 0, 16 * KIB},
        {65536, 48, 48, 0, 64 * KIB + 512 * MIB},
        {65536, 48, 52, 0, 64 * KIB + 512 * MIB + 4 * TIB},
        {65536, 42, 52, 0, 64 * KIB + 512 * MIB},
        {65536, 29, 52, 0, 64 * KIB},
        {65536, 48, 52, 64 * KIB + 4 * TIB, 64 * KIB + 4 * TIB},
        /* 512 MiB fits 32 bits of output. */
        {65536, 48, 32, 0, 64 * KIB + 512 * MIB},
    };
    struct fake_os *os = fake_os_create(NULL);

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct piommu_pgtable_config config =
            config_of(PIOMMU_ARM_64_LPAE_S1, cases[i].granule, cases[i].input, cases[i].output);
        struct piommu_pgtable_info info;
        struct piommu_pgtable *table;

        config.leaf_sizes = cases[i].asked;
        assert_int_equal(piommu_pgtable_create(fake_os_host(os), &config, &table), 0);
        piommu_pgtable_get_info(table, &info);
        assert_int_equal(info.leaf_sizes, cases[i].used);
        assert_int_equal(info.contiguous_sizes, 0);
        piommu_pgtable_destroy(table);
    }
    fake_os_destroy(os);
}

static void test_contiguous_sizes_are_those_that_fit(void **state)
{
    static const struct {
        uint32_t granule;
        uint8_t input;
        uint8_t output;
        uint64_t leaf_sizes;
        uint64_t groups;
    } cases[] = {
        {4096, 48, 48, 0, 64 * KIB + 32 * MIB + 16 * GIB},
        {4096, 48, 32, 0, 64 * KIB + 32 * MIB},
        {4096, 33, 48, 0, 64 * KIB + 32 * MIB},
        {4096, 34, 48, 0, 64 * KIB + 32 * MIB + 16 * GIB},
        {4096, 48, 48, 4 * KIB, 64 * KIB},
        {4096, 48, 48, 4 * KIB + GIB, 64 * KIB + 16 * GIB},
        {4096, 48, 48, 4 * KIB + 2 * MIB, 64 * KIB + 32 * MIB},
        /* There are no groups of 512 GiB or 64 GiB. */
        {4096, 52, 52, 0, 64 * KIB + 32 * MIB + 16 * GIB},
        {16384, 48, 52, 0, 2 * MIB + GIB},
        {16384, 29, 48, 0, 2 * MIB},
        {16384, 30, 48, 0, 2 * MIB + GIB},
        {65536, 48, 52, 0, 2 * MIB + 16 * GIB},
        {65536, 33, 52, 0, 2 * MIB},
        {65536, 34, 52, 0, 2 * MIB + 16 * GIB},
        {65536, 34, 32, 0, 2 * MIB},
    };
    struct fake_os *os = fake_os_create(NULL);

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct piommu_pgtable_config config =
            config_of(PIOMMU_ARM_64_LPAE_S1, cases[i].granule, cases[i].input, cases[i].output);
        struct piommu_pgtable_info info;
        struct piommu_pgtable *table;

        config.leaf_sizes = cases[i].leaf_sizes;
        config.flags = PIOMMU_PGTABLE_CONTIGUOUS;
        assert_int_equal(piommu_pgtable_create(fake_os_host(os), &config, &table), 0);
        piommu_pgtable_get_info(table, &info);
        assert_int_equal(info.contiguous_sizes, cases[i].groups);
        piommu_pgtable_destroy(table);
    }
    fake_os_destroy(os);
}

/* ---- Arguments and memory ---- */

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
    for (unsigned int format = 1; format <= 4; format++) {
        for (unsigned int nth = 1;; nth++) {
            struct fake_os *os = fake_os_create(NULL);
            struct piommu_pgtable_config config =
                config_of((enum piommu_pgtable_format)format, 4096, 32, 40);
            int result;

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

static void test_tables_are_asked_for_by_granule_and_output_width(void **state)
{
    (void)state;
    for (unsigned int format = 1; format <= 4; format++) {
        for (size_t g = 0; g < (format <= 2 ? COUNT_OF(granules) : 1); g++) {
            for (size_t o = 0; o < (format <= 2 ? COUNT_OF(output_widths) : 3); o++) {
                struct piommu_pgtable_config config = config_of((enum piommu_pgtable_format)format,
                                                                granules[g], 32, output_widths[o]);
                struct pgt *p = open_table(&config);

                p->has_tlb = false;
                map(p, GIB, 0, granules[g], READ);
                assert_int_equal(p->last_request.size, granules[g]);
                assert_int_equal(p->last_request.alignment, granules[g]);
                assert_int_equal(p->last_request.max_physical, (1ull << output_widths[o]) - 1);
                close_table(p);
            }
        }
    }
}

static void test_the_root_lies_where_the_hardware_can_be_told_of_it(void **state)
{
    const uint8_t widths[] = {0, 32, 36, 40};
    struct piommu_pgtable_config config = config_of(PIOMMU_ARM_32_LPAE_S1, 4096, 32, 40);

    (void)state;
    for (uint32_t alignment = 0; alignment <= 0x4000;
         alignment = alignment != 0 ? 2 * alignment : 1) {
        for (size_t i = 0; i < COUNT_OF(widths); i++) {
            struct piommu_pgtable_info info;
            struct pgt *p;

            config.root_alignment = alignment;
            config.root_bits = widths[i];
            p = open_table(&config);
            assert_int_equal(p->last_request.size, 64);
            assert_int_equal(p->last_request.alignment, alignment > 64 ? alignment : 64);
            assert_int_equal(p->last_request.max_physical,
                             widths[i] != 0 ? (1ull << widths[i]) - 1 : (1ull << 40) - 1);
            piommu_pgtable_get_info(p->table, &info);
            assert_int_equal(info.root_physical % (alignment > 64 ? alignment : 64), 0);
            /* The other tables are as they would be. */
            p->has_tlb = false;
            map(p, GIB, 0, 4096, READ);
            assert_int_equal(p->last_request.alignment, 4096);
            assert_int_equal(p->last_request.max_physical, (1ull << 40) - 1);
            close_table(p);
        }
    }
}

static void test_a_place_for_the_root_that_makes_no_sense_is_refused(void **state)
{
    struct fake_os *os = fake_os_create(NULL);
    struct piommu_pgtable_config config = config_of(PIOMMU_ARM_32_LPAE_S1, 4096, 32, 40);
    struct piommu_pgtable *table;

    (void)state;
    config.root_alignment = 0x1800;
    assert_int_equal(piommu_pgtable_create(fake_os_host(os), &config, &table), -PIOMMU_EINVAL);
    config.root_alignment = 0;
    config.root_bits = 41;
    assert_int_equal(piommu_pgtable_create(fake_os_host(os), &config, &table), -PIOMMU_EINVAL);
    config.root_bits = 5; /* no room for it */
    assert_int_equal(piommu_pgtable_create(fake_os_host(os), &config, &table), -PIOMMU_EINVAL);
    fake_os_destroy(os);
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
    assert_int_equal(piommu_pgtable_reserve(p->table, 5), 0);
    piommu_gather_init(&gather);
    unmap(p, 0, 4096, &gather, 4096);
    close_table(p); /* checks that all memory is back */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_create_knows_just_the_widths_that_exist),
        cmocka_unit_test(test_create_knows_just_the_output_widths_that_exist),
        cmocka_unit_test(test_create_knows_just_the_formats_and_granules_that_exist),
        cmocka_unit_test(test_each_flag_is_taken_where_it_means_something),
        cmocka_unit_test(test_create_accepts_only_sums_of_leaf_sizes_that_exist),
        cmocka_unit_test(test_leaf_sizes_that_do_not_fit_are_left_out),
        cmocka_unit_test(test_contiguous_sizes_are_those_that_fit),
        cmocka_unit_test(test_create_refuses_missing_arguments),
        cmocka_unit_test(test_create_refuses_a_shim_with_a_hole),
        cmocka_unit_test(test_create_fails_cleanly_at_each_allocation),
        cmocka_unit_test(test_owner_and_config_are_passed_on_and_copied),
        cmocka_unit_test(test_tables_are_asked_for_by_granule_and_output_width),
        cmocka_unit_test(test_the_root_lies_where_the_hardware_can_be_told_of_it),
        cmocka_unit_test(test_a_place_for_the_root_that_makes_no_sense_is_refused),
        cmocka_unit_test(test_destroy_frees_whatever_is_mapped),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
