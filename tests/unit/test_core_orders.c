/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Small spaces, whole: from every state of three groups and two domains over two units, every pair
 * of steps; every order in which devices that share an ID come, go, enter and leave.
 */

#include "failing_world.h"
#include "mock_backend.h"
#include "without.h"

#include <piommu/piommu.h>

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define RW       (PIOMMU_PROT_READ | PIOMMU_PROT_WRITE)
#define PAGE     0x1000ull
#define IOVA     0x10000ull
#define GROUPS   3u
#define PLACES   3u /* where a group can be: in A, in B, or blocked */
#define STATES   27u
#define SHARERS  4u
#define SHARED   (WORLD_FIRST_ID + 3)
#define IN_A     0x900000000ull
#define IN_B     0x910000000ull
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

enum place { BLOCKED, A, B };

/* Even variants are of one kind and odd ones of the other, if both are built. */
static enum piommu_backend_kind kind_of(unsigned int variant)
{
    return variant % 2 == 0 && !is_without("tables") ? PIOMMU_BACKEND_TABLES
                                                     : PIOMMU_BACKEND_REQUESTS;
}

/* Domain `A - 1` and `B - 1` of the world, each with a page of its own at one address. */
static struct failing_world *open_with_domains(enum piommu_backend_kind kind, bool blocks_between)
{
    const struct world_options options = {
        .kind = kind, .units = 2, .blocks_between = blocks_between};
    struct failing_world *world = world_open(&options);

    world_domain(world, A - 1, PIOMMU_DOMAIN_PAGING, 3);
    world_domain(world, B - 1, PIOMMU_DOMAIN_PAGING, 3);
    world_map(world, A - 1, IOVA, IN_A, PAGE, RW);
    world_map(world, B - 1, IOVA, IN_B, PAGE, RW);
    return world;
}

static uint64_t reached(struct failing_world *world, unsigned int unit, uint32_t id)
{
    uint64_t physical;

    return mock_reaches(world->mocks[unit], id, IOVA, true, &physical) ? physical : WORLD_NOTHING;
}

static uint64_t expected(enum place place)
{
    return place == A ? IN_A : place == B ? IN_B : WORLD_NOTHING;
}

static int put(struct failing_world *world, unsigned int device, enum place place)
{
    struct piommu_group *group = piommu_device_group(world->devices[device]);

    return place == BLOCKED ? piommu_group_detach(group)
                            : piommu_group_attach(group, world->domains[place - 1]);
}

/* ---- Three groups: on both units, on the first, on the second ---- */

static const unsigned int units_of_group[GROUPS] = {3, 1, 2};

static void check_groups(struct failing_world *world, const enum place *places)
{
    unsigned int endpoints[PLACES] = {0};

    for (unsigned int group = 0; group < GROUPS; group++) {
        struct piommu_device_info info;

        piommu_device_get_info(world->devices[group], &info);
        assert_ptr_equal(info.domain,
                         places[group] == BLOCKED ? NULL : world->domains[places[group] - 1]);
        for (unsigned int unit = 0; unit < 2; unit++) {
            bool there = (units_of_group[group] & 1u << unit) != 0;

            endpoints[places[group]] += there;
            assert_true(reached(world, unit, WORLD_FIRST_ID + group) ==
                        (there ? expected(places[group]) : WORLD_NOTHING));
        }
    }
    for (unsigned int place = A; place <= B; place++) {
        struct piommu_domain_statistics statistics;

        piommu_domain_get_statistics(world->domains[place - 1], &statistics);
        assert_int_equal(statistics.endpoints, endpoints[place]);
    }
    world_check(world);
}

/* One step: group and place in one number. */
static void step(struct failing_world *world, enum place *places, unsigned int number)
{
    unsigned int group = number / PLACES;

    places[group] = (enum place)(number % PLACES);
    assert_int_equal(put(world, group, places[group]), 0);
    check_groups(world, places);
}

static void go_to_state(struct failing_world *world, enum place *places, unsigned int state)
{
    for (unsigned int group = 0; group < GROUPS; group++) {
        step(world, places, group * PLACES + state % PLACES);
        state /= PLACES;
    }
}

static void test_every_pair_of_steps_from_every_state(void **state)
{
    (void)state;
    for (unsigned int variant = 0; variant < 4; variant++) {
        struct failing_world *world = open_with_domains(kind_of(variant), variant >= 2);
        enum place places[GROUPS] = {BLOCKED, BLOCKED, BLOCKED};
        uint64_t bytes[STATES] = {0};

        for (unsigned int group = 0; group < GROUPS; group++) {
            world_add(world, group, units_of_group[group], WORLD_FIRST_ID + group, 1);
        }
        /* What is made when the first one enters is there from now on. */
        go_to_state(world, places, 13);
        go_to_state(world, places, 26);
        for (unsigned int from = 0; from < STATES; from++) {
            for (unsigned int pair = 0; pair < GROUPS * PLACES * GROUPS * PLACES; pair++) {
                go_to_state(world, places, from);
                /* A state costs the same, whatever the way to it. */
                if (bytes[from] == 0) {
                    bytes[from] = fake_os_bytes_outstanding(world->os);
                }
                assert_int_equal(fake_os_bytes_outstanding(world->os), bytes[from]);
                step(world, places, pair % (GROUPS * PLACES));
                step(world, places, pair / (GROUPS * PLACES));
            }
        }
        world_close(world);
    }
}

/* A page that comes while a group is somewhere is seen by those who are there, on all units. */
static void test_mappings_reach_whoever_is_there_in_every_state(void **state)
{
    (void)state;
    for (unsigned int variant = 0; variant < 2; variant++) {
        struct failing_world *world = open_with_domains(kind_of(variant), false);
        enum place places[GROUPS] = {BLOCKED, BLOCKED, BLOCKED};

        for (unsigned int group = 0; group < GROUPS; group++) {
            world_add(world, group, units_of_group[group], WORLD_FIRST_ID + group, 1);
        }
        for (unsigned int from = 0; from < STATES; from++) {
            struct piommu_gather *gather = &world->gathers[A - 1];
            struct piommu_domain *domain = world->domains[A - 1];

            go_to_state(world, places, from);
            assert_int_equal(piommu_domain_unmap(domain, IOVA, PAGE, gather, NULL), 0);
            assert_int_equal(piommu_domain_sync(domain, gather), 0);
            for (unsigned int group = 0; group < GROUPS; group++) {
                for (unsigned int unit = 0; unit < 2; unit++) {
                    assert_true(reached(world, unit, WORLD_FIRST_ID + group) != IN_A);
                }
            }
            world_map(world, A - 1, IOVA, IN_A, PAGE, RW);
            check_groups(world, places);
        }
        world_close(world);
    }
}

/* ---- Devices that share an ID ---- */

/* The nth order of the sharers. */
static void make_order(unsigned int number, unsigned int *order)
{
    bool used[SHARERS] = {false};

    for (unsigned int i = 0; i < SHARERS; i++) {
        unsigned int skip = number % (SHARERS - i);
        unsigned int next = 0;

        number /= SHARERS - i;
        while (used[next] || skip-- != 0) {
            next++;
        }
        used[next] = true;
        order[i] = next;
    }
}

/* Sharer n has the ID that all have, and those but the last one have one of their own. */
static int add_sharer(struct failing_world *world, unsigned int number)
{
    const struct piommu_device_id ids[] = {
        {.instance = world->instances[0], .id = SHARED},
        {.instance = world->instances[1], .id = WORLD_FIRST_ID + number}};
    const struct piommu_device_config config = {
        .ids = ids, .id_count = number == SHARERS - 1 ? 1 : 2, .name = "sharer"};

    return piommu_device_add(world->context, &config, &world->devices[number]);
}

static void remove_sharer(struct failing_world *world, unsigned int number)
{
    assert_int_equal(piommu_device_remove(world->devices[number]), 0);
    world->devices[number] = NULL;
}

static void check_sharers(struct failing_world *world, enum place place)
{
    for (unsigned int i = 0; i < SHARERS; i++) {
        if (world->devices[i] == NULL) {
            continue;
        }
        assert_true(reached(world, 0, SHARED) == expected(place));
        assert_true(i == SHARERS - 1 || reached(world, 1, WORLD_FIRST_ID + i) == expected(place));
        for (unsigned int j = 0; j < i; j++) {
            assert_true(world->devices[j] == NULL || piommu_device_group(world->devices[i]) ==
                                                         piommu_device_group(world->devices[j]));
        }
    }
    world_check(world);
}

static void test_a_shared_id_is_there_from_the_first_to_the_last(void **state)
{
    (void)state;
    for (unsigned int variant = 0; variant < 2; variant++) {
        for (unsigned int number = 0; number < 24 * 24; number++) {
            struct failing_world *world = open_with_domains(kind_of(variant), false);
            const struct mock_counters *counters = mock_counters(world->mocks[0]);
            unsigned int coming[SHARERS];
            unsigned int going[SHARERS];

            make_order(number % 24, coming);
            make_order(number / 24, going);
            for (unsigned int i = 0; i < SHARERS; i++) {
                assert_int_equal(add_sharer(world, coming[i]), 0);
                assert_int_equal(counters->add_endpoint, 1);
                check_sharers(world, BLOCKED);
            }
            assert_int_equal(put(world, going[0], A), 0);
            check_sharers(world, A);
            assert_int_equal(put(world, going[1], BLOCKED), 0);
            check_sharers(world, BLOCKED);
            for (unsigned int i = 0; i < SHARERS; i++) {
                assert_int_equal(counters->release_endpoint, 0);
                remove_sharer(world, going[i]);
                check_sharers(world, BLOCKED);
            }
            assert_int_equal(counters->release_endpoint, 1);
            world_close(world);
        }
    }
}

/* Whoever of the group is named, all of it moves: each sequence of three steps. */
static void test_a_group_moves_as_one_in_every_order(void **state)
{
    const unsigned int steps = PLACES * SHARERS;

    (void)state;
    for (unsigned int variant = 0; variant < 4; variant++) {
        struct failing_world *world = open_with_domains(kind_of(variant), variant >= 2);

        for (unsigned int i = 0; i < SHARERS; i++) {
            assert_int_equal(add_sharer(world, i), 0);
        }
        for (unsigned int number = 0; number < steps * steps * steps; number++) {
            for (unsigned int rest = number, i = 0; i < 3; i++, rest /= steps) {
                enum place place = (enum place)(rest % PLACES);

                assert_int_equal(put(world, rest / PLACES % SHARERS, place), 0);
                check_sharers(world, place);
            }
        }
        world_close(world);
    }
}

/* The hardware cannot tell them apart, so none of them can be somewhere else. */
static void test_a_group_cannot_be_split(void **state)
{
    (void)state;
    for (unsigned int variant = 0; variant < 2; variant++) {
        struct failing_world *world = open_with_domains(kind_of(variant), false);
        static struct world_snapshot before;
        static struct world_snapshot after;

        for (unsigned int i = 0; i < SHARERS; i++) {
            assert_int_equal(add_sharer(world, i), 0);
        }
        for (unsigned int number = 0; number < PLACES * PLACES * SHARERS; number++) {
            enum place from = (enum place)(number % PLACES);
            enum place to = (enum place)(number / PLACES % PLACES);
            struct piommu_device *device = world->devices[number / PLACES / PLACES];

            assert_int_equal(put(world, 0, from), 0);
            world_look(world, &before);
            assert_int_equal(to == BLOCKED ? piommu_device_detach(device)
                                           : piommu_device_attach(device, world->domains[to - 1]),
                             -PIOMMU_EGROUP);
            world_look(world, &after);
            world_compare(world, &before, &after, NULL, "a member alone");
            assert_true(before.bytes == after.bytes);
        }
        /* One more cannot come while they are in a domain, and the last of them may go alone. */
        assert_int_equal(put(world, 0, BLOCKED), 0);
        remove_sharer(world, 1);
        assert_int_equal(put(world, 0, A), 0);
        assert_int_equal(add_sharer(world, 1), -PIOMMU_EBUSY);
        world->devices[1] = NULL;
        remove_sharer(world, 2);
        remove_sharer(world, 3);
        assert_int_equal(piommu_device_remove(world->devices[0]), -PIOMMU_EBUSY);
        assert_int_equal(piommu_device_attach(world->devices[0], world->domains[B - 1]), 0);
        check_sharers(world, B);
        assert_int_equal(piommu_device_detach(world->devices[0]), 0);
        check_sharers(world, BLOCKED);
        world_close(world);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_pair_of_steps_from_every_state),
        cmocka_unit_test(test_mappings_reach_whoever_is_there_in_every_state),
        cmocka_unit_test(test_a_shared_id_is_there_from_the_first_to_the_last),
        cmocka_unit_test(test_a_group_moves_as_one_in_every_order),
        cmocka_unit_test(test_a_group_cannot_be_split),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
