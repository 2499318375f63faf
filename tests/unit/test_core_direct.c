/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Reserved regions of devices in paging domains, above all direct-mapped ones. After each call of a
 * backend each device tries the pages around its regions: while hardware has it in a domain none of
 * its direct pages may fault, and nothing else may be reached. (XSA-378, XSA-386, XSA-400: such
 * mappings missing, or in the wrong order on attach and detach.)
 */

#include "core_bench.h"

#include <piommu/piommu.h>

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <inttypes.h>
#include <stdlib.h>

#include <cmocka.h>

#define FRAME    0x40010000ull /* where direct regions begin; also their physical address */
#define USER     0x40000000ull
#define MEMORY   0x80000000ull
#define MEMORY_2 0xc0000000ull
#define TOP      (1ull << 39)
#define FIRST_ID 10u
#define OTHER_ID 11u
#define HOLE     PIOMMU_ALLOW_HOLE

#define DIRECT(first_page, count)                                                           \
    {                                                                                       \
        {FRAME + (first_page)*CORE_PAGE, FRAME + ((first_page) + (count)) * CORE_PAGE - 1}, \
            PIOMMU_RESERVED_DIRECT                                                          \
    }

static const struct piommu_reserved_region four_pages = DIRECT(0, 4);

static uint64_t frame(unsigned int page)
{
    return FRAME + page * CORE_PAGE;
}

/* A bench whose devices try the pages from below USER's first to beyond the regions. */
static struct core_bench *open_bench(void **state)
{
    struct core_bench *bench = core_open(core_case_of(state), NULL);

    core_window(bench, USER - CORE_PAGE, 4 * CORE_PAGE);
    core_window(bench, FRAME - 2 * CORE_PAGE, 24 * CORE_PAGE);
    return bench;
}

static unsigned int last_unit(const struct core_bench *bench)
{
    return bench->options.units - 1;
}

static void must_direct(struct core_bench *bench, uint32_t id, unsigned int page,
                        unsigned int count)
{
    core_must(bench, id, frame(page), frame(page), count * CORE_PAGE, CORE_RW);
}

static void may_direct(struct core_bench *bench, unsigned int page, unsigned int count)
{
    core_may(bench, CORE_ANY_ID, frame(page), frame(page), count * CORE_PAGE, CORE_RW);
}

static void expect_direct(struct core_bench *bench, struct piommu_domain *domain, uint32_t id,
                          unsigned int page, unsigned int count)
{
    core_expect_mapped(bench, id, frame(page), frame(page), count * CORE_PAGE, CORE_RW);
    core_expect_held(domain, frame(page), frame(page), count * CORE_PAGE, CORE_RW);
}

static void expect_no_direct(struct core_bench *bench, struct piommu_domain *domain, uint32_t id,
                             unsigned int page, unsigned int count)
{
    core_expect_nothing(bench, id, frame(page), count * CORE_PAGE);
    core_expect_hole(domain, frame(page), count * CORE_PAGE);
}

/* Hardware that blocks a device on its way from one domain to another. */
static void one_by_one(unsigned int unit, struct piommu_backend_info *info)
{
    (void)unit;
    info->atomic_switch = false;
}

/* ---- From before it enters until after it has left ---- */

static void test_a_direct_region_is_there_whenever_the_device_is(void **state)
{
    struct core_bench *bench = open_bench(state);
    struct piommu_domain *domain = core_paging(bench);
    struct piommu_device *device =
        core_add_device(bench, last_unit(bench), FIRST_ID, &four_pages, 1, 0);

    core_map(domain, USER, MEMORY, CORE_PAGE, CORE_RW);
    core_expect_hole(domain, FRAME, 4 * CORE_PAGE);
    must_direct(bench, FIRST_ID, 0, 4);
    core_may(bench, FIRST_ID, USER, MEMORY, CORE_PAGE, CORE_RW);
    for (unsigned int round = 0; round < 2; round++) {
        assert_int_equal(core_attach(device, domain), 0);
        core_probe(bench);
        expect_direct(bench, domain, FIRST_ID, 0, 4);
        core_expect_mapped(bench, FIRST_ID, USER, MEMORY, CORE_PAGE, CORE_RW);
        core_detach(device);
        expect_no_direct(bench, domain, FIRST_ID, 0, 4);
        core_expect_held(domain, USER, MEMORY, CORE_PAGE, CORE_RW);
    }
    assert_true(bench->demands != 0);
    core_close(bench);
}

static void test_a_direct_region_is_there_in_a_domain_without_other_mappings(void **state)
{
    struct core_bench *bench = open_bench(state);
    struct piommu_domain *domain = core_paging(bench);
    struct piommu_device *device = core_add_device(bench, 0, FIRST_ID, &four_pages, 1, 0);

    must_direct(bench, FIRST_ID, 0, 4);
    assert_int_equal(core_attach(device, domain), 0);
    expect_direct(bench, domain, FIRST_ID, 0, 4);
    core_detach(device);
    expect_no_direct(bench, domain, FIRST_ID, 0, 4);
    core_close(bench);
}

static void moves_with_the_device(void **state, core_adjust *adjust)
{
    struct core_bench *bench = core_open(core_case_of(state), adjust);
    struct piommu_domain *from = core_paging(bench);
    struct piommu_domain *to = core_paging(bench);
    struct piommu_device *device = core_add_device(bench, 0, FIRST_ID, &four_pages, 1, 0);

    core_window(bench, USER - CORE_PAGE, 4 * CORE_PAGE);
    core_window(bench, FRAME - 2 * CORE_PAGE, 8 * CORE_PAGE);
    core_map(from, USER, MEMORY, CORE_PAGE, CORE_RW);
    core_map(to, USER + CORE_PAGE, MEMORY_2, CORE_PAGE, CORE_R);
    must_direct(bench, FIRST_ID, 0, 4);
    core_may(bench, FIRST_ID, USER, MEMORY, CORE_PAGE, CORE_RW);
    assert_int_equal(core_attach(device, from), 0);
    core_may(bench, FIRST_ID, USER + CORE_PAGE, MEMORY_2, CORE_PAGE, CORE_R);
    assert_int_equal(core_attach(device, to), 0);
    expect_direct(bench, to, FIRST_ID, 0, 4);
    core_expect_hole(from, FRAME, 4 * CORE_PAGE);
    core_expect_nothing(bench, FIRST_ID, USER, CORE_PAGE);
    core_expect_mapped(bench, FIRST_ID, USER + CORE_PAGE, MEMORY_2, CORE_PAGE, CORE_R);
    core_detach(device);
    core_expect_hole(to, FRAME, 4 * CORE_PAGE);
    core_close(bench);
}

static void test_a_direct_region_moves_with_the_device(void **state)
{
    moves_with_the_device(state, NULL);
}

static void test_a_direct_region_moves_with_a_device_that_is_blocked_meanwhile(void **state)
{
    moves_with_the_device(state, one_by_one);
}

static void test_attaching_again_to_the_same_domain_leaves_the_region(void **state)
{
    struct core_bench *bench = open_bench(state);
    struct piommu_domain *domain = core_paging(bench);
    struct piommu_device *device = core_add_device(bench, 0, FIRST_ID, &four_pages, 1, 0);

    must_direct(bench, FIRST_ID, 0, 4);
    assert_int_equal(core_attach(device, domain), 0);
    assert_int_equal(core_attach(device, domain), 0);
    expect_direct(bench, domain, FIRST_ID, 0, 4);
    core_detach(device);
    expect_no_direct(bench, domain, FIRST_ID, 0, 4);
    core_close(bench);
}

static void test_a_region_of_many_blocks_is_mapped_whole(void **state)
{
    const struct piommu_reserved_region large = {
        {0x40200000ull - 3 * CORE_PAGE, 0x40200000ull + 3 * CORE_BLOCK + CORE_PAGE - 1},
        PIOMMU_RESERVED_DIRECT};
    const uint64_t size = large.range.last - large.range.first + 1;
    struct core_bench *bench = core_open(core_case_of(state), NULL);
    struct piommu_domain *domain = core_paging(bench);
    struct piommu_device *device = core_add_device(bench, 0, FIRST_ID, &large, 1, 0);

    core_window(bench, large.range.first - CORE_PAGE, 8 * CORE_PAGE);
    core_window(bench, large.range.last + 1 - 4 * CORE_PAGE, 6 * CORE_PAGE);
    core_must(bench, FIRST_ID, large.range.first, large.range.first, size, CORE_RW);
    assert_int_equal(core_attach(device, domain), 0);
    core_expect_mapped(bench, FIRST_ID, large.range.first, large.range.first, size, CORE_RW);
    core_expect_nothing(bench, FIRST_ID, large.range.first - CORE_PAGE, CORE_PAGE);
    core_expect_nothing(bench, FIRST_ID, large.range.last + 1, CORE_PAGE);
    core_detach(device);
    core_expect_hole(domain, large.range.first, size);
    core_close(bench);
}

static void test_a_region_off_the_granule_is_widened_to_it(void **state)
{
    static const struct piommu_reserved_region regions[] = {
        {{FRAME + 0x123, FRAME + 0x2345}, PIOMMU_RESERVED_DIRECT},
        {{FRAME + 0x7fff, FRAME + 0x8000}, PIOMMU_RESERVED_DIRECT},
        {{FRAME + 0xa800, FRAME + 0xa800}, PIOMMU_RESERVED_DIRECT},
    };
    struct core_bench *bench = open_bench(state);
    struct piommu_domain *domain = core_paging(bench);
    struct piommu_device *device = core_add_device(bench, 0, FIRST_ID, regions, 3, 0);

    must_direct(bench, FIRST_ID, 0, 3);
    must_direct(bench, FIRST_ID, 7, 2);
    must_direct(bench, FIRST_ID, 10, 1);
    assert_int_equal(core_attach(device, domain), 0);
    expect_direct(bench, domain, FIRST_ID, 0, 3);
    expect_no_direct(bench, domain, FIRST_ID, 3, 4);
    expect_direct(bench, domain, FIRST_ID, 7, 2);
    expect_no_direct(bench, domain, FIRST_ID, 9, 1);
    expect_direct(bench, domain, FIRST_ID, 10, 1);
    expect_no_direct(bench, domain, FIRST_ID, 11, 1);
    core_detach(device);
    core_expect_hole(domain, FRAME, 12 * CORE_PAGE);
    core_close(bench);
}

static void test_regions_that_hardware_reports_are_mapped_as_well(void **state)
{
    struct core_bench *bench = open_bench(state);
    struct piommu_domain *domain = core_paging(bench);
    struct piommu_reserved_region reported = DIRECT(8, 1);
    struct piommu_device *device;

    mock_set_reserved(bench->units[0].mock, &reported);
    device = core_add_device(bench, 0, FIRST_ID, &four_pages, 1, 0);
    mock_set_reserved(bench->units[0].mock, NULL);
    must_direct(bench, FIRST_ID, 0, 4);
    must_direct(bench, FIRST_ID, 8, 1);
    assert_int_equal(core_attach(device, domain), 0);
    expect_direct(bench, domain, FIRST_ID, 0, 4);
    expect_direct(bench, domain, FIRST_ID, 8, 1);
    core_detach(device);
    core_expect_hole(domain, FRAME, 12 * CORE_PAGE);
    core_close(bench);
}

static void test_regions_are_not_counted_as_the_owners_mappings(void **state)
{
    struct core_bench *bench = open_bench(state);
    struct piommu_domain *domain = core_paging(bench);
    struct piommu_device *device = core_add_device(bench, 0, FIRST_ID, &four_pages, 1, 0);
    struct piommu_domain_statistics statistics;

    core_may(bench, FIRST_ID, USER, MEMORY, CORE_PAGE, CORE_RW);
    must_direct(bench, FIRST_ID, 0, 4);
    assert_int_equal(core_attach(device, domain), 0);
    statistics = core_statistics(domain);
    assert_int_equal(statistics.mapped, 0);
    assert_int_equal(statistics.maps, 0);
    assert_int_equal(statistics.endpoints, 1);
    core_map(domain, USER, MEMORY, CORE_PAGE, CORE_RW);
    assert_int_equal(core_statistics(domain).mapped, CORE_PAGE);
    core_detach(device);
    statistics = core_statistics(domain);
    assert_int_equal(statistics.mapped, CORE_PAGE);
    assert_int_equal(statistics.maps, 1);
    assert_int_equal(statistics.unmaps, 0);
    core_close(bench);
}

static void test_identity_domains_have_no_need_of_regions(void **state)
{
    static const struct piommu_reserved_region beyond = {{TOP, TOP + 0xfff},
                                                         PIOMMU_RESERVED_DIRECT};
    struct core_bench *bench = core_open(core_case_of(state), NULL);
    const struct piommu_domain_config config = core_config(bench, PIOMMU_DOMAIN_IDENTITY);
    struct piommu_domain *domain = core_create(bench, &config);
    struct piommu_device *device = core_add_device(bench, 0, FIRST_ID, &beyond, 1, 0);

    assert_int_equal(core_attach(device, domain), 0);
    assert_int_equal(core_reached(bench, FIRST_ID, FRAME, true), FRAME);
    core_close(bench);
}

/* ---- Several devices ---- */

static void test_a_region_of_two_devices_stays_until_the_last_is_gone(void **state)
{
    struct core_bench *bench = open_bench(state);
    struct piommu_domain *domain = core_paging(bench);
    struct piommu_device *first = core_add_device(bench, 0, FIRST_ID, &four_pages, 1, 0);
    struct piommu_device *second =
        core_add_device(bench, last_unit(bench), OTHER_ID, &four_pages, 1, 0);

    must_direct(bench, FIRST_ID, 0, 4);
    must_direct(bench, OTHER_ID, 0, 4);
    assert_int_equal(core_attach(first, domain), 0);
    assert_int_equal(core_attach(second, domain), 0);
    expect_direct(bench, domain, FIRST_ID, 0, 4);
    expect_direct(bench, domain, OTHER_ID, 0, 4);
    core_detach(first);
    core_expect_nothing(bench, FIRST_ID, FRAME, 4 * CORE_PAGE);
    expect_direct(bench, domain, OTHER_ID, 0, 4);
    core_detach(second);
    expect_no_direct(bench, domain, OTHER_ID, 0, 4);
    core_close(bench);
}

static void test_a_region_is_there_for_all_in_the_domain_until_its_device_leaves(void **state)
{
    struct core_bench *bench = open_bench(state);
    struct piommu_domain *domain = core_paging(bench);
    struct piommu_device *plain = core_add_device(bench, 0, FIRST_ID, NULL, 0, 0);
    struct piommu_device *owner =
        core_add_device(bench, last_unit(bench), OTHER_ID, &four_pages, 1, 0);

    core_map(domain, USER, MEMORY, CORE_PAGE, CORE_RW);
    core_may(bench, OTHER_ID, USER, MEMORY, CORE_PAGE, CORE_RW);
    core_must(bench, FIRST_ID, USER, MEMORY, CORE_PAGE, CORE_RW);
    assert_int_equal(core_attach(plain, domain), 0);
    core_expect_nothing(bench, FIRST_ID, FRAME, 4 * CORE_PAGE);
    must_direct(bench, OTHER_ID, 0, 4);
    may_direct(bench, 0, 4);
    assert_int_equal(core_attach(owner, domain), 0);
    expect_direct(bench, domain, FIRST_ID, 0, 4);
    core_detach(owner);
    expect_no_direct(bench, domain, FIRST_ID, 0, 4);
    core_expect_mapped(bench, FIRST_ID, USER, MEMORY, CORE_PAGE, CORE_RW);
    core_close(bench);
}

/*
 * What a device that has left does not share with others goes with it. A backend that is told each
 * mapping may keep it, so that nothing has to be cut, until the others have left.
 */
static void expect_gone(struct core_bench *bench, struct piommu_domain *domain, uint32_t id,
                        unsigned int page, unsigned int count)
{
    if (core_has_tables(bench)) {
        expect_no_direct(bench, domain, id, page, count);
    }
}

/* Two regions that overlap in four pages, which never fault. */
static void overlapping_regions(void **state, bool first_leaves_first)
{
    static const struct piommu_reserved_region low = DIRECT(0, 8);
    static const struct piommu_reserved_region high = DIRECT(4, 8);
    struct core_bench *bench = open_bench(state);
    struct piommu_domain *domain = core_paging(bench);
    struct piommu_device *first = core_add_device(bench, 0, FIRST_ID, &low, 1, 0);
    struct piommu_device *second = core_add_device(bench, last_unit(bench), OTHER_ID, &high, 1, 0);

    may_direct(bench, 0, 12);
    must_direct(bench, FIRST_ID, 0, 8);
    must_direct(bench, OTHER_ID, 4, 8);
    assert_int_equal(core_attach(first, domain), 0);
    expect_direct(bench, domain, FIRST_ID, 0, 8);
    expect_no_direct(bench, domain, FIRST_ID, 8, 4);
    assert_int_equal(core_attach(second, domain), 0);
    expect_direct(bench, domain, FIRST_ID, 0, 12);
    expect_direct(bench, domain, OTHER_ID, 0, 12);
    if (first_leaves_first) {
        core_detach(first);
        core_expect_nothing(bench, FIRST_ID, FRAME, 12 * CORE_PAGE);
        expect_gone(bench, domain, OTHER_ID, 0, 4);
        expect_direct(bench, domain, OTHER_ID, 4, 8);
        core_detach(second);
    } else {
        core_detach(second);
        core_expect_nothing(bench, OTHER_ID, FRAME, 12 * CORE_PAGE);
        expect_direct(bench, domain, FIRST_ID, 0, 8);
        expect_gone(bench, domain, FIRST_ID, 8, 4);
        core_detach(first);
    }
    core_expect_hole(domain, FRAME, 12 * CORE_PAGE);
    core_map(domain, FRAME, MEMORY, 12 * CORE_PAGE, CORE_RW);
    core_close(bench);
}

static void test_what_overlapping_regions_share_stays_when_the_first_leaves(void **state)
{
    overlapping_regions(state, true);
}

static void test_what_overlapping_regions_share_stays_when_the_second_leaves(void **state)
{
    overlapping_regions(state, false);
}

static void test_a_region_inside_another_stays_when_the_outer_one_leaves(void **state)
{
    static const struct piommu_reserved_region outer = DIRECT(0, 12);
    static const struct piommu_reserved_region inner = DIRECT(5, 2);
    struct core_bench *bench = open_bench(state);
    struct piommu_domain *domain = core_paging(bench);
    struct piommu_device *first = core_add_device(bench, 0, FIRST_ID, &outer, 1, 0);
    struct piommu_device *second = core_add_device(bench, 0, OTHER_ID, &inner, 1, 0);

    may_direct(bench, 0, 12);
    must_direct(bench, FIRST_ID, 0, 12);
    must_direct(bench, OTHER_ID, 5, 2);
    assert_int_equal(core_attach(first, domain), 0);
    assert_int_equal(core_attach(second, domain), 0);
    core_detach(first);
    expect_gone(bench, domain, OTHER_ID, 0, 5);
    expect_direct(bench, domain, OTHER_ID, 5, 2);
    expect_gone(bench, domain, OTHER_ID, 7, 5);
    core_detach(second);
    core_expect_hole(domain, FRAME, 12 * CORE_PAGE);
    core_close(bench);
}

static void test_a_device_comes_back_to_what_was_kept_of_it(void **state)
{
    static const struct piommu_reserved_region outer = DIRECT(0, 3);
    static const struct piommu_reserved_region inner = DIRECT(0, 2);
    struct core_bench *bench = open_bench(state);
    struct piommu_domain *domain = core_paging(bench);
    struct piommu_device *first = core_add_device(bench, 0, FIRST_ID, &outer, 1, 0);
    struct piommu_device *second = core_add_device(bench, last_unit(bench), OTHER_ID, &inner, 1, 0);

    may_direct(bench, 0, 3);
    must_direct(bench, FIRST_ID, 0, 3);
    must_direct(bench, OTHER_ID, 0, 2);
    assert_int_equal(core_attach(first, domain), 0);
    assert_int_equal(core_attach(second, domain), 0);
    for (unsigned int i = 0; i < 3; i++) {
        core_detach(first);
        expect_direct(bench, domain, OTHER_ID, 0, 2);
        expect_gone(bench, domain, OTHER_ID, 2, 1);
        assert_int_equal(core_attach(first, domain), 0);
        expect_direct(bench, domain, FIRST_ID, 0, 3);
        core_detach(second);
        expect_direct(bench, domain, FIRST_ID, 0, 3);
        assert_int_equal(core_attach(second, domain), 0);
    }
    core_detach(first);
    core_detach(second);
    core_expect_hole(domain, FRAME, 3 * CORE_PAGE);
    core_close(bench);
}

static void test_overlapping_regions_of_one_device_are_mapped_once(void **state)
{
    static const struct piommu_reserved_region regions[] = {DIRECT(0, 6), DIRECT(3, 6),
                                                            DIRECT(4, 1), DIRECT(9, 1)};
    struct core_bench *bench = open_bench(state);
    struct piommu_domain *domain = core_paging(bench);
    struct piommu_device *device = core_add_device(bench, 0, FIRST_ID, regions, 4, 0);

    must_direct(bench, FIRST_ID, 0, 10);
    assert_int_equal(core_attach(device, domain), 0);
    expect_direct(bench, domain, FIRST_ID, 0, 10);
    expect_no_direct(bench, domain, FIRST_ID, 10, 1);
    core_detach(device);
    core_expect_hole(domain, FRAME, 10 * CORE_PAGE);
    core_close(bench);
}

static void test_the_regions_of_all_members_of_a_group_are_mapped(void **state)
{
    static const struct piommu_reserved_region high = DIRECT(6, 2);
    struct core_bench *bench = open_bench(state);
    struct piommu_domain *domain = core_paging(bench);
    struct piommu_device *first = core_add_device(bench, 0, FIRST_ID, &four_pages, 1, 5);
    struct piommu_device *second = core_add_device(bench, last_unit(bench), OTHER_ID, &high, 1, 5);

    assert_ptr_equal(piommu_device_group(first), piommu_device_group(second));
    may_direct(bench, 0, 4);
    may_direct(bench, 6, 2);
    must_direct(bench, FIRST_ID, 0, 4);
    must_direct(bench, OTHER_ID, 6, 2);
    assert_int_equal(core_attach(first, domain), 0);
    expect_direct(bench, domain, FIRST_ID, 6, 2);
    expect_direct(bench, domain, OTHER_ID, 0, 4);
    core_detach(second);
    core_expect_hole(domain, FRAME, 8 * CORE_PAGE);
    core_close(bench);
}

static void test_a_device_that_leaves_its_attached_group_takes_its_regions_along(void **state)
{
    static const struct piommu_reserved_region staying[] = {DIRECT(0, 4), DIRECT(10, 2)};
    static const struct piommu_reserved_region leaving[] = {DIRECT(6, 2), DIRECT(10, 2)};
    struct core_bench *bench = open_bench(state);
    struct piommu_domain *domain = core_paging(bench);
    struct piommu_device *first = core_add_device(bench, 0, FIRST_ID, staying, 2, 0);
    struct piommu_device *second = core_add_device(bench, 0, FIRST_ID, leaving, 2, 0);

    must_direct(bench, FIRST_ID, 0, 4);
    must_direct(bench, FIRST_ID, 10, 2);
    may_direct(bench, 6, 2);
    assert_int_equal(core_attach(first, domain), 0);
    expect_direct(bench, domain, FIRST_ID, 6, 2);
    core_remove_device(bench, second);
    expect_no_direct(bench, domain, FIRST_ID, 6, 2);
    expect_direct(bench, domain, FIRST_ID, 0, 4);
    expect_direct(bench, domain, FIRST_ID, 10, 2);
    /* Its addresses are free again. */
    core_forget_rules(bench);
    must_direct(bench, FIRST_ID, 0, 4);
    core_may(bench, FIRST_ID, frame(6), MEMORY, CORE_PAGE, CORE_RW);
    may_direct(bench, 10, 2);
    core_map(domain, frame(6), MEMORY, CORE_PAGE, CORE_RW);
    assert_int_equal(piommu_domain_map(domain, frame(10), MEMORY, CORE_PAGE, CORE_RW),
                     -PIOMMU_ERESERVED);
    core_close(bench);
}

static void test_a_member_with_an_id_of_its_own_can_leave_its_attached_group(void **state)
{
    static const struct piommu_reserved_region leaving[] = {DIRECT(6, 2), DIRECT(2, 2)};
    struct core_bench *bench = open_bench(state);
    struct piommu_domain *domain = core_paging(bench);
    struct piommu_device *first = core_add_device(bench, 0, FIRST_ID, &four_pages, 1, 5);
    struct piommu_device *second =
        core_add_device(bench, last_unit(bench), OTHER_ID, leaving, 2, 5);

    may_direct(bench, 0, 8);
    must_direct(bench, FIRST_ID, 0, 4);
    must_direct(bench, OTHER_ID, 6, 2);
    must_direct(bench, OTHER_ID, 2, 2);
    assert_int_equal(core_attach(first, domain), 0);
    assert_int_equal(core_statistics(domain).endpoints, 2);
    core_remove_device(bench, second);
    assert_int_equal(core_statistics(domain).endpoints, 1);
    expect_direct(bench, domain, FIRST_ID, 0, 4);
    expect_no_direct(bench, domain, FIRST_ID, 6, 2);
    core_may(bench, FIRST_ID, USER, MEMORY_2, CORE_PAGE, CORE_R);
    core_map(domain, USER, MEMORY_2, CORE_PAGE, CORE_R);
    core_probe(bench);
    /* Alone it has to be out first. */
    assert_int_equal(piommu_device_remove(first), -PIOMMU_EBUSY);
    core_close(bench);
}

/* ---- What does not fit ---- */

static void test_a_region_outside_the_aperture_keeps_the_device_out(void **state)
{
    static const struct piommu_range ranges[] = {
        {TOP, TOP + CORE_PAGE - 1},
        {TOP - CORE_PAGE, TOP + CORE_PAGE - 1},
        {UINT64_MAX - (CORE_PAGE - 1), UINT64_MAX},
        {UINT64_MAX, UINT64_MAX},
        {TOP - 1, TOP},
        {0, UINT64_MAX},
    };

    for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
        const struct piommu_reserved_region regions[] = {four_pages,
                                                         {ranges[i], PIOMMU_RESERVED_DIRECT}};
        struct core_bench *bench = open_bench(state);
        struct piommu_domain *domain = core_paging(bench);
        struct piommu_device *device = core_add_device(bench, 0, FIRST_ID, regions, 2, 0);
        struct piommu_device_info info;

        assert_int_equal(core_attach(device, domain), -PIOMMU_ERANGE);
        piommu_device_get_info(device, &info);
        assert_null(info.domain);
        expect_no_direct(bench, domain, FIRST_ID, 0, 4);
        core_expect_hole(domain, TOP - CORE_PAGE, CORE_PAGE);
        core_close(bench);
    }
}

static void test_the_last_page_of_the_aperture_can_be_a_region(void **state)
{
    static const struct piommu_reserved_region last = {{TOP - CORE_PAGE, TOP - 1},
                                                       PIOMMU_RESERVED_DIRECT};
    struct core_bench *bench = core_open(core_case_of(state), NULL);
    struct piommu_domain *domain = core_paging(bench);
    struct piommu_device *device = core_add_device(bench, 0, FIRST_ID, &last, 1, 0);

    core_window(bench, TOP - 3 * CORE_PAGE, 3 * CORE_PAGE);
    core_must(bench, FIRST_ID, TOP - CORE_PAGE, TOP - CORE_PAGE, CORE_PAGE, CORE_RW);
    assert_int_equal(core_attach(device, domain), 0);
    core_expect_mapped(bench, FIRST_ID, TOP - CORE_PAGE, TOP - CORE_PAGE, CORE_PAGE, CORE_RW);
    core_close(bench);
}

static void read_only(unsigned int unit, struct piommu_backend_info *info)
{
    (void)unit;
    info->prot = PIOMMU_PROT_READ;
}

static void test_a_region_that_could_not_be_written_keeps_the_device_out(void **state)
{
    struct core_bench *bench = core_open(core_case_of(state), read_only);
    struct piommu_domain *domain = core_paging(bench);
    struct piommu_device *device = core_add_device(bench, 0, FIRST_ID, &four_pages, 1, 0);

    assert_int_equal(core_attach(device, domain), -PIOMMU_EOPNOTSUPP);
    expect_no_direct(bench, domain, FIRST_ID, 0, 4);
    core_close(bench);
}

static void test_a_mapping_in_the_way_keeps_the_device_out(void **state)
{
    static const struct piommu_reserved_region regions[] = {DIRECT(0, 4), DIRECT(8, 4)};

    for (unsigned int page = 0; page < 13; page++) {
        for (unsigned int same = 0; same < 2; same++) {
            struct core_bench *bench = open_bench(state);
            struct piommu_domain *domain = core_paging(bench);
            struct piommu_device *device = core_add_device(bench, 0, FIRST_ID, regions, 2, 0);
            bool free = (page >= 4 && page < 8) || page >= 12;
            uint64_t physical = same != 0 ? frame(page) : MEMORY;

            core_map(domain, frame(page), physical, CORE_PAGE, CORE_RW);
            if (free) {
                must_direct(bench, FIRST_ID, 0, 4);
                must_direct(bench, FIRST_ID, 8, 4);
                core_may(bench, FIRST_ID, frame(page), physical, CORE_PAGE, CORE_RW);
            }
            assert_int_equal(core_attach(device, domain), free ? 0 : -PIOMMU_ERESERVED);
            core_expect_held(domain, frame(page), physical, CORE_PAGE, CORE_RW);
            for (unsigned int i = 0; i < 12; i++) {
                if (i != page && !free) {
                    expect_no_direct(bench, domain, FIRST_ID, i, 1);
                }
            }
            if (!free) {
                core_expect_nothing(bench, FIRST_ID, frame(page), CORE_PAGE);
                core_unmap(domain, frame(page), CORE_PAGE);
                must_direct(bench, FIRST_ID, 0, 4);
                must_direct(bench, FIRST_ID, 8, 4);
                assert_int_equal(core_attach(device, domain), 0);
                expect_direct(bench, domain, FIRST_ID, 0, 4);
                expect_direct(bench, domain, FIRST_ID, 8, 4);
            }
            core_close(bench);
        }
    }
}

static void test_a_block_over_a_region_keeps_the_device_out(void **state)
{
    struct core_bench *bench = open_bench(state);
    struct piommu_domain *domain = core_paging(bench);
    struct piommu_device *device = core_add_device(bench, 0, FIRST_ID, &four_pages, 1, 0);

    core_map(domain, USER, MEMORY, CORE_BLOCK, CORE_RW);
    assert_int_equal(core_attach(device, domain), -PIOMMU_ERESERVED);
    core_expect_nothing(bench, FIRST_ID, USER, CORE_BLOCK);
    core_expect_held(domain, USER, MEMORY, CORE_BLOCK, CORE_RW);
    core_close(bench);
}

static void test_a_device_that_may_not_enter_stays_where_it_was(void **state)
{
    struct core_bench *bench = open_bench(state);
    struct piommu_domain *home = core_paging(bench);
    struct piommu_domain *taken = core_paging(bench);
    struct piommu_device *device = core_add_device(bench, 0, FIRST_ID, &four_pages, 1, 0);
    struct piommu_device_info info;

    must_direct(bench, FIRST_ID, 0, 4);
    assert_int_equal(core_attach(device, home), 0);
    core_map(taken, frame(2), MEMORY, CORE_PAGE, CORE_RW);
    assert_int_equal(core_attach(device, taken), -PIOMMU_ERESERVED);
    piommu_device_get_info(device, &info);
    assert_ptr_equal(info.domain, home);
    expect_direct(bench, home, FIRST_ID, 0, 4);
    core_expect_hole(taken, FRAME, 2 * CORE_PAGE);
    core_close(bench);
}

static void test_what_one_device_must_not_reach_another_cannot_need(void **state)
{
    static const struct piommu_reserved_region forbidden[] = {
        {{FRAME + 3 * CORE_PAGE, FRAME + 5 * CORE_PAGE - 1}, PIOMMU_RESERVED},
        {{FRAME + 3 * CORE_PAGE, FRAME + 5 * CORE_PAGE - 1}, PIOMMU_RESERVED_MSI},
    };

    for (unsigned int i = 0; i < 2; i++) {
        struct core_bench *bench = open_bench(state);
        struct piommu_domain *domain = core_paging(bench);
        struct piommu_device *needs = core_add_device(bench, 0, FIRST_ID, &four_pages, 1, 0);
        struct piommu_device *forbids =
            core_add_device(bench, last_unit(bench), OTHER_ID, &forbidden[i], 1, 0);

        must_direct(bench, FIRST_ID, 0, 4);
        assert_int_equal(core_attach(needs, domain), 0);
        assert_int_equal(core_attach(forbids, domain), -PIOMMU_ERESERVED);
        expect_direct(bench, domain, FIRST_ID, 0, 4);
        core_expect_nothing(bench, OTHER_ID, FRAME, 4 * CORE_PAGE);
        core_detach(needs);
        assert_int_equal(core_attach(forbids, domain), 0);
        assert_int_equal(core_attach(needs, domain), -PIOMMU_ERESERVED);
        core_expect_hole(domain, FRAME, 5 * CORE_PAGE);
        core_close(bench);
    }
}

/* ---- What the owner may do ---- */

static int map_list(struct piommu_domain *domain, uint64_t iova, uint64_t size)
{
    const struct piommu_segment segments[] = {{MEMORY, CORE_PAGE},
                                              {MEMORY_2, size > CORE_PAGE ? size - CORE_PAGE : 0}};

    return piommu_domain_map_list(domain, iova, segments, size > CORE_PAGE ? 2 : 1, CORE_RW);
}

static void expect_refused(struct piommu_domain *domain, uint64_t iova, uint64_t size)
{
    struct piommu_gather gather;
    uint64_t bytes = 0;
    int error;

    piommu_gather_init(&gather);
    assert_int_equal(piommu_domain_map(domain, iova, MEMORY, size, CORE_RW), -PIOMMU_ERESERVED);
    assert_int_equal(piommu_domain_map(domain, iova, iova, size, CORE_RW), -PIOMMU_ERESERVED);
    assert_int_equal(map_list(domain, iova, size), -PIOMMU_ERESERVED);
    assert_int_equal(piommu_domain_map_again(domain, iova, iova, size, CORE_RW), -PIOMMU_ERESERVED);
    assert_int_equal(piommu_domain_map_some(domain, iova, MEMORY, size, CORE_RW, 1000, &bytes),
                     -PIOMMU_ERESERVED);
    assert_int_equal(bytes, 0);
    assert_int_equal(piommu_domain_replace(domain, iova, MEMORY, size, CORE_RW, HOLE, NULL),
                     -PIOMMU_ERESERVED);
    assert_int_equal(piommu_domain_replace(domain, iova, iova, size, CORE_RW, HOLE, NULL),
                     -PIOMMU_ERESERVED);
    assert_int_equal(piommu_domain_unmap(domain, iova, size, &gather, NULL), -PIOMMU_ERESERVED);
    assert_int_equal(piommu_domain_unmap_leaves(domain, iova, iova + size - 1, &gather, NULL, NULL),
                     -PIOMMU_ERESERVED);
    do {
        error = piommu_domain_unmap_some(domain, iova, size, 1000, &gather, &bytes, NULL);
    } while (error == -PIOMMU_EAGAIN);
    assert_int_equal(error, -PIOMMU_ERESERVED);
    assert_false(gather.pending);
    assert_int_equal(piommu_domain_unmap_cut(domain, iova, size, HOLE, NULL), -PIOMMU_ERESERVED);
    assert_int_equal(piommu_domain_protect(domain, iova, size, CORE_R, HOLE, NULL),
                     -PIOMMU_ERESERVED);
    do {
        error = piommu_domain_protect_some(domain, iova, size, CORE_R, HOLE, 1000, &bytes, NULL);
    } while (error == -PIOMMU_EAGAIN);
    assert_int_equal(error, -PIOMMU_ERESERVED);
}

static void test_the_owner_cannot_touch_a_direct_region(void **state)
{
    struct core_bench *bench = open_bench(state);
    struct piommu_domain *domain = core_paging(bench);
    struct piommu_device *device = core_add_device(bench, 0, FIRST_ID, &four_pages, 1, 0);

    must_direct(bench, FIRST_ID, 0, 4);
    assert_int_equal(core_attach(device, domain), 0);
    for (unsigned int first = 0; first < 6; first++) {
        for (unsigned int last = first; last < 6; last++) {
            if (last >= 1 && first <= 4) { /* page 0 here is the one below the region */
                expect_refused(domain, FRAME - CORE_PAGE + first * CORE_PAGE,
                               (last - first + 1) * CORE_PAGE);
            }
        }
    }
    expect_direct(bench, domain, FIRST_ID, 0, 4);
    core_expect_hole(domain, FRAME - CORE_PAGE, CORE_PAGE);
    core_expect_hole(domain, frame(4), CORE_PAGE);
    core_detach(device);
    core_map(domain, FRAME - CORE_PAGE, MEMORY, 6 * CORE_PAGE, CORE_RW);
    core_unmap(domain, FRAME - CORE_PAGE, 6 * CORE_PAGE);
    core_close(bench);
}

static void test_a_refused_call_leaves_the_owners_mappings_beside_the_region(void **state)
{
    struct core_bench *bench = open_bench(state);
    struct piommu_domain *domain = core_paging(bench);
    struct piommu_device *device = core_add_device(bench, 0, FIRST_ID, &four_pages, 1, 0);
    struct piommu_gather gather;

    must_direct(bench, FIRST_ID, 0, 4);
    core_must(bench, FIRST_ID, frame(4), MEMORY, CORE_PAGE, CORE_RW);
    core_map(domain, frame(4), MEMORY, CORE_PAGE, CORE_RW);
    assert_int_equal(core_attach(device, domain), 0);
    piommu_gather_init(&gather);
    assert_int_equal(piommu_domain_unmap(domain, FRAME, 8 * CORE_PAGE, &gather, NULL),
                     -PIOMMU_ERESERVED);
    assert_int_equal(piommu_domain_unmap(domain, frame(3), 2 * CORE_PAGE, &gather, NULL),
                     -PIOMMU_ERESERVED);
    assert_int_equal(piommu_domain_unmap_leaves(domain, 0, TOP - 1, &gather, NULL, NULL),
                     -PIOMMU_ERESERVED);
    assert_int_equal(piommu_domain_unmap_cut(domain, frame(2), 4 * CORE_PAGE, HOLE, NULL),
                     -PIOMMU_ERESERVED);
    assert_int_equal(piommu_domain_protect(domain, frame(3), 2 * CORE_PAGE, CORE_R, HOLE, NULL),
                     -PIOMMU_ERESERVED);
    assert_int_equal(
        piommu_domain_replace(domain, frame(3), MEMORY_2, 2 * CORE_PAGE, CORE_R, HOLE, NULL),
        -PIOMMU_ERESERVED);
    core_probe(bench);
    core_expect_mapped(bench, FIRST_ID, frame(4), MEMORY, CORE_PAGE, CORE_RW);
    /* Alone, it can be changed. */
    assert_int_equal(piommu_domain_unmap_leaves(domain, frame(4), TOP - 1, &gather, NULL, NULL), 0);
    core_forget_rules(bench);
    must_direct(bench, FIRST_ID, 0, 4);
    core_may(bench, FIRST_ID, frame(4), MEMORY, CORE_PAGE, CORE_RW);
    assert_int_equal(piommu_domain_sync(domain, &gather), 0);
    core_expect_nothing(bench, FIRST_ID, frame(4), CORE_PAGE);
    core_close(bench);
}

static void test_addresses_that_must_not_be_mapped_are_refused_while_the_device_is_in(void **state)
{
    static const enum piommu_reserved_kind kinds[] = {PIOMMU_RESERVED, PIOMMU_RESERVED_MSI};

    for (unsigned int i = 0; i < 2; i++) {
        const struct piommu_reserved_region region = {
            {FRAME + 0x800, FRAME + 2 * CORE_PAGE + 0x7ff}, kinds[i]};
        struct core_bench *bench = open_bench(state);
        struct piommu_domain *domain = core_paging(bench);
        struct piommu_device *device =
            core_add_device(bench, last_unit(bench), FIRST_ID, &region, 1, 0);
        uint64_t mapped;

        assert_int_equal(core_attach(device, domain), 0);
        core_expect_hole(domain, FRAME, 3 * CORE_PAGE);
        for (unsigned int page = 0; page < 3; page++) {
            assert_int_equal(piommu_domain_map(domain, frame(page), MEMORY, CORE_PAGE, CORE_RW),
                             -PIOMMU_ERESERVED);
            assert_int_equal(
                piommu_domain_map_again(domain, frame(page), MEMORY, CORE_PAGE, CORE_RW),
                -PIOMMU_ERESERVED);
            assert_int_equal(
                piommu_domain_map_some(domain, frame(page), MEMORY, CORE_PAGE, CORE_RW, 1, &mapped),
                -PIOMMU_ERESERVED);
            assert_int_equal(
                piommu_domain_replace(domain, frame(page), MEMORY, CORE_PAGE, CORE_RW, HOLE, NULL),
                -PIOMMU_ERESERVED);
            assert_int_equal(map_list(domain, frame(page), CORE_PAGE), -PIOMMU_ERESERVED);
        }
        assert_int_equal(
            piommu_domain_map(domain, FRAME - CORE_PAGE, MEMORY, 8 * CORE_PAGE, CORE_RW),
            -PIOMMU_ERESERVED);
        core_expect_hole(domain, FRAME - CORE_PAGE, 8 * CORE_PAGE);
        core_detach(device);
        core_map(domain, frame(2), MEMORY, CORE_PAGE, CORE_RW);
        assert_int_equal(core_attach(device, domain), -PIOMMU_ERESERVED);
        core_expect_nothing(bench, FIRST_ID, FRAME, 4 * CORE_PAGE);
        core_close(bench);
    }
}

/* ---- Relaxable regions ---- */

static void test_relaxable_regions_mean_nothing_without_consent(void **state)
{
    const struct piommu_reserved_region relaxable = {four_pages.range, PIOMMU_RESERVED_RELAXABLE};
    struct core_bench *bench = open_bench(state);
    struct piommu_domain *domain = core_paging(bench);
    struct piommu_device *device = core_add_device(bench, 0, FIRST_ID, &relaxable, 1, 0);

    assert_int_equal(core_attach(device, domain), 0);
    expect_no_direct(bench, domain, FIRST_ID, 0, 4);
    core_may(bench, FIRST_ID, frame(1), MEMORY, CORE_PAGE, CORE_R);
    core_map(domain, frame(1), MEMORY, CORE_PAGE, CORE_R);
    core_expect_mapped(bench, FIRST_ID, frame(1), MEMORY, CORE_PAGE, CORE_R);
    core_detach(device);
    core_expect_held(domain, frame(1), MEMORY, CORE_PAGE, CORE_R);
    assert_int_equal(core_attach(device, domain), 0);
    core_unmap(domain, frame(1), CORE_PAGE);
    core_close(bench);
}

static void test_relaxable_regions_are_direct_ones_with_consent(void **state)
{
    const struct piommu_reserved_region relaxable = {four_pages.range, PIOMMU_RESERVED_RELAXABLE};
    struct core_bench *bench = open_bench(state);
    struct piommu_domain_config config = core_config(bench, PIOMMU_DOMAIN_PAGING);
    struct piommu_domain *consenting;
    struct piommu_domain *other = core_paging(bench);
    struct piommu_device *device = core_add_device(bench, 0, FIRST_ID, &relaxable, 1, 0);

    config.map_relaxable = true;
    consenting = core_create(bench, &config);
    must_direct(bench, FIRST_ID, 0, 4);
    assert_int_equal(core_attach(device, consenting), 0);
    expect_direct(bench, consenting, FIRST_ID, 0, 4);
    expect_refused(consenting, frame(1), 2 * CORE_PAGE);
    core_forget_rules(bench);
    may_direct(bench, 0, 4);
    assert_int_equal(core_attach(device, other), 0);
    expect_no_direct(bench, other, FIRST_ID, 0, 4);
    core_expect_hole(consenting, FRAME, 4 * CORE_PAGE);
    must_direct(bench, FIRST_ID, 0, 4);
    core_detach(device);
    core_map(consenting, frame(3), MEMORY, CORE_PAGE, CORE_RW);
    assert_int_equal(core_attach(device, consenting), -PIOMMU_ERESERVED);
    core_close(bench);
}

/* ---- Attach that fails ---- */

static void test_a_failed_attach_takes_the_regions_out_again(void **state)
{
    static const struct piommu_reserved_region high = DIRECT(6, 2);

    for (unsigned int nth = 1; nth <= 2; nth++) {
        struct core_bench *bench = open_bench(state);
        struct piommu_domain *domain = core_paging(bench);
        struct piommu_device *first = core_add_device(bench, 0, FIRST_ID, &four_pages, 1, 5);
        struct piommu_device *second = core_add_device(bench, 0, OTHER_ID, &high, 1, 5);
        struct piommu_device_info info;

        may_direct(bench, 0, 4);
        may_direct(bench, 6, 2);
        must_direct(bench, FIRST_ID, 0, 4);
        must_direct(bench, OTHER_ID, 6, 2);
        core_fail(&bench->units[0], CORE_ATTACH, nth, -PIOMMU_EIO, false);
        assert_int_equal(core_attach(first, domain), -PIOMMU_EIO);
        piommu_device_get_info(second, &info);
        assert_null(info.domain);
        core_expect_hole(domain, FRAME, 8 * CORE_PAGE);
        core_expect_nothing(bench, FIRST_ID, FRAME, 8 * CORE_PAGE);
        core_expect_nothing(bench, OTHER_ID, FRAME, 8 * CORE_PAGE);
        core_map(domain, frame(1), MEMORY, CORE_PAGE, CORE_RW);
        core_unmap(domain, frame(1), CORE_PAGE);
        assert_int_equal(core_attach(first, domain), 0);
        expect_direct(bench, domain, OTHER_ID, 0, 4);
        core_close(bench);
    }
}

static void test_a_failed_attach_leaves_what_others_need(void **state)
{
    static const struct piommu_reserved_region overlapping[] = {DIRECT(2, 4)};
    struct core_bench *bench = open_bench(state);
    struct piommu_domain *domain = core_paging(bench);
    struct piommu_device *inside = core_add_device(bench, 0, FIRST_ID, &four_pages, 1, 0);
    struct piommu_device *entering =
        core_add_device(bench, last_unit(bench), OTHER_ID, overlapping, 1, 0);

    may_direct(bench, 0, 6);
    must_direct(bench, FIRST_ID, 0, 4);
    must_direct(bench, OTHER_ID, 2, 4);
    assert_int_equal(core_attach(inside, domain), 0);
    core_fail(&bench->units[last_unit(bench)], CORE_ATTACH, 1, -PIOMMU_ENOMEM, false);
    assert_int_equal(core_attach(entering, domain), -PIOMMU_ENOMEM);
    expect_direct(bench, domain, FIRST_ID, 0, 4);
    expect_no_direct(bench, domain, FIRST_ID, 4, 2);
    assert_int_equal(core_attach(entering, domain), 0);
    expect_direct(bench, domain, FIRST_ID, 0, 6);
    core_close(bench);
}

static void test_a_move_that_fails_leaves_the_region_where_it_was(void **state)
{
    struct core_bench *bench = open_bench(state);
    struct piommu_domain *home = core_paging(bench);
    struct piommu_domain *target = core_paging(bench);
    struct piommu_device *device = core_add_device(bench, 0, FIRST_ID, &four_pages, 1, 0);
    struct piommu_device_info info;

    must_direct(bench, FIRST_ID, 0, 4);
    assert_int_equal(core_attach(device, home), 0);
    core_fail(&bench->units[0], CORE_ATTACH, 1, -PIOMMU_EIO, false);
    assert_int_equal(core_attach(device, target), -PIOMMU_EIO);
    piommu_device_get_info(device, &info);
    assert_ptr_equal(info.domain, home);
    expect_direct(bench, home, FIRST_ID, 0, 4);
    core_expect_hole(target, FRAME, 4 * CORE_PAGE);
    core_close(bench);
}

static void test_hardware_that_refuses_a_region_keeps_the_device_out(void **state)
{
    struct core_bench *bench = open_bench(state);
    struct piommu_domain *domain = core_paging(bench);
    struct piommu_device *device = core_add_device(bench, 0, FIRST_ID, &four_pages, 1, 0);
    struct piommu_device_info info;

    must_direct(bench, FIRST_ID, 0, 4);
    core_fail(&bench->units[0], CORE_MAP, 1, -PIOMMU_EIO, false);
    assert_int_equal(core_attach(device, domain), -PIOMMU_EIO);
    piommu_device_get_info(device, &info);
    assert_null(info.domain);
    expect_no_direct(bench, domain, FIRST_ID, 0, 4);
    assert_int_equal(core_attach(device, domain), 0);
    expect_direct(bench, domain, FIRST_ID, 0, 4);
    core_close(bench);
}

static void test_without_memory_for_a_region_nothing_is_changed(void **state)
{
    static const struct piommu_reserved_region regions[] = {
        DIRECT(0, 4), {{0x1000000000, 0x10000000ff}, PIOMMU_RESERVED_DIRECT}};
    struct core_bench *bench = open_bench(state);
    struct piommu_domain *domain = core_paging(bench);
    struct piommu_device *device = core_add_device(bench, 0, FIRST_ID, regions, 2, 0);
    unsigned int failures = 0;
    int error = -PIOMMU_ENOMEM;

    must_direct(bench, FIRST_ID, 0, 4);
    for (unsigned int nth = 1; error != 0; nth++) {
        fake_os_fail_call(bench->os, nth, false);
        error = core_attach(device, domain);
        fake_os_fail_call(bench->os, 0, false);
        if (error != 0) {
            assert_int_equal(error, -PIOMMU_ENOMEM);
            expect_no_direct(bench, domain, FIRST_ID, 0, 4);
            core_expect_hole(domain, 0x1000000000, CORE_PAGE);
            failures++;
        }
    }
    assert_true(failures != 0);
    expect_direct(bench, domain, FIRST_ID, 0, 4);
    core_expect_held(domain, 0x1000000000, 0x1000000000, CORE_PAGE, CORE_RW);
    /* Leaving needs none. */
    fake_os_forbid(bench->os, FAKE_OS_FORBID_ALLOCATION);
    core_detach(device);
    fake_os_forbid(bench->os, 0);
    core_expect_hole(domain, FRAME, 4 * CORE_PAGE);
    core_close(bench);
}

/* ---- Deferred domains ---- */

static void test_a_populated_deferred_domain_takes_regions_in(void **state)
{
    struct core_bench *bench = open_bench(state);
    const struct piommu_domain_config config = core_config(bench, PIOMMU_DOMAIN_DEFERRED);
    struct piommu_domain *domain = core_create(bench, &config);
    struct piommu_device *device = core_add_device(bench, 0, FIRST_ID, &four_pages, 1, 0);

    core_map(domain, USER, MEMORY, CORE_PAGE, CORE_RW);
    core_map(domain, frame(4), MEMORY_2, CORE_PAGE, CORE_RW);
    must_direct(bench, FIRST_ID, 0, 4);
    core_may(bench, FIRST_ID, USER, MEMORY, CORE_PAGE, CORE_RW);
    core_may(bench, FIRST_ID, frame(4), MEMORY_2, CORE_PAGE, CORE_RW);
    assert_int_equal(piommu_domain_populate(domain, 1000), 0);
    core_expect_hole(domain, FRAME, 4 * CORE_PAGE);
    assert_int_equal(core_attach(device, domain), 0);
    expect_direct(bench, domain, FIRST_ID, 0, 4);
    expect_refused(domain, FRAME, 4 * CORE_PAGE);
    core_expect_mapped(bench, FIRST_ID, frame(4), MEMORY_2, CORE_PAGE, CORE_RW);
    core_detach(device);
    core_expect_hole(domain, FRAME, 4 * CORE_PAGE);
    core_close(bench);
}

static void test_what_a_deferred_domain_was_filled_with_can_be_in_the_way(void **state)
{
    struct core_bench *bench = open_bench(state);
    const struct piommu_domain_config config = core_config(bench, PIOMMU_DOMAIN_DEFERRED);
    struct piommu_domain *domain = core_create(bench, &config);
    struct piommu_device *device = core_add_device(bench, 0, FIRST_ID, &four_pages, 1, 0);

    core_map(domain, frame(3), MEMORY, CORE_PAGE, CORE_RW);
    assert_int_equal(piommu_domain_populate(domain, 1000), 0);
    assert_int_equal(core_attach(device, domain), -PIOMMU_ERESERVED);
    core_expect_nothing(bench, FIRST_ID, FRAME, 4 * CORE_PAGE);
    core_expect_hole(domain, FRAME, 3 * CORE_PAGE);
    core_close(bench);
}

/* ---- At random ---- */

#define PAGES   16u
#define DEVICES 4u
#define DOMAINS 2u

struct game {
    struct core_bench *bench;
    struct piommu_domain *domains[DOMAINS];
    struct piommu_device *devices[DEVICES];
    int where[DEVICES];            /* number of its domain; -1: none */
    bool direct[DEVICES][PAGES];   /* pages of its regions */
    uint64_t user[DOMAINS][PAGES]; /* what the owner has mapped there; 0: nothing */
};

static uint64_t random_state;

static unsigned int below(unsigned int limit)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (unsigned int)((random_state >> 16) % limit);
}

static bool is_needed(const struct game *game, unsigned int domain, unsigned int page)
{
    for (unsigned int i = 0; i < DEVICES; i++) {
        if (game->where[i] == (int)domain && game->direct[i][page]) {
            return true;
        }
    }
    return false;
}

/* What devices reach before a step or after it; their own regions all the time. */
static void allow(const struct game *game)
{
    struct core_bench *bench = game->bench;

    core_forget_rules(bench);
    for (unsigned int i = 0; i < DEVICES; i++) {
        for (unsigned int j = 0; j < PAGES; j++) {
            if (game->direct[i][j]) {
                must_direct(bench, FIRST_ID + i, j, 1);
            }
        }
    }
    may_direct(bench, 0, PAGES);
    for (unsigned int i = 0; i < DOMAINS; i++) {
        for (unsigned int j = 0; j < PAGES; j++) {
            if (game->user[i][j] != 0) {
                core_may(bench, CORE_ANY_ID, frame(j), game->user[i][j], CORE_PAGE, CORE_RW);
            }
        }
    }
}

static void compare(const struct game *game)
{
    for (unsigned int i = 0; i < DEVICES; i++) {
        for (unsigned int j = 0; j < PAGES; j++) {
            uint64_t reached = core_reached(game->bench, FIRST_ID + i, frame(j), true);
            uint64_t expected = CORE_NOTHING;

            if (game->where[i] >= 0) {
                unsigned int domain = (unsigned int)game->where[i];

                if (is_needed(game, domain, j)) {
                    expected = frame(j);
                } else if (game->user[domain][j] != 0) {
                    expected = game->user[domain][j];
                } else if (!core_has_tables(game->bench) && reached == frame(j)) {
                    expected = frame(j); /* kept, since it cannot be cut off */
                }
            }
            assert_int_equal(reached, expected);
        }
    }
}

static void move(struct game *game, unsigned int device, unsigned int domain)
{
    int error = 0;

    for (unsigned int i = 0; i < PAGES; i++) {
        if (game->direct[device][i] && game->user[domain][i] != 0) {
            error = -PIOMMU_ERESERVED;
        }
    }
    assert_int_equal(core_attach(game->devices[device], game->domains[domain]), error);
    if (error == 0) {
        game->where[device] = (int)domain;
    }
}

static void change(struct game *game, unsigned int domain, unsigned int page)
{
    const uint64_t memory = MEMORY + below(1000) * CORE_PAGE;
    struct piommu_translation result;

    if (game->user[domain][page] != 0) {
        core_unmap(game->domains[domain], frame(page), CORE_PAGE);
        game->user[domain][page] = 0;
        return;
    }
    if (below(3) == 0) {
        return; /* so that there is room for devices */
    }
    if (!is_needed(game, domain, page) &&
        piommu_domain_lookup(game->domains[domain], frame(page), &result) == 0) {
        assert_false(core_has_tables(game->bench));
        return; /* kept */
    }
    core_may(game->bench, CORE_ANY_ID, frame(page), memory, CORE_PAGE, CORE_RW);
    if (is_needed(game, domain, page)) {
        assert_int_equal(
            piommu_domain_map(game->domains[domain], frame(page), memory, CORE_PAGE, CORE_RW),
            -PIOMMU_ERESERVED);
    } else {
        core_map(game->domains[domain], frame(page), memory, CORE_PAGE, CORE_RW);
        game->user[domain][page] = memory;
    }
}

/* Returns how often something had to be reached while hardware was being changed. */
static unsigned long play(void **state, core_adjust *adjust, unsigned int steps)
{
    struct game game = {.bench = core_open(core_case_of(state), adjust)};
    unsigned long demands;

    core_window(game.bench, FRAME - CORE_PAGE, (PAGES + 2) * CORE_PAGE);
    for (unsigned int i = 0; i < DOMAINS; i++) {
        game.domains[i] = core_paging(game.bench);
    }
    for (unsigned int i = 0; i < DEVICES; i++) {
        struct piommu_reserved_region regions[2];

        for (unsigned int j = 0; j < 2; j++) {
            unsigned int first = below(PAGES);
            unsigned int count = 1 + below(PAGES - first < 6 ? PAGES - first : 6);

            regions[j].kind = PIOMMU_RESERVED_DIRECT;
            regions[j].range.first = frame(first) + below(CORE_PAGE);
            regions[j].range.last = frame(first + count - 1) + (CORE_PAGE - 1);
            for (unsigned int k = first; k < first + count; k++) {
                game.direct[i][k] = true;
            }
        }
        game.where[i] = -1;
        game.devices[i] =
            core_add_device(game.bench, i % game.bench->options.units, FIRST_ID + i, regions, 2, 0);
    }
    for (unsigned int i = 0; i < steps; i++) {
        unsigned int device = below(DEVICES);

        allow(&game);
        switch (below(4)) {
        case 0:
            core_detach(game.devices[device]);
            game.where[device] = -1;
            break;
        case 1:
            change(&game, below(DOMAINS), below(PAGES));
            break;
        default:
            move(&game, device, below(DOMAINS));
            break;
        }
        compare(&game);
    }
    demands = game.bench->demands;
    allow(&game);
    for (unsigned int i = 0; i < DEVICES; i++) {
        core_detach(game.devices[i]);
        game.where[i] = -1;
    }
    for (unsigned int i = 0; i < DOMAINS; i++) {
        for (unsigned int j = 0; j < PAGES; j++) {
            if (game.user[i][j] == 0) {
                core_expect_hole(game.domains[i], frame(j), CORE_PAGE);
            }
        }
    }
    core_close(game.bench);
    return demands;
}

static void test_devices_come_and_go_in_any_order(void **state)
{
    const char *seed = getenv("PIOMMU_RANDOM_SEED");
    unsigned long demands = 0;

    random_state = seed != NULL ? strtoull(seed, NULL, 10) | 1 : 0x2545f4914f6cdd1dull;
    print_message("PIOMMU_RANDOM_SEED=%" PRIu64 "\n", random_state);
    for (unsigned int i = 0; i < 20; i++) {
        demands += play(state, NULL, 200);
        demands += play(state, one_by_one, 200);
    }
    assert_true(demands > 10000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CORE_FOR_EACH_CASE(test_a_direct_region_is_there_whenever_the_device_is),
        CORE_FOR_EACH_CASE(test_a_direct_region_is_there_in_a_domain_without_other_mappings),
        CORE_FOR_EACH_CASE(test_a_direct_region_moves_with_the_device),
        CORE_FOR_EACH_CASE(test_a_direct_region_moves_with_a_device_that_is_blocked_meanwhile),
        CORE_FOR_EACH_CASE(test_attaching_again_to_the_same_domain_leaves_the_region),
        CORE_FOR_EACH_CASE(test_a_region_of_many_blocks_is_mapped_whole),
        CORE_FOR_EACH_CASE(test_a_region_off_the_granule_is_widened_to_it),
        CORE_FOR_EACH_CASE(test_regions_that_hardware_reports_are_mapped_as_well),
        CORE_FOR_EACH_CASE(test_regions_are_not_counted_as_the_owners_mappings),
        CORE_FOR_EACH_CASE(test_identity_domains_have_no_need_of_regions),
        CORE_FOR_EACH_CASE(test_a_region_of_two_devices_stays_until_the_last_is_gone),
        CORE_FOR_EACH_CASE(test_a_region_is_there_for_all_in_the_domain_until_its_device_leaves),
        CORE_FOR_EACH_CASE(test_what_overlapping_regions_share_stays_when_the_first_leaves),
        CORE_FOR_EACH_CASE(test_what_overlapping_regions_share_stays_when_the_second_leaves),
        CORE_FOR_EACH_CASE(test_a_region_inside_another_stays_when_the_outer_one_leaves),
        CORE_FOR_EACH_CASE(test_a_device_comes_back_to_what_was_kept_of_it),
        CORE_FOR_EACH_CASE(test_overlapping_regions_of_one_device_are_mapped_once),
        CORE_FOR_EACH_CASE(test_the_regions_of_all_members_of_a_group_are_mapped),
        CORE_FOR_EACH_CASE(test_a_device_that_leaves_its_attached_group_takes_its_regions_along),
        CORE_FOR_EACH_CASE(test_a_member_with_an_id_of_its_own_can_leave_its_attached_group),
        CORE_FOR_EACH_CASE(test_a_region_outside_the_aperture_keeps_the_device_out),
        CORE_FOR_EACH_CASE(test_the_last_page_of_the_aperture_can_be_a_region),
        CORE_FOR_EACH_CASE(test_a_region_that_could_not_be_written_keeps_the_device_out),
        CORE_FOR_EACH_CASE(test_a_mapping_in_the_way_keeps_the_device_out),
        CORE_FOR_EACH_CASE(test_a_block_over_a_region_keeps_the_device_out),
        CORE_FOR_EACH_CASE(test_a_device_that_may_not_enter_stays_where_it_was),
        CORE_FOR_EACH_CASE(test_what_one_device_must_not_reach_another_cannot_need),
        CORE_FOR_EACH_CASE(test_the_owner_cannot_touch_a_direct_region),
        CORE_FOR_EACH_CASE(test_a_refused_call_leaves_the_owners_mappings_beside_the_region),
        CORE_FOR_EACH_CASE(
            test_addresses_that_must_not_be_mapped_are_refused_while_the_device_is_in),
        CORE_FOR_EACH_CASE(test_relaxable_regions_mean_nothing_without_consent),
        CORE_FOR_EACH_CASE(test_relaxable_regions_are_direct_ones_with_consent),
        CORE_FOR_EACH_CASE(test_a_failed_attach_takes_the_regions_out_again),
        CORE_FOR_EACH_CASE(test_a_failed_attach_leaves_what_others_need),
        CORE_FOR_EACH_CASE(test_a_move_that_fails_leaves_the_region_where_it_was),
        CORE_FOR_REQUESTS(test_hardware_that_refuses_a_region_keeps_the_device_out),
        CORE_FOR_EACH_CASE(test_without_memory_for_a_region_nothing_is_changed),
        CORE_FOR_EACH_CASE(test_a_populated_deferred_domain_takes_regions_in),
        CORE_FOR_EACH_CASE(test_what_a_deferred_domain_was_filled_with_can_be_in_the_way),
        CORE_FOR_EACH_CASE(test_devices_come_and_go_in_any_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
