/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The pitfalls of the IPMMU-VMSA that drivers are known to have fallen into: one test for each. The
 * fixture probes after each write to a register, and the model has its rules; what is asserted here
 * is what these do not see.
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

#define MMUEN  UINT32_C(1)
#define FLUSH  UINT32_C(2)
#define ENABLE UINT32_C(7)
#define VA64   UINT32_C(0x20000000)
#define SECGRP UINT32_C(0x10000000)

/* Status bits. */
#define TRANSLATION 1u
#define ABORT       4u
#define MHIT        16u

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Masters of ipmmu_start_with_masters that are not in one group, with whatever contexts. */
enum { A = 0, B = 2 };

static bool is_gen2(const struct ipmmu_system *system)
{
    return system->generation == PIOMMU_IPMMU_MODEL_GEN2;
}

/* The unit that has the contexts of master A. */
static size_t root_of(const struct ipmmu_fixture *fixture)
{
    return fixture->units[IPMMU_CACHE_1].root;
}

/* What a master behind the unit and all that cannot be told apart from it may reach. */
static void grant(struct ipmmu_fixture *fixture, size_t master, size_t page, uint64_t physical,
                  piommu_prot prot)
{
    ipmmu_grant(fixture, master, page, physical, prot);
    if (fixture->system->contexts == 1) {
        ipmmu_grant(fixture, master ^ 1, page, physical, prot);
    }
}

static uint32_t register_of(const struct ipmmu_fixture *fixture, size_t unit,
                            enum piommu_ipmmu_model_register which, unsigned int number)
{
    return piommu_ipmmu_model_get(fixture->model, unit, which, number);
}

/* The context that a micro-TLB selects. */
static unsigned int context_of(const struct ipmmu_fixture *fixture, size_t master)
{
    const struct ipmmu_place *place = &fixture->masters[master].places[0];

    return register_of(fixture, place->unit, PIOMMU_IPMMU_MODEL_IMUCTR, place->micro_tlb) >> 4;
}

/* Masters A and B in the first domain, which has all pages; what the model records begins now. */
static struct ipmmu_fixture *open_busy(const struct ipmmu_system *system,
                                       const struct piommu_ipmmu_model_readings *readings)
{
    const struct ipmmu_options options = {.readings = readings};
    struct ipmmu_fixture *fixture = ipmmu_open(system, &options);

    ipmmu_start_with_masters(fixture);
    for (size_t page = 0; page < IPMMU_PAGES; page++) {
        assert_int_equal(piommu_domain_map(fixture->domains[0], IOVA + page * PAGE,
                                           MEMORY + page * PAGE, PAGE, RW),
                         0);
        grant(fixture, A, page, MEMORY + page * PAGE, RW);
        grant(fixture, B, page, MEMORY + page * PAGE, RW);
    }
    ipmmu_attach(fixture, A, fixture->domains[0]);
    ipmmu_attach(fixture, B, fixture->domains[0]);
    ipmmu_settle(fixture);
    ipmmu_assert_granted(fixture);
    piommu_ipmmu_model_record(fixture->model, true);
    return fixture;
}

/* With one context a master has what its neighbour has, and loses it with it. */
static void leave(struct ipmmu_fixture *fixture, size_t master)
{
    for (size_t page = 0; page < IPMMU_PAGES; page++) {
        grant(fixture, master, page, 0, 0);
    }
    ipmmu_detach(fixture, master);
}

static void close_busy(struct ipmmu_fixture *fixture)
{
    leave(fixture, A);
    leave(fixture, B);
    ipmmu_close(fixture);
}

static void unmap_pages(struct ipmmu_fixture *fixture, size_t first, size_t count,
                        struct piommu_gather *gather)
{
    for (size_t page = first; page < first + count; page++) {
        assert_int_equal(
            piommu_domain_unmap(fixture->domains[0], IOVA + page * PAGE, PAGE, gather, NULL), 0);
        grant(fixture, A, page, 0, 0);
        grant(fixture, B, page, 0, 0);
    }
}

/* 1: there is no flush by address, so many unmaps are one. */
static void test_1_many_unmaps_are_flushed_at_once(const struct ipmmu_system *system)
{
    struct ipmmu_fixture *fixture = open_busy(system, NULL);
    unsigned int context = context_of(fixture, A);
    uint64_t before[IPMMU_UNITS];
    struct piommu_gather gather;

    for (size_t i = 0; i < fixture->unit_count; i++) {
        before[i] = piommu_ipmmu_model_flushes(fixture->model, i, context);
    }
    piommu_gather_init(&gather);
    unmap_pages(fixture, 0, IPMMU_PAGES, &gather);
    assert_int_equal(piommu_ipmmu_model_recorded(fixture->model), 0);
    assert_int_equal(piommu_domain_sync(fixture->domains[0], &gather), 0);
    ipmmu_settle(fixture);
    for (size_t i = 0; i < fixture->unit_count; i++) {
        uint64_t flushes = piommu_ipmmu_model_flushes(fixture->model, i, context) - before[i];

        /* A cache unit once more for what it has fetched meanwhile: see 27. */
        assert_in_range(flushes, 0, ipmmu_is_root(fixture, i) ? 1 : 2);
    }
    close_busy(fixture);
}

static int serve(struct ipmmu_fixture *fixture, size_t root)
{
    bool more;

    return piommu_instance_interrupt(fixture->instances[root], 8, &more);
}

/* 2: the address is gone once the status is cleared, and 0 is what clears it. */
static void test_2_a_fault_has_its_address_and_is_cleared(const struct ipmmu_system *system)
{
    struct ipmmu_fixture *fixture = open_busy(system, NULL);
    uint64_t iova =
        system->tables == PIOMMU_IPMMU_VMSA_STAGE1 ? 0xabcde123 : UINT64_C(0x7a89abcdef);
    unsigned int context = context_of(fixture, A);

    ipmmu_drain(fixture);
    fixture->probing = false;
    assert_false(ipmmu_reaches_anything(fixture, A, iova, false));
    assert_int_equal(serve(fixture, root_of(fixture)), 1);
    assert_true(fixture->faults[0].iova_valid);
    assert_true(fixture->faults[0].iova == iova);
    assert_int_equal(register_of(fixture, root_of(fixture), PIOMMU_IPMMU_MODEL_IMSTR, context), 0);
    assert_false(piommu_ipmmu_model_interrupt(fixture->model, root_of(fixture)));
    close_busy(fixture);
}

static bool check_link(void *ctx, const struct piommu_walker_link *link)
{
    assert_int_equal(link->descriptor >> 63, *(const unsigned int *)ctx);
    return true;
}

static bool check_leaf(void *ctx, const struct piommu_walker_leaf *leaf)
{
    assert_int_equal(leaf->attributes.non_secure, *(const unsigned int *)ctx);
    return true;
}

/* 3: in stage 1 all tables and leaves of all sizes are marked as non-secure, in stage 2 none. */
static void test_3_all_levels_are_non_secure(const struct ipmmu_system *system)
{
    static const uint64_t sizes[] = {0x1000, 0x200000, 0x40000000};
    struct ipmmu_fixture *fixture = open_busy(system, NULL);
    const struct piommu_walker_memory memory = {.read64 = fake_os_device_read64,
                                                .ctx = fixture->os};
    unsigned int is_stage1 = system->tables != PIOMMU_IPMMU_VMSA_STAGE2;
    struct piommu_walker_regime regime;

    for (size_t i = 0; i < COUNT(sizes); i++) {
        uint64_t iova = UINT64_C(0x80000000) + (i << 30);
        uint64_t physical = (UINT64_C(7) << 30) + ((uint64_t)i << 33);

        if (iova <= UINT32_MAX) {
            assert_int_equal(piommu_domain_map(fixture->domains[0], iova, physical, sizes[i], RW),
                             0);
            assert_true(
                ipmmu_reaches(fixture, A, iova + sizes[i] - 8, true, physical + sizes[i] - 8));
        }
    }
    assert_true(piommu_ipmmu_model_regime(fixture->model, root_of(fixture), context_of(fixture, A),
                                          &regime));
    (void)piommu_walker_for_each_link(&regime, &memory, check_link, &is_stage1);
    (void)piommu_walker_for_each_leaf(&regime, &memory, check_leaf, &is_stage1);
    close_busy(fixture);
}

/* When a FLUSH is written, a walk finds what the CPU has stored. */
static void check_walk_at_flush(struct ipmmu_fixture *fixture,
                                const struct piommu_ipmmu_model_access *access)
{
    const struct piommu_walker_memory memory = {.read64 = fake_os_device_read64,
                                                .ctx = fixture->os};
    const struct piommu_walker_access read = {.read = true, .privileged = true};
    struct piommu_walker_regime regime;
    struct piommu_walker_result result;

    if (access->which != PIOMMU_IPMMU_MODEL_IMCTR || !access->is_write ||
        (access->value & FLUSH) == 0) {
        return;
    }
    assert_true(piommu_ipmmu_model_regime(fixture->model, root_of(fixture), context_of(fixture, A),
                                          &regime));
    for (uint64_t page = 0; page < 3; page++) {
        piommu_walker_translate(&regime, &memory, IOVA + page * PAGE, &read, &result);
        assert_int_not_equal(result.fault, PIOMMU_WALKER_FAULT_NONE);
    }
}

/* 4: walks do not snoop, so descriptors are cleaned, and a barrier stands before the flush. */
static void test_4_descriptors_are_cleaned_before_the_flush(const struct ipmmu_system *system)
{
    struct ipmmu_fixture *fixture = open_busy(system, NULL);
    struct piommu_gather gather;

    piommu_gather_init(&gather);
    fixture->on_access = check_walk_at_flush;
    unmap_pages(fixture, 0, 3, &gather);
    assert_int_equal(piommu_domain_sync(fixture->domains[0], &gather), 0);
    fixture->on_access = NULL;
    ipmmu_settle(fixture);
    ipmmu_probe(fixture);
    close_busy(fixture);
}

/* 5: who shares a micro-TLB shares a domain, and does not lose it when the other one goes. */
static void test_5_a_shared_micro_tlb_has_one_domain(const struct ipmmu_system *system)
{
    struct ipmmu_fixture *fixture = ipmmu_open(system, NULL);
    struct piommu_domain *other;

    ipmmu_start(fixture);
    (void)ipmmu_add_master(fixture, IPMMU_CACHE_1, 1);
    (void)ipmmu_add_master(fixture, IPMMU_CACHE_1, 1);
    assert_int_equal(piommu_domain_map(ipmmu_add_domain(fixture), IOVA, MEMORY, PAGE, RW), 0);
    other = ipmmu_add_domain(fixture);
    for (size_t i = 0; i < 2; i++) {
        ipmmu_grant(fixture, i, 0, MEMORY, RW);
    }
    ipmmu_attach(fixture, 0, fixture->domains[0]);
    ipmmu_settle(fixture);
    assert_int_equal(piommu_device_attach(fixture->masters[1].device, other), -PIOMMU_EGROUP);
    assert_int_equal(piommu_device_detach(fixture->masters[1].device), -PIOMMU_EGROUP);
    ipmmu_assert_granted(fixture);
    ipmmu_remove_device(fixture, 1);
    ipmmu_assert_granted(fixture);
    ipmmu_revoke(fixture, 1);
    ipmmu_close(fixture);
}

/* 6: whatever context a micro-TLB has selected before, it selects the new one. */
static void test_6_a_stale_selection_is_overwritten(const struct ipmmu_system *system)
{
    for (uint32_t left = 0; left < 16; left++) {
        struct ipmmu_fixture *fixture = ipmmu_open(system, NULL);
        uint32_t now;

        piommu_ipmmu_model_set(fixture->model, IPMMU_CACHE_1, PIOMMU_IPMMU_MODEL_IMUCTR, 3,
                               left << 4 | (left & MMUEN));
        ipmmu_start_with_masters(fixture);
        ipmmu_attach(fixture, A, fixture->domains[1]);
        now = register_of(fixture, IPMMU_CACHE_1, PIOMMU_IPMMU_MODEL_IMUCTR, 3);
        assert_int_equal(now & ~FLUSH, context_of(fixture, A) << 4 | MMUEN);
        assert_true((register_of(fixture, IPMMU_CACHE_1, PIOMMU_IPMMU_MODEL_IMCTR, now >> 4) &
                     register_of(fixture, root_of(fixture), PIOMMU_IPMMU_MODEL_IMCTR, now >> 4) &
                     MMUEN) != 0);
        ipmmu_close(fixture);
    }
}

static void check_never_off(struct ipmmu_fixture *fixture,
                            const struct piommu_ipmmu_model_access *access)
{
    (void)fixture;
    if (access->which == PIOMMU_IPMMU_MODEL_IMUCTR && access->is_write) {
        assert_true((access->value & MMUEN) != 0);
    }
}

/* 7: a micro-TLB that is off lets pass, so none ever is, from the start to the end. */
static void test_7_no_micro_tlb_is_switched_off(const struct ipmmu_system *system)
{
    struct ipmmu_fixture *fixture = ipmmu_open(system, NULL);

    fixture->on_access = check_never_off;
    ipmmu_start_with_masters(fixture);
    for (size_t i = 0; i < 2; i++) {
        ipmmu_attach(fixture, A, fixture->domains[i]);
        ipmmu_attach(fixture, B, fixture->domains[0]);
        ipmmu_detach(fixture, B);
    }
    ipmmu_suspend(fixture);
    ipmmu_resume(fixture);
    ipmmu_detach(fixture, A);
    ipmmu_remove_device(fixture, A);
    ipmmu_remove_device(fixture, B);
    fixture->on_access = NULL;
    ipmmu_close(fixture);
}

/* 8: the upper micro-TLBs have a place of their own, and those beyond the last one are refused. */
static void test_8_upper_micro_tlbs_are_elsewhere(const struct ipmmu_system *system)
{
    static const uint32_t counts[] = {32, 48, 64};
    static const uint32_t offsets[] = {0xcf0, 0x6f0, 0x37f0};
    uint32_t last = counts[system->generation] - 1;
    struct ipmmu_fixture *fixture = ipmmu_open(system, NULL);
    struct ipmmu_place beyond = {IPMMU_CACHE_1, last + 1};
    bool found = false;

    piommu_ipmmu_model_record(fixture->model, true);
    ipmmu_start(fixture);
    (void)ipmmu_add_master(fixture, IPMMU_CACHE_1, last);
    for (size_t i = 0; i < piommu_ipmmu_model_recorded(fixture->model); i++) {
        found = found || piommu_ipmmu_model_recorded_access(fixture->model, i)->offset ==
                             offsets[system->generation];
    }
    assert_true(found);
    fixture->probing = false;
    assert_int_equal(ipmmu_try_device(fixture, ipmmu_wire(fixture, &beyond, 1)), -PIOMMU_ENOENT);
    fixture->master_count--;
    ipmmu_close(fixture);
}

/* 9: with USE_SECGRP set nothing is translated, and it may be set after each power-up. */
static void test_9_use_secgrp_is_cleared_everywhere(const struct ipmmu_system *system)
{
    struct ipmmu_fixture *fixture = open_busy(system, NULL);

    ipmmu_suspend(fixture);
    ipmmu_resume(fixture);
    ipmmu_assert_granted(fixture);
    for (size_t i = 0; i < fixture->unit_count; i++) {
        assert_int_equal(register_of(fixture, i, PIOMMU_IPMMU_MODEL_IMSCTLR, 0) & SECGRP, 0);
    }
    close_busy(fixture);
}

/* 10: bits of firmware are kept. */
static void test_10_bits_of_firmware_are_kept(const struct ipmmu_system *system)
{
    struct ipmmu_fixture *fixture = ipmmu_open(system, NULL);

    if (!is_gen2(system)) {
        piommu_ipmmu_model_set(fixture->model, IPMMU_ROOT, PIOMMU_IPMMU_MODEL_IMSCTLR, 0,
                               UINT32_C(0xd0000000));
        piommu_ipmmu_model_set(fixture->model, IPMMU_ROOT, PIOMMU_IPMMU_MODEL_IMSAUXCTLR, 0,
                               UINT32_C(0x01000000));
        piommu_ipmmu_model_set(fixture->model, IPMMU_CACHE_1, PIOMMU_IPMMU_MODEL_IMSCTLR, 0,
                               UINT32_C(0xf0000000));
    }
    ipmmu_start_with_masters(fixture);
    if (!is_gen2(system)) {
        assert_int_equal(register_of(fixture, IPMMU_ROOT, PIOMMU_IPMMU_MODEL_IMSCTLR, 0),
                         UINT32_C(0xc0000000));
        assert_int_equal(register_of(fixture, IPMMU_ROOT, PIOMMU_IPMMU_MODEL_IMSAUXCTLR, 0) & ~8u,
                         UINT32_C(0x01000000));
        assert_int_equal(register_of(fixture, IPMMU_CACHE_1, PIOMMU_IPMMU_MODEL_IMSCTLR, 0),
                         UINT32_C(0xe0000000));
    }
    ipmmu_close(fixture);
}

/* 11: where cache units translate wrongly, their TLBs are off; the model tells. */
static void test_11_wrong_tlbs_are_not_used(void **state)
{
    static const struct piommu_ipmmu_model_unit units[] = {
        {.name = "M", .base = 0xe67b0000, .root = IPMMU_ROOT},
        {.name = "D", .base = 0xe7740000, .root = IPMMU_ROOT, .has_erratum = true},
        {.name = "H", .base = 0xe6570000, .root = IPMMU_ROOT, .has_erratum = true},
    };
    const struct ipmmu_options options = {
        .units = units, .unit_count = COUNT(units), .product = 0x4f10};
    struct ipmmu_fixture *fixture = ipmmu_open(ipmmu_system_named("Gen3, stage 1"), &options);

    (void)state;
    ipmmu_start_with_masters(fixture);
    assert_int_equal(piommu_domain_map(fixture->domains[0], IOVA, MEMORY, PAGE, RW), 0);
    ipmmu_grant(fixture, A, 0, MEMORY, RW);
    ipmmu_attach(fixture, A, fixture->domains[0]);
    ipmmu_settle(fixture);
    ipmmu_assert_granted(fixture);
    ipmmu_close(fixture);
}

static int switch_on(void *cookie, bool on)
{
    piommu_ipmmu_model_power(cookie, IPMMU_CACHE_1, on);
    return 0;
}

/* 12: a unit in a power domain of its own gets power before the first access. */
static void test_12_a_unit_is_switched_on_first(const struct ipmmu_system *system)
{
    struct ipmmu_fixture *fixture = ipmmu_open(system, NULL);

    fixture->places[IPMMU_CACHE_1].power = switch_on;
    fixture->places[IPMMU_CACHE_1].power_cookie = fixture->model;
    piommu_ipmmu_model_power(fixture->model, IPMMU_CACHE_1, false);
    ipmmu_start_with_masters(fixture);
    ipmmu_close(fixture);
}

/* 13: a cache unit is nothing without its root, at the start and at resume. */
static void test_13_roots_come_first(const struct ipmmu_system *system)
{
    struct ipmmu_fixture *fixture = open_busy(system, NULL);

    ipmmu_suspend(fixture);
    for (size_t i = 0; i < fixture->unit_count; i++) {
        piommu_ipmmu_model_power(fixture->model, i, true);
    }
    piommu_ipmmu_model_forget_recording(fixture->model);
    assert_int_equal(piommu_instance_resume(fixture->instances[IPMMU_CACHE_1]), -PIOMMU_EBUSY);
    assert_int_equal(piommu_ipmmu_model_recorded(fixture->model), 0);
    ipmmu_resume_powered(fixture);
    ipmmu_assert_granted(fixture);
    close_busy(fixture);
}

/* A root that wakes first finds its cache units without power. */
static void test_13_a_root_wakes_without_its_cache_units(const struct ipmmu_system *system)
{
    struct ipmmu_fixture *fixture = open_busy(system, NULL);

    ipmmu_suspend(fixture);
    piommu_ipmmu_model_power(fixture->model, IPMMU_ROOT, true);
    assert_int_equal(piommu_instance_resume(fixture->instances[IPMMU_ROOT]), 0);
    assert_int_equal(ipmmu_state(fixture, IPMMU_ROOT), PIOMMU_INSTANCE_RUNNING);
    for (size_t i = IPMMU_CACHE_1; i <= IPMMU_CACHE_2; i++) {
        piommu_ipmmu_model_power(fixture->model, i, true);
    }
    ipmmu_resume_powered(fixture); /* the root is awake: nothing is done */
    ipmmu_assert_granted(fixture);
    close_busy(fixture);
}

/* 14: a domain that cannot be made touches nobody's context, and takes no number. */
static void test_14_a_domain_that_fails_touches_no_context(const struct ipmmu_system *system)
{
    struct ipmmu_fixture *fixture = open_busy(system, NULL);
    unsigned int context = context_of(fixture, A);
    struct piommu_domain *domain;
    int error = -PIOMMU_ENOMEM;

    for (uint64_t nth = 1; error != 0; nth++) {
        fake_os_fail_call(fixture->os, nth, false);
        error = ipmmu_try_domain(fixture, PIOMMU_DOMAIN_PAGING, &domain);
        fake_os_fail_call(fixture->os, 0, false);
        assert_true(error == 0 || error == -PIOMMU_ENOMEM);
        for (size_t i = 0; i < fixture->unit_count; i++) {
            uint64_t written = ipmmu_numbers_written(fixture, i, PIOMMU_IPMMU_MODEL_IMCTR);

            assert_int_equal(written >> context & 1, 0);
        }
    }
    assert_int_equal(piommu_domain_destroy(domain), 0);
    while (fixture->domain_count < system->domains) {
        (void)ipmmu_add_domain(fixture); /* all numbers are there still */
    }
    close_busy(fixture);
}

/* Tables go when the context is disabled everywhere and has been flushed. */
static void check_disabled(void *ctx, uint64_t physical, uint64_t size)
{
    const struct ipmmu_fixture *fixture = ctx;
    unsigned int context = *(const unsigned int *)fixture->test_data;

    (void)physical;
    (void)size;
    for (size_t i = 0; i < fixture->unit_count; i++) {
        assert_int_equal(register_of(fixture, i, PIOMMU_IPMMU_MODEL_IMCTR, context) & MMUEN, 0);
        assert_false(piommu_ipmmu_model_is_flushing(fixture->model, i, context));
        assert_int_equal(piommu_ipmmu_model_entries(fixture->model, i, context), 0);
    }
}

/* 15: first disabled and flushed, then freed; and the number is not touched after that. */
static void test_15_a_context_is_let_go_before_its_tables(const struct ipmmu_system *system)
{
    struct piommu_ipmmu_model_readings readings;
    struct ipmmu_fixture *fixture;
    unsigned int context;

    if (system->contexts == 1) {
        return; /* it has no other context to go to */
    }
    piommu_ipmmu_model_default_readings(&readings);
    readings.cache_flush = PIOMMU_IPMMU_MODEL_FLUSH_AT_END;
    fixture = open_busy(system, &readings);
    context = context_of(fixture, A);
    piommu_ipmmu_model_set_flush_polls(fixture->model, PIOMMU_IPMMU_MODEL_ALL_UNITS, 4);
    ipmmu_detach(fixture, A);
    ipmmu_detach(fixture, B);
    fixture->test_data = &context;
    fake_os_on_dma_free(fixture->os, check_disabled, fixture);
    ipmmu_destroy_domain(fixture, 0);
    fake_os_on_dma_free(fixture->os, NULL, NULL);
    ipmmu_close(fixture);
}

/* 16: cache units take their time, too. */
static void test_16_cache_units_are_waited_for(const struct ipmmu_system *system)
{
    struct piommu_ipmmu_model_readings readings;
    struct ipmmu_fixture *fixture;
    struct piommu_gather gather;

    piommu_ipmmu_model_default_readings(&readings);
    readings.cache_flush = PIOMMU_IPMMU_MODEL_FLUSH_AT_END;
    fixture = open_busy(system, &readings);
    piommu_gather_init(&gather);
    for (size_t i = IPMMU_CACHE_1; i < fixture->unit_count; i++) {
        piommu_ipmmu_model_set_flush_polls(fixture->model, i, 9);
    }
    unmap_pages(fixture, 2, 2, &gather);
    assert_int_equal(piommu_domain_sync(fixture->domains[0], &gather), 0);
    ipmmu_settle(fixture);
    for (size_t i = 0; i < fixture->unit_count; i++) {
        assert_false(piommu_ipmmu_model_is_flushing(fixture->model, i, context_of(fixture, A)));
    }
    ipmmu_probe(fixture);
    close_busy(fixture);
}

/* 17 and 20: what is written to IMCTR are values of our own, and VA64 is for roots only. */
static void check_imctr(struct ipmmu_fixture *fixture,
                        const struct piommu_ipmmu_model_access *access)
{
    bool is_root = ipmmu_is_root(fixture, access->unit);
    bool is_64 = fixture->system->tables != PIOMMU_IPMMU_VMSA_STAGE1;
    uint32_t value = access->value;

    if (access->which == PIOMMU_IPMMU_MODEL_IMSAUXCTLR) {
        assert_true(is_root);
    }
    if (access->which != PIOMMU_IPMMU_MODEL_IMCTR || !access->is_write) {
        return;
    }
    if ((value & MMUEN) != 0) {
        assert_int_equal(value, is_root && is_64 ? VA64 | ENABLE : ENABLE);
    } else {
        assert_true(value == 0 || value == FLUSH);
    }
}

static void test_17_and_20_imctr_has_the_bits_of_its_unit(const struct ipmmu_system *system)
{
    struct ipmmu_fixture *fixture = ipmmu_open(system, NULL);

    fixture->on_access = check_imctr;
    piommu_ipmmu_model_litter(fixture->model, 3);
    ipmmu_start_with_masters(fixture);
    assert_int_equal(piommu_domain_map(fixture->domains[0], IOVA + 7 * PAGE, MEMORY, PAGE, R), 0);
    ipmmu_attach(fixture, A, fixture->domains[0]);
    ipmmu_unmap(fixture->domains[0], IOVA + 7 * PAGE, PAGE);
    ipmmu_suspend(fixture);
    ipmmu_resume(fixture);
    ipmmu_close(fixture);
}

/* 18: a flush that does not end is an error. */
static void test_18_a_timeout_is_told(const struct ipmmu_system *system)
{
    struct ipmmu_fixture *fixture = open_busy(system, NULL);
    struct piommu_gather gather;

    piommu_gather_init(&gather);
    piommu_ipmmu_model_set_flush_polls(fixture->model, root_of(fixture), PIOMMU_IPMMU_MODEL_NEVER);
    unmap_pages(fixture, 1, 1, &gather);
    assert_int_equal(piommu_domain_sync(fixture->domains[0], &gather), -PIOMMU_EFAILED);
    assert_true(gather.pending);
    assert_int_equal(piommu_domain_sync(fixture->domains[0], &gather), -PIOMMU_EFAILED);
    assert_int_equal(ipmmu_state(fixture, IPMMU_CACHE_1), PIOMMU_INSTANCE_FAILED);
    piommu_ipmmu_model_set_flush_polls(fixture->model, PIOMMU_IPMMU_MODEL_ALL_UNITS, 0);
    piommu_ipmmu_model_end_flushes(fixture->model, PIOMMU_IPMMU_MODEL_ALL_UNITS);
    close_busy(fixture);
}

/* 19: addresses of 40 bits, of memory, of tables and of stage 2, and none of more. */
static void test_19_addresses_have_40_bits(const struct ipmmu_system *system)
{
    static const unsigned int input_bits[] = {
        [PIOMMU_IPMMU_VMSA_STAGE1] = 32,
        [PIOMMU_IPMMU_VMSA_STAGE1_64] = 39,
        [PIOMMU_IPMMU_VMSA_STAGE2] = 40,
    };
    const uint64_t end = UINT64_C(1) << 40;
    const struct ipmmu_options options = {
        .memory_base = system->contexts == 1 ? 0 : end - FAKE_OS_MEMORY_SIZE};
    struct ipmmu_fixture *fixture = ipmmu_open(system, &options);
    uint64_t top = (UINT64_C(1) << input_bits[system->tables]) - PAGE;
    struct piommu_domain *domain;

    ipmmu_start_with_masters(fixture);
    domain = fixture->domains[0];
    assert_int_equal(piommu_domain_map(domain, top, end - PAGE, PAGE, RW), 0);
    assert_int_equal(piommu_domain_map(domain, top + PAGE, MEMORY, PAGE, RW), -PIOMMU_ERANGE);
    assert_int_equal(piommu_domain_map(domain, IOVA, end, PAGE, RW), -PIOMMU_ERANGE);
    assert_int_equal(piommu_domain_map(domain, IOVA, end - PAGE, 2 * PAGE, RW), -PIOMMU_ERANGE);
    ipmmu_attach(fixture, A, domain);
    assert_true(ipmmu_reaches(fixture, A, top + PAGE - 1, true, end - 1));
    assert_false(ipmmu_reaches_anything(fixture, A, IOVA, false));
    ipmmu_close(fixture);
}

static void test_19_tables_beyond_40_bits_are_not_taken(const struct ipmmu_system *system)
{
    const struct ipmmu_options options = {.memory_base = UINT64_C(1) << 40};
    struct ipmmu_fixture *fixture = ipmmu_open(system, &options);

    assert_int_equal(ipmmu_try_unit(fixture, IPMMU_ROOT), -PIOMMU_ENOMEM);
    ipmmu_close_empty(fixture);
}

/* 21: a cut without stage 2 does stage 1 alone. */
static void test_21_early_cuts_have_stage_1_only(void **state)
{
    const struct ipmmu_options options = {.product = 0x4f11};
    struct ipmmu_fixture *fixture = ipmmu_open(ipmmu_system_named("Gen3, stage 2"), &options);

    (void)state;
    assert_int_equal(ipmmu_try_unit(fixture, IPMMU_ROOT), -PIOMMU_EOPNOTSUPP);
    fixture->places[IPMMU_ROOT].tables = PIOMMU_IPMMU_VMSA_STAGE1;
    ipmmu_start(fixture);
    ipmmu_close(fixture);
}

/* 22: every number of a context can be selected, by all the bits that it has. */
static void test_22_all_contexts_can_be_used(const struct ipmmu_system *system)
{
    struct ipmmu_fixture *fixture = ipmmu_open(system, NULL);
    uint32_t selected = 0;

    ipmmu_start_with_masters(fixture);
    while (fixture->domain_count < system->domains) {
        (void)ipmmu_add_domain(fixture);
    }
    for (size_t i = 0; i < fixture->domain_count; i++) {
        assert_int_equal(piommu_domain_map(fixture->domains[i], IOVA, MEMORY + i * PAGE, PAGE, RW),
                         0);
        grant(fixture, A, 0, MEMORY + i * PAGE, RW);
        ipmmu_attach(fixture, A, fixture->domains[i]);
        ipmmu_settle(fixture);
        ipmmu_assert_granted(fixture);
        selected |= UINT32_C(1) << context_of(fixture, A);
    }
    if (system->domains != 0) {
        /* Neither the last one, which blocks, nor the first one of Gen3 and Gen4. */
        uint32_t usable = (UINT32_C(1) << system->domains) - 1;

        assert_int_equal(selected, is_gen2(system) ? usable : usable << 1);
    }
    grant(fixture, A, 0, 0, 0);
    ipmmu_close(fixture);
}

/* 23: the top bit of a word is no sign. */
static void test_23_words_of_a_table_address_are_not_signed(const struct ipmmu_system *system)
{
    const struct ipmmu_options options = {.memory_base = UINT64_C(0xf8000000)};
    struct ipmmu_fixture *fixture = ipmmu_open(system, &options);
    unsigned int context;

    ipmmu_start_with_masters(fixture);
    ipmmu_attach(fixture, A, fixture->domains[0]);
    context = context_of(fixture, A);
    assert_int_equal(
        register_of(fixture, root_of(fixture), PIOMMU_IPMMU_MODEL_IMTTLBR0, context) >> 27, 0x1f);
    assert_int_equal(register_of(fixture, root_of(fixture), PIOMMU_IPMMU_MODEL_IMTTUBR0, context),
                     0);
    ipmmu_close(fixture);
}

/* 24: the secure side is left alone: on Gen2 it is the lower half of the registers. */
static void test_24_the_secure_side_is_left_alone(const struct ipmmu_system *system)
{
    struct ipmmu_fixture *fixture = open_busy(system, NULL);

    ipmmu_suspend(fixture);
    ipmmu_resume(fixture);
    for (size_t i = 0; i < piommu_ipmmu_model_recorded(fixture->model); i++) {
        uint32_t offset = piommu_ipmmu_model_recorded_access(fixture->model, i)->offset;

        assert_true(!is_gen2(system) || offset >= 0x800);
    }
    close_busy(fixture);
}

/* 25: what is no translation or permission fault is a fault all the same. */
static void test_25_other_faults_are_handled(const struct ipmmu_system *system)
{
    static const struct {
        uint32_t status;
        enum piommu_fault_reason reason;
    } faults[] = {{MHIT, PIOMMU_FAULT_CONFLICT}, {ABORT, PIOMMU_FAULT_TABLE}};
    struct ipmmu_fixture *fixture = open_busy(system, NULL);
    size_t root = root_of(fixture);

    ipmmu_drain(fixture);
    fixture->probing = false; /* probes have faults of their own */
    for (size_t i = 0; i < COUNT(faults); i++) {
        fixture->fault_count = 0;
        piommu_ipmmu_model_report(fixture->model, root, context_of(fixture, A), faults[i].status,
                                  0x1234);
        assert_true(piommu_ipmmu_model_interrupt(fixture->model, root));
        assert_int_equal(serve(fixture, root), 1);
        assert_false(piommu_ipmmu_model_interrupt(fixture->model, root));
        assert_int_equal(fixture->fault_count, 1);
        assert_int_equal(fixture->faults[0].reason, faults[i].reason);
    }
    close_busy(fixture);
}

/* 26: a status that firmware has left would hold the interrupt for ever. */
static void test_26_old_faults_hold_no_interrupt(const struct ipmmu_system *system)
{
    struct ipmmu_fixture *fixture = ipmmu_open(system, NULL);
    static const unsigned int counts[] = {4, 8, 16};
    unsigned int count = counts[system->generation];

    for (unsigned int context = 0; context < count; context++) {
        piommu_ipmmu_model_set(fixture->model, IPMMU_ROOT, PIOMMU_IPMMU_MODEL_IMCTR, context, 4);
        piommu_ipmmu_model_set(fixture->model, IPMMU_ROOT, PIOMMU_IPMMU_MODEL_IMSTR, context,
                               TRANSLATION);
    }
    ipmmu_start(fixture);
    assert_false(piommu_ipmmu_model_interrupt(fixture->model, IPMMU_ROOT));
    assert_int_equal(serve(fixture, IPMMU_ROOT), 0);
    for (unsigned int context = 0; context < count; context++) {
        assert_int_equal(register_of(fixture, IPMMU_ROOT, PIOMMU_IPMMU_MODEL_IMSTR, context), 0);
    }
    ipmmu_close(fixture);
}

/* Masters run at each access, reads included: while FLUSHes are polled. */
static void run_masters(struct ipmmu_fixture *fixture,
                        const struct piommu_ipmmu_model_access *access)
{
    (void)access;
    ipmmu_probe(fixture);
}

/* 27: what a cache unit fetches between its own flush and the end of the root's is stale. */
static void test_27_what_is_fetched_meanwhile_is_flushed(const struct ipmmu_system *system)
{
    for (unsigned int reached = 0; reached < 2; reached++) {
        struct piommu_ipmmu_model_readings readings;
        struct ipmmu_fixture *fixture;
        struct piommu_gather gather;

        piommu_ipmmu_model_default_readings(&readings);
        readings.root_flush_reaches_refills = reached != 0;
        fixture = open_busy(system, &readings);
        piommu_ipmmu_model_set_flush_polls(fixture->model, root_of(fixture), 5);
        fixture->on_access = run_masters;
        piommu_gather_init(&gather);
        unmap_pages(fixture, 0, 4, &gather);
        assert_int_equal(piommu_domain_sync(fixture->domains[0], &gather), 0);
        ipmmu_settle(fixture);
        fixture->on_access = NULL;
        ipmmu_probe(fixture);
        for (size_t page = 0; page < 4; page++) {
            assert_false(
                piommu_ipmmu_model_leaf_reaches(fixture->model, MEMORY + page * PAGE, PAGE));
        }
        close_busy(fixture);
    }
}

/* A context goes off only when no micro-TLB selects it, in the unit or below the root. */
static void check_users(struct ipmmu_fixture *fixture,
                        const struct piommu_ipmmu_model_access *access)
{
    if (access->which != PIOMMU_IPMMU_MODEL_IMCTR || !access->is_write ||
        (access->value & MMUEN) != 0) {
        return;
    }
    for (size_t i = 0; i < fixture->master_count; i++) {
        size_t unit = fixture->masters[i].places[0].unit;

        if (unit == access->unit || fixture->units[unit].root == access->unit) {
            assert_int_not_equal(context_of(fixture, i), access->number);
        }
    }
}

/* 28: a micro-TLB on a context that is off may let pass. */
static void test_28_no_context_is_disabled_below_a_micro_tlb(const struct ipmmu_system *system)
{
    struct ipmmu_fixture *fixture = open_busy(system, NULL);

    fixture->on_access = check_users;
    for (size_t page = 0; page < IPMMU_PAGES; page++) {
        grant(fixture, A, page, 0, 0);
    }
    ipmmu_attach(fixture, A, fixture->domains[1]);
    ipmmu_settle(fixture);
    leave(fixture, B);
    ipmmu_destroy_domain(fixture, 0);
    ipmmu_detach(fixture, A);
    ipmmu_destroy_domain(fixture, 1);
    fixture->on_access = NULL;
    ipmmu_close(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IPMMU_TEST(IPMMU_ALL, test_1_many_unmaps_are_flushed_at_once),
        IPMMU_TEST(IPMMU_ALL, test_2_a_fault_has_its_address_and_is_cleared),
        IPMMU_TEST(IPMMU_ALL, test_3_all_levels_are_non_secure),
        IPMMU_TEST(IPMMU_ALL, test_4_descriptors_are_cleaned_before_the_flush),
        IPMMU_TEST(IPMMU_ALL, test_5_a_shared_micro_tlb_has_one_domain),
        IPMMU_TEST(IPMMU_ALL, test_6_a_stale_selection_is_overwritten),
        IPMMU_TEST(IPMMU_ALL, test_7_no_micro_tlb_is_switched_off),
        IPMMU_TEST(IPMMU_ALL, test_8_upper_micro_tlbs_are_elsewhere),
        IPMMU_TEST(IPMMU_ALL, test_9_use_secgrp_is_cleared_everywhere),
        IPMMU_TEST(IPMMU_ALL, test_10_bits_of_firmware_are_kept),
        cmocka_unit_test(test_11_wrong_tlbs_are_not_used),
        IPMMU_TEST(IPMMU_ALL, test_12_a_unit_is_switched_on_first),
        IPMMU_TEST(IPMMU_CACHED, test_13_roots_come_first),
        IPMMU_TEST(IPMMU_CACHED, test_13_a_root_wakes_without_its_cache_units),
        IPMMU_TEST(IPMMU_ALL, test_14_a_domain_that_fails_touches_no_context),
        IPMMU_TEST(IPMMU_ALL, test_15_a_context_is_let_go_before_its_tables),
        IPMMU_TEST(IPMMU_ALL, test_16_cache_units_are_waited_for),
        IPMMU_TEST(IPMMU_ALL, test_17_and_20_imctr_has_the_bits_of_its_unit),
        IPMMU_TEST(IPMMU_ALL, test_18_a_timeout_is_told),
        IPMMU_TEST(IPMMU_ALL, test_19_addresses_have_40_bits),
        IPMMU_TEST(IPMMU_ALL, test_19_tables_beyond_40_bits_are_not_taken),
        cmocka_unit_test(test_21_early_cuts_have_stage_1_only),
        IPMMU_TEST(IPMMU_ALL, test_22_all_contexts_can_be_used),
        IPMMU_TEST(IPMMU_ALL, test_23_words_of_a_table_address_are_not_signed),
        IPMMU_TEST(IPMMU_ALL, test_24_the_secure_side_is_left_alone),
        IPMMU_TEST(IPMMU_ALL, test_25_other_faults_are_handled),
        IPMMU_TEST(IPMMU_ALL, test_26_old_faults_hold_no_interrupt),
        IPMMU_TEST(IPMMU_ALL, test_27_what_is_fetched_meanwhile_is_flushed),
        IPMMU_TEST(IPMMU_ALL, test_28_no_context_is_disabled_below_a_micro_tlb),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
