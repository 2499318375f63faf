/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Domains and mappings: everything that can fail in each call, as core_scenarios.h says. The
 * scenarios are in the table at the end.
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
#define HOLE     PIOMMU_ALLOW_HOLE
#define WINDOW   0x8000000ull
#define DOORBELL 0xb00000040ull

static void setup_suspended(struct failing_world *world)
{
    core_setup_in_a(world);
    assert_int_equal(piommu_instance_suspend(world->instances[0]), 0);
}

static void setup_in_shared(struct failing_world *world)
{
    core_setup_in_a(world);
    assert_int_equal(core_create_shared(world, &world->domains[C]), 0);
    world_attach(world, DMA, C);
}

/* There is a record of a fault. */
static void setup_fault_noted(struct failing_world *world)
{
    static const struct piommu_backend_fault fault = {.id = WORLD_FIRST_ID};

    core_setup_in_a(world);
    mock_raise_fault(world->mocks[0], &fault);
    assert_int_equal(piommu_instance_service(world->instances[0], 1), 1);
}

/* ---- Doorbells ---- */

static void setup_msi_window(struct failing_world *world)
{
    static const struct piommu_domain_config more = {.msi_window = {WINDOW, WINDOW + 2 * PAGE - 1},
                                                     .name = "window"};

    core_setup_in_a(world);
    assert_int_equal(world_try_domain(world, PIOMMU_DOMAIN_PAGING, core_all_units(world), &more,
                                      &world->domains[C]),
                     0);
    world_attach(world, DMA, C);
}

static int call_map_msi(struct failing_world *world)
{
    uint64_t iova = WORLD_NOTHING;
    int error = piommu_device_map_msi(world->devices[DMA], DOORBELL, &iova);

    if (error != 0 ? iova != WORLD_NOTHING
                   : (iova < WINDOW || iova >= WINDOW + 2 * PAGE || iova % PAGE != 0x40)) {
        world_broken(world, "the doorbell is at %#" PRIx64 ", with error %d", iova, error);
    }
    return error;
}

static void setup_doorbell(struct failing_world *world)
{
    setup_msi_window(world);
    assert_int_equal(call_map_msi(world), 0);
}

/* ---- Domains ---- */

static int create(struct failing_world *world, enum piommu_domain_type type,
                  const struct piommu_domain_config *more)
{
    struct piommu_domain *domain = UNTOUCHED;
    int error = world_try_domain(world, type, core_all_units(world), more, &domain);

    world->domains[C] = core_keep(world, error, domain);
    return error;
}

static int call_create_blocked(struct failing_world *world)
{
    return create(world, PIOMMU_DOMAIN_BLOCKED, NULL);
}

static int call_create_identity(struct failing_world *world)
{
    return create(world, PIOMMU_DOMAIN_IDENTITY, NULL);
}

static int call_create_paging(struct failing_world *world)
{
    return create(world, PIOMMU_DOMAIN_PAGING, NULL);
}

static int call_create_disjoint(struct failing_world *world)
{
    static const struct piommu_domain_config more = {.disjoint = true, .name = "disjoint"};

    return create(world, PIOMMU_DOMAIN_PAGING, &more);
}

static int call_create_dma(struct failing_world *world)
{
    return create(world, PIOMMU_DOMAIN_DMA, NULL);
}

static int call_create_deferred(struct failing_world *world)
{
    return create(world, PIOMMU_DOMAIN_DEFERRED, NULL);
}

static int call_create_shared(struct failing_world *world)
{
    struct piommu_domain *domain = UNTOUCHED;
    int error = core_create_shared(world, &domain);

    world->domains[C] = core_keep(world, error, domain);
    return error;
}

static void setup_full_domain(struct failing_world *world)
{
    core_setup_in_a(world);
    world_domain(world, C, PIOMMU_DOMAIN_PAGING, core_all_units(world));
    world_map(world, C, IOVA, 0x920000000, 3 * PAGE, RW);
    world_map(world, C, NEW, MEMORY, BLOCK, RW);
}

static int call_destroy(struct failing_world *world)
{
    int error = piommu_domain_destroy(world->domains[C]);

    if (error == 0) {
        world->domains[C] = NULL;
    }
    return error;
}

/* What was unmapped and is not synced goes, too. */
static void unmap_without_sync(struct failing_world *world)
{
    world_map(world, C, NEW, MEMORY, 3 * PAGE, RW);
    assert_int_equal(
        piommu_domain_unmap(world->domains[C], NEW, 3 * PAGE, &world->gathers[C], NULL), 0);
}

static void setup_pending(struct failing_world *world)
{
    core_setup_in_a(world);
    world_domain(world, C, PIOMMU_DOMAIN_PAGING, core_all_units(world));
    unmap_without_sync(world);
}

static void setup_pending_in_disjoint(struct failing_world *world)
{
    core_setup_in_a(world);
    assert_int_equal(call_create_disjoint(world), 0);
    unmap_without_sync(world);
}

static int call_destroy_pending(struct failing_world *world)
{
    int error = call_destroy(world);

    piommu_gather_init(&world->gathers[C]);
    return error;
}

static int call_destroy_some(struct failing_world *world)
{
    int error;

    do {
        error = piommu_domain_destroy_some(world->domains[C], 1);
    } while (error == -PIOMMU_EAGAIN);
    if (error == 0) {
        world->domains[C] = NULL;
    }
    return error;
}

/*
 * An attach to C has entered it, said nothing, and the unit would not stop: the hardware may still
 * use C, although no group is in it.
 */
static void setup_doubtful_domain(struct failing_world *world)
{
    setup_full_domain(world);
    mock_set_failed_attach(world->mocks[0], MOCK_FAILED_ATTACH_ENTERS);
    mock_fail_attaches(world->mocks[0], 1, -PIOMMU_ETIMEDOUT);
    mock_refuse_stop(world->mocks[0], true);
    assert_int_equal(piommu_group_attach(core_group(world, DMA), world->domains[C]),
                     -PIOMMU_EFAILED);
    mock_refuse_stop(world->mocks[0], false);
}

/* ---- Mapping ---- */

static int call_map(struct failing_world *world)
{
    return piommu_domain_map(world->domains[A], NEW, MEMORY, PAGE, RW);
}

/* A block, and pages that need a table. */
static int call_map_large(struct failing_world *world)
{
    return piommu_domain_map(world->domains[A], NEW, MEMORY, BLOCK + 3 * PAGE, RW);
}

static int call_map_list(struct failing_world *world)
{
    static const struct piommu_segment segments[] = {
        {MEMORY, PAGE}, {MEMORY + 0x100000, 2 * PAGE}, {MEMORY + 0x200000, BLOCK}};

    return piommu_domain_map_list(world->domains[A], NEW, segments, COUNT(segments), RW);
}

/* The first page is there already. */
static int call_map_again(struct failing_world *world)
{
    return piommu_domain_map_again(world->domains[A], IOVA, 0x900000000, 3 * PAGE, RW);
}

static int call_map_some(struct failing_world *world)
{
    const uint64_t size = BLOCK + 3 * PAGE;

    while (world->number < size) {
        uint64_t mapped = WORLD_NOTHING;
        int error =
            piommu_domain_map_some(world->domains[A], NEW + world->number, MEMORY + world->number,
                                   size - world->number, RW, 1, &mapped);

        if (error != 0 && error != -PIOMMU_EAGAIN) {
            assert_int_equal(mapped, 0);
            return error;
        }
        assert_true(mapped != 0 && mapped <= size - world->number);
        assert_true((error == 0) == (mapped == size - world->number));
        world->number += mapped;
    }
    return 0;
}

static void setup_unmapped(struct failing_world *world)
{
    struct piommu_gather *gather = &world->gathers[A];

    core_setup_in_a(world);
    assert_int_equal(piommu_domain_unmap(world->domains[A], IOVA, PAGE, gather, NULL), 0);
    assert_int_equal(piommu_domain_unmap(world->domains[A], LARGE, BLOCK, gather, NULL), 0);
}

static int call_sync(struct failing_world *world)
{
    return piommu_domain_sync(world->domains[A], &world->gathers[A]);
}

/* One unit has failed, in a sync, and was not stopped; the gather is pending. */
static void setup_failed_sync(struct failing_world *world)
{
    setup_unmapped(world);
    mock_refuse_stop(world->mocks[0], true);
    mock_fail_call(world->mocks[0], 1, -PIOMMU_EIO, false);
    assert_int_equal(call_sync(world), -PIOMMU_EFAILED);
    mock_fail_call(world->mocks[0], 0, 0, false);
    mock_refuse_stop(world->mocks[0], false);
}

/* When the groups are out of the failed unit, the same sync succeeds. */
static int call_detach_and_sync(struct failing_world *world)
{
    int error = piommu_group_detach(core_group(world, DMA));

    if (error == 0) {
        error = piommu_group_detach(core_group(world, OTHER));
    }
    return error != 0 ? error : call_sync(world);
}

static int call_unmap(struct failing_world *world)
{
    uint64_t unmapped = 0;
    int error =
        piommu_domain_unmap(world->domains[A], 0, LARGE + BLOCK, &world->gathers[A], &unmapped);

    assert_int_equal(unmapped, 2 * PAGE + BLOCK);
    return error;
}

/* A failed unit does not keep anybody from it. */
static int call_unmap_rest(struct failing_world *world)
{
    uint64_t unmapped = 0;
    int error = piommu_domain_unmap(world->domains[A], ONLY_A, PAGE, &world->gathers[A], &unmapped);

    assert_int_equal(unmapped, PAGE);
    return error;
}

static int call_unmap_leaves(struct failing_world *world)
{
    struct piommu_range removed;

    return piommu_domain_unmap_leaves(world->domains[A], LARGE + 5, LARGE + 5, &world->gathers[A],
                                      &removed, NULL);
}

static int call_unmap_some(struct failing_world *world)
{
    int error = -PIOMMU_EAGAIN;

    for (uint64_t at = 0; error == -PIOMMU_EAGAIN;) {
        uint64_t done;

        error = piommu_domain_unmap_some(world->domains[A], at, LARGE + BLOCK - at, 1,
                                         &world->gathers[A], &done, NULL);
        at += done;
    }
    return error;
}

/* All that only looks. */
static int call_look(struct failing_world *world)
{
    struct piommu_requirements requirements;
    struct piommu_translation leaf;
    struct piommu_fault fault;
    struct piommu_use use;
    uint64_t found;

    assert_int_equal(
        piommu_requirements_get(world->instances, world->options.units, &requirements, NULL), 0);
    for (unsigned int i = 0; i < PIOMMU_LIMITS; i++) {
        assert_non_null(piommu_limit_name((enum piommu_limit)i));
    }
    assert_int_equal(piommu_domain_lookup(world->domains[A], LARGE + 5 * PAGE, &leaf), 0);
    assert_int_equal(piommu_domain_next(world->domains[A], 0, UINT64_MAX, &found, &leaf), 0);
    assert_int_equal(piommu_domain_dump(world->domains[A], 0, UINT64_MAX, core_take_line, NULL), 0);
    assert_int_equal(piommu_context_find_use(world->context, LARGE_TO, LARGE_TO, &use), 0);
    assert_ptr_equal(use.domain, world->domains[A]);
    piommu_context_dump(world->context, core_take_line, NULL);
    return piommu_instance_take_fault(world->instances[0], &fault);
}

/* Deferred domains: what is mapped above, before there are tables. */
static void setup_deferred(struct failing_world *world)
{
    core_setup_in_a(world);
    assert_int_equal(call_create_deferred(world), 0);
    world_map(world, C, IOVA, 0x920000000, 3 * PAGE, RW);
    world_map(world, C, ONLY_B, 0x921000000, PAGE, R);
    world_map(world, C, NEW, MEMORY, BLOCK, RW);
}

static int call_populate(struct failing_world *world)
{
    int error;

    do {
        error = piommu_domain_populate(world->domains[C], 1);
    } while (error == -PIOMMU_EAGAIN);
    return error;
}

static int next_frames(void *cookie, uint64_t from, struct piommu_frames *frames)
{
    static const struct piommu_frames all[] = {{IOVA, 0x920000000, 3 * PAGE, RW},
                                               {ONLY_B, 0x921000000, PAGE, R},
                                               {NEW, MEMORY, BLOCK, RW}};
    struct failing_world *world = cookie;
    int error = failing_calls_callback(world->calls);

    for (size_t i = 0; error == 0 && i < COUNT(all); i++) {
        if (from <= all[i].iova + (all[i].size - 1)) {
            *frames = all[i];
            return 0;
        }
    }
    return error != 0 ? error : -PIOMMU_ENOENT;
}

static void setup_deferred_by_callback(struct failing_world *world)
{
    const struct piommu_domain_config more = {
        .next_frames = next_frames, .frames_cookie = world, .name = "deferred"};

    core_setup_in_a(world);
    assert_int_equal(create(world, PIOMMU_DOMAIN_DEFERRED, &more), 0);
}

static int call_map_deferred(struct failing_world *world)
{
    return piommu_domain_map(world->domains[C], NEW + 2 * BLOCK, MEMORY + 2 * BLOCK, BLOCK, RW);
}

/* ---- Changes ---- */

/* Whether anything in the range is mapped in A. */
static bool is_mapped(struct failing_world *world, uint64_t first, uint64_t last)
{
    struct piommu_translation leaf;
    uint64_t found;

    return piommu_domain_next(world->domains[A], first, last, &found, &leaf) == 0;
}

/* What is not concerned is still there, unless a unit has failed. */
static void check_bystanders(struct failing_world *world)
{
    struct piommu_translation leaf;

    assert_int_equal(piommu_domain_lookup(world->domains[A], IOVA, &leaf), 0);
    assert_true(leaf.physical == 0x900000000 && leaf.prot == RW);
    assert_int_equal(piommu_domain_lookup(world->domains[A], ONLY_A, &leaf), 0);
    assert_true(leaf.physical == 0x901000000 && leaf.prot == R);
}

static int call_cut(struct failing_world *world)
{
    uint64_t unmapped;

    return piommu_domain_unmap_cut(world->domains[A], LARGE + PAGE, PAGE, HOLE, &unmapped);
}

static void check_cut(struct failing_world *world, int error)
{
    check_bystanders(world);
    if (error == -PIOMMU_EIO || error == -PIOMMU_EFAILED) {
        assert_false(is_mapped(world, LARGE, LARGE + BLOCK - 1));
    }
}

static int call_cut_exactly(struct failing_world *world)
{
    return piommu_domain_unmap_cut(world->domains[A], LARGE, BLOCK, 0, NULL);
}

static int call_protect(struct failing_world *world)
{
    return piommu_domain_protect(world->domains[A], LARGE, BLOCK, R, HOLE, NULL);
}

static void check_protect(struct failing_world *world, int error)
{
    struct piommu_translation leaf;

    check_bystanders(world);
    if (!is_mapped(world, LARGE, LARGE + BLOCK - 1)) {
        assert_true(error == -PIOMMU_EIO || error == -PIOMMU_EFAILED);
        return;
    }
    assert_int_not_equal(error, -PIOMMU_EIO);
    for (uint64_t at = LARGE; at < LARGE + BLOCK; at += BLOCK / 8) {
        assert_int_equal(piommu_domain_lookup(world->domains[A], at, &leaf), 0);
        assert_true(leaf.physical == LARGE_TO + (at - LARGE));
        assert_true(leaf.prot == R || (error != 0 && leaf.prot == RW));
    }
}

static void setup_pages(struct failing_world *world)
{
    core_setup_in_a(world);
    for (uint64_t i = 0; i < 3; i++) {
        world_map(world, A, NEW + i * PAGE, MEMORY + 2 * i * PAGE, PAGE, RW);
    }
}

/* One page in each step. */
static int call_protect_some(struct failing_world *world)
{
    int error = -PIOMMU_EAGAIN;

    while (error == -PIOMMU_EAGAIN) {
        uint64_t done = WORLD_NOTHING;

        error = piommu_domain_protect_some(world->domains[A], NEW + world->number,
                                           4 * PAGE - world->number, R, HOLE, 1, &done, NULL);
        if (error == 0 || error == -PIOMMU_EAGAIN) {
            assert_in_range(done, PAGE, 4 * PAGE - world->number);
            world->number += done;
        } else {
            assert_int_equal(done, 0);
        }
    }
    return error;
}

/* What is behind has the new permissions, what is before the old ones; between them it failed. */
static void check_protect_some(struct failing_world *world, int error)
{
    check_bystanders(world);
    for (uint64_t at = 0; at < 3 * PAGE; at += PAGE) {
        struct piommu_translation leaf;

        if (piommu_domain_lookup(world->domains[A], NEW + at, &leaf) != 0) {
            assert_true(at == world->number && error != 0);
            continue;
        }
        assert_true(leaf.physical == MEMORY + 2 * at);
        assert_true(leaf.prot == (at < world->number ? R : RW) ||
                    (at == world->number && error == -PIOMMU_EFAILED && leaf.prot == R));
    }
}

/* Cuts the block, too. */
static int call_replace(struct failing_world *world)
{
    return piommu_domain_replace(world->domains[A], LARGE + PAGE, MEMORY, 2 * PAGE, R, HOLE, NULL);
}

static void check_replace(struct failing_world *world, int error)
{
    check_bystanders(world);
    if (error == -PIOMMU_EIO || error == -PIOMMU_EFAILED) {
        assert_false(is_mapped(world, LARGE + PAGE, LARGE + 3 * PAGE - 1));
    }
}

static int call_replace_all(struct failing_world *world)
{
    return piommu_domain_replace(world->domains[A], LARGE, MEMORY, BLOCK, R, HOLE, NULL);
}

static void check_replace_all(struct failing_world *world, int error)
{
    check_bystanders(world);
    if (error == -PIOMMU_EIO || error == -PIOMMU_EFAILED) {
        assert_false(is_mapped(world, LARGE, LARGE + BLOCK - 1));
    }
}

static int call_invalidate(struct failing_world *world)
{
    return piommu_domain_invalidate(world->domains[A], 0, UINT64_MAX);
}

static int call_invalidate_shared(struct failing_world *world)
{
    return piommu_domain_invalidate(world->domains[C], 0, UINT64_MAX);
}

/* ---- The scenarios ---- */

static const struct core_scenario scenarios[] = {
    /* Domains. */
    {"domain_create, blocked", ALL, 0, AS_BEFORE, core_setup_in_a, call_create_blocked, NULL},
    {"domain_create, identity", ALL, 0, AS_BEFORE, core_setup_in_a, call_create_identity, NULL},
    {"domain_create, paging", ALL | RELATED, 0, AS_BEFORE, core_setup_in_a, call_create_paging,
     NULL},
    {"domain_create, disjoint", TABLES | ONE | TWO, 0, AS_BEFORE, core_setup_in_a,
     call_create_disjoint, NULL},
    {"domain_create, DMA", ALL, 0, AS_BEFORE, core_setup_in_a, call_create_dma, NULL},
    {"domain_create, deferred", ALL, 0, AS_BEFORE, core_setup_in_a, call_create_deferred, NULL},
    {"domain_create, shared", TABLES | ONE | TWO | RELATED, 0, AS_BEFORE, core_setup_in_a,
     call_create_shared, NULL},
    {"domain_destroy", ALL, INFALLIBLE | MAY_FREE, AS_BEFORE, setup_full_domain, call_destroy,
     NULL},
    {"domain_destroy with a gather", ALL, INFALLIBLE | MAY_FREE, AS_BEFORE, setup_pending,
     call_destroy_pending, NULL},
    {"domain_destroy with a gather, disjoint", TABLES | ONE | TWO, INFALLIBLE | MAY_FREE, AS_BEFORE,
     setup_pending_in_disjoint, call_destroy_pending, NULL},
    {"domain_destroy_some", ALL, INFALLIBLE | MAY_FREE, AS_BEFORE, setup_full_domain,
     call_destroy_some, NULL},
    {"domain_destroy, hardware may use it", ALL, FAILED_FIRST, AS_BEFORE, setup_doubtful_domain,
     call_destroy, NULL},

    /* Mapping. */
    {"map", ALL | RELATED, 0, AS_BEFORE, core_setup_in_a, call_map, NULL},
    {"map, nobody is there", ALL, 0, AS_BEFORE, core_setup_blocked, call_map, NULL},
    {"map of blocks and pages", ALL | RELATED, 0, AS_BEFORE, core_setup_in_a, call_map_large, NULL},
    {"map while a unit is suspended", ALL, 0, AS_BEFORE, setup_suspended, call_map_large, NULL},
    {"map_list", ALL, 0, AS_BEFORE, core_setup_in_a, call_map_list, NULL},
    {"map_again", ALL, 0, AS_BEFORE, core_setup_in_a, call_map_again, NULL},
    {"map_some", ALL, STEPS, ITS_OWN, core_setup_in_a, call_map_some, NULL},
    {"unmap", ALL, INFALLIBLE, AS_BEFORE, core_setup_in_a, call_unmap, NULL},
    {"unmap after a failure", ALL, INFALLIBLE | FAILED_FIRST, AS_BEFORE, setup_failed_sync,
     call_unmap_rest, NULL},
    {"unmap_leaves", ALL, INFALLIBLE, AS_BEFORE, core_setup_in_a, call_unmap_leaves, NULL},
    {"unmap_some", ALL, INFALLIBLE, AS_BEFORE, core_setup_in_a, call_unmap_some, NULL},
    {"sync", ALL | RELATED, 0, AS_AFTER, setup_unmapped, call_sync, NULL},
    {"detach and sync after a failure", ALL | RELATED, FAILED_FIRST | MOVES | STOPS, ITS_OWN,
     setup_failed_sync, call_detach_and_sync, NULL},
    {"unmap_cut", ALL | RELATED, IO_UNMAPS, ITS_OWN, core_setup_in_a, call_cut, check_cut},
    {"unmap_cut of whole leaves", ALL, IO_UNMAPS, ITS_OWN, core_setup_in_a, call_cut_exactly,
     check_cut},
    {"protect", ALL | RELATED, IO_UNMAPS, ITS_OWN, core_setup_in_a, call_protect, check_protect},
    {"protect_some", ALL | RELATED, STEPS | IO_UNMAPS, ITS_OWN, setup_pages, call_protect_some,
     check_protect_some},
    {"replace", ALL | RELATED, IO_UNMAPS, ITS_OWN, core_setup_in_a, call_replace, check_replace},
    {"replace of whole leaves", ALL, IO_UNMAPS, ITS_OWN, core_setup_in_a, call_replace_all,
     check_replace_all},
    {"invalidate", TABLES | ONE | TWO | RELATED, 0, AS_BEFORE, core_setup_in_a, call_invalidate,
     NULL},
    {"invalidate of a shared domain", TABLES | ONE | TWO | RELATED, 0, AS_BEFORE, setup_in_shared,
     call_invalidate_shared, NULL},
    {"map_msi", ALL | RELATED, 0, AS_BEFORE, setup_msi_window, call_map_msi, NULL},
    {"map_msi, once more", ALL, INFALLIBLE, AS_BEFORE, setup_doorbell, call_map_msi, NULL},
    {"populate", ALL | RELATED, STEPS, ITS_OWN, setup_deferred, call_populate, NULL},
    {"populate by a callback", ALL, STEPS, ITS_OWN, setup_deferred_by_callback, call_populate,
     NULL},
    {"map of a deferred domain", ALL, 0, AS_BEFORE, setup_deferred, call_map_deferred, NULL},
    {"looking", ALL, INFALLIBLE, AS_BEFORE, setup_fault_noted, call_look, NULL},
};

int main(int argc, char **argv)
{
    return core_explore(scenarios, COUNT(scenarios), argc, argv);
}
