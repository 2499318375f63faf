/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Faults that a device is to be blocked for, beside the registration of that device, and failures
 * of an instance beside mapping, in all ways in which the two can be woven into each other with one
 * switch, and some of those with more: one gives way to the other at every lock, every atomic
 * access, every wait, in the midst of every call of the backend and of the fault callback.
 *
 * What one CPU sees of another out of order is not tried here, but by the thread sanitizer.
 *
 * Environment: PIOMMU_RANDOM_SEED, for the larger cases, of which a part is drawn. With fewer
 * PIOMMU_RANDOM_STEPS than 20000 there are fewer of the smaller cases, too.
 */

#include "instrumented/instrumented.h"
#include "scheduler.h"
#include "threaded_unit.h"

#include <piommu/piommu.h>

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

#define UNITS      2u
#define MOST_ACTS  6u
#define DRAWN_RUNS 20u
/* Of so many variants of a program one is tried in all ways, of more if few steps are asked for. */
#define THINNING      8u
#define MORE_THINNING 40u
#define FEW_STEPS     20000u

#define PAGE       0x1000ull
#define MARK       0x40000000ull
#define MARKED     0x7f00000000ull
#define READ_WRITE (PIOMMU_PROT_READ | PIOMMU_PROT_WRITE)
#define TIMEOUT    10000000ull
#define ALIVE      0x616c697665ull

enum act {
    NOTHING,
    ATTACH_X,
    ATTACH_Y,
    DETACH,
    REMOVE,
    ADD,
    ADD_OTHER, /* a second device, of the same group */
    REMOVE_OTHER,
    DESTROY_X,
};

/* What is registered beside the faults. At first the device is in domain X, or in none. */
struct program {
    const char *name;
    bool is_attached;
    enum act acts[MOST_ACTS];
};

static const struct program programs[] = {
    {"moves", true, {ATTACH_Y}},
    {"attaches to where it is", true, {ATTACH_X}},
    {"detaches", true, {DETACH}},
    {"detaches and attaches", true, {DETACH, ATTACH_X}},
    {"detaches and removes", true, {DETACH, REMOVE}},
    {"comes again", true, {DETACH, REMOVE, ADD, ATTACH_X}},
    {"destroys the domain", true, {DETACH, DESTROY_X}},
    {"moves and destroys the domain", true, {ATTACH_Y, DESTROY_X}},
    {"moves there and back", true, {ATTACH_Y, ATTACH_X}},
    {"grows", true, {DETACH, ADD_OTHER, ATTACH_X}},
    {"attaches", false, {ATTACH_X}},
    {"removes", false, {REMOVE}},
    {"removes and adds", false, {REMOVE, ADD}},
    {"grows while blocked", false, {ADD_OTHER, ATTACH_Y}},
    {"grows and shrinks", false, {ADD_OTHER, REMOVE_OTHER, ATTACH_X}},
    {"adds and removes the first", false, {ADD_OTHER, REMOVE, ATTACH_X}},
};

/* How a unit is served by a task. */
enum service {
    NO_SERVICE,
    SERVICE,
    INTERRUPT,
    INTERRUPT_AND_SERVICE, /* the latter if the former asks for it */
};

#define SERVERS 2u

/* Who serves which unit. */
struct servers {
    const char *name;
    unsigned int units; /* on which the device has an ID, and which report a fault of it */
    enum service services[SERVERS];
    unsigned int unit_of[SERVERS];
};

static const struct servers all_servers[] = {
    {"service", 1, {SERVICE}, {0}},
    {"interrupt and service", 1, {INTERRUPT_AND_SERVICE}, {0}},
    {"interrupt beside service", 1, {INTERRUPT, SERVICE}, {0, 0}},
    {"service beside service", 1, {SERVICE, SERVICE}, {0, 0}},
    {"two units", 2, {SERVICE, SERVICE}, {0, 1}},
    {"two units, interrupts", 2, {INTERRUPT, INTERRUPT}, {0, 1}},
    {"two units, interrupts and service",
     2,
     {INTERRUPT_AND_SERVICE, INTERRUPT_AND_SERVICE},
     {0, 1}},
};

struct scene {
    const struct program *program;
    enum piommu_backend_kind kind;
    enum threaded_block_now block_now;
    const struct servers *servers;
    bool maps; /* instead of registration, domain X is mapped */
};

enum place {
    NOWHERE,
    IN_X,
    IN_Y,
};

/* The host's own object behind a device. */
struct cookie {
    uint64_t magic;
    bool is_answered;
};

struct stage {
    struct scheduler *scheduler;
    struct threaded_host *host;
    struct piommu_os os;
    const struct scene *scene;
    uint64_t time;
    unsigned int points;

    struct threaded_unit *units[UNITS];
    struct piommu_context *context;
    struct piommu_instance *instances[UNITS];
    struct piommu_domain *domains[3]; /* by enum place */
    struct piommu_device *device;
    struct piommu_device *other;
    struct cookie cookies[4]; /* the first device's, one after the other; the other's is the last */
    struct cookie *cookie;
    enum place place;
    bool may_reach[3];
    unsigned int services_left;      /* tasks */
    unsigned int reports;            /* taken in */
    bool is_registered;              /* registration is over */
    bool is_attached_after_services; /* when the last attach began no service was left */
    bool is_late[SERVERS];           /* when this one began registration was over */
    bool is_reported_late;           /* to one that is late */
};

static struct stage stage;

static const char *const block_now_names[] = {"blocked at once", "refusing to block at once",
                                              "blocked in service"};

static void describe(const void *what)
{
    const struct scene *scene = stage.scene;

    (void)what;
    fprintf(stderr, "%s, %s, %s, %s\n", scene->maps ? "maps" : scene->program->name,
            scene->kind == PIOMMU_BACKEND_TABLES ? "tables" : "requests",
            block_now_names[scene->block_now], scene->servers->name);
    scheduler_describe(stage.scheduler);
}

/* ---- Points ---- */

static enum place reach_of(unsigned int unit, uint32_t id)
{
    uint64_t physical = 0;

    if (!threaded_unit_reaches(stage.units[unit], id, MARK, false, &physical)) {
        return NOWHERE;
    }
    CHECK(physical == MARKED + IN_X * PAGE || physical == MARKED + IN_Y * PAGE);
    return (enum place)((physical - MARKED) / PAGE);
}

/* At every point: no more than is granted. */
static void check_isolation(void)
{
    for (unsigned int unit = 0; unit < stage.scene->servers->units; unit++) {
        for (uint32_t id = 0; id < 2; id++) {
            enum place reach = reach_of(unit, id);

            CHECK(reach == NOWHERE || stage.may_reach[reach]);
        }
    }
}

static void point(void)
{
    if (scheduler_current(stage.scheduler) != SCHEDULER_TASKS) {
        check_isolation();
        stage.points++;
        scheduler_point(stage.scheduler);
    }
}

static void before_access(void *ctx, const volatile void *object)
{
    (void)ctx;
    (void)object;
    point();
}

/* ---- The shim: locks and time ---- */

struct scheduled_lock {
    bool is_held;
};

static void *scheduled_lock_create(void *ctx)
{
    (void)ctx;
    return calloc(1, sizeof(struct scheduled_lock));
}

static void scheduled_lock_destroy(void *ctx, void *pointer)
{
    struct scheduled_lock *lock = pointer;

    (void)ctx;
    CHECK(!lock->is_held);
    free(lock);
}

static unsigned long scheduled_lock_take(void *ctx, void *pointer)
{
    struct scheduled_lock *lock = pointer;

    (void)ctx;
    point();
    while (lock->is_held) {
        CHECK(scheduler_give_way(stage.scheduler));
    }
    lock->is_held = true;
    return 0x5a;
}

static void scheduled_lock_release(void *ctx, void *pointer, unsigned long state)
{
    struct scheduled_lock *lock = pointer;

    (void)ctx;
    CHECK(lock->is_held && state == 0x5a);
    lock->is_held = false;
    point();
}

static uint64_t scheduled_now(void *ctx)
{
    (void)ctx;
    stage.time += 1000;
    return stage.time;
}

static void scheduled_wait(void *ctx, uint64_t deadline)
{
    (void)ctx;
    (void)deadline;
    stage.time += 10000;
    (void)scheduler_give_way(stage.scheduler);
}

/* ---- The tasks ---- */

static enum piommu_fault_answer on_fault(void *ctx, const struct piommu_fault *fault)
{
    struct cookie *cookie = fault->device_owner;
    unsigned int task = scheduler_current(stage.scheduler);

    (void)ctx;
    if (task == SCHEDULER_TASKS || stage.is_late[task - 1]) {
        stage.is_reported_late = true;
    }
    if (cookie != NULL) {
        CHECK(cookie->magic == ALIVE);
        point();
        CHECK(cookie->magic == ALIVE);
        cookie->is_answered = true;
    }
    return PIOMMU_FAULT_BLOCK;
}

static void serve(unsigned int server)
{
    enum service service = stage.scene->servers->services[server];
    struct piommu_instance *instance = stage.instances[stage.scene->servers->unit_of[server]];
    bool more = service == SERVICE;
    int result;

    stage.is_late[server] = stage.is_registered;
    if (service != SERVICE) {
        result = piommu_instance_interrupt(instance, 4, &more);
        CHECK(result >= 0 && result <= 1);
        stage.reports += (unsigned int)result;
        point();
    }
    if (more && service != INTERRUPT) {
        result = piommu_instance_service(instance, 4);
        CHECK(result >= 0 && result <= 1);
        stage.reports += (unsigned int)result;
    }
    stage.services_left--;
}

static void permit(bool may_attach)
{
    for (unsigned int unit = 0; unit < stage.scene->servers->units; unit++) {
        threaded_unit_permit(stage.units[unit], 0, may_attach);
        threaded_unit_permit(stage.units[unit], 1, may_attach);
    }
}

static struct piommu_group *group(void)
{
    return piommu_device_group(stage.device != NULL ? stage.device : stage.other);
}

static void attach(enum place place)
{
    stage.may_reach[place] = true;
    stage.is_attached_after_services = stage.services_left == 0;
    permit(true);
    CHECK(piommu_group_attach(group(), stage.domains[place]) == 0);
    permit(false);
    stage.may_reach[IN_X] = place == IN_X;
    stage.may_reach[IN_Y] = place == IN_Y;
    stage.place = place;
    check_isolation();
}

static void detach(void)
{
    CHECK(piommu_group_detach(group()) == 0);
    stage.may_reach[IN_X] = false;
    stage.may_reach[IN_Y] = false;
    stage.place = NOWHERE;
    check_isolation();
}

static struct piommu_device *add_device(uint32_t id, unsigned int units, struct cookie *cookie)
{
    struct piommu_device_id ids[UNITS];
    struct piommu_device_config config = {
        .ids = ids, .id_count = units, .group_key = 1, .owner = cookie};
    struct piommu_device *device = NULL;

    cookie->magic = ALIVE;
    for (unsigned int i = 0; i < units; i++) {
        ids[i] = (struct piommu_device_id){.instance = stage.instances[i], .id = id};
    }
    CHECK(piommu_device_add(stage.context, &config, &device) == 0);
    return device;
}

/* No record names what is no more. */
static void check_records(const struct cookie *cookie)
{
    for (unsigned int i = 0; i < stage.scene->servers->units; i++) {
        struct piommu_fault fault;

        while (piommu_instance_take_fault(stage.instances[i], &fault) == 0) {
            CHECK(cookie == NULL || fault.device_owner != cookie);
            CHECK(fault.domain_owner == NULL || stage.domains[IN_X] != NULL ||
                  fault.domain_owner != &stage.domains[IN_X]);
        }
    }
}

static void remove_device(struct piommu_device **device, struct cookie *cookie)
{
    CHECK(piommu_device_remove(*device) == 0);
    cookie->magic = 0;
    *device = NULL;
    check_records(cookie);
}

static void destroy_x(void)
{
    CHECK(piommu_domain_destroy(stage.domains[IN_X]) == 0);
    stage.domains[IN_X] = NULL;
    check_records(NULL);
}

static void perform(enum act act)
{
    switch (act) {
    case ATTACH_X:
        attach(IN_X);
        break;
    case ATTACH_Y:
        attach(IN_Y);
        break;
    case DETACH:
        detach();
        break;
    case REMOVE:
        remove_device(&stage.device, stage.cookie);
        break;
    case ADD:
        stage.cookie++;
        stage.device = add_device(0, stage.scene->servers->units, stage.cookie);
        break;
    case ADD_OTHER:
        stage.other = add_device(1, 1, &stage.cookies[COUNT_OF(stage.cookies) - 1]);
        break;
    case REMOVE_OTHER:
        remove_device(&stage.other, &stage.cookies[COUNT_OF(stage.cookies) - 1]);
        break;
    case DESTROY_X:
        destroy_x();
        break;
    case NOTHING:
        break;
    }
}

static void register_all(void)
{
    for (unsigned int i = 0; i < MOST_ACTS; i++) {
        perform(stage.scene->program->acts[i]);
        point();
    }
    stage.is_registered = true;
}

/* Beside the faults, which may take the last device out of the domain. */
static void map_all(void)
{
    struct piommu_domain *domain = stage.domains[IN_X];
    struct piommu_gather gather;

    piommu_gather_init(&gather);
    CHECK(piommu_domain_map(domain, 0, 0, 2 * PAGE, READ_WRITE) == 0);
    CHECK(piommu_domain_unmap(domain, MARK, PAGE, &gather, NULL) == 0);
    CHECK(piommu_domain_sync(domain, &gather) == 0);
    stage.may_reach[IN_X] = false;
    check_isolation();
    stage.may_reach[IN_X] = true;
    CHECK(piommu_domain_map(domain, MARK, MARKED + IN_X * PAGE, PAGE, READ_WRITE) == 0);
    CHECK(piommu_domain_unmap(domain, 0, 2 * PAGE, &gather, NULL) == 0);
    CHECK(piommu_domain_sync(domain, &gather) == 0);
    stage.is_registered = true;
}

static void run_task(void *ctx, unsigned int task)
{
    (void)ctx;
    if (task != 0) {
        serve(task - 1);
    } else if (stage.scene->maps) {
        map_all();
    } else {
        register_all();
    }
}

/* ---- A run ---- */

static unsigned int count_servers(const struct scene *scene)
{
    unsigned int count = 0;

    while (count < SERVERS && scene->servers->services[count] != NO_SERVICE) {
        count++;
    }
    return count;
}

static void open_stage(const struct scene *scene)
{
    struct piommu_host host = {.os = &stage.os, .ctx = stage.host};
    struct piommu_context_config config = {.fault = on_fault};
    struct threaded_unit_options options = {.kind = scene->kind,
                                            .block_now = scene->block_now,
                                            .atomic_switch = true,
                                            .work = point,
                                            .most_added = 8};

    memset(stage.cookies, 0, sizeof(stage.cookies));
    stage.cookie = stage.cookies;
    stage.may_reach[IN_X] = false;
    stage.may_reach[IN_Y] = false;
    stage.place = NOWHERE;
    stage.services_left = count_servers(scene);
    stage.reports = 0;
    stage.is_registered = false;
    memset(stage.is_late, 0, sizeof(stage.is_late));
    stage.is_reported_late = false;
    CHECK(piommu_context_create(host, &config, &stage.context) == 0);
    for (unsigned int i = 0; i < scene->servers->units; i++) {
        struct piommu_instance_config instance = {.timeout = TIMEOUT, .fault_records = 4};

        stage.units[i] = threaded_unit_create(stage.host, &options);
        /* The first unit refuses first; then a group is blocked in part. */
        if (scene->block_now == THREADED_BLOCK_NOW_REFUSES) {
            options.block_now = THREADED_BLOCK_NOW;
        }
        CHECK(piommu_instance_create(stage.context, threaded_unit_backend(stage.units[i]),
                                     &stage.units[i], &instance, &stage.instances[i]) == 0);
    }
    for (unsigned int place = IN_X; place <= IN_Y; place++) {
        struct piommu_domain_config domain = {.type = PIOMMU_DOMAIN_PAGING,
                                              .instances = stage.instances,
                                              .instance_count = scene->servers->units,
                                              .owner = &stage.domains[place]};

        CHECK(piommu_domain_create(&domain, &stage.domains[place]) == 0);
        CHECK(piommu_domain_map(stage.domains[place], MARK, MARKED + place * PAGE, PAGE,
                                READ_WRITE) == 0);
    }
    stage.device = add_device(0, scene->servers->units, stage.cookie);
    stage.other = NULL;
    if (scene->maps || scene->program->is_attached) {
        attach(IN_X);
    }
    stage.is_attached_after_services = false;
    for (unsigned int i = 0; i < scene->servers->units; i++) {
        threaded_unit_provoke(stage.units[i], 0);
    }
}

/* Hardware and library agree, for all IDs. */
static bool check_settled(void)
{
    struct piommu_device_info info;

    piommu_device_get_info(stage.device, &info);
    CHECK(info.owner == stage.cookie);
    CHECK(info.domain == (stage.place == NOWHERE ? NULL : stage.domains[stage.place]));
    for (unsigned int i = 0; i < stage.scene->servers->units; i++) {
        CHECK(reach_of(i, 0) == (info.fault_blocked ? NOWHERE : stage.place));
    }
    CHECK(stage.other == NULL || reach_of(0, 1) == reach_of(0, 0));
    return info.fault_blocked;
}

/* What came out must be what comes out if each call is made at some moment of its time. */
static void check_outcome(void)
{
    bool is_blocked;

    if (stage.device == NULL) {
        return;
    }
    is_blocked = check_settled();
    CHECK(!is_blocked || (stage.place != NOWHERE && stage.cookie->is_answered));
    if (stage.is_attached_after_services) {
        CHECK(!is_blocked);
    }
    if ((stage.is_reported_late || stage.scene->maps) && stage.place != NOWHERE) {
        CHECK(is_blocked);
    }
}

/* An explicit attach makes all good. */
static void attach_and_detach(void)
{
    if (stage.device != NULL) {
        enum place place = stage.domains[IN_X] != NULL ? IN_X : IN_Y;

        attach(place);
        CHECK(!check_settled());
        detach();
    } else if (stage.other != NULL) {
        detach();
    }
}

static void close_objects(void)
{
    if (stage.device != NULL) {
        remove_device(&stage.device, stage.cookie);
    }
    if (stage.other != NULL) {
        remove_device(&stage.other, &stage.cookies[COUNT_OF(stage.cookies) - 1]);
    }
    for (unsigned int place = IN_X; place <= IN_Y; place++) {
        CHECK(piommu_domain_destroy(stage.domains[place]) == 0);
        stage.domains[place] = NULL;
    }
    for (unsigned int i = 0; i < stage.scene->servers->units; i++) {
        CHECK(piommu_instance_destroy(stage.instances[i]) == 0);
        threaded_unit_destroy(stage.units[i]);
    }
    CHECK(piommu_context_destroy(stage.context) == 0);
}

static void close_stage(void)
{
    /* What was asked for long ago is done now, or not at all. */
    for (unsigned int i = 0; i < stage.scene->servers->units; i++) {
        int result = piommu_instance_service(stage.instances[i], 4);

        CHECK(result >= 0);
        stage.reports += (unsigned int)result;
    }
    CHECK(stage.reports == stage.scene->servers->units);
    check_outcome();
    attach_and_detach();
    close_objects();
}

static bool run_once(const struct scene *scene)
{
    bool goes_on;

    open_stage(scene);
    goes_on = scheduler_run(stage.scheduler, 1 + count_servers(scene), run_task, NULL);
    close_stage();
    return goes_on;
}

/* All ways with one switch, if it is to be thorough, and some of those with more. */
static void run_scene(const struct scene *scene, bool is_thorough, uint64_t seed)
{
    struct scheduler_options all = {.policy = SCHEDULER_ALL, .bound = 1};
    struct scheduler_options few = {.policy = SCHEDULER_FEW, .bound = 3, .seed = seed};

    stage.scene = scene;
    scheduler_set(stage.scheduler, &all);
    while (is_thorough && run_once(scene)) {
    }
    scheduler_set(stage.scheduler, &few);
    for (unsigned int i = 0; i < DRAWN_RUNS; i++) {
        (void)run_once(scene);
    }
}

static unsigned int thinning(void)
{
    const char *steps = getenv("PIOMMU_RANDOM_STEPS");

    return steps != NULL && *steps != '\0' && strtoull(steps, NULL, 0) < FEW_STEPS ? MORE_THINNING
                                                                                   : THINNING;
}

static void run_variants(const struct scene *scene, unsigned int number, uint64_t seed)
{
    static const enum piommu_backend_kind kinds[] = {PIOMMU_BACKEND_TABLES,
                                                     PIOMMU_BACKEND_REQUESTS};
    struct scene variant = *scene;

    for (unsigned int i = 0; i < COUNT_OF(kinds) * 3 * COUNT_OF(all_servers); i++) {
        variant.kind = kinds[i % 2];
        variant.block_now = (enum threaded_block_now)(i / 2 % 3);
        variant.servers = &all_servers[i / 6];
        run_scene(&variant, (i + 5 * number) % thinning() == 0, seed + i);
    }
}

/* ---- An instance fails while a call on a domain of it and another one is in progress ---- */

enum change {
    MAPS_MORE,
    UNMAPS,
    PROTECTS,
    REPLACES,
    CUTS,
    CHANGES,
};

static const char *const change_names[] = {"map", "unmap and sync", "protect", "replace", "cut"};

#define PAGES 8u

struct failure {
    enum piommu_backend_kind kind;
    enum change change;
    bool refuses_stop;
};

static const struct servers two_units = {.name = "one fails", .units = 2};

static struct failure failure;
static struct piommu_gather failure_gather;

static void describe_failure(const void *what)
{
    (void)what;
    fprintf(stderr, "%s, %s, a unit that %s\n", change_names[failure.change],
            failure.kind == PIOMMU_BACKEND_TABLES ? "tables" : "requests",
            failure.refuses_stop ? "does not stop" : "stops");
    scheduler_describe(stage.scheduler);
}

static int change_domain(struct piommu_domain *domain)
{
    int result = 0;

    switch (failure.change) {
    case MAPS_MORE:
        result = piommu_domain_map(domain, 4 * PAGE, MARKED, 4 * PAGE, READ_WRITE);
        break;
    case UNMAPS:
        CHECK(piommu_domain_unmap(domain, 0, 4 * PAGE, &failure_gather, NULL) == 0);
        result = piommu_domain_sync(domain, &failure_gather);
        break;
    case PROTECTS:
        result =
            piommu_domain_protect(domain, 0, 4 * PAGE, PIOMMU_PROT_READ, PIOMMU_ALLOW_HOLE, NULL);
        break;
    case REPLACES:
        result = piommu_domain_replace(domain, 0, MARKED + 16 * PAGE, 4 * PAGE, READ_WRITE,
                                       PIOMMU_ALLOW_HOLE, NULL);
        break;
    case CUTS:
        result = piommu_domain_unmap_cut(domain, PAGE, PAGE, PIOMMU_ALLOW_HOLE, NULL);
        break;
    case CHANGES:
        break;
    }
    return result;
}

/* What the library does not know of any more, a unit that works has forgotten. */
static void check_good_unit(struct piommu_domain *domain)
{
    for (uint64_t iova = 0; iova < PAGES * PAGE; iova += PAGE) {
        struct piommu_translation translation = {.physical = 0};
        uint64_t physical = 0;
        int result = piommu_domain_lookup(domain, iova, &translation);

        if (threaded_unit_reaches(stage.units[1], 0, iova, false, &physical)) {
            CHECK(result == 0 && physical == translation.physical);
        }
        if (threaded_unit_reaches(stage.units[1], 0, iova, true, &physical)) {
            CHECK(result == 0 && (translation.prot & PIOMMU_PROT_WRITE) != 0);
        }
    }
}

static void run_failing_task(void *ctx, unsigned int task)
{
    struct piommu_domain *domain = stage.domains[IN_X];
    int result;

    (void)ctx;
    if (task != 0) {
        CHECK(piommu_instance_service(stage.instances[0], 1) == -PIOMMU_EFAILED);
        return;
    }
    result = change_domain(domain);
    CHECK(result == 0 || result == -PIOMMU_EFAILED);
    check_good_unit(domain);
}

static bool fail_once(const struct scene *scene)
{
    bool goes_on;

    open_stage(scene);
    CHECK(piommu_domain_map(stage.domains[IN_X], 0, MARKED, 4 * PAGE, READ_WRITE) == 0);
    piommu_gather_init(&failure_gather);
    threaded_unit_refuse_stop(stage.units[0], failure.refuses_stop);
    threaded_unit_fail_service(stage.units[0], 1);
    goes_on = scheduler_run(stage.scheduler, 2, run_failing_task, NULL);
    check_good_unit(stage.domains[IN_X]);
    CHECK(threaded_unit_is_stopped(stage.units[0]) != failure.refuses_stop);
    threaded_unit_refuse_stop(stage.units[0], false);
    detach();
    CHECK(piommu_domain_sync(stage.domains[IN_X], &failure_gather) == 0);
    close_objects();
    return goes_on;
}

static void fail_in_all_ways(uint64_t seed)
{
    struct scheduler_options all = {.policy = SCHEDULER_ALL, .bound = 1};
    struct scheduler_options few = {.policy = SCHEDULER_FEW, .bound = 3, .seed = seed};
    struct scene scene = {.maps = true, .kind = failure.kind, .servers = &two_units};

    stage.scene = &scene;
    scheduler_set(stage.scheduler, &all);
    while (fail_once(&scene)) {
    }
    scheduler_set(stage.scheduler, &few);
    for (unsigned int i = 0; i < DRAWN_RUNS; i++) {
        (void)fail_once(&scene);
    }
}

/* ---- The tests ---- */

static int open_all(void **state)
{
    static const struct instrumented_hooks hooks = {.before = before_access};

    (void)state;
    stage.scheduler = scheduler_create();
    if (stage.scheduler == NULL) {
        return 0;
    }
    stage.host = threaded_host_create();
    stage.os = *threaded_host_shim(stage.host).os;
    stage.os.lock_create = scheduled_lock_create;
    stage.os.lock_destroy = scheduled_lock_destroy;
    stage.os.lock = scheduled_lock_take;
    stage.os.unlock = scheduled_lock_release;
    stage.os.now = scheduled_now;
    stage.os.wait = scheduled_wait;
    pgtable_describe(describe, NULL);
    instrumented_set_hooks(&hooks);
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    if (stage.scheduler != NULL) {
        instrumented_set_hooks(NULL);
        pgtable_describe(NULL, NULL);
        threaded_host_destroy(stage.host);
        scheduler_destroy(stage.scheduler);
    }
    return 0;
}

static uint64_t seed_in_use(void)
{
    const char *text = getenv("PIOMMU_RANDOM_SEED");

    return text != NULL && *text != '\0' ? strtoull(text, NULL, 0) : 1;
}

static void a_block_because_of_a_fault_meets_registration(void **state)
{
    (void)state;
    if (stage.scheduler == NULL) {
        skip();
    }
    for (size_t i = 0; i < COUNT_OF(programs); i++) {
        struct scene scene = {.program = &programs[i]};

        run_variants(&scene, (unsigned int)i, seed_in_use() + 1000 * i);
    }
    assert_true(stage.points != 0);
}

static void a_block_because_of_a_fault_meets_mapping(void **state)
{
    struct scene scene = {.maps = true};

    (void)state;
    if (stage.scheduler == NULL) {
        skip();
    }
    run_variants(&scene, 0, seed_in_use());
}

static void an_instance_fails_beside_a_call_on_it_and_another(void **state)
{
    (void)state;
    if (stage.scheduler == NULL) {
        skip();
    }
    pgtable_describe(describe_failure, NULL);
    for (unsigned int i = 0; i < 4 * CHANGES; i++) {
        failure =
            (struct failure){.kind = i % 2 == 0 ? PIOMMU_BACKEND_TABLES : PIOMMU_BACKEND_REQUESTS,
                             .refuses_stop = i / 2 % 2 != 0,
                             .change = (enum change)(i / 4)};
        fail_in_all_ways(seed_in_use() + i);
    }
    pgtable_describe(describe, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_block_because_of_a_fault_meets_registration),
        cmocka_unit_test(a_block_because_of_a_fault_meets_mapping),
        cmocka_unit_test(an_instance_fails_beside_a_call_on_it_and_another),
    };

    return cmocka_run_group_tests(tests, open_all, close_all);
}
