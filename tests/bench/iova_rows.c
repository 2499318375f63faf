/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* The rows of the IOVA allocator that take time, and what is verified between the times taken. */

#include <stdio.h>

#include "iova_work.h"
#include "report.h"
#include "rows.h"

#define PAIRS 65536u

/* What a thread does: pairs at this depth. */
#define THREAD_PAIRS 32768u

static void measure_pairs(const char *name, size_t depth, const struct effort *effort)
{
    const size_t pairs = PAIRS / effort->divisor;
    void *spaces[LIMIT] = {NULL};
    struct samples samples[IMPLEMENTATIONS] = {0};

    for (unsigned int i = 0; i < LIMIT; i++) {
        if (iova_allocators[i] != NULL) {
            spaces[i] = iova_allocators[i]->create(1);
        }
    }
    for (unsigned int repetition = 0; repetition < effort->repetitions; repetition++) {
        for (unsigned int i = 0; i < LIMIT; i++) {
            unsigned int which = (repetition + i) % LIMIT;
            double begin;

            if (spaces[which] == NULL) {
                continue;
            }
            begin = now();
            if (!counted_pairs(iova_allocators[which], spaces[which], pairs, depth)) {
                wrong("%s: %s failed", iova_allocators[which]->name, name);
            }
            samples_add(&samples[which], (now() - begin) / (double)pairs);
        }
    }
    for (unsigned int i = 0; i < LIMIT; i++) {
        if (spaces[i] != NULL) {
            iova_allocators[i]->destroy(spaces[i]);
        }
    }
    report_add("iova", name, UNIT_PAIR, samples);
}

static void measure_steps(struct population *population, size_t steps, struct samples *samples)
{
    double begin;

    /* What has been looked at since its last turn has put it out of the caches. */
    counted_steps(population, steps / 8);
    begin = now();
    counted_steps(population, steps);
    samples_add(samples, (now() - begin) / (double)steps);
    population_check(population);
}

/*
 * Fills a space for each allocator. Where pages are limited, all go on with as many as the one that
 * got least far.
 */
static void populate(struct population populations[LIMIT], const struct workload *workload,
                     const struct effort *effort)
{
    uint64_t pages = workload->most_pages;

    for (unsigned int i = 0; i < LIMIT; i++) {
        if (iova_allocators[i] != NULL) {
            population_open(&populations[i], workload, iova_allocators[i], 1);
            counted_steps(&populations[i], workload->fill + workload->ageing[i] / effort->divisor);
            population_check(&populations[i]);
            pages = populations[i].pages < pages ? populations[i].pages : pages;
        }
    }
    for (unsigned int i = 0; workload->most_pages != UINT64_MAX && i < LIMIT; i++) {
        if (iova_allocators[i] != NULL) {
            report_note("iova.%s: %s reaches %zu ranges on %llu pages after %zu failed calls; "
                        "measured with at most %llu pages.",
                        workload->name, iova_allocators[i]->name, populations[i].count,
                        (unsigned long long)populations[i].pages, populations[i].failures,
                        (unsigned long long)pages);
            populations[i].most_pages = pages;
        }
    }
}

static void measure_workload(const struct workload *workload, const struct effort *effort)
{
    struct population populations[LIMIT];
    struct samples samples[IMPLEMENTATIONS] = {0};

    populate(populations, workload, effort);
    for (unsigned int repetition = 0; repetition < effort->repetitions; repetition++) {
        for (unsigned int i = 0; i < LIMIT; i++) {
            unsigned int which = (repetition + i) % LIMIT;

            if (iova_allocators[which] != NULL) {
                measure_steps(&populations[which], workload->steps[which], &samples[which]);
            }
        }
    }
    for (unsigned int i = 0; i < LIMIT; i++) {
        if (iova_allocators[i] != NULL) {
            population_close(&populations[i]);
        }
    }
    report_add("iova", workload->name, UNIT_PAIR, samples);
}

static bool run_pairs(const struct thread_work *work, void *space, unsigned int thread)
{
    (void)thread;
    return counted_pairs(work->implementation, space, work->count, MOST_DEEP);
}

static void measure_threads(const struct effort *effort)
{
    void *spaces[LIMIT][THREADS] = {{NULL}};
    struct thread_work works[LIMIT] = {0};

    for (unsigned int i = 0; i < LIMIT; i++) {
        if (iova_allocators[i] == NULL) {
            continue;
        }
        works[i] = (struct thread_work){.name = iova_allocators[i]->name,
                                        .run = run_pairs,
                                        .implementation = iova_allocators[i],
                                        .count = THREAD_PAIRS / effort->divisor};
        for (unsigned int j = 0; j < THREADS; j++) {
            spaces[i][j] = iova_allocators[i]->create(THREADS);
        }
    }
    threads_compare("iova", effort, works, spaces);
    for (unsigned int i = 0; i < LIMIT; i++) {
        for (unsigned int j = 0; iova_allocators[i] != NULL && j < THREADS; j++) {
            iova_allocators[i]->destroy(spaces[i][j]);
        }
    }
}

void iova_measure(const struct effort *effort)
{
    measure_pairs("lifo", 1, effort);
    measure_pairs("lifo_64", MOST_DEEP, effort);
    for (size_t i = 0; i < workload_count; i++) {
        measure_workload(&workloads[i], effort);
    }
    measure_threads(effort);
}
