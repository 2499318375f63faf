/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Mappings that are built piece by piece: what was linked is reached from the sync on and not after
 * the unlink, in whatever order; what goes wrong in the middle leaves nothing behind.
 */

#include "dma_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define PAGE DMA_PAGE
#define TO   PIOMMU_DMA_TO_DEVICE
#define FROM PIOMMU_DMA_FROM_DEVICE
#define BOTH PIOMMU_DMA_BIDIRECTIONAL
#define BAD  ((enum piommu_dma_direction)3)

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* A link: a part of a range, and where in the test's memory it leads. */
struct part {
    uint64_t at;
    uint64_t offset;
    uint64_t size;
    enum piommu_dma_direction direction;
    unsigned int flags;
    unsigned int handle;
};

/* What devices and spaces there are. */
static const struct dma_options variants[] = {
    {.untrusted = false},
    {.untrusted = true, .space = {.bounce_pages = 64}},
    {.device = {.non_coherent = true}, .space = {.bounce_pages = 64}},
    {.untrusted = true,
     .device = {.non_coherent = true},
     .space = {.bounce_pages = 64, .debug = true}},
    {.space = {.lazy = true}},
};

/* Runs a test's body for each of them that there can be. */
static void for_each_variant(enum dma_kind kind, void (*body)(struct dma_fixture *fixture))
{
    for (size_t i = 0; i < COUNT(variants); i++) {
        if (!variants[i].space.lazy || (kind & DMA_LAZY) != 0) {
            struct dma_fixture *fixture = dma_open(kind, &variants[i]);

            body(fixture);
            assert_int_equal(dma_statistics(fixture).bounce_pages_used, 0);
            dma_close(fixture);
        }
    }
}

/* A range whose first byte has a place in its granule. */
static struct piommu_dma_range *reserve(struct dma_fixture *fixture, uint64_t place, uint64_t size,
                                        uint64_t *address)
{
    struct piommu_dma_range *range;

    assert_int_equal(
        piommu_dma_reserve(fixture->dma[0], fixture->memory + place, size, &range, address), 0);
    assert_int_not_equal(*address, 0);
    assert_int_equal(*address % PAGE, place % PAGE);
    return range;
}

static int link_part(const struct dma_fixture *fixture, struct piommu_dma_range *range,
                     const struct part *part)
{
    return piommu_dma_link(range, part->at, fixture->memory + part->offset, part->size,
                           part->direction, part->flags);
}

static void link_all(const struct dma_fixture *fixture, struct piommu_dma_range *range,
                     const struct part *parts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(link_part(fixture, range, &parts[i]), 0);
    }
}

static void grant_parts(struct dma_fixture *fixture, uint64_t address, struct part *parts,
                        size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct part *part = &parts[i];

        part->handle = dma_grant(fixture, address + part->at, part->size,
                                 fixture->memory + part->offset, part->size, part->direction);
    }
    dma_sweep(fixture);
}

static void sync_parts(struct dma_fixture *fixture, struct piommu_dma_range *range,
                       uint64_t address, struct part *parts, size_t count)
{
    assert_int_equal(piommu_dma_range_sync(range), 0);
    grant_parts(fixture, address, parts, count);
}

/* Also where the space is lazy nothing of it may be reached any more. */
static void revoke_parts(struct dma_fixture *fixture, uint64_t address, const struct part *parts,
                         size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const uint64_t last = address + parts[i].at + parts[i].size - 1;

        dma_revoke(fixture, parts[i].handle);
        assert_false(dma_reaches(fixture, 0, address + parts[i].at, false));
        assert_false(dma_reaches(fixture, 0, address + parts[i].at, true));
        assert_false(dma_reaches(fixture, 0, last, false));
        assert_false(dma_reaches(fixture, 0, last, true));
    }
    dma_settle(fixture);
}

static void unlink_part(struct dma_fixture *fixture, struct piommu_dma_range *range,
                        uint64_t address, const struct part *part)
{
    assert_int_equal(piommu_dma_unlink(range, part->at, part->size, part->direction, part->flags),
                     0);
    revoke_parts(fixture, address, part, 1);
}

static void fill_parts(struct dma_fixture *fixture, const struct part *parts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        dma_fill(fixture, parts[i].offset, parts[i].size, i);
    }
}

/* The device has the rights of the part, sees what the CPU has written, and writes if it may. */
static void use_part(struct dma_fixture *fixture, uint64_t address, const struct part *part,
                     uint64_t seed)
{
    uint64_t first = address + part->at;
    bool read = part->direction != FROM || !fixture->info.write_only;
    bool write = part->direction != TO;

    assert_int_equal(dma_reaches(fixture, 0, first, false), read);
    assert_int_equal(dma_reaches(fixture, 0, first + part->size - 1, false), read);
    assert_int_equal(dma_reaches(fixture, 0, first, true), write);
    assert_int_equal(dma_reaches(fixture, 0, first + part->size - 1, true), write);
    if (read) {
        dma_device_assert_filled(fixture, 0, first, part->size, seed, 0);
    }
    if (write) {
        dma_device_fill(fixture, 0, first, part->size, seed + 40);
    }
}

/* What the CPU sees when it has the part again. */
static void look_at_part(struct dma_fixture *fixture, const struct part *part, uint64_t seed)
{
    dma_assert_filled(fixture, part->offset, part->size, part->direction != TO ? seed + 40 : seed,
                      0);
}

/* ---- Addresses ---- */

static void test_places_in_the_granule(enum dma_kind kind)
{
    static const uint64_t places[] = {0, 1, 100, 4095};
    static const uint64_t sizes[] = {1, 3096, 4096, 4097, 20001};
    const struct dma_options options = {.device = {.mask = 0x1ffff}};
    struct dma_fixture *fixture = dma_open(kind, &options);

    for (size_t i = 0; i < COUNT(places); i++) {
        for (size_t k = 0; k < COUNT(sizes); k++) {
            uint64_t address;
            struct piommu_dma_range *range = reserve(fixture, places[i], sizes[k], &address);

            assert_true(address >= PAGE && address + (sizes[k] - 1) <= 0x1ffff);
            assert_int_equal(dma_mapped_pages(fixture), 0);
            assert_int_equal(piommu_dma_unreserve(range), 0);
        }
    }
    dma_close(fixture);
}

static void test_places_in_a_larger_leaf(enum dma_kind kind)
{
    const uint64_t leaf = 0x200000;
    struct dma_fixture *fixture = dma_open(kind, NULL);
    struct piommu_dma_range *range;
    uint64_t address;

    assert_int_equal(piommu_dma_reserve(fixture->dma[0], 0x80000678, 3 * leaf, &range, &address),
                     0);
    assert_int_equal(address % leaf, 0x678);
    assert_int_equal(piommu_dma_unreserve(range), 0);
    dma_close(fixture);
}

/* As many ranges of a page as there are addresses; all are given back. */
static size_t count_addresses(struct dma_fixture *fixture)
{
    struct piommu_dma_range *ranges[16];
    struct piommu_dma_range *none;
    uint64_t addresses[16];
    size_t count = 0;
    int error;

    while ((error = piommu_dma_reserve(fixture->dma[0], fixture->memory, PAGE,
                                       count < COUNT(ranges) ? &ranges[count] : &none,
                                       &addresses[count])) == 0) {
        for (size_t i = 0; i < count; i++) {
            assert_true(addresses[i] != addresses[count]);
        }
        count++;
        assert_true(count < COUNT(ranges));
    }
    assert_int_equal(error, -PIOMMU_ENOSPC);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(piommu_dma_unreserve(ranges[i]), 0);
    }
    return count;
}

static void test_addresses_are_taken_and_come_back(enum dma_kind kind)
{
    const struct dma_options options = {.device = {.mask = 0x7fff}};
    struct dma_fixture *fixture = dma_open(kind, &options);
    struct piommu_dma_range *range;
    struct piommu_dma_range *other;
    uint64_t address;

    for (unsigned int i = 0; i < 20; i++) {
        range = reserve(fixture, 4095, PAGE + 2, &address);
        assert_int_equal(count_addresses(fixture), 7 - 3);
        assert_int_equal(piommu_dma_reserve(fixture->dma[0], 0, 5 * PAGE, &other, &address),
                         -PIOMMU_ENOSPC);
        assert_int_equal(piommu_dma_unreserve(range), 0);
    }
    assert_int_equal(count_addresses(fixture), 7);
    dma_close(fixture);
}

/* ---- When a part can be reached ---- */

static void from_the_sync_to_the_unlink(struct dma_fixture *fixture)
{
    struct part part = {.at = 0, .offset = 8 * PAGE + 100, .size = 2 * PAGE, .direction = BOTH};
    uint64_t address;
    struct piommu_dma_range *range = reserve(fixture, 100, 4 * PAGE, &address);

    for (uint64_t i = 0; i < 3; i++) {
        part.offset += 8 * i * PAGE;
        part.at = i % 2 * PAGE;
        fill_parts(fixture, &part, 1);
        assert_int_equal(link_part(fixture, range, &part), 0);
        assert_int_equal(dma_mapped_pages(fixture), 0);
        assert_false(dma_reaches(fixture, 0, address + part.at, false));
        sync_parts(fixture, range, address, &part, 1);
        assert_int_equal(dma_mapped_pages(fixture), 3);
        use_part(fixture, address, &part, 0);
        assert_int_equal(piommu_dma_range_sync(range), 0);
        assert_int_equal(dma_mapped_pages(fixture), 3);
        unlink_part(fixture, range, address, &part);
        assert_int_equal(dma_mapped_pages(fixture), 0);
        assert_int_equal(dma_statistics(fixture).waiting, 0);
        look_at_part(fixture, &part, 0);
    }
    assert_int_equal(piommu_dma_unreserve(range), 0);
}

static void test_from_the_sync_to_the_unlink(enum dma_kind kind)
{
    for_each_variant(kind, from_the_sync_to_the_unlink);
}

/* Where the nth granule begins in a range whose first byte has the place 100. */
#define AT(granule) ((granule)*PAGE - 100)

/* Parts with holes between some of them, and each direction. */
static const struct part scattered[] = {
    {0, 8 * PAGE + 100, PAGE - 100, BOTH, 0, 0},
    {AT(1), 20 * PAGE, 2 * PAGE, BOTH, 0, 0},
    {AT(3), 30 * PAGE, 50, TO, 0, 0},
    {AT(5) + 7, 40 * PAGE + 7, PAGE, FROM, 0, 0},
    {AT(7), 50 * PAGE, PAGE, FROM, 0, 0},
    {AT(9), 10 * PAGE, 3 * PAGE, BOTH, 0, 0},
};

#define SCATTERED       COUNT(scattered)
#define SCATTERED_PAGES 10

static void try_order(struct dma_fixture *fixture, const size_t *linked, const size_t *unlinked)
{
    struct part parts[SCATTERED];
    uint64_t address;
    struct piommu_dma_range *range = reserve(fixture, 100, AT(12), &address);

    memcpy(parts, scattered, sizeof(parts));
    fill_parts(fixture, parts, SCATTERED);
    for (size_t i = 0; i < SCATTERED; i++) {
        assert_int_equal(link_part(fixture, range, &parts[linked[i]]), 0);
    }
    sync_parts(fixture, range, address, parts, SCATTERED);
    assert_int_equal(dma_mapped_pages(fixture), SCATTERED_PAGES);
    for (size_t i = 0; i < SCATTERED; i++) {
        use_part(fixture, address, &parts[i], i);
    }
    for (size_t i = 0; i < SCATTERED; i++) {
        assert_int_equal(piommu_dma_unreserve(range), -PIOMMU_EBUSY);
        unlink_part(fixture, range, address, &parts[unlinked[i]]);
        look_at_part(fixture, &parts[unlinked[i]], unlinked[i]);
    }
    assert_int_equal(dma_mapped_pages(fixture), 0);
    assert_int_equal(piommu_dma_unreserve(range), 0);
}

static void in_any_order(struct dma_fixture *fixture)
{
    static const size_t orders[][SCATTERED] = {
        {0, 1, 2, 3, 4, 5}, {5, 4, 3, 2, 1, 0}, {3, 0, 5, 1, 4, 2}};

    for (size_t i = 0; i < COUNT(orders); i++) {
        for (size_t k = 0; k < COUNT(orders); k++) {
            try_order(fixture, orders[i], orders[k]);
        }
    }
}

static void test_parts_in_any_order(enum dma_kind kind)
{
    for_each_variant(kind, in_any_order);
}

/* ---- Links that follow each other ---- */

/* Links of a page, one after the other; `step` is how far apart they are in memory. */
static void make_chain(struct part *parts, size_t count, uint64_t step)
{
    for (size_t i = 0; i < count; i++) {
        parts[i] =
            (struct part){.at = i * PAGE, .offset = i * step, .size = PAGE, .direction = BOTH};
    }
}

/* A range for two of them. */
static struct piommu_dma_range *reserve_two(struct dma_fixture *fixture, struct part *parts,
                                            uint64_t *address)
{
    make_chain(parts, 2, 8 * PAGE);
    fill_parts(fixture, parts, 2);
    return reserve(fixture, 0, 2 * PAGE, address);
}

static uint64_t doorbells(const struct dma_fixture *fixture)
{
    return viommu_model_counters(fixture->viommu->model)->doorbells[0];
}

static void test_one_list_of_requests(enum dma_kind kind)
{
    struct dma_fixture *fixture = dma_open(kind, NULL);
    struct part parts[12];
    uint64_t address;
    struct piommu_dma_range *range = reserve(fixture, 0, 16 * PAGE, &address);
    uint64_t before = doorbells(fixture);

    make_chain(parts, COUNT(parts), 2 * PAGE);
    fixture->viommu->log_count = 0;
    link_all(fixture, range, parts, COUNT(parts));
    assert_int_equal(viommu_fixture_count(fixture->viommu, 0), 0);
    sync_parts(fixture, range, address, parts, COUNT(parts));
    assert_int_equal(viommu_fixture_count(fixture->viommu, VIOMMU_MODEL_MAP), COUNT(parts));
    assert_int_equal(doorbells(fixture), before + 1);
    assert_int_equal(piommu_dma_unlink(range, 0, COUNT(parts) * PAGE, BOTH, 0), 0);
    assert_int_equal(doorbells(fixture), before + 2);
    revoke_parts(fixture, address, parts, COUNT(parts));
    assert_int_equal(piommu_dma_unreserve(range), 0);
    dma_close(fixture);
}

/* More than are told at once; some that were linked by one call each are unlinked together. */
static void many_links(struct dma_fixture *fixture)
{
    struct part parts[60];
    uint64_t address;
    struct piommu_dma_range *range = reserve(fixture, 0, COUNT(parts) * PAGE, &address);

    make_chain(parts, COUNT(parts), 2 * PAGE);
    fill_parts(fixture, parts, COUNT(parts));
    link_all(fixture, range, parts, COUNT(parts));
    sync_parts(fixture, range, address, parts, COUNT(parts));
    for (size_t i = 0; i < COUNT(parts); i++) {
        use_part(fixture, address, &parts[i], i);
    }
    for (size_t i = 0; i < COUNT(parts); i += 20) {
        assert_int_equal(piommu_dma_unlink(range, i * PAGE, 20 * PAGE, BOTH, 0), 0);
        revoke_parts(fixture, address, &parts[i], 20);
        assert_int_equal(dma_mapped_pages(fixture), COUNT(parts) - i - 20);
    }
    for (size_t i = 0; i < COUNT(parts); i++) {
        look_at_part(fixture, &parts[i], i);
    }
    assert_int_equal(piommu_dma_unreserve(range), 0);
}

static void test_many_links(enum dma_kind kind)
{
    for_each_variant(kind, many_links);
}

/* Each of them can be used and unlinked alone, in an order that is not theirs. */
static void unlink_each(struct dma_fixture *fixture, struct piommu_dma_range *range,
                        uint64_t address, struct part *parts, size_t count)
{
    fill_parts(fixture, parts, count);
    link_all(fixture, range, parts, count);
    sync_parts(fixture, range, address, parts, count);
    for (size_t i = 0; i < count; i++) {
        size_t number = (7 * i + 3) % count;

        use_part(fixture, address, &parts[number], number);
        unlink_part(fixture, range, address, &parts[number]);
        look_at_part(fixture, &parts[number], number);
    }
    assert_int_equal(dma_mapped_pages(fixture), 0);
    assert_int_equal(piommu_dma_unreserve(range), 0);
}

/* Also where their memory adjoins. */
static void links_that_adjoin(struct dma_fixture *fixture)
{
    struct part parts[20];
    uint64_t address;
    struct piommu_dma_range *range = reserve(fixture, 0, COUNT(parts) * PAGE, &address);

    make_chain(parts, COUNT(parts), PAGE);
    unlink_each(fixture, range, address, parts, COUNT(parts));
}

static void test_links_that_adjoin(enum dma_kind kind)
{
    for_each_variant(kind, links_that_adjoin);
}

/* And where only what stands for them may adjoin: pages of the library. */
static void pages_that_adjoin(struct dma_fixture *fixture)
{
    struct part parts[8];
    uint64_t address;
    struct piommu_dma_range *range = reserve(fixture, 1, COUNT(parts) * PAGE, &address);

    for (size_t i = 0; i < COUNT(parts); i++) {
        parts[i] = (struct part){
            .at = i * PAGE, .offset = 5 * i * PAGE + 1, .size = 70, .direction = BOTH};
    }
    unlink_each(fixture, range, address, parts, COUNT(parts));
}

static void test_pages_that_adjoin(enum dma_kind kind)
{
    for_each_variant(kind, pages_that_adjoin);
}

/* A large leaf is made of one link, but not of several. */
static void test_leaves_of_one_link(enum dma_kind kind)
{
    const uint64_t half = 0x100000;
    const uint64_t memory = 0x80000000;
    struct dma_fixture *fixture = dma_open(kind, NULL);
    struct piommu_dma_range *range;
    uint64_t address;

    assert_int_equal(piommu_dma_reserve(fixture->dma[0], memory, 4 * half, &range, &address), 0);
    for (uint64_t i = 0; i < 2; i++) {
        assert_int_equal(piommu_dma_link(range, i * half, memory + i * half, half, BOTH, 0), 0);
    }
    assert_int_equal(piommu_dma_range_sync(range), 0);
    assert_int_equal(piommu_dma_unlink(range, half, half, BOTH, 0), 0);
    assert_true(dma_reaches(fixture, 0, address + half - 1, true));
    assert_false(dma_reaches(fixture, 0, address + half, true));
    assert_int_equal(piommu_dma_unlink(range, 0, half, BOTH, 0), 0);
    assert_int_equal(piommu_dma_unreserve(range), 0);
    dma_close(fixture);
}

/* ---- What is not right ---- */

static void test_arguments(enum dma_kind kind)
{
    const struct dma_options options = {.device = {.mask = 0x7fff}};
    struct dma_fixture *fixture = dma_open(kind, &options);
    struct piommu_dma_device *device = fixture->dma[0];
    uint64_t memory = fixture->memory;
    struct piommu_dma_range *range = NULL;
    uint64_t address;

    assert_int_equal(piommu_dma_reserve(NULL, memory, PAGE, &range, &address), -PIOMMU_EINVAL);
    assert_int_equal(piommu_dma_reserve(device, memory, 0, &range, &address), -PIOMMU_EINVAL);
    assert_int_equal(piommu_dma_reserve(device, memory, PAGE, NULL, &address), -PIOMMU_EINVAL);
    assert_int_equal(piommu_dma_reserve(device, memory, PAGE, &range, NULL), -PIOMMU_EINVAL);
    assert_int_equal(piommu_dma_reserve(device, UINT64_MAX, 2, &range, &address), -PIOMMU_ERANGE);
    assert_int_equal(piommu_dma_reserve(device, 0, 8 * PAGE, &range, &address), -PIOMMU_ENOSPC);
    assert_null(range);
    range = reserve(fixture, 100, 2 * PAGE, &address);
    assert_int_equal(piommu_dma_link(NULL, 0, memory + 100, 9, TO, 0), -PIOMMU_EINVAL);
    assert_int_equal(piommu_dma_link(range, 0, memory + 100, 0, TO, 0), -PIOMMU_EINVAL);
    assert_int_equal(piommu_dma_link(range, 0, memory + 100, 9, BAD, 0), -PIOMMU_EINVAL);
    assert_int_equal(piommu_dma_link(range, 0, memory + 100, 9, TO, 2), -PIOMMU_EINVAL);
    assert_int_equal(piommu_dma_link(range, 0, memory + 101, 9, TO, 0), -PIOMMU_EINVAL);
    assert_int_equal(piommu_dma_link(range, 1, memory + 100, 9, TO, 0), -PIOMMU_EINVAL);
    assert_int_equal(piommu_dma_link(range, 0, memory + 100, 2 * PAGE + 1, TO, 0), -PIOMMU_ERANGE);
    assert_int_equal(piommu_dma_link(range, 2 * PAGE, memory + 100, 1, TO, 0), -PIOMMU_ERANGE);
    assert_int_equal(piommu_dma_link(range, 0, memory + 100, UINT64_MAX, TO, 0), -PIOMMU_ERANGE);
    assert_int_equal(piommu_dma_link(range, 0, UINT64_MAX - PAGE + 101, 2 * PAGE, TO, 0),
                     -PIOMMU_ERANGE);
    assert_int_equal(piommu_dma_range_sync(NULL), -PIOMMU_EINVAL);
    assert_int_equal(piommu_dma_range_sync(range), 0);
    assert_int_equal(piommu_dma_unlink(NULL, 0, 9, TO, 0), -PIOMMU_EINVAL);
    assert_int_equal(piommu_dma_unlink(range, 0, 0, TO, 0), -PIOMMU_EINVAL);
    assert_int_equal(piommu_dma_unlink(range, 0, 9, BAD, 0), -PIOMMU_EINVAL);
    assert_int_equal(piommu_dma_unlink(range, 0, 9, TO, 2), -PIOMMU_EINVAL);
    assert_int_equal(piommu_dma_unlink(range, 0, 2 * PAGE + 1, TO, 0), -PIOMMU_EINVAL);
    assert_int_equal(piommu_dma_unlink(range, 2 * PAGE, 1, TO, 0), -PIOMMU_EINVAL);
    assert_int_equal(piommu_dma_unlink(range, 1, UINT64_MAX, TO, 0), -PIOMMU_EINVAL);
    assert_int_equal(piommu_dma_unlink(range, 0, 9, TO, 0), -PIOMMU_ENOENT);
    assert_int_equal(dma_mapped_pages(fixture), 0);
    assert_int_equal(piommu_dma_unreserve(NULL), 0);
    assert_int_equal(piommu_dma_unreserve(range), 0);
    assert_int_equal(count_addresses(fixture), 7);
    dma_close(fixture);
}

/* A mistake in one link does no harm to those that wait. */
static void after_a_mistake(struct dma_fixture *fixture)
{
    struct part parts[2];
    uint64_t address;
    struct piommu_dma_range *range = reserve_two(fixture, parts, &address);

    assert_int_equal(link_part(fixture, range, &parts[0]), 0);
    assert_int_equal(piommu_dma_link(range, PAGE, fixture->memory + 1, 9, BOTH, 0), -PIOMMU_EINVAL);
    assert_int_equal(piommu_dma_link(range, PAGE, fixture->memory, PAGE + 1, BOTH, 0),
                     -PIOMMU_ERANGE);
    assert_int_equal(link_part(fixture, range, &parts[1]), 0);
    sync_parts(fixture, range, address, parts, 2);
    use_part(fixture, address, &parts[0], 0);
    use_part(fixture, address, &parts[1], 1);
    unlink_part(fixture, range, address, &parts[0]);
    assert_int_equal(piommu_dma_unlink(range, 0, PAGE, BOTH, 0), -PIOMMU_ENOENT);
    unlink_part(fixture, range, address, &parts[1]);
    assert_int_equal(piommu_dma_unreserve(range), 0);
}

static void test_after_a_mistake(enum dma_kind kind)
{
    for_each_variant(kind, after_a_mistake);
}

/*
 * `count` links that end where something is linked: all of them are gone, and nothing else; what
 * was synced before stays.
 */
static void try_collision(struct dma_fixture *fixture, size_t count)
{
    struct part parts[24];
    struct part early;
    struct part wrong;
    uint64_t address;
    struct piommu_dma_range *range = reserve(fixture, 0, COUNT(parts) * PAGE, &address);
    int error = 0;

    make_chain(parts, COUNT(parts), 2 * PAGE);
    fill_parts(fixture, parts, COUNT(parts));
    early = parts[count];
    assert_int_equal(link_part(fixture, range, &early), 0);
    sync_parts(fixture, range, address, &early, 1);
    wrong = early;
    wrong.offset = 100 * PAGE;
    link_all(fixture, range, parts, count);
    error = link_part(fixture, range, &wrong);
    if (error == 0) {
        error = piommu_dma_range_sync(range);
    }
    assert_int_equal(error, -PIOMMU_EEXIST);
    assert_int_equal(dma_mapped_pages(fixture), 1);
    dma_sweep(fixture);
    dma_device_assert_filled(fixture, 0, address + early.at, PAGE, count, 0);
    assert_int_equal(piommu_dma_range_sync(range), 0);
    assert_int_equal(dma_mapped_pages(fixture), 1);

    link_all(fixture, range, parts, count);
    sync_parts(fixture, range, address, parts, count);
    unlink_part(fixture, range, address, &early);
    for (size_t i = 0; i < count; i++) {
        unlink_part(fixture, range, address, &parts[i]);
    }
    assert_int_equal(piommu_dma_unreserve(range), 0);
}

static void collide(struct dma_fixture *fixture)
{
    try_collision(fixture, 0);
    try_collision(fixture, 1);
    try_collision(fixture, 15);
    try_collision(fixture, 16);
    try_collision(fixture, 20);
}

static void test_what_is_linked_already(enum dma_kind kind)
{
    for_each_variant(kind, collide);
}

/* The beginning of a link that does not follow is an occasion to see that those before it fail. */
static void test_errors_of_links_before(enum dma_kind kind)
{
    struct dma_fixture *fixture = dma_open(kind, NULL);
    uint64_t memory = fixture->memory;
    uint64_t address;
    struct piommu_dma_range *range = reserve(fixture, 0, 4 * PAGE, &address);
    unsigned int handle;

    assert_int_equal(piommu_dma_link(range, 0, memory, PAGE, TO, 0), 0);
    assert_int_equal(piommu_dma_range_sync(range), 0);
    handle = dma_grant(fixture, address, PAGE, memory, PAGE, TO);
    assert_int_equal(piommu_dma_link(range, 0, memory + PAGE, PAGE, TO, 0), 0);
    assert_int_equal(piommu_dma_link(range, 3 * PAGE, memory + 9 * PAGE, PAGE, TO, 0),
                     -PIOMMU_EEXIST);
    assert_int_equal(piommu_dma_link(range, 0, memory + PAGE, PAGE, TO, 0), 0);
    assert_int_equal(piommu_dma_unlink(range, 0, PAGE, TO, 0), -PIOMMU_EEXIST);
    assert_int_equal(dma_mapped_pages(fixture), 1);
    dma_sweep(fixture);
    assert_int_equal(piommu_dma_unlink(range, 0, PAGE, TO, 0), 0);
    dma_revoke(fixture, handle);
    dma_sweep(fixture);
    assert_int_equal(dma_mapped_pages(fixture), 0);
    assert_int_equal(piommu_dma_unreserve(range), 0);
    dma_close(fixture);
}

/* Also links that do not follow each other are gone: the caller has not synced any of them. */
static void try_scattered_collision(struct dma_fixture *fixture, struct piommu_dma_range *range,
                                    uint64_t address, struct part *parts)
{
    struct part wrong = parts[1];

    assert_int_equal(link_part(fixture, range, &parts[1]), 0);
    sync_parts(fixture, range, address, &parts[1], 1);
    assert_int_equal(link_part(fixture, range, &parts[5]), 0);
    assert_int_equal(link_part(fixture, range, &parts[0]), 0);
    assert_int_equal(link_part(fixture, range, &parts[3]), 0);
    wrong.offset = 100 * PAGE;
    assert_int_equal(link_part(fixture, range, &wrong), 0);
    assert_int_equal(piommu_dma_range_sync(range), -PIOMMU_EEXIST);
    assert_int_equal(dma_mapped_pages(fixture), 2);
    dma_sweep(fixture);
    use_part(fixture, address, &parts[1], 1);
    unlink_part(fixture, range, address, &parts[1]);
    look_at_part(fixture, &parts[1], 1);
    assert_int_equal(dma_statistics(fixture).bounce_pages_used, 0);
}

static void collide_scattered(struct dma_fixture *fixture)
{
    struct part parts[SCATTERED];
    uint64_t address;
    struct piommu_dma_range *range = reserve(fixture, 100, AT(12), &address);

    memcpy(parts, scattered, sizeof(parts));
    fill_parts(fixture, parts, SCATTERED);
    try_scattered_collision(fixture, range, address, parts);
    link_all(fixture, range, parts, SCATTERED);
    sync_parts(fixture, range, address, parts, SCATTERED);
    for (size_t i = 0; i < SCATTERED; i++) {
        unlink_part(fixture, range, address, &parts[i]);
    }
    assert_int_equal(piommu_dma_unreserve(range), 0);
}

static void test_scattered_links_before_an_error(enum dma_kind kind)
{
    for_each_variant(kind, collide_scattered);
}

/* A part with a hole: refused; what is in it is unlinked, unless it is known before. */
static void unlink_with_a_hole(struct dma_fixture *fixture)
{
    struct part parts[2];
    uint64_t address;
    struct piommu_dma_range *range = reserve(fixture, 0, 3 * PAGE, &address);
    int error;

    make_chain(parts, 2, 8 * PAGE);
    parts[1].at = 2 * PAGE;
    fill_parts(fixture, parts, 2);
    link_all(fixture, range, parts, 2);
    sync_parts(fixture, range, address, parts, 2);
    error = piommu_dma_unlink(range, 0, 3 * PAGE, BOTH, 0);
    if (error == -PIOMMU_EINVAL && !fixture->options.space.debug) {
        revoke_parts(fixture, address, parts, 2);
    } else {
        assert_int_equal(error, -PIOMMU_ENOENT);
        use_part(fixture, address, &parts[0], 0);
        unlink_part(fixture, range, address, &parts[0]);
        unlink_part(fixture, range, address, &parts[1]);
    }
    assert_int_equal(dma_mapped_pages(fixture), 0);
    assert_int_equal(piommu_dma_unreserve(range), 0);
}

static void test_unlinks_with_a_hole(enum dma_kind kind)
{
    for_each_variant(kind, unlink_with_a_hole);
}

/* ---- Without a sync ---- */

/* An unlink is a sync, too. */
static void unlinked_without_a_sync(struct dma_fixture *fixture)
{
    struct part parts[2];
    uint64_t address;
    struct piommu_dma_range *range = reserve_two(fixture, parts, &address);

    link_all(fixture, range, parts, 2);
    assert_int_equal(piommu_dma_unlink(range, 0, PAGE, BOTH, 0), 0);
    grant_parts(fixture, address, &parts[1], 1);
    use_part(fixture, address, &parts[1], 1);
    assert_int_equal(dma_mapped_pages(fixture), 1);
    assert_int_equal(piommu_dma_unreserve(range), -PIOMMU_EBUSY);
    unlink_part(fixture, range, address, &parts[1]);
    assert_int_equal(piommu_dma_unreserve(range), 0);
}

static void test_unlinked_without_a_sync(enum dma_kind kind)
{
    for_each_variant(kind, unlinked_without_a_sync);
}

static void given_up_without_a_sync(struct dma_fixture *fixture)
{
    static const size_t counts[] = {1, 16, 17, 40};

    for (size_t i = 0; i < COUNT(counts); i++) {
        struct part parts[40];
        uint64_t address;
        struct piommu_dma_range *range = reserve(fixture, 1, COUNT(parts) * PAGE, &address);

        for (size_t k = 0; k < counts[i]; k++) {
            parts[k] = (struct part){
                .at = k * PAGE, .offset = 2 * k * PAGE + 1, .size = PAGE - 1, .direction = FROM};
        }
        link_all(fixture, range, parts, counts[i]);
        assert_int_equal(piommu_dma_unreserve(range), 0);
        assert_int_equal(dma_mapped_pages(fixture), 0);
        assert_int_equal(dma_statistics(fixture).bounce_pages_used, 0);
        dma_sweep(fixture);
    }
}

static void scattered_without_a_sync(struct dma_fixture *fixture)
{
    uint64_t address;
    struct piommu_dma_range *range = reserve(fixture, 100, AT(12), &address);

    link_all(fixture, range, scattered, SCATTERED);
    assert_int_equal(piommu_dma_unreserve(range), 0);
    assert_int_equal(dma_mapped_pages(fixture), 0);
    dma_sweep(fixture);
}

static void test_given_up_without_a_sync(enum dma_kind kind)
{
    for_each_variant(kind, given_up_without_a_sync);
    for_each_variant(kind, scattered_without_a_sync);
}

static void test_what_is_linked_is_not_given_up(enum dma_kind kind)
{
    struct dma_fixture *fixture = dma_open(kind, NULL);
    struct part parts[2];
    uint64_t address;
    struct piommu_dma_range *range = reserve_two(fixture, parts, &address);

    assert_int_equal(link_part(fixture, range, &parts[0]), 0);
    sync_parts(fixture, range, address, parts, 1);
    assert_int_equal(link_part(fixture, range, &parts[1]), 0);
    assert_int_equal(piommu_dma_unreserve(range), -PIOMMU_EBUSY);
    use_part(fixture, address, &parts[0], 0);
    sync_parts(fixture, range, address, &parts[1], 1);
    use_part(fixture, address, &parts[1], 1);
    assert_int_equal(piommu_dma_unlink(range, 0, 2 * PAGE, BOTH, 0), 0);
    revoke_parts(fixture, address, parts, 2);
    assert_int_equal(piommu_dma_unreserve(range), 0);
    dma_close(fixture);
}

/* ---- Ends in pages of the library ---- */

static void test_pages_in_use(enum dma_kind kind)
{
    const struct dma_options options = {.untrusted = true, .space = {.bounce_pages = 3}};
    struct dma_fixture *fixture = dma_open(kind, &options);
    uint64_t memory = fixture->memory;
    uint64_t address;
    struct piommu_dma_range *range = reserve(fixture, 100, 6 * PAGE, &address);

    /* Two ends, and a middle of its own. */
    assert_int_equal(piommu_dma_link(range, 0, memory + 100, 2 * PAGE, BOTH, 0), 0);
    assert_int_equal(piommu_dma_range_sync(range), 0);
    assert_int_equal(dma_statistics(fixture).bounce_pages_used, 2);
    /* One page more, and then there is none: this one goes, those above stay. */
    assert_int_equal(piommu_dma_link(range, 3 * PAGE, memory + 8 * PAGE + 100, PAGE - 100, BOTH, 0),
                     0);
    assert_int_equal(piommu_dma_link(range, AT(4), memory + 16 * PAGE, PAGE + 1, BOTH, 0),
                     -PIOMMU_EAGAIN);
    assert_int_equal(dma_statistics(fixture).bounce_pages_used, 2);
    assert_int_equal(dma_mapped_pages(fixture), 3);
    assert_int_equal(piommu_dma_range_sync(range), 0);
    assert_int_equal(dma_mapped_pages(fixture), 3);
    assert_int_equal(piommu_dma_unlink(range, 0, 2 * PAGE, BOTH, 0), 0);
    assert_int_equal(dma_statistics(fixture).bounce_pages_used, 0);
    assert_int_equal(piommu_dma_unreserve(range), 0);
    dma_close(fixture);
}

static void test_without_pages(enum dma_kind kind)
{
    const struct dma_options options = {.untrusted = true};
    struct dma_fixture *fixture = dma_open(kind, &options);
    uint64_t memory = fixture->memory;
    uint64_t address;
    struct piommu_dma_range *range = reserve(fixture, 0, 4 * PAGE, &address);

    assert_int_equal(piommu_dma_link(range, 0, memory, PAGE, BOTH, 0), 0);
    assert_int_equal(piommu_dma_link(range, PAGE, memory + 8 * PAGE, 1, BOTH, 0),
                     -PIOMMU_EOPNOTSUPP);
    assert_int_equal(piommu_dma_range_sync(range), 0);
    assert_int_equal(dma_mapped_pages(fixture), 0);
    assert_int_equal(piommu_dma_unreserve(range), 0);
    dma_close(fixture);
}

/* Nothing is copied unless a sync says so. */
static void test_without_copies(enum dma_kind kind)
{
    const struct dma_options options = {.untrusted = true, .space = {.bounce_pages = 1}};
    struct dma_fixture *fixture = dma_open(kind, &options);
    struct part part = {.at = 0,
                        .offset = 8 * PAGE + 10,
                        .size = 100,
                        .direction = BOTH,
                        .flags = PIOMMU_DMA_NO_CPU_SYNC};
    uint8_t bytes[100];
    uint64_t address;
    struct piommu_dma_range *range = reserve(fixture, 10, 100, &address);

    fill_parts(fixture, &part, 1);
    assert_int_equal(link_part(fixture, range, &part), 0);
    sync_parts(fixture, range, address, &part, 1);
    assert_int_equal(dma_read(fixture, 0, address, bytes, sizeof(bytes)), sizeof(bytes));
    for (size_t i = 0; i < sizeof(bytes); i++) {
        assert_int_equal(bytes[i], 0);
    }
    assert_int_equal(piommu_dma_sync_single_for_device(fixture->dma[0], address, 100, BOTH), 0);
    dma_device_assert_filled(fixture, 0, address, 100, 0, 0);
    dma_device_fill(fixture, 0, address, 100, 2);
    assert_int_equal(piommu_dma_sync_single_for_cpu(fixture->dma[0], address, 50, BOTH), 0);
    unlink_part(fixture, range, address, &part);
    dma_assert_filled(fixture, part.offset, 50, 2, 0);
    dma_assert_filled(fixture, part.offset + 50, 50, 0, 50);
    assert_int_equal(piommu_dma_unreserve(range), 0);
    dma_close(fixture);
}

/* Each link has flags of its own. */
static void test_copies_of_one_of_two(enum dma_kind kind)
{
    const struct dma_options options = {.untrusted = true, .space = {.bounce_pages = 2}};
    struct dma_fixture *fixture = dma_open(kind, &options);
    struct part parts[2];
    uint8_t byte = 1;
    uint64_t address;
    struct piommu_dma_range *range = reserve_two(fixture, parts, &address);

    parts[0].size = 8;
    parts[0].flags = PIOMMU_DMA_NO_CPU_SYNC;
    parts[1].size = 8;
    link_all(fixture, range, parts, 2);
    sync_parts(fixture, range, address, parts, 2);
    assert_int_equal(dma_read(fixture, 0, address, &byte, 1), 1);
    assert_int_equal(byte, 0);
    use_part(fixture, address, &parts[1], 1);
    unlink_part(fixture, range, address, &parts[0]);
    unlink_part(fixture, range, address, &parts[1]);
    dma_assert_filled(fixture, parts[0].offset, 8, 0, 0);
    look_at_part(fixture, &parts[1], 1);
    assert_int_equal(piommu_dma_unreserve(range), 0);
    dma_close(fixture);
}

/* ---- The record ---- */

static char logged[1024];

static void keep_log(void *ctx, enum piommu_log_level level, const char *line)
{
    size_t length = strlen(logged);

    (void)ctx;
    (void)level;
    (void)snprintf(logged + length, sizeof(logged) - length, "%s\n", line);
}

static struct dma_fixture *open_debug(enum dma_kind kind)
{
    const struct dma_options options = {.space = {.debug = true}};
    struct dma_fixture *fixture = dma_open(kind, &options);

    fake_os_callbacks(fixture->os)->log = keep_log;
    logged[0] = '\0';
    return fixture;
}

static void test_other_calls_do_not_fit(enum dma_kind kind)
{
    struct dma_fixture *fixture = open_debug(kind);
    struct part part = {.offset = 8 * PAGE, .size = PAGE, .direction = BOTH};
    uint64_t address;
    struct piommu_dma_range *range = reserve(fixture, 0, PAGE, &address);

    fill_parts(fixture, &part, 1);
    assert_int_equal(link_part(fixture, range, &part), 0);
    sync_parts(fixture, range, address, &part, 1);
    assert_int_equal(piommu_dma_sync_single_for_cpu(fixture->dma[0], address, PAGE, BOTH), 0);
    assert_string_equal(logged, "");
    assert_int_equal(piommu_dma_unmap_single(fixture->dma[0], address, PAGE, BOTH, 0),
                     -PIOMMU_EINVAL);
    assert_non_null(strstr(logged, "first"));
    use_part(fixture, address, &part, 0);
    logged[0] = '\0';
    unlink_part(fixture, range, address, &part);
    assert_int_equal(piommu_dma_unreserve(range), 0);
    piommu_dma_device_remove(fixture->dma[0]);
    fixture->dma[0] = NULL;
    assert_string_equal(logged, "");
    dma_close(fixture);
}

/* Nobody can give the range up once its device is gone: its memory is lost. */
static void test_ranges_that_are_left_are_named(enum dma_kind kind)
{
    struct dma_fixture *fixture = open_debug(kind);
    char name[24];
    uint64_t address;

    (void)reserve(fixture, 100, PAGE, &address);
    (void)snprintf(name, sizeof(name), "%llx", (unsigned long long)address);
    piommu_dma_device_remove(fixture->dma[0]);
    fixture->dma[0] = NULL;
    assert_non_null(strstr(logged, "first"));
    assert_non_null(strstr(logged, name));
    fixture->ipmmu->loses_memory = true;
    dma_close(fixture);
}

/* ---- What fails ---- */

/* A range with two runs of links, more than are told at once; each call that fails is repeated. */
struct story {
    struct dma_fixture *fixture;
    struct piommu_dma_range *range;
    uint64_t address;
    struct part synced;
    struct part parts[20];
    unsigned int failures;
    int expected;
};

static void open_story(struct story *story, enum dma_kind kind, const struct dma_options *options,
                       int expected)
{
    *story = (struct story){.fixture = dma_open(kind, options), .expected = expected};
    story->synced =
        (struct part){.at = 25 * PAGE, .offset = 101 * PAGE + 1, .size = 50, .direction = BOTH};
    for (size_t i = 0; i < COUNT(story->parts); i++) {
        /* The last two do not follow. */
        uint64_t granule = i < 18 ? i : 37 - i;

        story->parts[i] = (struct part){
            .at = granule * PAGE, .offset = 5 * i * PAGE + 1, .size = PAGE - 1, .direction = TO};
    }
    fill_parts(story->fixture, &story->synced, 1);
    fill_parts(story->fixture, story->parts, COUNT(story->parts));
}

static bool succeeds(struct story *story, int error)
{
    if (error != 0) {
        assert_int_equal(error, story->expected);
        story->failures++;
    }
    return error == 0;
}

static void begin_story(struct story *story)
{
    struct dma_fixture *fixture = story->fixture;

    while (!succeeds(story, piommu_dma_reserve(fixture->dma[0], fixture->memory + 1, 28 * PAGE,
                                               &story->range, &story->address))) {
        assert_int_equal(dma_mapped_pages(fixture), 0);
    }
    while (!succeeds(story, link_part(fixture, story->range, &story->synced)) ||
           !succeeds(story, piommu_dma_range_sync(story->range))) {
        assert_int_equal(dma_mapped_pages(fixture), 0);
        assert_int_equal(dma_statistics(fixture).bounce_pages_used, 0);
    }
    grant_parts(fixture, story->address, &story->synced, 1);
}

static bool link_story(struct story *story)
{
    for (size_t i = 0; i < COUNT(story->parts); i++) {
        if (!succeeds(story, link_part(story->fixture, story->range, &story->parts[i]))) {
            return false;
        }
    }
    return succeeds(story, piommu_dma_range_sync(story->range));
}

static void tell_story(struct story *story)
{
    struct dma_fixture *fixture = story->fixture;

    begin_story(story);
    while (!link_story(story)) {
        assert_int_equal(dma_mapped_pages(fixture), 1);
        assert_int_equal(dma_statistics(fixture).bounce_pages_used, 1);
        dma_sweep(fixture);
    }
    grant_parts(fixture, story->address, story->parts, COUNT(story->parts));
    for (size_t i = 0; i < COUNT(story->parts); i++) {
        use_part(fixture, story->address, &story->parts[i], i);
        unlink_part(fixture, story->range, story->address, &story->parts[i]);
    }
    use_part(fixture, story->address, &story->synced, 0);
    unlink_part(fixture, story->range, story->address, &story->synced);
    assert_int_equal(piommu_dma_unreserve(story->range), 0);
    assert_int_equal(dma_statistics(fixture).bounce_pages_used, 0);
    assert_int_equal(dma_statistics(fixture).stuck, 0);
}

static const struct dma_options debugged = {
    .untrusted = true, .space = {.bounce_pages = 64, .debug = true}, .device = {.mask = 0x1dfff}};

static void test_the_shim_fails(enum dma_kind kind)
{
    uint64_t nth = 1;
    struct story story;

    do {
        open_story(&story, kind, &debugged, -PIOMMU_ENOMEM);
        fake_os_fail_call(story.fixture->os, nth++, false);
        tell_story(&story);
        fake_os_fail_call(story.fixture->os, 0, false);
        dma_close(story.fixture);
    } while (story.failures != 0);
    assert_true(nth > 3);
}

static void test_requests_that_are_refused(enum dma_kind kind)
{
    uint64_t nth = 1;
    struct story story;

    do {
        open_story(&story, kind, &debugged, -PIOMMU_EIO);
        assert_true(viommu_model_fail_request(story.fixture->viommu->model, VIOMMU_MODEL_MAP, nth++,
                                              VIOMMU_MODEL_S_DEVERR));
        tell_story(&story);
        viommu_model_behave(story.fixture->viommu->model);
        dma_close(story.fixture);
    } while (story.failures != 0);
    assert_int_equal(nth, 1 + COUNT(story.parts) + 2);
}

static void test_unlinking_allocates_nothing(enum dma_kind kind)
{
    for (unsigned int lazy = 0; lazy < 2; lazy++) {
        const struct dma_options options = {.space = {.lazy = lazy != 0 && kind != DMA_IPMMU}};
        struct dma_fixture *fixture = dma_open(kind, &options);
        struct part parts[20];
        uint64_t address;
        struct piommu_dma_range *range = reserve(fixture, 0, 20 * PAGE, &address);

        make_chain(parts, COUNT(parts), 2 * PAGE);
        link_all(fixture, range, parts, COUNT(parts));
        assert_int_equal(piommu_dma_range_sync(range), 0);
        fake_os_forbid(fixture->os, FAKE_OS_FORBID_ALLOCATION);
        assert_int_equal(piommu_dma_unlink(range, 0, 3 * PAGE, BOTH, 0), 0);
        assert_int_equal(piommu_dma_unlink(range, 3 * PAGE, 17 * PAGE, BOTH, 0), 0);
        assert_int_equal(piommu_dma_unreserve(range), 0);
        fake_os_forbid(fixture->os, 0);
        dma_close(fixture);
    }
}

/* ---- The IOMMU does not obey ---- */

static const struct dma_options seven = {
    .untrusted = true, .space = {.bounce_pages = 2}, .device = {.mask = 0x7fff}};

static void assert_kept(struct dma_fixture *fixture, size_t addresses, uint32_t pages)
{
    assert_int_equal(count_addresses(fixture), addresses);
    assert_int_equal(dma_statistics(fixture).bounce_pages_used, pages);
}

/* Nothing is given back before a flush has succeeded. */
static void assert_kept_until_the_flush(struct dma_fixture *fixture, size_t addresses,
                                        uint32_t pages)
{
    assert_kept(fixture, addresses, pages);
    assert_int_equal(piommu_dma_space_flush(fixture->space), -PIOMMU_EFAILED);
    assert_kept(fixture, addresses, pages);
    dma_heal_unit(fixture);
    assert_kept(fixture, addresses, pages);
    assert_int_equal(piommu_dma_space_flush(fixture->space), 0);
    assert_int_equal(dma_mapped_pages(fixture), 0);
    assert_int_equal(dma_statistics(fixture).stuck, 0);
    assert_kept(fixture, 7, 0);
    dma_sweep(fixture);
}

static void test_unlinks_that_are_not_obeyed(enum dma_kind kind)
{
    struct dma_fixture *fixture = dma_open(kind, &seven);
    struct part part = {.at = 0, .offset = 8 * PAGE + 1, .size = 70, .direction = BOTH};
    uint64_t address;
    struct piommu_dma_range *range = reserve(fixture, 1, PAGE + 1, &address);

    fill_parts(fixture, &part, 1);
    assert_int_equal(link_part(fixture, range, &part), 0);
    sync_parts(fixture, range, address, &part, 1);
    dma_device_fill(fixture, 0, address, part.size, 3);
    dma_break_unit(fixture);
    assert_int_equal(piommu_dma_unlink(range, 0, part.size, BOTH, 0), -PIOMMU_EFAILED);
    dma_assert_filled(fixture, part.offset, part.size, 3, 0);
    assert_int_equal(piommu_dma_unlink(range, 0, part.size, BOTH, 0), -PIOMMU_ENOENT);
    dma_revoke(fixture, part.handle);
    assert_int_equal(piommu_dma_unreserve(range), 0);
    assert_kept_until_the_flush(fixture, 5, 1);
    dma_close(fixture);
}

/* The range outlives the failure: it can be used again, and is given back like any other. */
static void test_ranges_that_outlive_a_failure(enum dma_kind kind)
{
    struct dma_fixture *fixture = dma_open(kind, &seven);
    struct part part = {.at = 0, .offset = 8 * PAGE + 1, .size = 70, .direction = BOTH};
    uint64_t address;
    struct piommu_dma_range *range = reserve(fixture, 1, PAGE + 1, &address);

    for (unsigned int i = 0; i < 2; i++) {
        fill_parts(fixture, &part, 1);
        assert_int_equal(link_part(fixture, range, &part), 0);
        sync_parts(fixture, range, address, &part, 1);
        use_part(fixture, address, &part, 0);
        if (i == 0) {
            dma_break_unit(fixture);
            assert_int_equal(piommu_dma_unlink(range, 0, part.size, BOTH, 0), -PIOMMU_EFAILED);
            dma_heal_unit(fixture);
            assert_int_equal(piommu_dma_space_flush(fixture->space), 0);
            revoke_parts(fixture, address, &part, 1);
        } else {
            unlink_part(fixture, range, address, &part);
        }
        look_at_part(fixture, &part, 0);
    }
    assert_int_equal(piommu_dma_unreserve(range), 0);
    assert_int_equal(dma_statistics(fixture).stuck, 0);
    assert_kept(fixture, 7, 0);
    dma_close(fixture);
}

/* Nobody knows what the unit has done about links that it did not answer. */
static void test_syncs_that_are_not_answered(enum dma_kind kind)
{
    struct dma_fixture *fixture = dma_open(kind, &seven);
    uint64_t address;
    struct piommu_dma_range *range = reserve(fixture, 1, 2 * PAGE, &address);

    dma_break_unit(fixture);
    assert_int_equal(piommu_dma_link(range, 0, fixture->memory + 1, 70, BOTH, 0), 0);
    assert_int_equal(piommu_dma_range_sync(range), -PIOMMU_EFAILED);
    assert_int_equal(piommu_dma_range_sync(range), 0);
    assert_int_equal(piommu_dma_unlink(range, 0, 70, BOTH, 0), -PIOMMU_ENOENT);
    assert_int_equal(piommu_dma_unreserve(range), 0);
    assert_kept_until_the_flush(fixture, 4, 1);
    dma_close(fixture);
}

/* Some of the links were told to the unit before it broke, and cannot be taken back. */
static void test_links_that_cannot_be_taken_back(enum dma_kind kind)
{
    const struct dma_options options = {.device = {.mask = 0x17fff}};
    struct dma_fixture *fixture = dma_open(kind, &options);
    struct part parts[17];
    uint64_t address;
    struct piommu_dma_range *range = reserve(fixture, 0, COUNT(parts) * PAGE, &address);

    make_chain(parts, COUNT(parts), 2 * PAGE);
    link_all(fixture, range, parts, COUNT(parts));
    assert_true(dma_mapped_pages(fixture) != 0);
    dma_break_unit(fixture);
    assert_int_equal(piommu_dma_unreserve(range), -PIOMMU_EFAILED);
    assert_int_equal(count_addresses(fixture), 23 - COUNT(parts));
    dma_heal_unit(fixture);
    assert_int_equal(count_addresses(fixture), 23 - COUNT(parts));
    assert_int_equal(piommu_dma_space_flush(fixture->space), 0);
    dma_sweep(fixture);
    range = reserve(fixture, 0, 23 * PAGE, &address);
    assert_int_equal(piommu_dma_unreserve(range), 0);
    dma_close(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        DMA_TEST(DMA_ALL, test_places_in_the_granule),
        DMA_TEST(DMA_ALL, test_places_in_a_larger_leaf),
        DMA_TEST(DMA_ALL, test_addresses_are_taken_and_come_back),
        DMA_TEST(DMA_ALL, test_from_the_sync_to_the_unlink),
        DMA_TEST(DMA_ALL, test_parts_in_any_order),
        DMA_TEST(DMA_VIRTIO, test_one_list_of_requests),
        DMA_TEST(DMA_ALL, test_many_links),
        DMA_TEST(DMA_ALL, test_links_that_adjoin),
        DMA_TEST(DMA_ALL, test_pages_that_adjoin),
        DMA_TEST(DMA_ALL, test_leaves_of_one_link),
        DMA_TEST(DMA_ALL, test_arguments),
        DMA_TEST(DMA_ALL, test_after_a_mistake),
        DMA_TEST(DMA_ALL, test_what_is_linked_already),
        DMA_TEST(DMA_ALL, test_errors_of_links_before),
        DMA_TEST(DMA_ALL, test_scattered_links_before_an_error),
        DMA_TEST(DMA_ALL, test_unlinks_with_a_hole),
        DMA_TEST(DMA_ALL, test_unlinked_without_a_sync),
        DMA_TEST(DMA_ALL, test_given_up_without_a_sync),
        DMA_TEST(DMA_ALL, test_what_is_linked_is_not_given_up),
        DMA_TEST(DMA_ALL, test_pages_in_use),
        DMA_TEST(DMA_ALL, test_without_pages),
        DMA_TEST(DMA_ALL, test_without_copies),
        DMA_TEST(DMA_ALL, test_copies_of_one_of_two),
        DMA_TEST(DMA_ALL, test_other_calls_do_not_fit),
        DMA_TEST(DMA_TABLES, test_ranges_that_are_left_are_named),
        DMA_TEST(DMA_ALL, test_the_shim_fails),
        DMA_TEST(DMA_VIRTIO, test_requests_that_are_refused),
        DMA_TEST(DMA_ALL, test_unlinking_allocates_nothing),
        DMA_TEST(DMA_ALL, test_unlinks_that_are_not_obeyed),
        DMA_TEST(DMA_ALL, test_ranges_that_outlive_a_failure),
        DMA_TEST(DMA_VIRTIO, test_syncs_that_are_not_answered),
        DMA_TEST(DMA_VIRTIO, test_links_that_cannot_be_taken_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
