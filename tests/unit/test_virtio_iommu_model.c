/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Tests of the virtio-iommu model itself, by way of virtio-pci.
 */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "viommu_raw.h"

/* ---- PCI ----------------------------------------------------------------------------------- */

static void test_model_is_found_by_its_pci_capabilities(void **state)
{
    struct raw *raw = *state;
    struct viommu_model *model = raw->model;
    unsigned int found[6] = {0};
    unsigned int at_offset;

    assert_int_equal(viommu_model_bdf(model), 0x0008);
    assert_int_equal(viommu_model_config_read(model, 0, 4), 0x10571af4);
    assert_true((viommu_model_config_read(model, 6, 2) & 0x10) != 0);
    at_offset = viommu_model_config_read(model, 0x34, 1);
    for (unsigned int i = 0; at_offset != 0; i++) {
        assert_true(i < 48);
        if (viommu_model_config_read(model, at_offset, 1) == 9) {
            unsigned int type = viommu_model_config_read(model, at_offset + 3, 1);

            assert_true(type >= 1 && type <= 5);
            found[type] = at_offset;
        }
        at_offset = viommu_model_config_read(model, at_offset + 1, 1);
    }
    for (unsigned int type = 1; type <= 5; type++) {
        assert_int_not_equal(found[type], 0);
    }
    for (unsigned int type = 1; type <= 4; type++) {
        static const uint32_t offsets[] = {0, 0, 0x3000, 0x1000, 0x2000};

        assert_int_equal(viommu_model_config_read(model, found[type] + 4, 1), 4);
        assert_int_equal(viommu_model_config_read(model, found[type] + 8, 4), offsets[type]);
    }
    assert_int_equal(viommu_model_config_read(model, found[4] + 12, 4), 40);
    assert_int_equal(viommu_model_config_read(model, found[2] + 16, 4), 4);
}

static void test_model_tells_the_size_of_its_bar(void **state)
{
    struct raw *raw = *state;
    struct viommu_model *model = raw->model;

    assert_int_equal(viommu_model_bar_size(model, 4), 0x4000);
    assert_int_equal(viommu_model_bar_size(model, 0), 0);
    viommu_model_config_write(model, 0x20, 4, UINT32_MAX);
    viommu_model_config_write(model, 0x24, 4, UINT32_MAX);
    assert_int_equal(viommu_model_config_read(model, 0x20, 4), 0xffffc00c);
    assert_int_equal(viommu_model_config_read(model, 0x24, 4), 0xffffffff);
    viommu_model_config_write(model, 0x20, 4, 0x10008000);
    viommu_model_config_write(model, 0x24, 4, 2);
    assert_int_equal(viommu_model_bar_address(model, 4), UINT64_C(0x210008000));
    viommu_model_config_write(model, 0x10, 4, UINT32_MAX);
    assert_int_equal(viommu_model_config_read(model, 0x10, 4), 0);
}

static void test_model_reads_as_all_ones_while_memory_decode_is_off(void **state)
{
    struct raw *raw = *state;

    assert_int_equal(raw_common_read(raw, RAW_COMMON_STATUS, 1), 0xff);
    raw_expect_violation(raw, "decode");
    raw_enable_device(raw);
    assert_int_equal(raw_common_read(raw, RAW_COMMON_STATUS, 1), 0);
}

static void test_model_opens_a_window_to_its_registers_in_config_space(void **state)
{
    struct raw *raw = *state;
    struct viommu_model *model = raw->model;

    raw_enable_device(raw);
    viommu_model_config_write(model, 0x88, 1, 4);
    viommu_model_config_write(model, 0x8c, 4, RAW_COMMON_QUEUE_SIZE);
    viommu_model_config_write(model, 0x90, 4, 2);
    assert_int_equal(viommu_model_config_read(model, 0x94, 2), 256);
}

static void test_model_without_bus_master_touches_no_memory(void **state)
{
    struct raw *raw = *state;
    uint8_t request[20];
    struct raw_answer answer;

    raw_start(raw);
    raw_build_attach(request, 1, RAW_ENDPOINT, 0);
    raw_post(raw, 0, request, sizeof request, 4);
    viommu_model_config_write(raw->model, 4, 2, 2);
    raw_notify(raw, 0);
    assert_false(raw_next_used(raw, 0, &answer));
    raw_expect_violation(raw, "bus master");
    raw_enable_device(raw);
    raw_notify(raw, 0);
    assert_true(raw_next_used(raw, 0, &answer));
}

static void test_model_has_its_bar_where_it_was_put(void **state)
{
    struct raw *raw = *state;

    raw->parameters.bar_address = UINT64_C(0x123456789000);
    raw_make_model(raw);
    assert_int_equal(viommu_model_config_read(raw->model, 0x20, 4), 0x5678800c);
    assert_int_equal(viommu_model_config_read(raw->model, 0x24, 4), 0x1234);
    assert_int_equal(viommu_model_bar_address(raw->model, 4), UINT64_C(0x123456788000));
    viommu_model_config_write(raw->model, 0x20, 2, 0);
    raw_expect_violation(raw, "BAR written in 2 bytes");
    raw_enable_device(raw);
    viommu_model_config_write(raw->model, 0x24, 4, 0);
    raw_expect_violation(raw, "while memory decode is on");
}

static void test_model_has_a_usual_config_header(void **state)
{
    struct raw *raw = *state;
    struct viommu_model *model = raw->model;

    assert_int_equal(viommu_model_config_read(model, 0x08, 4), 0x08060001);
    assert_int_equal(viommu_model_config_read(model, 0x2c, 4), 0x11001af4);
    assert_int_equal(viommu_model_config_read(model, 0x3d, 1), 1);
    assert_int_equal(viommu_model_config_read(model, 0xfc, 4), 0);
    viommu_model_config_write(model, 0x3c, 1, 0x21);
    assert_int_equal(viommu_model_config_read(model, 0x3c, 1), 0x21);
    viommu_model_config_write(model, 4, 4, 0xffffffff);
    assert_int_equal(viommu_model_config_read(model, 4, 4), 0x00100406);
    viommu_model_config_write(model, 4, 1, 2);
    assert_int_equal(viommu_model_config_read(model, 4, 2), 0x402);
    viommu_model_config_write(model, 0, 4, 0);
    assert_int_equal(viommu_model_config_read(model, 0, 4), 0x10571af4);
    assert_int_equal(viommu_model_config_read(model, 0x100, 4), UINT32_MAX);
    raw_expect_violation(raw, "PCI config access of 4 bytes at offset 0x100");
    (void)viommu_model_config_read(model, 3, 2);
    raw_expect_violation(raw, "PCI config access of 2 bytes");
}

static void test_model_writes_registers_through_the_window(void **state)
{
    struct raw *raw = *state;

    raw_start(raw);
    viommu_model_config_write(raw->model, 0x88, 1, 4);
    viommu_model_config_write(raw->model, 0x8c, 4, RAW_COMMON_STATUS);
    viommu_model_config_write(raw->model, 0x90, 4, 1);
    viommu_model_config_write(raw->model, 0x94, 1, 0);
    assert_int_equal(viommu_model_status(raw->model), 0);
}

static void test_model_shows_what_was_written_to_common_registers(void **state)
{
    struct raw *raw = *state;
    uint64_t features = raw->parameters.offered_features;

    assert_true(raw_negotiate(raw, UINT64_MAX));
    raw_set_queue(raw, 1);
    for (unsigned int i = 0; i < 2; i++) {
        raw_common_write(raw, RAW_COMMON_DRIVER_SELECT, 4, i);
        assert_int_equal(raw_common_read(raw, RAW_COMMON_DRIVER_FEATURES, 4),
                         features >> (32 * i) & UINT32_MAX);
    }
    raw_common_write(raw, RAW_COMMON_DRIVER_SELECT, 4, 2);
    assert_int_equal(raw_common_read(raw, RAW_COMMON_DRIVER_FEATURES, 4), 0);
    assert_int_equal(raw_common_read(raw, RAW_COMMON_DESCRIPTORS, 4), 0x40001000);
    assert_int_equal(raw_common_read(raw, RAW_COMMON_DRIVER, 4), 0x40001400);
    assert_int_equal(raw_common_read(raw, RAW_COMMON_DEVICE, 4), 0x40001600);
    assert_int_equal(raw_common_read(raw, RAW_COMMON_DEVICE + 4, 4), 0);
}

static void test_model_records_writes_that_no_register_takes(void **state)
{
    struct raw *raw = *state;

    assert_true(raw_negotiate(raw, UINT64_MAX));
    raw_common_write(raw, RAW_COMMON_DEVICE_FEATURES, 4, 0);
    raw_expect_violation(raw, "read-only");
    raw_common_write(raw, RAW_COMMON_GENERATION, 1, 0);
    raw_expect_violation(raw, "read-only");
    raw_common_write(raw, RAW_COMMON_NOTIFY_OFF, 2, 0);
    raw_expect_violation(raw, "queue_notify_off written");
    raw_common_write(raw, RAW_COMMON_QUEUE_SELECT, 2, 0x10001);
    raw_expect_violation(raw, "write of 0x10001 in 2 bytes");
    assert_int_equal(raw_common_read(raw, RAW_COMMON_QUEUE_SELECT, 2), 1);
    raw_write(raw, VIOMMU_MODEL_NOTIFY_OFFSET + 2 * VIOMMU_MODEL_NOTIFY_MULTIPLIER, 2, 2);
    raw_expect_violation(raw, "notification of 2");
    raw_write(raw, 56, 2, 0);
    raw_expect_violation(raw, "no register");
    (void)raw_read(raw, 56, 2);
    raw_expect_violation(raw, "no register");
    raw_write(raw, VIOMMU_MODEL_DEVICE_OFFSET + 40, 1, 0);
    raw_expect_violation(raw, "no register");
    (void)raw_read(raw, VIOMMU_MODEL_BAR_SIZE, 4);
    raw_expect_violation(raw, "register access of 4 bytes at offset 0x4000");
}

/* ---- starting ------------------------------------------------------------------------------ */

static void test_model_finds_no_fault_with_a_proper_start(void **state)
{
    struct raw *raw = *state;

    raw_start(raw);
    assert_int_equal(viommu_model_status(raw->model), 0x0f);
    assert_int_equal(viommu_model_accepted_features(raw->model), raw->parameters.offered_features);
    assert_int_equal(viommu_model_counters(raw->model)->resets, 1);
    assert_int_equal(viommu_model_violations(raw->model), 0);
}

static void test_model_shows_its_config_in_32_bit_pieces(void **state)
{
    struct raw *raw = *state;
    uint8_t bytes[36];

    raw->parameters.page_size_mask = UINT64_C(0x1122334455667000);
    raw->parameters.input_start = 0x1000;
    raw->parameters.input_end = UINT64_C(0xfffffffff);
    raw->parameters.domain_start = 3;
    raw->parameters.domain_end = 0x10203;
    raw_make_model(raw);
    raw_start(raw);
    for (unsigned int i = 0; i < sizeof bytes; i += 4) {
        raw_put(bytes + i, 4,
                viommu_model_mmio_read(raw->model, VIOMMU_MODEL_DEVICE_OFFSET + i, 4));
    }
    assert_true(raw_get(bytes, 8) == raw->parameters.page_size_mask);
    assert_true(raw_get(bytes + 8, 8) == 0x1000);
    assert_true(raw_get(bytes + 16, 8) == UINT64_C(0xfffffffff));
    assert_int_equal(raw_get(bytes + 24, 4), 3);
    assert_int_equal(raw_get(bytes + 28, 4), 0x10203);
    assert_int_equal(raw_get(bytes + 32, 4), 512);
    assert_int_equal(viommu_model_mmio_read(raw->model, VIOMMU_MODEL_DEVICE_OFFSET + 36, 1), 0);
    (void)viommu_model_mmio_read(raw->model, VIOMMU_MODEL_DEVICE_OFFSET + 36, 4);
    raw_expect_violation(raw, "config read of 4 bytes");
    (void)viommu_model_mmio_read(raw->model, VIOMMU_MODEL_DEVICE_OFFSET + 4, 2);
    raw_expect_violation(raw, "config read of 2 bytes");
    viommu_model_mmio_write(raw->model, VIOMMU_MODEL_DEVICE_OFFSET + 32, 4, 1);
    raw_expect_violation(raw, "config write");
}

static void test_model_of_an_old_device_has_no_bypass_byte(void **state)
{
    struct raw *raw = *state;

    raw->parameters.config_length = 36;
    raw->parameters.offered_features &= ~VIOMMU_MODEL_F_BYPASS_CONFIG;
    raw_make_model(raw);
    raw_start(raw);
    (void)viommu_model_mmio_read(raw->model, VIOMMU_MODEL_DEVICE_OFFSET + 36, 1);
    raw_expect_violation(raw, "no register");
}

static void test_model_records_a_start_without_reset(void **state)
{
    struct raw *raw = *state;

    raw_enable_device(raw);
    raw_common_write(raw, RAW_COMMON_STATUS, 1, 1);
    raw_expect_violation(raw, "reset");
}

static void test_model_records_a_start_before_the_reset_was_seen_to_end(void **state)
{
    struct raw *raw = *state;

    raw_start(raw);
    raw_common_write(raw, RAW_COMMON_STATUS, 1, 0);
    raw_common_write(raw, RAW_COMMON_STATUS, 1, 1);
    raw_expect_violation(raw, "reset");
}

static void test_model_records_driver_before_acknowledge(void **state)
{
    struct raw *raw = *state;

    raw_enable_device(raw);
    raw_common_write(raw, RAW_COMMON_STATUS, 1, 0);
    (void)raw_common_read(raw, RAW_COMMON_STATUS, 1);
    raw_common_write(raw, RAW_COMMON_STATUS, 1, 3);
    raw_expect_violation(raw, "ACKNOWLEDGE");
}

static void test_model_records_status_bits_that_vanish(void **state)
{
    struct raw *raw = *state;

    assert_true(raw_negotiate(raw, UINT64_MAX));
    raw_common_write(raw, RAW_COMMON_STATUS, 1, 2);
    raw_expect_violation(raw, "cleared");
    assert_int_equal(viommu_model_status(raw->model), 0x0b);
}

static void test_model_records_features_that_were_not_offered(void **state)
{
    struct raw *raw = *state;

    raw_enable_device(raw);
    raw_common_write(raw, RAW_COMMON_STATUS, 1, 0);
    (void)raw_common_read(raw, RAW_COMMON_STATUS, 1);
    raw_set_status(raw, 1);
    raw_set_status(raw, 2);
    raw_write_features(raw, raw->parameters.offered_features | VIOMMU_MODEL_F_EVENT_IDX);
    raw_set_status(raw, 8);
    raw_expect_violation(raw, "not offered");
    assert_int_equal(raw_common_read(raw, RAW_COMMON_STATUS, 1), 3);
}

static void test_model_records_features_without_version_1(void **state)
{
    struct raw *raw = *state;

    assert_false(raw_negotiate(raw, UINT32_MAX));
    raw_expect_violation(raw, "VERSION_1");
}

static void test_model_records_features_that_change_the_ring(void **state)
{
    struct raw *raw = *state;

    raw->parameters.offered_features |= VIOMMU_MODEL_F_IN_ORDER;
    raw_make_model(raw);
    assert_false(raw_negotiate(raw, UINT64_MAX));
    raw_expect_violation(raw, "0x800000000");
}

static void test_model_refuses_features_when_it_demands_others(void **state)
{
    struct raw *raw = *state;

    raw->parameters.offered_features |= VIOMMU_MODEL_F_ACCESS_PLATFORM;
    raw->parameters.demanded_features |= VIOMMU_MODEL_F_ACCESS_PLATFORM;
    raw_make_model(raw);
    assert_false(raw_negotiate(raw, ~VIOMMU_MODEL_F_ACCESS_PLATFORM));
    assert_true(raw_negotiate(raw, UINT64_MAX));
}

static void test_model_records_driver_ok_without_rereading_features_ok(void **state)
{
    struct raw *raw = *state;

    assert_true(raw_negotiate(raw, UINT64_MAX));
    raw_common_write(raw, RAW_COMMON_STATUS, 1, 0);
    (void)raw_common_read(raw, RAW_COMMON_STATUS, 1);
    raw_common_write(raw, RAW_COMMON_STATUS, 1, 1);
    raw_common_write(raw, RAW_COMMON_STATUS, 1, 3);
    raw_write_features(raw, raw->parameters.offered_features);
    raw_common_write(raw, RAW_COMMON_STATUS, 1, 0x0b);
    raw_set_queue(raw, 0);
    raw_common_write(raw, RAW_COMMON_STATUS, 1, 0x0f);
    raw_expect_violation(raw, "re-read");
}

static void test_model_records_driver_ok_without_a_request_queue(void **state)
{
    struct raw *raw = *state;

    assert_true(raw_negotiate(raw, UINT64_MAX));
    raw_set_status(raw, 4);
    raw_expect_violation(raw, "request queue");
}

static void test_model_records_queue_registers_touched_at_the_wrong_time(void **state)
{
    struct raw *raw = *state;

    raw_enable_device(raw);
    raw_common_write(raw, RAW_COMMON_QUEUE_SIZE, 2, 64);
    raw_expect_violation(raw, "before FEATURES_OK");
    assert_true(raw_negotiate(raw, UINT64_MAX));
    raw_set_queue(raw, 0);
    raw_common_write(raw, RAW_COMMON_DESCRIPTORS, 4, 0);
    raw_expect_violation(raw, "while the queue is on");
    raw_set_status(raw, 4);
    raw_common_write(raw, RAW_COMMON_QUEUE_SELECT, 2, 1);
    raw_common_write(raw, RAW_COMMON_QUEUE_SIZE, 2, 64);
    raw_expect_violation(raw, "after DRIVER_OK");
}

static void test_model_records_bad_queue_settings(void **state)
{
    struct raw *raw = *state;

    assert_true(raw_negotiate(raw, UINT64_MAX));
    raw_common_write(raw, RAW_COMMON_QUEUE_SIZE, 2, 48);
    raw_expect_violation(raw, "queue size 48");
    raw_common_write(raw, RAW_COMMON_QUEUE_SIZE, 2, 512);
    raw_expect_violation(raw, "queue size 512");
    raw_common_write(raw, RAW_COMMON_QUEUE_SIZE, 2, 64);
    raw_write_address(raw, RAW_COMMON_DESCRIPTORS, RAW_MEMORY_BASE + 8);
    raw_write_address(raw, RAW_COMMON_DRIVER, RAW_MEMORY_BASE + 0x400);
    raw_write_address(raw, RAW_COMMON_DEVICE, RAW_MEMORY_BASE + 0x600);
    raw_common_write(raw, RAW_COMMON_QUEUE_ENABLE, 2, 1);
    raw_expect_violation(raw, "aligned");
    raw_write_address(raw, RAW_COMMON_DESCRIPTORS, 0x1000);
    raw_common_write(raw, RAW_COMMON_QUEUE_ENABLE, 2, 1);
    raw_expect_violation(raw, "not in memory");
    raw_write_address(raw, RAW_COMMON_DESCRIPTORS, RAW_MEMORY_BASE);
    raw_common_write(raw, RAW_COMMON_QUEUE_ENABLE, 2, 0);
    raw_expect_violation(raw, "queue_enable");
    raw_common_write(raw, RAW_COMMON_QUEUE_ENABLE, 2, 1);
    assert_int_equal(raw_common_read(raw, RAW_COMMON_QUEUE_ENABLE, 2), 1);
}

static void test_model_records_accesses_of_the_wrong_width(void **state)
{
    struct raw *raw = *state;

    raw_enable_device(raw);
    (void)raw_common_read(raw, RAW_COMMON_STATUS, 4);
    raw_expect_violation(raw, "4 bytes at offset 20");
    raw_common_write(raw, RAW_COMMON_QUEUE_SELECT, 4, 0);
    raw_expect_violation(raw, "4 bytes");
    (void)viommu_model_mmio_read(raw->model, VIOMMU_MODEL_ISR_OFFSET, 4);
    raw_expect_violation(raw, "no register");
    (void)viommu_model_mmio_read(raw->model, 0x800, 4);
    raw_expect_violation(raw, "no register");
}

static void test_model_records_notifications_that_come_too_early_or_are_malformed(void **state)
{
    struct raw *raw = *state;

    assert_true(raw_negotiate(raw, UINT64_MAX));
    raw_set_queue(raw, 0);
    raw_notify(raw, 0);
    raw_expect_violation(raw, "before DRIVER_OK");
    raw_set_status(raw, 4);
    raw_notify(raw, 1);
    raw_expect_violation(raw, "which is off");
    viommu_model_mmio_write(raw->model, VIOMMU_MODEL_NOTIFY_OFFSET, 4, 0);
    raw_expect_violation(raw, "4 bytes");
    viommu_model_mmio_write(raw->model, VIOMMU_MODEL_NOTIFY_OFFSET, 2, 1);
    raw_expect_violation(raw, "notification of 1");
    raw_notify(raw, 0); /* one without a new buffer is fine */
}

/* ---- domains ------------------------------------------------------------------------------- */

static void test_model_creates_a_domain_with_the_first_attach(void **state)
{
    struct raw *raw = *state;
    uint32_t domain = 0;

    raw_start(raw);
    assert_false(viommu_model_domain_of(raw->model, RAW_ENDPOINT, &domain));
    assert_int_equal(raw_attach(raw, 5, RAW_ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    assert_true(viommu_model_domain_exists(raw->model, 5));
    assert_true(viommu_model_domain_of(raw->model, RAW_ENDPOINT, &domain));
    assert_int_equal(domain, 5);
    assert_int_equal(viommu_model_counters(raw->model)->requests[VIOMMU_MODEL_ATTACH], 1);
    assert_int_equal(viommu_model_counters(raw->model)->doorbells[0], 1);
}

static void test_model_refuses_attach_by_the_specification(void **state)
{
    struct raw *raw = *state;
    uint8_t request[20];

    raw_start(raw);
    assert_int_equal(raw_attach(raw, 1, RAW_STRANGER, 0), VIOMMU_MODEL_S_NOENT);
    assert_int_equal(raw_attach(raw, 1, RAW_ENDPOINT, 2), VIOMMU_MODEL_S_INVAL);
    raw_expect_violation(raw, "unknown flags");
    raw_build_attach(request, 1, RAW_ENDPOINT, 0);
    request[19] = 1;
    assert_int_equal(raw_ask(raw, request, 20, 4).status, VIOMMU_MODEL_S_INVAL);
    raw_expect_violation(raw, "reserved");
    assert_int_equal(viommu_model_domain_count(raw->model), 0);
    assert_int_equal(raw_attach(raw, 1, RAW_ENDPOINT, 1), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_attach(raw, 1, RAW_OTHER, 0), VIOMMU_MODEL_S_INVAL);
    assert_int_equal(raw_attach(raw, 1, RAW_OTHER, 1), VIOMMU_MODEL_S_OK);
}

static void test_model_drops_mappings_when_the_last_endpoint_leaves_the_domain(void **state)
{
    struct raw *raw = *state;

    raw_start(raw);
    assert_int_equal(raw_attach(raw, 1, RAW_ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_attach(raw, 1, RAW_OTHER, 0), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_map(raw, 1, 0x1000, 0x1fff, RAW_MEMORY_BASE, RAW_READ), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_detach(raw, 1, RAW_ENDPOINT), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_verdict(raw, RAW_ENDPOINT, 0x1000, false), VIOMMU_MODEL_BLOCKED);
    assert_int_equal(raw_verdict(raw, RAW_OTHER, 0x1000, false), VIOMMU_MODEL_MAPPED);
    assert_int_equal(raw_detach(raw, 1, RAW_OTHER), VIOMMU_MODEL_S_OK);
    assert_false(viommu_model_domain_exists(raw->model, 1));
    assert_int_equal(raw_map(raw, 1, 0x1000, 0x1fff, RAW_MEMORY_BASE, RAW_READ),
                     VIOMMU_MODEL_S_NOENT);
    assert_int_equal(raw_attach(raw, 1, RAW_ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    assert_int_equal(viommu_model_mapping_count(raw->model, 1), 0);
}

static void test_model_drops_mappings_when_the_last_endpoint_moves_away(void **state)
{
    struct raw *raw = *state;

    raw_start(raw);
    assert_int_equal(raw_attach(raw, 1, RAW_ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_map(raw, 1, 0x1000, 0x1fff, RAW_MEMORY_BASE, RAW_READ), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_attach(raw, 2, RAW_ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    assert_false(viommu_model_domain_exists(raw->model, 1));
    assert_int_equal(raw_verdict(raw, RAW_ENDPOINT, 0x1000, false), VIOMMU_MODEL_BLOCKED);
}

static void test_model_drops_a_domain_whose_last_endpoint_joins_another(void **state)
{
    struct raw *raw = *state;

    raw_start(raw);
    assert_int_equal(raw_attach(raw, 1, RAW_ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_attach(raw, 2, RAW_OTHER, 0), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_map(raw, 2, 0, 0xfff, 0, RAW_READ), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_attach(raw, 2, RAW_ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    assert_false(viommu_model_domain_exists(raw->model, 1));
    assert_int_equal(raw_attach(raw, 2, RAW_THIRD, 0), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_detach(raw, 2, RAW_ENDPOINT), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_detach(raw, 2, RAW_OTHER), VIOMMU_MODEL_S_OK);
    assert_int_equal(viommu_model_mapping_count(raw->model, 2), 1);
    viommu_model_system_reset(raw->model);
    assert_int_equal(viommu_model_domain_count(raw->model), 0);
    assert_int_equal(viommu_model_status(raw->model), 0);
}

static void test_model_records_domains_out_of_range_in_every_request(void **state)
{
    struct raw *raw = *state;

    raw->parameters.domain_start = 5;
    raw->parameters.domain_end = 6;
    raw_make_model(raw);
    raw_start(raw);
    assert_int_equal(raw_attach(raw, 4, RAW_ENDPOINT, 0), VIOMMU_MODEL_S_RANGE);
    raw_expect_violation(raw, "domain 4 is outside");
    assert_int_equal(raw_detach(raw, 7, RAW_ENDPOINT), VIOMMU_MODEL_S_INVAL);
    raw_expect_violation(raw, "domain 7 is outside");
    assert_int_equal(raw_map(raw, 4, 0, 0xfff, 0, RAW_READ), VIOMMU_MODEL_S_NOENT);
    raw_expect_violation(raw, "domain 4 is outside");
    assert_int_equal(raw_unmap(raw, 7, 0, 0xfff), VIOMMU_MODEL_S_NOENT);
    raw_expect_violation(raw, "domain 7 is outside");
}

static void test_model_records_an_attach_to_the_same_domain_and_loses_the_mappings(void **state)
{
    struct raw *raw = *state;

    raw_start(raw);
    assert_int_equal(raw_attach(raw, 1, RAW_ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_map(raw, 1, 0x1000, 0x1fff, RAW_MEMORY_BASE, RAW_READ), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_attach(raw, 1, RAW_ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    raw_expect_violation(raw, "its own domain");
    assert_true(viommu_model_domain_exists(raw->model, 1));
    assert_int_equal(viommu_model_mapping_count(raw->model, 1), 0);
}

static void test_model_may_keep_mappings_on_an_attach_to_the_same_domain(void **state)
{
    struct raw *raw = *state;

    raw->parameters.keep_on_reattach = true;
    raw_make_model(raw);
    raw_start(raw);
    assert_int_equal(raw_attach(raw, 1, RAW_ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_map(raw, 1, 0x1000, 0x1fff, RAW_MEMORY_BASE, RAW_READ), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_attach(raw, 1, RAW_ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    raw_expect_violation(raw, "its own domain");
    assert_int_equal(viommu_model_mapping_count(raw->model, 1), 1);
}

static void test_model_may_not_support_moving_and_sharing(void **state)
{
    struct raw *raw = *state;

    raw->parameters.no_move = true;
    raw->parameters.one_endpoint = true;
    raw_make_model(raw);
    raw_start(raw);
    assert_int_equal(raw_attach(raw, 1, RAW_ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_attach(raw, 1, RAW_OTHER, 0), VIOMMU_MODEL_S_UNSUPP);
    assert_int_equal(raw_attach(raw, 2, RAW_ENDPOINT, 0), VIOMMU_MODEL_S_UNSUPP);
    assert_int_equal(raw_detach(raw, 1, RAW_ENDPOINT), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_attach(raw, 2, RAW_ENDPOINT, 0), VIOMMU_MODEL_S_OK);
}

static void test_model_runs_out_of_domains_and_mappings_when_told_to(void **state)
{
    struct raw *raw = *state;

    raw->parameters.max_domains = 1;
    raw->parameters.max_mappings = 1;
    raw_make_model(raw);
    raw_start(raw);
    assert_int_equal(raw_attach(raw, 1, RAW_ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_attach(raw, 2, RAW_OTHER, 0), VIOMMU_MODEL_S_NOMEM);
    assert_int_equal(raw_attach(raw, 2, RAW_ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_map(raw, 2, 0, 0xfff, RAW_MEMORY_BASE, RAW_READ), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_map(raw, 2, 0x1000, 0x1fff, RAW_MEMORY_BASE, RAW_READ),
                     VIOMMU_MODEL_S_NOMEM);
}

static void test_model_detaches_by_the_specification(void **state)
{
    struct raw *raw = *state;
    uint8_t request[20];

    raw_start(raw);
    assert_int_equal(raw_detach(raw, 1, RAW_STRANGER), VIOMMU_MODEL_S_NOENT);
    assert_int_equal(raw_detach(raw, 1, RAW_ENDPOINT), VIOMMU_MODEL_S_INVAL);
    assert_int_equal(raw_attach(raw, 1, RAW_ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_detach(raw, 2, RAW_ENDPOINT), VIOMMU_MODEL_S_INVAL);
    raw_build_detach(request, 1, RAW_ENDPOINT);
    request[12] = 1; /* ignored by the device, but not the driver's to set */
    assert_int_equal(raw_ask(raw, request, 20, 4).status, VIOMMU_MODEL_S_OK);
    raw_expect_violation(raw, "reserved");
}

static void test_model_keeps_domains_in_their_range(void **state)
{
    struct raw *raw = *state;

    raw->parameters.domain_start = 2;
    raw->parameters.domain_end = 3;
    raw_make_model(raw);
    raw_start(raw);
    assert_int_equal(raw_attach(raw, 1, RAW_ENDPOINT, 0), VIOMMU_MODEL_S_RANGE);
    raw_expect_violation(raw, "domain_range");
    assert_int_equal(raw_attach(raw, 4, RAW_ENDPOINT, 0), VIOMMU_MODEL_S_RANGE);
    raw_expect_violation(raw, "domain_range");
    assert_int_equal(raw_attach(raw, 2, RAW_ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_attach(raw, 3, RAW_ENDPOINT, 0), VIOMMU_MODEL_S_OK);
}

/* ---- mappings ------------------------------------------------------------------------------ */

static void test_model_refuses_map_by_the_specification(void **state)
{
    struct raw *raw = *state;

    raw_start(raw);
    assert_int_equal(raw_attach(raw, 1, RAW_ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_attach(raw, 2, RAW_OTHER, 1), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_map(raw, 3, 0, 0xfff, 0, RAW_READ), VIOMMU_MODEL_S_NOENT);
    assert_int_equal(raw_map(raw, 2, 0, 0xfff, 0, RAW_READ), VIOMMU_MODEL_S_INVAL);
    assert_int_equal(raw_map(raw, 1, 0x1000, 0x2fff, 0, RAW_READ), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_map(raw, 1, 0x1000, 0x2fff, 0, RAW_READ), VIOMMU_MODEL_S_INVAL);
    assert_int_equal(raw_map(raw, 1, 0x2000, 0x3fff, 0, RAW_READ), VIOMMU_MODEL_S_INVAL);
    assert_int_equal(raw_map(raw, 1, 0, 0x1fff, 0, RAW_READ), VIOMMU_MODEL_S_INVAL);
    assert_int_equal(raw_map(raw, 1, 0, 0x4fff, 0, RAW_READ), VIOMMU_MODEL_S_INVAL);
    assert_int_equal(raw_map(raw, 1, 0, 0xfff, 0, RAW_READ), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_map(raw, 1, 0x3000, 0x3fff, 0, RAW_READ | RAW_WRITE | 4),
                     VIOMMU_MODEL_S_OK);
    assert_int_equal(viommu_model_violations(raw->model), 0);

    assert_int_equal(raw_map(raw, 1, 0x4000, 0x4fff, 0, 8), VIOMMU_MODEL_S_INVAL);
    raw_expect_violation(raw, "unknown flags");
    assert_int_equal(raw_map(raw, 1, 0x5000, 0x4fff, 0, RAW_READ), VIOMMU_MODEL_S_INVAL);
    raw_expect_violation(raw, "not a range");
    assert_int_equal(raw_map(raw, 1, 0x4800, 0x4fff, 0, RAW_READ), VIOMMU_MODEL_S_RANGE);
    raw_expect_violation(raw, "unaligned");
    assert_int_equal(raw_map(raw, 1, 0x4000, 0x47ff, 0, RAW_READ), VIOMMU_MODEL_S_RANGE);
    raw_expect_violation(raw, "unaligned");
    assert_int_equal(raw_map(raw, 1, 0x4000, 0x4fff, 0x800, RAW_READ), VIOMMU_MODEL_S_RANGE);
    raw_expect_violation(raw, "unaligned");
    assert_int_equal(raw_map(raw, 1, 0x4000, 0x5fff, UINT64_C(0xfffffffffffff000), RAW_READ),
                     VIOMMU_MODEL_S_RANGE);
    raw_expect_violation(raw, "wraps");
    assert_int_equal(viommu_model_mapping_count(raw->model, 1), 3);
}

static void test_model_maps_the_whole_address_space(void **state)
{
    struct raw *raw = *state;
    uint64_t physical = 0;

    raw_start(raw);
    assert_int_equal(raw_attach(raw, 1, RAW_ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_map(raw, 1, 0, UINT64_MAX, 0, RAW_READ | RAW_WRITE), VIOMMU_MODEL_S_OK);
    assert_int_equal(viommu_model_translate(raw->model, RAW_ENDPOINT, UINT64_MAX, true, &physical),
                     VIOMMU_MODEL_MAPPED);
    assert_true(physical == UINT64_MAX);
    assert_int_equal(raw_unmap(raw, 1, 0, UINT64_MAX), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_verdict(raw, RAW_ENDPOINT, 0, false), VIOMMU_MODEL_BLOCKED);
}

static void test_model_keeps_mappings_in_the_input_range(void **state)
{
    struct raw *raw = *state;

    raw->parameters.input_start = 0x1000;
    raw->parameters.input_end = 0xffff;
    raw_make_model(raw);
    raw_start(raw);
    assert_int_equal(raw_attach(raw, 1, RAW_ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_map(raw, 1, 0x1000, 0xffff, 0, RAW_READ), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_unmap(raw, 1, 0, UINT64_MAX), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_map(raw, 1, 0, 0x1fff, 0, RAW_READ), VIOMMU_MODEL_S_RANGE);
    raw_expect_violation(raw, "input_range");
    assert_int_equal(raw_map(raw, 1, 0xf000, 0x10fff, 0, RAW_READ), VIOMMU_MODEL_S_RANGE);
    raw_expect_violation(raw, "input_range");
}

static void test_model_records_mappings_over_reserved_regions(void **state)
{
    struct raw *raw = *state;

    raw_start(raw);
    assert_int_equal(raw_attach(raw, 1, RAW_THIRD, 0), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_map(raw, 1, RAW_MSI_END - 0xfff, RAW_MSI_END, 0, RAW_WRITE),
                     VIOMMU_MODEL_S_INVAL);
    raw_expect_violation(raw, "reserved region");
    assert_int_equal(
        raw_map(raw, 1, RAW_RESERVED_START - 0x1000, RAW_RESERVED_END + 0x1000, 0, RAW_WRITE),
        VIOMMU_MODEL_S_INVAL);
    raw_expect_violation(raw, "reserved region");
    assert_int_equal(raw_map(raw, 1, RAW_MSI_END + 1, RAW_RESERVED_START - 1, 0, RAW_WRITE),
                     VIOMMU_MODEL_S_OK);
}

static void test_model_knows_the_last_byte_of_a_reserved_region(void **state)
{
    struct raw *raw = *state;

    raw->parameters.page_size_mask = UINT64_MAX;
    raw_make_model(raw);
    raw_start(raw);
    assert_int_equal(raw_attach(raw, 1, RAW_THIRD, 0), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_map(raw, 1, RAW_RESERVED_END, RAW_RESERVED_END + 1, 0, RAW_WRITE),
                     VIOMMU_MODEL_S_INVAL);
    raw_expect_violation(raw, "reserved region");
    assert_int_equal(raw_map(raw, 1, RAW_RESERVED_START - 1, RAW_RESERVED_START, 0, RAW_WRITE),
                     VIOMMU_MODEL_S_INVAL);
    raw_expect_violation(raw, "reserved region");
    assert_int_equal(raw_map(raw, 1, RAW_RESERVED_END + 1, RAW_RESERVED_END + 2, 0, RAW_WRITE),
                     VIOMMU_MODEL_S_OK);
}

static void test_model_refuses_to_attach_where_a_mapping_lies_in_a_reserved_region(void **state)
{
    struct raw *raw = *state;

    raw_start(raw);
    assert_int_equal(raw_attach(raw, 1, RAW_ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_map(raw, 1, RAW_MSI_START, RAW_MSI_START + 0xfff, 0, RAW_WRITE),
                     VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_attach(raw, 1, RAW_THIRD, 0), VIOMMU_MODEL_S_UNSUPP);
}

static void prepare_unmap(struct raw *raw)
{
    raw->parameters.page_size_mask = UINT64_MAX; /* the examples count in bytes */
    raw_make_model(raw);
    raw_start(raw);
    assert_int_equal(raw_attach(raw, 1, RAW_ENDPOINT, 0), VIOMMU_MODEL_S_OK);
}

static int map_bytes(struct raw *raw, uint64_t first, uint64_t last)
{
    return raw_map(raw, 1, first, last, RAW_MEMORY_BASE + first, RAW_READ);
}

static void test_model_unmap_example_1_nothing_is_mapped(void **state)
{
    struct raw *raw = *state;

    prepare_unmap(raw);
    assert_int_equal(raw_unmap(raw, 1, 0, 4), VIOMMU_MODEL_S_OK);
}

static void test_model_unmap_example_2_one_whole_mapping(void **state)
{
    struct raw *raw = *state;

    prepare_unmap(raw);
    assert_int_equal(map_bytes(raw, 0, 9), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_unmap(raw, 1, 0, 9), VIOMMU_MODEL_S_OK);
    assert_int_equal(viommu_model_mapping_count(raw->model, 1), 0);
}

static void test_model_unmap_example_3_two_whole_mappings(void **state)
{
    struct raw *raw = *state;

    prepare_unmap(raw);
    assert_int_equal(map_bytes(raw, 0, 4), VIOMMU_MODEL_S_OK);
    assert_int_equal(map_bytes(raw, 5, 9), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_unmap(raw, 1, 0, 9), VIOMMU_MODEL_S_OK);
    assert_int_equal(viommu_model_mapping_count(raw->model, 1), 0);
}

static void test_model_unmap_example_4_a_cut_fails_and_removes_nothing(void **state)
{
    struct raw *raw = *state;

    prepare_unmap(raw);
    assert_int_equal(map_bytes(raw, 0, 9), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_unmap(raw, 1, 0, 4), VIOMMU_MODEL_S_RANGE);
    raw_expect_violation(raw, "cuts");
    assert_int_equal(viommu_model_mapping_count(raw->model, 1), 1);
    for (uint64_t i = 0; i < 10; i++) {
        assert_int_equal(raw_verdict(raw, RAW_ENDPOINT, i, false), VIOMMU_MODEL_MAPPED);
    }
}

static void test_model_unmap_example_5_the_first_of_two(void **state)
{
    struct raw *raw = *state;

    prepare_unmap(raw);
    assert_int_equal(map_bytes(raw, 0, 4), VIOMMU_MODEL_S_OK);
    assert_int_equal(map_bytes(raw, 5, 9), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_unmap(raw, 1, 0, 4), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_verdict(raw, RAW_ENDPOINT, 4, false), VIOMMU_MODEL_BLOCKED);
    assert_int_equal(raw_verdict(raw, RAW_ENDPOINT, 5, false), VIOMMU_MODEL_MAPPED);
}

static void test_model_unmap_example_6_more_than_is_mapped(void **state)
{
    struct raw *raw = *state;

    prepare_unmap(raw);
    assert_int_equal(map_bytes(raw, 0, 4), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_unmap(raw, 1, 0, 9), VIOMMU_MODEL_S_OK);
    assert_int_equal(viommu_model_mapping_count(raw->model, 1), 0);
}

static void test_model_unmap_example_7_two_mappings_with_a_hole(void **state)
{
    struct raw *raw = *state;

    prepare_unmap(raw);
    assert_int_equal(map_bytes(raw, 0, 4), VIOMMU_MODEL_S_OK);
    assert_int_equal(map_bytes(raw, 10, 14), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_unmap(raw, 1, 0, 14), VIOMMU_MODEL_S_OK);
    assert_int_equal(viommu_model_mapping_count(raw->model, 1), 0);
}

static void test_model_refuses_unmap_by_the_specification(void **state)
{
    struct raw *raw = *state;
    uint8_t request[28];

    raw_start(raw);
    assert_int_equal(raw_attach(raw, 1, RAW_ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_attach(raw, 2, RAW_OTHER, 1), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_unmap(raw, 3, 0, 0xfff), VIOMMU_MODEL_S_NOENT);
    assert_int_equal(raw_unmap(raw, 2, 0, 0xfff), VIOMMU_MODEL_S_INVAL);
    assert_int_equal(raw_unmap(raw, 1, 0x2000, 0xfff), VIOMMU_MODEL_S_INVAL);
    raw_expect_violation(raw, "not a range");
    assert_int_equal(raw_unmap(raw, 1, 0, 0x1ffe), VIOMMU_MODEL_S_OK);
    raw_expect_violation(raw, "unaligned");
    assert_int_equal(raw_map(raw, 1, 0, 0xfff, 0, RAW_READ), VIOMMU_MODEL_S_OK);
    raw_build_unmap(request, 1, 0, 0xfff);
    request[27] = 1;
    assert_int_equal(raw_ask(raw, request, 28, 4).status, VIOMMU_MODEL_S_INVAL);
    raw_expect_violation(raw, "reserved");
    assert_int_equal(viommu_model_mapping_count(raw->model, 1), 0);
}

static void test_model_keeps_all_or_removes_some_when_an_unmap_cuts(void **state)
{
    struct raw *raw = *state;

    prepare_unmap(raw);
    assert_int_equal(map_bytes(raw, 0, 4), VIOMMU_MODEL_S_OK);
    assert_int_equal(map_bytes(raw, 5, 9), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_unmap(raw, 1, 0, 7), VIOMMU_MODEL_S_RANGE);
    assert_int_equal(viommu_model_mapping_count(raw->model, 1), 2);
    raw_expect_violation(raw, "cuts");

    raw->parameters.partial_unmap = true;
    prepare_unmap(raw);
    assert_int_equal(map_bytes(raw, 0, 4), VIOMMU_MODEL_S_OK);
    assert_int_equal(map_bytes(raw, 5, 9), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_unmap(raw, 1, 0, 7), VIOMMU_MODEL_S_RANGE);
    assert_int_equal(viommu_model_mapping_count(raw->model, 1), 1);
    raw_expect_violation(raw, "cuts");
}

/* A table with one entry for each byte, against the model's sorted intervals. */
static void test_model_agrees_with_a_table_of_bytes(void **state)
{
    struct raw *raw = *state;
    uint64_t table[64] = {0}; /* physical address, 0 if unmapped */
    unsigned int owner[64] = {0};
    uint32_t random = 12345;

    prepare_unmap(raw);
    for (unsigned int step = 1; step <= 20000; step++) {
        uint64_t first;
        uint64_t last;
        bool is_map;
        bool bad = false;

        random = random * 1664525 + 1013904223;
        first = random >> 26;
        last = first + 1 + (random >> 20) % 12;
        is_map = (random >> 19) % 2 != 0;
        if (last > 63) {
            continue;
        }
        for (uint64_t i = 0; i < 64; i++) {
            bool inside = i >= first && i <= last;

            if (is_map) {
                bad = bad || (inside && table[i] != 0);
            } else if (inside && table[i] != 0) {
                bad = bad || (i == first && first > 0 && owner[first - 1] == owner[first]) ||
                      (i == last && last < 63 && owner[last + 1] == owner[last]);
            }
        }
        if (is_map) {
            assert_int_equal(map_bytes(raw, first, last),
                             bad ? VIOMMU_MODEL_S_INVAL : VIOMMU_MODEL_S_OK);
        } else {
            assert_int_equal(raw_unmap(raw, 1, first, last),
                             bad ? VIOMMU_MODEL_S_RANGE : VIOMMU_MODEL_S_OK);
        }
        for (uint64_t i = first; !bad && i <= last; i++) {
            table[i] = is_map ? RAW_MEMORY_BASE + i : 0;
            owner[i] = is_map ? step : 0;
        }
        for (uint64_t i = 0; i < 64; i++) {
            uint64_t physical = 0;

            (void)viommu_model_translate(raw->model, RAW_ENDPOINT, i, false, &physical);
            assert_true(physical == table[i]);
        }
    }
    viommu_model_forget_violations(raw->model);
}

/* ---- probing, framing ---------------------------------------------------------------------- */

static void test_model_probes_regions(void **state)
{
    struct raw *raw = *state;
    struct raw_answer answer;
    const uint8_t *bytes = raw_at(raw, raw_slot_address(0) + 128);

    raw_start(raw);
    answer = raw_probe(raw, RAW_THIRD);
    assert_int_equal(answer.length, 516);
    assert_int_equal(answer.status, VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_get(bytes, 2), 1);
    assert_int_equal(raw_get(bytes + 2, 2), 20);
    assert_int_equal(bytes[4], 1);
    assert_true(raw_get(bytes + 8, 8) == RAW_MSI_START);
    assert_true(raw_get(bytes + 16, 8) == RAW_MSI_END);
    assert_int_equal(bytes[28], 0);
    assert_true(raw_get(bytes + 32, 8) == RAW_RESERVED_START);
    assert_true(raw_get(bytes + 40, 8) == RAW_RESERVED_END);
    for (unsigned int i = 48; i < 512; i++) {
        assert_int_equal(bytes[i], 0);
    }
    answer = raw_probe(raw, RAW_STRANGER);
    assert_int_equal(answer.status, VIOMMU_MODEL_S_NOENT);
    assert_int_equal(answer.length, 516);
}

static void test_model_probes_as_many_regions_as_fit(void **state)
{
    struct raw *raw = *state;
    const uint8_t *bytes = raw_at(raw, raw_slot_address(0) + 128);

    for (uint32_t size = 47; size <= 48; size++) {
        raw->parameters.probe_size = size;
        raw_make_model(raw);
        raw_start(raw);
        assert_int_equal(raw_probe(raw, RAW_THIRD).status, VIOMMU_MODEL_S_OK);
        assert_int_equal(raw_get(bytes, 4), 0x140001);
        assert_int_equal(raw_get(bytes + 24, 4), size == 48 ? 0x140001 : 0);
    }
}

static void test_model_probe_can_lie(void **state)
{
    struct raw *raw = *state;
    uint8_t lie[600];

    raw_start(raw);
    memset(lie, 0x5a, sizeof lie);
    assert_true(viommu_model_set_probe_bytes(raw->model, RAW_ENDPOINT, lie, sizeof lie));
    assert_int_equal(raw_probe(raw, RAW_ENDPOINT).status, VIOMMU_MODEL_S_OK);
    assert_memory_equal(raw_at(raw, raw_slot_address(0) + 128), lie, 512);
    assert_true(viommu_model_set_probe_bytes(raw->model, RAW_ENDPOINT, NULL, 0));
    assert_int_equal(raw_probe(raw, RAW_ENDPOINT).status, VIOMMU_MODEL_S_OK);
    assert_int_equal(*raw_at(raw, raw_slot_address(0) + 128), 0);
    assert_false(viommu_model_set_probe_bytes(raw->model, RAW_STRANGER, lie, 1));
}

static void test_model_records_a_probe_with_reserved_bytes(void **state)
{
    struct raw *raw = *state;
    uint8_t request[72] = {VIOMMU_MODEL_PROBE};

    raw_start(raw);
    raw_put(request + 4, 4, RAW_ENDPOINT);
    request[71] = 1;
    assert_int_equal(raw_ask(raw, request, sizeof request, 516).length, 516);
    raw_expect_violation(raw, "reserved");
}

static void test_model_answers_a_short_probe_buffer_without_properties(void **state)
{
    struct raw *raw = *state;
    uint8_t request[72] = {VIOMMU_MODEL_PROBE};
    struct raw_answer answer;

    raw_start(raw);
    raw_put(request + 4, 4, RAW_THIRD);
    answer = raw_ask(raw, request, sizeof request, 104);
    assert_int_equal(answer.status, VIOMMU_MODEL_S_INVAL);
    assert_int_equal(*raw_at(raw, raw_slot_address(0) + 128), 0);
    raw_expect_violation(raw, "writable");
}

static void test_model_answers_an_unknown_type_with_used_length_0(void **state)
{
    struct raw *raw = *state;
    uint8_t request[20] = {9};
    struct raw_answer answer;

    raw_start(raw);
    answer = raw_ask(raw, request, sizeof request, 4);
    assert_int_equal(answer.length, 0);
    assert_int_equal(answer.status, RAW_POISON);
    assert_int_equal(viommu_model_counters(raw->model)->empty_answers, 1);
    assert_int_equal(viommu_model_counters(raw->model)->requests[0], 1);
    raw_expect_violation(raw, "unknown type 9");
}

static void test_model_answers_an_unnegotiated_type_with_used_length_0(void **state)
{
    struct raw *raw = *state;
    uint8_t request[28];

    raw_start_with(raw, ~VIOMMU_MODEL_F_PROBE);
    assert_int_equal(raw_probe(raw, RAW_ENDPOINT).length, 0);
    raw_expect_violation(raw, "PROBE without PROBE");
    raw_start_with(raw, ~VIOMMU_MODEL_F_MAP_UNMAP);
    raw_build_unmap(request, 1, 0, 0xfff);
    assert_int_equal(raw_ask(raw, request, sizeof request, 4).length, 0);
    raw_expect_violation(raw, "without MAP_UNMAP");
}

static void test_model_records_bad_lengths_but_reads_what_it_can(void **state)
{
    struct raw *raw = *state;
    uint8_t request[40];
    struct raw_answer answer;

    raw_start(raw);
    raw_build_attach(request, 1, RAW_ENDPOINT, 0);
    assert_int_equal(raw_ask(raw, request, 16, 4).length, 0);
    raw_expect_violation(raw, "16 bytes");
    answer = raw_ask(raw, request, 20, 3);
    assert_int_equal(answer.length, 0);
    raw_expect_violation(raw, "3 bytes");
    memset(request + 20, 0, 4);
    answer = raw_ask(raw, request, 24, 8);
    assert_int_equal(answer.length, 4);
    assert_int_equal(*raw_at(raw, raw_slot_address(0) + 128), VIOMMU_MODEL_S_OK);
    assert_int_equal(*raw_at(raw, raw_slot_address(0) + 132), RAW_POISON);
    raw_expect_violation(raw, "24 bytes");
    raw_build_attach(request, 2, RAW_ENDPOINT, 0);
    request[3] = 1;
    assert_int_equal(raw_ask(raw, request, 20, 4).status, VIOMMU_MODEL_S_OK);
    raw_expect_violation(raw, "head");
}

static void test_model_understands_split_requests_unless_told_not_to(void **state)
{
    struct raw *raw = *state;
    uint8_t request[20];
    struct raw_answer answer;

    for (unsigned int fixed = 0; fixed < 2; fixed++) {
        raw->parameters.fixed_framing = fixed != 0;
        raw_make_model(raw);
        raw_start(raw);
        raw_build_attach(request, 1, RAW_ENDPOINT, 0);
        memcpy(raw_at(raw, raw_slot_address(0)), request, sizeof request);
        raw_set_descriptor(raw, 0, 0, raw_slot_address(0), 8, 1, 1);
        raw_set_descriptor(raw, 0, 1, raw_slot_address(0) + 8, 12, 1, 2);
        raw_set_descriptor(raw, 0, 2, raw_slot_address(0) + 20, 4, 2, 0);
        raw_publish(raw, 0, 0);
        raw_notify(raw, 0);
        assert_true(raw_next_used(raw, 0, &answer));
        assert_int_equal(answer.length, fixed != 0 ? 0 : 4);
        assert_true(viommu_model_domain_exists(raw->model, 1) == (fixed == 0));
        raw_expect_violation(raw, "2 readable descriptors");
    }
}

/* Publishes a chain that cannot be used: the device stops. */
static void expect_broken_chain(struct raw *raw, unsigned int head, const char *part)
{
    struct raw_answer answer;

    raw_publish(raw, 0, head);
    raw_notify(raw, 0);
    assert_false(raw_next_used(raw, 0, &answer));
    assert_int_equal(raw_common_read(raw, RAW_COMMON_STATUS, 1), 0x4f);
    raw_expect_violation(raw, part);
}

static void test_model_stops_at_a_ring_it_cannot_follow(void **state)
{
    struct raw *raw = *state;

    raw_start(raw);
    expect_broken_chain(raw, RAW_QUEUE_SIZE, "does not exist");
    raw_start(raw);
    raw_set_descriptor(raw, 0, 0, RAW_MEMORY_BASE, 20, 1, 0);
    expect_broken_chain(raw, 0, "in flight already");
    raw_start(raw);
    raw_set_descriptor(raw, 0, 0, RAW_MEMORY_BASE, 4, 3, 1);
    raw_set_descriptor(raw, 0, 1, RAW_MEMORY_BASE, 20, 0, 0);
    expect_broken_chain(raw, 0, "readable descriptor behind");
    raw_start(raw);
    raw_set_descriptor(raw, 0, 0, RAW_MEMORY_BASE, 32, 4, 0);
    expect_broken_chain(raw, 0, "not negotiated");
    raw_start(raw);
    raw_set_descriptor(raw, 0, 0, 0x1000, 20, 0, 0);
    expect_broken_chain(raw, 0, "not in memory");
    raw_start(raw);
    raw_put(raw_at(raw, raw->rings[0].base + 0x402), 2, RAW_QUEUE_SIZE + 1);
    raw_notify(raw, 0);
    raw_expect_violation(raw, "too far");
}

static void test_model_records_requests_that_change_in_flight(void **state)
{
    struct raw *raw = *state;
    uint8_t request[20];

    raw_start(raw);
    viommu_model_set_processing(raw->model, VIOMMU_MODEL_AT_RUN);
    raw_build_attach(request, 1, RAW_ENDPOINT, 0);
    raw_post(raw, 0, request, sizeof request, 4);
    raw_notify(raw, 0);
    raw_at(raw, raw_slot_address(0))[4] = 2;
    assert_int_equal(viommu_model_run(raw->model, 1), 1);
    assert_true(viommu_model_domain_exists(raw->model, 1));
    raw_expect_violation(raw, "changed in flight");
}

/* ---- bypass -------------------------------------------------------------------------------- */

static void test_model_bypass_survives_a_device_reset_but_not_a_system_reset(void **state)
{
    struct raw *raw = *state;

    raw->parameters.initial_bypass = 1;
    raw_make_model(raw);
    assert_int_equal(raw_verdict(raw, RAW_ENDPOINT, 0x1234, true), VIOMMU_MODEL_IDENTITY);
    raw_start(raw);
    assert_int_equal(raw_verdict(raw, RAW_ENDPOINT, 0x1234, true), VIOMMU_MODEL_IDENTITY);
    raw_write_bypass(raw, 0);
    assert_int_equal(viommu_model_bypass(raw->model), 0);
    assert_int_equal(raw_verdict(raw, RAW_ENDPOINT, 0x1234, true), VIOMMU_MODEL_BLOCKED);
    raw_common_write(raw, RAW_COMMON_STATUS, 1, 0);
    assert_int_equal(viommu_model_status(raw->model), 0);
    assert_int_equal(raw_verdict(raw, RAW_ENDPOINT, 0x1234, true), VIOMMU_MODEL_BLOCKED);
    viommu_model_system_reset(raw->model);
    assert_int_equal(raw_verdict(raw, RAW_ENDPOINT, 0x1234, true), VIOMMU_MODEL_IDENTITY);
    assert_int_equal(viommu_model_config_read(raw->model, 4, 2), 0);
}

static void test_model_bypasses_even_if_the_driver_refuses_the_feature(void **state)
{
    struct raw *raw = *state;

    raw->parameters.initial_bypass = 1;
    raw_make_model(raw);
    raw_start_with(raw, ~VIOMMU_MODEL_F_BYPASS_CONFIG);
    assert_int_equal(raw_verdict(raw, RAW_ENDPOINT, 0, false), VIOMMU_MODEL_IDENTITY);
    raw_write_bypass(raw, 0);
    raw_expect_violation(raw, "bypass");
    assert_int_equal(raw_verdict(raw, RAW_ENDPOINT, 0, false), VIOMMU_MODEL_IDENTITY);
    assert_int_equal(raw_attach(raw, 1, RAW_ENDPOINT, 1), VIOMMU_MODEL_S_INVAL);
    raw_expect_violation(raw, "unknown flags");
}

static void test_model_old_bypass_holds_once_negotiated(void **state)
{
    struct raw *raw = *state;

    raw->parameters.offered_features &= ~VIOMMU_MODEL_F_BYPASS_CONFIG;
    raw->parameters.offered_features |= VIOMMU_MODEL_F_BYPASS;
    raw_make_model(raw);
    assert_int_equal(raw_verdict(raw, RAW_ENDPOINT, 0, false), VIOMMU_MODEL_BLOCKED);
    raw_start(raw);
    assert_int_equal(raw_verdict(raw, RAW_ENDPOINT, 0, false), VIOMMU_MODEL_IDENTITY);
    raw_start_with(raw, ~VIOMMU_MODEL_F_BYPASS);
    assert_int_equal(raw_verdict(raw, RAW_ENDPOINT, 0, false), VIOMMU_MODEL_BLOCKED);
}

static void test_model_bypass_domain_is_identity(void **state)
{
    struct raw *raw = *state;
    uint64_t physical = 0;

    raw_start(raw);
    assert_int_equal(raw_attach(raw, 1, RAW_ENDPOINT, 1), VIOMMU_MODEL_S_OK);
    assert_int_equal(viommu_model_translate(raw->model, RAW_ENDPOINT, 0x7777, true, &physical),
                     VIOMMU_MODEL_IDENTITY);
    assert_int_equal(physical, 0x7777);
    assert_int_equal(raw_verdict(raw, RAW_OTHER, 0x7777, true), VIOMMU_MODEL_BLOCKED);
}

static void test_model_takes_only_0_and_1_for_bypass(void **state)
{
    struct raw *raw = *state;

    raw_start(raw);
    raw_write_bypass(raw, 3);
    raw_expect_violation(raw, "bypass");
    assert_int_equal(viommu_model_bypass(raw->model), 1);
}

/* ---- DMA and events ------------------------------------------------------------------------ */

static void test_model_dma_goes_byte_by_byte_over_mappings(void **state)
{
    struct raw *raw = *state;
    uint8_t buffer[16] = {0};

    prepare_unmap(raw);
    raw_post_event_buffers(raw, 2);
    for (uint8_t i = 0; i < 32; i++) {
        raw->memory[RAW_DATA + i] = i;
    }
    assert_int_equal(raw_map(raw, 1, 0x100, 0x104, RAW_MEMORY_BASE + RAW_DATA + 10, RAW_READ),
                     VIOMMU_MODEL_S_OK);
    assert_int_equal(
        raw_map(raw, 1, 0x105, 0x109, RAW_MEMORY_BASE + RAW_DATA, RAW_READ | RAW_WRITE),
        VIOMMU_MODEL_S_OK);
    assert_int_equal(viommu_model_dma(raw->model, RAW_ENDPOINT, 0x103, buffer, 7, false), 7);
    assert_memory_equal(buffer, ((uint8_t[]){13, 14, 0, 1, 2, 3, 4}), 7);
    assert_int_equal(viommu_model_dma(raw->model, RAW_ENDPOINT, 0x108, buffer, 8, false), 2);
    raw_expect_event(raw, 2, 0x101, RAW_ENDPOINT, 0x10a);
    memset(buffer, 0x77, sizeof buffer);
    assert_int_equal(viommu_model_dma(raw->model, RAW_ENDPOINT, 0x104, buffer, 8, true), 0);
    raw_expect_event(raw, 2, 0x102, RAW_ENDPOINT, 0x104);
    assert_int_equal(raw->memory[RAW_DATA + 14], 14);
    assert_int_equal(viommu_model_dma(raw->model, RAW_ENDPOINT, 0x105, buffer, 5, true), 5);
    assert_int_equal(raw->memory[RAW_DATA + 4], 0x77);
    assert_int_equal(raw->memory[RAW_DATA + 5], 5);
    assert_int_equal(viommu_model_counters(raw->model)->dma_faults, 2);
    assert_int_equal(viommu_model_counters(raw->model)->events_sent, 2);
}

static void test_model_dma_stops_where_there_is_no_memory_without_a_report(void **state)
{
    struct raw *raw = *state;
    uint8_t buffer[16] = {0};

    raw_start(raw);
    assert_int_equal(raw_attach(raw, 1, RAW_ENDPOINT, 1), VIOMMU_MODEL_S_OK);
    assert_int_equal(viommu_model_dma(raw->model, RAW_ENDPOINT,
                                      RAW_MEMORY_BASE + RAW_MEMORY_SIZE - 4, buffer, 16, true),
                     4);
    assert_int_equal(viommu_model_dma(raw->model, RAW_ENDPOINT, UINT64_MAX - 3, buffer, 16, true),
                     0);
    assert_int_equal(viommu_model_counters(raw->model)->dma_faults, 0);
}

static void test_model_write_only_mappings_can_be_read_only_if_read_is_implied(void **state)
{
    struct raw *raw = *state;

    for (unsigned int implied = 0; implied < 2; implied++) {
        raw->parameters.read_is_implied = implied != 0;
        raw_make_model(raw);
        raw_start(raw);
        assert_int_equal(raw_attach(raw, 1, RAW_ENDPOINT, 0), VIOMMU_MODEL_S_OK);
        assert_int_equal(raw_map(raw, 1, 0, 0xfff, 0, RAW_WRITE), VIOMMU_MODEL_S_OK);
        assert_int_equal(raw_verdict(raw, RAW_ENDPOINT, 0, true), VIOMMU_MODEL_MAPPED);
        assert_int_equal(raw_verdict(raw, RAW_ENDPOINT, 0, false),
                         implied != 0 ? VIOMMU_MODEL_MAPPED : VIOMMU_MODEL_BLOCKED);
    }
}

static void test_model_lets_writes_to_the_msi_window_through(void **state)
{
    struct raw *raw = *state;
    uint8_t buffer[4] = {0};

    raw_start(raw);
    assert_int_equal(raw_attach(raw, 1, RAW_THIRD, 0), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_verdict(raw, RAW_THIRD, RAW_MSI_START, true), VIOMMU_MODEL_DOORBELL);
    assert_int_equal(raw_verdict(raw, RAW_THIRD, RAW_MSI_END, false), VIOMMU_MODEL_BLOCKED);
    assert_int_equal(raw_verdict(raw, RAW_ENDPOINT, RAW_MSI_START, true), VIOMMU_MODEL_BLOCKED);
    assert_int_equal(viommu_model_dma(raw->model, RAW_THIRD, RAW_MSI_END - 3, buffer, 4, true), 4);
    assert_int_equal(raw_verdict(raw, RAW_THIRD, RAW_RESERVED_START, true), VIOMMU_MODEL_BLOCKED);
}

/* The window lies in memory, which only what is not meant for the window may reach. */
static void test_model_dma_goes_on_behind_an_msi_window(void **state)
{
    struct raw *raw = *state;
    struct viommu_model_region window = {RAW_MEMORY_BASE + RAW_DATA + 0x10,
                                         RAW_MEMORY_BASE + RAW_DATA + 0x1f, 1};
    uint8_t buffer[0x30];

    assert_true(viommu_model_add_endpoint(raw->model, RAW_STRANGER, &window, 1));
    raw_start(raw);
    assert_int_equal(raw_attach(raw, 1, RAW_STRANGER, 1), VIOMMU_MODEL_S_OK);
    memset(buffer, 0x77, sizeof buffer);
    assert_int_equal(viommu_model_dma(raw->model, RAW_STRANGER, RAW_MEMORY_BASE + RAW_DATA, buffer,
                                      sizeof buffer, true),
                     sizeof buffer);
    for (unsigned int i = 0; i < sizeof buffer; i++) {
        assert_int_equal(raw->memory[RAW_DATA + i], i < 0x10 || i >= 0x20 ? 0x77 : 0);
    }
    assert_int_equal(raw_verdict(raw, RAW_STRANGER, window.start, true), VIOMMU_MODEL_DOORBELL);
    assert_int_equal(raw_verdict(raw, RAW_STRANGER, window.end, true), VIOMMU_MODEL_DOORBELL);
    assert_int_equal(viommu_model_dma(raw->model, RAW_STRANGER, RAW_MEMORY_BASE + RAW_DATA, buffer,
                                      sizeof buffer, false),
                     0x10);
}

static void test_model_tells_why_a_dma_failed(void **state)
{
    struct raw *raw = *state;
    uint8_t byte = 0;

    raw_start(raw);
    raw_post_event_buffers(raw, 4);
    assert_int_equal(viommu_model_dma(raw->model, RAW_STRANGER, 0x5000, &byte, 1, false), 0);
    raw_expect_event(raw, 0, 0x101, RAW_STRANGER, 0x5000);
    assert_int_equal(viommu_model_dma(raw->model, RAW_ENDPOINT, 0x5000, &byte, 1, true), 0);
    raw_expect_event(raw, 1, 0x102, RAW_ENDPOINT, 0x5000);
    assert_int_equal(raw_attach(raw, 1, RAW_ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    assert_int_equal(viommu_model_dma(raw->model, RAW_ENDPOINT, UINT64_MAX, &byte, 1, true), 0);
    raw_expect_event(raw, 2, 0x102, RAW_ENDPOINT, UINT64_MAX);
}

static void test_model_drops_or_holds_reports_without_a_buffer(void **state)
{
    struct raw *raw = *state;
    uint8_t byte = 0;
    struct raw_answer answer;

    raw_start(raw);
    assert_int_equal(viommu_model_dma(raw->model, RAW_ENDPOINT, 1, &byte, 1, true), 0);
    assert_int_equal(viommu_model_counters(raw->model)->events_dropped, 1);
    raw_post_event_buffers(raw, 1);
    assert_int_equal(viommu_model_event_buffers(raw->model), 1);
    assert_false(raw_next_used(raw, 1, &answer));

    raw->parameters.hold_events = true;
    raw_make_model(raw);
    raw_start(raw);
    assert_int_equal(viommu_model_dma(raw->model, RAW_ENDPOINT, 1, &byte, 1, true), 0);
    assert_int_equal(viommu_model_dma(raw->model, RAW_ENDPOINT, 2, &byte, 1, true), 0);
    assert_int_equal(viommu_model_counters(raw->model)->events_dropped, 0);
    raw_post_event_buffers(raw, 3);
    raw_expect_event(raw, 1, 0x102, RAW_ENDPOINT, 1);
    raw_expect_event(raw, 1, 0x102, RAW_ENDPOINT, 2);
    assert_int_equal(viommu_model_event_buffers(raw->model), 1);
}

static void test_model_does_not_see_event_buffers_before_their_doorbell(void **state)
{
    struct raw *raw = *state;
    uint8_t byte = 0;

    raw_start(raw);
    raw_post_event_buffer(raw, 0, 24);
    assert_int_equal(viommu_model_unannounced(raw->model, 1), 1);
    assert_int_equal(viommu_model_dma(raw->model, RAW_ENDPOINT, 1, &byte, 1, true), 0);
    assert_int_equal(viommu_model_counters(raw->model)->events_dropped, 1);
    raw_notify(raw, 1);
    assert_int_equal(viommu_model_unannounced(raw->model, 1), 0);
    assert_int_equal(viommu_model_dma(raw->model, RAW_ENDPOINT, 1, &byte, 1, true), 0);
    raw_expect_event(raw, 1, 0x102, RAW_ENDPOINT, 1);
}

static void test_model_reports_in_pieces_when_told_to(void **state)
{
    struct raw *raw = *state;
    uint8_t buffer[64] = {0};

    raw->parameters.event_piece = 4;
    raw_make_model(raw);
    raw_start(raw);
    raw_post_event_buffers(raw, 10);
    assert_int_equal(viommu_model_dma(raw->model, RAW_ENDPOINT, 0x1000, buffer, 64, true), 0);
    for (unsigned int i = 0; i < 10; i++) {
        raw_expect_event(raw, 1, 0x102, RAW_ENDPOINT, 0x1000 + 4 * i);
    }
    assert_int_equal(viommu_model_counters(raw->model)->events_dropped, 6);
    assert_int_equal(viommu_model_counters(raw->model)->dma_faults, 1);
}

static void test_model_without_events_never_reports(void **state)
{
    struct raw *raw = *state;
    uint8_t byte = 0;

    raw->parameters.no_events = true;
    raw_make_model(raw);
    raw_start(raw);
    raw_post_event_buffers(raw, 1);
    assert_int_equal(viommu_model_dma(raw->model, RAW_ENDPOINT, 1, &byte, 1, true), 0);
    assert_int_equal(viommu_model_event_buffers(raw->model), 1);
}

static void test_model_records_bad_event_buffers(void **state)
{
    struct raw *raw = *state;

    raw_start(raw);
    raw_post_event_buffer(raw, 0, 23);
    raw_notify(raw, 1);
    raw_expect_violation(raw, "event buffer of 23 bytes");
    raw_set_descriptor(raw, 1, 1, RAW_MEMORY_BASE + RAW_EVENTS, 12, 3, 2);
    raw_set_descriptor(raw, 1, 2, RAW_MEMORY_BASE + RAW_EVENTS + 12, 12, 2, 0);
    raw_publish(raw, 1, 1);
    raw_notify(raw, 1);
    raw_expect_violation(raw, "2 writable");
}

static void test_model_uses_its_event_buffers_again(void **state)
{
    struct raw *raw = *state;
    uint8_t byte = 0;

    raw_start(raw);
    raw_post_event_buffers(raw, 2);
    for (unsigned int i = 0; i < 3 * RAW_QUEUE_SIZE; i++) {
        assert_int_equal(viommu_model_dma(raw->model, RAW_ENDPOINT, i, &byte, 1, true), 0);
        raw_expect_event(raw, 1, 0x102, RAW_ENDPOINT, i);
        raw_post_event_buffer(raw, i % 2, 24);
        raw_notify(raw, 1);
    }
}

static void test_model_injects_events_of_any_content(void **state)
{
    struct raw *raw = *state;
    uint8_t nonsense[24];
    struct raw_answer answer;

    raw_start(raw);
    raw_post_event_buffers(raw, 3);
    memset(nonsense, 0xff, sizeof nonsense);
    assert_true(viommu_model_inject_event(raw->model, nonsense, 24, 99));
    assert_true(raw_next_used(raw, 1, &answer));
    assert_int_equal(answer.length, 99);
    assert_memory_equal(raw->memory + RAW_EVENTS, nonsense, 24);
    assert_int_equal(viommu_model_flood(raw->model, RAW_STRANGER, 0x1000, 100), 2);
    raw_expect_event(raw, 2, 0x101, RAW_STRANGER, 0x1000);
    raw_expect_event(raw, 2, 0x101, RAW_STRANGER, 0x1000);
    viommu_model_inject_used_event(raw->model, 12345, 6);
    assert_true(raw_next_used(raw, 1, &answer));
    assert_int_equal(answer.id, 12345);
    assert_int_equal(answer.length, 6);
}

/* ---- time ---------------------------------------------------------------------------------- */

static void post_maps(struct raw *raw, unsigned int count)
{
    uint8_t request[36];

    for (unsigned int i = 0; i < count; i++) {
        raw_build_map(request, 1, 0x1000 * (uint64_t)i, 0x1000 * (uint64_t)i + 0xfff,
                      RAW_MEMORY_BASE, RAW_READ);
        raw_post(raw, i, request, sizeof request, 4);
    }
    raw_notify(raw, 0);
}

static void test_model_completes_only_when_run(void **state)
{
    struct raw *raw = *state;
    struct raw_answer answer;

    raw_start(raw);
    assert_int_equal(raw_attach(raw, 1, RAW_ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    viommu_model_set_processing(raw->model, VIOMMU_MODEL_AT_RUN);
    post_maps(raw, 3);
    assert_false(raw_next_used(raw, 0, &answer));
    assert_int_equal(viommu_model_pending(raw->model), 3);
    assert_int_equal(raw_verdict(raw, RAW_ENDPOINT, 0, false), VIOMMU_MODEL_BLOCKED);
    assert_int_equal(viommu_model_run(raw->model, 2), 2);
    assert_int_equal(raw_verdict(raw, RAW_ENDPOINT, 0x1000, false), VIOMMU_MODEL_MAPPED);
    assert_int_equal(raw_verdict(raw, RAW_ENDPOINT, 0x2000, false), VIOMMU_MODEL_BLOCKED);
    assert_int_equal(viommu_model_run(raw->model, SIZE_MAX), 1);
    assert_int_equal(viommu_model_pending(raw->model), 0);
    for (unsigned int i = 0; i < 3; i++) {
        assert_true(raw_next_used(raw, 0, &answer));
        assert_int_equal(answer.id, 2 * i);
    }
}

static void test_model_does_not_see_requests_before_their_doorbell(void **state)
{
    struct raw *raw = *state;
    uint8_t request[20];

    raw_start(raw);
    raw_build_attach(request, 1, RAW_ENDPOINT, 0);
    raw_post(raw, 0, request, sizeof request, 4);
    assert_int_equal(viommu_model_unannounced(raw->model, 0), 1);
    assert_int_equal(viommu_model_run(raw->model, SIZE_MAX), 0);
    raw_notify(raw, 0);
    assert_int_equal(viommu_model_unannounced(raw->model, 0), 0);
    assert_true(viommu_model_domain_exists(raw->model, 1));
}

static void test_model_may_never_answer(void **state)
{
    struct raw *raw = *state;
    uint8_t request[20];
    struct raw_answer answer;

    raw_start(raw);
    viommu_model_set_processing(raw->model, VIOMMU_MODEL_NEVER);
    raw_build_attach(request, 1, RAW_ENDPOINT, 0);
    raw_post(raw, 0, request, sizeof request, 4);
    raw_notify(raw, 0);
    assert_int_equal(viommu_model_run(raw->model, SIZE_MAX), 0);
    assert_int_equal(viommu_model_pending(raw->model), 1);
    assert_false(raw_next_used(raw, 0, &answer));
    viommu_model_set_processing(raw->model, VIOMMU_MODEL_AT_RUN);
    assert_int_equal(viommu_model_run(raw->model, SIZE_MAX), 1);
}

static void test_model_completes_out_of_order(void **state)
{
    struct raw *raw = *state;
    struct raw_answer answer;
    bool seen[8] = {false};
    bool sorted = true;

    raw_start(raw);
    assert_int_equal(raw_attach(raw, 1, RAW_ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    viommu_model_set_order(raw->model, VIOMMU_MODEL_REVERSED, 0);
    post_maps(raw, 3);
    for (unsigned int i = 0; i < 3; i++) {
        assert_true(raw_next_used(raw, 0, &answer));
        assert_int_equal(answer.id, 4 - 2 * i);
    }
    assert_int_equal(raw_unmap(raw, 1, 0, UINT64_MAX), VIOMMU_MODEL_S_OK);
    viommu_model_set_order(raw->model, VIOMMU_MODEL_SHUFFLED, 7);
    post_maps(raw, 8);
    for (unsigned int i = 0; i < 8; i++) {
        assert_true(raw_next_used(raw, 0, &answer));
        assert_true(answer.id / 2 < 8);
        assert_false(seen[answer.id / 2]);
        seen[answer.id / 2] = true;
        sorted = sorted && answer.id == 2 * i;
    }
    assert_false(sorted);
}

static void prepare_retention(struct raw *raw, bool retain)
{
    uint8_t byte = 0;

    raw_start(raw);
    viommu_model_set_effect(raw->model, VIOMMU_MODEL_EFFECT_AT_DOORBELL);
    viommu_model_set_retain(raw->model, retain);
    assert_int_equal(raw_attach(raw, 1, RAW_ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_attach(raw, 1, RAW_OTHER, 0), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_map(raw, 1, 0, 0xfff, RAW_MEMORY_BASE, RAW_READ), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_map(raw, 1, 0x1000, 0x1fff, RAW_MEMORY_BASE, RAW_READ), VIOMMU_MODEL_S_OK);
    assert_int_equal(viommu_model_dma(raw->model, RAW_ENDPOINT, 8, &byte, 1, false), 1);
    viommu_model_set_processing(raw->model, VIOMMU_MODEL_AT_RUN);
}

static void test_model_may_unmap_at_the_doorbell(void **state)
{
    struct raw *raw = *state;
    uint8_t request[28];

    prepare_retention(raw, false);
    raw_build_unmap(request, 1, 0, 0x1fff);
    raw_post(raw, 0, request, sizeof request, 4);
    raw_notify(raw, 0);
    assert_int_equal(raw_verdict(raw, RAW_ENDPOINT, 0, false), VIOMMU_MODEL_BLOCKED);
    assert_int_equal(viommu_model_run(raw->model, 1), 1);
}

static void test_model_retains_used_translations_until_unmap_completes(void **state)
{
    struct raw *raw = *state;
    uint8_t request[28];

    prepare_retention(raw, true);
    raw_build_unmap(request, 1, 0, 0x1fff);
    raw_post(raw, 0, request, sizeof request, 4);
    raw_notify(raw, 0);
    assert_int_equal(raw_verdict(raw, RAW_ENDPOINT, 0, false), VIOMMU_MODEL_MAPPED);
    assert_int_equal(raw_verdict(raw, RAW_ENDPOINT, 0, true), VIOMMU_MODEL_BLOCKED);
    assert_int_equal(raw_verdict(raw, RAW_ENDPOINT, 0x1000, false), VIOMMU_MODEL_BLOCKED);
    assert_int_equal(raw_verdict(raw, RAW_OTHER, 0, false), VIOMMU_MODEL_BLOCKED);
    assert_int_equal(viommu_model_run(raw->model, 1), 1);
    assert_int_equal(raw_verdict(raw, RAW_ENDPOINT, 0, false), VIOMMU_MODEL_BLOCKED);
}

static void test_model_retains_all_of_a_used_mapping_and_no_more(void **state)
{
    struct raw *raw = *state;
    uint8_t request[28];
    uint8_t buffer[0x20];
    uint64_t physical = 0;

    prepare_retention(raw, true);
    raw_build_unmap(request, 1, 0, 0x1fff);
    raw_post(raw, 0, request, sizeof request, 4);
    raw_notify(raw, 0);
    assert_int_equal(viommu_model_translate(raw->model, RAW_ENDPOINT, 0xfff, false, &physical),
                     VIOMMU_MODEL_MAPPED);
    assert_int_equal(physical, RAW_MEMORY_BASE + 0xfff);
    assert_int_equal(raw_verdict(raw, RAW_ENDPOINT, 0x1000, false), VIOMMU_MODEL_BLOCKED);
    assert_int_equal(viommu_model_dma(raw->model, RAW_ENDPOINT, 0xff0, buffer, 0x20, false), 0x10);
    assert_int_equal(viommu_model_run(raw->model, 1), 1);
}

static void test_model_retains_used_translations_until_detach_completes(void **state)
{
    struct raw *raw = *state;
    uint8_t request[20];

    prepare_retention(raw, true);
    raw_build_detach(request, 1, RAW_ENDPOINT);
    raw_post(raw, 0, request, sizeof request, 4);
    raw_notify(raw, 0);
    assert_int_equal(raw_verdict(raw, RAW_ENDPOINT, 0, false), VIOMMU_MODEL_MAPPED);
    assert_int_equal(viommu_model_run(raw->model, 1), 1);
    assert_int_equal(raw_verdict(raw, RAW_ENDPOINT, 0, false), VIOMMU_MODEL_BLOCKED);
}

static void test_model_retains_bypass_until_attach_completes(void **state)
{
    struct raw *raw = *state;
    uint8_t request[20];
    uint64_t physical = 0;
    uint8_t byte = 0;

    raw->parameters.initial_bypass = 1;
    raw_make_model(raw);
    raw_start(raw);
    viommu_model_set_effect(raw->model, VIOMMU_MODEL_EFFECT_AT_DOORBELL);
    viommu_model_set_retain(raw->model, true);
    viommu_model_set_processing(raw->model, VIOMMU_MODEL_AT_RUN);
    assert_int_equal(viommu_model_dma(raw->model, RAW_ENDPOINT, RAW_MEMORY_BASE, &byte, 1, true),
                     1);
    raw_build_attach(request, 1, RAW_ENDPOINT, 0);
    raw_post(raw, 0, request, sizeof request, 4);
    raw_notify(raw, 0);
    assert_int_equal(
        viommu_model_translate(raw->model, RAW_ENDPOINT, RAW_MEMORY_BASE + 5, true, &physical),
        VIOMMU_MODEL_IDENTITY);
    assert_int_equal(physical, RAW_MEMORY_BASE + 5);
    assert_int_equal(raw_verdict(raw, RAW_ENDPOINT, RAW_MEMORY_BASE + 0x1000, true),
                     VIOMMU_MODEL_BLOCKED);
    assert_int_equal(viommu_model_run(raw->model, 1), 1);
    assert_int_equal(raw_verdict(raw, RAW_ENDPOINT, RAW_MEMORY_BASE + 5, true),
                     VIOMMU_MODEL_BLOCKED);
}

static void test_model_retains_bypass_page_by_page(void **state)
{
    struct raw *raw = *state;
    uint64_t base = RAW_MEMORY_BASE;
    uint8_t request[20];
    uint8_t buffer[0x1002];

    raw->parameters.initial_bypass = 1;
    raw_make_model(raw);
    raw_start(raw);
    viommu_model_set_effect(raw->model, VIOMMU_MODEL_EFFECT_AT_DOORBELL);
    viommu_model_set_retain(raw->model, true);
    viommu_model_set_processing(raw->model, VIOMMU_MODEL_AT_RUN);
    /* The last byte of one page, all of the next, the first byte of the third. */
    assert_int_equal(
        viommu_model_dma(raw->model, RAW_ENDPOINT, base + 0x10fff, buffer, sizeof buffer, false),
        sizeof buffer);
    raw_build_attach(request, 1, RAW_ENDPOINT, 0);
    raw_post(raw, 0, request, sizeof request, 4);
    raw_notify(raw, 0);
    assert_int_equal(raw_verdict(raw, RAW_ENDPOINT, base + 0xffff, true), VIOMMU_MODEL_BLOCKED);
    assert_int_equal(raw_verdict(raw, RAW_ENDPOINT, base + 0x10000, true), VIOMMU_MODEL_IDENTITY);
    assert_int_equal(raw_verdict(raw, RAW_ENDPOINT, base + 0x11800, true), VIOMMU_MODEL_IDENTITY);
    assert_int_equal(raw_verdict(raw, RAW_ENDPOINT, base + 0x12fff, true), VIOMMU_MODEL_IDENTITY);
    assert_int_equal(raw_verdict(raw, RAW_ENDPOINT, base + 0x13000, true), VIOMMU_MODEL_BLOCKED);
    assert_int_equal(viommu_model_run(raw->model, 1), 1);
    assert_int_equal(raw_verdict(raw, RAW_ENDPOINT, base + 0x11800, true), VIOMMU_MODEL_BLOCKED);
}

static void test_model_retains_nothing_over_a_write_to_bypass(void **state)
{
    struct raw *raw = *state;
    uint8_t byte = 0;

    raw->parameters.initial_bypass = 1;
    raw_make_model(raw);
    raw_start(raw);
    viommu_model_set_effect(raw->model, VIOMMU_MODEL_EFFECT_AT_DOORBELL);
    viommu_model_set_retain(raw->model, true);
    assert_int_equal(viommu_model_dma(raw->model, RAW_ENDPOINT, RAW_MEMORY_BASE, &byte, 1, true),
                     1);
    raw_write_bypass(raw, 0);
    assert_int_equal(raw_verdict(raw, RAW_ENDPOINT, RAW_MEMORY_BASE, true), VIOMMU_MODEL_BLOCKED);
}

static void test_model_retains_nothing_over_a_reset(void **state)
{
    struct raw *raw = *state;

    prepare_retention(raw, true);
    assert_int_equal(raw_verdict(raw, RAW_ENDPOINT, 0, false), VIOMMU_MODEL_MAPPED);
    raw_common_write(raw, RAW_COMMON_STATUS, 1, 0);
    assert_int_equal(raw_verdict(raw, RAW_ENDPOINT, 0, false), VIOMMU_MODEL_BLOCKED);
    assert_false(viommu_model_interrupt_pending(raw->model));
}

static void test_model_forgets_everything_but_bypass_on_reset(void **state)
{
    struct raw *raw = *state;
    uint8_t request[20];
    struct raw_answer answer;

    raw_start(raw);
    assert_int_equal(raw_attach(raw, 1, RAW_ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    viommu_model_set_processing(raw->model, VIOMMU_MODEL_AT_RUN);
    raw_build_attach(request, 2, RAW_OTHER, 0);
    raw_post(raw, 0, request, sizeof request, 4);
    raw_notify(raw, 0);
    raw_common_write(raw, RAW_COMMON_STATUS, 1, 0);
    assert_int_equal(viommu_model_pending(raw->model), 0);
    assert_int_equal(viommu_model_domain_count(raw->model), 0);
    assert_int_equal(viommu_model_run(raw->model, SIZE_MAX), 0);
    assert_false(raw_next_used(raw, 0, &answer));
    viommu_model_set_processing(raw->model, VIOMMU_MODEL_AT_DOORBELL);
    raw_start(raw);
    assert_int_equal(raw_attach(raw, 1, RAW_ENDPOINT, 0), VIOMMU_MODEL_S_OK);
}

static void test_model_reset_may_take_time_and_must_be_waited_for(void **state)
{
    struct raw *raw = *state;

    raw->parameters.reset_reads = 2;
    raw_make_model(raw);
    raw_enable_device(raw);
    raw_common_write(raw, RAW_COMMON_STATUS, 1, 0);
    for (unsigned int i = 0; i < 3; i++) {
        (void)raw_common_read(raw, RAW_COMMON_STATUS, 1);
    }
    raw_common_write(raw, RAW_COMMON_STATUS, 1, 1);
    raw_common_write(raw, RAW_COMMON_STATUS, 1, 0);
    assert_int_equal(raw_common_read(raw, RAW_COMMON_STATUS, 1), 1);
    raw_common_write(raw, RAW_COMMON_STATUS, 1, 3);
    raw_expect_violation(raw, "reset");
    assert_int_equal(raw_common_read(raw, RAW_COMMON_STATUS, 1), 1);
    assert_int_equal(raw_common_read(raw, RAW_COMMON_STATUS, 1), 0);
}

static void test_model_interrupt_is_cleared_by_reading_isr(void **state)
{
    struct raw *raw = *state;

    raw_start(raw);
    assert_false(viommu_model_interrupt_pending(raw->model));
    assert_int_equal(raw_attach(raw, 1, RAW_ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    assert_true(viommu_model_interrupt_pending(raw->model));
    assert_true((viommu_model_config_read(raw->model, 6, 2) & 8) != 0);
    assert_int_equal(viommu_model_mmio_read(raw->model, VIOMMU_MODEL_ISR_OFFSET, 1), 1);
    assert_false(viommu_model_interrupt_pending(raw->model));
    assert_int_equal(viommu_model_mmio_read(raw->model, VIOMMU_MODEL_ISR_OFFSET, 1), 0);
    raw_put(raw_at(raw, raw->rings[0].base + 0x400), 2, 1); /* no interrupts please */
    assert_int_equal(raw_detach(raw, 1, RAW_ENDPOINT), VIOMMU_MODEL_S_OK);
    assert_false(viommu_model_interrupt_pending(raw->model));
    viommu_model_misbehave(raw->model, VIOMMU_MODEL_NEEDS_RESET, 0, 0);
    assert_int_equal(viommu_model_mmio_read(raw->model, VIOMMU_MODEL_ISR_OFFSET, 1), 2);
}

struct observed {
    unsigned int count;
    struct viommu_model_request last;
    int status;
};

static void observe(void *ctx, const struct viommu_model_request *request, int status)
{
    struct observed *observed = ctx;

    observed->count++;
    observed->last = *request;
    observed->status = status;
}

static void test_model_tells_an_observer_of_each_request(void **state)
{
    struct raw *raw = *state;
    struct observed observed = {0};

    raw_start(raw);
    viommu_model_observe(raw->model, observe, &observed);
    assert_int_equal(raw_attach(raw, 7, RAW_ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    assert_int_equal(observed.last.type, VIOMMU_MODEL_ATTACH);
    assert_int_equal(observed.last.domain, 7);
    assert_int_equal(observed.last.endpoint, RAW_ENDPOINT);
    assert_int_equal(raw_map(raw, 8, 0x1000, 0x1fff, 0x5000, RAW_READ), VIOMMU_MODEL_S_NOENT);
    assert_int_equal(observed.count, 2);
    assert_int_equal(observed.status, VIOMMU_MODEL_S_NOENT);
    assert_int_equal(observed.last.virt_start, 0x1000);
    assert_int_equal(observed.last.virt_end, 0x1fff);
    assert_int_equal(observed.last.phys_start, 0x5000);
    assert_int_equal(observed.last.flags, RAW_READ);
    assert_int_equal(raw_ask(raw, (const uint8_t[4]){77}, 4, 4).length, 0);
    raw_expect_violation(raw, "unknown type 77");
    assert_int_equal(observed.count, 3);
    assert_int_equal(observed.last.type, 77);
    assert_int_equal(observed.status, -1);
}

/* ---- misbehaviour -------------------------------------------------------------------------- */

static void test_model_fails_the_requests_that_were_scripted(void **state)
{
    struct raw *raw = *state;

    raw_start(raw);
    assert_true(viommu_model_fail_request(raw->model, VIOMMU_MODEL_MAP, 2, VIOMMU_MODEL_S_NOMEM));
    assert_true(viommu_model_fail_request(raw->model, 0, 4, VIOMMU_MODEL_S_DEVERR));
    assert_int_equal(raw_attach(raw, 1, RAW_ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_map(raw, 1, 0, 0xfff, 0, RAW_READ), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_map(raw, 1, 0x1000, 0x1fff, 0, RAW_READ), VIOMMU_MODEL_S_NOMEM);
    assert_int_equal(viommu_model_mapping_count(raw->model, 1), 1);
    assert_int_equal(raw_unmap(raw, 1, 0, 0xfff), VIOMMU_MODEL_S_DEVERR);
    assert_int_equal(viommu_model_mapping_count(raw->model, 1), 1);
    assert_int_equal(raw_unmap(raw, 1, 0, 0xfff), VIOMMU_MODEL_S_OK);
    assert_int_equal(viommu_model_counters(raw->model)->answers[VIOMMU_MODEL_S_NOMEM], 1);
}

static struct raw_answer misbehaving_attach(struct raw *raw, enum viommu_model_misbehaviour what,
                                            uint64_t argument)
{
    uint8_t request[20];
    struct raw_answer answer = {.status = 0};

    raw_start(raw);
    viommu_model_misbehave(raw->model, what, 1, argument);
    raw_build_attach(request, 1, RAW_ENDPOINT, 0);
    raw_post(raw, 0, request, sizeof request, 4);
    raw_notify(raw, 0);
    assert_true(raw_next_used(raw, 0, &answer));
    answer.status = *raw_at(raw, raw_slot_address(0) + 128);
    return answer;
}

static void test_model_lies_about_used_ids(void **state)
{
    struct raw *raw = *state;
    struct raw_answer answer;

    answer = misbehaving_attach(raw, VIOMMU_MODEL_USED_ID_OUT_OF_RANGE, 0);
    assert_int_equal(answer.id, RAW_QUEUE_SIZE);
    answer = misbehaving_attach(raw, VIOMMU_MODEL_USED_ID_OUT_OF_RANGE, 0x10000);
    assert_int_equal(answer.id, 0x10000);
    answer = misbehaving_attach(raw, VIOMMU_MODEL_USED_ID_NOT_IN_FLIGHT, 0);
    assert_int_equal(answer.id, 2);
    answer = misbehaving_attach(raw, VIOMMU_MODEL_USED_ID_MIDDLE, 0);
    assert_int_equal(answer.id, 1);
    answer = misbehaving_attach(raw, VIOMMU_MODEL_USED_ID_REPEATED, 0);
    assert_int_equal(answer.id, 0);
    assert_true(raw_next_used(raw, 0, &answer));
    assert_int_equal(answer.id, 0);
    assert_false(raw_next_used(raw, 0, &answer));
}

static void test_model_lies_about_used_index_length_and_status(void **state)
{
    struct raw *raw = *state;
    struct raw_answer answer;

    (void)misbehaving_attach(raw, VIOMMU_MODEL_USED_INDEX_JUMPS, 1000);
    assert_int_equal(raw_get(raw_at(raw, raw->rings[0].base + 0x602), 2), 1001);
    answer = misbehaving_attach(raw, VIOMMU_MODEL_USED_LENGTH, 0xfffffff0);
    assert_int_equal(answer.length, 0xfffffff0);
    assert_int_equal(answer.status, VIOMMU_MODEL_S_OK);
    answer = misbehaving_attach(raw, VIOMMU_MODEL_ANSWER_EMPTY, 0);
    assert_int_equal(answer.length, 0);
    assert_int_equal(answer.status, RAW_POISON);
    answer = misbehaving_attach(raw, VIOMMU_MODEL_STATUS_UNTOUCHED, 0);
    assert_int_equal(answer.length, 4);
    assert_int_equal(answer.status, RAW_POISON);
    answer = misbehaving_attach(raw, VIOMMU_MODEL_STATUS_VALUE, 0x55);
    assert_int_equal(answer.status, 0x55);
    assert_true(viommu_model_domain_exists(raw->model, 1));
    answer = misbehaving_attach(raw, VIOMMU_MODEL_NOT_PERFORMED, 0);
    assert_int_equal(answer.status, VIOMMU_MODEL_S_OK);
    assert_false(viommu_model_domain_exists(raw->model, 1));
    (void)misbehaving_attach(raw, VIOMMU_MODEL_SCRIBBLE, 0);
    assert_int_equal(raw_get(raw_at(raw, raw->rings[0].base + 16), 8), UINT64_MAX);
    (void)misbehaving_attach(raw, VIOMMU_MODEL_NEEDS_RESET_AFTER, 0);
    assert_int_equal(raw_common_read(raw, RAW_COMMON_STATUS, 1), 0x4f);
}

static void test_model_leaves_the_chosen_request_hanging(void **state)
{
    struct raw *raw = *state;
    struct raw_answer answer;

    raw_start(raw);
    assert_int_equal(raw_attach(raw, 1, RAW_ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    viommu_model_misbehave(raw->model, VIOMMU_MODEL_NOT_COMPLETED, 2, 0);
    post_maps(raw, 3);
    assert_true(raw_next_used(raw, 0, &answer));
    assert_int_equal(answer.id, 0);
    assert_true(raw_next_used(raw, 0, &answer));
    assert_int_equal(answer.id, 4);
    assert_false(raw_next_used(raw, 0, &answer));
    assert_int_equal(viommu_model_pending(raw->model), 1);
    assert_int_equal(raw_verdict(raw, RAW_ENDPOINT, 0x1000, false), VIOMMU_MODEL_MAPPED);
    assert_int_equal(viommu_model_run(raw->model, SIZE_MAX), 0);
}

static void test_model_breaks_the_start_in_every_way(void **state)
{
    struct raw *raw = *state;
    struct viommu_model *model = raw->model;

    viommu_model_misbehave(model, VIOMMU_MODEL_REFUSE_FEATURES, 0, 0);
    assert_false(raw_negotiate(raw, UINT64_MAX));
    viommu_model_behave(model);
    viommu_model_misbehave(model, VIOMMU_MODEL_QUEUE_SIZE, 0, 3);
    viommu_model_misbehave(model, VIOMMU_MODEL_QUEUE_COUNT, 0, 1);
    viommu_model_misbehave(model, VIOMMU_MODEL_NOTIFY_OFF, 0, 0xfff0);
    assert_true(raw_negotiate(raw, UINT64_MAX));
    assert_int_equal(raw_common_read(raw, RAW_COMMON_QUEUE_SIZE, 2), 3);
    assert_int_equal(raw_common_read(raw, 18, 2), 1);
    assert_int_equal(raw_common_read(raw, RAW_COMMON_NOTIFY_OFF, 2), 0xfff0);
    viommu_model_behave(model);
    assert_int_equal(raw_common_read(raw, RAW_COMMON_QUEUE_SIZE, 2), 256);
    viommu_model_misbehave(model, VIOMMU_MODEL_RESET_HANGS, 0, 0);
    raw_common_write(raw, RAW_COMMON_STATUS, 1, 0);
    assert_int_equal(raw_common_read(raw, RAW_COMMON_STATUS, 1), 0x0b);
    viommu_model_behave(model);
    assert_int_equal(raw_common_read(raw, RAW_COMMON_STATUS, 1), 0);
    viommu_model_misbehave(model, VIOMMU_MODEL_GONE, 0, 0);
    assert_int_equal(raw_common_read(raw, RAW_COMMON_STATUS, 1), 0xff);
    assert_int_equal(viommu_model_config_read(model, 0, 4), UINT32_MAX);
}

static void test_model_changes_its_config_generation(void **state)
{
    struct raw *raw = *state;
    uint32_t first;

    raw_start(raw);
    first = raw_common_read(raw, RAW_COMMON_GENERATION, 1);
    assert_int_equal(raw_common_read(raw, RAW_COMMON_GENERATION, 1), first);
    viommu_model_misbehave(raw->model, VIOMMU_MODEL_GENERATION_CHANGES, 0, 2);
    assert_int_not_equal(raw_common_read(raw, RAW_COMMON_GENERATION, 1), first);
    first = raw_common_read(raw, RAW_COMMON_GENERATION, 1);
    assert_int_equal(raw_common_read(raw, RAW_COMMON_GENERATION, 1), first);
    viommu_model_misbehave(raw->model, VIOMMU_MODEL_GENERATION_CHANGES, 0, 0);
    for (unsigned int i = 0; i < 10; i++) {
        assert_int_not_equal(raw_common_read(raw, RAW_COMMON_GENERATION, 1), first);
        first = (first + 1) & 0xff;
    }
}

/* Follows the capability list; returns how many entries it has, 48 at most. */
static unsigned int walk(struct raw *raw, uint8_t type, unsigned int *found)
{
    unsigned int offset = viommu_model_config_read(raw->model, 0x34, 1) & 0xfc;
    unsigned int count = 0;

    *found = 0;
    while (offset >= 0x40 && count < 48) {
        if (viommu_model_config_read(raw->model, offset, 1) == 9 &&
            viommu_model_config_read(raw->model, offset + 3, 1) == type) {
            *found = offset;
        }
        offset = viommu_model_config_read(raw->model, offset + 1, 1) & 0xfc;
        count++;
    }
    return count;
}

static void test_model_breaks_its_capabilities(void **state)
{
    struct raw *raw = *state;
    struct viommu_model *model = raw->model;
    unsigned int found;

    assert_int_equal(walk(raw, 2, &found), 6);
    viommu_model_misbehave(model, VIOMMU_MODEL_CAPABILITY_LOOP, 0, 0);
    assert_int_equal(walk(raw, 2, &found), 48);
    viommu_model_behave(model);
    viommu_model_misbehave(model, VIOMMU_MODEL_CAPABILITY_MISSING, 0, 2);
    assert_int_equal(walk(raw, 2, &found), 5);
    assert_int_equal(found, 0);
    viommu_model_behave(model);
    viommu_model_misbehave(model, VIOMMU_MODEL_CAPABILITY_BAR, 0, 6);
    viommu_model_misbehave(model, VIOMMU_MODEL_CAPABILITY_OFFSET, 0, 0xfffffff0);
    viommu_model_misbehave(model, VIOMMU_MODEL_CAPABILITY_LENGTH, 0, 0x20);
    viommu_model_misbehave(model, VIOMMU_MODEL_CAPABILITY_SHORT, 0, 3);
    viommu_model_misbehave(model, VIOMMU_MODEL_NOTIFY_MULTIPLIER_IS, 0, 0x80000000);
    (void)walk(raw, 2, &found);
    assert_int_equal(viommu_model_config_read(model, found + 4, 1), 6);
    assert_int_equal(viommu_model_config_read(model, found + 8, 4), 0xfffffff0);
    assert_int_equal(viommu_model_config_read(model, found + 12, 4), 0x20);
    assert_int_equal(viommu_model_config_read(model, found + 2, 1), 3);
    assert_int_equal(viommu_model_config_read(model, found + 16, 4), 0x80000000);
    viommu_model_misbehave(model, VIOMMU_MODEL_CAPABILITY_POINTER, 0, 0x10);
    assert_int_equal(viommu_model_config_read(model, 0x34, 1), 0x10);
}

static void test_model_does_no_work_when_it_needs_a_reset(void **state)
{
    struct raw *raw = *state;
    uint8_t request[20];
    struct raw_answer answer;

    raw_start(raw);
    assert_int_equal(raw_attach(raw, 1, RAW_ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    viommu_model_misbehave(raw->model, VIOMMU_MODEL_NEEDS_RESET, 0, 0);
    raw_build_attach(request, 2, RAW_OTHER, 0);
    raw_post(raw, 0, request, sizeof request, 4);
    raw_notify(raw, 0);
    assert_false(raw_next_used(raw, 0, &answer));
    raw_start(raw);
    assert_int_equal(raw_attach(raw, 2, RAW_OTHER, 0), VIOMMU_MODEL_S_OK);
}

static void test_model_endpoints_come_and_go(void **state)
{
    struct raw *raw = *state;

    raw_start(raw);
    assert_false(viommu_model_add_endpoint(raw->model, RAW_ENDPOINT, NULL, 0));
    assert_int_equal(raw_attach(raw, 1, RAW_ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    viommu_model_remove_endpoint(raw->model, RAW_ENDPOINT);
    assert_false(viommu_model_domain_exists(raw->model, 1));
    assert_int_equal(raw_attach(raw, 1, RAW_ENDPOINT, 0), VIOMMU_MODEL_S_NOENT);
    assert_int_equal(raw_attach(raw, 1, RAW_THIRD, 0), VIOMMU_MODEL_S_OK);
    assert_true(viommu_model_add_endpoint(raw->model, RAW_ENDPOINT, NULL, 0));
    assert_int_equal(raw_attach(raw, 1, RAW_ENDPOINT, 0), VIOMMU_MODEL_S_OK);
}

static void test_model_keeps_going_over_the_end_of_the_ring_index(void **state)
{
    struct raw *raw = *state;

    raw_start(raw);
    for (unsigned int i = 0; i < 33000; i++) {
        assert_int_equal(raw_attach(raw, 1, RAW_ENDPOINT, 0), VIOMMU_MODEL_S_OK);
        assert_int_equal(raw_detach(raw, 1, RAW_ENDPOINT), VIOMMU_MODEL_S_OK);
    }
}

#define TEST_OF_SPLIT_RINGS(test) RAW_TEST_BEHIND(test, raw_set_up, "")

#define TEST(test) TEST_OF_SPLIT_RINGS(test), RAW_TEST_BEHIND(test, raw_set_up_packed, " (packed)")

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_model_is_found_by_its_pci_capabilities),
        TEST(test_model_tells_the_size_of_its_bar),
        TEST(test_model_reads_as_all_ones_while_memory_decode_is_off),
        TEST(test_model_opens_a_window_to_its_registers_in_config_space),
        TEST(test_model_without_bus_master_touches_no_memory),
        TEST(test_model_has_its_bar_where_it_was_put),
        TEST(test_model_has_a_usual_config_header),
        TEST(test_model_writes_registers_through_the_window),
        TEST(test_model_shows_what_was_written_to_common_registers),
        TEST(test_model_records_writes_that_no_register_takes),
        TEST(test_model_finds_no_fault_with_a_proper_start),
        TEST(test_model_shows_its_config_in_32_bit_pieces),
        TEST(test_model_of_an_old_device_has_no_bypass_byte),
        TEST(test_model_records_a_start_without_reset),
        TEST(test_model_records_a_start_before_the_reset_was_seen_to_end),
        TEST(test_model_records_driver_before_acknowledge),
        TEST(test_model_records_status_bits_that_vanish),
        TEST(test_model_records_features_that_were_not_offered),
        TEST(test_model_records_features_without_version_1),
        TEST(test_model_records_features_that_change_the_ring),
        TEST(test_model_refuses_features_when_it_demands_others),
        TEST(test_model_records_driver_ok_without_rereading_features_ok),
        TEST(test_model_records_driver_ok_without_a_request_queue),
        TEST(test_model_records_queue_registers_touched_at_the_wrong_time),
        TEST_OF_SPLIT_RINGS(test_model_records_bad_queue_settings),
        TEST(test_model_records_accesses_of_the_wrong_width),
        TEST(test_model_records_notifications_that_come_too_early_or_are_malformed),
        TEST(test_model_creates_a_domain_with_the_first_attach),
        TEST(test_model_refuses_attach_by_the_specification),
        TEST(test_model_drops_mappings_when_the_last_endpoint_leaves_the_domain),
        TEST(test_model_drops_mappings_when_the_last_endpoint_moves_away),
        TEST(test_model_drops_a_domain_whose_last_endpoint_joins_another),
        TEST(test_model_records_domains_out_of_range_in_every_request),
        TEST(test_model_records_an_attach_to_the_same_domain_and_loses_the_mappings),
        TEST(test_model_may_keep_mappings_on_an_attach_to_the_same_domain),
        TEST(test_model_may_not_support_moving_and_sharing),
        TEST(test_model_runs_out_of_domains_and_mappings_when_told_to),
        TEST(test_model_detaches_by_the_specification),
        TEST(test_model_keeps_domains_in_their_range),
        TEST(test_model_refuses_map_by_the_specification),
        TEST(test_model_maps_the_whole_address_space),
        TEST(test_model_keeps_mappings_in_the_input_range),
        TEST(test_model_records_mappings_over_reserved_regions),
        TEST(test_model_knows_the_last_byte_of_a_reserved_region),
        TEST(test_model_refuses_to_attach_where_a_mapping_lies_in_a_reserved_region),
        TEST(test_model_unmap_example_1_nothing_is_mapped),
        TEST(test_model_unmap_example_2_one_whole_mapping),
        TEST(test_model_unmap_example_3_two_whole_mappings),
        TEST(test_model_unmap_example_4_a_cut_fails_and_removes_nothing),
        TEST(test_model_unmap_example_5_the_first_of_two),
        TEST(test_model_unmap_example_6_more_than_is_mapped),
        TEST(test_model_unmap_example_7_two_mappings_with_a_hole),
        TEST(test_model_refuses_unmap_by_the_specification),
        TEST(test_model_keeps_all_or_removes_some_when_an_unmap_cuts),
        TEST(test_model_agrees_with_a_table_of_bytes),
        TEST(test_model_probes_regions),
        TEST(test_model_probes_as_many_regions_as_fit),
        TEST(test_model_probe_can_lie),
        TEST(test_model_records_a_probe_with_reserved_bytes),
        TEST(test_model_answers_a_short_probe_buffer_without_properties),
        TEST(test_model_answers_an_unknown_type_with_used_length_0),
        TEST(test_model_answers_an_unnegotiated_type_with_used_length_0),
        TEST(test_model_records_bad_lengths_but_reads_what_it_can),
        TEST(test_model_understands_split_requests_unless_told_not_to),
        TEST_OF_SPLIT_RINGS(test_model_stops_at_a_ring_it_cannot_follow),
        TEST(test_model_records_requests_that_change_in_flight),
        TEST(test_model_bypass_survives_a_device_reset_but_not_a_system_reset),
        TEST(test_model_bypasses_even_if_the_driver_refuses_the_feature),
        TEST(test_model_old_bypass_holds_once_negotiated),
        TEST(test_model_bypass_domain_is_identity),
        TEST(test_model_takes_only_0_and_1_for_bypass),
        TEST(test_model_dma_goes_byte_by_byte_over_mappings),
        TEST(test_model_dma_stops_where_there_is_no_memory_without_a_report),
        TEST(test_model_write_only_mappings_can_be_read_only_if_read_is_implied),
        TEST(test_model_lets_writes_to_the_msi_window_through),
        TEST(test_model_dma_goes_on_behind_an_msi_window),
        TEST(test_model_tells_why_a_dma_failed),
        TEST(test_model_drops_or_holds_reports_without_a_buffer),
        TEST(test_model_does_not_see_event_buffers_before_their_doorbell),
        TEST(test_model_reports_in_pieces_when_told_to),
        TEST(test_model_without_events_never_reports),
        TEST(test_model_records_bad_event_buffers),
        TEST(test_model_uses_its_event_buffers_again),
        TEST(test_model_injects_events_of_any_content),
        TEST(test_model_completes_only_when_run),
        TEST(test_model_does_not_see_requests_before_their_doorbell),
        TEST(test_model_may_never_answer),
        TEST(test_model_completes_out_of_order),
        TEST(test_model_may_unmap_at_the_doorbell),
        TEST(test_model_retains_used_translations_until_unmap_completes),
        TEST(test_model_retains_all_of_a_used_mapping_and_no_more),
        TEST(test_model_retains_used_translations_until_detach_completes),
        TEST(test_model_retains_bypass_until_attach_completes),
        TEST(test_model_retains_bypass_page_by_page),
        TEST(test_model_retains_nothing_over_a_write_to_bypass),
        TEST(test_model_retains_nothing_over_a_reset),
        TEST(test_model_forgets_everything_but_bypass_on_reset),
        TEST(test_model_reset_may_take_time_and_must_be_waited_for),
        TEST_OF_SPLIT_RINGS(test_model_interrupt_is_cleared_by_reading_isr),
        TEST(test_model_tells_an_observer_of_each_request),
        TEST(test_model_fails_the_requests_that_were_scripted),
        TEST_OF_SPLIT_RINGS(test_model_lies_about_used_ids),
        TEST_OF_SPLIT_RINGS(test_model_lies_about_used_index_length_and_status),
        TEST(test_model_leaves_the_chosen_request_hanging),
        TEST(test_model_breaks_the_start_in_every_way),
        TEST(test_model_changes_its_config_generation),
        TEST(test_model_breaks_its_capabilities),
        TEST(test_model_does_no_work_when_it_needs_a_reset),
        TEST(test_model_endpoints_come_and_go),
        TEST(test_model_keeps_going_over_the_end_of_the_ring_index),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
