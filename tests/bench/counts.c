/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* What can be counted exactly: cache lines cleaned, and, under callgrind, instructions. */

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "iova.h"
#include "report.h"
#include "rows.h"

#define TABLE_PAGES 512u

/* Instructions are counted in tables of the first shape; an odd offset, so that no block fits. */
#define COUNTED_PAGE   4096u
#define COUNTED_OFFSET (BENCH_OFFSET + COUNTED_PAGE)

static uint64_t lines_of_map(const struct implementation *implementation, void *table,
                             uint64_t offset, size_t count)
{
    uint64_t before = cleaned_lines;
    uint64_t page = shape_granule(&shapes[0]);

    if (!implementation->map(table, BENCH_BASE + offset, BENCH_BASE + BENCH_OFFSET + page + offset,
                             page, count)) {
        wrong("%s: map in a table that is not coherent", implementation->name);
    }
    return cleaned_lines - before;
}

void counts_measure(void)
{
    static const char *const names[] = {"lines_map_1", "cleans_map_512_present",
                                        "cleans_map_512_new"};
    const struct usage usage = {.coherent_walk = false, .empties_kept = UINT16_MAX};
    const uint64_t page = shape_granule(&shapes[0]);
    double lines[3][LIMIT] = {{NAN, NAN}, {NAN, NAN}, {NAN, NAN}};

    for (unsigned int i = 0; i < LIMIT; i++) {
        const struct implementation *implementation = implementations[i];
        void *table;

        if (implementation == NULL) {
            continue;
        }
        table = implementation->create(&shapes[0], &usage);
        /* The tables above the last one are there in all three; this makes them. */
        lines_of_map(implementation, table, 0, 1);
        lines[0][i] = (double)lines_of_map(implementation, table, page * 16, 1);
        lines[2][i] = (double)lines_of_map(implementation, table, page * 512, 512);
        if (!implementation->unmap(table, BENCH_BASE + page * 512, page, 512)) {
            wrong("%s: unmap in a table that is not coherent", implementation->name);
        }
        lines[1][i] = (double)lines_of_map(implementation, table, page * 512, 512);
        implementation->destroy(table);
    }
    for (unsigned int i = 0; i < 3; i++) {
        report_add_exact("nc", names[i], UNIT_LINES, lines[i][OURS], lines[i][PEER]);
    }
}

/*
 * Where call number i goes: side by side, but the last page of each table is left alone, and calls
 * of many pages get a table each. So no call makes a table or empties one.
 */
static uint64_t place(size_t i, size_t pages)
{
    size_t number = pages == 1 ? i + i / (TABLE_PAGES - 1) : i * TABLE_PAGES;

    return number * COUNTED_PAGE;
}

/* The functions that callgrind is told to look at, with next to nothing of their own. */

__attribute__((noinline)) static bool counted_maps(const struct implementation *implementation,
                                                   void *table, const uint64_t *iovas, size_t calls,
                                                   size_t pages)
{
    bool good = true;

    for (size_t i = 0; i < calls; i++) {
        good &=
            implementation->map(table, iovas[i], iovas[i] + COUNTED_OFFSET, COUNTED_PAGE, pages);
    }
    return good;
}

__attribute__((noinline)) static bool counted_unmaps(const struct implementation *implementation,
                                                     void *table, const uint64_t *iovas,
                                                     size_t calls, size_t pages)
{
    bool good = true;

    for (size_t i = 0; i < calls; i++) {
        good &= implementation->unmap(table, iovas[i], COUNTED_PAGE, pages);
    }
    return good;
}

__attribute__((noinline)) static bool counted_lookups(const struct implementation *implementation,
                                                      void *table, const uint64_t *iovas,
                                                      size_t calls)
{
    bool good = true;

    for (size_t i = 0; i < calls; i++) {
        good &= implementation->lookup(table, iovas[i]) == iovas[i] + COUNTED_OFFSET;
    }
    return good;
}

bool counts_run(const char *operation, const char *name, size_t calls)
{
    const struct usage usage = {.coherent_walk = true, .empties_kept = UINT16_MAX};
    const struct implementation *implementation = NULL;
    size_t pages = strstr(operation, "256") != NULL ? 256 : 1;
    uint64_t *iovas = calloc(calls, sizeof(*iovas));
    bool good = iovas != NULL;
    bool known = true;
    void *table;

    if (strncmp(operation, "ring_", 5) == 0) {
        free(iovas);
        if (!virtio_run(operation, calls)) {
            wrong("%s failed", operation);
        }
        return true;
    }
    if (strncmp(operation, "iova_", 5) == 0) {
        free(iovas);
        return iova_run(operation, name, calls);
    }
    for (unsigned int i = 0; i < LIMIT; i++) {
        if (implementations[i] != NULL && strcmp(implementations[i]->name, name) == 0) {
            implementation = implementations[i];
        }
    }
    if (strcmp(name, over_core.name) == 0) {
        implementation = &over_core;
    }
    if (implementation == NULL || !good) {
        free(iovas);
        return false;
    }
    table = implementation->create(&shapes[0], &usage);
    for (uint64_t at = 0; at <= place(calls, pages); at += TABLE_PAGES * COUNTED_PAGE) {
        good &= implementation->map(table, BENCH_BASE + at + (TABLE_PAGES - 1) * COUNTED_PAGE,
                                    BENCH_OFFSET, COUNTED_PAGE, 1);
    }
    for (size_t i = 0; i < calls; i++) {
        iovas[i] = BENCH_BASE + place(i, pages);
    }
    if (strncmp(operation, "map_", 4) == 0) {
        good &= counted_maps(implementation, table, iovas, calls, pages);
    } else if (strncmp(operation, "unmap_", 6) == 0) {
        good &= counted_maps(implementation, table, iovas, calls, pages);
        good &= counted_unmaps(implementation, table, iovas, calls, pages);
    } else if (strcmp(operation, "lookup") == 0) {
        good &= counted_maps(implementation, table, iovas, calls, 1);
        good &= counted_lookups(implementation, table, iovas, calls);
    } else {
        known = false;
    }
    implementation->destroy(table);
    free(iovas);
    if (!good) {
        wrong("%s: %s failed", name, operation);
    }
    return known;
}
