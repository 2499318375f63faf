/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * What a library refuses that was built without something, and what works all the same. Compiled
 * with the macros of lib/base/options.h that the library was, and linked with the fixture of the
 * tests.
 */

#include "fake_os.h"
#include "mock_backend.h"
#include "viommu_fixture.h"

#include <piommu/post.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../../lib/base/options.h"

#define PAGE 0x1000u
#define RW   (PIOMMU_PROT_READ | PIOMMU_PROT_WRITE)
#define ID   7u

/* What a call returns that works, or if it was left out. */
#define IF_BUILT(option) ((option) != 0 ? 0 : -PIOMMU_EOPNOTSUPP)

static void mmio_options(struct viommu_fixture_options *options)
{
    viommu_fixture_default_options(options);
    options->model.transport = VIOMMU_MODEL_MMIO;
}

static void pci_options(struct viommu_fixture_options *options)
{
    viommu_fixture_default_options(options);
    options->model.transport = VIOMMU_MODEL_PCI;
}

/* With a transport that is built. */
static void built_options(struct viommu_fixture_options *options)
{
    if (PIOMMU_VIRTIO_WITH_MMIO) {
        mmio_options(options);
    } else {
        pci_options(options);
    }
}

static struct viommu_fixture *started(void)
{
    struct viommu_fixture_options options;

    built_options(&options);
    return viommu_fixture_started(&options);
}

static void expect_start(const struct viommu_fixture_options *options, int error)
{
    struct viommu_fixture *fixture = viommu_fixture_create(options);

    assert_int_equal(viommu_fixture_start(fixture), error);
    if (error != 0) {
        fixture->instance = NULL;
    }
    viommu_fixture_destroy(fixture);
}

static void test_a_transport_that_is_not_built_is_refused(void **state)
{
    struct viommu_fixture_options options;

    (void)state;
    mmio_options(&options);
    expect_start(&options, IF_BUILT(PIOMMU_VIRTIO_WITH_MMIO));
    pci_options(&options);
    expect_start(&options, IF_BUILT(PIOMMU_VIRTIO_WITH_PCI));
}

static void test_packed_rings_are_agreed_on_only_if_they_are_built(void **state)
{
    struct viommu_fixture_options options;
    struct viommu_fixture *fixture;
    struct piommu_device *device;

    (void)state;
    built_options(&options);
    options.model.offered_features |= VIOMMU_MODEL_F_RING_PACKED;
    fixture = viommu_fixture_started(&options);
    assert_int_equal(
        (viommu_model_accepted_features(fixture->model) & VIOMMU_MODEL_F_RING_PACKED) != 0,
        PIOMMU_VIRTIO_WITH_PACKED);
    device = viommu_fixture_add_device(fixture, ID);
    viommu_fixture_remove_device(fixture, device);
    viommu_fixture_destroy(fixture);
}

static void on_trace(void *cookie, const struct piommu_event *event)
{
    (void)cookie;
    (void)event;
}

static void test_a_trace_is_refused_if_there_are_no_events(void **state)
{
    struct fake_os *os = fake_os_create(NULL);
    struct piommu_context_config config = {.trace = on_trace};
    struct piommu_context *context = NULL;

    (void)state;
    assert_int_equal(piommu_context_create(fake_os_host(os), &config, &context),
                     IF_BUILT(PIOMMU_CORE_WITH_TRACE));
    assert_int_equal(piommu_context_destroy(context), 0);
    fake_os_destroy(os);
}

static void create_mock(struct piommu_context *context, struct fake_os *os,
                        enum piommu_backend_kind kind, int error)
{
    struct mock *mock = mock_create(os, kind);
    struct piommu_instance *instance = NULL;

    assert_int_equal(piommu_instance_create(context, mock_backend(mock), &mock, NULL, &instance),
                     error);
    assert_int_equal(piommu_instance_destroy(instance), 0);
    mock_destroy(mock);
}

static void test_a_backend_that_takes_tables_is_refused_if_there_are_none(void **state)
{
    struct fake_os *os = fake_os_create(NULL);
    struct piommu_context *context;

    (void)state;
    assert_int_equal(piommu_context_create(fake_os_host(os), NULL, &context), 0);
    create_mock(context, os, PIOMMU_BACKEND_TABLES, IF_BUILT(PIOMMU_CORE_WITH_TABLES));
    create_mock(context, os, PIOMMU_BACKEND_REQUESTS, 0);
    assert_int_equal(piommu_context_destroy(context), 0);
    fake_os_destroy(os);
}

static void test_a_deferred_domain_is_refused_if_there_are_none(void **state)
{
    struct viommu_fixture *fixture = started();
    struct piommu_domain_config config = {
        .type = PIOMMU_DOMAIN_DEFERRED, .instances = &fixture->instance, .instance_count = 1};
    struct piommu_domain *domain = NULL;

    (void)state;
    assert_int_equal(piommu_domain_create(&config, &domain), IF_BUILT(PIOMMU_CORE_WITH_DEFERRED));
    assert_int_equal(piommu_domain_destroy(domain), 0);
    viommu_fixture_destroy(fixture);
}

struct post {
    struct piommu_completion completion;
    bool done;
};

static void on_done(struct piommu_completion *completion, int error)
{
    struct post *post = (struct post *)(void *)completion;

    assert_int_equal(error, 0);
    post->done = true;
}

/* What a post has returned is right, and so is what becomes of it. */
static void expect_post(struct viommu_fixture *fixture, const struct post *post, int returned)
{
    assert_int_equal(returned, IF_BUILT(PIOMMU_CORE_WITH_POSTS));
    for (unsigned int i = 0; i < 100 && returned == 0 && !post->done; i++) {
        viommu_fixture_wait(fixture);
        assert_int_equal(piommu_instance_service(fixture->instance, 8), 0);
    }
    assert_int_equal(post->done, PIOMMU_CORE_WITH_POSTS);
}

static void test_posts_are_refused_if_there_are_none(void **state)
{
    struct viommu_fixture *fixture = started();
    struct piommu_device *device = viommu_fixture_add_device(fixture, ID);
    struct piommu_domain *domain = viommu_fixture_add_domain(fixture, PIOMMU_DOMAIN_PAGING);
    struct post post = {.completion = {.done = on_done}};
    struct piommu_translation found;
    int posted;

    (void)state;
    assert_int_equal(piommu_device_attach(device, domain), 0);
    viommu_fixture_allow(fixture, ID, PAGE, fixture->memory, PAGE, RW);
    posted = piommu_domain_map_post(domain, PAGE, fixture->memory, PAGE, RW, &post.completion);
    expect_post(fixture, &post, posted);
    assert_int_equal(piommu_domain_lookup(domain, PAGE, &found),
                     PIOMMU_CORE_WITH_POSTS ? 0 : -PIOMMU_ENOENT);
    viommu_fixture_destroy(fixture);
}

static void test_a_sync_is_not_posted_if_there_are_no_posts(void **state)
{
    struct viommu_fixture *fixture = started();
    struct piommu_device *device = viommu_fixture_add_device(fixture, ID);
    struct piommu_domain *domain = viommu_fixture_add_domain(fixture, PIOMMU_DOMAIN_PAGING);
    struct post post = {.completion = {.done = on_done}};
    struct piommu_gather gather;
    int posted;

    (void)state;
    assert_int_equal(piommu_device_attach(device, domain), 0);
    viommu_fixture_allow(fixture, ID, PAGE, fixture->memory, PAGE, RW);
    assert_int_equal(piommu_domain_map(domain, PAGE, fixture->memory, PAGE, RW), 0);
    piommu_gather_init(&gather);
    assert_int_equal(piommu_domain_unmap(domain, PAGE, PAGE, &gather, NULL), 0);
    posted = piommu_domain_sync_post(domain, &gather, &post.completion);
    expect_post(fixture, &post, posted);
    /* What was refused has changed nothing: the gather is as it was, and can be synced. */
    assert_int_equal(gather.pending, !PIOMMU_CORE_WITH_POSTS);
    assert_int_equal(piommu_domain_sync(domain, &gather), 0);
    viommu_fixture_forbid(fixture, ID, 0, 0);
    viommu_fixture_probe(fixture);
    viommu_fixture_destroy(fixture);
}

static void test_suspending_and_recovering_are_refused_if_they_are_not_built(void **state)
{
    struct viommu_fixture *fixture = started();
    struct piommu_instance_info info;

    (void)state;
    piommu_instance_get_info(fixture->instance, &info);
    assert_int_equal(info.suspend, PIOMMU_CORE_WITH_POWER);
    assert_int_equal(piommu_instance_suspend(fixture->instance), IF_BUILT(PIOMMU_CORE_WITH_POWER));
    assert_int_equal(piommu_instance_resume(fixture->instance), 0);
    piommu_backend_report_failure(fixture->instance, -PIOMMU_EIO);
    assert_int_equal(piommu_instance_recover(fixture->instance), IF_BUILT(PIOMMU_CORE_WITH_POWER));
    viommu_fixture_destroy(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_transport_that_is_not_built_is_refused),
        cmocka_unit_test(test_packed_rings_are_agreed_on_only_if_they_are_built),
        cmocka_unit_test(test_a_trace_is_refused_if_there_are_no_events),
        cmocka_unit_test(test_a_backend_that_takes_tables_is_refused_if_there_are_none),
        cmocka_unit_test(test_a_deferred_domain_is_refused_if_there_are_none),
        cmocka_unit_test(test_posts_are_refused_if_there_are_none),
        cmocka_unit_test(test_a_sync_is_not_posted_if_there_are_no_posts),
        cmocka_unit_test(test_suspending_and_recovering_are_refused_if_they_are_not_built),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
