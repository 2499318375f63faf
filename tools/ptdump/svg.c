/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * A dump as a picture: the input addresses downwards from the lowest, a box
 * for each mapping, and a gap for each range without one. Heights grow with the logarithm of sizes,
 * since address spaces are sparse. Where there are too many mappings, those with the smallest gaps
 * between them share a box.
 */

#include "ptdump.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>

#define MAX_BOXES   64u
#define WIDTH       960u
#define BOX_LEFT    190u
#define BOX_WIDTH   240u
#define TEXT_LEFT   (BOX_LEFT + BOX_WIDTH + 16u)
#define HEAD_HEIGHT 64u
#define GAP_HEIGHT  26u
#define MIN_HEIGHT  36u
#define BIT_HEIGHT  2u /* for each time that a box has twice the size of a granule */

/* A run of leaves that may go on from table to table. */
struct mapping {
    struct piommu_range input;
    struct piommu_pgtable_step leaf; /* the first */
    bool begins_box;                 /* the gap before it is one of the largest */
};

struct picture {
    FILE *out; /* NULL: only the height is asked for */
    struct mapping *mappings;
    size_t count;
    size_t capacity;
    unsigned int y;
};

static void put(const struct picture *picture, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void put(const struct picture *picture, const char *format, ...)
{
    va_list arguments;

    if (picture->out != NULL) {
        va_start(arguments, format);
        vfprintf(picture->out, format, arguments);
        va_end(arguments);
    }
}

/* ---- What there is ---- */

static bool goes_on(const struct mapping *mapping, const struct run *run)
{
    return mapping->input.last + 1 == run->input.first &&
           mapping->leaf.physical + (run->input.first - mapping->input.first) ==
               run->step.physical &&
           mapping->leaf.prot == run->step.prot;
}

static void collect(void *ctx, unsigned int depth, const struct run *run)
{
    struct picture *picture = ctx;

    (void)depth;
    if (picture->count != 0 && goes_on(&picture->mappings[picture->count - 1], run)) {
        picture->mappings[picture->count - 1].input.last = run->input.last;
        return;
    }
    if (picture->count == picture->capacity) {
        picture->capacity = picture->capacity == 0 ? 64 : 2 * picture->capacity;
        picture->mappings =
            must_realloc(picture->mappings, picture->capacity, sizeof(*picture->mappings));
    }
    picture->mappings[picture->count++] =
        (struct mapping){.input = run->input, .leaf = run->step, .begins_box = true};
}

/* ---- Boxes ---- */

/* The addresses between a mapping and the one before it. */
static uint64_t gap_before(const struct mapping *mapping)
{
    return mapping->input.first - mapping[-1].input.last - 1;
}

/* Larger gaps first; of equal ones, that at the lower address. */
static int compare_gaps(const void *left, const void *right)
{
    const struct mapping *const *a = left;
    const struct mapping *const *b = right;
    uint64_t gap_a = gap_before(*a);
    uint64_t gap_b = gap_before(*b);

    if (gap_a != gap_b) {
        return gap_a > gap_b ? -1 : 1;
    }
    return *a < *b ? -1 : 1;
}

/* Leaves as many boxes as there can be: those behind the largest gaps. */
static void join_boxes(struct picture *picture)
{
    struct mapping **sorted;

    if (picture->count <= MAX_BOXES) {
        return;
    }
    sorted = must_realloc(NULL, picture->count - 1, sizeof(struct mapping *));
    for (size_t i = 1; i < picture->count; i++) {
        sorted[i - 1] = &picture->mappings[i];
    }
    qsort(sorted, picture->count - 1, sizeof(struct mapping *), compare_gaps);
    for (size_t i = MAX_BOXES - 1; i < picture->count - 1; i++) {
        sorted[i]->begins_box = false;
    }
    free(sorted);
}

static const char *colour(const struct mapping *mappings, size_t count)
{
    piommu_prot prot = mappings[0].leaf.prot;

    for (size_t i = 1; i < count; i++) {
        if (mappings[i].leaf.prot != prot) {
            return "#b9bec4";
        }
    }
    if ((prot & PIOMMU_PROT_EXECUTE_ALL) != 0) {
        return "#f0a860";
    }
    if ((prot & PIOMMU_PROT_DEVICE) != 0) {
        return "#c7a0dc";
    }
    if ((prot & PIOMMU_PROT_WRITE) != 0) {
        return (prot & PIOMMU_PROT_READ) != 0 ? "#7fb2e5" : "#e58f9b";
    }
    return "#97d09a";
}

static unsigned int box_height(const struct mapping *mappings, size_t count, uint32_t granule)
{
    uint64_t size = mappings[count - 1].input.last - mappings[0].input.first;
    unsigned int height = MIN_HEIGHT;

    for (; size >= granule; size /= 2) {
        height += BIT_HEIGHT;
    }
    return height;
}

static void put_address(const struct picture *picture, unsigned int y, uint64_t address)
{
    put(picture, "<text x=\"%u\" y=\"%u\" text-anchor=\"end\">0x%" PRIx64 "</text>\n",
        BOX_LEFT - 10, y, address);
}

/* What one mapping does. */
static void put_mapping(const struct picture *picture, const struct mapping *mapping)
{
    uint64_t size = mapping->input.last - mapping->input.first + 1;
    char words[WORDS_SIZE];

    put(picture, "<text x=\"%u\" y=\"%u\">0x%" PRIx64 "..0x%" PRIx64 "</text>\n", TEXT_LEFT,
        picture->y + 14, mapping->leaf.physical, mapping->leaf.physical + (size - 1));
    put(picture, "<text x=\"%u\" y=\"%u\">%s", TEXT_LEFT, picture->y + 29, size_words(words, size));
    put(picture, ", %s</text>\n", leaf_words(words, &mapping->leaf));
}

/* What several in one box do together. */
static void put_mappings(const struct picture *picture, const struct mapping *mappings,
                         size_t count)
{
    uint64_t bytes = 0;
    char words[WORDS_SIZE];

    for (size_t i = 0; i < count; i++) {
        bytes += mappings[i].input.last - mappings[i].input.first + 1;
    }
    put(picture, "<text x=\"%u\" y=\"%u\">%zu mappings, %s</text>\n", TEXT_LEFT, picture->y + 14,
        count, size_words(words, bytes));
}

static void put_box(struct picture *picture, const struct mapping *mappings, size_t count,
                    uint32_t granule)
{
    unsigned int height = box_height(mappings, count, granule);

    put(picture,
        "<rect x=\"%u\" y=\"%u\" width=\"%u\" height=\"%u\" fill=\"%s\" "
        "stroke=\"#444444\"/>\n",
        BOX_LEFT, picture->y, BOX_WIDTH, height, colour(mappings, count));
    put_address(picture, picture->y + 12, mappings[0].input.first);
    put_address(picture, picture->y + height - 4, mappings[count - 1].input.last);
    if (count == 1) {
        put_mapping(picture, mappings);
    } else {
        put_mappings(picture, mappings, count);
    }
    picture->y += height;
}

/* A range that nothing is mapped in. */
static void put_gap(struct picture *picture, uint64_t size)
{
    char words[WORDS_SIZE];

    if (size == 0) {
        return;
    }
    put(picture,
        "<rect x=\"%u\" y=\"%u\" width=\"%u\" height=\"%u\" fill=\"none\" "
        "stroke=\"#aaaaaa\" stroke-dasharray=\"4 4\"/>\n",
        BOX_LEFT, picture->y, BOX_WIDTH, GAP_HEIGHT);
    put(picture, "<text x=\"%u\" y=\"%u\" fill=\"#777777\">nothing, %s</text>\n", BOX_LEFT + 10,
        picture->y + 17, size_words(words, size));
    picture->y += GAP_HEIGHT;
}

static void put_boxes(struct picture *picture, const struct piommu_range *space, uint32_t granule)
{
    size_t begin = 0;

    if (picture->count == 0) {
        put_gap(picture, space->last - space->first + 1);
        return;
    }
    if (picture->mappings[0].input.first > space->first) {
        put_gap(picture, picture->mappings[0].input.first - space->first);
    }
    for (size_t i = 1; i <= picture->count; i++) {
        if (i < picture->count && !picture->mappings[i].begins_box) {
            continue;
        }
        put_box(picture, &picture->mappings[begin], i - begin, granule);
        if (i < picture->count) {
            put_gap(picture, gap_before(&picture->mappings[i]));
        }
        begin = i;
    }
    if (picture->mappings[picture->count - 1].input.last < space->last) {
        put_gap(picture, space->last - picture->mappings[picture->count - 1].input.last);
    }
}

static void put_half(struct picture *picture, struct dump *dump, unsigned int number)
{
    static const struct visitor visitor = {.leaves = collect};
    const struct half *half = &dump->halves[number];
    const struct piommu_pgtable_info *info = &half->info;
    struct piommu_range space = info->aperture;
    char words[WORDS_SIZE];

    space.first = dump->only.first > space.first ? dump->only.first : space.first;
    space.last = dump->only.last < space.last ? dump->only.last : space.last;
    picture->count = 0;
    dump_visit(dump, number, &visitor, picture);
    join_boxes(picture);
    put(picture,
        "<text x=\"10\" y=\"%u\" font-size=\"15\">%s, granule %s, %u bits in, root "
        "0x%" PRIx64 "</text>\n",
        picture->y + 24, format_words(info->format), size_words(words, info->granule),
        info->input_bits, info->root_physical);
    put(picture, "<text x=\"10\" y=\"%u\">%zu mappings, %" PRIu64 " problems</text>\n",
        picture->y + 44, picture->count, half->problem_count);
    picture->y += HEAD_HEIGHT;
    if (space.first <= space.last) {
        put_boxes(picture, &space, info->granule);
    }
}

static unsigned int draw(struct dump *dump, FILE *out)
{
    struct picture picture = {.out = out};

    for (unsigned int i = 0; i < HALVES; i++) {
        if (dump->halves[i].table != NULL) {
            put_half(&picture, dump, i);
        }
    }
    free(picture.mappings);
    return picture.y;
}

void print_svg(struct dump *dump, FILE *out)
{
    unsigned int height = draw(dump, NULL) + 20;

    fprintf(out,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%u\" height=\"%u\" "
            "viewBox=\"0 0 %u %u\" font-family=\"monospace\" font-size=\"12\">\n"
            "<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n",
            WIDTH, height, WIDTH, height);
    draw(dump, out);
    fprintf(out, "</svg>\n");
}
