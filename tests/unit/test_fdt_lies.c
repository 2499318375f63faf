/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Device trees that lie: cut properties, cut and flipped blobs, circles, numbers that are too
 * large, trees built to take long. And hosts without memory.
 */

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

/* ---- Properties cut, each at each length ---- */

/* The blob with one property of one node made shorter. */
static void *with_cut_property(const void *blob, int node, const char *name, int length)
{
    int size = (int)fdt_totalsize(blob) + 64;
    void *copy = malloc((size_t)size);
    uint8_t value[256];
    int old;
    const void *bytes = fdt_getprop(blob, node, name, &old);

    assert_non_null(copy);
    assert_non_null(bytes);
    assert_in_range(length, 0, sizeof(value));
    memcpy(value, bytes, (size_t)length);
    ok(fdt_open_into(blob, copy, size));
    ok(fdt_setprop(copy, node, name, value, length));
    ok(fdt_pack(copy));
    return copy;
}

/* Whether the tree as a whole gives an error that names this node and property. */
static bool is_named(const void *blob, const char *path, const char *name)
{
    struct piommu_fdt tree;
    struct piommu_fdt_iommu iommu = {.node = -1};
    struct piommu_fdt_master master = {.node = -1};
    int error = piommu_fdt_open(&tree, fdt_host(), blob, fdt_totalsize(blob));
    bool named = error != 0 && tree.bad_property != NULL && strcmp(tree.bad_property, name) == 0 &&
                 strcmp(tree.bad_path, path) == 0;

    while (error == 0 || error == -PIOMMU_EBADMSG) {
        error = piommu_fdt_next_iommu(&tree, NULL, iommu.node, &iommu);
        named = named || (error == -PIOMMU_EBADMSG && strcmp(tree.bad_property, name) == 0 &&
                          strcmp(tree.bad_path, path) == 0);
    }
    error = 0;
    while (error == 0 || error == -PIOMMU_EBADMSG) {
        error = piommu_fdt_next_master(&tree, master.node, &master);
        named = named || (error == -PIOMMU_EBADMSG && strcmp(tree.bad_property, name) == 0 &&
                          strcmp(tree.bad_path, path) == 0);
    }
    piommu_fdt_close(&tree);
    return named;
}

/*
 * Lengths that are no multiple of a cell are always noticed, where the property is read at all:
 * those of strings may be cut, and the devices' reg is for whoever wants to know.
 */
static bool must_be_noticed(const char *path, const char *name, int length)
{
    static const char *const cells[] = {
        "#iommu-cells",    "iommus",        "iommu-map",           "iommu-map-mask", "phandle",
        "linux,phandle",   "interrupts",    "interrupts-extended", "ranges",         "dma-ranges",
        "iommu-addresses", "memory-region", "renesas,ipmmu-main"};

    if (length % 4 == 0) {
        return false;
    }
    for (size_t i = 0; i < COUNT(cells); i++) {
        if (strcmp(name, cells[i]) == 0) {
            return true;
        }
    }
    return strcmp(name, "reg") == 0 && strcmp(path, "/bus/dma@5") != 0 &&
           strcmp(path, "/pcie@0/iommu@1,0") != 0;
}

static void test_each_property_cut_at_each_length_is_named_or_harmless(void **state)
{
    void *blob = rich_blob();
    unsigned int cuts = 0;
    unsigned int noticed = 0;

    (void)state;
    for (int node = fdt_next_node(blob, -1, NULL); node >= 0;
         node = fdt_next_node(blob, node, NULL)) {
        int at;
        char path[256];

        ok(fdt_get_path(blob, node, path, sizeof(path)));
        fdt_for_each_property_offset(at, blob, node)
        {
            const char *name;
            int length;

            assert_non_null(fdt_getprop_by_offset(blob, at, &name, &length));
            for (int cut = 0; cut < length; cut++) {
                void *copy = with_cut_property(blob, node, name, cut);
                bool named = is_named(copy, path, name);

                if (!named && must_be_noticed(path, name, cut)) {
                    fail_msg("%s: %s of %d bytes goes unnoticed", path, name, cut);
                }
                ask_all(copy, fdt_totalsize(copy));
                free(copy);
                cuts++;
                noticed += named;
            }
        }
    }
    assert_true(cuts > 600);
    assert_true(noticed > 400);
    free(blob);
}

/* ---- Phandles ---- */

static void test_each_phandle_that_leads_elsewhere_is_named(void **state)
{
    static const struct {
        const char *path;
        const char *name;
        int cell;
    } phandles[] = {
        {"/dev", "iommus", 0},
        {"/dev", "iommus", 2},
        {"/pcie@0", "iommu-map", 1},
        {"/pcie@0", "iommu-map", 5},
        {"/bus/dma@5", "iommus", 0},
        {"/bus/dma@5", "iommus", 2},
        {"/bus/dma@5", "memory-region", 0},
        {"/bus/dma@5", "memory-region", 1},
        {"/bus/dma@5", "memory-region", 2},
        {"/reserved-memory/a", "iommu-addresses", 0},
        {"/reserved-memory/b", "iommu-addresses", 0},
        {"/bus/iommu@4", "renesas,ipmmu-main", 0},
        {"/bus/iommu@4", "interrupts-extended", 0},
    };
    /* Impossible ones, and such as nobody has. */
    static const uint32_t wrong[] = {0, 0xffffffff, 77, 0x80000000};

    (void)state;
    for (size_t i = 0; i < COUNT(phandles); i++) {
        for (size_t way = 0; way < COUNT(wrong); way++) {
            void *blob = rich_blob();
            int length;
            fdt32_t *cells =
                fdt_getprop_w(blob, node_at(blob, phandles[i].path), phandles[i].name, &length);

            assert_non_null(cells);
            assert_true(length >= 4 * (phandles[i].cell + 1));
            cells[phandles[i].cell] = cpu_to_fdt32(wrong[way]);
            if (!is_named(blob, phandles[i].path, phandles[i].name)) {
                fail_msg("%s: %s, cell %d: phandle %u is taken", phandles[i].path, phandles[i].name,
                         phandles[i].cell, wrong[way]);
            }
            free(blob);
        }
    }
}

static void expect_refused(void *blob, const char *path, const char *property)
{
    struct piommu_fdt tree;

    blob = finish(blob);
    assert_int_equal(piommu_fdt_open(&tree, fdt_host(), blob, fdt_totalsize(blob)),
                     -PIOMMU_EBADMSG);
    assert_string_equal(tree.bad_path, path);
    assert_int_equal(tree.bad_node, node_at(blob, path));
    assert_string_equal(tree.bad_property, property);
    /* Nothing is held, and closing does no harm, nor does asking. */
    assert_int_equal(fake_os_bytes_outstanding(fdt_os()), 0);
    piommu_fdt_close(&tree);
    assert_int_equal(piommu_fdt_next_iommu(&tree, NULL, -1, &(struct piommu_fdt_iommu){0}),
                     -PIOMMU_ENOENT);
    assert_string_equal(tree.bad_path, path);
    free(blob);
}

static void test_phandles_that_are_malformed_or_not_unique_are_refused(void **state)
{
    static const uint32_t impossible[] = {0, 0xffffffff};
    void *blob;

    (void)state;
    for (size_t i = 0; i < COUNT(impossible); i++) {
        blob = begin();
        begin_node(blob, "a");
        CELLS(blob, "phandle", impossible[i]);
        end_node(blob);
        expect_refused(blob, "/a", "phandle");
    }
    blob = begin();
    begin_node(blob, "a");
    CELLS(blob, "phandle", 5, 6);
    end_node(blob);
    expect_refused(blob, "/a", "phandle");
    blob = begin();
    for (uint32_t i = 0; i < 40; i++) {
        begin_node(blob, "n");
        CELLS(blob, "phandle", i * 7 % 39 + 1);
        end_node(blob);
    }
    expect_refused(blob, "/n", "phandle");
    blob = begin();
    begin_node(blob, "a");
    CELLS(blob, "phandle", 5);
    CELLS(blob, "linux,phandle", 6);
    end_node(blob);
    expect_refused(blob, "/a", "linux,phandle");
}

static void test_both_names_of_a_phandle_may_be_there(void **state)
{
    void *blob = begin();
    struct piommu_fdt tree;
    struct piommu_fdt_iommu iommu;

    (void)state;
    begin_node(blob, "iommu");
    CELLS(blob, "#iommu-cells", 1);
    CELLS(blob, "linux,phandle", 5);
    CELLS(blob, "phandle", 5);
    end_node(blob);
    blob = finish(blob);
    tree = opened(blob);
    ok(piommu_fdt_next_iommu(&tree, NULL, -1, &iommu));
    assert_int_equal(iommu.phandle, 5);
    shut(&tree, blob);
}

/* ---- The form of a blob ---- */

static void test_a_property_that_is_there_twice_is_refused(void **state)
{
    void *blob = begin();

    (void)state;
    begin_node(blob, "a");
    CELLS(blob, "iommus", 1, 1);
    CELLS(blob, "iommus", 1, 2);
    end_node(blob);
    expect_refused(blob, "/a", "iommus");
}

static void test_a_property_behind_a_subnode_is_refused(void **state)
{
    void *blob = begin();
    uint32_t *words;
    struct piommu_fdt tree;
    size_t count;

    (void)state;
    begin_node(blob, "a");
    CELLS(blob, "iommus", 1, 1);
    begin_node(blob, "b");
    end_node(blob);
    end_node(blob);
    blob = finish(blob);
    /* The writer would not do this: the subnode is moved in front of the property. */
    words = (uint32_t *)(void *)((char *)blob + fdt_off_dt_struct(blob));
    count = fdt_size_dt_struct(blob) / 4;
    for (size_t i = 0; i + 8 < count; i++) {
        if (words[i] == cpu_to_fdt32(FDT_PROP) && words[i + 1] == cpu_to_fdt32(8) &&
            words[i + 5] == cpu_to_fdt32(FDT_BEGIN_NODE)) {
            uint32_t property[5];

            memcpy(property, &words[i], sizeof(property));
            memmove(&words[i], &words[i + 5], 12);
            memcpy(&words[i + 3], property, sizeof(property));
            break;
        }
    }
    assert_int_equal(piommu_fdt_open(&tree, fdt_host(), blob, fdt_totalsize(blob)),
                     -PIOMMU_EBADMSG);
    assert_string_equal(tree.bad_path, "/a");
    assert_string_equal(tree.bad_property, "iommus");
    free(blob);
}

static void test_old_versions_are_refused(void **state)
{
    (void)state;
    for (uint32_t version = 0; version < 17; version++) {
        void *blob = rich_blob();
        struct piommu_fdt tree;

        fdt_set_version(blob, version);
        assert_int_equal(piommu_fdt_open(&tree, fdt_host(), blob, fdt_totalsize(blob)),
                         -PIOMMU_EBADMSG);
        assert_int_equal(tree.bad_node, -1);
        assert_string_equal(tree.bad_path, "");
        free(blob);
    }
}

/* ---- Paths ---- */

static void test_paths_are_printable_and_fit(void **state)
{
    void *blob = begin();
    struct piommu_fdt tree;
    char text[64];
    int node;

    (void)state;
    begin_node(blob, "a\x1b[31m@1");
    begin_node(blob, "bbbbbbbbbbbbbbbbbbbb");
    begin_node(blob, "c");
    end_node(blob);
    end_node(blob);
    end_node(blob);
    blob = finish(blob);
    tree = opened(blob);
    ok(piommu_fdt_path(&tree, 0, text, sizeof(text)));
    assert_string_equal(text, "/");
    node = fdt_next_node(blob, 0, NULL);
    ok(piommu_fdt_path(&tree, node, text, sizeof(text)));
    assert_string_equal(text, "/a?[31m@1");
    node = fdt_next_node(blob, fdt_next_node(blob, node, NULL), NULL);
    ok(piommu_fdt_path(&tree, node, text, sizeof(text)));
    assert_string_equal(text, "/a?[31m@1/bbbbbbbbbbbbbbbbbbbb/c");
    for (size_t size = 8; size < sizeof(text); size++) {
        size_t length;

        memset(text, 0x55, sizeof(text));
        ok(piommu_fdt_path(&tree, node, text, size));
        length = strlen(text);
        assert_true(length < size);
        assert_string_equal(&text[length - 2], "/c");
        assert_true(text[0] == '/' || strncmp(text, "...", 3) == 0);
        assert_int_equal(text[size], 0x55);
    }
    assert_int_equal(piommu_fdt_path(&tree, node, text, 7), -PIOMMU_EINVAL);
    assert_int_equal(piommu_fdt_path(&tree, node, NULL, 64), -PIOMMU_EINVAL);
    assert_int_equal(piommu_fdt_path(NULL, node, text, 64), -PIOMMU_EINVAL);
    assert_int_equal(piommu_fdt_path(&tree, node + 1, text, 64), -PIOMMU_EINVAL);
    shut(&tree, blob);
}

/* ---- Corruption ---- */

static void test_corruption_of_any_byte_does_no_harm(void **state)
{
    void *blob = rich_blob();
    size_t size = fdt_totalsize(blob);
    uint8_t *copy = malloc(size);

    (void)state;
    assert_non_null(copy);
    for (size_t at = 0; at < size; at++) {
        static const uint8_t changes[] = {0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0xff};

        for (size_t i = 0; i < COUNT(changes) + 1; i++) {
            memcpy(copy, blob, size);
            copy[at] = i < COUNT(changes) ? copy[at] ^ changes[i] : 0;
            ask_all(copy, size);
        }
    }
    free(copy);
    free(blob);
}

static void test_random_corruption_does_no_harm(void **state)
{
    void *blob = rich_blob();
    size_t size = fdt_totalsize(blob);
    uint8_t *copy = malloc(size);
    uint32_t random = 3;

    (void)state;
    assert_non_null(copy);
    for (unsigned int round = 0; round < 10000; round++) {
        memcpy(copy, blob, size);
        for (unsigned int i = 0; i < 4; i++) {
            random = random * 1664525u + 1013904223u;
            copy[56 + (random >> 8) % (size - 56)] =
                (uint8_t)(random >> 24) & ((random & 1) ? 0xff : 3);
            if ((random >> 4 & 3) == 0) {
                break;
            }
        }
        ask_all(copy, size);
    }
    free(copy);
    free(blob);
}

static void test_each_cut_of_the_blob_is_noticed(void **state)
{
    void *blob = rich_blob();
    size_t size = fdt_totalsize(blob);

    (void)state;
    for (size_t length = 1; length < size; length++) {
        void *cut = malloc(length);

        assert_non_null(cut);
        memcpy(cut, blob, length);
        assert_int_equal(ask_all(cut, length), -PIOMMU_EBADMSG);
        free(cut);
    }
    free(blob);
}

/* ---- Memory ---- */

static void test_without_memory_nothing_is_left(void **state)
{
    void *blob = rich_blob();
    struct piommu_fdt tree;
    int error = -PIOMMU_ENOMEM;

    (void)state;
    for (uint64_t nth = 1; error != 0; nth++) {
        assert_true(nth < 20);
        fake_os_fail_call(fdt_os(), nth, false);
        error = piommu_fdt_open(&tree, fdt_host(), blob, fdt_totalsize(blob));
        fake_os_fail_call(fdt_os(), 0, false);
        if (error != 0) {
            assert_int_equal(error, -PIOMMU_ENOMEM);
            assert_int_equal(fake_os_bytes_outstanding(fdt_os()), 0);
            piommu_fdt_close(&tree);
        }
    }
    shut(&tree, blob);
    piommu_fdt_close(NULL);
}

static void test_only_opening_and_closing_use_the_shim(void **state)
{
    void *blob = rich_blob();
    struct piommu_fdt tree = opened(blob);
    struct piommu_fdt_iommu iommu = {.node = -1};
    struct piommu_fdt_master master = {.node = -1};

    (void)state;
    fake_os_forbid(fdt_os(), FAKE_OS_FORBID_ALLOCATION | FAKE_OS_FORBID_FREE);
    while (piommu_fdt_next_iommu(&tree, NULL, iommu.node, &iommu) == 0) {
    }
    while (piommu_fdt_next_master(&tree, master.node, &master) == 0) {
    }
    fake_os_forbid(fdt_os(), 0);
    shut(&tree, blob);
}

static void *take(void *ctx, size_t size)
{
    (void)ctx;
    return malloc(size);
}

static void give(void *ctx, void *memory, size_t size)
{
    (void)ctx;
    (void)size;
    free(memory);
}

static void test_alloc_and_free_are_all_that_is_needed(void **state)
{
    void *blob = rich_blob();
    struct piommu_os os = {.size = sizeof(os), .alloc = take, .free = give};
    struct piommu_host host = {.os = &os, .ctx = NULL};
    struct piommu_fdt tree;

    (void)state;
    ok(piommu_fdt_open(&tree, host, blob, fdt_totalsize(blob)));
    piommu_fdt_close(&tree);
    os.free = NULL;
    assert_int_equal(piommu_fdt_open(&tree, host, blob, fdt_totalsize(blob)), -PIOMMU_EINVAL);
    os.free = give;
    os.alloc = NULL;
    assert_int_equal(piommu_fdt_open(&tree, host, blob, fdt_totalsize(blob)), -PIOMMU_EINVAL);
    os.alloc = take;
    os.size--;
    assert_int_equal(piommu_fdt_open(&tree, host, blob, fdt_totalsize(blob)), -PIOMMU_EINVAL);
    host.os = NULL;
    assert_int_equal(piommu_fdt_open(&tree, host, blob, fdt_totalsize(blob)), -PIOMMU_EINVAL);
    free(blob);
}

/* ---- Trees built to take long: each of these is over at once, or the test times out ---- */

#define LARGE (2u << 20)

static void *begin_large(void)
{
    void *blob = calloc(1, LARGE);

    assert_non_null(blob);
    ok(fdt_create(blob, (int)LARGE));
    ok(fdt_finish_reservemap(blob));
    begin_node(blob, "");
    CELLS(blob, "#address-cells", 1);
    return blob;
}

/* Looks at all IOMMUs and masters, and returns how many were well-formed. */
static unsigned int count_all(void *blob)
{
    struct piommu_fdt_iommu iommu = {.node = -1};
    struct piommu_fdt_master master = {.node = -1};
    struct piommu_fdt tree;
    unsigned int good = 0;
    int error;

    end_node(blob);
    ok(fdt_finish(blob));
    ok(piommu_fdt_open(&tree, fdt_host(), blob, LARGE));
    while ((error = piommu_fdt_next_iommu(&tree, NULL, iommu.node, &iommu)) != -PIOMMU_ENOENT) {
        good += error == 0;
    }
    while ((error = piommu_fdt_next_master(&tree, master.node, &master)) != -PIOMMU_ENOENT) {
        good += error == 0;
    }
    shut(&tree, blob);
    return good;
}

static void test_many_phandles_are_found_quickly(void **state)
{
    void *blob = begin_large();

    (void)state;
    for (uint32_t i = 0; i < 12000; i++) {
        begin_node(blob, "i");
        CELLS(blob, "#iommu-cells", 1);
        CELLS(blob, "phandle", i * 7919 % 12007 + 1);
        end_node(blob);
        begin_node(blob, "d");
        CELLS(blob, "iommus", i + 1, i, 12000 - i, i);
        end_node(blob);
    }
    assert_true(count_all(blob) > 20000);
}

/* Every IOMMU at the end of eight buses with the most ranges that there can be. */
static void test_long_ways_to_the_root_are_gone_quickly(void **state)
{
    void *blob = begin_large();
    uint32_t ranges[3 * 128];
    unsigned int good;

    (void)state;
    for (uint32_t i = 0; i < 128; i++) {
        ranges[3 * i] = (127 - i) * 0x10000;
        ranges[3 * i + 1] = (127 - i) * 0x10000;
        ranges[3 * i + 2] = 0x10000;
    }
    for (unsigned int i = 0; i < 8; i++) {
        begin_node(blob, "b");
        CELLS(blob, "#address-cells", 1);
        put_cells(blob, "ranges", ranges, COUNT(ranges));
    }
    for (uint32_t i = 0; i < 20000; i++) {
        begin_node(blob, "i");
        CELLS(blob, "#iommu-cells", 1);
        CELLS(blob, "reg", 0x100, 0x100);
        end_node(blob);
    }
    for (unsigned int i = 0; i < 8; i++) {
        end_node(blob);
    }
    good = count_all(blob);
    assert_int_equal(good, 20000);
}

/* Every master names the same regions, which have all the entries that there can be. */
static void test_regions_that_many_masters_share_are_read_quickly(void **state)
{
    void *blob = begin_large();
    uint32_t addresses[3 * 64];
    uint32_t regions[32];

    (void)state;
    for (uint32_t i = 0; i < 64; i++) {
        addresses[3 * i] = 100;
        addresses[3 * i + 1] = i * 0x1000;
        addresses[3 * i + 2] = 0x1000;
    }
    begin_bus(blob, "reserved-memory", 1, 1);
    for (uint32_t i = 0; i < 32; i++) {
        begin_node(blob, "r");
        CELLS(blob, "reg", 0, 1, 1, 1, 2, 1, 3, 1);
        put_cells(blob, "iommu-addresses", addresses, COUNT(addresses));
        CELLS(blob, "phandle", 1 + i);
        end_node(blob);
        regions[i] = 1 + i;
    }
    end_node(blob);
    begin_node(blob, "i");
    CELLS(blob, "#iommu-cells", 0);
    CELLS(blob, "phandle", 99);
    end_node(blob);
    for (uint32_t i = 0; i < 8000; i++) {
        begin_node(blob, "d");
        CELLS(blob, "iommus", 99);
        CELLS(blob, "phandle", 100 + i);
        put_cells(blob, "memory-region", regions, COUNT(regions));
        end_node(blob);
    }
    assert_int_equal(count_all(blob), 8001);
}

/* One name of a million characters, of which each property has the end. */
static void test_names_without_end_are_refused(void **state)
{
    void *blob = begin_large();
    struct piommu_fdt tree;
    char *strings;
    size_t size = 1u << 20;

    (void)state;
    for (uint32_t i = 0; i < 50000; i++) {
        CELLS(blob, "x", 0);
    }
    end_node(blob);
    ok(fdt_finish(blob));
    strings = (char *)blob + fdt_off_dt_strings(blob);
    assert_true(fdt_off_dt_strings(blob) + size <= LARGE);
    memset(strings, 'x', size);
    strings[size - 1] = '\0';
    fdt_set_size_dt_strings(blob, (uint32_t)size);
    fdt_set_totalsize(blob, LARGE);
    assert_int_equal(piommu_fdt_open(&tree, fdt_host(), blob, LARGE), -PIOMMU_EBADMSG);
    free(blob);
}

/* A node more than there may be. */
static void test_as_many_nodes_as_are_allowed(void **state)
{
    (void)state;
    for (uint32_t more = 0; more < 2; more++) {
        void *blob = begin_large();
        struct piommu_fdt tree;

        for (uint32_t i = 0; i < 65535 + more; i++) {
            begin_node(blob, "n");
            end_node(blob);
        }
        end_node(blob);
        ok(fdt_finish(blob));
        assert_int_equal(piommu_fdt_open(&tree, fdt_host(), blob, LARGE),
                         more == 0 ? 0 : -PIOMMU_EBADMSG);
        shut(&tree, blob);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_each_property_cut_at_each_length_is_named_or_harmless),
        TEST(test_each_phandle_that_leads_elsewhere_is_named),
        TEST(test_phandles_that_are_malformed_or_not_unique_are_refused),
        TEST(test_both_names_of_a_phandle_may_be_there),
        TEST(test_a_property_that_is_there_twice_is_refused),
        TEST(test_a_property_behind_a_subnode_is_refused),
        TEST(test_old_versions_are_refused),
        TEST(test_paths_are_printable_and_fit),
        TEST(test_corruption_of_any_byte_does_no_harm),
        TEST(test_random_corruption_does_no_harm),
        TEST(test_each_cut_of_the_blob_is_noticed),
        TEST(test_without_memory_nothing_is_left),
        TEST(test_only_opening_and_closing_use_the_shim),
        TEST(test_alloc_and_free_are_all_that_is_needed),
        TEST(test_many_phandles_are_found_quickly),
        TEST(test_long_ways_to_the_root_are_gone_quickly),
        TEST(test_regions_that_many_masters_share_are_read_quickly),
        TEST(test_names_without_end_are_refused),
        TEST(test_as_many_nodes_as_are_allowed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
