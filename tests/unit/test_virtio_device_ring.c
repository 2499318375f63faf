/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The device's end of a split ring, with a driver that the test plays: an honest one, and others.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ring_guest.h"

#define DESCRIPTORS (GUEST + 0x0000)
#define AVAILABLE   (GUEST + 0x1000)
#define USED        (GUEST + 0x2000)
#define TABLE       (GUEST + 0x3000)
#define DATA        (GUEST + 0x8000)
#define SIZE        8u
#define PIECES      6u

enum { NEXT = 1, WRITABLE = 2, INDIRECT = 4 };

static uint16_t available_index; /* of what was made available */

static void put_descriptor(struct guest *guest, uint64_t table, unsigned int number,
                           uint64_t address, uint32_t length, unsigned int flags, unsigned int next)
{
    guest_put(guest, table + 16ull * number, address, 8);
    guest_put(guest, table + 16ull * number + 8, length, 4);
    guest_put(guest, table + 16ull * number + 12, flags, 2);
    guest_put(guest, table + 16ull * number + 14, next, 2);
}

static void offer(struct guest *guest, unsigned int head)
{
    guest_put(guest, AVAILABLE + 4 + 2ull * (available_index % SIZE), head, 2);
    available_index++;
    guest_put(guest, AVAILABLE + 2, available_index, 2);
}

static void start(struct guest *guest, bool indirect, bool event_idx)
{
    const struct piommu_device_ring_config config = {.size = SIZE,
                                                     .descriptors = DESCRIPTORS,
                                                     .available = AVAILABLE,
                                                     .used = USED,
                                                     .indirect = indirect,
                                                     .event_idx = event_idx};

    available_index = 0;
    guest_start(guest, &config);
}

/* ---- What an honest driver sees ---- */

static void test_a_request_is_read_answered_and_given_back(void **state)
{
    struct guest *guest = guest_open(SIZE, PIECES);
    struct piommu_device_request request;
    char text[16] = {0};

    (void)state;
    start(guest, false, false);
    memcpy(guest->memory + (DATA - GUEST), "hello, world", 12);
    put_descriptor(guest, DESCRIPTORS, 5, DATA, 5, NEXT, 2);
    put_descriptor(guest, DESCRIPTORS, 2, DATA + 5, 7, NEXT, 7);
    put_descriptor(guest, DESCRIPTORS, 7, DATA + 100, 2, NEXT | WRITABLE, 0);
    put_descriptor(guest, DESCRIPTORS, 0, DATA + 200, 6, WRITABLE, 3);
    assert_int_equal(piommu_device_ring_take(guest->ring, &request), 0);
    offer(guest, 5);
    assert_int_equal(piommu_device_ring_take(guest->ring, &request), 1);
    assert_int_equal(request.head, 5);
    assert_int_equal(request.readable, 12);
    assert_int_equal(request.writable, 8);
    /* From now on the driver may do with its descriptors what it likes. */
    memset(guest->memory, 0xff, 16 * SIZE);
    assert_int_equal(piommu_device_ring_read(guest->ring, 0, text, sizeof(text)), 12);
    assert_string_equal(text, "hello, world");
    assert_int_equal(piommu_device_ring_read(guest->ring, 4, text, 3), 3);
    assert_memory_equal(text, "o, ", 3);
    assert_int_equal(piommu_device_ring_read(guest->ring, 12, text, 1), 0);
    assert_int_equal(piommu_device_ring_write(guest->ring, 1, "abcdefghij", 10), 7);
    assert_memory_equal(guest->memory + (DATA + 100 - GUEST), "\0a\0", 3);
    assert_memory_equal(guest->memory + (DATA + 200 - GUEST), "bcdefg\0", 7);
    assert_int_equal(piommu_device_ring_complete(guest->ring, 5, 8), 0);
    assert_int_equal(guest_get(guest, USED + 2, 2), 1);
    assert_int_equal(guest_get(guest, USED + 4, 4), 5);
    assert_int_equal(guest_get(guest, USED + 8, 4), 8);
    assert_int_equal(piommu_device_ring_complete(guest->ring, 5, 8), -PIOMMU_EINVAL);
    assert_int_equal(piommu_device_ring_read(guest->ring, 0, text, 1), 0);
    guest_close(guest);
}

static void test_an_indirect_table_is_a_request(void **state)
{
    struct guest *guest = guest_open(SIZE, PIECES);
    struct piommu_device_request request;
    char byte = 0;

    (void)state;
    start(guest, true, false);
    put_descriptor(guest, DESCRIPTORS, 3, TABLE, 3 * 16, INDIRECT, 0);
    put_descriptor(guest, TABLE, 0, DATA, 1, NEXT, 2);
    put_descriptor(guest, TABLE, 2, DATA + 1, 2, NEXT | WRITABLE, 1);
    put_descriptor(guest, TABLE, 1, DATA + 3, 4, WRITABLE, 0);
    guest->memory[DATA - GUEST] = 'x';
    offer(guest, 3);
    assert_int_equal(piommu_device_ring_take(guest->ring, &request), 1);
    assert_int_equal(request.readable, 1);
    assert_int_equal(request.writable, 6);
    assert_int_equal(piommu_device_ring_read(guest->ring, 0, &byte, 1), 1);
    assert_int_equal(byte, 'x');
    assert_int_equal(piommu_device_ring_complete(guest->ring, 3, 0), 0);
    guest_close(guest);
}

static void test_requests_may_come_back_in_any_order(void **state)
{
    struct guest *guest = guest_open(SIZE, PIECES);
    struct piommu_device_request request;

    (void)state;
    start(guest, false, false);
    for (unsigned int round = 0; round < 9000; round++) {
        for (unsigned int i = 0; i < SIZE; i++) {
            put_descriptor(guest, DESCRIPTORS, i, DATA + i, 1, 0, 0);
            offer(guest, i);
        }
        for (unsigned int i = 0; i < SIZE; i++) {
            assert_int_equal(piommu_device_ring_take(guest->ring, &request), 1);
            assert_int_equal(request.head, i);
        }
        assert_int_equal(piommu_device_ring_take(guest->ring, &request), 0);
        for (unsigned int i = 0; i < SIZE; i++) {
            uint16_t head = (uint16_t)((i * 5 + round) % SIZE);

            assert_int_equal(piommu_device_ring_complete(guest->ring, head, 0), 0);
            assert_int_equal(guest_get(guest, USED + 4 + 8ull * (i % SIZE), 4), head);
        }
        assert_int_equal(guest_get(guest, USED + 2, 2), (uint16_t)(SIZE * (round + 1)));
    }
    guest_close(guest);
}

static void take_and_complete(struct guest *guest, unsigned int head)
{
    struct piommu_device_request request;

    put_descriptor(guest, DESCRIPTORS, head, DATA, 1, 0, 0);
    offer(guest, head);
    assert_int_equal(piommu_device_ring_take(guest->ring, &request), 1);
    assert_int_equal(piommu_device_ring_complete(guest->ring, request.head, 0), 0);
}

static void test_the_driver_is_interrupted_as_it_wants(void **state)
{
    struct guest *guest = guest_open(SIZE, PIECES);

    (void)state;
    start(guest, false, false);
    assert_false(piommu_device_ring_wants_interrupt(guest->ring));
    take_and_complete(guest, 0);
    assert_true(piommu_device_ring_wants_interrupt(guest->ring));
    assert_false(piommu_device_ring_wants_interrupt(guest->ring));
    guest_put(guest, AVAILABLE, 1, 2);
    take_and_complete(guest, 1);
    assert_false(piommu_device_ring_wants_interrupt(guest->ring));

    /* With event indices: when the one that it waits for was passed, over the wrap too. */
    start(guest, false, true);
    for (uint32_t i = 0; i < 70000; i++) {
        uint16_t waits_for = (uint16_t)(i / 3 * 3);

        guest_put(guest, AVAILABLE, 1, 2); /* means nothing then */
        guest_put(guest, AVAILABLE + 4 + 2 * SIZE, waits_for, 2);
        take_and_complete(guest, i % SIZE);
        assert_int_equal(piommu_device_ring_wants_interrupt(guest->ring), i % 3 == 0);
    }
    guest_close(guest);
}

static void test_the_driver_is_told_from_where_on_to_notify(void **state)
{
    struct guest *guest = guest_open(SIZE, PIECES);
    struct piommu_device_request request;

    (void)state;
    start(guest, false, true);
    for (unsigned int i = 0; i < 20; i++) {
        guest_put(guest, USED + 4 + 8 * SIZE, 0xaaaa, 2);
        take_and_complete(guest, i % SIZE);
        assert_int_equal(guest_get(guest, USED + 4 + 8 * SIZE, 2), 0xaaaa);
        assert_int_equal(piommu_device_ring_take(guest->ring, &request), 0);
        assert_int_equal(guest_get(guest, USED + 4 + 8 * SIZE, 2), i + 1);
    }
    guest_close(guest);
}

/* ---- What a hostile one cannot do ---- */

/* Two descriptors, of which the first is the head, and an indirect table of two. */
struct lie {
    const char *what;
    bool indirect;
    struct {
        uint64_t address;
        uint32_t length;
        unsigned int flags;
        unsigned int next;
    } ring[2], table[2];
};

static void test_chains_that_make_no_sense_break_the_ring(void **state)
{
    static const struct lie lies[] = {
        {"a loop", false, {{DATA, 1, NEXT, 0}}, {{0}}},
        {"a longer loop", false, {{DATA, 1, NEXT, 1}, {DATA, 1, NEXT, 0}}, {{0}}},
        {"a next outside of the table", false, {{DATA, 1, NEXT, SIZE}}, {{0}}},
        {"a piece of no length", false, {{DATA, 0, 0, 0}}, {{0}}},
        {"a piece that wraps around", false, {{UINT64_MAX - 1, 3, 0, 0}}, {{0}}},
        {"more bytes than can be counted",
         false,
         {{DATA, 0x80000000, NEXT, 1}, {DATA, 0x80000000, 0, 0}},
         {{0}}},
        {"a readable piece behind a writable one",
         false,
         {{DATA, 1, NEXT | WRITABLE, 1}, {DATA, 1, 0, 0}},
         {{0}}},
        {"a table that was not agreed on", false, {{TABLE, 16, INDIRECT, 0}}, {{DATA, 1, 0, 0}}},
        {"a table of no length", true, {{TABLE, 0, INDIRECT, 0}}, {{DATA, 1, 0, 0}}},
        {"a table of half an entry", true, {{TABLE, 24, INDIRECT, 0}}, {{DATA, 1, 0, 0}}},
        {"a table that goes on", true, {{TABLE, 16, INDIRECT | NEXT, 1}}, {{DATA, 1, 0, 0}}},
        {"a table in a table", true, {{TABLE, 32, INDIRECT, 0}}, {{TABLE, 16, INDIRECT, 0}}},
        {"a table that loops", true, {{TABLE, 16, INDIRECT, 0}}, {{DATA, 1, NEXT, 0}}},
        {"a next outside of a table", true, {{TABLE, 16, INDIRECT, 0}}, {{DATA, 1, NEXT, 1}}},
        {"a table that is not memory", true, {{GUEST + GUEST_SIZE, 16, INDIRECT, 0}}, {{0}}},
        {"a table that wraps around", true, {{UINT64_MAX - 15, 32, INDIRECT, 0}}, {{0}}},
    };
    struct guest *guest = guest_open(SIZE, PIECES);

    (void)state;
    for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
        start(guest, lies[i].indirect, false);
        for (unsigned int k = 0; k < 2; k++) {
            put_descriptor(guest, DESCRIPTORS, k, lies[i].ring[k].address, lies[i].ring[k].length,
                           lies[i].ring[k].flags, lies[i].ring[k].next);
            put_descriptor(guest, TABLE, k, lies[i].table[k].address, lies[i].table[k].length,
                           lies[i].table[k].flags, lies[i].table[k].next);
        }
        offer(guest, 0);
        guest_expect_broken(guest, lies[i].what);
    }
    guest_close(guest);
}

static void test_a_chain_may_have_so_many_pieces_and_no_more(void **state)
{
    struct guest *guest = guest_open(SIZE, PIECES);
    struct piommu_device_request request;

    (void)state;
    for (unsigned int count = 1; count <= SIZE; count++) {
        start(guest, false, false);
        for (unsigned int i = 0; i < count; i++) {
            put_descriptor(guest, DESCRIPTORS, i, DATA, 1, i + 1 < count ? NEXT : 0, i + 1);
        }
        offer(guest, 0);
        if (count <= PIECES) {
            assert_int_equal(piommu_device_ring_take(guest->ring, &request), 1);
            assert_int_equal(request.readable, count);
        } else {
            guest_expect_broken(guest, "a chain that is too long");
        }
    }
    guest_close(guest);
}

static void test_indices_and_heads_that_make_no_sense_break_the_ring(void **state)
{
    struct guest *guest = guest_open(SIZE, PIECES);
    struct piommu_device_request request;

    (void)state;
    start(guest, false, false);
    guest_put(guest, AVAILABLE + 2, SIZE + 1, 2);
    guest_expect_broken(guest, "an index that is too far ahead");

    start(guest, false, false);
    guest_put(guest, AVAILABLE + 2, 0xffff, 2);
    guest_expect_broken(guest, "an index that goes back");

    start(guest, false, false);
    offer(guest, SIZE);
    guest_expect_broken(guest, "a head outside of the table");

    start(guest, false, false);
    put_descriptor(guest, DESCRIPTORS, 1, DATA, 1, 0, 0);
    offer(guest, 1);
    offer(guest, 1);
    assert_int_equal(piommu_device_ring_take(guest->ring, &request), 1);
    guest_expect_broken(guest, "a head that is out already");

    start(guest, false, false);
    put_descriptor(guest, DESCRIPTORS, 1, DATA, 1, 0, 0);
    put_descriptor(guest, DESCRIPTORS, 2, DATA, 1, 0, 0);
    offer(guest, 1);
    assert_int_equal(piommu_device_ring_take(guest->ring, &request), 1);
    guest_put(guest, AVAILABLE + 2, 1 + SIZE, 2);
    guest_expect_broken(guest, "more requests than there is room for");
    guest_close(guest);
}

static void test_memory_that_is_none_is_not_touched(void **state)
{
    struct guest *guest = guest_open(SIZE, PIECES);
    struct piommu_device_request request;
    struct piommu_device_ring_config config = {
        .size = SIZE, .descriptors = DESCRIPTORS, .available = AVAILABLE, .used = USED};
    char bytes[8];

    (void)state;
    start(guest, false, false);
    put_descriptor(guest, DESCRIPTORS, 0, GUEST + GUEST_SIZE - 2, 4, NEXT, 1);
    put_descriptor(guest, DESCRIPTORS, 1, GUEST - 1, 4, WRITABLE, 0);
    offer(guest, 0);
    assert_int_equal(piommu_device_ring_take(guest->ring, &request), 1);
    assert_int_equal(piommu_device_ring_read(guest->ring, 0, bytes, 4), 0);
    assert_int_equal(piommu_device_ring_write(guest->ring, 0, bytes, 4), 0);
    assert_int_equal(piommu_device_ring_read(guest->ring, 0, bytes, 2), 2);

    config.available = GUEST + GUEST_SIZE;
    assert_int_equal(piommu_device_ring_start(guest->ring, &config), 0);
    guest_expect_broken(guest, "an available ring that is not memory");
    config.available = AVAILABLE;
    config.used = GUEST + GUEST_SIZE;
    start(guest, false, false);
    put_descriptor(guest, DESCRIPTORS, 0, DATA, 1, 0, 0);
    assert_int_equal(piommu_device_ring_start(guest->ring, &config), 0);
    offer(guest, 0);
    assert_int_equal(piommu_device_ring_take(guest->ring, &request), 1);
    assert_int_equal(piommu_device_ring_complete(guest->ring, 0, 0), -PIOMMU_EIO);
    guest_expect_broken(guest, "a used ring that is not memory");
    guest_close(guest);
}

static void test_rings_that_cannot_be_are_refused(void **state)
{
    struct guest *guest = guest_open(SIZE, PIECES);
    const struct piommu_device_ring_config right = {
        .size = SIZE, .descriptors = DESCRIPTORS, .available = AVAILABLE, .used = USED};
    struct piommu_device_ring_config config = right;
    struct piommu_guest_memory memory = guest->access;
    struct piommu_device_request request;
    struct piommu_device_ring *ring;

    (void)state;
    config.size = 2 * SIZE;
    assert_int_equal(piommu_device_ring_start(guest->ring, &config), -PIOMMU_EINVAL);
    config.size = 3;
    assert_int_equal(piommu_device_ring_start(guest->ring, &config), -PIOMMU_EINVAL);
    config.size = 0;
    assert_int_equal(piommu_device_ring_start(guest->ring, &config), -PIOMMU_EINVAL);
    config = right;
    config.descriptors += 8;
    assert_int_equal(piommu_device_ring_start(guest->ring, &config), -PIOMMU_EINVAL);
    config = right;
    config.available += 1;
    assert_int_equal(piommu_device_ring_start(guest->ring, &config), -PIOMMU_EINVAL);
    config = right;
    config.used += 2;
    assert_int_equal(piommu_device_ring_start(guest->ring, &config), -PIOMMU_EINVAL);
    config = right;
    config.used = UINT64_MAX - 3;
    assert_int_equal(piommu_device_ring_start(guest->ring, &config), -PIOMMU_EINVAL);
    assert_int_equal(piommu_device_ring_take(guest->ring, &request), 0);
    assert_int_equal(piommu_device_ring_start(guest->ring, &right), 0);
    piommu_device_ring_stop(guest->ring);
    offer(guest, 0);
    assert_int_equal(piommu_device_ring_take(guest->ring, &request), 0);
    assert_int_equal(piommu_device_ring_create(fake_os_host(guest->os), &memory, 0, 1, &ring),
                     -PIOMMU_EINVAL);
    assert_int_equal(piommu_device_ring_create(fake_os_host(guest->os), &memory, 32769, 1, &ring),
                     -PIOMMU_EINVAL);
    assert_int_equal(piommu_device_ring_create(fake_os_host(guest->os), &memory, 4, 0, &ring),
                     -PIOMMU_EINVAL);
    memory.read = NULL;
    assert_int_equal(piommu_device_ring_create(fake_os_host(guest->os), &memory, 4, 1, &ring),
                     -PIOMMU_EINVAL);
    memory.read = guest->access.read;
    for (unsigned int nth = 1; nth <= 2; nth++) {
        fake_os_fail_call(guest->os, nth, false);
        assert_int_equal(piommu_device_ring_create(fake_os_host(guest->os), &memory, 4, 1, &ring),
                         -PIOMMU_ENOMEM);
    }
    fake_os_fail_call(guest->os, 0, false);
    piommu_device_ring_destroy(NULL);
    guest_close(guest);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_request_is_read_answered_and_given_back),
        cmocka_unit_test(test_an_indirect_table_is_a_request),
        cmocka_unit_test(test_requests_may_come_back_in_any_order),
        cmocka_unit_test(test_the_driver_is_interrupted_as_it_wants),
        cmocka_unit_test(test_the_driver_is_told_from_where_on_to_notify),
        cmocka_unit_test(test_chains_that_make_no_sense_break_the_ring),
        cmocka_unit_test(test_a_chain_may_have_so_many_pieces_and_no_more),
        cmocka_unit_test(test_indices_and_heads_that_make_no_sense_break_the_ring),
        cmocka_unit_test(test_memory_that_is_none_is_not_touched),
        cmocka_unit_test(test_rings_that_cannot_be_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
