/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The virtio-iommu backend when things go wrong: requests that fail, devices that lie, stall, die
 * or vanish, hosts without memory; and fault reports. Whatever happens, no master reaches what it
 * was not granted, no call waits for ever, all can be taken down, and nothing is lost.
 */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <piommu/virtio.h>

#include "device_ids.h"
#include "posted.h"
#include "viommu_fixture.h"

#define A        0x10u
#define B        0x18u
#define C        0x20u
#define STRANGER 0x99u
#define PAGE     0x1000ull
#define TIMEOUT  1000000ull
#define RW       (PIOMMU_PROT_READ | PIOMMU_PROT_WRITE)
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const uint32_t only_a[] = {A, UINT32_MAX};
static const uint32_t only_b[] = {B, UINT32_MAX};

static bool has_failed(const struct viommu_fixture *fixture)
{
    struct piommu_instance_info info;

    memset(&info, 0, sizeof(info));
    piommu_instance_get_info(fixture->instance, &info);
    return info.failed;
}

/* ---- A small world, and calls in it ---- */

/*
 * A is in `first` with two mappings, B in `second` with one, C exists but was not added. `third`
 * has mappings and nobody in it. `identity` is there where the device can do it.
 */
struct world {
    struct viommu_fixture *fixture;
    struct piommu_device *a;
    struct piommu_device *b;
    struct piommu_domain *first;
    struct piommu_domain *second;
    struct piommu_domain *third;
    struct piommu_domain *identity;
    struct piommu_gather gather;
    struct posted posted;
};

enum call {
    MAP,
    MAP_LIST,
    SYNC,
    SYNC_LIST,
    POST_MAP,
    POST_MAP_LIST,
    POST_SYNC,
    POST_SYNC_LIST,
    ADD,
    DETACH,
    ATTACH_EMPTY,
    ATTACH_REPLAY,
    ATTACH_SHARED,
    MOVE,
    MOVE_OUT_OF_IDENTITY,
    JOIN,
    CALLS,
};

#define FIRST(n) (0x100000ull + (n)*0x10000ull) /* mappings of `first` */
#define SECOND   0x300000ull
#define THIRD(n) (0x500000ull + (n)*0x10000ull)
#define NEW      0x700000ull
#define PIECES   5u

static uint64_t page(const struct world *world, uint64_t number)
{
    return world->fixture->memory + number * PAGE;
}

static void grant_first(struct world *world, uint32_t endpoint)
{
    viommu_fixture_allow(world->fixture, endpoint, FIRST(0), page(world, 0), 2 * PAGE, RW);
    viommu_fixture_allow(world->fixture, endpoint, FIRST(1), page(world, 4), PAGE, RW);
}

static void grant_second(struct world *world, uint32_t endpoint)
{
    viommu_fixture_allow(world->fixture, endpoint, SECOND, page(world, 8), PAGE, RW);
}

static void grant_third(struct world *world, uint32_t endpoint)
{
    for (uint64_t i = 0; i < 3; i++) {
        viommu_fixture_allow(world->fixture, endpoint, THIRD(i), page(world, 12 + 2 * i), PAGE,
                             PIOMMU_PROT_READ);
    }
}

static void grant_pieces(struct world *world, uint32_t endpoint)
{
    for (uint64_t i = 0; i < PIECES; i++) {
        viommu_fixture_allow(world->fixture, endpoint, NEW + i * PAGE, page(world, 30 + 2 * i),
                             PAGE, RW);
    }
}

static void list_pieces(const struct world *world, struct piommu_segment *segments)
{
    for (uint64_t i = 0; i < PIECES; i++) {
        segments[i] = (struct piommu_segment){page(world, 30 + 2 * i), PAGE};
    }
}

static void map_pieces(struct world *world)
{
    struct piommu_segment segments[PIECES];

    list_pieces(world, segments);
    assert_int_equal(piommu_domain_map_list(world->first, NEW, segments, PIECES, RW), 0);
}

/* What is to be synced. */
static void gather_one(struct world *world)
{
    assert_int_equal(piommu_domain_unmap(world->first, FIRST(0), 2 * PAGE, &world->gather, NULL),
                     0);
}

static void gather_list(struct world *world)
{
    assert_int_equal(piommu_domain_unmap(world->first, FIRST(1), PAGE, &world->gather, NULL), 0);
    assert_int_equal(piommu_domain_unmap(world->first, NEW, PIECES * PAGE, &world->gather, NULL),
                     0);
}

/* The end of a call that was posted, with what it returned: what the whole of it comes to. */
static int end_of_post(struct world *world, int result)
{
    return result != 0 ? result : posted_wait(&world->posted, world->fixture);
}

static int post_sync(struct world *world)
{
    int error;

    world->posted.gather = world->gather;
    error = end_of_post(world, posted_sync(&world->posted, world->first));
    world->gather = world->posted.gather;
    return error;
}

/* The state of the world that a call expects is made without failures. */
static void build(struct world *world, const struct viommu_fixture_options *options, enum call call)
{
    struct viommu_fixture *fixture = viommu_fixture_started(options);

    memset(world, 0, sizeof(*world));
    world->fixture = fixture;
    piommu_gather_init(&world->gather);
    posted_init(&world->posted);
    viommu_model_add_endpoint(fixture->model, STRANGER, NULL, 0);
    viommu_model_add_endpoint(fixture->model, C, NULL, 0);
    if (options->unknown_ids == PIOMMU_UNKNOWN_IDS_BLOCK) {
        viommu_fixture_watch(fixture, STRANGER);
        viommu_fixture_watch(fixture, C);
    }
    world->a = viommu_fixture_add_device(fixture, A);
    world->b = viommu_fixture_add_device(fixture, B);
    world->first = viommu_fixture_add_domain(fixture, PIOMMU_DOMAIN_PAGING);
    world->second = viommu_fixture_add_domain(fixture, PIOMMU_DOMAIN_PAGING);
    world->third = viommu_fixture_add_domain(fixture, PIOMMU_DOMAIN_PAGING);
    world->identity = viommu_fixture_add_domain(fixture, PIOMMU_DOMAIN_IDENTITY);
    viommu_fixture_map(fixture, world->first, FIRST(0), page(world, 0), 2 * PAGE, RW, NULL);
    viommu_fixture_map(fixture, world->first, FIRST(1), page(world, 4), PAGE, RW, NULL);
    viommu_fixture_map(fixture, world->second, SECOND, page(world, 8), PAGE, RW, NULL);
    for (uint64_t i = 0; i < 3; i++) {
        viommu_fixture_map(fixture, world->third, THIRD(i), page(world, 12 + 2 * i), PAGE,
                           PIOMMU_PROT_READ, NULL);
    }
    grant_second(world, B);
    assert_int_equal(piommu_device_attach(world->b, world->second), 0);
    if (call == MOVE_OUT_OF_IDENTITY) {
        viommu_fixture_allow_identity(fixture, A);
        assert_int_equal(piommu_device_attach(world->a, world->identity), 0);
    } else if (call != ATTACH_EMPTY && call != ATTACH_REPLAY && call != ATTACH_SHARED) {
        grant_first(world, A);
        assert_int_equal(piommu_device_attach(world->a, world->first), 0);
    }
    if (call == ATTACH_EMPTY) {
        for (uint64_t i = 0; i < 3; i++) {
            viommu_fixture_unmap(fixture, world->third, THIRD(i), PAGE, NULL);
        }
    }
    if (call == SYNC_LIST || call == POST_SYNC_LIST) {
        grant_pieces(world, A);
        map_pieces(world);
    }
    viommu_fixture_probe_exactly(fixture);
    fixture->log_count = 0;
}

static int perform(struct world *world, enum call call)
{
    struct viommu_fixture *fixture = world->fixture;
    struct piommu_segment segments[PIECES];
    struct piommu_device *device = NULL;
    const uint32_t c = C;

    switch (call) {
    case MAP:
        viommu_fixture_allow(fixture, A, NEW, page(world, 20), PAGE, RW);
        return piommu_domain_map(world->first, NEW, page(world, 20), PAGE, RW);
    case MAP_LIST:
        grant_pieces(world, A);
        list_pieces(world, segments);
        return piommu_domain_map_list(world->first, NEW, segments, PIECES, RW);
    case SYNC:
        gather_one(world);
        return piommu_domain_sync(world->first, &world->gather);
    case SYNC_LIST:
        gather_list(world);
        return piommu_domain_sync(world->first, &world->gather);
    case POST_MAP:
        viommu_fixture_allow(fixture, A, NEW, page(world, 20), PAGE, RW);
        return end_of_post(
            world, posted_map(&world->posted, world->first, NEW, page(world, 20), PAGE, RW));
    case POST_MAP_LIST:
        grant_pieces(world, A);
        list_pieces(world, segments);
        return end_of_post(
            world, posted_map_list(&world->posted, world->first, NEW, segments, PIECES, RW));
    case POST_SYNC:
        gather_one(world);
        return post_sync(world);
    case POST_SYNC_LIST:
        gather_list(world);
        return post_sync(world);
    case ADD:
        return viommu_fixture_try_add(fixture, &c, 1, &device);
    case DETACH:
        return piommu_device_detach(world->a);
    case ATTACH_EMPTY:
        return piommu_device_attach(world->a, world->third);
    case ATTACH_REPLAY:
    case MOVE:
    case MOVE_OUT_OF_IDENTITY:
        grant_third(world, A);
        return piommu_device_attach(world->a, world->third);
    case ATTACH_SHARED:
        grant_second(world, A);
        return piommu_device_attach(world->a, world->second);
    case JOIN:
        grant_first(world, B);
        return piommu_device_attach(world->b, world->first);
    case CALLS:
        break;
    }
    fail();
    return 0;
}

/* What is granted after a call that succeeded, and after one that failed but left all in order. */
static void settle(struct world *world, enum call call, int error)
{
    struct viommu_fixture *fixture = world->fixture;
    bool done = error == 0;

    switch (call) {
    case MAP:
    case MAP_LIST:
    case POST_MAP:
    case POST_MAP_LIST:
        if (!done) {
            viommu_fixture_forbid(fixture, A, NEW, 0x10000);
        }
        break;
    case SYNC:
    case POST_SYNC:
        if (done) {
            viommu_fixture_forbid(fixture, A, FIRST(0), 2 * PAGE);
        }
        break;
    case SYNC_LIST:
    case POST_SYNC_LIST:
        if (done) {
            viommu_fixture_forbid(fixture, A, FIRST(1), PAGE);
            viommu_fixture_forbid(fixture, A, NEW, 0x10000);
        }
        break;
    case DETACH:
        viommu_fixture_forbid(fixture, A, 0, 0);
        break;
    case ATTACH_REPLAY:
    case ATTACH_SHARED:
        if (!done) {
            viommu_fixture_forbid(fixture, A, 0, 0);
        }
        break;
    case MOVE:
    case MOVE_OUT_OF_IDENTITY:
        viommu_fixture_forbid(fixture, A, 0, 0);
        if (done) {
            grant_third(world, A);
        } else if (error != -PIOMMU_EBLOCKED) {
            if (call == MOVE) {
                grant_first(world, A);
            } else {
                viommu_fixture_allow_identity(fixture, A);
            }
        }
        break;
    case JOIN:
        viommu_fixture_forbid(fixture, B, 0, 0);
        if (done) {
            grant_first(world, B);
        } else if (error != -PIOMMU_EBLOCKED) {
            grant_second(world, B);
        }
        break;
    case ADD:
    case ATTACH_EMPTY:
    case CALLS:
        break;
    }
}

static bool maps(enum call call)
{
    return call == MAP || call == MAP_LIST || call == POST_MAP || call == POST_MAP_LIST;
}

static bool syncs(enum call call)
{
    return call == SYNC || call == SYNC_LIST || call == POST_SYNC || call == POST_SYNC_LIST;
}

static bool is_documented(enum call call, int error)
{
    if (error == 0 || error == -PIOMMU_EFAILED) {
        return true;
    }
    switch (call) {
    case SYNC:
    case SYNC_LIST:
    case POST_SYNC:
    case POST_SYNC_LIST:
    case DETACH:
        return false;
    case ADD:
        return error == -PIOMMU_EIO || error == -PIOMMU_ETIMEDOUT || error == -PIOMMU_ENOENT ||
               error == -PIOMMU_EBADMSG || error == -PIOMMU_ENOMEM;
    case MAP:
    case MAP_LIST:
    case POST_MAP:
    case POST_MAP_LIST:
        return error == -PIOMMU_EIO || error == -PIOMMU_ETIMEDOUT || error == -PIOMMU_ENOMEM ||
               error == -PIOMMU_EOPNOTSUPP || error == -PIOMMU_ERANGE || error == -PIOMMU_EINVAL;
    case ATTACH_EMPTY:
    case ATTACH_REPLAY:
    case ATTACH_SHARED:
    case MOVE:
    case MOVE_OUT_OF_IDENTITY:
    case JOIN:
        return error == -PIOMMU_EIO || error == -PIOMMU_ETIMEDOUT || error == -PIOMMU_ENOMEM ||
               error == -PIOMMU_EOPNOTSUPP || error == -PIOMMU_EINVAL ||
               error == -PIOMMU_EBLOCKED || error == -PIOMMU_ENOENT;
    case CALLS:
        break;
    }
    return false;
}

static void forbid_all(struct viommu_fixture *fixture)
{
    fixture->grant_count = 0;
}

/* All that a failed instance has to say. */
static void expect_failed(struct world *world)
{
    struct viommu_fixture *fixture = world->fixture;
    struct piommu_device *device = NULL;
    struct piommu_domain *domain = NULL;
    struct piommu_gather gather;
    const uint32_t id = STRANGER;
    struct piommu_domain_statistics statistics;
    struct device_ids room;
    struct piommu_device_config device_config = {
        .ids = device_ids_of(&room, fixture->instance, &id, 1), .id_count = 1};
    struct piommu_domain_config domain_config = {
        .type = PIOMMU_DOMAIN_PAGING, .instances = &fixture->instance, .instance_count = 1};

    forbid_all(fixture);
    viommu_fixture_probe(fixture);
    assert_int_equal(viommu_model_status(fixture->model) & PIOMMU_VIRTIO_STATUS_DRIVER_OK, 0);
    assert_int_equal(piommu_device_add(fixture->context, &device_config, &device), -PIOMMU_EFAILED);
    assert_int_equal(piommu_domain_create(&domain_config, &domain), -PIOMMU_EFAILED);
    assert_int_equal(piommu_instance_service(fixture->instance, 1), -PIOMMU_EFAILED);
    assert_int_equal(piommu_device_attach(world->a, world->second), -PIOMMU_EFAILED);
    assert_int_equal(piommu_domain_map(world->second, NEW, page(world, 40), PAGE, RW),
                     -PIOMMU_EFAILED);
    piommu_gather_init(&gather);
    assert_int_equal(piommu_domain_unmap(world->second, SECOND, PAGE, &gather, NULL), 0);
    /* The device is stopped: where nothing of it is in the domain any more, that is enough. */
    piommu_domain_get_statistics(world->second, &statistics);
    assert_int_equal(piommu_domain_sync(world->second, &gather),
                     statistics.endpoints != 0 ? -PIOMMU_EFAILED : 0);
    assert_int_equal(gather.pending, statistics.endpoints != 0);
    viommu_fixture_probe(fixture);
}

/* ---- Every request of every call fails, in every way ---- */

struct mishap {
    enum { FAIL, LIE, DEAD } kind;
    uint64_t what; /* a status, or a misbehaviour */
    uint64_t argument;
};

static const struct mishap mishaps[] = {
    {FAIL, 1, 0},
    {FAIL, 2, 0},
    {FAIL, 3, 0},
    {FAIL, 4, 0},
    {FAIL, 5, 0},
    {FAIL, 6, 0},
    {FAIL, 7, 0},
    {FAIL, 8, 0},
    {FAIL, 9, 0},
    {FAIL, 255, 0},
    {LIE, VIOMMU_MODEL_ANSWER_EMPTY, 0},
    {LIE, VIOMMU_MODEL_STATUS_UNTOUCHED, 0},
    {LIE, VIOMMU_MODEL_STATUS_VALUE, 1},
    {LIE, VIOMMU_MODEL_STATUS_VALUE, 2},
    {LIE, VIOMMU_MODEL_STATUS_VALUE, 100},
    {LIE, VIOMMU_MODEL_USED_ID_OUT_OF_RANGE, 0xffffffff},
    {LIE, VIOMMU_MODEL_USED_ID_NOT_IN_FLIGHT, 0},
    {LIE, VIOMMU_MODEL_USED_ID_MIDDLE, 0},
    {LIE, VIOMMU_MODEL_USED_ID_REPEATED, 0},
    {LIE, VIOMMU_MODEL_USED_INDEX_JUMPS, 300},
    {LIE, VIOMMU_MODEL_USED_LENGTH, 0xffffffff},
    {LIE, VIOMMU_MODEL_USED_LENGTH, 1},
    {LIE, VIOMMU_MODEL_USED_LENGTH, 0},
    {LIE, VIOMMU_MODEL_NOT_COMPLETED, 0},
    {LIE, VIOMMU_MODEL_NEEDS_RESET_AFTER, 0},
    {LIE, VIOMMU_MODEL_SCRIBBLE, 0},
    {DEAD, VIOMMU_MODEL_NEEDS_RESET, 0},
    {DEAD, VIOMMU_MODEL_MISBEHAVIOURS, 0},
};

/*
 * The device is trusted with isolation: when it puts an endpoint among the mappings of others and
 * says that it did not, nobody can tell.
 */
static bool is_beyond_defence(enum call call, const struct mishap *mishap)
{
    bool moves = call == ATTACH_SHARED || call == JOIN || call == MOVE ||
                 call == MOVE_OUT_OF_IDENTITY || call == ATTACH_REPLAY;

    return moves && mishap->kind == LIE &&
           (mishap->what == VIOMMU_MODEL_ANSWER_EMPTY ||
            mishap->what == VIOMMU_MODEL_STATUS_UNTOUCHED ||
            mishap->what == VIOMMU_MODEL_STATUS_VALUE ||
            (mishap->what == VIOMMU_MODEL_USED_LENGTH && mishap->argument == 0));
}

/* Each variant does a fourth of the long work. */
static bool is_left_to_others(uint64_t number)
{
    unsigned int variant = viommu_fixture_variant();

    return variant != 0 && (number + variant) % 4 != 0;
}

/* A device behind a cache cannot scribble so that it would be seen. */
static bool is_left_out(const struct viommu_fixture_options *options, size_t mishap)
{
    return is_left_to_others(mishap) ||
           (mishaps[mishap].what == VIOMMU_MODEL_SCRIBBLE && mishaps[mishap].kind == LIE &&
            options->os.non_coherent_rings);
}

static void sweep(const struct viommu_fixture_options *base, enum viommu_model_effect effect,
                  enum viommu_model_order order)
{
    for (enum call call = 0; call < CALLS; call++) {
        for (size_t i = 0; i < COUNT(mishaps); i++) {
            for (uint64_t nth = 1;
                 nth <= 14 && !is_left_out(base, i) && !is_beyond_defence(call, &mishaps[i]);
                 nth++) {
                struct world world;
                struct viommu_fixture *fixture;
                uint64_t before;
                size_t requests;
                int error;

                build(&world, base, call);
                fixture = world.fixture;
                viommu_model_set_effect(fixture->model, effect);
                viommu_model_set_order(fixture->model, order, 1);
                viommu_model_set_retain(fixture->model, true);
                viommu_fixture_probe_exactly(fixture);
                if (mishaps[i].kind == FAIL) {
                    viommu_model_fail_request(fixture->model, 0, nth, (uint8_t)mishaps[i].what);
                } else if (mishaps[i].kind == LIE) {
                    viommu_model_misbehave(fixture->model,
                                           (enum viommu_model_misbehaviour)mishaps[i].what, nth,
                                           mishaps[i].argument);
                } else if (mishaps[i].what == VIOMMU_MODEL_NEEDS_RESET) {
                    viommu_model_misbehave(fixture->model, VIOMMU_MODEL_NEEDS_RESET, 0, 0);
                } else {
                    viommu_model_set_processing(fixture->model, VIOMMU_MODEL_NEVER);
                    fixture->completion_stopped = true;
                }
                snprintf(fixture->scene, sizeof(fixture->scene), "call %d, mishap %d, request %d",
                         (int)call, (int)i, (int)nth);
                before = fake_os_time(fixture->os);
                requests = fixture->log_count;
                error = perform(&world, call);
                /* Going back, and the reset, may take as long again. */
                assert_true(fake_os_time(fixture->os) - before < 10 * TIMEOUT);
                if (!is_documented(call, error) && mishaps[i].kind != FAIL &&
                    mishaps[i].what != VIOMMU_MODEL_STATUS_VALUE) {
                    fail_msg("call %d, mishap %zu, request %d: undocumented error %d", (int)call, i,
                             (int)nth, error);
                }
                requests = fixture->log_count - requests;
                viommu_model_behave(fixture->model);
                if (has_failed(fixture)) {
                    if (error == 0 && call != DETACH && call != ADD) {
                        fail_msg("call %d, mishap %zu, request %d: success on a failed instance",
                                 (int)call, i, (int)nth);
                    }
                    if (syncs(call)) {
                        assert_true(world.gather.pending);
                    }
                    expect_failed(&world);
                } else {
                    settle(&world, call, error);
                    viommu_fixture_probe_exactly(fixture);
                    /* All goes on as if nothing had been. */
                    viommu_model_set_processing(fixture->model, fixture->options.processing);
                    fixture->completion_stopped = false;
                    if (error != 0 && maps(call)) {
                        struct piommu_translation found;

                        assert_int_equal(piommu_domain_lookup(world.first, NEW, &found),
                                         -PIOMMU_ENOENT);
                    }
                    if (error != 0) {
                        error = perform(&world, call);
                        if (error == -PIOMMU_EFAILED) {
                            assert_true(has_failed(fixture));
                            expect_failed(&world);
                        } else {
                            assert_int_equal(error, 0);
                            settle(&world, call, error);
                            viommu_fixture_probe_exactly(fixture);
                        }
                    }
                }
                /* Descriptors that were scribbled over are the device's own doing. */
                if (mishaps[i].kind == LIE) {
                    viommu_model_forget_violations(fixture->model);
                }
                viommu_fixture_destroy(fixture);
                if (nth > requests || mishaps[i].kind == DEAD) {
                    break; /* the call does not send so many */
                }
            }
        }
    }
}

static void sweep_options(struct viommu_fixture_options *options)
{
    viommu_fixture_default_options(options);
    options->os.scattered = true; /* quicker to set up than a flat memory */
    options->timeout = TIMEOUT;
}

static void test_each_failing_request_is_survived_under_block(void **state)
{
    struct viommu_fixture_options options;

    (void)state;
    sweep_options(&options);
    sweep(&options, VIOMMU_MODEL_EFFECT_AT_COMPLETION, VIOMMU_MODEL_IN_ORDER);
}

static void test_each_failing_request_is_survived_under_leave(void **state)
{
    struct viommu_fixture_options options;

    (void)state;
    sweep_options(&options);
    options.unknown_ids = PIOMMU_UNKNOWN_IDS_LEAVE;
    sweep(&options, VIOMMU_MODEL_EFFECT_AT_COMPLETION, VIOMMU_MODEL_IN_ORDER);
}

static void test_each_failing_request_is_survived_by_slow_devices(void **state)
{
    struct viommu_fixture_options options;

    (void)state;
    sweep_options(&options);
    options.processing = VIOMMU_MODEL_AT_RUN;
    options.unknown_ids = PIOMMU_UNKNOWN_IDS_LEAVE;
    sweep(&options, VIOMMU_MODEL_EFFECT_AT_DOORBELL, VIOMMU_MODEL_SHUFFLED);
    options.unknown_ids = PIOMMU_UNKNOWN_IDS_BLOCK;
    sweep(&options, VIOMMU_MODEL_EFFECT_AT_COMPLETION, VIOMMU_MODEL_REVERSED);
}

/* Two requests fail in a row: the call's own, and the one that was to repair it. */
static void test_failures_of_the_repair_are_survived(void **state)
{
    (void)state;
    for (unsigned int leave = 0; leave < 2; leave++) {
        for (enum call call = 0; call < CALLS; call++) {
            for (uint64_t nth = 1; nth <= 8; nth++) {
                for (uint64_t next = 0; next <= 5 && !is_left_to_others(nth); next++) {
                    struct viommu_fixture_options options;
                    struct world world;
                    struct viommu_fixture *fixture;
                    int error;

                    sweep_options(&options);
                    options.unknown_ids =
                        leave != 0 ? PIOMMU_UNKNOWN_IDS_LEAVE : PIOMMU_UNKNOWN_IDS_BLOCK;
                    build(&world, &options, call);
                    fixture = world.fixture;
                    viommu_model_fail_request(fixture->model, 0, nth, VIOMMU_MODEL_S_DEVERR);
                    if (next != 0) {
                        viommu_model_fail_request(fixture->model, 0, nth + next,
                                                  VIOMMU_MODEL_S_DEVERR);
                    } else {
                        for (uint64_t i = nth + 1; i < nth + 8; i++) {
                            viommu_model_fail_request(fixture->model, 0, i, VIOMMU_MODEL_S_DEVERR);
                        }
                    }
                    error = perform(&world, call);
                    assert_true(is_documented(call, error));
                    viommu_model_behave(fixture->model);
                    if (has_failed(fixture)) {
                        assert_true(error != 0 || call == DETACH);
                        expect_failed(&world);
                    } else {
                        settle(&world, call, error);
                        viommu_fixture_probe_exactly(fixture);
                    }
                    viommu_fixture_destroy(fixture);
                }
            }
        }
    }
}

/*
 * A status counts only if the device says that it has written it, and only if it did. An old OK in
 * the same memory must not be taken for an answer.
 */
static void test_answers_without_a_status_are_failures(void **state)
{
    static const struct {
        enum viommu_model_misbehaviour what;
        uint64_t argument;
    } lies[] = {
        {VIOMMU_MODEL_ANSWER_EMPTY, 0}, {VIOMMU_MODEL_STATUS_UNTOUCHED, 0},
        {VIOMMU_MODEL_STATUS_VALUE, 9}, {VIOMMU_MODEL_STATUS_VALUE, 255},
        {VIOMMU_MODEL_USED_LENGTH, 0},
    };

    (void)state;
    viommu_fixture_need_features(VIOMMU_MODEL_F_PROBE);
    for (size_t i = 0; i < COUNT(lies); i++) {
        struct viommu_fixture_options options;
        struct world world;
        struct piommu_device *device = NULL;
        const uint32_t c = C;

        sweep_options(&options);
        build(&world, &options, MAP);
        /* Leaves OK in each place that a request may be put. */
        for (unsigned int j = 0; j < 300; j++) {
            viommu_fixture_map(world.fixture, world.first, NEW, page(&world, 20), PAGE, RW, only_a);
            viommu_fixture_unmap(world.fixture, world.first, NEW, PAGE, only_a);
        }
        viommu_model_misbehave(world.fixture->model, lies[i].what, 1, lies[i].argument);
        assert_int_equal(perform(&world, MAP), -PIOMMU_EIO);
        settle(&world, MAP, -PIOMMU_EIO);
        viommu_fixture_probe_exactly(world.fixture);
        viommu_model_misbehave(world.fixture->model, lies[i].what, 1, lies[i].argument);
        assert_int_equal(viommu_fixture_try_add(world.fixture, &c, 1, &device), -PIOMMU_EIO);
        /* The status of PROBE comes last: all but that one byte is not enough. */
        viommu_model_misbehave(world.fixture->model, VIOMMU_MODEL_USED_LENGTH, 1,
                               options.model.probe_size);
        assert_int_equal(viommu_fixture_try_add(world.fixture, &c, 1, &device), -PIOMMU_EIO);
        assert_int_equal(viommu_fixture_try_add(world.fixture, &c, 1, &device), 0);
        viommu_fixture_destroy(world.fixture);
    }
}

/*
 * Whatever number the device answers with, the caller gets an error that the call's comment names.
 */
static void test_statuses_become_documented_errors(void **state)
{
    static const enum call calls[] = {MAP, MAP_LIST, ADD, ATTACH_EMPTY, ATTACH_SHARED, MOVE, JOIN};

    (void)state;
    for (size_t i = 0; i < COUNT(calls); i++) {
        for (unsigned int status = 1; status < 256; status = status < 10 ? status + 1 : 255) {
            struct viommu_fixture_options options;
            struct world world;
            int error;

            sweep_options(&options);
            build(&world, &options, calls[i]);
            viommu_model_fail_request(world.fixture->model, 0, 1, (uint8_t)status);
            error = perform(&world, calls[i]);
            if (!is_documented(calls[i], error)) {
                fail_msg("call %d, status %u: undocumented error %d", (int)calls[i], status, error);
            }
            settle(&world, calls[i], error);
            viommu_fixture_probe_exactly(world.fixture);
            viommu_fixture_destroy(world.fixture);
            if (status == 255) {
                break;
            }
        }
    }
}

/*
 * An ATTACH that was given up may still be carried out. The device is taken for blocked by then, so
 * it must not find itself among the mappings of others.
 */
static void test_an_attach_that_comes_too_late_grants_nothing(void **state)
{
    (void)state;
    for (unsigned int leave = 0; leave < 2; leave++) {
        struct viommu_fixture_options options;
        struct world world;
        int error;

        sweep_options(&options);
        options.processing = VIOMMU_MODEL_AT_RUN;
        options.unknown_ids = leave != 0 ? PIOMMU_UNKNOWN_IDS_LEAVE : PIOMMU_UNKNOWN_IDS_BLOCK;
        build(&world, &options, ATTACH_SHARED);
        world.fixture->completion_stopped = true;
        error = perform(&world, ATTACH_SHARED);
        assert_int_not_equal(error, 0);
        viommu_fixture_forbid(world.fixture, A, 0, 0);
        if (has_failed(world.fixture)) {
            forbid_all(world.fixture);
        }
        world.fixture->completion_stopped = false;
        viommu_model_run(world.fixture->model, SIZE_MAX);
        viommu_fixture_probe(world.fixture);
        viommu_fixture_destroy(world.fixture);
    }
}

/*
 * A device that attaches and answers nonsense: it is told to detach again. If it refuses that, only
 * a reset takes the endpoint out.
 */
static void test_an_attach_that_was_done_and_not_confirmed_is_undone(void **state)
{
    static const enum viommu_model_misbehaviour ways[] = {VIOMMU_MODEL_STATUS_VALUE,
                                                          VIOMMU_MODEL_ANSWER_EMPTY};

    (void)state;
    for (size_t i = 0; i < 2 * COUNT(ways); i++) {
        struct viommu_fixture_options options;
        struct world world;

        sweep_options(&options);
        options.unknown_ids = i < COUNT(ways) ? PIOMMU_UNKNOWN_IDS_BLOCK : PIOMMU_UNKNOWN_IDS_LEAVE;
        build(&world, &options, ATTACH_SHARED);
        viommu_model_misbehave(world.fixture->model, ways[i % COUNT(ways)], 1, 99);
        assert_int_equal(perform(&world, ATTACH_SHARED),
                         options.model.lone_detach ? -PIOMMU_EFAILED : -PIOMMU_EIO);
        viommu_model_behave(world.fixture->model);
        assert_int_equal(has_failed(world.fixture), options.model.lone_detach);
        viommu_fixture_forbid(world.fixture, A, 0, 0);
        if (options.model.lone_detach) {
            forbid_all(world.fixture);
        }
        viommu_fixture_probe(world.fixture);
        viommu_fixture_destroy(world.fixture);
    }
}

/*
 * The state after a refused request, in the one case where a device may say no without being
 * broken.
 */
static void test_a_refused_map_leaves_nothing(void **state)
{
    (void)state;
    for (uint64_t nth = 1; nth <= PIECES; nth++) {
        struct viommu_fixture_options options;
        struct world world;
        int error;

        sweep_options(&options);
        build(&world, &options, MAP_LIST);
        viommu_model_fail_request(world.fixture->model, VIOMMU_MODEL_MAP, nth,
                                  VIOMMU_MODEL_S_DEVERR);
        error = perform(&world, MAP_LIST);
        assert_int_equal(error, -PIOMMU_EIO);
        assert_false(has_failed(world.fixture));
        settle(&world, MAP_LIST, error);
        viommu_fixture_probe_exactly(world.fixture);
        viommu_fixture_destroy(world.fixture);
    }
}

static void test_a_refused_move_leaves_the_device_where_it_was(void **state)
{
    static const enum call calls[] = {MOVE, MOVE_OUT_OF_IDENTITY, ATTACH_REPLAY, ATTACH_EMPTY};

    (void)state;
    for (size_t i = 0; i < COUNT(calls); i++) {
        struct viommu_fixture_options options;
        struct world world;

        sweep_options(&options);
        build(&world, &options, calls[i]);
        viommu_model_fail_request(world.fixture->model, VIOMMU_MODEL_ATTACH, 1,
                                  VIOMMU_MODEL_S_DEVERR);
        assert_int_equal(perform(&world, calls[i]), -PIOMMU_EIO);
        assert_false(has_failed(world.fixture));
        settle(&world, calls[i], -PIOMMU_EIO);
        viommu_fixture_probe_exactly(world.fixture);
        viommu_fixture_destroy(world.fixture);
    }
}

/* ---- Devices that die ---- */

static void die(struct world *world)
{
    viommu_model_set_processing(world->fixture->model, VIOMMU_MODEL_NEVER);
    world->fixture->completion_stopped = true;
}

static void test_a_dead_device_fails_in_time(void **state)
{
    (void)state;
    for (unsigned int leave = 0; leave < 2; leave++) {
        for (enum call call = 0; call < CALLS; call++) {
            struct viommu_fixture_options options;
            struct world world;
            uint64_t before;
            int error;

            sweep_options(&options);
            if (call == ADD && (options.model.offered_features & VIOMMU_MODEL_F_PROBE) == 0) {
                continue; /* it asks for nothing */
            }
            options.unknown_ids = leave != 0 ? PIOMMU_UNKNOWN_IDS_LEAVE : PIOMMU_UNKNOWN_IDS_BLOCK;
            build(&world, &options, call);
            die(&world);
            before = fake_os_time(world.fixture->os);
            error = perform(&world, call);
            assert_in_range(fake_os_time(world.fixture->os) - before, TIMEOUT, 2 * TIMEOUT);
            if (call == DETACH) {
                assert_int_equal(error, 0);
            } else {
                assert_true(error == -PIOMMU_ETIMEDOUT || error == -PIOMMU_EFAILED);
            }
            assert_true(has_failed(world.fixture));
            expect_failed(&world);
            /* All further calls are quick. */
            before = fake_os_time(world.fixture->os);
            viommu_fixture_take_down(world.fixture);
            assert_true(fake_os_time(world.fixture->os) - before < TIMEOUT);
            viommu_fixture_destroy(world.fixture);
        }
    }
}

static void test_a_device_that_does_not_even_stop_keeps_its_memory(void **state)
{
    (void)state;
    for (unsigned int leave = 0; leave < 2; leave++) {
        for (enum call call = 0; call < CALLS; call++) {
            struct viommu_fixture_options options;
            struct world world;
            struct viommu_fixture *fixture;
            struct piommu_gather gather;
            uint64_t held;
            uint64_t before;
            int error;

            if (call == ADD) {
                continue; /* whether a device was added shows below in another way */
            }
            sweep_options(&options);
            options.unknown_ids = leave != 0 ? PIOMMU_UNKNOWN_IDS_LEAVE : PIOMMU_UNKNOWN_IDS_BLOCK;
            build(&world, &options, call);
            fixture = world.fixture;
            viommu_model_misbehave(fixture->model, VIOMMU_MODEL_RESET_HANGS, 0, 0);
            die(&world);
            error = perform(&world, call);
            assert_true(error == -PIOMMU_ETIMEDOUT || error == -PIOMMU_EFAILED);
            assert_true(has_failed(fixture));
            if (call == DETACH) {
                assert_int_equal(error, -PIOMMU_EFAILED);
            }
            viommu_fixture_probe(fixture);

            /* The old translations may still be in use: nothing that they need is freed. */
            fake_os_forbid(fixture->os, FAKE_OS_FORBID_FREE);
            before = fake_os_time(fixture->os);
            held = fake_os_bytes_outstanding(fixture->os);
            assert_int_equal(piommu_device_detach(world.b), -PIOMMU_EFAILED);
            assert_int_equal(piommu_domain_destroy(world.second), -PIOMMU_EBUSY);
            assert_int_equal(piommu_instance_destroy(fixture->instance), -PIOMMU_EBUSY);
            assert_int_equal(piommu_device_attach(world.b, world.first), -PIOMMU_EFAILED);
            piommu_gather_init(&gather);
            assert_int_equal(piommu_domain_unmap(world.second, SECOND, PAGE, &gather, NULL), 0);
            assert_int_equal(piommu_domain_sync(world.second, &gather), -PIOMMU_EFAILED);
            assert_true(gather.pending);
            assert_int_equal(fake_os_bytes_outstanding(fixture->os), held);
            assert_true(fake_os_time(fixture->os) - before < 20 * TIMEOUT);
            fake_os_forbid(fixture->os, 0);

            /* It obeys at last. */
            viommu_model_behave(fixture->model);
            assert_int_equal(piommu_device_detach(world.b), 0);
            forbid_all(fixture);
            viommu_fixture_probe(fixture);
            viommu_fixture_destroy(fixture);
        }
    }
}

static void test_destroying_an_instance_that_does_not_stop_can_be_tried_again(void **state)
{
    struct viommu_fixture_options options;
    struct viommu_fixture *fixture;
    uint64_t held;

    (void)state;
    sweep_options(&options);
    fixture = viommu_fixture_started(&options);
    viommu_model_misbehave(fixture->model, VIOMMU_MODEL_RESET_HANGS, 0, 0);
    held = fake_os_bytes_outstanding(fixture->os);
    for (unsigned int i = 0; i < 3; i++) {
        uint64_t before = fake_os_time(fixture->os);

        assert_int_equal(piommu_instance_destroy(fixture->instance), -PIOMMU_ETIMEDOUT);
        assert_int_equal(fake_os_bytes_outstanding(fixture->os), held);
        assert_true(fake_os_time(fixture->os) - before < 2 * TIMEOUT);
        assert_int_equal(piommu_context_destroy(fixture->context), -PIOMMU_EBUSY);
    }
    viommu_model_behave(fixture->model);
    assert_int_equal(piommu_instance_destroy(fixture->instance), 0);
    fixture->instance = NULL;
    assert_int_equal(piommu_instance_destroy(NULL), 0);
    viommu_fixture_destroy(fixture);
}

static void test_a_device_that_is_gone_fails(void **state)
{
    (void)state;
    for (enum call call = 0; call < CALLS; call++) {
        struct viommu_fixture_options options;
        struct world world;
        uint64_t before;
        int error;

        sweep_options(&options);
        if (call == ADD && (options.model.offered_features & VIOMMU_MODEL_F_PROBE) == 0) {
            continue; /* it asks for nothing */
        }
        build(&world, &options, call);
        viommu_model_misbehave(world.fixture->model, VIOMMU_MODEL_GONE, 0, 0);
        before = fake_os_time(world.fixture->os);
        error = perform(&world, call);
        assert_true(error == -PIOMMU_EIO || error == -PIOMMU_ETIMEDOUT || error == -PIOMMU_EFAILED);
        assert_true(fake_os_time(world.fixture->os) - before < 4 * TIMEOUT);
        assert_true(has_failed(world.fixture));
        assert_int_equal(piommu_domain_map(world.second, NEW, page(&world, 40), PAGE, RW),
                         -PIOMMU_EFAILED);
        viommu_model_behave(world.fixture->model);
        viommu_fixture_destroy(world.fixture);
    }
}

/*
 * The call that finds out may wait for the reset, no longer than the timeout; those after it may
 * not.
 */
static void test_service_notices_a_device_that_needs_a_reset(void **state)
{
    static const enum viommu_model_misbehaviour ways[] = {VIOMMU_MODEL_NEEDS_RESET,
                                                          VIOMMU_MODEL_GONE};

    (void)state;
    for (size_t i = 0; i < COUNT(ways); i++) {
        struct viommu_fixture_options options;
        struct world world;
        uint64_t before;

        sweep_options(&options);
        build(&world, &options, MAP);
        viommu_model_misbehave(world.fixture->model, ways[i], 0, 0);
        before = fake_os_time(world.fixture->os);
        fake_os_forbid(world.fixture->os, FAKE_OS_FORBID_ALLOCATION);
        assert_int_equal(piommu_instance_service(world.fixture->instance, 10), -PIOMMU_EFAILED);
        assert_true(fake_os_time(world.fixture->os) - before < TIMEOUT + TIMEOUT / 10);
        fake_os_forbid(world.fixture->os, FAKE_OS_FORBID_ALLOCATION | FAKE_OS_FORBID_WAIT);
        assert_int_equal(piommu_instance_service(world.fixture->instance, 10), -PIOMMU_EFAILED);
        fake_os_forbid(world.fixture->os, 0);
        assert_true(has_failed(world.fixture));
        viommu_model_behave(world.fixture->model);
        viommu_fixture_destroy(world.fixture);
    }
}

/* The ids of packed rings have 16 bits, and a length counts for sure only if it is said to. */
static bool is_sound_in_packed_rings(const struct viommu_fixture_options *options, uint32_t id)
{
    return viommu_fixture_is_packed(options) &&
           (id == 0x10000 || (id == 0 && options->model.write_is_unsaid));
}

static void test_a_corrupted_event_ring_fails_the_instance(void **state)
{
    static const struct {
        uint32_t id;
        uint32_t length;
    } entries[] = {{0xffffffff, 24}, {0x10000, 24}, {256, 24}, {65535, 24}, {0, 0xffffffff}};

    (void)state;
    for (size_t i = 0; i < COUNT(entries); i++) {
        struct viommu_fixture_options options;
        struct world world;

        sweep_options(&options);
        if (is_sound_in_packed_rings(&options, entries[i].id)) {
            continue;
        }
        build(&world, &options, MAP);
        viommu_model_inject_used_event(world.fixture->model, entries[i].id, entries[i].length);
        fake_os_forbid(world.fixture->os, FAKE_OS_FORBID_ALLOCATION);
        assert_int_equal(piommu_instance_service(world.fixture->instance, 10), -PIOMMU_EFAILED);
        fake_os_forbid(world.fixture->os, 0);
        assert_true(has_failed(world.fixture));
        /* Nothing was lost in silence: a call that needs the device says so. */
        assert_int_equal(piommu_domain_map(world.first, NEW, page(&world, 40), PAGE, RW),
                         -PIOMMU_EFAILED);
        viommu_model_behave(world.fixture->model);
        viommu_model_forget_violations(world.fixture->model);
        viommu_fixture_destroy(world.fixture);
    }
}

/* A second look of the device at memory that it had given back must not matter. */
static void test_late_answers_of_a_slow_device_are_taken_in(void **state)
{
    struct viommu_fixture_options options;
    struct world world;

    (void)state;
    sweep_options(&options);
    options.processing = VIOMMU_MODEL_AT_RUN;
    options.timeout = 10 * TIMEOUT;
    build(&world, &options, MAP);
    for (unsigned int i = 0; i < 50; i++) {
        viommu_fixture_map(world.fixture, world.first, NEW, page(&world, 20), PAGE, RW, only_a);
        viommu_fixture_probe_exactly(world.fixture);
        viommu_fixture_unmap(world.fixture, world.first, NEW, PAGE, only_a);
    }
    viommu_fixture_destroy(world.fixture);
}

/* ---- Hosts without memory ---- */

static void test_each_failure_of_the_host_changes_nothing(void **state)
{
    (void)state;
    for (unsigned int leave = 0; leave < 2; leave++) {
        for (enum call call = 0; call < CALLS; call++) {
            for (unsigned int forever = 0; forever < 2; forever++) {
                for (uint64_t nth = 1;; nth++) {
                    struct viommu_fixture_options options;
                    struct world world;
                    struct viommu_fixture *fixture;
                    uint64_t held;
                    int error;

                    assert_true(nth < 60);
                    sweep_options(&options);
                    options.unknown_ids =
                        leave != 0 ? PIOMMU_UNKNOWN_IDS_LEAVE : PIOMMU_UNKNOWN_IDS_BLOCK;
                    build(&world, &options, call);
                    fixture = world.fixture;
                    held = fake_os_bytes_outstanding(fixture->os);
                    fake_os_fail_call(fixture->os, nth, forever != 0);
                    error = perform(&world, call);
                    fake_os_fail_call(fixture->os, 0, false);
                    settle(&world, call, error);
                    viommu_fixture_probe_exactly(fixture);
                    assert_false(has_failed(fixture));
                    if (error == 0) {
                        viommu_fixture_destroy(fixture);
                        break;
                    }
                    assert_int_equal(error, -PIOMMU_ENOMEM);
                    assert_int_equal(fake_os_bytes_outstanding(fixture->os), held);
                    error = perform(&world, call);
                    assert_int_equal(error, 0);
                    settle(&world, call, error);
                    viommu_fixture_probe_exactly(fixture);
                    viommu_fixture_destroy(fixture);
                }
            }
        }
    }
}

static void test_creating_domains_survives_each_failure_of_the_host(void **state)
{
    static const enum piommu_domain_type types[] = {PIOMMU_DOMAIN_BLOCKED, PIOMMU_DOMAIN_IDENTITY,
                                                    PIOMMU_DOMAIN_PAGING};
    struct viommu_fixture_options options;
    struct viommu_fixture *fixture;

    (void)state;
    sweep_options(&options);
    fixture = viommu_fixture_started(&options);
    for (size_t i = 0; i < COUNT(types); i++) {
        for (uint64_t nth = 1;; nth++) {
            struct piommu_domain_config config = {
                .type = types[i], .instances = &fixture->instance, .instance_count = 1};
            struct piommu_domain *domain = NULL;
            uint64_t held = fake_os_bytes_outstanding(fixture->os);
            int error;

            assert_true(nth < 20);
            fake_os_fail_call(fixture->os, nth, false);
            error = piommu_domain_create(&config, &domain);
            fake_os_fail_call(fixture->os, 0, false);
            if (error == 0) {
                assert_int_equal(piommu_domain_destroy(domain), 0);
                assert_int_equal(fake_os_bytes_outstanding(fixture->os), held);
                break;
            }
            assert_int_equal(error, -PIOMMU_ENOMEM);
            assert_null(domain);
            assert_int_equal(fake_os_bytes_outstanding(fixture->os), held);
        }
    }
    viommu_fixture_destroy(fixture);
}

static void test_taking_down_allocates_nothing(void **state)
{
    struct viommu_fixture_options options;
    struct world world;

    (void)state;
    sweep_options(&options);
    build(&world, &options, MAP);
    fake_os_forbid(world.fixture->os, FAKE_OS_FORBID_ALLOCATION);
    viommu_fixture_take_down(world.fixture);
    fake_os_forbid(world.fixture->os, 0);
    viommu_fixture_destroy(world.fixture);
}

/* ---- Fault reports ---- */

/* A report as bytes. */
static void put_event(uint8_t bytes[24], uint8_t reason, uint32_t flags, uint32_t endpoint,
                      uint64_t address)
{
    memset(bytes, 0, 24);
    bytes[0] = reason;
    for (unsigned int i = 0; i < 4; i++) {
        bytes[4 + i] = (uint8_t)(flags >> (8 * i) & 0xff);
        bytes[8 + i] = (uint8_t)(endpoint >> (8 * i) & 0xff);
    }
    for (unsigned int i = 0; i < 8; i++) {
        bytes[16 + i] = (uint8_t)(address >> (8 * i) & 0xff);
    }
}

static void test_faults_are_attributed(void **state)
{
    struct viommu_fixture_options options;
    struct world world;
    struct viommu_fixture *fixture;
    const struct piommu_fault *fault;
    struct piommu_instance_info info;
    uint8_t byte = 0;

    (void)state;
    viommu_fixture_need(VIOMMU_NEED_EVENTS);
    sweep_options(&options);
    build(&world, &options, MAP);
    fixture = world.fixture;
    assert_int_equal(piommu_instance_service(fixture->instance, 100), 0);
    assert_int_equal(viommu_model_dma(fixture->model, A, 0xdeadbeefcaf00000ull, &byte, 1, true), 0);
    assert_int_equal(viommu_model_dma(fixture->model, C, 0x1234, &byte, 1, false), 0);
    assert_int_equal(piommu_instance_service(fixture->instance, 100), 2);
    assert_int_equal(fixture->fault_count, 2);
    fault = &fixture->faults[0];
    assert_ptr_equal(fault->instance_owner, fixture);
    assert_string_equal(fault->instance_name, "viommu");
    assert_ptr_equal(fault->device_owner, (void *)(uintptr_t)(0x1000u + A));
    assert_string_equal(fault->device_name, "device");
    assert_ptr_equal(fault->domain_owner, &fixture->domains[0]);
    assert_int_equal(fault->id, A);
    assert_int_equal(fault->reason, PIOMMU_FAULT_MAPPING);
    assert_true(fault->iova_valid);
    assert_int_equal(fault->iova, 0xdeadbeefcaf00000ull);
    fault = &fixture->faults[1];
    assert_null(fault->device_owner);
    assert_null(fault->domain_owner);
    assert_null(fault->device_name);
    assert_int_equal(fault->id, C);
    piommu_instance_get_info(fixture->instance, &info);
    assert_int_equal(info.faults, 2);
    /* B has moved: the report names the domain where it is now. */
    assert_int_equal(piommu_device_detach(world.b), 0);
    viommu_fixture_forbid(fixture, B, 0, 0);
    assert_int_equal(viommu_model_dma(fixture->model, B, SECOND, &byte, 1, true), 0);
    assert_int_equal(piommu_instance_service(fixture->instance, 100), 1);
    assert_ptr_equal(fixture->faults[2].device_owner, (void *)(uintptr_t)(0x1000u + B));
    assert_null(fixture->faults[2].domain_owner);
    assert_int_equal(fixture->faults[2].reason, PIOMMU_FAULT_BLOCKED);
    viommu_fixture_destroy(fixture);
}

static void test_reports_are_decoded(void **state)
{
    static const struct {
        uint8_t reason;
        uint32_t flags;
        enum piommu_fault_reason decoded;
        bool read;
        bool write;
        bool address;
    } reports[] = {
        {0, 0, PIOMMU_FAULT_UNKNOWN, false, false, false},
        {1, 0x101, PIOMMU_FAULT_BLOCKED, true, false, true},
        {2, 0x102, PIOMMU_FAULT_MAPPING, false, true, true},
        {2, 0x002, PIOMMU_FAULT_MAPPING, false, true, false},
        {3, 0x100, PIOMMU_FAULT_UNKNOWN, false, false, true},
        {255, 0x103, PIOMMU_FAULT_UNKNOWN, true, true, true},
        {1, 0xfffffefc, PIOMMU_FAULT_BLOCKED, false, false, false},
    };
    struct viommu_fixture *fixture = viommu_fixture_started(NULL);

    (void)state;
    viommu_fixture_add_device(fixture, A);
    for (size_t i = 0; i < COUNT(reports); i++) {
        const struct piommu_fault *fault = &fixture->faults[i];
        uint8_t bytes[24];

        put_event(bytes, reports[i].reason, reports[i].flags, A, 0x8877665544332211ull);
        bytes[12] = 0x99; /* reserved behind the endpoint: no reason to refuse the report */
        if (i == 0) {
            bytes[12] = 0;
        }
        assert_true(viommu_model_inject_event(fixture->model, bytes, 24, 24));
        assert_int_equal(piommu_instance_service(fixture->instance, 1), 1);
        assert_int_equal(fixture->fault_count, i + 1);
        assert_int_equal(fault->reason, reports[i].decoded);
        assert_int_equal(fault->read, reports[i].read);
        assert_int_equal(fault->write, reports[i].write);
        assert_int_equal(fault->iova_valid, reports[i].address);
        assert_int_equal(fault->id, A);
        if (reports[i].address) {
            assert_int_equal(fault->iova, 0x8877665544332211ull);
        }
        assert_non_null(fault->device_owner);
    }
    viommu_fixture_destroy(fixture);
}

static void test_malformed_reports_are_dropped_and_their_buffers_kept(void **state)
{
    struct viommu_fixture *fixture = viommu_fixture_started(NULL);
    size_t buffers = viommu_model_event_buffers(fixture->model);
    uint8_t bytes[24];

    (void)state;
    /* Too short, of any length; nothing at all; reserved bytes set. More of them than buffers. */
    for (unsigned int i = 0; i < 1000; i++) {
        put_event(bytes, 2, 0x100, A, 0x1000);
        if (i % 27 >= 24) {
            bytes[i % 27 - 24 + 1] = 1;
            assert_true(viommu_model_inject_event(fixture->model, bytes, 24, 24));
        } else {
            assert_true(viommu_model_inject_event(fixture->model, bytes, i % 27, i % 27));
        }
        assert_in_range(piommu_instance_service(fixture->instance, 1), 0, 1);
        assert_int_equal(viommu_model_event_buffers(fixture->model), buffers);
    }
    assert_int_equal(fixture->fault_count, 0);
    /* A length that covers more than was written shows what was there before: no report of old. */
    put_event(bytes, 2, 0x100, A, 0x1000);
    assert_true(viommu_model_inject_event(fixture->model, bytes, 24, 24));
    assert_int_equal(piommu_instance_service(fixture->instance, 1), 1);
    assert_int_equal(fixture->fault_count, 1);
    assert_int_equal(viommu_model_event_buffers(fixture->model), buffers);
    viommu_fixture_destroy(fixture);
}

static void test_floods_are_handled_within_the_budget(void **state)
{
    struct viommu_fixture *fixture = viommu_fixture_started(NULL);
    size_t buffers = viommu_model_event_buffers(fixture->model);
    size_t sent;
    size_t taken = 0;

    (void)state;
    viommu_fixture_add_device(fixture, A);
    sent = viommu_model_flood(fixture->model, A, 0x1000, 100000);
    assert_int_equal(sent, buffers);
    fake_os_forbid(fixture->os,
                   FAKE_OS_FORBID_ALLOCATION | FAKE_OS_FORBID_FREE | FAKE_OS_FORBID_WAIT);
    assert_int_equal(piommu_instance_service(fixture->instance, 0), 0);
    assert_int_equal(fixture->fault_count, 0);
    for (;;) {
        int handled = piommu_instance_service(fixture->instance, 7);

        assert_in_range(handled, 0, 7);
        taken += (size_t)handled;
        assert_int_equal(fixture->fault_count, taken);
        if (handled == 0) {
            break;
        }
    }
    fake_os_forbid(fixture->os, 0);
    assert_int_equal(taken, sent);
    assert_int_equal(viommu_model_event_buffers(fixture->model), buffers);
    assert_int_equal(viommu_model_unannounced(fixture->model, VIOMMU_MODEL_EVENT_QUEUE), 0);
    /* And once more, to see that no buffer was lost. */
    assert_int_equal(viommu_model_flood(fixture->model, A, 0x1000, 100000), buffers);
    assert_int_equal(piommu_instance_service(fixture->instance, 100000), buffers);
    assert_int_equal(viommu_model_event_buffers(fixture->model), buffers);
    viommu_fixture_destroy(fixture);
}

static void test_one_service_call_rings_the_event_doorbell_once(void **state)
{
    struct viommu_fixture *fixture = viommu_fixture_started(NULL);
    uint64_t before;

    (void)state;
    assert_true(viommu_model_flood(fixture->model, A, 0x1000, 10) == 10);
    before = viommu_model_counters(fixture->model)->doorbells[VIOMMU_MODEL_EVENT_QUEUE];
    assert_int_equal(piommu_instance_service(fixture->instance, 10), 10);
    assert_int_equal(viommu_model_counters(fixture->model)->doorbells[VIOMMU_MODEL_EVENT_QUEUE],
                     before + 1);
    assert_int_equal(piommu_instance_service(fixture->instance, 10), 0);
    assert_int_equal(viommu_model_counters(fixture->model)->doorbells[VIOMMU_MODEL_EVENT_QUEUE],
                     before + 1);
    viommu_fixture_destroy(fixture);
}

static void test_service_ends_the_interrupt(void **state)
{
    struct viommu_fixture *fixture = viommu_fixture_started(NULL);

    (void)state;
    assert_true(viommu_model_flood(fixture->model, A, 0x1000, 1) == 1);
    if (fixture->options.message_count != 0) {
        assert_int_equal(fixture->messages_sent[fixture->options.message_count - 1], 1);
    } else {
        assert_true(viommu_model_interrupt_pending(fixture->model));
    }
    assert_int_equal(piommu_instance_service(fixture->instance, 10), 1);
    assert_false(viommu_model_interrupt_pending(fixture->model));
    viommu_fixture_destroy(fixture);
}

static void test_reports_of_nobody_are_reported(void **state)
{
    static const uint32_t ids[] = {0, 1, 0x7fffffff, 0x80000000, 0xffffffff};
    struct viommu_fixture *fixture = viommu_fixture_started(NULL);

    (void)state;
    viommu_fixture_add_device(fixture, A);
    for (size_t i = 0; i < COUNT(ids); i++) {
        uint8_t bytes[24];

        put_event(bytes, 1, 0x101, ids[i], UINT64_MAX);
        assert_true(viommu_model_inject_event(fixture->model, bytes, 24, 24));
        assert_int_equal(piommu_instance_service(fixture->instance, 10), 1);
        assert_int_equal(fixture->faults[i].id, ids[i]);
        assert_null(fixture->faults[i].device_owner);
        assert_null(fixture->faults[i].domain_owner);
    }
    viommu_fixture_destroy(fixture);
}

static void test_faults_are_counted_without_a_callback(void **state)
{
    struct viommu_fixture *fixture = viommu_fixture_create(NULL);
    struct piommu_instance_info info;

    (void)state;
    assert_int_equal(piommu_context_create(fake_os_host(fixture->os), NULL, &fixture->context), 0);
    assert_int_equal(viommu_fixture_start(fixture), 0);
    assert_true(viommu_model_flood(fixture->model, A, 0x1000, 3) == 3);
    assert_int_equal(piommu_instance_service(fixture->instance, 10), 3);
    piommu_instance_get_info(fixture->instance, &info);
    assert_int_equal(info.faults, 3);
    assert_int_equal(fixture->fault_count, 0);
    viommu_fixture_destroy(fixture);
}

/* DMA keeps going on while everything is taken apart, and events keep coming. */
static void test_only_b_keeps_working_while_a_is_abused(void **state)
{
    struct viommu_fixture_options options;
    struct world world;
    uint8_t byte = 0;

    (void)state;
    sweep_options(&options);
    build(&world, &options, MAP);
    for (unsigned int i = 0; i < 50; i++) {
        viommu_model_dma(world.fixture->model, A, 0x1000, &byte, 1, true);
        viommu_fixture_unmap(world.fixture, world.second, SECOND, PAGE, only_b);
        viommu_fixture_map(world.fixture, world.second, SECOND, page(&world, 8), PAGE, RW, only_b);
        viommu_fixture_probe_exactly(world.fixture);
        assert_true(piommu_instance_service(world.fixture->instance, 5) >= 0);
    }
    viommu_fixture_destroy(world.fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_failing_request_is_survived_under_block),
        cmocka_unit_test(test_each_failing_request_is_survived_under_leave),
        cmocka_unit_test(test_each_failing_request_is_survived_by_slow_devices),
        cmocka_unit_test(test_failures_of_the_repair_are_survived),
        cmocka_unit_test(test_answers_without_a_status_are_failures),
        cmocka_unit_test(test_statuses_become_documented_errors),
        cmocka_unit_test(test_an_attach_that_comes_too_late_grants_nothing),
        cmocka_unit_test(test_an_attach_that_was_done_and_not_confirmed_is_undone),
        cmocka_unit_test(test_a_refused_map_leaves_nothing),
        cmocka_unit_test(test_a_refused_move_leaves_the_device_where_it_was),
        cmocka_unit_test(test_a_dead_device_fails_in_time),
        cmocka_unit_test(test_a_device_that_does_not_even_stop_keeps_its_memory),
        cmocka_unit_test(test_destroying_an_instance_that_does_not_stop_can_be_tried_again),
        cmocka_unit_test(test_a_device_that_is_gone_fails),
        cmocka_unit_test(test_service_notices_a_device_that_needs_a_reset),
        cmocka_unit_test(test_a_corrupted_event_ring_fails_the_instance),
        cmocka_unit_test(test_late_answers_of_a_slow_device_are_taken_in),
        cmocka_unit_test(test_each_failure_of_the_host_changes_nothing),
        cmocka_unit_test(test_creating_domains_survives_each_failure_of_the_host),
        cmocka_unit_test(test_taking_down_allocates_nothing),
        cmocka_unit_test(test_faults_are_attributed),
        cmocka_unit_test(test_reports_are_decoded),
        cmocka_unit_test(test_malformed_reports_are_dropped_and_their_buffers_kept),
        cmocka_unit_test(test_floods_are_handled_within_the_budget),
        cmocka_unit_test(test_one_service_call_rings_the_event_doorbell_once),
        cmocka_unit_test(test_service_ends_the_interrupt),
        cmocka_unit_test(test_reports_of_nobody_are_reported),
        cmocka_unit_test(test_faults_are_counted_without_a_callback),
        cmocka_unit_test(test_only_b_keeps_working_while_a_is_abused),
    };

    return viommu_fixture_run("virtio_iommu_failures", tests, COUNT(tests));
}
