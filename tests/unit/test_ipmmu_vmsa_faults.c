/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Faults of the IPMMU-VMSA: what the status says, whose they are, and that no more work is done for
 * them, and the interrupt asserted no longer, than has to be.
 */

#include "ipmmu_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define SECOND       1000000000ull

/* Status bits, and fields, of IMSTR. */
#define TRANSLATION 0x01u
#define PERMISSION  0x02u
#define ABORT       0x04u
#define MULTIPLE    0x10u
#define ALL_FAULTS  0x17u
#define CODE(code)  ((uint32_t)(code) << 8)
#define LEVEL(n)    ((uint32_t)(n) << 12)
#define SECURE      5u /* as a code */

static bool is_gen2(const struct ipmmu_system *system)
{
    return system->generation == PIOMMU_IPMMU_MODEL_GEN2;
}

/* The contexts that domains get, from the first one on, and the one of masters that are in none. */
static unsigned int first_context(const struct ipmmu_system *system)
{
    return is_gen2(system) ? 0 : 1;
}

static unsigned int blocked_context(const struct ipmmu_system *system)
{
    return first_context(system) + system->domains;
}

/* A unit whose masters' faults the root of the tests (unit 0) reports. */
static size_t unit_of_masters(const struct ipmmu_system *system)
{
    return is_gen2(system) ? IPMMU_ROOT : IPMMU_CACHE_1;
}

/* A started system with one master in one domain, no fault left, and no probes to make some. */
static struct ipmmu_fixture *open_with_a_master(const struct ipmmu_system *system)
{
    struct ipmmu_fixture *fixture = ipmmu_open(system, NULL);

    ipmmu_start(fixture);
    (void)ipmmu_add_master(fixture, unit_of_masters(system), 3);
    ipmmu_attach(fixture, 0, ipmmu_add_domain(fixture));
    ipmmu_drain(fixture);
    fixture->probing = false;
    return fixture;
}

static void report(struct ipmmu_fixture *fixture, unsigned int context, uint32_t status,
                   uint64_t address)
{
    piommu_ipmmu_model_report(fixture->model, IPMMU_ROOT, context, status, address);
}

static bool is_asserted(const struct ipmmu_fixture *fixture)
{
    return piommu_ipmmu_model_interrupt(fixture->model, IPMMU_ROOT);
}

/* Services the interrupt, which has to be all that is needed for so many reports. */
static void serve(struct ipmmu_fixture *fixture, int reports)
{
    bool more = true;

    fixture->fault_count = 0;
    assert_int_equal(is_asserted(fixture), reports != 0);
    assert_int_equal(piommu_instance_interrupt(fixture->instances[IPMMU_ROOT], 100, &more),
                     reports);
    assert_false(more);
    assert_false(is_asserted(fixture));
    assert_int_equal(fixture->fault_count, reports);
}

/* ---- what the status says ---- */

static void test_reason_level_and_address(const struct ipmmu_system *system)
{
    static const struct {
        uint32_t status;
        enum piommu_fault_reason reason;
    } kinds[] = {
        {TRANSLATION, PIOMMU_FAULT_TRANSLATION},
        {PERMISSION, PIOMMU_FAULT_PERMISSION},
        {ABORT, PIOMMU_FAULT_TABLE},
        {MULTIPLE, PIOMMU_FAULT_CONFLICT},
    };
    static const uint64_t addresses[] = {0, 0xfffffffc, 0x12345678, 0xff00000000, 0xff89abcde0};
    struct ipmmu_fixture *fixture = open_with_a_master(system);
    const struct piommu_fault *fault = &fixture->faults[0];

    for (size_t kind = 0; kind < COUNT(kinds); kind++) {
        for (uint32_t i = 0; i < 8 * 3; i++) {
            uint32_t level = 1 + i / 8;
            uint32_t code = i % 8;
            uint32_t status = kinds[kind].status | LEVEL(level) | CODE(code);
            uint64_t address = addresses[i % COUNT(addresses)];

            /* Which code comes with a fault is known of few; one says more than the fault does. */
            if (code == SECURE) {
                continue;
            }
            report(fixture, first_context(system), status, address);
            serve(fixture, 1);
            assert_int_equal(fault->reason, kinds[kind].reason);
            assert_int_equal(fault->raw, status);
            assert_true(fault->iova_valid);
            assert_true(fault->iova == (is_gen2(system) ? (uint32_t)address : address));
            assert_false(fault->read);
            assert_false(fault->write);
            assert_false(fault->id_valid);
            if ((kinds[kind].status & (TRANSLATION | PERMISSION)) != 0) {
                assert_true(fault->level_valid);
                assert_int_equal(fault->level, level);
            }
        }
    }
    report(fixture, first_context(system), PERMISSION | CODE(SECURE) | LEVEL(3), 0);
    serve(fixture, 1);
    assert_int_equal(fault->reason, PIOMMU_FAULT_SECURITY);
    ipmmu_close(fixture);
}

/* Reserved bits of the upper word are not part of the address. */
static void test_an_address_has_40_bits(const struct ipmmu_system *system)
{
    struct ipmmu_fixture *fixture = open_with_a_master(system);

    report(fixture, first_context(system), TRANSLATION, 0x1234567000);
    piommu_ipmmu_model_set(fixture->model, IPMMU_ROOT, PIOMMU_IPMMU_MODEL_IMEUAR,
                           first_context(system), 0xffffff12);
    serve(fixture, 1);
    assert_true(fixture->faults[0].iova == 0x1234567000);
    ipmmu_close(fixture);
}

/* The kinds that no mapping can mend come first. */
static void test_several_bits_are_one_report(const struct ipmmu_system *system)
{
    struct ipmmu_fixture *fixture = open_with_a_master(system);

    for (uint32_t status = 1; status <= ALL_FAULTS; status++) {
        if ((status & ~ALL_FAULTS) != 0) {
            continue;
        }
        report(fixture, first_context(system), status, 0x1000);
        serve(fixture, 1);
        assert_int_equal(fixture->faults[0].raw, status);
        if ((status & (ABORT | MULTIPLE)) != 0) {
            assert_true(fixture->faults[0].reason == PIOMMU_FAULT_TABLE ||
                        fixture->faults[0].reason == PIOMMU_FAULT_CONFLICT);
        }
    }
    ipmmu_close(fixture);
}

/* A status without one of the four bits is nothing, whatever else it has. */
static void test_level_and_code_alone_are_no_fault(const struct ipmmu_system *system)
{
    struct ipmmu_fixture *fixture = open_with_a_master(system);

    piommu_ipmmu_model_set(fixture->model, IPMMU_ROOT, PIOMMU_IPMMU_MODEL_IMSTR,
                           first_context(system), LEVEL(3) | CODE(4));
    serve(fixture, 0);
    ipmmu_close(fixture);
}

/* ---- real ones ---- */

static void expect_fault(struct ipmmu_fixture *fixture, uint64_t iova, bool write,
                         enum piommu_fault_reason reason, unsigned int level)
{
    assert_false(ipmmu_reaches_anything(fixture, 0, iova, write));
    serve(fixture, 1);
    assert_int_equal(fixture->faults[0].reason, reason);
    assert_true(fixture->faults[0].iova == iova);
    assert_true(fixture->faults[0].level_valid);
    assert_int_equal(fixture->faults[0].level, level);
    assert_ptr_equal(fixture->faults[0].domain_owner, &fixture->domains[0]);
    assert_ptr_equal(fixture->faults[0].device_owner, &fixture->masters[0]);
}

static void test_masters_meet_faults_of_each_level(const struct ipmmu_system *system)
{
    struct ipmmu_fixture *fixture = open_with_a_master(system);
    struct piommu_domain *domain = fixture->domains[0];

    assert_int_equal(piommu_domain_map(domain, IPMMU_IOVA, IPMMU_MEMORY, IPMMU_PAGE, IPMMU_READ),
                     0);
    assert_true(ipmmu_reaches(fixture, 0, IPMMU_IOVA, false, IPMMU_MEMORY));
    serve(fixture, 0);
    expect_fault(fixture, IPMMU_IOVA, true, PIOMMU_FAULT_PERMISSION, 3);
    expect_fault(fixture, IPMMU_IOVA + IPMMU_PAGE, false, PIOMMU_FAULT_TRANSLATION, 3);
    expect_fault(fixture, IPMMU_IOVA + 0x200000, true, PIOMMU_FAULT_TRANSLATION, 2);
    expect_fault(fixture, IPMMU_IOVA + 0x40000000, false, PIOMMU_FAULT_TRANSLATION, 1);
    ipmmu_close(fixture);
}

/* A read of IPMMU_IOVA is refused, and this is told. */
static void expect_reason(struct ipmmu_fixture *fixture, enum piommu_fault_reason reason)
{
    assert_false(ipmmu_reaches_anything(fixture, 0, IPMMU_IOVA, false));
    serve(fixture, 1);
    assert_int_equal(fixture->faults[0].reason, reason);
}

/* Puts a descriptor into a table, behind the library's back. */
static void write_descriptor(struct ipmmu_fixture *fixture, uint64_t address, uint64_t value)
{
    struct piommu_host host = fake_os_host(fixture->os);
    uint8_t *bytes = fake_os_pointer(fixture->os, address, 8);

    assert_non_null(bytes);
    for (unsigned int i = 0; i < 8; i++) {
        bytes[i] = (uint8_t)(value >> 8 * i);
    }
    host.os->cache_clean(host.ctx, bytes, 8);
    host.os->barrier(host.ctx, PIOMMU_BARRIER_WRITE);
    /* What was there is forgotten: any unmap makes the hardware do so. */
    assert_int_equal(
        piommu_domain_map(fixture->domains[0], 0, IPMMU_MEMORY, IPMMU_PAGE, IPMMU_READ), 0);
    ipmmu_unmap(fixture->domains[0], 0, IPMMU_PAGE);
}

/* The entry of the root for IPMMU_IOVA says something wrong. */
static void test_tables_that_cannot_be_walked(const struct ipmmu_system *system)
{
    struct ipmmu_fixture *fixture = open_with_a_master(system);
    struct piommu_walker_regime regime;
    uint64_t entry;
    uint64_t good;

    assert_int_equal(piommu_domain_map(fixture->domains[0], IPMMU_IOVA, IPMMU_MEMORY, IPMMU_PAGE,
                                       IPMMU_READ_WRITE),
                     0);
    assert_true(
        piommu_ipmmu_model_regime(fixture->model, IPMMU_ROOT, first_context(system), &regime));
    assert_int_equal(regime.start_level, 1);
    entry = regime.root + 8;
    assert_true(fake_os_device_read64(fixture->os, entry, &good));
    /* A table where there is no memory. */
    write_descriptor(fixture, entry, (good & ~UINT64_C(0xfffffff000)) | 0x7000000000);
    expect_reason(fixture, PIOMMU_FAULT_TABLE);
    /* Stage 1: a table of the secure side. */
    if (system->tables != PIOMMU_IPMMU_VMSA_STAGE2) {
        write_descriptor(fixture, entry, good & ~(UINT64_C(1) << 63));
        expect_reason(fixture, PIOMMU_FAULT_SECURITY);
    }
    write_descriptor(fixture, entry, good);
    assert_true(ipmmu_reaches(fixture, 0, IPMMU_IOVA, true, IPMMU_MEMORY));
    ipmmu_close(fixture);
}

/* ---- whose it is ---- */

static void test_the_only_device_of_a_domain_is_named(const struct ipmmu_system *system)
{
    struct ipmmu_fixture *fixture = ipmmu_open(system, NULL);
    size_t unit = unit_of_masters(system);

    ipmmu_start(fixture);
    (void)ipmmu_add_master(fixture, unit, 3);
    (void)ipmmu_add_master(fixture, unit, 5);
    ipmmu_attach(fixture, 0, ipmmu_add_domain(fixture));
    ipmmu_drain(fixture);
    fixture->probing = false;
    report(fixture, first_context(system), TRANSLATION, 0x1000);
    serve(fixture, 1);
    assert_ptr_equal(fixture->faults[0].instance_owner, &fixture->instances[IPMMU_ROOT]);
    assert_string_equal(fixture->faults[0].instance_name, "M");
    assert_ptr_equal(fixture->faults[0].domain_owner, &fixture->domains[0]);
    if (system->contexts != 1) {
        assert_ptr_equal(fixture->faults[0].device_owner, &fixture->masters[0]);
        assert_string_equal(fixture->faults[0].device_name, "0");
        ipmmu_attach(fixture, 1, fixture->domains[0]);
    }
    /* It could be either of two. */
    report(fixture, first_context(system), TRANSLATION, 0x1000);
    serve(fixture, 1);
    assert_ptr_equal(fixture->faults[0].domain_owner, &fixture->domains[0]);
    assert_null(fixture->faults[0].device_owner);
    assert_null(fixture->faults[0].device_name);
    if (system->contexts != 1) {
        ipmmu_detach(fixture, 0);
        report(fixture, first_context(system), TRANSLATION, 0x1000);
        serve(fixture, 1);
        assert_ptr_equal(fixture->faults[0].device_owner, &fixture->masters[1]);
    }
    ipmmu_close(fixture);
}

/* A device is one, however many ways it has to memory; two on the same way are two. */
static void test_ways_are_not_devices(const struct ipmmu_system *system)
{
    struct ipmmu_fixture *fixture = ipmmu_open(system, NULL);
    const struct ipmmu_place several[] = {
        {IPMMU_CACHE_1, 3}, {IPMMU_CACHE_1, 34}, {IPMMU_CACHE_2, 2}};
    const struct ipmmu_place shared[] = {{IPMMU_CACHE_1, 5}, {IPMMU_CACHE_1, 5}};

    ipmmu_start(fixture);
    (void)ipmmu_wire(fixture, several, COUNT(several));
    assert_int_equal(ipmmu_try_device(fixture, 0), 0);
    for (size_t i = 0; i < COUNT(shared); i++) {
        (void)ipmmu_wire(fixture, &shared[i], 1);
        assert_int_equal(ipmmu_try_device(fixture, 1 + i), 0);
    }
    for (size_t i = 0; i < 2; i++) {
        ipmmu_attach(fixture, i, ipmmu_add_domain(fixture));
    }
    ipmmu_drain(fixture);
    fixture->probing = false;
    for (unsigned int i = 0; i < 2; i++) {
        report(fixture, first_context(system) + i, TRANSLATION, 0x1000);
        serve(fixture, 1);
        assert_ptr_equal(fixture->faults[0].domain_owner, &fixture->domains[i]);
        assert_ptr_equal(fixture->faults[0].device_owner, i == 0 ? &fixture->masters[0] : NULL);
    }
    ipmmu_close(fixture);
}

/* Cache units have no faults of their own. */
static void test_cache_units_report_nothing(const struct ipmmu_system *system)
{
    struct ipmmu_fixture *fixture = open_with_a_master(system);
    bool more = true;

    report(fixture, first_context(system), TRANSLATION, 0x1000);
    piommu_ipmmu_model_record(fixture->model, true);
    assert_int_equal(piommu_instance_interrupt(fixture->instances[IPMMU_CACHE_1], 8, &more), 0);
    assert_false(more);
    assert_int_equal(piommu_instance_service(fixture->instances[IPMMU_CACHE_1], 8), 0);
    assert_int_equal(piommu_ipmmu_model_recorded(fixture->model), 0);
    serve(fixture, 1);
    ipmmu_close(fixture);
}

/* On Gen2 a domain may be in several roots, and the one that reports has its own masters alone. */
static void test_roots_report_for_their_own_masters(const struct ipmmu_system *system)
{
    struct ipmmu_fixture *fixture;

    if (!is_gen2(system)) {
        return;
    }
    fixture = ipmmu_open(system, NULL);
    ipmmu_start(fixture);
    for (size_t unit = 0; unit < 2; unit++) {
        (void)ipmmu_add_master(fixture, unit, 3);
    }
    (void)ipmmu_add_domain(fixture);
    for (size_t master = 0; master < 2; master++) {
        ipmmu_attach(fixture, master, fixture->domains[0]);
    }
    ipmmu_drain(fixture);
    fixture->probing = false;
    report(fixture, 0, PERMISSION, 0x2000);
    assert_false(piommu_ipmmu_model_interrupt(fixture->model, 1));
    serve(fixture, 1);
    assert_ptr_equal(fixture->faults[0].instance_owner, &fixture->instances[0]);
    assert_ptr_equal(fixture->faults[0].domain_owner, &fixture->domains[0]);
    assert_ptr_equal(fixture->faults[0].device_owner, &fixture->masters[0]);
    ipmmu_close(fixture);
}

static void test_each_context_is_its_own_domain(const struct ipmmu_system *system)
{
    struct ipmmu_fixture *fixture = ipmmu_open(system, NULL);
    unsigned int count = system->domains != 0 ? system->domains : 1;

    ipmmu_start(fixture);
    for (unsigned int i = 0; i < count; i++) {
        (void)ipmmu_add_master(fixture, unit_of_masters(system), i);
        ipmmu_attach(fixture, i, ipmmu_add_domain(fixture));
    }
    ipmmu_drain(fixture);
    fixture->probing = false;
    /* One at a time, and all in one interrupt; in what order does not matter. */
    for (unsigned int i = 0; i < count; i++) {
        report(fixture, first_context(system) + i, TRANSLATION, i * IPMMU_PAGE);
        serve(fixture, 1);
        assert_ptr_equal(fixture->faults[0].domain_owner, &fixture->domains[i]);
        assert_ptr_equal(fixture->faults[0].device_owner, &fixture->masters[i]);
        assert_true(fixture->faults[0].iova == i * IPMMU_PAGE);
    }
    for (unsigned int i = 0; i < count; i++) {
        report(fixture, first_context(system) + i, TRANSLATION, i * IPMMU_PAGE);
    }
    serve(fixture, (int)count);
    for (unsigned int i = 0; i < count; i++) {
        const struct piommu_fault *fault = &fixture->faults[i];

        assert_ptr_equal(fault->domain_owner, &fixture->domains[fault->iova / IPMMU_PAGE]);
        for (unsigned int k = 0; k < i; k++) {
            assert_ptr_not_equal(fault->domain_owner, fixture->faults[k].domain_owner);
        }
    }
    ipmmu_close(fixture);
}

static void test_masters_in_no_domain_have_faults(const struct ipmmu_system *system)
{
    struct ipmmu_fixture *fixture = ipmmu_open(system, NULL);
    const struct ipmmu_place place = {unit_of_masters(system), 7};

    ipmmu_start(fixture);
    (void)ipmmu_add_master(fixture, unit_of_masters(system), 3);
    (void)ipmmu_wire(fixture, &place, 1);
    ipmmu_drain(fixture);
    fixture->probing = false;
    for (size_t master = 0; master < 2; master++) {
        assert_false(ipmmu_reaches_anything(fixture, master, IPMMU_IOVA, false));
        assert_true(piommu_ipmmu_model_get(fixture->model, IPMMU_ROOT, PIOMMU_IPMMU_MODEL_IMSTR,
                                           blocked_context(system)) != 0);
        fixture->answer = PIOMMU_FAULT_BLOCK; /* there is nothing to block */
        serve(fixture, 1);
        assert_true(fixture->faults[0].iova == IPMMU_IOVA);
        assert_null(fixture->faults[0].domain_owner);
        assert_null(fixture->faults[0].device_owner);
        assert_int_equal(fixture->faults[0].reason, PIOMMU_FAULT_BLOCKED);
    }
    ipmmu_close(fixture);
}

/* ---- faults, and what happens meanwhile ---- */

static void test_what_firmware_has_left_is_cleared_and_not_told(const struct ipmmu_system *system)
{
    struct ipmmu_fixture *fixture = ipmmu_open(system, NULL);
    unsigned int contexts = blocked_context(system) + 1;

    for (size_t unit = 0; unit < fixture->unit_count; unit++) {
        for (unsigned int i = 0; i < contexts && ipmmu_is_root(fixture, unit); i++) {
            piommu_ipmmu_model_set(fixture->model, unit, PIOMMU_IPMMU_MODEL_IMCTR, i, 4);
            piommu_ipmmu_model_set(fixture->model, unit, PIOMMU_IPMMU_MODEL_IMSTR, i,
                                   ALL_FAULTS | LEVEL(3));
        }
    }
    assert_true(is_asserted(fixture));
    ipmmu_start(fixture);
    fixture->probing = false;
    for (unsigned int i = 0; i < contexts; i++) {
        assert_int_equal(
            piommu_ipmmu_model_get(fixture->model, IPMMU_ROOT, PIOMMU_IPMMU_MODEL_IMSTR, i), 0);
    }
    serve(fixture, 0);
    ipmmu_close(fixture);
}

/*
 * A fault that nobody has taken in when its domain goes is of no other domain: the next one that
 * gets the context begins without.
 */
static void test_a_fault_does_not_outlive_its_domain(const struct ipmmu_system *system)
{
    struct ipmmu_fixture *fixture = open_with_a_master(system);

    report(fixture, first_context(system), TRANSLATION, 0x3000);
    ipmmu_detach(fixture, 0);
    ipmmu_destroy_domain(fixture, 0);
    fixture->domain_count = 0;
    ipmmu_attach(fixture, 0, ipmmu_add_domain(fixture));
    serve(fixture, 0);
    report(fixture, first_context(system), PERMISSION, 0x4000);
    serve(fixture, 1);
    assert_ptr_equal(fixture->faults[0].domain_owner, &fixture->domains[0]);
    ipmmu_close(fixture);
}

static void test_a_suspended_unit_has_nothing_to_report(const struct ipmmu_system *system)
{
    struct ipmmu_fixture *fixture = open_with_a_master(system);
    bool more = true;

    report(fixture, first_context(system), TRANSLATION, 0x3000);
    ipmmu_suspend(fixture);
    fixture->fault_count = 0;
    /* Its registers are not there. */
    assert_int_equal(piommu_instance_interrupt(fixture->instances[IPMMU_ROOT], 100, &more), 0);
    assert_false(more);
    assert_int_equal(piommu_instance_service(fixture->instances[IPMMU_ROOT], 100), 0);
    ipmmu_resume(fixture);
    fixture->probing = false;
    ipmmu_drain(fixture);
    report(fixture, first_context(system), TRANSLATION, 0x3000);
    serve(fixture, 1);
    assert_ptr_equal(fixture->faults[0].domain_owner, &fixture->domains[0]);
    ipmmu_close(fixture);
}

/* Blocked because of a fault, and in again. */
static void test_a_group_that_was_blocked_enters_again(const struct ipmmu_system *system)
{
    struct ipmmu_fixture *fixture = open_with_a_master(system);
    struct piommu_device_info info;
    bool more = false;

    assert_int_equal(
        piommu_domain_map(fixture->domains[0], IPMMU_IOVA, IPMMU_MEMORY, IPMMU_PAGE, IPMMU_READ),
        0);
    ipmmu_grant(fixture, 0, 0, IPMMU_MEMORY, IPMMU_READ);
    ipmmu_settle(fixture);
    ipmmu_assert_granted(fixture);
    fixture->answer = PIOMMU_FAULT_BLOCK;
    assert_false(ipmmu_reaches_anything(fixture, 0, IPMMU_IOVA, true));
    assert_int_equal(piommu_instance_interrupt(fixture->instances[IPMMU_ROOT], 100, &more), 1);
    assert_false(is_asserted(fixture));
    if (more) {
        assert_true(piommu_instance_service(fixture->instances[IPMMU_ROOT], 100) >= 0);
    }
    piommu_device_get_info(fixture->masters[0].device, &info);
    assert_true(info.fault_blocked);
    assert_ptr_equal(info.domain, fixture->domains[0]);
    assert_false(ipmmu_reaches_anything(fixture, 0, IPMMU_IOVA, false));
    fixture->answer = PIOMMU_FAULT_NOTE;
    ipmmu_attach(fixture, 0, fixture->domains[0]);
    piommu_device_get_info(fixture->masters[0].device, &info);
    assert_false(info.fault_blocked);
    ipmmu_assert_granted(fixture);
    ipmmu_drain(fixture);
    ipmmu_close(fixture);
}

/* ---- how much of it ---- */

static void test_the_budget_holds(const struct ipmmu_system *system)
{
    struct ipmmu_fixture *fixture = ipmmu_open(system, NULL);
    unsigned int count = system->domains;
    bool more = false;
    unsigned int handled = 0;

    if (count == 0) {
        ipmmu_close_empty(fixture);
        return;
    }
    ipmmu_start(fixture);
    for (unsigned int i = 0; i < count; i++) {
        (void)ipmmu_add_domain(fixture);
    }
    ipmmu_drain(fixture);
    fixture->probing = false;
    for (unsigned int i = 0; i < count; i++) {
        report(fixture, first_context(system) + i, TRANSLATION, 0x1000);
    }
    for (unsigned int round = 0; round < count && handled < count; round++) {
        int now = piommu_instance_interrupt(fixture->instances[IPMMU_ROOT], 2, &more);

        assert_in_range(now, 1, 2);
        handled += (unsigned int)now;
        assert_int_equal(fixture->fault_count, handled);
        if (handled < count) {
            assert_true(more);
            assert_true(is_asserted(fixture));
        }
    }
    assert_int_equal(handled, count);
    assert_false(is_asserted(fixture));
    ipmmu_close(fixture);
}

static void fault_again(struct ipmmu_fixture *fixture,
                        const struct piommu_ipmmu_model_access *access)
{
    if (access->is_write && access->which == PIOMMU_IPMMU_MODEL_IMSTR) {
        report(fixture, access->number, TRANSLATION, 0x5000);
    }
}

/* Masters may have the next fault before the last one is told. */
static void test_faults_without_end_do_not_hold_up_an_interrupt(const struct ipmmu_system *system)
{
    struct ipmmu_fixture *fixture = open_with_a_master(system);
    struct piommu_ipmmu_model_counters before;
    struct piommu_ipmmu_model_counters after;
    bool more = false;
    int handled;

    report(fixture, first_context(system), TRANSLATION, 0x5000);
    fixture->on_access = fault_again;
    before = piommu_ipmmu_model_counters(fixture->model, IPMMU_ROOT);
    handled = piommu_instance_interrupt(fixture->instances[IPMMU_ROOT], 10, &more);
    after = piommu_ipmmu_model_counters(fixture->model, IPMMU_ROOT);
    assert_in_range(handled, 1, 10);
    assert_int_equal(fixture->fault_count, handled);
    assert_true(after.reads - before.reads <= 16 + 3 * 10);
    assert_true(after.writes - before.writes <= 10);
    assert_in_range(piommu_instance_service(fixture->instances[IPMMU_ROOT], 10), 1, 10);
    fixture->on_access = NULL;
    ipmmu_drain(fixture);
    ipmmu_close(fixture);
}

static void test_an_interrupt_neither_allocates_nor_waits(const struct ipmmu_system *system)
{
    struct ipmmu_fixture *fixture = open_with_a_master(system);

    report(fixture, first_context(system), TRANSLATION, 0x1000);
    fake_os_forbid(fixture->os,
                   FAKE_OS_FORBID_ALLOCATION | FAKE_OS_FORBID_FREE | FAKE_OS_FORBID_WAIT);
    serve(fixture, 1);
    fake_os_forbid(fixture->os, 0);
    ipmmu_close(fixture);
}

/* The shim's clock, further on than the fake OS has it. */
static uint64_t (*fake_now)(void *ctx);
static uint64_t passed;

static uint64_t now(void *ctx)
{
    return fake_now(ctx) + passed;
}

static void test_a_storm_is_held_back_and_its_interrupt_cleared(const struct ipmmu_system *system)
{
    const unsigned int limit = 3;
    const unsigned int storm = 10;
    struct ipmmu_fixture *fixture = ipmmu_open(system, NULL);
    struct piommu_instance_info info;
    struct piommu_fault fault;
    unsigned int records = 0;

    fake_now = fake_os_callbacks(fixture->os)->now;
    fake_os_callbacks(fixture->os)->now = now;
    passed = 0;
    fixture->configs[IPMMU_ROOT].fault_limit = limit;
    fixture->configs[IPMMU_ROOT].fault_records = 4;
    ipmmu_start(fixture);
    (void)ipmmu_add_master(fixture, unit_of_masters(system), 3);
    ipmmu_attach(fixture, 0, ipmmu_add_domain(fixture));
    fixture->probing = false;
    for (unsigned int round = 1; round <= 2; round++) {
        ipmmu_drain(fixture);
        passed += 2 * SECOND;
        for (unsigned int i = 0; i < storm; i++) {
            report(fixture, first_context(system), TRANSLATION, i * IPMMU_PAGE);
            assert_int_equal(piommu_instance_interrupt(fixture->instances[IPMMU_ROOT], 100, NULL),
                             1);
            assert_false(is_asserted(fixture));
        }
        assert_int_equal(fixture->fault_count, limit);
    }
    piommu_instance_get_info(fixture->instances[IPMMU_ROOT], &info);
    assert_true(info.faults >= 2 * storm);
    assert_true(info.faults_held_back >= 2 * (storm - limit));
    assert_true(info.faults - info.faults_held_back >= 2 * limit);
    /* The ring keeps the last ones that were taken notice of. */
    assert_true(info.faults_dropped > 0);
    while (piommu_instance_take_fault(fixture->instances[IPMMU_ROOT], &fault) == 0) {
        assert_true(fault.iova == (records == 0 ? 2 : records - 1) * IPMMU_PAGE);
        records++;
    }
    assert_int_equal(records, 4);
    ipmmu_close(fixture);
}

/* One domain's storm does not hide what happens in another, or to masters that are in none. */
static void test_a_storm_holds_back_its_own_domain(const struct ipmmu_system *system)
{
    struct ipmmu_fixture *fixture = ipmmu_open(system, NULL);

    fixture->configs[IPMMU_ROOT].fault_limit = 1;
    ipmmu_start(fixture);
    for (unsigned int i = 0; i < 2; i++) {
        (void)ipmmu_add_domain(fixture);
    }
    fixture->probing = false;
    for (unsigned int i = 0; i < 4; i++) {
        report(fixture, first_context(system), TRANSLATION, 0x1000);
        assert_int_equal(piommu_instance_interrupt(fixture->instances[IPMMU_ROOT], 8, NULL), 1);
        assert_int_equal(fixture->fault_count, 1);
    }
    report(fixture, first_context(system) + 1, TRANSLATION, 0x2000);
    serve(fixture, 1);
    assert_ptr_equal(fixture->faults[0].domain_owner, &fixture->domains[1]);
    report(fixture, blocked_context(system), TRANSLATION, 0x3000);
    serve(fixture, 1);
    ipmmu_close(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IPMMU_TEST(IPMMU_ALL, test_reason_level_and_address),
        IPMMU_TEST(IPMMU_CACHED, test_an_address_has_40_bits),
        IPMMU_TEST(IPMMU_ALL, test_several_bits_are_one_report),
        IPMMU_TEST(IPMMU_ALL, test_level_and_code_alone_are_no_fault),
        IPMMU_TEST(IPMMU_ALL, test_masters_meet_faults_of_each_level),
        IPMMU_TEST(IPMMU_ALL, test_tables_that_cannot_be_walked),
        IPMMU_TEST(IPMMU_ALL, test_the_only_device_of_a_domain_is_named),
        IPMMU_TEST(IPMMU_CACHED, test_ways_are_not_devices),
        IPMMU_TEST(IPMMU_CACHED, test_cache_units_report_nothing),
        IPMMU_TEST(IPMMU_ALL, test_roots_report_for_their_own_masters),
        IPMMU_TEST(IPMMU_ALL, test_each_context_is_its_own_domain),
        IPMMU_TEST(IPMMU_ALL, test_masters_in_no_domain_have_faults),
        IPMMU_TEST(IPMMU_ALL, test_what_firmware_has_left_is_cleared_and_not_told),
        IPMMU_TEST(IPMMU_ALL, test_a_fault_does_not_outlive_its_domain),
        IPMMU_TEST(IPMMU_ALL, test_a_suspended_unit_has_nothing_to_report),
        IPMMU_TEST(IPMMU_ALL, test_a_group_that_was_blocked_enters_again),
        IPMMU_TEST(IPMMU_ALL, test_the_budget_holds),
        IPMMU_TEST(IPMMU_ALL, test_faults_without_end_do_not_hold_up_an_interrupt),
        IPMMU_TEST(IPMMU_ALL, test_an_interrupt_neither_allocates_nor_waits),
        IPMMU_TEST(IPMMU_ALL, test_a_storm_is_held_back_and_its_interrupt_cleared),
        IPMMU_TEST(IPMMU_CACHED, test_a_storm_holds_back_its_own_domain),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
