/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* What a device tree says of the devices behind IOMMUs: IDs, windows, reserved regions. */

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

/* ---- Finding them ---- */

static void test_masters_are_found_in_order_with_all_that_is_theirs(void **state)
{
    void *blob = rich_blob();
    struct piommu_fdt tree = opened(blob);
    struct piommu_fdt_master master;

    (void)state;
    ok(piommu_fdt_next_master(&tree, -1, &master));
    assert_int_equal(master.node, node_at(blob, "/dev"));
    assert_int_equal(master.id_count, 2);
    assert_int_equal(master.map_count, 0);
    assert_int_equal(master.window_count, 0);
    assert_int_equal(master.coherence, PIOMMU_FDT_COHERENCE_DEFAULT);
    ok(piommu_fdt_next_master(&tree, master.node, &master));
    assert_int_equal(master.node, node_at(blob, "/pcie@0"));
    assert_int_equal(master.id_count, 0);
    assert_int_equal(master.map_count, 2);
    assert_int_equal(master.map_mask, 0xfff8);
    assert_int_equal(master.window_count, 1);
    assert_int_equal(master.coherence, PIOMMU_FDT_NONCOHERENT);
    ok(piommu_fdt_next_master(&tree, master.node, &master));
    assert_int_equal(master.node, node_at(blob, "/bus/dma@5"));
    assert_int_equal(master.id_count, 2);
    assert_int_equal(master.window_count, 1);
    assert_int_equal(master.coherence, PIOMMU_FDT_COHERENT);
    assert_int_equal(piommu_fdt_next_master(&tree, master.node, &master), -PIOMMU_ENOENT);
    shut(&tree, blob);
}

static void test_a_device_may_be_behind_several_instances(void **state)
{
    void *blob = begin();
    struct piommu_fdt tree;
    struct piommu_fdt_id id;
    int device;

    (void)state;
    begin_node(blob, "device");
    CELLS(blob, "iommus", 1, 7, 2, 3);
    end_node(blob);
    put_platform_iommu(blob, "one", 1, 1, NULL);
    put_platform_iommu(blob, "two", 2, 1, "disabled");
    blob = finish(blob);
    tree = opened(blob);
    device = node_at(blob, "/device");
    ok(piommu_fdt_device_id(&tree, device, 0, &id));
    assert_int_equal(id.node, node_at(blob, "/one"));
    assert_false(id.disabled);
    ok(piommu_fdt_device_id(&tree, device, 1, &id));
    assert_int_equal(id.node, node_at(blob, "/two"));
    assert_true(id.disabled);
    shut(&tree, blob);
}

static void test_a_host_bridge_may_have_ids_of_its_own(void **state)
{
    void *blob = begin();
    struct piommu_fdt tree;
    struct piommu_fdt_master master;

    (void)state;
    begin_bridge(blob, "pcie");
    CELLS(blob, "iommus", 1, 7);
    CELLS(blob, "iommu-map", 0, 1, 0x100, 0x100);
    end_node(blob);
    put_platform_iommu(blob, "one", 1, 1, NULL);
    blob = finish(blob);
    tree = opened(blob);
    ok(piommu_fdt_next_master(&tree, -1, &master));
    assert_int_equal(master.id_count, 1);
    assert_int_equal(master.map_count, 1);
    assert_int_equal(master.map_mask, UINT32_MAX);
    shut(&tree, blob);
}

/* One of several masters is malformed: it is named, and the others are found. */
static void test_malformed_masters_are_named_and_passed(void **state)
{
    static const struct {
        const char *property;
        uint32_t cells[5];
        size_t count;
    } cases[] = {
        {"iommus", {1}, 1},
        {"iommus", {99, 1}, 2},
        {"iommus", {1, 7, 1}, 3},
        {"iommus", {0}, 0},
        {"iommus", {9, 1}, 2}, /* the device itself */
        {"iommus", {8, 1}, 2}, /* no IOMMU */
        {"iommu-map", {0, 1, 0}, 3},
        {"iommu-map", {0}, 0},
        {"iommu-map", {0, 99, 0, 1}, 4},
        {"iommu-map", {0, 9, 0, 1}, 4},
        {"iommu-map", {0, 1, 0, 0}, 4},
        {"iommu-map", {0, 1, 0xffffffff, 2}, 4},
        {"iommu-map", {0xffffffff, 1, 0, 2}, 4},
        {"iommu-map", {0, 2, 0, 1}, 4}, /* an IOMMU with two cells */
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        void *blob = begin();
        struct piommu_fdt tree;
        struct piommu_fdt_master master;

        begin_node(blob, "bad");
        put_cells(blob, cases[i].property, cases[i].cells, cases[i].count);
        CELLS(blob, "phandle", 9);
        end_node(blob);
        begin_node(blob, "good");
        CELLS(blob, "iommus", 1, 7);
        CELLS(blob, "phandle", 8);
        end_node(blob);
        put_platform_iommu(blob, "one", 1, 1, NULL);
        put_platform_iommu(blob, "two", 2, 2, NULL);
        blob = finish(blob);
        tree = opened(blob);
        memset(&master, 0x55, sizeof(master));
        expect_bad(&tree, piommu_fdt_next_master(&tree, -1, &master), node_at(blob, "/bad"),
                   cases[i].property);
        assert_string_equal(tree.bad_path, "/bad");
        assert_int_equal(master.node, node_at(blob, "/bad"));
        assert_int_equal(master.id_count, 0x55555555);
        ok(piommu_fdt_next_master(&tree, master.node, &master));
        assert_int_equal(master.node, node_at(blob, "/good"));
        shut(&tree, blob);
    }
}

static void test_as_many_ids_as_are_allowed(void **state)
{
    (void)state;
    for (uint32_t more = 0; more < 2; more++) {
        uint32_t iommus[257];
        void *blob = begin();
        struct piommu_fdt tree;
        struct piommu_fdt_master master;

        for (uint32_t i = 0; i < 257; i++) {
            iommus[i] = 1;
        }
        begin_node(blob, "device");
        put_cells(blob, "iommus", iommus, 256 + more);
        end_node(blob);
        put_platform_iommu(blob, "one", 1, 0, NULL);
        blob = finish(blob);
        tree = opened(blob);
        if (more == 0) {
            ok(piommu_fdt_next_master(&tree, -1, &master));
            assert_int_equal(master.id_count, 256);
        } else {
            expect_bad(&tree, piommu_fdt_next_master(&tree, -1, &master), node_at(blob, "/device"),
                       "iommus");
        }
        shut(&tree, blob);
    }
}

/* ---- Maps ---- */

static void test_maps_are_told_entry_by_entry(void **state)
{
    void *blob = rich_blob();
    struct piommu_fdt tree = opened(blob);
    struct piommu_fdt_map map;
    int bridge = node_at(blob, "/pcie@0");

    (void)state;
    ok(piommu_fdt_map(&tree, bridge, 0, &map));
    assert_int_equal(map.first, 0);
    assert_int_equal(map.count, 8);
    assert_int_equal(map.id.iommu, 3);
    assert_int_equal(map.id.node, node_at(blob, "/pcie@0/iommu@1,0"));
    assert_int_equal(map.id.cells[0], 0);
    ok(piommu_fdt_map(&tree, bridge, 1, &map));
    assert_int_equal(map.first, 0x10);
    assert_int_equal(map.count, 0xfff0);
    assert_int_equal(map.id.cells[0], 9);
    assert_int_equal(piommu_fdt_map(&tree, bridge, 2, &map), -PIOMMU_ENOENT);
    assert_int_equal(piommu_fdt_map(&tree, bridge, UINT32_MAX, &map), -PIOMMU_ENOENT);
    assert_int_equal(piommu_fdt_map(&tree, node_at(blob, "/dev"), 0, &map), -PIOMMU_ENOENT);
    assert_int_equal(piommu_fdt_map(&tree, 1, 0, &map), -PIOMMU_EINVAL);
    assert_int_equal(piommu_fdt_map(&tree, bridge, 0, NULL), -PIOMMU_EINVAL);
    assert_int_equal(piommu_fdt_map(NULL, bridge, 0, &map), -PIOMMU_EINVAL);
    shut(&tree, blob);
}

static void test_the_first_of_overlapping_entries_counts(void **state)
{
    void *blob = begin();
    struct piommu_fdt tree;
    struct piommu_fdt_id id;

    (void)state;
    begin_bridge(blob, "pcie");
    CELLS(blob, "iommu-map", 8, 1, 0x100, 8, 0, 1, 0, 0x10000);
    end_node(blob);
    put_platform_iommu(blob, "one", 1, 1, NULL);
    blob = finish(blob);
    tree = opened(blob);
    ok(piommu_fdt_pci_id(&tree, node_at(blob, "/pcie"), 9, &id));
    assert_int_equal(id.cells[0], 0x101);
    ok(piommu_fdt_pci_id(&tree, node_at(blob, "/pcie"), 0x10, &id));
    assert_int_equal(id.cells[0], 0x10);
    shut(&tree, blob);
}

/* ---- Windows ---- */

static void expect_window(struct piommu_fdt *tree, const char *path, unsigned int index,
                          uint64_t first, uint64_t last)
{
    struct piommu_range window;

    ok(piommu_fdt_dma_window(tree, node_at(tree->blob, path), index, &window));
    assert_int_equal(window.first, first);
    assert_int_equal(window.last, last);
}

static int ask_window(struct piommu_fdt *tree, const char *path, unsigned int index)
{
    struct piommu_range window;

    return piommu_fdt_dma_window(tree, node_at(tree->blob, path), index, &window);
}

static void test_windows_are_those_of_the_nearest_bus_that_limits(void **state)
{
    void *blob = begin();
    struct piommu_fdt tree;

    (void)state;
    CELLS(blob, "dma-ranges", 0, 0, 0, 0, 0, 0x1000); /* the root is no bus of another */
    begin_node(blob, "free");
    end_node(blob);
    begin_bus(blob, "bus", 1, 1);
    CELLS(blob, "dma-ranges", 0x10000000, 2, 0x80000000, 0x1000000, 0xff000000, 0, 0, 0x1000000);
    begin_node(blob, "device");
    end_node(blob);
    begin_bus(blob, "same", 2, 2);
    put_flag(blob, "dma-ranges");
    begin_node(blob, "device");
    CELLS(blob, "dma-ranges", 1); /* a device's own is for what is below it */
    end_node(blob);
    end_node(blob);
    begin_bus(blob, "inner", 2, 2);
    CELLS(blob, "dma-ranges", 1, 0, 0, 1, 0);
    begin_node(blob, "device");
    end_node(blob);
    end_node(blob);
    end_node(blob);
    blob = finish(blob);
    tree = opened(blob);
    assert_int_equal(ask_window(&tree, "/free", 0), -PIOMMU_ENOENT);
    assert_int_equal(ask_window(&tree, "/bus", 0), -PIOMMU_ENOENT);
    assert_int_equal(ask_window(&tree, "/", 0), -PIOMMU_ENOENT);
    expect_window(&tree, "/bus/device", 0, 0x10000000, 0x10ffffff);
    expect_window(&tree, "/bus/device", 1, 0xff000000, 0xffffffff);
    assert_int_equal(ask_window(&tree, "/bus/device", 2), -PIOMMU_ENOENT);
    expect_window(&tree, "/bus/same/device", 0, 0x10000000, 0x10ffffff);
    expect_window(&tree, "/bus/inner/device", 0, 0x100000000, 0x1ffffffff);
    shut(&tree, blob);
}

static void test_windows_of_a_host_bridge_are_its_own_memory_space(void **state)
{
    void *blob = begin();
    struct piommu_fdt tree;

    (void)state;
    begin_bridge(blob, "pcie");
    CELLS(blob, "iommu-map", 0, 1, 0, 0x10000);
    CELLS(blob, "dma-ranges", 0x01000000, 0, 0, 0, 0, 0, 0x1000, 0x42000000, 0, 0x40000000, 0,
          0x40000000, 0, 0x80000000, 0x43000000, 1, 0x80000000, 1, 0x80000000, 0, 0x80000000);
    begin_node(blob, "function@1,0");
    end_node(blob);
    end_node(blob);
    put_platform_iommu(blob, "one", 1, 1, NULL);
    blob = finish(blob);
    tree = opened(blob);
    expect_window(&tree, "/pcie", 0, 0x40000000, 0xbfffffff);
    expect_window(&tree, "/pcie", 1, 0x180000000, 0x1ffffffff);
    assert_int_equal(ask_window(&tree, "/pcie", 2), -PIOMMU_ENOENT);
    expect_window(&tree, "/pcie/function@1,0", 0, 0x40000000, 0xbfffffff);
    shut(&tree, blob);
}

static void test_malformed_windows_are_named(void **state)
{
    static const struct {
        uint32_t cells[8];
        size_t count;
    } cases[] = {
        {{0, 0, 0, 0}, 4},
        {{0, 0, 0}, 3},
        {{0, 0, 0, 1, 2}, 5},
        {{0xfffff000, 0, 0, 0x1001}, 4},
        {{0, 0xffffffff, 0xfffff000, 0x1001}, 4},
        {{0, 0, 0, 0x1000, 0, 0, 0, 0}, 8},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        void *blob = begin();
        struct piommu_fdt tree;
        struct piommu_fdt_master master;

        begin_bus(blob, "bus", 1, 1);
        put_cells(blob, "dma-ranges", cases[i].cells, cases[i].count);
        begin_node(blob, "device");
        CELLS(blob, "iommus", 1, 1);
        end_node(blob);
        end_node(blob);
        put_platform_iommu(blob, "one", 1, 1, NULL);
        blob = finish(blob);
        tree = opened(blob);
        expect_bad(&tree, piommu_fdt_next_master(&tree, -1, &master), node_at(blob, "/bus"),
                   "dma-ranges");
        assert_int_equal(master.node, node_at(blob, "/bus/device"));
        shut(&tree, blob);
    }
}

static void test_a_bridge_whose_windows_are_all_for_ports_is_refused(void **state)
{
    void *blob = begin();
    struct piommu_fdt tree;

    (void)state;
    begin_bridge(blob, "pcie");
    CELLS(blob, "dma-ranges", 0x01000000, 0, 0, 0, 0, 0, 0x1000);
    begin_node(blob, "function");
    end_node(blob);
    end_node(blob);
    blob = finish(blob);
    tree = opened(blob);
    expect_bad(&tree, ask_window(&tree, "/pcie/function", 0), node_at(blob, "/pcie"), "dma-ranges");
    shut(&tree, blob);
}

/* ---- Reserved regions ---- */

static void expect_region(struct piommu_fdt *tree, int node, struct piommu_fdt_cursor *cursor,
                          enum piommu_fdt_region_kind kind, const char *path, uint64_t iova,
                          uint64_t physical, uint64_t size)
{
    struct piommu_fdt_region region;

    ok(piommu_fdt_next_region(tree, node, cursor, &region));
    assert_int_equal(region.kind, kind);
    assert_int_equal(region.node, node_at(tree->blob, path));
    if (kind != PIOMMU_FDT_REGION_MEMORY) {
        assert_int_equal(region.iova.first, iova);
        assert_int_equal(region.iova.last, iova + (size - 1));
    }
    if (kind != PIOMMU_FDT_REGION_RESERVED) {
        assert_int_equal(region.physical.first, physical);
        assert_int_equal(region.physical.last, physical + (size - 1));
    }
}

static void test_regions_are_of_four_kinds(void **state)
{
    void *blob = rich_blob();
    struct piommu_fdt tree = opened(blob);
    struct piommu_fdt_cursor cursor = {0};
    struct piommu_fdt_region region;
    int node = node_at(blob, "/bus/dma@5");

    (void)state;
    expect_region(&tree, node, &cursor, PIOMMU_FDT_REGION_DIRECT, "/reserved-memory/a", 0x70000000,
                  0x70000000, 0x100000);
    expect_region(&tree, node, &cursor, PIOMMU_FDT_REGION_RESERVED, "/reserved-memory/b", 0x1000, 0,
                  0x1000);
    expect_region(&tree, node, &cursor, PIOMMU_FDT_REGION_RESERVED, "/reserved-memory/b", 0x4000, 0,
                  0x2000);
    expect_region(&tree, node, &cursor, PIOMMU_FDT_REGION_MEMORY, "/reserved-memory/c", 0,
                  0x71000000, 0x100000);
    expect_region(&tree, node, &cursor, PIOMMU_FDT_REGION_MEMORY, "/reserved-memory/c", 0,
                  0x72000000, 0x1000);
    assert_int_equal(piommu_fdt_next_region(&tree, node, &cursor, &region), -PIOMMU_ENOENT);
    memset(&cursor, 0, sizeof(cursor));
    assert_int_equal(piommu_fdt_next_region(&tree, node_at(blob, "/dev"), &cursor, &region),
                     -PIOMMU_ENOENT);
    assert_int_equal(piommu_fdt_next_region(NULL, node, &cursor, &region), -PIOMMU_EINVAL);
    assert_int_equal(piommu_fdt_next_region(&tree, 1, &cursor, &region), -PIOMMU_EINVAL);
    assert_int_equal(piommu_fdt_next_region(&tree, node, NULL, &region), -PIOMMU_EINVAL);
    assert_int_equal(piommu_fdt_next_region(&tree, node, &cursor, NULL), -PIOMMU_EINVAL);
    shut(&tree, blob);
}

struct region_case {
    const uint32_t *reg;
    size_t reg_count;
    const uint32_t *addresses; /* NULL: no iommu-addresses */
    size_t address_count;
    const uint32_t *regions;
    size_t region_count;
    const char *status;
    bool no_ranges;
};

/* A device (phandle 1) with cells 2 and 1, a region (2) with 2 and 2, a device (3) with 1 and 1. */
static void *region_blob(const struct region_case *what)
{
    void *blob = begin();

    begin_node(blob, "reserved-memory");
    CELLS(blob, "#address-cells", 2);
    CELLS(blob, "#size-cells", 2);
    if (!what->no_ranges) {
        put_flag(blob, "ranges");
    }
    begin_node(blob, "r");
    if (what->reg_count != 0) {
        put_cells(blob, "reg", what->reg, what->reg_count);
    }
    if (what->addresses != NULL) {
        put_cells(blob, "iommu-addresses", what->addresses, what->address_count);
    }
    if (what->status != NULL) {
        put_bytes(blob, "status", what->status, strlen(what->status) + 1);
    }
    CELLS(blob, "phandle", 2);
    begin_node(blob, "below");
    CELLS(blob, "phandle", 4);
    end_node(blob);
    end_node(blob);
    end_node(blob);
    begin_bus(blob, "bus", 2, 1);
    begin_node(blob, "d");
    CELLS(blob, "iommus", 5, 1);
    put_cells(blob, "memory-region", what->regions, what->region_count);
    CELLS(blob, "phandle", 1);
    end_node(blob);
    end_node(blob);
    begin_bus(blob, "other", 1, 1);
    begin_node(blob, "d");
    CELLS(blob, "phandle", 3);
    end_node(blob);
    end_node(blob);
    put_platform_iommu(blob, "iommu", 5, 1, NULL);
    return finish(blob);
}

static const uint32_t memory[] = {0, 0x70000000, 0, 0x10000};
static const uint32_t the_region[] = {2};

static void test_iommu_addresses_are_compared_with_the_memory(void **state)
{
    static const uint32_t equal[] = {1, 0, 0x70000000, 0x10000};
    static const uint32_t elsewhere[] = {1, 5, 0x1000, 0x10000};
    static const uint32_t smaller[] = {1, 0, 0x70000000, 0x8000};
    static const uint32_t behind_others[] = {3, 0x5000, 0x1000, 1, 0, 0x70000000, 0x10000, 3, 0, 1};
    static const struct {
        const uint32_t *addresses;
        size_t count;
        enum piommu_fdt_region_kind kind;
        uint64_t iova;
        uint64_t size;
    } cases[] = {
        {equal, 4, PIOMMU_FDT_REGION_DIRECT, 0x70000000, 0x10000},
        {elsewhere, 4, PIOMMU_FDT_REGION_MAPPED, 0x500001000, 0x10000},
        {smaller, 4, PIOMMU_FDT_REGION_RESERVED, 0x70000000, 0x8000},
        {behind_others, 10, PIOMMU_FDT_REGION_DIRECT, 0x70000000, 0x10000},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        const struct region_case what = {
            .reg = memory,
            .reg_count = 4,
            .addresses = cases[i].addresses,
            .address_count = cases[i].count,
            .regions = the_region,
            .region_count = 1,
        };
        void *blob = region_blob(&what);
        struct piommu_fdt tree = opened(blob);
        struct piommu_fdt_cursor cursor = {0};
        struct piommu_fdt_region region;
        int node = node_at(blob, "/bus/d");

        expect_region(&tree, node, &cursor, cases[i].kind, "/reserved-memory/r", cases[i].iova,
                      0x70000000, cases[i].size);
        assert_int_equal(piommu_fdt_next_region(&tree, node, &cursor, &region), -PIOMMU_ENOENT);
        shut(&tree, blob);
    }
}

static void test_a_region_whose_iovas_are_for_others_is_only_memory(void **state)
{
    static const uint32_t others[] = {3, 0x5000, 0x1000};
    const struct region_case what = {
        .reg = memory,
        .reg_count = 4,
        .addresses = others,
        .address_count = 3,
        .regions = the_region,
        .region_count = 1,
    };
    void *blob = region_blob(&what);
    struct piommu_fdt tree = opened(blob);
    struct piommu_fdt_cursor cursor = {0};
    struct piommu_fdt_region region;
    int node = node_at(blob, "/bus/d");

    (void)state;
    expect_region(&tree, node, &cursor, PIOMMU_FDT_REGION_MEMORY, "/reserved-memory/r", 0,
                  0x70000000, 0x10000);
    assert_int_equal(piommu_fdt_next_region(&tree, node, &cursor, &region), -PIOMMU_ENOENT);
    shut(&tree, blob);
}

/* As in the example of the binding: 2 and 2 cells, for a device on a bus of others. */
static void test_iommu_addresses_may_be_written_with_the_cells_of_the_region(void **state)
{
    static const uint32_t wide[] = {1,    0,      0x70000000, 0, 0x10000, 3, 0,         0x60000000,
                                    0xff, 0x1000, 1,          0, 0,       0, 0x40000000};
    const struct region_case what = {
        .reg = memory,
        .reg_count = 4,
        .addresses = wide,
        .address_count = COUNT(wide),
        .regions = the_region,
        .region_count = 1,
    };
    void *blob = region_blob(&what);
    struct piommu_fdt tree = opened(blob);
    struct piommu_fdt_cursor cursor = {0};
    struct piommu_fdt_region region;
    int node = node_at(blob, "/bus/d");

    (void)state;
    expect_region(&tree, node, &cursor, PIOMMU_FDT_REGION_DIRECT, "/reserved-memory/r", 0x70000000,
                  0x70000000, 0x10000);
    expect_region(&tree, node, &cursor, PIOMMU_FDT_REGION_RESERVED, "/reserved-memory/r", 0, 0,
                  0x40000000);
    assert_int_equal(piommu_fdt_next_region(&tree, node, &cursor, &region), -PIOMMU_ENOENT);
    shut(&tree, blob);
}

static void test_regions_that_are_disabled_or_without_a_place_are_passed(void **state)
{
    const struct region_case cases[] = {
        {.reg = memory,
         .reg_count = 4,
         .regions = the_region,
         .region_count = 1,
         .status = "disabled"},
        {.regions = the_region, .region_count = 1}, /* allocated when the system starts */
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        void *blob = region_blob(&cases[i]);
        struct piommu_fdt tree = opened(blob);
        struct piommu_fdt_cursor cursor = {0};
        struct piommu_fdt_region region;

        assert_int_equal(piommu_fdt_next_region(&tree, node_at(blob, "/bus/d"), &cursor, &region),
                         -PIOMMU_ENOENT);
        shut(&tree, blob);
    }
}

static void test_malformed_regions_are_named(void **state)
{
    static const uint32_t nowhere[] = {99};
    static const uint32_t itself[] = {1};
    static const uint32_t below[] = {4};
    static const uint32_t iommu[] = {5};
    static const uint32_t twice[] = {2, 2};
    static const uint32_t many[33] = {2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2,
                                      2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2};
    static const uint32_t short_entry[] = {1, 0, 0x70000000};
    static const uint32_t bare[] = {1};
    static const uint32_t unknown[] = {99, 0, 0x70000000, 0x10000};
    static const uint32_t empty[] = {1, 0, 0x70000000, 0};
    static const uint32_t wraps[] = {1, 0xffffffff, 0xfffff000, 0x1001};
    static const uint32_t trailing[] = {3, 0x5000, 0x1000, 1};
    static const uint32_t five[20] = {0, 0, 0, 1, 0, 1, 0, 1, 0, 2, 0, 1, 0, 3, 0, 1, 0, 4, 0, 1};
    static const uint32_t no_memory[] = {0, 0x70000000, 0, 0};
    static const struct {
        struct region_case what;
        const char *blamed;
        const char *property;
    } cases[] = {
        {{.regions = nowhere, .region_count = 1}, "/bus/d", "memory-region"},
        {{.regions = itself, .region_count = 1}, "/bus/d", "memory-region"},
        {{.regions = below, .region_count = 1}, "/bus/d", "memory-region"},
        {{.regions = iommu, .region_count = 1}, "/bus/d", "memory-region"},
        {{.regions = nowhere, .region_count = 0}, "/bus/d", "memory-region"},
        {{.regions = many, .region_count = 33}, "/bus/d", "memory-region"},
#define ADDRESSES(cells)                                           \
    {{memory, 4, cells, COUNT(cells), the_region, 1, NULL, false}, \
     "/reserved-memory/r",                                         \
     "iommu-addresses"}
        ADDRESSES(short_entry),
        ADDRESSES(bare),
        ADDRESSES(unknown),
        ADDRESSES(empty),
        ADDRESSES(wraps),
        ADDRESSES(trailing),
        {{memory, 4, bare, 0, the_region, 1, NULL, false}, "/reserved-memory/r", "iommu-addresses"},
        {{memory, 3, NULL, 0, twice, 2, NULL, false}, "/reserved-memory/r", "reg"},
        {{five, 20, NULL, 0, the_region, 1, NULL, false}, "/reserved-memory/r", "reg"},
        {{no_memory, 4, NULL, 0, the_region, 1, NULL, false}, "/reserved-memory/r", "reg"},
        {{memory, 4, NULL, 0, the_region, 1, NULL, true}, "/reserved-memory", "ranges"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        void *blob = region_blob(&cases[i].what);
        struct piommu_fdt tree = opened(blob);
        struct piommu_fdt_master master;
        struct piommu_fdt_region region;
        struct piommu_fdt_cursor cursor = {0};
        int error;

        do {
            error = piommu_fdt_next_region(&tree, node_at(blob, "/bus/d"), &cursor, &region);
        } while (error == 0);
        expect_bad(&tree, error, node_at(blob, cases[i].blamed), cases[i].property);
        /* So the device is not told of. */
        expect_bad(&tree, piommu_fdt_next_master(&tree, -1, &master),
                   node_at(blob, cases[i].blamed), cases[i].property);
        assert_int_equal(master.node, node_at(blob, "/bus/d"));
        shut(&tree, blob);
    }
}

static void test_as_many_iommu_addresses_as_are_allowed(void **state)
{
    (void)state;
    for (size_t more = 0; more < 2; more++) {
        uint32_t many[3 * 65];
        struct region_case what = {
            .addresses = many,
            .address_count = 3 * (64 + more),
            .regions = the_region,
            .region_count = 1,
        };
        struct piommu_fdt_cursor cursor = {0};
        struct piommu_fdt_region region;
        struct piommu_fdt tree;
        void *blob;

        for (uint32_t i = 0; i < 65; i++) {
            many[3 * i] = 3;
            many[3 * i + 1] = i * 0x1000;
            many[3 * i + 2] = 0x1000;
        }
        blob = region_blob(&what);
        tree = opened(blob);
        if (more == 0) {
            assert_int_equal(
                piommu_fdt_next_region(&tree, node_at(blob, "/bus/d"), &cursor, &region),
                -PIOMMU_ENOENT);
        } else {
            expect_bad(&tree,
                       piommu_fdt_next_region(&tree, node_at(blob, "/bus/d"), &cursor, &region),
                       node_at(blob, "/reserved-memory/r"), "iommu-addresses");
        }
        shut(&tree, blob);
    }
}

static void test_a_region_named_twice_is_told_twice(void **state)
{
    static const uint32_t twice[] = {2, 2};
    const struct region_case what = {
        .reg = memory,
        .reg_count = 4,
        .regions = twice,
        .region_count = 2,
    };
    void *blob = region_blob(&what);
    struct piommu_fdt tree = opened(blob);
    struct piommu_fdt_cursor cursor = {0};
    struct piommu_fdt_region region;
    int node = node_at(blob, "/bus/d");

    (void)state;
    for (unsigned int i = 0; i < 2; i++) {
        expect_region(&tree, node, &cursor, PIOMMU_FDT_REGION_MEMORY, "/reserved-memory/r", 0,
                      0x70000000, 0x10000);
    }
    assert_int_equal(piommu_fdt_next_region(&tree, node, &cursor, &region), -PIOMMU_ENOENT);
    shut(&tree, blob);
}

static void test_wrong_arguments_are_refused(void **state)
{
    void *blob = rich_blob();
    struct piommu_fdt tree = opened(blob);
    struct piommu_fdt_master master;
    struct piommu_range window;

    (void)state;
    assert_int_equal(piommu_fdt_next_master(NULL, -1, &master), -PIOMMU_EINVAL);
    assert_int_equal(piommu_fdt_next_master(&tree, -1, NULL), -PIOMMU_EINVAL);
    assert_int_equal(piommu_fdt_next_master(&tree, -2, &master), -PIOMMU_EINVAL);
    assert_int_equal(piommu_fdt_next_master(&tree, 1, &master), -PIOMMU_EINVAL);
    assert_int_equal(piommu_fdt_dma_window(NULL, 0, 0, &window), -PIOMMU_EINVAL);
    assert_int_equal(piommu_fdt_dma_window(&tree, 0, 0, NULL), -PIOMMU_EINVAL);
    assert_int_equal(piommu_fdt_dma_window(&tree, 1, 0, &window), -PIOMMU_EINVAL);
    shut(&tree, blob);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_masters_are_found_in_order_with_all_that_is_theirs),
        TEST(test_a_device_may_be_behind_several_instances),
        TEST(test_a_host_bridge_may_have_ids_of_its_own),
        TEST(test_malformed_masters_are_named_and_passed),
        TEST(test_as_many_ids_as_are_allowed),
        TEST(test_maps_are_told_entry_by_entry),
        TEST(test_the_first_of_overlapping_entries_counts),
        TEST(test_windows_are_those_of_the_nearest_bus_that_limits),
        TEST(test_windows_of_a_host_bridge_are_its_own_memory_space),
        TEST(test_malformed_windows_are_named),
        TEST(test_a_bridge_whose_windows_are_all_for_ports_is_refused),
        TEST(test_regions_are_of_four_kinds),
        TEST(test_iommu_addresses_are_compared_with_the_memory),
        TEST(test_a_region_whose_iovas_are_for_others_is_only_memory),
        TEST(test_iommu_addresses_may_be_written_with_the_cells_of_the_region),
        TEST(test_regions_that_are_disabled_or_without_a_place_are_passed),
        TEST(test_malformed_regions_are_named),
        TEST(test_as_many_iommu_addresses_as_are_allowed),
        TEST(test_a_region_named_twice_is_told_twice),
        TEST(test_wrong_arguments_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
