/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Deferred domains. A paging domain that gets the same calls is the judge: whatever the order of
 * steps and calls, both lead to the same memory in the end. In one form the domain keeps a record
 * of the calls, in the other a hypervisor keeps one and is asked for it.
 */

#include "core_bench.h"

#include <piommu/piommu.h>

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define BASE      0x40000000ull
#define MEMORY    0x80000000ull
#define MEMORY_2  0xc0000000ull
#define STRIDE    0x1000000ull /* between the memories of calls */
#define TOP       (1ull << 39)
#define WINDOW    0x08000000ull
#define FIRST_ID  10u
#define HOLE      PIOMMU_ALLOW_HOLE
#define MAX_PAGES 1100u
#define PAGES     26u
#define ENOUGH    100000u /* a budget that one step does not use up */

/* A page as the hypervisor knows it. Neighbours of one piece are told as one. */
struct entry {
    bool mapped;
    uint64_t physical;
    piommu_prot prot;
    unsigned int piece;
};

struct world {
    struct core_bench *bench;
    struct piommu_domain *judge;
    struct piommu_domain *domain;
    bool record;
    bool disjoint; /* the deferred domain is; the judge never */
    unsigned int page_count;
    struct entry pages[MAX_PAGES];
    unsigned int pieces;
    bool populating;
    uint64_t last_from;
    unsigned int questions;
};

enum call {
    CALL_MAP,
    CALL_MAP_LIST,
    CALL_MAP_AGAIN,
    CALL_MAP_SOME,
    CALL_UNMAP,
    CALL_UNMAP_LEAVES,
    CALL_UNMAP_SOME,
    CALL_UNMAP_CUT,
    CALL_PROTECT,
    CALL_PROTECT_SOME,
    CALL_REPLACE,
    CALLS,
};

struct notice {
    enum call call;
    unsigned int first;
    unsigned int count;
    uint64_t physical;
    piommu_prot prot;
};

static uint64_t page(unsigned int number)
{
    return number * CORE_PAGE;
}

/* ---- The hypervisor's record ---- */

/* Are a page and the one below it told as one piece? */
static bool is_joined(const struct world *world, unsigned int number)
{
    const struct entry *entry = &world->pages[number];
    const struct entry *before = entry - 1;

    return number > 0 && number < world->page_count && entry->mapped && before->mapped &&
           entry->piece == before->piece && entry->prot == before->prot;
}

static int next_frames(void *cookie, uint64_t from, struct piommu_frames *frames)
{
    struct world *world = cookie;
    uint64_t number = from <= BASE ? 0 : (from - BASE) / CORE_PAGE;
    unsigned int first;
    unsigned int end;

    assert_true(world->populating);
    assert_true(from >= world->last_from);
    world->last_from = from;
    world->questions++;
    if (number >= world->page_count) {
        return -PIOMMU_ENOENT;
    }
    first = (unsigned int)number;
    while (first < world->page_count && !world->pages[first].mapped) {
        first++;
    }
    if (first == world->page_count) {
        return -PIOMMU_ENOENT;
    }
    end = first + 1;
    while (is_joined(world, end)) {
        end++;
    }
    while (is_joined(world, first)) {
        first--;
    }
    frames->iova = BASE + page(first);
    frames->physical = world->pages[first].physical;
    frames->size = page(end - first);
    frames->prot = world->pages[first].prot;
    return 0;
}

static bool is_same(const struct entry *entry, const struct notice *notice, unsigned int number)
{
    return entry->mapped && entry->prot == notice->prot &&
           entry->physical == notice->physical + page(number - notice->first);
}

/* What a call that the judge has taken does to the record. */
static void note(struct world *world, const struct notice *notice)
{
    unsigned int piece = ++world->pieces;

    for (unsigned int i = notice->first; i < notice->first + notice->count; i++) {
        struct entry *entry = &world->pages[i];

        switch (notice->call) {
        case CALL_UNMAP:
        case CALL_UNMAP_LEAVES:
        case CALL_UNMAP_SOME:
        case CALL_UNMAP_CUT:
            entry->mapped = false;
            break;
        case CALL_PROTECT:
        case CALL_PROTECT_SOME:
            entry->prot = notice->prot;
            break;
        default:
            if (!is_same(entry, notice, i)) {
                entry->mapped = true;
                entry->physical = notice->physical + page(i - notice->first);
                entry->prot = notice->prot;
                entry->piece = piece;
            }
            break;
        }
        if (notice->call == CALL_MAP_LIST && i >= notice->first + notice->count / 2) {
            entry->physical += STRIDE / 2;
            entry->piece = piece + 1;
        }
    }
    world->pieces++;
}

/* ---- Calls ---- */

static int map_some(struct piommu_domain *domain, const struct notice *notice)
{
    uint64_t size = page(notice->count);
    uint64_t done = 0;
    int error;

    do {
        uint64_t mapped = 0;

        error =
            piommu_domain_map_some(domain, BASE + page(notice->first) + done,
                                   notice->physical + done, size - done, notice->prot, 2, &mapped);
        done += mapped;
        assert_true(error != -PIOMMU_EAGAIN || (mapped != 0 && done < size));
    } while (error == -PIOMMU_EAGAIN);
    return error;
}

static int unmap_some(struct piommu_domain *domain, const struct notice *notice,
                      struct piommu_gather *gather, uint64_t *bytes)
{
    uint64_t size = page(notice->count);
    uint64_t done = 0;
    int error;

    *bytes = 0;
    do {
        uint64_t behind = 0;
        uint64_t unmapped = 0;

        error = piommu_domain_unmap_some(domain, BASE + page(notice->first) + done, size - done, 2,
                                         gather, &behind, &unmapped);
        done += behind;
        *bytes += unmapped;
        assert_true(error != -PIOMMU_EAGAIN || (behind != 0 && done < size));
    } while (error == -PIOMMU_EAGAIN);
    return error;
}

static int protect_some(struct piommu_domain *domain, const struct notice *notice, uint64_t *bytes)
{
    uint64_t size = page(notice->count);
    uint64_t done = 0;
    int error;

    *bytes = 0;
    do {
        uint64_t behind = 0;
        uint64_t changed = 0;

        error = piommu_domain_protect_some(domain, BASE + page(notice->first) + done, size - done,
                                           notice->prot, HOLE, 2, &behind, &changed);
        done += behind;
        *bytes += changed;
        assert_true(error != -PIOMMU_EAGAIN || (behind != 0 && done < size));
    } while (error == -PIOMMU_EAGAIN);
    return error;
}

static int make_call(struct piommu_domain *domain, const struct notice *notice, uint64_t *bytes)
{
    const uint64_t iova = BASE + page(notice->first);
    const uint64_t size = page(notice->count);
    const struct piommu_segment segments[] = {
        {notice->physical, page(notice->count / 2)},
        {notice->physical + page(notice->count / 2) + STRIDE / 2,
         page(notice->count - notice->count / 2)},
    };
    const size_t skipped = segments[0].size == 0 ? 1 : 0;
    struct piommu_gather gather;
    int error = -PIOMMU_EINVAL;

    *bytes = 0;
    piommu_gather_init(&gather);
    switch (notice->call) {
    case CALL_MAP:
        return piommu_domain_map(domain, iova, notice->physical, size, notice->prot);
    case CALL_MAP_LIST:
        return piommu_domain_map_list(domain, iova, segments + skipped, 2 - skipped, notice->prot);
    case CALL_MAP_AGAIN:
        return piommu_domain_map_again(domain, iova, notice->physical, size, notice->prot);
    case CALL_MAP_SOME:
        return map_some(domain, notice);
    case CALL_UNMAP:
        error = piommu_domain_unmap(domain, iova, size, &gather, bytes);
        break;
    case CALL_UNMAP_LEAVES:
        error = piommu_domain_unmap_leaves(domain, iova, iova + (size - 1), &gather, NULL, bytes);
        break;
    case CALL_UNMAP_SOME:
        error = unmap_some(domain, notice, &gather, bytes);
        break;
    case CALL_UNMAP_CUT:
        return piommu_domain_unmap_cut(domain, iova, size, HOLE, bytes);
    case CALL_PROTECT:
        return piommu_domain_protect(domain, iova, size, notice->prot, HOLE, bytes);
    case CALL_PROTECT_SOME:
        return protect_some(domain, notice, bytes);
    case CALL_REPLACE:
        return piommu_domain_replace(domain, iova, notice->physical, size, notice->prot, HOLE,
                                     bytes);
    case CALLS:
        break;
    }
    assert_int_equal(piommu_domain_sync(domain, &gather), 0);
    return error;
}

static bool is_removal(enum call call)
{
    return call == CALL_UNMAP || call == CALL_UNMAP_LEAVES || call == CALL_UNMAP_SOME ||
           call == CALL_UNMAP_CUT || call == CALL_PROTECT || call == CALL_PROTECT_SOME;
}

/* May a page and the one below it be one leaf or request, whatever the calls that made them? */
static bool is_run(const struct world *world, unsigned int number)
{
    const struct entry *entry = &world->pages[number];
    const struct entry *before = entry - 1;

    return number > 0 && number < world->page_count && entry->mapped && before->mapped &&
           entry->physical == before->physical + CORE_PAGE && entry->prot == before->prot;
}

/* Whether a call in portions, which may fail after the first of them, will work. */
static bool will_work(const struct world *world, const struct notice *notice)
{
    /* What a record holds counts as a request. Of leaves, what goes along differs. */
    if (notice->call == CALL_UNMAP_SOME || notice->call == CALL_PROTECT_SOME ||
        notice->call == CALL_UNMAP_LEAVES ||
        (world->record && (notice->call == CALL_UNMAP || notice->call == CALL_PROTECT))) {
        return !is_run(world, notice->first) && !is_run(world, notice->first + notice->count);
    }
    for (unsigned int i = 0; notice->call == CALL_MAP_SOME && i < notice->count; i++) {
        if (world->pages[notice->first + i].mapped) {
            return false;
        }
    }
    return true;
}

/* What the judge takes is told to the deferred domain, and has to work there. */
static bool tell(struct world *world, const struct notice *notice)
{
    uint64_t expected;
    uint64_t bytes;
    int error;

    if (!will_work(world, notice)) {
        return false;
    }
    error = make_call(world->judge, notice, &expected);
    if (error != 0 ||
        (expected == 0 && (notice->call == CALL_UNMAP_SOME || notice->call == CALL_PROTECT_SOME))) {
        return false;
    }
    note(world, notice);
    error = make_call(world->domain, notice, &bytes);
    if (world->record || core_info(world->domain).populated) {
        if (error != 0 || bytes != expected) {
            fail_msg("call %d of pages %u to %u: error %d, %" PRIu64 " bytes instead of %" PRIu64,
                     (int)notice->call, notice->first, notice->first + notice->count - 1, error,
                     bytes, expected);
        }
    } else {
        /* Below the point where the domain is nothing may be mapped. */
        assert_true(error == 0 || (error == -PIOMMU_ENOENT && is_removal(notice->call)));
        assert_true(bytes <= expected);
    }
    return true;
}

static int step(struct world *world, uint32_t budget)
{
    int error;

    world->populating = true;
    world->last_from = 0;
    error = piommu_domain_populate(world->domain, budget);
    world->populating = false;
    return error;
}

/* ---- Comparison ---- */

static void expect_page(struct piommu_domain *domain, const struct entry *entry, uint64_t iova)
{
    struct piommu_translation result = {0, 0, 0};
    int error = piommu_domain_lookup(domain, iova, &result);

    if (error != (entry->mapped ? 0 : -PIOMMU_ENOENT) ||
        (entry->mapped &&
         (result.physical != entry->physical || (result.prot & CORE_RW) != entry->prot))) {
        fail_msg("page %u: error %d, leads to %#" PRIx64, (unsigned int)((iova - BASE) / CORE_PAGE),
                 error, result.physical);
    }
}

static void expect_alike(const struct world *world)
{
    for (unsigned int i = 0; i < world->page_count; i++) {
        expect_page(world->judge, &world->pages[i], BASE + page(i));
        expect_page(world->domain, &world->pages[i], BASE + page(i));
    }
}

/* How many bytes the leaves, or requests, of a domain cover. */
static uint64_t bytes_found(struct piommu_domain *domain, unsigned int *leaves)
{
    struct piommu_translation result;
    uint64_t next = 0;
    uint64_t bytes = 0;
    uint64_t found;

    *leaves = 0;
    while (piommu_domain_next(domain, next, TOP - 1, &found, &result) == 0) {
        assert_true(found >= next);
        bytes += result.leaf_size;
        ++*leaves;
        next = found + result.leaf_size;
        if (next >= TOP) {
            break;
        }
    }
    return bytes;
}

static unsigned int leaves_found(struct piommu_domain *domain)
{
    unsigned int leaves;

    (void)bytes_found(domain, &leaves);
    return leaves;
}

static void expect_dma(struct world *world)
{
    struct core_bench *bench = world->bench;

    for (unsigned int i = 0; i < bench->device_count; i++) {
        assert_int_equal(core_attach(bench->devices[i], world->domain), 0);
    }
    for (unsigned int i = 0; i < bench->device_count; i++) {
        for (unsigned int j = 0; j < world->page_count; j++) {
            const struct entry *entry = &world->pages[j];

            core_expect_mapped(bench, FIRST_ID + i, BASE + page(j), entry->physical, CORE_PAGE,
                               entry->mapped ? entry->prot : 0);
        }
    }
    for (unsigned int i = 0; i < bench->device_count; i++) {
        core_detach(bench->devices[i]);
    }
}

/* Populates to the end, and compares all there is. */
static void finish(struct world *world, uint32_t budget)
{
    unsigned int leaves;
    unsigned int steps = 0;
    int error;

    do {
        error = step(world, budget);
        assert_true(++steps < 10000);
    } while (error == -PIOMMU_EAGAIN);
    assert_int_equal(error, 0);
    assert_true(core_info(world->domain).populated);
    expect_alike(world);
    assert_int_equal(bytes_found(world->domain, &leaves), bytes_found(world->judge, &leaves));
    if (world->record && !world->disjoint) {
        assert_int_equal(core_statistics(world->domain).mapped,
                         core_statistics(world->judge).mapped);
    }
    expect_dma(world);
}

/* ---- Worlds ---- */

static struct world *open_world(void **state, bool record)
{
    struct world *world = calloc(1, sizeof(*world));

    assert_non_null(world);
    world->bench = core_open(core_case_of(state), NULL);
    world->record = record;
    world->page_count = PAGES;
    for (unsigned int i = 0; i < world->bench->options.units; i++) {
        core_add_device(world->bench, i, FIRST_ID + i, NULL, 0, 0);
    }
    return world;
}

static struct piommu_domain *create(struct world *world, enum piommu_domain_type type)
{
    struct piommu_domain_config config = core_config(world->bench, type);
    struct piommu_domain *domain;

    if (type == PIOMMU_DOMAIN_DEFERRED) {
        config.disjoint = world->disjoint;
        config.next_frames = world->record ? NULL : next_frames;
        config.frames_cookie = world;
    }
    assert_int_equal(piommu_domain_create(&config, &domain), 0);
    return domain;
}

/* Both domains anew, with pieces and holes between them. */
static void begin(struct world *world, const struct notice *pieces, unsigned int count)
{
    memset(world->pages, 0, sizeof(world->pages));
    world->pieces = 0;
    world->judge = create(world, PIOMMU_DOMAIN_PAGING);
    world->domain = create(world, PIOMMU_DOMAIN_DEFERRED);
    for (unsigned int i = 0; i < count; i++) {
        assert_true(tell(world, &pieces[i]));
    }
}

static void end(struct world *world)
{
    assert_int_equal(piommu_domain_destroy(world->judge), 0);
    assert_int_equal(piommu_domain_destroy(world->domain), 0);
}

static void close_world(struct world *world)
{
    core_close(world->bench);
    free(world);
}

static const struct notice layout[] = {
    {CALL_MAP, 1, 3, MEMORY, CORE_RW},
    {CALL_MAP, 4, 2, MEMORY + 1 * STRIDE, CORE_R},
    {CALL_MAP, 8, 4, MEMORY + 2 * STRIDE, CORE_RW},
    {CALL_MAP, 12, 1, MEMORY + 3 * STRIDE, CORE_RW},
    {CALL_MAP, 16, 4, MEMORY + 4 * STRIDE, CORE_R},
    {CALL_MAP, 20, 4, MEMORY + 5 * STRIDE, CORE_RW},
};

#define LAYOUT (sizeof(layout) / sizeof(layout[0]))
#define LEAVES 18u /* pages in it */

/* ---- What it costs ---- */

static void test_nothing_is_spent_before_it_is_needed(void **state)
{
    for (unsigned int record = 0; record < 2; record++) {
        struct world *world = open_world(state, record != 0);
        struct fake_os_counters before;
        struct fake_os_counters after;
        unsigned int contexts = core_calls(world->bench, CORE_DOMAIN_CREATE);
        uint64_t bytes;

        fake_os_get_counters(world->bench->os, &before);
        world->domain = create(world, PIOMMU_DOMAIN_DEFERRED);
        for (size_t i = 0; i < LAYOUT; i++) {
            assert_int_equal(make_call(world->domain, &layout[i], &bytes), 0);
        }
        assert_int_equal(make_call(world->domain,
                                   &(struct notice){.call = CALL_UNMAP, .first = 1, .count = 3},
                                   &bytes),
                         0);
        fake_os_get_counters(world->bench->os, &after);
        assert_int_equal(after.dma_allocations, before.dma_allocations);
        assert_int_equal(core_calls(world->bench, CORE_DOMAIN_CREATE), contexts);
        assert_int_equal(core_calls(world->bench, CORE_MAP), 0);
        assert_false(core_info(world->domain).populated);
        /* Requests that are in a record need not be put there. */
        assert_int_equal(step(world, 1),
                         world->record && core_has_tables(world->bench) ? -PIOMMU_EAGAIN : 0);
        fake_os_get_counters(world->bench->os, &after);
        assert_int_equal(core_calls(world->bench, CORE_DOMAIN_CREATE),
                         contexts + world->bench->options.units);
        assert_true(after.dma_allocations > before.dma_allocations ||
                    !core_has_tables(world->bench));
        assert_int_equal(piommu_domain_destroy(world->domain), 0);
        close_world(world);
    }
}

static void test_it_tells_what_it_will_be_able_to_do(void **state)
{
    struct world *world = open_world(state, true);
    struct piommu_domain_info deferred;
    struct piommu_domain_info paging;

    begin(world, NULL, 0);
    deferred = core_info(world->domain);
    paging = core_info(world->judge);
    assert_int_equal(deferred.type, PIOMMU_DOMAIN_DEFERRED);
    assert_int_equal(deferred.aperture.first, paging.aperture.first);
    assert_int_equal(deferred.aperture.last, paging.aperture.last);
    assert_int_equal(deferred.granule, paging.granule);
    assert_int_equal(deferred.prot, paging.prot);
    assert_false(deferred.populated);
    end(world);
    close_world(world);
}

static void test_no_context_is_needed_until_it_is_populated(void **state)
{
    struct world *world = open_world(state, false);
    struct core_unit *last = &world->bench->units[world->bench->options.units - 1];

    begin(world, layout, LAYOUT);
    core_fail(last, CORE_DOMAIN_CREATE, 1, -PIOMMU_ENOSPC, true);
    assert_int_equal(step(world, ENOUGH), -PIOMMU_ENOSPC);
    assert_int_equal(step(world, ENOUGH), -PIOMMU_ENOSPC);
    assert_false(core_info(world->domain).populated);
    assert_int_equal(core_attach(world->bench->devices[0], world->domain), -PIOMMU_EAGAIN);
    core_fail_nothing(last);
    finish(world, 3);
    end(world);
    close_world(world);
}

/* ---- Steps ---- */

static void test_every_budget_leads_to_the_same_domain(void **state)
{
    for (unsigned int record = 0; record < 2; record++) {
        struct world *world = open_world(state, record != 0);

        for (uint32_t budget = 0; budget <= LEAVES + 2; budget++) {
            begin(world, layout, LAYOUT);
            finish(world, budget);
            end(world);
        }
        begin(world, layout, LAYOUT);
        finish(world, UINT32_MAX);
        end(world);
        close_world(world);
    }
}

static void test_a_step_stores_no_more_than_its_budget(void **state)
{
    struct world *world = open_world(state, false);
    unsigned int all = core_has_tables(world->bench) ? LEAVES : (unsigned int)LAYOUT;

    for (uint32_t budget = 0; budget <= LEAVES; budget++) {
        unsigned int stored = 0;
        int error;

        begin(world, layout, LAYOUT);
        assert_int_equal(leaves_found(world->domain), 0);
        do {
            unsigned int now;

            error = step(world, budget);
            now = leaves_found(world->domain);
            assert_true(now - stored <= (budget == 0 ? 1 : budget));
            /* Each step gets on. */
            assert_true(error == 0 || now > stored);
            stored = now;
        } while (error == -PIOMMU_EAGAIN);
        assert_int_equal(error, 0);
        assert_int_equal(stored, all);
        end(world);
    }
    close_world(world);
}

/* Of a record nobody can see what is in tables already; but each leaf takes its share of a step. */
static void test_a_record_takes_a_step_for_each_leaf(void **state)
{
    static const struct notice large[] = {
        {CALL_MAP, 3, 2, MEMORY_2, CORE_RW},
        {CALL_MAP, 510, 516, MEMORY + 510 * CORE_PAGE, CORE_RW},
        {CALL_MAP, 1030, 2, MEMORY_2 + 2 * STRIDE, CORE_R},
    };
    struct world *world = open_world(state, true);

    world->page_count = MAX_PAGES;
    for (uint32_t budget = 1; budget < 12; budget++) {
        unsigned int steps = 0;
        unsigned int leaves;
        int error;

        begin(world, large, 3);
        leaves = leaves_found(world->judge);
        assert_int_equal(leaves, core_has_tables(world->bench) ? 9 : 3);
        do {
            error = step(world, budget);
            steps++;
        } while (error == -PIOMMU_EAGAIN);
        assert_int_equal(error, 0);
        if (core_has_tables(world->bench)) {
            assert_true(steps >= (leaves + budget - 1) / budget);
        }
        assert_true(steps <= leaves + 2);
        expect_alike(world);
        assert_int_equal(leaves_found(world->domain), leaves);
        end(world);
    }
    close_world(world);
}

static void test_groups_wait_until_the_domain_is_populated(void **state)
{
    for (unsigned int record = 0; record < 2; record++) {
        struct world *world = open_world(state, record != 0);
        struct piommu_device_info info;
        int error;

        begin(world, layout, LAYOUT);
        do {
            assert_int_equal(core_attach(world->bench->devices[0], world->domain), -PIOMMU_EAGAIN);
            piommu_device_get_info(world->bench->devices[0], &info);
            assert_null(info.domain);
            assert_false(core_info(world->domain).populated);
            error = step(world, 4);
        } while (error == -PIOMMU_EAGAIN);
        assert_int_equal(error, 0);
        expect_dma(world);
        end(world);
        /* Where nothing is mapped it has to be said as well. */
        begin(world, NULL, 0);
        assert_int_equal(core_attach(world->bench->devices[0], world->domain), -PIOMMU_EAGAIN);
        finish(world, 1);
        end(world);
        close_world(world);
    }
}

static void test_a_group_that_has_to_wait_stays_where_it_is(void **state)
{
    struct world *world = open_world(state, true);
    struct piommu_device *device = world->bench->devices[0];
    struct piommu_device_info info;

    begin(world, layout, LAYOUT);
    assert_int_equal(core_attach(device, world->judge), 0);
    assert_int_equal(core_attach(device, world->domain), -PIOMMU_EAGAIN);
    piommu_device_get_info(device, &info);
    assert_ptr_equal(info.domain, world->judge);
    assert_int_equal(core_reached(world->bench, FIRST_ID, BASE + page(1), true), MEMORY);
    core_detach(device);
    end(world);
    close_world(world);
}

static void test_populating_again_does_nothing(void **state)
{
    struct world *world = open_world(state, false);
    unsigned int questions;

    begin(world, layout, LAYOUT);
    finish(world, 5);
    questions = world->questions;
    assert_int_equal(step(world, 1), 0);
    assert_int_equal(step(world, 0), 0);
    assert_int_equal(world->questions, questions);
    end(world);
    close_world(world);
}

static void test_only_deferred_domains_are_populated(void **state)
{
    struct world *world = open_world(state, true);
    const struct piommu_domain_config config = core_config(world->bench, PIOMMU_DOMAIN_IDENTITY);
    struct piommu_domain *identity = core_create(world->bench, &config);

    begin(world, layout, LAYOUT);
    assert_int_equal(piommu_domain_populate(world->judge, 1), -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_populate(identity, 1), -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_populate(NULL, 1), -PIOMMU_EINVAL);
    end(world);
    close_world(world);
}

static void test_a_domain_can_be_destroyed_at_every_step(void **state)
{
    for (unsigned int record = 0; record < 2; record++) {
        struct world *world = open_world(state, record != 0);
        uint64_t before = fake_os_bytes_outstanding(world->bench->os);

        for (unsigned int steps = 0; steps <= LEAVES + 1; steps++) {
            begin(world, layout, LAYOUT);
            for (unsigned int i = 0; i < steps; i++) {
                step(world, 1);
            }
            end(world);
            assert_int_equal(fake_os_bytes_outstanding(world->bench->os), before);
        }
        close_world(world);
    }
}

/* ---- Before it is populated ---- */

static void test_a_record_is_as_a_domain_for_those_who_look(void **state)
{
    struct world *world = open_world(state, true);
    struct piommu_translation result;
    uint64_t found;
    unsigned int leaves;

    begin(world, layout, LAYOUT);
    expect_alike(world);
    assert_int_equal(bytes_found(world->domain, &leaves), page(LEAVES));
    assert_int_equal(piommu_domain_next(world->domain, BASE + page(6), TOP - 1, &found, &result),
                     0);
    assert_int_equal(found, BASE + page(8));
    assert_int_equal(result.physical, MEMORY + 2 * STRIDE);
    assert_int_equal(piommu_domain_lookup(world->domain, TOP, &result), -PIOMMU_ERANGE);
    end(world);
    close_world(world);
}

static void test_a_record_refuses_what_a_domain_refuses(void **state)
{
    struct world *world = open_world(state, true);
    struct piommu_gather gather;

    begin(world, layout, LAYOUT);
    piommu_gather_init(&gather);
    assert_int_equal(piommu_domain_map(world->domain, BASE + page(2), MEMORY_2, page(3), CORE_RW),
                     -PIOMMU_EEXIST);
    assert_int_equal(
        piommu_domain_map_again(world->domain, BASE + page(2), MEMORY_2, page(1), CORE_RW),
        -PIOMMU_EEXIST);
    assert_int_equal(piommu_domain_map(world->domain, BASE + 1, MEMORY_2, page(1), CORE_RW),
                     -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_map(world->domain, BASE, MEMORY_2, 0, CORE_RW), -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_map(world->domain, TOP, MEMORY_2, page(1), CORE_RW),
                     -PIOMMU_ERANGE);
    assert_int_equal(piommu_domain_map(world->domain, BASE, MEMORY_2, page(1), PIOMMU_PROT_WRITE),
                     -PIOMMU_EOPNOTSUPP);
    assert_int_equal(piommu_domain_unmap(world->domain, BASE + page(6), page(2), &gather, NULL),
                     -PIOMMU_ENOENT);
    assert_int_equal(
        piommu_domain_protect(world->domain, BASE + page(6), page(2), CORE_R, HOLE, NULL),
        -PIOMMU_ENOENT);
    assert_int_equal(piommu_domain_unmap_cut(world->domain, BASE + page(6), page(2), HOLE, NULL),
                     -PIOMMU_ENOENT);
    assert_false(gather.pending);
    expect_alike(world);
    finish(world, 2);
    end(world);
    close_world(world);
}

static void test_a_record_without_memory_is_as_it_was(void **state)
{
    static const struct notice calls[] = {
        {CALL_MAP, 6, 2, MEMORY_2, CORE_RW},
        {CALL_MAP_LIST, 13, 3, MEMORY_2 + STRIDE, CORE_RW},
        {CALL_REPLACE, 9, 2, MEMORY_2 + 2 * STRIDE, CORE_R},
        {CALL_UNMAP_CUT, 17, 2, 0, 0},
        {CALL_MAP_AGAIN, 6, 2, MEMORY_2, CORE_RW},
    };
    struct world *world = open_world(state, true);
    unsigned int failures = 0;

    begin(world, layout, LAYOUT);
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        uint64_t bytes;
        int error = -PIOMMU_ENOMEM;

        for (unsigned int nth = 1; error != 0; nth++) {
            fake_os_fail_call(world->bench->os, nth, false);
            error = make_call(world->domain, &calls[i], &bytes);
            fake_os_fail_call(world->bench->os, 0, false);
            if (error != 0) {
                assert_int_equal(error, -PIOMMU_ENOMEM);
                expect_alike(world);
                failures++;
            }
        }
        assert_int_equal(make_call(world->judge, &calls[i], &bytes), 0);
        note(world, &calls[i]);
        expect_alike(world);
    }
    assert_true(failures != 0);
    finish(world, 3);
    end(world);
    close_world(world);
}

static void test_without_a_record_nothing_is_known_before_it_is_populated(void **state)
{
    struct world *world = open_world(state, false);
    struct piommu_translation result;
    struct piommu_gather gather;
    uint64_t bytes = 1;
    uint64_t found;

    begin(world, layout, LAYOUT);
    piommu_gather_init(&gather);
    assert_int_equal(piommu_domain_lookup(world->domain, BASE + page(1), &result), -PIOMMU_ENOENT);
    assert_int_equal(piommu_domain_next(world->domain, 0, TOP - 1, &found, &result),
                     -PIOMMU_ENOENT);
    assert_int_equal(piommu_domain_unmap(world->domain, BASE + page(1), page(3), &gather, &bytes),
                     0);
    assert_int_equal(bytes, 0);
    assert_false(gather.pending);
    bytes = 1;
    assert_int_equal(
        piommu_domain_protect(world->domain, BASE + page(1), page(3), CORE_R, 0, &bytes), 0);
    assert_int_equal(bytes, 0);
    bytes = 1;
    assert_int_equal(piommu_domain_unmap_cut(world->domain, BASE + page(2), page(1), 0, &bytes), 0);
    assert_int_equal(bytes, 0);
    bytes = 1;
    assert_int_equal(
        piommu_domain_replace(world->domain, BASE + page(1), MEMORY_2, page(3), CORE_R, 0, &bytes),
        0);
    assert_int_equal(bytes, 0);
    /* The same address twice: nobody keeps a record. */
    core_map(world->domain, BASE + page(1), MEMORY_2, page(3), CORE_RW);
    core_map(world->domain, BASE + page(1), MEMORY_2, page(3), CORE_RW);
    assert_int_equal(world->questions, 0);
    finish(world, 4);
    end(world);
    close_world(world);
}

static void test_pieces_of_a_record_are_cut_on_demand_only(void **state)
{
    struct world *world = open_world(state, true);
    const unsigned int steps = core_has_tables(world->bench) ? LEAVES + 1 : 1;

    for (unsigned int i = 0; i < steps; i++) {
        struct piommu_gather gather;
        uint64_t bytes = 1;
        int error;

        begin(world, layout, LAYOUT);
        for (unsigned int j = 0; j < i; j++) {
            (void)step(world, 1);
        }
        piommu_gather_init(&gather);
        error = piommu_domain_unmap(world->domain, BASE + page(21), page(2), &gather, &bytes);
        if (i == 0) {
            /* All of it is a record yet. */
            assert_int_equal(error, -PIOMMU_ECUT);
            assert_int_equal(
                piommu_domain_protect(world->domain, BASE + page(21), page(2), CORE_R, HOLE, NULL),
                -PIOMMU_ECUT);
        }
        if (error == -PIOMMU_ECUT) {
            assert_false(gather.pending);
            expect_alike(world);
            assert_int_equal(
                piommu_domain_unmap_cut(world->domain, BASE + page(21), page(2), 0, &bytes), 0);
        } else {
            assert_int_equal(error, 0);
            assert_int_equal(piommu_domain_sync(world->domain, &gather), 0);
        }
        assert_int_equal(bytes, page(2));
        core_expect_held(world->domain, BASE + page(20), MEMORY + 5 * STRIDE, page(1), CORE_RW);
        core_expect_hole(world->domain, BASE + page(21), page(2));
        core_expect_held(world->domain, BASE + page(23), MEMORY + 5 * STRIDE + page(3), page(1),
                         CORE_RW);
        end(world);
    }
    close_world(world);
}

static void test_what_is_left_to_the_population_is_counted_once(void **state)
{
    struct world *world = open_world(state, false);

    begin(world, layout, LAYOUT);
    assert_int_equal(core_statistics(world->domain).mapped, 0);
    (void)step(world, 2);
    assert_true(tell(world, &(struct notice){CALL_MAP, 0, 1, MEMORY_2, CORE_R}));
    assert_true(tell(world, &(struct notice){CALL_MAP, 14, 1, MEMORY_2 + STRIDE, CORE_R}));
    assert_true(tell(world, &(struct notice){CALL_UNMAP, 0, 4, 0, 0}));
    assert_true(tell(world, &(struct notice){CALL_UNMAP, 20, 4, 0, 0}));
    finish(world, 3);
    assert_int_equal(core_statistics(world->domain).mapped, core_statistics(world->judge).mapped);
    end(world);
    close_world(world);
}

/* ---- Calls between the steps ---- */

static void test_where_nothing_is_mapped_a_record_says_so_at_every_point(void **state)
{
    static const struct {
        unsigned int first;
        unsigned int count;
    } holes[] = {{0, 1}, {6, 2}, {13, 3}, {24, 2}};
    static const enum call calls[] = {CALL_UNMAP, CALL_UNMAP_LEAVES, CALL_UNMAP_CUT, CALL_PROTECT};
    struct world *world = open_world(state, true);

    for (unsigned int steps = 0; steps <= LEAVES + 1; steps++) {
        begin(world, layout, LAYOUT);
        for (unsigned int i = 0; i < steps; i++) {
            (void)step(world, 1);
        }
        for (unsigned int i = 0; i < 4; i++) {
            struct notice notice = {CALL_UNMAP_SOME, holes[i].first, holes[i].count, 0, 0};
            uint64_t bytes = 1;

            assert_int_equal(make_call(world->domain, &notice, &bytes), 0);
            assert_int_equal(bytes, 0);
            for (unsigned int j = 0; j < 4; j++) {
                notice.call = calls[j];
                notice.prot = CORE_R;
                assert_int_equal(make_call(world->domain, &notice, &bytes), -PIOMMU_ENOENT);
            }
        }
        expect_alike(world);
        end(world);
    }
    close_world(world);
}

/* What goes is on one side of where the domain is, and nothing on the other. */
static void test_a_range_with_something_on_one_side_only(void **state)
{
    static const enum call calls[] = {CALL_UNMAP,     CALL_UNMAP_LEAVES, CALL_UNMAP_SOME,
                                      CALL_UNMAP_CUT, CALL_PROTECT,      CALL_PROTECT_SOME};
    static const struct notice clearings[] = {{CALL_UNMAP, 1, 12, 0, 0},
                                              {CALL_UNMAP, 12, 12, 0, 0}};

    for (unsigned int record = 0; record < 2; record++) {
        struct world *world = open_world(state, record != 0);

        for (unsigned int steps = 0; steps <= LEAVES + 1; steps++) {
            for (unsigned int i = 0; i < 12; i++) {
                const struct notice notice = {calls[i % 6], 0, 26, 0, CORE_R};

                begin(world, layout, LAYOUT);
                for (unsigned int j = 0; j < steps; j++) {
                    (void)step(world, 1);
                }
                (void)tell(world, &clearings[i / 6]);
                assert_true(tell(world, &notice));
                finish(world, 1);
                end(world);
            }
        }
        close_world(world);
    }
}

static const struct notice notices[] = {
    {CALL_MAP, 0, 1, MEMORY_2, CORE_RW},
    {CALL_MAP, 6, 2, MEMORY_2, CORE_R},
    {CALL_MAP, 13, 3, MEMORY_2, CORE_RW},
    {CALL_MAP_LIST, 13, 3, MEMORY_2, CORE_RW},
    {CALL_MAP_LIST, 6, 2, MEMORY_2, CORE_RW},
    {CALL_MAP_SOME, 13, 3, MEMORY_2, CORE_RW},
    {CALL_MAP_AGAIN, 8, 4, MEMORY + 2 * STRIDE, CORE_RW},
    {CALL_MAP_AGAIN, 6, 6, MEMORY + 2 * STRIDE - 2 * CORE_PAGE, CORE_RW},
    {CALL_UNMAP, 0, 26, 0, 0},
    {CALL_UNMAP, 1, 3, 0, 0},
    {CALL_UNMAP, 1, 5, 0, 0},
    {CALL_UNMAP, 8, 4, 0, 0},
    {CALL_UNMAP, 4, 9, 0, 0},
    {CALL_UNMAP, 16, 4, 0, 0},
    {CALL_UNMAP, 9, 2, 0, 0},
    {CALL_UNMAP_LEAVES, 4, 9, 0, 0},
    {CALL_UNMAP_LEAVES, 8, 4, 0, 0},
    {CALL_UNMAP_LEAVES, 8, 12, 0, 0},
    {CALL_UNMAP_LEAVES, 4, 16, 0, 0},
    {CALL_UNMAP_SOME, 4, 16, 0, 0},
    {CALL_UNMAP_CUT, 9, 2, 0, 0},
    {CALL_UNMAP_CUT, 2, 8, 0, 0},
    {CALL_UNMAP_CUT, 18, 4, 0, 0},
    {CALL_PROTECT, 8, 4, 0, CORE_R},
    {CALL_PROTECT, 0, 26, 0, CORE_R},
    {CALL_PROTECT, 4, 16, 0, CORE_RW},
    {CALL_PROTECT, 10, 1, 0, CORE_R},
    {CALL_PROTECT_SOME, 0, 26, 0, CORE_R},
    {CALL_PROTECT_SOME, 4, 16, 0, CORE_RW},
    {CALL_REPLACE, 8, 4, MEMORY_2, CORE_RW},
    {CALL_REPLACE, 9, 2, MEMORY_2, CORE_R},
    {CALL_REPLACE, 2, 16, MEMORY_2, CORE_RW},
    {CALL_REPLACE, 6, 6, MEMORY + 2 * STRIDE - 2 * CORE_PAGE, CORE_RW},
    {CALL_REPLACE, 0, 26, MEMORY_2, CORE_R},
};

static void calls_at_every_point(void **state, bool disjoint)
{
    unsigned int taken = 0;

    for (unsigned int record = 0; record < 2; record++) {
        struct world *world = open_world(state, record != 0);

        world->disjoint = disjoint;
        for (size_t i = 0; i < sizeof(notices) / sizeof(notices[0]); i++) {
            for (unsigned int steps = 0; steps <= LEAVES + 1; steps++) {
                begin(world, layout, LAYOUT);
                for (unsigned int j = 0; j < steps; j++) {
                    int error = step(world, 1);

                    assert_true(error == 0 || error == -PIOMMU_EAGAIN);
                }
                taken += tell(world, &notices[i]) ? 1 : 0;
                if (world->record) {
                    expect_alike(world);
                }
                finish(world, 1);
                end(world);
            }
        }
        close_world(world);
    }
    assert_true(taken > 200);
}

static void test_a_call_at_every_point_has_the_same_effect(void **state)
{
    calls_at_every_point(state, false);
}

static void test_a_call_at_every_point_of_a_disjoint_one_has_the_same_effect(void **state)
{
    if (!CORE_DISJOINT_EXISTS) {
        skip();
    }
    calls_at_every_point(state, true);
}

static void test_two_calls_at_any_points_have_the_same_effect(void **state)
{
    for (unsigned int record = 0; record < 2; record++) {
        struct world *world = open_world(state, record != 0);

        for (size_t i = 0; i < sizeof(notices) / sizeof(notices[0]); i++) {
            for (size_t j = 0; j < sizeof(notices) / sizeof(notices[0]); j++) {
                const uint32_t before = (uint32_t)(1 + (i * 7 + j) % 12);
                const uint32_t between = (uint32_t)(1 + (i + j * 5) % 9);

                begin(world, layout, LAYOUT);
                (void)step(world, before);
                (void)tell(world, &notices[i]);
                (void)step(world, between);
                (void)tell(world, &notices[j]);
                finish(world, 2);
                end(world);
            }
        }
        close_world(world);
    }
}

/* Blocks of tables, of which a step stores one, and a call may cut one. */
static void test_blocks_are_cut_at_every_point(void **state)
{
    static const struct notice large[] = {
        {CALL_MAP, 3, 2, MEMORY_2, CORE_RW},
        {CALL_MAP, 512, 512, MEMORY, CORE_RW},
        {CALL_MAP, 1024, 4, MEMORY_2 + STRIDE, CORE_RW},
        {CALL_MAP, 1030, 2, MEMORY_2 + 2 * STRIDE, CORE_R},
    };
    static const struct notice changes[] = {
        {CALL_UNMAP, 512, 512, 0, 0},
        {CALL_UNMAP, 3, 1029, 0, 0},
        {CALL_UNMAP_LEAVES, 512, 512, 0, 0},
        {CALL_UNMAP_CUT, 600, 2, 0, 0},
        {CALL_UNMAP_CUT, 0, 700, 0, 0},
        {CALL_UNMAP_CUT, 1020, 6, 0, 0},
        {CALL_PROTECT, 512, 512, 0, CORE_R},
        {CALL_PROTECT_SOME, 3, 1029, 0, CORE_R},
        {CALL_PROTECT, 0, 1028, 0, CORE_R},
        {CALL_REPLACE, 700, 400, MEMORY_2 + 3 * STRIDE, CORE_R},
        {CALL_REPLACE, 0, 1024, MEMORY_2 + 4 * STRIDE, CORE_RW},
        {CALL_REPLACE, 511, 3, MEMORY - CORE_PAGE, CORE_RW},
        {CALL_MAP_AGAIN, 511, 513, MEMORY - CORE_PAGE, CORE_RW},
    };

    for (unsigned int record = 0; record < 2; record++) {
        struct world *world = open_world(state, record != 0);

        world->page_count = MAX_PAGES;
        for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
            for (unsigned int steps = 0; steps <= 10; steps++) {
                begin(world, large, sizeof(large) / sizeof(large[0]));
                for (unsigned int j = 0; j < steps; j++) {
                    (void)step(world, 1);
                }
                assert_true(tell(world, &changes[i]));
                finish(world, 1);
                end(world);
            }
        }
        close_world(world);
    }
}

/* ---- At random ---- */

static uint64_t random_state;

static unsigned int below(unsigned int limit)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (unsigned int)((random_state >> 16) % limit);
}

/* Widens a range to whole pieces: what unmap_leaves takes along depends on how they were stored. */
static void widen(const struct world *world, struct notice *notice)
{
    unsigned int end = notice->first + notice->count;

    while (is_run(world, notice->first)) {
        notice->first--;
    }
    while (is_run(world, end)) {
        end++;
    }
    notice->count = end - notice->first;
}

static struct notice any_notice(const struct world *world, unsigned int number)
{
    struct notice notice = {
        .call = (enum call)below(CALLS),
        .first = below(world->page_count),
        .physical = MEMORY + number * STRIDE,
        .prot = below(2) == 0 ? CORE_R : CORE_RW,
    };
    const struct entry *entry = &world->pages[notice.first];

    notice.count = 1 + below(below(3) == 0 ? world->page_count - notice.first
                                           : (world->page_count - notice.first + 3) / 4);
    if ((notice.call == CALL_REPLACE || notice.call == CALL_MAP_AGAIN) && entry->mapped &&
        below(3) != 0) {
        notice.physical = entry->physical;
        notice.prot = entry->prot;
    }
    if (notice.call == CALL_UNMAP_LEAVES || (is_removal(notice.call) && below(2) == 0)) {
        widen(world, &notice);
    }
    return notice;
}

static void calls_and_steps_in_any_order(void **state, bool disjoint)
{
    const char *seed = getenv("PIOMMU_RANDOM_SEED");
    unsigned int taken = 0;

    random_state = seed != NULL ? strtoull(seed, NULL, 10) | 1 : 0x9e3779b97f4a7c15ull;
    print_message("PIOMMU_RANDOM_SEED=%" PRIu64 "\n", random_state);
    for (unsigned int record = 0; record < 2; record++) {
        struct world *world = open_world(state, record != 0);

        world->disjoint = disjoint;
        for (unsigned int round = 0; round < 60; round++) {
            int error = -PIOMMU_EAGAIN;

            begin(world, NULL, 0);
            for (unsigned int i = 0; i < 60; i++) {
                const struct notice notice = any_notice(world, i);

                if (i >= 15 && below(4) == 0) {
                    error = step(world, below(4));
                    assert_true(error == 0 || error == -PIOMMU_EAGAIN);
                }
                taken += tell(world, &notice) ? 1 : 0;
                if (world->record || error == 0) {
                    expect_alike(world);
                }
            }
            finish(world, 1 + below(5));
            end(world);
        }
        close_world(world);
    }
    assert_true(taken > 500);
}

static void test_calls_and_steps_in_any_order_have_the_same_effect(void **state)
{
    calls_and_steps_in_any_order(state, false);
}

static void test_calls_and_steps_of_a_disjoint_one_have_the_same_effect(void **state)
{
    if (!CORE_DISJOINT_EXISTS) {
        skip();
    }
    calls_and_steps_in_any_order(state, true);
}

/* ---- A record that lies, or fails ---- */

/* Answers in the order of addresses; an error comes once, in place of the piece that it is for. */
struct script {
    struct piommu_frames frames[3];
    int errors[3];
    unsigned int honest; /* the first that is told whatever was asked for */
    bool populating;
};

static int play(void *cookie, uint64_t from, struct piommu_frames *frames)
{
    struct script *script = cookie;

    assert_true(script->populating);
    for (unsigned int i = 0; i < 3; i++) {
        const struct piommu_frames *piece = &script->frames[i];
        int error = script->errors[i];

        if (i < script->honest && error == 0 &&
            (piece->size == 0 || piece->iova + (piece->size - 1) < from)) {
            continue;
        }
        if (i > script->honest) {
            break;
        }
        script->errors[i] = 0;
        *frames = *piece;
        return error;
    }
    return -PIOMMU_ENOENT;
}

static int populate_by(struct script *script, struct piommu_domain *domain, uint32_t budget)
{
    int error;

    script->populating = true;
    do {
        error = piommu_domain_populate(domain, budget);
    } while (error == -PIOMMU_EAGAIN);
    script->populating = false;
    return error;
}

static struct piommu_domain *scripted_domain(struct core_bench *bench, struct script *script)
{
    struct piommu_domain_config config = core_config(bench, PIOMMU_DOMAIN_DEFERRED);

    config.next_frames = play;
    config.frames_cookie = script;
    config.msi_window.first = WINDOW;
    config.msi_window.last = WINDOW + CORE_PAGE - 1;
    return core_create(bench, &config);
}

static const struct piommu_frames good = {BASE, MEMORY, 4 * CORE_PAGE, CORE_RW};
static const struct piommu_frames later = {BASE + 8 * CORE_PAGE, MEMORY_2, 2 * CORE_PAGE, CORE_R};

/* After an error of the second piece the domain has the first, and goes on when it is right. */
static void expect_bad_piece(void **state, const struct piommu_frames *bad, int error)
{
    for (uint32_t budget = 1; budget < 8; budget += 3) {
        struct core_bench *bench = core_open(core_case_of(state), NULL);
        struct script script = {.frames = {good, *bad}, .honest = 1};
        struct piommu_domain *domain = scripted_domain(bench, &script);
        struct piommu_device *device = core_add_device(bench, 0, FIRST_ID, NULL, 0, 0);

        assert_int_equal(populate_by(&script, domain, budget), error);
        assert_false(core_info(domain).populated);
        assert_int_equal(core_attach(device, domain), -PIOMMU_EAGAIN);
        core_expect_held(domain, BASE, MEMORY, 4 * CORE_PAGE, CORE_RW);
        core_expect_hole(domain, BASE + 4 * CORE_PAGE, 8 * CORE_PAGE);
        /* What is below the point can be changed in the meantime. */
        core_unmap(domain, BASE, 4 * CORE_PAGE);
        core_map(domain, BASE, MEMORY_2, CORE_PAGE, CORE_R);
        script = (struct script){.frames = {later}, .honest = 3};
        assert_int_equal(populate_by(&script, domain, budget), 0);
        assert_int_equal(core_attach(device, domain), 0);
        core_expect_mapped(bench, FIRST_ID, BASE, MEMORY_2, CORE_PAGE, CORE_R);
        core_expect_nothing(bench, FIRST_ID, BASE + CORE_PAGE, 7 * CORE_PAGE);
        core_expect_mapped(bench, FIRST_ID, later.iova, later.physical, later.size, CORE_R);
        core_close(bench);
    }
}

static void test_a_record_that_goes_backwards_is_refused(void **state)
{
    static const struct piommu_frames below_it = {BASE - CORE_PAGE, MEMORY, CORE_PAGE, CORE_RW};
    static const struct piommu_frames part = {BASE + CORE_PAGE, MEMORY, 2 * CORE_PAGE, CORE_RW};
    static const struct piommu_frames up_to = {BASE - CORE_PAGE, MEMORY, 5 * CORE_PAGE, CORE_RW};

    expect_bad_piece(state, &good, -PIOMMU_EBADMSG);
    expect_bad_piece(state, &below_it, -PIOMMU_EBADMSG);
    expect_bad_piece(state, &part, -PIOMMU_EBADMSG);
    expect_bad_piece(state, &up_to, -PIOMMU_EBADMSG);
}

static void test_pieces_off_the_granule_are_refused(void **state)
{
    static const struct piommu_frames bad[] = {
        {BASE + 5 * CORE_PAGE + 1, MEMORY, CORE_PAGE, CORE_RW},
        {BASE + 5 * CORE_PAGE, MEMORY + 0x800, CORE_PAGE, CORE_RW},
        {BASE + 5 * CORE_PAGE, MEMORY, CORE_PAGE + 0x10, CORE_RW},
        {BASE + 5 * CORE_PAGE, MEMORY, CORE_PAGE - 1, CORE_RW},
        {BASE + 5 * CORE_PAGE, MEMORY, 0, CORE_RW},
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        expect_bad_piece(state, &bad[i], -PIOMMU_EINVAL);
    }
}

static void test_pieces_outside_the_aperture_are_refused(void **state)
{
    static const struct piommu_frames bad[] = {
        {TOP, MEMORY, CORE_PAGE, CORE_RW},
        {TOP - CORE_PAGE, MEMORY, 2 * CORE_PAGE, CORE_RW},
        {BASE + 5 * CORE_PAGE, MEMORY, TOP, CORE_RW},
        {UINT64_MAX - (CORE_PAGE - 1), MEMORY, CORE_PAGE, CORE_RW},
        {UINT64_MAX - (CORE_PAGE - 1), MEMORY, 2 * CORE_PAGE, CORE_RW},
        {BASE + 5 * CORE_PAGE, UINT64_MAX - (CORE_PAGE - 1), 2 * CORE_PAGE, CORE_RW},
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        expect_bad_piece(state, &bad[i], -PIOMMU_ERANGE);
    }
}

static void test_pieces_with_bad_permissions_are_refused(void **state)
{
    static const struct piommu_frames nothing = {BASE + 5 * CORE_PAGE, MEMORY, CORE_PAGE, 0};
    static const struct piommu_frames unknown = {BASE + 5 * CORE_PAGE, MEMORY, CORE_PAGE,
                                                 CORE_RW | 0x80000000u};
    static const struct piommu_frames write_only = {BASE + 5 * CORE_PAGE, MEMORY, CORE_PAGE,
                                                    PIOMMU_PROT_WRITE};

    expect_bad_piece(state, &nothing, -PIOMMU_EINVAL);
    expect_bad_piece(state, &unknown, -PIOMMU_EINVAL);
    expect_bad_piece(state, &write_only, -PIOMMU_EOPNOTSUPP);
}

static void test_pieces_in_the_msi_window_are_refused(void **state)
{
    static const struct piommu_frames pieces[] = {
        {WINDOW, MEMORY, CORE_PAGE, CORE_RW},
        {WINDOW - CORE_PAGE, MEMORY, 2 * CORE_PAGE, CORE_RW},
        {0, MEMORY, WINDOW + CORE_PAGE, CORE_RW},
    };

    for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
        struct core_bench *bench = core_open(core_case_of(state), NULL);
        struct script script = {.frames = {pieces[i]}, .honest = 0};
        struct piommu_domain *domain = scripted_domain(bench, &script);

        assert_int_equal(populate_by(&script, domain, ENOUGH), -PIOMMU_ERESERVED);
        core_expect_hole(domain, WINDOW, CORE_PAGE);
        script = (struct script){.frames = {good}, .honest = 3};
        assert_int_equal(populate_by(&script, domain, 1), 0);
        core_expect_held(domain, BASE, MEMORY, 4 * CORE_PAGE, CORE_RW);
        core_close(bench);
    }
}

static void test_errors_of_the_callback_end_a_step(void **state)
{
    static const int errors[] = {-PIOMMU_EIO, -PIOMMU_ENOMEM, -4242, -PIOMMU_EFAILED};

    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        for (unsigned int at = 0; at < 3; at++) {
            struct core_bench *bench = core_open(core_case_of(state), NULL);
            struct script script = {.frames = {good, later}, .honest = 3};
            struct piommu_domain *domain = scripted_domain(bench, &script);

            script.errors[at] = errors[i];
            assert_int_equal(populate_by(&script, domain, 1), errors[i]);
            assert_int_equal(script.errors[at], 0);
            assert_false(core_info(domain).populated);
            assert_int_equal(populate_by(&script, domain, 1), 0);
            core_expect_held(domain, BASE, MEMORY, 4 * CORE_PAGE, CORE_RW);
            core_expect_held(domain, later.iova, later.physical, later.size, CORE_R);
            core_close(bench);
        }
    }
}

static void test_a_piece_may_begin_below_where_the_domain_is(void **state)
{
    static const struct piommu_frames grown = {BASE + 2 * CORE_PAGE, MEMORY_2, 4 * CORE_PAGE,
                                               CORE_R};

    for (uint32_t budget = 1; budget < 6; budget++) {
        struct core_bench *bench = core_open(core_case_of(state), NULL);
        struct script script = {.frames = {good, grown}, .honest = 3};
        struct piommu_domain *domain = scripted_domain(bench, &script);

        assert_int_equal(populate_by(&script, domain, budget), 0);
        core_expect_held(domain, BASE, MEMORY, 4 * CORE_PAGE, CORE_RW);
        core_expect_held(domain, BASE + 4 * CORE_PAGE, MEMORY_2 + 2 * CORE_PAGE, 2 * CORE_PAGE,
                         CORE_R);
        core_expect_hole(domain, BASE + 6 * CORE_PAGE, CORE_PAGE);
        core_close(bench);
    }
}

static void with_all_addresses(unsigned int unit, struct piommu_backend_info *info)
{
    (void)unit;
    info->aperture.last = UINT64_MAX;
}

static void test_the_last_page_of_all_ends_the_population(void **state)
{
    const bool tables = core_case_of(state)->kind == PIOMMU_BACKEND_TABLES;
    const uint64_t last = tables ? TOP - CORE_PAGE : UINT64_MAX - (CORE_PAGE - 1);
    const struct piommu_frames top = {last, MEMORY, CORE_PAGE, CORE_RW};
    struct core_bench *bench = core_open(core_case_of(state), tables ? NULL : with_all_addresses);
    struct script script = {.frames = {good, top}, .honest = 3};
    struct piommu_domain *domain = scripted_domain(bench, &script);
    struct piommu_device *device = core_add_device(bench, 0, FIRST_ID, NULL, 0, 0);

    assert_int_equal(populate_by(&script, domain, 1), 0);
    assert_int_equal(core_attach(device, domain), 0);
    assert_int_equal(core_reached(bench, FIRST_ID, last, true), MEMORY);
    core_unmap(domain, last, CORE_PAGE);
    core_close(bench);
}

static void test_a_device_reserves_what_it_must_when_it_comes(void **state)
{
    static const struct piommu_reserved_region region = {
        {BASE + 2 * CORE_PAGE, BASE + 3 * CORE_PAGE - 1}, PIOMMU_RESERVED};
    struct core_bench *bench = core_open(core_case_of(state), NULL);
    struct script script = {.frames = {good}, .honest = 3};
    struct piommu_domain *domain = scripted_domain(bench, &script);
    struct piommu_device *device = core_add_device(bench, 0, FIRST_ID, &region, 1, 0);

    assert_int_equal(populate_by(&script, domain, 1), 0);
    assert_int_equal(core_attach(device, domain), -PIOMMU_ERESERVED);
    core_expect_held(domain, BASE, MEMORY, 4 * CORE_PAGE, CORE_RW);
    core_expect_nothing(bench, FIRST_ID, BASE, 4 * CORE_PAGE);
    core_close(bench);
}

static void test_population_without_memory_goes_on_later(void **state)
{
    for (unsigned int record = 0; record < 2; record++) {
        struct world *world = open_world(state, record != 0);

        for (uint32_t budget = 1; budget < 12; budget += 5) {
            unsigned int failures = 0;
            unsigned int nth = 1;
            int error;

            begin(world, layout, LAYOUT);
            do {
                fake_os_fail_call(world->bench->os, nth, false);
                error = step(world, budget);
                fake_os_fail_call(world->bench->os, 0, false);
                if (error == -PIOMMU_ENOMEM) {
                    assert_false(core_info(world->domain).populated);
                    failures++;
                    nth++;
                } else {
                    assert_true(error == 0 || error == -PIOMMU_EAGAIN);
                    nth = 1;
                }
                assert_true(failures < 1000);
            } while (error != 0);
            /* A record of requests may be all that is needed. */
            assert_true(failures != 0 || (world->record && !core_has_tables(world->bench)));
            finish(world, 1);
            end(world);
        }
        close_world(world);
    }
}

static void test_calls_while_memory_is_short_have_the_same_effect(void **state)
{
    for (unsigned int record = 0; record < 2; record++) {
        struct world *world = open_world(state, record != 0);

        for (size_t i = 0; i < sizeof(notices) / sizeof(notices[0]); i++) {
            begin(world, layout, LAYOUT);
            for (unsigned int nth = 1; nth < 8; nth++) {
                fake_os_fail_call(world->bench->os, nth, true);
                (void)step(world, ENOUGH);
                fake_os_fail_call(world->bench->os, 0, false);
                if (nth == 4) {
                    (void)tell(world, &notices[i]);
                }
            }
            finish(world, 3);
            end(world);
        }
        close_world(world);
    }
}

/* ---- Lists ---- */

#define LISTED  8u /* pages that a list has */
#define REACHED 4u /* of them are below where the domain is */

/* A list whose segments end where the bits of `ends` say, each with memory of its own. */
static size_t make_list(unsigned int ends, struct piommu_segment *segments)
{
    size_t count = 0;
    unsigned int first = 0;

    for (unsigned int i = 0; i < LISTED; i++) {
        if (i == LISTED - 1 || ((ends >> i) & 1) != 0) {
            segments[count] = (struct piommu_segment){.physical = MEMORY + count * STRIDE,
                                                      .size = page(i + 1 - first)};
            count++;
            first = i + 1;
        }
    }
    return count;
}

static void note_list(struct world *world, const struct piommu_segment *segments, size_t count)
{
    unsigned int at = 0;

    for (size_t i = 0; i < count; i++) {
        for (uint64_t done = 0; done < segments[i].size; done += CORE_PAGE) {
            world->pages[at++] = (struct entry){.mapped = true,
                                                .physical = segments[i].physical + done,
                                                .prot = CORE_RW,
                                                .piece = world->pieces};
        }
        world->pieces++;
    }
}

/* A list that lies across where the domain is, with something in its way at a page, or nowhere. */
static void expect_list(struct world *world, unsigned int ends, unsigned int obstacle)
{
    static const struct notice way = {CALL_MAP, 0, LISTED, MEMORY_2, CORE_RW};
    static const struct notice gone = {CALL_UNMAP, 0, LISTED, 0, 0};
    struct piommu_segment segments[LISTED];
    size_t count = make_list(ends, segments);
    int expected;

    begin(world, &way, 1);
    for (unsigned int i = 0; i < REACHED; i++) {
        (void)step(world, 1);
    }
    assert_true(tell(world, &gone));
    if (obstacle < LISTED) {
        const struct notice notice = {CALL_MAP, obstacle, 1, MEMORY_2, CORE_R};

        assert_true(tell(world, &notice));
    }
    expected = piommu_domain_map_list(world->judge, BASE, segments, count, CORE_RW);
    assert_int_equal(expected, obstacle < LISTED ? -PIOMMU_EEXIST : 0);
    assert_int_equal(piommu_domain_map_list(world->domain, BASE, segments, count, CORE_RW),
                     expected);
    if (expected == 0) {
        note_list(world, segments, count);
    }
    expect_alike(world);
    finish(world, 1);
    end(world);
}

static void test_a_list_across_where_the_domain_is_goes_in_as_a_whole_or_not(void **state)
{
    struct world *world = open_world(state, true);

    for (unsigned int ends = 0; ends < 1u << (LISTED - 1); ends++) {
        for (unsigned int obstacle = 0; obstacle <= LISTED; obstacle++) {
            expect_list(world, ends, obstacle);
        }
    }
    close_world(world);
}

/* ---- Afterwards ---- */

static void test_a_populated_domain_is_as_a_paging_domain(void **state)
{
    for (unsigned int record = 0; record < 2; record++) {
        struct world *world = open_world(state, record != 0);

        for (size_t i = 0; i < sizeof(notices) / sizeof(notices[0]); i++) {
            unsigned int questions;

            begin(world, layout, LAYOUT);
            finish(world, 7);
            questions = world->questions;
            for (unsigned int j = 0; j < world->bench->device_count; j++) {
                assert_int_equal(core_attach(world->bench->devices[j], world->domain), 0);
            }
            (void)tell(world, &notices[i]);
            expect_alike(world);
            for (unsigned int j = 0; j < world->bench->device_count; j++) {
                core_detach(world->bench->devices[j]);
            }
            expect_dma(world);
            assert_int_equal(world->questions, questions);
            end(world);
        }
        close_world(world);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CORE_FOR_EACH_CASE(test_nothing_is_spent_before_it_is_needed),
        CORE_FOR_EACH_CASE(test_it_tells_what_it_will_be_able_to_do),
        CORE_FOR_EACH_CASE(test_no_context_is_needed_until_it_is_populated),
        CORE_FOR_EACH_CASE(test_every_budget_leads_to_the_same_domain),
        CORE_FOR_EACH_CASE(test_a_step_stores_no_more_than_its_budget),
        CORE_FOR_EACH_CASE(test_a_record_takes_a_step_for_each_leaf),
        CORE_FOR_EACH_CASE(test_groups_wait_until_the_domain_is_populated),
        CORE_FOR_EACH_CASE(test_a_group_that_has_to_wait_stays_where_it_is),
        CORE_FOR_EACH_CASE(test_populating_again_does_nothing),
        CORE_FOR_EACH_CASE(test_only_deferred_domains_are_populated),
        CORE_FOR_EACH_CASE(test_a_domain_can_be_destroyed_at_every_step),
        CORE_FOR_EACH_CASE(test_a_record_is_as_a_domain_for_those_who_look),
        CORE_FOR_EACH_CASE(test_a_record_refuses_what_a_domain_refuses),
        CORE_FOR_EACH_CASE(test_a_record_without_memory_is_as_it_was),
        CORE_FOR_EACH_CASE(test_without_a_record_nothing_is_known_before_it_is_populated),
        CORE_FOR_EACH_CASE(test_pieces_of_a_record_are_cut_on_demand_only),
        CORE_FOR_EACH_CASE(test_what_is_left_to_the_population_is_counted_once),
        CORE_FOR_EACH_CASE(test_where_nothing_is_mapped_a_record_says_so_at_every_point),
        CORE_FOR_EACH_CASE(test_a_range_with_something_on_one_side_only),
        CORE_FOR_EACH_CASE(test_a_call_at_every_point_has_the_same_effect),
        CORE_FOR_TABLES(test_a_call_at_every_point_of_a_disjoint_one_has_the_same_effect),
        CORE_FOR_EACH_CASE(test_two_calls_at_any_points_have_the_same_effect),
        CORE_FOR_EACH_CASE(test_blocks_are_cut_at_every_point),
        CORE_FOR_EACH_CASE(test_calls_and_steps_in_any_order_have_the_same_effect),
        CORE_FOR_TABLES(test_calls_and_steps_of_a_disjoint_one_have_the_same_effect),
        CORE_FOR_EACH_CASE(test_a_record_that_goes_backwards_is_refused),
        CORE_FOR_EACH_CASE(test_pieces_off_the_granule_are_refused),
        CORE_FOR_EACH_CASE(test_pieces_outside_the_aperture_are_refused),
        CORE_FOR_EACH_CASE(test_pieces_with_bad_permissions_are_refused),
        CORE_FOR_EACH_CASE(test_pieces_in_the_msi_window_are_refused),
        CORE_FOR_EACH_CASE(test_errors_of_the_callback_end_a_step),
        CORE_FOR_EACH_CASE(test_a_piece_may_begin_below_where_the_domain_is),
        CORE_FOR_EACH_CASE(test_the_last_page_of_all_ends_the_population),
        CORE_FOR_EACH_CASE(test_a_device_reserves_what_it_must_when_it_comes),
        CORE_FOR_EACH_CASE(test_population_without_memory_goes_on_later),
        CORE_FOR_EACH_CASE(test_calls_while_memory_is_short_have_the_same_effect),
        CORE_FOR_EACH_CASE(test_a_list_across_where_the_domain_is_goes_in_as_a_whole_or_not),
        CORE_FOR_EACH_CASE(test_a_populated_domain_is_as_a_paging_domain),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
