/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Units that lose their power: nothing reaches them meanwhile, what changes is remembered, and they
 * come back blocking first. Devices try to reach memory after every call of the backend.
 */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include <piommu/piommu.h>

#include "units_fixture.h"

#define PAGE     0x1000ull
#define RW       (PIOMMU_PROT_READ | PIOMMU_PROT_WRITE)
#define MEMORY   0x50000000ull
#define ROOT_KEY 0x100u

static struct spy_options tables = {.kind = PIOMMU_BACKEND_TABLES};
static struct spy_options requests = {.kind = PIOMMU_BACKEND_REQUESTS};

static const struct spy_options *options_of(void **state)
{
    return *state;
}

static void suspend(struct units *units, unsigned int unit)
{
    assert_int_equal(piommu_instance_suspend(units->instances[unit]), 0);
    assert_int_equal(units_state(units, unit), PIOMMU_INSTANCE_SUSPENDED);
    units_probe(units);
}

static void resume(struct units *units, unsigned int unit)
{
    assert_int_equal(piommu_instance_resume(units->instances[unit]), 0);
    assert_int_equal(units_state(units, unit), PIOMMU_INSTANCE_RUNNING);
    units_probe(units);
}

/* Calls of a unit that reach hardware: while it is without power there must be none. */
static void expect_untouched(const struct units *units, unsigned int unit)
{
    static const enum spy_call touching[] = {
        SPY_ADD_ENDPOINT, SPY_ATTACH,  SPY_BLOCK,  SPY_MAP,       SPY_UNMAP, SPY_INVALIDATE,
        SPY_SERVICE,      SPY_SUSPEND, SPY_RESUME, SPY_BLOCK_NOW, SPY_STOP};

    for (size_t i = 0; i < sizeof(touching) / sizeof(touching[0]); i++) {
        assert_int_equal(spy_count(units->spy, unit, touching[i]), 0);
    }
}

/* One unit with two devices and two domains. */
struct scene {
    struct units *units;
    unsigned int unit;
    struct piommu_instance *instance;
    struct piommu_device *first;
    struct piommu_device *second;
    struct piommu_domain *a;
    struct piommu_domain *b;
};

static struct scene open_scene(const struct spy_options *options)
{
    struct scene scene = {.units = units_open()};

    scene.unit = units_add(scene.units, options, "mmu");
    scene.instance = scene.units->instances[scene.unit];
    scene.first = units_device(scene.units, "first",
                               (const struct units_id[]){{scene.unit, 5}, {scene.unit, 6}}, 2);
    scene.second = units_device_one(scene.units, "second", scene.unit, 7);
    scene.a = units_domain(scene.units, "A", scene.unit, 1);
    scene.b = units_domain(scene.units, "B", scene.unit, 1);
    return scene;
}

/* ---- What happens meanwhile ---- */

static void test_a_suspended_unit_says_so_and_lets_nothing_through(void **state)
{
    struct scene scene = open_scene(options_of(state));
    struct piommu_instance_info info;

    piommu_instance_get_info(scene.instance, &info);
    assert_true(info.suspend);
    assert_int_equal(units_attach(scene.units, scene.first, scene.a), 0);
    suspend(scene.units, scene.unit);
    assert_true(units_is_in(scene.units, scene.first, NULL));
    piommu_instance_get_info(scene.instance, &info);
    assert_int_equal(info.state, PIOMMU_INSTANCE_SUSPENDED);
    assert_false(info.failed);
    assert_int_equal(info.granule, PAGE);
    resume(scene.units, scene.unit);
    assert_true(units_is_in(scene.units, scene.first, scene.a));
    units_close(scene.units);
}

static void test_suspending_twice_and_resuming_twice_is_once(void **state)
{
    struct scene scene = open_scene(options_of(state));

    assert_int_equal(units_attach(scene.units, scene.first, scene.a), 0);
    spy_forget(scene.units->spy);
    assert_int_equal(piommu_instance_resume(scene.instance), 0);
    assert_int_equal(spy_calls(scene.units->spy, SPY_ANY), 0);
    suspend(scene.units, scene.unit);
    suspend(scene.units, scene.unit);
    assert_int_equal(spy_count(scene.units->spy, scene.unit, SPY_SUSPEND), 1);
    resume(scene.units, scene.unit);
    spy_forget(scene.units->spy);
    resume(scene.units, scene.unit);
    assert_int_equal(spy_calls(scene.units->spy, SPY_ANY), 0);
    assert_true(units_is_in(scene.units, scene.first, scene.a));
    assert_int_equal(piommu_instance_suspend(NULL), -PIOMMU_EINVAL);
    assert_int_equal(piommu_instance_resume(NULL), -PIOMMU_EINVAL);
    units_close(scene.units);
}

static void test_nothing_reaches_a_suspended_unit(void **state)
{
    struct scene scene = open_scene(options_of(state));
    struct units *units = scene.units;
    struct piommu_gather gather;
    struct piommu_translation translation;
    struct piommu_domain *c;
    bool more = true;

    assert_int_equal(units_attach(units, scene.first, scene.a), 0);
    suspend(units, scene.unit);
    spy_forget(units->spy);

    assert_int_equal(piommu_domain_map(scene.a, 0x7000000, MEMORY, 4 * PAGE, RW), 0);
    assert_int_equal(piommu_domain_lookup(scene.a, 0x7001000, &translation), 0);
    piommu_gather_init(&gather);
    assert_int_equal(piommu_domain_unmap(scene.a, 0x7000000, 4 * PAGE, &gather, NULL), 0);
    assert_int_equal(piommu_domain_sync(scene.a, &gather), 0);
    assert_false(gather.pending);
    assert_int_equal(piommu_domain_map(scene.a, 0x7000000, MEMORY, PAGE, RW), 0);
    assert_int_equal(
        piommu_domain_protect(scene.a, 0x7000000, PAGE, PIOMMU_PROT_READ, PIOMMU_ALLOW_HOLE, NULL),
        0);
    assert_int_equal(
        piommu_domain_replace(scene.a, 0x7000000, MEMORY + PAGE, PAGE, RW, PIOMMU_ALLOW_HOLE, NULL),
        0);
    assert_int_equal(piommu_domain_unmap_cut(scene.a, 0x7000000, PAGE, PIOMMU_ALLOW_HOLE, NULL), 0);
    if (options_of(state)->kind == PIOMMU_BACKEND_TABLES) {
        assert_int_equal(piommu_domain_invalidate(scene.a, 0, UINT64_MAX), 0);
    }
    assert_int_equal(units_attach(units, scene.second, scene.a), 0);
    assert_int_equal(units_attach(units, scene.first, scene.b), 0);
    units_detach(units, scene.second);
    c = units_domain(units, "C", scene.unit, 1);
    assert_int_equal(units_attach(units, scene.second, c), 0);
    units_detach(units, scene.second);
    units_drop(units, c);
    assert_int_equal(piommu_instance_service(scene.instance, 4), 0);
    assert_int_equal(piommu_instance_interrupt(scene.instance, 4, &more), 0);
    assert_false(more);
    expect_untouched(units, scene.unit);

    resume(units, scene.unit);
    assert_true(units_is_in(units, scene.first, scene.b));
    assert_true(units_is_in(units, scene.second, NULL));
    units_close(units);
}

static void test_what_was_mapped_meanwhile_is_there_and_what_was_unmapped_is_not(void **state)
{
    struct scene scene = open_scene(options_of(state));
    struct units *units = scene.units;
    uint64_t own = units_own_page(units, scene.a);
    uint64_t physical;

    assert_int_equal(units_attach(units, scene.first, scene.a), 0);
    /* Both pages are in the unit's caches. */
    assert_true(units_is_in(units, scene.first, scene.a));
    suspend(units, scene.unit);
    units_unmap(scene.a, own, PAGE);
    assert_int_equal(piommu_domain_map(scene.a, 0x7000000, MEMORY, PAGE, RW), 0);
    units->anything_goes = true;
    resume(units, scene.unit);
    for (uint32_t id = 5; id <= 6; id++) {
        assert_false(spy_reaches(units->spy, scene.unit, id, own, false, &physical));
        assert_true(spy_reaches(units->spy, scene.unit, id, UNITS_PAGE, true, &physical));
        assert_true(spy_reaches(units->spy, scene.unit, id, 0x7000000, true, &physical));
        assert_int_equal(physical, MEMORY);
    }
    units_close(units);
}

static void test_groups_move_while_their_unit_sleeps(void **state)
{
    struct scene scene = open_scene(options_of(state));
    struct units *units = scene.units;

    assert_int_equal(units_attach(units, scene.first, scene.a), 0);
    assert_int_equal(units_attach(units, scene.second, scene.a), 0);
    suspend(units, scene.unit);
    assert_int_equal(units_attach(units, scene.first, scene.b), 0);
    assert_ptr_equal(units_domain_of(scene.first), scene.b);
    units_detach(units, scene.second);
    assert_null(units_domain_of(scene.second));
    /* What they say of themselves is what will be. */
    assert_int_equal(units_id_state(scene.first, 0), PIOMMU_ID_ATTACHED);
    assert_int_equal(units_id_state(scene.first, 1), PIOMMU_ID_ATTACHED);
    assert_int_equal(units_id_state(scene.second, 0), PIOMMU_ID_BLOCKED);
    resume(units, scene.unit);
    assert_true(units_is_in(units, scene.first, scene.b));
    assert_true(units_is_in(units, scene.second, NULL));
    /* The domain that they left holds nobody. */
    units_drop(units, scene.a);
    units_close(units);
}

static void test_a_device_is_attached_for_the_first_time_while_its_unit_sleeps(void **state)
{
    struct scene scene = open_scene(options_of(state));
    struct units *units = scene.units;
    struct piommu_domain *late;

    suspend(units, scene.unit);
    late = units_domain(units, "late", scene.unit, 1);
    spy_forget(units->spy);
    assert_int_equal(units_attach(units, scene.first, late), 0);
    expect_untouched(units, scene.unit);
    resume(units, scene.unit);
    assert_true(units_is_in(units, scene.first, late));
    units_close(units);
}

static void test_an_attach_that_cannot_be_is_refused_while_the_unit_sleeps(void **state)
{
    struct units *units = units_open();
    struct spy_options scarce = *options_of(state);
    struct piommu_device *device;
    struct piommu_domain *first;
    struct piommu_domain *second;
    unsigned int unit;

    scarce.contexts = 1;
    (void)units_add(units, options_of(state), "plenty");
    unit = units_add(units, &scarce, "scarce");
    device = units_device_one(units, "dma", unit, 5);
    first = units_domain(units, "first", 0, 1);
    second = units_domain(units, "second", 0, 1);
    assert_int_equal(units_attach(units, device, first), 0);
    suspend(units, unit);
    assert_int_equal(units_attach(units, device, second), -PIOMMU_ENOSPC);
    assert_ptr_equal(units_domain_of(device), first);
    resume(units, unit);
    assert_true(units_is_in(units, device, first));
    units_close(units);
}

static void test_devices_cannot_be_added_while_an_instance_sleeps(void **state)
{
    struct units *units = units_open();
    unsigned int asleep = units_add(units, options_of(state), "asleep");
    unsigned int awake = units_add(units, options_of(state), "awake");
    const struct piommu_device_id places[] = {
        {.instance = units->instances[awake], .key = 0, .id = 5},
        {.instance = units->instances[asleep], .key = 0, .id = 6}};
    const struct units_id ids[] = {{awake, 5}, {asleep, 6}};
    const struct piommu_device_config config = {.ids = places, .id_count = 2, .name = "dma"};
    struct piommu_device *device = NULL;
    uint64_t bytes;

    suspend(units, asleep);
    spy_forget(units->spy);
    bytes = fake_os_bytes_outstanding(units->os);
    assert_int_equal(units_try_device(units, &config, ids, &device), -PIOMMU_EBUSY);
    assert_null(device);
    expect_untouched(units, asleep);
    assert_int_equal(fake_os_bytes_outstanding(units->os), bytes);
    assert_int_equal(spy_count(units->spy, awake, SPY_ADD_ENDPOINT),
                     spy_count(units->spy, awake, SPY_RELEASE_ENDPOINT));
    resume(units, asleep);
    assert_int_equal(units_try_device(units, &config, ids, &device), 0);
    assert_int_equal(units_attach(units, device, units_domain(units, "A", 0, 2)), 0);
    assert_true(units_is_in(units, device, units->domains[0]));
    units_close(units);
}

static void test_a_device_can_be_removed_while_its_unit_sleeps(void **state)
{
    struct scene scene = open_scene(options_of(state));
    struct units *units = scene.units;

    assert_int_equal(units_attach(units, scene.first, scene.a), 0);
    suspend(units, scene.unit);
    spy_forget(units->spy);
    units_remove(units, scene.second);
    assert_int_equal(piommu_device_remove(scene.first), -PIOMMU_EBUSY);
    units_detach(units, scene.first);
    units_remove(units, scene.first);
    expect_untouched(units, scene.unit);
    resume(units, scene.unit);
    assert_true(units_id_is_in(units, scene.unit, 5, NULL));
    assert_int_equal(spy_count(units->spy, scene.unit, SPY_ATTACH), 0);
    units_close(units);
}

static void test_an_instance_can_be_destroyed_while_it_sleeps(void **state)
{
    struct units *units = units_open();
    unsigned int unit = units_add(units, options_of(state), "mmu");

    suspend(units, unit);
    assert_int_equal(piommu_instance_destroy(units->instances[unit]), 0);
    units->instances[unit] = NULL;
    assert_false(spy_runs(units->spy, unit));
    units_close(units);
}

/* ---- The way back ---- */

static void test_a_unit_blocks_everything_before_anybody_enters(void **state)
{
    struct scene scene = open_scene(options_of(state));
    struct units *units = scene.units;

    assert_int_equal(units_attach(units, scene.first, scene.a), 0);
    assert_int_equal(units_attach(units, scene.second, scene.b), 0);
    suspend(units, scene.unit);
    spy_forget(units->spy);
    resume(units, scene.unit);
    /* The backend starts and blocks; then each ID enters its domain, once. */
    assert_int_equal(spy_count(units->spy, scene.unit, SPY_RESUME), 1);
    assert_int_equal(spy_find(units->spy, scene.unit, SPY_RESUME, 1), 0);
    assert_int_equal(spy_count(units->spy, scene.unit, SPY_ATTACH), 3);
    if (options_of(state)->kind == PIOMMU_BACKEND_REQUESTS) {
        /* It has forgotten the mappings of both domains, and is told again. */
        assert_int_equal(spy_count(units->spy, scene.unit, SPY_MAP), 2);
        assert_true(spy_find(units->spy, scene.unit, SPY_ATTACH, 1) <
                    spy_find(units->spy, scene.unit, SPY_MAP, 1));
    }
    assert_true(units_is_in(units, scene.first, scene.a));
    assert_true(units_is_in(units, scene.second, scene.b));
    units_close(units);
}

/* What a device may reach at most at a step: nothing before the unit has blocked everything. */
static void look_at_every_step(void *ctx)
{
    struct units *units = ctx;

    if (spy_count(units->spy, 0, SPY_RESUME) == 0) {
        for (unsigned int i = 0; i < units->device_count; i++) {
            if (units->devices[i].device != NULL) {
                assert_true(units_is_in(units, units->devices[i].device, NULL));
            }
        }
    }
    units_probe(units);
}

static void test_at_no_step_of_the_way_back_is_more_reached_than_granted(void **state)
{
    struct scene scene = open_scene(options_of(state));
    struct units *units = scene.units;
    unsigned long probes;

    assert_int_equal(units_attach(units, scene.first, scene.a), 0);
    assert_int_equal(units_attach(units, scene.second, scene.a), 0);
    suspend(units, scene.unit);
    assert_int_equal(units_attach(units, scene.first, scene.b), 0);
    units_detach(units, scene.second);
    spy_forget(units->spy);
    spy_observe(units->spy, look_at_every_step, units);
    probes = units->probes;
    resume(units, scene.unit);
    assert_true(units->probes > probes);
    spy_observe(units->spy, units_probe, units);
    assert_true(units_is_in(units, scene.first, scene.b));
    assert_true(units_is_in(units, scene.second, NULL));
    units_close(units);
}

static void test_a_unit_that_does_not_sleep_has_failed(void **state)
{
    struct scene scene = open_scene(options_of(state));
    struct units *units = scene.units;

    assert_int_equal(units_attach(units, scene.first, scene.a), 0);
    spy_fail(units->spy, scene.unit, SPY_SUSPEND, 1, -PIOMMU_ETIMEDOUT);
    assert_int_equal(piommu_instance_suspend(scene.instance), -PIOMMU_EFAILED);
    assert_int_equal(units_state(units, scene.unit), PIOMMU_INSTANCE_FAILED);
    assert_true(units_is_in(units, scene.first, NULL));
    assert_int_equal(piommu_instance_suspend(scene.instance), -PIOMMU_EFAILED);
    units_close(units);
}

static void test_a_unit_that_does_not_come_back_has_failed(void **state)
{
    static const struct {
        enum spy_call call;
        unsigned int nth;
        int error;
        bool requests_only;
    } cases[] = {
        {SPY_RESUME, 1, -PIOMMU_EIO, false},       {SPY_RESUME, 1, -PIOMMU_ETIMEDOUT, false},
        {SPY_ATTACH, 1, -PIOMMU_EIO, false},       {SPY_ATTACH, 2, -PIOMMU_EIO, false},
        {SPY_ATTACH, 3, -PIOMMU_ETIMEDOUT, false}, {SPY_MAP, 1, -PIOMMU_ENOMEM, true},
        {SPY_MAP, 2, -PIOMMU_EIO, true},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct scene scene = open_scene(options_of(state));
        struct units *units = scene.units;

        if (cases[i].requests_only && options_of(state)->kind != PIOMMU_BACKEND_REQUESTS) {
            units_close(units);
            continue;
        }
        assert_int_equal(units_attach(units, scene.first, scene.a), 0);
        assert_int_equal(units_attach(units, scene.second, scene.b), 0);
        suspend(units, scene.unit);
        spy_fail(units->spy, scene.unit, cases[i].call, cases[i].nth, cases[i].error);
        assert_int_equal(piommu_instance_resume(scene.instance), -PIOMMU_EFAILED);
        assert_int_equal(units_state(units, scene.unit), PIOMMU_INSTANCE_FAILED);
        assert_true(units_is_in(units, scene.first, NULL));
        assert_true(units_is_in(units, scene.second, NULL));
        assert_int_equal(piommu_instance_resume(scene.instance), -PIOMMU_EFAILED);
        units_close(units);
    }
}

static void test_a_failed_unit_neither_sleeps_nor_wakes(void **state)
{
    struct scene scene = open_scene(options_of(state));

    spy_fail(scene.units->spy, scene.unit, SPY_SERVICE, 1, -PIOMMU_EIO);
    assert_int_equal(piommu_instance_service(scene.instance, 1), -PIOMMU_EFAILED);
    assert_int_equal(piommu_instance_suspend(scene.instance), -PIOMMU_EFAILED);
    assert_int_equal(spy_count(scene.units->spy, scene.unit, SPY_SUSPEND), 0);
    units_close(scene.units);
}

static void test_hardware_that_cannot_sleep_says_so(void **state)
{
    struct spy_options options = *options_of(state);
    struct piommu_instance_info info;
    struct scene scene;

    options.bare = true;
    scene = open_scene(&options);
    piommu_instance_get_info(scene.instance, &info);
    assert_false(info.suspend);
    assert_int_equal(units_attach(scene.units, scene.first, scene.a), 0);
    spy_forget(scene.units->spy);
    assert_int_equal(piommu_instance_suspend(scene.instance), -PIOMMU_EOPNOTSUPP);
    assert_int_equal(spy_calls(scene.units->spy, SPY_ANY), 0);
    assert_int_equal(units_state(scene.units, scene.unit), PIOMMU_INSTANCE_RUNNING);
    assert_true(units_is_in(scene.units, scene.first, scene.a));
    units_close(scene.units);
}

static void test_who_was_blocked_because_of_a_fault_stays_so(void **state)
{
    struct scene scene = open_scene(options_of(state));
    struct units *units = scene.units;
    const struct piommu_backend_fault fault = {.id = 7, .reason = PIOMMU_FAULT_MAPPING};

    assert_int_equal(units_attach(units, scene.second, scene.a), 0);
    units->answer = PIOMMU_FAULT_BLOCK;
    mock_raise_fault(spy_mock(units->spy, scene.unit), &fault);
    assert_int_equal(piommu_instance_service(scene.instance, 1), 1);
    units_grant(units, scene.second, NULL);
    suspend(units, scene.unit);
    resume(units, scene.unit);
    assert_true(units_is_in(units, scene.second, NULL));
    assert_true(units_fault_blocked(scene.second));
    assert_ptr_equal(units_domain_of(scene.second), scene.a);
    assert_int_equal(units_attach(units, scene.second, scene.a), 0);
    assert_true(units_is_in(units, scene.second, scene.a));
    units_close(units);
}

static void test_who_was_blocked_in_an_interrupt_stays_so(void **state)
{
    for (unsigned int refuses = 0; refuses < 2; refuses++) {
        struct scene scene = open_scene(options_of(state));
        struct units *units = scene.units;
        const struct piommu_backend_fault fault = {.id = 7, .reason = PIOMMU_FAULT_MAPPING};

        assert_int_equal(units_attach(units, scene.second, scene.a), 0);
        /* Blocked at once, or, if that is refused, at the next service. */
        spy_fail(units->spy, scene.unit, SPY_BLOCK_NOW, refuses, -PIOMMU_EBUSY);
        units->answer = PIOMMU_FAULT_BLOCK;
        mock_raise_fault(spy_mock(units->spy, scene.unit), &fault);
        assert_int_equal(piommu_instance_interrupt(scene.instance, 1, NULL), 1);
        if (refuses == 0) {
            units_grant(units, scene.second, NULL);
        }
        suspend(units, scene.unit);
        resume(units, scene.unit);
        assert_int_equal(piommu_instance_service(scene.instance, 1), 0);
        units_grant(units, scene.second, NULL);
        assert_true(units_is_in(units, scene.second, NULL));
        assert_true(units_fault_blocked(scene.second));
        assert_int_equal(units_attach(units, scene.second, scene.a), 0);
        assert_true(units_is_in(units, scene.second, scene.a));
        units_close(units);
    }
}

static void test_who_enters_while_the_unit_sleeps_is_not_blocked_for_an_old_fault(void **state)
{
    struct scene scene = open_scene(options_of(state));
    struct units *units = scene.units;
    const struct piommu_backend_fault fault = {.id = 7, .reason = PIOMMU_FAULT_MAPPING};

    assert_int_equal(units_attach(units, scene.second, scene.a), 0);
    units->answer = PIOMMU_FAULT_BLOCK;
    mock_raise_fault(spy_mock(units->spy, scene.unit), &fault);
    assert_int_equal(piommu_instance_service(scene.instance, 1), 1);
    units_grant(units, scene.second, NULL);
    suspend(units, scene.unit);
    assert_int_equal(units_attach(units, scene.second, scene.a), 0);
    assert_false(units_fault_blocked(scene.second));
    resume(units, scene.unit);
    assert_true(units_is_in(units, scene.second, scene.a));
    units_close(units);
}

/* ---- Domains over several instances ---- */

static void test_a_domain_goes_on_where_its_other_unit_is_awake(void **state)
{
    struct units *units = units_open();
    struct piommu_device *sleeper;
    struct piommu_device *runner;
    struct piommu_domain *domain;
    uint64_t physical;

    (void)units_add(units, options_of(state), "sleeper");
    (void)units_add(units, options_of(state), "runner");
    sleeper = units_device_one(units, "sleeper", 0, 5);
    runner = units_device_one(units, "runner", 1, 6);
    domain = units_domain(units, "A", 0, 2);
    assert_int_equal(units_attach(units, sleeper, domain), 0);
    assert_int_equal(units_attach(units, runner, domain), 0);
    assert_true(units_is_in(units, sleeper, domain));
    suspend(units, 0);
    spy_forget(units->spy);
    units->anything_goes = true;
    assert_int_equal(piommu_domain_map(domain, 0x7000000, MEMORY, PAGE, RW), 0);
    assert_true(spy_reaches(units->spy, 1, 6, 0x7000000, true, &physical));
    units_unmap(domain, units_own_page(units, domain), PAGE);
    assert_false(spy_reaches(units->spy, 1, 6, units_own_page(units, domain), false, &physical));
    expect_untouched(units, 0);
    resume(units, 0);
    assert_true(spy_reaches(units->spy, 0, 5, 0x7000000, true, &physical));
    assert_int_equal(physical, MEMORY);
    assert_false(spy_reaches(units->spy, 0, 5, units_own_page(units, domain), false, &physical));
    assert_true(spy_reaches(units->spy, 0, 5, UNITS_PAGE, false, &physical));
    units_close(units);
}

static void test_a_group_over_two_units_moves_while_one_of_them_sleeps(void **state)
{
    struct units *units = units_open();
    struct piommu_device *device;
    struct piommu_domain *a;
    struct piommu_domain *b;

    (void)units_add(units, options_of(state), "sleeper");
    (void)units_add(units, options_of(state), "runner");
    device = units_device(units, "dma", (const struct units_id[]){{0, 5}, {1, 6}}, 2);
    a = units_domain(units, "A", 0, 2);
    b = units_domain(units, "B", 0, 2);
    assert_int_equal(units_attach(units, device, a), 0);
    suspend(units, 0);
    spy_forget(units->spy);
    assert_int_equal(units_attach(units, device, b), 0);
    expect_untouched(units, 0);
    assert_true(units_id_is_in(units, 1, 6, b));
    assert_true(units_id_is_in(units, 0, 5, NULL));
    resume(units, 0);
    assert_true(units_is_in(units, device, b));
    units_close(units);
}

static void test_a_fault_blocks_a_group_of_which_one_unit_sleeps(void **state)
{
    struct units *units = units_open();
    const struct piommu_backend_fault fault = {.id = 6, .reason = PIOMMU_FAULT_MAPPING};
    struct piommu_device *device;
    struct piommu_domain *domain;

    (void)units_add(units, options_of(state), "sleeper");
    (void)units_add(units, options_of(state), "runner");
    device = units_device(units, "dma", (const struct units_id[]){{0, 5}, {1, 6}}, 2);
    domain = units_domain(units, "A", 0, 2);
    assert_int_equal(units_attach(units, device, domain), 0);
    suspend(units, 0);
    spy_forget(units->spy);
    units->answer = PIOMMU_FAULT_BLOCK;
    mock_raise_fault(spy_mock(units->spy, 1), &fault);
    assert_int_equal(piommu_instance_service(units->instances[1], 1), 1);
    units_grant(units, device, NULL);
    expect_untouched(units, 0);
    assert_true(units_fault_blocked(device));
    resume(units, 0);
    assert_true(units_is_in(units, device, NULL));
    assert_true(units_fault_blocked(device));
    assert_int_equal(units_attach(units, device, domain), 0);
    assert_true(units_is_in(units, device, domain));
    units_close(units);
}

static void test_a_unit_that_fails_while_another_sleeps_fails_alone(void **state)
{
    struct units *units = units_open();
    struct piommu_device *sleeper;
    struct piommu_device *runner;
    struct piommu_domain *domain;
    struct piommu_gather gather;

    (void)units_add(units, options_of(state), "sleeper");
    (void)units_add(units, options_of(state), "runner");
    sleeper = units_device_one(units, "sleeper", 0, 5);
    runner = units_device_one(units, "runner", 1, 6);
    domain = units_domain(units, "A", 0, 2);
    assert_int_equal(units_attach(units, sleeper, domain), 0);
    assert_int_equal(units_attach(units, runner, domain), 0);
    suspend(units, 0);
    spy_forget(units->spy);
    piommu_gather_init(&gather);
    assert_int_equal(
        piommu_domain_unmap(domain, units_own_page(units, domain), PAGE, &gather, NULL), 0);
    spy_fail(units->spy, 1, SPY_INVALIDATE, 1, -PIOMMU_EIO);
    spy_fail(units->spy, 1, SPY_UNMAP, 1, -PIOMMU_EIO);
    assert_int_equal(piommu_domain_sync(domain, &gather), -PIOMMU_EFAILED);
    assert_int_equal(units_state(units, 0), PIOMMU_INSTANCE_SUSPENDED);
    assert_int_equal(units_state(units, 1), PIOMMU_INSTANCE_FAILED);
    expect_untouched(units, 0);
    units_detach(units, runner);
    assert_int_equal(piommu_domain_sync(domain, &gather), 0);
    units->anything_goes = true;
    resume(units, 0);
    {
        uint64_t physical;

        assert_true(spy_reaches(units->spy, 0, 5, UNITS_PAGE, false, &physical));
        assert_false(
            spy_reaches(units->spy, 0, 5, units_own_page(units, domain), false, &physical));
    }
    units_close(units);
}

static void test_a_family_sleeps_from_the_leaves_and_wakes_from_the_root(void **state)
{
    struct units *units = units_open();
    struct piommu_device *devices[3];
    struct piommu_domain *domain;

    (void)units_add_keyed(units, options_of(state), "main", ROOT_KEY, 0);
    (void)units_add_keyed(units, options_of(state), "cache0", 0, ROOT_KEY);
    (void)units_add_keyed(units, options_of(state), "cache1", 0, ROOT_KEY);
    for (unsigned int i = 0; i < 3; i++) {
        devices[i] = units_device_one(units, "dma", i, 5 + i);
    }
    domain = units_domain(units, "A", 0, 3);
    for (unsigned int i = 0; i < 3; i++) {
        assert_int_equal(units_attach(units, devices[i], domain), 0);
    }
    assert_int_equal(piommu_instance_suspend(units->instances[0]), -PIOMMU_EBUSY);
    suspend(units, 1);
    assert_int_equal(piommu_instance_suspend(units->instances[0]), -PIOMMU_EBUSY);
    assert_int_equal(spy_count(units->spy, 0, SPY_SUSPEND), 0);
    assert_true(units_is_in(units, devices[0], domain));
    assert_true(units_is_in(units, devices[1], NULL));
    assert_true(units_is_in(units, devices[2], domain));
    suspend(units, 2);
    suspend(units, 0);
    assert_int_equal(piommu_instance_resume(units->instances[1]), -PIOMMU_EBUSY);
    assert_int_equal(spy_count(units->spy, 1, SPY_RESUME), 0);
    resume(units, 0);
    assert_true(units_is_in(units, devices[0], domain));
    assert_true(units_is_in(units, devices[1], NULL));
    resume(units, 2);
    resume(units, 1);
    for (unsigned int i = 0; i < 3; i++) {
        assert_true(units_is_in(units, devices[i], domain));
    }
    units_close(units);
}

static void test_a_child_cannot_start_below_a_sleeping_parent(void **state)
{
    struct units *units = units_open();
    unsigned int root = units_add_keyed(units, options_of(state), "main", ROOT_KEY, 0);
    unsigned int child = units_prepare(units, options_of(state));
    const struct piommu_instance_config config = {.name = "cache", .parent_key = ROOT_KEY};

    suspend(units, root);
    spy_forget(units->spy);
    assert_int_equal(units_start(units, child, config), -PIOMMU_EBUSY);
    assert_int_equal(spy_calls(units->spy, child), 0);
    assert_null(units->instances[child]);
    resume(units, root);
    assert_int_equal(units_start(units, child, config), 0);
    assert_int_equal(units_state(units, child), PIOMMU_INSTANCE_RUNNING);
    units_close(units);
}

static void test_what_a_family_remembers_for_a_sleeping_child_is_invalidated(void **state)
{
    struct units *units = units_open();
    struct piommu_device *of_root;
    struct piommu_device *of_child;
    struct piommu_domain *domain;
    uint64_t own;
    uint64_t physical;

    (void)state;
    (void)units_add_keyed(units, &tables, "main", ROOT_KEY, 0);
    (void)units_add_keyed(units, &tables, "cache", 0, ROOT_KEY);
    of_root = units_device_one(units, "root's", 0, 5);
    of_child = units_device_one(units, "child's", 1, 6);
    domain = units_domain(units, "A", 0, 2);
    own = units_own_page(units, domain);
    /* The root knows the context, though nobody of its own is left in the domain. */
    assert_int_equal(units_attach(units, of_root, domain), 0);
    assert_int_equal(units_attach(units, of_child, domain), 0);
    units_detach(units, of_root);
    assert_true(units_is_in(units, of_child, domain));
    suspend(units, 1);
    spy_forget(units->spy);
    units->anything_goes = true;
    units_unmap(domain, own, PAGE);
    expect_untouched(units, 1);
    assert_int_equal(piommu_domain_map(domain, own, MEMORY + PAGE, PAGE, RW), 0);
    resume(units, 1);
    assert_true(spy_reaches(units->spy, 1, 6, own, false, &physical));
    assert_int_equal(physical, MEMORY + PAGE);
    units_close(units);
}

static void test_a_failed_unit_does_not_keep_its_family_from_sleeping(void **state)
{
    struct units *units = units_open();

    (void)units_add_keyed(units, options_of(state), "main", ROOT_KEY, 0);
    (void)units_add_keyed(units, options_of(state), "cache", 0, ROOT_KEY);
    spy_fail(units->spy, 1, SPY_SERVICE, 1, -PIOMMU_EIO);
    assert_int_equal(piommu_instance_service(units->instances[1], 1), -PIOMMU_EFAILED);
    /* "Not suspended" it is, so the parent may be refused; once it is gone there is no reason. */
    (void)piommu_instance_suspend(units->instances[0]);
    assert_int_equal(piommu_instance_resume(units->instances[0]), 0);
    assert_int_equal(piommu_instance_destroy(units->instances[1]), 0);
    units->instances[1] = NULL;
    suspend(units, 0);
    resume(units, 0);
    units_close(units);
}

/* ---- Again and again ---- */

static uint32_t next_number(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

#define PLACES 6u

/* One step of a random program: a call that changes a domain, or who is in it. */
static void random_step(struct scene *scene, uint32_t *seed, bool mapped[2][PLACES])
{
    struct piommu_device *const devices[] = {scene->first, scene->second};
    struct piommu_domain *const domains[] = {scene->a, scene->b};
    uint32_t choice = next_number(seed);
    uint32_t domain = choice & 1u;
    uint32_t device = choice >> 1 & 1u;
    uint32_t place = (choice >> 2) % PLACES;
    uint64_t iova = 0x40000000ull + place * 0x200000ull;

    switch ((choice >> 8) % 4) {
    case 0:
        assert_int_equal(units_attach(scene->units, devices[device], domains[domain]), 0);
        break;
    case 1:
        units_detach(scene->units, devices[device]);
        break;
    default:
        if (mapped[domain][place]) {
            units_unmap(domains[domain], iova, PAGE);
        } else {
            assert_int_equal(
                piommu_domain_map(domains[domain], iova, MEMORY + place * PAGE, PAGE, RW), 0);
        }
        mapped[domain][place] = !mapped[domain][place];
        break;
    }
}

static void expect_as_planned(struct scene *scene, bool mapped[2][PLACES])
{
    struct piommu_device *const devices[] = {scene->first, scene->second};
    struct piommu_domain *const domains[] = {scene->a, scene->b};

    for (unsigned int i = 0; i < 2; i++) {
        struct piommu_domain *domain = units_domain_of(devices[i]);
        unsigned int number = domain == domains[1] ? 1 : 0;

        assert_true(units_is_in(scene->units, devices[i], domain));
        for (unsigned int place = 0; place < PLACES; place++) {
            uint64_t iova = 0x40000000ull + place * 0x200000ull;
            uint64_t physical;
            bool reaches =
                spy_reaches(scene->units->spy, scene->unit, i == 0 ? 6 : 7, iova, true, &physical);

            assert_int_equal(reaches, domain != NULL && mapped[number][place]);
            assert_true(!reaches || physical == MEMORY + place * PAGE);
        }
    }
}

static void test_power_goes_off_and_on_many_times(void **state)
{
    for (uint32_t first_seed = 1; first_seed <= 4; first_seed++) {
        struct scene scene = open_scene(options_of(state));
        bool mapped[2][PLACES] = {{false}, {false}};
        uint32_t seed = first_seed;
        uint64_t bytes = 0;

        print_message("seed %u\n", (unsigned int)first_seed);
        for (unsigned int round = 0; round < 60; round++) {
            for (unsigned int i = 0; i < 4; i++) {
                random_step(&scene, &seed, mapped);
            }
            expect_as_planned(&scene, mapped);
            suspend(scene.units, scene.unit);
            spy_forget(scene.units->spy);
            for (unsigned int i = 0; i < 6; i++) {
                random_step(&scene, &seed, mapped);
            }
            expect_untouched(scene.units, scene.unit);
            resume(scene.units, scene.unit);
            expect_as_planned(&scene, mapped);
        }
        /* Without any change nothing is used up by it. */
        for (unsigned int round = 0; round < 20; round++) {
            suspend(scene.units, scene.unit);
            resume(scene.units, scene.unit);
            bytes = bytes != 0 ? bytes : fake_os_bytes_outstanding(scene.units->os);
            assert_int_equal(fake_os_bytes_outstanding(scene.units->os), bytes);
            spy_forget(scene.units->spy);
        }
        expect_as_planned(&scene, mapped);
        units_close(scene.units);
    }
}

static void test_coming_back_needs_no_memory(void **state)
{
    struct scene scene = open_scene(options_of(state));

    assert_int_equal(units_attach(scene.units, scene.first, scene.a), 0);
    assert_int_equal(units_attach(scene.units, scene.second, scene.b), 0);
    /* It must not depend on luck whether a system wakes up: failing calls would be used. */
    fake_os_fail_call(scene.units->os, 1, true);
    suspend(scene.units, scene.unit);
    resume(scene.units, scene.unit);
    fake_os_fail_call(scene.units->os, 0, false);
    assert_true(units_is_in(scene.units, scene.first, scene.a));
    assert_true(units_is_in(scene.units, scene.second, scene.b));
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
        BOTH(test_a_suspended_unit_says_so_and_lets_nothing_through),
        BOTH(test_suspending_twice_and_resuming_twice_is_once),
        BOTH(test_nothing_reaches_a_suspended_unit),
        BOTH(test_what_was_mapped_meanwhile_is_there_and_what_was_unmapped_is_not),
        BOTH(test_groups_move_while_their_unit_sleeps),
        BOTH(test_a_device_is_attached_for_the_first_time_while_its_unit_sleeps),
        BOTH(test_an_attach_that_cannot_be_is_refused_while_the_unit_sleeps),
        BOTH(test_devices_cannot_be_added_while_an_instance_sleeps),
        BOTH(test_a_device_can_be_removed_while_its_unit_sleeps),
        BOTH(test_an_instance_can_be_destroyed_while_it_sleeps),
        BOTH(test_a_unit_blocks_everything_before_anybody_enters),
        BOTH(test_at_no_step_of_the_way_back_is_more_reached_than_granted),
        BOTH(test_a_unit_that_does_not_sleep_has_failed),
        BOTH(test_a_unit_that_does_not_come_back_has_failed),
        BOTH(test_a_failed_unit_neither_sleeps_nor_wakes),
        BOTH(test_hardware_that_cannot_sleep_says_so),
        BOTH(test_who_was_blocked_because_of_a_fault_stays_so),
        BOTH(test_who_was_blocked_in_an_interrupt_stays_so),
        BOTH(test_who_enters_while_the_unit_sleeps_is_not_blocked_for_an_old_fault),
        BOTH(test_a_domain_goes_on_where_its_other_unit_is_awake),
        BOTH(test_a_group_over_two_units_moves_while_one_of_them_sleeps),
        BOTH(test_a_fault_blocks_a_group_of_which_one_unit_sleeps),
        BOTH(test_a_unit_that_fails_while_another_sleeps_fails_alone),
        BOTH(test_a_family_sleeps_from_the_leaves_and_wakes_from_the_root),
        BOTH(test_a_child_cannot_start_below_a_sleeping_parent),
        cmocka_unit_test(test_what_a_family_remembers_for_a_sleeping_child_is_invalidated),
        BOTH(test_a_failed_unit_does_not_keep_its_family_from_sleeping),
        BOTH(test_power_goes_off_and_on_many_times),
        BOTH(test_coming_back_needs_no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
