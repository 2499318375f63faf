/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Interrupt messages of devices behind virtio-pci: how many are used, which comes for what, and
 * what becomes of devices that have too few, refuse them, or lie about their table. The model
 * objects to vectors that are not read back and to entries that are changed while they are in use.
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

static const struct piommu_virtio_message wanted[] = {
    {.address = 0xfedcba9876543210ull, .data = 0xffffffff},
    {.address = 0xfee00000, .data = 0},
};

/* A device with its queues, and what it has sent. */
struct bench {
    struct viommu_fixture *fixture;
    struct piommu_virtio_device *device;
    struct piommu_virtqueue *queues[2];
    unsigned int sent[COUNT(wanted)];
    unsigned int strange; /* messages that nobody has asked for */
};

static void sink(void *ctx, uint64_t address, uint32_t data)
{
    struct bench *bench = ctx;

    for (size_t i = 0; i < COUNT(wanted); i++) {
        if (wanted[i].address == address && wanted[i].data == data) {
            bench->sent[i]++;
            return;
        }
    }
    bench->strange++;
}

static int try_open(struct bench *bench, unsigned int vectors, unsigned int messages)
{
    struct viommu_fixture_options options;
    struct piommu_virtio_pci_config config = {
        .type = TYPE, .messages = messages != 0 ? wanted : NULL, .message_count = messages};

    memset(bench, 0, sizeof(*bench));
    viommu_fixture_default_options(&options);
    options.os.scattered = true;
    options.model.msix_vectors = (uint16_t)vectors;
    bench->fixture = viommu_fixture_create(&options);
    viommu_model_on_message(bench->fixture->model, sink, bench);
    config.function.bdf = viommu_model_bdf(bench->fixture->model);
    return piommu_virtio_pci_open(fake_os_host(bench->fixture->os), &config, &bench->device);
}

static int try_start(struct bench *bench)
{
    uint64_t accepted;
    int error = piommu_virtio_reset(bench->device, SECOND);

    if (error == 0) {
        error = piommu_virtio_negotiate(bench->device, VIOMMU_MODEL_F_MAP_UNMAP, 0, &accepted);
    }
    for (uint16_t i = 0; error == 0 && i < 2; i++) {
        const struct piommu_virtqueue_config config = {.index = i, .max_size = 8, .max_pieces = 2};

        error = bench->queues[i] != NULL
                    ? piommu_virtqueue_restart(bench->queues[i])
                    : piommu_virtqueue_create(bench->device, &config, &bench->queues[i]);
    }
    if (error == 0) {
        piommu_virtio_start(bench->device);
    }
    return error;
}

static void open_bench(struct bench *bench, unsigned int vectors, unsigned int messages)
{
    assert_int_equal(try_open(bench, vectors, messages), 0);
    assert_int_equal(try_start(bench), 0);
}

static void close_bench(struct bench *bench)
{
    assert_int_equal(piommu_virtio_reset(bench->device, SECOND), 0);
    piommu_virtqueue_destroy(bench->queues[1]);
    piommu_virtqueue_destroy(bench->queues[0]);
    piommu_virtio_close(bench->device);
    assert_int_equal(bench->strange, 0);
    viommu_fixture_destroy(bench->fixture);
}

/* An answer in the queue of requests: a DETACH of nobody. */
static void provoke_answer(struct bench *bench)
{
    uint8_t *memory = fake_os_pointer(bench->fixture->os, bench->fixture->memory, 128);
    const struct piommu_virtio_buffer buffers[] = {
        {.physical = bench->fixture->memory, .size = 20},
        {.physical = bench->fixture->memory + 64, .size = 4, .writable = true},
    };
    uint16_t head;
    uint32_t length;

    memset(memory, 0, 128);
    memory[0] = VIOMMU_MODEL_DETACH;
    assert_int_equal(piommu_virtqueue_add(bench->queues[0], buffers, 2, &head), 0);
    piommu_virtqueue_kick(bench->queues[0]);
    assert_int_equal(piommu_virtqueue_take(bench->queues[0], &head, &length), 1);
}

static void provoke_change(struct bench *bench)
{
    viommu_model_change_config(bench->fixture->model, &bench->fixture->options.model, 0);
}

/* ---- How many there are ---- */

static void test_messages_are_used_as_far_as_they_go(void **state)
{
    static const struct {
        unsigned int vectors;
        unsigned int messages;
        unsigned int used;
    } cases[] = {
        {0, 0, 0}, {0, 1, 0}, {0, 2, 0}, {1, 0, 0},  {1, 1, 1},  {1, 2, 1},
        {2, 1, 1}, {2, 2, 2}, {3, 2, 2}, {64, 1, 1}, {64, 2, 2}, {64, 0, 0},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct bench bench;
        unsigned int used = cases[i].used;

        open_bench(&bench, cases[i].vectors, cases[i].messages);
        assert_int_equal(piommu_virtio_messages_used(bench.device), used);
        provoke_answer(&bench);
        provoke_change(&bench);
        assert_int_equal(bench.sent[0], used == 0 ? 0 : used == 1 ? 2 : 1);
        assert_int_equal(bench.sent[1], used == 2 ? 1 : 0);
        assert_int_equal(viommu_model_interrupt_pending(bench.fixture->model), used == 0);
        assert_int_equal(piommu_virtio_interrupt_status(bench.device), used == 0 ? 3 : 0);
        assert_false(viommu_model_interrupt_pending(bench.fixture->model));
        close_bench(&bench);
    }
}

static void test_each_queue_has_the_second_message(void **state)
{
    struct bench bench;
    const struct piommu_virtio_buffer buffer = {.size = 24, .writable = true};
    struct piommu_virtio_buffer event = buffer;
    uint16_t head;

    (void)state;
    open_bench(&bench, 2, 2);
    event.physical = bench.fixture->memory;
    assert_int_equal(piommu_virtqueue_add(bench.queues[1], &event, 1, &head), 0);
    piommu_virtqueue_kick(bench.queues[1]);
    assert_int_equal(viommu_model_flood(bench.fixture->model, 5, 0x1000, 1), 1);
    assert_int_equal(bench.sent[0], 0);
    assert_int_equal(bench.sent[1], 1);
    provoke_answer(&bench);
    assert_int_equal(bench.sent[1], 2);
    close_bench(&bench);
}

static void test_a_device_that_needs_a_reset_says_so_by_the_first_message(void **state)
{
    struct bench bench;

    (void)state;
    open_bench(&bench, 2, 2);
    viommu_model_misbehave(bench.fixture->model, VIOMMU_MODEL_NEEDS_RESET, 0, 0);
    assert_int_equal(bench.sent[0], 1);
    assert_int_equal(bench.sent[1], 0);
    close_bench(&bench);
}

/* Vectors are forgotten by a reset; so they have to be agreed on again. */
static void test_messages_come_again_after_a_reset(void **state)
{
    (void)state;
    for (unsigned int messages = 1; messages <= 2; messages++) {
        struct bench bench;

        open_bench(&bench, 3, messages);
        for (unsigned int i = 0; i < 3; i++) {
            provoke_answer(&bench);
            provoke_change(&bench);
            assert_int_equal(try_start(&bench), 0);
        }
        assert_int_equal(bench.sent[0] + bench.sent[1], 6);
        assert_int_equal(bench.sent[1], messages == 2 ? 3 : 0);
        close_bench(&bench);
    }
}

static void test_nothing_is_sent_before_the_start_or_after_the_reset(void **state)
{
    struct bench bench;

    (void)state;
    assert_int_equal(try_open(&bench, 2, 2), 0);
    provoke_change(&bench);
    assert_int_equal(bench.sent[0] + bench.sent[1], 0);
    assert_int_equal(try_start(&bench), 0);
    assert_int_equal(bench.sent[0] + bench.sent[1], 0);
    assert_int_equal(piommu_virtio_reset(bench.device, SECOND), 0);
    provoke_change(&bench);
    viommu_model_raise_for_nothing(bench.fixture->model);
    assert_int_equal(bench.sent[0] + bench.sent[1], 0);
    close_bench(&bench);
}

/* ---- Refusals ---- */

static void test_malformed_messages_are_refused(void **state)
{
    struct viommu_fixture *fixture = viommu_fixture_create(NULL);
    struct piommu_virtio_pci_config config = {
        .function = {.bdf = viommu_model_bdf(fixture->model)}, .type = TYPE, .messages = wanted};
    struct piommu_virtio_device *device = NULL;

    (void)state;
    config.message_count = PIOMMU_VIRTIO_MAX_MESSAGES + 1;
    assert_int_equal(piommu_virtio_pci_open(fake_os_host(fixture->os), &config, &device),
                     -PIOMMU_EINVAL);
    config.message_count = 1;
    config.messages = NULL;
    assert_int_equal(piommu_virtio_pci_open(fake_os_host(fixture->os), &config, &device),
                     -PIOMMU_EINVAL);
    assert_null(device);
    viommu_fixture_destroy(fixture);
}

/* The device has a table, but no room for the nth vector that it is asked for. */
static void test_a_vector_that_is_refused_is_an_error(void **state)
{
    (void)state;
    for (unsigned int messages = 1; messages <= 2; messages++) {
        for (uint64_t nth = 0; nth <= 3; nth++) {
            struct bench bench;

            assert_int_equal(try_open(&bench, 3, messages), 0);
            viommu_model_misbehave(bench.fixture->model, VIOMMU_MODEL_NO_VECTORS, nth, 0);
            assert_int_equal(try_start(&bench), -PIOMMU_EBADMSG);
            viommu_model_behave(bench.fixture->model);
            assert_int_equal(try_start(&bench), 0);
            provoke_answer(&bench);
            assert_int_equal(bench.sent[messages - 1], 1);
            close_bench(&bench);
        }
    }
}

/* The same when a ring is handed to the device again. */
static void test_a_vector_that_is_refused_later_is_an_error(void **state)
{
    (void)state;
    for (uint64_t nth = 0; nth <= 3; nth++) {
        struct bench bench;

        open_bench(&bench, 3, 2);
        viommu_model_misbehave(bench.fixture->model, VIOMMU_MODEL_NO_VECTORS, nth, 0);
        assert_int_equal(try_start(&bench), -PIOMMU_EBADMSG);
        viommu_model_behave(bench.fixture->model);
        assert_int_equal(try_start(&bench), 0);
        close_bench(&bench);
    }
}

/* ---- Lies ---- */

/* No access outside the BAR, whatever the capability says: the window would not be mapped. */
static void test_tables_that_lie_elsewhere_do_no_harm(void **state)
{
    static const struct {
        enum viommu_model_misbehaviour what;
        uint64_t argument;
    } lies[] = {
        {VIOMMU_MODEL_MSIX_SIZE, 0x7ff},
        {VIOMMU_MODEL_MSIX_TABLE, 0x3ff8 | VIOMMU_MODEL_BAR},
        {VIOMMU_MODEL_MSIX_TABLE, 0x4000 | VIOMMU_MODEL_BAR},
        {VIOMMU_MODEL_MSIX_TABLE, 0xfffffff8 | VIOMMU_MODEL_BAR},
        {VIOMMU_MODEL_MSIX_TABLE, 0x0800},
        {VIOMMU_MODEL_MSIX_TABLE, 0x0800 | 5},
        {VIOMMU_MODEL_MSIX_TABLE, 0x0800 | 6},
        {VIOMMU_MODEL_MSIX_TABLE, 0x0800 | 7},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(lies); i++) {
        for (unsigned int messages = 0; messages <= 2; messages++) {
            struct viommu_fixture_options options;
            struct viommu_fixture *fixture;
            struct piommu_virtio_device *device = NULL;
            struct piommu_virtio_pci_config config = {
                .type = TYPE, .messages = messages != 0 ? wanted : NULL, .message_count = messages};
            int error;

            viommu_fixture_default_options(&options);
            options.os.scattered = true;
            options.model.msix_vectors = 3;
            fixture = viommu_fixture_create(&options);
            config.function.bdf = viommu_model_bdf(fixture->model);
            viommu_model_on_message(fixture->model, NULL, NULL);
            viommu_model_misbehave(fixture->model, lies[i].what, 0, lies[i].argument);
            error = piommu_virtio_pci_open(fake_os_host(fixture->os), &config, &device);
            if (error == 0) {
                unsigned int used = piommu_virtio_messages_used(device);

                assert_true(used <= messages);
                /* A table of 2048 entries may be believed in its first ones. */
                assert_true(used == 0 || lies[i].what == VIOMMU_MODEL_MSIX_SIZE);
                (void)virtio_live(fixture, device);
            } else {
                assert_int_not_equal(messages, 0); /* else nobody has to look at it */
                assert_int_equal(error, -PIOMMU_EBADMSG);
                assert_null(device);
            }
            viommu_model_forget_violations(fixture->model);
            viommu_fixture_destroy(fixture);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages_are_used_as_far_as_they_go),
        cmocka_unit_test(test_each_queue_has_the_second_message),
        cmocka_unit_test(test_a_device_that_needs_a_reset_says_so_by_the_first_message),
        cmocka_unit_test(test_messages_come_again_after_a_reset),
        cmocka_unit_test(test_nothing_is_sent_before_the_start_or_after_the_reset),
        cmocka_unit_test(test_malformed_messages_are_refused),
        cmocka_unit_test(test_a_vector_that_is_refused_is_an_error),
        cmocka_unit_test(test_a_vector_that_is_refused_later_is_an_error),
        cmocka_unit_test(test_tables_that_lie_elsewhere_do_no_harm),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
