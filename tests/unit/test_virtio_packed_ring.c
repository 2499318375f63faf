/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The driver's side of a packed ring, with a device that the test plays: it has seen where the ring
 * is, reads its bytes, and writes into it what it likes.
 *
 * Places are counted from the start, without end: place n is slot n % size, in round n / size.
 *
 * Source: OASIS Virtual I/O Device (VIRTIO) Version 1.2, section 2.8 (packed virtqueues).
 */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include <piommu/error.h>

#include "ring_device.h"

#define COUNT(a)   (sizeof(a) / sizeof((a)[0]))
#define MAX_PIECES 4u
#define PIECE      64u

enum { NEXT = 1, WRITABLE = 2, INDIRECT = 4, AVAILABLE = 0x80, USED = 0x8000 };
enum { EVENT_ENABLE = 0, EVENT_DISABLE = 1, EVENT_DESCRIPTOR = 2, EVENT_RESERVED = 3 };

static struct ring_device *current;

/* ---- Life ---- */

static struct ring_device *start_with(uint64_t features, uint16_t size, bool polled)
{
    const struct piommu_virtqueue_config config = {
        .max_size = size, .max_pieces = MAX_PIECES, .polled = polled};

    current = ring_device_create(NULL);
    current->offered = PIOMMU_VIRTIO_F_RING_PACKED | features;
    ring_device_start(current, &config);
    assert_int_equal(current->size, size);
    assert_int_equal(current->accepted,
                     PIOMMU_VIRTIO_F_VERSION_1 | PIOMMU_VIRTIO_F_RING_PACKED | features);
    return current;
}

static struct ring_device *start(uint16_t size)
{
    return start_with(0, size, false);
}

/* ---- Bytes ---- */

static uint64_t descriptor_at(uint32_t place)
{
    return current->descriptors + 16ull * (place % current->size);
}

/* The flags of a descriptor that was made available, or used, at a place. */
static unsigned int available_at(uint32_t place)
{
    return place / current->size % 2 == 0 ? AVAILABLE : USED;
}

static unsigned int used_at(uint32_t place)
{
    return place / current->size % 2 == 0 ? AVAILABLE | USED : 0;
}

static unsigned int flags_at(uint32_t place)
{
    return (unsigned int)ring_device_get(current, descriptor_at(place) + 14, 2);
}

static void put_flags(uint32_t place, unsigned int flags)
{
    ring_device_put(current, descriptor_at(place) + 14, flags, 2);
}

static unsigned int id_at(uint32_t place)
{
    return (unsigned int)ring_device_get(current, descriptor_at(place) + 12, 2);
}

static bool is_available(uint32_t place)
{
    return (flags_at(place) & (AVAILABLE | USED)) == available_at(place);
}

/* An answer; the flags come last. */
static void put_answer(uint32_t place, unsigned int id, uint32_t length)
{
    ring_device_put(current, descriptor_at(place), 0xdeadbeefdeadbeef, 8);
    ring_device_put(current, descriptor_at(place) + 8, length, 4);
    ring_device_put(current, descriptor_at(place) + 12, id, 2);
    put_flags(place, used_at(place) | (length != 0 ? WRITABLE : 0u));
}

/* Where an event lies, as the event suppression structures say it. */
static unsigned int event_place(uint32_t place)
{
    return place % current->size | (place / current->size % 2 == 0 ? 0x8000u : 0u);
}

static void put_device_event(unsigned int place, unsigned int flags)
{
    ring_device_put(current, current->device_area, place, 2);
    ring_device_put(current, current->device_area + 2, flags, 2);
}

static void expect_driver_event(unsigned int place, unsigned int flags)
{
    assert_int_equal(ring_device_get(current, current->driver_area, 2), place);
    assert_int_equal(ring_device_get(current, current->driver_area + 2, 2), flags);
}

/* ---- Requests ---- */

static void make_pieces(struct piommu_virtio_buffer *pieces, uint16_t count, uint16_t readable)
{
    for (uint16_t i = 0; i < count; i++) {
        pieces[i] = (struct piommu_virtio_buffer){
            .physical = current->memory + i * PIECE, .size = 4u + i, .writable = i >= readable};
    }
}

static uint16_t add(uint16_t count, uint16_t readable)
{
    struct piommu_virtio_buffer pieces[MAX_PIECES];
    uint16_t head = UINT16_MAX;

    make_pieces(pieces, count, readable);
    assert_int_equal(piommu_virtqueue_add(current->queue, pieces, count, &head), 0);
    assert_true(head < current->size);
    return head;
}

/* A request of one piece with 4 bytes that the device writes. */
static uint16_t show(void)
{
    uint16_t head = add(1, 0);

    (void)piommu_virtqueue_publish(current->queue);
    return head;
}

static int take(uint16_t *head, uint32_t *length)
{
    *head = UINT16_MAX;
    *length = UINT32_MAX;
    return piommu_virtqueue_take(current->queue, head, length);
}

static void expect_answer(unsigned int id, uint32_t expected)
{
    uint16_t head;
    uint32_t length;

    assert_int_equal(take(&head, &length), 1);
    assert_int_equal(head, id);
    assert_int_equal(length, expected);
}

static void expect_none(void)
{
    uint16_t head;
    uint32_t length;

    assert_int_equal(take(&head, &length), 0);
}

/* A ring that the device has corrupted gives nothing back any more, and takes nothing. */
static void expect_dead(void)
{
    struct piommu_virtio_buffer piece;
    uint16_t head;
    uint32_t length;

    make_pieces(&piece, 1, 0);
    for (unsigned int i = 0; i < 3; i++) {
        assert_int_equal(take(&head, &length), -PIOMMU_EIO);
        assert_int_equal(piommu_virtqueue_add(current->queue, &piece, 1, &head), -PIOMMU_EIO);
    }
    piommu_virtqueue_kick(current->queue);
}

/* ---- Creation ---- */

static void test_any_size_will_do(void **state)
{
    static const uint16_t sizes[] = {2, 3, 7, 255, 256, 257, 32767, 32768};

    (void)state;
    for (size_t i = 0; i < COUNT(sizes); i++) {
        ring_device_destroy(start_with(0, sizes[i], false));
    }
}

static void test_sizes_that_cannot_be_are_refused(void **state)
{
    static const uint16_t wrong[] = {0, 1, 32769, 65535};
    static const uint32_t impossible[] = {0, 1, 32769, 65536, 65538, 0x80000002};
    struct piommu_virtqueue_config config = {.max_size = 100};
    struct piommu_virtqueue *queue = NULL;
    struct ring_device *device = ring_device_create(NULL);

    (void)state;
    device->offered = PIOMMU_VIRTIO_F_RING_PACKED;
    ring_device_open(device, PIOMMU_VIRTIO_F_GENERIC);
    for (size_t i = 0; i < COUNT(wrong); i++) {
        config.max_size = wrong[i];
        assert_int_equal(piommu_virtqueue_create(device->driver, &config, &queue), -PIOMMU_EINVAL);
    }
    config.max_size = 100;
    for (size_t i = 0; i < COUNT(impossible); i++) {
        device->queue_max = impossible[i];
        assert_int_equal(piommu_virtqueue_create(device->driver, &config, &queue), -PIOMMU_EBADMSG);
    }
    assert_null(queue);
    /* The smaller one of both sides counts. */
    device->queue_max = 37;
    assert_int_equal(piommu_virtqueue_create(device->driver, &config, &device->queue), 0);
    assert_int_equal(piommu_virtqueue_size(device->queue), 37);
    device->queue_max = 36;
    ring_device_destroy(device);
}

static void test_who_does_not_want_it_has_a_split_ring(void **state)
{
    struct piommu_virtqueue_config config = {.max_size = 3};
    struct piommu_virtqueue *queue = NULL;
    struct ring_device *device = ring_device_create(NULL);

    (void)state;
    device->offered = PIOMMU_VIRTIO_F_RING_PACKED;
    ring_device_open(device, PIOMMU_VIRTIO_F_GENERIC & ~PIOMMU_VIRTIO_F_RING_PACKED);
    assert_int_equal(device->accepted, PIOMMU_VIRTIO_F_VERSION_1);
    assert_int_equal(piommu_virtqueue_create(device->driver, &config, &queue), -PIOMMU_EINVAL);
    ring_device_destroy(device);
}

/* Both sides write into the same cache lines, which only works where one sees the other's. */
static void test_a_device_that_does_not_snoop_has_a_split_ring(void **state)
{
    static const struct fake_os_options options = {.non_coherent_rings = true};
    struct ring_device *device = ring_device_create(&options);
    uint64_t accepted;

    (void)state;
    device->offered = PIOMMU_VIRTIO_F_RING_PACKED | PIOMMU_VIRTIO_F_EVENT_IDX;
    device->non_coherent = true;
    ring_device_open(device, PIOMMU_VIRTIO_F_GENERIC);
    assert_int_equal(device->accepted, PIOMMU_VIRTIO_F_VERSION_1 | PIOMMU_VIRTIO_F_EVENT_IDX);
    assert_int_equal(piommu_virtio_reset(device->driver, 1000000), 0);
    assert_int_equal(piommu_virtio_negotiate(device->driver, PIOMMU_VIRTIO_F_GENERIC,
                                             PIOMMU_VIRTIO_F_RING_PACKED, &accepted),
                     -PIOMMU_EOPNOTSUPP);
    ring_device_destroy(device);
}

static void test_a_ring_begins_empty(void **state)
{
    (void)state;
    for (unsigned int choice = 0; choice < 4; choice++) {
        bool polled = (choice & 1) != 0;
        uint64_t features = (choice & 2) != 0 ? PIOMMU_VIRTIO_F_EVENT_IDX : 0;
        struct ring_device *device = start_with(features, 7, polled);

        assert_int_equal(device->descriptors % 16, 0);
        assert_int_equal(device->driver_area % 4, 0);
        assert_int_equal(device->device_area % 4, 0);
        assert_true(fake_os_is_dma_memory(device->os, device->descriptors, 7 * 16));
        assert_true(fake_os_is_dma_memory(device->os, device->driver_area, 4));
        assert_true(fake_os_is_dma_memory(device->os, device->device_area, 4));
        for (unsigned int i = 0; i < 7 * 16; i++) {
            assert_int_equal(ring_device_get(device, device->descriptors + i, 1), 0);
        }
        assert_int_equal(ring_device_get(device, device->device_area, 4), 0);
        if (polled) {
            assert_int_equal(ring_device_get(device, device->driver_area + 2, 2), EVENT_DISABLE);
        } else if (features != 0) {
            expect_driver_event(event_place(0), EVENT_DESCRIPTOR);
        } else {
            assert_int_equal(ring_device_get(device, device->driver_area + 2, 2), EVENT_ENABLE);
        }
        ring_device_destroy(device);
    }
}

/* ---- What the device sees ---- */

static void expect_chain(uint32_t place, uint16_t head, uint16_t count, uint16_t readable)
{
    struct piommu_virtio_buffer pieces[MAX_PIECES];

    make_pieces(pieces, count, readable);
    for (uint16_t i = 0; i < count; i++) {
        assert_int_equal(ring_device_get(current, descriptor_at(place + i), 8), pieces[i].physical);
        assert_int_equal(ring_device_get(current, descriptor_at(place + i) + 8, 4), pieces[i].size);
        assert_int_equal(flags_at(place + i), available_at(place + i) |
                                                  (i + 1 < count ? NEXT : 0u) |
                                                  (i >= readable ? WRITABLE : 0u));
    }
    assert_int_equal(id_at(place + count - 1), head);
}

/* Chains of all lengths, at all places of both rounds, in rings of all sorts of sizes. */
static void test_descriptors_say_what_was_asked_everywhere(void **state)
{
    static const uint16_t sizes[] = {2, 3, 7, 128};

    (void)state;
    for (size_t i = 0; i < COUNT(sizes); i++) {
        struct ring_device *device = start(sizes[i]);
        uint32_t place = 0;

        for (unsigned int step = 0; step < 6u * sizes[i]; step++) {
            uint16_t count = (uint16_t)(1 + step % (sizes[i] < MAX_PIECES ? sizes[i] : MAX_PIECES));
            uint16_t readable = (uint16_t)(step / 4 % (count + 1u));
            uint16_t head = add(count, readable);

            assert_false(is_available(place));
            assert_true(piommu_virtqueue_publish(device->queue));
            expect_chain(place, head, count, readable);
            assert_false(is_available(place + count));
            expect_none();
            put_answer(place, head, 0);
            place += count;
            expect_answer(head, 0);
            expect_none();
        }
        assert_true(place > 6u * sizes[i]);
        ring_device_destroy(device);
    }
}

/* Of a batch nothing can be seen before all can. */
static void test_a_batch_is_shown_at_once(void **state)
{
    struct ring_device *device = start(16);
    uint32_t place = 0;
    uint16_t heads[5];

    (void)state;
    for (unsigned int round = 0; round < 40; round++) {
        for (uint16_t i = 0; i < 5; i++) {
            heads[i] = add((uint16_t)(1 + i % 3), 1);
            assert_false(is_available(place));
        }
        assert_true(piommu_virtqueue_publish(device->queue));
        assert_false(piommu_virtqueue_publish(device->queue));
        for (uint16_t i = 0; i < 5; i++) {
            expect_chain(place, heads[i], (uint16_t)(1 + i % 3), 1);
            put_answer(place, heads[i], 0);
            place += 1 + i % 3u;
            expect_answer(heads[i], 0);
        }
        assert_false(is_available(place));
    }
    ring_device_destroy(device);
}

/* An answer lies where the next one comes, whichever request it is for. */
static void test_answers_come_in_any_order(void **state)
{
    struct ring_device *device = start(7);
    uint32_t place = 0;

    (void)state;
    for (unsigned int round = 0; round < 100; round++) {
        static const uint16_t counts[] = {3, 1, 2};
        uint16_t heads[3];

        for (unsigned int i = 0; i < 3; i++) {
            heads[i] = add(counts[i], 0);
        }
        (void)piommu_virtqueue_publish(device->queue);
        for (unsigned int i = 0; i < 3; i++) {
            unsigned int which = (i + round) % 3;

            put_answer(place, heads[which], 4);
            expect_answer(heads[which], 4);
            expect_none();
            place += counts[which];
        }
    }
    ring_device_destroy(device);
}

static void test_a_table_takes_one_descriptor(void **state)
{
    struct ring_device *device = start_with(PIOMMU_VIRTIO_F_INDIRECT_DESC, 3, false);
    struct piommu_virtio_buffer pieces[MAX_PIECES];

    (void)state;
    make_pieces(pieces, MAX_PIECES, 2);
    for (uint32_t place = 0; place < 20; place++) {
        uint16_t head = add(MAX_PIECES, 2);
        uint64_t table;

        (void)piommu_virtqueue_publish(device->queue);
        table = ring_device_get(device, descriptor_at(place), 8);
        assert_int_equal(table % 16, 0);
        assert_int_equal(ring_device_get(device, descriptor_at(place) + 8, 4), 16 * MAX_PIECES);
        assert_int_equal(id_at(place), head);
        assert_int_equal(flags_at(place), available_at(place) | INDIRECT);
        for (unsigned int i = 0; i < MAX_PIECES; i++) {
            assert_int_equal(ring_device_get(device, table + 16 * i, 8), pieces[i].physical);
            assert_int_equal(ring_device_get(device, table + 16 * i + 8, 4), pieces[i].size);
            assert_int_equal(ring_device_get(device, table + 16 * i + 14, 2), i < 2 ? 0 : WRITABLE);
        }
        put_answer(place, head, 13);
        expect_answer(head, 13);
    }
    /* A request of one piece needs none. */
    (void)add(1, 0);
    (void)piommu_virtqueue_publish(device->queue);
    assert_int_equal(flags_at(20), available_at(20) | WRITABLE);
    ring_device_destroy(device);
}

/* ---- Order of accesses ---- */

static void (*real_barrier)(void *ctx, enum piommu_barrier kind);
static void (*on_barrier)(enum piommu_barrier kind);
static unsigned int barriers_before; /* that order what was written, until the request is there */
static unsigned int barriers_behind; /* FULL ones, since then */
static uint16_t late_head;

static void spying_barrier(void *ctx, enum piommu_barrier kind)
{
    real_barrier(ctx, kind);
    if (on_barrier != NULL) {
        on_barrier(kind);
    }
}

static void spy_on_barriers(void (*callback)(enum piommu_barrier kind))
{
    struct piommu_os *callbacks = fake_os_callbacks(current->os);

    real_barrier = callbacks->barrier;
    callbacks->barrier = spying_barrier;
    on_barrier = callback;
}

static void watch_publication(enum piommu_barrier kind)
{
    if (is_available(0)) {
        barriers_behind += kind == PIOMMU_BARRIER_FULL;
    } else {
        barriers_before += kind != PIOMMU_BARRIER_READ && is_available(1) && is_available(2) &&
                           ring_device_get(current, descriptor_at(0) + 8, 4) == 4;
    }
}

static void change_event_at_full_barrier(enum piommu_barrier kind)
{
    watch_publication(kind);
    if (kind == PIOMMU_BARRIER_FULL) {
        put_device_event(0, EVENT_DISABLE);
    }
}

static void test_the_first_flags_are_written_between_barriers(void **state)
{
    struct ring_device *device = start(8);

    (void)state;
    barriers_before = 0;
    barriers_behind = 0;
    spy_on_barriers(change_event_at_full_barrier);
    (void)add(2, 1);
    (void)add(1, 0);
    assert_false(is_available(0));
    /* The wish is read behind the last barrier. */
    assert_false(piommu_virtqueue_publish(device->queue));
    assert_int_equal(barriers_before, 1);
    assert_int_equal(barriers_behind, 1);
    on_barrier = NULL;
    ring_device_destroy(device);
}

static void answer_at_read_barrier(enum piommu_barrier kind)
{
    if (kind != PIOMMU_BARRIER_WRITE) {
        ring_device_put(current, descriptor_at(0) + 8, 4, 4);
        ring_device_put(current, descriptor_at(0) + 12, late_head, 2);
    }
}

/* Without the barrier the rest could be older than the flags: here it is wrong until then. */
static void test_answers_are_read_behind_a_barrier(void **state)
{
    struct ring_device *device = start(8);

    (void)state;
    late_head = show();
    put_answer(0, 0xffff, 0xffffffff);
    spy_on_barriers(answer_at_read_barrier);
    expect_answer(late_head, 4);
    on_barrier = NULL;
    ring_device_destroy(device);
}

static void answer_at_full_barrier(enum piommu_barrier kind)
{
    if (kind == PIOMMU_BARRIER_FULL) {
        expect_driver_event(event_place(0), EVENT_DESCRIPTOR);
        put_answer(0, late_head, 0);
    }
}

static void test_the_ring_is_looked_at_after_the_wish_was_said(void **state)
{
    struct ring_device *device = start_with(PIOMMU_VIRTIO_F_EVENT_IDX, 8, false);

    (void)state;
    late_head = show();
    ring_device_put(device, device->driver_area, 0x5555, 2);
    spy_on_barriers(answer_at_full_barrier);
    assert_true(piommu_virtqueue_want_interrupt(device->queue));
    on_barrier = NULL;
    expect_answer(late_head, 0);
    ring_device_destroy(device);
}

/* ---- Notifications ---- */

static void test_doorbells_ring_unless_the_device_is_silent(void **state)
{
    /* With EVENT_IDX only flags 2 mean a place; what is reserved means nothing. */
    static const struct {
        unsigned int flags;
        bool wanted;
    } cases[] = {{EVENT_ENABLE, true},   {EVENT_DISABLE, false},          {EVENT_DESCRIPTOR, true},
                 {EVENT_RESERVED, true}, {0xfff0 | EVENT_DISABLE, false}, {0xfff0, true}};

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct ring_device *device = start(4);

        /* A place that was passed long ago. */
        put_device_event(event_place(4 + 1), cases[i].flags);
        assert_false(piommu_virtqueue_publish(device->queue));
        (void)add(1, 0);
        assert_int_equal(piommu_virtqueue_publish(device->queue), cases[i].wanted);
        assert_false(piommu_virtqueue_publish(device->queue));
        put_device_event(0, EVENT_ENABLE);
        (void)add(1, 0);
        assert_true(piommu_virtqueue_publish(device->queue));
        assert_int_equal(device->doorbells, 0);
        piommu_virtqueue_ring(device->queue);
        assert_int_equal(device->doorbells, 1);
        ring_device_destroy(device);
    }
}

/* Exactly if the place was passed, from every place, for every step and event. */
static void test_doorbells_follow_the_place_that_the_device_names(void **state)
{
    static const uint16_t sizes[] = {2, 3, 8};

    (void)state;
    for (size_t i = 0; i < COUNT(sizes); i++) {
        struct ring_device *device = start_with(PIOMMU_VIRTIO_F_EVENT_IDX, sizes[i], false);
        uint32_t rounds = 2u * sizes[i];
        uint32_t place = 0;

        for (unsigned int run = 0; run < rounds * rounds * sizes[i]; run++) {
            uint32_t event = run % rounds;
            uint32_t step = 1 + run / rounds % sizes[i];
            bool passed = false;

            put_device_event(event_place(event), EVENT_DESCRIPTOR);
            for (uint32_t k = 0; k < step; k++) {
                (void)add(1, 0);
                passed |= (place + k) % rounds == event;
            }
            assert_int_equal(piommu_virtqueue_publish(device->queue), passed);
            for (uint32_t k = 0; k < step; k++, place++) {
                unsigned int head = id_at(place);

                put_answer(place, head, 0);
                expect_answer(head, 0);
            }
        }
        ring_device_destroy(device);
    }
}

/* A place that is none, or flags that say nothing, cost a doorbell and no more. */
static void test_nonsense_about_doorbells_does_no_harm(void **state)
{
    static const unsigned int places[] = {0x0005, 0x8005, 0x7fff, 0xffff, 0x0006, 0x8100};

    (void)state;
    for (size_t i = 0; i < COUNT(places); i++) {
        struct ring_device *device = start_with(PIOMMU_VIRTIO_F_EVENT_IDX, 5, false);

        put_device_event(places[i], EVENT_DESCRIPTOR);
        (void)show();
        put_device_event(places[i], EVENT_DESCRIPTOR);
        (void)add(1, 0);
        assert_true(piommu_virtqueue_publish(device->queue));
        put_device_event(places[i], EVENT_RESERVED);
        (void)add(1, 0);
        assert_true(piommu_virtqueue_publish(device->queue));
        put_device_event(places[i], 0xff00 | EVENT_DISABLE);
        (void)add(1, 0);
        assert_false(piommu_virtqueue_publish(device->queue));
        ring_device_destroy(device);
    }
}

static void test_an_interrupt_is_asked_for_at_the_next_answer(void **state)
{
    struct ring_device *device = start_with(PIOMMU_VIRTIO_F_EVENT_IDX, 5, false);
    uint32_t place = 0;

    (void)state;
    for (unsigned int round = 0; round < 50; round++) {
        uint16_t count = (uint16_t)(1 + round % 4);
        uint16_t head = add(count, 0);

        (void)piommu_virtqueue_publish(device->queue);
        assert_false(piommu_virtqueue_want_interrupt(device->queue));
        expect_driver_event(event_place(place), EVENT_DESCRIPTOR);
        put_answer(place, head, 0);
        assert_true(piommu_virtqueue_want_interrupt(device->queue));
        expect_answer(head, 0);
        expect_driver_event(event_place(place), EVENT_DESCRIPTOR);
        place += count;
    }
    ring_device_destroy(device);
}

static void test_a_polled_ring_asks_for_nothing(void **state)
{
    static const uint64_t features[] = {0, PIOMMU_VIRTIO_F_EVENT_IDX};

    (void)state;
    for (size_t i = 0; i < COUNT(features); i++) {
        struct ring_device *device = start_with(features[i], 3, true);

        for (uint32_t place = 0; place < 20; place++) {
            uint16_t head = show();

            assert_false(piommu_virtqueue_want_interrupt(device->queue));
            put_answer(place, head, 4);
            assert_true(piommu_virtqueue_want_interrupt(device->queue));
            expect_answer(head, 4);
            assert_int_equal(ring_device_get(device, device->driver_area + 2, 2), EVENT_DISABLE);
        }
        ring_device_destroy(device);
    }
}

/* ---- Hostile devices ---- */

/* To some place, by honest use. */
static void go_to(uint32_t place)
{
    for (uint32_t i = 0; i < place; i++) {
        uint16_t head = show();

        put_answer(i, head, 4);
        expect_answer(head, 4);
    }
}

static void test_ids_of_nothing_in_flight_are_refused(void **state)
{
    static const unsigned int ids[] = {5, 6, 127, 128, 0x7fff, 0x8000, 0xffff};

    (void)state;
    for (size_t i = 0; i < COUNT(ids) + 5; i++) {
        struct ring_device *device = start(5);
        uint16_t heads[2] = {show(), show()};
        unsigned int id = i < COUNT(ids) ? ids[i] : (unsigned int)(i - COUNT(ids));

        put_answer(0, id, 4);
        if (id == heads[0] || id == heads[1]) {
            expect_answer(id, 4);
        } else {
            expect_dead();
        }
        ring_device_destroy(device);
    }
}

static void *(*real_alloc)(void *ctx, size_t size);
static void (*real_free)(void *ctx, void *memory, size_t size);

/* For as many entries as there are IDs, of which each says that a request is in flight. */
#define BEHIND (65536u * 16u)

static void *alloc_before_ones(void *ctx, size_t size)
{
    static const uint16_t one = 1;
    uint8_t *memory = real_alloc(ctx, size + BEHIND);

    assert_non_null(memory);
    for (size_t i = 0; i < BEHIND; i += sizeof(one)) {
        memcpy(memory + size + i, &one, sizeof(one));
    }
    return memory;
}

static void free_before_ones(void *ctx, void *memory, size_t size)
{
    real_free(ctx, memory, size + BEHIND);
}

/* What lies behind the driver's own memory of the ring may look like anything. */
static void test_ids_beyond_the_ring_are_refused_whatever_lies_there(void **state)
{
    static const unsigned int ids[] = {5, 6, 31, 0x7fff, 0x8000, 0xffff};

    (void)state;
    for (size_t i = 0; i < COUNT(ids); i++) {
        const struct piommu_virtqueue_config config = {.max_size = 5};
        struct piommu_os *callbacks;

        current = ring_device_create(NULL);
        current->offered = PIOMMU_VIRTIO_F_RING_PACKED;
        callbacks = fake_os_callbacks(current->os);
        real_alloc = callbacks->alloc;
        real_free = callbacks->free;
        callbacks->alloc = alloc_before_ones;
        callbacks->free = free_before_ones;
        ring_device_start(current, &config);
        (void)show();
        put_answer(0, ids[i], 4);
        expect_dead();
        ring_device_destroy(current);
    }
}

static void test_a_request_comes_back_once(void **state)
{
    struct ring_device *device = start(8);
    uint16_t head = show();

    (void)state;
    (void)show();
    put_answer(0, head, 4);
    put_answer(1, head, 4);
    expect_answer(head, 4);
    expect_dead();
    ring_device_destroy(device);
}

static void test_lengths_are_believed_only_where_they_can_be_true(void **state)
{
    static const uint32_t lengths[] = {0, 1, 4, 5, 0x10000, 0x10004, 0x80000004, 0xffffffff};

    (void)state;
    for (size_t i = 0; i < COUNT(lengths); i++) {
        struct ring_device *device = start(8);
        uint16_t head = show();

        put_answer(0, head, lengths[i]);
        if (lengths[i] <= 4) {
            expect_answer(head, lengths[i]);
        } else {
            expect_dead();
        }
        ring_device_destroy(device);

        /* Without the flag for what was written, which some never set, it counts if it can. */
        device = start(8);
        head = show();
        put_answer(0, head, lengths[i]);
        put_flags(0, used_at(0));
        expect_answer(head, lengths[i] <= 4 ? lengths[i] : 0);
        ring_device_destroy(device);
    }
}

/* Of the four states of a descriptor that the device has been given, two can be. */
static void test_states_that_cannot_be_are_noticed(void **state)
{
    static const unsigned int states[] = {0, AVAILABLE, USED, AVAILABLE | USED};

    (void)state;
    for (unsigned int run = 0; run < 4 * 8; run++) {
        struct ring_device *device = start(4);
        uint32_t place = run / 4;
        unsigned int now = states[run % 4];
        uint16_t head;

        go_to(place);
        head = show();
        put_answer(place, head, 4);
        put_flags(place, now | WRITABLE);
        if (now == used_at(place)) {
            expect_answer(head, 4);
        } else if (now == available_at(place)) {
            expect_none();
        } else {
            assert_true(piommu_virtqueue_want_interrupt(device->queue)); /* take will say it */
            expect_dead();
        }
        ring_device_destroy(device);
    }
}

/* Where nothing was given, nothing can come back; all other states are left from before. */
static void test_answers_for_nothing_are_noticed(void **state)
{
    static const unsigned int states[] = {0, AVAILABLE, USED, AVAILABLE | USED};

    (void)state;
    for (unsigned int run = 0; run < 4 * 8; run++) {
        struct ring_device *device = start(4);
        uint32_t place = run / 4;

        go_to(place);
        put_flags(place, states[run % 4]);
        if (states[run % 4] == used_at(place)) {
            expect_dead();
        } else {
            expect_none();
        }
        ring_device_destroy(device);
    }
}

/* What was added and not shown is not in the device's hands. */
static void test_answers_for_what_was_not_shown_are_noticed(void **state)
{
    struct ring_device *device = start(8);
    uint16_t head = add(1, 0);

    (void)state;
    put_answer(0, head, 4);
    expect_dead();
    ring_device_destroy(device);

    /* Behind one that was. */
    device = start(8);
    head = show();
    put_answer(0, add(3, 0), 4);
    expect_dead();
    ring_device_destroy(device);

    device = start(8);
    head = show();
    put_answer(0, head, 4);
    expect_answer(head, 4);
    put_answer(1, add(1, 0), 4);
    expect_dead();
    ring_device_destroy(device);
}

static void test_the_driver_never_believes_its_own_descriptors(void **state)
{
    struct ring_device *device = start_with(PIOMMU_VIRTIO_F_INDIRECT_DESC, 8, false);
    uint32_t place = 0;

    (void)state;
    for (unsigned int round = 0; round < 30; round++) {
        uint16_t heads[2] = {add(1, 0), add(3, 1)};
        uint64_t table;

        (void)piommu_virtqueue_publish(device->queue);
        table = ring_device_get(device, descriptor_at(place + 1), 8);
        for (unsigned int i = 0; i < 3 * 16; i++) {
            ring_device_put(device, table + i, 0xff, 1);
        }
        /* All but the state of the descriptors in which the answers come. */
        for (unsigned int slot = 0; slot < 8; slot++) {
            ring_device_put(device, descriptor_at(slot), UINT64_MAX, 8);
            ring_device_put(device, descriptor_at(slot) + 8, 0xffffffff, 6);
        }
        put_answer(place + 1, heads[0], 4);
        expect_none();
        put_answer(place, heads[1], 11);
        expect_answer(heads[1], 11);
        expect_answer(heads[0], 4);
        place += 2;
    }
    ring_device_destroy(device);
}

/* Chains and IDs come back to where they are free, whatever the device makes of the ring. */
static void test_random_nonsense_in_the_ring_does_no_harm(void **state)
{
    uint32_t random = 1;

    (void)state;
    for (unsigned int round = 0; round < 400; round++) {
        struct ring_device *device = start_with(round % 2 != 0 ? PIOMMU_VIRTIO_F_INDIRECT_DESC : 0,
                                                (uint16_t)(2 + round % 7), false);
        uint32_t in_flight = 0; /* a bit for each head */

        for (unsigned int step = 0; step < 80; step++) {
            struct piommu_virtio_buffer pieces[MAX_PIECES];
            uint16_t head;
            uint32_t length;
            int result;

            random = random * 1664525u + 1013904223u;
            switch (random >> 29) {
            case 0:
            case 1:
                make_pieces(pieces, MAX_PIECES, 0);
                if (piommu_virtqueue_add(device->queue, pieces,
                                         (uint16_t)(1 + (random >> 8) % MAX_PIECES), &head) == 0) {
                    assert_true(head < device->size && (in_flight >> head & 1) == 0);
                    in_flight |= 1u << head;
                }
                break;
            case 2:
                (void)piommu_virtqueue_publish(device->queue);
                break;
            case 3:
            case 4:
                put_answer(random >> 8 & 31, random >> 4 & 7, random >> 16 & 3);
                break;
            case 5:
                ring_device_put(device, device->descriptors + (random >> 8) % (16u * device->size),
                                random >> 4 & 0xff, 1);
                break;
            default:
                result = take(&head, &length);
                assert_true(result == 0 || result == 1 || result == -PIOMMU_EIO);
                if (result == 1) {
                    assert_true(head < device->size && (in_flight >> head & 1) != 0);
                    in_flight &= ~(1u << head);
                }
                break;
            }
        }
        ring_device_destroy(device);
    }
}

/* ---- Starting again ---- */

static void test_a_ring_begins_anew_when_it_is_handed_over_again(void **state)
{
    (void)state;
    for (uint32_t place = 0; place < 8; place++) {
        struct ring_device *device = start(4);
        uint16_t head;

        go_to(place);
        (void)show();
        (void)add(2, 0);
        if (place % 2 != 0) {
            put_answer(place, 0xffff, 4);
            expect_dead();
        }
        ring_device_restart(device);
        for (unsigned int i = 0; i < 4 * 16; i++) {
            assert_int_equal(ring_device_get(device, device->descriptors + i, 1), 0);
        }
        expect_none();
        go_to(10);
        head = add(4, 1);
        (void)piommu_virtqueue_publish(device->queue);
        expect_chain(10, head, 4, 1);
        ring_device_destroy(device);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_size_will_do),
        cmocka_unit_test(test_sizes_that_cannot_be_are_refused),
        cmocka_unit_test(test_who_does_not_want_it_has_a_split_ring),
        cmocka_unit_test(test_a_device_that_does_not_snoop_has_a_split_ring),
        cmocka_unit_test(test_a_ring_begins_empty),
        cmocka_unit_test(test_descriptors_say_what_was_asked_everywhere),
        cmocka_unit_test(test_a_batch_is_shown_at_once),
        cmocka_unit_test(test_answers_come_in_any_order),
        cmocka_unit_test(test_a_table_takes_one_descriptor),
        cmocka_unit_test(test_the_first_flags_are_written_between_barriers),
        cmocka_unit_test(test_answers_are_read_behind_a_barrier),
        cmocka_unit_test(test_the_ring_is_looked_at_after_the_wish_was_said),
        cmocka_unit_test(test_doorbells_ring_unless_the_device_is_silent),
        cmocka_unit_test(test_doorbells_follow_the_place_that_the_device_names),
        cmocka_unit_test(test_nonsense_about_doorbells_does_no_harm),
        cmocka_unit_test(test_an_interrupt_is_asked_for_at_the_next_answer),
        cmocka_unit_test(test_a_polled_ring_asks_for_nothing),
        cmocka_unit_test(test_ids_of_nothing_in_flight_are_refused),
        cmocka_unit_test(test_ids_beyond_the_ring_are_refused_whatever_lies_there),
        cmocka_unit_test(test_a_request_comes_back_once),
        cmocka_unit_test(test_lengths_are_believed_only_where_they_can_be_true),
        cmocka_unit_test(test_states_that_cannot_be_are_noticed),
        cmocka_unit_test(test_answers_for_nothing_are_noticed),
        cmocka_unit_test(test_answers_for_what_was_not_shown_are_noticed),
        cmocka_unit_test(test_the_driver_never_believes_its_own_descriptors),
        cmocka_unit_test(test_random_nonsense_in_the_ring_does_no_harm),
        cmocka_unit_test(test_a_ring_begins_anew_when_it_is_handed_over_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
