/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The IPMMU model by itself: what it translates, what its TLBs keep, what it reports and what it
 * does not let pass. The driver here is a few lines that write registers.
 */

#include "fake_os.h"
#include "ipmmu_model_connect.h"

#include <piommu/models/ipmmu-vmsa.h>
#include <piommu/os.h>

#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define PAGES       48u
#define MEMORY_BASE UINT64_C(0x140000000) /* above 4 GiB, so that IMTTUBR matters */
#define IOVA        UINT64_C(0x40201000)
#define OUTPUT      UINT64_C(0x7654321000)

/* Units by number. */
enum { M, D, H };

#define MMUEN       1u
#define FLUSH       2u
#define ENABLE      7u
#define VA64        0x20000000u
#define NS_TABLE    (UINT64_C(1) << 63)
#define STAGE1_PAGE UINT64_C(0xf67)
#define READ_ONLY   UINT64_C(0x80)
#define STAGE2_PAGE UINT64_C(0x7ff) /* read and write, write-back, inner shareable, AF */

#define NO_RULE 0u

static const struct piommu_ipmmu_model_unit units_gen3[] = {
    {.name = "M", .base = 0xe67b0000, .root = 0},
    {.name = "D", .base = 0xe7740000, .root = 0},
    {.name = "H", .base = 0xe6570000, .root = 0},
};

static const struct piommu_ipmmu_model_unit units_gen4[] = {
    {.name = "M", .base = 0xeefc0000, .root = 0},
    {.name = "D", .base = 0xeed00000, .root = 0},
    {.name = "H", .base = 0xeed40000, .root = 0},
};

static const struct piommu_ipmmu_model_unit units_gen2[] = {
    {.name = "M", .base = 0xe6280000, .root = 0},
    {.name = "N", .base = 0xe6290000, .root = 1},
};

struct bench {
    struct piommu_ipmmu_model *model;
    enum piommu_ipmmu_model_class generation;
    const struct piommu_ipmmu_model_unit *units;
    unsigned int stage;
    unsigned int tables;
    uint64_t memory[PAGES][512];
    bool hole; /* reads of the last page fail */
};

/* ---- memory and tables ---- */

static bool read64(void *ctx, uint64_t physical, uint64_t *value)
{
    const struct bench *bench = ctx;
    uint64_t page = (physical - MEMORY_BASE) >> 12;

    if (physical < MEMORY_BASE || page >= PAGES || (bench->hole && page == PAGES - 1)) {
        return false;
    }
    *value = bench->memory[page][physical >> 3 & 511];
    return true;
}

static uint64_t *entry_at(struct bench *bench, uint64_t table, uint64_t index)
{
    uint64_t place = table + 8 * index;

    return &bench->memory[(place - MEMORY_BASE) >> 12][place >> 3 & 511];
}

static uint64_t new_tables(struct bench *bench, unsigned int count)
{
    uint64_t physical = MEMORY_BASE + UINT64_C(4096) * bench->tables;

    bench->tables += count;
    assert_true(bench->tables < PAGES);
    return physical;
}

/* The descriptor of a level, with tables as needed on the way. */
static uint64_t *entry_of(struct bench *bench, uint64_t root, uint64_t iova, int level)
{
    uint64_t table = root;

    for (int i = 1; i < level; i++) {
        uint64_t *entry = entry_at(bench, table, iova >> (39 - 9 * i) & (i == 1 ? 1023 : 511));

        if (*entry == 0) {
            *entry = new_tables(bench, 1) | 3 | (bench->stage == 1 ? NS_TABLE : 0);
        }
        table = *entry & UINT64_C(0xfffffff000);
    }
    return entry_at(bench, table, iova >> (39 - 9 * level) & (level == 1 ? 1023 : 511));
}

static void map(struct bench *bench, uint64_t root, uint64_t iova, uint64_t output)
{
    *entry_of(bench, root, iova, 3) = output | (bench->stage == 1 ? STAGE1_PAGE : STAGE2_PAGE);
}

/* ---- registers ---- */

static uint64_t address_of(const struct bench *bench, size_t unit,
                           enum piommu_ipmmu_model_register which, unsigned int number)
{
    return bench->units[unit].base + piommu_ipmmu_model_offset(bench->model, which, number);
}

static uint32_t reg_read(struct bench *bench, size_t unit, enum piommu_ipmmu_model_register which,
                         unsigned int number)
{
    return piommu_ipmmu_model_read(bench->model, address_of(bench, unit, which, number), 4);
}

static void reg_write(struct bench *bench, size_t unit, enum piommu_ipmmu_model_register which,
                      unsigned int number, uint32_t value)
{
    piommu_ipmmu_model_write(bench->model, address_of(bench, unit, which, number), 4, value);
}

static void clear_bits(struct bench *bench, size_t unit, enum piommu_ipmmu_model_register which,
                       uint32_t bits)
{
    reg_write(bench, unit, which, 0, reg_read(bench, unit, which, 0) & ~bits);
}

/* ---- the bench ---- */

static struct bench *bench_with(const struct piommu_ipmmu_model_parameters *wanted)
{
    static const unsigned int counts[] = {2, 3, 3};
    static const struct piommu_ipmmu_model_unit *const units[] = {units_gen2, units_gen3,
                                                                  units_gen4};
    struct piommu_ipmmu_model_parameters parameters = *wanted;
    struct bench *bench = calloc(1, sizeof(*bench));

    assert_non_null(bench);
    if (parameters.units == NULL) {
        parameters.units = units[parameters.generation];
        parameters.unit_count = counts[parameters.generation];
    }
    bench->generation = parameters.generation;
    bench->units = parameters.units;
    bench->stage = 1;
    bench->model = piommu_ipmmu_model_create(
        &parameters, (struct piommu_walker_memory){.read64 = read64, .ctx = bench});
    assert_non_null(bench->model);
    return bench;
}

/* As a driver's probe. */
static void probe(struct bench *bench)
{
    unsigned int contexts[] = {4, 8, 16};

    for (unsigned int n = 0; n < contexts[bench->generation]; n++) {
        reg_write(bench, M, PIOMMU_IPMMU_MODEL_IMCTR, n, 0);
    }
    if (bench->generation != PIOMMU_IPMMU_MODEL_GEN2) {
        for (size_t i = M; i <= H; i++) {
            clear_bits(bench, i, PIOMMU_IPMMU_MODEL_IMSCTLR, 0x10000000);
        }
    }
}

static struct bench *bench_open(enum piommu_ipmmu_model_class generation)
{
    const struct piommu_ipmmu_model_parameters parameters = {.generation = generation};
    struct bench *bench = bench_with(&parameters);

    probe(bench);
    return bench;
}

static void bench_abandon(struct bench *bench)
{
    piommu_ipmmu_model_destroy(bench->model);
    free(bench);
}

static void bench_close(struct bench *bench)
{
    ipmmu_model_assert_clean(bench->model);
    bench_abandon(bench);
}

/* The one violation since the last look breaks this rule and says this. */
static void expect_violation(struct bench *bench, uint32_t rule, const char *text)
{
    const char *violation = piommu_ipmmu_model_violation(bench->model, 0);

    assert_int_equal(piommu_ipmmu_model_broken_rules(bench->model), rule);
    if (rule == NO_RULE) {
        assert_null(violation);
        return;
    }
    assert_int_equal(piommu_ipmmu_model_violations(bench->model), 1);
    assert_non_null(violation);
    if (strstr(violation, text) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", violation, text);
    }
    piommu_ipmmu_model_forget_violations(bench->model);
}

static void set_table(struct bench *bench, unsigned int context, uint64_t root, uint32_t control)
{
    reg_write(bench, M, PIOMMU_IPMMU_MODEL_IMTTLBR0, context, (uint32_t)(root & UINT32_MAX));
    reg_write(bench, M, PIOMMU_IPMMU_MODEL_IMTTUBR0, context, (uint32_t)(root >> 32));
    reg_write(bench, M, PIOMMU_IPMMU_MODEL_IMTTBCR, context, control);
    reg_write(bench, M, PIOMMU_IPMMU_MODEL_IMMAIR0, context, 0xf404ff44);
    reg_write(bench, M, PIOMMU_IPMMU_MODEL_IMSTR, context, 0);
}

static bool has_caches(const struct bench *bench)
{
    return bench->generation != PIOMMU_IPMMU_MODEL_GEN2;
}

/* All units get the context. */
static void enable(struct bench *bench, unsigned int context, uint32_t format)
{
    reg_write(bench, M, PIOMMU_IPMMU_MODEL_IMCTR, context, ENABLE | format);
    for (size_t i = D; i <= H && has_caches(bench); i++) {
        reg_write(bench, i, PIOMMU_IPMMU_MODEL_IMCTR, context, ENABLE);
    }
}

static uint32_t stage1_control(const struct bench *bench)
{
    return bench->generation == PIOMMU_IPMMU_MODEL_GEN2 ? 0x80003510 : 0x80000080;
}

/* A stage-1 context with an empty table. */
static uint64_t open_context(struct bench *bench, unsigned int context)
{
    uint64_t root = new_tables(bench, 1);

    set_table(bench, context, root, stage1_control(bench));
    enable(bench, context, 0);
    return root;
}

static void attach(struct bench *bench, size_t unit, unsigned int micro_tlb, unsigned int context)
{
    reg_write(bench, unit, PIOMMU_IPMMU_MODEL_IMUASID, micro_tlb, 0);
    reg_write(bench, unit, PIOMMU_IPMMU_MODEL_IMUCTR, micro_tlb, context << 4 | FLUSH | MMUEN);
}

/* Context 1 with IOVA mapped; micro-TLB 3 of D and 2 of H on it. */
static struct bench *bench_ready(uint64_t *root)
{
    struct bench *bench = bench_open(PIOMMU_IPMMU_MODEL_GEN3);

    *root = open_context(bench, 1);
    map(bench, *root, IOVA, OUTPUT);
    attach(bench, D, 3, 1);
    attach(bench, H, 2, 1);
    return bench;
}

static void flush(struct bench *bench, size_t unit, unsigned int context)
{
    reg_write(bench, unit, PIOMMU_IPMMU_MODEL_IMCTR, context,
              piommu_ipmmu_model_get(bench->model, unit, PIOMMU_IPMMU_MODEL_IMCTR, context) |
                  FLUSH);
}

static void poll(struct bench *bench, size_t unit, unsigned int context, unsigned int expected)
{
    unsigned int polls = 0;

    while ((reg_read(bench, unit, PIOMMU_IPMMU_MODEL_IMCTR, context) & FLUSH) != 0) {
        polls++;
    }
    assert_int_equal(polls, expected);
}

/* ---- masters ---- */

static void reaches(struct bench *bench, size_t unit, unsigned int micro_tlb, uint64_t iova,
                    bool write, uint64_t expected)
{
    uint64_t physical = 0;

    assert_int_equal(piommu_ipmmu_model_look(bench->model, unit, micro_tlb, iova, write, &physical),
                     PIOMMU_IPMMU_MODEL_TRANSLATED);
    assert_int_equal(physical, expected);
    physical = 0;
    assert_int_equal(piommu_ipmmu_model_dma(bench->model, unit, micro_tlb, iova, write, &physical),
                     PIOMMU_IPMMU_MODEL_TRANSLATED);
    assert_int_equal(physical, expected);
}

static void passes(struct bench *bench, size_t unit, unsigned int micro_tlb, uint64_t iova)
{
    uint64_t physical = 0;

    assert_int_equal(piommu_ipmmu_model_dma(bench->model, unit, micro_tlb, iova, true, &physical),
                     PIOMMU_IPMMU_MODEL_BYPASSED);
    assert_int_equal(physical, iova);
    assert_int_equal(piommu_ipmmu_model_look(bench->model, unit, micro_tlb, iova, true, &physical),
                     PIOMMU_IPMMU_MODEL_BYPASSED);
}

static void is_blocked(struct bench *bench, size_t unit, unsigned int micro_tlb, uint64_t iova,
                       bool write)
{
    assert_int_equal(piommu_ipmmu_model_look(bench->model, unit, micro_tlb, iova, write, NULL),
                     PIOMMU_IPMMU_MODEL_BLOCKED);
    assert_int_equal(piommu_ipmmu_model_dma(bench->model, unit, micro_tlb, iova, write, NULL),
                     PIOMMU_IPMMU_MODEL_BLOCKED);
}

/* For D's master of bench_ready(). */
static void is_gone_if(struct bench *bench, bool is_gone)
{
    if (is_gone) {
        is_blocked(bench, D, 3, IOVA, true);
    } else {
        reaches(bench, D, 3, IOVA, true, OUTPUT);
    }
}

static void fault_is(struct bench *bench, unsigned int context, uint32_t status, uint64_t address)
{
    assert_int_equal(reg_read(bench, M, PIOMMU_IPMMU_MODEL_IMSTR, context), status);
    assert_int_equal(reg_read(bench, M, PIOMMU_IPMMU_MODEL_IMELAR, context), address & UINT32_MAX);
    if (has_caches(bench)) {
        assert_int_equal(reg_read(bench, M, PIOMMU_IPMMU_MODEL_IMEUAR, context), address >> 32);
    }
    reg_write(bench, M, PIOMMU_IPMMU_MODEL_IMSTR, context, 0);
    assert_int_equal(reg_read(bench, M, PIOMMU_IPMMU_MODEL_IMSTR, context), 0);
    assert_int_equal(reg_read(bench, M, PIOMMU_IPMMU_MODEL_IMELAR, context), 0);
}

/* ---- offsets ---- */

static void offsets_are_those_of_the_class(void **state)
{
    static const uint32_t gen4[] = {0x10000, 0x11040, 0x12080, 0x130c0, 0x14100, 0x15140,
                                    0x16180, 0x171c0, 0x18800, 0x19840, 0x1a880, 0x1b8c0,
                                    0x1c900, 0x1d940, 0x1e980, 0x1f9c0};
    static const struct {
        enum piommu_ipmmu_model_class generation;
        unsigned int number;
        uint32_t imuctr;
    } micro_tlbs[] = {
        {PIOMMU_IPMMU_MODEL_GEN2, 0, 0xb00},   {PIOMMU_IPMMU_MODEL_GEN2, 31, 0xcf0},
        {PIOMMU_IPMMU_MODEL_GEN3, 0, 0x300},   {PIOMMU_IPMMU_MODEL_GEN3, 31, 0x4f0},
        {PIOMMU_IPMMU_MODEL_GEN3, 32, 0x600},  {PIOMMU_IPMMU_MODEL_GEN3, 47, 0x6f0},
        {PIOMMU_IPMMU_MODEL_GEN4, 0, 0x3300},  {PIOMMU_IPMMU_MODEL_GEN4, 31, 0x34f0},
        {PIOMMU_IPMMU_MODEL_GEN4, 32, 0x3600}, {PIOMMU_IPMMU_MODEL_GEN4, 63, 0x37f0},
    };
    struct bench *benches[] = {bench_open(PIOMMU_IPMMU_MODEL_GEN2),
                               bench_open(PIOMMU_IPMMU_MODEL_GEN3),
                               bench_open(PIOMMU_IPMMU_MODEL_GEN4)};

    (void)state;
    for (unsigned int n = 0; n < 16; n++) {
        if (n < 4) {
            assert_int_equal(
                piommu_ipmmu_model_offset(benches[0]->model, PIOMMU_IPMMU_MODEL_IMCTR, n),
                0x800 + 0x40 * n);
        }
        if (n < 8) {
            assert_int_equal(
                piommu_ipmmu_model_offset(benches[1]->model, PIOMMU_IPMMU_MODEL_IMCTR, n),
                0x40 * n);
        }
        assert_int_equal(piommu_ipmmu_model_offset(benches[2]->model, PIOMMU_IPMMU_MODEL_IMCTR, n),
                         gen4[n]);
    }
    for (size_t i = 0; i < sizeof(micro_tlbs) / sizeof(micro_tlbs[0]); i++) {
        struct piommu_ipmmu_model *model = benches[micro_tlbs[i].generation]->model;

        assert_int_equal(
            piommu_ipmmu_model_offset(model, PIOMMU_IPMMU_MODEL_IMUCTR, micro_tlbs[i].number),
            micro_tlbs[i].imuctr);
        assert_int_equal(
            piommu_ipmmu_model_offset(model, PIOMMU_IPMMU_MODEL_IMUASID, micro_tlbs[i].number),
            micro_tlbs[i].imuctr + 8);
    }
    assert_int_equal(piommu_ipmmu_model_offset(benches[1]->model, PIOMMU_IPMMU_MODEL_IMSCTLR, 0),
                     0x500);
    assert_int_equal(piommu_ipmmu_model_offset(benches[1]->model, PIOMMU_IPMMU_MODEL_IMSAUXCTLR, 0),
                     0x504);
    assert_int_equal(piommu_ipmmu_model_offset(benches[2]->model, PIOMMU_IPMMU_MODEL_IMSCTLR, 0),
                     0x1500);
    assert_int_equal(piommu_ipmmu_model_offset(benches[2]->model, PIOMMU_IPMMU_MODEL_IMSAUXCTLR, 0),
                     0x1504);
    for (size_t i = 0; i < 3; i++) {
        bench_close(benches[i]);
    }
}

/* How many words of a unit can be read without a violation. */
static unsigned int readable_words(struct bench *bench, size_t unit)
{
    unsigned int count = 0;

    for (uint64_t offset = 0; offset < piommu_ipmmu_model_size(bench->model); offset += 4) {
        piommu_ipmmu_model_forget_violations(bench->model);
        piommu_ipmmu_model_read(bench->model, bench->units[unit].base + offset, 4);
        count += piommu_ipmmu_model_violations(bench->model) == 0;
    }
    piommu_ipmmu_model_forget_violations(bench->model);
    return count;
}

static void nothing_else_exists(void **state)
{
    struct bench *gen2 = bench_open(PIOMMU_IPMMU_MODEL_GEN2);
    struct bench *gen3 = bench_open(PIOMMU_IPMMU_MODEL_GEN3);
    struct bench *gen4 = bench_open(PIOMMU_IPMMU_MODEL_GEN4);

    (void)state;
    /* Eleven registers a context on any root; no upper address but IMBUSCR on Gen2. */
    assert_int_equal(readable_words(gen2, M), 4 * 11 + 32 * 2);
    assert_int_equal(readable_words(gen3, M), 8 * 11 + 2);
    assert_int_equal(readable_words(gen3, D), 8 + 48 * 2 + 1);
    assert_int_equal(readable_words(gen4, M), 16 * 11 + 2);
    assert_int_equal(readable_words(gen4, D), 16 + 64 * 2 + 1);
    bench_close(gen2);
    bench_close(gen3);
    bench_close(gen4);
}

/* ---- violations of a single access ---- */

static void unknown_offsets_are_refused(void **state)
{
    struct bench *bench = bench_open(PIOMMU_IPMMU_MODEL_GEN3);
    struct bench *gen2 = bench_open(PIOMMU_IPMMU_MODEL_GEN2);

    (void)state;
    piommu_ipmmu_model_write(bench->model, bench->units[M].base + 0x200, 4, 1);
    expect_violation(bench, PIOMMU_IPMMU_MODEL_RULE_UNKNOWN, "M: write at offset 0x200");
    piommu_ipmmu_model_read(bench->model, bench->units[D].base + 0x508, 4);
    expect_violation(bench, PIOMMU_IPMMU_MODEL_RULE_UNKNOWN, "D: read at offset 0x508");
    piommu_ipmmu_model_read(bench->model, bench->units[M].base + 0x00c, 4);
    expect_violation(bench, PIOMMU_IPMMU_MODEL_RULE_UNKNOWN, "offset 0xc");
    piommu_ipmmu_model_read(bench->model, bench->units[M].base + 0x1000, 4);
    expect_violation(bench, PIOMMU_IPMMU_MODEL_RULE_UNKNOWN, "where no unit is");
    piommu_ipmmu_model_read(gen2->model, gen2->units[M].base, 4);
    expect_violation(gen2, PIOMMU_IPMMU_MODEL_RULE_UNKNOWN, "offset 0x0"); /* the secure side */
    piommu_ipmmu_model_read(gen2->model, gen2->units[M].base + 0x834, 4);
    expect_violation(gen2, PIOMMU_IPMMU_MODEL_RULE_UNKNOWN, "offset 0x834"); /* IMEUAR */
    piommu_ipmmu_model_read(gen2->model, gen2->units[M].base + 0x804, 4);
    expect_violation(gen2, PIOMMU_IPMMU_MODEL_RULE_UNKNOWN, "offset 0x804"); /* IMCAAR */
    piommu_ipmmu_model_read(gen2->model, gen2->units[M].base + 0x500, 4);
    expect_violation(gen2, PIOMMU_IPMMU_MODEL_RULE_UNKNOWN, "offset 0x500");
    bench_close(bench);
    bench_close(gen2);
}

static void widths_are_checked(void **state)
{
    struct bench *bench = bench_open(PIOMMU_IPMMU_MODEL_GEN3);

    (void)state;
    piommu_ipmmu_model_write(bench->model, bench->units[M].base, 2, 0);
    expect_violation(bench, PIOMMU_IPMMU_MODEL_RULE_WIDTH, "write of 2 bytes");
    piommu_ipmmu_model_read(bench->model, bench->units[M].base + 2, 4);
    expect_violation(bench, PIOMMU_IPMMU_MODEL_RULE_WIDTH, "offset 0x2");
    bench_close(bench);
}

static void numbers_are_checked(void **state)
{
    struct bench *gen2 = bench_open(PIOMMU_IPMMU_MODEL_GEN2);
    struct bench *gen3 = bench_open(PIOMMU_IPMMU_MODEL_GEN3);
    const struct piommu_ipmmu_model_unit v3u[] = {
        {.name = "M", .base = 0x10000000, .root = 0},
        {.name = "D", .base = 0x20000000, .micro_tlbs = 63}};
    const struct piommu_ipmmu_model_parameters parameters = {
        .generation = PIOMMU_IPMMU_MODEL_GEN4, .units = v3u, .unit_count = 2};
    struct bench *gen4 = bench_with(&parameters);

    (void)state;
    reg_write(gen2, M, PIOMMU_IPMMU_MODEL_IMCTR, 4, 0);
    expect_violation(gen2, PIOMMU_IPMMU_MODEL_RULE_NUMBER, "IMCTR(4)");
    reg_write(gen3, D, PIOMMU_IPMMU_MODEL_IMUCTR, 50, 0);
    expect_violation(gen3, PIOMMU_IPMMU_MODEL_RULE_NUMBER, "IMUCTR(50)");
    reg_read(gen3, M, PIOMMU_IPMMU_MODEL_IMCTR, 8);
    expect_violation(gen3, PIOMMU_IPMMU_MODEL_RULE_NUMBER, "IMCTR(8)");
    reg_read(gen4, D, PIOMMU_IPMMU_MODEL_IMUASID, 62);
    expect_violation(gen4, NO_RULE, NULL);
    reg_read(gen4, D, PIOMMU_IPMMU_MODEL_IMUASID, 63);
    expect_violation(gen4, PIOMMU_IPMMU_MODEL_RULE_NUMBER, "IMUASID(63)");
    bench_close(gen2);
    bench_close(gen3);
    bench_close(gen4);
}

static void registers_belong_to_root_or_cache(void **state)
{
    struct bench *bench = bench_open(PIOMMU_IPMMU_MODEL_GEN3);

    (void)state;
    reg_write(bench, D, PIOMMU_IPMMU_MODEL_IMTTBCR, 1, 0);
    expect_violation(bench, PIOMMU_IPMMU_MODEL_RULE_PLACE, "D: write of IMTTBCR(1)");
    reg_read(bench, D, PIOMMU_IPMMU_MODEL_IMSTR, 1);
    expect_violation(bench, PIOMMU_IPMMU_MODEL_RULE_PLACE,
                     "IMSTR(1), which is not for a cache unit");
    reg_read(bench, D, PIOMMU_IPMMU_MODEL_IMSAUXCTLR, 0);
    expect_violation(bench, PIOMMU_IPMMU_MODEL_RULE_PLACE, "IMSAUXCTLR");
    reg_write(bench, M, PIOMMU_IPMMU_MODEL_IMUCTR, 1, 0);
    expect_violation(bench, PIOMMU_IPMMU_MODEL_RULE_PLACE, "IMUCTR(1), which is not for a root");
    bench_close(bench);
}

static void reserved_bits_are_refused(void **state)
{
    static const struct {
        enum piommu_ipmmu_model_class generation;
        size_t unit;
        enum piommu_ipmmu_model_register which;
        uint32_t value;
    } writes[] = {
        {PIOMMU_IPMMU_MODEL_GEN3, M, PIOMMU_IPMMU_MODEL_IMCTR, 0x00010000},
        {PIOMMU_IPMMU_MODEL_GEN3, M, PIOMMU_IPMMU_MODEL_IMCTR, 0x00000008},
        {PIOMMU_IPMMU_MODEL_GEN3, D, PIOMMU_IPMMU_MODEL_IMCTR, 0x20000002},
        {PIOMMU_IPMMU_MODEL_GEN2, M, PIOMMU_IPMMU_MODEL_IMCTR, 0x20000002},
        {PIOMMU_IPMMU_MODEL_GEN3, M, PIOMMU_IPMMU_MODEL_IMTTLBR0, 0x00001800},
        {PIOMMU_IPMMU_MODEL_GEN3, M, PIOMMU_IPMMU_MODEL_IMTTUBR0, 0x00000100},
        {PIOMMU_IPMMU_MODEL_GEN3, M, PIOMMU_IPMMU_MODEL_IMTTBCR, 0x80000020},
        {PIOMMU_IPMMU_MODEL_GEN3, M, PIOMMU_IPMMU_MODEL_IMTTBCR, 0x80800080},
        {PIOMMU_IPMMU_MODEL_GEN3, M, PIOMMU_IPMMU_MODEL_IMTTBCR, 0x80001080},
        {PIOMMU_IPMMU_MODEL_GEN2, M, PIOMMU_IPMMU_MODEL_IMTTBCR, 0x80000080},
        {PIOMMU_IPMMU_MODEL_GEN2, M, PIOMMU_IPMMU_MODEL_IMTTBCR, 0xc0003510},
        {PIOMMU_IPMMU_MODEL_GEN2, M, PIOMMU_IPMMU_MODEL_IMBUSCR, 0x00000004},
        {PIOMMU_IPMMU_MODEL_GEN2, M, PIOMMU_IPMMU_MODEL_IMBUSCR, 0x00000008},
        {PIOMMU_IPMMU_MODEL_GEN3, M, PIOMMU_IPMMU_MODEL_IMELAR, 0},
        {PIOMMU_IPMMU_MODEL_GEN3, M, PIOMMU_IPMMU_MODEL_IMEUAR, 0},
        {PIOMMU_IPMMU_MODEL_GEN3, D, PIOMMU_IPMMU_MODEL_IMUASID, 1},
        {PIOMMU_IPMMU_MODEL_GEN3, D, PIOMMU_IPMMU_MODEL_IMUCTR, 0x80000000},
        {PIOMMU_IPMMU_MODEL_GEN3, D, PIOMMU_IPMMU_MODEL_IMUCTR, 0x00000100},
        {PIOMMU_IPMMU_MODEL_GEN3, D, PIOMMU_IPMMU_MODEL_IMUCTR, 0x00000004},
        {PIOMMU_IPMMU_MODEL_GEN4, D, PIOMMU_IPMMU_MODEL_IMUCTR, 0x00000200},
        {PIOMMU_IPMMU_MODEL_GEN4, D, PIOMMU_IPMMU_MODEL_IMSCTLR, 0x10000000},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(writes) / sizeof(writes[0]); i++) {
        struct bench *bench = bench_open(writes[i].generation);

        reg_write(bench, writes[i].unit, writes[i].which, 0, writes[i].value);
        expect_violation(bench, PIOMMU_IPMMU_MODEL_RULE_RESERVED,
                         piommu_ipmmu_model_register_name(writes[i].which));
        bench_close(bench);
    }
}

static void contexts_that_micro_tlbs_select_exist(void **state)
{
    struct bench *gen2 = bench_open(PIOMMU_IPMMU_MODEL_GEN2);
    struct bench *gen3 = bench_open(PIOMMU_IPMMU_MODEL_GEN3);
    struct bench *gen4 = bench_open(PIOMMU_IPMMU_MODEL_GEN4);

    (void)state;
    reg_write(gen2, M, PIOMMU_IPMMU_MODEL_IMUCTR, 0, 0x40);
    expect_violation(gen2, PIOMMU_IPMMU_MODEL_RULE_SELECT, "selects context 4");
    reg_write(gen3, D, PIOMMU_IPMMU_MODEL_IMUCTR, 0, 0x81);
    expect_violation(gen3, PIOMMU_IPMMU_MODEL_RULE_SELECT, "the PMB");
    reg_write(gen4, D, PIOMMU_IPMMU_MODEL_IMUCTR, 0, 0x100);
    expect_violation(gen4, PIOMMU_IPMMU_MODEL_RULE_SELECT, "selects context 16");
    reg_write(gen4, D, PIOMMU_IPMMU_MODEL_IMUCTR, 0, 0xf0);
    expect_violation(gen4, NO_RULE, NULL);
    bench_close(gen2);
    bench_close(gen3);
    bench_close(gen4);
}

static void bits_of_firmware_stay(void **state)
{
    struct bench *bench = bench_open(PIOMMU_IPMMU_MODEL_GEN3);

    (void)state;
    assert_int_equal(reg_read(bench, M, PIOMMU_IPMMU_MODEL_IMSCTLR, 0), 0xc0000000);
    assert_int_equal(reg_read(bench, M, PIOMMU_IPMMU_MODEL_IMSAUXCTLR, 0), 0x01000000);
    reg_write(bench, M, PIOMMU_IPMMU_MODEL_IMSCTLR, 0, 0);
    expect_violation(bench, PIOMMU_IPMMU_MODEL_RULE_FIRMWARE, "M: IMSCTLR");
    reg_write(bench, M, PIOMMU_IPMMU_MODEL_IMSAUXCTLR, 0, 8);
    expect_violation(bench, PIOMMU_IPMMU_MODEL_RULE_FIRMWARE, "M: IMSAUXCTLR");
    reg_write(bench, D, PIOMMU_IPMMU_MODEL_IMSCTLR, 0, 0x20000000);
    expect_violation(bench, PIOMMU_IPMMU_MODEL_RULE_FIRMWARE, "D: IMSCTLR");
    reg_write(bench, M, PIOMMU_IPMMU_MODEL_IMSCTLR, 0, 0xe0000000);
    expect_violation(bench, PIOMMU_IPMMU_MODEL_RULE_FIRMWARE, "M: IMSCTLR");
    reg_write(bench, H, PIOMMU_IPMMU_MODEL_IMSCTLR, 0, 0xe0000000);
    expect_violation(bench, NO_RULE, NULL);
    reg_write(bench, H, PIOMMU_IPMMU_MODEL_IMSCTLR, 0, 0);
    expect_violation(bench, PIOMMU_IPMMU_MODEL_RULE_FIRMWARE, "H: IMSCTLR");
    bench_close(bench);
}

static void status_is_cleared_with_zero(void **state)
{
    uint64_t root;
    struct bench *bench = bench_ready(&root);

    (void)state;
    piommu_ipmmu_model_report(bench->model, M, 1, 0x12, 0x1234567890);
    reg_write(bench, M, PIOMMU_IPMMU_MODEL_IMSTR, 1, 3);
    expect_violation(bench, PIOMMU_IPMMU_MODEL_RULE_STATUS, "IMSTR(1)");
    assert_int_equal(reg_read(bench, M, PIOMMU_IPMMU_MODEL_IMSTR, 1), 2);
    piommu_ipmmu_model_readings(bench->model)->status_write_all_or_nothing = true;
    reg_write(bench, M, PIOMMU_IPMMU_MODEL_IMSTR, 1, 1);
    expect_violation(bench, PIOMMU_IPMMU_MODEL_RULE_STATUS, "IMSTR(1)");
    fault_is(bench, 1, 2, 0x1234567890);
    bench_close(bench);
}

/* ---- violations that depend on the state ---- */

static void live_contexts_stay_as_they_are(void **state)
{
    static const enum piommu_ipmmu_model_register registers[] = {
        PIOMMU_IPMMU_MODEL_IMTTLBR0, PIOMMU_IPMMU_MODEL_IMTTUBR0, PIOMMU_IPMMU_MODEL_IMTTLBR1,
        PIOMMU_IPMMU_MODEL_IMTTUBR1, PIOMMU_IPMMU_MODEL_IMMAIR0,  PIOMMU_IPMMU_MODEL_IMMAIR1,
    };
    uint64_t root;
    struct bench *bench = bench_ready(&root);

    (void)state;
    for (size_t i = 0; i < sizeof(registers) / sizeof(registers[0]); i++) {
        uint32_t value = piommu_ipmmu_model_get(bench->model, M, registers[i], 1);
        uint32_t other = i % 2 == 0 || i > 3 ? value + 0x1000 : value + 1;

        reg_write(bench, M, registers[i], 1, value);
        expect_violation(bench, NO_RULE, NULL);
        reg_write(bench, M, registers[i], 1, other);
        expect_violation(bench, PIOMMU_IPMMU_MODEL_RULE_LIVE, "was changed while");
    }
    reg_write(bench, M, PIOMMU_IPMMU_MODEL_IMTTBCR, 1, 0x80000081);
    expect_violation(bench, PIOMMU_IPMMU_MODEL_RULE_LIVE, "IMTTBCR(1)");
    reg_write(bench, M, PIOMMU_IPMMU_MODEL_IMCTR, 1, ENABLE | VA64);
    expect_violation(bench, PIOMMU_IPMMU_MODEL_RULE_LIVE, "VA64 of context 1");
    bench_close(bench);
}

static void contexts_are_enabled_with_flush(void **state)
{
    struct bench *bench = bench_open(PIOMMU_IPMMU_MODEL_GEN3);

    (void)state;
    set_table(bench, 1, new_tables(bench, 1), 0x80000080);
    reg_write(bench, M, PIOMMU_IPMMU_MODEL_IMCTR, 1, 5);
    expect_violation(bench, PIOMMU_IPMMU_MODEL_RULE_FLUSH, "M: context 1");
    reg_write(bench, D, PIOMMU_IPMMU_MODEL_IMCTR, 1, 1);
    expect_violation(bench, PIOMMU_IPMMU_MODEL_RULE_FLUSH, "D: context 1");
    reg_write(bench, D, PIOMMU_IPMMU_MODEL_IMCTR, 1, 5);
    expect_violation(bench, NO_RULE, NULL);
    bench_close(bench);
}

static void settings_fit_each_other(void **state)
{
    static const struct {
        enum piommu_ipmmu_model_class generation;
        bool s2pte;
        uint32_t base; /* from the start of memory */
        uint32_t imttbcr;
        uint32_t format;
        const char *problem; /* NULL: they do */
    } setups[] = {
        {PIOMMU_IPMMU_MODEL_GEN2, false, 0, 0x80003510, 0, NULL},
        {PIOMMU_IPMMU_MODEL_GEN2, false, 0, 0x80003500, 0, "start level"},
        {PIOMMU_IPMMU_MODEL_GEN2, false, 0, 0x80003502, 0, NULL},
        {PIOMMU_IPMMU_MODEL_GEN3, false, 0, 0x80000080, 0, NULL},
        {PIOMMU_IPMMU_MODEL_GEN3, false, 0, 0x80000081, 0, NULL},
        {PIOMMU_IPMMU_MODEL_GEN3, false, 0, 0x80000082, 0, "start level"},
        {PIOMMU_IPMMU_MODEL_GEN3, false, 0, 0x80000042, 0, NULL},
        {PIOMMU_IPMMU_MODEL_GEN3, false, 0, 0x800000c0, 0, "start level"},
        {PIOMMU_IPMMU_MODEL_GEN3, false, 0, 0x00000080, 0, "EAE"},
        {PIOMMU_IPMMU_MODEL_GEN3, false, 0, 0x80000098, 0, "TSZ0"},
        {PIOMMU_IPMMU_MODEL_GEN3, false, 0, 0x80010080, 0, "TSZ1"},
        {PIOMMU_IPMMU_MODEL_GEN3, false, 0, 0xb5193599, VA64, NULL},
        {PIOMMU_IPMMU_MODEL_GEN3, false, 0, 0xb5183599, VA64, "TSZ1"},
        {PIOMMU_IPMMU_MODEL_GEN3, false, 0, 0x80000099, VA64, "TSZ1"},
        {PIOMMU_IPMMU_MODEL_GEN3, false, 0, 0x80000098, VA64, "start level"},
        {PIOMMU_IPMMU_MODEL_GEN3, true, 0, 0xc0000058, VA64, NULL},
        {PIOMMU_IPMMU_MODEL_GEN3, true, 0, 0xc0000059, VA64, NULL},
        {PIOMMU_IPMMU_MODEL_GEN3, true, 0x1000, 0xc0000058, VA64, "align"},
        {PIOMMU_IPMMU_MODEL_GEN3, true, 0x1000, 0xc0000059, VA64, NULL},
        {PIOMMU_IPMMU_MODEL_GEN3, true, 0, 0xc0000018, VA64, "start level"},
        {PIOMMU_IPMMU_MODEL_GEN3, true, 0, 0xc0000098, VA64, "start level"},
        {PIOMMU_IPMMU_MODEL_GEN3, false, 0, 0xc0000058, VA64, "S2PTE"},
        {PIOMMU_IPMMU_MODEL_GEN3, true, 0, 0xc0000040, 0, "without VA64"},
        {PIOMMU_IPMMU_MODEL_GEN3, true, 0, 0x80000080, 0, NULL},
        {PIOMMU_IPMMU_MODEL_GEN4, true, 0, 0xc0000058, VA64, NULL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(setups) / sizeof(setups[0]); i++) {
        struct bench *bench = bench_open(setups[i].generation);
        struct piommu_walker_regime regime;

        if (setups[i].s2pte) {
            reg_write(bench, M, PIOMMU_IPMMU_MODEL_IMSAUXCTLR, 0,
                      reg_read(bench, M, PIOMMU_IPMMU_MODEL_IMSAUXCTLR, 0) | 8);
        }
        set_table(bench, 2, MEMORY_BASE + setups[i].base, setups[i].imttbcr);
        reg_write(bench, M, PIOMMU_IPMMU_MODEL_IMCTR, 2, ENABLE | setups[i].format);
        expect_violation(bench, setups[i].problem != NULL ? PIOMMU_IPMMU_MODEL_RULE_SETUP : NO_RULE,
                         setups[i].problem);
        assert_int_equal(piommu_ipmmu_model_regime(bench->model, M, 2, &regime),
                         setups[i].problem == NULL);
        bench_close(bench);
    }
}

static void micro_tlbs_use_enabled_contexts(void **state)
{
    uint64_t root;
    struct bench *bench = bench_ready(&root);

    (void)state;
    attach(bench, D, 4, 2);
    expect_violation(bench, PIOMMU_IPMMU_MODEL_RULE_DISABLED, "D: IMUCTR(4) enables");
    reg_write(bench, D, PIOMMU_IPMMU_MODEL_IMUCTR, 4, 0);
    reg_write(bench, H, PIOMMU_IPMMU_MODEL_IMCTR, 1, FLUSH);
    expect_violation(bench, PIOMMU_IPMMU_MODEL_RULE_DISABLED, "micro-TLB 2 of H");
    reg_write(bench, H, PIOMMU_IPMMU_MODEL_IMUCTR, 2, 0);
    reg_write(bench, M, PIOMMU_IPMMU_MODEL_IMCTR, 1, FLUSH);
    expect_violation(bench, PIOMMU_IPMMU_MODEL_RULE_DISABLED, "M: context 1 was disabled");
    reg_write(bench, D, PIOMMU_IPMMU_MODEL_IMUCTR, 3, 0);
    reg_write(bench, D, PIOMMU_IPMMU_MODEL_IMCTR, 1, FLUSH);
    expect_violation(bench, NO_RULE, NULL);
    /* It does not matter that the root has it. */
    set_table(bench, 1, root, 0x80000080);
    reg_write(bench, M, PIOMMU_IPMMU_MODEL_IMCTR, 1, ENABLE);
    attach(bench, D, 3, 1);
    expect_violation(bench, PIOMMU_IPMMU_MODEL_RULE_DISABLED, "context 1, which is disabled");
    bench_close(bench);
}

static void contexts_are_not_reused_with_old_entries(void **state)
{
    uint64_t root;
    struct bench *bench = bench_ready(&root);

    (void)state;
    reaches(bench, D, 3, IOVA, true, OUTPUT);
    reaches(bench, H, 2, IOVA, true, OUTPUT);
    reg_write(bench, D, PIOMMU_IPMMU_MODEL_IMUCTR, 3, 0);
    reg_write(bench, H, PIOMMU_IPMMU_MODEL_IMUCTR, 2, 0);
    reg_write(bench, D, PIOMMU_IPMMU_MODEL_IMCTR, 1, FLUSH);
    reg_write(bench, H, PIOMMU_IPMMU_MODEL_IMCTR, 1, 0); /* forgotten */
    reg_write(bench, M, PIOMMU_IPMMU_MODEL_IMCTR, 1, FLUSH);
    set_table(bench, 1, new_tables(bench, 1), 0x80000080);
    reg_write(bench, D, PIOMMU_IPMMU_MODEL_IMCTR, 1, ENABLE);
    reg_write(bench, M, PIOMMU_IPMMU_MODEL_IMCTR, 1, ENABLE);
    expect_violation(bench, NO_RULE, NULL);
    assert_int_not_equal(piommu_ipmmu_model_entries(bench->model, H, 1), 0);
    reg_write(bench, H, PIOMMU_IPMMU_MODEL_IMCTR, 1, 5);
    assert_int_equal(piommu_ipmmu_model_broken_rules(bench->model),
                     PIOMMU_IPMMU_MODEL_RULE_REUSE | PIOMMU_IPMMU_MODEL_RULE_FLUSH);
    assert_non_null(strstr(piommu_ipmmu_model_violation(bench->model, 1), "H: context 1"));
    bench_abandon(bench);
}

/* The TLB of the unit is off, but the micro-TLB has an entry. */
static void entries_of_micro_tlbs_count_for_reuse(void **state)
{
    struct bench *bench = bench_open(PIOMMU_IPMMU_MODEL_GEN3);
    uint64_t root;

    (void)state;
    reg_write(bench, D, PIOMMU_IPMMU_MODEL_IMSCTLR, 0, 0xe0000000);
    root = open_context(bench, 1);
    map(bench, root, IOVA, OUTPUT);
    attach(bench, D, 3, 1);
    reaches(bench, D, 3, IOVA, true, OUTPUT);
    reg_write(bench, D, PIOMMU_IPMMU_MODEL_IMUCTR, 3, 0);
    reg_write(bench, D, PIOMMU_IPMMU_MODEL_IMCTR, 1, 0);
    piommu_ipmmu_model_forgive(bench->model, PIOMMU_IPMMU_MODEL_RULE_FLUSH);
    reg_write(bench, D, PIOMMU_IPMMU_MODEL_IMCTR, 1, 5);
    assert_int_equal(piommu_ipmmu_model_violations(bench->model), 1);
    assert_non_null(
        strstr(piommu_ipmmu_model_violation(bench->model, 0), "D: context 1 is in use again"));
    bench_abandon(bench);
}

static void roots_come_first(void **state)
{
    const struct piommu_ipmmu_model_parameters parameters = {.generation = PIOMMU_IPMMU_MODEL_GEN3};
    struct bench *bench = bench_with(&parameters);

    (void)state;
    clear_bits(bench, D, PIOMMU_IPMMU_MODEL_IMSCTLR, 0x10000000);
    expect_violation(bench, PIOMMU_IPMMU_MODEL_RULE_ROOT_FIRST, "D: was written before its root M");
    reg_write(bench, M, PIOMMU_IPMMU_MODEL_IMCTR, 0, 0);
    clear_bits(bench, H, PIOMMU_IPMMU_MODEL_IMSCTLR, 0x10000000);
    expect_violation(bench, NO_RULE, NULL);
    piommu_ipmmu_model_power(bench->model, M, false);
    piommu_ipmmu_model_power(bench->model, M, true);
    reg_write(bench, D, PIOMMU_IPMMU_MODEL_IMUCTR, 0, 0);
    expect_violation(bench, PIOMMU_IPMMU_MODEL_RULE_ROOT_FIRST, "D: was written");
    bench_close(bench);
}

static void what_is_forgiven_is_not_recorded(void **state)
{
    struct bench *bench = bench_open(PIOMMU_IPMMU_MODEL_GEN3);

    (void)state;
    piommu_ipmmu_model_forgive(bench->model,
                               PIOMMU_IPMMU_MODEL_RULE_WIDTH | PIOMMU_IPMMU_MODEL_RULE_STATUS);
    piommu_ipmmu_model_write(bench->model, bench->units[M].base, 1, 0);
    reg_write(bench, M, PIOMMU_IPMMU_MODEL_IMSTR, 0, 1);
    assert_int_equal(piommu_ipmmu_model_violations(bench->model), 0);
    assert_int_equal(piommu_ipmmu_model_broken_rules(bench->model),
                     PIOMMU_IPMMU_MODEL_RULE_WIDTH | PIOMMU_IPMMU_MODEL_RULE_STATUS);
    piommu_ipmmu_model_forgive(bench->model, 0);
    for (unsigned int i = 0; i < 40; i++) {
        piommu_ipmmu_model_write(bench->model, bench->units[M].base, 1, 0);
    }
    assert_int_equal(piommu_ipmmu_model_violations(bench->model), 40);
    assert_non_null(
        piommu_ipmmu_model_violation(bench->model, PIOMMU_IPMMU_MODEL_KEPT_VIOLATIONS - 1));
    assert_null(piommu_ipmmu_model_violation(bench->model, PIOMMU_IPMMU_MODEL_KEPT_VIOLATIONS));
    bench_abandon(bench);
}

/* ---- translation ---- */

static void stage_1_translates_in_every_class(void **state)
{
    (void)state;
    for (unsigned int i = PIOMMU_IPMMU_MODEL_GEN2; i <= PIOMMU_IPMMU_MODEL_GEN4; i++) {
        struct bench *bench = bench_open((enum piommu_ipmmu_model_class)i);
        size_t unit = has_caches(bench) ? D : M;
        unsigned int last = i == PIOMMU_IPMMU_MODEL_GEN2   ? 31
                            : i == PIOMMU_IPMMU_MODEL_GEN3 ? 47
                                                           : 63;
        unsigned int context = i == PIOMMU_IPMMU_MODEL_GEN2   ? 3
                               : i == PIOMMU_IPMMU_MODEL_GEN3 ? 7
                                                              : 15;
        uint64_t root = open_context(bench, context);

        map(bench, root, IOVA, OUTPUT);
        *entry_of(bench, root, 0x80200000, 2) = 0x1200000 | 0xf65;
        *entry_of(bench, root, 0xc0000000, 1) = 0x4040000000 | 0xf65 | READ_ONLY;
        attach(bench, unit, last, context);
        reaches(bench, unit, last, IOVA + 0x123, true, OUTPUT + 0x123);
        reaches(bench, unit, last, 0x80312345, false, 0x1312345);
        reaches(bench, unit, last, 0xffffffff, false, 0x407fffffff);
        is_blocked(bench, unit, last, 0xffffffff, true);
        fault_is(bench, context, 0x1402, 0xffffffff);
        is_blocked(bench, unit, last, IOVA + 0x1000, true);
        fault_is(bench, context, 0x3101, IOVA + 0x1000);
        is_blocked(bench, unit, last, 0x80000000, false);
        fault_is(bench, context, 0x2101, 0x80000000);
        bench_close(bench);
    }
}

static void addresses_above_the_input_fault(void **state)
{
    uint64_t root;
    struct bench *bench = bench_ready(&root);

    (void)state;
    is_blocked(bench, D, 3, (UINT64_C(1) << 32) + IOVA, false);
    fault_is(bench, 1, 0x1101, (UINT64_C(1) << 32) + IOVA);
    bench_close(bench);
}

static void stage_1_wants_everything_non_secure(void **state)
{
    uint64_t root;
    struct bench *bench = bench_ready(&root);
    uint64_t *entry;

    (void)state;
    for (int level = 1; level <= 3; level++) {
        uint64_t bit = level == 3 ? 0x20 : NS_TABLE;

        entry = entry_of(bench, root, IOVA, level);
        *entry &= ~bit;
        is_blocked(bench, D, 3, IOVA, false);
        fault_is(bench, 1, (uint32_t)level << 12 | 0x502, IOVA);
        *entry |= bit;
    }
    reaches(bench, D, 3, IOVA, false, OUTPUT);
    bench_close(bench);
}

static void faults_say_what_happened(void **state)
{
    uint64_t root;
    struct bench *bench = bench_ready(&root);
    struct piommu_ipmmu_model_readings *readings = piommu_ipmmu_model_readings(bench->model);

    (void)state;
    map(bench, root, IOVA + 0x1000, OUTPUT | READ_ONLY);
    is_blocked(bench, D, 3, IOVA + 0x1004, true);
    fault_is(bench, 1, 0x3402, IOVA + 0x1004);
    map(bench, root, IOVA + 0x1000, OUTPUT);
    is_blocked(bench, D, 3, IOVA + 0x1004, true); /* from a TLB */
    fault_is(bench, 1, 0x3402, IOVA + 0x1004);
    *entry_of(bench, root, IOVA + 0x2000, 3) = OUTPUT | (STAGE1_PAGE & ~UINT64_C(0x400));
    is_blocked(bench, D, 3, IOVA + 0x2000, false);
    fault_is(bench, 1, 0x3101, IOVA + 0x2000);
    readings->access_flag_is_permission = true;
    is_blocked(bench, D, 3, IOVA + 0x2000, false);
    fault_is(bench, 1, 0x3402, IOVA + 0x2000);
    *entry_of(bench, root, IOVA + 0x400000, 2) = UINT64_C(0x1000) | 3 | NS_TABLE;
    is_blocked(bench, D, 3, IOVA + 0x400000, false);
    fault_is(bench, 1, 0x3004, IOVA + 0x400000);
    readings->abort_code = 1;
    is_blocked(bench, D, 3, IOVA + 0x400000, false);
    fault_is(bench, 1, 0x3104, IOVA + 0x400000);
    readings->translation_code = 0;
    readings->fault_address_is_page = true;
    is_blocked(bench, D, 3, 0xfff, false);
    fault_is(bench, 1, 0x1001, 0);
    bench_close(bench);
}

static void a_second_fault_is_read_in_two_ways(void **state)
{
    uint64_t root;
    struct bench *bench = bench_ready(&root);

    (void)state;
    map(bench, root, IOVA + 0x1000, OUTPUT | READ_ONLY);
    is_blocked(bench, D, 3, 0x1000, false);
    is_blocked(bench, D, 3, IOVA + 0x1000, true);
    fault_is(bench, 1, 0x1103, 0x1000);
    piommu_ipmmu_model_readings(bench->model)->last_fault_wins = true;
    is_blocked(bench, D, 3, 0x1000, false);
    is_blocked(bench, D, 3, IOVA + 0x1000, true);
    fault_is(bench, 1, 0x3403, IOVA + 0x1000);
    bench_close(bench);
}

static void stage_2_bench(struct bench *bench, unsigned int context, uint64_t root,
                          uint32_t imttbcr)
{
    bench->stage = 2;
    if ((piommu_ipmmu_model_get(bench->model, M, PIOMMU_IPMMU_MODEL_IMSAUXCTLR, 0) & 8) == 0) {
        reg_write(bench, M, PIOMMU_IPMMU_MODEL_IMSAUXCTLR, 0,
                  reg_read(bench, M, PIOMMU_IPMMU_MODEL_IMSAUXCTLR, 0) | 8);
    }
    set_table(bench, context, root, imttbcr);
    enable(bench, context, VA64);
    attach(bench, D, 3, context);
}

static void stage_2_translates_40_bits(void **state)
{
    struct bench *bench = bench_open(PIOMMU_IPMMU_MODEL_GEN3);
    uint64_t root = new_tables(bench, 2);

    (void)state;
    stage_2_bench(bench, 1, root, 0xc0000058);
    map(bench, root, UINT64_C(0xfffffff000), OUTPUT);
    map(bench, root, UINT64_C(0x1234567000), OUTPUT + 0x1000);
    *entry_of(bench, root, IOVA, 3) = OUTPUT | (STAGE2_PAGE & ~UINT64_C(0x40)); /* write only */
    reaches(bench, D, 3, UINT64_C(0xffffffffff), true, OUTPUT + 0xfff);
    reaches(bench, D, 3, UINT64_C(0x1234567000), false, OUTPUT + 0x1000);
    reaches(bench, D, 3, IOVA, true, OUTPUT);
    is_blocked(bench, D, 3, IOVA, false);
    fault_is(bench, 1, 0x3402, IOVA);
    is_blocked(bench, D, 3, UINT64_C(0x1234568000), false);
    fault_is(bench, 1, 0x3101, UINT64_C(0x1234568000));
    bench_close(bench);
}

static void stage_2_translates_39_bits_with_one_table(void **state)
{
    struct bench *bench = bench_open(PIOMMU_IPMMU_MODEL_GEN4);
    uint64_t root = new_tables(bench, 1);

    (void)state;
    stage_2_bench(bench, 15, root, 0xc0000059);
    map(bench, root, UINT64_C(0x7ffffff000), OUTPUT);
    reaches(bench, D, 3, UINT64_C(0x7ffffff000), true, OUTPUT);
    is_blocked(bench, D, 3, UINT64_C(0x8000000000), true);
    bench_close(bench);
}

static void stage_2_may_start_with_the_other_number(void **state)
{
    struct bench *bench = bench_open(PIOMMU_IPMMU_MODEL_GEN3);
    uint64_t root = new_tables(bench, 2);

    (void)state;
    piommu_ipmmu_model_readings(bench->model)->stage2_start = PIOMMU_IPMMU_MODEL_STAGE2_START_2;
    map(bench, root, IOVA, OUTPUT);
    stage_2_bench(bench, 1, root, 0xc0003598);
    map(bench, root, IOVA, OUTPUT);
    reaches(bench, D, 3, IOVA, true, OUTPUT);
    bench_close(bench);
}

/* Stage 1 with VA64: bit 39 of an address says which of two tables it is for. */
static uint64_t open_halves(struct bench *bench, uint64_t lower, uint64_t upper)
{
    reg_write(bench, M, PIOMMU_IPMMU_MODEL_IMTTLBR1, 1, (uint32_t)(upper & UINT32_MAX));
    reg_write(bench, M, PIOMMU_IPMMU_MODEL_IMTTUBR1, 1, (uint32_t)(upper >> 32));
    set_table(bench, 1, lower, 0xb5193599);
    enable(bench, 1, VA64);
    attach(bench, D, 3, 1);
    map(bench, lower, UINT64_C(0x7ffffff000), OUTPUT);
    return UINT64_C(0x8000000000);
}

static void stage_1_with_long_addresses(void **state)
{
    struct bench *bench = bench_open(PIOMMU_IPMMU_MODEL_GEN3);
    uint64_t root = new_tables(bench, 1);
    uint64_t half = open_halves(bench, root, root);

    (void)state;
    reaches(bench, D, 3, UINT64_C(0x7ffffff008), true, OUTPUT + 8);
    reaches(bench, D, 3, half + UINT64_C(0x7ffffff008), true, OUTPUT + 8);
    is_blocked(bench, D, 3, half + IOVA, false);
    fault_is(bench, 1, 0x1101, half + IOVA);
    /* More bits than masters have. */
    is_blocked(bench, D, 3, 5 * half + UINT64_C(0x7ffffff008), false);
    fault_is(bench, 1, 0x0101, half + UINT64_C(0x7ffffff008));
    /* What was learned of one half stays apart, and goes like everything else. */
    *entry_of(bench, root, UINT64_C(0x7ffffff000), 3) = 0;
    reaches(bench, D, 3, half + UINT64_C(0x7ffffff008), true, OUTPUT + 8);
    flush(bench, D, 1);
    flush(bench, M, 1);
    is_blocked(bench, D, 3, half + UINT64_C(0x7ffffff008), true);
    bench_close(bench);
}

static void the_halves_have_tables_of_their_own(void **state)
{
    struct bench *bench = bench_open(PIOMMU_IPMMU_MODEL_GEN4);
    uint64_t lower = new_tables(bench, 1);
    uint64_t upper = new_tables(bench, 1);
    uint64_t half = open_halves(bench, lower, upper);

    (void)state;
    map(bench, upper, IOVA, OUTPUT + 0x1000);
    map(bench, upper, IOVA + 0x1000, OUTPUT + 0x2000);
    assert_true(piommu_ipmmu_model_table_reaches(bench->model, upper, 8));
    reaches(bench, D, 3, half + IOVA, false, OUTPUT + 0x1000);
    *entry_of(bench, upper, IOVA, 2) = 0;
    reaches(bench, D, 3, half + IOVA + 0x1000, false, OUTPUT + 0x2000); /* by a kept pointer */
    piommu_ipmmu_model_prefetch(bench->model, D, 3);
    memset(bench->memory, 0, sizeof(bench->memory));
    reaches(bench, D, 3, UINT64_C(0x7ffffff000), false, OUTPUT);
    reaches(bench, D, 3, half + IOVA, false, OUTPUT + 0x1000);
    is_blocked(bench, D, 3, IOVA, false);
    is_blocked(bench, D, 3, half + UINT64_C(0x7ffffff000), false);
    bench_close(bench);
}

static void there_may_be_no_upper_half(void **state)
{
    struct bench *bench = bench_open(PIOMMU_IPMMU_MODEL_GEN3);
    uint64_t root = new_tables(bench, 1);
    uint64_t half;

    (void)state;
    piommu_ipmmu_model_readings(bench->model)->upper_half_faults = true;
    half = open_halves(bench, root, root);
    reaches(bench, D, 3, UINT64_C(0x7ffffff000), true, OUTPUT);
    is_blocked(bench, D, 3, half + UINT64_C(0x7ffffff000), true);
    fault_is(bench, 1, 0x0101, half + UINT64_C(0x7ffffff000));
    bench_close(bench);
}

static void both_stages_side_by_side(void **state)
{
    uint64_t first;
    struct bench *bench = bench_open(PIOMMU_IPMMU_MODEL_GEN3);
    uint64_t second = new_tables(bench, 2);

    (void)state;
    stage_2_bench(bench, 2, second, 0xc0000058);
    map(bench, second, IOVA, OUTPUT);
    bench->stage = 1;
    first = open_context(bench, 1);
    map(bench, first, IOVA, OUTPUT + 0x1000);
    attach(bench, H, 2, 1);
    reaches(bench, D, 3, IOVA, true, OUTPUT);
    reaches(bench, H, 2, IOVA, true, OUTPUT + 0x1000);
    piommu_ipmmu_model_readings(bench->model)->s2pte_for_all = true;
    flush(bench, M, 1);
    flush(bench, H, 1);
    is_blocked(bench, H, 2, IOVA, true);
    reaches(bench, D, 3, IOVA, true, OUTPUT);
    bench_close(bench);
}

static void stage_2_depends_on_the_product(void **state)
{
    static const struct {
        uint32_t product;
        bool has_stage2;
    } products[] = {
        {0x4f11, false}, {0x4f20, true}, {0x4f30, true},  {0x5211, false}, {0x5230, true},
        {0x5500, true},  {0x5511, true}, {0x5700, false}, {0x5800, false}, {0x5900, false},
        {0x5a10, true},  {0x5c00, true}, {0x5d00, false}, {0x5410, false}, {0xcf30, true},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(products) / sizeof(products[0]); i++) {
        const struct piommu_ipmmu_model_parameters parameters = {
            .generation = PIOMMU_IPMMU_MODEL_GEN3, .product = products[i].product};
        struct bench *bench = bench_with(&parameters);

        probe(bench);
        assert_int_equal(piommu_ipmmu_model_read(bench->model, 0xfff00044, 4), products[i].product);
        reg_write(bench, M, PIOMMU_IPMMU_MODEL_IMSAUXCTLR, 0,
                  reg_read(bench, M, PIOMMU_IPMMU_MODEL_IMSAUXCTLR, 0) | 8);
        expect_violation(bench, products[i].has_stage2 ? NO_RULE : PIOMMU_IPMMU_MODEL_RULE_STAGE2,
                         "has no stage 2");
        assert_int_equal(reg_read(bench, M, PIOMMU_IPMMU_MODEL_IMSAUXCTLR, 0),
                         products[i].has_stage2 ? 0x01000008 : 0x01000000);
        bench_close(bench);
    }
}

static void stage_2_is_chosen_before_any_context(void **state)
{
    uint64_t root;
    struct bench *bench = bench_ready(&root);

    (void)state;
    reg_write(bench, M, PIOMMU_IPMMU_MODEL_IMSAUXCTLR, 0, 0x01000008);
    expect_violation(bench, PIOMMU_IPMMU_MODEL_RULE_STAGE2, "while a context is enabled");
    bench_close(bench);
}

/* ---- enable bits ---- */

static void disabled_micro_tlbs_pass_or_abort(void **state)
{
    uint64_t root;
    struct bench *bench = bench_ready(&root);

    (void)state;
    passes(bench, D, 4, 0x1000);
    reg_write(bench, D, PIOMMU_IPMMU_MODEL_IMUCTR, 3, 0x10);
    passes(bench, D, 3, IOVA);
    piommu_ipmmu_model_readings(bench->model)->disabled_micro_tlb = PIOMMU_IPMMU_MODEL_ABORTS;
    is_blocked(bench, D, 3, IOVA, false);
    assert_int_equal(reg_read(bench, M, PIOMMU_IPMMU_MODEL_IMSTR, 1), 0);
    bench_close(bench);
}

static void disabled_contexts_pass_or_abort(void **state)
{
    static const size_t units[] = {M, D};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        uint64_t root;
        struct bench *bench = bench_ready(&root);

        reaches(bench, D, 3, IOVA, false, OUTPUT);
        piommu_ipmmu_model_forgive(bench->model, PIOMMU_IPMMU_MODEL_RULE_DISABLED);
        reg_write(bench, units[i], PIOMMU_IPMMU_MODEL_IMCTR, 1, 0);
        passes(bench, D, 3, IOVA);
        piommu_ipmmu_model_readings(bench->model)->disabled_context = PIOMMU_IPMMU_MODEL_ABORTS;
        is_blocked(bench, D, 3, IOVA, false);
        bench_close(bench);
    }
}

static void security_groups_block_all(void **state)
{
    static const size_t units[] = {M, D};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        uint64_t root;
        struct bench *bench = bench_ready(&root);

        reaches(bench, D, 3, IOVA, false, OUTPUT);
        piommu_ipmmu_model_set(
            bench->model, units[i], PIOMMU_IPMMU_MODEL_IMSCTLR, 0,
            piommu_ipmmu_model_get(bench->model, units[i], PIOMMU_IPMMU_MODEL_IMSCTLR, 0) |
                0x10000000);
        is_blocked(bench, D, 3, IOVA, false);
        assert_int_equal(reg_read(bench, M, PIOMMU_IPMMU_MODEL_IMSTR, 1), 0);
        bench_close(bench);
    }
}

static void security_groups_at_reset(void **state)
{
    const struct piommu_ipmmu_model_parameters parameters = {.generation = PIOMMU_IPMMU_MODEL_GEN4};
    struct piommu_ipmmu_model_readings readings;
    struct piommu_ipmmu_model_parameters other = {.generation = PIOMMU_IPMMU_MODEL_GEN4,
                                                  .readings = &readings};
    struct bench *bench = bench_with(&parameters);

    (void)state;
    assert_int_equal(reg_read(bench, M, PIOMMU_IPMMU_MODEL_IMSCTLR, 0), 0x10000000);
    assert_int_equal(reg_read(bench, D, PIOMMU_IPMMU_MODEL_IMSCTLR, 0), 0x10000000);
    bench_close(bench);
    piommu_ipmmu_model_default_readings(&readings);
    readings.secgrp_clear_at_reset = true;
    bench = bench_with(&other);
    assert_int_equal(reg_read(bench, M, PIOMMU_IPMMU_MODEL_IMSCTLR, 0), 0);
    bench_close(bench);
}

/* ---- TLBs ---- */

static void translations_stay_until_every_tlb_is_flushed(void **state)
{
    uint64_t root;
    struct bench *bench = bench_ready(&root);

    (void)state;
    reaches(bench, D, 3, IOVA, true, OUTPUT);
    reaches(bench, H, 2, IOVA, true, OUTPUT);
    *entry_of(bench, root, IOVA, 3) = 0;
    reaches(bench, D, 3, IOVA, true, OUTPUT);
    flush(bench, M, 1); /* the root's alone: caches still have it */
    reaches(bench, D, 3, IOVA, true, OUTPUT);
    assert_true(piommu_ipmmu_model_leaf_reaches(bench->model, OUTPUT + 0xfff, 1));
    assert_false(piommu_ipmmu_model_leaf_reaches(bench->model, OUTPUT + 0x1000, 1));
    flush(bench, D, 1); /* H was forgotten */
    is_blocked(bench, D, 3, IOVA, true);
    reaches(bench, H, 2, IOVA, true, OUTPUT);
    flush(bench, H, 1);
    is_blocked(bench, H, 2, IOVA, true);
    assert_false(piommu_ipmmu_model_leaf_reaches(bench->model, OUTPUT, 0x1000));
    bench_close(bench);
}

static void caches_ask_the_root_for_what_it_still_has(void **state)
{
    uint64_t root;
    struct bench *bench = bench_ready(&root);

    (void)state;
    reaches(bench, D, 3, IOVA, true, OUTPUT);
    *entry_of(bench, root, IOVA, 3) = 0;
    flush(bench, D, 1); /* caches alone */
    flush(bench, H, 1);
    assert_int_equal(piommu_ipmmu_model_entries(bench->model, D, 1), 0);
    reaches(bench, H, 2, IOVA, true, OUTPUT); /* never had it itself */
    reaches(bench, D, 3, IOVA, true, OUTPUT);
    bench_close(bench);
}

static void contexts_do_not_share_entries(void **state)
{
    uint64_t root;
    struct bench *bench = bench_ready(&root);
    uint64_t other = open_context(bench, 2);
    size_t entries;

    (void)state;
    attach(bench, D, 5, 2);
    map(bench, other, IOVA, OUTPUT + 0x5000);
    reaches(bench, D, 3, IOVA, true, OUTPUT);
    reaches(bench, D, 5, IOVA, true, OUTPUT + 0x5000);
    *entry_of(bench, root, IOVA, 3) = 0;
    *entry_of(bench, other, IOVA, 3) = 0;
    entries = piommu_ipmmu_model_entries(bench->model, D, 1);
    flush(bench, D, 2);
    flush(bench, M, 2);
    assert_int_equal(piommu_ipmmu_model_entries(bench->model, D, 1), entries);
    assert_int_equal(piommu_ipmmu_model_entries(bench->model, D, 2), 0);
    is_blocked(bench, D, 5, IOVA, true);
    reaches(bench, D, 3, IOVA, true, OUTPUT);
    bench_close(bench);
}

static void table_pointers_stay_as_well(void **state)
{
    uint64_t root;
    struct bench *bench = bench_ready(&root);
    uint64_t *link = entry_of(bench, root, IOVA, 2);
    uint64_t table = *link & UINT64_C(0xfffffff000);

    (void)state;
    map(bench, root, IOVA + 0x1000, OUTPUT + 0x1000);
    reaches(bench, D, 3, IOVA, true, OUTPUT);
    *link = 0;
    assert_true(piommu_ipmmu_model_table_reaches(bench->model, table, 0x1000));
    assert_true(piommu_ipmmu_model_table_reaches(bench->model, root, 8));
    reaches(bench, D, 3, IOVA + 0x1000, true, OUTPUT + 0x1000); /* not used before */
    flush(bench, D, 1);
    flush(bench, M, 1);
    is_blocked(bench, D, 3, IOVA + 0x1000, true);
    assert_false(piommu_ipmmu_model_table_reaches(bench->model, table, 0x1000));
    bench_close(bench);
    bench = bench_ready(&root);
    piommu_ipmmu_model_readings(bench->model)->walks_not_kept = true;
    map(bench, root, IOVA + 0x1000, OUTPUT + 0x1000);
    reaches(bench, D, 3, IOVA, true, OUTPUT);
    *entry_of(bench, root, IOVA, 2) = 0;
    is_blocked(bench, D, 3, IOVA + 0x1000, true);
    bench_close(bench);
}

static void invalid_descriptors_are_not_kept(void **state)
{
    uint64_t root;
    struct bench *bench = bench_ready(&root);

    (void)state;
    is_blocked(bench, D, 3, IOVA + 0x1000, true);
    map(bench, root, IOVA + 0x1000, OUTPUT + 0x1000);
    reaches(bench, D, 3, IOVA + 0x1000, true, OUTPUT + 0x1000);
    bench_close(bench);
}

static void looking_leaves_no_trace(void **state)
{
    uint64_t root;
    struct bench *bench = bench_ready(&root);

    (void)state;
    assert_int_equal(piommu_ipmmu_model_look(bench->model, D, 3, IOVA, true, NULL),
                     PIOMMU_IPMMU_MODEL_TRANSLATED);
    assert_int_equal(piommu_ipmmu_model_look(bench->model, D, 3, 0, true, NULL),
                     PIOMMU_IPMMU_MODEL_BLOCKED);
    assert_int_equal(piommu_ipmmu_model_entries(bench->model, M, 1), 0);
    assert_int_equal(piommu_ipmmu_model_entries(bench->model, D, 1), 0);
    assert_int_equal(reg_read(bench, M, PIOMMU_IPMMU_MODEL_IMSTR, 1), 0);
    assert_int_equal(piommu_ipmmu_model_counters(bench->model, D).dma_blocked, 0);
    bench_close(bench);
}

static void prefetch_takes_all_there_is(void **state)
{
    uint64_t root;
    struct bench *bench = bench_ready(&root);
    uint64_t empty = new_tables(bench, 1);

    (void)state;
    map(bench, root, 0x1000, OUTPUT + 0x1000);
    *entry_of(bench, root, 0x80000000, 1) = empty | 3 | NS_TABLE;
    piommu_ipmmu_model_prefetch(bench->model, D, 3);
    memset(bench->memory, 0, sizeof(bench->memory));
    reaches(bench, D, 3, IOVA, true, OUTPUT);
    reaches(bench, D, 3, 0x1fff, true, OUTPUT + 0x1fff);
    assert_true(piommu_ipmmu_model_table_reaches(bench->model, empty, 8));
    assert_int_equal(reg_read(bench, M, PIOMMU_IPMMU_MODEL_IMSTR, 1), 0);
    /* The other cache unit has nothing, but the root has. */
    assert_int_equal(piommu_ipmmu_model_entries(bench->model, H, 1), 0);
    reaches(bench, H, 2, IOVA, true, OUTPUT);
    bench_close(bench);
}

static void micro_tlb_entries_are_read_in_three_ways(void **state)
{
    (void)state;
    for (unsigned int i = PIOMMU_IPMMU_MODEL_MICRO_TLB_EMPTY;
         i <= PIOMMU_IPMMU_MODEL_MICRO_TLB_UNTAGGED; i++) {
        uint64_t root;
        struct bench *bench = bench_ready(&root);

        piommu_ipmmu_model_readings(bench->model)->micro_tlb_entries =
            (enum piommu_ipmmu_model_micro_tlb_entries)i;
        open_context(bench, 2);
        reaches(bench, D, 3, IOVA, true, OUTPUT);
        reg_write(bench, D, PIOMMU_IPMMU_MODEL_IMUCTR, 3, 0x21); /* without FLUSH */
        if (i == PIOMMU_IPMMU_MODEL_MICRO_TLB_UNTAGGED) {
            reaches(bench, D, 3, IOVA, true, OUTPUT);
            assert_int_equal(piommu_ipmmu_model_counters(bench->model, D).micro_tlb_flushes, 1);
            reg_write(bench, D, PIOMMU_IPMMU_MODEL_IMUCTR, 3, 0x23);
            assert_int_equal(piommu_ipmmu_model_counters(bench->model, D).micro_tlb_flushes, 2);
        }
        is_blocked(bench, D, 3, IOVA, true);
        bench_close(bench);
    }
}

static void micro_tlb_flush_reads_back_or_not(void **state)
{
    uint64_t root;
    struct bench *bench = bench_ready(&root);

    (void)state;
    assert_int_equal(reg_read(bench, D, PIOMMU_IPMMU_MODEL_IMUCTR, 3), 0x11);
    piommu_ipmmu_model_readings(bench->model)->micro_tlb_flush_reads_back = true;
    attach(bench, D, 3, 1);
    assert_int_equal(reg_read(bench, D, PIOMMU_IPMMU_MODEL_IMUCTR, 3), 0x13);
    bench_close(bench);
}

static void entries_of_two_sizes_conflict(void **state)
{
    uint64_t root;
    struct bench *bench = bench_ready(&root);

    (void)state;
    reaches(bench, D, 3, IOVA, true, OUTPUT);
    /* A block in place of a table, without a FLUSH between. */
    piommu_ipmmu_model_readings(bench->model)->walks_not_kept = true;
    flush(bench, M, 1);
    *entry_of(bench, root, IOVA, 2) = 0x1200000 | 0xf65;
    reaches(bench, D, 3, IOVA + 0x1000, true, 0x1202000);
    assert_int_not_equal(piommu_ipmmu_model_counters(bench->model, D).conflicts, 0);
    reaches(bench, D, 3, IOVA, true, OUTPUT);
    piommu_ipmmu_model_readings(bench->model)->multiple_hits_fault = true;
    is_blocked(bench, D, 3, IOVA, true);
    fault_is(bench, 1, 0x0010, IOVA);
    bench_close(bench);
}

static void contiguous_groups_are_one_entry(void **state)
{
    uint64_t root;
    struct bench *bench = bench_ready(&root);

    (void)state;
    for (unsigned int i = 0; i < 16; i++) {
        uint64_t page = UINT64_C(0x1000) * i;

        *entry_of(bench, root, 0x10000 + page, 3) =
            (UINT64_C(0x1230000) + page) | STAGE1_PAGE | UINT64_C(1) << 52;
    }
    reaches(bench, D, 3, 0x10000, true, 0x1230000);
    *entry_of(bench, root, 0x1f000, 3) = 0;
    reaches(bench, D, 3, 0x1f000, true, 0x123f000);
    bench_close(bench);
}

/* ---- FLUSH ---- */

static void flush_shows_for_as_many_polls(void **state)
{
    uint64_t root;
    struct bench *bench = bench_ready(&root);

    (void)state;
    flush(bench, M, 1);
    poll(bench, M, 1, 0);
    piommu_ipmmu_model_set_flush_polls(bench->model, M, 3);
    flush(bench, M, 1);
    assert_true(piommu_ipmmu_model_is_flushing(bench->model, M, 1));
    poll(bench, M, 1, 3);
    assert_false(piommu_ipmmu_model_is_flushing(bench->model, M, 1));
    flush(bench, D, 1);
    poll(bench, D, 1, 0);
    piommu_ipmmu_model_set_flush_polls(bench->model, PIOMMU_IPMMU_MODEL_ALL_UNITS, 2);
    flush(bench, D, 1);
    flush(bench, M, 1);
    assert_int_equal(reg_read(bench, M, PIOMMU_IPMMU_MODEL_IMCTR, 1), ENABLE);
    assert_int_equal(reg_read(bench, M, PIOMMU_IPMMU_MODEL_IMCTR, 2), 0); /* by context */
    poll(bench, D, 1, 2);                                                 /* by unit */
    poll(bench, M, 1, 1);
    assert_int_equal(reg_read(bench, M, PIOMMU_IPMMU_MODEL_IMCTR, 1), 5);
    bench_close(bench);
}

/* Micro-TLBs would hide what the unit's TLB does. */
static struct bench *bench_for_flush(uint64_t *root)
{
    struct bench *bench = bench_ready(root);

    piommu_ipmmu_model_readings(bench->model)->micro_tlb_entries =
        PIOMMU_IPMMU_MODEL_MICRO_TLB_EMPTY;
    return bench;
}

static void flush_acts_at_write_or_end(void **state)
{
    (void)state;
    for (unsigned int i = 0; i < 2; i++) {
        uint64_t root;
        struct bench *bench = bench_for_flush(&root);

        piommu_ipmmu_model_readings(bench->model)->root_flush =
            i == 0 ? PIOMMU_IPMMU_MODEL_FLUSH_AT_WRITE : PIOMMU_IPMMU_MODEL_FLUSH_AT_END;
        piommu_ipmmu_model_set_flush_polls(bench->model, M, 2);
        reaches(bench, D, 3, IOVA, true, OUTPUT);
        *entry_of(bench, root, IOVA, 3) = 0;
        flush(bench, D, 1);
        flush(bench, M, 1);
        is_gone_if(bench, i == 0);
        poll(bench, M, 1, 2);
        flush(bench, D, 1);
        is_blocked(bench, D, 3, IOVA, true);
        bench_close(bench);
    }
}

static void a_flush_does_not_cover_later_clears(void **state)
{
    uint64_t root;
    struct bench *bench = bench_for_flush(&root);

    (void)state;
    piommu_ipmmu_model_set_flush_polls(bench->model, M, 1);
    flush(bench, M, 1);
    reaches(bench, D, 3, IOVA, true, OUTPUT); /* read from memory after the FLUSH was written */
    *entry_of(bench, root, IOVA, 3) = 0;
    poll(bench, M, 1, 1);
    /* A leaf, and the tables of levels 2 and 3. */
    assert_int_equal(piommu_ipmmu_model_entries(bench->model, M, 1), 3);
    flush(bench, D, 1);
    reaches(bench, D, 3, IOVA, true, OUTPUT);
    flush(bench, M, 1);
    poll(bench, M, 1, 1);
    flush(bench, D, 1);
    is_blocked(bench, D, 3, IOVA, true);
    bench_close(bench);
}

/* The same through a table pointer that is older than the FLUSH. */
static void a_flush_does_not_cover_later_clears_behind_old_pointers(void **state)
{
    uint64_t root;
    struct bench *bench = bench_for_flush(&root);

    (void)state;
    map(bench, root, IOVA + 0x1000, OUTPUT + 0x1000);
    reaches(bench, D, 3, IOVA + 0x1000, true, OUTPUT + 0x1000);
    piommu_ipmmu_model_set_flush_polls(bench->model, M, 1);
    flush(bench, M, 1);
    reaches(bench, D, 3, IOVA, true, OUTPUT);
    *entry_of(bench, root, IOVA, 3) = 0;
    poll(bench, M, 1, 1);
    flush(bench, D, 1);
    reaches(bench, D, 3, IOVA, true, OUTPUT);
    bench_close(bench);
}

/* But what an old pointer to another table led to goes with the pointer. */
static void a_flush_covers_what_old_pointers_lead_to(void **state)
{
    uint64_t root;
    struct bench *bench = bench_for_flush(&root);

    (void)state;
    map(bench, root, IOVA + 0x1000, OUTPUT + 0x1000);
    reaches(bench, D, 3, IOVA, true, OUTPUT);
    *entry_of(bench, root, IOVA, 2) = 0;
    piommu_ipmmu_model_set_flush_polls(bench->model, M, 1);
    flush(bench, M, 1);
    reaches(bench, D, 3, IOVA + 0x1000, true, OUTPUT + 0x1000);
    poll(bench, M, 1, 1);
    flush(bench, D, 1);
    is_blocked(bench, D, 3, IOVA + 0x1000, true);
    bench_close(bench);
}

static void caches_flush_in_three_ways(void **state)
{
    (void)state;
    for (unsigned int i = PIOMMU_IPMMU_MODEL_FLUSH_AT_WRITE; i <= PIOMMU_IPMMU_MODEL_FLUSH_AT_END;
         i++) {
        uint64_t root;
        struct bench *bench = bench_for_flush(&root);

        piommu_ipmmu_model_readings(bench->model)->cache_flush = (enum piommu_ipmmu_model_flush)i;
        piommu_ipmmu_model_set_flush_polls(bench->model, PIOMMU_IPMMU_MODEL_ALL_UNITS, 2);
        reaches(bench, D, 3, IOVA, true, OUTPUT);
        *entry_of(bench, root, IOVA, 3) = 0;
        flush(bench, D, 1);
        assert_int_equal(piommu_ipmmu_model_entries(bench->model, D, 1) == 0,
                         i == PIOMMU_IPMMU_MODEL_FLUSH_AT_WRITE);
        flush(bench, M, 1);
        poll(bench, M, 1, 2);
        assert_int_equal(piommu_ipmmu_model_entries(bench->model, D, 1) == 0,
                         i != PIOMMU_IPMMU_MODEL_FLUSH_AT_END);
        poll(bench, D, 1, i == PIOMMU_IPMMU_MODEL_FLUSH_WITH_ROOT ? 0 : 2);
        assert_int_equal(piommu_ipmmu_model_entries(bench->model, D, 1), 0);
        is_blocked(bench, D, 3, IOVA, true);
        /* A FLUSH that comes behind the root's does not end with it. */
        flush(bench, M, 1);
        flush(bench, D, 1);
        poll(bench, M, 1, 2);
        assert_true(piommu_ipmmu_model_is_flushing(bench->model, D, 1));
        bench_close(bench);
    }
}

static void the_refill_race(void **state)
{
    (void)state;
    for (unsigned int i = 0; i < 4; i++) {
        bool is_reached = i % 2 == 1;
        bool again = i >= 2;
        uint64_t root;
        struct bench *bench = bench_ready(&root);

        piommu_ipmmu_model_readings(bench->model)->root_flush_reaches_refills = is_reached;
        reaches(bench, D, 3, IOVA, true, OUTPUT);
        *entry_of(bench, root, IOVA, 3) = 0;
        flush(bench, D, 1);
        reaches(bench, D, 3, IOVA, true, OUTPUT); /* from the root, which still has it */
        flush(bench, M, 1);
        poll(bench, M, 1, 0);
        if (again) {
            flush(bench, D, 1);
        }
        is_gone_if(bench, is_reached || again);
        bench_close(bench);
    }
}

static void what_was_there_before_is_no_refill(void **state)
{
    uint64_t root;
    struct bench *bench = bench_ready(&root);

    (void)state;
    piommu_ipmmu_model_readings(bench->model)->root_flush_reaches_refills = true;
    piommu_ipmmu_model_readings(bench->model)->cache_flush = PIOMMU_IPMMU_MODEL_FLUSH_AT_END;
    piommu_ipmmu_model_set_flush_polls(bench->model, D, 2);
    reaches(bench, D, 3, IOVA, true, OUTPUT);
    *entry_of(bench, root, IOVA, 3) = 0;
    flush(bench, D, 1);
    flush(bench, M, 1);
    reaches(bench, D, 3, IOVA, true, OUTPUT);
    poll(bench, D, 1, 2);
    is_blocked(bench, D, 3, IOVA, true);
    bench_close(bench);
}

static void what_the_root_keeps_is_no_refill(void **state)
{
    uint64_t root;
    struct bench *bench = bench_ready(&root);

    (void)state;
    piommu_ipmmu_model_readings(bench->model)->root_flush_reaches_refills = true;
    piommu_ipmmu_model_set_flush_polls(bench->model, M, 1);
    flush(bench, M, 1);
    reaches(bench, D, 3, IOVA, true, OUTPUT);
    flush(bench, D, 1);
    reaches(bench, D, 3, IOVA, true, OUTPUT);
    *entry_of(bench, root, IOVA, 3) = 0;
    poll(bench, M, 1, 1);
    assert_int_not_equal(piommu_ipmmu_model_entries(bench->model, D, 1), 0);
    reaches(bench, D, 3, IOVA, true, OUTPUT);
    bench_close(bench);
}

/* Reaching refills is not reaching all: a cache that was left out is still noticed. */
static void reached_refills_excuse_nothing(void **state)
{
    uint64_t root;
    struct bench *bench = bench_ready(&root);

    (void)state;
    piommu_ipmmu_model_readings(bench->model)->root_flush_reaches_refills = true;
    flush(bench, D, 1);
    flush(bench, M, 1);
    flush(bench, D, 1);
    reaches(bench, D, 3, IOVA, true, OUTPUT);
    *entry_of(bench, root, IOVA, 3) = 0;
    flush(bench, M, 1);
    reaches(bench, D, 3, IOVA, true, OUTPUT);
    bench_close(bench);
}

static void a_second_flush_is_lost_or_begins_again(void **state)
{
    (void)state;
    for (unsigned int i = 0; i < 2; i++) {
        uint64_t root;
        struct bench *bench = bench_for_flush(&root);

        piommu_ipmmu_model_readings(bench->model)->flush_restarts = i == 1;
        piommu_ipmmu_model_set_flush_polls(bench->model, M, 3);
        flush(bench, M, 1);
        reg_read(bench, M, PIOMMU_IPMMU_MODEL_IMCTR, 1);
        reaches(bench, D, 3, IOVA, true, OUTPUT);
        *entry_of(bench, root, IOVA, 3) = 0;
        flush(bench, M, 1);
        poll(bench, M, 1, i == 1 ? 3 : 2);
        flush(bench, D, 1);
        is_gone_if(bench, i == 1);
        assert_int_equal(piommu_ipmmu_model_counters(bench->model, M).flushes_meanwhile, 1);
        bench_close(bench);
    }
}

static void a_second_flush_that_acts_at_once_does_so(void **state)
{
    uint64_t root;
    struct bench *bench = bench_for_flush(&root);

    (void)state;
    piommu_ipmmu_model_set_flush_polls(bench->model, D, 3);
    piommu_ipmmu_model_set_flush_polls(bench->model, M, 0);
    flush(bench, D, 1);
    reaches(bench, D, 3, IOVA, true, OUTPUT);
    *entry_of(bench, root, IOVA, 3) = 0;
    flush(bench, M, 1);
    flush(bench, D, 1);
    assert_true(piommu_ipmmu_model_is_flushing(bench->model, D, 1));
    is_blocked(bench, D, 3, IOVA, true);
    bench_close(bench);
}

static void other_writes_end_a_flush_or_not(void **state)
{
    (void)state;
    for (unsigned int i = 0; i < 2; i++) {
        uint64_t root;
        struct bench *bench = bench_for_flush(&root);

        piommu_ipmmu_model_readings(bench->model)->flush_survives_writes = i == 1;
        piommu_ipmmu_model_set_flush_polls(bench->model, M, 3);
        reaches(bench, D, 3, IOVA, true, OUTPUT);
        *entry_of(bench, root, IOVA, 3) = 0;
        flush(bench, M, 1);
        reg_write(bench, M, PIOMMU_IPMMU_MODEL_IMCTR, 1, 5);
        poll(bench, M, 1, i == 1 ? 3 : 0);
        flush(bench, D, 1);
        is_gone_if(bench, i == 1);
        bench_close(bench);
    }
}

static void a_flush_that_never_ends(void **state)
{
    uint64_t root;
    struct bench *bench = bench_for_flush(&root);

    (void)state;
    piommu_ipmmu_model_set_flush_polls(bench->model, M, PIOMMU_IPMMU_MODEL_NEVER);
    reaches(bench, D, 3, IOVA, true, OUTPUT);
    *entry_of(bench, root, IOVA, 3) = 0;
    flush(bench, D, 1);
    flush(bench, M, 1);
    for (unsigned int i = 0; i < 1000; i++) {
        assert_int_equal(reg_read(bench, M, PIOMMU_IPMMU_MODEL_IMCTR, 1), ENABLE);
    }
    reaches(bench, D, 3, IOVA, true, OUTPUT);
    piommu_ipmmu_model_set_flush_polls(bench->model, M, 0);
    assert_int_equal(reg_read(bench, M, PIOMMU_IPMMU_MODEL_IMCTR, 1), ENABLE);
    piommu_ipmmu_model_end_flushes(bench->model, M);
    poll(bench, M, 1, 0);
    flush(bench, D, 1);
    is_blocked(bench, D, 3, IOVA, true);
    bench_close(bench);
}

/* ---- interrupts ---- */

static void interrupts_follow_status_and_enable(void **state)
{
    uint64_t root;
    struct bench *bench = bench_ready(&root);

    (void)state;
    open_context(bench, 2);
    assert_false(piommu_ipmmu_model_interrupt(bench->model, M));
    is_blocked(bench, D, 3, 0, true);
    assert_true(piommu_ipmmu_model_interrupt(bench->model, M));
    piommu_ipmmu_model_report(bench->model, M, 2, 0x10, 0x12345678);
    assert_int_equal(piommu_ipmmu_model_counters(bench->model, M).interrupts, 1);
    reg_write(bench, M, PIOMMU_IPMMU_MODEL_IMSTR, 1, 0);
    assert_true(piommu_ipmmu_model_interrupt(bench->model, M));
    fault_is(bench, 2, 0x10, 0x12345678);
    assert_false(piommu_ipmmu_model_interrupt(bench->model, M));
    reg_write(bench, M, PIOMMU_IPMMU_MODEL_IMCTR, 2, MMUEN);
    piommu_ipmmu_model_report(bench->model, M, 2, 4, 0);
    assert_false(piommu_ipmmu_model_interrupt(bench->model, M));
    reg_write(bench, M, PIOMMU_IPMMU_MODEL_IMCTR, 2, 5);
    assert_true(piommu_ipmmu_model_interrupt(bench->model, M));
    reg_write(bench, M, PIOMMU_IPMMU_MODEL_IMCTR, 2, 0);
    assert_false(piommu_ipmmu_model_interrupt(bench->model, M));
    assert_int_equal(piommu_ipmmu_model_counters(bench->model, M).interrupts, 2);
    assert_int_equal(piommu_ipmmu_model_counters(bench->model, M).faults, 3);
    bench_close(bench);
}

static void level_and_code_alone_are_no_fault(void **state)
{
    uint64_t root;
    struct bench *bench = bench_ready(&root);

    (void)state;
    piommu_ipmmu_model_report(bench->model, M, 1, 0x3100, 0);
    assert_false(piommu_ipmmu_model_interrupt(bench->model, M));
    is_blocked(bench, D, 3, 0x5000, true);
    fault_is(bench, 1, 0x1101, 0x5000);
    bench_close(bench);
}

static void each_unit_of_gen2_is_its_own_root(void **state)
{
    struct bench *bench = bench_open(PIOMMU_IPMMU_MODEL_GEN2);
    uint64_t root = open_context(bench, 0);

    (void)state;
    attach(bench, M, 0, 0);
    map(bench, root, IOVA, OUTPUT);
    reaches(bench, M, 0, IOVA, true, OUTPUT);
    passes(bench, 1, 0, IOVA);
    is_blocked(bench, M, 0, 0, true);
    assert_true(piommu_ipmmu_model_interrupt(bench->model, 0));
    assert_false(piommu_ipmmu_model_interrupt(bench->model, 1));
    *entry_of(bench, root, IOVA, 3) = 0;
    reaches(bench, M, 0, IOVA, true, OUTPUT);
    flush(bench, M, 0);
    is_blocked(bench, M, 0, IOVA, true);
    assert_int_equal(piommu_ipmmu_model_read(bench->model, 0xff000044, 4), 0x4520);
    bench_close(bench);
}

/* Products of Gen2 have four contexts, and software that was tested with one. */
static void gen2_has_one_to_four_contexts(void **state)
{
    (void)state;
    for (unsigned int count = 1; count <= 4; count++) {
        const struct piommu_ipmmu_model_unit unit = {
            .name = "M", .base = 0xe6280000, .contexts = count};
        const struct piommu_ipmmu_model_parameters parameters = {
            .generation = PIOMMU_IPMMU_MODEL_GEN2, .units = &unit, .unit_count = 1};
        struct bench *bench = bench_with(&parameters);

        for (unsigned int n = 0; n < count; n++) {
            uint64_t root;

            reg_write(bench, M, PIOMMU_IPMMU_MODEL_IMCTR, n, 0);
            root = open_context(bench, n);
            map(bench, root, IOVA, OUTPUT + 0x1000 * n);
            attach(bench, M, 2 * n, n);
        }
        for (unsigned int n = 0; n < count; n++) {
            reaches(bench, M, 2 * n, IOVA, true, OUTPUT + 0x1000 * n);
        }
        reg_write(bench, M, PIOMMU_IPMMU_MODEL_IMCTR, count, 0);
        expect_violation(bench, PIOMMU_IPMMU_MODEL_RULE_NUMBER, "which does not exist");
        reg_write(bench, M, PIOMMU_IPMMU_MODEL_IMUCTR, 31, count << 4);
        expect_violation(bench, PIOMMU_IPMMU_MODEL_RULE_SELECT, "IMUCTR(31)");
        bench_close(bench);
    }
}

static void gen2_walks_over_the_system_bus(void **state)
{
    struct bench *bench = bench_open(PIOMMU_IPMMU_MODEL_GEN2);
    uint64_t root;

    (void)state;
    piommu_ipmmu_model_set(bench->model, M, PIOMMU_IPMMU_MODEL_IMBUSCR, 1, 0xabc5);
    root = open_context(bench, 1);
    expect_violation(bench, PIOMMU_IPMMU_MODEL_RULE_SETUP, "IMBUSCR");
    map(bench, root, IOVA, OUTPUT);
    attach(bench, M, 3, 1);
    is_blocked(bench, M, 3, IOVA, false);
    reg_write(bench, M, PIOMMU_IPMMU_MODEL_IMUCTR, 3, 0);
    reg_write(bench, M, PIOMMU_IPMMU_MODEL_IMCTR, 1, FLUSH);
    reg_write(bench, M, PIOMMU_IPMMU_MODEL_IMBUSCR, 1, 0xabc0);
    reg_write(bench, M, PIOMMU_IPMMU_MODEL_IMCTR, 1, ENABLE);
    attach(bench, M, 3, 1);
    reaches(bench, M, 3, IOVA, false, OUTPUT);
    bench_close(bench);
}

/* ---- power, firmware, errata ---- */

static void roots_have_nothing_to_do_with_each_other(void **state)
{
    const struct piommu_ipmmu_model_unit units[] = {
        {.name = "M", .base = 0x10000000, .root = 0},
        {.name = "D", .base = 0x20000000, .root = 0},
        {.name = "N", .base = 0x30000000, .root = 2},
        {.name = "E", .base = 0x40000000, .root = 2},
    };
    const struct piommu_ipmmu_model_parameters parameters = {
        .generation = PIOMMU_IPMMU_MODEL_GEN3, .units = units, .unit_count = 4};
    struct bench *bench = bench_with(&parameters);

    (void)state;
    piommu_ipmmu_model_readings(bench->model)->cache_flush = PIOMMU_IPMMU_MODEL_FLUSH_WITH_ROOT;
    piommu_ipmmu_model_set_flush_polls(bench->model, PIOMMU_IPMMU_MODEL_ALL_UNITS, 1);
    reg_write(bench, 0, PIOMMU_IPMMU_MODEL_IMCTR, 1, FLUSH);
    poll(bench, 0, 1, 1);
    reg_write(bench, 2, PIOMMU_IPMMU_MODEL_IMCTR, 1, FLUSH);
    poll(bench, 2, 1, 1);
    reg_write(bench, 1, PIOMMU_IPMMU_MODEL_IMCTR, 1, FLUSH);
    reg_write(bench, 3, PIOMMU_IPMMU_MODEL_IMCTR, 1, FLUSH);
    reg_write(bench, 2, PIOMMU_IPMMU_MODEL_IMCTR, 1, FLUSH);
    poll(bench, 2, 1, 1);
    assert_true(piommu_ipmmu_model_is_flushing(bench->model, 1, 1));
    assert_false(piommu_ipmmu_model_is_flushing(bench->model, 3, 1));
    bench_close(bench);
}

static void power_loss_forgets_all(void **state)
{
    uint64_t root;
    struct bench *bench = bench_ready(&root);

    (void)state;
    reaches(bench, D, 3, IOVA, true, OUTPUT);
    piommu_ipmmu_model_power(bench->model, D, false);
    assert_false(piommu_ipmmu_model_is_on(bench->model, D));
    is_blocked(bench, D, 3, IOVA, true);
    reaches(bench, H, 2, IOVA, true, OUTPUT);
    reg_read(bench, D, PIOMMU_IPMMU_MODEL_IMUCTR, 3);
    expect_violation(bench, PIOMMU_IPMMU_MODEL_RULE_POWER, "D: read at offset 0x330 without power");
    reg_write(bench, D, PIOMMU_IPMMU_MODEL_IMUCTR, 3, 0);
    expect_violation(bench, PIOMMU_IPMMU_MODEL_RULE_POWER, "D: write");
    piommu_ipmmu_model_power(bench->model, D, true);
    assert_int_equal(reg_read(bench, D, PIOMMU_IPMMU_MODEL_IMUCTR, 3), 0);
    assert_int_equal(reg_read(bench, D, PIOMMU_IPMMU_MODEL_IMSCTLR, 0), 0x10000000);
    assert_int_equal(piommu_ipmmu_model_entries(bench->model, D, 1), 0);
    passes(bench, D, 3, IOVA);
    piommu_ipmmu_model_set_flush_polls(bench->model, M, PIOMMU_IPMMU_MODEL_NEVER);
    flush(bench, M, 1);
    piommu_ipmmu_model_power(bench->model, M, false);
    is_blocked(bench, H, 2, IOVA, true);
    piommu_ipmmu_model_set(bench->model, M, PIOMMU_IPMMU_MODEL_IMSCTLR, 0, 0);
    is_blocked(bench, H, 2, IOVA, true);
    piommu_ipmmu_model_power(bench->model, M, true);
    assert_false(piommu_ipmmu_model_is_flushing(bench->model, M, 1));
    assert_int_equal(reg_read(bench, M, PIOMMU_IPMMU_MODEL_IMTTBCR, 1), 0);
    assert_int_equal(piommu_ipmmu_model_entries(bench->model, M, 1), 0);
    bench_close(bench);
}

static void units_may_start_without_power(void **state)
{
    const struct piommu_ipmmu_model_unit units[] = {
        {.name = "M", .base = 0x10000000, .root = 0},
        {.name = "VC0", .base = 0x20000000, .is_off = true}};
    const struct piommu_ipmmu_model_parameters parameters = {
        .generation = PIOMMU_IPMMU_MODEL_GEN3, .units = units, .unit_count = 2};
    struct bench *bench = bench_with(&parameters);

    (void)state;
    reg_read(bench, 1, PIOMMU_IPMMU_MODEL_IMCTR, 0);
    expect_violation(bench, PIOMMU_IPMMU_MODEL_RULE_POWER, "VC0: read");
    bench_close(bench);
}

static const struct piommu_ipmmu_model_unit units_erratum[] = {
    {.name = "M", .base = 0x10000000},
    {.name = "D", .base = 0x20000000, .has_erratum = true},
    {.name = "H", .base = 0x30000000},
};

static struct bench *bench_with_erratum(void)
{
    const struct piommu_ipmmu_model_parameters parameters = {
        .generation = PIOMMU_IPMMU_MODEL_GEN3, .units = units_erratum, .unit_count = 3};
    struct bench *bench = bench_with(&parameters);

    probe(bench);
    return bench;
}

static void errata_want_the_tlb_off(void **state)
{
    struct bench *bench = bench_with_erratum();
    uint64_t root = open_context(bench, 1);

    (void)state;
    expect_violation(bench, PIOMMU_IPMMU_MODEL_RULE_ERRATUM, "D: context 1 was enabled");
    map(bench, root, IOVA, OUTPUT);
    attach(bench, D, 3, 1);
    attach(bench, H, 3, 1);
    reaches(bench, H, 3, IOVA, true, OUTPUT);
    expect_violation(bench, NO_RULE, NULL);
    reaches(bench, D, 3, IOVA, true, OUTPUT);
    expect_violation(bench, PIOMMU_IPMMU_MODEL_RULE_ERRATUM, "D: translates");
    reg_write(bench, D, PIOMMU_IPMMU_MODEL_IMSCTLR, 0, 0xe0000000);
    expect_violation(bench, PIOMMU_IPMMU_MODEL_RULE_ERRATUM, "while a context is enabled");
    piommu_ipmmu_model_readings(bench->model)->micro_tlb_entries =
        PIOMMU_IPMMU_MODEL_MICRO_TLB_EMPTY;
    reaches(bench, D, 3, IOVA, true, OUTPUT);
    assert_int_equal(piommu_ipmmu_model_entries(bench->model, D, 1), 0);
    bench_close(bench);
}

/* It goes with the power of the unit. */
static void a_tlb_that_is_off_is_on_after_power_loss(void **state)
{
    struct bench *bench = bench_with_erratum();
    uint64_t root;

    (void)state;
    reg_write(bench, D, PIOMMU_IPMMU_MODEL_IMSCTLR, 0, 0xe0000000);
    root = open_context(bench, 1);
    map(bench, root, IOVA, OUTPUT);
    attach(bench, D, 3, 1);
    reaches(bench, D, 3, IOVA, true, OUTPUT);
    expect_violation(bench, NO_RULE, NULL);
    piommu_ipmmu_model_power(bench->model, D, false);
    piommu_ipmmu_model_power(bench->model, D, true);
    clear_bits(bench, D, PIOMMU_IPMMU_MODEL_IMSCTLR, 0x10000000);
    reg_write(bench, D, PIOMMU_IPMMU_MODEL_IMCTR, 1, ENABLE);
    expect_violation(bench, PIOMMU_IPMMU_MODEL_RULE_ERRATUM, "D: context 1 was enabled");
    attach(bench, D, 3, 1);
    reaches(bench, D, 3, IOVA, true, OUTPUT);
    expect_violation(bench, PIOMMU_IPMMU_MODEL_RULE_ERRATUM, "D: translates");
    bench_close(bench);
}

static void what_firmware_left_is_not_the_drivers_fault(void **state)
{
    const struct piommu_ipmmu_model_parameters parameters = {.generation = PIOMMU_IPMMU_MODEL_GEN3};
    struct bench *bench = bench_with(&parameters);

    (void)state;
    piommu_ipmmu_model_set(bench->model, M, PIOMMU_IPMMU_MODEL_IMCTR, 1, 0x7f);
    piommu_ipmmu_model_set(bench->model, M, PIOMMU_IPMMU_MODEL_IMSTR, 1, 1);
    piommu_ipmmu_model_set(bench->model, D, PIOMMU_IPMMU_MODEL_IMCTR, 1, 1);
    piommu_ipmmu_model_set(bench->model, D, PIOMMU_IPMMU_MODEL_IMUCTR, 7, 0x80ff0011);
    assert_true(piommu_ipmmu_model_interrupt(bench->model, M));
    assert_int_equal(reg_read(bench, M, PIOMMU_IPMMU_MODEL_IMCTR, 1), 0x7d);
    reg_write(bench, M, PIOMMU_IPMMU_MODEL_IMTTLBR0, 1, 0x1000);
    probe(bench);
    assert_false(piommu_ipmmu_model_interrupt(bench->model, M));
    assert_int_equal(reg_read(bench, D, PIOMMU_IPMMU_MODEL_IMUCTR, 7), 0x80ff0011);
    passes(bench, D, 7, 0x1000);
    bench_close(bench);
}

static void what_firmware_left_enabled_is_not_set_up(void **state)
{
    struct bench *bench = bench_open(PIOMMU_IPMMU_MODEL_GEN3);
    uint64_t root = new_tables(bench, 1);

    (void)state;
    for (size_t i = M; i <= D; i++) {
        piommu_ipmmu_model_set(bench->model, i, PIOMMU_IPMMU_MODEL_IMCTR, 1, 0x20000001);
    }
    attach(bench, D, 3, 1);
    expect_violation(bench, PIOMMU_IPMMU_MODEL_RULE_DISABLED, "IMUCTR(3) enables");
    reg_write(bench, D, PIOMMU_IPMMU_MODEL_IMUCTR, 3, 0);
    reg_write(bench, D, PIOMMU_IPMMU_MODEL_IMCTR, 1, 5);
    expect_violation(bench, PIOMMU_IPMMU_MODEL_RULE_FLUSH, "D: context 1");
    reg_write(bench, D, PIOMMU_IPMMU_MODEL_IMCTR, 1, 0);
    /* The low bits of the address are not looked at. */
    set_table(bench, 1, root, 0x80000080);
    piommu_ipmmu_model_set(bench->model, M, PIOMMU_IPMMU_MODEL_IMTTLBR0, 1,
                           (uint32_t)(root & UINT32_MAX) | 0xabc);
    enable(bench, 1, 0);
    map(bench, root, IOVA, OUTPUT);
    attach(bench, D, 3, 1);
    reaches(bench, D, 3, IOVA, true, OUTPUT);
    bench_close(bench);
}

static void what_describes_a_model_is_copied(void **state)
{
    char name[] = "M";
    struct piommu_ipmmu_model_unit unit = {.name = name, .base = 0x1000};
    struct piommu_ipmmu_model_readings readings;
    const struct piommu_ipmmu_model_parameters parameters = {
        .units = &unit, .unit_count = 1, .readings = &readings};
    struct bench *bench;

    (void)state;
    piommu_ipmmu_model_default_readings(&readings);
    bench = bench_with(&parameters);
    memset(&unit, 0xff, sizeof(unit));
    memset(&readings, 0xff, sizeof(readings));
    memset(name, 'X', 1);
    piommu_ipmmu_model_read(bench->model, 0x1802, 4);
    expect_violation(bench, PIOMMU_IPMMU_MODEL_RULE_WIDTH, "M: read of 4 bytes");
    assert_int_equal(piommu_ipmmu_model_readings(bench->model)->translation_code, 1);
    bench_close(bench);
}

/* Counts registers that exist and hold what they did after the reset. */
static unsigned int clean_registers(struct bench *bench, size_t unit, bool is_clean[0x8000],
                                    const uint32_t at_reset[0x8000])
{
    unsigned int count = 0;

    for (uint32_t i = 0; i < piommu_ipmmu_model_size(bench->model) / 4; i++) {
        uint32_t value =
            piommu_ipmmu_model_read(bench->model, bench->units[unit].base + UINT64_C(4) * i, 4);

        if (piommu_ipmmu_model_violations(bench->model) != 0) {
            piommu_ipmmu_model_forget_violations(bench->model);
            continue;
        }
        is_clean[i] = is_clean[i] && value == at_reset[i];
        count += is_clean[i];
    }
    return count;
}

static void litter_is_everywhere(void **state)
{
    static uint32_t at_reset[0x8000];
    static bool is_clean[0x8000];

    (void)state;
    for (unsigned int i = PIOMMU_IPMMU_MODEL_GEN2; i <= PIOMMU_IPMMU_MODEL_GEN4; i++) {
        const struct piommu_ipmmu_model_parameters parameters = {
            .generation = (enum piommu_ipmmu_model_class)i};

        for (size_t unit = 0; unit < 2; unit++) {
            struct bench *bench = bench_with(&parameters);
            unsigned int clean = UINT_MAX;

            memset(is_clean, true, sizeof(is_clean));
            for (uint32_t k = 0; k < piommu_ipmmu_model_size(bench->model) / 4; k++) {
                at_reset[k] = piommu_ipmmu_model_read(bench->model,
                                                      bench->units[unit].base + UINT64_C(4) * k, 4);
            }
            piommu_ipmmu_model_forget_violations(bench->model);
            for (uint32_t seed = 0; seed < 8; seed++) {
                piommu_ipmmu_model_litter(bench->model, seed);
                assert_false(piommu_ipmmu_model_is_flushing(bench->model, unit, 1));
                assert_int_equal(
                    piommu_ipmmu_model_get(bench->model, unit, PIOMMU_IPMMU_MODEL_IMCTR, 1) & FLUSH,
                    0);
                clean = clean_registers(bench, unit, is_clean, at_reset);
            }
            assert_int_equal(clean, 0);
            probe(bench);
            bench_close(bench);
        }
    }
}

/* ---- watching ---- */

struct watch {
    struct bench *bench;
    unsigned int count;
    struct piommu_ipmmu_model_access last;
    enum piommu_ipmmu_model_verdict verdict;
};

static void watch(void *ctx, const struct piommu_ipmmu_model_access *access)
{
    struct watch *watching = ctx;

    watching->count++;
    watching->last = *access;
    watching->verdict = piommu_ipmmu_model_dma(watching->bench->model, D, 3, IOVA, true, NULL);
    /* Not told to itself. */
    reg_read(watching->bench, M, PIOMMU_IPMMU_MODEL_IMSTR, 1);
}

static void observers_see_the_effect(void **state)
{
    uint64_t root;
    struct bench *bench = bench_ready(&root);
    struct watch watching = {.bench = bench};

    (void)state;
    piommu_ipmmu_model_observe(bench->model, watch, &watching);
    reg_write(bench, D, PIOMMU_IPMMU_MODEL_IMUCTR, 3, 0);
    assert_int_equal(watching.count, 1);
    assert_int_equal(watching.verdict, PIOMMU_IPMMU_MODEL_BYPASSED);
    assert_int_equal(watching.last.unit, D);
    assert_int_equal(watching.last.which, PIOMMU_IPMMU_MODEL_IMUCTR);
    assert_int_equal(watching.last.number, 3);
    assert_int_equal(watching.last.offset, 0x330);
    assert_true(watching.last.is_write);
    reg_write(bench, D, PIOMMU_IPMMU_MODEL_IMUCTR, 3, 0x13);
    assert_int_equal(watching.verdict, PIOMMU_IPMMU_MODEL_TRANSLATED);
    reg_read(bench, D, PIOMMU_IPMMU_MODEL_IMUCTR, 3);
    assert_int_equal(watching.count, 3);
    assert_false(watching.last.is_write);
    assert_int_equal(watching.last.value, 0x11);
    piommu_ipmmu_model_observe(bench->model, NULL, NULL);
    reg_read(bench, D, PIOMMU_IPMMU_MODEL_IMUCTR, 3);
    assert_int_equal(watching.count, 3);
    bench_close(bench);
}

static void accesses_are_counted(void **state)
{
    uint64_t root;
    struct bench *bench = bench_ready(&root);
    struct piommu_ipmmu_model_counters before = piommu_ipmmu_model_counters(bench->model, M);
    struct piommu_ipmmu_model_counters after;

    (void)state;
    assert_int_equal(piommu_ipmmu_model_writes(bench->model, D, PIOMMU_IPMMU_MODEL_IMUCTR), 1);
    assert_int_equal(piommu_ipmmu_model_writes(bench->model, PIOMMU_IPMMU_MODEL_ALL_UNITS,
                                               PIOMMU_IPMMU_MODEL_IMUCTR),
                     2);
    assert_int_equal(piommu_ipmmu_model_flushes(bench->model, D, 1), 1);
    assert_int_equal(piommu_ipmmu_model_flushes(bench->model, D, 2), 0);
    flush(bench, D, 1);
    flush(bench, M, 1);
    poll(bench, M, 1, 0);
    after = piommu_ipmmu_model_counters(bench->model, M);
    assert_int_equal(after.writes - before.writes, 1);
    assert_int_equal(after.reads - before.reads, 1);
    assert_int_equal(after.flushes - before.flushes, 1);
    assert_int_equal(piommu_ipmmu_model_flushes(bench->model, D, 1), 2);
    reaches(bench, D, 3, IOVA, true, OUTPUT);
    reaches(bench, D, 3, IOVA, true, OUTPUT);
    reaches(bench, H, 2, IOVA, true, OUTPUT);
    is_blocked(bench, H, 2, 0, true);
    passes(bench, H, 9, 0);
    assert_int_equal(piommu_ipmmu_model_counters(bench->model, M).walks, 2);
    assert_int_equal(piommu_ipmmu_model_counters(bench->model, D).dma_translated, 2);
    after = piommu_ipmmu_model_counters(bench->model, PIOMMU_IPMMU_MODEL_ALL_UNITS);
    assert_int_equal(after.dma_translated, 3);
    assert_int_equal(after.dma_blocked, 1);
    assert_int_equal(after.dma_bypassed, 1);
    bench_close(bench);
}

static void recordings_are_lines(void **state)
{
    struct bench *bench = bench_open(PIOMMU_IPMMU_MODEL_GEN3);
    struct bench *gen4 = bench_open(PIOMMU_IPMMU_MODEL_GEN4);
    char line[PIOMMU_IPMMU_MODEL_LINE_SIZE];

    (void)state;
    piommu_ipmmu_model_record(bench->model, true);
    reg_write(bench, D, PIOMMU_IPMMU_MODEL_IMCTR, 1, ENABLE);
    reg_read(bench, M, PIOMMU_IPMMU_MODEL_IMSCTLR, 0);
    piommu_ipmmu_model_record(bench->model, false);
    reg_read(bench, M, PIOMMU_IPMMU_MODEL_IMSCTLR, 0);
    assert_int_equal(piommu_ipmmu_model_recorded(bench->model), 2);
    piommu_ipmmu_model_recorded_line(bench->model, 0, line);
    assert_string_equal(line, "D W IMCTR(1) 0x040 0x00000007");
    piommu_ipmmu_model_recorded_line(bench->model, 1, line);
    assert_string_equal(line, "M R IMSCTLR 0x500 0xc0000000");
    piommu_ipmmu_model_recorded_line(bench->model, 2, line);
    assert_string_equal(line, "");
    assert_null(piommu_ipmmu_model_recorded_access(bench->model, 2));
    piommu_ipmmu_model_record(gen4->model, true);
    reg_write(gen4, D, PIOMMU_IPMMU_MODEL_IMUASID, 34, 0);
    piommu_ipmmu_model_recorded_line(gen4->model, 0, line);
    assert_string_equal(line, "D W IMUASID(34) 0x3628 0x00000000");
    piommu_ipmmu_model_forget_recording(gen4->model);
    assert_int_equal(piommu_ipmmu_model_recorded(gen4->model), 0);
    bench_close(bench);
    bench_close(gen4);
}

static void readings_vary_one_at_a_time(void **state)
{
    struct piommu_ipmmu_model_readings defaults;
    struct piommu_ipmmu_model_readings readings;
    const char *name;
    unsigned int count = 0;

    (void)state;
    memset(&defaults, 0, sizeof(defaults));
    piommu_ipmmu_model_default_readings(&defaults);
    while (piommu_ipmmu_model_readings_variant(count, &readings, &name)) {
        assert_non_null(name);
        count++;
    }
    assert_int_equal(count, 24);
    assert_true(piommu_ipmmu_model_readings_variant(count - 1, &readings, &name));
    assert_int_equal(readings.disabled_micro_tlb, PIOMMU_IPMMU_MODEL_ABORTS);
    assert_true(readings.s2pte_for_all);
    assert_int_equal(defaults.disabled_micro_tlb, PIOMMU_IPMMU_MODEL_PASSES);
}

static void nonsense_is_not_built(void **state)
{
    static const struct {
        enum piommu_ipmmu_model_class generation;
        struct piommu_ipmmu_model_unit units[3]; /* as many as have a name */
    } tries[] = {
        {PIOMMU_IPMMU_MODEL_GEN3, {{0}}},
        {PIOMMU_IPMMU_MODEL_GEN3, {{.name = "D", .root = 1}}},
        {PIOMMU_IPMMU_MODEL_GEN3,
         {{.name = "M"},
          {.name = "D", .base = 0x10000},
          {.name = "E", .base = 0x20000, .root = 1}}},
        {PIOMMU_IPMMU_MODEL_GEN3, {{.name = "A name that is long"}}},
        {PIOMMU_IPMMU_MODEL_GEN2, {{.name = "M"}, {.name = "D", .base = 0x10000}}},
        {PIOMMU_IPMMU_MODEL_GEN2, {{.name = "M", .contexts = 5}}},
        {PIOMMU_IPMMU_MODEL_GEN2, {{.name = "M", .micro_tlbs = 33}}},
        {PIOMMU_IPMMU_MODEL_GEN3, {{.name = "M", .contexts = 9}}},
        {PIOMMU_IPMMU_MODEL_GEN3,
         {{.name = "M"}, {.name = "D", .base = 0x10000, .micro_tlbs = 49}}},
        {PIOMMU_IPMMU_MODEL_GEN4, {{.name = "M", .contexts = 17}}},
        {PIOMMU_IPMMU_MODEL_GEN4,
         {{.name = "M"}, {.name = "D", .base = 0x20000, .micro_tlbs = 65}}},
        {PIOMMU_IPMMU_MODEL_GEN4, {{.name = "M"}, {.name = "D", .base = 0x1f000}}},
        {PIOMMU_IPMMU_MODEL_GEN3, {{.name = "M", .base = 0x10000}, {.name = "D", .base = 0xf004}}},
        {PIOMMU_IPMMU_MODEL_GEN3, {{.name = "M", .base = 2}}},
        {PIOMMU_IPMMU_MODEL_GEN3, {{.name = "M", .base = UINT64_MAX - 0xffb}}},
        {PIOMMU_IPMMU_MODEL_GEN3, {{.name = "M", .has_erratum = true}}},
        {(enum piommu_ipmmu_model_class)3, {{.name = "M"}}},
    };
    const struct piommu_walker_memory memory = {.read64 = read64};

    (void)state;
    for (size_t i = 0; i < sizeof(tries) / sizeof(tries[0]); i++) {
        struct piommu_ipmmu_model_parameters parameters = {.generation = tries[i].generation,
                                                           .units = tries[i].units};

        while (parameters.unit_count < 3 && tries[i].units[parameters.unit_count].name != NULL) {
            parameters.unit_count++;
        }
        if (piommu_ipmmu_model_create(&parameters, memory) != NULL) {
            fail_msg("number %zu was built", i);
        }
    }
}

/* ---- mistakes of a test ---- */

static void get_of_no_unit(struct bench *bench)
{
    piommu_ipmmu_model_get(bench->model, H + 1, PIOMMU_IPMMU_MODEL_IMCTR, 0);
}

static void get_of_no_context(struct bench *bench)
{
    piommu_ipmmu_model_get(bench->model, M, PIOMMU_IPMMU_MODEL_IMCTR, 16);
}

static void set_of_no_micro_tlb(struct bench *bench)
{
    piommu_ipmmu_model_set(bench->model, D, PIOMMU_IPMMU_MODEL_IMUCTR, 64, 0);
}

static void set_of_no_register(struct bench *bench)
{
    piommu_ipmmu_model_set(bench->model, D, PIOMMU_IPMMU_MODEL_REGISTERS, 0, 0);
}

static void power_of_no_unit(struct bench *bench)
{
    piommu_ipmmu_model_power(bench->model, H + 1, false);
}

static void is_on_of_no_unit(struct bench *bench)
{
    piommu_ipmmu_model_is_on(bench->model, H + 1);
}

static void counters_of_no_unit(struct bench *bench)
{
    piommu_ipmmu_model_counters(bench->model, H + 1);
}

static void writes_of_no_unit(struct bench *bench)
{
    piommu_ipmmu_model_writes(bench->model, H + 1, PIOMMU_IPMMU_MODEL_IMCTR);
}

static void flushes_of_no_context(struct bench *bench)
{
    piommu_ipmmu_model_flushes(bench->model, D, 16);
}

static void is_flushing_of_no_context(struct bench *bench)
{
    piommu_ipmmu_model_is_flushing(bench->model, D, 16);
}

static void interrupt_of_no_unit(struct bench *bench)
{
    piommu_ipmmu_model_interrupt(bench->model, H + 1);
}

static void report_of_no_context(struct bench *bench)
{
    piommu_ipmmu_model_report(bench->model, M, 16, 1, 0);
}

static void entries_of_no_context(struct bench *bench)
{
    piommu_ipmmu_model_entries(bench->model, M, 16);
}

static void regime_of_no_unit(struct bench *bench)
{
    struct piommu_walker_regime regime;

    piommu_ipmmu_model_regime(bench->model, H + 1, 0, &regime);
}

static void regime_of_no_context(struct bench *bench)
{
    struct piommu_walker_regime regime;

    piommu_ipmmu_model_regime(bench->model, M, 16, &regime);
}

static void polls_of_no_unit(struct bench *bench)
{
    piommu_ipmmu_model_set_flush_polls(bench->model, H + 1, 1);
}

static void end_of_no_unit(struct bench *bench)
{
    piommu_ipmmu_model_end_flushes(bench->model, H + 1);
}

static void dma_of_a_root(struct bench *bench)
{
    piommu_ipmmu_model_dma(bench->model, M, 0, 0, false, NULL);
}

static void look_of_no_micro_tlb(struct bench *bench)
{
    piommu_ipmmu_model_look(bench->model, D, 48, 0, false, NULL);
}

static void prefetch_of_no_unit(struct bench *bench)
{
    piommu_ipmmu_model_prefetch(bench->model, H + 1, 0);
}

/* Does it end the program by abort()? */
static bool ends(struct bench *bench, void (*call)(struct bench *bench))
{
    int status = 0;
    pid_t child;

    (void)fflush(NULL);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)close(STDERR_FILENO);
        call(bench);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static void what_is_not_there_ends_the_test(void **state)
{
    void (*const calls[])(struct bench * bench) = {
        get_of_no_unit,        get_of_no_context,
        set_of_no_micro_tlb,   set_of_no_register,
        power_of_no_unit,      is_on_of_no_unit,
        counters_of_no_unit,   writes_of_no_unit,
        interrupt_of_no_unit,  report_of_no_context,
        entries_of_no_context, flushes_of_no_context,
        regime_of_no_unit,     regime_of_no_context,
        polls_of_no_unit,      is_flushing_of_no_context,
        end_of_no_unit,        dma_of_a_root,
        look_of_no_micro_tlb,  prefetch_of_no_unit,
    };
    struct bench *bench = bench_open(PIOMMU_IPMMU_MODEL_GEN3);

    (void)state;
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        if (!ends(bench, calls[i])) {
            fail_msg("number %zu went on", i);
        }
    }
    bench_close(bench);
}

/* ---- memory that is not coherent ---- */

static struct bench *bench_not_coherent(uint64_t *root)
{
    const struct piommu_ipmmu_model_parameters parameters = {.generation = PIOMMU_IPMMU_MODEL_GEN3,
                                                             .non_coherent = true};
    struct bench *bench = bench_with(&parameters);

    probe(bench);
    *root = open_context(bench, 1);
    map(bench, *root, IOVA, OUTPUT);
    attach(bench, D, 3, 1);
    return bench;
}

/* All three tables that lead to IOVA. */
static void clean_tables(struct bench *bench)
{
    piommu_ipmmu_model_clean(bench->model, MEMORY_BASE, UINT64_C(3) << 12);
    piommu_ipmmu_model_barrier(bench->model);
}

static void walks_see_what_was_cleaned(void **state)
{
    uint64_t root;
    struct bench *bench = bench_not_coherent(&root);
    uint64_t place = MEMORY_BASE + UINT64_C(0x2000) + 8 * (IOVA >> 12 & 511);

    (void)state;
    clean_tables(bench);
    reaches(bench, D, 3, IOVA, true, OUTPUT);
    *entry_of(bench, root, IOVA, 3) = (OUTPUT + 0x5000) | STAGE1_PAGE;
    for (unsigned int i = 0; i < 3; i++) {
        if (i == 1) {
            piommu_ipmmu_model_clean(bench->model, place, 8);
            /* Comes too late for this clean. */
            *entry_of(bench, root, IOVA, 3) = (OUTPUT + 0x6000) | STAGE1_PAGE;
        } else if (i == 2) {
            piommu_ipmmu_model_barrier(bench->model);
        }
        flush(bench, D, 1);
        flush(bench, M, 1);
        reaches(bench, D, 3, IOVA, true, i < 2 ? OUTPUT : OUTPUT + 0x5000);
    }
    piommu_ipmmu_model_barrier(bench->model);
    flush(bench, D, 1);
    flush(bench, M, 1);
    reaches(bench, D, 3, IOVA, true, OUTPUT + 0x5000);
    bench_close(bench);
}

static void cleans_reach_whole_lines(void **state)
{
    uint64_t root;
    struct bench *bench = bench_not_coherent(&root);
    uint64_t first = IOVA & ~UINT64_C(0x1fffff);
    uint64_t page = MEMORY_BASE + UINT64_C(0x2000);

    (void)state;
    for (uint64_t slot = 0; slot < 64; slot++) {
        map(bench, root, first + slot * 0x1000, OUTPUT + slot * 0x1000);
    }
    /* Pages in no order; of the last one the first three lines: slots 0 to 23. */
    piommu_ipmmu_model_clean(bench->model, page + 63, 66);
    piommu_ipmmu_model_clean(bench->model, page + 256, 0);
    piommu_ipmmu_model_barrier(bench->model);
    piommu_ipmmu_model_clean(bench->model, MEMORY_BASE, 0x2000);
    piommu_ipmmu_model_barrier(bench->model);
    for (uint64_t slot = 0; slot < 24; slot++) {
        reaches(bench, D, 3, first + slot * 0x1000, true, OUTPUT + slot * 0x1000);
    }
    for (uint64_t slot = 24; slot < 64; slot += 8) {
        assert_int_equal(
            piommu_ipmmu_model_look(bench->model, D, 3, first + slot * 0x1000, true, NULL),
            PIOMMU_IPMMU_MODEL_BLOCKED);
        expect_violation(bench, NO_RULE, NULL); /* it was a question */
        assert_int_equal(
            piommu_ipmmu_model_dma(bench->model, D, 3, first + slot * 0x1000, true, NULL),
            PIOMMU_IPMMU_MODEL_BLOCKED);
        expect_violation(bench, PIOMMU_IPMMU_MODEL_RULE_CLEAN,
                         slot == 24 ? "0x1400020c0, which" : "which was never cleaned");
    }
    bench_close(bench);
}

static void what_is_no_memory_cannot_be_cleaned(void **state)
{
    uint64_t root;
    struct bench *bench = bench_not_coherent(&root);

    (void)state;
    *entry_of(bench, root, IOVA, 2) = UINT64_C(0x1000) | 3 | NS_TABLE;
    clean_tables(bench);
    piommu_ipmmu_model_clean(bench->model, 0x1000, 0x1000);
    piommu_ipmmu_model_clean(bench->model, UINT64_MAX - 5, 6);
    piommu_ipmmu_model_barrier(bench->model);
    is_blocked(bench, D, 3, IOVA, false);
    fault_is(bench, 1, 0x3004, IOVA);
    bench_close(bench);
}

static void coherent_walks_see_all_at_once(void **state)
{
    uint64_t root;
    struct bench *bench = bench_ready(&root);

    (void)state;
    piommu_ipmmu_model_clean(bench->model, MEMORY_BASE, 0x3000);
    piommu_ipmmu_model_barrier(bench->model);
    map(bench, root, IOVA + 0x1000, OUTPUT + 0x1000);
    reaches(bench, D, 3, IOVA + 0x1000, true, OUTPUT + 0x1000);
    bench_close(bench);
}

/* ---- on the fake OS ---- */

static void the_fake_os_leads_to_the_model(void **state)
{
    const struct fake_os_options options = {
        .non_coherent = true, .seed = 1, .memory_base = UINT64_C(0xff80000000)};
    struct fake_os *os = fake_os_create(&options);
    struct piommu_host host = fake_os_host(os);
    const struct piommu_ipmmu_model_parameters parameters = {
        .generation = PIOMMU_IPMMU_MODEL_GEN3, .units = units_gen3, .unit_count = 3};
    struct bench bench = {.generation = PIOMMU_IPMMU_MODEL_GEN3, .units = units_gen3, .stage = 1};
    const struct piommu_dma_request request = {
        .size = 4096, .alignment = 4096, .max_physical = UINT64_MAX, .purpose = PIOMMU_DMA_TABLE};
    uintptr_t base;
    uintptr_t product;
    uint64_t physical;
    uint64_t *table;

    (void)state;
    bench.model = piommu_ipmmu_model_create(
        &parameters, (struct piommu_walker_memory){.read64 = fake_os_device_read64, .ctx = os});
    assert_non_null(bench.model);
    ipmmu_model_connect(bench.model, os);
    assert_int_equal(host.os->mmio_map(host.ctx, units_gen3[M].base, 0x1000, &base), 0);
    assert_int_equal(host.os->mmio_map(host.ctx, 0xfff00044, 4, &product), 0);
    assert_int_equal(host.os->mmio_read(host.ctx, product, 4), 0x4f30);
    host.os->mmio_write(host.ctx, base + 0x050, 4, 0x5000);
    assert_int_equal(host.os->mmio_read(host.ctx, base + 0x050, 4), 0x5000);
    host.os->mmio_read(host.ctx, base + 0x050, 2);
    expect_violation(&bench, PIOMMU_IPMMU_MODEL_RULE_WIDTH, "M: read of 2 bytes");

    /* The walker sees what was cleaned, nothing else. */
    probe(&bench);
    table = host.os->dma_alloc(host.ctx, &request, &physical);
    assert_non_null(table);
    assert_true(physical >= options.memory_base);
    memset(table, 0, 4096);
    host.os->cache_clean(host.ctx, table, 4096);
    host.os->barrier(host.ctx, PIOMMU_BARRIER_WRITE);
    set_table(&bench, 1, physical, 0x80000080);
    enable(&bench, 1, 0);
    attach(&bench, D, 3, 1);
    for (unsigned int i = 0; i < 8; i++) {
        ((uint8_t *)&table[1])[i] = (uint8_t)(UINT64_C(0xc0000f65) >> (8 * i) & 0xff);
    }
    is_blocked(&bench, D, 3, 0x40000000, true);
    host.os->cache_clean(host.ctx, &table[1], 8);
    host.os->barrier(host.ctx, PIOMMU_BARRIER_WRITE);
    reaches(&bench, D, 3, 0x40000000, true, 0xc0000000);

    host.os->dma_free(host.ctx, table, 4096);
    host.os->mmio_unmap(host.ctx, base, 0x1000);
    host.os->mmio_unmap(host.ctx, product, 4);
    ipmmu_model_assert_clean(bench.model);
    piommu_ipmmu_model_destroy(bench.model);
    fake_os_destroy(os);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(offsets_are_those_of_the_class),
        cmocka_unit_test(nothing_else_exists),
        cmocka_unit_test(unknown_offsets_are_refused),
        cmocka_unit_test(widths_are_checked),
        cmocka_unit_test(numbers_are_checked),
        cmocka_unit_test(registers_belong_to_root_or_cache),
        cmocka_unit_test(reserved_bits_are_refused),
        cmocka_unit_test(contexts_that_micro_tlbs_select_exist),
        cmocka_unit_test(bits_of_firmware_stay),
        cmocka_unit_test(status_is_cleared_with_zero),
        cmocka_unit_test(live_contexts_stay_as_they_are),
        cmocka_unit_test(contexts_are_enabled_with_flush),
        cmocka_unit_test(settings_fit_each_other),
        cmocka_unit_test(micro_tlbs_use_enabled_contexts),
        cmocka_unit_test(contexts_are_not_reused_with_old_entries),
        cmocka_unit_test(entries_of_micro_tlbs_count_for_reuse),
        cmocka_unit_test(roots_come_first),
        cmocka_unit_test(what_is_forgiven_is_not_recorded),
        cmocka_unit_test(stage_1_translates_in_every_class),
        cmocka_unit_test(addresses_above_the_input_fault),
        cmocka_unit_test(stage_1_wants_everything_non_secure),
        cmocka_unit_test(faults_say_what_happened),
        cmocka_unit_test(a_second_fault_is_read_in_two_ways),
        cmocka_unit_test(stage_2_translates_40_bits),
        cmocka_unit_test(stage_2_translates_39_bits_with_one_table),
        cmocka_unit_test(stage_2_may_start_with_the_other_number),
        cmocka_unit_test(stage_1_with_long_addresses),
        cmocka_unit_test(the_halves_have_tables_of_their_own),
        cmocka_unit_test(there_may_be_no_upper_half),
        cmocka_unit_test(both_stages_side_by_side),
        cmocka_unit_test(stage_2_depends_on_the_product),
        cmocka_unit_test(stage_2_is_chosen_before_any_context),
        cmocka_unit_test(disabled_micro_tlbs_pass_or_abort),
        cmocka_unit_test(disabled_contexts_pass_or_abort),
        cmocka_unit_test(security_groups_block_all),
        cmocka_unit_test(security_groups_at_reset),
        cmocka_unit_test(translations_stay_until_every_tlb_is_flushed),
        cmocka_unit_test(caches_ask_the_root_for_what_it_still_has),
        cmocka_unit_test(contexts_do_not_share_entries),
        cmocka_unit_test(table_pointers_stay_as_well),
        cmocka_unit_test(invalid_descriptors_are_not_kept),
        cmocka_unit_test(looking_leaves_no_trace),
        cmocka_unit_test(prefetch_takes_all_there_is),
        cmocka_unit_test(micro_tlb_entries_are_read_in_three_ways),
        cmocka_unit_test(micro_tlb_flush_reads_back_or_not),
        cmocka_unit_test(entries_of_two_sizes_conflict),
        cmocka_unit_test(contiguous_groups_are_one_entry),
        cmocka_unit_test(flush_shows_for_as_many_polls),
        cmocka_unit_test(flush_acts_at_write_or_end),
        cmocka_unit_test(a_flush_does_not_cover_later_clears),
        cmocka_unit_test(a_flush_does_not_cover_later_clears_behind_old_pointers),
        cmocka_unit_test(a_flush_covers_what_old_pointers_lead_to),
        cmocka_unit_test(caches_flush_in_three_ways),
        cmocka_unit_test(the_refill_race),
        cmocka_unit_test(what_was_there_before_is_no_refill),
        cmocka_unit_test(what_the_root_keeps_is_no_refill),
        cmocka_unit_test(reached_refills_excuse_nothing),
        cmocka_unit_test(a_second_flush_is_lost_or_begins_again),
        cmocka_unit_test(a_second_flush_that_acts_at_once_does_so),
        cmocka_unit_test(other_writes_end_a_flush_or_not),
        cmocka_unit_test(a_flush_that_never_ends),
        cmocka_unit_test(interrupts_follow_status_and_enable),
        cmocka_unit_test(level_and_code_alone_are_no_fault),
        cmocka_unit_test(each_unit_of_gen2_is_its_own_root),
        cmocka_unit_test(gen2_has_one_to_four_contexts),
        cmocka_unit_test(gen2_walks_over_the_system_bus),
        cmocka_unit_test(roots_have_nothing_to_do_with_each_other),
        cmocka_unit_test(power_loss_forgets_all),
        cmocka_unit_test(units_may_start_without_power),
        cmocka_unit_test(errata_want_the_tlb_off),
        cmocka_unit_test(a_tlb_that_is_off_is_on_after_power_loss),
        cmocka_unit_test(what_firmware_left_is_not_the_drivers_fault),
        cmocka_unit_test(what_firmware_left_enabled_is_not_set_up),
        cmocka_unit_test(what_describes_a_model_is_copied),
        cmocka_unit_test(litter_is_everywhere),
        cmocka_unit_test(observers_see_the_effect),
        cmocka_unit_test(accesses_are_counted),
        cmocka_unit_test(recordings_are_lines),
        cmocka_unit_test(readings_vary_one_at_a_time),
        cmocka_unit_test(nonsense_is_not_built),
        cmocka_unit_test(what_is_not_there_ends_the_test),
        cmocka_unit_test(walks_see_what_was_cleaned),
        cmocka_unit_test(cleans_reach_whole_lines),
        cmocka_unit_test(what_is_no_memory_cannot_be_cleaned),
        cmocka_unit_test(coherent_walks_see_all_at_once),
        cmocka_unit_test(the_fake_os_leads_to_the_model),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
