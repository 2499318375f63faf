/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * A dump as JSON. Addresses and descriptors are strings in hexadecimal, since many readers of JSON
 * keep numbers in 53 bits; what only counts is a number.
 */

#include "ptdump.h"

#include <inttypes.h>

struct writer {
    FILE *out;
    unsigned int depth; /* of what is open */
    bool follows;       /* something stands before, on this depth */
};

static void new_line(struct writer *writer)
{
    fprintf(writer->out, "\n%*s", (int)(2 * writer->depth), "");
}

/* Begins a value, with the name of a member or NULL in an array. */
static void put_name(struct writer *writer, const char *name)
{
    if (writer->follows) {
        fputc(',', writer->out);
    }
    if (writer->depth != 0) {
        new_line(writer);
    }
    if (name != NULL) {
        fprintf(writer->out, "\"%s\": ", name);
    }
    writer->follows = true;
}

static void open_value(struct writer *writer, const char *name, char bracket)
{
    put_name(writer, name);
    fputc(bracket, writer->out);
    writer->depth++;
    writer->follows = false;
}

static void close_value(struct writer *writer, char bracket)
{
    writer->depth--;
    if (writer->follows) {
        new_line(writer);
    }
    fputc(bracket, writer->out);
    writer->follows = true;
}

static void put_number(struct writer *writer, const char *name, uint64_t value)
{
    put_name(writer, name);
    fprintf(writer->out, "%" PRIu64, value);
}

static void put_level(struct writer *writer, const char *name, int level)
{
    put_name(writer, name);
    fprintf(writer->out, "%d", level);
}

static void put_address(struct writer *writer, const char *name, uint64_t value)
{
    put_name(writer, name);
    fprintf(writer->out, "\"0x%" PRIx64 "\"", value);
}

static void put_bool(struct writer *writer, const char *name, bool value)
{
    put_name(writer, name);
    fputs(value ? "true" : "false", writer->out);
}

/* The text is of this program, and has nothing that JSON would have to escape. */
static void put_text(struct writer *writer, const char *name, const char *text)
{
    put_name(writer, name);
    fprintf(writer->out, "\"%s\"", text);
}

/* What every entry begins with. */
static void open_entry(struct writer *writer, const char *kind, const struct piommu_range *range,
                       const struct piommu_pgtable_step *step)
{
    open_value(writer, NULL, '{');
    put_text(writer, "kind", kind);
    put_address(writer, "first", range->first);
    put_address(writer, "last", range->last);
    put_level(writer, "level", step->level);
    put_number(writer, "index", step->index);
    put_address(writer, "descriptor", step->descriptor);
}

static void json_enter(void *ctx, unsigned int depth, const struct piommu_pgtable_step *link)
{
    (void)depth;
    open_entry(ctx, "table", &link->covers, link);
    put_address(ctx, "physical", link->physical);
    open_value(ctx, "entries", '[');
}

static void json_leave(void *ctx, unsigned int depth)
{
    (void)depth;
    close_value(ctx, ']');
    close_value(ctx, '}');
}

static void json_leaves(void *ctx, unsigned int depth, const struct run *run)
{
    const struct piommu_pgtable_step *leaf = &run->step;
    piommu_prot prot = leaf->prot;

    (void)depth;
    open_entry(ctx, "leaves", &run->input, leaf);
    put_number(ctx, "count", run->count);
    put_address(ctx, "physical", leaf->physical);
    put_bool(ctx, "read", (prot & PIOMMU_PROT_READ) != 0);
    put_bool(ctx, "write", (prot & PIOMMU_PROT_WRITE) != 0);
    put_bool(ctx, "execute", (prot & PIOMMU_PROT_EXECUTE) != 0);
    put_bool(ctx, "execute_privileged", (prot & PIOMMU_PROT_EXECUTE_PRIVILEGED) != 0);
    put_bool(ctx, "privileged", (prot & PIOMMU_PROT_PRIVILEGED) != 0);
    put_text(ctx, "memory", memory_words(prot));
    put_text(ctx, "share", share_words(prot));
    put_bool(ctx, "global", (prot & PIOMMU_PROT_GLOBAL) != 0);
    put_bool(ctx, "contiguous", leaf->contiguous);
    put_bool(ctx, "accessed", leaf->accessed);
    put_bool(ctx, "tracked", leaf->tracked);
    put_bool(ctx, "dirty", leaf->dirty);
    close_value(ctx, '}');
}

static void json_odd(void *ctx, unsigned int depth, const struct piommu_pgtable_step *step,
                     uint64_t before)
{
    (void)depth;
    if (step->kind == PIOMMU_PGTABLE_STEP_RESERVED) {
        open_entry(ctx, "reserved", &step->covers, step);
    } else if (step->kind == PIOMMU_PGTABLE_STEP_UNREACHABLE) {
        open_entry(ctx, "unreachable", &step->covers, step);
        put_address(ctx, "physical", step->physical);
    } else {
        open_entry(ctx, "again", &step->covers, step);
        put_address(ctx, "physical", step->physical);
        put_address(ctx, "before", before);
    }
    close_value(ctx, '}');
}

static void put_head(struct writer *writer, const struct piommu_pgtable_info *info)
{
    put_text(writer, "format", format_words(info->format));
    put_text(writer, "register", (info->flags & PIOMMU_PGTABLE_TTBR1) != 0 ? "ttbr1" : "ttbr0");
    put_number(writer, "granule", info->granule);
    put_number(writer, "input_bits", info->input_bits);
    put_number(writer, "output_bits", info->output_bits);
    put_address(writer, "first", info->aperture.first);
    put_address(writer, "last", info->aperture.last);
    put_level(writer, "start_level", info->start_level);
    put_address(writer, "root", info->root_physical);
    put_number(writer, "root_size", info->root_size);
}

static void put_problems(struct writer *writer, const struct half *half)
{
    put_number(writer, "problem_count", half->problem_count);
    open_value(writer, "problems", '[');
    for (uint64_t i = 0; i < half->problem_count && i < SHOWN_PROBLEMS; i++) {
        const struct piommu_pgtable_problem *problem = &half->problems[i];

        open_entry(writer, piommu_pgtable_problem_name(problem->kind), &problem->step.covers,
                   &problem->step);
        close_value(writer, '}');
    }
    close_value(writer, ']');
}

static void put_tree(struct writer *writer, struct dump *dump, unsigned int number)
{
    static const struct visitor visitor = {
        .enter = json_enter, .leave = json_leave, .leaves = json_leaves, .odd = json_odd};
    const struct half *half = &dump->halves[number];

    open_value(writer, NULL, '{');
    put_head(writer, &half->info);
    open_value(writer, "entries", '[');
    dump_visit(dump, number, &visitor, writer);
    close_value(writer, ']');
    put_number(writer, "tables", half->report.tables);
    put_number(writer, "empty_tables", half->report.empty);
    put_number(writer, "leaves", half->report.leaves);
    put_address(writer, "mapped", half->report.mapped);
    put_problems(writer, half);
    close_value(writer, '}');
}

void print_json(struct dump *dump, FILE *out)
{
    struct writer writer = {.out = out};

    open_value(&writer, NULL, '{');
    open_value(&writer, "trees", '[');
    for (unsigned int i = 0; i < HALVES; i++) {
        if (dump->halves[i].table != NULL) {
            put_tree(&writer, dump, i);
        }
    }
    close_value(&writer, ']');
    close_value(&writer, '}');
    fputc('\n', out);
}
