/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The core over mock backends of both kinds: each test runs once with tables and once with
 * requests. A modelled device tries to reach memory after every call of the backend.
 */

#include "device_ids.h"
#include "fake_os.h"
#include "mock_backend.h"

#include <piommu/piommu.h>

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define RW      (PIOMMU_PROT_READ | PIOMMU_PROT_WRITE)
#define PAGE    0x1000ull
#define IOVA    0x10000ull
#define ONLY_A  0x200000ull
#define ONLY_B  0x300000ull
#define PAGE_A  0x900000000ull /* pages that stand for memory; nobody looks into them */
#define PAGE_B  0x910000000ull
#define PAGE_A2 0x920000000ull
#define PAGE_B2 0x930000000ull
#define SECRET  0x940000000ull
#define MAX_IDS 3u

struct bench {
    struct fake_os *os;
    struct mock *mock;
    struct piommu_context *context;
    struct piommu_instance *instance;
    struct piommu_device *device;
    struct piommu_domain *a;
    struct piommu_domain *b;
    uint32_t ids[MAX_IDS];
    size_t id_count;
    /* Pages that the device may reach now, at any step of what is going on. */
    bool a_granted;
    bool b_granted;
    unsigned int probes;
    struct piommu_fault fault;
    unsigned int faults;
};

static enum piommu_fault_answer on_fault(void *cookie, const struct piommu_fault *fault)
{
    struct bench *bench = cookie;

    bench->fault = *fault;
    bench->faults++;
    return PIOMMU_FAULT_NOTE;
}

/* Every ID of the device tries every address: what it reaches must be granted at this moment. */
static void probe(void *ctx)
{
    static const uint64_t iovas[] = {IOVA, ONLY_A, ONLY_B, PAGE_A, PAGE_B, SECRET & 0x7fffffffffull,
                                     0};
    struct bench *bench = ctx;

    for (size_t i = 0; i < bench->id_count; i++) {
        for (size_t j = 0; j < sizeof(iovas) / sizeof(iovas[0]); j++) {
            for (unsigned int write = 0; write < 2; write++) {
                uint64_t physical;

                bench->probes++;
                if (!mock_reaches(bench->mock, bench->ids[i], iovas[j], write != 0, &physical)) {
                    continue;
                }
                assert_true((bench->a_granted && iovas[j] == IOVA && physical == PAGE_A) ||
                            (bench->a_granted && iovas[j] == ONLY_A && physical == PAGE_A2) ||
                            (bench->b_granted && iovas[j] == IOVA && physical == PAGE_B) ||
                            (bench->b_granted && iovas[j] == ONLY_B && physical == PAGE_B2));
            }
        }
    }
}

static bool reaches(struct bench *bench, size_t id, uint64_t iova, uint64_t expected)
{
    uint64_t physical;

    return mock_reaches(bench->mock, bench->ids[id], iova, true, &physical) && physical == expected;
}

static bool reaches_nothing(struct bench *bench)
{
    uint64_t physical;

    for (size_t i = 0; i < bench->id_count; i++) {
        if (mock_reaches(bench->mock, bench->ids[i], IOVA, false, &physical) ||
            mock_reaches(bench->mock, bench->ids[i], ONLY_A, false, &physical) ||
            mock_reaches(bench->mock, bench->ids[i], ONLY_B, false, &physical)) {
            return false;
        }
    }
    return true;
}

static bool all_in_a(struct bench *bench)
{
    for (size_t i = 0; i < bench->id_count; i++) {
        if (!reaches(bench, i, IOVA, PAGE_A) || !reaches(bench, i, ONLY_A, PAGE_A2)) {
            return false;
        }
    }
    return true;
}

static bool all_in_b(struct bench *bench)
{
    for (size_t i = 0; i < bench->id_count; i++) {
        if (!reaches(bench, i, IOVA, PAGE_B) || !reaches(bench, i, ONLY_B, PAGE_B2)) {
            return false;
        }
    }
    return true;
}

static struct piommu_domain *make_domain(struct bench *bench, const char *name, void *owner)
{
    struct piommu_domain_config config = {.type = PIOMMU_DOMAIN_PAGING,
                                          .instances = &bench->instance,
                                          .instance_count = 1,
                                          .name = name,
                                          .owner = owner};
    struct piommu_domain *domain;

    assert_int_equal(piommu_domain_create(&config, &domain), 0);
    return domain;
}

/* A context with an instance, no device. */
static struct bench *open_bench(enum piommu_backend_kind kind)
{
    struct bench *bench = calloc(1, sizeof(*bench));
    struct piommu_context_config config = {.fault = on_fault, .cookie = bench};
    struct piommu_instance_config instance = {.name = "mock0", .owner = bench};

    bench->os = fake_os_create(NULL);
    bench->mock = mock_create(bench->os, kind);
    mock_observe(bench->mock, probe, bench);
    assert_int_equal(piommu_context_create(fake_os_host(bench->os), &config, &bench->context), 0);
    assert_int_equal(piommu_instance_create(bench->context, mock_backend(bench->mock), &bench->mock,
                                            &instance, &bench->instance),
                     0);
    return bench;
}

static struct piommu_device *add_device(struct bench *bench, const uint32_t *ids, size_t count,
                                        const char *name)
{
    struct device_ids room;
    struct piommu_device_config config = {.ids = device_ids_of(&room, bench->instance, ids, count),
                                          .id_count = count,
                                          .name = name,
                                          .owner = bench};
    struct piommu_device *device;

    assert_int_equal(piommu_device_add(bench->context, &config, &device), 0);
    return device;
}

/* The same with a device of some IDs and two domains that are filled. */
static struct bench *open_full_bench(enum piommu_backend_kind kind, size_t ids)
{
    struct bench *bench = open_bench(kind);

    for (size_t i = 0; i < ids; i++) {
        bench->ids[i] = (uint32_t)(10 + i);
    }
    bench->id_count = ids;
    bench->device = add_device(bench, bench->ids, ids, "dma");
    bench->a = make_domain(bench, "A", &bench->a);
    bench->b = make_domain(bench, "B", &bench->b);
    assert_int_equal(piommu_domain_map(bench->a, IOVA, PAGE_A, PAGE, RW), 0);
    assert_int_equal(piommu_domain_map(bench->a, ONLY_A, PAGE_A2, PAGE, RW), 0);
    assert_int_equal(piommu_domain_map(bench->b, IOVA, PAGE_B, PAGE, RW), 0);
    assert_int_equal(piommu_domain_map(bench->b, ONLY_B, PAGE_B2, PAGE, RW), 0);
    return bench;
}

static void close_bench(struct bench *bench)
{
    mock_observe(bench->mock, NULL, NULL);
    assert_int_equal(piommu_domain_destroy(bench->a), 0);
    assert_int_equal(piommu_domain_destroy(bench->b), 0);
    assert_int_equal(piommu_device_remove(bench->device), 0);
    assert_int_equal(piommu_instance_destroy(bench->instance), 0);
    assert_int_equal(piommu_context_destroy(bench->context), 0);
    fake_os_destroy(bench->os);
    mock_destroy(bench->mock);
    free(bench);
}

static void attach_to_a(struct bench *bench)
{
    bench->a_granted = true;
    assert_int_equal(piommu_group_attach(piommu_device_group(bench->device), bench->a), 0);
    assert_true(all_in_a(bench));
}

static void detach(struct bench *bench)
{
    assert_int_equal(piommu_group_detach(piommu_device_group(bench->device)), 0);
    bench->a_granted = false;
    bench->b_granted = false;
    assert_true(reaches_nothing(bench));
}

static uint64_t unmap(struct piommu_domain *domain, uint64_t iova, uint64_t size,
                      struct piommu_gather *gather)
{
    uint64_t unmapped;

    assert_int_equal(piommu_domain_unmap(domain, iova, size, gather, &unmapped), 0);
    return unmapped;
}

static void unmap_and_sync(struct piommu_domain *domain, uint64_t iova, uint64_t size)
{
    struct piommu_gather gather;

    piommu_gather_init(&gather);
    assert_true(unmap(domain, iova, size, &gather) != 0);
    assert_int_equal(piommu_domain_sync(domain, &gather), 0);
    assert_false(gather.pending);
}

static enum piommu_backend_kind kind_of(void **state)
{
    return *(const enum piommu_backend_kind *)*state;
}

/* ---- Life of the objects ---- */

static void test_objects_are_refused_destruction_while_in_use(void **state)
{
    struct bench *bench = open_full_bench(kind_of(state), 1);

    attach_to_a(bench);
    assert_int_equal(piommu_context_destroy(bench->context), -PIOMMU_EBUSY);
    assert_int_equal(piommu_instance_destroy(bench->instance), -PIOMMU_EBUSY);
    assert_int_equal(piommu_domain_destroy(bench->a), -PIOMMU_EBUSY);
    assert_int_equal(piommu_device_remove(bench->device), -PIOMMU_EBUSY);
    assert_true(all_in_a(bench));
    detach(bench);
    close_bench(bench);
}

static void test_null_arguments_are_errors(void **state)
{
    struct bench *bench = open_full_bench(kind_of(state), 1);
    struct piommu_gather gather;
    struct piommu_translation translation;
    struct piommu_device_config device = {.id_count = 1};
    struct piommu_device *result;

    piommu_gather_init(&gather);
    assert_int_equal(piommu_domain_map(NULL, 0, 0, PAGE, RW), -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_map_list(bench->a, 0, NULL, 1, RW), -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_unmap(bench->a, 0, PAGE, NULL, NULL), -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_sync(NULL, &gather), -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_sync(bench->a, NULL), -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_lookup(NULL, 0, &translation), -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_lookup(bench->a, 0, NULL), -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_create(NULL, &bench->a), -PIOMMU_EINVAL);
    assert_int_equal(piommu_device_add(bench->context, NULL, &result), -PIOMMU_EINVAL);
    assert_int_equal(piommu_device_add(bench->context, &device, &result), -PIOMMU_EINVAL);
    assert_int_equal(piommu_group_attach(NULL, bench->a), -PIOMMU_EINVAL);
    assert_int_equal(piommu_group_detach(NULL), -PIOMMU_EINVAL);
    assert_int_equal(piommu_device_attach(NULL, bench->a), -PIOMMU_EINVAL);
    assert_int_equal(piommu_device_detach(NULL), -PIOMMU_EINVAL);
    assert_int_equal(piommu_instance_service(NULL, 1), -PIOMMU_EINVAL);
    assert_int_equal(piommu_context_destroy(NULL), 0);
    assert_int_equal(piommu_instance_destroy(NULL), 0);
    assert_int_equal(piommu_domain_destroy(NULL), 0);
    assert_int_equal(piommu_device_remove(NULL), 0);
    close_bench(bench);
}

static void test_an_incomplete_backend_is_refused(void **state)
{
    struct bench *bench = open_bench(kind_of(state));
    struct piommu_backend broken = *mock_backend(bench->mock);
    struct piommu_instance *instance;

    broken.stop = NULL;
    assert_int_equal(piommu_instance_create(bench->context, &broken, &bench->mock, NULL, &instance),
                     -PIOMMU_EINVAL);
    broken = *mock_backend(bench->mock);
    broken.invalidate = NULL;
    broken.unmap = NULL;
    assert_int_equal(piommu_instance_create(bench->context, &broken, &bench->mock, NULL, &instance),
                     -PIOMMU_EINVAL);
    broken = *mock_backend(bench->mock);
    broken.size--;
    assert_int_equal(piommu_instance_create(bench->context, &broken, &bench->mock, NULL, &instance),
                     -PIOMMU_EINVAL);
    close_bench(bench);
}

static void test_a_context_names_the_callback_that_is_missing(void **state)
{
    struct fake_os *os = fake_os_create(NULL);
    struct piommu_context *context;
    const char *missing;

    (void)state;
    fake_os_callbacks(os)->unlock = NULL;
    assert_int_equal(piommu_context_create(fake_os_host(os), NULL, &context), -PIOMMU_EINVAL);
    assert_non_null(strstr(fake_os_last_log(os), "unlock"));
    assert_int_equal(piommu_os_check(fake_os_host(os), PIOMMU_OS_NEED_LOCK, &missing),
                     -PIOMMU_EINVAL);
    assert_string_equal(missing, "unlock");
    assert_int_equal(piommu_os_check(fake_os_host(os), PIOMMU_OS_NEED_MMIO, &missing), 0);
    assert_null(missing);
    fake_os_callbacks(os)->size = 8;
    assert_int_equal(piommu_os_check(fake_os_host(os), 0, &missing), -PIOMMU_EINVAL);
    assert_string_equal(missing, "size");
    fake_os_destroy(os);
}

/* ---- Devices and groups ---- */

static void test_devices_that_share_an_id_form_a_group(void **state)
{
    static const uint32_t first_ids[] = {1, 2};
    static const uint32_t second_ids[] = {2, 3};
    static const uint32_t third_ids[] = {4};
    static const uint32_t both_ids[] = {3, 4};
    struct bench *bench = open_full_bench(kind_of(state), 1);
    struct piommu_device *first = add_device(bench, first_ids, 2, "first");
    struct piommu_device *second = add_device(bench, second_ids, 2, "second");
    struct piommu_device *third = add_device(bench, third_ids, 1, "third");
    struct device_ids room;
    struct piommu_device_config both = {
        .ids = device_ids_of(&room, bench->instance, both_ids, 2), .id_count = 2, .name = "both"};
    struct piommu_device *device;
    uint64_t physical;

    assert_ptr_equal(piommu_device_group(first), piommu_device_group(second));
    assert_ptr_not_equal(piommu_device_group(first), piommu_device_group(third));

    /* A member cannot move alone. */
    assert_int_equal(piommu_device_attach(first, bench->a), -PIOMMU_EGROUP);
    assert_int_equal(piommu_device_detach(second), -PIOMMU_EGROUP);
    assert_false(mock_reaches(bench->mock, 1, IOVA, false, &physical));

    /* All move together; who comes later has to wait until the group is blocked. */
    assert_int_equal(piommu_group_attach(piommu_device_group(first), bench->a), 0);
    for (uint32_t id = 1; id <= 3; id++) {
        assert_true(mock_reaches(bench->mock, id, IOVA, false, &physical));
        assert_int_equal(physical, PAGE_A);
    }
    assert_int_equal(piommu_device_add(bench->context, &both, &device), -PIOMMU_EBUSY);

    /* Who leaves takes along only the IDs that nobody else has. */
    assert_int_equal(piommu_device_remove(second), 0);
    assert_true(mock_reaches(bench->mock, 2, IOVA, false, &physical));
    assert_false(mock_reaches(bench->mock, 3, IOVA, false, &physical));
    assert_int_equal(piommu_device_remove(first), -PIOMMU_EBUSY);
    assert_int_equal(piommu_device_detach(first), 0);

    /* Who has IDs of two groups makes one of them. */
    second = add_device(bench, second_ids, 2, "second");
    assert_int_equal(piommu_device_add(bench->context, &both, &device), 0);
    assert_ptr_equal(piommu_device_group(third), piommu_device_group(first));
    assert_ptr_equal(piommu_device_group(device), piommu_device_group(first));
    assert_int_equal(piommu_group_attach(piommu_device_group(third), bench->a), 0);
    for (uint32_t id = 1; id <= 4; id++) {
        assert_true(mock_reaches(bench->mock, id, IOVA, false, &physical));
    }
    assert_int_equal(piommu_group_detach(piommu_device_group(device)), 0);
    assert_int_equal(piommu_device_remove(device), 0);
    assert_int_equal(piommu_device_remove(second), 0);
    assert_int_equal(piommu_device_remove(first), 0);
    assert_int_equal(piommu_device_remove(third), 0);
    assert_int_equal(mock_counters(bench->mock)->add_endpoint, 6);
    assert_int_equal(mock_counters(bench->mock)->release_endpoint, 5);
    close_bench(bench);
}

static void test_a_device_with_bad_ids_leaves_nothing_behind(void **state)
{
    static const uint32_t twice[] = {1, 2, 1};
    static const uint32_t unknown[] = {1, 2, MOCK_ID_LIMIT};
    struct bench *bench = open_full_bench(kind_of(state), 1);
    struct device_ids room;
    struct piommu_device_config config = {
        .ids = device_ids_of(&room, bench->instance, twice, 3), .id_count = 3, .name = "bad"};
    uint64_t before = fake_os_bytes_outstanding(bench->os);
    struct piommu_device *device;

    assert_int_equal(piommu_device_add(bench->context, &config, &device), -PIOMMU_EINVAL);
    config.ids = device_ids_of(&room, bench->instance, unknown, 3);
    assert_int_equal(piommu_device_add(bench->context, &config, &device), -PIOMMU_ENOENT);
    config.id_count = PIOMMU_DEVICE_MAX_IDS + 1;
    assert_int_equal(piommu_device_add(bench->context, &config, &device), -PIOMMU_EINVAL);
    config.id_count = 0;
    assert_int_equal(piommu_device_add(bench->context, &config, &device), -PIOMMU_EINVAL);
    assert_int_equal(fake_os_bytes_outstanding(bench->os), before);
    close_bench(bench);
}

static void test_reserved_regions_are_told_and_kept_free(void **state)
{
    static const uint32_t ids[] = {7};
    struct piommu_reserved_region msi = {.range = {0x8000000, 0x8000fff},
                                         .kind = PIOMMU_RESERVED_MSI};
    struct bench *bench = open_full_bench(kind_of(state), 1);
    struct piommu_reserved_region region;
    struct piommu_device *device;

    mock_set_reserved(bench->mock, &msi);
    device = add_device(bench, ids, 1, "with MSI");
    assert_int_equal(piommu_device_reserved_region(device, 0, &region), 0);
    assert_int_equal(region.range.first, msi.range.first);
    assert_int_equal(region.range.last, msi.range.last);
    assert_int_equal(region.kind, PIOMMU_RESERVED_MSI);
    assert_int_equal(piommu_device_reserved_region(device, 1, &region), -PIOMMU_ENOENT);

    /* A mapping keeps the device out... */
    assert_int_equal(piommu_domain_map(bench->a, 0x7fff000, PAGE_A, 2 * PAGE, RW), 0);
    assert_int_equal(piommu_device_attach(device, bench->a), -PIOMMU_ERESERVED);
    unmap_and_sync(bench->a, 0x7fff000, 2 * PAGE);
    /* ...and the device keeps mappings out. */
    assert_int_equal(piommu_device_attach(device, bench->a), 0);
    assert_int_equal(piommu_domain_map(bench->a, 0x7fff000, PAGE_A, 2 * PAGE, RW),
                     -PIOMMU_ERESERVED);
    assert_int_equal(piommu_domain_map(bench->a, 0x8000000, PAGE_A, PAGE, RW), -PIOMMU_ERESERVED);
    assert_int_equal(piommu_domain_map(bench->a, 0x8001000, PAGE_A, PAGE, RW), 0);
    assert_int_equal(piommu_domain_map(bench->a, 0x7fff000, PAGE_A, PAGE, RW), 0);
    assert_int_equal(piommu_device_detach(device), 0);
    assert_int_equal(piommu_domain_map(bench->a, 0x8000000, PAGE_A, PAGE, RW), 0);
    assert_int_equal(piommu_device_remove(device), 0);
    close_bench(bench);
}

/* ---- Attach ---- */

static void test_a_device_reaches_what_its_domain_holds_and_nothing_else(void **state)
{
    for (size_t ids = 1; ids <= MAX_IDS; ids++) {
        struct bench *bench = open_full_bench(kind_of(state), ids);
        struct piommu_group *group = piommu_device_group(bench->device);

        assert_true(reaches_nothing(bench));
        attach_to_a(bench);
        bench->b_granted = true;
        assert_int_equal(piommu_group_attach(group, bench->b), 0);
        bench->a_granted = false;
        assert_true(all_in_b(bench));
        /* To attach where it is does nothing. */
        {
            unsigned int calls = mock_counters(bench->mock)->attach;

            assert_int_equal(piommu_group_attach(group, bench->b), 0);
            assert_int_equal(mock_counters(bench->mock)->attach, calls);
        }
        detach(bench);
        attach_to_a(bench);
        detach(bench);
        assert_true(bench->probes != 0);
        close_bench(bench);
    }
}

static void test_a_blocked_domain_holds_nothing(void **state)
{
    struct bench *bench = open_full_bench(kind_of(state), 2);
    struct piommu_domain_config config = {
        .type = PIOMMU_DOMAIN_BLOCKED, .instances = &bench->instance, .instance_count = 1};
    struct piommu_domain *blocked;
    struct piommu_gather gather;

    assert_int_equal(piommu_domain_create(&config, &blocked), 0);
    attach_to_a(bench);
    assert_int_equal(piommu_group_attach(piommu_device_group(bench->device), blocked), 0);
    bench->a_granted = false;
    assert_true(reaches_nothing(bench));
    piommu_gather_init(&gather);
    assert_int_equal(piommu_domain_map(blocked, IOVA, PAGE_A, PAGE, RW), -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_unmap(blocked, IOVA, PAGE, &gather, NULL), -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_destroy(blocked), -PIOMMU_EBUSY);
    attach_to_a(bench);
    assert_int_equal(piommu_domain_destroy(blocked), 0);
    detach(bench);
    close_bench(bench);
}

static void test_an_identity_domain_grants_everything(void **state)
{
    struct bench *bench = open_full_bench(kind_of(state), 1);
    struct piommu_domain_config config = {
        .type = PIOMMU_DOMAIN_IDENTITY, .instances = &bench->instance, .instance_count = 1};
    struct piommu_domain *identity;

    mock_observe(bench->mock, NULL, NULL);
    assert_int_equal(piommu_domain_create(&config, &identity), 0);
    assert_int_equal(piommu_device_attach(bench->device, identity), 0);
    assert_true(reaches(bench, 0, SECRET, SECRET));
    assert_int_equal(piommu_device_attach(bench->device, bench->a), 0);
    assert_false(reaches(bench, 0, SECRET, SECRET));
    assert_true(all_in_a(bench));
    detach(bench);
    assert_int_equal(piommu_domain_destroy(identity), 0);
    close_bench(bench);
}

static void test_a_domain_of_another_kind_is_refused(void **state)
{
    struct bench *bench = open_full_bench(kind_of(state), 1);
    struct mock *other_mock =
        mock_create(bench->os, kind_of(state) == PIOMMU_BACKEND_REQUESTS ? PIOMMU_BACKEND_TABLES
                                                                         : PIOMMU_BACKEND_REQUESTS);
    struct piommu_instance *other;
    struct piommu_domain_config config = {.type = PIOMMU_DOMAIN_PAGING};
    struct piommu_domain *foreign;

    assert_int_equal(
        piommu_instance_create(bench->context, mock_backend(other_mock), &other_mock, NULL, &other),
        0);
    config.instances = &other;
    config.instance_count = 1;
    assert_int_equal(piommu_domain_create(&config, &foreign), 0);
    attach_to_a(bench);
    assert_int_equal(piommu_device_attach(bench->device, foreign), -PIOMMU_EMIXED);
    assert_true(all_in_a(bench));
    detach(bench);
    assert_int_equal(piommu_domain_destroy(foreign), 0);
    assert_int_equal(piommu_instance_destroy(other), 0);
    mock_destroy(other_mock);
    close_bench(bench);
}

/*
 * Each backend call of a move fails in turn. Whatever happens, the device is where it was, or
 * blocked, or the instance has failed with everything blocked; the error says which, and no step
 * opens anything.
 */
static void check_failed_move(enum piommu_backend_kind kind, size_t ids, bool forever, bool from_a)
{
    for (unsigned int kth = 1;; kth++) {
        struct bench *bench = open_full_bench(kind, ids);
        struct piommu_group *group = piommu_device_group(bench->device);
        struct piommu_instance_info info;
        int error;

        if (from_a) {
            attach_to_a(bench);
        }
        bench->b_granted = true;
        mock_fail_call(bench->mock, kth, -PIOMMU_EIO, forever);
        error = piommu_group_attach(group, bench->b);
        mock_fail_call(bench->mock, 0, 0, false);
        piommu_instance_get_info(bench->instance, &info);
        assert_int_equal(info.failed, error == -PIOMMU_EFAILED);
        switch (error) {
        case 0:
            assert_true(all_in_b(bench));
            break;
        case -PIOMMU_EIO:
            assert_true(from_a ? all_in_a(bench) : reaches_nothing(bench));
            break;
        case -PIOMMU_EFAILED:
            assert_true(reaches_nothing(bench));
            break;
        default:
            fail_msg("unexpected error %d", error);
        }
        assert_int_equal(piommu_group_detach(group), 0);
        assert_true(reaches_nothing(bench));
        close_bench(bench);
        if (error == 0) {
            break;
        }
    }
}

static void test_a_failed_move_ends_where_the_error_says(void **state)
{
    for (size_t ids = 1; ids <= MAX_IDS; ids++) {
        for (unsigned int variant = 0; variant < 4; variant++) {
            check_failed_move(kind_of(state), ids, (variant & 1) != 0, (variant & 2) != 0);
        }
    }
}

static void test_a_move_that_cannot_go_back_ends_blocked(void **state)
{
    for (size_t ids = 1; ids <= MAX_IDS; ids++) {
        struct bench *bench = open_full_bench(kind_of(state), ids);
        struct piommu_group *group = piommu_device_group(bench->device);
        struct piommu_instance_info info;

        attach_to_a(bench);
        bench->b_granted = true;
        mock_fail_attaches(bench->mock, 2, -PIOMMU_EIO);
        assert_int_equal(piommu_group_attach(group, bench->b), -PIOMMU_EBLOCKED);
        piommu_instance_get_info(bench->instance, &info);
        assert_false(info.failed);
        assert_true(reaches_nothing(bench));
        /* It is in no domain now, and can be attached again. */
        assert_int_equal(piommu_domain_destroy(bench->a), 0);
        bench->a = make_domain(bench, "A", &bench->a);
        assert_int_equal(piommu_group_attach(group, bench->b), 0);
        assert_true(all_in_b(bench));
        detach(bench);
        close_bench(bench);
    }
}

static void test_a_unit_that_cannot_be_stopped_keeps_its_devices_and_domains(void **state)
{
    struct bench *bench = open_full_bench(kind_of(state), 2);
    struct piommu_group *group = piommu_device_group(bench->device);

    attach_to_a(bench);
    mock_refuse_stop(bench->mock, true);
    mock_fail_call(bench->mock, 1, -PIOMMU_ETIMEDOUT, true);
    assert_int_equal(piommu_group_detach(group), -PIOMMU_EFAILED);
    assert_non_null(strstr(fake_os_last_log(bench->os), "may not be blocked"));
    assert_non_null(strstr(fake_os_last_log(bench->os), "dma"));
    /* Nothing that it may still use is given away. */
    assert_int_equal(piommu_domain_destroy(bench->a), -PIOMMU_EBUSY);
    assert_int_equal(piommu_device_remove(bench->device), -PIOMMU_EBUSY);
    assert_int_equal(piommu_domain_destroy(bench->b), -PIOMMU_EFAILED);
    assert_int_equal(piommu_group_detach(group), -PIOMMU_EFAILED);
    assert_int_equal(piommu_group_attach(group, bench->b), -PIOMMU_EFAILED);
    /* Once it has stopped, all can be taken down. */
    mock_refuse_stop(bench->mock, false);
    detach(bench);
    close_bench(bench);
}

/* ---- Mappings ---- */

static void test_bad_ranges_are_refused_and_change_nothing(void **state)
{
    static const struct {
        uint64_t iova;
        uint64_t physical;
        uint64_t size;
        piommu_prot prot;
        int error;
    } cases[] = {
        {0x1800, 0x1000, PAGE, RW, -PIOMMU_EINVAL},
        {0x1000, 0x1800, PAGE, RW, -PIOMMU_EINVAL},
        {0x1000, 0x1000, 0x1800, RW, -PIOMMU_EINVAL},
        {0x1000, 0x1000, 0, RW, -PIOMMU_EINVAL},
        {0x1000, 0x1000, PAGE, 0, -PIOMMU_EINVAL},
        {0x1000, 0x1000, PAGE, 0x2000 | RW, -PIOMMU_EINVAL},
        {0x1000, 0x1000, PAGE, PIOMMU_PROT_WRITE, -PIOMMU_EOPNOTSUPP},
        {0x1000, 0x1000, PAGE, PIOMMU_PROT_DEVICE | RW, -PIOMMU_EOPNOTSUPP},
        {1ull << 39, 0x1000, PAGE, RW, -PIOMMU_ERANGE},
        {(1ull << 39) - PAGE, 0x1000, 2 * PAGE, RW, -PIOMMU_ERANGE},
        {0x1000, 0x1000, 0xfffffffffffff000ull, RW, -PIOMMU_ERANGE},
        {0x1000, 0xfffffffffffff000ull, 2 * PAGE, RW, -PIOMMU_ERANGE},
        {0xfffffffffffff000ull, 0x1000, PAGE, RW, -PIOMMU_ERANGE},
        {IOVA, 0x1000, PAGE, RW, -PIOMMU_EEXIST},
        {IOVA - PAGE, 0x1000, 3 * PAGE, RW, -PIOMMU_EEXIST},
    };
    struct bench *bench = open_full_bench(kind_of(state), 1);
    struct piommu_domain_statistics before;
    struct piommu_domain_statistics after;

    attach_to_a(bench);
    piommu_domain_get_statistics(bench->a, &before);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct piommu_translation translation;

        assert_int_equal(piommu_domain_map(bench->a, cases[i].iova, cases[i].physical,
                                           cases[i].size, cases[i].prot),
                         cases[i].error);
        assert_int_equal(piommu_domain_lookup(bench->a, IOVA - PAGE, &translation), -PIOMMU_ENOENT);
        assert_int_equal(piommu_domain_lookup(bench->a, 0x1000, &translation), -PIOMMU_ENOENT);
    }
    piommu_domain_get_statistics(bench->a, &after);
    assert_memory_equal(&before, &after, sizeof(before));
    assert_true(all_in_a(bench));
    detach(bench);
    close_bench(bench);
}

static void test_a_list_is_mapped_in_order_and_unmapped_by_one_call(void **state)
{
    /* The second and the third are adjacent; the others are not. */
    static const struct piommu_segment segments[] = {
        {0x5000, PAGE}, {0x9000, 2 * PAGE}, {0xb000, PAGE}, {0x3000, PAGE}};
    struct bench *bench = open_full_bench(kind_of(state), 1);
    struct piommu_translation translation;
    struct piommu_gather gather;
    static const uint64_t pages[] = {0x5000, 0x9000, 0xa000, 0xb000, 0x3000};

    mock_observe(bench->mock, NULL, NULL);
    attach_to_a(bench);
    assert_int_equal(piommu_domain_map_list(bench->a, 0x100000, segments, 4, PIOMMU_PROT_READ), 0);
    for (unsigned int i = 0; i < 5; i++) {
        uint64_t physical;
        uint64_t iova = 0x100000 + i * PAGE;

        assert_int_equal(piommu_domain_lookup(bench->a, iova + 0x123, &translation), 0);
        assert_int_equal(translation.physical, pages[i] + 0x123);
        assert_int_equal(translation.prot, PIOMMU_PROT_READ);
        assert_true(mock_reaches(bench->mock, bench->ids[0], iova, false, &physical));
        assert_int_equal(physical, pages[i]);
        assert_false(mock_reaches(bench->mock, bench->ids[0], iova, true, &physical));
    }
    piommu_gather_init(&gather);
    assert_int_equal(unmap(bench->a, 0x100000, 5 * PAGE, &gather), 5 * PAGE);
    assert_int_equal(gather.range.first, 0x100000);
    assert_int_equal(gather.range.last, 0x100000 + 5 * PAGE - 1);
    assert_int_equal(piommu_domain_sync(bench->a, &gather), 0);
    for (unsigned int i = 0; i < 5; i++) {
        uint64_t physical;

        assert_false(
            mock_reaches(bench->mock, bench->ids[0], 0x100000 + i * PAGE, false, &physical));
    }
    if (kind_of(state) == PIOMMU_BACKEND_REQUESTS) {
        assert_int_equal(mock_counters(bench->mock)->mappings, 2 + 3);
        assert_int_equal(mock_counters(bench->mock)->ranges, 1);
    }
    detach(bench);
    close_bench(bench);
}

static void test_a_list_that_conflicts_leaves_nothing_mapped(void **state)
{
    static const struct piommu_segment segments[] = {
        {0x5000, PAGE}, {0x9000, PAGE}, {0xd000, PAGE}};
    struct bench *bench = open_full_bench(kind_of(state), 1);
    struct piommu_translation translation;
    uint64_t physical;

    mock_observe(bench->mock, NULL, NULL);
    attach_to_a(bench);
    assert_int_equal(piommu_domain_map_list(bench->a, IOVA - 2 * PAGE, segments, 3, RW),
                     -PIOMMU_EEXIST);
    for (unsigned int i = 1; i <= 2; i++) {
        assert_int_equal(piommu_domain_lookup(bench->a, IOVA - i * PAGE, &translation),
                         -PIOMMU_ENOENT);
        assert_false(mock_reaches(bench->mock, bench->ids[0], IOVA - i * PAGE, false, &physical));
    }
    assert_true(all_in_a(bench));
    detach(bench);
    close_bench(bench);
}

static void test_unmap_says_what_it_found(void **state)
{
    struct bench *bench = open_full_bench(kind_of(state), 1);
    struct piommu_gather gather;
    uint64_t unmapped = 77;

    attach_to_a(bench);
    piommu_gather_init(&gather);
    assert_int_equal(piommu_domain_unmap(bench->a, 0x50000, PAGE, &gather, &unmapped),
                     -PIOMMU_ENOENT);
    assert_int_equal(piommu_domain_unmap(bench->a, IOVA + 0x800, PAGE, &gather, &unmapped),
                     -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_unmap(bench->a, IOVA, 0, &gather, &unmapped), -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_unmap(bench->a, 1ull << 39, PAGE, &gather, &unmapped),
                     -PIOMMU_ERANGE);
    assert_int_equal(unmapped, 77);
    assert_false(gather.pending);
    /* With holes around it. */
    assert_int_equal(unmap(bench->a, 0, 0x100000, &gather), PAGE);
    assert_int_equal(piommu_domain_sync(bench->a, &gather), 0);
    assert_false(reaches(bench, 0, IOVA, PAGE_A));
    assert_true(reaches(bench, 0, ONLY_A, PAGE_A2));
    detach(bench);
    close_bench(bench);
}

static void test_a_mapping_is_never_cut(void **state)
{
    struct bench *bench = open_full_bench(kind_of(state), 1);
    struct piommu_gather gather;
    const uint64_t block = 0x40000000;

    mock_observe(bench->mock, NULL, NULL);
    attach_to_a(bench);
    piommu_gather_init(&gather);
    assert_int_equal(piommu_domain_map(bench->a, block, block, 0x200000, RW), 0);
    assert_int_equal(piommu_domain_unmap(bench->a, block, PAGE, &gather, NULL), -PIOMMU_ECUT);
    assert_int_equal(piommu_domain_unmap(bench->a, block + 0x1ff000, PAGE, &gather, NULL),
                     -PIOMMU_ECUT);
    assert_int_equal(piommu_domain_unmap(bench->a, block + 0x1000, 0x400000, &gather, NULL),
                     -PIOMMU_ECUT);
    assert_int_equal(piommu_domain_unmap(bench->a, 0, block + 0x1000, &gather, NULL), -PIOMMU_ECUT);
    assert_false(gather.pending);
    assert_true(all_in_a(bench));
    assert_true(reaches(bench, 0, block + 0x123000, block + 0x123000));
    unmap_and_sync(bench->a, block, 0x200000);
    assert_false(reaches(bench, 0, block + 0x123000, block + 0x123000));
    detach(bench);
    close_bench(bench);
}

static void test_nothing_is_reachable_after_sync_however_much_the_hardware_remembers(void **state)
{
    struct bench *bench = open_full_bench(kind_of(state), 1);
    struct piommu_gather gather;

    attach_to_a(bench);
    piommu_gather_init(&gather);
    /* The probe has filled every cache. Two separate removals share one sync. */
    unmap(bench->a, IOVA, PAGE, &gather);
    unmap(bench->a, ONLY_A, PAGE, &gather);
    assert_true(gather.pending);
    assert_int_equal(piommu_domain_sync(bench->a, &gather), 0);
    bench->a_granted = false;
    probe(bench);
    /* And the addresses can be used again. */
    bench->a_granted = true;
    assert_int_equal(piommu_domain_map(bench->a, IOVA, PAGE_A, PAGE, RW), 0);
    assert_int_equal(piommu_domain_map(bench->a, ONLY_A, PAGE_A2, PAGE, RW), 0);
    assert_true(all_in_a(bench));
    detach(bench);
    close_bench(bench);
}

static void test_one_sync_removes_only_what_was_unmapped(void **state)
{
    struct bench *bench = open_full_bench(kind_of(state), 1);
    struct piommu_gather gather;

    mock_observe(bench->mock, NULL, NULL);
    attach_to_a(bench);
    for (unsigned int i = 0; i < 3; i++) {
        assert_int_equal(
            piommu_domain_map(bench->a, 0x60000 + i * PAGE, 0x7000 + 2 * i * PAGE, PAGE, RW), 0);
    }
    piommu_gather_init(&gather);
    unmap(bench->a, 0x60000, PAGE, &gather);
    unmap(bench->a, 0x60000 + 2 * PAGE, PAGE, &gather);
    assert_int_equal(piommu_domain_sync(bench->a, &gather), 0);
    assert_false(reaches(bench, 0, 0x60000, 0x7000));
    assert_true(reaches(bench, 0, 0x60000 + PAGE, 0x7000 + 2 * PAGE));
    assert_false(reaches(bench, 0, 0x60000 + 2 * PAGE, 0x7000 + 4 * PAGE));
    detach(bench);
    close_bench(bench);
}

static void test_memory_of_mappings_is_given_back_by_sync(void **state)
{
    struct bench *bench = open_full_bench(kind_of(state), 1);
    uint64_t before;

    mock_observe(bench->mock, NULL, NULL);
    attach_to_a(bench);
    before = fake_os_bytes_outstanding(bench->os);
    assert_int_equal(piommu_domain_map(bench->a, 0x5000000000, 0x7000, PAGE, RW), 0);
    assert_true(fake_os_bytes_outstanding(bench->os) > before);
    assert_true(reaches(bench, 0, 0x5000000000, 0x7000));
    unmap_and_sync(bench->a, 0x5000000000, PAGE);
    assert_int_equal(fake_os_bytes_outstanding(bench->os), before);
    detach(bench);
    close_bench(bench);
}

static void test_the_top_of_the_space_can_be_mapped_and_not_be_left(void **state)
{
    static const struct piommu_segment segments[] = {
        {0x5000, PAGE}, {0x9000, PAGE}, {0xd000, PAGE}};
    struct fake_os *os = fake_os_create(NULL);
    struct mock *mock = mock_create(os, PIOMMU_BACKEND_REQUESTS);
    struct piommu_context *context;
    struct piommu_instance *instance;
    struct piommu_domain_config config = {.type = PIOMMU_DOMAIN_PAGING};
    struct piommu_domain *domain;
    struct piommu_translation translation;
    struct piommu_gather gather;
    const uint64_t top = UINT64_MAX - 2 * PAGE + 1;

    (void)state;
    mock_set_aperture(mock, (struct piommu_range){0, UINT64_MAX});
    assert_int_equal(piommu_context_create(fake_os_host(os), NULL, &context), 0);
    assert_int_equal(piommu_instance_create(context, mock_backend(mock), &mock, NULL, &instance),
                     0);
    config.instances = &instance;
    config.instance_count = 1;
    assert_int_equal(piommu_domain_create(&config, &domain), 0);
    assert_int_equal(piommu_domain_map_list(domain, top, segments, 3, RW), -PIOMMU_ERANGE);
    assert_int_equal(piommu_domain_lookup(domain, 0, &translation), -PIOMMU_ENOENT);
    assert_int_equal(piommu_domain_map_list(domain, top, segments, 2, RW), 0);
    assert_int_equal(piommu_domain_lookup(domain, UINT64_MAX, &translation), 0);
    assert_int_equal(translation.physical, 0x9fff);
    piommu_gather_init(&gather);
    assert_int_equal(piommu_domain_unmap(domain, top, 2 * PAGE, &gather, NULL), 0);
    assert_int_equal(piommu_domain_sync(domain, &gather), 0);
    assert_int_equal(piommu_domain_destroy(domain), 0);
    assert_int_equal(piommu_instance_destroy(instance), 0);
    assert_int_equal(piommu_context_destroy(context), 0);
    fake_os_destroy(os);
    mock_destroy(mock);
}

static void test_unmapped_but_not_synced_is_not_given_again(void **state)
{
    struct bench *bench = open_full_bench(kind_of(state), 1);
    struct piommu_gather gather;
    struct piommu_translation translation;

    if (kind_of(state) == PIOMMU_BACKEND_TABLES) {
        /* With tables the caller answers for this rule: see piommu_domain_unmap. */
        close_bench(bench);
        return;
    }
    attach_to_a(bench);
    piommu_gather_init(&gather);
    unmap(bench->a, IOVA, PAGE, &gather);
    assert_int_equal(piommu_domain_lookup(bench->a, IOVA, &translation), -PIOMMU_ENOENT);
    assert_int_equal(piommu_domain_map(bench->a, IOVA, PAGE_A, PAGE, RW), -PIOMMU_EEXIST);
    assert_int_equal(piommu_domain_unmap(bench->a, IOVA, PAGE, &gather, NULL), -PIOMMU_ENOENT);
    assert_int_equal(piommu_domain_sync(bench->a, &gather), 0);
    assert_int_equal(piommu_domain_map(bench->a, IOVA, PAGE_A, PAGE, RW), 0);
    detach(bench);
    close_bench(bench);
}

static void test_unmap_and_sync_allocate_nothing_and_unmap_waits_for_nothing(void **state)
{
    struct bench *bench = open_full_bench(kind_of(state), 1);
    struct piommu_gather gather;

    attach_to_a(bench);
    piommu_gather_init(&gather);
    fake_os_forbid(bench->os, FAKE_OS_FORBID_ALLOCATION | FAKE_OS_FORBID_FREE |
                                  FAKE_OS_FORBID_WAIT | FAKE_OS_FORBID_MMIO);
    unmap(bench->a, IOVA, PAGE, &gather);
    fake_os_forbid(bench->os, FAKE_OS_FORBID_ALLOCATION);
    assert_int_equal(piommu_domain_sync(bench->a, &gather), 0);
    fake_os_forbid(bench->os, 0);
    detach(bench);
    close_bench(bench);
}

static void test_a_failed_sync_is_sticky_and_keeps_what_the_hardware_may_use(void **state)
{
    struct bench *bench = open_full_bench(kind_of(state), 1);
    struct piommu_gather gather;
    struct fake_os_counters before;
    struct fake_os_counters after;
    struct piommu_domain_config config = {
        .type = PIOMMU_DOMAIN_PAGING, .instances = &bench->instance, .instance_count = 1};
    struct piommu_domain *domain;

    attach_to_a(bench);
    piommu_gather_init(&gather);
    mock_refuse_stop(bench->mock, true);
    unmap(bench->a, IOVA, PAGE, &gather);
    fake_os_get_counters(bench->os, &before);
    mock_fail_call(bench->mock, 1, -PIOMMU_ETIMEDOUT, false);
    assert_int_equal(piommu_domain_sync(bench->a, &gather), -PIOMMU_EFAILED);
    assert_true(gather.pending);
    assert_true(gather.range.first <= IOVA && gather.range.last >= IOVA + PAGE - 1);
    fake_os_get_counters(bench->os, &after);
    assert_int_equal(before.dma_frees, after.dma_frees);
    /* From now on nothing is granted any more, and nothing waits for the hardware. */
    assert_int_equal(piommu_domain_sync(bench->a, &gather), -PIOMMU_EFAILED);
    assert_int_equal(piommu_domain_map(bench->a, 0x50000, PAGE_A, PAGE, RW), -PIOMMU_EFAILED);
    assert_int_equal(piommu_domain_create(&config, &domain), -PIOMMU_EFAILED);
    assert_int_equal(piommu_instance_service(bench->instance, 1), -PIOMMU_EFAILED);
    assert_int_equal(unmap(bench->a, ONLY_A, PAGE, &gather), PAGE);
    mock_refuse_stop(bench->mock, false);
    detach(bench);
    close_bench(bench);
}

/* A map call whose nth shim or backend call fails leaves everything as it was. */
static void test_a_failed_map_leaves_everything_as_it_was(void **state)
{
    static const struct piommu_segment segments[] = {
        {0x5000, PAGE}, {0x9000, PAGE}, {0xd000, PAGE}};
    const uint64_t iova = 0x40000000 - PAGE; /* needs tables of its own */
    struct bench *bench = open_full_bench(kind_of(state), 1);
    int error = -1;

    mock_observe(bench->mock, NULL, NULL);
    attach_to_a(bench);
    for (unsigned int nth = 1; error != 0; nth++) {
        uint64_t bytes = fake_os_bytes_outstanding(bench->os);
        struct piommu_translation translation;

        fake_os_fail_call(bench->os, nth, false);
        error = piommu_domain_map_list(bench->a, iova, segments, 3, RW);
        fake_os_fail_call(bench->os, 0, false);
        if (error != 0) {
            assert_int_equal(error, -PIOMMU_ENOMEM);
            assert_int_equal(fake_os_bytes_outstanding(bench->os), bytes);
            assert_int_equal(piommu_domain_lookup(bench->a, iova, &translation), -PIOMMU_ENOENT);
        }
        assert_true(nth < 50);
    }
    unmap_and_sync(bench->a, iova, 3 * PAGE);
    if (kind_of(state) == PIOMMU_BACKEND_REQUESTS) {
        uint64_t physical;

        mock_fail_call(bench->mock, 1, -PIOMMU_ENOMEM, false);
        assert_int_equal(piommu_domain_map_list(bench->a, iova, segments, 3, RW), -PIOMMU_ENOMEM);
        for (unsigned int i = 0; i < 3; i++) {
            assert_false(
                mock_reaches(bench->mock, bench->ids[0], iova + i * PAGE, false, &physical));
        }
        assert_true(all_in_a(bench));
        /* If not even the undoing works, the instance has failed, and nothing is reachable. */
        mock_fail_call(bench->mock, 1, -PIOMMU_EIO, true);
        assert_int_equal(piommu_domain_map_list(bench->a, iova, segments, 3, RW), -PIOMMU_EFAILED);
        assert_true(reaches_nothing(bench));
    }
    detach(bench);
    close_bench(bench);
}

/* Each shim call of each creating function fails in turn. */
static void test_creation_without_memory_leaves_nothing_behind(void **state)
{
    static const uint32_t ids[] = {1, 2};
    struct piommu_reserved_region region = {.range = {0x8000000, 0x8000fff}};
    unsigned int nth = 1;
    bool done = false;

    for (; !done; nth++) {
        struct fake_os *os = fake_os_create(NULL);
        struct mock *mock = mock_create(os, kind_of(state));
        struct piommu_context *context = NULL;
        struct piommu_instance *instance = NULL;
        struct piommu_device *device = NULL;
        struct piommu_domain *domain = NULL;
        struct device_ids room;
        struct piommu_device_config device_config = {.id_count = 2, .name = "d"};
        struct piommu_domain_config domain_config = {.type = PIOMMU_DOMAIN_PAGING};
        int error;

        mock_set_reserved(mock, &region);
        fake_os_fail_call(os, nth, false);
        error = piommu_context_create(fake_os_host(os), NULL, &context);
        if (error == 0) {
            error = piommu_instance_create(context, mock_backend(mock), &mock, NULL, &instance);
        }
        if (error == 0) {
            device_config.ids = device_ids_of(&room, instance, ids, 2);
            domain_config.instances = &instance;
            domain_config.instance_count = 1;
            error = piommu_device_add(context, &device_config, &device);
        }
        if (error == 0) {
            error = piommu_domain_create(&domain_config, &domain);
        }
        if (error == 0) {
            error = piommu_device_attach(device, domain);
        }
        done = error == 0;
        assert_true(done || error == -PIOMMU_ENOMEM);
        if (done) {
            assert_int_equal(piommu_device_detach(device), 0);
        }
        assert_int_equal(piommu_domain_destroy(domain), 0);
        assert_int_equal(piommu_device_remove(device), 0);
        assert_int_equal(piommu_instance_destroy(instance), 0);
        assert_int_equal(piommu_context_destroy(context), 0);
        fake_os_destroy(os);
        mock_destroy(mock);
    }
    assert_true(nth > 8);
}

/* ---- Faults ---- */

static void test_faults_are_attributed(void **state)
{
    static const uint32_t shared_ids[] = {20, 21};
    static const uint32_t partner_ids[] = {21};
    struct bench *bench = open_full_bench(kind_of(state), 1);
    struct piommu_device *shared = add_device(bench, shared_ids, 2, "shared");
    struct piommu_device *partner = add_device(bench, partner_ids, 1, "partner");
    struct piommu_backend_fault fault = {.id = bench->ids[0],
                                         .reason = PIOMMU_FAULT_MAPPING,
                                         .iova_valid = true,
                                         .write = true,
                                         .iova = 0x1234000,
                                         .raw = 0x55};
    struct piommu_instance_info info;

    attach_to_a(bench);
    mock_raise_fault(bench->mock, &fault);
    assert_int_equal(piommu_instance_service(bench->instance, 0), 0);
    assert_int_equal(piommu_instance_service(bench->instance, 4), 1);
    assert_int_equal(piommu_instance_service(bench->instance, 4), 0);
    assert_int_equal(bench->faults, 1);
    assert_ptr_equal(bench->fault.instance_owner, bench);
    assert_ptr_equal(bench->fault.device_owner, bench);
    assert_ptr_equal(bench->fault.domain_owner, &bench->a);
    assert_string_equal(bench->fault.instance_name, "mock0");
    assert_string_equal(bench->fault.device_name, "dma");
    assert_int_equal(bench->fault.id, bench->ids[0]);
    assert_int_equal(bench->fault.iova, 0x1234000);
    assert_int_equal(bench->fault.reason, PIOMMU_FAULT_MAPPING);
    assert_int_equal(bench->fault.raw, 0x55);
    assert_true(bench->fault.iova_valid && bench->fault.write && !bench->fault.read);

    /* An ID of one member of a group, an ID of two, and one of nobody. */
    fault.id = 20;
    mock_raise_fault(bench->mock, &fault);
    assert_int_equal(piommu_instance_service(bench->instance, 1), 1);
    assert_string_equal(bench->fault.device_name, "shared");
    assert_null(bench->fault.domain_owner);
    fault.id = 21;
    mock_raise_fault(bench->mock, &fault);
    assert_int_equal(piommu_instance_service(bench->instance, 1), 1);
    assert_null(bench->fault.device_name);
    fault.id = 0xffffffff;
    mock_raise_fault(bench->mock, &fault);
    assert_int_equal(piommu_instance_service(bench->instance, 1), 1);
    assert_null(bench->fault.device_owner);
    assert_int_equal(bench->fault.id, 0xffffffff);
    piommu_instance_get_info(bench->instance, &info);
    assert_int_equal(info.faults, 4);

    detach(bench);
    assert_int_equal(piommu_device_remove(shared), 0);
    assert_int_equal(piommu_device_remove(partner), 0);
    close_bench(bench);
}

static void test_a_unit_that_breaks_while_it_is_serviced_has_failed(void **state)
{
    struct bench *bench = open_full_bench(kind_of(state), 1);

    attach_to_a(bench);
    mock_fail_service(bench->mock, -PIOMMU_EIO);
    assert_int_equal(piommu_instance_service(bench->instance, 1), -PIOMMU_EFAILED);
    assert_true(reaches_nothing(bench));
    detach(bench);
    close_bench(bench);
}

int main(void)
{
    static enum piommu_backend_kind tables = PIOMMU_BACKEND_TABLES;
    static enum piommu_backend_kind requests = PIOMMU_BACKEND_REQUESTS;
#define BOTH(test)                                       \
    {#test " (tables)", test, NULL, NULL, &tables},      \
    {                                                    \
#test " (requests)", test, NULL, NULL, &requests \
    }
    static const struct CMUnitTest tests[] = {
        BOTH(test_objects_are_refused_destruction_while_in_use),
        BOTH(test_null_arguments_are_errors),
        BOTH(test_an_incomplete_backend_is_refused),
        BOTH(test_a_context_names_the_callback_that_is_missing),
        BOTH(test_devices_that_share_an_id_form_a_group),
        BOTH(test_a_device_with_bad_ids_leaves_nothing_behind),
        BOTH(test_reserved_regions_are_told_and_kept_free),
        BOTH(test_a_device_reaches_what_its_domain_holds_and_nothing_else),
        BOTH(test_a_blocked_domain_holds_nothing),
        BOTH(test_an_identity_domain_grants_everything),
        BOTH(test_a_domain_of_another_kind_is_refused),
        BOTH(test_a_failed_move_ends_where_the_error_says),
        BOTH(test_a_move_that_cannot_go_back_ends_blocked),
        BOTH(test_a_unit_that_cannot_be_stopped_keeps_its_devices_and_domains),
        BOTH(test_bad_ranges_are_refused_and_change_nothing),
        BOTH(test_a_list_is_mapped_in_order_and_unmapped_by_one_call),
        BOTH(test_a_list_that_conflicts_leaves_nothing_mapped),
        BOTH(test_unmap_says_what_it_found),
        BOTH(test_a_mapping_is_never_cut),
        BOTH(test_nothing_is_reachable_after_sync_however_much_the_hardware_remembers),
        BOTH(test_one_sync_removes_only_what_was_unmapped),
        BOTH(test_memory_of_mappings_is_given_back_by_sync),
        cmocka_unit_test(test_the_top_of_the_space_can_be_mapped_and_not_be_left),
        BOTH(test_unmapped_but_not_synced_is_not_given_again),
        BOTH(test_unmap_and_sync_allocate_nothing_and_unmap_waits_for_nothing),
        BOTH(test_a_failed_sync_is_sticky_and_keeps_what_the_hardware_may_use),
        BOTH(test_a_failed_map_leaves_everything_as_it_was),
        BOTH(test_creation_without_memory_leaves_nothing_behind),
        BOTH(test_faults_are_attributed),
        BOTH(test_a_unit_that_breaks_while_it_is_serviced_has_failed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
