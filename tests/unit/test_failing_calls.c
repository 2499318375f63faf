/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The test of a test's instrument: what stands between the library and all that can fail it counts
 * every call, lets fail which it should, in the way it should, and notes what becomes of units.
 */

#include "failing_calls.h"
#include "fake_os.h"
#include "mock_backend.h"

#include <piommu/piommu.h>

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#define ID   10u
#define IOVA 0x10000ull

/* A unit that takes requests, with one endpoint and one domain; the test plays the core. */
struct bench {
    struct fake_os *os;
    struct failing_calls *calls;
    struct mock *mock;
    const struct piommu_backend *backend;
    void *unit;
    void *endpoint;
    void *domain;
};

static int probe(struct bench *bench)
{
    const struct piommu_instance_config config = {.name = "unit", .timeout = 1000000};
    struct piommu_backend_info info = {.write_only = false};

    return bench->backend->probe(fake_os_host(bench->os), (struct piommu_instance *)bench, &config,
                                 failing_calls_unit(bench->calls, 1, bench->mock), NULL,
                                 &bench->unit, &info);
}

static void open_bench(struct bench *bench)
{
    const struct piommu_backend_domain domain = {.type = PIOMMU_DOMAIN_PAGING, .identity = bench};

    bench->os = fake_os_create(NULL);
    bench->calls = failing_calls_create(bench->os);
    bench->mock = mock_create(bench->os, PIOMMU_BACKEND_REQUESTS);
    (void)failing_calls_unit(bench->calls, 1, bench->mock);
    bench->backend = failing_calls_backend(bench->calls, PIOMMU_BACKEND_REQUESTS);
    assert_int_equal(probe(bench), 0);
    assert_int_equal(bench->backend->add_endpoint(bench->unit, ID, NULL, &bench->endpoint), 0);
    assert_int_equal(bench->backend->domain_create(bench->unit, &domain, &bench->domain), 0);
}

static void close_bench(struct bench *bench)
{
    failing_calls_end(bench->calls);
    assert_int_equal(bench->backend->block(bench->unit, bench->endpoint), 0);
    bench->backend->release_endpoint(bench->unit, bench->endpoint);
    (void)bench->backend->domain_destroy(bench->unit, bench->domain);
    assert_int_equal(bench->backend->remove(bench->unit), 0);
    failing_calls_destroy(bench->calls);
    fake_os_destroy(bench->os);
    mock_destroy(bench->mock);
}

/* Two pages, one after the other. */
struct pages {
    struct piommu_mapping_source source;
    uint64_t count;
};

static bool next_page(struct piommu_mapping_source *source, struct piommu_backend_mapping *mapping)
{
    struct pages *pages = (struct pages *)(void *)source;
    uint64_t iova = IOVA + 0x1000 * pages->count;

    if (pages->count++ == 2) {
        return false;
    }
    *mapping = (struct piommu_backend_mapping){
        .iova = {iova, iova + 0xfff}, .physical = iova, .prot = PIOMMU_PROT_READ};
    return true;
}

static int map_pages(struct bench *bench)
{
    struct pages pages = {{next_page}, 0};

    return bench->backend->map(bench->unit, bench->domain, &pages.source);
}

/* How many of the two pages the endpoint reaches. */
static unsigned int reached(struct bench *bench)
{
    uint64_t physical;

    return (unsigned int)mock_reaches(bench->mock, ID, IOVA, false, &physical) +
           (unsigned int)mock_reaches(bench->mock, ID, IOVA + 0x1000, false, &physical);
}

static void test_calls_of_all_kinds_have_one_order(void **state)
{
    struct bench bench;
    struct piommu_host host;
    void *memory;
    void *lock;

    (void)state;
    open_bench(&bench);
    host = fake_os_host(bench.os);
    failing_calls_begin(bench.calls, NULL, 0);
    memory = host.os->alloc(host.ctx, 8);
    assert_int_equal(bench.backend->attach(bench.unit, bench.endpoint, bench.domain), 0);
    lock = host.os->lock_create(host.ctx);
    assert_int_equal(map_pages(&bench), 0);
    assert_int_equal(failing_calls_count(bench.calls), 4);
    assert_int_equal(failing_calls_at(bench.calls, 1)->function, FAILING_ALLOC);
    assert_int_equal(failing_calls_at(bench.calls, 2)->function, FAILING_ATTACH);
    assert_int_equal(failing_calls_at(bench.calls, 2)->unit, 1);
    assert_int_equal(failing_calls_at(bench.calls, 3)->function, FAILING_LOCK_CREATE);
    assert_int_equal(failing_calls_at(bench.calls, 4)->function, FAILING_MAP);
    assert_int_equal(failing_calls_failed(bench.calls), 0);
    host.os->free(host.ctx, memory, 8);
    host.os->lock_destroy(host.ctx, lock);
    close_bench(&bench);
}

static void test_each_failure_hits_its_call(void **state)
{
    static const struct failing_way once = {-PIOMMU_ENOMEM, FAILING_UNDONE, false, true};
    static const struct failing_way refused = {-PIOMMU_EIO, FAILING_UNDONE, false, true};
    const struct failure failures[] = {{2, &once}, {3, &refused}};
    struct bench bench;
    struct piommu_host host;
    void *memory[2];

    (void)state;
    open_bench(&bench);
    host = fake_os_host(bench.os);
    failing_calls_begin(bench.calls, failures, 2);
    memory[0] = host.os->alloc(host.ctx, 8);
    assert_non_null(memory[0]);
    assert_null(host.os->alloc(host.ctx, 8));
    assert_int_equal(bench.backend->attach(bench.unit, bench.endpoint, bench.domain), -PIOMMU_EIO);
    assert_int_equal(failing_calls_failed(bench.calls), 2);
    assert_false(failing_calls_is_lost(bench.calls, 1));
    memory[1] = host.os->alloc(host.ctx, 8);
    assert_non_null(memory[1]);
    host.os->free(host.ctx, memory[0], 8);
    host.os->free(host.ctx, memory[1], 8);
    close_bench(&bench);
}

static void test_memory_can_be_used_up_for_good(void **state)
{
    static const struct failing_way for_ever = {-PIOMMU_ENOMEM, FAILING_UNDONE, true, false};
    const struct failure failure = {1, &for_ever};
    struct bench bench;
    struct piommu_host host;

    (void)state;
    open_bench(&bench);
    host = fake_os_host(bench.os);
    failing_calls_begin(bench.calls, &failure, 1);
    for (unsigned int i = 0; i < 3; i++) {
        assert_null(host.os->alloc(host.ctx, 8));
        assert_null(host.os->lock_create(host.ctx));
        /* The backends have memory of their own. */
        assert_int_equal(bench.backend->block(bench.unit, bench.endpoint), 0);
    }
    close_bench(&bench);
}

static void test_a_failing_call_takes_effect_as_far_as_it_should(void **state)
{
    static const enum failing_effect effects[] = {FAILING_UNDONE, FAILING_HALF_DONE, FAILING_DONE};

    (void)state;
    for (unsigned int i = 0; i < 3; i++) {
        const struct failing_way way = {-PIOMMU_EIO, effects[i], false, true};
        const struct failure failure = {1, &way};
        struct bench bench;

        open_bench(&bench);
        assert_int_equal(bench.backend->attach(bench.unit, bench.endpoint, bench.domain), 0);
        failing_calls_begin(bench.calls, &failure, 1);
        assert_int_equal(map_pages(&bench), -PIOMMU_EIO);
        assert_int_equal(reached(&bench), i);
        close_bench(&bench);
    }
}

static void test_a_unit_is_lost_until_it_was_removed(void **state)
{
    static const struct failing_way silent = {-PIOMMU_ETIMEDOUT, FAILING_DONE, false, true};
    const struct failure failures[] = {{1, &silent}, {2, &silent}};
    struct bench bench;

    (void)state;
    open_bench(&bench);
    failing_calls_begin(bench.calls, failures, 2);
    assert_int_equal(bench.backend->attach(bench.unit, bench.endpoint, bench.domain),
                     -PIOMMU_ETIMEDOUT);
    assert_true(failing_calls_is_lost(bench.calls, 1));
    /* It stops, and does not say so. */
    assert_int_equal(bench.backend->stop(bench.unit), -PIOMMU_ETIMEDOUT);
    assert_false(failing_calls_is_stopped(bench.calls, 1));
    assert_int_equal(bench.backend->stop(bench.unit), 0);
    assert_true(failing_calls_is_stopped(bench.calls, 1));
    assert_true(failing_calls_is_lost(bench.calls, 1));
    failing_calls_end(bench.calls);
    bench.backend->release_endpoint(bench.unit, bench.endpoint);
    (void)bench.backend->domain_destroy(bench.unit, bench.domain);
    assert_int_equal(bench.backend->remove(bench.unit), 0);
    assert_false(failing_calls_is_lost(bench.calls, 1));
    failing_calls_destroy(bench.calls);
    fake_os_destroy(bench.os);
    mock_destroy(bench.mock);
}

static void test_errors_say_what_they_do_to_a_unit(void **state)
{
    (void)state;
    for (enum failing_function function = 0; function < FAILING_FUNCTIONS; function++) {
        size_t count;
        const struct failing_way *ways = failing_calls_ways(function, &count);
        bool any_main = false;

        assert_non_null(failing_calls_name(function));
        for (size_t i = 0; i < count; i++) {
            bool fatal = function == FAILING_BLOCK || function == FAILING_UNMAP ||
                         function == FAILING_INVALIDATE || function == FAILING_SERVICE ||
                         function == FAILING_RESUME;
            bool lost =
                ways[i].error == -PIOMMU_ETIMEDOUT || ways[i].error == -PIOMMU_EFAILED || fatal;
            bool of_an_instance =
                function != FAILING_PROBE && function != FAILING_REMOVE && function != FAILING_STOP;

            assert_true(ways[i].error < 0);
            assert_int_equal(failing_calls_loses_unit(function, &ways[i]), lost && of_an_instance);
            any_main = any_main || ways[i].main;
        }
        assert_true(any_main);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calls_of_all_kinds_have_one_order),
        cmocka_unit_test(test_each_failure_hits_its_call),
        cmocka_unit_test(test_memory_can_be_used_up_for_good),
        cmocka_unit_test(test_a_failing_call_takes_effect_as_far_as_it_should),
        cmocka_unit_test(test_a_unit_is_lost_until_it_was_removed),
        cmocka_unit_test(test_errors_say_what_they_do_to_a_unit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
