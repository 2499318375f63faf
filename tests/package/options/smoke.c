/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Usage: smoke FORMATS GRANULES
 *
 * Whether a library has just the formats and granules that it was built with, named as CMake does
 * ("64-s1 64-s2" "4K"), and whether tables of these work, by the short ways and the long ones. What
 * the tests of the whole library find is not looked for again; this finds what is missing.
 */

#include <piommu/error.h>
#include <piommu/io-pgtable-inspect.h>
#include <piommu/io-pgtable.h>

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define READ_WRITE (PIOMMU_PROT_READ | PIOMMU_PROT_WRITE)

#define CHECK(condition) check((condition), #condition, __LINE__)

static void check(bool holds, const char *what, int line)
{
    if (!holds) {
        fprintf(stderr, "smoke.c:%d: not true: %s\n", line, what);
        exit(1);
    }
}

/* ---- A host with a linear map: table memory is a pool that begins at POOL_PHYSICAL ---- */

#define POOL_PHYSICAL 0x10000000u
#define POOL_SIZE     0x1000000u

static unsigned char *pool;
static size_t pool_used;
static unsigned int tables_out; /* taken and not given back */

static void *take(void *ctx, size_t size)
{
    (void)ctx;
    return malloc(size);
}

static void give(void *ctx, void *memory, size_t size)
{
    (void)ctx;
    (void)size;
    free(memory);
}

static void *take_table(void *ctx, const struct piommu_dma_request *request, uint64_t *physical)
{
    size_t start = tables_out != 0 ? pool_used : 0;

    (void)ctx;
    start = (start + request->alignment - 1) & ~(request->alignment - 1);
    CHECK(start + request->size <= POOL_SIZE);
    pool_used = start + request->size;
    tables_out++;
    memset(pool + start, 0xa5, request->size);
    *physical = POOL_PHYSICAL + start;
    return pool + start;
}

static void give_table(void *ctx, void *memory, size_t size)
{
    (void)ctx;
    memset(memory, 0x5a, size);
    tables_out--;
}

static void *virtual_of(void *ctx, uint64_t physical)
{
    (void)ctx;
    CHECK(physical >= POOL_PHYSICAL && physical - POOL_PHYSICAL < POOL_SIZE);
    return pool + (physical - POOL_PHYSICAL);
}

static void barrier(void *ctx, enum piommu_barrier kind)
{
    (void)ctx;
    (void)kind;
    atomic_thread_fence(memory_order_seq_cst);
}

static struct piommu_os os = {
    .size = sizeof(struct piommu_os),
    .alloc = take,
    .free = give,
    .dma_alloc = take_table,
    .dma_free = give_table,
    .barrier = barrier,
};

static const struct piommu_host host = {.os = &os, .ctx = NULL};

/* ---- What there is ---- */

static const struct {
    const char *name;
    enum piommu_pgtable_format format;
    bool wide; /* 64-bit */
    bool stage1;
} formats[] = {
    {"64-s1", PIOMMU_ARM_64_LPAE_S1, true, true},
    {"64-s2", PIOMMU_ARM_64_LPAE_S2, true, false},
    {"32-s1", PIOMMU_ARM_32_LPAE_S1, false, true},
    {"32-s2", PIOMMU_ARM_32_LPAE_S2, false, false},
};

static const struct {
    const char *name;
    uint32_t size;
    uint64_t block;
} granules[] = {
    {"4K", 1u << 12, 1ull << 21},
    {"16K", 1u << 14, 1ull << 25},
    {"64K", 1u << 16, 1ull << 29},
};

static bool is_named(const char *list, const char *name)
{
    const char *found = strstr(list, name);
    size_t length = strlen(name);

    /* "4K" is in "64K", too. */
    while (found != NULL && ((found != list && found[-1] != ' ') ||
                             (found[length] != ' ' && found[length] != '\0'))) {
        found = strstr(found + 1, name);
    }
    return found != NULL;
}

/* ---- Whether it works ---- */

static void say_problem(void *cookie, const struct piommu_pgtable_problem *problem)
{
    (void)cookie;
    fprintf(stderr, "%s\n", piommu_pgtable_problem_name(problem->kind));
}

static void look_at_line(void *cookie, const char *line)
{
    *(bool *)cookie = *(bool *)cookie || strstr(line, "granule") != NULL;
}

static void check_intact(const struct piommu_pgtable *table)
{
    bool seen = false;

    CHECK(piommu_pgtable_verify(table, say_problem, NULL, NULL) == 0);
    piommu_pgtable_dump(table, 0, UINT64_MAX, look_at_line, &seen);
    CHECK(seen);
}

/* Just the packer of the format has something to say. */
static void check_registers(const struct piommu_pgtable *table, size_t f)
{
    struct piommu_pgtable_info info;

    piommu_pgtable_get_info(table, &info);
    CHECK(info.format == formats[f].format);
    CHECK((piommu_pgtable_tcr_el1(&info, NULL) != 0) == (formats[f].wide && formats[f].stage1));
    CHECK((piommu_pgtable_vtcr_el2(&info) != 0) == (formats[f].wide && !formats[f].stage1));
    CHECK((piommu_pgtable_ttbcr(&info, NULL) != 0) == (!formats[f].wide && formats[f].stage1));
    CHECK((piommu_pgtable_vtcr(&info) != 0) == (!formats[f].wide && !formats[f].stage1));
}

/* Maps `size` bytes, finds them, makes them read-only and unmaps them. */
static void use(struct piommu_pgtable *table, uint64_t iova, uint64_t physical, uint64_t size,
                uint64_t leaf_size)
{
    struct piommu_translation found;
    struct piommu_gather gather;
    uint64_t bytes;

    piommu_gather_init(&gather);
    CHECK(piommu_pgtable_map(table, iova, physical, size, READ_WRITE, &bytes) == 0);
    CHECK(bytes == size);
    CHECK(piommu_pgtable_translate(table, iova + size - 1) == physical + size - 1);
    CHECK(piommu_pgtable_lookup(table, iova + 5, &found) == 0);
    CHECK(found.physical == physical + 5 && found.leaf_size == leaf_size);
    CHECK(found.prot == READ_WRITE);
    check_intact(table);
    CHECK(piommu_pgtable_protect(table, iova, size, PIOMMU_PROT_READ, &gather, &bytes) == 0);
    CHECK(piommu_pgtable_lookup(table, iova, &found) == 0 && found.prot == PIOMMU_PROT_READ);
    CHECK(piommu_pgtable_unmap(table, iova, size, &gather, &bytes) == 0);
    CHECK(bytes == size);
    piommu_pgtable_detach_empty(table, &gather);
    piommu_pgtable_release(table, &gather);
    CHECK(piommu_pgtable_lookup(table, iova, &found) == -PIOMMU_ENOENT);
    CHECK(piommu_pgtable_translate(table, iova) == PIOMMU_PGTABLE_NO_ADDRESS);
    check_intact(table);
}

static void fill_in(struct piommu_pgtable_config *config, size_t f, size_t g, bool upper)
{
    *config = (struct piommu_pgtable_config){
        .format = formats[f].format,
        .granule = granules[g].size,
        .input_bits = formats[f].wide ? 40 : 31,
        .output_bits = formats[f].wide ? 48 : 40,
        .coherent_walk = true,
        .flags = upper ? PIOMMU_PGTABLE_TTBR1 : 0,
    };
}

static void try_out(const struct piommu_pgtable_config *config, size_t f, size_t g, uint64_t base)
{
    uint64_t page = granules[g].size;
    uint64_t block = granules[g].block;
    struct piommu_pgtable *table;

    CHECK(piommu_pgtable_create(host, config, &table) == 0);
    if (config->flags == 0) {
        check_registers(table, f);
    }
    check_intact(table);
    use(table, base + 3 * page, 0x40000000 + page, page, page);
    use(table, base + page, 0x40000000, 11 * page, page);
    use(table, base + block, 0x80000000, block, block);
    /* From the middle of one table to the middle of another. */
    use(table, base + block - 2 * page, 0x80000000 - 2 * page, block + 4 * page, page);
    piommu_pgtable_destroy(table);
}

static void try_out_groups(size_t f, size_t g)
{
    struct piommu_pgtable_config config;
    struct piommu_pgtable_info info;
    struct piommu_pgtable *table;
    uint64_t group;

    fill_in(&config, f, g, false);
    config.flags = PIOMMU_PGTABLE_CONTIGUOUS;
    CHECK(piommu_pgtable_create(host, &config, &table) == 0);
    piommu_pgtable_get_info(table, &info);
    group = info.contiguous_sizes & (~info.contiguous_sizes + 1);
    use(table, group, 0x80000000, group, group);
    piommu_pgtable_destroy(table);
}

static void try_out_52_bits(size_t f, size_t g)
{
    struct piommu_pgtable_config config;
    struct piommu_pgtable *table;

    fill_in(&config, f, g, false);
    config.input_bits = 52;
    config.output_bits = 52;
    CHECK(piommu_pgtable_create(host, &config, &table) == 0);
    use(table, 1ull << 51, 0xfull << 48, granules[g].size, granules[g].size);
    piommu_pgtable_destroy(table);
}

static void check_all_ways(size_t f, size_t g)
{
    struct piommu_pgtable_config config;
    uint64_t last = formats[f].wide ? UINT64_MAX : UINT32_MAX;

    /* The short ways, and then the long ones, of a host that is not linear. */
    fill_in(&config, f, g, false);
    os.dma_virtual = NULL;
    try_out(&config, f, g, 0);
    os.dma_virtual = virtual_of;
    try_out(&config, f, g, 0);
    os.dma_virtual = NULL;
    if (formats[f].stage1) {
        fill_in(&config, f, g, true);
        try_out(&config, f, g, last - ((1ull << config.input_bits) - 1));
    }
    if (formats[f].wide) {
        try_out_groups(f, g);
        try_out_52_bits(f, g);
    }
    CHECK(tables_out == 0);
}

static void check_disjoint(size_t f, size_t g, bool has_them)
{
    struct piommu_pgtable_config config;
    struct piommu_pgtable *table = NULL;

    fill_in(&config, f, g, false);
    config.flags |= PIOMMU_PGTABLE_DISJOINT;
    CHECK(piommu_pgtable_create(host, &config, &table) == (has_them ? 0 : -PIOMMU_EOPNOTSUPP));
    piommu_pgtable_destroy(table);
    CHECK(tables_out == 0);
}

int main(int argc, char **argv)
{
    unsigned int there = 0;

    /* The third word says that there are no disjoint tables. */
    CHECK(argc == 3 || argc == 4);
    /* The largest root there is: sixteen tables of the largest granule side by side. */
    pool = aligned_alloc(16u << 16, POOL_SIZE);
    CHECK(pool != NULL);
    for (size_t f = 0; f < sizeof(formats) / sizeof(formats[0]); f++) {
        for (size_t g = 0; g < sizeof(granules) / sizeof(granules[0]); g++) {
            struct piommu_pgtable_config config;
            struct piommu_pgtable *table = NULL;

            if (is_named(argv[1], formats[f].name) && is_named(argv[2], granules[g].name) &&
                (formats[f].wide || granules[g].size == 4096)) {
                check_all_ways(f, g);
                check_disjoint(f, g, argc == 3);
                there++;
                continue;
            }
            fill_in(&config, f, g, false);
            CHECK(piommu_pgtable_create(host, &config, &table) == -PIOMMU_EOPNOTSUPP);
            CHECK(table == NULL);
        }
    }
    CHECK(there != 0);
    free(pool);
    printf("%u formats with granules\n", there);
    return 0;
}
