/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * A domain with devices behind two virtio-iommus, one of which refuses, sleeps, or is lost and
 * comes back. What is in both is compared with each other and with what the core knows.
 */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "fake_os.h"
#include "virtio_iommu_model.h"

#include <piommu/piommu.h>
#include <piommu/virtio-iommu.h>

#define PAIR      2u
#define ID(n)     (0x10u + (n))
#define PAGE      0x1000ull
#define FAR       0x100000000ull
#define FIRST     0x0a003c00ull /* the registers of one behind those of the other */
#define OLD       0x100000ull
#define NEW       0x200000ull
#define RW        (PIOMMU_PROT_READ | PIOMMU_PROT_WRITE)
#define LAST_PAGE (0 - PAGE)

struct pair {
    struct fake_os *os;
    struct viommu_model *models[PAIR];
    struct piommu_context *context;
    struct piommu_instance *instances[PAIR];
    struct piommu_device *devices[PAIR];
    struct piommu_domain *domain;
    bool silent[PAIR]; /* it answers nothing any more */
};

/* ---- Between the fake OS and the models ---- */

static struct viommu_model *model_at(struct pair *pair, uint64_t physical, uint64_t *offset)
{
    uint64_t number = (physical - FIRST) / VIOMMU_MODEL_MMIO_SIZE;

    assert_true(physical >= FIRST && number < PAIR);
    *offset = (physical - FIRST) % VIOMMU_MODEL_MMIO_SIZE;
    return pair->models[number];
}

static uint32_t bus_read(void *ctx, uint64_t physical, unsigned int width)
{
    uint64_t offset;
    struct viommu_model *model = model_at(ctx, physical, &offset);

    return viommu_model_mmio_read(model, offset, width);
}

static void bus_write(void *ctx, uint64_t physical, unsigned int width, uint32_t value)
{
    uint64_t offset;
    struct viommu_model *model = model_at(ctx, physical, &offset);

    viommu_model_mmio_write(model, offset, width, value);
}

static void progress(void *ctx)
{
    struct pair *pair = ctx;

    for (size_t i = 0; i < PAIR; i++) {
        if (pair->models[i] != NULL && !pair->silent[i]) {
            viommu_model_run(pair->models[i], 3);
        }
    }
}

/* ---- Life ---- */

static void open_unit(struct pair *pair, uint32_t number)
{
    struct viommu_model_memory memory = {
        .read = fake_os_device_read, .write = fake_os_device_write, .ctx = pair->os};
    struct viommu_model_parameters parameters;
    struct piommu_virtio_iommu_config place = {.registers = FIRST + number * VIOMMU_MODEL_MMIO_SIZE,
                                               .registers_size = VIOMMU_MODEL_MMIO_SIZE};
    const struct piommu_instance_config config = {.name = number == 0 ? "first" : "second",
                                                  .timeout = 1000000};
    struct piommu_device_id id = {.id = ID(number)};
    struct piommu_device_config device = {.ids = &id, .id_count = 1};

    viommu_model_default_parameters(&parameters);
    parameters.transport = VIOMMU_MODEL_MMIO;
    parameters.mmio_address = place.registers;
    parameters.offered_features |= VIOMMU_MODEL_F_EVENT_IDX;
    pair->models[number] = viommu_model_create(&parameters, memory);
    viommu_model_set_processing(pair->models[number], VIOMMU_MODEL_AT_RUN);
    viommu_model_add_endpoint(pair->models[number], ID(number), NULL, 0);
    assert_int_equal(piommu_instance_create(pair->context, piommu_virtio_iommu_backend(), &place,
                                            &config, &pair->instances[number]),
                     0);
    id.instance = pair->instances[number];
    assert_int_equal(piommu_device_add(pair->context, &device, &pair->devices[number]), 0);
}

static void open_pair(struct pair *pair)
{
    static const struct fake_os_options options = {.scattered = true};
    struct fake_os_bus bus = {
        .ctx = pair, .read = bus_read, .write = bus_write, .progress = progress};
    struct piommu_domain_config domain = {
        .type = PIOMMU_DOMAIN_PAGING, .instances = pair->instances, .instance_count = PAIR};

    memset(pair, 0, sizeof(*pair));
    pair->os = fake_os_create(&options);
    fake_os_connect_bus(pair->os, &bus);
    assert_int_equal(piommu_context_create(fake_os_host(pair->os), NULL, &pair->context), 0);
    for (uint32_t i = 0; i < PAIR; i++) {
        open_unit(pair, i);
    }
    assert_int_equal(piommu_domain_create(&domain, &pair->domain), 0);
    for (uint64_t i = 0; i < 5; i++) {
        assert_int_equal(
            piommu_domain_map(pair->domain, OLD + 2 * i * PAGE, FAR + i * PAGE, PAGE, RW), 0);
    }
    for (uint32_t i = 0; i < PAIR; i++) {
        assert_int_equal(piommu_device_attach(pair->devices[i], pair->domain), 0);
    }
}

static void close_pair(struct pair *pair)
{
    for (uint32_t i = 0; i < PAIR; i++) {
        assert_int_equal(piommu_device_detach(pair->devices[i]), 0);
        assert_int_equal(piommu_device_remove(pair->devices[i]), 0);
    }
    assert_int_equal(piommu_domain_destroy(pair->domain), 0);
    for (uint32_t i = 0; i < PAIR; i++) {
        assert_int_equal(piommu_instance_destroy(pair->instances[i]), 0);
    }
    assert_int_equal(piommu_context_destroy(pair->context), 0);
    fake_os_destroy(pair->os);
    for (uint32_t i = 0; i < PAIR; i++) {
        assert_int_equal(viommu_model_violations(pair->models[i]), 0);
        viommu_model_destroy(pair->models[i]);
    }
}

/* ---- Comparing ---- */

static bool reaches(const struct pair *pair, uint32_t number, uint64_t iova, uint64_t *physical)
{
    return viommu_model_translate(pair->models[number], ID(number), iova, true, physical) ==
           VIOMMU_MODEL_MAPPED;
}

/* The device of a unit reaches what is mapped, and nothing else of what is looked at. */
static void expect_exactly(const struct pair *pair, uint32_t number)
{
    static const uint64_t looks[] = {0, OLD - 1, OLD, OLD + PAGE, NEW, NEW + PAGE, LAST_PAGE};
    struct piommu_translation found;
    uint64_t physical = 0;
    uint64_t from = 0;
    uint64_t first;
    uint32_t domain;
    size_t count = 0;

    assert_true(viommu_model_domain_of(pair->models[number], ID(number), &domain));
    while (piommu_domain_next(pair->domain, from, UINT64_MAX, &first, &found) == 0) {
        assert_true(reaches(pair, number, first, &physical));
        assert_int_equal(physical, found.physical);
        from = first + found.leaf_size;
        count++;
    }
    assert_int_equal(viommu_model_mapping_count(pair->models[number], domain), count);
    for (size_t i = 0; i < sizeof(looks) / sizeof(looks[0]); i++) {
        bool mapped = piommu_domain_lookup(pair->domain, looks[i], &found) == 0;

        assert_int_equal(reaches(pair, number, looks[i], NULL), mapped);
    }
}

static void expect_both(const struct pair *pair)
{
    expect_exactly(pair, 0);
    expect_exactly(pair, 1);
}

static void expect_nothing(const struct pair *pair, uint32_t number)
{
    for (uint64_t i = 0; i < 10; i++) {
        assert_false(reaches(pair, number, OLD + i * PAGE, NULL));
    }
    assert_int_equal(viommu_model_translate(pair->models[number], ID(number), FAR, false, NULL),
                     VIOMMU_MODEL_BLOCKED);
}

static int map_new(const struct pair *pair)
{
    const struct piommu_segment segments[] = {{FAR + 100 * PAGE, PAGE}, {FAR + 50 * PAGE, PAGE}};

    return piommu_domain_map_list(pair->domain, NEW, segments, 2, RW);
}

static void lose(struct pair *pair, uint32_t number)
{
    viommu_model_misbehave(pair->models[number], VIOMMU_MODEL_NEEDS_RESET, 0, 0);
    assert_int_equal(piommu_instance_service(pair->instances[number], 1), -PIOMMU_EFAILED);
    expect_nothing(pair, number);
}

/* ---- Tests ---- */

static void test_a_map_reaches_both_units(void **state)
{
    struct pair pair;
    struct piommu_gather gather;

    (void)state;
    open_pair(&pair);
    assert_int_equal(map_new(&pair), 0);
    expect_both(&pair);
    piommu_gather_init(&gather);
    assert_int_equal(piommu_domain_unmap(pair.domain, OLD, 10 * PAGE, &gather, NULL), 0);
    assert_int_equal(piommu_domain_sync(pair.domain, &gather), 0);
    expect_both(&pair);
    close_pair(&pair);
}

static void test_a_map_that_one_refuses_is_in_neither(void **state)
{
    (void)state;
    for (uint32_t number = 0; number < PAIR; number++) {
        for (uint64_t nth = 1; nth <= 2; nth++) {
            struct pair pair;

            open_pair(&pair);
            viommu_model_fail_request(pair.models[number], VIOMMU_MODEL_MAP, nth,
                                      VIOMMU_MODEL_S_NOMEM);
            assert_int_equal(map_new(&pair), -PIOMMU_ENOMEM);
            expect_both(&pair);
            assert_int_equal(map_new(&pair), 0);
            expect_both(&pair);
            close_pair(&pair);
        }
    }
}

/* The one that is well goes on alone, and the other one catches up when it is recovered. */
static void test_one_is_lost_in_a_map_and_comes_back(void **state)
{
    (void)state;
    for (uint32_t number = 0; number < PAIR; number++) {
        struct pair pair;

        open_pair(&pair);
        pair.silent[number] = true;
        assert_int_equal(map_new(&pair), -PIOMMU_EFAILED);
        expect_nothing(&pair, number);
        expect_exactly(&pair, 1 - number);
        /* Now it is known: nobody waits for it again. */
        assert_int_equal(map_new(&pair), -PIOMMU_EFAILED);
        expect_exactly(&pair, 1 - number);
        assert_int_equal(piommu_instance_recover(pair.instances[1 - number]), 0);
        pair.silent[number] = false;
        assert_int_equal(piommu_instance_recover(pair.instances[number]), 0);
        expect_both(&pair);
        assert_int_equal(map_new(&pair), 0);
        expect_both(&pair);
        close_pair(&pair);
    }
}

static void test_one_is_lost_in_a_sync_and_comes_back(void **state)
{
    (void)state;
    for (uint32_t number = 0; number < PAIR; number++) {
        struct pair pair;
        struct piommu_gather gather;

        open_pair(&pair);
        piommu_gather_init(&gather);
        assert_int_equal(piommu_domain_unmap(pair.domain, OLD, 4 * PAGE, &gather, NULL), 0);
        pair.silent[number] = true;
        assert_int_equal(piommu_domain_sync(pair.domain, &gather), -PIOMMU_EFAILED);
        assert_true(gather.pending);
        expect_nothing(&pair, number);
        expect_exactly(&pair, 1 - number); /* it has forgotten all the same */
        pair.silent[number] = false;
        assert_int_equal(piommu_instance_recover(pair.instances[number]), 0);
        expect_exactly(&pair, number);
        assert_int_equal(piommu_domain_map(pair.domain, OLD, FAR, PAGE, RW), -PIOMMU_EEXIST);
        assert_int_equal(piommu_domain_sync(pair.domain, &gather), 0);
        assert_int_equal(piommu_domain_map(pair.domain, OLD, FAR + 7 * PAGE, PAGE, RW), 0);
        expect_both(&pair);
        close_pair(&pair);
    }
}

static void test_a_recovery_of_one_leaves_the_other_alone(void **state)
{
    struct pair pair;
    uint64_t doorbells;

    (void)state;
    open_pair(&pair);
    lose(&pair, 1);
    expect_exactly(&pair, 0);
    doorbells = viommu_model_counters(pair.models[0])->doorbells[VIOMMU_MODEL_REQUEST_QUEUE];
    assert_int_equal(piommu_instance_recover(pair.instances[1]), 0);
    assert_int_equal(viommu_model_counters(pair.models[0])->doorbells[VIOMMU_MODEL_REQUEST_QUEUE],
                     doorbells);
    expect_both(&pair);
    /* Both at once. */
    lose(&pair, 0);
    lose(&pair, 1);
    for (uint32_t i = PAIR; i-- > 0;) {
        assert_int_equal(piommu_instance_recover(pair.instances[i]), 0);
        expect_exactly(&pair, i);
    }
    close_pair(&pair);
}

static void test_one_sleeps_while_the_other_works(void **state)
{
    (void)state;
    for (uint32_t number = 0; number < PAIR; number++) {
        struct pair pair;
        struct piommu_gather gather;

        open_pair(&pair);
        assert_int_equal(piommu_instance_suspend(pair.instances[number]), 0);
        expect_nothing(&pair, number);
        assert_int_equal(map_new(&pair), 0);
        piommu_gather_init(&gather);
        assert_int_equal(piommu_domain_unmap(pair.domain, OLD, 4 * PAGE, &gather, NULL), 0);
        assert_int_equal(piommu_domain_sync(pair.domain, &gather), 0);
        expect_exactly(&pair, 1 - number);
        expect_nothing(&pair, number);
        assert_int_equal(piommu_instance_resume(pair.instances[number]), 0);
        expect_both(&pair);
        close_pair(&pair);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_map_reaches_both_units),
        cmocka_unit_test(test_a_map_that_one_refuses_is_in_neither),
        cmocka_unit_test(test_one_is_lost_in_a_map_and_comes_back),
        cmocka_unit_test(test_one_is_lost_in_a_sync_and_comes_back),
        cmocka_unit_test(test_a_recovery_of_one_leaves_the_other_alone),
        cmocka_unit_test(test_one_sleeps_while_the_other_works),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
