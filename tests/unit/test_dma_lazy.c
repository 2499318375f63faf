/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Lazy spaces: what was unmapped may be reached until the bound, on the count or on the time, and
 * not beyond it; its addresses and bounce pages are not used for anything else before.
 */

#include "dma_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define PAGE DMA_PAGE
#define BOTH PIOMMU_DMA_BIDIRECTIONAL

enum { MAX_NEWS = 64 };

/* What the callback was told. */
struct news {
    uint64_t addresses[MAX_NEWS];
    uint64_t sizes[MAX_NEWS];
    size_t count;
};

static void take_news(void *cookie, uint64_t address, uint64_t size)
{
    struct news *news = cookie;

    assert_true(news->count < MAX_NEWS);
    news->addresses[news->count] = address;
    news->sizes[news->count++] = size;
}

static bool is_in_news(const struct news *news, uint64_t address)
{
    for (size_t i = 0; i < news->count; i++) {
        if (address >= news->addresses[i] && address - news->addresses[i] < news->sizes[i]) {
            return true;
        }
    }
    return false;
}

static struct dma_fixture *open_lazy(enum dma_kind kind, uint32_t count, uint64_t time,
                                     struct news *news)
{
    const struct dma_options options = {.space = {.lazy = true,
                                                  .lazy_count = count,
                                                  .lazy_time = time,
                                                  .released = news != NULL ? take_news : NULL,
                                                  .cookie = news}};
    struct dma_fixture *fixture = dma_open(kind, &options);

    fake_os_freeze_clock(fixture->os);
    return fixture;
}

static uint64_t page_of(uint64_t number)
{
    return 2 * number * PAGE;
}

static void assert_unreachable(struct dma_fixture *fixture, uint64_t address)
{
    assert_false(dma_reaches(fixture, 0, address, false));
    assert_false(dma_reaches(fixture, 0, address, true));
}

/* ---- The bound on the count ---- */

/* None is flushed until `count` were unmapped; the last of these makes all of them unreachable. */
static void try_count(enum dma_kind kind, uint32_t count)
{
    struct news news = {.count = 0};
    struct dma_fixture *fixture = open_lazy(kind, count, UINT64_MAX, &news);
    struct dma_mapping mappings[32];

    for (uint32_t i = 0; i < count; i++) {
        mappings[i] = dma_map(fixture, page_of(i), PAGE + 100, BOTH);
    }
    for (uint32_t i = 0; i + 1 < count; i++) {
        dma_unmap(fixture, &mappings[i]);
        assert_int_equal(dma_statistics(fixture).waiting, i + 1);
        assert_int_equal(dma_statistics(fixture).flushes, 0);
        assert_int_equal(news.count, 0);
    }
    dma_unmap(fixture, &mappings[count - 1]);
    assert_int_equal(dma_statistics(fixture).flushes, 1);
    assert_int_equal(dma_statistics(fixture).waiting, 0);
    dma_settle(fixture);
    for (uint32_t i = 0; i < count; i++) {
        assert_unreachable(fixture, mappings[i].address);
        assert_true(is_in_news(&news, mappings[i].address));
        assert_true(is_in_news(&news, mappings[i].address + PAGE + 99));
    }
    dma_close(fixture);
    assert_int_equal(news.count, count);
}

static void test_the_bound_on_the_count_is_exact(enum dma_kind kind)
{
    try_count(kind, 1);
    try_count(kind, 2);
    try_count(kind, 7);
    try_count(kind, 31);
}

/* ---- The bound on the time ---- */

static void test_the_bound_on_the_time_is_exact(enum dma_kind kind)
{
    const uint64_t time = 12345678;
    struct news news = {.count = 0};
    struct dma_fixture *fixture = open_lazy(kind, 100, time, &news);
    struct dma_mapping mapping = dma_map(fixture, 0, 2 * PAGE, BOTH);
    uint64_t next = 1;

    assert_int_equal(piommu_dma_space_poll(fixture->space, &next), 0);
    assert_true(next == UINT64_MAX);
    dma_unmap(fixture, &mapping);
    assert_int_equal(piommu_dma_space_poll(fixture->space, &next), 0);
    assert_true(next == time);
    fake_os_pass(fixture->os, time - 1);
    assert_int_equal(piommu_dma_space_poll(fixture->space, &next), 0);
    assert_true(next == 1);
    assert_int_equal(dma_statistics(fixture).waiting, 1);
    assert_int_equal(news.count, 0);
    fake_os_pass(fixture->os, 1);
    assert_int_equal(piommu_dma_space_poll(fixture->space, &next), 0);
    assert_true(next == UINT64_MAX);
    assert_int_equal(dma_statistics(fixture).waiting, 0);
    assert_int_equal(dma_statistics(fixture).flushes, 1);
    assert_int_equal(news.count, 1);
    assert_true(news.addresses[0] == mapping.address && news.sizes[0] == 2 * PAGE);
    dma_settle(fixture);
    assert_unreachable(fixture, mapping.address);
    assert_int_equal(piommu_dma_space_poll(fixture->space, NULL), 0);
    assert_int_equal(dma_statistics(fixture).flushes, 1);
    dma_close(fixture);
}

/* Each poll leaves nothing that has waited for so long; what came later has its own time. */
static void test_the_oldest_counts(enum dma_kind kind)
{
    const uint64_t time = 1000000;
    struct dma_fixture *fixture = open_lazy(kind, 100, time, NULL);
    struct dma_mapping early = dma_map(fixture, 0, PAGE, BOTH);
    struct dma_mapping late = dma_map(fixture, 8 * PAGE, PAGE, BOTH);
    uint64_t next;

    dma_unmap(fixture, &early);
    fake_os_pass(fixture->os, time / 2);
    dma_unmap(fixture, &late);
    assert_int_equal(piommu_dma_space_poll(fixture->space, &next), 0);
    assert_true(next == time / 2);
    fake_os_pass(fixture->os, time / 2);
    assert_int_equal(piommu_dma_space_poll(fixture->space, &next), 0);
    assert_unreachable(fixture, early.address);
    if (dma_statistics(fixture).waiting != 0) {
        assert_true(next == time / 2);
    }
    fake_os_pass(fixture->os, time / 2);
    assert_int_equal(piommu_dma_space_poll(fixture->space, &next), 0);
    assert_int_equal(dma_statistics(fixture).waiting, 0);
    dma_settle(fixture);
    dma_close(fixture);
}

static void test_the_defaults(enum dma_kind kind)
{
    struct dma_fixture *fixture = open_lazy(kind, 0, 0, NULL);
    uint64_t next;

    for (uint32_t i = 0; i < 255; i++) {
        uint64_t address;

        assert_int_equal(
            piommu_dma_map_single(fixture->dma[0], fixture->memory, PAGE, BOTH, 0, &address), 0);
        assert_int_equal(piommu_dma_unmap_single(fixture->dma[0], address, PAGE, BOTH, 0), 0);
    }
    assert_int_equal(dma_statistics(fixture).waiting, 255);
    assert_int_equal(dma_statistics(fixture).flushes, 0);
    assert_int_equal(piommu_dma_space_poll(fixture->space, &next), 0);
    assert_true(next == 10000000);
    assert_int_equal(piommu_dma_space_flush(fixture->space), 0);
    assert_int_equal(dma_statistics(fixture).waiting, 0);
    dma_close(fixture);
}

/* ---- What waits ---- */

/* All addresses below a mask are used once before any of them is used again. */
static void test_addresses_wait(enum dma_kind kind)
{
    const struct dma_options options = {
        .space = {.lazy = true, .lazy_count = 1000, .lazy_time = UINT64_MAX},
        .device = {.mask = 0xffff}};
    struct dma_fixture *fixture = dma_open(kind, &options);
    uint32_t used = 0;

    while (dma_statistics(fixture).flushes == 0) {
        uint64_t address;

        assert_int_equal(
            piommu_dma_map_single(fixture->dma[0], fixture->memory, PAGE, BOTH, 0, &address), 0);
        assert_true(address != 0 && address + PAGE - 1 <= 0xffff);
        if (dma_statistics(fixture).flushes == 0) {
            assert_int_equal(used & (1u << (address / PAGE)), 0);
        }
        used |= 1u << (address / PAGE);
        assert_int_equal(piommu_dma_unmap_single(fixture->dma[0], address, PAGE, BOTH, 0), 0);
    }
    assert_int_equal(used, 0xfffe); /* all but the granule at 0 */
    dma_close(fixture);
}

static void test_lists_wait(enum dma_kind kind)
{
    struct news news = {.count = 0};
    struct dma_fixture *fixture = open_lazy(kind, 100, UINT64_MAX, &news);
    const struct piommu_segment list[] = {{fixture->memory, PAGE},
                                          {fixture->memory + 8 * PAGE + 5, 10}};
    struct piommu_dma_segment result[2];
    size_t used;

    assert_int_equal(piommu_dma_map_sg(fixture->dma[0], list, 2, BOTH, 0, result, 2, &used), 0);
    assert_int_equal(piommu_dma_unmap_sg(fixture->dma[0], result, used, BOTH, 0), 0);
    assert_int_equal(dma_statistics(fixture).waiting, 1);
    assert_int_equal(piommu_dma_space_flush(fixture->space), 0);
    assert_int_equal(dma_statistics(fixture).waiting, 0);
    for (size_t i = 0; i < used; i++) {
        assert_unreachable(fixture, result[i].address);
        assert_true(is_in_news(&news, result[i].address));
    }
    dma_close(fixture);
}

static void test_a_second_unmap_is_an_error(enum dma_kind kind)
{
    struct dma_fixture *fixture = open_lazy(kind, 100, UINT64_MAX, NULL);
    struct dma_mapping mapping = dma_map(fixture, 0, PAGE, BOTH);

    dma_unmap(fixture, &mapping);
    assert_int_equal(piommu_dma_unmap_single(fixture->dma[0], mapping.address, PAGE, BOTH, 0),
                     -PIOMMU_ENOENT);
    assert_int_equal(dma_statistics(fixture).waiting, 1);
    assert_int_equal(piommu_dma_space_flush(fixture->space), 0);
    assert_int_equal(piommu_dma_unmap_single(fixture->dma[0], mapping.address, PAGE, BOTH, 0),
                     -PIOMMU_ENOENT);
    dma_settle(fixture);
    dma_close(fixture);
}

/* What was bounced does not wait: its page may be another's at once. */
static void test_bounced_ends_do_not_wait(enum dma_kind kind)
{
    const struct dma_options options = {
        .space = {.lazy = true, .lazy_count = 8, .lazy_time = UINT64_MAX, .bounce_pages = 1},
        .device = {.non_coherent = true}};
    struct dma_fixture *fixture = dma_open(kind, &options);
    struct dma_mapping mapping = dma_map(fixture, 10, 20, BOTH);
    struct dma_mapping next;

    assert_int_equal(dma_statistics(fixture).bounce_pages_used, 1);
    dma_unmap(fixture, &mapping);
    assert_int_equal(dma_statistics(fixture).bounce_pages_used, 0);
    assert_int_equal(dma_statistics(fixture).waiting, 0);
    assert_unreachable(fixture, mapping.address);
    dma_settle(fixture);
    next = dma_map(fixture, 8 * PAGE + 10, 20, BOTH);
    dma_unmap(fixture, &next);
    dma_settle(fixture);
    dma_close(fixture);
}

/* A space may end while something waits in it: nothing of that can be reached then. */
static void test_spaces_end(enum dma_kind kind)
{
    struct news news = {.count = 0};
    struct dma_fixture *fixture = open_lazy(kind, 8, UINT64_MAX, &news);
    struct dma_mapping mapping = dma_map(fixture, 0, 3 * PAGE, BOTH);

    dma_unmap(fixture, &mapping);
    piommu_dma_device_remove(fixture->dma[0]);
    fixture->dma[0] = NULL;
    assert_int_equal(piommu_dma_space_destroy(fixture->space), 0);
    fixture->space = NULL;
    assert_unreachable(fixture, mapping.address);
    assert_unreachable(fixture, mapping.address + 3 * PAGE - 1);
    assert_int_equal(news.count, 1);
    dma_settle(fixture);
    dma_close(fixture);
}

/* Each CPU has its own list of what waits: the bound is for each. */
static void test_each_cpu_waits_for_itself(enum dma_kind kind)
{
    const struct dma_options options = {
        .space = {.lazy = true, .lazy_count = 3, .lazy_time = UINT64_MAX, .cpus = 2}};
    struct dma_fixture *fixture = dma_open_bare(kind, &options);
    struct dma_mapping mappings[5];

    fake_os_set_cpu(fixture->os, 0);
    assert_int_equal(dma_try_space(fixture), 0);
    assert_int_equal(
        piommu_dma_device_add(fixture->space, fixture->devices[0], NULL, &fixture->dma[0]), 0);
    assert_int_equal(piommu_device_attach(fixture->devices[0], fixture->domain), 0);
    for (unsigned int i = 0; i < 5; i++) {
        mappings[i] = dma_map(fixture, page_of(i), PAGE, BOTH);
    }
    for (unsigned int i = 0; i < 4; i++) {
        fake_os_set_cpu(fixture->os, i % 2);
        dma_unmap(fixture, &mappings[i]);
    }
    assert_int_equal(dma_statistics(fixture).waiting, 4);
    assert_int_equal(dma_statistics(fixture).flushes, 0);
    fake_os_set_cpu(fixture->os, 17); /* more than were spoken of */
    dma_unmap(fixture, &mappings[4]);
    assert_int_equal(dma_statistics(fixture).flushes, 1);
    assert_in_range(dma_statistics(fixture).waiting, 0, 2);
    assert_int_equal(piommu_dma_space_flush(fixture->space), 0);
    assert_int_equal(dma_statistics(fixture).waiting, 0);
    dma_settle(fixture);
    dma_close(fixture);
}

/* ---- Who may be lazy ---- */

static void test_untrusted_devices_are_refused(enum dma_kind kind)
{
    const struct dma_options options = {.untrusted = true, .space = {.lazy = true}};
    struct dma_fixture *fixture = dma_open_bare(kind, &options);
    struct piommu_dma_device *device = NULL;

    assert_int_equal(dma_try_space(fixture), 0);
    assert_int_equal(piommu_dma_device_add(fixture->space, fixture->devices[0], NULL, &device),
                     -PIOMMU_EOPNOTSUPP);
    assert_null(device);
    dma_close(fixture);
}

static void test_exclusive_tables_are_refused(enum dma_kind kind)
{
    const struct dma_options options = {.space = {.lazy = true}};
    struct dma_fixture *fixture = dma_open_bare(kind, &options);

    assert_int_equal(dma_try_space(fixture), -PIOMMU_EOPNOTSUPP);
    assert_null(fixture->space);
    dma_close(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        DMA_TEST(DMA_LAZY, test_the_bound_on_the_count_is_exact),
        DMA_TEST(DMA_LAZY, test_the_bound_on_the_time_is_exact),
        DMA_TEST(DMA_LAZY, test_the_oldest_counts),
        DMA_TEST(DMA_LAZY, test_the_defaults),
        DMA_TEST(DMA_LAZY, test_addresses_wait),
        DMA_TEST(DMA_LAZY, test_lists_wait),
        DMA_TEST(DMA_LAZY, test_a_second_unmap_is_an_error),
        DMA_TEST(DMA_LAZY, test_bounced_ends_do_not_wait),
        DMA_TEST(DMA_LAZY, test_spaces_end),
        DMA_TEST(DMA_LAZY, test_each_cpu_waits_for_itself),
        DMA_TEST(DMA_LAZY, test_untrusted_devices_are_refused),
        DMA_TEST(DMA_IPMMU, test_exclusive_tables_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
