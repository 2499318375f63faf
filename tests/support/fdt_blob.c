/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "fdt_blob.h"

#include <libfdt.h>
#include <piommu/error.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "fake_os.h"

static struct fake_os *os;

/* ---- Making blobs ---- */

void ok(int error)
{
    assert_int_equal(error, 0);
}

void put_bytes(void *blob, const char *name, const void *bytes, size_t size)
{
    ok(fdt_property(blob, name, bytes, (int)size));
}

void put_flag(void *blob, const char *name)
{
    put_bytes(blob, name, NULL, 0);
}

void put_cells(void *blob, const char *name, const uint32_t *cells, size_t count)
{
    uint8_t *bytes = malloc(4 * count + 1);

    assert_non_null(bytes);
    for (size_t i = 0; i < count; i++) {
        bytes[4 * i] = (uint8_t)(cells[i] >> 24);
        bytes[4 * i + 1] = (uint8_t)(cells[i] >> 16 & 0xff);
        bytes[4 * i + 2] = (uint8_t)(cells[i] >> 8 & 0xff);
        bytes[4 * i + 3] = (uint8_t)(cells[i] & 0xff);
    }
    put_bytes(blob, name, bytes, 4 * count);
    free(bytes);
}

void begin_node(void *blob, const char *name)
{
    ok(fdt_begin_node(blob, name));
}

void end_node(void *blob)
{
    ok(fdt_end_node(blob));
}

void *begin(void)
{
    void *blob = calloc(1, FDT_BLOB_SIZE);

    assert_non_null(blob);
    ok(fdt_create(blob, (int)FDT_BLOB_SIZE));
    ok(fdt_finish_reservemap(blob));
    begin_node(blob, "");
    CELLS(blob, "#address-cells", 2);
    CELLS(blob, "#size-cells", 2);
    return blob;
}

void *finish(void *blob)
{
    void *exact;
    size_t size;

    end_node(blob);
    ok(fdt_finish(blob));
    size = fdt_totalsize(blob);
    exact = malloc(size);
    assert_non_null(exact);
    memcpy(exact, blob, size);
    free(blob);
    return exact;
}

void begin_bridge(void *blob, const char *name)
{
    begin_node(blob, name);
    STRING(blob, "compatible", "pci-host-ecam-generic");
    STRING(blob, "device_type", "pci");
    CELLS(blob, "#address-cells", 3);
    CELLS(blob, "#size-cells", 2);
}

void begin_bus(void *blob, const char *name, uint32_t address_cells, uint32_t size_cells)
{
    begin_node(blob, name);
    STRING(blob, "compatible", "simple-bus");
    CELLS(blob, "#address-cells", address_cells);
    CELLS(blob, "#size-cells", size_cells);
    put_flag(blob, "ranges");
}

void put_pci_iommu(void *blob, const char *name, uint32_t phandle, uint32_t reg)
{
    begin_node(blob, name);
    STRING(blob, "compatible", "virtio,pci-iommu\0pci1af4,1057");
    CELLS(blob, "reg", reg, 0, 0, 0, 0);
    CELLS(blob, "#iommu-cells", 1);
    CELLS(blob, "phandle", phandle);
    end_node(blob);
}

void put_platform_iommu(void *blob, const char *name, uint32_t phandle, uint32_t cells,
                        const char *status)
{
    begin_node(blob, name);
    STRING(blob, "compatible", "vendor,ipmmu");
    CELLS(blob, "reg", 0, 0xe6740000, 0, 0x1000);
    CELLS(blob, "#iommu-cells", cells);
    CELLS(blob, "phandle", phandle);
    if (status != NULL) {
        put_bytes(blob, "status", status, strlen(status) + 1);
    }
    end_node(blob);
}

static void put_rich_reserved_memory(void *blob)
{
    begin_bus(blob, "reserved-memory", 2, 2);
    begin_node(blob, "a");
    CELLS(blob, "reg", 0, 0x70000000, 0, 0x100000);
    CELLS(blob, "iommu-addresses", 20, 0x70000000, 0x100000, 21, 0, 0x1000, 0, 0x1000);
    CELLS(blob, "phandle", 10);
    end_node(blob);
    begin_node(blob, "b");
    CELLS(blob, "iommu-addresses", 20, 0x1000, 0x1000, 20, 0x4000, 0x2000);
    CELLS(blob, "phandle", 11);
    end_node(blob);
    begin_node(blob, "c");
    CELLS(blob, "reg", 0, 0x71000000, 0, 0x100000, 0, 0x72000000, 0, 0x1000);
    CELLS(blob, "phandle", 12);
    end_node(blob);
    end_node(blob);
}

static void put_rich_bridge(void *blob)
{
    begin_bridge(blob, "pcie@0");
    CELLS(blob, "iommu-map", 0, 3, 0, 8, 0x10, 3, 9, 0xfff0);
    CELLS(blob, "iommu-map-mask", 0xfff8);
    CELLS(blob, "dma-ranges", 0x42000000, 0, 0x40000000, 0, 0x40000000, 0, 0x80000000, 0x01000000,
          0, 0, 0, 0, 0, 0x1000);
    put_flag(blob, "dma-noncoherent");
    put_pci_iommu(blob, "iommu@1,0", 3, 0x800);
    end_node(blob);
}

void *rich_blob(void)
{
    void *blob = begin();

    CELLS(blob, "interrupt-parent", 30);
    put_rich_reserved_memory(blob);
    begin_node(blob, "dev");
    CELLS(blob, "iommus", 1, 7, 2, 8, 9);
    CELLS(blob, "phandle", 21);
    end_node(blob);
    put_rich_bridge(blob);
    begin_node(blob, "bus");
    CELLS(blob, "#address-cells", 1);
    CELLS(blob, "#size-cells", 1);
    CELLS(blob, "ranges", 0, 0, 0xe0000000, 0x10000000, 0x20000000, 1, 0, 0x1000);
    CELLS(blob, "dma-ranges", 0, 0, 0, 0x80000000);
    put_flag(blob, "dma-coherent");
    begin_node(blob, "iommu@1");
    STRING(blob, "compatible", "vendor,soc-ipmmu\0vendor,ipmmu");
    CELLS(blob, "reg", 0x6740000, 0x1000, 0x20000000, 0x1000);
    CELLS(blob, "interrupts", 0, 198, 4, 0, 199, 4);
    CELLS(blob, "#iommu-cells", 1);
    CELLS(blob, "linux,phandle", 1);
    end_node(blob);
    begin_node(blob, "iommu@4");
    STRING(blob, "compatible", "vendor,ipmmu");
    CELLS(blob, "reg", 0x7740000, 0x1000);
    CELLS(blob, "renesas,ipmmu-main", 1, 5);
    CELLS(blob, "interrupts-extended", 30, 1, 2, 3, 31, 9);
    CELLS(blob, "#iommu-cells", 1);
    CELLS(blob, "phandle", 4);
    end_node(blob);
    begin_node(blob, "dma@5");
    CELLS(blob, "reg", 0x5000, 0x1000);
    CELLS(blob, "iommus", 4, 1, 4, 2);
    CELLS(blob, "memory-region", 10, 11, 12);
    CELLS(blob, "phandle", 20);
    end_node(blob);
    end_node(blob);
    put_platform_iommu(blob, "iommu@2", 2, 2, "okay");
    begin_node(blob, "gic");
    CELLS(blob, "#interrupt-cells", 3);
    CELLS(blob, "phandle", 30);
    end_node(blob);
    begin_node(blob, "pins");
    CELLS(blob, "#interrupt-cells", 1);
    CELLS(blob, "phandle", 31);
    end_node(blob);
    return finish(blob);
}

/* ---- Opening them ---- */

int fdt_setup(void **state)
{
    const struct fake_os_options options = {0};

    (void)state;
    os = fake_os_create(&options);
    return 0;
}

int fdt_teardown(void **state)
{
    (void)state;
    fake_os_destroy(os);
    os = NULL;
    return 0;
}

struct piommu_host fdt_host(void)
{
    return fake_os_host(os);
}

struct fake_os *fdt_os(void)
{
    return os;
}

struct piommu_fdt opened(const void *blob)
{
    struct piommu_fdt tree;

    ok(piommu_fdt_open(&tree, fdt_host(), blob, fdt_totalsize(blob)));
    return tree;
}

void shut(struct piommu_fdt *tree, void *blob)
{
    piommu_fdt_close(tree);
    free(blob);
}

int node_at(const void *blob, const char *path)
{
    int node = fdt_path_offset(blob, path);

    assert_true(node >= 0);
    return node;
}

void expect_bad(const struct piommu_fdt *tree, int error, int node, const char *property)
{
    assert_int_equal(error, -PIOMMU_EBADMSG);
    assert_int_equal(tree->bad_node, node);
    if (property == NULL) {
        assert_null(tree->bad_property);
        return;
    }
    assert_non_null(tree->bad_property);
    assert_string_equal(tree->bad_property, property);
    assert_int_equal(tree->bad_path[0], '/');
}

/* ---- Asking everything ---- */

void documented(int error)
{
    assert_true(error == 0 || error == -PIOMMU_ENOENT || error == -PIOMMU_EINVAL ||
                error == -PIOMMU_EBADMSG);
}

/* An error that blames the tree names a node and a property, and the node's path. */
static int named(const struct piommu_fdt *tree, int error)
{
    char path[PIOMMU_FDT_PATH_SIZE];

    documented(error);
    if (error == -PIOMMU_EBADMSG) {
        assert_true(tree->bad_node >= 0);
        assert_non_null(tree->bad_property);
        ok(piommu_fdt_path(tree, tree->bad_node, path, sizeof(path)));
        assert_string_equal(path, tree->bad_path);
    }
    return error;
}

static void check_range(const struct piommu_range *range)
{
    assert_true(range->first <= range->last);
}

static void check_id(const struct piommu_fdt *tree, const struct piommu_fdt_id *id)
{
    char path[PIOMMU_FDT_PATH_SIZE];

    assert_true(id->cell_count <= PIOMMU_FDT_MAX_ID_CELLS);
    assert_true(id->iommu != 0);
    ok(piommu_fdt_path(tree, id->node, path, sizeof(path)));
}

/* The parts of a node; each ends at its first error. Returns how many answers there were. */
static unsigned int ask_addresses(struct piommu_fdt *tree, int node)
{
    struct piommu_range range;
    struct piommu_fdt_interrupt interrupt;
    unsigned int i;
    unsigned int answers = 0;

    for (i = 0; named(tree, piommu_fdt_register(tree, node, i, &range)) == 0; i++) {
        assert_true(i < 64);
        check_range(&range);
    }
    answers += i;
    for (i = 0; named(tree, piommu_fdt_dma_window(tree, node, i, &range)) == 0; i++) {
        assert_true(i < 64);
        check_range(&range);
    }
    answers += i;
    for (i = 0; named(tree, piommu_fdt_interrupt(tree, node, i, &interrupt)) == 0; i++) {
        assert_true(i < 256);
        assert_in_range(interrupt.cell_count, 1, PIOMMU_FDT_MAX_INTERRUPT_CELLS);
    }
    return answers + i;
}

static void ask_ids(struct piommu_fdt *tree, int node)
{
    static const uint16_t rids[] = {0, 8, 9, 0x1234, 0xffff};
    struct piommu_fdt_id id;
    struct piommu_fdt_map map;

    for (unsigned int i = 0; named(tree, piommu_fdt_device_id(tree, node, i, &id)) == 0; i++) {
        assert_true(i < 256);
        check_id(tree, &id);
    }
    for (unsigned int i = 0; named(tree, piommu_fdt_map(tree, node, i, &map)) == 0; i++) {
        assert_true(i < FDT_BLOB_SIZE / 16);
        check_id(tree, &map.id);
        assert_true(map.count != 0 && map.first + (map.count - 1) >= map.first);
    }
    for (size_t i = 0; i < COUNT(rids); i++) {
        if (named(tree, piommu_fdt_pci_id(tree, node, rids[i], &id)) == 0) {
            check_id(tree, &id);
        }
    }
}

static void ask_regions(struct piommu_fdt *tree, int node)
{
    struct piommu_fdt_cursor cursor = {0};
    struct piommu_fdt_region region;

    for (unsigned int i = 0; named(tree, piommu_fdt_next_region(tree, node, &cursor, &region)) == 0;
         i++) {
        assert_true(i < 32 * 64);
        check_range(&region.iova);
        check_range(&region.physical);
        if (region.kind == PIOMMU_FDT_REGION_DIRECT) {
            assert_true(region.iova.first == region.physical.first);
        }
    }
}

static void ask_iommus(struct piommu_fdt *tree)
{
    static const char *const some[] = {"vendor,ipmmu", "virtio,pci-iommu", NULL};

    for (unsigned int way = 0; way < 2; way++) {
        struct piommu_fdt_iommu iommu = {.node = -1};
        int previous = -1;

        while (named(tree, piommu_fdt_next_iommu(tree, way == 0 ? NULL : some, previous, &iommu)) !=
               -PIOMMU_ENOENT) {
            assert_true(iommu.node > previous);
            previous = iommu.node;
        }
    }
}

static void ask_masters(struct piommu_fdt *tree)
{
    struct piommu_fdt_master master = {.node = -1};
    int previous = -1;
    int error;

    while ((error = named(tree, piommu_fdt_next_master(tree, previous, &master))) !=
           -PIOMMU_ENOENT) {
        assert_true(master.node > previous);
        previous = master.node;
        if (error == 0) {
            /* What was told of is whole. */
            struct piommu_fdt_cursor cursor = {0};
            struct piommu_fdt_region region;
            struct piommu_range window;
            struct piommu_fdt_id id;
            struct piommu_fdt_map map;

            for (uint32_t i = 0; i < master.id_count; i++) {
                ok(piommu_fdt_device_id(tree, master.node, i, &id));
            }
            for (uint32_t i = 0; i < master.map_count; i++) {
                ok(piommu_fdt_map(tree, master.node, i, &map));
            }
            for (uint32_t i = 0; i < master.window_count; i++) {
                ok(piommu_fdt_dma_window(tree, master.node, i, &window));
            }
            do {
                error = piommu_fdt_next_region(tree, master.node, &cursor, &region);
            } while (error == 0);
            assert_int_equal(error, -PIOMMU_ENOENT);
        }
    }
}

int ask_all(const void *blob, size_t size)
{
    struct piommu_fdt tree;
    int error = piommu_fdt_open(&tree, fdt_host(), blob, size);
    unsigned int nodes = 0;

    documented(error);
    if (error != 0) {
        assert_int_equal(error, -PIOMMU_EBADMSG);
        piommu_fdt_close(&tree);
        return error;
    }
    ask_iommus(&tree);
    ask_masters(&tree);
    for (int node = fdt_next_node(blob, -1, NULL); node >= 0 && nodes < 100;
         node = fdt_next_node(blob, node, NULL)) {
        struct piommu_fdt_id id;

        nodes++;
        ask_addresses(&tree, node);
        ask_ids(&tree, node);
        ask_regions(&tree, node);
        assert_int_equal(piommu_fdt_device_id(&tree, node + 1, 0, &id), -PIOMMU_EINVAL);
    }
    piommu_fdt_close(&tree);
    return 0;
}
