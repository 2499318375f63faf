/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The IPMMU-VMSA backend against the model of the hardware, which keeps stale translations as long
 * as it may. After each write to a register every master tries addresses.
 */

#include "ipmmu_fixture.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <string.h>

#include <cmocka.h>

#define PAGE     IPMMU_PAGE
#define IOVA     IPMMU_IOVA
#define UNPROBED (IOVA + 8 * PAGE) /* no master tries it by itself */
#define MEMORY   IPMMU_MEMORY
#define R        IPMMU_READ
#define RW       IPMMU_READ_WRITE
#define MASTERS  4u

/* The whole life of two domains over two cache units, under one reading of what is unknown. */
static void live(const struct ipmmu_system *system,
                 const struct piommu_ipmmu_model_readings *readings)
{
    const struct ipmmu_options options = {.readings = readings};
    struct ipmmu_fixture *fixture = ipmmu_open(system, &options);
    struct piommu_gather gather;

    piommu_gather_init(&gather);
    ipmmu_start_with_masters(fixture);
    for (unsigned int i = 0; i < MASTERS; i++) {
        assert_false(ipmmu_reaches(fixture, i, IOVA, false, IOVA));
    }
    assert_int_equal(piommu_domain_map(fixture->domains[0], IOVA, MEMORY, 2 * PAGE, RW), 0);
    assert_int_equal(piommu_domain_map(fixture->domains[1], IOVA, MEMORY + 8 * PAGE, PAGE, R), 0);
    /* Masters behind both cache units enter the same domain. */
    for (unsigned int i = 0; i < MASTERS; i += 2) {
        ipmmu_grant(fixture, i, 0, MEMORY, RW);
        ipmmu_grant(fixture, i, 1, MEMORY + PAGE, RW);
        ipmmu_attach(fixture, i, fixture->domains[0]);
        ipmmu_settle(fixture);
        assert_true(ipmmu_reaches(fixture, i, IOVA + PAGE, true, MEMORY + PAGE));
    }
    assert_false(ipmmu_reaches(fixture, 1, IOVA, false, MEMORY));
    /* What is unmapped is gone everywhere when sync returns. */
    assert_int_equal(piommu_domain_unmap(fixture->domains[0], IOVA + PAGE, PAGE, &gather, NULL), 0);
    for (unsigned int i = 0; i < MASTERS; i += 2) {
        ipmmu_grant(fixture, i, 1, 0, 0);
    }
    assert_int_equal(piommu_domain_sync(fixture->domains[0], &gather), 0);
    ipmmu_settle(fixture);
    for (unsigned int i = 0; i < MASTERS; i++) {
        assert_false(ipmmu_reaches(fixture, i, IOVA + PAGE, false, MEMORY + PAGE));
    }
    /* Directly from one domain to the other. */
    ipmmu_grant(fixture, 0, 0, MEMORY + 8 * PAGE, R);
    ipmmu_attach(fixture, 0, fixture->domains[1]);
    ipmmu_settle(fixture);
    assert_true(ipmmu_reaches(fixture, 0, IOVA, false, MEMORY + 8 * PAGE));
    assert_false(ipmmu_reaches(fixture, 0, IOVA, true, MEMORY + 8 * PAGE));
    assert_true(ipmmu_reaches(fixture, 2, IOVA, true, MEMORY));
    /* Sleep: children before the root, and back in the other order. */
    assert_int_equal(piommu_instance_suspend(fixture->instances[IPMMU_ROOT]), -PIOMMU_EBUSY);
    ipmmu_suspend(fixture);
    assert_int_equal(piommu_domain_map(fixture->domains[0], IOVA + 3 * PAGE, MEMORY, PAGE, R), 0);
    ipmmu_resume(fixture);
    ipmmu_grant(fixture, 2, 3, MEMORY, R);
    ipmmu_settle(fixture);
    assert_true(ipmmu_reaches(fixture, 2, IOVA + 3 * PAGE, false, MEMORY));
    assert_true(ipmmu_reaches(fixture, 2, IOVA, true, MEMORY));
    assert_true(ipmmu_reaches(fixture, 0, IOVA, false, MEMORY + 8 * PAGE));
    assert_false(ipmmu_reaches(fixture, 1, IOVA, false, MEMORY));
    /* Out again: blocked, whatever the hardware keeps. */
    for (unsigned int i = 0; i < MASTERS; i += 2) {
        ipmmu_detach(fixture, i);
        assert_false(ipmmu_reaches(fixture, i, IOVA, false, MEMORY));
        assert_false(ipmmu_reaches(fixture, i, IOVA, false, IOVA));
    }
    assert_true(fixture->probes != 0);
    ipmmu_close(fixture);
}

static void test_masters_reach_what_they_were_granted_and_nothing_else(
    const struct ipmmu_system *system)
{
    struct piommu_ipmmu_model_readings readings;
    const char *name;

    for (unsigned int number = 0; piommu_ipmmu_model_readings_variant(number, &readings, &name);
         number++) {
        /* Of this one the driver has to choose: Xen's value is in the field. */
        readings.stage2_start = PIOMMU_IPMMU_MODEL_STAGE2_START_1;
        print_message("  %s\n", name);
        live(system, &readings);
    }
}

static void test_a_fault_is_told_with_its_domain_and_the_only_device_in_it(
    const struct ipmmu_system *system)
{
    struct ipmmu_fixture *fixture = ipmmu_open(system, NULL);
    uint64_t iova = system->tables == PIOMMU_IPMMU_VMSA_STAGE1 ? 0xc0001000 : 0x12c0001000;
    bool more = false;

    ipmmu_start_with_masters(fixture);
    assert_int_equal(piommu_domain_map(fixture->domains[0], IOVA, MEMORY, PAGE, R), 0);
    for (unsigned int master = 0; master < 4; master += 2) {
        ipmmu_grant(fixture, master, 0, MEMORY, R);
        ipmmu_settle(fixture);
        ipmmu_attach(fixture, master, fixture->domains[0]);
    }
    fixture->probing = false;
    ipmmu_drain(fixture);
    assert_false(ipmmu_reaches(fixture, 0, iova, false, MEMORY));
    assert_true(piommu_ipmmu_model_interrupt(fixture->model, IPMMU_ROOT));
    assert_int_equal(piommu_instance_interrupt(fixture->instances[IPMMU_ROOT], 8, &more), 1);
    assert_false(piommu_ipmmu_model_interrupt(fixture->model, IPMMU_ROOT));
    assert_int_equal(fixture->fault_count, 1);
    assert_true(fixture->faults[0].iova_valid && fixture->faults[0].iova == iova);
    assert_false(fixture->faults[0].id_valid);
    assert_int_equal(fixture->faults[0].reason, PIOMMU_FAULT_TRANSLATION);
    assert_int_equal(piommu_instance_interrupt(fixture->instances[IPMMU_ROOT], 8, &more), 0);
    /* Both are in the domain: a block meets both, at once. */
    fixture->answer = PIOMMU_FAULT_BLOCK;
    assert_true(ipmmu_reaches(fixture, 2, IOVA, false, MEMORY));
    assert_false(ipmmu_reaches(fixture, 2, IOVA, true, MEMORY));
    assert_int_equal(piommu_instance_interrupt(fixture->instances[IPMMU_ROOT], 8, &more), 1);
    assert_true(more);
    for (unsigned int master = 0; master < 4; master += 2) {
        assert_false(ipmmu_reaches(fixture, master, IOVA, false, MEMORY));
    }
    fixture->answer = PIOMMU_FAULT_NOTE;
    assert_true(piommu_instance_service(fixture->instances[IPMMU_ROOT], 8) >= 0);
    ipmmu_close(fixture);
}

static void test_contexts_run_out_and_are_used_again(const struct ipmmu_system *system)
{
    struct ipmmu_fixture *fixture = ipmmu_open(system, NULL);
    struct piommu_domain *domains[IPMMU_MAX_DOMAINS];
    struct piommu_domain *one_more;
    unsigned int left = 0;

    ipmmu_start_with_masters(fixture); /* two of them */
    if (system->domains != 0) {
        left = system->domains - 2;
    }
    for (unsigned int round = 0; round < 2 && left != 0; round++) {
        for (unsigned int k = 0; k < left; k++) {
            assert_int_equal(ipmmu_try_domain(fixture, PIOMMU_DOMAIN_PAGING, &domains[k]), 0);
        }
        assert_int_equal(ipmmu_try_domain(fixture, PIOMMU_DOMAIN_PAGING, &one_more),
                         -PIOMMU_ENOSPC);
        for (unsigned int k = 0; k < left; k++) {
            assert_int_equal(piommu_domain_destroy(domains[k]), 0);
        }
    }
    ipmmu_close(fixture);
}

static void test_a_flush_that_does_not_end_fails_the_unit_and_blocks_its_masters(
    const struct ipmmu_system *system)
{
    struct ipmmu_fixture *fixture = ipmmu_open(system, NULL);
    struct piommu_instance_info info;
    struct piommu_gather gather;

    piommu_gather_init(&gather);
    ipmmu_start_with_masters(fixture);
    assert_int_equal(piommu_domain_map(fixture->domains[0], IOVA, MEMORY, PAGE, RW), 0);
    ipmmu_grant(fixture, 0, 0, MEMORY, RW);
    ipmmu_settle(fixture);
    ipmmu_attach(fixture, 0, fixture->domains[0]);
    assert_true(ipmmu_reaches(fixture, 0, IOVA, true, MEMORY));
    assert_int_equal(piommu_domain_unmap(fixture->domains[0], IOVA, PAGE, &gather, NULL), 0);
    piommu_ipmmu_model_set_flush_polls(fixture->model, IPMMU_ROOT, PIOMMU_IPMMU_MODEL_NEVER);
    assert_int_equal(piommu_domain_sync(fixture->domains[0], &gather), -PIOMMU_EFAILED);
    assert_true(gather.pending);
    piommu_instance_get_info(fixture->instances[IPMMU_CACHE_1], &info);
    assert_int_equal(info.state, PIOMMU_INSTANCE_FAILED);
    assert_false(ipmmu_reaches(fixture, 0, IOVA, true, MEMORY));
    piommu_ipmmu_model_set_flush_polls(fixture->model, IPMMU_ROOT, 0);
    piommu_ipmmu_model_end_flushes(fixture->model, IPMMU_ROOT);
    ipmmu_close(fixture);
}

static void test_what_firmware_has_left_does_not_matter(const struct ipmmu_system *system)
{
    for (uint32_t seed = 1; seed < 20; seed++) {
        struct ipmmu_fixture *fixture = ipmmu_open(system, NULL);

        piommu_ipmmu_model_litter(fixture->model, seed);
        ipmmu_start_with_masters(fixture);
        ipmmu_drain(fixture);
        assert_int_equal(piommu_domain_map(fixture->domains[1], IOVA, MEMORY, PAGE, RW), 0);
        ipmmu_grant(fixture, 3, 0, MEMORY, RW);
        ipmmu_attach(fixture, 3, fixture->domains[1]);
        ipmmu_settle(fixture);
        assert_true(ipmmu_reaches(fixture, 3, IOVA, true, MEMORY));
        ipmmu_close(fixture);
    }
}

static void test_an_identity_domain_lets_pass(const struct ipmmu_system *system)
{
    struct ipmmu_fixture *fixture = ipmmu_open(system, NULL);
    struct piommu_domain_config config = {.type = PIOMMU_DOMAIN_IDENTITY,
                                          .instances = &fixture->instances[IPMMU_CACHE_1],
                                          .instance_count = 1};
    struct piommu_domain *identity;

    ipmmu_start_with_masters(fixture);
    assert_int_equal(piommu_domain_create(&config, &identity), 0);
    fixture->masters[1].passes = true;
    ipmmu_attach(fixture, 1, identity);
    assert_true(ipmmu_reaches(fixture, 1, MEMORY, true, MEMORY));
    assert_false(ipmmu_reaches(fixture, 0, MEMORY, true, MEMORY));
    assert_int_equal(piommu_device_detach(fixture->masters[1].device), 0);
    fixture->masters[1].passes = false;
    assert_false(ipmmu_reaches(fixture, 1, MEMORY, true, MEMORY));
    assert_int_equal(piommu_domain_destroy(identity), 0);
    ipmmu_close(fixture);
}

/* Where the leaf is by which a master reaches an address. */
static void *find_leaf(struct ipmmu_fixture *fixture, size_t master, uint64_t iova)
{
    const struct piommu_walker_memory memory = {.read64 = fake_os_device_read64,
                                                .ctx = fixture->os};
    const struct piommu_walker_access access = {.read = true};
    const struct ipmmu_place *place = &fixture->masters[master].places[0];
    uint32_t control = piommu_ipmmu_model_get(fixture->model, place->unit,
                                              PIOMMU_IPMMU_MODEL_IMUCTR, place->micro_tlb);
    struct piommu_walker_regime regime;
    struct piommu_walker_result result;

    assert_true(piommu_ipmmu_model_regime(fixture->model, IPMMU_ROOT, control >> 4, &regime));
    piommu_walker_translate(&regime, &memory, iova, &access, &result);
    assert_int_equal(result.fault, PIOMMU_WALKER_FAULT_NONE);
    return fake_os_pointer(fixture->os, result.steps[result.step_count - 1].location,
                           sizeof(result.descriptor));
}

static void store_leaf(struct ipmmu_fixture *fixture, void *leaf, uint64_t descriptor)
{
    memcpy(leaf, &descriptor, sizeof(descriptor));
    fake_os_callbacks(fixture->os)->cache_clean(fixture->os, leaf, sizeof(descriptor));
}

/* What a walk finds right after the root was told to forget is kept. */
static void fetch_after_flush(struct ipmmu_fixture *fixture,
                              const struct piommu_ipmmu_model_access *access)
{
    if (access->unit == IPMMU_ROOT && access->is_write) {
        (void)ipmmu_reaches_anything(fixture, 2, UNPROBED, false);
    }
}

/* The host cleans what it has stored; that it is in memory then is for the library to see to. */
static void clear_leaf_often(struct ipmmu_fixture *fixture, struct piommu_domain *domain)
{
    void *leaf = find_leaf(fixture, 2, UNPROBED);
    uint64_t descriptor;

    piommu_ipmmu_model_readings(fixture->model)->root_flush = PIOMMU_IPMMU_MODEL_FLUSH_AT_WRITE;
    memcpy(&descriptor, leaf, sizeof(descriptor));
    fixture->on_access = fetch_after_flush;
    for (unsigned int i = 0; i < 8; i++) {
        store_leaf(fixture, leaf, 0);
        assert_int_equal(piommu_domain_invalidate(domain, UNPROBED, UNPROBED + PAGE - 1), 0);
        assert_false(ipmmu_reaches_anything(fixture, 2, UNPROBED, false));
        store_leaf(fixture, leaf, descriptor);
        fake_os_callbacks(fixture->os)->barrier(fixture->os, PIOMMU_BARRIER_WRITE);
        assert_true(ipmmu_reaches(fixture, 2, UNPROBED, false, MEMORY));
    }
    fixture->on_access = NULL;
}

/* A stage-2 table that the host has built for its CPU, and changes itself. */
static void test_devices_use_the_tables_of_the_cpu(const struct ipmmu_system *system)
{
    struct ipmmu_fixture *fixture = ipmmu_open(system, NULL);
    bool has_stage2 = system->tables == PIOMMU_IPMMU_VMSA_STAGE2;
    struct piommu_shared_table shared;
    struct piommu_pgtable *table = ipmmu_table_of_cpu(fixture, &shared);
    struct piommu_domain_config config = {
        .type = PIOMMU_DOMAIN_SHARED, .instance_count = 2, .shared = &shared};
    struct piommu_requirements requirements;
    struct piommu_domain *domain;
    struct piommu_gather gather;
    uint64_t bytes;

    ipmmu_start_with_masters(fixture);
    config.instances = &fixture->instances[IPMMU_CACHE_1];
    assert_int_equal(piommu_requirements_get(config.instances, 2, &requirements, NULL), 0);
    assert_int_equal(requirements.shared.formats != 0, has_stage2);
    if (!has_stage2) {
        assert_int_equal(piommu_domain_create(&config, &domain), -PIOMMU_EOPNOTSUPP);
    } else {
        assert_int_equal(piommu_domain_create(&config, &domain), 0);
        assert_int_equal(piommu_pgtable_map(table, IOVA, MEMORY, PAGE, RW, &bytes), 0);
        assert_int_equal(piommu_pgtable_map(table, UNPROBED, MEMORY, PAGE, RW, &bytes), 0);
        ipmmu_grant(fixture, 2, 0, MEMORY, RW);
        ipmmu_attach(fixture, 2, domain);
        ipmmu_settle(fixture);
        clear_leaf_often(fixture, domain);
        assert_true(ipmmu_reaches(fixture, 2, IOVA, true, MEMORY));
        piommu_gather_init(&gather);
        assert_int_equal(piommu_pgtable_unmap(table, IOVA, PAGE, &gather, &bytes), 0);
        assert_int_equal(piommu_pgtable_unmap(table, UNPROBED, PAGE, &gather, &bytes), 0);
        piommu_pgtable_detach_empty(table, &gather);
        ipmmu_grant(fixture, 2, 0, 0, 0);
        assert_int_equal(piommu_domain_invalidate(domain, gather.range.first, gather.range.last),
                         0);
        ipmmu_settle(fixture);
        piommu_pgtable_release(table, &gather);
        assert_false(ipmmu_reaches(fixture, 2, IOVA, true, MEMORY));
        assert_int_equal(piommu_device_detach(fixture->masters[2].device), 0);
        assert_int_equal(piommu_domain_destroy(domain), 0);
    }
    piommu_pgtable_destroy(table);
    ipmmu_close(fixture);
}

static void test_what_cannot_be_driven_is_refused(void **state)
{
    static const struct {
        const char *compatible;
        unsigned int tables;
        uint32_t product;
        int error;
    } tries[] = {
        {"renesas,ipmmu-r8a7795", PIOMMU_IPMMU_VMSA_STAGE2, 0x4f11,
         -PIOMMU_EOPNOTSUPP}, /* H3 ES1.1 */
        {"renesas,ipmmu-r8a7795", PIOMMU_IPMMU_VMSA_STAGE2, 0,
         -PIOMMU_EOPNOTSUPP}, /* not known which */
        {"renesas,ipmmu-r8a7795", PIOMMU_IPMMU_VMSA_STAGE2, 0x4f20, 0},
        {"renesas,ipmmu-r8a77990", PIOMMU_IPMMU_VMSA_STAGE2, 0x5710, -PIOMMU_EOPNOTSUPP}, /* E3 */
        {"renesas,ipmmu-r8a7795", 3, 0x4f30, -PIOMMU_EINVAL},
        {"renesas,ipmmu-vmsa", PIOMMU_IPMMU_VMSA_STAGE1_64, 0, -PIOMMU_EOPNOTSUPP},
        {"renesas,ipmmu-r8a9999", 0, 0x4f30, -PIOMMU_ENODEV},
        {NULL, 0, 0x4f30, -PIOMMU_ENODEV},
    };

    const struct ipmmu_system *system = ipmmu_system_named("Gen3, stage 1");

    (void)state;
    for (size_t i = 0; i < sizeof(tries) / sizeof(tries[0]); i++) {
        struct ipmmu_fixture *fixture = ipmmu_open(system, NULL);
        struct piommu_ipmmu_vmsa_config place = {.compatible = tries[i].compatible,
                                                 .registers = fixture->units[IPMMU_ROOT].base,
                                                 .tables =
                                                     (enum piommu_ipmmu_vmsa_tables)tries[i].tables,
                                                 .product = tries[i].product};
        struct piommu_instance *instance;
        int error = piommu_instance_create(fixture->context, piommu_ipmmu_vmsa_backend(), &place,
                                           NULL, &instance);

        assert_int_equal(error, tries[i].error);
        if (error == 0) {
            assert_int_equal(piommu_instance_destroy(instance), 0);
        }
        ipmmu_close_empty(fixture);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IPMMU_TEST(IPMMU_CACHED, test_masters_reach_what_they_were_granted_and_nothing_else),
        IPMMU_TEST(IPMMU_CACHED, test_a_fault_is_told_with_its_domain_and_the_only_device_in_it),
        IPMMU_TEST(IPMMU_ALL, test_contexts_run_out_and_are_used_again),
        IPMMU_TEST(IPMMU_CACHED,
                   test_a_flush_that_does_not_end_fails_the_unit_and_blocks_its_masters),
        IPMMU_TEST(IPMMU_CACHED, test_what_firmware_has_left_does_not_matter),
        IPMMU_TEST(IPMMU_CACHED, test_an_identity_domain_lets_pass),
        IPMMU_TEST(IPMMU_CACHED, test_devices_use_the_tables_of_the_cpu),
        cmocka_unit_test(test_what_cannot_be_driven_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
