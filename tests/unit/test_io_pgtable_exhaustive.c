/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Everything there is, where there is little: all geometries with the first and the last leaf of
 * each size, and in small ranges all pairs of calls. Compared with the same model and by the same
 * walker as the random programs.
 *
 * Where PIOMMU_RANDOM_STEPS asks for less than is usual, since all is slow there, only a part of
 * the cases is tried.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "pgtable_calls.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define READ       PIOMMU_PROT_READ
#define READ_WRITE (PIOMMU_PROT_READ | PIOMMU_PROT_WRITE)

#define MAXIMUM_POINTS 17u

/* Programs made of this file may try less. A prime, so that no kind of call is left out. */
#ifndef THINNING
#define THINNING 1u
#endif

/* One case in so many is tried. */
static uint64_t thinning(void)
{
    const char *text = getenv("PIOMMU_RANDOM_STEPS");
    uint64_t steps = text != NULL && *text != '\0' ? strtoull(text, NULL, 0) : UINT64_MAX;

    return THINNING * (steps >= 60000 ? 1u : steps >= 20000 ? 5u : steps >= 10000 ? 23u : 89u);
}

static struct fake_os *shared_host(void)
{
    static struct fake_os *os;

    if (os == NULL) {
        os = fake_os_create(&(struct fake_os_options){.scattered = false});
    }
    return os;
}

static struct pgtable_run *open_run(const struct piommu_pgtable_config *config)
{
    struct pgtable_host_options options = {.os = shared_host(), .placement = 1};
    struct piommu_pgtable_config possible = *config;

    if (host_lacks_atomics(config)) {
        possible.flags &= ~PIOMMU_PGTABLE_DISJOINT;
    }
    return run_open(&possible, &options, 1);
}

static void map(struct pgtable_run *run, uint64_t iova, uint64_t physical, uint64_t size,
                piommu_prot prot)
{
    struct map_request request = {
        .iova = iova,
        .segments = {{.physical = physical, .size = size}},
        .count = 1,
        .prot = prot,
        .how = MAP_PLAIN,
    };

    run_map(run, &request);
}

/* Afterwards no table is left but the root. */
static void clear(struct pgtable_run *run)
{
    const struct piommu_range *aperture = &run->rules->aperture;

    run_unmap(run, aperture->first, aperture->last - aperture->first + 1);
    run_sync(run, SYNC_TRIM);
    CHECK(run->m.count == 0 && run->h->piece_count == 1);
}

/* ---- All geometries ---- */

static void describe_config(const void *what)
{
    const struct piommu_pgtable_config *config = what;

    fprintf(stderr, "format %d, granule %u, %u bits to %u, flags 0x%x\n", (int)config->format,
            (unsigned int)config->granule, config->input_bits, config->output_bits,
            (unsigned int)config->flags);
}

/* Nothing answers to an address that differs in one bit, unless it lies in the leaf, too. */
static void probe_aliases(struct pgtable_run *run, uint64_t address)
{
    for (unsigned int bit = run->rules->granule_shift; bit < 64; bit++) {
        model_probe(&run->m, address ^ 1ull << bit);
    }
}

static void try_size(struct pgtable_run *run, uint64_t size)
{
    const struct piommu_range *aperture = &run->rules->aperture;
    uint64_t last = aperture->last - (size - 1);

    map(run, last, run->rules->output_last - (size - 1), size, READ_WRITE);
    CHECK(run->m.count == 1);
    CHECK(run->m.leaves[0].first == last && run->m.leaves[0].last == aperture->last);
    probe_aliases(run, last);
    probe_aliases(run, aperture->last);
    if (last != aperture->first) {
        map(run, aperture->first, 0, size, READ);
        CHECK(run->m.count == 2);
        CHECK(run->m.leaves[0].last == aperture->first + (size - 1));
        probe_aliases(run, aperture->first);
        probe_aliases(run, aperture->first + (size - 1));
    }
}

static void try_geometry(const struct piommu_pgtable_config *config, uint64_t *tried)
{
    struct pgtable_run *run;

    if (rules_judge_config(config) != 0 || ++*tried % thinning() != 0) {
        return;
    }
    pgtable_describe(describe_config, config);
    run = open_run(config);
    for (size_t i = 0; i < run->rules->size_count; i++) {
        try_size(run, run->rules->sizes[i]);
        if (i == 0 || i + 1 == run->rules->size_count) {
            model_check_all(&run->m);
        }
        clear(run);
    }
    run_close(run, 0);
    pgtable_describe(NULL, NULL);
}

static void try_granule(enum piommu_pgtable_format format, uint32_t granule, uint32_t choice)
{
    static const uint8_t outputs[] = {32, 36, 40, 42, 44, 48, 52};
    bool is_64 = format == PIOMMU_ARM_64_LPAE_S1 || format == PIOMMU_ARM_64_LPAE_S2;
    uint32_t more = is_64 ? PIOMMU_PGTABLE_CONTIGUOUS | PIOMMU_PGTABLE_SMALL_INPUT : (uint32_t)0;
    uint64_t tried = 0;

    for (uint8_t input = 16; input <= 52; input++) {
        for (size_t i = 0; i < sizeof(outputs); i++) {
            struct piommu_pgtable_config config = {
                .format = format,
                .granule = granule,
                .input_bits = input,
                .output_bits = outputs[i],
                .coherent_walk = true,
                .flags = more,
            };

            try_geometry(&config, &tried);
            config.flags |= choice;
            try_geometry(&config, &tried);
            /* FEAT_TTST also decides which start levels there are. */
            config.flags &= ~PIOMMU_PGTABLE_SMALL_INPUT;
            try_geometry(&config, &tried);
        }
    }
    assert_int_not_equal(tried, 0);
}

static void first_and_last_leaves_of_stage_1_are_where_hardware_looks(void **state)
{
    (void)state;
    try_granule(PIOMMU_ARM_64_LPAE_S1, 4096, PIOMMU_PGTABLE_TTBR1);
    try_granule(PIOMMU_ARM_64_LPAE_S1, 16384, PIOMMU_PGTABLE_TTBR1);
    try_granule(PIOMMU_ARM_64_LPAE_S1, 65536, PIOMMU_PGTABLE_TTBR1);
}

static void first_and_last_leaves_of_stage_2_are_where_hardware_looks(void **state)
{
    (void)state;
    try_granule(PIOMMU_ARM_64_LPAE_S2, 4096, PIOMMU_PGTABLE_CONCATENATE);
    try_granule(PIOMMU_ARM_64_LPAE_S2, 16384, PIOMMU_PGTABLE_CONCATENATE);
    try_granule(PIOMMU_ARM_64_LPAE_S2, 65536, PIOMMU_PGTABLE_CONCATENATE);
}

static void first_and_last_leaves_of_32_bit_formats_are_where_hardware_looks(void **state)
{
    (void)state;
    try_granule(PIOMMU_ARM_32_LPAE_S1, 4096, PIOMMU_PGTABLE_TTBR1);
    try_granule(PIOMMU_ARM_32_LPAE_S2, 4096, PIOMMU_PGTABLE_CONCATENATE);
}

/* ---- All pairs of calls ---- */

enum second_call {
    SECOND_MAP,
    SECOND_UNMAP,
    SECOND_UNMAP_PORTIONS,
    SECOND_UNMAP_LEAVES,
    SECOND_CUT,
    SECOND_CUT_FAILS,
    SECOND_PROTECT,
    SECOND_PROTECT_PORTIONS,
    SECOND_CALLS,
};

/* A range between two points of a grid. */
struct span {
    uint64_t first; /* bytes from the start of the aperture */
    uint64_t size;
};

struct pair {
    const struct piommu_pgtable_config *config;
    struct span one;
    bool misaligned;
    enum second_call call;
    struct span other;
};

struct small_world {
    struct piommu_pgtable_config config;
    size_t point_count;
    uint32_t points[MAXIMUM_POINTS]; /* in granules; range ends are chosen among them */
};

static void describe_pair(const void *what)
{
    static const char *const names[] = {"map",          "unmap",       "unmap_some",
                                        "unmap_leaves", "unmap_cut",   "unmap_cut, failing",
                                        "protect",      "protect_some"};
    const struct pair *pair = what;

    describe_config(pair->config);
    fprintf(stderr, "map(+0x%" PRIx64 ", 0x%" PRIx64 ")%s, %s(+0x%" PRIx64 ", 0x%" PRIx64 ")\n",
            pair->one.first, pair->one.size, pair->misaligned ? " misaligned" : "",
            names[pair->call], pair->other.first, pair->other.size);
}

static void call_second(struct pgtable_run *run, const struct pair *pair)
{
    uint64_t iova = run->rules->aperture.first + pair->other.first;
    uint64_t size = pair->other.size;

    switch (pair->call) {
    case SECOND_MAP:
        map(run, iova, pair->other.first, size, READ);
        break;
    case SECOND_UNMAP:
        run_unmap(run, iova, size);
        break;
    case SECOND_UNMAP_PORTIONS:
        run_unmap_portions(run, iova, size, (uint32_t)(size >> 12));
        break;
    case SECOND_UNMAP_LEAVES:
        run_unmap_leaves(run, iova, iova + (size - 1));
        break;
    case SECOND_CUT:
    case SECOND_CUT_FAILS:
        run_cut(run, iova, size, pair->call == SECOND_CUT_FAILS, 0);
        break;
    case SECOND_PROTECT:
        run_protect(run, iova, size, READ | PIOMMU_PROT_SOFTWARE(5), 0);
        break;
    default:
        run_protect(run, iova, size, READ, (uint32_t)(pair->other.first >> 12) * 65537 + 1);
        break;
    }
}

static void try_pair(struct pgtable_run *run, const struct pair *pair)
{
    uint64_t physical = pair->one.first + (pair->misaligned ? run->rules->config.granule : 0);

    map(run, run->rules->aperture.first + pair->one.first, physical, pair->one.size, READ_WRITE);
    call_second(run, pair);
    model_check_all(&run->m);
    run_sync(run, SYNC_DETACH);
    model_check_all(&run->m);
    clear(run);
}

static struct span span_of(const struct small_world *world, size_t from, size_t to)
{
    return (struct span){
        .first = (uint64_t)world->points[from] * world->config.granule,
        .size = (uint64_t)(world->points[to] - world->points[from]) * world->config.granule,
    };
}

static void try_pairs_with(struct pgtable_run *run, const struct small_world *world,
                           struct pair *pair, uint64_t *tried)
{
    for (size_t from = 0; from + 1 < world->point_count; from++) {
        for (size_t to = from + 1; to < world->point_count; to++) {
            pair->other = span_of(world, from, to);
            for (unsigned int i = 0; i < 2 * SECOND_CALLS; i++) {
                pair->misaligned = i % 2 == 1;
                pair->call = i / 2;
                if (++*tried % thinning() == 0) {
                    try_pair(run, pair);
                }
            }
        }
    }
}

static void try_all_pairs(const struct small_world *world)
{
    struct pgtable_run *run = open_run(&world->config);
    struct pair pair = {.config = &world->config};
    uint64_t tried = 0;

    pgtable_describe(describe_pair, &pair);
    for (size_t from = 0; from + 1 < world->point_count; from++) {
        for (size_t to = from + 1; to < world->point_count; to++) {
            pair.one = span_of(world, from, to);
            try_pairs_with(run, world, &pair, &tried);
        }
    }
    run_close(run, 0);
    pgtable_describe(NULL, NULL);
}

#define CONFIG(pages, ...)                                     \
    {                                                          \
        .coherent_walk = true, .granule = (pages), __VA_ARGS__ \
    }
#define DISJOINT PIOMMU_PGTABLE_DISJOINT
#define GROUPS   PIOMMU_PGTABLE_CONTIGUOUS
#define SMALL    PIOMMU_PGTABLE_SMALL_INPUT

static void pairs_of_calls_in_a_single_table(void **state)
{
    static const struct small_world worlds[] = {
        {CONFIG(4096, .format = PIOMMU_ARM_64_LPAE_S1, .input_bits = 16, .output_bits = 32,
                .flags = SMALL | GROUPS),
         17,
         {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}},
        {CONFIG(4096, .format = PIOMMU_ARM_64_LPAE_S2, .input_bits = 18, .output_bits = 48,
                .flags = SMALL | GROUPS | PIOMMU_PGTABLE_BBM_LEVEL_2),
         9,
         {0, 1, 15, 16, 17, 32, 48, 63, 64}},
        {CONFIG(4096, .format = PIOMMU_ARM_64_LPAE_S2, .input_bits = 25, .output_bits = 48,
                .flags = SMALL | GROUPS | PIOMMU_PGTABLE_CONCATENATE),
         7,
         {0, 1, 16, 511, 512, 4096, 8192}},
        {CONFIG(16384, .format = PIOMMU_ARM_64_LPAE_S1, .input_bits = 22, .output_bits = 52,
                .flags = SMALL | GROUPS | PIOMMU_PGTABLE_TTBR1),
         7,
         {0, 1, 127, 128, 129, 255, 256}},
        {CONFIG(65536, .format = PIOMMU_ARM_64_LPAE_S1, .input_bits = 17, .output_bits = 52,
                .flags = SMALL),
         3,
         {0, 1, 2}},
        {CONFIG(65536, .format = PIOMMU_ARM_64_LPAE_S2, .input_bits = 22, .output_bits = 52,
                .flags = SMALL | GROUPS),
         7,
         {0, 1, 31, 32, 33, 63, 64}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(worlds) / sizeof(worlds[0]); i++) {
        try_all_pairs(&worlds[i]);
    }
}

/* Tables of which a part is unmapped, and of which all is. */
static void pairs_of_calls_in_disjoint_tables(void **state)
{
    static const struct small_world worlds[] = {
        {CONFIG(4096, .format = PIOMMU_ARM_64_LPAE_S1, .input_bits = 26, .output_bits = 48,
                .flags = DISJOINT | GROUPS | PIOMMU_PGTABLE_TTBR1),
         7,
         {0, 1, 511, 512, 1024, 8192, 16384}},
        {CONFIG(4096, .format = PIOMMU_ARM_64_LPAE_S2, .input_bits = 31, .output_bits = 40,
                .flags = DISJOINT, .empty_tables_kept = 1),
         6,
         {0, 511, 512, 262143, 262144, 524288}},
        {CONFIG(16384, .format = PIOMMU_ARM_64_LPAE_S1, .input_bits = 26, .output_bits = 36,
                .flags = DISJOINT, .empty_tables_kept = 2),
         5,
         {0, 127, 2048, 2049, 4096}},
        {CONFIG(65536, .format = PIOMMU_ARM_64_LPAE_S2, .input_bits = 30, .output_bits = 52,
                .flags = DISJOINT | GROUPS),
         5,
         {0, 1, 8191, 8192, 16384}},
        {CONFIG(4096, .format = PIOMMU_ARM_32_LPAE_S1, .input_bits = 25, .output_bits = 40,
                .flags = DISJOINT),
         5,
         {0, 1, 512, 1024, 8192}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(worlds) / sizeof(worlds[0]); i++) {
        try_all_pairs(&worlds[i]);
    }
}

static void pairs_of_calls_around_blocks(void **state)
{
    static const struct small_world worlds[] = {
        {CONFIG(4096, .format = PIOMMU_ARM_64_LPAE_S1, .input_bits = 25, .output_bits = 48),
         7,
         {0, 1, 511, 512, 513, 1024, 8192}},
        {CONFIG(4096, .format = PIOMMU_ARM_64_LPAE_S1, .input_bits = 26, .output_bits = 52,
                .flags = GROUPS | PIOMMU_PGTABLE_TTBR1),
         7,
         {0, 1, 16, 512, 8191, 8192, 16384}},
        {CONFIG(4096, .format = PIOMMU_ARM_64_LPAE_S2, .input_bits = 26, .output_bits = 40,
                .flags = GROUPS | PIOMMU_PGTABLE_BBM_LEVEL_2),
         7,
         {0, 15, 16, 513, 1024, 8192, 16384}},
        {CONFIG(4096, .format = PIOMMU_ARM_32_LPAE_S1, .input_bits = 25, .output_bits = 40,
                .flags = PIOMMU_PGTABLE_TTBR1),
         6,
         {0, 511, 512, 513, 1024, 8192}},
        {CONFIG(4096, .format = PIOMMU_ARM_32_LPAE_S2, .input_bits = 31, .output_bits = 40),
         6,
         {0, 1, 512, 262143, 262144, 524288}},
        {CONFIG(16384, .format = PIOMMU_ARM_64_LPAE_S2, .input_bits = 26, .output_bits = 36,
                .flags = GROUPS),
         6,
         {0, 127, 128, 2047, 2048, 4096}},
        {CONFIG(65536, .format = PIOMMU_ARM_64_LPAE_S1, .input_bits = 30, .output_bits = 52),
         5,
         {0, 1, 8191, 8192, 16384}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(worlds) / sizeof(worlds[0]); i++) {
        try_all_pairs(&worlds[i]);
    }
}

/* ---- How many tables a cut takes ---- */

static void try_largest_cut(struct pgtable_run *run, uint64_t iova, uint64_t size)
{
    const struct piommu_range *aperture = &run->rules->aperture;
    uint64_t largest = run->rules->sizes[0];
    uint64_t first = iova & ~(largest - 1);
    uint64_t last = (iova + (size - 1)) | (largest - 1);
    uint64_t expected = 0;
    struct table_count before;

    assert_int_equal(
        piommu_pgtable_plan(run->h->table, iova, size, run->rules->config.granule, NULL, &expected),
        0);
    if (first < aperture->first || last > aperture->last) {
        return;
    }
    map(run, first, first & run->rules->output_last & ~(2 * largest - 1), largest, READ);
    for (uint64_t next = first; next + (largest - 1) != last;) {
        next += largest;
        map(run, next, next & run->rules->output_last & ~(2 * largest - 1), largest, READ);
    }
    before = count_tables(run);
    run_cut(run, iova, size, false, 0);
    if (run->m.count != 0) {
        assert_int_equal(tables_taken(run, &before, true), expected);
    }
    clear(run);
}

static void a_cut_of_the_largest_leaves_takes_what_the_plan_says(void **state)
{
    static const struct piommu_pgtable_config configs[] = {
        CONFIG(4096, .format = PIOMMU_ARM_64_LPAE_S1, .input_bits = 32, .output_bits = 48),
        CONFIG(4096, .format = PIOMMU_ARM_64_LPAE_S2, .input_bits = 40, .output_bits = 40,
               .flags = GROUPS),
        CONFIG(4096, .format = PIOMMU_ARM_64_LPAE_S1, .input_bits = 42, .output_bits = 52),
        CONFIG(4096, .format = PIOMMU_ARM_32_LPAE_S2, .input_bits = 32, .output_bits = 40),
        CONFIG(16384, .format = PIOMMU_ARM_64_LPAE_S2, .input_bits = 36, .output_bits = 48,
               .flags = GROUPS),
        CONFIG(65536, .format = PIOMMU_ARM_64_LPAE_S1, .input_bits = 42, .output_bits = 48),
    };

    (void)state;
    for (size_t i = 0; i < sizeof(configs) / sizeof(configs[0]); i++) {
        struct pgtable_run *run = open_run(&configs[i]);
        uint64_t granule = configs[i].granule;
        uint64_t largest = run->rules->sizes[0];

        pgtable_describe(describe_config, &configs[i]);
        for (unsigned int j = 0; j < 36; j++) {
            uint64_t starts[6] = {
                0, granule, largest / 2, largest - granule, largest / 2 + granule, largest / 4};
            uint64_t ends[6] = {granule, 2 * granule,       largest / 2,
                                largest, largest + granule, 2 * largest - granule};

            if (starts[j / 6] < ends[j % 6]) {
                try_largest_cut(run, largest + starts[j / 6], ends[j % 6] - starts[j / 6]);
            }
        }
        run_close(run, 0);
        pgtable_describe(NULL, NULL);
    }
}

static int close_shared_host(void **state)
{
    (void)state;
    fake_os_destroy(shared_host());
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_and_last_leaves_of_stage_1_are_where_hardware_looks),
        cmocka_unit_test(first_and_last_leaves_of_stage_2_are_where_hardware_looks),
        cmocka_unit_test(first_and_last_leaves_of_32_bit_formats_are_where_hardware_looks),
        cmocka_unit_test(pairs_of_calls_in_a_single_table),
        cmocka_unit_test(pairs_of_calls_around_blocks),
        cmocka_unit_test(pairs_of_calls_in_disjoint_tables),
        cmocka_unit_test(a_cut_of_the_largest_leaves_takes_what_the_plan_says),
    };

    return cmocka_run_group_tests(tests, NULL, close_shared_host);
}
