/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Domains over several instances: what one of them refuses is nowhere mapped, what is taken away is
 * taken away from all, and one that fails does so alone.
 */

#include "core_bench.h"

#include <piommu/piommu.h>

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <inttypes.h>
#include <stdlib.h>

#include <cmocka.h>

#define BASE     0x40000000ull
#define MEMORY   0x80000000ull
#define MEMORY_2 0xc0000000ull
#define MEMORY_3 0x100000000ull
#define TOP      (1ull << 39)
#define UNITS    CORE_MAX_UNITS
#define FIRST_ID 10u
#define HOLE     PIOMMU_ALLOW_HOLE

struct setup {
    struct core_bench *bench;
    struct piommu_domain *domain;
    struct piommu_device *devices[UNITS];
};

static uint64_t page(unsigned int number)
{
    return number * CORE_PAGE;
}

/* A domain over the first so many units, with the device of each of them in it. */
static struct setup open_setup(void **state, unsigned int units, core_adjust *adjust)
{
    struct setup setup = {.bench = core_open(core_case_of(state), adjust)};
    struct piommu_domain_config config = core_config(setup.bench, PIOMMU_DOMAIN_PAGING);

    core_window(setup.bench, BASE - CORE_PAGE, 12 * CORE_PAGE);
    config.instance_count = units;
    setup.domain = core_create(setup.bench, &config);
    for (unsigned int i = 0; i < UNITS; i++) {
        setup.devices[i] = core_add_device(setup.bench, i, FIRST_ID + i, NULL, 0, 0);
        if (i < units) {
            assert_int_equal(core_attach(setup.devices[i], setup.domain), 0);
        }
    }
    return setup;
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

/* All but one (UNITS: all) reach what the domain holds. */
static void expect_all_but(const struct setup *setup, unsigned int failed, unsigned int first,
                           unsigned int count, uint64_t physical, piommu_prot prot)
{
    for (unsigned int i = 0; i < UNITS; i++) {
        if (i != failed) {
            core_expect_mapped(setup->bench, FIRST_ID + i, BASE + page(first), physical,
                               page(count), prot);
        }
    }
    core_expect_held(setup->domain, BASE + page(first), physical, page(count), prot);
}

static void expect_hole(const struct setup *setup, unsigned int first, unsigned int count)
{
    for (unsigned int i = 0; i < UNITS; i++) {
        core_expect_nothing(setup->bench, FIRST_ID + i, BASE + page(first), page(count));
    }
    core_expect_hole(setup->domain, BASE + page(first), page(count));
}

static bool has_failed(const struct setup *setup, unsigned int unit)
{
    struct piommu_instance_info info;

    piommu_instance_get_info(setup->bench->instances[unit], &info);
    return info.failed;
}

static void expect_failed_alone(const struct setup *setup, unsigned int unit)
{
    for (unsigned int i = 0; i < UNITS; i++) {
        assert_int_equal(has_failed(setup, i), i == unit);
    }
}

static enum core_call forgetting(const struct setup *setup)
{
    return core_has_tables(setup->bench) ? CORE_INVALIDATE : CORE_UNMAP;
}

static struct piommu_domain *domain_of(struct piommu_device *device)
{
    struct piommu_device_info info;

    piommu_device_get_info(device, &info);
    return info.domain;
}

/* ---- All of them ---- */

static void test_a_mapping_reaches_the_devices_of_every_instance(void **state)
{
    struct setup setup = open_setup(state, UNITS, NULL);

    may(&setup, 0, 4, MEMORY, CORE_RW);
    core_map(setup.domain, BASE, MEMORY, page(4), CORE_RW);
    expect_all_but(&setup, UNITS, 0, 4, MEMORY, CORE_RW);
    assert_int_equal(core_statistics(setup.domain).endpoints, UNITS);
    assert_int_equal(core_statistics(setup.domain).mapped, page(4));
    assert_int_equal(core_statistics(setup.domain).maps, 1);
    core_unmap(setup.domain, BASE, page(4));
    expect_hole(&setup, 0, 4);
    core_close(setup.bench);
}

static void test_changes_are_in_force_at_every_instance(void **state)
{
    struct setup setup = open_setup(state, UNITS, NULL);

    may(&setup, 0, 8, MEMORY, CORE_RW);
    may(&setup, 2, 2, MEMORY_2, CORE_R);
    core_map(setup.domain, BASE, MEMORY, page(8), CORE_RW);
    assert_int_equal(piommu_domain_protect(setup.domain, BASE, page(8), CORE_R, HOLE, NULL), 0);
    expect_all_but(&setup, UNITS, 0, 8, MEMORY, CORE_R);
    assert_int_equal(piommu_domain_unmap_cut(setup.domain, BASE + page(5), page(2), HOLE, NULL), 0);
    expect_hole(&setup, 5, 2);
    expect_all_but(&setup, UNITS, 7, 1, MEMORY + page(7), CORE_R);
    assert_int_equal(
        piommu_domain_replace(setup.domain, BASE + page(2), MEMORY_2, page(2), CORE_R, HOLE, NULL),
        0);
    expect_all_but(&setup, UNITS, 0, 2, MEMORY, CORE_R);
    expect_all_but(&setup, UNITS, 2, 2, MEMORY_2, CORE_R);
    expect_all_but(&setup, UNITS, 4, 1, MEMORY + page(4), CORE_R);
    core_close(setup.bench);
}

static void test_instances_without_devices_in_the_domain_do_not_matter(void **state)
{
    struct setup setup = open_setup(state, UNITS, NULL);
    struct core_unit *away = &setup.bench->units[1];

    core_detach(setup.devices[1]);
    core_may(setup.bench, FIRST_ID, BASE, MEMORY, page(4), CORE_RW);
    core_may(setup.bench, FIRST_ID + 2, BASE, MEMORY, page(4), CORE_RW);
    core_fail(away, CORE_MAP, 1, -PIOMMU_EIO, true);
    core_fail(away, CORE_UNMAP, 1, -PIOMMU_EIO, true);
    core_map(setup.domain, BASE, MEMORY, page(4), CORE_RW);
    assert_int_equal(piommu_domain_protect(setup.domain, BASE, page(4), CORE_R, HOLE, NULL), 0);
    core_unmap(setup.domain, BASE, page(4));
    assert_false(has_failed(&setup, 1));
    core_close(setup.bench);
}

/* ---- Maps ---- */

enum map_call {
    MAP,
    MAP_LIST,
    MAP_AGAIN,
    MAP_SOME,
    MAP_REPLACE,
    MAP_CALLS,
};

/* Maps pages 0 to 3, whichever way. */
static int map_by(const struct setup *setup, enum map_call call)
{
    const struct piommu_segment segments[] = {{MEMORY, page(1)}, {MEMORY + page(1), page(3)}};
    uint64_t mapped;

    switch (call) {
    case MAP:
        return piommu_domain_map(setup->domain, BASE, MEMORY, page(4), CORE_RW);
    case MAP_LIST:
        return piommu_domain_map_list(setup->domain, BASE, segments, 2, CORE_RW);
    case MAP_AGAIN:
        return piommu_domain_map_again(setup->domain, BASE, MEMORY, page(4), CORE_RW);
    case MAP_SOME:
        return piommu_domain_map_some(setup->domain, BASE, MEMORY, page(4), CORE_RW, 100, &mapped);
    case MAP_REPLACE:
        return piommu_domain_replace(setup->domain, BASE, MEMORY, page(4), CORE_RW, HOLE, NULL);
    case MAP_CALLS:
        break;
    }
    return -PIOMMU_EINVAL;
}

static void test_what_one_instance_refuses_is_mapped_nowhere(void **state)
{
    static const int errors[] = {-PIOMMU_EIO, -PIOMMU_ENOMEM, -PIOMMU_EOPNOTSUPP};

    for (unsigned int unit = 0; unit < UNITS; unit++) {
        for (unsigned int call = 0; call < MAP_CALLS; call++) {
            struct setup setup = open_setup(state, UNITS, NULL);

            may(&setup, 0, 4, MEMORY, CORE_RW);
            must(&setup, 4, 2, MEMORY_2, CORE_R);
            core_map(setup.domain, BASE + page(4), MEMORY_2, page(2), CORE_R);
            for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
                core_fail(&setup.bench->units[unit], CORE_MAP, 1, errors[i], false);
                assert_int_equal(map_by(&setup, (enum map_call)call), errors[i]);
                expect_hole(&setup, 0, 4);
                /* The same after a part of it was in force there. */
                mock_fail_call(setup.bench->units[unit].mock, 1, errors[i], false);
                assert_int_equal(map_by(&setup, (enum map_call)call), errors[i]);
                expect_hole(&setup, 0, 4);
                assert_int_equal(core_statistics(setup.domain).mapped, page(2));
            }
            expect_failed_alone(&setup, UNITS);
            assert_int_equal(map_by(&setup, (enum map_call)call), 0);
            expect_all_but(&setup, UNITS, 0, 4, MEMORY, CORE_RW);
            core_close(setup.bench);
        }
    }
}

static void test_an_instance_that_does_not_answer_a_map_fails_alone(void **state)
{
    for (unsigned int unit = 0; unit < UNITS; unit++) {
        struct setup setup = open_setup(state, UNITS, NULL);

        may(&setup, 0, 4, MEMORY, CORE_RW);
        must(&setup, 4, 2, MEMORY_2, CORE_R);
        core_map(setup.domain, BASE + page(4), MEMORY_2, page(2), CORE_R);
        core_fail(&setup.bench->units[unit], CORE_MAP, 1, -PIOMMU_ETIMEDOUT, true);
        assert_int_equal(map_by(&setup, MAP), -PIOMMU_EFAILED);
        expect_failed_alone(&setup, unit);
        expect_hole(&setup, 0, 4);
        core_expect_nothing(setup.bench, FIRST_ID + unit, BASE, page(8));
        expect_all_but(&setup, unit, 4, 2, MEMORY_2, CORE_R);
        core_close(setup.bench);
    }
}

static void test_an_instance_that_cannot_take_back_a_map_fails(void **state)
{
    struct setup setup = open_setup(state, UNITS, NULL);

    may(&setup, 0, 4, MEMORY, CORE_RW);
    core_fail(&setup.bench->units[1], CORE_MAP, 1, -PIOMMU_EIO, true);
    core_fail(&setup.bench->units[0], CORE_UNMAP, 1, -PIOMMU_EIO, true);
    core_fail(&setup.bench->units[2], CORE_MAP, 1, -PIOMMU_EIO, true);
    core_fail(&setup.bench->units[1], CORE_UNMAP, 1, -PIOMMU_EIO, true);
    assert_int_equal(map_by(&setup, MAP), -PIOMMU_EFAILED);
    expect_hole(&setup, 0, 4);
    core_close(setup.bench);
}

/* ---- Taking away ---- */

static void test_a_sync_that_one_instance_fails_is_done_by_all_others(void **state)
{
    for (unsigned int unit = 0; unit < UNITS; unit++) {
        struct setup setup = open_setup(state, UNITS, NULL);
        struct piommu_gather gather;
        uint64_t unmapped = 0;

        setup.bench->relaxed = true;
        may(&setup, 0, 4, MEMORY, CORE_RW);
        must(&setup, 4, 2, MEMORY_2, CORE_R);
        core_map(setup.domain, BASE, MEMORY, page(4), CORE_RW);
        core_map(setup.domain, BASE + page(4), MEMORY_2, page(2), CORE_R);
        setup.bench->relaxed = false;
        core_probe(setup.bench);
        piommu_gather_init(&gather);
        assert_int_equal(piommu_domain_unmap(setup.domain, BASE, page(4), &gather, &unmapped), 0);
        assert_int_equal(unmapped, page(4));
        core_fail(&setup.bench->units[unit], forgetting(&setup), 1, -PIOMMU_ETIMEDOUT, true);
        assert_int_equal(piommu_domain_sync(setup.domain, &gather), -PIOMMU_EFAILED);
        assert_true(gather.pending);
        assert_true(gather.range.first <= BASE && gather.range.last >= BASE + page(4) - 1);
        expect_failed_alone(&setup, unit);
        expect_hole(&setup, 0, 4);
        core_expect_nothing(setup.bench, FIRST_ID + unit, BASE, page(8));
        expect_all_but(&setup, unit, 4, 2, MEMORY_2, CORE_R);
        /* It stays so until the groups of that instance are out. */
        assert_int_equal(piommu_domain_sync(setup.domain, &gather), -PIOMMU_EFAILED);
        assert_true(gather.pending);
        core_detach(setup.devices[unit]);
        assert_int_equal(piommu_domain_sync(setup.domain, &gather), 0);
        assert_false(gather.pending);
        expect_all_but(&setup, unit, 4, 2, MEMORY_2, CORE_R);
        core_close(setup.bench);
    }
}

static void test_two_instances_can_fail_in_one_sync(void **state)
{
    struct setup setup = open_setup(state, UNITS, NULL);
    struct piommu_gather gather;

    may(&setup, 0, 4, MEMORY, CORE_RW);
    core_map(setup.domain, BASE, MEMORY, page(4), CORE_RW);
    core_probe(setup.bench);
    piommu_gather_init(&gather);
    assert_int_equal(piommu_domain_unmap(setup.domain, BASE, page(4), &gather, NULL), 0);
    core_fail(&setup.bench->units[0], forgetting(&setup), 1, -PIOMMU_EIO, true);
    core_fail(&setup.bench->units[1], forgetting(&setup), 1, -PIOMMU_EIO, true);
    assert_int_equal(piommu_domain_sync(setup.domain, &gather), -PIOMMU_EFAILED);
    assert_true(has_failed(&setup, 0));
    assert_true(has_failed(&setup, 1));
    assert_false(has_failed(&setup, 2));
    expect_hole(&setup, 0, 4);
    core_detach(setup.devices[0]);
    assert_int_equal(piommu_domain_sync(setup.domain, &gather), -PIOMMU_EFAILED);
    core_detach(setup.devices[1]);
    assert_int_equal(piommu_domain_sync(setup.domain, &gather), 0);
    core_close(setup.bench);
}

static void test_a_unit_that_cannot_be_stopped_keeps_the_gather_pending(void **state)
{
    for (unsigned int unit = 0; unit < UNITS; unit++) {
        struct setup setup = open_setup(state, UNITS, NULL);
        struct core_unit *bad = &setup.bench->units[unit];
        struct piommu_gather gather;
        struct piommu_id_info id;

        may(&setup, 0, 4, MEMORY, CORE_RW);
        core_map(setup.domain, BASE, MEMORY, page(4), CORE_RW);
        core_probe(setup.bench);
        piommu_gather_init(&gather);
        assert_int_equal(piommu_domain_unmap(setup.domain, BASE, page(4), &gather, NULL), 0);
        core_fail(bad, forgetting(&setup), 1, -PIOMMU_ETIMEDOUT, true);
        core_fail(bad, CORE_BLOCK_ID, 1, -PIOMMU_ETIMEDOUT, true);
        mock_refuse_stop(bad->mock, true);
        assert_int_equal(piommu_domain_sync(setup.domain, &gather), -PIOMMU_EFAILED);
        expect_failed_alone(&setup, unit);
        assert_int_equal(piommu_device_get_id(setup.devices[unit], 0, &id), 0);
        assert_int_equal(id.state, PIOMMU_ID_DOUBTFUL);
        for (unsigned int i = 0; i < UNITS; i++) {
            if (i != unit) {
                core_expect_nothing(setup.bench, FIRST_ID + i, BASE, page(4));
            }
        }
        assert_int_equal(piommu_group_detach(piommu_device_group(setup.devices[unit])),
                         -PIOMMU_EFAILED);
        assert_ptr_equal(domain_of(setup.devices[unit]), setup.domain);
        assert_int_equal(piommu_domain_sync(setup.domain, &gather), -PIOMMU_EFAILED);
        assert_true(gather.pending);
        mock_refuse_stop(bad->mock, false);
        core_detach(setup.devices[unit]);
        core_expect_nothing(setup.bench, FIRST_ID + unit, BASE, page(4));
        assert_int_equal(piommu_device_get_id(setup.devices[unit], 0, &id), 0);
        assert_int_equal(id.state, PIOMMU_ID_BLOCKED);
        assert_int_equal(piommu_domain_sync(setup.domain, &gather), 0);
        core_close(setup.bench);
    }
}

static void test_permissions_are_taken_away_by_all_others(void **state)
{
    for (unsigned int unit = 0; unit < UNITS; unit++) {
        struct setup setup = open_setup(state, UNITS, NULL);

        setup.bench->relaxed = true;
        may(&setup, 0, 4, MEMORY, CORE_RW);
        must(&setup, 4, 2, MEMORY_2, CORE_RW);
        core_map(setup.domain, BASE, MEMORY, page(4), CORE_RW);
        core_map(setup.domain, BASE + page(4), MEMORY_2, page(2), CORE_RW);
        setup.bench->relaxed = false;
        core_probe(setup.bench);
        core_fail(&setup.bench->units[unit], forgetting(&setup), 1, -PIOMMU_EIO, true);
        assert_int_equal(piommu_domain_protect(setup.domain, BASE, page(4), CORE_R, HOLE, NULL),
                         -PIOMMU_EFAILED);
        expect_failed_alone(&setup, unit);
        for (unsigned int i = 0; i < UNITS; i++) {
            /* The new permissions or none, but never again writing. */
            assert_int_equal(core_reached(setup.bench, FIRST_ID + i, BASE, true), CORE_NOTHING);
        }
        core_expect_nothing(setup.bench, FIRST_ID + unit, BASE, page(8));
        expect_all_but(&setup, unit, 4, 2, MEMORY_2, CORE_RW);
        core_close(setup.bench);
    }
}

static void test_a_cut_is_made_by_all_others(void **state)
{
    for (unsigned int unit = 0; unit < UNITS; unit++) {
        struct setup setup = open_setup(state, UNITS, NULL);

        may(&setup, 0, 11, MEMORY, CORE_RW);
        core_map(setup.domain, BASE, MEMORY, CORE_BLOCK, CORE_RW);
        core_probe(setup.bench);
        core_fail(&setup.bench->units[unit], forgetting(&setup), 1, -PIOMMU_EIO, true);
        assert_int_equal(piommu_domain_unmap_cut(setup.domain, BASE + page(2), page(3), HOLE, NULL),
                         -PIOMMU_EFAILED);
        expect_failed_alone(&setup, unit);
        expect_hole(&setup, 2, 3);
        core_expect_nothing(setup.bench, FIRST_ID + unit, BASE, CORE_BLOCK);
        core_close(setup.bench);
    }
}

/* ---- After a failure ---- */

static void test_the_others_go_on_when_the_failed_one_is_out(void **state)
{
    for (unsigned int unit = 0; unit < UNITS; unit++) {
        struct setup setup = open_setup(state, UNITS, NULL);
        struct piommu_gather gather;
        uint64_t unmapped;

        may(&setup, 0, 4, MEMORY, CORE_RW);
        may(&setup, 4, 2, MEMORY_2, CORE_R);
        core_map(setup.domain, BASE, MEMORY, page(4), CORE_RW);
        core_map(setup.domain, BASE + page(4), MEMORY_2, page(2), CORE_R);
        piommu_gather_init(&gather);
        assert_int_equal(piommu_domain_unmap(setup.domain, BASE, page(4), &gather, NULL), 0);
        core_fail(&setup.bench->units[unit], forgetting(&setup), 1, -PIOMMU_EIO, true);
        assert_int_equal(piommu_domain_sync(setup.domain, &gather), -PIOMMU_EFAILED);
        /* While its groups are in the domain, nothing can be added... */
        assert_int_equal(
            piommu_domain_map(setup.domain, BASE + page(8), MEMORY_3, page(2), CORE_RW),
            -PIOMMU_EFAILED);
        core_expect_hole(setup.domain, BASE + page(8), page(2));
        /* ...but taken out. */
        assert_int_equal(
            piommu_domain_unmap(setup.domain, BASE + page(4), page(2), &gather, &unmapped), 0);
        assert_int_equal(unmapped, page(2));
        assert_int_equal(piommu_domain_sync(setup.domain, &gather), -PIOMMU_EFAILED);
        expect_hole(&setup, 0, 8);
        core_detach(setup.devices[unit]);
        assert_int_equal(piommu_domain_sync(setup.domain, &gather), 0);
        may(&setup, 8, 2, MEMORY_3, CORE_RW);
        core_map(setup.domain, BASE + page(8), MEMORY_3, page(2), CORE_RW);
        expect_all_but(&setup, unit, 8, 2, MEMORY_3, CORE_RW);
        core_expect_nothing(setup.bench, FIRST_ID + unit, BASE + page(8), page(2));
        assert_int_equal(core_attach(setup.devices[unit], setup.domain), -PIOMMU_EFAILED);
        assert_null(domain_of(setup.devices[unit]));
        core_unmap(setup.domain, BASE + page(8), page(2));
        core_close(setup.bench);
    }
}

static void test_no_call_adds_or_changes_while_a_failed_instance_is_in(void **state)
{
    const struct piommu_segment segment = {MEMORY_3, CORE_PAGE};
    struct setup setup = open_setup(state, UNITS, NULL);
    struct piommu_domain *domain = setup.domain;
    const uint64_t iova = BASE + page(8);
    struct piommu_gather gather;
    uint64_t bytes;

    may(&setup, 0, 6, MEMORY, CORE_RW);
    core_map(domain, BASE, MEMORY, page(4), CORE_RW);
    core_map(domain, BASE + page(4), MEMORY + page(4), page(2), CORE_RW);
    piommu_gather_init(&gather);
    assert_int_equal(piommu_domain_unmap(domain, BASE, page(4), &gather, NULL), 0);
    core_fail(&setup.bench->units[1], forgetting(&setup), 1, -PIOMMU_EIO, true);
    assert_int_equal(piommu_domain_sync(domain, &gather), -PIOMMU_EFAILED);
    assert_int_equal(piommu_domain_map(domain, iova, MEMORY_3, page(1), CORE_RW), -PIOMMU_EFAILED);
    assert_int_equal(piommu_domain_map_list(domain, iova, &segment, 1, CORE_RW), -PIOMMU_EFAILED);
    assert_int_equal(piommu_domain_map_again(domain, iova, MEMORY_3, page(1), CORE_RW),
                     -PIOMMU_EFAILED);
    assert_int_equal(piommu_domain_map_some(domain, iova, MEMORY_3, page(1), CORE_RW, 1, &bytes),
                     -PIOMMU_EFAILED);
    assert_int_equal(bytes, 0);
    assert_int_equal(piommu_domain_replace(domain, iova, MEMORY_3, page(1), CORE_RW, HOLE, NULL),
                     -PIOMMU_EFAILED);
    assert_int_equal(piommu_domain_protect(domain, BASE + page(4), page(2), CORE_R, HOLE, NULL),
                     -PIOMMU_EFAILED);
    assert_int_equal(piommu_domain_unmap_cut(domain, BASE + page(4), page(2), HOLE, NULL),
                     -PIOMMU_EFAILED);
    core_expect_hole(domain, iova, page(1));
    expect_all_but(&setup, 1, 4, 2, MEMORY + page(4), CORE_RW);
    /* Unmapping and looking go on. */
    assert_int_equal(
        piommu_domain_unmap_some(domain, BASE + page(4), page(2), 100, &gather, &bytes, NULL), 0);
    core_detach(setup.devices[1]);
    assert_int_equal(piommu_domain_sync(domain, &gather), 0);
    expect_hole(&setup, 0, 10);
    core_close(setup.bench);
}

static void test_a_gather_serves_many_syncs(void **state)
{
    struct setup setup = open_setup(state, UNITS, NULL);
    struct piommu_gather gather;

    may(&setup, 0, 8, MEMORY, CORE_RW);
    piommu_gather_init(&gather);
    for (unsigned int i = 0; i < 20; i++) {
        const uint64_t syncs = core_statistics(setup.domain).syncs;

        core_map(setup.domain, BASE, MEMORY, page(2), CORE_RW);
        core_map(setup.domain, BASE + page(4), MEMORY + page(4), page(2 + i % 3), CORE_RW);
        assert_int_equal(piommu_domain_unmap(setup.domain, BASE, page(2), &gather, NULL), 0);
        if (i % 2 == 0) {
            assert_int_equal(piommu_domain_sync(setup.domain, &gather), 0);
            assert_false(gather.pending);
            core_expect_nothing(setup.bench, FIRST_ID, BASE, page(2));
        }
        assert_int_equal(piommu_domain_unmap(setup.domain, BASE + page(4), page(4), &gather, NULL),
                         0);
        assert_true(gather.pending);
        assert_int_equal(piommu_domain_sync(setup.domain, &gather), 0);
        assert_false(gather.pending);
        expect_hole(&setup, 0, 8);
        assert_int_equal(core_statistics(setup.domain).syncs, syncs + (i % 2 == 0 ? 2 : 1));
        /* Empty, it is nothing to do. */
        assert_int_equal(piommu_domain_sync(setup.domain, &gather), 0);
        assert_int_equal(core_statistics(setup.domain).syncs, syncs + (i % 2 == 0 ? 2 : 1));
    }
    core_close(setup.bench);
}

/* Whatever a unit says when it does not take again what was taken out. */
static void test_what_cannot_be_mapped_again_is_gone_everywhere(void **state)
{
    static const int errors[] = {-PIOMMU_EIO, -PIOMMU_ENOMEM, -PIOMMU_EOPNOTSUPP,
                                 -PIOMMU_ETIMEDOUT};

    for (unsigned int unit = 0; unit < UNITS; unit++) {
        for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
            for (unsigned int call = 0; call < 3; call++) {
                struct setup setup = open_setup(state, UNITS, NULL);
                struct piommu_domain *domain = setup.domain;
                const bool lost = errors[i] == -PIOMMU_ETIMEDOUT;
                int error;

                may(&setup, 0, 8, MEMORY, CORE_RW);
                may(&setup, 0, 8, MEMORY_2, CORE_RW);
                core_map(domain, BASE, MEMORY, page(8), CORE_RW);
                core_fail(&setup.bench->units[unit], CORE_MAP, 1, errors[i], false);
                if (call == 0) {
                    error =
                        piommu_domain_replace(domain, BASE, MEMORY_2, page(8), CORE_RW, HOLE, NULL);
                } else if (call == 1) {
                    error = piommu_domain_protect(domain, BASE, page(8), CORE_R, HOLE, NULL);
                } else {
                    error = piommu_domain_unmap_cut(domain, BASE + page(2), page(2), HOLE, NULL);
                }
                assert_int_equal(error, lost ? -PIOMMU_EFAILED : -PIOMMU_EIO);
                expect_failed_alone(&setup, lost ? unit : UNITS);
                if (call == 2) {
                    expect_hole(&setup, 2, 2);
                } else if (!lost || call == 0) {
                    expect_hole(&setup, 0, 8);
                }
                core_expect_nothing(setup.bench, FIRST_ID + unit, BASE, page(8));
                core_close(setup.bench);
            }
        }
    }
}

static void test_a_paging_domain_has_a_context_of_every_instance(void **state)
{
    for (unsigned int unit = 0; unit < UNITS; unit++) {
        struct core_bench *bench = core_open(core_case_of(state), NULL);
        const struct piommu_domain_config config = core_config(bench, PIOMMU_DOMAIN_PAGING);
        uint64_t before = fake_os_bytes_outstanding(bench->os);
        struct piommu_domain *domain = NULL;

        core_fail(&bench->units[unit], CORE_DOMAIN_CREATE, 1, -PIOMMU_ENOSPC, false);
        assert_int_equal(piommu_domain_create(&config, &domain), -PIOMMU_ENOSPC);
        assert_null(domain);
        assert_int_equal(fake_os_bytes_outstanding(bench->os), before);
        assert_int_equal(piommu_domain_create(&config, &domain), 0);
        assert_int_equal(piommu_domain_destroy(domain), 0);
        assert_int_equal(fake_os_bytes_outstanding(bench->os), before);
        core_close(bench);
    }
}

static void test_a_failed_instance_does_not_spoil_other_domains_of_the_others(void **state)
{
    struct setup setup = open_setup(state, UNITS, NULL);
    struct piommu_domain *other = core_paging(setup.bench);
    struct piommu_device *bystander = core_add_device(setup.bench, 0, FIRST_ID + 5, NULL, 0, 0);

    may(&setup, 0, 4, MEMORY, CORE_RW);
    core_map(setup.domain, BASE, MEMORY, page(4), CORE_RW);
    core_may(setup.bench, FIRST_ID + 5, BASE + page(6), MEMORY_2, page(2), CORE_RW);
    assert_int_equal(core_attach(bystander, other), 0);
    core_fail(&setup.bench->units[2], forgetting(&setup), 1, -PIOMMU_EIO, true);
    assert_int_equal(piommu_domain_unmap_cut(setup.domain, BASE, page(4), HOLE, NULL),
                     -PIOMMU_EFAILED);
    core_map(other, BASE + page(6), MEMORY_2, page(2), CORE_RW);
    core_expect_mapped(setup.bench, FIRST_ID + 5, BASE + page(6), MEMORY_2, page(2), CORE_RW);
    core_unmap(other, BASE + page(6), page(2));
    core_close(setup.bench);
}

/* ---- piommu_domain_invalidate ---- */

static void test_an_invalidation_reaches_every_instance(void **state)
{
    struct setup setup = open_setup(state, UNITS, NULL);
    unsigned int before[UNITS];

    must(&setup, 0, 4, MEMORY, CORE_RW);
    core_map(setup.domain, BASE, MEMORY, page(4), CORE_RW);
    for (unsigned int i = 0; i < UNITS; i++) {
        before[i] = setup.bench->units[i].calls[CORE_INVALIDATE];
    }
    assert_int_equal(piommu_domain_invalidate(setup.domain, BASE + 3, BASE + 3), 0);
    for (unsigned int i = 0; i < UNITS; i++) {
        assert_true(setup.bench->units[i].calls[CORE_INVALIDATE] > before[i]);
    }
    assert_int_equal(piommu_domain_invalidate(setup.domain, 0, UINT64_MAX), 0);
    assert_int_equal(piommu_domain_invalidate(setup.domain, BASE, BASE - 1), -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_invalidate(NULL, 0, BASE), -PIOMMU_EINVAL);
    expect_all_but(&setup, UNITS, 0, 4, MEMORY, CORE_RW);
    core_close(setup.bench);
}

static void test_an_invalidation_that_one_fails_is_done_by_all_others(void **state)
{
    for (unsigned int unit = 0; unit < UNITS; unit++) {
        struct setup setup = open_setup(state, UNITS, NULL);
        unsigned int before[UNITS];

        must(&setup, 0, 4, MEMORY, CORE_RW);
        core_map(setup.domain, BASE, MEMORY, page(4), CORE_RW);
        for (unsigned int i = 0; i < UNITS; i++) {
            before[i] = setup.bench->units[i].calls[CORE_INVALIDATE];
        }
        core_fail(&setup.bench->units[unit], CORE_INVALIDATE, 1, -PIOMMU_EIO, true);
        assert_int_equal(piommu_domain_invalidate(setup.domain, BASE, BASE), -PIOMMU_EFAILED);
        for (unsigned int i = 0; i < UNITS; i++) {
            assert_true(setup.bench->units[i].calls[CORE_INVALIDATE] > before[i]);
        }
        expect_failed_alone(&setup, unit);
        expect_all_but(&setup, unit, 0, 4, MEMORY, CORE_RW);
        assert_int_equal(piommu_domain_invalidate(setup.domain, BASE, BASE), -PIOMMU_EFAILED);
        core_detach(setup.devices[unit]);
        assert_int_equal(piommu_domain_invalidate(setup.domain, BASE, BASE), 0);
        core_close(setup.bench);
    }
}

static void test_requests_cannot_be_invalidated(void **state)
{
    struct setup setup = open_setup(state, UNITS, NULL);

    assert_int_equal(piommu_domain_invalidate(setup.domain, 0, TOP - 1), -PIOMMU_EINVAL);
    core_close(setup.bench);
}

static void test_domains_without_mappings_cannot_be_invalidated(void **state)
{
    struct setup setup = open_setup(state, UNITS, NULL);
    const struct piommu_domain_config config = core_config(setup.bench, PIOMMU_DOMAIN_IDENTITY);
    struct piommu_domain *identity = core_create(setup.bench, &config);

    assert_int_equal(piommu_domain_invalidate(identity, 0, TOP - 1), -PIOMMU_EINVAL);
    core_close(setup.bench);
}

/* ---- Joining ---- */

static void test_an_instance_that_joins_gets_all_that_is_mapped(void **state)
{
    struct setup setup = open_setup(state, 1, NULL);

    setup.bench->relaxed = true;
    must(&setup, 0, 3, MEMORY, CORE_RW);
    must(&setup, 5, 1, MEMORY_2, CORE_R);
    core_map(setup.domain, BASE, MEMORY, page(3), CORE_RW);
    core_map(setup.domain, BASE + page(5), MEMORY_2, page(1), CORE_R);
    core_map(setup.domain, BASE + CORE_BLOCK, MEMORY_3, CORE_BLOCK, CORE_RW);
    setup.bench->relaxed = false;
    for (unsigned int unit = 1; unit < UNITS; unit++) {
        assert_int_equal(core_attach(setup.devices[unit], setup.domain), 0);
        core_expect_mapped(setup.bench, FIRST_ID + unit, BASE, MEMORY, page(3), CORE_RW);
        core_expect_mapped(setup.bench, FIRST_ID + unit, BASE + page(5), MEMORY_2, page(1), CORE_R);
        core_expect_mapped(setup.bench, FIRST_ID + unit, BASE + CORE_BLOCK, MEMORY_3, CORE_BLOCK,
                           CORE_RW);
    }
    assert_int_equal(core_statistics(setup.domain).endpoints, UNITS);
    may(&setup, 8, 1, MEMORY_2, CORE_RW);
    core_map(setup.domain, BASE + page(8), MEMORY_2, page(1), CORE_RW);
    expect_all_but(&setup, UNITS, 8, 1, MEMORY_2, CORE_RW);
    core_forget_rules(setup.bench);
    may(&setup, 0, 3, MEMORY, CORE_RW);
    must(&setup, 5, 1, MEMORY_2, CORE_R);
    must(&setup, 8, 1, MEMORY_2, CORE_RW);
    core_unmap(setup.domain, BASE, page(3));
    expect_hole(&setup, 0, 3);
    core_close(setup.bench);
}

static void test_what_waits_for_a_sync_is_not_given_to_those_that_join(void **state)
{
    struct setup setup = open_setup(state, 1, NULL);
    struct piommu_gather gather;

    core_may(setup.bench, FIRST_ID, BASE, MEMORY, page(3), CORE_RW);
    core_map(setup.domain, BASE, MEMORY, page(3), CORE_RW);
    may(&setup, 5, 1, MEMORY_2, CORE_R);
    core_map(setup.domain, BASE + page(5), MEMORY_2, page(1), CORE_R);
    must(&setup, 5, 1, MEMORY_2, CORE_R);
    piommu_gather_init(&gather);
    assert_int_equal(piommu_domain_unmap(setup.domain, BASE, page(3), &gather, NULL), 0);
    assert_int_equal(core_attach(setup.devices[1], setup.domain), 0);
    core_expect_nothing(setup.bench, FIRST_ID + 1, BASE, page(3));
    assert_int_equal(piommu_domain_sync(setup.domain, &gather), 0);
    core_expect_nothing(setup.bench, FIRST_ID, BASE, page(3));
    core_close(setup.bench);
}

static void test_joining_that_hardware_refuses_changes_nothing(void **state)
{
    static const enum core_call calls[] = {CORE_DOMAIN_CREATE, CORE_ATTACH, CORE_MAP};

    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        const int error = calls[i] == CORE_DOMAIN_CREATE ? -PIOMMU_ENOSPC : -PIOMMU_EIO;
        struct setup setup = open_setup(state, 1, NULL);
        struct core_unit *unit = &setup.bench->units[1];

        must(&setup, 0, 3, MEMORY, CORE_RW);
        core_map(setup.domain, BASE, MEMORY, page(3), CORE_RW);
        if (calls[i] == CORE_MAP && core_has_tables(setup.bench)) {
            core_close(setup.bench);
            continue;
        }
        core_fail(unit, calls[i], 1, error, false);
        assert_int_equal(core_attach(setup.devices[1], setup.domain), error);
        assert_null(domain_of(setup.devices[1]));
        core_expect_nothing(setup.bench, FIRST_ID + 1, BASE, page(3));
        core_expect_mapped(setup.bench, FIRST_ID, BASE, MEMORY, page(3), CORE_RW);
        assert_int_equal(core_attach(setup.devices[1], setup.domain), 0);
        core_expect_mapped(setup.bench, FIRST_ID + 1, BASE, MEMORY, page(3), CORE_RW);
        core_close(setup.bench);
    }
}

static void test_joining_without_memory_changes_nothing(void **state)
{
    struct setup setup = open_setup(state, 1, NULL);
    int error = -PIOMMU_ENOMEM;

    must(&setup, 0, 3, MEMORY, CORE_RW);
    core_map(setup.domain, BASE, MEMORY, page(3), CORE_RW);
    for (unsigned int nth = 1; error != 0; nth++) {
        fake_os_fail_call(setup.bench->os, nth, false);
        error = core_attach(setup.devices[1], setup.domain);
        fake_os_fail_call(setup.bench->os, 0, false);
        if (error != 0) {
            assert_int_equal(error, -PIOMMU_ENOMEM);
            assert_null(domain_of(setup.devices[1]));
            core_expect_nothing(setup.bench, FIRST_ID + 1, BASE, page(3));
        }
    }
    core_expect_mapped(setup.bench, FIRST_ID + 1, BASE, MEMORY, page(3), CORE_RW);
    core_close(setup.bench);
}

static void second_is_narrow(unsigned int unit, struct piommu_backend_info *info)
{
    if (unit == 1) {
        info->aperture.last = (1ull << 38) - 1;
        info->table.input_bits = 38;
    }
}

static void test_an_instance_with_a_smaller_aperture_may_join_if_nothing_is_beyond(void **state)
{
    const uint64_t beyond = 1ull << 38;
    struct setup setup = open_setup(state, 1, second_is_narrow);

    setup.bench->relaxed = true;
    must(&setup, 0, 1, MEMORY, CORE_RW);
    core_map(setup.domain, beyond, MEMORY, page(1), CORE_RW);
    core_map(setup.domain, BASE, MEMORY, page(1), CORE_RW);
    setup.bench->relaxed = false;
    assert_int_equal(core_attach(setup.devices[1], setup.domain), -PIOMMU_ERANGE);
    assert_null(domain_of(setup.devices[1]));
    assert_int_equal(core_info(setup.domain).aperture.last, TOP - 1);
    core_unmap(setup.domain, beyond, page(1));
    assert_int_equal(core_attach(setup.devices[1], setup.domain), 0);
    core_expect_mapped(setup.bench, FIRST_ID + 1, BASE, MEMORY, page(1), CORE_RW);
    assert_int_equal(core_info(setup.domain).aperture.last, beyond - 1);
    assert_int_equal(piommu_domain_map(setup.domain, beyond, MEMORY, page(1), CORE_RW),
                     -PIOMMU_ERANGE);
    core_map(setup.domain, beyond - page(1), MEMORY, page(1), CORE_RW);
    /* When it has left it limits nothing any more. */
    core_detach(setup.devices[1]);
    assert_int_equal(core_info(setup.domain).aperture.last, TOP - 1);
    core_map(setup.domain, beyond, MEMORY, page(1), CORE_RW);
    assert_int_equal(core_attach(setup.devices[1], setup.domain), -PIOMMU_ERANGE);
    core_close(setup.bench);
}

static void second_begins_higher(unsigned int unit, struct piommu_backend_info *info)
{
    if (unit == 1) {
        info->aperture.first = BASE + page(2);
        info->output_bits = 36;
    }
}

static void test_what_reaches_just_to_the_limits_of_an_instance_lets_it_join(void **state)
{
    struct setup setup = open_setup(state, 1, second_begins_higher);
    const uint64_t highest = (1ull << 36) - page(2);

    may(&setup, 0, 11, MEMORY, CORE_RW);
    may(&setup, 4, 2, highest, CORE_R);
    core_map(setup.domain, BASE + page(1), MEMORY + page(1), page(1), CORE_RW);
    core_map(setup.domain, BASE + page(2), MEMORY + page(2), page(1), CORE_RW);
    core_map(setup.domain, BASE + page(4), highest, page(2), CORE_R);
    core_map(setup.domain, TOP - page(1), MEMORY, page(1), CORE_RW);
    assert_int_equal(core_attach(setup.devices[1], setup.domain), -PIOMMU_ERANGE);
    assert_int_equal(core_info(setup.domain).aperture.first, 0);
    core_unmap(setup.domain, BASE + page(1), page(1));
    assert_int_equal(core_attach(setup.devices[1], setup.domain), 0);
    core_expect_mapped(setup.bench, FIRST_ID + 1, BASE + page(4), highest, page(2), CORE_R);
    core_expect_mapped(setup.bench, FIRST_ID + 1, TOP - page(1), MEMORY, page(1), CORE_RW);
    assert_int_equal(core_info(setup.domain).aperture.first, BASE + page(2));
    assert_int_equal(piommu_domain_map(setup.domain, BASE + page(1), MEMORY, page(1), CORE_RW),
                     -PIOMMU_ERANGE);
    core_detach(setup.devices[1]);
    assert_int_equal(core_info(setup.domain).aperture.first, 0);
    core_map(setup.domain, BASE + page(1), MEMORY + page(1), page(1), CORE_RW);
    core_close(setup.bench);
}

static void test_an_instance_that_cannot_walk_the_tables_may_not_join(void **state)
{
    struct setup setup = open_setup(state, 1, second_is_narrow);

    must(&setup, 0, 1, MEMORY, CORE_RW);
    core_map(setup.domain, BASE, MEMORY, page(1), CORE_RW);
    assert_int_equal(core_attach(setup.devices[1], setup.domain), -PIOMMU_EMIXED);
    assert_null(domain_of(setup.devices[1]));
    core_expect_nothing(setup.bench, FIRST_ID + 1, BASE, page(1));
    assert_int_equal(core_attach(setup.devices[2], setup.domain), 0);
    core_close(setup.bench);
}

static void test_a_domain_has_what_all_its_instances_have(void **state)
{
    struct setup setup = open_setup(state, UNITS, second_is_narrow);

    assert_int_equal(core_info(setup.domain).aperture.first, 0);
    assert_int_equal(core_info(setup.domain).aperture.last, (1ull << 38) - 1);
    assert_int_equal(piommu_domain_map(setup.domain, 1ull << 38, MEMORY, page(1), CORE_RW),
                     -PIOMMU_ERANGE);
    core_map(setup.domain, (1ull << 38) - page(1), MEMORY, page(1), CORE_RW);
    for (unsigned int i = 0; i < UNITS; i++) {
        core_expect_mapped(setup.bench, FIRST_ID + i, (1ull << 38) - page(1), MEMORY, page(1),
                           CORE_RW);
    }
    core_close(setup.bench);
}

static void second_only_reads(unsigned int unit, struct piommu_backend_info *info)
{
    if (unit == 1) {
        info->prot = CORE_R;
    }
}

static void test_an_instance_joins_if_it_can_express_all_permissions(void **state)
{
    struct setup setup = open_setup(state, 1, second_only_reads);

    may(&setup, 0, 2, MEMORY, CORE_RW);
    core_map(setup.domain, BASE, MEMORY, page(2), CORE_RW);
    assert_int_equal(core_attach(setup.devices[1], setup.domain), -PIOMMU_EOPNOTSUPP);
    assert_null(domain_of(setup.devices[1]));
    core_expect_mapped(setup.bench, FIRST_ID, BASE, MEMORY, page(2), CORE_RW);
    assert_int_equal(piommu_domain_protect(setup.domain, BASE, page(2), CORE_R, HOLE, NULL), 0);
    assert_int_equal(core_attach(setup.devices[1], setup.domain), 0);
    core_expect_mapped(setup.bench, FIRST_ID + 1, BASE, MEMORY, page(2), CORE_R);
    assert_int_equal(core_info(setup.domain).prot & CORE_RW, CORE_R);
    assert_int_equal(piommu_domain_map(setup.domain, BASE + page(4), MEMORY, page(1), CORE_RW),
                     -PIOMMU_EOPNOTSUPP);
    assert_int_equal(piommu_domain_protect(setup.domain, BASE, page(2), CORE_RW, HOLE, NULL),
                     -PIOMMU_EOPNOTSUPP);
    core_detach(setup.devices[1]);
    assert_int_equal(piommu_domain_protect(setup.domain, BASE, page(2), CORE_RW, HOLE, NULL), 0);
    core_expect_mapped(setup.bench, FIRST_ID, BASE, MEMORY, page(2), CORE_RW);
    core_close(setup.bench);
}

static void second_is_coarse(unsigned int unit, struct piommu_backend_info *info)
{
    if (unit == 1) {
        info->leaf_sizes = 0x40210000;
        info->output_bits = 36;
    }
}

static void test_an_instance_joins_if_all_lies_on_its_granule(void **state)
{
    struct setup setup = open_setup(state, 1, second_is_coarse);

    may(&setup, 0, 16, MEMORY, CORE_RW);
    core_map(setup.domain, BASE, MEMORY, page(16), CORE_RW);
    core_map(setup.domain, BASE + page(32), MEMORY, page(1), CORE_RW);
    assert_int_equal(core_attach(setup.devices[1], setup.domain), -PIOMMU_ERANGE);
    core_unmap(setup.domain, BASE + page(32), page(1));
    core_map(setup.domain, BASE + page(32), MEMORY + page(1), page(16), CORE_RW);
    assert_int_equal(core_attach(setup.devices[1], setup.domain), -PIOMMU_ERANGE);
    core_unmap(setup.domain, BASE + page(32), page(16));
    core_map(setup.domain, BASE + page(32), 1ull << 36, page(16), CORE_RW);
    assert_int_equal(core_attach(setup.devices[1], setup.domain), -PIOMMU_ERANGE);
    core_unmap(setup.domain, BASE + page(32), page(16));
    assert_null(domain_of(setup.devices[1]));
    assert_int_equal(core_info(setup.domain).granule, CORE_PAGE);
    assert_int_equal(core_attach(setup.devices[1], setup.domain), 0);
    core_expect_mapped(setup.bench, FIRST_ID + 1, BASE, MEMORY, page(16), CORE_RW);
    assert_int_equal(core_info(setup.domain).granule, page(16));
    assert_int_equal(piommu_domain_map(setup.domain, BASE + page(32), MEMORY, page(1), CORE_RW),
                     -PIOMMU_EINVAL);
    assert_int_equal(
        piommu_domain_map(setup.domain, BASE + page(32), 1ull << 36, page(16), CORE_RW),
        -PIOMMU_ERANGE);
    core_detach(setup.devices[1]);
    assert_int_equal(core_info(setup.domain).granule, CORE_PAGE);
    core_map(setup.domain, BASE + page(32), 1ull << 36, page(1), CORE_RW);
    core_close(setup.bench);
}

/* ---- Leaving ---- */

static void test_an_instance_that_has_left_is_not_told(void **state)
{
    struct setup setup = open_setup(state, UNITS, NULL);
    unsigned int maps;

    must(&setup, 0, 3, MEMORY, CORE_RW);
    core_map(setup.domain, BASE, MEMORY, page(3), CORE_RW);
    core_detach(setup.devices[1]);
    core_expect_nothing(setup.bench, FIRST_ID + 1, BASE, page(3));
    maps = setup.bench->units[1].calls[CORE_MAP];
    may(&setup, 4, 1, MEMORY_2, CORE_RW);
    core_map(setup.domain, BASE + page(4), MEMORY_2, page(1), CORE_RW);
    assert_int_equal(setup.bench->units[1].calls[CORE_MAP], maps);
    core_expect_nothing(setup.bench, FIRST_ID + 1, BASE, page(8));
    assert_int_equal(core_statistics(setup.domain).endpoints, UNITS - 1);
    core_close(setup.bench);
}

static void test_what_changed_meanwhile_is_so_when_an_instance_comes_back(void **state)
{
    for (unsigned int unit = 0; unit < UNITS; unit++) {
        struct setup setup = open_setup(state, UNITS, NULL);
        const uint32_t id = FIRST_ID + unit;

        must(&setup, 0, 1, MEMORY, CORE_RW);
        may(&setup, 1, 3, MEMORY + page(1), CORE_RW);
        may(&setup, 1, 1, MEMORY_2, CORE_R);
        core_map(setup.domain, BASE, MEMORY, page(4), CORE_RW);
        core_probe(setup.bench);
        core_detach(setup.devices[unit]);
        core_forget_rules(setup.bench);
        may(&setup, 0, 4, MEMORY, CORE_RW);
        may(&setup, 1, 1, MEMORY_2, CORE_R);
        /* What that unit has cached must not come back with it. */
        core_unmap(setup.domain, BASE, page(4));
        core_map(setup.domain, BASE + page(1), MEMORY_2, page(1), CORE_R);
        core_forget_rules(setup.bench);
        may(&setup, 1, 1, MEMORY_2, CORE_R);
        assert_int_equal(core_attach(setup.devices[unit], setup.domain), 0);
        core_expect_nothing(setup.bench, id, BASE, page(1));
        core_expect_mapped(setup.bench, id, BASE + page(1), MEMORY_2, page(1), CORE_R);
        core_expect_nothing(setup.bench, id, BASE + page(2), page(2));
        core_close(setup.bench);
    }
}

static void test_a_domain_outlives_the_attachments_of_all_instances(void **state)
{
    struct setup setup = open_setup(state, UNITS, NULL);

    must(&setup, 0, 4, MEMORY, CORE_RW);
    core_map(setup.domain, BASE, MEMORY, page(4), CORE_RW);
    for (unsigned int i = 0; i < UNITS; i++) {
        core_detach(setup.devices[i]);
    }
    core_expect_held(setup.domain, BASE, MEMORY, page(4), CORE_RW);
    for (unsigned int i = UNITS; i-- > 0;) {
        assert_int_equal(core_attach(setup.devices[i], setup.domain), 0);
    }
    expect_all_but(&setup, UNITS, 0, 4, MEMORY, CORE_RW);
    core_close(setup.bench);
}

/* ---- Groups over several instances ---- */

static void test_a_group_over_two_instances_enters_both_or_none(void **state)
{
    for (unsigned int unit = 0; unit < 2; unit++) {
        struct setup setup = open_setup(state, 1, NULL);
        struct piommu_device *first = core_add_device(setup.bench, 0, FIRST_ID + 5, NULL, 0, 9);
        struct piommu_device *second = core_add_device(setup.bench, 1, FIRST_ID + 6, NULL, 0, 9);

        must(&setup, 0, 4, MEMORY, CORE_RW);
        core_map(setup.domain, BASE, MEMORY, page(4), CORE_RW);
        core_fail(&setup.bench->units[unit], CORE_ATTACH, 1, -PIOMMU_EIO, false);
        assert_int_equal(core_attach(first, setup.domain), -PIOMMU_EIO);
        assert_null(domain_of(first));
        assert_null(domain_of(second));
        core_expect_nothing(setup.bench, FIRST_ID + 5, BASE, page(4));
        core_expect_nothing(setup.bench, FIRST_ID + 6, BASE, page(4));
        assert_int_equal(core_attach(second, setup.domain), 0);
        core_expect_mapped(setup.bench, FIRST_ID + 5, BASE, MEMORY, page(4), CORE_RW);
        core_expect_mapped(setup.bench, FIRST_ID + 6, BASE, MEMORY, page(4), CORE_RW);
        core_detach(first);
        core_expect_nothing(setup.bench, FIRST_ID + 6, BASE, page(4));
        core_close(setup.bench);
    }
}

/* ---- At random ---- */

#define PAGES 10u

/* A page as the owner knows it; without permissions it is a hole. */
struct page {
    uint64_t physical;
    piommu_prot prot;
};

enum action {
    ACTION_MAP,
    ACTION_MAP_AGAIN,
    ACTION_UNMAP,
    ACTION_CUT,
    ACTION_PROTECT,
    ACTION_REPLACE,
    ACTIONS,
};

struct game {
    struct setup setup;
    struct page pages[PAGES];
    bool inside[UNITS];
    unsigned int done;
    unsigned int refused;
};

static uint64_t random_state;

static unsigned int below(unsigned int limit)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (unsigned int)((random_state >> 16) % limit);
}

/* What the domain says is what every unit does, and what the owner knows. */
static void compare(const struct game *game)
{
    for (unsigned int i = 0; i < PAGES; i++) {
        const struct page *page_is = &game->pages[i];

        if (page_is->prot != 0) {
            core_expect_held(game->setup.domain, BASE + page(i), page_is->physical, page(1),
                             page_is->prot);
        } else {
            core_expect_hole(game->setup.domain, BASE + page(i), page(1));
        }
        for (unsigned int j = 0; j < UNITS; j++) {
            core_expect_mapped(game->setup.bench, FIRST_ID + j, BASE + page(i), page_is->physical,
                               page(1), game->inside[j] ? page_is->prot : 0);
        }
    }
}

static int act(struct game *game, enum action action, unsigned int first, unsigned int count,
               const struct page *target)
{
    struct piommu_domain *domain = game->setup.domain;
    const uint64_t iova = BASE + page(first);
    const uint64_t size = page(count);
    struct piommu_gather gather;
    int error;

    switch (action) {
    case ACTION_MAP:
        return piommu_domain_map(domain, iova, target->physical, size, target->prot);
    case ACTION_MAP_AGAIN:
        return piommu_domain_map_again(domain, iova, target->physical, size, target->prot);
    case ACTION_CUT:
        return piommu_domain_unmap_cut(domain, iova, size, HOLE, NULL);
    case ACTION_PROTECT:
        return piommu_domain_protect(domain, iova, size, target->prot, HOLE, NULL);
    case ACTION_REPLACE:
        return piommu_domain_replace(domain, iova, target->physical, size, target->prot, HOLE,
                                     NULL);
    case ACTION_UNMAP:
    case ACTIONS:
        break;
    }
    piommu_gather_init(&gather);
    error = piommu_domain_unmap(domain, iova, size, &gather, NULL);
    assert_int_equal(gather.pending, error == 0);
    assert_int_equal(piommu_domain_sync(domain, &gather), 0);
    return error;
}

/* Is anything mapped in the range that is not as a call wants it? */
static bool is_other(const struct game *game, unsigned int first, unsigned int count,
                     const struct page *target)
{
    for (unsigned int i = first; i < first + count; i++) {
        const struct page *page_is = &game->pages[i];

        if (page_is->prot != 0 && (page_is->prot != target->prot ||
                                   page_is->physical != target->physical + page(i - first))) {
            return true;
        }
    }
    return false;
}

/* The error that has to come of what is mapped; cuts, which only requests refuse, aside. */
static int foresee(const struct game *game, enum action action, unsigned int first,
                   unsigned int count, const struct page *target)
{
    bool any = false;
    bool other = false;

    for (unsigned int i = first; i < first + count; i++) {
        const struct page *page_is = &game->pages[i];

        any = any || page_is->prot != 0;
        other = other ||
                (page_is->prot != 0 && (page_is->prot != target->prot ||
                                        page_is->physical != target->physical + page(i - first)));
    }
    switch (action) {
    case ACTION_MAP:
        return any ? -PIOMMU_EEXIST : 0;
    case ACTION_MAP_AGAIN:
        return is_other(game, first, count, target) ? -PIOMMU_EEXIST : 0;
    case ACTION_REPLACE:
        return 0;
    default:
        return any ? 0 : -PIOMMU_ENOENT;
    }
}

static void note(struct game *game, enum action action, unsigned int first, unsigned int count,
                 const struct page *target)
{
    for (unsigned int i = first; i < first + count; i++) {
        struct page *page_is = &game->pages[i];

        if (action == ACTION_UNMAP || action == ACTION_CUT) {
            page_is->prot = 0;
        } else if (action == ACTION_PROTECT) {
            page_is->prot = page_is->prot != 0 ? target->prot : 0;
        } else {
            page_is->physical = target->physical + page(i - first);
            page_is->prot = target->prot;
        }
    }
}

/*
 * Hardware has refused to take again what was taken out, if anything was: the range is empty, and
 * what stays of a mapping that was cut may be gone as well.
 */
static void note_refusal(struct game *game, enum action action, unsigned int first,
                         unsigned int count, const struct page *target)
{
    if (action == ACTION_MAP || action == ACTION_MAP_AGAIN ||
        (action == ACTION_REPLACE && !is_other(game, first, count, target))) {
        return;
    }
    for (unsigned int i = 0; i < PAGES; i++) {
        struct piommu_translation result;

        if (i >= first && i < first + count) {
            game->pages[i].prot = 0;
        } else if (action != ACTION_PROTECT &&
                   piommu_domain_lookup(game->setup.domain, BASE + page(i), &result) != 0) {
            game->pages[i].prot = 0;
        }
    }
}

/* What is reached before and after, and what has to be all the time. */
static void allow(const struct game *game, enum action action, unsigned int first,
                  unsigned int count, const struct page *target)
{
    core_forget_rules(game->setup.bench);
    for (unsigned int i = 0; i < PAGES; i++) {
        const struct page *page_is = &game->pages[i];
        const bool stays =
            i < first || i >= first + count || action == ACTION_MAP || action == ACTION_MAP_AGAIN;

        if (page_is->prot == 0) {
            continue;
        }
        may(&game->setup, i, 1, page_is->physical, page_is->prot);
        if (stays && action != ACTION_CUT && action != ACTION_REPLACE) {
            must(&game->setup, i, 1, page_is->physical, page_is->prot);
        }
        if (action == ACTION_PROTECT && !stays) {
            may(&game->setup, i, 1, page_is->physical, target->prot);
        }
    }
    if (action == ACTION_MAP || action == ACTION_MAP_AGAIN || action == ACTION_REPLACE) {
        may(&game->setup, first, count, target->physical, target->prot);
    }
}

static void change(struct game *game)
{
    const enum action action = (enum action)below(ACTIONS);
    const unsigned int first = below(PAGES);
    const unsigned int count = 1 + below(PAGES - first);
    struct page target = {MEMORY + below(4000) * CORE_PAGE, below(2) == 0 ? CORE_R : CORE_RW};
    int expected;
    int error;

    if (game->pages[first].prot != 0 && below(2) == 0) {
        target = game->pages[first];
    }
    expected = foresee(game, action, first, count, &target);
    allow(game, action, first, count, &target);
    if (below(3) == 0) {
        core_fail(&game->setup.bench->units[below(UNITS)], CORE_MAP, 1 + below(2), -PIOMMU_EIO,
                  false);
    }
    error = act(game, action, first, count, &target);
    for (unsigned int i = 0; i < UNITS; i++) {
        core_fail_nothing(&game->setup.bench->units[i]);
    }
    if (error == -PIOMMU_ECUT) {
        assert_false(core_has_tables(game->setup.bench));
        assert_true(action == ACTION_UNMAP || action == ACTION_PROTECT);
    } else if (error == -PIOMMU_EIO) {
        assert_int_equal(expected, 0);
        note_refusal(game, action, first, count, &target);
        game->refused++;
    } else {
        assert_int_equal(error, expected);
        if (error == 0) {
            note(game, action, first, count, &target);
            game->done++;
        }
    }
}

static void come_or_go(struct game *game)
{
    const unsigned int number = below(UNITS);
    struct core_unit *unit = &game->setup.bench->units[number];
    int error;

    allow(game, ACTIONS, PAGES, 0, NULL);
    if (game->inside[number]) {
        core_detach(game->setup.devices[number]);
        game->inside[number] = false;
        return;
    }
    if (below(3) == 0) {
        core_fail(unit, below(2) == 0 ? CORE_ATTACH : CORE_MAP, 1, -PIOMMU_EIO, false);
    }
    error = core_attach(game->setup.devices[number], game->setup.domain);
    core_fail_nothing(unit);
    assert_true(error == 0 || error == -PIOMMU_EIO);
    game->inside[number] = error == 0;
}

static void test_refusals_and_changes_in_any_order_leave_all_alike(void **state)
{
    const char *seed = getenv("PIOMMU_RANDOM_SEED");
    struct game game = {.setup = open_setup(state, 1, NULL), .inside = {true}};

    random_state = seed != NULL ? strtoull(seed, NULL, 10) | 1 : 0xd1342543de82ef95ull;
    print_message("PIOMMU_RANDOM_SEED=%" PRIu64 "\n", random_state);
    for (unsigned int i = 0; i < 4000; i++) {
        if (below(6) == 0) {
            come_or_go(&game);
        } else {
            change(&game);
        }
        compare(&game);
    }
    assert_true(game.done > 800);
    assert_true(core_has_tables(game.setup.bench) || game.refused > 50);
    core_close(game.setup.bench);
}

#define FOR_TABLES(function)   CORE_TEST(function, " (tables)", 1)
#define FOR_REQUESTS(function) CORE_TEST(function, " (requests)", 3)
#define FOR_BOTH(function)     FOR_TABLES(function), FOR_REQUESTS(function)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FOR_BOTH(test_refusals_and_changes_in_any_order_leave_all_alike),
        FOR_BOTH(test_a_mapping_reaches_the_devices_of_every_instance),
        FOR_BOTH(test_changes_are_in_force_at_every_instance),
        FOR_BOTH(test_instances_without_devices_in_the_domain_do_not_matter),
        FOR_REQUESTS(test_what_one_instance_refuses_is_mapped_nowhere),
        FOR_REQUESTS(test_an_instance_that_does_not_answer_a_map_fails_alone),
        FOR_REQUESTS(test_an_instance_that_cannot_take_back_a_map_fails),
        FOR_BOTH(test_a_sync_that_one_instance_fails_is_done_by_all_others),
        FOR_BOTH(test_two_instances_can_fail_in_one_sync),
        FOR_BOTH(test_a_unit_that_cannot_be_stopped_keeps_the_gather_pending),
        FOR_BOTH(test_permissions_are_taken_away_by_all_others),
        FOR_BOTH(test_a_cut_is_made_by_all_others),
        FOR_BOTH(test_the_others_go_on_when_the_failed_one_is_out),
        FOR_BOTH(test_no_call_adds_or_changes_while_a_failed_instance_is_in),
        FOR_BOTH(test_a_gather_serves_many_syncs),
        FOR_REQUESTS(test_what_cannot_be_mapped_again_is_gone_everywhere),
        FOR_BOTH(test_a_paging_domain_has_a_context_of_every_instance),
        FOR_BOTH(test_a_failed_instance_does_not_spoil_other_domains_of_the_others),
        FOR_TABLES(test_an_invalidation_reaches_every_instance),
        FOR_TABLES(test_an_invalidation_that_one_fails_is_done_by_all_others),
        FOR_REQUESTS(test_requests_cannot_be_invalidated),
        FOR_BOTH(test_domains_without_mappings_cannot_be_invalidated),
        FOR_BOTH(test_an_instance_that_joins_gets_all_that_is_mapped),
        FOR_BOTH(test_what_waits_for_a_sync_is_not_given_to_those_that_join),
        FOR_BOTH(test_joining_that_hardware_refuses_changes_nothing),
        FOR_BOTH(test_joining_without_memory_changes_nothing),
        FOR_REQUESTS(test_an_instance_with_a_smaller_aperture_may_join_if_nothing_is_beyond),
        FOR_REQUESTS(test_what_reaches_just_to_the_limits_of_an_instance_lets_it_join),
        FOR_TABLES(test_an_instance_that_cannot_walk_the_tables_may_not_join),
        FOR_BOTH(test_a_domain_has_what_all_its_instances_have),
        FOR_BOTH(test_an_instance_joins_if_it_can_express_all_permissions),
        FOR_REQUESTS(test_an_instance_joins_if_all_lies_on_its_granule),
        FOR_BOTH(test_an_instance_that_has_left_is_not_told),
        FOR_BOTH(test_what_changed_meanwhile_is_so_when_an_instance_comes_back),
        FOR_BOTH(test_a_domain_outlives_the_attachments_of_all_instances),
        FOR_BOTH(test_a_group_over_two_instances_enters_both_or_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
