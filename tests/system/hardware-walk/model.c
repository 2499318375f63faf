/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "model.h"

#include "machine.h"

#include <piommu/error.h>

#include <string.h>

static bool is_stage2(const struct piommu_pgtable_config *config)
{
    return config->format == PIOMMU_ARM_64_LPAE_S2 || config->format == PIOMMU_ARM_32_LPAE_S2;
}

static bool is_32_bit(const struct piommu_pgtable_config *config)
{
    return config->format == PIOMMU_ARM_32_LPAE_S1 || config->format == PIOMMU_ARM_32_LPAE_S2;
}

unsigned int model_level_shift(const struct model_geometry *geometry, int level)
{
    return geometry->page_shift + (unsigned int)(3 - level) * geometry->index_bits;
}

/* Arm ARM, "Concatenated translation tables", and the start levels that stage 2 forbids. */
static bool stage2_may_start_at(const struct piommu_pgtable_config *config,
                                const struct model_geometry *geometry, int level)
{
    if (is_32_bit(config)) {
        return level == 1 || level == 2;
    }
    switch (geometry->page_shift) {
    case 12:
        if (level == 3) {
            return (config->flags & PIOMMU_PGTABLE_SMALL_INPUT) != 0; /* FEAT_TTST */
        }
        return level >= 1 || (level == 0 && config->output_bits >= 44) || geometry->has_ds;
    case 14:
        return level >= 2 || (level == 1 && config->output_bits >= 42) || geometry->has_ds;
    default:
        return level >= 2 || config->output_bits >= 44;
    }
}

static void set_start(const struct piommu_pgtable_config *config, struct model_geometry *geometry)
{
    unsigned int bits = config->input_bits;
    unsigned int table;
    int level = 3;

    while (bits > model_level_shift(geometry, level) + geometry->index_bits) {
        level--;
    }
    if (is_stage2(config) && level < 3) {
        unsigned int saved = model_level_shift(geometry, level + 1) + geometry->index_bits + 4;

        if (!stage2_may_start_at(config, geometry, level) ||
            ((config->flags & PIOMMU_PGTABLE_CONCATENATE) != 0 && bits <= saved &&
             stage2_may_start_at(config, geometry, level + 1))) {
            level++;
        }
    }
    table = bits - model_level_shift(geometry, level) + 3;
    geometry->start_level = level;
    geometry->root_size = 1ull << table;
}

/* Is there a block (a page) at this level? */
static bool has_leaves(const struct piommu_pgtable_config *config,
                       const struct model_geometry *geometry, int level)
{
    unsigned int shift = model_level_shift(geometry, level);

    if (level < geometry->start_level || shift > config->output_bits) {
        return false;
    }
    if (config->leaf_sizes != 0 && (config->leaf_sizes >> shift & 1) == 0) {
        return false;
    }
    switch (geometry->page_shift) {
    case 12:
        return level >= 1 || (level == 0 && geometry->has_ds);
    case 14:
        return level >= 2 || (level == 1 && geometry->has_ds);
    default:
        return level >= 2 || (level == 1 && config->output_bits == 52);
    }
}

/* log2 of the members of a contiguous group, 0 if the level has none. */
static unsigned int group_bits(const struct model_geometry *geometry, int level)
{
    switch (geometry->page_shift) {
    case 12:
        return level >= 1 ? 4 : 0;
    case 14:
        return level == 3 ? 7 : level == 2 ? 5 : 0;
    default:
        return level >= 2 ? 5 : 0;
    }
}

static void add_size(struct model_geometry *geometry, unsigned int shift, int level, bool is_group)
{
    geometry->sizes[geometry->size_count++] = (struct model_size){shift, level, is_group};
}

void model_geometry(const struct piommu_pgtable_config *config, struct model_geometry *geometry)
{
    memset(geometry, 0, sizeof(*geometry));
    geometry->page_shift = config->granule == 4096 ? 12 : config->granule == 16384 ? 14 : 16;
    geometry->index_bits = geometry->page_shift - 3;
    geometry->output_bits = config->output_bits;
    geometry->has_ds = config->granule != 65536 && !is_32_bit(config) &&
                       (config->input_bits > 48 || config->output_bits == 52);
    set_start(config, geometry);

    geometry->input.last = (1ull << config->input_bits) - 1;
    if ((config->flags & PIOMMU_PGTABLE_TTBR1) != 0) {
        geometry->input.last = is_32_bit(config) ? 0xffffffffull : ~0ull;
        geometry->input.first = geometry->input.last - ((1ull << config->input_bits) - 1);
    }

    for (int level = geometry->start_level; level <= 3; level++) {
        unsigned int shift = model_level_shift(geometry, level);
        unsigned int group = shift + group_bits(geometry, level);

        if (!has_leaves(config, geometry, level)) {
            continue;
        }
        if ((config->flags & PIOMMU_PGTABLE_CONTIGUOUS) != 0 && group > shift &&
            group <= config->input_bits && group <= config->output_bits) {
            add_size(geometry, group, level, true);
        }
        add_size(geometry, shift, level, false);
    }
}

void model_start(struct model *model, const struct piommu_pgtable_config *config)
{
    model_geometry(config, &model->geometry);
    model->count = 0;
}

unsigned int model_find(const struct model *model, uint64_t address)
{
    unsigned int low = 0, high = model->count;

    while (low < high) {
        unsigned int middle = (low + high) / 2;

        if (model->runs[middle].last < address) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* Is anything mapped in the range? */
static bool meets(const struct model *model, uint64_t first, uint64_t last)
{
    unsigned int i = model_find(model, first);

    return i < model->count && model->runs[i].first <= last;
}

struct model_answer model_ask(const struct model *model, uint64_t address)
{
    const struct model_geometry *geometry = &model->geometry;
    struct model_answer answer = {.kind = MODEL_HOLE};
    unsigned int i = model_find(model, address);

    if (address < geometry->input.first || address > geometry->input.last) {
        answer.kind = MODEL_OUTSIDE;
        return answer;
    }
    if (i < model->count && model->runs[i].first <= address) {
        const struct model_run *run = &model->runs[i];

        answer.kind = MODEL_LEAF;
        answer.level = run->leaf.level;
        answer.leaf_shift = run->leaf.shift;
        answer.physical = run->physical + (address - run->first);
        answer.prot = run->prot;
        return answer;
    }
    /*
     * There is a table where anything is mapped in its span. (A leaf of that span would have
     * translated the address; and the tests leave no empty tables.)
     */
    for (answer.level = geometry->start_level; answer.level < 3; answer.level++) {
        uint64_t mask = (1ull << model_level_shift(geometry, answer.level)) - 1;

        if (!meets(model, address & ~mask, address | mask)) {
            break;
        }
    }
    return answer;
}

/* The number of the largest leaf size that fits; `last` is the end of what is to be mapped. */
static unsigned int choose(const struct model *model, uint64_t iova, uint64_t physical,
                           uint64_t last)
{
    const struct model_geometry *geometry = &model->geometry;
    unsigned int i = 0;

    for (; i < geometry->size_count - 1; i++) {
        uint64_t mask = (1ull << geometry->sizes[i].shift) - 1;

        if (((iova | physical) & mask) == 0 && last - iova >= mask &&
            !meets(model, iova, iova + mask)) {
            break;
        }
    }
    return i;
}

/*
 * How many leaves of that size follow each other in a free range: to where the input is aligned to
 * the next larger size, and another choice is possible.
 */
static uint64_t stretch(const struct model *model, unsigned int size, uint64_t iova, uint64_t last)
{
    const struct model_size *sizes = model->geometry.sizes;
    uint64_t end = last;

    if (size > 0) {
        uint64_t boundary = iova | ((1ull << sizes[size - 1].shift) - 1);

        end = boundary < last ? boundary : last;
    }
    return (end - iova + 1) >> sizes[size].shift;
}

uint32_t model_count_leaves(const struct model *model, uint64_t iova, uint64_t physical,
                            uint64_t size, uint32_t limit)
{
    uint64_t last = iova + (size - 1);
    uint64_t count = 0;

    while (count < limit) {
        unsigned int i = choose(model, iova, physical, last);
        /* What is mapped further on may come in the way of larger leaves. */
        bool is_smallest = i == model->geometry.size_count - 1;
        uint64_t leaves = is_smallest ? stretch(model, i, iova, last) : 1;
        uint64_t bytes = leaves << model->geometry.sizes[i].shift;

        count += leaves;
        if (last - iova < bytes) {
            break;
        }
        iova += bytes;
        physical += bytes;
    }
    return count < limit ? (uint32_t)count : limit;
}

uint64_t model_leaves_of_a_cut(const struct model *model, uint64_t address)
{
    const struct model_geometry *geometry = &model->geometry;
    struct model_answer answer = model_ask(model, address);
    uint64_t leaves = 0;

    for (unsigned int i = 0; i + 1 < geometry->size_count; i++) {
        if (answer.kind == MODEL_LEAF && geometry->sizes[i].shift <= answer.leaf_shift) {
            leaves += 1ull << (geometry->sizes[i].shift - geometry->sizes[i + 1].shift);
        }
    }
    return leaves;
}

static bool goes_on(const struct model_run *run, const struct model_run *next)
{
    return run->last + 1 == next->first && next->first != 0 &&
           run->physical + (next->first - run->first) == next->physical &&
           run->leaf.shift == next->leaf.shift && run->prot == next->prot;
}

static void insert(struct model *model, const struct model_run *run)
{
    unsigned int i = model_find(model, run->first);

    if (i > 0 && goes_on(&model->runs[i - 1], run)) {
        model->runs[i - 1].last = run->last;
        return;
    }
    if (model->count == MODEL_RUNS) {
        machine_fail("the model is too small");
    }
    memmove(&model->runs[i + 1], &model->runs[i], (model->count - i) * sizeof(*run));
    model->runs[i] = *run;
    model->count++;
}

static void map_free_range(struct model *model, uint64_t iova, uint64_t physical, uint64_t last,
                           piommu_prot prot)
{
    for (;;) {
        unsigned int i = choose(model, iova, physical, last);
        const struct model_size *leaf = &model->geometry.sizes[i];
        uint64_t bytes = stretch(model, i, iova, last) << leaf->shift;
        struct model_run run = {.first = iova,
                                .last = iova + (bytes - 1),
                                .physical = physical,
                                .leaf = *leaf,
                                .prot = prot};

        insert(model, &run);
        if (last - iova < bytes) {
            return;
        }
        iova += bytes;
        physical += bytes;
    }
}

int model_map(struct model *model, uint64_t iova, uint64_t physical, uint64_t size,
              piommu_prot prot, uint64_t *mapped)
{
    uint64_t last = iova + (size - 1);
    unsigned int i = model_find(model, iova);
    int error = 0;

    *mapped = size;
    if (i < model->count && model->runs[i].first <= last) {
        error = -PIOMMU_EEXIST;
        *mapped = model->runs[i].first <= iova ? 0 : model->runs[i].first - iova;
    }
    if (*mapped != 0) {
        map_free_range(model, iova, physical, iova + (*mapped - 1), prot);
    }
    return error;
}

/* Makes a run begin at the address, if one lies across it. */
static void split(struct model *model, uint64_t address)
{
    unsigned int i = model_find(model, address);
    struct model_run *run = &model->runs[i];

    if (i == model->count || run->first >= address) {
        return;
    }
    if (model->count == MODEL_RUNS) {
        machine_fail("the model is too small");
    }
    memmove(run + 1, run, (model->count - i) * sizeof(*run));
    model->count++;
    run[0].last = address - 1;
    run[1].physical += address - run[1].first;
    run[1].first = address;
}

/* Removes what is mapped in a range, whose ends do not cut leaves; returns the bytes. */
static uint64_t drop(struct model *model, uint64_t first, uint64_t last)
{
    unsigned int begin, end;
    uint64_t bytes = 0;

    split(model, first);
    if (last != ~0ull) {
        split(model, last + 1);
    }
    begin = model_find(model, first);
    for (end = begin; end < model->count && model->runs[end].first <= last; end++) {
        bytes += model->runs[end].last - model->runs[end].first + 1;
    }
    memmove(&model->runs[begin], &model->runs[end], (model->count - end) * sizeof(model->runs[0]));
    model->count -= end - begin;
    return bytes;
}

/* The leaf at an address; false if there is none. */
static bool leaf_at(const struct model *model, uint64_t address, struct model_run *leaf)
{
    unsigned int i = model_find(model, address);
    uint64_t mask;

    if (i == model->count || model->runs[i].first > address) {
        return false;
    }
    *leaf = model->runs[i];
    mask = (1ull << leaf->leaf.shift) - 1;
    leaf->physical += (address & ~mask) - leaf->first;
    leaf->first = address & ~mask;
    leaf->last = address | mask;
    return true;
}

/* Does the range begin or end within a leaf? */
static bool cuts(const struct model *model, uint64_t first, uint64_t last)
{
    struct model_run leaf;

    return (leaf_at(model, first, &leaf) && leaf.first != first) ||
           (leaf_at(model, last, &leaf) && leaf.last != last);
}

int model_unmap(struct model *model, uint64_t iova, uint64_t size, uint64_t *unmapped)
{
    uint64_t last = iova + (size - 1);

    *unmapped = 0;
    if (cuts(model, iova, last)) {
        return -PIOMMU_ECUT;
    }
    *unmapped = drop(model, iova, last);
    return *unmapped != 0 ? 0 : -PIOMMU_ENOENT;
}

int model_unmap_leaves(struct model *model, uint64_t first, uint64_t last,
                       struct piommu_range *removed, uint64_t *unmapped)
{
    struct model_run leaf;

    if (leaf_at(model, first, &leaf)) {
        first = leaf.first;
    }
    if (leaf_at(model, last, &leaf)) {
        last = leaf.last;
    }
    removed->first = first;
    removed->last = last;
    *unmapped = drop(model, first, last);
    return *unmapped != 0 ? 0 : -PIOMMU_ENOENT;
}

int model_unmap_cut(struct model *model, uint64_t iova, uint64_t size, uint64_t *unmapped)
{
    uint64_t last = iova + (size - 1);
    struct model_run head, tail;
    bool has_head = leaf_at(model, iova, &head) && head.first != iova;
    bool has_tail = leaf_at(model, last, &tail) && tail.last != last;

    *unmapped = drop(model, iova, last);
    if (has_head) {
        (void)drop(model, head.first, iova - 1);
    }
    if (has_tail) {
        (void)drop(model, last + 1, tail.last);
    }
    if (has_head) {
        map_free_range(model, head.first, head.physical, iova - 1, head.prot);
    }
    if (has_tail) {
        map_free_range(model, last + 1, tail.physical + (last + 1 - tail.first), tail.last,
                       tail.prot);
    }
    return *unmapped != 0 ? 0 : -PIOMMU_ENOENT;
}

int model_protect(struct model *model, uint64_t iova, uint64_t size, piommu_prot prot,
                  uint64_t *changed)
{
    const piommu_prot replaced = PIOMMU_PROT_ACCESS | PIOMMU_PROT_SOFTWARE_MASK;
    uint64_t last = iova + (size - 1);

    *changed = 0;
    if (cuts(model, iova, last)) {
        return -PIOMMU_ECUT;
    }
    split(model, iova);
    if (last != ~0ull) {
        split(model, last + 1);
    }
    for (unsigned int i = model_find(model, iova); i < model->count && model->runs[i].first <= last;
         i++) {
        model->runs[i].prot = (model->runs[i].prot & ~replaced) | prot;
        *changed += model->runs[i].last - model->runs[i].first + 1;
    }
    return *changed != 0 ? 0 : -PIOMMU_ENOENT;
}
