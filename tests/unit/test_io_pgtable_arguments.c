/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Wrong arguments of every call that takes a range, in every format, and whatever is mapped there:
 * a short way through a table must not be taken before they were judged.
 */

#include "pgtable_fixture.h"

#include <stdlib.h>
#include <string.h>

static const struct kind kinds[] = {
    {S1_64, 4096, 48, 48, 0, 0},
    {S1_64, 4096, 39, 40, PIOMMU_PGTABLE_TTBR1, 0},
    {S1_64, 4096, 48, 48, PIOMMU_PGTABLE_CONTIGUOUS, 0},
    {S1_64, 4096, 48, 48, PIOMMU_PGTABLE_DIRTY, 0},
    {S1_64, 4096, 52, 52, 0, 0},
    {S1_64, 4096, 20, 32, PIOMMU_PGTABLE_SMALL_INPUT, 0},
    {S2_64, 4096, 40, 40, 0, 0},
    {S2_64, 4096, 36, 44, PIOMMU_PGTABLE_XNX | PIOMMU_PGTABLE_BBM_LEVEL_2, 0},
    {S1_64, 16384, 48, 48, 0, 0},
    {S1_64, 16384, 47, 48, PIOMMU_PGTABLE_CONTIGUOUS | PIOMMU_PGTABLE_TTBR1, 0},
    {S2_64, 16384, 40, 52, 0, 0},
    {S1_64, 65536, 48, 48, 0, 0},
    {S2_64, 65536, 36, 44, PIOMMU_PGTABLE_CONTIGUOUS | PIOMMU_PGTABLE_FORCE_WRITE_BACK, 0},
    {S2_64, 65536, 52, 52, 0, 0},
    {S1_32, 4096, 32, 40, 0, 0},
    {S1_32, 4096, 31, 40, PIOMMU_PGTABLE_TTBR1 | PIOMMU_PGTABLE_NON_SECURE, 0},
    {S2_32, 4096, 36, 40, 0, 0},
    {S2_32, 4096, 40, 40, PIOMMU_PGTABLE_CONCATENATE, 0},
    {S1_64, 4096, 48, 48, PIOMMU_PGTABLE_DISJOINT | PIOMMU_PGTABLE_TTBR1, 0},
    {S2_64, 16384, 40, 40, PIOMMU_PGTABLE_DISJOINT | PIOMMU_PGTABLE_CONTIGUOUS, 0},
};

static struct pgt *open_kind(const struct kind *kind)
{
    struct piommu_pgtable_config config = config_of_kind(kind);
    struct pgt *p;

    if (!stores_at_once()) {
        config.flags &= ~PIOMMU_PGTABLE_DIRTY;
    }
    config.empty_tables_kept = 8;
    p = open_table(&config);
    p->has_tlb = false;
    return p;
}

/* A range and the error that each call has for it; 0 where it is right. */
struct range {
    uint64_t iova;
    uint64_t size;
    int error;
};

#define MOST_RANGES 40

static size_t wrong_ranges(const struct pgt *p, uint64_t iova, struct range *ranges)
{
    uint64_t granule = p->info.granule;
    uint64_t first = p->info.aperture.first;
    uint64_t last = p->info.aperture.last;
    uint64_t whole = last - first + 1;
    size_t count = 0;

    ranges[count++] = (struct range){iova, 0, -PIOMMU_EINVAL};
    ranges[count++] = (struct range){first, 0, -PIOMMU_EINVAL};
    ranges[count++] = (struct range){last - granule + 1, 0, -PIOMMU_EINVAL};
    ranges[count++] = (struct range){iova, 1, -PIOMMU_EINVAL};
    ranges[count++] = (struct range){iova, granule - 1, -PIOMMU_EINVAL};
    ranges[count++] = (struct range){iova, granule + 1, -PIOMMU_EINVAL};
    ranges[count++] = (struct range){iova, granule / 2, -PIOMMU_EINVAL};
    ranges[count++] = (struct range){iova, granule + granule / 2, -PIOMMU_EINVAL};
    ranges[count++] = (struct range){iova, UINT64_MAX, -PIOMMU_EINVAL};
    ranges[count++] = (struct range){iova + 1, granule, -PIOMMU_EINVAL};
    ranges[count++] = (struct range){iova + 8, granule, -PIOMMU_EINVAL};
    ranges[count++] = (struct range){iova + granule / 2, granule, -PIOMMU_EINVAL};
    ranges[count++] = (struct range){iova + granule / 2, granule / 2, -PIOMMU_EINVAL};
    ranges[count++] = (struct range){iova + granule - 1, 1, -PIOMMU_EINVAL};
    ranges[count++] = (struct range){iova, whole, iova == first ? 0 : -PIOMMU_ERANGE};
    ranges[count++] = (struct range){first, whole + granule, -PIOMMU_ERANGE};
    ranges[count++] = (struct range){last - granule + 1, 2 * granule, -PIOMMU_ERANGE};
    ranges[count++] = (struct range){iova, 1ull << 63, -PIOMMU_ERANGE};
    ranges[count++] = (struct range){iova, 0 - granule, -PIOMMU_ERANGE};
    if (first == 0) {
        ranges[count++] = (struct range){last + 1, granule, -PIOMMU_ERANGE};
        ranges[count++] = (struct range){iova | (last + 1), granule, -PIOMMU_ERANGE};
        ranges[count++] = (struct range){iova | 1ull << 63, granule, -PIOMMU_ERANGE};
        ranges[count++] = (struct range){0 - granule, granule, -PIOMMU_ERANGE};
        ranges[count++] = (struct range){0 - granule, 2 * granule, -PIOMMU_ERANGE};
    } else {
        ranges[count++] = (struct range){first - granule, granule, -PIOMMU_ERANGE};
        ranges[count++] = (struct range){first - granule, 2 * granule, -PIOMMU_ERANGE};
        ranges[count++] = (struct range){0, granule, -PIOMMU_ERANGE};
        ranges[count++] = (struct range){iova & (whole - 1), granule, -PIOMMU_ERANGE};
        ranges[count++] = (struct range){iova ^ 1ull << 62, granule, -PIOMMU_ERANGE};
    }
    return count;
}

static int never(void *cookie, const struct piommu_range *range)
{
    (void)cookie;
    (void)range;
    fail_msg("there is nothing to invalidate");
    return 0;
}

static void expect(int result, const struct range *range, const char *call)
{
    if (result != range->error) {
        fail_msg("%s of 0x%llx at 0x%llx: %d, not %d", call, (unsigned long long)range->size,
                 (unsigned long long)range->iova, result, range->error);
    }
}

static void refuse_maps(struct pgt *p, const struct range *range)
{
    struct piommu_segment segment = {0, range->size};
    struct piommu_pgtable_cursor cursor = {0};
    uint64_t bytes = 1;

    expect(piommu_pgtable_map(p->table, range->iova, 0, range->size, READ, &bytes), range, "map");
    assert_int_equal(bytes, 0);
    bytes = 1;
    expect(piommu_pgtable_map_list(p->table, range->iova, &segment, 1, READ, &bytes), range,
           "map_list");
    assert_int_equal(bytes, 0);
    expect(piommu_pgtable_map_some(p->table, range->iova, &segment, 1, READ, 1, &cursor), range,
           "map_some");
    assert_int_equal(cursor.changed, 0);
}

static void refuse_unmaps(struct pgt *p, const struct range *range)
{
    struct piommu_pgtable_cursor cursor = {0};
    struct piommu_gather gather;
    uint64_t bytes = 1;

    piommu_gather_init(&gather);
    expect(piommu_pgtable_unmap(p->table, range->iova, range->size, &gather, &bytes), range,
           "unmap");
    assert_int_equal(bytes, 0);
    expect(piommu_pgtable_unmap_some(p->table, range->iova, range->size, 1, &gather, &cursor),
           range, "unmap_some");
    assert_int_equal(cursor.changed, 0);
    bytes = 1;
    expect(
        piommu_pgtable_unmap_cut(p->table, range->iova, range->size, never, NULL, &gather, &bytes),
        range, "unmap_cut");
    assert_int_equal(bytes, 0);
    assert_false(gather.pending);
}

static void refuse_changes(struct pgt *p, const struct range *range)
{
    struct piommu_pgtable_cursor cursor = {0};
    struct piommu_gather gather;
    uint64_t bytes = 1;
    uint64_t to_map;

    piommu_gather_init(&gather);
    expect(piommu_pgtable_protect(p->table, range->iova, range->size, READ_WRITE, &gather, &bytes),
           range, "protect");
    assert_int_equal(bytes, 0);
    expect(piommu_pgtable_protect_some(p->table, range->iova, range->size, READ_WRITE, 1, &gather,
                                       &cursor),
           range, "protect_some");
    assert_int_equal(cursor.changed, 0);
    expect(piommu_pgtable_plan(p->table, range->iova, range->size, p->info.granule, &to_map, NULL),
           range, "plan");
    if ((p->info.flags & PIOMMU_PGTABLE_DIRTY) != 0) {
        expect(piommu_pgtable_read_dirty(p->table, range->iova, range->size, 1ull << 63, NULL, true,
                                         &gather, &bytes),
               range, "read_dirty");
    }
    assert_false(gather.pending);
}

/* What is there: nothing; an empty table; the page itself; its neighbours; a block, and a group. */
static void set_the_scene(struct pgt *p, unsigned int scene, uint64_t iova)
{
    uint64_t granule = p->info.granule;
    uint64_t block = p->info.leaf_sizes & ~(2 * granule - 1);

    block &= 0 - block;
    switch (scene) {
    case 1:
        map_quickly(p, iova, 0, granule, READ);
        unmap_and_sync(p, iova, granule, granule);
        break;
    case 2:
        map_quickly(p, iova, 0, granule, READ);
        break;
    case 3:
        map_quickly(p, iova + granule, 0, 2 * granule, READ);
        map_quickly(p, iova - granule, 0, granule, READ);
        break;
    case 4:
        if (block != 0 && block < p->info.aperture.last - p->info.aperture.first) {
            map_quickly(p, iova & ~(block - 1), block, block, READ);
        }
        break;
    case 5:
        map_quickly(p, iova & ~(64 * granule - 1), 128 * granule, 64 * granule, READ);
        break;
    default:
        break;
    }
}

static void test_wrong_ranges_are_refused_whatever_is_there(void **state)
{
    (void)state;
    for (size_t k = 0; k < COUNT_OF(kinds); k++) {
        for (unsigned int scene = 0; scene < 6; scene++) {
            struct pgt *p = open_kind(&kinds[k]);
            uint64_t iova = base_of(p) + 69ull * kinds[k].granule;
            struct range ranges[MOST_RANGES];
            size_t count = wrong_ranges(p, iova, ranges);
            uint64_t bytes;

            set_the_scene(p, scene, iova);
            bytes = fake_os_bytes_outstanding(p->os);
            for (size_t i = 0; i < count; i++) {
                if (ranges[i].error != 0) {
                    refuse_maps(p, &ranges[i]);
                    refuse_unmaps(p, &ranges[i]);
                    refuse_changes(p, &ranges[i]);
                }
            }
            assert_int_equal(fake_os_bytes_outstanding(p->os), bytes);
            verify(p);
            unmap_all(p);
            close_table(p);
        }
    }
}

static void test_wrong_outputs_and_prots_are_refused_whatever_is_there(void **state)
{
    (void)state;
    for (size_t k = 0; k < COUNT_OF(kinds); k++) {
        for (unsigned int scene = 0; scene < 6; scene++) {
            struct pgt *p = open_kind(&kinds[k]);
            uint64_t granule = kinds[k].granule;
            uint64_t iova = base_of(p) + 69 * granule;
            uint64_t end = 1ull << kinds[k].output;
            const struct {
                uint64_t output;
                uint64_t size;
                piommu_prot prot;
                int error;
            } wrong[] = {
                {1, granule, READ, -PIOMMU_EINVAL},
                {granule / 2, granule, READ, -PIOMMU_EINVAL},
                {granule - 1, granule, READ, -PIOMMU_EINVAL},
                {0, granule, 0, -PIOMMU_EINVAL},
                {0, granule, PIOMMU_PROT_DEVICE, -PIOMMU_EINVAL},
                {0, granule, PIOMMU_PROT_SOFTWARE(7), -PIOMMU_EINVAL},
                {0, granule, PIOMMU_PROT_PRIVILEGED, -PIOMMU_EINVAL},
                {0, granule, PIOMMU_PROT_GLOBAL | PIOMMU_PROT_SHARE_OUTER, -PIOMMU_EINVAL},
                {0, granule, READ | 1u << 13, -PIOMMU_EINVAL},
                {0, granule, READ | 1u << 16, -PIOMMU_EINVAL},
                {0, granule, READ | 1u << 31, -PIOMMU_EINVAL},
                {end, granule, READ, -PIOMMU_ERANGE},
                {end - granule, 2 * granule, READ, -PIOMMU_ERANGE},
                {end, 0, READ, -PIOMMU_EINVAL},
                {1ull << 63, granule, READ, -PIOMMU_ERANGE},
                {0 - granule, granule, READ, -PIOMMU_ERANGE},
                {0 - granule, 2 * granule, READ, -PIOMMU_ERANGE},
                {0, granule, READ | PIOMMU_PROT_DEVICE | PIOMMU_PROT_NONCACHEABLE,
                 -PIOMMU_EOPNOTSUPP},
                {0, granule, READ | PIOMMU_PROT_PRIVILEGED | PIOMMU_PROT_EXECUTE,
                 -PIOMMU_EOPNOTSUPP},
                {0, granule, READ | PIOMMU_PROT_DEVICE | PIOMMU_PROT_SHARE_INNER,
                 -PIOMMU_EOPNOTSUPP},
            };

            set_the_scene(p, scene, iova);
            for (size_t i = 0; i < COUNT_OF(wrong); i++) {
                uint64_t mapped = 1;
                int result = piommu_pgtable_map(p->table, iova, wrong[i].output, wrong[i].size,
                                                wrong[i].prot, &mapped);

                if (result != wrong[i].error) {
                    fail_msg("kind %u, scene %u, case %u: %d", (unsigned int)k, scene,
                             (unsigned int)i, result);
                }
                assert_int_equal(mapped, 0);
            }
            verify(p);
            unmap_all(p);
            close_table(p);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wrong_ranges_are_refused_whatever_is_there),
        cmocka_unit_test(test_wrong_outputs_and_prots_are_refused_whatever_is_there),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
