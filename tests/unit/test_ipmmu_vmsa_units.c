/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Units of the IPMMU-VMSA: roots and what belongs to them, power, bits of firmware, and which
 * micro-TLBs are whose.
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

#define SECGRP UINT32_C(0x10000000)
#define S2PTE  UINT32_C(8)
#define MMUEN  1u

static bool is_gen2(const struct ipmmu_system *system)
{
    return system->generation == PIOMMU_IPMMU_MODEL_GEN2;
}

static uint64_t accesses(const struct ipmmu_fixture *fixture, size_t unit)
{
    struct piommu_ipmmu_model_counters counters = piommu_ipmmu_model_counters(fixture->model, unit);

    return counters.reads + counters.writes;
}

static uint32_t micro_tlbs(const struct ipmmu_system *system)
{
    static const uint32_t counts[] = {32, 48, 64};

    return counts[system->generation];
}

/* A domain with two pages. */
static struct piommu_domain *make_domain(struct ipmmu_fixture *fixture)
{
    struct piommu_domain *domain = ipmmu_add_domain(fixture);

    assert_int_equal(piommu_domain_map(domain, IOVA, MEMORY, PAGE, RW), 0);
    assert_int_equal(piommu_domain_map(domain, IOVA + PAGE, MEMORY + 9 * PAGE, PAGE, R), 0);
    return domain;
}

static void grant_pages(struct ipmmu_fixture *fixture, size_t master)
{
    ipmmu_grant(fixture, master, 0, MEMORY, RW);
    ipmmu_grant(fixture, master, 1, MEMORY + 9 * PAGE, R);
}

static void settle(struct ipmmu_fixture *fixture)
{
    ipmmu_settle(fixture);
    ipmmu_probe(fixture);
    ipmmu_assert_granted(fixture);
}

/* ---- roots and cache units ---- */

static void test_a_cache_unit_waits_for_its_root(const struct ipmmu_system *system)
{
    struct ipmmu_fixture *fixture = ipmmu_open(system, NULL);
    size_t master = ipmmu_wire(fixture, &(struct ipmmu_place){IPMMU_CACHE_1, 3}, 1);
    struct piommu_device_info device;

    ipmmu_start_unit(fixture, IPMMU_CACHE_1);
    assert_int_equal(ipmmu_state(fixture, IPMMU_CACHE_1), PIOMMU_INSTANCE_WAITING);
    assert_int_equal(ipmmu_try_device(fixture, master), 0);
    piommu_device_get_info(fixture->masters[master].device, &device);
    assert_true(device.waiting);
    assert_int_equal(accesses(fixture, PIOMMU_IPMMU_MODEL_ALL_UNITS), 0);
    /* The rule that a root is first is the model's. */
    ipmmu_start_unit(fixture, IPMMU_ROOT);
    assert_int_equal(ipmmu_state(fixture, IPMMU_CACHE_1), PIOMMU_INSTANCE_RUNNING);
    piommu_device_get_info(fixture->masters[master].device, &device);
    assert_false(device.waiting);
    ipmmu_start(fixture);
    ipmmu_probe(fixture);
    /* A root stays as long as it has cache units. */
    assert_int_equal(piommu_instance_destroy(fixture->instances[IPMMU_ROOT]), -PIOMMU_EBUSY);
    ipmmu_close(fixture);
}

/* A part of the other class with cache units. */
static const char *other_class(const struct ipmmu_system *system)
{
    return system->generation == PIOMMU_IPMMU_MODEL_GEN3 ? "renesas,ipmmu-r8a779g0"
                                                         : "renesas,ipmmu-r8a7796";
}

static void refuse_unit(struct ipmmu_fixture *fixture, size_t unit)
{
    uint64_t before = accesses(fixture, PIOMMU_IPMMU_MODEL_ALL_UNITS);

    assert_true(ipmmu_try_unit(fixture, unit) < 0);
    assert_int_equal(accesses(fixture, PIOMMU_IPMMU_MODEL_ALL_UNITS), before);
    fixture->instances[unit] = NULL;
}

static void test_what_cannot_be_a_parent_is_refused(const struct ipmmu_system *system)
{
    struct ipmmu_fixture *fixture = ipmmu_open(system, NULL);

    ipmmu_start_unit(fixture, IPMMU_ROOT);
    fixture->places[IPMMU_CACHE_1].compatible = other_class(system);
    refuse_unit(fixture, IPMMU_CACHE_1);
    fixture->places[IPMMU_CACHE_1].compatible = "renesas,ipmmu-vmsa"; /* has no cache units */
    refuse_unit(fixture, IPMMU_CACHE_1);
    fixture->places[IPMMU_CACHE_1].compatible = system->compatible;
    ipmmu_start_unit(fixture, IPMMU_CACHE_1);
    /* A cache unit has no contexts to share. */
    fixture->configs[IPMMU_CACHE_2].parent_key = fixture->configs[IPMMU_CACHE_1].key;
    refuse_unit(fixture, IPMMU_CACHE_2);
    fixture->configs[IPMMU_CACHE_2].parent_key = fixture->configs[IPMMU_ROOT].key;
    ipmmu_start(fixture);
    ipmmu_close(fixture);
}

static void test_a_unit_of_gen2_has_no_parent(const struct ipmmu_system *system)
{
    struct ipmmu_fixture *fixture = ipmmu_open(system, NULL);

    if (is_gen2(system)) {
        ipmmu_start_unit(fixture, IPMMU_ROOT);
        fixture->configs[IPMMU_CACHE_1].parent_key = fixture->configs[IPMMU_ROOT].key;
        refuse_unit(fixture, IPMMU_CACHE_1);
        fixture->configs[IPMMU_CACHE_1].parent_key = 0;
    }
    ipmmu_start(fixture);
    ipmmu_close(fixture);
}

/* What waited for a root that turns out to be of another class does not start; the root does. */
static void test_a_root_of_another_class_leaves_those_that_waited(const struct ipmmu_system *system)
{
    struct ipmmu_fixture *fixture = ipmmu_open(system, NULL);

    fixture->places[IPMMU_CACHE_1].compatible = other_class(system);
    ipmmu_start_unit(fixture, IPMMU_CACHE_1);
    ipmmu_start_unit(fixture, IPMMU_ROOT);
    assert_int_equal(ipmmu_state(fixture, IPMMU_ROOT), PIOMMU_INSTANCE_RUNNING);
    assert_int_equal(ipmmu_state(fixture, IPMMU_CACHE_1), PIOMMU_INSTANCE_FAILED);
    assert_int_equal(accesses(fixture, IPMMU_CACHE_1), 0);
    assert_int_equal(piommu_instance_destroy(fixture->instances[IPMMU_CACHE_1]), 0);
    fixture->places[IPMMU_CACHE_1].compatible = system->compatible;
    fixture->instances[IPMMU_CACHE_1] = NULL;
    ipmmu_start(fixture);
    ipmmu_close(fixture);
}

static void test_contexts_are_as_many_as_there_are_or_fewer(const struct ipmmu_system *system)
{
    static const unsigned int counts[] = {4, 8, 16};
    unsigned int most = counts[system->generation];
    unsigned int fewest = is_gen2(system) ? 1 : 3; /* the unused one, the blocked one, a domain */
    struct ipmmu_fixture *fixture = ipmmu_open(system, NULL);

    fixture->places[IPMMU_ROOT].contexts = most + 1;
    refuse_unit(fixture, IPMMU_ROOT);
    fixture->places[IPMMU_ROOT].contexts = fewest - 1;
    if (fewest > 1) {
        refuse_unit(fixture, IPMMU_ROOT);
    }
    for (unsigned int contexts = fewest; contexts <= most; contexts++) {
        fixture->places[IPMMU_ROOT].contexts = contexts;
        piommu_ipmmu_model_record(fixture->model, true);
        ipmmu_start_unit(fixture, IPMMU_ROOT);
        /* Others are only switched off. */
        assert_true(ipmmu_numbers_written(fixture, IPMMU_ROOT, PIOMMU_IPMMU_MODEL_IMTTBCR) >>
                        contexts ==
                    0);
        for (unsigned int context = contexts; context < most; context++) {
            assert_int_equal(piommu_ipmmu_model_get(fixture->model, IPMMU_ROOT,
                                                    PIOMMU_IPMMU_MODEL_IMCTR, context),
                             0);
        }
        assert_int_equal(piommu_instance_destroy(fixture->instances[IPMMU_ROOT]), 0);
    }
    ipmmu_close_empty(fixture);
}

/* ---- bits of firmware ---- */

static void check_unit_bits(const struct ipmmu_fixture *fixture, size_t unit, uint32_t control,
                            uint32_t auxiliary)
{
    bool is_stage2 = fixture->system->tables == PIOMMU_IPMMU_VMSA_STAGE2;

    assert_int_equal(piommu_ipmmu_model_get(fixture->model, unit, PIOMMU_IPMMU_MODEL_IMSCTLR, 0),
                     control & ~SECGRP);
    if (is_stage2 && ipmmu_is_root(fixture, unit)) {
        auxiliary |= S2PTE;
    }
    assert_int_equal(piommu_ipmmu_model_get(fixture->model, unit, PIOMMU_IPMMU_MODEL_IMSAUXCTLR, 0),
                     auxiliary);
}

/* Sets bits of each unit by turns, USE_SECGRP in all; with `check`, they have to be there still. */
static void firmware_bits(struct ipmmu_fixture *fixture, uint32_t seed, bool check)
{
    for (size_t unit = 0; unit < fixture->unit_count; unit++) {
        uint32_t control = SECGRP | seed << (8 * unit);
        uint32_t auxiliary = (seed * 0x01010101u) & ~S2PTE;

        if (check) {
            check_unit_bits(fixture, unit, control, auxiliary);
            continue;
        }
        piommu_ipmmu_model_set(fixture->model, unit, PIOMMU_IPMMU_MODEL_IMSCTLR, 0, control);
        piommu_ipmmu_model_set(fixture->model, unit, PIOMMU_IPMMU_MODEL_IMSAUXCTLR, 0, auxiliary);
    }
}

static void test_use_secgrp_is_cleared_and_other_bits_are_kept(const struct ipmmu_system *system)
{
    for (uint32_t seed = 0; seed < 256 && !is_gen2(system); seed += 17) {
        struct ipmmu_fixture *fixture = ipmmu_open(system, NULL);

        firmware_bits(fixture, seed, false);
        ipmmu_start(fixture);
        firmware_bits(fixture, seed, true);
        ipmmu_suspend(fixture);
        for (size_t i = 0; i < fixture->unit_count; i++) {
            piommu_ipmmu_model_power(fixture->model, i, true);
        }
        firmware_bits(fixture, seed + 1, false);
        ipmmu_resume_powered(fixture);
        firmware_bits(fixture, seed + 1, true);
        ipmmu_close(fixture);
    }
}

/* ---- power ---- */

struct power {
    struct ipmmu_fixture *fixture;
    size_t unit;
    unsigned int fails_on;  /* calls that switch it on, and return an error instead */
    unsigned int fails_off; /* the same with off */
    unsigned int calls;
};

static int switch_power(void *cookie, bool on)
{
    struct power *power = cookie;
    unsigned int *failures = on ? &power->fails_on : &power->fails_off;

    power->calls++;
    assert_int_equal(piommu_ipmmu_model_is_on(power->fixture->model, power->unit), !on);
    if (*failures != 0) {
        --*failures;
        return -PIOMMU_EIO;
    }
    piommu_ipmmu_model_power(power->fixture->model, power->unit, on);
    return 0;
}

/* Units without power, which the library switches on. The model finds accesses without power. */
static struct ipmmu_fixture *open_switched(const struct ipmmu_system *system,
                                           struct power power[IPMMU_UNITS])
{
    struct ipmmu_fixture *fixture = ipmmu_open(system, NULL);

    for (size_t i = 0; i < fixture->unit_count; i++) {
        power[i] = (struct power){.fixture = fixture, .unit = i};
        fixture->places[i].power = switch_power;
        fixture->places[i].power_cookie = &power[i];
        piommu_ipmmu_model_power(fixture->model, i, false);
    }
    return fixture;
}

static void assert_all_off(const struct ipmmu_fixture *fixture)
{
    for (size_t i = 0; i < fixture->unit_count; i++) {
        assert_false(piommu_ipmmu_model_is_on(fixture->model, i));
    }
}

static void suspend_all(struct ipmmu_fixture *fixture)
{
    fixture->probing = false;
    for (size_t i = fixture->unit_count; i > 0; i--) {
        assert_int_equal(piommu_instance_suspend(fixture->instances[i - 1]), 0);
        assert_false(piommu_ipmmu_model_is_on(fixture->model, i - 1));
    }
}

static void test_units_are_switched_on_before_and_off_after(const struct ipmmu_system *system)
{
    struct power power[IPMMU_UNITS];
    struct ipmmu_fixture *fixture = open_switched(system, power);

    ipmmu_start_with_masters(fixture);
    assert_int_equal(piommu_domain_map(fixture->domains[0], IOVA, MEMORY, PAGE, RW), 0);
    ipmmu_grant(fixture, 2, 0, MEMORY, RW);
    if (system->contexts == 1) {
        ipmmu_grant(fixture, 3, 0, MEMORY, RW);
    }
    ipmmu_attach(fixture, 2, fixture->domains[0]);
    settle(fixture);
    suspend_all(fixture);
    for (size_t i = 0; i < fixture->unit_count; i++) {
        assert_int_equal(piommu_instance_resume(fixture->instances[i]), 0);
    }
    fixture->probing = true;
    settle(fixture);
    if (system->contexts == 1) {
        ipmmu_grant(fixture, 3, 0, 0, 0);
    }
    ipmmu_detach(fixture, 2);
    ipmmu_take_down(fixture);
    assert_all_off(fixture);
    for (size_t i = 0; i < fixture->unit_count; i++) {
        assert_int_equal(power[i].calls, 4);
    }
    ipmmu_close_empty(fixture);
}

static void test_no_power_at_start(const struct ipmmu_system *system)
{
    struct power power[IPMMU_UNITS];
    struct ipmmu_fixture *fixture = open_switched(system, power);

    for (size_t i = 0; i < fixture->unit_count; i++) {
        power[i].fails_on = 1;
        assert_int_equal(ipmmu_try_unit(fixture, i), -PIOMMU_EIO);
        assert_int_equal(accesses(fixture, i), 0);
        assert_int_equal(power[i].calls, 1); /* what never came on is not switched off */
        ipmmu_start_unit(fixture, i);
    }
    ipmmu_close(fixture);
}

/* The root's start succeeds, and tells of the other by its state. */
static void test_no_power_for_a_unit_that_waited(const struct ipmmu_system *system)
{
    struct power power[IPMMU_UNITS];
    struct ipmmu_fixture *fixture = open_switched(system, power);

    power[IPMMU_CACHE_1].fails_on = 1;
    ipmmu_start_unit(fixture, IPMMU_CACHE_1);
    ipmmu_start_unit(fixture, IPMMU_ROOT);
    assert_int_equal(ipmmu_state(fixture, IPMMU_ROOT), PIOMMU_INSTANCE_RUNNING);
    assert_int_equal(ipmmu_state(fixture, IPMMU_CACHE_1), PIOMMU_INSTANCE_FAILED);
    assert_int_equal(accesses(fixture, IPMMU_CACHE_1), 0);
    ipmmu_start(fixture);
    ipmmu_close(fixture);
}

static void test_no_power_at_resume(const struct ipmmu_system *system)
{
    struct power power[IPMMU_UNITS];
    struct ipmmu_fixture *fixture = open_switched(system, power);
    uint64_t before;

    ipmmu_start_with_masters(fixture);
    suspend_all(fixture);
    before = accesses(fixture, IPMMU_CACHE_1);
    assert_int_equal(piommu_instance_resume(fixture->instances[IPMMU_ROOT]), 0);
    power[IPMMU_CACHE_1].fails_on = 1;
    assert_int_equal(piommu_instance_resume(fixture->instances[IPMMU_CACHE_1]), -PIOMMU_EFAILED);
    assert_int_equal(ipmmu_state(fixture, IPMMU_CACHE_1), PIOMMU_INSTANCE_FAILED);
    assert_int_equal(accesses(fixture, IPMMU_CACHE_1), before);
    /* The others have theirs. */
    assert_int_equal(piommu_instance_resume(fixture->instances[IPMMU_CACHE_2]), 0);
    ipmmu_close(fixture);
}

static void test_power_that_cannot_be_switched_off(const struct ipmmu_system *system)
{
    struct power power[IPMMU_UNITS];
    struct ipmmu_fixture *fixture = open_switched(system, power);

    ipmmu_start_with_masters(fixture);
    power[IPMMU_CACHE_1].fails_off = 1;
    assert_int_equal(piommu_instance_suspend(fixture->instances[IPMMU_CACHE_1]), -PIOMMU_EFAILED);
    assert_int_equal(ipmmu_state(fixture, IPMMU_CACHE_1), PIOMMU_INSTANCE_FAILED);
    ipmmu_probe(fixture); /* it has power, and all are blocked */
    ipmmu_close(fixture);
}

static void test_power_that_cannot_be_switched_off_in_the_end(const struct ipmmu_system *system)
{
    struct power power[IPMMU_UNITS];
    struct ipmmu_fixture *fixture = open_switched(system, power);

    ipmmu_start_with_masters(fixture);
    for (size_t i = 0; i < fixture->unit_count; i++) {
        power[i].fails_off = 1;
    }
    ipmmu_close(fixture); /* nobody is hurt by a unit that keeps its power */
}

/* ---- micro-TLBs ---- */

static void test_micro_tlbs_that_do_not_exist_are_refused(const struct ipmmu_system *system)
{
    uint32_t count = micro_tlbs(system);
    const uint32_t numbers[] = {count, count + 1, 64, 256, UINT32_MAX};
    struct ipmmu_fixture *fixture = ipmmu_open(system, NULL);
    uint64_t before;

    ipmmu_start(fixture);
    fixture->probing = false; /* there are no such masters */
    before = accesses(fixture, IPMMU_CACHE_1);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        const struct ipmmu_place places[] = {{IPMMU_CACHE_1, 1}, {IPMMU_CACHE_1, numbers[i]}};

        fixture->master_count = 0;
        (void)ipmmu_wire(fixture, &places[1], 1);
        assert_int_equal(ipmmu_try_device(fixture, 0), -PIOMMU_ENOENT);
        assert_int_equal(accesses(fixture, IPMMU_CACHE_1), before);
        /* All or nothing. */
        fixture->master_count = 0;
        (void)ipmmu_wire(fixture, places, 2);
        assert_int_equal(ipmmu_try_device(fixture, 0), -PIOMMU_ENOENT);
        before = accesses(fixture, IPMMU_CACHE_1);
    }
    fixture->master_count = 0;
    fixture->probing = true;
    (void)ipmmu_add_master(fixture, IPMMU_CACHE_1, 1);
    (void)ipmmu_add_master(fixture, IPMMU_CACHE_1, count - 1);
    ipmmu_probe(fixture);
    ipmmu_close(fixture);
}

/* With the policy `leave`: what firmware has switched off passes, and is not touched. */
static struct ipmmu_fixture *open_leaving(const struct ipmmu_system *system,
                                          enum piommu_unknown_ids policy)
{
    struct ipmmu_fixture *fixture = ipmmu_open(system, NULL);

    for (size_t i = 0; i < fixture->unit_count; i++) {
        fixture->configs[i].unknown_ids = policy;
    }
    piommu_ipmmu_model_record(fixture->model, true);
    return fixture;
}

/* Firmware has enabled a micro-TLB of a unit on some context. */
static void enable_micro_tlb(struct ipmmu_fixture *fixture, size_t unit, unsigned int number,
                             uint32_t context)
{
    piommu_ipmmu_model_set(fixture->model, unit, PIOMMU_IPMMU_MODEL_IMUCTR, number,
                           context << 4 | MMUEN);
}

static bool was_written(const struct ipmmu_fixture *fixture, size_t unit, unsigned int micro_tlb)
{
    return ((ipmmu_numbers_written(fixture, unit, PIOMMU_IPMMU_MODEL_IMUCTR) |
             ipmmu_numbers_written(fixture, unit, PIOMMU_IPMMU_MODEL_IMUASID)) >>
                micro_tlb &
            1) != 0;
}

/* The strangers: one that firmware has switched off, and one that it has enabled. */
enum { PASSING = 20, ENABLED = 21, ADDED = 22 };

static void wire_strangers(struct ipmmu_fixture *fixture)
{
    (void)ipmmu_wire(fixture, &(struct ipmmu_place){IPMMU_CACHE_1, PASSING}, 1);
    (void)ipmmu_wire(fixture, &(struct ipmmu_place){IPMMU_CACHE_1, ENABLED}, 1);
}

/* Of a micro-TLB that is left as it was nothing is guaranteed until the device is added. */
static size_t add_left(struct ipmmu_fixture *fixture)
{
    size_t master = ipmmu_wire(fixture, &(struct ipmmu_place){IPMMU_CACHE_1, ADDED}, 1);

    fixture->masters[master].passes = true;
    assert_int_equal(ipmmu_try_device(fixture, master), 0);
    fixture->masters[master].passes = false;
    ipmmu_probe(fixture);
    return master;
}

static void test_unknown_ids_are_blocked(const struct ipmmu_system *system)
{
    struct ipmmu_fixture *fixture = open_leaving(system, PIOMMU_UNKNOWN_IDS_BLOCK);

    enable_micro_tlb(fixture, IPMMU_CACHE_1, ENABLED, 1);
    wire_strangers(fixture);
    ipmmu_start(fixture);
    ipmmu_probe(fixture);
    (void)ipmmu_add_master(fixture, IPMMU_CACHE_1, ADDED);
    ipmmu_probe(fixture);
    ipmmu_suspend(fixture);
    ipmmu_resume(fixture);
    ipmmu_probe(fixture);
    ipmmu_close(fixture);
}

static void test_unknown_ids_are_left_but_for_those_that_firmware_enabled(
    const struct ipmmu_system *system)
{
    struct ipmmu_fixture *fixture = open_leaving(system, PIOMMU_UNKNOWN_IDS_LEAVE);
    size_t added;

    enable_micro_tlb(fixture, IPMMU_CACHE_1, ENABLED, 1);
    wire_strangers(fixture);
    fixture->masters[0].passes = true;
    ipmmu_start(fixture);
    ipmmu_probe(fixture);
    assert_true(ipmmu_reaches(fixture, 0, MEMORY, true, MEMORY));
    assert_true(was_written(fixture, IPMMU_CACHE_1, ENABLED));
    added = add_left(fixture);
    assert_false(ipmmu_reaches_anything(fixture, added, MEMORY, false));
    /* Firmware runs again when the power comes back. */
    ipmmu_suspend(fixture);
    for (size_t i = 0; i < fixture->unit_count; i++) {
        piommu_ipmmu_model_power(fixture->model, i, true);
    }
    enable_micro_tlb(fixture, IPMMU_CACHE_1, ENABLED, 2);
    ipmmu_resume_powered(fixture);
    ipmmu_probe(fixture);
    assert_true(ipmmu_reaches(fixture, 0, MEMORY, true, MEMORY));
    ipmmu_close(fixture);
}

/* Nobody's micro-TLBs are not even written, from the start to the end. */
static void test_unknown_ids_that_are_left_are_not_touched(const struct ipmmu_system *system)
{
    struct ipmmu_fixture *fixture = open_leaving(system, PIOMMU_UNKNOWN_IDS_LEAVE);

    ipmmu_start(fixture);
    (void)add_left(fixture);
    ipmmu_suspend(fixture);
    ipmmu_resume(fixture);
    ipmmu_take_down(fixture);
    for (unsigned int i = 0; i < micro_tlbs(system); i++) {
        assert_int_equal(was_written(fixture, IPMMU_CACHE_1, i), i == ADDED);
        assert_false(was_written(fixture, IPMMU_CACHE_2, i));
    }
    ipmmu_close_empty(fixture);
}

static void refuse_ids(struct ipmmu_fixture *fixture, const struct ipmmu_place *places,
                       size_t count)
{
    size_t master = ipmmu_wire(fixture, places, count);

    fixture->masters[master].passes = true; /* the policy decides, and the strangers see it */
    assert_int_equal(ipmmu_try_device(fixture, master), -PIOMMU_EOPNOTSUPP);
    fixture->master_count = master;
    fixture->masters[master].passes = false;
}

static void refuse_micro_tlb(struct ipmmu_fixture *fixture, uint32_t number)
{
    const struct ipmmu_place places[] = {{IPMMU_CACHE_1, ADDED}, {IPMMU_CACHE_1, number}};

    refuse_ids(fixture, &places[1], 1);
    refuse_ids(fixture, places, 2);
}

static void test_denied_micro_tlbs_are_refused_and_blocked(const struct ipmmu_system *system)
{
    struct ipmmu_fixture *fixture = open_leaving(system, PIOMMU_UNKNOWN_IDS_BLOCK);

    fixture->places[IPMMU_CACHE_1].denied_micro_tlbs = UINT64_C(3) << PASSING;
    enable_micro_tlb(fixture, IPMMU_CACHE_1, ENABLED, 1);
    wire_strangers(fixture);
    ipmmu_start(fixture);
    ipmmu_probe(fixture);
    refuse_micro_tlb(fixture, PASSING);
    refuse_micro_tlb(fixture, ENABLED);
    ipmmu_probe(fixture);
    (void)ipmmu_add_master(fixture, IPMMU_CACHE_1, ADDED);
    /* The other unit denies nothing. */
    (void)ipmmu_add_master(fixture, IPMMU_CACHE_2, PASSING);
    ipmmu_close(fixture);
}

static void test_denied_micro_tlbs_are_left_where_the_policy_says_so(
    const struct ipmmu_system *system)
{
    struct ipmmu_fixture *fixture = open_leaving(system, PIOMMU_UNKNOWN_IDS_LEAVE);

    fixture->places[IPMMU_CACHE_1].denied_micro_tlbs = UINT64_C(3) << PASSING;
    enable_micro_tlb(fixture, IPMMU_CACHE_1, ENABLED, 1);
    wire_strangers(fixture);
    fixture->masters[0].passes = true;
    ipmmu_start(fixture);
    refuse_micro_tlb(fixture, PASSING);
    refuse_micro_tlb(fixture, ENABLED);
    ipmmu_probe(fixture);
    assert_false(was_written(fixture, IPMMU_CACHE_1, PASSING));
    ipmmu_close(fixture);
}

/* Whatever the policy, and whatever firmware has made of them. */
static void test_untouched_micro_tlbs_are_never_written(const struct ipmmu_system *system)
{
    for (unsigned int policy = 0; policy < 2; policy++) {
        struct ipmmu_fixture *fixture = open_leaving(system, (enum piommu_unknown_ids)policy);
        uint32_t left;

        for (size_t i = 0; i < fixture->unit_count; i++) {
            fixture->places[i].untouched_micro_tlbs =
                UINT64_C(3) << PASSING | UINT64_C(1) << (micro_tlbs(system) - 1);
        }
        enable_micro_tlb(fixture, IPMMU_CACHE_1, ENABLED, 1);
        left = piommu_ipmmu_model_get(fixture->model, IPMMU_CACHE_1, PIOMMU_IPMMU_MODEL_IMUCTR,
                                      ENABLED);
        ipmmu_start(fixture);
        refuse_micro_tlb(fixture, PASSING);
        refuse_micro_tlb(fixture, ENABLED);
        refuse_micro_tlb(fixture, micro_tlbs(system) - 1);
        (void)add_left(fixture);
        assert_int_equal(piommu_ipmmu_model_get(fixture->model, IPMMU_CACHE_1,
                                                PIOMMU_IPMMU_MODEL_IMUCTR, ENABLED),
                         left);
        ipmmu_suspend(fixture);
        ipmmu_resume(fixture);
        ipmmu_take_down(fixture);
        for (size_t i = IPMMU_CACHE_1; i <= IPMMU_CACHE_2; i++) {
            assert_false(was_written(fixture, i, PASSING));
            assert_false(was_written(fixture, i, ENABLED));
            assert_false(was_written(fixture, i, micro_tlbs(system) - 1));
        }
        ipmmu_close_empty(fixture);
    }
}

/* ---- groups ---- */

/* Two masters behind one micro-TLB cannot be told apart; one of them goes, and comes back. */
static void test_masters_that_share_a_micro_tlb_are_a_group(const struct ipmmu_system *system)
{
    struct ipmmu_fixture *fixture = ipmmu_open(system, NULL);
    struct ipmmu_place place = {IPMMU_CACHE_1, 8};
    struct piommu_domain *domain;
    size_t one;
    size_t other;

    ipmmu_start(fixture);
    one = ipmmu_add_master(fixture, place.unit, place.micro_tlb);
    other = ipmmu_add_master(fixture, place.unit, place.micro_tlb);
    assert_ptr_equal(piommu_device_group(fixture->masters[one].device),
                     piommu_device_group(fixture->masters[other].device));
    domain = make_domain(fixture);
    assert_int_equal(piommu_device_attach(fixture->masters[one].device, domain), -PIOMMU_EGROUP);
    grant_pages(fixture, one);
    grant_pages(fixture, other);
    ipmmu_attach(fixture, one, domain);
    settle(fixture);
    /* The one that goes does not cut the other off, nor does the micro-TLB become anybody's. */
    ipmmu_remove_device(fixture, one);
    settle(fixture);
    assert_int_equal(ipmmu_try_device(fixture, one), -PIOMMU_EBUSY);
    settle(fixture);
    ipmmu_revoke(fixture, one);
    ipmmu_detach(fixture, other);
    assert_int_equal(ipmmu_try_device(fixture, one), 0);
    ipmmu_probe(fixture);
    ipmmu_close(fixture);
}

/* All IDs of a device enter a domain, and leave it, wherever they are. */
static void test_a_device_has_micro_tlbs_of_several_units(const struct ipmmu_system *system)
{
    const struct ipmmu_place places[] = {
        {IPMMU_CACHE_1, 3},
        {IPMMU_CACHE_1, micro_tlbs(system) - 1},
        {IPMMU_CACHE_2, 2},
        {IPMMU_CACHE_2, 3},
    };
    struct ipmmu_fixture *fixture = ipmmu_open(system, NULL);
    struct piommu_domain *domain;
    size_t master;
    size_t neighbour;

    ipmmu_start(fixture);
    master = ipmmu_wire(fixture, places, 4);
    assert_int_equal(ipmmu_try_device(fixture, master), 0);
    neighbour = ipmmu_add_master(fixture, IPMMU_CACHE_2, 7);
    ipmmu_probe(fixture);
    domain = make_domain(fixture);
    grant_pages(fixture, master);
    if (system->contexts == 1) {
        grant_pages(fixture, neighbour); /* one group with all behind the unit */
    }
    ipmmu_attach(fixture, master, domain);
    settle(fixture);
    ipmmu_grant(fixture, master, 1, 0, 0);
    if (system->contexts == 1) {
        ipmmu_grant(fixture, neighbour, 1, 0, 0);
    }
    ipmmu_unmap(domain, IOVA + PAGE, PAGE);
    settle(fixture);
    ipmmu_suspend(fixture);
    ipmmu_resume(fixture);
    settle(fixture);
    ipmmu_revoke(fixture, neighbour);
    ipmmu_detach(fixture, master);
    assert_false(ipmmu_reaches_anything(fixture, master, IOVA, false));
    ipmmu_close(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IPMMU_TEST(IPMMU_CACHED, test_a_cache_unit_waits_for_its_root),
        IPMMU_TEST(IPMMU_CACHED, test_what_cannot_be_a_parent_is_refused),
        IPMMU_TEST(IPMMU_ALL, test_a_unit_of_gen2_has_no_parent),
        IPMMU_TEST(IPMMU_CACHED, test_a_root_of_another_class_leaves_those_that_waited),
        IPMMU_TEST(IPMMU_ALL, test_contexts_are_as_many_as_there_are_or_fewer),
        IPMMU_TEST(IPMMU_ALL, test_use_secgrp_is_cleared_and_other_bits_are_kept),
        IPMMU_TEST(IPMMU_ALL, test_units_are_switched_on_before_and_off_after),
        IPMMU_TEST(IPMMU_ALL, test_no_power_at_start),
        IPMMU_TEST(IPMMU_CACHED, test_no_power_for_a_unit_that_waited),
        IPMMU_TEST(IPMMU_ALL, test_no_power_at_resume),
        IPMMU_TEST(IPMMU_ALL, test_power_that_cannot_be_switched_off),
        IPMMU_TEST(IPMMU_ALL, test_power_that_cannot_be_switched_off_in_the_end),
        IPMMU_TEST(IPMMU_ALL, test_micro_tlbs_that_do_not_exist_are_refused),
        IPMMU_TEST(IPMMU_ALL, test_unknown_ids_are_blocked),
        IPMMU_TEST(IPMMU_ALL, test_unknown_ids_are_left_but_for_those_that_firmware_enabled),
        IPMMU_TEST(IPMMU_ALL, test_unknown_ids_that_are_left_are_not_touched),
        IPMMU_TEST(IPMMU_ALL, test_denied_micro_tlbs_are_refused_and_blocked),
        IPMMU_TEST(IPMMU_ALL, test_denied_micro_tlbs_are_left_where_the_policy_says_so),
        IPMMU_TEST(IPMMU_ALL, test_untouched_micro_tlbs_are_never_written),
        IPMMU_TEST(IPMMU_ALL, test_masters_that_share_a_micro_tlb_are_a_group),
        IPMMU_TEST(IPMMU_ALL, test_a_device_has_micro_tlbs_of_several_units),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
