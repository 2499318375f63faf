/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Lists of buffers: every byte is where the segments say, in the order of the list, and the
 * segments keep to the limits of the device.
 */

#include "dma_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PAGE     DMA_PAGE
#define TO       PIOMMU_DMA_TO_DEVICE
#define BOTH     PIOMMU_DMA_BIDIRECTIONAL
#define BAD      ((enum piommu_dma_direction)3)
#define MAX_ROOM 512u

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* A list of buffers in the test's memory, and what it was mapped to. */
struct list {
    struct piommu_segment members[64];
    size_t count;
    struct piommu_dma_segment segments[MAX_ROOM];
    size_t used;
    unsigned int handle;
};

static void add(const struct dma_fixture *fixture, struct list *list, uint64_t offset,
                uint64_t size)
{
    assert_true(list->count < COUNT(list->members));
    list->members[list->count++] =
        (struct piommu_segment){.physical = fixture->memory + offset, .size = size};
}

static uint64_t total_of(const struct list *list)
{
    uint64_t total = 0;

    for (size_t i = 0; i < list->count; i++) {
        total += list->members[i].size;
    }
    return total;
}

static int try_list(struct dma_fixture *fixture, struct list *list, size_t room)
{
    uint64_t seed = 0;

    for (size_t i = 0; i < list->count; i++) {
        dma_fill(fixture, list->members[i].physical - fixture->memory, list->members[i].size,
                 seed++);
    }
    return piommu_dma_map_sg(fixture->dma[0], list->members, list->count, BOTH, 0, list->segments,
                             room, &list->used);
}

static void grant_list(struct dma_fixture *fixture, struct list *list)
{
    list->handle = ++fixture->last_handle;
    for (size_t i = 0; i < list->count; i++) {
        dma_grant_more(fixture, list->handle, 0, 0, list->members[i].physical,
                       list->members[i].size, BOTH);
    }
    for (size_t i = 0; i < list->used; i++) {
        dma_grant_more(fixture, list->handle, list->segments[i].address, list->segments[i].size, 0,
                       0, BOTH);
    }
}

static void map_list(struct dma_fixture *fixture, struct list *list)
{
    assert_int_equal(try_list(fixture, list, MAX_ROOM), 0);
    grant_list(fixture, list);
    dma_sweep(fixture);
}

static void unmap_list(struct dma_fixture *fixture, struct list *list)
{
    assert_int_equal(piommu_dma_unmap_sg(fixture->dma[0], list->segments, list->used, BOTH, 0), 0);
    dma_revoke(fixture, list->handle);
    dma_sweep(fixture);
    for (size_t i = 0; i < list->used; i++) {
        assert_false(dma_reaches(fixture, 0, list->segments[i].address, false));
    }
}

static uint64_t least_of(uint64_t one, uint64_t other, uint64_t third)
{
    uint64_t least = one < other ? one : other;

    return least < third ? least : third;
}

/* Bytes that are contiguous for the device, in one granule, lead there. */
static void assert_leads_to(struct dma_fixture *fixture, uint64_t address, uint64_t size,
                            uint64_t expected)
{
    uint64_t physical;

    assert_true(dma_translate(fixture, 0, address, true, &physical));
    assert_true(physical == expected);
    assert_true(dma_translate(fixture, 0, address + size - 1, true, &physical));
    assert_true(physical == expected + size - 1);
}

/* The device goes along the segments and must come by all bytes of all members. */
static void assert_all_there(struct dma_fixture *fixture, const struct list *list)
{
    size_t segment = 0;
    uint64_t at = 0;

    for (size_t i = 0; i < list->count; i++) {
        uint64_t done = 0;

        while (done < list->members[i].size && segment < list->used) {
            uint64_t address = list->segments[segment].address + at;
            uint64_t part = least_of(list->members[i].size - done,
                                     list->segments[segment].size - at, PAGE - address % PAGE);

            assert_leads_to(fixture, address, part, list->members[i].physical + done);
            done += part;
            at += part;
            if (at == list->segments[segment].size) {
                segment++;
                at = 0;
            }
        }
        assert_true(done == list->members[i].size);
    }
    assert_int_equal(segment, list->used);
}

static void assert_limits(const struct list *list, const struct piommu_dma_device_config *limits)
{
    uint64_t most = limits->max_segment_size != 0 ? limits->max_segment_size : 0x10000;
    uint64_t boundary = limits->segment_boundary != 0 ? limits->segment_boundary : 0x100000000;

    for (size_t i = 0; i < list->used; i++) {
        uint64_t first = list->segments[i].address;
        uint64_t size = list->segments[i].size;

        assert_true(size != 0 && size <= most);
        assert_true(first / boundary == (first + size - 1) / boundary);
    }
}

/* ---- Shapes of lists ---- */

static void one_buffer(const struct dma_fixture *fixture, struct list *list)
{
    add(fixture, list, 5000, 20001);
}

static void whole_granules(const struct dma_fixture *fixture, struct list *list)
{
    add(fixture, list, 8 * PAGE, PAGE);
    add(fixture, list, 2 * PAGE, 3 * PAGE);
    add(fixture, list, 16 * PAGE, 2 * PAGE);
}

static void that_adjoin(const struct dma_fixture *fixture, struct list *list)
{
    add(fixture, list, 8 * PAGE, PAGE);
    add(fixture, list, 9 * PAGE, PAGE);
    add(fixture, list, 10 * PAGE, 100);
    add(fixture, list, 10 * PAGE + 100, 1);
    add(fixture, list, 10 * PAGE + 101, 2 * PAGE);
}

static void odd_in_the_middle(const struct dma_fixture *fixture, struct list *list)
{
    add(fixture, list, 0, 2 * PAGE);
    add(fixture, list, 8 * PAGE + 3, 5);
    add(fixture, list, 9 * PAGE, PAGE);
    add(fixture, list, 20 * PAGE + 4095, 2);
    add(fixture, list, 30 * PAGE + 1, PAGE - 1);
    add(fixture, list, 40 * PAGE, 1);
}

static void in_one_granule(const struct dma_fixture *fixture, struct list *list)
{
    add(fixture, list, 4 * PAGE + 100, 10);
    add(fixture, list, 4 * PAGE + 200, 10);
    add(fixture, list, 4 * PAGE + 110, 10);
    add(fixture, list, 4 * PAGE, 10);
}

static void the_same_twice(const struct dma_fixture *fixture, struct list *list)
{
    add(fixture, list, 4 * PAGE, PAGE);
    add(fixture, list, 4 * PAGE, PAGE);
}

static void large_ones(const struct dma_fixture *fixture, struct list *list)
{
    add(fixture, list, 0, 40 * PAGE);
    add(fixture, list, 50 * PAGE, 70 * PAGE + 1);
}

static void many(const struct dma_fixture *fixture, struct list *list)
{
    for (uint64_t i = 0; i < 60; i++) {
        add(fixture, list, 2 * i * PAGE + 13 * i, 1 + 70 * i);
    }
}

static void (*const shapes[])(const struct dma_fixture *fixture, struct list *list) = {
    one_buffer,     whole_granules, that_adjoin, odd_in_the_middle,
    in_one_granule, the_same_twice, many,        large_ones,
};

static void try_shapes(enum dma_kind kind, const struct piommu_dma_device_config *limits)
{
    const struct dma_options options = {.device = *limits};
    struct dma_fixture *fixture = dma_open(kind, &options);

    for (size_t i = 0; i < COUNT(shapes); i++) {
        struct list list = {.count = 0};

        shapes[i](fixture, &list);
        map_list(fixture, &list);
        assert_all_there(fixture, &list);
        assert_limits(&list, limits);
        unmap_list(fixture, &list);
    }
    dma_close(fixture);
}

static void test_every_byte_in_order(enum dma_kind kind)
{
    const struct piommu_dma_device_config limits = {.mask = 0};

    try_shapes(kind, &limits);
}

static void test_sizes_of_segments(enum dma_kind kind)
{
    static const uint64_t sizes[] = {1000, 1536, 4096, 4097, 5555, 12288, 65535, UINT64_MAX};

    for (size_t i = 0; i < COUNT(sizes); i++) {
        const struct piommu_dma_device_config limits = {.max_segment_size = sizes[i]};

        try_shapes(kind, &limits);
    }
}

static void test_boundaries_of_segments(enum dma_kind kind)
{
    static const uint64_t boundaries[] = {4096, 8192, 65536, 1 << 20, UINT64_C(1) << 63};

    for (size_t i = 0; i < COUNT(boundaries); i++) {
        const struct piommu_dma_device_config limits = {.max_segment_size = UINT64_MAX,
                                                        .segment_boundary = boundaries[i]};
        const struct piommu_dma_device_config both = {.max_segment_size = 5555,
                                                      .segment_boundary = boundaries[i]};

        try_shapes(kind, &limits);
        try_shapes(kind, &both);
    }
}

/* ---- What becomes one ---- */

static size_t segments_of(enum dma_kind kind, const struct piommu_dma_device_config *limits,
                          void (*shape)(const struct dma_fixture *fixture, struct list *list))
{
    const struct dma_options options = {.device = *limits};
    struct dma_fixture *fixture = dma_open(kind, &options);
    struct list list = {.count = 0};

    shape(fixture, &list);
    map_list(fixture, &list);
    unmap_list(fixture, &list);
    dma_close(fixture);
    return list.used;
}

static void test_what_meets_is_one_segment(enum dma_kind kind)
{
    const struct piommu_dma_device_config none = {.max_segment_size = UINT64_MAX};
    const struct piommu_dma_device_config small = {.max_segment_size = PAGE};

    assert_int_equal(segments_of(kind, &none, whole_granules), 1);
    assert_int_equal(segments_of(kind, &small, whole_granules), 6);
    assert_int_equal(segments_of(kind, &none, that_adjoin), 1);
    assert_int_equal(segments_of(kind, &none, the_same_twice), 1);
    /* 0 to 2 pages | 5 bytes | a page | 2 over the end of one | all but the first byte, a byte */
    assert_int_equal(segments_of(kind, &none, odd_in_the_middle), 5);
    assert_int_equal(segments_of(kind, &none, in_one_granule), 4);
}

static void granules_that_adjoin(const struct dma_fixture *fixture, struct list *list)
{
    add(fixture, list, 8 * PAGE, PAGE);
    add(fixture, list, 9 * PAGE, 2 * PAGE);
    add(fixture, list, 11 * PAGE, PAGE);
}

/* What adjoins in memory is told to an IOMMU that takes requests as one mapping. */
static void try_as_one_request(enum dma_kind kind,
                               void (*shape)(const struct dma_fixture *fixture, struct list *list))
{
    struct dma_fixture *fixture = dma_open(kind, NULL);
    struct list list = {.count = 0};

    shape(fixture, &list);
    fixture->viommu->log_count = 0;
    map_list(fixture, &list);
    assert_int_equal(viommu_fixture_count(fixture->viommu, VIOMMU_MODEL_MAP), 1);
    unmap_list(fixture, &list);
    assert_int_equal(viommu_fixture_count(fixture->viommu, VIOMMU_MODEL_UNMAP), 1);
    dma_close(fixture);
}

static void test_what_adjoins_is_one_request(enum dma_kind kind)
{
    try_as_one_request(kind, that_adjoin);
    try_as_one_request(kind, granules_that_adjoin);
}

/* More than can be without a limit: segments end at 4 GiB all the same. */
static void test_the_boundary_by_default(enum dma_kind kind)
{
    const struct dma_options options = {.device = {.max_segment_size = UINT64_MAX}};
    const struct piommu_segment memory = {UINT64_C(0x200000000), UINT64_C(0x180000000)};
    struct dma_fixture *fixture = dma_open(kind, &options);
    struct list list = {.count = 0};

    assert_int_equal(piommu_dma_map_sg(fixture->dma[0], &memory, 1, BOTH, 0, list.segments,
                                       MAX_ROOM, &list.used),
                     0);
    assert_in_range(list.used, 2, 3);
    assert_limits(&list, &options.device);
    assert_int_equal(piommu_dma_unmap_sg(fixture->dma[0], list.segments, list.used, BOTH, 0), 0);
    dma_close(fixture);
}

/* ---- Room ---- */

static void test_room(enum dma_kind kind)
{
    /* Just as many addresses as it takes: none of them may stay taken. */
    const struct dma_options options = {.device = {.max_segment_size = 1000, .mask = 0x3fff}};
    struct dma_fixture *fixture = dma_open(kind, &options);
    struct list list = {.count = 0};
    size_t needed;

    add(fixture, &list, 4 * PAGE + 11, 3500);
    add(fixture, &list, 9 * PAGE, 2 * PAGE);
    map_list(fixture, &list);
    needed = list.used;
    assert_int_equal(needed, 4 + 9);
    unmap_list(fixture, &list);
    for (size_t room = 0; room < needed; room++) {
        list.used = 77;
        assert_int_equal(try_list(fixture, &list, room), -PIOMMU_ENOSPC);
        assert_int_equal(dma_mapped_pages(fixture), 0);
        dma_sweep(fixture);
    }
    memset(&list.segments[needed], 0x5a, sizeof(list.segments[0]));
    assert_int_equal(try_list(fixture, &list, needed), 0);
    assert_true(list.segments[needed].size == UINT64_C(0x5a5a5a5a5a5a5a5a));
    assert_int_equal(list.used, needed);
    grant_list(fixture, &list);
    unmap_list(fixture, &list);
    dma_close(fixture);
}

/* As many as the list has suffice for what is within the limits. */
static void test_room_for_each_member(enum dma_kind kind)
{
    struct dma_fixture *fixture = dma_open(kind, NULL);

    for (size_t i = 0; i + 1 < COUNT(shapes); i++) {
        struct list list = {.count = 0};

        shapes[i](fixture, &list);
        assert_int_equal(try_list(fixture, &list, list.count), 0);
        grant_list(fixture, &list);
        unmap_list(fixture, &list);
    }
    dma_close(fixture);
}

/* ---- Syncs ---- */

static void test_syncs(enum dma_kind kind)
{
    struct dma_fixture *fixture = dma_open(kind, NULL);
    struct piommu_dma_device *device = fixture->dma[0];
    struct list list = {.count = 0};

    odd_in_the_middle(fixture, &list);
    map_list(fixture, &list);
    assert_int_equal(piommu_dma_sync_sg_for_cpu(device, list.segments, list.used, BOTH), 0);
    assert_int_equal(piommu_dma_sync_sg_for_device(device, list.segments, list.used, BOTH), 0);
    assert_int_equal(piommu_dma_sync_sg_for_cpu(NULL, list.segments, list.used, BOTH),
                     -PIOMMU_EINVAL);
    assert_int_equal(piommu_dma_sync_sg_for_cpu(device, list.segments, list.used, BAD),
                     -PIOMMU_EINVAL);
    assert_int_equal(piommu_dma_sync_sg_for_device(device, NULL, list.used, BOTH), -PIOMMU_EINVAL);
    unmap_list(fixture, &list);
    dma_close(fixture);
}

/* ---- What is refused ---- */

static int try_member(struct dma_fixture *fixture, uint64_t physical, uint64_t size)
{
    struct piommu_segment members[3] = {
        {fixture->memory, PAGE}, {physical, size}, {fixture->memory + 8 * PAGE, PAGE}};
    struct piommu_dma_segment result[8];
    size_t used = 99;
    int error = piommu_dma_map_sg(fixture->dma[0], members, 3, TO, 0, result, 8, &used);

    assert_int_equal(dma_mapped_pages(fixture), 0);
    assert_int_equal(used, 99);
    return error;
}

static void test_members_that_make_no_sense(enum dma_kind kind)
{
    struct dma_fixture *fixture = dma_open(kind, NULL);

    assert_int_equal(try_member(fixture, fixture->memory + 4 * PAGE, 0), -PIOMMU_EINVAL);
    assert_int_equal(try_member(fixture, UINT64_MAX, 2), -PIOMMU_ERANGE);
    assert_int_equal(try_member(fixture, 1, UINT64_MAX), -PIOMMU_ERANGE);
    assert_true(try_member(fixture, 0, UINT64_C(1) << 62) < 0);
    dma_close(fixture);
}

static void test_arguments(enum dma_kind kind)
{
    struct dma_fixture *fixture = dma_open(kind, NULL);
    struct piommu_dma_device *device = fixture->dma[0];
    const struct piommu_segment member = {fixture->memory, PAGE};
    struct piommu_dma_segment out;
    size_t used;

    assert_int_equal(piommu_dma_map_sg(NULL, &member, 1, TO, 0, &out, 1, &used), -PIOMMU_EINVAL);
    assert_int_equal(piommu_dma_map_sg(device, NULL, 1, TO, 0, &out, 1, &used), -PIOMMU_EINVAL);
    assert_int_equal(piommu_dma_map_sg(device, &member, 0, TO, 0, &out, 1, &used), -PIOMMU_EINVAL);
    assert_int_equal(piommu_dma_map_sg(device, &member, 1, BAD, 0, &out, 1, &used), -PIOMMU_EINVAL);
    assert_int_equal(piommu_dma_map_sg(device, &member, 1, TO, 2, &out, 1, &used), -PIOMMU_EINVAL);
    assert_int_equal(piommu_dma_map_sg(device, &member, 1, TO, 0, NULL, 1, &used), -PIOMMU_EINVAL);
    assert_int_equal(piommu_dma_map_sg(device, &member, 1, TO, 0, &out, 1, NULL), -PIOMMU_EINVAL);
    assert_int_equal(dma_mapped_pages(fixture), 0);

    assert_int_equal(piommu_dma_map_sg(device, &member, 1, TO, 0, &out, 1, &used), 0);
    assert_int_equal(piommu_dma_unmap_sg(NULL, &out, 1, TO, 0), -PIOMMU_EINVAL);
    assert_int_equal(piommu_dma_unmap_sg(device, NULL, 1, TO, 0), -PIOMMU_EINVAL);
    assert_int_equal(piommu_dma_unmap_sg(device, &out, 0, TO, 0), -PIOMMU_EINVAL);
    assert_int_equal(piommu_dma_unmap_sg(device, &out, 1, BAD, 0), -PIOMMU_EINVAL);
    assert_int_equal(piommu_dma_unmap_sg(device, &out, 1, TO, 2), -PIOMMU_EINVAL);
    assert_int_equal(dma_mapped_pages(fixture), 1);
    assert_int_equal(piommu_dma_unmap_sg(device, &out, 1, TO, 0), 0);
    assert_int_equal(piommu_dma_unmap_sg(device, &out, 1, TO, 0), -PIOMMU_ENOENT);
    assert_int_equal(dma_mapped_pages(fixture), 0);
    dma_close(fixture);
}

/* The addresses of a list are all given back: they can be had again and again. */
static void test_addresses_come_back(enum dma_kind kind)
{
    const struct dma_options options = {.device = {.mask = 0x3ffff}};
    struct dma_fixture *fixture = dma_open(kind, &options);

    for (unsigned int i = 0; i < 100; i++) {
        struct list list = {.count = 0};

        odd_in_the_middle(fixture, &list);
        add(fixture, &list, 64 * PAGE, 40 * PAGE);
        assert_int_equal(try_list(fixture, &list, MAX_ROOM), 0);
        assert_true(total_of(&list) > 40 * PAGE);
        assert_int_equal(piommu_dma_unmap_sg(fixture->dma[0], list.segments, list.used, BOTH, 0),
                         0);
    }
    dma_close(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        DMA_TEST(DMA_ALL, test_every_byte_in_order),
        DMA_TEST(DMA_ALL, test_sizes_of_segments),
        DMA_TEST(DMA_ALL, test_boundaries_of_segments),
        DMA_TEST(DMA_ALL, test_what_meets_is_one_segment),
        DMA_TEST(DMA_VIRTIO, test_what_adjoins_is_one_request),
        DMA_TEST(DMA_LAZY, test_the_boundary_by_default),
        DMA_TEST(DMA_ALL, test_room),
        DMA_TEST(DMA_ALL, test_room_for_each_member),
        DMA_TEST(DMA_ALL, test_syncs),
        DMA_TEST(DMA_ALL, test_members_that_make_no_sense),
        DMA_TEST(DMA_ALL, test_arguments),
        DMA_TEST(DMA_ALL, test_addresses_come_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
