/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Gen2 with the one context that anybody has used: the masters of a unit cannot be told apart, and
 * what blocks them is an empty table.
 */

#include "ipmmu_fixture.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>

#include <cmocka.h>

#define PAGE   IPMMU_PAGE
#define IOVA   IPMMU_IOVA
#define MEMORY IPMMU_MEMORY
#define R      IPMMU_READ
#define RW     IPMMU_READ_WRITE

#define MMUEN UINT32_C(1)

/* The unit that the tests are about, and its masters: two devices, and one that nobody adds. */
enum { UNIT = IPMMU_CACHE_1 };
enum { A, B, STRANGER, ELSEWHERE, MASTERS };

/*
 * From the start on the context is enabled and so are all micro-TLBs, and of what says how to walk
 * only one register changes: there is no moment in between.
 */
static void check_enabled(struct ipmmu_fixture *fixture,
                          const struct piommu_ipmmu_model_access *access)
{
    (void)fixture;
    if (!access->is_write) {
        return;
    }
    switch (access->which) {
    case PIOMMU_IPMMU_MODEL_IMCTR:
    case PIOMMU_IPMMU_MODEL_IMUCTR:
        assert_true((access->value & MMUEN) != 0);
        break;
    case PIOMMU_IPMMU_MODEL_IMTTLBR0:
    case PIOMMU_IPMMU_MODEL_IMUASID:
    case PIOMMU_IPMMU_MODEL_IMSTR:
        break;
    default:
        fail_msg("%s was written", piommu_ipmmu_model_register_name(access->which));
    }
}

static void grant_unit(struct ipmmu_fixture *fixture, size_t page, uint64_t physical,
                       piommu_prot prot)
{
    for (size_t i = A; i <= STRANGER; i++) {
        ipmmu_grant(fixture, i, page, physical, prot);
    }
}

static struct piommu_group *group_of(const struct ipmmu_fixture *fixture, size_t master)
{
    return piommu_device_group(fixture->masters[master].device);
}

static void settle(struct ipmmu_fixture *fixture)
{
    ipmmu_settle(fixture);
    ipmmu_probe(fixture);
    ipmmu_assert_granted(fixture);
}

static struct ipmmu_fixture *open_one(const struct piommu_ipmmu_model_readings *readings)
{
    static const struct ipmmu_place places[MASTERS] = {
        {UNIT, 3}, {UNIT, 31}, {UNIT, 7}, {IPMMU_CACHE_2, 3}};
    const struct ipmmu_options options = {.readings = readings};
    struct ipmmu_fixture *fixture = ipmmu_open(ipmmu_system_named("Gen2, one context"), &options);

    for (size_t i = 0; i < MASTERS; i++) {
        (void)ipmmu_wire(fixture, &places[i], 1);
    }
    ipmmu_start(fixture);
    fixture->on_access = check_enabled;
    ipmmu_probe(fixture);
    for (size_t i = 0; i < MASTERS; i++) {
        if (i != STRANGER) {
            assert_int_equal(ipmmu_try_device(fixture, i), 0);
        }
    }
    assert_int_equal(piommu_domain_map(ipmmu_add_domain(fixture), IOVA, MEMORY, PAGE, RW), 0);
    assert_int_equal(piommu_domain_map(ipmmu_add_domain(fixture), IOVA, MEMORY + 9 * PAGE, PAGE, R),
                     0);
    return fixture;
}

static void close_one(struct ipmmu_fixture *fixture)
{
    grant_unit(fixture, 0, 0, 0);
    assert_int_equal(piommu_group_detach(group_of(fixture, A)), 0);
    settle(fixture);
    fixture->on_access = NULL;
    ipmmu_close(fixture);
}

static void test_the_masters_of_a_unit_are_one_group(void **state)
{
    struct ipmmu_fixture *fixture = open_one(NULL);

    (void)state;
    assert_ptr_equal(group_of(fixture, A), group_of(fixture, B));
    assert_ptr_not_equal(group_of(fixture, A), group_of(fixture, ELSEWHERE));
    assert_int_equal(piommu_device_attach(fixture->masters[A].device, fixture->domains[0]),
                     -PIOMMU_EGROUP);
    /* The masters of another unit have another context. */
    ipmmu_grant(fixture, ELSEWHERE, 0, MEMORY + 9 * PAGE, R);
    assert_int_equal(piommu_device_attach(fixture->masters[ELSEWHERE].device, fixture->domains[1]),
                     0);
    settle(fixture);
    close_one(fixture);
}

static bool count_leaf(void *ctx, const struct piommu_walker_leaf *leaf)
{
    (void)leaf;
    ++*(size_t *)ctx;
    return true;
}

/* How many leaves the unit's context has now. */
static size_t leaves(const struct ipmmu_fixture *fixture)
{
    const struct piommu_walker_memory memory = {.read64 = fake_os_device_read64,
                                                .ctx = fixture->os};
    struct piommu_walker_regime regime;
    size_t count = 0;

    assert_true(piommu_ipmmu_model_regime(fixture->model, UNIT, 0, &regime));
    assert_true(piommu_walker_for_each_leaf(&regime, &memory, count_leaf, &count));
    return count;
}

static void live(const struct piommu_ipmmu_model_readings *readings)
{
    struct ipmmu_fixture *fixture = open_one(readings);
    struct piommu_group *group = group_of(fixture, A);

    assert_int_equal(leaves(fixture), 0);
    grant_unit(fixture, 0, MEMORY, RW);
    assert_int_equal(piommu_group_attach(group, fixture->domains[0]), 0);
    settle(fixture);
    /* Who is not there already comes too late. */
    assert_int_equal(ipmmu_try_device(fixture, STRANGER), -PIOMMU_EBUSY);
    settle(fixture);
    grant_unit(fixture, 0, MEMORY + 9 * PAGE, R);
    assert_int_equal(piommu_group_attach(group, fixture->domains[1]), 0);
    settle(fixture);
    grant_unit(fixture, 0, 0, 0);
    assert_int_equal(piommu_group_detach(group), 0);
    settle(fixture);
    assert_int_equal(leaves(fixture), 0);
    assert_int_equal(ipmmu_try_device(fixture, STRANGER), 0);
    ipmmu_probe(fixture);
    close_one(fixture);
}

static void test_what_is_granted_is_granted_to_all_and_taken_from_all(void **state)
{
    struct piommu_ipmmu_model_readings readings;
    const char *name;

    (void)state;
    for (unsigned int number = 0; piommu_ipmmu_model_readings_variant(number, &readings, &name);
         number++) {
        print_message("  %s\n", name);
        live(&readings);
    }
}

/* What it had it goes on having, as all that nobody has added; the others lose nothing. */
static void test_one_that_is_removed_takes_nothing_from_the_others(void **state)
{
    struct ipmmu_fixture *fixture = open_one(NULL);

    (void)state;
    grant_unit(fixture, 0, MEMORY, RW);
    assert_int_equal(piommu_group_attach(group_of(fixture, A), fixture->domains[0]), 0);
    settle(fixture);
    ipmmu_remove_device(fixture, B);
    settle(fixture);
    close_one(fixture);
}

/* One store takes the context from one table to the other, so all roots have one upper word. */
static void test_roots_are_below_4_gib(void **state)
{
    const struct ipmmu_options options = {.memory_base = UINT64_C(0x100000000)};
    struct ipmmu_fixture *fixture = ipmmu_open(ipmmu_system_named("Gen2, one context"), &options);

    (void)state;
    assert_int_equal(ipmmu_try_unit(fixture, UNIT), -PIOMMU_ENOMEM);
    fixture->places[UNIT].contexts = 4;
    ipmmu_start_unit(fixture, UNIT);
    assert_int_equal(piommu_instance_destroy(fixture->instances[UNIT]), 0);
    ipmmu_close_empty(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_masters_of_a_unit_are_one_group),
        cmocka_unit_test(test_what_is_granted_is_granted_to_all_and_taken_from_all),
        cmocka_unit_test(test_one_that_is_removed_takes_nothing_from_the_others),
        cmocka_unit_test(test_roots_are_below_4_gib),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
