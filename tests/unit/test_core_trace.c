/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * What a recorder is told: each kind of event with its fields, failing calls with their errors; and
 * the counters and dumps that tell the rest.
 */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include <piommu/piommu.h>

#include "units_fixture.h"

#define PAGE     0x1000ull
#define R        PIOMMU_PROT_READ
#define RW       (PIOMMU_PROT_READ | PIOMMU_PROT_WRITE)
#define IOVA     0x7000000ull
#define MEMORY   0x50000000ull
#define ROOT_KEY 0x100u

static struct spy_options tables = {.kind = PIOMMU_BACKEND_TABLES};
static struct spy_options requests = {.kind = PIOMMU_BACKEND_REQUESTS};

static const struct spy_options *options_of(void **state)
{
    return *state;
}

struct scene {
    struct units *units;
    unsigned int unit;
    struct piommu_instance *instance;
    struct piommu_device *device;
    struct piommu_domain *domain;
};

static struct scene open_scene(const struct spy_options *options)
{
    struct scene scene = {.units = units_open()};

    scene.unit = units_add(scene.units, options, "mmu");
    scene.instance = scene.units->instances[scene.unit];
    scene.device = units_device_one(scene.units, "dma", scene.unit, 5);
    scene.domain = units_domain(scene.units, "A", scene.unit, 1);
    scene.units->anything_goes = true;
    units_forget_events(scene.units);
    return scene;
}

/* The only event since the last question, which must be of this kind. */
static const struct piommu_event *only_event(struct units *units, enum piommu_event_kind kind)
{
    if (units->event_count != 1 || units->events[0].kind != kind) {
        for (unsigned int i = 0; i < units->event_count; i++) {
            print_message("event %u: kind %u, error %d\n", i, (unsigned int)units->events[i].kind,
                          units->events[i].error);
        }
        fail_msg("not exactly one event of kind %u", (unsigned int)kind);
    }
    units_forget_events(units);
    return &units->events[0];
}

static void expect_instance(const struct units *units, const struct piommu_event *event,
                            unsigned int unit, const char *name)
{
    assert_ptr_equal(event->instance_owner, &units->instances[unit]);
    assert_string_equal(event->instance_name, name);
}

static void expect_device(const struct units *units, const struct piommu_event *event,
                          unsigned int number, const char *name)
{
    assert_ptr_equal(event->device_owner, &units->devices[number]);
    assert_string_equal(event->device_name, name);
}

static void expect_domain(const struct units *units, const struct piommu_event *event,
                          unsigned int number, const char *name)
{
    assert_ptr_equal(event->domain_owner, &units->domains[number]);
    assert_string_equal(event->domain_name, name);
}

/* ---- Instances ---- */

static void test_the_life_of_an_instance_is_told(void **state)
{
    struct units *units = units_open();
    unsigned int unit = units_add(units, options_of(state), "mmu");
    const struct piommu_event *event = only_event(units, PIOMMU_EVENT_INSTANCE_START);

    assert_int_equal(event->error, 0);
    expect_instance(units, event, unit, "mmu");
    assert_null(event->device_owner);
    assert_null(event->domain_owner);

    assert_int_equal(piommu_instance_suspend(units->instances[unit]), 0);
    event = only_event(units, PIOMMU_EVENT_INSTANCE_SUSPEND);
    assert_int_equal(event->error, 0);
    expect_instance(units, event, unit, "mmu");
    assert_int_equal(piommu_instance_resume(units->instances[unit]), 0);
    event = only_event(units, PIOMMU_EVENT_INSTANCE_RESUME);
    assert_int_equal(event->error, 0);
    expect_instance(units, event, unit, "mmu");

    assert_int_equal(piommu_instance_destroy(units->instances[unit]), 0);
    event = only_event(units, PIOMMU_EVENT_INSTANCE_STOP);
    assert_ptr_equal(event->instance_owner, &units->instances[unit]);
    assert_string_equal(event->instance_name, "mmu");
    units->instances[unit] = NULL;
    units_close(units);
}

static void test_an_instance_that_cannot_be_started_is_told_with_its_error(void **state)
{
    struct units *units = units_open();
    unsigned int unit = units_prepare(units, options_of(state));
    const struct piommu_event *event;

    spy_fail(units->spy, unit, SPY_PROBE, 1, -PIOMMU_ENODEV);
    assert_int_equal(units_start(units, unit, (struct piommu_instance_config){.name = "mmu"}),
                     -PIOMMU_ENODEV);
    event = only_event(units, PIOMMU_EVENT_INSTANCE_START);
    assert_int_equal(event->error, -PIOMMU_ENODEV);
    assert_ptr_equal(event->instance_owner, &units->instances[unit]);
    units_close(units);
}

static void test_an_instance_that_waits_is_told_when_it_is_started(void **state)
{
    struct units *units = units_open();
    unsigned int child = units_add_keyed(units, options_of(state), "cache", 0, ROOT_KEY);
    unsigned int bad = units_add_keyed(units, options_of(state), "bad", 0, ROOT_KEY);
    unsigned int root;
    bool started[3] = {false, false, false};

    assert_null(units_event(units, PIOMMU_EVENT_INSTANCE_START, 1));
    spy_fail(units->spy, bad, SPY_PROBE, 1, -PIOMMU_EIO);
    root = units_add_keyed(units, options_of(state), "main", ROOT_KEY, 0);
    for (unsigned int i = 1; i <= 3; i++) {
        const struct piommu_event *event = units_event(units, PIOMMU_EVENT_INSTANCE_START, i);

        assert_non_null(event);
        if (event->instance_owner == &units->instances[root]) {
            started[0] = event->error == 0;
        } else if (event->instance_owner == &units->instances[child]) {
            started[1] = event->error == 0;
        } else if (event->instance_owner == &units->instances[bad]) {
            started[2] = event->error == -PIOMMU_EIO;
        }
    }
    assert_null(units_event(units, PIOMMU_EVENT_INSTANCE_START, 4));
    assert_true(started[0] && started[1] && started[2]);
    units_close(units);
}

static void test_a_failure_of_an_instance_is_told_once(void **state)
{
    struct scene scene = open_scene(options_of(state));
    const struct piommu_event *event;

    spy_fail(scene.units->spy, scene.unit, SPY_SERVICE, 1, -PIOMMU_ETIMEDOUT);
    assert_int_equal(piommu_instance_service(scene.instance, 1), -PIOMMU_EFAILED);
    event = units_event(scene.units, PIOMMU_EVENT_INSTANCE_FAIL, 1);
    assert_non_null(event);
    assert_int_equal(event->error, -PIOMMU_ETIMEDOUT);
    expect_instance(scene.units, event, scene.unit, "mmu");
    assert_int_equal(piommu_instance_service(scene.instance, 1), -PIOMMU_EFAILED);
    assert_int_equal(units_attach(scene.units, scene.device, scene.domain), -PIOMMU_EFAILED);
    assert_null(units_event(scene.units, PIOMMU_EVENT_INSTANCE_FAIL, 2));
    units_close(scene.units);
}

static void test_power_that_fails_is_told_with_its_error(void **state)
{
    struct units *units = units_open();
    const struct piommu_event *event;

    (void)units_add_keyed(units, options_of(state), "main", ROOT_KEY, 0);
    (void)units_add_keyed(units, options_of(state), "cache", 0, ROOT_KEY);
    units_forget_events(units);
    assert_int_equal(piommu_instance_suspend(units->instances[0]), -PIOMMU_EBUSY);
    event = only_event(units, PIOMMU_EVENT_INSTANCE_SUSPEND);
    assert_int_equal(event->error, -PIOMMU_EBUSY);
    expect_instance(units, event, 0, "main");
    assert_int_equal(piommu_instance_suspend(units->instances[1]), 0);
    assert_int_equal(piommu_instance_suspend(units->instances[0]), 0);
    units_forget_events(units);
    assert_int_equal(piommu_instance_resume(units->instances[1]), -PIOMMU_EBUSY);
    event = only_event(units, PIOMMU_EVENT_INSTANCE_RESUME);
    assert_int_equal(event->error, -PIOMMU_EBUSY);
    expect_instance(units, event, 1, "cache");
    spy_fail(units->spy, 0, SPY_RESUME, 1, -PIOMMU_EIO);
    assert_int_equal(piommu_instance_resume(units->instances[0]), -PIOMMU_EFAILED);
    event = units_event(units, PIOMMU_EVENT_INSTANCE_RESUME, 1);
    assert_non_null(event);
    assert_int_equal(event->error, -PIOMMU_EFAILED);
    event = units_event(units, PIOMMU_EVENT_INSTANCE_FAIL, 1);
    assert_non_null(event);
    assert_int_equal(event->error, -PIOMMU_EIO);
    units_close(units);
}

/* ---- Devices and domains ---- */

static void test_the_life_of_a_device_is_told(void **state)
{
    struct scene scene = open_scene(options_of(state));
    struct piommu_device *device = units_device_one(scene.units, "other", scene.unit, 6);
    const struct piommu_event *event = only_event(scene.units, PIOMMU_EVENT_DEVICE_ADD);

    assert_int_equal(event->error, 0);
    expect_device(scene.units, event, 1, "other");
    units_remove(scene.units, device);
    event = only_event(scene.units, PIOMMU_EVENT_DEVICE_REMOVE);
    assert_int_equal(event->error, 0);
    expect_device(scene.units, event, 1, "other");
    units_close(scene.units);
}

static void test_a_device_that_cannot_be_added_is_told_with_its_error(void **state)
{
    struct scene scene = open_scene(options_of(state));
    const struct piommu_device_id place = {
        .instance = scene.instance, .key = 0, .id = MOCK_ID_LIMIT};
    const struct piommu_device_config config = {
        .ids = &place, .id_count = 1, .name = "ghost", .owner = &scene};
    struct piommu_device *device;
    const struct piommu_event *event;

    assert_int_equal(piommu_device_add(scene.units->context, &config, &device), -PIOMMU_ENOENT);
    event = only_event(scene.units, PIOMMU_EVENT_DEVICE_ADD);
    assert_int_equal(event->error, -PIOMMU_ENOENT);
    assert_ptr_equal(event->device_owner, &scene);
    assert_string_equal(event->device_name, "ghost");
    units_close(scene.units);
}

static void test_a_waiting_device_is_told_when_it_is_complete(void **state)
{
    for (unsigned int fails = 0; fails < 2; fails++) {
        struct units *units = units_open();
        unsigned int unit = units_prepare(units, options_of(state));
        const struct piommu_device_id place = {.instance = NULL, .key = ROOT_KEY, .id = 5};
        const struct units_id ids[] = {{unit, 5}};
        const struct piommu_device_config config = {
            .ids = &place, .id_count = 1, .name = "dma", .owner = &units->devices[0]};
        struct piommu_device *device;
        const struct piommu_event *event;

        assert_int_equal(units_try_device(units, &config, ids, &device), 0);
        event = only_event(units, PIOMMU_EVENT_DEVICE_ADD);
        assert_int_equal(event->error, 0);
        spy_fail(units->spy, unit, SPY_ADD_ENDPOINT, fails, -PIOMMU_ENOENT);
        assert_int_equal(
            units_start(units, unit,
                        (struct piommu_instance_config){.name = "mmu", .key = ROOT_KEY}),
            0);
        event = units_event(units, PIOMMU_EVENT_DEVICE_READY, 1);
        assert_non_null(event);
        assert_int_equal(event->error, fails != 0 ? -PIOMMU_ENOENT : 0);
        expect_device(units, event, 0, "dma");
        assert_null(units_event(units, PIOMMU_EVENT_DEVICE_READY, 2));
        assert_null(units_event(units, PIOMMU_EVENT_DEVICE_ADD, 1));
        units_close(units);
    }
}

static void test_the_life_of_a_domain_is_told(void **state)
{
    struct scene scene = open_scene(options_of(state));
    struct piommu_domain_config config = {.type = PIOMMU_DOMAIN_PAGING,
                                          .instances = &scene.instance,
                                          .instance_count = 1,
                                          .name = "B",
                                          .owner = &scene};
    struct piommu_domain *domain;
    const struct piommu_event *event;

    assert_int_equal(piommu_domain_create(&config, &domain), 0);
    event = only_event(scene.units, PIOMMU_EVENT_DOMAIN_CREATE);
    assert_int_equal(event->error, 0);
    assert_ptr_equal(event->domain_owner, &scene);
    assert_string_equal(event->domain_name, "B");
    assert_int_equal(piommu_domain_destroy(domain), 0);
    event = only_event(scene.units, PIOMMU_EVENT_DOMAIN_DESTROY);
    assert_int_equal(event->error, 0);
    assert_ptr_equal(event->domain_owner, &scene);
    assert_string_equal(event->domain_name, "B");
    /* Nor are those kept quiet that cannot be created. */
    config.msi_window = (struct piommu_range){0x8000000000ull, 0x8000000fffull};
    assert_int_equal(piommu_domain_create(&config, &domain), -PIOMMU_ERANGE);
    event = only_event(scene.units, PIOMMU_EVENT_DOMAIN_CREATE);
    assert_int_equal(event->error, -PIOMMU_ERANGE);
    assert_ptr_equal(event->domain_owner, &scene);
    units_close(scene.units);
}

static void test_moves_are_told_with_who_and_where(void **state)
{
    struct scene scene = open_scene(options_of(state));
    struct piommu_domain *b = units_domain(scene.units, "B", scene.unit, 1);
    const struct piommu_event *event;

    units_forget_events(scene.units);
    assert_int_equal(units_attach(scene.units, scene.device, scene.domain), 0);
    event = only_event(scene.units, PIOMMU_EVENT_ATTACH);
    assert_int_equal(event->error, 0);
    expect_device(scene.units, event, 0, "dma");
    expect_domain(scene.units, event, 0, "A");
    spy_fail(scene.units->spy, scene.unit, SPY_ATTACH, 1, -PIOMMU_EIO);
    assert_int_equal(units_attach(scene.units, scene.device, b), -PIOMMU_EIO);
    event = only_event(scene.units, PIOMMU_EVENT_ATTACH);
    assert_int_equal(event->error, -PIOMMU_EIO);
    expect_device(scene.units, event, 0, "dma");
    expect_domain(scene.units, event, 1, "B");
    assert_int_equal(piommu_device_attach(scene.device, b), 0);
    event = only_event(scene.units, PIOMMU_EVENT_ATTACH);
    expect_domain(scene.units, event, 1, "B");
    assert_int_equal(piommu_device_detach(scene.device), 0);
    event = only_event(scene.units, PIOMMU_EVENT_DETACH);
    assert_int_equal(event->error, 0);
    expect_device(scene.units, event, 0, "dma");
    /* A member of a group that does not move alone. */
    {
        struct piommu_device *second = units_device_one(scene.units, "second", scene.unit, 5);

        units_forget_events(scene.units);
        assert_int_equal(piommu_device_attach(second, b), -PIOMMU_EGROUP);
        event = units_event(scene.units, PIOMMU_EVENT_ATTACH, 1);
        assert_true(event == NULL || event->error == -PIOMMU_EGROUP);
    }
    units_close(scene.units);
}

static void test_a_group_is_named_by_its_first_device(void **state)
{
    struct scene scene = open_scene(options_of(state));
    struct piommu_device *second = units_device_one(scene.units, "second", scene.unit, 5);

    units_forget_events(scene.units);
    assert_int_equal(units_attach(scene.units, second, scene.domain), 0);
    expect_device(scene.units, only_event(scene.units, PIOMMU_EVENT_ATTACH), 0, "dma");
    units_detach(scene.units, second);
    expect_device(scene.units, only_event(scene.units, PIOMMU_EVENT_DETACH), 0, "dma");
    units_close(scene.units);
}

static void test_a_chosen_domain_is_told_as_an_attach(void **state)
{
    struct scene scene = open_scene(options_of(state));

    scene.units->chosen = scene.domain;
    (void)units_device_one(scene.units, "new", scene.unit, 6);
    assert_non_null(units_event(scene.units, PIOMMU_EVENT_DEVICE_ADD, 1));
    assert_non_null(units_event(scene.units, PIOMMU_EVENT_ATTACH, 1));
    expect_domain(scene.units, units_event(scene.units, PIOMMU_EVENT_ATTACH, 1), 0, "A");
    units_close(scene.units);
}

/* ---- Mappings ---- */

static const struct piommu_event *expect_range(struct scene *scene, enum piommu_event_kind kind,
                                               int error, uint64_t iova, uint64_t size)
{
    const struct piommu_event *event = only_event(scene->units, kind);

    assert_int_equal(event->error, error);
    assert_int_equal(event->iova, iova);
    assert_int_equal(event->size, size);
    expect_domain(scene->units, event, 0, "A");
    assert_null(event->device_owner);
    return event;
}

static void test_every_way_to_map_is_told_as_one(void **state)
{
    static const struct piommu_segment segments[] = {{MEMORY + PAGE, PAGE},
                                                     {MEMORY + 8 * PAGE, 2 * PAGE}};
    struct scene scene = open_scene(options_of(state));
    struct piommu_domain *domain = scene.domain;
    const struct piommu_event *event;
    uint64_t mapped;

    assert_int_equal(piommu_domain_map(domain, IOVA, MEMORY, 2 * PAGE, RW), 0);
    event = expect_range(&scene, PIOMMU_EVENT_MAP, 0, IOVA, 2 * PAGE);
    assert_int_equal(event->physical, MEMORY);
    assert_int_equal(event->prot, RW);

    assert_int_equal(piommu_domain_map_list(domain, IOVA + 0x10000, segments, 2, R), 0);
    event = expect_range(&scene, PIOMMU_EVENT_MAP, 0, IOVA + 0x10000, 3 * PAGE);
    assert_int_equal(event->physical, MEMORY + PAGE);
    assert_int_equal(event->prot, R);

    assert_int_equal(piommu_domain_map_again(domain, IOVA, MEMORY, 4 * PAGE, RW), 0);
    (void)expect_range(&scene, PIOMMU_EVENT_MAP, 0, IOVA, 4 * PAGE);

    assert_int_equal(piommu_domain_map_some(domain, IOVA + 0x20000, MEMORY, PAGE, RW, 8, &mapped),
                     0);
    (void)expect_range(&scene, PIOMMU_EVENT_MAP, 0, IOVA + 0x20000, PAGE);

    assert_int_equal(
        piommu_domain_replace(domain, IOVA, MEMORY + 16 * PAGE, PAGE, R, PIOMMU_ALLOW_HOLE, NULL),
        0);
    event = units_event(scene.units, PIOMMU_EVENT_MAP, 1);
    assert_non_null(event);
    assert_int_equal(event->iova, IOVA);
    assert_int_equal(event->physical, MEMORY + 16 * PAGE);
    units_close(scene.units);
}

static void test_a_map_that_fails_is_told_with_its_error(void **state)
{
    static const struct {
        uint64_t iova;
        uint64_t size;
        piommu_prot prot;
        int error;
    } cases[] = {
        {UNITS_PAGE, PAGE, RW, -PIOMMU_EEXIST},
        {1ull << 39, PAGE, RW, -PIOMMU_ERANGE},
        {IOVA, PAGE, PIOMMU_PROT_DEVICE | RW, -PIOMMU_EOPNOTSUPP},
        {IOVA, PAGE + 1, RW, -PIOMMU_EINVAL},
    };
    struct scene scene = open_scene(options_of(state));

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct piommu_event *event;

        assert_int_equal(
            piommu_domain_map(scene.domain, cases[i].iova, MEMORY, cases[i].size, cases[i].prot),
            cases[i].error);
        event =
            expect_range(&scene, PIOMMU_EVENT_MAP, cases[i].error, cases[i].iova, cases[i].size);
        assert_int_equal(event->physical, MEMORY);
        assert_int_equal(event->prot, cases[i].prot);
    }
    units_close(scene.units);
}

static void test_every_way_to_unmap_is_told_as_one(void **state)
{
    struct scene scene = open_scene(options_of(state));
    struct piommu_domain *domain = scene.domain;
    struct piommu_gather gather;
    uint64_t done;

    for (unsigned int i = 0; i < 4; i++) {
        assert_int_equal(
            piommu_domain_map(domain, IOVA + i * 0x10000, MEMORY + i * 0x100000, PAGE, RW), 0);
    }
    units_forget_events(scene.units);
    piommu_gather_init(&gather);
    assert_int_equal(piommu_domain_unmap(domain, IOVA, 2 * PAGE, &gather, NULL), 0);
    (void)expect_range(&scene, PIOMMU_EVENT_UNMAP, 0, IOVA, 2 * PAGE);
    assert_int_equal(piommu_domain_unmap(domain, 0x600000, PAGE, &gather, NULL), -PIOMMU_ENOENT);
    (void)expect_range(&scene, PIOMMU_EVENT_UNMAP, -PIOMMU_ENOENT, 0x600000, PAGE);
    assert_int_equal(
        piommu_domain_unmap_some(domain, IOVA + 0x10000, PAGE, 8, &gather, &done, NULL), 0);
    (void)expect_range(&scene, PIOMMU_EVENT_UNMAP, 0, IOVA + 0x10000, PAGE);
    assert_int_equal(
        piommu_domain_unmap_leaves(domain, IOVA + 0x20010, IOVA + 0x20020, &gather, NULL, NULL), 0);
    (void)expect_range(&scene, PIOMMU_EVENT_UNMAP, 0, IOVA + 0x20010, 0x11);
    assert_int_equal(piommu_domain_sync(domain, &gather), 0);
    units_forget_events(scene.units);
    assert_int_equal(piommu_domain_unmap_cut(domain, IOVA + 0x30000, PAGE, 0, NULL), 0);
    {
        const struct piommu_event *event = units_event(scene.units, PIOMMU_EVENT_UNMAP, 1);

        assert_non_null(event);
        assert_int_equal(event->iova, IOVA + 0x30000);
        assert_int_equal(event->size, PAGE);
    }
    units_close(scene.units);
}

static void test_a_change_of_permissions_is_told(void **state)
{
    struct scene scene = open_scene(options_of(state));
    const struct piommu_event *event;

    assert_int_equal(piommu_domain_map(scene.domain, IOVA, MEMORY, PAGE, RW), 0);
    units_forget_events(scene.units);
    assert_int_equal(piommu_domain_protect(scene.domain, IOVA, PAGE, R, PIOMMU_ALLOW_HOLE, NULL),
                     0);
    event = units_event(scene.units, PIOMMU_EVENT_PROTECT, 1);
    assert_non_null(event);
    assert_int_equal(event->error, 0);
    assert_int_equal(event->iova, IOVA);
    assert_int_equal(event->size, PAGE);
    assert_int_equal(event->prot, R);
    expect_domain(scene.units, event, 0, "A");
    units_forget_events(scene.units);
    assert_int_equal(piommu_domain_protect(scene.domain, 0x600000, PAGE, R, 0, NULL),
                     -PIOMMU_ENOENT);
    event = only_event(scene.units, PIOMMU_EVENT_PROTECT);
    assert_int_equal(event->error, -PIOMMU_ENOENT);
    units_close(scene.units);
}

static void test_a_sync_is_told_with_its_range(void **state)
{
    struct scene scene = open_scene(options_of(state));
    struct piommu_gather gather;
    const struct piommu_event *event;

    assert_int_equal(units_attach(scene.units, scene.device, scene.domain), 0);
    piommu_gather_init(&gather);
    assert_int_equal(piommu_domain_unmap(scene.domain, UNITS_PAGE, PAGE, &gather, NULL), 0);
    units_forget_events(scene.units);
    spy_fail(scene.units->spy, scene.unit, SPY_INVALIDATE, 1, -PIOMMU_EIO);
    spy_fail(scene.units->spy, scene.unit, SPY_UNMAP, 1, -PIOMMU_EIO);
    assert_int_equal(piommu_domain_sync(scene.domain, &gather), -PIOMMU_EFAILED);
    event = units_event(scene.units, PIOMMU_EVENT_SYNC, 1);
    assert_non_null(event);
    assert_int_equal(event->error, -PIOMMU_EFAILED);
    assert_true(event->iova <= UNITS_PAGE && event->iova + event->size >= UNITS_PAGE + PAGE);
    expect_domain(scene.units, event, 0, "A");
    event = units_event(scene.units, PIOMMU_EVENT_INSTANCE_FAIL, 1);
    assert_non_null(event);
    assert_int_equal(event->error, -PIOMMU_EIO);
    units_detach(scene.units, scene.device);
    units_forget_events(scene.units);
    assert_int_equal(piommu_domain_sync(scene.domain, &gather), 0);
    event = only_event(scene.units, PIOMMU_EVENT_SYNC);
    assert_int_equal(event->error, 0);
    assert_true(event->iova <= UNITS_PAGE && event->iova + event->size >= UNITS_PAGE + PAGE);
    units_close(scene.units);
}

static void test_an_invalidation_by_the_host_is_told_as_a_sync(void **state)
{
    struct scene scene = open_scene(&tables);
    const struct piommu_event *event;

    (void)state;
    assert_int_equal(units_attach(scene.units, scene.device, scene.domain), 0);
    units_forget_events(scene.units);
    assert_int_equal(piommu_domain_invalidate(scene.domain, 0x1000, 0x4fff), 0);
    event = only_event(scene.units, PIOMMU_EVENT_SYNC);
    assert_int_equal(event->error, 0);
    assert_int_equal(event->iova, 0x1000);
    assert_int_equal(event->size, 0x4000);
    units_close(scene.units);
}

static void test_the_steps_of_populating_are_told(void **state)
{
    struct scene scene = open_scene(options_of(state));
    const struct piommu_domain_config config = {.type = PIOMMU_DOMAIN_DEFERRED,
                                                .instances = &scene.instance,
                                                .instance_count = 1,
                                                .name = "later",
                                                .owner = &scene.units->domains[1]};
    struct piommu_domain *domain;
    unsigned int steps = 0;
    int error;

    assert_int_equal(units_try_domain(scene.units, &config, &domain), 0);
    units_fill(scene.units, domain);
    units_forget_events(scene.units);
    do {
        error = piommu_domain_populate(domain, 1);
        steps++;
        assert_true(steps < 100);
    } while (error == -PIOMMU_EAGAIN);
    assert_int_equal(error, 0);
    for (unsigned int i = 1; i <= steps; i++) {
        const struct piommu_event *event = units_event(scene.units, PIOMMU_EVENT_POPULATE, i);

        assert_non_null(event);
        assert_int_equal(event->error, i < steps ? -PIOMMU_EAGAIN : 0);
        expect_domain(scene.units, event, 1, "later");
    }
    assert_null(units_event(scene.units, PIOMMU_EVENT_POPULATE, steps + 1));
    units_close(scene.units);
}

/* ---- Faults ---- */

static void raise_fault(struct scene *scene, uint32_t id)
{
    const struct piommu_backend_fault fault = {
        .id = id, .reason = PIOMMU_FAULT_MAPPING, .iova_valid = true, .iova = 0x123000};

    mock_raise_fault(spy_mock(scene->units->spy, scene->unit), &fault);
}

static void test_a_fault_is_told_before_the_host_is_asked_about_it(void **state)
{
    struct scene scene = open_scene(options_of(state));
    const struct piommu_event *event;

    assert_int_equal(units_attach(scene.units, scene.device, scene.domain), 0);
    units_forget_events(scene.units);
    scene.units->answer = PIOMMU_FAULT_IGNORE;
    raise_fault(&scene, 5);
    assert_int_equal(piommu_instance_service(scene.instance, 1), 1);
    event = only_event(scene.units, PIOMMU_EVENT_FAULT);
    expect_instance(scene.units, event, scene.unit, "mmu");
    expect_device(scene.units, event, 0, "dma");
    expect_domain(scene.units, event, 0, "A");
    assert_int_equal(event->iova, 0x123000);
    assert_int_equal(event->id, 5);
    /* That of nobody names nobody. */
    raise_fault(&scene, 900);
    assert_int_equal(piommu_instance_service(scene.instance, 1), 1);
    event = only_event(scene.units, PIOMMU_EVENT_FAULT);
    assert_null(event->device_owner);
    assert_null(event->domain_owner);
    assert_int_equal(event->id, 900);
    units_close(scene.units);
}

static void test_a_device_that_is_blocked_because_of_its_faults_is_told(void **state)
{
    for (unsigned int bare = 0; bare < 2; bare++) {
        struct spy_options options = *options_of(state);
        struct scene scene;
        const struct piommu_event *event;

        options.bare = bare != 0;
        scene = open_scene(&options);
        assert_int_equal(units_attach(scene.units, scene.device, scene.domain), 0);
        units_forget_events(scene.units);
        scene.units->answer = PIOMMU_FAULT_BLOCK;
        raise_fault(&scene, 5);
        assert_int_equal(piommu_instance_service(scene.instance, 1), 1);
        event = units_event(scene.units, PIOMMU_EVENT_FAULT_BLOCK, 1);
        assert_non_null(event);
        expect_device(scene.units, event, 0, "dma");
        assert_int_equal(event->error, 0);
        assert_int_equal(scene.units->events[0].kind, PIOMMU_EVENT_FAULT);
        assert_null(units_event(scene.units, PIOMMU_EVENT_FAULT_BLOCK, 2));
        units_close(scene.units);
    }
}

/* ---- All of it ---- */

static void test_a_story_is_told_in_its_order(void **state)
{
    static const enum piommu_event_kind story[] = {
        PIOMMU_EVENT_INSTANCE_START,
        PIOMMU_EVENT_DEVICE_ADD,
        PIOMMU_EVENT_DOMAIN_CREATE,
        PIOMMU_EVENT_MAP,
        PIOMMU_EVENT_MAP,
        PIOMMU_EVENT_ATTACH,
        PIOMMU_EVENT_UNMAP,
        PIOMMU_EVENT_SYNC,
        PIOMMU_EVENT_INSTANCE_SUSPEND,
        PIOMMU_EVENT_MAP,
        PIOMMU_EVENT_INSTANCE_RESUME,
        PIOMMU_EVENT_DETACH,
        PIOMMU_EVENT_DOMAIN_DESTROY,
        PIOMMU_EVENT_DEVICE_REMOVE,
        PIOMMU_EVENT_INSTANCE_STOP,
    };
    struct units *units = units_open();
    unsigned int unit = units_add(units, options_of(state), "mmu");
    struct piommu_device *device = units_device_one(units, "dma", unit, 5);
    struct piommu_domain *domain = units_domain(units, "A", unit, 1);

    assert_int_equal(units_attach(units, device, domain), 0);
    units_unmap(domain, UNITS_PAGE, PAGE);
    assert_int_equal(piommu_instance_suspend(units->instances[unit]), 0);
    assert_int_equal(piommu_domain_map(domain, IOVA, MEMORY, PAGE, RW), 0);
    units->anything_goes = true;
    assert_int_equal(piommu_instance_resume(units->instances[unit]), 0);
    units_detach(units, device);
    units_drop(units, domain);
    units_remove(units, device);
    assert_int_equal(piommu_instance_destroy(units->instances[unit]), 0);
    units->instances[unit] = NULL;
    assert_int_equal(units->event_count, sizeof(story) / sizeof(story[0]));
    for (size_t i = 0; i < sizeof(story) / sizeof(story[0]); i++) {
        assert_int_equal(units->events[i].kind, story[i]);
        assert_int_equal(units->events[i].error, 0);
    }
    units_close(units);
}

/* ---- Counters ---- */

static void test_the_counters_count_what_was_done(void **state)
{
    struct scene scene = open_scene(options_of(state));
    struct piommu_domain_statistics counted;
    struct piommu_instance_info before;
    struct piommu_instance_info after;
    struct piommu_gather gather;

    assert_int_equal(units_attach(scene.units, scene.device, scene.domain), 0);
    piommu_domain_get_statistics(scene.domain, &counted);
    assert_int_equal(counted.maps, 2);
    assert_int_equal(counted.unmaps, 0);
    assert_int_equal(counted.syncs, 0);
    assert_int_equal(counted.mapped, 2 * PAGE);
    assert_int_equal(counted.endpoints, 1);
    piommu_instance_get_info(scene.instance, &before);
    piommu_gather_init(&gather);
    assert_int_equal(piommu_domain_unmap(scene.domain, UNITS_PAGE, PAGE, &gather, NULL), 0);
    assert_int_equal(piommu_domain_unmap(scene.domain, 0x600000, PAGE, &gather, NULL),
                     -PIOMMU_ENOENT);
    assert_int_equal(piommu_domain_sync(scene.domain, &gather), 0);
    assert_int_equal(piommu_domain_sync(scene.domain, &gather), 0);
    assert_int_equal(piommu_domain_map(scene.domain, IOVA, MEMORY, 3 * PAGE, RW), 0);
    assert_int_equal(piommu_domain_map(scene.domain, IOVA, MEMORY, PAGE, RW), -PIOMMU_EEXIST);
    piommu_domain_get_statistics(scene.domain, &counted);
    assert_int_equal(counted.maps, 3);
    assert_int_equal(counted.unmaps, 1);
    assert_int_equal(counted.syncs, 1);
    assert_int_equal(counted.mapped, 4 * PAGE);
    piommu_instance_get_info(scene.instance, &after);
    assert_int_equal(after.invalidations, before.invalidations + 1);
    assert_int_equal(after.faults, 0);
    units_detach(scene.units, scene.device);
    piommu_domain_get_statistics(scene.domain, &counted);
    assert_int_equal(counted.endpoints, 0);
    units_close(scene.units);
}

/* ---- Dumps ---- */

struct text {
    char lines[16384];
    size_t length;
};

static void take_line(void *cookie, const char *line)
{
    struct text *text = cookie;
    size_t length = strlen(line);

    assert_true(length < 160);
    assert_null(strchr(line, '\n'));
    assert_true(text->length + length + 2 <= sizeof(text->lines));
    memcpy(text->lines + text->length, line, length);
    text->length += length;
    text->lines[text->length++] = '\n';
    text->lines[text->length] = '\0';
}

/* A line that has both words. */
static void expect_line(const struct text *text, const char *one, const char *other)
{
    for (const char *line = text->lines; *line != '\0'; line = strchr(line, '\n') + 1) {
        const char *end = strchr(line, '\n');
        const char *first = strstr(line, one);
        const char *second = strstr(line, other);

        if (first != NULL && first < end && second != NULL && second < end) {
            return;
        }
    }
    fail_msg("no line with \"%s\" and \"%s\" in\n%s", one, other, text->lines);
}

static void test_a_dump_names_what_waits_and_what_sleeps(void **state)
{
    struct scene scene = open_scene(options_of(state));
    struct units *units = scene.units;
    unsigned int sleeper = units_add(units, options_of(state), "sleeper");
    unsigned int child = units_add_keyed(units, options_of(state), "orphan", 0, ROOT_KEY);
    unsigned int missing = units_prepare(units, options_of(state));
    const struct piommu_device_id places[] = {{.instance = scene.instance, .key = 0, .id = 8},
                                              {.instance = NULL, .key = ROOT_KEY + 1, .id = 9}};
    const struct units_id ids[] = {{scene.unit, 8}, {missing, 9}};
    const struct piommu_device_config config = {.ids = places, .id_count = 2, .name = "patient"};
    struct piommu_device *device;
    struct text text = {.length = 0};

    (void)child;
    assert_int_equal(units_try_device(units, &config, ids, &device), 0);
    assert_int_equal(piommu_instance_suspend(units->instances[sleeper]), 0);
    piommu_context_dump(units->context, take_line, &text);
    expect_line(&text, "mmu", "running");
    expect_line(&text, "sleeper", "suspended");
    expect_line(&text, "orphan", "waiting");
    expect_line(&text, "patient", "waiting");
    units_close(units);
}

static void test_a_dump_names_the_types_of_domains(void **state)
{
    static const struct {
        enum piommu_domain_type type;
        const char *name;
        const char *word;
    } kinds[] = {
        {PIOMMU_DOMAIN_BLOCKED, "n1", "blocked"},
        {PIOMMU_DOMAIN_IDENTITY, "n2", "identity"},
        {PIOMMU_DOMAIN_DMA, "n3", "dma"},
        {PIOMMU_DOMAIN_DEFERRED, "n4", "deferred"},
    };
    struct scene scene = open_scene(options_of(state));
    struct text text = {.length = 0};

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        const struct piommu_domain_config config = {.type = kinds[i].type,
                                                    .instances = &scene.instance,
                                                    .instance_count = 1,
                                                    .name = kinds[i].name};
        struct piommu_domain *domain;

        assert_int_equal(units_try_domain(scene.units, &config, &domain), 0);
    }
    piommu_context_dump(scene.units->context, take_line, &text);
    expect_line(&text, " A", "paging");
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        const char *word = kinds[i].type == PIOMMU_DOMAIN_DMA && strstr(text.lines, "DMA") != NULL
                               ? "DMA"
                               : kinds[i].word;

        expect_line(&text, kinds[i].name, word);
    }
    units_close(scene.units);
}

static void test_a_dump_names_devices_over_several_instances(void **state)
{
    struct units *units = units_open();
    struct piommu_device *device;
    struct piommu_domain *domain;
    struct text text = {.length = 0};

    (void)units_add(units, options_of(state), "mmu0");
    (void)units_add(units, options_of(state), "mmu1");
    device = units_device(units, "camera", (const struct units_id[]){{0, 0x15}, {1, 0x26}}, 2);
    domain = units_domain(units, "wide", 0, 2);
    assert_int_equal(units_attach(units, device, domain), 0);
    piommu_context_dump(units->context, take_line, &text);
    expect_line(&text, "camera", "wide");
    expect_line(&text, "camera", "0x15");
    expect_line(&text, "camera", "0x26");
    expect_line(&text, "mmu0", "running");
    expect_line(&text, "mmu1", "running");
    units_close(units);
}

static void test_every_kind_of_event_has_a_name_of_its_own(void **state)
{
    (void)state;
    for (unsigned int i = PIOMMU_EVENT_INSTANCE_START; i <= PIOMMU_EVENT_FAULT_BLOCK; i++) {
        const char *name = piommu_event_name((enum piommu_event_kind)i);

        assert_true(strlen(name) > 2);
        for (unsigned int j = PIOMMU_EVENT_INSTANCE_START; j < i; j++) {
            assert_string_not_equal(name, piommu_event_name((enum piommu_event_kind)j));
        }
    }
    assert_non_null(piommu_event_name((enum piommu_event_kind)1000));
}

int main(void)
{
#define BOTH(test)                                       \
    {#test " (tables)", test, NULL, NULL, &tables},      \
    {                                                    \
#test " (requests)", test, NULL, NULL, &requests \
    }
    static const struct CMUnitTest tests[] = {
        BOTH(test_the_life_of_an_instance_is_told),
        BOTH(test_an_instance_that_cannot_be_started_is_told_with_its_error),
        BOTH(test_an_instance_that_waits_is_told_when_it_is_started),
        BOTH(test_a_failure_of_an_instance_is_told_once),
        BOTH(test_power_that_fails_is_told_with_its_error),
        BOTH(test_the_life_of_a_device_is_told),
        BOTH(test_a_device_that_cannot_be_added_is_told_with_its_error),
        BOTH(test_a_waiting_device_is_told_when_it_is_complete),
        BOTH(test_the_life_of_a_domain_is_told),
        BOTH(test_moves_are_told_with_who_and_where),
        BOTH(test_a_group_is_named_by_its_first_device),
        BOTH(test_a_chosen_domain_is_told_as_an_attach),
        BOTH(test_every_way_to_map_is_told_as_one),
        BOTH(test_a_map_that_fails_is_told_with_its_error),
        BOTH(test_every_way_to_unmap_is_told_as_one),
        BOTH(test_a_change_of_permissions_is_told),
        BOTH(test_a_sync_is_told_with_its_range),
        cmocka_unit_test(test_an_invalidation_by_the_host_is_told_as_a_sync),
        BOTH(test_the_steps_of_populating_are_told),
        BOTH(test_a_fault_is_told_before_the_host_is_asked_about_it),
        BOTH(test_a_device_that_is_blocked_because_of_its_faults_is_told),
        BOTH(test_a_story_is_told_in_its_order),
        BOTH(test_the_counters_count_what_was_done),
        BOTH(test_a_dump_names_what_waits_and_what_sleeps),
        BOTH(test_a_dump_names_the_types_of_domains),
        BOTH(test_a_dump_names_devices_over_several_instances),
        cmocka_unit_test(test_every_kind_of_event_has_a_name_of_its_own),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
