/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report.h"

#define MOST_ROWS  192u
#define MOST_NOTES 16u
#define NAME_SIZE  48u

struct row {
    char group[16];
    char row[ROW_NAME_SIZE];
    char unit[16];
    double median[IMPLEMENTATIONS]; /* NaN: not there */
    double least[IMPLEMENTATIONS];
    double most[IMPLEMENTATIONS];
    bool spread; /* least and most differ from the median */
};

static struct row rows[MOST_ROWS];
static size_t row_count;
static char notes[MOST_NOTES][160];
static size_t note_count;

/* What a row must reach. */
enum demand {
    TIMES_BETTER, /* at least this many times better than the peer */
    OVER_LIMIT,   /* our own value less the limit, at most */
    AT_LEAST,     /* our own value */
    AT_MOST,
    EXACTLY,
};

enum weight {
    REPORTED,     /* depends on the machine or on the peer: never fails the program */
    INSTRUCTIONS, /* depends on the compiler: fails it if so wanted */
    DECISIVE,     /* depends on our code alone */
};

static const struct must {
    const char *group; /* NULL: the shapes */
    const char *row;
    enum demand demand;
    double value;
    enum weight weight;
} musts[] = {
    {NULL, "map_1_present", TIMES_BETTER, 2, REPORTED},
    {NULL, "unmap_1", TIMES_BETTER, 2, REPORTED},
    {NULL, "pair_1", TIMES_BETTER, 2.2, REPORTED},
    {NULL, "map_512_present", TIMES_BETTER, 3, REPORTED},
    {NULL, "map_512_new", TIMES_BETTER, 2.5, REPORTED},
    {NULL, "unmap_512", TIMES_BETTER, 7, REPORTED},
    {NULL, "map_262144_present", TIMES_BETTER, 3, REPORTED},
    {NULL, "map_262144_new", TIMES_BETTER, 2.5, REPORTED},
    {NULL, "unmap_262144", TIMES_BETTER, 7, REPORTED},
    {NULL, "lookup_random", TIMES_BETTER, 1.7, REPORTED},
    {NULL, "churn_tables", AT_MOST, 2, DECISIVE},
    {NULL, "threads_2", AT_LEAST, 0.95, REPORTED},
    {"core", "map_1", OVER_LIMIT, 3, REPORTED},
    {"core", "unmap_1", OVER_LIMIT, 3, REPORTED},
    {"iova", "lifo", TIMES_BETTER, 0.66, REPORTED},
    {"iova", "lifo_64", TIMES_BETTER, 0.66, REPORTED},
    {"iova", "random_10k", TIMES_BETTER, 25, REPORTED},
    {"iova", "fragmented_100k", TIMES_BETTER, 300, REPORTED},
    {"iova", "full_32bit", TIMES_BETTER, 25, REPORTED},
    {"iova", "threads_2", AT_LEAST, 0.9, REPORTED},
    {"iova", "worst", AT_MOST, 50, DECISIVE},
    {"dma", "page_strict", TIMES_BETTER, 1.5, REPORTED},
    {"dma", "page_lazy", TIMES_BETTER, 1.5, REPORTED},
    {"dma", "sg_16", TIMES_BETTER, 3, REPORTED},
    {"insn", "map_1", AT_MOST, 180, INSTRUCTIONS},
    {"insn", "unmap_1", AT_MOST, 180, INSTRUCTIONS},
    {"insn", "map_256", AT_MOST, 8, INSTRUCTIONS},
    {"insn", "unmap_256", AT_MOST, 8, INSTRUCTIONS},
    {"insn", "lookup", AT_MOST, 70, INSTRUCTIONS},
    {"nc", "lines_map_1", EXACTLY, 1, DECISIVE},
    {"nc", "cleans_map_512_present", EXACTLY, 64, DECISIVE},
    {"nc", "cleans_map_512_new", EXACTLY, 65, DECISIVE},
    {"virtio", "requests_map_1", EXACTLY, 1, DECISIVE},
    {"virtio", "doorbells_map_1", EXACTLY, 1, DECISIVE},
    {"virtio", "requests_map_512", EXACTLY, 1, DECISIVE},
    {"virtio", "doorbells_map_512", EXACTLY, 1, DECISIVE},
    {"virtio", "requests_map_262144", EXACTLY, 1, DECISIVE},
    {"virtio", "doorbells_map_262144", EXACTLY, 1, DECISIVE},
    {"virtio", "doorbells_scatter_128", EXACTLY, 1, DECISIVE},
    {"virtio", "requests_scatter_512", EXACTLY, 512, DECISIVE},
    {"virtio", "doorbells_scatter_512", AT_MOST, 4, DECISIVE},
    {"virtio", "doorbells_replay_10000", AT_MOST, 79, DECISIVE},
};

/* Whether a row is of that name, of disjoint tables or not: what it must reach is the same. */
static bool is_named(const struct row *row, const char *name)
{
    size_t length = strlen(name);

    return strncmp(row->row, name, length) == 0 &&
           (row->row[length] == '\0' || strcmp(&row->row[length], "_disjoint") == 0);
}

static const struct must *must_of(const struct row *row)
{
    bool of_shape = strncmp(row->group, "s1_", 3) == 0 || strncmp(row->group, "s2_", 3) == 0;

    for (size_t i = 0; i < sizeof(musts) / sizeof(musts[0]); i++) {
        const struct must *must = &musts[i];

        if ((must->group == NULL ? of_shape : strcmp(must->group, row->group) == 0) &&
            is_named(row, must->row)) {
            return must;
        }
    }
    return NULL;
}

/* How many times better ours is than another one, or NaN. */
static double ratio(const struct row *row, unsigned int other)
{
    if (strcmp(row->unit, UNIT_SCALING) == 0) {
        return row->median[OURS] / row->median[other];
    }
    return row->median[other] / row->median[OURS];
}

/* 1: reached, 0: not, -1: cannot be said. */
static int verdict(const struct row *row, const struct must *must)
{
    double value = row->median[OURS];

    if (must->demand == TIMES_BETTER) {
        value = ratio(row, PEER);
    } else if (must->demand == OVER_LIMIT) {
        value -= row->median[LIMIT];
    }
    if (isnan(value)) {
        return -1;
    }
    switch (must->demand) {
    case TIMES_BETTER:
    case AT_LEAST:
        return value >= must->value;
    case OVER_LIMIT:
    case AT_MOST:
        return value <= must->value;
    case EXACTLY:
        return value >= must->value && value <= must->value;
    }
    return -1;
}

void samples_add(struct samples *samples, double value)
{
    if (samples->count < MOST_SAMPLES) {
        samples->values[samples->count++] = value;
    }
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;

    return (x > y) - (x < y);
}

static struct row *new_row(const char *group, const char *name, const char *unit)
{
    struct row *row;

    if (row_count == MOST_ROWS) {
        wrong("too many rows");
        return &rows[MOST_ROWS - 1];
    }
    row = &rows[row_count++];
    snprintf(row->group, sizeof(row->group), "%s", group);
    snprintf(row->row, sizeof(row->row), "%s", name);
    snprintf(row->unit, sizeof(row->unit), "%s", unit);
    row->spread = false;
    for (unsigned int i = 0; i < IMPLEMENTATIONS; i++) {
        row->median[i] = NAN;
    }
    return row;
}

void report_add(const char *group, const char *name, const char *unit,
                struct samples samples[IMPLEMENTATIONS])
{
    struct row *row = new_row(group, name, unit);

    for (unsigned int i = 0; i < IMPLEMENTATIONS; i++) {
        size_t count = samples[i].count;
        double *values = samples[i].values;

        if (count == 0) {
            continue;
        }
        qsort(values, count, sizeof(*values), compare);
        row->median[i] = (values[(count - 1) / 2] + values[count / 2]) / 2;
        row->least[i] = values[0];
        row->most[i] = values[count - 1];
        row->spread = true;
    }
}

void report_add_exact(const char *group, const char *name, const char *unit, double our_value,
                      double peer_value)
{
    struct row *row = new_row(group, name, unit);

    row->median[OURS] = our_value;
    row->median[PEER] = peer_value;
}

bool report_add_file(const char *path)
{
    FILE *file = fopen(path, "r");
    char group[16];
    char name[32];
    char unit[16];
    char our_text[32];
    char peer_text[32];

    if (file == NULL) {
        perror(path);
        return false;
    }
    while (fscanf(file, "%15s %31s %15s %31s %31s", group, name, unit, our_text, peer_text) == 5) {
        report_add_exact(group, name, unit, strtod(our_text, NULL),
                         strcmp(peer_text, "-") == 0 ? NAN : strtod(peer_text, NULL));
    }
    fclose(file);
    return true;
}

void report_note(const char *format, ...)
{
    va_list arguments;

    if (note_count == MOST_NOTES) {
        return;
    }
    va_start(arguments, format);
    vsnprintf(notes[note_count++], sizeof(notes[0]), format, arguments);
    va_end(arguments);
}

static void print_value(const struct row *row, unsigned int i)
{
    char text[40] = "-";

    if (!isnan(row->median[i]) && row->spread) {
        snprintf(text, sizeof(text), "%.3g (%.3g-%.3g)", row->median[i], row->least[i],
                 row->most[i]);
    } else if (!isnan(row->median[i])) {
        snprintf(text, sizeof(text), "%.5g", row->median[i]);
    }
    printf(" %-22s", text);
}

static void print_ratio(double value)
{
    if (isnan(value)) {
        printf(" %7s", "-");
    } else {
        printf(" %7.2f", value);
    }
}

static void print_must(const struct row *row)
{
    static const char *const words[] = {"x", "limit+", ">=", "<=", "="};
    const struct must *must = must_of(row);
    int reached;

    if (must == NULL) {
        putchar('\n');
        return;
    }
    reached = verdict(row, must);
    printf("  %s%s%g\n", reached < 0 ? "" : (reached > 0 ? "pass " : "FAIL "), words[must->demand],
           must->value);
}

void report_print(void)
{
    static const char *const labels[] = {"passed", "failed"};
    unsigned int counts[2] = {0, 0};

    printf("%-29s %-12s %-22s %-22s %-22s %7s %7s  %s\n", "row", "unit", "piommu", "Linux", "limit",
           "x Linux", "x limit", "must");
    for (size_t i = 0; i < row_count; i++) {
        const struct row *row = &rows[i];
        const struct must *must = must_of(row);
        char name[NAME_SIZE];

        snprintf(name, sizeof(name), "%s.%s", row->group, row->row);
        printf("%-29s %-12s", name, row->unit);
        for (unsigned int column = 0; column < IMPLEMENTATIONS; column++) {
            print_value(row, column);
        }
        print_ratio(ratio(row, PEER));
        print_ratio(ratio(row, LIMIT));
        print_must(row);
        if (must != NULL && verdict(row, must) >= 0) {
            counts[verdict(row, must) == 0]++;
        }
    }
    printf("\nmedians (least-most); x: how many times better ours is\n");
    for (size_t i = 0; i < note_count; i++) {
        printf("%s\n", notes[i]);
    }
    printf("musts: %u %s, %u %s\n", counts[0], labels[0], counts[1], labels[1]);
}

static void write_number(FILE *file, const char *key, double value)
{
    if (isnan(value)) {
        fprintf(file, ", \"%s\": null", key);
    } else {
        fprintf(file, ", \"%s\": %.6g", key, value);
    }
}

bool report_write_json(const char *path)
{
    FILE *file = fopen(path, "w");
    bool good;

    if (file == NULL) {
        perror(path);
        return false;
    }
    fputs("[\n", file);
    for (size_t i = 0; i < row_count; i++) {
        const struct row *row = &rows[i];

        fprintf(file, "  {\"name\": \"%s.%s\", \"unit\": \"%s\"", row->group, row->row, row->unit);
        write_number(file, "ours", row->median[OURS]);
        write_number(file, "peer", row->median[PEER]);
        write_number(file, "limit", row->median[LIMIT]);
        write_number(file, "ratio_peer", ratio(row, PEER));
        write_number(file, "ratio_limit", ratio(row, LIMIT));
        fprintf(file, "}%s\n", i + 1 < row_count ? "," : "");
    }
    fputs("]\n", file);
    good = ferror(file) == 0;
    return fclose(file) == 0 && good;
}

unsigned int report_exact_failures(bool instructions_too)
{
    unsigned int failures = 0;

    for (size_t i = 0; i < row_count; i++) {
        const struct must *must = must_of(&rows[i]);

        if (must != NULL && verdict(&rows[i], must) == 0 &&
            (must->weight == DECISIVE || (must->weight == INSTRUCTIONS && instructions_too))) {
            fprintf(stderr, "bench: %s.%s is %g, and must be %s%g\n", rows[i].group, rows[i].row,
                    rows[i].median[OURS], must->demand == EXACTLY ? "" : "at most ", must->value);
            failures++;
        }
    }
    return failures;
}
