/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* Tests of the device's end of the rings in the virtio-iommu model. */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "viommu_raw.h"

enum {
    NEXT = 1,
    WRITE = 2,
    INDIRECT = 4,
    TABLE = 0x20000, /* where indirect tables are put */
};

static void make_with(struct raw *raw, uint64_t features)
{
    raw->parameters.offered_features |= features;
    raw_make_model(raw);
    raw_start(raw);
}

/* ---- indirect tables ----------------------------------------------------------------------- */

static void set_entry(struct raw *raw, unsigned int index, uint64_t address, uint32_t length,
                      uint16_t flags, uint16_t next)
{
    uint8_t *entry = raw->memory + TABLE + 16u * index;

    raw_put(entry, 8, address);
    raw_put(entry + 8, 4, length);
    raw_put(entry + 12, 2, flags);
    raw_put(entry + 14, 2, next);
}

/* An ATTACH in slot 0, whose two buffers are in a table of `length` bytes; not made available. */
static void prepare_table(struct raw *raw, uint32_t length)
{
    uint64_t address = raw_slot_address(0);

    raw_build_attach(raw_at(raw, address), 1, RAW_ENDPOINT, 0);
    memset(raw_at(raw, address) + 128, RAW_POISON, 4);
    set_entry(raw, 0, address, 20, NEXT, 1);
    set_entry(raw, 1, address + 128, 4, WRITE, 0);
    raw_set_descriptor(raw, 0, 5, RAW_MEMORY_BASE + TABLE, length, INDIRECT, 0);
}

/* Makes descriptor 5 available and expects an answer, and its status to be OK. */
static void expect_attached(struct raw *raw)
{
    struct raw_answer answer;

    raw_publish(raw, 0, 5);
    raw_notify(raw, 0);
    assert_true(raw_next_used(raw, 0, &answer));
    assert_int_equal(answer.id, 5);
    assert_int_equal(answer.length, 4);
    assert_int_equal(*raw_at(raw, raw_slot_address(0) + 128), VIOMMU_MODEL_S_OK);
    assert_true(viommu_model_domain_exists(raw->model, 1));
}

static void test_ring_takes_a_request_from_an_indirect_table(void **state)
{
    struct raw *raw = *state;

    make_with(raw, VIOMMU_MODEL_F_INDIRECT_DESC);
    prepare_table(raw, 32);
    expect_attached(raw);
}

static void test_ring_does_not_care_who_writes_an_indirect_table(void **state)
{
    struct raw *raw = *state;

    make_with(raw, VIOMMU_MODEL_F_INDIRECT_DESC);
    prepare_table(raw, 32);
    raw_set_descriptor(raw, 0, 5, RAW_MEMORY_BASE + TABLE, 32, INDIRECT | WRITE, 0);
    expect_attached(raw);
}

static void test_ring_follows_tables_in_any_order_and_with_unused_entries(void **state)
{
    struct raw *raw = *state;
    uint64_t address = raw_slot_address(0);

    make_with(raw, VIOMMU_MODEL_F_INDIRECT_DESC);
    prepare_table(raw, 64);
    set_entry(raw, 0, address, 20, NEXT, 3);
    set_entry(raw, 1, 0, 0, 0xffff, 0xffff);
    set_entry(raw, 3, address + 128, 4, WRITE, 77);
    expect_attached(raw);
}

static void test_ring_takes_a_table_at_the_end_of_a_chain(void **state)
{
    struct raw *raw = *state;
    uint64_t address = raw_slot_address(0);

    make_with(raw, VIOMMU_MODEL_F_INDIRECT_DESC);
    prepare_table(raw, 32);
    raw_set_descriptor(raw, 0, 5, address, 8, NEXT, 6);
    raw_set_descriptor(raw, 0, 6, RAW_MEMORY_BASE + TABLE, 32, INDIRECT, 0);
    set_entry(raw, 0, address + 8, 12, NEXT, 1);
    expect_attached(raw);
    raw_expect_violation(raw, "2 readable descriptors"); /* which some devices do not take */
}

static void expect_broken(struct raw *raw, const char *why)
{
    struct raw_answer answer;

    raw_publish(raw, 0, 5);
    raw_notify(raw, 0);
    assert_false(raw_next_used(raw, 0, &answer));
    assert_int_equal(raw_status(raw) & 0x40, 0x40);
    raw_expect_violation(raw, why);
    raw_start(raw);
    prepare_table(raw, 32);
}

static void test_ring_records_bad_indirect_tables(void **state)
{
    struct raw *raw = *state;
    uint64_t address = raw_slot_address(0);
    uint64_t table = RAW_MEMORY_BASE + TABLE;

    make_with(raw, VIOMMU_MODEL_F_INDIRECT_DESC);
    prepare_table(raw, 0);
    expect_broken(raw, "no multiple of 16");
    prepare_table(raw, 40);
    expect_broken(raw, "no multiple of 16");
    prepare_table(raw, 16 * (RAW_QUEUE_SIZE + 1));
    expect_broken(raw, "longer than the queue");
    raw_set_descriptor(raw, 0, 5, RAW_MEMORY_BASE + RAW_MEMORY_SIZE - 16, 32, INDIRECT, 0);
    expect_broken(raw, "not in memory");
    raw_set_descriptor(raw, 0, 5, table, 32, INDIRECT | NEXT, 6);
    expect_broken(raw, "has a next one");
    set_entry(raw, 1, table, 32, INDIRECT, 0);
    expect_broken(raw, "an indirect table in an indirect table");
    set_entry(raw, 1, address + 128, 4, 8, 0);
    expect_broken(raw, "not negotiated");
    set_entry(raw, 0, address, 20, NEXT, 2);
    expect_broken(raw, "leads out of itself");
    set_entry(raw, 1, address + 128, 4, WRITE | NEXT, 1);
    expect_broken(raw, "in circles");
    set_entry(raw, 1, address + 128, 0, WRITE, 0);
    expect_broken(raw, "length 0");
    set_entry(raw, 0, address + 128, 4, WRITE | NEXT, 1);
    set_entry(raw, 1, address, 20, 0, 0);
    expect_broken(raw, "readable descriptor behind a writable one");
    expect_attached(raw);
}

static void test_ring_takes_16_buffers_of_a_table_at_most(void **state)
{
    struct raw *raw = *state;
    uint64_t address = raw_slot_address(0);

    make_with(raw, VIOMMU_MODEL_F_INDIRECT_DESC);
    for (unsigned int extra = 0; extra < 2; extra++) {
        prepare_table(raw, 16 * (16 + extra));
        for (uint16_t i = 0; i < 15 + extra; i++) {
            set_entry(raw, i, address + i, i == 0 ? 5 : 1, NEXT, (uint16_t)(i + 1));
        }
        set_entry(raw, 0, address, 20, NEXT, 1);
        set_entry(raw, 15 + extra, address + 128, 4, WRITE, 0);
        if (extra == 0) {
            expect_attached(raw);
            raw_expect_violation(raw, "15 readable descriptors");
        } else {
            expect_broken(raw, "more than 16 buffers");
        }
    }
}

static void test_ring_records_indirect_tables_that_were_not_negotiated(void **state)
{
    struct raw *raw = *state;

    raw_start(raw);
    prepare_table(raw, 32);
    expect_broken(raw, "not negotiated");
}

static void test_ring_records_tables_that_change_in_flight(void **state)
{
    struct raw *raw = *state;

    make_with(raw, VIOMMU_MODEL_F_INDIRECT_DESC);
    viommu_model_set_processing(raw->model, VIOMMU_MODEL_AT_RUN);
    prepare_table(raw, 32);
    raw_publish(raw, 0, 5);
    raw_notify(raw, 0);
    set_entry(raw, 1, 0, 4, WRITE, 0);
    assert_int_equal(viommu_model_run(raw->model, 1), 1);
    raw_expect_violation(raw, "table was changed");
}

static void test_ring_scribbles_over_tables_and_names_what_no_table_has(void **state)
{
    struct raw *raw = *state;
    struct raw_answer answer;

    make_with(raw, VIOMMU_MODEL_F_INDIRECT_DESC);
    viommu_model_misbehave(raw->model, VIOMMU_MODEL_SCRIBBLE, 1, 0);
    prepare_table(raw, 32);
    expect_attached(raw);
    assert_int_equal(raw->memory[TABLE + 31], 0xff);
    prepare_table(raw, 32);
    viommu_model_misbehave(raw->model, VIOMMU_MODEL_USED_ID_MIDDLE, 1, 0);
    raw_publish(raw, 0, 5);
    raw_notify(raw, 0);
    assert_true(raw_next_used(raw, 0, &answer));
    assert_int_equal(answer.id, 6);
    raw_expect_violation(raw, "to its own domain");
}

/* ---- features of the platform -------------------------------------------------------------- */

static void test_ring_features_of_the_platform_can_be_negotiated_and_demanded(void **state)
{
    static const uint64_t features[] = {VIOMMU_MODEL_F_ORDER_PLATFORM,
                                        VIOMMU_MODEL_F_ACCESS_PLATFORM,
                                        VIOMMU_MODEL_F_INDIRECT_DESC};
    struct raw *raw = *state;
    uint64_t before = raw->parameters.offered_features;

    for (size_t i = 0; i < sizeof features / sizeof features[0]; i++) {
        raw->parameters.offered_features = before | features[i];
        raw->parameters.demanded_features = VIOMMU_MODEL_F_VERSION_1;
        raw_make_model(raw);
        assert_true(raw_negotiate(raw, ~features[i]));
        assert_true(raw_negotiate(raw, UINT64_MAX));
        assert_true((viommu_model_accepted_features(raw->model) & features[i]) != 0);
        raw->parameters.demanded_features |= features[i];
        raw_make_model(raw);
        assert_false(raw_negotiate(raw, ~features[i]));
        assert_true(raw_negotiate(raw, UINT64_MAX));
        raw->parameters.offered_features = before;
        raw_make_model(raw); /* a device that wants what it does not offer has no driver */
        assert_false(raw_negotiate(raw, UINT64_MAX));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RAW_TESTS(test_ring_takes_a_request_from_an_indirect_table),
        RAW_TESTS(test_ring_does_not_care_who_writes_an_indirect_table),
        RAW_TESTS(test_ring_follows_tables_in_any_order_and_with_unused_entries),
        RAW_TESTS(test_ring_takes_a_table_at_the_end_of_a_chain),
        RAW_TESTS(test_ring_records_bad_indirect_tables),
        RAW_TESTS(test_ring_takes_16_buffers_of_a_table_at_most),
        RAW_TESTS(test_ring_records_indirect_tables_that_were_not_negotiated),
        RAW_TESTS(test_ring_records_tables_that_change_in_flight),
        RAW_TESTS(test_ring_scribbles_over_tables_and_names_what_no_table_has),
        RAW_TESTS(test_ring_features_of_the_platform_can_be_negotiated_and_demanded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
