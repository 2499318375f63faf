/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The structural check: sound tables have no problems (every test of the fixture looks), and each
 * thing that can be wrong with a descriptor is found where it is, and nothing else.
 */

#include "pgtable_fixture.h"

#include <stdlib.h>
#include <string.h>

#define MOST_PROBLEMS 300

struct findings {
    struct piommu_pgtable_problem problems[MOST_PROBLEMS];
    size_t count;
};

static void take_problem(void *cookie, const struct piommu_pgtable_problem *problem)
{
    struct findings *findings = cookie;

    if (findings->count < MOST_PROBLEMS) {
        findings->problems[findings->count] = *problem;
    }
    findings->count++;
}

static int look(struct pgt *p, struct findings *findings, struct piommu_pgtable_report *report)
{
    int result;

    memset(findings, 0, sizeof(*findings));
    memset(report, 0x5a, sizeof(*report));
    result = piommu_pgtable_verify(p->table, take_problem, findings, report);
    assert_int_equal(report->problems, findings->count);
    assert_int_equal(result, findings->count == 0 ? 0 : -PIOMMU_EBADMSG);
    assert_int_equal(fake_os_bytes_outstanding(p->os) % 8, 0);
    return result;
}

/* ---- One descriptor at a time ---- */

static const struct kind stage1 = {S1_64, 4096, 48, 40, 0, 0};
static const struct kind stage2 = {S2_64, 4096, 40, 40, 0, 0};
static const struct kind stage2_xnx = {S2_64, 4096, 40, 40, PIOMMU_PGTABLE_XNX, 0};
static const struct kind stage2_fwb = {S2_64, 4096, 40, 40, PIOMMU_PGTABLE_FORCE_WRITE_BACK, 0};
static const struct kind non_secure = {S1_64, 4096, 48, 40, PIOMMU_PGTABLE_NON_SECURE, 0};
static const struct kind upper = {S1_64, 4096, 48, 40, PIOMMU_PGTABLE_TTBR1, 0};
static const struct kind lpa2 = {S1_64, 4096, 52, 52, 0, 0};
static const struct kind with_16k = {S1_64, 16384, 47, 40, 0, 0};
static const struct kind with_64k = {S1_64, 65536, 48, 40, 0, 0};
static const struct kind with_64k_52 = {S2_64, 65536, 52, 52, 0, 0};
static const struct kind some_sizes = {S1_64, 4096, 48, 40, 0, 4 * KIB + GIB};
static const struct kind arm32 = {S1_32, 4096, 32, 40, 0, 0};
static const struct kind arm32_stage2 = {S2_32, 4096, 40, 40, 0, 0};

/* Offsets from the beginning of the space at which the sound table has something. */
#define PAGE_AT(granule)  (3 * (uint64_t)(granule)) /* a page, as are the two next */
#define BLOCK_AT(granule) ((granule) == 4096 ? 4 * MIB : (granule) == 16384 ? 64 * MIB : GIB)

static uint64_t block_size(uint64_t granule)
{
    return granule == 4096 ? 2 * MIB : granule == 16384 ? 32 * MIB : 512 * MIB;
}

static struct pgt *open_sound(const struct kind *kind)
{
    struct fake_os_options options = {.scattered = true};
    struct piommu_pgtable_config config = config_of_kind(kind);
    uint64_t granule = kind->granule;
    struct piommu_pgtable_report report;
    static struct findings findings;
    uint64_t base;
    struct pgt *p;

    p = open_table_with(&config, &options);
    p->has_tlb = false;
    base = base_of(p);
    map(p, base + PAGE_AT(granule), 5 * granule, 3 * granule, READ_WRITE);
    if (kind->leaf_sizes == 0) {
        map(p, base + BLOCK_AT(granule), block_size(granule), block_size(granule), READ);
        map(p, base + BLOCK_AT(granule) + block_size(granule), 0, 2 * granule, READ);
    } else {
        map(p, base + BLOCK_AT(granule) + block_size(granule), 0, 2 * granule, READ);
        map(p, base + BLOCK_AT(granule), 0, 2 * granule, READ);
    }
    p->has_hostile_links = true;
    assert_int_equal(look(p, &findings, &report), 0);
    assert_int_equal(report.tables, p->linked_count);
    return p;
}

enum place {
    AT_PAGE,
    AT_BLOCK,
    ABOVE_PAGES, /* the link to the table of pages */
    AT_ROOT,     /* what the walk to a page meets first */
};

static uint64_t place_of(struct pgt *p, enum place place, int *level, uint64_t *input)
{
    uint64_t granule = p->info.granule;

    *input = base_of(p) + (place == AT_BLOCK ? BLOCK_AT(granule) : PAGE_AT(granule));
    *level = place == AT_PAGE ? 3 : place == AT_ROOT ? p->info.start_level : 2;
    return locate(p, *input, *level);
}

static void expect_step(struct pgt *p, const struct piommu_pgtable_step *step, uint64_t location,
                        int level, uint64_t input, uint64_t descriptor)
{
    uint64_t size = 1ull << piommu_walker_level_shift(&p->regime, level);

    assert_int_equal(step->table_physical + 8ull * step->index, location);
    assert_int_equal(step->level, level);
    assert_int_equal(step->descriptor, descriptor);
    assert_int_equal(step->covers.first, input & ~(size - 1));
    assert_int_equal(step->covers.last, input | (size - 1));
}

struct flaw {
    const struct kind *kind;
    enum place place;
    uint64_t clear; /* bits to take out */
    uint64_t set;   /* bits to put in */
    enum piommu_pgtable_problem_kind problem;
};

#define BIT(n) (1ull << (n))

static const struct flaw flaws[] = {
    {&stage1, AT_ROOT, 2, 0, PIOMMU_PGTABLE_PROBLEM_BLOCK_LEVEL},
    {&upper, AT_ROOT, 2, 0, PIOMMU_PGTABLE_PROBLEM_BLOCK_LEVEL},
    {&lpa2, AT_ROOT, 2, 0, PIOMMU_PGTABLE_PROBLEM_BLOCK_LEVEL},
    {&with_16k, AT_ROOT, 2, 0, PIOMMU_PGTABLE_PROBLEM_BLOCK_LEVEL},
    {&with_64k, AT_ROOT, 2, 0, PIOMMU_PGTABLE_PROBLEM_BLOCK_LEVEL},

    {&stage1, AT_PAGE, 2, 0, PIOMMU_PGTABLE_PROBLEM_PAGE_TYPE},
    {&upper, AT_PAGE, 2, 0, PIOMMU_PGTABLE_PROBLEM_PAGE_TYPE},
    {&stage2, AT_PAGE, 2, 0, PIOMMU_PGTABLE_PROBLEM_PAGE_TYPE},
    {&lpa2, AT_PAGE, 2, 0, PIOMMU_PGTABLE_PROBLEM_PAGE_TYPE},
    {&with_16k, AT_PAGE, 2, 0, PIOMMU_PGTABLE_PROBLEM_PAGE_TYPE},
    {&with_64k, AT_PAGE, 2, 0, PIOMMU_PGTABLE_PROBLEM_PAGE_TYPE},
    {&arm32, AT_PAGE, 2, 0, PIOMMU_PGTABLE_PROBLEM_PAGE_TYPE},

    {&stage1, AT_PAGE, 0, BIT(48), PIOMMU_PGTABLE_PROBLEM_RESERVED_BITS},
    {&stage1, AT_PAGE, 0, BIT(49), PIOMMU_PGTABLE_PROBLEM_RESERVED_BITS},
    {&stage1, AT_BLOCK, 0, BIT(12), PIOMMU_PGTABLE_PROBLEM_RESERVED_BITS},
    {&stage1, AT_BLOCK, 0, BIT(20), PIOMMU_PGTABLE_PROBLEM_RESERVED_BITS},
    {&stage1, ABOVE_PAGES, 0, BIT(48), PIOMMU_PGTABLE_PROBLEM_RESERVED_BITS},
    {&stage2, AT_PAGE, 0, BIT(11), PIOMMU_PGTABLE_PROBLEM_RESERVED_BITS},
    {&stage2, AT_PAGE, 0, BIT(49), PIOMMU_PGTABLE_PROBLEM_RESERVED_BITS},
    {&with_16k, AT_BLOCK, 0, BIT(24), PIOMMU_PGTABLE_PROBLEM_RESERVED_BITS},
    {&with_16k, AT_PAGE, 0, BIT(12), PIOMMU_PGTABLE_PROBLEM_RESERVED_BITS},
    {&with_64k, AT_PAGE, 0, BIT(12), PIOMMU_PGTABLE_PROBLEM_RESERVED_BITS},
    {&with_64k, AT_BLOCK, 0, BIT(28), PIOMMU_PGTABLE_PROBLEM_RESERVED_BITS},
    {&with_64k_52, AT_BLOCK, 0, BIT(20), PIOMMU_PGTABLE_PROBLEM_RESERVED_BITS},
    {&arm32, AT_BLOCK, 0, BIT(13), PIOMMU_PGTABLE_PROBLEM_RESERVED_BITS},

    {&stage1, AT_PAGE, 0, BIT(40), PIOMMU_PGTABLE_PROBLEM_OUTPUT},
    {&stage1, AT_PAGE, 0, BIT(47), PIOMMU_PGTABLE_PROBLEM_OUTPUT},
    {&stage1, AT_BLOCK, 0, BIT(41), PIOMMU_PGTABLE_PROBLEM_OUTPUT},
    {&upper, AT_BLOCK, 0, BIT(41), PIOMMU_PGTABLE_PROBLEM_OUTPUT},
    {&stage2, AT_PAGE, 0, BIT(44), PIOMMU_PGTABLE_PROBLEM_OUTPUT},
    {&with_64k, AT_BLOCK, 0, BIT(46), PIOMMU_PGTABLE_PROBLEM_OUTPUT},

    {&stage1, ABOVE_PAGES, 0, BIT(40), PIOMMU_PGTABLE_PROBLEM_TABLE_ADDRESS},
    {&upper, AT_ROOT, 0, BIT(47), PIOMMU_PGTABLE_PROBLEM_TABLE_ADDRESS},
    {&stage2, ABOVE_PAGES, 0, BIT(46), PIOMMU_PGTABLE_PROBLEM_TABLE_ADDRESS},
    {&with_16k, ABOVE_PAGES, 0, BIT(40), PIOMMU_PGTABLE_PROBLEM_TABLE_ADDRESS},

    /* To where there is no memory. */
    {&stage1, ABOVE_PAGES, 0, BIT(38), PIOMMU_PGTABLE_PROBLEM_TABLE_UNREACHABLE},
    {&stage1, AT_ROOT, 0, BIT(38), PIOMMU_PGTABLE_PROBLEM_TABLE_UNREACHABLE},
    {&lpa2, ABOVE_PAGES, 0, BIT(8), PIOMMU_PGTABLE_PROBLEM_TABLE_UNREACHABLE},
    {&lpa2, ABOVE_PAGES, 0, BIT(49), PIOMMU_PGTABLE_PROBLEM_TABLE_UNREACHABLE},
    {&with_64k_52, ABOVE_PAGES, 0, BIT(15), PIOMMU_PGTABLE_PROBLEM_TABLE_UNREACHABLE},
    {&arm32, ABOVE_PAGES, 0, BIT(38), PIOMMU_PGTABLE_PROBLEM_TABLE_UNREACHABLE},

    {&stage1, AT_PAGE, BIT(10), 0, PIOMMU_PGTABLE_PROBLEM_ACCESS_FLAG},
    {&stage1, AT_BLOCK, BIT(10), 0, PIOMMU_PGTABLE_PROBLEM_ACCESS_FLAG},
    {&stage2, AT_PAGE, BIT(10), 0, PIOMMU_PGTABLE_PROBLEM_ACCESS_FLAG},
    {&lpa2, AT_PAGE, BIT(10), 0, PIOMMU_PGTABLE_PROBLEM_ACCESS_FLAG},
    {&arm32_stage2, AT_PAGE, BIT(10), 0, PIOMMU_PGTABLE_PROBLEM_ACCESS_FLAG},

    {&stage1, AT_PAGE, BIT(9), BIT(8), PIOMMU_PGTABLE_PROBLEM_SHAREABILITY},
    {&stage2, AT_BLOCK, BIT(9), BIT(8), PIOMMU_PGTABLE_PROBLEM_SHAREABILITY},
    {&arm32, AT_PAGE, BIT(9), BIT(8), PIOMMU_PGTABLE_PROBLEM_SHAREABILITY},

    {&stage1, AT_PAGE, 0, 3 * BIT(2), PIOMMU_PGTABLE_PROBLEM_MEMORY_TYPE},
    {&stage1, AT_PAGE, 7 * BIT(2), 7 * BIT(2), PIOMMU_PGTABLE_PROBLEM_MEMORY_TYPE},
    {&arm32, AT_BLOCK, 7 * BIT(2), 4 * BIT(2), PIOMMU_PGTABLE_PROBLEM_MEMORY_TYPE},
    {&stage2, AT_PAGE, 15 * BIT(2), 4 * BIT(2), PIOMMU_PGTABLE_PROBLEM_MEMORY_TYPE},
    {&stage2, AT_BLOCK, 15 * BIT(2), 8 * BIT(2), PIOMMU_PGTABLE_PROBLEM_MEMORY_TYPE},
    {&stage2, AT_PAGE, 15 * BIT(2), 12 * BIT(2), PIOMMU_PGTABLE_PROBLEM_MEMORY_TYPE},
    {&stage2_fwb, AT_PAGE, 15 * BIT(2), 4 * BIT(2), PIOMMU_PGTABLE_PROBLEM_MEMORY_TYPE},
    {&arm32_stage2, AT_PAGE, 15 * BIT(2), 4 * BIT(2), PIOMMU_PGTABLE_PROBLEM_MEMORY_TYPE},

    {&stage2, AT_PAGE, 0, 3 * BIT(53), PIOMMU_PGTABLE_PROBLEM_EXECUTE_NEVER},
    {&stage2, AT_BLOCK, 0, 3 * BIT(53), PIOMMU_PGTABLE_PROBLEM_EXECUTE_NEVER},
    {&with_64k_52, AT_PAGE, 0, 3 * BIT(53), PIOMMU_PGTABLE_PROBLEM_EXECUTE_NEVER},

    {&stage1, AT_BLOCK, 0, BIT(51), PIOMMU_PGTABLE_PROBLEM_DIRTY_STATE},
    {&stage1, AT_PAGE, 0, BIT(51) | BIT(7), PIOMMU_PGTABLE_PROBLEM_DIRTY_STATE},
    {&stage2, AT_BLOCK, 0, BIT(51), PIOMMU_PGTABLE_PROBLEM_DIRTY_STATE},

    {&stage1, AT_PAGE, 0, BIT(5), PIOMMU_PGTABLE_PROBLEM_NON_SECURE},
    {&stage1, AT_BLOCK, 0, BIT(5), PIOMMU_PGTABLE_PROBLEM_NON_SECURE},
    {&stage1, ABOVE_PAGES, 0, BIT(63), PIOMMU_PGTABLE_PROBLEM_NON_SECURE},
    {&non_secure, AT_PAGE, BIT(5), 0, PIOMMU_PGTABLE_PROBLEM_NON_SECURE},
    {&non_secure, ABOVE_PAGES, BIT(63), 0, PIOMMU_PGTABLE_PROBLEM_NON_SECURE},
    {&non_secure, AT_ROOT, BIT(63), 0, PIOMMU_PGTABLE_PROBLEM_NON_SECURE},

    {&stage1, ABOVE_PAGES, 0, BIT(59), PIOMMU_PGTABLE_PROBLEM_TABLE_ATTRIBUTES},
    {&stage1, ABOVE_PAGES, 0, BIT(60), PIOMMU_PGTABLE_PROBLEM_TABLE_ATTRIBUTES},
    {&stage1, AT_ROOT, 0, BIT(61), PIOMMU_PGTABLE_PROBLEM_TABLE_ATTRIBUTES},
    {&stage1, AT_ROOT, 0, BIT(62), PIOMMU_PGTABLE_PROBLEM_TABLE_ATTRIBUTES},
    {&arm32, ABOVE_PAGES, 0, BIT(62), PIOMMU_PGTABLE_PROBLEM_TABLE_ATTRIBUTES},
};

static void test_each_flaw_is_found_where_it_is_and_nothing_else(void **state)
{
    static struct findings findings;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(flaws); i++) {
        struct pgt *p = open_sound(flaws[i].kind);
        struct piommu_pgtable_report report;
        uint64_t input;
        int level;
        uint64_t location = place_of(p, flaws[i].place, &level, &input);
        uint64_t sound = peek(p, location);
        uint64_t flawed = (sound & ~flaws[i].clear) | flaws[i].set;

        assert_int_not_equal(flawed, sound);
        poke(p, location, flawed);
        look(p, &findings, &report);
        if (findings.count != 1 || findings.problems[0].kind != flaws[i].problem) {
            fail_msg("flaw %u (%s): %u problems, the first: %s", (unsigned int)i,
                     piommu_pgtable_problem_name(flaws[i].problem), (unsigned int)findings.count,
                     findings.count == 0 ? "none"
                                         : piommu_pgtable_problem_name(findings.problems[0].kind));
        }
        expect_step(p, &findings.problems[0].step, location, level, input, flawed);
        poke(p, location, sound);
        assert_int_equal(look(p, &findings, &report), 0);
        close_table(p);
    }
}

static void test_what_is_legal_is_no_problem(void **state)
{
    static const struct flaw harmless[] = {
        /* Software's bits, and what hardware may set. */
        {&stage1, AT_PAGE, 0, 7 * BIT(56), PIOMMU_PGTABLE_PROBLEM_RESERVED_BITS},
        {&stage1, AT_PAGE, BIT(11), 0, PIOMMU_PGTABLE_PROBLEM_RESERVED_BITS},
        {&stage1, AT_PAGE, BIT(7), 0, PIOMMU_PGTABLE_PROBLEM_RESERVED_BITS},
        {&stage1, AT_PAGE, BIT(54), 0, PIOMMU_PGTABLE_PROBLEM_EXECUTE_NEVER},
        {&stage2_xnx, AT_PAGE, 0, 3 * BIT(53), PIOMMU_PGTABLE_PROBLEM_EXECUTE_NEVER},
        {&lpa2, AT_PAGE, 0, BIT(8), PIOMMU_PGTABLE_PROBLEM_SHAREABILITY},
        {&with_64k_52, AT_PAGE, 0, BIT(12), PIOMMU_PGTABLE_PROBLEM_RESERVED_BITS},
    };
    static struct findings findings;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(harmless); i++) {
        struct pgt *p = open_sound(harmless[i].kind);
        struct piommu_pgtable_report report;
        uint64_t input;
        int level;
        uint64_t location = place_of(p, harmless[i].place, &level, &input);
        uint64_t sound = peek(p, location);

        poke(p, location, (sound & ~harmless[i].clear) | harmless[i].set);
        if (look(p, &findings, &report) != 0) {
            fail_msg("harmless %u: %s", (unsigned int)i,
                     piommu_pgtable_problem_name(findings.problems[0].kind));
        }
        poke(p, location, sound);
        close_table(p);
    }
}

static void test_a_block_of_a_size_not_in_use_is_found(void **state)
{
    struct pgt *p = open_sound(&some_sizes);
    uint64_t location = locate(p, 0, 2);
    uint64_t link = peek(p, location);
    uint64_t block = (peek(p, locate(p, PAGE_AT(4096), 3)) & ~0x0000fffffffff002ull) | 16 * MIB;
    struct piommu_pgtable_report report;
    static struct findings findings;

    (void)state;
    poke(p, location, block);
    look(p, &findings, &report);
    assert_int_equal(findings.count, 1);
    assert_int_equal(findings.problems[0].kind, PIOMMU_PGTABLE_PROBLEM_LEAF_SIZE);
    expect_step(p, &findings.problems[0].step, location, 2, 0, block);
    poke(p, location, link);
    close_table(p);
}

/* ---- Loops and shared tables ---- */

static void expect_shared(struct pgt *p, uint64_t location, uint64_t descriptor)
{
    struct piommu_pgtable_report report;
    static struct findings findings;

    look(p, &findings, &report);
    assert_int_equal(findings.count, 1);
    assert_int_equal(findings.problems[0].kind, PIOMMU_PGTABLE_PROBLEM_TABLE_SHARED);
    assert_int_equal(findings.problems[0].step.table_physical +
                         8ull * findings.problems[0].step.index,
                     location);
    assert_int_equal(findings.problems[0].step.descriptor, descriptor);
}

static void test_a_table_with_two_links_is_found_at_the_second(void **state)
{
    struct pgt *p = open_sound(&stage1);
    uint64_t first = locate(p, 0, 2);
    uint64_t second = locate(p, 6 * MIB, 2);
    uint64_t sound = peek(p, second);

    (void)state;
    assert_int_not_equal(peek(p, first) & 0xfffffffff000ull, sound & 0xfffffffff000ull);
    poke(p, second, peek(p, first));
    expect_shared(p, second, peek(p, first));
    poke(p, second, sound);
    close_table(p);
}

static void test_links_upwards_and_to_itself_end(void **state)
{
    static const struct kind *const loop_kinds[] = {&stage1, &upper, &stage2, &lpa2, &with_64k};

    (void)state;
    for (size_t k = 0; k < COUNT_OF(loop_kinds); k++) {
        struct pgt *p = open_sound(loop_kinds[k]);
        uint64_t input = base_of(p) + PAGE_AT(p->info.granule);

        for (int from = p->info.start_level; from < 3; from++) {
            for (int to = p->info.start_level; to <= from; to++) {
                uint64_t location = locate(p, input, from);
                uint64_t sound = peek(p, location);
                uint64_t granule_mask = p->info.granule - 1ull;
                uint64_t target = locate(p, input, to) & ~granule_mask;
                uint64_t flawed = (sound & ~0x0000fffffffff000ull) | target;

                poke(p, location, flawed);
                expect_shared(p, location, flawed);
                poke(p, location, sound);
            }
        }
        close_table(p);
    }
}

/* ---- Contiguous groups ---- */

static void expect_only(struct pgt *p, enum piommu_pgtable_problem_kind kind)
{
    struct piommu_pgtable_report report;
    static struct findings findings;

    look(p, &findings, &report);
    assert_true(findings.count >= 1);
    for (size_t i = 0; i < findings.count; i++) {
        assert_string_equal(piommu_pgtable_problem_name(findings.problems[i].kind),
                            piommu_pgtable_problem_name(kind));
    }
}

static void test_groups_that_break_the_rules_are_found(void **state)
{
    static const struct {
        uint32_t granule;
        uint64_t leaf;
        unsigned int members;
    } groups[] = {
        {4096, 4 * KIB, 16},   {4096, 2 * MIB, 16},   {16384, 16 * KIB, 128},
        {16384, 32 * MIB, 32}, {65536, 64 * KIB, 32}, {65536, 512 * MIB, 32},
    };

    (void)state;
    for (size_t g = 0; g < COUNT_OF(groups); g++) {
        struct fake_os_options options = {.scattered = true};
        struct piommu_pgtable_config config = config_of(S1_64, groups[g].granule, 44, 48);
        uint64_t leaf = groups[g].leaf;
        uint64_t whole = leaf * groups[g].members;
        int level = leaf == groups[g].granule ? 3 : 2;
        struct pgt *p;

        config.flags = PIOMMU_PGTABLE_CONTIGUOUS;
        p = open_table_with(&config, &options);
        p->has_hostile_links = true;
        map(p, 2 * whole, 4 * whole, whole, READ);
        map(p, 3 * whole, 0, 2 * leaf, READ);
        for (unsigned int i = 0; i < groups[g].members; i += groups[g].members / 4 + 1) {
            uint64_t location = locate(p, 2 * whole + i * leaf, level);
            uint64_t sound = peek(p, location);

            poke(p, location, sound & ~BIT(52)); /* a member without the mark */
            expect_only(p, PIOMMU_PGTABLE_PROBLEM_CONTIGUOUS);
            poke(p, location, sound ^ leaf); /* not consecutive */
            expect_only(p, PIOMMU_PGTABLE_PROBLEM_CONTIGUOUS);
            poke(p, location, sound & ~BIT(7)); /* other rights */
            expect_only(p, PIOMMU_PGTABLE_PROBLEM_CONTIGUOUS);
            poke(p, location, sound);
        }
        /* Aligned to the group in input, but not in output. */
        for (unsigned int i = 0; i < groups[g].members; i++) {
            uint64_t location = locate(p, 2 * whole + i * leaf, level);

            poke(p, location, peek(p, location) + leaf);
        }
        expect_only(p, PIOMMU_PGTABLE_PROBLEM_CONTIGUOUS);
        for (unsigned int i = 0; i < groups[g].members; i++) {
            uint64_t location = locate(p, 2 * whole + i * leaf, level);

            poke(p, location, peek(p, location) - leaf);
        }
        /* A mark where there is no group. */
        poke(p, locate(p, 3 * whole, level), peek(p, locate(p, 3 * whole, level)) | BIT(52));
        expect_only(p, PIOMMU_PGTABLE_PROBLEM_CONTIGUOUS);
        poke(p, locate(p, 3 * whole, level), peek(p, locate(p, 3 * whole, level)) & ~BIT(52));
        verify(p);
        close_table(p);
    }
}

/* ---- What the library itself keeps ---- */

static bool is_about_counts(const struct findings *findings)
{
    for (size_t i = 0; i < findings->count; i++) {
        if (findings->problems[i].kind != PIOMMU_PGTABLE_PROBLEM_COUNT &&
            findings->problems[i].kind != PIOMMU_PGTABLE_PROBLEM_EMPTY_LIST) {
            return false;
        }
    }
    return findings->count != 0;
}

static void test_wrong_counts_are_found(void **state)
{
    struct pgt *p = open_sound(&stage1);
    uint64_t page = locate(p, PAGE_AT(4096), 3);
    uint64_t sound = peek(p, page);
    struct piommu_pgtable_report report;
    static struct findings findings;

    (void)state;
    /* A leaf that the library knows of is gone. */
    poke(p, page, 0);
    look(p, &findings, &report);
    assert_int_equal(findings.count, 1);
    assert_int_equal(findings.problems[0].kind, PIOMMU_PGTABLE_PROBLEM_COUNT);
    poke(p, page, sound);
    /* And one has come from somewhere. */
    poke(p, page + 8 * 100, sound);
    look(p, &findings, &report);
    assert_int_equal(findings.count, 1);
    assert_int_equal(findings.problems[0].kind, PIOMMU_PGTABLE_PROBLEM_COUNT);
    poke(p, page + 8 * 100, 0);
    /* All leaves of a table are gone. */
    for (unsigned int i = 0; i < 3; i++) {
        poke(p, page + 8 * i, 0);
    }
    look(p, &findings, &report);
    assert_true(is_about_counts(&findings));
    for (unsigned int i = 0; i < 3; i++) {
        poke(p, page + 8 * i, sound + i * 4096);
    }
    verify(p);
    close_table(p);
}

static void test_an_empty_table_that_is_forgotten_is_found(void **state)
{
    struct fake_os_options options = {.scattered = true};
    struct piommu_pgtable_config config = stage1_config(48);
    struct piommu_pgtable_report report;
    static struct findings findings;
    uint64_t table;
    uint64_t content[512];
    struct pgt *p;

    (void)state;
    config.empty_tables_kept = 4;
    p = open_table_with(&config, &options);
    p->has_hostile_links = true;
    map(p, 0, 0, 4096, READ);
    map(p, 2 * MIB, 0, 4096, READ);
    map(p, 4 * MIB, 0, 4096, READ);
    unmap_and_sync(p, 0, 4096, 4096);
    unmap_and_sync(p, 2 * MIB, 4096, 4096);
    assert_int_equal(look(p, &findings, &report), 0);
    assert_int_equal(report.empty, 2);
    assert_int_equal(report.tables, 5);
    assert_int_equal(report.leaves, 1);
    assert_int_equal(report.mapped, 4096);

    /* Wherever the library notes that a table is empty: a leaf in it contradicts. */
    table = locate(p, 2 * MIB, 3);
    for (unsigned int i = 0; i < 512; i++) {
        content[i] = peek(p, table + 8 * i);
    }
    poke(p, table + 8 * 200, peek(p, locate(p, 4 * MIB, 3)));
    look(p, &findings, &report);
    assert_true(is_about_counts(&findings));
    poke(p, table + 8 * 200, content[200]);
    assert_int_equal(look(p, &findings, &report), 0);
    verify(p);
    close_table(p);
}

/* ---- The call itself ---- */

static void test_verify_may_be_called_without_a_listener(void **state)
{
    struct pgt *p = open_sound(&stage1);
    uint64_t location = locate(p, PAGE_AT(4096), 3);
    struct piommu_pgtable_report report;

    (void)state;
    assert_int_equal(piommu_pgtable_verify(p->table, NULL, NULL, NULL), 0);
    poke(p, location, peek(p, location) ^ BIT(10));
    assert_int_equal(piommu_pgtable_verify(p->table, NULL, NULL, NULL), -PIOMMU_EBADMSG);
    assert_int_equal(piommu_pgtable_verify(p->table, NULL, NULL, &report), -PIOMMU_EBADMSG);
    assert_int_equal(report.problems, 1);
    poke(p, location, peek(p, location) ^ BIT(10));
    assert_int_equal(piommu_pgtable_verify(p->table, NULL, NULL, &report), 0);
    assert_int_equal(report.problems, 0);
    assert_int_equal(report.tables, p->linked_count);
    assert_int_equal(report.mapped, 2 * MIB + 5 * 4096);
    assert_int_equal(report.leaves, 6);
    close_table(p);
}

static void test_verify_fails_cleanly_without_memory(void **state)
{
    struct pgt *p = open_sound(&stage1);

    (void)state;
    /* Enough tables that the list of those seen has to grow. */
    for (unsigned int i = 0; i < 200; i++) {
        map_quickly(p, GIB + i * 2 * MIB, 0, 4096, READ);
    }
    for (unsigned int nth = 1;; nth++) {
        uint64_t bytes = fake_os_bytes_outstanding(p->os);
        int result;

        fake_os_fail_call(p->os, nth, true);
        result = piommu_pgtable_verify(p->table, NULL, NULL, NULL);
        fake_os_fail_call(p->os, 0, false);
        assert_int_equal(fake_os_bytes_outstanding(p->os), bytes);
        if (result == 0) {
            assert_true(nth > 1);
            break;
        }
        assert_int_equal(result, -PIOMMU_ENOMEM);
    }
    close_table(p);
}

static void test_each_kind_of_problem_has_its_own_name(void **state)
{
    (void)state;
    for (unsigned int i = 0; i <= PIOMMU_PGTABLE_PROBLEM_EMPTY_LIST; i++) {
        const char *name = piommu_pgtable_problem_name((enum piommu_pgtable_problem_kind)i);

        assert_non_null(name);
        assert_true(strlen(name) > 3);
        for (unsigned int j = 0; j < i; j++) {
            assert_string_not_equal(
                name, piommu_pgtable_problem_name((enum piommu_pgtable_problem_kind)j));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_flaw_is_found_where_it_is_and_nothing_else),
        cmocka_unit_test(test_what_is_legal_is_no_problem),
        cmocka_unit_test(test_a_block_of_a_size_not_in_use_is_found),
        cmocka_unit_test(test_a_table_with_two_links_is_found_at_the_second),
        cmocka_unit_test(test_links_upwards_and_to_itself_end),
        cmocka_unit_test(test_groups_that_break_the_rules_are_found),
        cmocka_unit_test(test_wrong_counts_are_found),
        cmocka_unit_test(test_an_empty_table_that_is_forgotten_is_found),
        cmocka_unit_test(test_verify_may_be_called_without_a_listener),
        cmocka_unit_test(test_verify_fails_cleanly_without_memory),
        cmocka_unit_test(test_each_kind_of_problem_has_its_own_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
