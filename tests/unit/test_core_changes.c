/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Calls that change what is mapped: cut, protect, unmap of whole leaves, and the way from mapping
 * to mapping. With both kinds of backend; after each call of the backend a device tries every page.
 */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <piommu/piommu.h>

#include "device_ids.h"
#include "mock_backend.h"

#define PAGE      0x1000ull
#define BLOCK     0x200000ull
#define BASE      0x40000000ull
#define PAGES     24u
#define MEMORY    0x80000000ull
#define MEMORY_2  0xc0000000ull
#define ID        7u
#define R         PIOMMU_PROT_READ
#define RW        (PIOMMU_PROT_READ | PIOMMU_PROT_WRITE)
#define HOLE      PIOMMU_ALLOW_HOLE
#define NOTHING   UINT64_MAX
#define MAX_STEPS 20000u

/* What the domain holds for a page, as the test thinks. */
struct shadow {
    bool mapped;
    bool pending; /* unmapped and not synced */
    uint64_t physical;
    piommu_prot prot;
};

struct bench {
    struct fake_os *os;
    struct mock *mock;
    struct piommu_context *context;
    struct piommu_instance *instance;
    struct piommu_device *device;
    struct piommu_domain *domain;
    struct shadow pages[PAGES];
    struct shadow before[PAGES]; /* when the call began that is going on */
    bool probing;
    unsigned long probes;
};

static bool may_reach(const struct shadow *page, bool write, uint64_t physical)
{
    return (page->mapped || page->pending) && physical == page->physical &&
           (!write || (page->prot & PIOMMU_PROT_WRITE) != 0);
}

/* During a call the device may reach what was granted before it, or is afterwards. */
static void probe(void *ctx)
{
    struct bench *bench = ctx;

    for (unsigned int i = 0; bench->probing && i < PAGES; i++) {
        for (unsigned int write = 0; write < 2; write++) {
            uint64_t physical;

            bench->probes++;
            if (mock_reaches(bench->mock, ID, BASE + i * PAGE, write != 0, &physical) &&
                !may_reach(&bench->before[i], write != 0, physical) &&
                !may_reach(&bench->pages[i], write != 0, physical)) {
                fail_msg("page %u reaches %#" PRIx64 " for %s", i, physical,
                         write != 0 ? "writing" : "reading");
            }
        }
    }
}

static struct bench *open_bench(enum piommu_backend_kind kind)
{
    static const uint32_t id = ID;
    struct bench *bench = calloc(1, sizeof(*bench));
    struct device_ids room;
    struct piommu_device_config device = {.id_count = 1, .name = "dma"};
    struct piommu_domain_config domain = {.type = PIOMMU_DOMAIN_PAGING, .name = "A"};

    bench->os = fake_os_create(NULL);
    bench->mock = mock_create(bench->os, kind);
    mock_observe(bench->mock, probe, bench);
    assert_int_equal(piommu_context_create(fake_os_host(bench->os), NULL, &bench->context), 0);
    assert_int_equal(piommu_instance_create(bench->context, mock_backend(bench->mock), &bench->mock,
                                            NULL, &bench->instance),
                     0);
    device.ids = device_ids_of(&room, bench->instance, &id, 1);
    domain.instances = &bench->instance;
    domain.instance_count = 1;
    assert_int_equal(piommu_device_add(bench->context, &device, &bench->device), 0);
    assert_int_equal(piommu_domain_create(&domain, &bench->domain), 0);
    assert_int_equal(piommu_device_attach(bench->device, bench->domain), 0);
    return bench;
}

static void close_bench(struct bench *bench)
{
    bench->probing = false;
    assert_int_equal(piommu_device_detach(bench->device), 0);
    assert_int_equal(piommu_domain_destroy(bench->domain), 0);
    assert_int_equal(piommu_device_remove(bench->device), 0);
    assert_int_equal(piommu_instance_destroy(bench->instance), 0);
    assert_int_equal(piommu_context_destroy(bench->context), 0);
    fake_os_destroy(bench->os);
    mock_destroy(bench->mock);
    free(bench);
}

static enum piommu_backend_kind kind_of(void **state)
{
    return *(const enum piommu_backend_kind *)*state;
}

static uint64_t reached(struct bench *bench, uint64_t iova, bool write)
{
    uint64_t physical;

    return mock_reaches(bench->mock, ID, iova, write, &physical) ? physical : NOTHING;
}

static uint64_t bytes_mapped(struct bench *bench)
{
    struct piommu_domain_statistics statistics;

    piommu_domain_get_statistics(bench->domain, &statistics);
    return statistics.mapped;
}

static void map(struct bench *bench, uint64_t iova, uint64_t physical, uint64_t size,
                piommu_prot prot)
{
    assert_int_equal(piommu_domain_map(bench->domain, iova, physical, size, prot), 0);
}

/* ---- Cut ---- */

static void test_a_cut_leaves_what_lies_outside_the_range(void **state)
{
    struct bench *bench = open_bench(kind_of(state));
    uint64_t unmapped = 0;

    map(bench, BASE, MEMORY, BLOCK, RW);
    assert_int_equal(
        piommu_domain_unmap_cut(bench->domain, BASE + 3 * PAGE, 2 * PAGE, HOLE, &unmapped), 0);
    assert_int_equal(unmapped, 2 * PAGE);
    assert_int_equal(bytes_mapped(bench), BLOCK - 2 * PAGE);
    assert_int_equal(reached(bench, BASE + 2 * PAGE, true), MEMORY + 2 * PAGE);
    assert_int_equal(reached(bench, BASE + 3 * PAGE, false), NOTHING);
    assert_int_equal(reached(bench, BASE + 4 * PAGE, false), NOTHING);
    assert_int_equal(reached(bench, BASE + 5 * PAGE, true), MEMORY + 5 * PAGE);
    assert_int_equal(reached(bench, BASE + BLOCK - PAGE, true), MEMORY + BLOCK - PAGE);
    /* It is forgotten, so something else can be there at once. */
    map(bench, BASE + 3 * PAGE, MEMORY_2, PAGE, R);
    assert_int_equal(reached(bench, BASE + 3 * PAGE, false), MEMORY_2);
    close_bench(bench);
}

static void test_a_hole_has_to_be_allowed(void **state)
{
    struct bench *bench = open_bench(kind_of(state));
    const struct mock_counters *counters = mock_counters(bench->mock);
    struct mock_counters before;

    map(bench, BASE, MEMORY, BLOCK, RW);
    before = *counters;
    assert_int_equal(piommu_domain_unmap_cut(bench->domain, BASE, PAGE, 0, NULL), -PIOMMU_EHOLE);
    assert_memory_equal(&before, counters, sizeof(before));
    assert_int_equal(bytes_mapped(bench), BLOCK);
    /* Where nothing is cut there is none. */
    assert_int_equal(piommu_domain_unmap_cut(bench->domain, BASE, BLOCK, 0, NULL), 0);
    assert_int_equal(reached(bench, BASE, false), NOTHING);
    assert_int_equal(bytes_mapped(bench), 0);
    /* Nor where no device is. */
    map(bench, BASE, MEMORY, BLOCK, RW);
    assert_int_equal(piommu_device_detach(bench->device), 0);
    assert_int_equal(piommu_domain_unmap_cut(bench->domain, BASE, PAGE, 0, NULL), 0);
    assert_int_equal(piommu_device_attach(bench->device, bench->domain), 0);
    assert_int_equal(reached(bench, BASE, false), NOTHING);
    assert_int_equal(reached(bench, BASE + PAGE, true), MEMORY + PAGE);
    close_bench(bench);
}

static void test_a_cut_that_fails_says_what_is_left(void **state)
{
    bool tables = kind_of(state) == PIOMMU_BACKEND_TABLES;

    for (unsigned int kth = 1; kth <= 3; kth++) {
        struct bench *bench = open_bench(kind_of(state));
        int error;

        map(bench, BASE, MEMORY, BLOCK, RW);
        mock_fail_call(bench->mock, kth, -PIOMMU_EIO, false);
        error = piommu_domain_unmap_cut(bench->domain, BASE + PAGE, PAGE, HOLE, NULL);
        if (kth == 1) {
            /* Not to forget is the end of the instance. */
            assert_int_equal(error, -PIOMMU_EFAILED);
            assert_int_equal(bytes_mapped(bench), 0);
        } else if (kth == 2 && !tables) {
            assert_int_equal(error, -PIOMMU_EIO);
            assert_int_equal(bytes_mapped(bench), 0);
            assert_int_equal(piommu_domain_map(bench->domain, BASE, MEMORY_2, BLOCK, R), 0);
            assert_int_equal(reached(bench, BASE + PAGE, false), MEMORY_2 + PAGE);
        } else {
            assert_int_equal(error, 0);
            assert_int_equal(bytes_mapped(bench), BLOCK - PAGE);
        }
        mock_fail_call(bench->mock, 0, 0, false);
        close_bench(bench);
    }
}

static void test_a_cut_without_memory_changes_nothing(void **state)
{
    struct bench *bench = open_bench(kind_of(state));
    unsigned int failures = 0;
    int error = -PIOMMU_ENOMEM;

    map(bench, BASE, MEMORY, BLOCK, RW);
    for (unsigned int kth = 1; error == -PIOMMU_ENOMEM; kth++) {
        uint64_t bytes = fake_os_bytes_outstanding(bench->os);

        fake_os_fail_call(bench->os, kth, false);
        error = piommu_domain_unmap_cut(bench->domain, BASE + PAGE, PAGE, HOLE, NULL);
        fake_os_fail_call(bench->os, 0, false);
        if (error != 0) {
            assert_int_equal(error, -PIOMMU_ENOMEM);
            assert_int_equal(fake_os_bytes_outstanding(bench->os), bytes);
            assert_int_equal(reached(bench, BASE + PAGE, true), MEMORY + PAGE);
            failures++;
        }
    }
    assert_int_equal(error, 0);
    assert_true(failures != 0);
    close_bench(bench);
}

/* ---- Protect ---- */

static void test_permissions_are_in_force_when_protect_returns(void **state)
{
    struct bench *bench = open_bench(kind_of(state));
    bool tables = kind_of(state) == PIOMMU_BACKEND_TABLES;
    uint64_t changed = 0;

    map(bench, BASE, MEMORY, 2 * PAGE, RW);
    map(bench, BASE + 3 * PAGE, MEMORY_2, PAGE, RW);
    assert_int_equal(reached(bench, BASE, true), MEMORY);
    assert_int_equal(piommu_domain_protect(bench->domain, BASE, 4 * PAGE, R, 0, &changed),
                     tables ? 0 : -PIOMMU_EHOLE);
    if (!tables) {
        assert_int_equal(reached(bench, BASE, true), MEMORY);
        assert_int_equal(piommu_domain_protect(bench->domain, BASE, 4 * PAGE, R, HOLE, &changed),
                         0);
    }
    assert_int_equal(changed, 3 * PAGE);
    assert_int_equal(reached(bench, BASE, true), NOTHING);
    assert_int_equal(reached(bench, BASE, false), MEMORY);
    assert_int_equal(reached(bench, BASE + 3 * PAGE, true), NOTHING);
    assert_int_equal(reached(bench, BASE + 2 * PAGE, false), NOTHING);
    /* Nothing changes, so there is no hole. */
    assert_int_equal(piommu_domain_protect(bench->domain, BASE, 4 * PAGE, R, 0, &changed), 0);
    assert_int_equal(piommu_domain_protect(bench->domain, BASE, 4 * PAGE, RW, HOLE, &changed), 0);
    assert_int_equal(reached(bench, BASE + PAGE, true), MEMORY + PAGE);
    assert_int_equal(bytes_mapped(bench), 3 * PAGE);
    close_bench(bench);
}

static void test_protect_that_fails_says_what_is_left(void **state)
{
    bool tables = kind_of(state) == PIOMMU_BACKEND_TABLES;

    for (unsigned int kth = 1; kth <= 2; kth++) {
        struct bench *bench = open_bench(kind_of(state));
        int error;

        map(bench, BASE, MEMORY, 4 * PAGE, RW);
        mock_fail_call(bench->mock, kth, -PIOMMU_EIO, false);
        error = piommu_domain_protect(bench->domain, BASE, 4 * PAGE, R, HOLE, NULL);
        mock_fail_call(bench->mock, 0, 0, false);
        if (kth == 1) {
            assert_int_equal(error, -PIOMMU_EFAILED);
        } else if (tables) {
            assert_int_equal(error, 0);
        } else {
            assert_int_equal(error, -PIOMMU_EIO);
            assert_int_equal(bytes_mapped(bench), 0);
            assert_int_equal(reached(bench, BASE, false), NOTHING);
        }
        close_bench(bench);
    }
}

/* Portions of any budget make the same as one call; each is in force when it has returned. */
static void test_permissions_change_in_portions(void **state)
{
    bool tables = kind_of(state) == PIOMMU_BACKEND_TABLES;
    const uint64_t size = 8 * PAGE;

    for (uint32_t budget = 0; budget <= 9; budget++) {
        struct bench *bench = open_bench(kind_of(state));
        uint64_t behind = 0;
        uint64_t bytes = 0;
        unsigned int calls = 0;
        int error;

        for (uint64_t page = 0; page < 7; page++) {
            if (page != 2) {
                map(bench, BASE + page * PAGE, MEMORY + 2 * page * PAGE, PAGE, RW);
            }
        }
        do {
            uint64_t done = 1;
            uint64_t changed = 1;

            error = piommu_domain_protect_some(bench->domain, BASE + behind, size - behind, R, HOLE,
                                               budget, &done, &changed);
            assert_true(error == 0 || error == -PIOMMU_EAGAIN);
            assert_true(done != 0 && (done & (PAGE - 1)) == 0);
            behind += done;
            bytes += changed;
            calls++;
            for (uint64_t at = 0; at < 7 * PAGE; at += PAGE) {
                assert_int_equal(reached(bench, BASE + at, true),
                                 at < behind || at == 2 * PAGE ? NOTHING : MEMORY + 2 * at);
                assert_int_equal(reached(bench, BASE + at, false),
                                 at == 2 * PAGE ? NOTHING : MEMORY + 2 * at);
            }
        } while (error != 0);
        assert_int_equal(behind, size);
        assert_int_equal(bytes, 6 * PAGE);
        assert_true(budget > 1 || calls >= 6);
        assert_true(budget < 8 || calls == 1);
        close_bench(bench);
    }
    {
        struct bench *bench = open_bench(kind_of(state));
        uint64_t done = 1;

        map(bench, BASE, MEMORY, BLOCK, RW);
        assert_int_equal(
            piommu_domain_protect_some(bench->domain, BASE, PAGE, R, HOLE, 1, &done, NULL),
            -PIOMMU_ECUT);
        assert_int_equal(done, 0);
        assert_int_equal(reached(bench, BASE, true), MEMORY);
        assert_int_equal(
            piommu_domain_protect_some(bench->domain, BASE, BLOCK, R, 0, 1, &done, NULL),
            tables ? 0 : -PIOMMU_EHOLE);
        assert_int_equal(
            piommu_domain_protect_some(bench->domain, BASE, BLOCK, R, HOLE, 1, NULL, NULL),
            -PIOMMU_EINVAL);
        assert_int_equal(piommu_domain_protect_some(bench->domain, BASE + BLOCK, BLOCK, R, HOLE,
                                                    1024, &done, NULL),
                         0);
        assert_int_equal(done, BLOCK);
        close_bench(bench);
    }
}

static void test_bad_changes_are_refused(void **state)
{
    struct bench *bench = open_bench(kind_of(state));
    struct piommu_domain *domain = bench->domain;
    struct piommu_domain_config config = {
        .type = PIOMMU_DOMAIN_BLOCKED, .instances = &bench->instance, .instance_count = 1};
    struct piommu_domain *blocked;
    struct piommu_translation result;
    struct piommu_gather gather;
    uint64_t found;

    piommu_gather_init(&gather);
    map(bench, BASE, MEMORY, BLOCK, RW);
    assert_int_equal(piommu_domain_create(&config, &blocked), 0);
    assert_int_equal(piommu_domain_unmap_cut(blocked, BASE, PAGE, HOLE, NULL), -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_protect(blocked, BASE, PAGE, R, HOLE, NULL), -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_unmap_leaves(blocked, BASE, BASE, &gather, NULL, NULL),
                     -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_next(blocked, 0, BASE, &found, &result), -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_unmap_cut(NULL, BASE, PAGE, HOLE, NULL), -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_unmap_cut(domain, BASE, PAGE, 2, NULL), -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_unmap_cut(domain, BASE + 1, PAGE, HOLE, NULL), -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_unmap_cut(domain, BASE, 0, HOLE, NULL), -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_unmap_cut(domain, 1ull << 60, PAGE, HOLE, NULL), -PIOMMU_ERANGE);
    assert_int_equal(piommu_domain_unmap_cut(domain, BASE + BLOCK, PAGE, HOLE, NULL),
                     -PIOMMU_ENOENT);
    assert_int_equal(piommu_domain_protect(domain, BASE, BLOCK, R, 2, NULL), -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_protect(domain, BASE, BLOCK, 0, HOLE, NULL), -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_protect(domain, BASE, BLOCK, R | PIOMMU_PROT_DEVICE, HOLE, NULL),
                     -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_protect(domain, BASE, PAGE, R, HOLE, NULL), -PIOMMU_ECUT);
    assert_int_equal(piommu_domain_protect(domain, BASE + BLOCK, PAGE, R, HOLE, NULL),
                     -PIOMMU_ENOENT);
    assert_int_equal(piommu_domain_unmap_leaves(domain, BASE, BASE - 1, &gather, NULL, NULL),
                     -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_unmap_leaves(domain, BASE, UINT64_MAX, &gather, NULL, NULL),
                     -PIOMMU_ERANGE);
    assert_int_equal(
        piommu_domain_unmap_leaves(domain, BASE + BLOCK, BASE + BLOCK, &gather, NULL, NULL),
        -PIOMMU_ENOENT);
    assert_false(gather.pending);
    assert_int_equal(bytes_mapped(bench), BLOCK);
    assert_int_equal(piommu_domain_destroy(blocked), 0);
    close_bench(bench);
}

/* ---- Whole leaves, and all of them ---- */

static void test_unmap_leaves_tells_the_true_range(void **state)
{
    struct bench *bench = open_bench(kind_of(state));
    struct piommu_gather gather;
    struct piommu_range removed;
    uint64_t unmapped;

    piommu_gather_init(&gather);
    map(bench, BASE, MEMORY, BLOCK, RW);
    map(bench, BASE + BLOCK, MEMORY_2, PAGE, RW);
    assert_int_equal(
        piommu_domain_unmap_leaves(bench->domain, BASE + 5, BASE + 5, &gather, &removed, &unmapped),
        0);
    assert_int_equal(removed.first, BASE);
    assert_int_equal(removed.last, BASE + BLOCK - 1);
    assert_int_equal(unmapped, BLOCK);
    assert_int_equal(piommu_domain_sync(bench->domain, &gather), 0);
    assert_int_equal(reached(bench, BASE, false), NOTHING);
    assert_int_equal(reached(bench, BASE + BLOCK, true), MEMORY_2);
    assert_int_equal(bytes_mapped(bench), PAGE);
    close_bench(bench);
}

static void test_next_goes_from_mapping_to_mapping(void **state)
{
    struct bench *bench = open_bench(kind_of(state));
    struct piommu_translation result;
    struct piommu_gather gather;
    uint64_t found;

    piommu_gather_init(&gather);
    assert_int_equal(piommu_domain_next(bench->domain, 0, UINT64_MAX, &found, &result),
                     -PIOMMU_ENOENT);
    map(bench, BASE + PAGE, MEMORY, PAGE, RW);
    map(bench, BASE + 5 * PAGE, MEMORY_2, PAGE, R);
    map(bench, BASE + 7 * PAGE, MEMORY_2, PAGE, R);
    assert_int_equal(piommu_domain_unmap(bench->domain, BASE + 5 * PAGE, PAGE, &gather, NULL), 0);
    assert_int_equal(piommu_domain_next(bench->domain, BASE, BASE + 8 * PAGE, &found, &result), 0);
    assert_int_equal(found, BASE + PAGE);
    assert_int_equal(result.physical, MEMORY);
    assert_int_equal(result.leaf_size, PAGE);
    assert_int_equal(result.prot, RW);
    /* What was unmapped is not there, synced or not. */
    assert_int_equal(piommu_domain_next(bench->domain, found + PAGE, UINT64_MAX, &found, &result),
                     0);
    assert_int_equal(found, BASE + 7 * PAGE);
    assert_int_equal(
        piommu_domain_next(bench->domain, BASE + 2 * PAGE, BASE + 7 * PAGE - 1, &found, &result),
        -PIOMMU_ENOENT);
    assert_int_equal(piommu_domain_sync(bench->domain, &gather), 0);
    close_bench(bench);
}

/* ---- Everything at random ---- */

static uint64_t random_state;

static uint64_t random_number(uint64_t limit)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state % limit;
}

static void begin(struct bench *bench)
{
    memcpy(bench->before, bench->pages, sizeof(bench->pages));
}

/* At rest the device reaches just what is mapped; what waits for a sync it may. */
static void compare(struct bench *bench)
{
    uint64_t mapped = 0;

    for (unsigned int i = 0; i < PAGES; i++) {
        const struct shadow *page = &bench->pages[i];
        struct piommu_translation result;
        int found = piommu_domain_lookup(bench->domain, BASE + i * PAGE, &result);

        assert_int_equal(found, page->mapped ? 0 : -PIOMMU_ENOENT);
        if (page->mapped) {
            mapped += PAGE;
            assert_int_equal(result.physical, page->physical);
            assert_int_equal(result.prot, page->prot);
            assert_int_equal(reached(bench, BASE + i * PAGE, false), page->physical);
            assert_int_equal(reached(bench, BASE + i * PAGE, true),
                             (page->prot & PIOMMU_PROT_WRITE) != 0 ? page->physical : NOTHING);
        } else if (!page->pending) {
            assert_int_equal(reached(bench, BASE + i * PAGE, false), NOTHING);
        }
    }
    assert_int_equal(bytes_mapped(bench), mapped);
}

static bool any(const struct bench *bench, unsigned int first, unsigned int count, bool pending)
{
    bool found = false;

    for (unsigned int i = first; i < first + count; i++) {
        found = found || bench->pages[i].mapped || (pending && bench->pages[i].pending);
    }
    return found;
}

/* Whether a mapping lies across an end of the range. */
static bool cuts(struct bench *bench, unsigned int first, unsigned int count)
{
    uint64_t from = BASE + first * PAGE;
    uint64_t last = BASE + (first + count) * PAGE - 1;
    struct piommu_translation result;
    uint64_t found;

    if (piommu_domain_next(bench->domain, from, from, &found, &result) == 0 && found < from) {
        return true;
    }
    return piommu_domain_next(bench->domain, last, last, &found, &result) == 0 &&
           found + (result.leaf_size - 1) > last;
}

static void remove_pages(struct bench *bench, unsigned int first, unsigned int count, bool pending)
{
    for (unsigned int i = first; i < first + count; i++) {
        bench->pages[i].pending =
            (bench->pages[i].mapped && pending) || (bench->pages[i].pending && pending);
        bench->pages[i].mapped = false;
    }
}

static void one_step(struct bench *bench, struct piommu_gather *gather)
{
    bool tables = mock_backend(bench->mock)->kind == PIOMMU_BACKEND_TABLES;
    unsigned int first = (unsigned int)random_number(PAGES);
    unsigned int count = 1 + (unsigned int)random_number(PAGES - first);
    uint64_t iova = BASE + first * PAGE;
    uint64_t size = count * PAGE;
    piommu_prot prot = random_number(2) != 0 ? RW : R;
    unsigned int flags = random_number(3) != 0 ? HOLE : 0;
    bool cut = cuts(bench, first, count);
    uint64_t bytes = 0;
    struct piommu_range removed;
    int error;

    begin(bench);
    switch (random_number(7)) {
    case 0:
    case 1: {
        uint64_t physical = MEMORY + random_number(64) * PAGE;

        /* With tables that what waits for a sync is left alone is the caller's duty. */
        if (any(bench, first, count, true)) {
            if (!any(bench, first, count, false) && tables) {
                return;
            }
            assert_int_equal(piommu_domain_map(bench->domain, iova, physical, size, prot),
                             -PIOMMU_EEXIST);
            break;
        }
        for (unsigned int i = 0; i < count; i++) {
            bench->pages[first + i] = (struct shadow){true, false, physical + i * PAGE, prot};
        }
        assert_int_equal(piommu_domain_map(bench->domain, iova, physical, size, prot), 0);
        break;
    }
    case 2:
        error = piommu_domain_unmap(bench->domain, iova, size, gather, &bytes);
        assert_int_equal(error, cut                                ? -PIOMMU_ECUT
                                : !any(bench, first, count, false) ? -PIOMMU_ENOENT
                                                                   : 0);
        if (error == 0) {
            remove_pages(bench, first, count, true);
        }
        break;
    case 3: {
        bool some = any(bench, first, count, false);
        bool refused = cut && flags == 0;

        if (some && !refused) {
            for (unsigned int i = first; i < first + count; i++) {
                bench->pages[i].mapped = false;
            }
        }
        error = piommu_domain_unmap_cut(bench->domain, iova, size, flags, &bytes);
        assert_int_equal(error, !some ? -PIOMMU_ENOENT : refused ? -PIOMMU_EHOLE : 0);
        break;
    }
    case 4: {
        bool some = any(bench, first, count, false);
        bool differs = false;

        for (unsigned int i = first; i < first + count; i++) {
            differs = differs || (bench->pages[i].mapped && bench->pages[i].prot != prot);
        }
        if (some && !cut && (tables || !differs || flags != 0)) {
            for (unsigned int i = first; i < first + count; i++) {
                if (bench->pages[i].mapped) {
                    bench->pages[i].prot = prot;
                }
            }
        }
        error = piommu_domain_protect(bench->domain, iova, size, prot, flags, &bytes);
        assert_int_equal(error, cut                                ? -PIOMMU_ECUT
                                : !some                            ? -PIOMMU_ENOENT
                                : !tables && differs && flags == 0 ? -PIOMMU_EHOLE
                                                                   : 0);
        break;
    }
    case 5:
        error = piommu_domain_unmap_leaves(bench->domain, iova, iova + size - 1, gather, &removed,
                                           &bytes);
        if (error == 0) {
            first = (unsigned int)((removed.first - BASE) / PAGE);
            count = (unsigned int)((removed.last + 1 - removed.first) / PAGE);
            assert_true(any(bench, first, count, false));
            remove_pages(bench, first, count, true);
        } else {
            assert_int_equal(error, -PIOMMU_ENOENT);
            assert_false(any(bench, first, count, false));
        }
        break;
    default:
        for (unsigned int i = 0; i < PAGES; i++) {
            bench->pages[i].pending = false;
        }
        assert_int_equal(piommu_domain_sync(bench->domain, gather), 0);
        break;
    }
    compare(bench);
}

static void test_random_changes_are_right_at_every_step(void **state)
{
    const char *steps = getenv("PIOMMU_RANDOM_STEPS");
    const char *seed = getenv("PIOMMU_RANDOM_SEED");
    unsigned long count = steps != NULL ? strtoul(steps, NULL, 10) : MAX_STEPS;
    struct bench *bench = open_bench(kind_of(state));
    struct piommu_gather gather;

    random_state = seed != NULL ? strtoull(seed, NULL, 10) | 1 : 88172645463325253ull;
    print_message("PIOMMU_RANDOM_SEED=%" PRIu64 "\n", random_state);
    piommu_gather_init(&gather);
    bench->probing = true;
    for (unsigned long i = 0; i < count && i < MAX_STEPS; i++) {
        one_step(bench, &gather);
    }
    assert_true(bench->probes != 0);
    begin(bench);
    assert_int_equal(piommu_domain_sync(bench->domain, &gather), 0);
    close_bench(bench);
}

int main(void)
{
    static enum piommu_backend_kind kinds[] = {PIOMMU_BACKEND_TABLES, PIOMMU_BACKEND_REQUESTS};
#define FOR_EACH_KIND(function)                                  \
    {#function " (tables)", function, NULL, NULL, &kinds[0]},    \
    {                                                            \
#function " (requests)", function, NULL, NULL, &kinds[1] \
    }
    const struct CMUnitTest tests[] = {
        FOR_EACH_KIND(test_a_cut_leaves_what_lies_outside_the_range),
        FOR_EACH_KIND(test_a_hole_has_to_be_allowed),
        FOR_EACH_KIND(test_a_cut_that_fails_says_what_is_left),
        FOR_EACH_KIND(test_a_cut_without_memory_changes_nothing),
        FOR_EACH_KIND(test_permissions_are_in_force_when_protect_returns),
        FOR_EACH_KIND(test_protect_that_fails_says_what_is_left),
        FOR_EACH_KIND(test_permissions_change_in_portions),
        FOR_EACH_KIND(test_bad_changes_are_refused),
        FOR_EACH_KIND(test_unmap_leaves_tells_the_true_range),
        FOR_EACH_KIND(test_next_goes_from_mapping_to_mapping),
        FOR_EACH_KIND(test_random_changes_are_right_at_every_step),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
