/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * virtio devices behind virtio-pci, and what they may say of themselves: capabilities, features,
 * configuration, status. Each lie must end in an error that the header names, with no access
 * outside the BAR and all memory given back.
 */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include <piommu/virtio.h>

#include "viommu_fixture.h"
#include "virtio_life.h"

#define TYPE   23u
#define SECOND 1000000000ull

/* The strict fake OS does not know BARs: here is a check that windows lie in one. */
static int (*real_mmio_map)(void *ctx, uint64_t physical, uint64_t size, uintptr_t *base);
static struct viommu_fixture *current;
static uint64_t config_reads;
static uint32_t (*real_config_read)(void *ctx, struct piommu_pci_function function,
                                    unsigned int offset, unsigned int width);

static int checked_mmio_map(void *ctx, uint64_t physical, uint64_t size, uintptr_t *base)
{
    uint64_t bar = viommu_model_bar_address(current->model, VIOMMU_MODEL_BAR);

    assert_true(physical >= bar);
    /* Registers are accessed at their natural alignment, which begins here. */
    assert_int_equal(physical & 3, 0);
    assert_true(size <= VIOMMU_MODEL_BAR_SIZE);
    assert_true(physical - bar <= VIOMMU_MODEL_BAR_SIZE - size);
    return real_mmio_map(ctx, physical, size, base);
}

static uint32_t counted_config_read(void *ctx, struct piommu_pci_function function,
                                    unsigned int offset, unsigned int width)
{
    config_reads++;
    return real_config_read(ctx, function, offset, width);
}

static struct viommu_fixture *create(const struct viommu_fixture_options *options)
{
    struct viommu_fixture *fixture = viommu_fixture_create(options);
    struct piommu_os *callbacks = fake_os_callbacks(fixture->os);

    current = fixture;
    real_mmio_map = callbacks->mmio_map;
    callbacks->mmio_map = checked_mmio_map;
    real_config_read = callbacks->pci_config_read;
    callbacks->pci_config_read = counted_config_read;
    config_reads = 0;
    return fixture;
}

static struct piommu_pci_function where(const struct viommu_fixture *fixture)
{
    return (struct piommu_pci_function){.bdf = viommu_model_bdf(fixture->model)};
}

static int open_at(struct piommu_host host, struct piommu_pci_function function, uint32_t type,
                   struct piommu_virtio_device **device)
{
    const struct piommu_virtio_pci_config config = {.function = function, .type = type};

    return piommu_virtio_pci_open(host, &config, device);
}

static int create_queue(struct piommu_virtio_device *device, uint16_t index,
                        struct piommu_virtqueue **queue)
{
    const struct piommu_virtqueue_config config = {.index = index, .max_size = 16, .max_pieces = 2};

    return piommu_virtqueue_create(device, &config, queue);
}

static int open_device(struct viommu_fixture *fixture, struct piommu_virtio_device **device)
{
    return open_at(fake_os_host(fixture->os), where(fixture), TYPE, device);
}

static struct piommu_virtio_device *opened(struct viommu_fixture *fixture)
{
    struct piommu_virtio_device *device = NULL;

    assert_int_equal(open_device(fixture, &device), 0);
    assert_non_null(device);
    assert_int_equal(piommu_virtio_reset(device, SECOND), 0);
    return device;
}

static struct piommu_virtio_device *negotiated(struct viommu_fixture *fixture)
{
    struct piommu_virtio_device *device = opened(fixture);
    uint64_t accepted;

    assert_int_equal(piommu_virtio_negotiate(device,
                                             VIOMMU_MODEL_F_MAP_UNMAP | VIOMMU_MODEL_F_PROBE |
                                                 VIOMMU_MODEL_F_INPUT_RANGE |
                                                 VIOMMU_MODEL_F_BYPASS_CONFIG,
                                             VIOMMU_MODEL_F_MAP_UNMAP, &accepted),
                     0);
    return device;
}

/* ---- Opening ---- */

static void test_opening_switches_decoding_on_and_leaves_the_device_alone(void **state)
{
    struct viommu_fixture *fixture = create(NULL);
    struct piommu_virtio_device *device = NULL;

    (void)state;
    assert_int_equal(viommu_model_config_read(fixture->model, 4, 2) & 6, 0);
    assert_int_equal(open_device(fixture, &device), 0);
    assert_int_equal(viommu_model_config_read(fixture->model, 4, 2) & 6, 6);
    assert_int_equal(viommu_model_counters(fixture->model)->resets, 0);
    assert_int_equal(viommu_model_status(fixture->model), 0);
    piommu_virtio_close(device);
    piommu_virtio_close(NULL);
    viommu_fixture_destroy(fixture);
}

static void test_opening_refuses_wrong_arguments(void **state)
{
    struct viommu_fixture *fixture = create(NULL);
    struct piommu_virtio_device *device = NULL;
    struct piommu_host nobody = {NULL, NULL};
    struct piommu_pci_function elsewhere = {.bdf = 0x00f8};
    struct piommu_pci_function other_segment = where(fixture);
    struct piommu_os *callbacks = fake_os_callbacks(fixture->os);
    struct piommu_os complete = *callbacks;

    (void)state;
    other_segment.segment = 1;
    assert_int_equal(open_at(nobody, where(fixture), TYPE, &device), -PIOMMU_EINVAL);
    assert_int_equal(open_at(fake_os_host(fixture->os), where(fixture), TYPE, NULL),
                     -PIOMMU_EINVAL);
    assert_int_equal(open_at(fake_os_host(fixture->os), elsewhere, TYPE, &device), -PIOMMU_ENODEV);
    assert_int_equal(open_at(fake_os_host(fixture->os), other_segment, TYPE, &device),
                     -PIOMMU_ENODEV);
    assert_int_equal(open_at(fake_os_host(fixture->os), where(fixture), 2, &device),
                     -PIOMMU_ENODEV);
    callbacks->pci_config_write = NULL;
    assert_int_equal(open_device(fixture, &device), -PIOMMU_EINVAL);
    *callbacks = complete;
    callbacks->mmio_unmap = NULL;
    assert_int_equal(open_device(fixture, &device), -PIOMMU_EINVAL);
    *callbacks = complete;
    callbacks->now = NULL;
    assert_int_equal(open_device(fixture, &device), -PIOMMU_EINVAL);
    *callbacks = complete;
    assert_null(device);
    viommu_fixture_destroy(fixture);
}

/* mmio_map says ENOMEM and pci_bar ENODEV in the fake OS: both are to be passed on. */
static void test_opening_survives_each_failure_of_the_host(void **state)
{
    (void)state;
    for (uint64_t nth = 1;; nth++) {
        struct viommu_fixture *fixture = create(NULL);
        struct piommu_virtio_device *device = NULL;
        int error;

        assert_true(nth < 100);
        fake_os_fail_call(fixture->os, nth, false);
        error = open_device(fixture, &device);
        fake_os_fail_call(fixture->os, 0, false);
        if (error == 0) {
            struct fake_os_counters counters;

            fake_os_get_counters(fixture->os, &counters);
            assert_true(nth > counters.fallible_calls);
            piommu_virtio_close(device);
            viommu_fixture_destroy(fixture);
            return;
        }
        assert_true(error == -PIOMMU_ENOMEM || error == -PIOMMU_ENODEV);
        assert_null(device);
        viommu_fixture_destroy(fixture);
    }
}

/* ---- Reset ---- */

static void test_reset_waits_until_the_device_says_so(void **state)
{
    struct viommu_fixture_options options;
    struct viommu_fixture *fixture;
    struct piommu_virtio_device *device;

    (void)state;
    viommu_fixture_default_options(&options);
    options.model.reset_reads = 7;
    fixture = create(&options);
    device = opened(fixture);
    assert_int_equal(viommu_model_status(fixture->model), 0);
    assert_int_equal(piommu_virtio_status(device), 0);
    assert_int_equal(viommu_model_counters(fixture->model)->resets, 1);
    piommu_virtio_close(device);
    viommu_fixture_destroy(fixture);
}

static void expect_reset_times_out(enum viommu_model_misbehaviour what)
{
    struct viommu_fixture *fixture = create(NULL);
    struct piommu_virtio_device *device = negotiated(fixture);
    uint64_t before;

    piommu_virtio_start(device);
    viommu_model_misbehave(fixture->model, what, 0, 0);
    before = fake_os_time(fixture->os);
    assert_int_equal(piommu_virtio_reset(device, SECOND), -PIOMMU_ETIMEDOUT);
    assert_in_range(fake_os_time(fixture->os) - before, SECOND, SECOND + 1000000);
    before = fake_os_time(fixture->os);
    assert_int_equal(piommu_virtio_reset(device, 100000), -PIOMMU_ETIMEDOUT);
    assert_in_range(fake_os_time(fixture->os) - before, 100000, 200000);
    viommu_model_behave(fixture->model);
    assert_int_equal(piommu_virtio_reset(device, SECOND), 0);
    piommu_virtio_close(device);
    viommu_model_forget_violations(fixture->model); /* a start without queues */
    viommu_fixture_destroy(fixture);
}

static void test_reset_that_hangs_times_out(void **state)
{
    (void)state;
    expect_reset_times_out(VIOMMU_MODEL_RESET_HANGS);
}

static void test_reset_of_a_device_that_is_gone_times_out(void **state)
{
    (void)state;
    expect_reset_times_out(VIOMMU_MODEL_GONE);
}

static void test_status_of_a_device_that_is_gone_is_all_ones(void **state)
{
    struct viommu_fixture *fixture = create(NULL);
    struct piommu_virtio_device *device = opened(fixture);

    (void)state;
    viommu_model_misbehave(fixture->model, VIOMMU_MODEL_GONE, 0, 0);
    assert_int_equal(piommu_virtio_status(device), 0xff);
    viommu_model_behave(fixture->model);
    piommu_virtio_close(device);
    viommu_fixture_destroy(fixture);
}

/* ---- Features ---- */

static void test_negotiate_accepts_what_both_sides_know(void **state)
{
    struct viommu_fixture_options options;
    struct viommu_fixture *fixture;
    struct piommu_virtio_device *device;
    uint64_t accepted = 0;
    const uint64_t wanted = VIOMMU_MODEL_F_MAP_UNMAP | VIOMMU_MODEL_F_PROBE | VIOMMU_MODEL_F_MMIO;

    (void)state;
    viommu_fixture_default_options(&options);
    options.model.offered_features = VIOMMU_MODEL_F_VERSION_1 | VIOMMU_MODEL_F_MAP_UNMAP |
                                     VIOMMU_MODEL_F_PROBE | VIOMMU_MODEL_F_INPUT_RANGE |
                                     VIOMMU_MODEL_F_EVENT_IDX | VIOMMU_MODEL_F_INDIRECT_DESC |
                                     VIOMMU_MODEL_F_RING_RESET;
    fixture = create(&options);
    device = opened(fixture);
    assert_int_equal(piommu_virtio_negotiate(device, wanted, VIOMMU_MODEL_F_MAP_UNMAP, &accepted),
                     0);
    assert_int_equal(accepted & ~PIOMMU_VIRTIO_F_VERSION_1,
                     VIOMMU_MODEL_F_MAP_UNMAP | VIOMMU_MODEL_F_PROBE);
    assert_int_equal(viommu_model_accepted_features(fixture->model),
                     VIOMMU_MODEL_F_MAP_UNMAP | VIOMMU_MODEL_F_PROBE | VIOMMU_MODEL_F_VERSION_1);
    assert_int_equal(accepted, viommu_model_accepted_features(fixture->model));
    assert_int_equal(viommu_model_status(fixture->model), PIOMMU_VIRTIO_STATUS_ACKNOWLEDGE |
                                                              PIOMMU_VIRTIO_STATUS_DRIVER |
                                                              PIOMMU_VIRTIO_STATUS_FEATURES_OK);
    piommu_virtio_start(device);
    assert_int_equal(viommu_model_status(fixture->model) & PIOMMU_VIRTIO_STATUS_DRIVER_OK,
                     PIOMMU_VIRTIO_STATUS_DRIVER_OK);
    /* A start without queues is what the model objects to. */
    viommu_model_forget_violations(fixture->model);
    assert_int_equal(piommu_virtio_reset(device, SECOND), 0);
    piommu_virtio_close(device);
    viommu_fixture_destroy(fixture);
}

static void expect_refusal(const struct viommu_fixture_options *options, uint64_t wanted,
                           uint64_t required, bool refuses)
{
    struct viommu_fixture *fixture = create(options);
    struct piommu_virtio_device *device = opened(fixture);
    uint64_t accepted = 0x5555;

    if (refuses) {
        viommu_model_misbehave(fixture->model, VIOMMU_MODEL_REFUSE_FEATURES, 0, 0);
    }
    assert_int_equal(piommu_virtio_negotiate(device, wanted, required, &accepted),
                     -PIOMMU_EOPNOTSUPP);
    assert_int_equal(accepted, 0x5555);
    assert_true((viommu_model_status(fixture->model) & PIOMMU_VIRTIO_STATUS_FAILED) != 0);
    /* Nothing is lost: after a reset all begins anew. */
    viommu_model_behave(fixture->model);
    assert_int_equal(piommu_virtio_reset(device, SECOND), 0);
    assert_int_equal(viommu_model_status(fixture->model), 0);
    piommu_virtio_close(device);
    viommu_fixture_destroy(fixture);
}

static void test_negotiate_fails_without_a_required_feature(void **state)
{
    struct viommu_fixture_options options;

    (void)state;
    viommu_fixture_default_options(&options);
    options.model.offered_features &= ~VIOMMU_MODEL_F_MAP_UNMAP;
    expect_refusal(&options, VIOMMU_MODEL_F_MAP_UNMAP, VIOMMU_MODEL_F_MAP_UNMAP, false);
}

static void test_negotiate_fails_without_version_1(void **state)
{
    struct viommu_fixture_options options;

    (void)state;
    viommu_fixture_default_options(&options);
    options.model.offered_features &= ~VIOMMU_MODEL_F_VERSION_1;
    expect_refusal(&options, VIOMMU_MODEL_F_MAP_UNMAP, 0, false);
}

static void test_negotiate_fails_if_the_device_refuses(void **state)
{
    (void)state;
    expect_refusal(NULL, VIOMMU_MODEL_F_MAP_UNMAP, VIOMMU_MODEL_F_MAP_UNMAP, true);
}

static void test_negotiate_fails_if_the_device_demands_what_nobody_implements(void **state)
{
    struct viommu_fixture_options options;

    (void)state;
    viommu_fixture_default_options(&options);
    options.model.offered_features |= VIOMMU_MODEL_F_ACCESS_PLATFORM;
    options.model.demanded_features |= VIOMMU_MODEL_F_ACCESS_PLATFORM;
    expect_refusal(&options, VIOMMU_MODEL_F_MAP_UNMAP, VIOMMU_MODEL_F_MAP_UNMAP, false);
}

/* ---- Configuration ---- */

static void test_config_is_read_by_the_widths_of_its_fields(void **state)
{
    struct viommu_fixture_options options;
    struct viommu_fixture *fixture;
    struct piommu_virtio_device *device;
    const struct piommu_virtio_field fields[] = {
        {0, 8}, {8, 8}, {16, 8}, {32, 4}, {36, 1},
    };
    uint64_t values[5] = {0};
    uint8_t byte = 0x77;

    (void)state;
    viommu_fixture_default_options(&options);
    options.model.page_size_mask = 0xfedcba9876543000ull;
    options.model.input_start = 0x1122334455667788ull;
    options.model.input_end = 0x8877665544332211ull;
    options.model.probe_size = 0x1234;
    fixture = create(&options);
    device = negotiated(fixture);
    assert_int_equal(piommu_virtio_read_config(device, fields, 5, values), 0);
    assert_int_equal(values[0], 0xfedcba9876543000ull);
    assert_int_equal(values[1], 0x1122334455667788ull);
    assert_int_equal(values[2], 0x8877665544332211ull);
    assert_int_equal(values[3], 0x1234);
    assert_int_equal(values[4], 1);
    assert_int_equal(piommu_virtio_read_config_byte(device, 36, &byte), 0);
    assert_int_equal(byte, 1);
    assert_int_equal(piommu_virtio_read_config_byte(device, 36, NULL), -PIOMMU_EINVAL);
    assert_int_equal(piommu_virtio_write_config_byte(device, 36, 0), 0);
    assert_int_equal(viommu_model_bypass(fixture->model), 0);
    assert_int_equal(piommu_virtio_read_config_byte(device, 36, &byte), 0);
    assert_int_equal(byte, 0);
    assert_int_equal(piommu_virtio_read_config(device, fields, 5, values), 0);
    assert_int_equal(values[4], 0);
    piommu_virtio_close(device);
    viommu_fixture_destroy(fixture);
}

static void test_config_outside_the_capability_is_refused(void **state)
{
    static const struct piommu_virtio_field outside[] = {
        {36, 1},          {36, 4},         {40, 1},
        {33, 4},          {32, 8},         {0x1000, 4},
        {UINT32_MAX, 1},  {UINT32_MAX, 8}, {UINT32_MAX - 3, 4},
        {0x80000000u, 8},
    };
    struct viommu_fixture_options options;
    struct viommu_fixture *fixture;
    struct piommu_virtio_device *device;
    uint8_t byte = 0x77;

    (void)state;
    viommu_fixture_default_options(&options);
    options.model.config_length = 36;
    options.model.offered_features &= ~VIOMMU_MODEL_F_BYPASS_CONFIG;
    fixture = create(&options);
    device = negotiated(fixture);
    for (size_t i = 0; i < sizeof(outside) / sizeof(outside[0]); i++) {
        struct piommu_virtio_field fields[2] = {{32, 4}, outside[i]};
        uint64_t values[2] = {0x77, 0x77};

        assert_int_equal(piommu_virtio_read_config(device, fields, 2, values), -PIOMMU_EBADMSG);
        assert_int_equal(values[0], 0x77);
        assert_int_equal(values[1], 0x77);
    }
    assert_int_equal(piommu_virtio_write_config_byte(device, 36, 0), -PIOMMU_EBADMSG);
    assert_int_equal(piommu_virtio_write_config_byte(device, UINT32_MAX, 0), -PIOMMU_EBADMSG);
    assert_int_equal(piommu_virtio_read_config_byte(device, 36, &byte), -PIOMMU_EBADMSG);
    assert_int_equal(piommu_virtio_read_config_byte(device, UINT32_MAX, &byte), -PIOMMU_EBADMSG);
    assert_int_equal(byte, 0x77);
    piommu_virtio_close(device);
    viommu_fixture_destroy(fixture);
}

static void test_config_is_read_again_while_it_changes(void **state)
{
    struct viommu_fixture *fixture = create(NULL);
    struct piommu_virtio_device *device = negotiated(fixture);
    const struct piommu_virtio_field field = {0, 8};
    uint64_t value = 0;

    (void)state;
    viommu_model_misbehave(fixture->model, VIOMMU_MODEL_GENERATION_CHANGES, 0, 3);
    assert_int_equal(piommu_virtio_read_config(device, &field, 1, &value), 0);
    assert_int_equal(value, 0xfffffffffffff000ull);
    piommu_virtio_close(device);
    viommu_fixture_destroy(fixture);
}

static void test_config_that_never_stops_changing_is_given_up(void **state)
{
    struct viommu_fixture *fixture = create(NULL);
    struct piommu_virtio_device *device = negotiated(fixture);
    const struct piommu_virtio_field field = {0, 8};
    uint64_t value = 0x77;

    (void)state;
    viommu_model_misbehave(fixture->model, VIOMMU_MODEL_GENERATION_CHANGES, 0, 0);
    assert_int_equal(piommu_virtio_read_config(device, &field, 1, &value), -PIOMMU_EBADMSG);
    assert_int_equal(value, 0x77);
    viommu_model_behave(fixture->model);
    assert_int_equal(piommu_virtio_read_config(device, &field, 1, &value), 0);
    piommu_virtio_close(device);
    viommu_fixture_destroy(fixture);
}

/*
 * The mask changes between its two halves, and the generation with it: what comes back must be one
 * of the two values, never a mix of them.
 */
static uint32_t (*real_mmio_read)(void *ctx, uintptr_t address, unsigned int width);
static unsigned int device_reads;
static bool config_changes;
static uint8_t generation;

static uint32_t changing_mmio_read(void *ctx, uintptr_t address, unsigned int width)
{
    uint32_t value = real_mmio_read(ctx, address, width);

    if (config_changes && width == 4 && (value == 0xfffff000u || value == UINT32_MAX)) {
        /* The value is 0x1...1 at first, and 0x2...2 after the first half was read. */
        device_reads++;
        if (device_reads > 1) {
            generation = 1;
            return 0x22222222;
        }
        return 0x11111111;
    }
    if (config_changes && width == 1) {
        return generation;
    }
    return value;
}

static void test_config_is_never_a_mix_of_two_generations(void **state)
{
    struct viommu_fixture *fixture = create(NULL);
    struct piommu_virtio_device *device = negotiated(fixture);
    struct piommu_os *callbacks = fake_os_callbacks(fixture->os);
    const struct piommu_virtio_field field = {0, 8};
    uint64_t value = 0;

    (void)state;
    real_mmio_read = callbacks->mmio_read;
    callbacks->mmio_read = changing_mmio_read;
    device_reads = 0;
    generation = 0;
    config_changes = true;
    assert_int_equal(piommu_virtio_read_config(device, &field, 1, &value), 0);
    config_changes = false;
    assert_int_equal(value, 0x2222222222222222ull);
    piommu_virtio_close(device);
    viommu_fixture_destroy(fixture);
}

static void test_interrupt_status_is_read_once_and_acknowledged(void **state)
{
    struct viommu_fixture *fixture = create(NULL);
    struct piommu_virtio_device *device = negotiated(fixture);

    (void)state;
    piommu_virtio_start(device);
    viommu_model_forget_violations(fixture->model);
    assert_int_equal(piommu_virtio_interrupt_status(device), 0);
    viommu_model_misbehave(fixture->model, VIOMMU_MODEL_NEEDS_RESET, 0, 0);
    assert_true((piommu_virtio_status(device) & PIOMMU_VIRTIO_STATUS_NEEDS_RESET) != 0);
    if (viommu_model_interrupt_pending(fixture->model)) {
        assert_int_not_equal(piommu_virtio_interrupt_status(device), 0);
    }
    assert_false(viommu_model_interrupt_pending(fixture->model));
    assert_int_equal(piommu_virtio_interrupt_status(device), 0);
    assert_int_equal(piommu_virtio_reset(device, SECOND), 0);
    piommu_virtio_close(device);
    viommu_fixture_destroy(fixture);
}

/* ---- Hostile capabilities ---- */

/*
 * A driver's life. The fake OS ends the test at an access outside a window, the map above at a
 * window outside the BAR. Returns the first error.
 */
static int use_all(struct viommu_fixture *fixture)
{
    struct piommu_virtio_device *device = NULL;
    int error = open_device(fixture, &device);

    if (error != 0) {
        assert_null(device);
        assert_int_equal(fake_os_bytes_outstanding(fixture->os), 0);
        return error;
    }
    return virtio_live(fixture, device);
}

static int hostile(enum viommu_model_misbehaviour what, uint64_t argument)
{
    struct viommu_fixture_options options;
    struct viommu_fixture *fixture;
    int error;

    viommu_fixture_default_options(&options);
    options.os.scattered = true; /* quicker to set up */
    fixture = create(&options);
    viommu_model_misbehave(fixture->model, what, 0, argument);
    error = use_all(fixture);
    assert_true(error == 0 || error == -PIOMMU_EBADMSG || error == -PIOMMU_ENODEV ||
                error == -PIOMMU_EOPNOTSUPP || error == -PIOMMU_ETIMEDOUT);
    assert_true(config_reads < 2000);
    /* Registers may lie on top of one another: the driver does what it must, in the wrong place. */
    viommu_model_forget_violations(fixture->model);
    viommu_fixture_destroy(fixture);
    return error;
}

static void test_honest_device_is_usable_to_the_end(void **state)
{
    struct viommu_fixture *fixture = create(NULL);

    (void)state;
    memset(fake_os_pointer(fixture->os, fixture->memory, 128), 0, 128);
    assert_int_equal(use_all(fixture), 0);
    viommu_model_forget_violations(fixture->model); /* the request of type 0 */
    viommu_fixture_destroy(fixture);
}

static void test_capability_list_that_loops_ends(void **state)
{
    struct viommu_fixture *fixture = create(NULL);

    (void)state;
    /* All capabilities are there, so finding them is fine. Without one the search must end too. */
    assert_int_equal(hostile(VIOMMU_MODEL_CAPABILITY_LOOP, 0), 0);
    viommu_model_misbehave(fixture->model, VIOMMU_MODEL_CAPABILITY_LOOP, 0, 0);
    viommu_model_misbehave(fixture->model, VIOMMU_MODEL_CAPABILITY_MISSING, 0, 1);
    assert_int_equal(use_all(fixture), -PIOMMU_EBADMSG);
    assert_true(config_reads < 2000);
    viommu_fixture_destroy(fixture);
}

static void test_capability_pointer_may_be_anything(void **state)
{
    (void)state;
    for (uint64_t pointer = 0; pointer < 256; pointer++) {
        (void)hostile(VIOMMU_MODEL_CAPABILITY_POINTER, pointer);
    }
    assert_int_equal(hostile(VIOMMU_MODEL_CAPABILITY_POINTER, 0), -PIOMMU_EBADMSG);
    assert_int_equal(hostile(VIOMMU_MODEL_CAPABILITY_POINTER, 0x3c), -PIOMMU_EBADMSG);
}

static void test_capabilities_in_impossible_bars_are_refused(void **state)
{
    static const uint64_t bars[] = {0, 1, 2, 3, 5, 6, 7, 8, 127, 255};

    (void)state;
    for (size_t i = 0; i < sizeof(bars) / sizeof(bars[0]); i++) {
        assert_int_equal(hostile(VIOMMU_MODEL_CAPABILITY_BAR, bars[i]), -PIOMMU_EBADMSG);
    }
}

static void test_capabilities_behind_their_bar_are_refused(void **state)
{
    static const uint64_t offsets[] = {
        0x3ffe, 0x4000, 0x4001, 0x10000, 0x7ffffffc, 0x80000000, 0xfffff000, 0xfffffffc, 0xffffffff,
    };

    (void)state;
    for (size_t i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
        assert_int_equal(hostile(VIOMMU_MODEL_CAPABILITY_OFFSET, offsets[i]), -PIOMMU_EBADMSG);
    }
}

static void test_capabilities_that_are_not_aligned_do_no_harm(void **state)
{
    (void)state;
    for (uint64_t offset = 1; offset < 16; offset++) {
        (void)hostile(VIOMMU_MODEL_CAPABILITY_OFFSET, offset);
        (void)hostile(VIOMMU_MODEL_CAPABILITY_OFFSET, 0x3000 + offset);
    }
}

static void test_capabilities_of_impossible_length_are_refused(void **state)
{
    static const uint64_t lengths[] = {0, 1, 2, 4, 16, 31, 55, 0x4001, 0x80000000, 0xffffffff};

    (void)state;
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        assert_int_equal(hostile(VIOMMU_MODEL_CAPABILITY_LENGTH, lengths[i]), -PIOMMU_EBADMSG);
    }
    for (uint64_t length = 0; length < 80; length++) {
        (void)hostile(VIOMMU_MODEL_CAPABILITY_LENGTH, length);
    }
}

static void test_short_capabilities_do_no_harm(void **state)
{
    (void)state;
    for (uint64_t length = 0; length < 40; length++) {
        int error = hostile(VIOMMU_MODEL_CAPABILITY_SHORT, length);

        if (length < 16) {
            assert_int_equal(error, -PIOMMU_EBADMSG);
        }
        if (length >= 20) {
            assert_int_equal(error, 0);
        }
    }
    (void)hostile(VIOMMU_MODEL_CAPABILITY_SHORT, 255); /* reaches behind the configuration space */
}

static void test_a_missing_capability_is_noticed(void **state)
{
    (void)state;
    for (uint64_t type = 1; type <= 4; type++) {
        assert_int_equal(hostile(VIOMMU_MODEL_CAPABILITY_MISSING, type), -PIOMMU_EBADMSG);
    }
    assert_int_equal(hostile(VIOMMU_MODEL_CAPABILITY_MISSING, 5), 0);
}

static void test_doorbells_outside_their_region_are_refused(void **state)
{
    static const uint64_t offsets[] = {0x400, 0x401, 0x1000, 0x7fff, 0x8000, 0xffff};
    static const uint64_t multipliers[] = {0x40000000, 0x80000000, 0xfffffffe, 0xffffffff, 0x10000};

    (void)state;
    for (size_t i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
        assert_int_equal(hostile(VIOMMU_MODEL_NOTIFY_OFF, offsets[i]), -PIOMMU_EBADMSG);
    }
    for (size_t i = 0; i < sizeof(multipliers) / sizeof(multipliers[0]); i++) {
        assert_int_equal(hostile(VIOMMU_MODEL_NOTIFY_MULTIPLIER_IS, multipliers[i]),
                         -PIOMMU_EBADMSG);
    }
    /* One doorbell for all queues; and a multiplier that makes the address odd. */
    assert_int_equal(hostile(VIOMMU_MODEL_NOTIFY_MULTIPLIER_IS, 0), 0);
    (void)hostile(VIOMMU_MODEL_NOTIFY_MULTIPLIER_IS, 1);
    (void)hostile(VIOMMU_MODEL_NOTIFY_MULTIPLIER_IS, 3);
    /* 0x3ff * 4 + 2 is the last doorbell that fits. */
    assert_int_equal(hostile(VIOMMU_MODEL_NOTIFY_OFF, 0x3ff), 0);
}

static void test_queue_counts_and_sizes_that_lie_do_no_harm(void **state)
{
    static const uint64_t impossible[] = {0, 3, 5, 255, 0x7fff, 0xffff};

    (void)state;
    for (size_t i = 0; i < sizeof(impossible) / sizeof(impossible[0]); i++) {
        assert_int_equal(hostile(VIOMMU_MODEL_QUEUE_SIZE, impossible[i]), -PIOMMU_EBADMSG);
    }
    assert_int_equal(hostile(VIOMMU_MODEL_QUEUE_SIZE, 2), 0);
    assert_int_equal(hostile(VIOMMU_MODEL_QUEUE_COUNT, 0), -PIOMMU_EBADMSG);
    assert_int_equal(hostile(VIOMMU_MODEL_QUEUE_COUNT, 1), -PIOMMU_EBADMSG);
    assert_int_equal(hostile(VIOMMU_MODEL_QUEUE_COUNT, 2), 0);
    (void)hostile(VIOMMU_MODEL_QUEUE_COUNT, 0xffff);
}

static void test_device_that_goes_away_while_it_is_opened_is_noticed(void **state)
{
    struct viommu_fixture *fixture = create(NULL);
    struct piommu_virtio_device *device = NULL;
    int error;

    (void)state;
    viommu_model_misbehave(fixture->model, VIOMMU_MODEL_GONE, 0, 0);
    error = open_device(fixture, &device);
    assert_int_equal(error, -PIOMMU_ENODEV);
    assert_null(device);
    viommu_fixture_destroy(fixture);
}

static void test_device_that_goes_away_later_yields_errors(void **state)
{
    struct viommu_fixture *fixture = create(NULL);
    struct piommu_virtio_device *device = opened(fixture);
    const struct piommu_virtio_field field = {0, 8};
    struct piommu_virtqueue *queue = NULL;
    uint64_t value = 0;
    uint64_t accepted = 0;

    (void)state;
    viommu_model_misbehave(fixture->model, VIOMMU_MODEL_GONE, 0, 0);
    /* All ones offer everything, FEATURES_OK included; only the rest can fail. */
    (void)piommu_virtio_negotiate(device, VIOMMU_MODEL_F_MAP_UNMAP, 0, &accepted);
    (void)piommu_virtio_read_config(device, &field, 1, &value);
    assert_int_equal(create_queue(device, 0, &queue), -PIOMMU_EBADMSG);
    assert_null(queue);
    viommu_model_behave(fixture->model);
    piommu_virtio_close(device);
    viommu_model_forget_violations(fixture->model);
    viommu_fixture_destroy(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_opening_switches_decoding_on_and_leaves_the_device_alone),
        cmocka_unit_test(test_opening_refuses_wrong_arguments),
        cmocka_unit_test(test_opening_survives_each_failure_of_the_host),
        cmocka_unit_test(test_reset_waits_until_the_device_says_so),
        cmocka_unit_test(test_reset_that_hangs_times_out),
        cmocka_unit_test(test_reset_of_a_device_that_is_gone_times_out),
        cmocka_unit_test(test_status_of_a_device_that_is_gone_is_all_ones),
        cmocka_unit_test(test_negotiate_accepts_what_both_sides_know),
        cmocka_unit_test(test_negotiate_fails_without_a_required_feature),
        cmocka_unit_test(test_negotiate_fails_without_version_1),
        cmocka_unit_test(test_negotiate_fails_if_the_device_refuses),
        cmocka_unit_test(test_negotiate_fails_if_the_device_demands_what_nobody_implements),
        cmocka_unit_test(test_config_is_read_by_the_widths_of_its_fields),
        cmocka_unit_test(test_config_outside_the_capability_is_refused),
        cmocka_unit_test(test_config_is_read_again_while_it_changes),
        cmocka_unit_test(test_config_that_never_stops_changing_is_given_up),
        cmocka_unit_test(test_config_is_never_a_mix_of_two_generations),
        cmocka_unit_test(test_interrupt_status_is_read_once_and_acknowledged),
        cmocka_unit_test(test_honest_device_is_usable_to_the_end),
        cmocka_unit_test(test_capability_list_that_loops_ends),
        cmocka_unit_test(test_capability_pointer_may_be_anything),
        cmocka_unit_test(test_capabilities_in_impossible_bars_are_refused),
        cmocka_unit_test(test_capabilities_behind_their_bar_are_refused),
        cmocka_unit_test(test_capabilities_that_are_not_aligned_do_no_harm),
        cmocka_unit_test(test_capabilities_of_impossible_length_are_refused),
        cmocka_unit_test(test_short_capabilities_do_no_harm),
        cmocka_unit_test(test_a_missing_capability_is_noticed),
        cmocka_unit_test(test_doorbells_outside_their_region_are_refused),
        cmocka_unit_test(test_queue_counts_and_sizes_that_lie_do_no_harm),
        cmocka_unit_test(test_device_that_goes_away_while_it_is_opened_is_noticed),
        cmocka_unit_test(test_device_that_goes_away_later_yields_errors),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
