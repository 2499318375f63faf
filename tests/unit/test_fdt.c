/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* Device trees as a whole, their IOMMUs, and IDs: well-formed ones in any order, malformed ones. */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "fake_os.h"
#include "fdt_blob.h"

#include <libfdt.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <piommu/error.h>
#include <piommu/fdt.h>

static const char *const virtio[] = {"virtio,pci-iommu", "pci1af4,1057", NULL};
static const char *const ipmmu[] = {"vendor,soc-ipmmu", "vendor,ipmmu", NULL};

/* QEMU's virt machine: the IOMMU is slot 1 of the bridge, whose map has a hole there. */
static void *virt_blob(void)
{
    void *blob = begin();

    begin_bridge(blob, "pcie@10000000");
    CELLS(blob, "iommu-map", 0x0, 0x8003, 0x0, 0x8, 0x9, 0x8003, 0x9, 0xfff7);
    put_pci_iommu(blob, "virtio_iommu@1,0", 0x8003, 0x800);
    end_node(blob);
    begin_node(blob, "chosen");
    end_node(blob);
    return finish(blob);
}

static void expect_pci_id(struct piommu_fdt *tree, int bridge, uint16_t rid, uint32_t iommu,
                          uint32_t id)
{
    struct piommu_fdt_id found;

    memset(&found, 0x55, sizeof(found));
    ok(piommu_fdt_pci_id(tree, bridge, rid, &found));
    assert_int_equal(found.iommu, iommu);
    assert_int_equal(found.cell_count, 1);
    assert_int_equal(found.cells[0], id);
}

static void expect_no_pci_id(struct piommu_fdt *tree, int bridge, uint16_t rid)
{
    struct piommu_fdt_id found;

    assert_int_equal(piommu_fdt_pci_id(tree, bridge, rid, &found), -PIOMMU_ENOENT);
}

/* ---- Opening ---- */

static void test_open_checks_its_arguments(void **state)
{
    void *blob = virt_blob();
    size_t size = fdt_totalsize(blob);
    struct piommu_fdt tree;
    uint8_t *memory = malloc(size + 16);

    (void)state;
    assert_int_equal(piommu_fdt_open(NULL, fdt_host(), blob, size), -PIOMMU_EINVAL);
    assert_int_equal(piommu_fdt_open(&tree, fdt_host(), NULL, size), -PIOMMU_EINVAL);
    assert_non_null(memory);
    for (size_t offset = 1; offset < 8; offset++) {
        memcpy(memory + offset, blob, size);
        assert_int_equal(piommu_fdt_open(&tree, fdt_host(), memory + offset, size), -PIOMMU_EINVAL);
    }
    memset(memory, 0xee, size + 16);
    memcpy(memory, blob, size);
    ok(piommu_fdt_open(&tree, fdt_host(), memory, size + 16));
    piommu_fdt_close(&tree);
    memset(memory, 0, size);
    assert_int_equal(piommu_fdt_open(&tree, fdt_host(), memory, size), -PIOMMU_EBADMSG);
    assert_true(tree.bad_node < 0);
    free(memory);
    free(blob);
}

static void test_every_truncation_is_noticed(void **state)
{
    void *blob = virt_blob();
    size_t size = fdt_totalsize(blob);

    (void)state;
    for (size_t length = 0; length < size; length++) {
        struct piommu_fdt tree;
        void *cut = malloc(length + (length == 0));
        int error;

        assert_non_null(cut);
        memcpy(cut, blob, length);
        error = piommu_fdt_open(&tree, fdt_host(), cut, length);
        if (length == 0) {
            assert_true(error == -PIOMMU_EINVAL || error == -PIOMMU_EBADMSG);
        } else {
            assert_int_equal(error, -PIOMMU_EBADMSG);
            assert_true(tree.bad_node < 0);
        }
        free(cut);
    }
    free(blob);
}

/* ---- Finding IOMMUs ---- */

static void test_virt_machine_is_understood(void **state)
{
    void *blob = virt_blob();
    struct piommu_fdt tree = opened(blob);
    struct piommu_fdt_iommu iommu;
    int bridge = node_at(blob, "/pcie@10000000");

    (void)state;
    ok(piommu_fdt_next_iommu(&tree, virtio, -1, &iommu));
    assert_int_equal(iommu.node, node_at(blob, "/pcie@10000000/virtio_iommu@1,0"));
    assert_int_equal(iommu.phandle, 0x8003);
    assert_int_equal(iommu.id_cells, 1);
    assert_true(iommu.is_pci);
    assert_int_equal(iommu.host_bridge, bridge);
    assert_int_equal(iommu.pci_bdf, 0x0008);
    assert_int_equal(piommu_fdt_next_iommu(&tree, virtio, iommu.node, &iommu), -PIOMMU_ENOENT);
    assert_int_equal(piommu_fdt_next_iommu(&tree, ipmmu, -1, &iommu), -PIOMMU_ENOENT);
    expect_pci_id(&tree, bridge, 0, 0x8003, 0);
    expect_pci_id(&tree, bridge, 7, 0x8003, 7);
    expect_no_pci_id(&tree, bridge, 8);
    expect_pci_id(&tree, bridge, 9, 0x8003, 9);
    expect_pci_id(&tree, bridge, 0x100, 0x8003, 0x100);
    expect_pci_id(&tree, bridge, 0xffff, 0x8003, 0xffff);
    shut(&tree, blob);
}

static void test_wrong_arguments_are_refused(void **state)
{
    void *blob = virt_blob();
    struct piommu_fdt tree = opened(blob);
    struct piommu_fdt_iommu iommu;
    struct piommu_fdt_id id;
    static const int offsets[] = {-2, -1000,  1,          2,          3,
                                  5,  100000, 0x7fffffff, 0x7ffffffc, -0x7fffffff};

    (void)state;
    assert_int_equal(piommu_fdt_next_iommu(NULL, virtio, -1, &iommu), -PIOMMU_EINVAL);
    assert_int_equal(piommu_fdt_next_iommu(&tree, virtio, -1, NULL), -PIOMMU_EINVAL);
    assert_int_equal(piommu_fdt_pci_id(NULL, 0, 0, &id), -PIOMMU_EINVAL);
    assert_int_equal(piommu_fdt_pci_id(&tree, 0, 0, NULL), -PIOMMU_EINVAL);
    assert_int_equal(piommu_fdt_device_id(NULL, 0, 0, &id), -PIOMMU_EINVAL);
    assert_int_equal(piommu_fdt_device_id(&tree, 0, 0, NULL), -PIOMMU_EINVAL);
    for (size_t i = 0; i < COUNT(offsets); i++) {
        if (offsets[i] >= 0) {
            assert_int_equal(piommu_fdt_next_iommu(&tree, virtio, offsets[i], &iommu),
                             -PIOMMU_EINVAL);
        }
        assert_int_equal(piommu_fdt_pci_id(&tree, offsets[i], 0, &id), -PIOMMU_EINVAL);
        assert_int_equal(piommu_fdt_device_id(&tree, offsets[i], 0, &id), -PIOMMU_EINVAL);
    }
    assert_int_equal(piommu_fdt_pci_id(&tree, -1, 0, &id), -PIOMMU_EINVAL);
    assert_int_equal(piommu_fdt_device_id(&tree, -1, 0, &id), -PIOMMU_EINVAL);
    shut(&tree, blob);
}

static void test_iommus_are_found_in_order_and_disabled_ones_not(void **state)
{
    void *blob = begin();
    struct piommu_fdt tree;
    struct piommu_fdt_iommu iommu;
    static const char *const paths[] = {"/soc/iommu@1", "/soc/bus/iommu@3", "/iommu@5", "/iommu@6"};
    int previous = -1;

    (void)state;
    begin_bus(blob, "soc", 2, 2);
    put_platform_iommu(blob, "iommu@1", 1, 1, NULL);
    put_platform_iommu(blob, "iommu@2", 2, 1, "disabled");
    begin_bus(blob, "bus", 2, 2);
    put_platform_iommu(blob, "iommu@3", 3, 2, "okay");
    end_node(blob);
    put_platform_iommu(blob, "iommu@4", 4, 1, "fail-broken");
    end_node(blob);
    put_platform_iommu(blob, "iommu@5", 5, 0, "ok");
    begin_node(blob, "iommu@6");
    put_bytes(blob, "compatible", "vendor,soc-ipmmu\0vendor,other", 30);
    CELLS(blob, "#iommu-cells", 1);
    end_node(blob);
    begin_node(blob, "iommu@7");
    put_bytes(blob, "compatible", "vendor,ipmmu2\0other,vendor,ipmmu", 33);
    CELLS(blob, "#iommu-cells", 1);
    end_node(blob);
    blob = finish(blob);
    tree = opened(blob);
    for (size_t i = 0; i < COUNT(paths); i++) {
        ok(piommu_fdt_next_iommu(&tree, ipmmu, previous, &iommu));
        assert_int_equal(iommu.node, node_at(blob, paths[i]));
        assert_false(iommu.is_pci);
        assert_int_equal(iommu.phandle, i == 0 ? 1 : i == 1 ? 3 : i == 2 ? 5 : 0);
        assert_int_equal(iommu.id_cells, i == 1 ? 2 : i == 2 ? 0 : 1);
        previous = iommu.node;
    }
    assert_int_equal(piommu_fdt_next_iommu(&tree, ipmmu, previous, &iommu), -PIOMMU_ENOENT);
    shut(&tree, blob);
}

static void test_malformed_iommus_are_named_and_passed(void **state)
{
    void *blob = begin();
    struct piommu_fdt tree;
    struct piommu_fdt_iommu iommu;

    (void)state;
    begin_node(blob, "iommu@1");
    put_bytes(blob, "compatible", "vendor,ipmmu", 13);
    end_node(blob); /* no #iommu-cells */
    begin_node(blob, "iommu@2");
    put_bytes(blob, "compatible", "vendor,ipmmu", 13);
    CELLS(blob, "#iommu-cells", 1, 2);
    end_node(blob);
    put_platform_iommu(blob, "iommu@3", 3, 5, NULL);
    put_platform_iommu(blob, "iommu@4", 4, 0xffffffff, NULL);
    begin_node(blob, "iommu@5");
    put_bytes(blob, "compatible", "vendor,ipmmu", 13);
    put_bytes(blob, "#iommu-cells", "abc", 3);
    end_node(blob);
    put_platform_iommu(blob, "iommu@6", 6, 4, NULL);
    blob = finish(blob);
    tree = opened(blob);
    iommu.node = -1;
    for (unsigned int i = 1; i <= 5; i++) {
        char path[] = "/iommu@0";

        path[7] = (char)('0' + i);
        expect_bad(&tree, piommu_fdt_next_iommu(&tree, ipmmu, iommu.node, &iommu),
                   node_at(blob, path), "#iommu-cells");
        assert_int_equal(iommu.node, node_at(blob, path));
    }
    ok(piommu_fdt_next_iommu(&tree, ipmmu, iommu.node, &iommu));
    assert_int_equal(iommu.phandle, 6);
    assert_int_equal(iommu.id_cells, 4);
    shut(&tree, blob);
}

static void test_malformed_pci_iommus_are_named(void **state)
{
    (void)state;
    for (unsigned int way = 0; way < 3; way++) {
        void *blob = begin();
        struct piommu_fdt tree;
        struct piommu_fdt_iommu iommu;
        int error;

        begin_bridge(blob, "pcie@0");
        begin_node(blob, "iommu@1,0");
        put_bytes(blob, "compatible", "virtio,pci-iommu", 17);
        CELLS(blob, "#iommu-cells", 1);
        if (way == 1) {
            CELLS(blob, "reg", 0x800, 0);
        } else if (way == 2) {
            put_bytes(blob, "reg", "ab", 2);
        }
        end_node(blob);
        end_node(blob);
        blob = finish(blob);
        tree = opened(blob);
        error = piommu_fdt_next_iommu(&tree, virtio, -1, &iommu);
        if (error != 0) {
            expect_bad(&tree, error, node_at(blob, "/pcie@0/iommu@1,0"), "reg");
            assert_int_equal(iommu.node, tree.bad_node);
        } else {
            assert_int_equal(way, 1); /* the first cell is all that is needed */
        }
        shut(&tree, blob);
    }
}

static void test_pci_addresses_are_decoded(void **state)
{
    static const struct {
        uint32_t reg;
        uint16_t bdf;
    } cases[] = {
        {0x00000800, 0x0008},
        {0x0000ff00, 0x00ff},
        {0x00ff0000, 0xff00},
        {0x00123400, 0x1234},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        void *blob = begin();
        struct piommu_fdt tree;
        struct piommu_fdt_iommu iommu;

        begin_bridge(blob, "pcie@0");
        put_pci_iommu(blob, "iommu@1,0", 1, cases[i].reg);
        end_node(blob);
        blob = finish(blob);
        tree = opened(blob);
        ok(piommu_fdt_next_iommu(&tree, virtio, -1, &iommu));
        assert_true(iommu.is_pci);
        assert_int_equal(iommu.pci_bdf, cases[i].bdf);
        shut(&tree, blob);
    }
}

/* ---- iommu-map ---- */

struct map_blob {
    void *blob;
    struct piommu_fdt tree;
    int bridge;
};

/* The bridge comes first, the IOMMUs (phandles 1 and 2) behind it. */
static struct map_blob map_blob(const uint32_t *map, size_t count, const uint32_t *mask,
                                size_t mask_count)
{
    struct map_blob made;
    void *blob = begin();

    begin_bridge(blob, "pcie@0");
    if (map != NULL) {
        put_cells(blob, "iommu-map", map, count);
    }
    if (mask != NULL) {
        put_cells(blob, "iommu-map-mask", mask, mask_count);
    }
    end_node(blob);
    put_platform_iommu(blob, "iommu@1", 1, 1, NULL);
    put_platform_iommu(blob, "iommu@2", 2, 1, NULL);
    made.blob = finish(blob);
    made.tree = opened(made.blob);
    made.bridge = node_at(made.blob, "/pcie@0");
    return made;
}

static void test_maps_have_entries_and_holes(void **state)
{
    const uint32_t map[] = {0x100, 1, 0x1000, 0x10, 0x200, 2, 0xfffffff0, 0x10, 0x8000, 1, 0, 1};
    struct map_blob made = map_blob(map, COUNT(map), NULL, 0);

    (void)state;
    expect_no_pci_id(&made.tree, made.bridge, 0);
    expect_no_pci_id(&made.tree, made.bridge, 0xff);
    expect_pci_id(&made.tree, made.bridge, 0x100, 1, 0x1000);
    expect_pci_id(&made.tree, made.bridge, 0x10f, 1, 0x100f);
    expect_no_pci_id(&made.tree, made.bridge, 0x110);
    expect_pci_id(&made.tree, made.bridge, 0x200, 2, 0xfffffff0);
    expect_pci_id(&made.tree, made.bridge, 0x20f, 2, 0xffffffff);
    expect_pci_id(&made.tree, made.bridge, 0x8000, 1, 0);
    expect_no_pci_id(&made.tree, made.bridge, 0x8001);
    expect_no_pci_id(&made.tree, made.bridge, 0xffff);
    shut(&made.tree, made.blob);
}

static void test_masks_apply_before_the_lookup(void **state)
{
    const uint32_t map[] = {0x100, 1, 0x50, 0x100};
    const uint32_t mask[] = {0xfff8};
    const uint32_t nothing[] = {0};
    struct map_blob made = map_blob(map, COUNT(map), mask, 1);
    const uint32_t all[] = {0, 2, 7, 1};

    (void)state;
    expect_pci_id(&made.tree, made.bridge, 0x100, 1, 0x50);
    expect_pci_id(&made.tree, made.bridge, 0x107, 1, 0x50);
    expect_pci_id(&made.tree, made.bridge, 0x10f, 1, 0x58);
    expect_no_pci_id(&made.tree, made.bridge, 0xff);
    shut(&made.tree, made.blob);
    made = map_blob(all, COUNT(all), nothing, 1);
    expect_pci_id(&made.tree, made.bridge, 0xffff, 2, 7);
    expect_pci_id(&made.tree, made.bridge, 0, 2, 7);
    shut(&made.tree, made.blob);
}

static void test_bridges_without_a_map_are_behind_nothing(void **state)
{
    struct map_blob made = map_blob(NULL, 0, NULL, 0);

    (void)state;
    expect_no_pci_id(&made.tree, made.bridge, 0);
    expect_no_pci_id(&made.tree, made.bridge, 0xffff);
    shut(&made.tree, made.blob);
}

static void expect_bad_map(const uint32_t *map, size_t count, const uint32_t *mask,
                           size_t mask_count, uint16_t rid, const char *property)
{
    struct map_blob made = map_blob(map, count, mask, mask_count);
    struct piommu_fdt_id id;

    expect_bad(&made.tree, piommu_fdt_pci_id(&made.tree, made.bridge, rid, &id), made.bridge,
               property);
    shut(&made.tree, made.blob);
}

static void test_malformed_maps_are_named(void **state)
{
    const uint32_t good[] = {0, 1, 0, 0x10000};
    const uint32_t short_entry[] = {0, 1, 0};
    const uint32_t long_entry[] = {0, 1, 0, 0x10000, 5};
    const uint32_t nowhere[] = {0, 99, 0, 0x10000};
    const uint32_t zero_phandle[] = {0, 0, 0, 0x10000};
    const uint32_t all_ones_phandle[] = {0, 0xffffffff, 0, 0x10000};
    const uint32_t id_overflow[] = {0, 1, 0xfffffff0, 0x10000};
    const uint32_t two_cells[] = {0xffff, 0};

    (void)state;
    expect_bad_map(short_entry, COUNT(short_entry), NULL, 0, 0, "iommu-map");
    expect_bad_map(long_entry, COUNT(long_entry), NULL, 0, 0, "iommu-map");
    expect_bad_map(nowhere, COUNT(nowhere), NULL, 0, 5, "iommu-map");
    expect_bad_map(zero_phandle, COUNT(zero_phandle), NULL, 0, 5, "iommu-map");
    expect_bad_map(all_ones_phandle, COUNT(all_ones_phandle), NULL, 0, 5, "iommu-map");
    expect_bad_map(id_overflow, COUNT(id_overflow), NULL, 0, 0x10, "iommu-map");
    expect_bad_map(id_overflow, COUNT(id_overflow), NULL, 0, 0xffff, "iommu-map");
    expect_bad_map(good, COUNT(good), two_cells, 2, 0, "iommu-map-mask");
}

static void test_odd_entries_match_nothing_wrong(void **state)
{
    /* No requester IDs; more of them than there are; beginning where there are none. */
    const uint32_t empty[] = {5, 1, 0, 0};
    const uint32_t huge[] = {0xfff0, 1, 0, 0xffffffff};
    const uint32_t beyond[] = {0x10000, 1, 0, 0x10};
    const uint32_t wrapping[] = {0xfffffff0, 1, 0, 0x20};
    struct map_blob made;
    struct piommu_fdt_id id;
    int error;

    (void)state;
    made = map_blob(empty, COUNT(empty), NULL, 0);
    error = piommu_fdt_pci_id(&made.tree, made.bridge, 5, &id);
    assert_true(error == -PIOMMU_ENOENT || error == -PIOMMU_EBADMSG);
    shut(&made.tree, made.blob);
    made = map_blob(huge, COUNT(huge), NULL, 0);
    error = piommu_fdt_pci_id(&made.tree, made.bridge, 5, &id);
    assert_true(error == -PIOMMU_ENOENT || error == -PIOMMU_EBADMSG);
    error = piommu_fdt_pci_id(&made.tree, made.bridge, 0xfffe, &id);
    assert_true((error == 0 && id.cells[0] == 0xe) || error == -PIOMMU_EBADMSG);
    shut(&made.tree, made.blob);
    made = map_blob(beyond, COUNT(beyond), NULL, 0);
    error = piommu_fdt_pci_id(&made.tree, made.bridge, 0, &id);
    assert_true(error == -PIOMMU_ENOENT || error == -PIOMMU_EBADMSG);
    shut(&made.tree, made.blob);
    made = map_blob(wrapping, COUNT(wrapping), NULL, 0);
    error = piommu_fdt_pci_id(&made.tree, made.bridge, 0, &id);
    assert_true(error == -PIOMMU_ENOENT || error == -PIOMMU_EBADMSG);
    shut(&made.tree, made.blob);
}

static void test_maps_to_iommus_of_other_cell_counts_are_not_misread(void **state)
{
    (void)state;
    for (uint32_t cells = 0; cells < 7; cells++) {
        void *blob = begin();
        struct piommu_fdt tree;
        struct piommu_fdt_id id;
        int error;

        begin_bridge(blob, "pcie@0");
        CELLS(blob, "iommu-map", 0, 1, 0x40, 0x10000);
        end_node(blob);
        put_platform_iommu(blob, "iommu@1", 1, cells, NULL);
        blob = finish(blob);
        tree = opened(blob);
        error = piommu_fdt_pci_id(&tree, node_at(blob, "/pcie@0"), 3, &id);
        if (cells == 1) {
            ok(error);
            assert_int_equal(id.cells[0], 0x43);
        } else if (error == 0) {
            /* A reader may take the one cell that there is for the first of the specifier. */
            assert_in_range(cells, 2, 4);
            assert_int_equal(id.cells[0], 0x43);
        } else {
            assert_int_equal(error, -PIOMMU_EBADMSG);
        }
        shut(&tree, blob);
    }
}

/* ---- iommus ---- */

static void test_devices_may_have_many_ids_before_and_behind_their_iommus(void **state)
{
    static const char *const paths[] = {"/device@0", "/device@9"};
    void *blob = begin();
    struct piommu_fdt tree;
    struct piommu_fdt_id id;

    (void)state;
    begin_node(blob, "device@0");
    CELLS(blob, "iommus", 11, 0x21, 10, 14, 1, 2, 3, 4, 12, 0x31, 0x32, 11, 0x22);
    end_node(blob);
    put_platform_iommu(blob, "iommu@0", 10, 0, NULL);
    put_platform_iommu(blob, "iommu@1", 11, 1, NULL);
    put_platform_iommu(blob, "iommu@2", 12, 2, NULL);
    put_platform_iommu(blob, "iommu@4", 14, 4, NULL);
    begin_node(blob, "device@9");
    CELLS(blob, "iommus", 11, 0x21, 10, 14, 1, 2, 3, 4, 12, 0x31, 0x32, 11, 0x22);
    end_node(blob);
    begin_node(blob, "free");
    end_node(blob);
    blob = finish(blob);
    tree = opened(blob);
    for (size_t i = 0; i < COUNT(paths); i++) {
        int node = node_at(blob, paths[i]);

        ok(piommu_fdt_device_id(&tree, node, 0, &id));
        assert_int_equal(id.iommu, 11);
        assert_int_equal(id.cell_count, 1);
        assert_int_equal(id.cells[0], 0x21);
        ok(piommu_fdt_device_id(&tree, node, 1, &id));
        assert_int_equal(id.iommu, 10);
        assert_int_equal(id.cell_count, 0);
        ok(piommu_fdt_device_id(&tree, node, 2, &id));
        assert_int_equal(id.iommu, 14);
        assert_int_equal(id.cell_count, 4);
        for (uint32_t cell = 0; cell < 4; cell++) {
            assert_int_equal(id.cells[cell], cell + 1);
        }
        ok(piommu_fdt_device_id(&tree, node, 3, &id));
        assert_int_equal(id.cells[1], 0x32);
        ok(piommu_fdt_device_id(&tree, node, 4, &id));
        assert_int_equal(id.cells[0], 0x22);
        assert_int_equal(piommu_fdt_device_id(&tree, node, 5, &id), -PIOMMU_ENOENT);
        assert_int_equal(piommu_fdt_device_id(&tree, node, 0xffffffff, &id), -PIOMMU_ENOENT);
    }
    assert_int_equal(piommu_fdt_device_id(&tree, node_at(blob, "/free"), 0, &id), -PIOMMU_ENOENT);
    shut(&tree, blob);
}

static void expect_bad_iommus(uint32_t cells, const uint32_t *iommus, size_t count,
                              unsigned int index, bool blame_device)
{
    void *blob = begin();
    struct piommu_fdt tree;
    struct piommu_fdt_id id;
    int error;

    begin_node(blob, "device@0");
    put_cells(blob, "iommus", iommus, count);
    end_node(blob);
    put_platform_iommu(blob, "iommu@1", 1, cells, NULL);
    begin_node(blob, "nothing");
    CELLS(blob, "phandle", 2);
    end_node(blob);
    blob = finish(blob);
    tree = opened(blob);
    error = piommu_fdt_device_id(&tree, node_at(blob, "/device@0"), index, &id);
    if (blame_device) {
        expect_bad(&tree, error, node_at(blob, "/device@0"), "iommus");
    } else {
        assert_int_equal(error, -PIOMMU_EBADMSG);
        assert_true(tree.bad_node >= 0);
        assert_non_null(tree.bad_property);
    }
    shut(&tree, blob);
}

static void test_malformed_iommus_properties_are_named(void **state)
{
    const uint32_t good[] = {1, 7};
    const uint32_t five[] = {1, 1, 2, 3, 4, 5};
    const uint32_t cut[] = {1, 7, 1};
    const uint32_t nowhere[] = {99, 7};
    const uint32_t zero[] = {0, 7};
    const uint32_t ones[] = {0xffffffff, 7};
    const uint32_t no_iommu[] = {2, 7};
    void *blob = begin();
    struct piommu_fdt tree;
    struct piommu_fdt_id id;

    (void)state;
    expect_bad_iommus(5, five, COUNT(five), 0, false);
    expect_bad_iommus(0xffffffff, good, COUNT(good), 0, false);
    expect_bad_iommus(0x40000000, good, COUNT(good), 0, false);
    expect_bad_iommus(2, good, COUNT(good), 0, true);
    expect_bad_iommus(1, cut, COUNT(cut), 1, true);
    expect_bad_iommus(1, nowhere, COUNT(nowhere), 0, true);
    expect_bad_iommus(1, zero, COUNT(zero), 0, true);
    expect_bad_iommus(1, ones, COUNT(ones), 0, true);
    expect_bad_iommus(1, no_iommu, COUNT(no_iommu), 0, false);
    begin_node(blob, "device@0");
    put_bytes(blob, "iommus", "abcdefg", 7);
    end_node(blob);
    blob = finish(blob);
    tree = opened(blob);
    expect_bad(&tree, piommu_fdt_device_id(&tree, node_at(blob, "/device@0"), 0, &id),
               node_at(blob, "/device@0"), "iommus");
    shut(&tree, blob);
}

static void test_an_empty_iommus_property_is_no_iommu(void **state)
{
    void *blob = begin();
    struct piommu_fdt tree;
    struct piommu_fdt_id id;
    int error;

    (void)state;
    begin_node(blob, "device@0");
    ok(fdt_property(blob, "iommus", NULL, 0));
    end_node(blob);
    blob = finish(blob);
    tree = opened(blob);
    error = piommu_fdt_device_id(&tree, node_at(blob, "/device@0"), 0, &id);
    assert_true(error == -PIOMMU_ENOENT || error == -PIOMMU_EBADMSG);
    shut(&tree, blob);
}

/* Great depth is refused, where it begins; and neither depth nor width needs more stack. */
static void test_deep_trees_are_refused_and_wide_ones_walked(void **state)
{
    static const unsigned int depths[] = {1, 63, 64, 65, 5000};

    (void)state;
    for (size_t i = 0; i < COUNT(depths); i++) {
        void *blob = calloc(1, 1 << 20);
        struct piommu_fdt tree;
        struct piommu_fdt_iommu iommu;
        int error;

        assert_non_null(blob);
        ok(fdt_create(blob, 1 << 20));
        ok(fdt_finish_reservemap(blob));
        begin_node(blob, "");
        CELLS(blob, "#size-cells", 2);
        for (unsigned int depth = 1; depth < depths[i]; depth++) {
            begin_bus(blob, "n", 2, 2);
        }
        put_platform_iommu(blob, "iommu", 1, 1, NULL);
        for (unsigned int depth = 1; depth < depths[i]; depth++) {
            end_node(blob);
        }
        for (unsigned int wide = 0; wide < 5000; wide++) {
            begin_node(blob, "w");
            end_node(blob);
        }
        end_node(blob);
        ok(fdt_finish(blob));
        error = piommu_fdt_open(&tree, fdt_host(), blob, 1 << 20);
        if (depths[i] <= 64) {
            ok(error);
            ok(piommu_fdt_next_iommu(&tree, ipmmu, -1, &iommu));
            assert_int_equal(iommu.phandle, 1);
            assert_int_equal(iommu.register_count, 1);
        } else {
            assert_int_equal(error, -PIOMMU_EBADMSG);
            assert_int_equal(strncmp(tree.bad_path, "/n/n/n", 6), 0);
            assert_null(tree.bad_property);
        }
        shut(&tree, blob);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_open_checks_its_arguments, fdt_setup, fdt_teardown),
        cmocka_unit_test_setup_teardown(test_every_truncation_is_noticed, fdt_setup, fdt_teardown),
        cmocka_unit_test_setup_teardown(test_virt_machine_is_understood, fdt_setup, fdt_teardown),
        cmocka_unit_test_setup_teardown(test_wrong_arguments_are_refused, fdt_setup, fdt_teardown),
        cmocka_unit_test_setup_teardown(test_iommus_are_found_in_order_and_disabled_ones_not,
                                        fdt_setup, fdt_teardown),
        cmocka_unit_test_setup_teardown(test_malformed_iommus_are_named_and_passed, fdt_setup,
                                        fdt_teardown),
        cmocka_unit_test_setup_teardown(test_malformed_pci_iommus_are_named, fdt_setup,
                                        fdt_teardown),
        cmocka_unit_test_setup_teardown(test_pci_addresses_are_decoded, fdt_setup, fdt_teardown),
        cmocka_unit_test_setup_teardown(test_maps_have_entries_and_holes, fdt_setup, fdt_teardown),
        cmocka_unit_test_setup_teardown(test_masks_apply_before_the_lookup, fdt_setup,
                                        fdt_teardown),
        cmocka_unit_test_setup_teardown(test_bridges_without_a_map_are_behind_nothing, fdt_setup,
                                        fdt_teardown),
        cmocka_unit_test_setup_teardown(test_malformed_maps_are_named, fdt_setup, fdt_teardown),
        cmocka_unit_test_setup_teardown(test_odd_entries_match_nothing_wrong, fdt_setup,
                                        fdt_teardown),
        cmocka_unit_test_setup_teardown(test_maps_to_iommus_of_other_cell_counts_are_not_misread,
                                        fdt_setup, fdt_teardown),
        cmocka_unit_test_setup_teardown(
            test_devices_may_have_many_ids_before_and_behind_their_iommus, fdt_setup, fdt_teardown),
        cmocka_unit_test_setup_teardown(test_malformed_iommus_properties_are_named, fdt_setup,
                                        fdt_teardown),
        cmocka_unit_test_setup_teardown(test_an_empty_iommus_property_is_no_iommu, fdt_setup,
                                        fdt_teardown),
        cmocka_unit_test_setup_teardown(test_deep_trees_are_refused_and_wide_ones_walked, fdt_setup,
                                        fdt_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
