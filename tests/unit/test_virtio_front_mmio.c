/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * What is special about a front behind virtio-mmio.
 */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "front_machine.h"

static struct front_machine *machine;

static int set_up(void **state)
{
    const struct front_machine_options options = {.pci = false};

    (void)state;
    machine = front_machine_start(&options);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    front_machine_stop(machine);
    return 0;
}

static uint64_t read(uint64_t offset, unsigned int width)
{
    return piommu_virtio_front_mmio_read(machine->front, offset, width);
}

static void write(uint64_t offset, unsigned int width, uint64_t value)
{
    piommu_virtio_front_mmio_write(machine->front, offset, width, value);
}

static void device_says_what_it_is(void **state)
{
    (void)state;
    assert_int_equal(read(0x000, 4), 0x74726976);
    assert_int_equal(read(0x004, 4), 2);
    assert_int_equal(read(0x008, 4), FRONT_MACHINE_TYPE);
    assert_int_equal(read(0x00c, 4), 0x1af4);
}

static void largest_size_stays_when_a_size_is_chosen(void **state)
{
    (void)state;
    write(0x038, 4, 4);
    assert_int_equal(read(0x034, 4), FRONT_MACHINE_QUEUE_SIZE);
    write(0x034, 4, 8);
    assert_int_equal(read(0x034, 4), FRONT_MACHINE_QUEUE_SIZE);
    write(0x030, 4, FRONT_MACHINE_QUEUES);
    assert_int_equal(read(0x034, 4), 0);
    write(0x030, 4, UINT32_MAX);
    assert_int_equal(read(0x034, 4), 0);
}

static void size_with_high_bits_is_no_small_one(void **state)
{
    (void)state;
    write(0x038, 4, 0x10008);
    assert_int_equal(read(0x038, 4), 0);
}

static void there_is_no_shared_memory(void **state)
{
    (void)state;
    for (uint32_t id = 0; id < 2; id++) {
        write(0x0ac, 4, id);
        for (uint64_t offset = 0x0b0; offset < 0x0c0; offset += 4) {
            assert_int_equal(read(offset, 4), UINT32_MAX);
        }
    }
}

static void queues_cannot_be_reset_one_by_one(void **state)
{
    (void)state;
    write(0x0c0, 4, 1);
    assert_int_equal(read(0x0c0, 4), 0);
}

static void registers_are_accessed_as_words(void **state)
{
    static const unsigned int widths[] = {0, 1, 2, 3, 5, 8, 16, 0x80000004u};

    (void)state;
    for (unsigned int i = 0; i < sizeof(widths) / sizeof(widths[0]); i++) {
        assert_int_equal(read(0x000, widths[i]), 0);
        write(0x070, widths[i], 1);
    }
    for (unsigned int i = 1; i < 4; i++) {
        assert_int_equal(read(i, 4), 0);
        write(0x070 + i, 4, 1);
    }
    assert_int_equal(read(0x070, 4), 0);
    write(0x070, 4, 1);
    assert_int_equal(read(0x070, 4), 1);
    /* 0 in the low bits alone is no reset. */
    write(0x070, 4, 0x100);
    assert_int_equal(read(0x070, 4), 1);
    assert_int_equal(machine->resets, 0);
}

static void bits_of_an_interrupt_are_acknowledged_one_by_one(void **state)
{
    (void)state;
    front_machine_agree(machine, 0);
    front_machine_request(machine, 1, 64);
    front_machine_enable(machine, 0, 8, 1);
    write(0x070, 4, 0xf);
    write(0x050, 4, 0);
    piommu_virtio_front_config_changed(machine->front);
    assert_int_equal(read(0x060, 4), 3);
    write(0x060, 4, 0); /* can only be read */
    write(0x064, 4, 0x1);
    assert_int_equal(read(0x060, 4), 2);
    assert_true(machine->line);
    write(0x064, 4, 0xfffffffd);
    assert_true(machine->line);
    write(0x064, 4, 0xffffffff);
    assert_int_equal(read(0x060, 4), 0);
    assert_false(machine->line);
}

static void beyond_the_configuration_there_is_nothing(void **state)
{
    static const uint64_t offsets[] = {0x128, 0x1000, 0x100000000ull, UINT64_MAX - 3};

    (void)state;
    for (unsigned int i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
        assert_int_equal(read(offsets[i], 4), 0);
        write(offsets[i], 4, 1);
    }
    assert_int_equal(read(0x128 - 4, 4), 0xa7a6a5a4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(device_says_what_it_is, set_up, tear_down),
        cmocka_unit_test_setup_teardown(largest_size_stays_when_a_size_is_chosen, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(size_with_high_bits_is_no_small_one, set_up, tear_down),
        cmocka_unit_test_setup_teardown(there_is_no_shared_memory, set_up, tear_down),
        cmocka_unit_test_setup_teardown(queues_cannot_be_reset_one_by_one, set_up, tear_down),
        cmocka_unit_test_setup_teardown(registers_are_accessed_as_words, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bits_of_an_interrupt_are_acknowledged_one_by_one, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(beyond_the_configuration_there_is_nothing, set_up,
                                        tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
