/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The rows that take time. One repetition of all implementations after the other, each time
 * beginning with another one, so that a machine that is slow for a while is slow for all. Results
 * are verified between the times taken.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "report.h"
#include "rows.h"

/* So many tables that emptying a range never detaches one: "the table stays". */
#define ALL_EMPTIES_KEPT UINT16_MAX
/* For the rows that show how a table is used in general. */
#define SOME_EMPTIES_KEPT 16u

#define REGION_PAGES   262144u
#define VERIFIED_PAGES 1000u

#define LIVE_PAGES        1024u
#define CHURN_SPACE_SHIFT 36 /* 64 GiB */

const struct shape shapes[] = {
    {"s1_4k", false, 48, 12, 2u << 20},
    {"s2_4k", true, 40, 12, 2u << 20},
    {"s1_64k", false, 48, 16, 1u << 16},
};
const size_t shape_count = sizeof(shapes) / sizeof(shapes[0]);

double now(void)
{
    struct timespec time;

    /* Of this thread: what others do on the same CPU in between is not counted. */
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

/* The implementation whose turn it is, or one that is not there. */
static unsigned int turn(unsigned int repetition, unsigned int i)
{
    return (repetition + i) % IMPLEMENTATIONS;
}

/* Calls side by side, over one range. */
struct series {
    uint64_t physical;
    uint64_t page;
    size_t per_call;
    size_t calls;
};

static uint64_t series_step(const struct series *series)
{
    return series->page * series->per_call;
}

static void map_all(const struct implementation *implementation, void *table,
                    const struct series *series)
{
    uint64_t step = series_step(series);
    uint64_t iova = BENCH_BASE;
    bool good = true;

    for (size_t i = 0; i < series->calls; i++) {
        good &= implementation->map(table, iova, series->physical + (iova - BENCH_BASE),
                                    series->page, series->per_call);
        iova += step;
    }
    if (!good) {
        wrong("%s: a map failed", implementation->name);
    }
}

static void unmap_all(const struct implementation *implementation, void *table,
                      const struct series *series)
{
    uint64_t step = series_step(series);
    uint64_t iova = BENCH_BASE;
    bool good = true;

    for (size_t i = 0; i < series->calls; i++) {
        good &= implementation->unmap(table, iova, series->page, series->per_call);
        iova += step;
    }
    if (!good) {
        wrong("%s: an unmap failed", implementation->name);
    }
}

/* Looks at random pages of a series. The limit has no levels to get wrong. */
static void verify(const struct implementation *implementation, void *table,
                   const struct series *series, bool mapped)
{
    uint64_t random = 88172645463325252ull;
    uint64_t size = series_step(series) * series->calls;

    if (implementation == &limit) {
        return;
    }
    for (unsigned int i = 0; i < VERIFIED_PAGES; i++) {
        uint64_t offset = random_next(&random) % size;
        uint64_t expected = mapped ? series->physical + offset : implementation->absent;
        uint64_t found = implementation->lookup(table, BENCH_BASE + offset);

        if (found != expected) {
            wrong("%s: %#llx leads to %#llx, not to %#llx", implementation->name,
                  (unsigned long long)(BENCH_BASE + offset), (unsigned long long)found,
                  (unsigned long long)expected);
            return;
        }
    }
}

/* Of disjoint tables the rows have names of their own. */
static const char *row_name(const char *name, const struct usage *usage)
{
    static char buffer[ROW_NAME_SIZE];

    snprintf(buffer, sizeof(buffer), "%s%s", name, usage->disjoint ? "_disjoint" : "");
    return buffer;
}

/* A kind of series, and the rows that it gives; NULL for none. */
struct kind {
    const char *present;
    const char *unmap;
    const char *fresh;
    const char *unit;
    bool large;
    size_t per_call;
    size_t pages;
    bool in_disjoint; /* measured in disjoint tables, too */
};

static const struct kind kinds[] = {
    {"map_1_present", "unmap_1", "map_1_new", UNIT_CALL, false, 1, REGION_PAGES / 4, true},
    {"map_16_present", NULL, NULL, UNIT_PAGE, false, 16, REGION_PAGES, false},
    {"map_512_present", "unmap_512", "map_512_new", UNIT_PAGE, false, 512, REGION_PAGES, true},
    {"map_262144_present", "unmap_262144", "map_262144_new", UNIT_PAGE, false, 262144, REGION_PAGES,
     false},
    {"map_2m", "unmap_2m", NULL, UNIT_CALL, true, 1, REGION_PAGES / 16, false},
};

static struct series series_of(const struct shape *shape, const struct kind *kind,
                               const struct effort *effort)
{
    struct series series = {.physical = BENCH_BASE + BENCH_OFFSET, .per_call = kind->per_call};
    size_t pages = kind->per_call == REGION_PAGES ? kind->pages : kind->pages / effort->divisor;

    if (!kind->large) {
        series.page = shape_granule(shape);
        /* No block fits, so that all are pages, without the table being told so. */
        series.physical += series.page;
    } else {
        series.page = shape->large_page;
        series.per_call = (size_t)((2u << 20) / series.page);
    }
    series.calls = pages / kind->per_call;
    return series;
}

/* Maps where the tables are there already, and unmaps so that they stay. */
static void measure_present(const struct shape *shape, const struct kind *kind,
                            const struct effort *effort, const struct usage *usage)
{
    struct series series = series_of(shape, kind, effort);
    double count = (double)(kind->large ? series.calls : series.calls * series.per_call);
    void *tables[IMPLEMENTATIONS];
    struct samples maps[IMPLEMENTATIONS] = {0};
    struct samples unmaps[IMPLEMENTATIONS] = {0};

    for (unsigned int i = 0; i < IMPLEMENTATIONS; i++) {
        if (implementations[i] != NULL) {
            tables[i] = implementations[i]->create(shape, usage);
            map_all(implementations[i], tables[i], &series);
            unmap_all(implementations[i], tables[i], &series);
        }
    }
    for (unsigned int repetition = 0; repetition < effort->repetitions; repetition++) {
        for (unsigned int i = 0; i < IMPLEMENTATIONS; i++) {
            unsigned int which = turn(repetition, i);
            const struct implementation *implementation = implementations[which];
            double begin;

            if (implementation == NULL) {
                continue;
            }
            begin = now();
            map_all(implementation, tables[which], &series);
            samples_add(&maps[which], (now() - begin) / count);
            verify(implementation, tables[which], &series, true);
            begin = now();
            unmap_all(implementation, tables[which], &series);
            samples_add(&unmaps[which], (now() - begin) / count);
            verify(implementation, tables[which], &series, false);
        }
    }
    for (unsigned int i = 0; i < IMPLEMENTATIONS; i++) {
        if (implementations[i] != NULL) {
            implementations[i]->destroy(tables[i]);
        }
    }
    report_add(shape->name, row_name(kind->present, usage), kind->unit, maps);
    if (kind->unmap != NULL) {
        report_add(shape->name, row_name(kind->unmap, usage), kind->unit, unmaps);
    }
}

/* Maps into an empty table, so that all tables on the way are made. */
static void measure_new(const struct shape *shape, const struct kind *kind,
                        const struct effort *effort, const struct usage *usage)
{
    struct series series = series_of(shape, kind, effort);
    double count = (double)(series.calls * series.per_call);
    struct samples maps[IMPLEMENTATIONS] = {0};

    for (unsigned int repetition = 0; repetition < effort->repetitions; repetition++) {
        for (unsigned int i = 0; i < IMPLEMENTATIONS; i++) {
            unsigned int which = turn(repetition, i);
            const struct implementation *implementation = implementations[which];
            void *table;
            double begin;

            if (implementation == NULL) {
                continue;
            }
            table = implementation->create(shape, usage);
            begin = now();
            map_all(implementation, table, &series);
            samples_add(&maps[which], (now() - begin) / count);
            verify(implementation, table, &series, true);
            implementation->destroy(table);
        }
    }
    report_add(shape->name, row_name(kind->fresh, usage), kind->unit, maps);
}

/* One page of an otherwise empty table is mapped and unmapped again and again. */
static void measure_pair(const struct shape *shape, const struct effort *effort,
                         const struct usage *usage)
{
    const uint64_t page = shape_granule(shape);
    const size_t pairs = 65536 / effort->divisor;
    struct samples samples[IMPLEMENTATIONS] = {0};

    for (unsigned int repetition = 0; repetition < effort->repetitions; repetition++) {
        for (unsigned int i = 0; i < IMPLEMENTATIONS; i++) {
            unsigned int which = turn(repetition, i);
            const struct implementation *implementation = implementations[which];
            bool good = true;
            void *table;
            double begin;

            if (implementation == NULL) {
                continue;
            }
            table = implementation->create(shape, usage);
            begin = now();
            for (size_t pair = 0; pair < pairs; pair++) {
                good &= implementation->map(table, BENCH_BASE, BENCH_OFFSET, page, 1);
                good &= implementation->unmap(table, BENCH_BASE, page, 1);
            }
            samples_add(&samples[which], (now() - begin) / (double)pairs);
            if (!good || implementation->lookup(table, BENCH_BASE) != implementation->absent) {
                wrong("%s: map and unmap of one page", implementation->name);
            }
            implementation->destroy(table);
        }
    }
    report_add(shape->name, row_name("pair_1", usage), UNIT_PAIR, samples);
}

/* Looks pages up, so that the CPU may begin with the next ones before one is done. */
static uint64_t look_up(const struct implementation *implementation, void *table,
                        const uint64_t *iovas, size_t count)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < count; i++) {
        sum += implementation->lookup(table, iovas[i]);
    }
    return sum;
}

/* The same, but each address depends on what the lookup before gave. */
static uint64_t look_up_dependent(const struct implementation *implementation, void *table,
                                  const uint64_t *iovas, size_t count)
{
    uint64_t sum = 0;
    uint64_t result = 0;

    for (size_t i = 0; i < count; i++) {
        /* Output addresses of pages are even, which only we know. */
        result = implementation->lookup(table, iovas[i] + (result & 1));
        sum += result;
    }
    return sum;
}

static void measure_lookup(const struct shape *shape, const struct effort *effort)
{
    const struct usage usage = {.coherent_walk = true, .empties_kept = SOME_EMPTIES_KEPT};
    const struct series series = {
        .physical = BENCH_BASE + BENCH_OFFSET + shape_granule(shape),
        .page = shape_granule(shape),
        .per_call = REGION_PAGES,
        .calls = 1,
    };
    const size_t count = REGION_PAGES / 2 / effort->divisor;
    uint64_t *iovas = calloc(count, sizeof(*iovas));
    uint64_t random = 2463534242ull;
    uint64_t expected = 0;
    void *tables[IMPLEMENTATIONS];
    struct samples samples[2][IMPLEMENTATIONS] = {0};

    for (size_t i = 0; i < count; i++) {
        iovas[i] = BENCH_BASE + (random_next(&random) % REGION_PAGES) * series.page;
        expected += iovas[i] - BENCH_BASE + series.physical;
    }
    for (unsigned int i = 0; i < IMPLEMENTATIONS; i++) {
        if (implementations[i] != NULL) {
            tables[i] = implementations[i]->create(shape, &usage);
            map_all(implementations[i], tables[i], &series);
        }
    }
    for (unsigned int repetition = 0; repetition < effort->repetitions; repetition++) {
        for (unsigned int i = 0; i < 2 * IMPLEMENTATIONS; i++) {
            bool dependent = i >= IMPLEMENTATIONS;
            unsigned int which = turn(repetition, i);
            uint64_t sum;
            double begin;

            if (implementations[which] == NULL) {
                continue;
            }
            begin = now();
            sum = (dependent ? look_up_dependent : look_up)(implementations[which], tables[which],
                                                            iovas, count);
            samples_add(&samples[dependent][which], (now() - begin) / (double)count);
            if (sum != expected) {
                wrong("%s: lookups gave something else", implementations[which]->name);
            }
        }
    }
    for (unsigned int i = 0; i < IMPLEMENTATIONS; i++) {
        if (implementations[i] != NULL) {
            implementations[i]->destroy(tables[i]);
        }
    }
    free(iovas);
    report_add(shape->name, "lookup_random", UNIT_CALL, samples[0]);
    report_add(shape->name, "lookup_dependent", UNIT_CALL, samples[1]);
}

/*
 * Churn: always the same number of pages mapped, at random places of a large space; each operation
 * unmaps one, maps another and looks that one up. The places are drawn beforehand, for all alike.
 */
struct churn {
    uint64_t page;
    size_t count;
    uint32_t *slots; /* which of the live pages goes, by operation */
    uint64_t *iovas; /* which one comes; the first LIVE_PAGES are the start */
    uint64_t live[IMPLEMENTATIONS][LIVE_PAGES];
};

static void churn_draw(struct churn *churn, const struct shape *shape, size_t count)
{
    unsigned int bits = CHURN_SPACE_SHIFT - shape->granule_shift;
    unsigned char *taken = calloc((size_t)1 << bits, 1);
    uint64_t *live = calloc(LIVE_PAGES, sizeof(*live));
    uint64_t random = 88172645463325252ull;

    churn->page = shape_granule(shape);
    churn->count = count;
    churn->slots = calloc(count + LIVE_PAGES, sizeof(*churn->slots));
    churn->iovas = calloc(count + LIVE_PAGES, sizeof(*churn->iovas));
    for (size_t i = 0; i < count + LIVE_PAGES; i++) {
        size_t slot = i < LIVE_PAGES ? i : random_next(&random) % LIVE_PAGES;
        uint64_t number;

        do {
            number = (random_next(&random) >> 20) & (((uint64_t)1 << bits) - 1);
        } while (taken[number] != 0);
        if (i >= LIVE_PAGES) {
            taken[live[slot]] = 0;
        }
        taken[number] = 1;
        live[slot] = number;
        churn->slots[i] = (uint32_t)slot;
        churn->iovas[i] = BENCH_BASE + (number << shape->granule_shift);
    }
    free(live);
    free(taken);
}

static void churn_run(struct churn *churn, unsigned int which, void *table, size_t first,
                      size_t count)
{
    const struct implementation *implementation = implementations[which];
    uint64_t *live = churn->live[which];
    bool good = true;

    for (size_t i = first; i < first + count; i++) {
        uint32_t slot = churn->slots[i];
        uint64_t iova = churn->iovas[i];

        good &= implementation->unmap(table, live[slot], churn->page, 1);
        good &= implementation->map(table, iova, iova + BENCH_OFFSET, churn->page, 1);
        good &= implementation->lookup(table, iova) == iova + BENCH_OFFSET;
        live[slot] = iova;
    }
    if (!good) {
        wrong("%s: churn", implementation->name);
    }
}

/* How many tables the live pages need, the root not counted. */
static size_t churn_needs(const struct churn *churn, const struct shape *shape)
{
    unsigned int bits = shape->granule_shift - 3;
    unsigned int shift = shape->granule_shift;
    size_t needed = 0;

    while (shift + bits < shape->input_bits) {
        shift += bits;
        /* At the root's level, or within the concatenated root of stage 2, it is no table. */
        if (shape->stage2 && shape->input_bits - shift <= 4) {
            break;
        }
        for (size_t i = 0; i < LIVE_PAGES; i++) {
            bool first = true;

            for (size_t j = 0; j < i && first; j++) {
                first = churn->live[OURS][i] >> shift != churn->live[OURS][j] >> shift;
            }
            needed += first;
        }
    }
    return needed;
}

static long tables_in_use(const struct shape *shape)
{
    return pool_in_use((size_t)1 << shape->granule_shift);
}

static void measure_churn(const struct shape *shape, const struct effort *effort)
{
    const struct usage usage = {.coherent_walk = true, .empties_kept = SOME_EMPTIES_KEPT};
    const size_t batch = 32768 / effort->divisor;
    struct churn churn;
    void *tables[IMPLEMENTATIONS] = {NULL};
    long used[IMPLEMENTATIONS] = {0};
    double kept[IMPLEMENTATIONS];
    struct samples samples[IMPLEMENTATIONS] = {0};

    churn_draw(&churn, shape, batch * effort->repetitions);
    for (unsigned int i = 0; i < LIMIT; i++) {
        if (implementations[i] == NULL) {
            continue;
        }
        tables[i] = implementations[i]->create(shape, &usage);
        used[i] -= tables_in_use(shape);
        for (size_t j = 0; j < LIVE_PAGES; j++) {
            churn.live[i][j] = churn.iovas[j];
            if (!implementations[i]->map(tables[i], churn.iovas[j], churn.iovas[j] + BENCH_OFFSET,
                                         churn.page, 1)) {
                wrong("%s: churn cannot begin", implementations[i]->name);
            }
        }
        used[i] += tables_in_use(shape);
    }
    for (unsigned int repetition = 0; repetition < effort->repetitions; repetition++) {
        for (unsigned int i = 0; i < IMPLEMENTATIONS; i++) {
            unsigned int which = turn(repetition, i);
            double begin;

            if (tables[which] == NULL) {
                continue;
            }
            used[which] -= tables_in_use(shape);
            begin = now();
            churn_run(&churn, which, tables[which], LIVE_PAGES + repetition * batch, batch);
            samples_add(&samples[which], (now() - begin) / (double)batch);
            used[which] += tables_in_use(shape);
        }
    }
    for (unsigned int i = 0; i < LIMIT; i++) {
        kept[i] = (double)used[i] / (double)churn_needs(&churn, shape);
        if (implementations[i] != NULL) {
            implementations[i]->destroy(tables[i]);
        }
    }
    free(churn.slots);
    free(churn.iovas);
    report_add(shape->name, "churn", "ns/op", samples);
    report_add_exact(shape->name, "churn_tables", UNIT_TABLES, kept[OURS],
                     implementations[PEER] != NULL ? kept[PEER] : (double)__builtin_nanf(""));
}

/* Times of maps and unmaps. */
static void measure_changes(const struct shape *shape, const struct effort *effort,
                            const struct usage *stays, const struct usage *general)
{
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (stays->disjoint && !kinds[i].in_disjoint) {
            continue;
        }
        measure_present(shape, &kinds[i], effort, stays);
        if (kinds[i].fresh != NULL) {
            measure_new(shape, &kinds[i], effort, general);
        }
    }
    measure_pair(shape, effort, general);
}

void rows_measure(const struct shape *shape, const struct effort *effort)
{
    const struct usage stays = {.coherent_walk = true, .empties_kept = ALL_EMPTIES_KEPT};
    const struct usage general = {.coherent_walk = true, .empties_kept = SOME_EMPTIES_KEPT};

    measure_changes(shape, effort, &stays, &general);
    measure_lookup(shape, effort);
    measure_churn(shape, effort);
}

void rows_measure_disjoint(const struct shape *shape, const struct effort *effort)
{
    const struct usage stays = {
        .coherent_walk = true, .disjoint = true, .empties_kept = ALL_EMPTIES_KEPT};
    const struct usage general = {
        .coherent_walk = true, .disjoint = true, .empties_kept = SOME_EMPTIES_KEPT};

    measure_changes(shape, effort, &stays, &general);
    threads_measure(shape, effort, &stays);
}
