/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Everything that happens to domains and masters in the life of a system with the IPMMU-VMSA, on
 * each layout of registers and each kind of tables, under each reading of what is unknown of the
 * hardware. TLBs keep whatever they may. After each write to a register no master reaches what it
 * was not granted, and none has lost what the call in progress does not touch.
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

/* The masters: four of which the library knows, behind two units, and a stranger behind each. */
enum { A, B, C, D, STRANGER_1, STRANGER_2, MASTERS };
#define NOBODY MASTERS

struct life {
    size_t moving; /* of this master's grants none need be there at the moment */
    bool sleeping; /* the same of all */
    struct piommu_pgtable *cpu_table;
    struct piommu_domain *shared;
};

/* ---- what masters reach ---- */

/* With one context nothing can tell the masters of a unit apart, not even those never added. */
static bool share_grants(const struct ipmmu_fixture *fixture, size_t one, size_t other)
{
    return one == other ||
           (fixture->system->contexts == 1 &&
            fixture->masters[one].places[0].unit == fixture->masters[other].places[0].unit);
}

static void grant(struct ipmmu_fixture *fixture, size_t master, size_t page, uint64_t physical,
                  piommu_prot prot)
{
    for (size_t i = 0; i < fixture->master_count; i++) {
        if (share_grants(fixture, master, i)) {
            ipmmu_grant(fixture, i, page, physical, prot);
        }
    }
}

static void revoke(struct ipmmu_fixture *fixture, size_t master)
{
    for (size_t page = 0; page < IPMMU_PAGES; page++) {
        grant(fixture, master, page, 0, 0);
    }
}

static bool is_kept(const struct ipmmu_master *master, size_t page)
{
    const struct ipmmu_granted *before = &master->granted[0][page];
    const struct ipmmu_granted *after = &master->granted[1][page];

    return before->mapped && after->mapped && before->physical == after->physical;
}

/* What the call in progress neither gives nor takes is there throughout. */
static void check_kept(struct ipmmu_fixture *fixture,
                       const struct piommu_ipmmu_model_access *access)
{
    const struct life *life = fixture->test_data;

    if (!fixture->probing || !access->is_write || life->sleeping) {
        return;
    }
    for (size_t i = 0; i < fixture->master_count; i++) {
        const struct ipmmu_master *master = &fixture->masters[i];

        if (life->moving != NOBODY && share_grants(fixture, life->moving, i)) {
            continue;
        }
        for (size_t page = 0; page < IPMMU_PAGES; page++) {
            if (is_kept(master, page) && !ipmmu_reaches(fixture, i, IOVA + page * PAGE, false,
                                                        master->granted[1][page].physical)) {
                fail_msg("master %s has lost page %zu", master->name, page);
            }
        }
    }
}

static void settle(struct ipmmu_fixture *fixture)
{
    ipmmu_settle(fixture);
    ipmmu_probe(fixture);
    ipmmu_assert_granted(fixture);
}

static void enter(struct ipmmu_fixture *fixture, size_t master, struct piommu_domain *domain)
{
    struct life *life = fixture->test_data;

    life->moving = master;
    ipmmu_attach(fixture, master, domain);
    life->moving = NOBODY;
    settle(fixture);
}

static void leave(struct ipmmu_fixture *fixture, size_t master)
{
    revoke(fixture, master);
    ipmmu_detach(fixture, master);
    settle(fixture);
    assert_false(ipmmu_reaches_anything(fixture, master, MEMORY, false));
}

/* ---- the steps ---- */

static void populate(struct ipmmu_fixture *fixture)
{
    ipmmu_start_with_masters(fixture);
    for (size_t unit = IPMMU_CACHE_1; unit <= IPMMU_CACHE_2; unit++) {
        (void)ipmmu_wire(fixture, &(struct ipmmu_place){unit, 7}, 1);
    }
    ipmmu_probe(fixture);
    assert_int_equal(piommu_domain_map(fixture->domains[0], IOVA, MEMORY, 2 * PAGE, RW), 0);
    assert_int_equal(piommu_domain_map(fixture->domains[1], IOVA, MEMORY + 8 * PAGE, PAGE, R), 0);
}

/* Masters behind both units enter one domain, and one of them another. */
static void attach_masters(struct ipmmu_fixture *fixture)
{
    for (size_t i = A; i <= C; i += C - A) {
        grant(fixture, i, 0, MEMORY, RW);
        grant(fixture, i, 1, MEMORY + PAGE, RW);
        enter(fixture, i, fixture->domains[0]);
    }
    if (fixture->system->contexts != 1) {
        grant(fixture, B, 0, MEMORY + 8 * PAGE, R);
        enter(fixture, B, fixture->domains[1]);
    }
}

/* The mappings of a domain change while its masters run. */
static void change_mappings(struct ipmmu_fixture *fixture)
{
    struct piommu_domain *domain = fixture->domains[0];

    grant(fixture, A, 2, MEMORY + 2 * PAGE, R);
    grant(fixture, C, 2, MEMORY + 2 * PAGE, R);
    assert_int_equal(piommu_domain_map(domain, IOVA + 2 * PAGE, MEMORY + 2 * PAGE, PAGE, R), 0);
    settle(fixture);

    grant(fixture, A, 1, 0, 0);
    grant(fixture, C, 1, 0, 0);
    ipmmu_unmap(domain, IOVA + PAGE, PAGE);
    settle(fixture);

    grant(fixture, A, 1, MEMORY + 20 * PAGE, RW);
    grant(fixture, C, 1, MEMORY + 20 * PAGE, RW);
    assert_int_equal(piommu_domain_map(domain, IOVA + PAGE, MEMORY + 20 * PAGE, PAGE, RW), 0);
    settle(fixture);

    grant(fixture, A, 1, MEMORY + 20 * PAGE, R);
    grant(fixture, C, 1, MEMORY + 20 * PAGE, R);
    assert_int_equal(piommu_domain_protect(domain, IOVA + PAGE, PAGE, R, 0, NULL), 0);
    settle(fixture);
}

static void move(struct ipmmu_fixture *fixture)
{
    revoke(fixture, A);
    grant(fixture, A, 0, MEMORY + 8 * PAGE, R);
    if (fixture->system->contexts != 1) {
        grant(fixture, B, 0, MEMORY + 8 * PAGE, R);
    }
    enter(fixture, A, fixture->domains[1]);
}

/* A fault blocks the masters of its domain, and no others, until they enter it again. */
static void fault(struct ipmmu_fixture *fixture)
{
    size_t root = fixture->units[IPMMU_CACHE_2].root;
    bool more = false;

    ipmmu_drain(fixture);
    fixture->probing = false;
    fixture->answer = PIOMMU_FAULT_BLOCK;
    assert_false(ipmmu_reaches(fixture, C, IOVA + 5 * PAGE, false, MEMORY));
    assert_true(piommu_ipmmu_model_interrupt(fixture->model, root));
    assert_int_equal(piommu_instance_interrupt(fixture->instances[root], 8, &more), 1);
    assert_true(more);
    assert_false(piommu_ipmmu_model_interrupt(fixture->model, root));
    fixture->answer = PIOMMU_FAULT_NOTE;
    assert_true(piommu_instance_service(fixture->instances[root], 8) >= 0);
    revoke(fixture, C);
    fixture->probing = true;
    settle(fixture);
    assert_false(ipmmu_reaches_anything(fixture, C, IOVA, false));

    grant(fixture, C, 0, MEMORY, RW);
    grant(fixture, C, 1, MEMORY + 20 * PAGE, R);
    grant(fixture, C, 2, MEMORY + 2 * PAGE, R);
    enter(fixture, C, fixture->domains[0]);
}

/* What is done meanwhile counts afterwards. */
static void sleep_and_wake(struct ipmmu_fixture *fixture, uint32_t litter)
{
    struct life *life = fixture->test_data;

    life->sleeping = true;
    ipmmu_suspend(fixture);
    ipmmu_unmap(fixture->domains[0], IOVA + 2 * PAGE, PAGE);
    assert_int_equal(piommu_domain_map(fixture->domains[0], IOVA + 3 * PAGE, MEMORY, PAGE, R), 0);
    for (size_t i = 0; i < fixture->unit_count; i++) {
        piommu_ipmmu_model_power(fixture->model, i, true);
    }
    if (litter != 0) {
        piommu_ipmmu_model_litter(fixture->model, litter);
    }
    ipmmu_resume_powered(fixture);
    life->sleeping = false;
    grant(fixture, C, 2, 0, 0);
    grant(fixture, C, 3, MEMORY, R);
    settle(fixture);
}

static void remove_and_add(struct ipmmu_fixture *fixture)
{
    leave(fixture, A);
    ipmmu_remove_device(fixture, A);
    settle(fixture);
    assert_int_equal(ipmmu_try_device(fixture, A), 0);
    settle(fixture);
    grant(fixture, A, 0, MEMORY + 8 * PAGE, R);
    enter(fixture, A, fixture->domains[1]);
}

static void detach_masters(struct ipmmu_fixture *fixture)
{
    leave(fixture, A);
    leave(fixture, C);
    if (fixture->system->contexts != 1) {
        leave(fixture, B);
    }
}

/* ---- domains with the CPU's tables ---- */

static const struct piommu_pgtable_config cpu_table_config = {
    .format = PIOMMU_ARM_64_LPAE_S2,
    .granule = 4096,
    .input_bits = 40,
    .output_bits = 40,
    .flags = PIOMMU_PGTABLE_CONCATENATE,
};

static bool has_stage2(const struct ipmmu_fixture *fixture)
{
    return fixture->places[IPMMU_ROOT].mixed_stages ||
           fixture->system->tables == PIOMMU_IPMMU_VMSA_STAGE2;
}

static void share_cpu_table(struct ipmmu_fixture *fixture)
{
    struct life *life = fixture->test_data;
    struct piommu_shared_table shared = {.config = &cpu_table_config};
    const struct piommu_domain_config config = {.type = PIOMMU_DOMAIN_SHARED,
                                                .instances = &fixture->instances[IPMMU_CACHE_1],
                                                .instance_count = 2,
                                                .shared = &shared};
    struct piommu_pgtable_info info;
    uint64_t bytes;

    if (!has_stage2(fixture)) {
        return;
    }
    assert_int_equal(
        piommu_pgtable_create(fake_os_host(fixture->os), &cpu_table_config, &life->cpu_table), 0);
    piommu_pgtable_get_info(life->cpu_table, &info);
    shared.root = info.root_physical;
    assert_int_equal(piommu_domain_create(&config, &life->shared), 0);
    assert_int_equal(
        piommu_pgtable_map(life->cpu_table, IOVA, MEMORY + 30 * PAGE, 2 * PAGE, RW, &bytes), 0);
    grant(fixture, D, 0, MEMORY + 30 * PAGE, RW);
    grant(fixture, D, 1, MEMORY + 31 * PAGE, RW);
    enter(fixture, D, life->shared);
}

static void change_cpu_table(struct ipmmu_fixture *fixture)
{
    struct life *life = fixture->test_data;
    struct piommu_gather gather;
    uint64_t bytes;

    if (life->shared == NULL) {
        return;
    }
    piommu_gather_init(&gather);
    grant(fixture, D, 1, 0, 0);
    assert_int_equal(piommu_pgtable_unmap(life->cpu_table, IOVA + PAGE, PAGE, &gather, &bytes), 0);
    piommu_pgtable_detach_empty(life->cpu_table, &gather);
    assert_int_equal(piommu_domain_invalidate(life->shared, gather.range.first, gather.range.last),
                     0);
    settle(fixture);
    piommu_pgtable_release(life->cpu_table, &gather);
}

static void drop_cpu_table(struct ipmmu_fixture *fixture)
{
    struct life *life = fixture->test_data;

    if (life->shared == NULL) {
        return;
    }
    leave(fixture, D);
    assert_int_equal(piommu_domain_destroy(life->shared), 0);
    piommu_pgtable_destroy(life->cpu_table);
    life->shared = NULL;
}

/* ---- whole lives ---- */

static void live(struct ipmmu_fixture *fixture, uint32_t litter)
{
    populate(fixture);
    attach_masters(fixture);
    share_cpu_table(fixture);
    change_mappings(fixture);
    change_cpu_table(fixture);
    move(fixture);
    fault(fixture);
    sleep_and_wake(fixture, litter);
    remove_and_add(fixture);
    detach_masters(fixture);
    drop_cpu_table(fixture);
    ipmmu_take_down(fixture);
    fixture->master_count = 0;
}

/* A table is not given back while hardware could read it. */
static void check_free(void *ctx, uint64_t physical, uint64_t size)
{
    const struct ipmmu_fixture *fixture = ctx;

    assert_false(piommu_ipmmu_model_table_reaches(fixture->model, physical, size));
}

/*
 * Two lives on one hardware, which takes its time in the second one: that one finds what the first
 * one has left.
 */
static void live_twice(const struct ipmmu_system *system,
                       const struct piommu_ipmmu_model_readings *readings, bool mixed,
                       uint32_t litter)
{
    const struct ipmmu_options options = {.readings = readings};
    struct ipmmu_fixture *fixture = ipmmu_open(system, &options);
    struct life life = {.moving = NOBODY};

    fixture->test_data = &life;
    fixture->on_access = check_kept;
    fixture->places[IPMMU_ROOT].mixed_stages = mixed;
    fake_os_on_dma_free(fixture->os, check_free, fixture);
    if (litter != 0) {
        piommu_ipmmu_model_litter(fixture->model, litter);
    }
    live(fixture, litter);
    piommu_ipmmu_model_set_flush_polls(fixture->model, PIOMMU_IPMMU_MODEL_ALL_UNITS, 3);
    live(fixture, litter);
    assert_true(fixture->probes != 0);
    ipmmu_close_empty(fixture);
}

static bool can_mix(const struct ipmmu_system *system)
{
    return system->generation != PIOMMU_IPMMU_MODEL_GEN2 &&
           system->tables != PIOMMU_IPMMU_VMSA_STAGE2;
}

static void live_under_each_reading(const struct ipmmu_system *system, bool mixed)
{
    struct piommu_ipmmu_model_readings readings;
    const char *name;

    for (unsigned int number = 0; piommu_ipmmu_model_readings_variant(number, &readings, &name);
         number++) {
        /* What Xen writes is in the field; under the other reading there is no stage 2. */
        readings.stage2_start = PIOMMU_IPMMU_MODEL_STAGE2_START_1;
        /* Under the other reading stages cannot be mixed. */
        readings.s2pte_for_all = readings.s2pte_for_all && !mixed;
        print_message("  %s\n", name);
        live_twice(system, &readings, mixed, 0);
    }
}

static void test_nobody_gets_more_or_less_than_was_granted(const struct ipmmu_system *system)
{
    live_under_each_reading(system, false);
}

static void test_nobody_gets_more_or_less_where_stages_are_mixed(const struct ipmmu_system *system)
{
    if (can_mix(system)) {
        live_under_each_reading(system, true);
    }
}

/* Firmware has left rubbish, at the start and at each resume. */
static void test_nobody_gets_more_or_less_whatever_firmware_leaves(
    const struct ipmmu_system *system)
{
    for (uint32_t seed = 1; seed < 30; seed++) {
        live_twice(system, NULL, can_mix(system) && seed % 2 == 0, seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IPMMU_TEST(IPMMU_ALL, test_nobody_gets_more_or_less_than_was_granted),
        IPMMU_TEST(IPMMU_CACHED, test_nobody_gets_more_or_less_where_stages_are_mixed),
        IPMMU_TEST(IPMMU_ALL, test_nobody_gets_more_or_less_whatever_firmware_leaves),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
