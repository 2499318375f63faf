/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * A FLUSH of the IPMMU-VMSA that never ends, in each unit and at each moment. Either nobody has to
 * wait for it, and what the call promises holds all the same; or the error reaches the caller and
 * the unit has failed. No master gets more than it was granted, and no table is given back while
 * hardware may read it.
 */

#include "ipmmu_fixture.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <string.h>

#include <cmocka.h>

#define PAGE   IPMMU_PAGE
#define IOVA   IPMMU_IOVA
#define MEMORY IPMMU_MEMORY
#define R      IPMMU_READ
#define RW     IPMMU_READ_WRITE

/* A unit in which a FLUSH that never ends makes the call fail; on Gen2 a unit is both. */
#define BY_ROOT  1u
#define BY_CACHE 2u

/* The masters: one behind each of two units. */
enum { A, B };

struct moment {
    const char *name;
    void (*prepare)(struct ipmmu_fixture *fixture);
    int (*act)(struct ipmmu_fixture *fixture);
    int error;         /* the one that the call may return */
    unsigned int must; /* where it has to */
    /* What holds after success. */
    void (*check)(struct ipmmu_fixture *fixture);
};

struct trouble {
    struct piommu_gather gather;
};

static bool is_gen2(const struct ipmmu_fixture *fixture)
{
    return fixture->system->generation == PIOMMU_IPMMU_MODEL_GEN2;
}

/* The unit that has the contexts of master A. */
static size_t root_of(const struct ipmmu_fixture *fixture)
{
    return fixture->units[IPMMU_CACHE_1].root;
}

static struct piommu_group *group_of(const struct ipmmu_fixture *fixture, size_t master)
{
    return piommu_device_group(fixture->masters[master].device);
}

static bool has_failed(const struct ipmmu_fixture *fixture)
{
    for (size_t i = 0; i < fixture->unit_count; i++) {
        if (fixture->instances[i] != NULL && ipmmu_state(fixture, i) == PIOMMU_INSTANCE_FAILED) {
            return true;
        }
    }
    return false;
}

/* ---- what there is when it happens ---- */

static void prepare_nothing(struct ipmmu_fixture *fixture)
{
    (void)fixture;
}

static void prepare_root(struct ipmmu_fixture *fixture)
{
    if (!is_gen2(fixture)) {
        ipmmu_start_unit(fixture, IPMMU_ROOT);
    }
}

static void prepare_masters(struct ipmmu_fixture *fixture)
{
    ipmmu_start(fixture);
    (void)ipmmu_add_master(fixture, IPMMU_CACHE_1, 3);
    (void)ipmmu_add_master(fixture, IPMMU_CACHE_2, 3);
}

static void grant_both(struct ipmmu_fixture *fixture, size_t page, uint64_t physical,
                       piommu_prot prot)
{
    ipmmu_grant(fixture, A, page, physical, prot);
    ipmmu_grant(fixture, B, page, physical, prot);
}

static void prepare_domain(struct ipmmu_fixture *fixture)
{
    prepare_masters(fixture);
    assert_int_equal(piommu_domain_map(ipmmu_add_domain(fixture), IOVA, MEMORY, 2 * PAGE, RW), 0);
}

static void prepare_attached(struct ipmmu_fixture *fixture)
{
    prepare_domain(fixture);
    grant_both(fixture, 0, MEMORY, RW);
    grant_both(fixture, 1, MEMORY + PAGE, RW);
    ipmmu_attach(fixture, A, fixture->domains[0]);
    ipmmu_attach(fixture, B, fixture->domains[0]);
    ipmmu_settle(fixture);
    ipmmu_assert_granted(fixture);
}

static void prepare_unmapped(struct ipmmu_fixture *fixture)
{
    struct trouble *trouble = fixture->test_data;

    prepare_attached(fixture);
    assert_int_equal(
        piommu_domain_unmap(fixture->domains[0], IOVA + PAGE, PAGE, &trouble->gather, NULL), 0);
}

static void prepare_left(struct ipmmu_fixture *fixture)
{
    prepare_attached(fixture);
    ipmmu_detach(fixture, A);
    ipmmu_detach(fixture, B);
}

static void prepare_two_domains(struct ipmmu_fixture *fixture)
{
    prepare_attached(fixture);
    assert_int_equal(piommu_domain_map(ipmmu_add_domain(fixture), IOVA, MEMORY + 9 * PAGE, PAGE, R),
                     0);
}

static void suspend_caches(struct ipmmu_fixture *fixture)
{
    for (size_t i = 0; i < fixture->unit_count; i++) {
        if (!ipmmu_is_root(fixture, i)) {
            assert_int_equal(piommu_instance_suspend(fixture->instances[i]), 0);
        }
    }
    fixture->probing = false;
}

static void prepare_caches_asleep(struct ipmmu_fixture *fixture)
{
    prepare_attached(fixture);
    suspend_caches(fixture);
}

static void prepare_asleep(struct ipmmu_fixture *fixture)
{
    prepare_attached(fixture);
    ipmmu_suspend(fixture);
    for (size_t i = 0; i < fixture->unit_count; i++) {
        piommu_ipmmu_model_power(fixture->model, i, true);
    }
}

static void prepare_root_awake(struct ipmmu_fixture *fixture)
{
    prepare_asleep(fixture);
    if (!is_gen2(fixture)) {
        assert_int_equal(piommu_instance_resume(fixture->instances[IPMMU_ROOT]), 0);
    }
}

static void prepare_empty(struct ipmmu_fixture *fixture)
{
    prepare_left(fixture);
    ipmmu_remove_device(fixture, A);
    ipmmu_remove_device(fixture, B);
    ipmmu_destroy_domain(fixture, 0);
    fixture->domain_count = 0;
    fixture->probing = false;
}

static void prepare_root_alone(struct ipmmu_fixture *fixture)
{
    prepare_empty(fixture);
    for (size_t i = 0; i < fixture->unit_count; i++) {
        if (!ipmmu_is_root(fixture, i)) {
            assert_int_equal(piommu_instance_destroy(fixture->instances[i]), 0);
            fixture->instances[i] = NULL;
        }
    }
}

/* ---- the calls ---- */

static int start_root(struct ipmmu_fixture *fixture)
{
    return ipmmu_try_unit(fixture, root_of(fixture));
}

static int start_cache(struct ipmmu_fixture *fixture)
{
    return ipmmu_try_unit(fixture, IPMMU_CACHE_1);
}

static int add_device(struct ipmmu_fixture *fixture)
{
    return ipmmu_try_device(fixture,
                            ipmmu_wire(fixture, &(struct ipmmu_place){IPMMU_CACHE_1, 6}, 1));
}

static int create_domain(struct ipmmu_fixture *fixture)
{
    return ipmmu_try_domain(fixture, PIOMMU_DOMAIN_PAGING,
                            &fixture->domains[fixture->domain_count++]);
}

static int attach(struct ipmmu_fixture *fixture)
{
    ipmmu_grant(fixture, A, 0, MEMORY, RW);
    ipmmu_grant(fixture, A, 1, MEMORY + PAGE, RW);
    return piommu_group_attach(group_of(fixture, A), fixture->domains[0]);
}

static int move(struct ipmmu_fixture *fixture)
{
    ipmmu_revoke(fixture, A);
    ipmmu_grant(fixture, A, 0, MEMORY + 9 * PAGE, R);
    return piommu_group_attach(group_of(fixture, A), fixture->domains[1]);
}

static int map(struct ipmmu_fixture *fixture)
{
    grant_both(fixture, 3, MEMORY + 3 * PAGE, RW);
    return piommu_domain_map(fixture->domains[0], IOVA + 3 * PAGE, MEMORY + 3 * PAGE, PAGE, RW);
}

static int sync(struct ipmmu_fixture *fixture)
{
    struct trouble *trouble = fixture->test_data;

    grant_both(fixture, 1, 0, 0);
    return piommu_domain_sync(fixture->domains[0], &trouble->gather);
}

static int protect(struct ipmmu_fixture *fixture)
{
    grant_both(fixture, 0, MEMORY, R);
    return piommu_domain_protect(fixture->domains[0], IOVA, PAGE, R, 0, NULL);
}

static int detach(struct ipmmu_fixture *fixture)
{
    ipmmu_revoke(fixture, A);
    return piommu_group_detach(piommu_device_group(fixture->masters[A].device));
}

static int remove_device(struct ipmmu_fixture *fixture)
{
    int error = piommu_device_remove(fixture->masters[A].device);

    if (error == 0) {
        fixture->masters[A].device = NULL;
    }
    return error;
}

/* The domain is gone in any case, but for the tables that hardware may still read. */
static int destroy_domain(struct ipmmu_fixture *fixture)
{
    int error = piommu_domain_destroy(fixture->domains[0]);

    if (error == 0) {
        fixture->domains[0] = NULL;
        fixture->loses_memory = has_failed(fixture);
    }
    return error;
}

static int suspend_unit(struct ipmmu_fixture *fixture)
{
    ipmmu_revoke(fixture, A);
    return piommu_instance_suspend(fixture->instances[IPMMU_CACHE_1]);
}

static int suspend_root(struct ipmmu_fixture *fixture)
{
    return piommu_instance_suspend(fixture->instances[root_of(fixture)]);
}

static int resume_root(struct ipmmu_fixture *fixture)
{
    return piommu_instance_resume(fixture->instances[root_of(fixture)]);
}

static int resume_cache(struct ipmmu_fixture *fixture)
{
    return piommu_instance_resume(fixture->instances[IPMMU_CACHE_1]);
}

static int destroy_unit(struct ipmmu_fixture *fixture, size_t unit)
{
    int error = piommu_instance_destroy(fixture->instances[unit]);

    if (error == 0) {
        fixture->instances[unit] = NULL;
    }
    return error;
}

static int destroy_cache(struct ipmmu_fixture *fixture)
{
    return destroy_unit(fixture, IPMMU_CACHE_1);
}

static int destroy_root(struct ipmmu_fixture *fixture)
{
    return destroy_unit(fixture, root_of(fixture));
}

/* ---- what holds after success ---- */

static void check_grants(struct ipmmu_fixture *fixture)
{
    ipmmu_settle(fixture);
    ipmmu_probe(fixture);
    ipmmu_assert_granted(fixture);
}

static void check_blocked(struct ipmmu_fixture *fixture)
{
    ipmmu_settle(fixture);
    ipmmu_probe(fixture);
}

/* The guarantee begins with the resume, and what was granted is there again. */
static void check_awake(struct ipmmu_fixture *fixture)
{
    for (size_t unit = 0; unit < fixture->unit_count; unit++) {
        if (ipmmu_state(fixture, unit) == PIOMMU_INSTANCE_SUSPENDED) {
            return;
        }
    }
    check_grants(fixture);
}

static void check_nothing(struct ipmmu_fixture *fixture)
{
    (void)fixture;
}

static const struct moment moments[] = {
    {"start of a root", prepare_nothing, start_root, -PIOMMU_ETIMEDOUT, BY_ROOT, check_nothing},
    {"start of a cache unit", prepare_root, start_cache, -PIOMMU_ETIMEDOUT, 0, check_nothing},
    {"a device is added", prepare_masters, add_device, -PIOMMU_EFAILED, 0, check_blocked},
    {"a domain is created", prepare_masters, create_domain, -PIOMMU_EFAILED, 0, check_blocked},
    {"attach", prepare_domain, attach, -PIOMMU_EFAILED, 0, check_grants},
    {"move", prepare_two_domains, move, -PIOMMU_EFAILED, 0, check_grants},
    {"map", prepare_attached, map, -PIOMMU_EFAILED, 0, check_grants},
    {"sync", prepare_unmapped, sync, -PIOMMU_EFAILED, BY_ROOT | BY_CACHE, check_grants},
    {"protect", prepare_attached, protect, -PIOMMU_EFAILED, BY_ROOT | BY_CACHE, check_grants},
    {"detach", prepare_attached, detach, -PIOMMU_EFAILED, 0, check_grants},
    {"a device is removed", prepare_left, remove_device, -PIOMMU_EFAILED, 0, check_blocked},
    {"a domain is destroyed", prepare_left, destroy_domain, -PIOMMU_EFAILED, 0, check_blocked},
    {"suspend of a unit", prepare_attached, suspend_unit, -PIOMMU_EFAILED, 0, check_blocked},
    {"suspend of a root", prepare_caches_asleep, suspend_root, -PIOMMU_EFAILED, 0, check_nothing},
    {"resume of a root", prepare_asleep, resume_root, -PIOMMU_EFAILED, BY_ROOT, check_awake},
    {"resume of a cache unit", prepare_root_awake, resume_cache, -PIOMMU_EFAILED, 0, check_awake},
    {"the end of a cache unit", prepare_empty, destroy_cache, -PIOMMU_ETIMEDOUT, 0, check_nothing},
    {"the end of a root", prepare_root_alone, destroy_root, -PIOMMU_ETIMEDOUT, BY_ROOT,
     check_nothing},
};

/* ---- the tests ---- */

/* Neither an enabled context nor a TLB leads to memory that is given back. */
static void check_free(void *ctx, uint64_t physical, uint64_t size)
{
    const struct ipmmu_fixture *fixture = ctx;

    assert_false(piommu_ipmmu_model_table_reaches(fixture->model, physical, size));
}

static void heal(struct ipmmu_fixture *fixture)
{
    piommu_ipmmu_model_set_flush_polls(fixture->model, PIOMMU_IPMMU_MODEL_ALL_UNITS, 0);
    piommu_ipmmu_model_end_flushes(fixture->model, PIOMMU_IPMMU_MODEL_ALL_UNITS);
}

static unsigned int kind_of(const struct ipmmu_fixture *fixture, size_t unit)
{
    unsigned int kind = unit == root_of(fixture) ? BY_ROOT : 0;

    return unit != IPMMU_ROOT ? kind | BY_CACHE : kind;
}

static void judge(struct ipmmu_fixture *fixture, const struct moment *moment, size_t stuck,
                  int error)
{
    if (error == 0) {
        assert_int_equal(moment->must & kind_of(fixture, stuck), 0);
        moment->check(fixture);
        return;
    }
    /* What a unit that did not start was given is lost: nobody knows when it lets go. */
    fixture->loses_memory = moment->act == start_root || moment->act == start_cache;
    assert_true(error == moment->error || (fixture->loses_memory && error == -PIOMMU_EFAILED));
    if (error == -PIOMMU_EFAILED && !fixture->loses_memory) {
        assert_true(has_failed(fixture));
    }
    /* What a call that fails was to grant or to take may be either. */
    if (fixture->probing) {
        ipmmu_probe(fixture);
    }
}

static struct ipmmu_fixture *get_stuck(const struct ipmmu_system *system,
                                       const struct piommu_ipmmu_model_readings *readings,
                                       const struct moment *moment, size_t stuck,
                                       struct trouble *trouble)
{
    const struct ipmmu_options options = {.readings = readings};
    struct ipmmu_fixture *fixture = ipmmu_open(system, &options);

    piommu_gather_init(&trouble->gather);
    fixture->test_data = trouble;
    fake_os_on_dma_free(fixture->os, check_free, fixture);
    for (size_t i = 0; i < fixture->unit_count; i++) {
        fixture->configs[i].timeout = 200000; /* as virtual as the time that passes */
    }
    moment->prepare(fixture);
    piommu_ipmmu_model_set_flush_polls(fixture->model, stuck, PIOMMU_IPMMU_MODEL_NEVER);
    judge(fixture, moment, stuck, moment->act(fixture));
    return fixture;
}

static void try_each_moment(const struct ipmmu_system *system,
                            const struct piommu_ipmmu_model_readings *readings,
                            void (*afterwards)(struct ipmmu_fixture *fixture))
{
    for (size_t i = 0; i < sizeof(moments) / sizeof(moments[0]); i++) {
        for (size_t stuck = 0; stuck < IPMMU_UNITS; stuck++) {
            struct trouble trouble;

            print_message("  %s, unit %zu\n", moments[i].name, stuck);
            afterwards(get_stuck(system, readings, &moments[i], stuck, &trouble));
        }
    }
}

/* Roots first, as their cache units need them. The guarantee begins when it is over. */
static void recover(struct ipmmu_fixture *fixture)
{
    bool probing = fixture->probing;

    fixture->probing = false;
    for (size_t i = 0; i < fixture->unit_count; i++) {
        if (fixture->instances[i] != NULL && ipmmu_state(fixture, i) == PIOMMU_INSTANCE_FAILED) {
            assert_int_equal(piommu_instance_recover(fixture->instances[i]), 0);
        }
    }
    fixture->probing = probing;
}

/* A unit that sleeps has lost its power when it is destroyed, or its masters stay quiet. */
static void cut_power(struct ipmmu_fixture *fixture)
{
    for (size_t i = 0; i < fixture->unit_count; i++) {
        if (fixture->instances[i] != NULL && ipmmu_state(fixture, i) == PIOMMU_INSTANCE_SUSPENDED) {
            piommu_ipmmu_model_power(fixture->model, i, false);
        }
    }
}

/* When it works again all can be taken down, and all that was given is given back. */
static void take_down_healed(struct ipmmu_fixture *fixture)
{
    heal(fixture);
    recover(fixture);
    if (fixture->loses_memory && !has_failed(fixture)) {
        ipmmu_start(fixture);
    }
    cut_power(fixture);
    ipmmu_close(fixture);
}

static void test_a_flush_that_ends_late(const struct ipmmu_system *system)
{
    struct piommu_ipmmu_model_readings readings;

    piommu_ipmmu_model_default_readings(&readings);
    try_each_moment(system, &readings, take_down_healed);
    readings.cache_flush = PIOMMU_IPMMU_MODEL_FLUSH_AT_END;
    readings.disabled_micro_tlb = PIOMMU_IPMMU_MODEL_ABORTS;
    try_each_moment(system, &readings, take_down_healed);
}

/* A master whose unit does not let go of it may have what it had; it is no secret. */
static void leave_if_possible(struct ipmmu_fixture *fixture, size_t master)
{
    struct ipmmu_master *which = &fixture->masters[master];
    struct piommu_id_info id;

    if (piommu_group_detach(group_of(fixture, master)) == 0) {
        ipmmu_revoke(fixture, master);
        memset(which->granted[0], 0, sizeof(which->granted[0]));
        ipmmu_probe(fixture);
        if (piommu_device_remove(which->device) == 0) {
            which->device = NULL;
        }
        return;
    }
    assert_int_equal(piommu_device_get_id(which->device, 0, &id), 0);
    assert_int_equal(id.state, PIOMMU_ID_DOUBTFUL);
}

/*
 * Whatever can be taken down while it hangs is, and hardware keeps what it may read; the rest goes
 * when it works again.
 */
static void take_down_stuck(struct ipmmu_fixture *fixture)
{
    cut_power(fixture);
    for (size_t i = 0; i < fixture->master_count; i++) {
        if (fixture->masters[i].device != NULL) {
            leave_if_possible(fixture, i);
        }
    }
    for (size_t i = 0; i < fixture->domain_count; i++) {
        if (piommu_domain_destroy(fixture->domains[i]) == 0) {
            fixture->domains[i] = NULL;
        }
    }
    fixture->probing = false;
    for (size_t i = fixture->unit_count; i > 0; i--) {
        (void)destroy_unit(fixture, i - 1);
    }
    fixture->loses_memory = true;
    heal(fixture);
    ipmmu_close(fixture);
}

static void test_a_flush_that_never_ends(const struct ipmmu_system *system)
{
    try_each_moment(system, NULL, take_down_stuck);
}

/* What was parked is free again, and everybody has what was granted. */
static void test_units_that_have_failed_are_recovered(const struct ipmmu_system *system)
{
    for (size_t stuck = 0; stuck < IPMMU_UNITS; stuck++) {
        struct moment moment = {.prepare = prepare_unmapped,
                                .act = sync,
                                .error = -PIOMMU_EFAILED,
                                .check = check_grants};
        struct trouble trouble;
        struct ipmmu_fixture *fixture = get_stuck(system, NULL, &moment, stuck, &trouble);

        heal(fixture);
        recover(fixture);
        assert_int_equal(piommu_domain_sync(fixture->domains[0], &trouble.gather), 0);
        check_grants(fixture);
        assert_false(has_failed(fixture));
        ipmmu_close(fixture);
    }
}

/* A domain of its own for each of two units. */
static void prepare_separate_domains(struct ipmmu_fixture *fixture)
{
    prepare_masters(fixture);
    grant_both(fixture, 0, MEMORY, RW);
    grant_both(fixture, 1, MEMORY + PAGE, RW);
    for (size_t i = A; i <= B; i++) {
        const struct piommu_domain_config config = {
            .type = PIOMMU_DOMAIN_PAGING,
            .instances = &fixture->instances[IPMMU_CACHE_1 + i],
            .instance_count = 1,
        };

        assert_int_equal(piommu_domain_create(&config, &fixture->domains[i]), 0);
        fixture->domain_count++;
        assert_int_equal(piommu_domain_map(fixture->domains[i], IOVA, MEMORY, 2 * PAGE, RW), 0);
        ipmmu_attach(fixture, i, fixture->domains[i]);
    }
    ipmmu_settle(fixture);
    ipmmu_assert_granted(fixture);
}

static void hang_first_unit(struct ipmmu_fixture *fixture)
{
    struct trouble *trouble = fixture->test_data;

    prepare_separate_domains(fixture);
    assert_int_equal(piommu_domain_unmap(fixture->domains[A], IOVA, PAGE, &trouble->gather, NULL),
                     0);
    piommu_ipmmu_model_set_flush_polls(fixture->model, IPMMU_CACHE_1, PIOMMU_IPMMU_MODEL_NEVER);
    assert_int_equal(piommu_domain_sync(fixture->domains[A], &trouble->gather), -PIOMMU_EFAILED);
    assert_int_equal(ipmmu_state(fixture, IPMMU_CACHE_1), PIOMMU_INSTANCE_FAILED);
}

static void use_second_unit(struct ipmmu_fixture *fixture)
{
    ipmmu_grant(fixture, B, 1, 0, 0);
    ipmmu_unmap(fixture->domains[B], IOVA + PAGE, PAGE);
    fixture->masters[B].granted[0][1].mapped = false;
    ipmmu_probe(fixture);
    ipmmu_grant(fixture, B, 1, MEMORY + PAGE, RW);
    assert_int_equal(piommu_domain_map(fixture->domains[B], IOVA + PAGE, MEMORY + PAGE, PAGE, RW),
                     0);
    assert_true(ipmmu_reaches(fixture, B, IOVA, true, MEMORY));
    assert_true(ipmmu_reaches(fixture, B, IOVA + PAGE, true, MEMORY + PAGE));
    assert_int_equal(ipmmu_state(fixture, IPMMU_CACHE_2), PIOMMU_INSTANCE_RUNNING);
}

/* All that has not failed sleeps and wakes. */
static void sleep_and_wake(struct ipmmu_fixture *fixture)
{
    fixture->probing = false;
    for (size_t i = fixture->unit_count; i > 0; i--) {
        if (i - 1 != IPMMU_CACHE_1) {
            assert_int_equal(piommu_instance_suspend(fixture->instances[i - 1]), 0);
            piommu_ipmmu_model_power(fixture->model, i - 1, false);
            piommu_ipmmu_model_power(fixture->model, i - 1, true);
        }
    }
    for (size_t i = 0; i < fixture->unit_count; i++) {
        if (i != IPMMU_CACHE_1) {
            assert_int_equal(piommu_instance_resume(fixture->instances[i]), 0);
        }
    }
    fixture->probing = true;
}

/* A unit that hangs is the trouble of its masters alone, also when the others sleep and wake. */
static void test_other_units_go_on(const struct ipmmu_system *system)
{
    /*
     * The unit that hangs keeps entries of a context that its root enables again after its sleep;
     * nothing in the unit selects it.
     */
    const struct ipmmu_options options = {.forgiven = PIOMMU_IPMMU_MODEL_RULE_REUSE};
    struct ipmmu_fixture *fixture = ipmmu_open(system, &options);
    struct trouble trouble;

    piommu_gather_init(&trouble.gather);
    fixture->test_data = &trouble;
    fixture->configs[IPMMU_CACHE_1].timeout = 200000;
    hang_first_unit(fixture);
    use_second_unit(fixture);
    sleep_and_wake(fixture);
    use_second_unit(fixture);
    heal(fixture);
    recover(fixture);
    ipmmu_grant(fixture, A, 0, 0, 0);
    assert_int_equal(piommu_domain_sync(fixture->domains[A], &trouble.gather), 0);
    check_grants(fixture);
    ipmmu_close(fixture);
}

/*
 * A domain over a unit that hangs and one that sleeps has nobody who could be asked. What it loses
 * then is not found by the one that wakes up, in the root that it shares with the other.
 */
static void test_what_nobody_could_be_asked_to_forget_is_forgotten(
    const struct ipmmu_system *system)
{
    const struct ipmmu_options options = {.forgiven = PIOMMU_IPMMU_MODEL_RULE_REUSE};
    struct ipmmu_fixture *fixture = ipmmu_open(system, &options);
    const struct piommu_domain_config config = {.type = PIOMMU_DOMAIN_PAGING,
                                                .instances = &fixture->instances[IPMMU_CACHE_1],
                                                .instance_count = 2};
    struct piommu_gather gather;

    piommu_gather_init(&gather);
    fixture->configs[IPMMU_CACHE_1].timeout = 200000;
    prepare_masters(fixture);
    grant_both(fixture, 0, MEMORY, RW);
    grant_both(fixture, 1, MEMORY + PAGE, RW);
    assert_int_equal(piommu_domain_create(&config, &fixture->domains[0]), 0);
    fixture->domain_count = 1;
    assert_int_equal(piommu_domain_map(fixture->domains[0], IOVA, MEMORY, 2 * PAGE, RW), 0);
    ipmmu_attach(fixture, A, fixture->domains[0]);
    assert_true(ipmmu_reaches(fixture, A, IOVA + PAGE, true, MEMORY + PAGE));
    fixture->probing = false;
    assert_int_equal(piommu_instance_suspend(fixture->instances[IPMMU_CACHE_2]), 0);
    piommu_ipmmu_model_power(fixture->model, IPMMU_CACHE_2, false);
    /* From now on the root fetches again, after each access, what a FLUSH has made it forget. */
    fixture->probing = true;

    piommu_ipmmu_model_set_flush_polls(fixture->model, IPMMU_CACHE_1, PIOMMU_IPMMU_MODEL_NEVER);
    assert_int_equal(piommu_domain_unmap(fixture->domains[0], IOVA, PAGE, &gather, NULL), 0);
    assert_int_equal(piommu_domain_sync(fixture->domains[0], &gather), -PIOMMU_EFAILED);
    assert_int_equal(piommu_group_detach(piommu_device_group(fixture->masters[A].device)), 0);
    assert_int_equal(piommu_domain_sync(fixture->domains[0], &gather), 0);
    ipmmu_unmap(fixture->domains[0], IOVA + PAGE, PAGE);

    fixture->probing = false; /* masters are quiet until the unit runs */
    ipmmu_attach(fixture, B, fixture->domains[0]);
    piommu_ipmmu_model_power(fixture->model, IPMMU_CACHE_2, true);
    assert_int_equal(piommu_instance_resume(fixture->instances[IPMMU_CACHE_2]), 0);
    assert_false(ipmmu_reaches_anything(fixture, B, IOVA, false));
    assert_false(ipmmu_reaches_anything(fixture, B, IOVA + PAGE, false));
    heal(fixture);
    recover(fixture);
    ipmmu_close(fixture);
}

/* A domain over two units, in this order; their masters come in one or the other order. */
static void hang_both_units(struct ipmmu_fixture *fixture, bool turned, bool second_first)
{
    struct trouble *trouble = fixture->test_data;
    struct piommu_instance *units[2] = {fixture->instances[IPMMU_CACHE_1 + turned],
                                        fixture->instances[IPMMU_CACHE_2 - turned]};
    const struct piommu_domain_config config = {
        .type = PIOMMU_DOMAIN_PAGING, .instances = units, .instance_count = 2};

    assert_int_equal(piommu_domain_create(&config, &fixture->domains[0]), 0);
    fixture->domain_count = 1;
    assert_int_equal(piommu_domain_map(fixture->domains[0], IOVA, MEMORY, 2 * PAGE, RW), 0);
    grant_both(fixture, 0, MEMORY, RW);
    grant_both(fixture, 1, MEMORY + PAGE, RW);
    ipmmu_attach(fixture, second_first ? B : A, fixture->domains[0]);
    ipmmu_attach(fixture, second_first ? A : B, fixture->domains[0]);
    check_grants(fixture);
    assert_int_equal(
        piommu_domain_unmap(fixture->domains[0], IOVA + PAGE, PAGE, &trouble->gather, NULL), 0);
    piommu_ipmmu_model_set_flush_polls(fixture->model, IPMMU_CACHE_1, PIOMMU_IPMMU_MODEL_NEVER);
    piommu_ipmmu_model_set_flush_polls(fixture->model, IPMMU_CACHE_2, PIOMMU_IPMMU_MODEL_NEVER);
    fixture->probing = false; /* it is over when the call returns */
    assert_int_equal(sync(fixture), -PIOMMU_EFAILED);
    fixture->probing = true;
}

/* The second of them is stopped while it is still waited for the first. */
static void test_two_units_that_do_not_answer(const struct ipmmu_system *system)
{
    for (unsigned int order = 0; order < 4; order++) {
        struct ipmmu_fixture *fixture = ipmmu_open(system, NULL);
        struct trouble trouble;

        piommu_gather_init(&trouble.gather);
        fixture->test_data = &trouble;
        fake_os_on_dma_free(fixture->os, check_free, fixture);
        for (size_t i = 0; i < fixture->unit_count; i++) {
            fixture->configs[i].timeout = 200000;
        }
        prepare_masters(fixture);
        hang_both_units(fixture, order % 2 != 0, order / 2 != 0);
        for (size_t i = IPMMU_CACHE_1; i <= IPMMU_CACHE_2; i++) {
            assert_int_equal(ipmmu_state(fixture, i), PIOMMU_INSTANCE_FAILED);
        }
        assert_false(ipmmu_reaches_anything(fixture, A, IOVA, false));
        assert_false(ipmmu_reaches_anything(fixture, B, IOVA, false));
        heal(fixture);
        recover(fixture);
        assert_int_equal(piommu_domain_sync(fixture->domains[0], &trouble.gather), 0);
        check_grants(fixture);
        ipmmu_close(fixture);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IPMMU_TEST(IPMMU_ALL, test_a_flush_that_ends_late),
        IPMMU_TEST(IPMMU_ALL, test_a_flush_that_never_ends),
        IPMMU_TEST(IPMMU_ALL, test_units_that_have_failed_are_recovered),
        IPMMU_TEST(IPMMU_ALL, test_other_units_go_on),
        IPMMU_TEST(IPMMU_CACHED, test_two_units_that_do_not_answer),
        IPMMU_TEST(IPMMU_CACHED, test_what_nobody_could_be_asked_to_forget_is_forgotten),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
