/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * What is special about a front behind virtio-pci: configuration space, the BAR, capabilities, the
 * window in them, MSI-X, the interrupt line, bus mastering.
 */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "front_machine.h"

#define MESSAGES 3u
#define REQUEST  64u
#define NONE     0xffffu

#define COMMAND          0x04u
#define COMMAND_MEMORY   0x002u
#define COMMAND_MASTER   0x004u
#define COMMAND_NO_INTX  0x400u
#define STATUS_INTERRUPT 0x08u
#define BAR              0x10u
#define MSIX_ENABLE      0x8000u
#define MSIX_MASK        0x4000u
#define CONFIG_VECTOR    16u
#define QUEUE_VECTOR     26u

static struct front_machine *machine;

static const struct front_machine_options with_all = {
    .pci = true, .message_count = MESSAGES, .interrupt_pin = 1};

static int power_on(void **state)
{
    (void)state;
    machine = front_machine_power_on(&with_all);
    return 0;
}

static int set_up(void **state)
{
    (void)state;
    machine = front_machine_start(&with_all);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    front_machine_stop(machine);
    return 0;
}

static uint32_t get(unsigned int offset, unsigned int width)
{
    return piommu_virtio_front_pci_config_read(machine->front, offset, width);
}

static void set(unsigned int offset, unsigned int width, uint32_t value)
{
    piommu_virtio_front_pci_config_write(machine->front, offset, width, value);
}

static uint64_t bar_get(uint64_t offset, unsigned int width)
{
    return piommu_virtio_front_bar_read(machine->front, offset, width);
}

static void bar_set(uint64_t offset, unsigned int width, uint64_t value)
{
    piommu_virtio_front_bar_write(machine->front, offset, width, value);
}

/* The next capability of a kind behind one, or from 0 the first; 0: none. */
static unsigned int find(uint32_t id, unsigned int at)
{
    at = get(at == 0 ? 0x34 : at + 1, 1);
    for (unsigned int i = 0; at != 0 && i < 48; i++) {
        assert_true(at >= 0x40 && at % 4 == 0);
        if (get(at, 1) == id) {
            return at;
        }
        at = get(at + 1, 1);
    }
    assert_int_equal(at, 0);
    return 0;
}

/* The capability of virtio of a type. */
static unsigned int find_type(uint32_t type)
{
    unsigned int at = 0;

    do {
        at = find(0x09, at);
        assert_int_not_equal(at, 0);
    } while (get(at + 3, 1) != type);
    return at;
}

/* ---- Configuration space ---- */

static void header_says_what_it_is(void **state)
{
    (void)state;
    assert_int_equal(get(0x00, 4), 0x10571af4);
    assert_true(get(0x08, 1) >= 1);
    assert_int_equal(get(0x08, 4) >> 8, FRONT_MACHINE_CLASS);
    assert_int_equal(get(0x0e, 1), 0);
    assert_int_equal(get(0x2c, 2), 0x1af4);
    assert_true(get(0x2e, 2) >= 0x40);
    assert_int_equal(get(0x3d, 1), 1);
    assert_int_equal(get(0x06, 2), 0x10);
    assert_int_equal(get(COMMAND, 2), 0);
}

/* By the bits that a driver can change: all others stay, whatever is written. */
static void only_some_bits_can_be_written(void **state)
{
    unsigned int window = find_type(5);
    unsigned int msix = find(0x11, 0);

    (void)state;
    for (unsigned int i = 0; i < 0x100; i += 4) {
        uint32_t expected = 0;
        uint32_t before;

        if (i == COMMAND) {
            expected = COMMAND_MEMORY | COMMAND_MASTER | COMMAND_NO_INTX;
        } else if (i == BAR) {
            expected = 0u - PIOMMU_VIRTIO_FRONT_BAR_SIZE;
        } else if (i == BAR + 4 || i == window + 8 || i == window + 12) {
            expected = UINT32_MAX;
        } else if (i == 0x3c || i == window + 4) {
            expected = 0xff;
        } else if (i == msix) {
            expected = (MSIX_ENABLE | MSIX_MASK) << 16;
        } else if (i == window + 16) {
            continue;
        }
        before = get(i, 4);
        set(i, 4, ~before);
        assert_int_equal(get(i, 4) ^ before, expected);
        set(i, 4, before);
        assert_int_equal(get(i, 4), before);
    }
}

static void accesses_of_configuration_space_have_bounds(void **state)
{
    static const unsigned int widths[] = {0, 3, 5, 8, 0x80000001u};

    (void)state;
    for (unsigned int i = 0; i < sizeof(widths) / sizeof(widths[0]); i++) {
        assert_int_equal(get(0, widths[i]), 0);
        set(0x3c, widths[i], 0x55);
    }
    assert_int_equal(get(1, 2), 0);
    assert_int_equal(get(2, 4), 0);
    set(0x3b, 2, 0x5555);
    set(0x3a, 4, 0x55555555);
    set(0x13c, 1, 0x55);
    assert_int_equal(get(0x3c, 1), 0);
    assert_int_equal(get(0x100, 1), 0);
    assert_int_equal(piommu_virtio_front_pci_config_read(machine->front, UINT64_MAX, 1), 0);
    piommu_virtio_front_pci_config_write(machine->front, 0x10000003cull, 1, 0x55);
    assert_int_equal(get(0x3c, 1), 0);
    set(0x3c, 1, 0x155);
    assert_int_equal(get(0x3c, 2), 0x155); /* the upper byte is the pin */
}

/* ---- BAR ---- */

static void bar_tells_its_size(void **state)
{
    (void)state;
    set(BAR, 4, UINT32_MAX);
    set(BAR + 4, 4, UINT32_MAX);
    assert_int_equal(get(BAR, 4), (0u - PIOMMU_VIRTIO_FRONT_BAR_SIZE) | 0x4);
    assert_int_equal(get(BAR + 4, 4), UINT32_MAX);
    assert_false(machine->decoded);
    for (unsigned int i = 2; i < 6; i++) {
        set(BAR + 4 * i, 4, UINT32_MAX);
        assert_int_equal(get(BAR + 4 * i, 4), 0);
    }
    set(0x30, 4, UINT32_MAX); /* no ROM */
    assert_int_equal(get(0x30, 4), 0);
}

static void hypervisor_is_told_where_the_bar_is(void **state)
{
    (void)state;
    set(BAR, 4, 0x40008000);
    set(BAR + 4, 4, 0x12);
    assert_false(machine->decoded);
    set(COMMAND, 2, COMMAND_MASTER);
    assert_false(machine->decoded);
    set(COMMAND, 2, COMMAND_MEMORY);
    assert_true(machine->decoded);
    assert_int_equal(machine->bar, 0x1240008000ull);
    set(COMMAND, 2, COMMAND_MEMORY); /* the shim sees that it is told of changes only */
    set(BAR + 3, 1, 0x50);
    assert_int_equal(machine->bar, 0x1250008000ull);
    set(COMMAND, 1, 0);
    assert_false(machine->decoded);
    set(COMMAND, 2, COMMAND_MEMORY);
    assert_int_equal(machine->bar, 0x1250008000ull);
}

static void regions_lie_in_the_bar(void **state)
{
    static const uint32_t least[] = {0, 56, 2 * FRONT_MACHINE_QUEUES, 1, FRONT_MACHINE_CONFIG};
    uint64_t ends[5] = {0};

    (void)state;
    for (uint32_t type = 1; type <= 4; type++) {
        unsigned int at = find_type(type);
        uint64_t offset = get(at + 8, 4);
        uint64_t size = get(at + 12, 4);

        assert_true(get(at + 2, 1) >= (type == 2 ? 20 : 16));
        assert_int_equal(get(at + 4, 1), 0);
        assert_int_equal(offset % 4, 0);
        assert_true(size >= least[type]);
        assert_true(offset + size <= PIOMMU_VIRTIO_FRONT_BAR_SIZE);
        ends[type] = offset + size;
        for (uint32_t other = 1; other < type; other++) {
            uint64_t start = get(find_type(other) + 8, 4);

            assert_true(start >= ends[type] || ends[other] <= offset);
        }
    }
    assert_int_equal(get(find_type(2) + 8, 4), PIOMMU_VIRTIO_FRONT_DOORBELLS);
    assert_int_equal(get(find_type(2) + 16, 4), PIOMMU_VIRTIO_FRONT_DOORBELL_SIZE);
    assert_int_equal(get(find_type(4) + 12, 4), FRONT_MACHINE_CONFIG);
}

static void queues_have_doorbells_of_their_own(void **state)
{
    (void)state;
    assert_int_equal(bar_get(18, 2), FRONT_MACHINE_QUEUES);
    for (uint32_t i = 0; i < FRONT_MACHINE_QUEUES; i++) {
        bar_set(22, 2, i);
        assert_int_equal(bar_get(30, 2), i);
    }
    bar_set(22, 2, FRONT_MACHINE_QUEUES);
    assert_int_equal(bar_get(30, 2), 0);
    assert_int_equal(bar_get(QUEUE_VECTOR, 2), NONE);
    bar_set(QUEUE_VECTOR, 2, 0);
    assert_int_equal(bar_get(QUEUE_VECTOR, 2), NONE);
}

static void registers_have_their_widths(void **state)
{
    (void)state;
    bar_set(20, 2, 1);
    bar_set(20, 4, 1);
    assert_int_equal(bar_get(20, 1), 0);
    bar_set(20, 1, 1);
    assert_int_equal(bar_get(20, 1), 1);
    assert_int_equal(bar_get(20, 4), 0);
    assert_int_equal(bar_get(18, 1), 0);
    assert_int_equal(bar_get(24, 4), 0);
    assert_int_equal(bar_get(4, 2), 0);
    bar_set(32, 8, 0x123456789abcd000ull); /* two halves */
    assert_int_equal(bar_get(32, 8), 0x123456789abcd000ull);
    assert_int_equal(bar_get(36, 4), 0x12345678);
    bar_set(36, 8, UINT64_MAX);
    assert_int_equal(bar_get(32, 8), 0x123456789abcd000ull);
    assert_int_equal(bar_get(PIOMMU_VIRTIO_FRONT_BAR_SIZE, 4), 0);
    assert_int_equal(bar_get(0x100000014ull, 1), 0);
    assert_int_equal(bar_get(UINT64_MAX, 1), 0);
}

/* ---- The window ---- */

static void open_window(uint8_t bar, uint32_t offset, uint32_t width)
{
    unsigned int at = find_type(5);

    set(at + 4, 1, bar);
    set(at + 8, 4, offset);
    set(at + 12, 4, width);
}

static void window_reaches_the_bar(void **state)
{
    unsigned int data = find_type(5) + 16;

    (void)state;
    open_window(0, 20, 1);
    set(data, 4, 0xffffff01);
    assert_int_equal(bar_get(20, 1), 1);
    set(data, 1, 3);
    assert_int_equal(get(data, 1), 3);
    open_window(0, 18, 2);
    assert_int_equal(get(data, 2), FRONT_MACHINE_QUEUES);
    open_window(0, 0x2000, 4);
    assert_int_equal(get(data, 4), 0x83828180);
    open_window(1, 20, 1);
    set(data, 1, 0);
    assert_int_equal(bar_get(20, 1), 3);
}

static void window_has_bounds(void **state)
{
    static const uint32_t offsets[] = {0, 2, 17, 0x7ffe, 0x8000, 0x80000000u, UINT32_MAX};
    unsigned int data = find_type(5) + 16;

    (void)state;
    for (unsigned int i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
        for (uint32_t width = 0; width < 12; width++) {
            uint8_t before[0x40];

            for (unsigned int j = 0; j < sizeof(before); j++) {
                before[j] = (uint8_t)get(j, 1);
            }
            open_window(0, offsets[i], width);
            get(data, 4);
            set(data, 4, 0x01010101);
            open_window(0, offsets[i], UINT32_MAX - width);
            get(data, 4);
            set(data, 4, 0x01010101);
            for (unsigned int j = 0; j < sizeof(before); j++) {
                assert_int_equal(get(j, 1), before[j]);
            }
        }
    }
}

/* ---- Interrupts ---- */

/* A driver that has started queue 1, with a request in it. */
static void start(void)
{
    assert_int_equal(front_machine_agree(machine, 0), 0xb);
    front_machine_request(machine, 1, REQUEST);
    front_machine_enable(machine, 1, 8, 1);
    front_machine_set(machine, STATUS, 0xf);
}

static void set_messages(uint32_t control)
{
    set(find(0x11, 0) + 2, 2, control);
}

static uint64_t table(void)
{
    uint32_t place = get(find(0x11, 0) + 4, 4);

    assert_int_equal(place & 7, 0);
    return place;
}

static uint64_t pending(void)
{
    uint32_t place = get(find(0x11, 0) + 8, 4);

    assert_int_equal(place & 7, 0);
    return bar_get(place, 8);
}

static void set_entry(unsigned int entry, uint64_t address, uint32_t data, uint32_t control)
{
    bar_set(table() + 16 * entry, 8, address);
    bar_set(table() + 16 * entry + 8, 4, data);
    bar_set(table() + 16 * entry + 12, 4, control);
}

static void expect_message(unsigned int number, uint64_t address, uint32_t data)
{
    assert_int_equal(machine->message_count, number);
    assert_int_equal(machine->messages[number - 1].address, address);
    assert_int_equal(machine->messages[number - 1].data, data);
}

static void vector_that_does_not_exist_is_none(void **state)
{
    static const uint32_t wrong[] = {MESSAGES, 0x800, 0xfffe, NONE};

    (void)state;
    for (unsigned int i = 0; i < 2; i++) {
        unsigned int offset = i == 0 ? CONFIG_VECTOR : QUEUE_VECTOR;

        assert_int_equal(bar_get(offset, 2), NONE);
        for (unsigned int j = 0; j < 4; j++) {
            bar_set(offset, 2, MESSAGES - 1);
            assert_int_equal(bar_get(offset, 2), MESSAGES - 1);
            bar_set(offset, 2, wrong[j]);
            assert_int_equal(bar_get(offset, 2), NONE);
        }
        bar_set(offset, 2, 1);
    }
    front_machine_set(machine, STATUS, 0);
    assert_int_equal(bar_get(CONFIG_VECTOR, 2), NONE);
    assert_int_equal(bar_get(QUEUE_VECTOR, 2), NONE);
}

static void table_of_messages_begins_masked(void **state)
{
    (void)state;
    assert_int_equal(get(find(0x11, 0) + 2, 2), MESSAGES - 1);
    for (unsigned int i = 0; i < MESSAGES; i++) {
        assert_int_equal(bar_get(table() + 16 * i + 12, 4), 1);
        set_entry(i, 0x123456789abcdef3ull, 0x55aa, 0xfffffffe);
        assert_int_equal(bar_get(table() + 16 * i, 8), 0x123456789abcdef0ull);
        assert_int_equal(bar_get(table() + 16 * i + 8, 8), 0x55aa);
        bar_set(table() + 16 * i + 8, 2, 0);
        assert_int_equal(bar_get(table() + 16 * i + 8, 4), 0x55aa);
    }
    bar_set(table() + 16 * MESSAGES, 4, 1);
    assert_int_equal(bar_get(table() + 16 * MESSAGES, 4), 0);
    assert_int_equal(pending(), 0);
}

static void masked_message_waits(void **state)
{
    (void)state;
    set_messages(MSIX_ENABLE);
    bar_set(CONFIG_VECTOR, 2, 0);
    start();
    bar_set(QUEUE_VECTOR, 2, 2);
    set_entry(2, 0x1000, 42, 1);
    front_machine_notify(machine, 1);
    piommu_virtio_front_config_changed(machine->front);
    assert_int_equal(machine->message_count, 0);
    assert_int_equal(pending(), 5);
    set_entry(2, 0x1000, 43, 0);
    expect_message(1, 0x1000, 43);
    assert_int_equal(pending(), 1);
    set_messages(MSIX_ENABLE | MSIX_MASK);
    set_entry(0, 0x2000, 44, 0);
    assert_int_equal(machine->message_count, 1);
    set_messages(MSIX_ENABLE);
    expect_message(2, 0x2000, 44);
    assert_int_equal(pending(), 0);
    set_messages(MSIX_ENABLE);
    assert_int_equal(machine->message_count, 2);
    assert_false(machine->line);
}

static void waiting_message_does_not_survive_a_reset(void **state)
{
    (void)state;
    set_messages(MSIX_ENABLE);
    bar_set(CONFIG_VECTOR, 2, 0);
    start();
    piommu_virtio_front_config_changed(machine->front);
    assert_int_equal(pending(), 1);
    front_machine_set(machine, STATUS, 0);
    assert_int_equal(pending(), 0);
    set_entry(0, 0x2000, 44, 0);
    assert_int_equal(machine->message_count, 0);
}

static void with_messages_the_line_is_silent(void **state)
{
    (void)state;
    start();
    front_machine_notify(machine, 1);
    assert_true(machine->line);
    assert_int_equal(get(0x06, 1) & STATUS_INTERRUPT, STATUS_INTERRUPT);
    set_messages(MSIX_ENABLE);
    assert_false(machine->line);
    assert_int_equal(get(0x06, 1) & STATUS_INTERRUPT, 0);
    assert_int_equal(front_machine_take_interrupt(machine), 1);
    /* No vector: nothing comes, but a change of the configuration is noted. */
    piommu_virtio_front_config_changed(machine->front);
    assert_int_equal(machine->message_count, 0);
    assert_int_equal(front_machine_take_interrupt(machine), 2);
}

static void line_can_be_switched_off(void **state)
{
    (void)state;
    start();
    set(COMMAND, 2, COMMAND_MEMORY | COMMAND_MASTER | COMMAND_NO_INTX);
    front_machine_notify(machine, 1);
    assert_false(machine->line);
    assert_int_equal(get(0x06, 1) & STATUS_INTERRUPT, STATUS_INTERRUPT);
    set(COMMAND, 2, COMMAND_MEMORY | COMMAND_MASTER);
    assert_true(machine->line);
    assert_int_equal(bar_get(0x1000, 4), 0); /* no read of the status */
    assert_int_equal(bar_get(0x1000, 1), 1);
    assert_false(machine->line);
    assert_int_equal(get(0x06, 1) & STATUS_INTERRUPT, 0);
}

static void function_without_pin_has_no_line(void **state)
{
    const struct front_machine_options options = {.pci = true};

    machine = front_machine_start(&options);
    start();
    front_machine_notify(machine, 1);
    assert_false(machine->line);
    assert_int_equal(find(0x11, 0), 0);
    bar_set(CONFIG_VECTOR, 2, 0);
    assert_int_equal(bar_get(CONFIG_VECTOR, 2), NONE);
    assert_int_equal(bar_get(0x4000, 4), 0);
    tear_down(state);
}

/* ---- Bus mastering ---- */

static void without_mastering_the_bus_nothing_is_touched(void **state)
{
    (void)state;
    set_messages(MSIX_ENABLE);
    set_entry(1, 0x3000, 1, 0);
    bar_set(CONFIG_VECTOR, 2, 1);
    set(COMMAND, 2, COMMAND_MEMORY);
    machine->memory_forbidden = true;
    start();
    assert_int_equal(front_machine_get(machine, STATUS), 0xf);
    front_machine_notify(machine, 1);
    piommu_virtio_front_completed(machine->front, 1);
    assert_null(piommu_virtio_front_ring(machine->front, 1));
    piommu_virtio_front_config_changed(machine->front);
    assert_int_equal(machine->message_count, 0);
    machine->memory_forbidden = false;
    /* What came meanwhile is seen then. */
    set(COMMAND, 2, COMMAND_MEMORY | COMMAND_MASTER);
    assert_int_equal(machine->completed, 1);
    expect_message(1, 0x3000, 1);
    set(COMMAND, 2, COMMAND_MEMORY | COMMAND_MASTER);
    assert_int_equal(machine->notifications[1], 1);
}

static void doorbells_are_half_words(void **state)
{
    (void)state;
    start();
    bar_set(PIOMMU_VIRTIO_FRONT_DOORBELLS + 4, 4, 1);
    bar_set(PIOMMU_VIRTIO_FRONT_DOORBELLS + 4, 1, 1);
    bar_set(PIOMMU_VIRTIO_FRONT_DOORBELLS + 6, 2, 1);
    assert_int_equal(bar_get(PIOMMU_VIRTIO_FRONT_DOORBELLS + 4, 2), 0);
    assert_int_equal(machine->notifications[1], 0);
    bar_set(PIOMMU_VIRTIO_FRONT_DOORBELLS + 4, 2, 1);
    assert_int_equal(machine->notifications[1], 1);
}

/* ---- Creation ---- */

static void description_that_pci_cannot_have_is_refused(void **state)
{
    static const struct piommu_virtio_front_pci_config wrong[] = {
        {.class_code = 0x1000000},
        {.subsystem = 0x3f},
        {.message_count = PIOMMU_VIRTIO_FRONT_MAX_MESSAGES + 1},
        {.interrupt_pin = 5},
    };
    struct piommu_virtio_front_config config;
    struct piommu_virtio_front_pci_config pci;
    struct piommu_virtio_front *front;
    struct piommu_host host = fake_os_host(machine->hypervisor);

    (void)state;
    front_machine_describe(machine, &config, &pci);
    for (unsigned int i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(piommu_virtio_front_create_pci(host, &config, &wrong[i], &front),
                         -PIOMMU_EINVAL);
    }
    config.callbacks.send_message = NULL;
    assert_int_equal(piommu_virtio_front_create_pci(host, &config, &pci, &front), -PIOMMU_EINVAL);
    pci.message_count = 0;
    config.vendor = 0x10000;
    assert_int_equal(piommu_virtio_front_create_pci(host, &config, &pci, &front), -PIOMMU_EINVAL);
    config.vendor = 0xffff;
    assert_int_equal(piommu_virtio_front_create_pci(host, &config, &pci, &front), 0);
    assert_int_equal(piommu_virtio_front_pci_config_read(front, 0x2c, 2), 0xffff);
    piommu_virtio_front_destroy(front);
}

#define ON(test)  cmocka_unit_test_setup_teardown(test, set_up, tear_down)
#define OFF(test) cmocka_unit_test_setup_teardown(test, power_on, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        OFF(header_says_what_it_is),
        OFF(only_some_bits_can_be_written),
        OFF(accesses_of_configuration_space_have_bounds),
        OFF(bar_tells_its_size),
        OFF(hypervisor_is_told_where_the_bar_is),
        OFF(regions_lie_in_the_bar),
        ON(queues_have_doorbells_of_their_own),
        ON(registers_have_their_widths),
        ON(window_reaches_the_bar),
        ON(window_has_bounds),
        ON(vector_that_does_not_exist_is_none),
        ON(table_of_messages_begins_masked),
        ON(masked_message_waits),
        ON(waiting_message_does_not_survive_a_reset),
        ON(with_messages_the_line_is_silent),
        ON(line_can_be_switched_off),
        cmocka_unit_test(function_without_pin_has_no_line),
        ON(without_mastering_the_bus_nothing_is_touched),
        ON(doorbells_are_half_words),
        ON(description_that_pci_cannot_have_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
