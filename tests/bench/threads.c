/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Two threads that do the same side by side: in one object, and in an object each. Were nothing
 * shared in the one object, both would take equally long, on any machine.
 */

#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>

#include "iova.h"
#include "report.h"
#include "rows.h"

#define PAGES_PER_THREAD 32768u

struct worker {
    const struct thread_work *work;
    void *object;
    unsigned int number;
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
    CPU_SET(cpus[worker->number], &set);
    (void)sched_setaffinity(0, sizeof(set), &set);
    this_cpu = worker->number;
    pthread_barrier_wait(worker->start);
    begin = now();
    worker->good = worker->work->run(worker->work, worker->object, worker->number);
    worker->time = now() - begin;
    return NULL;
}

/* Returns the time of all threads together, or 0 on failure. */
static double run(const struct thread_work *what, void *const objects[THREADS])
{
    struct worker workers[THREADS];
    pthread_t threads[THREADS];
    pthread_barrier_t start;
    double time = 0;

    pthread_barrier_init(&start, NULL, THREADS);
    for (unsigned int i = 0; i < THREADS; i++) {
        workers[i] =
            (struct worker){.work = what, .object = objects[i], .number = i, .start = &start};
        if (pthread_create(&threads[i], NULL, work, &workers[i]) != 0) {
            wrong("no thread");
            return 0;
        }
    }
    for (unsigned int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        time += workers[i].time;
        if (!workers[i].good) {
            wrong("%s: a call of one of two threads failed", what->name);
        }
    }
    pthread_barrier_destroy(&start);
    return time;
}

void threads_compare(const char *group, const struct effort *effort,
                     const struct thread_work works[LIMIT], void *objects[LIMIT][THREADS])
{
    struct samples samples[IMPLEMENTATIONS] = {0};

    if (cpu_count < THREADS) {
        report_note("%s.threads_2: there is only one CPU.", group);
        return;
    }
    /* More than elsewhere, since what else the machine does disturbs two CPUs more than one. */
    for (unsigned int repetition = 0; repetition < 3 * effort->repetitions; repetition++) {
        for (unsigned int i = 0; i < LIMIT; i++) {
            unsigned int which = (repetition + i) % LIMIT;
            void *const shared[THREADS] = {objects[which][0], objects[which][0]};
            double apart;

            if (works[which].run == NULL) {
                continue;
            }
            apart = run(&works[which], objects[which]);
            samples_add(&samples[which], apart / run(&works[which], shared));
        }
    }
    report_add(group, "threads_2", UNIT_SCALING, samples);
}

/* Maps and unmaps pages one by one, in a range beside that of the other thread. */
static bool map_and_unmap(const struct thread_work *what, void *table, unsigned int thread)
{
    const struct implementation *implementation = what->implementation;
    const uint64_t begin = BENCH_BASE + thread * what->count * what->page;
    bool good = true;

    for (size_t i = 0; i < what->count; i++) {
        uint64_t iova = begin + i * what->page;

        good &= implementation->map(table, iova, iova + BENCH_OFFSET, what->page, 1);
    }
    for (size_t i = 0; i < what->count; i++) {
        good &= implementation->unmap(table, begin + i * what->page, what->page, 1);
    }
    return good;
}

void threads_measure(const struct shape *shape, const struct effort *effort,
                     const struct usage *usage)
{
    const uint64_t page = shape_granule(shape);
    const size_t count = PAGES_PER_THREAD / effort->divisor;
    void *tables[LIMIT][THREADS] = {{NULL}};
    struct thread_work works[LIMIT] = {0};

    for (unsigned int i = 0; i < LIMIT; i++) {
        if (implementations[i] == NULL) {
            continue;
        }
        works[i] = (struct thread_work){.name = implementations[i]->name,
                                        .run = map_and_unmap,
                                        .implementation = implementations[i],
                                        .page = page,
                                        .count = count};
        for (unsigned int j = 0; j < THREADS; j++) {
            tables[i][j] = implementations[i]->create(shape, usage);
            /* Makes the tables, which then stay. */
            if (!implementations[i]->map(tables[i][j], BENCH_BASE, BENCH_OFFSET + page, page,
                                         THREADS * count) ||
                !implementations[i]->unmap(tables[i][j], BENCH_BASE, page, THREADS * count)) {
                wrong("%s: map and unmap before the threads", implementations[i]->name);
            }
        }
    }
    threads_compare(shape->name, effort, works, tables);
    for (unsigned int i = 0; i < LIMIT; i++) {
        for (unsigned int j = 0; implementations[i] != NULL && j < THREADS; j++) {
            implementations[i]->destroy(tables[i][j]);
        }
    }
}
