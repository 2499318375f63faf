/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The library's own driver (virtio.h) on a front (virtio-front.h), over both transports, with lines
 * and messages, and with all kinds of rings: a device that gives back what it reads, its
 * configuration, its interrupts, its resets, and what it refuses.
 */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "front_machine.h"

#define SECOND    1000000000ull
#define COUNT(a)  (sizeof(a) / sizeof((a)[0]))
#define RING_BITS (PIOMMU_VIRTIO_F_INDIRECT_DESC | PIOMMU_VIRTIO_F_EVENT_IDX)
#define REQUEST   24u /* bytes there, and as many back */

static const struct piommu_virtio_message messages[] = {{0x8020040, 7}, {0x108020040ull, 8}};

static const struct front_machine_options connections[] = {
    {.pci = false},
    {.pci = true, .interrupt_pin = 1},
    {.pci = true, .interrupt_pin = 2, .message_count = 1},
    {.pci = true, .message_count = 4},
    {.pci = false, .migrates = true},
    {.pci = true, .interrupt_pin = 1, .migrates = true},
    {.pci = true, .message_count = 4, .migrates = true},
};

struct guest {
    struct front_machine *machine;
    struct piommu_virtio_device *driver;
    struct piommu_virtqueue *queues[2];
    uint64_t accepted;
};

/* ---- Life ---- */

static int open_driver(struct guest *guest)
{
    struct piommu_host host = fake_os_host(guest->machine->os);
    struct piommu_virtio_mmio_config mmio = front_machine_mmio_place();
    struct piommu_virtio_pci_config pci = front_machine_pci_place();

    pci.messages = messages;
    pci.message_count = COUNT(messages);
    return guest->machine->options.pci ? piommu_virtio_pci_open(host, &pci, &guest->driver)
                                       : piommu_virtio_mmio_open(host, &mmio, &guest->driver);
}

static int negotiate(struct guest *guest)
{
    assert_int_equal(piommu_virtio_reset(guest->driver, SECOND), 0);
    return piommu_virtio_negotiate(guest->driver, PIOMMU_VIRTIO_F_GENERIC | 0x7, 0,
                                   &guest->accepted);
}

/* A driver that has agreed on everything. */
static struct guest open_guest(const struct front_machine_options *connection, uint64_t features)
{
    struct front_machine_options options = *connection;
    struct guest guest = {0};

    options.features = features;
    guest.machine = front_machine_start(&options);
    assert_int_equal(open_driver(&guest), 0);
    assert_int_equal(negotiate(&guest), 0);
    assert_int_equal(guest.accepted, features | PIOMMU_VIRTIO_F_VERSION_1);
    return guest;
}

static struct guest start_guest(const struct front_machine_options *connection, uint64_t features)
{
    struct guest guest = open_guest(connection, features);

    for (uint16_t i = 0; i < COUNT(guest.queues); i++) {
        const struct piommu_virtqueue_config config = {
            .index = (uint16_t)(2 * i), .max_size = 64, .max_pieces = 4};

        assert_int_equal(piommu_virtqueue_create(guest.driver, &config, &guest.queues[i]), 0);
        assert_int_equal(piommu_virtqueue_size(guest.queues[i]), FRONT_MACHINE_QUEUE_SIZE);
    }
    piommu_virtio_start(guest.driver);
    assert_int_equal(guest.machine->starts, 1);
    return guest;
}

static void close_guest(struct guest *guest)
{
    assert_int_equal(piommu_virtio_reset(guest->driver, SECOND), 0);
    for (unsigned int i = 0; i < COUNT(guest->queues); i++) {
        piommu_virtqueue_destroy(guest->queues[i]);
    }
    piommu_virtio_close(guest->driver);
    front_machine_stop(guest->machine);
}

/* ---- Requests ---- */

/* There are four pieces: the halves that go there, and the halves that come back. */
static void add(struct guest *guest, unsigned int queue, unsigned int slot, uint8_t seed)
{
    uint64_t place = guest->machine->memory + slot * 2 * REQUEST;
    uint8_t *bytes = fake_os_pointer(guest->machine->os, place, 2 * REQUEST);
    struct piommu_virtio_buffer pieces[4];
    uint16_t head;

    for (unsigned int i = 0; i < REQUEST; i++) {
        bytes[i] = (uint8_t)(seed + i);
        bytes[REQUEST + i] = 0;
    }
    for (unsigned int i = 0; i < COUNT(pieces); i++) {
        pieces[i] = (struct piommu_virtio_buffer){
            .physical = place + i * REQUEST / 2, .size = REQUEST / 2, .writable = i >= 2};
    }
    assert_int_equal(piommu_virtqueue_add(guest->queues[queue], pieces, COUNT(pieces), &head), 0);
}

static void expect_answer(struct guest *guest, unsigned int queue, unsigned int slot, uint8_t seed)
{
    uint64_t place = guest->machine->memory + slot * 2 * REQUEST;
    const uint8_t *bytes = fake_os_pointer(guest->machine->os, place, 2 * REQUEST);
    uint32_t length;
    uint16_t head;

    assert_int_equal(piommu_virtqueue_take(guest->queues[queue], &head, &length), 1);
    assert_int_equal(length, REQUEST);
    for (unsigned int i = 0; i < REQUEST; i++) {
        assert_int_equal(bytes[REQUEST + i], (uint8_t)(seed + i));
    }
}

/* That it was interrupted for its queues, and for nothing else. */
static void expect_queue_interrupt(struct guest *guest, unsigned int sent_before)
{
    unsigned int used = piommu_virtio_messages_used(guest->driver);
    const struct front_machine *machine = guest->machine;

    if (used == 0) {
        assert_int_equal(machine->message_count, sent_before);
        assert_true(machine->line);
        assert_int_equal(piommu_virtio_interrupt_status(guest->driver), 1);
    } else {
        const struct piommu_virtio_message *sent =
            &machine->messages[(machine->message_count - 1) % FRONT_MACHINE_MESSAGES];

        assert_int_equal(machine->message_count, sent_before + 1);
        if (sent_before < FRONT_MACHINE_MESSAGES) {
            assert_int_equal(sent->address, messages[used - 1].address);
            assert_int_equal(sent->data, messages[used - 1].data);
        }
    }
    assert_false(machine->line);
}

static void send_batch(struct guest *guest, unsigned int queue, unsigned int count, uint8_t seed)
{
    unsigned int sent = guest->machine->message_count;
    uint32_t length;
    uint16_t head;

    assert_false(piommu_virtqueue_want_interrupt(guest->queues[queue]));
    for (unsigned int i = 0; i < count; i++) {
        add(guest, queue, i, (uint8_t)(seed + i));
    }
    piommu_virtqueue_kick(guest->queues[queue]);
    expect_queue_interrupt(guest, sent);
    for (unsigned int i = 0; i < count; i++) {
        expect_answer(guest, queue, i, (uint8_t)(seed + i));
    }
    assert_int_equal(piommu_virtqueue_take(guest->queues[queue], &head, &length), 0);
}

static void check_requests(const struct front_machine_options *connection, uint64_t features)
{
    struct guest guest = start_guest(connection, features);
    unsigned int done = 0;

    for (unsigned int round = 0; round < 40; round++) {
        for (unsigned int queue = 0; queue < COUNT(guest.queues); queue++) {
            unsigned int count = 1 + (round + queue) % 4;

            send_batch(&guest, queue, count, (uint8_t)(7 * round + queue));
            done += count;
        }
    }
    assert_int_equal(guest.machine->completed, done);
    assert_int_equal(guest.machine->notifications[1], 0);
    close_guest(&guest);
}

static void requests_go_there_and_back(void **state)
{
    static const uint64_t kinds[] = {0, PIOMMU_VIRTIO_F_RING_PACKED};

    (void)state;
    for (unsigned int i = 0; i < COUNT(connections); i++) {
        for (unsigned int j = 0; j < COUNT(kinds); j++) {
            for (uint64_t bits = 0; bits <= RING_BITS; bits += PIOMMU_VIRTIO_F_INDIRECT_DESC) {
                check_requests(&connections[i], kinds[j] | bits);
            }
        }
    }
}

static void as_many_messages_as_there_are_entries(void **state)
{
    static const unsigned int used[] = {0, 0, 1, 2, 0, 0, 2};

    (void)state;
    for (unsigned int i = 0; i < COUNT(connections); i++) {
        struct guest guest = start_guest(&connections[i], 0);

        assert_int_equal(piommu_virtio_messages_used(guest.driver), used[i]);
        close_guest(&guest);
    }
}

static void polled_queue_does_not_interrupt(void **state)
{
    const struct piommu_virtqueue_config config = {
        .index = 1, .max_size = 8, .max_pieces = 4, .polled = true};

    (void)state;
    for (unsigned int i = 0; i < COUNT(connections); i++) {
        struct guest guest = open_guest(&connections[i], RING_BITS);

        assert_int_equal(piommu_virtqueue_create(guest.driver, &config, &guest.queues[0]), 0);
        piommu_virtio_start(guest.driver);
        add(&guest, 0, 0, 1);
        piommu_virtqueue_kick(guest.queues[0]);
        expect_answer(&guest, 0, 0, 1);
        assert_false(guest.machine->line);
        assert_int_equal(guest.machine->message_count, 0);
        close_guest(&guest);
    }
}

/* ---- Reset ---- */

static void restart(struct guest *guest)
{
    assert_int_equal(negotiate(guest), 0);
    for (unsigned int i = 0; i < COUNT(guest->queues); i++) {
        assert_int_equal(piommu_virtqueue_restart(guest->queues[i]), 0);
    }
    piommu_virtio_start(guest->driver);
}

static void after_a_reset_all_begins_anew(void **state)
{
    (void)state;
    for (unsigned int i = 0; i < COUNT(connections); i++) {
        for (unsigned int slow = 0; slow < 2; slow++) {
            struct guest guest =
                start_guest(&connections[i], RING_BITS | PIOMMU_VIRTIO_F_RING_PACKED);

            guest.machine->slow_reset = slow != 0;
            for (unsigned int life = 0; life < 3; life++) {
                send_batch(&guest, 0, 3, 5);
                send_batch(&guest, 1, 1, 9);
                restart(&guest);
                assert_int_equal(guest.machine->starts, life + 2);
                assert_int_equal(guest.machine->resets, life + 2);
            }
            close_guest(&guest);
        }
    }
}

static void reset_that_never_ends_is_seen(void **state)
{
    (void)state;
    for (unsigned int i = 0; i < COUNT(connections); i++) {
        struct guest guest = start_guest(&connections[i], 0);

        guest.machine->slow_reset = true;
        piommu_virtio_front_reset_done(guest.machine->front); /* there is none: of no effect */
        assert_int_equal(piommu_virtio_status(guest.driver), 0xf);
        assert_int_equal(piommu_virtio_reset(guest.driver, 1), -PIOMMU_ETIMEDOUT);
        assert_int_equal(piommu_virtio_status(guest.driver), 0xf);
        close_guest(&guest); /* in whose waits it ends */
    }
}

/* ---- What the device says no to ---- */

static void features_that_the_device_insists_on(void **state)
{
    (void)state;
    for (unsigned int i = 0; i < COUNT(connections); i++) {
        struct guest guest = open_guest(&connections[i], RING_BITS | 0x5);

        guest.machine->needs_feature = 0x4;
        assert_int_equal(piommu_virtio_reset(guest.driver, SECOND), 0);
        assert_int_equal(piommu_virtio_negotiate(guest.driver, RING_BITS | 1, 0, &guest.accepted),
                         -PIOMMU_EOPNOTSUPP);
        assert_int_equal(piommu_virtio_status(guest.driver), 0x83);
        assert_int_equal(piommu_virtio_reset(guest.driver, SECOND), 0);
        assert_int_equal(piommu_virtio_negotiate(guest.driver, RING_BITS | 4, 0, &guest.accepted),
                         0);
        assert_int_equal(piommu_virtio_front_features(guest.machine->front),
                         RING_BITS | 4 | PIOMMU_VIRTIO_F_VERSION_1);
        close_guest(&guest);
    }
}

static void device_that_cannot_start_needs_a_reset(void **state)
{
    (void)state;
    for (unsigned int i = 0; i < COUNT(connections); i++) {
        struct guest guest = open_guest(&connections[i], 0);

        guest.machine->refuses_start = true;
        piommu_virtio_start(guest.driver);
        assert_int_equal(piommu_virtio_status(guest.driver), 0x4f);
        guest.machine->refuses_start = false;
        assert_int_equal(negotiate(&guest), 0);
        piommu_virtio_start(guest.driver);
        assert_int_equal(piommu_virtio_status(guest.driver), 0x0f);
        close_guest(&guest);
    }
}

/* Which interrupt a driver has got that may have messages, with two bits. */
static void expect_config_interrupt(struct guest *guest)
{
    struct front_machine *machine = guest->machine;

    if (piommu_virtio_messages_used(guest->driver) == 0) {
        assert_true(machine->line);
        assert_int_equal(piommu_virtio_interrupt_status(guest->driver), 2);
    } else {
        assert_int_equal(machine->message_count, 1);
        assert_int_equal(machine->messages[0].address, messages[0].address);
        assert_int_equal(machine->messages[0].data, messages[0].data);
    }
    assert_false(machine->line);
}

static void broken_ring_needs_a_reset(void **state)
{
    const struct piommu_virtio_buffer nowhere = {
        .physical = UINT64_MAX - 3, .size = 16, .writable = false};
    uint16_t head;

    (void)state;
    for (unsigned int i = 0; i < COUNT(connections); i++) {
        struct guest guest = start_guest(&connections[i], 0);

        assert_int_equal(piommu_virtqueue_add(guest.queues[1], &nowhere, 1, &head), 0);
        piommu_virtqueue_kick(guest.queues[1]);
        assert_int_equal(piommu_virtio_status(guest.driver), 0x4f);
        expect_config_interrupt(&guest);
        /* The other queue is dead, too. */
        guest.machine->memory_forbidden = true;
        piommu_virtqueue_ring(guest.queues[0]);
        assert_null(piommu_virtio_front_ring(guest.machine->front, 0));
        guest.machine->memory_forbidden = false;
        guest.machine->message_count = 0;
        restart(&guest);
        send_batch(&guest, 1, 2, 3);
        close_guest(&guest);
    }
}

/* ---- Configuration ---- */

static void configuration_is_read_and_written(void **state)
{
    static const struct piommu_virtio_field fields[] = {{0, 8}, {8, 4}, {14, 2}, {36, 1}};
    uint64_t values[COUNT(fields)];

    (void)state;
    for (unsigned int i = 0; i < COUNT(connections); i++) {
        struct guest guest = open_guest(&connections[i], 0);

        assert_int_equal(piommu_virtio_read_config(guest.driver, fields, COUNT(fields), values), 0);
        assert_int_equal(values[0], 0x8786858483828180ull);
        assert_int_equal(values[1], 0x8b8a8988);
        assert_int_equal(values[2], 0x8f8e);
        assert_int_equal(values[3], 0xa4);
        assert_int_equal(piommu_virtio_write_config_byte(guest.driver, 36, 1), 0);
        assert_int_equal(piommu_virtio_write_config_byte(guest.driver, 35, 1), 0);
        assert_int_equal(guest.machine->config[36], 1);
        assert_int_equal(guest.machine->config[35], 0xa3);
        close_guest(&guest);
    }
}

static void driver_sees_that_the_configuration_moves(void **state)
{
    static const struct piommu_virtio_field field = {0, 8};
    uint64_t value;

    (void)state;
    for (unsigned int i = 0; i < COUNT(connections); i++) {
        struct guest guest = open_guest(&connections[i], 0);

        guest.machine->config_moves = true;
        assert_int_equal(piommu_virtio_read_config(guest.driver, &field, 1, &value),
                         -PIOMMU_EBADMSG);
        guest.machine->config_moves = false;
        assert_int_equal(piommu_virtio_read_config(guest.driver, &field, 1, &value), 0);
        close_guest(&guest);
    }
}

static void change_of_the_configuration_interrupts(void **state)
{
    (void)state;
    for (unsigned int i = 0; i < COUNT(connections); i++) {
        struct guest guest = start_guest(&connections[i], 0);

        piommu_virtio_front_config_changed(guest.machine->front);
        expect_config_interrupt(&guest);
        close_guest(&guest);
    }
}

static void device_of_another_type_is_refused(void **state)
{
    const struct front_machine_options options = {.pci = true};
    struct front_machine *machine = front_machine_start(&options);
    struct piommu_virtio_pci_config place = front_machine_pci_place();
    struct piommu_virtio_device *driver;

    (void)state;
    place.type = FRONT_MACHINE_TYPE - 1;
    assert_int_equal(piommu_virtio_pci_open(fake_os_host(machine->os), &place, &driver),
                     -PIOMMU_ENODEV);
    front_machine_stop(machine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_go_there_and_back),
        cmocka_unit_test(as_many_messages_as_there_are_entries),
        cmocka_unit_test(polled_queue_does_not_interrupt),
        cmocka_unit_test(after_a_reset_all_begins_anew),
        cmocka_unit_test(reset_that_never_ends_is_seen),
        cmocka_unit_test(features_that_the_device_insists_on),
        cmocka_unit_test(device_that_cannot_start_needs_a_reset),
        cmocka_unit_test(broken_ring_needs_a_reset),
        cmocka_unit_test(configuration_is_read_and_written),
        cmocka_unit_test(driver_sees_that_the_configuration_moves),
        cmocka_unit_test(change_of_the_configuration_interrupts),
        cmocka_unit_test(device_of_another_type_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
