/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* Looking into tables that somebody else has built, friend or foe. */

#include "pgtable_fixture.h"

#include <stdlib.h>
#include <string.h>

/* ---- Tables of this library ---- */

static const struct kind kinds[] = {
    {S1_64, 4096, 48, 48, PIOMMU_PGTABLE_CONTIGUOUS, 0},
    {S1_64, 4096, 40, 48, PIOMMU_PGTABLE_TTBR1 | PIOMMU_PGTABLE_NON_SECURE, 0},
    {S1_64, 4096, 52, 52, 0, 0},
    {S2_64, 4096, 40, 40, PIOMMU_PGTABLE_XNX, 0},
    {S2_64, 4096, 43, 48, PIOMMU_PGTABLE_CONCATENATE | PIOMMU_PGTABLE_FORCE_WRITE_BACK, 0},
    {S1_64, 16384, 40, 48, 0, 0},
    {S2_64, 65536, 46, 48, PIOMMU_PGTABLE_CONCATENATE | PIOMMU_PGTABLE_CONTIGUOUS, 0},
    {S1_32, 4096, 32, 40, 0, 0},
    {S1_32, 4096, 31, 40, PIOMMU_PGTABLE_TTBR1, 0},
    {S2_32, 4096, 40, 40, 0, 0},
    {S1_64, 4096, 48, 48, PIOMMU_PGTABLE_DISJOINT | PIOMMU_PGTABLE_CONTIGUOUS, 0},
    {S2_32, 4096, 40, 40, PIOMMU_PGTABLE_DISJOINT, 0},
};

static struct pgt *open_filled(const struct kind *kind)
{
    struct fake_os_options options = {.scattered = true};
    struct piommu_pgtable_config config = config_of_kind(kind);
    uint64_t sizes;
    struct pgt *p;

    p = open_table_with(&config, &options);
    p->has_tlb = false;
    p->has_hostile_links = true;
    sizes = p->info.leaf_sizes | p->info.contiguous_sizes;
    map_quickly(p, base_of(p), 5ull * kind->granule, kind->granule, READ);
    for (unsigned int bit = 12; bit < kind->input - 3u; bit++) {
        uint64_t size = 1ull << bit;

        if ((sizes & size) != 0) {
            map_quickly(p, base_of(p) + 2 * size, size, size,
                        READ | (bit % 2 == 0 ? WRITE : PIOMMU_PROT_DEVICE) |
                            PIOMMU_PROT_SOFTWARE(bit % 8));
        }
    }
    map_quickly(p, p->info.aperture.last - kind->granule + 1, 0, kind->granule, READ);
    verify(p);
    return p;
}

static struct piommu_pgtable *adopt(struct pgt *p)
{
    struct piommu_pgtable *adopted = NULL;
    void *root = fake_os_pointer(p->os, p->info.root_physical, p->info.root_size);

    assert_int_equal(
        piommu_pgtable_adopt(p->host, &p->config, root, p->info.root_physical, &adopted), 0);
    return adopted;
}

struct comparison {
    struct pgt *p;
    struct piommu_pgtable *adopted;
    uint64_t cursor;
    bool at_top;
};

static void compare_translation(struct comparison *comparison, uint64_t input)
{
    struct piommu_translation own = {0};
    struct piommu_translation other = {0};
    struct piommu_pgtable_walk own_walk;
    struct piommu_pgtable_walk other_walk;
    int result = piommu_pgtable_lookup(comparison->p->table, input, &own);

    assert_int_equal(piommu_pgtable_lookup(comparison->adopted, input, &other), result);
    if (result == 0) {
        assert_int_equal(own.physical, other.physical);
        assert_int_equal(own.leaf_size, other.leaf_size);
        assert_int_equal(own.prot, other.prot);
    }
    assert_int_equal(piommu_pgtable_walk(comparison->p->table, input, &own_walk), result);
    assert_int_equal(piommu_pgtable_walk(comparison->adopted, input, &other_walk), result);
    if (result == -PIOMMU_ERANGE) {
        return;
    }
    assert_int_equal(own_walk.count, other_walk.count);
    for (unsigned int i = 0; i < own_walk.count; i++) {
        assert_int_equal(own_walk.steps[i].kind, other_walk.steps[i].kind);
        assert_int_equal(own_walk.steps[i].level, other_walk.steps[i].level);
        assert_int_equal(own_walk.steps[i].index, other_walk.steps[i].index);
        assert_int_equal(own_walk.steps[i].table_physical, other_walk.steps[i].table_physical);
        assert_int_equal(own_walk.steps[i].descriptor, other_walk.steps[i].descriptor);
    }
}

static bool compare_leaf(void *ctx, const struct piommu_walker_leaf *leaf)
{
    struct comparison *comparison = ctx;
    struct piommu_translation own;
    struct piommu_translation other;
    uint64_t found = 1;
    uint64_t other_found = 2;

    assert_int_equal(
        piommu_pgtable_next_leaf(comparison->p->table, leaf->input, UINT64_MAX, &found, &own), 0);
    assert_int_equal(piommu_pgtable_next_leaf(comparison->adopted, leaf->input, UINT64_MAX,
                                              &other_found, &other),
                     0);
    assert_int_equal(found, other_found);
    assert_int_equal(own.physical, other.physical);
    assert_int_equal(own.leaf_size, other.leaf_size);
    assert_int_equal(own.prot, other.prot);
    compare_translation(comparison, leaf->input);
    compare_translation(comparison, leaf->input + ((1ull << leaf->shift) - 1));
    compare_translation(comparison, leaf->input + (1ull << leaf->shift));
    compare_translation(comparison, leaf->input - 1);
    return true;
}

static void count_line(void *cookie, const char *line)
{
    size_t *count = cookie;

    assert_true(strlen(line) <= 159);
    (*count)++;
}

static bool count_mapping(void *cookie, const struct piommu_pgtable_mapping *mapping)
{
    size_t *count = cookie;

    assert_true(mapping->range.first <= mapping->range.last);
    (*count)++;
    return true;
}

static void test_an_adopted_table_reads_as_the_original(void **state)
{
    (void)state;
    for (size_t k = 0; k < COUNT_OF(kinds); k++) {
        struct pgt *p = open_filled(&kinds[k]);
        struct comparison comparison = {.p = p, .adopted = adopt(p)};
        struct piommu_pgtable_info info;
        struct piommu_pgtable_report report;
        struct piommu_pgtable_report own_report;
        size_t lines[2] = {0, 0};
        size_t mappings[2] = {0, 0};

        piommu_pgtable_get_info(comparison.adopted, &info);
        assert_true(info.adopted);
        assert_int_equal(info.format, p->info.format);
        assert_int_equal(info.granule, p->info.granule);
        assert_int_equal(info.input_bits, p->info.input_bits);
        assert_int_equal(info.output_bits, p->info.output_bits);
        assert_int_equal(info.flags, p->info.flags);
        assert_int_equal(info.start_level, p->info.start_level);
        assert_int_equal(info.root_physical, p->info.root_physical);
        assert_int_equal(info.root_size, p->info.root_size);
        assert_int_equal(info.aperture.first, p->info.aperture.first);
        assert_int_equal(info.aperture.last, p->info.aperture.last);
        assert_memory_equal(&info.registers, &p->info.registers, sizeof(info.registers));

        assert_true(piommu_walker_for_each_leaf(&p->regime, &p->memory, compare_leaf, &comparison));
        assert_int_equal(piommu_pgtable_verify(comparison.adopted, NULL, NULL, &report), 0);
        assert_int_equal(piommu_pgtable_verify(p->table, NULL, NULL, &own_report), 0);
        assert_int_equal(report.tables, own_report.tables);
        assert_int_equal(report.empty, own_report.empty);
        assert_int_equal(report.leaves, own_report.leaves);
        assert_int_equal(report.mapped, own_report.mapped);
        piommu_pgtable_dump(comparison.adopted, 0, UINT64_MAX, count_line, &lines[0]);
        piommu_pgtable_dump(p->table, 0, UINT64_MAX, count_line, &lines[1]);
        assert_true(lines[0] > 3 && lines[1] > 3);
        assert_int_equal(piommu_pgtable_for_each_mapping(comparison.adopted, 0, UINT64_MAX,
                                                         count_mapping, &mappings[0]),
                         0);
        assert_int_equal(
            piommu_pgtable_for_each_mapping(p->table, 0, UINT64_MAX, count_mapping, &mappings[1]),
            0);
        assert_int_equal(mappings[0], mappings[1]);
        fake_os_forbid(p->os, FAKE_OS_FORBID_ALLOCATION);
        piommu_pgtable_destroy(comparison.adopted);
        fake_os_forbid(p->os, 0);
        verify(p);
        close_table(p);
    }
}

static int never(void *cookie, const struct piommu_range *range)
{
    (void)cookie;
    (void)range;
    fail_msg("there is nothing to invalidate");
    return 0;
}

static void test_nothing_changes_an_adopted_table(void **state)
{
    (void)state;
    for (size_t k = 0; k < COUNT_OF(kinds); k++) {
        struct pgt *p = open_filled(&kinds[k]);
        struct piommu_pgtable *adopted = adopt(p);
        uint64_t granule = p->info.granule;
        uint64_t base = base_of(p);
        struct piommu_segment segment = {0, granule};
        struct piommu_pgtable_cursor cursor = {0};
        struct piommu_gather gather;
        struct piommu_range removed;
        uint64_t bytes = fake_os_bytes_outstanding(p->os);
        uint64_t count = 1;

        piommu_gather_init(&gather);
        assert_int_equal(piommu_pgtable_map(adopted, base + granule, 0, granule, READ, &count),
                         -PIOMMU_EOPNOTSUPP);
        assert_int_equal(count, 0);
        assert_int_equal(
            piommu_pgtable_map_list(adopted, base + granule, &segment, 1, READ, &count),
            -PIOMMU_EOPNOTSUPP);
        assert_int_equal(
            piommu_pgtable_map_some(adopted, base + granule, &segment, 1, READ, 1, &cursor),
            -PIOMMU_EOPNOTSUPP);
        count = 1;
        assert_int_equal(piommu_pgtable_unmap(adopted, base, granule, &gather, &count),
                         -PIOMMU_EOPNOTSUPP);
        assert_int_equal(count, 0);
        assert_int_equal(piommu_pgtable_unmap_some(adopted, base, granule, 1, &gather, &cursor),
                         -PIOMMU_EOPNOTSUPP);
        assert_int_equal(
            piommu_pgtable_unmap_leaves(adopted, base, base, &gather, &removed, &count),
            -PIOMMU_EOPNOTSUPP);
        assert_int_equal(
            piommu_pgtable_unmap_cut(adopted, base, granule, never, NULL, &gather, &count),
            -PIOMMU_EOPNOTSUPP);
        assert_int_equal(
            piommu_pgtable_protect(adopted, base, granule, READ_WRITE, &gather, &count),
            -PIOMMU_EOPNOTSUPP);
        assert_int_equal(
            piommu_pgtable_protect_some(adopted, base, granule, READ_WRITE, 1, &gather, &cursor),
            -PIOMMU_EOPNOTSUPP);
        assert_int_equal(piommu_pgtable_reserve(adopted, 1), -PIOMMU_EOPNOTSUPP);
        assert_int_equal(piommu_pgtable_track_dirty(adopted, true, &gather), -PIOMMU_EOPNOTSUPP);
        assert_int_equal(piommu_pgtable_track_dirty_some(adopted, true, 1, &gather, &cursor),
                         -PIOMMU_EOPNOTSUPP);
        piommu_pgtable_unreserve(adopted, 1);
        piommu_pgtable_detach_empty(adopted, &gather);
        piommu_pgtable_trim(adopted, &gather);
        piommu_pgtable_release(adopted, &gather);
        assert_false(gather.pending);
        assert_int_equal(fake_os_bytes_outstanding(p->os), bytes);
        verify(p);
        /* In portions, too. */
        while (piommu_pgtable_destroy_some(adopted, 1) == -PIOMMU_EAGAIN) {
        }
        verify(p);
        close_table(p);
    }
}

/* What a disjoint table keeps in its links means nothing in one that somebody else has built. */
static void test_an_adopted_table_is_never_disjoint(void **state)
{
    static const struct kind kind = {S1_64, 4096, 48, 48, 0, 0};
    struct pgt *p = open_filled(&kind);
    struct piommu_pgtable_config config = p->config;
    struct piommu_pgtable_report report;
    struct piommu_pgtable *adopted = NULL;
    struct piommu_gather gather;

    (void)state;
    if (!stores_at_once()) {
        close_table(p);
        skip();
    }
    config.flags |= PIOMMU_PGTABLE_DISJOINT;
    assert_int_equal(
        piommu_pgtable_adopt(p->host, &config,
                             fake_os_pointer(p->os, p->info.root_physical, p->info.root_size),
                             p->info.root_physical, &adopted),
        0);
    assert_int_equal(piommu_pgtable_verify(adopted, NULL, NULL, &report), 0);
    piommu_gather_init(&gather);
    piommu_pgtable_trim(adopted, &gather);
    assert_false(gather.pending);
    assert_false(piommu_gather_has_tables(&gather));
    piommu_pgtable_destroy(adopted);
    verify(p);
    close_table(p);
}

static void test_adopt_refuses_what_create_does(void **state)
{
    struct piommu_pgtable_config config = stage1_config(48);
    struct fake_os_options options = {.scattered = true};
    struct pgt *p = open_table_with(&config, &options);
    uint8_t *root = fake_os_pointer(p->os, p->info.root_physical, 4096);
    uint64_t physical = p->info.root_physical;
    struct piommu_pgtable *adopted;
    struct piommu_os without = p->shim;
    struct piommu_host poor = {.os = &without, .ctx = p};
    uint64_t bytes = fake_os_bytes_outstanding(p->os);

    (void)state;
    without.dma_virtual = NULL;
    assert_int_equal(piommu_pgtable_adopt(poor, &config, root, physical, &adopted), -PIOMMU_EINVAL);
    assert_int_equal(piommu_pgtable_adopt(p->host, NULL, root, physical, &adopted), -PIOMMU_EINVAL);
    assert_int_equal(piommu_pgtable_adopt(p->host, &config, NULL, physical, &adopted),
                     -PIOMMU_EINVAL);
    assert_int_equal(piommu_pgtable_adopt(p->host, &config, root, physical, NULL), -PIOMMU_EINVAL);
    for (unsigned int bit = 4; bit < 12; bit++) {
        assert_int_equal(
            piommu_pgtable_adopt(p->host, &config, root, physical + (1u << bit), &adopted),
            -PIOMMU_EINVAL);
    }
    config.granule = 8192;
    assert_int_equal(piommu_pgtable_adopt(p->host, &config, root, physical, &adopted),
                     -PIOMMU_EOPNOTSUPP);
    config = stage1_config(53);
    assert_int_equal(piommu_pgtable_adopt(p->host, &config, root, physical, &adopted),
                     -PIOMMU_EOPNOTSUPP);
    config = stage1_config(48);
    config.flags = 1u << 30;
    assert_int_equal(piommu_pgtable_adopt(p->host, &config, root, physical, &adopted),
                     -PIOMMU_EINVAL);
    config.flags = PIOMMU_PGTABLE_XNX;
    assert_int_equal(piommu_pgtable_adopt(p->host, &config, root, physical, &adopted),
                     -PIOMMU_EOPNOTSUPP);
    config.flags = 0;
    fake_os_fail_call(p->os, 1, true);
    assert_int_equal(piommu_pgtable_adopt(p->host, &config, root, physical, &adopted),
                     -PIOMMU_ENOMEM);
    fake_os_fail_call(p->os, 0, false);
    assert_int_equal(fake_os_bytes_outstanding(p->os), bytes);
    /* Leaf sizes do not count: what is there is there. */
    config.leaf_sizes = 12345;
    assert_int_equal(piommu_pgtable_adopt(p->host, &config, root, physical, &adopted), 0);
    piommu_pgtable_destroy(adopted);
    close_table(p);
}

/* ---- Tables built by hand ---- */

struct hand {
    struct fake_os *os;
    struct piommu_os shim;
    struct piommu_host host;
    struct piommu_pgtable_config config;
    uint64_t tables[8]; /* of 4 KiB, the first one aligned to 16 KiB */
    struct piommu_pgtable *table;
};

static void *hand_virtual(void *ctx, uint64_t physical)
{
    struct hand *hand = ctx;

    return fake_os_pointer(hand->os, physical, 1);
}

static void *hand_alloc(void *ctx, size_t size)
{
    (void)ctx;
    return malloc(size);
}

static void hand_free(void *ctx, void *memory, size_t size)
{
    (void)ctx;
    (void)size;
    free(memory);
}

static void *no_dma_alloc(void *ctx, const struct piommu_dma_request *request, uint64_t *physical)
{
    (void)ctx;
    (void)request;
    (void)physical;
    fail_msg("an adopted table asked for table memory");
    return NULL;
}

static void no_dma_free(void *ctx, void *memory, size_t size)
{
    (void)ctx;
    (void)memory;
    (void)size;
    fail_msg("an adopted table gave table memory back");
}

static void hand_barrier(void *ctx, enum piommu_barrier kind)
{
    (void)ctx;
    (void)kind;
}

static struct hand *lend_a_hand(const struct piommu_pgtable_config *config)
{
    struct hand *hand = calloc(1, sizeof(*hand));
    uint64_t pages;

    hand->os = fake_os_create(NULL);
    hand->config = *config;
    hand->shim = (struct piommu_os){
        .size = sizeof(struct piommu_os),
        .alloc = hand_alloc,
        .free = hand_free,
        .dma_alloc = no_dma_alloc,
        .dma_free = no_dma_free,
        .dma_virtual = hand_virtual,
        .barrier = hand_barrier,
    };
    hand->host = (struct piommu_host){.os = &hand->shim, .ctx = hand};
    /* Physical memory begins at a round address, and the first pages are not in use yet. */
    pages = fake_os_test_pages(hand->os, 8);
    assert_int_equal(pages & 0x3fff, 0);
    memset(fake_os_pointer(hand->os, pages, 8 * 4096), 0, 8 * 4096);
    for (unsigned int i = 0; i < 8; i++) {
        hand->tables[i] = pages + i * 4096;
    }
    return hand;
}

static void write_slot(struct hand *hand, unsigned int table, unsigned int slot,
                       uint64_t descriptor)
{
    store_little_endian_word(fake_os_pointer(hand->os, hand->tables[table] + 8ull * slot, 8),
                             descriptor);
}

static void adopt_by_hand(struct hand *hand)
{
    assert_int_equal(piommu_pgtable_adopt(hand->host, &hand->config,
                                          fake_os_pointer(hand->os, hand->tables[0], 8 * 4096),
                                          hand->tables[0], &hand->table),
                     0);
}

static void put_down(struct hand *hand)
{
    piommu_pgtable_destroy(hand->table);
    fake_os_destroy_with_leaks(hand->os);
    free(hand);
}

static void expect_translation(struct hand *hand, uint64_t input, uint64_t physical, uint64_t size,
                               piommu_prot prot)
{
    struct piommu_translation translation;

    assert_int_equal(piommu_pgtable_lookup(hand->table, input, &translation), 0);
    assert_int_equal(translation.physical, physical);
    assert_int_equal(translation.leaf_size, size);
    assert_int_equal(translation.prot, prot);
}

static void expect_hole(struct hand *hand, uint64_t input)
{
    struct piommu_translation translation;

    assert_int_equal(piommu_pgtable_lookup(hand->table, input, &translation), -PIOMMU_ENOENT);
}

#define LINK(hand, number) ((hand)->tables[number] | 3)

static void test_a_stage_2_built_by_hand_is_understood(void **state)
{
    struct piommu_pgtable_config config = stage2_config(40, 40);
    struct hand *hand = lend_a_hand(&config);
    uint64_t found;
    struct piommu_translation translation;

    (void)state;
    /* Two tables of level 1 side by side; then one of level 2 and one of level 3. */
    write_slot(hand, 0, 0, LINK(hand, 2));
    write_slot(hand, 0, 1, GIB * 7 | 0x00400000000007fdull); /* 1 GiB, read and write */
    write_slot(hand, 1, 511, GIB * 9 | 0x004000000000077dull);
    write_slot(hand, 2, 3, LINK(hand, 3));
    write_slot(hand, 2, 4, 32 * MIB | 0x000000000000077dull);   /* executable */
    write_slot(hand, 3, 0, 0x12345000 | 0x00400000000006c7ull); /* device */
    write_slot(hand, 3, 1, 0x12346000 | 0x00400000000006d7ull); /* not cacheable */
    write_slot(hand, 3, 2, 0x12347000 | 0x05400000000007bfull); /* write only, software 5 */
    write_slot(hand, 3, 3, 0x12348000 | 0x004000000000047full); /* not shareable */
    write_slot(hand, 3, 4, 0xfffffffffffffffeull);              /* a hole */
    write_slot(hand, 3, 5, 0x12349001);                         /* reserved */
    adopt_by_hand(hand);

    expect_translation(hand, GIB + 0x123456, 7 * GIB + 0x123456, GIB, READ_WRITE);
    expect_translation(hand, TIB - 1, 10 * GIB - 1, GIB, READ);
    expect_translation(hand, 8 * MIB + 5, 32 * MIB + 5, 2 * MIB, READ | PIOMMU_PROT_EXECUTE_ALL);
    expect_translation(hand, 6 * MIB, 0x12345000, 4096, READ_WRITE | PIOMMU_PROT_DEVICE);
    expect_translation(hand, 6 * MIB + 0x1fff, 0x12346fff, 4096,
                       READ_WRITE | PIOMMU_PROT_NONCACHEABLE);
    expect_translation(hand, 6 * MIB + 0x2000, 0x12347000, 4096, WRITE | PIOMMU_PROT_SOFTWARE(5));
    expect_translation(hand, 6 * MIB + 0x3000, 0x12348000, 4096, READ | PIOMMU_PROT_SHARE_NONE);
    expect_hole(hand, 6 * MIB + 0x4000);
    expect_hole(hand, 6 * MIB + 0x5000);
    expect_hole(hand, 0);
    expect_hole(hand, 2 * GIB);
    assert_int_equal(
        piommu_pgtable_next_leaf(hand->table, 6 * MIB + 0x4000, UINT64_MAX, &found, &translation),
        0);
    assert_int_equal(found, 8 * MIB);
    put_down(hand);
}

static void test_a_stage_1_built_by_hand_is_understood(void **state)
{
    struct piommu_pgtable_config config = stage1_config(39);
    struct hand *hand = lend_a_hand(&config);
    struct piommu_pgtable_info info;
    uint64_t cacheable = 9;
    uint64_t device = 9;

    (void)state;
    adopt_by_hand(hand);
    piommu_pgtable_get_info(hand->table, &info);
    for (unsigned int i = 0; i < 3; i++) {
        uint8_t type = (uint8_t)(info.registers.stage1.mair >> (8 * i));

        cacheable = type == 0xff ? i : cacheable;
        device = type == 0x04 ? i : device;
    }
    assert_true(cacheable < 3 && device < 3);
    write_slot(hand, 0, 511, LINK(hand, 1));
    write_slot(hand, 1, 511, LINK(hand, 2));
    write_slot(hand, 2, 511, 0x12345000 | 0x0060000000000f43ull | cacheable << 2);
    write_slot(hand, 2, 510, 0x12346000 | 0x0060000000000e43ull | device << 2);
    write_slot(hand, 2, 509, 0x12347000 | 0x0060000000000783ull | cacheable << 2);
    write_slot(hand, 2, 508, 0x12348000 | 0x0020000000000fc3ull | cacheable << 2);
    expect_translation(hand, 512 * GIB - 1, 0x12345fff, 4096, READ_WRITE);
    expect_translation(hand, 512 * GIB - 8192, 0x12346000, 4096, READ_WRITE | PIOMMU_PROT_DEVICE);
    expect_translation(hand, 512 * GIB - 3 * 4096, 0x12347000, 4096,
                       READ | PIOMMU_PROT_PRIVILEGED | PIOMMU_PROT_GLOBAL);
    expect_translation(hand, 512 * GIB - 4 * 4096, 0x12348000, 4096, READ | PIOMMU_PROT_EXECUTE);
    put_down(hand);
}

/* ---- Hostile tables ---- */

static void look_everywhere(struct hand *hand, struct piommu_pgtable_report *report)
{
    size_t count = 0;
    uint64_t found;
    struct piommu_translation translation;

    piommu_pgtable_verify(hand->table, NULL, NULL, report);
    piommu_pgtable_for_each_mapping(hand->table, 0, UINT64_MAX, count_mapping, &count);
    piommu_pgtable_dump(hand->table, 0, 64 * MIB, count_line, &count);
    piommu_pgtable_next_leaf(hand->table, 0, UINT64_MAX, &found, &translation);
}

static void test_links_to_nowhere_are_not_followed(void **state)
{
    static const uint64_t nowhere[] = {
        0x0000000000001000ull, 0x000000007ffff000ull, 0x0000000088000000ull,
        0x00000000f0000000ull, 0x000000fffffff000ull, 0x000000ff80000000ull,
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(nowhere); i++) {
        for (unsigned int level = 1; level < 3; level++) {
            struct piommu_pgtable_config config = stage1_config(39);
            struct hand *hand = lend_a_hand(&config);
            struct piommu_pgtable_report report;
            struct piommu_pgtable_walk walk;

            write_slot(hand, 0, 0, level == 1 ? nowhere[i] | 3 : LINK(hand, 1));
            write_slot(hand, 1, 0, nowhere[i] | 3);
            adopt_by_hand(hand);
            expect_hole(hand, 0x5000);
            assert_int_equal(piommu_pgtable_walk(hand->table, 0x5000, &walk), -PIOMMU_ENOENT);
            assert_int_equal(walk.count, level);
            assert_int_equal(walk.steps[level - 1].kind, PIOMMU_PGTABLE_STEP_UNREACHABLE);
            assert_int_equal(walk.steps[level - 1].level, level);
            assert_int_equal(walk.steps[level - 1].descriptor, nowhere[i] | 3);
            look_everywhere(hand, &report);
            assert_int_equal(report.problems, 1);
            put_down(hand);
        }
    }
}

static void test_tables_that_contain_themselves_come_to_an_end(void **state)
{
    struct piommu_pgtable_config config = stage1_config(39);
    struct hand *hand = lend_a_hand(&config);
    struct piommu_pgtable_report report;
    struct piommu_translation translation;

    (void)state;
    write_slot(hand, 0, 0, LINK(hand, 0));
    write_slot(hand, 0, 1, LINK(hand, 1));
    write_slot(hand, 1, 7, LINK(hand, 0));
    adopt_by_hand(hand);
    /* Hardware walks it to level 3, where a link is a page: that is what lookup says, too. */
    assert_int_equal(piommu_pgtable_lookup(hand->table, 0x1234, &translation), 0);
    assert_int_equal(translation.physical, hand->tables[1] + 0x234);
    look_everywhere(hand, &report);
    assert_true(report.problems >= 2);
    put_down(hand);
}

static void note_kind(void *cookie, const struct piommu_pgtable_problem *problem)
{
    *(enum piommu_pgtable_problem_kind *)cookie = problem->kind;
}

/* A root may be smaller than a table, and lie in the middle of one. */
static void test_a_table_around_the_root_is_the_root_reached_again(void **state)
{
    struct piommu_pgtable_config config = stage1_config(32); /* four slots */
    struct hand *hand = lend_a_hand(&config);
    enum piommu_pgtable_problem_kind kind = PIOMMU_PGTABLE_PROBLEM_COUNT;
    struct piommu_pgtable_report report;

    (void)state;
    write_slot(hand, 0, 64, LINK(hand, 0));
    assert_int_equal(piommu_pgtable_adopt(hand->host, &hand->config,
                                          fake_os_pointer(hand->os, hand->tables[0] + 512, 32),
                                          hand->tables[0] + 512, &hand->table),
                     0);
    assert_int_equal(piommu_pgtable_verify(hand->table, note_kind, &kind, &report),
                     -PIOMMU_EBADMSG);
    assert_int_equal(report.problems, 1);
    assert_int_equal(kind, PIOMMU_PGTABLE_PROBLEM_TABLE_SHARED);
    put_down(hand);
}

static void test_tables_full_of_nonsense_come_to_an_end(void **state)
{
    uint32_t seed = 12345;

    (void)state;
    for (unsigned int round = 0; round < 200; round++) {
        static const struct kind shapes[] = {
            {S1_64, 4096, 39, 48, 0, 0},
            {S1_64, 4096, 48, 48, PIOMMU_PGTABLE_TTBR1 | PIOMMU_PGTABLE_CONTIGUOUS, 0},
            {S1_64, 4096, 52, 52, 0, 0},
            {S2_64, 4096, 40, 40, PIOMMU_PGTABLE_XNX, 0},
            {S2_64, 4096, 48, 48, PIOMMU_PGTABLE_CONTIGUOUS | PIOMMU_PGTABLE_FORCE_WRITE_BACK, 0},
            {S1_32, 4096, 32, 40, 0, 0},
            {S2_32, 4096, 40, 40, 0, 0},
        };
        size_t shape = round % COUNT_OF(shapes);
        struct piommu_pgtable_config config = config_of_kind(&shapes[shape]);
        struct hand *hand;
        struct piommu_pgtable_report report;

        hand = lend_a_hand(&config);
        /* Links among the tables, sparse enough that the paths can be counted; and anything. */
        for (unsigned int i = 0; i < 8; i++) {
            for (unsigned int n = 0; n < 6; n++) {
                uint64_t word;

                seed = seed * 1664525u + 1013904223u;
                word = (uint64_t)seed << 32;
                seed = seed * 1664525u + 1013904223u;
                word |= seed;
                if (n < 2) {
                    word = hand->tables[(seed >> 9) % 8] | 3;
                }
                write_slot(hand, i, (seed >> 20) % 512, word);
            }
        }
        adopt_by_hand(hand);
        look_everywhere(hand, &report);
        put_down(hand);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_adopted_table_reads_as_the_original),
        cmocka_unit_test(test_nothing_changes_an_adopted_table),
        cmocka_unit_test(test_an_adopted_table_is_never_disjoint),
        cmocka_unit_test(test_adopt_refuses_what_create_does),
        cmocka_unit_test(test_a_stage_2_built_by_hand_is_understood),
        cmocka_unit_test(test_a_stage_1_built_by_hand_is_understood),
        cmocka_unit_test(test_links_to_nowhere_are_not_followed),
        cmocka_unit_test(test_tables_that_contain_themselves_come_to_an_end),
        cmocka_unit_test(test_a_table_around_the_root_is_the_root_reached_again),
        cmocka_unit_test(test_tables_full_of_nonsense_come_to_an_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
