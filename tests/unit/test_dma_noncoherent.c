/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Devices that do not snoop: both sides see what the other has written, whatever caches write back
 * meanwhile, and nothing that the CPU has beside a buffer in the same line is lost.
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

static const uint64_t offsets[] = {0, 1, 64, 1000, 4032, 4095};
static const uint64_t sizes[] = {1, 2, 63, 64, 65, 4032, 4096, 4097, 8191, 8192, 16384};

static struct dma_fixture *open_device(enum dma_kind kind, bool untrusted, uint32_t pages)
{
    const struct dma_options options = {
        .untrusted = untrusted, .device = {.non_coherent = true}, .space = {.bounce_pages = pages}};

    return dma_open(kind, &options);
}

static void for_each_place(enum dma_kind kind, void (*try_place)(struct dma_fixture *fixture,
                                                                 uint64_t first, uint64_t size))
{
    for (unsigned int untrusted = 0; untrusted < 2; untrusted++) {
        struct dma_fixture *fixture = open_device(kind, untrusted != 0, 2);

        for (size_t i = 0; i < COUNT(offsets); i++) {
            for (size_t k = 0; k < COUNT(sizes); k++) {
                try_place(fixture, FIRST + offsets[i], sizes[k]);
            }
        }
        assert_int_equal(dma_statistics(fixture).bounce_pages_used, 0);
        dma_close(fixture);
    }
}

/* The CPU goes on with what lies beside a buffer, and caches write it back when they like. */
static void use_neighbours(struct dma_fixture *fixture, uint64_t first, uint64_t size,
                           uint64_t seed)
{
    dma_fill(fixture, first - 70, 70, seed);
    dma_fill(fixture, first + size, 70, seed + 1);
    fake_os_evict(fixture->os);
}

static void assert_neighbours(struct dma_fixture *fixture, uint64_t first, uint64_t size,
                              uint64_t seed)
{
    dma_assert_filled(fixture, first - 70, 70, seed, 0);
    dma_assert_filled(fixture, first + size, 70, seed + 1, 0);
}

static void send(struct dma_fixture *fixture, uint64_t first, uint64_t size)
{
    struct dma_mapping mapping;

    dma_fill(fixture, first, size, 1);
    mapping = dma_map(fixture, first, size, TO);
    dma_device_assert_filled(fixture, 0, mapping.address, size, 1, 0);
    use_neighbours(fixture, first, size, 5);
    dma_unmap(fixture, &mapping);
    dma_assert_filled(fixture, first, size, 1, 0);
    assert_neighbours(fixture, first, size, 5);
}

static void test_what_a_device_reads(enum dma_kind kind)
{
    for_each_place(kind, send);
}

static void receive_in(struct dma_fixture *fixture, uint64_t first, uint64_t size,
                       enum piommu_dma_direction direction)
{
    struct dma_mapping mapping;

    dma_fill(fixture, first, size, 1);
    mapping = dma_map(fixture, first, size, direction);
    dma_device_fill(fixture, 0, mapping.address, size, 2);
    use_neighbours(fixture, first, size, 5);
    dma_unmap(fixture, &mapping);
    dma_assert_filled(fixture, first, size, 2, 0);
    assert_neighbours(fixture, first, size, 5);
}

static void receive(struct dma_fixture *fixture, uint64_t first, uint64_t size)
{
    receive_in(fixture, first, size, FROM);
}

static void test_what_a_device_writes(enum dma_kind kind)
{
    for_each_place(kind, receive);
}

static void exchange(struct dma_fixture *fixture, uint64_t first, uint64_t size)
{
    struct dma_mapping mapping;

    receive_in(fixture, first, size, BOTH);
    mapping = dma_map(fixture, first, size, BOTH);
    dma_device_assert_filled(fixture, 0, mapping.address, size, 2, 0);
    dma_unmap(fixture, &mapping);
}

static void test_both_ways(enum dma_kind kind)
{
    for_each_place(kind, exchange);
}

/* What the device leaves alone stays what the CPU has written last. */
static void receive_part(struct dma_fixture *fixture, uint64_t first, uint64_t size)
{
    struct dma_mapping mapping;
    uint64_t part = size / 3;

    dma_fill(fixture, first, size, 7);
    mapping = dma_map(fixture, first, size, FROM);
    if (part != 0) {
        dma_device_fill(fixture, 0, mapping.address + part, part, 8);
    }
    fake_os_evict(fixture->os);
    dma_unmap(fixture, &mapping);
    dma_assert_filled(fixture, first, part, 7, 0);
    dma_assert_filled(fixture, first + part, part, 8, 0);
    dma_assert_filled(fixture, first + 2 * part, size - 2 * part, 7, 2 * part);
}

static void test_what_a_device_leaves_alone(enum dma_kind kind)
{
    for_each_place(kind, receive_part);
}

/* Halves change hands one by one; each side sees what it was given. */
static void hand_over(struct dma_fixture *fixture, uint64_t first, uint64_t size)
{
    struct piommu_dma_device *device = fixture->dma[0];
    uint64_t half = (size / 2) & ~UINT64_C(63); /* no line is in both hands */
    struct dma_mapping mapping;

    if (half == 0 || first % 64 != 0) {
        return;
    }
    dma_fill(fixture, first, size, 1);
    mapping = dma_map(fixture, first, size, BOTH);
    dma_device_fill(fixture, 0, mapping.address, size, 2);
    assert_int_equal(piommu_dma_sync_single_for_cpu(device, mapping.address, half, BOTH), 0);
    dma_assert_filled(fixture, first, half, 2, 0);
    dma_fill(fixture, first, half, 3);
    assert_int_equal(piommu_dma_sync_single_for_device(device, mapping.address, half, BOTH), 0);
    dma_device_assert_filled(fixture, 0, mapping.address, half, 3, 0);
    dma_device_fill(fixture, 0, mapping.address, half, 4);
    fake_os_evict(fixture->os);
    dma_unmap(fixture, &mapping);
    dma_assert_filled(fixture, first, half, 4, 0);
    dma_assert_filled(fixture, first + half, size - half, 2, half);
}

static void test_syncs_of_parts(enum dma_kind kind)
{
    for_each_place(kind, hand_over);
}

static void test_lists(enum dma_kind kind)
{
    struct dma_fixture *fixture = open_device(kind, false, 4);
    struct piommu_dma_device *device = fixture->dma[0];
    const struct piommu_segment list[] = {{fixture->memory + PAGE, 2 * PAGE},
                                          {fixture->memory + 8 * PAGE + 64, 128},
                                          {fixture->memory + 16 * PAGE + 3, 1000}};
    struct piommu_dma_segment result[4];
    size_t used;

    for (size_t i = 0; i < COUNT(list); i++) {
        dma_fill(fixture, list[i].physical - fixture->memory, list[i].size, i);
    }
    assert_int_equal(piommu_dma_map_sg(device, list, 3, BOTH, 0, result, 4, &used), 0);
    assert_int_equal(used, 3);
    for (size_t i = 0; i < used; i++) {
        dma_device_assert_filled(fixture, 0, result[i].address, result[i].size, i, 0);
        dma_device_fill(fixture, 0, result[i].address, result[i].size, 10 + i);
    }
    assert_int_equal(piommu_dma_sync_sg_for_cpu(device, result, used, BOTH), 0);
    for (size_t i = 0; i < used; i++) {
        dma_assert_filled(fixture, list[i].physical - fixture->memory, list[i].size, 10 + i, 0);
        dma_fill(fixture, list[i].physical - fixture->memory, list[i].size, 20 + i);
    }
    assert_int_equal(piommu_dma_sync_sg_for_device(device, result, used, BOTH), 0);
    for (size_t i = 0; i < used; i++) {
        dma_device_assert_filled(fixture, 0, result[i].address, result[i].size, 20 + i, 0);
        dma_device_fill(fixture, 0, result[i].address, result[i].size, 30 + i);
    }
    assert_int_equal(piommu_dma_unmap_sg(device, result, used, BOTH, 0), 0);
    for (size_t i = 0; i < used; i++) {
        dma_assert_filled(fixture, list[i].physical - fixture->memory, list[i].size, 30 + i, 0);
    }
    dma_sweep(fixture);
    dma_close(fixture);
}

/* Caches are left alone; what the caller syncs is seen. */
static void test_without_syncs(enum dma_kind kind)
{
    struct dma_fixture *fixture = open_device(kind, false, 0);
    struct piommu_dma_device *device = fixture->dma[0];
    struct fake_os_counters before;
    struct fake_os_counters after;
    unsigned int handle;
    uint64_t address;

    dma_fill(fixture, 0, 2 * PAGE, 1);
    fake_os_get_counters(fixture->os, &before);
    assert_int_equal(piommu_dma_map_single(device, fixture->memory, 2 * PAGE, BOTH,
                                           PIOMMU_DMA_NO_CPU_SYNC, &address),
                     0);
    handle = dma_grant(fixture, address, 2 * PAGE, fixture->memory, 2 * PAGE, BOTH);
    assert_int_equal(piommu_dma_sync_single_for_device(device, address + PAGE, 64, BOTH), 0);
    dma_device_assert_filled(fixture, 0, address + PAGE, 64, 1, PAGE);
    fake_os_get_counters(fixture->os, &after);
    assert_int_equal(after.invalidated_lines, before.invalidated_lines);
    assert_int_equal(
        piommu_dma_unmap_single(device, address, 2 * PAGE, BOTH, PIOMMU_DMA_NO_CPU_SYNC), 0);
    fake_os_get_counters(fixture->os, &after);
    assert_int_equal(after.invalidated_lines, before.invalidated_lines);
    dma_revoke(fixture, handle);
    dma_sweep(fixture);
    dma_close(fixture);
}

/* Whole lines need no pages; an end in the midst of one does, where the device writes. */
static void test_who_needs_pages(enum dma_kind kind)
{
    struct dma_fixture *fixture = open_device(kind, false, 0);
    struct dma_mapping mapping = dma_map(fixture, 64, 128, FROM);
    struct dma_mapping refused;

    dma_unmap(fixture, &mapping);
    mapping = dma_map(fixture, 8 * PAGE + 3, 5, TO);
    dma_unmap(fixture, &mapping);
    assert_int_equal(dma_try_map(fixture, 16 * PAGE + 3, 61, FROM, &refused), -PIOMMU_EOPNOTSUPP);
    assert_int_equal(dma_try_map(fixture, 16 * PAGE, 63, BOTH, &refused), -PIOMMU_EOPNOTSUPP);
    assert_int_equal(dma_mapped_pages(fixture), 0);
    dma_close(fixture);
}

/* Both sides use it at any time. */
static void test_coherent_buffers(enum dma_kind kind)
{
    struct dma_fixture *fixture = open_device(kind, false, 0);
    struct piommu_dma_buffer buffer;
    uint8_t bytes[3] = {0};

    assert_int_equal(piommu_dma_alloc(fixture->dma[0], 10000, &buffer), 0);
    memcpy((uint8_t *)buffer.memory + 5000, "abc", 3);
    assert_int_equal(dma_read(fixture, 0, buffer.address + 5000, bytes, 3), 3);
    assert_memory_equal(bytes, "abc", 3);
    assert_int_equal(dma_write(fixture, 0, buffer.address + 9997, "xyz", 3), 3);
    assert_memory_equal((uint8_t *)buffer.memory + 9997, "xyz", 3);
    assert_int_equal(piommu_dma_free(fixture->dma[0], &buffer), 0);
    dma_sweep(fixture);
    dma_close(fixture);
}

/* Nobody touches caches for the registers of another device. */
static void test_resources(enum dma_kind kind)
{
    struct dma_fixture *fixture = open_device(kind, false, 0);
    uint64_t address;

    assert_int_equal(piommu_dma_map_resource(fixture->dma[0], 0x10000040, 8, BOTH, &address), 0);
    assert_int_equal(piommu_dma_unmap_resource(fixture->dma[0], address, 8, BOTH), 0);
    dma_close(fixture);
}

static void test_what_the_host_must_have(enum dma_kind kind)
{
    const struct dma_options options = {.device = {.non_coherent = true}};

    for (unsigned int lacking = 0; lacking < 3; lacking++) {
        struct dma_fixture *fixture = dma_open_bare(kind, &options);
        struct piommu_os *os = fake_os_callbacks(fixture->os);
        struct piommu_os whole = *os;
        struct piommu_dma_device *device = NULL;

        assert_int_equal(dma_try_space(fixture), 0);
        os->memory_at = lacking == 0 ? NULL : os->memory_at;
        os->cache_clean = lacking == 1 ? NULL : os->cache_clean;
        os->cache_invalidate = lacking == 2 ? NULL : os->cache_invalidate;
        assert_int_equal(
            piommu_dma_device_add(fixture->space, fixture->devices[0], &options.device, &device),
            -PIOMMU_EINVAL);
        assert_null(device);
        *os = whole;
        dma_close(fixture);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        DMA_TEST(DMA_ALL, test_what_a_device_reads),
        DMA_TEST(DMA_ALL, test_what_a_device_writes),
        DMA_TEST(DMA_ALL, test_both_ways),
        DMA_TEST(DMA_ALL, test_what_a_device_leaves_alone),
        DMA_TEST(DMA_ALL, test_syncs_of_parts),
        DMA_TEST(DMA_ALL, test_lists),
        DMA_TEST(DMA_ALL, test_without_syncs),
        DMA_TEST(DMA_ALL, test_who_needs_pages),
        DMA_TEST(DMA_ALL, test_coherent_buffers),
        DMA_TEST(DMA_ALL, test_resources),
        DMA_TEST(DMA_ALL, test_what_the_host_must_have),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
