/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Every allocation of every call fails once, in each format: the call fails, and all is as before.
 * What "all" is, the calls of the random programs compare: tables and bytes that are held, what is
 * mapped, the reserve.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <piommu/io-pgtable-inspect.h>

#include "pgtable_calls.h"

#include <stdio.h>

#define READ_WRITE (PIOMMU_PROT_READ | PIOMMU_PROT_WRITE)

#define GROUPS   PIOMMU_PGTABLE_CONTIGUOUS
#define DISJOINT PIOMMU_PGTABLE_DISJOINT

#define CONFIG(kind, pages, input, output, ...)                                               \
    {                                                                                         \
        .format = (kind), .granule = (pages), .input_bits = (input), .output_bits = (output), \
        __VA_ARGS__                                                                           \
    }

static const struct piommu_pgtable_config configs[] = {
    CONFIG(PIOMMU_ARM_64_LPAE_S1, 4096, 48, 48, .coherent_walk = true),
    CONFIG(PIOMMU_ARM_64_LPAE_S1, 4096, 52, 52, .coherent_walk = false,
           .flags = GROUPS | PIOMMU_PGTABLE_TTBR1),
    CONFIG(PIOMMU_ARM_64_LPAE_S1, 16384, 47, 48, .coherent_walk = true, .flags = GROUPS),
    CONFIG(PIOMMU_ARM_64_LPAE_S1, 65536, 52, 52, .coherent_walk = true),
    CONFIG(PIOMMU_ARM_64_LPAE_S2, 4096, 40, 40, .coherent_walk = true,
           .flags = GROUPS | PIOMMU_PGTABLE_BBM_LEVEL_2),
    CONFIG(PIOMMU_ARM_64_LPAE_S2, 16384, 48, 52, .coherent_walk = false, .empty_tables_kept = 2),
    CONFIG(PIOMMU_ARM_64_LPAE_S2, 65536, 46, 48, .coherent_walk = true, .flags = GROUPS),
    CONFIG(PIOMMU_ARM_32_LPAE_S1, 4096, 31, 40, .coherent_walk = false,
           .flags = PIOMMU_PGTABLE_TTBR1),
    CONFIG(PIOMMU_ARM_32_LPAE_S2, 4096, 40, 40, .coherent_walk = true),
    CONFIG(PIOMMU_ARM_64_LPAE_S1, 4096, 48, 48, .coherent_walk = false, .flags = DISJOINT | GROUPS),
    CONFIG(PIOMMU_ARM_64_LPAE_S2, 65536, 46, 48, .coherent_walk = true, .flags = DISJOINT,
           .empty_tables_kept = 2),
    CONFIG(PIOMMU_ARM_32_LPAE_S1, 4096, 32, 40, .coherent_walk = true, .flags = DISJOINT),
};

#define CONFIG_COUNT (sizeof(configs) / sizeof(configs[0]))

static void describe(const void *what)
{
    const struct piommu_pgtable_config *config = what;

    fprintf(stderr, "format %d, granule %u, %u bits\n", (int)config->format,
            (unsigned int)config->granule, config->input_bits);
}

/* On a host without disjoint tables all are exclusive. */
static struct piommu_pgtable_config config_number(size_t number)
{
    struct piommu_pgtable_config config = configs[number];

    if (host_lacks_atomics(&config)) {
        config.flags &= ~PIOMMU_PGTABLE_DISJOINT;
    }
    return config;
}

static struct pgtable_run *open_run(size_t number, bool scattered)
{
    struct pgtable_host_options options = {.scattered = scattered, .is_watched = true};
    struct piommu_pgtable_config config = config_number(number);

    pgtable_describe(describe, &configs[number]);
    return run_open(&config, &options, number);
}

static void clear(struct pgtable_run *run)
{
    const struct piommu_range *aperture = &run->rules->aperture;

    run_unmap(run, aperture->first, aperture->last - aperture->first + 1);
    run_sync(run, SYNC_TRIM);
    model_check_all(&run->m);
    CHECK(run->m.count == 0);
}

/* Across the middle of the aperture: two tables on each level. */
static struct map_request request_for(const struct pgtable_run *run, unsigned int how)
{
    const struct piommu_range *aperture = &run->rules->aperture;
    uint64_t granule = run->rules->config.granule;
    uint64_t middle = aperture->first + (aperture->last - aperture->first) / 2 + 1;
    struct map_request request = {
        .iova = middle - 2 * granule,
        .segments = {{.physical = 3 * granule, .size = 3 * granule}},
        .count = 1,
        .prot = READ_WRITE,
        .how = how,
        .budget_seed = 1,
    };

    if (how != MAP_PLAIN) {
        request.segments[1] =
            (struct piommu_segment){.physical = 64 * granule, .size = 2 * granule};
        request.segments[2] = (struct piommu_segment){.physical = 9 * granule, .size = granule};
        request.count = 3;
    }
    return request;
}

/* Returns how many allocations could fail. */
static uint32_t fail_all_allocations_of_a_map(struct pgtable_run *run, unsigned int how,
                                              bool forever)
{
    uint32_t number = 0;

    do {
        struct map_request request = request_for(run, how);
        struct table_count before = count_tables(run);

        CHECK(run->m.count == 0);
        number++;
        request.fail_at = number;
        request.fail_forever = forever;
        run_map(run, &request);
        if (how == MAP_PORTIONS && run->m.count != 0 &&
            count_tables(run).pieces - before.pieces >= number) {
            /* Failed, and was made again. */
            clear(run);
        }
    } while (run->m.count == 0);
    clear(run);
    return number - 1;
}

static void a_map_that_runs_out_of_memory_changes_nothing(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2 * CONFIG_COUNT; i++) {
        struct pgtable_run *run = open_run(i / 2, i % 2 == 1);
        uint64_t tables = 2 * (uint64_t)(3 - run->rules->start_level);

        for (unsigned int how = MAP_PLAIN; how <= MAP_PORTIONS; how++) {
            assert_int_equal(fail_all_allocations_of_a_map(run, how, false), tables);
            assert_int_equal(fail_all_allocations_of_a_map(run, how, true), tables);
        }
        run_close(run, 0);
    }
}

static void what_came_from_the_reserve_goes_back_there(void **state)
{
    (void)state;
    for (size_t i = 0; i < CONFIG_COUNT; i++) {
        struct pgtable_run *run = open_run(i, false);
        uint32_t tables = 2 * (uint32_t)(3 - run->rules->start_level);

        for (uint32_t reserved = 1; reserved <= tables; reserved++) {
            run_reserve(run, 1, 0);
            assert_int_equal(fail_all_allocations_of_a_map(run, MAP_PLAIN, true),
                             tables - reserved);
            assert_int_equal(count_tables(run).spare, reserved);
        }
        run_unreserve(run, tables);
        assert_int_equal(count_tables(run).pieces, 1);
        run_close(run, 0);
    }
}

static void a_map_into_existing_tables_runs_out_of_memory_as_well(void **state)
{
    (void)state;
    for (size_t i = 0; i < CONFIG_COUNT; i++) {
        struct pgtable_run *run = open_run(i, false);
        struct map_request first = request_for(run, MAP_PLAIN);
        uint64_t granule = run->rules->config.granule;
        uint32_t number = 0;
        size_t leaves;

        first.segments[0].size = granule;
        run_map(run, &first);
        do {
            /* Behind the first page, and over the middle. */
            struct map_request second = request_for(run, MAP_PLAIN);

            leaves = run->m.count;
            second.iova += granule;
            second.fail_at = ++number;
            run_map(run, &second);
        } while (run->m.count == leaves);
        assert_int_equal(number - 1, 3 - run->rules->start_level);
        clear(run);
        run_close(run, 0);
    }
}

/* The largest leaf but one level, and what is cut out of it: something in its middle. */
static void fail_all_allocations_of_a_cut(struct pgtable_run *run, uint64_t size)
{
    uint64_t granule = run->rules->config.granule;
    struct map_request request = {
        .iova = run->rules->aperture.first,
        .segments = {{.physical = 0, .size = 2 * size}},
        .count = 1,
        .prot = READ_WRITE,
    };
    uint64_t iova = run->rules->aperture.first + size - 3 * granule;
    uint64_t bytes = 2 * size;
    uint32_t number = 0;
    uint64_t expected;
    struct table_count before;
    uint64_t mapped;

    run_map(run, &request);
    before = count_tables(run);
    CHECK(piommu_pgtable_plan(run->h->table, iova, 5 * granule, granule, NULL, &expected) == 0);
    do {
        run_cut(run, iova, 5 * granule, false, ++number);
        mapped = model_mapped_bytes(&run->m, run->rules->aperture.first,
                                    run->rules->aperture.first + (bytes - 1));
    } while (mapped == bytes);
    assert_int_equal(mapped, bytes - 5 * granule);
    assert_int_equal(number - 1, tables_taken(run, &before, true));
    assert_true(number - 1 <= expected);
    clear(run);
}

static void a_cut_that_runs_out_of_memory_changes_nothing(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2 * CONFIG_COUNT; i++) {
        struct pgtable_run *run = open_run(i / 2, i % 2 == 1);

        for (size_t j = 0; j < run->rules->size_count; j++) {
            uint64_t size = run->rules->sizes[j];

            /* The rest of a leaf of more than two levels is more than the model can hold. */
            if (size > 8 * run->rules->config.granule &&
                size / run->rules->config.granule <= 1u << 19) {
                fail_all_allocations_of_a_cut(run, size);
            }
        }
        run_close(run, 0);
    }
}

static void a_reserve_that_runs_out_of_memory_changes_nothing(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2 * CONFIG_COUNT; i++) {
        struct pgtable_run *run = open_run(i / 2, i % 2 == 1);

        /* In a disjoint table there is one allocation more. */
        for (uint32_t number = 1; number <= 7 && count_tables(run).spare == 0; number++) {
            run_reserve(run, 5, number);
        }
        assert_int_equal(count_tables(run).spare, 5);
        run_close(run, 0);
    }
}

static void a_creation_that_runs_out_of_memory_leaves_nothing(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2 * CONFIG_COUNT; i++) {
        struct fake_os_options options = {
            .scattered = i % 2 == 1,
            .non_coherent = !configs[i / 2].coherent_walk,
        };
        struct fake_os *os = fake_os_create(&options);
        struct piommu_pgtable_config config = config_number(i / 2);
        struct piommu_pgtable *table = NULL;
        uint64_t number = 0;
        int result;

        do {
            fake_os_fail_call(os, ++number, false);
            result = piommu_pgtable_create(fake_os_host(os), &config, &table);
            fake_os_fail_call(os, 0, false);
            if (result != 0) {
                assert_int_equal(result, -PIOMMU_ENOMEM);
                assert_null(table);
                assert_int_equal(fake_os_bytes_outstanding(os), 0);
            }
        } while (result != 0);
        assert_true(number > 2); /* the object and the root */
        piommu_pgtable_destroy(table);
        fake_os_destroy(os);
    }
}

static void a_verification_that_runs_out_of_memory_can_be_made_again(void **state)
{
    (void)state;
    for (size_t i = 0; i < CONFIG_COUNT; i++) {
        struct pgtable_run *run = open_run(i, false);
        struct map_request request = request_for(run, MAP_PLAIN);
        uint64_t number = 0;
        int result;

        run_map(run, &request);
        do {
            uint64_t bytes = fake_os_bytes_outstanding(run->h->os);

            fake_os_fail_call(run->h->os, ++number, false);
            result = piommu_pgtable_verify(run->h->table, NULL, NULL, NULL);
            fake_os_fail_call(run->h->os, 0, false);
            assert_int_equal(fake_os_bytes_outstanding(run->h->os), bytes);
            assert_true(result == 0 || result == -PIOMMU_ENOMEM);
        } while (result != 0);
        assert_true(number > 1);
        run_close(run, 0);
    }
}

static void an_adoption_that_runs_out_of_memory_leaves_nothing(void **state)
{
    (void)state;
    for (size_t i = 0; i < CONFIG_COUNT; i++) {
        struct pgtable_run *run = open_run(i, true);
        struct pgtable_host *h = run->h;
        void *root = fake_os_pointer(h->os, h->info.root_physical - h->offset, 8);
        uint64_t bytes = fake_os_bytes_outstanding(h->os);
        struct piommu_pgtable *adopted = NULL;

        h->is_adopted_use = true;
        fake_os_fail_call(h->os, 1, true);
        assert_int_equal(piommu_pgtable_adopt(h->host, &run->rules->config, root,
                                              h->info.root_physical, &adopted),
                         -PIOMMU_ENOMEM);
        fake_os_fail_call(h->os, 0, false);
        assert_null(adopted);
        assert_int_equal(fake_os_bytes_outstanding(h->os), bytes);
        assert_int_equal(piommu_pgtable_adopt(h->host, &run->rules->config, root,
                                              h->info.root_physical, &adopted),
                         0);
        piommu_pgtable_destroy(adopted);
        h->is_adopted_use = false;
        run_close(run, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_creation_that_runs_out_of_memory_leaves_nothing),
        cmocka_unit_test(a_map_that_runs_out_of_memory_changes_nothing),
        cmocka_unit_test(a_map_into_existing_tables_runs_out_of_memory_as_well),
        cmocka_unit_test(what_came_from_the_reserve_goes_back_there),
        cmocka_unit_test(a_cut_that_runs_out_of_memory_changes_nothing),
        cmocka_unit_test(a_reserve_that_runs_out_of_memory_changes_nothing),
        cmocka_unit_test(a_verification_that_runs_out_of_memory_can_be_made_again),
        cmocka_unit_test(an_adoption_that_runs_out_of_memory_leaves_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
