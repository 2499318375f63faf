/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Faults: what a report says, what becomes of it, and how a group is blocked because of one.
 */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include <piommu/piommu.h>

#include "units_fixture.h"

#define PAGE   0x1000ull
#define RW     (PIOMMU_PROT_READ | PIOMMU_PROT_WRITE)
#define MEMORY 0x50000000ull
#define ID     5u
#define NOBODY 900u /* an ID that no device has */

static struct spy_options tables = {.kind = PIOMMU_BACKEND_TABLES};
static struct spy_options requests = {.kind = PIOMMU_BACKEND_REQUESTS};

static const struct spy_options *options_of(void **state)
{
    return *state;
}

/* A unit whose records and limit are given, with a device in a domain. */
struct scene {
    struct units *units;
    unsigned int unit;
    struct piommu_instance *instance;
    struct piommu_device *device;
    struct piommu_domain *domain;
};

static struct scene open_scene(const struct spy_options *options, uint32_t records, uint32_t limit)
{
    struct scene scene = {.units = units_open()};
    const struct piommu_instance_config config = {
        .name = "mmu", .fault_records = records, .fault_limit = limit};

    scene.unit = units_prepare(scene.units, options);
    assert_int_equal(units_start(scene.units, scene.unit, config), 0);
    scene.instance = scene.units->instances[scene.unit];
    scene.device = units_device_one(scene.units, "dma", scene.unit, ID);
    scene.domain = units_domain(scene.units, "A", scene.unit, 1);
    assert_int_equal(units_attach(scene.units, scene.device, scene.domain), 0);
    spy_forget(scene.units->spy);
    units_forget_events(scene.units);
    return scene;
}

static void raise_fault(struct units *units, unsigned int unit, uint32_t id, uint64_t iova)
{
    const struct piommu_backend_fault fault = {.id = id,
                                               .reason = PIOMMU_FAULT_MAPPING,
                                               .iova_valid = true,
                                               .write = true,
                                               .iova = iova,
                                               .raw = 0x55};

    mock_raise_fault(spy_mock(units->spy, unit), &fault);
}

/* Raises a fault and lets it be taken in; what is handled is one report. */
static void one_fault(struct scene *scene, uint32_t id, uint64_t iova)
{
    raise_fault(scene->units, scene->unit, id, iova);
    assert_int_equal(piommu_instance_service(scene->instance, 1), 1);
}

static struct piommu_instance_info info_of(struct piommu_instance *instance)
{
    struct piommu_instance_info info;

    piommu_instance_get_info(instance, &info);
    return info;
}

static struct piommu_fault take(struct piommu_instance *instance)
{
    struct piommu_fault fault;

    assert_int_equal(piommu_instance_take_fault(instance, &fault), 0);
    return fault;
}

static void expect_no_record(struct piommu_instance *instance)
{
    struct piommu_fault fault;

    assert_int_equal(piommu_instance_take_fault(instance, &fault), -PIOMMU_ENOENT);
}

/* ---- What a report says ---- */

static void test_a_fault_says_whose_it_was_and_when(void **state)
{
    struct scene scene = open_scene(options_of(state), 4, 0);
    uint64_t before = fake_os_time(scene.units->os);
    struct piommu_fault fault;

    one_fault(&scene, ID, 0x1234000);
    assert_int_equal(scene.units->fault_count, 1);
    fault = scene.units->faults[0];
    assert_ptr_equal(fault.instance_owner, &scene.units->instances[scene.unit]);
    assert_ptr_equal(fault.device_owner, &scene.units->devices[0]);
    assert_ptr_equal(fault.domain_owner, &scene.units->domains[0]);
    assert_string_equal(fault.instance_name, "mmu");
    assert_string_equal(fault.device_name, "dma");
    assert_string_equal(fault.domain_name, "A");
    assert_true(fault.time >= before && fault.time <= fake_os_time(scene.units->os));
    assert_int_equal(fault.id, ID);
    assert_int_equal(fault.reason, PIOMMU_FAULT_MAPPING);
    assert_true(fault.iova_valid && fault.write && !fault.read);
    assert_int_equal(fault.iova, 0x1234000);
    assert_int_equal(fault.raw, 0x55);
    /* The record says the same. */
    {
        struct piommu_fault record = take(scene.instance);

        assert_ptr_equal(record.instance_owner, fault.instance_owner);
        assert_ptr_equal(record.device_owner, fault.device_owner);
        assert_ptr_equal(record.domain_owner, fault.domain_owner);
        assert_string_equal(record.instance_name, "mmu");
        assert_string_equal(record.device_name, "dma");
        assert_string_equal(record.domain_name, "A");
        assert_int_equal(record.time, fault.time);
        assert_int_equal(record.id, ID);
        assert_int_equal(record.reason, PIOMMU_FAULT_MAPPING);
        assert_true(record.iova_valid && record.write && !record.read);
        assert_int_equal(record.iova, 0x1234000);
        assert_int_equal(record.raw, 0x55);
    }
    units_close(scene.units);
}

static void test_a_fault_says_only_what_the_hardware_has_said(void **state)
{
    struct scene scene = open_scene(options_of(state), 0, 0);
    const struct piommu_backend_fault fault = {
        .id = ID, .reason = PIOMMU_FAULT_UNKNOWN, .iova_valid = false};

    mock_raise_fault(spy_mock(scene.units->spy, scene.unit), &fault);
    assert_int_equal(piommu_instance_service(scene.instance, 1), 1);
    assert_int_equal(scene.units->faults[0].reason, PIOMMU_FAULT_UNKNOWN);
    assert_false(scene.units->faults[0].iova_valid);
    assert_false(scene.units->faults[0].read);
    assert_false(scene.units->faults[0].write);
    units_close(scene.units);
}

static void test_a_blocked_device_is_in_no_domain(void **state)
{
    struct scene scene = open_scene(options_of(state), 0, 0);

    units_detach(scene.units, scene.device);
    one_fault(&scene, ID, 0);
    assert_ptr_equal(scene.units->faults[0].device_owner, &scene.units->devices[0]);
    assert_null(scene.units->faults[0].domain_owner);
    assert_null(scene.units->faults[0].domain_name);
    units_close(scene.units);
}

static void test_an_id_of_two_devices_has_no_owner(void **state)
{
    struct scene scene = open_scene(options_of(state), 0, 0);
    struct units *units = scene.units;

    units_detach(units, scene.device);
    (void)units_device(units, "partner",
                       (const struct units_id[]){{scene.unit, ID}, {scene.unit, 6}}, 2);
    assert_int_equal(units_attach(units, scene.device, scene.domain), 0);
    one_fault(&scene, ID, 0);
    assert_null(units->faults[0].device_owner);
    assert_null(units->faults[0].device_name);
    assert_ptr_equal(units->faults[0].domain_owner, &units->domains[0]);
    /* Its own ID is the partner's alone. */
    one_fault(&scene, 6, 0);
    assert_ptr_equal(units->faults[1].device_owner, &units->devices[1]);
    assert_string_equal(units->faults[1].device_name, "partner");
    units_close(units);
}

static void test_an_unknown_id_is_reported_without_a_device(void **state)
{
    static const uint32_t ids[] = {NOBODY, 0, UINT32_MAX};
    struct scene scene = open_scene(options_of(state), 0, 0);

    for (unsigned int i = 0; i < 3; i++) {
        one_fault(&scene, ids[i], 0x4000);
        assert_int_equal(scene.units->faults[i].id, ids[i]);
        assert_null(scene.units->faults[i].device_owner);
        assert_null(scene.units->faults[i].device_name);
        assert_null(scene.units->faults[i].domain_owner);
        assert_string_equal(scene.units->faults[i].instance_name, "mmu");
    }
    /* So is one that was removed. */
    units_detach(scene.units, scene.device);
    units_remove(scene.units, scene.device);
    one_fault(&scene, ID, 0x4000);
    assert_null(scene.units->faults[3].device_owner);
    units_close(scene.units);
}

static void test_the_same_id_of_another_instance_is_not_confused(void **state)
{
    struct scene scene = open_scene(options_of(state), 0, 0);
    unsigned int other = units_add(scene.units, options_of(state), "other");
    struct piommu_device *device = units_device_one(scene.units, "twin", other, ID);

    (void)device;
    raise_fault(scene.units, other, ID, 0x4000);
    assert_int_equal(piommu_instance_service(scene.units->instances[other], 1), 1);
    assert_string_equal(scene.units->faults[0].instance_name, "other");
    assert_string_equal(scene.units->faults[0].device_name, "twin");
    assert_null(scene.units->faults[0].domain_owner);
    assert_int_equal(info_of(scene.instance).faults, 0);
    assert_int_equal(info_of(scene.units->instances[other]).faults, 1);
    units_close(scene.units);
}

static void test_a_device_that_waits_owns_the_faults_of_the_ids_that_are_there(void **state)
{
    struct scene scene = open_scene(options_of(state), 0, 0);
    unsigned int missing = units_prepare(scene.units, options_of(state));
    const struct piommu_device_id places[] = {{.instance = scene.instance, .key = 0, .id = 20},
                                              {.instance = NULL, .key = 0x100, .id = 21}};
    const struct piommu_device_config config = {
        .ids = places, .id_count = 2, .name = "patient", .owner = &scene};
    struct piommu_device *device;

    assert_int_equal(units_try_device(scene.units, &config,
                                      (const struct units_id[]){{scene.unit, 20}, {missing, 21}},
                                      &device),
                     0);
    scene.units->answer = PIOMMU_FAULT_BLOCK;
    one_fault(&scene, 20, 0x4000);
    assert_ptr_equal(scene.units->faults[0].device_owner, &scene);
    assert_string_equal(scene.units->faults[0].device_name, "patient");
    assert_null(scene.units->faults[0].domain_owner);
    assert_false(units_fault_blocked(device));
    assert_int_equal(units_start(scene.units, missing,
                                 (struct piommu_instance_config){.name = "late", .key = 0x100}),
                     0);
    assert_false(units_waits(device));
    assert_int_equal(units_attach(scene.units, device, scene.domain), 0);
    assert_true(units_is_in(scene.units, device, scene.domain));
    units_close(scene.units);
}

/* ---- Service ---- */

static void test_service_handles_no_more_than_its_budget(void **state)
{
    struct scene scene = open_scene(options_of(state), 0, 0);

    for (unsigned int i = 0; i < 5; i++) {
        raise_fault(scene.units, scene.unit, ID, i * PAGE);
    }
    assert_int_equal(piommu_instance_service(scene.instance, 0), 0);
    assert_int_equal(scene.units->fault_count, 0);
    assert_int_equal(piommu_instance_service(scene.instance, 2), 2);
    assert_int_equal(scene.units->fault_count, 2);
    assert_int_equal(piommu_instance_interrupt(scene.instance, 2, NULL), 2);
    assert_int_equal(piommu_instance_service(scene.instance, 2), 1);
    assert_int_equal(piommu_instance_service(scene.instance, 2), 0);
    for (unsigned int i = 0; i < 5; i++) {
        assert_int_equal(scene.units->faults[i].iova, i * PAGE);
    }
    assert_int_equal(info_of(scene.instance).faults, 5);
    assert_int_equal(piommu_instance_service(NULL, 1), -PIOMMU_EINVAL);
    assert_int_equal(piommu_instance_interrupt(NULL, 1, NULL), -PIOMMU_EINVAL);
    assert_int_equal(piommu_instance_take_fault(NULL, &scene.units->faults[0]), -PIOMMU_EINVAL);
    assert_int_equal(piommu_instance_take_fault(scene.instance, NULL), -PIOMMU_EINVAL);
    units_close(scene.units);
}

static void test_an_interrupt_neither_waits_nor_allocates(void **state)
{
    static const enum piommu_fault_answer answers[] = {PIOMMU_FAULT_NOTE, PIOMMU_FAULT_BLOCK,
                                                       PIOMMU_FAULT_IGNORE};

    for (unsigned int bare = 0; bare < 2; bare++) {
        for (unsigned int i = 0; i < 3; i++) {
            struct spy_options options = *options_of(state);
            struct scene scene;
            bool more = false;

            options.bare = bare != 0;
            scene = open_scene(&options, 4, 0);
            scene.units->answer = answers[i];
            raise_fault(scene.units, scene.unit, ID, 0x4000);
            raise_fault(scene.units, scene.unit, NOBODY, 0x4000);
            mock_set_interrupt(spy_mock(scene.units->spy, scene.unit), true);
            fake_os_forbid(scene.units->os,
                           FAKE_OS_FORBID_ALLOCATION | FAKE_OS_FORBID_FREE | FAKE_OS_FORBID_WAIT);
            assert_int_equal(piommu_instance_interrupt(scene.instance, 4, &more), 2);
            fake_os_forbid(scene.units->os, 0);
            mock_set_interrupt(spy_mock(scene.units->spy, scene.unit), false);
            /* Blocking is completed, if not begun, where it may wait. */
            assert_int_equal(more, answers[i] == PIOMMU_FAULT_BLOCK);
            units_close(scene.units);
        }
    }
}

static void test_a_broken_unit_is_not_reset_in_an_interrupt(void **state)
{
    struct scene scene = open_scene(options_of(state), 0, 0);
    bool more = false;

    spy_fail_always(scene.units->spy, scene.unit, SPY_SERVICE, -PIOMMU_EIO);
    mock_set_interrupt(spy_mock(scene.units->spy, scene.unit), true);
    fake_os_forbid(scene.units->os, FAKE_OS_FORBID_ALLOCATION | FAKE_OS_FORBID_WAIT);
    assert_int_equal(piommu_instance_interrupt(scene.instance, 4, &more), -PIOMMU_EFAILED);
    fake_os_forbid(scene.units->os, 0);
    mock_set_interrupt(spy_mock(scene.units->spy, scene.unit), false);
    assert_true(more);
    assert_int_equal(units_state(scene.units, scene.unit), PIOMMU_INSTANCE_FAILED);
    assert_int_equal(spy_count(scene.units->spy, scene.unit, SPY_STOP), 0);
    assert_int_equal(piommu_instance_service(scene.instance, 4), -PIOMMU_EFAILED);
    assert_int_equal(spy_count(scene.units->spy, scene.unit, SPY_STOP), 1);
    assert_int_equal(units_state(scene.units, scene.unit), PIOMMU_INSTANCE_FAILED);
    assert_true(units_is_in(scene.units, scene.device, NULL));
    units_grant(scene.units, scene.device, NULL);
    units_close(scene.units);
}

static void test_a_unit_found_broken_in_an_interrupt_takes_nothing_any_more(void **state)
{
    struct scene scene = open_scene(options_of(state), 0, 0);
    struct piommu_domain *b = units_domain(scene.units, "B", scene.unit, 1);
    const struct piommu_device_id place = {.instance = scene.instance, .key = 0, .id = 20};
    const struct piommu_device_config config = {.ids = &place, .id_count = 1};
    struct piommu_gather gather;
    struct piommu_device *device;

    piommu_gather_init(&gather);
    spy_fail(scene.units->spy, scene.unit, SPY_SERVICE, 1, -PIOMMU_EIO);
    assert_int_equal(piommu_instance_interrupt(scene.instance, 4, NULL), -PIOMMU_EFAILED);
    spy_forget(scene.units->spy);
    /* Before it was reset nobody calls it but to reset it. */
    assert_int_equal(piommu_device_add(scene.units->context, &config, &device), -PIOMMU_EFAILED);
    assert_int_equal(piommu_domain_map(scene.domain, 0x7000000, MEMORY, PAGE, RW), -PIOMMU_EFAILED);
    assert_int_equal(piommu_group_attach(piommu_device_group(scene.device), b), -PIOMMU_EFAILED);
    assert_int_equal(piommu_instance_suspend(scene.instance), -PIOMMU_EFAILED);
    assert_int_equal(spy_count(scene.units->spy, scene.unit, SPY_ATTACH), 0);
    assert_int_equal(spy_count(scene.units->spy, scene.unit, SPY_ADD_ENDPOINT), 0);
    assert_int_equal(spy_count(scene.units->spy, scene.unit, SPY_MAP), 0);
    /* Whoever detaches leaves the device blocked, serviced or not. */
    units_detach(scene.units, scene.device);
    assert_true(units_is_in(scene.units, scene.device, NULL));
    assert_int_equal(units_id_state(scene.device, 0), PIOMMU_ID_BLOCKED);
    assert_int_equal(piommu_instance_service(scene.instance, 4), -PIOMMU_EFAILED);
    units_close(scene.units);
}

static void test_a_unit_that_breaks_while_it_is_serviced_has_failed(void **state)
{
    struct scene scene = open_scene(options_of(state), 4, 0);
    bool more = false;

    one_fault(&scene, ID, 0x4000);
    spy_fail(scene.units->spy, scene.unit, SPY_SERVICE, 1, -PIOMMU_ETIMEDOUT);
    assert_int_equal(piommu_instance_service(scene.instance, 4), -PIOMMU_EFAILED);
    assert_true(units_is_in(scene.units, scene.device, NULL));
    units_grant(scene.units, scene.device, NULL);
    spy_forget(scene.units->spy);
    assert_int_equal(piommu_instance_service(scene.instance, 4), -PIOMMU_EFAILED);
    assert_int_equal(piommu_instance_interrupt(scene.instance, 4, &more), -PIOMMU_EFAILED);
    assert_int_equal(spy_count(scene.units->spy, scene.unit, SPY_SERVICE), 0);
    /* What was noted before can still be looked at. */
    assert_int_equal(take(scene.instance).iova, 0x4000);
    units_close(scene.units);
}

/* ---- Records ---- */

static void test_records_come_out_in_the_order_of_the_faults(void **state)
{
    struct scene scene = open_scene(options_of(state), 8, 0);

    for (unsigned int round = 0; round < 5; round++) {
        for (unsigned int i = 0; i < 5; i++) {
            one_fault(&scene, ID, (round * 16 + i) * PAGE);
        }
        for (unsigned int i = 0; i < 5; i++) {
            assert_int_equal(take(scene.instance).iova, (round * 16 + i) * PAGE);
        }
        expect_no_record(scene.instance);
    }
    assert_int_equal(info_of(scene.instance).faults_dropped, 0);
    units_close(scene.units);
}

static void test_records_that_find_no_room_push_out_the_oldest(void **state)
{
    for (uint32_t room = 1; room <= 5; room++) {
        struct scene scene = open_scene(options_of(state), room, 0);

        for (uint32_t i = 0; i < 7; i++) {
            one_fault(&scene, ID, i * PAGE);
            assert_int_equal(info_of(scene.instance).faults_dropped, i < room ? 0 : i + 1 - room);
        }
        for (uint32_t i = 7 - room; i < 7; i++) {
            assert_int_equal(take(scene.instance).iova, i * PAGE);
        }
        expect_no_record(scene.instance);
        one_fault(&scene, ID, 99 * PAGE);
        assert_int_equal(take(scene.instance).iova, 99 * PAGE);
        assert_int_equal(info_of(scene.instance).faults_dropped, 7 - room);
        units_close(scene.units);
    }
}

static void test_without_records_faults_are_counted_and_told(void **state)
{
    struct scene scene = open_scene(options_of(state), 0, 0);

    one_fault(&scene, ID, 0x4000);
    assert_int_equal(scene.units->fault_count, 1);
    assert_int_equal(info_of(scene.instance).faults, 1);
    expect_no_record(scene.instance);
    units_close(scene.units);
}

static void test_what_is_ignored_is_counted_and_not_kept(void **state)
{
    struct scene scene = open_scene(options_of(state), 4, 0);

    scene.units->answer = PIOMMU_FAULT_IGNORE;
    one_fault(&scene, ID, 0x1000);
    scene.units->answer = PIOMMU_FAULT_NOTE;
    one_fault(&scene, ID, 0x2000);
    scene.units->answer = PIOMMU_FAULT_IGNORE;
    one_fault(&scene, ID, 0x3000);
    assert_int_equal(info_of(scene.instance).faults, 3);
    assert_int_equal(info_of(scene.instance).faults_dropped, 0);
    assert_int_equal(take(scene.instance).iova, 0x2000);
    expect_no_record(scene.instance);
    assert_true(units_is_in(scene.units, scene.device, scene.domain));
    units_close(scene.units);
}

static void test_without_a_callback_faults_are_noted(void **state)
{
    struct units *units = units_open();
    unsigned int unit = units_prepare(units, options_of(state));
    const struct piommu_instance_config config = {.name = "mmu", .fault_records = 4};
    struct piommu_context *quiet;
    struct piommu_instance *instance;

    assert_int_equal(piommu_context_create(fake_os_host(units->os), NULL, &quiet), 0);
    assert_int_equal(piommu_instance_create(quiet, spy_backend(units->spy, unit),
                                            spy_config(units->spy, unit), &config, &instance),
                     0);
    raise_fault(units, unit, NOBODY, 0x7000);
    assert_int_equal(piommu_instance_service(instance, 4), 1);
    assert_int_equal(take(instance).iova, 0x7000);
    assert_int_equal(units->fault_count, 0);
    assert_int_equal(piommu_instance_destroy(instance), 0);
    assert_int_equal(piommu_context_destroy(quiet), 0);
    units_close(units);
}

static void test_records_lose_the_cookie_of_a_device_that_is_removed(void **state)
{
    struct scene scene = open_scene(options_of(state), 4, 0);
    struct piommu_device *other = units_device_one(scene.units, "other", scene.unit, 6);
    struct piommu_fault fault;

    one_fault(&scene, ID, 0x4000);
    one_fault(&scene, 6, 0x5000);
    units_detach(scene.units, scene.device);
    units_remove(scene.units, scene.device);
    fault = take(scene.instance);
    assert_null(fault.device_owner);
    assert_null(fault.device_name);
    /* All else is as it was. */
    assert_ptr_equal(fault.domain_owner, &scene.units->domains[0]);
    assert_string_equal(fault.domain_name, "A");
    assert_string_equal(fault.instance_name, "mmu");
    assert_int_equal(fault.id, ID);
    assert_int_equal(fault.iova, 0x4000);
    fault = take(scene.instance);
    assert_string_equal(fault.device_name, "other");
    assert_non_null(fault.device_owner);
    (void)other;
    units_close(scene.units);
}

static void test_records_lose_the_cookie_of_a_domain_that_is_destroyed(void **state)
{
    struct scene scene = open_scene(options_of(state), 4, 0);
    struct piommu_domain *b = units_domain(scene.units, "B", scene.unit, 1);
    struct piommu_fault fault;

    one_fault(&scene, ID, 0x4000);
    assert_int_equal(units_attach(scene.units, scene.device, b), 0);
    one_fault(&scene, ID, 0x5000);
    units_drop(scene.units, scene.domain);
    fault = take(scene.instance);
    assert_null(fault.domain_owner);
    assert_null(fault.domain_name);
    assert_string_equal(fault.device_name, "dma");
    assert_non_null(fault.device_owner);
    assert_int_equal(fault.iova, 0x4000);
    fault = take(scene.instance);
    assert_string_equal(fault.domain_name, "B");
    assert_ptr_equal(fault.domain_owner, &scene.units->domains[1]);
    units_close(scene.units);
}

/* ---- The storm limit ---- */

static void test_a_storm_of_one_id_does_not_drown_others(void **state)
{
    struct scene scene = open_scene(options_of(state), 32, 3);
    struct piommu_instance_info info;

    (void)units_device_one(scene.units, "quiet", scene.unit, 6);
    for (unsigned int i = 0; i < 10; i++) {
        one_fault(&scene, ID, i * PAGE);
    }
    for (unsigned int i = 0; i < 2; i++) {
        one_fault(&scene, 6, i * PAGE);
    }
    info = info_of(scene.instance);
    assert_int_equal(info.faults, 12);
    assert_int_equal(info.faults_held_back, 7);
    assert_int_equal(info.faults_dropped, 0);
    /* The first three are told, and those of the other. */
    assert_int_equal(scene.units->fault_count, 5);
    for (unsigned int i = 0; i < 5; i++) {
        assert_int_equal(scene.units->faults[i].id, i < 3 ? ID : 6);
        assert_int_equal(scene.units->faults[i].iova, (i < 3 ? i : i - 3) * PAGE);
    }
    /* What is held back is counted only. */
    for (unsigned int i = 0; i < 5; i++) {
        (void)take(scene.instance);
    }
    expect_no_record(scene.instance);
    assert_null(units_event(scene.units, PIOMMU_EVENT_FAULT, 6));
    units_close(scene.units);
}

static void test_unknown_ids_are_limited_together(void **state)
{
    struct scene scene = open_scene(options_of(state), 0, 3);

    for (uint32_t i = 0; i < 8; i++) {
        one_fault(&scene, NOBODY + i, 0);
    }
    assert_int_equal(scene.units->fault_count, 3);
    assert_int_equal(info_of(scene.instance).faults, 8);
    assert_int_equal(info_of(scene.instance).faults_held_back, 5);
    /* They do not use up what a device may have. */
    for (uint32_t i = 0; i < 4; i++) {
        one_fault(&scene, ID, 0);
    }
    assert_int_equal(scene.units->fault_count, 6);
    units_close(scene.units);
}

static void test_a_storm_is_heard_again_after_a_second(void **state)
{
    struct scene scene = open_scene(options_of(state), 0, 2);

    for (unsigned int round = 0; round < 4; round++) {
        unsigned int before = scene.units->fault_count;

        for (unsigned int i = 0; i < 4; i++) {
            one_fault(&scene, ID, 0);
            one_fault(&scene, NOBODY, 0);
        }
        assert_int_equal(scene.units->fault_count, before + 4);
        /* In the same second nothing more is. */
        units_pass(scene.units, UNITS_SECOND / 2);
        one_fault(&scene, ID, 0);
        one_fault(&scene, NOBODY, 0);
        assert_int_equal(scene.units->fault_count, before + 4);
        units_pass(scene.units, 2 * UNITS_SECOND);
    }
    units_close(scene.units);
}

static void test_a_steady_stream_is_told_at_the_rate_of_the_limit(void **state)
{
    struct scene scene = open_scene(options_of(state), 0, 5);

    /* Fifty in each of ten seconds. */
    for (unsigned int i = 0; i < 500; i++) {
        one_fault(&scene, ID, 0);
        units_pass(scene.units, UNITS_SECOND / 50);
    }
    assert_int_equal(info_of(scene.instance).faults, 500);
    assert_true(scene.units->fault_count <= 5 * 11);
    assert_true(scene.units->fault_count >= 5 * 9);
    assert_int_equal(info_of(scene.instance).faults_held_back, 500 - scene.units->fault_count);
    units_close(scene.units);
}

static void test_no_limit_means_none(void **state)
{
    struct scene scene = open_scene(options_of(state), 0, 0);

    for (unsigned int i = 0; i < 200; i++) {
        one_fault(&scene, i % 2 == 0 ? ID : NOBODY, 0);
    }
    assert_int_equal(scene.units->fault_count, 200);
    assert_int_equal(info_of(scene.instance).faults_held_back, 0);
    units_close(scene.units);
}

static void test_a_clock_that_starts_high_does_no_harm(void **state)
{
    struct units *units = units_open();
    unsigned int unit = units_prepare(units, options_of(state));

    units_pass(units, UINT64_MAX / 2);
    assert_int_equal(
        units_start(units, unit, (struct piommu_instance_config){.name = "mmu", .fault_limit = 2}),
        0);
    for (unsigned int i = 0; i < 6; i++) {
        raise_fault(units, unit, NOBODY, 0);
    }
    assert_int_equal(piommu_instance_service(units->instances[unit], 10), 6);
    assert_int_equal(units->fault_count, 2);
    units_close(units);
}

/* ---- Blocking ---- */

static void expect_fault_blocked(struct scene *scene)
{
    assert_true(units_fault_blocked(scene->device));
    assert_true(units_is_in(scene->units, scene->device, NULL));
    assert_ptr_equal(units_domain_of(scene->device), scene->domain);
    assert_int_equal(units_id_state(scene->device, 0), PIOMMU_ID_BLOCKED);
}

static void block_by_fault(struct scene *scene)
{
    scene->units->answer = PIOMMU_FAULT_BLOCK;
    one_fault(scene, ID, 0x4000);
    scene->units->answer = PIOMMU_FAULT_NOTE;
    units_grant(scene->units, scene->device, NULL);
    expect_fault_blocked(scene);
}

static struct scene open_scene_of(void **state, unsigned int bare, uint32_t records)
{
    struct spy_options options = *options_of(state);

    options.bare = bare != 0;
    return open_scene(&options, records, 0);
}

static void test_a_device_is_blocked_because_of_its_fault(void **state)
{
    for (unsigned int bare = 0; bare < 2; bare++) {
        struct scene scene = open_scene_of(state, bare, 4);
        struct piommu_device *neighbour = units_device_one(scene.units, "good", scene.unit, 6);

        assert_int_equal(units_attach(scene.units, neighbour, scene.domain), 0);
        assert_false(units_fault_blocked(scene.device));
        block_by_fault(&scene);
        /* Blocking is noting, too; and nobody else is touched. */
        assert_int_equal(take(scene.instance).iova, 0x4000);
        assert_false(units_fault_blocked(neighbour));
        assert_true(units_is_in(scene.units, neighbour, scene.domain));
        /* In its domain it counts as being, so that cannot go. */
        assert_int_equal(piommu_domain_destroy(scene.domain), -PIOMMU_EBUSY);
        assert_int_equal(piommu_device_remove(scene.device), -PIOMMU_EBUSY);
        units_close(scene.units);
    }
}

static void test_in_an_interrupt_a_device_is_blocked_at_once_or_by_service(void **state)
{
    for (unsigned int bare = 0; bare < 2; bare++) {
        struct scene scene = open_scene_of(state, bare, 0);
        bool more = false;

        scene.units->answer = PIOMMU_FAULT_BLOCK;
        raise_fault(scene.units, scene.unit, ID, 0x4000);
        mock_set_interrupt(spy_mock(scene.units->spy, scene.unit), true);
        assert_int_equal(piommu_instance_interrupt(scene.instance, 4, &more), 1);
        mock_set_interrupt(spy_mock(scene.units->spy, scene.unit), false);
        assert_true(more);
        assert_int_equal(spy_count(scene.units->spy, scene.unit, SPY_BLOCK), 0);
        assert_int_equal(spy_count(scene.units->spy, scene.unit, SPY_BLOCK_NOW), 1 - bare);
        if (bare == 0) {
            units_grant(scene.units, scene.device, NULL);
            expect_fault_blocked(&scene);
        }
        assert_int_equal(piommu_instance_service(scene.instance, 4), 0);
        assert_int_equal(spy_count(scene.units->spy, scene.unit, SPY_BLOCK), 1);
        units_grant(scene.units, scene.device, NULL);
        expect_fault_blocked(&scene);
        more = true;
        assert_int_equal(piommu_instance_interrupt(scene.instance, 4, &more), 0);
        assert_false(more);
        units_close(scene.units);
    }
}

/* What the host does between the interrupt and service is later than the fault. */
static void test_an_attach_before_service_counts(void **state)
{
    for (unsigned int bare = 0; bare < 2; bare++) {
        for (unsigned int to_b = 0; to_b < 2; to_b++) {
            struct scene scene = open_scene_of(state, bare, 0);
            struct piommu_domain *b = units_domain(scene.units, "B", scene.unit, 1);
            struct piommu_domain *wanted = to_b != 0 ? b : scene.domain;

            scene.units->answer = PIOMMU_FAULT_BLOCK;
            raise_fault(scene.units, scene.unit, ID, 0x4000);
            assert_int_equal(piommu_instance_interrupt(scene.instance, 4, NULL), 1);
            assert_int_equal(units_attach(scene.units, scene.device, wanted), 0);
            assert_false(units_fault_blocked(scene.device));
            assert_true(units_is_in(scene.units, scene.device, wanted));
            assert_int_equal(piommu_instance_service(scene.instance, 4), 0);
            assert_false(units_fault_blocked(scene.device));
            assert_true(units_is_in(scene.units, scene.device, wanted));
            units_close(scene.units);
        }
    }
}

static void test_a_detach_before_service_counts(void **state)
{
    for (unsigned int bare = 0; bare < 2; bare++) {
        struct scene scene = open_scene_of(state, bare, 0);

        scene.units->answer = PIOMMU_FAULT_BLOCK;
        raise_fault(scene.units, scene.unit, ID, 0x4000);
        assert_int_equal(piommu_instance_interrupt(scene.instance, 4, NULL), 1);
        units_detach(scene.units, scene.device);
        units_remove(scene.units, scene.device);
        /* The one who is to be blocked is gone. */
        assert_int_equal(piommu_instance_service(scene.instance, 4), 0);
        assert_int_equal(units_state(scene.units, scene.unit), PIOMMU_INSTANCE_RUNNING);
        scene.device = units_device_one(scene.units, "new", scene.unit, ID);
        assert_int_equal(units_attach(scene.units, scene.device, scene.domain), 0);
        assert_int_equal(piommu_instance_service(scene.instance, 4), 0);
        assert_true(units_is_in(scene.units, scene.device, scene.domain));
        units_close(scene.units);
    }
}

static void test_what_cannot_be_blocked_at_once_is_blocked_by_service(void **state)
{
    struct scene scene = open_scene(options_of(state), 0, 0);
    bool more = false;

    spy_fail(scene.units->spy, scene.unit, SPY_BLOCK_NOW, 1, -PIOMMU_EBUSY);
    scene.units->answer = PIOMMU_FAULT_BLOCK;
    raise_fault(scene.units, scene.unit, ID, 0x4000);
    assert_int_equal(piommu_instance_interrupt(scene.instance, 4, &more), 1);
    assert_true(more);
    assert_int_equal(piommu_instance_service(scene.instance, 4), 0);
    units_grant(scene.units, scene.device, NULL);
    expect_fault_blocked(&scene);
    assert_int_equal(units_state(scene.units, scene.unit), PIOMMU_INSTANCE_RUNNING);
    units_close(scene.units);
}

static void test_service_blocks_before_it_returns(void **state)
{
    struct scene scene = open_scene_of(state, 1, 0);

    scene.units->answer = PIOMMU_FAULT_BLOCK;
    raise_fault(scene.units, scene.unit, ID, 0x4000);
    assert_int_equal(piommu_instance_service(scene.instance, 4), 1);
    units_grant(scene.units, scene.device, NULL);
    expect_fault_blocked(&scene);
    /* But never from within the backend's own service function. */
    assert_true(spy_find(scene.units->spy, scene.unit, SPY_SERVICE, 1) <
                spy_find(scene.units->spy, scene.unit, SPY_BLOCK, 1));
    units_close(scene.units);
}

static void test_a_unit_that_does_not_block_has_failed(void **state)
{
    struct scene scene = open_scene_of(state, 1, 0);

    scene.units->answer = PIOMMU_FAULT_BLOCK;
    raise_fault(scene.units, scene.unit, ID, 0x4000);
    spy_fail(scene.units->spy, scene.unit, SPY_BLOCK, 1, -PIOMMU_EIO);
    assert_int_equal(piommu_instance_service(scene.instance, 4), -PIOMMU_EFAILED);
    assert_int_equal(units_state(scene.units, scene.unit), PIOMMU_INSTANCE_FAILED);
    assert_int_equal(spy_count(scene.units->spy, scene.unit, SPY_STOP), 1);
    units_grant(scene.units, scene.device, NULL);
    units_close(scene.units);
}

static void test_the_whole_group_is_blocked(void **state)
{
    for (unsigned int bare = 0; bare < 2; bare++) {
        struct spy_options options = *options_of(state);
        struct units *units = units_open();
        struct piommu_device *first;
        struct piommu_device *second;
        struct piommu_domain *domain;

        options.bare = bare != 0;
        (void)units_add(units, &options, "mmu0");
        (void)units_add(units, &options, "mmu1");
        first = units_device(units, "first", (const struct units_id[]){{0, 5}, {1, 6}}, 2);
        second = units_device(units, "second", (const struct units_id[]){{1, 6}, {1, 7}}, 2);
        domain = units_domain(units, "A", 0, 2);
        assert_int_equal(units_attach(units, first, domain), 0);
        units->answer = PIOMMU_FAULT_BLOCK;
        raise_fault(units, 0, 5, 0x4000);
        assert_int_equal(piommu_instance_service(units->instances[0], 4), 1);
        units_grant(units, first, NULL);
        assert_true(units_fault_blocked(first));
        assert_true(units_fault_blocked(second));
        assert_true(units_is_in(units, second, NULL));
        assert_int_equal(units_attach(units, second, domain), 0);
        assert_true(units_is_in(units, first, domain));
        assert_false(units_fault_blocked(first));
        units_close(units);
    }
}

static void test_a_group_over_quick_and_slow_units_is_blocked_on_both(void **state)
{
    for (unsigned int faulting = 0; faulting < 2; faulting++) {
        static const struct units_id ids[] = {{0, 5}, {1, 6}};
        struct spy_options slow = *options_of(state);
        struct units *units = units_open();
        struct piommu_device *device;
        struct piommu_domain *domain;
        bool more = false;

        slow.bare = true;
        (void)units_add(units, options_of(state), "quick");
        (void)units_add(units, &slow, "slow");
        device = units_device(units, "dma", ids, 2);
        domain = units_domain(units, "A", 0, 2);
        assert_int_equal(units_attach(units, device, domain), 0);
        units->answer = PIOMMU_FAULT_BLOCK;
        raise_fault(units, faulting, ids[faulting].id, 0x4000);
        for (unsigned int i = 0; i < 2; i++) {
            mock_set_interrupt(spy_mock(units->spy, i), true);
        }
        assert_int_equal(piommu_instance_interrupt(units->instances[faulting], 4, &more), 1);
        for (unsigned int i = 0; i < 2; i++) {
            mock_set_interrupt(spy_mock(units->spy, i), false);
        }
        assert_true(more);
        assert_int_equal(piommu_instance_service(units->instances[faulting], 4), 0);
        units_grant(units, device, NULL);
        assert_true(units_fault_blocked(device));
        assert_int_equal(units_id_state(device, 0), PIOMMU_ID_BLOCKED);
        assert_int_equal(units_id_state(device, 1), PIOMMU_ID_BLOCKED);
        assert_int_equal(units_attach(units, device, domain), 0);
        assert_true(units_is_in(units, device, domain));
        units_close(units);
    }
}

static void test_faults_of_both_units_of_a_group_block_it_once(void **state)
{
    static const struct units_id ids[] = {{0, 5}, {1, 6}};
    struct units *units = units_open();
    struct piommu_device *device;
    struct piommu_domain *domain;

    (void)units_add(units, options_of(state), "mmu0");
    (void)units_add(units, options_of(state), "mmu1");
    device = units_device(units, "dma", ids, 2);
    domain = units_domain(units, "A", 0, 2);
    assert_int_equal(units_attach(units, device, domain), 0);
    units->answer = PIOMMU_FAULT_BLOCK;
    for (unsigned int i = 0; i < 2; i++) {
        raise_fault(units, i, ids[i].id, 0x4000);
        assert_int_equal(piommu_instance_interrupt(units->instances[i], 4, NULL), 1);
    }
    for (unsigned int i = 0; i < 2; i++) {
        assert_int_equal(piommu_instance_service(units->instances[i], 4), 0);
    }
    units_grant(units, device, NULL);
    assert_true(units_fault_blocked(device));
    assert_int_equal(units_attach(units, device, domain), 0);
    /* Nothing of it comes up again. */
    for (unsigned int i = 0; i < 2; i++) {
        assert_int_equal(piommu_instance_service(units->instances[i], 4), 0);
    }
    assert_true(units_is_in(units, device, domain));
    units_close(units);
}

static void test_an_id_of_two_devices_blocks_their_group(void **state)
{
    struct scene scene = open_scene(options_of(state), 0, 0);
    struct piommu_device *partner;

    units_detach(scene.units, scene.device);
    partner = units_device_one(scene.units, "partner", scene.unit, ID);
    assert_int_equal(units_attach(scene.units, scene.device, scene.domain), 0);
    block_by_fault(&scene);
    assert_true(units_fault_blocked(partner));
    units_close(scene.units);
}

static void test_for_an_id_of_nobody_there_is_nothing_to_block(void **state)
{
    for (unsigned int bare = 0; bare < 2; bare++) {
        struct scene scene = open_scene_of(state, bare, 0);
        bool more = true;

        scene.units->answer = PIOMMU_FAULT_BLOCK;
        raise_fault(scene.units, scene.unit, NOBODY, 0x4000);
        assert_int_equal(piommu_instance_interrupt(scene.instance, 4, &more), 1);
        assert_false(more);
        assert_int_equal(piommu_instance_service(scene.instance, 4), 0);
        assert_int_equal(spy_count(scene.units->spy, scene.unit, SPY_BLOCK), 0);
        assert_int_equal(spy_count(scene.units->spy, scene.unit, SPY_BLOCK_NOW), 0);
        assert_true(units_is_in(scene.units, scene.device, scene.domain));
        units_close(scene.units);
    }
}

static void test_a_device_in_no_domain_is_not_blocked_further(void **state)
{
    struct scene scene = open_scene(options_of(state), 0, 0);

    units_detach(scene.units, scene.device);
    scene.units->answer = PIOMMU_FAULT_BLOCK;
    one_fault(&scene, ID, 0x4000);
    assert_false(units_fault_blocked(scene.device));
    assert_int_equal(units_attach(scene.units, scene.device, scene.domain), 0);
    assert_true(units_is_in(scene.units, scene.device, scene.domain));
    assert_false(units_fault_blocked(scene.device));
    units_close(scene.units);
}

static void test_attaching_to_the_same_domain_ends_the_blocking(void **state)
{
    for (unsigned int bare = 0; bare < 2; bare++) {
        struct scene scene = open_scene_of(state, bare, 0);

        for (unsigned int round = 0; round < 3; round++) {
            block_by_fault(&scene);
            assert_int_equal(units_attach(scene.units, scene.device, scene.domain), 0);
            assert_false(units_fault_blocked(scene.device));
            assert_true(units_is_in(scene.units, scene.device, scene.domain));
            assert_int_equal(units_id_state(scene.device, 0), PIOMMU_ID_ATTACHED);
        }
        units_close(scene.units);
    }
}

static void test_attaching_to_another_domain_ends_the_blocking(void **state)
{
    for (unsigned int bare = 0; bare < 2; bare++) {
        struct scene scene = open_scene_of(state, bare, 0);
        struct piommu_domain *b = units_domain(scene.units, "B", scene.unit, 1);

        block_by_fault(&scene);
        assert_int_equal(units_attach(scene.units, scene.device, b), 0);
        assert_false(units_fault_blocked(scene.device));
        assert_true(units_is_in(scene.units, scene.device, b));
        units_drop(scene.units, scene.domain);
        units_close(scene.units);
    }
}

static void test_detaching_ends_the_blocking_and_leaves_the_device_blocked(void **state)
{
    for (unsigned int bare = 0; bare < 2; bare++) {
        struct scene scene = open_scene_of(state, bare, 0);

        block_by_fault(&scene);
        units_detach(scene.units, scene.device);
        assert_false(units_fault_blocked(scene.device));
        assert_null(units_domain_of(scene.device));
        assert_true(units_is_in(scene.units, scene.device, NULL));
        units_drop(scene.units, scene.domain);
        units_remove(scene.units, scene.device);
        units_close(scene.units);
    }
}

static void test_a_refused_attach_leaves_the_device_blocked_by_its_fault(void **state)
{
    for (unsigned int bare = 0; bare < 2; bare++) {
        struct scene scene = open_scene_of(state, bare, 0);
        struct piommu_domain *b = units_domain(scene.units, "B", scene.unit, 1);
        int error;

        block_by_fault(&scene);
        spy_fail_always(scene.units->spy, scene.unit, SPY_ATTACH, -PIOMMU_EIO);
        /* It may enter neither B nor, against the host's will, its old domain. */
        error = piommu_group_attach(piommu_device_group(scene.device), b);
        assert_int_not_equal(error, 0);
        assert_true(units_is_in(scene.units, scene.device, NULL));
        spy_fail_always(scene.units->spy, scene.unit, SPY_ATTACH, 0);
        assert_int_equal(units_attach(scene.units, scene.device, b), 0);
        assert_true(units_is_in(scene.units, scene.device, b));
        units_close(scene.units);
    }
}

static void test_what_was_mapped_while_a_device_was_blocked_is_there_when_it_returns(void **state)
{
    for (unsigned int bare = 0; bare < 2; bare++) {
        struct scene scene = open_scene_of(state, bare, 0);
        struct units *units = scene.units;
        uint64_t own = units_own_page(units, scene.domain);
        uint64_t physical;

        units->anything_goes = true;
        assert_true(spy_reaches(units->spy, scene.unit, ID, own, false, &physical));
        block_by_fault(&scene);
        assert_int_equal(piommu_domain_map(scene.domain, 0x7000000, MEMORY, PAGE, RW), 0);
        units_unmap(scene.domain, own, PAGE);
        assert_int_equal(units_attach(units, scene.device, scene.domain), 0);
        assert_true(spy_reaches(units->spy, scene.unit, ID, 0x7000000, true, &physical));
        assert_int_equal(physical, MEMORY);
        assert_false(spy_reaches(units->spy, scene.unit, ID, own, false, &physical));
        assert_true(spy_reaches(units->spy, scene.unit, ID, UNITS_PAGE, false, &physical));
        units_close(units);
    }
}

static void test_what_was_mapped_between_interrupt_and_service_is_there_on_return(void **state)
{
    for (unsigned int bare = 0; bare < 2; bare++) {
        struct scene scene = open_scene_of(state, bare, 0);
        struct units *units = scene.units;
        uint64_t own = units_own_page(units, scene.domain);
        uint64_t physical;

        units->anything_goes = true;
        assert_true(spy_reaches(units->spy, scene.unit, ID, own, false, &physical));
        units->answer = PIOMMU_FAULT_BLOCK;
        raise_fault(units, scene.unit, ID, 0x4000);
        assert_int_equal(piommu_instance_interrupt(scene.instance, 1, NULL), 1);
        assert_int_equal(piommu_domain_map(scene.domain, 0x7000000, MEMORY, PAGE, RW), 0);
        units_unmap(scene.domain, own, PAGE);
        assert_int_equal(piommu_instance_service(scene.instance, 1), 0);
        assert_int_equal(piommu_domain_map(scene.domain, 0x8000000, MEMORY + PAGE, PAGE, RW), 0);
        units_unmap(scene.domain, 0x7000000, PAGE);
        assert_int_equal(units_attach(units, scene.device, scene.domain), 0);
        assert_false(spy_reaches(units->spy, scene.unit, ID, own, false, &physical));
        assert_false(spy_reaches(units->spy, scene.unit, ID, 0x7000000, false, &physical));
        assert_true(spy_reaches(units->spy, scene.unit, ID, 0x8000000, false, &physical));
        assert_int_equal(physical, MEMORY + PAGE);
        units_close(units);
    }
}

static void test_faults_of_a_blocked_device_are_still_told(void **state)
{
    struct scene scene = open_scene(options_of(state), 4, 0);

    block_by_fault(&scene);
    one_fault(&scene, ID, 0x5000);
    assert_int_equal(scene.units->fault_count, 2);
    assert_string_equal(scene.units->faults[1].device_name, "dma");
    scene.units->answer = PIOMMU_FAULT_BLOCK;
    one_fault(&scene, ID, 0x6000);
    expect_fault_blocked(&scene);
    units_close(scene.units);
}

static void test_every_reason_has_a_name_of_its_own(void **state)
{
    (void)state;
    for (unsigned int i = PIOMMU_FAULT_UNKNOWN; i <= PIOMMU_FAULT_SECURITY; i++) {
        const char *name = piommu_fault_reason_name((enum piommu_fault_reason)i);

        assert_true(strlen(name) > 2);
        for (unsigned int j = PIOMMU_FAULT_UNKNOWN; j < i; j++) {
            assert_string_not_equal(name, piommu_fault_reason_name((enum piommu_fault_reason)j));
        }
    }
    assert_non_null(piommu_fault_reason_name((enum piommu_fault_reason)1000));
}

int main(void)
{
#define BOTH(test)                                       \
    {#test " (tables)", test, NULL, NULL, &tables},      \
    {                                                    \
#test " (requests)", test, NULL, NULL, &requests \
    }
    static const struct CMUnitTest tests[] = {
        BOTH(test_a_fault_says_whose_it_was_and_when),
        BOTH(test_a_fault_says_only_what_the_hardware_has_said),
        BOTH(test_a_blocked_device_is_in_no_domain),
        BOTH(test_an_id_of_two_devices_has_no_owner),
        BOTH(test_an_unknown_id_is_reported_without_a_device),
        BOTH(test_the_same_id_of_another_instance_is_not_confused),
        BOTH(test_a_device_that_waits_owns_the_faults_of_the_ids_that_are_there),
        BOTH(test_service_handles_no_more_than_its_budget),
        BOTH(test_an_interrupt_neither_waits_nor_allocates),
        BOTH(test_a_broken_unit_is_not_reset_in_an_interrupt),
        BOTH(test_a_unit_found_broken_in_an_interrupt_takes_nothing_any_more),
        BOTH(test_a_unit_that_breaks_while_it_is_serviced_has_failed),
        BOTH(test_records_come_out_in_the_order_of_the_faults),
        BOTH(test_records_that_find_no_room_push_out_the_oldest),
        BOTH(test_without_records_faults_are_counted_and_told),
        BOTH(test_what_is_ignored_is_counted_and_not_kept),
        BOTH(test_without_a_callback_faults_are_noted),
        BOTH(test_records_lose_the_cookie_of_a_device_that_is_removed),
        BOTH(test_records_lose_the_cookie_of_a_domain_that_is_destroyed),
        BOTH(test_a_storm_of_one_id_does_not_drown_others),
        BOTH(test_unknown_ids_are_limited_together),
        BOTH(test_a_storm_is_heard_again_after_a_second),
        BOTH(test_a_steady_stream_is_told_at_the_rate_of_the_limit),
        BOTH(test_no_limit_means_none),
        BOTH(test_a_clock_that_starts_high_does_no_harm),
        BOTH(test_a_device_is_blocked_because_of_its_fault),
        BOTH(test_in_an_interrupt_a_device_is_blocked_at_once_or_by_service),
        BOTH(test_an_attach_before_service_counts),
        BOTH(test_a_detach_before_service_counts),
        BOTH(test_what_cannot_be_blocked_at_once_is_blocked_by_service),
        BOTH(test_service_blocks_before_it_returns),
        BOTH(test_a_unit_that_does_not_block_has_failed),
        BOTH(test_the_whole_group_is_blocked),
        BOTH(test_a_group_over_quick_and_slow_units_is_blocked_on_both),
        BOTH(test_faults_of_both_units_of_a_group_block_it_once),
        BOTH(test_an_id_of_two_devices_blocks_their_group),
        BOTH(test_for_an_id_of_nobody_there_is_nothing_to_block),
        BOTH(test_a_device_in_no_domain_is_not_blocked_further),
        BOTH(test_attaching_to_the_same_domain_ends_the_blocking),
        BOTH(test_attaching_to_another_domain_ends_the_blocking),
        BOTH(test_detaching_ends_the_blocking_and_leaves_the_device_blocked),
        BOTH(test_a_refused_attach_leaves_the_device_blocked_by_its_fault),
        BOTH(test_what_was_mapped_while_a_device_was_blocked_is_there_when_it_returns),
        BOTH(test_what_was_mapped_between_interrupt_and_service_is_there_on_return),
        BOTH(test_faults_of_a_blocked_device_are_still_told),
        cmocka_unit_test(test_every_reason_has_a_name_of_its_own),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
