/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * What the virtio-iommu backend sends, counted: requests, and doorbells, each of which is an exit
 * to a hypervisor.
 */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "viommu_fixture.h"

#define A        0x10u
#define PAGE     0x1000ull
#define FAR      0x100000000ull /* physical, where the device need not find memory */
#define MANY     10000u
#define RW       (PIOMMU_PROT_READ | PIOMMU_PROT_WRITE)
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* A is in the domain. */
struct wire {
    struct viommu_fixture *fixture;
    struct piommu_device *device;
    struct piommu_domain *domain;
    uint64_t doorbells; /* before what is counted */
};

static uint64_t doorbells_of(const struct wire *wire)
{
    return viommu_model_counters(wire->fixture->model)->doorbells[VIOMMU_MODEL_REQUEST_QUEUE];
}

static void start_counting(struct wire *wire)
{
    wire->fixture->log_count = 0;
    wire->doorbells = doorbells_of(wire);
}

static void expect_counts(struct wire *wire, uint8_t type, uint64_t requests, uint64_t doorbells)
{
    assert_int_equal(viommu_fixture_count(wire->fixture, type), requests);
    assert_int_equal(viommu_fixture_count(wire->fixture, 0), requests);
    assert_int_equal(doorbells_of(wire) - wire->doorbells, doorbells);
    assert_int_equal(viommu_model_counters(wire->fixture->model)
                         ->superfluous_doorbells[VIOMMU_MODEL_REQUEST_QUEUE],
                     0);
    start_counting(wire);
}

static void open_wire(struct wire *wire, uint16_t queue_size)
{
    struct viommu_fixture_options options;

    viommu_fixture_default_options(&options);
    options.os.scattered = true;
    options.model.queue_size[0] = queue_size;
    wire->fixture = viommu_fixture_started(&options);
    wire->fixture->paused = true;
    wire->domain = viommu_fixture_add_domain(wire->fixture, PIOMMU_DOMAIN_PAGING);
    wire->device = viommu_fixture_add_device(wire->fixture, A);
    assert_int_equal(piommu_device_attach(wire->device, wire->domain), 0);
    start_counting(wire);
}

static void close_wire(struct wire *wire)
{
    viommu_fixture_destroy(wire->fixture);
}

/* How many requests fit into the ring, which has 128 entries at most. */
static uint64_t capacity_of(const struct wire *wire)
{
    const struct viommu_model_parameters *model = &wire->fixture->options.model;
    bool indirect = (model->offered_features & VIOMMU_MODEL_F_INDIRECT_DESC) != 0;
    uint64_t size = model->queue_size[0] < 128 ? model->queue_size[0] : 128;

    return indirect ? size : size / 2;
}

static uint64_t rounded_up(uint64_t count, uint64_t unit)
{
    return (count + unit - 1) / unit;
}

/* Pieces none of which goes on where the one before has ended. */
static void map_scattered(struct wire *wire, uint64_t iova, uint64_t number)
{
    size_t count = (size_t)number;
    struct piommu_segment *segments = calloc(count, sizeof(*segments));

    for (size_t i = 0; i < count; i++) {
        segments[i] = (struct piommu_segment){FAR + 2 * i * PAGE, PAGE};
    }
    assert_int_equal(piommu_domain_map_list(wire->domain, iova, segments, count, RW), 0);
    free(segments);
}

static void map(struct wire *wire, uint64_t iova, uint64_t physical, uint64_t size)
{
    assert_int_equal(piommu_domain_map(wire->domain, iova, physical, size, RW), 0);
}

static void gather_pages(struct wire *wire, struct piommu_gather *gather, uint64_t iova)
{
    assert_int_equal(piommu_domain_unmap(wire->domain, iova, PAGE, gather, NULL), 0);
}

static void sync_gather(struct wire *wire, struct piommu_gather *gather)
{
    assert_int_equal(piommu_domain_sync(wire->domain, gather), 0);
}

/* ---- Maps ---- */

static void test_a_contiguous_map_of_any_size_is_one_request_and_one_doorbell(void **state)
{
    static const uint64_t sizes[] = {PAGE, 2 * PAGE, 0x200000, 0x40000000, 1ull << 40, 1ull << 62};
    struct wire wire;

    (void)state;
    open_wire(&wire, 256);
    for (size_t i = 0; i < COUNT(sizes); i++) {
        struct piommu_gather gather;

        map(&wire, 0x1000, 0x7000, sizes[i]);
        expect_counts(&wire, VIOMMU_MODEL_MAP, 1, 1);
        piommu_gather_init(&gather);
        assert_int_equal(piommu_domain_unmap(wire.domain, 0x1000, sizes[i], &gather, NULL), 0);
        expect_counts(&wire, VIOMMU_MODEL_UNMAP, 0, 0);
        sync_gather(&wire, &gather);
        expect_counts(&wire, VIOMMU_MODEL_UNMAP, 1, 1);
    }
    close_wire(&wire);
}

static void test_a_scattered_map_rings_once_for_each_ringful(void **state)
{
    static const uint16_t sizes[] = {2, 8, 64, 128, 256};

    (void)state;
    for (size_t i = 0; i < COUNT(sizes); i++) {
        struct wire wire;
        uint64_t capacity;
        struct piommu_gather gather;

        open_wire(&wire, sizes[i]);
        capacity = capacity_of(&wire);
        for (uint64_t count = 1; count <= 4 * capacity + 1; count += capacity / 2 + 1) {
            map_scattered(&wire, 0, count);
            expect_counts(&wire, VIOMMU_MODEL_MAP, count, rounded_up(count, capacity));
            /* Nothing that stays lies in between. */
            piommu_gather_init(&gather);
            assert_int_equal(piommu_domain_unmap(wire.domain, 0, count * PAGE, &gather, NULL), 0);
            sync_gather(&wire, &gather);
            expect_counts(&wire, VIOMMU_MODEL_UNMAP, 1, 1);
        }
        close_wire(&wire);
    }
}

static void test_slow_devices_do_not_cost_more_doorbells(void **state)
{
    struct viommu_fixture_options options;
    struct wire wire = {.doorbells = 0};
    uint64_t capacity;

    (void)state;
    viommu_fixture_default_options(&options);
    options.processing = VIOMMU_MODEL_AT_RUN;
    options.run_per_wait = 256;
    wire.fixture = viommu_fixture_started(&options);
    wire.fixture->paused = true;
    wire.domain = viommu_fixture_add_domain(wire.fixture, PIOMMU_DOMAIN_PAGING);
    wire.device = viommu_fixture_add_device(wire.fixture, A);
    assert_int_equal(piommu_device_attach(wire.device, wire.domain), 0);
    start_counting(&wire);
    capacity = capacity_of(&wire);
    map_scattered(&wire, 0, 3 * capacity);
    expect_counts(&wire, VIOMMU_MODEL_MAP, 3 * capacity, 3);
    close_wire(&wire);
}

/* Each of them is to be unmapped by itself. */
static void test_maps_are_not_merged_across_calls(void **state)
{
    struct wire wire;
    struct piommu_gather gather;

    (void)state;
    open_wire(&wire, 256);
    for (uint64_t i = 0; i < 8; i++) {
        map(&wire, i * PAGE, FAR + i * PAGE, PAGE);
        expect_counts(&wire, VIOMMU_MODEL_MAP, 1, 1);
    }
    assert_int_equal(piommu_device_detach(wire.device), 0);
    start_counting(&wire);
    assert_int_equal(piommu_device_attach(wire.device, wire.domain), 0);
    assert_int_equal(viommu_fixture_count(wire.fixture, VIOMMU_MODEL_ATTACH), 1);
    assert_int_equal(viommu_fixture_count(wire.fixture, VIOMMU_MODEL_MAP), 8);
    start_counting(&wire);
    piommu_gather_init(&gather);
    gather_pages(&wire, &gather, 3 * PAGE);
    sync_gather(&wire, &gather);
    expect_counts(&wire, VIOMMU_MODEL_UNMAP, 1, 1);
    close_wire(&wire);
}

/* ---- Unmaps ---- */

static void test_unmaps_are_merged_where_nothing_stays_in_between(void **state)
{
    struct wire wire;
    struct piommu_gather gather;

    (void)state;
    open_wire(&wire, 256);
    piommu_gather_init(&gather);
    /* Next to each other, by one call each, in any order. */
    for (uint64_t i = 0; i < 64; i++) {
        map(&wire, i * PAGE, FAR + 2 * i * PAGE, PAGE);
    }
    start_counting(&wire);
    for (uint64_t i = 0; i < 64; i++) {
        gather_pages(&wire, &gather, (i * 37 % 64) * PAGE);
    }
    sync_gather(&wire, &gather);
    expect_counts(&wire, VIOMMU_MODEL_UNMAP, 1, 1);
    /* With holes. */
    for (uint64_t i = 0; i < 64; i++) {
        map(&wire, 3 * i * PAGE, FAR, PAGE);
    }
    start_counting(&wire);
    for (uint64_t i = 0; i < 64; i++) {
        gather_pages(&wire, &gather, 3 * i * PAGE);
    }
    sync_gather(&wire, &gather);
    expect_counts(&wire, VIOMMU_MODEL_UNMAP, 1, 1);
    /* Three runs, parted by two pages that stay. */
    for (uint64_t i = 0; i < 64; i++) {
        map(&wire, i * PAGE, FAR, PAGE);
    }
    start_counting(&wire);
    for (uint64_t i = 64; i-- > 0;) {
        if (i != 10 && i != 20) {
            gather_pages(&wire, &gather, i * PAGE);
        }
    }
    sync_gather(&wire, &gather);
    expect_counts(&wire, VIOMMU_MODEL_UNMAP, 3, 1);
    close_wire(&wire);
}

static void test_unmaps_ring_once_for_each_ringful(void **state)
{
    static const uint16_t sizes[] = {2, 16, 256};

    (void)state;
    for (size_t i = 0; i < COUNT(sizes); i++) {
        struct wire wire;
        struct piommu_gather gather;
        uint64_t capacity;
        uint64_t count;

        open_wire(&wire, sizes[i]);
        capacity = capacity_of(&wire);
        count = 2 * capacity + 1;
        for (uint64_t j = 0; j < 2 * count; j++) {
            map(&wire, j * PAGE, FAR, PAGE);
        }
        start_counting(&wire);
        piommu_gather_init(&gather);
        for (uint64_t j = 0; j < count; j++) {
            gather_pages(&wire, &gather, 2 * j * PAGE);
        }
        sync_gather(&wire, &gather);
        expect_counts(&wire, VIOMMU_MODEL_UNMAP, count, 3);
        close_wire(&wire);
    }
}

/* ---- Replay ---- */

static void expect_replay(struct wire *wire, uint64_t others)
{
    uint64_t doorbells = doorbells_of(wire) - wire->doorbells;

    assert_int_equal(viommu_fixture_count(wire->fixture, VIOMMU_MODEL_MAP), MANY);
    assert_int_equal(viommu_fixture_count(wire->fixture, 0), MANY + others);
    assert_int_equal(doorbells, others + rounded_up(MANY, capacity_of(wire)));
}

static void test_a_replay_rings_once_for_each_ringful(void **state)
{
    struct wire wire;

    (void)state;
    open_wire(&wire, 256);
    assert_int_equal(piommu_device_detach(wire.device), 0);
    for (uint64_t i = 0; i < MANY; i++) {
        map(&wire, i * PAGE, FAR + i * PAGE, PAGE);
    }
    start_counting(&wire);
    assert_int_equal(piommu_device_attach(wire.device, wire.domain), 0);
    expect_replay(&wire, 1);
    viommu_model_misbehave(wire.fixture->model, VIOMMU_MODEL_NEEDS_RESET, 0, 0);
    assert_int_equal(piommu_instance_service(wire.fixture->instance, 1), -PIOMMU_EFAILED);
    start_counting(&wire);
    assert_int_equal(piommu_instance_recover(wire.fixture->instance), 0);
    expect_replay(&wire, 1);
    start_counting(&wire);
    assert_int_equal(piommu_instance_suspend(wire.fixture->instance), 0);
    start_counting(&wire);
    assert_int_equal(piommu_instance_resume(wire.fixture->instance), 0);
    expect_replay(&wire, 1);
    close_wire(&wire);
}

/* ---- Interrupts ---- */

/* A host that polls is left in peace; one that sleeps is woken, and never by its deadline. */
static void test_only_a_host_that_sleeps_is_interrupted_for_answers(void **state)
{
    struct viommu_fixture_options options;

    (void)state;
    for (unsigned int sleeps = 0; sleeps < 2; sleeps++) {
        struct wire wire = {.doorbells = 0};
        const struct viommu_model_counters *counters;
        uint64_t interrupts;
        uint64_t before;

        viommu_fixture_default_options(&options);
        options.processing = VIOMMU_MODEL_AT_RUN;
        options.os.sleeps = sleeps != 0;
        wire.fixture = viommu_fixture_started(&options);
        wire.fixture->paused = true;
        wire.domain = viommu_fixture_add_domain(wire.fixture, PIOMMU_DOMAIN_PAGING);
        wire.device = viommu_fixture_add_device(wire.fixture, A);
        assert_int_equal(piommu_device_attach(wire.device, wire.domain), 0);
        counters = viommu_model_counters(wire.fixture->model);
        (void)piommu_instance_service(wire.fixture->instance, 10);
        interrupts = counters->interrupts + counters->messages;
        before = fake_os_time(wire.fixture->os);
        for (uint64_t i = 0; i < 40; i++) {
            map(&wire, i * PAGE, FAR, PAGE);
            assert_int_equal(piommu_instance_service(wire.fixture->instance, 10), 0);
        }
        assert_true(fake_os_time(wire.fixture->os) - before < 100000000);
        assert_int_equal(counters->interrupts + counters->messages - interrupts,
                         sleeps != 0 ? 40 : 0);
        close_wire(&wire);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_contiguous_map_of_any_size_is_one_request_and_one_doorbell),
        cmocka_unit_test(test_a_scattered_map_rings_once_for_each_ringful),
        cmocka_unit_test(test_slow_devices_do_not_cost_more_doorbells),
        cmocka_unit_test(test_maps_are_not_merged_across_calls),
        cmocka_unit_test(test_unmaps_are_merged_where_nothing_stays_in_between),
        cmocka_unit_test(test_unmaps_ring_once_for_each_ringful),
        cmocka_unit_test(test_a_replay_rings_once_for_each_ringful),
        cmocka_unit_test(test_only_a_host_that_sleeps_is_interrupted_for_answers),
    };

    return viommu_fixture_run("virtio_iommu_requests", tests, COUNT(tests));
}
