/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * piommu_device_map_msi: where a device has to write its interrupts, and what keeps that address
 * from being anything else.
 */

#include "core_bench.h"

#include <piommu/piommu.h>

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#define WINDOW     0x08000000ull
#define PAGES      4u
#define USER       0x40000000ull
#define MEMORY     0x80000000ull
#define MEMORY_2   0xc0000000ull
#define DOORBELL   0x12340040ull /* a register inside a page */
#define DOORBELL_2 0x56780080ull
#define DOORBELL_3 0x0a000ffcull
#define TOP        (1ull << 39)
#define FIRST_ID   10u
#define OTHER_ID   11u
#define HOLE       PIOMMU_ALLOW_HOLE

static uint64_t page_of(uint64_t address)
{
    return address & ~(CORE_PAGE - 1);
}

static void with_device_memory(unsigned int unit, struct piommu_backend_info *info)
{
    (void)unit;
    info->prot |= PIOMMU_PROT_DEVICE;
}

static void with_write_only(unsigned int unit, struct piommu_backend_info *info)
{
    (void)unit;
    info->prot |= PIOMMU_PROT_DEVICE;
    info->write_only = true;
}

/* Doorbells are written; where that cannot be had alone, read as well. */
static struct core_bench *open_bench(void **state)
{
    struct core_bench *bench = core_open(core_case_of(state), with_device_memory);

    core_window(bench, WINDOW - CORE_PAGE, (PAGES + 2) * CORE_PAGE);
    core_window(bench, USER - CORE_PAGE, 3 * CORE_PAGE);
    return bench;
}

static struct piommu_domain *make_domain(struct core_bench *bench, enum piommu_domain_type type)
{
    struct piommu_domain_config config = core_config(bench, type);

    config.msi_window.first = WINDOW;
    config.msi_window.last = WINDOW + PAGES * CORE_PAGE - 1;
    return core_create(bench, &config);
}

/* Any page of the window may lead to the page of a doorbell. */
static void may_ring(struct core_bench *bench, uint64_t doorbell)
{
    for (unsigned int i = 0; i < PAGES; i++) {
        core_may(bench, CORE_ANY_ID, WINDOW + i * CORE_PAGE, page_of(doorbell), CORE_PAGE, CORE_RW);
    }
}

static bool in_window(uint64_t iova)
{
    return iova >= WINDOW && iova < WINDOW + PAGES * CORE_PAGE;
}

static uint64_t map_msi(struct piommu_device *device, uint64_t doorbell)
{
    uint64_t iova = CORE_NOTHING;

    assert_int_equal(piommu_device_map_msi(device, doorbell, &iova), 0);
    return iova;
}

static void expect_rings(struct core_bench *bench, uint32_t id, uint64_t iova, uint64_t doorbell)
{
    assert_int_equal(iova & (CORE_PAGE - 1), doorbell & (CORE_PAGE - 1));
    assert_int_equal(core_reached(bench, id, iova, true), doorbell);
}

static unsigned int last_unit(const struct core_bench *bench)
{
    return bench->options.units - 1;
}

/* ---- Where no mapping is needed ---- */

static void test_a_doorbell_in_a_window_of_the_device_is_its_own_address(void **state)
{
    static const struct piommu_reserved_region window = {{0x12340000ull, 0x1234ffffull},
                                                         PIOMMU_RESERVED_MSI};
    struct core_bench *bench = open_bench(state);
    struct piommu_domain *domain = make_domain(bench, PIOMMU_DOMAIN_PAGING);
    struct piommu_device *device = core_add_device(bench, 0, FIRST_ID, &window, 1, 0);
    struct piommu_device *other = core_add_device(bench, last_unit(bench), OTHER_ID, NULL, 0, 0);

    assert_int_equal(core_attach(device, domain), 0);
    assert_int_equal(core_attach(other, domain), 0);
    assert_int_equal(map_msi(device, DOORBELL), DOORBELL);
    core_expect_hole(domain, WINDOW, PAGES * CORE_PAGE);
    core_expect_nothing(bench, FIRST_ID, page_of(DOORBELL), CORE_PAGE);
    /* A window of another device does not help. */
    may_ring(bench, DOORBELL);
    assert_true(in_window(map_msi(other, DOORBELL)));
    assert_int_equal(map_msi(device, DOORBELL), DOORBELL);
    core_close(bench);
}

static void test_a_doorbell_outside_the_devices_window_needs_the_software_window(void **state)
{
    static const struct piommu_reserved_region window = {{0x20000000ull, 0x2000ffffull},
                                                         PIOMMU_RESERVED_MSI};
    struct core_bench *bench = open_bench(state);
    struct piommu_domain *domain = make_domain(bench, PIOMMU_DOMAIN_PAGING);
    struct piommu_device *device = core_add_device(bench, 0, FIRST_ID, &window, 1, 0);

    may_ring(bench, DOORBELL);
    assert_int_equal(core_attach(device, domain), 0);
    assert_true(in_window(map_msi(device, DOORBELL)));
    core_close(bench);
}

static void test_in_an_identity_domain_a_doorbell_is_its_own_address(void **state)
{
    struct core_bench *bench = core_open(core_case_of(state), with_device_memory);
    const struct piommu_domain_config config = core_config(bench, PIOMMU_DOMAIN_IDENTITY);
    struct piommu_domain *domain = core_create(bench, &config);
    struct piommu_device *device = core_add_device(bench, 0, FIRST_ID, NULL, 0, 0);

    assert_int_equal(core_attach(device, domain), 0);
    assert_int_equal(map_msi(device, DOORBELL), DOORBELL);
    core_close(bench);
}

static void test_a_blocked_device_has_no_doorbell(void **state)
{
    struct core_bench *bench = open_bench(state);
    struct piommu_device *device = core_add_device(bench, 0, FIRST_ID, NULL, 0, 0);
    const struct piommu_domain_config config = core_config(bench, PIOMMU_DOMAIN_BLOCKED);
    struct piommu_domain *blocked = core_create(bench, &config);
    uint64_t iova = 1;

    assert_int_equal(piommu_device_map_msi(device, DOORBELL, &iova), -PIOMMU_EINVAL);
    assert_int_equal(core_attach(device, blocked), 0);
    assert_int_equal(piommu_device_map_msi(device, DOORBELL, &iova), -PIOMMU_EINVAL);
    assert_int_equal(piommu_device_map_msi(NULL, DOORBELL, &iova), -PIOMMU_EINVAL);
    assert_int_equal(iova, 1);
    core_close(bench);
}

static void test_without_a_software_window_there_is_no_room(void **state)
{
    struct core_bench *bench = open_bench(state);
    struct piommu_domain *domain = core_paging(bench);
    struct piommu_device *device = core_add_device(bench, 0, FIRST_ID, NULL, 0, 0);
    uint64_t iova = 1;

    assert_int_equal(core_attach(device, domain), 0);
    assert_int_equal(piommu_device_map_msi(device, DOORBELL, &iova), -PIOMMU_ENOSPC);
    assert_int_equal(piommu_device_map_msi(device, DOORBELL, NULL), -PIOMMU_EINVAL);
    assert_int_equal(iova, 1);
    core_close(bench);
}

/* ---- The software window ---- */

static void test_a_doorbell_works_at_the_address_that_is_told(void **state)
{
    struct core_bench *bench = open_bench(state);
    struct piommu_domain *domain = make_domain(bench, PIOMMU_DOMAIN_PAGING);
    struct piommu_device *device = core_add_device(bench, last_unit(bench), FIRST_ID, NULL, 0, 0);
    struct piommu_translation result;
    uint64_t iova;

    may_ring(bench, DOORBELL);
    assert_int_equal(core_attach(device, domain), 0);
    iova = map_msi(device, DOORBELL);
    assert_true(in_window(iova));
    expect_rings(bench, FIRST_ID, iova, DOORBELL);
    assert_int_equal(piommu_domain_lookup(domain, iova, &result), 0);
    assert_int_equal(result.physical, DOORBELL);
    assert_int_equal(result.prot & PIOMMU_PROT_DEVICE, PIOMMU_PROT_DEVICE);
    core_close(bench);
}

static void test_asking_again_gives_the_same_address(void **state)
{
    struct core_bench *bench = open_bench(state);
    struct piommu_domain *domain = make_domain(bench, PIOMMU_DOMAIN_PAGING);
    struct piommu_device *device = core_add_device(bench, 0, FIRST_ID, NULL, 0, 0);
    struct piommu_device *other = core_add_device(bench, last_unit(bench), OTHER_ID, NULL, 0, 0);
    unsigned int maps;
    uint64_t iova;

    may_ring(bench, DOORBELL);
    assert_int_equal(core_attach(device, domain), 0);
    assert_int_equal(core_attach(other, domain), 0);
    iova = map_msi(device, DOORBELL);
    expect_rings(bench, OTHER_ID, iova, DOORBELL);
    maps = core_calls(bench, CORE_MAP);
    assert_int_equal(map_msi(device, DOORBELL), iova);
    assert_int_equal(map_msi(other, DOORBELL), iova);
    assert_int_equal(core_calls(bench, CORE_MAP), maps);
    core_close(bench);
}

static void test_doorbells_in_one_page_share_a_page_of_the_window(void **state)
{
    struct core_bench *bench = open_bench(state);
    struct piommu_domain *domain = make_domain(bench, PIOMMU_DOMAIN_PAGING);
    struct piommu_device *device = core_add_device(bench, 0, FIRST_ID, NULL, 0, 0);
    uint64_t iova;

    may_ring(bench, DOORBELL);
    assert_int_equal(core_attach(device, domain), 0);
    iova = map_msi(device, DOORBELL);
    assert_int_equal(map_msi(device, DOORBELL + 0x10), iova + 0x10);
    assert_int_equal(map_msi(device, page_of(DOORBELL)), page_of(iova));
    assert_int_equal(map_msi(device, page_of(DOORBELL) + CORE_PAGE - 1),
                     page_of(iova) + CORE_PAGE - 1);
    expect_rings(bench, FIRST_ID, iova + 0x10, DOORBELL + 0x10);
    core_close(bench);
}

static void test_each_doorbell_has_its_page_until_the_window_is_full(void **state)
{
    struct core_bench *bench = open_bench(state);
    struct piommu_domain *domain = make_domain(bench, PIOMMU_DOMAIN_PAGING);
    struct piommu_device *device = core_add_device(bench, 0, FIRST_ID, NULL, 0, 0);
    uint64_t iova[PAGES];
    uint64_t none = 1;

    for (unsigned int i = 0; i < PAGES; i++) {
        may_ring(bench, DOORBELL + i * CORE_PAGE);
    }
    assert_int_equal(core_attach(device, domain), 0);
    for (unsigned int i = 0; i < PAGES; i++) {
        iova[i] = map_msi(device, DOORBELL + i * CORE_PAGE);
        assert_true(in_window(iova[i]));
        for (unsigned int j = 0; j < i; j++) {
            assert_true(page_of(iova[i]) != page_of(iova[j]));
        }
    }
    assert_int_equal(piommu_device_map_msi(device, DOORBELL_2, &none), -PIOMMU_ENOSPC);
    assert_int_equal(none, 1);
    /* Those that are there go on. */
    for (unsigned int i = 0; i < PAGES; i++) {
        assert_int_equal(map_msi(device, DOORBELL + i * CORE_PAGE), iova[i]);
        expect_rings(bench, FIRST_ID, iova[i], DOORBELL + i * CORE_PAGE);
    }
    core_close(bench);
}

static void test_a_window_has_the_ends_that_it_was_given(void **state)
{
    struct core_bench *bench = core_open(core_case_of(state), with_device_memory);
    struct piommu_device *device = core_add_device(bench, 0, FIRST_ID, NULL, 0, 0);
    struct piommu_domain_config config = core_config(bench, PIOMMU_DOMAIN_PAGING);
    struct piommu_domain *domain;
    uint64_t iova;

    config.msi_window.first = TOP - CORE_PAGE;
    config.msi_window.last = TOP - 1;
    domain = core_create(bench, &config);
    core_map(domain, TOP - 2 * CORE_PAGE, MEMORY, CORE_PAGE, CORE_RW);
    assert_int_equal(piommu_domain_map(domain, TOP - CORE_PAGE, MEMORY, CORE_PAGE, CORE_RW),
                     -PIOMMU_ERESERVED);
    assert_int_equal(core_attach(device, domain), 0);
    iova = map_msi(device, DOORBELL);
    assert_int_equal(page_of(iova), TOP - CORE_PAGE);
    assert_int_equal(piommu_device_map_msi(device, DOORBELL_2, &iova), -PIOMMU_ENOSPC);
    core_detach(device);
    core_destroy(bench, domain);

    /* At address 0 it is not taken for none. */
    config.msi_window.first = 0;
    config.msi_window.last = CORE_PAGE - 1;
    domain = core_create(bench, &config);
    assert_int_equal(core_attach(device, domain), 0);
    assert_int_equal(page_of(map_msi(device, DOORBELL)), 0);
    core_close(bench);
}

static void test_impossible_windows_are_refused(void **state)
{
    static const struct piommu_range windows[] = {
        {TOP, TOP + CORE_PAGE - 1},
        {TOP - CORE_PAGE, TOP + CORE_PAGE - 1},
        {UINT64_MAX - (CORE_PAGE - 1), UINT64_MAX},
        {WINDOW + 1, WINDOW + CORE_PAGE - 1},
        {WINDOW, WINDOW + CORE_PAGE},
        {WINDOW, WINDOW + CORE_PAGE - 2},
        {0, UINT64_MAX},
    };
    struct core_bench *bench = core_open(core_case_of(state), with_device_memory);

    for (size_t i = 0; i < sizeof(windows) / sizeof(windows[0]); i++) {
        struct piommu_domain_config config = core_config(bench, PIOMMU_DOMAIN_PAGING);
        struct piommu_domain *domain = NULL;

        config.msi_window = windows[i];
        assert_int_equal(piommu_domain_create(&config, &domain), -PIOMMU_ERANGE);
        assert_null(domain);
    }
    core_close(bench);
}

static void test_a_doorbell_beyond_physical_memory_is_refused(void **state)
{
    struct core_bench *bench = open_bench(state);
    struct piommu_domain *domain = make_domain(bench, PIOMMU_DOMAIN_PAGING);
    struct piommu_device *device = core_add_device(bench, 0, FIRST_ID, NULL, 0, 0);
    uint64_t iova = 1;

    assert_int_equal(core_attach(device, domain), 0);
    if (core_has_tables(bench)) {
        assert_int_equal(piommu_device_map_msi(device, 1ull << 40, &iova), -PIOMMU_ERANGE);
        assert_int_equal(piommu_device_map_msi(device, UINT64_MAX, &iova), -PIOMMU_ERANGE);
        assert_int_equal(iova, 1);
        core_expect_hole(domain, WINDOW, PAGES * CORE_PAGE);
    } else {
        may_ring(bench, UINT64_MAX);
        iova = map_msi(device, UINT64_MAX);
        expect_rings(bench, FIRST_ID, iova, UINT64_MAX);
    }
    core_close(bench);
}

/* ---- Permissions ---- */

static void test_a_doorbell_is_only_written_where_that_can_be_expressed(void **state)
{
    struct core_bench *bench = core_open(core_case_of(state), with_write_only);
    struct piommu_domain *domain = make_domain(bench, PIOMMU_DOMAIN_PAGING);
    struct piommu_device *device = core_add_device(bench, 0, FIRST_ID, NULL, 0, 0);
    uint64_t iova;

    assert_true(core_info(domain).write_only);
    assert_int_equal(core_attach(device, domain), 0);
    iova = map_msi(device, DOORBELL);
    expect_rings(bench, FIRST_ID, iova, DOORBELL);
    assert_int_equal(core_reached(bench, FIRST_ID, iova, false), CORE_NOTHING);
    core_close(bench);
}

static void test_a_doorbell_can_be_read_where_writing_alone_cannot_be_expressed(void **state)
{
    struct core_bench *bench = open_bench(state);
    struct piommu_domain *domain = make_domain(bench, PIOMMU_DOMAIN_PAGING);
    struct piommu_device *device = core_add_device(bench, 0, FIRST_ID, NULL, 0, 0);
    uint64_t iova;

    assert_false(core_info(domain).write_only);
    may_ring(bench, DOORBELL);
    assert_int_equal(core_attach(device, domain), 0);
    iova = map_msi(device, DOORBELL);
    expect_rings(bench, FIRST_ID, iova, DOORBELL);
    assert_int_equal(core_reached(bench, FIRST_ID, iova, false), DOORBELL);
    core_close(bench);
}

static void test_a_doorbell_is_mapped_where_device_memory_cannot_be_expressed(void **state)
{
    struct core_bench *bench = core_open(core_case_of(state), NULL);
    struct piommu_domain *domain = make_domain(bench, PIOMMU_DOMAIN_PAGING);
    struct piommu_device *device = core_add_device(bench, 0, FIRST_ID, NULL, 0, 0);
    struct piommu_translation result;
    uint64_t iova;

    assert_int_equal(core_info(domain).prot & PIOMMU_PROT_DEVICE, 0);
    assert_int_equal(core_attach(device, domain), 0);
    iova = map_msi(device, DOORBELL);
    expect_rings(bench, FIRST_ID, iova, DOORBELL);
    assert_int_equal(piommu_domain_lookup(domain, iova, &result), 0);
    assert_int_equal(result.prot & PIOMMU_PROT_DEVICE, 0);
    core_close(bench);
}

/* ---- Nobody else's ---- */

static void expect_map_refused(struct piommu_domain *domain, uint64_t iova, uint64_t size)
{
    const struct piommu_segment segments[] = {{MEMORY, CORE_PAGE}, {MEMORY_2, size - CORE_PAGE}};
    uint64_t mapped = 1;

    assert_int_equal(piommu_domain_map(domain, iova, MEMORY, size, CORE_RW), -PIOMMU_ERESERVED);
    assert_int_equal(
        piommu_domain_map_list(domain, iova, segments, size == CORE_PAGE ? 1 : 2, CORE_RW),
        -PIOMMU_ERESERVED);
    assert_int_equal(piommu_domain_map_again(domain, iova, MEMORY, size, CORE_RW),
                     -PIOMMU_ERESERVED);
    assert_int_equal(piommu_domain_map_some(domain, iova, MEMORY, size, CORE_RW, 100, &mapped),
                     -PIOMMU_ERESERVED);
    assert_int_equal(mapped, 0);
    assert_int_equal(piommu_domain_replace(domain, iova, MEMORY, size, CORE_RW, HOLE, NULL),
                     -PIOMMU_ERESERVED);
}

static void expect_unmap_refused(struct piommu_domain *domain, uint64_t iova, uint64_t size)
{
    struct piommu_gather gather;
    uint64_t bytes;
    int error;

    piommu_gather_init(&gather);
    assert_int_equal(piommu_domain_unmap(domain, iova, size, &gather, NULL), -PIOMMU_ERESERVED);
    assert_int_equal(piommu_domain_unmap_leaves(domain, iova, iova + size - 1, &gather, NULL, NULL),
                     -PIOMMU_ERESERVED);
    do {
        error = piommu_domain_unmap_some(domain, iova, size, 100, &gather, &bytes, NULL);
    } while (error == -PIOMMU_EAGAIN);
    assert_int_equal(error, -PIOMMU_ERESERVED);
    assert_false(gather.pending);
    assert_int_equal(piommu_domain_unmap_cut(domain, iova, size, HOLE, NULL), -PIOMMU_ERESERVED);
    assert_int_equal(piommu_domain_protect(domain, iova, size, CORE_R, HOLE, NULL),
                     -PIOMMU_ERESERVED);
    do {
        error = piommu_domain_protect_some(domain, iova, size, CORE_R, HOLE, 1000, &bytes, NULL);
    } while (error == -PIOMMU_EAGAIN);
    assert_int_equal(error, -PIOMMU_ERESERVED);
}

static void test_nothing_else_can_be_mapped_in_the_window(void **state)
{
    struct core_bench *bench = open_bench(state);
    struct piommu_domain *domain = make_domain(bench, PIOMMU_DOMAIN_PAGING);
    struct piommu_device *device = core_add_device(bench, 0, FIRST_ID, NULL, 0, 0);

    /* With devices and without. */
    for (unsigned int round = 0; round < 2; round++) {
        for (unsigned int page = 0; page < PAGES; page++) {
            expect_map_refused(domain, WINDOW + page * CORE_PAGE, CORE_PAGE);
        }
        expect_map_refused(domain, WINDOW - CORE_PAGE, 2 * CORE_PAGE);
        expect_map_refused(domain, WINDOW + (PAGES - 1) * CORE_PAGE, 2 * CORE_PAGE);
        expect_map_refused(domain, WINDOW - CORE_PAGE, (PAGES + 2) * CORE_PAGE);
        core_expect_hole(domain, WINDOW - CORE_PAGE, (PAGES + 2) * CORE_PAGE);
        if (round == 0) {
            assert_int_equal(core_attach(device, domain), 0);
        }
    }
    core_may(bench, FIRST_ID, WINDOW - CORE_PAGE, MEMORY, CORE_PAGE, CORE_RW);
    core_may(bench, FIRST_ID, WINDOW + PAGES * CORE_PAGE, MEMORY_2, CORE_PAGE, CORE_RW);
    core_map(domain, WINDOW - CORE_PAGE, MEMORY, CORE_PAGE, CORE_RW);
    core_map(domain, WINDOW + PAGES * CORE_PAGE, MEMORY_2, CORE_PAGE, CORE_RW);
    core_close(bench);
}

static void test_a_doorbell_cannot_be_unmapped_or_changed(void **state)
{
    struct core_bench *bench = open_bench(state);
    struct piommu_domain *domain = make_domain(bench, PIOMMU_DOMAIN_PAGING);
    struct piommu_device *device = core_add_device(bench, 0, FIRST_ID, NULL, 0, 0);
    uint64_t iova;

    may_ring(bench, DOORBELL);
    core_must(bench, FIRST_ID, WINDOW - CORE_PAGE, MEMORY, CORE_PAGE, CORE_RW);
    core_map(domain, WINDOW - CORE_PAGE, MEMORY, CORE_PAGE, CORE_RW);
    assert_int_equal(core_attach(device, domain), 0);
    iova = map_msi(device, DOORBELL);
    expect_unmap_refused(domain, page_of(iova), CORE_PAGE);
    expect_unmap_refused(domain, WINDOW, PAGES * CORE_PAGE);
    expect_unmap_refused(domain, WINDOW - CORE_PAGE, (PAGES + 1) * CORE_PAGE);
    expect_map_refused(domain, page_of(iova), CORE_PAGE);
    expect_rings(bench, FIRST_ID, iova, DOORBELL);
    core_expect_mapped(bench, FIRST_ID, WINDOW - CORE_PAGE, MEMORY, CORE_PAGE, CORE_RW);
    core_close(bench);
}

static void test_a_window_without_doorbells_does_not_keep_from_unmapping_around_it(void **state)
{
    struct core_bench *bench = open_bench(state);
    struct piommu_domain *domain = make_domain(bench, PIOMMU_DOMAIN_PAGING);

    core_map(domain, WINDOW - CORE_PAGE, MEMORY, CORE_PAGE, CORE_RW);
    core_map(domain, WINDOW + PAGES * CORE_PAGE, MEMORY_2, CORE_PAGE, CORE_RW);
    core_unmap(domain, WINDOW - CORE_PAGE, (PAGES + 2) * CORE_PAGE);
    core_expect_hole(domain, WINDOW - CORE_PAGE, (PAGES + 2) * CORE_PAGE);
    core_close(bench);
}

static void test_doorbells_are_not_counted_as_the_owners_mappings(void **state)
{
    struct core_bench *bench = open_bench(state);
    struct piommu_domain *domain = make_domain(bench, PIOMMU_DOMAIN_PAGING);
    struct piommu_device *device = core_add_device(bench, 0, FIRST_ID, NULL, 0, 0);

    may_ring(bench, DOORBELL);
    may_ring(bench, DOORBELL_2);
    assert_int_equal(core_attach(device, domain), 0);
    map_msi(device, DOORBELL);
    map_msi(device, DOORBELL_2);
    assert_int_equal(core_statistics(domain).mapped, 0);
    core_close(bench);
}

static void test_a_device_may_have_a_reserved_region_in_the_window(void **state)
{
    struct core_bench *bench = open_bench(state);
    const struct piommu_reserved_region region = {{WINDOW, WINDOW + (PAGES - 1) * CORE_PAGE - 1},
                                                  PIOMMU_RESERVED};
    struct piommu_domain *domain = make_domain(bench, PIOMMU_DOMAIN_PAGING);
    struct piommu_device *device = core_add_device(bench, 0, FIRST_ID, &region, 1, 0);
    uint64_t iova = 0;

    /* What it must not see mapped is not where a doorbell goes. */
    may_ring(bench, DOORBELL);
    assert_int_equal(core_attach(device, domain), 0);
    if (piommu_device_map_msi(device, DOORBELL, &iova) == 0) {
        assert_int_equal(page_of(iova), WINDOW + (PAGES - 1) * CORE_PAGE);
        expect_rings(bench, FIRST_ID, iova, DOORBELL);
    }
    core_expect_hole(domain, WINDOW, (PAGES - 1) * CORE_PAGE);
    core_close(bench);
}

static void test_a_doorbell_in_a_reserved_region_keeps_the_device_out(void **state)
{
    struct core_bench *bench = open_bench(state);
    const struct piommu_reserved_region region = {{WINDOW, WINDOW + PAGES * CORE_PAGE - 1},
                                                  PIOMMU_RESERVED};
    struct piommu_domain *domain = make_domain(bench, PIOMMU_DOMAIN_PAGING);
    struct piommu_device *device = core_add_device(bench, 0, FIRST_ID, NULL, 0, 0);
    struct piommu_device *late = core_add_device(bench, last_unit(bench), OTHER_ID, &region, 1, 0);

    may_ring(bench, DOORBELL);
    assert_int_equal(core_attach(device, domain), 0);
    map_msi(device, DOORBELL);
    assert_int_equal(core_attach(late, domain), -PIOMMU_ERESERVED);
    core_expect_nothing(bench, OTHER_ID, WINDOW, PAGES * CORE_PAGE);
    core_close(bench);
}

static void test_a_direct_region_cannot_be_in_the_window(void **state)
{
    struct core_bench *bench = open_bench(state);
    const struct piommu_reserved_region region = {{WINDOW + CORE_PAGE, WINDOW + 2 * CORE_PAGE - 1},
                                                  PIOMMU_RESERVED_DIRECT};
    struct piommu_domain *domain = make_domain(bench, PIOMMU_DOMAIN_PAGING);
    struct piommu_device *device = core_add_device(bench, 0, FIRST_ID, &region, 1, 0);

    assert_true(core_attach(device, domain) < 0);
    core_expect_hole(domain, WINDOW, PAGES * CORE_PAGE);
    core_close(bench);
}

/* ---- For how long ---- */

static void test_a_doorbell_stays_until_the_domain_is_destroyed(void **state)
{
    struct core_bench *bench = open_bench(state);
    struct piommu_domain *domain = make_domain(bench, PIOMMU_DOMAIN_PAGING);
    struct piommu_device *device = core_add_device(bench, 0, FIRST_ID, NULL, 0, 0);
    uint64_t iova;

    may_ring(bench, DOORBELL);
    assert_int_equal(core_attach(device, domain), 0);
    iova = map_msi(device, DOORBELL);
    core_detach(device);
    core_expect_nothing(bench, FIRST_ID, WINDOW, PAGES * CORE_PAGE);
    expect_map_refused(domain, page_of(iova), CORE_PAGE);
    assert_int_equal(core_attach(device, domain), 0);
    expect_rings(bench, FIRST_ID, iova, DOORBELL);
    assert_int_equal(map_msi(device, DOORBELL), iova);
    core_detach(device);
    core_destroy(bench, domain);
    core_close(bench);
}

static void test_devices_that_come_later_find_the_doorbell(void **state)
{
    struct core_bench *bench = open_bench(state);
    struct piommu_domain *domain = make_domain(bench, PIOMMU_DOMAIN_PAGING);
    struct piommu_device *device = core_add_device(bench, 0, FIRST_ID, NULL, 0, 0);
    struct piommu_device *late = core_add_device(bench, last_unit(bench), OTHER_ID, NULL, 0, 0);
    uint64_t iova;

    may_ring(bench, DOORBELL);
    assert_int_equal(core_attach(device, domain), 0);
    iova = map_msi(device, DOORBELL);
    assert_int_equal(core_attach(late, domain), 0);
    expect_rings(bench, OTHER_ID, iova, DOORBELL);
    assert_int_equal(map_msi(late, DOORBELL), iova);
    core_detach(device);
    expect_rings(bench, OTHER_ID, iova, DOORBELL);
    core_close(bench);
}

static void test_a_domain_has_its_own_doorbells(void **state)
{
    struct core_bench *bench = open_bench(state);
    struct piommu_domain *first = make_domain(bench, PIOMMU_DOMAIN_PAGING);
    struct piommu_domain *second = make_domain(bench, PIOMMU_DOMAIN_DMA);
    struct piommu_device *device = core_add_device(bench, 0, FIRST_ID, NULL, 0, 0);
    uint64_t iova;

    may_ring(bench, DOORBELL);
    may_ring(bench, DOORBELL_2);
    assert_int_equal(core_attach(device, first), 0);
    map_msi(device, DOORBELL);
    assert_int_equal(core_attach(device, second), 0);
    core_expect_nothing(bench, FIRST_ID, WINDOW, PAGES * CORE_PAGE);
    iova = map_msi(device, DOORBELL_2);
    expect_rings(bench, FIRST_ID, iova, DOORBELL_2);
    core_close(bench);
}

static void test_a_populated_deferred_domain_has_doorbells(void **state)
{
    struct core_bench *bench = open_bench(state);
    struct piommu_domain *domain = make_domain(bench, PIOMMU_DOMAIN_DEFERRED);
    struct piommu_device *device = core_add_device(bench, 0, FIRST_ID, NULL, 0, 0);

    expect_map_refused(domain, WINDOW, CORE_PAGE);
    core_may(bench, FIRST_ID, USER, MEMORY, CORE_PAGE, CORE_RW);
    may_ring(bench, DOORBELL);
    core_map(domain, USER, MEMORY, CORE_PAGE, CORE_RW);
    assert_int_equal(piommu_domain_populate(domain, 100), 0);
    expect_map_refused(domain, WINDOW, CORE_PAGE);
    assert_int_equal(core_attach(device, domain), 0);
    expect_rings(bench, FIRST_ID, map_msi(device, DOORBELL), DOORBELL);
    core_close(bench);
}

/* ---- Failures ---- */

static void test_without_memory_no_page_of_the_window_is_lost(void **state)
{
    struct core_bench *bench = open_bench(state);
    struct piommu_domain *domain = make_domain(bench, PIOMMU_DOMAIN_PAGING);
    struct piommu_device *device = core_add_device(bench, 0, FIRST_ID, NULL, 0, 0);
    unsigned int failures = 0;
    uint64_t iova = 1;
    int error = -PIOMMU_ENOMEM;

    for (unsigned int i = 0; i < PAGES; i++) {
        may_ring(bench, DOORBELL + i * CORE_PAGE);
    }
    assert_int_equal(core_attach(device, domain), 0);
    for (unsigned int nth = 1; error != 0; nth++) {
        fake_os_fail_call(bench->os, nth, false);
        error = piommu_device_map_msi(device, DOORBELL, &iova);
        fake_os_fail_call(bench->os, 0, false);
        if (error != 0) {
            assert_int_equal(error, -PIOMMU_ENOMEM);
            assert_int_equal(iova, 1);
            core_expect_hole(domain, WINDOW, PAGES * CORE_PAGE);
            failures++;
        }
    }
    assert_true(failures != 0);
    expect_rings(bench, FIRST_ID, iova, DOORBELL);
    for (unsigned int i = 1; i < PAGES; i++) {
        map_msi(device, DOORBELL + i * CORE_PAGE);
    }
    core_close(bench);
}

static void test_hardware_that_refuses_a_doorbell_can_be_asked_again(void **state)
{
    struct core_bench *bench = open_bench(state);
    struct piommu_domain *domain = make_domain(bench, PIOMMU_DOMAIN_PAGING);
    struct piommu_device *device = core_add_device(bench, last_unit(bench), FIRST_ID, NULL, 0, 0);
    uint64_t iova = 1;

    for (unsigned int i = 0; i < PAGES; i++) {
        may_ring(bench, DOORBELL_3 + i * CORE_PAGE);
    }
    assert_int_equal(core_attach(device, domain), 0);
    for (unsigned int i = 0; i < 2 * PAGES; i++) {
        core_fail(&bench->units[last_unit(bench)], CORE_MAP, 1, -PIOMMU_EIO, false);
        assert_int_equal(piommu_device_map_msi(device, DOORBELL_3, &iova), -PIOMMU_EIO);
        core_expect_hole(domain, WINDOW, PAGES * CORE_PAGE);
        core_expect_nothing(bench, FIRST_ID, WINDOW, PAGES * CORE_PAGE);
    }
    assert_int_equal(iova, 1);
    for (unsigned int i = 0; i < PAGES; i++) {
        iova = map_msi(device, DOORBELL_3 + i * CORE_PAGE);
        expect_rings(bench, FIRST_ID, iova, DOORBELL_3 + i * CORE_PAGE);
    }
    core_close(bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CORE_FOR_EACH_CASE(test_a_doorbell_in_a_window_of_the_device_is_its_own_address),
        CORE_FOR_EACH_CASE(test_a_doorbell_outside_the_devices_window_needs_the_software_window),
        CORE_FOR_EACH_CASE(test_in_an_identity_domain_a_doorbell_is_its_own_address),
        CORE_FOR_EACH_CASE(test_a_blocked_device_has_no_doorbell),
        CORE_FOR_EACH_CASE(test_without_a_software_window_there_is_no_room),
        CORE_FOR_EACH_CASE(test_a_doorbell_works_at_the_address_that_is_told),
        CORE_FOR_EACH_CASE(test_asking_again_gives_the_same_address),
        CORE_FOR_EACH_CASE(test_doorbells_in_one_page_share_a_page_of_the_window),
        CORE_FOR_EACH_CASE(test_each_doorbell_has_its_page_until_the_window_is_full),
        CORE_FOR_EACH_CASE(test_a_window_has_the_ends_that_it_was_given),
        CORE_FOR_EACH_CASE(test_impossible_windows_are_refused),
        CORE_FOR_EACH_CASE(test_a_doorbell_beyond_physical_memory_is_refused),
        CORE_FOR_REQUESTS(test_a_doorbell_is_only_written_where_that_can_be_expressed),
        CORE_FOR_EACH_CASE(test_a_doorbell_can_be_read_where_writing_alone_cannot_be_expressed),
        CORE_FOR_EACH_CASE(test_a_doorbell_is_mapped_where_device_memory_cannot_be_expressed),
        CORE_FOR_EACH_CASE(test_nothing_else_can_be_mapped_in_the_window),
        CORE_FOR_EACH_CASE(test_a_doorbell_cannot_be_unmapped_or_changed),
        CORE_FOR_EACH_CASE(test_a_window_without_doorbells_does_not_keep_from_unmapping_around_it),
        CORE_FOR_EACH_CASE(test_doorbells_are_not_counted_as_the_owners_mappings),
        CORE_FOR_EACH_CASE(test_a_device_may_have_a_reserved_region_in_the_window),
        CORE_FOR_EACH_CASE(test_a_doorbell_in_a_reserved_region_keeps_the_device_out),
        CORE_FOR_EACH_CASE(test_a_direct_region_cannot_be_in_the_window),
        CORE_FOR_EACH_CASE(test_a_doorbell_stays_until_the_domain_is_destroyed),
        CORE_FOR_EACH_CASE(test_devices_that_come_later_find_the_doorbell),
        CORE_FOR_EACH_CASE(test_a_domain_has_its_own_doorbells),
        CORE_FOR_EACH_CASE(test_a_populated_deferred_domain_has_doorbells),
        CORE_FOR_EACH_CASE(test_without_memory_no_page_of_the_window_is_lost),
        CORE_FOR_REQUESTS(test_hardware_that_refuses_a_doorbell_can_be_asked_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
