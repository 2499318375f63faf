/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* Tests of the device's end of the rings in the virtio-iommu model. */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "viommu_fixture.h"
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
    prepare_table(raw, 16 * RAW_QUEUE_SIZE);
    expect_attached(raw);
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

/* The answer to a PROBE goes into three buffers; what is asked is longer than it need be. */
static void test_ring_takes_long_requests_and_answers_them_in_pieces(void **state)
{
    struct raw *raw = *state;
    uint64_t address = raw_slot_address(0);
    uint64_t answer = raw_slot_address(1);
    uint8_t *bytes = raw_at(raw, answer);

    make_with(raw, VIOMMU_MODEL_F_INDIRECT_DESC);
    prepare_table(raw, 64);
    memset(raw_at(raw, address), 0, 300);
    *raw_at(raw, address) = VIOMMU_MODEL_PROBE;
    raw_put(raw_at(raw, address) + 4, 4, RAW_THIRD);
    memset(bytes, RAW_POISON, 1024);
    set_entry(raw, 0, address, 300, NEXT, 1);
    set_entry(raw, 1, answer, 20, WRITE | NEXT, 2);
    set_entry(raw, 2, answer + 100, 495, WRITE | NEXT, 3);
    set_entry(raw, 3, answer + 700, 1, WRITE, 0);
    raw_publish(raw, 0, 5);
    raw_notify(raw, 0);
    raw_expect_violation(raw, "(300 bytes)");
    assert_int_equal(raw_get(bytes, 4), 0x140001);
    assert_int_equal(raw_get(bytes + 8, 8), RAW_MSI_START);
    assert_int_equal(raw_get(bytes + 16, 4), RAW_MSI_END);
    assert_int_equal(bytes[20], RAW_POISON);
    assert_int_equal(raw_get(bytes + 100 + 4, 4), 0x140001);
    assert_int_equal(raw_get(bytes + 100 + 12, 8), RAW_RESERVED_START);
    assert_int_equal(raw_get(bytes + 100 + 491, 4), 0); /* the tail, but one byte */
    assert_int_equal(bytes[595], RAW_POISON);
    assert_int_equal(bytes[700], 0);
    assert_int_equal(bytes[701], RAW_POISON);
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
    prepare_table(raw, 32);
    raw_publish(raw, 0, 5);
    raw_notify(raw, 0);
    raw_set_descriptor(raw, 0, 5, RAW_MEMORY_BASE + TABLE, 48, INDIRECT, 0);
    assert_int_equal(viommu_model_run(raw->model, 1), 1);
    assert_int_equal(viommu_model_violations(raw->model), 2); /* and its own domain */
    assert_non_null(strstr(viommu_model_violation(raw->model, 0), "descriptor 5 was changed"));
    viommu_model_forget_violations(raw->model);
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
                                        VIOMMU_MODEL_F_INDIRECT_DESC, VIOMMU_MODEL_F_EVENT_IDX};
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

/* ---- doorbells ----------------------------------------------------------------------------- */

enum {
    AVAIL_EVENT = 0x600 + 4 + 8 * RAW_QUEUE_SIZE, /* in a ring */
    USED_EVENT = 0x400 + 4 + 2 * RAW_QUEUE_SIZE,
    USED_FLAGS = 0x600,
    AVAILABLE_FLAGS = 0x400,
};

static uint8_t *ring_word(struct raw *raw, unsigned int queue, unsigned int offset)
{
    return raw_at(raw, raw->rings[queue].base) + offset;
}

/* Makes `count` requests available, each in the next slot. They are DETACHes that are refused. */
static void post_some(struct raw *raw, unsigned int count)
{
    uint8_t request[20];

    raw_build_detach(request, 1, RAW_STRANGER);
    for (unsigned int i = 0; i < count; i++) {
        raw_post(raw, raw->rings[0].available % (RAW_QUEUE_SIZE / 2), request, sizeof request, 4);
    }
}

/* Counts, and takes, the requests that are done. */
static unsigned int take_all(struct raw *raw)
{
    unsigned int count = 0;
    struct raw_answer answer;

    while (raw_next_used(raw, 0, &answer)) {
        count++;
    }
    return count;
}

static void expect_doorbells(struct raw *raw, uint64_t superfluous, uint64_t missing)
{
    const struct viommu_model_counters *counters = viommu_model_counters(raw->model);

    assert_int_equal(counters->superfluous_doorbells[0], superfluous);
    assert_int_equal(counters->missing_doorbells[0], missing);
}

static void test_ring_counts_doorbells_that_nobody_needs(void **state)
{
    struct raw *raw = *state;

    raw_start(raw);
    post_some(raw, 2);
    raw_notify(raw, 0);
    expect_doorbells(raw, 0, 0);
    raw_notify(raw, 0); /* nothing is new */
    expect_doorbells(raw, 1, 0);
    viommu_model_set_notification(raw->model, 0, VIOMMU_MODEL_NOTIFY_NEVER, 0);
    assert_int_equal(raw_get(ring_word(raw, 0, USED_FLAGS), 2), 1);
    post_some(raw, 1);
    raw_notify(raw, 0);
    expect_doorbells(raw, 2, 0);
    assert_int_equal(take_all(raw), 3); /* but it is heard */
    viommu_model_set_notification(raw->model, 0, VIOMMU_MODEL_NOTIFY_ALWAYS, 0);
    assert_int_equal(raw_get(ring_word(raw, 0, USED_FLAGS), 2), 0);
    post_some(raw, 1);
    raw_notify(raw, 0);
    expect_doorbells(raw, 2, 0);
}

static void test_ring_counts_doorbells_that_are_missing_once_for_each_index(void **state)
{
    struct raw *raw = *state;

    raw_start(raw);
    viommu_model_tick(raw->model);
    expect_doorbells(raw, 0, 0);
    post_some(raw, 1);
    viommu_model_tick(raw->model);
    viommu_model_tick(raw->model);
    expect_doorbells(raw, 0, 1);
    assert_int_equal(take_all(raw), 0); /* the device does not see it */
    post_some(raw, 1);
    assert_int_equal(viommu_model_run(raw->model, SIZE_MAX), 0);
    expect_doorbells(raw, 0, 2);
    raw_notify(raw, 0);
    expect_doorbells(raw, 0, 2);
    assert_int_equal(take_all(raw), 2);
    raw_post_event_buffer(raw, 0, 24);
    viommu_model_tick(raw->model);
    assert_int_equal(viommu_model_counters(raw->model)->missing_doorbells[1], 1);
    expect_doorbells(raw, 0, 2);
}

static void test_ring_finds_by_itself_what_it_wants_no_doorbell_for(void **state)
{
    struct raw *raw = *state;

    for (unsigned int event_index = 0; event_index < 2; event_index++) {
        make_with(raw, event_index != 0 ? VIOMMU_MODEL_F_EVENT_IDX : 0);
        viommu_model_set_notification(raw->model, 0, VIOMMU_MODEL_NOTIFY_NEVER, 0);
        post_some(raw, 3);
        assert_int_equal(take_all(raw), 0);
        viommu_model_tick(raw->model);
        assert_int_equal(take_all(raw), 3);
        viommu_model_set_processing(raw->model, VIOMMU_MODEL_AT_RUN);
        post_some(raw, 3);
        viommu_model_tick(raw->model);
        assert_int_equal(take_all(raw), 0);
        post_some(raw, 1);
        assert_int_equal(viommu_model_run(raw->model, SIZE_MAX), 4);
        expect_doorbells(raw, 0, 0);
        raw_notify(raw, 0);
        expect_doorbells(raw, 1, 0);
    }
}

static void test_ring_looks_when_doorbells_are_switched_off(void **state)
{
    struct raw *raw = *state;
    uint8_t byte = 0;

    raw_start(raw);
    post_some(raw, 2);
    viommu_model_set_notification(raw->model, 0, VIOMMU_MODEL_NOTIFY_NEVER, 0);
    assert_int_equal(take_all(raw), 2);
    viommu_model_set_notification(raw->model, 1, VIOMMU_MODEL_NOTIFY_NEVER, 0);
    raw_post_event_buffer(raw, 0, 24);
    (void)viommu_model_dma(raw->model, RAW_ENDPOINT, 7, &byte, 1, true);
    raw_expect_event(raw, 1, 0x102, RAW_ENDPOINT, 7);
}

static void test_ring_wish_for_doorbells_outlasts_a_reset(void **state)
{
    struct raw *raw = *state;

    viommu_model_set_notification(raw->model, 0, VIOMMU_MODEL_NOTIFY_NEVER, 0);
    raw_start(raw);
    assert_int_equal(raw_get(ring_word(raw, 0, USED_FLAGS), 2), 1);
    raw_start(raw);
    assert_int_equal(raw_get(ring_word(raw, 0, USED_FLAGS), 2), 1);
    assert_int_equal(raw_get(ring_word(raw, 1, USED_FLAGS), 2), 0);
}

static void test_ring_sets_avail_event_to_what_it_has_seen(void **state)
{
    struct raw *raw = *state;

    make_with(raw, VIOMMU_MODEL_F_EVENT_IDX);
    assert_int_equal(raw_get(ring_word(raw, 0, AVAIL_EVENT), 2), 0);
    post_some(raw, 2);
    raw_notify(raw, 0);
    assert_int_equal(raw_get(ring_word(raw, 0, AVAIL_EVENT), 2), 2);
    viommu_model_set_notification(raw->model, 0, VIOMMU_MODEL_NOTIFY_NEVER, 0);
    assert_int_equal(raw_get(ring_word(raw, 0, AVAIL_EVENT), 2), 1);
    viommu_model_set_notification(raw->model, 0, VIOMMU_MODEL_NOTIFY_AFTER, 3);
    assert_int_equal(raw_get(ring_word(raw, 0, AVAIL_EVENT), 2), 4);
    assert_int_equal(raw_get(ring_word(raw, 0, USED_FLAGS), 2), 0);
    expect_doorbells(raw, 0, 0);
}

/* The event is 3 ahead: the doorbell is due when the third buffer is there, however it came. */
static void test_ring_wants_one_doorbell_after_some_buffers(void **state)
{
    struct raw *raw = *state;

    make_with(raw, VIOMMU_MODEL_F_EVENT_IDX);
    viommu_model_set_notification(raw->model, 0, VIOMMU_MODEL_NOTIFY_AFTER, 3);
    post_some(raw, 2);
    raw_notify(raw, 0); /* not yet: superfluous, and the event moves on */
    expect_doorbells(raw, 1, 0);
    assert_int_equal(raw_get(ring_word(raw, 0, AVAIL_EVENT), 2), 4);
    post_some(raw, 3);
    raw_notify(raw, 0);
    expect_doorbells(raw, 1, 0);
    post_some(raw, 5); /* more than that is fine */
    raw_notify(raw, 0);
    expect_doorbells(raw, 1, 0);
    post_some(raw, 2);
    viommu_model_tick(raw->model);
    expect_doorbells(raw, 1, 0);
    assert_int_equal(take_all(raw), 12);
    post_some(raw, 3);
    viommu_model_tick(raw->model);
    expect_doorbells(raw, 1, 1);
    assert_int_equal(take_all(raw), 3);
}

static void test_ring_knows_missing_doorbells_over_the_end_of_the_index(void **state)
{
    struct raw *raw = *state;
    unsigned int index = 0;

    make_with(raw, VIOMMU_MODEL_F_EVENT_IDX);
    while (index < 0x10010) {
        unsigned int step = index % 7 + 1;

        viommu_model_set_notification(raw->model, 0, VIOMMU_MODEL_NOTIFY_AFTER, (uint16_t)step);
        post_some(raw, step);
        index += step;
        raw_notify(raw, 0);
        expect_doorbells(raw, 0, 0);
        assert_int_equal(take_all(raw), step);
        assert_int_equal(raw_get(ring_word(raw, 0, AVAIL_EVENT), 2), (index + step - 1) & 0xffff);
    }
}

static void test_ring_lies_about_the_doorbells_it_wants(void **state)
{
    struct raw *raw = *state;

    make_with(raw, VIOMMU_MODEL_F_EVENT_IDX);
    viommu_model_misbehave(raw->model, VIOMMU_MODEL_AVAIL_EVENT, 0, 0x1234);
    post_some(raw, 1);
    raw_notify(raw, 0);
    assert_int_equal(raw_get(ring_word(raw, 0, AVAIL_EVENT), 2), 0x1234);
    post_some(raw, 1);
    raw_notify(raw, 0);
    expect_doorbells(raw, 1, 0);
    assert_int_equal(take_all(raw), 2);
    raw->parameters.offered_features &= ~VIOMMU_MODEL_F_EVENT_IDX;
    raw_make_model(raw);
    raw_start(raw);
    viommu_model_misbehave(raw->model, VIOMMU_MODEL_USED_FLAGS, 0, 0xffff);
    post_some(raw, 1);
    raw_notify(raw, 0);
    assert_int_equal(raw_get(ring_word(raw, 0, USED_FLAGS), 2), 0xffff);
}

/* ---- interrupts ---------------------------------------------------------------------------- */

/* Whether there was an interrupt, which is over then. */
static bool interrupted(struct raw *raw)
{
    bool pending = viommu_model_interrupt_pending(raw->model);

    if (raw->parameters.transport == VIOMMU_MODEL_MMIO) {
        raw_write(raw, RAW_MMIO_INTERRUPT_ACK, 4, raw_read(raw, RAW_MMIO_INTERRUPT_STATUS, 4));
    } else {
        (void)raw_read(raw, VIOMMU_MODEL_ISR_OFFSET, 1);
    }
    assert_false(viommu_model_interrupt_pending(raw->model));
    return pending;
}

static void test_ring_interrupts_when_used_event_is_passed(void **state)
{
    static const struct {
        uint16_t event; /* from the index before */
        unsigned int requests;
        bool interrupt;
    } cases[] = {
        {0, 1, true},  {1, 1, false},      {0xffff, 1, false}, {2, 3, true},
        {3, 3, false}, {0x8000, 8, false}, {0, 8, true},       {7, 8, true},
    };
    struct raw *raw = *state;
    uint64_t spared = 0;

    make_with(raw, VIOMMU_MODEL_F_EVENT_IDX);
    viommu_model_set_processing(raw->model, VIOMMU_MODEL_AT_RUN);
    viommu_model_set_batch(raw->model, UINT16_MAX);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        raw_put(ring_word(raw, 0, USED_EVENT), 2, raw->rings[0].seen + cases[i].event);
        post_some(raw, cases[i].requests);
        raw_notify(raw, 0);
        assert_int_equal(viommu_model_run(raw->model, SIZE_MAX), cases[i].requests);
        assert_int_equal(take_all(raw), cases[i].requests);
        assert_int_equal(interrupted(raw), cases[i].interrupt);
        spared += cases[i].interrupt ? 0 : 1;
        assert_int_equal(viommu_model_counters(raw->model)->interrupts_spared, spared);
    }
}

static void test_ring_interrupts_by_used_event_over_the_end_of_the_index(void **state)
{
    struct raw *raw = *state;
    unsigned int interrupts = 0;

    make_with(raw, VIOMMU_MODEL_F_EVENT_IDX);
    for (unsigned int i = 0; i < 0x10010; i++) {
        raw_put(ring_word(raw, 0, USED_EVENT), 2, i / 4 * 4 + 3);
        post_some(raw, 1);
        raw_notify(raw, 0);
        assert_int_equal(take_all(raw), 1);
        assert_int_equal(interrupted(raw), i % 4 == 3);
        interrupts += i % 4 == 3 ? 1 : 0;
    }
    assert_int_equal(viommu_model_counters(raw->model)->interrupts, interrupts);
}

static void test_ring_ignores_the_flag_when_there_is_an_event_index(void **state)
{
    struct raw *raw = *state;

    make_with(raw, VIOMMU_MODEL_F_EVENT_IDX);
    raw_put(ring_word(raw, 0, AVAILABLE_FLAGS), 2, 1);
    post_some(raw, 1);
    raw_notify(raw, 0);
    raw_expect_violation(raw, "flags 0x1");
    assert_true(interrupted(raw));
}

static void test_ring_may_interrupt_for_nothing(void **state)
{
    struct raw *raw = *state;

    raw_start(raw);
    viommu_model_raise_for_nothing(raw->model);
    assert_true(interrupted(raw));
    assert_int_equal(take_all(raw), 0);
}

/* ---- time ---------------------------------------------------------------------------------- */

static void test_ring_completes_after_some_ticks(void **state)
{
    struct raw *raw = *state;

    raw_start(raw);
    viommu_model_set_processing(raw->model, VIOMMU_MODEL_AT_TICK);
    viommu_model_set_delay(raw->model, 3);
    post_some(raw, 1);
    raw_notify(raw, 0);
    viommu_model_tick(raw->model);
    post_some(raw, 2);
    raw_notify(raw, 0);
    viommu_model_tick(raw->model);
    assert_int_equal(take_all(raw), 0);
    viommu_model_tick(raw->model);
    assert_int_equal(take_all(raw), 1);
    assert_int_equal(viommu_model_pending(raw->model), 2);
    viommu_model_tick(raw->model);
    assert_int_equal(take_all(raw), 2);
    viommu_model_set_delay(raw->model, 0);
    post_some(raw, 1);
    raw_notify(raw, 0);
    assert_int_equal(take_all(raw), 0); /* not inside the doorbell */
    viommu_model_tick(raw->model);
    assert_int_equal(take_all(raw), 1);
    viommu_model_set_delay(raw->model, UINT64_MAX / 2);
    post_some(raw, 1);
    raw_notify(raw, 0);
    viommu_model_tick(raw->model);
    assert_int_equal(viommu_model_run(raw->model, 1), 1); /* the test may be in a hurry */
}

static void test_ring_holds_a_request_until_it_is_told(void **state)
{
    struct raw *raw = *state;
    struct raw_answer answer;

    raw_start(raw);
    viommu_model_hold(raw->model, 2);
    post_some(raw, 3);
    raw_notify(raw, 0);
    assert_true(raw_next_used(raw, 0, &answer));
    assert_int_equal(answer.id, 0);
    assert_true(raw_next_used(raw, 0, &answer));
    assert_int_equal(answer.id, 4);
    assert_int_equal(viommu_model_run(raw->model, SIZE_MAX), 0);
    assert_int_equal(viommu_model_pending(raw->model), 1);
    viommu_model_release(raw->model);
    assert_true(raw_next_used(raw, 0, &answer));
    assert_int_equal(answer.id, 2);
    viommu_model_set_processing(raw->model, VIOMMU_MODEL_AT_RUN);
    viommu_model_hold(raw->model, 1);
    post_some(raw, 1);
    raw_notify(raw, 0);
    viommu_model_release(raw->model);
    assert_int_equal(take_all(raw), 0);
    assert_int_equal(viommu_model_run(raw->model, SIZE_MAX), 1);
}

static void test_ring_shows_completions_in_batches(void **state)
{
    struct raw *raw = *state;

    raw_start(raw);
    viommu_model_set_processing(raw->model, VIOMMU_MODEL_AT_RUN);
    viommu_model_set_batch(raw->model, 3);
    post_some(raw, 7);
    raw_notify(raw, 0);
    for (unsigned int i = 1; i <= 7; i++) {
        assert_int_equal(viommu_model_run(raw->model, 1), 1);
        assert_int_equal(take_all(raw), i == 3 || i == 6 ? 3 : i == 7 ? 1 : 0);
        assert_int_equal(interrupted(raw), i == 3 || i == 6 || i == 7);
    }
    assert_int_equal(viommu_model_counters(raw->model)->interrupts, 3);
}

static void test_ring_shows_what_is_done_before_it_needs_a_reset(void **state)
{
    struct raw *raw = *state;

    raw_start(raw);
    viommu_model_set_processing(raw->model, VIOMMU_MODEL_AT_RUN);
    viommu_model_set_batch(raw->model, 5);
    viommu_model_misbehave(raw->model, VIOMMU_MODEL_NEEDS_RESET_AFTER, 2, 0);
    post_some(raw, 3);
    raw_notify(raw, 0);
    assert_int_equal(viommu_model_run(raw->model, SIZE_MAX), 2);
    assert_int_equal(take_all(raw), 2);
    assert_int_equal(raw_status(raw), 0x4f);
}

static void test_ring_that_wakes_up_has_its_event_buffers(void **state)
{
    struct raw *raw = *state;
    uint8_t byte = 0;

    raw_start(raw);
    viommu_model_set_processing(raw->model, VIOMMU_MODEL_NEVER);
    raw_post_event_buffers(raw, 1);
    (void)viommu_model_dma(raw->model, RAW_ENDPOINT, 1, &byte, 1, true);
    assert_int_equal(viommu_model_counters(raw->model)->events_dropped, 1);
    viommu_model_set_processing(raw->model, VIOMMU_MODEL_AT_DOORBELL);
    (void)viommu_model_dma(raw->model, RAW_ENDPOINT, 2, &byte, 1, true);
    raw_expect_event(raw, 1, 0x102, RAW_ENDPOINT, 2);
}

static void test_ring_records_buffers_that_move_or_are_not_in_memory(void **state)
{
    struct raw *raw = *state;
    uint8_t request[20];
    uint8_t byte = 0;

    raw_start(raw);
    raw_post_event_buffers(raw, 1);
    raw_set_descriptor(raw, 1, 0, RAW_MEMORY_BASE + RAW_EVENTS, 32, WRITE, 0);
    (void)viommu_model_dma(raw->model, RAW_ENDPOINT, 1, &byte, 1, true);
    raw_expect_violation(raw, "changed in flight");
    raw_set_descriptor(raw, 1, 0, RAW_MEMORY_BASE + RAW_MEMORY_SIZE, 24, WRITE, 0);
    raw_publish(raw, 1, 0);
    raw_notify(raw, 1);
    (void)viommu_model_dma(raw->model, RAW_ENDPOINT, 1, &byte, 1, true);
    raw_expect_violation(raw, "an event buffer that is not in memory");
    raw_build_detach(request, 1, RAW_STRANGER);
    raw_post(raw, 0, request, sizeof request, 4);
    raw_set_descriptor(raw, 0, 1, RAW_MEMORY_BASE + RAW_MEMORY_SIZE - 2, 4, WRITE, 0);
    raw_notify(raw, 0);
    raw_expect_violation(raw, "a writable buffer that is not in memory");
}

static void test_ring_holds_64_events_at_most(void **state)
{
    struct raw *raw = *state;
    uint8_t byte = 0;

    raw->parameters.hold_events = true;
    raw_make_model(raw);
    raw_start(raw);
    for (unsigned int i = 0; i < 66; i++) {
        (void)viommu_model_dma(raw->model, RAW_ENDPOINT, i, &byte, 1, true);
    }
    assert_int_equal(viommu_model_counters(raw->model)->events_dropped, 2);
    raw_post_event_buffers(raw, RAW_QUEUE_SIZE);
    for (unsigned int i = 0; i < 64; i++) {
        raw_expect_event(raw, 1, 0x102, RAW_ENDPOINT, i);
    }
}

static void test_ring_completes_batches_out_of_order_with_delay(void **state)
{
    struct raw *raw = *state;
    struct raw_answer answer;

    raw_start(raw);
    viommu_model_set_processing(raw->model, VIOMMU_MODEL_AT_TICK);
    viommu_model_set_delay(raw->model, 2);
    viommu_model_set_order(raw->model, VIOMMU_MODEL_REVERSED, 0);
    viommu_model_set_batch(raw->model, 4);
    post_some(raw, 3);
    raw_notify(raw, 0);
    viommu_model_tick(raw->model);
    viommu_model_hold(raw->model, 1);
    post_some(raw, 1);
    raw_notify(raw, 0);
    viommu_model_tick(raw->model);
    for (unsigned int i = 0; i < 3; i++) {
        assert_true(raw_next_used(raw, 0, &answer));
        assert_int_equal(answer.id, 4 - 2 * i);
    }
}

/* ---- in the fixture ------------------------------------------------------------------------ */

static void test_ring_fixture_ticks_while_the_library_waits(void **state)
{
    struct viommu_fixture_options options;
    struct viommu_fixture *fixture;

    (void)state;
    viommu_fixture_default_options(&options);
    options.processing = VIOMMU_MODEL_AT_TICK;
    options.delay = 3;
    fixture = viommu_fixture_started(&options);
    viommu_model_set_notification(fixture->model, 0, VIOMMU_MODEL_NOTIFY_NEVER, 0);
    (void)viommu_fixture_add_device(fixture, RAW_ENDPOINT);
    assert_true(viommu_fixture_count(fixture, 0) > 0);
    assert_int_equal(viommu_model_counters(fixture->model)->missing_doorbells[0], 0);
    viommu_fixture_destroy(fixture);
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
        RAW_TESTS(test_ring_takes_long_requests_and_answers_them_in_pieces),
        RAW_TESTS_OF_ALL_RINGS(test_ring_records_indirect_tables_that_were_not_negotiated),
        RAW_TESTS(test_ring_records_tables_that_change_in_flight),
        RAW_TESTS(test_ring_scribbles_over_tables_and_names_what_no_table_has),
        RAW_TESTS_OF_ALL_RINGS(test_ring_features_of_the_platform_can_be_negotiated_and_demanded),
        RAW_TESTS(test_ring_counts_doorbells_that_nobody_needs),
        RAW_TESTS_OF_ALL_RINGS(test_ring_counts_doorbells_that_are_missing_once_for_each_index),
        RAW_TESTS_OF_ALL_RINGS(test_ring_finds_by_itself_what_it_wants_no_doorbell_for),
        RAW_TESTS_OF_ALL_RINGS(test_ring_looks_when_doorbells_are_switched_off),
        RAW_TESTS(test_ring_wish_for_doorbells_outlasts_a_reset),
        RAW_TESTS(test_ring_sets_avail_event_to_what_it_has_seen),
        RAW_TESTS(test_ring_wants_one_doorbell_after_some_buffers),
        RAW_TESTS(test_ring_knows_missing_doorbells_over_the_end_of_the_index),
        RAW_TESTS(test_ring_lies_about_the_doorbells_it_wants),
        RAW_TESTS(test_ring_interrupts_when_used_event_is_passed),
        RAW_TESTS(test_ring_interrupts_by_used_event_over_the_end_of_the_index),
        RAW_TESTS(test_ring_ignores_the_flag_when_there_is_an_event_index),
        RAW_TESTS_OF_ALL_RINGS(test_ring_may_interrupt_for_nothing),
        RAW_TESTS_OF_ALL_RINGS(test_ring_completes_after_some_ticks),
        RAW_TESTS_OF_ALL_RINGS(test_ring_holds_a_request_until_it_is_told),
        RAW_TESTS_OF_ALL_RINGS(test_ring_shows_completions_in_batches),
        RAW_TESTS_OF_ALL_RINGS(test_ring_shows_what_is_done_before_it_needs_a_reset),
        RAW_TESTS_OF_ALL_RINGS(test_ring_that_wakes_up_has_its_event_buffers),
        RAW_TESTS(test_ring_records_buffers_that_move_or_are_not_in_memory),
        RAW_TESTS_OF_ALL_RINGS(test_ring_holds_64_events_at_most),
        RAW_TESTS_OF_ALL_RINGS(test_ring_completes_batches_out_of_order_with_delay),
        cmocka_unit_test(test_ring_fixture_ticks_while_the_library_waits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
