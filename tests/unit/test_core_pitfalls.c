/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * What has gone wrong in other code that drives IOMMUs, as far as it concerns the core, each with
 * the test that would have found it. The numbers are those of the list of pitfalls that the project
 * keeps; advisories and changes are named with each.
 */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include <piommu/piommu.h>

#include "units_fixture.h"

#define PAGE     0x1000ull
#define BLOCK    0x200000ull
#define R        PIOMMU_PROT_READ
#define RW       (PIOMMU_PROT_READ | PIOMMU_PROT_WRITE)
#define IOVA     0x40000000ull
#define MEMORY   0x50000000ull
#define ROOT_KEY 0x100u
#define ID       5u
#define SHORT    1000000ull /* a timeout */

static struct spy_options tables = {.kind = PIOMMU_BACKEND_TABLES};
static struct spy_options requests = {.kind = PIOMMU_BACKEND_REQUESTS};

static const struct spy_options *options_of(void **state)
{
    return *state;
}

static bool is_tables(void **state)
{
    return options_of(state)->kind == PIOMMU_BACKEND_TABLES;
}

struct scene {
    struct units *units;
    unsigned int unit;
    struct piommu_instance *instance;
    struct piommu_device *device;
    struct piommu_domain *a;
    struct piommu_domain *b;
};

static struct scene open_scene_over(const struct spy_options *options,
                                    const struct fake_os_options *os)
{
    struct scene scene = {.units = units_open_over(os)};
    const struct piommu_instance_config config = {.name = "mmu", .timeout = SHORT};

    scene.unit = units_prepare(scene.units, options);
    assert_int_equal(units_start(scene.units, scene.unit, config), 0);
    scene.instance = scene.units->instances[scene.unit];
    scene.device = units_device_one(scene.units, "dma", scene.unit, ID);
    scene.a = units_domain(scene.units, "A", scene.unit, 1);
    scene.b = units_domain(scene.units, "B", scene.unit, 1);
    return scene;
}

static struct scene open_scene(const struct spy_options *options)
{
    return open_scene_over(options, NULL);
}

static struct mock *mock_of(const struct scene *scene)
{
    return spy_mock(scene->units->spy, scene->unit);
}

static bool reaches(const struct scene *scene, uint64_t iova, uint64_t expected)
{
    uint64_t physical;

    return spy_reaches(scene->units->spy, scene->unit, ID, iova, false, &physical) &&
           physical == expected;
}

static bool reaches_at_all(const struct scene *scene, uint64_t iova)
{
    uint64_t physical;

    return spy_reaches(scene->units->spy, scene->unit, ID, iova, false, &physical);
}

static void not_at_once(struct piommu_backend_info *info)
{
    info->atomic_switch = false;
}

/*
 * 3: a table is freed while the walk cache still points to it (Linux 7c53f4238aa8, CVE-2025-71089,
 * CVE-2025-71202).
 */
static void check_no_walk(void *ctx, uint64_t physical, uint64_t size)
{
    assert_false(mock_walks(ctx, physical, size));
}

static void test_pitfall_03_no_table_is_freed_that_hardware_may_walk(void **state)
{
    struct scene scene = open_scene(&tables);

    (void)state;
    scene.units->anything_goes = true;
    assert_int_equal(units_attach(scene.units, scene.device, scene.a), 0);
    fake_os_on_dma_free(scene.units->os, check_no_walk, mock_of(&scene));
    for (unsigned int round = 0; round < 8; round++) {
        uint64_t iova = IOVA + round * 0x40000000ull;

        assert_int_equal(piommu_domain_map(scene.a, iova, MEMORY, 3 * PAGE, RW), 0);
        mock_speculate(mock_of(&scene));
        units_unmap(scene.a, iova, 3 * PAGE);
    }
    assert_int_equal(units_attach(scene.units, scene.device, scene.b), 0);
    mock_speculate(mock_of(&scene));
    units_drop(scene.units, scene.a);
    units_detach(scene.units, scene.device);
    units_drop(scene.units, scene.b);
    fake_os_on_dma_free(scene.units->os, NULL, NULL);
    units_close(scene.units);
}

/* 5: an endpoint moves, and the TLB is not told (XSA-442, CVE-2023-34326). */
static void test_pitfall_05_after_a_move_every_access_follows_the_new_domain(void **state)
{
    for (unsigned int can = 0; can < 2; can++) {
        struct spy_options options = *options_of(state);
        struct scene scene;

        options.adjust = can != 0 ? NULL : not_at_once;
        scene = open_scene(&options);
        for (unsigned int round = 0; round < 4; round++) {
            /* units_is_in touches both pages, so that they are cached. */
            assert_int_equal(units_attach(scene.units, scene.device, scene.a), 0);
            assert_true(units_is_in(scene.units, scene.device, scene.a));
            assert_int_equal(units_attach(scene.units, scene.device, scene.b), 0);
            assert_true(units_is_in(scene.units, scene.device, scene.b));
            if (round % 2 != 0) {
                units_detach(scene.units, scene.device);
                assert_true(units_is_in(scene.units, scene.device, NULL));
            }
        }
        units_close(scene.units);
    }
}

/* 5: what changes in a domain while nobody is in it is not remembered from before. */
static void test_pitfall_05_what_changed_in_an_empty_domain_is_seen_on_return(void **state)
{
    struct scene scene = open_scene(options_of(state));
    uint64_t own = units_own_page(scene.units, scene.a);

    assert_int_equal(units_attach(scene.units, scene.device, scene.a), 0);
    assert_true(units_is_in(scene.units, scene.device, scene.a));
    units_detach(scene.units, scene.device);
    units_unmap(scene.a, own, PAGE);
    assert_int_equal(piommu_domain_map(scene.a, own, MEMORY, PAGE, RW), 0);
    scene.units->anything_goes = true;
    assert_int_equal(units_attach(scene.units, scene.device, scene.a), 0);
    assert_true(reaches(&scene, own, MEMORY));
    units_close(scene.units);
}

/*
 * 6: a failed flush is ignored (XSA-373, CVE-2021-28692, CVE-2026-43161, CVE-2026-43130; drivers
 * that log it and go on).
 */
static void test_pitfall_06_a_sync_that_is_not_answered_is_an_error_that_stays(void **state)
{
    for (unsigned int stops = 0; stops < 2; stops++) {
        struct scene scene = open_scene(options_of(state));
        struct piommu_gather gather;
        struct fake_os_counters before;
        struct fake_os_counters after;
        struct piommu_domain *domain;
        const struct piommu_domain_config config = {
            .type = PIOMMU_DOMAIN_PAGING, .instances = &scene.instance, .instance_count = 1};

        assert_int_equal(units_attach(scene.units, scene.device, scene.a), 0);
        assert_true(units_is_in(scene.units, scene.device, scene.a));
        spy_refuse_stop(scene.units->spy, scene.unit, stops == 0);
        piommu_gather_init(&gather);
        assert_int_equal(piommu_domain_unmap(scene.a, UNITS_PAGE, PAGE, &gather, NULL), 0);
        fake_os_get_counters(scene.units->os, &before);
        mock_never_answer(mock_of(&scene), true);
        assert_int_equal(piommu_domain_sync(scene.a, &gather), -PIOMMU_EFAILED);
        mock_never_answer(mock_of(&scene), false);
        fake_os_get_counters(scene.units->os, &after);
        /* The error names what must be kept, and nothing of it was freed. */
        assert_true(gather.pending);
        assert_true(gather.range.first <= UNITS_PAGE && gather.range.last >= UNITS_PAGE + PAGE - 1);
        assert_int_equal(after.dma_frees, before.dma_frees);
        assert_int_equal(units_state(scene.units, scene.unit), PIOMMU_INSTANCE_FAILED);
        assert_int_equal(piommu_domain_map(scene.a, 0x7000000, MEMORY, PAGE, RW), -PIOMMU_EFAILED);
        assert_int_equal(piommu_domain_create(&config, &domain), -PIOMMU_EFAILED);
        assert_int_equal(piommu_group_attach(piommu_device_group(scene.device), scene.b),
                         -PIOMMU_EFAILED);
        if (stops == 0) {
            assert_int_equal(piommu_domain_sync(scene.a, &gather), -PIOMMU_EFAILED);
            assert_int_equal(units_id_state(scene.device, 0), PIOMMU_ID_DOUBTFUL);
            assert_int_equal(piommu_domain_destroy(scene.a), -PIOMMU_EBUSY);
            assert_true(gather.pending);
            spy_refuse_stop(scene.units->spy, scene.unit, false);
        }
        units_detach(scene.units, scene.device);
        assert_true(units_is_in(scene.units, scene.device, NULL));
        assert_int_equal(piommu_domain_sync(scene.a, &gather), 0);
        assert_false(gather.pending);
        units_close(scene.units);
    }
}

/* 7: a completion that comes late is taken for that of a later command (XSA-373). */
static void test_pitfall_07_a_unit_that_wakes_up_late_stays_failed(void **state)
{
    struct scene scene = open_scene(options_of(state));
    struct piommu_gather first;
    struct piommu_gather second;

    assert_int_equal(units_attach(scene.units, scene.device, scene.a), 0);
    spy_refuse_stop(scene.units->spy, scene.unit, true);
    piommu_gather_init(&first);
    piommu_gather_init(&second);
    assert_int_equal(piommu_domain_unmap(scene.a, UNITS_PAGE, PAGE, &first, NULL), 0);
    mock_never_answer(mock_of(&scene), true);
    assert_int_equal(piommu_domain_sync(scene.a, &first), -PIOMMU_EFAILED);
    mock_never_answer(mock_of(&scene), false);
    assert_int_equal(
        piommu_domain_unmap(scene.a, units_own_page(scene.units, scene.a), PAGE, &second, NULL), 0);
    assert_int_equal(piommu_domain_sync(scene.a, &second), -PIOMMU_EFAILED);
    assert_int_equal(piommu_domain_sync(scene.a, &first), -PIOMMU_EFAILED);
    assert_true(first.pending && second.pending);
    spy_refuse_stop(scene.units->spy, scene.unit, false);
    units_detach(scene.units, scene.device);
    assert_int_equal(piommu_domain_sync(scene.a, &first), 0);
    assert_int_equal(piommu_domain_sync(scene.a, &second), 0);
    units_close(scene.units);
}

/*
 * 8, 35: a way past the IOMMU while it is set up, between domains or when it is taken down
 * (CVE-2025-11901, CVE-2025-14302, CVE-2025-14304; "detached" that means untranslated).
 */
static void test_pitfall_08_at_no_step_of_its_life_is_a_device_let_through(void **state)
{
    static const enum piommu_unknown_ids policies[] = {PIOMMU_UNKNOWN_IDS_BLOCK,
                                                       PIOMMU_UNKNOWN_IDS_LEAVE};

    for (unsigned int i = 0; i < 4; i++) {
        struct spy_options options = *options_of(state);
        struct units *units = units_open();
        const struct piommu_instance_config config = {.name = "mmu",
                                                      .unknown_ids = policies[i % 2]};
        struct piommu_device *device;
        struct piommu_domain *a;
        struct piommu_domain *b;
        unsigned int unit;

        options.adjust = i < 2 ? NULL : not_at_once;
        unit = units_prepare(units, &options);
        assert_int_equal(units_start(units, unit, config), 0);
        a = units_domain(units, "A", unit, 1);
        b = units_domain(units, "B", unit, 1);
        for (unsigned int round = 0; round < 2; round++) {
            /* What firmware has left open is closed when the device has been added. */
            units->anything_goes = round == 0 && policies[i % 2] == PIOMMU_UNKNOWN_IDS_LEAVE;
            device = units_device(units, "dma",
                                  (const struct units_id[]){{unit, ID}, {unit, ID + 1}}, 2);
            units->anything_goes = false;
            assert_true(units_is_in(units, device, NULL));
            assert_int_equal(units_attach(units, device, a), 0);
            assert_int_equal(units_attach(units, device, b), 0);
            spy_fail(units->spy, unit, SPY_ATTACH, 2, -PIOMMU_EIO);
            assert_int_equal(units_attach(units, device, a), -PIOMMU_EIO);
            assert_true(units_is_in(units, device, b));
            assert_int_equal(piommu_instance_suspend(units->instances[unit]), 0);
            assert_int_equal(piommu_instance_resume(units->instances[unit]), 0);
            units_detach(units, device);
            assert_true(units_is_in(units, device, NULL));
            units_remove(units, device);
            /* Removed it is still blocked, not back where firmware had it. */
            assert_true(units_id_is_in(units, unit, ID, NULL));
        }
        assert_true(units->probes > 500);
        units_close(units);
    }
}

/* 9: a device goes to somebody trusted while the last owner's DMA still runs (XSA-302, XSA-306). */
static void test_pitfall_09_who_cannot_be_let_go_is_not_given_to_anybody_else(void **state)
{
    struct scene scene = open_scene(options_of(state));

    assert_int_equal(units_attach(scene.units, scene.device, scene.a), 0);
    spy_refuse_stop(scene.units->spy, scene.unit, true);
    mock_never_answer(mock_of(&scene), true);
    assert_int_equal(piommu_group_detach(piommu_device_group(scene.device)), -PIOMMU_EFAILED);
    assert_ptr_equal(units_domain_of(scene.device), scene.a);
    assert_int_equal(units_id_state(scene.device, 0), PIOMMU_ID_DOUBTFUL);
    assert_int_equal(piommu_group_attach(piommu_device_group(scene.device), scene.b),
                     -PIOMMU_EFAILED);
    assert_int_not_equal(piommu_device_remove(scene.device), 0);
    assert_int_equal(piommu_domain_destroy(scene.a), -PIOMMU_EBUSY);
    /* Its log line tells the host whom to reset. */
    assert_true(units_logged(scene.units, "dma"));
    mock_never_answer(mock_of(&scene), false);
    spy_refuse_stop(scene.units->spy, scene.unit, false);
    units_detach(scene.units, scene.device);
    assert_true(units_is_in(scene.units, scene.device, NULL));
    units_close(scene.units);
}

/* 12: of several IDs only some are moved (XSA-449, CVE-2023-46839). */
static void test_pitfall_12_with_any_id_that_fails_no_id_enters(void **state)
{
    static const struct units_id ids[] = {{0, 5}, {0, 6}, {1, 7}, {1, 8}, {2, 9}};
    static const unsigned int nth_of_unit[] = {1, 2, 1, 2, 1};

    for (unsigned int k = 0; k < 5; k++) {
        for (unsigned int from_a = 0; from_a < 2; from_a++) {
            struct units *units = units_open();
            struct piommu_device *device;
            struct piommu_domain *a;
            struct piommu_domain *b;

            for (unsigned int i = 0; i < 3; i++) {
                (void)units_add(units, options_of(state), "mmu");
            }
            device = units_device(units, "dma", ids, 5);
            a = units_domain(units, "A", 0, 3);
            b = units_domain(units, "B", 0, 3);
            if (from_a != 0) {
                assert_int_equal(units_attach(units, device, a), 0);
            }
            spy_fail(units->spy, ids[k].unit, SPY_ATTACH, nth_of_unit[k], -PIOMMU_ENOMEM);
            assert_int_equal(units_attach(units, device, b), -PIOMMU_ENOMEM);
            assert_true(units_is_in(units, device, from_a != 0 ? a : NULL));
            units_close(units);
        }
    }
}

/*
 * 13: a shared micro-TLB is split over two domains (Linux 90d19e6f53 refused it late, c52af96fdc
 * counted wrongly).
 */
static uint32_t one_number(uint32_t id)
{
    return id < 10 ? 3 : 0;
}

static void test_pitfall_13_who_shares_a_translation_is_in_one_domain_always(void **state)
{
    /* Each step: which member is used, and where it goes: nowhere, A, B. */
    for (unsigned int program = 0; program < 9 * 9 * 9; program++) {
        struct spy_options options = *options_of(state);
        struct units *units = units_open();
        struct piommu_device *members[3];
        struct piommu_domain *domains[3] = {NULL, NULL, NULL};
        struct piommu_domain *now = NULL;
        unsigned int rest = program;
        unsigned int unit;

        options.group = one_number;
        unit = units_add(units, &options, "mmu");
        for (uint32_t i = 0; i < 3; i++) {
            members[i] = units_device_one(units, "member", unit, i + 1);
        }
        domains[1] = units_domain(units, "A", unit, 1);
        domains[2] = units_domain(units, "B", unit, 1);
        for (unsigned int step = 0; step < 3; step++, rest /= 9) {
            struct piommu_device *member = members[rest % 3];
            struct piommu_domain *domain = domains[rest / 3 % 3];

            assert_int_equal(piommu_device_attach(member, domains[1]), -PIOMMU_EGROUP);
            assert_int_equal(piommu_device_detach(member), -PIOMMU_EGROUP);
            if (domain == NULL) {
                units_detach(units, member);
            } else {
                assert_int_equal(units_attach(units, member, domain), 0);
            }
            now = domain;
            for (unsigned int i = 0; i < 3; i++) {
                assert_true(units_is_in(units, members[i], now));
            }
        }
        units_close(units);
    }
}

/* 14: on an error path a context is used that was never there (found in an IPMMU port in 2017). */
static void test_pitfall_14_no_failing_call_leads_to_a_domain_that_was_not_made(void **state)
{
    /* The mocks end the test at a handle that is not the unit's. */
    for (unsigned int unit = 0; unit < 3; unit++) {
        for (unsigned int kth = 1;; kth++) {
            static const struct units_id ids[] = {{0, 5}, {1, 6}, {2, 7}};
            struct units *units = units_open();
            struct piommu_device *device;
            struct piommu_domain *a;
            struct piommu_domain *b;
            unsigned int calls;
            int error;

            (void)units_add_keyed(units, options_of(state), "main", ROOT_KEY, 0);
            (void)units_add_keyed(units, options_of(state), "cache", 0, ROOT_KEY);
            (void)units_add(units, options_of(state), "alone");
            device = units_device(units, "dma", ids, 3);
            a = units_domain(units, "A", 0, 1);
            b = units_domain(units, "B", 2, 1);
            mock_fail_call(spy_mock(units->spy, unit), kth, -PIOMMU_ENOSPC, false);
            calls = mock_fallible_calls(spy_mock(units->spy, unit));
            error = units_attach(units, device, a);
            if (error == 0) {
                error = units_attach(units, device, b);
            }
            calls = mock_fallible_calls(spy_mock(units->spy, unit)) - calls;
            mock_fail_call(spy_mock(units->spy, unit), 0, 0, false);
            assert_true(error == 0 || error == -PIOMMU_ENOSPC || error == -PIOMMU_EFAILED ||
                        error == -PIOMMU_EBLOCKED);
            units_close(units);
            if (calls < kth) {
                assert_int_equal(error, 0);
                break;
            }
        }
    }
}

/* 15: contexts run out and are used again with what the TLB remembers (Mu #1812). */
static void test_pitfall_15_a_context_that_is_used_again_remembers_nothing(void **state)
{
    struct spy_options options = *options_of(state);
    struct units *units = units_open();
    struct piommu_device *devices[3];
    struct piommu_domain *domains[3];
    struct piommu_domain *extra;
    unsigned int unit;

    options.contexts = 3;
    unit = units_add(units, &options, "mmu");
    for (uint32_t i = 0; i < 3; i++) {
        devices[i] = units_device_one(units, "dma", unit, i + 1);
        domains[i] = units_domain(units, "resident", unit, 1);
        assert_int_equal(units_attach(units, devices[i], domains[i]), 0);
        assert_true(units_is_in(units, devices[i], domains[i]));
    }
    for (unsigned int round = 0; round < 4; round++) {
        struct piommu_domain_config config = {.type = PIOMMU_DOMAIN_PAGING,
                                              .instances = &units->instances[unit],
                                              .instance_count = 1,
                                              .name = "extra"};
        unsigned int turn = round % 3;
        int error = piommu_domain_create(&config, &extra);

        /* With the domain or with its first device: there is no context for it. */
        assert_true(error == 0 || error == -PIOMMU_ENOSPC);
        if (error == 0) {
            assert_int_equal(piommu_device_attach(devices[turn], extra), -PIOMMU_ENOSPC);
            assert_int_equal(piommu_domain_destroy(extra), 0);
        }
        assert_true(units_is_in(units, devices[turn], domains[turn]));
        units_detach(units, devices[turn]);
        units_drop(units, domains[turn]);
        domains[turn] = units_domain(units, "new", unit, 1);
        assert_int_equal(units_attach(units, devices[turn], domains[turn]), 0);
        for (unsigned int i = 0; i < 3; i++) {
            assert_true(units_is_in(units, devices[i], domains[i]));
        }
    }
    units_close(units);
}

/*
 * 16: memory that a device uses all the time is missing for a while, or more than that is there
 * (XSA-378, XSA-386, XSA-400, CVE-2021-28702, CVE-2022-26358 to CVE-2022-26361).
 */
struct direct {
    struct scene *scene;
    bool in_domain; /* it has been in a domain without a break since this was set */
    unsigned int looks;
};

#define DIRECT 0x8000000ull

static void look_at_direct(void *ctx)
{
    struct direct *direct = ctx;
    struct scene *scene = direct->scene;

    assert_false(reaches_at_all(scene, DIRECT - PAGE));
    assert_false(reaches_at_all(scene, DIRECT + 2 * PAGE));
    if (reaches_at_all(scene, DIRECT)) {
        assert_true(reaches(scene, DIRECT, DIRECT));
        assert_true(reaches(scene, DIRECT + PAGE, DIRECT + PAGE));
    } else {
        assert_false(direct->in_domain);
    }
    direct->looks++;
}

static void test_pitfall_16_direct_memory_is_there_whenever_its_device_is(void **state)
{
    struct scene scene = open_scene(options_of(state));
    const struct piommu_reserved_region region = {.range = {DIRECT, DIRECT + 2 * PAGE - 1},
                                                  .kind = PIOMMU_RESERVED_DIRECT};
    const struct piommu_device_id place = {.instance = scene.instance, .key = 0, .id = ID};
    const struct piommu_device_config config = {
        .ids = &place, .id_count = 1, .regions = &region, .region_count = 1, .name = "display"};
    struct direct direct = {.scene = &scene};
    struct piommu_translation translation;

    units_remove(scene.units, scene.device);
    assert_int_equal(units_try_device(scene.units, &config,
                                      (const struct units_id[]){{scene.unit, ID}}, &scene.device),
                     0);
    scene.units->anything_goes = true;
    spy_observe(scene.units->spy, look_at_direct, &direct);
    for (unsigned int round = 0; round < 3; round++) {
        assert_false(reaches_at_all(&scene, DIRECT));
        assert_int_equal(units_attach(scene.units, scene.device, scene.a), 0);
        assert_true(reaches(&scene, DIRECT, DIRECT));
        assert_true(reaches(&scene, DIRECT + PAGE, DIRECT + PAGE));
        /* Switched at once, with its tables filled before, it is never without. */
        direct.in_domain = is_tables(state);
        assert_int_equal(units_attach(scene.units, scene.device, scene.b), 0);
        assert_true(reaches(&scene, DIRECT, DIRECT));
        direct.in_domain = false;
        units_detach(scene.units, scene.device);
        assert_false(reaches_at_all(&scene, DIRECT));
        /* Nothing of it is left behind for others. */
        assert_int_equal(piommu_domain_lookup(scene.a, DIRECT, &translation), -PIOMMU_ENOENT);
        assert_int_equal(piommu_domain_lookup(scene.b, DIRECT, &translation), -PIOMMU_ENOENT);
    }
    assert_true(direct.looks > 6);
    spy_observe(scene.units->spy, NULL, NULL);
    units_close(scene.units);
}

/* 17: a walker that does not snoop reads what was there before (XSA-321, Linux 3a11099edd). */
static void not_coherent(struct piommu_backend_info *info)
{
    info->table.coherent_walk = false;
}

static void test_pitfall_17_a_walker_that_does_not_snoop_sees_every_change(void **state)
{
    struct spy_options options = tables;
    const struct fake_os_options os = {.non_coherent = true, .seed = 17};
    struct scene scene;

    (void)state;
    print_message("seed %u\n", (unsigned int)os.seed);
    options.adjust = not_coherent;
    scene = open_scene_over(&options, &os);
    assert_int_equal(units_attach(scene.units, scene.device, scene.a), 0);
    assert_true(units_is_in(scene.units, scene.device, scene.a));
    assert_int_equal(units_attach(scene.units, scene.device, scene.b), 0);
    assert_true(units_is_in(scene.units, scene.device, scene.b));
    scene.units->anything_goes = true;
    for (unsigned int i = 0; i < 16; i++) {
        uint64_t iova = IOVA + i * 0x10000000ull;

        assert_int_equal(piommu_domain_map(scene.b, iova, MEMORY + i * PAGE, PAGE, RW), 0);
        assert_true(reaches(&scene, iova, MEMORY + i * PAGE));
        units_unmap(scene.b, iova, PAGE);
        assert_false(reaches_at_all(&scene, iova));
    }
    units_close(scene.units);
}

/* 24: part of a mapping stays when an endpoint refuses it (cloud-hypervisor f77f16853). */
static void test_pitfall_24_a_list_that_any_unit_refuses_is_nowhere(void **state)
{
    static const struct piommu_segment segments[] = {
        {MEMORY, PAGE}, {MEMORY + 4 * PAGE, PAGE}, {MEMORY + 9 * PAGE, 2 * PAGE}};

    (void)state;
    for (unsigned int refusing = 0; refusing < 3; refusing++) {
        for (unsigned int undo_fails = 0; undo_fails < 2; undo_fails++) {
            struct units *units = units_open();
            struct piommu_device *devices[3];
            struct piommu_domain *domain;
            struct piommu_translation translation;

            for (unsigned int i = 0; i < 3; i++) {
                (void)units_add(units, &requests, "mmu");
                devices[i] = units_device_one(units, "dma", i, ID);
            }
            domain = units_domain(units, "A", 0, 3);
            for (unsigned int i = 0; i < 3; i++) {
                assert_int_equal(units_attach(units, devices[i], domain), 0);
            }
            units->anything_goes = true;
            spy_fail(units->spy, refusing, SPY_MAP, 1, -PIOMMU_EIO);
            spy_fail(units->spy, refusing, SPY_UNMAP, undo_fails, -PIOMMU_EIO);
            assert_int_equal(piommu_domain_map_list(domain, IOVA, segments, 3, RW),
                             undo_fails != 0 ? -PIOMMU_EFAILED : -PIOMMU_EIO);
            for (uint64_t page = 0; page < 4; page++) {
                uint64_t physical;

                assert_int_equal(piommu_domain_lookup(domain, IOVA + page * PAGE, &translation),
                                 -PIOMMU_ENOENT);
                for (unsigned int i = 0; i < 3; i++) {
                    assert_false(
                        spy_reaches(units->spy, i, ID, IOVA + page * PAGE, false, &physical));
                }
            }
            for (unsigned int i = 0; i < 3; i++) {
                assert_int_equal(units_state(units, i), undo_fails != 0 && i == refusing
                                                            ? PIOMMU_INSTANCE_FAILED
                                                            : PIOMMU_INSTANCE_RUNNING);
                assert_true(units_is_in(units, devices[i],
                                        undo_fails != 0 && i == refusing ? NULL : domain));
            }
            units_close(units);
        }
    }
}

/* 26: arithmetic at the edges of the space (cloud-hypervisor 5b199498f, VT-d f9423606ade0). */
static const uint64_t edges[] = {0,
                                 1,
                                 PAGE - 1,
                                 PAGE,
                                 PAGE + 1,
                                 (1ull << 32) - PAGE,
                                 (1ull << 32) - 1,
                                 1ull << 32,
                                 (1ull << 39) - PAGE,
                                 (1ull << 39) - 1,
                                 1ull << 39,
                                 1ull << 63,
                                 UINT64_MAX - PAGE,
                                 UINT64_MAX - PAGE + 1,
                                 UINT64_MAX};

static void whole_space(struct piommu_backend_info *info)
{
    info->aperture = (struct piommu_range){0, UINT64_MAX};
}

static bool is_range(uint64_t first, uint64_t size, uint64_t last)
{
    return size != 0 && first <= last && size - 1 <= last - first;
}

static void test_pitfall_26_ranges_at_the_edges_are_taken_or_refused_exactly(void **state)
{
    for (unsigned int whole = 0; whole < 2; whole++) {
        struct spy_options options = *options_of(state);
        uint64_t last = whole != 0 ? UINT64_MAX : (1ull << 39) - 1;
        /* Where tables end, and what a request can name. */
        uint64_t last_physical = is_tables(state) ? (1ull << 40) - 1 : UINT64_MAX;
        struct units *units;
        struct piommu_domain *domain;
        struct piommu_domain_config config = {.type = PIOMMU_DOMAIN_PAGING, .instance_count = 1};

        if (whole != 0 && is_tables(state)) {
            continue;
        }
        options.adjust = whole != 0 ? whole_space : NULL;
        units = units_open();
        (void)units_add(units, &options, "mmu");
        config.instances = units->instances;
        assert_int_equal(units_try_domain(units, &config, &domain), 0);
        for (size_t i = 0; i < sizeof(edges) / sizeof(edges[0]); i++) {
            for (size_t j = 0; j < sizeof(edges) / sizeof(edges[0]); j++) {
                uint64_t iova = edges[i];
                uint64_t size = edges[j];
                struct piommu_gather gather;
                struct piommu_translation translation;
                uint64_t unmapped = 0;
                /* Long mappings of tables in blocks: physical 0 is aligned like everything. */
                uint64_t physical = iova <= last_physical ? iova : 0;
                bool aligned = (iova & (PAGE - 1)) == 0 && (size & (PAGE - 1)) == 0 && size != 0;
                bool fits = is_range(iova, size, last) && is_range(physical, size, last_physical);
                int error;

                units_forget_events(units);
                if (is_tables(state) && aligned && fits && size > (1ull << 33)) {
                    continue; /* by pages and blocks that would be too long */
                }
                piommu_gather_init(&gather);
                error = piommu_domain_map(domain, iova, physical, size, RW);
                assert_int_equal(error, !aligned ? -PIOMMU_EINVAL : fits ? 0 : -PIOMMU_ERANGE);
                if (error == 0) {
                    assert_int_equal(piommu_domain_lookup(domain, iova, &translation), 0);
                    assert_int_equal(translation.physical, physical);
                    assert_int_equal(piommu_domain_lookup(domain, iova + (size - 1), &translation),
                                     0);
                    assert_int_equal(translation.physical, physical + (size - 1));
                }
                assert_int_equal(piommu_domain_unmap(domain, iova, size, &gather, &unmapped),
                                 !aligned                      ? -PIOMMU_EINVAL
                                 : !is_range(iova, size, last) ? -PIOMMU_ERANGE
                                 : error == 0                  ? 0
                                                               : -PIOMMU_ENOENT);
                assert_true(error != 0 || unmapped == size);
                assert_int_equal(piommu_domain_sync(domain, &gather), 0);
                assert_int_equal(piommu_domain_next(domain, 0, UINT64_MAX, &unmapped, &translation),
                                 -PIOMMU_ENOENT);
            }
        }
        units_close(units);
    }
}

/* 27: success for a range that was never mapped (SPDK #1705). */
static void test_pitfall_27_unmap_says_exactly_what_there_was(void **state)
{
    struct scene scene = open_scene(options_of(state));
    struct piommu_domain *domain = scene.a;
    struct piommu_gather gather;
    uint64_t unmapped = 1;

    scene.units->anything_goes = true;
    assert_int_equal(units_attach(scene.units, scene.device, domain), 0);
    piommu_gather_init(&gather);
    assert_int_equal(piommu_domain_unmap(domain, IOVA, 8 * PAGE, &gather, &unmapped),
                     -PIOMMU_ENOENT);
    assert_false(gather.pending);
    assert_int_equal(unmapped, 1);
    /* Every second page of eight. */
    for (uint64_t i = 0; i < 8; i += 2) {
        assert_int_equal(
            piommu_domain_map(domain, IOVA + i * PAGE, MEMORY + i * 16 * PAGE, PAGE, RW), 0);
    }
    assert_int_equal(piommu_domain_unmap(domain, IOVA + PAGE, PAGE, &gather, &unmapped),
                     -PIOMMU_ENOENT);
    assert_int_equal(piommu_domain_unmap(domain, IOVA, 2 * PAGE, &gather, &unmapped), 0);
    assert_int_equal(unmapped, PAGE);
    assert_int_equal(piommu_domain_unmap(domain, IOVA - 8 * PAGE, 64 * PAGE, &gather, &unmapped),
                     0);
    assert_int_equal(unmapped, 3 * PAGE);
    assert_int_equal(piommu_domain_sync(domain, &gather), 0);
    /* What would be cut is refused, and is still there. */
    assert_int_equal(piommu_domain_map(domain, IOVA, 0x80000000, BLOCK, RW), 0);
    assert_int_equal(piommu_domain_unmap(domain, IOVA, BLOCK / 2, &gather, &unmapped),
                     -PIOMMU_ECUT);
    assert_true(reaches(&scene, IOVA + BLOCK - PAGE, 0x80000000 + BLOCK - PAGE));
    assert_int_equal(piommu_domain_unmap(domain, IOVA, BLOCK, &gather, &unmapped), 0);
    assert_int_equal(unmapped, BLOCK);
    assert_int_equal(piommu_domain_sync(domain, &gather), 0);
    assert_int_equal(piommu_domain_unmap(domain, IOVA, BLOCK, &gather, &unmapped), -PIOMMU_ENOENT);
    units_close(scene.units);
}

/* 28: waiting without end for a device that is dead (Linux, FreeBSD, hvisor). */
static int call_attach(struct scene *scene)
{
    return piommu_group_attach(piommu_device_group(scene->device), scene->b);
}

static int call_detach(struct scene *scene)
{
    int error = piommu_group_detach(piommu_device_group(scene->device));

    /* The unit stops, so the group is blocked all the same. */
    return error == 0 ? -PIOMMU_EFAILED : error;
}

static int call_sync(struct scene *scene)
{
    struct piommu_gather gather;
    int error;

    piommu_gather_init(&gather);
    assert_int_equal(piommu_domain_unmap(scene->a, UNITS_PAGE, PAGE, &gather, NULL), 0);
    error = piommu_domain_sync(scene->a, &gather);
    /* Its domain will be destroyed, which voids it. */
    return error;
}

static int call_map(struct scene *scene)
{
    int error = piommu_domain_map(scene->a, 0x7000000, MEMORY, PAGE, RW);

    /* Tables are filled without the unit. */
    return error == 0 && mock_info(mock_of(scene))->table.granule != 0 ? -PIOMMU_EFAILED : error;
}

static int call_protect(struct scene *scene)
{
    return piommu_domain_protect(scene->a, UNITS_PAGE, PAGE, R, PIOMMU_ALLOW_HOLE, NULL);
}

static int call_add(struct scene *scene)
{
    const struct piommu_device_id place = {.instance = scene->instance, .key = 0, .id = 77};
    const struct piommu_device_config config = {.ids = &place, .id_count = 1};
    struct piommu_device *device;

    return piommu_device_add(scene->units->context, &config, &device);
}

static int call_suspend(struct scene *scene)
{
    return piommu_instance_suspend(scene->instance);
}

static int call_resume(struct scene *scene)
{
    mock_never_answer(mock_of(scene), false);
    assert_int_equal(piommu_instance_suspend(scene->instance), 0);
    mock_never_answer(mock_of(scene), true);
    return piommu_instance_resume(scene->instance);
}

static void test_pitfall_28_no_call_waits_for_ever(void **state)
{
    static int (*const calls[])(struct scene *) = {call_attach,  call_detach,  call_sync,
                                                   call_map,     call_protect, call_add,
                                                   call_suspend, call_resume};

    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        struct scene scene = open_scene(options_of(state));
        uint64_t before;

        assert_int_equal(units_attach(scene.units, scene.device, scene.a), 0);
        scene.units->anything_goes = true;
        mock_never_answer(mock_of(&scene), true);
        before = fake_os_time(scene.units->os);
        assert_int_equal(calls[i](&scene), -PIOMMU_EFAILED);
        /* On the virtual clock: the call itself, the reset, and what it tries again. */
        assert_true(fake_os_time(scene.units->os) - before < 8 * SHORT);
        mock_never_answer(mock_of(&scene), false);
        units_detach(scene.units, scene.device);
        units_close(scene.units);
    }
}

/* 30: a lock is held where callbacks are called (XSA-467, XSA-492, CVE-2024-35843). */
static void use_the_host(struct units *units)
{
    struct piommu_host host = fake_os_host(units->os);

    /* The fake OS ends the test if a lock is held where memory is asked for. */
    host.os->free(host.ctx, host.os->alloc(host.ctx, 16), 16);
}

static void look_up_in_fault(struct units *units, const struct piommu_fault *fault)
{
    struct piommu_translation translation;

    assert_int_equal(piommu_domain_lookup(units->domains[0], UNITS_PAGE, &translation), 0);
    assert_int_equal(piommu_domain_lookup(units->domains[0], fault->iova, &translation),
                     -PIOMMU_ENOENT);
    use_the_host(units);
}

static void use_in_event(struct units *units, const struct piommu_event *event)
{
    (void)event;
    use_the_host(units);
}

static void use_in_news(struct units *units, struct piommu_instance *instance,
                        struct piommu_device *device, int error)
{
    (void)instance;
    (void)device;
    (void)error;
    use_the_host(units);
}

static struct piommu_domain *use_in_choice(struct units *units, const struct piommu_device *device)
{
    (void)device;
    use_the_host(units);
    return NULL;
}

static void test_pitfall_30_no_lock_is_held_while_the_host_is_called(void **state)
{
    struct units *units = units_open();
    const struct piommu_backend_fault fault = {
        .id = ID, .reason = PIOMMU_FAULT_MAPPING, .iova_valid = true, .iova = 0x999000};
    const struct piommu_device_id place = {.instance = NULL, .key = ROOT_KEY, .id = 9};
    const struct piommu_device_config config = {.ids = &place, .id_count = 1};
    struct piommu_device *device;
    struct piommu_device *waiting;
    unsigned int unit;
    unsigned int late;

    units->on_fault = look_up_in_fault;
    units->on_event = use_in_event;
    units->on_news = use_in_news;
    units->choose = use_in_choice;
    unit = units_add(units, options_of(state), "mmu");
    late = units_prepare(units, options_of(state));
    device = units_device_one(units, "dma", unit, ID);
    (void)units_domain(units, "A", unit, 1);
    assert_int_equal(units_attach(units, device, units->domains[0]), 0);
    assert_int_equal(
        units_try_device(units, &config, (const struct units_id[]){{late, 9}}, &waiting), 0);
    assert_int_equal(
        units_start(units, late, (struct piommu_instance_config){.name = "late", .key = ROOT_KEY}),
        0);
    mock_raise_fault(spy_mock(units->spy, unit), &fault);
    assert_int_equal(piommu_instance_interrupt(units->instances[unit], 1, NULL), 1);
    units->answer = PIOMMU_FAULT_BLOCK;
    mock_raise_fault(spy_mock(units->spy, unit), &fault);
    assert_int_equal(piommu_instance_service(units->instances[unit], 1), 1);
    assert_int_equal(units_attach(units, device, units->domains[0]), 0);
    units_unmap(units->domains[0], units_own_page(units, units->domains[0]), PAGE);
    spy_fail(units->spy, unit, SPY_SERVICE, 1, -PIOMMU_EIO);
    assert_int_equal(piommu_instance_service(units->instances[unit], 1), -PIOMMU_EFAILED);
    assert_int_equal(units->fault_count, 2);
    assert_int_equal(units->news_count, 1);
    units_close(units);
}

/* 31: work that cannot be interrupted (Xen 3e06b9890c0a, Kata #13084). */
static void test_pitfall_31_taking_a_domain_down_in_portions_is_bounded(void **state)
{
    struct scene scene = open_scene(options_of(state));
    unsigned int calls = 0;
    int error;

    for (uint64_t i = 0; i < 64; i++) {
        assert_int_equal(
            piommu_domain_map(scene.a, IOVA + i * BLOCK, MEMORY + i * 3 * PAGE, PAGE, RW), 0);
    }
    do {
        struct fake_os_counters before;
        struct fake_os_counters after;

        fake_os_get_counters(scene.units->os, &before);
        units_forget_events(scene.units);
        error = piommu_domain_destroy_some(scene.a, 16);
        fake_os_get_counters(scene.units->os, &after);
        assert_true(error == 0 || error == -PIOMMU_EAGAIN);
        assert_true(after.dma_frees - before.dma_frees <= 16);
        calls++;
        assert_true(calls < 10000);
    } while (error != 0);
    assert_true(calls >= 4);
    scene.units->domains[0] = NULL;
    units_close(scene.units);
}

/*
 * 33: the topmost addresses are looked up in the wrong place (Linux 6.13 on concatenated roots,
 * 9abe2ac83485).
 */
static uint8_t chosen_bits;

static void as_many_bits(struct piommu_backend_info *info)
{
    info->table.input_bits = chosen_bits;
    info->table.output_bits = 48;
    info->aperture.last = (1ull << chosen_bits) - 1;
}

static void test_pitfall_33_the_last_page_of_every_width_is_reached(void **state)
{
    static const uint8_t widths[] = {25, 29, 30, 31, 32, 38, 39, 40, 42, 47, 48};

    (void)state;
    for (size_t i = 0; i < sizeof(widths); i++) {
        struct spy_options options = tables;
        struct units *units = units_open();
        uint64_t last_page = (1ull << widths[i]) - PAGE;
        const uint64_t high_memory = (1ull << 48) - PAGE;
        struct piommu_device *device;
        struct piommu_domain *domain;
        struct piommu_domain_config config = {.type = PIOMMU_DOMAIN_PAGING, .instance_count = 1};
        uint64_t physical;

        chosen_bits = widths[i];
        options.adjust = as_many_bits;
        (void)units_add(units, &options, "mmu");
        device = units_device_one(units, "dma", 0, ID);
        config.instances = units->instances;
        assert_int_equal(units_try_domain(units, &config, &domain), 0);
        units->anything_goes = true;
        assert_int_equal(units_attach(units, device, domain), 0);
        assert_int_equal(piommu_domain_map(domain, last_page, high_memory, PAGE, RW), 0);
        assert_true(spy_reaches(units->spy, 0, ID, last_page + PAGE - 1, true, &physical));
        assert_int_equal(physical, high_memory + PAGE - 1);
        assert_false(spy_reaches(units->spy, 0, ID, 0, false, &physical));
        assert_int_equal(piommu_domain_map(domain, last_page + PAGE, MEMORY, PAGE, RW),
                         -PIOMMU_ERANGE);
        units_close(units);
    }
}

/*
 * 34: a block is split under a walker that forbids it (Linux 33729a5fc0ca, panthor 8e7460eac786).
 */
static void test_pitfall_34_a_block_is_broken_before_parts_of_it_are_made(void **state)
{
    struct scene scene = open_scene(&tables);
    const uint64_t memory = 0x80000000;

    (void)state;
    scene.units->anything_goes = true;
    assert_int_equal(units_attach(scene.units, scene.device, scene.a), 0);
    for (unsigned int i = 0; i < 3; i++) {
        uint64_t block = IOVA + i * BLOCK;

        assert_int_equal(piommu_domain_map(scene.a, block, memory, BLOCK, RW), 0);
        assert_true(reaches(&scene, block, memory));
        assert_int_equal(piommu_domain_unmap_cut(scene.a, block + PAGE, PAGE, 0, NULL),
                         -PIOMMU_EHOLE);
        assert_int_equal(
            piommu_domain_unmap_cut(scene.a, block + PAGE, PAGE, PIOMMU_ALLOW_HOLE, NULL), 0);
        for (uint64_t page = 0; page < BLOCK / PAGE; page++) {
            uint64_t iova = block + page * PAGE;

            assert_int_equal(reaches_at_all(&scene, iova), page != 1);
            assert_true(page == 1 || reaches(&scene, iova, memory + page * PAGE));
        }
    }
    assert_int_equal(mock_conflicts(mock_of(&scene)), 0);
    units_close(scene.units);
}

/*
 * 35: "detached" that lets everything through, since the switch that is off is that of the
 * translation.
 */
static void test_pitfall_35_who_was_ever_added_is_never_left_as_firmware_had_it(void **state)
{
    struct units *units = units_open();
    const struct piommu_instance_config config = {.name = "mmu",
                                                  .unknown_ids = PIOMMU_UNKNOWN_IDS_LEAVE};
    unsigned int unit = units_prepare(units, options_of(state));
    struct piommu_device *device;
    struct piommu_domain *domain;
    uint64_t physical;

    assert_int_equal(units_start(units, unit, config), 0);
    /* As configured, this one is nobody's business. */
    assert_true(spy_reaches(units->spy, unit, 40, 0x123000, true, &physical));
    assert_int_equal(physical, 0x123000);
    device = units_device_one(units, "dma", unit, ID);
    domain = units_domain(units, "A", unit, 1);
    assert_false(spy_reaches(units->spy, unit, ID, 0x123000, false, &physical));
    assert_int_equal(units_attach(units, device, domain), 0);
    assert_false(spy_reaches(units->spy, unit, ID, 0x123000, false, &physical));
    units_detach(units, device);
    assert_false(spy_reaches(units->spy, unit, ID, 0x123000, false, &physical));
    spy_fail(units->spy, unit, SPY_ATTACH, 1, -PIOMMU_EIO);
    assert_int_equal(units_attach(units, device, domain), -PIOMMU_EIO);
    assert_false(spy_reaches(units->spy, unit, ID, 0x123000, false, &physical));
    units_remove(units, device);
    assert_false(spy_reaches(units->spy, unit, ID, 0x123000, false, &physical));
    assert_true(spy_reaches(units->spy, unit, 40, 0x123000, false, &physical));
    units_close(units);
}

/* 35: nor is the reset of a unit that has failed. */
static void test_pitfall_35_a_unit_that_was_reset_lets_nothing_through(void **state)
{
    struct scene scene = open_scene(options_of(state));

    assert_int_equal(units_attach(scene.units, scene.device, scene.a), 0);
    spy_fail(scene.units->spy, scene.unit, SPY_SERVICE, 1, -PIOMMU_EIO);
    assert_int_equal(piommu_instance_service(scene.instance, 1), -PIOMMU_EFAILED);
    assert_true(units_is_in(scene.units, scene.device, NULL));
    units_detach(scene.units, scene.device);
    units_remove(scene.units, scene.device);
    assert_true(units_id_is_in(scene.units, scene.unit, ID, NULL));
    units_close(scene.units);
}

int main(void)
{
#define BOTH(test)                                       \
    {#test " (tables)", test, NULL, NULL, &tables},      \
    {                                                    \
#test " (requests)", test, NULL, NULL, &requests \
    }
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pitfall_03_no_table_is_freed_that_hardware_may_walk),
        BOTH(test_pitfall_05_after_a_move_every_access_follows_the_new_domain),
        BOTH(test_pitfall_05_what_changed_in_an_empty_domain_is_seen_on_return),
        BOTH(test_pitfall_06_a_sync_that_is_not_answered_is_an_error_that_stays),
        BOTH(test_pitfall_07_a_unit_that_wakes_up_late_stays_failed),
        BOTH(test_pitfall_08_at_no_step_of_its_life_is_a_device_let_through),
        BOTH(test_pitfall_09_who_cannot_be_let_go_is_not_given_to_anybody_else),
        BOTH(test_pitfall_12_with_any_id_that_fails_no_id_enters),
        BOTH(test_pitfall_13_who_shares_a_translation_is_in_one_domain_always),
        BOTH(test_pitfall_14_no_failing_call_leads_to_a_domain_that_was_not_made),
        BOTH(test_pitfall_15_a_context_that_is_used_again_remembers_nothing),
        BOTH(test_pitfall_16_direct_memory_is_there_whenever_its_device_is),
        cmocka_unit_test(test_pitfall_17_a_walker_that_does_not_snoop_sees_every_change),
        cmocka_unit_test(test_pitfall_24_a_list_that_any_unit_refuses_is_nowhere),
        BOTH(test_pitfall_26_ranges_at_the_edges_are_taken_or_refused_exactly),
        BOTH(test_pitfall_27_unmap_says_exactly_what_there_was),
        BOTH(test_pitfall_28_no_call_waits_for_ever),
        BOTH(test_pitfall_30_no_lock_is_held_while_the_host_is_called),
        BOTH(test_pitfall_31_taking_a_domain_down_in_portions_is_bounded),
        cmocka_unit_test(test_pitfall_33_the_last_page_of_every_width_is_reached),
        cmocka_unit_test(test_pitfall_34_a_block_is_broken_before_parts_of_it_are_made),
        BOTH(test_pitfall_35_who_was_ever_added_is_never_left_as_firmware_had_it),
        BOTH(test_pitfall_35_a_unit_that_was_reset_lets_nothing_through),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
