/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Both ends of a ring against each other: the driver's of virtio.h and the device's of
 * virtio-device.h, in rings of both kinds, of all sorts of sizes, with and without tables and event
 * indices. What is looked at is what both sides say, not how the ring lies in memory.
 */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <piommu/virtio-device.h>

#include "ring_device.h"

#define MAX_PIECES 5u
#define PIECE      16u /* bytes at most */
#define MAX_SIZE   128u
#define COUNT(a)   (sizeof(a) / sizeof((a)[0]))

/* What a ring is to be. */
struct kind {
    uint64_t features;
    uint16_t size;
    bool polled;
};

/* A request in flight, as the driver knows it. */
struct request {
    bool in_flight;
    uint32_t serial;
    uint32_t readable;
    uint32_t writable;
};

struct pair {
    struct ring_device *device;
    struct piommu_device_ring *ring;
    struct request requests[MAX_SIZE];
    uint16_t taken[MAX_SIZE]; /* by the device, in this order */
    unsigned int taken_count;
    unsigned int in_flight;
    uint32_t added;     /* requests, since the start */
    uint32_t published; /* of them */
    uint32_t seen;      /* of them, by the device */
    uint32_t random;

    /* What comes in between, at the turn with this number: see run. */
    void (*other)(struct pair *pair);
    unsigned int turns;
    /* Who has been told what. */
    bool notified;
    bool interrupted;
    int found; /* by the device: as piommu_device_ring_take says */
    struct piommu_device_request request;
    bool answer_seen;
};

static uint32_t random_below(struct pair *pair, uint32_t limit)
{
    pair->random = pair->random * 1664525u + 1013904223u;
    return (pair->random >> 8) % limit;
}

/* ---- Life ---- */

/* An access of the device's end, or a barrier of either one: here the other side can act. */
static void turn(struct pair *pair)
{
    void (*other)(struct pair * pair) = pair->other;

    if (other != NULL && --pair->turns == 0) {
        pair->other = NULL;
        other(pair);
    }
}

static bool device_read(void *ctx, uint64_t address, void *buffer, size_t size)
{
    struct pair *pair = ctx;

    turn(pair);
    return fake_os_device_read(pair->device->os, address, buffer, size);
}

static bool device_write(void *ctx, uint64_t address, const void *buffer, size_t size)
{
    struct pair *pair = ctx;

    turn(pair);
    return fake_os_device_write(pair->device->os, address, buffer, size);
}

static struct pair *current;
static void (*real_barrier)(void *ctx, enum piommu_barrier kind);

static void barrier(void *ctx, enum piommu_barrier kind)
{
    real_barrier(ctx, kind);
    turn(current);
}

static void start_ring(struct pair *pair)
{
    const struct ring_device *device = pair->device;
    const struct piommu_device_ring_config config = {
        .size = device->size,
        .descriptors = device->descriptors,
        .available = device->driver_area,
        .used = device->device_area,
        .indirect = (device->accepted & PIOMMU_VIRTIO_F_INDIRECT_DESC) != 0,
        .event_idx = (device->accepted & PIOMMU_VIRTIO_F_EVENT_IDX) != 0,
        .packed = (device->accepted & PIOMMU_VIRTIO_F_RING_PACKED) != 0};

    assert_true(device->ready);
    assert_int_equal(piommu_device_ring_start(pair->ring, &config), 0);
    memset(pair->requests, 0, sizeof(pair->requests));
    pair->taken_count = 0;
    pair->in_flight = 0;
    pair->added = 0;
    pair->published = 0;
    pair->seen = 0;
}

static struct pair *open_pair(const struct kind *kind)
{
    const struct piommu_virtqueue_config config = {
        .max_size = kind->size, .max_pieces = MAX_PIECES, .polled = kind->polled};
    struct pair *pair = calloc(1, sizeof(*pair));
    const struct piommu_guest_memory memory = {
        .read = device_read, .write = device_write, .ctx = pair};

    assert_non_null(pair);
    current = pair;
    pair->random = 1;
    pair->device = ring_device_create(NULL);
    pair->device->offered = kind->features;
    ring_device_start(pair->device, &config);
    assert_int_equal(pair->device->size, kind->size);
    assert_int_equal(pair->device->accepted, kind->features | PIOMMU_VIRTIO_F_VERSION_1);
    real_barrier = fake_os_callbacks(pair->device->os)->barrier;
    fake_os_callbacks(pair->device->os)->barrier = barrier;
    assert_int_equal(piommu_device_ring_create(fake_os_host(pair->device->os), &memory, MAX_SIZE,
                                               MAX_PIECES, &pair->ring),
                     0);
    start_ring(pair);
    return pair;
}

static void close_pair(struct pair *pair)
{
    piommu_device_ring_destroy(pair->ring);
    ring_device_destroy(pair->device);
    free(pair);
}

/* ---- What the two sides do ---- */

static bool has_tables(const struct pair *pair)
{
    return (pair->device->accepted & PIOMMU_VIRTIO_F_INDIRECT_DESC) != 0;
}

/* The first readable piece carries the serial number of the request, in as many bytes as it has. */
static int try_add(struct pair *pair, uint16_t readable, uint16_t writable, uint16_t *head)
{
    struct piommu_virtio_buffer pieces[MAX_PIECES + 1];
    struct request request = {.in_flight = true, .serial = pair->added};
    uint64_t at = pair->device->memory + pair->added % MAX_SIZE * MAX_PIECES * PIECE;
    int error;

    for (uint16_t i = 0; i < readable + writable; i++) {
        uint32_t size = 4 + random_below(pair, PIECE - 3);

        pieces[i] = (struct piommu_virtio_buffer){
            .physical = at + i * PIECE, .size = size, .writable = i >= readable};
        *(i < readable ? &request.readable : &request.writable) += size;
    }
    error =
        piommu_virtqueue_add(pair->device->queue, pieces, (uint16_t)(readable + writable), head);
    if (error == 0) {
        assert_true(*head < pair->device->size);
        assert_false(pair->requests[*head].in_flight);
        ring_device_put(pair->device, at, pair->added, 4);
        pair->requests[*head] = request;
        pair->in_flight++;
        pair->added++;
    }
    return error;
}

static void add(struct pair *pair, uint16_t readable, uint16_t writable)
{
    uint16_t head;

    assert_int_equal(try_add(pair, readable, writable, &head), 0);
}

static bool publish(struct pair *pair)
{
    pair->published = pair->added;
    return piommu_virtqueue_publish(pair->device->queue);
}

/* The device takes the next request, which is the one that was added next; false: there is none. */
static bool device_takes(struct pair *pair)
{
    struct piommu_device_request request;
    static const uint8_t answer[MAX_PIECES * PIECE + 1];
    int taken = piommu_device_ring_take(pair->ring, &request);

    assert_int_equal(taken, pair->seen != pair->published);
    if (taken == 0) {
        return false;
    }
    assert_true(pair->requests[request.head].in_flight);
    assert_int_equal(request.readable, pair->requests[request.head].readable);
    assert_int_equal(request.writable, pair->requests[request.head].writable);
    assert_int_equal(pair->requests[request.head].serial, pair->seen);
    if (request.readable != 0) {
        uint8_t bytes[4];

        assert_int_equal(piommu_device_ring_read(pair->ring, 0, bytes, 4), 4);
        assert_int_equal(bytes[0] | bytes[1] << 8 | bytes[2] << 16, pair->seen);
    }
    assert_int_equal(piommu_device_ring_write(pair->ring, 0, answer, sizeof(answer)),
                     request.writable);
    pair->taken[pair->taken_count++] = request.head;
    pair->seen++;
    return true;
}

/* The device is done with one of those that it has taken. */
static void device_completes(struct pair *pair, unsigned int which)
{
    uint16_t head = pair->taken[which];

    pair->taken_count--;
    memmove(&pair->taken[which], &pair->taken[which + 1],
            (pair->taken_count - which) * sizeof(pair->taken[0]));
    assert_int_equal(
        piommu_device_ring_complete(pair->ring, head, pair->requests[head].writable / 2), 0);
    pair->requests[head].serial = UINT32_MAX; /* done */
}

static bool driver_takes(struct pair *pair)
{
    uint16_t head = UINT16_MAX;
    uint32_t length = UINT32_MAX;
    int taken = piommu_virtqueue_take(pair->device->queue, &head, &length);

    assert_true(taken == 0 || taken == 1);
    if (taken == 0) {
        return false;
    }
    assert_true(head < pair->device->size);
    assert_true(pair->requests[head].in_flight);
    assert_int_equal(pair->requests[head].serial, UINT32_MAX);
    assert_int_equal(length, pair->requests[head].writable / 2);
    pair->requests[head].in_flight = false;
    pair->in_flight--;
    return true;
}

/* ---- Every kind of ring ---- */

static void for_each_kind(void (*test)(struct pair *pair))
{
    static const uint16_t sizes[] = {2, 3, 4, 7, 8, 100, 128};

    for (unsigned int choice = 0; choice < 8 * COUNT(sizes); choice++) {
        const struct kind kind = {.features =
                                      ((choice & 1) != 0 ? PIOMMU_VIRTIO_F_RING_PACKED : 0) |
                                      ((choice & 2) != 0 ? PIOMMU_VIRTIO_F_EVENT_IDX : 0) |
                                      ((choice & 4) != 0 ? PIOMMU_VIRTIO_F_INDIRECT_DESC : 0),
                                  .size = sizes[choice / 8]};
        struct pair *pair;

        if ((choice & 1) == 0 && (kind.size & (kind.size - 1)) != 0) {
            continue;
        }
        pair = open_pair(&kind);
        test(pair);
        close_pair(pair);
    }
}

static void step(struct pair *pair)
{
    uint16_t limit =
        has_tables(pair) || pair->device->size > MAX_PIECES ? MAX_PIECES : pair->device->size;
    uint16_t readable = (uint16_t)random_below(pair, limit + 1u);
    uint16_t writable = (uint16_t)random_below(pair, limit - readable + 1u);
    uint16_t head;

    switch (random_below(pair, 8)) {
    case 0:
    case 1:
    case 2:
        if (readable + writable != 0) {
            int error = try_add(pair, readable, writable, &head);

            assert_true(error == 0 || error == -PIOMMU_ENOSPC);
        }
        break;
    case 3:
        (void)publish(pair);
        break;
    case 4:
    case 5:
        (void)device_takes(pair);
        break;
    case 6:
        if (pair->taken_count != 0) {
            device_completes(pair, random_below(pair, pair->taken_count));
        }
        break;
    default:
        (void)driver_takes(pair);
        (void)piommu_device_ring_wants_interrupt(pair->ring);
        break;
    }
}

static void do_as_comes(struct pair *pair)
{
    for (unsigned int i = 0; i < 6000; i++) {
        step(pair);
    }
    (void)publish(pair);
    while (device_takes(pair)) {
    }
    while (pair->taken_count != 0) {
        device_completes(pair, random_below(pair, pair->taken_count));
    }
    while (driver_takes(pair)) {
    }
    assert_int_equal(pair->in_flight, 0);
    assert_true(pair->added > 100);
}

static void test_requests_arrive_and_come_back_in_any_order(void **state)
{
    (void)state;
    for_each_kind(do_as_comes);
}

/* Chains of each length, one after the other: they come to lie at every slot, and over the end. */
static void go_round(struct pair *pair)
{
    uint16_t most = piommu_virtqueue_capacity(pair->device->queue, MAX_PIECES) != 0
                        ? MAX_PIECES
                        : pair->device->size;

    for (uint16_t count = 1; count <= most; count++) {
        for (unsigned int i = 0; i < 3u * pair->device->size; i++) {
            add(pair, (uint16_t)(i % (count + 1u)), (uint16_t)(count - i % (count + 1u)));
            assert_true(publish(pair));
            assert_true(device_takes(pair));
            assert_false(driver_takes(pair));
            device_completes(pair, 0);
            assert_true(driver_takes(pair));
            assert_false(driver_takes(pair));
            assert_false(device_takes(pair));
        }
    }
}

static void test_chains_lie_everywhere(void **state)
{
    (void)state;
    for_each_kind(go_round);
}

/* As many requests as the capacity says, and no more; then they come back last first. */
static void fill(struct pair *pair)
{
    for (unsigned int round = 0; round < 4u * MAX_PIECES; round++) {
        uint16_t pieces = (uint16_t)(1 + round % MAX_PIECES);
        uint16_t capacity = piommu_virtqueue_capacity(pair->device->queue, pieces);
        uint16_t head;

        assert_int_equal(capacity,
                         has_tables(pair) ? pair->device->size : pair->device->size / pieces);
        for (unsigned int i = 0; i < capacity; i++) {
            add(pair, pieces, 0);
        }
        assert_int_equal(try_add(pair, 0, pieces, &head), -PIOMMU_ENOSPC);
        assert_false(device_takes(pair)); /* they have not been shown */
        assert_int_equal(publish(pair), capacity != 0);
        assert_false(publish(pair));
        for (unsigned int i = 0; i < capacity; i++) {
            assert_true(device_takes(pair));
        }
        assert_false(device_takes(pair));
        for (unsigned int i = capacity; i-- > 0;) {
            device_completes(pair, i);
            assert_true(driver_takes(pair));
        }
    }
}

static void test_a_ring_holds_as_much_as_it_says(void **state)
{
    (void)state;
    for_each_kind(fill);
}

/* A ring that was forgotten in the middle begins anew. */
static void begin_again(struct pair *pair)
{
    for (unsigned int round = 0; round < 10; round++) {
        for (unsigned int i = 0; i < 20u * round; i++) {
            step(pair);
        }
        ring_device_restart(pair->device);
        start_ring(pair);
    }
    do_as_comes(pair);
}

static void test_a_ring_can_be_handed_over_again(void **state)
{
    (void)state;
    for_each_kind(begin_again);
}

/* ---- Nobody sleeps while there is something to do ---- */

static void driver_shows(struct pair *pair)
{
    const struct piommu_virtio_buffer piece = {.physical = pair->device->memory, .size = 4};
    uint16_t head;

    assert_int_equal(piommu_virtqueue_add(pair->device->queue, &piece, 1, &head), 0);
    pair->notified = piommu_virtqueue_publish(pair->device->queue);
}

static void device_looks(struct pair *pair)
{
    pair->found = piommu_device_ring_take(pair->ring, &pair->request);
}

static void device_answers(struct pair *pair)
{
    assert_int_equal(piommu_device_ring_complete(pair->ring, pair->request.head, 0), 0);
    pair->interrupted = piommu_device_ring_wants_interrupt(pair->ring);
}

static void driver_looks(struct pair *pair)
{
    pair->answer_seen = piommu_virtqueue_want_interrupt(pair->device->queue);
}

/* Does one thing, and the other one at a turn of it, or behind if there are fewer: then false. */
static bool run(struct pair *pair, void (*one)(struct pair *pair), void (*other)(struct pair *pair),
                unsigned int turns)
{
    bool between;

    pair->other = other;
    pair->turns = turns;
    one(pair);
    between = pair->other == NULL;
    if (!between) {
        pair->other = NULL;
        other(pair);
    }
    return between;
}

/*
 * A request, and its answer, while the other side goes to sleep: it sees what has come, or is told.
 * False if there are fewer turns than that.
 */
static bool pass_request(struct pair *pair, bool looks_first, unsigned int turns)
{
    uint16_t head;
    uint32_t length;
    bool between = run(pair, looks_first ? device_looks : driver_shows,
                       looks_first ? driver_shows : device_looks, turns);

    assert_true(pair->found == 1 || pair->notified);
    if (pair->found == 0) {
        device_looks(pair);
    }
    assert_int_equal(pair->found, 1);
    between |= run(pair, looks_first ? driver_looks : device_answers,
                   looks_first ? device_answers : driver_looks, turns);
    assert_true(pair->answer_seen || pair->interrupted);
    assert_int_equal(piommu_virtqueue_take(pair->device->queue, &head, &length), 1);
    assert_int_equal(head, pair->request.head);
    return between;
}

/* Each turn of each of the four, at each place of both rounds. */
static void interleave(struct pair *pair)
{
    for (unsigned int looks_first = 0; looks_first < 2; looks_first++) {
        unsigned int turns = 0;
        bool more;

        do {
            more = false;
            turns++;
            for (unsigned int i = 0; i < 2u * pair->device->size + 1; i++) {
                more |= pass_request(pair, looks_first != 0, turns);
            }
        } while (more);
        assert_true(turns > 2);
    }
}

static void test_no_wake_up_is_lost_between_two_steps(void **state)
{
    (void)state;
    for_each_kind(interleave);
}

enum { LENGTH = 5, STEPS = 5, SCHEDULES = 3125 }; /* STEPS ^ LENGTH */

/* Who sleeps, until somebody tells him something. */
struct sleepers {
    bool device;
    bool driver;
};

static void show_one(struct pair *pair, struct sleepers *sleepers)
{
    uint16_t head;

    if (try_add(pair, 1, 0, &head) == 0 && publish(pair)) {
        sleepers->device = false;
    }
    assert_false(sleepers->device && pair->seen != pair->published);
}

static void answer_one(struct pair *pair)
{
    if (pair->taken_count != 0) {
        device_completes(pair, 0);
    }
}

static unsigned int answered(const struct pair *pair)
{
    return pair->in_flight - (pair->added - pair->seen) - pair->taken_count;
}

static void interrupt(struct pair *pair, struct sleepers *sleepers)
{
    if (piommu_device_ring_wants_interrupt(pair->ring)) {
        sleepers->driver = false;
    }
    assert_false(sleepers->driver && answered(pair) != 0);
}

/* A driver that finds nothing asks for an interrupt, and sleeps if there is nothing even then. */
static void take_one(struct pair *pair, struct sleepers *sleepers)
{
    if (!driver_takes(pair)) {
        sleepers->driver = !piommu_virtqueue_want_interrupt(pair->device->queue);
    }
}

static void do_one(struct pair *pair, struct sleepers *sleepers, unsigned int what)
{
    switch (what) {
    case 0:
        show_one(pair, sleepers);
        break;
    case 1:
        sleepers->device = !device_takes(pair);
        break;
    case 2:
        answer_one(pair);
        break;
    case 3:
        interrupt(pair, sleepers);
        break;
    default:
        take_one(pair, sleepers);
        break;
    }
}

/* All that can happen in so many steps, one after the other from where the last one has led. */
static void do_all_schedules(struct pair *pair)
{
    struct sleepers sleepers = {false, false};

    for (unsigned int schedule = 0; schedule < SCHEDULES; schedule++) {
        unsigned int left = schedule;

        for (unsigned int i = 0; i < LENGTH; i++) {
            do_one(pair, &sleepers, left % STEPS);
            left /= STEPS;
        }
    }
}

static void test_no_wake_up_is_lost_in_any_schedule(void **state)
{
    (void)state;
    for_each_kind(do_all_schedules);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests_arrive_and_come_back_in_any_order),
        cmocka_unit_test(test_chains_lie_everywhere),
        cmocka_unit_test(test_a_ring_holds_as_much_as_it_says),
        cmocka_unit_test(test_a_ring_can_be_handed_over_again),
        cmocka_unit_test(test_no_wake_up_is_lost_between_two_steps),
        cmocka_unit_test(test_no_wake_up_is_lost_in_any_schedule),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
