/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * How a virtio-iommu does its work: in portions, with resets in between, within limits, in an
 * order that a guest can rely on, and with failures of everything below it.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "viommu_bench.h"

#define PAGE(number) ((number)*CORE_PAGE)
#define END(number)  ((number)*CORE_PAGE + CORE_PAGE - 1)
#define RW           (VIOMMU_READ | VIOMMU_WRITE)

/* Two devices and a software endpoint; no two pages of the guest are contiguous. */
static struct engine_options usual(void **state)
{
    return (struct engine_options){
        .core = *core_case_of(state), .devices = 2, .software = 1, .fragment = 1, .bypass = true};
}

static struct engine_bench *open_usual(void **state)
{
    const struct engine_options options = usual(state);

    return engine_open(&options);
}

static struct piommu_domain *core_domain(const struct engine_bench *bench, unsigned int number)
{
    struct piommu_device_info info;

    piommu_device_get_info(bench->endpoints[number].device, &info);
    return info.domain;
}

/* ---- Portions ---- */

/* A life of some domains, as requests that all succeed; `step` counts from 0. */
static bool life(unsigned int step, struct engine_request *request)
{
    const struct engine_request requests[] = {
        engine_attach_request(1, ENGINE_DEVICE(0), 0),
        engine_map_request(1, PAGE(1), END(20), PAGE(5), RW),
        engine_attach_request(1, ENGINE_SOFTWARE(0), 0),
        engine_map_request(1, PAGE(30), END(35), PAGE(90), VIOMMU_READ),
        engine_map_request(1, PAGE(21), END(21), PAGE(91), RW),
        engine_attach_request(1, ENGINE_DEVICE(1), 0),
        engine_unmap_request(1, PAGE(21), END(35)),
        engine_attach_request(2, ENGINE_DEVICE(1), 0),
        engine_map_request(2, PAGE(1), END(3), PAGE(50), RW),
        engine_attach_request(2, ENGINE_DEVICE(0), 0),
        engine_detach_request(2, ENGINE_DEVICE(1)),
        engine_attach_request(1, ENGINE_DEVICE(1), 0),
        engine_attach_request(3, ENGINE_DEVICE(0), VIOMMU_BYPASS),
        engine_detach_request(1, ENGINE_SOFTWARE(0)),
        engine_unmap_request(1, 0, UINT64_MAX),
        engine_detach_request(1, ENGINE_DEVICE(1)),
        engine_detach_request(3, ENGINE_DEVICE(0)),
    };

    if (step >= sizeof(requests) / sizeof(requests[0])) {
        return false;
    }
    *request = requests[step];
    return true;
}

static void test_any_budget_gives_the_same(void **state)
{
    static const uint32_t budgets[] = {0, 1, 2, 3, 7, 64, UINT32_MAX};

    for (size_t i = 0; i < sizeof(budgets) / sizeof(budgets[0]); i++) {
        struct engine_bench *bench = open_usual(state);
        struct engine_request request;

        bench->budget = budgets[i];
        for (unsigned int step = 0; life(step, &request); step++) {
            assert_int_equal(engine_ask(bench, &request), VIOMMU_OK);
        }
        assert_int_equal(engine_statistics(bench).bytes, 0);
        engine_close(bench);
    }
}

static void test_many_requests_at_once_are_answered_in_order(void **state)
{
    struct engine_bench *bench = open_usual(state);
    struct engine_request request;
    struct engine_answer answer;
    unsigned int answers = 0;

    for (unsigned int step = 0; step < ENGINE_SLOTS && life(step, &request); step++) {
        (void)engine_post(bench, &request);
    }
    bench->budget = 5;
    engine_service(bench);
    while (engine_answer(bench, &answer)) {
        assert_int_equal(answer.status, VIOMMU_OK);
        answers++;
    }
    assert_int_equal(answers, ENGINE_SLOTS);
    engine_check(bench);
    engine_close(bench);
}

/* Services once; what was done is within the budget. True: there is more. */
static bool service_bounded(struct engine_bench *bench, const struct piommu_domain *domain,
                            uint32_t budget)
{
    const unsigned int translations = bench->translations;
    const unsigned int calls =
        core_calls(bench->core, CORE_MAP) + core_calls(bench->core, CORE_UNMAP);
    struct piommu_domain_statistics before;
    struct piommu_domain_statistics after;
    uint64_t changed;
    int more;

    piommu_domain_get_statistics(domain, &before);
    more = piommu_viommu_service(bench->viommu, budget);
    piommu_domain_get_statistics(domain, &after);
    changed =
        before.mapped < after.mapped ? after.mapped - before.mapped : before.mapped - after.mapped;
    assert_true(bench->translations - translations <= budget);
    assert_true(core_calls(bench->core, CORE_MAP) + core_calls(bench->core, CORE_UNMAP) - calls <=
                budget);
    assert_true(changed <= budget * CORE_PAGE);
    return more != 0;
}

static unsigned int service_all_bounded(struct engine_bench *bench, unsigned int number,
                                        uint32_t budget)
{
    const struct piommu_domain *domain = core_domain(bench, number);
    struct engine_answer answer;
    unsigned int services = 1;

    while (service_bounded(bench, domain, budget)) {
        services++;
    }
    assert_true(engine_answer(bench, &answer));
    assert_int_equal(answer.status, VIOMMU_OK);
    engine_check(bench);
    return services;
}

static void test_each_call_does_bounded_work(void **state)
{
    struct engine_bench *bench = open_usual(state);

    for (uint32_t budget = 1; budget <= 1000; budget *= 10) {
        const uint64_t pages = 2000;
        struct engine_request request = engine_map_request(1, 0, END(pages - 1), PAGE(7), RW);

        assert_int_equal(engine_attach(bench, 1, ENGINE_DEVICE(0), 0), VIOMMU_OK);
        (void)engine_post(bench, &request);
        assert_true(service_all_bounded(bench, 0, budget) >= pages / budget);
        request = engine_unmap_request(1, 0, END(pages));
        (void)engine_post(bench, &request);
        assert_true(service_all_bounded(bench, 0, budget) >= 2);
        /* A device comes to what only a software endpoint had. */
        assert_int_equal(engine_attach(bench, 2, ENGINE_SOFTWARE(0), 0), VIOMMU_OK);
        assert_int_equal(engine_map(bench, 2, 0, END(pages - 1), PAGE(7), RW), VIOMMU_OK);
        request = engine_attach_request(2, ENGINE_DEVICE(1), 0);
        (void)engine_post(bench, &request);
        assert_true(service_all_bounded(bench, 0, budget) >= 2);
        engine_reset(bench);
    }
    engine_close(bench);
}

/* One piece of guest memory that is mapped by many leaves, since no block fits. */
static void test_one_large_piece_is_mapped_in_portions(void **state)
{
    struct engine_options options = usual(state);
    struct engine_bench *bench;

    options.fragment = 0x1000;
    bench = engine_open(&options);
    for (uint32_t budget = 1; budget <= 100; budget *= 10) {
        struct engine_request request = engine_map_request(1, PAGE(1), END(2000), PAGE(0), RW);

        assert_int_equal(engine_attach(bench, 1, ENGINE_DEVICE(0), 0), VIOMMU_OK);
        (void)engine_post(bench, &request);
        assert_true(service_all_bounded(bench, 0, budget) >= 2000 / budget);
        request = engine_unmap_request(1, PAGE(1), END(2000));
        (void)engine_post(bench, &request);
        assert_true(service_all_bounded(bench, 0, budget) >= 2000 / budget);
        engine_reset(bench);
    }
    engine_close(bench);
}

static void test_a_software_endpoint_is_told_in_portions(void **state)
{
    struct engine_bench *bench = open_usual(state);
    const struct engine_request request = engine_attach_request(1, ENGINE_SOFTWARE(0), 0);
    const struct engine_endpoint *endpoint = &bench->endpoints[2];
    struct engine_answer answer;
    unsigned int told = 0;
    int more = 1;

    assert_int_equal(engine_attach(bench, 1, ENGINE_DEVICE(0), 0), VIOMMU_OK);
    for (unsigned int i = 0; i < 20; i++) {
        assert_int_equal(engine_map(bench, 1, PAGE(i), END(i), PAGE(50 + i), RW), VIOMMU_OK);
    }
    (void)engine_post(bench, &request);
    while (more != 0) {
        more = piommu_viommu_service(bench->viommu, 3);
        assert_true(endpoint->told_count <= told + 3);
        told = endpoint->told_count;
    }
    assert_true(engine_answer(bench, &answer));
    engine_check(bench);
    engine_close(bench);
}

/* ---- Limits ---- */

static void few_of_all(struct piommu_viommu_config *config)
{
    config->max_domains = 2;
    config->max_mappings = 5;
}

static void test_numbers_of_domains_and_mappings_are_limited(void **state)
{
    struct engine_options options = usual(state);
    struct engine_bench *bench;

    options.adjust = few_of_all;
    bench = engine_open(&options);
    for (unsigned int round = 0; round < 3; round++) {
        assert_int_equal(engine_attach(bench, 1, ENGINE_DEVICE(0), 0), VIOMMU_OK);
        assert_int_equal(engine_attach(bench, 2, ENGINE_DEVICE(1), VIOMMU_BYPASS), VIOMMU_OK);
        assert_int_equal(engine_attach(bench, 3, ENGINE_SOFTWARE(0), 0), VIOMMU_NOMEM);
        assert_int_equal(engine_attach(bench, 1, ENGINE_SOFTWARE(0), 0), VIOMMU_OK);
        assert_int_equal(engine_attach(bench, 3, ENGINE_SOFTWARE(0), 0), VIOMMU_NOMEM);
        assert_int_equal(engine_detach(bench, 2, ENGINE_DEVICE(1)), VIOMMU_OK);
        assert_int_equal(engine_attach(bench, 3, ENGINE_SOFTWARE(0), 0), VIOMMU_OK);
        for (unsigned int i = 0; i < 5; i++) {
            assert_int_equal(engine_map(bench, i % 2 != 0 ? 3 : 1, PAGE(i), END(i), PAGE(9), RW),
                             VIOMMU_OK);
        }
        assert_int_equal(engine_map(bench, 1, PAGE(9), END(9), PAGE(9), RW), VIOMMU_NOMEM);
        assert_int_equal(engine_map(bench, 3, PAGE(9), END(9), PAGE(9), RW), VIOMMU_NOMEM);
        assert_int_equal(engine_unmap(bench, 3, PAGE(1), END(1)), VIOMMU_OK);
        assert_int_equal(engine_map(bench, 1, PAGE(9), END(9), PAGE(9), RW), VIOMMU_OK);
        assert_int_equal(engine_map(bench, 1, PAGE(10), END(10), PAGE(9), RW), VIOMMU_NOMEM);
        assert_int_equal(engine_detach(bench, 1, ENGINE_DEVICE(0)), VIOMMU_OK);
        assert_int_equal(engine_detach(bench, 3, ENGINE_SOFTWARE(0)), VIOMMU_OK);
    }
    engine_close(bench);
}

static void few_bytes(struct piommu_viommu_config *config)
{
    config->max_bytes = 1000;
}

static void test_memory_is_limited(void **state)
{
    struct engine_options options = usual(state);
    struct engine_bench *bench;
    enum viommu_status status = VIOMMU_OK;
    unsigned int count = 0;

    options.adjust = few_bytes;
    bench = engine_open(&options);
    bench->unjudged = true;
    assert_int_equal(engine_attach(bench, 1, ENGINE_DEVICE(0), 0), VIOMMU_OK);
    while (status == VIOMMU_OK) {
        status = engine_map(bench, 1, PAGE(count), END(count), PAGE(9), RW);
        assert_true(engine_statistics(bench).bytes <= 1000);
        count++;
    }
    assert_int_equal(status, VIOMMU_NOMEM);
    assert_in_range(count, 3, 100);
    assert_int_equal(engine_unmap(bench, 1, PAGE(1), END(1)), VIOMMU_OK);
    assert_int_equal(engine_map(bench, 1, PAGE(200), END(200), PAGE(9), RW), VIOMMU_OK);
    assert_int_equal(engine_map(bench, 1, PAGE(1), END(1), PAGE(9), RW), VIOMMU_NOMEM);
    engine_reset(bench);
    assert_int_equal(engine_statistics(bench).bytes, 0);
    engine_close(bench);
}

/* ---- A reset, or the removal of an endpoint, in the middle ---- */

enum stage {
    STAGE_MAP,
    STAGE_UNDO,
    STAGE_UNMAP,
    STAGE_REPLAY,
    STAGE_REPLAY_FRESH,
    STAGE_REPLAY_FAILS,
    STAGE_TELL,
    STAGE_END,
    STAGES,
};

/* Makes the guest ready for a request that takes long, and posts it. */
static void prepare(struct engine_bench *bench, enum stage stage)
{
    struct engine_request request = engine_detach_request(1, ENGINE_DEVICE(0));

    bench->budget = UINT32_MAX;
    if (stage == STAGE_REPLAY || stage == STAGE_REPLAY_FAILS) {
        assert_int_equal(engine_attach(bench, 1, ENGINE_SOFTWARE(0), 0), VIOMMU_OK);
    } else {
        assert_int_equal(engine_attach(bench, 1, ENGINE_DEVICE(0), 0), VIOMMU_OK);
    }
    switch (stage) {
    case STAGE_MAP:
        request = engine_map_request(1, PAGE(1), END(30), PAGE(5), RW);
        break;
    case STAGE_UNDO:
        request = engine_map_request(1, PAGE(1), END(30), ENGINE_ROM - PAGE(25), RW);
        break;
    case STAGE_REPLAY_FRESH:
        assert_int_equal(engine_map(bench, 1, PAGE(1), END(20), PAGE(5), RW), VIOMMU_OK);
        request = engine_attach_request(2, ENGINE_DEVICE(0), 0);
        break;
    default:
        for (unsigned int i = 0; i < 10; i++) {
            assert_int_equal(engine_map(bench, 1, PAGE(3 * i), END(3 * i + 2), PAGE(5 * i), RW),
                             VIOMMU_OK);
        }
        if (stage == STAGE_UNMAP) {
            request = engine_unmap_request(1, 0, END(100));
        } else if (stage == STAGE_TELL) {
            request = engine_attach_request(1, ENGINE_SOFTWARE(0), 0);
        } else if (stage != STAGE_END) {
            request = engine_attach_request(1, ENGINE_DEVICE(1), 0);
        }
        break;
    }
    if (stage == STAGE_REPLAY_FAILS) {
        assert_int_equal(engine_map(bench, 1, PAGE(39), END(39), ENGINE_ROM, RW), VIOMMU_OK);
    }
    (void)engine_post(bench, &request);
}

/* Services some times with the smallest budget; false: all was done before. */
static bool service_some(struct engine_bench *bench, unsigned int calls)
{
    bench->budget = 1;
    for (unsigned int i = 0; i < calls; i++) {
        if (piommu_viommu_service(bench->viommu, bench->budget) == 0) {
            return false;
        }
    }
    return true;
}

/* What is reset reaches nothing when the call has returned, whatever is left to do. */
static void reset_in_the_middle(struct engine_bench *bench, bool system, bool serviced)
{
    guest_model_reset(bench->model);
    if (system) {
        piommu_viommu_system_reset(bench->viommu);
    } else {
        piommu_viommu_reset(bench->viommu);
    }
    engine_check_reach(bench);
    assert_int_equal(guest_get(bench->guest, GUEST + 0x2002, 2), bench->answered);
    if (serviced) {
        engine_service(bench);
        assert_int_equal(engine_statistics(bench).bytes, 0);
    }
    engine_start(bench);
    engine_service(bench);
    assert_int_equal(engine_statistics(bench).bytes, 0);
    engine_check(bench);
}

static void test_a_reset_in_the_middle_of_everything(void **state)
{
    struct engine_bench *bench = open_usual(state);

    for (enum stage stage = STAGE_MAP; stage < STAGES; stage++) {
        unsigned int calls = 0;
        bool more = true;

        while (more) {
            struct engine_answer answer;

            prepare(bench, stage);
            more = service_some(bench, calls);
            (void)engine_answer(bench, &answer);
            reset_in_the_middle(bench, calls % 2 != 0, calls % 3 != 0);
            calls++;
        }
        assert_true(calls > 2);
    }
    engine_close(bench);
}

static void test_an_engine_is_destroyed_in_the_middle_of_everything(void **state)
{
    for (enum stage stage = STAGE_MAP; stage < STAGES; stage++) {
        bool more = true;

        /* Not after each number of calls, since every one needs an engine of its own. */
        for (unsigned int calls = 0; more; calls += 1 + calls / 3) {
            struct engine_bench *bench = open_usual(state);

            prepare(bench, stage);
            more = service_some(bench, calls);
            engine_close(bench);
        }
    }
}

static void test_endpoints_are_removed_when_no_request_is_half_done(void **state)
{
    struct engine_bench *bench = open_usual(state);

    for (enum stage stage = STAGE_MAP; stage < STAGES; stage++) {
        bool more = true;

        for (unsigned int calls = 0; more; calls++) {
            struct engine_answer answer;

            prepare(bench, stage);
            more = service_some(bench, calls);
            if (!engine_answer(bench, &answer) && calls != 0) {
                for (unsigned int i = 0; i < 3; i++) {
                    assert_int_equal(engine_remove(bench, i), -PIOMMU_EAGAIN);
                }
                engine_service(bench);
                assert_true(engine_answer(bench, &answer));
            }
            bench->unjudged = true;
            for (unsigned int i = 0; i < 3; i++) {
                assert_int_equal(engine_remove(bench, i), 0);
                engine_check_reach(bench);
            }
            engine_service(bench);
            /* What was posted and not looked at met no endpoints. */
            (void)engine_answer(bench, &answer);
            bench->unjudged = false;
            engine_check(bench);
            for (unsigned int i = 0; i < 3; i++) {
                engine_add(bench, i);
            }
            engine_reset(bench);
        }
    }
    engine_close(bench);
}

/* ---- Order ---- */

static unsigned int looks;
static unsigned int destroyed;

/*
 * A call of the backend: the request that it is for has not been answered. Only what is left of a
 * domain that nobody is in may go later.
 */
static void look_at_used(void *ctx)
{
    struct engine_bench *bench = ctx;
    const unsigned int now = mock_counters(bench->core->units[0].mock)->domain_destroy;

    looks++;
    if (now == destroyed) {
        assert_int_equal(guest_get(bench->guest, GUEST + 0x2002, 2), bench->answered);
    }
    destroyed = now;
}

static void look_at_hardware(struct engine_bench *bench)
{
    looks++;
    engine_check_reach(bench);
}

static void test_what_is_answered_is_done(void **state)
{
    struct engine_bench *bench = open_usual(state);
    struct engine_request request;

    destroyed = 0;
    mock_observe(bench->core->units[0].mock, look_at_used, bench);
    for (unsigned int step = 0; life(step, &request); step++) {
        const unsigned int syncs =
            core_calls(bench->core, CORE_INVALIDATE) + core_calls(bench->core, CORE_UNMAP);

        looks = 0;
        assert_int_equal(engine_ask(bench, &request), VIOMMU_OK);
        if (request.bytes[0] == VIOMMU_UNMAP) {
            assert_true(looks != 0);
            assert_true(core_calls(bench->core, CORE_INVALIDATE) +
                            core_calls(bench->core, CORE_UNMAP) >
                        syncs);
        }
    }
    mock_observe(bench->core->units[0].mock, NULL, NULL);
    engine_close(bench);
}

static void test_hardware_obeys_when_the_guest_is_told(void **state)
{
    struct engine_bench *bench = open_usual(state);
    struct engine_request request;

    bench->on_completed = look_at_hardware;
    for (unsigned int step = 0; life(step, &request); step++) {
        struct engine_answer answer;

        looks = 0;
        (void)engine_post(bench, &request);
        /* It is judged before it has happened. */
        guest_model_apply(bench->model, request.bytes);
        bench->unjudged = true;
        engine_service(bench);
        assert_int_equal(looks, 1);
        bench->answered++;
        assert_false(engine_answer(bench, &answer));
    }
    engine_close(bench);
}

/* ---- Rings that are not there ---- */

/* Begins with a request that needs more than one call. */
static void begin_map(struct engine_bench *bench, struct engine_request *request)
{
    assert_int_equal(engine_attach(bench, 1, ENGINE_DEVICE(0), 0), VIOMMU_OK);
    *request = engine_map_request(1, PAGE(1), END(20), PAGE(5), RW);
    (void)engine_post(bench, request);
    assert_true(service_some(bench, 2));
}

static void test_an_answer_waits_for_its_ring(void **state)
{
    struct engine_bench *bench = open_usual(state);
    struct engine_request request;
    struct engine_answer answer;

    begin_map(bench, &request);
    bench->ring_gone[PIOMMU_VIOMMU_REQUESTS] = true;
    engine_service(bench);
    assert_false(engine_answer(bench, &answer));
    /* It is no longer half done. */
    assert_int_equal(engine_remove(bench, 1), 0);
    engine_add(bench, 1);
    bench->ring_gone[PIOMMU_VIOMMU_REQUESTS] = false;
    engine_service(bench);
    assert_true(engine_answer(bench, &answer));
    assert_int_equal(answer.status, VIOMMU_OK);
    engine_check(bench);
    engine_close(bench);
}

static void test_requests_and_reports_wait_for_their_rings(void **state)
{
    struct engine_bench *bench = open_usual(state);
    const struct engine_request request = engine_attach_request(1, ENGINE_DEVICE(0), 0);
    const struct piommu_fault fault = {.reason = PIOMMU_FAULT_UNKNOWN};
    struct engine_answer answer;
    uint32_t length;

    bench->ring_gone[PIOMMU_VIOMMU_REQUESTS] = true;
    bench->ring_gone[PIOMMU_VIOMMU_EVENTS] = true;
    (void)engine_post(bench, &request);
    engine_post_event(bench, ENGINE_EVENT_SIZE);
    assert_true(piommu_viommu_report_fault(bench->viommu, ENGINE_DEVICE(0), &fault));
    engine_service(bench);
    assert_false(engine_answer(bench, &answer));
    assert_null(engine_event(bench, &length));
    bench->ring_gone[PIOMMU_VIOMMU_REQUESTS] = false;
    engine_service(bench);
    assert_true(engine_answer(bench, &answer));
    assert_null(engine_event(bench, &length));
    bench->ring_gone[PIOMMU_VIOMMU_EVENTS] = false;
    engine_service(bench);
    assert_non_null(engine_event(bench, &length));
    engine_check(bench);
    engine_close(bench);
}

/* What was taken from a queue that is stopped is done as a whole, and answered nowhere. */
static void test_nobody_is_told_of_a_request_of_a_stopped_queue(void **state)
{
    struct engine_bench *bench = open_usual(state);
    struct engine_request request;
    struct engine_answer answer;

    begin_map(bench, &request);
    piommu_viommu_queue_stopped(bench->viommu, PIOMMU_VIOMMU_REQUESTS);
    engine_start(bench);
    engine_service(bench);
    assert_false(engine_answer(bench, &answer));
    assert_int_equal(bench->needed_resets, 0);
    guest_model_apply(bench->model, request.bytes);
    engine_check(bench);
    /* The next one is answered: nothing was taken when a queue was stopped. */
    piommu_viommu_queue_stopped(bench->viommu, PIOMMU_VIOMMU_REQUESTS);
    engine_start(bench);
    assert_int_equal(engine_unmap(bench, 1, PAGE(1), END(20)), VIOMMU_OK);
    begin_map(bench, &request);
    piommu_viommu_queue_stopped(bench->viommu, PIOMMU_VIOMMU_EVENTS);
    engine_service(bench);
    assert_true(engine_answer(bench, &answer));
    engine_check(bench);
    engine_close(bench);
}

static void test_the_guest_is_interrupted_once_for_many_requests(void **state)
{
    struct engine_bench *bench = open_usual(state);
    struct engine_request request;
    struct engine_answer answer;

    for (unsigned int step = 0; step < 6 && life(step, &request); step++) {
        (void)engine_post(bench, &request);
    }
    engine_service(bench);
    for (unsigned int i = 0; i < 6; i++) {
        assert_true(engine_answer(bench, &answer));
    }
    assert_int_equal(bench->completions[PIOMMU_VIOMMU_REQUESTS], 1);
    assert_int_equal(bench->completions[PIOMMU_VIOMMU_EVENTS], 0);
    engine_check(bench);
    engine_close(bench);
}

/* ---- Failures ---- */

/* Goes through a life, with something that fails once; what failed is tried again. */
static unsigned int live_with_failures(struct engine_bench *bench)
{
    struct engine_request request;
    unsigned int failures = 0;

    bench->unjudged = true;
    for (unsigned int step = 0; life(step, &request); step++) {
        enum viommu_status status = engine_ask(bench, &request);

        if (status != VIOMMU_OK) {
            assert_int_equal(status, VIOMMU_NOMEM);
            failures++;
            status = engine_ask(bench, &request);
        }
        assert_int_equal(status, VIOMMU_OK);
    }
    return failures;
}

static void test_each_call_of_the_shim_fails_once(void **state)
{
    unsigned int failures = 0;
    unsigned int nth = 0;
    bool all = false;

    while (!all) {
        struct engine_bench *bench = open_usual(state);
        struct fake_os_counters before;
        struct fake_os_counters after;

        bench->budget = nth % 2 != 0 ? 3 : UINT32_MAX;
        nth++;
        fake_os_get_counters(bench->core->os, &before);
        fake_os_fail_call(bench->core->os, nth, false);
        failures += live_with_failures(bench);
        fake_os_get_counters(bench->core->os, &after);
        all = after.fallible_calls - before.fallible_calls < nth;
        fake_os_fail_call(bench->core->os, 0, false);
        engine_close(bench);
    }
    assert_true(nth > 10 && failures > 10);
}

static void test_memory_that_never_comes_back_is_no_harm(void **state)
{
    for (uint64_t nth = 1; nth < 20; nth++) {
        struct engine_bench *bench = open_usual(state);
        struct engine_request request;

        bench->unjudged = true;
        fake_os_fail_call(bench->core->os, nth, true);
        for (unsigned int step = 0; life(step, &request); step++) {
            const enum viommu_status status = engine_ask(bench, &request);

            assert_int_not_equal(status, VIOMMU_DEVERR);
            assert_int_not_equal(status, VIOMMU_UNANSWERED);
        }
        fake_os_fail_call(bench->core->os, 0, false);
        engine_close(bench);
    }
}

static void test_creation_fails_at_each_call(void **state)
{
    const struct engine_options options = usual(state);
    struct engine_bench *bench = engine_open(&options);
    struct piommu_viommu_config config = {.callbacks = {.translate = NULL}};
    struct piommu_viommu *viommu = NULL;
    const struct piommu_host host = fake_os_host(bench->core->os);

    assert_int_equal(piommu_viommu_create(host, &config, &viommu), -PIOMMU_EINVAL);
    assert_int_equal(piommu_viommu_create(host, NULL, &viommu), -PIOMMU_EINVAL);
    assert_int_equal(engine_remove(bench, 2), 0);
    fake_os_fail_call(bench->core->os, 1, false);
    assert_int_equal(engine_add_with(bench, 2, NULL, 0), -PIOMMU_ENOMEM);
    engine_add(bench, 2);
    engine_check(bench);
    engine_close(bench);
}

/* Whether the unit was stopped, and all that it had is blocked. */
static bool has_failed(struct engine_bench *bench)
{
    struct piommu_instance_info info;

    piommu_instance_get_info(bench->core->instances[0], &info);
    return info.failed;
}

static void expect_nothing_reached(struct engine_bench *bench)
{
    for (unsigned int i = 0; i < bench->options.devices; i++) {
        core_expect_nothing(bench->core, bench->endpoints[i].hardware_id, 0, 40 * CORE_PAGE);
    }
}

/* Asks without the model, since nobody knows what a unit that has failed still has. */
static enum viommu_status ask_alone(struct engine_bench *bench,
                                    const struct engine_request *request)
{
    const unsigned int slot = engine_post(bench, request);

    engine_service(bench);
    assert_int_equal(guest_get(bench->guest, GUEST + 0x2002, 2), (uint16_t)(bench->answered + 1));
    bench->answered++;
    return (enum viommu_status)guest_get(bench->guest, engine_writable(slot), 1);
}

/* One life with a failure; true: it has happened. */
static bool fail_backend(void **state, enum core_call call, unsigned int nth)
{
    struct engine_bench *bench = open_usual(state);
    struct core_unit *unit = &bench->core->units[0];
    struct engine_request request;
    bool happened = false;

    bench->unjudged = true;
    core_fail(unit, call, nth, -PIOMMU_EIO, false);
    for (unsigned int step = 0; life(step, &request) && !happened; step++) {
        const enum viommu_status status = ask_alone(bench, &request);

        happened = unit->fail_in[call] == 0;
        if (status == VIOMMU_OK) {
            guest_model_apply(bench->model, request.bytes);
        } else {
            assert_true(happened);
            assert_int_equal(status, VIOMMU_DEVERR);
        }
    }
    if (has_failed(bench)) {
        expect_nothing_reached(bench);
    } else {
        engine_check(bench);
    }
    engine_close(bench);
    return happened;
}

static void test_each_call_of_the_backend_fails_once(void **state)
{
    for (enum core_call call = CORE_DOMAIN_CREATE; call < CORE_CALLS; call++) {
        unsigned int nth = 1;

        while (fail_backend(state, call, nth)) {
            nth++;
        }
    }
}

static void test_translate_fails_at_each_call(void **state)
{
    struct engine_bench *bench = open_usual(state);
    unsigned int nth = 1;

    assert_int_equal(engine_attach(bench, 1, ENGINE_DEVICE(0), 0), VIOMMU_OK);
    assert_int_equal(engine_attach(bench, 1, ENGINE_SOFTWARE(0), 0), VIOMMU_OK);
    bench->unjudged = true;
    for (; nth <= 20; nth++) {
        bench->budget = nth % 3 + 1;
        bench->fail_translation = nth;
        assert_int_equal(engine_map(bench, 1, PAGE(1), END(20), PAGE(5), RW), VIOMMU_FAULT);
    }
    assert_int_equal(engine_map(bench, 1, PAGE(1), END(20), PAGE(5), RW), VIOMMU_OK);
    assert_int_equal(engine_detach(bench, 1, ENGINE_DEVICE(0)), VIOMMU_OK);
    engine_close(bench);
}

static void test_a_replay_that_fails_leaves_everything(void **state)
{
    struct engine_bench *bench = open_usual(state);

    assert_int_equal(engine_attach(bench, 1, ENGINE_SOFTWARE(0), 0), VIOMMU_OK);
    assert_int_equal(engine_map(bench, 1, PAGE(1), END(10), PAGE(5), RW), VIOMMU_OK);
    assert_int_equal(engine_map(bench, 1, PAGE(15), END(19), PAGE(5), RW), VIOMMU_OK);
    assert_int_equal(engine_attach(bench, 2, ENGINE_DEVICE(0), 0), VIOMMU_OK);
    assert_int_equal(engine_map(bench, 2, PAGE(1), END(10), PAGE(50), RW), VIOMMU_OK);
    bench->unjudged = true;
    for (unsigned int nth = 1; nth <= 15; nth++) {
        bench->budget = nth % 3 + 1;
        bench->fail_translation = nth;
        assert_int_equal(engine_attach(bench, 1, ENGINE_DEVICE(0), 0), VIOMMU_FAULT);
    }
    assert_int_equal(engine_attach(bench, 1, ENGINE_DEVICE(0), 0), VIOMMU_OK);
    engine_close(bench);
}

static void test_a_hypervisor_that_answers_nonsense_maps_nothing(void **state)
{
    static const struct piommu_segment lies[] = {
        {.physical = 0x10000000, .size = 1},
        {.physical = 0x10000000, .size = CORE_PAGE + 1},
        {.physical = 0x10000010, .size = CORE_PAGE},
        {.physical = 0x10000000, .size = 3 * CORE_PAGE},
        {.physical = UINT64_MAX - CORE_PAGE + 1, .size = 2 * CORE_PAGE},
    };
    struct engine_bench *bench = open_usual(state);

    assert_int_equal(engine_attach(bench, 1, ENGINE_DEVICE(0), 0), VIOMMU_OK);
    bench->unjudged = true;
    for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
        bench->lie = lies[i];
        assert_int_equal(engine_map(bench, 1, PAGE(1), END(2), PAGE(5), RW), VIOMMU_DEVERR);
    }
    engine_close(bench);
}

static void test_a_device_that_cannot_be_bypassed_needs_a_reset(void **state)
{
    struct engine_bench *bench = open_usual(state);
    const uint8_t on = 1;

    prepare(bench, STAGE_MAP);
    assert_true(service_some(bench, 2));
    core_fail(&bench->core->units[0], CORE_ATTACH, 1, -PIOMMU_EIO, false);
    piommu_viommu_write_config(bench->viommu, 36, &on, 1);
    assert_int_equal(bench->needed_resets, 1);
    /* The request that was half done is no reason to keep an endpoint for ever. */
    engine_service(bench);
    for (unsigned int i = 0; i < 3; i++) {
        assert_int_equal(engine_remove(bench, i), 0);
    }
    engine_close(bench);
}

/* ---- Endpoints ---- */

static void test_what_add_endpoint_refuses(void **state)
{
    struct piommu_reserved_region regions[5] = {
        {.range = {PAGE(2), PAGE(1)}, .kind = PIOMMU_RESERVED}};
    struct engine_bench *bench = open_usual(state);
    struct piommu_viommu_endpoint *endpoint = NULL;
    struct piommu_viommu_endpoint_config config = {.id = ENGINE_DEVICE(0)};

    assert_int_equal(piommu_viommu_add_endpoint(bench->viommu, &config, &endpoint), -PIOMMU_EEXIST);
    config.id = 0x777;
    config.regions = regions;
    config.region_count = 1;
    assert_int_equal(piommu_viommu_add_endpoint(bench->viommu, &config, &endpoint), -PIOMMU_EINVAL);
    regions[0] = (struct piommu_reserved_region){.range = {0, 1}, .kind = PIOMMU_RESERVED_DIRECT};
    assert_int_equal(piommu_viommu_add_endpoint(bench->viommu, &config, &endpoint), -PIOMMU_EINVAL);
    memset(regions, 0, sizeof(regions));
    /* Four fit into what PROBE tells. */
    config.region_count = 5;
    assert_int_equal(piommu_viommu_add_endpoint(bench->viommu, &config, &endpoint), -PIOMMU_ENOSPC);
    config.region_count = 4;
    assert_int_equal(piommu_viommu_add_endpoint(bench->viommu, &config, &endpoint), 0);
    assert_int_equal(piommu_viommu_remove_endpoint(endpoint), 0);
    engine_close(bench);
}

static void test_a_device_that_is_not_alone_is_no_endpoint(void **state)
{
    struct engine_bench *bench = open_usual(state);
    struct piommu_viommu_endpoint *endpoint = NULL;
    const struct piommu_viommu_endpoint_config config = {
        .id = 0x777, .device = core_add_device(bench->core, 0, 20, NULL, 0, 5)};

    (void)core_add_device(bench->core, 0, 21, NULL, 0, 5);
    assert_int_equal(piommu_viommu_add_endpoint(bench->viommu, &config, &endpoint), -PIOMMU_EGROUP);
    engine_close(bench);
}

static void test_an_endpoint_that_is_added_is_bypassed_if_that_is_on(void **state)
{
    struct engine_bench *bench = open_usual(state);

    engine_write_bypass(bench, 1);
    for (unsigned int i = 0; i < 3; i++) {
        assert_int_equal(engine_remove(bench, i), 0);
        engine_check(bench);
        engine_add(bench, i);
        engine_check(bench);
    }
    assert_int_equal(engine_remove(bench, 0), 0);
    core_expect_nothing(bench->core, bench->endpoints[0].hardware_id, 0, 40 * CORE_PAGE);
    core_fail(&bench->core->units[0], CORE_ATTACH, 1, -PIOMMU_EIO, false);
    assert_int_equal(engine_add_with(bench, 0, NULL, 0), -PIOMMU_EIO);
    engine_add(bench, 0);
    engine_check(bench);
    engine_close(bench);
}

static void test_devices_of_several_units(void **state)
{
    struct engine_options options = usual(state);
    struct engine_bench *bench;

    options.core.units = 2;
    bench = engine_open(&options);
    assert_int_equal(engine_attach(bench, 1, ENGINE_DEVICE(0), 0), VIOMMU_OK);
    assert_int_equal(engine_map(bench, 1, PAGE(1), END(20), PAGE(5), RW), VIOMMU_OK);
    assert_int_equal(engine_attach(bench, 1, ENGINE_DEVICE(1), 0), VIOMMU_OK);
    assert_int_equal(engine_map(bench, 1, PAGE(30), END(35), PAGE(5), RW), VIOMMU_OK);
    bench->unjudged = true;
    /* All devices can use it, or none. */
    if (bench->options.core.kind == PIOMMU_BACKEND_REQUESTS) {
        core_fail(&bench->core->units[1], CORE_MAP, 1, -PIOMMU_EIO, false);
        assert_int_equal(engine_map(bench, 1, PAGE(36), END(36), PAGE(5), RW), VIOMMU_DEVERR);
    }
    assert_int_equal(engine_unmap(bench, 1, PAGE(1), END(36)), VIOMMU_OK);
    assert_int_equal(engine_detach(bench, 1, ENGINE_DEVICE(0)), VIOMMU_OK);
    assert_int_equal(engine_map(bench, 1, PAGE(1), END(2), PAGE(5), RW), VIOMMU_OK);
    engine_close(bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ENGINE_FOR_EACH_KIND(test_any_budget_gives_the_same),
        ENGINE_FOR_EACH_KIND(test_many_requests_at_once_are_answered_in_order),
        ENGINE_FOR_EACH_KIND(test_each_call_does_bounded_work),
        /* Who is told of each mapping is told of the whole piece at once. */
        ENGINE_TEST(test_one_large_piece_is_mapped_in_portions, " (tables)", 0),
        ENGINE_FOR_EACH_KIND(test_a_software_endpoint_is_told_in_portions),
        ENGINE_FOR_EACH_KIND(test_numbers_of_domains_and_mappings_are_limited),
        ENGINE_FOR_EACH_KIND(test_memory_is_limited),
        ENGINE_FOR_EACH_KIND(test_a_reset_in_the_middle_of_everything),
        ENGINE_FOR_EACH_KIND(test_an_engine_is_destroyed_in_the_middle_of_everything),
        ENGINE_FOR_EACH_KIND(test_endpoints_are_removed_when_no_request_is_half_done),
        ENGINE_FOR_EACH_KIND(test_what_is_answered_is_done),
        ENGINE_FOR_EACH_KIND(test_hardware_obeys_when_the_guest_is_told),
        ENGINE_FOR_EACH_KIND(test_an_answer_waits_for_its_ring),
        ENGINE_FOR_EACH_KIND(test_requests_and_reports_wait_for_their_rings),
        ENGINE_FOR_EACH_KIND(test_nobody_is_told_of_a_request_of_a_stopped_queue),
        ENGINE_FOR_EACH_KIND(test_the_guest_is_interrupted_once_for_many_requests),
        ENGINE_FOR_EACH_KIND(test_each_call_of_the_shim_fails_once),
        ENGINE_FOR_EACH_KIND(test_memory_that_never_comes_back_is_no_harm),
        ENGINE_FOR_EACH_KIND(test_creation_fails_at_each_call),
        ENGINE_FOR_EACH_KIND(test_each_call_of_the_backend_fails_once),
        ENGINE_FOR_EACH_KIND(test_translate_fails_at_each_call),
        ENGINE_FOR_EACH_KIND(test_a_replay_that_fails_leaves_everything),
        ENGINE_FOR_EACH_KIND(test_a_hypervisor_that_answers_nonsense_maps_nothing),
        ENGINE_FOR_EACH_KIND(test_a_device_that_cannot_be_bypassed_needs_a_reset),
        ENGINE_FOR_EACH_KIND(test_what_add_endpoint_refuses),
        ENGINE_FOR_EACH_KIND(test_a_device_that_is_not_alone_is_no_endpoint),
        ENGINE_FOR_EACH_KIND(test_an_endpoint_that_is_added_is_bypassed_if_that_is_on),
        ENGINE_FOR_EACH_KIND(test_devices_of_several_units),
    };

    return cmocka_run_group_tests_name("viommu work", tests, NULL, NULL);
}
