/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "core_scenarios.h"

#include "failing_calls.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(a)  (sizeof(a) / sizeof((a)[0]))
#define MAX_CALLS 256u

unsigned int core_all_units(const struct failing_world *world)
{
    return (1u << world->options.units) - 1;
}

unsigned int core_last_unit(const struct failing_world *world)
{
    return world->options.units - 1;
}

unsigned int core_id_count(const struct failing_world *world)
{
    return world->options.single ? 1 : 2;
}

struct piommu_group *core_group(const struct failing_world *world, unsigned int device)
{
    return piommu_device_group(world->devices[device]);
}

/* What a call must not touch when it fails. */
void *core_untouched(void)
{
    static char untouched;

    return &untouched;
}

void *core_keep(const struct failing_world *world, int error, void *result)
{
    if (error != 0 && result != UNTOUCHED) {
        world_broken(world, "the result was set, with error %d", error);
    }
    return error == 0 ? result : NULL;
}

void core_take_line(void *cookie, const char *line)
{
    (void)cookie;
    assert_in_range(strlen(line), 1, 159);
    assert_null(strchr(line, '\n'));
}

/* ---- Setups ---- */

/* Two domains that are filled; OTHER is in B. */
void core_setup_domains(struct failing_world *world)
{
    world_domain(world, A, PIOMMU_DOMAIN_PAGING, core_all_units(world));
    world_domain(world, B, PIOMMU_DOMAIN_PAGING, core_all_units(world));
    world_map(world, A, IOVA, 0x900000000, PAGE, RW);
    world_map(world, A, ONLY_A, 0x901000000, PAGE, R);
    world_map(world, A, LARGE, LARGE_TO, BLOCK, RW);
    world_map(world, B, IOVA, 0x910000000, PAGE, RW);
    world_map(world, B, ONLY_B, 0x911000000, PAGE, RW);
    world_add(world, OTHER, 1u << core_last_unit(world), WORLD_FIRST_ID + 2, 1);
    world_attach(world, OTHER, B);
}

/* The same, and DMA with two IDs on each unit, blocked. */
void core_setup_blocked(struct failing_world *world)
{
    core_setup_domains(world);
    world_add(world, DMA, core_all_units(world), WORLD_FIRST_ID, core_id_count(world));
}

void core_setup_in_a(struct failing_world *world)
{
    core_setup_blocked(world);
    world_attach(world, DMA, A);
}

void core_setup_nothing(struct failing_world *world)
{
    (void)world;
}

int core_create_shared(struct failing_world *world, struct piommu_domain **domain)
{
    static const struct piommu_pgtable_config config = {.format = PIOMMU_ARM_64_LPAE_S2,
                                                        .granule = 4096,
                                                        .input_bits = 39,
                                                        .output_bits = 40,
                                                        .coherent_walk = true};
    struct piommu_shared_table table = {.config = &config};
    struct piommu_domain_config more = {.shared = &table, .name = "shared"};

    if (world->number == 0) {
        world->number = fake_os_test_pages(world->os, 1);
        memset(fake_os_pointer(world->os, world->number, PAGE), 0, PAGE);
    }
    table.root = world->number;
    return world_try_domain(world, PIOMMU_DOMAIN_SHARED, core_all_units(world), &more, domain);
}

/* ---- Running ---- */

#define MAX_FAILURES 2u

/* What is failed in a run. */
struct plan {
    struct failure failures[MAX_FAILURES];
    size_t count;
    struct failing_call calls[MAX_FAILURES]; /* which calls those are */
    unsigned int silent_unit;                /* does not answer; WORLD_UNITS: all do */
};

/* A scenario in one kind of world, and how it goes if nothing fails. */
struct exploration {
    const struct core_scenario *scenario;
    struct world_options options;
    struct plan plan;
    int result;
    struct world_snapshot before;
    struct world_snapshot after;
    bool known; /* result, before and after are */
    unsigned long runs;
    char title[240];
};

/* The calls of a run. */
struct call_list {
    unsigned int count;
    struct failing_call calls[MAX_CALLS];
};

static void describe(struct exploration *exploration)
{
    const struct plan *plan = &exploration->plan;
    char *text = exploration->title;
    size_t room = sizeof(exploration->title);
    int used = snprintf(text, room, "%s", exploration->scenario->name);

    for (size_t i = 0; i < plan->count; i++) {
        const struct failing_way *way = plan->failures[i].way;
        static const char *const effects[] = {"", " half done", " although done"};

        used += snprintf(text + used, room - (size_t)used,
                         "; call %u, %s of unit %u, fails%s%s: %d", plan->failures[i].call,
                         failing_calls_name(plan->calls[i].function), plan->calls[i].unit,
                         effects[way->effect], way->for_ever ? " ever on" : "", way->error);
        assert_true((size_t)used < room);
    }
    if (plan->silent_unit != WORLD_UNITS) {
        snprintf(text + used, room - (size_t)used, "; unit %u does not answer", plan->silent_unit);
    }
}

static bool has_failed(const struct failing_world *world, unsigned int unit)
{
    struct piommu_instance_info info = {.failed = false};

    if (world->instances[unit] != NULL) {
        piommu_instance_get_info(world->instances[unit], &info);
    }
    return info.failed;
}

/* Units that have failed, or should have. */
static unsigned int lost_units(const struct failing_world *world)
{
    unsigned int lost = 0;

    for (unsigned int unit = 0; unit < WORLD_UNITS; unit++) {
        if (failing_calls_is_lost(world->calls, unit) || has_failed(world, unit)) {
            lost |= 1u << unit;
        }
    }
    return lost;
}

/* Whether all units that are lost were stopped, and have said so. */
static bool all_are_stopped(const struct failing_world *world)
{
    for (unsigned int unit = 0; unit < WORLD_UNITS; unit++) {
        if ((lost_units(world) & 1u << unit) != 0 &&
            !failing_calls_is_stopped(world->calls, unit)) {
            return false;
        }
    }
    return true;
}

static bool has_id_on(const struct failing_world *world, unsigned int device, unsigned int units)
{
    struct piommu_id_info id;

    for (size_t i = 0; piommu_device_get_id(world->devices[device], i, &id) == 0; i++) {
        for (unsigned int unit = 0; unit < WORLD_UNITS; unit++) {
            if ((units & 1u << unit) != 0 && id.instance != NULL &&
                id.instance == world->instances[unit]) {
                return true;
            }
        }
    }
    return false;
}

/* What cannot be as it was because some units have failed. */
static void skip_lost(const struct failing_world *world, unsigned int lost, struct world_skip *skip)
{
    skip->index[WORLD_INSTANCE] |= lost;
    skip->index[WORLD_REACH_UNIT] |= lost;
    skip->index[WORLD_ENDPOINTS] = UINT_MAX;
    for (unsigned int i = 0; i < WORLD_DEVICES; i++) {
        if (world->devices[i] != NULL && has_id_on(world, i, lost)) {
            skip->index[WORLD_ID] |= 1u << i;
        }
    }
}

/* And what belongs to the group that is moved: where that must be now is checked. */
static void skip_group(const struct failing_world *world, struct world_skip *skip)
{
    for (unsigned int i = 0; i < WORLD_DEVICES; i++) {
        if (world->devices[i] != NULL && core_group(world, i) == core_group(world, DMA)) {
            skip->index[WORLD_ID] |= 1u << i;
            skip->index[WORLD_DEVICE] |= 1u << i;
        }
    }
    skip->index[WORLD_REACH_UNIT] = UINT_MAX; /* world_check sees that the IDs are blocked */
    skip->index[WORLD_ENDPOINTS] = UINT_MAX;
}

static void skip_contents(struct world_skip *skip)
{
    skip->index[WORLD_MAPPINGS] = UINT_MAX;
    skip->index[WORLD_DOMAIN] = UINT_MAX;
    skip->index[WORLD_GATHER] = UINT_MAX;
    skip->index[WORLD_REACH_UNIT] = UINT_MAX;
}

static struct piommu_domain *domain_of_group(const struct failing_world *world)
{
    struct piommu_device_info info;

    piommu_device_get_info(world->devices[DMA], &info);
    return info.domain;
}

static bool is_fault_blocked(const struct failing_world *world)
{
    struct piommu_device_info info;

    piommu_device_get_info(world->devices[DMA], &info);
    return info.fault_blocked;
}

static void must_be(const struct failing_world *world, bool condition, const char *what, int error)
{
    if (!condition) {
        world_broken(world, "%s, with error %d", what, error);
    }
}

/*
 * The group is blocked; or, where hardware could not be stopped, it counts as where it was, or as
 * where it was to go.
 */
static void check_group_left(struct failing_world *world, struct piommu_domain *old, bool stopped,
                             int error)
{
    struct piommu_id_info id;
    bool in_doubt = false;

    for (unsigned int i = 0; i < WORLD_DEVICES; i++) {
        if (world->devices[i] == NULL || core_group(world, i) != core_group(world, DMA)) {
            continue;
        }
        for (size_t j = 0; piommu_device_get_id(world->devices[i], j, &id) == 0; j++) {
            must_be(world,
                    id.state == PIOMMU_ID_BLOCKED || (id.state == PIOMMU_ID_DOUBTFUL && !stopped),
                    "an ID of the group is not blocked", error);
            in_doubt = in_doubt || id.state == PIOMMU_ID_DOUBTFUL;
        }
    }
    must_be(world,
            domain_of_group(world) == (stopped ? NULL : old) ||
                (in_doubt && domain_of_group(world) != NULL),
            "the group is elsewhere", error);
}

/* The units that had to have failed, and no others. A stopped one has no ID that is in doubt. */
static void check_lost(const struct core_scenario *scenario, struct failing_world *world, int error)
{
    unsigned int lost = lost_units(world);

    for (unsigned int unit = 0; unit < WORLD_UNITS; unit++) {
        struct piommu_instance_info info;
        struct piommu_id_info id;

        if ((lost & 1u << unit) == 0 || world->instances[unit] == NULL) {
            continue;
        }
        piommu_instance_get_info(world->instances[unit], &info);
        must_be(world, info.state == PIOMMU_INSTANCE_FAILED, "a unit has not failed", error);
        must_be(world,
                failing_calls_is_lost(world->calls, unit) ||
                    (scenario->special & (ALL_FATAL | LATE_ERRORS)) != 0,
                "a unit has failed", error);
        for (unsigned int i = 0; i < WORLD_DEVICES; i++) {
            for (size_t j = 0;
                 world->devices[i] != NULL && piommu_device_get_id(world->devices[i], j, &id) == 0;
                 j++) {
                must_be(world,
                        id.instance != world->instances[unit] ||
                            !failing_calls_is_stopped(world->calls, unit) ||
                            id.state == PIOMMU_ID_BLOCKED || id.state == PIOMMU_ID_WAITING,
                        "an ID of a unit that was stopped is not blocked", error);
            }
        }
    }
}

static void check_after_failed(struct exploration *exploration, struct failing_world *world,
                               const struct world_snapshot *now, struct piommu_domain *old)
{
    const struct core_scenario *scenario = exploration->scenario;
    unsigned int lost = lost_units(world);
    struct world_skip skip = {{0}};

    must_be(world, lost != 0, "no unit has failed", -PIOMMU_EFAILED);
    must_be(world,
            (scenario->special & STOPS) == 0 || (scenario->special & FAILED_FIRST) != 0 ||
                !all_are_stopped(world),
            "all units have stopped", -PIOMMU_EFAILED);
    skip_lost(world, lost, &skip);
    if ((scenario->special & MOVES) != 0) {
        skip_group(world, &skip);
        if ((scenario->special & FAILED_FIRST) == 0) {
            check_group_left(world, old, all_are_stopped(world), -PIOMMU_EFAILED);
        } else {
            skip.index[WORLD_DEVICE] = UINT_MAX;
            skip.index[WORLD_ID] = UINT_MAX;
        }
    }
    if (scenario->failed == ITS_OWN) {
        skip_contents(&skip);
    }
    if ((scenario->special & ANY_RESULT) != 0) {
        skip.index[WORLD_DEVICE] |= 1u << DMA;
    }
    if ((scenario->special & BLOCKS_THIRD) != 0) {
        skip.index[WORLD_DEVICE] |= 1u << THIRD;
    }
    if ((scenario->special & MAY_STAY) != 0) {
        skip.index[WORLD_DEVICE] |= 1u << THIRD;
        skip.index[WORLD_ID] |= 1u << THIRD;
    }
    if (scenario->failed == AS_AFTER) {
        /* It is done as far as that is possible, and is pending still. */
        struct world_skip contents = skip;

        contents.index[WORLD_DOMAIN] = UINT_MAX;
        contents.index[WORLD_GATHER] = UINT_MAX;
        world_compare(world, &exploration->after, now, &contents, "after -PIOMMU_EFAILED");
        skip.index[WORLD_MAPPINGS] = UINT_MAX;
        skip.index[WORLD_REACH_UNIT] = UINT_MAX;
    }
    world_compare(world, &exploration->before, now, &skip, "after -PIOMMU_EFAILED");
}

static void check_after_blocked(struct exploration *exploration, struct failing_world *world,
                                const struct world_snapshot *now)
{
    struct world_skip skip = {{0}};

    must_be(world, (exploration->scenario->special & MAY_BLOCK) != 0, "there is no way back",
            -PIOMMU_EBLOCKED);
    must_be(world, exploration->plan.count == 2, "one failure is too much", -PIOMMU_EBLOCKED);
    check_group_left(world, NULL, true, -PIOMMU_EBLOCKED);
    skip_group(world, &skip);
    if (exploration->scenario->failed == ITS_OWN) {
        skip_contents(&skip);
    }
    world_compare(world, &exploration->before, now, &skip, "after -PIOMMU_EBLOCKED");
}

static void check_memory(struct failing_world *world, uint64_t expected, uint64_t found)
{
    if (expected != found) {
        world_broken(world, "the library holds %" PRIu64 " bytes, and should hold %" PRIu64, found,
                     expected);
    }
}

/* Nothing fails any more: what was refused has to work now, and to lead to the same. */
static void try_again(struct exploration *exploration, struct failing_world *world)
{
    static struct world_snapshot now;
    int error = exploration->scenario->call(world);

    must_be(world, error == exploration->result, "once more it should have worked", error);
    world_look(world, &now);
    world_compare(world, &exploration->after, &now, NULL, "once more");
    check_memory(world, exploration->after.bytes, now.bytes);
}

/* The errors that the failures of the plan can lead to. */
static bool is_expected(const struct exploration *exploration, const struct failing_world *world,
                        int error)
{
    const struct plan *plan = &exploration->plan;
    bool lost = false;

    if (plan->silent_unit != WORLD_UNITS) {
        /* There is no instance yet, or it cannot be destroyed. */
        return error == -PIOMMU_EFAILED ||
               (error == -PIOMMU_ETIMEDOUT &&
                (lost_units(world) == 0 || (exploration->scenario->special & FAILED_FIRST) != 0));
    }
    for (size_t i = 0; i < plan->count; i++) {
        lost = lost || failing_calls_loses_unit(plan->calls[i].function, plan->failures[i].way);
    }
    if (plan->count == 1 && plan->calls[0].function == FAILING_REMOVE) {
        return error == -PIOMMU_ETIMEDOUT;
    }
    if (lost || (exploration->scenario->special & (FAILED_FIRST | ALL_FATAL)) != 0) {
        return error == -PIOMMU_EFAILED;
    }
    for (size_t i = 0; i < plan->count; i++) {
        if ((exploration->scenario->special & IO_UNMAPS) != 0 &&
            plan->calls[i].function == FAILING_MAP) {
            return error == -PIOMMU_EIO; /* whatever the hardware has said */
        }
        if (error == plan->failures[i].way->error) {
            return true;
        }
    }
    return plan->count == 2 && error == -PIOMMU_EBLOCKED;
}

/* Whether a failure need not be seen by the caller. */
static bool is_hidden(const struct exploration *exploration)
{
    for (size_t i = 0; i < exploration->plan.count; i++) {
        if (exploration->plan.calls[i].function != FAILING_BLOCK_NOW) {
            return (exploration->scenario->special & (LATE_ERRORS | ANY_RESULT | STOPS)) != 0;
        }
    }
    return true;
}

static void check_success(struct exploration *exploration, struct failing_world *world,
                          const struct world_snapshot *now)
{
    struct world_skip skip = {{0}};
    unsigned int lost = lost_units(world);

    must_be(world, is_hidden(exploration) || exploration->plan.silent_unit != WORLD_UNITS,
            "a failure was overlooked", exploration->result);
    if ((exploration->scenario->special & LATE_ERRORS) != 0 &&
        (exploration->plan.count != 0 || exploration->plan.silent_unit != WORLD_UNITS)) {
        return;
    }
    if ((exploration->scenario->special & (ANY_RESULT | STOPS)) != 0) {
        if ((exploration->scenario->special & STOPS) != 0) {
            check_group_left(world, NULL, true, exploration->result);
        }
        skip_lost(world, lost, &skip);
    } else if ((exploration->scenario->special & FAILED_FIRST) == 0) {
        must_be(world, lost == 0, "a unit has failed", exploration->result);
    }
    world_compare(world, &exploration->after, now, &skip, "after success");
    if (lost == 0) {
        check_memory(world, exploration->after.bytes, now->bytes);
    }
}

static void obey(struct failing_world *world)
{
    for (unsigned int unit = 0; unit < WORLD_UNITS; unit++) {
        mock_never_answer(world->mocks[unit], false);
    }
}

/* Returns what the last call has returned, which may be another one. */
static int judge(struct exploration *exploration, struct failing_world *world, int error,
                 struct piommu_domain *old)
{
    const struct core_scenario *scenario = exploration->scenario;
    static struct world_snapshot now;

    world_look(world, &now);
    world_check(world);
    check_lost(scenario, world, error);
    piommu_context_dump(world->context, core_take_line, NULL);
    if (error == exploration->result) {
        check_success(exploration, world, &now);
        return error;
    }
    must_be(world, is_expected(exploration, world, error), "that is not the error", error);
    if (error == -PIOMMU_EFAILED) {
        check_after_failed(exploration, world, &now, old);
        if ((scenario->special & STOPS) != 0) {
            /* What could not be stopped can be now. */
            obey(world);
            error = scenario->call(world);
            must_be(world, error == 0, "once more", error);
            check_group_left(world, NULL, true, error);
            world_check(world);
        }
        return error;
    }
    if (error == -PIOMMU_EBLOCKED) {
        check_after_blocked(exploration, world, &now);
    } else if (error == -PIOMMU_EIO && (scenario->special & IO_UNMAPS) != 0) {
        return error;
    } else if ((scenario->special & STEPS) == 0) {
        struct world_skip skip = {{0}};

        if ((scenario->special & BLOCK_WAITS) != 0 && is_fault_blocked(world)) {
            skip_group(world, &skip);
        }
        world_compare(world, &exploration->before, &now, &skip, "after an error");
        check_memory(world, exploration->before.bytes, now.bytes);
    }
    obey(world);
    try_again(exploration, world);
    return exploration->result;
}

/* One run: builds the world, makes the call, judges, and takes all down. */
static void run(struct exploration *exploration, struct call_list *list)
{
    const struct core_scenario *scenario = exploration->scenario;
    const struct plan *plan = &exploration->plan;
    static struct world_snapshot before;
    struct failing_world *world;
    struct piommu_domain *old;
    int error;

    describe(exploration);
    world = world_open(&exploration->options);
    world->title = exploration->title;
    scenario->setup(world);
    world_look(world, &before);
    world_check(world);
    old = world->devices[DMA] != NULL ? domain_of_group(world) : NULL;
    if (exploration->known) {
        world_compare(world, &exploration->before, &before, NULL, "the same before each run");
        check_memory(world, exploration->before.bytes, before.bytes);
        world->allowed[0] = &exploration->before.reach;
        world->allowed[1] = &exploration->after.reach;
    }
    if (plan->silent_unit != WORLD_UNITS) {
        mock_never_answer(world->mocks[plan->silent_unit], true);
    }
    if ((scenario->special & INFALLIBLE) != 0) {
        fake_os_forbid(world->os,
                       (scenario->special & MAY_FREE) != 0
                           ? FAKE_OS_FORBID_ALLOCATION
                           : FAKE_OS_FORBID_ALLOCATION | FAKE_OS_FORBID_FREE | FAKE_OS_FORBID_WAIT);
    }
    failing_calls_set_title(world->calls, exploration->title);
    failing_calls_begin(world->calls, plan->failures, plan->count);
    error = scenario->call(world);
    failing_calls_end(world->calls);
    fake_os_forbid(world->os, 0);
    list->count = failing_calls_count(world->calls);
    assert_true(list->count <= MAX_CALLS);
    for (unsigned int i = 0; i < list->count; i++) {
        list->calls[i] = *failing_calls_at(world->calls, i + 1);
    }
    must_be(world, failing_calls_failed(world->calls) == plan->count, "a call was not made", error);
    if (!exploration->known) {
        must_be(world, error >= 0, "without any failure", error);
        exploration->result = error;
        exploration->before = before;
        world_look(world, &exploration->after);
        exploration->known = true;
    }
    if ((scenario->special & INFALLIBLE) != 0) {
        must_be(world, list->count == 0, "something could have failed", error);
    }
    error = judge(exploration, world, error, old);
    if (scenario->check != NULL) {
        scenario->check(world, error);
    }
    world_close(world);
    exploration->runs++;
}

/* ---- Going through everything ---- */

/* All plans that begin with this one and have one failure more; and so on. */
static void explore(struct exploration *exploration)
{
    struct plan *plan = &exploration->plan;
    struct call_list list;
    const char *wanted = getenv("PIOMMU_FAILURES");
    const bool all_ways = wanted != NULL && strcmp(wanted, "all") == 0;
    const bool no_pairs = wanted != NULL && strcmp(wanted, "single") == 0;
    unsigned int next = plan->count == 0 ? 1 : plan->failures[plan->count - 1].call + 1;

    run(exploration, &list);
    if (plan->count == (no_pairs ? 1 : MAX_FAILURES) ||
        (plan->count != 0 && !all_ways && !plan->failures[plan->count - 1].way->main)) {
        return;
    }
    for (unsigned int call = next; call <= list.count; call++) {
        size_t ways;
        const struct failing_way *way = failing_calls_ways(list.calls[call - 1].function, &ways);

        for (size_t i = 0; i < ways; i++) {
            if (plan->count != 0 && !all_ways && !way[i].main) {
                continue;
            }
            plan->calls[plan->count] = list.calls[call - 1];
            plan->failures[plan->count++] = (struct failure){call, &way[i]};
            explore(exploration);
            plan->count--;
        }
    }
}

static void test_scenario(void **state)
{
    struct exploration *exploration = *state;
    struct call_list list;

    exploration->plan.silent_unit = WORLD_UNITS;
    run(exploration, &list); /* to know how it goes */
    explore(exploration);
    for (unsigned int unit = 0; unit < WORLD_UNITS; unit++) {
        exploration->plan.silent_unit = unit;
        run(exploration, &list);
    }
    print_message("%lu runs\n", exploration->runs);
}

/* The kinds of world, for those scenarios that have all of these flags. */
static const struct {
    const char *name;
    unsigned int worlds;
    unsigned int special;
    struct world_options options;
} variants[] = {
    {"no unit", NONE, 0, {.units = 0}},
    {"one unit", ONE, 0, {.units = 1}},
    {"one unit, one ID", ONE, MOVES, {.units = 1, .single = true}},
    {"one unit, blocking between", ONE, SWITCHES, {.units = 1, .blocks_between = true}},
    {"two units", TWO, 0, {.units = 2}},
    {"two units, blocking between", TWO, SWITCHES, {.units = 2, .blocks_between = true}},
    {"two related units", RELATED, 0, {.units = 2, .family = true, .related = true}},
};

/* Adds a test for each kind of world in which a scenario makes sense. Returns how many. */
static size_t add_tests(const struct core_scenario *scenario, struct CMUnitTest *tests)
{
    size_t count = 0;

    for (size_t i = 0; i < 2 * COUNT(variants); i++) {
        bool tables = i % 2 == 0;
        size_t size = strlen(scenario->name) + 64;
        struct exploration *exploration;
        char *name;

        if ((scenario->worlds & (tables ? TABLES : REQUESTS)) == 0 ||
            (scenario->worlds & variants[i / 2].worlds) == 0 ||
            (scenario->special & variants[i / 2].special) != variants[i / 2].special) {
            continue;
        }
        exploration = calloc(1, sizeof(*exploration));
        exploration->scenario = scenario;
        exploration->options = variants[i / 2].options;
        exploration->options.kind = tables ? PIOMMU_BACKEND_TABLES : PIOMMU_BACKEND_REQUESTS;
        exploration->options.block_now = (scenario->special & BLOCKS_NOW) != 0;
        exploration->options.family |= (scenario->special & FAMILY) != 0;
        name = malloc(size);
        snprintf(name, size, "%s (%s, %s)", scenario->name, tables ? "tables" : "requests",
                 variants[i / 2].name);
        tests[count++] = (struct CMUnitTest){name, test_scenario, NULL, NULL, exploration};
    }
    return count;
}

int core_explore(const struct core_scenario *scenarios, size_t scenario_count, int argc,
                 char **argv)
{
    struct CMUnitTest *tests = calloc(2 * COUNT(variants) * scenario_count, sizeof(*tests));
    size_t count = 0;
    int failed;

    for (size_t i = 0; i < scenario_count; i++) {
        if (argc < 2 || strstr(scenarios[i].name, argv[1]) != NULL) {
            count += add_tests(&scenarios[i], tests + count);
        }
    }
    failed = _cmocka_run_group_tests("core", tests, count, NULL, NULL);
    for (size_t i = 0; i < count; i++) {
        free((void *)(uintptr_t)tests[i].name);
        free(tests[i].initial_state);
    }
    free(tests);
    return failed;
}
