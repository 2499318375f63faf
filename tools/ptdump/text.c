/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* A dump as text, a line for each table, each run of leaves, and whatever is odd. */

#include "ptdump.h"

#include <inttypes.h>

static void begin_line(FILE *out, unsigned int depth, const struct piommu_range *range)
{
    fprintf(out, "%*s0x%" PRIx64 "..0x%" PRIx64, (int)(2 * depth + 2), "", range->first,
            range->last);
}

static void put_place(FILE *out, const struct piommu_pgtable_step *step)
{
    fprintf(out, "  level %d [%" PRIu32, step->level, step->index);
}

static void text_enter(void *ctx, unsigned int depth, const struct piommu_pgtable_step *link)
{
    begin_line(ctx, depth, &link->covers);
    put_place(ctx, link);
    fprintf(ctx, "]  table 0x%" PRIx64 "\n", link->physical);
}

static void text_leaves(void *ctx, unsigned int depth, const struct run *run)
{
    char words[WORDS_SIZE];

    begin_line(ctx, depth, &run->input);
    fprintf(ctx, " -> 0x%" PRIx64 "..0x%" PRIx64, run->step.physical, run_last_output(run));
    put_place(ctx, &run->step);
    if (run->count > 1) {
        fprintf(ctx, "..%" PRIu32, run->step.index + (run->count - 1));
    }
    fprintf(ctx, "]  %s\n", leaf_words(words, &run->step));
}

static void text_odd(void *ctx, unsigned int depth, const struct piommu_pgtable_step *step,
                     uint64_t before)
{
    begin_line(ctx, depth, &step->covers);
    put_place(ctx, step);
    if (step->kind == PIOMMU_PGTABLE_STEP_RESERVED) {
        fprintf(ctx, "]  reserved descriptor 0x%016" PRIx64 "\n", step->descriptor);
    } else if (step->kind == PIOMMU_PGTABLE_STEP_UNREACHABLE) {
        fprintf(ctx, "]  table 0x%" PRIx64 ", which is not in the image\n", step->physical);
    } else {
        fprintf(ctx, "]  table 0x%" PRIx64 ", which is at 0x%" PRIx64 " already\n", step->physical,
                before);
    }
}

static void print_head(const struct half *half, FILE *out)
{
    const struct piommu_pgtable_info *info = &half->info;
    char words[WORDS_SIZE];

    fprintf(out, "%s, granule %s, %u bits in, %u bits out\n", format_words(info->format),
            size_words(words, info->granule), info->input_bits, info->output_bits);
    fprintf(out, "0x%" PRIx64 "..0x%" PRIx64 "  level %d  root 0x%" PRIx64 ", %s\n",
            info->aperture.first, info->aperture.last, info->start_level, info->root_physical,
            size_words(words, info->root_size));
}

static void print_problems(const struct half *half, FILE *out)
{
    const struct piommu_pgtable_report *report = &half->report;
    char words[WORDS_SIZE];

    fprintf(out,
            "in all: tables %" PRIu64 " below the root, %" PRIu64 " of them empty; leaves %" PRIu64
            ", %s\n",
            report->tables, report->empty, report->leaves, size_words(words, report->mapped));
    fprintf(out, "problems: %" PRIu64 "\n", half->problem_count);
    for (uint64_t i = 0; i < half->problem_count && i < SHOWN_PROBLEMS; i++) {
        const struct piommu_pgtable_problem *problem = &half->problems[i];

        begin_line(out, 0, &problem->step.covers);
        put_place(out, &problem->step);
        fprintf(out, "]  0x%016" PRIx64 ": %s\n", problem->step.descriptor,
                piommu_pgtable_problem_name(problem->kind));
    }
    if (half->problem_count > SHOWN_PROBLEMS) {
        fprintf(out, "  and %" PRIu64 " more\n", half->problem_count - SHOWN_PROBLEMS);
    }
}

void print_text(struct dump *dump, FILE *out)
{
    static const struct visitor visitor = {
        .enter = text_enter, .leaves = text_leaves, .odd = text_odd};
    bool first = true;

    for (unsigned int i = 0; i < HALVES; i++) {
        if (dump->halves[i].table == NULL) {
            continue;
        }
        if (!first) {
            fprintf(out, "\n");
        }
        first = false;
        print_head(&dump->halves[i], out);
        dump_visit(dump, i, &visitor, out);
        print_problems(&dump->halves[i], out);
    }
}
