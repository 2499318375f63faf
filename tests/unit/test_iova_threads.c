/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * One space, used by several threads at once, and by interrupts in the middle of a call. Worth most
 * under the thread sanitizer: the host puts the threads in no order, and whoever is given a granule
 * writes to it, so that it sees where a release does not come before the next allocation.
 *
 * Environment: PIOMMU_RANDOM_SEED; PIOMMU_RANDOM_STEPS, the number of calls, roughly. The threads
 * take turns as they like, so that a seed makes the same calls, but not the same outcome.
 */

#include "pgtable_host.h"
#include "threaded_host.h"

#include <piommu/iova.h>

#include <pthread.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define GRANULE   0x1000ull
#define GRANULES  8192u
#define THREADS   4u
#define HELD_MOST 48u
#define ALL_STEPS 400000u
#define COUNT(a)  (sizeof(a) / sizeof((a)[0]))

/* How the shim tells the number of a CPU. */
enum numbers {
    NUMBERS_OWN,      /* each thread stays where it is */
    NUMBERS_CHANGING, /* another one each time */
    NUMBERS_NONE,
};

struct setting {
    const char *name;
    unsigned int granules;
    unsigned int cpus;
    enum numbers numbers;
    bool bottom_up;
};

static const struct setting settings[] = {
    {.name = "no stores", .granules = GRANULES, .cpus = 0},
    {.name = "a store for each", .granules = GRANULES, .cpus = THREADS},
    {.name = "a store for each, and little room", .granules = 640, .cpus = THREADS},
    {.name = "two share a store", .granules = 700, .cpus = THREADS / 2, .bottom_up = true},
    {.name = "all share a store", .granules = 1000, .cpus = 3, .numbers = NUMBERS_NONE},
    {.name = "CPUs change", .granules = 600, .cpus = THREADS, .numbers = NUMBERS_CHANGING},
};

struct bench {
    struct threaded_host *host;
    struct piommu_iova_space *space;
    unsigned int granules;
    uint64_t seed;
    /* Who owns a granule, its number plus one; and what the owner writes without an atomic. */
    atomic_uint owners[GRANULES];
    unsigned int notes[GRANULES];
};

struct held {
    uint64_t address;
    uint64_t size;
};

struct worker {
    struct bench *bench;
    pthread_barrier_t *start;
    unsigned int number;
    uint64_t steps;
    uint64_t random;
    struct held held[HELD_MOST];
    unsigned int held_count;
    unsigned int given; /* how often a range was */
};

static _Thread_local unsigned int changing;

static unsigned int tell_own(void *ctx)
{
    (void)ctx;
    return threaded_self();
}

static unsigned int tell_changing(void *ctx)
{
    (void)ctx;
    return changing++ * 7 / 3;
}

static uint64_t number_from(const char *name, uint64_t usual)
{
    const char *text = getenv(name);

    return text != NULL && *text != '\0' ? strtoull(text, NULL, 0) : usual;
}

/* ---- Who owns what ---- */

static void change_owner(struct bench *b, uint64_t address, uint64_t size, unsigned int from,
                         unsigned int to)
{
    uint64_t first = address / GRANULE;

    CHECK(address % GRANULE == 0 && first + size / GRANULE <= b->granules);
    threaded_unseen_begin();
    for (uint64_t i = first; i < first + size / GRANULE; i++) {
        CHECK(atomic_exchange(&b->owners[i], to) == from);
    }
    threaded_unseen_end();
}

static void write_notes(struct bench *b, uint64_t address, uint64_t size, unsigned int note)
{
    for (uint64_t i = address / GRANULE; i < (address + size) / GRANULE; i++) {
        b->notes[i] = note;
    }
}

static void hold(struct worker *w, uint64_t address, uint64_t size)
{
    change_owner(w->bench, address, size, 0, w->number + 1);
    write_notes(w->bench, address, size, w->number);
    w->held[w->held_count++] = (struct held){address, size};
    w->given++;
}

static void release(struct worker *w, unsigned int which)
{
    struct held held = w->held[which];

    for (uint64_t i = held.address / GRANULE; i < (held.address + held.size) / GRANULE; i++) {
        CHECK(w->bench->notes[i] == w->number);
    }
    change_owner(w->bench, held.address, held.size, w->number + 1, 0);
    w->held[which] = w->held[--w->held_count];
    CHECK(piommu_iova_free(w->bench->space, held.address, held.size) == 0);
}

/* ---- What a thread does ---- */

static unsigned int next(struct worker *w, unsigned int count)
{
    return (unsigned int)(pgtable_random(&w->random) % count);
}

static void alloc(struct worker *w)
{
    static const uint64_t counts[] = {1, 1, 1, 2, 3, 8, 64, 65};
    struct piommu_iova_request request = {.size = counts[next(w, COUNT(counts))] * GRANULE};
    uint64_t address;
    int error;

    if (next(w, 8) == 0) {
        request.alignment = GRANULE << next(w, 5);
    }
    if (next(w, 8) == 0) {
        request.limit = (1 + next(w, w->bench->granules)) * GRANULE - 1;
    }
    error = piommu_iova_alloc(w->bench->space, &request, &address);
    CHECK(error == 0 || error == -PIOMMU_ENOSPC);
    if (error == 0) {
        CHECK(request.alignment == 0 || address % request.alignment == 0);
        CHECK(request.limit == 0 || address + (request.size - 1) <= request.limit);
        hold(w, address, request.size);
    }
}

static void take(struct worker *w)
{
    uint64_t address = next(w, w->bench->granules) * GRANULE;
    int error =
        piommu_iova_take(w->bench->space, (struct piommu_range){address, address + GRANULE - 1});

    CHECK(error == 0 || error == -PIOMMU_EEXIST);
    if (error == 0) {
        hold(w, address, GRANULE);
    }
}

/* What is one's own does not change, whatever the others do. */
static void find(struct worker *w)
{
    const struct held *held = &w->held[next(w, w->held_count)];
    struct piommu_range range;

    CHECK(piommu_iova_find(w->bench->space, held->address + held->size - 1, &range) == 0);
    CHECK(range.first == held->address && range.last == held->address + held->size - 1);
}

static void step(struct worker *w)
{
    struct piommu_iova_statistics statistics;
    unsigned int choice = next(w, 64);

    if (choice < 30 && w->held_count < HELD_MOST) {
        alloc(w);
    } else if (choice < 33 && w->held_count < HELD_MOST) {
        take(w);
    } else if (choice == 33) {
        piommu_iova_drain(w->bench->space);
    } else if (choice == 34) {
        piommu_iova_get_statistics(w->bench->space, &statistics);
        CHECK(statistics.granules_taken <= w->bench->granules);
    } else if (w->held_count != 0) {
        if (choice < 40) {
            find(w);
        } else {
            release(w, next(w, w->held_count));
        }
    }
}

static void *work(void *argument)
{
    struct worker *w = argument;

    threaded_become(w->number);
    pthread_barrier_wait(w->start);
    for (uint64_t i = 0; i < w->steps; i++) {
        step(w);
    }
    while (w->held_count != 0) {
        release(w, w->held_count - 1);
    }
    return NULL;
}

/* ---- Benches ---- */

static struct bench *open_bench(const struct setting *setting)
{
    struct bench *b = calloc(1, sizeof(*b));
    struct piommu_iova_config config = {.granule = GRANULE,
                                        .aperture = {0, setting->granules * GRANULE - 1},
                                        .bottom_up = setting->bottom_up,
                                        .cpus = setting->cpus};

    assert_non_null(b);
    b->host = threaded_host_create();
    b->granules = setting->granules;
    b->seed = number_from("PIOMMU_RANDOM_SEED", 1);
    if (setting->numbers != NUMBERS_NONE) {
        threaded_host_callbacks(b->host)->cpu =
            setting->numbers == NUMBERS_OWN ? tell_own : tell_changing;
    }
    assert_int_equal(piommu_iova_create(threaded_host_shim(b->host), &config, &b->space), 0);
    return b;
}

/* Nothing is left but what CPUs keep. */
static void close_bench(struct bench *b)
{
    struct piommu_iova_statistics statistics;

    piommu_iova_get_statistics(b->space, &statistics);
    assert_int_equal(statistics.granules_taken, statistics.granules_kept);
    piommu_iova_drain(b->space);
    piommu_iova_get_statistics(b->space, &statistics);
    assert_int_equal(statistics.granules_taken, 0);
    assert_int_equal(statistics.granules_kept, 0);
    piommu_iova_destroy(b->space);
    threaded_host_destroy(b->host);
    free(b);
}

static void run_threads(struct worker *workers, void *(*function)(void *argument))
{
    pthread_t threads[THREADS];
    pthread_barrier_t start;

    pthread_barrier_init(&start, NULL, THREADS);
    for (unsigned int i = 0; i < THREADS; i++) {
        workers[i].start = &start;
        workers[i].number = i;
        assert_int_equal(pthread_create(&threads[i], NULL, function, &workers[i]), 0);
    }
    for (unsigned int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    pthread_barrier_destroy(&start);
}

static void test_no_range_has_two_owners(void **state)
{
    uint64_t steps = number_from("PIOMMU_RANDOM_STEPS", ALL_STEPS) / COUNT(settings) / THREADS;

    (void)state;
    for (size_t i = 0; i < COUNT(settings); i++) {
        struct bench *b = open_bench(&settings[i]);
        struct worker workers[THREADS];

        for (unsigned int j = 0; j < THREADS; j++) {
            workers[j] = (struct worker){
                .bench = b, .steps = steps, .random = b->seed + i * 0x10001 + j * 0x1000001};
        }
        print_message("%s, PIOMMU_RANDOM_SEED=%llu\n", settings[i].name,
                      (unsigned long long)b->seed);
        run_threads(workers, work);
        for (unsigned int j = 0; j < THREADS; j++) {
            assert_true(workers[j].given != 0);
        }
        close_bench(b);
    }
}

/* ---- Exhaustion ---- */

#define FEW 32u /* granules, which all fit into stores */

static void alloc_one(struct worker *w)
{
    const struct piommu_iova_request request = {.size = GRANULE};
    uint64_t address;

    CHECK(piommu_iova_alloc(w->bench->space, &request, &address) == 0);
    hold(w, address, GRANULE);
}

/*
 * In turn, one has all that there is, after all have released what they had on the CPUs where they
 * are. The others look on, drain, or find.
 */
static void *work_in_turn(void *argument)
{
    struct worker *w = argument;

    threaded_become(w->number);
    for (unsigned int round = 0; round < w->steps; round++) {
        pthread_barrier_wait(w->start);
        for (unsigned int i = 0; i < FEW / THREADS; i++) {
            alloc_one(w);
        }
        pthread_barrier_wait(w->start);
        while (w->held_count != 0) {
            release(w, 0);
        }
        pthread_barrier_wait(w->start);
        if (round % THREADS == w->number) {
            for (unsigned int i = 0; i < FEW; i++) {
                alloc_one(w);
            }
            while (w->held_count != 0) {
                release(w, w->held_count - 1);
            }
        } else if (round % 3 == 0) {
            piommu_iova_drain(w->bench->space);
        }
    }
    return NULL;
}

static void test_what_others_have_released_is_found(void **state)
{
    static const enum numbers numbers[] = {NUMBERS_OWN, NUMBERS_CHANGING, NUMBERS_NONE};
    uint64_t rounds = number_from("PIOMMU_RANDOM_STEPS", ALL_STEPS) / 1000;

    (void)state;
    for (size_t i = 0; i < COUNT(numbers); i++) {
        const struct setting setting = {.granules = FEW, .cpus = THREADS, .numbers = numbers[i]};
        struct bench *b = open_bench(&setting);
        struct worker workers[THREADS];

        for (unsigned int j = 0; j < THREADS; j++) {
            workers[j] = (struct worker){.bench = b, .steps = rounds};
        }
        run_threads(workers, work_in_turn);
        close_bench(b);
    }
}

/* ---- Interrupts ---- */

/* The CPU on which all of it happens, and what its interrupt handler does. */
static struct {
    struct piommu_os below;
    struct worker handler;
    unsigned int count; /* of interrupts */
    bool is_on;
    bool is_inside;
} interrupts;

/* Where interrupts are on, there may be one. */
static void may_interrupt(void)
{
    if (!interrupts.is_on || interrupts.is_inside) {
        return;
    }
    interrupts.is_inside = true;
    interrupts.count++;
    step(&interrupts.handler);
    interrupts.is_inside = false;
}

static unsigned int interrupted_cpu(void *ctx)
{
    (void)ctx;
    may_interrupt();
    return 0;
}

static unsigned long interrupted_lock(void *ctx, void *lock)
{
    may_interrupt();
    return interrupts.below.lock(ctx, lock);
}

static void interrupted_unlock(void *ctx, void *lock, unsigned long state)
{
    interrupts.below.unlock(ctx, lock, state);
    may_interrupt();
}

static void interrupt_everywhere(struct bench *b)
{
    struct piommu_os *callbacks = threaded_host_callbacks(b->host);

    interrupts.below = *callbacks;
    callbacks->lock = interrupted_lock;
    callbacks->unlock = interrupted_unlock;
    callbacks->cpu = interrupted_cpu;
}

static void test_interrupts_in_the_middle_of_calls(void **state)
{
    static const struct setting rooms[] = {
        {.name = "much room", .granules = GRANULES, .cpus = 1},
        {.name = "little room", .granules = 300, .cpus = 1},
        {.name = "no store", .granules = 300, .cpus = 0},
    };
    uint64_t steps = number_from("PIOMMU_RANDOM_STEPS", ALL_STEPS) / 20;

    (void)state;
    for (size_t i = 0; i < COUNT(rooms); i++) {
        struct bench *b = open_bench(&rooms[i]);
        struct worker task = {.bench = b, .number = 0, .random = b->seed + i};

        interrupts.handler = (struct worker){.bench = b, .number = 1, .random = b->seed + 100 + i};
        interrupts.count = 0;
        interrupt_everywhere(b);
        interrupts.is_on = true;
        for (uint64_t j = 0; j < steps; j++) {
            step(&task);
        }
        interrupts.is_on = false;
        assert_true(interrupts.count > steps / 4);
        assert_true(interrupts.handler.given != 0 && task.given != 0);
        while (task.held_count != 0) {
            release(&task, 0);
        }
        while (interrupts.handler.held_count != 0) {
            release(&interrupts.handler, 0);
        }
        close_bench(b);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_range_has_two_owners),
        cmocka_unit_test(test_what_others_have_released_is_found),
        cmocka_unit_test(test_interrupts_in_the_middle_of_calls),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
