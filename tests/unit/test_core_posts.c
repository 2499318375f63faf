/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Changes that are posted to domains over several instances: who is told when, what one of them
 * refuses, and which of them fails at each request; and to backends that do not take posts.
 */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include <piommu/piommu.h>

#include "posted.h"
#include "posting_backend.h"

#define UNITS    POSTING_MAX_UNITS
#define FIRST_ID 10u
#define PAGE     0x1000ull
#define MEMORY   0x80000000ull
#define OLD      0x100000ull /* two pages, with a hole between them */
#define NEW      0x700000ull /* a list of three pages */
#define RW       (PIOMMU_PROT_READ | PIOMMU_PROT_WRITE)
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const char *const names[UNITS] = {"first", "second", "third"};

static const struct piommu_segment list[] = {
    {MEMORY + 0x10 * PAGE, PAGE}, {MEMORY + 0x20 * PAGE, PAGE}, {MEMORY + 0x30 * PAGE, PAGE}};

/* Units with a device each, all of them in one domain. */
struct table {
    struct fake_os *os;
    struct piommu_context *context;
    struct posting_unit *units[UNITS];
    struct piommu_device *devices[UNITS];
    struct piommu_domain *domain;
    struct posted post;
};

static struct piommu_device *add_device(struct piommu_context *context,
                                        struct piommu_instance *instance, uint32_t id)
{
    struct piommu_device_id at = {.instance = instance, .id = id};
    struct piommu_device_config config = {.name = "device", .ids = &at, .id_count = 1};
    struct piommu_device *device;

    assert_int_equal(piommu_device_add(context, &config, &device), 0);
    return device;
}

static struct piommu_domain *add_domain(struct piommu_instance *const *instances, size_t count)
{
    struct piommu_domain_config config = {
        .type = PIOMMU_DOMAIN_PAGING, .instances = instances, .instance_count = count};
    struct piommu_domain *domain;

    assert_int_equal(piommu_domain_create(&config, &domain), 0);
    return domain;
}

static enum piommu_fault_answer block_it(void *cookie, const struct piommu_fault *fault)
{
    (void)cookie;
    (void)fault;
    return PIOMMU_FAULT_BLOCK;
}

/* The units from `without` on take no posts. */
static void open_table_without(struct table *table, unsigned int without)
{
    const struct piommu_context_config config = {.fault = block_it};
    struct piommu_instance *instances[UNITS];

    memset(table, 0, sizeof(*table));
    posted_init(&table->post);
    table->os = fake_os_create(NULL);
    assert_int_equal(piommu_context_create(fake_os_host(table->os), &config, &table->context), 0);
    for (unsigned int i = 0; i < UNITS; i++) {
        struct posting_unit *unit = posting_create(table->os);

        if (i >= without) {
            unit->backend = *mock_backend(unit->mock);
        }
        assert_int_equal(posting_start(unit, table->context, names[i]), 0);
        table->units[i] = unit;
        table->devices[i] = add_device(table->context, unit->instance, FIRST_ID + i);
        instances[i] = unit->instance;
    }
    table->domain = add_domain(instances, UNITS);
    for (unsigned int i = 0; i < UNITS; i++) {
        assert_int_equal(piommu_device_attach(table->devices[i], table->domain), 0);
    }
    for (uint64_t i = 0; i < 2; i++) {
        assert_int_equal(
            piommu_domain_map(table->domain, OLD + 2 * i * PAGE, MEMORY + i * PAGE, PAGE, RW), 0);
    }
}

static void open_table(struct table *table)
{
    open_table_without(table, UNITS);
}

static void close_table(struct table *table)
{
    for (unsigned int i = 0; i < UNITS; i++) {
        assert_int_equal(piommu_device_detach(table->devices[i]), 0);
        assert_int_equal(piommu_device_remove(table->devices[i]), 0);
    }
    assert_int_equal(piommu_domain_destroy(table->domain), 0);
    for (unsigned int i = 0; i < UNITS; i++) {
        assert_int_equal(piommu_instance_destroy(table->units[i]->instance), 0);
        posting_destroy(table->units[i]);
    }
    assert_int_equal(piommu_context_destroy(table->context), 0);
    fake_os_destroy(table->os);
}

/* ---- Short forms ---- */

static int post_list(struct table *table)
{
    return posted_map_list(&table->post, table->domain, NEW, list, COUNT(list), RW);
}

static int post_sync(struct table *table)
{
    return posted_sync(&table->post, table->domain);
}

static void unmap_old(struct table *table)
{
    uint64_t unmapped;

    assert_int_equal(
        piommu_domain_unmap(table->domain, OLD, 3 * PAGE, &table->post.gather, &unmapped), 0);
    assert_int_equal(unmapped, 2 * PAGE);
}

/* Answers, the last first, all that a unit was asked. */
static void answer(struct posting_unit *unit)
{
    while (unit->count != 0) {
        posting_answer(unit, unit->count - 1, POSTING_DONE, 0);
    }
}

static void service_all(const struct table *table)
{
    for (unsigned int i = 0; i < UNITS; i++) {
        (void)piommu_instance_service(table->units[i]->instance, 4);
    }
}

static void pass_time(const struct table *table)
{
    struct piommu_host host = fake_os_host(table->os);

    host.os->wait(host.ctx, host.os->now(host.ctx) + 1);
}

static void expect_under_way(const struct table *table)
{
    assert_int_equal(table->post.state, POSTED_UNDER_WAY);
}

static void expect_complete(const struct table *table, int error)
{
    assert_int_equal(table->post.state, POSTED_COMPLETE);
    assert_int_equal(table->post.error, error);
}

static bool reaches(const struct table *table, unsigned int unit, uint64_t iova, uint64_t expected)
{
    uint64_t physical = 0;
    bool reached = mock_reaches(table->units[unit]->mock, FIRST_ID + unit, iova, true, &physical);

    assert_true(!reached || physical == expected);
    return reached;
}

/* Whether the device at a unit reaches all of the list; it must not be a part of it. */
static bool has_list(const struct table *table, unsigned int unit)
{
    bool first = reaches(table, unit, NEW, list[0].physical);

    for (unsigned int i = 1; i < COUNT(list); i++) {
        assert_int_equal(reaches(table, unit, NEW + i * PAGE, list[i].physical), first);
    }
    return first;
}

static bool has_old(const struct table *table, unsigned int unit)
{
    bool first = reaches(table, unit, OLD, MEMORY);

    assert_int_equal(reaches(table, unit, OLD + 2 * PAGE, MEMORY + PAGE), first);
    return first;
}

static bool has_failed(const struct table *table, unsigned int unit)
{
    struct piommu_instance_info info;

    piommu_instance_get_info(table->units[unit]->instance, &info);
    return info.failed;
}

static bool is_mapped(const struct table *table, uint64_t iova)
{
    struct piommu_translation found;

    return piommu_domain_lookup(table->domain, iova, &found) == 0;
}

/* ---- Backends that do not take posts ---- */

static void expect_both(struct mock *mock, bool mapped)
{
    uint64_t physical;

    assert_int_equal(mock_reaches(mock, FIRST_ID, OLD, true, &physical), mapped);
    assert_int_equal(mock_reaches(mock, FIRST_ID, NEW + 2 * PAGE, true, &physical), mapped);
}

static void test_with_tables_a_post_is_the_call(void **state)
{
    struct fake_os *os = fake_os_create(NULL);
    struct mock *mock = mock_create(os, PIOMMU_BACKEND_TABLES);
    const struct piommu_instance_config config = {.name = "tables"};
    struct piommu_context *context;
    struct piommu_instance *instance;
    struct piommu_device *device;
    struct piommu_domain *domain;
    struct posted post;

    (void)state;
    posted_init(&post);
    assert_int_equal(piommu_context_create(fake_os_host(os), NULL, &context), 0);
    assert_int_equal(piommu_instance_create(context, mock_backend(mock), &mock, &config, &instance),
                     0);
    device = add_device(context, instance, FIRST_ID);
    domain = add_domain(&instance, 1);
    assert_int_equal(piommu_device_attach(device, domain), 0);
    assert_int_equal(posted_map(&post, domain, OLD, MEMORY, PAGE, RW), 1);
    assert_int_equal(posted_map_list(&post, domain, NEW, list, COUNT(list), RW), 1);
    expect_both(mock, true);
    assert_int_equal(posted_map(&post, domain, OLD, MEMORY, PAGE, RW), -PIOMMU_EEXIST);
    assert_int_equal(posted_map(&post, domain, OLD + 1, MEMORY, PAGE, RW), -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_unmap(domain, OLD, NEW + 3 * PAGE - OLD, &post.gather, NULL), 0);
    assert_int_equal(posted_sync(&post, domain), 1);
    assert_false(post.gather.pending);
    expect_both(mock, false);
    assert_int_equal(mock_counters(mock)->invalidate, 1);
    /* A sync that fails, too, is what the call is. */
    assert_int_equal(posted_map(&post, domain, OLD, MEMORY, PAGE, RW), 1);
    assert_int_equal(piommu_domain_unmap(domain, OLD, PAGE, &post.gather, NULL), 0);
    mock_fail_call(mock, 1, -PIOMMU_ETIMEDOUT, false);
    assert_int_equal(posted_sync(&post, domain), -PIOMMU_EFAILED);
    assert_true(post.gather.pending);
    (void)piommu_instance_service(instance, 4);
    assert_int_equal(post.state, POSTED_IDLE);
    assert_int_equal(piommu_device_detach(device), 0);
    assert_int_equal(posted_sync(&post, domain), 1);
    assert_int_equal(piommu_device_remove(device), 0);
    assert_int_equal(piommu_domain_destroy(domain), 0);
    assert_int_equal(piommu_instance_destroy(instance), 0);
    assert_int_equal(piommu_context_destroy(context), 0);
    fake_os_destroy(os);
    mock_destroy(mock);
}

static void test_all_units_have_to_take_posts(void **state)
{
    (void)state;
    for (unsigned int without = 0; without < UNITS; without++) {
        struct table table;

        open_table_without(&table, without);
        assert_int_equal(post_list(&table), -PIOMMU_EOPNOTSUPP);
        unmap_old(&table);
        assert_int_equal(post_sync(&table), -PIOMMU_EOPNOTSUPP);
        assert_true(table.post.gather.pending);
        for (unsigned int i = 0; i < UNITS; i++) {
            assert_int_equal(table.units[i]->batches, 0);
        }
        assert_int_equal(piommu_domain_map_list(table.domain, NEW, list, COUNT(list), RW), 0);
        assert_int_equal(piommu_domain_sync(table.domain, &table.post.gather), 0);
        close_table(&table);
    }
}

static void test_a_backend_takes_posts_wholly_or_not(void **state)
{
    struct fake_os *os = fake_os_create(NULL);
    struct piommu_context *context;

    (void)state;
    assert_int_equal(piommu_context_create(fake_os_host(os), NULL, &context), 0);
    for (unsigned int missing = 0; missing < 3; missing++) {
        struct posting_unit *unit = posting_create(os);

        if (missing == 0) {
            unit->backend.post_map = NULL;
        } else if (missing == 1) {
            unit->backend.post_unmap = NULL;
        } else {
            unit->backend.poll = NULL;
        }
        assert_int_equal(posting_start(unit, context, "half"), -PIOMMU_EINVAL);
        posting_destroy(unit);
    }
    assert_int_equal(piommu_context_destroy(context), 0);
    fake_os_destroy(os);
}

/* ---- Several units ---- */

static void test_units_are_told_one_after_the_other(void **state)
{
    struct table table;

    (void)state;
    open_table(&table);
    for (unsigned int syncs = 0; syncs < 2; syncs++) {
        if (syncs != 0) {
            unmap_old(&table);
        }
        fake_os_forbid(table.os, FAKE_OS_FORBID_WAIT);
        assert_int_equal(syncs != 0 ? post_sync(&table) : post_list(&table), 0);
        fake_os_forbid(table.os, 0);
        for (unsigned int i = 0; i < UNITS; i++) {
            expect_under_way(&table);
            for (unsigned int j = 0; j < UNITS; j++) {
                assert_int_equal(table.units[j]->batches, syncs + (j <= i));
            }
            answer(table.units[i]);
            /* It is seen wherever answers are taken in, but not without that. */
            assert_false(is_mapped(&table, syncs != 0 ? OLD : NEW));
            service_all(&table);
        }
        expect_complete(&table, 0);
        for (unsigned int i = 0; i < UNITS; i++) {
            assert_true(has_list(&table, i));
            assert_int_equal(has_old(&table, i), syncs == 0);
        }
    }
    assert_true(is_mapped(&table, NEW + 2 * PAGE));
    assert_int_equal(piommu_domain_map(table.domain, OLD, MEMORY, 3 * PAGE, RW), 0);
    close_table(&table);
}

static void test_any_instance_that_is_serviced_goes_on_with_what_found_no_room(void **state)
{
    (void)state;
    for (unsigned int full = 0; full < UNITS; full++) {
        for (unsigned int room = 0; room < COUNT(list); room++) {
            struct table table;
            int expected = full == 0 && room == 0 ? -PIOMMU_EAGAIN : 0;

            open_table(&table);
            table.units[full]->room = room;
            assert_int_equal(post_list(&table), expected);
            if (expected != 0) {
                assert_int_equal(table.units[0]->count, 0);
                table.units[full]->room = POSTING_ROOM;
                assert_int_equal(post_list(&table), 0);
            }
            for (unsigned int looks = 0; table.post.state == POSTED_UNDER_WAY; looks++) {
                assert_true(looks < 100);
                if (looks > 10) {
                    table.units[full]->room = 1;
                }
                for (unsigned int i = 0; i < UNITS; i++) {
                    answer(table.units[i]);
                }
                /* Where the answers are is serviced now and then, and mostly another one. */
                (void)piommu_instance_service(
                    table.units[looks % 4 == 0 ? (looks / 4) % UNITS : 0]->instance, 4);
            }
            expect_complete(&table, 0);
            for (unsigned int i = 0; i < UNITS; i++) {
                assert_true(has_list(&table, i));
            }
            table.units[full]->room = POSTING_ROOM;
            close_table(&table);
        }
    }
}

static void test_maps_without_memory_change_nothing(void **state)
{
    struct fake_os_counters before;
    struct fake_os_counters after;
    struct table table;

    (void)state;
    open_table(&table);
    for (uint64_t nth = 1;; nth++) {
        uint64_t bytes = fake_os_bytes_outstanding(table.os);
        int error;

        fake_os_get_counters(table.os, &before);
        fake_os_fail_call(table.os, nth, false);
        error = post_list(&table);
        fake_os_fail_call(table.os, 0, false);
        fake_os_get_counters(table.os, &after);
        if (after.fallible_calls - before.fallible_calls < nth) {
            assert_int_equal(error, 0);
            break;
        }
        assert_int_equal(error, -PIOMMU_ENOMEM);
        assert_int_equal(fake_os_bytes_outstanding(table.os), bytes);
        assert_int_equal(table.units[0]->batches, 0);
        assert_true(nth <= COUNT(list));
    }
    for (unsigned int i = 0; i < UNITS; i++) {
        answer(table.units[i]);
        service_all(&table);
    }
    expect_complete(&table, 0);
    close_table(&table);
}

/* Another CPU posts while a device is on its way out of the domain. */
static void post_meanwhile(void *ctx)
{
    struct table *table = ctx;

    if (mock_counters(table->units[1]->mock)->block == 1) {
        mock_observe(table->units[1]->mock, NULL, NULL);
        fake_os_forbid(table->os, FAKE_OS_FORBID_WAIT);
        assert_int_equal(post_list(table), -PIOMMU_EAGAIN);
        assert_int_equal(post_sync(table), -PIOMMU_EAGAIN);
        assert_true(table->post.gather.pending);
        fake_os_forbid(table->os, 0);
    }
}

static void test_nothing_is_posted_while_a_device_is_being_blocked(void **state)
{
    static const struct piommu_backend_fault fault = {.id = FIRST_ID + 1};
    struct table table;

    (void)state;
    open_table(&table);
    unmap_old(&table);
    assert_int_equal(mock_counters(table.units[1]->mock)->block, 0);
    mock_observe(table.units[1]->mock, post_meanwhile, &table);
    mock_raise_fault(table.units[1]->mock, &fault);
    assert_int_equal(piommu_instance_service(table.units[1]->instance, 4), 1);
    assert_int_equal(mock_counters(table.units[1]->mock)->block, 1);
    for (unsigned int i = 0; i < UNITS; i++) {
        assert_int_equal(table.units[i]->batches, 0);
    }
    /* And then as ever; the second unit has no device there. */
    assert_int_equal(post_sync(&table), 0);
    for (unsigned int i = 0; i < UNITS; i++) {
        answer(table.units[i]);
        service_all(&table);
    }
    expect_complete(&table, 0);
    assert_int_equal(table.units[1]->batches, 0);
    close_table(&table);
}

/* ---- One of them fails ---- */

enum mishap {
    REFUSES,      /* it answers a request with an error */
    HALF_REFUSES, /* but has done it */
    LOST,         /* it is lost before it is told */
    BREAKS,       /* and after that */
    SILENT,       /* it does not answer */
};

struct plan {
    enum mishap mishap;
    bool syncs;
    unsigned int unit;
    unsigned int nth; /* of its requests: 1, ... */
};

/* What is to become of it: a unit may refuse a map, and nothing else. */
static bool is_fatal(const struct plan *plan)
{
    return plan->syncs || plan->mishap > HALF_REFUSES;
}

/* The unit works on what it was asked, and on the nth of that as planned; true: it came to that. */
static bool work(struct table *table, const struct plan *plan, unsigned int *answered)
{
    struct posting_unit *unit = table->units[plan->unit];
    bool happens = false;

    while (unit->count != 0 && !unit->dead) {
        happens = ++*answered == plan->nth;
        if (!happens) {
            posting_answer(unit, 0, POSTING_DONE, 0);
        } else if (plan->mishap == BREAKS) {
            unit->dead = true;
        } else if (plan->mishap == SILENT) {
            --*answered;
            return true;
        } else {
            posting_answer(unit, 0, plan->mishap == REFUSES ? POSTING_UNDONE : POSTING_DONE,
                           -PIOMMU_EIO);
        }
        if (happens) {
            return true;
        }
    }
    return happens;
}

static void run_to_the_end(struct table *table, const struct plan *plan, bool *happened)
{
    unsigned int answered = 0;

    for (unsigned int looks = 0; table->post.state == POSTED_UNDER_WAY; looks++) {
        assert_true(looks < 1000);
        for (unsigned int i = 0; i < UNITS; i++) {
            if (i != plan->unit) {
                answer(table->units[i]);
            }
        }
        *happened = work(table, plan, &answered) || *happened;
        pass_time(table);
        service_all(table);
    }
}

/* What devices reach by now; the one of a failed unit reaches nothing. */
static void expect_reach(const struct table *table, const struct plan *plan)
{
    for (unsigned int i = 0; i < UNITS; i++) {
        bool failed = is_fatal(plan) && i == plan->unit;

        assert_int_equal(has_failed(table, i), failed);
        assert_int_equal(mock_has_stopped(table->units[i]->mock), failed);
        assert_false(has_list(table, i));
        assert_int_equal(has_old(table, i), !failed && !plan->syncs);
    }
    assert_false(is_mapped(table, NEW) || is_mapped(table, NEW + PAGE));
    assert_int_equal(is_mapped(table, OLD), !plan->syncs);
}

/* The unit is left out: the same call does its work with the others. */
static void do_again(struct table *table, const struct plan *plan)
{
    assert_int_equal(piommu_device_detach(table->devices[plan->unit]), 0);
    assert_int_equal(plan->syncs ? post_sync(table) : post_list(table), 0);
    for (unsigned int i = 0; i < UNITS; i++) {
        for (unsigned int j = 0; j < UNITS; j++) {
            answer(table->units[j]);
        }
        service_all(table);
    }
    expect_complete(table, 0);
    assert_int_equal(table->post.gather.pending, false);
    for (unsigned int i = 0; i < UNITS; i++) {
        assert_int_equal(has_list(table, i), i != plan->unit && !plan->syncs);
        assert_int_equal(has_old(table, i), i != plan->unit && !plan->syncs);
    }
}

/* Returns false when the unit does not have as many requests. */
static bool try_plan(const struct plan *plan)
{
    bool happened = plan->mishap == LOST;
    struct table table;
    int error = is_fatal(plan) ? -PIOMMU_EFAILED : -PIOMMU_EIO;
    int result;

    open_table(&table);
    if (plan->syncs) {
        unmap_old(&table);
    }
    table.units[plan->unit]->dead = plan->mishap == LOST;
    result = plan->syncs ? post_sync(&table) : post_list(&table);
    if (result == 0) {
        run_to_the_end(&table, plan, &happened);
    } else {
        /* Only the first unit is asked at once, and a sync goes on with the next one. */
        assert_int_equal(result, error);
        assert_true(plan->mishap == LOST && plan->unit == 0 && !plan->syncs);
        service_all(&table);
    }
    if (happened) {
        if (result == 0) {
            expect_complete(&table, error);
        }
        assert_int_equal(table.post.gather.pending, plan->syncs);
        expect_reach(&table, plan);
        do_again(&table, plan);
    }
    close_table(&table);
    return happened;
}

static void try_all(enum mishap mishap)
{
    for (unsigned int unit = 0; unit < UNITS; unit++) {
        for (unsigned int syncs = 0; syncs < 2; syncs++) {
            struct plan plan = {.mishap = mishap, .syncs = syncs != 0, .unit = unit, .nth = 1};

            while (try_plan(&plan) && mishap != LOST) {
                plan.nth++;
            }
            assert_int_equal(plan.nth, mishap == LOST ? 1 : syncs != 0 ? 3 : COUNT(list) + 1);
        }
    }
}

static void test_what_one_unit_refuses_is_removed_everywhere(void **state)
{
    (void)state;
    try_all(REFUSES);
}

static void test_what_was_done_in_spite_of_an_error_is_removed(void **state)
{
    (void)state;
    try_all(HALF_REFUSES);
}

static void test_a_unit_that_is_lost_before_it_is_told_fails_alone(void **state)
{
    (void)state;
    try_all(LOST);
}

static void test_a_unit_that_breaks_fails_alone(void **state)
{
    (void)state;
    try_all(BREAKS);
}

static void test_a_unit_that_does_not_answer_fails_alone(void **state)
{
    (void)state;
    try_all(SILENT);
}

static void test_a_unit_that_fails_after_it_has_confirmed_spoils_the_map(void **state)
{
    (void)state;
    for (unsigned int unit = 0; unit + 1 < UNITS; unit++) {
        const struct plan plan = {.mishap = BREAKS, .unit = unit};
        struct table table;

        open_table(&table);
        assert_int_equal(post_list(&table), 0);
        for (unsigned int i = 0; i <= unit; i++) {
            answer(table.units[i]);
            service_all(&table);
        }
        assert_true(has_list(&table, unit));
        mock_fail_service(table.units[unit]->mock, -PIOMMU_EIO);
        for (unsigned int looks = 0; looks < 2 * UNITS; looks++) {
            service_all(&table);
            for (unsigned int i = 0; i < UNITS; i++) {
                answer(table.units[i]);
            }
        }
        expect_complete(&table, -PIOMMU_EFAILED);
        expect_reach(&table, &plan);
        do_again(&table, &plan);
        close_table(&table);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_with_tables_a_post_is_the_call),
        cmocka_unit_test(test_all_units_have_to_take_posts),
        cmocka_unit_test(test_a_backend_takes_posts_wholly_or_not),
        cmocka_unit_test(test_units_are_told_one_after_the_other),
        cmocka_unit_test(test_any_instance_that_is_serviced_goes_on_with_what_found_no_room),
        cmocka_unit_test(test_maps_without_memory_change_nothing),
        cmocka_unit_test(test_nothing_is_posted_while_a_device_is_being_blocked),
        cmocka_unit_test(test_what_one_unit_refuses_is_removed_everywhere),
        cmocka_unit_test(test_what_was_done_in_spite_of_an_error_is_removed),
        cmocka_unit_test(test_a_unit_that_is_lost_before_it_is_told_fails_alone),
        cmocka_unit_test(test_a_unit_that_breaks_fails_alone),
        cmocka_unit_test(test_a_unit_that_does_not_answer_fails_alone),
        cmocka_unit_test(test_a_unit_that_fails_after_it_has_confirmed_spoils_the_map),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
