/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* piommu-ptdump on images of the library's tables, and on what chance has made of them. */

#include "pgtable_fixture.h"

#include "ptdump.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEED 0x70746475u

static const struct kind kinds[] = {
    {S1_64, 4096, 48, 48, PIOMMU_PGTABLE_CONTIGUOUS, 0},
    {S1_64, 4096, 39, 48, PIOMMU_PGTABLE_TTBR1 | PIOMMU_PGTABLE_NON_SECURE, 0},
    {S1_64, 4096, 52, 52, 0, 0},
    {S2_64, 4096, 40, 40, PIOMMU_PGTABLE_XNX, 0},
    {S2_64, 4096, 40, 48, PIOMMU_PGTABLE_CONCATENATE | PIOMMU_PGTABLE_FORCE_WRITE_BACK, 0},
    {S1_64, 16384, 36, 48, PIOMMU_PGTABLE_CONTIGUOUS, 0},
    {S2_64, 65536, 42, 48, 0, 0},
    {S1_64, 65536, 48, 52, 0, 0},
    {S1_32, 4096, 32, 40, 0, 0},
    {S2_32, 4096, 40, 40, 0, 0},
};

/* A few leaves of all sizes that the kind has, side by side and apart, with several prots. */
static struct pgt *open_filled(const struct kind *kind)
{
    struct piommu_pgtable_config config = config_of_kind(kind);
    struct pgt *p = open_table(&config);
    uint64_t granule = kind->granule;
    uint64_t sizes = p->info.leaf_sizes & ~granule;

    p->has_tlb = false;
    map_quickly(p, base_of(p) + 3 * granule, 9 * granule, 2 * granule, READ);
    map_quickly(p, base_of(p) + 5 * granule, 11 * granule, granule, READ_WRITE);
    /* Goes on in input alone. */
    map_quickly(p, base_of(p) + 6 * granule, 20 * granule, granule, READ_WRITE);
    map_quickly(p, p->info.aperture.last - 2 * granule + 1, 0, granule,
                READ_WRITE | PIOMMU_PROT_DEVICE);
    while (sizes != 0) {
        uint64_t size = sizes & (0 - sizes);

        sizes -= size;
        if (p->info.aperture.last - base_of(p) >= 8 * size) {
            map_quickly(p, base_of(p) + 5 * size, 2 * size, size, READ);
            map_quickly(p, base_of(p) + 6 * size, size, size, READ_WRITE);
        }
    }
    return p;
}

/* ---- Images ---- */

static FILE *file_of(const void *bytes, size_t size)
{
    FILE *file = tmpfile();

    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    return file;
}

/* An image in as many pieces as there are tables. */
static void make_image(const struct pgt *p, struct image *image)
{
    memset(image, 0, sizeof(*image));
    for (const struct observed_piece *piece = p->pieces; piece != NULL; piece = piece->next) {
        assert_true(
            image_add(image, file_of(piece->memory, piece->size), "table", piece->physical));
    }
}

static void make_request(const struct pgt *p, struct request *request)
{
    unsigned int half = (p->info.flags & PIOMMU_PGTABLE_TTBR1) != 0 ? 1 : 0;

    memset(request, 0, sizeof(*request));
    request->config = p->config;
    request->config.flags &= ~PIOMMU_PGTABLE_TTBR1;
    request->input_bits[half] = p->info.input_bits;
    request->has_root[half] = true;
    request->root[half] = p->info.root_physical;
    request->has_start_level = true;
    request->start_level = p->info.start_level;
    request->only.last = UINT64_MAX;
}

/* ---- What a visit meets, and what the walker finds ---- */

struct comparison {
    const struct pgt *p;
    struct piommu_walker_leaf leaves[256];
    size_t leaf_count;
    size_t leaf; /* the next one that a visit should meet */
    struct piommu_walker_link links[64];
    size_t link_count;
    size_t link;
    unsigned int depth;
};

static bool note_leaf(void *ctx, const struct piommu_walker_leaf *leaf)
{
    struct comparison *comparison = ctx;

    assert_true(comparison->leaf_count < COUNT_OF(comparison->leaves));
    comparison->leaves[comparison->leaf_count++] = *leaf;
    return true;
}

static bool note_link(void *ctx, const struct piommu_walker_link *link)
{
    struct comparison *comparison = ctx;

    assert_true(comparison->link_count < COUNT_OF(comparison->links));
    comparison->links[comparison->link_count++] = *link;
    return true;
}

static void compare_link(void *ctx, unsigned int depth, const struct piommu_pgtable_step *link)
{
    struct comparison *comparison = ctx;
    const struct piommu_walker_link *expected = &comparison->links[comparison->link++];

    assert_true(comparison->link <= comparison->link_count);
    assert_int_equal(depth, comparison->depth++);
    assert_int_equal(link->covers.first, expected->input);
    assert_int_equal(link->level, expected->level);
    assert_int_equal(link->physical, expected->next.table);
}

static void compare_end(void *ctx, unsigned int depth)
{
    struct comparison *comparison = ctx;

    assert_int_equal(depth, --comparison->depth);
}

static void compare_run(void *ctx, unsigned int depth, const struct run *run)
{
    struct comparison *comparison = ctx;
    uint64_t input = run->input.first;
    uint64_t output = run->step.physical;

    assert_int_equal(depth, comparison->depth);
    for (uint32_t i = 0; i < run->count; i++) {
        const struct piommu_walker_leaf *leaf = &comparison->leaves[comparison->leaf++];

        assert_true(comparison->leaf <= comparison->leaf_count);
        assert_int_equal(input, leaf->input);
        assert_int_equal(output, leaf->output);
        assert_int_equal(run->step.level, leaf->level);
        assert_true(attributes_mean(comparison->p, &leaf->attributes, run->step.prot));
        input += 1ull << leaf->shift;
        output += 1ull << leaf->shift;
    }
    assert_int_equal(input - 1, run->input.last);
}

static void nothing_is_odd(void *ctx, unsigned int depth, const struct piommu_pgtable_step *step,
                           uint64_t before)
{
    (void)ctx;
    (void)depth;
    (void)step;
    (void)before;
    fail();
}

static void test_a_visit_meets_what_the_walker_finds(void **state)
{
    static const struct visitor visitor = {
        .enter = compare_link, .leave = compare_end, .leaves = compare_run, .odd = nothing_is_odd};

    (void)state;
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        struct pgt *p = open_filled(&kinds[i]);
        struct comparison comparison = {.p = p};
        struct request request;
        struct image image;
        struct dump dump;

        make_image(p, &image);
        make_request(p, &request);
        assert_true(dump_open(&dump, &request, &image));
        assert_true(dump_is_sound(&dump));
        piommu_walker_for_each_leaf(&p->regime, &p->memory, note_leaf, &comparison);
        piommu_walker_for_each_link(&p->regime, &p->memory, note_link, &comparison);
        dump_visit(&dump, request.has_root[1] ? 1 : 0, &visitor, &comparison);
        assert_true(comparison.leaf_count >= 4);
        assert_int_equal(comparison.leaf, comparison.leaf_count);
        assert_int_equal(comparison.link, comparison.link_count);
        assert_int_equal(comparison.depth, 0);
        dump_close(&dump);
        image_free(&image);
        close_table(p);
    }
}

/* ---- Text ---- */

typedef void (*printer)(struct dump *dump, FILE *out);

/* All that a printer writes; to be freed. */
static char *printed(struct dump *dump, printer print, size_t *size)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, size);

    assert_non_null(out);
    print(dump, out);
    assert_int_equal(fclose(out), 0);
    return text;
}

static void test_a_range_alone_is_shown(void **state)
{
    struct pgt *p = open_filled(&kinds[8]);
    struct request request;
    struct image image;
    struct dump dump;
    char expected[400];
    size_t size;
    char *text;

    (void)state;
    make_image(p, &image);
    make_request(p, &request);
    request.only = (struct piommu_range){.first = 0x5fff, .last = 0x5fff};
    assert_true(dump_open(&dump, &request, &image));
    text = printed(&dump, print_text, &size);
    snprintf(expected, sizeof(expected),
             "32-bit LPAE stage 1, granule 4 KiB, 32 bits in, 40 bits out\n"
             "0x0..0xffffffff  level 1  root 0x%" PRIx64 ", 32 B\n"
             "  0x0..0x3fffffff  level 1 [0]  table 0x%" PRIx64 "\n"
             "    0x0..0x1fffff  level 2 [0]  table 0x%" PRIx64 "\n"
             "      0x5000..0x5fff -> 0xb000..0xbfff  level 3 [5]  rw-- cached inner\n",
             p->info.root_physical, locate(p, 0, 2) & ~(uint64_t)0xfff,
             locate(p, 0, 3) & ~(uint64_t)0xfff);
    assert_memory_equal(text, expected, strlen(expected));
    assert_string_equal(strchr(text + strlen(expected), '\n') + 1, "problems: 0\n");
    free(text);
    dump_close(&dump);
    image_free(&image);
    close_table(p);
}

/* ---- Chance ---- */

static uint32_t random_state;

static uint32_t random_number(void)
{
    random_state = random_state * 1664525u + 1013904223u;
    return random_state >> 8;
}

/* A word of a table becomes a link to another, or is changed a little. */
static void spoil(const struct image *image, const struct image_piece *piece)
{
    uint64_t words = (piece->range.last - piece->range.first + 1) / 8;
    long place = (long)(random_number() % words * 8);
    const struct image_piece *other = &image->pieces[random_number() % image->piece_count];
    uint8_t bytes[8];

    assert_int_equal(fseek(piece->file, place, SEEK_SET), 0);
    assert_int_equal(fread(bytes, 1, 8, piece->file), 8);
    if (random_number() % 2 == 0) {
        store_little_endian_word(bytes, other->range.first | 3);
    } else {
        bytes[random_number() % 8] ^= (uint8_t)(1u << random_number() % 8);
    }
    assert_int_equal(fseek(piece->file, place, SEEK_SET), 0);
    assert_int_equal(fwrite(bytes, 1, 8, piece->file), 8);
}

static void count_table(void *ctx, unsigned int depth, const struct piommu_pgtable_step *link)
{
    size_t *count = ctx;

    (void)link;
    assert_true(depth < PIOMMU_PGTABLE_MAX_LEVELS - 1);
    (*count)++;
}

static void pass_run(void *ctx, unsigned int depth, const struct run *run)
{
    (void)ctx;
    (void)depth;
    assert_true(run->count != 0);
}

/* No table is entered twice, and what is printed is no more than there is in them. */
static void expect_an_end(struct dump *dump, unsigned int half, size_t descriptors)
{
    static const printer printers[] = {print_text, print_json, print_svg};
    static const struct visitor visitor = {.enter = count_table, .leaves = pass_run};
    size_t tables = 0;

    dump_visit(dump, half, &visitor, &tables);
    assert_true(tables < dump->image->piece_count);
    for (size_t i = 0; i < COUNT_OF(printers); i++) {
        size_t size;
        char *text = printed(dump, printers[i], &size);

        assert_true(size != 0 && text[size - 1] == '\n');
        assert_true(size < 65536 + descriptors * 1024);
        free(text);
    }
}

static void test_tables_that_chance_has_spoiled_end(void **state)
{
    (void)state;
    random_state = SEED;
    print_message("seed 0x%x\n", SEED);
    for (unsigned int round = 0; round < 40 * COUNT_OF(kinds); round++) {
        struct pgt *p = open_filled(&kinds[round % COUNT_OF(kinds)]);
        struct request request;
        struct image image;
        struct dump dump;
        size_t words = 0;

        make_image(p, &image);
        for (size_t i = 0; i < image.piece_count; i++) {
            words += p->info.granule / 8;
            for (uint32_t spoiled = random_number() % 12; spoiled != 0; spoiled--) {
                spoil(&image, &image.pieces[i]);
            }
        }
        make_request(p, &request);
        assert_true(dump_open(&dump, &request, &image));
        expect_an_end(&dump, request.has_root[1] ? 1 : 0, words);
        dump_close(&dump);
        image_free(&image);
        close_table(p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_visit_meets_what_the_walker_finds),
        cmocka_unit_test(test_a_range_alone_is_shown),
        cmocka_unit_test(test_tables_that_chance_has_spoiled_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
