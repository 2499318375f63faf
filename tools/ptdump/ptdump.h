/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PTDUMP_H
#define PTDUMP_H

/* What the tool was asked for, what it has found in an image, and how it shows that. */

#include "image.h"

#include "../common/program.h"

#include <piommu/io-pgtable-inspect.h>

#define HALVES         2u   /* by TTBR0 (or VTTBR), and by TTBR1 */
#define SHOWN_PROBLEMS 100u /* of each tree; the others are only counted */

/* ---- What was asked for ---- */

struct request {
    struct piommu_pgtable_config config; /* the format; flags but for PIOMMU_PGTABLE_TTBR1 */
    uint8_t input_bits[HALVES];          /* 0: the default of the format */
    bool has_root[HALVES];
    uint64_t root[HALVES];
    bool has_start_level;
    int start_level;
    struct piommu_range only; /* what reaches into it is shown */
    bool json;
    const char *svg; /* the name of a file, or NULL */
};

/*
 * Reads the arguments, and opens the files for the image. STATUS_OK with *done: there is nothing to
 * do any more. Otherwise a complaint was made.
 */
enum status request_parse(struct request *request, struct image *image, int argc, char **argv,
                          bool *done);

/* ---- What was found ---- */

struct half {
    struct piommu_pgtable *table; /* NULL: not asked for */
    void *root;                   /* its content */
    struct piommu_pgtable_info info;
    struct piommu_pgtable_report report;
    struct piommu_pgtable_problem problems[SHOWN_PROBLEMS];
    uint64_t problem_count; /* in the range that was asked for */
};

struct dump {
    struct image *image;
    struct piommu_range only;
    struct half halves[HALVES];
    unsigned int visits; /* so that each marks the tables that it enters in its own way */
};

/*
 * Opens the tables, and has the library check them. False: that cannot be done, and a complaint was
 * made. To be closed in any case.
 */
bool dump_open(struct dump *dump, const struct request *request, struct image *image);
void dump_close(struct dump *dump);

/* Whether all is sound in the range asked for; complains if the image is too large. */
bool dump_is_sound(const struct dump *dump);

/* ---- The tree ---- */

/* Leaves side by side in one table that go on in input and output, and are the same otherwise. */
struct run {
    struct piommu_pgtable_step step; /* the first leaf */
    uint32_t count;                  /* how many leaves */
    struct piommu_range input;       /* all of them */
};

/* Takes what a visit meets, in ascending order; leaves alone is required. Depth 0: in the root. */
struct visitor {
    /* A link that is followed, and the end of what is behind it. */
    void (*enter)(void *ctx, unsigned int depth, const struct piommu_pgtable_step *link);
    void (*leave)(void *ctx, unsigned int depth);
    void (*leaves)(void *ctx, unsigned int depth, const struct run *run);
    /*
     * A link that leads out of the image (UNREACHABLE) or to a table that was entered before
     * (TABLE; then by the link for `before`), and a descriptor that is none (RESERVED).
     */
    void (*odd)(void *ctx, unsigned int depth, const struct piommu_pgtable_step *step,
                uint64_t before);
};

/*
 * Visits all that reaches into the range asked for. Each table of the image is entered once at
 * most, so the visit ends with any image, and meets no more than there is in it.
 */
void dump_visit(struct dump *dump, unsigned int half, const struct visitor *visitor, void *ctx);

/* ---- How it is shown ---- */

void print_text(struct dump *dump, FILE *out);
void print_json(struct dump *dump, FILE *out);
void print_svg(struct dump *dump, FILE *out);

/* ---- Words ---- */

#define WORDS_SIZE 96u /* of a buffer that all words fit into */

/* A size in the largest unit of which it is a multiple: "2 MiB". Returns the buffer. */
const char *size_words(char words[WORDS_SIZE], uint64_t size);
/* What a leaf allows, and what memory it leads to: "rw-- cached inner". Returns the buffer. */
const char *leaf_words(char words[WORDS_SIZE], const struct piommu_pgtable_step *leaf);
/* "64-bit LPAE stage 2". */
const char *format_words(enum piommu_pgtable_format format);
/* "cached", "noncacheable" or "device". */
const char *memory_words(piommu_prot prot);
/* "none", "outer" or "inner", also where the prot names a default. */
const char *share_words(piommu_prot prot);
/* The last output address of a run. */
uint64_t run_last_output(const struct run *run);

#endif
