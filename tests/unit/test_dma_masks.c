/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Spaces and devices: how they are made and what is refused, and which addresses are given out to
 * whom.
 */

#include "dma_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define PAGE DMA_PAGE
#define TO   PIOMMU_DMA_TO_DEVICE

enum { MAX_ADDRESSES = 64 };

/* Maps granules for a device until nothing is left; returns how many, and their addresses. */
static size_t exhaust(struct dma_fixture *fixture, size_t device, uint64_t *addresses)
{
    size_t count = 0;
    int error;

    while ((error = piommu_dma_map_single(fixture->dma[device], fixture->memory, PAGE, TO, 0,
                                          &addresses[count])) == 0) {
        count++;
        assert_true(count < MAX_ADDRESSES);
    }
    assert_int_equal(error, -PIOMMU_ENOSPC);
    return count;
}

static void unmap_all(struct dma_fixture *fixture, size_t device, const uint64_t *addresses,
                      size_t count)
{
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(piommu_dma_unmap_single(fixture->dma[device], addresses[i], PAGE, TO, 0),
                         0);
    }
}

/* ---- Masks ---- */

static void test_all_below_a_mask_and_nothing_else(enum dma_kind kind)
{
    const struct dma_options options = {.device = {.mask = 0xffff}};
    struct dma_fixture *fixture = dma_open(kind, &options);
    uint64_t addresses[MAX_ADDRESSES];

    for (unsigned int round = 0; round < 3; round++) {
        uint32_t used = 0;

        assert_int_equal(exhaust(fixture, 0, addresses), 15);
        for (size_t i = 0; i < 15; i++) {
            assert_true(addresses[i] <= 0xffff);
            used |= 1u << (addresses[i] / PAGE);
        }
        assert_int_equal(used, 0xfffe);
        unmap_all(fixture, 0, addresses, 15);
    }
    dma_close(fixture);
}

/* A mask need not end with a granule: then that granule cannot be used. */
static void test_a_mask_within_a_granule(enum dma_kind kind)
{
    const struct dma_options options = {.device = {.mask = 0x4ffe}};
    struct dma_fixture *fixture = dma_open(kind, &options);
    uint64_t addresses[MAX_ADDRESSES];
    size_t count = exhaust(fixture, 0, addresses);

    assert_int_equal(count, 3);
    unmap_all(fixture, 0, addresses, count);
    dma_close(fixture);
}

static void test_masks_change(enum dma_kind kind)
{
    struct dma_fixture *fixture = dma_open(kind, NULL);
    uint64_t addresses[MAX_ADDRESSES];
    struct dma_mapping high = dma_map(fixture, 0, PAGE, TO);
    size_t count;

    assert_true(high.address > 0x3fff);
    assert_int_equal(piommu_dma_device_set_masks(fixture->dma[0], 0xfff, 0), -PIOMMU_ERANGE);
    assert_int_equal(piommu_dma_device_set_masks(fixture->dma[0], 0x3fff, 0xfff), -PIOMMU_ERANGE);
    assert_int_equal(piommu_dma_device_set_masks(fixture->dma[0], 0x3fff, 0), 0);
    count = exhaust(fixture, 0, addresses);
    assert_int_equal(count, 3);
    assert_true(dma_reaches(fixture, 0, high.address, false)); /* it is as it was */
    unmap_all(fixture, 0, addresses, count);
    dma_unmap(fixture, &high);
    assert_int_equal(piommu_dma_device_set_masks(fixture->dma[0], 0, 0), 0);
    high = dma_map(fixture, 0, PAGE, TO);
    assert_true(high.address > 0x3fff);
    dma_unmap(fixture, &high);
    dma_close(fixture);
}

static void test_addresses_that_are_preferred(enum dma_kind kind)
{
    const struct dma_options options = {.device = {.mask = 0x7fff, .preferred = 0x3fff}};
    struct dma_fixture *fixture = dma_open(kind, &options);
    uint64_t addresses[MAX_ADDRESSES];
    size_t count = exhaust(fixture, 0, addresses);

    assert_int_equal(count, 7);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(addresses[i] <= 0x3fff, i < 3);
    }
    unmap_all(fixture, 0, addresses, count);
    dma_close(fixture);
}

static void test_from_the_bottom(enum dma_kind kind)
{
    const struct dma_options options = {.space = {.bottom_up = true}};
    struct dma_fixture *fixture = dma_open(kind, &options);

    for (uint64_t i = 1; i <= 3; i++) {
        struct dma_mapping mapping = dma_map(fixture, 0, PAGE, TO);

        assert_true(mapping.address == PAGE); /* 0 is never given out */
        dma_unmap(fixture, &mapping);
    }
    dma_close(fixture);
}

static void test_all_addresses_that_hardware_has(enum dma_kind kind)
{
    const struct dma_options options = {.wide = true};
    struct dma_fixture *fixture = dma_open(kind, &options);
    struct dma_mapping mapping = dma_map(fixture, 0, PAGE, TO);

    dma_unmap(fixture, &mapping);
    dma_close(fixture);
}

static void test_an_aperture_that_begins_elsewhere(enum dma_kind kind)
{
    const struct dma_options options = {.first = 0x40000000, .device = {.mask = 0x40001fff}};
    struct dma_fixture *fixture = dma_open(kind, &options);
    uint64_t addresses[MAX_ADDRESSES];
    size_t count = exhaust(fixture, 0, addresses);

    assert_int_equal(count, 2);
    unmap_all(fixture, 0, addresses, count);
    assert_int_equal(piommu_dma_device_set_masks(fixture->dma[0], 0x40000ffe, 0), -PIOMMU_ERANGE);
    assert_int_equal(piommu_dma_device_set_masks(fixture->dma[0], 0x40000fff, 0), 0);
    assert_int_equal(exhaust(fixture, 0, addresses), 1);
    assert_true(addresses[0] == 0x40000000);
    unmap_all(fixture, 0, addresses, 1);
    dma_close(fixture);
}

/* ---- What is not given out ---- */

static void test_what_the_caller_takes(enum dma_kind kind)
{
    const struct dma_options options = {.device = {.mask = 0x7fff}};
    struct dma_fixture *fixture = dma_open(kind, &options);
    const struct piommu_range taken = {.first = 0x2000, .last = 0x3000};
    const struct piommu_range reversed = {.first = 0x2000, .last = 0x1000};
    uint64_t addresses[MAX_ADDRESSES];
    size_t count;

    assert_int_equal(piommu_dma_space_take(fixture->space, reversed), -PIOMMU_EINVAL);
    assert_int_equal(piommu_dma_space_take(NULL, taken), -PIOMMU_EINVAL);
    assert_int_equal(piommu_dma_space_take(fixture->space, taken), 0);
    assert_int_equal(piommu_dma_space_take(fixture->space, taken), -PIOMMU_EEXIST);
    count = exhaust(fixture, 0, addresses);
    assert_int_equal(count, 5);
    for (size_t i = 0; i < count; i++) {
        assert_true(addresses[i] < 0x2000 || addresses[i] > 0x3fff);
    }
    unmap_all(fixture, 0, addresses, count);
    dma_close(fixture);
}

static void test_reserved_regions_and_windows(enum dma_kind kind)
{
    static const struct piommu_reserved_region regions[] = {
        {.range = {.first = 0x2800, .last = 0x30ff}, .kind = PIOMMU_RESERVED},
        {.range = {.first = 0x5000, .last = 0x5fff}, .kind = PIOMMU_RESERVED_MSI},
    };
    const struct dma_options options = {.device = {.mask = 0xffff},
                                        .regions = regions,
                                        .region_count = 2,
                                        .msi_window = {.first = 0x8000, .last = 0x9fff}};
    struct dma_fixture *fixture = dma_open(kind, &options);
    uint64_t addresses[MAX_ADDRESSES];
    size_t count = exhaust(fixture, 0, addresses);
    uint32_t used = 0;

    for (size_t i = 0; i < count; i++) {
        used |= 1u << (addresses[i] / PAGE);
    }
    assert_int_equal(used, 0xfffe & ~0x000cu & ~0x0020u & ~0x0300u);
    unmap_all(fixture, 0, addresses, count);
    dma_close(fixture);
}

static void test_a_reserved_region_where_something_is_mapped(enum dma_kind kind)
{
    static const struct piommu_reserved_region region = {
        .range = {.first = PAGE, .last = 3 * PAGE - 1}, .kind = PIOMMU_RESERVED};
    const struct dma_options options = {
        .space = {.bottom_up = true}, .devices = 2, .regions = &region, .region_count = 1};
    struct dma_fixture *fixture = dma_open_bare(kind, &options);
    struct piommu_dma_device **devices = fixture->dma;
    uint64_t address;

    assert_int_equal(dma_try_space(fixture), 0);
    assert_int_equal(piommu_dma_device_add(fixture->space, fixture->devices[1], NULL, &devices[1]),
                     0);
    assert_int_equal(piommu_device_attach(fixture->devices[1], fixture->domain), 0);
    assert_int_equal(piommu_dma_map_single(devices[1], fixture->memory, PAGE, TO, 0, &address), 0);
    assert_true(address == PAGE);
    assert_int_equal(piommu_dma_device_add(fixture->space, fixture->devices[0], NULL, &devices[0]),
                     -PIOMMU_EEXIST);
    assert_null(devices[0]);
    assert_int_equal(piommu_dma_unmap_single(devices[1], address, PAGE, TO, 0), 0);
    assert_int_equal(piommu_dma_device_add(fixture->space, fixture->devices[0], NULL, &devices[0]),
                     0);
    assert_int_equal(piommu_dma_map_single(devices[1], fixture->memory, PAGE, TO, 0, &address), 0);
    assert_true(address == 3 * PAGE);
    assert_int_equal(piommu_dma_unmap_single(devices[1], address, PAGE, TO, 0), 0);
    dma_close(fixture);
}

/* What was unmapped lazily holds addresses for some time, but not against who needs just these. */
static void test_what_waits_is_not_in_the_way(enum dma_kind kind)
{
    static const struct piommu_reserved_region region = {
        .range = {.first = PAGE, .last = 3 * PAGE - 1}, .kind = PIOMMU_RESERVED};
    const struct piommu_range taken = {.first = 3 * PAGE, .last = 5 * PAGE - 1};
    const struct dma_options options = {.space = {.lazy = true, .bottom_up = true},
                                        .devices = 2,
                                        .regions = &region,
                                        .region_count = 1};
    struct dma_fixture *fixture = dma_open_bare(kind, &options);
    struct piommu_dma_device **devices = fixture->dma;
    uint64_t addresses[4];

    assert_int_equal(dma_try_space(fixture), 0);
    assert_int_equal(piommu_dma_device_add(fixture->space, fixture->devices[1], NULL, &devices[1]),
                     0);
    assert_int_equal(piommu_device_attach(fixture->devices[1], fixture->domain), 0);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(
            piommu_dma_map_single(devices[1], fixture->memory, PAGE, TO, 0, &addresses[i]), 0);
        assert_true(addresses[i] == (i + 1) * PAGE);
    }
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(piommu_dma_unmap_single(devices[1], addresses[i], PAGE, TO, 0), 0);
    }
    assert_int_equal(dma_statistics(fixture).waiting, 4);
    assert_int_equal(piommu_dma_device_add(fixture->space, fixture->devices[0], NULL, &devices[0]),
                     0);
    assert_int_equal(dma_statistics(fixture).waiting, 0);
    /* What was flushed may still be in stock. */
    assert_int_equal(piommu_dma_map_single(devices[1], fixture->memory, PAGE, TO, 0, &addresses[0]),
                     0);
    assert_true(addresses[0] == 3 * PAGE);
    assert_int_equal(piommu_dma_space_take(fixture->space, taken), -PIOMMU_EEXIST);
    assert_int_equal(piommu_dma_unmap_single(devices[1], addresses[0], PAGE, TO, 0), 0);
    fake_os_pass(fixture->os, 100000000);
    assert_int_equal(piommu_dma_space_poll(fixture->space, NULL), 0);
    assert_int_equal(piommu_dma_space_take(fixture->space, taken), 0);
    assert_int_equal(piommu_dma_map_single(devices[1], fixture->memory, PAGE, TO, 0, &addresses[0]),
                     0);
    assert_true(addresses[0] == 5 * PAGE);
    assert_int_equal(piommu_dma_unmap_single(devices[1], addresses[0], PAGE, TO, 0), 0);
    dma_close(fixture);
}

/* A device that is refused leaves no trace: not of the regions that came before the one in use. */
static void test_a_refused_device_takes_nothing(enum dma_kind kind)
{
    static const struct piommu_reserved_region regions[] = {
        {.range = {.first = 2 * PAGE, .last = 3 * PAGE - 1}, .kind = PIOMMU_RESERVED},
        {.range = {.first = 4 * PAGE + 5, .last = 4 * PAGE + 6}, .kind = PIOMMU_RESERVED},
        {.range = {.first = UINT64_C(1) << 31, .last = UINT64_MAX}, .kind = PIOMMU_RESERVED},
        {.range = {.first = PAGE, .last = 5 * PAGE - 1}, .kind = PIOMMU_RESERVED},
    };
    const struct dma_options options = {.space = {.bottom_up = true},
                                        .devices = 2,
                                        .regions = regions,
                                        .region_count = sizeof(regions) / sizeof(regions[0])};
    struct dma_fixture *fixture = dma_open_bare(kind, &options);
    const struct piommu_range whole = {.first = 2 * PAGE, .last = UINT64_MAX};
    struct piommu_dma_device **devices = fixture->dma;
    uint64_t address;

    assert_int_equal(dma_try_space(fixture), 0);
    assert_int_equal(piommu_dma_device_add(fixture->space, fixture->devices[1], NULL, &devices[1]),
                     0);
    assert_int_equal(piommu_device_attach(fixture->devices[1], fixture->domain), 0);
    assert_int_equal(piommu_dma_map_single(devices[1], fixture->memory, PAGE, TO, 0, &address), 0);
    assert_true(address == PAGE);
    assert_int_equal(piommu_dma_device_add(fixture->space, fixture->devices[0], NULL, &devices[0]),
                     -PIOMMU_EEXIST);
    assert_int_equal(piommu_dma_space_take(fixture->space, whole), 0);
    assert_int_equal(piommu_dma_unmap_single(devices[1], address, PAGE, TO, 0), 0);
    dma_close(fixture);
}

/* What a device uses by its physical addresses is mapped so, and nothing else is put there. */
static void test_a_direct_region(enum dma_kind kind)
{
    static const struct piommu_reserved_region region = {.range = {.first = 0x5000, .last = 0x5fff},
                                                         .kind = PIOMMU_RESERVED_DIRECT};
    const struct dma_options options = {
        .device = {.mask = 0x7fff}, .regions = &region, .region_count = 1};
    struct dma_fixture *fixture = dma_open(kind, &options);
    uint64_t addresses[MAX_ADDRESSES];
    uint64_t physical;
    size_t count = exhaust(fixture, 0, addresses);

    assert_int_equal(count, 6);
    assert_true(dma_translate(fixture, 0, 0x5123, true, &physical) && physical == 0x5123);
    unmap_all(fixture, 0, addresses, count);
    assert_true(dma_reaches(fixture, 0, 0x5123, true));
    (void)dma_grant(fixture, 0x5000, PAGE, 0x5000, PAGE, PIOMMU_DMA_BIDIRECTIONAL);
    dma_close(fixture);
}

/* A device may see only the lower part of the addresses, as those behind a host bridge do. */
static void test_a_large_reserved_region(enum dma_kind kind)
{
    static const struct piommu_reserved_region region = {
        .range = {.first = UINT64_C(1) << 40, .last = UINT64_MAX}, .kind = PIOMMU_RESERVED};
    const struct dma_options options = {.wide = true, .regions = &region, .region_count = 1};
    struct dma_fixture *fixture = dma_open(kind, &options);
    struct dma_mapping mapping = dma_map(fixture, 0, PAGE, TO);

    assert_true(mapping.address == (UINT64_C(1) << 40) - PAGE);
    dma_unmap(fixture, &mapping);
    dma_close(fixture);
}

/* Two devices may have one and the same region. */
static void test_a_reserved_region_twice(enum dma_kind kind)
{
    static const struct piommu_reserved_region region = {
        .range = {.first = PAGE, .last = 3 * PAGE - 1}, .kind = PIOMMU_RESERVED};
    const struct dma_options options = {.regions = &region, .region_count = 1};
    struct dma_fixture *fixture = dma_open(kind, &options);

    piommu_dma_device_remove(fixture->dma[0]);
    assert_int_equal(
        piommu_dma_device_add(fixture->space, fixture->devices[0], NULL, &fixture->dma[0]), 0);
    dma_close(fixture);
}

/* ---- Spaces ---- */

static int try_config(struct dma_fixture *fixture, struct piommu_dma_space_config config)
{
    struct piommu_dma_space *space = NULL;
    int error = piommu_dma_space_create(fake_os_host(fixture->os), &config, &space);

    assert_true((error == 0) == (space != NULL));
    assert_int_equal(piommu_dma_space_destroy(space), 0);
    return error;
}

static void test_configurations_of_spaces(enum dma_kind kind)
{
    struct dma_fixture *fixture = dma_open_bare(kind, NULL);
    struct piommu_dma_space_config config = {.domain = fixture->domain};
    struct piommu_dma_space *space;

    assert_int_equal(try_config(fixture, config), 0);
    assert_int_equal(piommu_dma_space_create(fake_os_host(fixture->os), NULL, &space),
                     -PIOMMU_EINVAL);
    assert_int_equal(piommu_dma_space_create(fake_os_host(fixture->os), &config, NULL),
                     -PIOMMU_EINVAL);
    config.domain = NULL;
    assert_int_equal(try_config(fixture, config), -PIOMMU_EINVAL);
    config.domain = fixture->domain;
    config.cache_line = 48;
    assert_int_equal(try_config(fixture, config), -PIOMMU_EINVAL);
    config.cache_line = 0x2000;
    assert_int_equal(try_config(fixture, config), -PIOMMU_EINVAL);
    config.cache_line = 128;
    assert_int_equal(try_config(fixture, config), 0);
    config.bounce_pages = 65537;
    assert_int_equal(try_config(fixture, config), -PIOMMU_EINVAL);
    config.bounce_pages = 3;
    assert_int_equal(try_config(fixture, config), 0);
    config.lazy = kind != DMA_IPMMU;
    config.lazy_count = 65537;
    assert_int_equal(try_config(fixture, config), -PIOMMU_EINVAL);
    config.lazy_count = 65536;
    assert_int_equal(try_config(fixture, config), 0);
    config.cpus = 4097;
    assert_int_equal(try_config(fixture, config), -PIOMMU_EINVAL);
    dma_close(fixture);
}

static void test_domains_that_are_not_for_this(enum dma_kind kind)
{
    struct dma_fixture *fixture = dma_open_bare(kind, NULL);
    struct piommu_dma_space_config config = {.domain = NULL};
    struct piommu_domain_config paging = {.type = PIOMMU_DOMAIN_PAGING, .instance_count = 1};

    paging.instances = fixture->ipmmu != NULL ? &fixture->ipmmu->instances[IPMMU_CACHE_1]
                                              : &fixture->viommu->instance;
    assert_int_equal(piommu_domain_create(&paging, &config.domain), 0);
    assert_int_equal(try_config(fixture, config), -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_destroy(config.domain), 0);
    dma_close(fixture);
}

static void test_hosts_that_lack_something(enum dma_kind kind)
{
    struct dma_fixture *fixture = dma_open_bare(kind, NULL);
    struct piommu_os *os = fake_os_callbacks(fixture->os);
    const struct piommu_os whole = *os;
    struct piommu_dma_space_config config = {.domain = fixture->domain};

    os->memory_at = NULL;
    assert_int_equal(try_config(fixture, config), 0);
    config.bounce_pages = 1;
    assert_int_equal(try_config(fixture, config), -PIOMMU_EINVAL);
    config.bounce_pages = 0;
    os->lock_create = NULL;
    assert_int_equal(try_config(fixture, config), -PIOMMU_EINVAL);
    *os = whole;
    dma_close(fixture);
}

static void test_ends_of_spaces(enum dma_kind kind)
{
    struct dma_fixture *fixture = dma_open(kind, NULL);

    assert_int_equal(piommu_dma_space_destroy(fixture->space), -PIOMMU_EBUSY);
    assert_int_equal(piommu_dma_space_abandon(fixture->space), -PIOMMU_EBUSY);
    assert_int_equal(piommu_dma_space_destroy(NULL), 0);
    assert_int_equal(piommu_dma_space_abandon(NULL), 0);
    piommu_dma_device_remove(NULL);
    piommu_dma_device_remove(fixture->dma[0]);
    fixture->dma[0] = NULL;
    assert_int_equal(piommu_dma_space_abandon(fixture->space), 0);
    fixture->space = NULL;
    dma_close(fixture);
}

static void test_calls_about_no_space(enum dma_kind kind)
{
    struct dma_fixture *fixture = dma_open(kind, NULL);

    assert_int_equal(piommu_dma_space_flush(NULL), -PIOMMU_EINVAL);
    assert_int_equal(piommu_dma_space_poll(NULL, NULL), -PIOMMU_EINVAL);
    assert_int_equal(piommu_dma_device_set_masks(NULL, 0, 0), -PIOMMU_EINVAL);
    dma_close(fixture);
}

/* ---- Devices ---- */

static int try_limits(struct dma_fixture *fixture, struct piommu_dma_device_config limits)
{
    struct piommu_dma_device *device = NULL;
    int error = piommu_dma_device_add(fixture->space, fixture->devices[0], &limits, &device);

    assert_true((error == 0) == (device != NULL));
    piommu_dma_device_remove(device);
    return error;
}

static void test_limits_of_devices(enum dma_kind kind)
{
    struct dma_fixture *fixture = dma_open_bare(kind, NULL);
    struct piommu_dma_device *device;

    assert_int_equal(dma_try_space(fixture), 0);
#define LIMITS(...) try_limits(fixture, (struct piommu_dma_device_config){__VA_ARGS__})
    assert_int_equal(LIMITS(.mask = 0), 0);
    assert_int_equal(LIMITS(.segment_boundary = 12288), -PIOMMU_EINVAL);
    assert_int_equal(LIMITS(.segment_boundary = 2048), -PIOMMU_EINVAL);
    assert_int_equal(LIMITS(.segment_boundary = 4096), 0);
    assert_int_equal(LIMITS(.max_segment_size = 1), 0);
    assert_int_equal(LIMITS(.mask = 0xfff), -PIOMMU_ERANGE);
    assert_int_equal(LIMITS(.mask = 0x1ffe), -PIOMMU_ERANGE);
    assert_int_equal(LIMITS(.mask = 0x1fff), 0);
    assert_int_equal(LIMITS(.mask = 0x1fff, .coherent_mask = 0xfff), -PIOMMU_ERANGE);
#undef LIMITS
    assert_int_equal(piommu_dma_device_add(NULL, fixture->devices[0], NULL, &device),
                     -PIOMMU_EINVAL);
    assert_int_equal(piommu_dma_device_add(fixture->space, NULL, NULL, &device), -PIOMMU_EINVAL);
    assert_int_equal(piommu_dma_device_add(fixture->space, fixture->devices[0], NULL, NULL),
                     -PIOMMU_EINVAL);
    dma_close(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        DMA_TEST(DMA_ALL, test_all_below_a_mask_and_nothing_else),
        DMA_TEST(DMA_ALL, test_a_mask_within_a_granule),
        DMA_TEST(DMA_ALL, test_masks_change),
        DMA_TEST(DMA_ALL, test_addresses_that_are_preferred),
        DMA_TEST(DMA_ALL, test_from_the_bottom),
        DMA_TEST(DMA_VIRTIO, test_all_addresses_that_hardware_has),
        DMA_TEST(DMA_VIRTIO, test_an_aperture_that_begins_elsewhere),
        DMA_TEST(DMA_ALL, test_what_the_caller_takes),
        DMA_TEST(DMA_ALL, test_reserved_regions_and_windows),
        DMA_TEST(DMA_ALL, test_a_reserved_region_where_something_is_mapped),
        DMA_TEST(DMA_LAZY, test_what_waits_is_not_in_the_way),
        DMA_TEST(DMA_ALL, test_a_refused_device_takes_nothing),
        DMA_TEST(DMA_ALL, test_a_direct_region),
        DMA_TEST(DMA_VIRTIO, test_a_large_reserved_region),
        DMA_TEST(DMA_ALL, test_a_reserved_region_twice),
        DMA_TEST(DMA_ALL, test_configurations_of_spaces),
        DMA_TEST(DMA_ALL, test_domains_that_are_not_for_this),
        DMA_TEST(DMA_ALL, test_hosts_that_lack_something),
        DMA_TEST(DMA_ALL, test_ends_of_spaces),
        DMA_TEST(DMA_ALL, test_calls_about_no_space),
        DMA_TEST(DMA_ALL, test_limits_of_devices),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
