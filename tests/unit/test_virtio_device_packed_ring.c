/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The device's end of a packed ring, with a driver that the test plays: first one that is honest,
 * then all that a hostile one can put into a ring.
 *
 * Places are counted from the start, without end: place n is slot n % size, in round n / size.
 *
 * Source: OASIS Virtual I/O Device (VIRTIO) Version 1.2, section 2.8 (packed virtqueues).
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ring_guest.h"

#define RING         (GUEST + 0x0000)
#define DRIVER_EVENT (GUEST + 0x1000)
#define DEVICE_EVENT (GUEST + 0x2000)
#define TABLE        (GUEST + 0x3000)
#define DATA         (GUEST + 0x4000)
#define MAX_SIZE     16u
#define PIECES       6u
#define NOTHING      0xaaaa
#define COUNT(a)     (sizeof(a) / sizeof((a)[0]))

enum { NEXT = 1, WRITABLE = 2, INDIRECT = 4, AVAILABLE = 0x80, USED = 0x8000 };
enum { EVENT_ENABLE = 0, EVENT_DISABLE = 1, EVENT_DESCRIPTOR = 2, EVENT_RESERVED = 3 };

static struct guest *guest;
static uint16_t ring_size;

/* ---- Life ---- */

static const struct piommu_device_ring_config normal = {.descriptors = RING,
                                                        .available = DRIVER_EVENT,
                                                        .used = DEVICE_EVENT,
                                                        .indirect = true,
                                                        .event_idx = true,
                                                        .packed = true};

static void start_with(uint16_t size, bool indirect, bool event_idx)
{
    struct piommu_device_ring_config config = normal;

    config.size = size;
    config.indirect = indirect;
    config.event_idx = event_idx;
    ring_size = size;
    guest_start(guest, &config);
}

static void start(uint16_t size)
{
    start_with(size, false, false);
}

static int open_guest(void **state)
{
    (void)state;
    guest = guest_open(MAX_SIZE, PIECES);
    return 0;
}

static int close_guest(void **state)
{
    (void)state;
    guest_close(guest);
    return 0;
}

/* ---- Bytes ---- */

static uint64_t descriptor_at(uint32_t place)
{
    return RING + 16ull * (place % ring_size);
}

static unsigned int available_at(uint32_t place)
{
    return place / ring_size % 2 == 0 ? AVAILABLE : USED;
}

static unsigned int used_at(uint32_t place)
{
    return place / ring_size % 2 == 0 ? AVAILABLE | USED : 0;
}

/* Where an event lies, as the event suppression structures say it. */
static unsigned int event_place(uint32_t place)
{
    return place % ring_size | (place / ring_size % 2 == 0 ? 0x8000u : 0u);
}

/* A descriptor as a driver may put it anywhere. */
struct descriptor {
    uint64_t address;
    uint32_t length;
    unsigned int flags; /* without its state */
    unsigned int id;
};

static void put_descriptor(uint64_t at, const struct descriptor *descriptor, unsigned int state)
{
    guest_put(guest, at, descriptor->address, 8);
    guest_put(guest, at + 8, descriptor->length, 4);
    guest_put(guest, at + 12, descriptor->id, 2);
    guest_put(guest, at + 14, descriptor->flags | state, 2);
}

static void make_available(uint32_t place, const struct descriptor *descriptor)
{
    put_descriptor(descriptor_at(place), descriptor, available_at(place));
}

/*
 * A chain of pieces of one byte each, the first ones of which are readable. Only the last one has
 * the ID: those of the others mean nothing.
 */
static void offer(uint32_t place, unsigned int count, unsigned int readable, unsigned int id)
{
    for (unsigned int i = 0; i < count; i++) {
        const struct descriptor descriptor = {.address = DATA + i,
                                              .length = 1,
                                              .flags = (i + 1 < count ? NEXT : 0u) |
                                                       (i >= readable ? WRITABLE : 0u),
                                              .id = i + 1 < count ? 0xffff : id};

        make_available(place + i, &descriptor);
    }
}

static void put_driver_event(unsigned int place, unsigned int flags)
{
    guest_put(guest, DRIVER_EVENT, place, 2);
    guest_put(guest, DRIVER_EVENT + 2, flags, 2);
}

static void expect_device_event(unsigned int place, unsigned int flags)
{
    assert_int_equal(guest_get(guest, DEVICE_EVENT, 2), place);
    assert_int_equal(guest_get(guest, DEVICE_EVENT + 2, 2), flags);
}

static void expect_used(uint32_t place, unsigned int id, uint32_t length)
{
    assert_int_equal(guest_get(guest, descriptor_at(place) + 8, 4), length);
    assert_int_equal(guest_get(guest, descriptor_at(place) + 12, 2), id);
    assert_int_equal(guest_get(guest, descriptor_at(place) + 14, 2),
                     used_at(place) | (length != 0 ? WRITABLE : 0u));
}

/* ---- Requests ---- */

static void expect_request(unsigned int id, uint32_t readable, uint32_t writable)
{
    struct piommu_device_request request = {.head = 0xffff};

    assert_int_equal(piommu_device_ring_take(guest->ring, &request), 1);
    assert_int_equal(request.head, id);
    assert_int_equal(request.readable, readable);
    assert_int_equal(request.writable, writable);
}

static void expect_none(void)
{
    struct piommu_device_request request;

    assert_int_equal(piommu_device_ring_take(guest->ring, &request), 0);
}

static void complete(unsigned int id, uint32_t written)
{
    assert_int_equal(piommu_device_ring_complete(guest->ring, (uint16_t)id, written), 0);
}

/* To some place, by honest use. */
static void go_to(uint32_t place)
{
    for (uint32_t i = 0; i < place; i++) {
        offer(i, 1, 0, i % ring_size);
        expect_request(i % ring_size, 0, 1);
        complete(i % ring_size, 0);
    }
    (void)piommu_device_ring_wants_interrupt(guest->ring);
}

/* ---- What an honest driver sees ---- */

static void test_a_request_is_read_answered_and_given_back(void **state)
{
    static const struct descriptor chain[] = {{DATA, 4, NEXT, 9},
                                              {DATA + 0x10, 8, NEXT, 0x1234},
                                              {DATA + 0x100, 3, NEXT | WRITABLE, 0},
                                              {DATA + 0x200, 6, WRITABLE, 5}};
    char text[16] = {0};

    (void)state;
    start(7);
    expect_none();
    for (uint32_t i = 0; i < COUNT(chain); i++) {
        make_available(i, &chain[i]);
    }
    memcpy(guest->memory + (DATA - GUEST), "read", 4);
    memcpy(guest->memory + (DATA + 0x10 - GUEST), "able    ", 8);
    expect_request(5, 12, 9);
    assert_int_equal(piommu_device_ring_read(guest->ring, 2, text, sizeof(text)), 10);
    assert_string_equal(text, "adable    ");
    assert_int_equal(piommu_device_ring_write(guest->ring, 1, "bcdefghijkl", 11), 8);
    assert_memory_equal(guest->memory + (DATA + 0x100 - GUEST), "\0bc", 4);
    assert_memory_equal(guest->memory + (DATA + 0x200 - GUEST), "defghi", 7);
    complete(5, 9);
    expect_used(0, 5, 9);
    assert_int_equal(piommu_device_ring_complete(guest->ring, 5, 9), -PIOMMU_EINVAL);
    expect_none();
}

/* Chains of each length, at all places of both rounds. */
static void test_chains_lie_everywhere(void **state)
{
    static const uint16_t sizes[] = {1, 2, 3, 7, 16};

    (void)state;
    for (size_t i = 0; i < COUNT(sizes); i++) {
        unsigned int most = sizes[i] < PIECES ? sizes[i] : PIECES;
        uint32_t place = 0;

        start(sizes[i]);
        for (unsigned int run = 0; run < 8u * MAX_SIZE; run++) {
            unsigned int count = 1 + run % most;
            unsigned int readable = run / 3 % (count + 1);
            unsigned int id = run / 2 % sizes[i];

            expect_none();
            offer(place, count, readable, id);
            expect_request(id, readable, count - readable);
            expect_none();
            complete(id, count - readable);
            expect_used(place, id, count - readable);
            place += count;
        }
    }
}

/* An answer comes where the next one is to come, whichever request it is for. */
static void test_answers_come_in_any_order(void **state)
{
    static const unsigned int counts[] = {3, 1, 2};
    uint32_t place = 0;

    (void)state;
    start(7);
    for (unsigned int round = 0; round < 60; round++) {
        uint32_t next = place;

        for (unsigned int i = 0; i < COUNT(counts); i++) {
            offer(next, counts[i], 0, 6 - i);
            next += counts[i];
        }
        for (unsigned int i = 0; i < COUNT(counts); i++) {
            expect_request(6 - i, 0, counts[i]);
        }
        for (unsigned int i = 0; i < COUNT(counts); i++) {
            unsigned int which = (i + round) % COUNT(counts);

            complete(6 - which, 1);
            expect_used(place, 6 - which, 1);
            place += counts[which];
        }
        expect_none();
    }
}

/* In a table all entries are pieces; of their flags only one means something. */
static void test_a_table_is_a_request(void **state)
{
    static const struct descriptor pieces[] = {
        {DATA, 4, 0, 0xffff}, {DATA + 4, 2, INDIRECT, 7}, {DATA + 8, 5, WRITABLE | 0x7f8, 0}};

    (void)state;
    start_with(3, true, false);
    for (uint32_t place = 0; place < 20; place++) {
        const struct descriptor table = {TABLE, 16 * COUNT(pieces), INDIRECT | WRITABLE, place % 3};

        for (size_t i = 0; i < COUNT(pieces); i++) {
            put_descriptor(TABLE + 16 * i, &pieces[i], 0);
        }
        make_available(place, &table);
        expect_request(place % 3, 6, 5);
        memset(guest->memory + (TABLE - GUEST), 0xff, 16 * COUNT(pieces));
        assert_int_equal(piommu_device_ring_write(guest->ring, 0, "12345", 5), 5);
        assert_memory_equal(guest->memory + (DATA + 8 - GUEST), "12345", 5);
        complete(place % 3, 5);
        expect_used(place, place % 3, 5);
    }
}

static void (*real_barrier)(void *ctx, enum piommu_barrier kind);
static unsigned int barriers;

/* At the barrier all of the answer is there, but what says that it is. */
static void look_at_barrier(void *ctx, enum piommu_barrier kind)
{
    real_barrier(ctx, kind);
    assert_int_equal(kind, PIOMMU_BARRIER_WRITE);
    assert_int_equal(guest_get(guest, descriptor_at(0) + 8, 4), 1);
    assert_int_equal(guest_get(guest, descriptor_at(0) + 12, 2), 3);
    assert_int_equal(guest_get(guest, descriptor_at(0) + 14, 2), AVAILABLE | WRITABLE);
    barriers++;
}

static void test_the_flags_of_an_answer_are_written_behind_a_barrier(void **state)
{
    struct piommu_os *callbacks = fake_os_callbacks(guest->os);

    (void)state;
    start(4);
    offer(0, 1, 0, 3);
    expect_request(3, 0, 1);
    guest_put(guest, descriptor_at(0) + 12, 0xffff, 2);
    real_barrier = callbacks->barrier;
    callbacks->barrier = look_at_barrier;
    barriers = 0;
    complete(3, 1);
    callbacks->barrier = real_barrier;
    assert_int_equal(barriers, 1);
    expect_used(0, 3, 1);
}

static void offer_at_read_barrier(void *ctx, enum piommu_barrier kind)
{
    real_barrier(ctx, kind);
    if (kind == PIOMMU_BARRIER_READ) {
        offer(0, 2, 1, 3);
    }
}

/* Without the barrier the rest could be older than the flags: here it is wrong until then. */
static void test_a_request_is_read_behind_a_barrier(void **state)
{
    struct piommu_os *callbacks = fake_os_callbacks(guest->os);

    (void)state;
    start(4);
    guest_put(guest, descriptor_at(0) + 14, AVAILABLE, 2);
    real_barrier = callbacks->barrier;
    callbacks->barrier = offer_at_read_barrier;
    expect_request(3, 1, 1);
    callbacks->barrier = real_barrier;
}

/* ---- Notifications ---- */

static void test_interrupts_come_unless_the_driver_is_silent(void **state)
{
    /* Without EVENT_IDX there are no places; what is reserved means nothing. */
    static const struct {
        unsigned int flags;
        bool wanted;
    } cases[] = {{EVENT_ENABLE, true},   {EVENT_DISABLE, false},          {EVENT_DESCRIPTOR, true},
                 {EVENT_RESERVED, true}, {0xfff0 | EVENT_DISABLE, false}, {0xfff0, true}};

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        start(4);
        /* A place that was passed long ago. */
        put_driver_event(event_place(4 + 1), cases[i].flags);
        assert_false(piommu_device_ring_wants_interrupt(guest->ring));
        offer(0, 2, 0, 1);
        expect_request(1, 0, 2);
        assert_false(piommu_device_ring_wants_interrupt(guest->ring));
        complete(1, 0);
        assert_int_equal(piommu_device_ring_wants_interrupt(guest->ring), cases[i].wanted);
        assert_false(piommu_device_ring_wants_interrupt(guest->ring));
    }
}

/*
 * Exactly if the place was passed, from every place, for every step and event; by requests of one
 * descriptor, or by chains of up to `longest`.
 */
static void follow_places(uint16_t size, uint32_t longest)
{
    uint32_t rounds = 2u * size;
    uint32_t place = 0;

    start_with(size, false, true);
    for (unsigned int run = 0; run < rounds * rounds * size; run++) {
        uint32_t event = run % rounds;
        uint32_t left = 1 + run / rounds % size;
        bool passed = false;

        put_driver_event(event_place(event), EVENT_DESCRIPTOR);
        while (left != 0) {
            uint32_t count = left < longest ? left : longest;

            offer(place, count, 0, 0);
            expect_request(0, 0, count);
            complete(0, 1);
            for (uint32_t k = 0; k < count; k++) {
                passed |= (place + k) % rounds == event;
            }
            place += count;
            left -= count;
        }
        assert_int_equal(piommu_device_ring_wants_interrupt(guest->ring), passed);
    }
}

static void test_interrupts_follow_the_place_that_the_driver_names(void **state)
{
    static const uint16_t sizes[] = {1, 2, 3, 8};

    (void)state;
    for (size_t i = 0; i < COUNT(sizes); i++) {
        follow_places(sizes[i], 1);
        follow_places(sizes[i], PIECES);
    }
}

/* However many answers nobody was told of: each place was passed then. */
static void test_many_answers_without_a_word_pass_every_place(void **state)
{
    (void)state;
    for (uint32_t count = 6; count < 70000; count = count * 3 - 1) {
        for (uint32_t event = 0; event < 6; event++) {
            start_with(3, false, true);
            put_driver_event(event_place(event), EVENT_DESCRIPTOR);
            for (uint32_t place = 0; place < count; place++) {
                offer(place, 1, 0, 0);
                expect_request(0, 0, 1);
                complete(0, 0);
            }
            assert_true(piommu_device_ring_wants_interrupt(guest->ring));
        }
    }
}

/* A place that is none, or flags that say nothing, cost an interrupt and no more. */
static void test_nonsense_about_interrupts_does_no_harm(void **state)
{
    static const unsigned int places[] = {0x0005, 0x8005, 0x7fff, 0xffff, 0x0006, 0x8100};
    static const struct {
        unsigned int flags;
        bool wanted;
    } cases[] = {{EVENT_DESCRIPTOR, true}, {EVENT_RESERVED, true}, {0xff00 | EVENT_DISABLE, false}};

    (void)state;
    for (size_t i = 0; i < COUNT(places); i++) {
        start_with(5, false, true);
        for (uint32_t place = 0; place < 30; place++) {
            put_driver_event(places[i], cases[place % 3].flags);
            offer(place, 1, 0, 0);
            expect_request(0, 0, 1);
            complete(0, 0);
            assert_int_equal(piommu_device_ring_wants_interrupt(guest->ring),
                             cases[place % 3].wanted);
        }
    }
}

static void test_the_driver_is_told_from_where_on_to_notify(void **state)
{
    uint32_t place = 0;

    (void)state;
    start_with(7, false, true);
    expect_device_event(0, EVENT_ENABLE);
    for (unsigned int round = 0; round < 40; round++) {
        unsigned int count = 1 + round % 3;

        guest_put(guest, DEVICE_EVENT, NOTHING, 2);
        offer(place, count, 0, 2);
        expect_request(2, 0, count);
        complete(2, 0);
        assert_int_equal(guest_get(guest, DEVICE_EVENT, 2), NOTHING);
        place += count;
        expect_none();
        expect_device_event(event_place(place), EVENT_DESCRIPTOR);
    }
    /* Without EVENT_IDX all notifications are wanted, as they are from the start. */
    start(7);
    guest_put(guest, DEVICE_EVENT, NOTHING, 2);
    expect_none();
    expect_device_event(NOTHING, EVENT_ENABLE);
}

/* ---- What a hostile one cannot do ---- */

static void test_chains_that_make_no_sense_break_the_ring(void **state)
{
    /* Two descriptors in the ring and two in a table. */
    static const struct {
        const char *what;
        bool indirect;
        struct descriptor ring[2];
        struct descriptor table[2];
    } lies[] = {
        {"a piece of no length", false, {{DATA, 0, 0, 1}}, {{0}}},
        {"a piece that wraps around", false, {{UINT64_MAX - 1, 3, 0, 1}}, {{0}}},
        {"a readable piece behind a writable one",
         false,
         {{DATA, 1, NEXT | WRITABLE, 1}, {DATA, 1, 0, 1}},
         {{0}}},
        {"more bytes than can be counted",
         false,
         {{DATA, 0x80000000, NEXT, 1}, {DATA, 0x80000000, 0, 1}},
         {{0}}},
        {"an ID beyond the ring", false, {{DATA, 1, 0, 5}}, {{0}}},
        {"the highest ID", false, {{DATA, 1, 0, 0xffff}}, {{0}}},
        {"a table that was not agreed on", false, {{TABLE, 16, INDIRECT, 1}}, {{DATA, 1, 0, 0}}},
        {"a table of no length", true, {{TABLE, 0, INDIRECT, 1}}, {{DATA, 1, 0, 0}}},
        {"a table of half an entry", true, {{TABLE, 24, INDIRECT, 1}}, {{DATA, 1, 0, 0}}},
        {"a table that goes on",
         true,
         {{TABLE, 16, INDIRECT | NEXT, 1}, {DATA, 1, 0, 1}},
         {{DATA, 1, 0, 0}}},
        {"a table behind a piece",
         true,
         {{DATA, 1, NEXT, 1}, {TABLE, 16, INDIRECT, 1}},
         {{DATA, 1, 0, 0}}},
        {"nothing in a table",
         true,
         {{TABLE, 32, INDIRECT, 1}},
         {{DATA, 1, 0, 0}, {DATA, 0, 0, 0}}},
        {"more in a table than there is room for", true, {{TABLE, 0xfffffff0, INDIRECT, 1}}, {{0}}},
        {"a table that is not memory", true, {{GUEST + GUEST_SIZE, 16, INDIRECT, 1}}, {{0}}},
        {"a table that wraps around", true, {{UINT64_MAX - 15, 32, INDIRECT, 1}}, {{0}}},
    };

    (void)state;
    for (size_t i = 0; i < 12 * COUNT(lies); i++) {
        uint32_t place = (uint32_t)(i / COUNT(lies));

        start_with(5, lies[i % COUNT(lies)].indirect, false);
        go_to(place);
        for (unsigned int k = 0; k < 2; k++) {
            put_descriptor(TABLE + 16 * k, &lies[i % COUNT(lies)].table[k], 0);
            if (k == 0 || (lies[i % COUNT(lies)].ring[0].flags & NEXT) != 0) {
                make_available(place + k, &lies[i % COUNT(lies)].ring[k]);
            }
        }
        guest_expect_broken(guest, lies[i % COUNT(lies)].what);
    }
}

static void test_a_chain_may_have_so_many_pieces_and_no_more(void **state)
{
    (void)state;
    for (unsigned int count = 1; count <= MAX_SIZE; count++) {
        const struct descriptor table = {TABLE, 16 * count, INDIRECT, 3};

        start(MAX_SIZE);
        offer(0, count, count, 3);
        if (count <= PIECES) {
            expect_request(3, count, 0);
        } else {
            guest_expect_broken(guest, "a chain that is too long");
        }

        start_with(4, true, false);
        for (unsigned int i = 0; i < count; i++) {
            put_descriptor(TABLE + 16 * i, &(struct descriptor){.address = DATA, .length = 1}, 0);
        }
        make_available(0, &table);
        if (count <= PIECES) {
            expect_request(3, count, 0);
        } else {
            guest_expect_broken(guest, "a table that is too long");
        }
    }
}

/* The first descriptor is available last: what it leads to must be, wherever the chain lies. */
static void test_chains_that_are_available_in_part_break_the_ring(void **state)
{
    static const unsigned int states[] = {0, AVAILABLE, USED, AVAILABLE | USED};

    (void)state;
    for (unsigned int run = 0; run < 14 * 2 * COUNT(states); run++) {
        uint32_t place = run / (2 * COUNT(states));
        uint32_t bad = place + 1 + run / COUNT(states) % 2;
        unsigned int is = states[run % COUNT(states)];

        start(7);
        go_to(place);
        offer(place, 3, 0, 0);
        guest_put(guest, descriptor_at(bad) + 14, is | WRITABLE | (bad == place + 1 ? NEXT : 0), 2);
        if (is == available_at(bad)) {
            expect_request(0, 0, 3);
        } else {
            guest_expect_broken(guest, "a chain that is available in part");
        }
    }
}

/* Only one of the four states says that there is a request. */
static void test_a_place_is_available_in_one_state(void **state)
{
    static const unsigned int states[] = {0, AVAILABLE, USED, AVAILABLE | USED};

    (void)state;
    for (unsigned int run = 0; run < 6 * COUNT(states); run++) {
        uint32_t place = run / COUNT(states);
        unsigned int is = states[run % COUNT(states)];

        start(3);
        go_to(place);
        offer(place, 1, 0, 0);
        guest_put(guest, descriptor_at(place) + 14, is | WRITABLE, 2);
        if (is == available_at(place)) {
            expect_request(0, 0, 1);
        } else {
            expect_none();
        }
    }
}

static void test_more_than_there_is_room_for_breaks_the_ring(void **state)
{
    (void)state;
    /* The driver takes back what it has not been given. */
    start(3);
    offer(0, 2, 0, 0);
    offer(2, 1, 0, 1);
    expect_request(0, 0, 2);
    expect_request(1, 0, 1);
    expect_none();
    offer(3, 1, 0, 2);
    guest_expect_broken(guest, "a request in the place of one that is out");

    /* A chain that is as long as the ring goes on with itself. */
    start(3);
    for (uint32_t place = 0; place < 3; place++) {
        make_available(place, &(struct descriptor){.address = DATA, .length = 1, .flags = NEXT});
    }
    guest_expect_broken(guest, "a chain without an end");

    /* Into the place of one that is out. */
    start(3);
    offer(0, 1, 0, 0);
    expect_request(0, 0, 1);
    offer(1, 3, 0, 1);
    guest_expect_broken(guest, "a chain over one that is out");

    start(3);
    offer(0, 1, 0, 2);
    offer(1, 1, 0, 2);
    expect_request(2, 0, 1);
    guest_expect_broken(guest, "an ID that is out already");
}

static unsigned int reads_until_change;

static void change_at_read(uint64_t address, size_t size)
{
    (void)address;
    (void)size;
    if (reads_until_change != 0 && --reads_until_change == 0) {
        guest_put(guest, descriptor_at(0) + 14, NEXT | WRITABLE | used_at(0), 2);
        guest_put(guest, descriptor_at(0) + 12, 0xffff, 2);
    }
}

/* A descriptor that changes while it is read is what it was, or breaks the ring. */
static void test_a_driver_may_change_its_mind_at_any_time(void **state)
{
    unsigned int broken = 0;
    unsigned int taken = 0;

    (void)state;
    for (unsigned int reads = 2; reads < 8; reads++) {
        struct piommu_device_request request;
        int result;

        start(4);
        offer(0, 1, 0, 2);
        reads_until_change = reads;
        guest->on_read = change_at_read;
        result = piommu_device_ring_take(guest->ring, &request);
        guest->on_read = NULL;
        if (result == 1) {
            assert_int_equal(request.head, 2);
            assert_int_equal(request.writable, 1);
            taken++;
        } else {
            assert_int_equal(result, -PIOMMU_EIO);
            broken++;
        }
    }
    assert_int_not_equal(broken, 0);
    assert_int_not_equal(taken, 0);
}

static void test_a_request_cannot_be_given_back_before_it_was_taken(void **state)
{
    (void)state;
    start(4);
    offer(0, 1, 0, 3);
    for (unsigned int id = 0; id < 2 * MAX_SIZE; id++) {
        assert_int_equal(piommu_device_ring_complete(guest->ring, (uint16_t)id, 0), -PIOMMU_EINVAL);
    }
    expect_request(3, 0, 1);
    complete(3, 1);
    piommu_device_ring_stop(guest->ring);
    assert_int_equal(piommu_device_ring_complete(guest->ring, 3, 0), -PIOMMU_EINVAL);
    offer(1, 1, 0, 3);
    expect_none();
    assert_false(piommu_device_ring_wants_interrupt(guest->ring));
}

/* A driver that has taken its memory away since. */
static void test_parts_that_are_not_memory_break_the_ring(void **state)
{
    struct piommu_device_ring_config config = normal;

    (void)state;
    config.size = ring_size = 4;
    config.descriptors = GUEST + GUEST_SIZE;
    guest_start(guest, &config);
    guest_expect_broken(guest, "a ring that is not memory");

    config.descriptors = GUEST + GUEST_SIZE - 16;
    guest_start(guest, &config);
    make_available(0, &(struct descriptor){.address = DATA, .length = 1});
    memcpy(guest->memory + GUEST_SIZE - 16, guest->memory, 14);
    guest_put(guest, GUEST + GUEST_SIZE - 2, NEXT | AVAILABLE, 2);
    guest_expect_broken(guest, "a chain that leaves the memory");

    config.descriptors = RING;
    config.used = GUEST + GUEST_SIZE;
    guest_start(guest, &config);
    guest_expect_broken(guest, "an event that is not memory");

    /* The driver's is nobody's, and cannot be asked. */
    config.used = DEVICE_EVENT;
    config.available = GUEST + GUEST_SIZE;
    guest_start(guest, &config);
    offer(0, 1, 0, 1);
    expect_request(1, 0, 1);
    complete(1, 0);
    assert_false(piommu_device_ring_wants_interrupt(guest->ring));
}

static void test_rings_that_cannot_be_are_refused(void **state)
{
    struct piommu_device_ring_config config = normal;

    (void)state;
    for (uint16_t size = 1; size <= MAX_SIZE; size++) {
        config.size = size;
        assert_int_equal(piommu_device_ring_start(guest->ring, &config), 0);
        config.packed = false;
        assert_int_equal(piommu_device_ring_start(guest->ring, &config),
                         (size & (size - 1)) == 0 ? 0 : -PIOMMU_EINVAL);
        config.packed = true;
    }
    config.size = MAX_SIZE + 1;
    assert_int_equal(piommu_device_ring_start(guest->ring, &config), -PIOMMU_EINVAL);
    config.size = 0;
    assert_int_equal(piommu_device_ring_start(guest->ring, &config), -PIOMMU_EINVAL);
    config.size = MAX_SIZE;
    for (unsigned int wrong = 1; wrong < 16; wrong++) {
        config.descriptors = RING + wrong;
        assert_int_equal(piommu_device_ring_start(guest->ring, &config), -PIOMMU_EINVAL);
        config.descriptors = RING;
        config.available = DRIVER_EVENT + wrong;
        assert_int_equal(piommu_device_ring_start(guest->ring, &config),
                         wrong % 4 == 0 ? 0 : -PIOMMU_EINVAL);
        config.available = DRIVER_EVENT;
        config.used = DEVICE_EVENT + wrong;
        assert_int_equal(piommu_device_ring_start(guest->ring, &config),
                         wrong % 4 == 0 ? 0 : -PIOMMU_EINVAL);
        config.used = DEVICE_EVENT;
    }
    config.descriptors = UINT64_MAX - 16 * MAX_SIZE + 1;
    assert_int_equal(piommu_device_ring_start(guest->ring, &config), 0);
    config.descriptors += 16;
    assert_int_equal(piommu_device_ring_start(guest->ring, &config), -PIOMMU_EINVAL);
}

/* Whatever bytes there are: nothing is given back twice, and a broken ring stays so. */
static void test_random_nonsense_in_the_ring_does_no_harm(void **state)
{
    uint32_t random = 1;

    (void)state;
    for (unsigned int round = 0; round < 600; round++) {
        uint32_t out = 0; /* a bit for each ID */

        start_with((uint16_t)(1 + round % MAX_SIZE), round % 2 != 0, round % 3 != 0);
        for (unsigned int step = 0; step < 100; step++) {
            struct piommu_device_request request;
            uint32_t place;
            int result;

            random = random * 1664525u + 1013904223u;
            place = random >> 8 & 31;
            switch (random >> 29) {
            case 0:
            case 1:
            case 2:
                offer(place, 1 + (random >> 4 & 3), random >> 2 & 3, random >> 16 & 15);
                break;
            case 3:
                guest_put(guest, RING + place * 7, random >> 16, 1);
                break;
            case 4:
                result =
                    piommu_device_ring_complete(guest->ring, random >> 16 & 15, random >> 4 & 1);
                assert_true(result ==
                                (((out >> (random >> 16 & 15)) & 1) != 0 ? 0 : -PIOMMU_EINVAL) ||
                            result == -PIOMMU_EIO);
                out &= ~(1u << (random >> 16 & 15));
                break;
            default:
                result = piommu_device_ring_take(guest->ring, &request);
                assert_true(result == 0 || result == 1 || result == -PIOMMU_EIO);
                if (result == 1) {
                    assert_true(request.head < ring_size && (out >> request.head & 1) == 0);
                    assert_true(request.pieces <= PIECES);
                    out |= 1u << request.head;
                }
                break;
            }
            (void)piommu_device_ring_wants_interrupt(guest->ring);
        }
    }
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, open_guest, close_guest)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_request_is_read_answered_and_given_back),
        TEST(test_chains_lie_everywhere),
        TEST(test_answers_come_in_any_order),
        TEST(test_a_table_is_a_request),
        TEST(test_the_flags_of_an_answer_are_written_behind_a_barrier),
        TEST(test_a_request_is_read_behind_a_barrier),
        TEST(test_interrupts_come_unless_the_driver_is_silent),
        TEST(test_interrupts_follow_the_place_that_the_driver_names),
        TEST(test_many_answers_without_a_word_pass_every_place),
        TEST(test_nonsense_about_interrupts_does_no_harm),
        TEST(test_the_driver_is_told_from_where_on_to_notify),
        TEST(test_chains_that_make_no_sense_break_the_ring),
        TEST(test_a_chain_may_have_so_many_pieces_and_no_more),
        TEST(test_chains_that_are_available_in_part_break_the_ring),
        TEST(test_a_place_is_available_in_one_state),
        TEST(test_more_than_there_is_room_for_breaks_the_ring),
        TEST(test_a_driver_may_change_its_mind_at_any_time),
        TEST(test_a_request_cannot_be_given_back_before_it_was_taken),
        TEST(test_parts_that_are_not_memory_break_the_ring),
        TEST(test_rings_that_cannot_be_are_refused),
        TEST(test_random_nonsense_in_the_ring_does_no_harm),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
