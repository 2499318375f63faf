/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Instances, devices and groups, in whatever order they come: keys, parents, devices that wait,
 * groups that grow together.
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

#define PAGE      0x1000ull
#define ROOT_KEY  0x100u
#define CHILD_KEY 0x200u
#define LEAF_KEY  0x300u
#define RW        (PIOMMU_PROT_READ | PIOMMU_PROT_WRITE)

static const struct spy_options *options_of(void **state)
{
    return *state;
}

static struct spy_options tables = {.kind = PIOMMU_BACKEND_TABLES};
static struct spy_options requests = {.kind = PIOMMU_BACKEND_REQUESTS};
static const struct spy_options bare_tables = {.kind = PIOMMU_BACKEND_TABLES, .bare = true};

/* ---- Instances ---- */

static void test_a_child_that_comes_first_waits_for_its_parent(void **state)
{
    struct units *units = units_open();
    unsigned int child = units_add_keyed(units, options_of(state), "cache", 0, ROOT_KEY);
    struct piommu_instance_info info;
    unsigned int root;

    piommu_instance_get_info(units->instances[child], &info);
    assert_int_equal(info.state, PIOMMU_INSTANCE_WAITING);
    assert_string_equal(info.name, "cache");
    assert_string_equal(info.backend, "spy");
    assert_false(info.failed);
    assert_int_equal(spy_calls(units->spy, SPY_ANY), 0);
    assert_int_equal(units->news_count, 0);

    root = units_add_keyed(units, options_of(state), "main", ROOT_KEY, 0);
    assert_int_equal(units_state(units, root), PIOMMU_INSTANCE_RUNNING);
    assert_int_equal(units_state(units, child), PIOMMU_INSTANCE_RUNNING);
    assert_true(spy_find(units->spy, root, SPY_PROBE, 1) <
                spy_find(units->spy, child, SPY_PROBE, 1));
    assert_int_equal(units->news_count, 1);
    assert_ptr_equal(units->news[0].instance, units->instances[child]);
    assert_int_equal(units->news[0].error, 0);
    units_close(units);
}

static void test_a_child_that_comes_after_its_parent_runs_at_once(void **state)
{
    struct units *units = units_open();
    unsigned int root = units_add_keyed(units, options_of(state), "main", ROOT_KEY, 0);
    unsigned int child = units_add_keyed(units, options_of(state), "cache", 0, ROOT_KEY);

    assert_int_equal(units_state(units, root), PIOMMU_INSTANCE_RUNNING);
    assert_int_equal(units_state(units, child), PIOMMU_INSTANCE_RUNNING);
    /* Nobody waited, so there is no news. */
    assert_int_equal(units->news_count, 0);
    units_close(units);
}

static void test_a_chain_is_started_from_its_root_whatever_the_order(void **state)
{
    static const unsigned int orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
                                              {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    static const struct piommu_instance_config configs[3] = {
        {.name = "root", .key = ROOT_KEY},
        {.name = "middle", .key = CHILD_KEY, .parent_key = ROOT_KEY},
        {.name = "leaf", .key = LEAF_KEY, .parent_key = CHILD_KEY}};
    /* How many of the chain had to wait. */
    static const unsigned int waited[6] = {0, 1, 1, 2, 1, 2};

    for (unsigned int i = 0; i < 6; i++) {
        struct units *units = units_open();

        for (unsigned int j = 0; j < 3; j++) {
            (void)units_prepare(units, options_of(state));
        }
        for (unsigned int j = 0; j < 3; j++) {
            assert_int_equal(units_start(units, orders[i][j], configs[orders[i][j]]), 0);
        }
        for (unsigned int j = 0; j < 3; j++) {
            assert_int_equal(units_state(units, j), PIOMMU_INSTANCE_RUNNING);
        }
        assert_true(spy_find(units->spy, 0, SPY_PROBE, 1) < spy_find(units->spy, 1, SPY_PROBE, 1));
        assert_true(spy_find(units->spy, 1, SPY_PROBE, 1) < spy_find(units->spy, 2, SPY_PROBE, 1));
        assert_int_equal(units->news_count, waited[i]);
        for (unsigned int j = 0; j < units->news_count; j++) {
            assert_int_equal(units->news[j].error, 0);
        }
        units_close(units);
    }
}

static void test_several_children_of_one_parent_are_all_started(void **state)
{
    struct units *units = units_open();
    unsigned int root = units_prepare(units, options_of(state));
    unsigned int children[4];

    for (unsigned int i = 0; i < 4; i++) {
        children[i] = units_add_keyed(units, options_of(state), "cache", 0, ROOT_KEY);
    }
    assert_int_equal(
        units_start(units, root, (struct piommu_instance_config){.name = "main", .key = ROOT_KEY}),
        0);
    for (unsigned int i = 0; i < 4; i++) {
        assert_int_equal(units_state(units, children[i]), PIOMMU_INSTANCE_RUNNING);
    }
    assert_int_equal(units->news_count, 4);
    units_close(units);
}

static void test_a_key_is_taken_until_its_instance_is_destroyed(void **state)
{
    struct units *units = units_open();
    unsigned int first = units_add_keyed(units, options_of(state), "first", ROOT_KEY, 0);
    unsigned int second = units_prepare(units, options_of(state));
    unsigned int waiting;
    struct piommu_instance_config config = {.name = "second", .key = ROOT_KEY};

    assert_int_equal(units_start(units, second, config), -PIOMMU_EEXIST);
    assert_int_equal(spy_calls(units->spy, second), 0);
    assert_null(units->instances[second]);
    assert_int_equal(piommu_instance_destroy(units->instances[first]), 0);
    units->instances[first] = NULL;

    /* Who waits has his key, too. */
    waiting = units_add_keyed(units, options_of(state), "waiting", ROOT_KEY, CHILD_KEY);
    assert_int_equal(units_state(units, waiting), PIOMMU_INSTANCE_WAITING);
    assert_int_equal(units_start(units, second, config), -PIOMMU_EEXIST);
    assert_int_equal(piommu_instance_destroy(units->instances[waiting]), 0);
    units->instances[waiting] = NULL;
    assert_int_equal(units_start(units, second, config), 0);
    units_close(units);
}

static void test_any_number_of_instances_have_no_key(void **state)
{
    struct units *units = units_open();

    for (unsigned int i = 0; i < 3; i++) {
        (void)units_add(units, options_of(state), "nameless");
    }
    units_close(units);
}

static void test_an_instance_cannot_be_its_own_parent(void **state)
{
    struct units *units = units_open();
    unsigned int unit = units_prepare(units, options_of(state));

    assert_int_equal(
        units_start(units, unit,
                    (struct piommu_instance_config){.key = ROOT_KEY, .parent_key = ROOT_KEY}),
        -PIOMMU_EINVAL);
    assert_int_equal(spy_calls(units->spy, unit), 0);
    units_close(units);
}

static void test_a_parent_of_another_backend_is_refused(void **state)
{
    struct units *units = units_open();
    unsigned int root = units_add_keyed(units, &tables, "main", ROOT_KEY, 0);
    unsigned int other = units_prepare(units, &requests);
    unsigned int bare = units_prepare(units, &bare_tables);
    const struct piommu_instance_config config = {.name = "cache", .parent_key = ROOT_KEY};

    (void)state;
    assert_int_equal(units_start(units, other, config), -PIOMMU_EOPNOTSUPP);
    assert_int_equal(units_start(units, bare, config), -PIOMMU_EOPNOTSUPP);
    assert_int_equal(spy_calls(units->spy, other), 0);
    assert_int_equal(spy_calls(units->spy, bare), 0);
    /* It is not the parent of anybody, then. */
    assert_int_equal(piommu_instance_destroy(units->instances[root]), 0);
    units->instances[root] = NULL;
    units_close(units);
}

static void test_a_child_whose_parent_turns_out_to_be_another_backend_has_failed(void **state)
{
    struct units *units = units_open();
    unsigned int child = units_add_keyed(units, &bare_tables, "cache", 0, ROOT_KEY);
    unsigned int root = units_add_keyed(units, &tables, "main", ROOT_KEY, 0);

    (void)state;
    assert_int_equal(units_state(units, root), PIOMMU_INSTANCE_RUNNING);
    assert_int_equal(units_state(units, child), PIOMMU_INSTANCE_FAILED);
    assert_int_equal(units->news_count, 1);
    assert_int_equal(units->news[0].error, -PIOMMU_EOPNOTSUPP);
    assert_int_equal(spy_calls(units->spy, child), 0);
    units_close(units);
}

static void test_a_child_that_cannot_be_started_fails_alone(void **state)
{
    struct units *units = units_open();
    unsigned int bad = units_add_keyed(units, options_of(state), "bad", CHILD_KEY, ROOT_KEY);
    unsigned int good = units_add_keyed(units, options_of(state), "good", 0, ROOT_KEY);
    unsigned int below = units_add_keyed(units, options_of(state), "below", 0, CHILD_KEY);
    unsigned int root = units_prepare(units, options_of(state));
    unsigned int late = units_prepare(units, options_of(state));
    struct piommu_device_config device = {.ids = NULL, .id_count = 1};
    struct piommu_device_id id = {.instance = units->instances[bad], .key = 0, .id = 1};
    struct piommu_device *result;

    spy_fail(units->spy, bad, SPY_PROBE, 1, -PIOMMU_EIO);
    assert_int_equal(
        units_start(units, root, (struct piommu_instance_config){.name = "main", .key = ROOT_KEY}),
        0);
    assert_int_equal(units_state(units, root), PIOMMU_INSTANCE_RUNNING);
    assert_int_equal(units_state(units, good), PIOMMU_INSTANCE_RUNNING);
    assert_int_equal(units_state(units, bad), PIOMMU_INSTANCE_FAILED);
    for (unsigned int i = 0; i < units->news_count; i++) {
        if (units->news[i].instance == units->instances[bad]) {
            assert_int_equal(units->news[i].error, -PIOMMU_EIO);
        } else if (units->news[i].instance == units->instances[good]) {
            assert_int_equal(units->news[i].error, 0);
        }
    }
    assert_true(units->news_count >= 2);
    /* Whoever is below it is never started. */
    assert_int_not_equal(units_state(units, below), PIOMMU_INSTANCE_RUNNING);
    assert_int_equal(spy_count(units->spy, below, SPY_PROBE), 0);
    assert_int_equal(
        units_start(units, late,
                    (struct piommu_instance_config){.name = "late", .parent_key = CHILD_KEY}),
        -PIOMMU_EFAILED);
    assert_int_equal(spy_count(units->spy, late, SPY_PROBE), 0);
    /* It stays until it is destroyed, and takes nothing. */
    device.ids = &id;
    assert_int_equal(piommu_device_add(units->context, &device, &result), -PIOMMU_EFAILED);
    assert_int_equal(spy_count(units->spy, bad, SPY_ADD_ENDPOINT), 0);
    units_close(units);
}

static void test_a_parent_that_cannot_be_started_leaves_its_children_waiting(void **state)
{
    struct units *units = units_open();
    unsigned int child = units_add_keyed(units, options_of(state), "cache", 0, ROOT_KEY);
    unsigned int root = units_prepare(units, options_of(state));
    const struct piommu_instance_config config = {.name = "main", .key = ROOT_KEY};

    spy_fail(units->spy, root, SPY_PROBE, 1, -PIOMMU_ETIMEDOUT);
    assert_int_equal(units_start(units, root, config), -PIOMMU_ETIMEDOUT);
    assert_int_equal(units_state(units, child), PIOMMU_INSTANCE_WAITING);
    assert_int_equal(units->news_count, 0);
    assert_int_equal(units_start(units, root, config), 0);
    assert_int_equal(units_state(units, child), PIOMMU_INSTANCE_RUNNING);
    units_close(units);
}

static void test_a_parent_is_not_destroyed_before_its_children(void **state)
{
    struct units *units = units_open();
    unsigned int root = units_add_keyed(units, options_of(state), "main", ROOT_KEY, 0);
    unsigned int child = units_add_keyed(units, options_of(state), "cache", CHILD_KEY, ROOT_KEY);
    unsigned int leaf = units_add_keyed(units, options_of(state), "leaf", 0, CHILD_KEY);

    assert_int_equal(piommu_instance_destroy(units->instances[root]), -PIOMMU_EBUSY);
    assert_int_equal(piommu_instance_destroy(units->instances[child]), -PIOMMU_EBUSY);
    assert_int_equal(spy_count(units->spy, SPY_ANY, SPY_REMOVE), 0);
    assert_int_equal(units_state(units, root), PIOMMU_INSTANCE_RUNNING);
    assert_int_equal(piommu_instance_destroy(units->instances[leaf]), 0);
    units->instances[leaf] = NULL;
    assert_int_equal(piommu_instance_destroy(units->instances[child]), 0);
    units->instances[child] = NULL;
    assert_int_equal(piommu_instance_destroy(units->instances[root]), 0);
    units->instances[root] = NULL;
    units_close(units);
}

static void test_a_waiting_instance_can_be_destroyed(void **state)
{
    struct units *units = units_open();
    unsigned int child = units_add_keyed(units, options_of(state), "cache", 0, ROOT_KEY);

    assert_int_equal(piommu_context_destroy(units->context), -PIOMMU_EBUSY);
    assert_int_equal(piommu_instance_destroy(units->instances[child]), 0);
    units->instances[child] = NULL;
    assert_int_equal(spy_calls(units->spy, child), 0);
    (void)units_add_keyed(units, options_of(state), "main", ROOT_KEY, 0);
    assert_int_equal(spy_calls(units->spy, child), 0);
    assert_int_equal(units->news_count, 0);
    units_close(units);
}

static void test_a_waiting_instance_does_nothing_yet(void **state)
{
    struct units *units = units_open();
    unsigned int child = units_add_keyed(units, options_of(state), "cache", 0, ROOT_KEY);
    struct piommu_domain_config config = {
        .type = PIOMMU_DOMAIN_PAGING, .instances = &units->instances[child], .instance_count = 1};
    struct piommu_requirements requirements;
    struct piommu_instance *culprit = NULL;
    struct piommu_domain *domain;
    struct piommu_fault fault;
    bool more = false;

    assert_int_equal(piommu_instance_service(units->instances[child], 4), 0);
    assert_int_equal(piommu_instance_interrupt(units->instances[child], 4, &more), 0);
    assert_false(more);
    assert_int_equal(piommu_instance_take_fault(units->instances[child], &fault), -PIOMMU_ENOENT);
    assert_int_equal(piommu_instance_suspend(units->instances[child]), -PIOMMU_EBUSY);
    assert_int_equal(piommu_domain_create(&config, &domain), -PIOMMU_EWAITING);
    assert_int_equal(piommu_requirements_get(&units->instances[child], 1, &requirements, &culprit),
                     -PIOMMU_EWAITING);
    assert_ptr_equal(culprit, units->instances[child]);
    assert_int_equal(spy_calls(units->spy, SPY_ANY), 0);
    units_close(units);
}

/* The child is used at once, and the news of it makes another instance. */
static void use_instance(struct units *units, struct piommu_instance *instance,
                         struct piommu_device *device, int error)
{
    unsigned int *numbers = units->hook_data;

    (void)device;
    assert_int_equal(error, 0);
    if (instance == units->instances[numbers[0]]) {
        struct piommu_device *added = units_device_one(units, "early", numbers[0], 3);

        assert_int_equal(units_attach(units, added, units_domain(units, "A", numbers[0], 1)), 0);
        assert_int_equal(
            units_start(units, numbers[1],
                        (struct piommu_instance_config){.name = "another", .key = CHILD_KEY}),
            0);
    }
}

static void test_the_news_of_an_instance_may_use_it(void **state)
{
    struct units *units = units_open();
    unsigned int numbers[3];

    numbers[0] = units_add_keyed(units, options_of(state), "cache", 0, ROOT_KEY);
    numbers[1] = units_prepare(units, options_of(state));
    numbers[2] = units_add_keyed(units, options_of(state), "grandchild", 0, CHILD_KEY);
    units->hook_data = numbers;
    units->on_news = use_instance;
    (void)units_add_keyed(units, options_of(state), "main", ROOT_KEY, 0);
    /* What the callback has made is there, and so is what waited for it. */
    assert_int_equal(units_state(units, numbers[1]), PIOMMU_INSTANCE_RUNNING);
    assert_int_equal(units_state(units, numbers[2]), PIOMMU_INSTANCE_RUNNING);
    assert_int_equal(units->device_count, 1);
    assert_true(units_is_in(units, units->devices[0].device, units->domains[0]));
    units_close(units);
}

static void test_a_child_of_a_failed_parent_is_refused(void **state)
{
    struct units *units = units_open();
    unsigned int root = units_add_keyed(units, options_of(state), "main", ROOT_KEY, 0);
    unsigned int child = units_prepare(units, options_of(state));

    spy_fail(units->spy, root, SPY_SERVICE, 1, -PIOMMU_EIO);
    assert_int_equal(piommu_instance_service(units->instances[root], 1), -PIOMMU_EFAILED);
    assert_int_equal(
        units_start(units, child,
                    (struct piommu_instance_config){.name = "cache", .parent_key = ROOT_KEY}),
        -PIOMMU_EFAILED);
    assert_int_equal(spy_calls(units->spy, child), 0);
    units_close(units);
}

static void test_an_instance_without_a_name_has_that_of_its_backend(void **state)
{
    struct units *units = units_open();
    unsigned int unit = units_add(units, options_of(state), NULL);
    struct piommu_instance_info info;

    piommu_instance_get_info(units->instances[unit], &info);
    assert_string_equal(info.name, "spy");
    assert_string_equal(info.backend, "spy");
    assert_ptr_equal(info.owner, &units->instances[unit]);
    units_close(units);
}

static void test_bad_arguments_create_no_instance(void **state)
{
    struct units *units = units_open();
    unsigned int unit = units_prepare(units, options_of(state));
    const struct piommu_backend *backend = spy_backend(units->spy, unit);
    const void *config = spy_config(units->spy, unit);
    struct piommu_backend broken = *backend;
    struct piommu_instance *instance = NULL;
    uint64_t bytes = fake_os_bytes_outstanding(units->os);
    int error;

    assert_int_equal(piommu_instance_create(NULL, backend, config, NULL, &instance),
                     -PIOMMU_EINVAL);
    assert_int_equal(piommu_instance_create(units->context, NULL, config, NULL, &instance),
                     -PIOMMU_EINVAL);
    assert_int_equal(piommu_instance_create(units->context, backend, config, NULL, NULL),
                     -PIOMMU_EINVAL);
    assert_null(instance);
    assert_int_equal(fake_os_bytes_outstanding(units->os), bytes);
    /* One of suspend and resume without the other is of no use to anybody. */
    broken.resume = NULL;
    error = piommu_instance_create(units->context, &broken, config, NULL, &instance);
    assert_true(error == 0 || error == -PIOMMU_EINVAL);
    if (error == 0) {
        assert_int_equal(piommu_instance_suspend(instance), -PIOMMU_EOPNOTSUPP);
        assert_int_equal(piommu_instance_destroy(instance), 0);
    }
    units_close(units);
}

static void no_leaves(struct piommu_backend_info *info)
{
    info->leaf_sizes = 0;
}

static void reversed_aperture(struct piommu_backend_info *info)
{
    info->aperture = (struct piommu_range){0x2000, 0x1fff};
}

static void unknown_rights(struct piommu_backend_info *info)
{
    info->prot = 0x80000000u | RW;
}

static void test_a_unit_that_says_impossible_things_is_refused(void **state)
{
    static void (*const lies[])(struct piommu_backend_info *) = {no_leaves, reversed_aperture,
                                                                 unknown_rights};

    for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
        struct units *units = units_open();
        struct spy_options options = *options_of(state);
        uint64_t bytes = fake_os_bytes_outstanding(units->os);
        unsigned int unit;
        int error;

        options.adjust = lies[i];
        unit = units_prepare(units, &options);
        error = units_start(units, unit, (struct piommu_instance_config){.name = "liar"});
        if (error != -PIOMMU_EBADMSG) {
            fail_msg("lie %u: %d", (unsigned int)i, error);
        }
        assert_false(spy_runs(units->spy, unit));
        assert_int_equal(fake_os_bytes_outstanding(units->os), bytes);
        units_close(units);
    }
}

/* A host that has no big pieces of memory. */
static void *(*real_alloc)(void *ctx, size_t size);

static void *alloc_little(void *ctx, size_t size)
{
    return size < 0x1000000 ? real_alloc(ctx, size) : NULL;
}

static void test_more_records_than_memory_are_refused(void **state)
{
    static const uint32_t counts[] = {UINT32_MAX,         UINT32_MAX - 1, UINT32_MAX / 2 + 1,
                                      UINT32_MAX / 4 + 1, 0x08000001,     0x04000001,
                                      0x02000001};
    struct units *units = units_open();
    unsigned int unit = units_prepare(units, options_of(state));
    uint64_t bytes = fake_os_bytes_outstanding(units->os);

    real_alloc = fake_os_callbacks(units->os)->alloc;
    fake_os_callbacks(units->os)->alloc = alloc_little;
    /* Where sizes have 32 bits none of these may come out small. */
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        assert_int_equal(
            units_start(units, unit,
                        (struct piommu_instance_config){.name = "mmu", .fault_records = counts[i]}),
            -PIOMMU_ENOMEM);
        assert_int_equal(fake_os_bytes_outstanding(units->os), bytes);
        assert_false(spy_runs(units->spy, unit));
    }
    fake_os_callbacks(units->os)->alloc = real_alloc;
    units_close(units);
}

static void test_a_unit_that_does_not_stop_is_destroyed_at_the_next_attempt(void **state)
{
    struct units *units = units_open();
    unsigned int root = units_add_keyed(units, options_of(state), "main", ROOT_KEY, 0);
    unsigned int child = units_add_keyed(units, options_of(state), "cache", 0, ROOT_KEY);
    uint64_t bytes = fake_os_bytes_outstanding(units->os);

    spy_refuse_stop(units->spy, child, true);
    assert_int_equal(piommu_instance_destroy(units->instances[child]), -PIOMMU_ETIMEDOUT);
    assert_int_equal(fake_os_bytes_outstanding(units->os), bytes);
    assert_int_equal(piommu_instance_destroy(units->instances[root]), -PIOMMU_EBUSY);
    assert_int_equal(piommu_instance_destroy(units->instances[child]), -PIOMMU_ETIMEDOUT);
    spy_refuse_stop(units->spy, child, false);
    assert_int_equal(piommu_instance_destroy(units->instances[child]), 0);
    units->instances[child] = NULL;
    units_close(units);
}

static void test_instances_that_wait_for_each_other_do_so_until_destroyed(void **state)
{
    struct units *units = units_open();
    unsigned int first = units_add_keyed(units, options_of(state), "a", ROOT_KEY, CHILD_KEY);
    unsigned int second = units_add_keyed(units, options_of(state), "b", CHILD_KEY, LEAF_KEY);
    unsigned int third = units_add_keyed(units, options_of(state), "c", LEAF_KEY, ROOT_KEY);

    assert_int_equal(units_state(units, first), PIOMMU_INSTANCE_WAITING);
    assert_int_equal(units_state(units, second), PIOMMU_INSTANCE_WAITING);
    assert_int_equal(units_state(units, third), PIOMMU_INSTANCE_WAITING);
    assert_int_equal(spy_calls(units->spy, SPY_ANY), 0);
    /* One of them comes again as a root: then the others can follow. */
    assert_int_equal(piommu_instance_destroy(units->instances[first]), 0);
    units->instances[first] = NULL;
    assert_int_equal(
        units_start(units, first, (struct piommu_instance_config){.name = "a", .key = ROOT_KEY}),
        0);
    assert_int_equal(units_state(units, third), PIOMMU_INSTANCE_RUNNING);
    assert_int_equal(units_state(units, second), PIOMMU_INSTANCE_RUNNING);
    units_close(units);
}

static void test_a_family_without_memory_is_as_if_nothing_had_been_asked(void **state)
{
    bool complete = false;
    unsigned int failures = 0;

    for (unsigned int nth = 1; !complete; nth++) {
        struct units *units = units_open();
        unsigned int root = units_prepare(units, options_of(state));
        unsigned int late = units_prepare(units, options_of(state));
        unsigned int child =
            units_add_keyed(units, options_of(state), "cache", CHILD_KEY, ROOT_KEY);
        uint64_t bytes = fake_os_bytes_outstanding(units->os);
        int error;

        /* First the parent with the child that waits, then one more child. */
        fake_os_fail_call(units->os, nth, false);
        error = units_start(units, root,
                            (struct piommu_instance_config){.name = "main", .key = ROOT_KEY});
        if (error != 0) {
            assert_int_equal(error, -PIOMMU_ENOMEM);
            assert_int_equal(fake_os_bytes_outstanding(units->os), bytes);
            assert_int_equal(units_state(units, child), PIOMMU_INSTANCE_WAITING);
            failures++;
        } else if (units_state(units, child) != PIOMMU_INSTANCE_RUNNING) {
            assert_int_equal(units_state(units, child), PIOMMU_INSTANCE_FAILED);
            assert_int_equal(units->news[0].error, -PIOMMU_ENOMEM);
            failures++;
        } else {
            bytes = fake_os_bytes_outstanding(units->os);
            error = units_start(
                units, late,
                (struct piommu_instance_config){.name = "late", .parent_key = ROOT_KEY});
            assert_true(error == 0 || error == -PIOMMU_ENOMEM);
            if (error != 0) {
                assert_int_equal(fake_os_bytes_outstanding(units->os), bytes);
                failures++;
            }
            complete = error == 0;
        }
        fake_os_fail_call(units->os, 0, false);
        units_close(units);
        assert_true(nth < 200);
    }
    assert_true(failures >= 2);
}

/* ---- Devices that wait ---- */

/* A device with an ID on unit 0, which is there, and one on the unit with ROOT_KEY. */
static struct piommu_device *half_there(struct units *units, unsigned int there,
                                        unsigned int missing, uint32_t id, const char *name)
{
    const struct units_id ids[] = {{there, id}, {missing, id + 1}};
    const struct piommu_device_id places[] = {
        {.instance = units->instances[there], .key = 0, .id = id},
        {.instance = NULL, .key = ROOT_KEY, .id = id + 1}};
    const struct piommu_device_config config = {.ids = places, .id_count = 2, .name = name};
    struct piommu_device *device;

    assert_int_equal(units_try_device(units, &config, ids, &device), 0);
    return device;
}

static const struct piommu_instance_config late_config = {.name = "late", .key = ROOT_KEY};

static void test_a_device_waits_for_the_second_of_its_instances(void **state)
{
    struct units *units = units_open();
    unsigned int there = units_add(units, options_of(state), "early");
    unsigned int missing = units_prepare(units, options_of(state));
    struct piommu_device *device = half_there(units, there, missing, 5, "dma");
    struct piommu_domain *domain = units_domain(units, "A", there, 1);
    struct piommu_device_info info;
    struct piommu_id_info id;

    piommu_device_get_info(device, &info);
    assert_true(info.waiting);
    assert_int_equal(info.id_count, 2);
    assert_null(info.domain);
    assert_non_null(info.group);
    /* The ID whose instance is there is blocked already. */
    assert_int_equal(spy_count(units->spy, there, SPY_ADD_ENDPOINT), 1);
    assert_int_equal(units_id_state(device, 0), PIOMMU_ID_BLOCKED);
    assert_int_equal(piommu_device_get_id(device, 1, &id), 0);
    assert_int_equal(id.state, PIOMMU_ID_WAITING);
    assert_null(id.instance);
    assert_int_equal(id.key, ROOT_KEY);
    assert_int_equal(id.id, 6);

    /* As long as it waits it cannot be attached, and there is nothing to detach. */
    spy_forget(units->spy);
    assert_int_equal(units_attach(units, device, domain), -PIOMMU_EWAITING);
    assert_int_equal(piommu_device_attach(device, domain), -PIOMMU_EWAITING);
    assert_int_equal(piommu_device_detach(device), 0);
    assert_int_equal(spy_count(units->spy, SPY_ANY, SPY_ATTACH), 0);

    assert_int_equal(units_start(units, missing, late_config), 0);
    assert_int_equal(units->news_count, 1);
    assert_ptr_equal(units->news[0].device, device);
    assert_int_equal(units->news[0].error, 0);
    assert_false(units_waits(device));
    assert_int_equal(units_id_state(device, 0), PIOMMU_ID_BLOCKED);
    assert_int_equal(units_id_state(device, 1), PIOMMU_ID_BLOCKED);
    assert_int_equal(piommu_device_get_id(device, 1, &id), 0);
    assert_ptr_equal(id.instance, units->instances[missing]);
    assert_int_equal(units_attach(units, device, domain), 0);
    assert_true(units_is_in(units, device, domain));
    assert_int_equal(units_id_state(device, 1), PIOMMU_ID_ATTACHED);
    units_close(units);
}

static void test_a_device_whose_instances_are_there_is_complete_at_once(void **state)
{
    struct units *units = units_open();
    unsigned int there = units_add(units, options_of(state), "early");
    unsigned int keyed = units_add_keyed(units, options_of(state), "keyed", ROOT_KEY, 0);
    struct piommu_device *device = half_there(units, there, keyed, 5, "dma");

    assert_false(units_waits(device));
    assert_int_equal(units_id_state(device, 1), PIOMMU_ID_BLOCKED);
    assert_int_equal(units->news_count, 0);
    units_close(units);
}

static void test_a_device_is_complete_when_the_last_of_its_instances_comes(void **state)
{
    struct units *units = units_open();
    unsigned int first = units_prepare(units, options_of(state));
    unsigned int second = units_prepare(units, options_of(state));
    const struct units_id ids[] = {{first, 1}, {second, 2}};
    const struct piommu_device_id places[] = {{.instance = NULL, .key = ROOT_KEY, .id = 1},
                                              {.instance = NULL, .key = LEAF_KEY, .id = 2}};
    const struct piommu_device_config config = {.ids = places, .id_count = 2, .name = "dma"};
    struct piommu_device *device;

    assert_int_equal(units_try_device(units, &config, ids, &device), 0);
    assert_int_equal(
        units_start(units, second, (struct piommu_instance_config){.name = "b", .key = LEAF_KEY}),
        0);
    assert_true(units_waits(device));
    assert_int_equal(units->news_count, 0);
    assert_int_equal(units_id_state(device, 0), PIOMMU_ID_WAITING);
    assert_int_equal(units_id_state(device, 1), PIOMMU_ID_BLOCKED);
    assert_int_equal(units_start(units, first, late_config), 0);
    assert_false(units_waits(device));
    assert_int_equal(units->news_count, 1);
    assert_int_equal(units->news[0].error, 0);
    units_close(units);
}

static void test_a_device_waits_for_an_instance_that_waits_itself(void **state)
{
    /* Named by its key, and by the instance itself. */
    for (unsigned int by_pointer = 0; by_pointer < 2; by_pointer++) {
        struct units *units = units_open();
        unsigned int child =
            units_add_keyed(units, options_of(state), "cache", CHILD_KEY, ROOT_KEY);
        const struct units_id ids[] = {{child, 1}};
        const struct piommu_device_id place = {.instance =
                                                   by_pointer != 0 ? units->instances[child] : NULL,
                                               .key = by_pointer != 0 ? 0 : CHILD_KEY,
                                               .id = 1};
        const struct piommu_device_config config = {.ids = &place, .id_count = 1, .name = "dma"};
        struct piommu_device *device;

        assert_int_equal(units_try_device(units, &config, ids, &device), 0);
        assert_true(units_waits(device));
        assert_int_equal(units_id_state(device, 0), PIOMMU_ID_WAITING);
        assert_int_equal(spy_calls(units->spy, child), 0);
        (void)units_add_keyed(units, options_of(state), "main", ROOT_KEY, 0);
        assert_false(units_waits(device));
        /* First the instances, then the devices. */
        assert_int_equal(units->news_count, 2);
        assert_ptr_equal(units->news[0].instance, units->instances[child]);
        assert_ptr_equal(units->news[1].device, device);
        assert_int_equal(units_attach(units, device, units_domain(units, "A", child, 1)), 0);
        assert_true(units_is_in(units, device, units->domains[0]));
        units_close(units);
    }
}

static void test_a_device_that_cannot_be_completed_goes_on_waiting(void **state)
{
    struct units *units = units_open();
    unsigned int there = units_add(units, options_of(state), "early");
    unsigned int missing = units_prepare(units, options_of(state));
    struct piommu_device *device = half_there(units, there, missing, 5, "dma");
    struct piommu_domain *domain = units_domain(units, "A", there, 1);

    spy_fail(units->spy, missing, SPY_ADD_ENDPOINT, 1, -PIOMMU_ENOENT);
    assert_int_equal(units_start(units, missing, late_config), 0);
    assert_int_equal(units_state(units, missing), PIOMMU_INSTANCE_RUNNING);
    assert_int_equal(units->news_count, 1);
    assert_ptr_equal(units->news[0].device, device);
    assert_int_equal(units->news[0].error, -PIOMMU_ENOENT);
    assert_true(units_waits(device));
    assert_int_equal(units_id_state(device, 0), PIOMMU_ID_BLOCKED);
    assert_int_equal(units_attach(units, device, domain), -PIOMMU_EWAITING);
    units_remove(units, device);
    assert_int_equal(spy_count(units->spy, there, SPY_RELEASE_ENDPOINT), 1);
    assert_int_equal(spy_count(units->spy, missing, SPY_RELEASE_ENDPOINT), 0);
    /* Its IDs can be had by another. */
    device = units_device(units, "other", (const struct units_id[]){{there, 5}, {missing, 6}}, 2);
    assert_int_equal(units_attach(units, device, domain), 0);
    units_close(units);
}

static void test_an_instance_that_fails_while_devices_are_completed_is_there(void **state)
{
    struct units *units = units_open();
    unsigned int there = units_add(units, options_of(state), "early");
    unsigned int missing = units_prepare(units, options_of(state));
    struct piommu_device *first = half_there(units, there, missing, 5, "first");
    struct piommu_device *second = half_there(units, there, missing, 15, "second");

    spy_fail(units->spy, missing, SPY_ADD_ENDPOINT, 1, -PIOMMU_ETIMEDOUT);
    assert_int_equal(units_start(units, missing, late_config), 0);
    assert_int_equal(units_state(units, missing), PIOMMU_INSTANCE_FAILED);
    assert_int_equal(units_state(units, there), PIOMMU_INSTANCE_RUNNING);
    for (unsigned int i = 0; i < units->news_count; i++) {
        assert_int_equal(units->news[i].error, -PIOMMU_EFAILED);
    }
    assert_true(units->news_count >= 1);
    assert_true(units_waits(first) && units_waits(second));
    assert_int_equal(units_id_state(first, 0), PIOMMU_ID_BLOCKED);
    units_remove(units, second);
    units_remove(units, first);
    units_close(units);
}

static void test_a_completion_without_memory_leaves_the_device_removable(void **state)
{
    bool complete = false;
    unsigned int failures = 0;

    for (unsigned int nth = 1; !complete; nth++) {
        struct units *units = units_open();
        unsigned int there = units_add(units, options_of(state), "early");
        unsigned int missing = units_prepare(units, options_of(state));
        struct piommu_device *device = half_there(units, there, missing, 5, "dma");
        int error;

        fake_os_fail_call(units->os, nth, false);
        error = units_start(units, missing, late_config);
        fake_os_fail_call(units->os, 0, false);
        if (error != 0) {
            assert_int_equal(error, -PIOMMU_ENOMEM);
            assert_int_equal(units->news_count, 0);
            assert_true(units_waits(device));
            assert_false(spy_runs(units->spy, missing));
            failures++;
        } else if (units->news[0].error != 0) {
            assert_int_equal(units->news_count, 1);
            assert_int_equal(units->news[0].error, -PIOMMU_ENOMEM);
            assert_true(units_waits(device));
            failures++;
        } else {
            assert_false(units_waits(device));
            complete = true;
        }
        units_remove(units, device);
        units_close(units);
        assert_true(nth < 100);
    }
    assert_true(failures >= 1);
}

static void test_a_waiting_device_can_be_removed(void **state)
{
    struct units *units = units_open();
    unsigned int there = units_add(units, options_of(state), "early");
    unsigned int missing = units_prepare(units, options_of(state));
    struct piommu_device *device = half_there(units, there, missing, 5, "dma");

    assert_int_equal(piommu_instance_destroy(units->instances[there]), -PIOMMU_EBUSY);
    units_remove(units, device);
    assert_int_equal(spy_count(units->spy, there, SPY_RELEASE_ENDPOINT), 1);
    assert_int_equal(units_start(units, missing, late_config), 0);
    assert_int_equal(units->news_count, 0);
    assert_int_equal(spy_count(units->spy, missing, SPY_ADD_ENDPOINT), 0);
    units_close(units);
}

static void test_a_context_with_a_waiting_device_is_not_destroyed(void **state)
{
    struct units *units = units_open();
    unsigned int missing = units_prepare(units, options_of(state));
    const struct units_id ids[] = {{missing, 1}};
    const struct piommu_device_id place = {.instance = NULL, .key = ROOT_KEY, .id = 1};
    const struct piommu_device_config config = {.ids = &place, .id_count = 1, .name = "dma"};
    struct piommu_device *device;

    assert_int_equal(units_try_device(units, &config, ids, &device), 0);
    assert_int_equal(piommu_context_destroy(units->context), -PIOMMU_EBUSY);
    assert_int_equal(units_start(units, missing, late_config), 0);
    assert_false(units_waits(device));
    units_close(units);
}

/* What waits for the same instance is taken away while it is told. */
static void remove_the_other(struct units *units, struct piommu_instance *instance,
                             struct piommu_device *device, int error)
{
    (void)instance;
    assert_int_equal(error, 0);
    if (units->hook_data == NULL) {
        units->hook_data = device;
        for (unsigned int i = 0; i < units->device_count; i++) {
            struct piommu_device *other = units->devices[i].device;

            if (other != NULL && other != device) {
                units_remove(units, other);
            }
        }
    }
}

static void remove_itself(struct units *units, struct piommu_instance *instance,
                          struct piommu_device *device, int error)
{
    (void)instance;
    (void)error;
    units_remove(units, device);
}

static void test_the_news_of_a_device_may_remove_devices(void **state)
{
    static void (*const hooks[])(struct units *, struct piommu_instance *, struct piommu_device *,
                                 int) = {remove_the_other, remove_itself};

    for (unsigned int i = 0; i < 2; i++) {
        struct units *units = units_open();
        unsigned int there = units_add(units, options_of(state), "early");
        unsigned int missing = units_prepare(units, options_of(state));

        for (unsigned int j = 0; j < 3; j++) {
            (void)half_there(units, there, missing, 10 + 10 * j, "dma");
        }
        units->on_news = hooks[i];
        assert_int_equal(units_start(units, missing, late_config), 0);
        /* Who was removed is not told any more. */
        assert_int_equal(units->news_count, i == 0 ? 1 : 3);
        units_close(units);
    }
}

static void attach_and_add(struct units *units, struct piommu_instance *instance,
                           struct piommu_device *device, int error)
{
    (void)instance;
    assert_int_equal(error, 0);
    assert_int_equal(units_attach(units, device, units_domain(units, "A", 0, 2)), 0);
    (void)units_device_one(units, "another", 1, 40);
}

static void test_the_news_of_a_device_may_attach_it_and_add_others(void **state)
{
    struct units *units = units_open();
    unsigned int there = units_add(units, options_of(state), "early");
    unsigned int missing = units_prepare(units, options_of(state));
    struct piommu_device *device = half_there(units, there, missing, 5, "dma");

    units->on_news = attach_and_add;
    assert_int_equal(units_start(units, missing, late_config), 0);
    assert_true(units_is_in(units, device, units->domains[0]));
    assert_int_equal(units->device_count, 2);
    units_close(units);
}

/* The news of the first device makes the instance for which the second waits. */
static void make_the_next(struct units *units, struct piommu_instance *instance,
                          struct piommu_device *device, int error)
{
    const unsigned int *next = units->hook_data;

    (void)instance;
    assert_int_equal(error, 0);
    if (next != NULL && device == units->devices[0].device) {
        units->hook_data = NULL;
        assert_int_equal(
            units_start(units, *next,
                        (struct piommu_instance_config){.name = "next", .key = LEAF_KEY}),
            0);
    }
}

static void test_the_news_of_a_device_may_make_instances(void **state)
{
    struct units *units = units_open();
    unsigned int there = units_add(units, options_of(state), "early");
    unsigned int missing = units_prepare(units, options_of(state));
    unsigned int next = units_prepare(units, options_of(state));
    const struct units_id ids[] = {{missing, 50}, {next, 51}};
    const struct piommu_device_id places[] = {{.instance = NULL, .key = ROOT_KEY, .id = 50},
                                              {.instance = NULL, .key = LEAF_KEY, .id = 51}};
    const struct piommu_device_config config = {.ids = places, .id_count = 2, .name = "last"};
    struct piommu_device *first = half_there(units, there, missing, 5, "first");
    struct piommu_device *last;

    assert_int_equal(units_try_device(units, &config, ids, &last), 0);
    units->hook_data = &next;
    units->on_news = make_the_next;
    assert_int_equal(units_start(units, missing, late_config), 0);
    assert_false(units_waits(first));
    assert_false(units_waits(last));
    /* Each was told once. */
    assert_int_equal(units->news_count, 2);
    assert_ptr_not_equal(units->news[0].device, units->news[1].device);
    units_close(units);
}

static void test_a_device_whose_instance_could_not_be_started_is_not_complete(void **state)
{
    struct units *units = units_open();
    unsigned int child = units_add_keyed(units, options_of(state), "cache", CHILD_KEY, ROOT_KEY);
    const struct units_id ids[] = {{child, 1}};
    const struct piommu_device_id place = {.instance = NULL, .key = CHILD_KEY, .id = 1};
    const struct piommu_device_config config = {.ids = &place, .id_count = 1, .name = "dma"};
    struct piommu_device *device;

    assert_int_equal(units_try_device(units, &config, ids, &device), 0);
    spy_fail(units->spy, child, SPY_PROBE, 1, -PIOMMU_EIO);
    (void)units_add_keyed(units, options_of(state), "main", ROOT_KEY, 0);
    assert_int_equal(units_state(units, child), PIOMMU_INSTANCE_FAILED);
    assert_true(units_waits(device));
    for (unsigned int i = 0; i < units->news_count; i++) {
        assert_true(units->news[i].device == NULL || units->news[i].error == -PIOMMU_EFAILED);
    }
    units_remove(units, device);
    units_close(units);
}

static void test_a_device_is_complete_when_its_instance_comes_at_the_second_attempt(void **state)
{
    struct units *units = units_open();
    unsigned int there = units_add(units, options_of(state), "early");
    unsigned int missing = units_prepare(units, options_of(state));
    struct piommu_device *device = half_there(units, there, missing, 5, "dma");

    spy_fail(units->spy, missing, SPY_PROBE, 1, -PIOMMU_EIO);
    assert_int_equal(units_start(units, missing, late_config), -PIOMMU_EIO);
    assert_true(units_waits(device));
    assert_int_equal(units->news_count, 0);
    assert_int_equal(units_start(units, missing, late_config), 0);
    assert_false(units_waits(device));
    assert_int_equal(units->news_count, 1);
    assert_int_equal(units->news[0].error, 0);
    units_close(units);
}

static void test_many_devices_are_completed_by_one_instance(void **state)
{
    struct units *units = units_open();
    unsigned int there = units_add(units, options_of(state), "early");
    unsigned int missing = units_prepare(units, options_of(state));
    struct piommu_device *devices[8];

    for (uint32_t i = 0; i < 8; i++) {
        devices[i] = half_there(units, there, missing, 10 + 10 * i, "dma");
    }
    /* One that cannot be completed does not keep the others from it. */
    spy_fail(units->spy, missing, SPY_ADD_ENDPOINT, 3, -PIOMMU_ENOENT);
    assert_int_equal(units_start(units, missing, late_config), 0);
    assert_int_equal(units->news_count, 8);
    for (unsigned int i = 0; i < 8; i++) {
        unsigned int told = 0;

        for (unsigned int j = 0; j < 8; j++) {
            if (units->news[j].device == devices[i]) {
                told++;
                assert_int_equal(units_waits(devices[i]), units->news[j].error != 0);
            }
        }
        assert_int_equal(told, 1);
    }
    assert_int_equal(spy_count(units->spy, missing, SPY_ADD_ENDPOINT), 8);
    units_close(units);
}

static void test_a_waiting_device_joins_its_group_when_it_is_added(void **state)
{
    struct units *units = units_open();
    unsigned int there = units_add(units, options_of(state), "early");
    unsigned int missing = units_prepare(units, options_of(state));
    struct piommu_device *first = half_there(units, there, missing, 5, "first");
    struct piommu_device *second = half_there(units, there, missing, 15, "second");
    struct piommu_device *third;

    assert_ptr_not_equal(piommu_device_group(first), piommu_device_group(second));
    /* The IDs that they share are those of the instance that is not there. */
    third = units_device(units, "third", (const struct units_id[]){{there, 40}}, 1);
    {
        const struct units_id ids[] = {{missing, 6}, {missing, 16}};
        const struct piommu_device_id places[] = {{.instance = NULL, .key = ROOT_KEY, .id = 6},
                                                  {.instance = NULL, .key = ROOT_KEY, .id = 16}};
        const struct piommu_device_config config = {.ids = places, .id_count = 2, .name = "bridge"};
        struct piommu_device *bridge;

        assert_int_equal(units_try_device(units, &config, ids, &bridge), 0);
        assert_int_equal(units_start(units, missing, late_config), 0);
        assert_int_equal(units->news_count, 3);
        assert_ptr_equal(piommu_device_group(first), piommu_device_group(bridge));
        assert_ptr_equal(piommu_device_group(second), piommu_device_group(bridge));
    }
    assert_ptr_not_equal(piommu_device_group(third), piommu_device_group(first));
    /* Each ID is told to the hardware once. */
    assert_int_equal(spy_count(units->spy, missing, SPY_ADD_ENDPOINT), 2);
    assert_int_equal(units_attach(units, second, units_domain(units, "A", there, 2)), 0);
    assert_true(units_is_in(units, first, units->domains[0]));
    assert_true(units_is_in(units, third, NULL));
    units_close(units);
}

static uint32_t number_of_six_and_sixteen(uint32_t id)
{
    return id == 6 || id == 16 ? 9 : 0;
}

static void test_what_the_hardware_says_of_a_late_id_can_join_groups(void **state)
{
    struct units *units = units_open();
    struct spy_options grouping = *options_of(state);
    unsigned int there = units_add(units, options_of(state), "early");
    unsigned int missing;
    struct piommu_device *first;
    struct piommu_device *second;

    grouping.group = number_of_six_and_sixteen;
    missing = units_prepare(units, &grouping);
    first = half_there(units, there, missing, 5, "first");
    second = half_there(units, there, missing, 15, "second");
    assert_ptr_not_equal(piommu_device_group(first), piommu_device_group(second));
    assert_int_equal(units_start(units, missing, late_config), 0);
    assert_int_equal(units->news_count, 2);
    assert_int_equal(units->news[0].error, 0);
    assert_int_equal(units->news[1].error, 0);
    assert_ptr_equal(piommu_device_group(first), piommu_device_group(second));
    assert_int_equal(units_attach(units, first, units_domain(units, "A", there, 2)), 0);
    assert_true(units_is_in(units, second, units->domains[0]));
    units_close(units);
}

/* The first that is told enters a domain; the second would join its group. */
static void attach_the_first(struct units *units, struct piommu_instance *instance,
                             struct piommu_device *device, int error)
{
    (void)instance;
    (void)error;
    if (units->hook_data == NULL) {
        units->hook_data = device;
        (void)units_attach(units, device, units_domain(units, "A", 0, 2));
    }
}

static void test_a_completion_never_joins_a_group_that_is_attached(void **state)
{
    struct units *units = units_open();
    struct spy_options grouping = *options_of(state);
    unsigned int there = units_add(units, options_of(state), "early");
    unsigned int missing;

    grouping.group = number_of_six_and_sixteen;
    missing = units_prepare(units, &grouping);
    (void)half_there(units, there, missing, 5, "first");
    (void)half_there(units, there, missing, 15, "second");
    units->on_news = attach_the_first;
    assert_int_equal(units_start(units, missing, late_config), 0);
    /*
     * Whether both were complete before the first was told or not: they are in one group, and in
     * one domain, or the second is not complete.
     */
    for (unsigned int i = 0; i < 2; i++) {
        struct piommu_device *device = units->devices[i].device;

        assert_true(units_is_in(units, device, units_domain_of(device)));
        assert_true(units_waits(device) || units_domain_of(device) == units->domains[0]);
    }
    units_close(units);
}

static void test_a_completion_that_would_join_an_attached_group_is_refused(void **state)
{
    struct units *units = units_open();
    unsigned int there = units_add(units, options_of(state), "early");
    unsigned int missing = units_prepare(units, options_of(state));
    struct piommu_device *device = half_there(units, there, missing, 5, "waiting");
    struct piommu_device *owner;

    /* The instance comes, and in the news of it somebody takes the ID first. */
    units_remove(units, device);
    assert_int_equal(units_start(units, missing, late_config), 0);
    owner = units_device_one(units, "owner", missing, 6);
    assert_int_equal(units_attach(units, owner, units_domain(units, "A", missing, 1)), 0);
    {
        const struct units_id ids[] = {{there, 5}, {missing, 6}};
        const struct piommu_device_id places[] = {
            {.instance = units->instances[there], .key = 0, .id = 5},
            {.instance = NULL, .key = ROOT_KEY, .id = 6}};
        const struct piommu_device_config config = {.ids = places, .id_count = 2};

        assert_int_equal(units_try_device(units, &config, ids, &device), -PIOMMU_EBUSY);
    }
    assert_int_equal(spy_count(units->spy, there, SPY_ADD_ENDPOINT),
                     spy_count(units->spy, there, SPY_RELEASE_ENDPOINT));
    assert_true(units_is_in(units, owner, units->domains[0]));
    units_close(units);
}

static void test_a_group_with_a_waiting_member_cannot_be_attached(void **state)
{
    struct units *units = units_open();
    unsigned int there = units_add(units, options_of(state), "early");
    unsigned int missing = units_prepare(units, options_of(state));
    struct piommu_device *complete = units_device_one(units, "complete", there, 5);
    struct piommu_device *waiting = half_there(units, there, missing, 5, "waiting");
    struct piommu_domain *domain = units_domain(units, "A", there, 1);

    assert_ptr_equal(piommu_device_group(complete), piommu_device_group(waiting));
    assert_int_equal(units_attach(units, complete, domain), -PIOMMU_EWAITING);
    assert_int_equal(spy_count(units->spy, SPY_ANY, SPY_ATTACH), 0);
    assert_int_equal(units_start(units, missing, late_config), 0);
    assert_int_equal(units_attach(units, complete, domain), 0);
    assert_true(units_is_in(units, waiting, domain));
    units_close(units);
}

/* ---- IDs ---- */

static void test_a_device_has_ids_on_several_instances(void **state)
{
    static const struct units_id ids[] = {{0, 5}, {1, 5}, {1, 6}, {2, 7}};
    struct units *units = units_open();
    struct piommu_device *device;
    struct piommu_domain *domain;
    struct piommu_id_info info;

    for (unsigned int i = 0; i < 3; i++) {
        (void)units_add(units, options_of(state), "mmu");
    }
    device = units_device(units, "dma", ids, 4);
    domain = units_domain(units, "A", 0, 3);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(piommu_device_get_id(device, i, &info), 0);
        assert_ptr_equal(info.instance, units->instances[ids[i].unit]);
        assert_int_equal(info.id, ids[i].id);
        assert_int_equal(info.state, PIOMMU_ID_BLOCKED);
    }
    assert_int_equal(piommu_device_get_id(device, 4, &info), -PIOMMU_ENOENT);
    assert_int_equal(piommu_device_get_id(device, 0, NULL), -PIOMMU_EINVAL);
    assert_int_equal(piommu_device_get_id(NULL, 0, &info), -PIOMMU_EINVAL);
    assert_true(units_is_in(units, device, NULL));
    assert_int_equal(units_attach(units, device, domain), 0);
    assert_true(units_is_in(units, device, domain));
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(units_id_state(device, i), PIOMMU_ID_ATTACHED);
    }
    for (unsigned int i = 0; i < 3; i++) {
        assert_int_equal(piommu_instance_destroy(units->instances[i]), -PIOMMU_EBUSY);
    }
    units_detach(units, device);
    assert_true(units_is_in(units, device, NULL));
    assert_int_equal(units_id_state(device, 3), PIOMMU_ID_BLOCKED);
    units_close(units);
}

static void test_the_same_number_on_another_instance_is_another_id(void **state)
{
    struct units *units = units_open();
    struct piommu_device *first;
    struct piommu_device *second;

    (void)units_add(units, options_of(state), "mmu0");
    (void)units_add(units, options_of(state), "mmu1");
    first = units_device_one(units, "first", 0, 5);
    second = units_device_one(units, "second", 1, 5);
    assert_ptr_not_equal(piommu_device_group(first), piommu_device_group(second));
    assert_int_equal(units_attach(units, first, units_domain(units, "A", 0, 1)), 0);
    assert_true(units_is_in(units, second, NULL));
    units_close(units);
}

static void test_bad_ids_are_refused_and_leave_nothing_behind(void **state)
{
    struct units *units = units_open();
    unsigned int unit = units_add_keyed(units, options_of(state), "mmu", ROOT_KEY, 0);
    struct piommu_instance *here = units->instances[unit];
    struct piommu_device_id many[PIOMMU_DEVICE_MAX_IDS + 1];
    const struct {
        struct piommu_device_id ids[3];
        size_t count;
        int error;
    } cases[] = {
        {{{here, 0, 1}, {here, 0, 2}, {here, 0, 1}}, 3, -PIOMMU_EINVAL},
        {{{here, 0, 1}, {NULL, ROOT_KEY, 1}}, 2, -PIOMMU_EINVAL},
        {{{NULL, LEAF_KEY, 1}, {NULL, LEAF_KEY, 1}}, 2, -PIOMMU_EINVAL},
        {{{here, 0, 1}, {NULL, 0, 2}}, 2, -PIOMMU_EINVAL},
        {{{here, 0, 1}, {here, 0, MOCK_ID_LIMIT}}, 2, -PIOMMU_ENOENT},
        {{{here, 0, 1}}, 0, -PIOMMU_EINVAL},
    };
    struct piommu_device_config config = {.ids = many, .id_count = PIOMMU_DEVICE_MAX_IDS + 1};
    uint64_t bytes = fake_os_bytes_outstanding(units->os);
    struct piommu_device *device;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct piommu_device_config bad = {.ids = cases[i].ids, .id_count = cases[i].count};

        assert_int_equal(piommu_device_add(units->context, &bad, &device), cases[i].error);
        assert_int_equal(fake_os_bytes_outstanding(units->os), bytes);
    }
    for (uint32_t i = 0; i <= PIOMMU_DEVICE_MAX_IDS; i++) {
        many[i] = (struct piommu_device_id){.instance = here, .key = 0, .id = i};
    }
    assert_int_equal(piommu_device_add(units->context, &config, &device), -PIOMMU_EINVAL);
    config.id_count = 1;
    config.ids = NULL;
    assert_int_equal(piommu_device_add(units->context, &config, &device), -PIOMMU_EINVAL);
    config.ids = many;
    assert_int_equal(piommu_device_add(NULL, &config, &device), -PIOMMU_EINVAL);
    assert_int_equal(piommu_device_add(units->context, &config, NULL), -PIOMMU_EINVAL);
    assert_int_equal(piommu_device_add(units->context, NULL, &device), -PIOMMU_EINVAL);
    assert_int_equal(fake_os_bytes_outstanding(units->os), bytes);
    units_close(units);
}

static void test_a_device_can_have_the_most_ids(void **state)
{
    struct units *units = units_open();
    unsigned int unit = units_add(units, options_of(state), "mmu");
    struct units_id ids[PIOMMU_DEVICE_MAX_IDS];
    struct piommu_device *device;
    struct piommu_domain *domain;

    for (uint32_t i = 0; i < PIOMMU_DEVICE_MAX_IDS; i++) {
        ids[i] = (struct units_id){unit, 2 * i};
    }
    device = units_device(units, "wide", ids, PIOMMU_DEVICE_MAX_IDS);
    domain = units_domain(units, "A", unit, 1);
    assert_int_equal(units_attach(units, device, domain), 0);
    assert_true(units_is_in(units, device, domain));
    units_close(units);
}

static void test_an_instance_of_another_context_is_refused(void **state)
{
    struct units *units = units_open();
    unsigned int here = units_add(units, options_of(state), "here");
    unsigned int there = units_prepare(units, options_of(state));
    struct piommu_context *other;
    struct piommu_instance *foreign;
    struct piommu_device_id places[] = {{.instance = units->instances[here], .key = 0, .id = 1},
                                        {.instance = NULL, .key = 0, .id = 2}};
    struct piommu_device_config config = {.ids = places, .id_count = 2};
    struct piommu_instance_config keyed = {.name = "there", .key = ROOT_KEY};
    struct piommu_device *device;

    assert_int_equal(piommu_context_create(fake_os_host(units->os), NULL, &other), 0);
    assert_int_equal(piommu_instance_create(other, spy_backend(units->spy, there),
                                            spy_config(units->spy, there), &keyed, &foreign),
                     0);
    places[1].instance = foreign;
    assert_int_equal(piommu_device_add(units->context, &config, &device), -PIOMMU_EMIXED);
    assert_int_equal(spy_count(units->spy, here, SPY_ADD_ENDPOINT),
                     spy_count(units->spy, here, SPY_RELEASE_ENDPOINT));
    /* Keys are of one context, too. */
    (void)units_add_keyed(units, options_of(state), "same key", ROOT_KEY, 0);
    assert_int_equal(piommu_instance_destroy(foreign), 0);
    assert_int_equal(piommu_context_destroy(other), 0);
    units_close(units);
}

static void test_a_device_that_fails_at_one_id_is_not_added(void **state)
{
    static const struct units_id ids[] = {{0, 5}, {1, 5}, {1, 6}, {0, 7}};

    for (unsigned int k = 0; k < 4; k++) {
        struct units *units = units_open();
        struct piommu_device_id places[4];
        const struct piommu_device_config config = {.ids = places, .id_count = 4};
        struct piommu_device *device = NULL;
        uint64_t bytes;

        (void)units_add(units, options_of(state), "mmu0");
        (void)units_add(units, options_of(state), "mmu1");
        for (unsigned int i = 0; i < 4; i++) {
            places[i] = (struct piommu_device_id){
                .instance = units->instances[ids[i].unit], .key = 0, .id = ids[i].id};
        }
        bytes = fake_os_bytes_outstanding(units->os);
        spy_fail(units->spy, ids[k].unit, SPY_ADD_ENDPOINT, k == 0 || k == 1 ? 1 : 2, -PIOMMU_EIO);
        assert_int_equal(units_try_device(units, &config, ids, &device), -PIOMMU_EIO);
        assert_null(device);
        assert_int_equal(fake_os_bytes_outstanding(units->os), bytes);
        assert_int_equal(spy_count(units->spy, SPY_ANY, SPY_ADD_ENDPOINT),
                         spy_count(units->spy, SPY_ANY, SPY_RELEASE_ENDPOINT) + 1);
        /* The same again works. */
        assert_int_equal(units_try_device(units, &config, ids, &device), 0);
        units_close(units);
    }
}

static void test_what_was_told_of_a_device_is_known(void **state)
{
    struct units *units = units_open();
    unsigned int unit = units_add(units, options_of(state), "mmu");
    const struct piommu_device_id place = {.instance = units->instances[unit], .key = 0, .id = 9};
    const struct units_id ids[] = {{unit, 9}};
    const struct piommu_device_config config = {
        .ids = &place, .id_count = 1, .untrusted = true, .name = "stick", .owner = &units->log};
    struct piommu_device *device;
    struct piommu_device_info info;

    assert_int_equal(units_try_device(units, &config, ids, &device), 0);
    piommu_device_get_info(device, &info);
    assert_string_equal(info.name, "stick");
    assert_ptr_equal(info.owner, &units->log);
    assert_true(info.untrusted);
    assert_false(info.waiting);
    assert_false(info.fault_blocked);
    assert_int_equal(info.id_count, 1);
    assert_ptr_equal(info.group, piommu_device_group(device));
    assert_null(info.domain);
    units_close(units);
}

static void test_a_device_that_was_removed_comes_back_blocked(void **state)
{
    struct units *units = units_open();
    unsigned int unit = units_add(units, options_of(state), "mmu");
    struct piommu_device *device = units_device_one(units, "dma", unit, 5);
    struct piommu_domain *domain = units_domain(units, "A", unit, 1);

    for (unsigned int round = 0; round < 4; round++) {
        assert_true(units_is_in(units, device, NULL));
        assert_int_equal(units_attach(units, device, domain), 0);
        assert_true(units_is_in(units, device, domain));
        assert_int_equal(piommu_device_remove(device), -PIOMMU_EBUSY);
        assert_true(units_is_in(units, device, domain));
        units_detach(units, device);
        units_remove(units, device);
        assert_true(units_id_is_in(units, unit, 5, NULL));
        device = units_device_one(units, "dma", unit, 5);
    }
    units_close(units);
}

/* ---- Reserved regions ---- */

static void test_regions_are_told_from_the_host_first(void **state)
{
    struct units *units = units_open();
    struct spy_options options = *options_of(state);
    struct piommu_reserved_region known[2] = {
        {.range = {0x8000000, 0x8000fff}, .kind = PIOMMU_RESERVED},
        {.range = {0x9000000, 0x900ffff}, .kind = PIOMMU_RESERVED_MSI}};
    struct piommu_device_config config = {
        .id_count = 1, .regions = known, .region_count = 2, .name = "dma"};
    struct piommu_device_id place = {.instance = NULL, .key = 0, .id = 5};
    struct piommu_reserved_region region;
    struct piommu_device *device;
    unsigned int unit;

    options.region = (struct piommu_reserved_region){.range = {0xfee00000, 0xfeefffff},
                                                     .kind = PIOMMU_RESERVED_MSI};
    options.region_id = 5;
    unit = units_add(units, &options, "mmu");
    place.instance = units->instances[unit];
    config.ids = &place;
    assert_int_equal(
        units_try_device(units, &config, (const struct units_id[]){{unit, 5}}, &device), 0);
    /* They were copied. */
    memset(known, 0xff, sizeof(known));
    assert_int_equal(piommu_device_reserved_region(device, 0, &region), 0);
    assert_int_equal(region.range.first, 0x8000000);
    assert_int_equal(region.range.last, 0x8000fff);
    assert_int_equal(region.kind, PIOMMU_RESERVED);
    assert_int_equal(piommu_device_reserved_region(device, 1, &region), 0);
    assert_int_equal(region.range.first, 0x9000000);
    assert_int_equal(region.kind, PIOMMU_RESERVED_MSI);
    assert_int_equal(piommu_device_reserved_region(device, 2, &region), 0);
    assert_int_equal(region.range.first, 0xfee00000);
    assert_int_equal(region.range.last, 0xfeefffff);
    assert_int_equal(region.kind, PIOMMU_RESERVED_MSI);
    assert_int_equal(piommu_device_reserved_region(device, 3, &region), -PIOMMU_ENOENT);
    assert_int_equal(piommu_device_reserved_region(device, 0, NULL), -PIOMMU_EINVAL);
    assert_int_equal(piommu_device_reserved_region(NULL, 0, &region), -PIOMMU_EINVAL);
    units_close(units);
}

static void test_regions_of_the_host_keep_mappings_out(void **state)
{
    struct units *units = units_open();
    unsigned int unit = units_add(units, options_of(state), "mmu");
    const struct piommu_reserved_region known = {.range = {0x8000000, 0x8000fff},
                                                 .kind = PIOMMU_RESERVED};
    const struct piommu_device_id place = {.instance = units->instances[unit], .key = 0, .id = 5};
    const struct piommu_device_config config = {
        .ids = &place, .id_count = 1, .regions = &known, .region_count = 1};
    struct piommu_domain *domain = units_domain(units, "A", unit, 1);
    struct piommu_device *device;

    assert_int_equal(
        units_try_device(units, &config, (const struct units_id[]){{unit, 5}}, &device), 0);
    assert_int_equal(piommu_domain_map(domain, 0x8000000, 0x1000000, PAGE, RW), 0);
    assert_int_equal(units_attach(units, device, domain), -PIOMMU_ERESERVED);
    units_unmap(domain, 0x8000000, PAGE);
    assert_int_equal(units_attach(units, device, domain), 0);
    assert_int_equal(piommu_domain_map(domain, 0x8000000, 0x1000000, PAGE, RW), -PIOMMU_ERESERVED);
    assert_true(units_is_in(units, device, domain));
    units_close(units);
}

static void test_regions_of_a_member_that_was_removed_are_free_again(void **state)
{
    struct units *units = units_open();
    unsigned int unit = units_add(units, options_of(state), "mmu");
    const struct piommu_reserved_region known = {.range = {0x8000000, 0x8000fff},
                                                 .kind = PIOMMU_RESERVED};
    const struct piommu_device_id place = {.instance = units->instances[unit], .key = 0, .id = 6};
    const struct piommu_device_config config = {
        .ids = &place, .id_count = 1, .regions = &known, .region_count = 1, .group_key = 42};
    struct piommu_device_config plain = config;
    const struct piommu_device_id other = {.instance = units->instances[unit], .key = 0, .id = 5};
    struct piommu_domain *domain = units_domain(units, "A", unit, 1);
    struct piommu_device *stays;
    struct piommu_device *leaves;

    plain.ids = &other;
    plain.region_count = 0;
    assert_int_equal(units_try_device(units, &plain, (const struct units_id[]){{unit, 5}}, &stays),
                     0);
    assert_int_equal(
        units_try_device(units, &config, (const struct units_id[]){{unit, 6}}, &leaves), 0);
    assert_int_equal(units_attach(units, stays, domain), 0);
    assert_int_equal(piommu_domain_map(domain, 0x8000000, 0x1000000, PAGE, RW), -PIOMMU_ERESERVED);
    units->granted[unit][6] = 0;
    units->anything_goes = true;
    units_remove(units, leaves);
    units->anything_goes = false;
    assert_true(units_id_is_in(units, unit, 6, NULL));
    assert_true(units_is_in(units, stays, domain));
    assert_int_equal(piommu_domain_map(domain, 0x8000000, 0x1000000, PAGE, RW), 0);
    units_close(units);
}

static void test_regions_that_the_hardware_cannot_have_keep_the_device_out(void **state)
{
    struct units *units = units_open();
    struct spy_options reversed = *options_of(state);
    struct spy_options many = *options_of(state);
    struct spy_options most = *options_of(state);
    struct piommu_device_id place = {.instance = NULL, .key = 0, .id = 5};
    const struct piommu_device_config config = {.ids = &place, .id_count = 1};
    struct piommu_reserved_region region;
    struct piommu_device *device;
    uint64_t bytes;

    reversed.region =
        (struct piommu_reserved_region){.range = {0x2000, 0x1fff}, .kind = PIOMMU_RESERVED};
    reversed.region_id = 5;
    many.many_regions = 257;
    most.many_regions = 256;
    (void)units_add(units, &reversed, "reversed");
    (void)units_add(units, &many, "many");
    (void)units_add(units, &most, "most");
    bytes = fake_os_bytes_outstanding(units->os);
    place.instance = units->instances[0];
    assert_int_not_equal(piommu_device_add(units->context, &config, &device), 0);
    place.instance = units->instances[1];
    assert_int_equal(piommu_device_add(units->context, &config, &device), -PIOMMU_EBADMSG);
    assert_int_equal(fake_os_bytes_outstanding(units->os), bytes);
    place.instance = units->instances[2];
    assert_int_equal(units_try_device(units, &config, (const struct units_id[]){{2, 5}}, &device),
                     0);
    assert_int_equal(piommu_device_reserved_region(device, 255, &region), 0);
    assert_int_equal(region.range.first, 0x100000000ull + 255 * 0x2000ull);
    assert_int_equal(piommu_device_reserved_region(device, 256, &region), -PIOMMU_ENOENT);
    units_close(units);
}

static void test_no_more_regions_are_taken_than_there_may_be(void **state)
{
    static struct piommu_reserved_region many[PIOMMU_DEVICE_MAX_REGIONS + 1];
    struct units *units = units_open();
    unsigned int unit = units_add(units, options_of(state), "mmu");
    const struct piommu_device_id place = {.instance = units->instances[unit], .key = 0, .id = 5};
    struct piommu_device_config config = {.ids = &place,
                                          .id_count = 1,
                                          .regions = many,
                                          .region_count = PIOMMU_DEVICE_MAX_REGIONS + 1};
    struct piommu_reserved_region region;
    struct piommu_device *device;

    for (uint64_t i = 0; i <= PIOMMU_DEVICE_MAX_REGIONS; i++) {
        many[i] = (struct piommu_reserved_region){
            .range = {0x8000000 + 2 * i * PAGE, 0x8000fff + 2 * i * PAGE}, .kind = PIOMMU_RESERVED};
    }
    assert_int_equal(piommu_device_add(units->context, &config, &device), -PIOMMU_EINVAL);
    config.region_count = PIOMMU_DEVICE_MAX_REGIONS;
    assert_int_equal(
        units_try_device(units, &config, (const struct units_id[]){{unit, 5}}, &device), 0);
    for (size_t i = 0; i < PIOMMU_DEVICE_MAX_REGIONS; i++) {
        assert_int_equal(piommu_device_reserved_region(device, i, &region), 0);
        assert_int_equal(region.range.first, many[i].range.first);
    }
    assert_int_equal(piommu_device_reserved_region(device, PIOMMU_DEVICE_MAX_REGIONS, &region),
                     -PIOMMU_ENOENT);
    units_close(units);
}

static void test_a_region_that_is_reversed_is_refused(void **state)
{
    struct units *units = units_open();
    unsigned int unit = units_add(units, options_of(state), "mmu");
    const struct piommu_reserved_region reversed = {.range = {0x8001000, 0x8000fff},
                                                    .kind = PIOMMU_RESERVED};
    const struct piommu_device_id place = {.instance = units->instances[unit], .key = 0, .id = 5};
    struct piommu_device_config config = {
        .ids = &place, .id_count = 1, .regions = &reversed, .region_count = 1};
    uint64_t bytes = fake_os_bytes_outstanding(units->os);
    struct piommu_device *device;

    assert_int_equal(piommu_device_add(units->context, &config, &device), -PIOMMU_EINVAL);
    config.region_count = SIZE_MAX;
    assert_int_equal(piommu_device_add(units->context, &config, &device), -PIOMMU_EINVAL);
    config.regions = NULL;
    config.region_count = 1;
    assert_int_equal(piommu_device_add(units->context, &config, &device), -PIOMMU_EINVAL);
    config.region_count = 0;
    config.id_count = SIZE_MAX;
    assert_int_equal(piommu_device_add(units->context, &config, &device), -PIOMMU_EINVAL);
    assert_int_equal(fake_os_bytes_outstanding(units->os), bytes);
    units_close(units);
}

/* ---- Groups ---- */

static void test_devices_that_share_an_id_form_a_group(void **state)
{
    struct units *units = units_open();
    unsigned int unit = units_add_keyed(units, options_of(state), "mmu", ROOT_KEY, 0);
    struct piommu_device *first =
        units_device(units, "first", (const struct units_id[]){{unit, 1}, {unit, 2}}, 2);
    struct piommu_device *other = units_device_one(units, "other", unit, 4);
    /* Whether the instance is named by its key makes no difference. */
    const struct piommu_device_id places[] = {{.instance = NULL, .key = ROOT_KEY, .id = 2},
                                              {.instance = NULL, .key = ROOT_KEY, .id = 3}};
    const struct piommu_device_config config = {.ids = places, .id_count = 2, .name = "second"};
    struct piommu_device *second;
    struct piommu_domain *domain = units_domain(units, "A", unit, 1);

    assert_int_equal(
        units_try_device(units, &config, (const struct units_id[]){{unit, 2}, {unit, 3}}, &second),
        0);
    assert_ptr_equal(piommu_device_group(first), piommu_device_group(second));
    assert_ptr_not_equal(piommu_device_group(first), piommu_device_group(other));
    /* The hardware is told of each ID once. */
    assert_int_equal(spy_count(units->spy, unit, SPY_ADD_ENDPOINT), 4);
    spy_forget(units->spy);
    assert_int_equal(units_attach(units, second, domain), 0);
    assert_int_equal(spy_count(units->spy, unit, SPY_ATTACH), 3);
    assert_true(units_is_in(units, first, domain));
    assert_true(units_is_in(units, second, domain));
    assert_true(units_is_in(units, other, NULL));

    /* Who leaves takes along the IDs that nobody else has; the group stays what it was. */
    {
        struct piommu_group *group = piommu_device_group(first);

        units->granted[unit][3] = 0;
        units_remove(units, second);
        assert_ptr_equal(piommu_device_group(first), group);
    }
    assert_true(units_is_in(units, first, domain));
    assert_true(units_id_is_in(units, unit, 3, NULL));
    assert_int_equal(piommu_device_remove(first), -PIOMMU_EBUSY);
    units_close(units);
}

static uint32_t number_of_low_ids(uint32_t id)
{
    return id < 10 ? 77 : 0;
}

static void test_what_the_hardware_cannot_tell_apart_is_a_group(void **state)
{
    struct units *units = units_open();
    struct spy_options options = *options_of(state);
    struct piommu_device *first;
    struct piommu_device *second;
    struct piommu_device *beyond;
    struct piommu_device *elsewhere;

    options.group = number_of_low_ids;
    (void)units_add(units, &options, "mmu0");
    (void)units_add(units, &options, "mmu1");
    first = units_device_one(units, "first", 0, 1);
    second = units_device_one(units, "second", 0, 9);
    beyond = units_device_one(units, "beyond", 0, 10);
    elsewhere = units_device_one(units, "elsewhere", 1, 1);
    assert_ptr_equal(piommu_device_group(first), piommu_device_group(second));
    /* Without a number, or with the same one of another unit, it is not. */
    assert_ptr_not_equal(piommu_device_group(first), piommu_device_group(beyond));
    assert_ptr_not_equal(piommu_device_group(first), piommu_device_group(elsewhere));
    assert_int_equal(piommu_device_attach(first, units_domain(units, "A", 0, 1)), -PIOMMU_EGROUP);
    assert_int_equal(units_attach(units, first, units->domains[0]), 0);
    assert_true(units_is_in(units, second, units->domains[0]));
    assert_true(units_is_in(units, beyond, NULL));
    units_close(units);
}

static int add_with_group_key(struct units *units, unsigned int unit, uint32_t id,
                              uint64_t group_key, struct piommu_device **device)
{
    const struct piommu_device_id place = {.instance = units->instances[unit], .key = 0, .id = id};
    const struct units_id ids[] = {{unit, id}};
    const struct piommu_device_config config = {
        .ids = &place, .id_count = 1, .group_key = group_key, .name = "keyed"};

    return units_try_device(units, &config, ids, device);
}

static void test_devices_with_one_group_key_are_a_group_on_all_instances(void **state)
{
    struct units *units = units_open();
    struct piommu_device *devices[4];
    struct piommu_domain *domain;

    (void)units_add(units, options_of(state), "mmu0");
    (void)units_add(units, options_of(state), "mmu1");
    assert_int_equal(add_with_group_key(units, 0, 1, 42, &devices[0]), 0);
    assert_int_equal(add_with_group_key(units, 1, 2, 42, &devices[1]), 0);
    assert_int_equal(add_with_group_key(units, 1, 3, 43, &devices[2]), 0);
    assert_int_equal(add_with_group_key(units, 1, 4, 0, &devices[3]), 0);
    assert_ptr_equal(piommu_device_group(devices[0]), piommu_device_group(devices[1]));
    assert_ptr_not_equal(piommu_device_group(devices[0]), piommu_device_group(devices[2]));
    assert_ptr_not_equal(piommu_device_group(devices[2]), piommu_device_group(devices[3]));
    domain = units_domain(units, "A", 0, 2);
    assert_int_equal(units_attach(units, devices[1], domain), 0);
    assert_true(units_is_in(units, devices[0], domain));
    assert_true(units_is_in(units, devices[2], NULL));
    /* Who comes later has to wait until they are blocked. */
    {
        struct piommu_device *late;

        assert_int_equal(add_with_group_key(units, 0, 7, 42, &late), -PIOMMU_EBUSY);
        units_detach(units, devices[0]);
        assert_int_equal(add_with_group_key(units, 0, 7, 42, &late), 0);
        assert_ptr_equal(piommu_device_group(late), piommu_device_group(devices[1]));
    }
    units_close(units);
}

/* Three groups that one device connects: by an ID, by a number of the hardware, by its key. */
struct three_groups {
    struct units *units;
    struct piommu_device *by_id;
    struct piommu_device *by_number;
    struct piommu_device *by_key;
};

static int connect_groups(struct three_groups *three, struct piommu_device **device)
{
    const struct units_id ids[] = {{0, 20}, {1, 5}, {0, 30}};
    const struct piommu_device_id places[] = {
        {.instance = three->units->instances[0], .key = 0, .id = 20},
        {.instance = three->units->instances[1], .key = 0, .id = 5},
        {.instance = three->units->instances[0], .key = 0, .id = 30}};
    const struct piommu_device_config config = {
        .ids = places, .id_count = 3, .group_key = 42, .name = "bridge"};

    return units_try_device(three->units, &config, ids, device);
}

static struct three_groups open_three_groups(const struct spy_options *given)
{
    struct three_groups three = {.units = units_open()};
    struct spy_options options = *given;

    options.group = number_of_low_ids;
    (void)units_add(three.units, &options, "mmu0");
    (void)units_add(three.units, &options, "mmu1");
    three.by_id =
        units_device(three.units, "by ID", (const struct units_id[]){{0, 20}, {0, 21}}, 2);
    three.by_number = units_device_one(three.units, "by number", 1, 1);
    assert_int_equal(add_with_group_key(three.units, 1, 50, 42, &three.by_key), 0);
    assert_ptr_not_equal(piommu_device_group(three.by_id), piommu_device_group(three.by_number));
    assert_ptr_not_equal(piommu_device_group(three.by_id), piommu_device_group(three.by_key));
    assert_ptr_not_equal(piommu_device_group(three.by_number), piommu_device_group(three.by_key));
    return three;
}

static void test_groups_that_a_device_connects_become_one(void **state)
{
    struct three_groups three = open_three_groups(options_of(state));
    struct piommu_domain *domain = units_domain(three.units, "A", 0, 2);
    struct piommu_group *group;
    struct piommu_device *bridge;

    assert_int_equal(connect_groups(&three, &bridge), 0);
    group = piommu_device_group(bridge);
    assert_ptr_equal(piommu_device_group(three.by_id), group);
    assert_ptr_equal(piommu_device_group(three.by_number), group);
    assert_ptr_equal(piommu_device_group(three.by_key), group);
    assert_int_equal(units_attach(three.units, three.by_key, domain), 0);
    for (unsigned int i = 0; i < three.units->device_count; i++) {
        assert_true(units_is_in(three.units, three.units->devices[i].device, domain));
        assert_ptr_equal(units_domain_of(three.units->devices[i].device), domain);
    }
    units_close(three.units);
}

static void test_a_device_cannot_join_a_group_that_is_attached(void **state)
{
    for (unsigned int attached = 0; attached < 3; attached++) {
        struct three_groups three = open_three_groups(options_of(state));
        struct piommu_domain *domain = units_domain(three.units, "A", 0, 2);
        struct piommu_device *const members[] = {three.by_id, three.by_number, three.by_key};
        struct piommu_group *groups[3];
        struct piommu_device *bridge = NULL;
        uint64_t bytes;

        assert_int_equal(units_attach(three.units, members[attached], domain), 0);
        for (unsigned int i = 0; i < 3; i++) {
            groups[i] = piommu_device_group(members[i]);
        }
        bytes = fake_os_bytes_outstanding(three.units->os);
        assert_int_equal(connect_groups(&three, &bridge), -PIOMMU_EBUSY);
        assert_null(bridge);
        assert_int_equal(fake_os_bytes_outstanding(three.units->os), bytes);
        for (unsigned int i = 0; i < 3; i++) {
            assert_ptr_equal(piommu_device_group(members[i]), groups[i]);
            assert_true(units_is_in(three.units, members[i], i == attached ? domain : NULL));
        }
        /* They are as apart as before. */
        units_detach(three.units, members[attached]);
        assert_int_equal(units_attach(three.units, members[0], domain), 0);
        assert_true(units_is_in(three.units, members[1], NULL));
        assert_true(units_is_in(three.units, members[2], NULL));
        units_close(three.units);
    }
}

static void test_joining_groups_without_memory_leaves_them_apart(void **state)
{
    bool complete = false;
    unsigned int failures = 0;

    for (unsigned int nth = 1; !complete; nth++) {
        struct three_groups three = open_three_groups(options_of(state));
        struct piommu_device *const members[] = {three.by_id, three.by_number, three.by_key};
        struct piommu_group *groups[3];
        struct piommu_device *bridge = NULL;
        uint64_t bytes = fake_os_bytes_outstanding(three.units->os);
        int error;

        for (unsigned int i = 0; i < 3; i++) {
            groups[i] = piommu_device_group(members[i]);
        }
        fake_os_fail_call(three.units->os, nth, false);
        error = connect_groups(&three, &bridge);
        fake_os_fail_call(three.units->os, 0, false);
        if (error != 0) {
            assert_int_equal(error, -PIOMMU_ENOMEM);
            assert_null(bridge);
            assert_int_equal(fake_os_bytes_outstanding(three.units->os), bytes);
            for (unsigned int i = 0; i < 3; i++) {
                assert_ptr_equal(piommu_device_group(members[i]), groups[i]);
            }
            failures++;
        }
        complete = error == 0;
        units_close(three.units);
        assert_true(nth < 100);
    }
    assert_true(failures >= 1);
}

static void test_a_group_is_never_split(void **state)
{
    struct units *units = units_open();
    unsigned int unit = units_add(units, options_of(state), "mmu");
    struct piommu_device *first =
        units_device(units, "first", (const struct units_id[]){{unit, 1}, {unit, 2}}, 2);
    struct piommu_device *second = units_device_one(units, "second", unit, 2);
    struct piommu_domain *a = units_domain(units, "A", unit, 1);
    struct piommu_domain *b = units_domain(units, "B", unit, 1);
    struct piommu_domain *const places[] = {NULL, a};

    for (unsigned int i = 0; i < 2; i++) {
        if (places[i] != NULL) {
            assert_int_equal(units_attach(units, first, places[i]), 0);
        }
        spy_forget(units->spy);
        assert_int_equal(piommu_device_attach(first, b), -PIOMMU_EGROUP);
        assert_int_equal(piommu_device_attach(second, b), -PIOMMU_EGROUP);
        assert_int_equal(piommu_device_attach(second, a), -PIOMMU_EGROUP);
        assert_int_equal(piommu_device_detach(first), -PIOMMU_EGROUP);
        assert_int_equal(piommu_device_detach(second), -PIOMMU_EGROUP);
        assert_int_equal(spy_calls(units->spy, SPY_ANY), 0);
        assert_true(units_is_in(units, first, places[i]));
        assert_true(units_is_in(units, second, places[i]));
    }
    /* Alone it may do as it likes. */
    units_detach(units, first);
    units_remove(units, second);
    units_grant(units, first, a);
    assert_int_equal(piommu_device_attach(first, a), 0);
    assert_int_equal(piommu_device_detach(first), 0);
    units_grant(units, first, NULL);
    units_close(units);
}

static void test_a_member_that_was_removed_can_come_back(void **state)
{
    struct units *units = units_open();
    unsigned int unit = units_add(units, options_of(state), "mmu");
    struct piommu_device *first = units_device_one(units, "first", unit, 1);
    struct piommu_device *second =
        units_device(units, "second", (const struct units_id[]){{unit, 1}, {unit, 2}}, 2);
    struct piommu_device *third = units_device_one(units, "third", unit, 2);

    assert_ptr_equal(piommu_device_group(first), piommu_device_group(third));
    units_remove(units, second);
    units_remove(units, first);
    first = units_device_one(units, "first", unit, 1);
    second = units_device(units, "second", (const struct units_id[]){{unit, 1}, {unit, 2}}, 2);
    assert_ptr_equal(piommu_device_group(first), piommu_device_group(second));
    assert_ptr_equal(piommu_device_group(third), piommu_device_group(second));
    assert_int_equal(units_attach(units, second, units_domain(units, "A", unit, 1)), 0);
    assert_true(units_is_in(units, first, units->domains[0]));
    assert_true(units_is_in(units, third, units->domains[0]));
    units_close(units);
}

/* ---- The domain that the host chooses ---- */

static void test_a_new_device_is_in_the_domain_that_the_host_chooses(void **state)
{
    struct units *units = units_open();
    unsigned int unit = units_add(units, options_of(state), "mmu");
    struct piommu_domain *domain = units_domain(units, "A", unit, 1);
    struct piommu_device *device;

    units->chosen = domain;
    units->granted[unit][5] = 1u;
    device = units_device_one(units, "dma", unit, 5);
    assert_int_equal(units->choices, 1);
    assert_ptr_equal(units->asked, device);
    assert_ptr_equal(units_domain_of(device), domain);
    assert_true(units_is_in(units, device, domain));
    units->chosen = NULL;
    device = units_device_one(units, "other", unit, 6);
    assert_int_equal(units->choices, 2);
    assert_null(units_domain_of(device));
    assert_true(units_is_in(units, device, NULL));
    units_close(units);
}

static void test_the_host_is_asked_for_the_first_of_a_group_only(void **state)
{
    struct units *units = units_open();
    unsigned int unit = units_add(units, options_of(state), "mmu");
    struct piommu_device *first = units_device_one(units, "first", unit, 5);
    struct piommu_device *second;

    assert_int_equal(units->choices, 1);
    units->chosen = units_domain(units, "A", unit, 1);
    second = units_device_one(units, "second", unit, 5);
    assert_int_equal(units->choices, 1);
    assert_true(units_is_in(units, first, NULL));
    assert_true(units_is_in(units, second, NULL));
    units_close(units);
}

/* All trusted devices in one domain, which is made when it is needed first. */
static struct piommu_domain *one_for_all(struct units *units, const struct piommu_device *device)
{
    struct piommu_device_info info;

    piommu_device_get_info(device, &info);
    if (info.untrusted) {
        return NULL;
    }
    if (units->domain_count == 0) {
        struct piommu_domain_config config = {.type = PIOMMU_DOMAIN_DMA,
                                              .instances = &units->instances[0],
                                              .instance_count = 1,
                                              .name = "host"};
        struct piommu_domain *domain;

        assert_int_equal(units_try_domain(units, &config, &domain), 0);
        units_fill(units, domain);
    }
    for (uint32_t id = 0; id < 10; id++) {
        units->granted[0][id] = 1u;
    }
    return units->domains[0];
}

static void test_trusted_devices_share_a_domain_when_contexts_are_scarce(void **state)
{
    struct units *units = units_open();
    struct spy_options options = *options_of(state);
    struct piommu_device_id place = {.instance = NULL, .key = 0, .id = 20};
    const struct piommu_device_config hostile = {
        .ids = &place, .id_count = 1, .untrusted = true, .name = "stick"};
    struct piommu_device *devices[3];
    struct piommu_device *stick;
    unsigned int unit;

    options.contexts = 1;
    unit = units_add(units, &options, "mmu");
    place.instance = units->instances[unit];
    units->choose = one_for_all;
    for (uint32_t i = 0; i < 3; i++) {
        devices[i] = units_device_one(units, "trusted", unit, i + 1);
    }
    assert_int_equal(
        units_try_device(units, &hostile, (const struct units_id[]){{unit, 20}}, &stick), 0);
    for (unsigned int i = 0; i < 3; i++) {
        assert_true(units_is_in(units, devices[i], units->domains[0]));
    }
    assert_true(units_is_in(units, stick, NULL));
    assert_int_equal(units->domain_count, 1);
    assert_int_equal(mock_contexts(spy_mock(units->spy, unit)), 1);
    units_close(units);
}

static void test_a_device_that_cannot_enter_its_domain_is_not_added(void **state)
{
    static const struct {
        enum spy_call call;
        int error;
    } cases[] = {{SPY_ATTACH, -PIOMMU_EIO},
                 {SPY_ATTACH, -PIOMMU_ENOSPC},
                 {SPY_ATTACH, -PIOMMU_EOPNOTSUPP},
                 {SPY_DOMAIN_CREATE, -PIOMMU_ENOSPC}};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct units *units = units_open();
        struct piommu_device_id places[2];
        const struct piommu_device_config config = {.ids = places, .id_count = 2, .name = "dma"};
        const struct units_id ids[] = {{0, 5}, {1, 6}};
        struct piommu_device *device = NULL;
        struct piommu_domain *domain;
        int error;

        (void)units_add(units, options_of(state), "mmu0");
        (void)units_add(units, options_of(state), "mmu1");
        places[0] = (struct piommu_device_id){.instance = units->instances[0], .key = 0, .id = 5};
        places[1] = (struct piommu_device_id){.instance = units->instances[1], .key = 0, .id = 6};
        domain = units_domain(units, "A", 0, 1);
        units->chosen = domain;
        units->granted[0][5] = 1u;
        units->granted[1][6] = 1u;
        spy_forget(units->spy);
        spy_fail(units->spy, 1, cases[i].call, 1, cases[i].error);
        error = units_try_device(units, &config, ids, &device);
        assert_int_equal(error, cases[i].error);
        assert_null(device);
        assert_int_equal(spy_count(units->spy, SPY_ANY, SPY_ADD_ENDPOINT), 2);
        assert_int_equal(spy_count(units->spy, SPY_ANY, SPY_RELEASE_ENDPOINT), 2);
        assert_true(units_id_is_in(units, 0, 5, NULL));
        assert_true(units_id_is_in(units, 1, 6, NULL));
        /* The domain has nobody in it. */
        units_drop(units, domain);
        units_close(units);
    }
}

static void test_a_device_that_may_still_reach_its_domain_stays(void **state)
{
    struct units *units = units_open();
    unsigned int unit = units_add(units, options_of(state), "mmu");
    const struct piommu_device_id places[] = {
        {.instance = units->instances[unit], .key = 0, .id = 5},
        {.instance = units->instances[unit], .key = 0, .id = 6}};
    const struct piommu_device_config config = {.ids = places, .id_count = 2, .name = "dma"};
    struct piommu_device *device = NULL;
    struct piommu_domain *domain = units_domain(units, "A", unit, 1);

    units->chosen = domain;
    units->granted[unit][5] = 1u;
    units->granted[unit][6] = 1u;
    spy_refuse_stop(units->spy, unit, true);
    spy_fail(units->spy, unit, SPY_ATTACH, 2, -PIOMMU_ETIMEDOUT);
    assert_int_equal(piommu_device_add(units->context, &config, &device), -PIOMMU_EFAILED);
    assert_non_null(device);
    assert_int_equal(units_id_state(device, 0), PIOMMU_ID_DOUBTFUL);
    assert_int_equal(piommu_instance_destroy(units->instances[unit]), -PIOMMU_EBUSY);
    spy_refuse_stop(units->spy, unit, false);
    assert_int_equal(piommu_group_detach(piommu_device_group(device)), 0);
    assert_int_equal(units_id_state(device, 0), PIOMMU_ID_BLOCKED);
    assert_int_equal(piommu_device_remove(device), 0);
    units_close(units);
}

static void test_a_chosen_domain_that_does_not_fit_is_refused(void **state)
{
    struct units *units = units_open();
    unsigned int mine = units_add(units, options_of(state), "mmu");
    unsigned int other = units_add(
        units, options_of(state)->kind == PIOMMU_BACKEND_TABLES ? &requests : &tables, "other");
    const struct piommu_device_id place = {.instance = units->instances[mine], .key = 0, .id = 5};
    const struct units_id ids[] = {{mine, 5}};
    const struct piommu_device_config config = {.ids = &place, .id_count = 1};
    struct piommu_device *device;

    units->chosen = units_domain(units, "foreign", other, 1);
    assert_int_equal(units_try_device(units, &config, ids, &device), -PIOMMU_EMIXED);
    assert_int_equal(spy_count(units->spy, mine, SPY_RELEASE_ENDPOINT), 1);
    units_close(units);
}

static void test_the_host_is_asked_when_a_waiting_device_is_complete(void **state)
{
    struct units *units = units_open();
    unsigned int there = units_add(units, options_of(state), "early");
    unsigned int missing = units_prepare(units, options_of(state));
    struct piommu_device *device;

    units->chosen = units_domain(units, "A", there, 1);
    device = half_there(units, there, missing, 5, "dma");
    assert_int_equal(units->choices, 0);
    units->granted[there][5] = 1u;
    units->granted[missing][6] = 1u;
    assert_int_equal(units_start(units, missing, late_config), 0);
    assert_int_equal(units->choices, 1);
    assert_int_equal(units->news_count, 1);
    assert_int_equal(units->news[0].error, 0);
    assert_true(units_is_in(units, device, units->chosen));
    units_close(units);
}

static void test_a_complete_device_that_cannot_enter_its_domain_is_blocked(void **state)
{
    struct units *units = units_open();
    unsigned int there = units_add(units, options_of(state), "early");
    unsigned int missing = units_prepare(units, options_of(state));
    struct piommu_device *device;
    struct piommu_domain *domain = units_domain(units, "A", there, 1);

    units->chosen = domain;
    device = half_there(units, there, missing, 5, "dma");
    units->granted[there][5] = 1u;
    spy_fail(units->spy, missing, SPY_ATTACH, 1, -PIOMMU_EIO);
    assert_int_equal(units_start(units, missing, late_config), 0);
    units->granted[there][5] = 0;
    assert_int_equal(units->news_count, 1);
    assert_int_equal(units->news[0].error, -PIOMMU_EIO);
    assert_false(units_waits(device));
    assert_null(units_domain_of(device));
    assert_true(units_is_in(units, device, NULL));
    /* Complete it is, so it can try again. */
    assert_int_equal(units_attach(units, device, domain), 0);
    assert_true(units_is_in(units, device, domain));
    units_close(units);
}

int main(void)
{
#define BOTH(test)                                       \
    {#test " (tables)", test, NULL, NULL, &tables},      \
    {                                                    \
#test " (requests)", test, NULL, NULL, &requests \
    }
    static const struct CMUnitTest tests[] = {
        BOTH(test_a_child_that_comes_first_waits_for_its_parent),
        BOTH(test_a_child_that_comes_after_its_parent_runs_at_once),
        BOTH(test_a_chain_is_started_from_its_root_whatever_the_order),
        BOTH(test_several_children_of_one_parent_are_all_started),
        BOTH(test_a_key_is_taken_until_its_instance_is_destroyed),
        BOTH(test_any_number_of_instances_have_no_key),
        BOTH(test_an_instance_cannot_be_its_own_parent),
        cmocka_unit_test(test_a_parent_of_another_backend_is_refused),
        cmocka_unit_test(test_a_child_whose_parent_turns_out_to_be_another_backend_has_failed),
        BOTH(test_a_child_that_cannot_be_started_fails_alone),
        BOTH(test_a_parent_that_cannot_be_started_leaves_its_children_waiting),
        BOTH(test_a_parent_is_not_destroyed_before_its_children),
        BOTH(test_a_waiting_instance_can_be_destroyed),
        BOTH(test_a_waiting_instance_does_nothing_yet),
        BOTH(test_the_news_of_an_instance_may_use_it),
        BOTH(test_a_child_of_a_failed_parent_is_refused),
        BOTH(test_an_instance_without_a_name_has_that_of_its_backend),
        BOTH(test_bad_arguments_create_no_instance),
        BOTH(test_a_unit_that_says_impossible_things_is_refused),
        BOTH(test_more_records_than_memory_are_refused),
        BOTH(test_a_unit_that_does_not_stop_is_destroyed_at_the_next_attempt),
        BOTH(test_instances_that_wait_for_each_other_do_so_until_destroyed),
        BOTH(test_a_family_without_memory_is_as_if_nothing_had_been_asked),
        BOTH(test_a_device_waits_for_the_second_of_its_instances),
        BOTH(test_a_device_whose_instances_are_there_is_complete_at_once),
        BOTH(test_a_device_is_complete_when_the_last_of_its_instances_comes),
        BOTH(test_a_device_waits_for_an_instance_that_waits_itself),
        BOTH(test_a_device_that_cannot_be_completed_goes_on_waiting),
        BOTH(test_an_instance_that_fails_while_devices_are_completed_is_there),
        BOTH(test_a_completion_without_memory_leaves_the_device_removable),
        BOTH(test_a_waiting_device_can_be_removed),
        BOTH(test_a_context_with_a_waiting_device_is_not_destroyed),
        BOTH(test_the_news_of_a_device_may_remove_devices),
        BOTH(test_the_news_of_a_device_may_attach_it_and_add_others),
        BOTH(test_the_news_of_a_device_may_make_instances),
        BOTH(test_a_device_whose_instance_could_not_be_started_is_not_complete),
        BOTH(test_a_device_is_complete_when_its_instance_comes_at_the_second_attempt),
        BOTH(test_many_devices_are_completed_by_one_instance),
        BOTH(test_a_waiting_device_joins_its_group_when_it_is_added),
        BOTH(test_what_the_hardware_says_of_a_late_id_can_join_groups),
        BOTH(test_a_completion_never_joins_a_group_that_is_attached),
        BOTH(test_a_completion_that_would_join_an_attached_group_is_refused),
        BOTH(test_a_group_with_a_waiting_member_cannot_be_attached),
        BOTH(test_a_device_has_ids_on_several_instances),
        BOTH(test_the_same_number_on_another_instance_is_another_id),
        BOTH(test_bad_ids_are_refused_and_leave_nothing_behind),
        BOTH(test_a_device_can_have_the_most_ids),
        BOTH(test_an_instance_of_another_context_is_refused),
        BOTH(test_a_device_that_fails_at_one_id_is_not_added),
        BOTH(test_what_was_told_of_a_device_is_known),
        BOTH(test_a_device_that_was_removed_comes_back_blocked),
        BOTH(test_regions_are_told_from_the_host_first),
        BOTH(test_regions_of_the_host_keep_mappings_out),
        BOTH(test_regions_of_a_member_that_was_removed_are_free_again),
        BOTH(test_regions_that_the_hardware_cannot_have_keep_the_device_out),
        BOTH(test_no_more_regions_are_taken_than_there_may_be),
        BOTH(test_a_region_that_is_reversed_is_refused),
        BOTH(test_devices_that_share_an_id_form_a_group),
        BOTH(test_what_the_hardware_cannot_tell_apart_is_a_group),
        BOTH(test_devices_with_one_group_key_are_a_group_on_all_instances),
        BOTH(test_groups_that_a_device_connects_become_one),
        BOTH(test_a_device_cannot_join_a_group_that_is_attached),
        BOTH(test_joining_groups_without_memory_leaves_them_apart),
        BOTH(test_a_group_is_never_split),
        BOTH(test_a_member_that_was_removed_can_come_back),
        BOTH(test_a_new_device_is_in_the_domain_that_the_host_chooses),
        BOTH(test_the_host_is_asked_for_the_first_of_a_group_only),
        BOTH(test_trusted_devices_share_a_domain_when_contexts_are_scarce),
        BOTH(test_a_device_that_cannot_enter_its_domain_is_not_added),
        BOTH(test_a_device_that_may_still_reach_its_domain_stays),
        BOTH(test_a_chosen_domain_that_does_not_fit_is_refused),
        BOTH(test_the_host_is_asked_when_a_waiting_device_is_complete),
        BOTH(test_a_complete_device_that_cannot_enter_its_domain_is_blocked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
