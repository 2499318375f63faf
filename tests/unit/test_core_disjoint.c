/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Domains whose calls may run beside each other, used by one thread: they do what others do, but
 * for the counters.
 */

#include "core_bench.h"

#include <piommu/piommu.h>

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#define BASE     0x40000000ull
#define WINDOW   0x08000000ull
#define MEMORY   0x80000000ull
#define MEMORY_2 0xc0000000ull
#define MEMORY_3 0x100000000ull
#define DOORBELL 0x12340040ull
#define TOP      (1ull << 39)
#define FIRST_ID 10u
#define HOLE     PIOMMU_ALLOW_HOLE

struct setup {
    struct core_bench *bench;
    struct piommu_domain *domain;
    struct piommu_device *devices[CORE_MAX_UNITS];
};

static void with_device_memory(unsigned int unit, struct piommu_backend_info *info)
{
    (void)unit;
    info->prot |= PIOMMU_PROT_DEVICE;
}

static uint64_t page(unsigned int number)
{
    return number * CORE_PAGE;
}

static struct piommu_domain_config disjoint_config(struct core_bench *bench,
                                                   enum piommu_domain_type type)
{
    struct piommu_domain_config config = core_config(bench, type);

    config.disjoint = true;
    config.msi_window.first = WINDOW;
    config.msi_window.last = WINDOW + 2 * CORE_PAGE - 1;
    return config;
}

static struct setup open_setup(void **state)
{
    struct setup setup = {.bench = core_open(core_case_of(state), with_device_memory)};
    struct piommu_domain_config config;

    if (!CORE_DISJOINT_EXISTS) {
        core_close(setup.bench);
        skip();
    }
    core_window(setup.bench, BASE - CORE_PAGE, 18 * CORE_PAGE);
    config = disjoint_config(setup.bench, PIOMMU_DOMAIN_PAGING);
    setup.domain = core_create(setup.bench, &config);
    for (unsigned int i = 0; i < setup.bench->options.units; i++) {
        setup.devices[i] = core_add_device(setup.bench, i, FIRST_ID + i, NULL, 0, 0);
        assert_int_equal(core_attach(setup.devices[i], setup.domain), 0);
    }
    return setup;
}

static void may(const struct setup *setup, unsigned int first, unsigned int count,
                uint64_t physical, piommu_prot prot)
{
    core_may(setup->bench, CORE_ANY_ID, BASE + page(first), physical, page(count), prot);
}

static void expect(const struct setup *setup, unsigned int first, unsigned int count,
                   uint64_t physical, piommu_prot prot)
{
    core_expect_held(setup->domain, BASE + page(first), physical, page(count), prot);
    for (unsigned int i = 0; i < setup->bench->options.units; i++) {
        core_expect_mapped(setup->bench, FIRST_ID + i, BASE + page(first), physical, page(count),
                           prot);
    }
}

static void expect_hole(const struct setup *setup, unsigned int first, unsigned int count)
{
    core_expect_hole(setup->domain, BASE + page(first), page(count));
    for (unsigned int i = 0; i < setup->bench->options.units; i++) {
        core_expect_nothing(setup->bench, FIRST_ID + i, BASE + page(first), page(count));
    }
}

static void test_backends_that_are_told_each_mapping_have_none(void **state)
{
    struct core_bench *bench = core_open(core_case_of(state), NULL);
    struct piommu_domain_config config = core_config(bench, PIOMMU_DOMAIN_PAGING);
    struct piommu_domain *domain = NULL;

    config.disjoint = true;
    assert_int_equal(piommu_domain_create(&config, &domain), -PIOMMU_EOPNOTSUPP);
    config.type = PIOMMU_DOMAIN_DMA;
    assert_int_equal(piommu_domain_create(&config, &domain), -PIOMMU_EOPNOTSUPP);
    config.type = PIOMMU_DOMAIN_DEFERRED;
    assert_int_equal(piommu_domain_create(&config, &domain), -PIOMMU_EOPNOTSUPP);
    assert_null(domain);
    core_close(bench);
}

static void test_hosts_without_wide_atomics_have_none(void **state)
{
    struct core_bench *bench = core_open(core_case_of(state), NULL);
    struct piommu_domain_config config = core_config(bench, PIOMMU_DOMAIN_PAGING);
    struct piommu_domain *domain = NULL;
    int error;

    config.disjoint = true;
    error = piommu_domain_create(&config, &domain);
    assert_int_equal(error, CORE_DISJOINT_EXISTS ? 0 : -PIOMMU_EOPNOTSUPP);
    assert_int_equal(piommu_domain_destroy(domain), 0);
    core_close(bench);
}

static void test_mapping_and_unmapping_work_as_in_others(void **state)
{
    static const struct piommu_segment segments[] = {{MEMORY_2, CORE_PAGE},
                                                     {MEMORY_3, 2 * CORE_PAGE}};
    struct setup setup = open_setup(state);
    struct piommu_gather gather;
    uint64_t unmapped = 0;

    may(&setup, 0, 4, MEMORY, CORE_RW);
    may(&setup, 8, 1, MEMORY_2, CORE_R);
    may(&setup, 9, 2, MEMORY_3, CORE_R);
    core_map(setup.domain, BASE, MEMORY, page(4), CORE_RW);
    assert_int_equal(piommu_domain_map_list(setup.domain, BASE + page(8), segments, 2, CORE_R), 0);
    expect(&setup, 0, 4, MEMORY, CORE_RW);
    expect(&setup, 8, 1, MEMORY_2, CORE_R);
    expect(&setup, 9, 2, MEMORY_3, CORE_R);
    assert_int_equal(piommu_domain_map(setup.domain, BASE + page(2), MEMORY_2, page(8), CORE_RW),
                     -PIOMMU_EEXIST);
    expect_hole(&setup, 4, 4);
    piommu_gather_init(&gather);
    assert_int_equal(
        piommu_domain_unmap(setup.domain, BASE + page(1), page(10), &gather, &unmapped), 0);
    assert_int_equal(unmapped, page(6));
    assert_int_equal(piommu_domain_sync(setup.domain, &gather), 0);
    expect(&setup, 0, 1, MEMORY, CORE_RW);
    expect_hole(&setup, 1, 15);
    assert_int_equal(piommu_domain_unmap(setup.domain, BASE + page(1), page(10), &gather, NULL),
                     -PIOMMU_ENOENT);
    core_close(setup.bench);
}

static void test_tables_that_unmaps_have_emptied_do_not_pile_up(void **state)
{
    struct setup setup = open_setup(state);
    uint64_t before = 0;

    may(&setup, 0, 16, MEMORY + CORE_PAGE, CORE_RW);
    for (unsigned int i = 0; i < 40; i++) {
        const uint64_t iova = BASE + (i % 8) * 0x40000000ull;

        core_map(setup.domain, iova, MEMORY + CORE_PAGE, 2 * CORE_BLOCK, CORE_RW);
        core_unmap(setup.domain, iova, 2 * CORE_BLOCK);
        if (i == 7) {
            before = fake_os_bytes_outstanding(setup.bench->os);
        }
    }
    assert_true(fake_os_bytes_outstanding(setup.bench->os) <= before);
    core_close(setup.bench);
}

static void test_changes_work_as_in_others(void **state)
{
    struct setup setup = open_setup(state);
    uint64_t bytes = 0;

    may(&setup, 0, 17, MEMORY, CORE_RW);
    may(&setup, 4, 3, MEMORY_2, CORE_RW);
    core_map(setup.domain, BASE, MEMORY, CORE_BLOCK, CORE_RW);
    assert_int_equal(piommu_domain_protect(setup.domain, BASE, CORE_BLOCK, CORE_R, HOLE, &bytes),
                     0);
    assert_int_equal(bytes, CORE_BLOCK);
    expect(&setup, 0, 16, MEMORY, CORE_R);
    assert_int_equal(piommu_domain_unmap_cut(setup.domain, BASE + page(10), page(2), HOLE, &bytes),
                     0);
    assert_int_equal(bytes, page(2));
    expect_hole(&setup, 10, 2);
    expect(&setup, 12, 4, MEMORY + page(12), CORE_R);
    assert_int_equal(piommu_domain_replace(setup.domain, BASE + page(4), MEMORY_2, page(3), CORE_RW,
                                           HOLE, &bytes),
                     0);
    assert_int_equal(bytes, page(3));
    expect(&setup, 4, 3, MEMORY_2, CORE_RW);
    expect(&setup, 0, 4, MEMORY, CORE_R);
    assert_int_equal(
        piommu_domain_map_again(setup.domain, BASE + page(9), MEMORY + page(9), page(4), CORE_R),
        0);
    expect(&setup, 9, 4, MEMORY + page(9), CORE_R);
    core_unmap(setup.domain, BASE, CORE_BLOCK);
    expect_hole(&setup, 0, 16);
    core_close(setup.bench);
}

static void test_whole_leaves_and_portions_work_as_in_others(void **state)
{
    struct setup setup = open_setup(state);
    struct piommu_gather gather;
    struct piommu_range removed;
    uint64_t bytes = 0;
    uint64_t done = 0;
    int error;

    piommu_gather_init(&gather);
    may(&setup, 0, 17, MEMORY, CORE_RW);
    may(&setup, 0, 8, MEMORY_2, CORE_RW);
    core_map(setup.domain, BASE, MEMORY, CORE_BLOCK, CORE_RW);
    assert_int_equal(
        piommu_domain_unmap_leaves(setup.domain, BASE + 77, BASE + 77, &gather, &removed, &bytes),
        0);
    assert_int_equal(bytes, CORE_BLOCK);
    assert_int_equal(removed.first, BASE);
    assert_int_equal(removed.last, BASE + CORE_BLOCK - 1);
    assert_int_equal(piommu_domain_sync(setup.domain, &gather), 0);
    expect_hole(&setup, 0, 16);
    do {
        error = piommu_domain_map_some(setup.domain, BASE + done, MEMORY_2 + done, page(8) - done,
                                       CORE_RW, 3, &bytes);
        assert_true(bytes != 0 && bytes <= page(3));
        done += bytes;
    } while (error == -PIOMMU_EAGAIN);
    assert_int_equal(error, 0);
    expect(&setup, 0, 8, MEMORY_2, CORE_RW);
    done = 0;
    do {
        error = piommu_domain_unmap_some(setup.domain, BASE + done, page(8) - done, 3, &gather,
                                         &bytes, NULL);
        assert_true(bytes != 0);
        done += bytes;
    } while (error == -PIOMMU_EAGAIN);
    assert_int_equal(error, 0);
    assert_int_equal(done, page(8));
    assert_int_equal(piommu_domain_sync(setup.domain, &gather), 0);
    expect_hole(&setup, 0, 8);
    core_close(setup.bench);
}

static void test_only_syncs_and_endpoints_are_counted(void **state)
{
    struct setup setup = open_setup(state);
    struct piommu_domain_statistics statistics;

    may(&setup, 0, 4, MEMORY, CORE_RW);
    core_map(setup.domain, BASE, MEMORY, page(4), CORE_RW);
    core_unmap(setup.domain, BASE, page(2));
    statistics = core_statistics(setup.domain);
    assert_int_equal(statistics.maps, 0);
    assert_int_equal(statistics.unmaps, 0);
    assert_int_equal(statistics.mapped, 0);
    assert_int_equal(statistics.syncs, 1);
    assert_int_equal(statistics.endpoints, setup.bench->options.units);
    core_close(setup.bench);
}

static void test_bad_calls_are_refused_as_in_others(void **state)
{
    struct setup setup = open_setup(state);
    struct piommu_gather gather;

    piommu_gather_init(&gather);
    assert_int_equal(piommu_domain_map(setup.domain, BASE + 1, MEMORY, page(1), CORE_RW),
                     -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_map(setup.domain, TOP, MEMORY, page(1), CORE_RW),
                     -PIOMMU_ERANGE);
    assert_int_equal(piommu_domain_map(setup.domain, BASE, MEMORY, page(1), PIOMMU_PROT_WRITE),
                     -PIOMMU_EOPNOTSUPP);
    assert_int_equal(piommu_domain_map(setup.domain, WINDOW, MEMORY, page(1), CORE_RW),
                     -PIOMMU_ERESERVED);
    may(&setup, 0, 17, MEMORY, CORE_RW);
    core_map(setup.domain, BASE, MEMORY, CORE_BLOCK, CORE_RW);
    assert_int_equal(piommu_domain_unmap(setup.domain, BASE, page(1), &gather, NULL), -PIOMMU_ECUT);
    assert_int_equal(piommu_domain_unmap_cut(setup.domain, BASE, page(1), 4, NULL), -PIOMMU_EINVAL);
    assert_false(gather.pending);
    expect(&setup, 0, 16, MEMORY, CORE_RW);
    core_close(setup.bench);
}

static void test_a_map_without_memory_changes_nothing(void **state)
{
    struct setup setup = open_setup(state);
    unsigned int failures = 0;
    int error = -PIOMMU_ENOMEM;

    may(&setup, 0, 17, MEMORY + CORE_PAGE, CORE_RW);
    for (unsigned int nth = 1; error != 0; nth++) {
        /* And all others after it: a refused call may ask once more. */
        fake_os_fail_call(setup.bench->os, nth, true);
        error = piommu_domain_map(setup.domain, BASE, MEMORY + CORE_PAGE, 3 * CORE_BLOCK, CORE_RW);
        fake_os_fail_call(setup.bench->os, 0, false);
        if (error != 0) {
            assert_int_equal(error, -PIOMMU_ENOMEM);
            core_expect_hole(setup.domain, BASE, 3 * CORE_BLOCK);
            failures++;
        }
    }
    assert_true(failures != 0);
    core_expect_held(setup.domain, BASE, MEMORY + CORE_PAGE, 3 * CORE_BLOCK, CORE_RW);
    core_close(setup.bench);
}

static void test_regions_and_doorbells_are_kept_as_in_others(void **state)
{
    static const struct piommu_reserved_region region = {{BASE, BASE + CORE_PAGE - 1},
                                                         PIOMMU_RESERVED_DIRECT};
    struct setup setup = open_setup(state);
    struct piommu_device *device = core_add_device(setup.bench, 0, FIRST_ID + 5, &region, 1, 0);
    uint64_t iova;

    core_may(setup.bench, CORE_ANY_ID, BASE, BASE, CORE_PAGE, CORE_RW);
    core_must(setup.bench, FIRST_ID + 5, BASE, BASE, CORE_PAGE, CORE_RW);
    assert_int_equal(core_attach(device, setup.domain), 0);
    assert_int_equal(piommu_domain_map(setup.domain, BASE, MEMORY, page(2), CORE_RW),
                     -PIOMMU_ERESERVED);
    assert_int_equal(piommu_device_map_msi(device, DOORBELL, &iova), 0);
    assert_int_equal(core_reached(setup.bench, FIRST_ID + 5, iova, true), DOORBELL);
    core_detach(device);
    expect_hole(&setup, 0, 1);
    core_close(setup.bench);
}

static void test_a_failed_sync_is_as_in_others(void **state)
{
    struct setup setup = open_setup(state);
    struct piommu_gather gather;

    may(&setup, 0, 4, MEMORY, CORE_RW);
    core_map(setup.domain, BASE, MEMORY, page(4), CORE_RW);
    core_probe(setup.bench);
    piommu_gather_init(&gather);
    assert_int_equal(piommu_domain_unmap(setup.domain, BASE, page(4), &gather, NULL), 0);
    core_fail(&setup.bench->units[0], CORE_INVALIDATE, 1, -PIOMMU_ETIMEDOUT, true);
    assert_int_equal(piommu_domain_sync(setup.domain, &gather), -PIOMMU_EFAILED);
    assert_true(gather.pending);
    expect_hole(&setup, 0, 4);
    core_detach(setup.devices[0]);
    assert_int_equal(piommu_domain_sync(setup.domain, &gather), 0);
    core_close(setup.bench);
}

static int two_pieces(void *cookie, uint64_t from, struct piommu_frames *frames)
{
    (void)cookie;
    if (from < BASE + 4 * CORE_PAGE) {
        *frames = (struct piommu_frames){BASE, MEMORY, 4 * CORE_PAGE, CORE_RW};
        return 0;
    }
    if (from < BASE + 10 * CORE_PAGE) {
        *frames = (struct piommu_frames){BASE + 8 * CORE_PAGE, MEMORY_2, 2 * CORE_PAGE, CORE_R};
        return 0;
    }
    return -PIOMMU_ENOENT;
}

static void test_a_deferred_one_is_filled_as_others(void **state)
{
    for (unsigned int record = 0; record < 2; record++) {
        struct setup setup = open_setup(state);
        struct piommu_domain_config config = disjoint_config(setup.bench, PIOMMU_DOMAIN_DEFERRED);
        struct piommu_domain *domain;
        int error;

        if (record == 0) {
            config.next_frames = two_pieces;
        }
        domain = core_create(setup.bench, &config);
        core_map(domain, BASE, MEMORY, page(4), CORE_RW);
        core_map(domain, BASE + page(8), MEMORY_2, page(2), CORE_R);
        assert_int_equal(core_attach(setup.devices[0], domain), -PIOMMU_EAGAIN);
        do {
            error = piommu_domain_populate(domain, 1);
        } while (error == -PIOMMU_EAGAIN);
        assert_int_equal(error, 0);
        may(&setup, 0, 4, MEMORY, CORE_RW);
        may(&setup, 8, 2, MEMORY_2, CORE_R);
        assert_int_equal(core_attach(setup.devices[0], domain), 0);
        core_expect_mapped(setup.bench, FIRST_ID, BASE, MEMORY, page(4), CORE_RW);
        core_expect_mapped(setup.bench, FIRST_ID, BASE + page(8), MEMORY_2, page(2), CORE_R);
        core_unmap(domain, BASE, page(4));
        core_expect_nothing(setup.bench, FIRST_ID, BASE, page(8));
        assert_int_equal(core_statistics(domain).mapped, 0);
        core_close(setup.bench);
    }
}

static void test_it_can_be_destroyed_in_portions(void **state)
{
    struct setup setup = open_setup(state);
    const struct piommu_domain_config config = disjoint_config(setup.bench, PIOMMU_DOMAIN_PAGING);
    uint64_t before = fake_os_bytes_outstanding(setup.bench->os);
    struct piommu_domain *domain;
    unsigned int portions = 0;
    int error;

    assert_int_equal(piommu_domain_create(&config, &domain), 0);
    core_map(domain, BASE, MEMORY + CORE_PAGE, 3 * CORE_BLOCK, CORE_RW);
    do {
        error = piommu_domain_destroy_some(domain, 1);
        assert_true(++portions < 100000);
    } while (error == -PIOMMU_EAGAIN);
    assert_int_equal(error, 0);
    assert_true(portions > 3);
    assert_int_equal(fake_os_bytes_outstanding(setup.bench->os), before);
    core_close(setup.bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CORE_FOR_REQUESTS(test_backends_that_are_told_each_mapping_have_none),
        CORE_FOR_TABLES(test_hosts_without_wide_atomics_have_none),
        CORE_FOR_TABLES(test_mapping_and_unmapping_work_as_in_others),
        CORE_FOR_TABLES(test_tables_that_unmaps_have_emptied_do_not_pile_up),
        CORE_FOR_TABLES(test_changes_work_as_in_others),
        CORE_FOR_TABLES(test_whole_leaves_and_portions_work_as_in_others),
        CORE_FOR_TABLES(test_only_syncs_and_endpoints_are_counted),
        CORE_FOR_TABLES(test_bad_calls_are_refused_as_in_others),
        CORE_FOR_TABLES(test_a_map_without_memory_changes_nothing),
        CORE_FOR_TABLES(test_regions_and_doorbells_are_kept_as_in_others),
        CORE_FOR_TABLES(test_a_failed_sync_is_as_in_others),
        CORE_FOR_TABLES(test_a_deferred_one_is_filled_as_others),
        CORE_FOR_TABLES(test_it_can_be_destroyed_in_portions),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
