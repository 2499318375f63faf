/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* Tests of the interrupts of the virtio-iommu model behind virtio-pci: INTx and MSI-X. */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "viommu_raw.h"

enum {
    VECTORS = 3,
    CAPABILITY = 0xa0,
    CONTROL = CAPABILITY + 2,
    ENABLED = 0x8000,
    ALL_MASKED = 0x4000,

    CONFIG_VECTOR = 16, /* common registers */
    QUEUE_VECTOR = 26,

    COMMAND_MASTER_AND_MEMORY = 6,
    COMMAND_NO_INTX = 0x400,
};

#define ADDRESS UINT64_C(0x1fee00000)

/* What the sink has got. */
static struct {
    unsigned int count;
    uint64_t address;
    uint32_t data;
} messages;

static void sink(void *ctx, uint64_t address, uint32_t data)
{
    assert_ptr_equal(ctx, &messages);
    messages.count++;
    messages.address = address;
    messages.data = data;
}

static uint64_t entry_offset(unsigned int vector, unsigned int word)
{
    return VIOMMU_MODEL_MSIX_TABLE_OFFSET + UINT64_C(16) * vector + UINT64_C(4) * word;
}

static void mask(struct raw *raw, unsigned int vector, bool masked)
{
    raw_write(raw, entry_offset(vector, 3), 4, masked ? 1 : 0);
}

static uint64_t pending(struct raw *raw)
{
    return raw_read(raw, VIOMMU_MODEL_MSIX_PENDING_OFFSET, 4) |
           (uint64_t)raw_read(raw, VIOMMU_MODEL_MSIX_PENDING_OFFSET + 4, 4) << 32;
}

static void set_control(struct raw *raw, uint16_t value)
{
    viommu_model_config_write(raw->model, CONTROL, 2, value);
}

/* Each vector has an address and data of its own, and is not masked; MSI-X is on. */
static void enable_vectors(struct raw *raw)
{
    messages.count = 0;
    viommu_model_on_message(raw->model, sink, &messages);
    raw_enable_device(raw);
    for (unsigned int i = 0; i < VECTORS; i++) {
        raw_write(raw, entry_offset(i, 0), 4, (uint32_t)(ADDRESS & UINT32_MAX) + 16 * i);
        raw_write(raw, entry_offset(i, 1), 4, (uint32_t)(ADDRESS >> 32));
        raw_write(raw, entry_offset(i, 2), 4, 0x100 + i);
        mask(raw, i, false);
    }
    set_control(raw, ENABLED);
}

/* Asks for a vector; returns what the device says. */
static uint32_t map_queue(struct raw *raw, unsigned int queue, uint32_t vector)
{
    raw_common_write(raw, RAW_COMMON_QUEUE_SELECT, 2, queue);
    raw_common_write(raw, QUEUE_VECTOR, 2, vector);
    return raw_common_read(raw, QUEUE_VECTOR, 2);
}

static uint32_t map_config(struct raw *raw, uint32_t vector)
{
    raw_common_write(raw, CONFIG_VECTOR, 2, vector);
    return raw_common_read(raw, CONFIG_VECTOR, 2);
}

/* A model with MSI-X that runs, with vectors 0 and 1 for the queues and 2 for the rest. */
static void start_with_vectors(struct raw *raw)
{
    raw->parameters.msix_vectors = VECTORS;
    raw_make_model(raw);
    enable_vectors(raw);
    assert_true(raw_negotiate(raw, UINT64_MAX));
    for (unsigned int i = 0; i < 2; i++) {
        raw_set_queue(raw, i);
        assert_int_equal(map_queue(raw, i, i), i);
    }
    assert_int_equal(map_config(raw, 2), 2);
    raw_set_status(raw, 4);
}

static void expect_messages(unsigned int count, unsigned int vector)
{
    assert_int_equal(messages.count, count);
    assert_int_equal(messages.address, ADDRESS + 16 * vector);
    assert_int_equal(messages.data, 0x100 + vector);
}

/* ---- INTx ---------------------------------------------------------------------------------- */

static void test_msix_off_leaves_intx_which_the_command_register_disables(void **state)
{
    struct raw *raw = *state;

    raw->parameters.msix_vectors = VECTORS;
    raw_make_model(raw);
    raw_start(raw);
    (void)raw_attach(raw, 1, RAW_ENDPOINT, 0);
    assert_true(viommu_model_interrupt_pending(raw->model));
    viommu_model_config_write(raw->model, 4, 2, COMMAND_MASTER_AND_MEMORY | COMMAND_NO_INTX);
    assert_false(viommu_model_interrupt_pending(raw->model));
    assert_int_equal(viommu_model_config_read(raw->model, 6, 2) & 8, 8); /* still says so */
    viommu_model_config_write(raw->model, 4, 2, COMMAND_MASTER_AND_MEMORY);
    assert_true(viommu_model_interrupt_pending(raw->model));
    set_control(raw, ENABLED);
    assert_false(viommu_model_interrupt_pending(raw->model));
    set_control(raw, 0);
    assert_true(viommu_model_interrupt_pending(raw->model));
    assert_int_equal(raw_read(raw, VIOMMU_MODEL_ISR_OFFSET, 1), 1);
    assert_int_equal(viommu_model_counters(raw->model)->messages, 0);
}

/* ---- the capability ------------------------------------------------------------------------ */

static void test_msix_capability_describes_the_table(void **state)
{
    struct raw *raw = *state;
    unsigned int offset;
    bool found = false;

    raw->parameters.msix_vectors = VECTORS;
    raw_make_model(raw);
    offset = viommu_model_config_read(raw->model, 0x34, 1);
    while (offset != 0) {
        found = found || offset == CAPABILITY;
        offset = viommu_model_config_read(raw->model, offset + 1, 1);
    }
    assert_true(found);
    assert_int_equal(viommu_model_config_read(raw->model, CAPABILITY, 1), 0x11);
    assert_int_equal(viommu_model_config_read(raw->model, CONTROL, 2), VECTORS - 1);
    assert_int_equal(viommu_model_config_read(raw->model, CAPABILITY + 4, 4), 0x804);
    assert_int_equal(viommu_model_config_read(raw->model, CAPABILITY + 8, 4), 0xc04);
    set_control(raw, 0xffff);
    assert_int_equal(viommu_model_config_read(raw->model, CONTROL, 2),
                     ENABLED | ALL_MASKED | (VECTORS - 1));
    viommu_model_config_write(raw->model, CONTROL + 1, 1, 0x80);
    assert_int_equal(viommu_model_config_read(raw->model, CONTROL, 2), ENABLED | (VECTORS - 1));
    viommu_model_config_write(raw->model, CAPABILITY, 4, 0);
    assert_int_equal(viommu_model_config_read(raw->model, CONTROL, 2), VECTORS - 1);
    assert_int_equal(viommu_model_config_read(raw->model, CAPABILITY, 1), 0x11);
}

static void test_msix_capability_may_lie(void **state)
{
    struct raw *raw = *state;

    raw->parameters.msix_vectors = VECTORS;
    raw_make_model(raw);
    viommu_model_misbehave(raw->model, VIOMMU_MODEL_MSIX_SIZE, 0, 0x7ff);
    viommu_model_misbehave(raw->model, VIOMMU_MODEL_MSIX_TABLE, 0, 0xfffffffe);
    assert_int_equal(viommu_model_config_read(raw->model, CONTROL, 2), 0x7ff);
    assert_int_equal(viommu_model_config_read(raw->model, CAPABILITY + 4, 4), 0xfffffffe);
}

static void test_msix_has_64_vectors_at_most(void **state)
{
    struct raw *raw = *state;

    raw->parameters.msix_vectors = 100;
    raw_make_model(raw);
    assert_int_equal(viommu_model_config_read(raw->model, CONTROL, 2), 63);
    raw_enable_device(raw);
    mask(raw, 63, false);
    assert_int_equal(raw_read(raw, entry_offset(63, 3), 4), 0);
    assert_int_equal(pending(raw), 0);
}

static void test_msix_is_not_there_by_default(void **state)
{
    struct raw *raw = *state;

    assert_int_equal(viommu_model_config_read(raw->model, CAPABILITY, 4), 0);
    set_control(raw, ENABLED);
    assert_int_equal(viommu_model_config_read(raw->model, CAPABILITY, 4), 0);
    raw_start(raw);
    (void)raw_read(raw, entry_offset(0, 0), 4);
    raw_expect_violation(raw, "no register");
    (void)raw_read(raw, VIOMMU_MODEL_MSIX_PENDING_OFFSET, 4);
    raw_expect_violation(raw, "no register");
    raw_common_write(raw, CONFIG_VECTOR, 2, 0);
    raw_expect_violation(raw, "without MSI-X");
    assert_int_equal(raw_common_read(raw, CONFIG_VECTOR, 2), 0xffff);
    (void)raw_attach(raw, 1, RAW_ENDPOINT, 0);
    assert_true(viommu_model_interrupt_pending(raw->model));
}

/* ---- the table ----------------------------------------------------------------------------- */

static void test_msix_table_starts_masked_and_remembers(void **state)
{
    struct raw *raw = *state;

    raw->parameters.msix_vectors = VECTORS;
    raw_make_model(raw);
    raw_enable_device(raw);
    assert_int_equal(raw_common_read(raw, CONFIG_VECTOR, 2), 0xffff);
    for (unsigned int i = 0; i < VECTORS; i++) {
        assert_int_equal(raw_read(raw, entry_offset(i, 3), 4), 1);
    }
    enable_vectors(raw);
    assert_int_equal(raw_read(raw, entry_offset(1, 0), 4), 0xfee00010);
    assert_int_equal(raw_read(raw, entry_offset(1, 1), 4), 1);
    assert_int_equal(raw_read(raw, entry_offset(1, 2), 4), 0x101);
    assert_int_equal(raw_read(raw, entry_offset(1, 3), 4), 0);
    (void)raw_read(raw, entry_offset(VECTORS, 0), 4);
    raw_expect_violation(raw, "no register");
    (void)raw_read(raw, VIOMMU_MODEL_MSIX_PENDING_OFFSET + 8, 4);
    raw_expect_violation(raw, "no register");
    raw_write(raw, entry_offset(2, 3), 4, UINT32_MAX);
    assert_int_equal(raw_read(raw, entry_offset(2, 3), 4), 1); /* the rest is reserved */
    raw_start(raw);
    assert_int_equal(raw_read(raw, entry_offset(1, 2), 4), 0x101); /* a reset leaves it */
    set_control(raw, ENABLED | ALL_MASKED);
    assert_int_equal(map_config(raw, 1), 1);
    viommu_model_misbehave(raw->model, VIOMMU_MODEL_NEEDS_RESET, 0, 0);
    assert_int_equal(pending(raw), 2);
    viommu_model_system_reset(raw->model);
    raw_enable_device(raw);
    assert_int_equal(pending(raw), 0);
    for (unsigned int word = 0; word < 3; word++) {
        assert_int_equal(raw_read(raw, entry_offset(1, word), 4), 0);
    }
    assert_int_equal(raw_read(raw, entry_offset(1, 3), 4), 1);
    assert_int_equal(viommu_model_config_read(raw->model, CONTROL, 2), VECTORS - 1);
}

static void test_msix_records_bad_accesses_to_the_table(void **state)
{
    struct raw *raw = *state;

    start_with_vectors(raw);
    (void)raw_read(raw, entry_offset(0, 0), 2);
    raw_expect_violation(raw, "MSI-X access of 2 bytes");
    raw_write(raw, entry_offset(0, 3), 1, 1);
    raw_expect_violation(raw, "MSI-X access of 1 bytes");
    raw_write(raw, entry_offset(1, 2), 4, 7);
    raw_expect_violation(raw, "entry 1 changed while it is not masked");
    raw_write(raw, VIOMMU_MODEL_MSIX_PENDING_OFFSET, 4, 0);
    raw_expect_violation(raw, "pending bits");
    mask(raw, 1, true);
    raw_write(raw, entry_offset(1, 2), 4, 8);
    raw_write(raw, entry_offset(1, 0), 4, 0x1002);
    raw_expect_violation(raw, "unaligned");
    set_control(raw, ENABLED | ALL_MASKED);
    raw_write(raw, entry_offset(0, 2), 4, 9);
    set_control(raw, 0);
    raw_write(raw, entry_offset(2, 2), 4, 10);
}

/* ---- vectors ------------------------------------------------------------------------------- */

static void test_msix_sends_each_source_to_its_vector(void **state)
{
    struct raw *raw = *state;

    start_with_vectors(raw);
    (void)raw_attach(raw, 1, RAW_ENDPOINT, 0);
    expect_messages(1, 0);
    raw_post_event_buffers(raw, 1);
    assert_int_equal(viommu_model_flood(raw->model, RAW_ENDPOINT, 0, 1), 1);
    expect_messages(2, 1);
    viommu_model_misbehave(raw->model, VIOMMU_MODEL_NEEDS_RESET, 0, 0);
    expect_messages(3, 2);
    assert_int_equal(viommu_model_counters(raw->model)->messages, 3);
    assert_int_equal(viommu_model_counters(raw->model)->interrupts, 0);
    assert_false(viommu_model_interrupt_pending(raw->model));
    set_control(raw, 0);
    assert_false(viommu_model_interrupt_pending(raw->model)); /* the ISR was left alone */
    assert_int_equal(raw_read(raw, VIOMMU_MODEL_ISR_OFFSET, 1), 0);
}

static void test_msix_vectors_may_be_shared_or_none(void **state)
{
    struct raw *raw = *state;

    start_with_vectors(raw);
    assert_int_equal(map_queue(raw, 0, 2), 2);
    (void)raw_attach(raw, 1, RAW_ENDPOINT, 0);
    expect_messages(1, 2);
    assert_int_equal(map_queue(raw, 0, 0xffff), 0xffff);
    (void)raw_detach(raw, 1, RAW_ENDPOINT);
    expect_messages(1, 2);
    assert_false(viommu_model_interrupt_pending(raw->model));
    assert_int_equal(map_queue(raw, 2, 0), 0xffff);
    raw_expect_violation(raw, "after DRIVER_OK"); /* there is no queue 2 */
    raw_start(raw);
    assert_int_equal(map_config(raw, 0xffff), 0xffff);
    raw_common_write(raw, RAW_COMMON_QUEUE_SELECT, 2, 1);
    assert_int_equal(raw_common_read(raw, QUEUE_VECTOR, 2), 0xffff); /* since the reset */
}

static void test_msix_refuses_vectors_that_it_has_no_room_for(void **state)
{
    struct raw *raw = *state;

    start_with_vectors(raw);
    viommu_model_misbehave(raw->model, VIOMMU_MODEL_NO_VECTORS, 2, 0);
    assert_int_equal(map_queue(raw, 0, 0), 0);
    assert_int_equal(map_queue(raw, 1, 1), 0xffff);
    assert_int_equal(map_config(raw, 2), 2);
    viommu_model_misbehave(raw->model, VIOMMU_MODEL_NO_VECTORS, 0, 0);
    assert_int_equal(map_queue(raw, 0, 0), 0xffff);
    assert_int_equal(map_config(raw, 0), 0xffff);
    (void)raw_attach(raw, 1, RAW_ENDPOINT, 0);
    assert_int_equal(messages.count, 0);
    viommu_model_behave(raw->model);
    assert_int_equal(map_config(raw, VECTORS), 0xffff);
    raw_expect_violation(raw, "vector 3, which does not exist");
}

static void test_msix_records_vectors_that_are_not_read_back(void **state)
{
    struct raw *raw = *state;

    start_with_vectors(raw);
    assert_true(raw_negotiate(raw, UINT64_MAX));
    raw_set_queue(raw, 0);
    raw_common_write(raw, QUEUE_VECTOR, 2, 0);
    raw_common_write(raw, CONFIG_VECTOR, 2, 0xffff); /* needs no look */
    raw_set_status(raw, 4);
    raw_expect_violation(raw, "read back a vector");
}

static void test_msix_records_the_isr_read_while_it_is_on(void **state)
{
    struct raw *raw = *state;

    start_with_vectors(raw);
    assert_int_equal(raw_read(raw, VIOMMU_MODEL_ISR_OFFSET, 1), 0);
    raw_expect_violation(raw, "ISR read");
}

/* ---- masks --------------------------------------------------------------------------------- */

static void test_msix_message_waits_behind_the_mask_of_its_vector(void **state)
{
    struct raw *raw = *state;

    start_with_vectors(raw);
    mask(raw, 0, true);
    (void)raw_attach(raw, 1, RAW_ENDPOINT, 0);
    (void)raw_detach(raw, 1, RAW_ENDPOINT);
    assert_int_equal(messages.count, 0);
    assert_int_equal(pending(raw), 1);
    viommu_model_misbehave(raw->model, VIOMMU_MODEL_NEEDS_RESET, 0, 0);
    expect_messages(1, 2);
    raw_write(raw, entry_offset(0, 2), 4, 0x100);
    assert_int_equal(pending(raw), 1);
    mask(raw, 0, false);
    expect_messages(2, 0); /* two completions, one message */
    assert_int_equal(pending(raw), 0);
    mask(raw, 0, true);
    mask(raw, 0, false);
    expect_messages(2, 0);
}

static void test_msix_messages_wait_behind_the_mask_of_the_function(void **state)
{
    struct raw *raw = *state;

    start_with_vectors(raw);
    set_control(raw, ENABLED | ALL_MASKED);
    (void)raw_attach(raw, 1, RAW_ENDPOINT, 0);
    viommu_model_misbehave(raw->model, VIOMMU_MODEL_NEEDS_RESET, 0, 0);
    mask(raw, 2, true);
    assert_int_equal(messages.count, 0);
    assert_int_equal(pending(raw), 5);
    set_control(raw, ENABLED);
    expect_messages(1, 0);
    assert_int_equal(pending(raw), 4);
    mask(raw, 2, false);
    expect_messages(2, 2);
}

static void test_msix_sends_nothing_without_bus_master_or_when_told_not_to(void **state)
{
    struct raw *raw = *state;

    start_with_vectors(raw);
    viommu_model_config_write(raw->model, 4, 2, 2);
    viommu_model_misbehave(raw->model, VIOMMU_MODEL_NEEDS_RESET, 0, 0);
    assert_int_equal(messages.count, 0);
    start_with_vectors(raw);
    viommu_model_misbehave(raw->model, VIOMMU_MODEL_NO_INTERRUPTS, 0, 0);
    (void)raw_attach(raw, 1, RAW_ENDPOINT, 0);
    assert_int_equal(messages.count, 0);
    assert_int_equal(pending(raw), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, raw_set_up, raw_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_msix_off_leaves_intx_which_the_command_register_disables),
        TEST(test_msix_capability_describes_the_table),
        TEST(test_msix_capability_may_lie),
        TEST(test_msix_has_64_vectors_at_most),
        TEST(test_msix_is_not_there_by_default),
        TEST(test_msix_table_starts_masked_and_remembers),
        TEST(test_msix_records_bad_accesses_to_the_table),
        TEST(test_msix_sends_each_source_to_its_vector),
        TEST(test_msix_vectors_may_be_shared_or_none),
        TEST(test_msix_refuses_vectors_that_it_has_no_room_for),
        TEST(test_msix_records_vectors_that_are_not_read_back),
        TEST(test_msix_records_the_isr_read_while_it_is_on),
        TEST(test_msix_message_waits_behind_the_mask_of_its_vector),
        TEST(test_msix_messages_wait_behind_the_mask_of_the_function),
        TEST(test_msix_sends_nothing_without_bus_master_or_when_told_not_to),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
