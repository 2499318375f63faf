/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Domains over several instances: what they can do together, who may join, who is told what; and
 * the steps by which a group moves.
 */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <piommu/piommu.h>

#include "units_fixture.h"

#define PAGE     0x1000ull
#define BIG_PAGE 0x10000ull
#define ROOT_KEY 0x100u
#define R        PIOMMU_PROT_READ
#define RW       (PIOMMU_PROT_READ | PIOMMU_PROT_WRITE)
#define MEMORY   0x50000000ull

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

static int create_over(struct units *units, unsigned int count, struct piommu_domain **domain)
{
    const struct piommu_domain_config config = {.type = PIOMMU_DOMAIN_PAGING,
                                                .instances = &units->instances[0],
                                                .instance_count = count,
                                                .name = "over"};

    return units_try_domain(units, &config, domain);
}

/* ---- Creation ---- */

static void not_at_once(struct piommu_backend_info *info)
{
    info->atomic_switch = false;
}

static void narrow(struct piommu_backend_info *info)
{
    info->aperture.last = 0xffffffff;
    info->leaf_sizes = 0x201000;
    info->table.input_bits = 32;
    info->table.leaf_sizes = 0x201000;
}

static void rich(struct piommu_backend_info *info)
{
    info->prot |= PIOMMU_PROT_NONCACHEABLE | PIOMMU_PROT_DEVICE;
}

static void test_a_domain_over_several_instances_is_what_all_of_them_can_do(void **state)
{
    for (unsigned int order = 0; order < 2; order++) {
        struct units *units = units_open();
        struct piommu_domain_info info;
        struct piommu_domain *domain;

        (void)add_adjusted(units, options_of(state), order == 0 ? rich : narrow, "mmu0");
        (void)add_adjusted(units, options_of(state), order == 0 ? narrow : rich, "mmu1");
        assert_int_equal(create_over(units, 2, &domain), 0);
        piommu_domain_get_info(domain, &info);
        assert_int_equal(info.type, PIOMMU_DOMAIN_PAGING);
        assert_int_equal(info.aperture.first, 0);
        assert_int_equal(info.aperture.last, 0xffffffff);
        assert_int_equal(info.granule, PAGE);
        assert_int_equal(info.leaf_sizes, 0x201000);
        assert_int_equal(info.prot & PIOMMU_PROT_ALL & ~PIOMMU_PROT_SOFTWARE_MASK, RW);
        assert_int_equal(piommu_domain_map(domain, 0xfffff000, MEMORY, PAGE, RW), 0);
        assert_int_equal(piommu_domain_map(domain, 0x100000000ull, MEMORY, PAGE, RW),
                         -PIOMMU_ERANGE);
        assert_int_equal(piommu_domain_map(domain, PAGE, MEMORY, PAGE, RW | PIOMMU_PROT_DEVICE),
                         -PIOMMU_EOPNOTSUPP);
        units_close(units);
    }
}

static void big_granule(struct piommu_backend_info *info)
{
    info->leaf_sizes = 0x40210000;
}

static void both_granules(struct piommu_backend_info *info)
{
    info->leaf_sizes = 0x40211000;
}

static void test_the_granule_of_a_domain_is_one_that_all_know(void **state)
{
    struct units *units = units_open();
    struct piommu_domain_info info;
    struct piommu_domain *domain;

    (void)state;
    (void)add_adjusted(units, &requests, both_granules, "mmu0");
    (void)add_adjusted(units, &requests, big_granule, "mmu1");
    assert_int_equal(create_over(units, 2, &domain), 0);
    piommu_domain_get_info(domain, &info);
    assert_int_equal(info.granule, BIG_PAGE);
    assert_int_equal(info.leaf_sizes, 0x40210000);
    assert_int_equal(piommu_domain_map(domain, PAGE, MEMORY, BIG_PAGE, RW), -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_map(domain, BIG_PAGE, MEMORY, BIG_PAGE, RW), 0);
    units_close(units);
}

static void upper_space(struct piommu_backend_info *info)
{
    info->aperture.first = 0x8000000000ull;
    info->aperture.last = 0xffffffffffull;
}

static void other_format(struct piommu_backend_info *info)
{
    info->table.format = PIOMMU_ARM_64_LPAE_S2;
}

static void other_granule(struct piommu_backend_info *info)
{
    info->table.granule = 16384;
    info->leaf_sizes = 0x2004000;
}

static void other_flags(struct piommu_backend_info *info)
{
    info->table.flags = PIOMMU_PGTABLE_NON_SECURE;
}

static void test_no_domain_spans_what_does_not_go_together(void **state)
{
    static const struct {
        const struct spy_options *first;
        const struct spy_options *second;
        void (*adjust)(struct piommu_backend_info *info);
    } cases[] = {
        {&tables, &requests, NULL},          {&requests, &tables, NULL},
        {&requests, &requests, upper_space}, {&tables, &tables, other_format},
        {&tables, &tables, other_granule},   {&tables, &tables, other_flags},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct units *units = units_open();
        struct piommu_domain *domain = NULL;
        uint64_t bytes;

        (void)add_adjusted(units, cases[i].first, NULL, "mmu0");
        (void)add_adjusted(units, cases[i].second, cases[i].adjust, "mmu1");
        bytes = fake_os_bytes_outstanding(units->os);
        if (create_over(units, 2, &domain) != -PIOMMU_EMIXED) {
            fail_msg("case %u was taken, or refused for another reason", (unsigned int)i);
        }
        assert_null(domain);
        assert_int_equal(fake_os_bytes_outstanding(units->os), bytes);
        assert_int_equal(create_over(units, 1, &domain), 0);
        units_close(units);
    }
}

static void test_a_domain_is_made_of_instances_of_one_context(void **state)
{
    struct units *units = units_open();
    unsigned int here = units_add(units, options_of(state), "here");
    unsigned int there = units_prepare(units, options_of(state));
    struct piommu_context *other;
    struct piommu_instance *both[2] = {units->instances[here], NULL};
    struct piommu_domain_config config = {
        .type = PIOMMU_DOMAIN_PAGING, .instances = both, .instance_count = 2};
    struct piommu_domain *domain;

    assert_int_equal(piommu_context_create(fake_os_host(units->os), NULL, &other), 0);
    assert_int_equal(piommu_instance_create(other, spy_backend(units->spy, there),
                                            spy_config(units->spy, there), NULL, &both[1]),
                     0);
    assert_int_equal(piommu_domain_create(&config, &domain), -PIOMMU_EMIXED);
    /* Nor does a device move into a domain of another context. */
    {
        struct piommu_device *device = units_device_one(units, "dma", here, 5);

        config.instances = &both[1];
        config.instance_count = 1;
        assert_int_equal(piommu_domain_create(&config, &domain), 0);
        assert_int_equal(piommu_device_attach(device, domain), -PIOMMU_EMIXED);
        assert_true(units_is_in(units, device, NULL));
        assert_int_equal(piommu_domain_destroy(domain), 0);
    }
    assert_int_equal(piommu_instance_destroy(both[1]), 0);
    assert_int_equal(piommu_context_destroy(other), 0);
    units_close(units);
}

static void test_bad_configurations_of_domains_are_refused(void **state)
{
    struct units *units = units_open();
    unsigned int unit = units_add(units, options_of(state), "mmu");
    struct piommu_instance *instances[2] = {units->instances[unit], NULL};
    struct piommu_domain_config config = {
        .type = PIOMMU_DOMAIN_PAGING, .instances = instances, .instance_count = 0};
    uint64_t bytes = fake_os_bytes_outstanding(units->os);
    struct piommu_domain *domain;

    assert_int_equal(piommu_domain_create(&config, &domain), -PIOMMU_EINVAL);
    config.instance_count = 2;
    assert_int_equal(piommu_domain_create(&config, &domain), -PIOMMU_EINVAL);
    config.instances = NULL;
    assert_int_equal(piommu_domain_create(&config, &domain), -PIOMMU_EINVAL);
    config.instances = instances;
    config.instance_count = 1;
    config.type = (enum piommu_domain_type)(PIOMMU_DOMAIN_DEFERRED + 1);
    assert_int_equal(piommu_domain_create(&config, &domain), -PIOMMU_EINVAL);
    config.type = PIOMMU_DOMAIN_PAGING;
    assert_int_equal(piommu_domain_create(&config, NULL), -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_create(NULL, &domain), -PIOMMU_EINVAL);
    assert_int_equal(fake_os_bytes_outstanding(units->os), bytes);
    units_close(units);
}

/* An instance of a domain cannot go before the domain. */
static void test_an_instance_with_domains_is_not_destroyed(void **state)
{
    struct units *units = units_open();
    struct piommu_domain *domain;

    (void)units_add(units, options_of(state), "mmu0");
    (void)units_add(units, options_of(state), "mmu1");
    assert_int_equal(create_over(units, 2, &domain), 0);
    assert_int_equal(piommu_instance_destroy(units->instances[0]), -PIOMMU_EBUSY);
    assert_int_equal(piommu_instance_destroy(units->instances[1]), -PIOMMU_EBUSY);
    units_drop(units, domain);
    units_close(units);
}

/* ---- Joining ---- */

static void test_a_device_of_another_instance_can_join(void **state)
{
    struct units *units = units_open();
    struct piommu_device *first;
    struct piommu_device *second;
    struct piommu_domain *domain;

    (void)units_add(units, options_of(state), "mmu0");
    (void)units_add(units, options_of(state), "mmu1");
    first = units_device_one(units, "first", 0, 5);
    second = units_device_one(units, "second", 1, 6);
    domain = units_domain(units, "A", 0, 1);
    assert_int_equal(units_attach(units, first, domain), 0);
    assert_int_equal(units_attach(units, second, domain), 0);
    assert_true(units_is_in(units, first, domain));
    assert_true(units_is_in(units, second, domain));
    units_detach(units, first);
    assert_true(units_is_in(units, second, domain));
    units_close(units);
}

static void test_a_domain_shrinks_when_somebody_joins_and_grows_when_he_leaves(void **state)
{
    struct units *units = units_open();
    struct piommu_device *device;
    struct piommu_domain *domain;
    struct piommu_domain_info info;

    (void)state;
    (void)add_adjusted(units, &requests, rich, "mmu0");
    (void)add_adjusted(units, &requests, narrow, "mmu1");
    device = units_device_one(units, "narrow", 1, 6);
    assert_int_equal(create_over(units, 1, &domain), 0);
    for (unsigned int round = 0; round < 3; round++) {
        units->anything_goes = true;
        piommu_domain_get_info(domain, &info);
        assert_int_equal(info.aperture.last, 0x7fffffffffull);
        assert_true((info.prot & PIOMMU_PROT_DEVICE) != 0);
        assert_int_equal(units_attach(units, device, domain), 0);
        piommu_domain_get_info(domain, &info);
        assert_int_equal(info.aperture.last, 0xffffffff);
        assert_int_equal(info.prot & PIOMMU_PROT_DEVICE, 0);
        assert_int_equal(piommu_domain_map(domain, 0x100000000ull, MEMORY, PAGE, RW),
                         -PIOMMU_ERANGE);
        assert_int_equal(piommu_domain_map(domain, PAGE, MEMORY, PAGE, RW | PIOMMU_PROT_DEVICE),
                         -PIOMMU_EOPNOTSUPP);
        units_detach(units, device);
        assert_int_equal(piommu_domain_map(domain, 0x100000000ull, MEMORY, PAGE, RW), 0);
        assert_int_equal(units_attach(units, device, domain), -PIOMMU_ERANGE);
        units_unmap(domain, 0x100000000ull, PAGE);
    }
    units_close(units);
}

static void test_what_the_domain_was_created_for_keeps_its_limits(void **state)
{
    struct units *units = units_open();
    struct piommu_device *device;
    struct piommu_domain *domain;
    struct piommu_domain_info info;

    (void)add_adjusted(units, options_of(state), rich, "mmu0");
    (void)add_adjusted(units, options_of(state), narrow, "mmu1");
    device = units_device_one(units, "narrow", 1, 6);
    assert_int_equal(create_over(units, 2, &domain), 0);
    units->anything_goes = true;
    assert_int_equal(units_attach(units, device, domain), 0);
    units_detach(units, device);
    piommu_domain_get_info(domain, &info);
    assert_int_equal(info.aperture.last, 0xffffffff);
    units_close(units);
}

static void test_who_cannot_honour_what_is_mapped_stays_outside(void **state)
{
    static const struct {
        void (*adjust)(struct piommu_backend_info *info);
        uint64_t iova;
        piommu_prot prot;
        int error;
    } cases[] = {
        {narrow, 0x100000000ull, RW, -PIOMMU_ERANGE},
        {narrow, 0xfffff000ull + PAGE, R, -PIOMMU_ERANGE},
        {big_granule, PAGE, RW, -PIOMMU_ERANGE},
        {NULL, PAGE, RW | PIOMMU_PROT_DEVICE, -PIOMMU_EOPNOTSUPP},
        {NULL, PAGE, R | PIOMMU_PROT_NONCACHEABLE, -PIOMMU_EOPNOTSUPP},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct units *units = units_open();
        struct piommu_device *device;
        struct piommu_device *resident;
        struct piommu_domain *domain;
        struct piommu_domain *own;

        (void)add_adjusted(units, &requests, rich, "mmu0");
        (void)add_adjusted(units, &requests, cases[i].adjust, "mmu1");
        resident = units_device_one(units, "resident", 0, 5);
        device = units_device_one(units, "late", 1, 6);
        own = cases[i].adjust == big_granule ? NULL : units_domain(units, "own", 1, 1);
        assert_int_equal(create_over(units, 1, &domain), 0);
        assert_int_equal(piommu_domain_map(domain, cases[i].iova, MEMORY, PAGE, cases[i].prot), 0);
        units->anything_goes = true;
        assert_int_equal(units_attach(units, resident, domain), 0);
        /* Blocked, or in a domain of its own: there it stays. */
        assert_int_equal(units_attach(units, device, domain), cases[i].error);
        assert_null(units_domain_of(device));
        assert_int_equal(mock_counters(spy_mock(units->spy, 1))->attach, 0);
        if (own != NULL) {
            assert_int_equal(units_attach(units, device, own), 0);
            assert_int_equal(units_attach(units, device, domain), cases[i].error);
            assert_ptr_equal(units_domain_of(device), own);
            assert_true(units_is_in(units, device, own));
        }
        assert_ptr_equal(units_domain_of(resident), domain);
        units_close(units);
    }
}

static void test_who_takes_translations_otherwise_stays_outside(void **state)
{
    static const struct {
        const struct spy_options *first;
        const struct spy_options *second;
        void (*adjust)(struct piommu_backend_info *info);
    } cases[] = {
        {&tables, &requests, NULL},       {&requests, &tables, NULL},
        {&tables, &tables, other_format}, {&tables, &tables, other_granule},
        {&tables, &tables, other_flags},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct units *units = units_open();
        struct piommu_device *device;
        struct piommu_domain *domain;

        (void)add_adjusted(units, cases[i].first, NULL, "mmu0");
        (void)add_adjusted(units, cases[i].second, cases[i].adjust, "mmu1");
        device = units_device_one(units, "dma", 1, 6);
        domain = units_domain(units, "A", 0, 1);
        spy_forget(units->spy);
        assert_int_equal(units_attach(units, device, domain), -PIOMMU_EMIXED);
        assert_int_equal(spy_count(units->spy, 1, SPY_ATTACH), 0);
        assert_true(units_is_in(units, device, NULL));
        units_close(units);
    }
}

static void test_a_table_that_is_wider_than_a_walker_is_not_given_to_it(void **state)
{
    struct units *units = units_open();
    struct piommu_device *device;
    struct piommu_domain *domain;

    (void)state;
    (void)add_adjusted(units, &tables, NULL, "wide");
    (void)add_adjusted(units, &tables, narrow, "narrow");
    device = units_device_one(units, "dma", 1, 6);
    domain = units_domain(units, "A", 0, 1);
    /* Which of the two reasons is told does not matter; that it stays outside does. */
    assert_int_not_equal(units_attach(units, device, domain), 0);
    assert_true(units_is_in(units, device, NULL));
    units_close(units);
}

/* ---- Mapping in several instances ---- */

static void test_a_mapping_reaches_all_instances_and_leaves_all(void **state)
{
    struct units *units = units_open();
    struct piommu_device *devices[3];
    struct piommu_domain *domain;
    struct piommu_gather gather;
    uint64_t physical;

    for (unsigned int i = 0; i < 3; i++) {
        (void)units_add(units, options_of(state), "mmu");
        devices[i] = units_device_one(units, "dma", i, 5);
    }
    domain = units_domain(units, "A", 0, 3);
    for (unsigned int i = 0; i < 3; i++) {
        assert_int_equal(units_attach(units, devices[i], domain), 0);
    }
    units->anything_goes = true;
    assert_int_equal(piommu_domain_map(domain, 0x500000, MEMORY, PAGE, RW), 0);
    for (unsigned int i = 0; i < 3; i++) {
        assert_true(spy_reaches(units->spy, i, 5, 0x500000, true, &physical));
        assert_int_equal(physical, MEMORY);
    }
    piommu_gather_init(&gather);
    assert_int_equal(piommu_domain_unmap(domain, 0x500000, PAGE, &gather, NULL), 0);
    spy_forget(units->spy);
    assert_int_equal(piommu_domain_sync(domain, &gather), 0);
    for (unsigned int i = 0; i < 3; i++) {
        assert_false(spy_reaches(units->spy, i, 5, 0x500000, false, &physical));
        assert_int_equal(
            spy_count(units->spy, i, SPY_INVALIDATE) + spy_count(units->spy, i, SPY_UNMAP), 1);
    }
    units->anything_goes = false;
    units_probe(units);
    units_close(units);
}

static void test_a_mapping_that_one_instance_refuses_is_nowhere(void **state)
{
    (void)state;
    for (unsigned int refusing = 0; refusing < 3; refusing++) {
        struct units *units = units_open();
        struct piommu_device *devices[3];
        struct piommu_domain *domain;
        struct piommu_translation translation;
        uint64_t physical;

        for (unsigned int i = 0; i < 3; i++) {
            (void)units_add(units, &requests, "mmu");
            devices[i] = units_device_one(units, "dma", i, 5);
        }
        domain = units_domain(units, "A", 0, 3);
        for (unsigned int i = 0; i < 3; i++) {
            assert_int_equal(units_attach(units, devices[i], domain), 0);
        }
        units->anything_goes = true;
        spy_fail(units->spy, refusing, SPY_MAP, 1, -PIOMMU_ENOMEM);
        assert_int_equal(piommu_domain_map(domain, 0x500000, MEMORY, PAGE, RW), -PIOMMU_ENOMEM);
        units->anything_goes = false;
        for (unsigned int i = 0; i < 3; i++) {
            assert_false(spy_reaches(units->spy, i, 5, 0x500000, false, &physical));
            assert_true(units_is_in(units, devices[i], domain));
            assert_int_equal(units_state(units, i), PIOMMU_INSTANCE_RUNNING);
        }
        assert_int_equal(piommu_domain_lookup(domain, 0x500000, &translation), -PIOMMU_ENOENT);
        units->anything_goes = true;
        assert_int_equal(piommu_domain_map(domain, 0x500000, MEMORY, PAGE, RW), 0);
        units_close(units);
    }
}

static void test_a_sync_that_one_instance_does_not_obey_is_done_by_all_others(void **state)
{
    for (unsigned int broken = 0; broken < 3; broken++) {
        struct units *units = units_open();
        struct piommu_device *devices[3];
        struct piommu_domain *domain;
        struct piommu_gather gather;
        uint64_t physical;

        for (unsigned int i = 0; i < 3; i++) {
            (void)units_add(units, options_of(state), "mmu");
            devices[i] = units_device_one(units, "dma", i, 5);
        }
        domain = units_domain(units, "A", 0, 3);
        for (unsigned int i = 0; i < 3; i++) {
            assert_int_equal(units_attach(units, devices[i], domain), 0);
        }
        units->anything_goes = true;
        for (unsigned int i = 0; i < 3; i++) {
            assert_true(spy_reaches(units->spy, i, 5, UNITS_PAGE, false, &physical));
        }
        piommu_gather_init(&gather);
        assert_int_equal(piommu_domain_unmap(domain, UNITS_PAGE, PAGE, &gather, NULL), 0);
        spy_fail(units->spy, broken, SPY_INVALIDATE, 1, -PIOMMU_EIO);
        spy_fail(units->spy, broken, SPY_UNMAP, 1, -PIOMMU_EIO);
        assert_int_equal(piommu_domain_sync(domain, &gather), -PIOMMU_EFAILED);
        assert_true(gather.pending);
        for (unsigned int i = 0; i < 3; i++) {
            assert_int_equal(units_state(units, i),
                             i == broken ? PIOMMU_INSTANCE_FAILED : PIOMMU_INSTANCE_RUNNING);
            assert_false(spy_reaches(units->spy, i, 5, UNITS_PAGE, false, &physical));
            assert_int_equal(
                spy_reaches(units->spy, i, 5, units_own_page(units, domain), false, &physical),
                i != broken);
        }
        /* Without the group of the broken one the gather can be synced. */
        units_detach(units, devices[broken]);
        assert_int_equal(piommu_domain_sync(domain, &gather), 0);
        assert_false(gather.pending);
        assert_int_equal(piommu_domain_map(domain, UNITS_PAGE, MEMORY, PAGE, RW), 0);
        units_close(units);
    }
}

static void test_the_ids_in_a_domain_are_counted_over_all_instances(void **state)
{
    struct units *units = units_open();
    struct piommu_device *first;
    struct piommu_device *second;
    struct piommu_domain *domain;
    struct piommu_domain_statistics counted;

    (void)units_add(units, options_of(state), "mmu0");
    (void)units_add(units, options_of(state), "mmu1");
    first = units_device(units, "first", (const struct units_id[]){{0, 5}, {1, 5}, {1, 6}}, 3);
    second = units_device_one(units, "second", 1, 7);
    domain = units_domain(units, "A", 0, 2);
    assert_int_equal(units_attach(units, first, domain), 0);
    assert_int_equal(units_attach(units, second, domain), 0);
    piommu_domain_get_statistics(domain, &counted);
    assert_int_equal(counted.endpoints, 4);
    units_detach(units, first);
    piommu_domain_get_statistics(domain, &counted);
    assert_int_equal(counted.endpoints, 1);
    units_close(units);
}

/* ---- Domains of other types ---- */

static void no_identity(struct piommu_backend_info *info)
{
    info->identity = false;
}

static void test_an_identity_domain_needs_all_its_instances(void **state)
{
    struct units *units = units_open();
    struct piommu_domain_config config = {.type = PIOMMU_DOMAIN_IDENTITY, .instance_count = 2};
    struct piommu_device *device;
    struct piommu_device *other;
    struct piommu_domain *identity;
    uint64_t physical;

    (void)units_add(units, options_of(state), "can");
    (void)add_adjusted(units, options_of(state), no_identity, "cannot");
    device = units_device_one(units, "dma", 0, 5);
    other = units_device_one(units, "other", 1, 6);
    config.instances = units->instances;
    assert_int_equal(units_try_domain(units, &config, &identity), -PIOMMU_EOPNOTSUPP);
    config.instance_count = 1;
    assert_int_equal(units_try_domain(units, &config, &identity), 0);
    units->anything_goes = true;
    assert_int_equal(units_attach(units, device, identity), 0);
    assert_true(spy_reaches(units->spy, 0, 5, 0x12345000, true, &physical));
    assert_int_equal(physical, 0x12345000);
    /* Nor can a device of the other join. */
    assert_int_not_equal(units_attach(units, other, identity), 0);
    assert_false(spy_reaches(units->spy, 1, 6, 0x12345000, true, &physical));
    assert_null(units_domain_of(other));
    units_detach(units, device);
    assert_false(spy_reaches(units->spy, 0, 5, 0x12345000, true, &physical));
    units_close(units);
}

static void test_an_identity_domain_spans_instances_that_have_it(void **state)
{
    struct units *units = units_open();
    struct piommu_domain_config config = {.type = PIOMMU_DOMAIN_IDENTITY, .instance_count = 2};
    struct piommu_device *device;
    struct piommu_domain *identity;
    struct piommu_gather gather;
    uint64_t physical;

    (void)units_add(units, options_of(state), "mmu0");
    (void)units_add(units, options_of(state), "mmu1");
    device = units_device(units, "dma", (const struct units_id[]){{0, 5}, {1, 6}}, 2);
    config.instances = units->instances;
    assert_int_equal(units_try_domain(units, &config, &identity), 0);
    units->anything_goes = true;
    assert_int_equal(units_attach(units, device, identity), 0);
    assert_true(spy_reaches(units->spy, 0, 5, 0x12345000, true, &physical));
    assert_true(spy_reaches(units->spy, 1, 6, 0x12345000, true, &physical));
    piommu_gather_init(&gather);
    assert_int_equal(piommu_domain_map(identity, 0, MEMORY, PAGE, RW), -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_unmap(identity, 0, PAGE, &gather, NULL), -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_invalidate(identity, 0, PAGE), -PIOMMU_EINVAL);
    units_detach(units, device);
    assert_false(spy_reaches(units->spy, 0, 5, 0x12345000, true, &physical));
    assert_false(spy_reaches(units->spy, 1, 6, 0x12345000, true, &physical));
    units_close(units);
}

static void test_from_identity_to_paging_nothing_is_left_open(void **state)
{
    for (unsigned int can = 0; can < 2; can++) {
        struct units *units = units_open();
        struct piommu_domain_config config = {.type = PIOMMU_DOMAIN_IDENTITY, .instance_count = 1};
        struct piommu_device *device;
        struct piommu_domain *domain;
        struct piommu_domain *identity;

        (void)add_adjusted(units, options_of(state), can != 0 ? NULL : not_at_once, "mmu");
        device = units_device_one(units, "dma", 0, 5);
        domain = units_domain(units, "A", 0, 1);
        config.instances = units->instances;
        assert_int_equal(units_try_domain(units, &config, &identity), 0);
        for (unsigned int round = 0; round < 3; round++) {
            units->anything_goes = true;
            assert_int_equal(units_attach(units, device, identity), 0);
            assert_int_equal(units_attach(units, device, domain), 0);
            units->anything_goes = false;
            assert_true(units_is_in(units, device, domain));
            units_probe(units);
        }
        units_close(units);
    }
}

/* ---- Contexts ---- */

static void test_a_family_has_one_context_for_a_domain_and_one_invalidation(void **state)
{
    struct units *units = units_open();
    unsigned int main_unit = units_add_keyed(units, &tables, "main", ROOT_KEY, 0);
    struct piommu_device *devices[4];
    struct piommu_domain *domain;
    unsigned int before;

    (void)state;
    for (unsigned int i = 1; i < 4; i++) {
        (void)units_add_keyed(units, &tables, "cache", 0, ROOT_KEY);
    }
    for (unsigned int i = 0; i < 4; i++) {
        devices[i] = units_device_one(units, "dma", i, 5 + i);
    }
    domain = units_domain(units, "A", 0, 4);
    for (unsigned int i = 0; i < 4; i++) {
        assert_int_equal(units_attach(units, devices[i], domain), 0);
    }
    assert_int_equal(mock_contexts(spy_mock(units->spy, main_unit)), 1);
    for (unsigned int i = 0; i < 4; i++) {
        assert_true(units_is_in(units, devices[i], domain));
    }
    before = mock_family_invalidations(spy_mock(units->spy, main_unit));
    units->anything_goes = true;
    units_unmap(domain, units_own_page(units, domain), PAGE);
    assert_int_equal(mock_family_invalidations(spy_mock(units->spy, main_unit)), before + 1);
    for (unsigned int i = 0; i < 4; i++) {
        uint64_t physical;

        assert_false(
            spy_reaches(units->spy, i, 5 + i, units_own_page(units, domain), false, &physical));
    }
    /* Whoever of them is left in the domain, one of them is asked. */
    for (unsigned int i = 0; i < 3; i++) {
        units_detach(units, devices[i]);
        before = mock_family_invalidations(spy_mock(units->spy, main_unit));
        units_unmap(domain, UNITS_PAGE, PAGE);
        assert_int_equal(mock_family_invalidations(spy_mock(units->spy, main_unit)), before + 1);
        assert_int_equal(piommu_domain_map(domain, UNITS_PAGE, MEMORY, PAGE, RW), 0);
    }
    units_close(units);
}

static void test_a_family_goes_on_without_a_member_that_has_failed(void **state)
{
    for (unsigned int failing = 0; failing < 2; failing++) {
        unsigned int other = 1 - failing;
        struct units *units = units_open();
        struct piommu_device *devices[2];
        struct piommu_domain *domain;
        struct piommu_gather gather;
        uint64_t own;
        uint64_t physical;

        (void)units_add_keyed(units, options_of(state), "main", ROOT_KEY, 0);
        (void)units_add_keyed(units, options_of(state), "cache", 0, ROOT_KEY);
        for (unsigned int i = 0; i < 2; i++) {
            devices[i] = units_device_one(units, "dma", i, 5 + i);
        }
        domain = units_domain(units, "A", 0, 2);
        own = units_own_page(units, domain);
        for (unsigned int i = 0; i < 2; i++) {
            assert_int_equal(units_attach(units, devices[i], domain), 0);
        }
        spy_fail(units->spy, failing, SPY_SERVICE, 1, -PIOMMU_EIO);
        assert_int_equal(piommu_instance_service(units->instances[failing], 1), -PIOMMU_EFAILED);
        units_detach(units, devices[failing]);
        assert_true(units_is_in(units, devices[failing], NULL));
        assert_true(units_is_in(units, devices[other], domain));
        /* Who is stopped is not asked any more. */
        units->anything_goes = true;
        piommu_gather_init(&gather);
        assert_int_equal(piommu_domain_unmap(domain, own, PAGE, &gather, NULL), 0);
        assert_int_equal(piommu_domain_sync(domain, &gather), 0);
        assert_false(spy_reaches(units->spy, other, 5 + other, own, false, &physical));
        assert_int_equal(piommu_domain_map(domain, own, MEMORY, PAGE, RW), 0);
        assert_true(spy_reaches(units->spy, other, 5 + other, own, false, &physical));
        units_close(units);
    }
}

static void test_two_families_in_one_domain_are_asked_once_each(void **state)
{
    struct units *units = units_open();
    struct piommu_device *devices[4];
    struct piommu_domain *domain;

    (void)state;
    (void)units_add_keyed(units, &tables, "main0", ROOT_KEY, 0);
    (void)units_add_keyed(units, &tables, "cache0", 0, ROOT_KEY);
    (void)units_add_keyed(units, &tables, "main1", ROOT_KEY + 1, 0);
    (void)units_add_keyed(units, &tables, "cache1", 0, ROOT_KEY + 1);
    for (unsigned int i = 0; i < 4; i++) {
        devices[i] = units_device_one(units, "dma", i, 5 + i);
    }
    domain = units_domain(units, "A", 0, 4);
    for (unsigned int i = 0; i < 4; i++) {
        assert_int_equal(units_attach(units, devices[i], domain), 0);
    }
    spy_forget(units->spy);
    units->anything_goes = true;
    units_unmap(domain, units_own_page(units, domain), PAGE);
    assert_int_equal(
        spy_count(units->spy, 0, SPY_INVALIDATE) + spy_count(units->spy, 1, SPY_INVALIDATE), 1);
    assert_int_equal(
        spy_count(units->spy, 2, SPY_INVALIDATE) + spy_count(units->spy, 3, SPY_INVALIDATE), 1);
    units_close(units);
}

static void test_without_a_context_left_the_group_stays_where_it_is(void **state)
{
    struct units *units = units_open();
    struct spy_options one = *options_of(state);
    struct piommu_device *device;
    struct piommu_device *second;
    struct piommu_domain *full;
    struct piommu_domain *wanted;

    one.contexts = 1;
    (void)units_add(units, options_of(state), "plenty");
    (void)units_add(units, &one, "scarce");
    device = units_device(units, "both", (const struct units_id[]){{0, 5}, {1, 6}}, 2);
    second = units_device_one(units, "second", 1, 7);
    full = units_domain(units, "full", 0, 1);
    wanted = units_domain(units, "wanted", 0, 1);
    assert_int_equal(units_attach(units, device, full), 0);
    assert_int_equal(units_attach(units, device, wanted), -PIOMMU_ENOSPC);
    assert_true(units_is_in(units, device, full));
    assert_ptr_equal(units_domain_of(device), full);
    assert_int_equal(units_attach(units, second, wanted), -PIOMMU_ENOSPC);
    assert_true(units_is_in(units, second, NULL));
    assert_int_equal(units_attach(units, second, full), 0);
    assert_true(units_is_in(units, second, full));
    /* When the first domain is gone there is room. */
    units_detach(units, device);
    units_detach(units, second);
    units_drop(units, full);
    assert_int_equal(units_attach(units, device, wanted), 0);
    assert_true(units_is_in(units, device, wanted));
    units_close(units);
}

static void test_joining_without_memory_changes_nothing(void **state)
{
    bool complete = false;
    unsigned int failures = 0;

    for (unsigned int nth = 1; !complete; nth++) {
        struct units *units = units_open();
        struct piommu_device *resident;
        struct piommu_device *device;
        struct piommu_domain *domain;
        uint64_t bytes;
        int error;

        for (unsigned int i = 0; i < 3; i++) {
            (void)units_add(units, options_of(state), "mmu");
        }
        resident = units_device_one(units, "resident", 0, 4);
        device = units_device(units, "late", (const struct units_id[]){{0, 5}, {1, 6}, {2, 7}}, 3);
        domain = units_domain(units, "A", 0, 1);
        assert_int_equal(units_attach(units, resident, domain), 0);
        bytes = fake_os_bytes_outstanding(units->os);
        fake_os_fail_call(units->os, nth, false);
        error = units_attach(units, device, domain);
        fake_os_fail_call(units->os, 0, false);
        if (error != 0) {
            assert_int_equal(error, -PIOMMU_ENOMEM);
            assert_true(units_is_in(units, device, NULL));
            assert_true(units_is_in(units, resident, domain));
            assert_int_equal(fake_os_bytes_outstanding(units->os), bytes);
            failures++;
        } else {
            assert_true(units_is_in(units, device, domain));
        }
        complete = error == 0;
        units_close(units);
        assert_true(nth < 100);
    }
    assert_true(failures >= 1);
}

static void test_a_domain_without_memory_is_not_created(void **state)
{
    bool complete = false;
    unsigned int failures = 0;

    for (unsigned int nth = 1; !complete; nth++) {
        struct units *units = units_open();
        struct piommu_domain *domain = NULL;
        uint64_t bytes;
        int error;

        for (unsigned int i = 0; i < 3; i++) {
            (void)units_add(units, options_of(state), "mmu");
        }
        bytes = fake_os_bytes_outstanding(units->os);
        fake_os_fail_call(units->os, nth, false);
        error = create_over(units, 3, &domain);
        fake_os_fail_call(units->os, 0, false);
        if (error != 0) {
            assert_int_equal(error, -PIOMMU_ENOMEM);
            assert_null(domain);
            assert_int_equal(fake_os_bytes_outstanding(units->os), bytes);
            for (unsigned int i = 0; i < 3; i++) {
                assert_int_equal(mock_contexts(spy_mock(units->spy, i)), 0);
            }
            failures++;
        }
        complete = error == 0;
        units_close(units);
        assert_true(nth < 100);
    }
    assert_true(failures >= 1);
}

/* ---- How a group moves ---- */

static void test_a_single_id_is_switched_at_once_where_hardware_can(void **state)
{
    for (unsigned int can = 0; can < 2; can++) {
        struct units *units = units_open();
        unsigned int unit =
            add_adjusted(units, options_of(state), can != 0 ? NULL : not_at_once, "mmu");
        struct piommu_device *device = units_device_one(units, "dma", unit, 5);
        struct piommu_domain *a = units_domain(units, "A", unit, 1);
        struct piommu_domain *b = units_domain(units, "B", unit, 1);
        struct piommu_instance_info info;

        piommu_instance_get_info(units->instances[unit], &info);
        assert_int_equal(info.atomic_switch, can != 0);
        assert_int_equal(units_attach(units, device, a), 0);
        spy_forget(units->spy);
        assert_int_equal(units_attach(units, device, b), 0);
        assert_int_equal(spy_count(units->spy, unit, SPY_ATTACH), 1);
        assert_int_equal(spy_count(units->spy, unit, SPY_BLOCK), can != 0 ? 0 : 1);
        if (can == 0) {
            assert_true(spy_find(units->spy, unit, SPY_BLOCK, 1) <
                        spy_find(units->spy, unit, SPY_ATTACH, 1));
        }
        assert_true(units_is_in(units, device, b));
        /* Where it is it need not go. */
        spy_forget(units->spy);
        assert_int_equal(units_attach(units, device, b), 0);
        assert_int_equal(spy_calls(units->spy, SPY_ANY), 0);
        units_close(units);
    }
}

static void test_a_group_of_several_ids_is_blocked_whole_before_it_moves(void **state)
{
    for (unsigned int can = 0; can < 2; can++) {
        static const struct units_id ids[] = {{0, 5}, {1, 6}, {1, 7}};
        struct units *units = units_open();
        struct piommu_device *device;
        struct piommu_domain *a;
        struct piommu_domain *b;

        (void)add_adjusted(units, options_of(state), can != 0 ? NULL : not_at_once, "mmu0");
        (void)add_adjusted(units, options_of(state), can != 0 ? NULL : not_at_once, "mmu1");
        device = units_device(units, "dma", ids, 3);
        a = units_domain(units, "A", 0, 2);
        b = units_domain(units, "B", 0, 2);
        assert_int_equal(units_attach(units, device, a), 0);
        spy_forget(units->spy);
        assert_int_equal(units_attach(units, device, b), 0);
        assert_int_equal(spy_count(units->spy, SPY_ANY, SPY_BLOCK), 3);
        assert_int_equal(spy_count(units->spy, SPY_ANY, SPY_ATTACH), 3);
        assert_true(spy_find_last(units->spy, SPY_ANY, SPY_BLOCK) <
                    spy_find(units->spy, SPY_ANY, SPY_ATTACH, 1));
        assert_true(units_is_in(units, device, b));
        units_close(units);
    }
}

static void test_a_unit_that_switches_at_once_need_not_wait_for_one_that_cannot(void **state)
{
    struct units *units = units_open();
    struct piommu_device *first;
    struct piommu_device *second;
    struct piommu_domain *a;
    struct piommu_domain *b;

    (void)add_adjusted(units, options_of(state), NULL, "quick");
    (void)add_adjusted(units, options_of(state), not_at_once, "slow");
    first = units_device_one(units, "first", 0, 5);
    second = units_device_one(units, "second", 1, 6);
    a = units_domain(units, "A", 0, 2);
    b = units_domain(units, "B", 0, 2);
    assert_int_equal(units_attach(units, first, a), 0);
    assert_int_equal(units_attach(units, second, a), 0);
    spy_forget(units->spy);
    assert_int_equal(units_attach(units, first, b), 0);
    assert_int_equal(units_attach(units, second, b), 0);
    assert_int_equal(spy_count(units->spy, 0, SPY_BLOCK), 0);
    assert_int_equal(spy_count(units->spy, 1, SPY_BLOCK), 1);
    units_close(units);
}

static void test_a_move_that_fails_over_several_instances_ends_where_the_error_says(void **state)
{
    static const struct units_id ids[] = {{0, 5}, {1, 6}, {1, 7}};

    for (unsigned int from_a = 0; from_a < 2; from_a++) {
        for (unsigned int k = 0; k < 3; k++) {
            struct units *units = units_open();
            struct piommu_device *device;
            struct piommu_domain *a;
            struct piommu_domain *b;

            (void)units_add(units, options_of(state), "mmu0");
            (void)units_add(units, options_of(state), "mmu1");
            device = units_device(units, "dma", ids, 3);
            a = units_domain(units, "A", 0, 2);
            b = units_domain(units, "B", 0, 2);
            if (from_a != 0) {
                assert_int_equal(units_attach(units, device, a), 0);
            }
            spy_fail(units->spy, ids[k].unit, SPY_ATTACH, k == 2 ? 2 : 1, -PIOMMU_EIO);
            assert_int_equal(units_attach(units, device, b), -PIOMMU_EIO);
            assert_true(units_is_in(units, device, from_a != 0 ? a : NULL));
            assert_ptr_equal(units_domain_of(device), from_a != 0 ? a : NULL);
            /* Nobody is left in B: it can go. */
            units_drop(units, b);
            units_close(units);
        }
    }
}

static void test_a_move_that_cannot_go_back_ends_blocked(void **state)
{
    static const struct units_id ids[] = {{0, 5}, {1, 6}};
    struct units *units = units_open();
    struct piommu_device *device;
    struct piommu_domain *a;
    struct piommu_domain *b;

    (void)units_add(units, options_of(state), "mmu0");
    (void)units_add(units, options_of(state), "mmu1");
    device = units_device(units, "dma", ids, 2);
    a = units_domain(units, "A", 0, 2);
    b = units_domain(units, "B", 0, 2);
    assert_int_equal(units_attach(units, device, a), 0);
    spy_fail_always(units->spy, 1, SPY_ATTACH, -PIOMMU_EIO);
    assert_int_equal(units_attach(units, device, b), -PIOMMU_EBLOCKED);
    assert_true(units_is_in(units, device, NULL));
    assert_null(units_domain_of(device));
    assert_int_equal(units_id_state(device, 0), PIOMMU_ID_BLOCKED);
    assert_int_equal(units_state(units, 1), PIOMMU_INSTANCE_RUNNING);
    units_drop(units, a);
    spy_fail_always(units->spy, 1, SPY_ATTACH, 0);
    assert_int_equal(units_attach(units, device, b), 0);
    assert_true(units_is_in(units, device, b));
    units_close(units);
}

static void test_an_instance_that_fails_takes_its_group_out_of_all_instances(void **state)
{
    static const struct units_id ids[] = {{0, 5}, {1, 6}};
    struct units *units = units_open();
    struct piommu_device *device;
    struct piommu_device *neighbour;
    struct piommu_domain *a;
    struct piommu_domain *b;

    (void)units_add(units, options_of(state), "mmu0");
    (void)units_add(units, options_of(state), "mmu1");
    device = units_device(units, "dma", ids, 2);
    neighbour = units_device_one(units, "neighbour", 0, 8);
    a = units_domain(units, "A", 0, 2);
    b = units_domain(units, "B", 0, 2);
    assert_int_equal(units_attach(units, device, a), 0);
    assert_int_equal(units_attach(units, neighbour, a), 0);
    spy_fail(units->spy, 1, SPY_ATTACH, 1, -PIOMMU_ETIMEDOUT);
    assert_int_equal(units_attach(units, device, b), -PIOMMU_EFAILED);
    assert_int_equal(units_state(units, 1), PIOMMU_INSTANCE_FAILED);
    assert_int_equal(units_state(units, 0), PIOMMU_INSTANCE_RUNNING);
    assert_true(units_is_in(units, device, NULL));
    assert_null(units_domain_of(device));
    /* Others of the healthy instance do not notice. */
    assert_true(units_is_in(units, neighbour, a));
    assert_int_equal(units_attach(units, neighbour, b), 0);
    assert_true(units_is_in(units, neighbour, b));
    assert_int_equal(units_attach(units, device, b), -PIOMMU_EFAILED);
    units_close(units);
}

static void test_an_id_of_a_unit_that_does_not_stop_is_in_doubt(void **state)
{
    static const struct units_id ids[] = {{0, 5}, {1, 6}};
    struct units *units = units_open();
    struct piommu_device *device;
    struct piommu_domain *a;

    (void)units_add(units, options_of(state), "mmu0");
    (void)units_add(units, options_of(state), "mmu1");
    device = units_device(units, "dma", ids, 2);
    a = units_domain(units, "A", 0, 2);
    assert_int_equal(units_attach(units, device, a), 0);
    spy_refuse_stop(units->spy, 1, true);
    spy_fail(units->spy, 1, SPY_BLOCK, 1, -PIOMMU_ETIMEDOUT);
    assert_int_equal(piommu_group_detach(piommu_device_group(device)), -PIOMMU_EFAILED);
    assert_int_equal(units_id_state(device, 1), PIOMMU_ID_DOUBTFUL);
    assert_int_not_equal(units_id_state(device, 0), PIOMMU_ID_DOUBTFUL);
    /* The domain's tables may still be walked, so they stay. */
    assert_int_equal(piommu_domain_destroy(a), -PIOMMU_EBUSY);
    spy_refuse_stop(units->spy, 1, false);
    units_detach(units, device);
    assert_int_equal(units_id_state(device, 1), PIOMMU_ID_BLOCKED);
    assert_true(units_is_in(units, device, NULL));
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
        BOTH(test_a_domain_over_several_instances_is_what_all_of_them_can_do),
        cmocka_unit_test(test_the_granule_of_a_domain_is_one_that_all_know),
        cmocka_unit_test(test_no_domain_spans_what_does_not_go_together),
        BOTH(test_a_domain_is_made_of_instances_of_one_context),
        BOTH(test_bad_configurations_of_domains_are_refused),
        BOTH(test_an_instance_with_domains_is_not_destroyed),
        BOTH(test_a_device_of_another_instance_can_join),
        cmocka_unit_test(test_a_domain_shrinks_when_somebody_joins_and_grows_when_he_leaves),
        BOTH(test_what_the_domain_was_created_for_keeps_its_limits),
        cmocka_unit_test(test_who_cannot_honour_what_is_mapped_stays_outside),
        cmocka_unit_test(test_who_takes_translations_otherwise_stays_outside),
        cmocka_unit_test(test_a_table_that_is_wider_than_a_walker_is_not_given_to_it),
        BOTH(test_a_mapping_reaches_all_instances_and_leaves_all),
        cmocka_unit_test(test_a_mapping_that_one_instance_refuses_is_nowhere),
        BOTH(test_a_sync_that_one_instance_does_not_obey_is_done_by_all_others),
        BOTH(test_the_ids_in_a_domain_are_counted_over_all_instances),
        BOTH(test_an_identity_domain_needs_all_its_instances),
        BOTH(test_an_identity_domain_spans_instances_that_have_it),
        BOTH(test_from_identity_to_paging_nothing_is_left_open),
        cmocka_unit_test(test_a_family_has_one_context_for_a_domain_and_one_invalidation),
        BOTH(test_a_family_goes_on_without_a_member_that_has_failed),
        cmocka_unit_test(test_two_families_in_one_domain_are_asked_once_each),
        BOTH(test_without_a_context_left_the_group_stays_where_it_is),
        BOTH(test_joining_without_memory_changes_nothing),
        BOTH(test_a_domain_without_memory_is_not_created),
        BOTH(test_a_single_id_is_switched_at_once_where_hardware_can),
        BOTH(test_a_group_of_several_ids_is_blocked_whole_before_it_moves),
        BOTH(test_a_unit_that_switches_at_once_need_not_wait_for_one_that_cannot),
        BOTH(test_a_move_that_fails_over_several_instances_ends_where_the_error_says),
        BOTH(test_a_move_that_cannot_go_back_ends_blocked),
        BOTH(test_an_instance_that_fails_takes_its_group_out_of_all_instances),
        BOTH(test_an_id_of_a_unit_that_does_not_stop_is_in_doubt),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
