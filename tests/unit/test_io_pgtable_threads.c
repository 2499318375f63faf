/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Tables that are made for several CPUs, used by several threads at once: each has ranges of its
 * own, next to those of others, and calls at random whatever may run beside. Worth most under the
 * thread sanitizer: the host puts the threads in no order.
 *
 * Environment: PIOMMU_RANDOM_SEED; PIOMMU_RANDOM_STEPS, the number of calls, roughly. The threads
 * take turns as they like, so that a seed makes the same calls, but not the same outcome.
 */

#include "disjoint_actor.h"
#include "pgtable_fixture.h"

#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define ROUNDS    3u
#define ALL_STEPS 60000u

struct setting {
    const char *name;
    struct kind kind;
    bool coherent;
    bool scattered;
    bool is_reserved;
    uint16_t kept;
    uint16_t fail_chance; /* of 65536 */
    uint8_t threads;
    uint8_t sections;
};

static const struct setting settings[] = {
    {.name = "4K", .kind = {S1_64, 4096, 39, 48, 0, 0}, .coherent = true, .threads = 4},
    {.name = "4K, four levels, a quota of empty tables",
     .kind = {S1_64, 4096, 48, 48, 0, 0},
     .coherent = true,
     .scattered = true,
     .kept = 3,
     .threads = 3},
    {.name = "4K, groups, short of memory",
     .kind = {S1_64, 4096, 39, 40, PIOMMU_PGTABLE_CONTIGUOUS, 0},
     .coherent = true,
     .kept = 1,
     .fail_chance = 6000,
     .threads = 4},
    {.name = "4K, a reserve",
     .kind = {S1_64, 4096, 39, 48, PIOMMU_PGTABLE_BBM_LEVEL_2, 0},
     .coherent = true,
     .is_reserved = true,
     .threads = 4,
     .sections = 5},
    {.name = "4K, a reserve and a quota, not coherent",
     .kind = {S2_64, 4096, 40, 40, PIOMMU_PGTABLE_CONCATENATE, 0},
     .coherent = false,
     .scattered = true,
     .is_reserved = true,
     .kept = 4,
     .threads = 3,
     .sections = 5},
    {.name = "4K, pages alone, not coherent",
     .kind = {S1_64, 4096, 48, 48, 0, 4096},
     .coherent = false,
     .threads = 4},
    {.name = "4K, not coherent, short of memory, a large quota",
     .kind = {S2_64, 4096, 48, 48, PIOMMU_PGTABLE_CONTIGUOUS, 0},
     .coherent = false,
     .kept = 100,
     .fail_chance = 3000,
     .threads = 4},
    {.name = "4K, live splits",
     .kind = {S1_64, 4096, 39, 48, PIOMMU_PGTABLE_CONTIGUOUS | PIOMMU_PGTABLE_BBM_LEVEL_2, 0},
     .coherent = true,
     .kept = 2,
     .fail_chance = 2000,
     .threads = 2},
    {.name = "16K, a quota, not coherent",
     .kind = {S1_64, 16384, 47, 48, 0, 0},
     .coherent = false,
     .kept = 2,
     .threads = 4},
    {.name = "64K, groups",
     .kind = {S2_64, 65536, 42, 48, PIOMMU_PGTABLE_CONTIGUOUS, 0},
     .coherent = true,
     .kept = 1,
     .fail_chance = 1000,
     .threads = 4},
    {.name = "32-bit stage 1",
     .kind = {S1_32, 4096, 32, 40, 0, 0},
     .coherent = true,
     .scattered = true,
     .fail_chance = 2000,
     .threads = 4},
    {.name = "32-bit stage 2, not coherent",
     .kind = {S2_32, 4096, 40, 40, 0, 0},
     .coherent = false,
     .kept = 3,
     .threads = 4},
};

/* What a failure tells of. */
struct circumstances {
    const struct setting *setting;
    unsigned int round;
    uint64_t seed;
};

struct worker {
    struct disjoint_actor *actor;
    pthread_barrier_t *start;
    uint64_t steps;
    unsigned int fail_chance;
};

static uint64_t number_from(const char *name, uint64_t usual)
{
    const char *text = getenv(name);

    return text != NULL && *text != '\0' ? strtoull(text, NULL, 0) : usual;
}

static void describe(const void *what)
{
    const struct circumstances *now = what;

    fprintf(stderr, "%s, round %u, PIOMMU_RANDOM_SEED=%llu\n", now->setting->name, now->round,
            (unsigned long long)now->seed);
}

static void give_way(void)
{
    sched_yield();
}

static void *work(void *argument)
{
    struct worker *worker = argument;

    disjoint_become(worker->actor->number);
    disjoint_share(worker->actor->h)->fail_chance = worker->fail_chance;
    pthread_barrier_wait(worker->start);
    for (uint64_t i = 0; i < worker->steps; i++) {
        struct piommu_pgtable_statistics statistics;

        actor_step(worker->actor);
        piommu_pgtable_get_statistics(worker->actor->h->table, &statistics);
        CHECK(statistics.tables_empty <= worker->actor->h->rules.config.empty_tables_kept);
        CHECK(statistics.tables_spare <= statistics.tables_reserved);
    }
    actor_sync(worker->actor);
    return NULL;
}

static void run_threads(struct disjoint_actor *actors, const struct setting *setting,
                        uint64_t steps)
{
    struct worker workers[DISJOINT_THREADS];
    pthread_t threads[DISJOINT_THREADS];
    pthread_barrier_t start;

    pthread_barrier_init(&start, NULL, setting->threads);
    for (unsigned int i = 0; i < setting->threads; i++) {
        workers[i] = (struct worker){.actor = &actors[i],
                                     .start = &start,
                                     .steps = steps,
                                     .fail_chance = setting->fail_chance};
        assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    }
    for (unsigned int i = 0; i < setting->threads; i++) {
        pthread_join(threads[i], NULL);
    }
    pthread_barrier_destroy(&start);
}

/* What no thread could take out alone goes now. */
static void trim_all(struct disjoint_host *h)
{
    struct piommu_gather gather;
    struct piommu_pgtable_statistics statistics;
    struct disjoint_counts counts;

    piommu_gather_init(&gather);
    piommu_pgtable_trim(h->table, &gather);
    piommu_pgtable_release(h->table, &gather);
    disjoint_check_all(h, &counts);
    piommu_pgtable_get_statistics(h->table, &statistics);
    assert_int_equal(counts.empty, 0);
    assert_int_equal(statistics.tables_empty, 0);
    assert_int_equal(statistics.tables_spare + counts.linked,
                     statistics.tables_allocated - statistics.tables_freed);
    if (statistics.tables_reserved != 0) {
        assert_int_equal(statistics.tables_spare + counts.linked, statistics.tables_reserved);
    }
    if (counts.leaves == 0) {
        assert_int_equal(counts.linked, 0);
    }
}

static void run_round(struct disjoint_actor *actors, const struct setting *setting, uint64_t steps,
                      uint64_t seed)
{
    struct disjoint_host *h = actors[0].h;
    struct disjoint_counts counts;
    uint64_t plan = 0;

    actors_deal(actors, setting->threads, setting->sections != 0 ? setting->sections : 12, seed);
    if (setting->is_reserved) {
        plan = actors_plan(actors, setting->threads);
        assert_int_equal(piommu_pgtable_reserve(h->table, (uint32_t)plan), 0);
    }
    for (unsigned int i = 0; i < setting->threads; i++) {
        actors[i].is_reserved = setting->is_reserved;
        actors[i].yield = give_way;
    }
    run_threads(actors, setting, steps);
    disjoint_become(DISJOINT_THREADS);
    actors_check_all(actors, setting->threads);
    disjoint_check_all(h, &counts);
    trim_all(h);
    actors_check_all(actors, setting->threads);
    for (unsigned int i = 0; i < setting->threads; i++) {
        actor_clear(&actors[i]);
    }
    trim_all(h);
    piommu_pgtable_unreserve(h->table, (uint32_t)plan);
    assert_int_equal(disjoint_tables_held(h), 0);
}

static void run_setting(const struct setting *setting, uint64_t seed, uint64_t steps)
{
    static struct disjoint_actor actors[DISJOINT_THREADS];
    struct piommu_pgtable_config config = config_of_kind(&setting->kind);
    struct disjoint_options options = {
        .scattered = setting->scattered, .tables_per_thread = 1000, .seed = seed};
    struct circumstances now = {.setting = setting, .seed = seed};
    struct disjoint_host *h;

    /* As much as there is room for in 32 bits of address. */
    if (setting->is_reserved) {
        options.tables_per_thread = 6000;
    } else if (config.granule != 4096) {
        options.tables_per_thread = 300;
    }
    config.flags |= PIOMMU_PGTABLE_DISJOINT;
    config.coherent_walk = setting->coherent;
    config.empty_tables_kept = setting->kept;
    pgtable_describe(describe, &now);
    h = disjoint_open(&config, &options);
    actors_init(actors, setting->threads, h, seed);
    for (now.round = 0; now.round < ROUNDS; now.round++) {
        run_round(actors, setting, steps, seed + now.round);
    }
    disjoint_close(h);
    pgtable_describe(NULL, NULL);
}

static void threads_with_disjoint_ranges_need_no_lock(void **state)
{
    uint64_t seed = number_from("PIOMMU_RANDOM_SEED", 1);
    uint64_t steps = number_from("PIOMMU_RANDOM_STEPS", ALL_STEPS);

    (void)state;
    if (!DISJOINT_TABLES_EXIST) {
        skip();
    }
    for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
        run_setting(&settings[i], seed, steps / 100);
    }
}

static void without_atomics_there_are_no_such_tables(void **state)
{
    struct piommu_pgtable_config config = stage1_config(39);
    struct fake_os *os = fake_os_create(NULL);
    struct piommu_pgtable *table = NULL;
    int result;

    (void)state;
    config.flags = PIOMMU_PGTABLE_DISJOINT;
    result = piommu_pgtable_create(fake_os_host(os), &config, &table);
    if (DISJOINT_TABLES_EXIST) {
        assert_int_equal(result, 0);
        piommu_pgtable_destroy(table);
    } else {
        assert_int_equal(result, -PIOMMU_EOPNOTSUPP);
    }
    fake_os_destroy(os);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_with_disjoint_ranges_need_no_lock),
        cmocka_unit_test(without_atomics_there_are_no_such_tables),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
