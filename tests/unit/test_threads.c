/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * What context.h says may run in parallel, run in parallel on one virtio-iommu: mapping calls on
 * different domains, and fault service. The threads return a verdict, since an assertion outside
 * the test's own thread would end the program without a word. Worth most under the thread
 * sanitizer.
 */

#include "device_ids.h"
#include "fake_os.h"
#include "virtio_iommu_model.h"

#include <piommu/piommu.h>
#include <piommu/virtio-iommu.h>

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define MAPPERS 3u
#define ROUNDS  400u
#define PAGE    0x1000ull
#define RW      (PIOMMU_PROT_READ | PIOMMU_PROT_WRITE)

struct bench {
    struct fake_os *os;
    struct viommu_model *model;
    struct piommu_context *context;
    struct piommu_instance *instance;
    atomic_uint faults;
    atomic_bool stop;
    pthread_barrier_t start; /* all threads begin together */
};

struct mapper {
    struct bench *bench;
    struct piommu_domain *domain;
    unsigned int number;
    const char *complaint; /* NULL: all went well */
};

static enum piommu_fault_answer on_fault(void *cookie, const struct piommu_fault *fault)
{
    struct bench *bench = cookie;

    (void)fault;
    atomic_fetch_add(&bench->faults, 1);
    return PIOMMU_FAULT_NOTE;
}

static uint32_t config_read(void *ctx, unsigned int offset, unsigned int width)
{
    return viommu_model_config_read(ctx, offset, width);
}

static void config_write(void *ctx, unsigned int offset, unsigned int width, uint32_t value)
{
    viommu_model_config_write(ctx, offset, width, value);
}

static uint64_t bar_address(void *ctx, unsigned int number)
{
    return viommu_model_bar_address(ctx, number);
}

static uint64_t bar_size(void *ctx, unsigned int number)
{
    return viommu_model_bar_size(ctx, number);
}

static uint32_t mmio_read(void *ctx, uint64_t offset, unsigned int width)
{
    return viommu_model_mmio_read(ctx, offset, width);
}

static void mmio_write(void *ctx, uint64_t offset, unsigned int width, uint32_t value)
{
    viommu_model_mmio_write(ctx, offset, width, value);
}

/*
 * One answer at a time, and a bad access now and then: so requests of all threads are in flight
 * together.
 */
static void progress(void *ctx)
{
    uint8_t byte;

    viommu_model_run(ctx, 1);
    (void)viommu_model_dma(ctx, 1, 0xdead0000, &byte, 1, false);
}

static void open_bench(struct bench *bench)
{
    struct viommu_model_parameters parameters;
    struct piommu_context_config config = {.fault = on_fault, .cookie = bench};
    struct piommu_virtio_iommu_config place = {.pci = {.segment = 0, .bdf = 8}};
    struct viommu_model_memory memory = {.read = fake_os_device_read,
                                         .write = fake_os_device_write};
    struct fake_os_device device = {.config_read = config_read,
                                    .config_write = config_write,
                                    .bar_address = bar_address,
                                    .bar_size = bar_size,
                                    .mmio_read = mmio_read,
                                    .mmio_write = mmio_write,
                                    .progress = progress,
                                    .bdf = 8,
                                    .bar = VIOMMU_MODEL_BAR};

    bench->os = fake_os_create(&(struct fake_os_options){.threads = true});
    memory.ctx = bench->os;
    viommu_model_default_parameters(&parameters);
    bench->model = viommu_model_create(&parameters, memory);
    viommu_model_set_processing(bench->model, VIOMMU_MODEL_AT_RUN);
    viommu_model_set_order(bench->model, VIOMMU_MODEL_SHUFFLED, 7);
    viommu_model_set_effect(bench->model, VIOMMU_MODEL_EFFECT_AT_DOORBELL);
    device.ctx = bench->model;
    fake_os_connect(bench->os, &device);
    assert_int_equal(piommu_context_create(fake_os_host(bench->os), &config, &bench->context), 0);
    assert_int_equal(piommu_instance_create(bench->context, piommu_virtio_iommu_backend(), &place,
                                            NULL, &bench->instance),
                     0);
}

/* Maps, looks up and unmaps at addresses of its own, many segments at a time. */
static const char *map_and_unmap(struct mapper *mapper)
{
    struct piommu_segment segments[5];
    uint64_t base = PAGE * 16 * mapper->number;

    for (unsigned int round = 0; round < ROUNDS; round++) {
        struct piommu_translation translation;
        struct piommu_gather gather;
        size_t count = 1 + round % 5;

        for (size_t i = 0; i < count; i++) {
            /* Never adjacent: each segment is a request. */
            segments[i].physical = (100 * mapper->number + 2 * (i + 1) + round) * PAGE;
            segments[i].size = PAGE;
        }
        if (piommu_domain_map_list(mapper->domain, base, segments, count, RW) != 0) {
            return "a map failed";
        }
        if (piommu_domain_lookup(mapper->domain, base + (count - 1) * PAGE, &translation) != 0 ||
            translation.physical != segments[count - 1].physical) {
            return "a lookup went wrong";
        }
        piommu_gather_init(&gather);
        if (piommu_domain_unmap(mapper->domain, base, count * PAGE, &gather, NULL) != 0 ||
            piommu_domain_sync(mapper->domain, &gather) != 0) {
            return "an unmap failed";
        }
    }
    return NULL;
}

static void *mapper_thread(void *argument)
{
    struct mapper *mapper = argument;

    pthread_barrier_wait(&mapper->bench->start);
    mapper->complaint = map_and_unmap(mapper);
    return NULL;
}

static void *service_thread(void *argument)
{
    struct bench *bench = argument;

    pthread_barrier_wait(&bench->start);
    /* Reports wait in the queue: even if this thread did not run until now, it gets some. */
    while (!atomic_load(&bench->stop) || atomic_load(&bench->faults) == 0) {
        if (piommu_instance_service(bench->instance, 8) < 0) {
            return (void *)(uintptr_t) "service failed";
        }
    }
    return NULL;
}

static void test_domains_are_mapped_in_parallel_with_each_other_and_with_service(void **state)
{
    struct bench bench = {.faults = 0};
    struct mapper mappers[MAPPERS];
    struct piommu_device *devices[MAPPERS];
    pthread_t threads[MAPPERS];
    pthread_t service;
    void *complaint;

    (void)state;
    open_bench(&bench);
    pthread_barrier_init(&bench.start, NULL, MAPPERS + 1);
    for (uint32_t i = 0; i < MAPPERS; i++) {
        uint32_t id = i + 1;
        struct device_ids room;
        struct piommu_device_config device = {.ids = device_ids_of(&room, bench.instance, &id, 1),
                                              .id_count = 1};
        struct piommu_domain_config domain = {
            .type = PIOMMU_DOMAIN_PAGING, .instances = &bench.instance, .instance_count = 1};

        assert_true(viommu_model_add_endpoint(bench.model, id, NULL, 0));
        mappers[i] = (struct mapper){.bench = &bench, .number = i};
        assert_int_equal(piommu_device_add(bench.context, &device, &devices[i]), 0);
        assert_int_equal(piommu_domain_create(&domain, &mappers[i].domain), 0);
        assert_int_equal(piommu_device_attach(devices[i], mappers[i].domain), 0);
    }
    assert_int_equal(pthread_create(&service, NULL, service_thread, &bench), 0);
    for (unsigned int i = 0; i < MAPPERS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, mapper_thread, &mappers[i]), 0);
    }
    for (unsigned int i = 0; i < MAPPERS; i++) {
        pthread_join(threads[i], NULL);
    }
    atomic_store(&bench.stop, true);
    pthread_join(service, &complaint);
    assert_null(complaint);
    for (unsigned int i = 0; i < MAPPERS; i++) {
        uint32_t number;

        assert_null(mappers[i].complaint);
        assert_true(viommu_model_domain_of(bench.model, i + 1, &number));
        assert_int_equal(viommu_model_mapping_count(bench.model, number), 0);
        assert_int_equal(piommu_device_detach(devices[i]), 0);
        assert_int_equal(piommu_device_remove(devices[i]), 0);
        assert_int_equal(piommu_domain_destroy(mappers[i].domain), 0);
    }
    assert_true(atomic_load(&bench.faults) != 0);
    assert_int_equal(viommu_model_violations(bench.model), 0);
    assert_int_equal(piommu_instance_destroy(bench.instance), 0);
    assert_int_equal(piommu_context_destroy(bench.context), 0);
    pthread_barrier_destroy(&bench.start);
    viommu_model_destroy(bench.model);
    fake_os_destroy(bench.os);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_domains_are_mapped_in_parallel_with_each_other_and_with_service),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
