/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Changes that are posted to a virtio-iommu: what is under way, who ends it, and when; what other
 * calls do meanwhile; refusals, and devices that do not answer, lie, fail, sleep or come back.
 *
 * The device works only when a test says so, or in the waits of the library where it may.
 */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "posted.h"
#include "viommu_fixture.h"

#define A          0x10u
#define B          0x18u
#define PAGE       0x1000ull
#define FAR        0x100000000ull /* physical, where the device need not find memory */
#define OLD        0x100000ull    /* mapped from the beginning: two pages, each by itself */
#define NEW        0x700000ull
#define TIMEOUT    1000000ull
#define RW         (PIOMMU_PROT_READ | PIOMMU_PROT_WRITE)
#define COUNT(a)   (sizeof(a) / sizeof((a)[0]))
#define MAX_POSTS  512u
#define ALL        SIZE_MAX
#define NO_WAITING (FAKE_OS_FORBID_WAIT | FAKE_OS_FORBID_FREE)

/* A is in the domain, B in none. */
struct desk {
    struct viommu_fixture *fixture;
    struct piommu_device *device;
    struct piommu_device *second;
    struct piommu_domain *domain;
    struct posted *posts;
};

static struct posted *post_of(struct desk *desk, size_t number)
{
    assert_true(number < MAX_POSTS);
    return &desk->posts[number];
}

static void set_up_options(struct viommu_fixture_options *options)
{
    viommu_fixture_default_options(options);
    options->processing = VIOMMU_MODEL_AT_RUN;
    options->run_per_wait = 2;
    options->os.scattered = true;
    options->timeout = TIMEOUT;
}

static void open_desk_with(struct desk *desk, const struct viommu_fixture_options *options)
{
    desk->fixture = viommu_fixture_started(options);
    desk->fixture->paused = true;
    desk->posts = calloc(MAX_POSTS, sizeof(*desk->posts));
    for (size_t i = 0; i < MAX_POSTS; i++) {
        posted_init(&desk->posts[i]);
        desk->posts[i].cookie = desk;
        desk->posts[i].asked_from_done = desk->fixture->instance;
    }
    desk->domain = viommu_fixture_add_domain(desk->fixture, PIOMMU_DOMAIN_PAGING);
    desk->device = viommu_fixture_add_device(desk->fixture, A);
    desk->second = viommu_fixture_add_device(desk->fixture, B);
    assert_int_equal(piommu_device_attach(desk->device, desk->domain), 0);
    for (uint64_t i = 0; i < 2; i++) {
        assert_int_equal(
            piommu_domain_map(desk->domain, OLD + i * PAGE, FAR + 2 * i * PAGE, PAGE, RW), 0);
    }
    (void)piommu_instance_service(desk->fixture->instance, 8); /* ends the interrupts so far */
    desk->fixture->log_count = 0;
    /* From here on waiting alone answers nothing, unless a test allows it. */
    desk->fixture->completion_stopped = true;
}

static void open_desk(struct desk *desk)
{
    struct viommu_fixture_options options;

    set_up_options(&options);
    open_desk_with(desk, &options);
}

static void close_desk(struct desk *desk)
{
    desk->fixture->completion_stopped = false;
    viommu_fixture_destroy(desk->fixture);
    free(desk->posts);
}

/* ---- Short forms ---- */

static void run(struct desk *desk, size_t requests)
{
    (void)viommu_model_run(desk->fixture->model, requests);
}

static int service(struct desk *desk)
{
    return piommu_instance_service(desk->fixture->instance, 8);
}

static int map(struct desk *desk, size_t number, uint64_t iova)
{
    return posted_map(post_of(desk, number), desk->domain, iova, FAR + iova, PAGE, RW);
}

static int unmap(struct desk *desk, size_t number, uint64_t iova, uint64_t size)
{
    return piommu_domain_unmap(desk->domain, iova, size, &post_of(desk, number)->gather, NULL);
}

static int sync_post(struct desk *desk, size_t number)
{
    return posted_sync(post_of(desk, number), desk->domain);
}

static bool is_mapped(struct desk *desk, uint64_t iova)
{
    struct piommu_translation found;

    return piommu_domain_lookup(desk->domain, iova, &found) == 0;
}

/* What A reaches by an address, as the device sees it. */
static bool reaches(const struct desk *desk, uint64_t iova)
{
    return viommu_model_translate(desk->fixture->model, A, iova, false, NULL) ==
           VIOMMU_MODEL_MAPPED;
}

static size_t mapping_count(const struct desk *desk)
{
    uint32_t number;

    assert_true(viommu_model_domain_of(desk->fixture->model, A, &number));
    return viommu_model_mapping_count(desk->fixture->model, number);
}

static void expect_complete(struct desk *desk, size_t number, int error)
{
    assert_int_equal(post_of(desk, number)->state, POSTED_COMPLETE);
    assert_int_equal(post_of(desk, number)->error, error);
}

static void expect_under_way(struct desk *desk, size_t number)
{
    assert_int_equal(post_of(desk, number)->state, POSTED_UNDER_WAY);
}

static struct piommu_domain_statistics statistics_of(const struct desk *desk)
{
    struct piommu_domain_statistics statistics;

    piommu_domain_get_statistics(desk->domain, &statistics);
    return statistics;
}

static bool has_failed(const struct desk *desk)
{
    struct piommu_instance_info info;

    piommu_instance_get_info(desk->fixture->instance, &info);
    return info.failed;
}

/* How many requests the ring takes at once. */
static size_t capacity(const struct desk *desk)
{
    const struct viommu_model_parameters *model = &desk->fixture->options.model;
    size_t size = model->queue_size[0] < 128 ? model->queue_size[0] : 128;

    return (model->offered_features & VIOMMU_MODEL_F_INDIRECT_DESC) != 0 ? size : size / 2;
}

static void let_it_work(struct desk *desk)
{
    desk->fixture->completion_stopped = false;
}

/* ---- One post ---- */

static void test_a_map_is_there_when_its_completion_comes(void **state)
{
    struct desk desk;

    (void)state;
    open_desk(&desk);
    fake_os_forbid(desk.fixture->os, NO_WAITING);
    assert_int_equal(map(&desk, 0, NEW), 0);
    assert_int_equal(viommu_model_pending(desk.fixture->model), 1);
    /* Neither mapped nor free. */
    assert_false(is_mapped(&desk, NEW));
    assert_int_equal(map(&desk, 1, NEW), -PIOMMU_EEXIST);
    assert_int_equal(piommu_domain_map(desk.domain, NEW, FAR, PAGE, RW), -PIOMMU_EEXIST);
    assert_int_equal(unmap(&desk, 1, NEW, PAGE), -PIOMMU_ENOENT);
    assert_int_equal(statistics_of(&desk).maps, 2);
    (void)service(&desk);
    expect_under_way(&desk, 0);
    run(&desk, ALL);
    assert_true(reaches(&desk, NEW));
    expect_under_way(&desk, 0);
    assert_int_equal(service(&desk), 0);
    expect_complete(&desk, 0, 0);
    assert_true(is_mapped(&desk, NEW));
    assert_int_equal(statistics_of(&desk).maps, 3);
    assert_int_equal(statistics_of(&desk).mapped, 3 * PAGE);
    assert_int_equal(service(&desk), 0);
    fake_os_forbid(desk.fixture->os, 0);
    close_desk(&desk);
}

static void test_a_completion_comes_from_servicing_however_quick_the_device_is(void **state)
{
    struct viommu_fixture_options options;
    struct desk desk;

    (void)state;
    set_up_options(&options);
    options.processing = VIOMMU_MODEL_AT_DOORBELL;
    open_desk_with(&desk, &options);
    assert_int_equal(map(&desk, 0, NEW), 0);
    assert_true(reaches(&desk, NEW));
    assert_false(is_mapped(&desk, NEW));
    assert_int_equal(service(&desk), 0);
    expect_complete(&desk, 0, 0);
    assert_true(is_mapped(&desk, NEW));
    close_desk(&desk);
}

static void test_a_sync_frees_addresses_when_its_completion_comes(void **state)
{
    struct desk desk;

    (void)state;
    open_desk(&desk);
    assert_int_equal(unmap(&desk, 0, OLD, 2 * PAGE), 0);
    fake_os_forbid(desk.fixture->os, FAKE_OS_FORBID_WAIT | FAKE_OS_FORBID_ALLOCATION);
    assert_int_equal(sync_post(&desk, 0), 0);
    assert_false(is_mapped(&desk, OLD));
    assert_int_equal(map(&desk, 1, OLD), -PIOMMU_EEXIST);
    (void)service(&desk);
    run(&desk, ALL);
    assert_false(reaches(&desk, OLD));
    expect_under_way(&desk, 0);
    fake_os_forbid(desk.fixture->os, NO_WAITING | FAKE_OS_FORBID_ALLOCATION);
    assert_int_equal(service(&desk), 0);
    fake_os_forbid(desk.fixture->os, 0);
    expect_complete(&desk, 0, 0);
    assert_false(post_of(&desk, 0)->gather.pending);
    assert_int_equal(statistics_of(&desk).syncs, 1);
    assert_int_equal(statistics_of(&desk).unmaps, 1);
    assert_int_equal(statistics_of(&desk).mapped, 0);
    /* They were next to each other: one request. */
    assert_int_equal(viommu_fixture_count(desk.fixture, VIOMMU_MODEL_UNMAP), 1);
    assert_int_equal(map(&desk, 1, OLD), 0);
    run(&desk, ALL);
    (void)service(&desk);
    expect_complete(&desk, 1, 0);
    assert_true(reaches(&desk, OLD));
    close_desk(&desk);
}

static void test_what_no_hardware_has_to_know_is_complete_at_once(void **state)
{
    struct desk desk;

    (void)state;
    open_desk(&desk);
    let_it_work(&desk);
    /* Nothing to be synced. */
    assert_int_equal(sync_post(&desk, 0), 1);
    for (unsigned int suspended = 0; suspended < 2; suspended++) {
        struct piommu_domain_statistics before;
        uint64_t iova;

        if (suspended != 0) {
            assert_int_equal(piommu_device_attach(desk.device, desk.domain), 0);
            assert_int_equal(piommu_instance_suspend(desk.fixture->instance), 0);
        } else {
            assert_int_equal(piommu_device_detach(desk.device), 0);
        }
        before = statistics_of(&desk);
        iova = NEW + suspended * PAGE;
        assert_int_equal(map(&desk, 0, iova), 1);
        assert_true(is_mapped(&desk, iova));
        assert_int_equal(map(&desk, 0, iova), -PIOMMU_EEXIST);
        assert_int_equal(unmap(&desk, 0, iova, PAGE), 0);
        assert_int_equal(sync_post(&desk, 0), 1);
        assert_false(post_of(&desk, 0)->gather.pending);
        assert_int_equal(map(&desk, 0, iova), 1);
        assert_int_equal(statistics_of(&desk).maps, before.maps + 2);
        assert_int_equal(statistics_of(&desk).syncs, before.syncs + 1);
        assert_int_equal(statistics_of(&desk).mapped, before.mapped + PAGE);
        (void)service(&desk);
    }
    /* Devices get it when they come. */
    assert_int_equal(piommu_instance_resume(desk.fixture->instance), 0);
    assert_true(reaches(&desk, NEW) && reaches(&desk, NEW + PAGE) && reaches(&desk, OLD));
    close_desk(&desk);
}

static void test_malformed_posts_change_nothing(void **state)
{
    struct piommu_segment none = {FAR, 0};
    struct piommu_completion empty = {.done = NULL};
    struct piommu_gather gather;
    struct desk desk;
    struct posted *post;

    (void)state;
    open_desk(&desk);
    post = post_of(&desk, 0);
    piommu_gather_init(&gather);
    assert_int_equal(posted_map(post, NULL, NEW, FAR, PAGE, RW), -PIOMMU_EINVAL);
    assert_int_equal(posted_map(post, desk.domain, NEW, FAR, PAGE - 1, RW), -PIOMMU_EINVAL);
    assert_int_equal(posted_map(post, desk.domain, NEW, FAR, PAGE, 0), -PIOMMU_EINVAL);
    assert_int_equal(posted_map(post, desk.domain, NEW, FAR, PAGE, PIOMMU_PROT_WRITE),
                     -PIOMMU_EOPNOTSUPP);
    assert_int_equal(posted_map(post, desk.domain, OLD, FAR, PAGE, RW), -PIOMMU_EEXIST);
    assert_int_equal(posted_map_list(post, desk.domain, NEW, &none, 1, RW), -PIOMMU_EINVAL);
    assert_int_equal(posted_map_list(post, desk.domain, NEW, NULL, 1, RW), -PIOMMU_EINVAL);
    assert_int_equal(posted_map_list(post, desk.domain, NEW, &none, 0, RW), -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_map_post(desk.domain, NEW, FAR, PAGE, RW, NULL), -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_map_post(desk.domain, NEW, FAR, PAGE, RW, &empty),
                     -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_sync_post(desk.domain, &gather, &empty), -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_sync_post(desk.domain, &gather, NULL), -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_sync_post(desk.domain, NULL, &post->completion), -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_sync_post(NULL, &gather, &post->completion), -PIOMMU_EINVAL);
    assert_int_equal(viommu_fixture_count(desk.fixture, 0), 0);
    assert_int_equal(statistics_of(&desk).maps, 2);
    assert_int_equal(map(&desk, 0, NEW), 0);
    run(&desk, ALL);
    (void)service(&desk);
    close_desk(&desk);
}

static void test_a_map_without_memory_changes_nothing(void **state)
{
    struct desk desk;

    (void)state;
    open_desk(&desk);
    for (unsigned int i = 0; i < 2; i++) {
        struct piommu_segment two[] = {{FAR, PAGE}, {FAR + 8 * PAGE, PAGE}};

        fake_os_fail_call(desk.fixture->os, 1 + i, false);
        assert_int_equal(posted_map_list(post_of(&desk, 0), desk.domain, NEW, two, 2, RW),
                         -PIOMMU_ENOMEM);
        fake_os_fail_call(desk.fixture->os, 0, false);
        assert_int_equal(viommu_model_pending(desk.fixture->model), 0);
    }
    assert_int_equal(
        piommu_domain_unmap(desk.domain, NEW, 2 * PAGE, &post_of(&desk, 1)->gather, NULL),
        -PIOMMU_ENOENT);
    assert_int_equal(map(&desk, 0, NEW), 0);
    run(&desk, ALL);
    (void)service(&desk);
    expect_complete(&desk, 0, 0);
    close_desk(&desk);
}

/* ---- Many ---- */

static void test_many_posts_are_under_way_and_answered_in_any_order(void **state)
{
    static const enum viommu_model_order orders[] = {VIOMMU_MODEL_IN_ORDER, VIOMMU_MODEL_REVERSED,
                                                     VIOMMU_MODEL_SHUFFLED};

    (void)state;
    for (size_t order = 0; order < COUNT(orders); order++) {
        struct desk desk;
        size_t room;

        open_desk(&desk);
        viommu_model_set_order(desk.fixture->model, orders[order], 11);
        room = capacity(&desk);
        for (size_t i = 0; i < room; i++) {
            assert_int_equal(map(&desk, i, NEW + 2 * i * PAGE), 0);
        }
        assert_int_equal(viommu_model_pending(desk.fixture->model), room);
        /* There is no room for more, and the refusal leaves nothing behind. */
        assert_int_equal(map(&desk, room, NEW + PAGE), -PIOMMU_EAGAIN);
        assert_int_equal(unmap(&desk, room, OLD, PAGE), 0);
        assert_int_equal(sync_post(&desk, room), -PIOMMU_EAGAIN);
        assert_true(post_of(&desk, room)->gather.pending);
        run(&desk, room / 2);
        (void)service(&desk);
        assert_int_equal(sync_post(&desk, room), 0);
        assert_int_equal(map(&desk, room + 1, NEW + PAGE), 0);
        run(&desk, ALL);
        (void)service(&desk);
        for (size_t i = 0; i < room + 2; i++) {
            expect_complete(&desk, i, 0);
        }
        assert_int_equal(mapping_count(&desk), room + 2);
        if (orders[order] == VIOMMU_MODEL_IN_ORDER) {
            assert_true(post_of(&desk, 0)->turn < post_of(&desk, 1)->turn);
        }
        close_desk(&desk);
    }
}

static void list_far_pieces(struct piommu_segment *segments, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        segments[i] = (struct piommu_segment){FAR + 2 * i * PAGE, PAGE};
    }
}

static void test_a_list_that_does_not_fit_follows(void **state)
{
    struct piommu_segment segments[300];
    struct desk desk;

    (void)state;
    open_desk(&desk);
    list_far_pieces(segments, COUNT(segments));
    assert_int_equal(
        posted_map_list(post_of(&desk, 0), desk.domain, NEW, segments, COUNT(segments), RW), 0);
    memset(segments, 0, sizeof(segments)); /* it is not looked at any more */
    assert_int_equal(viommu_model_pending(desk.fixture->model), capacity(&desk));
    for (unsigned int i = 0; i < 20 && post_of(&desk, 0)->state == POSTED_UNDER_WAY; i++) {
        run(&desk, ALL);
        (void)service(&desk);
    }
    expect_complete(&desk, 0, 0);
    assert_int_equal(mapping_count(&desk), 2 + COUNT(segments));
    /* Every second one goes, so that nothing can be merged. */
    for (size_t i = 0; i < COUNT(segments); i += 2) {
        assert_int_equal(unmap(&desk, 0, NEW + i * PAGE, PAGE), 0);
    }
    assert_int_equal(sync_post(&desk, 0), 0);
    for (unsigned int i = 0; i < 20 && post_of(&desk, 0)->state == POSTED_UNDER_WAY; i++) {
        run(&desk, ALL);
        (void)service(&desk);
    }
    expect_complete(&desk, 0, 0);
    assert_int_equal(mapping_count(&desk), 2 + COUNT(segments) / 2);
    close_desk(&desk);
}

/*
 * The device may work on the UNMAP after the MAP, so that must not reach across the hole in which
 * the MAP is made.
 */
static void test_a_sync_does_not_reach_into_holes(void **state)
{
    struct desk desk;

    (void)state;
    open_desk(&desk);
    viommu_model_set_order(desk.fixture->model, VIOMMU_MODEL_REVERSED, 0);
    let_it_work(&desk);
    for (uint64_t i = 0; i < 5; i += 2) {
        assert_int_equal(piommu_domain_map(desk.domain, NEW + i * PAGE, FAR, PAGE, RW), 0);
    }
    desk.fixture->completion_stopped = true;
    assert_int_equal(unmap(&desk, 0, NEW, 5 * PAGE), 0);
    assert_int_equal(sync_post(&desk, 0), 0);
    assert_int_equal(map(&desk, 1, NEW + PAGE), 0);
    run(&desk, ALL);
    (void)service(&desk);
    expect_complete(&desk, 0, 0);
    expect_complete(&desk, 1, 0);
    assert_true(reaches(&desk, NEW + PAGE));
    assert_false(reaches(&desk, NEW) || reaches(&desk, NEW + 2 * PAGE));
    close_desk(&desk);
}

static void post_next(struct posted *posted)
{
    struct desk *desk = posted->cookie;
    size_t number = (size_t)(posted - desk->posts);

    if (number < 9) {
        assert_int_equal(map(desk, number + 1, NEW + 2 * (number + 1) * PAGE), 0);
    }
}

static void test_a_completion_may_post(void **state)
{
    struct desk desk;

    (void)state;
    open_desk(&desk);
    for (size_t i = 0; i < 10; i++) {
        post_of(&desk, i)->then = post_next;
    }
    assert_int_equal(map(&desk, 0, NEW), 0);
    for (size_t i = 0; i < 10; i++) {
        expect_under_way(&desk, i);
        run(&desk, ALL);
        (void)service(&desk);
        expect_complete(&desk, i, 0);
    }
    assert_int_equal(mapping_count(&desk), 12);
    close_desk(&desk);
}

/* ---- Who is told ---- */

static void test_an_interrupt_is_enough(void **state)
{
    struct desk desk;
    bool more = true;

    (void)state;
    open_desk(&desk);
    fake_os_forbid(desk.fixture->os, NO_WAITING);
    assert_int_equal(map(&desk, 0, NEW), 0);
    assert_int_equal(unmap(&desk, 1, OLD, PAGE), 0);
    assert_int_equal(sync_post(&desk, 1), 0);
    run(&desk, ALL);
    assert_int_equal(piommu_instance_interrupt(desk.fixture->instance, 8, &more), 0);
    assert_false(more);
    expect_complete(&desk, 0, 0);
    expect_complete(&desk, 1, 0);
    fake_os_forbid(desk.fixture->os, 0);
    close_desk(&desk);
}

static uint64_t interrupts_of(const struct desk *desk)
{
    const struct viommu_model_counters *counters = viommu_model_counters(desk->fixture->model);

    return counters->interrupts + counters->messages;
}

/*
 * Who is to be interrupted is, whoever has looked at the ring since; and who looks by himself is
 * left in peace.
 */
static void test_a_host_that_wants_interrupts_gets_one_for_its_posts(void **state)
{
    struct viommu_fixture_options options;

    (void)state;
    for (unsigned int sleeps = 0; sleeps < 2; sleeps++) {
        struct desk desk;

        set_up_options(&options);
        options.os.sleeps = sleeps != 0;
        open_desk_with(&desk, &options);
        for (size_t i = 0; i < 12; i++) {
            uint64_t before = interrupts_of(&desk);

            assert_int_equal(map(&desk, 2 * i, NEW + 2 * i * PAGE), 0);
            assert_int_equal(map(&desk, 2 * i + 1, NEW + (2 * i + 1) * PAGE), 0);
            for (size_t j = 0; j < 2; j++) {
                run(&desk, 1);
                assert_int_equal(interrupts_of(&desk) - before, sleeps != 0 ? j + 1 : 0);
                (void)service(&desk);
                expect_complete(&desk, 2 * i + j, 0);
            }
        }
        close_desk(&desk);
    }
}

static void test_a_call_that_waits_leaves_the_interrupt_to_the_posts(void **state)
{
    struct viommu_fixture_options options;
    struct desk desk;
    struct piommu_domain *other;
    uint64_t before;

    (void)state;
    set_up_options(&options);
    options.os.sleeps = true;
    open_desk_with(&desk, &options);
    let_it_work(&desk);
    other = viommu_fixture_add_domain(desk.fixture, PIOMMU_DOMAIN_PAGING);
    assert_int_equal(piommu_device_attach(desk.second, other), 0);
    viommu_model_hold(desk.fixture->model, 1);
    assert_int_equal(map(&desk, 0, NEW), 0);
    /* This one takes in its own answer, and asks for no more interrupts for itself. */
    assert_int_equal(piommu_domain_map(other, NEW, FAR, PAGE, RW), 0);
    (void)service(&desk);
    expect_under_way(&desk, 0);
    before = interrupts_of(&desk);
    viommu_model_release(desk.fixture->model);
    run(&desk, ALL);
    assert_int_equal(interrupts_of(&desk), before + 1);
    (void)service(&desk);
    expect_complete(&desk, 0, 0);
    close_desk(&desk);
}

/* ---- Other calls meanwhile ---- */

static int call_map(struct desk *desk)
{
    return piommu_domain_map(desk->domain, 0x900000, FAR, PAGE, RW);
}

static int call_sync(struct desk *desk)
{
    struct piommu_gather gather;

    piommu_gather_init(&gather);
    assert_int_equal(piommu_domain_unmap(desk->domain, OLD + PAGE, PAGE, &gather, NULL), 0);
    return piommu_domain_sync(desk->domain, &gather);
}

static int call_protect(struct desk *desk)
{
    return piommu_domain_protect(desk->domain, OLD + PAGE, PAGE, PIOMMU_PROT_READ,
                                 PIOMMU_ALLOW_HOLE, NULL);
}

static int call_cut(struct desk *desk)
{
    return piommu_domain_unmap_cut(desk->domain, OLD + PAGE, PAGE, PIOMMU_ALLOW_HOLE, NULL);
}

static int call_replace(struct desk *desk)
{
    return piommu_domain_replace(desk->domain, OLD + PAGE, FAR + 77 * PAGE, PAGE, RW,
                                 PIOMMU_ALLOW_HOLE, NULL);
}

static int call_attach_another(struct desk *desk)
{
    return piommu_device_attach(desk->second, desk->domain);
}

static int call_move(struct desk *desk)
{
    int error = piommu_device_attach(
        desk->device, viommu_fixture_add_domain(desk->fixture, PIOMMU_DOMAIN_PAGING));

    return error != 0 ? error : piommu_device_attach(desk->device, desk->domain);
}

static int call_detach(struct desk *desk)
{
    int error = piommu_device_detach(desk->device);

    return error != 0 ? error : piommu_device_attach(desk->device, desk->domain);
}

static int call_suspend(struct desk *desk)
{
    int error = piommu_instance_suspend(desk->fixture->instance);

    return error != 0 ? error : piommu_instance_resume(desk->fixture->instance);
}

static int (*const calls_that_wait[])(struct desk *desk) = {
    call_map,  call_sync,   call_protect, call_cut, call_replace, call_attach_another,
    call_move, call_detach, call_suspend,
};

/*
 * Each of them finds nothing under way when it speaks to the device, and what was posted outlives
 * it. The completion is left to servicing.
 */
static void test_calls_that_speak_to_the_device_wait_for_posts(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(calls_that_wait); i++) {
        struct viommu_fixture_options options;
        struct desk desk;

        set_up_options(&options);
        open_desk_with(&desk, &options);
        assert_int_equal(unmap(&desk, 2, OLD, PAGE), 0);
        assert_int_equal(map(&desk, 0, NEW), 0);
        assert_int_equal(map(&desk, 1, NEW + PAGE), 0);
        assert_int_equal(sync_post(&desk, 2), 0);
        let_it_work(&desk);
        /* If a later request is worked on before an earlier one, they must be independent. */
        viommu_model_set_order(desk.fixture->model, VIOMMU_MODEL_REVERSED, 0);
        desk.fixture->log_count = 0;
        assert_int_equal(calls_that_wait[i](&desk), 0);
        for (size_t j = 0; j < 3; j++) {
            assert_true(desk.fixture->log_count > 3);
            expect_under_way(&desk, j);
        }
        /* The posts' own requests came first. */
        assert_int_equal(
            viommu_fixture_logged(desk.fixture, VIOMMU_MODEL_UNMAP, 0)->request.virt_start, OLD);
        assert_int_equal(
            viommu_fixture_logged(desk.fixture, VIOMMU_MODEL_MAP, 0)->request.virt_start,
            NEW + PAGE);
        assert_int_equal(
            viommu_fixture_logged(desk.fixture, VIOMMU_MODEL_MAP, 1)->request.virt_start, NEW);
        (void)service(&desk);
        for (size_t j = 0; j < 3; j++) {
            expect_complete(&desk, j, 0);
        }
        assert_true(is_mapped(&desk, NEW) && is_mapped(&desk, NEW + PAGE));
        assert_true(reaches(&desk, NEW) && reaches(&desk, NEW + PAGE));
        assert_false(is_mapped(&desk, OLD) || reaches(&desk, OLD));
        close_desk(&desk);
    }
}

static void test_a_call_in_another_domain_does_not_wait_for_posts(void **state)
{
    struct desk desk;
    struct piommu_domain *other;

    (void)state;
    open_desk(&desk);
    let_it_work(&desk);
    other = viommu_fixture_add_domain(desk.fixture, PIOMMU_DOMAIN_PAGING);
    assert_int_equal(piommu_device_attach(desk.second, other), 0);
    viommu_model_hold(desk.fixture->model, 2);
    assert_int_equal(map(&desk, 0, NEW), 0);
    assert_int_equal(map(&desk, 1, NEW + PAGE), 0);
    assert_int_equal(piommu_domain_map(other, NEW, FAR, PAGE, RW), 0);
    /* It has taken in the other answer, too, and leaves the completion to servicing. */
    expect_under_way(&desk, 0);
    (void)service(&desk);
    expect_complete(&desk, 0, 0);
    expect_under_way(&desk, 1);
    viommu_model_release(desk.fixture->model);
    run(&desk, ALL);
    (void)service(&desk);
    expect_complete(&desk, 1, 0);
    close_desk(&desk);
}

static void test_a_ring_full_of_posts_makes_calls_wait_for_room(void **state)
{
    struct desk desk;
    struct piommu_domain *other;
    size_t room;

    (void)state;
    open_desk(&desk);
    let_it_work(&desk);
    other = viommu_fixture_add_domain(desk.fixture, PIOMMU_DOMAIN_PAGING);
    assert_int_equal(piommu_device_attach(desk.second, other), 0);
    room = capacity(&desk);
    for (size_t i = 0; i < room; i++) {
        assert_int_equal(map(&desk, i, NEW + i * PAGE), 0);
    }
    assert_int_equal(piommu_domain_map(other, NEW, FAR, PAGE, RW), 0);
    assert_int_equal(posted_wait(post_of(&desk, room - 1), desk.fixture), 0);
    for (size_t i = 0; i < room; i++) {
        assert_int_equal(posted_wait(post_of(&desk, i), desk.fixture), 0);
    }
    close_desk(&desk);
}

static void test_a_domain_with_completions_to_come_cannot_be_destroyed(void **state)
{
    struct desk desk;

    (void)state;
    open_desk(&desk);
    assert_int_equal(map(&desk, 0, NEW), 0);
    let_it_work(&desk);
    /* The detach waits for it; the completion is still to come. */
    assert_int_equal(piommu_device_detach(desk.device), 0);
    viommu_fixture_remove_device(desk.fixture, desk.device);
    expect_under_way(&desk, 0);
    assert_int_equal(piommu_domain_destroy(desk.domain), -PIOMMU_EBUSY);
    assert_int_equal(piommu_domain_destroy_some(desk.domain, 1), -PIOMMU_EBUSY);
    assert_true(is_mapped(&desk, NEW));
    (void)service(&desk);
    expect_complete(&desk, 0, 0);
    viommu_fixture_remove_domain(desk.fixture, desk.domain);
    close_desk(&desk);
}

/* Records that go, and those that come, with the domain. */
static void test_a_domain_goes_with_what_nobody_has_looked_at_since(void **state)
{
    struct desk desk;

    (void)state;
    open_desk(&desk);
    viommu_model_fail_request(desk.fixture->model, VIOMMU_MODEL_MAP, 2, VIOMMU_MODEL_S_NOMEM);
    assert_int_equal(unmap(&desk, 0, OLD, 2 * PAGE), 0);
    assert_int_equal(sync_post(&desk, 0), 0);
    assert_int_equal(map(&desk, 1, NEW), 0);
    assert_int_equal(map(&desk, 2, NEW + PAGE), 0);
    let_it_work(&desk);
    assert_int_equal(posted_wait(post_of(&desk, 2), desk.fixture), -PIOMMU_ENOMEM);
    close_desk(&desk);
}

/* ---- Refusals ---- */

static void test_a_refused_map_is_removed_again(void **state)
{
    struct desk desk;

    (void)state;
    open_desk(&desk);
    viommu_model_fail_request(desk.fixture->model, VIOMMU_MODEL_MAP, 1, VIOMMU_MODEL_S_NOMEM);
    assert_int_equal(map(&desk, 0, NEW), 0);
    assert_int_equal(map(&desk, 1, NEW + PAGE), 0);
    run(&desk, ALL);
    (void)service(&desk);
    expect_complete(&desk, 1, 0);
    /* The UNMAP that the library has sent is not answered yet. */
    expect_under_way(&desk, 0);
    assert_int_equal(viommu_model_pending(desk.fixture->model), 1);
    assert_int_equal(map(&desk, 2, NEW), -PIOMMU_EEXIST);
    run(&desk, ALL);
    (void)service(&desk);
    expect_complete(&desk, 0, -PIOMMU_ENOMEM);
    assert_int_equal(viommu_fixture_count(desk.fixture, VIOMMU_MODEL_UNMAP), 1);
    assert_false(is_mapped(&desk, NEW));
    assert_true(is_mapped(&desk, NEW + PAGE));
    assert_int_equal(statistics_of(&desk).maps, 3);
    assert_int_equal(map(&desk, 0, NEW), 0);
    run(&desk, ALL);
    (void)service(&desk);
    expect_complete(&desk, 0, 0);
    close_desk(&desk);
}

static void test_a_list_that_is_refused_in_parts_is_removed_as_a_whole(void **state)
{
    struct piommu_segment segments[200];

    (void)state;
    list_far_pieces(segments, COUNT(segments));
    for (uint64_t nth = 1; nth < COUNT(segments); nth += 33) {
        struct desk desk;

        open_desk(&desk);
        viommu_model_fail_request(desk.fixture->model, VIOMMU_MODEL_MAP, nth,
                                  VIOMMU_MODEL_S_DEVERR);
        assert_int_equal(
            posted_map_list(post_of(&desk, 0), desk.domain, NEW, segments, COUNT(segments), RW), 0);
        let_it_work(&desk);
        assert_int_equal(posted_wait(post_of(&desk, 0), desk.fixture), -PIOMMU_EIO);
        assert_int_equal(mapping_count(&desk), 2);
        /* What was not sent then, need not be. */
        assert_true(viommu_fixture_count(desk.fixture, VIOMMU_MODEL_MAP) <
                    nth + capacity(&desk) + 1);
        assert_int_equal(viommu_fixture_count(desk.fixture, VIOMMU_MODEL_UNMAP), 1);
        assert_false(has_failed(&desk));
        close_desk(&desk);
    }
}

/* The way back needs a place in the ring, which others have taken. */
static void test_a_removal_waits_for_room(void **state)
{
    (void)state;
    for (unsigned int calls = 0; calls < 2; calls++) {
        struct desk desk;
        size_t room;

        open_desk(&desk);
        room = capacity(&desk);
        viommu_model_fail_request(desk.fixture->model, VIOMMU_MODEL_MAP, 1, VIOMMU_MODEL_S_NOMEM);
        for (size_t i = 0; i < room; i++) {
            assert_int_equal(map(&desk, i, NEW + i * PAGE), 0);
        }
        run(&desk, 1);
        /* The place of the one that was refused is taken before anybody knows of the refusal. */
        assert_int_equal(map(&desk, room, NEW + room * PAGE), 0);
        (void)service(&desk);
        assert_int_equal(viommu_model_pending(desk.fixture->model), room);
        if (calls != 0) {
            /* Who waits for all that is under way waits for this, too. */
            let_it_work(&desk);
            assert_int_equal(call_map(&desk), 0);
        } else {
            run(&desk, ALL);
            assert_int_equal(viommu_fixture_count(desk.fixture, VIOMMU_MODEL_UNMAP), 0);
            (void)service(&desk);
            expect_complete(&desk, room, 0);
            expect_under_way(&desk, 0);
            run(&desk, ALL);
        }
        assert_int_equal(viommu_fixture_count(desk.fixture, VIOMMU_MODEL_UNMAP), 1);
        (void)service(&desk);
        expect_complete(&desk, 0, -PIOMMU_ENOMEM);
        for (size_t i = 1; i < room; i++) {
            expect_complete(&desk, i, 0);
        }
        assert_int_equal(mapping_count(&desk), 2 + room + calls);
        close_desk(&desk);
    }
}

static void expect_recovery(struct desk *desk)
{
    viommu_model_behave(desk->fixture->model);
    viommu_model_set_processing(desk->fixture->model, desk->fixture->options.processing);
    let_it_work(desk);
    assert_int_equal(piommu_instance_recover(desk->fixture->instance), 0);
    assert_int_equal(map(desk, MAX_POSTS - 1, 0x40000000), 0);
    assert_int_equal(posted_wait(post_of(desk, MAX_POSTS - 1), desk->fixture), 0);
    assert_true(reaches(desk, 0x40000000));
}

static void test_a_device_that_refuses_to_forget_has_failed(void **state)
{
    struct desk desk;

    (void)state;
    open_desk(&desk);
    viommu_model_fail_request(desk.fixture->model, VIOMMU_MODEL_UNMAP, 1, VIOMMU_MODEL_S_DEVERR);
    assert_int_equal(unmap(&desk, 0, OLD, PAGE), 0);
    assert_int_equal(sync_post(&desk, 0), 0);
    assert_int_equal(map(&desk, 1, NEW), 0);
    run(&desk, 1);
    assert_int_equal(service(&desk), -PIOMMU_EFAILED);
    expect_complete(&desk, 0, -PIOMMU_EFAILED);
    expect_complete(&desk, 1, -PIOMMU_EFAILED);
    assert_true(post_of(&desk, 0)->gather.pending);
    assert_false(reaches(&desk, OLD) || reaches(&desk, NEW));
    /* It is sticky, until the device has left or is back. */
    assert_int_equal(sync_post(&desk, 0), -PIOMMU_EFAILED);
    assert_int_equal(map(&desk, 1, NEW), -PIOMMU_EFAILED);
    assert_true(post_of(&desk, 0)->gather.pending);
    expect_recovery(&desk);
    assert_int_equal(piommu_domain_map(desk.domain, OLD, FAR, PAGE, RW), -PIOMMU_EEXIST);
    assert_int_equal(sync_post(&desk, 0), 0);
    assert_int_equal(posted_wait(post_of(&desk, 0), desk.fixture), 0);
    assert_false(reaches(&desk, OLD));
    assert_int_equal(piommu_domain_map(desk.domain, OLD, FAR, PAGE, RW), 0);
    close_desk(&desk);
}

static void test_a_device_that_refuses_to_take_a_map_back_has_failed(void **state)
{
    struct desk desk;

    (void)state;
    open_desk(&desk);
    viommu_model_fail_request(desk.fixture->model, VIOMMU_MODEL_MAP, 1, VIOMMU_MODEL_S_NOMEM);
    viommu_model_fail_request(desk.fixture->model, VIOMMU_MODEL_UNMAP, 1, VIOMMU_MODEL_S_DEVERR);
    assert_int_equal(map(&desk, 0, NEW), 0);
    run(&desk, ALL);
    (void)service(&desk);
    expect_under_way(&desk, 0);
    run(&desk, ALL);
    assert_int_equal(service(&desk), -PIOMMU_EFAILED);
    expect_complete(&desk, 0, -PIOMMU_EFAILED);
    expect_recovery(&desk);
    assert_false(is_mapped(&desk, NEW) || reaches(&desk, NEW));
    close_desk(&desk);
}

/* ---- Devices that are lost ---- */

static void post_some(struct desk *desk)
{
    assert_int_equal(unmap(desk, 0, OLD, PAGE), 0);
    assert_int_equal(sync_post(desk, 0), 0);
    for (size_t i = 1; i < 8; i++) {
        assert_int_equal(map(desk, i, NEW + 2 * i * PAGE), 0);
    }
}

/* All of them, once each, and unsuccessful; nothing of them is left; the device may come back. */
static void expect_all_lost(struct desk *desk)
{
    for (size_t i = 0; i < 8; i++) {
        expect_complete(desk, i, -PIOMMU_EFAILED);
        if (i != 0) {
            assert_false(is_mapped(desk, NEW + 2 * i * PAGE));
        }
    }
    assert_true(has_failed(desk) && post_of(desk, 0)->gather.pending);
    assert_false(reaches(desk, OLD));
    assert_int_equal(service(desk), -PIOMMU_EFAILED);
    expect_recovery(desk);
    assert_true(reaches(desk, OLD + PAGE));
    assert_false(reaches(desk, OLD));
    for (size_t i = 1; i < 8; i++) {
        assert_false(reaches(desk, NEW + 2 * i * PAGE));
        assert_int_equal(map(desk, i, NEW + 2 * i * PAGE), 0);
        assert_int_equal(posted_wait(post_of(desk, i), desk->fixture), 0);
    }
    assert_int_equal(sync_post(desk, 0), 0);
    assert_int_equal(posted_wait(post_of(desk, 0), desk->fixture), 0);
    close_desk(desk);
}

static void pass_time(struct desk *desk, uint64_t time)
{
    uint64_t end = fake_os_time(desk->fixture->os) + time;

    while (fake_os_time(desk->fixture->os) < end) {
        viommu_fixture_wait(desk->fixture);
    }
}

static void test_answers_that_do_not_come_fail_the_device(void **state)
{
    struct desk desk;
    bool more = false;

    (void)state;
    for (unsigned int interrupt = 0; interrupt < 2; interrupt++) {
        open_desk(&desk);
        post_some(&desk);
        pass_time(&desk, TIMEOUT / 2);
        assert_int_equal(service(&desk), 0);
        assert_false(has_failed(&desk));
        pass_time(&desk, TIMEOUT / 2);
        if (interrupt != 0) {
            fake_os_forbid(desk.fixture->os, NO_WAITING);
            assert_int_equal(piommu_instance_interrupt(desk.fixture->instance, 8, &more),
                             -PIOMMU_EFAILED);
            fake_os_forbid(desk.fixture->os, 0);
            /* The device is not stopped yet, and may still work on them. */
            assert_true(more);
            expect_under_way(&desk, 0);
            run(&desk, 3);
        }
        assert_int_equal(service(&desk), -PIOMMU_EFAILED);
        expect_all_lost(&desk);
    }
}

/* One of them is late; others were sent later. */
static void test_an_answer_that_comes_with_the_deadline_counts(void **state)
{
    struct desk desk;

    (void)state;
    open_desk(&desk);
    assert_int_equal(map(&desk, 0, NEW), 0);
    pass_time(&desk, 2 * TIMEOUT);
    run(&desk, ALL);
    assert_int_equal(service(&desk), 0);
    expect_complete(&desk, 0, 0);
    close_desk(&desk);
}

static void test_calls_that_wait_notice_what_is_overdue(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(calls_that_wait); i++) {
        struct viommu_fixture_options options;
        struct desk desk;
        uint64_t before;
        int error;

        set_up_options(&options);
        open_desk_with(&desk, &options);
        post_some(&desk);
        before = fake_os_time(desk.fixture->os);
        error = calls_that_wait[i](&desk);
        assert_int_equal(error, -PIOMMU_EFAILED);
        assert_true(fake_os_time(desk.fixture->os) - before < 4 * TIMEOUT);
        assert_int_equal(service(&desk), -PIOMMU_EFAILED);
        for (size_t j = 0; j < 8; j++) {
            expect_complete(&desk, j, -PIOMMU_EFAILED);
        }
        close_desk(&desk);
    }
}

static void lie_again(struct desk *desk)
{
    run(desk, 2);
    viommu_model_complete_again(desk->fixture->model);
}

static void lie_of_another(struct desk *desk)
{
    viommu_model_misbehave(desk->fixture->model, VIOMMU_MODEL_USED_ID_OUT_OF_RANGE, 1, 0);
    run(desk, 1);
}

static void need_reset(struct desk *desk)
{
    viommu_model_misbehave(desk->fixture->model, VIOMMU_MODEL_NEEDS_RESET, 0, 0);
}

static void test_a_device_that_breaks_ends_its_posts(void **state)
{
    static void (*const breaks[])(struct desk * desk) = {lie_again, lie_of_another, need_reset};

    (void)state;
    for (size_t i = 0; i < COUNT(breaks); i++) {
        struct desk desk;
        size_t lost = 0;

        open_desk(&desk);
        post_some(&desk);
        breaks[i](&desk);
        assert_int_equal(service(&desk), -PIOMMU_EFAILED);
        assert_true(has_failed(&desk));
        for (size_t j = 0; j < 8; j++) {
            assert_int_equal(post_of(&desk, j)->state, POSTED_COMPLETE);
            lost += post_of(&desk, j)->error == -PIOMMU_EFAILED ? 1 : 0;
        }
        /* Those that were answered before are what they are, if their device still counts. */
        assert_true(lost >= 6);
        expect_recovery(&desk);
        close_desk(&desk);
    }
}

static void test_a_call_of_others_that_fails_the_device_ends_posts(void **state)
{
    struct desk desk;
    struct piommu_domain *other;

    (void)state;
    open_desk(&desk);
    let_it_work(&desk);
    other = viommu_fixture_add_domain(desk.fixture, PIOMMU_DOMAIN_PAGING);
    assert_int_equal(piommu_device_attach(desk.second, other), 0);
    desk.fixture->completion_stopped = true;
    post_some(&desk);
    assert_int_equal(piommu_domain_map(other, NEW, FAR, PAGE, RW), -PIOMMU_EFAILED);
    assert_true(has_failed(&desk));
    expect_under_way(&desk, 0);
    assert_int_equal(service(&desk), -PIOMMU_EFAILED);
    expect_all_lost(&desk);
}

/* Without servicing in between. */
static void test_recovery_ends_posts(void **state)
{
    struct desk desk;
    struct piommu_domain *other;

    (void)state;
    open_desk(&desk);
    let_it_work(&desk);
    other = viommu_fixture_add_domain(desk.fixture, PIOMMU_DOMAIN_PAGING);
    assert_int_equal(piommu_device_attach(desk.second, other), 0);
    desk.fixture->completion_stopped = true;
    post_some(&desk);
    assert_int_equal(piommu_domain_map(other, NEW, FAR, PAGE, RW), -PIOMMU_EFAILED);
    let_it_work(&desk);
    assert_int_equal(piommu_instance_recover(desk.fixture->instance), 0);
    expect_under_way(&desk, 0);
    assert_int_equal(map(&desk, 8, 0x40000000), 0);
    assert_int_equal(posted_wait(post_of(&desk, 8), desk.fixture), 0);
    for (size_t i = 0; i < 8; i++) {
        expect_complete(&desk, i, -PIOMMU_EFAILED);
        assert_false(reaches(&desk, NEW + 2 * i * PAGE));
    }
    close_desk(&desk);
}

static void test_a_device_that_does_not_even_stop_ends_its_posts(void **state)
{
    struct desk desk;

    (void)state;
    open_desk(&desk);
    post_some(&desk);
    viommu_model_misbehave(desk.fixture->model, VIOMMU_MODEL_RESET_HANGS, 0, 0);
    pass_time(&desk, TIMEOUT);
    assert_int_equal(service(&desk), -PIOMMU_EFAILED);
    for (size_t i = 0; i < 8; i++) {
        expect_complete(&desk, i, -PIOMMU_EFAILED);
    }
    /* It goes on, and writes into memory that it was given. */
    run(&desk, ALL);
    assert_int_equal(service(&desk), -PIOMMU_EFAILED);
    viommu_model_behave(desk.fixture->model);
    expect_recovery(&desk);
    close_desk(&desk);
}

/* ---- Faults ---- */

static void test_blocking_a_device_waits_for_posts(void **state)
{
    struct desk desk;
    uint8_t byte = 0;

    (void)state;
    viommu_fixture_need(VIOMMU_NEED_EVENTS);
    open_desk(&desk);
    desk.fixture->fault_answer = PIOMMU_FAULT_BLOCK;
    assert_int_equal(map(&desk, 0, NEW), 0);
    assert_int_equal(viommu_model_dma(desk.fixture->model, A, 0x900000, &byte, 1, false), 0);
    let_it_work(&desk);
    assert_true(service(&desk) > 0);
    /* It was under way when the device was blocked, and is complete now. */
    expect_complete(&desk, 0, 0);
    assert_true(is_mapped(&desk, NEW));
    assert_false(reaches(&desk, NEW) || reaches(&desk, OLD));
    assert_int_equal(map(&desk, 0, NEW + PAGE), 1);
    assert_int_equal(piommu_device_attach(desk.device, desk.domain), 0);
    assert_true(reaches(&desk, NEW) && reaches(&desk, NEW + PAGE) && reaches(&desk, OLD));
    close_desk(&desk);
}

/* ---- Traces ---- */

struct trail {
    size_t count;
    struct piommu_event events[16];
};

static void note_event(void *cookie, const struct piommu_event *event)
{
    struct trail *trail = cookie;

    if ((event->kind == PIOMMU_EVENT_MAP || event->kind == PIOMMU_EVENT_SYNC) &&
        trail->count < COUNT(trail->events)) {
        trail->events[trail->count++] = *event;
    }
}

static void expect_event(const struct trail *trail, size_t number, enum piommu_event_kind kind,
                         uint64_t iova, uint64_t size, int error)
{
    assert_true(number < trail->count);
    assert_int_equal(trail->events[number].kind, kind);
    assert_int_equal(trail->events[number].iova, iova);
    assert_int_equal(trail->events[number].size, size);
    assert_int_equal(trail->events[number].error, error);
    if (kind == PIOMMU_EVENT_MAP) {
        assert_int_equal(trail->events[number].physical, FAR);
        assert_int_equal(trail->events[number].prot, RW);
    }
}

static void test_posts_are_traced_when_they_end(void **state)
{
    struct trail trail = {.count = 0};
    struct piommu_context_config config = {.trace = note_event, .cookie = &trail};
    struct piommu_segment segments[] = {{FAR, PAGE}, {FAR + 8 * PAGE, PAGE}};
    struct viommu_fixture_options options;
    struct desk desk;
    struct viommu_fixture *fixture;

    (void)state;
    set_up_options(&options);
    fixture = viommu_fixture_create(&options);
    assert_int_equal(piommu_context_create(fake_os_host(fixture->os), &config, &fixture->context),
                     0);
    assert_int_equal(viommu_fixture_start(fixture), 0);
    desk = (struct desk){.fixture = fixture, .posts = calloc(MAX_POSTS, sizeof(*desk.posts))};
    posted_init(post_of(&desk, 0));
    desk.domain = viommu_fixture_add_domain(fixture, PIOMMU_DOMAIN_PAGING);
    desk.device = viommu_fixture_add_device(fixture, A);
    fixture->paused = true;
    /* At once. */
    assert_int_equal(posted_map(post_of(&desk, 0), desk.domain, NEW, FAR, PAGE, RW), 1);
    expect_event(&trail, 0, PIOMMU_EVENT_MAP, NEW, PAGE, 0);
    assert_int_equal(posted_map(post_of(&desk, 0), desk.domain, NEW, FAR, PAGE, RW),
                     -PIOMMU_EEXIST);
    expect_event(&trail, 1, PIOMMU_EVENT_MAP, NEW, PAGE, -PIOMMU_EEXIST);
    assert_int_equal(unmap(&desk, 0, NEW, PAGE), 0);
    assert_int_equal(sync_post(&desk, 0), 1);
    expect_event(&trail, 2, PIOMMU_EVENT_SYNC, NEW, PAGE, 0);
    assert_int_equal(piommu_device_attach(desk.device, desk.domain), 0);
    /* Later. */
    assert_int_equal(posted_map_list(post_of(&desk, 0), desk.domain, NEW, segments, 2, RW), 0);
    assert_int_equal(trail.count, 3);
    assert_int_equal(posted_wait(post_of(&desk, 0), fixture), 0);
    expect_event(&trail, 3, PIOMMU_EVENT_MAP, NEW, 2 * PAGE, 0);
    viommu_model_fail_request(fixture->model, VIOMMU_MODEL_MAP, 1, VIOMMU_MODEL_S_NOMEM);
    assert_int_equal(posted_map(post_of(&desk, 0), desk.domain, OLD, FAR, PAGE, RW), 0);
    assert_int_equal(posted_wait(post_of(&desk, 0), fixture), -PIOMMU_ENOMEM);
    expect_event(&trail, 4, PIOMMU_EVENT_MAP, OLD, PAGE, -PIOMMU_ENOMEM);
    assert_int_equal(unmap(&desk, 0, NEW, 2 * PAGE), 0);
    assert_int_equal(sync_post(&desk, 0), 0);
    assert_int_equal(posted_wait(post_of(&desk, 0), fixture), 0);
    expect_event(&trail, 5, PIOMMU_EVENT_SYNC, NEW, 2 * PAGE, 0);
    assert_int_equal(trail.count, 6);
    close_desk(&desk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_map_is_there_when_its_completion_comes),
        cmocka_unit_test(test_a_completion_comes_from_servicing_however_quick_the_device_is),
        cmocka_unit_test(test_a_sync_frees_addresses_when_its_completion_comes),
        cmocka_unit_test(test_what_no_hardware_has_to_know_is_complete_at_once),
        cmocka_unit_test(test_malformed_posts_change_nothing),
        cmocka_unit_test(test_a_map_without_memory_changes_nothing),
        cmocka_unit_test(test_many_posts_are_under_way_and_answered_in_any_order),
        cmocka_unit_test(test_a_list_that_does_not_fit_follows),
        cmocka_unit_test(test_a_sync_does_not_reach_into_holes),
        cmocka_unit_test(test_a_completion_may_post),
        cmocka_unit_test(test_an_interrupt_is_enough),
        cmocka_unit_test(test_a_host_that_wants_interrupts_gets_one_for_its_posts),
        cmocka_unit_test(test_a_call_that_waits_leaves_the_interrupt_to_the_posts),
        cmocka_unit_test(test_calls_that_speak_to_the_device_wait_for_posts),
        cmocka_unit_test(test_a_call_in_another_domain_does_not_wait_for_posts),
        cmocka_unit_test(test_a_ring_full_of_posts_makes_calls_wait_for_room),
        cmocka_unit_test(test_a_domain_with_completions_to_come_cannot_be_destroyed),
        cmocka_unit_test(test_a_domain_goes_with_what_nobody_has_looked_at_since),
        cmocka_unit_test(test_a_refused_map_is_removed_again),
        cmocka_unit_test(test_a_list_that_is_refused_in_parts_is_removed_as_a_whole),
        cmocka_unit_test(test_a_removal_waits_for_room),
        cmocka_unit_test(test_a_device_that_refuses_to_forget_has_failed),
        cmocka_unit_test(test_a_device_that_refuses_to_take_a_map_back_has_failed),
        cmocka_unit_test(test_answers_that_do_not_come_fail_the_device),
        cmocka_unit_test(test_an_answer_that_comes_with_the_deadline_counts),
        cmocka_unit_test(test_calls_that_wait_notice_what_is_overdue),
        cmocka_unit_test(test_a_device_that_breaks_ends_its_posts),
        cmocka_unit_test(test_a_call_of_others_that_fails_the_device_ends_posts),
        cmocka_unit_test(test_recovery_ends_posts),
        cmocka_unit_test(test_a_device_that_does_not_even_stop_ends_its_posts),
        cmocka_unit_test(test_blocking_a_device_waits_for_posts),
        cmocka_unit_test(test_posts_are_traced_when_they_end),
    };

    return viommu_fixture_run("virtio_iommu_posts", tests, COUNT(tests));
}
