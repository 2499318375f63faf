/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef TEST_LPAE_WALKER_FIXTURE_H
#define TEST_LPAE_WALKER_FIXTURE_H

/*
 * What the tests of the page-table walker have in common: simulated memory, tables written by hand,
 * and assertions about what the walker, the checker and the stale TLB make of them.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>
#include <string.h>

#include "../support/stale_tlb.h"

#include <piommu/models/lpae-walker.h>

#define BIT(n) (UINT64_C(1) << (n))

#define AF         BIT(10)
#define NG         BIT(11)
#define SH_INNER   (UINT64_C(3) << 8)
#define AP_USER    BIT(6)
#define AP_RO      BIT(7)
#define S2_R       BIT(6)
#define S2_W       BIT(7)
#define S2_WB      (UINT64_C(0xf) << 2)
#define DBM        BIT(51)
#define CONTIGUOUS BIT(52)
#define PXN        BIT(53)
#define UXN        BIT(54)

/* A readable and writable leaf of either stage, without its address and type. */
#define S1_LEAF (AF | SH_INNER | NG | AP_USER | PXN | UXN | 1 << 2)
#define S2_LEAF (AF | SH_INNER | S2_WB | S2_R | S2_W | UXN)
#define PAGE    UINT64_C(3)
#define BLOCK   UINT64_C(1)
#define TABLE   UINT64_C(3)

/*
 * Simulated physical memory: regions of 64 KiB that come into being when a test writes to them.
 */

#define REGION_COUNT 16
#define REGION_WORDS 8192

struct region {
    bool is_used;
    uint64_t base;
    uint64_t words[REGION_WORDS];
};

struct fixture {
    struct piommu_walker_memory memory;
    struct piommu_walker_regime regime;
    struct piommu_walker_result result;
    struct stale_tlb *tlb;
    unsigned int reads;
    /* A store that some other observer makes just before the next compare-and-exchange. */
    uint64_t intruding_location;
    uint64_t intruding_value;
    /* is_table() refuses ranges that hold this address. */
    uint64_t forbidden_table;
    unsigned int problems[PIOMMU_WALKER_PROBLEM_OUT_OF_MEMORY + 1];
    struct piommu_walker_problem last_problem;
    struct region regions[REGION_COUNT];
};

static struct fixture fixture;

static inline uint64_t *find_word(uint64_t physical)
{
    for (size_t i = 0; i < REGION_COUNT; i++) {
        struct region *region = &fixture.regions[i];

        if (region->is_used && physical >> 16 == region->base >> 16) {
            return &region->words[(physical & 0xffff) / 8];
        }
    }
    return NULL;
}

static inline void put(uint64_t physical, uint64_t descriptor)
{
    for (size_t i = 0; find_word(physical) == NULL; i++) {
        assert_true(i < REGION_COUNT);
        if (!fixture.regions[i].is_used) {
            fixture.regions[i].is_used = true;
            fixture.regions[i].base = physical & ~UINT64_C(0xffff);
        }
    }
    *find_word(physical) = descriptor;
}

static inline uint64_t get(uint64_t physical)
{
    assert_non_null(find_word(physical));
    return *find_word(physical);
}

static inline bool read64(void *ctx, uint64_t physical, uint64_t *value)
{
    const uint64_t *word = find_word(physical);

    assert_ptr_equal(ctx, &fixture);
    assert_int_equal(physical % 8, 0);
    fixture.reads++;
    if (word == NULL) {
        return false;
    }
    *value = *word;
    return true;
}

static inline bool compare_exchange64(void *ctx, uint64_t physical, uint64_t expected,
                                      uint64_t desired)
{
    (void)ctx;
    if (fixture.intruding_location != 0) {
        put(fixture.intruding_location, fixture.intruding_value);
        fixture.intruding_location = 0;
    }
    if (get(physical) != expected) {
        return false;
    }
    put(physical, desired);
    return true;
}

static inline int set_up(void **state)
{
    (void)state;
    memset(&fixture, 0, sizeof(fixture));
    fixture.memory.read64 = read64;
    fixture.memory.ctx = &fixture;
    fixture.tlb = stale_tlb_create();
    return fixture.tlb == NULL;
}

static inline int tear_down(void **state)
{
    (void)state;
    stale_tlb_destroy(fixture.tlb);
    return 0;
}

static const struct piommu_walker_hardware everything = {
    .physical_bits = 52,
    .has_small_tables = true,
    .has_large_virtual_addresses = true,
    .has_lpa2 = true,
    .has_execute_never_by_privilege = true,
    .has_access_flag_updates = true,
    .has_dirty_updates = true,
};

static inline struct piommu_walker_regime make_regime(unsigned int stage,
                                                      unsigned int granule_shift,
                                                      unsigned int input_bits, int start_level,
                                                      uint64_t root)
{
    struct piommu_walker_regime regime;

    memset(&regime, 0, sizeof(regime));
    regime.hardware = everything;
    regime.stage = stage;
    regime.granule_shift = granule_shift;
    regime.input_bits = input_bits;
    regime.output_bits = 48;
    regime.start_level = start_level;
    regime.root = root;
    regime.mair = UINT64_C(0xf404ff44);
    regime.mair_slots_in_use = 0xff;
    return regime;
}

static const struct piommu_walker_access reading = {.read = true};
static const struct piommu_walker_access writing = {.write = true};
static const struct piommu_walker_access executing = {.execute = true};
static const struct piommu_walker_access privileged_reading = {.read = true, .privileged = true};
static const struct piommu_walker_access privileged_writing = {.write = true, .privileged = true};
static const struct piommu_walker_access privileged_executing = {.execute = true,
                                                                 .privileged = true};

static inline enum piommu_walker_fault translate(uint64_t input, struct piommu_walker_access access)
{
    piommu_walker_translate(&fixture.regime, &fixture.memory, input, &access, &fixture.result);
    return fixture.result.fault;
}

static inline void assert_fault(uint64_t input, enum piommu_walker_fault fault, int level)
{
    translate(input, reading);
    assert_string_equal(piommu_walker_fault_name(fixture.result.fault),
                        piommu_walker_fault_name(fault));
    assert_int_equal(fixture.result.level, level);
}

static inline void assert_output(uint64_t input, uint64_t output, unsigned int leaf_shift)
{
    translate(input, reading);
    assert_string_equal(piommu_walker_fault_name(fixture.result.fault), "none");
    assert_true(fixture.result.output == output);
    assert_int_equal(fixture.result.leaf_shift, leaf_shift);
}

/* 48-bit input, 4K, one table per level and one page, entry n + 1 at level n. */
static inline void build_four_levels(unsigned int stage, uint64_t leaf)
{
    fixture.regime = make_regime(stage, 12, 48, 0, 0x10000);
    put(0x10000 + 8 * 1, 0x20000 | TABLE);
    put(0x20000 + 8 * 2, 0x30000 | TABLE);
    put(0x30000 + 8 * 3, 0x40000 | TABLE);
    put(0x40000 + 8 * 4, leaf | PAGE);
}

#define FOUR_LEVEL_INPUT (BIT(39) | UINT64_C(2) << 30 | UINT64_C(3) << 21 | UINT64_C(4) << 12)

/* Six letters: rights of the privileged, then of the unprivileged side. */
static inline void assert_rights_at(uint64_t input, const char *expected)
{
    char rights[7] = "------";

    rights[0] = translate(input, privileged_reading) ? '-' : 'r';
    rights[1] = translate(input, privileged_writing) ? '-' : 'w';
    rights[2] = translate(input, privileged_executing) ? '-' : 'x';
    rights[3] = translate(input, reading) ? '-' : 'r';
    rights[4] = translate(input, writing) ? '-' : 'w';
    rights[5] = translate(input, executing) ? '-' : 'x';
    assert_string_equal(rights, expected);
    assert_true(fixture.result.fault == PIOMMU_WALKER_FAULT_NONE ||
                fixture.result.fault == PIOMMU_WALKER_FAULT_PERMISSION);
}

static inline void assert_rights(const char *expected)
{
    assert_rights_at(FOUR_LEVEL_INPUT, expected);
}

static inline void count_problem(void *ctx, const struct piommu_walker_problem *problem)
{
    assert_ptr_equal(ctx, &fixture);
    fixture.problems[problem->kind]++;
    fixture.last_problem = *problem;
}

static inline bool is_table(void *ctx, uint64_t physical, uint64_t size)
{
    (void)ctx;
    return fixture.forbidden_table < physical || fixture.forbidden_table - physical >= size;
}

static inline size_t check(void)
{
    memset(fixture.problems, 0, sizeof(fixture.problems));
    return piommu_walker_check(&fixture.regime, &fixture.memory, is_table, count_problem, &fixture);
}

static inline void assert_problem(enum piommu_walker_problem_kind kind)
{
    size_t count = check();

    if (count != 1 || fixture.problems[kind] != 1) {
        fail_msg("expected only \"%s\", got %u problems, the last is \"%s\"",
                 piommu_walker_problem_name(kind), (unsigned int)count,
                 count ? piommu_walker_problem_name(fixture.last_problem.kind) : "none");
    }
}

static inline void build_group(unsigned int members, unsigned int shift, uint64_t table,
                               uint64_t output, uint64_t leaf)
{
    for (unsigned int i = 0; i < members; i++) {
        put(table + 8 * i, (output + ((uint64_t)i << shift)) | leaf | CONTIGUOUS);
    }
}

static inline enum piommu_walker_fault tlb_translate(uint64_t input,
                                                     struct piommu_walker_access access)
{
    stale_tlb_translate(fixture.tlb, &fixture.regime, &fixture.memory, input, &access,
                        &fixture.result);
    return fixture.result.fault;
}

static inline void assert_tlb_output(uint64_t input, uint64_t output)
{
    assert_int_equal(tlb_translate(input, reading), PIOMMU_WALKER_FAULT_NONE);
    assert_true(fixture.result.output == output);
}

#define MODEL_TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

#endif
