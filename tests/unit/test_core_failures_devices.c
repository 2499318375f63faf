/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Contexts, instances and devices: everything that can fail in each call, as core_scenarios.h says.
 * The scenarios are in the table at the end.
 */

#include "core_scenarios.h"
#include "failing_world.h"
#include "failing_calls.h"
#include "fake_os.h"
#include "mock_backend.h"

#include <piommu/piommu.h>

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <inttypes.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define DIRECT   0x500000ull

/* ---- Contexts ---- */

static int call_context_create(struct failing_world *world)
{
    struct piommu_context *context = UNTOUCHED;
    int error = piommu_context_create(fake_os_host(world->os), NULL, &context);

    world->pointer = core_keep(world, error, context);
    return error;
}

static void check_context_create(struct failing_world *world, int error)
{
    (void)error;
    assert_int_equal(piommu_context_destroy(world->pointer), 0);
    world->pointer = NULL;
}

static int call_context_destroy(struct failing_world *world)
{
    int error = piommu_context_destroy(world->pointer);

    world->pointer = error == 0 ? NULL : world->pointer;
    return error;
}

static void setup_context(struct failing_world *world)
{
    assert_int_equal(call_context_create(world), 0);
}

/* ---- Instances ---- */

/* The unit that is started last. */
static unsigned int late_unit(const struct failing_world *world)
{
    return world->options.units;
}

static int start(struct failing_world *world, unsigned int unit, uint64_t parent_key)
{
    struct piommu_instance *instance = UNTOUCHED;
    int error = world_start(world, unit, parent_key, &instance);

    world->instances[unit] = core_keep(world, error, instance);
    return error;
}

static int call_instance_create(struct failing_world *world)
{
    return start(world, late_unit(world), 0);
}

/* LATE waits for the last unit with two of its IDs, and has others. */
static void setup_late_device(struct failing_world *world)
{
    core_setup_in_a(world);
    world_add(world, LATE, 1u | 1u << late_unit(world), WORLD_FIRST_ID + 3, 1);
}

static void setup_late_device_to_a(struct failing_world *world)
{
    setup_late_device(world);
    world->choice = world->domains[A];
}

/* Two devices that wait for one unit. */
static void setup_late_devices(struct failing_world *world)
{
    setup_late_device(world);
    world_add(world, THIRD, 1u << late_unit(world), WORLD_FIRST_ID, 1);
}

/* Whether a device was completed and told of. */
static void check_late_device(struct failing_world *world, int error)
{
    struct piommu_device_info info;

    piommu_device_get_info(world->devices[LATE], &info);
    if (error != 0) {
        assert_true(info.waiting);
        assert_int_equal(world->devices_ready, 0);
        return;
    }
    assert_int_equal(world->devices_ready, world->devices[THIRD] != NULL ? 2 : 1);
    if (world->devices[THIRD] != NULL) {
        return;
    }
    if (world->device_error == 0) {
        assert_false(info.waiting);
        assert_ptr_equal(info.domain, world->choice);
    } else {
        /* Either it goes on waiting, or the attach was refused and it is blocked. */
        assert_null(info.domain);
        assert_true(info.waiting || world->choice != NULL);
    }
}

/* Unit 1 waits for unit 0, which does not run yet, and a device for unit 1. */
static void setup_child_waits(struct failing_world *world)
{
    unsigned int child = late_unit(world) + 1;

    assert_int_equal(world->options.units, 0);
    assert_int_equal(start(world, child, WORLD_KEY(late_unit(world))), 0);
    world_add(world, LATE, 1u << child, WORLD_FIRST_ID + 3, 1);
}

static void check_child(struct failing_world *world, int error)
{
    unsigned int child = late_unit(world) + 1;
    struct piommu_instance_info info;
    struct piommu_device_info device;

    piommu_instance_get_info(world->instances[child], &info);
    piommu_device_get_info(world->devices[LATE], &device);
    if (error != 0) {
        assert_int_equal(info.state, PIOMMU_INSTANCE_WAITING);
        assert_int_equal(world->instances_ready, 0);
        assert_true(device.waiting);
        return;
    }
    assert_int_equal(world->instances_ready, 1);
    if (world->instance_error != 0) {
        assert_int_equal(info.state, PIOMMU_INSTANCE_FAILED);
        assert_true(device.waiting);
    } else if (world->devices_ready == 1 && world->device_error == 0) {
        assert_int_equal(info.state, PIOMMU_INSTANCE_RUNNING);
        assert_false(device.waiting);
    }
}

static int call_create_child(struct failing_world *world)
{
    return start(world, late_unit(world), WORLD_KEY(0));
}

static int call_create_waiting(struct failing_world *world)
{
    return start(world, late_unit(world), WORLD_KEY(77));
}

static void setup_late_unit(struct failing_world *world)
{
    core_setup_in_a(world);
    assert_int_equal(call_instance_create(world), 0);
}

/* It was found broken, and would not stop. */
static void setup_late_unit_failed(struct failing_world *world)
{
    struct mock *mock = world->mocks[late_unit(world)];

    setup_late_unit(world);
    mock_fail_service(mock, -PIOMMU_EIO);
    mock_refuse_stop(mock, true);
    assert_int_equal(piommu_instance_service(world->instances[late_unit(world)], 1),
                     -PIOMMU_EFAILED);
    mock_fail_service(mock, 0);
    mock_refuse_stop(mock, false);
}

static int call_instance_destroy(struct failing_world *world)
{
    int error = piommu_instance_destroy(world->instances[late_unit(world)]);

    if (error == 0) {
        world->instances[late_unit(world)] = NULL;
    }
    return error;
}

static int call_suspend(struct failing_world *world)
{
    return piommu_instance_suspend(world->instances[0]);
}

static void setup_suspended(struct failing_world *world)
{
    core_setup_in_a(world);
    assert_int_equal(call_suspend(world), 0);
}

/* What is changed while a unit sleeps is there when it wakes up. */
static void setup_suspended_and_changed(struct failing_world *world)
{
    struct piommu_gather *gather = &world->gathers[A];

    setup_suspended(world);
    world_map(world, A, NEW, MEMORY, 2 * PAGE, RW);
    assert_int_equal(piommu_domain_unmap(world->domains[A], IOVA, PAGE, gather, NULL), 0);
    assert_int_equal(piommu_domain_sync(world->domains[A], gather), 0);
}

static int call_resume(struct failing_world *world)
{
    return piommu_instance_resume(world->instances[0]);
}

/* ---- Faults ---- */

static const struct piommu_backend_fault some_fault = {.id = WORLD_FIRST_ID,
                                                       .reason = PIOMMU_FAULT_MAPPING,
                                                       .iova_valid = true,
                                                       .read = true,
                                                       .iova = 0x123000};

static int call_service(struct failing_world *world)
{
    return piommu_instance_service(world->instances[0], 8);
}

static void setup_fault_to_note(struct failing_world *world)
{
    core_setup_in_a(world);
    world->fault_answer = PIOMMU_FAULT_NOTE;
    mock_raise_fault(world->mocks[0], &some_fault);
}

static void setup_fault_to_block(struct failing_world *world)
{
    core_setup_in_a(world);
    world->fault_answer = PIOMMU_FAULT_BLOCK;
    mock_raise_fault(world->mocks[0], &some_fault);
}

/* The interrupt does what it can; what it says is done afterwards. */
static int call_interrupt(struct failing_world *world)
{
    bool more = false;
    int reports;
    int error = 0;

    for (unsigned int unit = 0; unit < world->options.units; unit++) {
        mock_set_interrupt(world->mocks[unit], true);
    }
    fake_os_forbid(world->os, FAKE_OS_FORBID_ALLOCATION | FAKE_OS_FORBID_WAIT);
    reports = piommu_instance_interrupt(world->instances[0], 8, &more);
    fake_os_forbid(world->os, 0);
    for (unsigned int unit = 0; unit < world->options.units; unit++) {
        mock_set_interrupt(world->mocks[unit], false);
    }
    if (more) {
        error = piommu_instance_service(world->instances[0], 8);
    }
    return error < 0 || reports < 0 ? -PIOMMU_EFAILED : reports + error;
}

/* Whatever fails, the device is blocked, or the unit that does not do it is in doubt. */
static void check_fault_block(struct failing_world *world, int error)
{
    struct piommu_id_info id;

    if (world->faults == 0) {
        assert_true(error < 0);
        return;
    }
    for (size_t i = 0; piommu_device_get_id(world->devices[DMA], i, &id) == 0; i++) {
        if (id.state == PIOMMU_ID_ATTACHED) {
            world_broken(world, "ID %u is attached after a fault that blocks it", id.id);
        }
    }
}

/* The hardware has named the domain alone: A, in which THIRD is, too. */
static void setup_fault_of_domain(struct failing_world *world)
{
    struct piommu_backend_fault fault = {.reason = PIOMMU_FAULT_MAPPING};

    core_setup_in_a(world);
    world_add(world, THIRD, core_all_units(world), WORLD_FIRST_ID + 3, 1);
    world_attach(world, THIRD, A);
    fault.domain = failing_calls_last_domain(world->calls, 0);
    world->fault_answer = PIOMMU_FAULT_BLOCK;
    mock_raise_fault(world->mocks[0], &fault);
}

static void check_fault_of_domain(struct failing_world *world, int error)
{
    struct piommu_id_info id;

    check_fault_block(world, error);
    for (size_t i = 0;
         world->faults != 0 && piommu_device_get_id(world->devices[THIRD], i, &id) == 0; i++) {
        if (id.state == PIOMMU_ID_ATTACHED) {
            world_broken(world, "ID %u is attached after a fault of its domain", id.id);
        }
    }
}

static void setup_blocked_by_fault(struct failing_world *world)
{
    setup_fault_to_block(world);
    assert_int_equal(call_service(world), 1);
}

/* Blocked in the interrupt, as far as that goes, and not serviced since. */
static void setup_interrupted(struct failing_world *world)
{
    bool more;

    setup_fault_to_block(world);
    assert_int_equal(piommu_instance_interrupt(world->instances[0], 8, &more), 1);
    assert_true(more);
}

/* ---- Devices ---- */

static bool is_in_doubt(const struct piommu_device *device)
{
    struct piommu_id_info id;

    for (size_t i = 0; piommu_device_get_id(device, i, &id) == 0; i++) {
        if (id.state == PIOMMU_ID_DOUBTFUL) {
            return true;
        }
    }
    return false;
}

static int add(struct failing_world *world, unsigned int number, unsigned int units, uint32_t first,
               unsigned int ids, const struct piommu_device_config *more)
{
    struct piommu_device *device = UNTOUCHED;
    int error = world_try_add(world, units, first, ids, more, &device);

    if (error == -PIOMMU_EFAILED && device != UNTOUCHED) {
        /* It is there, because nobody knows what it can reach. */
        world->devices[number] = device;
        if (!is_in_doubt(device)) {
            world_broken(world, "the device was added, with error %d", error);
        }
        return error;
    }
    world->devices[number] = core_keep(world, error, device);
    return error;
}

static int call_add(struct failing_world *world)
{
    return add(world, THIRD, core_all_units(world), WORLD_FIRST_ID, 2, NULL);
}

/* Three regions of the host's, and one of the hardware's. */
static int call_add_with_regions(struct failing_world *world)
{
    static const struct piommu_reserved_region regions[] = {
        {{DIRECT, DIRECT + 2 * PAGE - 1}, PIOMMU_RESERVED_DIRECT},
        {{0x600000, 0x600fff}, PIOMMU_RESERVED},
        {{0x700000, 0x700fff}, PIOMMU_RESERVED_RELAXABLE},
    };
    static const struct piommu_device_config more = {
        .regions = regions, .region_count = COUNT(regions), .untrusted = true, .name = "rich"};

    return add(world, THIRD, core_all_units(world), WORLD_FIRST_ID, 2, &more);
}

static void setup_domains_and_region(struct failing_world *world)
{
    static const struct piommu_reserved_region region = {{0x800000, 0x8fffff}, PIOMMU_RESERVED_MSI};

    core_setup_domains(world);
    mock_set_reserved(world->mocks[0], &region);
}

static int call_add_waiting(struct failing_world *world)
{
    return add(world, LATE, core_all_units(world) | 1u << late_unit(world), WORLD_FIRST_ID, 2,
               NULL);
}

static void setup_choice(struct failing_world *world)
{
    core_setup_domains(world);
    world->choice = world->domains[A];
}

/* Two devices in groups of their own; one that shares an ID with each of them makes one group. */
static void setup_two_groups(struct failing_world *world)
{
    core_setup_domains(world);
    world_add(world, DMA, core_all_units(world), WORLD_FIRST_ID, 1);
    world_add(world, THIRD, core_all_units(world), WORLD_FIRST_ID + 1, 1);
}

static int call_add_between(struct failing_world *world)
{
    return add(world, LATE, core_all_units(world), WORLD_FIRST_ID, 2, NULL);
}

static const struct piommu_device_config with_key = {.group_key = 5, .name = "key"};

static void setup_group_of_three(struct failing_world *world)
{
    setup_two_groups(world);
    assert_int_equal(call_add_between(world), 0);
}

static int call_remove(struct failing_world *world)
{
    int error = piommu_device_remove(world->devices[LATE]);

    if (error == 0) {
        world->devices[LATE] = NULL;
    }
    return error;
}

static void setup_to_remove(struct failing_world *world)
{
    core_setup_domains(world);
    world_add(world, LATE, core_all_units(world), WORLD_FIRST_ID, 2);
}

static void setup_group_in_a(struct failing_world *world)
{
    setup_group_of_three(world);
    world_attach(world, DMA, A);
}

/* LATE has one ID, which is in doubt: it may have entered A, and the unit would not stop. */
static void setup_to_remove_in_doubt(struct failing_world *world)
{
    core_setup_domains(world);
    world_add(world, LATE, 1, WORLD_FIRST_ID, 1);
    mock_set_failed_attach(world->mocks[0], MOCK_FAILED_ATTACH_ENTERS);
    mock_fail_attaches(world->mocks[0], 1, -PIOMMU_ETIMEDOUT);
    mock_refuse_stop(world->mocks[0], true);
    assert_int_equal(piommu_group_attach(core_group(world, LATE), world->domains[A]),
                     -PIOMMU_EFAILED);
    mock_refuse_stop(world->mocks[0], false);
}

/* ---- Attaching ---- */

static int call_attach_a(struct failing_world *world)
{
    return piommu_group_attach(core_group(world, DMA), world->domains[A]);
}

static int call_attach_b(struct failing_world *world)
{
    return piommu_group_attach(core_group(world, DMA), world->domains[B]);
}

static int call_attach_c(struct failing_world *world)
{
    return piommu_group_attach(core_group(world, DMA), world->domains[C]);
}

static int call_device_attach_b(struct failing_world *world)
{
    return piommu_device_attach(world->devices[DMA], world->domains[B]);
}

static int call_detach(struct failing_world *world)
{
    return piommu_group_detach(core_group(world, DMA));
}

static int call_device_detach(struct failing_world *world)
{
    return piommu_device_detach(world->devices[DMA]);
}

/* DMA and THIRD are one group, by their key. */
static void setup_keyed_group_in_a(struct failing_world *world)
{
    core_setup_domains(world);
    assert_int_equal(add(world, DMA, core_all_units(world), WORLD_FIRST_ID, 2, &with_key), 0);
    assert_int_equal(
        add(world, THIRD, 1u << core_last_unit(world), WORLD_FIRST_ID + 3, 1, &with_key), 0);
    world_attach(world, DMA, A);
}

/* The domain that DMA is to enter is of unit 0 alone as yet. */
static void setup_narrow_domain(struct failing_world *world)
{
    core_setup_in_a(world);
    world_domain(world, C, PIOMMU_DOMAIN_PAGING, 1);
    world_map(world, C, IOVA, 0x920000000, PAGE, RW);
    world_map(world, C, NEW, MEMORY, BLOCK, RW);
}

static void setup_identity(struct failing_world *world)
{
    core_setup_in_a(world);
    world_domain(world, C, PIOMMU_DOMAIN_IDENTITY, core_all_units(world));
}

static void setup_in_identity(struct failing_world *world)
{
    setup_identity(world);
    world_attach(world, DMA, C);
}

static void setup_blocked_domain(struct failing_world *world)
{
    core_setup_in_a(world);
    world_domain(world, C, PIOMMU_DOMAIN_BLOCKED, core_all_units(world));
}

static void setup_shared(struct failing_world *world)
{
    core_setup_in_a(world);
    assert_int_equal(core_create_shared(world, &world->domains[C]), 0);
}

static void setup_in_shared(struct failing_world *world)
{
    setup_shared(world);
    world_attach(world, DMA, C);
}

/* A deferred domain that has been filled: as any paging domain. */
static void setup_populated(struct failing_world *world)
{
    core_setup_in_a(world);
    world_domain(world, C, PIOMMU_DOMAIN_DEFERRED, core_all_units(world));
    world_map(world, C, IOVA, 0x920000000, 3 * PAGE, RW);
    world_map(world, C, NEW, MEMORY, BLOCK, RW);
    assert_int_equal(piommu_domain_populate(world->domains[C], UINT32_MAX), 0);
}

static const struct piommu_reserved_region direct_region = {{DIRECT, DIRECT + 2 * PAGE - 1},
                                                            PIOMMU_RESERVED_DIRECT};
static const struct piommu_device_config with_direct_region = {
    .regions = &direct_region, .region_count = 1, .name = "display"};

static void setup_direct_region(struct failing_world *world)
{
    core_setup_domains(world);
    assert_int_equal(add(world, DMA, core_all_units(world), WORLD_FIRST_ID, core_id_count(world),
                         &with_direct_region),
                     0);
}

static void setup_direct_region_in_a(struct failing_world *world)
{
    setup_direct_region(world);
    world_attach(world, DMA, A);
}

/* It is mapped where the device is, and nowhere else. */
static void check_direct_region(struct failing_world *world, int error)
{
    struct piommu_device_info info;

    (void)error;
    piommu_device_get_info(world->devices[DMA], &info);
    for (unsigned int i = A; i <= B; i++) {
        struct piommu_translation leaf;
        bool mapped = piommu_domain_lookup(world->domains[i], DIRECT + PAGE, &leaf) == 0;

        if (mapped != (info.domain == world->domains[i])) {
            world_broken(world, "the direct region is%s mapped in domain %u", mapped ? "" : " not",
                         i);
        }
        assert_true(!mapped || (leaf.physical == DIRECT + PAGE && leaf.prot == RW));
    }
}

/* DMA is alone in B, and A is empty. */
static void setup_a_without_others(struct failing_world *world)
{
    core_setup_blocked(world);
    assert_int_equal(piommu_group_detach(core_group(world, OTHER)), 0);
    assert_int_equal(call_attach_b(world), 0);
}

/* ---- The scenarios ---- */

static const struct core_scenario scenarios[] = {
    /* Contexts and instances. */
    {"context_create", TABLES | ONE, 0, AS_BEFORE, core_setup_nothing, call_context_create,
     check_context_create},
    {"context_destroy", TABLES | ONE, INFALLIBLE | MAY_FREE, AS_BEFORE, setup_context,
     call_context_destroy, NULL},
    {"instance_create", ALL, 0, AS_BEFORE, core_setup_in_a, call_instance_create, NULL},
    {"instance_create, a device waits for it", ALL, LATE_ERRORS, AS_BEFORE, setup_late_device,
     call_instance_create, check_late_device},
    {"instance_create, two devices wait for it", ALL, LATE_ERRORS, AS_BEFORE, setup_late_devices,
     call_instance_create, check_late_device},
    {"instance_create, a device waits and enters a domain", ALL, LATE_ERRORS, AS_BEFORE,
     setup_late_device_to_a, call_instance_create, check_late_device},
    {"instance_create, another one and a device wait for it", TABLES | REQUESTS | NONE,
     LATE_ERRORS | FAMILY, AS_BEFORE, setup_child_waits, call_instance_create, check_child},
    {"instance_create, it waits", ALL, 0, AS_BEFORE, core_setup_in_a, call_create_waiting, NULL},
    {"instance_create below a parent", TABLES | REQUESTS | ONE, FAMILY, AS_BEFORE, core_setup_in_a,
     call_create_child, NULL},
    {"instance_destroy", ALL, 0, AS_BEFORE, setup_late_unit, call_instance_destroy, NULL},
    {"instance_destroy of one that has failed", ALL, FAILED_FIRST, AS_BEFORE,
     setup_late_unit_failed, call_instance_destroy, NULL},
    {"suspend", ALL, 0, AS_BEFORE, core_setup_in_a, call_suspend, NULL},
    {"suspend, once more", ALL, INFALLIBLE, AS_BEFORE, setup_suspended, call_suspend, NULL},
    {"resume", ALL, ALL_FATAL, AS_BEFORE, setup_suspended, call_resume, NULL},
    {"resume after changes", ALL, ALL_FATAL, AS_BEFORE, setup_suspended_and_changed, call_resume,
     NULL},
    {"resume of one that runs", ALL, INFALLIBLE, AS_BEFORE, core_setup_in_a, call_resume, NULL},

    /* Faults. */
    {"service", ALL, 0, AS_BEFORE, setup_fault_to_note, call_service, NULL},
    {"service that blocks", ALL | RELATED, ANY_RESULT, ITS_OWN, setup_fault_to_block, call_service,
     check_fault_block},
    {"service that blocks all in a domain", ALL | RELATED, ANY_RESULT | BLOCKS_THIRD, ITS_OWN,
     setup_fault_of_domain, call_service, check_fault_of_domain},
    {"interrupt that blocks all in a domain", ALL | RELATED, ANY_RESULT | BLOCKS_NOW | BLOCKS_THIRD,
     ITS_OWN, setup_fault_of_domain, call_interrupt, check_fault_of_domain},
    {"interrupt", ALL, ANY_RESULT, ITS_OWN, setup_fault_to_block, call_interrupt,
     check_fault_block},
    {"interrupt that blocks at once", ALL, ANY_RESULT | BLOCKS_NOW, ITS_OWN, setup_fault_to_block,
     call_interrupt, check_fault_block},

    /* Devices. */
    {"device_add", ALL | RELATED, 0, AS_BEFORE, core_setup_domains, call_add, NULL},
    {"device_add with regions", ALL, 0, AS_BEFORE, setup_domains_and_region, call_add_with_regions,
     NULL},
    {"device_add, it waits", ALL, 0, AS_BEFORE, core_setup_domains, call_add_waiting, NULL},
    {"device_add, it enters a domain", ALL, SWITCHES | MAY_STAY, AS_BEFORE, setup_choice, call_add,
     NULL},
    {"device_add connects groups", ALL, 0, AS_BEFORE, setup_two_groups, call_add_between, NULL},
    {"device_remove", ALL, INFALLIBLE | MAY_FREE, AS_BEFORE, setup_to_remove, call_remove, NULL},
    {"device_remove from a group", ALL, INFALLIBLE | MAY_FREE, AS_BEFORE, setup_group_of_three,
     call_remove, NULL},
    {"device_remove from a group that is attached", ALL | RELATED, 0, AS_BEFORE, setup_group_in_a,
     call_remove, NULL},

    {"device_remove, it is in doubt", ALL, FAILED_FIRST, AS_BEFORE, setup_to_remove_in_doubt,
     call_remove, NULL},

    /* Attaching. */
    {"attach", ALL | RELATED, MOVES, AS_BEFORE, core_setup_blocked, call_attach_a, NULL},
    {"attach to another domain", ALL | RELATED, MOVES | MAY_BLOCK | SWITCHES, AS_BEFORE,
     core_setup_in_a, call_attach_b, NULL},
    {"attach of a group", ALL | RELATED, MOVES | MAY_BLOCK | SWITCHES, AS_BEFORE,
     setup_keyed_group_in_a, call_attach_b, NULL},
    {"attach of devices that share IDs", ALL, MOVES | MAY_BLOCK | SWITCHES, AS_BEFORE,
     setup_group_in_a, call_attach_b, NULL},
    {"attach, the last one leaves", ALL, MOVES | MAY_BLOCK | SWITCHES, AS_BEFORE,
     setup_a_without_others, call_attach_a, NULL},
    {"attach to a domain of fewer units", TABLES | REQUESTS | TWO, MOVES | MAY_BLOCK | SWITCHES,
     AS_BEFORE, setup_narrow_domain, call_attach_c, NULL},
    {"attach to an identity domain", ALL, MOVES | MAY_BLOCK | SWITCHES, AS_BEFORE, setup_identity,
     call_attach_c, NULL},
    {"attach out of an identity domain", ALL, MOVES | MAY_BLOCK | SWITCHES, AS_BEFORE,
     setup_in_identity, call_attach_a, NULL},
    {"attach to a blocked domain", ALL, MOVES | MAY_BLOCK, AS_BEFORE, setup_blocked_domain,
     call_attach_c, NULL},
    {"attach to a shared domain", TABLES | ONE | TWO, MOVES | MAY_BLOCK | SWITCHES, AS_BEFORE,
     setup_shared, call_attach_c, NULL},
    {"attach out of a shared domain", TABLES | ONE | TWO, MOVES | MAY_BLOCK | SWITCHES, AS_BEFORE,
     setup_in_shared, call_attach_a, NULL},
    {"attach with a direct region", ALL, MOVES, ITS_OWN, setup_direct_region, call_attach_a,
     check_direct_region},
    {"attach with a direct region to another domain", ALL | RELATED, MOVES | MAY_BLOCK | SWITCHES,
     ITS_OWN, setup_direct_region_in_a, call_attach_b, check_direct_region},
    {"attach to a deferred domain", ALL, MOVES | MAY_BLOCK | SWITCHES, AS_BEFORE, setup_populated,
     call_attach_c, NULL},
    {"attach again after a fault", ALL, MOVES | MAY_BLOCK, AS_BEFORE, setup_blocked_by_fault,
     call_attach_a, NULL},
    {"attach to another domain after a fault", ALL, MOVES | MAY_BLOCK | SWITCHES, AS_BEFORE,
     setup_blocked_by_fault, call_attach_b, NULL},
    {"attach again after an interrupt", ALL, MOVES | MAY_BLOCK | BLOCK_WAITS, AS_BEFORE,
     setup_interrupted, call_attach_a, NULL},
    {"attach again after an interrupt that blocks", ALL, MOVES | MAY_BLOCK | BLOCKS_NOW, AS_BEFORE,
     setup_interrupted, call_attach_a, NULL},
    {"attach to another domain after an interrupt", ALL, MOVES | MAY_BLOCK | SWITCHES | BLOCK_WAITS,
     AS_BEFORE, setup_interrupted, call_attach_b, NULL},
    {"attach to another domain after an interrupt that blocks", ALL,
     MOVES | MAY_BLOCK | SWITCHES | BLOCKS_NOW, AS_BEFORE, setup_interrupted, call_attach_b, NULL},
    {"service after an interrupt", ALL, ANY_RESULT, ITS_OWN, setup_interrupted, call_service,
     check_fault_block},
    {"service after an interrupt that blocks", ALL, ANY_RESULT | BLOCKS_NOW, ITS_OWN,
     setup_interrupted, call_service, check_fault_block},
    {"detach after an interrupt", ALL, MOVES | STOPS, AS_BEFORE, setup_interrupted, call_detach,
     NULL},
    {"detach after an interrupt that blocks", ALL, MOVES | STOPS | BLOCKS_NOW, AS_BEFORE,
     setup_interrupted, call_detach, NULL},
    {"attach while a unit is suspended", ALL, MOVES | MAY_BLOCK | SWITCHES, AS_BEFORE,
     setup_suspended, call_attach_b, NULL},
    {"device_attach", ALL, MOVES | MAY_BLOCK | SWITCHES, AS_BEFORE, core_setup_in_a,
     call_device_attach_b, NULL},
    {"detach", ALL | RELATED, MOVES | STOPS, AS_BEFORE, core_setup_in_a, call_detach, NULL},
    {"detach of a group", ALL, MOVES | STOPS, AS_BEFORE, setup_keyed_group_in_a, call_detach, NULL},
    {"detach with a direct region", ALL, MOVES | STOPS, ITS_OWN, setup_direct_region_in_a,
     call_detach, check_direct_region},
    {"detach while a unit is suspended", ALL, MOVES | STOPS, AS_BEFORE, setup_suspended,
     call_detach, NULL},
    {"device_detach", ALL, MOVES | STOPS, AS_BEFORE, core_setup_in_a, call_device_detach, NULL},
};

int main(int argc, char **argv)
{
    return core_explore(scenarios, COUNT(scenarios), argc, argv);
}
