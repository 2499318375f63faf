/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The IPMMU-VMSA backend against the model of the hardware, which keeps stale translations as long
 * as it may. After each access to a register every master tries addresses.
 */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdlib.h>

#include <cmocka.h>

#include <piommu/ipmmu-vmsa.h>
#include <piommu/models/ipmmu-vmsa.h>
#include <piommu/piommu.h>

#include "fake_os.h"
#include "ipmmu_model_connect.h"

#define PAGE    0x1000ull
#define MEMORY  0x80000000ull
#define IOVA    0x40000000ull
#define PAGES   6u
#define MASTERS 4u
#define R       PIOMMU_PROT_READ
#define RW      (PIOMMU_PROT_READ | PIOMMU_PROT_WRITE)

enum { ROOT, CACHE_1, CACHE_2, UNITS };

/* What a kind of system is tested as. */
struct variant {
    enum piommu_ipmmu_model_class generation;
    const char *compatible;
    unsigned int stage;
};

static const struct piommu_ipmmu_model_unit units[UNITS] = {
    {.name = "M", .base = 0xe67b0000, .root = 0},
    {.name = "D", .base = 0xe7740000, .root = 0},
    {.name = "H", .base = 0xe6570000, .root = 0},
};

/* Where masters are: a cache unit, and a micro-TLB. */
static const struct {
    unsigned int unit;
    uint32_t id;
} places[MASTERS] = {{CACHE_1, 3}, {CACHE_1, 34}, {CACHE_2, 2}, {CACHE_2, 5}};

struct grant {
    bool mapped;
    uint64_t physical;
    bool write;
};

struct bench {
    struct fake_os *os;
    struct piommu_ipmmu_model *model;
    struct piommu_context *context;
    struct piommu_instance *instances[UNITS];
    struct piommu_device *devices[MASTERS];
    struct piommu_domain *domains[2];
    struct piommu_ipmmu_vmsa_config places[UNITS];
    /* What a master may reach now, before the call in progress or after it. */
    struct grant granted[MASTERS][2][PAGES];
    bool passes[MASTERS];
    bool probing;
    unsigned int probes;
    unsigned int faults;
    struct piommu_fault fault;
    enum piommu_fault_answer answer;
};

static bool may_reach(const struct bench *bench, unsigned int master, unsigned int page, bool write,
                      uint64_t physical)
{
    for (unsigned int i = 0; i < 2; i++) {
        const struct grant *grant = &bench->granted[master][i][page];

        if (grant->mapped && grant->physical == physical && (!write || grant->write)) {
            return true;
        }
    }
    return bench->passes[master];
}

static void probe(void *ctx, const struct piommu_ipmmu_model_access *access)
{
    struct bench *bench = ctx;

    if (!bench->probing || !access->is_write) {
        return;
    }
    for (unsigned int i = 0; i < MASTERS; i++) {
        for (unsigned int page = 0; page < 2 * PAGES; page++) {
            uint64_t physical = 0;
            bool write = page >= PAGES;
            uint64_t iova = IOVA + (page % PAGES) * PAGE;

            bench->probes++;
            if (piommu_ipmmu_model_dma(bench->model, places[i].unit, places[i].id, iova, write,
                                       &physical) != PIOMMU_IPMMU_MODEL_BLOCKED &&
                !may_reach(bench, i, page % PAGES, write, physical)) {
                fail_msg("master %u reaches %#llx at %#llx", i, (unsigned long long)physical,
                         (unsigned long long)iova);
            }
        }
    }
}

static enum piommu_fault_answer on_fault(void *cookie, const struct piommu_fault *fault)
{
    struct bench *bench = cookie;

    bench->faults++;
    bench->fault = *fault;
    return bench->answer;
}

static struct bench *open_bench(const struct variant *variant,
                                const struct piommu_ipmmu_model_readings *readings)
{
    const struct fake_os_options options = {.non_coherent = true, .seed = 7};
    struct bench *bench = calloc(1, sizeof(*bench));
    struct piommu_ipmmu_model_parameters parameters = {
        .generation = variant->generation,
        .units = units,
        .unit_count = UNITS,
        .product = variant->generation == PIOMMU_IPMMU_MODEL_GEN4 ? 0x5a00 : 0x4f30,
        .readings = readings,
    };
    struct piommu_context_config config = {.cookie = bench, .fault = on_fault};

    assert_non_null(bench);
    bench->os = fake_os_create(&options);
    bench->model = piommu_ipmmu_model_create(
        &parameters,
        (struct piommu_walker_memory){.read64 = fake_os_device_read64, .ctx = bench->os});
    assert_non_null(bench->model);
    ipmmu_model_connect(bench->model, bench->os);
    piommu_ipmmu_model_observe(bench->model, probe, bench);
    assert_int_equal(piommu_context_create(fake_os_host(bench->os), &config, &bench->context), 0);
    for (unsigned int i = 0; i < UNITS; i++) {
        bench->places[i] = (struct piommu_ipmmu_vmsa_config){
            .compatible = variant->compatible,
            .registers = units[i].base,
            .tables = i == ROOT && variant->stage == 2 ? PIOMMU_IPMMU_VMSA_STAGE2
                                                       : PIOMMU_IPMMU_VMSA_STAGE1,
            .product_register = piommu_ipmmu_model_product_address(bench->model),
        };
    }
    return bench;
}

static void start_unit(struct bench *bench, unsigned int unit)
{
    struct piommu_instance_config config = {
        .name = units[unit].name, .key = 1 + unit, .parent_key = unit == ROOT ? 0 : 1 + ROOT};

    assert_int_equal(piommu_instance_create(bench->context, piommu_ipmmu_vmsa_backend(),
                                            &bench->places[unit], &config, &bench->instances[unit]),
                     0);
}

/* Starts the units, a cache unit before its root, and adds the masters. */
static void start(struct bench *bench)
{
    struct piommu_domain_config domain = {
        .type = PIOMMU_DOMAIN_PAGING, .instances = &bench->instances[CACHE_1], .instance_count = 2};

    start_unit(bench, CACHE_1);
    start_unit(bench, ROOT);
    start_unit(bench, CACHE_2);
    bench->probing = true;
    for (unsigned int i = 0; i < MASTERS; i++) {
        struct piommu_device_id id = {.instance = bench->instances[places[i].unit],
                                      .id = places[i].id};
        struct piommu_device_config config = {.ids = &id, .id_count = 1};

        assert_int_equal(piommu_device_add(bench->context, &config, &bench->devices[i]), 0);
    }
    for (unsigned int i = 0; i < 2; i++) {
        assert_int_equal(piommu_domain_create(&domain, &bench->domains[i]), 0);
    }
}

static void close_bench(struct bench *bench)
{
    for (unsigned int i = 0; i < MASTERS && bench->devices[i] != NULL; i++) {
        assert_int_equal(piommu_device_detach(bench->devices[i]), 0);
        assert_int_equal(piommu_device_remove(bench->devices[i]), 0);
    }
    for (unsigned int i = 0; i < 2; i++) {
        assert_int_equal(piommu_domain_destroy(bench->domains[i]), 0);
    }
    bench->probing = false;
    assert_int_equal(piommu_instance_destroy(bench->instances[CACHE_2]), 0);
    assert_int_equal(piommu_instance_destroy(bench->instances[CACHE_1]), 0);
    assert_int_equal(piommu_instance_destroy(bench->instances[ROOT]), 0);
    assert_int_equal(piommu_context_destroy(bench->context), 0);
    ipmmu_model_assert_clean(bench->model);
    fake_os_destroy(bench->os);
    piommu_ipmmu_model_destroy(bench->model);
    free(bench);
}

/* Says what a master may reach from now on; until `settle` what it could before as well. */
static void grant(struct bench *bench, unsigned int master, unsigned int page, uint64_t physical,
                  piommu_prot prot)
{
    bench->granted[master][1][page] = (struct grant){
        .mapped = prot != 0, .physical = physical, .write = (prot & PIOMMU_PROT_WRITE) != 0};
}

static void settle(struct bench *bench)
{
    for (unsigned int i = 0; i < MASTERS; i++) {
        for (unsigned int page = 0; page < PAGES; page++) {
            bench->granted[i][0][page] = bench->granted[i][1][page];
        }
    }
}

static bool reaches(struct bench *bench, unsigned int master, uint64_t iova, bool write,
                    uint64_t physical)
{
    uint64_t found = 0;

    return piommu_ipmmu_model_dma(bench->model, places[master].unit, places[master].id, iova, write,
                                  &found) != PIOMMU_IPMMU_MODEL_BLOCKED &&
           found == physical;
}

static const struct variant variants[] = {
    {PIOMMU_IPMMU_MODEL_GEN3, "renesas,ipmmu-r8a7795", 1},
    {PIOMMU_IPMMU_MODEL_GEN3, "renesas,ipmmu-r8a7795", 2},
    {PIOMMU_IPMMU_MODEL_GEN4, "renesas,ipmmu-r8a779f0", 1},
    {PIOMMU_IPMMU_MODEL_GEN4, "renesas,ipmmu-r8a779f0", 2},
};

#define VARIANTS (sizeof(variants) / sizeof(variants[0]))

/* The whole life of two domains over two cache units, under one reading of what is unknown. */
static void live(const struct variant *variant, const struct piommu_ipmmu_model_readings *readings)
{
    struct bench *bench = open_bench(variant, readings);
    struct piommu_gather gather;

    piommu_gather_init(&gather);
    start(bench);
    for (unsigned int i = 0; i < MASTERS; i++) {
        assert_false(reaches(bench, i, IOVA, false, IOVA));
    }
    assert_int_equal(piommu_domain_map(bench->domains[0], IOVA, MEMORY, 2 * PAGE, RW), 0);
    assert_int_equal(piommu_domain_map(bench->domains[1], IOVA, MEMORY + 8 * PAGE, PAGE, R), 0);
    /* Masters behind both cache units enter the same domain. */
    for (unsigned int i = 0; i < MASTERS; i += 2) {
        grant(bench, i, 0, MEMORY, RW);
        grant(bench, i, 1, MEMORY + PAGE, RW);
        assert_int_equal(piommu_device_attach(bench->devices[i], bench->domains[0]), 0);
        settle(bench);
        assert_true(reaches(bench, i, IOVA + PAGE, true, MEMORY + PAGE));
    }
    assert_false(reaches(bench, 1, IOVA, false, MEMORY));
    /* What is unmapped is gone everywhere when sync returns. */
    assert_int_equal(piommu_domain_unmap(bench->domains[0], IOVA + PAGE, PAGE, &gather, NULL), 0);
    for (unsigned int i = 0; i < MASTERS; i += 2) {
        grant(bench, i, 1, 0, 0);
    }
    assert_int_equal(piommu_domain_sync(bench->domains[0], &gather), 0);
    settle(bench);
    for (unsigned int i = 0; i < MASTERS; i++) {
        assert_false(reaches(bench, i, IOVA + PAGE, false, MEMORY + PAGE));
    }
    /* Directly from one domain to the other. */
    grant(bench, 0, 0, MEMORY + 8 * PAGE, R);
    assert_int_equal(piommu_device_attach(bench->devices[0], bench->domains[1]), 0);
    settle(bench);
    assert_true(reaches(bench, 0, IOVA, false, MEMORY + 8 * PAGE));
    assert_false(reaches(bench, 0, IOVA, true, MEMORY + 8 * PAGE));
    assert_true(reaches(bench, 2, IOVA, true, MEMORY));
    /* Sleep: children before the root, and back in the other order. */
    assert_int_equal(piommu_instance_suspend(bench->instances[ROOT]), -PIOMMU_EBUSY);
    assert_int_equal(piommu_instance_suspend(bench->instances[CACHE_1]), 0);
    assert_int_equal(piommu_instance_suspend(bench->instances[CACHE_2]), 0);
    assert_int_equal(piommu_instance_suspend(bench->instances[ROOT]), 0);
    bench->probing = false; /* the guarantee begins when resume returns */
    for (unsigned int i = 0; i < UNITS; i++) {
        piommu_ipmmu_model_power(bench->model, i, false);
    }
    assert_int_equal(piommu_domain_map(bench->domains[0], IOVA + 3 * PAGE, MEMORY, PAGE, R), 0);
    for (unsigned int i = 0; i < UNITS; i++) {
        piommu_ipmmu_model_power(bench->model, i, true);
        assert_int_equal(piommu_instance_resume(bench->instances[i]), 0);
    }
    bench->probing = true;
    grant(bench, 2, 3, MEMORY, R);
    settle(bench);
    assert_true(reaches(bench, 2, IOVA + 3 * PAGE, false, MEMORY));
    assert_true(reaches(bench, 2, IOVA, true, MEMORY));
    assert_true(reaches(bench, 0, IOVA, false, MEMORY + 8 * PAGE));
    assert_false(reaches(bench, 1, IOVA, false, MEMORY));
    /* Out again: blocked, whatever the hardware keeps. */
    for (unsigned int i = 0; i < MASTERS; i += 2) {
        for (unsigned int page = 0; page < PAGES; page++) {
            grant(bench, i, page, 0, 0);
        }
        assert_int_equal(piommu_device_detach(bench->devices[i]), 0);
        settle(bench);
        assert_false(reaches(bench, i, IOVA, false, MEMORY));
        assert_false(reaches(bench, i, IOVA, false, IOVA));
    }
    assert_true(bench->probes != 0);
    close_bench(bench);
}

static void test_masters_reach_what_they_were_granted_and_nothing_else(void **state)
{
    (void)state;
    for (size_t i = 0; i < VARIANTS; i++) {
        struct piommu_ipmmu_model_readings readings;
        const char *name;

        for (unsigned int number = 0; piommu_ipmmu_model_readings_variant(number, &readings, &name);
             number++) {
            /* Of this one the driver has to choose: Xen's value is in the field. */
            readings.stage2_start = PIOMMU_IPMMU_MODEL_STAGE2_START_1;
            print_message("%s, stage %u: %s\n", variants[i].compatible, variants[i].stage, name);
            live(&variants[i], &readings);
        }
    }
}

/* Takes in what the probing masters have caused. */
static void drain(struct bench *bench)
{
    bench->probing = false;
    assert_true(piommu_instance_service(bench->instances[ROOT], 100) >= 0);
    assert_false(piommu_ipmmu_model_interrupt(bench->model, ROOT));
    bench->faults = 0;
}

static void test_a_fault_is_told_with_its_domain_and_the_only_device_in_it(void **state)
{
    (void)state;
    for (size_t i = 0; i < VARIANTS; i++) {
        struct bench *bench = open_bench(&variants[i], NULL);
        uint64_t iova = variants[i].stage == 1 ? 0xc0001000 : 0x12c0001000;
        bool more = false;

        start(bench);
        assert_int_equal(piommu_domain_map(bench->domains[0], IOVA, MEMORY, PAGE, R), 0);
        for (unsigned int master = 0; master < 4; master += 2) {
            grant(bench, master, 0, MEMORY, R);
            settle(bench);
            assert_int_equal(piommu_device_attach(bench->devices[master], bench->domains[0]), 0);
        }
        drain(bench);
        assert_false(reaches(bench, 0, iova, false, MEMORY));
        assert_true(piommu_ipmmu_model_interrupt(bench->model, ROOT));
        assert_int_equal(piommu_instance_interrupt(bench->instances[ROOT], 8, &more), 1);
        assert_false(piommu_ipmmu_model_interrupt(bench->model, ROOT));
        assert_int_equal(bench->faults, 1);
        assert_true(bench->fault.iova_valid && bench->fault.iova == iova);
        assert_false(bench->fault.id_valid);
        assert_int_equal(bench->fault.reason, PIOMMU_FAULT_TRANSLATION);
        assert_int_equal(piommu_instance_interrupt(bench->instances[ROOT], 8, &more), 0);
        /* Both are in the domain: a block meets both, at once. */
        bench->answer = PIOMMU_FAULT_BLOCK;
        assert_true(reaches(bench, 2, IOVA, false, MEMORY));
        assert_false(reaches(bench, 2, IOVA, true, MEMORY));
        assert_int_equal(piommu_instance_interrupt(bench->instances[ROOT], 8, &more), 1);
        assert_true(more);
        for (unsigned int master = 0; master < 4; master += 2) {
            assert_false(reaches(bench, master, IOVA, false, MEMORY));
        }
        bench->answer = PIOMMU_FAULT_NOTE;
        assert_true(piommu_instance_service(bench->instances[ROOT], 8) >= 0);
        close_bench(bench);
    }
}

static void test_contexts_run_out_and_are_used_again(void **state)
{
    (void)state;
    for (size_t i = 0; i < VARIANTS; i++) {
        unsigned int limit = variants[i].generation == PIOMMU_IPMMU_MODEL_GEN3 ? 6 : 14;
        struct bench *bench = open_bench(&variants[i], NULL);
        struct piommu_domain *domains[16];
        struct piommu_domain_config config = {.type = PIOMMU_DOMAIN_PAGING,
                                              .instances = &bench->instances[CACHE_2],
                                              .instance_count = 1};

        start(bench); /* two of them */
        for (unsigned int round = 0; round < 2; round++) {
            for (unsigned int k = 0; k < limit - 2; k++) {
                assert_int_equal(piommu_domain_create(&config, &domains[k]), 0);
            }
            assert_int_equal(piommu_domain_create(&config, &domains[limit]), -PIOMMU_ENOSPC);
            for (unsigned int k = 0; k < limit - 2; k++) {
                assert_int_equal(piommu_domain_destroy(domains[k]), 0);
            }
        }
        close_bench(bench);
    }
}

static void test_a_flush_that_does_not_end_fails_the_unit_and_blocks_its_masters(void **state)
{
    (void)state;
    for (size_t i = 0; i < VARIANTS; i++) {
        struct bench *bench = open_bench(&variants[i], NULL);
        struct piommu_instance_info info;
        struct piommu_gather gather;

        piommu_gather_init(&gather);
        start(bench);
        assert_int_equal(piommu_domain_map(bench->domains[0], IOVA, MEMORY, PAGE, RW), 0);
        grant(bench, 0, 0, MEMORY, RW);
        settle(bench);
        assert_int_equal(piommu_device_attach(bench->devices[0], bench->domains[0]), 0);
        assert_true(reaches(bench, 0, IOVA, true, MEMORY));
        assert_int_equal(piommu_domain_unmap(bench->domains[0], IOVA, PAGE, &gather, NULL), 0);
        piommu_ipmmu_model_set_flush_polls(bench->model, ROOT, PIOMMU_IPMMU_MODEL_NEVER);
        assert_int_equal(piommu_domain_sync(bench->domains[0], &gather), -PIOMMU_EFAILED);
        assert_true(gather.pending);
        piommu_instance_get_info(bench->instances[CACHE_1], &info);
        assert_int_equal(info.state, PIOMMU_INSTANCE_FAILED);
        assert_false(reaches(bench, 0, IOVA, true, MEMORY));
        piommu_ipmmu_model_set_flush_polls(bench->model, ROOT, 0);
        piommu_ipmmu_model_end_flushes(bench->model, ROOT);
        close_bench(bench);
    }
}

static void test_what_firmware_has_left_does_not_matter(void **state)
{
    (void)state;
    for (size_t i = 0; i < VARIANTS; i++) {
        for (uint32_t seed = 1; seed < 20; seed++) {
            struct bench *bench = open_bench(&variants[i], NULL);

            piommu_ipmmu_model_litter(bench->model, seed);
            start(bench);
            drain(bench);
            bench->probing = true;
            assert_int_equal(piommu_domain_map(bench->domains[1], IOVA, MEMORY, PAGE, RW), 0);
            grant(bench, 3, 0, MEMORY, RW);
            assert_int_equal(piommu_device_attach(bench->devices[3], bench->domains[1]), 0);
            settle(bench);
            assert_true(reaches(bench, 3, IOVA, true, MEMORY));
            close_bench(bench);
        }
    }
}

static void test_an_identity_domain_lets_pass(void **state)
{
    (void)state;
    for (size_t i = 0; i < VARIANTS; i++) {
        struct bench *bench = open_bench(&variants[i], NULL);
        struct piommu_domain_config config = {.type = PIOMMU_DOMAIN_IDENTITY,
                                              .instances = &bench->instances[CACHE_1],
                                              .instance_count = 1};
        struct piommu_domain *identity;

        start(bench);
        assert_int_equal(piommu_domain_create(&config, &identity), 0);
        bench->passes[1] = true;
        assert_int_equal(piommu_device_attach(bench->devices[1], identity), 0);
        assert_true(reaches(bench, 1, MEMORY, true, MEMORY));
        assert_false(reaches(bench, 0, MEMORY, true, MEMORY));
        assert_int_equal(piommu_device_detach(bench->devices[1]), 0);
        bench->passes[1] = false;
        assert_false(reaches(bench, 1, MEMORY, true, MEMORY));
        assert_int_equal(piommu_domain_destroy(identity), 0);
        close_bench(bench);
    }
}

/* A stage-2 table that the host has built for its CPU, and changes itself. */
static void test_devices_use_the_tables_of_the_cpu(void **state)
{
    (void)state;
    for (size_t i = 0; i < VARIANTS; i++) {
        struct bench *bench;
        struct piommu_pgtable_config table_config = {.format = PIOMMU_ARM_64_LPAE_S2,
                                                     .granule = 4096,
                                                     .input_bits = 40,
                                                     .output_bits = 40,
                                                     .flags = PIOMMU_PGTABLE_CONCATENATE};
        struct piommu_shared_table shared = {.config = &table_config};
        struct piommu_domain_config config = {
            .type = PIOMMU_DOMAIN_SHARED, .instance_count = 2, .shared = &shared};
        struct piommu_pgtable_info info;
        struct piommu_requirements requirements;
        struct piommu_pgtable *table;
        struct piommu_domain *domain;
        struct piommu_gather gather;
        uint64_t bytes;

        bench = open_bench(&variants[i], NULL);
        start(bench);
        config.instances = &bench->instances[CACHE_1];
        assert_int_equal(piommu_requirements_get(config.instances, 2, &requirements, NULL), 0);
        assert_int_equal(requirements.shared.formats != 0, variants[i].stage == 2);
        assert_int_equal(piommu_pgtable_create(fake_os_host(bench->os), &table_config, &table), 0);
        piommu_pgtable_get_info(table, &info);
        shared.root = info.root_physical;
        if (variants[i].stage == 1) {
            assert_int_equal(piommu_domain_create(&config, &domain), -PIOMMU_EOPNOTSUPP);
        } else {
            assert_int_equal(piommu_domain_create(&config, &domain), 0);
            assert_int_equal(piommu_pgtable_map(table, IOVA, MEMORY, PAGE, RW, &bytes), 0);
            grant(bench, 2, 0, MEMORY, RW);
            assert_int_equal(piommu_device_attach(bench->devices[2], domain), 0);
            settle(bench);
            assert_true(reaches(bench, 2, IOVA, true, MEMORY));
            piommu_gather_init(&gather);
            assert_int_equal(piommu_pgtable_unmap(table, IOVA, PAGE, &gather, &bytes), 0);
            piommu_pgtable_detach_empty(table, &gather);
            grant(bench, 2, 0, 0, 0);
            assert_int_equal(
                piommu_domain_invalidate(domain, gather.range.first, gather.range.last), 0);
            settle(bench);
            piommu_pgtable_release(table, &gather);
            assert_false(reaches(bench, 2, IOVA, true, MEMORY));
            assert_int_equal(piommu_device_detach(bench->devices[2]), 0);
            assert_int_equal(piommu_domain_destroy(domain), 0);
        }
        piommu_pgtable_destroy(table);
        close_bench(bench);
    }
}

static void test_what_cannot_be_driven_is_refused(void **state)
{
    static const struct {
        const char *compatible;
        unsigned int tables;
        uint32_t product;
        int error;
    } tries[] = {
        {"renesas,ipmmu-r8a7795", PIOMMU_IPMMU_VMSA_STAGE2, 0x4f11,
         -PIOMMU_EOPNOTSUPP}, /* H3 ES1.1 */
        {"renesas,ipmmu-r8a7795", PIOMMU_IPMMU_VMSA_STAGE2, 0,
         -PIOMMU_EOPNOTSUPP}, /* not known which */
        {"renesas,ipmmu-r8a7795", PIOMMU_IPMMU_VMSA_STAGE2, 0x4f20, 0},
        {"renesas,ipmmu-r8a77990", PIOMMU_IPMMU_VMSA_STAGE2, 0x5710, -PIOMMU_EOPNOTSUPP}, /* E3 */
        {"renesas,ipmmu-r8a7795", 3, 0x4f30, -PIOMMU_EINVAL},
        {"renesas,ipmmu-vmsa", PIOMMU_IPMMU_VMSA_STAGE1_64, 0, -PIOMMU_EOPNOTSUPP},
        {"renesas,ipmmu-r8a9999", 0, 0x4f30, -PIOMMU_ENODEV},
        {NULL, 0, 0x4f30, -PIOMMU_ENODEV},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(tries) / sizeof(tries[0]); i++) {
        struct bench *bench = open_bench(&variants[0], NULL);
        struct piommu_ipmmu_vmsa_config place = {.compatible = tries[i].compatible,
                                                 .registers = units[ROOT].base,
                                                 .tables =
                                                     (enum piommu_ipmmu_vmsa_tables)tries[i].tables,
                                                 .product = tries[i].product};
        struct piommu_instance *instance;
        int error = piommu_instance_create(bench->context, piommu_ipmmu_vmsa_backend(), &place,
                                           NULL, &instance);

        assert_int_equal(error, tries[i].error);
        if (error == 0) {
            assert_int_equal(piommu_instance_destroy(instance), 0);
        }
        assert_int_equal(piommu_context_destroy(bench->context), 0);
        fake_os_destroy(bench->os);
        piommu_ipmmu_model_destroy(bench->model);
        free(bench);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_masters_reach_what_they_were_granted_and_nothing_else),
        cmocka_unit_test(test_a_fault_is_told_with_its_domain_and_the_only_device_in_it),
        cmocka_unit_test(test_contexts_run_out_and_are_used_again),
        cmocka_unit_test(test_a_flush_that_does_not_end_fails_the_unit_and_blocks_its_masters),
        cmocka_unit_test(test_what_firmware_has_left_does_not_matter),
        cmocka_unit_test(test_an_identity_domain_lets_pass),
        cmocka_unit_test(test_devices_use_the_tables_of_the_cpu),
        cmocka_unit_test(test_what_cannot_be_driven_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
