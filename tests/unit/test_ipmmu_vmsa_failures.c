/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The IPMMU-VMSA backend when something fails it: each step of the life of units, devices and
 * domains, with each call of the host failing, with each switch of power failing, and with a FLUSH
 * that never ends, of each unit, from the first, second, third ... on. The error reaches the
 * caller, no master reaches more than before or after, hardware is left no way to memory that is
 * given back, nothing is lost, all can be taken down, and what failed succeeds when its cause is
 * gone.
 */

#include "ipmmu_fixture.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define TIMEOUT 1000000ull /* enough for many polls, and soon over where none helps */
#define DOMAINS 2u
#define MASTERS 3u
#define NOWHERE DOMAINS
#define FAR     0x80000000ull /* needs tables of its own */

enum cause {
    NONE,
    HOST,  /* the shim gives no memory, no lock, no registers */
    POWER, /* the host cannot switch the power of a unit */
    FLUSH, /* of one unit, and all later ones there */
};

struct scene {
    struct ipmmu_fixture *fixture;
    struct piommu_domain *domains[DOMAINS];
    struct ipmmu_granted pages[DOMAINS][IPMMU_PAGES];
    unsigned int where[MASTERS]; /* a domain, or NOWHERE */
    struct piommu_gather gather;
    bool has_one_context;
    const char *step;
    char said[160]; /* the last line of the log */
    /* What is to fail, and what has come of it. */
    enum cause cause;
    size_t unit;
    unsigned int number;
    unsigned int count;
};

/* The shim's context is the fake OS, the unit's cookie is this. */
struct power_switch {
    struct scene *scene;
    size_t unit;
};

static struct power_switch switches[IPMMU_MAX_UNITS];

/* ---- What fails ---- */

static bool has_failed(const struct scene *scene)
{
    struct fake_os_counters counters;

    if (scene->cause == HOST) {
        fake_os_get_counters(scene->fixture->os, &counters);
        return counters.fallible_calls - scene->count >= scene->number;
    }
    return scene->count >= scene->number;
}

static int switch_power(void *cookie, bool on)
{
    const struct power_switch *which = cookie;
    struct scene *scene = which->scene;

    if (scene->cause == POWER && ++scene->count == scene->number) {
        return -PIOMMU_EIO;
    }
    piommu_ipmmu_model_power(scene->fixture->model, which->unit, on);
    return 0;
}

/* The FLUSH before the one that is not to end sets the stage for it. */
static void count_flushes(struct ipmmu_fixture *fixture,
                          const struct piommu_ipmmu_model_access *access)
{
    struct scene *scene = fixture->test_data;

    if (scene->cause == FLUSH && access->unit == scene->unit && access->is_write &&
        access->which == PIOMMU_IPMMU_MODEL_IMCTR && (access->value & 2) != 0 &&
        ++scene->count + 1 == scene->number) {
        piommu_ipmmu_model_set_flush_polls(fixture->model, scene->unit, PIOMMU_IPMMU_MODEL_NEVER);
    }
}

static void begin_failing(struct scene *scene, enum cause cause, size_t unit, unsigned int number)
{
    struct fake_os_counters counters;

    scene->cause = cause;
    scene->unit = unit;
    scene->number = number;
    scene->count = 0;
    if (cause == HOST) {
        fake_os_get_counters(scene->fixture->os, &counters);
        scene->count = (unsigned int)counters.fallible_calls;
        fake_os_fail_call(scene->fixture->os, number, false);
    } else if (cause == FLUSH && number == 1) {
        piommu_ipmmu_model_set_flush_polls(scene->fixture->model, unit, PIOMMU_IPMMU_MODEL_NEVER);
    }
}

static void end_failing(struct scene *scene)
{
    if (scene->cause == HOST) {
        fake_os_fail_call(scene->fixture->os, 0, false);
    } else if (scene->cause == FLUSH) {
        piommu_ipmmu_model_set_flush_polls(scene->fixture->model, scene->unit, 0);
        piommu_ipmmu_model_end_flushes(scene->fixture->model, scene->unit);
    }
    scene->cause = NONE;
}

/* Of a unit that cannot be stopped, or made to forget, memory is lost, and this is said. */
static void listen(void *ctx, enum piommu_log_level level, const char *line)
{
    struct scene *scene = switches[0].scene;

    (void)ctx;
    (void)level;
    (void)snprintf(scene->said, sizeof(scene->said), "%s", line);
    if (strstr(line, "never used again") != NULL) {
        scene->fixture->loses_memory = true;
    }
}

static void check_memory_is_out_of_reach(void *ctx, uint64_t physical, uint64_t size)
{
    const struct scene *scene = ctx;

    if (piommu_ipmmu_model_table_reaches(scene->fixture->model, physical, size)) {
        fail_msg("%s: table %#" PRIx64 " is given back, and can be reached", scene->step, physical);
    }
}

/* ---- What is granted ---- */

static bool are_together(const struct scene *scene, size_t master, size_t other)
{
    return master == other || scene->has_one_context;
}

/* What a master in a domain is granted, from the end of the call in progress on. */
static void grant_domain(struct scene *scene, size_t master)
{
    for (size_t page = 0; page < IPMMU_PAGES; page++) {
        struct ipmmu_granted granted = {.mapped = false};

        if (scene->where[master] != NOWHERE) {
            granted = scene->pages[scene->where[master]][page];
        }
        scene->fixture->masters[master].granted[1][page] = granted;
    }
}

static void grant_all(struct scene *scene)
{
    for (size_t i = 0; i < scene->fixture->master_count; i++) {
        grant_domain(scene, i);
    }
}

/* A call is over: what it was to do is done, or was not begun. */
static int settle(struct scene *scene, int error)
{
    if (error == 0) {
        ipmmu_settle(scene->fixture);
    }
    return error;
}

/* ---- Steps: each may be made again after it has failed ---- */

static int start(struct scene *scene, size_t unit)
{
    struct ipmmu_fixture *fixture = scene->fixture;
    int error;

    if (fixture->instances[unit] != NULL) {
        return 0;
    }
    error = ipmmu_try_unit(fixture, unit);
    if (error != 0) {
        fixture->instances[unit] = NULL;
    }
    return error;
}

static int start_root(struct scene *scene)
{
    return start(scene, IPMMU_ROOT);
}

static int start_first_cache(struct scene *scene)
{
    return start(scene, IPMMU_CACHE_1);
}

static int start_second_cache(struct scene *scene)
{
    return start(scene, IPMMU_CACHE_2);
}

static int add(struct scene *scene, size_t master)
{
    return scene->fixture->masters[master].device != NULL
               ? 0
               : ipmmu_try_device(scene->fixture, master);
}

static int add_first(struct scene *scene)
{
    return add(scene, 0);
}

static int add_between(struct scene *scene)
{
    return add(scene, 1);
}

static int add_last(struct scene *scene)
{
    return add(scene, 2);
}

static int create(struct scene *scene, unsigned int number)
{
    int error;

    if (scene->domains[number] != NULL) {
        return 0;
    }
    error = ipmmu_try_domain(scene->fixture, PIOMMU_DOMAIN_PAGING, &scene->domains[number]);
    if (error != 0) {
        scene->domains[number] = NULL;
    }
    return error;
}

static int create_first(struct scene *scene)
{
    return create(scene, 0);
}

static int create_second(struct scene *scene)
{
    return create(scene, 1);
}

static void set_page(struct scene *scene, unsigned int domain, size_t page, uint64_t physical)
{
    scene->pages[domain][page] =
        (struct ipmmu_granted){.mapped = physical != 0, .write = true, .physical = physical};
    grant_all(scene);
}

static int map(struct scene *scene, unsigned int domain, size_t page)
{
    uint64_t physical = IPMMU_MEMORY + (8 * domain + page) * IPMMU_PAGE;
    int error;

    if (scene->pages[domain][page].mapped) {
        return 0;
    }
    set_page(scene, domain, page, physical);
    error = piommu_domain_map(scene->domains[domain], IPMMU_IOVA + page * IPMMU_PAGE, physical,
                              IPMMU_PAGE, IPMMU_READ_WRITE);
    if (error != 0) {
        set_page(scene, domain, page, 0);
    }
    return settle(scene, error);
}

static int map_first(struct scene *scene)
{
    return map(scene, 0, 0);
}

static int map_second(struct scene *scene)
{
    return map(scene, 1, 1);
}

static int map_next(struct scene *scene)
{
    return map(scene, 0, 2);
}

static int map_far(struct scene *scene)
{
    struct piommu_translation found;

    return piommu_domain_lookup(scene->domains[0], FAR, &found) == 0
               ? 0
               : piommu_domain_map(scene->domains[0], FAR, IPMMU_MEMORY, IPMMU_PAGE, IPMMU_READ);
}

/* What was unmapped before is synced again. */
static int unmap(struct scene *scene, uint64_t iova)
{
    if (!scene->gather.pending) {
        assert_int_equal(
            piommu_domain_unmap(scene->domains[0], iova, IPMMU_PAGE, &scene->gather, NULL), 0);
    }
    return settle(scene, piommu_domain_sync(scene->domains[0], &scene->gather));
}

static int unmap_far(struct scene *scene)
{
    return unmap(scene, FAR);
}

static int unmap_page(struct scene *scene)
{
    set_page(scene, 0, 2, 0);
    return unmap(scene, IPMMU_IOVA + 2 * IPMMU_PAGE);
}

/* With one context a group is all masters of its units. */
static void put(struct scene *scene, size_t master, unsigned int where)
{
    for (size_t i = 0; i < MASTERS; i++) {
        if (are_together(scene, i, master)) {
            scene->where[i] = where;
        }
    }
    grant_all(scene);
}

static struct piommu_group *group_of(const struct scene *scene, size_t master)
{
    return piommu_device_group(scene->fixture->masters[master].device);
}

static int attach(struct scene *scene, size_t master, unsigned int domain)
{
    unsigned int before = scene->where[master];
    int error;

    put(scene, master, domain);
    error = piommu_group_attach(group_of(scene, master), scene->domains[domain]);
    if (error != 0) {
        put(scene, master, before);
    }
    return settle(scene, error);
}

static int attach_first(struct scene *scene)
{
    return attach(scene, 0, 0);
}

static int attach_last(struct scene *scene)
{
    return attach(scene, 2, 0);
}

static int attach_between(struct scene *scene)
{
    return attach(scene, 1, 1);
}

static int move(struct scene *scene)
{
    return attach(scene, 0, 1);
}

static int detach(struct scene *scene, size_t master)
{
    put(scene, master, NOWHERE);
    return settle(scene, piommu_group_detach(group_of(scene, master)));
}

static int detach_last(struct scene *scene)
{
    return detach(scene, 2);
}

static int detach_between(struct scene *scene)
{
    return detach(scene, 1);
}

static int remove_between(struct scene *scene)
{
    struct ipmmu_master *master = &scene->fixture->masters[1];
    int error = master->device != NULL ? piommu_device_remove(master->device) : 0;

    if (error == 0) {
        master->device = NULL;
    }
    return error;
}

static int destroy_first(struct scene *scene)
{
    int error = piommu_domain_destroy(scene->domains[0]);

    if (error == 0) {
        scene->domains[0] = NULL;
    }
    return error;
}

/* The host keeps masters quiet from here on. */
static int suspend_all(struct scene *scene)
{
    static const size_t order[] = {IPMMU_CACHE_2, IPMMU_CACHE_1, IPMMU_ROOT};
    int error = 0;

    scene->fixture->probing = false;
    for (size_t i = 0; i < IPMMU_UNITS && error == 0; i++) {
        error = piommu_instance_suspend(scene->fixture->instances[order[i]]);
    }
    return error;
}

static int resume_all(struct scene *scene)
{
    int error = 0;

    for (size_t i = 0; i < IPMMU_UNITS && error == 0; i++) {
        error = piommu_instance_resume(scene->fixture->instances[i]);
    }
    if (error == 0) {
        scene->fixture->probing = true;
    }
    return error;
}

static int detach_all(struct scene *scene)
{
    int error = detach(scene, 0);

    return error != 0 || scene->fixture->masters[2].device == NULL ? error : detach(scene, 2);
}

/* What is to go has no masters any more that anything is guaranteed of. */
static int stop_second_cache(struct scene *scene)
{
    struct ipmmu_fixture *fixture = scene->fixture;
    int error = 0;

    if (fixture->masters[2].device != NULL) {
        error = piommu_device_remove(fixture->masters[2].device);
        fixture->masters[2].device = error == 0 ? NULL : fixture->masters[2].device;
    }
    if (error == 0 && scene->domains[1] != NULL) {
        error = piommu_domain_destroy(scene->domains[1]);
        scene->domains[1] = error == 0 ? NULL : scene->domains[1];
    }
    fixture->probing = false;
    if (error == 0 && fixture->instances[IPMMU_CACHE_2] != NULL) {
        error = piommu_instance_destroy(fixture->instances[IPMMU_CACHE_2]);
        fixture->instances[IPMMU_CACHE_2] = error == 0 ? NULL : fixture->instances[IPMMU_CACHE_2];
    }
    return error;
}

static const struct step {
    const char *name;
    int (*make)(struct scene *scene);
    bool starts; /* or stops a unit, and says what is wrong with it */
} steps[] = {
    {"start of the root", start_root, true},
    {"start of a cache unit", start_first_cache, true},
    {"start of another", start_second_cache, true},
    {"a device behind the first", add_first, false},
    {"a device behind both", add_between, false},
    {"a device behind the second", add_last, false},
    {"a domain", create_first, false},
    {"another", create_second, false},
    {"map", map_first, false},
    {"map in the other", map_second, false},
    {"attach the first", attach_first, false},
    {"attach the last", attach_last, false},
    {"attach to the other", attach_between, false},
    {"map while they are there", map_next, false},
    {"map far away", map_far, false},
    {"unmap and sync", unmap_page, false},
    {"unmap with tables", unmap_far, false},
    {"move", move, false},
    {"detach", detach_last, false},
    {"suspend", suspend_all, false},
    {"resume", resume_all, false},
    {"detach from both", detach_between, false},
    {"remove", remove_between, false},
    {"detach all", detach_all, false},
    {"destroy", destroy_first, false},
    {"stop", stop_second_cache, true},
};

#define STEPS (sizeof(steps) / sizeof(steps[0]))

static size_t step_named(const char *name)
{
    size_t number = 0;

    while (strcmp(steps[number].name, name) != 0) {
        number++;
    }
    return number;
}

/*
 * What fails does not depend on the format of the tables, so that each class is met with one, and
 * Gen2 with both numbers of contexts.
 */
static bool says_nothing_new(const struct ipmmu_system *system)
{
    return (system->generation == PIOMMU_IPMMU_MODEL_GEN3 &&
            system->tables != PIOMMU_IPMMU_VMSA_STAGE2) ||
           (system->generation == PIOMMU_IPMMU_MODEL_GEN4 &&
            system->tables != PIOMMU_IPMMU_VMSA_STAGE1);
}

/* ---- From the beginning to the end ---- */

static struct scene *open_scene(struct scene *scene, const struct ipmmu_system *system)
{
    bool is_gen2 = system->generation == PIOMMU_IPMMU_MODEL_GEN2;
    const struct ipmmu_options options = {
        .forgiven = system->contexts == 1 ? PIOMMU_IPMMU_MODEL_RULE_LIVE : 0};
    const struct ipmmu_place places[] = {{IPMMU_CACHE_1, 3},
                                         {IPMMU_CACHE_1, is_gen2 ? 31 : 34},
                                         {IPMMU_CACHE_2, 2},
                                         {IPMMU_CACHE_2, 5}};

    memset(scene, 0, sizeof(*scene));
    piommu_gather_init(&scene->gather);
    scene->fixture = ipmmu_open(system, &options);
    scene->fixture->test_data = scene;
    scene->fixture->on_access = count_flushes;
    fake_os_callbacks(scene->fixture->os)->log = listen;
    scene->has_one_context = system->contexts == 1;
    fake_os_on_dma_free(scene->fixture->os, check_memory_is_out_of_reach, scene);
    for (size_t i = 0; i < IPMMU_UNITS; i++) {
        switches[i] = (struct power_switch){scene, i};
        scene->fixture->places[i].power = switch_power;
        scene->fixture->places[i].power_cookie = &switches[i];
        scene->fixture->configs[i].timeout = TIMEOUT;
        piommu_ipmmu_model_power(scene->fixture->model, i, false);
    }
    (void)ipmmu_wire(scene->fixture, &places[0], 1);
    (void)ipmmu_wire(scene->fixture, &places[1], 2);
    (void)ipmmu_wire(scene->fixture, &places[3], 1);
    for (size_t i = 0; i < MASTERS; i++) {
        scene->where[i] = NOWHERE;
    }
    return scene;
}

static int make_step(struct scene *scene, size_t number)
{
    scene->step = steps[number].name;
    return steps[number].make(scene);
}

static void make_steps(struct scene *scene, size_t first, size_t behind)
{
    for (size_t i = first; i < behind; i++) {
        int error = make_step(scene, i);

        if (error != 0) {
            fail_msg("%s = %d; %s", scene->step, error, scene->said);
        }
    }
}

static void take_down(struct scene *scene)
{
    struct ipmmu_fixture *fixture = scene->fixture;

    scene->step = "taking down";
    fixture->probing = false;
    for (size_t i = 0; i < MASTERS; i++) {
        if (fixture->masters[i].device != NULL) {
            assert_int_equal(detach(scene, i), 0);
            ipmmu_remove_device(fixture, i);
        }
    }
    for (size_t i = 0; i < DOMAINS; i++) {
        assert_int_equal(piommu_domain_destroy(scene->domains[i]), 0);
        scene->domains[i] = NULL;
    }
    for (size_t i = IPMMU_UNITS; i-- > 0;) {
        if (fixture->instances[i] != NULL) {
            assert_int_equal(piommu_instance_destroy(fixture->instances[i]), 0);
            fixture->instances[i] = NULL;
        }
    }
    memset(scene->pages, 0, sizeof(scene->pages));
    piommu_gather_init(&scene->gather);
}

static void close_scene(struct scene *scene)
{
    take_down(scene);
    ipmmu_close_empty(scene->fixture);
}

/*
 * Begins with the step that is to fail, masters trying all the time. What it has begun without
 * waiting for its end may be found to have failed by a later step: *number is that of the one.
 */
static bool fail_step(struct scene *scene, size_t *number, enum cause cause, size_t unit,
                      unsigned int nth, int *error)
{
    bool failed;

    make_steps(scene, 0, *number);
    scene->fixture->probing =
        scene->fixture->instances[IPMMU_CACHE_2] != NULL && steps[*number].make != resume_all;
    begin_failing(scene, cause, unit, nth);
    *error = make_step(scene, *number);
    failed = has_failed(scene);
    while (failed && cause == FLUSH && *error == 0 && !scene->fixture->loses_memory &&
           *number + 1 < STEPS) {
        *error = make_step(scene, ++*number);
    }
    end_failing(scene);
    return failed;
}

/* ---- Calls of the host ---- */

/* False: the step makes fewer calls. */
static bool try_host(const struct ipmmu_system *system, size_t number, unsigned int nth)
{
    struct scene scene;
    int error;
    bool failed = fail_step(open_scene(&scene, system), &number, HOST, 0, nth, &error);

    if (error != 0) {
        assert_true(failed);
        if (error != -PIOMMU_ENOMEM) {
            fail_msg("%s, call %u: %d; %s", scene.step, nth, error, scene.said);
        }
        /* As if it had not been made; and again. */
        grant_all(&scene);
        ipmmu_settle(scene.fixture);
        if (scene.fixture->probing) {
            ipmmu_probe(scene.fixture);
            ipmmu_assert_granted(scene.fixture);
        }
        make_steps(&scene, number, STEPS);
    } else {
        make_steps(&scene, number + 1, STEPS);
    }
    close_scene(&scene);
    return failed;
}

static void test_a_host_without_memory(const struct ipmmu_system *system)
{
    for (size_t number = 0; number < STEPS && !says_nothing_new(system); number++) {
        unsigned int nth = 1;

        while (try_host(system, number, nth)) {
            nth++;
        }
    }
}

/* ---- A FLUSH that never ends ---- */

static bool instance_has_failed(const struct ipmmu_fixture *fixture, size_t unit)
{
    struct piommu_instance_info info = {.failed = false};

    if (fixture->instances[unit] != NULL) {
        piommu_instance_get_info(fixture->instances[unit], &info);
    }
    return info.failed;
}

static unsigned int count_failed_instances(const struct ipmmu_fixture *fixture)
{
    unsigned int count = 0;

    for (size_t i = 0; i < fixture->unit_count; i++) {
        count += instance_has_failed(fixture, i);
    }
    return count;
}

/* Where a group is after a failure is for the library to say. */
static void ask_where(struct scene *scene)
{
    for (size_t i = 0; i < MASTERS; i++) {
        struct piommu_device_info info = {.domain = NULL};
        unsigned int where = 0;

        if (scene->fixture->masters[i].device != NULL) {
            piommu_device_get_info(scene->fixture->masters[i].device, &info);
        }
        while (where != NOWHERE && (info.domain == NULL || scene->domains[where] != info.domain)) {
            where++;
        }
        scene->where[i] = where;
    }
    grant_all(scene);
}

/* All that has failed works again, with what it had. A root comes before its cache units. */
static void recover_all(struct scene *scene)
{
    struct ipmmu_fixture *fixture = scene->fixture;

    ask_where(scene);
    for (size_t i = 0; i < fixture->unit_count; i++) {
        if (instance_has_failed(fixture, i)) {
            int error = piommu_instance_recover(fixture->instances[i]);

            if (error != 0) {
                fail_msg("recovery after %s = %d; %s", scene->step, error, scene->said);
            }
        }
    }
    assert_int_equal(count_failed_instances(fixture), 0);
    ipmmu_settle(fixture);
    if (fixture->probing) {
        ipmmu_probe(fixture);
        ipmmu_assert_granted(fixture);
    }
}

/* The cause is gone: from where it was on, or from the beginning. */
static void live_on(struct scene *scene, size_t number, int error, bool recovers)
{
    if (recovers) {
        recover_all(scene);
        make_steps(scene, error != 0 ? number : number + 1, STEPS);
    } else {
        take_down(scene);
        make_steps(scene, 0, STEPS);
    }
}

static bool is_told(const struct scene *scene, size_t number, int error)
{
    return error == -PIOMMU_EFAILED || (steps[number].starts && error == -PIOMMU_ETIMEDOUT) ||
           (error == 0 && scene->fixture->loses_memory);
}

static bool try_flush(const struct ipmmu_system *system, size_t number, size_t unit,
                      unsigned int nth, bool recovers)
{
    struct scene scene;
    int error;
    bool failed = fail_step(open_scene(&scene, system), &number, FLUSH, unit, nth, &error);

    if (failed && !is_told(&scene, number, error)) {
        fail_msg("%s, FLUSH %u of unit %zu: %d; %s", scene.step, nth, unit, error, scene.said);
    }
    if (failed) {
        assert_true(steps[number].starts || count_failed_instances(scene.fixture) != 0);
        /* Whoever could not be stopped may still be where it was, or is to be. */
        if (scene.fixture->probing) {
            ipmmu_probe(scene.fixture);
        }
        live_on(&scene, number, error, recovers);
    }
    close_scene(&scene);
    return failed;
}

static void try_all_flushes(const struct ipmmu_system *system, bool recovers)
{
    for (size_t number = 0; number < STEPS && !says_nothing_new(system); number++) {
        for (size_t unit = 0; unit < IPMMU_UNITS; unit++) {
            unsigned int nth = 1;

            /* Where all is taken down, the first one stands for those after it. */
            while (try_flush(system, number, unit, nth, recovers) && recovers) {
                nth++;
            }
        }
    }
}

static void test_a_flush_that_never_ends(const struct ipmmu_system *system)
{
    try_all_flushes(system, false);
}

static void test_recovery_from_a_flush_that_did_not_end(const struct ipmmu_system *system)
{
    try_all_flushes(system, true);
}

/* ---- Numbers of contexts ---- */

/* The context that a micro-TLB is on. */
static uint32_t selected(const struct scene *scene, size_t unit, unsigned int micro_tlb)
{
    return piommu_ipmmu_model_get(scene->fixture->model, unit, PIOMMU_IPMMU_MODEL_IMUCTR,
                                  micro_tlb) >>
           4;
}

/* A domain of a unit that answers must not get the context that another has not forgotten. */
static void test_a_number_is_not_used_while_a_unit_holds_it(const struct ipmmu_system *system)
{
    struct scene scene;
    struct piommu_domain_config config = {.type = PIOMMU_DOMAIN_PAGING, .instance_count = 1};
    uint32_t before;

    make_steps(open_scene(&scene, system), 0, step_named("attach the last"));
    before = selected(&scene, IPMMU_CACHE_1, 3);
    assert_int_equal(detach(&scene, 0), 0);
    begin_failing(&scene, FLUSH, IPMMU_CACHE_1, 1);
    assert_int_equal(destroy_first(&scene), 0);
    config.instances = &scene.fixture->instances[IPMMU_CACHE_2];
    assert_int_equal(piommu_domain_create(&config, &scene.domains[0]), 0);
    assert_int_equal(piommu_group_attach(group_of(&scene, 2), scene.domains[0]), 0);
    assert_int_not_equal(selected(&scene, IPMMU_CACHE_2, 5), before);
    end_failing(&scene);
    recover_all(&scene);
    close_scene(&scene);
}

/* ---- Power ---- */

/* A unit whose power cannot be switched has failed, unless it was just about to come or go. */
static bool try_power(const struct ipmmu_system *system, size_t number, unsigned int nth)
{
    struct scene scene;
    int error;
    bool failed = fail_step(open_scene(&scene, system), &number, POWER, 0, nth, &error);

    if (failed && steps[number].make == stop_second_cache) {
        assert_int_equal(error, 0); /* nobody is left who could use what it says */
    } else if (failed) {
        assert_int_equal(error, steps[number].starts ? -PIOMMU_EIO : -PIOMMU_EFAILED);
        live_on(&scene, number, error, nth % 2 == 0);
    }
    close_scene(&scene);
    return failed;
}

static void test_power_that_cannot_be_switched(const struct ipmmu_system *system)
{
    for (size_t number = 0; number < STEPS && !says_nothing_new(system); number++) {
        unsigned int nth = 1;

        while (try_power(system, number, nth)) {
            nth++;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IPMMU_TEST(IPMMU_ALL, test_a_host_without_memory),
        IPMMU_TEST(IPMMU_ALL, test_a_flush_that_never_ends),
        IPMMU_TEST(IPMMU_ALL, test_recovery_from_a_flush_that_did_not_end),
        IPMMU_TEST(IPMMU_CACHED, test_a_number_is_not_used_while_a_unit_holds_it),
        IPMMU_TEST(IPMMU_ALL, test_power_that_cannot_be_switched),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
