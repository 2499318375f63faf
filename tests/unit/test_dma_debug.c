/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Spaces that record their mappings: what does not fit a mapping is refused, changes nothing, and
 * is logged with the name of the device.
 */

#include "dma_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define PAGE DMA_PAGE
#define TO   PIOMMU_DMA_TO_DEVICE
#define FROM PIOMMU_DMA_FROM_DEVICE
#define BOTH PIOMMU_DMA_BIDIRECTIONAL

/* What was logged since the test has forgotten it: lines, each with its end. */
static char logged[4096];

static void keep_log(void *ctx, enum piommu_log_level level, const char *line)
{
    size_t length = strlen(logged);

    (void)ctx;
    assert_int_equal(level, PIOMMU_LOG_ERROR);
    assert_true(length + strlen(line) + 2 <= sizeof(logged));
    (void)snprintf(logged + length, sizeof(logged) - length, "%s\n", line);
}

static struct dma_fixture *open_debug(enum dma_kind kind, bool untrusted)
{
    const struct dma_options options = {
        .untrusted = untrusted, .devices = 2, .space = {.debug = true, .bounce_pages = 4}};
    struct dma_fixture *fixture = dma_open(kind, &options);

    fake_os_callbacks(fixture->os)->log = keep_log;
    logged[0] = '\0';
    return fixture;
}

/* A call was refused with this error: it was logged about the device, and nothing was changed. */
static void assert_refused(struct dma_fixture *fixture, size_t pages, int error, int expected)
{
    assert_int_equal(error, expected);
    assert_non_null(strstr(logged, "first"));
    assert_int_equal(dma_mapped_pages(fixture), pages);
    dma_sweep(fixture);
}

/* Makes a call and asserts that. */
#define REFUSED(expected, call)                                \
    do {                                                       \
        size_t pages_before = dma_mapped_pages(fixture);       \
                                                               \
        logged[0] = '\0';                                      \
        assert_refused(fixture, pages_before, call, expected); \
    } while (0)

static void try_wrong_unmaps(struct dma_fixture *fixture, uint64_t offset, uint64_t size)
{
    struct piommu_dma_device *device = fixture->dma[0];
    struct dma_mapping mapping;
    uint64_t address;

    dma_fill(fixture, offset, size, 1);
    mapping = dma_map(fixture, offset, size, BOTH);
    address = mapping.address;
    REFUSED(-PIOMMU_EINVAL, piommu_dma_unmap_single(device, address, size - 1, BOTH, 0));
    REFUSED(-PIOMMU_EINVAL, piommu_dma_unmap_single(device, address, size + 1, BOTH, 0));
    REFUSED(-PIOMMU_EINVAL, piommu_dma_unmap_single(device, address, size + PAGE, BOTH, 0));
    REFUSED(-PIOMMU_EINVAL, piommu_dma_unmap_single(device, address + 1, size - 1, BOTH, 0));
    REFUSED(-PIOMMU_EINVAL, piommu_dma_unmap_single(device, address, size, TO, 0));
    REFUSED(-PIOMMU_EINVAL, piommu_dma_unmap_single(device, address, size, FROM, 0));
    dma_device_assert_filled(fixture, 0, address, size, 1, 0);
    dma_device_fill(fixture, 0, address, size, 2);
    dma_unmap(fixture, &mapping);
    dma_assert_filled(fixture, offset, size, 2, 0);
    REFUSED(-PIOMMU_ENOENT, piommu_dma_unmap_single(device, address, size, BOTH, 0));
}

static void test_unmaps_that_do_not_fit(enum dma_kind kind)
{
    for (unsigned int untrusted = 0; untrusted < 2; untrusted++) {
        struct dma_fixture *fixture = open_debug(kind, untrusted != 0);

        try_wrong_unmaps(fixture, 4 * PAGE + 100, 200);
        try_wrong_unmaps(fixture, 4 * PAGE, 2 * PAGE);
        try_wrong_unmaps(fixture, 4 * PAGE + 100, 3 * PAGE);
        dma_close(fixture);
    }
}

static void test_what_was_never_mapped(enum dma_kind kind)
{
    struct dma_fixture *fixture = open_debug(kind, false);
    struct piommu_dma_device *device = fixture->dma[0];

    REFUSED(-PIOMMU_ENOENT, piommu_dma_unmap_single(device, 0x40000000, 100, TO, 0));
    REFUSED(-PIOMMU_ENOENT, piommu_dma_sync_single_for_cpu(device, 0x40000000, 100, TO));
    REFUSED(-PIOMMU_ENOENT, piommu_dma_sync_single_for_device(device, 0x40000000, 100, TO));
    REFUSED(-PIOMMU_ENOENT, piommu_dma_unmap_resource(device, 0x40000000, 100, TO));
    dma_close(fixture);
}

static void test_syncs_that_do_not_fit(enum dma_kind kind)
{
    struct dma_fixture *fixture = open_debug(kind, true);
    struct piommu_dma_device *device = fixture->dma[0];
    struct dma_mapping mapping = dma_map(fixture, 100, 200, TO);
    uint64_t address = mapping.address;

    assert_int_equal(piommu_dma_sync_single_for_cpu(device, address, 200, TO), 0);
    assert_int_equal(piommu_dma_sync_single_for_device(device, address + 100, 50, TO), 0);
    assert_string_equal(logged, "");
    REFUSED(-PIOMMU_EINVAL, piommu_dma_sync_single_for_cpu(device, address, 200, FROM));
    REFUSED(-PIOMMU_EINVAL, piommu_dma_sync_single_for_device(device, address, 200, BOTH));
    REFUSED(-PIOMMU_EINVAL, piommu_dma_sync_single_for_cpu(device, address + 100, 101, TO));
    dma_unmap(fixture, &mapping);
    dma_close(fixture);
}

/* What was mapped for one device is not another's, and what was mapped as a list is one. */
static void test_mappings_of_another_kind(enum dma_kind kind)
{
    struct dma_fixture *fixture = open_debug(kind, false);
    struct piommu_dma_device *device = fixture->dma[0];
    struct dma_mapping mapping = dma_map(fixture, 0, PAGE, BOTH);
    const struct piommu_segment list[] = {{fixture->memory + 4 * PAGE + 8, 8},
                                          {fixture->memory + 8 * PAGE + 8, 8},
                                          {fixture->memory + 12 * PAGE + 8, 8}};
    struct piommu_dma_segment result[3];
    unsigned int handle = ++fixture->last_handle;
    size_t used;

    assert_true(piommu_dma_unmap_single(fixture->dma[1], mapping.address, PAGE, BOTH, 0) < 0);
    assert_true(dma_reaches(fixture, 0, mapping.address, true));
    assert_int_equal(piommu_dma_map_sg(device, list, 3, BOTH, 0, result, 3, &used), 0);
    assert_int_equal(used, 3);
    for (size_t i = 0; i < used; i++) {
        dma_fill(fixture, list[i].physical - fixture->memory, list[i].size, i);
        dma_grant_more(fixture, handle, result[i].address, result[i].size, list[i].physical,
                       list[i].size, BOTH);
    }
    REFUSED(-PIOMMU_EINVAL, piommu_dma_unmap_sg(device, result, 2, BOTH, 0));
    REFUSED(-PIOMMU_EINVAL, piommu_dma_unmap_sg(device, result, 3, TO, 0));
    assert_int_equal(piommu_dma_unmap_sg(device, result, 3, BOTH, 0), 0);
    dma_revoke(fixture, handle);
    dma_unmap(fixture, &mapping);
    dma_close(fixture);
}

static void test_each_has_a_call_of_its_own(enum dma_kind kind)
{
    struct dma_fixture *fixture = open_debug(kind, false);
    struct piommu_dma_device *device = fixture->dma[0];
    const uint64_t registers = 0x10000000;
    struct dma_mapping single = dma_map(fixture, 0, PAGE, BOTH);
    const struct piommu_dma_segment segment = {single.address, PAGE};
    struct piommu_dma_buffer buffer;
    uint64_t address;

    assert_int_equal(piommu_dma_map_resource(device, registers, PAGE, BOTH, &address), 0);
    (void)dma_grant(fixture, address, PAGE, registers, PAGE, BOTH);
    assert_int_equal(piommu_dma_alloc(device, PAGE, &buffer), 0);
    REFUSED(-PIOMMU_EINVAL, piommu_dma_unmap_single(device, address, PAGE, BOTH, 0));
    REFUSED(-PIOMMU_EINVAL, piommu_dma_unmap_single(device, buffer.address, PAGE, BOTH, 0));
    REFUSED(-PIOMMU_EINVAL, piommu_dma_unmap_resource(device, single.address, PAGE, BOTH));
    REFUSED(-PIOMMU_EINVAL, piommu_dma_unmap_sg(device, &segment, 1, BOTH, 0));
    assert_int_equal(piommu_dma_free(device, &buffer), 0);
    assert_int_equal(piommu_dma_unmap_resource(device, address, PAGE, BOTH), 0);
    dma_unmap(fixture, &single);
    dma_close(fixture);
}

static void test_what_is_left_is_named(enum dma_kind kind)
{
    struct dma_fixture *fixture = open_debug(kind, false);
    struct dma_mapping mapping = dma_map(fixture, 0, PAGE, BOTH);
    char address[24];

    (void)snprintf(address, sizeof(address), "%llx", (unsigned long long)mapping.address);
    piommu_dma_device_remove(fixture->dma[0]);
    fixture->dma[0] = NULL;
    assert_non_null(strstr(logged, "first"));
    assert_non_null(strstr(logged, address));
    dma_close(fixture);
}

static void test_nothing_is_said_where_all_is_right(enum dma_kind kind)
{
    struct dma_fixture *fixture = open_debug(kind, true);
    struct piommu_dma_buffer buffer;
    uint64_t address;

    for (uint64_t i = 1; i < 200; i += 33) {
        struct dma_mapping mapping = dma_map(fixture, i, 50 * i, BOTH);

        dma_unmap(fixture, &mapping);
    }
    assert_int_equal(piommu_dma_alloc(fixture->dma[0], 5000, &buffer), 0);
    assert_int_equal(piommu_dma_map_resource(fixture->dma[0], 0x10000000, PAGE, BOTH, &address), 0);
    assert_int_equal(piommu_dma_unmap_resource(fixture->dma[0], address, PAGE, BOTH), 0);
    assert_int_equal(piommu_dma_free(fixture->dma[0], &buffer), 0);
    piommu_dma_device_remove(fixture->dma[0]);
    fixture->dma[0] = NULL;
    assert_string_equal(logged, "");
    dma_close(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        DMA_TEST(DMA_ALL, test_unmaps_that_do_not_fit),
        DMA_TEST(DMA_ALL, test_what_was_never_mapped),
        DMA_TEST(DMA_ALL, test_syncs_that_do_not_fit),
        DMA_TEST(DMA_ALL, test_mappings_of_another_kind),
        DMA_TEST(DMA_ALL, test_each_has_a_call_of_its_own),
        DMA_TEST(DMA_ALL, test_what_is_left_is_named),
        DMA_TEST(DMA_ALL, test_nothing_is_said_where_all_is_right),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
