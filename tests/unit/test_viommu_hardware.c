/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * What a virtio-iommu makes of hardware that has failed, or cannot do what a guest asks for, of
 * memory that is not there, and of arguments that make no sense.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "viommu_bench.h"

#define PAGE(number) ((number)*CORE_PAGE)
#define END(number)  ((number)*CORE_PAGE + CORE_PAGE - 1)
#define RW           (VIOMMU_READ | VIOMMU_WRITE)

static struct engine_options usual(void **state)
{
    return (struct engine_options){
        .core = *core_case_of(state), .devices = 2, .software = 1, .bypass = true};
}

static struct engine_bench *open_usual(void **state)
{
    const struct engine_options options = usual(state);

    return engine_open(&options);
}

static struct mock *mock_of(const struct engine_bench *bench)
{
    return bench->core->units[0].mock;
}

/* Asks without a look at what is reached, while hardware does not obey. */
static enum viommu_status ask(struct engine_bench *bench, struct engine_request request)
{
    struct engine_answer answer;

    bench->unjudged = true;
    (void)engine_post(bench, &request);
    engine_service(bench);
    assert_true(engine_answer(bench, &answer));
    return answer.status;
}

static void expect_nothing_reached(struct engine_bench *bench)
{
    for (unsigned int i = 0; i < bench->options.devices; i++) {
        core_expect_nothing(bench->core, bench->endpoints[i].hardware_id, 0, 40 * CORE_PAGE);
    }
}

/* ---- Hardware that has failed ---- */

static void test_a_unit_that_fails_in_an_attach(void **state)
{
    struct engine_bench *bench = open_usual(state);

    assert_int_equal(engine_attach(bench, 1, ENGINE_DEVICE(0), 0), VIOMMU_OK);
    assert_int_equal(engine_map(bench, 1, PAGE(1), END(5), PAGE(9), RW), VIOMMU_OK);
    assert_int_equal(engine_attach(bench, 2, ENGINE_DEVICE(1), 0), VIOMMU_OK);
    core_fail(&bench->core->units[0], CORE_ATTACH, 1, -PIOMMU_ETIMEDOUT, false);
    assert_int_equal(ask(bench, engine_attach_request(2, ENGINE_DEVICE(0), 0)), VIOMMU_DEVERR);
    expect_nothing_reached(bench);
    /* It is in no domain now, and its old one had nobody else. */
    assert_int_equal(ask(bench, engine_detach_request(1, ENGINE_DEVICE(0))), VIOMMU_INVAL);
    assert_int_equal(ask(bench, engine_unmap_request(1, PAGE(1), END(5))), VIOMMU_NOENT);
    engine_close(bench);
}

/* A unit that neither blocks a device nor stops. */
static struct engine_bench *open_stuck(void **state)
{
    struct engine_bench *bench = open_usual(state);

    assert_int_equal(engine_attach(bench, 1, ENGINE_DEVICE(0), 0), VIOMMU_OK);
    assert_int_equal(engine_map(bench, 1, PAGE(1), END(5), PAGE(9), RW), VIOMMU_OK);
    core_fail(&bench->core->units[0], CORE_BLOCK_ID, 1, -PIOMMU_ETIMEDOUT, true);
    mock_refuse_stop(mock_of(bench), true);
    return bench;
}

static void free_stuck(struct engine_bench *bench)
{
    core_fail_nothing(&bench->core->units[0]);
    mock_refuse_stop(mock_of(bench), false);
}

static void test_a_device_that_cannot_be_blocked_stays(void **state)
{
    struct engine_bench *bench = open_stuck(state);

    assert_int_equal(ask(bench, engine_detach_request(1, ENGINE_DEVICE(0))), VIOMMU_DEVERR);
    assert_int_equal(engine_remove(bench, 0), -PIOMMU_EFAILED);
    assert_int_equal(piommu_viommu_destroy(bench->viommu), -PIOMMU_EFAILED);
    free_stuck(bench);
    assert_int_equal(engine_remove(bench, 0), 0);
    expect_nothing_reached(bench);
    engine_close(bench);
}

/* What is left of a domain that hardware may still use is given back when that is over. */
static void test_a_reset_with_a_device_that_cannot_be_blocked(void **state)
{
    struct engine_bench *bench = open_stuck(state);

    guest_model_reset(bench->model);
    piommu_viommu_reset(bench->viommu);
    for (unsigned int i = 0; i < 100; i++) {
        (void)piommu_viommu_service(bench->viommu, 10);
    }
    assert_int_equal(piommu_viommu_destroy(bench->viommu), -PIOMMU_EFAILED);
    free_stuck(bench);
    engine_close(bench);
}

/* ---- Hardware that cannot ---- */

static void use_large_pages(unsigned int unit, struct piommu_backend_info *info)
{
    (void)unit;
    info->leaf_sizes = 0x10000;
}

static void test_a_device_with_a_larger_granule_cannot_be_attached(void **state)
{
    struct engine_options options = usual(state);
    struct engine_bench *bench;

    options.bypass = false;
    options.adjust_units = use_large_pages;
    bench = engine_open(&options);
    bench->unjudged = true;
    assert_int_equal(engine_attach(bench, 1, ENGINE_DEVICE(0), 0), VIOMMU_UNSUPP);
    assert_int_equal(engine_statistics(bench).domains, 0);
    assert_int_equal(engine_statistics(bench).bytes, 0);
    engine_close(bench);
}

/* The hypervisor has not told of a region of the machine: nothing is mapped over it, either. */
static void test_regions_of_the_hardware_are_not_mapped(void **state)
{
    const struct piommu_reserved_region region = {.range = {PAGE(3), END(4)},
                                                  .kind = PIOMMU_RESERVED};
    struct engine_bench *bench = open_usual(state);
    struct engine_endpoint *endpoint = &bench->endpoints[0];

    assert_int_equal(engine_remove(bench, 0), 0);
    endpoint->hardware_id = 30;
    endpoint->device = core_add_device(bench->core, 0, 30, &region, 1, 0);
    engine_add(bench, 0);
    bench->unjudged = true;
    assert_int_equal(engine_attach(bench, 1, ENGINE_SOFTWARE(0), 0), VIOMMU_OK);
    assert_int_equal(engine_map(bench, 1, PAGE(1), END(3), PAGE(9), RW), VIOMMU_OK);
    assert_int_equal(engine_attach(bench, 1, ENGINE_DEVICE(0), 0), VIOMMU_UNSUPP);
    assert_int_equal(engine_unmap(bench, 1, PAGE(1), END(3)), VIOMMU_OK);
    assert_int_equal(engine_attach(bench, 1, ENGINE_DEVICE(0), 0), VIOMMU_OK);
    assert_int_equal(engine_map(bench, 1, PAGE(1), END(3), PAGE(9), RW), VIOMMU_INVAL);
    assert_int_equal(engine_map(bench, 1, PAGE(1), END(2), PAGE(9), RW), VIOMMU_OK);
    engine_close(bench);
}

/* ---- Memory that is not there ---- */

/* Where the nth descriptor leads. */
static void redirect(struct engine_bench *bench, unsigned int descriptor, uint64_t address)
{
    guest_put(bench->guest, GUEST + 16ull * descriptor, address, 8);
}

static void test_pieces_that_are_not_memory(void **state)
{
    struct engine_bench *bench = open_usual(state);
    const struct engine_request requests[] = {engine_attach_request(1, ENGINE_DEVICE(0), 0),
                                              engine_probe_request(ENGINE_DEVICE(0))};

    bench->unjudged = true;
    for (unsigned int i = 0; i < 4; i++) {
        const unsigned int first = bench->next_descriptor;
        struct engine_answer answer;

        (void)engine_post(bench, &requests[i / 2]);
        redirect(bench, first + i % 2, GUEST + GUEST_SIZE - 1);
        engine_service(bench);
        if (bench->needed_resets != 0) {
            bench->needed_resets = 0;
            engine_reset(bench);
            continue;
        }
        assert_true(engine_answer(bench, &answer));
        assert_int_equal(answer.status, VIOMMU_UNANSWERED);
    }
    engine_close(bench);
}

static void test_answers_that_cannot_be_given(void **state)
{
    const struct piommu_device_ring_config config = {.size = ENGINE_RING,
                                                     .descriptors = GUEST,
                                                     .available = GUEST + 0x1000,
                                                     .used = GUEST + GUEST_SIZE};
    struct engine_bench *bench = open_usual(state);
    const struct engine_request request = engine_attach_request(1, ENGINE_DEVICE(0), 0);
    const struct engine_request unknown = {.bytes = {99}, .readable = 20, .writable = 4};

    for (unsigned int i = 0; i < 2; i++) {
        assert_int_equal(piommu_device_ring_start(bench->guest->ring, &config), 0);
        (void)engine_post(bench, i == 0 ? &request : &unknown);
        engine_service(bench);
        engine_service(bench);
        assert_int_equal(bench->needed_resets, i + 1);
        engine_reset(bench);
    }
    engine_close(bench);
}

/* ---- Arguments ---- */

static int never(void *cookie, uint64_t guest, uint64_t size, piommu_prot prot,
                 struct piommu_segment *piece)
{
    (void)cookie;
    (void)guest;
    (void)size;
    (void)prot;
    (void)piece;
    return -PIOMMU_EINVAL;
}

static void nothing(void *cookie)
{
    (void)cookie;
}

static void no_queue(void *cookie, unsigned int queue)
{
    (void)cookie;
    (void)queue;
}

static struct piommu_device_ring *no_ring(void *cookie, unsigned int queue)
{
    no_queue(cookie, queue);
    return NULL;
}

static struct piommu_viommu_config sound(void)
{
    return (struct piommu_viommu_config){
        .callbacks = {
            .translate = never, .completed = no_queue, .needs_reset = nothing, .ring = no_ring}};
}

static void expect_refused(const struct engine_bench *bench,
                           const struct piommu_viommu_config *config)
{
    struct piommu_viommu *viommu = NULL;

    assert_int_equal(piommu_viommu_create(fake_os_host(bench->core->os), config, &viommu),
                     -PIOMMU_EINVAL);
    assert_null(viommu);
}

static void test_configurations_that_make_no_sense(void **state)
{
    struct engine_bench *bench = open_usual(state);
    struct piommu_viommu_config config = sound();

    expect_refused(bench, NULL);
    config.callbacks.translate = NULL;
    expect_refused(bench, &config);
    config = sound();
    config.callbacks.ring = NULL;
    expect_refused(bench, &config);
    config = sound();
    config.callbacks.completed = NULL;
    expect_refused(bench, &config);
    config = sound();
    config.callbacks.needs_reset = NULL;
    expect_refused(bench, &config);
    config = sound();
    config.input = (struct piommu_range){PAGE(2), PAGE(1)};
    expect_refused(bench, &config);
    config = sound();
    config.probe_size = 4097;
    expect_refused(bench, &config);
    config = sound();
    config.starts_bypassed = true;
    expect_refused(bench, &config);
    engine_close(bench);
}

static void test_creation_without_memory(void **state)
{
    struct engine_bench *bench = open_usual(state);
    const struct piommu_viommu_config config = sound();
    struct piommu_viommu *viommu = NULL;
    unsigned int nth = 1;

    fake_os_fail_call(bench->core->os, nth, false);
    while (piommu_viommu_create(fake_os_host(bench->core->os), &config, &viommu) != 0) {
        assert_null(viommu);
        fake_os_fail_call(bench->core->os, ++nth, false);
    }
    assert_true(nth > 2);
    fake_os_fail_call(bench->core->os, 0, false);
    assert_int_equal(piommu_viommu_features(viommu), 0x34);
    assert_int_equal(piommu_viommu_destroy(viommu), 0);
    engine_close(bench);
}

static void test_nothing_is_refused_or_ignored(void **state)
{
    struct engine_bench *bench = open_usual(state);
    const struct piommu_fault fault = {.reason = PIOMMU_FAULT_UNKNOWN};
    struct piommu_segment piece;
    size_t count;

    assert_int_equal(piommu_viommu_destroy(NULL), 0);
    assert_int_equal(piommu_viommu_remove_endpoint(NULL), 0);
    assert_int_equal(piommu_viommu_add_endpoint(bench->viommu, NULL, NULL), -PIOMMU_EINVAL);
    piommu_viommu_start(NULL, 0);
    piommu_viommu_reset(NULL);
    piommu_viommu_system_reset(NULL);
    piommu_viommu_queue_stopped(NULL, 0);
    assert_int_equal(piommu_viommu_service(NULL, 1), 0);
    assert_false(piommu_viommu_report_fault(NULL, 1, &fault));
    assert_false(piommu_viommu_report_fault(bench->viommu, 1, NULL));
    assert_int_equal(piommu_viommu_translate(NULL, 0, 1, CORE_R, &piece, 1, &count),
                     -PIOMMU_EINVAL);
    piommu_viommu_write_config(NULL, 36, "x", 1);
    piommu_viommu_write_config(bench->viommu, 36, NULL, 1);
    piommu_viommu_read_config(bench->viommu, 36, NULL, 1);
    engine_check(bench);
    engine_close(bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ENGINE_FOR_EACH_KIND(test_a_unit_that_fails_in_an_attach),
        ENGINE_FOR_EACH_KIND(test_a_device_that_cannot_be_blocked_stays),
        ENGINE_FOR_EACH_KIND(test_a_reset_with_a_device_that_cannot_be_blocked),
        ENGINE_TEST(test_a_device_with_a_larger_granule_cannot_be_attached, " (requests)", 2),
        ENGINE_FOR_EACH_KIND(test_regions_of_the_hardware_are_not_mapped),
        ENGINE_FOR_EACH_KIND(test_pieces_that_are_not_memory),
        ENGINE_FOR_EACH_KIND(test_answers_that_cannot_be_given),
        ENGINE_FOR_EACH_KIND(test_configurations_that_make_no_sense),
        ENGINE_FOR_EACH_KIND(test_creation_without_memory),
        ENGINE_FOR_EACH_KIND(test_nothing_is_refused_or_ignored),
    };

    return cmocka_run_group_tests_name("viommu hardware", tests, NULL, NULL);
}
