/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Calls that several threads have in flight on one virtio-iommu at once, beside its interrupt
 * handler: with all connections and rings, and with hosts that sleep. Threads return a verdict, as
 * an assertion outside the test's own thread would end the program without a word. Worth most under
 * the thread sanitizer.
 *
 * What the device does is done under the lock of the fake OS, in on_look.
 */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>

#include "poster.h"
#include "viommu_fixture.h"

#define MAPPERS  2u
#define ROUNDS   60u
#define PAGE     0x1000ull
#define FAR      0x100000000ull
#define NEVER    (1ull << 62) /* no test ends because threads were slow */
#define RW       (PIOMMU_PROT_READ | PIOMMU_PROT_WRITE)
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static struct viommu_fixture *bench;
static atomic_size_t pending; /* requests that the device has not answered */
static atomic_bool may_go_on; /* the device answers what it has held */
static atomic_bool mappers_done;

struct mapper {
    struct piommu_domain *domain;
    uint64_t base;         /* where it maps */
    int error;             /* of map_one */
    const char *complaint; /* NULL: all went well */
};

static struct mapper mappers[MAPPERS];

static void look(struct viommu_fixture *fixture)
{
    if (atomic_load(&may_go_on)) {
        viommu_model_release(fixture->model);
    }
    atomic_store(&pending, viommu_model_pending(fixture->model));
}

/* Each mapper has a device in a domain of its own. */
static void open_bench(enum viommu_model_processing processing)
{
    struct viommu_fixture_options options;

    viommu_fixture_default_options(&options);
    options.processing = processing;
    options.timeout = NEVER;
    options.os.threads = true;
    bench = viommu_fixture_started(&options);
    bench->paused = true;
    bench->on_look = look;
    atomic_store(&may_go_on, false);
    atomic_store(&mappers_done, false);
    for (uint32_t i = 0; i < MAPPERS; i++) {
        mappers[i] =
            (struct mapper){.domain = viommu_fixture_add_domain(bench, PIOMMU_DOMAIN_PAGING),
                            .base = (1 + i) * 0x100000ull};
        assert_int_equal(
            piommu_device_attach(viommu_fixture_add_device(bench, 0x10 + i), mappers[i].domain), 0);
    }
}

static void close_bench(void)
{
    bench->on_look = NULL;
    viommu_fixture_destroy(bench);
}

/* ---- One call each ---- */

static void *map_one(void *argument)
{
    struct mapper *mapper = argument;

    mapper->error = piommu_domain_map(mapper->domain, mapper->base, FAR, PAGE, RW);
    return NULL;
}

static void expect_mapped(const struct mapper *mapper, bool mapped)
{
    struct piommu_translation found;

    assert_int_equal(piommu_domain_lookup(mapper->domain, mapper->base, &found),
                     mapped ? 0 : -PIOMMU_ENOENT);
}

/*
 * Both map; what the first one asks for is held until the second one has its answer. The nth
 * request that the device works on is refused.
 */
static void map_both(uint64_t nth)
{
    pthread_t first;

    viommu_model_hold(bench->model, 1);
    assert_true(
        viommu_model_fail_request(bench->model, VIOMMU_MODEL_MAP, nth, VIOMMU_MODEL_S_NOMEM));
    assert_int_equal(pthread_create(&first, NULL, map_one, &mappers[0]), 0);
    while (atomic_load(&pending) != 1) {
        (void)sched_yield();
    }
    (void)map_one(&mappers[1]);
    atomic_store(&may_go_on, true);
    pthread_join(first, NULL);
}

static void test_an_error_reaches_the_call_that_caused_it(void **state)
{
    (void)state;
    for (uint64_t nth = 1; nth <= 2; nth++) {
        bool second = nth == 1; /* it is answered first */

        open_bench(VIOMMU_MODEL_AT_DOORBELL);
        map_both(nth);
        assert_int_equal(mappers[0].error, second ? 0 : -PIOMMU_ENOMEM);
        assert_int_equal(mappers[1].error, second ? -PIOMMU_ENOMEM : 0);
        expect_mapped(&mappers[0], second);
        expect_mapped(&mappers[1], !second);
        close_bench();
    }
}

/* ---- Many calls, beside the interrupt handler ---- */

static const char *map_and_unmap_once(const struct mapper *mapper, size_t round)
{
    struct piommu_segment segments[5];
    struct piommu_gather gather;
    size_t count = 1 + round % COUNT(segments);

    for (size_t i = 0; i < count; i++) {
        segments[i] = (struct piommu_segment){FAR + (2 * i + round) * PAGE, PAGE};
    }
    if (piommu_domain_map_list(mapper->domain, mapper->base, segments, count, RW) != 0) {
        return "a map failed";
    }
    piommu_gather_init(&gather);
    if (piommu_domain_unmap(mapper->domain, mapper->base, count * PAGE, &gather, NULL) != 0 ||
        piommu_domain_sync(mapper->domain, &gather) != 0) {
        return "an unmap failed";
    }
    return NULL;
}

static const char *map_and_unmap(const struct mapper *mapper)
{
    const char *complaint = NULL;

    for (unsigned int round = 0; round < ROUNDS && complaint == NULL; round++) {
        complaint = map_and_unmap_once(mapper, round);
    }
    return complaint;
}

static void *mapper_thread(void *argument)
{
    struct mapper *mapper = argument;

    mapper->complaint = map_and_unmap(mapper);
    return NULL;
}

/* As a host does it: what the handler cannot do is done where it may wait. */
static void *handler_thread(void *argument)
{
    (void)argument;
    while (!atomic_load(&mappers_done)) {
        bool more = false;

        if (piommu_instance_interrupt(bench->instance, 4, &more) < 0 ||
            (more && piommu_instance_service(bench->instance, 4) < 0)) {
            return (void *)(uintptr_t) "the handler failed";
        }
        /* The device works on what was posted, for which nobody waits. */
        viommu_fixture_wait(bench);
        (void)sched_yield();
    }
    return NULL;
}

/* ---- Posts ---- */

/* It waits for all that was posted. */
static const char *map_beside(struct poster *poster, unsigned long turn)
{
    struct mapper beside = {.domain = poster->domain, .base = poster->base + 0x10000};

    return map_and_unmap_once(&beside, turn);
}

static void *poster_thread(void *argument)
{
    struct mapper *mapper = argument;
    struct poster poster = {.domain = mapper->domain,
                            .base = mapper->base,
                            .physical = FAR,
                            .rounds = ROUNDS,
                            .beside = map_beside};

    mapper->complaint = poster_run(&poster);
    return NULL;
}

/* A stranger's bad accesses, so that the handler has something to do. */
static void look_and_disturb(struct viommu_fixture *fixture)
{
    uint8_t byte;

    look(fixture);
    (void)viommu_model_dma(fixture->model, 0x10, 0xdead0000, &byte, 1, false);
}

static void run_beside_the_handler(void *(*mapper_function)(void *))
{
    static const enum viommu_model_order orders[] = {VIOMMU_MODEL_IN_ORDER, VIOMMU_MODEL_SHUFFLED};

    for (size_t order = 0; order < COUNT(orders); order++) {
        pthread_t threads[MAPPERS];
        pthread_t handler;
        void *complaint;

        open_bench(VIOMMU_MODEL_AT_RUN);
        viommu_model_set_order(bench->model, orders[order], 7);
        bench->on_look = look_and_disturb;
        assert_int_equal(pthread_create(&handler, NULL, handler_thread, NULL), 0);
        for (unsigned int i = 0; i < MAPPERS; i++) {
            assert_int_equal(pthread_create(&threads[i], NULL, mapper_function, &mappers[i]), 0);
        }
        for (unsigned int i = 0; i < MAPPERS; i++) {
            pthread_join(threads[i], NULL);
        }
        atomic_store(&mappers_done, true);
        pthread_join(handler, &complaint);
        assert_null(complaint);
        for (unsigned int i = 0; i < MAPPERS; i++) {
            uint32_t number;

            if (mappers[i].complaint != NULL) {
                fail_msg("%s", mappers[i].complaint);
            }
            assert_true(viommu_model_domain_of(bench->model, 0x10 + i, &number));
            assert_int_equal(viommu_model_mapping_count(bench->model, number), 0);
        }
        close_bench();
    }
}

static void test_mappers_run_beside_each_other_and_the_handler(void **state)
{
    (void)state;
    run_beside_the_handler(mapper_thread);
}

static void test_posters_run_beside_each_other_and_the_handler(void **state)
{
    (void)state;
    run_beside_the_handler(poster_thread);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_error_reaches_the_call_that_caused_it),
        cmocka_unit_test(test_mappers_run_beside_each_other_and_the_handler),
        cmocka_unit_test(test_posters_run_beside_each_other_and_the_handler),
    };

    return viommu_fixture_run("virtio_iommu_threads", tests, COUNT(tests));
}
