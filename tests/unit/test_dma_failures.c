/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Each call of the shim fails once in each call of the DMA API, and IOMMUs refuse or stop to obey:
 * nothing leaks, everything is as before, and what a device may still reach is nobody else's.
 */

#include "dma_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define PAGE DMA_PAGE
#define TO   PIOMMU_DMA_TO_DEVICE
#define BOTH PIOMMU_DMA_BIDIRECTIONAL

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- Calls that are made again and again ---- */

/* What a call has made, to be taken back. */
struct made {
    uint64_t address;
    struct piommu_dma_segment segments[8];
    size_t used;
    struct piommu_dma_buffer buffer;
};

struct call {
    int (*make)(struct dma_fixture *fixture, struct made *made);
    int (*take_back)(struct dma_fixture *fixture, struct made *made);
};

static int make_single(struct dma_fixture *fixture, struct made *made)
{
    return piommu_dma_map_single(fixture->dma[0], fixture->memory + 100, 3 * PAGE, BOTH, 0,
                                 &made->address);
}

static int take_back_single(struct dma_fixture *fixture, struct made *made)
{
    return piommu_dma_unmap_single(fixture->dma[0], made->address, 3 * PAGE, BOTH, 0);
}

static int make_list(struct dma_fixture *fixture, struct made *made)
{
    const struct piommu_segment list[] = {{fixture->memory + 100, PAGE},
                                          {fixture->memory + 8 * PAGE, 2 * PAGE},
                                          {fixture->memory + 16 * PAGE + 5, 5}};

    return piommu_dma_map_sg(fixture->dma[0], list, COUNT(list), BOTH, 0, made->segments,
                             COUNT(made->segments), &made->used);
}

static int take_back_list(struct dma_fixture *fixture, struct made *made)
{
    return piommu_dma_unmap_sg(fixture->dma[0], made->segments, made->used, BOTH, 0);
}

static int make_resource(struct dma_fixture *fixture, struct made *made)
{
    return piommu_dma_map_resource(fixture->dma[0], 0x10000000, 2 * PAGE, BOTH, &made->address);
}

static int take_back_resource(struct dma_fixture *fixture, struct made *made)
{
    return piommu_dma_unmap_resource(fixture->dma[0], made->address, 2 * PAGE, BOTH);
}

static int make_buffer(struct dma_fixture *fixture, struct made *made)
{
    return piommu_dma_alloc(fixture->dma[0], 5 * PAGE, &made->buffer);
}

static int take_back_buffer(struct dma_fixture *fixture, struct made *made)
{
    return piommu_dma_free(fixture->dma[0], &made->buffer);
}

static const struct call calls[] = {
    {make_single, take_back_single},
    {make_list, take_back_list},
    {make_resource, take_back_resource},
    {make_buffer, take_back_buffer},
};

/* The largest of these calls needs all addresses that there are. */
#define ADDRESSES      \
    {                  \
        .mask = 0x5fff \
    }

static const struct dma_options untrusted = {
    .untrusted = true, .space = {.bounce_pages = 8}, .device = ADDRESSES};
static const struct dma_options debugged = {
    .untrusted = true, .space = {.bounce_pages = 8, .debug = true}, .device = ADDRESSES};

static struct dma_fixture *open_pieces(enum dma_kind kind, const struct dma_options *options)
{
    struct dma_fixture *fixture = dma_open(kind, options);

    fake_os_limit_pieces(fixture->os, 2 * PAGE, true);
    return fixture;
}

static uint64_t fallible_calls(struct dma_fixture *fixture)
{
    struct fake_os_counters counters;

    fake_os_get_counters(fixture->os, &counters);
    return counters.fallible_calls;
}

static void assert_as_before(struct dma_fixture *fixture)
{
    assert_int_equal(dma_mapped_pages(fixture), 0);
    assert_int_equal(dma_statistics(fixture).bounce_pages_used, 0);
    assert_int_equal(dma_statistics(fixture).stuck, 0);
    assert_int_equal(dma_statistics(fixture).waiting, 0);
    dma_sweep(fixture);
}

/* ---- The shim fails ---- */

/* The nth call of the shim fails, and those after it if `forever`; false: there are not so many. */
static bool try_failure(enum dma_kind kind, const struct dma_options *options,
                        const struct call *call, uint64_t nth, bool forever)
{
    struct dma_fixture *fixture = open_pieces(kind, options);
    uint64_t before = fallible_calls(fixture);
    struct made made;
    bool has_failed;
    int error;

    fake_os_fail_call(fixture->os, nth, forever);
    error = call->make(fixture, &made);
    fake_os_fail_call(fixture->os, 0, false);
    has_failed = fallible_calls(fixture) >= before + nth;
    if (error != 0) {
        assert_true(has_failed);
        assert_int_equal(error, -PIOMMU_ENOMEM);
        assert_as_before(fixture);
        assert_int_equal(call->make(fixture, &made), 0);
    }
    assert_int_equal(call->take_back(fixture, &made), 0);
    assert_as_before(fixture);
    dma_close(fixture);
    return has_failed;
}

static void try_failures(enum dma_kind kind, const struct dma_options *options, bool forever)
{
    for (size_t i = 0; i < COUNT(calls); i++) {
        uint64_t nth = 1;

        while (try_failure(kind, options, &calls[i], nth, forever)) {
            nth++;
        }
    }
}

static void test_the_shim_fails_once(enum dma_kind kind)
{
    try_failures(kind, &untrusted, false);
    try_failures(kind, &debugged, false);
}

static void test_the_shim_fails_from_then_on(enum dma_kind kind)
{
    try_failures(kind, &untrusted, true);
    try_failures(kind, &debugged, true);
}

static bool try_space_failure(enum dma_kind kind, uint64_t nth)
{
    const struct dma_options options = {
        .space = {.bounce_pages = 3, .cpus = 2, .lazy = kind != DMA_IPMMU, .debug = true},
        .msi_window = {.first = 0x100000, .last = 0x10ffff}};
    struct dma_fixture *fixture = dma_open_bare(kind, &options);
    uint64_t bytes = fake_os_bytes_outstanding(fixture->os);
    uint64_t before = fallible_calls(fixture);
    bool has_failed;
    int error;

    fake_os_set_cpu(fixture->os, 1);
    fake_os_fail_call(fixture->os, nth, false);
    error = dma_try_space(fixture);
    fake_os_fail_call(fixture->os, 0, false);
    has_failed = fallible_calls(fixture) >= before + nth;
    if (has_failed) {
        assert_int_equal(error, -PIOMMU_ENOMEM);
        assert_null(fixture->space);
        assert_int_equal(fake_os_bytes_outstanding(fixture->os), bytes);
    } else {
        assert_int_equal(error, 0);
    }
    dma_close(fixture);
    return has_failed;
}

static void test_spaces_that_cannot_be_made(enum dma_kind kind)
{
    uint64_t nth = 1;

    while (try_space_failure(kind, nth)) {
        nth++;
    }
    assert_true(nth > 4);
}

static bool try_device_failure(enum dma_kind kind, uint64_t nth)
{
    static const struct piommu_reserved_region region = {
        .range = {.first = 0x200000, .last = 0x20ffff}, .kind = PIOMMU_RESERVED};
    const struct dma_options options = {.regions = &region, .region_count = 1};
    struct dma_fixture *fixture = dma_open_bare(kind, &options);
    uint64_t before;
    bool has_failed;
    int error;

    assert_int_equal(dma_try_space(fixture), 0);
    before = fallible_calls(fixture);
    fake_os_fail_call(fixture->os, nth, false);
    error = piommu_dma_device_add(fixture->space, fixture->devices[0], NULL, &fixture->dma[0]);
    fake_os_fail_call(fixture->os, 0, false);
    has_failed = fallible_calls(fixture) >= before + nth;
    assert_int_equal(error, has_failed ? -PIOMMU_ENOMEM : 0);
    if (has_failed) {
        assert_null(fixture->dma[0]);
        assert_int_equal(
            piommu_dma_device_add(fixture->space, fixture->devices[0], NULL, &fixture->dma[0]), 0);
    }
    dma_close(fixture);
    return has_failed;
}

static void test_devices_that_cannot_be_added(enum dma_kind kind)
{
    uint64_t nth = 1;

    while (try_device_failure(kind, nth)) {
        nth++;
    }
    assert_true(nth > 1);
}

/* What unmaps has all that it needs. */
static void test_unmapping_allocates_nothing(enum dma_kind kind)
{
    for (unsigned int lazy = 0; lazy < 2; lazy++) {
        const struct dma_options options = {
            .space = {.lazy = lazy != 0 && kind != DMA_IPMMU, .bounce_pages = 8, .lazy_count = 3}};
        struct dma_fixture *fixture = dma_open(kind, &options);

        for (size_t i = 0; i < 3 * COUNT(calls); i++) {
            const struct call *call = &calls[i % COUNT(calls)];
            struct made made;

            assert_int_equal(call->make(fixture, &made), 0);
            fake_os_forbid(fixture->os, FAKE_OS_FORBID_ALLOCATION);
            assert_int_equal(call->take_back(fixture, &made), 0);
            fake_os_forbid(fixture->os, 0);
        }
        fake_os_forbid(fixture->os, FAKE_OS_FORBID_ALLOCATION);
        assert_int_equal(piommu_dma_space_flush(fixture->space), 0);
        fake_os_forbid(fixture->os, 0);
        dma_close(fixture);
    }
}

/* ---- The IOMMU refuses ---- */

static bool try_refusal(enum dma_kind kind, const struct call *call, uint64_t nth)
{
    struct dma_fixture *fixture = open_pieces(kind, &untrusted);
    struct made made;
    int error;

    assert_true(viommu_model_fail_request(fixture->viommu->model, VIOMMU_MODEL_MAP, nth,
                                          VIOMMU_MODEL_S_DEVERR));
    error = call->make(fixture, &made);
    viommu_model_behave(fixture->viommu->model);
    if (error != 0) {
        assert_int_equal(error, -PIOMMU_EIO);
        assert_as_before(fixture);
        assert_int_equal(call->make(fixture, &made), 0);
    }
    assert_int_equal(call->take_back(fixture, &made), 0);
    assert_as_before(fixture);
    dma_close(fixture);
    return error != 0;
}

static void test_requests_that_are_refused(enum dma_kind kind)
{
    for (size_t i = 0; i < COUNT(calls); i++) {
        uint64_t nth = 1;

        while (try_refusal(kind, &calls[i], nth)) {
            nth++;
        }
        assert_true(nth > 1);
    }
}

/* ---- The IOMMU does not obey ---- */

/* As many mappings as there are addresses below a mask; none of them may be `except`. */
static void use_all_addresses(struct dma_fixture *fixture, uint64_t except, size_t expected)
{
    uint64_t addresses[16];
    size_t count = 0;
    int error;

    while ((error = piommu_dma_map_single(fixture->dma[0], fixture->memory + 32 * PAGE, PAGE, TO, 0,
                                          &addresses[count])) == 0) {
        assert_true(addresses[count] != except);
        count++;
    }
    assert_int_equal(error, -PIOMMU_ENOSPC);
    assert_int_equal(count, expected);
    while (count > 0) {
        count--;
        assert_int_equal(piommu_dma_unmap_single(fixture->dma[0], addresses[count], PAGE, TO, 0),
                         0);
    }
}

static void test_addresses_are_kept_until_they_are_forgotten(enum dma_kind kind)
{
    const struct dma_options options = {
        .untrusted = true, .space = {.bounce_pages = 2}, .device = {.mask = 0x7fff}};
    struct dma_fixture *fixture = dma_open(kind, &options);
    struct piommu_dma_device *device = fixture->dma[0];
    struct dma_mapping mapping = dma_map(fixture, 100, 200, BOTH);
    struct dma_mapping refused;

    dma_break_unit(fixture);
    assert_int_equal(piommu_dma_unmap_single(device, mapping.address, 200, BOTH, 0),
                     -PIOMMU_EFAILED);
    assert_int_equal(dma_statistics(fixture).stuck, 1);
    assert_int_equal(dma_statistics(fixture).bounce_pages_used, 1);
    assert_int_equal(piommu_dma_space_flush(fixture->space), -PIOMMU_EFAILED);
    assert_int_equal(piommu_dma_unmap_single(device, mapping.address, 200, BOTH, 0),
                     -PIOMMU_ENOENT);
    assert_int_equal(
        piommu_dma_map_single(device, fixture->memory, PAGE, BOTH, 0, &refused.address),
        -PIOMMU_EFAILED);
    assert_int_equal(dma_statistics(fixture).bounce_pages_used, 1);

    dma_heal_unit(fixture);
    if (kind == DMA_IPMMU) {
        /* A table was taken out together with the last mapping, and has no successor yet. */
        assert_int_equal(
            piommu_dma_map_single(device, fixture->memory, PAGE, BOTH, 0, &refused.address),
            -PIOMMU_EBUSY);
    } else {
        use_all_addresses(fixture, mapping.address, 7 - dma_statistics(fixture).stuck);
    }
    assert_int_equal(dma_statistics(fixture).bounce_pages_used, 1);
    assert_true(dma_statistics(fixture).stuck != 0);
    assert_int_equal(piommu_dma_space_flush(fixture->space), 0);
    assert_int_equal(dma_statistics(fixture).stuck, 0);
    assert_int_equal(dma_statistics(fixture).bounce_pages_used, 0);
    dma_revoke(fixture, mapping.handle);
    dma_sweep(fixture);
    use_all_addresses(fixture, 0, 7);
    dma_close(fixture);
}

/* Nobody knows what the unit has done about a map that it did not answer. */
static void test_maps_that_are_not_answered(enum dma_kind kind)
{
    const struct dma_options options = {
        .untrusted = true, .space = {.bounce_pages = 2}, .device = {.mask = 0x7fff}};
    struct dma_fixture *fixture = dma_open(kind, &options);
    uint64_t address;

    dma_break_unit(fixture);
    assert_int_equal(
        piommu_dma_map_single(fixture->dma[0], fixture->memory + 100, 200, BOTH, 0, &address),
        -PIOMMU_EFAILED);
    assert_int_equal(dma_statistics(fixture).stuck, 1);
    assert_int_equal(dma_statistics(fixture).bounce_pages_used, 1);
    assert_int_equal(piommu_dma_space_flush(fixture->space), -PIOMMU_EFAILED);
    assert_int_equal(dma_statistics(fixture).stuck, 1);
    assert_int_equal(dma_statistics(fixture).bounce_pages_used, 1);
    dma_heal_unit(fixture);
    use_all_addresses(fixture, 0, 6);
    assert_int_equal(piommu_dma_space_flush(fixture->space), 0);
    assert_as_before(fixture);
    use_all_addresses(fixture, 0, 7);
    dma_close(fixture);
}

static void test_what_waits_is_kept_too(enum dma_kind kind)
{
    const struct dma_options options = {.space = {.lazy = true, .lazy_count = 4},
                                        .device = {.mask = 0x7fff}};
    struct dma_fixture *fixture = dma_open(kind, &options);
    struct dma_mapping one = dma_map(fixture, 0, PAGE, BOTH);
    struct dma_mapping other = dma_map(fixture, 8 * PAGE, PAGE, BOTH);

    dma_unmap(fixture, &one);
    dma_unmap(fixture, &other);
    dma_break_unit(fixture);
    fake_os_pass(fixture->os, 100000000);
    assert_int_equal(piommu_dma_space_poll(fixture->space, NULL), -PIOMMU_EFAILED);
    assert_int_equal(dma_statistics(fixture).stuck + dma_statistics(fixture).waiting, 2);
    assert_int_equal(piommu_dma_space_flush(fixture->space), -PIOMMU_EFAILED);
    dma_heal_unit(fixture);
    assert_int_equal(piommu_dma_space_flush(fixture->space), 0);
    assert_int_equal(dma_statistics(fixture).stuck, 0);
    assert_int_equal(dma_statistics(fixture).waiting, 0);
    dma_settle(fixture);
    dma_close(fixture);
}

/* Another CPU, which flushes while this one does. */
struct other_cpu {
    struct dma_fixture *fixture;
    unsigned int waits;
    bool is_busy;
};

static void flush_meanwhile(void *ctx)
{
    struct other_cpu *other = ctx;

    if (!other->is_busy) {
        other->is_busy = true;
        other->waits++;
        assert_int_equal(piommu_dma_space_flush(other->fixture->space), -PIOMMU_EAGAIN);
        assert_int_equal(dma_statistics(other->fixture).stuck, 1);
        other->is_busy = false;
    }
}

/* Success says that nothing is reachable any more, not that somebody else is about to see to it. */
static void test_a_flush_beside_a_flush(enum dma_kind kind)
{
    struct dma_fixture *fixture = dma_open(kind, NULL);
    struct dma_mapping mapping = dma_map(fixture, 0, PAGE, BOTH);
    struct other_cpu other = {.fixture = fixture};

    dma_break_unit(fixture);
    assert_int_equal(piommu_dma_unmap_single(fixture->dma[0], mapping.address, PAGE, BOTH, 0),
                     -PIOMMU_EFAILED);
    dma_revoke(fixture, mapping.handle);
    dma_heal_unit(fixture);
    piommu_ipmmu_model_set_flush_polls(fixture->ipmmu->model, PIOMMU_IPMMU_MODEL_ALL_UNITS, 3);
    fake_os_on_wait(fixture->os, flush_meanwhile, &other);
    assert_int_equal(piommu_dma_space_flush(fixture->space), 0);
    fake_os_on_wait(fixture->os, NULL, NULL);
    assert_true(other.waits != 0);
    assert_as_before(fixture);
    dma_close(fixture);
}

static void test_buffers_are_kept(enum dma_kind kind)
{
    struct dma_fixture *fixture = dma_open(kind, NULL);
    struct piommu_dma_buffer buffer;
    uint64_t bytes;

    assert_int_equal(piommu_dma_alloc(fixture->dma[0], 2 * PAGE, &buffer), 0);
    dma_sweep(fixture);
    dma_break_unit(fixture);
    assert_int_equal(piommu_dma_free(fixture->dma[0], &buffer), -PIOMMU_EFAILED);
    bytes = fake_os_bytes_outstanding(fixture->os);
    assert_int_equal(piommu_dma_free(fixture->dma[0], &buffer), -PIOMMU_EFAILED);
    assert_int_equal(fake_os_bytes_outstanding(fixture->os), bytes);
    dma_heal_unit(fixture);
    assert_int_equal(piommu_dma_free(fixture->dma[0], &buffer), 0);
    assert_true(fake_os_bytes_outstanding(fixture->os) + 2 * PAGE <= bytes);
    assert_int_equal(piommu_dma_space_flush(fixture->space), 0);
    assert_as_before(fixture);
    dma_close(fixture);
}

static void test_lists_are_kept(enum dma_kind kind)
{
    struct dma_fixture *fixture = dma_open(kind, &untrusted);
    struct made made;

    assert_int_equal(make_list(fixture, &made), 0);
    dma_break_unit(fixture);
    assert_int_equal(take_back_list(fixture, &made), -PIOMMU_EFAILED);
    assert_int_equal(dma_statistics(fixture).bounce_pages_used, 3);
    assert_int_equal(piommu_dma_space_destroy(fixture->space), -PIOMMU_EBUSY);
    dma_heal_unit(fixture);
    assert_int_equal(dma_statistics(fixture).bounce_pages_used, 3);
    assert_int_equal(piommu_dma_space_flush(fixture->space), 0);
    assert_as_before(fixture);
    dma_close(fixture);
}

static void test_a_space_with_something_stuck_stays(enum dma_kind kind)
{
    struct dma_fixture *fixture = dma_open(kind, NULL);
    struct dma_mapping mapping = dma_map(fixture, 0, PAGE, BOTH);

    dma_break_unit(fixture);
    assert_int_equal(piommu_dma_unmap_single(fixture->dma[0], mapping.address, PAGE, BOTH, 0),
                     -PIOMMU_EFAILED);
    dma_revoke(fixture, mapping.handle);
    piommu_dma_device_remove(fixture->dma[0]);
    fixture->dma[0] = NULL;
    assert_int_equal(piommu_dma_space_destroy(fixture->space), -PIOMMU_EFAILED);
    assert_int_equal(dma_statistics(fixture).stuck, 1);
    dma_heal_unit(fixture);
    dma_close(fixture);
}

/* The domain is of no use any more: what its devices might reach is lost. */
static void test_a_space_that_is_given_up(enum dma_kind kind)
{
    const struct dma_options options = {.untrusted = true, .space = {.bounce_pages = 3}};
    struct dma_fixture *fixture = dma_open(kind, &options);
    uint64_t mapped = dma_map(fixture, 100, 100, BOTH).address;
    struct fake_os_counters before;
    struct fake_os_counters after;

    dma_break_unit(fixture);
    assert_int_equal(piommu_dma_unmap_single(fixture->dma[0], mapped, 100, BOTH, 0),
                     -PIOMMU_EFAILED);
    piommu_dma_device_remove(fixture->dma[0]);
    fixture->dma[0] = NULL;
    fake_os_get_counters(fixture->os, &before);
    assert_int_equal(piommu_dma_space_abandon(fixture->space), 0);
    fixture->space = NULL;
    fake_os_get_counters(fixture->os, &after);
    assert_int_equal(after.dma_frees, before.dma_frees);
    dma_heal_unit(fixture);
    fixture->ipmmu->loses_memory = true;
    dma_close(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        DMA_TEST(DMA_ALL, test_the_shim_fails_once),
        DMA_TEST(DMA_ALL, test_the_shim_fails_from_then_on),
        DMA_TEST(DMA_ALL, test_spaces_that_cannot_be_made),
        DMA_TEST(DMA_ALL, test_devices_that_cannot_be_added),
        DMA_TEST(DMA_ALL, test_unmapping_allocates_nothing),
        DMA_TEST(DMA_VIRTIO, test_requests_that_are_refused),
        DMA_TEST(DMA_ALL, test_addresses_are_kept_until_they_are_forgotten),
        DMA_TEST(DMA_VIRTIO, test_maps_that_are_not_answered),
        DMA_TEST(DMA_LAZY, test_what_waits_is_kept_too),
        DMA_TEST(DMA_ALL, test_buffers_are_kept),
        DMA_TEST(DMA_ALL, test_lists_are_kept),
        DMA_TEST(DMA_TABLES, test_a_flush_beside_a_flush),
        DMA_TEST(DMA_ALL, test_a_space_with_something_stuck_stays),
        DMA_TEST(DMA_TABLES, test_a_space_that_is_given_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
