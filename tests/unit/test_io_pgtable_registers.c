/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * What a table turns out to be: start level, root, aperture, and what hardware makes of its
 * registers, for every geometry that exists.
 */

#include "pgtable_fixture.h"

#include <stdlib.h>
#include <string.h>

static const uint8_t output_widths[] = {32, 36, 40, 42, 44, 48, 52};
static const uint32_t granules[] = {4096, 16384, 65536};

/* ---- Start levels, from the tables of the architecture ---- */

/* Which input widths may start at which level. */
struct start {
    uint32_t granule;
    int level;
    unsigned int least;
    unsigned int one_table; /* the widest for which one table suffices */
    unsigned int greatest;  /* the widest with 16 tables side by side, stage 2 alone */
    unsigned int least_output;
    bool needs_small_input;
    bool needs_ds;
    unsigned int shift; /* of an entry there */
};

static const struct start starts[] = {
    {4096, 3, 16, 21, 25, 0, true, false, 12},   {4096, 2, 22, 30, 34, 0, false, false, 21},
    {4096, 1, 31, 39, 43, 0, false, false, 30},  {4096, 0, 40, 48, 52, 44, false, false, 39},
    {4096, -1, 49, 52, 52, 0, false, true, 48},  {16384, 3, 16, 25, 29, 0, false, false, 14},
    {16384, 2, 26, 36, 40, 0, false, false, 25}, {16384, 1, 37, 47, 51, 42, false, false, 36},
    {16384, 0, 48, 52, 52, 0, false, true, 47},  {65536, 3, 17, 29, 33, 0, false, false, 16},
    {65536, 2, 30, 42, 46, 0, false, false, 29}, {65536, 1, 43, 52, 52, 44, false, false, 42},
};

/* Stage 1 with 16 KiB has a level 0 for 48 bits without FEAT_LPA2, too. */
static bool exists(const struct start *start, const struct piommu_pgtable_config *config)
{
    bool ds = config_has_ds(config);
    bool is_second_stage = config->format == PIOMMU_ARM_64_LPAE_S2;

    if (start->needs_ds && !ds && (is_second_stage || start->granule == 4096)) {
        return false;
    }
    return start->granule == config->granule &&
           (!is_second_stage || config->output_bits >= start->least_output) &&
           (!start->needs_small_input || (config->flags & PIOMMU_PGTABLE_SMALL_INPUT) != 0);
}

/* The start level that a 64-bit table must have, or with `tables` > 1, may have. */
static const struct start *expected_start(const struct piommu_pgtable_config *config)
{
    bool is_second_stage = config->format == PIOMMU_ARM_64_LPAE_S2;
    const struct start *single = NULL;
    const struct start *concatenated = NULL;

    for (size_t i = 0; i < COUNT_OF(starts); i++) {
        const struct start *start = &starts[i];

        if (!exists(start, config) || config->input_bits < start->least) {
            continue;
        }
        if (config->input_bits <= start->one_table) {
            single = start;
        } else if (is_second_stage && config->input_bits <= start->greatest) {
            concatenated = start;
        }
    }
    if (single == NULL) {
        return concatenated;
    }
    if (concatenated != NULL && (config->flags & PIOMMU_PGTABLE_CONCATENATE) != 0) {
        return concatenated;
    }
    return single;
}

static const struct start *expected_start_32(const struct piommu_pgtable_config *config)
{
    static const struct start level_1 = {4096, 1, 31, 39, 43, 0, false, false, 30};
    static const struct start level_2 = {4096, 2, 22, 30, 34, 0, false, false, 21};

    if (config->input_bits <= 30) {
        return &level_2;
    }
    if (config->format == PIOMMU_ARM_32_LPAE_S2 && config->input_bits <= 34 &&
        (config->flags & PIOMMU_PGTABLE_CONCATENATE) != 0) {
        return &level_2;
    }
    return &level_1;
}

/* ---- Every geometry ---- */

typedef void (*visit_geometry)(struct fake_os *os, const struct piommu_pgtable_config *config);

static unsigned int least_input(const struct piommu_pgtable_config *config)
{
    if ((config->flags & PIOMMU_PGTABLE_SMALL_INPUT) == 0) {
        return 25;
    }
    return config->granule == 65536 ? 17 : 16;
}

static unsigned int greatest_input(const struct piommu_pgtable_config *config)
{
    switch (config->format) {
    case PIOMMU_ARM_64_LPAE_S1:
        return 52;
    case PIOMMU_ARM_32_LPAE_S1:
        return (config->flags & PIOMMU_PGTABLE_TTBR1) != 0 ? 31 : 32;
    default:
        return config->output_bits;
    }
}

static void for_each_width(struct fake_os *os, struct piommu_pgtable_config config,
                           visit_geometry visit)
{
    bool is_64 = config.format == PIOMMU_ARM_64_LPAE_S1 || config.format == PIOMMU_ARM_64_LPAE_S2;

    for (size_t o = 0; o < (is_64 ? COUNT_OF(output_widths) : 3); o++) {
        config.output_bits = output_widths[o];
        for (size_t g = 0; g < (is_64 ? COUNT_OF(granules) : 1); g++) {
            config.granule = granules[g];
            for (unsigned int input = least_input(&config); input <= greatest_input(&config);
                 input++) {
                config.input_bits = (uint8_t)input;
                if (!is_left_out()) {
                    visit(os, &config);
                }
            }
        }
    }
}

/* With each flag that changes the geometry or where the registers are. */
static void for_each_geometry(bool coherent, visit_geometry visit)
{
    static const struct {
        enum piommu_pgtable_format format;
        uint32_t flags;
    } kinds[] = {
        {PIOMMU_ARM_64_LPAE_S1, 0},
        {PIOMMU_ARM_64_LPAE_S1, PIOMMU_PGTABLE_SMALL_INPUT},
        {PIOMMU_ARM_64_LPAE_S1, PIOMMU_PGTABLE_TTBR1},
        {PIOMMU_ARM_64_LPAE_S1, PIOMMU_PGTABLE_TTBR1 | PIOMMU_PGTABLE_SMALL_INPUT},
        {PIOMMU_ARM_64_LPAE_S2, 0},
        {PIOMMU_ARM_64_LPAE_S2, PIOMMU_PGTABLE_SMALL_INPUT},
        {PIOMMU_ARM_64_LPAE_S2, PIOMMU_PGTABLE_CONCATENATE},
        {PIOMMU_ARM_64_LPAE_S2, PIOMMU_PGTABLE_CONCATENATE | PIOMMU_PGTABLE_SMALL_INPUT},
        {PIOMMU_ARM_32_LPAE_S1, 0},
        {PIOMMU_ARM_32_LPAE_S1, PIOMMU_PGTABLE_TTBR1},
        {PIOMMU_ARM_32_LPAE_S2, 0},
        {PIOMMU_ARM_32_LPAE_S2, PIOMMU_PGTABLE_CONCATENATE},
    };
    struct fake_os_options options = {.scattered = true, .non_coherent = !coherent};
    struct fake_os *os = fake_os_create(&options);

    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        struct piommu_pgtable_config config = config_of(kinds[i].format, 4096, 32, 40);

        config.flags = kinds[i].flags;
        config.coherent_walk = coherent;
        for_each_width(os, config, visit);
    }
    fake_os_destroy(os);
}

/* The address as TTBR and VTTBR want it. */
static uint64_t folded(const struct piommu_pgtable_info *info, uint64_t address)
{
    if (info->output_bits != 52) {
        return address;
    }
    return (address & 0x0000ffffffffffffull) | (address >> 48 & 0xf) << 2;
}

static unsigned int size_code(unsigned int bits)
{
    for (unsigned int i = 0; i < COUNT_OF(output_widths); i++) {
        if (output_widths[i] == bits) {
            return i;
        }
    }
    return 99;
}

/* TG0: 0 4K, 1 64K, 2 16K. TG1: 1 16K, 2 4K, 3 64K. */
static unsigned int granule_code(uint32_t granule, bool is_upper)
{
    if (granule == 4096) {
        return is_upper ? 2 : 0;
    }
    if (granule == 16384) {
        return is_upper ? 1 : 2;
    }
    return is_upper ? 3 : 1;
}

static void check_aperture(const struct piommu_pgtable_info *info)
{
    uint64_t size = 1ull << info->input_bits;
    uint64_t first = 0;
    uint64_t last = size - 1;

    if ((info->flags & PIOMMU_PGTABLE_TTBR1) != 0) {
        last = is_32_bit(info) ? UINT32_MAX : UINT64_MAX;
        first = last - size + 1;
    }
    assert_int_equal(info->aperture.first, first);
    assert_int_equal(info->aperture.last, last);
}

static void check_stage1(const struct pgt *p)
{
    const struct piommu_pgtable_info *info = &p->info;
    const struct piommu_pgtable_stage1_registers *registers = &info->registers.stage1;
    bool is_upper = (info->flags & PIOMMU_PGTABLE_TTBR1) != 0;
    unsigned int cacheable = p->config.coherent_walk ? 1 : 0;

    assert_int_equal(registers->ttbr, folded(info, info->root_physical));
    assert_int_equal(registers->tsz, (is_32_bit(info) ? 32 : 64) - info->input_bits);
    if (!is_32_bit(info)) {
        assert_int_equal(registers->tg, granule_code(info->granule, is_upper));
    }
    assert_int_equal(registers->irgn, cacheable);
    assert_int_equal(registers->orgn, cacheable);
    assert_int_equal(registers->sh, p->config.coherent_walk ? 3 : 2);
    assert_int_equal(registers->ips, is_32_bit(info) ? 0 : size_code(info->output_bits));
    assert_int_equal(registers->ds, config_has_ds(&p->config));
    assert_false(registers->ha);
    assert_false(registers->hd);
}

static void check_stage2(const struct pgt *p, const struct start *start)
{
    const struct piommu_pgtable_info *info = &p->info;
    const struct piommu_pgtable_stage2_registers *registers = &info->registers.stage2;
    unsigned int cacheable = p->config.coherent_walk ? 1 : 0;
    int sl;

    if (is_32_bit(info)) {
        sl = start->level == 1 ? 1 : 0;
        assert_int_equal(registers->tsz, (32u - info->input_bits) & 0x1f);
    } else {
        if (info->granule == 4096) {
            sl = start->level == 3 ? 3 : start->level == -1 ? 0 : 2 - start->level;
        } else {
            sl = 3 - start->level;
        }
        assert_int_equal(registers->tsz, 64 - info->input_bits);
        assert_int_equal(registers->tg, granule_code(info->granule, false));
    }
    assert_int_equal(registers->vttbr, folded(info, info->root_physical));
    assert_int_equal(registers->sl, sl);
    assert_int_equal(registers->sl2, start->level == -1);
    assert_int_equal(registers->irgn, cacheable);
    assert_int_equal(registers->orgn, cacheable);
    assert_int_equal(registers->sh, p->config.coherent_walk ? 3 : 2);
    assert_int_equal(registers->ps, is_32_bit(info) ? 0 : size_code(info->output_bits));
    assert_int_equal(registers->ds, config_has_ds(&p->config));
    assert_false(registers->ha);
    assert_false(registers->hd);
}

static void check_regime(const struct pgt *p)
{
    const struct piommu_walker_regime *regime = &p->regime;
    unsigned int cacheable = p->config.coherent_walk ? 1 : 0;

    assert_int_equal(regime->stage, is_stage1(&p->info) ? 1 : 2);
    assert_int_equal(1u << regime->granule_shift, p->info.granule);
    assert_int_equal(regime->input_bits, p->config.input_bits);
    assert_int_equal(regime->output_bits, p->config.output_bits);
    assert_int_equal(regime->start_level, p->info.start_level);
    assert_int_equal(regime->root, p->info.root_physical);
    assert_false(regime->is_disabled);
    assert_false(regime->ignores_top_byte);
    assert_false(regime->access_flag_updates);
    assert_false(regime->has_wide_identifiers);
    assert_false(regime->is_common_not_private);
    assert_int_equal(regime->identifier, 0);
    assert_int_equal(regime->walk_inner_cacheability, cacheable);
    assert_int_equal(regime->walk_outer_cacheability, cacheable);
    assert_int_equal(regime->walk_shareability, p->config.coherent_walk ? 3 : 2);
}

static void check_geometry(struct fake_os *os, const struct piommu_pgtable_config *config)
{
    struct pgt *p = open_table_on(os, config);
    const struct piommu_pgtable_info *info = &p->info;
    const struct start *start =
        is_32_bit(info) ? expected_start_32(config) : expected_start(config);
    uint64_t root_size = 8ull << (config->input_bits - start->shift);
    uint64_t taken = root_size < 64 ? 64 : root_size;

    assert_int_equal(info->format, config->format);
    assert_int_equal(info->granule, config->granule);
    assert_int_equal(info->flags, config->flags);
    assert_int_equal(info->input_bits, config->input_bits);
    assert_int_equal(info->output_bits, config->output_bits);
    assert_int_equal(info->coherent_walk, config->coherent_walk);
    assert_int_equal(info->write_only, !is_stage1(info));
    assert_false(info->adopted);
    assert_int_equal(info->start_level, start->level);
    assert_int_equal(info->root_size, root_size);
    assert_int_equal(info->root_size, piommu_walker_root_size(&p->regime));
    assert_int_equal(info->contiguous_sizes, 0);
    assert_int_equal(info->leaf_sizes & (info->granule - 1u), 0);
    check_aperture(info);

    /* The only request so far was for the root. */
    assert_int_equal(p->requests, 1);
    assert_int_equal(p->last_request.size, taken);
    assert_int_equal(p->last_request.alignment, taken);
    assert_int_equal(p->last_request.max_physical, (1ull << config->output_bits) - 1);
    assert_int_equal(p->last_request.purpose, PIOMMU_DMA_TABLE);
    assert_int_equal(info->root_physical % taken, 0);

    check_regime(p);
    if (is_stage1(info)) {
        check_stage1(p);
    } else {
        check_stage2(p, start);
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

/* ---- The fact sheet's own rows ---- */

static void test_roots_of_usual_sizes(void **state)
{
    static const struct {
        enum piommu_pgtable_format format;
        uint32_t granule;
        uint8_t input;
        uint8_t output;
        uint32_t flags;
        int level;
        size_t bytes;
    } rows[] = {
        /* Stage 1. */
        {PIOMMU_ARM_64_LPAE_S1, 4096, 32, 48, 0, 1, 32},
        {PIOMMU_ARM_64_LPAE_S1, 4096, 36, 48, 0, 1, 512},
        {PIOMMU_ARM_64_LPAE_S1, 4096, 39, 48, 0, 1, 4096},
        {PIOMMU_ARM_64_LPAE_S1, 4096, 40, 48, 0, 0, 16},
        {PIOMMU_ARM_64_LPAE_S1, 4096, 42, 48, 0, 0, 64},
        {PIOMMU_ARM_64_LPAE_S1, 4096, 44, 48, 0, 0, 256},
        {PIOMMU_ARM_64_LPAE_S1, 4096, 48, 48, 0, 0, 4096},
        {PIOMMU_ARM_64_LPAE_S1, 4096, 52, 52, 0, -1, 128},
        {PIOMMU_ARM_64_LPAE_S1, 4096, 25, 48, 0, 2, 128},
        {PIOMMU_ARM_64_LPAE_S1, 4096, 30, 48, 0, 2, 4096},
        {PIOMMU_ARM_64_LPAE_S1, 4096, 31, 48, 0, 1, 16},
        {PIOMMU_ARM_64_LPAE_S1, 4096, 21, 48, PIOMMU_PGTABLE_SMALL_INPUT, 3, 4096},
        {PIOMMU_ARM_64_LPAE_S1, 4096, 16, 48, PIOMMU_PGTABLE_SMALL_INPUT, 3, 128},
        {PIOMMU_ARM_64_LPAE_S1, 4096, 22, 48, PIOMMU_PGTABLE_SMALL_INPUT, 2, 16},
        {PIOMMU_ARM_64_LPAE_S1, 16384, 32, 48, 0, 2, 1024},
        {PIOMMU_ARM_64_LPAE_S1, 16384, 36, 48, 0, 2, 16384},
        {PIOMMU_ARM_64_LPAE_S1, 16384, 39, 48, 0, 1, 64},
        {PIOMMU_ARM_64_LPAE_S1, 16384, 40, 48, 0, 1, 128},
        {PIOMMU_ARM_64_LPAE_S1, 16384, 42, 48, 0, 1, 512},
        {PIOMMU_ARM_64_LPAE_S1, 16384, 44, 48, 0, 1, 2048},
        {PIOMMU_ARM_64_LPAE_S1, 16384, 48, 48, 0, 0, 16},
        {PIOMMU_ARM_64_LPAE_S1, 16384, 52, 52, 0, 0, 256},
        {PIOMMU_ARM_64_LPAE_S1, 16384, 25, 48, 0, 3, 16384},
        {PIOMMU_ARM_64_LPAE_S1, 65536, 32, 48, 0, 2, 64},
        {PIOMMU_ARM_64_LPAE_S1, 65536, 36, 48, 0, 2, 1024},
        {PIOMMU_ARM_64_LPAE_S1, 65536, 39, 48, 0, 2, 8192},
        {PIOMMU_ARM_64_LPAE_S1, 65536, 40, 48, 0, 2, 16384},
        {PIOMMU_ARM_64_LPAE_S1, 65536, 42, 48, 0, 2, 65536},
        {PIOMMU_ARM_64_LPAE_S1, 65536, 44, 48, 0, 1, 32},
        {PIOMMU_ARM_64_LPAE_S1, 65536, 48, 48, 0, 1, 512},
        {PIOMMU_ARM_64_LPAE_S1, 65536, 52, 52, 0, 1, 8192},
        {PIOMMU_ARM_64_LPAE_S1, 65536, 25, 48, 0, 3, 4096},
        {PIOMMU_ARM_64_LPAE_S1, 65536, 17, 48, PIOMMU_PGTABLE_SMALL_INPUT, 3, 16},
        /* Stage 2, where concatenation leaves no choice, and where it does not matter. */
        {PIOMMU_ARM_64_LPAE_S2, 4096, 32, 32, 0, 1, 32},
        {PIOMMU_ARM_64_LPAE_S2, 4096, 36, 36, 0, 1, 512},
        {PIOMMU_ARM_64_LPAE_S2, 4096, 40, 40, 0, 1, 8192},
        {PIOMMU_ARM_64_LPAE_S2, 4096, 42, 42, 0, 1, 32768},
        {PIOMMU_ARM_64_LPAE_S2, 4096, 44, 44, 0, 0, 256},
        {PIOMMU_ARM_64_LPAE_S2, 4096, 48, 48, 0, 0, 4096},
        {PIOMMU_ARM_64_LPAE_S2, 4096, 40, 44, 0, 0, 16},
        {PIOMMU_ARM_64_LPAE_S2, 16384, 36, 36, 0, 2, 16384},
        {PIOMMU_ARM_64_LPAE_S2, 16384, 40, 40, 0, 2, 262144},
        {PIOMMU_ARM_64_LPAE_S2, 16384, 42, 42, 0, 1, 512},
        {PIOMMU_ARM_64_LPAE_S2, 16384, 48, 48, 0, 1, 32768},
        {PIOMMU_ARM_64_LPAE_S2, 65536, 36, 36, 0, 2, 1024},
        {PIOMMU_ARM_64_LPAE_S2, 65536, 42, 42, 0, 2, 65536},
        {PIOMMU_ARM_64_LPAE_S2, 65536, 48, 48, 0, 1, 512},
        {PIOMMU_ARM_64_LPAE_S2, 65536, 52, 52, 0, 1, 8192},
        /* Where it is a choice. */
        {PIOMMU_ARM_64_LPAE_S2, 4096, 43, 44, 0, 0, 128},
        {PIOMMU_ARM_64_LPAE_S2, 4096, 43, 44, PIOMMU_PGTABLE_CONCATENATE, 1, 65536},
        {PIOMMU_ARM_64_LPAE_S2, 4096, 32, 32, PIOMMU_PGTABLE_CONCATENATE, 2, 16384},
        {PIOMMU_ARM_64_LPAE_S2, 4096, 52, 52, 0, -1, 128},
        {PIOMMU_ARM_64_LPAE_S2, 4096, 52, 52, PIOMMU_PGTABLE_CONCATENATE, 0, 65536},
        {PIOMMU_ARM_64_LPAE_S2, 65536, 44, 44, 0, 1, 32},
        {PIOMMU_ARM_64_LPAE_S2, 65536, 44, 44, PIOMMU_PGTABLE_CONCATENATE, 2, 262144},
        {PIOMMU_ARM_64_LPAE_S2, 65536, 46, 48, PIOMMU_PGTABLE_CONCATENATE, 2, 1048576},
        {PIOMMU_ARM_64_LPAE_S2, 16384, 51, 52, PIOMMU_PGTABLE_CONCATENATE, 1, 262144},
        {PIOMMU_ARM_64_LPAE_S2, 16384, 52, 52, PIOMMU_PGTABLE_CONCATENATE, 0, 256},
        /* 32 bits. */
        {PIOMMU_ARM_32_LPAE_S1, 4096, 32, 40, 0, 1, 32},
        {PIOMMU_ARM_32_LPAE_S1, 4096, 31, 40, 0, 1, 16},
        {PIOMMU_ARM_32_LPAE_S1, 4096, 30, 40, 0, 2, 4096},
        {PIOMMU_ARM_32_LPAE_S1, 4096, 25, 40, 0, 2, 128},
        {PIOMMU_ARM_32_LPAE_S1, 4096, 31, 40, PIOMMU_PGTABLE_TTBR1, 1, 16},
        {PIOMMU_ARM_32_LPAE_S2, 4096, 40, 40, 0, 1, 8192},
        {PIOMMU_ARM_32_LPAE_S2, 4096, 39, 40, 0, 1, 4096},
        {PIOMMU_ARM_32_LPAE_S2, 4096, 34, 40, PIOMMU_PGTABLE_CONCATENATE, 2, 65536},
        {PIOMMU_ARM_32_LPAE_S2, 4096, 34, 40, 0, 1, 128},
    };
    struct fake_os *os = fake_os_create(NULL);

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct piommu_pgtable_config config =
            config_of(rows[i].format, rows[i].granule, rows[i].input, rows[i].output);
        struct piommu_pgtable_info info;
        struct piommu_pgtable *table;

        config.flags = rows[i].flags;
        assert_int_equal(piommu_pgtable_create(fake_os_host(os), &config, &table), 0);
        piommu_pgtable_get_info(table, &info);
        assert_int_equal(info.start_level, rows[i].level);
        assert_int_equal(info.root_size, rows[i].bytes);
        piommu_pgtable_destroy(table);
    }
    fake_os_destroy(os);
}

static void test_roots_beyond_48_bits_are_folded_into_the_register(void **state)
{
    static const struct {
        enum piommu_pgtable_format format;
        uint32_t granule;
        uint64_t elevation;
    } cases[] = {
        {PIOMMU_ARM_64_LPAE_S1, 65536, 0x000f000000000000ull},
        {PIOMMU_ARM_64_LPAE_S1, 65536, 0x0001200000000000ull},
        {PIOMMU_ARM_64_LPAE_S2, 65536, 0x000a000000000000ull},
        {PIOMMU_ARM_64_LPAE_S1, 4096, 0x000c000000000000ull},
        {PIOMMU_ARM_64_LPAE_S1, 4096, 0x0003000000000000ull},
        {PIOMMU_ARM_64_LPAE_S2, 4096, 0x0005000000000000ull},
        {PIOMMU_ARM_64_LPAE_S1, 16384, 0x000f700000000000ull},
        {PIOMMU_ARM_64_LPAE_S2, 16384, 0x0007000000000000ull},
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        for (unsigned int input = 40; input <= 52; input += 4) {
            struct piommu_pgtable_config config =
                config_of(cases[i].format, cases[i].granule, input, 52);
            struct pgt *p = open_elevated_table(&config, cases[i].elevation);
            uint64_t ttbr = is_stage1(&p->info) ? p->info.registers.stage1.ttbr
                                                : p->info.registers.stage2.vttbr;

            assert_int_equal(p->info.root_physical >> 48, cases[i].elevation >> 48);
            assert_int_equal(ttbr >> 48, 0);
            assert_int_equal(ttbr >> 2 & 0xf, cases[i].elevation >> 48);
            assert_int_equal(ttbr & 3, 0);
            assert_int_equal(p->regime.root, p->info.root_physical);
            /* The links below it are folded as well: the walker finds what was mapped. */
            p->has_tlb = false;
            map(p, 0, 0x000f123456780000ull & ~(cases[i].granule - 1ull), cases[i].granule, READ);
            map(p, (1ull << input) - cases[i].granule, 0, cases[i].granule, READ);
            assert_int_equal(count_leaves(p), 2);
            unmap_all(p);
            close_table(p);
        }
    }
}

/* ---- Packed registers, bit by bit ---- */

static void get_info_of(const struct piommu_pgtable_config *config,
                        struct piommu_pgtable_info *info)
{
    struct fake_os_options options = {.non_coherent = !config->coherent_walk};
    struct fake_os *os = fake_os_create(&options);
    struct piommu_pgtable *table;

    assert_int_equal(piommu_pgtable_create(fake_os_host(os), config, &table), 0);
    piommu_pgtable_get_info(table, info);
    piommu_pgtable_destroy(table);
    fake_os_destroy(os);
}

static uint64_t half_of_tcr(const struct piommu_pgtable_info *info)
{
    const struct piommu_pgtable_stage1_registers *registers = &info->registers.stage1;

    return (uint64_t)registers->tsz | (uint64_t)registers->irgn << 8 |
           (uint64_t)registers->orgn << 10 | (uint64_t)registers->sh << 12 |
           (uint64_t)registers->tg << 14;
}

static uint64_t whole_of_tcr(const struct piommu_pgtable_info *info)
{
    const struct piommu_pgtable_stage1_registers *registers = &info->registers.stage1;

    return (uint64_t)registers->ips << 32 | (uint64_t)registers->ha << 39 |
           (uint64_t)registers->hd << 40 | (uint64_t)registers->ds << 59;
}

#define EPD0 (1ull << 7)
#define EPD1 (1ull << 23)

static void test_tcr_el1_has_each_field_in_its_place(void **state)
{
    (void)state;
    for (size_t o = 0; o < COUNT_OF(output_widths); o++) {
        for (size_t g = 0; g < 9; g++) {
            struct piommu_pgtable_config config = config_of(
                PIOMMU_ARM_64_LPAE_S1, granules[g % 3], 39u + (unsigned int)o, output_widths[o]);
            struct piommu_pgtable_info lower;
            struct piommu_pgtable_info upper;

            config.coherent_walk = g % 2 == 0;
            get_info_of(&config, &lower);
            config.flags = PIOMMU_PGTABLE_TTBR1;
            config.granule = granules[g / 3];
            config.input_bits--;
            config.coherent_walk = true;
            get_info_of(&config, &upper);
            assert_int_equal(piommu_pgtable_tcr_el1(&lower, NULL),
                             half_of_tcr(&lower) | whole_of_tcr(&lower) | EPD1);
            assert_int_equal(piommu_pgtable_tcr_el1(NULL, &upper),
                             half_of_tcr(&upper) << 16 | whole_of_tcr(&upper) | EPD0);
            if (lower.registers.stage1.ds == upper.registers.stage1.ds) {
                assert_int_equal(piommu_pgtable_tcr_el1(&lower, &upper),
                                 half_of_tcr(&lower) | half_of_tcr(&upper) << 16 |
                                     whole_of_tcr(&lower));
            } else {
                assert_int_equal(piommu_pgtable_tcr_el1(&lower, &upper), 0);
            }
        }
    }
}

static void test_known_values_of_packed_registers(void **state)
{
    struct piommu_pgtable_config config = stage1_config(48);
    struct piommu_pgtable_info info;

    (void)state;
    get_info_of(&config, &info);
    /* T0SZ 16, WBWA, inner shareable, 4K, EPD1, 48 bits out. */
    assert_int_equal(piommu_pgtable_tcr_el1(&info, NULL), 0x0000000500803510ull);
    config.flags = PIOMMU_PGTABLE_TTBR1;
    get_info_of(&config, &info);
    assert_int_equal(piommu_pgtable_tcr_el1(NULL, &info), 0x00000005b5100080ull);
    config = config_of(PIOMMU_ARM_64_LPAE_S1, 4096, 52, 52);
    get_info_of(&config, &info);
    assert_int_equal(piommu_pgtable_tcr_el1(&info, NULL), 0x080000060080350cull);

    config = stage2_config(40, 40);
    get_info_of(&config, &info);
    /* T0SZ 24, SL0 1, WBWA, inner shareable, 4K, PS 2, RES1. */
    assert_int_equal(piommu_pgtable_vtcr_el2(&info), 0x80023558ull);
    config = config_of(PIOMMU_ARM_64_LPAE_S2, 4096, 52, 52);
    get_info_of(&config, &info);
    /* T0SZ 12, SL2, DS, PS 6. */
    assert_int_equal(piommu_pgtable_vtcr_el2(&info), 0x38006350cull);

    config = config_of(PIOMMU_ARM_32_LPAE_S1, 4096, 32, 40);
    get_info_of(&config, &info);
    assert_int_equal(piommu_pgtable_ttbcr(&info, NULL), 0x80803500u);
    config.input_bits = 30;
    config.flags = PIOMMU_PGTABLE_TTBR1;
    get_info_of(&config, &info);
    assert_int_equal(piommu_pgtable_ttbcr(NULL, &info), 0xb5020080u);

    config = config_of(PIOMMU_ARM_32_LPAE_S2, 4096, 40, 40);
    get_info_of(&config, &info);
    /* T0SZ 8 with S, SL0 1, WBWA, inner shareable, RES1. */
    assert_int_equal(piommu_pgtable_vtcr(&info), 0x80003558u);
    config.input_bits = 25;
    get_info_of(&config, &info);
    assert_int_equal(piommu_pgtable_vtcr(&info), 0x80003507u);
}

static void test_vtcr_el2_has_each_field_in_its_place(void **state)
{
    (void)state;
    for (size_t o = 0; o < COUNT_OF(output_widths); o++) {
        for (size_t g = 0; g < 6; g++) {
            struct piommu_pgtable_config config = config_of(PIOMMU_ARM_64_LPAE_S2, granules[g % 3],
                                                            output_widths[o], output_widths[o]);
            struct piommu_pgtable_info info;
            const struct piommu_pgtable_stage2_registers *registers = &info.registers.stage2;

            config.coherent_walk = g < 3;
            get_info_of(&config, &info);
            assert_int_equal(piommu_pgtable_vtcr_el2(&info),
                             (uint64_t)registers->tsz | (uint64_t)registers->sl << 6 |
                                 (uint64_t)registers->irgn << 8 | (uint64_t)registers->orgn << 10 |
                                 (uint64_t)registers->sh << 12 | (uint64_t)registers->tg << 14 |
                                 (uint64_t)registers->ps << 16 | (uint64_t)registers->ha << 21 |
                                 (uint64_t)registers->hd << 22 | 1ull << 31 |
                                 (uint64_t)registers->ds << 32 | (uint64_t)registers->sl2 << 33);
        }
    }
}

static void test_dirty_tables_ask_for_hardware_updates(void **state)
{
    struct fake_os *os = fake_os_create(NULL);
    struct piommu_pgtable_config config = stage1_config(48);
    struct piommu_pgtable_info info;
    struct piommu_pgtable *table;

    (void)state;
    config.flags = PIOMMU_PGTABLE_DIRTY;
    if (piommu_pgtable_create(fake_os_host(os), &config, &table) == -PIOMMU_EOPNOTSUPP) {
        fake_os_destroy(os);
        skip(); /* no lock-free 64-bit atomics here */
    }
    piommu_pgtable_get_info(table, &info);
    piommu_pgtable_destroy(table);
    assert_true(info.registers.stage1.ha && info.registers.stage1.hd);
    assert_int_equal(piommu_pgtable_tcr_el1(&info, NULL) >> 39 & 3, 3);

    config.format = PIOMMU_ARM_64_LPAE_S2;
    get_info_of(&config, &info);
    assert_true(info.registers.stage2.ha && info.registers.stage2.hd);
    assert_int_equal(piommu_pgtable_vtcr_el2(&info) >> 21 & 3, 3);
    fake_os_destroy(os);
}

static void test_tcr_el1_refuses_tables_that_do_not_go_together(void **state)
{
    struct piommu_pgtable_config config = stage1_config(40);
    struct piommu_pgtable_info lower;
    struct piommu_pgtable_info upper;
    struct piommu_pgtable_info other;

    (void)state;
    get_info_of(&config, &lower);
    config.flags = PIOMMU_PGTABLE_TTBR1;
    get_info_of(&config, &upper);
    assert_int_not_equal(piommu_pgtable_tcr_el1(&lower, &upper), 0);

    assert_int_equal(piommu_pgtable_tcr_el1(NULL, NULL), 0);
    assert_int_equal(piommu_pgtable_tcr_el1(&upper, NULL), 0);
    assert_int_equal(piommu_pgtable_tcr_el1(NULL, &lower), 0);
    assert_int_equal(piommu_pgtable_tcr_el1(&lower, &lower), 0);
    assert_int_equal(piommu_pgtable_tcr_el1(&upper, &upper), 0);
    assert_int_equal(piommu_pgtable_tcr_el1(&upper, &lower), 0);

    config.output_bits = 44; /* other output size */
    get_info_of(&config, &other);
    assert_int_equal(piommu_pgtable_tcr_el1(&lower, &other), 0);
    config.output_bits = 48;
    config.input_bits = 52; /* DS */
    get_info_of(&config, &other);
    assert_int_equal(piommu_pgtable_tcr_el1(&lower, &other), 0);
    config.input_bits = 40;
    other = upper;
    other.registers.stage1.ha = true;
    assert_int_equal(piommu_pgtable_tcr_el1(&lower, &other), 0);
    other = upper;
    other.registers.stage1.hd = true;
    assert_int_equal(piommu_pgtable_tcr_el1(&lower, &other), 0);

    config = stage2_config(40, 40);
    get_info_of(&config, &other);
    assert_int_equal(piommu_pgtable_tcr_el1(&other, NULL), 0);
    assert_int_equal(piommu_pgtable_tcr_el1(&other, &upper), 0);
    assert_int_equal(piommu_pgtable_ttbcr(&other, NULL), 0);
    assert_int_equal(piommu_pgtable_vtcr(&other), 0);
    assert_int_not_equal(piommu_pgtable_vtcr_el2(&other), 0);
    config = config_of(PIOMMU_ARM_32_LPAE_S1, 4096, 32, 40);
    get_info_of(&config, &other);
    assert_int_equal(piommu_pgtable_tcr_el1(&other, NULL), 0);
    assert_int_equal(piommu_pgtable_vtcr_el2(&other), 0);
    assert_int_equal(piommu_pgtable_vtcr(&other), 0);
    assert_int_equal(piommu_pgtable_ttbcr(&lower, NULL), 0);
    assert_int_equal(piommu_pgtable_vtcr(&lower), 0);
    assert_int_equal(piommu_pgtable_vtcr_el2(&lower), 0);
}

static uint32_t half_of_ttbcr(const struct piommu_pgtable_info *info)
{
    const struct piommu_pgtable_stage1_registers *registers = &info->registers.stage1;

    return (uint32_t)registers->tsz | (uint32_t)registers->irgn << 8 |
           (uint32_t)registers->orgn << 10 | (uint32_t)registers->sh << 12;
}

static void test_ttbcr_has_each_field_in_its_place(void **state)
{
    struct piommu_pgtable_info lower;
    struct piommu_pgtable_info upper;
    const uint32_t eae = 1u << 31;

    (void)state;
    for (unsigned int input = 25; input <= 31; input++) {
        struct piommu_pgtable_config config =
            config_of(PIOMMU_ARM_32_LPAE_S1, 4096, 57 - input, 40);

        config.coherent_walk = input % 2 == 0;
        get_info_of(&config, &lower);
        config.coherent_walk = input % 3 == 0;
        config.flags = PIOMMU_PGTABLE_TTBR1;
        config.input_bits = (uint8_t)input;
        get_info_of(&config, &upper);
        assert_int_equal(piommu_pgtable_ttbcr(&lower, NULL),
                         eae | half_of_ttbcr(&lower) | (uint32_t)EPD1);
        assert_int_equal(piommu_pgtable_ttbcr(NULL, &upper),
                         eae | half_of_ttbcr(&upper) << 16 | (uint32_t)EPD0);
        assert_int_equal(piommu_pgtable_ttbcr(&lower, &upper),
                         eae | half_of_ttbcr(&lower) | half_of_ttbcr(&upper) << 16);
        assert_int_equal(piommu_pgtable_ttbcr(&upper, &lower), 0);
        assert_int_equal(piommu_pgtable_ttbcr(&upper, NULL), 0);
        assert_int_equal(piommu_pgtable_ttbcr(NULL, &lower), 0);
    }
    assert_int_equal(piommu_pgtable_ttbcr(NULL, NULL), 0);
}

static void test_each_kind_of_memory_has_its_own_mair_slot(void **state)
{
    (void)state;
    for (unsigned int format = 1; format <= 3; format += 2) {
        struct piommu_pgtable_config config =
            config_of((enum piommu_pgtable_format)format, 4096, 32, 40);
        struct piommu_pgtable_info info;

        get_info_of(&config, &info);
        /* Each kind of memory has one slot of 0 to 2, and the others are not in use. */
        for (unsigned int i = 0; i < 3; i++) {
            uint8_t slot = (uint8_t)(info.registers.stage1.mair >> (8 * i));

            assert_true(slot == 0x44 || slot == 0xff || slot == 0x04);
            for (unsigned int j = 0; j < i; j++) {
                assert_int_not_equal(slot, (uint8_t)(info.registers.stage1.mair >> (8 * j)));
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_registers_describe_the_table_for_every_geometry),
        cmocka_unit_test(test_registers_tell_a_walker_that_does_not_snoop_to_bypass_the_caches),
        cmocka_unit_test(test_roots_of_usual_sizes),
        cmocka_unit_test(test_roots_beyond_48_bits_are_folded_into_the_register),
        cmocka_unit_test(test_tcr_el1_has_each_field_in_its_place),
        cmocka_unit_test(test_known_values_of_packed_registers),
        cmocka_unit_test(test_vtcr_el2_has_each_field_in_its_place),
        cmocka_unit_test(test_dirty_tables_ask_for_hardware_updates),
        cmocka_unit_test(test_tcr_el1_refuses_tables_that_do_not_go_together),
        cmocka_unit_test(test_ttbcr_has_each_field_in_its_place),
        cmocka_unit_test(test_each_kind_of_memory_has_its_own_mair_slot),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
