/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* Looking into tables: walks, mappings, the dump. The walker says what must come out. */

#include "pgtable_fixture.h"

#include <ctype.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct kind kinds[] = {
    {S1_64, 4096, 48, 48, PIOMMU_PGTABLE_CONTIGUOUS, 0},
    {S1_64, 4096, 40, 48, PIOMMU_PGTABLE_TTBR1 | PIOMMU_PGTABLE_NON_SECURE, 0},
    {S1_64, 4096, 52, 52, 0, 0},
    {S2_64, 4096, 40, 40, PIOMMU_PGTABLE_CONTIGUOUS, 0},
    {S2_64, 4096, 43, 48, PIOMMU_PGTABLE_CONCATENATE | PIOMMU_PGTABLE_XNX, 0},
    {S1_64, 16384, 48, 52, PIOMMU_PGTABLE_CONTIGUOUS, 0},
    {S2_64, 16384, 40, 40, PIOMMU_PGTABLE_FORCE_WRITE_BACK, 0},
    {S1_64, 65536, 52, 52, PIOMMU_PGTABLE_TTBR1, 0},
    {S2_64, 65536, 46, 48, PIOMMU_PGTABLE_CONCATENATE | PIOMMU_PGTABLE_CONTIGUOUS, 0},
    {S1_32, 4096, 32, 40, 0, 0},
    {S1_32, 4096, 31, 40, PIOMMU_PGTABLE_TTBR1, 0},
    {S2_32, 4096, 40, 40, 0, 0},
    {S1_64, 4096, 48, 48, PIOMMU_PGTABLE_DISJOINT | PIOMMU_PGTABLE_CONTIGUOUS, 0},
};

/* A table with leaves of all levels, a group if there are any, and different prots. */
static struct pgt *open_filled(const struct kind *kind)
{
    struct piommu_pgtable_config config = config_of_kind(kind);
    uint64_t sizes;
    uint64_t base;
    struct pgt *p;

    p = open_table(&config);
    p->has_tlb = false;
    base = base_of(p);
    sizes = p->info.leaf_sizes | p->info.contiguous_sizes;
    map_quickly(p, base, 5 * p->info.granule, p->info.granule, READ);
    for (unsigned int bit = 12; bit < kind->input - 3u; bit++) {
        uint64_t size = 1ull << bit;

        if ((sizes & size) != 0 && 3 * size <= 1ull << kind->output) {
            map_quickly(p, base + 2 * size, size, size,
                        READ | (bit % 2 == 0 ? WRITE : PIOMMU_PROT_DEVICE) |
                            PIOMMU_PROT_SOFTWARE(bit % 8));
        }
    }
    map_quickly(p, p->info.aperture.last - p->info.granule + 1, 0, p->info.granule, READ);
    verify(p);
    return p;
}

/* ---- Walks ---- */

static void compare_leaf_step(struct pgt *p, uint64_t iova, const struct piommu_pgtable_step *step,
                              const struct piommu_walker_result *result)
{
    struct piommu_translation translation;

    assert_int_equal(step->kind, PIOMMU_PGTABLE_STEP_LEAF);
    assert_int_equal(step->physical, result->output - (iova - step->covers.first));
    assert_int_equal(step->contiguous, result->attributes.contiguous);
    assert_int_equal(step->accessed, result->attributes.access_flag);
    assert_false(step->tracked);
    assert_false(step->dirty);
    assert_int_equal(piommu_pgtable_lookup(p->table, iova, &translation), 0);
    assert_int_equal(step->prot, translation.prot);
    assert_true(attributes_mean(p, &result->attributes, step->prot));
}

static void compare_walks(struct pgt *p, uint64_t iova)
{
    struct piommu_pgtable_walk walk;
    struct piommu_walker_result result;
    bool is_mapped = hardware_translates(p, iova, &result);

    memset(&walk, 0x5a, sizeof(walk));
    assert_int_equal(piommu_pgtable_walk(p->table, iova, &walk), is_mapped ? 0 : -PIOMMU_ENOENT);
    assert_int_equal(walk.count, result.step_count);
    for (unsigned int i = 0; i < walk.count; i++) {
        const struct piommu_pgtable_step *step = &walk.steps[i];
        const struct piommu_walker_step *seen = &result.steps[i];
        uint64_t size = 1ull << piommu_walker_level_shift(&p->regime, seen->level);
        uint64_t table = i == 0 ? p->regime.root : result.steps[i - 1].next_table;

        assert_int_equal(step->level, seen->level);
        assert_int_equal(step->table_physical, table);
        assert_int_equal(step->table_physical + 8ull * step->index, seen->location);
        assert_int_equal(step->descriptor, seen->descriptor);
        assert_int_equal(step->covers.first, iova & ~(size - 1));
        assert_int_equal(step->covers.last, iova | (size - 1));
        if (i + 1 < walk.count) {
            assert_int_equal(step->kind, PIOMMU_PGTABLE_STEP_TABLE);
            assert_int_equal(step->physical, seen->next_table);
        } else if (is_mapped) {
            compare_leaf_step(p, iova, step, &result);
        } else {
            assert_int_equal(step->kind, PIOMMU_PGTABLE_STEP_INVALID);
        }
    }
}

static void test_a_walk_sees_what_hardware_reads(void **state)
{
    (void)state;
    for (size_t k = 0; k < COUNT_OF(kinds); k++) {
        struct pgt *p = open_filled(&kinds[k]);
        struct piommu_pgtable_walk walk;

        for (unsigned int bit = 0; bit < kinds[k].input; bit++) {
            const int64_t offsets[] = {0, 1, -1, 4096, -4096, 65536};

            for (size_t i = 0; i < COUNT_OF(offsets); i++) {
                uint64_t offset = (1ull << bit) + (uint64_t)offsets[i];

                compare_walks(p, base_of(p) + (offset & ((1ull << kinds[k].input) - 1)));
            }
        }
        compare_walks(p, base_of(p));
        compare_walks(p, p->info.aperture.last);
        if (base_of(p) != 0) {
            assert_int_equal(piommu_pgtable_walk(p->table, base_of(p) - 1, &walk), -PIOMMU_ERANGE);
            assert_int_equal(piommu_pgtable_walk(p->table, 0, &walk), -PIOMMU_ERANGE);
        }
        if (p->info.aperture.last != UINT64_MAX) {
            assert_int_equal(piommu_pgtable_walk(p->table, p->info.aperture.last + 1, &walk),
                             -PIOMMU_ERANGE);
            assert_int_equal(piommu_pgtable_walk(p->table, UINT64_MAX, &walk), -PIOMMU_ERANGE);
        }
        close_table(p);
    }
}

static void test_a_walk_tells_a_reserved_descriptor_from_a_hole(void **state)
{
    struct piommu_pgtable_config config = stage1_config(48);
    struct pgt *p = open_table(&config);
    struct piommu_pgtable_walk walk;
    struct piommu_translation translation;
    uint64_t page;
    uint64_t large;

    (void)state;
    map(p, 0x3000, 0x7000, 4096, READ);
    page = locate(p, 0x3000, 3);
    large = locate(p, 0x3000, 0) + 8 * 3;
    /* Type 01 in a table of pages, and at level 0, where there are no blocks. */
    poke(p, page, peek(p, page) & ~2ull);
    assert_int_equal(piommu_pgtable_walk(p->table, 0x3000, &walk), -PIOMMU_ENOENT);
    assert_int_equal(walk.count, 4);
    assert_int_equal(walk.steps[3].kind, PIOMMU_PGTABLE_STEP_RESERVED);
    assert_int_equal(walk.steps[3].index, 3);
    assert_int_equal(piommu_pgtable_lookup(p->table, 0x3000, &translation), -PIOMMU_ENOENT);
    assert_int_equal(piommu_pgtable_translate(p->table, 0x3000), PIOMMU_PGTABLE_NO_ADDRESS);
    poke(p, page, peek(p, page) | 2);
    poke(p, large, 0x741);
    assert_int_equal(piommu_pgtable_walk(p->table, 3 * 512 * GIB, &walk), -PIOMMU_ENOENT);
    assert_int_equal(walk.count, 1);
    assert_int_equal(walk.steps[0].kind, PIOMMU_PGTABLE_STEP_RESERVED);
    assert_int_equal(walk.steps[0].index, 3);
    assert_int_equal(piommu_pgtable_lookup(p->table, 3 * 512 * GIB, &translation), -PIOMMU_ENOENT);
    assert_int_equal(piommu_pgtable_translate(p->table, 3 * 512 * GIB), PIOMMU_PGTABLE_NO_ADDRESS);
    /* What an invalid descriptor holds otherwise does not matter. */
    poke(p, large, 0xfffffffffffffffeull);
    assert_int_equal(piommu_pgtable_walk(p->table, 3 * 512 * GIB, &walk), -PIOMMU_ENOENT);
    assert_int_equal(walk.steps[0].kind, PIOMMU_PGTABLE_STEP_INVALID);
    poke(p, large, 0);
    verify(p);
    close_table(p);
}

/* ---- Holes ---- */

/* A hole is as large as what lookup says, has no leaf in it, and is seen in one table. */
static void check_hole(struct pgt *p, uint64_t iova)
{
    struct piommu_translation translation = {1, 2, 3};
    struct piommu_walker_result result;
    uint64_t size;
    uint64_t found;
    int status = piommu_pgtable_lookup(p->table, iova, &translation);

    if (hardware_translates(p, iova, &result)) {
        assert_int_equal(status, 0);
        assert_int_equal(piommu_pgtable_translate(p->table, iova), result.output);
        return;
    }
    assert_int_equal(status, -PIOMMU_ENOENT);
    assert_int_equal(piommu_pgtable_translate(p->table, iova), PIOMMU_PGTABLE_NO_ADDRESS);
    size = translation.leaf_size;
    assert_true(size >= 1ull << piommu_walker_level_shift(&p->regime, result.level));
    assert_int_equal(size & (size - 1), 0);
    assert_true(size <= 1ull << p->info.input_bits);
    assert_int_equal(translation.physical, 1);
    assert_int_equal(translation.prot, 3);
    assert_int_equal(piommu_pgtable_next_leaf(p->table, iova & ~(size - 1), iova | (size - 1),
                                              &found, &translation),
                     -PIOMMU_ENOENT);
}

static void test_lookup_tells_the_size_of_a_hole(void **state)
{
    (void)state;
    for (size_t k = 0; k < COUNT_OF(kinds); k++) {
        struct pgt *p = open_filled(&kinds[k]);

        for (unsigned int bit = 0; bit < kinds[k].input; bit++) {
            for (unsigned int other = 0; other < kinds[k].input; other += 5) {
                check_hole(p, base_of(p) + (1ull << bit | 1ull << other));
                check_hole(p, base_of(p) + ((1ull << bit) - 1));
            }
        }
        check_hole(p, p->info.aperture.last - p->info.granule);
        close_table(p);
    }
}

/* ---- Mappings ---- */

#define MOST_MAPPINGS 600

struct mappings {
    struct pgt *p;
    struct piommu_pgtable_mapping list[MOST_MAPPINGS];
    size_t count;
    size_t wanted; /* how many to take; 0: all */
};

static bool take_mapping(void *cookie, const struct piommu_pgtable_mapping *mapping)
{
    struct mappings *mappings = cookie;

    assert_true(mappings->count < MOST_MAPPINGS);
    mappings->list[mappings->count++] = *mapping;
    return mappings->count != mappings->wanted;
}

/* The same from the walker's leaves. */
struct merger {
    struct mappings *mappings;
    uint64_t first;
    uint64_t last;
};

static bool merge_leaf(void *ctx, const struct piommu_walker_leaf *leaf)
{
    struct merger *merger = ctx;
    struct mappings *mappings = merger->mappings;
    uint64_t leaf_last = leaf->input + ((1ull << leaf->shift) - 1);
    uint64_t first = leaf->input > merger->first ? leaf->input : merger->first;
    uint64_t last = leaf_last < merger->last ? leaf_last : merger->last;
    uint64_t physical = leaf->output + (first - leaf->input);
    struct piommu_pgtable_mapping *before =
        &mappings->list[mappings->count == 0 ? 0 : mappings->count - 1];
    struct piommu_translation translation;

    if (first > last) {
        return true;
    }
    assert_int_equal(piommu_pgtable_lookup(mappings->p->table, first, &translation), 0);
    if (mappings->count != 0 && before->range.last + 1 == first &&
        before->physical + (first - before->range.first) == physical &&
        before->prot == translation.prot) {
        before->range.last = last;
        return true;
    }
    assert_true(mappings->count < MOST_MAPPINGS);
    mappings->list[mappings->count++] =
        (struct piommu_pgtable_mapping){{first, last}, physical, translation.prot};
    return true;
}

static void compare_mappings(struct pgt *p, uint64_t first, uint64_t last)
{
    static struct mappings seen;
    static struct mappings expected;
    struct merger merger = {.mappings = &expected, .first = first, .last = last};

    seen.count = 0;
    seen.wanted = 0;
    expected.count = 0;
    expected.p = p;
    assert_true(piommu_walker_for_each_leaf(&p->regime, &p->memory, merge_leaf, &merger));
    assert_int_equal(piommu_pgtable_for_each_mapping(p->table, first, last, take_mapping, &seen),
                     0);
    assert_int_equal(seen.count, expected.count);
    for (size_t i = 0; i < seen.count; i++) {
        assert_int_equal(seen.list[i].range.first, expected.list[i].range.first);
        assert_int_equal(seen.list[i].range.last, expected.list[i].range.last);
        assert_int_equal(seen.list[i].physical, expected.list[i].physical);
        assert_int_equal(seen.list[i].prot, expected.list[i].prot);
    }
}

static void test_mappings_are_merged_and_clipped(void **state)
{
    (void)state;
    for (size_t k = 0; k < COUNT_OF(kinds); k++) {
        struct pgt *p = open_filled(&kinds[k]);
        uint64_t base = base_of(p);
        uint64_t last = p->info.aperture.last;

        compare_mappings(p, 0, UINT64_MAX);
        compare_mappings(p, base, last);
        compare_mappings(p, last, last);
        compare_mappings(p, base, base);
        for (unsigned int bit = 12; bit < kinds[k].input; bit++) {
            uint64_t at = base + (1ull << bit);

            compare_mappings(p, at, last);
            compare_mappings(p, at + 17, at + (1ull << bit) / 2 + 3);
            compare_mappings(p, base + 5, at - 7);
            compare_mappings(p, at + (1ull << bit) / 3, at + (1ull << bit) / 3);
        }
        close_table(p);
    }
}

static void test_mappings_go_on_over_leaves_of_all_sizes(void **state)
{
    struct piommu_pgtable_config config = stage1_config(48);
    struct mappings *seen = calloc(1, sizeof(*seen));
    struct pgt *p;

    (void)state;
    config.flags = PIOMMU_PGTABLE_CONTIGUOUS;
    p = open_table(&config);
    p->has_tlb = false;
    /* Pages, a group, blocks, a large block, and pages again: one mapping. */
    map(p, GIB - 2 * MIB - 0x11000, 5 * GIB - 2 * MIB - 0x11000, GIB + 4 * MIB + 0x22000,
        READ_WRITE);
    assert_int_equal(piommu_pgtable_for_each_mapping(p->table, 0, UINT64_MAX, take_mapping, seen),
                     0);
    assert_int_equal(seen->count, 1);
    assert_int_equal(seen->list[0].range.first, GIB - 2 * MIB - 0x11000);
    assert_int_equal(seen->list[0].range.last, 2 * GIB + 2 * MIB + 0x11000 - 1);
    assert_int_equal(seen->list[0].physical, 5 * GIB - 2 * MIB - 0x11000);
    assert_int_equal(seen->list[0].prot, READ_WRITE);

    /* A hole, another output, other rights, another kind, another number: each ends a mapping. */
    unmap_all(p);
    map(p, 0x1000, 0x1000, 4096, READ);
    map(p, 0x2000, 0x4000, 4096, READ);
    map(p, 0x3000, 0x5000, 4096, READ_WRITE);
    map(p, 0x4000, 0x6000, 4096, READ_WRITE | PIOMMU_PROT_DEVICE);
    map(p, 0x5000, 0x7000, 4096, READ_WRITE | PIOMMU_PROT_DEVICE | PIOMMU_PROT_SOFTWARE(1));
    map(p, 0x7000, 0x9000, 4096, READ_WRITE | PIOMMU_PROT_DEVICE | PIOMMU_PROT_SOFTWARE(1));
    map(p, 0x8000, 0xa000, 4096, READ_WRITE | PIOMMU_PROT_DEVICE | PIOMMU_PROT_SOFTWARE(1));
    seen->count = 0;
    assert_int_equal(piommu_pgtable_for_each_mapping(p->table, 0, UINT64_MAX, take_mapping, seen),
                     0);
    assert_int_equal(seen->count, 6);
    assert_int_equal(seen->list[5].range.first, 0x7000);
    assert_int_equal(seen->list[5].range.last, 0x8fff);
    free(seen);
    close_table(p);
}

static void test_a_visitor_may_end_the_visits(void **state)
{
    struct piommu_pgtable_config config = stage1_config(48);
    struct mappings *seen = calloc(1, sizeof(*seen));
    struct pgt *p = open_table(&config);

    (void)state;
    for (unsigned int i = 0; i < 9; i++) {
        map(p, i * 8192, 0, 4096, READ);
    }
    for (size_t wanted = 1; wanted <= 9; wanted++) {
        seen->count = 0;
        seen->wanted = wanted;
        assert_int_equal(
            piommu_pgtable_for_each_mapping(p->table, 0, UINT64_MAX, take_mapping, seen), 0);
        assert_int_equal(seen->count, wanted);
    }
    seen->count = 0;
    assert_int_equal(piommu_pgtable_for_each_mapping(p->table, 1, 0, take_mapping, seen),
                     -PIOMMU_EINVAL);
    assert_int_equal(piommu_pgtable_for_each_mapping(p->table, UINT64_MAX, 0, take_mapping, seen),
                     -PIOMMU_EINVAL);
    assert_int_equal(
        piommu_pgtable_for_each_mapping(p->table, 1ull << 48, UINT64_MAX, take_mapping, seen), 0);
    assert_int_equal(seen->count, 0);
    free(seen);
    close_table(p);
}

/* ---- The dump ---- */

#define MOST_LINES 400

struct text {
    char lines[MOST_LINES][161];
    size_t count;
};

static void take_line(void *cookie, const char *line)
{
    struct text *text = cookie;

    assert_true(strlen(line) <= 159);
    assert_true(strlen(line) > 0);
    for (const char *c = line; *c != '\0'; c++) {
        assert_true(isprint((unsigned char)*c));
    }
    assert_true(text->count < MOST_LINES);
    for (size_t i = 0; i <= strlen(line); i++) {
        text->lines[text->count][i] = (char)tolower((unsigned char)line[i]);
    }
    text->count++;
}

/* How many lines name the number, in hexadecimal. */
static size_t lines_with(const struct text *text, uint64_t number)
{
    char digits[20];
    size_t count = 0;

    snprintf(digits, sizeof(digits), "%llx", (unsigned long long)number);
    for (size_t i = 0; i < text->count; i++) {
        const char *found = strstr(text->lines[i], digits);
        bool is_named = false;

        for (; found != NULL; found = strstr(found + 1, digits)) {
            const char *before = found;

            /* Not as a part of a longer number; leading zeros are none. */
            while (before > text->lines[i] && before[-1] == '0') {
                before--;
            }
            is_named =
                is_named || (!isxdigit((unsigned char)found[strlen(digits)]) &&
                             (before == text->lines[i] || !isxdigit((unsigned char)before[-1])));
        }
        count += is_named ? 1u : 0u;
    }
    return count;
}

static void test_a_dump_names_all_tables_and_runs_of_leaves(void **state)
{
    struct text *text = calloc(1, sizeof(*text));

    (void)state;
    for (size_t k = 0; k < COUNT_OF(kinds); k++) {
        struct pgt *p = open_filled(&kinds[k]);
        static struct mappings mappings;

        memset(text, 0, sizeof(*text));
        piommu_pgtable_dump(p->table, 0, UINT64_MAX, take_line, text);
        assert_true(text->count > p->linked_count);
        assert_true(lines_with(text, p->info.root_physical) >= 1);
        for (const struct observed_piece *piece = p->pieces; piece != NULL; piece = piece->next) {
            assert_true(lines_with(text, piece->physical) >= 1);
        }
        mappings.count = 0;
        mappings.wanted = 0;
        assert_int_equal(
            piommu_pgtable_for_each_mapping(p->table, 0, UINT64_MAX, take_mapping, &mappings), 0);
        for (size_t i = 0; i < mappings.count; i++) {
            assert_true(lines_with(text, mappings.list[i].range.first) >= 1);
            assert_true(lines_with(text, mappings.list[i].physical) >= 1);
        }
        close_table(p);
    }
    free(text);
}

static void test_a_run_of_leaves_is_one_line(void **state)
{
    struct piommu_pgtable_config config = stage1_config(48);
    struct text *one = calloc(1, sizeof(*one));
    struct text *more = calloc(1, sizeof(*more));
    struct pgt *p = open_table(&config);

    (void)state;
    map(p, 0x10000, 0x70000, 4096, READ);
    piommu_pgtable_dump(p->table, 0, UINT64_MAX, take_line, one);
    map(p, 0x11000, 0x71000, 100 * 4096, READ);
    piommu_pgtable_dump(p->table, 0, UINT64_MAX, take_line, more);
    assert_int_equal(more->count, one->count);
    /* Other attributes: another line. */
    map(p, 0x11000 + 100 * 4096, 0x71000 + 100 * 4096, 4096, READ_WRITE);
    more->count = 0;
    piommu_pgtable_dump(p->table, 0, UINT64_MAX, take_line, more);
    assert_int_equal(more->count, one->count + 1);
    free(one);
    free(more);
    close_table(p);
}

static void test_a_dump_keeps_to_its_range(void **state)
{
    struct piommu_pgtable_config config = stage1_config(48);
    struct text *text = calloc(1, sizeof(*text));
    struct pgt *p = open_table(&config);

    (void)state;
    map(p, 0x12345000, 0xabcde000, 4096, READ);
    map(p, 0x7654321000, 0x9876543000, 4096, READ);
    piommu_pgtable_dump(p->table, 0x7654321800, 0x7654321801, take_line, text);
    assert_int_equal(lines_with(text, 0xabcde000), 0);
    assert_int_equal(lines_with(text, 0x9876543000), 1);
    text->count = 0;
    piommu_pgtable_dump(p->table, 0, 0x12344fff, take_line, text);
    assert_int_equal(lines_with(text, 0xabcde000), 0);
    assert_int_equal(lines_with(text, 0x9876543000), 0);
    /* What the table is is said all the same. */
    assert_true(text->count >= 1);
    assert_true(lines_with(text, p->info.root_physical) >= 1);
    free(text);
    close_table(p);
}

static void test_a_dump_survives_a_table_full_of_nonsense(void **state)
{
    struct piommu_pgtable_config config = stage1_config(48);
    struct fake_os_options options = {.scattered = true};
    struct text *text = calloc(1, sizeof(*text));
    struct pgt *p = open_table_with(&config, &options);
    uint64_t pages;

    (void)state;
    p->has_hostile_links = true;
    p->is_watched = false;
    map_quickly(p, 0, 0, 4096, READ);
    pages = locate(p, 0, 3) & ~0xfffull;
    for (unsigned int i = 0; i < 300; i++) {
        poke(p, pages + 8 * i, 0x9e3779b97f4a7c15ull * (i + 1));
    }
    /* Links to nowhere, and back to the root. */
    poke(p, locate(p, 0, 2) + 8, 0x0000123456789003ull);
    poke(p, locate(p, 0, 2) + 16, p->info.root_physical | 3);
    piommu_pgtable_dump(p->table, 0, 4 * MIB - 1, take_line, text);
    assert_true(text->count > 3);
    for (unsigned int i = 0; i < 512; i++) {
        poke(p, pages + 8 * i, 0);
    }
    poke(p, locate(p, 0, 2) + 8, 0);
    poke(p, locate(p, 0, 2) + 16, 0);
    free(text);
    close_table(p);
}

/* ---- Side by side ---- */

struct onlooker {
    const struct piommu_pgtable *table;
    size_t wrong;
};

static bool go_on(void *cookie, const struct piommu_pgtable_mapping *mapping)
{
    (void)cookie;
    return mapping->range.first <= mapping->range.last;
}

/* No assertions: they are for the test's own thread. */
static void *look_on(void *argument)
{
    struct onlooker *onlooker = argument;

    for (unsigned int i = 0; i < 300; i++) {
        uint64_t iova = i % 8 * 4096;
        struct piommu_pgtable_info info;
        struct piommu_pgtable_walk walk;
        struct piommu_translation translation;
        uint64_t found;
        uint64_t to_map;

        piommu_pgtable_get_info(onlooker->table, &info);
        if (piommu_pgtable_lookup(onlooker->table, iova, &translation) != 0 ||
            piommu_pgtable_next_leaf(onlooker->table, iova, UINT64_MAX, &found, &translation) !=
                0 ||
            found != iova || piommu_pgtable_walk(onlooker->table, iova, &walk) != 0 ||
            piommu_pgtable_for_each_mapping(onlooker->table, 0, UINT64_MAX, go_on, NULL) != 0 ||
            piommu_pgtable_plan(onlooker->table, 0, GIB, 4096, &to_map, NULL) != 0 ||
            piommu_pgtable_verify(onlooker->table, NULL, NULL, NULL) != 0) {
            onlooker->wrong++;
        }
    }
    return NULL;
}

static void test_calls_that_only_look_run_beside_each_other(void **state)
{
    struct piommu_pgtable_config config = stage1_config(39);
    struct pgt *p = open_table(&config);
    struct onlooker onlookers[3];
    pthread_t threads[3];

    (void)state;
    map(p, 0, 0, 8 * 4096, READ);
    for (unsigned int i = 0; i < 3; i++) {
        onlookers[i] = (struct onlooker){.table = p->table};
        assert_int_equal(pthread_create(&threads[i], NULL, look_on, &onlookers[i]), 0);
    }
    for (unsigned int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(onlookers[i].wrong, 0);
    }
    close_table(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_walk_sees_what_hardware_reads),
        cmocka_unit_test(test_a_walk_tells_a_reserved_descriptor_from_a_hole),
        cmocka_unit_test(test_lookup_tells_the_size_of_a_hole),
        cmocka_unit_test(test_mappings_are_merged_and_clipped),
        cmocka_unit_test(test_mappings_go_on_over_leaves_of_all_sizes),
        cmocka_unit_test(test_a_visitor_may_end_the_visits),
        cmocka_unit_test(test_a_dump_names_all_tables_and_runs_of_leaves),
        cmocka_unit_test(test_a_run_of_leaves_is_one_line),
        cmocka_unit_test(test_a_dump_keeps_to_its_range),
        cmocka_unit_test(test_a_dump_survives_a_table_full_of_nonsense),
        cmocka_unit_test(test_calls_that_only_look_run_beside_each_other),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
