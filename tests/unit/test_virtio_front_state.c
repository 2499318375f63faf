/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The state of a front, saved and restored: in the middle of a driver's life, and from bytes that
 * lie. That drivers do not notice is shown in test_virtio_front.c.
 */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "front_machine.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define REQUEST  64u

static const struct front_machine_options kinds[] = {
    {.pci = false, .features = 0x5},
    {.pci = true, .features = 0x5, .interrupt_pin = 1, .message_count = 3},
};

static struct front_machine *open_kind(unsigned int kind)
{
    return front_machine_start(&kinds[kind]);
}

/* A driver that has started queue 1, with a request in it. */
static void start(struct front_machine *machine)
{
    assert_int_equal(front_machine_agree(machine, 0x4), 0xb);
    front_machine_request(machine, 1, REQUEST);
    front_machine_enable(machine, 1, 8, 1);
    front_machine_set(machine, STATUS, 0xf);
    assert_int_equal(front_machine_get(machine, STATUS), 0xf);
}

static int restore(struct front_machine *machine, const void *state, size_t size)
{
    return piommu_virtio_front_restore(machine->front, state, size);
}

/* As after creation. */
static void expect_nothing(struct front_machine *machine)
{
    assert_int_equal(piommu_virtio_front_status(machine->front), 0);
    assert_false(machine->line);
    for (unsigned int i = 0; i < FRONT_MACHINE_QUEUES; i++) {
        assert_null(piommu_virtio_front_ring(machine->front, i));
    }
}

static void a_request_that_is_out_is_completed_after_it(void **state)
{
    (void)state;
    for (unsigned int kind = 0; kind < COUNT(kinds); kind++) {
        struct front_machine *machine = open_kind(kind);
        struct piommu_device_request request;
        struct piommu_device_ring *ring;
        uint8_t bytes[REQUEST];

        machine->idle = true;
        start(machine);
        front_machine_notify(machine, 1);
        ring = piommu_virtio_front_ring(machine->front, 1);
        assert_int_equal(piommu_device_ring_take(ring, &request), 1);
        front_machine_migrate(machine);
        ring = piommu_virtio_front_ring(machine->front, 1);
        assert_int_equal(piommu_device_ring_read(ring, 0, bytes, REQUEST), REQUEST);
        assert_int_equal(piommu_device_ring_write(ring, 0, bytes, REQUEST), REQUEST);
        assert_int_equal(piommu_device_ring_complete(ring, request.head, REQUEST), 0);
        front_machine_complete(machine, 1);
        assert_true(machine->line);
        /* It is completed once, and there is no other. */
        front_machine_migrate(machine);
        ring = piommu_virtio_front_ring(machine->front, 1);
        assert_int_equal(piommu_device_ring_complete(ring, request.head, 0), -PIOMMU_EINVAL);
        assert_int_equal(piommu_device_ring_take(ring, &request), 0);
        assert_true(machine->line);
        assert_int_equal(front_machine_take_interrupt(machine), 1);
        assert_false(machine->line);
        front_machine_stop(machine);
    }
}

static void queues_that_run_are_looked_at(void **state)
{
    (void)state;
    for (unsigned int kind = 0; kind < COUNT(kinds); kind++) {
        struct front_machine *machine = open_kind(kind);
        unsigned int notifications;

        machine->idle = true;
        start(machine);
        machine->idle = false;
        notifications = machine->notifications[1];
        front_machine_migrate(machine);
        assert_int_equal(machine->notifications[1], notifications + 1);
        assert_int_equal(machine->notifications[0] + machine->notifications[2], 0);
        assert_int_equal(machine->completed, 1);
        assert_int_equal(machine->resets, 0);
        front_machine_stop(machine);
    }
}

static void a_reset_that_has_begun_is_not_saved(void **state)
{
    (void)state;
    for (unsigned int kind = 0; kind < COUNT(kinds); kind++) {
        struct front_machine *machine = open_kind(kind);
        size_t size = 0;

        start(machine);
        machine->slow_reset = true;
        front_machine_set(machine, STATUS, 0);
        assert_null(front_machine_save(machine, &size));
        machine->resetting = false;
        piommu_virtio_front_reset_done(machine->front);
        front_machine_migrate(machine);
        assert_int_equal(front_machine_get(machine, STATUS), 0);
        front_machine_stop(machine);
    }
}

static void a_device_that_needs_a_reset_still_does(void **state)
{
    (void)state;
    for (unsigned int kind = 0; kind < COUNT(kinds); kind++) {
        struct front_machine *machine = open_kind(kind);

        start(machine);
        piommu_virtio_front_fail(machine->front);
        front_machine_migrate(machine);
        assert_int_equal(front_machine_get(machine, STATUS), 0x4f);
        assert_null(piommu_virtio_front_ring(machine->front, 1));
        assert_true(machine->line);
        front_machine_stop(machine);
    }
}

static void *state_of_a_life(struct front_machine *machine, size_t *size)
{
    void *bytes;

    machine->idle = true;
    start(machine);
    front_machine_notify(machine, 1);
    (void)piommu_device_ring_take(piommu_virtio_front_ring(machine->front, 1),
                                  &(struct piommu_device_request){0});
    piommu_virtio_front_config_changed(machine->front);
    bytes = front_machine_save(machine, size);
    assert_non_null(bytes);
    return bytes;
}

static void what_is_cut_or_too_long_is_refused(void **state)
{
    (void)state;
    for (unsigned int kind = 0; kind < COUNT(kinds); kind++) {
        struct front_machine *machine = open_kind(kind);
        size_t size;
        uint8_t *bytes = state_of_a_life(machine, &size);
        uint8_t *longer = calloc(1, size + 1);

        assert_non_null(longer);
        for (size_t cut = 0; cut < size; cut++) {
            assert_int_equal(restore(machine, bytes, cut), -PIOMMU_EINVAL);
            expect_nothing(machine);
        }
        memcpy(longer, bytes, size);
        assert_int_equal(restore(machine, longer, size + 1), -PIOMMU_EINVAL);
        expect_nothing(machine);
        assert_int_equal(restore(machine, bytes, size), 0);
        free(longer);
        free(bytes);
        front_machine_stop(machine);
    }
}

/* Whatever was restored, a driver can use it as any other. */
static void live_on(struct front_machine *machine)
{
    const unsigned int status = front_machine_get(machine, STATUS);

    assert_true((status & 0x4) == 0 || (status & 0x8) != 0);
    for (unsigned int i = 0; i < FRONT_MACHINE_QUEUES; i++) {
        struct piommu_device_ring *ring = piommu_virtio_front_ring(machine->front, i);
        struct piommu_device_request request;
        uint8_t bytes[REQUEST];

        assert_true(ring == NULL || (status & 0xc4) == 4);
        for (unsigned int j = 0; ring != NULL && j < 4; j++) {
            (void)piommu_device_ring_read(ring, 0, bytes, sizeof(bytes));
            (void)piommu_device_ring_write(ring, 0, bytes, sizeof(bytes));
            (void)piommu_device_ring_complete(ring, (uint16_t)j, REQUEST);
            (void)piommu_device_ring_take(ring, &request);
        }
        piommu_virtio_front_completed(machine->front, i);
    }
    front_machine_set(machine, STATUS, 0);
    assert_int_equal(front_machine_get(machine, STATUS), 0);
}

static void each_wrong_byte_is_refused_or_can_be(void **state)
{
    (void)state;
    for (unsigned int kind = 0; kind < COUNT(kinds); kind++) {
        struct front_machine *machine = open_kind(kind);
        size_t size;
        uint8_t *bytes = state_of_a_life(machine, &size);
        uint8_t identity[64];

        for (unsigned int i = 0; kind == 1 && i < 4; i++) {
            identity[i] = (uint8_t)piommu_virtio_front_pci_config_read(machine->front, i, 1);
        }
        for (size_t at = 0; at < size; at++) {
            static const uint8_t flips[] = {0x01, 0x80, 0x10, 0xff};

            for (unsigned int i = 0; i < COUNT(flips); i++) {
                bytes[at] ^= flips[i];
                if (restore(machine, bytes, size) != 0) {
                    expect_nothing(machine);
                }
                /* What a driver cannot write stays as it is made. */
                for (unsigned int j = 0; kind == 1 && j < 4; j++) {
                    assert_int_equal(piommu_virtio_front_pci_config_read(machine->front, j, 1),
                                     identity[j]);
                }
                live_on(machine);
                bytes[at] ^= flips[i];
            }
        }
        assert_int_equal(restore(machine, bytes, size), 0);
        live_on(machine);
        free(bytes);
        front_machine_stop(machine);
    }
}

static void another_description_is_refused(void **state)
{
    static const struct front_machine_options others[] = {
        {.pci = true, .features = 0x5, .interrupt_pin = 1, .message_count = 2},
        {.pci = true, .features = 0x1, .interrupt_pin = 1, .message_count = 3},
        {.pci = false, .features = 0x1},
    };

    (void)state;
    for (unsigned int kind = 0; kind < COUNT(kinds); kind++) {
        struct front_machine *machine = open_kind(kind);
        size_t size;
        void *bytes = state_of_a_life(machine, &size);

        for (unsigned int i = 0; i < COUNT(others); i++) {
            struct front_machine *other = front_machine_start(&others[i]);

            assert_int_equal(restore(other, bytes, size), -PIOMMU_EINVAL);
            expect_nothing(other);
            front_machine_stop(other);
        }
        free(bytes);
        front_machine_stop(machine);
    }
}

static void arguments_that_make_no_sense_are_refused(void **state)
{
    struct front_machine *machine = open_kind(0);
    size_t size;

    (void)state;
    assert_int_equal(piommu_virtio_front_save(NULL, NULL, 0, &size), -PIOMMU_EINVAL);
    assert_int_equal(piommu_virtio_front_save(machine->front, NULL, 0, NULL), -PIOMMU_EINVAL);
    assert_int_equal(piommu_virtio_front_restore(NULL, "", 1), -PIOMMU_EINVAL);
    assert_int_equal(piommu_virtio_front_restore(machine->front, NULL, 0), -PIOMMU_EINVAL);
    front_machine_stop(machine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_that_is_out_is_completed_after_it),
        cmocka_unit_test(queues_that_run_are_looked_at),
        cmocka_unit_test(a_reset_that_has_begun_is_not_saved),
        cmocka_unit_test(a_device_that_needs_a_reset_still_does),
        cmocka_unit_test(what_is_cut_or_too_long_is_refused),
        cmocka_unit_test(each_wrong_byte_is_refused_or_can_be),
        cmocka_unit_test(another_description_is_refused),
        cmocka_unit_test(arguments_that_make_no_sense_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
