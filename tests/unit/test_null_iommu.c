/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* The backend without hardware: what it says of itself, a life under the core, and failures. */

#include "fake_os.h"

#include <piommu/null-iommu.h>
#include <piommu/piommu.h>

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#define RW     (PIOMMU_PROT_READ | PIOMMU_PROT_WRITE)
#define PAGE   0x1000ull
#define IOVA   0x10000ull
#define MEMORY 0x900000000ull

struct fixture {
    struct fake_os *os;
    struct piommu_context *context;
    struct piommu_instance *instance;
    struct piommu_device *device;
    struct piommu_domain *domain;
};

static void set_up(struct fixture *fixture)
{
    fixture->os = fake_os_create(NULL);
    fixture->instance = NULL;
    fixture->device = NULL;
    fixture->domain = NULL;
    assert_int_equal(piommu_context_create(fake_os_host(fixture->os), NULL, &fixture->context), 0);
}

static void tear_down(struct fixture *fixture)
{
    assert_int_equal(piommu_device_remove(fixture->device), 0);
    assert_int_equal(piommu_domain_destroy(fixture->domain), 0);
    assert_int_equal(piommu_instance_destroy(fixture->instance), 0);
    assert_int_equal(piommu_context_destroy(fixture->context), 0);
    fake_os_destroy(fixture->os);
}

static int create_instance(struct fixture *fixture, const struct piommu_null_iommu_config *config)
{
    return piommu_instance_create(fixture->context, piommu_null_iommu_backend(), config, NULL,
                                  &fixture->instance);
}

static int add_device(struct fixture *fixture)
{
    const struct piommu_device_id id = {.instance = fixture->instance, .id = 7};
    const struct piommu_device_config config = {.ids = &id, .id_count = 1};

    return piommu_device_add(fixture->context, &config, &fixture->device);
}

static int create_domain(struct fixture *fixture, enum piommu_domain_type type)
{
    const struct piommu_domain_config config = {
        .type = type, .instances = &fixture->instance, .instance_count = 1};

    return piommu_domain_create(&config, &fixture->domain);
}

/* An instance with a device in a domain of a type. */
static void attach_to(struct fixture *fixture, enum piommu_domain_type type)
{
    assert_int_equal(create_instance(fixture, NULL), 0);
    assert_int_equal(add_device(fixture), 0);
    assert_int_equal(create_domain(fixture, type), 0);
    assert_int_equal(piommu_group_attach(piommu_device_group(fixture->device), fixture->domain), 0);
}

static void detach(struct fixture *fixture)
{
    assert_int_equal(piommu_group_detach(piommu_device_group(fixture->device)), 0);
}

static void test_it_says_what_it_can(void **state)
{
    static const struct {
        uint8_t input_bits;
        uint64_t last;
    } cases[] = {{0, 0xffffffffffff}, {12, 0xfff}, {39, 0x7fffffffff}, {64, UINT64_MAX}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct piommu_null_iommu_config config = {.input_bits = cases[i].input_bits};
        struct piommu_instance_info info;
        struct fixture fixture;

        set_up(&fixture);
        assert_int_equal(create_instance(&fixture, &config), 0);
        piommu_instance_get_info(fixture.instance, &info);
        assert_string_equal(info.name, "null-iommu");
        assert_int_equal(info.aperture.first, 0);
        assert_int_equal(info.aperture.last, cases[i].last);
        assert_int_equal(info.granule, PAGE);
        assert_false(info.tables);
        assert_true(info.identity && info.suspend && info.write_only && info.atomic_switch);
        tear_down(&fixture);
    }
}

static void test_it_refuses_other_widths(void **state)
{
    static const uint8_t widths[] = {1, 11, 65, 255};

    (void)state;
    for (size_t i = 0; i < sizeof(widths); i++) {
        const struct piommu_null_iommu_config config = {.input_bits = widths[i]};
        struct fixture fixture;

        set_up(&fixture);
        assert_int_equal(create_instance(&fixture, &config), -PIOMMU_EINVAL);
        tear_down(&fixture);
    }
}

static void test_what_is_mapped_is_known(void **state)
{
    struct piommu_translation translation;
    struct piommu_gather gather;
    struct fixture fixture;
    uint64_t unmapped = 0;

    (void)state;
    set_up(&fixture);
    attach_to(&fixture, PIOMMU_DOMAIN_PAGING);
    assert_int_equal(piommu_domain_map(fixture.domain, IOVA, MEMORY, 4 * PAGE, RW), 0);
    assert_int_equal(piommu_domain_lookup(fixture.domain, IOVA + PAGE + 5, &translation), 0);
    assert_int_equal(translation.physical, MEMORY + PAGE + 5);
    assert_int_equal(piommu_domain_map(fixture.domain, IOVA, MEMORY, PAGE, RW), -PIOMMU_EEXIST);
    piommu_gather_init(&gather);
    assert_int_equal(piommu_domain_unmap(fixture.domain, IOVA, 4 * PAGE, &gather, &unmapped), 0);
    assert_int_equal(unmapped, 4 * PAGE);
    assert_int_equal(piommu_domain_sync(fixture.domain, &gather), 0);
    assert_int_equal(piommu_domain_lookup(fixture.domain, IOVA, &translation), -PIOMMU_ENOENT);
    detach(&fixture);
    tear_down(&fixture);
}

static void test_it_sleeps_and_wakes(void **state)
{
    struct fixture fixture;

    (void)state;
    set_up(&fixture);
    attach_to(&fixture, PIOMMU_DOMAIN_PAGING);
    assert_int_equal(piommu_domain_map(fixture.domain, IOVA, MEMORY, PAGE, RW), 0);
    assert_int_equal(piommu_instance_suspend(fixture.instance), 0);
    assert_int_equal(piommu_instance_resume(fixture.instance), 0);
    assert_int_equal(piommu_instance_service(fixture.instance, 10), 0);
    detach(&fixture);
    tear_down(&fixture);
}

static void test_identity(void **state)
{
    struct fixture fixture;

    (void)state;
    set_up(&fixture);
    attach_to(&fixture, PIOMMU_DOMAIN_IDENTITY);
    detach(&fixture);
    tear_down(&fixture);
}

/* A whole life in which one call of the host fails; false: all were made. */
static bool live_with_failure(uint64_t nth)
{
    struct fake_os_counters before;
    struct fake_os_counters after;
    struct fixture fixture;
    bool attached = false;

    set_up(&fixture);
    fake_os_get_counters(fixture.os, &before);
    fake_os_fail_call(fixture.os, nth, false);
    if (create_instance(&fixture, NULL) == 0 && add_device(&fixture) == 0 &&
        create_domain(&fixture, PIOMMU_DOMAIN_PAGING) == 0) {
        attached = piommu_group_attach(piommu_device_group(fixture.device), fixture.domain) == 0;
    }
    fake_os_fail_call(fixture.os, 0, false);
    fake_os_get_counters(fixture.os, &after);
    if (attached) {
        detach(&fixture);
    }
    tear_down(&fixture);
    return after.fallible_calls - before.fallible_calls >= nth;
}

static void test_a_failure_leaves_nothing_behind(void **state)
{
    uint64_t nth = 1;

    (void)state;
    while (live_with_failure(nth)) {
        nth++;
    }
    /* An object each for the unit, the endpoint and the domain, besides those of the core. */
    assert_true(nth > 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_says_what_it_can),
        cmocka_unit_test(test_it_refuses_other_widths),
        cmocka_unit_test(test_what_is_mapped_is_known),
        cmocka_unit_test(test_it_sleeps_and_wakes),
        cmocka_unit_test(test_identity),
        cmocka_unit_test(test_a_failure_leaves_nothing_behind),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
