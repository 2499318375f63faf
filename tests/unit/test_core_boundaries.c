/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Each call that takes addresses or sizes, with all pairs of 0, 1, 2^k - 1, 2^k and 2^64 - 1. What
 * errors apply is worked out here, with nothing but comparisons; where several do, any of them will
 * do. (Addresses that overflow, ranges with inclusive ends, the top of the space: f9423606ade0 of
 * Linux's VT-d driver, 5b199498f of cloud-hypervisor.)
 */

#include "core_bench.h"

#include <piommu/piommu.h>

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <inttypes.h>

#include <cmocka.h>

#define FIRST_ID  10u
#define HOLE      PIOMMU_ALLOW_HOLE
#define VALUES    130u
#define BUDGET    0x40000000u
#define MARK      0x123000ull /* a page that is mapped while ranges are taken away */
#define MARK_LEAD 0x80000000ull

/* Sums of these say which errors apply; 0: it has to work. */
enum verdict {
    FINE = 0,
    INVALID = 1,
    OUT_OF_RANGE = 2,
};

struct setup {
    struct core_bench *bench;
    struct piommu_domain *domain;
    struct piommu_range aperture;
    uint64_t highest_physical;
    uint64_t values[VALUES];
    unsigned int count;
    bool record;        /* the domain is deferred, and keeps a record of calls */
    unsigned long fine; /* calls that had to work */
};

static void with_all_addresses(unsigned int unit, struct piommu_backend_info *info)
{
    (void)unit;
    info->aperture.last = UINT64_MAX;
}

static void with_a_part(unsigned int unit, struct piommu_backend_info *info)
{
    (void)unit;
    info->aperture.first = 1ull << 20;
    info->aperture.last = (1ull << 48) - 1;
}

static void with_device_memory(unsigned int unit, struct piommu_backend_info *info)
{
    (void)unit;
    info->prot |= PIOMMU_PROT_DEVICE;
}

static struct setup open_setup(void **state, core_adjust *adjust)
{
    struct setup setup = {.bench = core_open(core_case_of(state), adjust)};

    setup.domain = core_paging(setup.bench);
    for (unsigned int i = 0; i < setup.bench->options.units; i++) {
        assert_int_equal(
            core_attach(core_add_device(setup.bench, i, FIRST_ID + i, NULL, 0, 0), setup.domain),
            0);
    }
    setup.aperture.last = (1ull << 39) - 1;
    if (adjust == with_all_addresses) {
        setup.aperture.last = UINT64_MAX;
    } else if (adjust == with_a_part) {
        setup.aperture.first = 1ull << 20;
        setup.aperture.last = (1ull << 48) - 1;
    }
    setup.highest_physical = core_has_tables(setup.bench) ? (1ull << 40) - 1 : UINT64_MAX;
    setup.values[setup.count++] = 0;
    setup.values[setup.count++] = UINT64_MAX;
    for (unsigned int k = 0; k < 64; k++) {
        setup.values[setup.count++] = 1ull << k;
        if (k > 1) {
            setup.values[setup.count++] = (1ull << k) - 1;
        }
    }
    return setup;
}

/* The same calls on a domain that only keeps a record of them. */
static struct setup open_record(void **state)
{
    struct setup setup = open_setup(state, NULL);
    const struct piommu_domain_config config = core_config(setup.bench, PIOMMU_DOMAIN_DEFERRED);

    setup.record = true;
    setup.domain = core_create(setup.bench, &config);
    return setup;
}

/* ---- The oracle ---- */

static bool is_page(uint64_t value)
{
    return value % CORE_PAGE == 0;
}

/* Does a piece of this size from an address on stay at or below the last address? */
static bool fits(uint64_t from, uint64_t size, uint64_t last)
{
    return from <= last && (size == 0 || size - 1 <= last - from);
}

static unsigned int judge_range(const struct setup *setup, uint64_t iova, uint64_t size)
{
    unsigned int verdict = FINE;

    if (!is_page(iova) || !is_page(size) || size == 0) {
        verdict |= INVALID;
    }
    if (iova < setup->aperture.first || !fits(iova, size, setup->aperture.last)) {
        verdict |= OUT_OF_RANGE;
    }
    return verdict;
}

static unsigned int judge_map(const struct setup *setup, uint64_t iova, uint64_t physical,
                              uint64_t size)
{
    unsigned int verdict = judge_range(setup, iova, size);

    if (!is_page(physical)) {
        verdict |= INVALID;
    }
    if (!fits(physical, size, setup->highest_physical)) {
        verdict |= OUT_OF_RANGE;
    }
    return verdict;
}

static bool agrees(unsigned int verdict, int error)
{
    switch (error) {
    case 0:
        return verdict == FINE;
    case -PIOMMU_EINVAL:
        return (verdict & INVALID) != 0;
    case -PIOMMU_ERANGE:
        return (verdict & OUT_OF_RANGE) != 0;
    default:
        return false;
    }
}

static void check(const char *call, unsigned int verdict, int error, uint64_t first,
                  uint64_t second, uint64_t third)
{
    if (!agrees(verdict, error)) {
        fail_msg("%s(%#" PRIx64 ", %#" PRIx64 ", %#" PRIx64 ") is %d, but %s%s%s applies", call,
                 first, second, third, error, verdict == FINE ? "nothing" : "",
                 (verdict & INVALID) != 0 ? " EINVAL" : "",
                 (verdict & OUT_OF_RANGE) != 0 ? " ERANGE" : "");
    }
}

/* Tables of pages for many GiB would take all the memory there is. */
static bool is_too_much(const struct setup *setup, uint64_t iova, uint64_t physical, uint64_t size)
{
    const uint64_t offset = iova ^ physical;

    if (!core_has_tables(setup->bench) || setup->record) {
        return false;
    }
    return (offset % CORE_BLOCK != 0 && size > 0x10000000) ||
           (offset % 0x40000000 != 0 && size > 0x800000000);
}

/* ---- Maps ---- */

static void expect_mapped_and_unmap(struct setup *setup, uint64_t iova, uint64_t physical,
                                    uint64_t size)
{
    struct piommu_translation result;

    core_expect_held(setup->domain, iova, physical, CORE_PAGE, CORE_RW);
    core_expect_held(setup->domain, iova + (size - CORE_PAGE), physical + (size - CORE_PAGE),
                     CORE_PAGE, CORE_RW);
    assert_int_equal(piommu_domain_lookup(setup->domain, iova + (size - 1), &result), 0);
    assert_int_equal(result.physical, physical + (size - 1));
    if (!core_has_tables(setup->bench)) {
        assert_int_equal(result.leaf_size, size);
    }
    if (!setup->record) {
        assert_int_equal(core_reached(setup->bench, FIRST_ID, iova + (size - 1), true),
                         physical + (size - 1));
    }
    assert_int_equal(core_statistics(setup->domain).mapped, size);
    core_unmap(setup->domain, iova, size);
    assert_int_equal(core_statistics(setup->domain).mapped, 0);
    setup->fine++;
}

static int map_list(struct piommu_domain *domain, uint64_t iova, uint64_t physical, uint64_t size)
{
    const struct piommu_segment segment = {physical, size};

    return piommu_domain_map_list(domain, iova, &segment, 1, CORE_RW);
}

static int map_some(struct piommu_domain *domain, uint64_t iova, uint64_t physical, uint64_t size)
{
    uint64_t mapped = 1;
    int error = piommu_domain_map_some(domain, iova, physical, size, CORE_RW, BUDGET, &mapped);

    assert_int_equal(mapped, error == 0 ? size : 0);
    return error;
}

static void try_maps(struct setup *setup, uint64_t iova, uint64_t physical, uint64_t size)
{
    struct piommu_domain *domain = setup->domain;
    const unsigned int verdict = judge_map(setup, iova, physical, size);
    int errors[5];

    if (verdict == FINE && is_too_much(setup, iova, physical, size)) {
        return;
    }
    for (unsigned int i = 0; i < 5; i++) {
        static const char *const names[] = {"map", "map_list", "map_again", "map_some", "replace"};
        uint64_t replaced = 1;

        switch (i) {
        case 0:
            errors[i] = piommu_domain_map(domain, iova, physical, size, CORE_RW);
            break;
        case 1:
            errors[i] = map_list(domain, iova, physical, size);
            break;
        case 2:
            errors[i] = piommu_domain_map_again(domain, iova, physical, size, CORE_RW);
            break;
        case 3:
            errors[i] = map_some(domain, iova, physical, size);
            break;
        default:
            errors[i] =
                piommu_domain_replace(domain, iova, physical, size, CORE_RW, HOLE, &replaced);
            break;
        }
        check(names[i], verdict, errors[i], iova, physical, size);
        if (errors[i] == 0) {
            expect_mapped_and_unmap(setup, iova, physical, size);
        }
    }
}

static void maps_of_every_size(struct setup setup)
{
    for (unsigned int i = 0; i < setup.count; i++) {
        for (unsigned int j = 0; j < setup.count; j++) {
            const uint64_t address = setup.values[i];
            const uint64_t size = setup.values[j];

            try_maps(&setup, address, 0, size);
            try_maps(&setup, address, address, size);
            try_maps(&setup, setup.aperture.first, address, size);
            /* From the end downwards. */
            try_maps(&setup, setup.aperture.last - size + 1, address, size);
            try_maps(&setup, setup.aperture.first, setup.highest_physical - size + 1, size);
        }
    }
    assert_true(setup.fine > 1000);
    assert_int_equal(core_statistics(setup.domain).mapped, 0);
    core_close(setup.bench);
}

static void test_maps_of_every_address_and_size(void **state)
{
    maps_of_every_size(open_setup(state, NULL));
}

static void test_maps_in_the_whole_space(void **state)
{
    maps_of_every_size(open_setup(state, with_all_addresses));
}

static void test_maps_in_an_aperture_that_begins_above_0(void **state)
{
    maps_of_every_size(open_setup(state, with_a_part));
}

static void test_maps_that_a_record_keeps(void **state)
{
    maps_of_every_size(open_record(state));
}

static void test_every_address_to_every_memory(void **state)
{
    struct setup setup = open_setup(state, NULL);

    for (unsigned int i = 0; i < setup.count; i++) {
        for (unsigned int j = 0; j < setup.count; j++) {
            try_maps(&setup, setup.values[i], setup.values[j], CORE_PAGE);
        }
    }
    assert_true(setup.fine > 1000);
    core_close(setup.bench);
}

static void test_lists_of_segments_of_every_size(void **state)
{
    struct setup setup = open_setup(state, NULL);

    for (unsigned int i = 0; i < setup.count; i++) {
        for (unsigned int j = 0; j < setup.count; j++) {
            const struct piommu_segment segments[] = {{0, setup.values[i]}, {0, setup.values[j]}};
            const uint64_t sum = setup.values[i] + setup.values[j];
            const unsigned int each =
                judge_map(&setup, 0, 0, setup.values[i]) | judge_map(&setup, 0, 0, setup.values[j]);
            unsigned int verdict = each | judge_range(&setup, 0, sum);
            int error;

            if (sum < setup.values[i]) {
                verdict |= OUT_OF_RANGE;
            }
            if (verdict == FINE && (is_too_much(&setup, setup.values[i], 0, setup.values[j]))) {
                continue;
            }
            error = piommu_domain_map_list(setup.domain, 0, segments, 2, CORE_RW);
            check("map_list", verdict, error, setup.values[i], setup.values[j], 0);
            if (error == 0) {
                core_expect_held(setup.domain, setup.values[i], 0, CORE_PAGE, CORE_RW);
                assert_int_equal(core_statistics(setup.domain).mapped, sum);
                core_unmap(setup.domain, 0, sum);
                setup.fine++;
            }
        }
    }
    assert_true(setup.fine > 100);
    core_close(setup.bench);
}

/* ---- What takes away, and looks ---- */

static bool covers_mark(uint64_t first, uint64_t last)
{
    return first <= MARK && last >= MARK + (CORE_PAGE - 1);
}

static bool touches_mark(uint64_t first, uint64_t last)
{
    return first <= MARK + (CORE_PAGE - 1) && last >= MARK;
}

static void mark(const struct setup *setup)
{
    core_map(setup->domain, MARK, MARK_LEAD, CORE_PAGE, CORE_RW);
}

static int unmap_some(struct piommu_domain *domain, uint64_t iova, uint64_t size,
                      struct piommu_gather *gather, uint64_t *sum)
{
    uint64_t done = 0;
    int error;

    *sum = 0;
    do {
        uint64_t behind = 1;
        uint64_t unmapped = 0;

        error = piommu_domain_unmap_some(domain, iova + done, size - done, BUDGET, gather, &behind,
                                         &unmapped);
        assert_true(error == 0 || error == -PIOMMU_EAGAIN || behind == 0);
        assert_true(error != -PIOMMU_EAGAIN || behind != 0);
        done += behind;
        *sum += unmapped;
    } while (error == -PIOMMU_EAGAIN);
    assert_int_equal(done, error == 0 ? size : 0);
    return error;
}

static int protect_some(struct piommu_domain *domain, uint64_t iova, uint64_t size, uint64_t *sum)
{
    uint64_t done = 0;
    int error;

    *sum = 0;
    do {
        uint64_t behind = 1;
        uint64_t changed = 0;

        error = piommu_domain_protect_some(domain, iova + done, size - done, CORE_R, HOLE, BUDGET,
                                           &behind, &changed);
        assert_true(error == 0 || error == -PIOMMU_EAGAIN || behind == 0);
        assert_true(error != -PIOMMU_EAGAIN || behind != 0);
        done += behind;
        *sum += changed;
    } while (error == -PIOMMU_EAGAIN);
    assert_int_equal(done, error == 0 ? size : 0);
    return error;
}

static void try_removals(struct setup *setup, uint64_t iova, uint64_t size)
{
    static const char *const names[] = {"unmap", "unmap_some", "unmap_cut", "protect",
                                        "protect_some"};
    const unsigned int verdict = judge_range(setup, iova, size);
    const bool meets = verdict == FINE && covers_mark(iova, iova + (size - 1));

    for (unsigned int i = 0; i < 5; i++) {
        struct piommu_gather gather;
        uint64_t bytes = 0;
        int error;

        piommu_gather_init(&gather);
        switch (i) {
        case 0:
            error = piommu_domain_unmap(setup->domain, iova, size, &gather, &bytes);
            break;
        case 1:
            error = unmap_some(setup->domain, iova, size, &gather, &bytes);
            break;
        case 2:
            error = piommu_domain_unmap_cut(setup->domain, iova, size, HOLE, &bytes);
            break;
        case 3:
            error = piommu_domain_protect(setup->domain, iova, size, CORE_R, HOLE, &bytes);
            break;
        default:
            error = protect_some(setup->domain, iova, size, &bytes);
            break;
        }
        if (verdict == FINE && !meets) {
            assert_int_equal(error, i == 1 || i == 4 ? 0 : -PIOMMU_ENOENT);
            assert_int_equal(bytes, 0);
        } else {
            check(names[i], verdict, error, iova, size, 0);
        }
        assert_int_equal(gather.pending, meets && i < 2);
        if (!meets) {
            continue;
        }
        assert_int_equal(bytes, CORE_PAGE);
        assert_int_equal(piommu_domain_sync(setup->domain, &gather), 0);
        setup->fine++;
        if (i >= 3) {
            core_expect_held(setup->domain, MARK, MARK_LEAD, CORE_PAGE, CORE_R);
            core_unmap(setup->domain, MARK, CORE_PAGE);
        }
        core_expect_nothing(setup->bench, FIRST_ID, MARK, CORE_PAGE);
        mark(setup);
    }
}

static void removals_of_every_size(struct setup setup)
{
    mark(&setup);
    for (unsigned int i = 0; i < setup.count; i++) {
        for (unsigned int j = 0; j < setup.count; j++) {
            const uint64_t size = setup.values[j];

            try_removals(&setup, setup.values[i], size);
            try_removals(&setup, setup.aperture.last - size + 1, size);
            try_removals(&setup, MARK, size);
            try_removals(&setup, MARK + CORE_PAGE - size, size);
        }
    }
    assert_true(setup.fine > 100);
    core_expect_held(setup.domain, MARK, MARK_LEAD, CORE_PAGE, CORE_RW);
    core_close(setup.bench);
}

static void test_removals_of_every_address_and_size(void **state)
{
    removals_of_every_size(open_setup(state, NULL));
}

static void test_removals_in_the_whole_space(void **state)
{
    removals_of_every_size(open_setup(state, with_all_addresses));
}

static void test_removals_in_an_aperture_that_begins_above_0(void **state)
{
    removals_of_every_size(open_setup(state, with_a_part));
}

static void test_removals_from_a_record(void **state)
{
    removals_of_every_size(open_record(state));
}

static void whole_leaves(struct setup setup)
{
    mark(&setup);
    for (unsigned int i = 0; i < setup.count; i++) {
        for (unsigned int j = 0; j < setup.count; j++) {
            const uint64_t first = setup.values[i];
            const uint64_t last = setup.values[j];
            const bool outside = first > setup.aperture.last || last > setup.aperture.last;
            const unsigned int verdict =
                (first > last ? INVALID : 0u) | (outside ? OUT_OF_RANGE : 0u);
            struct piommu_range removed = {1, 2};
            struct piommu_gather gather;
            uint64_t bytes = 0;
            int error;

            piommu_gather_init(&gather);
            error =
                piommu_domain_unmap_leaves(setup.domain, first, last, &gather, &removed, &bytes);
            if (verdict == FINE && !touches_mark(first, last)) {
                assert_int_equal(error, -PIOMMU_ENOENT);
            } else {
                check("unmap_leaves", verdict, error, first, last, 0);
            }
            assert_int_equal(gather.pending, error == 0);
            if (error == 0) {
                assert_int_equal(bytes, CORE_PAGE);
                assert_int_equal(removed.first, first < MARK ? first : MARK);
                assert_int_equal(removed.last,
                                 last > MARK + (CORE_PAGE - 1) ? last : MARK + (CORE_PAGE - 1));
                assert_int_equal(piommu_domain_sync(setup.domain, &gather), 0);
                mark(&setup);
                setup.fine++;
            } else {
                assert_int_equal(removed.first, 1);
                assert_int_equal(removed.last, 2);
            }
        }
    }
    assert_true(setup.fine > 100);
    core_close(setup.bench);
}

static void test_whole_leaves_between_any_two_addresses(void **state)
{
    whole_leaves(open_setup(state, NULL));
}

static void test_whole_pieces_of_a_record_between_any_two_addresses(void **state)
{
    whole_leaves(open_record(state));
}

static void looks(struct setup setup)
{
    mark(&setup);
    for (unsigned int i = 0; i < setup.count; i++) {
        const uint64_t first = setup.values[i];
        struct piommu_translation result = {0, 0, 0};
        int error = piommu_domain_lookup(setup.domain, first, &result);

        assert_int_equal(error, first > setup.aperture.last ? -PIOMMU_ERANGE : -PIOMMU_ENOENT);
        for (unsigned int j = 0; j < setup.count; j++) {
            const uint64_t last = setup.values[j];
            uint64_t found = 1;

            error = piommu_domain_next(setup.domain, first, last, &found, &result);
            if (first > last) {
                assert_true(error == -PIOMMU_EINVAL || error == -PIOMMU_ENOENT);
            } else {
                assert_int_equal(error, touches_mark(first, last) ? 0 : -PIOMMU_ENOENT);
            }
            assert_int_equal(found, error == 0 ? MARK : 1);
            error = piommu_domain_invalidate(setup.domain, first, last);
            assert_int_equal(error,
                             core_has_tables(setup.bench) && first <= last ? 0 : -PIOMMU_EINVAL);
        }
    }
    core_close(setup.bench);
}

static void test_looks_between_any_two_addresses(void **state)
{
    looks(open_setup(state, NULL));
}

static void test_looks_into_a_record_between_any_two_addresses(void **state)
{
    looks(open_record(state));
}

/* ---- What is configured ---- */

static void test_msi_windows_between_any_two_addresses(void **state)
{
    struct setup setup = open_setup(state, NULL);

    for (unsigned int i = 0; i < setup.count; i++) {
        for (unsigned int j = 0; j < setup.count; j++) {
            struct piommu_domain_config config = core_config(setup.bench, PIOMMU_DOMAIN_PAGING);
            const uint64_t first = setup.values[i];
            const uint64_t last = setup.values[j];
            struct piommu_domain *domain;
            int error;

            config.msi_window.first = first;
            config.msi_window.last = last;
            error = piommu_domain_create(&config, &domain);
            if (first > last) {
                assert_true(error == -PIOMMU_EINVAL || error == -PIOMMU_ERANGE);
            } else if (last == 0 ||
                       (is_page(first) && is_page(last + 1) && last <= setup.aperture.last)) {
                assert_int_equal(error, 0);
                assert_int_equal(piommu_domain_destroy(domain), 0);
                setup.fine++;
            } else {
                assert_int_equal(error, -PIOMMU_ERANGE);
            }
        }
    }
    assert_true(setup.fine > 100);
    core_close(setup.bench);
}

static void test_doorbells_at_every_address(void **state)
{
    struct setup setup = open_setup(state, with_device_memory);
    struct core_bench *bench = setup.bench;
    struct piommu_domain_config config = core_config(setup.bench, PIOMMU_DOMAIN_PAGING);
    struct piommu_domain *domain;
    struct piommu_device *device;

    config.msi_window.last = 128 * CORE_PAGE - 1;
    domain = core_create(bench, &config);
    device = bench->devices[0];
    assert_int_equal(core_attach(device, domain), 0);
    for (unsigned int i = 0; i < setup.count; i++) {
        const uint64_t doorbell = setup.values[i];
        uint64_t iova = 1;
        int error = piommu_device_map_msi(device, doorbell, &iova);

        assert_int_equal(error, doorbell <= setup.highest_physical ? 0 : -PIOMMU_ERANGE);
        if (error == 0) {
            assert_int_equal(core_reached(bench, FIRST_ID, iova, true), doorbell);
        } else {
            assert_int_equal(iova, 1);
        }
    }
    core_close(bench);
}

static void test_direct_regions_between_any_two_addresses(void **state)
{
    struct setup setup = open_setup(state, NULL);

    for (unsigned int i = 0; i < setup.count; i++) {
        for (unsigned int j = 0; j < setup.count; j++) {
            const struct piommu_reserved_region region = {{setup.values[i], setup.values[j]},
                                                          PIOMMU_RESERVED_DIRECT};
            const struct piommu_device_id id = {.instance = setup.bench->instances[0],
                                                .id = FIRST_ID + 50};
            const struct piommu_device_config config = {
                .ids = &id, .id_count = 1, .regions = &region, .region_count = 1};
            struct piommu_device *device = NULL;
            int error = piommu_device_add(setup.bench->context, &config, &device);

            assert_int_equal(error, setup.values[i] > setup.values[j] ? -PIOMMU_EINVAL : 0);
            if (error != 0) {
                continue;
            }
            /* Larger ones may need more tables than the simulated memory holds. */
            if (core_has_tables(setup.bench) && setup.values[j] <= setup.aperture.last &&
                setup.values[j] - setup.values[i] > 0x4000000) {
                assert_int_equal(piommu_device_remove(device), 0);
                continue;
            }
            error = core_attach(device, setup.domain);
            assert_int_equal(error, setup.values[j] > setup.aperture.last ? -PIOMMU_ERANGE : 0);
            if (error == 0) {
                assert_int_equal(core_reached(setup.bench, FIRST_ID + 50, setup.values[i], true),
                                 setup.values[i]);
                assert_int_equal(core_reached(setup.bench, FIRST_ID + 50, setup.values[j], false),
                                 setup.values[j]);
                core_detach(device);
                setup.fine++;
            }
            assert_int_equal(piommu_device_remove(device), 0);
        }
    }
    assert_true(setup.fine > 100);
    core_close(setup.bench);
}

static int told(void *cookie, uint64_t from, struct piommu_frames *frames)
{
    const struct piommu_frames *piece = cookie;

    if (from != 0 && piece->size != 0 && from - 1 >= piece->iova + (piece->size - 1)) {
        return -PIOMMU_ENOENT;
    }
    *frames = *piece;
    return 0;
}

static void test_a_hypervisor_tells_pieces_of_every_address_and_size(void **state)
{
    struct setup setup = open_setup(state, NULL);

    for (unsigned int i = 0; i < setup.count; i++) {
        for (unsigned int j = 0; j < setup.count; j++) {
            struct piommu_frames piece = {setup.values[i], setup.values[i], setup.values[j],
                                          CORE_RW};
            struct piommu_domain_config config = core_config(setup.bench, PIOMMU_DOMAIN_DEFERRED);
            const unsigned int verdict = judge_map(&setup, piece.iova, piece.physical, piece.size);
            struct piommu_domain *domain;
            int error;

            config.next_frames = told;
            config.frames_cookie = &piece;
            assert_int_equal(piommu_domain_create(&config, &domain), 0);
            do {
                error = piommu_domain_populate(domain, BUDGET);
            } while (error == -PIOMMU_EAGAIN);
            check("populate", verdict, error, piece.iova, piece.physical, piece.size);
            if (error == 0) {
                core_expect_held(domain, piece.iova, piece.physical, CORE_PAGE, CORE_RW);
                setup.fine++;
            }
            assert_int_equal(piommu_domain_destroy(domain), 0);
        }
    }
    assert_true(setup.fine > 100);
    core_close(setup.bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CORE_FOR_EACH_CASE(test_maps_of_every_address_and_size),
        CORE_FOR_REQUESTS(test_maps_in_the_whole_space),
        CORE_FOR_REQUESTS(test_maps_in_an_aperture_that_begins_above_0),
        CORE_FOR_EACH_CASE(test_maps_that_a_record_keeps),
        CORE_FOR_EACH_CASE(test_every_address_to_every_memory),
        CORE_FOR_EACH_CASE(test_lists_of_segments_of_every_size),
        CORE_FOR_EACH_CASE(test_removals_of_every_address_and_size),
        CORE_FOR_REQUESTS(test_removals_in_the_whole_space),
        CORE_FOR_REQUESTS(test_removals_in_an_aperture_that_begins_above_0),
        CORE_FOR_EACH_CASE(test_removals_from_a_record),
        CORE_FOR_EACH_CASE(test_whole_leaves_between_any_two_addresses),
        CORE_FOR_EACH_CASE(test_whole_pieces_of_a_record_between_any_two_addresses),
        CORE_FOR_EACH_CASE(test_looks_between_any_two_addresses),
        CORE_FOR_EACH_CASE(test_looks_into_a_record_between_any_two_addresses),
        CORE_FOR_EACH_CASE(test_msi_windows_between_any_two_addresses),
        CORE_FOR_EACH_CASE(test_doorbells_at_every_address),
        CORE_FOR_EACH_CASE(test_direct_regions_between_any_two_addresses),
        CORE_FOR_EACH_CASE(test_a_hypervisor_tells_pieces_of_every_address_and_size),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
