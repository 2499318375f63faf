/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* Tests of the packed rings of the virtio-iommu model, byte for byte. */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "viommu_raw.h"

enum {
    NEXT = 0x0001,
    WRITE = 0x0002,
    INDIRECT = 0x0004,
    AVAILABLE = 0x0080,
    USED = 0x8000,

    TABLE = 0x20000, /* where indirect tables are put */

    ALWAYS = 0,
    NEVER = 1,
    AT_DESCRIPTOR = 2,
};

static void start_with(struct raw *raw, uint64_t features, uint16_t size)
{
    raw->parameters.offered_features |= features;
    raw->queue_size = size;
    raw_make_model(raw);
    raw_start(raw);
}

/* ---- a driver ------------------------------------------------------------------------------ */

static void put_bytes(uint8_t *at, uint64_t address, uint32_t length, uint16_t id, uint16_t flags)
{
    raw_put(at, 8, address);
    raw_put(at + 8, 4, length);
    raw_put(at + 12, 2, id);
    raw_put(at + 14, 2, flags);
}

/* An available descriptor. */
static void put(struct raw *raw, uint64_t place, uint64_t address, uint32_t length, uint16_t id,
                uint16_t flags)
{
    put_bytes(raw_at_place(raw, 0, place), address, length, id,
              raw_available_flags(raw, place, flags));
}

static void set_flags(struct raw *raw, uint64_t place, uint16_t flags)
{
    raw_put(raw_at_place(raw, 0, place) + 14, 2, flags);
}

/* A DETACH that is refused, with its bytes in so many readable descriptors; 3 at most. */
static void post_in_pieces(struct raw *raw, uint64_t place, uint16_t id, unsigned int pieces)
{
    uint64_t address = raw_slot_address(id);

    raw_build_detach(raw_at(raw, address), 1, RAW_STRANGER);
    memset(raw_at(raw, address) + 128, RAW_POISON, 4);
    put(raw, place + pieces, address + 128, 4, id, WRITE);
    for (unsigned int i = pieces; i-- > 0;) {
        put(raw, place + i, address + 4 * i, i == pieces - 1 ? 20 - 4 * i : 4, id, NEXT);
    }
}

static void post(struct raw *raw, uint64_t place, uint16_t id)
{
    post_in_pieces(raw, place, id, 1);
}

/* Some devices take no requests in pieces, which is recorded; but here they say nothing. */
static void forget_pieces(struct raw *raw)
{
    for (size_t i = 0; viommu_model_violation(raw->model, i) != NULL; i++) {
        if (strstr(viommu_model_violation(raw->model, i), "readable descriptors (20 bytes)") ==
            NULL) {
            return;
        }
    }
    viommu_model_forget_violations(raw->model);
}

static bool is_used(struct raw *raw, uint64_t place)
{
    return (raw_get(raw_at_place(raw, 0, place) + 14, 2) & (AVAILABLE | USED)) ==
           raw_used_flags(raw, place);
}

static void expect_used(struct raw *raw, uint64_t place, uint16_t id, uint32_t length)
{
    const uint8_t *entry = raw_at_place(raw, 0, place);
    uint16_t flags = raw_used_flags(raw, place);

    assert_int_equal(raw_get(entry + 8, 4), length);
    assert_int_equal(raw_get(entry + 12, 2), id);
    assert_int_equal(raw_get(entry + 14, 2), length != 0 ? flags | WRITE : flags);
}

static void expect_broken(struct raw *raw, const char *why)
{
    raw_notify(raw, 0);
    assert_int_equal(raw_status(raw) & 0x40, 0x40);
    raw_expect_violation(raw, why);
    raw_start(raw);
}

/* ---- memory -------------------------------------------------------------------------------- */

static bool enable_queue(struct raw *raw, uint32_t size, uint64_t ring, uint64_t driver,
                         uint64_t device)
{
    const struct raw_registers *registers = raw->registers;

    assert_true(raw_negotiate(raw, UINT64_MAX));
    raw_write(raw, registers->queue_select, registers->queue_width, 0);
    (void)raw_read(raw, registers->queue_max, registers->queue_width);
    raw_write(raw, registers->queue_size, registers->queue_width, size);
    raw_write_address(raw, registers->descriptors, RAW_MEMORY_BASE + ring);
    raw_write_address(raw, registers->driver, RAW_MEMORY_BASE + driver);
    raw_write_address(raw, registers->device, RAW_MEMORY_BASE + device);
    raw_write(raw, registers->queue_enable, registers->queue_width, 1);
    return raw_read(raw, registers->queue_enable, registers->queue_width) == 1;
}

static void test_packed_rings_have_any_size(void **state)
{
    struct raw *raw = *state;

    for (uint32_t size = 1; size <= 256; size++) {
        assert_true(enable_queue(raw, size, 0, 0x1000, 0x1004));
    }
    raw->parameters.queue_size[0] = 32768;
    raw_make_model(raw);
    assert_true(enable_queue(raw, 16000, 0, 0x3f000, 0x3f004));
    raw->parameters.queue_size[0] = 100;
    raw_make_model(raw);
    assert_true(enable_queue(raw, 100, 0, 0x1000, 0x1004));
    (void)enable_queue(raw, 101, 0, 0x1000, 0x1004); /* then it has 100 entries */
    raw_expect_violation(raw, "queue size 101");
    (void)enable_queue(raw, 0, 0, 0x1000, 0x1004);
    raw_expect_violation(raw, "queue size 0");
}

static void test_packed_rings_are_aligned_and_in_memory(void **state)
{
    const uint64_t end = RAW_MEMORY_SIZE;
    static const uint64_t misaligned[][3] = {
        {8, 0x1000, 0x1004}, {0, 0x1002, 0x1004}, {0, 0x1000, 0x1006}};
    struct raw *raw = *state;

    for (size_t i = 0; i < sizeof misaligned / sizeof misaligned[0]; i++) {
        assert_false(enable_queue(raw, 5, misaligned[i][0], misaligned[i][1], misaligned[i][2]));
        raw_expect_violation(raw, "not aligned");
    }
    assert_true(enable_queue(raw, 5, end - 80, 0, 4));
    assert_false(enable_queue(raw, 6, end - 80, 0, 4));
    raw_expect_violation(raw, "not in memory");
    assert_true(enable_queue(raw, 5, 0, end - 4, 0x1000));
    assert_false(enable_queue(raw, 5, 0, end, 0x1000));
    raw_expect_violation(raw, "not in memory");
    assert_true(enable_queue(raw, 5, 0, 0x1000, end - 4));
    assert_false(enable_queue(raw, 5, 0, 0x1000, end));
    raw_expect_violation(raw, "not in memory");
}

/* ---- chains -------------------------------------------------------------------------------- */

static void test_packed_ring_answers_in_the_place_of_the_request(void **state)
{
    struct raw *raw = *state;
    uint8_t before[16];

    start_with(raw, 0, 7);
    post(raw, 0, 5);
    memcpy(before, raw_at_place(raw, 0, 1), 16);
    raw_notify(raw, 0);
    expect_used(raw, 0, 5, 4);
    assert_int_equal(*raw_at(raw, raw_slot_address(5) + 128), VIOMMU_MODEL_S_NOENT);
    assert_memory_equal(raw_at_place(raw, 0, 1), before, 16);
}

/* Chains of one to four descriptors, over many ends of rings of all small sizes. */
static void test_packed_ring_turns_its_wrap_counter_over_at_each_end(void **state)
{
    struct raw *raw = *state;

    for (uint16_t size = 2; size <= 9; size++) {
        uint64_t place = 0;

        start_with(raw, 0, size);
        for (uint16_t i = 0; i < 12 * size; i++) {
            unsigned int pieces = 1 + i % (size < 4 ? size - 1U : 3U);

            post_in_pieces(raw, place, i % size, pieces);
            raw_notify(raw, 0);
            expect_used(raw, place, i % size, 4);
            place += pieces + 1;
            assert_false(is_used(raw, place));
            forget_pieces(raw);
        }
        assert_int_equal(viommu_model_counters(raw->model)->superfluous_doorbells[0], 0);
    }
}

static void test_packed_ring_stops_at_what_is_not_available(void **state)
{
    struct raw *raw = *state;

    start_with(raw, 0, 16);
    viommu_model_set_processing(raw->model, VIOMMU_MODEL_AT_RUN);
    post(raw, 0, 0);
    post(raw, 2, 1);
    post(raw, 4, 2);
    set_flags(raw, 2, 0);
    raw_notify(raw, 0);
    assert_int_equal(viommu_model_run(raw->model, SIZE_MAX), 1);
    set_flags(raw, 2, AVAILABLE | NEXT);
    assert_int_equal(viommu_model_unannounced(raw->model, 0), 2);
    raw_notify(raw, 0);
    assert_int_equal(viommu_model_pending(raw->model), 2);
    assert_int_equal(viommu_model_run(raw->model, SIZE_MAX), 2);
}

static void test_packed_ring_skips_what_a_chain_has_when_it_is_used_out_of_order(void **state)
{
    struct raw *raw = *state;

    start_with(raw, 0, 10);
    viommu_model_set_processing(raw->model, VIOMMU_MODEL_AT_RUN);
    viommu_model_set_order(raw->model, VIOMMU_MODEL_REVERSED, 0);
    post_in_pieces(raw, 0, 8, 1);
    post_in_pieces(raw, 2, 3, 3);
    post_in_pieces(raw, 6, 9, 2);
    raw_notify(raw, 0);
    assert_int_equal(viommu_model_run(raw->model, 1), 1);
    expect_used(raw, 0, 9, 4); /* it had three descriptors */
    assert_false(is_used(raw, 3));
    post_in_pieces(raw, 9, 1, 3); /* which are the driver's again, though the first is in flight */
    raw_notify(raw, 0);
    viommu_model_set_order(raw->model, VIOMMU_MODEL_IN_ORDER, 0);
    assert_int_equal(viommu_model_run(raw->model, 3), 3);
    expect_used(raw, 3, 8, 4);
    expect_used(raw, 5, 3, 4);
    expect_used(raw, 9, 1, 4);
    forget_pieces(raw);
}

/* Chains of random lengths that come back in a random order; what is free is used at once. */
static void test_packed_ring_keeps_account_in_any_order(void **state)
{
    struct raw *raw = *state;
    unsigned int counts[11] = {0};
    uint64_t next = 0;
    uint64_t next_used = 0;
    uint32_t random = 1;

    start_with(raw, 0, 11);
    viommu_model_set_processing(raw->model, VIOMMU_MODEL_AT_RUN);
    viommu_model_set_order(raw->model, VIOMMU_MODEL_SHUFFLED, 7);
    for (unsigned int step = 0; step < 5000; step++) {
        unsigned int pieces;
        uint16_t id = 0;

        random = random * 1664525 + 1013904223;
        pieces = 1 + (random >> 28) % 3;
        while (id < 11 && counts[id] != 0) {
            id++;
        }
        if ((random >> 20) % 3 != 0 && next + pieces + 1 - next_used <= 11) {
            assert_in_range(id, 0, 10);
            post_in_pieces(raw, next, id, pieces);
            counts[id] = pieces + 1;
            next += pieces + 1;
            raw_notify(raw, 0);
        } else if (next != next_used) {
            assert_int_equal(viommu_model_run(raw->model, 1), 1);
            assert_true(is_used(raw, next_used));
            id = (uint16_t)raw_get(raw_at_place(raw, 0, next_used) + 12, 2);
            assert_in_range(id, 0, 10);
            assert_int_not_equal(counts[id], 0);
            next_used += counts[id];
            counts[id] = 0;
        }
        forget_pieces(raw);
    }
    assert_true(next > 1000);
}

static void test_packed_ring_flags_what_it_has_written(void **state)
{
    struct raw *raw = *state;

    for (unsigned int unsaid = 0; unsaid < 2; unsaid++) {
        raw->parameters.write_is_unsaid = unsaid != 0;
        start_with(raw, 0, 8);
        post(raw, 0, 1);
        raw_notify(raw, 0);
        assert_int_equal(raw_get(raw_at_place(raw, 0, 0) + 14, 2),
                         AVAILABLE | USED | (unsaid != 0 ? 0 : WRITE));
        assert_int_equal(raw_get(raw_at_place(raw, 0, 0) + 8, 4), 4);
    }
    post(raw, 2, 1);
    *raw_at(raw, raw_slot_address(1)) = 99;
    raw_notify(raw, 0);
    expect_used(raw, 2, 1, 0); /* it does not know what that is, and writes nothing */
    raw_expect_violation(raw, "type 99");
}

/* ---- the order of writes ------------------------------------------------------------------- */

static unsigned int flag_writes;

/* Whoever sees that the first is used has to find everything else. */
static void check_write(struct raw *raw, uint64_t physical, size_t size)
{
    uint64_t flags = raw->rings[0].base + 14;

    if (physical > flags || physical + size <= flags) {
        return;
    }
    flag_writes++;
    assert_int_equal(size, 2);
    expect_used(raw, 0, 0, 4);
    expect_used(raw, 2, 1, 4);
    expect_used(raw, 4, 2, 4);
    for (unsigned int id = 0; id < 3; id++) {
        assert_int_equal(*raw_at(raw, raw_slot_address(id) + 128), VIOMMU_MODEL_S_NOENT);
    }
}

static void test_packed_ring_shows_a_batch_by_the_flags_of_the_first(void **state)
{
    struct raw *raw = *state;

    start_with(raw, 0, 12);
    viommu_model_set_processing(raw->model, VIOMMU_MODEL_AT_RUN);
    viommu_model_set_batch(raw->model, 3);
    for (uint16_t i = 0; i < 5; i++) {
        post(raw, 2 * i, i);
    }
    raw_notify(raw, 0);
    flag_writes = 0;
    raw->on_write = check_write;
    assert_int_equal(viommu_model_run(raw->model, 2), 2);
    assert_int_equal(flag_writes, 0);
    assert_false(is_used(raw, 0));
    assert_int_equal(viommu_model_run(raw->model, 1), 1);
    assert_int_equal(flag_writes, 1);
    raw->on_write = NULL;
    assert_int_equal(viommu_model_run(raw->model, 1), 1);
    assert_false(is_used(raw, 6));
    assert_int_equal(viommu_model_run(raw->model, 1), 1);
    expect_used(raw, 6, 3, 4);
    expect_used(raw, 8, 4, 4);
    assert_int_equal(viommu_model_counters(raw->model)->interrupts, 1);
}

/* ---- mistakes ------------------------------------------------------------------------------ */

static void test_packed_ring_records_chains_that_are_available_before_they_are_whole(void **state)
{
    static const uint16_t flags[] = {0, WRITE, WRITE | USED, WRITE | AVAILABLE | USED};
    struct raw *raw = *state;

    start_with(raw, 0, 8);
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        post(raw, 0, 1);
        set_flags(raw, 1, flags[i]);
        expect_broken(raw, "before all of its descriptors");
    }
    /* Behind the end of the ring it is the other counter that counts. */
    post_in_pieces(raw, 0, 1, 3);
    raw_notify(raw, 0);
    post_in_pieces(raw, 4, 1, 2);
    raw_notify(raw, 0);
    forget_pieces(raw);
    post(raw, 7, 1);
    set_flags(raw, 8, WRITE | AVAILABLE);
    expect_broken(raw, "before all of its descriptors");
}

static void test_packed_ring_records_a_wrong_wrap_counter(void **state)
{
    static const uint16_t flags[] = {USED, AVAILABLE | USED, NEXT};
    struct raw *raw = *state;

    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        start_with(raw, 0, 8);
        post(raw, 0, 1);
        set_flags(raw, 0, flags[i]);
        raw_notify(raw, 0);
        raw_expect_violation(raw, "descriptor 0 with flags");
        assert_false(is_used(raw, 0) && flags[i] != (AVAILABLE | USED));
    }
    start_with(raw, 0, 4);
    for (uint64_t place = 0; place < 12; place += 2) {
        post(raw, place, 1);
        raw_notify(raw, 0);
        raw_notify(raw, 0); /* nothing is new, but nothing is wrong */
        expect_used(raw, place, 1, 4);
    }
    post(raw, 12 + 4, 1); /* with the flags of the next lap */
    raw_notify(raw, 0);
    raw_expect_violation(raw, "descriptor 0 with flags");
}

static void test_packed_ring_records_flags_that_mean_nothing(void **state)
{
    struct raw *raw = *state;

    start_with(raw, 0, 8);
    for (unsigned int bit = 2; bit < 15; bit++) {
        uint16_t flag = (uint16_t)(1U << bit);

        if (flag == AVAILABLE) {
            continue;
        }
        for (unsigned int place = 0; place < 2; place++) {
            post(raw, 0, 1);
            set_flags(raw, place, AVAILABLE | flag | (place == 0 ? NEXT : WRITE));
            expect_broken(raw, "not negotiated");
        }
    }
}

static void test_packed_ring_records_ids_that_cannot_be(void **state)
{
    struct raw *raw = *state;

    start_with(raw, 0, 8);
    post(raw, 0, 7);
    raw_put(raw_at_place(raw, 0, 0) + 12, 2, 0xffff); /* that of the first means nothing */
    raw_notify(raw, 0);
    expect_used(raw, 0, 7, 4);
    post(raw, 2, 8);
    expect_broken(raw, "id that does not exist");
    viommu_model_set_processing(raw->model, VIOMMU_MODEL_AT_RUN);
    post(raw, 0, 7);
    post(raw, 2, 6);
    raw_notify(raw, 0);
    post(raw, 4, 7);
    expect_broken(raw, "in flight already");
    viommu_model_set_processing(raw->model, VIOMMU_MODEL_AT_DOORBELL);
    post(raw, 0, 7);
    raw_notify(raw, 0);
    post(raw, 2, 7); /* it has come back */
    raw_notify(raw, 0);
    expect_used(raw, 2, 7, 4);
}

static void test_packed_ring_records_more_than_it_has_room_for(void **state)
{
    struct raw *raw = *state;

    start_with(raw, 0, 4);
    viommu_model_set_processing(raw->model, VIOMMU_MODEL_AT_RUN);
    post(raw, 0, 0);
    post(raw, 2, 1);
    raw_notify(raw, 0);
    raw_notify(raw, 0);
    assert_int_equal(viommu_model_violations(raw->model), 0); /* it may be full */
    post(raw, 4, 2);
    expect_broken(raw, "too far");
    for (uint64_t place = 0; place < 4; place++) {
        put(raw, place, RAW_MEMORY_BASE, 4, 0, NEXT);
    }
    expect_broken(raw, "too far"); /* an endless chain */
}

static void test_packed_ring_records_bad_chains(void **state)
{
    struct raw *raw = *state;
    uint64_t address = raw_slot_address(0);

    start_with(raw, 0, 20);
    put(raw, 0, address, 4, 0, NEXT | WRITE);
    put(raw, 1, address, 4, 0, 0);
    expect_broken(raw, "readable descriptor behind a writable one");
    put(raw, 0, address, 0, 0, 0);
    expect_broken(raw, "length 0");
    put(raw, 0, RAW_MEMORY_BASE + RAW_MEMORY_SIZE - 8, 20, 0, 0);
    expect_broken(raw, "not in memory");
    for (uint64_t place = 0; place < 17; place++) {
        put(raw, place, address, 4, 0, place < 16 ? NEXT : WRITE);
    }
    expect_broken(raw, "more than 16");
}

static void test_packed_ring_records_what_changes_in_flight(void **state)
{
    struct raw *raw = *state;

    start_with(raw, 0, 8);
    viommu_model_set_processing(raw->model, VIOMMU_MODEL_AT_RUN);
    for (unsigned int byte = 0; byte < 32; byte++) {
        uint64_t place = 2 * (uint64_t)byte;

        post(raw, place, 1);
        raw_notify(raw, 0);
        raw_at_place(raw, 0, place + byte / 16)[byte % 16] ^= 0x10;
        assert_int_equal(viommu_model_run(raw->model, 1), 1);
        raw_expect_violation(raw, "was changed in flight");
        expect_used(raw, place, 1, 4); /* the device had made a copy of it */
    }
    post(raw, 64, 1);
    raw_notify(raw, 0);
    raw_at(raw, raw_slot_address(1))[8] = 0;
    assert_int_equal(viommu_model_run(raw->model, 1), 1);
    raw_expect_violation(raw, "type 2 was changed in flight");
}

/* ---- indirect tables ----------------------------------------------------------------------- */

static void set_entry(struct raw *raw, unsigned int index, uint64_t address, uint32_t length,
                      uint16_t flags)
{
    put_bytes(raw->memory + TABLE + 16 * index, address, length, 0x7777, flags);
}

/* A DETACH in a table of `entries` entries, the last of which is for the answer. */
static void post_table(struct raw *raw, uint64_t place, uint16_t id, unsigned int entries)
{
    uint64_t address = raw_slot_address(id);

    raw_build_detach(raw_at(raw, address), 1, RAW_STRANGER);
    for (unsigned int i = 0; i < entries - 1; i++) {
        set_entry(raw, i, address + i, i == entries - 2 ? 20 - i : 1, 0);
    }
    set_entry(raw, entries - 1, address + 128, 4, WRITE);
    put(raw, place, RAW_MEMORY_BASE + TABLE, 16 * entries, id, INDIRECT);
}

static void test_packed_ring_takes_all_of_an_indirect_table_in_order(void **state)
{
    struct raw *raw = *state;
    uint64_t place = 0;

    start_with(raw, VIOMMU_MODEL_F_INDIRECT_DESC, 16);
    for (unsigned int entries = 2; entries <= 16; entries++) {
        post_table(raw, place, 3, entries);
        if (entries % 2 == 0) { /* who writes means nothing there */
            set_flags(raw, place, raw_available_flags(raw, place, INDIRECT | WRITE));
        }
        raw_notify(raw, 0);
        expect_used(raw, place, 3, 4);
        place++; /* however long the table is */
        if (entries > 2) {
            raw_expect_violation(raw, "readable descriptors"); /* which some devices do not take */
        }
    }
    post(raw, place, 4);
    raw_notify(raw, 0);
    expect_used(raw, place, 4, 4);
}

static void test_packed_ring_records_bad_indirect_tables(void **state)
{
    static const uint16_t flags[] = {NEXT, AVAILABLE, USED, 8, 0x4000};
    struct raw *raw = *state;
    uint64_t table = RAW_MEMORY_BASE + TABLE;

    start_with(raw, VIOMMU_MODEL_F_INDIRECT_DESC, 8);
    post_table(raw, 0, 1, 2);
    put(raw, 0, table, 24, 1, INDIRECT);
    expect_broken(raw, "no multiple of 16");
    put(raw, 0, table, 0, 1, INDIRECT);
    expect_broken(raw, "no multiple of 16");
    put(raw, 0, table, 16 * 9, 1, INDIRECT);
    expect_broken(raw, "longer than the queue");
    put(raw, 0, RAW_MEMORY_BASE + RAW_MEMORY_SIZE - 16, 32, 1, INDIRECT);
    expect_broken(raw, "not in memory");
    put(raw, 1, table, 32, 1, 0);
    put(raw, 0, table, 32, 1, INDIRECT | NEXT);
    expect_broken(raw, "has a next one");
    put(raw, 1, table, 32, 1, INDIRECT);
    put(raw, 0, raw_slot_address(1), 20, 1, NEXT);
    expect_broken(raw, "behind other descriptors");
    post_table(raw, 0, 1, 2);
    set_entry(raw, 1, table, 32, INDIRECT);
    expect_broken(raw, "in an indirect table");
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        post_table(raw, 0, 1, 2);
        set_entry(raw, 1, raw_slot_address(1) + 128, 4, WRITE | flags[i]);
        expect_broken(raw, "not negotiated");
    }
    viommu_model_set_processing(raw->model, VIOMMU_MODEL_AT_RUN);
    post_table(raw, 0, 1, 2);
    raw_notify(raw, 0);
    set_entry(raw, 1, raw_slot_address(1) + 128, 5, WRITE);
    assert_int_equal(viommu_model_run(raw->model, 1), 1);
    raw_expect_violation(raw, "table was changed in flight");
}

/* ---- doorbells ----------------------------------------------------------------------------- */

static uint8_t *driver_area(struct raw *raw)
{
    return raw_at(raw, raw->rings[0].base + RAW_RING_DRIVER);
}

static void expect_wish(struct raw *raw, uint16_t event, uint16_t flags)
{
    const uint8_t *area = raw_at(raw, raw->rings[0].base + RAW_RING_DEVICE);

    assert_int_equal(raw_get(area, 2), event);
    assert_int_equal(raw_get(area + 2, 2), flags);
}

static void expect_doorbells(struct raw *raw, uint64_t superfluous, uint64_t missing)
{
    const struct viommu_model_counters *counters = viommu_model_counters(raw->model);

    assert_int_equal(counters->superfluous_doorbells[0], superfluous);
    assert_int_equal(counters->missing_doorbells[0], missing);
}

static void test_packed_ring_asks_for_doorbells_by_flags(void **state)
{
    struct raw *raw = *state;

    start_with(raw, 0, 8);
    expect_wish(raw, 0, ALWAYS);
    post(raw, 0, 1);
    viommu_model_tick(raw->model);
    viommu_model_tick(raw->model);
    expect_doorbells(raw, 0, 1);
    raw_notify(raw, 0);
    expect_doorbells(raw, 0, 1);
    raw_notify(raw, 0);
    expect_doorbells(raw, 1, 1);
    viommu_model_set_notification(raw->model, 0, VIOMMU_MODEL_NOTIFY_NEVER, 0);
    expect_wish(raw, 0, NEVER);
    post(raw, 2, 1);
    viommu_model_tick(raw->model);
    expect_used(raw, 2, 1, 4); /* it finds that by itself */
    post(raw, 4, 1);
    raw_notify(raw, 0);
    expect_doorbells(raw, 2, 1);
    viommu_model_set_notification(raw->model, 0, VIOMMU_MODEL_NOTIFY_ALWAYS, 0);
    expect_wish(raw, 0, ALWAYS);
    viommu_model_misbehave(raw->model, VIOMMU_MODEL_USED_FLAGS, 0, 0xfffe);
    post(raw, 6, 1);
    raw_notify(raw, 0);
    expect_wish(raw, 0, 0xfffe);
}

static void test_packed_ring_asks_for_doorbells_by_places(void **state)
{
    struct raw *raw = *state;

    start_with(raw, VIOMMU_MODEL_F_EVENT_IDX, 6);
    expect_wish(raw, 0x8000, AT_DESCRIPTOR);
    post(raw, 0, 1);
    raw_notify(raw, 0);
    expect_wish(raw, 0x8002, AT_DESCRIPTOR);
    post_in_pieces(raw, 2, 1, 3);
    raw_notify(raw, 0);
    expect_wish(raw, 0x0000, AT_DESCRIPTOR);
    forget_pieces(raw);
    viommu_model_set_notification(raw->model, 0, VIOMMU_MODEL_NOTIFY_NEVER, 0);
    expect_wish(raw, 0, NEVER);
    viommu_model_set_notification(raw->model, 0, VIOMMU_MODEL_NOTIFY_AFTER, 3);
    expect_wish(raw, 0x0002, AT_DESCRIPTOR);
    post(raw, 6, 1);
    viommu_model_tick(raw->model); /* two descriptors are not three, but are found */
    expect_used(raw, 6, 1, 4);
    expect_wish(raw, 0x0004, AT_DESCRIPTOR);
    expect_doorbells(raw, 0, 0);
    post(raw, 8, 1);
    raw_notify(raw, 0);
    expect_doorbells(raw, 1, 0);
    expect_wish(raw, 0x8000, AT_DESCRIPTOR);
    post(raw, 10, 1);
    viommu_model_set_notification(raw->model, 0, VIOMMU_MODEL_NOTIFY_AFTER, 2);
    expect_used(raw, 10, 1, 4); /* who changes that looks */
    expect_doorbells(raw, 1, 1);
    post(raw, 12, 1);
    viommu_model_tick(raw->model);
    expect_doorbells(raw, 1, 2);
    viommu_model_set_notification(raw->model, 0, VIOMMU_MODEL_NOTIFY_AFTER, 600);
    expect_wish(raw, 0x0001, AT_DESCRIPTOR); /* the last place before it begins anew */
    viommu_model_misbehave(raw->model, VIOMMU_MODEL_AVAIL_EVENT, 0, 0x4321);
    post(raw, 14, 1);
    raw_notify(raw, 0);
    expect_wish(raw, 0x4321, AT_DESCRIPTOR);
}

static void test_packed_ring_wish_for_doorbells_outlasts_a_reset(void **state)
{
    struct raw *raw = *state;

    viommu_model_set_notification(raw->model, 0, VIOMMU_MODEL_NOTIFY_NEVER, 0);
    for (unsigned int i = 0; i < 2; i++) {
        raw_start(raw);
        expect_wish(raw, 0, NEVER);
    }
}

/* ---- interrupts ---------------------------------------------------------------------------- */

static bool interrupted(struct raw *raw)
{
    bool pending = viommu_model_interrupt_pending(raw->model);

    (void)raw_read(raw, VIOMMU_MODEL_ISR_OFFSET, 1);
    assert_false(viommu_model_interrupt_pending(raw->model));
    return pending;
}

static void ask_for_interrupts(struct raw *raw, uint16_t event, uint16_t flags)
{
    raw_put(driver_area(raw), 2, event);
    raw_put(driver_area(raw) + 2, 2, flags);
}

static void test_packed_ring_interrupts_by_flags(void **state)
{
    struct raw *raw = *state;
    uint64_t place = 0;

    for (unsigned int event_index = 0; event_index < 2; event_index++) {
        start_with(raw, event_index != 0 ? VIOMMU_MODEL_F_EVENT_IDX : 0, 6);
        for (unsigned int i = 0; i < 10; i++) {
            ask_for_interrupts(raw, 0, i % 2 == 0 ? NEVER : ALWAYS);
            place = 2 * (uint64_t)i;
            post(raw, place, 1);
            raw_notify(raw, 0);
            expect_used(raw, place, 1, 4);
            assert_int_equal(interrupted(raw), i % 2 != 0);
            assert_int_equal(viommu_model_counters(raw->model)->interrupts_spared, i / 2 + 1);
        }
    }
}

/* Every event, seen from every place, in rings that end at different places. */
static void test_packed_ring_interrupts_when_a_place_is_used(void **state)
{
    struct raw *raw = *state;

    for (uint16_t size = 4; size <= 5; size++) {
        uint64_t place = 0;

        start_with(raw, VIOMMU_MODEL_F_EVENT_IDX, size);
        for (unsigned int i = 0; i < 8U * size; i++) {
            for (uint64_t ahead = 0; ahead < size; ahead++) {
                uint64_t event = place + ahead;
                uint16_t slot = (uint16_t)(event % size);
                uint16_t wrap = event / size % 2 == 0 ? 0x8000 : 0;

                ask_for_interrupts(raw, slot | wrap, AT_DESCRIPTOR);
                post(raw, place, 1);
                raw_notify(raw, 0);
                expect_used(raw, place, 1, 4);
                assert_int_equal(interrupted(raw), ahead < 2);
                place += 2;
            }
            ask_for_interrupts(raw, (uint16_t)(place % size | (place / size % 2 == 0 ? 0 : 0x8000)),
                               AT_DESCRIPTOR);
            post(raw, place, 1); /* it is the other lap's */
            raw_notify(raw, 0);
            assert_false(interrupted(raw));
            place += 2;
        }
    }
}

static void test_packed_ring_records_wishes_that_cannot_be(void **state)
{
    static const struct {
        uint64_t features;
        uint16_t event;
        uint16_t flags;
        bool fine;
    } wishes[] = {
        {0, 0, ALWAYS, true},
        {0, 0, NEVER, true},
        {0, 0, AT_DESCRIPTOR, false},
        {0, 0, 3, false},
        {0, 0, 4, false},
        {0, 0, 0x8001, false},
        {VIOMMU_MODEL_F_EVENT_IDX, 0x8005, AT_DESCRIPTOR, true},
        {VIOMMU_MODEL_F_EVENT_IDX, 0x0005, AT_DESCRIPTOR, true},
        {VIOMMU_MODEL_F_EVENT_IDX, 0x8006, AT_DESCRIPTOR, false},
        {VIOMMU_MODEL_F_EVENT_IDX, 0x7fff, AT_DESCRIPTOR, false},
        {VIOMMU_MODEL_F_EVENT_IDX, 0x7fff, NEVER, true},
        {VIOMMU_MODEL_F_EVENT_IDX, 0, 3, false},
        {VIOMMU_MODEL_F_EVENT_IDX, 0, 0x0006, false},
    };
    struct raw *raw = *state;

    for (size_t i = 0; i < sizeof wishes / sizeof wishes[0]; i++) {
        start_with(raw, wishes[i].features, 6);
        ask_for_interrupts(raw, wishes[i].event, wishes[i].flags);
        post(raw, 0, 1);
        raw_notify(raw, 0);
        expect_used(raw, 0, 1, 4);
        if (!wishes[i].fine) {
            raw_expect_violation(raw, "event suppression flags");
        }
        assert_int_equal(viommu_model_violations(raw->model), 0);
    }
}

/* ---- lies ---------------------------------------------------------------------------------- */

/* Two requests, 5 and 6, of which the first is completed by `what`. */
static void lie(struct raw *raw, enum viommu_model_misbehaviour what, uint64_t argument)
{
    start_with(raw, 0, 9);
    viommu_model_set_processing(raw->model, VIOMMU_MODEL_AT_RUN);
    post(raw, 0, 5);
    post(raw, 2, 6);
    viommu_model_misbehave(raw->model, what, 1, argument);
    raw_notify(raw, 0);
    assert_int_equal(viommu_model_run(raw->model, 1), 1);
}

static void test_packed_ring_lies_about_ids(void **state)
{
    struct raw *raw = *state;

    lie(raw, VIOMMU_MODEL_USED_ID_OUT_OF_RANGE, 0);
    expect_used(raw, 0, 9, 4);
    lie(raw, VIOMMU_MODEL_USED_ID_OUT_OF_RANGE, 0xffffffff);
    expect_used(raw, 0, 0xffff, 4);
    lie(raw, VIOMMU_MODEL_USED_ID_NOT_IN_FLIGHT, 0);
    expect_used(raw, 0, 0, 4);
    assert_int_equal(viommu_model_run(raw->model, 1), 1);
    expect_used(raw, 2, 6, 4); /* the next one is honest */
    lie(raw, VIOMMU_MODEL_USED_ID_MIDDLE, 0);
    expect_used(raw, 0, 7, 4);
    lie(raw, VIOMMU_MODEL_USED_ID_REPEATED, 0);
    expect_used(raw, 0, 5, 4);
    expect_used(raw, 2, 5, 4);
    assert_int_equal(viommu_model_run(raw->model, 1), 1);
    expect_used(raw, 2, 6, 4);
}

static void test_packed_ring_lies_about_lengths(void **state)
{
    struct raw *raw = *state;

    lie(raw, VIOMMU_MODEL_USED_LENGTH, 0xfffffff0);
    expect_used(raw, 0, 5, 0xfffffff0);
    lie(raw, VIOMMU_MODEL_USED_LENGTH, 0);
    expect_used(raw, 0, 5, 0);
    lie(raw, VIOMMU_MODEL_ANSWER_EMPTY, 0);
    expect_used(raw, 0, 5, 0);
    assert_int_equal(*raw_at(raw, raw_slot_address(5) + 128), RAW_POISON);
}

static void test_packed_ring_flags_what_nobody_gave_as_used(void **state)
{
    struct raw *raw = *state;

    for (uint64_t jump = 0; jump <= 12; jump++) {
        lie(raw, VIOMMU_MODEL_USED_INDEX_JUMPS, jump);
        for (uint64_t place = 2; place < 9; place++) {
            assert_int_equal(is_used(raw, place), place < 2 + jump);
            assert_int_equal(raw_get(raw_at_place(raw, 0, place) + 14, 2) & WRITE,
                             place < 2 + jump || place == 3 ? WRITE : 0);
        }
        expect_used(raw, 0, 5, 4); /* the true one is always left */
        assert_int_equal(viommu_model_run(raw->model, 1), 1);
        expect_used(raw, 2, 6, 4);
    }
}

static void test_packed_ring_scribbles_where_the_driver_has_nothing_to_read(void **state)
{
    static const uint8_t scribble[14] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                         0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    struct raw *raw = *state;

    lie(raw, VIOMMU_MODEL_SCRIBBLE, 0);
    expect_used(raw, 0, 5, 4);
    assert_false(is_used(raw, 2));
    lie(raw, VIOMMU_MODEL_SCRIBBLE_AVAILABLE, 0);
    expect_used(raw, 0, 5, 4);
    for (uint64_t place = 2; place < 4; place++) {
        assert_memory_equal(raw_at_place(raw, 0, place), scribble, sizeof scribble);
        assert_int_equal(raw_get(raw_at_place(raw, 0, place) + 14, 2), 0x7fff);
    }
    assert_int_equal(viommu_model_run(raw->model, 1), 1); /* it has copies */
    expect_used(raw, 2, 6, 4);
    post(raw, 4, 1);
    raw_notify(raw, 0);
    viommu_model_set_order(raw->model, VIOMMU_MODEL_REVERSED, 0);
    post(raw, 6, 2);
    raw_notify(raw, 0);
    viommu_model_misbehave(raw->model, VIOMMU_MODEL_SCRIBBLE, 1, 0);
    assert_int_equal(viommu_model_run(raw->model, 1), 1);
    expect_used(raw, 4, 2, 4);
    for (uint64_t place = 6; place < 8; place++) {
        assert_memory_equal(raw_at_place(raw, 0, place), scribble, sizeof scribble);
        assert_false(is_used(raw, place));
    }
    assert_int_equal(viommu_model_run(raw->model, 1), 1);
    expect_used(raw, 6, 1, 4);
    for (uint64_t place = 8; place < 30; place += 2) { /* over all that was destroyed */
        post(raw, place, 1);
        raw_notify(raw, 0);
        raw_notify(raw, 0);
        assert_int_equal(viommu_model_run(raw->model, 1), 1);
        expect_used(raw, place, 1, 4);
    }
}

static void test_packed_ring_is_given_entries_for_nothing(void **state)
{
    struct raw *raw = *state;

    start_with(raw, 0, 9);
    viommu_model_inject_used(raw->model, 0, 0x10003, 77);
    expect_used(raw, 0, 3, 77);
    assert_true(interrupted(raw));
    post(raw, 0, 5);
    raw_notify(raw, 0);
    expect_used(raw, 0, 5, 4);
    viommu_model_complete_again(raw->model);
    expect_used(raw, 2, 5, 4);
    viommu_model_set_processing(raw->model, VIOMMU_MODEL_AT_RUN);
    post(raw, 2, 5);
    raw_notify(raw, 0);
    viommu_model_complete_again(raw->model); /* the driver must take that for the answer */
    expect_used(raw, 2, 5, 4);
    assert_int_equal(viommu_model_run(raw->model, 1), 1);
    expect_used(raw, 4, 5, 4);
}

#define TEST(test) RAW_TEST_BEHIND(test, raw_set_up_packed, "")

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_packed_rings_have_any_size),
        TEST(test_packed_rings_are_aligned_and_in_memory),
        TEST(test_packed_ring_answers_in_the_place_of_the_request),
        TEST(test_packed_ring_turns_its_wrap_counter_over_at_each_end),
        TEST(test_packed_ring_stops_at_what_is_not_available),
        TEST(test_packed_ring_skips_what_a_chain_has_when_it_is_used_out_of_order),
        TEST(test_packed_ring_keeps_account_in_any_order),
        TEST(test_packed_ring_flags_what_it_has_written),
        TEST(test_packed_ring_shows_a_batch_by_the_flags_of_the_first),
        TEST(test_packed_ring_records_chains_that_are_available_before_they_are_whole),
        TEST(test_packed_ring_records_a_wrong_wrap_counter),
        TEST(test_packed_ring_records_flags_that_mean_nothing),
        TEST(test_packed_ring_records_ids_that_cannot_be),
        TEST(test_packed_ring_records_more_than_it_has_room_for),
        TEST(test_packed_ring_records_bad_chains),
        TEST(test_packed_ring_records_what_changes_in_flight),
        TEST(test_packed_ring_takes_all_of_an_indirect_table_in_order),
        TEST(test_packed_ring_records_bad_indirect_tables),
        TEST(test_packed_ring_asks_for_doorbells_by_flags),
        TEST(test_packed_ring_asks_for_doorbells_by_places),
        TEST(test_packed_ring_wish_for_doorbells_outlasts_a_reset),
        TEST(test_packed_ring_interrupts_by_flags),
        TEST(test_packed_ring_interrupts_when_a_place_is_used),
        TEST(test_packed_ring_records_wishes_that_cannot_be),
        TEST(test_packed_ring_lies_about_ids),
        TEST(test_packed_ring_lies_about_lengths),
        TEST(test_packed_ring_flags_what_nobody_gave_as_used),
        TEST(test_packed_ring_scribbles_where_the_driver_has_nothing_to_read),
        TEST(test_packed_ring_is_given_entries_for_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
