/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Memory as a walker sees it that does not snoop the caches of the CPU: every line as it was when
 * it was last cleaned.
 */

#include "internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* A page of which lines have arrived in memory. */
struct model_page {
    uint64_t physical;
    uint64_t arrived; /* a bit for each line */
    uint64_t words[MODEL_PAGE_SIZE / 8];
};

/* The place of the page, or where it would have to be. */
static size_t page_index(const struct piommu_ipmmu_model *model, uint64_t physical)
{
    size_t first = 0;
    size_t end = model->page_count;

    while (first < end) {
        size_t middle = first + (end - first) / 2;

        if (model->pages[middle]->physical < physical) {
            first = middle + 1;
        } else {
            end = middle;
        }
    }
    return first;
}

static struct model_page *find_page(const struct piommu_ipmmu_model *model, uint64_t physical)
{
    size_t index = page_index(model, physical);

    return index < model->page_count && model->pages[index]->physical == physical
               ? model->pages[index]
               : NULL;
}

static struct model_page *add_page(struct piommu_ipmmu_model *model, uint64_t physical)
{
    size_t index = page_index(model, physical);
    struct model_page *page = calloc(1, sizeof(*page));

    if (page == NULL) {
        abort();
    }
    if (model->page_count == model->page_room) {
        model->pages =
            piommu_ipmmu_model_grow_(model->pages, &model->page_room, sizeof(struct model_page *));
    }
    memmove(&model->pages[index + 1], &model->pages[index],
            (model->page_count - index) * sizeof(struct model_page *));
    model->pages[index] = page;
    model->page_count++;
    page->physical = physical;
    return page;
}

static bool read_arrived(void *ctx, uint64_t physical, uint64_t *value)
{
    struct piommu_ipmmu_model *model = ctx;
    const struct model_page *page = find_page(model, physical & ~(MODEL_PAGE_SIZE - 1));

    if (page != NULL &&
        (page->arrived >> (physical % MODEL_PAGE_SIZE / MODEL_LINE_SIZE) & 1) != 0) {
        *value = page->words[physical % MODEL_PAGE_SIZE / 8];
        return true;
    }
    if (!model->cpu_memory.read64(model->cpu_memory.ctx, physical, value)) {
        return false;
    }
    *value = 0;
    if (model->notes_unclean) {
        model->notes_unclean = false;
        piommu_ipmmu_model_violation_(model, PIOMMU_IPMMU_MODEL_RULE_CLEAN,
                                      "a walk came to 0x%" PRIx64 ", which was never cleaned",
                                      physical);
    }
    return true;
}

void piommu_ipmmu_model_open_memory_(struct piommu_ipmmu_model *model,
                                     struct piommu_walker_memory memory)
{
    model->cpu_memory = memory;
    model->memory = memory;
    if (model->parameters.non_coherent) {
        model->memory = (struct piommu_walker_memory){.read64 = read_arrived, .ctx = model};
    }
}

void piommu_ipmmu_model_close_memory_(struct piommu_ipmmu_model *model)
{
    for (size_t i = 0; i < model->page_count; i++) {
        free(model->pages[i]);
    }
    free(model->pages);
    free(model->cleaned);
}

/* Takes what the CPU sees; nothing where there is no memory. */
static void clean_line(struct piommu_ipmmu_model *model, uint64_t physical)
{
    struct model_line line = {.physical = physical};

    for (unsigned int i = 0; i < MODEL_LINE_SIZE / 8; i++) {
        if (!model->cpu_memory.read64(model->cpu_memory.ctx, physical + 8 * i, &line.words[i])) {
            return;
        }
    }
    if (model->cleaned_count == model->cleaned_room) {
        model->cleaned =
            piommu_ipmmu_model_grow_(model->cleaned, &model->cleaned_room, sizeof(line));
    }
    model->cleaned[model->cleaned_count++] = line;
}

void piommu_ipmmu_model_clean(struct piommu_ipmmu_model *model, uint64_t physical, uint64_t size)
{
    uint64_t line = physical & ~(MODEL_LINE_SIZE - 1);

    if (!model->parameters.non_coherent || size == 0) {
        return;
    }
    for (uint64_t left = (physical + (size - 1) - line) / MODEL_LINE_SIZE; left > 0; left--) {
        clean_line(model, line);
        line += MODEL_LINE_SIZE;
    }
    clean_line(model, line);
}

void piommu_ipmmu_model_barrier(struct piommu_ipmmu_model *model)
{
    for (size_t i = 0; i < model->cleaned_count; i++) {
        const struct model_line *line = &model->cleaned[i];
        uint64_t offset = line->physical % MODEL_PAGE_SIZE;
        struct model_page *page = find_page(model, line->physical - offset);

        if (page == NULL) {
            page = add_page(model, line->physical - offset);
        }
        memcpy(&page->words[offset / 8], line->words, MODEL_LINE_SIZE);
        page->arrived |= UINT64_C(1) << offset / MODEL_LINE_SIZE;
    }
    model->cleaned_count = 0;
}
