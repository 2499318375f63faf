/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "ptdump.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- Opening ---- */

/* The shapes of root that are tried for a start level; most formats have one alone. */
static const uint32_t root_flags[] = {0, PIOMMU_PGTABLE_CONCATENATE};

static void complain_of_format(const struct request *request, unsigned int half, int error)
{
    static const char *const names[HALVES] = {"--root", "--ttbr1"};

    complain("%s 0x%" PRIx64 ": %s", names[half], request->root[half],
             error == -PIOMMU_EOPNOTSUPP ? "there is no such format, granule and width together"
             : error == -PIOMMU_EINVAL
                 ? "not aligned to the size of the root, or beyond the output width"
                 : piommu_strerror(error));
}

/* Finds the config whose root is at the level asked for, and what it is. */
static bool describe(const struct request *request, unsigned int half, struct image *image,
                     struct piommu_pgtable_config *config, struct piommu_pgtable_info *info)
{
    struct piommu_host host = image_host(image);

    *config = request->config;
    config->input_bits = request->input_bits[half];
    if (half != 0) {
        config->flags |= PIOMMU_PGTABLE_TTBR1;
    }
    for (size_t i = 0; i < sizeof(root_flags) / sizeof(root_flags[0]); i++) {
        int error;

        config->flags = (config->flags & ~PIOMMU_PGTABLE_CONCATENATE) | root_flags[i];
        error = piommu_pgtable_describe(host, config, request->root[half], info);
        if (error == 0 &&
            (!request->has_start_level || info->start_level == request->start_level)) {
            return true;
        }
        /* What is wrong with the second shape alone says nothing about what was asked for. */
        if (error != 0 && i == 0 && !request->has_start_level) {
            complain_of_format(request, half, error);
            return false;
        }
    }
    complain("no table of this format, granule and input width at 0x%" PRIx64 " starts at level %d",
             request->root[half], request->start_level);
    return false;
}

/* A copy of the root, aligned to its size. */
static void *read_root(struct image *image, const struct piommu_pgtable_info *info)
{
    void *root = aligned_alloc(info->root_size, info->root_size);

    if (root == NULL) {
        complain("no memory");
    } else if (!image_read(image, info->root_physical, root, info->root_size)) {
        complain("the root at 0x%" PRIx64 ", %zu bytes, is not in the image", info->root_physical,
                 info->root_size);
        free(root);
        root = NULL;
    }
    return root;
}

static bool reaches_into(const struct piommu_range *range, const struct piommu_range *other)
{
    return range->first <= other->last && other->first <= range->last;
}

struct listener {
    struct half *half;
    const struct piommu_range *only;
};

static void note_problem(void *cookie, const struct piommu_pgtable_problem *problem)
{
    const struct listener *listener = cookie;
    struct half *half = listener->half;

    if (!reaches_into(&problem->step.covers, listener->only)) {
        return;
    }
    if (half->problem_count < SHOWN_PROBLEMS) {
        half->problems[half->problem_count] = *problem;
    }
    half->problem_count++;
}

static bool open_half(struct dump *dump, const struct request *request, unsigned int number)
{
    struct half *half = &dump->halves[number];
    struct listener listener = {.half = half, .only = &dump->only};
    struct piommu_pgtable_config config;
    int error;

    if (!describe(request, number, dump->image, &config, &half->info)) {
        return false;
    }
    half->root = read_root(dump->image, &half->info);
    if (half->root == NULL) {
        return false;
    }
    error = piommu_pgtable_adopt(image_host(dump->image), &config, half->root,
                                 request->root[number], &half->table);
    if (error != 0) {
        complain_of_format(request, number, error);
        return false;
    }
    error = piommu_pgtable_verify(half->table, note_problem, &listener, &half->report);
    if (error == -PIOMMU_ENOMEM) {
        complain("no memory");
        return false;
    }
    return true;
}

bool dump_open(struct dump *dump, const struct request *request, struct image *image)
{
    memset(dump, 0, sizeof(*dump));
    dump->image = image;
    dump->only = request->only;
    image->table_size = request->config.granule;
    for (unsigned int i = 0; i < HALVES; i++) {
        if (request->has_root[i] && !open_half(dump, request, i)) {
            return false;
        }
    }
    return true;
}

void dump_close(struct dump *dump)
{
    for (unsigned int i = 0; i < HALVES; i++) {
        if (dump->halves[i].table != NULL) {
            piommu_pgtable_destroy(dump->halves[i].table);
        }
        free(dump->halves[i].root);
    }
}

bool dump_is_sound(const struct dump *dump)
{
    bool sound = !dump->image->too_large;

    if (dump->image->too_large) {
        complain("more than %llu MiB of tables: not all of them were read",
                 IMAGE_MAX_TABLE_BYTES >> 20);
    }
    for (unsigned int i = 0; i < HALVES; i++) {
        sound = sound && dump->halves[i].problem_count == 0;
    }
    return sound;
}

/* ---- The visit ---- */

struct visit {
    struct dump *dump;
    const struct half *half;
    unsigned int number; /* of the tree, from 1 */
    const struct visitor *visitor;
    void *ctx;
    /* The links that lead to where the visit is. */
    unsigned int depth;
    struct piommu_pgtable_step links[PIOMMU_PGTABLE_MAX_LEVELS];
    struct run run; /* leaves that are not shown yet; count 0: none */
};

static void show_run(struct visit *visit)
{
    if (visit->run.count != 0) {
        visit->visitor->leaves(visit->ctx, visit->depth, &visit->run);
    }
    visit->run.count = 0;
}

/* Goes back until `depth` links are left. */
static void go_back(struct visit *visit, unsigned int depth)
{
    while (visit->depth > depth) {
        show_run(visit);
        visit->depth--;
        if (visit->visitor->leave != NULL) {
            visit->visitor->leave(visit->ctx, visit->depth);
        }
    }
}

/* All of a leaf but the bits that hold its address in every format. */
static uint64_t attributes(const struct piommu_pgtable_step *leaf)
{
    return leaf->descriptor & ~0x0000fffffffff000ull;
}

uint64_t run_last_output(const struct run *run)
{
    return run->step.physical + (run->input.last - run->input.first);
}

static void add_leaf(struct visit *visit, const struct piommu_pgtable_step *leaf)
{
    struct run *run = &visit->run;

    if (run->count != 0 && run->input.last + 1 == leaf->covers.first &&
        run_last_output(run) + 1 == leaf->physical && attributes(&run->step) == attributes(leaf)) {
        run->input.last = leaf->covers.last;
        run->count++;
        return;
    }
    show_run(visit);
    run->step = *leaf;
    run->input = leaf->covers;
    run->count = 1;
}

/* Whether a table may be entered; if not, sets the input address for which it has been before. */
static bool may_enter(struct visit *visit, const struct piommu_pgtable_step *link, uint64_t *before)
{
    const struct piommu_pgtable_info *info = &visit->half->info;
    struct image_table *table = image_table(visit->dump->image, link->physical);

    /* A small root may lie inside of what claims to be a table. */
    if (link->physical <= info->root_physical + (info->root_size - 1) &&
        info->root_physical <= link->physical + (info->granule - 1)) {
        *before = info->aperture.first;
        return false;
    }
    if (table->entered == visit->number) {
        *before = table->entered_from;
        return false;
    }
    table->entered = visit->number;
    table->entered_from = link->covers.first;
    return true;
}

static void show_odd(struct visit *visit, const struct piommu_pgtable_step *step, uint64_t before)
{
    show_run(visit);
    if (visit->visitor->odd != NULL) {
        visit->visitor->odd(visit->ctx, visit->depth, step, before);
    }
}

/* Shows what a walk has met that was not met before. Returns the last address that this covers. */
static uint64_t show_walk(struct visit *visit, const struct piommu_pgtable_walk *walk)
{
    const struct piommu_pgtable_step *step = walk->steps;
    unsigned int same = 0;

    while (same < visit->depth && same < walk->count &&
           step[same].kind == PIOMMU_PGTABLE_STEP_TABLE &&
           visit->links[same].covers.first == step[same].covers.first) {
        same++;
    }
    go_back(visit, same);
    for (step += same; step->kind == PIOMMU_PGTABLE_STEP_TABLE; step++) {
        uint64_t before = 0;

        if (!may_enter(visit, step, &before)) {
            show_odd(visit, step, before);
            return step->covers.last;
        }
        show_run(visit);
        if (visit->visitor->enter != NULL) {
            visit->visitor->enter(visit->ctx, visit->depth, step);
        }
        visit->links[visit->depth++] = *step;
    }
    if (step->kind == PIOMMU_PGTABLE_STEP_LEAF) {
        add_leaf(visit, step);
    } else if (step->kind != PIOMMU_PGTABLE_STEP_INVALID) {
        show_odd(visit, step, 0);
    }
    return step->covers.last;
}

void dump_visit(struct dump *dump, unsigned int number, const struct visitor *visitor, void *ctx)
{
    const struct half *half = &dump->halves[number];
    uint64_t last = half->info.aperture.last;
    uint64_t next = half->info.aperture.first;
    struct visit visit = {
        .dump = dump, .half = half, .number = ++dump->visits, .visitor = visitor, .ctx = ctx};

    last = dump->only.last < last ? dump->only.last : last;
    next = dump->only.first > next ? dump->only.first : next;
    while (next <= last) {
        struct piommu_pgtable_walk walk;
        uint64_t end;

        (void)piommu_pgtable_walk(half->table, next, &walk);
        end = show_walk(&visit, &walk);
        if (end >= last) {
            break;
        }
        next = end + 1;
    }
    go_back(&visit, 0);
    show_run(&visit);
}
