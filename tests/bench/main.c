/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The benchmark of the page tables, of the IOVA allocator and of virtio. scripts/bench.sh builds it
 * beside Linux's, and runs it.
 *
 *     piommu-bench [--quick] [--exact] [--add FILE] [--strict] [--json FILE]
 *     piommu-bench --count OPERATION IMPLEMENTATION CALLS
 *
 * The first form measures all rows. --exact leaves out those that take time, --add takes further
 * ones from a file, --strict fails for too many instructions too. The second form is for callgrind.
 *
 * Exit status: 0; 1 if results were wrong, conditions not equal or exact counts not those that they
 * must be; 2 for a bad call.
 */

#define _GNU_SOURCE
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "iova.h"
#include "report.h"
#include "rows.h"

/* At least 15 repetitions, also in a hurry: a median of fewer says little on a shared machine. */
static const struct effort thorough = {.repetitions = 21, .divisor = 1};
static const struct effort quick = {.repetitions = 15, .divisor = 8};

const struct implementation *const implementations[IMPLEMENTATIONS] = {
    [OURS] = &ours,
#ifdef BENCH_WITH_LINUX
    [PEER] = &linux_peer,
#endif
    [LIMIT] = &limit,
};

static void invalidate_nothing(void *cookie, uint64_t first, uint64_t last)
{
    (void)cookie;
    (void)first;
    (void)last;
}

bench_invalidate invalidate = invalidate_nothing;
uint64_t cleaned_lines;

static unsigned int wrongs;

void wrong(const char *format, ...)
{
    va_list arguments;

    /* The first ones say it all. */
    if (wrongs++ < 20) {
        va_start(arguments, format);
        fputs("bench: ", stderr);
        vfprintf(stderr, format, arguments);
        fputc('\n', stderr);
        va_end(arguments);
    }
}

static int usage(void)
{
    fputs("usage: piommu-bench [--quick] [--exact] [--add FILE] [--strict] [--json FILE]\n"
          "       piommu-bench --count OPERATION IMPLEMENTATION CALLS\n",
          stderr);
    return 2;
}

/* A thread that moves between CPUs finds their caches cold. */
static void stay_on_this_cpu(void)
{
    cpu_set_t set;
    int cpu = sched_getcpu();

    if (cpu >= 0) {
        CPU_ZERO(&set);
        CPU_SET((unsigned int)cpu, &set);
        (void)sched_setaffinity(0, sizeof(set), &set);
    }
}

int main(int argc, char **argv)
{
    const struct effort *effort = &thorough;
    const char *json = NULL;
    bool exact = false;
    bool strict = false;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--count") == 0 && i == 1 && argc == 5) {
            if (!counts_run(argv[2], argv[3], strtoul(argv[4], NULL, 10))) {
                return usage();
            }
            return wrongs != 0;
        } else if (strcmp(argv[i], "--quick") == 0) {
            effort = &quick;
        } else if (strcmp(argv[i], "--exact") == 0) {
            exact = true;
        } else if (strcmp(argv[i], "--strict") == 0) {
            strict = true;
        } else if (strcmp(argv[i], "--json") == 0 && i + 1 < argc) {
            json = argv[++i];
        } else if (strcmp(argv[i], "--add") == 0 && i + 1 < argc) {
            if (!report_add_file(argv[++i])) {
                return 2;
            }
        } else {
            return usage();
        }
    }

    for (size_t i = 0; i < shape_count; i++) {
        check_fairness(&shapes[i]);
    }
    counts_measure();
    virtio_count();
    iova_count();
    if (!exact) {
        threads_find_cpus();
        stay_on_this_cpu();
        for (size_t i = 0; i < shape_count; i++) {
            rows_measure(&shapes[i], effort);
            rows_measure_disjoint(&shapes[i], effort);
        }
        core_measure(effort);
        virtio_measure(effort);
        iova_measure(effort);
        dma_measure(effort);
    }
    if (implementations[PEER] == NULL) {
        report_note("Linux is not there to compare with.");
    }
    report_print();
    if (json != NULL && !report_write_json(json)) {
        return 2;
    }
    if (wrongs != 0) {
        fprintf(stderr, "bench: %u results or conditions were wrong\n", wrongs);
    }
    return report_exact_failures(strict) != 0 || wrongs != 0;
}
