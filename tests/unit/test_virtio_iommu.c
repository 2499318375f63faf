/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The virtio-iommu backend through the core: what it asks of the device, what it makes of its
 * answers, and above all what DMA masters can reach meanwhile. See viommu_fixture.h: they are tried
 * at each step.
 */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include <piommu/virtio.h>

#include "device_ids.h"
#include "viommu_fixture.h"

#define A        0x10u
#define B        0x18u
#define C        0x20u
#define STRANGER 0x99u
#define PAGE     0x1000ull
#define SECOND   1000000000ull
#define RW       (PIOMMU_PROT_READ | PIOMMU_PROT_WRITE)
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const uint32_t only_a[] = {A, UINT32_MAX};
static const uint32_t only_b[] = {B, UINT32_MAX};
static const uint32_t a_and_b[] = {A, B, UINT32_MAX};
static const uint32_t nobody[] = {UINT32_MAX};

/* ---- Helpers ---- */

static void quick_options(struct viommu_fixture_options *options)
{
    viommu_fixture_default_options(options);
    options->os.scattered = true; /* quicker to set up than a flat memory */
    options->timeout = 1000000;
}

static struct piommu_instance_info info_of(const struct viommu_fixture *fixture)
{
    struct piommu_instance_info info;

    memset(&info, 0, sizeof(info));
    piommu_instance_get_info(fixture->instance, &info);
    return info;
}

static uint64_t doorbells(const struct viommu_fixture *fixture)
{
    return viommu_model_counters(fixture->model)->doorbells[VIOMMU_MODEL_REQUEST_QUEUE];
}

static bool offers(const struct viommu_fixture *fixture, uint64_t feature)
{
    return (fixture->options.model.offered_features & feature) != 0;
}

/* A device with PROBE, and with room for many properties. */
static struct viommu_fixture *started_with_probe(void)
{
    struct viommu_fixture_options options;

    viommu_fixture_need_features(VIOMMU_MODEL_F_PROBE);
    viommu_fixture_default_options(&options);
    options.model.probe_size = 512;
    return viommu_fixture_started(&options);
}

static struct viommu_fixture *started_with(enum viommu_need need)
{
    viommu_fixture_need(need);
    return viommu_fixture_started(NULL);
}

static void attach(struct piommu_device *device, struct piommu_domain *domain)
{
    assert_int_equal(piommu_device_attach(device, domain), 0);
}

static void expect_lookup(struct piommu_domain *domain, uint64_t iova, uint64_t physical,
                          piommu_prot prot)
{
    struct piommu_translation found = {0};

    assert_int_equal(piommu_domain_lookup(domain, iova, &found), 0);
    assert_int_equal(found.physical, physical);
    assert_int_equal(found.prot, prot);
}

static void expect_no_lookup(struct piommu_domain *domain, uint64_t iova)
{
    struct piommu_translation found;

    assert_int_equal(piommu_domain_lookup(domain, iova, &found), -PIOMMU_ENOENT);
}

/* A whole little life, to see that nothing is broken. */
static void exercise(struct viommu_fixture *fixture)
{
    struct piommu_device *device = viommu_fixture_add_device(fixture, A);
    struct piommu_domain *domain = viommu_fixture_add_domain(fixture, PIOMMU_DOMAIN_PAGING);
    struct piommu_instance_info info = info_of(fixture);
    uint64_t size = info.granule > 2 * PAGE ? info.granule : 2 * PAGE;
    uint64_t at = (info.aperture.first + size - 1) & ~(size - 1);

    attach(device, domain);
    viommu_fixture_map(fixture, domain, at, fixture->memory & ~(size - 1), size, RW, only_a);
    viommu_fixture_probe_exactly(fixture);
    viommu_fixture_unmap(fixture, domain, at, size, only_a);
    assert_int_equal(piommu_device_detach(device), 0);
    viommu_fixture_remove_device(fixture, device);
    viommu_fixture_remove_domain(fixture, domain);
}

/* ---- Starting ---- */

static bool accepts_packed_rings(const struct viommu_fixture *fixture)
{
    return (viommu_model_accepted_features(fixture->model) & VIOMMU_MODEL_F_RING_PACKED) != 0;
}

static void test_start_tells_what_the_device_can_do(void **state)
{
    struct viommu_fixture *fixture = viommu_fixture_started(NULL);
    struct piommu_instance_info info = info_of(fixture);

    (void)state;
    assert_string_equal(info.name, "viommu");
    assert_non_null(info.backend);
    assert_int_equal(info.aperture.first, 0);
    assert_int_equal(info.aperture.last, UINT64_MAX);
    assert_int_equal(info.granule, PAGE);
    assert_int_equal(info.leaf_sizes & (0 - info.leaf_sizes), PAGE);
    assert_int_equal(info.prot,
                     offers(fixture, VIOMMU_MODEL_F_MMIO) ? RW | PIOMMU_PROT_DEVICE : RW);
    assert_false(info.write_only);
    assert_true(info.identity);
    assert_false(info.failed);
    assert_int_equal(info.faults, 0);
    assert_true(viommu_model_event_buffers(fixture->model) > 0);
    assert_int_equal(viommu_model_unannounced(fixture->model, VIOMMU_MODEL_EVENT_QUEUE), 0);
    assert_int_equal(accepts_packed_rings(fixture), viommu_fixture_is_packed(&fixture->options));
    viommu_fixture_destroy(fixture);
}

static void test_start_works_with_every_set_of_optional_features(void **state)
{
    static const uint64_t optional[] = {VIOMMU_MODEL_F_INPUT_RANGE,
                                        VIOMMU_MODEL_F_DOMAIN_RANGE,
                                        VIOMMU_MODEL_F_PROBE,
                                        VIOMMU_MODEL_F_MMIO,
                                        VIOMMU_MODEL_F_BYPASS_CONFIG,
                                        VIOMMU_MODEL_F_BYPASS,
                                        VIOMMU_MODEL_F_EVENT_IDX | VIOMMU_MODEL_F_INDIRECT_DESC |
                                            VIOMMU_MODEL_F_RING_RESET | VIOMMU_MODEL_F_IN_ORDER};

    (void)state;
    for (unsigned int set = 0; set < 1u << COUNT(optional); set++) {
        struct viommu_fixture_options options;
        struct viommu_fixture *fixture;
        struct piommu_instance_info info;
        uint64_t features = VIOMMU_MODEL_F_VERSION_1 | VIOMMU_MODEL_F_MAP_UNMAP;

        for (unsigned int i = 0; i < COUNT(optional); i++) {
            if ((set >> i & 1) != 0) {
                features |= optional[i];
            }
        }
        quick_options(&options);
        features |= options.model.offered_features & VIOMMU_MODEL_F_RING_PACKED;
        options.model.offered_features = features;
        options.model.input_start = 0x10000;
        options.model.input_end = 0xffffffff;
        options.model.domain_start = 7;
        options.model.domain_end = 9;
        options.model.config_length = (features & VIOMMU_MODEL_F_BYPASS_CONFIG) != 0 ? 40 : 36;
        fixture = viommu_fixture_started(&options);
        info = info_of(fixture);
        if ((features & VIOMMU_MODEL_F_INPUT_RANGE) != 0) {
            assert_int_equal(info.aperture.first, 0x10000);
            assert_int_equal(info.aperture.last, 0xffffffff);
        } else {
            assert_int_equal(info.aperture.first, 0);
            assert_int_equal(info.aperture.last, UINT64_MAX);
        }
        assert_int_equal(info.prot,
                         (features & VIOMMU_MODEL_F_MMIO) != 0 ? RW | PIOMMU_PROT_DEVICE : RW);
        assert_true(info.identity);
        assert_int_equal(accepts_packed_rings(fixture), viommu_fixture_is_packed(&options));
        /* The old bypass would let everybody through; and no odd ring format may be agreed on. */
        assert_int_equal(viommu_model_accepted_features(fixture->model) &
                             ~(VIOMMU_MODEL_F_VERSION_1 | VIOMMU_MODEL_F_MAP_UNMAP |
                               VIOMMU_MODEL_F_INPUT_RANGE | VIOMMU_MODEL_F_DOMAIN_RANGE |
                               VIOMMU_MODEL_F_PROBE | VIOMMU_MODEL_F_MMIO |
                               VIOMMU_MODEL_F_BYPASS_CONFIG | PIOMMU_VIRTIO_F_GENERIC),
                         0);
        viommu_model_add_endpoint(fixture->model, STRANGER, NULL, 0);
        viommu_fixture_watch(fixture, STRANGER);
        viommu_fixture_probe(fixture);
        exercise(fixture);
        viommu_fixture_destroy(fixture);
    }
}

static void expect_start(const struct viommu_fixture_options *options, int error)
{
    struct viommu_fixture *fixture = viommu_fixture_create(options);

    assert_int_equal(viommu_fixture_start(fixture), error);
    assert_int_equal(viommu_model_status(fixture->model) & PIOMMU_VIRTIO_STATUS_DRIVER_OK, 0);
    fixture->instance = NULL;
    viommu_fixture_destroy(fixture);
}

static void test_start_refuses_devices_without_what_it_needs(void **state)
{
    struct viommu_fixture_options options;

    (void)state;
    quick_options(&options);
    options.model.offered_features &= ~VIOMMU_MODEL_F_MAP_UNMAP;
    expect_start(&options, -PIOMMU_EOPNOTSUPP);
    quick_options(&options);
    options.model.offered_features &= ~VIOMMU_MODEL_F_VERSION_1;
    expect_start(&options, -PIOMMU_EOPNOTSUPP);
}

static void all_fields(struct viommu_fixture_options *options)
{
    quick_options(options);
    options->model.offered_features |= VIOMMU_MODEL_F_INPUT_RANGE | VIOMMU_MODEL_F_DOMAIN_RANGE |
                                       VIOMMU_MODEL_F_PROBE | VIOMMU_MODEL_F_BYPASS_CONFIG;
    options->model.config_length = 40;
}

static void test_start_refuses_configurations_that_lie(void **state)
{
    struct viommu_fixture_options options;

    (void)state;
    all_fields(&options);
    options.model.page_size_mask = 0;
    expect_start(&options, -PIOMMU_EBADMSG);
    all_fields(&options);
    options.model.page_size_mask = 1ull << 63;
    expect_start(&options, -PIOMMU_EBADMSG);
    all_fields(&options);
    options.model.input_start = 0x20000;
    options.model.input_end = 0x10000;
    expect_start(&options, -PIOMMU_EBADMSG);
    all_fields(&options);
    options.model.input_start = 0x10800; /* no whole page in it */
    options.model.input_end = 0x117ff;
    expect_start(&options, -PIOMMU_EBADMSG);
    all_fields(&options);
    options.model.domain_start = 2;
    options.model.domain_end = 1;
    expect_start(&options, -PIOMMU_EBADMSG);
    all_fields(&options);
    options.model.probe_size = UINT32_MAX;
    expect_start(&options, -PIOMMU_EBADMSG);
    all_fields(&options);
    options.model.probe_size = UINT32_MAX - 3;
    expect_start(&options, -PIOMMU_EBADMSG);
    all_fields(&options);
    options.model.probe_size = 0x1000000;
    expect_start(&options, -PIOMMU_EBADMSG);
    viommu_fixture_need(VIOMMU_NEED_PCI); /* else nobody says how long it is */
    all_fields(&options);
    options.model.config_length = 36; /* but bypass is offered */
    expect_start(&options, -PIOMMU_EBADMSG);
}

static void test_start_survives_hostile_transports(void **state)
{
    static const struct {
        enum viommu_model_misbehaviour what;
        uint64_t argument;
    } lies[] = {
        {VIOMMU_MODEL_REFUSE_FEATURES, 0},
        {VIOMMU_MODEL_GONE, 0},
        {VIOMMU_MODEL_RESET_HANGS, 0},
        {VIOMMU_MODEL_GENERATION_CHANGES, 0},
        {VIOMMU_MODEL_QUEUE_SIZE, 0},
        {VIOMMU_MODEL_QUEUE_SIZE, 1},
        {VIOMMU_MODEL_QUEUE_SIZE, 3},
        {VIOMMU_MODEL_QUEUE_SIZE, 0xffff},
        {VIOMMU_MODEL_QUEUE_COUNT, 0},
        {VIOMMU_MODEL_QUEUE_COUNT, 1},
        /* From here on, of virtio-pci. */
        {VIOMMU_MODEL_CAPABILITY_POINTER, 0},
        {VIOMMU_MODEL_CAPABILITY_BAR, 6},
        {VIOMMU_MODEL_CAPABILITY_OFFSET, 0x4000},
        {VIOMMU_MODEL_CAPABILITY_LENGTH, 4},
        {VIOMMU_MODEL_CAPABILITY_SHORT, 8},
        {VIOMMU_MODEL_CAPABILITY_MISSING, 1},
        {VIOMMU_MODEL_CAPABILITY_MISSING, 2},
        {VIOMMU_MODEL_CAPABILITY_MISSING, 3},
        {VIOMMU_MODEL_CAPABILITY_MISSING, 4},
        {VIOMMU_MODEL_NOTIFY_OFF, 0xffff},
        {VIOMMU_MODEL_NOTIFY_MULTIPLIER_IS, 0xffffffff},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(lies); i++) {
        struct viommu_fixture_options options;
        struct viommu_fixture *fixture;
        int error;

        quick_options(&options);
        if (options.model.transport != VIOMMU_MODEL_PCI &&
            lies[i].what == VIOMMU_MODEL_CAPABILITY_POINTER) {
            return;
        }
        if (lies[i].what == VIOMMU_MODEL_QUEUE_SIZE && lies[i].argument == 3 &&
            viommu_fixture_is_packed(&options)) {
            continue; /* that is no lie then */
        }
        fixture = viommu_fixture_create(&options);
        viommu_model_misbehave(fixture->model, lies[i].what, 0, lies[i].argument);
        error = viommu_fixture_start(fixture);
        assert_true(error == -PIOMMU_EBADMSG || error == -PIOMMU_EOPNOTSUPP ||
                    error == -PIOMMU_ENODEV || error == -PIOMMU_ETIMEDOUT);
        fixture->instance = NULL;
        /* A device that was never started and hangs shows 0 all the time: no driver can tell. */
        viommu_model_forget_violations(fixture->model);
        /* A later try, with an honest device, works. */
        viommu_model_behave(fixture->model);
        assert_int_equal(viommu_fixture_start(fixture), 0);
        exercise(fixture);
        viommu_fixture_destroy(fixture);
    }
}

static void test_start_with_the_smallest_rings_works(void **state)
{
    struct viommu_fixture_options options;

    (void)state;
    for (uint16_t size = 2; size <= 8; size++) {
        struct viommu_fixture *fixture;
        struct piommu_segment segments[20];
        struct piommu_domain *domain;

        quick_options(&options);
        if ((size & (size - 1)) != 0 && !viommu_fixture_is_packed(&options)) {
            continue;
        }
        options.model.queue_size[0] = size;
        options.model.queue_size[1] = size;
        fixture = viommu_fixture_started(&options);
        domain = viommu_fixture_add_domain(fixture, PIOMMU_DOMAIN_PAGING);
        attach(viommu_fixture_add_device(fixture, A), domain);
        for (size_t i = 0; i < COUNT(segments); i++) {
            segments[i] = (struct piommu_segment){fixture->memory + 2 * i * PAGE, PAGE};
            viommu_fixture_allow(fixture, A, i * PAGE, segments[i].physical, PAGE, RW);
        }
        assert_int_equal(piommu_domain_map_list(domain, 0, segments, COUNT(segments), RW), 0);
        viommu_fixture_probe_exactly(fixture);
        viommu_fixture_unmap(fixture, domain, 0, COUNT(segments) * PAGE, only_a);
        viommu_fixture_destroy(fixture);
    }
}

static void test_start_finds_no_device_elsewhere(void **state)
{
    struct viommu_fixture *fixture = viommu_fixture_create(NULL);
    struct piommu_virtio_iommu_config where = {.pci = {.bdf = 0x4321}};
    struct piommu_instance *instance = NULL;

    (void)state;
    assert_int_equal(piommu_context_create(fake_os_host(fixture->os), NULL, &fixture->context), 0);
    assert_int_equal(piommu_instance_create(fixture->context, piommu_virtio_iommu_backend(), &where,
                                            NULL, &instance),
                     -PIOMMU_ENODEV);
    assert_int_equal(piommu_instance_create(fixture->context, piommu_virtio_iommu_backend(), NULL,
                                            NULL, &instance),
                     -PIOMMU_EINVAL);
    assert_int_equal(piommu_instance_create(fixture->context, NULL, &where, NULL, &instance),
                     -PIOMMU_EINVAL);
    assert_int_equal(
        piommu_instance_create(fixture->context, piommu_virtio_iommu_backend(), &where, NULL, NULL),
        -PIOMMU_EINVAL);
    assert_null(instance);
    viommu_fixture_destroy(fixture);
}

static void test_start_survives_each_failure_of_the_host(void **state)
{
    (void)state;
    for (unsigned int forever = 0; forever < 2; forever++) {
        for (uint64_t nth = 1;; nth++) {
            struct viommu_fixture_options options;
            struct viommu_fixture *fixture;
            uint64_t before;
            int error;

            assert_true(nth < 500);
            quick_options(&options);
            fixture = viommu_fixture_create(&options);
            assert_int_equal(viommu_fixture_start(fixture), 0);
            assert_int_equal(piommu_instance_destroy(fixture->instance), 0);
            before = fake_os_bytes_outstanding(fixture->os);
            fake_os_fail_call(fixture->os, nth, forever != 0);
            error = viommu_fixture_start(fixture);
            fake_os_fail_call(fixture->os, 0, false);
            if (error == 0) {
                viommu_fixture_destroy(fixture);
                break;
            }
            assert_true(error == -PIOMMU_ENOMEM || error == -PIOMMU_ENODEV);
            fixture->instance = NULL;
            assert_int_equal(fake_os_bytes_outstanding(fixture->os), before);
            assert_int_equal(viommu_model_status(fixture->model) & PIOMMU_VIRTIO_STATUS_DRIVER_OK,
                             0);
            viommu_fixture_destroy(fixture);
        }
    }
}

static void test_bypass_follows_the_policy(void **state)
{
    (void)state;
    viommu_fixture_need_features(VIOMMU_MODEL_F_BYPASS_CONFIG);
    for (uint8_t initial = 0; initial < 2; initial++) {
        struct viommu_fixture_options options;
        struct viommu_fixture *fixture;

        quick_options(&options);
        options.model.initial_bypass = initial;
        fixture = viommu_fixture_create(&options);
        viommu_model_add_endpoint(fixture->model, STRANGER, NULL, 0);
        assert_int_equal(viommu_fixture_start(fixture), 0);
        assert_int_equal(viommu_model_bypass(fixture->model), 0);
        viommu_fixture_watch(fixture, STRANGER);
        viommu_fixture_probe(fixture);
        exercise(fixture);
        viommu_fixture_take_down(fixture);
        viommu_fixture_probe(fixture);
        assert_int_equal(viommu_model_bypass(fixture->model), 0);
        viommu_fixture_destroy(fixture);

        options.unknown_ids = PIOMMU_UNKNOWN_IDS_LEAVE;
        fixture = viommu_fixture_create(&options);
        viommu_model_add_endpoint(fixture->model, STRANGER, NULL, 0);
        assert_int_equal(viommu_fixture_start(fixture), 0);
        assert_int_equal(viommu_model_bypass(fixture->model), initial);
        exercise(fixture);
        assert_int_equal(
            viommu_model_translate(fixture->model, STRANGER, fixture->memory, true, NULL),
            initial != 0 ? VIOMMU_MODEL_IDENTITY : VIOMMU_MODEL_BLOCKED);
        /* Once added, it is blocked, and stays so when it was removed. */
        viommu_fixture_remove_device(fixture, viommu_fixture_add_device(fixture, STRANGER));
        viommu_fixture_probe(fixture);
        viommu_fixture_take_down(fixture);
        assert_int_equal(viommu_model_bypass(fixture->model), initial);
        viommu_fixture_destroy(fixture);
    }
}

static void test_large_granules_are_obeyed(void **state)
{
    struct viommu_fixture_options options;
    struct viommu_fixture *fixture;
    struct piommu_domain *domain;
    struct piommu_gather gather;
    struct piommu_segment segment = {0x90000000, 0x8000};

    (void)state;
    quick_options(&options);
    options.model.page_size_mask = 0x20010000;
    fixture = viommu_fixture_started(&options);
    assert_int_equal(info_of(fixture).granule, 0x10000);
    domain = viommu_fixture_add_domain(fixture, PIOMMU_DOMAIN_PAGING);
    attach(viommu_fixture_add_device(fixture, A), domain);
    assert_int_equal(piommu_domain_map(domain, 0x1000, 0x90000000, 0x10000, RW), -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_map(domain, 0x10000, 0x90001000, 0x10000, RW), -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_map(domain, 0x10000, 0x90000000, 0x1000, RW), -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_map_list(domain, 0x10000, &segment, 1, RW), -PIOMMU_EINVAL);
    viommu_fixture_map(fixture, domain, 0x10000, 0x90000000, 0x30000, RW, only_a);
    piommu_gather_init(&gather);
    assert_int_equal(piommu_domain_unmap(domain, 0x10000, 0x1000, &gather, NULL), -PIOMMU_EINVAL);
    viommu_fixture_probe_exactly(fixture);
    viommu_fixture_destroy(fixture);
}

/* The device asks for ranges of two bytes or more, whatever it says of its granule. */
static void test_a_granule_of_one_byte_never_leads_to_an_illegal_request(void **state)
{
    struct viommu_fixture_options options;
    struct viommu_fixture *fixture;

    (void)state;
    quick_options(&options);
    options.model.page_size_mask = UINT64_MAX;
    fixture = viommu_fixture_create(&options);
    if (viommu_fixture_start(fixture) == 0) {
        struct piommu_domain *domain = viommu_fixture_add_domain(fixture, PIOMMU_DOMAIN_PAGING);

        attach(viommu_fixture_add_device(fixture, A), domain);
        viommu_fixture_allow(fixture, A, 5, 0x90000005, 1, RW);
        if (piommu_domain_map(domain, 5, 0x90000005, 1, RW) == 0) {
            viommu_fixture_probe_exactly(fixture);
        }
        assert_int_equal(viommu_model_violations(fixture->model), 0);
    } else {
        fixture->instance = NULL;
    }
    viommu_fixture_destroy(fixture);
}

static void test_ragged_input_ranges_are_rounded_inwards(void **state)
{
    struct viommu_fixture_options options;
    struct viommu_fixture *fixture;
    struct piommu_instance_info info;
    struct piommu_domain *domain;

    (void)state;
    viommu_fixture_need_features(VIOMMU_MODEL_F_INPUT_RANGE);
    quick_options(&options);
    options.model.input_start = 0x10001;
    options.model.input_end = 0x200ffe;
    fixture = viommu_fixture_started(&options);
    info = info_of(fixture);
    assert_true(info.aperture.first >= 0x10001 && info.aperture.last <= 0x200ffe);
    domain = viommu_fixture_add_domain(fixture, PIOMMU_DOMAIN_PAGING);
    attach(viommu_fixture_add_device(fixture, A), domain);
    assert_int_equal(piommu_domain_map(domain, 0x10000, 0x90000000, PAGE, RW), -PIOMMU_ERANGE);
    assert_int_equal(piommu_domain_map(domain, 0x200000, 0x90000000, PAGE, RW), -PIOMMU_ERANGE);
    viommu_fixture_map(fixture, domain, 0x11000, 0x90000000, 0x200000 - 0x11000, RW, only_a);
    viommu_fixture_probe_exactly(fixture);
    viommu_fixture_destroy(fixture);
}

/* However few numbers there are, none outside the range is used: the model objects to those. */
static void test_tiny_domain_ranges_are_kept_to(void **state)
{
    (void)state;
    viommu_fixture_need_features(VIOMMU_MODEL_F_DOMAIN_RANGE);
    for (uint32_t count = 1; count <= 4; count++) {
        struct viommu_fixture_options options;
        struct viommu_fixture *fixture;
        int error;

        quick_options(&options);
        options.model.domain_start = 40;
        options.model.domain_end = 40 + count - 1;
        fixture = viommu_fixture_create(&options);
        error = viommu_fixture_start(fixture);
        if (error != 0) {
            assert_true(error == -PIOMMU_EOPNOTSUPP || error == -PIOMMU_EBADMSG);
            assert_true(count <= 2); /* one for blocking, one for identity, and none left */
            fixture->instance = NULL;
        } else {
            struct piommu_domain_config config = {
                .type = PIOMMU_DOMAIN_PAGING, .instances = &fixture->instance, .instance_count = 1};
            struct piommu_device *device = viommu_fixture_add_device(fixture, A);
            size_t created = 0;

            while (created < VIOMMU_FIXTURE_MAX_DOMAINS &&
                   piommu_domain_create(&config, &fixture->domains[created]) == 0) {
                attach(device, fixture->domains[created]);
                created++;
            }
            assert_in_range(created, 1, count);
        }
        viommu_fixture_destroy(fixture);
    }
}

static void test_domain_numbers_run_out_and_come_back(void **state)
{
    struct viommu_fixture_options options;

    (void)state;
    viommu_fixture_need_features(VIOMMU_MODEL_F_DOMAIN_RANGE);
    for (unsigned int leave = 0; leave < 2; leave++) {
        struct viommu_fixture *fixture;
        struct piommu_domain *domains[8] = {NULL};
        struct piommu_domain_config config = {.type = PIOMMU_DOMAIN_PAGING};
        size_t count = 0;
        int error = 0;

        quick_options(&options);
        options.model.domain_start = UINT32_MAX - 4;
        options.model.domain_end = UINT32_MAX;
        options.unknown_ids = leave != 0 ? PIOMMU_UNKNOWN_IDS_LEAVE : PIOMMU_UNKNOWN_IDS_BLOCK;
        fixture = viommu_fixture_started(&options);
        config.instances = &fixture->instance;
        config.instance_count = 1;
        while (count < COUNT(domains) && error == 0) {
            error = piommu_domain_create(&config, &domains[count]);
            count += error == 0;
        }
        assert_int_equal(error, -PIOMMU_ENOSPC);
        /* Up to three may be kept for identity and blocking. */
        assert_in_range(count, 2, 5);
        for (unsigned int round = 0; round < 10; round++) {
            assert_int_equal(piommu_domain_destroy(domains[round % count]), 0);
            assert_int_equal(piommu_domain_create(&config, &domains[round % count]), 0);
        }
        attach(viommu_fixture_add_device(fixture, A), domains[0]);
        attach(viommu_fixture_add_device(fixture, B), domains[1]);
        viommu_fixture_map(fixture, domains[0], 0x1000, fixture->memory, PAGE, RW, only_a);
        viommu_fixture_map(fixture, domains[1], 0x1000, fixture->memory + PAGE, PAGE, RW, only_b);
        viommu_fixture_probe_exactly(fixture);
        for (size_t i = 0; i < 2; i++) {
            assert_int_equal(piommu_device_detach(fixture->devices[i]), 0);
            viommu_fixture_forbid(fixture, i == 0 ? A : B, 0, 0);
        }
        for (size_t i = 0; i < count; i++) {
            assert_int_equal(piommu_domain_destroy(domains[i]), 0);
        }
        viommu_fixture_destroy(fixture);
    }
}

static void test_a_context_and_an_instance_in_use_stay(void **state)
{
    struct viommu_fixture *fixture = viommu_fixture_started(NULL);
    struct piommu_domain *domain = viommu_fixture_add_domain(fixture, PIOMMU_DOMAIN_PAGING);
    struct piommu_device *device = viommu_fixture_add_device(fixture, A);

    (void)state;
    assert_int_equal(piommu_context_destroy(fixture->context), -PIOMMU_EBUSY);
    assert_int_equal(piommu_instance_destroy(fixture->instance), -PIOMMU_EBUSY);
    attach(device, domain);
    assert_int_equal(piommu_domain_destroy(domain), -PIOMMU_EBUSY);
    assert_int_equal(piommu_device_remove(device), -PIOMMU_EBUSY);
    viommu_fixture_map(fixture, domain, 0x1000, fixture->memory, PAGE, RW, only_a);
    viommu_fixture_probe_exactly(fixture);
    assert_int_equal(piommu_device_detach(device), 0);
    viommu_fixture_forbid(fixture, A, 0, 0);
    viommu_fixture_remove_device(fixture, device);
    assert_int_equal(piommu_instance_destroy(fixture->instance), -PIOMMU_EBUSY);
    viommu_fixture_destroy(fixture);
}

static void test_an_instance_can_be_started_again(void **state)
{
    struct viommu_fixture *fixture = viommu_fixture_started(NULL);

    (void)state;
    for (unsigned int i = 0; i < 3; i++) {
        exercise(fixture);
        assert_int_equal(piommu_instance_destroy(fixture->instance), 0);
        assert_int_equal(viommu_fixture_start(fixture), 0);
    }
    viommu_fixture_destroy(fixture);
}

/* ---- Devices ---- */

static void test_probe_is_asked_once_for_each_id(void **state)
{
    struct viommu_fixture *fixture = started_with_probe();
    const uint32_t ids[] = {A, C, B};
    struct piommu_device *device = NULL;

    (void)state;
    for (size_t i = 0; i < COUNT(ids); i++) {
        viommu_model_add_endpoint(fixture->model, ids[i], NULL, 0);
    }
    assert_int_equal(viommu_fixture_try_add(fixture, ids, COUNT(ids), &device), 0);
    assert_int_equal(viommu_fixture_count(fixture, VIOMMU_MODEL_PROBE), 3);
    assert_int_equal(viommu_fixture_count(fixture, 0), 3);
    for (size_t i = 0; i < COUNT(ids); i++) {
        assert_int_equal(viommu_fixture_logged(fixture, VIOMMU_MODEL_PROBE, i)->request.endpoint,
                         ids[i]);
    }
    viommu_fixture_destroy(fixture);
}

static void test_add_refuses_malformed_configurations(void **state)
{
    struct viommu_fixture *fixture = viommu_fixture_started(NULL);
    struct device_ids room;
    struct piommu_device_id *ids = room.ids;
    struct piommu_device_config config = {.ids = ids, .id_count = 1};
    struct piommu_device *device = NULL;

    (void)state;
    for (uint32_t i = 0; i < COUNT(room.ids); i++) {
        ids[i] = (struct piommu_device_id){.instance = fixture->instance, .id = 0x1000 + i};
        viommu_model_add_endpoint(fixture->model, ids[i].id, NULL, 0);
    }
    assert_int_equal(piommu_device_add(fixture->context, NULL, &device), -PIOMMU_EINVAL);
    assert_int_equal(piommu_device_add(fixture->context, &config, NULL), -PIOMMU_EINVAL);
    config.id_count = 0;
    assert_int_equal(piommu_device_add(fixture->context, &config, &device), -PIOMMU_EINVAL);
    config.id_count = COUNT(room.ids);
    assert_int_equal(piommu_device_add(fixture->context, &config, &device), -PIOMMU_EINVAL);
    config.id_count = SIZE_MAX;
    assert_int_equal(piommu_device_add(fixture->context, &config, &device), -PIOMMU_EINVAL);
    config.id_count = 5;
    config.ids = NULL;
    assert_int_equal(piommu_device_add(fixture->context, &config, &device), -PIOMMU_EINVAL);
    config.ids = ids;
    ids[0].instance = NULL;
    assert_int_equal(piommu_device_add(fixture->context, &config, &device), -PIOMMU_EINVAL);
    ids[0].instance = fixture->instance;
    ids[4] = ids[1];
    assert_int_equal(piommu_device_add(fixture->context, &config, &device), -PIOMMU_EINVAL);
    ids[4].id = 0x2000;
    viommu_model_add_endpoint(fixture->model, ids[4].id, NULL, 0);
    assert_null(device);
    assert_int_equal(viommu_fixture_count(fixture, 0), 0);
    config.id_count = PIOMMU_DEVICE_MAX_IDS;
    assert_int_equal(piommu_device_add(fixture->context, &config, &device), 0);
    assert_int_equal(piommu_device_remove(device), 0);
    assert_int_equal(piommu_device_remove(NULL), 0);
    viommu_fixture_destroy(fixture);
}

static void test_add_of_an_unknown_id_changes_nothing(void **state)
{
    (void)state;
    viommu_fixture_need_features(VIOMMU_MODEL_F_PROBE);
    for (unsigned int leave = 0; leave < 2; leave++) {
        struct viommu_fixture_options options;
        struct viommu_fixture *fixture;
        struct piommu_device *device = NULL;
        const uint32_t ids[] = {A, B, STRANGER};
        uint64_t before;

        quick_options(&options);
        options.unknown_ids = leave != 0 ? PIOMMU_UNKNOWN_IDS_LEAVE : PIOMMU_UNKNOWN_IDS_BLOCK;
        fixture = viommu_fixture_started(&options);
        viommu_model_add_endpoint(fixture->model, A, NULL, 0);
        viommu_model_add_endpoint(fixture->model, B, NULL, 0);
        /*
         * Under LEAVE an ID that was blocked once stays blocked, which may need memory: but only
         * once.
         */
        if (leave != 0) {
            assert_int_equal(viommu_fixture_try_add(fixture, ids, 3, &device), -PIOMMU_ENOENT);
        }
        before = fake_os_bytes_outstanding(fixture->os);
        assert_int_equal(viommu_fixture_try_add(fixture, ids, 3, &device), -PIOMMU_ENOENT);
        assert_null(device);
        assert_int_equal(fake_os_bytes_outstanding(fixture->os), before);
        /* The IDs are free. */
        exercise(fixture);
        viommu_fixture_destroy(fixture);
    }
}

static void test_add_without_probe_finds_out_in_time(void **state)
{
    (void)state;
    for (unsigned int leave = 0; leave < 2; leave++) {
        struct viommu_fixture_options options;
        struct viommu_fixture *fixture;
        struct piommu_device *device = NULL;
        const uint32_t id = STRANGER;
        int error;

        quick_options(&options);
        options.unknown_ids = leave != 0 ? PIOMMU_UNKNOWN_IDS_LEAVE : PIOMMU_UNKNOWN_IDS_BLOCK;
        options.model.offered_features &= ~VIOMMU_MODEL_F_PROBE;
        fixture = viommu_fixture_started(&options);
        error = viommu_fixture_try_add(fixture, &id, 1, &device);
        if (error == 0) {
            struct piommu_domain *domain = viommu_fixture_add_domain(fixture, PIOMMU_DOMAIN_PAGING);

            /* Nobody could tell until now. */
            assert_int_not_equal(piommu_device_attach(device, domain), 0);
            assert_false(info_of(fixture).failed);
        } else {
            assert_int_equal(error, -PIOMMU_ENOENT);
        }
        viommu_fixture_destroy(fixture);
    }
}

static void test_reserved_regions_are_told(void **state)
{
    struct viommu_fixture *fixture = started_with_probe();
    const struct viommu_model_region regions[] = {
        {.start = 0x8000000, .end = 0x80fffff, .subtype = 1},
        {.start = 0x10000000, .end = 0x10000fff, .subtype = 0},
        {.start = UINT64_MAX - 0xfff, .end = UINT64_MAX, .subtype = 0},
        {.start = 0, .end = 0xfff, .subtype = 77}, /* unknown: to be taken for RESERVED */
    };
    struct piommu_reserved_region region;
    struct piommu_device *device = NULL;
    const uint32_t id = A;
    bool seen[4] = {false};
    size_t count = 0;

    (void)state;
    viommu_model_add_endpoint(fixture->model, A, regions, COUNT(regions));
    assert_int_equal(viommu_fixture_try_add(fixture, &id, 1, &device), 0);
    while (piommu_device_reserved_region(device, count, &region) == 0) {
        for (size_t i = 0; i < 4; i++) {
            if (regions[i].start == region.range.first) {
                assert_int_equal(region.range.last, regions[i].end);
                assert_int_equal(region.kind, i == 0 ? PIOMMU_RESERVED_MSI : PIOMMU_RESERVED);
                seen[i] = true;
            }
        }
        count++;
    }
    assert_int_equal(count, 4);
    assert_true(seen[0] && seen[1] && seen[2] && seen[3]);
    assert_int_equal(piommu_device_reserved_region(device, 4, &region), -PIOMMU_ENOENT);
    assert_int_equal(piommu_device_reserved_region(device, SIZE_MAX, &region), -PIOMMU_ENOENT);
    viommu_fixture_destroy(fixture);
}

static void put16(uint8_t *at, unsigned int value)
{
    at[0] = (uint8_t)(value & 0xff);
    at[1] = (uint8_t)(value >> 8 & 0xff);
}

static void put64(uint8_t *at, uint64_t value)
{
    for (unsigned int i = 0; i < 8; i++) {
        at[i] = (uint8_t)(value >> (8 * i) & 0xff);
    }
}

/* Writes a RESV_MEM property; returns where the next one goes. */
static uint8_t *put_region(uint8_t *at, unsigned int length, uint8_t subtype, uint64_t first,
                           uint64_t last)
{
    put16(at, 1);
    put16(at + 2, length);
    at[4] = subtype;
    put64(at + 8, first);
    put64(at + 16, last);
    return at + 4 + length;
}

static int add_with_probe(struct viommu_fixture *fixture, const void *bytes, size_t size,
                          struct piommu_device **device)
{
    const uint32_t id = A;

    viommu_model_add_endpoint(fixture->model, A, NULL, 0);
    assert_true(viommu_model_set_probe_bytes(fixture->model, A, bytes, size));
    return viommu_fixture_try_add(fixture, &id, 1, device);
}

static void expect_probe_error(const void *bytes, size_t size)
{
    struct viommu_fixture_options options;
    struct viommu_fixture *fixture;
    struct piommu_device *device = NULL;
    uint64_t before;

    quick_options(&options);
    options.model.probe_size = 512;
    fixture = viommu_fixture_started(&options);
    before = fake_os_bytes_outstanding(fixture->os);
    assert_int_equal(add_with_probe(fixture, bytes, size, &device), -PIOMMU_EBADMSG);
    assert_null(device);
    assert_int_equal(fake_os_bytes_outstanding(fixture->os), before);
    assert_false(info_of(fixture).failed);
    /* With the truth it works. */
    viommu_model_set_probe_bytes(fixture->model, A, NULL, 0);
    exercise(fixture);
    viommu_fixture_destroy(fixture);
}

static void test_probe_properties_that_lie_are_refused(void **state)
{
    uint8_t bytes[512];

    (void)state;
    viommu_fixture_need_features(VIOMMU_MODEL_F_PROBE);
    memset(bytes, 0, sizeof(bytes));
    put_region(bytes, 20, 0, 0x2000, 0x1fff); /* reversed */
    expect_probe_error(bytes, sizeof(bytes));
    memset(bytes, 0, sizeof(bytes));
    put_region(bytes, 19, 0, 0x2000, 0x2fff); /* too short for what it says it is */
    expect_probe_error(bytes, sizeof(bytes));
    memset(bytes, 0, sizeof(bytes));
    put_region(bytes, 0, 0, 0x2000, 0x2fff);
    expect_probe_error(bytes, sizeof(bytes));
    memset(bytes, 0, sizeof(bytes));
    put_region(bytes, 20, 0, 0x2000, 0x2fff);
    put16(bytes + 2, 509); /* one byte behind the end */
    expect_probe_error(bytes, sizeof(bytes));
    put16(bytes + 2, 0xffff);
    expect_probe_error(bytes, sizeof(bytes));
    /* The last one begins inside and ends outside. */
    memset(bytes, 0, sizeof(bytes));
    put16(bytes, 0x123);
    put16(bytes + 2, 512 - 4 - 8);
    put16(bytes + 512 - 8, 1);
    put16(bytes + 512 - 6, 20);
    expect_probe_error(bytes, sizeof(bytes));
}

static void test_probe_properties_are_read_byte_by_byte(void **state)
{
    struct viommu_fixture *fixture = started_with_probe();
    struct piommu_reserved_region region;
    struct piommu_device *device = NULL;
    uint8_t bytes[512] = {0};
    uint8_t *at = bytes;

    (void)state;
    put16(at, 0x7ff); /* an unknown type of odd length */
    put16(at + 2, 3);
    at += 7;
    put16(at, 0x1001); /* RESV_MEM with a reserved bit set: not for us */
    put16(at + 2, 20);
    put64(at + 8, 0x5000);
    put64(at + 16, 0x4000);
    at += 24;
    at = put_region(at, 23, 0, 0x70000, 0x7ffff); /* longer than we know */
    at = put_region(at, 20, 1, 0x90000, 0x9ffff);
    put16(at, 0); /* the end, whatever follows */
    put16(at + 2, 5);
    put_region(at + 9, 20, 0, 0x1000, 0);
    assert_int_equal(add_with_probe(fixture, bytes, sizeof(bytes), &device), 0);
    assert_int_equal(piommu_device_reserved_region(device, 0, &region), 0);
    assert_int_equal(region.range.first, 0x70000);
    assert_int_equal(region.range.last, 0x7ffff);
    assert_int_equal(region.kind, PIOMMU_RESERVED);
    assert_int_equal(piommu_device_reserved_region(device, 1, &region), 0);
    assert_int_equal(region.range.first, 0x90000);
    assert_int_equal(region.kind, PIOMMU_RESERVED_MSI);
    assert_int_equal(piommu_device_reserved_region(device, 2, &region), -PIOMMU_ENOENT);
    viommu_fixture_destroy(fixture);
}

static void test_probe_may_fill_its_answer_to_the_last_byte(void **state)
{
    struct viommu_fixture_options options;

    (void)state;
    viommu_fixture_need_features(VIOMMU_MODEL_F_PROBE);
    for (uint32_t size = 24; size <= 24 + 6; size++) {
        struct viommu_fixture *fixture;
        struct piommu_device *device = NULL;
        struct piommu_reserved_region region;
        uint8_t bytes[32] = {0};

        quick_options(&options);
        options.model.probe_size = size;
        fixture = viommu_fixture_started(&options);
        put_region(bytes, 20, 0, 0x2000, 0x2fff);
        assert_int_equal(add_with_probe(fixture, bytes, size, &device), 0);
        assert_int_equal(piommu_device_reserved_region(device, 0, &region), 0);
        assert_int_equal(piommu_device_reserved_region(device, 1, &region), -PIOMMU_ENOENT);
        viommu_fixture_destroy(fixture);
    }
}

static void test_whole_space_reserved_leaves_nothing_to_map(void **state)
{
    struct viommu_fixture *fixture = started_with_probe();
    struct piommu_device *device = NULL;
    struct piommu_domain *domain = viommu_fixture_add_domain(fixture, PIOMMU_DOMAIN_PAGING);
    uint8_t bytes[512] = {0};

    (void)state;
    put_region(bytes, 20, 0, 0, UINT64_MAX);
    assert_int_equal(add_with_probe(fixture, bytes, sizeof(bytes), &device), 0);
    attach(device, domain);
    assert_int_equal(piommu_domain_map(domain, 0, fixture->memory, PAGE, RW), -PIOMMU_ERESERVED);
    assert_int_equal(piommu_domain_map(domain, 0 - PAGE, fixture->memory, PAGE, RW),
                     -PIOMMU_ERESERVED);
    viommu_fixture_destroy(fixture);
}

static void test_random_probe_answers_do_no_harm(void **state)
{
    struct viommu_fixture_options options;
    struct viommu_fixture *fixture;
    uint32_t random = 7;
    unsigned int accepted = 0;

    (void)state;
    viommu_fixture_need_features(VIOMMU_MODEL_F_PROBE);
    quick_options(&options);
    options.model.probe_size = 512;
    fixture = viommu_fixture_started(&options);
    for (unsigned int round = 0; round < 3000; round++) {
        struct piommu_device *device = NULL;
        uint8_t bytes[512] = {0};
        uint64_t before = fake_os_bytes_outstanding(fixture->os);
        size_t at = 0;
        int error;

        while (at < sizeof(bytes)) {
            random = random * 1664525u + 1013904223u;
            if ((random >> 30) == 0 || at + 24 > sizeof(bytes)) {
                bytes[at++] = (uint8_t)(random >> 16 & 0xff);
            } else {
                put_region(bytes + at, 20, random >> 20 & 1, random & 0xffff,
                           (random & 0xffff) + 0x1000);
                at += (random >> 24 & 63) == 0 ? 25 : 24;
            }
            if ((random >> 8 & 31) == 0) {
                break;
            }
        }
        error = add_with_probe(fixture, bytes, sizeof(bytes), &device);
        assert_true(error == 0 || error == -PIOMMU_EBADMSG);
        if (error == 0) {
            accepted++;
            viommu_fixture_remove_device(fixture, device);
        }
        assert_int_equal(fake_os_bytes_outstanding(fixture->os), before);
    }
    assert_true(accepted > 10);
    viommu_fixture_destroy(fixture);
}

static void test_probe_answers_with_errors_are_passed_on(void **state)
{
    (void)state;
    viommu_fixture_need_features(VIOMMU_MODEL_F_PROBE);
    for (uint8_t status = 1; status < 10; status++) {
        for (unsigned int nth = 1; nth <= 2; nth++) {
            struct viommu_fixture_options options;
            struct viommu_fixture *fixture;
            struct piommu_device *device = NULL;
            const uint32_t ids[] = {A, B};
            uint64_t before;
            int error;

            quick_options(&options);
            fixture = viommu_fixture_started(&options);
            viommu_model_add_endpoint(fixture->model, A, NULL, 0);
            viommu_model_add_endpoint(fixture->model, B, NULL, 0);
            before = fake_os_bytes_outstanding(fixture->os);
            assert_true(viommu_model_fail_request(fixture->model, VIOMMU_MODEL_PROBE, nth, status));
            error = viommu_fixture_try_add(fixture, ids, 2, &device);
            if (status == VIOMMU_MODEL_S_NOENT) {
                assert_int_equal(error, -PIOMMU_ENOENT);
            } else if (status == VIOMMU_MODEL_S_NOMEM) {
                assert_true(error == -PIOMMU_ENOMEM || error == -PIOMMU_EIO);
            } else {
                assert_int_equal(error, -PIOMMU_EIO);
            }
            assert_int_equal(fake_os_bytes_outstanding(fixture->os), before);
            assert_false(info_of(fixture).failed);
            exercise(fixture);
            viommu_fixture_destroy(fixture);
        }
    }
}

static void test_devices_with_a_common_id_form_a_group(void **state)
{
    struct viommu_fixture *fixture = started_with(VIOMMU_NEED_DETACH);
    const uint32_t first[] = {A, B};
    const uint32_t second[] = {B, C};
    const uint32_t third[] = {STRANGER};
    const uint32_t all[] = {A, B, C, UINT32_MAX};
    struct piommu_device *devices[4] = {NULL};
    struct piommu_domain *domain = viommu_fixture_add_domain(fixture, PIOMMU_DOMAIN_PAGING);
    struct piommu_domain *other = viommu_fixture_add_domain(fixture, PIOMMU_DOMAIN_PAGING);
    struct piommu_group *group;

    (void)state;
    viommu_model_add_endpoint(fixture->model, A, NULL, 0);
    viommu_model_add_endpoint(fixture->model, B, NULL, 0);
    viommu_model_add_endpoint(fixture->model, C, NULL, 0);
    viommu_model_add_endpoint(fixture->model, STRANGER, NULL, 0);
    assert_int_equal(viommu_fixture_try_add(fixture, first, 2, &devices[0]), 0);
    assert_int_equal(viommu_fixture_try_add(fixture, second, 2, &devices[1]), 0);
    assert_int_equal(viommu_fixture_try_add(fixture, third, 1, &devices[2]), 0);
    group = piommu_device_group(devices[0]);
    assert_ptr_equal(group, piommu_device_group(devices[1]));
    assert_ptr_not_equal(group, piommu_device_group(devices[2]));
    assert_int_equal(piommu_device_attach(devices[0], domain), -PIOMMU_EGROUP);
    assert_int_equal(piommu_device_detach(devices[1]), -PIOMMU_EGROUP);
    assert_int_equal(viommu_fixture_count(fixture, VIOMMU_MODEL_ATTACH), 0);
    viommu_fixture_map(fixture, domain, 0x1000, fixture->memory, PAGE, RW, all);
    viommu_fixture_map(fixture, other, 0x1000, fixture->memory + PAGE, PAGE, RW, nobody);
    assert_int_equal(piommu_group_attach(group, domain), 0);
    viommu_fixture_probe_exactly(fixture);
    assert_int_equal(viommu_fixture_count(fixture, VIOMMU_MODEL_ATTACH), 3);
    /* To join now would change what runs. */
    assert_int_equal(viommu_fixture_try_add(fixture, second + 1, 1, &devices[3]), -PIOMMU_EBUSY);
    viommu_fixture_probe_exactly(fixture);
    /* The first device goes, A with it. B stays, for the second one's sake. */
    viommu_fixture_forbid(fixture, A, 0, 0);
    viommu_fixture_allow(fixture, A, 0x1000, fixture->memory, PAGE, RW);
    if (piommu_device_remove(devices[0]) == 0) {
        fixture->devices[0] = NULL;
        viommu_fixture_forbid(fixture, A, 0, 0);
    }
    viommu_fixture_probe_exactly(fixture);
    viommu_fixture_destroy(fixture);
}

/* ---- Mapping ---- */

static void test_a_contiguous_range_is_one_request_and_one_doorbell(void **state)
{
    struct viommu_fixture *fixture = viommu_fixture_started(NULL);
    struct piommu_domain *domain = viommu_fixture_add_domain(fixture, PIOMMU_DOMAIN_PAGING);
    const struct viommu_fixture_request *logged;
    uint64_t before;

    (void)state;
    attach(viommu_fixture_add_device(fixture, A), domain);
    fixture->log_count = 0;
    before = doorbells(fixture);
    viommu_fixture_map(fixture, domain, 0x123000, 0x4567000, 0x1000000, PIOMMU_PROT_READ, only_a);
    assert_int_equal(doorbells(fixture) - before, 1);
    assert_int_equal(viommu_fixture_count(fixture, 0), 1);
    logged = viommu_fixture_logged(fixture, VIOMMU_MODEL_MAP, 0);
    assert_int_equal(logged->request.virt_start, 0x123000);
    assert_int_equal(logged->request.virt_end, 0x1122fff);
    assert_int_equal(logged->request.phys_start, 0x4567000);
    assert_int_equal(logged->request.flags, 1);
    fixture->log_count = 0;
    viommu_fixture_map(fixture, domain, 0x2000000, 0x4567000, PAGE, RW, only_a);
    assert_int_equal(viommu_fixture_logged(fixture, VIOMMU_MODEL_MAP, 0)->request.flags, 3);
    if (offers(fixture, VIOMMU_MODEL_F_MMIO)) {
        fixture->log_count = 0;
        viommu_fixture_map(fixture, domain, 0x3000000, 0x4567000, PAGE, RW | PIOMMU_PROT_DEVICE,
                           only_a);
        assert_int_equal(viommu_fixture_logged(fixture, VIOMMU_MODEL_MAP, 0)->request.flags, 7);
    }
    viommu_fixture_probe_exactly(fixture);
    viommu_fixture_destroy(fixture);
}

static void test_a_list_is_one_request_for_each_run(void **state)
{
    struct viommu_fixture *fixture = viommu_fixture_started(NULL);
    struct piommu_domain *domain = viommu_fixture_add_domain(fixture, PIOMMU_DOMAIN_PAGING);
    const uint64_t base = fixture->memory;
    const struct piommu_segment segments[] = {
        {base, PAGE},
        {base + PAGE, PAGE},
        {base + 2 * PAGE, 2 * PAGE},
        {base + 5 * PAGE, PAGE},
        {base + 4 * PAGE, PAGE},
        {base + 8 * PAGE, PAGE},
        {base + 9 * PAGE, PAGE},
    };
    uint64_t before;
    uint64_t at = 0x10000;

    (void)state;
    attach(viommu_fixture_add_device(fixture, A), domain);
    for (size_t i = 0; i < COUNT(segments); i++) {
        viommu_fixture_allow(fixture, A, at, segments[i].physical, segments[i].size, RW);
        at += segments[i].size;
    }
    fixture->log_count = 0;
    before = doorbells(fixture);
    assert_int_equal(piommu_domain_map_list(domain, 0x10000, segments, COUNT(segments), RW), 0);
    viommu_fixture_probe_exactly(fixture);
    assert_int_equal(doorbells(fixture) - before, 1);
    assert_int_equal(viommu_fixture_count(fixture, VIOMMU_MODEL_MAP), 4);
    assert_int_equal(viommu_fixture_count(fixture, 0), 4);
    assert_int_equal(viommu_fixture_logged(fixture, VIOMMU_MODEL_MAP, 0)->request.virt_end,
                     0x13fff);
    assert_int_equal(viommu_fixture_logged(fixture, VIOMMU_MODEL_MAP, 3)->request.virt_start,
                     0x16000);
    fixture->log_count = 0;
    before = doorbells(fixture);
    viommu_fixture_unmap(fixture, domain, 0x10000, at - 0x10000, nobody);
    viommu_fixture_forbid(fixture, A, 0, 0);
    viommu_fixture_probe(fixture);
    assert_int_equal(doorbells(fixture) - before, 1);
    assert_int_equal(viommu_fixture_count(fixture, VIOMMU_MODEL_UNMAP), 1);
    assert_int_equal(viommu_fixture_count(fixture, 0), 1);
    assert_int_equal(viommu_fixture_logged(fixture, VIOMMU_MODEL_UNMAP, 0)->request.virt_start,
                     0x10000);
    assert_int_equal(viommu_fixture_logged(fixture, VIOMMU_MODEL_UNMAP, 0)->request.virt_end,
                     at - 1);
    viommu_fixture_destroy(fixture);
}

static void test_one_sync_serves_many_unmaps(void **state)
{
    struct viommu_fixture *fixture = viommu_fixture_started(NULL);
    struct piommu_domain *domain = viommu_fixture_add_domain(fixture, PIOMMU_DOMAIN_PAGING);
    struct piommu_gather gather;
    uint64_t before;

    (void)state;
    attach(viommu_fixture_add_device(fixture, A), domain);
    for (uint64_t i = 0; i < 40; i++) {
        viommu_fixture_map(fixture, domain, i * PAGE, fixture->memory + (63 - i) * PAGE, PAGE, RW,
                           only_a);
    }
    viommu_fixture_probe_exactly(fixture);
    fixture->log_count = 0;
    before = doorbells(fixture);
    piommu_gather_init(&gather);
    /* Pages 0 to 29 but 10, backwards. Unmap itself must not wait, nor allocate. */
    fake_os_forbid(fixture->os, FAKE_OS_FORBID_ALLOCATION | FAKE_OS_FORBID_WAIT);
    for (uint64_t i = 30; i-- > 0;) {
        uint64_t unmapped = 0;

        if (i != 10) {
            assert_int_equal(piommu_domain_unmap(domain, i * PAGE, PAGE, &gather, &unmapped), 0);
            assert_int_equal(unmapped, PAGE);
        }
    }
    assert_int_equal(gather.range.first, 0);
    assert_int_equal(gather.range.last, 30 * PAGE - 1);
    fake_os_forbid(fixture->os, FAKE_OS_FORBID_ALLOCATION);
    assert_int_equal(piommu_domain_sync(domain, &gather), 0);
    fake_os_forbid(fixture->os, 0);
    assert_false(gather.pending);
    for (uint64_t i = 0; i < 30; i++) {
        if (i != 10) {
            viommu_fixture_forbid(fixture, A, i * PAGE, PAGE);
        }
    }
    viommu_fixture_probe_exactly(fixture);
    assert_int_equal(doorbells(fixture) - before, 1);
    assert_in_range(viommu_fixture_count(fixture, VIOMMU_MODEL_UNMAP), 1, 29);
    /* An empty gather costs nothing. */
    before = doorbells(fixture);
    assert_int_equal(piommu_domain_sync(domain, &gather), 0);
    assert_int_equal(doorbells(fixture), before);
    viommu_fixture_destroy(fixture);
}

static void test_lists_longer_than_the_ring_work_in_every_mode(void **state)
{
    static struct piommu_segment segments[1000];

    (void)state;
    for (unsigned int mode = 0; mode < 3; mode++) {
        struct viommu_fixture_options options;
        struct viommu_fixture *fixture;
        struct piommu_domain *domain;

        quick_options(&options);
        options.timeout = SECOND; /* for many answers, one at a time */
        options.processing = mode == 0 ? VIOMMU_MODEL_AT_DOORBELL : VIOMMU_MODEL_AT_RUN;
        options.run_per_wait = mode == 1 ? 1 : 50;
        fixture = viommu_fixture_started(&options);
        viommu_model_set_order(fixture->model,
                               mode == 2 ? VIOMMU_MODEL_SHUFFLED : VIOMMU_MODEL_IN_ORDER, 3);
        domain = viommu_fixture_add_domain(fixture, PIOMMU_DOMAIN_PAGING);
        attach(viommu_fixture_add_device(fixture, A), domain);
        for (uint64_t i = 0; i < COUNT(segments); i++) {
            segments[i].physical = 0x100000000ull + 2 * i * PAGE;
            segments[i].size = PAGE;
        }
        viommu_fixture_allow(fixture, A, 0x10000, segments[0].physical, PAGE, RW);
        viommu_fixture_allow(fixture, A, 0x10000 + 500 * PAGE, segments[500].physical, PAGE, RW);
        viommu_fixture_allow(fixture, A, 0x10000 + 999 * PAGE, segments[999].physical, PAGE, RW);
        viommu_fixture_allow(fixture, A, 0x11000, segments[1].physical, PAGE, RW);
        viommu_fixture_allow(fixture, A, 0x10000 + 499 * PAGE, segments[499].physical, PAGE, RW);
        viommu_fixture_allow(fixture, A, 0x10000 + 501 * PAGE, segments[501].physical, PAGE, RW);
        viommu_fixture_allow(fixture, A, 0x10000 + 498 * PAGE, segments[498].physical, PAGE, RW);
        viommu_fixture_allow(fixture, A, 0x10000 + 502 * PAGE, segments[502].physical, PAGE, RW);
        viommu_fixture_allow(fixture, A, 0x10000 + 998 * PAGE, segments[998].physical, PAGE, RW);
        viommu_fixture_allow(fixture, A, 0x12000, segments[2].physical, PAGE, RW);
        viommu_fixture_allow(fixture, A, 0x13000, segments[3].physical, PAGE, RW);
        viommu_fixture_allow(fixture, A, 0x10000 + 997 * PAGE, segments[997].physical, PAGE, RW);
        fixture->paused = true; /* the ends are what matters here */
        assert_int_equal(piommu_domain_map_list(domain, 0x10000, segments, COUNT(segments), RW), 0);
        assert_int_equal(viommu_model_pending(fixture->model), 0);
        assert_int_equal(viommu_fixture_count(fixture, VIOMMU_MODEL_MAP), COUNT(segments));
        for (uint64_t i = 0; i < COUNT(segments); i++) {
            uint64_t physical = 0;

            assert_int_equal(
                viommu_model_translate(fixture->model, A, 0x10000 + i * PAGE, true, &physical),
                VIOMMU_MODEL_MAPPED);
            assert_int_equal(physical, segments[i].physical);
        }
        viommu_fixture_unmap(fixture, domain, 0x10000, COUNT(segments) * PAGE, only_a);
        for (uint64_t i = 0; i < COUNT(segments); i++) {
            assert_int_equal(
                viommu_model_translate(fixture->model, A, 0x10000 + i * PAGE, false, NULL),
                VIOMMU_MODEL_BLOCKED);
        }
        viommu_fixture_destroy(fixture);
    }
}

static void test_mappings_are_replayed_at_the_first_attach(void **state)
{
    struct viommu_fixture *fixture = started_with(VIOMMU_NEED_DETACH);
    struct piommu_domain *domain = viommu_fixture_add_domain(fixture, PIOMMU_DOMAIN_PAGING);
    struct piommu_device *a = viommu_fixture_add_device(fixture, A);
    struct piommu_device *b = viommu_fixture_add_device(fixture, B);
    uint64_t before;

    (void)state;
    before = doorbells(fixture);
    viommu_fixture_map(fixture, domain, 0x1000, fixture->memory, PAGE, RW, only_a);
    viommu_fixture_map(fixture, domain, 0x3000, fixture->memory + PAGE, PAGE, PIOMMU_PROT_READ,
                       only_a);
    viommu_fixture_map(fixture, domain, 0x2000, fixture->memory + 4 * PAGE, PAGE, RW, nobody);
    viommu_fixture_unmap(fixture, domain, 0x2000, PAGE, nobody);
    assert_int_equal(doorbells(fixture), before);
    fixture->log_count = 0;
    attach(a, domain);
    viommu_fixture_probe_exactly(fixture);
    assert_int_equal(viommu_fixture_count(fixture, VIOMMU_MODEL_ATTACH), 1);
    assert_int_equal(viommu_fixture_count(fixture, VIOMMU_MODEL_MAP), 2);
    /* The same again is nothing; a second device needs no replay. */
    fixture->log_count = 0;
    before = doorbells(fixture);
    attach(a, domain);
    assert_int_equal(doorbells(fixture), before);
    viommu_fixture_allow(fixture, B, 0x1000, fixture->memory, PAGE, RW);
    viommu_fixture_allow(fixture, B, 0x3000, fixture->memory + PAGE, PAGE, PIOMMU_PROT_READ);
    attach(b, domain);
    assert_int_equal(viommu_fixture_count(fixture, VIOMMU_MODEL_MAP), 0);
    viommu_fixture_probe_exactly(fixture);
    /* The first leaves, the mappings stay. Both have left: they are gone, and come back. */
    assert_int_equal(piommu_device_detach(a), 0);
    viommu_fixture_forbid(fixture, A, 0, 0);
    viommu_fixture_probe_exactly(fixture);
    assert_int_equal(piommu_device_detach(b), 0);
    assert_int_equal(piommu_device_detach(b), 0);
    viommu_fixture_forbid(fixture, B, 0, 0);
    viommu_fixture_probe_exactly(fixture);
    viommu_fixture_unmap(fixture, domain, 0x1000, PAGE, nobody);
    fixture->log_count = 0;
    viommu_fixture_allow(fixture, B, 0x3000, fixture->memory + PAGE, PAGE, PIOMMU_PROT_READ);
    attach(b, domain);
    viommu_fixture_probe_exactly(fixture);
    assert_int_equal(viommu_fixture_count(fixture, VIOMMU_MODEL_MAP), 1);
    viommu_fixture_destroy(fixture);
}

/* What is unmapped but not synced while the domain empties and fills again must not come back. */
static void test_pending_unmaps_are_not_replayed(void **state)
{
    struct viommu_fixture *fixture = viommu_fixture_started(NULL);
    struct piommu_domain *domain = viommu_fixture_add_domain(fixture, PIOMMU_DOMAIN_PAGING);
    struct piommu_device *a = viommu_fixture_add_device(fixture, A);
    struct piommu_device *b = viommu_fixture_add_device(fixture, B);
    struct piommu_gather gather;

    (void)state;
    attach(a, domain);
    viommu_fixture_map(fixture, domain, 0x1000, fixture->memory, PAGE, RW, only_a);
    viommu_fixture_map(fixture, domain, 0x2000, fixture->memory + PAGE, PAGE, RW, a_and_b);
    piommu_gather_init(&gather);
    assert_int_equal(piommu_domain_unmap(domain, 0x1000, PAGE, &gather, NULL), 0);
    assert_int_equal(piommu_device_detach(a), 0);
    viommu_fixture_forbid(fixture, A, 0, 0);
    viommu_fixture_probe(fixture);
    attach(b, domain);
    viommu_fixture_probe_exactly(fixture);
    expect_no_lookup(domain, 0x1000);
    assert_int_equal(piommu_domain_map(domain, 0x1000, fixture->memory, PAGE, RW), -PIOMMU_EEXIST);
    assert_int_equal(piommu_domain_sync(domain, &gather), 0);
    viommu_fixture_map(fixture, domain, 0x1000, fixture->memory, PAGE, RW, only_b);
    viommu_fixture_probe_exactly(fixture);
    viommu_fixture_destroy(fixture);
}

static void test_a_domain_with_pending_gathers_can_be_destroyed(void **state)
{
    struct viommu_fixture *fixture = viommu_fixture_started(NULL);
    struct piommu_domain *domain = viommu_fixture_add_domain(fixture, PIOMMU_DOMAIN_PAGING);
    struct piommu_device *a = viommu_fixture_add_device(fixture, A);
    struct piommu_gather gathers[2];

    (void)state;
    attach(a, domain);
    viommu_fixture_map(fixture, domain, 0x1000, fixture->memory, PAGE, RW, only_a);
    viommu_fixture_map(fixture, domain, 0x2000, fixture->memory, PAGE, RW, only_a);
    viommu_fixture_map(fixture, domain, 0x3000, fixture->memory, PAGE, RW, only_a);
    for (uint64_t i = 0; i < 2; i++) {
        piommu_gather_init(&gathers[i]);
        assert_int_equal(piommu_domain_unmap(domain, 0x1000 + i * PAGE, PAGE, &gathers[i], NULL),
                         0);
    }
    viommu_fixture_destroy(fixture);
}

static void test_map_refuses_what_makes_no_sense(void **state)
{
    struct viommu_fixture *fixture = viommu_fixture_started(NULL);
    struct piommu_domain *domain = viommu_fixture_add_domain(fixture, PIOMMU_DOMAIN_PAGING);
    struct piommu_domain *identity = viommu_fixture_add_domain(fixture, PIOMMU_DOMAIN_IDENTITY);
    struct piommu_segment segments[] = {{0x90000000, PAGE}, {0x90001000, 0}, {0x90002000, PAGE}};
    struct piommu_translation found;
    struct piommu_gather gather;
    static const piommu_prot inexpressible[] = {
        PIOMMU_PROT_WRITE,
        PIOMMU_PROT_WRITE | PIOMMU_PROT_DEVICE,
        RW | PIOMMU_PROT_EXECUTE,
        RW | PIOMMU_PROT_PRIVILEGED,
        RW | PIOMMU_PROT_NONCACHEABLE,
        PIOMMU_PROT_READ | PIOMMU_PROT_EXECUTE,
    };

    (void)state;
    attach(viommu_fixture_add_device(fixture, A), domain);
    fixture->log_count = 0;
    assert_int_equal(piommu_domain_map(domain, 0x1000, 0x90000000, 0, RW), -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_map(domain, 0x1001, 0x90000000, PAGE, RW), -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_map(domain, 0x1000, 0x90000001, PAGE, RW), -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_map(domain, 0x1000, 0x90000000, PAGE + 1, RW), -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_map(domain, 0x1000, 0x90000000, PAGE, 0), -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_map(domain, 0x1000, 0x90000000, PAGE, PIOMMU_PROT_DEVICE),
                     -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_map(domain, 0x1000, 0x90000000, PAGE, RW | 0x2000),
                     -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_map(domain, 0x1000, 0x90000000, PAGE, RW | 0x80000000u),
                     -PIOMMU_EINVAL);
    for (size_t i = 0; i < COUNT(inexpressible); i++) {
        assert_int_equal(piommu_domain_map(domain, 0x1000, 0x90000000, PAGE, inexpressible[i]),
                         -PIOMMU_EOPNOTSUPP);
    }
    assert_int_equal(piommu_domain_map(domain, 0x1000, 0x90000000, 0 - PAGE, RW), -PIOMMU_ERANGE);
    assert_int_equal(piommu_domain_map(domain, 0 - PAGE, 0x90000000, 2 * PAGE, RW), -PIOMMU_ERANGE);
    assert_int_equal(piommu_domain_map(domain, 0x1000, 0 - PAGE, 2 * PAGE, RW), -PIOMMU_ERANGE);
    assert_int_equal(piommu_domain_map_list(domain, 0x1000, segments, 3, RW), -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_map_list(domain, 0x1000, segments, 0, RW), -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_map_list(domain, 0x1000, NULL, 1, RW), -PIOMMU_EINVAL);
    segments[1].size = 0 - 2 * PAGE;
    assert_int_equal(piommu_domain_map_list(domain, 0x1000, segments, 3, RW), -PIOMMU_ERANGE);
    segments[1].physical = 0;
    assert_int_equal(piommu_domain_map_list(domain, 0x1000, segments, 3, RW), -PIOMMU_ERANGE);
    assert_int_equal(piommu_domain_map(NULL, 0x1000, 0x90000000, PAGE, RW), -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_map(identity, 0x1000, 0x90000000, PAGE, RW), -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_lookup(identity, 0x1000, &found), -PIOMMU_EINVAL);
    piommu_gather_init(&gather);
    assert_int_equal(piommu_domain_unmap(domain, 0x1000, 0, &gather, NULL), -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_unmap(domain, 0x1001, PAGE, &gather, NULL), -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_unmap(domain, 0x1000, PAGE, NULL, NULL), -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_unmap(domain, 0x1000, PAGE, &gather, NULL), -PIOMMU_ENOENT);
    assert_int_equal(piommu_domain_unmap(domain, 0 - PAGE, 2 * PAGE, &gather, NULL),
                     -PIOMMU_ERANGE);
    assert_int_equal(piommu_domain_unmap(identity, 0x1000, PAGE, &gather, NULL), -PIOMMU_EINVAL);
    assert_false(gather.pending);
    assert_int_equal(viommu_fixture_count(fixture, 0), 0);
    expect_no_lookup(domain, 0x1000);
    viommu_fixture_destroy(fixture);
}

static void test_the_ends_of_the_space_can_be_mapped(void **state)
{
    struct viommu_fixture *fixture = started_with(VIOMMU_NEED_TOP);
    struct piommu_domain *domain = viommu_fixture_add_domain(fixture, PIOMMU_DOMAIN_PAGING);

    (void)state;
    attach(viommu_fixture_add_device(fixture, A), domain);
    viommu_fixture_map(fixture, domain, 0, fixture->memory, PAGE, RW, only_a);
    viommu_fixture_map(fixture, domain, 0 - PAGE, fixture->memory + PAGE, PAGE, RW, only_a);
    viommu_fixture_map(fixture, domain, 1ull << 63, 1ull << 40, 1ull << 62, PIOMMU_PROT_READ,
                       only_a);
    viommu_fixture_map(fixture, domain, 0x5000, 0 - PAGE, PAGE, PIOMMU_PROT_READ, only_a);
    viommu_fixture_probe_exactly(fixture);
    expect_lookup(domain, UINT64_MAX, fixture->memory + 2 * PAGE - 1, RW);
    expect_lookup(domain, (1ull << 63) + 5, (1ull << 40) + 5, PIOMMU_PROT_READ);
    viommu_fixture_unmap(fixture, domain, 0 - PAGE, PAGE, only_a);
    viommu_fixture_unmap(fixture, domain, 0, PAGE, only_a);
    viommu_fixture_unmap(fixture, domain, 1ull << 63, 1ull << 62, only_a);
    viommu_fixture_probe_exactly(fixture);
    viommu_fixture_destroy(fixture);
}

static void test_mappings_cannot_be_cut_or_mapped_over(void **state)
{
    struct viommu_fixture *fixture = viommu_fixture_started(NULL);
    struct piommu_domain *domain = viommu_fixture_add_domain(fixture, PIOMMU_DOMAIN_PAGING);
    struct piommu_translation found;
    struct piommu_gather gather;
    uint64_t unmapped = 0;

    (void)state;
    attach(viommu_fixture_add_device(fixture, A), domain);
    viommu_fixture_map(fixture, domain, 0x10000, fixture->memory, 4 * PAGE, RW, only_a);
    viommu_fixture_map(fixture, domain, 0x16000, fixture->memory + 8 * PAGE, 2 * PAGE, RW, only_a);
    piommu_gather_init(&gather);
    fixture->log_count = 0;
    assert_int_equal(piommu_domain_unmap(domain, 0x10000, PAGE, &gather, NULL), -PIOMMU_ECUT);
    assert_int_equal(piommu_domain_unmap(domain, 0x13000, PAGE, &gather, NULL), -PIOMMU_ECUT);
    assert_int_equal(piommu_domain_unmap(domain, 0x11000, PAGE, &gather, NULL), -PIOMMU_ECUT);
    assert_int_equal(piommu_domain_unmap(domain, 0xf000, 2 * PAGE, &gather, NULL), -PIOMMU_ECUT);
    assert_int_equal(piommu_domain_unmap(domain, 0x13000, 6 * PAGE, &gather, NULL), -PIOMMU_ECUT);
    assert_int_equal(piommu_domain_unmap(domain, 0x10000, 7 * PAGE, &gather, NULL), -PIOMMU_ECUT);
    assert_false(gather.pending);
    assert_int_equal(piommu_domain_map(domain, 0x13000, 0x90000000, 2 * PAGE, RW), -PIOMMU_EEXIST);
    assert_int_equal(piommu_domain_map(domain, 0xf000, 0x90000000, 2 * PAGE, RW), -PIOMMU_EEXIST);
    assert_int_equal(piommu_domain_map(domain, 0x11000, 0x90000000, PAGE, RW), -PIOMMU_EEXIST);
    assert_int_equal(piommu_domain_map(domain, 0, 0x90000000, 0x100000, RW), -PIOMMU_EEXIST);
    assert_int_equal(viommu_fixture_count(fixture, 0), 0);
    viommu_fixture_probe_exactly(fixture);
    expect_lookup(domain, 0x12345, fixture->memory + 0x2345, RW);
    assert_int_equal(piommu_domain_lookup(domain, 0x12345, &found), 0);
    assert_int_equal(found.leaf_size, 4 * PAGE);
    expect_no_lookup(domain, 0x14000);
    expect_no_lookup(domain, 0xffff);
    /* Both at once, with the hole. */
    assert_int_equal(piommu_domain_unmap(domain, 0xe000, 0x10000, &gather, &unmapped), 0);
    assert_int_equal(unmapped, 6 * PAGE);
    assert_true(gather.range.first <= 0x10000 && gather.range.last >= 0x17fff);
    expect_no_lookup(domain, 0x12345);
    assert_int_equal(piommu_domain_unmap(domain, 0x10000, 4 * PAGE, &gather, NULL), -PIOMMU_ENOENT);
    assert_int_equal(piommu_domain_map(domain, 0x10000, 0x90000000, PAGE, RW), -PIOMMU_EEXIST);
    assert_int_equal(piommu_domain_map(domain, 0x17000, 0x90000000, PAGE, RW), -PIOMMU_EEXIST);
    viommu_fixture_map(fixture, domain, 0x14000, fixture->memory + 20 * PAGE, PAGE, RW, only_a);
    assert_int_equal(piommu_domain_sync(domain, &gather), 0);
    viommu_fixture_forbid(fixture, A, 0x10000, 4 * PAGE);
    viommu_fixture_forbid(fixture, A, 0x16000, 2 * PAGE);
    viommu_fixture_probe_exactly(fixture);
    viommu_fixture_map(fixture, domain, 0x10000, fixture->memory + 30 * PAGE, 4 * PAGE, RW, only_a);
    viommu_fixture_probe_exactly(fixture);
    viommu_fixture_destroy(fixture);
}

static void test_reserved_regions_cannot_be_mapped(void **state)
{
    struct viommu_fixture *fixture = started_with_probe();
    const struct viommu_model_region regions[] = {
        {.start = 0x8000800, .end = 0x80fffff, .subtype = 1},
        {.start = 0x10000000, .end = 0x10000000, .subtype = 0},
    };
    struct piommu_domain *domain = viommu_fixture_add_domain(fixture, PIOMMU_DOMAIN_PAGING);
    struct piommu_domain *other = viommu_fixture_add_domain(fixture, PIOMMU_DOMAIN_PAGING);
    struct piommu_device *device = NULL;
    struct piommu_segment segments[] = {{0x90000000, PAGE}, {0x90002000, PAGE}};
    const uint32_t id = A;

    (void)state;
    viommu_model_add_endpoint(fixture->model, A, regions, COUNT(regions));
    assert_int_equal(viommu_fixture_try_add(fixture, &id, 1, &device), 0);
    attach(device, domain);
    fixture->log_count = 0;
    assert_int_equal(piommu_domain_map(domain, 0x8000000, 0x90000000, PAGE, RW), -PIOMMU_ERESERVED);
    assert_int_equal(piommu_domain_map(domain, 0x80ff000, 0x90000000, 2 * PAGE, RW),
                     -PIOMMU_ERESERVED);
    assert_int_equal(piommu_domain_map(domain, 0x7000000, 0x90000000, 0x2000000, RW),
                     -PIOMMU_ERESERVED);
    assert_int_equal(piommu_domain_map(domain, 0x10000000, 0x90000000, PAGE, RW),
                     -PIOMMU_ERESERVED);
    assert_int_equal(piommu_domain_map_list(domain, 0xffff000, segments, 2, RW), -PIOMMU_ERESERVED);
    assert_int_equal(viommu_fixture_count(fixture, 0), 0);
    viommu_fixture_map(fixture, domain, 0x7fff000, 0x90000000, PAGE, RW, only_a);
    viommu_fixture_map(fixture, domain, 0x8100000, 0x90000000, PAGE, RW, only_a);
    viommu_fixture_map(fixture, domain, 0x10001000, 0x90000000, PAGE, RW, only_a);
    viommu_fixture_probe_exactly(fixture);
    /* In a domain without the device nothing speaks against it, until the device comes. */
    viommu_fixture_map(fixture, other, 0x10000000, 0x90000000, PAGE, RW, nobody);
    assert_int_equal(piommu_device_attach(device, other), -PIOMMU_ERESERVED);
    viommu_fixture_probe_exactly(fixture);
    viommu_fixture_unmap(fixture, other, 0x10000000, PAGE, nobody);
    attach(device, other);
    viommu_fixture_forbid(fixture, A, 0, 0);
    viommu_fixture_probe(fixture);
    /* With the device gone again it may be mapped. */
    assert_int_equal(piommu_domain_map(other, 0x10000000, 0x90000000, PAGE, RW), -PIOMMU_ERESERVED);
    assert_int_equal(piommu_device_detach(device), 0);
    viommu_fixture_map(fixture, other, 0x10000000, 0x90000000, PAGE, RW, nobody);
    viommu_fixture_destroy(fixture);
}

static void test_domains_of_other_instances_are_refused(void **state)
{
    struct viommu_fixture *fixture = viommu_fixture_started(NULL);
    struct viommu_fixture *other = viommu_fixture_started(NULL);
    struct piommu_device *device = viommu_fixture_add_device(fixture, A);

    (void)state;
    assert_int_equal(
        piommu_device_attach(device, viommu_fixture_add_domain(other, PIOMMU_DOMAIN_PAGING)),
        -PIOMMU_EMIXED);
    viommu_fixture_probe(fixture);
    viommu_fixture_destroy(other);
    viommu_fixture_destroy(fixture);
}

static void test_identity_is_an_explicit_grant(void **state)
{
    (void)state;
    for (unsigned int leave = 0; leave < 2; leave++) {
        struct viommu_fixture_options options;
        struct viommu_fixture *fixture;
        struct piommu_domain *identity;
        struct piommu_domain *paging;
        struct piommu_domain *blocked;
        struct piommu_device *a;

        quick_options(&options);
        options.unknown_ids = leave != 0 ? PIOMMU_UNKNOWN_IDS_LEAVE : PIOMMU_UNKNOWN_IDS_BLOCK;
        fixture = viommu_fixture_started(&options);
        identity = viommu_fixture_add_domain(fixture, PIOMMU_DOMAIN_IDENTITY);
        paging = viommu_fixture_add_domain(fixture, PIOMMU_DOMAIN_PAGING);
        blocked = viommu_fixture_add_domain(fixture, PIOMMU_DOMAIN_BLOCKED);
        a = viommu_fixture_add_device(fixture, A);
        viommu_fixture_add_device(fixture, B);
        viommu_fixture_map(fixture, paging, 0x1000, fixture->memory, PAGE, RW, nobody);
        viommu_fixture_allow_identity(fixture, A);
        attach(a, identity);
        viommu_fixture_probe_exactly(fixture);
        viommu_fixture_allow(fixture, A, 0x1000, fixture->memory, PAGE, RW);
        attach(a, paging);
        viommu_fixture_forbid(fixture, A, 0, 0);
        viommu_fixture_allow(fixture, A, 0x1000, fixture->memory, PAGE, RW);
        viommu_fixture_probe_exactly(fixture);
        viommu_fixture_allow_identity(fixture, A);
        attach(a, identity);
        viommu_fixture_forbid(fixture, A, 0x1000, PAGE);
        viommu_fixture_probe_exactly(fixture);
        attach(a, blocked);
        viommu_fixture_forbid(fixture, A, 0, 0);
        viommu_fixture_probe(fixture);
        viommu_fixture_allow_identity(fixture, A);
        attach(a, identity);
        assert_int_equal(piommu_device_detach(a), 0);
        viommu_fixture_forbid(fixture, A, 0, 0);
        viommu_fixture_probe(fixture);
        viommu_fixture_destroy(fixture);
    }
}

static void test_domains_that_make_no_sense_are_refused(void **state)
{
    struct viommu_fixture *fixture = viommu_fixture_started(NULL);
    struct piommu_domain_config config = {
        .type = (enum piommu_domain_type)77, .instances = &fixture->instance, .instance_count = 1};
    struct piommu_domain *domain = NULL;

    (void)state;
    assert_int_equal(piommu_domain_create(&config, &domain), -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_create(NULL, &domain), -PIOMMU_EINVAL);
    assert_null(domain);
    viommu_fixture_destroy(fixture);
}

static void test_statistics_count(void **state)
{
    struct viommu_fixture *fixture = viommu_fixture_started(NULL);
    struct piommu_domain *domain = viommu_fixture_add_domain(fixture, PIOMMU_DOMAIN_PAGING);
    struct piommu_domain_statistics statistics;

    (void)state;
    attach(viommu_fixture_add_device(fixture, A), domain);
    attach(viommu_fixture_add_device(fixture, B), domain);
    viommu_fixture_map(fixture, domain, 0x1000, fixture->memory, 3 * PAGE, RW, a_and_b);
    viommu_fixture_map(fixture, domain, 0x8000, fixture->memory, PAGE, RW, a_and_b);
    assert_int_equal(piommu_domain_map(domain, 0x8000, fixture->memory, PAGE, RW), -PIOMMU_EEXIST);
    viommu_fixture_unmap(fixture, domain, 0x8000, PAGE, a_and_b);
    piommu_domain_get_statistics(domain, &statistics);
    assert_int_equal(statistics.maps, 2);
    assert_int_equal(statistics.unmaps, 1);
    assert_int_equal(statistics.syncs, 1);
    assert_int_equal(statistics.mapped, 3 * PAGE);
    assert_int_equal(statistics.endpoints, 2);
    viommu_fixture_destroy(fixture);
}

/* Whoever may only read must not write, and the other way round. */
static void test_read_only_is_read_only(void **state)
{
    struct viommu_fixture *fixture = viommu_fixture_started(NULL);
    struct piommu_domain *domain = viommu_fixture_add_domain(fixture, PIOMMU_DOMAIN_PAGING);
    uint8_t byte = 0x42;

    (void)state;
    attach(viommu_fixture_add_device(fixture, A), domain);
    viommu_fixture_map(fixture, domain, 0x1000, fixture->memory, PAGE, PIOMMU_PROT_READ, only_a);
    assert_int_equal(viommu_model_dma(fixture->model, A, 0x1000, &byte, 1, true), 0);
    assert_int_equal(viommu_model_dma(fixture->model, A, 0x1000, &byte, 1, false), 1);
    viommu_fixture_destroy(fixture);
}

static void test_devices_that_cannot_move_are_moved_or_left(void **state)
{
    (void)state;
    for (unsigned int leave = 0; leave < 2; leave++) {
        struct viommu_fixture_options options;
        struct viommu_fixture *fixture;
        struct piommu_domain *domains[2];
        struct piommu_device *a;
        int error;

        quick_options(&options);
        options.unknown_ids = leave != 0 ? PIOMMU_UNKNOWN_IDS_LEAVE : PIOMMU_UNKNOWN_IDS_BLOCK;
        options.model.no_move = true;
        fixture = viommu_fixture_started(&options);
        domains[0] = viommu_fixture_add_domain(fixture, PIOMMU_DOMAIN_PAGING);
        domains[1] = viommu_fixture_add_domain(fixture, PIOMMU_DOMAIN_PAGING);
        a = viommu_fixture_add_device(fixture, A);
        viommu_fixture_map(fixture, domains[0], 0x1000, fixture->memory, PAGE, RW, only_a);
        error = piommu_device_attach(a, domains[0]);
        if (leave == 0) {
            /* Blocked by the bypass byte alone, so DETACH is safe. */
            assert_int_equal(error, 0);
            viommu_fixture_probe_exactly(fixture);
            viommu_fixture_map(fixture, domains[1], 0x1000, fixture->memory + PAGE, PAGE, RW,
                               only_a);
            assert_int_equal(piommu_device_attach(a, domains[1]), 0);
            viommu_fixture_forbid(fixture, A, 0, 0);
            viommu_fixture_allow(fixture, A, 0x1000, fixture->memory + PAGE, PAGE, RW);
            viommu_fixture_probe_exactly(fixture);
            assert_int_equal(piommu_device_detach(a), 0);
            viommu_fixture_forbid(fixture, A, 0, 0);
            viommu_fixture_probe_exactly(fixture);
        } else if (error != 0) {
            /* There a DETACH would open everything. */
            viommu_fixture_forbid(fixture, A, 0, 0);
            viommu_fixture_probe(fixture);
        }
        viommu_model_counters(fixture->model);
        viommu_fixture_destroy(fixture);
    }
}

static void test_a_second_endpoint_may_be_refused(void **state)
{
    struct viommu_fixture_options options;
    struct viommu_fixture *fixture;
    struct piommu_domain *domain;
    struct piommu_domain *other;
    struct piommu_device *b;

    (void)state;
    quick_options(&options);
    options.model.one_endpoint = true;
    fixture = viommu_fixture_started(&options);
    domain = viommu_fixture_add_domain(fixture, PIOMMU_DOMAIN_PAGING);
    other = viommu_fixture_add_domain(fixture, PIOMMU_DOMAIN_PAGING);
    attach(viommu_fixture_add_device(fixture, A), domain);
    b = viommu_fixture_add_device(fixture, B);
    viommu_fixture_map(fixture, domain, 0x1000, fixture->memory, PAGE, RW, only_a);
    assert_int_equal(piommu_device_attach(b, domain), -PIOMMU_EOPNOTSUPP);
    viommu_fixture_probe_exactly(fixture);
    viommu_fixture_map(fixture, other, 0x2000, fixture->memory + PAGE, PAGE, RW, only_b);
    attach(b, other);
    viommu_fixture_probe_exactly(fixture);
    assert_int_equal(piommu_device_attach(b, domain), -PIOMMU_EOPNOTSUPP);
    viommu_fixture_probe_exactly(fixture);
    viommu_fixture_destroy(fixture);
}

static void test_a_full_device_says_so(void **state)
{
    struct viommu_fixture_options options;
    struct viommu_fixture *fixture;
    struct piommu_domain *domain;
    struct piommu_segment segments[8];

    (void)state;
    quick_options(&options);
    options.model.max_mappings = 5;
    fixture = viommu_fixture_started(&options);
    domain = viommu_fixture_add_domain(fixture, PIOMMU_DOMAIN_PAGING);
    attach(viommu_fixture_add_device(fixture, A), domain);
    viommu_fixture_map(fixture, domain, 0x100000, fixture->memory, PAGE, RW, only_a);
    for (size_t i = 0; i < 8; i++) {
        segments[i] = (struct piommu_segment){fixture->memory + (2 * i + 2) * PAGE, PAGE};
        viommu_fixture_allow(fixture, A, 0x1000 + i * PAGE, segments[i].physical, PAGE, RW);
    }
    assert_int_equal(piommu_domain_map_list(domain, 0x1000, segments, 8, RW), -PIOMMU_ENOMEM);
    for (size_t i = 0; i < 8; i++) {
        viommu_fixture_forbid(fixture, A, 0x1000 + i * PAGE, PAGE);
        expect_no_lookup(domain, 0x1000 + i * PAGE);
    }
    viommu_fixture_probe_exactly(fixture);
    assert_int_equal(viommu_model_mapping_count(
                         fixture->model, fixture->log[fixture->log_count - 1].request.domain),
                     1);
    assert_false(info_of(fixture).failed);
    for (uint64_t i = 0; i < 4; i++) {
        viommu_fixture_map(fixture, domain, 0x1000 + i * PAGE, segments[i].physical, PAGE, RW,
                           only_a);
    }
    viommu_fixture_probe_exactly(fixture);
    viommu_fixture_destroy(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_start_tells_what_the_device_can_do),
        cmocka_unit_test(test_start_works_with_every_set_of_optional_features),
        cmocka_unit_test(test_start_refuses_devices_without_what_it_needs),
        cmocka_unit_test(test_start_refuses_configurations_that_lie),
        cmocka_unit_test(test_start_survives_hostile_transports),
        cmocka_unit_test(test_start_with_the_smallest_rings_works),
        cmocka_unit_test(test_start_finds_no_device_elsewhere),
        cmocka_unit_test(test_start_survives_each_failure_of_the_host),
        cmocka_unit_test(test_bypass_follows_the_policy),
        cmocka_unit_test(test_large_granules_are_obeyed),
        cmocka_unit_test(test_a_granule_of_one_byte_never_leads_to_an_illegal_request),
        cmocka_unit_test(test_ragged_input_ranges_are_rounded_inwards),
        cmocka_unit_test(test_tiny_domain_ranges_are_kept_to),
        cmocka_unit_test(test_domain_numbers_run_out_and_come_back),
        cmocka_unit_test(test_a_context_and_an_instance_in_use_stay),
        cmocka_unit_test(test_an_instance_can_be_started_again),
        cmocka_unit_test(test_probe_is_asked_once_for_each_id),
        cmocka_unit_test(test_add_refuses_malformed_configurations),
        cmocka_unit_test(test_add_of_an_unknown_id_changes_nothing),
        cmocka_unit_test(test_add_without_probe_finds_out_in_time),
        cmocka_unit_test(test_reserved_regions_are_told),
        cmocka_unit_test(test_probe_properties_that_lie_are_refused),
        cmocka_unit_test(test_probe_properties_are_read_byte_by_byte),
        cmocka_unit_test(test_probe_may_fill_its_answer_to_the_last_byte),
        cmocka_unit_test(test_whole_space_reserved_leaves_nothing_to_map),
        cmocka_unit_test(test_random_probe_answers_do_no_harm),
        cmocka_unit_test(test_probe_answers_with_errors_are_passed_on),
        cmocka_unit_test(test_devices_with_a_common_id_form_a_group),
        cmocka_unit_test(test_a_contiguous_range_is_one_request_and_one_doorbell),
        cmocka_unit_test(test_a_list_is_one_request_for_each_run),
        cmocka_unit_test(test_one_sync_serves_many_unmaps),
        cmocka_unit_test(test_lists_longer_than_the_ring_work_in_every_mode),
        cmocka_unit_test(test_mappings_are_replayed_at_the_first_attach),
        cmocka_unit_test(test_pending_unmaps_are_not_replayed),
        cmocka_unit_test(test_a_domain_with_pending_gathers_can_be_destroyed),
        cmocka_unit_test(test_map_refuses_what_makes_no_sense),
        cmocka_unit_test(test_the_ends_of_the_space_can_be_mapped),
        cmocka_unit_test(test_mappings_cannot_be_cut_or_mapped_over),
        cmocka_unit_test(test_reserved_regions_cannot_be_mapped),
        cmocka_unit_test(test_domains_of_other_instances_are_refused),
        cmocka_unit_test(test_identity_is_an_explicit_grant),
        cmocka_unit_test(test_domains_that_make_no_sense_are_refused),
        cmocka_unit_test(test_statistics_count),
        cmocka_unit_test(test_read_only_is_read_only),
        cmocka_unit_test(test_devices_that_cannot_move_are_moved_or_left),
        cmocka_unit_test(test_a_second_endpoint_may_be_refused),
        cmocka_unit_test(test_a_full_device_says_so),
    };

    return viommu_fixture_run("virtio_iommu", tests, COUNT(tests));
}
