/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * What iova.h says of each function, and each of its errors, under the strict host.
 */

#include "fake_os.h"

#include <piommu/iova.h>

#include <inttypes.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdlib.h>

#include <cmocka.h>

#define PAGE      0x1000ull
#define UNTOUCHED 0x5a5a5a5a5a5a5a5aull
#define COUNT(a)  (sizeof(a) / sizeof((a)[0]))

#define CONFIG(...)  ((struct piommu_iova_config){__VA_ARGS__})
#define REQUEST(...) ((struct piommu_iova_request){__VA_ARGS__})

struct bench {
    struct fake_os *os;
    struct piommu_iova_space *space;
    uint32_t empty_nodes; /* in use where nothing lives */
};

static int set_up(void **state)
{
    struct bench *b = calloc(1, sizeof(*b));

    b->os = fake_os_create(NULL);
    *state = b;
    return 0;
}

/* The strict host ends the test here, if memory or a lock was not given back. */
static int tear_down(void **state)
{
    struct bench *b = *state;

    piommu_iova_destroy(b->space);
    fake_os_destroy(b->os);
    free(b);
    return 0;
}

static int try_create(struct bench *b, struct piommu_iova_config config)
{
    return piommu_iova_create(fake_os_host(b->os), &config, &b->space);
}

static struct piommu_iova_statistics statistics(struct bench *b)
{
    struct piommu_iova_statistics result;

    piommu_iova_get_statistics(b->space, &result);
    return result;
}

static void create(struct bench *b, struct piommu_iova_config config)
{
    piommu_iova_destroy(b->space);
    b->space = NULL;
    assert_int_equal(try_create(b, config), 0);
    assert_non_null(b->space);
    b->empty_nodes = statistics(b).nodes;
}

/* Pages of 4 KiB, from the address 0. */
static void create_pages(struct bench *b, uint64_t pages, unsigned int cpus)
{
    create(b, CONFIG(.granule = PAGE, .aperture = {0, pages * PAGE - 1}, .cpus = cpus));
}

static int try_alloc(struct bench *b, struct piommu_iova_request request, uint64_t *address)
{
    *address = UNTOUCHED;
    return piommu_iova_alloc(b->space, &request, address);
}

static uint64_t alloc(struct bench *b, struct piommu_iova_request request)
{
    uint64_t address;

    assert_int_equal(try_alloc(b, request, &address), 0);
    return address;
}

static void refuse_alloc(struct bench *b, struct piommu_iova_request request, int error)
{
    uint64_t address;

    assert_int_equal(try_alloc(b, request, &address), error);
    assert_int_equal(address, UNTOUCHED);
}

static int release(struct bench *b, uint64_t address, uint64_t size)
{
    return piommu_iova_free(b->space, address, size);
}

static int take(struct bench *b, uint64_t first, uint64_t last)
{
    return piommu_iova_take(b->space, (struct piommu_range){first, last});
}

static void is_found(struct bench *b, uint64_t address, uint64_t first, uint64_t last)
{
    struct piommu_range range = {UNTOUCHED, UNTOUCHED};

    assert_int_equal(piommu_iova_find(b->space, address, &range), 0);
    assert_int_equal(range.first, first);
    assert_int_equal(range.last, last);
}

static void is_free(struct bench *b, uint64_t address)
{
    struct piommu_range range = {UNTOUCHED, UNTOUCHED};

    assert_int_equal(piommu_iova_find(b->space, address, &range), -PIOMMU_ENOENT);
    assert_int_equal(range.first, UNTOUCHED);
    assert_int_equal(range.last, UNTOUCHED);
}

/* ---- Creation ---- */

static void test_a_space_needs_sound_arguments(void **state)
{
    static const struct piommu_iova_config bad[] = {
        {.granule = 0, .aperture = {0, 0xffff}},
        {.granule = 32, .aperture = {0, 0xffff}},
        {.granule = 96, .aperture = {0, 0xffff}},
        {.granule = 0x1001, .aperture = {0, 0xffff}},
        {.granule = PAGE, .aperture = {0x2000, 0x1fff}},
        {.granule = PAGE, .aperture = {UINT64_MAX, 0}},
        {.granule = PAGE, .aperture = {0, 0xffe}},
        {.granule = PAGE, .aperture = {1, 0x1ffe}},
        {.granule = PAGE, .aperture = {0x1001, 0x1fff}},
        {.granule = PAGE, .aperture = {UINT64_MAX - 5, UINT64_MAX}},
        {.granule = PAGE, .aperture = {0, 0xffff}, .cpus = 4097},
        {.granule = PAGE, .aperture = {0, 0xffff}, .cpus = ~0u},
    };
    static const struct piommu_iova_config good = {.granule = PAGE, .aperture = {0, 0xffff}};
    struct bench *b = *state;

    for (size_t i = 0; i < COUNT(bad); i++) {
        assert_int_equal(try_create(b, bad[i]), -PIOMMU_EINVAL);
        assert_null(b->space);
    }
    assert_int_equal(piommu_iova_create(fake_os_host(b->os), NULL, &b->space), -PIOMMU_EINVAL);
    assert_int_equal(piommu_iova_create(fake_os_host(b->os), &good, NULL), -PIOMMU_EINVAL);
    assert_int_equal(piommu_iova_create((struct piommu_host){0}, &good, &b->space), -PIOMMU_EINVAL);
    assert_null(b->space);
    assert_int_equal(fake_os_bytes_outstanding(b->os), 0);
}

static void test_a_space_needs_memory_and_locks_of_the_shim(void **state)
{
    struct bench *b = *state;
    struct piommu_os *callbacks = fake_os_callbacks(b->os);
    const struct piommu_os complete = *callbacks;
    const struct piommu_iova_config config = {.granule = PAGE, .aperture = {0, 0xffff}};

    callbacks->alloc = NULL;
    assert_int_equal(try_create(b, config), -PIOMMU_EINVAL);
    *callbacks = complete;
    callbacks->free = NULL;
    assert_int_equal(try_create(b, config), -PIOMMU_EINVAL);
    *callbacks = complete;
    callbacks->lock_create = NULL;
    assert_int_equal(try_create(b, config), -PIOMMU_EINVAL);
    *callbacks = complete;
    callbacks->lock = NULL;
    assert_int_equal(try_create(b, config), -PIOMMU_EINVAL);
    *callbacks = complete;
    assert_null(b->space);
    create(b, config);
}

static void test_a_space_ends_at_2_43_granules(void **state)
{
    struct bench *b = *state;
    uint64_t end = PAGE << 43;

    assert_int_equal(try_create(b, CONFIG(.granule = PAGE, .aperture = {0, end + PAGE - 1})),
                     -PIOMMU_ERANGE);
    assert_int_equal(try_create(b, CONFIG(.granule = PAGE, .aperture = {end, end + PAGE - 1})),
                     -PIOMMU_ERANGE);
    assert_null(b->space);
    create(b, CONFIG(.granule = PAGE, .aperture = {0, end - 1}));
    assert_int_equal(alloc(b, REQUEST(.size = PAGE)), end - PAGE);
}

static void test_creation_without_memory_leaves_nothing(void **state)
{
    static const struct piommu_iova_config config = {
        .granule = PAGE, .aperture = {0, 0xfffff}, .cpus = 3};
    struct bench *b = *state;
    uint64_t failed = 0;
    int error;

    do {
        fake_os_fail_call(b->os, failed + 1, false);
        error = try_create(b, config);
        assert_true(error == 0 || error == -PIOMMU_ENOMEM);
        if (error != 0) {
            failed++;
            assert_null(b->space);
            assert_int_equal(fake_os_bytes_outstanding(b->os), 0);
        }
    } while (error != 0);
    fake_os_fail_call(b->os, 0, false);
    assert_true(failed >= 2); /* memory and a lock at least */
}

static void test_destroying_gives_all_memory_back(void **state)
{
    struct bench *b = *state;

    piommu_iova_destroy(NULL);
    create_pages(b, 1 << 20, 2);
    for (uint64_t i = 0; i < 1000; i++) {
        assert_int_equal(take(b, i << 20, (i << 20) + PAGE - 1), 0);
    }
    assert_int_equal(release(b, 5 << 20, PAGE), 0);
    assert_int_equal(fake_os_bytes_outstanding(b->os), statistics(b).bytes);
    piommu_iova_destroy(b->space);
    b->space = NULL;
    assert_int_equal(fake_os_bytes_outstanding(b->os), 0);
}

/* ---- Where ranges lie ---- */

static void test_high_addresses_are_given_out_first(void **state)
{
    struct bench *b = *state;

    create_pages(b, 16, 0);
    assert_int_equal(alloc(b, REQUEST(.size = PAGE)), 15 * PAGE);
    assert_int_equal(alloc(b, REQUEST(.size = 3 * PAGE)), 12 * PAGE);
    assert_int_equal(alloc(b, REQUEST(.size = 1)), 11 * PAGE);
    assert_int_equal(release(b, 12 * PAGE, 3 * PAGE), 0);
    assert_int_equal(alloc(b, REQUEST(.size = 2 * PAGE)), 13 * PAGE);
    assert_int_equal(alloc(b, REQUEST(.size = 2 * PAGE)), 9 * PAGE);
    assert_int_equal(alloc(b, REQUEST(.size = PAGE)), 12 * PAGE);
}

static void test_low_addresses_are_given_out_first_if_asked_for(void **state)
{
    struct bench *b = *state;

    create(b, CONFIG(.granule = PAGE, .aperture = {0, 16 * PAGE - 1}, .bottom_up = true));
    assert_int_equal(alloc(b, REQUEST(.size = PAGE)), 0);
    assert_int_equal(alloc(b, REQUEST(.size = 3 * PAGE)), PAGE);
    assert_int_equal(alloc(b, REQUEST(.size = PAGE, .alignment = 8 * PAGE)), 8 * PAGE);
    assert_int_equal(release(b, PAGE, 3 * PAGE), 0);
    assert_int_equal(alloc(b, REQUEST(.size = 4 * PAGE)), PAGE);
    assert_int_equal(alloc(b, REQUEST(.size = 4 * PAGE)), 9 * PAGE);
}

static void test_granules_of_all_sizes(void **state)
{
    struct bench *b = *state;

    for (uint64_t granule = 64; granule <= 1ull << 30; granule *= 2) {
        uint64_t first = 3 * granule;
        uint64_t last = 8 * granule - 1;

        create(b, CONFIG(.granule = granule, .aperture = {first, last}));
        assert_int_equal(alloc(b, REQUEST(.size = granule)), 7 * granule);
        assert_int_equal(alloc(b, REQUEST(.size = granule + 1)), 5 * granule);
        assert_int_equal(alloc(b, REQUEST(.size = 2 * granule - 1)), 3 * granule);
        refuse_alloc(b, REQUEST(.size = 1), -PIOMMU_ENOSPC);
        assert_int_equal(statistics(b).granules_taken, 5);
        is_found(b, 6 * granule + 1, 5 * granule, 7 * granule - 1);
        assert_int_equal(release(b, 5 * granule, 2 * granule), 0);
        is_free(b, 5 * granule);
    }
}

static void test_edges_that_are_no_whole_granules_are_not_given_out(void **state)
{
    static const struct piommu_range apertures[] = {
        {2 * PAGE, 6 * PAGE - 1},
        {PAGE + 1, 6 * PAGE - 1},
        {2 * PAGE, 7 * PAGE - 2},
        {2 * PAGE - 1, 6 * PAGE},
    };
    struct bench *b = *state;

    for (size_t i = 0; i < 2 * COUNT(apertures); i++) {
        uint64_t seen = 0;

        create(b, CONFIG(.granule = PAGE, .aperture = apertures[i / 2], .bottom_up = i % 2 != 0));
        for (unsigned int j = 0; j < 4; j++) {
            seen |= 1ull << alloc(b, REQUEST(.size = 1)) / PAGE;
        }
        assert_int_equal(seen, 0x3c);
        refuse_alloc(b, REQUEST(.size = 1), -PIOMMU_ENOSPC);
        is_free(b, PAGE);
        is_free(b, 6 * PAGE);
    }
}

static void test_edges_hold_where_the_aperture_is_no_power_of_two(void **state)
{
    struct bench *b = *state;

    for (uint64_t first = 0; first < 1400; first += 233) {
        for (uint64_t count = 1; count < 3000; count += 311) {
            create(b, CONFIG(.granule = 64, .aperture = {first * 64, (first + count) * 64 - 1},
                             .bottom_up = count % 2 == 0));
            refuse_alloc(b, REQUEST(.size = (count + 1) * 64), -PIOMMU_ENOSPC);
            assert_int_equal(alloc(b, REQUEST(.size = count * 64)), first * 64);
            refuse_alloc(b, REQUEST(.size = 1), -PIOMMU_ENOSPC);
            assert_int_equal(release(b, first * 64, count * 64), 0);
        }
    }
}

static void test_the_whole_of_64_bits(void **state)
{
    struct bench *b = *state;
    uint64_t granule = 1ull << 21;
    uint64_t top = UINT64_MAX - granule + 1;

    create(b, CONFIG(.granule = granule, .aperture = {0, UINT64_MAX}));
    assert_int_equal(alloc(b, REQUEST(.size = granule)), top);
    is_found(b, UINT64_MAX, top, UINT64_MAX);
    assert_int_equal(take(b, 0, granule - 1), 0);
    is_found(b, 0, 0, granule - 1);
    assert_int_equal(take(b, top - 1, UINT64_MAX), -PIOMMU_EEXIST);
    assert_int_equal(release(b, top, granule), 0);
    assert_int_equal(take(b, top - 1, UINT64_MAX), 0);
    is_found(b, UINT64_MAX, top - granule, UINT64_MAX);
    assert_int_equal(alloc(b, REQUEST(.size = 1, .limit = UINT64_MAX)), top - 2 * granule);
    assert_int_equal(alloc(b, REQUEST(.size = 1, .alignment = 1ull << 63)), 1ull << 63);
    refuse_alloc(b, REQUEST(.size = 1, .alignment = 1ull << 63), -PIOMMU_ENOSPC);

    create(b, CONFIG(.granule = 1ull << 63, .aperture = {0, UINT64_MAX}));
    assert_int_equal(alloc(b, REQUEST(.size = UINT64_MAX)), 0);
    is_found(b, 1, 0, UINT64_MAX);
    assert_int_equal(release(b, 0, UINT64_MAX), 0);
}

/* ---- What a request may say ---- */

static void test_requests_that_make_no_sense_are_refused(void **state)
{
    static const struct piommu_iova_request bad[] = {
        {.size = 0},
        {.size = PAGE, .alignment = 3 * PAGE},
        {.size = PAGE, .alignment = 3},
        {.size = PAGE, .alignment = UINT64_MAX},
        {.size = PAGE, .boundary = 3 * PAGE},
        {.size = PAGE, .boundary = UINT64_MAX},
        {.size = 2 * PAGE, .boundary = PAGE},
        {.size = PAGE + 1, .boundary = PAGE},
        {.size = UINT64_MAX, .boundary = 1ull << 63},
    };
    const struct piommu_iova_request good = {.size = PAGE};
    struct bench *b = *state;
    uint64_t address = UNTOUCHED;

    create_pages(b, 16, 0);
    for (size_t i = 0; i < COUNT(bad); i++) {
        refuse_alloc(b, bad[i], -PIOMMU_EINVAL);
    }
    assert_int_equal(piommu_iova_alloc(NULL, &good, &address), -PIOMMU_EINVAL);
    assert_int_equal(piommu_iova_alloc(b->space, NULL, &address), -PIOMMU_EINVAL);
    assert_int_equal(piommu_iova_alloc(b->space, &good, NULL), -PIOMMU_EINVAL);
    assert_int_equal(address, UNTOUCHED);
    assert_int_equal(statistics(b).granules_taken, 0);
}

static void test_ranges_are_shorter_than_2_32_granules(void **state)
{
    uint64_t most = (1ull << 32) - 2;
    struct bench *b = *state;
    uint64_t address;

    create(b, CONFIG(.granule = 64, .aperture = {0, (1ull << 49) - 1}));
    refuse_alloc(b, REQUEST(.size = 64ull << 32), -PIOMMU_ERANGE);
    refuse_alloc(b, REQUEST(.size = UINT64_MAX), -PIOMMU_ERANGE);
    address = alloc(b, REQUEST(.size = 64 * most));
    assert_int_equal(statistics(b).granules_taken, most);
    is_found(b, address, address, address + 64 * most - 1);
    is_found(b, address + 64 * most - 1, address, address + 64 * most - 1);
    assert_int_equal(release(b, address, 64 * most), 0);
    assert_int_equal(statistics(b).granules_taken, 0);
}

static void test_alignments(void **state)
{
    struct bench *b = *state;

    create(b, CONFIG(.granule = PAGE, .aperture = {0, (PAGE << 20) - 1}));
    for (uint64_t alignment = 1; alignment < PAGE << 19; alignment *= 2) {
        uint64_t size = PAGE * (1 + alignment % 5);
        uint64_t address = alloc(b, REQUEST(.size = size, .alignment = alignment));

        assert_int_equal(address % alignment, 0);
        assert_int_equal(address % PAGE, 0);
    }
    /* No other place than 0 is so aligned. */
    assert_int_equal(alloc(b, REQUEST(.size = 1, .alignment = PAGE << 20)), 0);
    refuse_alloc(b, REQUEST(.size = 1, .alignment = PAGE << 20), -PIOMMU_ENOSPC);
    refuse_alloc(b, REQUEST(.size = 1, .alignment = 1ull << 63), -PIOMMU_ENOSPC);
}

static void test_alignment_is_that_of_the_address_not_of_the_aperture(void **state)
{
    struct bench *b = *state;

    create(b, CONFIG(.granule = PAGE, .aperture = {3 * PAGE, 13 * PAGE - 1}));
    assert_int_equal(alloc(b, REQUEST(.size = 3 * PAGE, .alignment = 4 * PAGE)), 8 * PAGE);
    assert_int_equal(alloc(b, REQUEST(.size = 3 * PAGE, .alignment = 4 * PAGE)), 4 * PAGE);
    refuse_alloc(b, REQUEST(.size = 2 * PAGE, .alignment = 4 * PAGE), -PIOMMU_ENOSPC);
    assert_int_equal(alloc(b, REQUEST(.size = PAGE, .alignment = 4 * PAGE)), 12 * PAGE);
}

static void test_no_byte_lies_above_the_limit(void **state)
{
    static const bool directions[] = {false, true};
    struct bench *b = *state;

    for (size_t i = 0; i < COUNT(directions); i++) {
        create(b, CONFIG(.granule = PAGE, .aperture = {PAGE, (PAGE << 20) - 1},
                         .bottom_up = directions[i]));
        refuse_alloc(b, REQUEST(.size = PAGE, .limit = 1), -PIOMMU_ENOSPC);
        refuse_alloc(b, REQUEST(.size = PAGE, .limit = 2 * PAGE - 2), -PIOMMU_ENOSPC);
        refuse_alloc(b, REQUEST(.size = PAGE + 1, .limit = 3 * PAGE - 2), -PIOMMU_ENOSPC);
        assert_int_equal(alloc(b, REQUEST(.size = PAGE, .limit = 2 * PAGE - 1)), PAGE);
        refuse_alloc(b, REQUEST(.size = PAGE, .limit = 3 * PAGE - 2), -PIOMMU_ENOSPC);
        assert_int_equal(alloc(b, REQUEST(.size = 700 * PAGE, .limit = 702 * PAGE - 1)), 2 * PAGE);
        refuse_alloc(b, REQUEST(.size = 700 * PAGE, .limit = 1402 * PAGE - 2), -PIOMMU_ENOSPC);
        assert_int_equal(alloc(b, REQUEST(.size = 700 * PAGE, .limit = 1402 * PAGE - 1)),
                         702 * PAGE);
    }
}

static void test_a_limit_holds_everywhere(void **state)
{
    struct bench *b = *state;

    create_pages(b, 5000, 0);
    for (uint64_t limit = 7; limit < 5000; limit += 61) {
        assert_int_equal(alloc(b, REQUEST(.size = 5 * PAGE, .limit = limit * PAGE - 1)),
                         (limit - 5) * PAGE);
    }
    assert_int_equal(alloc(b, REQUEST(.size = PAGE, .limit = 6000 * PAGE)), 4999 * PAGE);
}

static void test_low_addresses_are_preferred_while_there_are_any(void **state)
{
    const struct piommu_iova_request request = {.size = 2 * PAGE, .preferred = 5 * PAGE - 1};
    struct bench *b = *state;

    create_pages(b, 16, 0);
    assert_int_equal(alloc(b, request), 3 * PAGE);
    assert_int_equal(alloc(b, request), PAGE);
    assert_int_equal(alloc(b, request), 14 * PAGE);
    assert_int_equal(alloc(b, REQUEST(.size = PAGE, .preferred = PAGE - 1)), 0);
    assert_int_equal(alloc(b, REQUEST(.size = PAGE, .preferred = 1)), 13 * PAGE);
}

static void test_a_preference_does_not_lift_the_limit(void **state)
{
    const struct piommu_iova_request higher = {
        .size = PAGE, .limit = 3 * PAGE - 1, .preferred = 9 * PAGE};
    const struct piommu_iova_request lower = {
        .size = PAGE, .limit = 8 * PAGE - 1, .preferred = 2 * PAGE - 1};
    struct bench *b = *state;

    create_pages(b, 16, 0);
    assert_int_equal(alloc(b, higher), 2 * PAGE);
    assert_int_equal(alloc(b, lower), PAGE);
    assert_int_equal(alloc(b, lower), 0);
    assert_int_equal(alloc(b, lower), 7 * PAGE);
    for (uint64_t i = 6; i >= 3; i--) {
        assert_int_equal(alloc(b, lower), i * PAGE);
    }
    refuse_alloc(b, lower, -PIOMMU_ENOSPC);
    refuse_alloc(b, higher, -PIOMMU_ENOSPC);
}

static void test_boundaries_are_not_crossed(void **state)
{
    struct bench *b = *state;
    uint64_t size = 3 * PAGE;

    create_pages(b, 64, 0);
    for (uint64_t i = 0; i < 16; i++) {
        uint64_t address = alloc(b, REQUEST(.size = size, .boundary = 0x4000));

        assert_int_equal(address / 0x4000, (address + size - 1) / 0x4000);
    }
    refuse_alloc(b, REQUEST(.size = 2 * PAGE, .boundary = 0x4000), -PIOMMU_ENOSPC);
    assert_int_equal(statistics(b).granules_taken, 48);
}

static void test_a_range_as_long_as_the_boundary(void **state)
{
    struct bench *b = *state;

    create_pages(b, 11, 0);
    assert_int_equal(alloc(b, REQUEST(.size = 4 * PAGE, .boundary = 4 * PAGE)), 4 * PAGE);
    assert_int_equal(alloc(b, REQUEST(.size = 4 * PAGE - 1, .boundary = 4 * PAGE)), 0);
    refuse_alloc(b, REQUEST(.size = 4 * PAGE, .boundary = 4 * PAGE), -PIOMMU_ENOSPC);
    assert_int_equal(alloc(b, REQUEST(.size = 3 * PAGE, .boundary = 4 * PAGE)), 8 * PAGE);
}

static void test_a_place_aligned_to_the_size_comes_first(void **state)
{
    struct bench *b = *state;

    create_pages(b, 32, 0);
    assert_int_equal(take(b, 24 * PAGE, 25 * PAGE - 1), 0);
    assert_int_equal(take(b, 31 * PAGE, 32 * PAGE - 1), 0);
    /* Then 25 to 27 are the highest ones free, but not aligned to four pages. */
    assert_int_equal(alloc(b, REQUEST(.size = 3 * PAGE, .boundary = 8 * PAGE)), 28 * PAGE);
    assert_int_equal(alloc(b, REQUEST(.size = 3 * PAGE, .boundary = 8 * PAGE)), 20 * PAGE);
}

static void test_other_candidates_come_behind_the_aligned_ones(void **state)
{
    const struct piommu_iova_request request = {.size = 3 * PAGE, .boundary = 8 * PAGE};
    struct bench *b = *state;

    create_pages(b, 64, 0);
    /* Of each eight pages only 6 to 9 stay free, which lie across; and 17 to 19 in the middle. */
    for (uint64_t i = 0; i < 8; i++) {
        uint64_t from = i == 0 ? 0 : 8 * i + 2;

        if (i == 2) {
            assert_int_equal(take(b, 20 * PAGE, 22 * PAGE - 1), 0);
        } else {
            assert_int_equal(take(b, from * PAGE, (8 * i + 6) * PAGE - 1), 0);
        }
    }
    assert_int_equal(take(b, 16 * PAGE, 17 * PAGE - 1), 0);
    assert_int_equal(take(b, 62 * PAGE, 64 * PAGE - 1), 0);
    assert_int_equal(alloc(b, request), 17 * PAGE);
    refuse_alloc(b, request, -PIOMMU_ENOSPC);
    assert_int_equal(alloc(b, REQUEST(.size = 3 * PAGE)), 55 * PAGE);
}

/* Places of three pages that all lie across the boundary, and below them one that does not. */
static void fill_across(struct bench *b, uint64_t candidates)
{
    create_pages(b, 8 * (candidates + 1), 0);
    for (uint64_t i = 0; i < candidates; i++) {
        uint64_t middle = 8 * (candidates + 1 - i) - 8;

        assert_int_equal(take(b, (middle + 2) * PAGE, (middle + 7) * PAGE - 1), 0);
        if (i == 0) {
            assert_int_equal(take(b, (middle + 7) * PAGE, (middle + 8) * PAGE - 1), 0);
        }
    }
    assert_int_equal(take(b, 0, PAGE - 1), 0);
    assert_int_equal(take(b, 4 * PAGE, 7 * PAGE - 1), 0);
}

static void test_at_most_64_candidates_are_looked_at(void **state)
{
    const struct piommu_iova_request request = {.size = 3 * PAGE, .boundary = 8 * PAGE};
    struct bench *b = *state;

    fill_across(b, 63);
    assert_int_equal(alloc(b, request), PAGE);
    /* With so many in front of it that it is not looked at. */
    fill_across(b, 200);
    refuse_alloc(b, request, -PIOMMU_ENOSPC);
    assert_true(statistics(b).visited_last <= 65 * 11);
    assert_int_equal(alloc(b, REQUEST(.size = 3 * PAGE, .limit = 5 * PAGE)), PAGE);
}

static void test_limit_preference_and_boundary_together(void **state)
{
    const struct piommu_iova_request request = {.size = 3 * PAGE,
                                                .alignment = 2 * PAGE,
                                                .limit = 41 * PAGE - 1,
                                                .preferred = 20 * PAGE - 1,
                                                .boundary = 8 * PAGE};
    struct bench *b = *state;
    uint64_t below = 0;
    uint64_t address;

    create_pages(b, 64, 0);
    while (try_alloc(b, request, &address) == 0) {
        assert_int_equal(address % (2 * PAGE), 0);
        assert_int_equal(address / (8 * PAGE), (address + 3 * PAGE - 1) / (8 * PAGE));
        assert_true(address + 3 * PAGE <= 41 * PAGE);
        if (below < 5) {
            assert_true(address + 3 * PAGE <= 20 * PAGE);
        }
        below++;
    }
    assert_int_equal(below, 10); /* two in each whole eight pages */
}

static void test_all_is_given_out_before_a_request_fails(void **state)
{
    struct bench *b = *state;
    uint64_t total = 3001;
    uint64_t left = total;

    create(b, CONFIG(.granule = 64, .aperture = {0, 64 * total - 1}));
    for (uint64_t i = 0; left >= 1 + i % 7; i++) {
        alloc(b, REQUEST(.size = 64 * (1 + i % 7)));
        left -= 1 + i % 7;
    }
    if (left != 0) {
        refuse_alloc(b, REQUEST(.size = 64 * (left + 1)), -PIOMMU_ENOSPC);
        assert_int_equal(alloc(b, REQUEST(.size = 64 * left)), 0);
    }
    refuse_alloc(b, REQUEST(.size = 1), -PIOMMU_ENOSPC);
    assert_int_equal(statistics(b).granules_taken, total);
}

/* ---- Taking ranges back ---- */

static void test_what_was_not_given_out_cannot_be_released(void **state)
{
    struct bench *b = *state;
    uint64_t base = 8 * PAGE;

    create(b, CONFIG(.granule = PAGE, .aperture = {PAGE, 2000 * PAGE - 1}));
    assert_int_equal(take(b, base, base + 5 * PAGE - 1), 0);
    assert_int_equal(take(b, base + 5 * PAGE, base + 6 * PAGE - 1), 0);
    assert_int_equal(take(b, 600 * PAGE, 1700 * PAGE - 1), 0);
    static const struct {
        uint64_t address;
        uint64_t size;
    } bad[] = {
        {8 * PAGE, 0},
        {8 * PAGE, 4 * PAGE},
        {8 * PAGE, 6 * PAGE},
        {8 * PAGE, UINT64_MAX},
        {8 * PAGE, 1ull << 63},
        {8 * PAGE + 1, 5 * PAGE},
        {8 * PAGE + 64, 5 * PAGE - 64},
        {9 * PAGE, 4 * PAGE},
        {9 * PAGE, 5 * PAGE},
        {12 * PAGE, PAGE},
        {7 * PAGE, PAGE},
        {7 * PAGE, 6 * PAGE},
        {14 * PAGE, PAGE},
        {0, PAGE},
        {2000 * PAGE, PAGE},
        {UINT64_MAX - PAGE + 1, PAGE},
        {UINT64_MAX - PAGE + 1, 5 * PAGE},
        {600 * PAGE, 1099 * PAGE},
        {600 * PAGE, 1101 * PAGE},
        {600 * PAGE, 424 * PAGE},
        {601 * PAGE, 1099 * PAGE},
        {1024 * PAGE, 676 * PAGE},
        {512 * PAGE, 1100 * PAGE},
    };
    for (size_t i = 0; i < COUNT(bad); i++) {
        assert_int_equal(release(b, bad[i].address, bad[i].size), -PIOMMU_EINVAL);
        assert_int_equal(statistics(b).granules_taken, 1106);
    }
    assert_int_equal(piommu_iova_free(NULL, base, PAGE), -PIOMMU_EINVAL);
    is_found(b, base, base, base + 5 * PAGE - 1);
    assert_int_equal(release(b, base, 5 * PAGE), 0);
    assert_int_equal(release(b, base, 5 * PAGE), -PIOMMU_EINVAL);
    assert_int_equal(release(b, base + 5 * PAGE, PAGE), 0);
    assert_int_equal(release(b, 600 * PAGE, 1100 * PAGE), 0);
    assert_int_equal(release(b, 600 * PAGE, 1100 * PAGE), -PIOMMU_EINVAL);
    assert_int_equal(statistics(b).granules_taken, 0);
}

static void test_a_size_is_released_as_it_was_asked_for(void **state)
{
    struct bench *b = *state;

    create_pages(b, 16, 0);
    for (uint64_t size = 1; size < 5 * PAGE; size += PAGE / 2 - 1) {
        uint64_t address = alloc(b, REQUEST(.size = size));

        assert_int_equal(release(b, address, size), 0);
        assert_int_equal(statistics(b).granules_taken, 0);
    }
}

static void test_what_is_released_becomes_one_again(void **state)
{
    static uint64_t addresses[2048];
    struct bench *b = *state;
    uint64_t all = COUNT(addresses) * 64;

    create(b, CONFIG(.granule = 64, .aperture = {0, all - 1}));
    for (uint64_t stride = 1; stride < 2048; stride = 3 * stride + 2) {
        for (size_t i = 0; i < COUNT(addresses); i++) {
            addresses[i] = alloc(b, REQUEST(.size = 64));
        }
        /* The stride is odd or even, so in two rounds. */
        for (size_t i = 0; i < COUNT(addresses); i++) {
            size_t at = i * (stride | 1) % COUNT(addresses);

            refuse_alloc(b, REQUEST(.size = all), -PIOMMU_ENOSPC);
            assert_int_equal(release(b, addresses[at], 64), 0);
        }
        assert_int_equal(alloc(b, REQUEST(.size = all)), 0);
        assert_int_equal(release(b, 0, all), 0);
    }
}

/* ---- Certain places ---- */

static void test_certain_places_are_taken_in_whole_granules(void **state)
{
    struct bench *b = *state;

    create(b, CONFIG(.granule = PAGE, .aperture = {4 * PAGE, 20 * PAGE - 1}));
    assert_int_equal(take(b, 6 * PAGE + 5, 6 * PAGE + 5), 0);
    is_found(b, 6 * PAGE, 6 * PAGE, 7 * PAGE - 1);
    assert_int_equal(take(b, 9 * PAGE - 1, 9 * PAGE), 0);
    is_found(b, 9 * PAGE, 8 * PAGE, 10 * PAGE - 1);
    is_free(b, 7 * PAGE);
    is_free(b, 10 * PAGE);
    /* Cut to the aperture. */
    assert_int_equal(take(b, 0, 5 * PAGE - 1), 0);
    is_found(b, 4 * PAGE, 4 * PAGE, 5 * PAGE - 1);
    assert_int_equal(take(b, 19 * PAGE + 1, UINT64_MAX), 0);
    is_found(b, 20 * PAGE - 1, 19 * PAGE, 20 * PAGE - 1);
    assert_int_equal(release(b, 19 * PAGE, PAGE), 0);
    assert_int_equal(release(b, 4 * PAGE, PAGE), 0);
    /* Outside it. */
    assert_int_equal(take(b, 0, 4 * PAGE - 1), 0);
    assert_int_equal(take(b, 20 * PAGE, UINT64_MAX), 0);
    assert_int_equal(statistics(b).granules_taken, 3);
    assert_int_equal(release(b, 8 * PAGE, 2 * PAGE), 0);
    assert_int_equal(release(b, 6 * PAGE, PAGE), 0);
    assert_int_equal(take(b, 0, UINT64_MAX), 0);
    is_found(b, 7 * PAGE, 4 * PAGE, 20 * PAGE - 1);
}

static void test_a_place_is_taken_once(void **state)
{
    struct bench *b = *state;

    create_pages(b, 4096, 0);
    assert_int_equal(take(b, 10 * PAGE, 20 * PAGE - 1), 0);
    assert_int_equal(take(b, 1000 * PAGE, 3000 * PAGE - 1), 0);
    assert_int_equal(take(b, 10 * PAGE, 20 * PAGE - 1), -PIOMMU_EEXIST);
    assert_int_equal(take(b, 0, 10 * PAGE), -PIOMMU_EEXIST);
    assert_int_equal(take(b, 20 * PAGE - 1, 30 * PAGE), -PIOMMU_EEXIST);
    assert_int_equal(take(b, 15 * PAGE, 15 * PAGE), -PIOMMU_EEXIST);
    assert_int_equal(take(b, 0, 4096 * PAGE - 1), -PIOMMU_EEXIST);
    for (uint64_t i = 1000; i < 3000; i++) {
        assert_int_equal(take(b, i * PAGE, i * PAGE), -PIOMMU_EEXIST);
    }
    assert_int_equal(take(b, 3000 * PAGE - 1, 4096 * PAGE - 1), -PIOMMU_EEXIST);
    assert_int_equal(take(b, 21 * PAGE, 1000 * PAGE), -PIOMMU_EEXIST);
    assert_int_equal(statistics(b).granules_taken, 2010);
    assert_int_equal(take(b, 20 * PAGE, 1000 * PAGE - 1), 0);
    assert_int_equal(take(b, 3000 * PAGE, 4096 * PAGE - 1), 0);
    assert_int_equal(take(b, 0, 10 * PAGE - 1), 0);
    refuse_alloc(b, REQUEST(.size = 1), -PIOMMU_ENOSPC);
}

static void test_taking_places_that_make_no_sense(void **state)
{
    struct bench *b = *state;

    create(b, CONFIG(.granule = 64, .aperture = {0, (1ull << 49) - 1}));
    assert_int_equal(take(b, 64, 63), -PIOMMU_EINVAL);
    assert_int_equal(take(b, UINT64_MAX, 0), -PIOMMU_EINVAL);
    assert_int_equal(piommu_iova_take(NULL, (struct piommu_range){0, 63}), -PIOMMU_EINVAL);
    assert_int_equal(statistics(b).granules_taken, 0);
    assert_int_equal(take(b, 64, (64ull << 32) - 1), 0);
    is_found(b, 64ull << 31, 64, (64ull << 32) - 1);
    is_free(b, 0);
    is_free(b, 64ull << 32);
    assert_int_equal(release(b, 64, (64ull << 32) - 64), 0);
}

static void test_finding(void **state)
{
    struct piommu_range range;
    struct bench *b = *state;

    create(b, CONFIG(.granule = PAGE, .aperture = {PAGE, 3000 * PAGE - 1}));
    assert_int_equal(piommu_iova_find(NULL, PAGE, &range), -PIOMMU_EINVAL);
    assert_int_equal(piommu_iova_find(b->space, PAGE, NULL), -PIOMMU_EINVAL);
    assert_int_equal(take(b, 500 * PAGE, 2500 * PAGE - 1), 0);
    assert_int_equal(take(b, 499 * PAGE, 500 * PAGE - 1), 0);
    assert_int_equal(take(b, 2500 * PAGE, 2501 * PAGE - 1), 0);
    for (uint64_t i = 500; i < 2500; i += 37) {
        is_found(b, i * PAGE + i, 500 * PAGE, 2500 * PAGE - 1);
    }
    is_found(b, 500 * PAGE - 1, 499 * PAGE, 500 * PAGE - 1);
    is_found(b, 2501 * PAGE - 1, 2500 * PAGE, 2501 * PAGE - 1);
    is_free(b, 0);
    is_free(b, 499 * PAGE - 1);
    is_free(b, 2501 * PAGE);
    is_free(b, 3000 * PAGE);
    is_free(b, UINT64_MAX);
}

/* ---- Memory ---- */

static void test_counters_without_cpus(void **state)
{
    struct bench *b = *state;
    struct piommu_iova_statistics s;

    create_pages(b, 1 << 16, 0);
    s = statistics(b);
    assert_int_equal(s.granules_taken, 0);
    assert_int_equal(s.granules_kept, 0);
    alloc(b, REQUEST(.size = 5 * PAGE));
    assert_int_equal(take(b, 100 * PAGE, 107 * PAGE), 0);
    assert_int_equal(release(b, 100 * PAGE, 8 * PAGE), 0);
    assert_int_equal(take(b, 300 * PAGE, 300 * PAGE), 0);
    s = statistics(b);
    assert_int_equal(s.granules_taken, 6);
    assert_int_equal(s.granules_kept, 0);
    assert_true(s.nodes >= 2 && s.nodes <= 4);
    assert_int_equal((s.nodes + s.nodes_spare) % 16, 0);
    assert_int_equal(s.bytes, fake_os_bytes_outstanding(b->os));
    assert_true(s.visited_last != 0 && s.visited_last <= s.visited_most);
}

static void test_memory_grows_with_where_something_lives(void **state)
{
    struct bench *b = *state;
    struct piommu_iova_statistics s;
    uint64_t before;

    create_pages(b, 1ull << 36, 0);
    before = fake_os_bytes_outstanding(b->os);
    /* Many within one piece of 512 granules cost no more than one. */
    for (unsigned int i = 0; i < 512; i++) {
        alloc(b, REQUEST(.size = PAGE));
    }
    assert_true(statistics(b).nodes <= 2);
    for (uint64_t i = 0; i < 1000; i++) {
        assert_int_equal(take(b, i * PAGE << 24, (i * PAGE << 24) + 1), 0);
    }
    s = statistics(b);
    assert_true(s.nodes <= 2 * 1001);
    assert_true(s.nodes + s.nodes_spare <= 2 * 1001 + 32);
    assert_true(s.bytes - before < 300ull * (2 * 1001 + 32));
    for (uint64_t i = 0; i < 1000; i++) {
        assert_int_equal(release(b, i * PAGE << 24, 2), 0);
    }
    /* Nodes come back to the space, but its memory stays. */
    assert_true(statistics(b).nodes <= 2);
    assert_int_equal(statistics(b).bytes, s.bytes);
    assert_int_equal(statistics(b).nodes + statistics(b).nodes_spare, s.nodes + s.nodes_spare);
}

static void test_reserved_memory_suffices(void **state)
{
    const uint32_t ranges = 300;
    struct bench *b = *state;

    create_pages(b, 1ull << 36, 2);
    assert_int_equal(piommu_iova_reserve_memory(b->space, ranges), 0);
    fake_os_forbid(b->os, FAKE_OS_FORBID_ALLOCATION | FAKE_OS_FORBID_FREE);
    for (unsigned int round = 0; round < 3; round++) {
        for (uint64_t i = 0; i < ranges; i++) {
            uint64_t page = i * 0xa345677 + round;

            assert_int_equal(take(b, page * PAGE, page * PAGE), 0);
        }
        for (uint64_t i = 0; i < ranges; i++) {
            uint64_t page = i * 0xa345677 + round;

            assert_int_equal(release(b, page * PAGE, 1), 0);
        }
        /* So that the next round is not helped by what is there. */
        piommu_iova_drain(b->space);
    }
    fake_os_forbid(b->os, 0);
    /* As many more, once some live. */
    for (uint64_t i = 0; i < 50; i++) {
        alloc(b, REQUEST(.size = PAGE, .alignment = PAGE << 20));
    }
    assert_int_equal(piommu_iova_reserve_memory(b->space, ranges), 0);
    fake_os_forbid(b->os, FAKE_OS_FORBID_ALLOCATION);
    for (uint64_t i = 0; i < ranges; i++) {
        alloc(b, REQUEST(.size = PAGE, .alignment = PAGE << 22));
    }
    fake_os_forbid(b->os, 0);
}

/* The powers of two that a range is made of, each at a multiple of itself. */
static uint32_t powers_of(uint64_t first, uint64_t count)
{
    uint32_t powers = 0;

    while (count != 0) {
        uint64_t step = 1;

        while (first % (2 * step) == 0 && 2 * step <= count) {
            step *= 2;
        }
        first += step;
        count -= step;
        powers++;
    }
    return powers;
}

static void test_reserved_memory_suffices_for_long_ranges(void **state)
{
    static const uint64_t counts[] = {513,   1023,   1024,     1025,     3000,
                                      65535, 100001, 1u << 20, 16777215, 1u << 30};
    struct bench *b = *state;

    for (size_t i = 0; i < COUNT(counts); i++) {
        uint64_t first = 0x10000001 + 77 * i;

        create_pages(b, 1ull << 36, 0);
        assert_int_equal(piommu_iova_reserve_memory(b->space, powers_of(first, counts[i])), 0);
        fake_os_forbid(b->os, FAKE_OS_FORBID_ALLOCATION);
        assert_int_equal(take(b, first * PAGE, (first + counts[i]) * PAGE - 1), 0);
        fake_os_forbid(b->os, 0);
        assert_int_equal(statistics(b).granules_taken, counts[i]);
        assert_int_equal(release(b, first * PAGE, counts[i] * PAGE), 0);
        assert_int_equal(statistics(b).nodes, b->empty_nodes);
    }
}

static void test_reserving_memory_can_fail(void **state)
{
    struct bench *b = *state;
    uint32_t spare;

    assert_int_equal(piommu_iova_reserve_memory(NULL, 1), -PIOMMU_EINVAL);
    create_pages(b, 1 << 20, 0);
    assert_int_equal(piommu_iova_reserve_memory(b->space, 0), 0);
    fake_os_fail_call(b->os, 3, true);
    assert_int_equal(piommu_iova_reserve_memory(b->space, 100000), -PIOMMU_ENOMEM);
    spare = statistics(b).nodes_spare;
    assert_true(spare != 0); /* what could be had was kept */
    assert_int_equal(statistics(b).bytes, fake_os_bytes_outstanding(b->os));
    fake_os_fail_call(b->os, 1, true);
    assert_int_equal(piommu_iova_reserve_memory(b->space, UINT32_MAX), -PIOMMU_ENOMEM);
    assert_int_equal(piommu_iova_reserve_memory(b->space, spare / 4), 0);
    fake_os_fail_call(b->os, 0, false);
    assert_int_equal(statistics(b).nodes_spare, spare);
}

/* One thing after another, each of which may want memory. The number of those that failed. */
static uint64_t program_with_failures(struct bench *b, unsigned int cpus, uint64_t nth)
{
    static uint64_t addresses[120];
    static const uint64_t sizes[] = {1, 3, 700, 64, 5000, 65, 2};
    uint64_t failures = 0;

    create_pages(b, 1ull << 30, cpus);
    fake_os_fail_call(b->os, nth, false);
    for (size_t i = 0; i < COUNT(addresses); i++) {
        uint64_t size = sizes[i % COUNT(sizes)] * PAGE;
        struct piommu_iova_request request = {
            .size = size, .alignment = i % 3 == 0 ? PAGE << 14 : 0, .limit = (i + 20) << 30};
        uint64_t taken = statistics(b).granules_taken;
        int error;

        addresses[i] = (i * PAGE) << 18;
        error = i % 2 == 0
                    ? piommu_iova_take(b->space,
                                       (struct piommu_range){addresses[i], addresses[i] + size - 1})
                    : piommu_iova_alloc(b->space, &request, &addresses[i]);
        assert_true(error == 0 || error == -PIOMMU_ENOMEM);
        if (error != 0) {
            /* Nothing was changed, and with memory it goes on. */
            failures++;
            assert_int_equal(statistics(b).granules_taken, taken);
            if (i % 2 == 0) {
                is_free(b, addresses[i]);
                assert_int_equal(take(b, addresses[i], addresses[i] + size - 1), 0);
            } else {
                assert_int_equal(addresses[i], (i * PAGE) << 18);
                addresses[i] = alloc(b, request);
            }
        }
    }
    fake_os_fail_call(b->os, 0, false);
    for (size_t i = 0; i < COUNT(addresses); i++) {
        assert_int_equal(release(b, addresses[i], sizes[i % COUNT(sizes)] * PAGE), 0);
    }
    piommu_iova_drain(b->space);
    assert_int_equal(statistics(b).granules_taken, 0);
    assert_int_equal(statistics(b).nodes, b->empty_nodes);
    return failures;
}

static void test_without_memory_nothing_is_changed(void **state)
{
    static const unsigned int cpus[] = {0, 1};
    struct bench *b = *state;

    for (size_t i = 0; i < COUNT(cpus); i++) {
        uint64_t nth = 1;

        while (program_with_failures(b, cpus[i], nth) != 0) {
            nth++;
        }
        assert_true(nth > 10);
    }
}

/* ---- What CPUs keep ---- */

static unsigned int this_cpu;

static unsigned int tell_cpu(void *ctx)
{
    (void)ctx;
    return this_cpu;
}

/* A CPU that is another each time it is asked, and often none of those that keep anything. */
static unsigned int tell_any_cpu(void *ctx)
{
    (void)ctx;
    this_cpu = this_cpu * 1664525u + 1013904223u;
    return this_cpu % 3 == 0 ? this_cpu : this_cpu % 8;
}

static void test_released_ranges_are_kept_and_given_out_again(void **state)
{
    struct bench *b = *state;
    uint64_t address;
    uint64_t other;

    create_pages(b, 1 << 12, 1);
    address = alloc(b, REQUEST(.size = 64 * PAGE));
    other = alloc(b, REQUEST(.size = 3 * PAGE));
    assert_int_equal(release(b, other, 3 * PAGE), 0);
    assert_int_equal(release(b, address, 64 * PAGE), 0);
    assert_int_equal(statistics(b).granules_taken, 67);
    assert_int_equal(statistics(b).granules_kept, 67);
    is_found(b, address + 1, address, address + 64 * PAGE - 1);
    assert_int_equal(alloc(b, REQUEST(.size = 64 * PAGE)), address);
    assert_int_equal(statistics(b).granules_kept, 3);
    assert_int_equal(alloc(b, REQUEST(.size = 2 * PAGE + 1)), other);
    assert_int_equal(statistics(b).granules_kept, 0);
    assert_int_equal(release(b, other, 3 * PAGE), 0);
    piommu_iova_drain(b->space);
    assert_int_equal(statistics(b).granules_kept, 0);
    assert_int_equal(statistics(b).granules_taken, 64);
    is_free(b, other);
    piommu_iova_drain(b->space);
    assert_int_equal(statistics(b).granules_taken, 64);
}

static void test_long_ranges_are_not_kept(void **state)
{
    struct bench *b = *state;
    uint64_t address;

    create_pages(b, 1 << 12, 1);
    address = alloc(b, REQUEST(.size = 64 * PAGE + 1));
    assert_int_equal(release(b, address, 65 * PAGE), 0);
    assert_int_equal(statistics(b).granules_kept, 0);
    assert_int_equal(statistics(b).granules_taken, 0);
    is_free(b, address);
}

static void test_what_is_kept_has_to_suit_the_request(void **state)
{
    struct bench *b = *state;
    uint64_t size = 2 * PAGE;
    uint64_t address;

    create_pages(b, 64, 1);
    assert_int_equal(take(b, 61 * PAGE, 63 * PAGE - 1), 0);
    assert_int_equal(release(b, 61 * PAGE, size), 0);
    assert_int_equal(statistics(b).granules_kept, 2);
    address = alloc(b, REQUEST(.size = size, .limit = 63 * PAGE - 2));
    assert_true(address + size <= 62 * PAGE);
    address = alloc(b, REQUEST(.size = size, .alignment = 4 * PAGE));
    assert_int_equal(address % (4 * PAGE), 0);
    assert_int_equal(statistics(b).granules_kept, 2);
    assert_int_equal(alloc(b, REQUEST(.size = size, .limit = 63 * PAGE - 1)), 61 * PAGE);
    assert_int_equal(release(b, 61 * PAGE, size), 0);
    address = alloc(b, REQUEST(.size = size, .boundary = 2 * PAGE));
    assert_int_equal(address % (2 * PAGE), 0);
    /* What crosses a boundary that is asked for is not kept any longer. */
    assert_int_equal(statistics(b).granules_kept, 0);
}

/* A space filled with single granules, all of which CPUs keep then as far as they can. */
static void fill_stores(struct bench *b, uint64_t pages, unsigned int cpus)
{
    create_pages(b, pages, cpus);
    for (uint64_t i = 0; i < pages; i++) {
        alloc(b, REQUEST(.size = PAGE));
    }
    for (uint64_t i = 0; i < pages; i++) {
        this_cpu = (unsigned int)i % cpus;
        assert_int_equal(release(b, i * PAGE, PAGE), 0);
    }
    assert_true(statistics(b).granules_kept != 0);
}

static void test_what_is_kept_is_not_in_the_way(void **state)
{
    struct bench *b = *state;

    fake_os_callbacks(b->os)->cpu = tell_cpu;
    fill_stores(b, 16, 4);
    refuse_alloc(b, REQUEST(.size = 17 * PAGE), -PIOMMU_ENOSPC);
    assert_int_equal(alloc(b, REQUEST(.size = 16 * PAGE)), 0);
    fill_stores(b, 16, 4);
    assert_int_equal(take(b, 3 * PAGE, 13 * PAGE - 1), 0);
    assert_int_equal(take(b, 13 * PAGE, 13 * PAGE), 0);
    fill_stores(b, 16, 4);
    assert_int_equal(alloc(b, REQUEST(.size = PAGE, .limit = PAGE)), 0);
    fill_stores(b, 16, 4);
    assert_int_equal(alloc(b, REQUEST(.size = 3 * PAGE, .boundary = 16 * PAGE)), 12 * PAGE);
    fill_stores(b, 16, 4);
    assert_int_equal(alloc(b, REQUEST(.size = 2 * PAGE, .alignment = 8 * PAGE)), 8 * PAGE);
}

static void test_all_cpus_stores_hold_no_more_than_was_released(void **state)
{
    static uint64_t addresses[4000];
    struct bench *b = *state;

    fake_os_callbacks(b->os)->cpu = tell_cpu;
    create_pages(b, 1 << 16, 3);
    for (unsigned int round = 0; round < 4; round++) {
        for (size_t i = 0; i < COUNT(addresses); i++) {
            this_cpu = (unsigned int)(i * 7 + round) % 3;
            addresses[i] = alloc(b, REQUEST(.size = (1 + i % 9) * PAGE));
        }
        for (size_t i = 0; i < COUNT(addresses); i++) {
            this_cpu = (unsigned int)(i + round) % 3;
            assert_int_equal(release(b, addresses[i], (1 + i % 9) * PAGE), 0);
        }
        assert_int_equal(statistics(b).granules_taken, statistics(b).granules_kept);
    }
    piommu_iova_drain(b->space);
    assert_int_equal(statistics(b).granules_taken, 0);
    assert_int_equal(statistics(b).nodes, b->empty_nodes);
}

static void test_any_number_of_a_cpu_will_do(void **state)
{
    static uint64_t addresses[512];
    struct bench *b = *state;

    fake_os_callbacks(b->os)->cpu = tell_any_cpu;
    for (unsigned int cpus = 0; cpus < 6; cpus++) {
        create_pages(b, COUNT(addresses), cpus);
        for (unsigned int round = 0; round < 20; round++) {
            uint64_t seen = 0;

            for (size_t i = 0; i < COUNT(addresses); i++) {
                addresses[i] = alloc(b, REQUEST(.size = PAGE));
                seen += addresses[i] / PAGE;
            }
            assert_int_equal(seen, COUNT(addresses) * (COUNT(addresses) - 1) / 2);
            refuse_alloc(b, REQUEST(.size = PAGE), -PIOMMU_ENOSPC);
            for (size_t i = 0; i < COUNT(addresses); i++) {
                assert_int_equal(release(b, addresses[i], PAGE), 0);
            }
        }
        piommu_iova_drain(b->space);
        assert_int_equal(statistics(b).granules_taken, 0);
    }
    create_pages(b, 16, 4096);
    assert_int_equal(alloc(b, REQUEST(.size = PAGE)), 15 * PAGE);
}

static void test_without_numbers_of_cpus_all_share_one_store(void **state)
{
    struct bench *b = *state;
    uint64_t one;

    create_pages(b, 16, 1);
    one = statistics(b).bytes;
    create_pages(b, 16, 4096);
    assert_int_equal(statistics(b).bytes, one);
    fake_os_callbacks(b->os)->cpu = tell_cpu;
    create_pages(b, 16, 4);
    /* Half as much where pointers are half as long. */
    assert_true(statistics(b).bytes - one > 3 * 5000 && statistics(b).bytes - one < 3 * 11000);
}

/* ---- Time ---- */

/* No call looks at more nodes than this; the space has two to that many granules. */
#define VISITED_MOST(levels) (8u * (levels))

static void test_time_with_every_second_granule_taken(void **state)
{
    struct bench *b = *state;
    uint64_t pages = 1 << 17;

    create_pages(b, pages, 0);
    for (uint64_t i = 0; i < pages; i += 2) {
        assert_int_equal(take(b, i * PAGE, i * PAGE), 0);
    }
    refuse_alloc(b, REQUEST(.size = 2 * PAGE), -PIOMMU_ENOSPC);
    for (uint64_t i = 1; i < 1000; i++) {
        uint64_t limit = i * 131 * PAGE;

        assert_int_equal(alloc(b, REQUEST(.size = PAGE, .limit = limit + 2 * PAGE - 1)) /
                             (2 * PAGE),
                         limit / (2 * PAGE));
    }
    assert_int_equal(release(b, 70000 * PAGE, PAGE), 0);
    assert_int_equal(alloc(b, REQUEST(.size = 3 * PAGE)), 69999 * PAGE);
    assert_true(statistics(b).visited_most <= VISITED_MOST(17));
}

static void test_time_with_scattered_ranges(void **state)
{
    const uint64_t ranges = 100000;
    struct bench *b = *state;

    create_pages(b, 1ull << 36, 0);
    for (uint64_t i = 0; i < ranges; i++) {
        uint64_t page = i * 0x9e3779b97f4a7c15ull >> 28;

        assert_int_equal(take(b, page * PAGE, page * PAGE), 0);
    }
    for (uint64_t i = 0; i < 1000; i++) {
        alloc(b, REQUEST(.size = (1 + i % 64) * PAGE, .alignment = PAGE << i % 30,
                         .limit = (i + 1) << 38));
    }
    for (uint64_t i = 0; i < ranges; i += 3) {
        uint64_t page = i * 0x9e3779b97f4a7c15ull >> 28;

        assert_int_equal(release(b, page * PAGE, PAGE), 0);
    }
    assert_true(statistics(b).visited_most <= VISITED_MOST(36));
}

static void test_time_when_nearly_all_is_taken(void **state)
{
    static uint64_t addresses[20000];
    struct bench *b = *state;
    uint64_t pages = 1 << 17;
    size_t count = 0;
    uint32_t random = 1;

    create_pages(b, pages, 0);
    while (statistics(b).granules_taken < pages * 98 / 100) {
        uint64_t size = 1 + count % 13;

        assert_true(count < COUNT(addresses));
        addresses[count++] = alloc(b, REQUEST(.size = size * PAGE));
    }
    for (unsigned int i = 0; i < 20000; i++) {
        size_t at = (random = random * 1664525u + 1013904223u) % count;
        uint64_t size = (1 + at % 13) * PAGE;

        assert_int_equal(release(b, addresses[at], size), 0);
        addresses[at] = alloc(b, REQUEST(.size = size));
    }
    assert_true(statistics(b).visited_most <= VISITED_MOST(17));
}

static void test_time_with_long_ranges(void **state)
{
    struct bench *b = *state;

    create_pages(b, 1ull << 36, 0);
    for (uint64_t i = 0; i < 400; i++) {
        uint64_t count = 1000 + i * 77777;
        uint64_t address = alloc(b, REQUEST(.size = count * PAGE));

        assert_true(statistics(b).visited_last <=
                    VISITED_MOST(36) + 36 * powers_of(address / PAGE, count));
    }
    assert_true(statistics(b).visited_most != 0);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

static void test_candidates_are_looked_at_in_a_space_that_is_bottom_up_too(void **state)
{
    struct bench *b = *state;

    create(b, CONFIG(.granule = PAGE, .aperture = {0, 32 * PAGE - 1}, .bottom_up = true));
    assert_int_equal(take(b, 0, 6 * PAGE - 1), 0);
    assert_int_equal(take(b, 9 * PAGE, 17 * PAGE - 1), 0);
    assert_int_equal(take(b, 20 * PAGE, 32 * PAGE - 1), 0);
    assert_int_equal(alloc(b, REQUEST(.size = 3 * PAGE, .boundary = 8 * PAGE)), 17 * PAGE);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(test_a_space_needs_sound_arguments),
        TEST(test_a_space_needs_memory_and_locks_of_the_shim),
        TEST(test_a_space_ends_at_2_43_granules),
        TEST(test_creation_without_memory_leaves_nothing),
        TEST(test_destroying_gives_all_memory_back),
        TEST(test_high_addresses_are_given_out_first),
        TEST(test_low_addresses_are_given_out_first_if_asked_for),
        TEST(test_granules_of_all_sizes),
        TEST(test_edges_that_are_no_whole_granules_are_not_given_out),
        TEST(test_edges_hold_where_the_aperture_is_no_power_of_two),
        TEST(test_the_whole_of_64_bits),
        TEST(test_requests_that_make_no_sense_are_refused),
        TEST(test_ranges_are_shorter_than_2_32_granules),
        TEST(test_alignments),
        TEST(test_alignment_is_that_of_the_address_not_of_the_aperture),
        TEST(test_no_byte_lies_above_the_limit),
        TEST(test_a_limit_holds_everywhere),
        TEST(test_low_addresses_are_preferred_while_there_are_any),
        TEST(test_a_preference_does_not_lift_the_limit),
        TEST(test_boundaries_are_not_crossed),
        TEST(test_a_range_as_long_as_the_boundary),
        TEST(test_a_place_aligned_to_the_size_comes_first),
        TEST(test_other_candidates_come_behind_the_aligned_ones),
        TEST(test_at_most_64_candidates_are_looked_at),
        TEST(test_limit_preference_and_boundary_together),
        TEST(test_all_is_given_out_before_a_request_fails),
        TEST(test_what_was_not_given_out_cannot_be_released),
        TEST(test_a_size_is_released_as_it_was_asked_for),
        TEST(test_what_is_released_becomes_one_again),
        TEST(test_certain_places_are_taken_in_whole_granules),
        TEST(test_a_place_is_taken_once),
        TEST(test_taking_places_that_make_no_sense),
        TEST(test_finding),
        TEST(test_counters_without_cpus),
        TEST(test_memory_grows_with_where_something_lives),
        TEST(test_reserved_memory_suffices),
        TEST(test_reserved_memory_suffices_for_long_ranges),
        TEST(test_reserving_memory_can_fail),
        TEST(test_without_memory_nothing_is_changed),
        TEST(test_released_ranges_are_kept_and_given_out_again),
        TEST(test_long_ranges_are_not_kept),
        TEST(test_what_is_kept_has_to_suit_the_request),
        TEST(test_what_is_kept_is_not_in_the_way),
        TEST(test_all_cpus_stores_hold_no_more_than_was_released),
        TEST(test_any_number_of_a_cpu_will_do),
        TEST(test_without_numbers_of_cpus_all_share_one_store),
        TEST(test_time_with_every_second_granule_taken),
        TEST(test_time_with_scattered_ranges),
        TEST(test_time_when_nearly_all_is_taken),
        TEST(test_time_with_long_ranges),
        TEST(test_candidates_are_looked_at_in_a_space_that_is_bottom_up_too),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
