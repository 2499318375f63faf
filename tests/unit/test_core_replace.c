/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Mapping over what may be mapped already (replace, map_again), and in portions (map_some,
 * unmap_some, destroy_some). After each call of a backend each device tries every page: what stays
 * mapped never faults, and nothing but the old and the new memory is reached.
 */

#include "core_bench.h"

#include <piommu/piommu.h>

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#define BASE     0x40000000ull
#define MEMORY   0x80000000ull
#define MEMORY_2 0xc0000000ull
#define MEMORY_3 0x100000000ull
#define TOP      (1ull << 39)
#define FIRST_ID 10u
#define HOLE     PIOMMU_ALLOW_HOLE

struct setup {
    struct core_bench *bench;
    struct piommu_domain *domain;
    struct piommu_device *devices[CORE_MAX_UNITS];
};

/* A domain over all units, with a device in each; the windows are the pages from BASE on. */
static struct setup open_setup(void **state, bool attached)
{
    struct setup setup = {.bench = core_open(core_case_of(state), NULL)};

    core_window(setup.bench, BASE - CORE_PAGE, 18 * CORE_PAGE);
    setup.domain = core_paging(setup.bench);
    for (unsigned int i = 0; i < setup.bench->options.units; i++) {
        setup.devices[i] = core_add_device(setup.bench, i, FIRST_ID + i, NULL, 0, 0);
        if (attached) {
            assert_int_equal(core_attach(setup.devices[i], setup.domain), 0);
        }
    }
    return setup;
}

static void attach_all(struct setup *setup)
{
    for (unsigned int i = 0; i < setup->bench->options.units; i++) {
        assert_int_equal(core_attach(setup->devices[i], setup->domain), 0);
    }
}

static uint64_t page(unsigned int number)
{
    return number * CORE_PAGE;
}

static void may(const struct setup *setup, unsigned int first, unsigned int count,
                uint64_t physical, piommu_prot prot)
{
    core_may(setup->bench, CORE_ANY_ID, BASE + page(first), physical, page(count), prot);
}

static void must(const struct setup *setup, unsigned int first, unsigned int count,
                 uint64_t physical, piommu_prot prot)
{
    core_must(setup->bench, CORE_ANY_ID, BASE + page(first), physical, page(count), prot);
}

static void map(const struct setup *setup, unsigned int first, unsigned int count,
                uint64_t physical, piommu_prot prot)
{
    core_map(setup->domain, BASE + page(first), physical, page(count), prot);
}

static int replace(const struct setup *setup, unsigned int first, unsigned int count,
                   uint64_t physical, piommu_prot prot, unsigned int flags, uint64_t *replaced)
{
    return piommu_domain_replace(setup->domain, BASE + page(first), physical, page(count), prot,
                                 flags, replaced);
}

/* What the domain says, and what each device meets. */
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

static uint64_t bytes_mapped(const struct setup *setup)
{
    return core_statistics(setup->domain).mapped;
}

static unsigned int hardware_calls(const struct setup *setup)
{
    return core_calls(setup->bench, CORE_MAP) + core_calls(setup->bench, CORE_UNMAP) +
           core_calls(setup->bench, CORE_INVALIDATE);
}

/* ---- Replace ---- */

static void test_replace_maps_where_nothing_is(void **state)
{
    struct setup setup = open_setup(state, true);
    uint64_t replaced = 1;

    may(&setup, 0, 8, MEMORY, CORE_RW);
    assert_int_equal(replace(&setup, 0, 8, MEMORY, CORE_RW, 0, &replaced), 0);
    assert_int_equal(replaced, 0);
    expect(&setup, 0, 8, MEMORY, CORE_RW);
    assert_int_equal(bytes_mapped(&setup), page(8));
    core_close(setup.bench);
}

static void test_replace_by_the_same_does_nothing(void **state)
{
    struct setup setup = open_setup(state, true);
    uint64_t replaced = 1;
    unsigned int calls;

    setup.bench->relaxed = true;
    must(&setup, 0, 8, MEMORY, CORE_R);
    map(&setup, 0, 8, MEMORY, CORE_R);
    setup.bench->relaxed = false;
    calls = hardware_calls(&setup);
    assert_int_equal(replace(&setup, 0, 8, MEMORY, CORE_R, 0, &replaced), 0);
    assert_int_equal(replaced, 0);
    /* A part of a mapping, and one that reaches beyond the range, as well. */
    assert_int_equal(replace(&setup, 3, 2, MEMORY + page(3), CORE_R, 0, &replaced), 0);
    assert_int_equal(replaced, 0);
    assert_int_equal(hardware_calls(&setup), calls);
    expect(&setup, 0, 8, MEMORY, CORE_R);
    assert_int_equal(bytes_mapped(&setup), page(8));
    setup.bench->relaxed = true;
    core_unmap(setup.domain, BASE, page(8));
    core_close(setup.bench);
}

static void test_replace_fills_holes_without_opening_one(void **state)
{
    struct setup setup = open_setup(state, true);
    uint64_t replaced = 1;

    must(&setup, 2, 2, MEMORY + page(2), CORE_RW);
    may(&setup, 0, 8, MEMORY, CORE_RW);
    map(&setup, 2, 2, MEMORY + page(2), CORE_RW);
    assert_int_equal(replace(&setup, 0, 8, MEMORY, CORE_RW, 0, &replaced), 0);
    assert_int_equal(replaced, 0);
    expect(&setup, 0, 8, MEMORY, CORE_RW);
    assert_int_equal(bytes_mapped(&setup), page(8));
    core_close(setup.bench);
}

static void test_replace_by_other_memory_has_to_be_allowed(void **state)
{
    struct setup setup = open_setup(state, true);
    bool live = core_info(setup.domain).live_replace;
    uint64_t replaced = 1;
    unsigned int calls;

    may(&setup, 0, 4, MEMORY, CORE_RW);
    map(&setup, 0, 4, MEMORY, CORE_RW);
    if (!live) {
        must(&setup, 0, 4, MEMORY, CORE_RW);
        calls = hardware_calls(&setup);
        assert_int_equal(replace(&setup, 0, 4, MEMORY_2, CORE_RW, 0, &replaced), -PIOMMU_EHOLE);
        assert_int_equal(hardware_calls(&setup), calls);
        expect(&setup, 0, 4, MEMORY, CORE_RW);
        core_forget_rules(setup.bench);
        may(&setup, 0, 4, MEMORY, CORE_RW);
    }
    may(&setup, 0, 4, MEMORY_2, CORE_RW);
    assert_int_equal(replace(&setup, 0, 4, MEMORY_2, CORE_RW, live ? 0 : HOLE, &replaced), 0);
    assert_int_equal(replaced, page(4));
    expect(&setup, 0, 4, MEMORY_2, CORE_RW);
    assert_int_equal(bytes_mapped(&setup), page(4));
    core_close(setup.bench);
}

static void test_replace_by_other_permissions_is_a_replacement(void **state)
{
    struct setup setup = open_setup(state, true);
    uint64_t replaced = 1;

    may(&setup, 0, 4, MEMORY, CORE_RW);
    map(&setup, 0, 4, MEMORY, CORE_RW);
    assert_int_equal(replace(&setup, 0, 4, MEMORY, CORE_R, HOLE, &replaced), 0);
    assert_int_equal(replaced, page(4));
    expect(&setup, 0, 4, MEMORY, CORE_R);
    core_forget_rules(setup.bench);
    may(&setup, 0, 4, MEMORY, CORE_RW);
    assert_int_equal(replace(&setup, 0, 4, MEMORY, CORE_RW, HOLE, NULL), 0);
    expect(&setup, 0, 4, MEMORY, CORE_RW);
    core_close(setup.bench);
}

static void test_replace_counts_what_was_mapped_otherwise(void **state)
{
    struct setup setup = open_setup(state, true);
    uint64_t replaced = 1;

    setup.bench->relaxed = true;
    must(&setup, 12, 2, MEMORY_3, CORE_RW);
    may(&setup, 0, 12, MEMORY, CORE_RW);
    may(&setup, 4, 2, MEMORY_2, CORE_RW);
    may(&setup, 8, 2, MEMORY + page(8), CORE_R);
    map(&setup, 0, 4, MEMORY, CORE_RW);
    map(&setup, 4, 2, MEMORY_2, CORE_RW);
    map(&setup, 8, 2, MEMORY + page(8), CORE_R);
    map(&setup, 10, 2, MEMORY + page(10), CORE_RW);
    map(&setup, 12, 2, MEMORY_3, CORE_RW);
    setup.bench->relaxed = false;
    assert_int_equal(replace(&setup, 0, 12, MEMORY, CORE_RW, HOLE, &replaced), 0);
    assert_int_equal(replaced, page(4));
    expect(&setup, 0, 12, MEMORY, CORE_RW);
    expect(&setup, 12, 2, MEMORY_3, CORE_RW);
    assert_int_equal(bytes_mapped(&setup), page(14));
    setup.bench->relaxed = true;
    core_unmap(setup.domain, BASE, page(14));
    core_close(setup.bench);
}

static void test_replace_needs_no_permission_without_devices(void **state)
{
    struct setup setup = open_setup(state, false);
    uint64_t replaced = 1;

    map(&setup, 0, 8, MEMORY, CORE_RW);
    assert_int_equal(replace(&setup, 2, 4, MEMORY_2, CORE_R, 0, &replaced), 0);
    assert_int_equal(replaced, page(4));
    may(&setup, 0, 8, MEMORY, CORE_RW);
    may(&setup, 2, 4, MEMORY_2, CORE_R);
    attach_all(&setup);
    expect(&setup, 0, 2, MEMORY, CORE_RW);
    expect(&setup, 2, 4, MEMORY_2, CORE_R);
    expect(&setup, 6, 2, MEMORY + page(6), CORE_RW);
    core_close(setup.bench);
}

static void test_replace_cuts_what_reaches_beyond_the_range(void **state)
{
    struct setup setup = open_setup(state, true);
    struct piommu_domain_info info = core_info(setup.domain);
    uint64_t replaced = 1;

    /* A block: a leaf of tables, or one request. */
    may(&setup, 0, 17, MEMORY, CORE_RW);
    may(&setup, 4, 3, MEMORY_2, CORE_RW);
    core_map(setup.domain, BASE, MEMORY, CORE_BLOCK, CORE_RW);
    if (!info.live_replace || !info.live_cut) {
        assert_int_equal(replace(&setup, 4, 3, MEMORY_2, CORE_RW, 0, &replaced), -PIOMMU_EHOLE);
        expect(&setup, 0, 16, MEMORY, CORE_RW);
    }
    assert_int_equal(replace(&setup, 4, 3, MEMORY_2, CORE_RW, HOLE, &replaced), 0);
    assert_int_equal(replaced, page(3));
    expect(&setup, 0, 4, MEMORY, CORE_RW);
    expect(&setup, 4, 3, MEMORY_2, CORE_RW);
    expect(&setup, 7, 505, MEMORY + page(7), CORE_RW);
    assert_int_equal(bytes_mapped(&setup), CORE_BLOCK);
    core_unmap(setup.domain, BASE, CORE_BLOCK);
    expect_hole(&setup, 0, 512);
    core_close(setup.bench);
}

static void test_replace_inside_a_block_by_the_same_cuts_nothing(void **state)
{
    struct setup setup = open_setup(state, true);
    uint64_t replaced = 1;
    unsigned int calls;

    setup.bench->relaxed = true;
    must(&setup, 0, 17, MEMORY, CORE_RW);
    core_map(setup.domain, BASE, MEMORY, CORE_BLOCK, CORE_RW);
    setup.bench->relaxed = false;
    calls = hardware_calls(&setup);
    assert_int_equal(replace(&setup, 4, 3, MEMORY + page(4), CORE_RW, 0, &replaced), 0);
    assert_int_equal(replaced, 0);
    assert_int_equal(hardware_calls(&setup), calls);
    core_probe(setup.bench);
    setup.bench->relaxed = true;
    core_unmap(setup.domain, BASE, CORE_BLOCK);
    core_close(setup.bench);
}

static void test_replace_at_the_edges_of_two_mappings(void **state)
{
    struct setup setup = open_setup(state, true);
    uint64_t replaced = 1;

    may(&setup, 0, 4, MEMORY, CORE_RW);
    may(&setup, 6, 4, MEMORY_2, CORE_R);
    may(&setup, 2, 6, MEMORY_3, CORE_RW);
    map(&setup, 0, 4, MEMORY, CORE_RW);
    map(&setup, 6, 4, MEMORY_2, CORE_R);
    assert_int_equal(replace(&setup, 2, 6, MEMORY_3, CORE_RW, HOLE, &replaced), 0);
    assert_int_equal(replaced, page(4));
    expect(&setup, 0, 2, MEMORY, CORE_RW);
    expect(&setup, 2, 6, MEMORY_3, CORE_RW);
    expect(&setup, 8, 2, MEMORY_2 + page(2), CORE_R);
    expect_hole(&setup, 10, 2);
    core_close(setup.bench);
}

static void test_pages_can_be_replaced_by_a_block_and_back(void **state)
{
    struct setup setup = open_setup(state, true);
    uint64_t replaced = 1;

    for (unsigned int i = 0; i < 16; i++) {
        may(&setup, i, 1, MEMORY_2 + 3 * page(i), CORE_RW);
        map(&setup, i, 1, MEMORY_2 + 3 * page(i), CORE_RW);
    }
    may(&setup, 0, 17, MEMORY, CORE_RW);
    assert_int_equal(replace(&setup, 0, 512, MEMORY, CORE_RW, HOLE, &replaced), 0);
    assert_int_equal(replaced, page(16));
    expect(&setup, 0, 512, MEMORY, CORE_RW);
    assert_int_equal(bytes_mapped(&setup), CORE_BLOCK);
    may(&setup, 0, 17, MEMORY_3 + CORE_PAGE, CORE_R);
    assert_int_equal(replace(&setup, 0, 512, MEMORY_3 + CORE_PAGE, CORE_R, HOLE, &replaced), 0);
    assert_int_equal(replaced, CORE_BLOCK);
    expect(&setup, 0, 512, MEMORY_3 + CORE_PAGE, CORE_R);
    core_unmap(setup.domain, BASE, CORE_BLOCK);
    core_close(setup.bench);
}

static void test_replace_without_memory_changes_nothing(void **state)
{
    struct setup setup = open_setup(state, true);
    unsigned int failures = 0;
    int error = -PIOMMU_ENOMEM;

    must(&setup, 0, 17, MEMORY, CORE_RW);
    core_map(setup.domain, BASE, MEMORY, CORE_BLOCK, CORE_RW);
    for (unsigned int nth = 1; error != 0; nth++) {
        uint64_t bytes = fake_os_bytes_outstanding(setup.bench->os);

        if (nth == 2) {
            /* From here on it may succeed, and then there is a hole. */
            core_forget_rules(setup.bench);
            may(&setup, 0, 17, MEMORY, CORE_RW);
            may(&setup, 2, 3, MEMORY_2, CORE_R);
        }
        fake_os_fail_call(setup.bench->os, nth, false);
        error = replace(&setup, 2, 3, MEMORY_2, CORE_R, HOLE, NULL);
        fake_os_fail_call(setup.bench->os, 0, false);
        if (error != 0) {
            assert_int_equal(error, -PIOMMU_ENOMEM);
            assert_int_equal(fake_os_bytes_outstanding(setup.bench->os), bytes);
            assert_int_equal(bytes_mapped(&setup), CORE_BLOCK);
            expect(&setup, 0, 16, MEMORY, CORE_RW);
            failures++;
        }
    }
    assert_true(failures != 0);
    expect(&setup, 0, 2, MEMORY, CORE_RW);
    expect(&setup, 2, 3, MEMORY_2, CORE_R);
    expect(&setup, 5, 507, MEMORY + page(5), CORE_RW);
    core_close(setup.bench);
}

/* Tables for many ranges at once, of which each may be the one for which there is no memory. */
static void test_a_large_replace_without_memory_changes_nothing(void **state)
{
    const uint64_t size = 4 * CORE_BLOCK;

    for (unsigned int forever = 0; forever < 2; forever++) {
        struct setup setup = open_setup(state, true);
        unsigned int failures = 0;
        int error = -PIOMMU_ENOMEM;

        may(&setup, 0, 17, MEMORY, CORE_RW);
        may(&setup, 0, 17, MEMORY_2 + CORE_PAGE, CORE_R);
        core_map(setup.domain, BASE, MEMORY, size - CORE_BLOCK, CORE_RW);
        for (unsigned int nth = 1; error != 0; nth++) {
            fake_os_fail_call(setup.bench->os, nth, forever != 0);
            error = piommu_domain_replace(setup.domain, BASE, MEMORY_2 + CORE_PAGE, size, CORE_R,
                                          HOLE, NULL);
            fake_os_fail_call(setup.bench->os, 0, false);
            if (error != 0) {
                assert_int_equal(error, -PIOMMU_ENOMEM);
                core_expect_held(setup.domain, BASE, MEMORY, size - CORE_BLOCK, CORE_RW);
                core_expect_hole(setup.domain, BASE + size - CORE_BLOCK, CORE_BLOCK);
                expect(&setup, 0, 17, MEMORY, CORE_RW);
                failures++;
            }
        }
        assert_true(failures > (core_has_tables(setup.bench) ? 3u : 0u));
        core_expect_held(setup.domain, BASE, MEMORY_2 + CORE_PAGE, size, CORE_R);
        expect(&setup, 0, 17, MEMORY_2 + CORE_PAGE, CORE_R);
        core_close(setup.bench);
    }
}

static void test_replacing_again_and_again_takes_no_more_memory(void **state)
{
    struct setup setup = open_setup(state, true);
    uint64_t bytes = 0;

    for (unsigned int i = 0; i < 40; i++) {
        const uint64_t physical = i % 2 == 0 ? MEMORY : MEMORY_2 + CORE_PAGE;

        core_forget_rules(setup.bench);
        may(&setup, 0, 17, MEMORY, CORE_RW);
        may(&setup, 0, 17, MEMORY_2 + CORE_PAGE, CORE_RW);
        may(&setup, 7, 2, MEMORY_3, CORE_RW);
        assert_int_equal(piommu_domain_replace(setup.domain, BASE, physical, 2 * CORE_BLOCK,
                                               CORE_RW, HOLE, NULL),
                         0);
        assert_int_equal(replace(&setup, 7, 2, MEMORY_3, CORE_RW, HOLE, NULL), 0);
        if (i == 5) {
            bytes = fake_os_bytes_outstanding(setup.bench->os);
        }
        if (i % 2 == 1 && i > 5) {
            assert_int_equal(fake_os_bytes_outstanding(setup.bench->os), bytes);
        }
    }
    core_close(setup.bench);
}

static void test_replace_that_hardware_refuses_leaves_the_range_empty(void **state)
{
    for (unsigned int nth = 1; nth <= 3; nth++) {
        struct setup setup = open_setup(state, true);
        struct core_unit *unit = &setup.bench->units[setup.bench->options.units - 1];
        int error;

        may(&setup, 0, 8, MEMORY, CORE_RW);
        may(&setup, 2, 3, MEMORY_2, CORE_RW);
        map(&setup, 0, 8, MEMORY, CORE_RW);
        core_fail(unit, CORE_MAP, nth, -PIOMMU_EIO, false);
        error = replace(&setup, 2, 3, MEMORY_2, CORE_RW, HOLE, NULL);
        core_fail_nothing(unit);
        if (error == 0) {
            assert_true(nth > 1);
            expect(&setup, 2, 3, MEMORY_2, CORE_RW);
            core_close(setup.bench);
            continue;
        }
        assert_int_equal(error, -PIOMMU_EIO);
        expect_hole(&setup, 2, 3);
        /* Outside the range the domain tells the truth, and no other memory is reached. */
        for (unsigned int i = 0; i < 8; i++) {
            struct piommu_translation result;

            if (piommu_domain_lookup(setup.domain, BASE + page(i), &result) == 0) {
                expect(&setup, i, 1, MEMORY + page(i), CORE_RW);
            } else {
                expect_hole(&setup, i, 1);
            }
        }
        core_forget_rules(setup.bench);
        may(&setup, 0, 8, MEMORY, CORE_RW);
        may(&setup, 2, 3, MEMORY_3, CORE_RW);
        assert_int_equal(replace(&setup, 2, 3, MEMORY_3, CORE_RW, HOLE, NULL), 0);
        expect(&setup, 2, 3, MEMORY_3, CORE_RW);
        core_close(setup.bench);
    }
}

static void test_replace_that_is_not_forgotten_fails_the_instance(void **state)
{
    struct setup setup = open_setup(state, true);
    unsigned int last = setup.bench->options.units - 1;
    struct core_unit *unit = &setup.bench->units[last];
    struct piommu_instance_info info;

    may(&setup, 0, 4, MEMORY, CORE_RW);
    may(&setup, 0, 4, MEMORY_2, CORE_RW);
    map(&setup, 0, 4, MEMORY, CORE_RW);
    core_fail(unit, core_has_tables(setup.bench) ? CORE_INVALIDATE : CORE_UNMAP, 1,
              -PIOMMU_ETIMEDOUT, true);
    assert_int_equal(replace(&setup, 0, 4, MEMORY_2, CORE_RW, HOLE, NULL), -PIOMMU_EFAILED);
    piommu_instance_get_info(unit->instance, &info);
    assert_true(info.failed);
    core_expect_hole(setup.domain, BASE, page(4));
    core_forget_rules(setup.bench);
    core_probe(setup.bench);
    core_close(setup.bench);
}

static void test_replace_where_something_is_not_synced_is_refused(void **state)
{
    struct setup setup = open_setup(state, true);
    struct piommu_gather gather;

    may(&setup, 0, 4, MEMORY, CORE_RW);
    map(&setup, 0, 4, MEMORY, CORE_RW);
    piommu_gather_init(&gather);
    assert_int_equal(piommu_domain_unmap(setup.domain, BASE, page(4), &gather, NULL), 0);
    assert_int_equal(replace(&setup, 0, 4, MEMORY_2, CORE_RW, HOLE, NULL), -PIOMMU_EEXIST);
    assert_int_equal(replace(&setup, 0, 4, MEMORY, CORE_RW, HOLE, NULL), -PIOMMU_EEXIST);
    assert_int_equal(piommu_domain_sync(setup.domain, &gather), 0);
    expect_hole(&setup, 0, 4);
    may(&setup, 0, 4, MEMORY_2, CORE_RW);
    assert_int_equal(replace(&setup, 0, 4, MEMORY_2, CORE_RW, 0, NULL), 0);
    expect(&setup, 0, 4, MEMORY_2, CORE_RW);
    core_close(setup.bench);
}

static void test_bad_replacements_are_refused(void **state)
{
    struct setup setup = open_setup(state, true);
    const struct piommu_domain_config config = core_config(setup.bench, PIOMMU_DOMAIN_IDENTITY);
    struct piommu_domain *identity = core_create(setup.bench, &config);
    struct piommu_domain *domain = setup.domain;

    must(&setup, 0, 4, MEMORY, CORE_RW);
    map(&setup, 0, 4, MEMORY, CORE_RW);
    assert_int_equal(piommu_domain_replace(NULL, BASE, MEMORY_2, page(4), CORE_RW, HOLE, NULL),
                     -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_replace(identity, BASE, MEMORY_2, page(4), CORE_RW, HOLE, NULL),
                     -PIOMMU_EINVAL);
    assert_int_equal(replace(&setup, 0, 4, MEMORY_2, CORE_RW, 2, NULL), -PIOMMU_EINVAL);
    assert_int_equal(replace(&setup, 0, 4, MEMORY_2, 0, HOLE, NULL), -PIOMMU_EINVAL);
    assert_int_equal(replace(&setup, 0, 4, MEMORY_2, 0x2000, HOLE, NULL), -PIOMMU_EINVAL);
    assert_int_equal(replace(&setup, 0, 4, MEMORY_2, PIOMMU_PROT_WRITE, HOLE, NULL),
                     -PIOMMU_EOPNOTSUPP);
    assert_int_equal(
        piommu_domain_replace(domain, BASE + 1, MEMORY_2, page(4), CORE_RW, HOLE, NULL),
        -PIOMMU_EINVAL);
    assert_int_equal(
        piommu_domain_replace(domain, BASE, MEMORY_2 + 1, page(4), CORE_RW, HOLE, NULL),
        -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_replace(domain, BASE, MEMORY_2, 0, CORE_RW, HOLE, NULL),
                     -PIOMMU_EINVAL);
    assert_int_equal(
        piommu_domain_replace(domain, TOP - page(2), MEMORY_2, page(4), CORE_RW, HOLE, NULL),
        -PIOMMU_ERANGE);
    assert_int_equal(
        piommu_domain_replace(domain, BASE, UINT64_MAX - page(4) + 1, page(5), CORE_RW, HOLE, NULL),
        -PIOMMU_ERANGE);
    core_probe(setup.bench);
    core_close(setup.bench);
}

/* ---- Map again ---- */

static int map_again(const struct setup *setup, unsigned int first, unsigned int count,
                     uint64_t physical, piommu_prot prot)
{
    return piommu_domain_map_again(setup->domain, BASE + page(first), physical, page(count), prot);
}

static void test_map_again_maps_what_is_not_there(void **state)
{
    struct setup setup = open_setup(state, true);

    may(&setup, 0, 8, MEMORY, CORE_RW);
    assert_int_equal(map_again(&setup, 0, 8, MEMORY, CORE_RW), 0);
    expect(&setup, 0, 8, MEMORY, CORE_RW);
    assert_int_equal(bytes_mapped(&setup), page(8));
    core_unmap(setup.domain, BASE, page(8));
    core_close(setup.bench);
}

static void test_map_again_leaves_alone_what_is_there(void **state)
{
    struct setup setup = open_setup(state, true);
    unsigned int calls;

    must(&setup, 0, 8, MEMORY, CORE_R);
    map(&setup, 0, 8, MEMORY, CORE_R);
    calls = hardware_calls(&setup);
    assert_int_equal(map_again(&setup, 0, 8, MEMORY, CORE_R), 0);
    assert_int_equal(map_again(&setup, 2, 3, MEMORY + page(2), CORE_R), 0);
    assert_int_equal(hardware_calls(&setup), calls);
    expect(&setup, 0, 8, MEMORY, CORE_R);
    assert_int_equal(bytes_mapped(&setup), page(8));
    core_close(setup.bench);
}

/* Which of the pages are mapped already is a number in binary. */
static void test_map_again_fills_in_every_pattern_of_holes(void **state)
{
    struct setup setup = open_setup(state, true);

    may(&setup, 0, 6, MEMORY, CORE_RW);
    for (unsigned int pattern = 0; pattern < 64; pattern++) {
        core_forget_rules(setup.bench);
        may(&setup, 0, 6, MEMORY, CORE_RW);
        for (unsigned int i = 0; i < 6; i++) {
            if ((pattern >> i & 1u) != 0) {
                map(&setup, i, 1, MEMORY + page(i), CORE_RW);
                must(&setup, i, 1, MEMORY + page(i), CORE_RW);
            }
        }
        assert_int_equal(map_again(&setup, 0, 6, MEMORY, CORE_RW), 0);
        expect(&setup, 0, 6, MEMORY, CORE_RW);
        expect_hole(&setup, 6, 1);
        assert_int_equal(bytes_mapped(&setup), page(6));
        core_forget_rules(setup.bench);
        may(&setup, 0, 6, MEMORY, CORE_RW);
        core_unmap(setup.domain, BASE, page(6));
        assert_int_equal(bytes_mapped(&setup), 0);
    }
    core_close(setup.bench);
}

static void test_map_again_over_something_else_changes_nothing(void **state)
{
    static const struct {
        uint64_t physical;
        piommu_prot prot;
    } others[] = {
        {MEMORY_2, CORE_RW}, {MEMORY + CORE_PAGE, CORE_RW}, {MEMORY, CORE_R}, {MEMORY_2, CORE_R}};

    for (unsigned int at = 0; at < 6; at++) {
        for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
            struct setup setup = open_setup(state, true);
            unsigned int calls;

            setup.bench->relaxed = true;
            must(&setup, at, 1, others[i].physical + page(at), others[i].prot);
            must(&setup, 6, 2, MEMORY + page(6), CORE_RW);
            map(&setup, at, 1, others[i].physical + page(at), others[i].prot);
            map(&setup, 6, 2, MEMORY + page(6), CORE_RW);
            setup.bench->relaxed = false;
            calls = hardware_calls(&setup);
            assert_int_equal(map_again(&setup, 0, 8, MEMORY, CORE_RW), -PIOMMU_EEXIST);
            assert_int_equal(hardware_calls(&setup), calls);
            expect(&setup, at, 1, others[i].physical + page(at), others[i].prot);
            expect_hole(&setup, 0, at);
            expect_hole(&setup, at + 1, 5 - at);
            assert_int_equal(bytes_mapped(&setup), page(3));
            core_close(setup.bench);
        }
    }
}

static void test_map_again_over_several_leaf_sizes(void **state)
{
    struct setup setup = open_setup(state, true);
    const uint64_t size = 3 * CORE_BLOCK;

    may(&setup, 0, 17, MEMORY, CORE_RW);
    core_map(setup.domain, BASE + CORE_BLOCK, MEMORY + CORE_BLOCK, CORE_BLOCK, CORE_RW);
    map(&setup, 3, 2, MEMORY + page(3), CORE_RW);
    must(&setup, 3, 2, MEMORY + page(3), CORE_RW);
    /* Inside the block: it is left whole. */
    assert_int_equal(map_again(&setup, 512 + 7, 2, MEMORY + CORE_BLOCK + page(7), CORE_RW), 0);
    assert_int_equal(map_again(&setup, 512 + 7, 2, MEMORY + CORE_BLOCK + page(8), CORE_RW),
                     -PIOMMU_EEXIST);
    /* From before its start to its middle. */
    assert_int_equal(map_again(&setup, 510, 4, MEMORY + page(510), CORE_RW), 0);
    assert_int_equal(bytes_mapped(&setup), CORE_BLOCK + page(4));
    assert_int_equal(map_again(&setup, 0, (unsigned int)(size / CORE_PAGE), MEMORY, CORE_RW), 0);
    assert_int_equal(bytes_mapped(&setup), size);
    expect(&setup, 0, (unsigned int)(size / CORE_PAGE), MEMORY, CORE_RW);
    setup.bench->relaxed = true;
    core_unmap(setup.domain, BASE, size);
    assert_int_equal(bytes_mapped(&setup), 0);
    core_close(setup.bench);
}

static void test_map_again_without_memory_changes_nothing(void **state)
{
    struct setup setup = open_setup(state, true);
    unsigned int failures = 0;
    int error = -PIOMMU_ENOMEM;

    setup.bench->relaxed = true;
    may(&setup, 0, 17, MEMORY, CORE_RW);
    must(&setup, 2, 1, MEMORY + page(2), CORE_RW);
    must(&setup, 5, 2, MEMORY + page(5), CORE_RW);
    map(&setup, 2, 1, MEMORY + page(2), CORE_RW);
    map(&setup, 5, 2, MEMORY + page(5), CORE_RW);
    setup.bench->relaxed = false;
    for (unsigned int nth = 1; error != 0; nth++) {
        uint64_t bytes = fake_os_bytes_outstanding(setup.bench->os);

        /* To the next table, which is not there yet. */
        fake_os_fail_call(setup.bench->os, nth, false);
        error = map_again(&setup, 0, 520, MEMORY, CORE_RW);
        fake_os_fail_call(setup.bench->os, 0, false);
        if (error != 0) {
            assert_int_equal(error, -PIOMMU_ENOMEM);
            assert_int_equal(fake_os_bytes_outstanding(setup.bench->os), bytes);
            expect_hole(&setup, 0, 2);
            expect_hole(&setup, 3, 2);
            expect_hole(&setup, 7, 513);
            assert_int_equal(bytes_mapped(&setup), page(3));
            failures++;
        }
    }
    assert_true(failures != 0);
    expect(&setup, 0, 520, MEMORY, CORE_RW);
    core_close(setup.bench);
}

static void test_map_again_that_hardware_refuses_leaves_what_was_there(void **state)
{
    struct setup setup = open_setup(state, true);
    struct core_unit *unit = &setup.bench->units[setup.bench->options.units - 1];

    setup.bench->relaxed = true;
    may(&setup, 0, 8, MEMORY, CORE_RW);
    must(&setup, 2, 1, MEMORY + page(2), CORE_RW);
    must(&setup, 5, 2, MEMORY + page(5), CORE_RW);
    map(&setup, 2, 1, MEMORY + page(2), CORE_RW);
    map(&setup, 5, 2, MEMORY + page(5), CORE_RW);
    setup.bench->relaxed = false;
    core_fail(unit, CORE_MAP, 1, -PIOMMU_EIO, false);
    assert_int_equal(map_again(&setup, 0, 8, MEMORY, CORE_RW), -PIOMMU_EIO);
    expect_hole(&setup, 0, 2);
    expect(&setup, 2, 1, MEMORY + page(2), CORE_RW);
    expect_hole(&setup, 3, 2);
    expect(&setup, 5, 2, MEMORY + page(5), CORE_RW);
    expect_hole(&setup, 7, 1);
    assert_int_equal(bytes_mapped(&setup), page(3));
    assert_int_equal(map_again(&setup, 0, 8, MEMORY, CORE_RW), 0);
    expect(&setup, 0, 8, MEMORY, CORE_RW);
    core_close(setup.bench);
}

/* ---- Portions ---- */

static const uint32_t budgets[] = {0, 1, 2, 3, 7, 64, 1000000};

#define BUDGETS (sizeof(budgets) / sizeof(budgets[0]))

static uint32_t at_least_one(uint32_t budget)
{
    return budget == 0 ? 1 : budget;
}

/* How many leaves, or requests, a range meets. */
static uint64_t leaves_in(struct piommu_domain *domain, uint64_t first, uint64_t last)
{
    struct piommu_translation result;
    uint64_t count = 0;
    uint64_t found;

    while (first <= last && piommu_domain_next(domain, first, last, &found, &result) == 0) {
        count++;
        if (found + (result.leaf_size - 1) >= last) {
            break;
        }
        first = found + result.leaf_size;
    }
    return count;
}

static void map_in_portions(const struct setup *setup, uint64_t iova, uint64_t physical,
                            uint64_t size, uint32_t budget)
{
    uint64_t done = 0;
    unsigned int portions = 0;
    int error;

    do {
        uint64_t mapped = 1;

        error = piommu_domain_map_some(setup->domain, iova + done, physical + done, size - done,
                                       CORE_RW, budget, &mapped);
        if (error != -PIOMMU_EAGAIN) {
            assert_int_equal(error, 0);
            assert_int_equal(mapped, size - done);
        }
        assert_true(mapped != 0 && mapped <= size - done);
        if (core_has_tables(setup->bench)) {
            assert_true(leaves_in(setup->domain, iova + done, iova + done + mapped - 1) <=
                        at_least_one(budget));
        } else {
            assert_int_equal(error, 0);
        }
        done += mapped;
        portions++;
        /* Each portion can be used, and nothing beyond it. */
        core_expect_held(setup->domain, iova + done - CORE_PAGE, physical + done - CORE_PAGE,
                         CORE_PAGE, CORE_RW);
        for (unsigned int i = 0; i < setup->bench->options.units; i++) {
            assert_int_equal(
                core_reached(setup->bench, FIRST_ID + i, iova + done - CORE_PAGE, true),
                physical + done - CORE_PAGE);
            assert_int_equal(core_reached(setup->bench, FIRST_ID + i, iova + done, false),
                             CORE_NOTHING);
        }
        assert_int_equal(bytes_mapped(setup), done);
    } while (error == -PIOMMU_EAGAIN);
    assert_int_equal(done, size);
    if (core_has_tables(setup->bench)) {
        uint64_t leaves = leaves_in(setup->domain, iova, iova + size - 1);

        assert_true(portions <= leaves);
        assert_true(portions == 1 || at_least_one(budget) < leaves);
    }
    core_expect_held(setup->domain, iova, physical, size, CORE_RW);
}

/* Budgets differ, results do not. Returns how many calls it took. */
static unsigned int unmap_in_portions(const struct setup *setup, uint64_t iova, uint64_t size,
                                      uint32_t budget, uint64_t expected, bool sync_between)
{
    struct piommu_gather gather;
    uint64_t done = 0;
    uint64_t removed = 0;
    unsigned int portions = 0;
    int error;

    piommu_gather_init(&gather);
    do {
        uint64_t leaves = leaves_in(setup->domain, iova + done, iova + size - 1);
        uint64_t behind = 1;
        uint64_t unmapped = 1;

        error = piommu_domain_unmap_some(setup->domain, iova + done, size - done, budget, &gather,
                                         &behind, &unmapped);
        if (error != -PIOMMU_EAGAIN) {
            assert_int_equal(error, 0);
            assert_int_equal(behind, size - done);
        }
        assert_true(behind != 0 && behind <= size - done && unmapped <= behind);
        done += behind;
        removed += unmapped;
        portions++;
        core_expect_hole(setup->domain, iova + done - CORE_PAGE, CORE_PAGE);
        if (done < size) {
            assert_true(leaves - leaves_in(setup->domain, iova + done, iova + size - 1) <=
                        at_least_one(budget));
        }
        assert_true(portions < 100000);
        if (sync_between) {
            assert_int_equal(piommu_domain_sync(setup->domain, &gather), 0);
        }
    } while (error == -PIOMMU_EAGAIN);
    assert_int_equal(done, size);
    assert_int_equal(removed, expected);
    assert_int_equal(piommu_domain_sync(setup->domain, &gather), 0);
    assert_int_equal(leaves_in(setup->domain, iova, iova + size - 1), 0);
    return portions;
}

static void test_portions_make_up_the_whole(void **state)
{
    static const struct {
        uint64_t offset; /* of the memory: pages only if it is odd */
        uint64_t size;
    } sizes[] = {
        {0, CORE_PAGE},
        {0, 16 * CORE_PAGE},
        {CORE_PAGE, 520 * CORE_PAGE},
        {0, CORE_BLOCK},
        {0, 3 * CORE_BLOCK + 5 * CORE_PAGE},
    };

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        for (size_t j = 0; j < BUDGETS; j++) {
            struct setup setup = open_setup(state, true);

            may(&setup, 0, 17, MEMORY + sizes[i].offset, CORE_RW);
            map_in_portions(&setup, BASE, MEMORY + sizes[i].offset, sizes[i].size, budgets[j]);
            if ((j & 1u) != 0 && core_has_tables(setup.bench)) {
                core_unmap(setup.domain, BASE, sizes[i].size);
            } else {
                unmap_in_portions(&setup, BASE, sizes[i].size, budgets[j], sizes[i].size,
                                  (j & 2u) != 0);
            }
            assert_int_equal(bytes_mapped(&setup), 0);
            expect_hole(&setup, 0, 16);
            core_close(setup.bench);
        }
    }
}

static void test_portions_of_unmap_skip_holes(void **state)
{
    for (size_t j = 0; j < BUDGETS; j++) {
        struct setup setup = open_setup(state, true);

        may(&setup, 0, 17, MEMORY, CORE_RW);
        for (unsigned int i = 0; i < 16; i += 3) {
            map(&setup, i, 1, MEMORY + page(i), CORE_RW);
        }
        core_map(setup.domain, BASE + 2 * CORE_BLOCK, MEMORY_2, CORE_BLOCK, CORE_RW);
        unmap_in_portions(&setup, BASE, 5 * CORE_BLOCK, budgets[j], page(6) + CORE_BLOCK, true);
        assert_int_equal(bytes_mapped(&setup), 0);
        /* Only holes. */
        unmap_in_portions(&setup, BASE, 5 * CORE_BLOCK, budgets[j], 0, true);
        unmap_in_portions(&setup, 0, TOP, 1000, 0, true);
        core_close(setup.bench);
    }
}

static void test_portions_of_unmap_remove_what_map_list_has_mapped(void **state)
{
    static const struct piommu_segment segments[] = {
        {MEMORY_2, 2 * CORE_PAGE}, {MEMORY, 3 * CORE_PAGE}, {MEMORY_3, CORE_PAGE}};

    for (size_t j = 0; j < BUDGETS; j++) {
        struct setup setup = open_setup(state, true);
        unsigned int portions;

        may(&setup, 0, 2, MEMORY_2, CORE_RW);
        may(&setup, 2, 3, MEMORY, CORE_RW);
        may(&setup, 5, 1, MEMORY_3, CORE_RW);
        assert_int_equal(piommu_domain_map_list(setup.domain, BASE, segments, 3, CORE_RW), 0);
        portions = unmap_in_portions(&setup, BASE, page(6), budgets[j], page(6), false);
        assert_true(budgets[j] > 2 || portions > 1);
        assert_int_equal(bytes_mapped(&setup), 0);
        core_close(setup.bench);
    }
}

static void test_portions_of_unmap_never_cut(void **state)
{
    for (size_t j = 0; j < BUDGETS; j++) {
        struct setup setup = open_setup(state, true);
        struct piommu_gather gather;
        uint64_t behind = 1;
        uint64_t unmapped = 1;
        uint64_t done = 0;
        int error;

        may(&setup, 0, 4, MEMORY, CORE_RW);
        for (unsigned int i = 0; i < 4; i++) {
            map(&setup, i, 1, MEMORY + page(i), CORE_RW);
        }
        core_map(setup.domain, BASE + CORE_BLOCK, MEMORY_2, CORE_BLOCK, CORE_RW);
        piommu_gather_init(&gather);
        /* Begins in the block. */
        assert_int_equal(piommu_domain_unmap_some(setup.domain, BASE + CORE_BLOCK + CORE_PAGE,
                                                  CORE_BLOCK - CORE_PAGE, budgets[j], &gather,
                                                  &behind, &unmapped),
                         -PIOMMU_ECUT);
        assert_int_equal(behind, 0);
        assert_false(gather.pending);
        /* Ends in it: found when it comes to it, or before. */
        do {
            error =
                piommu_domain_unmap_some(setup.domain, BASE + done, CORE_BLOCK + CORE_PAGE - done,
                                         budgets[j], &gather, &behind, &unmapped);
            done += behind;
            assert_true(done <= CORE_BLOCK);
        } while (error == -PIOMMU_EAGAIN);
        assert_int_equal(error, -PIOMMU_ECUT);
        assert_int_equal(behind, 0);
        assert_int_equal(piommu_domain_sync(setup.domain, &gather), 0);
        core_expect_held(setup.domain, BASE + CORE_BLOCK, MEMORY_2, CORE_BLOCK, CORE_RW);
        for (unsigned int i = 0; i < 4; i++) {
            if (page(i) < done) {
                expect_hole(&setup, i, 1);
            } else {
                expect(&setup, i, 1, MEMORY + page(i), CORE_RW);
            }
        }
        core_close(setup.bench);
    }
}

static void test_a_portion_that_meets_a_mapping_maps_nothing(void **state)
{
    for (size_t j = 0; j < BUDGETS; j++) {
        struct setup setup = open_setup(state, true);
        uint64_t done = 0;
        uint64_t mapped;
        int error;

        may(&setup, 0, 8, MEMORY, CORE_RW);
        must(&setup, 5, 1, MEMORY_2, CORE_RW);
        map(&setup, 5, 1, MEMORY_2, CORE_RW);
        do {
            mapped = 1;
            error = piommu_domain_map_some(setup.domain, BASE + done, MEMORY + done, page(8) - done,
                                           CORE_RW, budgets[j], &mapped);
            done += mapped;
        } while (error == -PIOMMU_EAGAIN);
        assert_int_equal(error, -PIOMMU_EEXIST);
        assert_int_equal(mapped, 0);
        assert_true(done <= page(5));
        if (done != 0) {
            expect(&setup, 0, (unsigned int)(done / CORE_PAGE), MEMORY, CORE_RW);
        }
        expect_hole(&setup, (unsigned int)(done / CORE_PAGE), 5 - (unsigned int)(done / CORE_PAGE));
        expect(&setup, 5, 1, MEMORY_2, CORE_RW);
        expect_hole(&setup, 6, 2);
        assert_int_equal(bytes_mapped(&setup), done + CORE_PAGE);
        core_close(setup.bench);
    }
}

static void test_a_portion_without_memory_can_be_asked_for_again(void **state)
{
    struct setup setup = open_setup(state, true);
    const uint64_t size = 600 * CORE_PAGE;
    unsigned int failures = 0;
    uint64_t done = 0;
    unsigned int nth = 1;
    int error;

    may(&setup, 0, 17, MEMORY + CORE_PAGE, CORE_RW);
    do {
        uint64_t mapped = 1;

        fake_os_fail_call(setup.bench->os, nth, false);
        error = piommu_domain_map_some(setup.domain, BASE + done, MEMORY + CORE_PAGE + done,
                                       size - done, CORE_RW, 50, &mapped);
        fake_os_fail_call(setup.bench->os, 0, false);
        if (error == -PIOMMU_ENOMEM) {
            assert_int_equal(mapped, 0);
            assert_int_equal(bytes_mapped(&setup), done);
            failures++;
            nth++;
        } else {
            assert_true(error == 0 || error == -PIOMMU_EAGAIN);
            nth = 1;
        }
        done += mapped;
    } while (error != 0);
    assert_true(failures != 0);
    assert_int_equal(done, size);
    core_expect_held(setup.domain, BASE, MEMORY + CORE_PAGE, size, CORE_RW);
    core_close(setup.bench);
}

static void test_other_calls_may_come_between_portions(void **state)
{
    struct setup setup = open_setup(state, true);
    uint64_t mapped;
    uint64_t done;
    int error;

    may(&setup, 0, 12, MEMORY, CORE_RW);
    may(&setup, 12, 2, MEMORY_2, CORE_RW);
    error = piommu_domain_map_some(setup.domain, BASE, MEMORY, page(12), CORE_RW, 4, &mapped);
    done = mapped;
    assert_int_equal(error, core_has_tables(setup.bench) ? -PIOMMU_EAGAIN : 0);
    map(&setup, 12, 2, MEMORY_2, CORE_RW);
    core_unmap(setup.domain, BASE + page(12), page(2));
    if (core_has_tables(setup.bench)) {
        core_unmap(setup.domain, BASE, CORE_PAGE);
        map(&setup, 0, 1, MEMORY, CORE_RW);
    }
    while (error == -PIOMMU_EAGAIN) {
        error = piommu_domain_map_some(setup.domain, BASE + done, MEMORY + done, page(12) - done,
                                       CORE_RW, 4, &mapped);
        done += mapped;
    }
    assert_int_equal(error, 0);
    expect(&setup, 0, 12, MEMORY, CORE_RW);
    core_close(setup.bench);
}

/* Reading goes on with tables; what is behind has the new permissions, what is not the old ones. */
static void test_portions_of_protect_are_in_force_one_by_one(void **state)
{
    for (size_t j = 0; j < BUDGETS; j++) {
        struct setup setup = open_setup(state, true);
        const bool tables = core_has_tables(setup.bench);
        const unsigned int flags = tables ? 0 : HOLE;
        uint64_t done = 0;
        uint64_t sum = 0;
        int error;

        may(&setup, 0, 17, MEMORY, CORE_RW);
        for (unsigned int i = 0; i < 16; i += 4) {
            map(&setup, i, 2, MEMORY + page(i), CORE_RW);
            if (tables) {
                must(&setup, i, 2, MEMORY + page(i), CORE_R);
            }
        }
        core_map(setup.domain, BASE + CORE_BLOCK, MEMORY_2, CORE_BLOCK, CORE_RW);
        fake_os_forbid(setup.bench->os, FAKE_OS_FORBID_ALLOCATION);
        do {
            const uint64_t before = done;
            uint64_t behind = 1;
            uint64_t changed = 1;

            error = piommu_domain_protect_some(setup.domain, BASE + done, 3 * CORE_BLOCK - done,
                                               CORE_R, flags, budgets[j], &behind, &changed);
            assert_true(error == 0 || error == -PIOMMU_EAGAIN);
            assert_true(behind != 0 && changed <= behind);
            assert_true(leaves_in(setup.domain, BASE + before, BASE + before + behind - 1) <=
                        at_least_one(budgets[j]));
            done += behind;
            sum += changed;
            for (unsigned int i = 0; i < 16; i++) {
                if (i % 4 < 2) {
                    expect(&setup, i, 1, MEMORY + page(i), page(i) < done ? CORE_R : CORE_RW);
                } else {
                    expect_hole(&setup, i, 1);
                }
            }
        } while (error == -PIOMMU_EAGAIN);
        fake_os_forbid(setup.bench->os, 0);
        assert_int_equal(done, 3 * CORE_BLOCK);
        assert_int_equal(sum, page(8) + CORE_BLOCK);
        assert_int_equal(bytes_mapped(&setup), page(8) + CORE_BLOCK);
        core_expect_held(setup.domain, BASE + CORE_BLOCK, MEMORY_2, CORE_BLOCK, CORE_R);
        setup.bench->relaxed = true;
        core_unmap(setup.domain, BASE, 3 * CORE_BLOCK);
        core_close(setup.bench);
    }
}

static void test_portions_of_protect_need_consent_to_a_hole(void **state)
{
    struct setup setup = open_setup(state, true);
    uint64_t behind = 1;

    must(&setup, 0, 4, MEMORY, CORE_R);
    may(&setup, 0, 4, MEMORY, CORE_RW);
    map(&setup, 0, 4, MEMORY, CORE_RW);
    assert_int_equal(
        piommu_domain_protect_some(setup.domain, BASE, page(4), CORE_R, 0, 1, &behind, NULL),
        -PIOMMU_EHOLE);
    assert_int_equal(behind, 0);
    core_probe(setup.bench);
    expect(&setup, 0, 4, MEMORY, CORE_RW);
    /* Nothing changes: nothing has to be taken out. */
    assert_int_equal(
        piommu_domain_protect_some(setup.domain, BASE, page(4), CORE_RW, 0, 100, &behind, NULL), 0);
    assert_int_equal(behind, page(4));
    core_close(setup.bench);
}

static void test_portions_of_protect_cut_nothing_from_the_first_on(void **state)
{
    for (size_t j = 0; j < BUDGETS; j++) {
        struct setup setup = open_setup(state, true);
        uint64_t behind = 1;

        may(&setup, 0, 4, MEMORY, CORE_RW);
        for (unsigned int i = 0; i < 4; i++) {
            map(&setup, i, 1, MEMORY + page(i), CORE_RW);
        }
        core_map(setup.domain, BASE + CORE_BLOCK, MEMORY_2, CORE_BLOCK, CORE_RW);
        assert_int_equal(piommu_domain_protect_some(setup.domain, BASE, CORE_BLOCK + CORE_PAGE,
                                                    CORE_R, HOLE, budgets[j], &behind, NULL),
                         -PIOMMU_ECUT);
        assert_int_equal(behind, 0);
        assert_int_equal(piommu_domain_protect_some(setup.domain, BASE + CORE_BLOCK + CORE_PAGE,
                                                    CORE_BLOCK, CORE_R, HOLE, budgets[j], &behind,
                                                    NULL),
                         -PIOMMU_ECUT);
        assert_int_equal(behind, 0);
        expect(&setup, 0, 4, MEMORY, CORE_RW);
        core_expect_held(setup.domain, BASE + CORE_BLOCK, MEMORY_2, CORE_BLOCK, CORE_RW);
        core_close(setup.bench);
    }
}

static void test_a_portion_of_protect_that_hardware_refuses_is_unmapped(void **state)
{
    struct setup setup = open_setup(state, true);
    struct core_unit *unit = &setup.bench->units[setup.bench->options.units - 1];
    uint64_t behind = 1;

    may(&setup, 0, 6, MEMORY, CORE_RW);
    for (unsigned int i = 0; i < 3; i++) {
        map(&setup, 2 * i, 1, MEMORY + page(2 * i), CORE_RW);
    }
    assert_int_equal(
        piommu_domain_protect_some(setup.domain, BASE, page(6), CORE_R, HOLE, 1, &behind, NULL),
        -PIOMMU_EAGAIN);
    assert_true(behind >= page(1) && behind <= page(2));
    core_fail(unit, CORE_MAP, 1, -PIOMMU_EIO, false);
    assert_int_equal(piommu_domain_protect_some(setup.domain, BASE + page(2), page(4), CORE_R, HOLE,
                                                1, &behind, NULL),
                     -PIOMMU_EIO);
    assert_int_equal(behind, 0);
    expect(&setup, 0, 1, MEMORY, CORE_R);
    expect_hole(&setup, 2, 1);
    expect(&setup, 4, 1, MEMORY + page(4), CORE_RW);
    assert_int_equal(bytes_mapped(&setup), page(2));
    core_close(setup.bench);
}

static void test_bad_portions_are_refused(void **state)
{
    struct setup setup = open_setup(state, true);
    const struct piommu_domain_config config = core_config(setup.bench, PIOMMU_DOMAIN_IDENTITY);
    struct piommu_domain *identity = core_create(setup.bench, &config);
    struct piommu_domain *domain = setup.domain;
    struct piommu_gather gather;
    uint64_t bytes = 1;

    piommu_gather_init(&gather);
    must(&setup, 0, 2, MEMORY, CORE_RW);
    map(&setup, 0, 2, MEMORY, CORE_RW);
    assert_int_equal(piommu_domain_map_some(NULL, BASE, MEMORY, page(1), CORE_RW, 1, &bytes),
                     -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_map_some(identity, BASE, MEMORY, page(1), CORE_RW, 1, &bytes),
                     -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_map_some(domain, BASE, MEMORY, page(1), CORE_RW, 1, NULL),
                     -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_map_some(domain, BASE, MEMORY, page(1), 0, 1, &bytes),
                     -PIOMMU_EINVAL);
    assert_int_equal(
        piommu_domain_map_some(domain, BASE, MEMORY, page(1), PIOMMU_PROT_WRITE, 1, &bytes),
        -PIOMMU_EOPNOTSUPP);
    assert_int_equal(bytes, 0);
    bytes = 1;
    assert_int_equal(piommu_domain_unmap_some(NULL, BASE, page(1), 1, &gather, &bytes, NULL),
                     -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_unmap_some(identity, BASE, page(1), 1, &gather, &bytes, NULL),
                     -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_unmap_some(domain, BASE, page(1), 1, NULL, &bytes, NULL),
                     -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_unmap_some(domain, BASE, page(1), 1, &gather, NULL, NULL),
                     -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_map_again(NULL, BASE, MEMORY, page(1), CORE_RW), -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_map_again(identity, BASE, MEMORY, page(1), CORE_RW),
                     -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_map_again(domain, BASE, MEMORY, page(1), 0), -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_map_again(domain, BASE, MEMORY, page(1), PIOMMU_PROT_WRITE),
                     -PIOMMU_EOPNOTSUPP);
    assert_false(gather.pending);
    core_probe(setup.bench);
    expect(&setup, 0, 2, MEMORY, CORE_RW);
    core_close(setup.bench);
}

static void test_unmap_in_portions_needs_no_memory(void **state)
{
    struct setup setup = open_setup(state, true);

    may(&setup, 0, 17, MEMORY, CORE_RW);
    core_map(setup.domain, BASE, MEMORY, CORE_BLOCK - CORE_PAGE, CORE_RW);
    fake_os_forbid(setup.bench->os, FAKE_OS_FORBID_ALLOCATION);
    unmap_in_portions(&setup, BASE, CORE_BLOCK, 10, CORE_BLOCK - CORE_PAGE, true);
    fake_os_forbid(setup.bench->os, 0);
    core_close(setup.bench);
}

/* ---- Destroying in portions ---- */

static struct piommu_domain *make_full_domain(struct setup *setup)
{
    const struct piommu_domain_config config = core_config(setup->bench, PIOMMU_DOMAIN_PAGING);
    struct piommu_domain *domain;

    assert_int_equal(piommu_domain_create(&config, &domain), 0);
    for (unsigned int i = 0; i < 20; i++) {
        core_map(domain, i * 0x40000000ull + i * CORE_PAGE, MEMORY, 3 * CORE_PAGE, CORE_RW);
    }
    core_map(domain, BASE + 4 * CORE_BLOCK, MEMORY_2, 2 * CORE_BLOCK, CORE_RW);
    return domain;
}

static void test_a_domain_can_be_destroyed_in_portions(void **state)
{
    for (size_t j = 0; j < BUDGETS; j++) {
        struct setup setup = open_setup(state, false);
        uint64_t before = fake_os_bytes_outstanding(setup.bench->os);
        struct piommu_domain *domain = make_full_domain(&setup);
        struct piommu_gather gather;
        unsigned int portions = 0;
        int error;

        /* What is not synced becomes void. */
        piommu_gather_init(&gather);
        assert_int_equal(piommu_domain_unmap(domain, 0, CORE_PAGE * 3, &gather, NULL), 0);
        do {
            uint64_t bytes = fake_os_bytes_outstanding(setup.bench->os);
            struct fake_os_counters then;
            struct fake_os_counters now;

            fake_os_get_counters(setup.bench->os, &then);
            error = piommu_domain_destroy_some(domain, budgets[j]);
            fake_os_get_counters(setup.bench->os, &now);
            assert_true(fake_os_bytes_outstanding(setup.bench->os) <= bytes);
            assert_true(error == 0 || now.dma_frees - then.dma_frees <= at_least_one(budgets[j]));
            assert_int_equal(now.allocations, then.allocations);
            portions++;
            assert_true(portions < 100000);
        } while (error == -PIOMMU_EAGAIN);
        assert_int_equal(error, 0);
        assert_int_equal(fake_os_bytes_outstanding(setup.bench->os), before);
        assert_true(budgets[j] > 2 || portions > 10);
        assert_true(budgets[j] < 1000000 || portions < 10);
        core_close(setup.bench);
    }
}

static void test_a_domain_in_use_is_not_destroyed_in_portions(void **state)
{
    struct setup setup = open_setup(state, true);

    must(&setup, 0, 4, MEMORY, CORE_RW);
    map(&setup, 0, 4, MEMORY, CORE_RW);
    assert_int_equal(piommu_domain_destroy_some(setup.domain, 1), -PIOMMU_EBUSY);
    assert_int_equal(piommu_domain_destroy_some(setup.domain, 1000), -PIOMMU_EBUSY);
    assert_int_equal(piommu_domain_destroy(setup.domain), -PIOMMU_EBUSY);
    assert_int_equal(piommu_domain_destroy_some(NULL, 1), 0);
    expect(&setup, 0, 4, MEMORY, CORE_RW);
    core_close(setup.bench);
}

static void test_an_empty_domain_can_be_destroyed_in_portions(void **state)
{
    static const enum piommu_domain_type types[] = {PIOMMU_DOMAIN_BLOCKED, PIOMMU_DOMAIN_IDENTITY,
                                                    PIOMMU_DOMAIN_PAGING, PIOMMU_DOMAIN_DMA,
                                                    PIOMMU_DOMAIN_DEFERRED};

    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        struct setup setup = open_setup(state, false);
        const struct piommu_domain_config config = core_config(setup.bench, types[i]);
        uint64_t before = fake_os_bytes_outstanding(setup.bench->os);
        struct piommu_domain *domain;
        unsigned int portions = 0;
        int error;

        assert_int_equal(piommu_domain_create(&config, &domain), 0);
        do {
            error = piommu_domain_destroy_some(domain, 1);
            assert_true(++portions < 10000);
        } while (error == -PIOMMU_EAGAIN);
        assert_int_equal(error, 0);
        assert_int_equal(fake_os_bytes_outstanding(setup.bench->os), before);
        core_close(setup.bench);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CORE_FOR_EACH_CASE(test_replace_maps_where_nothing_is),
        CORE_FOR_EACH_CASE(test_replace_by_the_same_does_nothing),
        CORE_FOR_EACH_CASE(test_replace_fills_holes_without_opening_one),
        CORE_FOR_EACH_CASE(test_replace_by_other_memory_has_to_be_allowed),
        CORE_FOR_EACH_CASE(test_replace_by_other_permissions_is_a_replacement),
        CORE_FOR_EACH_CASE(test_replace_counts_what_was_mapped_otherwise),
        CORE_FOR_EACH_CASE(test_replace_needs_no_permission_without_devices),
        CORE_FOR_EACH_CASE(test_replace_cuts_what_reaches_beyond_the_range),
        CORE_FOR_EACH_CASE(test_replace_inside_a_block_by_the_same_cuts_nothing),
        CORE_FOR_EACH_CASE(test_replace_at_the_edges_of_two_mappings),
        CORE_FOR_EACH_CASE(test_pages_can_be_replaced_by_a_block_and_back),
        CORE_FOR_EACH_CASE(test_replace_without_memory_changes_nothing),
        CORE_FOR_EACH_CASE(test_a_large_replace_without_memory_changes_nothing),
        CORE_FOR_EACH_CASE(test_replacing_again_and_again_takes_no_more_memory),
        CORE_FOR_REQUESTS(test_replace_that_hardware_refuses_leaves_the_range_empty),
        CORE_FOR_EACH_CASE(test_replace_that_is_not_forgotten_fails_the_instance),
        CORE_FOR_REQUESTS(test_replace_where_something_is_not_synced_is_refused),
        CORE_FOR_EACH_CASE(test_bad_replacements_are_refused),
        CORE_FOR_EACH_CASE(test_map_again_maps_what_is_not_there),
        CORE_FOR_EACH_CASE(test_map_again_leaves_alone_what_is_there),
        CORE_FOR_EACH_CASE(test_map_again_fills_in_every_pattern_of_holes),
        CORE_FOR_EACH_CASE(test_map_again_over_something_else_changes_nothing),
        CORE_FOR_EACH_CASE(test_map_again_over_several_leaf_sizes),
        CORE_FOR_EACH_CASE(test_map_again_without_memory_changes_nothing),
        CORE_FOR_REQUESTS(test_map_again_that_hardware_refuses_leaves_what_was_there),
        CORE_FOR_EACH_CASE(test_portions_make_up_the_whole),
        CORE_FOR_EACH_CASE(test_portions_of_unmap_skip_holes),
        CORE_FOR_EACH_CASE(test_portions_of_unmap_remove_what_map_list_has_mapped),
        CORE_FOR_EACH_CASE(test_portions_of_unmap_never_cut),
        CORE_FOR_EACH_CASE(test_a_portion_that_meets_a_mapping_maps_nothing),
        CORE_FOR_EACH_CASE(test_a_portion_without_memory_can_be_asked_for_again),
        CORE_FOR_EACH_CASE(test_other_calls_may_come_between_portions),
        CORE_FOR_EACH_CASE(test_portions_of_protect_are_in_force_one_by_one),
        CORE_FOR_REQUESTS(test_portions_of_protect_need_consent_to_a_hole),
        CORE_FOR_EACH_CASE(test_portions_of_protect_cut_nothing_from_the_first_on),
        CORE_FOR_REQUESTS(test_a_portion_of_protect_that_hardware_refuses_is_unmapped),
        CORE_FOR_EACH_CASE(test_bad_portions_are_refused),
        CORE_FOR_EACH_CASE(test_unmap_in_portions_needs_no_memory),
        CORE_FOR_EACH_CASE(test_a_domain_can_be_destroyed_in_portions),
        CORE_FOR_EACH_CASE(test_a_domain_in_use_is_not_destroyed_in_portions),
        CORE_FOR_EACH_CASE(test_an_empty_domain_can_be_destroyed_in_portions),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
