/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Memory that CPU and device use together: zeroed, contiguous for both however scattered it is, and
 * given back in full.
 */

#include "dma_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define PAGE DMA_PAGE

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const uint64_t sizes[] = {1, 100, 4095, 4096, 4097, 12288, 65536, 65537, 300001};

/* The piece behind each granule as the device sees it; counts those that do not follow another. */
static unsigned int pieces_of(struct dma_fixture *fixture, const struct piommu_dma_buffer *buffer)
{
    unsigned int pieces = 0;
    uint64_t before = 0;

    for (uint64_t at = 0; at < buffer->size; at += PAGE) {
        uint64_t physical;

        assert_true(dma_translate(fixture, 0, buffer->address + at, true, &physical));
        assert_true(fake_os_is_dma_memory(fixture->os, physical, 1));
        pieces += at == 0 || physical != before + PAGE;
        before = physical;
    }
    return pieces;
}

static void assert_zeroed(struct dma_fixture *fixture, const struct piommu_dma_buffer *buffer)
{
    const uint8_t *bytes = buffer->memory;

    for (uint64_t i = 0; i < buffer->size; i++) {
        uint8_t byte = 1;

        assert_int_equal(bytes[i], 0);
        if (i % 509 == 0 || i + 1 == buffer->size) {
            assert_int_equal(dma_read(fixture, 0, buffer->address + i, &byte, 1), 1);
            assert_int_equal(byte, 0);
        }
    }
}

/* Each side writes all of it, and the other reads it. */
static void assert_shared(struct dma_fixture *fixture, const struct piommu_dma_buffer *buffer)
{
    uint8_t *bytes = buffer->memory;

    for (uint64_t i = 0; i < buffer->size; i++) {
        bytes[i] = dma_pattern(3, i);
    }
    dma_device_assert_filled(fixture, 0, buffer->address, buffer->size, 3, 0);
    dma_device_fill(fixture, 0, buffer->address, buffer->size, 4);
    for (uint64_t i = 0; i < buffer->size; i++) {
        assert_int_equal(bytes[i], dma_pattern(4, i));
    }
}

static void try_buffer(struct dma_fixture *fixture, uint64_t size, uint64_t piece)
{
    struct piommu_dma_buffer buffer;
    unsigned int handle;

    assert_int_equal(piommu_dma_alloc(fixture->dma[0], size, &buffer), 0);
    assert_int_equal(buffer.size, size);
    assert_int_equal(buffer.address % PAGE, 0);
    assert_int_equal((uintptr_t)buffer.memory % 64, 0);
    assert_true(buffer.address != 0);
    assert_true(pieces_of(fixture, &buffer) >= (piece == 0 ? 1 : size / piece));
    assert_zeroed(fixture, &buffer);
    handle = dma_grant(fixture, buffer.address, size, 0, 0, PIOMMU_DMA_BIDIRECTIONAL);
    assert_shared(fixture, &buffer);
    dma_sweep(fixture);
    assert_int_equal(piommu_dma_free(fixture->dma[0], &buffer), 0);
    dma_revoke(fixture, handle);
    assert_false(dma_reaches(fixture, 0, buffer.address, false));
    dma_sweep(fixture);
    assert_int_equal(dma_mapped_pages(fixture), 0);
}

static void try_sizes(enum dma_kind kind, const struct dma_options *options, uint64_t piece)
{
    struct dma_fixture *fixture = dma_open(kind, options);

    fake_os_limit_pieces(fixture->os, piece, true);
    for (size_t i = 0; i < COUNT(sizes); i++) {
        uint64_t bytes;

        try_buffer(fixture, sizes[i], piece);
        bytes = fake_os_bytes_outstanding(fixture->os); /* tables and the like may stay */
        try_buffer(fixture, sizes[i], piece);
        assert_int_equal(fake_os_bytes_outstanding(fixture->os), bytes);
    }
    dma_close(fixture);
}

/* Memory beyond the width of the tables could not be mapped. */
static void test_memory_that_can_be_mapped_is_asked_for(enum dma_kind kind)
{
    const struct dma_options options = {.space = {.bounce_pages = 1}};
    struct dma_fixture *fixture = dma_open_bare(kind, &options);
    uint64_t last = kind == DMA_VIRTIO ? UINT64_MAX : (UINT64_C(1) << 40) - 1;
    struct fake_os_counters counters;
    struct piommu_dma_buffer buffer;

    assert_true(fixture->info.last_physical == last);
    assert_int_equal(dma_try_space(fixture), 0);
    fake_os_get_counters(fixture->os, &counters);
    assert_true(counters.dma_limit == last);
    assert_int_equal(
        piommu_dma_device_add(fixture->space, fixture->devices[0], NULL, &fixture->dma[0]), 0);
    assert_int_equal(piommu_device_attach(fixture->devices[0], fixture->domain), 0);
    assert_int_equal(piommu_dma_alloc(fixture->dma[0], PAGE, &buffer), 0);
    fake_os_get_counters(fixture->os, &counters);
    assert_true(counters.dma_limit == last);
    assert_int_equal(piommu_dma_free(fixture->dma[0], &buffer), 0);
    dma_close(fixture);
}

static void test_in_one_piece(enum dma_kind kind)
{
    const struct dma_options options = {.untrusted = true};

    try_sizes(kind, &options, 0);
}

static void test_in_several_pieces(enum dma_kind kind)
{
    const struct dma_options options = {.untrusted = true};

    try_sizes(kind, &options, PAGE);
    try_sizes(kind, &options, 8 * PAGE);
}

static void test_not_cached(enum dma_kind kind)
{
    const struct dma_options options = {.untrusted = true, .device = {.non_coherent = true}};

    try_sizes(kind, &options, 0);
    try_sizes(kind, &options, 2 * PAGE);
}

static void test_where_virtual_addresses_are_scattered(enum dma_kind kind)
{
    const struct dma_options options = {.scattered = true};

    try_sizes(kind, &options, 0);
    try_sizes(kind, &options, 4 * PAGE);
}

/* Also in a lazy space: the memory is another's at once. */
static void test_nothing_waits(enum dma_kind kind)
{
    const struct dma_options options = {.space = {.lazy = true, .lazy_time = UINT64_MAX}};
    struct dma_fixture *fixture = dma_open(kind, &options);
    struct piommu_dma_buffer buffer;

    assert_int_equal(piommu_dma_alloc(fixture->dma[0], 3 * PAGE, &buffer), 0);
    dma_sweep(fixture);
    assert_int_equal(piommu_dma_free(fixture->dma[0], &buffer), 0);
    assert_false(dma_reaches(fixture, 0, buffer.address, false));
    assert_int_equal(dma_statistics(fixture).waiting, 0);
    dma_close(fixture);
}

static void test_what_cannot_be_joined(enum dma_kind kind)
{
    struct dma_fixture *fixture = dma_open(kind, NULL);
    uint64_t bytes = fake_os_bytes_outstanding(fixture->os);
    struct piommu_dma_buffer buffer;

    fake_os_limit_pieces(fixture->os, 2 * PAGE, false);
    assert_int_equal(piommu_dma_alloc(fixture->dma[0], 3 * PAGE, &buffer), -PIOMMU_ENOMEM);
    assert_int_equal(fake_os_bytes_outstanding(fixture->os), bytes);
    assert_int_equal(piommu_dma_alloc(fixture->dma[0], 2 * PAGE, &buffer), 0);
    assert_int_equal(piommu_dma_free(fixture->dma[0], &buffer), 0);
    dma_close(fixture);
}

static void test_below_a_mask(enum dma_kind kind)
{
    const struct dma_options options = {.device = {.mask = 0xfffff, .coherent_mask = 0x7fff}};
    struct dma_fixture *fixture = dma_open(kind, &options);
    struct piommu_dma_buffer buffers[8];
    struct dma_mapping mapping = dma_map(fixture, 0, PAGE, PIOMMU_DMA_TO_DEVICE);
    size_t count = 0;
    int error;

    assert_true(mapping.address > 0x7fff);
    while ((error = piommu_dma_alloc(fixture->dma[0], PAGE, &buffers[count])) == 0) {
        assert_true(buffers[count].address + PAGE - 1 <= 0x7fff);
        count++;
    }
    assert_int_equal(error, -PIOMMU_ENOSPC);
    assert_int_equal(count, 7); /* all granules but that at 0 */
    while (count > 0) {
        assert_int_equal(piommu_dma_free(fixture->dma[0], &buffers[--count]), 0);
    }
    dma_unmap(fixture, &mapping);
    dma_close(fixture);
}

static void test_arguments(enum dma_kind kind)
{
    struct dma_fixture *fixture = dma_open(kind, NULL);
    struct piommu_dma_buffer buffer = {.memory = NULL};
    int error;

    assert_int_equal(piommu_dma_alloc(NULL, 1, &buffer), -PIOMMU_EINVAL);
    assert_int_equal(piommu_dma_alloc(fixture->dma[0], 0, &buffer), -PIOMMU_EINVAL);
    assert_int_equal(piommu_dma_alloc(fixture->dma[0], 1, NULL), -PIOMMU_EINVAL);
    error = piommu_dma_alloc(fixture->dma[0], UINT64_MAX, &buffer);
    assert_true(error == -PIOMMU_ENOSPC || error == -PIOMMU_ERANGE || error == -PIOMMU_ENOMEM ||
                error == -PIOMMU_EINVAL);
    assert_int_equal(piommu_dma_free(fixture->dma[0], NULL), -PIOMMU_EINVAL);
    assert_int_equal(piommu_dma_free(NULL, &buffer), -PIOMMU_EINVAL);
    assert_int_equal(piommu_dma_alloc(fixture->dma[0], 100, &buffer), 0);
    assert_int_equal(piommu_dma_free(NULL, &buffer), -PIOMMU_EINVAL);
    assert_int_equal(piommu_dma_free(fixture->dma[0], &buffer), 0);
    assert_true(piommu_dma_free(fixture->dma[0], &buffer) < 0);
    dma_close(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        DMA_TEST(DMA_ALL, test_memory_that_can_be_mapped_is_asked_for),
        DMA_TEST(DMA_ALL, test_in_one_piece),
        DMA_TEST(DMA_ALL, test_in_several_pieces),
        DMA_TEST(DMA_ALL, test_not_cached),
        DMA_TEST(DMA_ALL, test_where_virtual_addresses_are_scattered),
        DMA_TEST(DMA_LAZY, test_nothing_waits),
        DMA_TEST(DMA_ALL, test_what_cannot_be_joined),
        DMA_TEST(DMA_ALL, test_below_a_mask),
        DMA_TEST(DMA_ALL, test_arguments),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
