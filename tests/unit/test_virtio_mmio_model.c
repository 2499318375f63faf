/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* Tests of the virtio-iommu model behind virtio-mmio. */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "viommu_fixture.h"
#include "viommu_raw.h"

static uint32_t reg(struct raw *raw, uint64_t offset)
{
    return raw_read(raw, offset, 4);
}

static void set_reg(struct raw *raw, uint64_t offset, uint32_t value)
{
    raw_write(raw, offset, 4, value);
}

/* ---- who it is ----------------------------------------------------------------------------- */

static void test_mmio_says_who_it_is(void **state)
{
    struct raw *raw = *state;

    assert_int_equal(viommu_model_mmio_address(raw->model), 0x0a003e00);
    assert_int_equal(reg(raw, RAW_MMIO_MAGIC), 0x74726976);
    assert_int_equal(reg(raw, RAW_MMIO_VERSION), 2);
    assert_int_equal(reg(raw, RAW_MMIO_DEVICE_ID), 23);
    assert_int_equal(reg(raw, RAW_MMIO_VENDOR_ID), 0x1af4);
    assert_int_equal(viommu_model_config_read(raw->model, 0, 4), UINT32_MAX);
}

static void test_mmio_records_who_does_not_look_first(void **state)
{
    struct raw *raw = *state;

    (void)reg(raw, RAW_MMIO_DEVICE_ID);
    raw_expect_violation(raw, "before the device was identified");
    (void)reg(raw, RAW_MMIO_VERSION);
    (void)reg(raw, RAW_MMIO_STATUS);
    raw_expect_violation(raw, "before the device was identified");
    (void)reg(raw, RAW_MMIO_MAGIC);
    (void)reg(raw, RAW_MMIO_STATUS); /* DeviceID was read out of turn, but it was read */
    viommu_model_system_reset(raw->model);
    set_reg(raw, RAW_MMIO_STATUS, 0);
    raw_expect_violation(raw, "before the device was identified");
}

static void test_mmio_records_who_goes_on_with_what_is_no_device(void **state)
{
    static const struct {
        enum viommu_model_misbehaviour what;
        uint64_t argument;
        uint64_t offset;
    } lies[] = {
        {VIOMMU_MODEL_MMIO_MAGIC, 0x76697274, RAW_MMIO_MAGIC},
        {VIOMMU_MODEL_MMIO_VERSION, 1, RAW_MMIO_VERSION},
        {VIOMMU_MODEL_MMIO_DEVICE_ID, 0, RAW_MMIO_DEVICE_ID},
    };
    struct raw *raw = *state;

    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        raw_make_model(raw);
        viommu_model_misbehave(raw->model, lies[i].what, 0, lies[i].argument);
        raw_enable_device(raw);
        assert_int_equal(reg(raw, lies[i].offset), lies[i].argument);
        assert_int_equal(viommu_model_violations(raw->model), 0);
        (void)reg(raw, RAW_MMIO_STATUS);
        raw_expect_violation(raw, "no device");
    }
    /* Another device is for the driver to leave alone, but it is a device. */
    raw_make_model(raw);
    viommu_model_misbehave(raw->model, VIOMMU_MODEL_MMIO_DEVICE_ID, 0, 1);
    raw_enable_device(raw);
    assert_int_equal(reg(raw, RAW_MMIO_DEVICE_ID), 1);
    (void)reg(raw, RAW_MMIO_STATUS);
}

static void test_mmio_that_is_gone_reads_as_all_ones(void **state)
{
    struct raw *raw = *state;

    raw_start(raw);
    viommu_model_misbehave(raw->model, VIOMMU_MODEL_GONE, 0, 0);
    assert_int_equal(reg(raw, RAW_MMIO_STATUS), UINT32_MAX);
    assert_int_equal(reg(raw, RAW_MMIO_MAGIC), UINT32_MAX);
    raw_write_bypass(raw, 1);
    viommu_model_behave(raw->model);
    assert_int_equal(viommu_model_bypass(raw->model), 0);
}

/* ---- accesses ------------------------------------------------------------------------------ */

static void test_mmio_takes_aligned_words_alone(void **state)
{
    struct raw *raw = *state;

    raw_enable_device(raw);
    (void)raw_read(raw, RAW_MMIO_STATUS, 1);
    raw_expect_violation(raw, "1 bytes at offset 0x70");
    (void)raw_read(raw, RAW_MMIO_QUEUE_READY, 2);
    raw_expect_violation(raw, "2 bytes");
    raw_write(raw, RAW_MMIO_STATUS + 2, 4, 0);
    raw_expect_violation(raw, "4 bytes at offset 0x72");
    raw_write(raw, RAW_MMIO_STATUS, 1, 0);
    raw_expect_violation(raw, "1 bytes");
    assert_int_equal(viommu_model_counters(raw->model)->resets, 0);
}

static void test_mmio_has_registers_that_only_read_or_only_write(void **state)
{
    static const uint16_t written[] = {
        RAW_MMIO_DEVICE_SELECT,
        RAW_MMIO_DRIVER_FEATURES,
        RAW_MMIO_DRIVER_SELECT,
        RAW_MMIO_QUEUE_SELECT,
        RAW_MMIO_QUEUE_SIZE,
        RAW_MMIO_NOTIFY,
        RAW_MMIO_INTERRUPT_ACK,
        RAW_MMIO_DESCRIPTORS,
        RAW_MMIO_DESCRIPTORS + 4,
        RAW_MMIO_DRIVER,
        RAW_MMIO_DEVICE,
        RAW_MMIO_MEMORY_SELECT,
        RAW_MMIO_QUEUE_RESET,
        0x018,
        0x0f8,
    };
    static const uint16_t read[] = {
        RAW_MMIO_MAGIC,         RAW_MMIO_VERSION,         RAW_MMIO_DEVICE_ID,
        RAW_MMIO_VENDOR_ID,     RAW_MMIO_DEVICE_FEATURES, RAW_MMIO_QUEUE_MAX,
        RAW_MMIO_MEMORY_LENGTH, RAW_MMIO_MEMORY_BASE,     RAW_MMIO_INTERRUPT_STATUS,
        RAW_MMIO_GENERATION,    RAW_MMIO_QUEUE_RESET,     0x018,
    };
    struct raw *raw = *state;

    raw_start(raw);
    for (size_t i = 0; i < sizeof written / sizeof written[0]; i++) {
        assert_int_equal(reg(raw, written[i]), 0);
        raw_expect_violation(raw, "cannot be read");
    }
    for (size_t i = 0; i < sizeof read / sizeof read[0]; i++) {
        set_reg(raw, read[i], 1);
        raw_expect_violation(raw, "cannot be written");
    }
}

static void test_mmio_has_no_shared_memory(void **state)
{
    struct raw *raw = *state;

    raw_enable_device(raw);
    set_reg(raw, RAW_MMIO_MEMORY_SELECT, 1);
    for (unsigned int i = 0; i < 8; i += 4) {
        assert_int_equal(reg(raw, RAW_MMIO_MEMORY_LENGTH + i), UINT32_MAX);
        assert_int_equal(reg(raw, RAW_MMIO_MEMORY_BASE + i), UINT32_MAX);
    }
}

static void test_mmio_shows_the_config_field_by_field(void **state)
{
    struct raw *raw = *state;

    raw->parameters.page_size_mask = UINT64_C(0x1122334455667000);
    raw_make_model(raw);
    raw_start(raw);
    assert_int_equal(reg(raw, RAW_MMIO_CONFIG), 0x55667000);
    assert_int_equal(reg(raw, RAW_MMIO_CONFIG + 4), 0x11223344);
    assert_int_equal(reg(raw, RAW_MMIO_CONFIG + 32), 512);
    assert_int_equal(raw_read(raw, RAW_MMIO_CONFIG + 36, 1), 0);
    raw_write_bypass(raw, 1);
    assert_int_equal(viommu_model_bypass(raw->model), 1);
    (void)reg(raw, RAW_MMIO_CONFIG + 36);
    raw_expect_violation(raw, "config read of 4 bytes");
    (void)reg(raw, RAW_MMIO_CONFIG + 40);
    raw_expect_violation(raw, "no register");
    (void)reg(raw, VIOMMU_MODEL_MMIO_SIZE);
    raw_expect_violation(raw, "no register");
    set_reg(raw, RAW_MMIO_CONFIG, 1);
    raw_expect_violation(raw, "config write");
}

static void test_mmio_generation_may_never_stop_changing(void **state)
{
    struct raw *raw = *state;
    uint32_t last;

    raw_start(raw);
    last = reg(raw, RAW_MMIO_GENERATION);
    assert_int_equal(reg(raw, RAW_MMIO_GENERATION), last);
    viommu_model_misbehave(raw->model, VIOMMU_MODEL_GENERATION_CHANGES, 0, 0);
    for (unsigned int i = 0; i < 300; i++) {
        uint32_t next = reg(raw, RAW_MMIO_GENERATION);

        assert_int_not_equal(next, last);
        last = next;
    }
}

/* ---- starting ------------------------------------------------------------------------------ */

static void test_mmio_finds_no_fault_with_a_proper_start(void **state)
{
    struct raw *raw = *state;

    raw_start(raw);
    assert_int_equal(viommu_model_status(raw->model), 0x0f);
    assert_int_equal(viommu_model_accepted_features(raw->model), raw->parameters.offered_features);
    assert_int_equal(raw_attach(raw, 1, RAW_ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_map(raw, 1, 0, 0xfff, RAW_MEMORY_BASE, RAW_READ), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_verdict(raw, RAW_ENDPOINT, 0, false), VIOMMU_MODEL_MAPPED);
    assert_int_equal(viommu_model_counters(raw->model)->doorbells[0], 2);
}

static void test_mmio_start_is_judged_like_any_other(void **state)
{
    struct raw *raw = *state;

    raw_enable_device(raw);
    set_reg(raw, RAW_MMIO_STATUS, 1);
    raw_expect_violation(raw, "before a reset");
    assert_true(raw_negotiate(raw, UINT64_MAX));
    raw_set_status(raw, 4);
    raw_expect_violation(raw, "without a request queue");
    set_reg(raw, RAW_MMIO_STATUS, 0x10f);
    raw_expect_violation(raw, "status 0x10f");
}

static void test_mmio_reset_may_never_end(void **state)
{
    struct raw *raw = *state;

    raw_start(raw);
    viommu_model_misbehave(raw->model, VIOMMU_MODEL_RESET_HANGS, 0, 0);
    set_reg(raw, RAW_MMIO_STATUS, 0);
    for (unsigned int i = 0; i < 10; i++) {
        assert_int_equal(reg(raw, RAW_MMIO_STATUS), 0x0f);
    }
    viommu_model_behave(raw->model);
    assert_int_equal(reg(raw, RAW_MMIO_STATUS), 0);
}

static void test_mmio_selectors_have_no_value_before_they_are_written(void **state)
{
    struct raw *raw = *state;

    raw_start(raw);
    set_reg(raw, RAW_MMIO_STATUS, 0);
    (void)reg(raw, RAW_MMIO_STATUS);
    raw_set_status(raw, 1);
    raw_set_status(raw, 2);
    (void)reg(raw, RAW_MMIO_DEVICE_FEATURES);
    raw_expect_violation(raw, "0x10 used before its selector");
    set_reg(raw, RAW_MMIO_DRIVER_FEATURES, 0);
    raw_expect_violation(raw, "0x20 used before its selector");
    (void)reg(raw, RAW_MMIO_QUEUE_MAX);
    raw_expect_violation(raw, "0x34 used before its selector");
    (void)reg(raw, RAW_MMIO_QUEUE_READY);
    raw_expect_violation(raw, "0x44 used before its selector");
    raw_write_features(raw, raw->parameters.offered_features);
    raw_set_status(raw, 8);
    assert_int_equal(raw_status(raw), 0x0b);
    set_reg(raw, RAW_MMIO_QUEUE_SIZE, 64);
    raw_expect_violation(raw, "0x38 used before its selector");
}

/* ---- queues -------------------------------------------------------------------------------- */

static void test_mmio_has_two_queues(void **state)
{
    struct raw *raw = *state;

    assert_true(raw_negotiate(raw, UINT64_MAX));
    for (uint32_t i = 0; i < 4; i++) {
        set_reg(raw, RAW_MMIO_QUEUE_SELECT, i);
        assert_int_equal(reg(raw, RAW_MMIO_QUEUE_MAX), i < 2 ? 256 : 0);
        assert_int_equal(reg(raw, RAW_MMIO_QUEUE_READY), 0);
    }
    set_reg(raw, RAW_MMIO_QUEUE_SIZE, 64);
    raw_expect_violation(raw, "does not exist");
    viommu_model_misbehave(raw->model, VIOMMU_MODEL_QUEUE_COUNT, 0, 1);
    set_reg(raw, RAW_MMIO_QUEUE_SELECT, 1);
    assert_int_equal(reg(raw, RAW_MMIO_QUEUE_MAX), 0);
    viommu_model_misbehave(raw->model, VIOMMU_MODEL_QUEUE_SIZE, 0, 3);
    set_reg(raw, RAW_MMIO_QUEUE_SELECT, 0);
    assert_int_equal(reg(raw, RAW_MMIO_QUEUE_MAX), 3);
}

/* Sets up queue 0 but for what a bit of `without` leaves out, and switches it on. */
static void set_most_of_queue(struct raw *raw, unsigned int without)
{
    static const uint16_t addresses[] = {RAW_MMIO_DESCRIPTORS, RAW_MMIO_DRIVER,
                                         RAW_MMIO_DEVICE,      RAW_MMIO_DESCRIPTORS + 4,
                                         RAW_MMIO_DRIVER + 4,  RAW_MMIO_DEVICE + 4};

    set_reg(raw, RAW_MMIO_QUEUE_SELECT, 0);
    if ((without & 1) == 0) {
        (void)reg(raw, RAW_MMIO_QUEUE_MAX);
    }
    if ((without & 2) == 0) {
        set_reg(raw, RAW_MMIO_QUEUE_SIZE, RAW_QUEUE_SIZE);
    }
    for (unsigned int i = 0; i < 6; i++) {
        if ((without & 4u << i) == 0) {
            set_reg(raw, addresses[i], i < 3 ? (uint32_t)RAW_MEMORY_BASE + 0x400 * i : 0);
        }
    }
    set_reg(raw, RAW_MMIO_QUEUE_READY, 1);
}

static void test_mmio_queue_wants_all_its_registers_set(void **state)
{
    struct raw *raw = *state;

    for (unsigned int i = 0; i < 8; i++) {
        assert_true(raw_negotiate(raw, UINT64_MAX));
        set_most_of_queue(raw, 1u << i);
        raw_expect_violation(raw, "not set up");
        assert_int_equal(reg(raw, RAW_MMIO_QUEUE_READY), 0);
    }
    set_most_of_queue(raw, 0);
    assert_int_equal(reg(raw, RAW_MMIO_QUEUE_READY), 1);
    set_reg(raw, RAW_MMIO_QUEUE_READY, 2);
    raw_expect_violation(raw, "QueueReady written with 2");
}

static void test_mmio_queue_is_left_alone_while_it_is_ready(void **state)
{
    struct raw *raw = *state;

    assert_true(raw_negotiate(raw, UINT64_MAX));
    raw_set_queue(raw, 0);
    set_reg(raw, RAW_MMIO_DESCRIPTORS, 0);
    raw_expect_violation(raw, "while the queue is on");
    set_reg(raw, RAW_MMIO_QUEUE_SIZE, 32);
    raw_expect_violation(raw, "while the queue is on");
    set_reg(raw, RAW_MMIO_QUEUE_READY, 1);
    raw_expect_violation(raw, "while the queue is on");
    raw_set_status(raw, 4);
    set_reg(raw, RAW_MMIO_QUEUE_SELECT, 1);
    set_reg(raw, RAW_MMIO_QUEUE_SIZE, 32);
    raw_expect_violation(raw, "after DRIVER_OK");
}

static void test_mmio_queue_stops_when_it_is_told_and_says_so(void **state)
{
    struct raw *raw = *state;
    uint8_t request[20];
    struct raw_answer answer;

    raw_start(raw);
    set_reg(raw, RAW_MMIO_QUEUE_SELECT, 0);
    set_reg(raw, RAW_MMIO_QUEUE_READY, 0);
    raw_build_attach(request, 1, RAW_ENDPOINT, 0);
    raw_post(raw, 0, request, sizeof request, 4);
    raw_notify(raw, 0);
    raw_expect_violation(raw, "which is off");
    assert_false(raw_next_used(raw, 0, &answer));
    assert_int_equal(reg(raw, RAW_MMIO_QUEUE_READY), 0);

    assert_true(raw_negotiate(raw, UINT64_MAX));
    raw_set_queue(raw, 0);
    set_reg(raw, RAW_MMIO_QUEUE_READY, 0);
    set_reg(raw, RAW_MMIO_QUEUE_SIZE, 32);
    raw_expect_violation(raw, "before QueueReady read as 0");
    assert_int_equal(reg(raw, RAW_MMIO_QUEUE_READY), 0);
    set_reg(raw, RAW_MMIO_QUEUE_SIZE, 32);
}

static void test_mmio_queue_may_stay_ready_or_never_get_ready(void **state)
{
    struct raw *raw = *state;
    uint8_t request[20];
    struct raw_answer answer;

    raw_start(raw);
    viommu_model_misbehave(raw->model, VIOMMU_MODEL_QUEUE_READY, 0, 1);
    set_reg(raw, RAW_MMIO_QUEUE_SELECT, 0);
    set_reg(raw, RAW_MMIO_QUEUE_READY, 0);
    assert_int_equal(reg(raw, RAW_MMIO_QUEUE_READY), 1);
    assert_int_equal(raw_attach(raw, 1, RAW_ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    viommu_model_misbehave(raw->model, VIOMMU_MODEL_QUEUE_READY, 0, 0);
    assert_true(raw_negotiate(raw, UINT64_MAX));
    raw_set_queue(raw, 0);
    assert_int_equal(reg(raw, RAW_MMIO_QUEUE_READY), 0);
    raw_set_status(raw, 4); /* a driver need not look */
    raw_build_attach(request, 1, RAW_ENDPOINT, 0);
    raw_post(raw, 0, request, sizeof request, 4);
    raw_notify(raw, 0);
    assert_false(raw_next_used(raw, 0, &answer));
    assert_int_equal(viommu_model_violations(raw->model), 0);
}

static void test_mmio_records_notifications_that_name_no_queue(void **state)
{
    struct raw *raw = *state;

    raw_start(raw);
    raw_notify(raw, 2);
    raw_expect_violation(raw, "which does not exist");
    raw_notify(raw, UINT32_MAX);
    raw_expect_violation(raw, "which does not exist");
    assert_int_equal(viommu_model_counters(raw->model)->doorbells[1], 0);
    raw_notify(raw, 1);
    assert_int_equal(viommu_model_counters(raw->model)->doorbells[1], 1);
}

/* ---- interrupts ---------------------------------------------------------------------------- */

static void test_mmio_interrupt_ends_when_it_is_acknowledged(void **state)
{
    struct raw *raw = *state;

    raw_start(raw);
    assert_false(viommu_model_interrupt_pending(raw->model));
    assert_int_equal(raw_attach(raw, 1, RAW_ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    assert_true(viommu_model_interrupt_pending(raw->model));
    assert_int_equal(reg(raw, RAW_MMIO_INTERRUPT_STATUS), 1);
    assert_int_equal(reg(raw, RAW_MMIO_INTERRUPT_STATUS), 1); /* reading leaves it */
    viommu_model_misbehave(raw->model, VIOMMU_MODEL_NEEDS_RESET, 0, 0);
    set_reg(raw, RAW_MMIO_INTERRUPT_ACK, 1);
    assert_true(viommu_model_interrupt_pending(raw->model));
    assert_int_equal(reg(raw, RAW_MMIO_INTERRUPT_STATUS), 2);
    set_reg(raw, RAW_MMIO_INTERRUPT_ACK, 2);
    assert_false(viommu_model_interrupt_pending(raw->model));
}

static void test_mmio_records_what_is_acknowledged_unseen(void **state)
{
    struct raw *raw = *state;

    raw_start(raw);
    assert_int_equal(raw_attach(raw, 1, RAW_ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    set_reg(raw, RAW_MMIO_INTERRUPT_ACK, 1);
    raw_expect_violation(raw, "not seen: 0x1");
    assert_int_equal(raw_detach(raw, 1, RAW_ENDPOINT), VIOMMU_MODEL_S_OK);
    (void)reg(raw, RAW_MMIO_INTERRUPT_STATUS);
    set_reg(raw, RAW_MMIO_INTERRUPT_ACK, 3);
    raw_expect_violation(raw, "not seen: 0x2");
    set_reg(raw, RAW_MMIO_INTERRUPT_ACK, 1);
    raw_expect_violation(raw, "not seen: 0x1");
    assert_false(viommu_model_interrupt_pending(raw->model));
    (void)raw_attach(raw, 1, RAW_ENDPOINT, 0);
    (void)reg(raw, RAW_MMIO_INTERRUPT_STATUS);
    raw_write_status(raw, 0);
    set_reg(raw, RAW_MMIO_INTERRUPT_ACK, 1);
    raw_expect_violation(raw, "not seen: 0x1");
    assert_int_equal(reg(raw, RAW_MMIO_INTERRUPT_STATUS), 0);
}

/* ---- in the fixture ------------------------------------------------------------------------ */

static void test_mmio_fixture_has_the_registers_at_their_address(void **state)
{
    struct viommu_fixture_options options;
    struct viommu_fixture *fixture;
    struct piommu_host host;
    uintptr_t base;

    (void)state;
    viommu_fixture_default_options(&options);
    options.model.transport = VIOMMU_MODEL_MMIO;
    options.model.mmio_address = 0x10001000;
    fixture = viommu_fixture_create(&options);
    host = fake_os_host(fixture->os);
    assert_int_equal(host.os->mmio_map(host.ctx, 0x10001000, VIOMMU_MODEL_MMIO_SIZE, &base), 0);
    assert_int_equal(host.os->mmio_read(host.ctx, base + RAW_MMIO_MAGIC, 4), 0x74726976);
    assert_int_equal(host.os->mmio_read(host.ctx, base + RAW_MMIO_VERSION, 4), 2);
    assert_int_equal(host.os->mmio_read(host.ctx, base + RAW_MMIO_DEVICE_ID, 4), 23);
    host.os->mmio_write(host.ctx, base + RAW_MMIO_STATUS, 4, 0);
    assert_int_equal(viommu_model_counters(fixture->model)->resets, 1);
    host.os->mmio_unmap(host.ctx, base, VIOMMU_MODEL_MMIO_SIZE);
    viommu_fixture_destroy(fixture);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, raw_set_up_mmio, raw_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_mmio_says_who_it_is),
        TEST(test_mmio_records_who_does_not_look_first),
        TEST(test_mmio_records_who_goes_on_with_what_is_no_device),
        TEST(test_mmio_that_is_gone_reads_as_all_ones),
        TEST(test_mmio_takes_aligned_words_alone),
        TEST(test_mmio_has_registers_that_only_read_or_only_write),
        TEST(test_mmio_has_no_shared_memory),
        TEST(test_mmio_shows_the_config_field_by_field),
        TEST(test_mmio_generation_may_never_stop_changing),
        TEST(test_mmio_finds_no_fault_with_a_proper_start),
        TEST(test_mmio_start_is_judged_like_any_other),
        TEST(test_mmio_reset_may_never_end),
        TEST(test_mmio_selectors_have_no_value_before_they_are_written),
        TEST(test_mmio_has_two_queues),
        TEST(test_mmio_queue_wants_all_its_registers_set),
        TEST(test_mmio_queue_is_left_alone_while_it_is_ready),
        TEST(test_mmio_queue_stops_when_it_is_told_and_says_so),
        TEST(test_mmio_queue_may_stay_ready_or_never_get_ready),
        TEST(test_mmio_records_notifications_that_name_no_queue),
        TEST(test_mmio_interrupt_ends_when_it_is_acknowledged),
        TEST(test_mmio_records_what_is_acknowledged_unseen),
        cmocka_unit_test(test_mmio_fixture_has_the_registers_at_their_address),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
