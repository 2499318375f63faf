/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* The steering of PCIe functions to micro-TLBs, against a table of registers. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include <piommu/error.h>
#include <piommu/rcar-pcie-osid.h>

#include "fake_os.h"

#define REGISTERS 0xe65d6200ull
#define CONTROL   0x800u

/* The application registers: CNVID, CNVIDMSK, CNVOSIDCTRL. */
struct controller {
    uint32_t words[0x1000 / 4];
};

static bool exists(uint64_t offset)
{
    return (offset >= 0x700 && offset < 0x740) || (offset >= 0x780 && offset < 0x7c0) ||
           offset == CONTROL;
}

static uint32_t controller_read(void *ctx, uint64_t physical, unsigned int width)
{
    struct controller *controller = ctx;

    assert_int_equal(width, 4);
    assert_true(exists(physical - REGISTERS));
    return controller->words[(physical - REGISTERS) / 4];
}

static void controller_write(void *ctx, uint64_t physical, unsigned int width, uint32_t value)
{
    struct controller *controller = ctx;

    assert_int_equal(width, 4);
    assert_true(exists(physical - REGISTERS));
    controller->words[(physical - REGISTERS) / 4] = value;
}

/* The OSID with which the controller marks a function's DMA. */
static unsigned int osid_of(const struct controller *controller, uint16_t requester)
{
    for (unsigned int i = 0; i < 16; i++) {
        uint32_t entry = controller->words[0x700 / 4 + i];
        uint32_t ignored = controller->words[0x780 / 4 + i];

        if ((entry >> 31) != 0 && ((entry ^ requester) & 0xffff & ~ignored) == 0) {
            return (entry >> 16) & 0xf;
        }
    }
    return (controller->words[CONTROL / 4] >> 16) & 0xf;
}

struct bench {
    struct fake_os *os;
    struct controller controller;
    struct piommu_rcar_pcie_osid *steering;
};

static void open_bench(struct bench *bench)
{
    const struct fake_os_bus bus = {
        .ctx = &bench->controller, .read = controller_read, .write = controller_write};

    memset(bench, 0, sizeof(*bench));
    memset(&bench->controller, 0xa5, sizeof(bench->controller));
    bench->os = fake_os_create(NULL);
    fake_os_connect_bus(bench->os, &bus);
    assert_int_equal(
        piommu_rcar_pcie_osid_open(fake_os_host(bench->os), REGISTERS, &bench->steering), 0);
}

static void close_bench(struct bench *bench)
{
    piommu_rcar_pcie_osid_close(bench->steering);
    fake_os_destroy(bench->os);
}

static void test_all_functions_have_osid_0_until_they_are_steered(void **state)
{
    struct bench bench;

    (void)state;
    open_bench(&bench);
    for (uint32_t requester = 0; requester <= 0xffff; requester++) {
        assert_int_equal(osid_of(&bench.controller, (uint16_t)requester), 0);
    }
    /* Whatever else firmware has left in that register stays. */
    assert_int_equal(bench.controller.words[CONTROL / 4], 0xa5a0a5a5);
    close_bench(&bench);
}

static void test_a_function_gets_its_osid_and_no_other_does(void **state)
{
    struct bench bench;

    (void)state;
    open_bench(&bench);
    assert_int_equal(piommu_rcar_pcie_osid_steer(bench.steering, 0x0100, 0, 3), 0);
    assert_int_equal(piommu_rcar_pcie_osid_steer(bench.steering, 0x0200, 0x00ff, 15), 0);
    for (uint32_t requester = 0; requester <= 0xffff; requester++) {
        unsigned int osid = requester == 0x0100 ? 3 : (requester >> 8) == 2 ? 15 : 0;

        assert_int_equal(osid_of(&bench.controller, (uint16_t)requester), osid);
    }
    /* The last word counts. */
    assert_int_equal(piommu_rcar_pcie_osid_steer(bench.steering, 0x0100, 0, 4), 0);
    assert_int_equal(osid_of(&bench.controller, 0x0100), 4);
    assert_int_equal(piommu_rcar_pcie_osid_forget(bench.steering, 0x0100, 0), 0);
    assert_int_equal(osid_of(&bench.controller, 0x0100), 0);
    assert_int_equal(piommu_rcar_pcie_osid_forget(bench.steering, 0x0100, 0), -PIOMMU_ENOENT);
    assert_int_equal(piommu_rcar_pcie_osid_forget(bench.steering, 0x0200, 0), -PIOMMU_ENOENT);
    close_bench(&bench);
    assert_int_equal(osid_of(&bench.controller, 0x0201), 0);
}

static void test_a_function_is_not_steered_by_two_entries(void **state)
{
    struct bench bench;

    (void)state;
    open_bench(&bench);
    assert_int_equal(piommu_rcar_pcie_osid_steer(bench.steering, 0x0108, 0, 1), 0);
    assert_int_equal(piommu_rcar_pcie_osid_steer(bench.steering, 0x0100, 0xff, 2), -PIOMMU_EEXIST);
    assert_int_equal(piommu_rcar_pcie_osid_steer(bench.steering, 0x0200, 0xff, 2), 0);
    assert_int_equal(piommu_rcar_pcie_osid_steer(bench.steering, 0x0210, 0, 3), -PIOMMU_EEXIST);
    assert_int_equal(osid_of(&bench.controller, 0x0108), 1);
    assert_int_equal(osid_of(&bench.controller, 0x0210), 2);
    close_bench(&bench);
}

static void test_entries_run_out_and_come_back(void **state)
{
    struct bench bench;

    (void)state;
    open_bench(&bench);
    for (uint16_t i = 0; i < PIOMMU_RCAR_PCIE_OSID_ENTRIES; i++) {
        assert_int_equal(piommu_rcar_pcie_osid_steer(bench.steering, i, 0, 1 + i % 15u), 0);
    }
    assert_int_equal(piommu_rcar_pcie_osid_steer(bench.steering, 100, 0, 1), -PIOMMU_ENOSPC);
    assert_int_equal(piommu_rcar_pcie_osid_forget(bench.steering, 7, 0), 0);
    assert_int_equal(piommu_rcar_pcie_osid_steer(bench.steering, 100, 0, 9), 0);
    for (uint16_t i = 0; i < PIOMMU_RCAR_PCIE_OSID_ENTRIES; i++) {
        assert_int_equal(osid_of(&bench.controller, i), i == 7 ? 0 : 1 + i % 15u);
    }
    assert_int_equal(osid_of(&bench.controller, 100), 9);
    close_bench(&bench);
}

static void test_bad_arguments_are_refused(void **state)
{
    struct bench bench;

    (void)state;
    open_bench(&bench);
    assert_int_equal(piommu_rcar_pcie_osid_steer(NULL, 0, 0, 1), -PIOMMU_EINVAL);
    assert_int_equal(piommu_rcar_pcie_osid_steer(bench.steering, 0, 0, 0), -PIOMMU_EINVAL);
    assert_int_equal(piommu_rcar_pcie_osid_steer(bench.steering, 0, 0, 16), -PIOMMU_EINVAL);
    assert_int_equal(piommu_rcar_pcie_osid_steer(bench.steering, 0x101, 0xff, 1), -PIOMMU_EINVAL);
    assert_int_equal(piommu_rcar_pcie_osid_forget(NULL, 0, 0), -PIOMMU_EINVAL);
    assert_int_equal(piommu_rcar_pcie_osid_open(fake_os_host(bench.os), REGISTERS, NULL),
                     -PIOMMU_EINVAL);
    piommu_rcar_pcie_osid_close(NULL);
    close_bench(&bench);
}

static void test_opening_fails_cleanly_at_each_call_of_the_shim(void **state)
{
    struct fake_os *os = fake_os_create(NULL);
    struct piommu_rcar_pcie_osid *steering;

    (void)state;
    for (unsigned int nth = 1; nth <= 2; nth++) {
        fake_os_fail_call(os, nth, false);
        assert_true(piommu_rcar_pcie_osid_open(fake_os_host(os), REGISTERS, &steering) < 0);
        fake_os_fail_call(os, 0, false);
    }
    fake_os_destroy(os);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_functions_have_osid_0_until_they_are_steered),
        cmocka_unit_test(test_a_function_gets_its_osid_and_no_other_does),
        cmocka_unit_test(test_a_function_is_not_steered_by_two_entries),
        cmocka_unit_test(test_entries_run_out_and_come_back),
        cmocka_unit_test(test_bad_arguments_are_refused),
        cmocka_unit_test(test_opening_fails_cleanly_at_each_call_of_the_shim),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
