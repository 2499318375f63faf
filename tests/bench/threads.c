/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Two threads that map and unmap pages one by one, in ranges side by side: in one table, and in a
 * table each. Were nothing shared in the one table, both would take equally long, on any machine.
 */

#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>

#include "report.h"
#include "rows.h"

#define THREADS          2u
#define PAGES_PER_THREAD 32768u

struct worker {
    const struct implementation *implementation;
    void *table;
    uint64_t iova;
    uint64_t page;
    size_t count;
    unsigned int cpu;
    pthread_barrier_t *start;
    double time;
    bool good;
};

static unsigned int cpus[THREADS];
static unsigned int cpu_count;

void threads_find_cpus(void)
{
    cpu_set_t set;

    if (sched_getaffinity(0, sizeof(set), &set) != 0) {
        return;
    }
    for (unsigned int cpu = 0; cpu < CPU_SETSIZE && cpu_count < THREADS; cpu++) {
        if (CPU_ISSET(cpu, &set)) {
            cpus[cpu_count++] = cpu;
        }
    }
}

static void *work(void *cookie)
{
    struct worker *worker = cookie;
    double begin;
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(worker->cpu, &set);
    (void)sched_setaffinity(0, sizeof(set), &set);
    pthread_barrier_wait(worker->start);
    begin = now();
    for (size_t i = 0; i < worker->count; i++) {
        uint64_t iova = worker->iova + i * worker->page;

        worker->good &=
            worker->implementation->map(worker->table, iova, iova + BENCH_OFFSET, worker->page, 1);
    }
    for (size_t i = 0; i < worker->count; i++) {
        worker->good &= worker->implementation->unmap(
            worker->table, worker->iova + i * worker->page, worker->page, 1);
    }
    worker->time = now() - begin;
    return NULL;
}

/* Returns the time of all threads together, or 0 on failure. */
static double run(const struct implementation *implementation, void *const tables[THREADS],
                  uint64_t page, size_t count)
{
    struct worker workers[THREADS];
    pthread_t threads[THREADS];
    pthread_barrier_t start;
    double time = 0;

    pthread_barrier_init(&start, NULL, THREADS);
    for (unsigned int i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){
            .implementation = implementation,
            .table = tables[i],
            .iova = BENCH_BASE + i * count * page,
            .page = page,
            .count = count,
            .cpu = cpus[i],
            .start = &start,
            .good = true,
        };
        if (pthread_create(&threads[i], NULL, work, &workers[i]) != 0) {
            wrong("no thread");
            return 0;
        }
    }
    for (unsigned int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        time += workers[i].time;
        if (!workers[i].good) {
            wrong("%s: a map or unmap of one of two threads failed", implementation->name);
        }
    }
    pthread_barrier_destroy(&start);
    return time;
}

void threads_measure(const struct shape *shape, const struct effort *effort,
                     const struct usage *usage)
{
    const uint64_t page = shape_granule(shape);
    const size_t count = PAGES_PER_THREAD / effort->divisor;
    void *tables[LIMIT][THREADS] = {{NULL}};
    struct samples samples[IMPLEMENTATIONS] = {0};

    if (cpu_count < THREADS) {
        report_note("%s.threads_2: there is only one CPU.", shape->name);
        return;
    }
    for (unsigned int i = 0; i < LIMIT; i++) {
        for (unsigned int j = 0; implementations[i] != NULL && j < THREADS; j++) {
            tables[i][j] = implementations[i]->create(shape, usage);
            /* Makes the tables, which then stay. */
            if (!implementations[i]->map(tables[i][j], BENCH_BASE, BENCH_OFFSET + page, page,
                                         THREADS * count) ||
                !implementations[i]->unmap(tables[i][j], BENCH_BASE, page, THREADS * count)) {
                wrong("%s: map and unmap before the threads", implementations[i]->name);
            }
        }
    }
    /* More than elsewhere, since what else the machine does disturbs two CPUs more than one. */
    for (unsigned int repetition = 0; repetition < 3 * effort->repetitions; repetition++) {
        for (unsigned int i = 0; i < LIMIT; i++) {
            unsigned int which = (repetition + i) % LIMIT;
            const struct implementation *implementation = implementations[which];
            void *const shared[THREADS] = {tables[which][0], tables[which][0]};
            double apart;

            if (implementation == NULL) {
                continue;
            }
            apart = run(implementation, tables[which], page, count);
            samples_add(&samples[which], apart / run(implementation, shared, page, count));
        }
    }
    for (unsigned int i = 0; i < LIMIT; i++) {
        for (unsigned int j = 0; implementations[i] != NULL && j < THREADS; j++) {
            implementations[i]->destroy(tables[i][j]);
        }
    }
    report_add(shape->name, "threads_2", UNIT_SCALING, samples);
}
