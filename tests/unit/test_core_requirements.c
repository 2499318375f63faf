/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * What instances demand together and who is to blame for it; and domains that share a stage-2 table
 * of the CPU, which must be as they demand.
 */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include <piommu/piommu.h>

#include "units_fixture.h"

#define PAGE   0x1000ull
#define RW     (PIOMMU_PROT_READ | PIOMMU_PROT_WRITE)
#define IOVA   0x40000000ull
#define MEMORY 0x50000000ull

static struct spy_options tables = {.kind = PIOMMU_BACKEND_TABLES};
static struct spy_options requests = {.kind = PIOMMU_BACKEND_REQUESTS};

static const struct spy_options *options_of(void **state)
{
    return *state;
}

static unsigned int add_adjusted(struct units *units, const struct spy_options *given,
                                 void (*adjust)(struct piommu_backend_info *info), const char *name)
{
    struct spy_options options = *given;

    options.adjust = adjust;
    return units_add(units, &options, name);
}

static struct piommu_requirements requirements_of(struct units *units, unsigned int count)
{
    struct piommu_requirements requirements;

    assert_int_equal(piommu_requirements_get(units->instances, count, &requirements, NULL), 0);
    return requirements;
}

/* ---- One instance ---- */

static void test_one_instance_demands_what_it_is(void **state)
{
    struct units *units = units_open();
    unsigned int unit = units_add(units, options_of(state), "mmu");
    struct piommu_requirements requirements = requirements_of(units, 1);
    struct piommu_instance_info info;

    piommu_instance_get_info(units->instances[unit], &info);
    assert_int_equal(requirements.tables, options_of(state)->kind == PIOMMU_BACKEND_TABLES);
    assert_int_equal(requirements.tables, info.tables);
    assert_int_equal(requirements.aperture.first, info.aperture.first);
    assert_int_equal(requirements.aperture.last, info.aperture.last);
    assert_int_equal(requirements.aperture.last, 0x7fffffffffull);
    assert_int_equal(requirements.leaf_sizes, info.leaf_sizes);
    assert_int_equal(requirements.leaf_sizes, 0x40201000);
    assert_int_equal(requirements.prot, info.prot);
    assert_int_equal(requirements.write_only, info.write_only);
    assert_true(requirements.identity && info.identity);
    /* What it limits is its doing; what is as good as can be is nobody's. */
    assert_ptr_equal(requirements.limited_by[PIOMMU_LIMIT_APERTURE], units->instances[unit]);
    assert_null(requirements.limited_by[PIOMMU_LIMIT_IDENTITY]);
    units_close(units);
}

static void test_limits_of_tables_are_told(void **state)
{
    struct units *units = units_open();
    struct piommu_requirements requirements;
    struct piommu_instance_info info;

    (void)state;
    (void)units_add(units, &tables, "mmu");
    requirements = requirements_of(units, 1);
    piommu_instance_get_info(units->instances[0], &info);
    assert_true(info.shared);
    assert_int_equal(requirements.output_bits, 40);
    assert_true(requirements.coherent_walk);
    assert_false(requirements.stage2);
    assert_null(requirements.limited_by[PIOMMU_LIMIT_COHERENT_WALK]);
    assert_int_equal(requirements.shared.formats, 1u << PIOMMU_ARM_64_LPAE_S2);
    assert_int_equal(requirements.shared.granules, 4096);
    assert_int_equal(requirements.shared.input_first, 32);
    assert_int_equal(requirements.shared.input_last, 40);
    assert_int_equal(requirements.shared.start_first, 1);
    assert_int_equal(requirements.shared.start_last, 2);
    assert_int_equal(requirements.shared.concatenated, 16);
    assert_int_equal(requirements.shared.output_bits, 40);
    assert_int_equal(requirements.shared.leaf_sizes, 0x40201000);
    assert_int_equal(requirements.shared.features, PIOMMU_PGTABLE_CONTIGUOUS | PIOMMU_PGTABLE_XNX);
    assert_false(requirements.shared.ds);
    assert_true(requirements.shared.coherent_walk);
    units_close(units);
}

static void test_requests_share_no_tables(void **state)
{
    struct units *units = units_open();
    struct piommu_requirements requirements;
    struct piommu_instance_info info;

    (void)state;
    (void)units_add(units, &requests, "mmu");
    requirements = requirements_of(units, 1);
    piommu_instance_get_info(units->instances[0], &info);
    assert_false(info.shared);
    assert_int_equal(requirements.shared.formats, 0);
    units_close(units);
}

/* ---- Who imposed a limit ---- */

static void low_aperture(struct piommu_backend_info *info)
{
    info->aperture.last = 0xffffffff;
    info->table.input_bits = 32;
}

static void big_granule(struct piommu_backend_info *info)
{
    info->leaf_sizes = 0x40200000;
}

static void few_leaves(struct piommu_backend_info *info)
{
    info->leaf_sizes = 0x1000;
    info->table.leaf_sizes = 0x1000;
}

static void wide_prot(struct piommu_backend_info *info)
{
    info->prot |= PIOMMU_PROT_DEVICE | PIOMMU_PROT_NONCACHEABLE;
    info->write_only = true;
}

static void no_identity(struct piommu_backend_info *info)
{
    info->identity = false;
}

static void few_output_bits(struct piommu_backend_info *info)
{
    info->output_bits = 36;
    info->table.output_bits = 36;
}

static void not_coherent(struct piommu_backend_info *info)
{
    info->table.coherent_walk = false;
}

static void all_formats(struct piommu_backend_info *info)
{
    info->shared.formats = 1u << PIOMMU_ARM_64_LPAE_S2 | 1u << PIOMMU_ARM_32_LPAE_S2;
}

static void all_granules(struct piommu_backend_info *info)
{
    info->shared.granules = 4096 | 16384 | 65536;
}

static void less_input(struct piommu_backend_info *info)
{
    info->shared.input_last = 36;
}

static void more_input_at_least(struct piommu_backend_info *info)
{
    info->shared.input_first = 38;
}

static void one_start(struct piommu_backend_info *info)
{
    info->shared.start_first = 1;
    info->shared.start_last = 1;
}

static void few_concatenated(struct piommu_backend_info *info)
{
    info->shared.concatenated = 2;
}

static void less_shared_output(struct piommu_backend_info *info)
{
    info->shared.output_bits = 36;
}

static void few_shared_leaves(struct piommu_backend_info *info)
{
    info->shared.leaf_sizes = 0x201000;
}

static void no_features(struct piommu_backend_info *info)
{
    info->shared.features = 0;
}

static void shared_not_coherent(struct piommu_backend_info *info)
{
    info->shared.coherent_walk = false;
}

/* Makes every instance but the worse one as good as can be where the mock is not. */
static void better(struct piommu_backend_info *info)
{
    info->prot |= PIOMMU_PROT_DEVICE | PIOMMU_PROT_NONCACHEABLE;
    info->write_only = true;
    info->shared.formats = 1u << PIOMMU_ARM_64_LPAE_S2 | 1u << PIOMMU_ARM_32_LPAE_S2;
    info->shared.granules = 4096 | 16384 | 65536;
}

static const struct {
    enum piommu_limit limit;
    /** Who has the limit, and who has not. */
    void (*worse)(struct piommu_backend_info *info);
    void (*good)(struct piommu_backend_info *info);
    bool tables_only;
} limits[] = {
    {PIOMMU_LIMIT_APERTURE, low_aperture, NULL, false},
    {PIOMMU_LIMIT_LEAF_SIZES, few_leaves, NULL, false},
    {PIOMMU_LIMIT_PROT, NULL, wide_prot, false},
    {PIOMMU_LIMIT_IDENTITY, no_identity, NULL, false},
    {PIOMMU_LIMIT_OUTPUT_BITS, few_output_bits, NULL, false},
    {PIOMMU_LIMIT_COHERENT_WALK, not_coherent, NULL, true},
    {PIOMMU_LIMIT_SHARED_FORMATS, NULL, all_formats, true},
    {PIOMMU_LIMIT_SHARED_GRANULES, NULL, all_granules, true},
    {PIOMMU_LIMIT_SHARED_INPUT, less_input, NULL, true},
    {PIOMMU_LIMIT_SHARED_INPUT, more_input_at_least, NULL, true},
    {PIOMMU_LIMIT_SHARED_START, one_start, NULL, true},
    {PIOMMU_LIMIT_SHARED_CONCATENATED, few_concatenated, NULL, true},
    {PIOMMU_LIMIT_SHARED_OUTPUT, less_shared_output, NULL, true},
    {PIOMMU_LIMIT_SHARED_LEAF_SIZES, few_shared_leaves, NULL, true},
    {PIOMMU_LIMIT_SHARED_FEATURES, no_features, NULL, true},
    {PIOMMU_LIMIT_SHARED_COHERENT, shared_not_coherent, NULL, true},
};

static void test_each_limit_names_the_instance_that_imposed_it(void **state)
{
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        if (limits[i].tables_only && options_of(state)->kind != PIOMMU_BACKEND_TABLES) {
            continue;
        }
        for (unsigned int place = 0; place < 3; place++) {
            struct units *units = units_open();
            struct piommu_requirements requirements;

            for (unsigned int j = 0; j < 3; j++) {
                (void)add_adjusted(units, options_of(state),
                                   j == place ? limits[i].worse : limits[i].good, "mmu");
            }
            requirements = requirements_of(units, 3);
            if (requirements.limited_by[limits[i].limit] != units->instances[place]) {
                fail_msg("%s: not the instance at place %u", piommu_limit_name(limits[i].limit),
                         place);
            }
            units_close(units);
        }
    }
}

static void test_the_granule_is_named_by_who_does_not_know_a_smaller_one(void **state)
{
    for (unsigned int place = 0; place < 2; place++) {
        struct units *units = units_open();
        struct piommu_requirements requirements;

        (void)state;
        for (unsigned int j = 0; j < 2; j++) {
            (void)add_adjusted(units, &requests, j == place ? big_granule : NULL, "mmu");
        }
        requirements = requirements_of(units, 2);
        assert_int_equal(requirements.leaf_sizes, 0x40200000);
        assert_ptr_equal(requirements.limited_by[PIOMMU_LIMIT_GRANULE], units->instances[place]);
        units_close(units);
    }
}

static void test_of_several_that_agree_the_first_is_named(void **state)
{
    struct units *units = units_open();
    struct piommu_requirements requirements;

    (void)add_adjusted(units, options_of(state), better, "mmu0");
    for (unsigned int i = 1; i < 4; i++) {
        (void)add_adjusted(units, options_of(state), low_aperture, "mmu");
    }
    requirements = requirements_of(units, 4);
    assert_ptr_equal(requirements.limited_by[PIOMMU_LIMIT_APERTURE], units->instances[1]);
    assert_ptr_equal(requirements.limited_by[PIOMMU_LIMIT_PROT], units->instances[1]);
    units_close(units);
}

static void test_together_they_have_the_least_of_everything(void **state)
{
    static void (*const adjustments[])(struct piommu_backend_info *) = {
        low_aperture, few_output_bits, not_coherent, less_input, few_concatenated, no_features};
    struct units *units = units_open();
    struct piommu_requirements requirements;

    (void)state;
    for (unsigned int i = 0; i < 6; i++) {
        (void)add_adjusted(units, &tables, adjustments[i], "mmu");
    }
    requirements = requirements_of(units, 6);
    assert_int_equal(requirements.aperture.last, 0xffffffff);
    assert_int_equal(requirements.output_bits, 36);
    assert_false(requirements.coherent_walk);
    assert_int_equal(requirements.shared.input_first, 32);
    assert_int_equal(requirements.shared.input_last, 36);
    assert_int_equal(requirements.shared.concatenated, 2);
    assert_int_equal(requirements.shared.features, 0);
    assert_int_equal(requirements.shared.output_bits, 40);
    units_close(units);
}

static void only_short(struct piommu_backend_info *info)
{
    info->shared.input_first = 32;
    info->shared.input_last = 33;
}

static void only_long(struct piommu_backend_info *info)
{
    info->shared.input_first = 40;
    info->shared.input_last = 40;
}

static void test_units_that_agree_on_no_shared_table_have_other_domains_together(void **state)
{
    struct units *units = units_open();
    struct piommu_requirements requirements;

    (void)state;
    (void)add_adjusted(units, &tables, only_short, "short");
    (void)add_adjusted(units, &tables, only_long, "long");
    requirements = requirements_of(units, 2);
    /* No width is left, so there is no format either. */
    assert_true(requirements.shared.formats == 0 ||
                requirements.shared.input_first > requirements.shared.input_last);
    assert_ptr_equal(requirements.limited_by[PIOMMU_LIMIT_SHARED_INPUT], units->instances[1]);
    (void)units_domain(units, "together", 0, 2);
    units_close(units);
}

static void upper_space(struct piommu_backend_info *info)
{
    info->aperture.first = 0x8000000000ull;
    info->aperture.last = 0xffffffffffull;
}

static void test_who_does_not_fit_is_named(void **state)
{
    for (unsigned int place = 1; place < 4; place++) {
        struct units *units = units_open();
        struct piommu_requirements requirements;
        struct piommu_instance *culprit = NULL;

        memset(&requirements, 0xa5, sizeof(requirements));
        for (unsigned int j = 0; j < 4; j++) {
            const struct spy_options *other =
                options_of(state)->kind == PIOMMU_BACKEND_TABLES ? &requests : &tables;

            /* All from that place on are of the other kind. */
            (void)units_add(units, j >= place ? other : options_of(state), "mmu");
        }
        assert_int_equal(piommu_requirements_get(units->instances, 4, &requirements, &culprit),
                         -PIOMMU_EMIXED);
        assert_ptr_equal(culprit, units->instances[place]);
        assert_int_equal(piommu_requirements_get(units->instances, 4, &requirements, NULL),
                         -PIOMMU_EMIXED);
        /* A result that is not set is not touched. */
        assert_int_equal(requirements.output_bits, 0xa5);
        assert_int_equal(piommu_requirements_get(units->instances, place, &requirements, NULL), 0);
        units_close(units);
    }
}

static void test_who_leaves_no_address_is_named(void **state)
{
    struct units *units = units_open();
    struct piommu_requirements requirements;
    struct piommu_instance *culprit = NULL;

    (void)state;
    (void)units_add(units, &requests, "mmu0");
    (void)units_add(units, &requests, "mmu1");
    (void)add_adjusted(units, &requests, upper_space, "mmu2");
    assert_int_equal(piommu_requirements_get(units->instances, 3, &requirements, &culprit),
                     -PIOMMU_EMIXED);
    assert_ptr_equal(culprit, units->instances[2]);
    units_close(units);
}

static void test_bad_questions_are_refused(void **state)
{
    struct units *units = units_open();
    struct piommu_requirements requirements;
    struct piommu_instance *culprit = NULL;
    struct piommu_instance *with_hole[2] = {NULL, NULL};

    (void)units_add(units, options_of(state), "mmu");
    with_hole[0] = units->instances[0];
    assert_int_equal(piommu_requirements_get(NULL, 1, &requirements, &culprit), -PIOMMU_EINVAL);
    assert_int_equal(piommu_requirements_get(units->instances, 0, &requirements, &culprit),
                     -PIOMMU_EINVAL);
    assert_int_equal(piommu_requirements_get(units->instances, 1, NULL, &culprit), -PIOMMU_EINVAL);
    assert_int_equal(piommu_requirements_get(with_hole, 2, &requirements, &culprit),
                     -PIOMMU_EINVAL);
    assert_null(culprit);
    units_close(units);
}

static void test_an_instance_named_twice_counts_once(void **state)
{
    struct units *units = units_open();
    struct piommu_requirements once;
    struct piommu_requirements twice;
    struct piommu_instance *both[2];
    struct piommu_domain_config config = {
        .type = PIOMMU_DOMAIN_PAGING, .instances = both, .instance_count = 2};
    struct piommu_device *device;
    struct piommu_domain *domain;
    int error;

    (void)units_add(units, options_of(state), "mmu");
    device = units_device_one(units, "dma", 0, 5);
    both[0] = units->instances[0];
    both[1] = units->instances[0];
    once = requirements_of(units, 1);
    assert_int_equal(piommu_requirements_get(both, 2, &twice, NULL), 0);
    assert_int_equal(twice.aperture.last, once.aperture.last);
    assert_int_equal(twice.leaf_sizes, once.leaf_sizes);
    assert_ptr_equal(twice.limited_by[PIOMMU_LIMIT_APERTURE], units->instances[0]);
    /* A domain takes that, or refuses it as malformed; the backend is never told twice. */
    error = units_try_domain(units, &config, &domain);
    assert_true(error == 0 || error == -PIOMMU_EINVAL);
    if (error == 0) {
        units_fill(units, domain);
        assert_int_equal(units_attach(units, device, domain), 0);
        assert_true(units_is_in(units, device, domain));
    }
    units_close(units);
}

static void test_every_limit_has_a_name_of_its_own(void **state)
{
    (void)state;
    for (unsigned int i = 0; i < PIOMMU_LIMITS; i++) {
        const char *name = piommu_limit_name((enum piommu_limit)i);

        assert_non_null(name);
        assert_true(strlen(name) > 2);
        for (unsigned int j = 0; j < i; j++) {
            assert_string_not_equal(name, piommu_limit_name((enum piommu_limit)j));
        }
    }
}

/* ---- Shared domains ---- */

/* A stage-2 table of the host: what a hypervisor would have for its guest. */
static struct piommu_pgtable *open_table(struct units *units,
                                         const struct piommu_pgtable_config *config,
                                         struct piommu_shared_table *shared)
{
    struct piommu_pgtable *table;
    struct piommu_pgtable_info info;

    assert_int_equal(piommu_pgtable_create(fake_os_host(units->os), config, &table), 0);
    piommu_pgtable_get_info(table, &info);
    shared->config = config;
    shared->root = info.root_physical;
    return table;
}

static const struct piommu_pgtable_config guest = {.format = PIOMMU_ARM_64_LPAE_S2,
                                                   .granule = 4096,
                                                   .input_bits = 39,
                                                   .output_bits = 40,
                                                   .coherent_walk = true,
                                                   .empty_tables_kept = 8};

static int create_shared(struct units *units, const struct piommu_shared_table *shared,
                         struct piommu_domain **domain)
{
    const struct piommu_domain_config config = {.type = PIOMMU_DOMAIN_SHARED,
                                                .instances = &units->instances[0],
                                                .instance_count = 1,
                                                .name = "guest",
                                                .shared = shared};

    return units_try_domain(units, &config, domain);
}

static void host_map(struct piommu_pgtable *table, uint64_t iova, uint64_t physical)
{
    uint64_t mapped;

    assert_int_equal(piommu_pgtable_map(table, iova, physical, PAGE, RW, &mapped), 0);
}

static void host_unmap(struct piommu_pgtable *table, uint64_t iova)
{
    struct piommu_gather gather;
    uint64_t unmapped;

    piommu_gather_init(&gather);
    assert_int_equal(piommu_pgtable_unmap(table, iova, PAGE, &gather, &unmapped), 0);
    piommu_pgtable_detach_empty(table, &gather);
    /* The quota keeps all tables, so nothing waits for the invalidation to be freed. */
    assert_false(piommu_gather_has_tables(&gather));
}

static void test_a_device_reaches_what_the_cpu_has_mapped(void **state)
{
    struct units *units = units_open();
    struct piommu_device *device;
    struct piommu_shared_table shared;
    struct piommu_pgtable *table;
    struct piommu_domain *domain;
    struct piommu_domain_info info;
    uint64_t physical;

    (void)state;
    (void)units_add(units, &tables, "mmu");
    device = units_device_one(units, "dma", 0, 5);
    table = open_table(units, &guest, &shared);
    host_map(table, IOVA, MEMORY);
    assert_int_equal(create_shared(units, &shared, &domain), 0);
    piommu_domain_get_info(domain, &info);
    assert_int_equal(info.type, PIOMMU_DOMAIN_SHARED);
    units->anything_goes = true;
    assert_false(spy_reaches(units->spy, 0, 5, IOVA, false, &physical));
    assert_int_equal(units_attach(units, device, domain), 0);
    assert_true(spy_reaches(units->spy, 0, 5, IOVA + 0x123, true, &physical));
    assert_int_equal(physical, MEMORY + 0x123);
    assert_false(spy_reaches(units->spy, 0, 5, IOVA + PAGE, false, &physical));
    /* What the host maps can be used without a call. */
    host_map(table, IOVA + PAGE, MEMORY + 4 * PAGE);
    assert_true(spy_reaches(units->spy, 0, 5, IOVA + PAGE, false, &physical));
    assert_int_equal(physical, MEMORY + 4 * PAGE);
    /* What it takes away is remembered until it says so. */
    host_unmap(table, IOVA);
    assert_true(spy_reaches(units->spy, 0, 5, IOVA, false, &physical));
    spy_forget(units->spy);
    assert_int_equal(piommu_domain_invalidate(domain, IOVA, IOVA + PAGE - 1), 0);
    assert_false(spy_reaches(units->spy, 0, 5, IOVA, false, &physical));
    assert_true(spy_reaches(units->spy, 0, 5, IOVA + PAGE, false, &physical));
    assert_int_equal(spy_count(units->spy, 0, SPY_INVALIDATE), 1);
    {
        const struct spy_record *record =
            spy_record(units->spy, spy_find(units->spy, 0, SPY_INVALIDATE, 1));

        assert_true(record->range.first <= IOVA && record->range.last >= IOVA + PAGE - 1);
        assert_true(record->tables);
    }
    units_detach(units, device);
    assert_false(spy_reaches(units->spy, 0, 5, IOVA + PAGE, false, &physical));
    units_drop(units, domain);
    piommu_pgtable_destroy(table);
    units_close(units);
}

static void test_an_invalidation_of_a_shared_domain_reaches_all_its_instances(void **state)
{
    struct units *units = units_open();
    struct piommu_device *devices[2];
    struct piommu_shared_table shared;
    struct piommu_pgtable *table;
    struct piommu_domain *domain;
    struct piommu_domain_config config = {.type = PIOMMU_DOMAIN_SHARED, .instance_count = 2};
    uint64_t physical;

    (void)state;
    for (unsigned int i = 0; i < 2; i++) {
        (void)units_add(units, &tables, "mmu");
        devices[i] = units_device_one(units, "dma", i, 5);
    }
    table = open_table(units, &guest, &shared);
    host_map(table, IOVA, MEMORY);
    config.instances = units->instances;
    config.shared = &shared;
    assert_int_equal(units_try_domain(units, &config, &domain), 0);
    units->anything_goes = true;
    for (unsigned int i = 0; i < 2; i++) {
        assert_int_equal(units_attach(units, devices[i], domain), 0);
        assert_true(spy_reaches(units->spy, i, 5, IOVA, false, &physical));
    }
    host_unmap(table, IOVA);
    assert_int_equal(piommu_domain_invalidate(domain, 0, UINT64_MAX), 0);
    for (unsigned int i = 0; i < 2; i++) {
        assert_false(spy_reaches(units->spy, i, 5, IOVA, false, &physical));
    }
    /* One that does not obey has failed; the other has done it. */
    host_map(table, IOVA, MEMORY);
    for (unsigned int i = 0; i < 2; i++) {
        assert_true(spy_reaches(units->spy, i, 5, IOVA, false, &physical));
    }
    host_unmap(table, IOVA);
    spy_fail(units->spy, 0, SPY_INVALIDATE, 1, -PIOMMU_ETIMEDOUT);
    assert_int_equal(piommu_domain_invalidate(domain, IOVA, IOVA), -PIOMMU_EFAILED);
    assert_int_equal(units_state(units, 0), PIOMMU_INSTANCE_FAILED);
    assert_int_equal(units_state(units, 1), PIOMMU_INSTANCE_RUNNING);
    assert_false(spy_reaches(units->spy, 1, 5, IOVA, false, &physical));
    units_detach(units, devices[0]);
    units_detach(units, devices[1]);
    units_drop(units, domain);
    piommu_pgtable_destroy(table);
    units_close(units);
}

static void test_a_family_with_a_shared_domain_is_asked_once(void **state)
{
    struct units *units = units_open();
    struct piommu_device *devices[3];
    struct piommu_shared_table shared;
    struct piommu_pgtable *table;
    struct piommu_domain *domain;
    struct piommu_domain_config config = {.type = PIOMMU_DOMAIN_SHARED, .instance_count = 3};

    (void)state;
    (void)units_add_keyed(units, &tables, "main", 0x100, 0);
    (void)units_add_keyed(units, &tables, "cache0", 0, 0x100);
    (void)units_add_keyed(units, &tables, "cache1", 0, 0x100);
    table = open_table(units, &guest, &shared);
    host_map(table, IOVA, MEMORY);
    config.instances = units->instances;
    config.shared = &shared;
    assert_int_equal(units_try_domain(units, &config, &domain), 0);
    units->anything_goes = true;
    for (unsigned int i = 0; i < 3; i++) {
        devices[i] = units_device_one(units, "dma", i, 5);
        assert_int_equal(units_attach(units, devices[i], domain), 0);
    }
    assert_int_equal(mock_contexts(spy_mock(units->spy, 0)), 1);
    host_unmap(table, IOVA);
    spy_forget(units->spy);
    assert_int_equal(piommu_domain_invalidate(domain, IOVA, IOVA + PAGE - 1), 0);
    assert_int_equal(spy_count(units->spy, SPY_ANY, SPY_INVALIDATE), 1);
    for (unsigned int i = 0; i < 3; i++) {
        uint64_t physical;

        assert_false(spy_reaches(units->spy, i, 5, IOVA, false, &physical));
        units_detach(units, devices[i]);
    }
    units_drop(units, domain);
    piommu_pgtable_destroy(table);
    units_close(units);
}

static void test_a_shared_domain_sleeps_with_its_unit(void **state)
{
    struct units *units = units_open();
    struct piommu_device *device;
    struct piommu_shared_table shared;
    struct piommu_pgtable *table;
    struct piommu_domain *domain;
    uint64_t physical;

    (void)state;
    (void)units_add(units, &tables, "mmu");
    device = units_device_one(units, "dma", 0, 5);
    table = open_table(units, &guest, &shared);
    host_map(table, IOVA, MEMORY);
    host_map(table, IOVA + PAGE, MEMORY + PAGE);
    assert_int_equal(create_shared(units, &shared, &domain), 0);
    units->anything_goes = true;
    assert_int_equal(units_attach(units, device, domain), 0);
    assert_true(spy_reaches(units->spy, 0, 5, IOVA, false, &physical));
    assert_int_equal(piommu_instance_suspend(units->instances[0]), 0);
    spy_forget(units->spy);
    host_unmap(table, IOVA);
    assert_int_equal(piommu_domain_invalidate(domain, IOVA, IOVA + PAGE - 1), 0);
    assert_int_equal(spy_count(units->spy, 0, SPY_INVALIDATE), 0);
    assert_int_equal(piommu_instance_resume(units->instances[0]), 0);
    assert_false(spy_reaches(units->spy, 0, 5, IOVA, false, &physical));
    assert_true(spy_reaches(units->spy, 0, 5, IOVA + PAGE, false, &physical));
    units_detach(units, device);
    units_drop(units, domain);
    piommu_pgtable_destroy(table);
    units_close(units);
}

static void test_a_shared_domain_cannot_be_mapped(void **state)
{
    struct units *units = units_open();
    struct piommu_shared_table shared;
    struct piommu_pgtable *table;
    struct piommu_domain *domain;
    struct piommu_translation translation;
    struct piommu_gather gather;
    const struct piommu_segment segment = {MEMORY, PAGE};
    uint64_t value;

    (void)state;
    (void)units_add(units, &tables, "mmu");
    table = open_table(units, &guest, &shared);
    host_map(table, IOVA, MEMORY);
    assert_int_equal(create_shared(units, &shared, &domain), 0);
    piommu_gather_init(&gather);
    assert_int_equal(piommu_domain_map(domain, 0, MEMORY, PAGE, RW), -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_map_list(domain, 0, &segment, 1, RW), -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_map_again(domain, 0, MEMORY, PAGE, RW), -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_map_some(domain, 0, MEMORY, PAGE, RW, 1, &value),
                     -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_unmap(domain, IOVA, PAGE, &gather, NULL), -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_unmap_cut(domain, IOVA, PAGE, 0, NULL), -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_unmap_leaves(domain, IOVA, IOVA, &gather, NULL, NULL),
                     -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_protect(domain, IOVA, PAGE, PIOMMU_PROT_READ, 0, NULL),
                     -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_replace(domain, IOVA, MEMORY, PAGE, RW, 0, NULL),
                     -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_lookup(domain, IOVA, &translation), -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_next(domain, 0, UINT64_MAX, &value, &translation),
                     -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_populate(domain, 1), -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_invalidate(domain, 1, 0), -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_invalidate(NULL, 0, 1), -PIOMMU_EINVAL);
    assert_false(gather.pending);
    units_drop(units, domain);
    piommu_pgtable_destroy(table);
    units_close(units);
}

/* Which table is refused by a unit of which kind, and for which limit. */
static const struct {
    enum piommu_limit limit;
    void (*adjust)(struct piommu_backend_info *info);
    struct piommu_pgtable_config config;
} refused[] = {
    {PIOMMU_LIMIT_SHARED_FORMATS,
     NULL,
     {.format = PIOMMU_ARM_32_LPAE_S2,
      .granule = 4096,
      .input_bits = 39,
      .output_bits = 40,
      .coherent_walk = true}},
    {PIOMMU_LIMIT_SHARED_GRANULES,
     NULL,
     {.format = PIOMMU_ARM_64_LPAE_S2,
      .granule = 65536,
      .input_bits = 39,
      .output_bits = 40,
      .coherent_walk = true}},
    {PIOMMU_LIMIT_SHARED_INPUT,
     less_input,
     {.format = PIOMMU_ARM_64_LPAE_S2,
      .granule = 4096,
      .input_bits = 37,
      .output_bits = 40,
      .coherent_walk = true}},
    {PIOMMU_LIMIT_SHARED_INPUT,
     more_input_at_least,
     {.format = PIOMMU_ARM_64_LPAE_S2,
      .granule = 4096,
      .input_bits = 37,
      .output_bits = 40,
      .coherent_walk = true}},
    {PIOMMU_LIMIT_SHARED_START,
     one_start,
     {.format = PIOMMU_ARM_64_LPAE_S2,
      .granule = 4096,
      .input_bits = 34,
      .output_bits = 40,
      .coherent_walk = true,
      .flags = PIOMMU_PGTABLE_CONCATENATE}},
    {PIOMMU_LIMIT_SHARED_CONCATENATED,
     few_concatenated,
     {.format = PIOMMU_ARM_64_LPAE_S2,
      .granule = 4096,
      .input_bits = 33,
      .output_bits = 40,
      .coherent_walk = true,
      .flags = PIOMMU_PGTABLE_CONCATENATE}},
    {PIOMMU_LIMIT_SHARED_OUTPUT,
     less_shared_output,
     {.format = PIOMMU_ARM_64_LPAE_S2,
      .granule = 4096,
      .input_bits = 36,
      .output_bits = 40,
      .coherent_walk = true}},
    {PIOMMU_LIMIT_SHARED_LEAF_SIZES,
     few_shared_leaves,
     {.format = PIOMMU_ARM_64_LPAE_S2,
      .granule = 4096,
      .input_bits = 39,
      .output_bits = 40,
      .coherent_walk = true}},
    {PIOMMU_LIMIT_SHARED_COHERENT,
     shared_not_coherent,
     {.format = PIOMMU_ARM_64_LPAE_S2,
      .granule = 4096,
      .input_bits = 39,
      .output_bits = 40,
      .coherent_walk = true}},
    {PIOMMU_LIMIT_SHARED_FEATURES,
     NULL,
     {.format = PIOMMU_ARM_64_LPAE_S2,
      .granule = 4096,
      .input_bits = 39,
      .output_bits = 40,
      .coherent_walk = true,
      .flags = PIOMMU_PGTABLE_FORCE_WRITE_BACK}},
    {PIOMMU_LIMIT_SHARED_FEATURES,
     no_features,
     {.format = PIOMMU_ARM_64_LPAE_S2,
      .granule = 4096,
      .input_bits = 39,
      .output_bits = 40,
      .coherent_walk = true,
      .flags = PIOMMU_PGTABLE_CONTIGUOUS}},
    {PIOMMU_LIMIT_SHARED_FEATURES,
     no_features,
     {.format = PIOMMU_ARM_64_LPAE_S2,
      .granule = 4096,
      .input_bits = 39,
      .output_bits = 40,
      .coherent_walk = true,
      .flags = PIOMMU_PGTABLE_XNX}},
};

static void test_a_table_that_is_not_as_demanded_is_refused_by_name(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        struct units *units = units_open();
        struct piommu_shared_table shared;
        struct piommu_pgtable *table;
        struct piommu_domain *domain = NULL;
        struct piommu_domain_config config = {.type = PIOMMU_DOMAIN_SHARED, .instance_count = 2};
        uint64_t bytes;

        (void)add_adjusted(units, &tables, all_formats, "willing");
        (void)add_adjusted(units, &tables, refused[i].adjust, "particular");
        table = open_table(units, &refused[i].config, &shared);
        config.instances = units->instances;
        config.shared = &shared;
        bytes = fake_os_bytes_outstanding(units->os);
        assert_int_equal(units_try_domain(units, &config, &domain), -PIOMMU_EOPNOTSUPP);
        assert_null(domain);
        assert_int_equal(fake_os_bytes_outstanding(units->os), bytes);
        if (!units_logged(units, piommu_limit_name(refused[i].limit))) {
            fail_msg("case %u: no line with \"%s\" in:\n%s", (unsigned int)i,
                     piommu_limit_name(refused[i].limit), units->log);
        }
        /* Only where one alone objects it is clear who. */
        if (refused[i].adjust != NULL) {
            assert_true(
                units_logged_both(units, "particular", piommu_limit_name(refused[i].limit)));
        }
        piommu_pgtable_destroy(table);
        units_close(units);
    }
}

static void nothing_shared(struct piommu_backend_info *info)
{
    info->shared = (struct piommu_shared_limits){.formats = 0};
}

static void test_hardware_without_shared_domains_says_so(void **state)
{
    struct units *units = units_open();
    struct piommu_shared_table shared;
    struct piommu_pgtable *table;
    struct piommu_domain *domain;
    struct piommu_instance_info info;

    (void)add_adjusted(units, options_of(state), nothing_shared, "mmu0");
    piommu_instance_get_info(units->instances[0], &info);
    assert_false(info.shared);
    table = open_table(units, &guest, &shared);
    assert_int_equal(create_shared(units, &shared, &domain), -PIOMMU_EOPNOTSUPP);
    piommu_pgtable_destroy(table);
    units_close(units);
}

static void test_a_shared_domain_needs_a_table(void **state)
{
    struct units *units = units_open();
    struct piommu_shared_table shared;
    struct piommu_shared_table bad;
    struct piommu_pgtable *table;
    struct piommu_domain *domain;

    (void)state;
    (void)units_add(units, &tables, "mmu");
    table = open_table(units, &guest, &shared);
    assert_int_equal(create_shared(units, NULL, &domain), -PIOMMU_EINVAL);
    bad = shared;
    bad.config = NULL;
    assert_int_equal(create_shared(units, &bad, &domain), -PIOMMU_EINVAL);
    bad = shared;
    bad.root += 0x800;
    assert_int_equal(create_shared(units, &bad, &domain), -PIOMMU_EINVAL);
    piommu_pgtable_destroy(table);
    units_close(units);
}

static void test_what_a_shared_table_is_was_copied(void **state)
{
    struct units *units = units_open();
    struct piommu_device *device;
    struct piommu_pgtable_config config = guest;
    struct piommu_shared_table shared;
    struct piommu_pgtable *table;
    struct piommu_domain *domain;
    uint64_t physical;

    (void)state;
    (void)units_add(units, &tables, "mmu");
    device = units_device_one(units, "dma", 0, 5);
    table = open_table(units, &config, &shared);
    host_map(table, IOVA, MEMORY);
    assert_int_equal(create_shared(units, &shared, &domain), 0);
    memset(&config, 0xff, sizeof(config));
    memset(&shared, 0xff, sizeof(shared));
    units->anything_goes = true;
    assert_int_equal(units_attach(units, device, domain), 0);
    assert_true(spy_reaches(units->spy, 0, 5, IOVA, false, &physical));
    units_detach(units, device);
    units_drop(units, domain);
    piommu_pgtable_destroy(table);
    units_close(units);
}

static void test_a_unit_that_cannot_walk_a_shared_table_cannot_join(void **state)
{
    struct units *units = units_open();
    struct piommu_device *device;
    struct piommu_shared_table shared;
    struct piommu_pgtable *table;
    struct piommu_domain *domain;

    (void)state;
    (void)add_adjusted(units, &tables, NULL, "willing");
    (void)add_adjusted(units, &tables, less_input, "particular");
    device = units_device_one(units, "dma", 1, 5);
    table = open_table(units, &guest, &shared);
    assert_int_equal(create_shared(units, &shared, &domain), 0);
    units->anything_goes = true;
    assert_int_equal(units_attach(units, device, domain), -PIOMMU_EMIXED);
    assert_int_equal(mock_counters(spy_mock(units->spy, 1))->attach, 0);
    units_drop(units, domain);
    piommu_pgtable_destroy(table);
    units_close(units);
}

int main(void)
{
#define BOTH(test)                                       \
    {#test " (tables)", test, NULL, NULL, &tables},      \
    {                                                    \
#test " (requests)", test, NULL, NULL, &requests \
    }
    static const struct CMUnitTest tests[] = {
        BOTH(test_one_instance_demands_what_it_is),
        cmocka_unit_test(test_limits_of_tables_are_told),
        cmocka_unit_test(test_requests_share_no_tables),
        BOTH(test_each_limit_names_the_instance_that_imposed_it),
        cmocka_unit_test(test_the_granule_is_named_by_who_does_not_know_a_smaller_one),
        BOTH(test_of_several_that_agree_the_first_is_named),
        cmocka_unit_test(test_together_they_have_the_least_of_everything),
        cmocka_unit_test(test_units_that_agree_on_no_shared_table_have_other_domains_together),
        BOTH(test_who_does_not_fit_is_named),
        cmocka_unit_test(test_who_leaves_no_address_is_named),
        BOTH(test_bad_questions_are_refused),
        BOTH(test_an_instance_named_twice_counts_once),
        cmocka_unit_test(test_every_limit_has_a_name_of_its_own),
        cmocka_unit_test(test_a_device_reaches_what_the_cpu_has_mapped),
        cmocka_unit_test(test_an_invalidation_of_a_shared_domain_reaches_all_its_instances),
        cmocka_unit_test(test_a_family_with_a_shared_domain_is_asked_once),
        cmocka_unit_test(test_a_shared_domain_sleeps_with_its_unit),
        cmocka_unit_test(test_a_shared_domain_cannot_be_mapped),
        cmocka_unit_test(test_a_table_that_is_not_as_demanded_is_refused_by_name),
        BOTH(test_hardware_without_shared_domains_says_so),
        cmocka_unit_test(test_a_shared_domain_needs_a_table),
        cmocka_unit_test(test_what_a_shared_table_is_was_copied),
        cmocka_unit_test(test_a_unit_that_cannot_walk_a_shared_table_cannot_join),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
