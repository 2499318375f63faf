/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * A virtio-iommu that was lost, or was without power, and comes back: what is in the device then is
 * compared with what the core knows, mapping by mapping, and the masters are tried at each step on
 * the way. See viommu_fixture.h.
 */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "viommu_fixture.h"

#define A        0x10u
#define B        0x18u
#define C        0x20u
#define D        0x28u
#define BAD      0x30u
#define STRANGER 0x99u
#define PAGE     0x1000ull
#define TIMEOUT  1000000ull
#define RW       (PIOMMU_PROT_READ | PIOMMU_PROT_WRITE)
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define PIECES   9u

/*
 * A and B are in `shared`, C is in `alone`, D in `identity`, and BAD is in `faulty`, but blocked
 * because of a fault. `empty` has a mapping and nobody in it.
 */
struct world {
    struct viommu_fixture *fixture;
    struct piommu_device *a;
    struct piommu_device *b;
    struct piommu_device *c;
    struct piommu_device *d;
    struct piommu_device *bad;
    struct piommu_domain *shared;
    struct piommu_domain *alone;
    struct piommu_domain *identity;
    struct piommu_domain *faulty;
    struct piommu_domain *empty;
    struct viommu_fixture_grant grants[VIOMMU_FIXTURE_MAX_GRANTS]; /* while they are suspended */
    size_t grant_count;
};

static const uint32_t a_and_b[] = {A, B, UINT32_MAX};
static const uint32_t only_c[] = {C, UINT32_MAX};

static uint64_t page(const struct world *world, uint64_t number)
{
    return world->fixture->memory + number * PAGE;
}

static enum piommu_instance_state state_of(const struct viommu_fixture *fixture)
{
    struct piommu_instance_info info;

    memset(&info, 0, sizeof(info));
    piommu_instance_get_info(fixture->instance, &info);
    assert_int_equal(info.failed, info.state == PIOMMU_INSTANCE_FAILED);
    return info.state;
}

static bool offers(const struct viommu_fixture *fixture, uint64_t feature)
{
    return (fixture->options.model.offered_features & feature) != 0;
}

/* ---- A world ---- */

static void world_options(struct viommu_fixture_options *options, enum piommu_unknown_ids policy)
{
    viommu_fixture_default_options(options);
    options->os.scattered = true;
    options->timeout = TIMEOUT;
    options->unknown_ids = policy;
}

/* Nobody is in the domain: all is sent at the first attach. */
static void map_pieces(struct world *world, struct piommu_domain *domain, const uint32_t *endpoints)
{
    struct piommu_segment segments[PIECES];

    for (uint64_t i = 0; i < PIECES; i++) {
        segments[i] = (struct piommu_segment){page(world, 30 + 2 * i), PAGE};
        for (size_t j = 0; endpoints[j] != UINT32_MAX; j++) {
            viommu_fixture_allow(world->fixture, endpoints[j], 0x400000 + i * PAGE,
                                 segments[i].physical, PAGE, PIOMMU_PROT_READ);
        }
    }
    assert_int_equal(piommu_domain_map_list(domain, 0x400000, segments, PIECES, PIOMMU_PROT_READ),
                     0);
}

static void block_by_fault(struct world *world)
{
    struct viommu_fixture *fixture = world->fixture;
    struct piommu_device_info info;
    uint8_t report[24] = {2, 0, 0, 0, 0, 1, 0, 0, BAD};
    bool more = false;

    fixture->fault_answer = PIOMMU_FAULT_BLOCK;
    assert_true(viommu_model_inject_event(fixture->model, report, sizeof(report), sizeof(report)));
    assert_int_equal(piommu_instance_interrupt(fixture->instance, 10, &more), 1);
    assert_true(piommu_instance_service(fixture->instance, 10) >= 0);
    fixture->fault_answer = PIOMMU_FAULT_NOTE;
    piommu_device_get_info(world->bad, &info);
    assert_true(info.fault_blocked);
    viommu_fixture_forbid(fixture, BAD, 0, 0);
}

static struct piommu_domain *new_domain(struct world *world)
{
    return viommu_fixture_add_domain(world->fixture, PIOMMU_DOMAIN_PAGING);
}

static struct piommu_device *new_member(struct world *world, uint32_t id,
                                        struct piommu_domain *domain)
{
    struct piommu_device *device = viommu_fixture_add_device(world->fixture, id);

    assert_int_equal(piommu_device_attach(device, domain), 0);
    return device;
}

static void build(struct world *world, const struct viommu_fixture_options *options)
{
    struct viommu_fixture *fixture = viommu_fixture_started(options);

    memset(world, 0, sizeof(*world));
    world->fixture = fixture;
    viommu_model_add_endpoint(fixture->model, STRANGER, NULL, 0);
    if (options->unknown_ids == PIOMMU_UNKNOWN_IDS_BLOCK) {
        viommu_fixture_watch(fixture, STRANGER);
    }
    world->shared = new_domain(world);
    world->alone = new_domain(world);
    world->identity = viommu_fixture_add_domain(fixture, PIOMMU_DOMAIN_IDENTITY);
    world->faulty = new_domain(world);
    world->empty = new_domain(world);
    viommu_fixture_map(fixture, world->shared, 0x100000, page(world, 0), 2 * PAGE, RW, a_and_b);
    viommu_fixture_map(fixture, world->shared, 0x102000, page(world, 2), PAGE, RW, a_and_b);
    map_pieces(world, world->shared, a_and_b);
    viommu_fixture_map(fixture, world->alone, 0x100000, page(world, 8), 4 * PAGE, PIOMMU_PROT_READ,
                       only_c);
    viommu_fixture_map(fixture, world->faulty, 0x100000, page(world, 16), PAGE, RW, NULL);
    viommu_fixture_map(fixture, world->empty, 0x100000, page(world, 18), PAGE, RW, NULL);
    world->a = new_member(world, A, world->shared);
    world->b = new_member(world, B, world->shared);
    world->c = new_member(world, C, world->alone);
    viommu_fixture_allow_identity(fixture, D);
    world->d = new_member(world, D, world->identity);
    viommu_fixture_allow(fixture, BAD, 0x100000, page(world, 16), PAGE, RW);
    world->bad = new_member(world, BAD, world->faulty);
    block_by_fault(world);
    viommu_fixture_probe_exactly(fixture);
    fixture->log_count = 0;
}

/* From now on nobody may reach anything. */
static void withdraw_grants(struct world *world)
{
    struct viommu_fixture *fixture = world->fixture;

    memcpy(world->grants, fixture->grants, sizeof(world->grants));
    world->grant_count = fixture->grant_count;
    fixture->grant_count = 0;
    viommu_fixture_probe(fixture);
}

static void restore_grants(struct world *world)
{
    memcpy(world->fixture->grants, world->grants, sizeof(world->grants));
    world->fixture->grant_count = world->grant_count;
}

/* ---- Comparing ---- */

/* What the core has is in the device, request by request, and nothing else is. */
static void compare(const struct world *world, struct piommu_domain *domain, uint32_t endpoint)
{
    const struct viommu_model *model = world->fixture->model;
    struct piommu_translation found;
    uint64_t from = 0;
    uint64_t first;
    uint32_t number;
    size_t count = 0;

    assert_true(viommu_model_domain_of(model, endpoint, &number));
    while (piommu_domain_next(domain, from, UINT64_MAX, &first, &found) == 0) {
        struct viommu_model_mapping mapping;

        assert_true(viommu_model_mapping_at(model, number, first, &mapping));
        assert_int_equal(mapping.first, first);
        assert_int_equal(mapping.last, first + (found.leaf_size - 1));
        assert_int_equal(mapping.physical, found.physical);
        assert_int_equal(mapping.flags, found.prot == RW ? 3 : 1);
        from = mapping.last + 1;
        count++;
    }
    assert_int_equal(viommu_model_mapping_count(model, number), count);
}

static void expect_bypass(const struct viommu_fixture *fixture, uint8_t value)
{
    if (offers(fixture, VIOMMU_MODEL_F_BYPASS_CONFIG)) {
        assert_int_equal(viommu_model_bypass(fixture->model), value);
    }
}

/* What the field is while the instance runs; a device may have kept quiet about how it was. */
static void expect_policy(const struct viommu_fixture *fixture)
{
    const struct viommu_fixture_options *options = &fixture->options;

    if (options->unknown_ids == PIOMMU_UNKNOWN_IDS_BLOCK) {
        expect_bypass(fixture, 0);
    } else if (!options->model.bypass_is_unsaid) {
        expect_bypass(fixture, options->model.initial_bypass);
    }
}

static void expect_all(const struct world *world)
{
    struct piommu_device_info info;

    assert_int_equal(state_of(world->fixture), PIOMMU_INSTANCE_RUNNING);
    viommu_fixture_probe_exactly(world->fixture);
    compare(world, world->shared, A);
    compare(world, world->shared, B);
    compare(world, world->alone, C);
    piommu_device_get_info(world->bad, &info);
    assert_true(info.fault_blocked);
    expect_policy(world->fixture);
}

/* All goes on: old and new mappings, devices and domains, and faults are heard of. */
static void expect_life(struct world *world)
{
    struct viommu_fixture *fixture = world->fixture;
    size_t faults = fixture->fault_count;
    uint64_t messages = 0;
    uint8_t report[24] = {1, 0, 0, 0, 0, 1, 0, 0, STRANGER};

    viommu_fixture_unmap(fixture, world->shared, 0x100000, 2 * PAGE, a_and_b);
    viommu_fixture_map(fixture, world->shared, 0x700000, page(world, 20), PAGE, RW, a_and_b);
    viommu_fixture_allow(fixture, BAD, 0x100000, page(world, 16), PAGE, RW);
    assert_int_equal(piommu_device_attach(world->bad, world->faulty), 0);
    viommu_fixture_forbid(fixture, C, 0, 0);
    viommu_fixture_allow(fixture, C, 0x100000, page(world, 18), PAGE, RW);
    assert_int_equal(piommu_device_detach(world->c), 0);
    assert_int_equal(piommu_device_attach(world->c, world->empty), 0);
    viommu_fixture_probe_exactly(fixture);
    compare(world, world->shared, B);
    compare(world, world->empty, C);
    if (fixture->options.message_count != 0) {
        messages = fixture->messages_sent[fixture->options.message_count - 1];
    }
    assert_true(viommu_model_inject_event(fixture->model, report, sizeof(report), sizeof(report)));
    if (fixture->options.message_count != 0) {
        assert_int_equal(fixture->messages_sent[fixture->options.message_count - 1], messages + 1);
    }
    assert_int_equal(piommu_instance_service(fixture->instance, 10), 1);
    assert_int_equal(fixture->fault_count, faults + 1);
}

static void recover(struct world *world)
{
    restore_grants(world);
    assert_int_equal(piommu_instance_recover(world->fixture->instance), 0);
    expect_all(world);
}

/* With lone_detach not even taking down would go without the loss of the instance. */
static void take_apart(struct world *world)
{
    viommu_model_forget_violations(world->fixture->model);
    viommu_fixture_destroy(world->fixture);
}

/* ---- Ways to be lost ---- */

enum loss {
    NEEDS_RESET,
    SILENT,         /* no answer any more */
    CORRUPT,        /* an answer to nothing */
    RESET_BY_OTHER, /* somebody else has reset it: all is gone but the bypass field */
    GONE,           /* all ones, for a while */
    LOSSES,
};

static const char *const loss_names[LOSSES] = {"needs reset", "silent", "corrupt", "reset by other",
                                               "gone"};

/* Somebody else resets the device, and waits until it has. */
static void reset_by_other(struct viommu_fixture *fixture)
{
    bool pci = fixture->options.model.transport == VIOMMU_MODEL_PCI;
    uint64_t status = pci ? VIOMMU_MODEL_COMMON_OFFSET + 20 : 0x70;
    unsigned int width = pci ? 1 : 4;

    viommu_model_mmio_write(fixture->model, status, width, 0);
    while (viommu_model_mmio_read(fixture->model, status, width) != 0) {
        continue;
    }
}

static int map_one(struct world *world)
{
    return piommu_domain_map(world->alone, 0x900000, page(world, 40), PAGE, RW);
}

/* Loses the instance. Nobody can reach anything afterwards. */
static void lose(struct world *world, enum loss loss)
{
    struct viommu_fixture *fixture = world->fixture;
    uint64_t before = fake_os_time(fixture->os);

    snprintf(fixture->scene, sizeof(fixture->scene), "%s", loss_names[loss]);
    switch (loss) {
    case NEEDS_RESET:
        viommu_model_misbehave(fixture->model, VIOMMU_MODEL_NEEDS_RESET, 0, 0);
        assert_int_equal(piommu_instance_service(fixture->instance, 1), -PIOMMU_EFAILED);
        break;
    case SILENT:
        viommu_model_set_processing(fixture->model, VIOMMU_MODEL_NEVER);
        fixture->completion_stopped = true;
        assert_int_equal(map_one(world), -PIOMMU_EFAILED);
        viommu_model_set_processing(fixture->model, fixture->options.processing);
        fixture->completion_stopped = false;
        break;
    case CORRUPT:
        viommu_model_misbehave(fixture->model, VIOMMU_MODEL_USED_ID_OUT_OF_RANGE, 1, UINT32_MAX);
        assert_int_equal(map_one(world), -PIOMMU_EFAILED);
        break;
    case RESET_BY_OTHER:
        /* What was written to the field is still there. */
        reset_by_other(fixture);
        assert_int_equal(map_one(world), -PIOMMU_EFAILED);
        break;
    case GONE:
        viommu_model_misbehave(fixture->model, VIOMMU_MODEL_GONE, 0, 0);
        assert_int_equal(piommu_instance_service(fixture->instance, 1), -PIOMMU_EFAILED);
        assert_int_equal(piommu_instance_recover(fixture->instance), -PIOMMU_ETIMEDOUT);
        assert_int_equal(state_of(fixture), PIOMMU_INSTANCE_FAILED);
        viommu_model_behave(fixture->model);
        break;
    case LOSSES:
        fail();
    }
    assert_true(fake_os_time(fixture->os) - before < 8 * TIMEOUT);
    assert_int_equal(state_of(fixture), PIOMMU_INSTANCE_FAILED);
    viommu_model_forget_violations(fixture->model); /* those of a ring that is off */
}

/* A device that could not be stopped does what it did; one that was has nobody in it any more. */
static void withdraw_if_stopped(struct world *world, enum loss loss)
{
    if (loss == GONE) {
        memcpy(world->grants, world->fixture->grants, sizeof(world->grants));
        world->grant_count = world->fixture->grant_count;
    } else {
        withdraw_grants(world);
        expect_bypass(world->fixture, 0);
    }
}

/* ---- Recovery ---- */

static void test_recovery_brings_everything_back(void **state)
{
    (void)state;
    for (unsigned int policy = 0; policy < 2; policy++) {
        for (enum loss loss = 0; loss < LOSSES; loss++) {
            struct viommu_fixture_options options;
            struct world world;

            if (loss == RESET_BY_OTHER && policy == PIOMMU_UNKNOWN_IDS_LEAVE) {
                continue; /* that opens everything, and nobody could prevent it */
            }
            world_options(&options, (enum piommu_unknown_ids)policy);
            build(&world, &options);
            for (unsigned int round = 0; round < 2; round++) {
                lose(&world, loss);
                withdraw_if_stopped(&world, loss);
                recover(&world);
                /* It is enough once. */
                world.fixture->log_count = 0;
                assert_int_equal(piommu_instance_recover(world.fixture->instance), 0);
                assert_int_equal(viommu_fixture_count(world.fixture, 0), 0);
            }
            if (!options.model.lone_detach) {
                expect_life(&world);
            }
            take_apart(&world);
        }
    }
}

static void test_changes_while_it_is_lost_are_there_afterwards(void **state)
{
    struct viommu_fixture_options options;
    struct world world;
    struct viommu_fixture *fixture;
    struct piommu_gather gather;

    (void)state;
    world_options(&options, PIOMMU_UNKNOWN_IDS_BLOCK);
    build(&world, &options);
    fixture = world.fixture;
    lose(&world, NEEDS_RESET);
    withdraw_grants(&world);
    fake_os_forbid(fixture->os, FAKE_OS_FORBID_MMIO | FAKE_OS_FORBID_WAIT);
    piommu_gather_init(&gather);
    assert_int_equal(piommu_domain_unmap(world.alone, 0x100000, 4 * PAGE, &gather, NULL), 0);
    assert_int_equal(piommu_domain_sync(world.alone, &gather), -PIOMMU_EFAILED);
    assert_true(gather.pending);
    assert_int_equal(piommu_device_detach(world.b), 0);
    assert_int_equal(map_one(&world), -PIOMMU_EFAILED);
    fake_os_forbid(fixture->os, 0);
    restore_grants(&world);
    viommu_fixture_forbid(fixture, B, 0, 0);
    viommu_fixture_forbid(fixture, C, 0, 0);
    assert_int_equal(piommu_instance_recover(fixture->instance), 0);
    viommu_fixture_probe_exactly(fixture);
    compare(&world, world.shared, A);
    compare(&world, world.alone, C);
    /* What was parked is free after the next sync. */
    assert_int_equal(piommu_domain_map(world.alone, 0x100000, page(&world, 8), PAGE, RW),
                     -PIOMMU_EEXIST);
    assert_int_equal(piommu_domain_sync(world.alone, &gather), 0);
    assert_false(gather.pending);
    viommu_fixture_map(fixture, world.alone, 0x100000, page(&world, 9), PAGE, RW, only_c);
    viommu_fixture_probe_exactly(fixture);
    take_apart(&world);
}

/* The sync in which the unit was lost: its range stays parked until a sync has succeeded. */
static void test_a_gather_of_a_sync_that_failed_is_parked(void **state)
{
    (void)state;
    for (unsigned int policy = 0; policy < 2; policy++) {
        struct viommu_fixture_options options;
        struct world world;
        struct viommu_fixture *fixture;
        struct piommu_gather gather;

        world_options(&options, (enum piommu_unknown_ids)policy);
        build(&world, &options);
        fixture = world.fixture;
        piommu_gather_init(&gather);
        assert_int_equal(piommu_domain_unmap(world.shared, 0x102000, PAGE, &gather, NULL), 0);
        viommu_model_misbehave(fixture->model, VIOMMU_MODEL_NOT_COMPLETED, 1, 0);
        assert_int_equal(piommu_domain_sync(world.shared, &gather), -PIOMMU_EFAILED);
        assert_true(gather.pending);
        viommu_fixture_forbid(fixture, A, 0x102000, PAGE);
        viommu_fixture_forbid(fixture, B, 0x102000, PAGE);
        withdraw_grants(&world);
        recover(&world);
        assert_int_equal(piommu_domain_map(world.shared, 0x102000, page(&world, 2), PAGE, RW),
                         -PIOMMU_EEXIST);
        assert_int_equal(piommu_domain_sync(world.shared, &gather), 0);
        viommu_fixture_map(fixture, world.shared, 0x102000, page(&world, 3), PAGE, RW, a_and_b);
        expect_all(&world);
        take_apart(&world);
    }
}

/* Whatever request of a recovery fails, it has failed again, and the next one succeeds. */
static void test_recovery_fails_at_each_request(void **state)
{
    static const enum viommu_model_misbehaviour lies[] = {
        VIOMMU_MODEL_NOT_COMPLETED, VIOMMU_MODEL_USED_ID_OUT_OF_RANGE,
        VIOMMU_MODEL_NEEDS_RESET_AFTER, VIOMMU_MODEL_MISBEHAVIOURS};

    (void)state;
    for (unsigned int policy = 0; policy < 2; policy++) {
        for (size_t lie = 0; lie < COUNT(lies); lie++) {
            bool over = false;

            for (uint64_t nth = 1; !over; nth++) {
                struct viommu_fixture_options options;
                struct world world;
                struct viommu_fixture *fixture;
                int error;

                assert_true(nth < 100);
                world_options(&options, (enum piommu_unknown_ids)policy);
                build(&world, &options);
                fixture = world.fixture;
                lose(&world, NEEDS_RESET);
                withdraw_grants(&world);
                restore_grants(&world);
                fixture->log_count = 0;
                if (lies[lie] == VIOMMU_MODEL_MISBEHAVIOURS) {
                    viommu_model_fail_request(fixture->model, 0, nth, VIOMMU_MODEL_S_DEVERR);
                } else {
                    viommu_model_misbehave(fixture->model, lies[lie], nth, UINT32_MAX);
                }
                snprintf(fixture->scene, sizeof(fixture->scene), "lie %zu, request %d", lie,
                         (int)nth);
                error = piommu_instance_recover(fixture->instance);
                over = nth > fixture->log_count;
                viommu_model_behave(fixture->model);
                if (error != 0) {
                    assert_int_equal(error, -PIOMMU_EFAILED);
                    assert_int_equal(state_of(fixture), PIOMMU_INSTANCE_FAILED);
                    withdraw_grants(&world);
                    recover(&world);
                }
                expect_all(&world);
                assert_true(over || error != 0 || lies[lie] == VIOMMU_MODEL_NEEDS_RESET_AFTER ||
                            nth == fixture->log_count);
                take_apart(&world);
            }
        }
    }
}

/* The same at each access of a register, by a device that needs a reset, or is gone for a while. */
static void test_recovery_fails_at_each_register(void **state)
{
    static const enum viommu_model_misbehaviour ways[] = {VIOMMU_MODEL_NEEDS_RESET_AT_ACCESS,
                                                          VIOMMU_MODEL_GONE_AT_ACCESS};

    (void)state;
    for (size_t way = 0; way < COUNT(ways); way++) {
        unsigned int successes = 0;

        for (uint64_t nth = 1; successes < 3; nth++) {
            struct viommu_fixture_options options;
            struct world world;
            struct viommu_fixture *fixture;
            int error;

            assert_true(nth < 400);
            world_options(&options, PIOMMU_UNKNOWN_IDS_BLOCK);
            build(&world, &options);
            fixture = world.fixture;
            lose(&world, NEEDS_RESET);
            withdraw_grants(&world);
            restore_grants(&world);
            viommu_model_misbehave(fixture->model, ways[way], nth, 0);
            snprintf(fixture->scene, sizeof(fixture->scene), "way %zu, access %d", way, (int)nth);
            error = piommu_instance_recover(fixture->instance);
            viommu_model_behave(fixture->model);
            if (error == 0 && state_of(fixture) == PIOMMU_INSTANCE_RUNNING) {
                /* It may have struck behind the last look; then service finds it. */
                if (piommu_instance_service(fixture->instance, 1) == 0) {
                    successes++;
                }
            } else {
                assert_true(error == -PIOMMU_EFAILED || error == -PIOMMU_ETIMEDOUT);
            }
            if (state_of(fixture) == PIOMMU_INSTANCE_FAILED) {
                successes = 0;
                assert_int_equal(piommu_instance_recover(fixture->instance), 0);
            }
            expect_all(&world);
            take_apart(&world);
        }
    }
}

/* The host has no memory: with what the instance has it can be recovered all the same. */
static void test_recovery_without_memory(void **state)
{
    struct viommu_fixture_options options;
    struct world world;
    int error;

    (void)state;
    world_options(&options, PIOMMU_UNKNOWN_IDS_BLOCK);
    build(&world, &options);
    lose(&world, NEEDS_RESET);
    withdraw_grants(&world);
    restore_grants(&world);
    fake_os_fail_call(world.fixture->os, 1, true);
    error = piommu_instance_recover(world.fixture->instance);
    fake_os_fail_call(world.fixture->os, 0, false);
    assert_true(error == 0 || error == -PIOMMU_EFAILED);
    if (error != 0) {
        recover(&world);
    }
    expect_all(&world);
    take_apart(&world);
}

static void test_recovery_of_what_does_not_stop_can_be_tried_again(void **state)
{
    struct viommu_fixture_options options;
    struct world world;
    struct viommu_fixture *fixture;

    (void)state;
    world_options(&options, PIOMMU_UNKNOWN_IDS_BLOCK);
    build(&world, &options);
    fixture = world.fixture;
    viommu_model_misbehave(fixture->model, VIOMMU_MODEL_RESET_HANGS, 0, 0);
    viommu_model_misbehave(fixture->model, VIOMMU_MODEL_NEEDS_RESET, 0, 0);
    assert_int_equal(piommu_instance_service(fixture->instance, 1), -PIOMMU_EFAILED);
    for (unsigned int i = 0; i < 3; i++) {
        fake_os_forbid(fixture->os, FAKE_OS_FORBID_FREE);
        assert_int_equal(piommu_instance_recover(fixture->instance), -PIOMMU_ETIMEDOUT);
        fake_os_forbid(fixture->os, 0);
        assert_int_equal(state_of(fixture), PIOMMU_INSTANCE_FAILED);
    }
    viommu_model_behave(fixture->model);
    assert_int_equal(piommu_instance_recover(fixture->instance), 0);
    expect_all(&world);
    take_apart(&world);
}

static void test_recovery_refuses_what_makes_no_sense(void **state)
{
    struct viommu_fixture *fixture = viommu_fixture_started(NULL);

    (void)state;
    assert_int_equal(piommu_instance_recover(NULL), -PIOMMU_EINVAL);
    assert_int_equal(piommu_instance_suspend(NULL), -PIOMMU_EINVAL);
    assert_int_equal(piommu_instance_resume(NULL), -PIOMMU_EINVAL);
    assert_int_equal(piommu_instance_resume(fixture->instance), 0);
    assert_int_equal(piommu_instance_recover(fixture->instance), 0);
    viommu_fixture_destroy(fixture);
}

/* ---- Suspend and resume ---- */

static void suspend(struct world *world)
{
    assert_int_equal(piommu_instance_suspend(world->fixture->instance), 0);
    assert_int_equal(piommu_instance_suspend(world->fixture->instance), 0);
    assert_int_equal(state_of(world->fixture), PIOMMU_INSTANCE_SUSPENDED);
    withdraw_grants(world);
    expect_bypass(world->fixture, 0);
}

/* The power comes back: until the end of resume the masters are kept quiet, so nobody looks. */
static int lose_power_and_resume(struct world *world)
{
    int error;

    world->fixture->paused = true;
    viommu_fixture_lose_power(world->fixture);
    error = piommu_instance_resume(world->fixture->instance);
    world->fixture->paused = false;
    return error;
}

static void test_resume_restores_what_the_power_took(void **state)
{
    (void)state;
    for (unsigned int policy = 0; policy < 2; policy++) {
        for (unsigned int power_lost = 0; power_lost < 2; power_lost++) {
            struct viommu_fixture_options options;
            struct world world;

            world_options(&options, (enum piommu_unknown_ids)policy);
            build(&world, &options);
            for (unsigned int round = 0; round < 2; round++) {
                suspend(&world);
                restore_grants(&world);
                if (power_lost != 0) {
                    assert_int_equal(lose_power_and_resume(&world), 0);
                } else {
                    assert_int_equal(piommu_instance_resume(world.fixture->instance), 0);
                }
                expect_all(&world);
            }
            if (!options.model.lone_detach) {
                expect_life(&world);
            }
            take_apart(&world);
        }
    }
}

static void test_what_changes_while_it_sleeps_is_there_afterwards(void **state)
{
    struct viommu_fixture_options options;
    struct world world;
    struct viommu_fixture *fixture;
    struct piommu_gather gather;
    struct piommu_device *device = NULL;
    const uint32_t stranger = STRANGER;
    bool more = true;

    (void)state;
    world_options(&options, PIOMMU_UNKNOWN_IDS_BLOCK);
    build(&world, &options);
    fixture = world.fixture;
    suspend(&world);
    fake_os_forbid(fixture->os, FAKE_OS_FORBID_MMIO | FAKE_OS_FORBID_WAIT);
    assert_int_equal(map_one(&world), 0);
    piommu_gather_init(&gather);
    assert_int_equal(piommu_domain_unmap(world.shared, 0x100000, 2 * PAGE, &gather, NULL), 0);
    assert_int_equal(piommu_domain_sync(world.shared, &gather), 0);
    assert_int_equal(
        piommu_domain_map(world.shared, 0x100000, page(&world, 50), PAGE, PIOMMU_PROT_READ), 0);
    assert_int_equal(piommu_device_detach(world.b), 0);
    assert_int_equal(piommu_device_attach(world.b, world.empty), 0);
    assert_int_equal(piommu_device_detach(world.d), 0);
    assert_int_equal(viommu_fixture_try_add(fixture, &stranger, 1, &device), -PIOMMU_EBUSY);
    assert_int_equal(piommu_instance_service(fixture->instance, 10), 0);
    assert_int_equal(piommu_instance_interrupt(fixture->instance, 10, &more), 0);
    assert_false(more);
    fake_os_forbid(fixture->os, 0);
    restore_grants(&world);
    viommu_fixture_forbid(fixture, A, 0x100000, 2 * PAGE);
    viommu_fixture_forbid(fixture, B, 0, 0);
    viommu_fixture_forbid(fixture, D, 0, 0);
    viommu_fixture_allow(fixture, A, 0x100000, page(&world, 50), PAGE, PIOMMU_PROT_READ);
    viommu_fixture_allow(fixture, B, 0x100000, page(&world, 18), PAGE, RW);
    viommu_fixture_allow(fixture, C, 0x900000, page(&world, 40), PAGE, RW);
    assert_int_equal(lose_power_and_resume(&world), 0);
    viommu_fixture_probe_exactly(fixture);
    compare(&world, world.shared, A);
    compare(&world, world.empty, B);
    compare(&world, world.alone, C);
    take_apart(&world);
}

/* Suspending a unit that does not answer, and resuming one, fail it; then it can be recovered. */
static void test_suspend_and_resume_fail_and_recover(void **state)
{
    (void)state;
    for (unsigned int resuming = 0; resuming < 2; resuming++) {
        struct viommu_fixture_options options;
        struct world world;
        struct viommu_fixture *fixture;

        world_options(&options, PIOMMU_UNKNOWN_IDS_BLOCK);
        build(&world, &options);
        fixture = world.fixture;
        if (resuming != 0) {
            suspend(&world);
            restore_grants(&world);
            viommu_model_misbehave(fixture->model, VIOMMU_MODEL_NOT_COMPLETED, 1, 0);
            assert_int_equal(lose_power_and_resume(&world), -PIOMMU_EFAILED);
        } else {
            viommu_model_misbehave(fixture->model, VIOMMU_MODEL_RESET_HANGS, 0, 0);
            assert_int_equal(piommu_instance_suspend(fixture->instance), -PIOMMU_EFAILED);
        }
        viommu_model_behave(fixture->model);
        assert_int_equal(state_of(fixture), PIOMMU_INSTANCE_FAILED);
        assert_int_equal(piommu_instance_recover(fixture->instance), 0);
        expect_all(&world);
        take_apart(&world);
    }
}

/* ---- The bypass field ---- */

static void test_the_bypass_field_is_written_whatever_it_reads(void **state)
{
    (void)state;
    viommu_fixture_need_features(VIOMMU_MODEL_F_BYPASS_CONFIG);
    for (uint8_t initial = 0; initial < 2; initial++) {
        struct viommu_fixture_options options;
        struct viommu_fixture *fixture;
        uint64_t writes;

        world_options(&options, PIOMMU_UNKNOWN_IDS_BLOCK);
        options.model.initial_bypass = initial;
        fixture = viommu_fixture_started(&options);
        writes = viommu_model_counters(fixture->model)->bypass_writes;
        assert_true(writes > 0);
        expect_bypass(fixture, 0);
        assert_int_equal(piommu_instance_destroy(fixture->instance), 0);
        expect_bypass(fixture, 0);
        /* The next one does not rely on that. */
        writes = viommu_model_counters(fixture->model)->bypass_writes;
        assert_int_equal(viommu_fixture_start(fixture), 0);
        assert_true(viommu_model_counters(fixture->model)->bypass_writes > writes);
        viommu_fixture_destroy(fixture);
    }
}

static void test_the_bypass_field_under_leave(void **state)
{
    (void)state;
    viommu_fixture_need_features(VIOMMU_MODEL_F_BYPASS_CONFIG);
    for (uint8_t initial = 0; initial < 2; initial++) {
        struct viommu_fixture_options options;
        struct world world;

        world_options(&options, PIOMMU_UNKNOWN_IDS_LEAVE);
        options.model.initial_bypass = initial;
        options.model.bypass_is_unsaid = false; /* then it could not be told how it was */
        build(&world, &options);
        expect_bypass(world.fixture, initial);
        suspend(&world); /* looks at the field */
        restore_grants(&world);
        assert_int_equal(piommu_instance_resume(world.fixture->instance), 0);
        expect_bypass(world.fixture, initial);
        lose(&world, NEEDS_RESET);
        withdraw_grants(&world);
        expect_bypass(world.fixture, 0);
        recover(&world); /* looks at the field */
        viommu_fixture_take_down(world.fixture);
        expect_bypass(world.fixture, initial);
        take_apart(&world);
    }
}

/* One read of the configuration is wrong, whichever: that which confirms the 0 is among them. */
static void test_a_bypass_field_that_does_not_stay_closed_is_noticed(void **state)
{
    unsigned int refusals = 0;

    (void)state;
    viommu_fixture_need_features(VIOMMU_MODEL_F_BYPASS_CONFIG);
    for (uint64_t nth = 1; nth <= 16; nth++) {
        struct viommu_fixture_options options;
        struct viommu_fixture *fixture;

        world_options(&options, PIOMMU_UNKNOWN_IDS_BLOCK);
        fixture = viommu_fixture_create(&options);
        viommu_model_misbehave(fixture->model, VIOMMU_MODEL_CONFIG_FLICKERS, nth, 1);
        refusals += viommu_fixture_start(fixture) == -PIOMMU_EIO;
        viommu_model_behave(fixture->model);
        viommu_fixture_destroy(fixture);
    }
    assert_int_equal(refusals, 1);
}

/* ---- Devices that run ---- */

static void expect_running(struct viommu_fixture *fixture)
{
    uint64_t physical = 0;

    if (viommu_model_translate(fixture->model, A, fixture->memory, true, &physical) !=
            VIOMMU_MODEL_IDENTITY ||
        physical != fixture->memory) {
        fail_msg("%s: the device that runs was interrupted", fixture->scene);
    }
}

/* In paging domains the mappings come behind the attach; but it is in none but these. */
static void expect_never_detached(struct viommu_fixture *fixture)
{
    uint32_t number;

    if (!viommu_model_domain_of(fixture->model, A, &number)) {
        fail_msg("%s: the device that runs was detached", fixture->scene);
    }
}

static enum piommu_domain_type chosen_type;
static struct piommu_domain *chosen;

static struct piommu_domain *choose(void *cookie, const struct piommu_device *device)
{
    struct viommu_fixture *fixture = cookie;

    (void)device;
    if (chosen == NULL && chosen_type != PIOMMU_DOMAIN_BLOCKED) {
        chosen = viommu_fixture_add_domain(fixture, chosen_type);
        if (chosen_type == PIOMMU_DOMAIN_PAGING) {
            assert_int_equal(piommu_domain_map(chosen, fixture->memory, fixture->memory, PAGE, RW),
                             0);
        }
    }
    return chosen;
}

/* A runs when the instance comes; B does not. */
static struct viommu_fixture *start_with_running(enum piommu_unknown_ids policy,
                                                 enum piommu_domain_type type)
{
    static const uint32_t running[] = {A};
    struct viommu_fixture_options options;
    struct viommu_fixture *fixture;
    struct piommu_virtio_iommu_config place;

    world_options(&options, policy);
    fixture = viommu_fixture_create(&options);
    viommu_model_add_endpoint(fixture->model, A, NULL, 0);
    viommu_model_add_endpoint(fixture->model, B, NULL, 0);
    chosen = NULL;
    chosen_type = type;
    fixture->choose_domain = choose;
    viommu_fixture_watch(fixture, A);
    viommu_fixture_allow_identity(fixture, A);
    if (offers(fixture, VIOMMU_MODEL_F_BYPASS_CONFIG)) {
        fixture->on_look = expect_running;
    }
    /* A device that is switched off has no bypass that it could tell of. */
    place = viommu_fixture_place(fixture);
    place.running = running;
    place.running_count = COUNT(running);
    assert_int_equal(viommu_fixture_start_at(fixture, &place), 0);
    fixture->on_look = NULL;
    expect_running(fixture);
    if (policy == PIOMMU_UNKNOWN_IDS_BLOCK) {
        viommu_fixture_watch(fixture, B);
        viommu_fixture_probe(fixture);
    }
    assert_int_equal(viommu_fixture_count(fixture, VIOMMU_MODEL_PROBE), 0);
    return fixture;
}

static void test_a_device_that_runs_goes_to_its_domain_uninterrupted(void **state)
{
    static const enum piommu_domain_type types[] = {PIOMMU_DOMAIN_IDENTITY, PIOMMU_DOMAIN_PAGING};

    (void)state;
    viommu_fixture_need_features(VIOMMU_MODEL_F_BYPASS_CONFIG);
    for (unsigned int policy = 0; policy < 2; policy++) {
        for (size_t i = 0; i < COUNT(types); i++) {
            struct viommu_fixture *fixture =
                start_with_running((enum piommu_unknown_ids)policy, types[i]);
            struct piommu_device *device;

            snprintf(fixture->scene, sizeof(fixture->scene), "policy %u, type %d", policy,
                     (int)types[i]);
            if (types[i] == PIOMMU_DOMAIN_IDENTITY) {
                fixture->on_look = expect_running;
            } else if (policy == PIOMMU_UNKNOWN_IDS_BLOCK) {
                fixture->on_look = expect_never_detached;
            }
            device = viommu_fixture_add_device(fixture, A);
            fixture->on_look = NULL;
            if (types[i] == PIOMMU_DOMAIN_PAGING) {
                viommu_fixture_forbid(fixture, A, 0, 0);
                viommu_fixture_allow(fixture, A, fixture->memory, fixture->memory, PAGE, RW);
            }
            viommu_fixture_probe_exactly(fixture);
            assert_int_equal(piommu_device_detach(device), 0);
            viommu_fixture_forbid(fixture, A, 0, 0);
            viommu_fixture_probe(fixture);
            viommu_fixture_destroy(fixture);
        }
    }
}

static void test_a_device_that_runs_is_blocked_if_it_has_no_domain(void **state)
{
    (void)state;
    viommu_fixture_need_features(VIOMMU_MODEL_F_BYPASS_CONFIG);
    for (unsigned int policy = 0; policy < 2; policy++) {
        struct viommu_fixture *fixture =
            start_with_running((enum piommu_unknown_ids)policy, PIOMMU_DOMAIN_BLOCKED);

        (void)viommu_fixture_add_device(fixture, A);
        viommu_fixture_forbid(fixture, A, 0, 0);
        viommu_fixture_probe(fixture);
        viommu_fixture_destroy(fixture);
    }
}

/* Nobody has added it: when the instance is destroyed it is as others are. */
static void test_a_device_that_runs_and_is_never_added(void **state)
{
    struct viommu_fixture *fixture;

    (void)state;
    viommu_fixture_need_features(VIOMMU_MODEL_F_BYPASS_CONFIG);
    fixture = start_with_running(PIOMMU_UNKNOWN_IDS_BLOCK, PIOMMU_DOMAIN_BLOCKED);
    viommu_fixture_unwatch(fixture, A);
    viommu_fixture_destroy(fixture);
}

/* IDs that do not exist, or that are named twice, are no reason not to start. */
static void test_devices_that_run_may_be_nobody(void **state)
{
    static const uint32_t running[] = {A, STRANGER, A};
    struct viommu_fixture_options options;
    struct viommu_fixture *fixture;
    struct piommu_virtio_iommu_config place;
    int error;

    (void)state;
    world_options(&options, PIOMMU_UNKNOWN_IDS_BLOCK);
    fixture = viommu_fixture_create(&options);
    viommu_model_add_endpoint(fixture->model, A, NULL, 0);
    place = viommu_fixture_place(fixture);
    place.running = running;
    place.running_count = COUNT(running);
    error = viommu_fixture_start_at(fixture, &place);
    if (error != 0) {
        assert_true(error == -PIOMMU_ENOENT || error == -PIOMMU_EINVAL || error == -PIOMMU_EIO);
        fixture->instance = NULL;
    } else {
        viommu_fixture_watch(fixture, A);
        (void)viommu_fixture_add_device(fixture, A);
        viommu_fixture_probe(fixture);
    }
    viommu_fixture_destroy(fixture);
}

/* ---- Identity ---- */

static void allow_identity_but(struct viommu_fixture *fixture, uint32_t id, uint64_t first,
                               uint64_t last)
{
    viommu_fixture_allow(fixture, id, 0, 0, first, RW);
    viommu_fixture_allow(fixture, id, last + 1, last + 1, 0 - (last + 1), RW);
    viommu_fixture_look(fixture, first);
    viommu_fixture_look(fixture, last);
}

/* What each of them cannot map is its own matter, though they are in one domain. */
static void test_identity_by_mappings_leaves_out_reserved_regions_of_each(void **state)
{
    const struct viommu_model_region of_a = {.start = 0x8000000, .end = 0x80fffff};
    const struct viommu_model_region of_b = {.start = 0x20000000, .end = 0x20000fff};
    const uint32_t ids[] = {A, B};
    struct viommu_fixture_options options;
    struct viommu_fixture *fixture;
    struct piommu_device *devices[2] = {NULL, NULL};
    struct piommu_domain *identity;

    (void)state;
    viommu_fixture_need(VIOMMU_NEED_TOP);
    world_options(&options, PIOMMU_UNKNOWN_IDS_BLOCK);
    options.model.offered_features &= ~VIOMMU_MODEL_F_BYPASS_CONFIG;
    options.model.offered_features |= VIOMMU_MODEL_F_PROBE;
    options.model.initial_bypass = 0;
    options.model.config_length = 36;
    fixture = viommu_fixture_started(&options);
    viommu_model_add_endpoint(fixture->model, A, &of_a, 1);
    viommu_model_add_endpoint(fixture->model, B, &of_b, 1);
    identity = viommu_fixture_add_domain(fixture, PIOMMU_DOMAIN_IDENTITY);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(viommu_fixture_try_add(fixture, &ids[i], 1, &devices[i]), 0);
    }
    for (unsigned int round = 0; round < 3; round++) {
        allow_identity_but(fixture, A, of_a.start, of_a.end);
        assert_int_equal(piommu_device_attach(devices[0], identity), 0);
        viommu_fixture_probe_exactly(fixture);
        allow_identity_but(fixture, B, of_b.start, of_b.end);
        assert_int_equal(piommu_device_attach(devices[1], identity), 0);
        viommu_fixture_probe_exactly(fixture);
        if (round == 1) {
            viommu_model_misbehave(fixture->model, VIOMMU_MODEL_NEEDS_RESET, 0, 0);
            assert_int_equal(piommu_instance_service(fixture->instance, 1), -PIOMMU_EFAILED);
            assert_int_equal(piommu_instance_recover(fixture->instance), 0);
            viommu_fixture_probe_exactly(fixture);
        }
        for (size_t i = 0; i < 2; i++) {
            assert_int_equal(piommu_device_detach(devices[i]), 0);
            viommu_fixture_forbid(fixture, ids[i], 0, 0);
            viommu_fixture_probe_exactly(fixture);
        }
    }
    viommu_fixture_destroy(fixture);
}

static void test_identity_by_mappings_keeps_to_the_input_range(void **state)
{
    struct viommu_fixture_options options;
    struct viommu_fixture *fixture;
    struct piommu_device *device;

    (void)state;
    world_options(&options, PIOMMU_UNKNOWN_IDS_BLOCK);
    options.model.offered_features &= ~VIOMMU_MODEL_F_BYPASS_CONFIG;
    options.model.offered_features |= VIOMMU_MODEL_F_INPUT_RANGE;
    options.model.initial_bypass = 0;
    options.model.config_length = 36;
    options.model.input_start = 0x1000;
    options.model.input_end = 0x1ffffffff;
    fixture = viommu_fixture_started(&options);
    device = viommu_fixture_add_device(fixture, A);
    viommu_fixture_allow(fixture, A, 0x1000, 0x1000, 0x1fffff000, RW);
    assert_int_equal(
        piommu_device_attach(device, viommu_fixture_add_domain(fixture, PIOMMU_DOMAIN_IDENTITY)),
        0);
    viommu_fixture_probe_exactly(fixture);
    viommu_fixture_destroy(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recovery_brings_everything_back),
        cmocka_unit_test(test_changes_while_it_is_lost_are_there_afterwards),
        cmocka_unit_test(test_a_gather_of_a_sync_that_failed_is_parked),
        cmocka_unit_test(test_recovery_fails_at_each_request),
        cmocka_unit_test(test_recovery_fails_at_each_register),
        cmocka_unit_test(test_recovery_without_memory),
        cmocka_unit_test(test_recovery_of_what_does_not_stop_can_be_tried_again),
        cmocka_unit_test(test_recovery_refuses_what_makes_no_sense),
        cmocka_unit_test(test_resume_restores_what_the_power_took),
        cmocka_unit_test(test_what_changes_while_it_sleeps_is_there_afterwards),
        cmocka_unit_test(test_suspend_and_resume_fail_and_recover),
        cmocka_unit_test(test_the_bypass_field_is_written_whatever_it_reads),
        cmocka_unit_test(test_the_bypass_field_under_leave),
        cmocka_unit_test(test_a_bypass_field_that_does_not_stay_closed_is_noticed),
        cmocka_unit_test(test_a_device_that_runs_goes_to_its_domain_uninterrupted),
        cmocka_unit_test(test_a_device_that_runs_is_blocked_if_it_has_no_domain),
        cmocka_unit_test(test_a_device_that_runs_and_is_never_added),
        cmocka_unit_test(test_devices_that_run_may_be_nobody),
        cmocka_unit_test(test_identity_by_mappings_leaves_out_reserved_regions_of_each),
        cmocka_unit_test(test_identity_by_mappings_keeps_to_the_input_range),
    };

    return viommu_fixture_run("virtio_iommu_recovery", tests, COUNT(tests));
}
