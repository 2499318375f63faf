/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The state of the engine, saved and restored: what a guest notices of it (nothing), what another
 * engine refuses, and bytes that lie. Random programs (test_random_viommu.c) save and restore, too.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "viommu_bench.h"

#define PAGE(number) ((number)*CORE_PAGE)
#define END(number)  ((number)*CORE_PAGE + CORE_PAGE - 1)
#define RW           (VIOMMU_READ | VIOMMU_WRITE)
#define FEATURES     64u /* where they are in the bytes */
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static struct engine_options usual(void **state)
{
    return (struct engine_options){
        .core = *core_case_of(state), .devices = 2, .software = 1, .fragment = 1, .bypass = true};
}

/* A guest with two domains and a bypassed endpoint. */
static struct engine_bench *open_busy(const struct engine_options *options)
{
    struct engine_bench *bench = engine_open(options);

    assert_int_equal(engine_attach(bench, 1, ENGINE_DEVICE(0), 0), VIOMMU_OK);
    assert_int_equal(engine_attach(bench, 7, ENGINE_SOFTWARE(0), 0), VIOMMU_OK);
    assert_int_equal(engine_attach(bench, 9, ENGINE_DEVICE(1), 1), VIOMMU_OK);
    assert_int_equal(engine_map(bench, 1, PAGE(1), END(5), PAGE(20), RW), VIOMMU_OK);
    assert_int_equal(engine_map(bench, 1, PAGE(6), END(6), PAGE(50), VIOMMU_READ), VIOMMU_OK);
    assert_int_equal(engine_map(bench, 1, PAGE(9), END(9), ENGINE_REGISTERS, RW | VIOMMU_MMIO),
                     VIOMMU_OK);
    assert_int_equal(engine_map(bench, 7, PAGE(1), END(2), PAGE(70), RW), VIOMMU_OK);
    return bench;
}

static struct engine_bench *open_usual(void **state)
{
    const struct engine_options options = usual(state);

    return open_busy(&options);
}

static int restore(struct engine_bench *bench, const void *bytes, size_t size)
{
    return piommu_viommu_restore(bench->viommu, bytes, size);
}

/* As after a reset of the whole guest. */
static void expect_nothing(struct engine_bench *bench)
{
    const struct piommu_viommu_statistics statistics = engine_statistics(bench);

    assert_int_equal(statistics.domains, 0);
    assert_int_equal(statistics.mappings, 0);
    assert_int_equal(statistics.bytes, 0);
    guest_model_reset(bench->model);
    bench->bypassed = bench->options.starts_bypassed;
    engine_check(bench);
}

static void test_a_guest_lives_on(void **state)
{
    struct engine_bench *bench = open_usual(state);

    engine_migrate(bench);
    engine_check(bench);
    assert_int_equal(engine_map(bench, 1, PAGE(5), END(5), PAGE(1), RW), VIOMMU_INVAL);
    assert_int_equal(engine_unmap(bench, 1, PAGE(1), END(5)), VIOMMU_OK);
    assert_int_equal(engine_attach(bench, 1, ENGINE_DEVICE(1), 0), VIOMMU_OK);
    engine_migrate(bench);
    engine_write_bypass(bench, 1);
    assert_int_equal(engine_detach(bench, 1, ENGINE_DEVICE(0)), VIOMMU_OK);
    engine_migrate(bench);
    engine_check(bench);
    engine_reset(bench);
    engine_migrate(bench);
    engine_check(bench);
    engine_close(bench);
}

static void test_reports_and_answers_that_wait_are_part_of_it(void **state)
{
    struct engine_bench *bench = open_usual(state);
    const struct piommu_fault fault = {
        .reason = PIOMMU_FAULT_MAPPING, .iova_valid = true, .iova = PAGE(30), .read = true};
    const struct engine_request request = engine_map_request(1, PAGE(11), END(30), PAGE(5), RW);
    struct engine_answer answer;
    const uint8_t *event;
    uint32_t length;
    size_t size;

    for (unsigned int i = 0; i < 20; i++) {
        (void)piommu_viommu_report_fault(bench->viommu, ENGINE_DEVICE(i % 2), &fault);
    }
    (void)engine_post(bench, &request);
    bench->budget = 1;
    assert_int_equal(piommu_viommu_service(bench->viommu, 1), 1);
    assert_int_equal(piommu_viommu_service(bench->viommu, 1), 1);
    assert_int_equal(piommu_viommu_save(bench->viommu, NULL, 0, &size), -PIOMMU_EAGAIN);
    bench->ring_gone[PIOMMU_VIOMMU_REQUESTS] = true;
    engine_service(bench);
    engine_migrate(bench);
    assert_false(engine_answer(bench, &answer));
    bench->ring_gone[PIOMMU_VIOMMU_REQUESTS] = false;
    engine_service(bench);
    assert_true(engine_answer(bench, &answer));
    assert_int_equal(answer.status, VIOMMU_OK);
    engine_check(bench);
    for (unsigned int i = 0; i < 17; i++) {
        engine_post_event(bench, ENGINE_EVENT_SIZE);
    }
    engine_service(bench);
    for (unsigned int i = 0; i < 16; i++) {
        event = engine_event(bench, &length);
        assert_non_null(event);
        assert_int_equal(event[8], ENGINE_DEVICE(i % 2));
        assert_int_equal(event[17], PAGE(30) >> 8 & 0xff);
    }
    assert_null(engine_event(bench, &length));
    engine_close(bench);
}

static void test_what_is_cut_or_too_long_is_refused(void **state)
{
    struct engine_bench *bench = open_usual(state);
    size_t size;
    uint8_t *bytes = engine_save(bench, &size);
    uint8_t *longer = calloc(1, size + 1);

    assert_non_null(longer);
    memcpy(longer, bytes, size);
    for (size_t cut = 0; cut < size; cut++) {
        assert_int_equal(restore(bench, bytes, cut), -PIOMMU_EINVAL);
        expect_nothing(bench);
    }
    assert_int_equal(restore(bench, longer, size + 1), -PIOMMU_EINVAL);
    expect_nothing(bench);
    free(longer);
    free(bytes);
    engine_close(bench);
}

/* Nothing comes of wrong bytes that this guest could not have done itself. */
static void test_each_wrong_byte_is_refused_or_can_be(void **state)
{
    static const uint8_t flips[] = {0x01, 0x02, 0x10, 0x80, 0xff};
    struct engine_options options = usual(state);
    struct engine_bench *bench;
    unsigned int accepted = 0;
    uint8_t *bytes;
    size_t size;

    /* Wrong bytes can make a range of many pages. */
    options.fragment = ENGINE_MEMORY / CORE_PAGE;
    bench = open_busy(&options);
    bytes = engine_save(bench, &size);

    for (size_t at = 0; at < size; at++) {
        for (unsigned int i = 0; i < COUNT(flips); i++) {
            int error;

            bytes[at] ^= flips[i];
            error = restore(bench, bytes, size);
            assert_true(error == 0 || error == -PIOMMU_EINVAL || error == -PIOMMU_ENOMEM ||
                        error == -PIOMMU_EOPNOTSUPP);
            /* Features from bit 8 on are never offered. */
            assert_true(at <= FEATURES || at >= FEATURES + 8 || error == -PIOMMU_EINVAL);
            if (error == 0) {
                void *again;
                size_t size_again;

                accepted++;
                again = engine_save(bench, &size_again);
                assert_int_equal(restore(bench, again, size_again), 0);
                free(again);
                assert_true(engine_statistics(bench).mappings <= 4);
                assert_true(engine_statistics(bench).domains <= 3);
                assert_true(piommu_viommu_service(bench->viommu, UINT32_MAX) == 0);
                piommu_viommu_system_reset(bench->viommu);
                (void)piommu_viommu_service(bench->viommu, UINT32_MAX);
            }
            expect_nothing(bench);
            bytes[at] ^= flips[i];
        }
    }
    assert_true(accepted != 0 && accepted < size * COUNT(flips));
    assert_int_equal(restore(bench, bytes, size), 0);
    piommu_viommu_system_reset(bench->viommu);
    (void)piommu_viommu_service(bench->viommu, UINT32_MAX);
    expect_nothing(bench);
    free(bytes);
    engine_close(bench);
}

static void one_domain(struct piommu_viommu_config *config)
{
    config->max_domains = 2;
}

static void few_mappings(struct piommu_viommu_config *config)
{
    config->max_mappings = 3;
}

static void little_memory(struct piommu_viommu_config *config)
{
    config->max_bytes = 200;
}

static void other_pages(struct piommu_viommu_config *config)
{
    config->page_sizes = 0x200000 | CORE_PAGE;
}

static void other_range(struct piommu_viommu_config *config)
{
    config->input = (struct piommu_range){0, 0xffffffff};
}

static void other_domains(struct piommu_viommu_config *config)
{
    config->last_domain = 20;
}

static void other_properties(struct piommu_viommu_config *config)
{
    config->probe_size = 200;
}

static void test_another_engine_has_its_own_limits(void **state)
{
    static const struct {
        void (*adjust)(struct piommu_viommu_config *config);
        int error;
    } others[] = {
        {one_domain, -PIOMMU_ENOMEM},       {few_mappings, -PIOMMU_ENOMEM},
        {little_memory, -PIOMMU_ENOMEM},    {other_pages, -PIOMMU_EINVAL},
        {other_range, -PIOMMU_EINVAL},      {other_domains, -PIOMMU_EINVAL},
        {other_properties, -PIOMMU_EINVAL},
    };
    struct engine_bench *bench = open_usual(state);
    size_t size;
    void *bytes = engine_save(bench, &size);

    for (unsigned int i = 0; i < COUNT(others); i++) {
        bench->options.adjust = others[i].adjust;
        engine_renew(bench);
        assert_int_equal(restore(bench, bytes, size), others[i].error);
        assert_int_equal(engine_statistics(bench).bytes, 0);
        assert_int_equal(engine_statistics(bench).domains, 0);
    }
    bench->options.adjust = NULL;
    engine_renew(bench);
    assert_int_equal(restore(bench, bytes, size), 0);
    engine_check(bench);
    free(bytes);
    engine_close(bench);
}

static void test_endpoints_and_memory_have_to_be_there(void **state)
{
    struct engine_bench *bench = open_usual(state);
    size_t size;
    void *bytes = engine_save(bench, &size);

    engine_renew(bench);
    bench->fail_translation = 2;
    assert_int_equal(restore(bench, bytes, size), -PIOMMU_EINVAL);
    expect_nothing(bench);
    assert_int_equal(engine_remove(bench, 0), 0);
    assert_int_equal(restore(bench, bytes, size), -PIOMMU_EINVAL);
    expect_nothing(bench);
    free(bytes);
    engine_close(bench);
}

static void test_each_call_of_the_shim_fails_once(void **state)
{
    struct engine_bench *bench = open_usual(state);
    size_t size;
    void *bytes = engine_save(bench, &size);
    unsigned int nth = 1;
    int error;

    engine_renew(bench);
    for (;;) {
        fake_os_fail_call(bench->core->os, nth, false);
        error = restore(bench, bytes, size);
        fake_os_fail_call(bench->core->os, 0, false);
        if (error == 0) {
            break;
        }
        assert_int_equal(error, -PIOMMU_ENOMEM);
        assert_int_equal(engine_statistics(bench).bytes, 0);
        nth++;
    }
    assert_true(nth > 4);
    engine_check(bench);
    free(bytes);
    engine_close(bench);
}

static void test_arguments_that_make_no_sense_are_refused(void **state)
{
    struct engine_bench *bench = open_usual(state);
    size_t size;

    assert_int_equal(piommu_viommu_save(NULL, NULL, 0, &size), -PIOMMU_EINVAL);
    assert_int_equal(piommu_viommu_save(bench->viommu, NULL, 0, NULL), -PIOMMU_EINVAL);
    assert_int_equal(piommu_viommu_restore(NULL, "", 1), -PIOMMU_EINVAL);
    assert_int_equal(piommu_viommu_restore(bench->viommu, NULL, 0), -PIOMMU_EINVAL);
    engine_check(bench);
    engine_close(bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ENGINE_FOR_EACH_KIND(test_a_guest_lives_on),
        ENGINE_FOR_EACH_KIND(test_reports_and_answers_that_wait_are_part_of_it),
        ENGINE_FOR_EACH_KIND(test_what_is_cut_or_too_long_is_refused),
        ENGINE_FOR_EACH_KIND(test_each_wrong_byte_is_refused_or_can_be),
        ENGINE_FOR_EACH_KIND(test_another_engine_has_its_own_limits),
        ENGINE_FOR_EACH_KIND(test_endpoints_and_memory_have_to_be_there),
        ENGINE_FOR_EACH_KIND(test_each_call_of_the_shim_fails_once),
        ENGINE_FOR_EACH_KIND(test_arguments_that_make_no_sense_are_refused),
    };

    return cmocka_run_group_tests_name("viommu state", tests, NULL, NULL);
}
