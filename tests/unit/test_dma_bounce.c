/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Untrusted devices: what lies beside a buffer in its first and last granule stays hidden and as it
 * is, whatever the device does, and no byte of the buffer is lost.
 */

#include "dma_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define PAGE  DMA_PAGE
#define FIRST (8 * PAGE)
#define TO    PIOMMU_DMA_TO_DEVICE
#define FROM  PIOMMU_DMA_FROM_DEVICE
#define BOTH  PIOMMU_DMA_BIDIRECTIONAL

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const uint64_t offsets[] = {0, 1, 1000, 4095};
static const uint64_t sizes[] = {1,    2,    3095, 3096, 4095,  4096,
                                 4097, 8191, 8192, 8193, 16384, 20001};

static struct dma_fixture *open_pool(enum dma_kind kind, uint32_t pages)
{
    const struct dma_options options = {
        .untrusted = true, .space = {.bounce_pages = pages}, .scattered = pages % 2 == 0};

    return dma_open(kind, &options);
}

/* How many granules of a buffer it has not for itself. */
static uint32_t pages_needed(uint64_t offset, uint64_t size)
{
    uint64_t end = offset + size;
    bool head = offset % PAGE != 0;
    bool tail = end % PAGE != 0;

    if (offset / PAGE == (end - 1) / PAGE) {
        return head || tail;
    }
    return (uint32_t)head + tail;
}

static void for_each_place(struct dma_fixture *fixture,
                           void (*try_place)(struct dma_fixture *fixture, uint64_t first,
                                             uint64_t size))
{
    for (size_t i = 0; i < COUNT(offsets); i++) {
        for (size_t k = 0; k < COUNT(sizes); k++) {
            try_place(fixture, FIRST + offsets[i], sizes[k]);
            assert_int_equal(dma_statistics(fixture).bounce_pages_used, 0);
        }
    }
    assert_int_equal(dma_statistics(fixture).bounce_pages_most, 2);
    dma_close(fixture);
}

/* ---- In each direction ---- */

static void send(struct dma_fixture *fixture, uint64_t first, uint64_t size)
{
    struct dma_mapping mapping;

    dma_fill(fixture, first, size, size);
    mapping = dma_map(fixture, first, size, TO);
    assert_int_equal(dma_statistics(fixture).bounce_pages_used, pages_needed(first, size));
    dma_device_assert_filled(fixture, 0, mapping.address, size, size, 0);
    dma_unmap(fixture, &mapping);
    dma_assert_filled(fixture, first, size, size, 0);
}

static void test_what_a_device_reads(enum dma_kind kind)
{
    for_each_place(open_pool(kind, 2), send);
}

static void receive(struct dma_fixture *fixture, uint64_t first, uint64_t size)
{
    struct dma_mapping mapping = dma_map(fixture, first, size, FROM);

    dma_device_fill(fixture, 0, mapping.address, size, size);
    dma_unmap(fixture, &mapping);
    dma_assert_filled(fixture, first, size, size, 0);
}

static void test_what_a_device_writes(enum dma_kind kind)
{
    for_each_place(open_pool(kind, 2), receive);
}

/* The device writes less than there is room for: the rest stays what it was. */
static void receive_part(struct dma_fixture *fixture, uint64_t first, uint64_t size)
{
    const enum piommu_dma_direction directions[] = {FROM, BOTH};

    for (size_t i = 0; i < COUNT(directions); i++) {
        uint64_t part = size / 2;
        struct dma_mapping mapping;

        dma_fill(fixture, first, size, 70);
        mapping = dma_map(fixture, first, size, directions[i]);
        if (part != 0) {
            dma_device_fill(fixture, 0, mapping.address, part, 71);
        }
        dma_unmap(fixture, &mapping);
        dma_assert_filled(fixture, first, part, 71, 0);
        dma_assert_filled(fixture, first + part, size - part, 70, part);
    }
}

static void test_what_a_device_leaves_alone(enum dma_kind kind)
{
    for_each_place(open_pool(kind, 2), receive_part);
}

static void exchange(struct dma_fixture *fixture, uint64_t first, uint64_t size)
{
    struct dma_mapping mapping;

    dma_fill(fixture, first, size, 1);
    mapping = dma_map(fixture, first, size, BOTH);
    dma_device_assert_filled(fixture, 0, mapping.address, size, 1, 0);
    dma_device_fill(fixture, 0, mapping.address, size, 2);
    dma_unmap(fixture, &mapping);
    dma_assert_filled(fixture, first, size, 2, 0);
}

static void test_both_ways(enum dma_kind kind)
{
    for_each_place(open_pool(kind, 2), exchange);
}

/* What the device has no right to write does not come back. */
static void test_a_device_cannot_change_what_it_reads(enum dma_kind kind)
{
    struct dma_fixture *fixture = open_pool(kind, 2);
    struct dma_mapping mapping;
    uint8_t byte = 0x33;

    dma_fill(fixture, FIRST + 10, 100, 1);
    mapping = dma_map(fixture, FIRST + 10, 100, TO);
    assert_int_equal(dma_write(fixture, 0, mapping.address, &byte, 1), 0);
    dma_fill(fixture, FIRST + 10, 100, 2); /* the CPU is too late: the device has its own copy */
    dma_unmap(fixture, &mapping);
    dma_assert_filled(fixture, FIRST + 10, 100, 2, 0);
    dma_close(fixture);
}

/* ---- Syncs ---- */

/* Parts of a buffer, some in granules of its own, change hands one by one. */
static void hand_over_parts(struct dma_fixture *fixture, uint64_t first, uint64_t size)
{
    struct dma_mapping mapping;
    uint64_t half = size / 2;

    if (half == 0) {
        return;
    }
    dma_fill(fixture, first, size, 1);
    mapping = dma_map(fixture, first, size, BOTH);
    dma_device_fill(fixture, 0, mapping.address, size, 2);
    assert_int_equal(piommu_dma_sync_single_for_cpu(fixture->dma[0], mapping.address, half, BOTH),
                     0);
    dma_assert_filled(fixture, first, half, 2, 0);
    dma_fill(fixture, first, half, 3);
    assert_int_equal(
        piommu_dma_sync_single_for_device(fixture->dma[0], mapping.address, half, BOTH), 0);
    dma_device_assert_filled(fixture, 0, mapping.address, half, 3, 0);
    dma_device_assert_filled(fixture, 0, mapping.address + half, size - half, 2, half);
    assert_int_equal(
        piommu_dma_sync_single_for_cpu(fixture->dma[0], mapping.address + half, size - half, BOTH),
        0);
    dma_assert_filled(fixture, first + half, size - half, 2, half);
    dma_sweep(fixture);
    dma_unmap(fixture, &mapping);
    dma_assert_filled(fixture, first, half, 3, 0);
}

static void test_syncs_of_parts(enum dma_kind kind)
{
    for_each_place(open_pool(kind, 2), hand_over_parts);
}

static void test_syncs_in_one_direction(enum dma_kind kind)
{
    struct dma_fixture *fixture = open_pool(kind, 4);
    struct dma_mapping sent;
    struct dma_mapping received;

    dma_fill(fixture, 10, 100, 1);
    sent = dma_map(fixture, 10, 100, TO);
    dma_fill(fixture, 10, 100, 2);
    assert_int_equal(piommu_dma_sync_single_for_cpu(fixture->dma[0], sent.address, 100, TO), 0);
    dma_assert_filled(fixture, 10, 100, 2, 0); /* nothing comes back from there */
    assert_int_equal(piommu_dma_sync_single_for_device(fixture->dma[0], sent.address, 100, TO), 0);
    dma_device_assert_filled(fixture, 0, sent.address, 100, 2, 0);
    dma_unmap(fixture, &sent);

    received = dma_map(fixture, PAGE + 10, 100, FROM);
    dma_device_fill(fixture, 0, received.address, 100, 3);
    assert_int_equal(piommu_dma_sync_single_for_cpu(fixture->dma[0], received.address, 100, FROM),
                     0);
    dma_assert_filled(fixture, PAGE + 10, 100, 3, 0);
    assert_int_equal(
        piommu_dma_sync_single_for_device(fixture->dma[0], received.address, 100, FROM), 0);
    dma_device_fill(fixture, 0, received.address, 50, 4);
    dma_unmap(fixture, &received);
    dma_assert_filled(fixture, PAGE + 10, 50, 4, 0);
    dma_assert_filled(fixture, PAGE + 60, 50, 3, 50);
    dma_close(fixture);
}

static void test_what_is_not_mapped_is_not_synced(enum dma_kind kind)
{
    struct dma_fixture *fixture = open_pool(kind, 2);
    struct dma_mapping mapping = dma_map(fixture, 10, 100, BOTH);
    uint64_t address = mapping.address;

    assert_int_equal(piommu_dma_sync_single_for_cpu(fixture->dma[0], address - 4 * PAGE, 10, BOTH),
                     -PIOMMU_ENOENT);
    /* The beginning is mapped, and stays as it is all the same. */
    dma_fill(fixture, 10, 100, 1);
    assert_int_equal(piommu_dma_sync_single_for_device(fixture->dma[0], address, 100, BOTH), 0);
    dma_device_fill(fixture, 0, address, 100, 2);
    assert_int_equal(piommu_dma_sync_single_for_cpu(fixture->dma[0], address, 2 * PAGE, BOTH),
                     -PIOMMU_ENOENT);
    dma_assert_filled(fixture, 10, 100, 1, 0);
    dma_unmap(fixture, &mapping);
    assert_int_equal(piommu_dma_sync_single_for_cpu(fixture->dma[0], address, 100, BOTH),
                     -PIOMMU_ENOENT);
    assert_int_equal(piommu_dma_sync_single_for_device(fixture->dma[0], address, 100, BOTH),
                     -PIOMMU_ENOENT);
    assert_int_equal(piommu_dma_unmap_single(fixture->dma[0], address, 100, BOTH, 0),
                     -PIOMMU_ENOENT);
    dma_close(fixture);
}

/* Nothing is copied unless a sync says so; but the device sees nothing old either. */
static void test_without_syncs(enum dma_kind kind)
{
    struct dma_fixture *fixture = open_pool(kind, 1);
    struct dma_mapping before;
    unsigned int handle;
    uint64_t address;

    dma_fill(fixture, 10, 4000, 5);
    before = dma_map(fixture, 10, 4000, BOTH);
    dma_unmap(fixture, &before);

    dma_fill(fixture, PAGE + 10, 100, 1);
    assert_int_equal(piommu_dma_map_single(fixture->dma[0], fixture->memory + PAGE + 10, 100, BOTH,
                                           PIOMMU_DMA_NO_CPU_SYNC, &address),
                     0);
    handle = dma_grant(fixture, address, 100, fixture->memory + PAGE + 10, 100, BOTH);
    for (uint64_t i = 0; i < 100; i++) {
        uint8_t byte = 1;

        assert_int_equal(dma_read(fixture, 0, address + i, &byte, 1), 1);
        assert_int_equal(byte, 0);
    }
    dma_sweep(fixture);
    assert_int_equal(piommu_dma_sync_single_for_device(fixture->dma[0], address, 100, BOTH), 0);
    dma_device_assert_filled(fixture, 0, address, 100, 1, 0);
    dma_device_fill(fixture, 0, address, 100, 2);
    assert_int_equal(
        piommu_dma_unmap_single(fixture->dma[0], address, 100, BOTH, PIOMMU_DMA_NO_CPU_SYNC), 0);
    dma_revoke(fixture, handle);
    dma_sweep(fixture);
    dma_assert_filled(fixture, PAGE + 10, 100, 1, 0);
    dma_close(fixture);
}

/* ---- The pool ---- */

/* What one mapping has left in a page, the device of the next one does not see. */
static void test_pages_are_zeroed(enum dma_kind kind)
{
    struct dma_fixture *fixture = open_pool(kind, 1);
    uint8_t page[DMA_PAGE];
    struct dma_mapping mapping;

    dma_fill(fixture, 1, PAGE - 2, 1);
    mapping = dma_map(fixture, 1, PAGE - 2, BOTH);
    dma_unmap(fixture, &mapping);

    dma_fill(fixture, 4 * PAGE + 500, 1, 2);
    mapping = dma_map(fixture, 4 * PAGE + 500, 1, TO);
    assert_int_equal(dma_read(fixture, 0, mapping.address - 500, page, sizeof(page)), PAGE);
    for (size_t i = 0; i < PAGE; i++) {
        assert_int_equal(page[i], i == 500 ? dma_pattern(2, 0) : 0);
    }
    dma_unmap(fixture, &mapping);
    dma_close(fixture);
}

static void test_the_pool_runs_out(enum dma_kind kind)
{
    struct dma_fixture *fixture = open_pool(kind, 3);
    struct dma_mapping one = dma_map(fixture, 10, PAGE, BOTH);
    struct dma_mapping other;
    struct dma_mapping refused;

    assert_int_equal(dma_try_map(fixture, 4 * PAGE + 10, PAGE, BOTH, &other), -PIOMMU_EAGAIN);
    assert_int_equal(dma_statistics(fixture).bounce_pages_used, 2);
    other = dma_map(fixture, 4 * PAGE + 10, 10, BOTH);
    assert_int_equal(dma_try_map(fixture, 8 * PAGE + 10, 1, BOTH, &refused), -PIOMMU_EAGAIN);
    assert_int_equal(dma_statistics(fixture).bounce_pages_used, 3);
    assert_int_equal(dma_statistics(fixture).bounce_pages_most, 3);
    dma_unmap(fixture, &other);
    other = dma_map(fixture, 8 * PAGE + 10, 1, BOTH);
    dma_unmap(fixture, &other);
    dma_unmap(fixture, &one);
    dma_close(fixture);
}

static void test_whole_granules_need_no_pool(enum dma_kind kind)
{
    struct dma_fixture *fixture = open_pool(kind, 0);
    struct dma_mapping mapping = dma_map(fixture, PAGE, 3 * PAGE, BOTH);
    struct dma_mapping refused;

    dma_device_fill(fixture, 0, mapping.address, 3 * PAGE, 1);
    dma_unmap(fixture, &mapping);
    dma_assert_filled(fixture, PAGE, 3 * PAGE, 1, 0);
    assert_int_equal(dma_try_map(fixture, PAGE + 1, PAGE - 1, BOTH, &refused), -PIOMMU_EOPNOTSUPP);
    assert_int_equal(dma_try_map(fixture, PAGE, PAGE - 1, BOTH, &refused), -PIOMMU_EOPNOTSUPP);
    assert_int_equal(dma_try_map(fixture, PAGE, PAGE + 1, BOTH, &refused), -PIOMMU_EOPNOTSUPP);
    assert_int_equal(dma_mapped_pages(fixture), 0);
    dma_close(fixture);
}

/* A trusted device in the same space has what is beside its buffers, and no need of pages. */
static void test_trusted_devices_do_not_bounce(enum dma_kind kind)
{
    const struct dma_options options = {.space = {.bounce_pages = 2}};
    struct dma_fixture *fixture = dma_open(kind, &options);
    struct dma_mapping mapping = dma_map(fixture, 10, 10000, BOTH);

    assert_int_equal(dma_statistics(fixture).bounce_pages_used, 0);
    dma_unmap(fixture, &mapping);
    dma_close(fixture);
}

/* Each stretch of a list has ends of its own; those that adjoin have them in common. */
static void test_lists(enum dma_kind kind)
{
    struct dma_fixture *fixture = open_pool(kind, 6);
    const struct piommu_segment list[] = {
        {fixture->memory + 100, 50},            /* adjoins the next one */
        {fixture->memory + 150, PAGE - 150},    /* up to the end of the granule */
        {fixture->memory + 8 * PAGE, 300},      /* one end */
        {fixture->memory + 16 * PAGE + 7, 9000} /* two ends */
    };
    struct piommu_dma_segment result[8];
    uint64_t total = 0;
    unsigned int handle = ++fixture->last_handle;
    size_t used;

    for (size_t i = 0; i < 4; i++) {
        dma_fill(fixture, list[i].physical - fixture->memory, list[i].size, i);
    }
    assert_int_equal(
        piommu_dma_map_sg(fixture->dma[0], list, 4, BOTH, 0, result, COUNT(result), &used), 0);
    for (size_t i = 0; i < 4; i++) {
        dma_grant_more(fixture, handle, 0, 0, list[i].physical, list[i].size, BOTH);
    }
    for (size_t i = 0; i < used; i++) {
        dma_grant_more(fixture, handle, result[i].address, result[i].size, 0, 0, BOTH);
        total += result[i].size;
    }
    assert_int_equal(total, PAGE - 100 + 300 + 9000);
    assert_int_equal(dma_statistics(fixture).bounce_pages_used, 4);
    dma_sweep(fixture);
    dma_device_assert_filled(fixture, 0, result[0].address, 50, 0, 0);
    dma_device_fill(fixture, 0, result[used - 1].address, 100, 9);
    assert_int_equal(piommu_dma_sync_sg_for_cpu(fixture->dma[0], result, used, BOTH), 0);
    assert_int_equal(piommu_dma_sync_sg_for_device(fixture->dma[0], result, used, BOTH), 0);
    assert_int_equal(piommu_dma_unmap_sg(fixture->dma[0], result, used, BOTH, 0), 0);
    dma_revoke(fixture, handle);
    dma_sweep(fixture);
    assert_int_equal(dma_statistics(fixture).bounce_pages_used, 0);
    dma_close(fixture);
}

/* A list of which a part needs a page too many: no page of the others stays taken. */
static void test_a_list_that_needs_too_much(enum dma_kind kind)
{
    struct dma_fixture *fixture = open_pool(kind, 2);
    const struct piommu_segment list[] = {{fixture->memory + 100, 50},
                                          {fixture->memory + 8 * PAGE, 300},
                                          {fixture->memory + 16 * PAGE + 7, 9000}};
    struct piommu_dma_segment result[8];
    size_t used;

    assert_int_equal(
        piommu_dma_map_sg(fixture->dma[0], list, 3, BOTH, 0, result, COUNT(result), &used),
        -PIOMMU_EAGAIN);
    assert_int_equal(dma_statistics(fixture).bounce_pages_used, 0);
    assert_int_equal(dma_mapped_pages(fixture), 0);
    dma_sweep(fixture);
    dma_close(fixture);
}

/* Segments that are none: no page is given back twice, and the call comes to an end. */
static void test_segments_that_overlap(enum dma_kind kind)
{
    struct dma_fixture *fixture = open_pool(kind, 2);
    struct dma_mapping mapping = dma_map(fixture, 100, 50, BOTH);
    const struct piommu_dma_segment twice[] = {{mapping.address, 50}, {mapping.address, 50}};
    const struct piommu_dma_segment beside[] = {{mapping.address - 10, 5}, {mapping.address, 50}};

    assert_int_equal(piommu_dma_unmap_sg(fixture->dma[0], twice, 2, BOTH, 0), -PIOMMU_EINVAL);
    assert_true(dma_reaches(fixture, 0, mapping.address, true));
    assert_int_equal(piommu_dma_unmap_sg(fixture->dma[0], beside, 2, BOTH, 0), 0);
    dma_revoke(fixture, mapping.handle);
    dma_sweep(fixture);
    assert_int_equal(dma_statistics(fixture).bounce_pages_used, 0);
    dma_close(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        DMA_TEST(DMA_ALL, test_what_a_device_reads),
        DMA_TEST(DMA_ALL, test_what_a_device_writes),
        DMA_TEST(DMA_ALL, test_what_a_device_leaves_alone),
        DMA_TEST(DMA_ALL, test_both_ways),
        DMA_TEST(DMA_ALL, test_a_device_cannot_change_what_it_reads),
        DMA_TEST(DMA_ALL, test_syncs_of_parts),
        DMA_TEST(DMA_ALL, test_syncs_in_one_direction),
        DMA_TEST(DMA_ALL, test_what_is_not_mapped_is_not_synced),
        DMA_TEST(DMA_ALL, test_without_syncs),
        DMA_TEST(DMA_ALL, test_pages_are_zeroed),
        DMA_TEST(DMA_ALL, test_the_pool_runs_out),
        DMA_TEST(DMA_ALL, test_whole_granules_need_no_pool),
        DMA_TEST(DMA_ALL, test_trusted_devices_do_not_bounce),
        DMA_TEST(DMA_ALL, test_lists),
        DMA_TEST(DMA_ALL, test_a_list_that_needs_too_much),
        DMA_TEST(DMA_ALL, test_segments_that_overlap),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
