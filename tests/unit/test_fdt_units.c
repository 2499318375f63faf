/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* What a device tree says of IOMMUs: registers, interrupts, main units, coherence. */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "fake_os.h"
#include "fdt_blob.h"

#include <libfdt.h>
#include <piommu/error.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define TEST(function) cmocka_unit_test_setup_teardown(function, fdt_setup, fdt_teardown)

static void expect_register(struct piommu_fdt *tree, const char *path, unsigned int index,
                            uint64_t first, uint64_t last)
{
    struct piommu_range range;

    ok(piommu_fdt_register(tree, node_at(tree->blob, path), index, &range));
    assert_int_equal(range.first, first);
    assert_int_equal(range.last, last);
}

static void expect_no_register(struct piommu_fdt *tree, const char *path, unsigned int index)
{
    struct piommu_range range;

    assert_int_equal(piommu_fdt_register(tree, node_at(tree->blob, path), index, &range),
                     -PIOMMU_ENOENT);
}

static void expect_bad_register(struct piommu_fdt *tree, const char *path, const char *blamed,
                                const char *property)
{
    struct piommu_range range = {1, 2};

    expect_bad(tree, piommu_fdt_register(tree, node_at(tree->blob, path), 0, &range),
               node_at(tree->blob, blamed), property);
    assert_string_equal(tree->bad_path, blamed);
    assert_int_equal(range.first, 1);
    assert_int_equal(range.last, 2);
}

static void put_reg(void *blob, const char *name, const uint32_t *cells, size_t count)
{
    begin_node(blob, name);
    put_cells(blob, "reg", cells, count);
    end_node(blob);
}
#define REG(blob, name, ...) \
    put_reg(blob, name, (const uint32_t[]){__VA_ARGS__}, COUNT(((const uint32_t[]){__VA_ARGS__})))

/* ---- Registers ---- */

static void test_registers_below_the_root_are_physical(void **state)
{
    void *blob = begin();
    struct piommu_fdt tree;

    (void)state;
    REG(blob, "a", 1, 0x80000000, 0, 0x1000, 0xffffffff, 0xfffff000, 0, 0x1000);
    REG(blob, "all", 0, 0, 0xffffffff, 0xffffffff);
    begin_node(blob, "none");
    end_node(blob);
    blob = finish(blob);
    tree = opened(blob);
    expect_register(&tree, "/a", 0, 0x180000000, 0x180000fff);
    expect_register(&tree, "/a", 1, 0xfffffffffffff000, UINT64_MAX);
    expect_no_register(&tree, "/a", 2);
    expect_no_register(&tree, "/a", UINT32_MAX);
    expect_register(&tree, "/all", 0, 0, UINT64_MAX - 1);
    expect_no_register(&tree, "/none", 0);
    expect_no_register(&tree, "/", 0);
    shut(&tree, blob);
}

static void test_registers_are_translated_by_all_ranges(void **state)
{
    void *blob = begin();
    struct piommu_fdt tree;

    (void)state;
    begin_node(blob, "soc");
    CELLS(blob, "#address-cells", 1);
    CELLS(blob, "#size-cells", 1);
    CELLS(blob, "ranges", 0, 0, 0x40000000, 0x10000000, 0x10000000, 5, 0, 0x10000000);
    REG(blob, "first", 0x1000, 0x1000);
    REG(blob, "second", 0x1ffff000, 0x1000);
    REG(blob, "across", 0x0ffff000, 0x2000);
    REG(blob, "behind", 0x20000000, 0x1000);
    begin_node(blob, "same");
    CELLS(blob, "#address-cells", 1);
    CELLS(blob, "#size-cells", 1);
    put_flag(blob, "ranges");
    begin_node(blob, "wide");
    CELLS(blob, "#address-cells", 2);
    CELLS(blob, "#size-cells", 2);
    CELLS(blob, "ranges", 0xf, 0, 0x10000000, 0, 0x1000);
    REG(blob, "deep", 0xf, 0x10, 0, 0x10);
    end_node(blob);
    end_node(blob);
    end_node(blob);
    blob = finish(blob);
    tree = opened(blob);
    expect_register(&tree, "/soc/first", 0, 0x40001000, 0x40001fff);
    expect_register(&tree, "/soc/second", 0, 0x50ffff000, 0x50fffffff);
    expect_register(&tree, "/soc/same/wide/deep", 0, 0x500000010, 0x50000001f);
    /* Two entries that touch each other are two all the same, and lead elsewhere. */
    expect_bad_register(&tree, "/soc/across", "/soc", "ranges");
    expect_bad_register(&tree, "/soc/behind", "/soc", "ranges");
    shut(&tree, blob);
}

static void test_cells_of_a_bus_are_its_own_or_two_and_one(void **state)
{
    void *blob = begin();
    struct piommu_fdt tree;

    (void)state;
    begin_bus(blob, "outer", 1, 2);
    begin_node(blob, "silent");
    put_flag(blob, "ranges");
    REG(blob, "d", 0, 0x5000, 0x100);
    end_node(blob);
    end_node(blob);
    blob = finish(blob);
    tree = opened(blob);
    expect_register(&tree, "/outer/silent/d", 0, 0x5000, 0x50ff);
    shut(&tree, blob);
}

static void test_numbers_that_are_no_addresses_are_no_registers(void **state)
{
    void *blob = begin();
    struct piommu_fdt tree;

    (void)state;
    begin_bus(blob, "i2c", 1, 0);
    REG(blob, "chip", 0x50);
    end_node(blob);
    begin_bridge(blob, "pcie");
    REG(blob, "function", 0x800, 0, 0, 0, 0);
    begin_bus(blob, "isa", 2, 1);
    REG(blob, "uart", 1, 0x3f8, 8);
    end_node(blob);
    end_node(blob);
    blob = finish(blob);
    tree = opened(blob);
    expect_no_register(&tree, "/i2c/chip", 0);
    expect_no_register(&tree, "/pcie/function", 0);
    expect_no_register(&tree, "/pcie/isa/uart", 0);
    shut(&tree, blob);
}

static void test_malformed_registers_are_named(void **state)
{
    void *blob = begin();
    struct piommu_fdt tree;

    (void)state;
    REG(blob, "empty", 0, 0x1000, 0, 0);
    REG(blob, "short", 0, 0x1000, 0);
    REG(blob, "long", 0, 0x1000, 0, 0x1000, 0);
    REG(blob, "wraps", 0xffffffff, 0xfffff000, 0, 0x1001);
    begin_node(blob, "nothing");
    put_flag(blob, "reg");
    end_node(blob);
    begin_node(blob, "bytes");
    put_bytes(blob, "reg", "abcdefghijklmno", 15);
    end_node(blob);
    begin_bus(blob, "narrow", 1, 1);
    REG(blob, "wraps", 0xfffff000, 0x1001);
    end_node(blob);
    blob = finish(blob);
    tree = opened(blob);
    expect_bad_register(&tree, "/empty", "/empty", "reg");
    expect_bad_register(&tree, "/short", "/short", "reg");
    expect_bad_register(&tree, "/long", "/long", "reg");
    expect_bad_register(&tree, "/wraps", "/wraps", "reg");
    expect_bad_register(&tree, "/nothing", "/nothing", "reg");
    expect_bad_register(&tree, "/bytes", "/bytes", "reg");
    expect_bad_register(&tree, "/narrow/wraps", "/narrow/wraps", "reg");
    shut(&tree, blob);
}

static void test_impossible_cells_of_a_bus_are_named(void **state)
{
    static const struct {
        uint32_t address;
        uint32_t size;
        const char *property;
    } cases[] = {
        {0, 1, "#address-cells"},
        {3, 1, "#address-cells"},
        {5, 1, "#address-cells"},
        {0xffffffff, 1, "#address-cells"},
        {0x40000000, 1, "#address-cells"},
        {1, 3, "#size-cells"},
        {1, 5, "#size-cells"},
        {1, 0xffffffff, "#size-cells"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        void *blob = begin();
        struct piommu_fdt tree;

        begin_bus(blob, "bus", cases[i].address, cases[i].size);
        REG(blob, "d", 1, 2, 3, 4, 5, 6, 7, 8);
        end_node(blob);
        blob = finish(blob);
        tree = opened(blob);
        expect_bad_register(&tree, "/bus/d", "/bus", cases[i].property);
        shut(&tree, blob);
    }
}

static void test_malformed_ranges_are_named(void **state)
{
    static const struct {
        uint32_t cells[8];
        size_t count;
    } cases[] = {
        {{0, 0, 0, 0}, 4},                                              /* of no size */
        {{0, 0, 0}, 3},                                                 /* too short */
        {{0, 0, 0, 0x1000, 0}, 5},                                      /* too long */
        {{0xfffff000, 0, 0, 0x2000}, 4},                                /* wraps on the bus */
        {{0, 0xffffffff, 0xfffff000, 0x2000}, 4},                       /* wraps on the parent */
        {{0x1000, 0, 0, 0x1000, 0x8000, 0, 0, 0x1000}, 8},              /* does not cover it */
        {{0x1000, 0, 0, 0x1000, 0, 0xffffffff, 0xffffffff, 0x1000}, 8}, /* only the second wraps */
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        void *blob = begin();
        struct piommu_fdt tree;

        begin_node(blob, "bus");
        CELLS(blob, "#address-cells", 1);
        CELLS(blob, "#size-cells", 1);
        put_cells(blob, "ranges", cases[i].cells, cases[i].count);
        REG(blob, "d", 0x10, 0x10);
        end_node(blob);
        blob = finish(blob);
        tree = opened(blob);
        expect_bad_register(&tree, "/bus/d", "/bus", "ranges");
        shut(&tree, blob);
    }
}

static void test_a_bus_without_ranges_leads_nowhere(void **state)
{
    void *blob = begin();
    struct piommu_fdt tree;
    struct piommu_fdt_iommu iommu = {.node = -1};

    (void)state;
    begin_node(blob, "bus");
    CELLS(blob, "#size-cells", 2);
    put_platform_iommu(blob, "iommu", 1, 1, NULL);
    end_node(blob);
    blob = finish(blob);
    tree = opened(blob);
    expect_bad_register(&tree, "/bus/iommu", "/bus", "ranges");
    expect_bad(&tree, piommu_fdt_next_iommu(&tree, NULL, -1, &iommu), node_at(blob, "/bus"),
               "ranges");
    assert_int_equal(iommu.node, node_at(blob, "/bus/iommu"));
    shut(&tree, blob);
}

/* As many entries and buses as are allowed, and one more. */
static void test_limits_of_ranges(void **state)
{
    (void)state;
    for (uint32_t more = 0; more < 2; more++) {
        uint32_t ranges[4 * 129] = {0};
        uint32_t reg[2 * 65];
        void *blob = begin();
        struct piommu_fdt tree;

        for (uint32_t i = 0; i < 128 + more; i++) {
            ranges[4 * i] = i * 0x1000;
            ranges[4 * i + 2] = i * 0x1000 + 0x10000000;
            ranges[4 * i + 3] = 0x1000;
        }
        for (uint32_t i = 0; i < 64 + more; i++) {
            reg[2 * i] = i * 0x10;
            reg[2 * i + 1] = 0x10;
        }
        begin_node(blob, "bus");
        CELLS(blob, "#address-cells", 1);
        put_cells(blob, "ranges", ranges, 4 * (128 + more));
        REG(blob, "d", 127 * 0x1000, 0x10);
        end_node(blob);
        begin_bus(blob, "regs", 1, 1);
        put_reg(blob, "d", reg, 2 * (64 + more));
        end_node(blob);
        for (uint32_t i = 0; i < 8 + more; i++) {
            begin_node(blob, "b");
            CELLS(blob, "#size-cells", 2);
            CELLS(blob, "ranges", 0, 0, 0, 0x1000, 0, 0x8000);
        }
        REG(blob, "d", 0, 0, 0, 0x10);
        for (uint32_t i = 0; i < 8 + more; i++) {
            end_node(blob);
        }
        blob = finish(blob);
        tree = opened(blob);
        if (more == 0) {
            expect_register(&tree, "/bus/d", 0, 0x1007f000, 0x1007f00f);
            expect_register(&tree, "/regs/d", 63, 0x3f0, 0x3ff);
            expect_register(&tree, "/b/b/b/b/b/b/b/b/d", 0, 0x8000, 0x800f);
        } else {
            expect_bad_register(&tree, "/bus/d", "/bus", "ranges");
            expect_bad_register(&tree, "/regs/d", "/regs/d", "reg");
            expect_bad_register(&tree, "/b/b/b/b/b/b/b/b/b/d", "/b", "ranges");
        }
        shut(&tree, blob);
    }
}

/* ---- Interrupts ---- */

static void put_controller(void *blob, const char *name, uint32_t phandle, uint32_t cells)
{
    begin_node(blob, name);
    CELLS(blob, "#interrupt-cells", cells);
    CELLS(blob, "phandle", phandle);
    end_node(blob);
}

static void expect_interrupt(struct piommu_fdt *tree, const char *path, unsigned int index,
                             const char *parent, uint32_t count, uint32_t first, uint32_t last)
{
    struct piommu_fdt_interrupt interrupt;

    ok(piommu_fdt_interrupt(tree, node_at(tree->blob, path), index, &interrupt));
    assert_int_equal(interrupt.parent, node_at(tree->blob, parent));
    assert_int_equal(interrupt.cell_count, count);
    assert_int_equal(interrupt.cells[0], first);
    assert_int_equal(interrupt.cells[count - 1], last);
}

static int ask_interrupt(struct piommu_fdt *tree, const char *path, unsigned int index)
{
    struct piommu_fdt_interrupt interrupt;

    return piommu_fdt_interrupt(tree, node_at(tree->blob, path), index, &interrupt);
}

static void test_interrupts_have_the_nearest_parent(void **state)
{
    void *blob = begin();
    struct piommu_fdt tree;

    (void)state;
    CELLS(blob, "interrupt-parent", 1);
    begin_node(blob, "a");
    CELLS(blob, "interrupts", 0, 5, 4, 0, 6, 1);
    end_node(blob);
    begin_node(blob, "bus");
    CELLS(blob, "interrupt-parent", 2);
    begin_node(blob, "b");
    CELLS(blob, "interrupts", 7);
    end_node(blob);
    begin_node(blob, "c");
    CELLS(blob, "interrupt-parent", 3);
    CELLS(blob, "interrupts", 1, 2, 3, 4);
    end_node(blob);
    end_node(blob);
    begin_node(blob, "nexus");
    CELLS(blob, "#interrupt-cells", 1);
    begin_node(blob, "d");
    CELLS(blob, "interrupts", 9);
    end_node(blob);
    end_node(blob);
    begin_node(blob, "e");
    CELLS(blob, "interrupts", 1);
    CELLS(blob, "interrupts-extended", 3, 1, 2, 3, 8, 2, 5);
    end_node(blob);
    begin_node(blob, "silent");
    end_node(blob);
    put_controller(blob, "gic", 1, 3);
    put_controller(blob, "pins", 2, 1);
    put_controller(blob, "four", 3, 4);
    blob = finish(blob);
    tree = opened(blob);
    expect_interrupt(&tree, "/a", 0, "/gic", 3, 0, 4);
    expect_interrupt(&tree, "/a", 1, "/gic", 3, 0, 1);
    assert_int_equal(ask_interrupt(&tree, "/a", 2), -PIOMMU_ENOENT);
    expect_interrupt(&tree, "/bus/b", 0, "/pins", 1, 7, 7);
    expect_interrupt(&tree, "/bus/c", 0, "/four", 4, 1, 4);
    expect_interrupt(&tree, "/nexus/d", 0, "/nexus", 1, 9, 9);
    expect_interrupt(&tree, "/e", 0, "/four", 4, 1, 8);
    expect_interrupt(&tree, "/e", 1, "/pins", 1, 5, 5);
    assert_int_equal(ask_interrupt(&tree, "/e", 2), -PIOMMU_ENOENT);
    assert_int_equal(ask_interrupt(&tree, "/silent", 0), -PIOMMU_ENOENT);
    shut(&tree, blob);
}

static void expect_bad_interrupt(struct piommu_fdt *tree, const char *path, const char *blamed,
                                 const char *property)
{
    expect_bad(tree, ask_interrupt(tree, path, 0), node_at(tree->blob, blamed), property);
}

static void test_malformed_interrupts_are_named(void **state)
{
    void *blob = begin();
    struct piommu_fdt tree;

    (void)state;
    begin_node(blob, "orphan");
    CELLS(blob, "interrupts", 1);
    end_node(blob);
    begin_node(blob, "short");
    CELLS(blob, "interrupt-parent", 1);
    CELLS(blob, "interrupts", 1, 2);
    end_node(blob);
    begin_node(blob, "nowhere");
    CELLS(blob, "interrupt-parent", 99);
    CELLS(blob, "interrupts", 1, 2, 3);
    end_node(blob);
    begin_node(blob, "wide");
    CELLS(blob, "interrupt-parent", 2);
    CELLS(blob, "interrupts", 1, 2, 3, 4, 5);
    end_node(blob);
    begin_node(blob, "none");
    CELLS(blob, "interrupt-parent", 3);
    CELLS(blob, "interrupts", 1);
    end_node(blob);
    begin_node(blob, "extended");
    CELLS(blob, "interrupts-extended", 1, 1, 2);
    end_node(blob);
    begin_node(blob, "lost");
    CELLS(blob, "interrupts-extended", 77, 1);
    end_node(blob);
    put_controller(blob, "gic", 1, 3);
    put_controller(blob, "five", 2, 5);
    put_controller(blob, "zero", 3, 0);
    blob = finish(blob);
    tree = opened(blob);
    expect_bad_interrupt(&tree, "/orphan", "/orphan", "interrupt-parent");
    expect_bad_interrupt(&tree, "/short", "/short", "interrupts");
    expect_bad_interrupt(&tree, "/nowhere", "/nowhere", "interrupt-parent");
    expect_bad_interrupt(&tree, "/wide", "/five", "#interrupt-cells");
    expect_bad_interrupt(&tree, "/none", "/zero", "#interrupt-cells");
    expect_bad_interrupt(&tree, "/extended", "/extended", "interrupts-extended");
    expect_bad_interrupt(&tree, "/lost", "/lost", "interrupts-extended");
    shut(&tree, blob);
}

static void test_interrupt_parents_in_a_circle_are_named(void **state)
{
    void *blob = begin();
    struct piommu_fdt tree;

    (void)state;
    begin_node(blob, "a");
    CELLS(blob, "interrupt-parent", 1);
    CELLS(blob, "interrupts", 1);
    CELLS(blob, "phandle", 2);
    end_node(blob);
    begin_node(blob, "b");
    CELLS(blob, "interrupt-parent", 2);
    CELLS(blob, "phandle", 1);
    end_node(blob);
    begin_node(blob, "self");
    CELLS(blob, "interrupt-parent", 3);
    CELLS(blob, "interrupts", 1);
    CELLS(blob, "phandle", 3);
    end_node(blob);
    blob = finish(blob);
    tree = opened(blob);
    expect_bad_interrupt(&tree, "/a", "/a", "interrupt-parent");
    expect_bad_interrupt(&tree, "/self", "/self", "interrupt-parent");
    shut(&tree, blob);
}

/* ---- Main units ---- */

static void put_unit(void *blob, const char *name, uint32_t phandle, const uint32_t *main_unit,
                     size_t count)
{
    begin_node(blob, name);
    STRING(blob, "compatible", "vendor,ipmmu");
    CELLS(blob, "#iommu-cells", 1);
    CELLS(blob, "phandle", phandle);
    if (main_unit != NULL) {
        put_cells(blob, "renesas,ipmmu-main", main_unit, count);
    }
    end_node(blob);
}

static void test_main_units_have_a_bit_or_none(void **state)
{
    const uint32_t with[] = {5, 31};
    const uint32_t without[] = {5};
    void *blob = begin();
    struct piommu_fdt tree;
    struct piommu_fdt_iommu iommu;

    (void)state;
    put_unit(blob, "a", 1, with, 2);
    put_unit(blob, "b", 2, without, 1);
    put_unit(blob, "root", 5, NULL, 0);
    blob = finish(blob);
    tree = opened(blob);
    ok(piommu_fdt_next_iommu(&tree, NULL, -1, &iommu));
    assert_int_equal(iommu.main_node, node_at(blob, "/root"));
    assert_true(iommu.has_main_bit);
    assert_int_equal(iommu.main_bit, 31);
    assert_null(iommu.compatible);
    ok(piommu_fdt_next_iommu(&tree, NULL, iommu.node, &iommu));
    assert_int_equal(iommu.main_node, node_at(blob, "/root"));
    assert_false(iommu.has_main_bit);
    ok(piommu_fdt_next_iommu(&tree, NULL, iommu.node, &iommu));
    assert_int_equal(iommu.node, node_at(blob, "/root"));
    assert_int_equal(iommu.main_node, -1);
    shut(&tree, blob);
}

static void test_wrong_main_units_are_named(void **state)
{
    static const struct {
        const char *what;
        uint32_t cells[3];
        size_t count;
    } cases[] = {
        {"nobody has this phandle", {99, 1}, 2},
        {"phandle 0", {0}, 1},
        {"phandle -1", {0xffffffff}, 1},
        {"itself", {1, 1}, 2},
        {"one that has a main unit itself", {2}, 1},
        {"a disabled one", {6}, 1},
        {"no IOMMU", {7}, 1},
        {"a bit that is none", {5, 32}, 2},
        {"three cells", {5, 1, 1}, 3},
        {"empty", {0}, 0},
    };
    const uint32_t root[] = {5};
    const uint32_t back[] = {1};

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        void *blob = begin();
        struct piommu_fdt tree;
        struct piommu_fdt_iommu iommu = {.phandle = 0x55};
        int error;

        put_unit(blob, "a", 1, cases[i].cells, cases[i].count);
        /* With the fifth case this one is the other half of a circle. */
        put_unit(blob, "b", 2, cases[i].cells[0] == 2 ? back : root, 1);
        put_unit(blob, "root", 5, NULL, 0);
        put_platform_iommu(blob, "off", 6, 1, "disabled");
        begin_node(blob, "uart");
        CELLS(blob, "phandle", 7);
        end_node(blob);
        blob = finish(blob);
        tree = opened(blob);
        error = piommu_fdt_next_iommu(&tree, NULL, -1, &iommu);
        if (error != -PIOMMU_EBADMSG) {
            fail_msg("%s: taken", cases[i].what);
        }
        expect_bad(&tree, error, node_at(blob, "/a"), "renesas,ipmmu-main");
        assert_int_equal(iommu.node, node_at(blob, "/a"));
        assert_int_equal(iommu.phandle, 0x55);
        shut(&tree, blob);
    }
}

static void test_an_iommu_behind_an_iommu_is_refused(void **state)
{
    void *blob = begin();
    struct piommu_fdt tree;
    struct piommu_fdt_iommu iommu;
    struct piommu_fdt_id id;

    (void)state;
    begin_node(blob, "a");
    CELLS(blob, "#iommu-cells", 1);
    CELLS(blob, "iommus", 2, 5);
    CELLS(blob, "phandle", 1);
    end_node(blob);
    begin_node(blob, "b");
    CELLS(blob, "#iommu-cells", 1);
    CELLS(blob, "iommu-map", 0, 1, 0, 1);
    CELLS(blob, "phandle", 2);
    end_node(blob);
    begin_node(blob, "c");
    CELLS(blob, "iommus", 1, 5);
    end_node(blob);
    blob = finish(blob);
    tree = opened(blob);
    expect_bad(&tree, piommu_fdt_next_iommu(&tree, NULL, -1, &iommu), node_at(blob, "/a"),
               "iommus");
    expect_bad(&tree, piommu_fdt_next_iommu(&tree, NULL, iommu.node, &iommu), node_at(blob, "/b"),
               "iommu-map");
    expect_bad(&tree, piommu_fdt_device_id(&tree, node_at(blob, "/a"), 0, &id), node_at(blob, "/b"),
               "iommu-map");
    expect_bad(&tree, piommu_fdt_device_id(&tree, node_at(blob, "/c"), 0, &id), node_at(blob, "/a"),
               "iommus");
    shut(&tree, blob);
}

/* ---- The whole, status, coherence ---- */

static void test_all_of_an_iommu_is_told_at_once(void **state)
{
    static const char *const wanted[] = {"vendor,ipmmu", "vendor,soc-ipmmu", NULL};
    void *blob = rich_blob();
    struct piommu_fdt tree = opened(blob);
    struct piommu_fdt_iommu iommu;

    (void)state;
    ok(piommu_fdt_next_iommu(&tree, wanted, -1, &iommu));
    assert_int_equal(iommu.node, node_at(blob, "/bus/iommu@1"));
    assert_int_equal(iommu.phandle, 1);
    assert_string_equal(iommu.compatible, "vendor,soc-ipmmu");
    assert_int_equal(iommu.register_count, 2);
    assert_int_equal(iommu.interrupt_count, 2);
    assert_int_equal(iommu.coherence, PIOMMU_FDT_COHERENT);
    expect_register(&tree, "/bus/iommu@1", 0, 0xe6740000, 0xe6740fff);
    expect_register(&tree, "/bus/iommu@1", 1, 0x100000000, 0x100000fff);
    ok(piommu_fdt_next_iommu(&tree, wanted, iommu.node, &iommu));
    assert_int_equal(iommu.main_node, node_at(blob, "/bus/iommu@1"));
    assert_int_equal(iommu.interrupt_count, 2);
    ok(piommu_fdt_next_iommu(&tree, wanted, iommu.node, &iommu));
    assert_string_equal(iommu.compatible, "vendor,ipmmu");
    assert_int_equal(piommu_fdt_next_iommu(&tree, wanted, iommu.node, &iommu), -PIOMMU_ENOENT);
    shut(&tree, blob);
}

static void test_what_is_below_a_disabled_bus_is_disabled(void **state)
{
    void *blob = begin();
    struct piommu_fdt tree;
    struct piommu_fdt_iommu iommu;
    struct piommu_fdt_master master;
    struct piommu_fdt_id id;

    (void)state;
    begin_node(blob, "bus");
    STRING(blob, "status", "disabled");
    put_platform_iommu(blob, "iommu", 1, 1, "okay");
    begin_node(blob, "device");
    CELLS(blob, "iommus", 1, 2);
    end_node(blob);
    end_node(blob);
    begin_node(blob, "device");
    CELLS(blob, "iommus", 1, 2);
    end_node(blob);
    blob = finish(blob);
    tree = opened(blob);
    assert_int_equal(piommu_fdt_next_iommu(&tree, NULL, -1, &iommu), -PIOMMU_ENOENT);
    ok(piommu_fdt_next_master(&tree, -1, &master));
    assert_int_equal(master.node, node_at(blob, "/device"));
    ok(piommu_fdt_device_id(&tree, master.node, 0, &id));
    assert_true(id.disabled);
    assert_int_equal(piommu_fdt_next_master(&tree, master.node, &master), -PIOMMU_ENOENT);
    shut(&tree, blob);
}

static void test_only_okay_and_ok_mean_enabled(void **state)
{
    static const struct {
        const char *status;
        size_t size;
        bool enabled;
    } cases[] = {
        {"okay", 5, true}, {"ok", 3, true},        {"okay", 4, false},  {"", 1, false},
        {"", 0, false},    {"disabled", 9, false}, {"okay2", 6, false}, {"reserved", 9, false},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        void *blob = begin();
        struct piommu_fdt tree;
        struct piommu_fdt_iommu iommu;

        begin_node(blob, "iommu");
        CELLS(blob, "#iommu-cells", 1);
        put_bytes(blob, "status", cases[i].status, cases[i].size);
        end_node(blob);
        blob = finish(blob);
        tree = opened(blob);
        assert_int_equal(piommu_fdt_next_iommu(&tree, NULL, -1, &iommu),
                         cases[i].enabled ? 0 : -PIOMMU_ENOENT);
        shut(&tree, blob);
    }
}

static void expect_coherence(struct piommu_fdt *tree, const char *path,
                             enum piommu_fdt_coherence expected)
{
    enum piommu_fdt_coherence coherence;

    ok(piommu_fdt_coherence(tree, node_at(tree->blob, path), &coherence));
    assert_int_equal(coherence, expected);
}

static void test_coherence_is_that_of_the_nearest(void **state)
{
    void *blob = begin();
    struct piommu_fdt tree;

    (void)state;
    begin_node(blob, "plain");
    end_node(blob);
    begin_node(blob, "bus");
    put_flag(blob, "dma-coherent");
    begin_node(blob, "plain");
    end_node(blob);
    begin_node(blob, "no");
    put_flag(blob, "dma-noncoherent");
    begin_node(blob, "below");
    end_node(blob);
    end_node(blob);
    begin_node(blob, "both");
    put_flag(blob, "dma-coherent");
    put_flag(blob, "dma-noncoherent");
    end_node(blob);
    end_node(blob);
    blob = finish(blob);
    tree = opened(blob);
    expect_coherence(&tree, "/plain", PIOMMU_FDT_COHERENCE_DEFAULT);
    expect_coherence(&tree, "/bus", PIOMMU_FDT_COHERENT);
    expect_coherence(&tree, "/bus/plain", PIOMMU_FDT_COHERENT);
    expect_coherence(&tree, "/bus/no", PIOMMU_FDT_NONCOHERENT);
    expect_coherence(&tree, "/bus/no/below", PIOMMU_FDT_NONCOHERENT);
    expect_coherence(&tree, "/bus/both", PIOMMU_FDT_NONCOHERENT);
    shut(&tree, blob);
}

static void test_a_function_behind_bridges_has_its_host_bridge(void **state)
{
    void *blob = begin();
    struct piommu_fdt tree;
    struct piommu_fdt_iommu iommu;

    (void)state;
    begin_bridge(blob, "pcie");
    begin_bridge(blob, "pci@1,0");
    put_pci_iommu(blob, "iommu", 1, 0x10800);
    end_node(blob);
    end_node(blob);
    blob = finish(blob);
    tree = opened(blob);
    ok(piommu_fdt_next_iommu(&tree, NULL, -1, &iommu));
    assert_true(iommu.is_pci);
    assert_int_equal(iommu.host_bridge, node_at(blob, "/pcie"));
    assert_int_equal(iommu.pci_bdf, 0x108);
    assert_int_equal(iommu.register_count, 0);
    shut(&tree, blob);
}

static void test_wrong_arguments_are_refused(void **state)
{
    void *blob = rich_blob();
    struct piommu_fdt tree = opened(blob);
    struct piommu_range range;
    struct piommu_fdt_interrupt interrupt;
    enum piommu_fdt_coherence coherence;

    (void)state;
    assert_int_equal(piommu_fdt_register(NULL, 0, 0, &range), -PIOMMU_EINVAL);
    assert_int_equal(piommu_fdt_register(&tree, 0, 0, NULL), -PIOMMU_EINVAL);
    assert_int_equal(piommu_fdt_register(&tree, 1, 0, &range), -PIOMMU_EINVAL);
    assert_int_equal(piommu_fdt_interrupt(NULL, 0, 0, &interrupt), -PIOMMU_EINVAL);
    assert_int_equal(piommu_fdt_interrupt(&tree, 0, 0, NULL), -PIOMMU_EINVAL);
    assert_int_equal(piommu_fdt_interrupt(&tree, -1, 0, &interrupt), -PIOMMU_EINVAL);
    assert_int_equal(piommu_fdt_coherence(NULL, 0, &coherence), -PIOMMU_EINVAL);
    assert_int_equal(piommu_fdt_coherence(&tree, 0, NULL), -PIOMMU_EINVAL);
    assert_int_equal(piommu_fdt_coherence(&tree, 3, &coherence), -PIOMMU_EINVAL);
    shut(&tree, blob);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_registers_below_the_root_are_physical),
        TEST(test_registers_are_translated_by_all_ranges),
        TEST(test_cells_of_a_bus_are_its_own_or_two_and_one),
        TEST(test_numbers_that_are_no_addresses_are_no_registers),
        TEST(test_malformed_registers_are_named),
        TEST(test_impossible_cells_of_a_bus_are_named),
        TEST(test_malformed_ranges_are_named),
        TEST(test_a_bus_without_ranges_leads_nowhere),
        TEST(test_limits_of_ranges),
        TEST(test_interrupts_have_the_nearest_parent),
        TEST(test_malformed_interrupts_are_named),
        TEST(test_interrupt_parents_in_a_circle_are_named),
        TEST(test_main_units_have_a_bit_or_none),
        TEST(test_wrong_main_units_are_named),
        TEST(test_an_iommu_behind_an_iommu_is_refused),
        TEST(test_all_of_an_iommu_is_told_at_once),
        TEST(test_what_is_below_a_disabled_bus_is_disabled),
        TEST(test_only_okay_and_ok_mean_enabled),
        TEST(test_coherence_is_that_of_the_nearest),
        TEST(test_a_function_behind_bridges_has_its_host_bridge),
        TEST(test_wrong_arguments_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
