/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Single buffers for trusted devices that snoop: who may do what where, from when to when.
 */

#include "dma_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define PAGE DMA_PAGE

static const uint64_t offsets[] = {0, 1, 63, 64, 2048, 4095};
static const uint64_t sizes[] = {1, 2, 63, 64, 4095, 4096, 4097, 8191, 8192, 8193, 12289};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- Who may do what ---- */

static void assert_rights(struct dma_fixture *fixture, uint64_t address, bool read, bool write)
{
    assert_int_equal(dma_reaches(fixture, 0, address, false), read);
    assert_int_equal(dma_reaches(fixture, 0, address, true), write);
}

static void test_directions_are_permissions(enum dma_kind kind)
{
    struct dma_fixture *fixture = dma_open(kind, NULL);

    for (int i = 0; i < 3; i++) {
        enum piommu_dma_direction direction = (enum piommu_dma_direction)i;
        struct dma_mapping mapping = dma_map(fixture, PAGE + 100, 2 * PAGE, direction);
        bool read = direction != PIOMMU_DMA_FROM_DEVICE || !fixture->info.write_only;
        bool write = direction != PIOMMU_DMA_TO_DEVICE;

        assert_rights(fixture, mapping.address, read, write);
        assert_rights(fixture, mapping.address + 2 * PAGE - 1, read, write);
        dma_unmap(fixture, &mapping);
        assert_rights(fixture, mapping.address, false, false);
        assert_rights(fixture, mapping.address + 2 * PAGE - 1, false, false);
    }
    dma_close(fixture);
}

/* ---- Where buffers begin and end ---- */

static void try_place(struct dma_fixture *fixture, uint64_t offset, uint64_t size)
{
    uint64_t first = 4 * PAGE + offset;
    struct dma_mapping mapping;

    dma_fill(fixture, first, size, offset + size);
    mapping = dma_map(fixture, first, size, PIOMMU_DMA_BIDIRECTIONAL);
    assert_int_equal(mapping.address % PAGE, offset);
    assert_int_equal(dma_mapped_pages(fixture), (offset + size + PAGE - 1) / PAGE);
    dma_device_assert_filled(fixture, 0, mapping.address, size, offset + size, 0);
    dma_device_fill(fixture, 0, mapping.address, size, size);
    dma_unmap(fixture, &mapping);
    dma_assert_filled(fixture, first, size, size, 0);
    assert_false(dma_reaches(fixture, 0, mapping.address, false));
}

static void test_buffers_begin_and_end_anywhere(enum dma_kind kind)
{
    struct dma_fixture *fixture = dma_open(kind, NULL);

    for (size_t i = 0; i < COUNT(offsets); i++) {
        for (size_t k = 0; k < COUNT(sizes); k++) {
            try_place(fixture, offsets[i], sizes[k]);
        }
    }
    assert_int_equal(dma_mapped_pages(fixture), 0);
    dma_close(fixture);
}

static void test_a_page_and_an_offset_are_an_address(enum dma_kind kind)
{
    struct dma_fixture *fixture = dma_open(kind, NULL);
    uint64_t address;
    unsigned int handle;

    dma_fill(fixture, 2 * PAGE + 77, 100, 1);
    assert_int_equal(piommu_dma_map_page(fixture->dma[0], fixture->memory + 2 * PAGE, 77, 100,
                                         PIOMMU_DMA_TO_DEVICE, 0, &address),
                     0);
    handle = dma_grant(fixture, address, 100, fixture->memory + 2 * PAGE + 77, 100,
                       PIOMMU_DMA_TO_DEVICE);
    dma_device_assert_filled(fixture, 0, address, 100, 1, 0);
    dma_sweep(fixture);
    assert_int_equal(piommu_dma_unmap_page(fixture->dma[0], address, 100, PIOMMU_DMA_TO_DEVICE, 0),
                     0);
    dma_revoke(fixture, handle);
    dma_sweep(fixture);
    dma_close(fixture);
}

static void test_much_memory_at_once(enum dma_kind kind)
{
    struct dma_fixture *fixture = dma_open(kind, NULL);
    const uint64_t size = 0x40000000 - 5;
    const uint64_t physical = 0x4000000003;
    uint64_t address;
    uint64_t reached;

    assert_int_equal(piommu_dma_map_single(fixture->dma[0], physical, size,
                                           PIOMMU_DMA_BIDIRECTIONAL, 0, &address),
                     0);
    for (uint64_t at = 0; at < size; at += size - 1) {
        assert_true(dma_translate(fixture, 0, address + at, true, &reached));
        assert_true(reached == physical + at);
    }
    assert_int_equal(
        piommu_dma_unmap_single(fixture->dma[0], address, size, PIOMMU_DMA_BIDIRECTIONAL, 0), 0);
    assert_int_equal(dma_mapped_pages(fixture), 0);
    assert_false(dma_reaches(fixture, 0, address, false));
    assert_false(dma_reaches(fixture, 0, address + size - 1, false));
    dma_close(fixture);
}

/* Takes addresses of its own each time, none of them twice. */
static void test_many_at_a_time(enum dma_kind kind)
{
    enum { MAPPINGS = 60 };
    struct dma_fixture *fixture = dma_open(kind, NULL);
    struct dma_mapping mappings[MAPPINGS];

    for (uint64_t i = 0; i < MAPPINGS; i++) {
        uint64_t offset = 2 * i * PAGE + 17 * i;

        dma_fill(fixture, offset, PAGE, i);
        mappings[i] = dma_map(fixture, offset, PAGE, PIOMMU_DMA_TO_DEVICE);
    }
    for (uint64_t i = 0; i < MAPPINGS; i++) {
        uint64_t k = i * 7 % MAPPINGS;

        dma_device_assert_filled(fixture, 0, mappings[k].address, PAGE, k, 0);
        dma_unmap(fixture, &mappings[k]);
    }
    dma_close(fixture);
}

static void test_one_buffer_twice(enum dma_kind kind)
{
    struct dma_fixture *fixture = dma_open(kind, NULL);
    struct dma_mapping one = dma_map(fixture, 100, 5000, PIOMMU_DMA_FROM_DEVICE);
    struct dma_mapping other = dma_map(fixture, 100, 5000, PIOMMU_DMA_TO_DEVICE);

    assert_true(one.address != other.address);
    dma_device_fill(fixture, 0, one.address, 5000, 8);
    dma_device_assert_filled(fixture, 0, other.address, 5000, 8, 0);
    dma_unmap(fixture, &one);
    dma_device_assert_filled(fixture, 0, other.address, 5000, 8, 0);
    dma_unmap(fixture, &other);
    dma_close(fixture);
}

/* ---- Syncs, where there is nothing to do ---- */

static void test_syncs_of_parts(enum dma_kind kind)
{
    struct dma_fixture *fixture = dma_open(kind, NULL);
    struct dma_mapping mapping = dma_map(fixture, 1000, 9000, PIOMMU_DMA_BIDIRECTIONAL);
    struct piommu_dma_device *device = fixture->dma[0];

    for (uint64_t from = 0; from < 9000; from += 2999) {
        assert_int_equal(piommu_dma_sync_single_for_cpu(device, mapping.address + from, 9000 - from,
                                                        PIOMMU_DMA_BIDIRECTIONAL),
                         0);
        assert_int_equal(piommu_dma_sync_single_for_device(device, mapping.address + from, 1,
                                                           PIOMMU_DMA_BIDIRECTIONAL),
                         0);
    }
    dma_unmap(fixture, &mapping);
    dma_close(fixture);
}

static void test_a_caller_may_do_without_syncs(enum dma_kind kind)
{
    struct dma_fixture *fixture = dma_open(kind, NULL);
    uint64_t address;

    dma_fill(fixture, 3, 4999, 1);
    assert_int_equal(piommu_dma_map_single(fixture->dma[0], fixture->memory + 3, 4999,
                                           PIOMMU_DMA_TO_DEVICE, PIOMMU_DMA_NO_CPU_SYNC, &address),
                     0);
    dma_device_assert_filled(fixture, 0, address, 4999, 1, 0);
    assert_int_equal(piommu_dma_unmap_single(fixture->dma[0], address, 4999, PIOMMU_DMA_TO_DEVICE,
                                             PIOMMU_DMA_NO_CPU_SYNC),
                     0);
    dma_sweep(fixture);
    dma_close(fixture);
}

/* ---- What is refused ---- */

#define TO   PIOMMU_DMA_TO_DEVICE
#define BOTH PIOMMU_DMA_BIDIRECTIONAL
#define BAD  ((enum piommu_dma_direction)3)

static void test_arguments_of_map(enum dma_kind kind)
{
    struct dma_fixture *fixture = dma_open(kind, NULL);
    struct piommu_dma_device *device = fixture->dma[0];
    uint64_t memory = fixture->memory;
    uint64_t address;

    assert_int_equal(piommu_dma_map_single(NULL, memory, 1, TO, 0, &address), -PIOMMU_EINVAL);
    assert_int_equal(piommu_dma_map_single(device, memory, 0, TO, 0, &address), -PIOMMU_EINVAL);
    assert_int_equal(piommu_dma_map_single(device, memory, 1, BAD, 0, &address), -PIOMMU_EINVAL);
    assert_int_equal(piommu_dma_map_single(device, memory, 1, TO, 2, &address), -PIOMMU_EINVAL);
    assert_int_equal(piommu_dma_map_single(device, memory, 1, TO, 0, NULL), -PIOMMU_EINVAL);
    assert_int_equal(piommu_dma_map_single(device, UINT64_MAX, 2, TO, 0, &address), -PIOMMU_ERANGE);
    assert_int_equal(piommu_dma_map_single(device, 1, UINT64_MAX, TO, 0, &address), -PIOMMU_ERANGE);
    assert_int_equal(dma_mapped_pages(fixture), 0);
    dma_close(fixture);
}

static void test_memory_that_hardware_cannot_address(enum dma_kind kind)
{
    struct dma_fixture *fixture = dma_open(kind, NULL);
    const uint64_t end = UINT64_C(1) << 40;
    uint64_t address;

    assert_int_equal(piommu_dma_map_single(fixture->dma[0], end - 1, 1, TO, 0, &address), 0);
    assert_int_equal(piommu_dma_unmap_single(fixture->dma[0], address, 1, TO, 0), 0);
    assert_int_equal(piommu_dma_map_single(fixture->dma[0], end - 1, 2, TO, 0, &address),
                     -PIOMMU_ERANGE);
    assert_int_equal(piommu_dma_map_single(fixture->dma[0], end, PAGE, TO, 0, &address),
                     -PIOMMU_ERANGE);
    assert_int_equal(dma_mapped_pages(fixture), 0);
    dma_close(fixture);
}

static void test_arguments_of_unmap(enum dma_kind kind)
{
    struct dma_fixture *fixture = dma_open(kind, NULL);
    struct piommu_dma_device *device = fixture->dma[0];
    struct dma_mapping mapping = dma_map(fixture, 100, 200, TO);
    uint64_t address = mapping.address;

    assert_int_equal(piommu_dma_unmap_single(NULL, address, 200, TO, 0), -PIOMMU_EINVAL);
    assert_int_equal(piommu_dma_unmap_single(device, address, 0, TO, 0), -PIOMMU_EINVAL);
    assert_int_equal(piommu_dma_unmap_single(device, address, 200, BAD, 0), -PIOMMU_EINVAL);
    assert_int_equal(piommu_dma_unmap_single(device, address, 200, TO, 2), -PIOMMU_EINVAL);
    assert_int_equal(piommu_dma_unmap_single(device, address, UINT64_MAX, TO, 0), -PIOMMU_EINVAL);
    dma_sweep(fixture);
    dma_unmap(fixture, &mapping);
    dma_close(fixture);
}

static void test_what_is_not_mapped(enum dma_kind kind)
{
    struct dma_fixture *fixture = dma_open(kind, NULL);
    struct piommu_dma_device *device = fixture->dma[0];
    struct dma_mapping mapping = dma_map(fixture, 100, 200, BOTH);
    uint64_t never = mapping.address - 16 * PAGE;

    assert_int_equal(piommu_dma_unmap_single(device, never, 200, BOTH, 0), -PIOMMU_ENOENT);
    dma_unmap(fixture, &mapping);
    assert_int_equal(piommu_dma_unmap_single(device, mapping.address, 200, BOTH, 0),
                     -PIOMMU_ENOENT);
    dma_sweep(fixture);
    dma_close(fixture);
}

static void test_arguments_of_sync(enum dma_kind kind)
{
    struct dma_fixture *fixture = dma_open(kind, NULL);
    struct piommu_dma_device *device = fixture->dma[0];
    struct dma_mapping mapping = dma_map(fixture, 100, 200, BOTH);
    uint64_t address = mapping.address;

    assert_int_equal(piommu_dma_sync_single_for_cpu(NULL, address, 1, BOTH), -PIOMMU_EINVAL);
    assert_int_equal(piommu_dma_sync_single_for_cpu(device, address, 0, BOTH), -PIOMMU_EINVAL);
    assert_int_equal(piommu_dma_sync_single_for_cpu(device, address, 1, BAD), -PIOMMU_EINVAL);
    assert_int_equal(piommu_dma_sync_single_for_device(NULL, address, 1, BOTH), -PIOMMU_EINVAL);
    assert_int_equal(piommu_dma_sync_single_for_device(device, address, 0, BOTH), -PIOMMU_EINVAL);
    assert_int_equal(piommu_dma_sync_single_for_device(device, address, 1, BAD), -PIOMMU_EINVAL);
    dma_unmap(fixture, &mapping);
    dma_close(fixture);
}

/*
 * Without a record of mappings a wrong size is seen where it concerns other granules: what was
 * unmapped then is not reachable, and its addresses are not given out again while the rest is.
 */
static void test_a_wrong_size(enum dma_kind kind)
{
    const struct dma_options options = {.space = {.cpus = 1}};
    struct dma_fixture *fixture = dma_open(kind, &options);
    struct dma_mapping above = dma_map(fixture, 2 * PAGE, PAGE, BOTH);
    struct dma_mapping mapping = dma_map(fixture, 0, PAGE, BOTH);
    struct dma_mapping again;

    assert_true(above.address == mapping.address + PAGE);
    dma_unmap(fixture, &above);
    assert_int_equal(piommu_dma_unmap_single(fixture->dma[0], mapping.address, 2 * PAGE, BOTH, 0),
                     -PIOMMU_EINVAL);
    assert_false(dma_reaches(fixture, 0, mapping.address, false));
    dma_revoke(fixture, mapping.handle);
    again = dma_map(fixture, 8 * PAGE, PAGE, BOTH);
    assert_true(again.address != mapping.address);
    dma_unmap(fixture, &again);
    dma_close(fixture);
}

/* ---- Registers of other devices ---- */

static void test_resources(enum dma_kind kind)
{
    struct dma_fixture *fixture = dma_open(kind, NULL);
    struct piommu_translation found;
    const uint64_t registers = 0x10000040;
    unsigned int handle;
    uint64_t address;
    uint64_t reached;

    assert_int_equal(
        piommu_dma_map_resource(fixture->dma[0], registers, 8, PIOMMU_DMA_BIDIRECTIONAL, &address),
        0);
    handle = dma_grant(fixture, address, 8, registers, 8, PIOMMU_DMA_BIDIRECTIONAL);
    assert_true(dma_translate(fixture, 0, address, true, &reached) && reached == registers);
    assert_true(dma_translate(fixture, 0, address + 7, false, &reached) &&
                reached == registers + 7);
    assert_int_equal(piommu_domain_lookup(fixture->domain, address, &found), 0);
    assert_int_equal(found.prot & PIOMMU_PROT_DEVICE, fixture->info.prot & PIOMMU_PROT_DEVICE);
    dma_sweep(fixture);
    assert_int_equal(
        piommu_dma_unmap_resource(fixture->dma[0], address, 8, PIOMMU_DMA_BIDIRECTIONAL), 0);
    dma_revoke(fixture, handle);
    dma_sweep(fixture);
    assert_int_equal(
        piommu_dma_unmap_resource(fixture->dma[0], address, 8, PIOMMU_DMA_BIDIRECTIONAL),
        -PIOMMU_ENOENT);
    assert_int_equal(
        piommu_dma_map_resource(fixture->dma[0], registers, 0, PIOMMU_DMA_BIDIRECTIONAL, &address),
        -PIOMMU_EINVAL);
    assert_int_equal(
        piommu_dma_map_resource(fixture->dma[0], registers, 1, PIOMMU_DMA_BIDIRECTIONAL, NULL),
        -PIOMMU_EINVAL);
    dma_close(fixture);
}

static void test_resources_for_untrusted_devices(enum dma_kind kind)
{
    const struct dma_options options = {.untrusted = true, .space = {.bounce_pages = 4}};
    struct dma_fixture *fixture = dma_open(kind, &options);
    const uint64_t registers = 0x10000000;
    unsigned int handle;
    uint64_t address;

    assert_int_equal(
        piommu_dma_map_resource(fixture->dma[0], registers + 4, PAGE - 4, BOTH, &address),
        -PIOMMU_EINVAL);
    assert_int_equal(piommu_dma_map_resource(fixture->dma[0], registers, PAGE - 1, BOTH, &address),
                     -PIOMMU_EINVAL);
    assert_int_equal(piommu_dma_map_resource(fixture->dma[0], registers, PAGE, BOTH, &address), 0);
    handle = dma_grant(fixture, address, PAGE, registers, PAGE, BOTH);
    dma_sweep(fixture);
    assert_int_equal(dma_statistics(fixture).bounce_pages_used, 0);
    assert_int_equal(piommu_dma_unmap_resource(fixture->dma[0], address, PAGE, BOTH), 0);
    dma_revoke(fixture, handle);
    dma_sweep(fixture);
    dma_close(fixture);
}

/* ---- Several devices ---- */

static void test_devices_share_the_addresses_of_a_space(enum dma_kind kind)
{
    const struct dma_options options = {.devices = 2};
    struct dma_fixture *fixture = dma_open(kind, &options);
    struct dma_mapping mapping = dma_map(fixture, 0, PAGE, BOTH);
    unsigned int handle;
    uint64_t address;

    assert_int_equal(
        piommu_dma_map_single(fixture->dma[1], fixture->memory + PAGE, PAGE, BOTH, 0, &address), 0);
    handle = dma_grant(fixture, address, PAGE, fixture->memory + PAGE, PAGE, BOTH);
    assert_true(address != mapping.address);
    dma_unmap(fixture, &mapping);
    assert_true(dma_reaches(fixture, 1, address, true));
    assert_int_equal(piommu_dma_unmap_single(fixture->dma[1], address, PAGE, BOTH, 0), 0);
    dma_revoke(fixture, handle);
    assert_false(dma_reaches(fixture, 1, address, true));
    dma_close(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        DMA_TEST(DMA_ALL, test_directions_are_permissions),
        DMA_TEST(DMA_ALL, test_buffers_begin_and_end_anywhere),
        DMA_TEST(DMA_ALL, test_a_page_and_an_offset_are_an_address),
        DMA_TEST(DMA_ALL, test_much_memory_at_once),
        DMA_TEST(DMA_ALL, test_many_at_a_time),
        DMA_TEST(DMA_ALL, test_one_buffer_twice),
        DMA_TEST(DMA_ALL, test_syncs_of_parts),
        DMA_TEST(DMA_ALL, test_a_caller_may_do_without_syncs),
        DMA_TEST(DMA_ALL, test_arguments_of_map),
        DMA_TEST(DMA_TABLES, test_memory_that_hardware_cannot_address),
        DMA_TEST(DMA_ALL, test_arguments_of_unmap),
        DMA_TEST(DMA_ALL, test_what_is_not_mapped),
        DMA_TEST(DMA_ALL, test_arguments_of_sync),
        DMA_TEST(DMA_ALL, test_a_wrong_size),
        DMA_TEST(DMA_ALL, test_resources),
        DMA_TEST(DMA_ALL, test_resources_for_untrusted_devices),
        DMA_TEST(DMA_ALL, test_devices_share_the_addresses_of_a_space),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
