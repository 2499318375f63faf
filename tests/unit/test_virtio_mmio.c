/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * virtio devices behind virtio-mmio: who they say they are, the order in which they are set up
 * (which the model watches), and each lie, which must end in an error that the header names, with
 * no access outside the registers and all memory given back.
 */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include <piommu/virtio.h>

#include "viommu_fixture.h"
#include "virtio_life.h"

#define TYPE     23u
#define SECOND   1000000000ull
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static uint64_t mapped_at;
static uint64_t mapped_size;
static int (*real_mmio_map)(void *ctx, uint64_t physical, uint64_t size, uintptr_t *base);

static int noted_mmio_map(void *ctx, uint64_t physical, uint64_t size, uintptr_t *base)
{
    mapped_at = physical;
    mapped_size = size;
    return real_mmio_map(ctx, physical, size, base);
}

static struct viommu_fixture *create(void)
{
    struct viommu_fixture_options options;
    struct viommu_fixture *fixture;
    struct piommu_os *callbacks;

    viommu_fixture_default_options(&options);
    options.os.scattered = true;
    options.model.transport = VIOMMU_MODEL_MMIO;
    fixture = viommu_fixture_create(&options);
    callbacks = fake_os_callbacks(fixture->os);
    real_mmio_map = callbacks->mmio_map;
    callbacks->mmio_map = noted_mmio_map;
    memset(fake_os_pointer(fixture->os, fixture->memory, 128), 0, 128);
    return fixture;
}

static struct piommu_virtio_mmio_config place(const struct viommu_fixture *fixture)
{
    return (struct piommu_virtio_mmio_config){
        .registers = viommu_model_mmio_address(fixture->model),
        .size = VIOMMU_MODEL_MMIO_SIZE,
        .type = TYPE,
    };
}

static int open_device(struct viommu_fixture *fixture, struct piommu_virtio_device **device)
{
    const struct piommu_virtio_mmio_config config = place(fixture);

    return piommu_virtio_mmio_open(fake_os_host(fixture->os), &config, device);
}

static struct piommu_virtio_device *opened(struct viommu_fixture *fixture)
{
    struct piommu_virtio_device *device = NULL;

    assert_int_equal(open_device(fixture, &device), 0);
    assert_non_null(device);
    return device;
}

static struct piommu_virtio_device *negotiated(struct viommu_fixture *fixture)
{
    struct piommu_virtio_device *device = opened(fixture);
    uint64_t accepted;

    assert_int_equal(piommu_virtio_reset(device, SECOND), 0);
    assert_int_equal(piommu_virtio_negotiate(device,
                                             VIOMMU_MODEL_F_MAP_UNMAP | VIOMMU_MODEL_F_PROBE |
                                                 VIOMMU_MODEL_F_INPUT_RANGE |
                                                 VIOMMU_MODEL_F_BYPASS_CONFIG,
                                             VIOMMU_MODEL_F_MAP_UNMAP, &accepted),
                     0);
    return device;
}

static int create_queue(struct piommu_virtio_device *device, uint16_t index,
                        struct piommu_virtqueue **queue)
{
    const struct piommu_virtqueue_config config = {.index = index, .max_size = 16, .max_pieces = 2};

    return piommu_virtqueue_create(device, &config, queue);
}

static void close_all(struct viommu_fixture *fixture, struct piommu_virtio_device *device)
{
    assert_int_equal(piommu_virtio_reset(device, SECOND), 0);
    piommu_virtio_close(device);
    viommu_fixture_destroy(fixture);
}

/* ---- Opening ---- */

static void test_opening_identifies_the_device_and_leaves_it_alone(void **state)
{
    struct viommu_fixture *fixture = create();
    struct piommu_virtio_device *device = opened(fixture);

    (void)state;
    assert_int_equal(mapped_at, viommu_model_mmio_address(fixture->model));
    assert_int_equal(mapped_size, VIOMMU_MODEL_MMIO_SIZE);
    assert_int_equal(viommu_model_counters(fixture->model)->resets, 0);
    assert_int_equal(viommu_model_status(fixture->model), 0);
    assert_int_equal(piommu_virtio_messages_used(device), 0);
    piommu_virtio_close(device);
    viommu_fixture_destroy(fixture);
}

static void test_opening_refuses_wrong_arguments(void **state)
{
    struct viommu_fixture *fixture = create();
    struct piommu_virtio_device *device = NULL;
    struct piommu_host host = fake_os_host(fixture->os);
    struct piommu_host nobody = {NULL, NULL};
    struct piommu_virtio_mmio_config config = place(fixture);
    struct piommu_os *callbacks = fake_os_callbacks(fixture->os);
    struct piommu_os complete = *callbacks;

    (void)state;
    assert_int_equal(piommu_virtio_mmio_open(nobody, &config, &device), -PIOMMU_EINVAL);
    assert_int_equal(piommu_virtio_mmio_open(host, NULL, &device), -PIOMMU_EINVAL);
    assert_int_equal(piommu_virtio_mmio_open(host, &config, NULL), -PIOMMU_EINVAL);
    for (uint64_t size = 0; size <= 0x100; size += 0x40) {
        config.size = size;
        assert_int_equal(piommu_virtio_mmio_open(host, &config, &device), -PIOMMU_EINVAL);
    }
    config = place(fixture);
    config.type = 2;
    assert_int_equal(piommu_virtio_mmio_open(host, &config, &device), -PIOMMU_ENODEV);
    callbacks->mmio_unmap = NULL;
    assert_int_equal(open_device(fixture, &device), -PIOMMU_EINVAL);
    *callbacks = complete;
    callbacks->now = NULL;
    assert_int_equal(open_device(fixture, &device), -PIOMMU_EINVAL);
    *callbacks = complete;
    callbacks->cache_invalidate = NULL;
    config = place(fixture);
    config.non_coherent = true;
    assert_int_equal(piommu_virtio_mmio_open(host, &config, &device), -PIOMMU_EINVAL);
    *callbacks = complete;
    assert_null(device);
    viommu_fixture_destroy(fixture);
}

/* What has no PCI needs no callbacks for it. */
static void test_opening_needs_no_pci(void **state)
{
    struct viommu_fixture *fixture = create();
    struct piommu_os *callbacks = fake_os_callbacks(fixture->os);

    (void)state;
    callbacks->pci_config_read = NULL;
    callbacks->pci_config_write = NULL;
    callbacks->pci_bar = NULL;
    assert_int_equal(virtio_live(fixture, opened(fixture)), 0);
    viommu_model_forget_violations(fixture->model); /* a request of type 0 */
    viommu_fixture_destroy(fixture);
}

static void test_opening_survives_each_failure_of_the_host(void **state)
{
    (void)state;
    for (uint64_t nth = 1;; nth++) {
        struct viommu_fixture *fixture = create();
        struct piommu_virtio_device *device = NULL;
        int error;

        assert_true(nth < 20);
        fake_os_fail_call(fixture->os, nth, false);
        error = open_device(fixture, &device);
        fake_os_fail_call(fixture->os, 0, false);
        if (error == 0) {
            assert_true(nth > 2); /* memory, and the window */
            piommu_virtio_close(device);
            viommu_fixture_destroy(fixture);
            return;
        }
        assert_int_equal(error, -PIOMMU_ENOMEM);
        assert_null(device);
        viommu_fixture_destroy(fixture);
    }
}

/* After a wrong answer nothing else is touched: the model would object. */
static void test_what_is_no_such_device_is_refused(void **state)
{
    static const struct {
        enum viommu_model_misbehaviour what;
        uint64_t argument;
        int error;
    } lies[] = {
        {VIOMMU_MODEL_MMIO_MAGIC, 0, -PIOMMU_ENODEV},
        {VIOMMU_MODEL_MMIO_MAGIC, 0x76697274, -PIOMMU_ENODEV},
        {VIOMMU_MODEL_MMIO_MAGIC, 0xffffffff, -PIOMMU_ENODEV},
        {VIOMMU_MODEL_MMIO_VERSION, 1, -PIOMMU_EOPNOTSUPP},
        {VIOMMU_MODEL_MMIO_DEVICE_ID, 0, -PIOMMU_ENODEV},
        {VIOMMU_MODEL_MMIO_DEVICE_ID, 1, -PIOMMU_ENODEV},
        {VIOMMU_MODEL_MMIO_DEVICE_ID, 0xffffffff, -PIOMMU_ENODEV},
        {VIOMMU_MODEL_GONE, 0, -PIOMMU_ENODEV},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(lies); i++) {
        struct viommu_fixture *fixture = create();
        struct piommu_virtio_device *device = NULL;

        viommu_model_misbehave(fixture->model, lies[i].what, 0, lies[i].argument);
        assert_int_equal(open_device(fixture, &device), lies[i].error);
        assert_null(device);
        assert_int_equal(fake_os_bytes_outstanding(fixture->os), 0);
        assert_int_equal(viommu_model_violations(fixture->model), 0);
        viommu_model_behave(fixture->model);
        piommu_virtio_close(opened(fixture));
        viommu_fixture_destroy(fixture);
    }
}

static void test_versions_of_the_future_are_refused(void **state)
{
    static const uint64_t versions[] = {0, 3, 0xffffffff};

    (void)state;
    for (size_t i = 0; i < COUNT(versions); i++) {
        struct viommu_fixture *fixture = create();
        struct piommu_virtio_device *device = NULL;
        int error;

        viommu_model_misbehave(fixture->model, VIOMMU_MODEL_MMIO_VERSION, 0, versions[i]);
        error = open_device(fixture, &device);
        assert_true(error == -PIOMMU_EOPNOTSUPP || error == -PIOMMU_ENODEV);
        assert_null(device);
        viommu_fixture_destroy(fixture);
    }
}

/* However much is said to be there, no more than can be meant is mapped. */
static void test_no_more_than_registers_is_mapped(void **state)
{
    struct viommu_fixture *fixture = create();
    struct piommu_virtio_mmio_config config = place(fixture);
    struct piommu_virtio_device *device = NULL;

    (void)state;
    config.size = 1ull << 40;
    assert_int_equal(piommu_virtio_mmio_open(fake_os_host(fixture->os), &config, &device), 0);
    assert_in_range(mapped_size, 0x101, 0x10000);
    piommu_virtio_close(device);
    viommu_fixture_destroy(fixture);
}

/* ---- A driver's life ---- */

static void test_an_honest_device_is_usable_to_the_end(void **state)
{
    struct viommu_fixture *fixture = create();

    (void)state;
    for (unsigned int i = 0; i < 3; i++) {
        *(uint8_t *)fake_os_pointer(fixture->os, fixture->memory, 1) = VIOMMU_MODEL_DETACH;
        assert_int_equal(virtio_live(fixture, opened(fixture)), 0);
        assert_int_equal(viommu_model_counters(fixture->model)->requests[VIOMMU_MODEL_DETACH],
                         i + 1);
    }
    viommu_fixture_destroy(fixture); /* no violation: all came in order */
}

static void test_the_interrupt_is_acknowledged_as_it_was_read(void **state)
{
    struct viommu_fixture *fixture = create();
    struct piommu_virtio_device *device = negotiated(fixture);
    struct piommu_virtqueue *queue = NULL;

    (void)state;
    assert_int_equal(create_queue(device, 0, &queue), 0);
    piommu_virtio_start(device);
    assert_int_equal(piommu_virtio_interrupt_status(device), 0);
    viommu_model_raise_for_nothing(fixture->model);
    assert_int_equal(piommu_virtio_interrupt_status(device), 1);
    assert_false(viommu_model_interrupt_pending(fixture->model));
    viommu_model_change_config(fixture->model, &fixture->options.model, 0);
    viommu_model_raise_for_nothing(fixture->model);
    assert_int_equal(piommu_virtio_interrupt_status(device), 3);
    assert_int_equal(piommu_virtio_interrupt_status(device), 0);
    assert_false(viommu_model_interrupt_pending(fixture->model));
    assert_int_equal(piommu_virtio_reset(device, SECOND), 0);
    piommu_virtqueue_destroy(queue);
    close_all(fixture, device);
}

static void test_reset_waits_and_times_out(void **state)
{
    static const enum viommu_model_misbehaviour ways[] = {VIOMMU_MODEL_RESET_HANGS,
                                                          VIOMMU_MODEL_GONE};

    (void)state;
    for (size_t i = 0; i < COUNT(ways); i++) {
        struct viommu_fixture *fixture = create();
        struct piommu_virtio_device *device = negotiated(fixture);
        uint64_t before = fake_os_time(fixture->os);

        viommu_model_misbehave(fixture->model, ways[i], 0, 0);
        assert_int_equal(piommu_virtio_reset(device, SECOND), -PIOMMU_ETIMEDOUT);
        assert_in_range(fake_os_time(fixture->os) - before, SECOND, SECOND + SECOND / 100);
        viommu_model_behave(fixture->model);
        close_all(fixture, device);
    }
}

/* ---- Features ---- */

static void test_features_above_the_first_word_are_agreed_on(void **state)
{
    struct viommu_fixture *fixture = create();
    struct piommu_virtio_device *device = negotiated(fixture);

    (void)state;
    assert_int_equal(viommu_model_accepted_features(fixture->model),
                     VIOMMU_MODEL_F_MAP_UNMAP | VIOMMU_MODEL_F_PROBE | VIOMMU_MODEL_F_INPUT_RANGE |
                         VIOMMU_MODEL_F_BYPASS_CONFIG | VIOMMU_MODEL_F_VERSION_1);
    assert_int_equal(piommu_virtio_status(device), PIOMMU_VIRTIO_STATUS_ACKNOWLEDGE |
                                                       PIOMMU_VIRTIO_STATUS_DRIVER |
                                                       PIOMMU_VIRTIO_STATUS_FEATURES_OK);
    close_all(fixture, device);
}

static void test_a_device_that_refuses_features_is_told_so(void **state)
{
    struct viommu_fixture *fixture = create();
    struct piommu_virtio_device *device = opened(fixture);
    uint64_t accepted = 0x5555;

    (void)state;
    assert_int_equal(piommu_virtio_reset(device, SECOND), 0);
    viommu_model_misbehave(fixture->model, VIOMMU_MODEL_REFUSE_FEATURES, 0, 0);
    assert_int_equal(piommu_virtio_negotiate(device, VIOMMU_MODEL_F_MAP_UNMAP, 0, &accepted),
                     -PIOMMU_EOPNOTSUPP);
    assert_int_equal(accepted, 0x5555);
    assert_true((viommu_model_status(fixture->model) & PIOMMU_VIRTIO_STATUS_FAILED) != 0);
    viommu_model_behave(fixture->model);
    close_all(fixture, device);
}

/* ---- Configuration ---- */

static void test_config_is_read_and_written_by_fields(void **state)
{
    static const struct piommu_virtio_field fields[] = {{0, 8}, {16, 8}, {32, 4}, {36, 1}};
    struct viommu_fixture *fixture = create();
    struct piommu_virtio_device *device = negotiated(fixture);
    uint64_t values[4] = {0};

    (void)state;
    assert_int_equal(piommu_virtio_read_config(device, fields, 4, values), 0);
    assert_int_equal(values[0], fixture->options.model.page_size_mask);
    assert_int_equal(values[1], UINT64_MAX);
    assert_int_equal(values[2], 512);
    assert_int_equal(values[3], 1);
    assert_int_equal(piommu_virtio_write_config_byte(device, 36, 0), 0);
    assert_int_equal(viommu_model_bypass(fixture->model), 0);
    close_all(fixture, device);
}

static void test_config_outside_the_registers_is_refused(void **state)
{
    static const struct piommu_virtio_field wrong[] = {
        {0x100, 1}, {0xff, 2}, {0xfd, 4}, {0xf9, 8}, {0xffffffff, 1}, {0xfffffffc, 8}};
    struct viommu_fixture *fixture = create();
    struct piommu_virtio_device *device = negotiated(fixture);
    uint64_t value = 0x77;

    (void)state;
    for (size_t i = 0; i < COUNT(wrong); i++) {
        int error = piommu_virtio_read_config(device, &wrong[i], 1, &value);

        assert_true(error == -PIOMMU_EBADMSG || error == -PIOMMU_EINVAL);
    }
    assert_int_equal(value, 0x77);
    assert_int_equal(piommu_virtio_write_config_byte(device, 0x100, 0), -PIOMMU_EBADMSG);
    assert_int_equal(piommu_virtio_write_config_byte(device, 0xffffffff, 0), -PIOMMU_EBADMSG);
    close_all(fixture, device);
}

static void test_config_is_of_one_generation(void **state)
{
    static const struct piommu_virtio_field fields[] = {{8, 8}, {16, 8}};
    struct viommu_fixture *fixture = create();
    struct piommu_virtio_device *device = negotiated(fixture);
    struct viommu_model_parameters next = fixture->options.model;
    uint64_t values[2] = {0, 0};

    (void)state;
    next.input_start = 0x1111111122222222;
    next.input_end = 0x3333333344444444;
    for (uint64_t reads = 1; reads <= 3; reads++) {
        struct viommu_model_parameters first = fixture->options.model;

        viommu_model_change_config(fixture->model, &first, 0);
        viommu_model_change_config(fixture->model, &next, reads);
        assert_int_equal(piommu_virtio_read_config(device, fields, 2, values), 0);
        assert_int_equal(values[0], next.input_start);
        assert_int_equal(values[1], next.input_end);
    }
    viommu_model_misbehave(fixture->model, VIOMMU_MODEL_GENERATION_CHANGES, 0, 0);
    assert_int_equal(piommu_virtio_read_config(device, fields, 2, values), -PIOMMU_EBADMSG);
    viommu_model_behave(fixture->model);
    close_all(fixture, device);
}

/* ---- Queues ---- */

static void test_impossible_queues_are_refused(void **state)
{
    static const struct {
        enum viommu_model_misbehaviour what;
        uint64_t argument;
    } lies[] = {
        {VIOMMU_MODEL_QUEUE_SIZE, 0},      {VIOMMU_MODEL_QUEUE_SIZE, 3},
        {VIOMMU_MODEL_QUEUE_SIZE, 0x7fff}, {VIOMMU_MODEL_QUEUE_COUNT, 0},
        {VIOMMU_MODEL_QUEUE_READY, 1},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(lies); i++) {
        struct viommu_fixture *fixture = create();
        struct piommu_virtio_device *device = negotiated(fixture);
        struct piommu_virtqueue *queue = NULL;
        uint64_t held = fake_os_bytes_outstanding(fixture->os);

        viommu_model_misbehave(fixture->model, lies[i].what, 0, lies[i].argument);
        assert_int_equal(create_queue(device, 0, &queue), -PIOMMU_EBADMSG);
        assert_null(queue);
        assert_int_equal(fake_os_bytes_outstanding(fixture->os), held);
        viommu_model_behave(fixture->model);
        viommu_model_forget_violations(fixture->model);
        assert_int_equal(virtio_live(fixture, device), 0);
        viommu_model_forget_violations(fixture->model); /* a request of type 0 */
        viommu_fixture_destroy(fixture);
    }
}

static void test_a_queue_that_does_not_exist_is_refused(void **state)
{
    struct viommu_fixture *fixture = create();
    struct piommu_virtio_device *device = negotiated(fixture);
    struct piommu_virtqueue *queue = NULL;

    (void)state;
    assert_int_equal(create_queue(device, 2, &queue), -PIOMMU_EBADMSG);
    assert_int_equal(create_queue(device, 0xffff, &queue), -PIOMMU_EBADMSG);
    assert_null(queue);
    close_all(fixture, device);
}

/* ---- Registers that say anything ---- */

static uint32_t (*real_mmio_read)(void *ctx, uintptr_t address, unsigned int width);
static uint32_t chance;
static unsigned int reads;

/* The first registers are as they should be, and then every other one is not. */
static uint32_t wild_mmio_read(void *ctx, uintptr_t address, unsigned int width)
{
    uint32_t value = real_mmio_read(ctx, address, width);

    reads++;
    chance = chance * 1664525u + 1013904223u;
    if ((address & 0xfff) < 0x10 || (chance >> 31) != 0) {
        return value;
    }
    return (chance >> 8 & 0xff) == 0 ? UINT32_MAX : chance >> (chance >> 27);
}

static void test_registers_that_say_anything_do_no_harm(void **state)
{
    unsigned int successes = 0;

    (void)state;
    for (uint32_t seed = 0; seed < 400; seed++) {
        struct viommu_fixture *fixture = create();
        struct piommu_os *callbacks = fake_os_callbacks(fixture->os);
        struct piommu_virtio_device *device = opened(fixture);
        int error;

        chance = seed;
        reads = 0;
        real_mmio_read = callbacks->mmio_read;
        callbacks->mmio_read = wild_mmio_read;
        error = virtio_live(fixture, device);
        assert_true(error == 0 || error == -PIOMMU_EBADMSG || error == -PIOMMU_EOPNOTSUPP ||
                    error == -PIOMMU_ETIMEDOUT);
        successes += error == 0;
        assert_true(reads < 3000);
        viommu_model_forget_violations(fixture->model);
        viommu_fixture_destroy(fixture);
    }
    assert_true(successes < 400);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_opening_identifies_the_device_and_leaves_it_alone),
        cmocka_unit_test(test_opening_refuses_wrong_arguments),
        cmocka_unit_test(test_opening_needs_no_pci),
        cmocka_unit_test(test_opening_survives_each_failure_of_the_host),
        cmocka_unit_test(test_what_is_no_such_device_is_refused),
        cmocka_unit_test(test_versions_of_the_future_are_refused),
        cmocka_unit_test(test_no_more_than_registers_is_mapped),
        cmocka_unit_test(test_an_honest_device_is_usable_to_the_end),
        cmocka_unit_test(test_the_interrupt_is_acknowledged_as_it_was_read),
        cmocka_unit_test(test_reset_waits_and_times_out),
        cmocka_unit_test(test_features_above_the_first_word_are_agreed_on),
        cmocka_unit_test(test_a_device_that_refuses_features_is_told_so),
        cmocka_unit_test(test_config_is_read_and_written_by_fields),
        cmocka_unit_test(test_config_outside_the_registers_is_refused),
        cmocka_unit_test(test_config_is_of_one_generation),
        cmocka_unit_test(test_impossible_queues_are_refused),
        cmocka_unit_test(test_a_queue_that_does_not_exist_is_refused),
        cmocka_unit_test(test_registers_that_say_anything_do_no_harm),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
