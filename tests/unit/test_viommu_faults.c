/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* How a guest is told of the faults of its devices. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <pthread.h>

#include <cmocka.h>

#include "viommu_bench.h"

/* Reports that are kept. */
#define KEPT 16u

static struct engine_bench *open_usual(void)
{
    const struct engine_options options = {.core = core_cases[0], .devices = 1, .software = 1};

    return engine_open(&options);
}

static struct piommu_fault fault_at(uint64_t iova)
{
    return (struct piommu_fault){
        .reason = PIOMMU_FAULT_MAPPING, .iova_valid = true, .iova = iova, .write = true};
}

static bool report(struct engine_bench *bench, uint64_t iova)
{
    const struct piommu_fault fault = fault_at(iova);

    return piommu_viommu_report_fault(bench->viommu, ENGINE_DEVICE(0), &fault);
}

static void expect_event(struct engine_bench *bench, const uint8_t expected[ENGINE_EVENT_SIZE])
{
    uint32_t length = 0;
    const uint8_t *bytes = engine_event(bench, &length);

    assert_non_null(bytes);
    assert_int_equal(length, ENGINE_EVENT_SIZE);
    assert_memory_equal(bytes, expected, ENGINE_EVENT_SIZE);
}

static void expect_fault_at(struct engine_bench *bench, uint8_t page)
{
    const uint8_t expected[ENGINE_EVENT_SIZE] = {2, 0, 0, 0, 2, 1, 0,    0, 0x10, 0, 0, 0,
                                                 0, 0, 0, 0, 0, 0, page, 0, 0,    0, 0, 0};

    expect_event(bench, expected);
}

/* Nothing more was given back. */
static void expect_no_event(struct engine_bench *bench)
{
    uint32_t length;

    assert_null(engine_event(bench, &length));
}

static void test_what_a_report_says(void **state)
{
    static const struct {
        enum piommu_fault_reason reason;
        uint8_t expected;
    } reasons[] = {
        {PIOMMU_FAULT_UNKNOWN, 0},    {PIOMMU_FAULT_BLOCKED, 1},     {PIOMMU_FAULT_MAPPING, 2},
        {PIOMMU_FAULT_PERMISSION, 2}, {PIOMMU_FAULT_TRANSLATION, 2}, {PIOMMU_FAULT_TABLE, 0},
        {PIOMMU_FAULT_CONFLICT, 0},   {PIOMMU_FAULT_SECURITY, 0},
    };
    struct engine_bench *bench = open_usual();

    (void)state;
    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
        for (unsigned int bits = 0; bits < 8; bits++) {
            const struct piommu_fault fault = {.reason = reasons[i].reason,
                                               .read = (bits & 1) != 0,
                                               .write = (bits & 2) != 0,
                                               .iova_valid = (bits & 4) != 0,
                                               .iova = 0x8877665544332211ull};
            uint8_t expected[ENGINE_EVENT_SIZE] = {reasons[i].expected,
                                                   0,
                                                   0,
                                                   0,
                                                   bits & 3,
                                                   (bits & 4) != 0,
                                                   0,
                                                   0,
                                                   0xdd,
                                                   0xcc,
                                                   0xbb,
                                                   0xaa};

            for (unsigned int j = 0; (bits & 4) != 0 && j < 8; j++) {
                expected[16 + j] = (uint8_t)(0x11 * (j + 1));
            }
            engine_post_event(bench, ENGINE_EVENT_SIZE);
            assert_true(piommu_viommu_report_fault(bench->viommu, 0xaabbccdd, &fault));
            engine_service(bench);
            expect_event(bench, expected);
        }
    }
    assert_int_equal(engine_statistics(bench).faults, 64);
    assert_int_equal(bench->completions[PIOMMU_VIOMMU_EVENTS], 64);
    engine_close(bench);
}

static void test_faults_wait_for_buffers_and_are_dropped(void **state)
{
    struct engine_bench *bench = open_usual();

    (void)state;
    for (unsigned int i = 0; i < KEPT + 5; i++) {
        assert_int_equal(report(bench, i * 0x10000ull), i < KEPT);
    }
    assert_int_equal(engine_statistics(bench).faults_dropped, 5);
    engine_service(bench);
    expect_no_event(bench);
    assert_int_equal(engine_statistics(bench).faults, 0);
    /* The oldest ones come first, as many as there are buffers. */
    for (unsigned int i = 0; i < KEPT; i += 4) {
        for (unsigned int j = 0; j < 4; j++) {
            engine_post_event(bench, ENGINE_EVENT_SIZE);
        }
        engine_service(bench);
        for (unsigned int j = 0; j < 4; j++) {
            expect_fault_at(bench, (uint8_t)(i + j));
        }
        expect_no_event(bench);
    }
    engine_post_event(bench, ENGINE_EVENT_SIZE);
    engine_service(bench);
    expect_no_event(bench);
    assert_true(report(bench, 0x30000));
    engine_service(bench);
    expect_fault_at(bench, 3);
    assert_int_equal(engine_statistics(bench).faults, KEPT + 1);
    engine_close(bench);
}

static void test_many_faults_go_round_the_store(void **state)
{
    struct engine_bench *bench = open_usual();

    (void)state;
    for (unsigned int i = 0; i < 100; i++) {
        assert_true(report(bench, (i % 256) * 0x10000ull));
        if (i % 3 == 0) {
            continue;
        }
        for (unsigned int j = 0; j < 1 + (i % 3 == 1); j++) {
            engine_post_event(bench, ENGINE_EVENT_SIZE);
        }
        engine_service(bench);
    }
    for (unsigned int i = 0; i < 99; i++) {
        expect_fault_at(bench, (uint8_t)i);
    }
    engine_close(bench);
}

/* A buffer that is too small is given back with nothing in it, and costs no report. */
static void test_small_buffers_are_given_back(void **state)
{
    static const uint32_t budgets[] = {1, 10, UINT32_MAX};

    (void)state;
    for (size_t i = 0; i < sizeof(budgets) / sizeof(budgets[0]); i++) {
        struct engine_bench *bench = open_usual();
        uint32_t length = 1;

        bench->budget = budgets[i];
        for (unsigned int j = 0; j < 70; j++) {
            engine_post_event(bench, 1 + j % (ENGINE_EVENT_SIZE - 1));
        }
        engine_post_event(bench, ENGINE_EVENT_SIZE);
        assert_true(report(bench, 0x50000));
        engine_service(bench);
        for (unsigned int j = 0; j < 70; j++) {
            assert_non_null(engine_event(bench, &length));
            assert_int_equal(length, 0);
        }
        expect_fault_at(bench, 5);
        assert_int_equal(bench->needed_resets, 0);
        engine_close(bench);
    }
}

static void test_a_long_buffer_is_written_in_front(void **state)
{
    struct engine_bench *bench = open_usual();

    (void)state;
    engine_post_event(bench, ENGINE_EVENT_SIZE + 8);
    assert_true(report(bench, 0x50000));
    engine_service(bench);
    expect_fault_at(bench, 5);
    assert_int_equal(guest_get(bench->guest, GUEST + 0x5000 + ENGINE_EVENT_SIZE, 1), ENGINE_POISON);
    engine_close(bench);
}

static void test_requests_go_on_without_buffers_for_events(void **state)
{
    struct engine_bench *bench = open_usual();

    (void)state;
    for (unsigned int i = 0; i < KEPT; i++) {
        (void)report(bench, i);
    }
    assert_int_equal(engine_attach(bench, 1, ENGINE_DEVICE(0), 0), VIOMMU_OK);
    engine_close(bench);
}

static void test_a_reset_forgets_faults(void **state)
{
    struct engine_bench *bench = open_usual();

    (void)state;
    assert_true(report(bench, 0x10000));
    engine_reset(bench);
    engine_post_event(bench, ENGINE_EVENT_SIZE);
    engine_service(bench);
    expect_no_event(bench);
    assert_true(report(bench, 0x20000));
    engine_service(bench);
    expect_fault_at(bench, 2);
    engine_close(bench);
}

static void test_a_broken_ring_of_events_is_told_once(void **state)
{
    struct engine_bench *bench = open_usual();

    (void)state;
    guest_put(bench->guest, GUEST + 0x3802, 2 * ENGINE_EVENTS, 2);
    assert_true(report(bench, 0x10000));
    engine_service(bench);
    engine_service(bench);
    assert_int_equal(bench->needed_resets, 1);
    engine_reset(bench);
    assert_int_equal(engine_attach(bench, 1, ENGINE_DEVICE(0), 0), VIOMMU_OK);
    engine_close(bench);
}

#define THREAD_REPORTS 20000u

static void *report_many(void *ctx)
{
    struct engine_bench *bench = ctx;

    for (unsigned int i = 0; i < THREAD_REPORTS; i++) {
        (void)report(bench, i);
    }
    return NULL;
}

static void test_faults_are_reported_beside_anything(void **state)
{
    struct engine_bench *bench = open_usual();
    struct piommu_viommu_statistics statistics;
    pthread_t thread;

    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, report_many, bench), 0);
    for (unsigned int i = 0; i < 200; i++) {
        uint32_t length;

        engine_post_event(bench, ENGINE_EVENT_SIZE);
        engine_service(bench);
        (void)engine_event(bench, &length);
        if (i % 20 == 0) {
            engine_reset(bench);
        }
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    statistics = engine_statistics(bench);
    assert_true(statistics.faults + statistics.faults_dropped <= THREAD_REPORTS);
    engine_close(bench);
}

/* Nothing else that the engine does in between could put the two into an order. */
static void test_faults_are_reported_beside_resets(void **state)
{
    struct engine_bench *bench = open_usual();
    pthread_t thread;

    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, report_many, bench), 0);
    for (unsigned int i = 0; i < 100; i++) {
        piommu_viommu_reset(bench->viommu);
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    engine_close(bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_a_report_says),
        cmocka_unit_test(test_faults_wait_for_buffers_and_are_dropped),
        cmocka_unit_test(test_many_faults_go_round_the_store),
        cmocka_unit_test(test_small_buffers_are_given_back),
        cmocka_unit_test(test_a_long_buffer_is_written_in_front),
        cmocka_unit_test(test_requests_go_on_without_buffers_for_events),
        cmocka_unit_test(test_a_reset_forgets_faults),
        cmocka_unit_test(test_a_broken_ring_of_events_is_told_once),
        cmocka_unit_test(test_faults_are_reported_beside_anything),
        cmocka_unit_test(test_faults_are_reported_beside_resets),
    };

    return cmocka_run_group_tests_name("viommu faults", tests, NULL, NULL);
}
