/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* Tests of what the virtio-iommu model has behind every transport: start, config, resets. */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "viommu_raw.h"

static uint32_t read_register(struct raw *raw, uint64_t offset)
{
    return raw_read(raw, offset, 4);
}

static void write_register(struct raw *raw, uint64_t offset, uint32_t value)
{
    raw_write(raw, offset, 4, value);
}

/* Reset, and the bits of `status`, one at a time. */
static void restart(struct raw *raw, uint8_t status)
{
    raw_enable_device(raw);
    raw_write_status(raw, 0);
    assert_int_equal(raw_status(raw), 0);
    for (unsigned int bit = 1; bit <= status; bit <<= 1) {
        if ((status & bit) != 0) {
            raw_set_status(raw, (uint8_t)bit);
        }
    }
}

/* ---- status -------------------------------------------------------------------------------- */

static void test_transport_records_status_bits_that_are_not_the_drivers(void **state)
{
    struct raw *raw = *state;

    restart(raw, 3);
    raw_write_status(raw, 3 | 0x10);
    raw_expect_violation(raw, "status bits 0x10");
    raw_write_status(raw, 3 | 0x40);
    raw_expect_violation(raw, "status bits 0x40");
    assert_int_equal(raw_status(raw), 3);
    raw_write_status(raw, 3 | 0x80); /* that it has failed it may say at any time */
    assert_int_equal(raw_status(raw), 0x83);
}

static void test_transport_records_steps_of_the_start_out_of_turn(void **state)
{
    struct raw *raw = *state;

    raw->parameters.demanded_features = 0;
    raw->parameters.offered_features &= ~VIOMMU_MODEL_F_VERSION_1;
    raw_make_model(raw);
    restart(raw, 1);
    raw_set_status(raw, 8);
    raw_expect_violation(raw, "FEATURES_OK before DRIVER");
    restart(raw, 3);
    raw_set_status(raw, 4);
    assert_int_equal(viommu_model_violations(raw->model), 2); /* there is no queue, either */
    viommu_model_forget_violations(raw->model);
    assert_int_equal(raw_status(raw), 3);
}

static void test_transport_records_features_at_the_wrong_time(void **state)
{
    struct raw *raw = *state;

    restart(raw, 1);
    write_register(raw, raw->registers->device_select, 0);
    (void)read_register(raw, raw->registers->device_features);
    raw_expect_violation(raw, "features read before DRIVER");
    write_register(raw, raw->registers->driver_select, 0);
    write_register(raw, raw->registers->driver_features, 1);
    raw_expect_violation(raw, "features written before DRIVER");
    assert_true(raw_negotiate(raw, UINT64_MAX));
    write_register(raw, raw->registers->driver_features, 0);
    raw_expect_violation(raw, "after FEATURES_OK");
    assert_int_equal(viommu_model_accepted_features(raw->model), raw->parameters.offered_features);
}

static void test_transport_has_two_words_of_features(void **state)
{
    struct raw *raw = *state;
    const struct raw_registers *registers = raw->registers;

    restart(raw, 3);
    write_register(raw, registers->device_select, 2);
    assert_int_equal(read_register(raw, registers->device_features), 0);
    write_register(raw, registers->driver_select, 2);
    write_register(raw, registers->driver_features, 0);
    write_register(raw, registers->driver_features, 1);
    raw_expect_violation(raw, "word 2");
    raw_write_features(raw, UINT64_MAX);
    raw_write_features(raw, raw->parameters.offered_features); /* the last word counts */
    raw_set_status(raw, 8);
    assert_int_equal(raw_status(raw), 0x0b);
}

/* ---- queues -------------------------------------------------------------------------------- */

static void set_size(struct raw *raw, uint32_t queue, uint32_t size)
{
    const struct raw_registers *registers = raw->registers;

    raw_write(raw, registers->queue_select, registers->queue_width, queue);
    raw_write(raw, registers->queue_size, registers->queue_width, size);
}

static void test_transport_takes_queue_sizes_up_to_what_it_offers(void **state)
{
    struct raw *raw = *state;

    assert_true(raw_negotiate(raw, UINT64_MAX));
    set_size(raw, 0, 256);
    set_size(raw, 0, 1);
    set_size(raw, 0, 0);
    raw_expect_violation(raw, "queue size 0");
    set_size(raw, 0, 257);
    raw_expect_violation(raw, "queue size 257");
    set_size(raw, 2, 1);
    raw_expect_violation(raw, "does not exist");
}

static void test_transport_does_not_start_a_queue_of_an_impossible_size(void **state)
{
    struct raw *raw = *state;
    const struct raw_registers *registers = raw->registers;

    viommu_model_misbehave(raw->model, VIOMMU_MODEL_QUEUE_SIZE, 0, 96);
    assert_true(raw_negotiate(raw, UINT64_MAX));
    raw_write(raw, registers->queue_select, registers->queue_width, 0);
    assert_int_equal(raw_read(raw, registers->queue_max, registers->queue_width), 96);
    if (raw->parameters.transport == VIOMMU_MODEL_MMIO) {
        set_size(raw, 0, 96);
        raw_expect_violation(raw, "queue size 96");
    }
    raw_write_address(raw, registers->descriptors, RAW_MEMORY_BASE);
    raw_write_address(raw, registers->driver, RAW_MEMORY_BASE + 0x1000);
    raw_write_address(raw, registers->device, RAW_MEMORY_BASE + 0x2000);
    raw_write(raw, registers->queue_enable, registers->queue_width, 1);
    raw_expect_violation(raw, "enabled with size 96");
    assert_int_equal(raw_read(raw, registers->queue_enable, registers->queue_width), 0);
}

/* ---- configuration ------------------------------------------------------------------------- */

static uint32_t config(struct raw *raw, uint64_t offset, unsigned int width)
{
    return raw_read(raw, raw->registers->config + offset, width);
}

static void test_transport_shows_bypass_as_it_is(void **state)
{
    struct raw *raw = *state;

    raw_start(raw);
    for (uint8_t bypass = 2; bypass-- > 0;) {
        raw_write_bypass(raw, bypass);
        assert_int_equal(config(raw, 36, 1), bypass);
    }
}

static void test_transport_records_reads_of_fields_that_are_not_there(void **state)
{
    static const struct {
        uint64_t feature;
        uint32_t first;
        uint32_t last;
    } fields[] = {
        {VIOMMU_MODEL_F_INPUT_RANGE, 8, 20},
        {VIOMMU_MODEL_F_DOMAIN_RANGE, 24, 28},
        {VIOMMU_MODEL_F_PROBE, 32, 32},
        {VIOMMU_MODEL_F_BYPASS_CONFIG, 36, 36},
    };
    struct raw *raw = *state;
    uint64_t offered = raw->parameters.offered_features;

    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        raw->parameters.offered_features = offered & ~fields[i].feature;
        raw_make_model(raw);
        raw_start(raw);
        for (uint32_t offset = 0; offset <= 36; offset += 4) {
            (void)config(raw, offset, offset < 36 ? 4 : 1);
            if (offset >= fields[i].first && offset <= fields[i].last) {
                raw_expect_violation(raw, "not offered");
            }
        }
        assert_int_equal(viommu_model_violations(raw->model), 0);
    }
}

static void test_transport_records_config_accesses_that_are_early_or_cut(void **state)
{
    struct raw *raw = *state;

    restart(raw, 1);
    (void)config(raw, 0, 4);
    raw_expect_violation(raw, "config read before DRIVER");
    raw->parameters.config_length = 34;
    raw_make_model(raw);
    raw_start(raw);
    assert_int_equal(config(raw, 32, 4), 0);
    raw_expect_violation(raw, "behind the end");
    raw_write_bypass(raw, 1);
    assert_int_equal(viommu_model_bypass(raw->model), 0);
    raw_expect_violation(raw, "no register");
}

/* ---- resets -------------------------------------------------------------------------------- */

static void test_transport_forgets_features_selectors_and_held_events_at_reset(void **state)
{
    struct raw *raw = *state;
    struct raw_answer answer;
    uint8_t byte = 0;

    raw->parameters.hold_events = true;
    raw_make_model(raw);
    raw_start(raw);
    (void)viommu_model_dma(raw->model, RAW_ENDPOINT, 1, &byte, 1, true);
    raw_write_status(raw, 0);
    assert_int_equal(viommu_model_accepted_features(raw->model), 0);
    if (raw->parameters.transport == VIOMMU_MODEL_PCI) {
        assert_int_equal(raw_common_read(raw, RAW_COMMON_DEVICE_SELECT, 4), 0);
        assert_int_equal(raw_common_read(raw, RAW_COMMON_DRIVER_SELECT, 4), 0);
        assert_int_equal(raw_common_read(raw, RAW_COMMON_QUEUE_SELECT, 2), 0);
    }
    raw_start(raw);
    raw_post_event_buffers(raw, 1);
    assert_false(raw_next_used(raw, 1, &answer));
}

static void test_transport_behaves_when_told_to(void **state)
{
    struct raw *raw = *state;

    viommu_model_misbehave(raw->model, VIOMMU_MODEL_CAPABILITY_POINTER, 0, 0);
    assert_true(viommu_model_fail_request(raw->model, 0, 1, VIOMMU_MODEL_S_DEVERR));
    viommu_model_behave(raw->model);
    if (raw->parameters.transport == VIOMMU_MODEL_PCI) {
        assert_int_not_equal(viommu_model_config_read(raw->model, 0x34, 1), 0);
    }
    raw_start(raw);
    assert_int_equal(raw_attach(raw, 1, RAW_ENDPOINT, 0), VIOMMU_MODEL_S_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RAW_TESTS_OF_ALL_RINGS(test_transport_records_status_bits_that_are_not_the_drivers),
        RAW_TESTS_OF_ALL_RINGS(test_transport_records_steps_of_the_start_out_of_turn),
        RAW_TESTS_OF_ALL_RINGS(test_transport_records_features_at_the_wrong_time),
        RAW_TESTS_OF_ALL_RINGS(test_transport_has_two_words_of_features),
        RAW_TESTS_OF_ALL_RINGS(test_transport_takes_queue_sizes_up_to_what_it_offers),
        RAW_TESTS(test_transport_does_not_start_a_queue_of_an_impossible_size),
        RAW_TESTS_OF_ALL_RINGS(test_transport_shows_bypass_as_it_is),
        RAW_TESTS_OF_ALL_RINGS(test_transport_records_reads_of_fields_that_are_not_there),
        RAW_TESTS_OF_ALL_RINGS(test_transport_records_config_accesses_that_are_early_or_cut),
        RAW_TESTS_OF_ALL_RINGS(test_transport_forgets_features_selectors_and_held_events_at_reset),
        RAW_TESTS_OF_ALL_RINGS(test_transport_behaves_when_told_to),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
