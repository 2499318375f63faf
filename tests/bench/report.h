/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_TESTS_BENCH_REPORT_H
#define PIOMMU_TESTS_BENCH_REPORT_H

/* Rows of results, and what is demanded of them. */

#include <stddef.h>

#include "bench.h"

#define MOST_SAMPLES  64u
#define ROW_NAME_SIZE 32u

/* What was measured of one implementation; nothing, if there are no samples. */
struct samples {
    double values[MOST_SAMPLES];
    size_t count;
};

void samples_add(struct samples *samples, double value);

/*
 * Adds a row. The name is SHAPE.ROW or GROUP.ROW; the unit is one of the constants below, which say
 * whether less is better.
 */
void report_add(const char *group, const char *row, const char *unit,
                struct samples samples[IMPLEMENTATIONS]);

/* A row with one exact value for each implementation, NaN where there is none. */
void report_add_exact(const char *group, const char *row, const char *unit, double our_value,
                      double peer_value);

/* Adds rows from a file of lines "GROUP ROW UNIT OURS PEER", where PEER may be "-". */
bool report_add_file(const char *path);

#define UNIT_PAGE      "ns/page"
#define UNIT_CALL      "ns/call"
#define UNIT_PAIR      "ns/pair"
#define UNIT_SCALING   "x" /* more is better */
#define UNIT_TABLES    "kept/needed"
#define UNIT_VISITED   "worst/median"
#define UNIT_RANGE     "bytes/range"
#define UNIT_LINES     "lines"
#define UNIT_REQUESTS  "requests"
#define UNIT_DOORBELLS "doorbells"

/* A line below the table. */
void report_note(const char *format, ...) __attribute__((format(printf, 1, 2)));

void report_print(void);
bool report_write_json(const char *path);

/* How many rows whose values are exact do not have the value that they must have. */
unsigned int report_exact_failures(bool instructions_too);

#endif
