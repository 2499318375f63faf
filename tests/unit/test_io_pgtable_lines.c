/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Short ranges at every offset: within a cache line of descriptors, over several, and over the end
 * of a table; with something in the way at every place, and with holes in every pattern. Of pages,
 * and of blocks.
 */

#include "pgtable_fixture.h"

#include <stdlib.h>
#include <string.h>

#define WINDOW 40u /* leaves */

struct window_kind {
    enum piommu_pgtable_format format;
    uint32_t granule;
    uint8_t input;
    uint8_t output;
    bool coherent;
    uint32_t flags;
    int64_t start; /* of the window, in leaves from the middle of the space */
    uint64_t leaf; /* size */
};

static const struct window_kind kinds[] = {
    {PIOMMU_ARM_64_LPAE_S1, 4096, 39, 48, true, 0, 0, 4096},
    {PIOMMU_ARM_64_LPAE_S1, 4096, 39, 48, false, 0, -20, 4096},
    {PIOMMU_ARM_64_LPAE_S1, 4096, 48, 48, true, PIOMMU_PGTABLE_CONTIGUOUS, 5, 4096},
    {PIOMMU_ARM_64_LPAE_S1, 4096, 48, 48, false, PIOMMU_PGTABLE_CONTIGUOUS, -21, 4096},
    {PIOMMU_ARM_64_LPAE_S1, 4096, 48, 48, true, PIOMMU_PGTABLE_DIRTY, -7, 4096},
    {PIOMMU_ARM_64_LPAE_S2, 4096, 40, 40, true, 0, -13, 4096},
    {PIOMMU_ARM_64_LPAE_S1, 4096, 52, 52, true, PIOMMU_PGTABLE_TTBR1, -3, 4096},
    {PIOMMU_ARM_64_LPAE_S2, 16384, 40, 40, true, 0, -20, 16384},
    {PIOMMU_ARM_32_LPAE_S1, 4096, 32, 40, true, 0, -9, 4096},
    {PIOMMU_ARM_32_LPAE_S2, 4096, 40, 40, false, 0, -20, 4096},
    {PIOMMU_ARM_64_LPAE_S1, 4096, 48, 48, true, 0, 0, 2 * MIB},
    {PIOMMU_ARM_64_LPAE_S1, 4096, 48, 48, false, PIOMMU_PGTABLE_CONTIGUOUS, -20, 2 * MIB},
    {PIOMMU_ARM_64_LPAE_S2, 4096, 43, 48, true, PIOMMU_PGTABLE_CONCATENATE, -20, GIB},
    {PIOMMU_ARM_64_LPAE_S2, 65536, 40, 48, true, 0, -5, 512 * MIB},
    {PIOMMU_ARM_32_LPAE_S2, 4096, 40, 40, true, 0, -20, 2 * MIB},
    {PIOMMU_ARM_64_LPAE_S1, 4096, 39, 48, true, PIOMMU_PGTABLE_DISJOINT, -13, 4096},
    {PIOMMU_ARM_64_LPAE_S2, 4096, 40, 40, false,
     PIOMMU_PGTABLE_DISJOINT | PIOMMU_PGTABLE_CONTIGUOUS, -20, 4096},
    {PIOMMU_ARM_64_LPAE_S1, 4096, 48, 48, true, PIOMMU_PGTABLE_DISJOINT, -20, 2 * MIB},
};

static struct pgt *open_kind(const struct window_kind *kind)
{
    struct piommu_pgtable_config config =
        config_of(kind->format, kind->granule, kind->input, kind->output);
    struct pgt *p;

    config.flags = possible_flags(kind->flags);
    config.coherent_walk = kind->coherent;
    config.empty_tables_kept = 16;
    if ((kind->flags & PIOMMU_PGTABLE_DIRTY) != 0 && !stores_at_once()) {
        config.flags = 0;
    }
    p = open_table(&config);
    p->has_tlb = false;
    p->is_watched = false;
    return p;
}

/* What should be mapped. */
struct shadow {
    struct pgt *p;
    uint64_t leaf;
    uint64_t first; /* input of the window */
    uint64_t output[WINDOW];
    bool mapped[WINDOW];
    unsigned int comparisons;
};

static uint64_t input_of(const struct shadow *shadow, size_t page)
{
    return shadow->first + page * shadow->leaf;
}

/* The leaves one after the other, groups as one. */
static void compare_leaves(struct shadow *shadow)
{
    struct pgt *p = shadow->p;
    uint64_t last = input_of(shadow, WINDOW) - 1;
    uint64_t cursor = shadow->first;
    uint64_t found;
    struct piommu_translation translation;

    for (size_t i = 0; i < WINDOW; i++) {
        if (!shadow->mapped[i] || input_of(shadow, i) < cursor) {
            continue;
        }
        assert_int_equal(piommu_pgtable_next_leaf(p->table, cursor, last, &found, &translation), 0);
        assert_int_equal(found, input_of(shadow, i));
        assert_int_equal(translation.physical, shadow->output[i]);
        cursor = found + translation.leaf_size;
    }
    assert_int_equal(cursor <= last
                         ? piommu_pgtable_next_leaf(p->table, cursor, last, &found, &translation)
                         : -PIOMMU_ENOENT,
                     -PIOMMU_ENOENT);
}

static void compare(struct shadow *shadow)
{
    struct pgt *p = shadow->p;

    for (size_t i = 0; i < WINDOW; i++) {
        struct piommu_walker_result result;
        struct piommu_translation translation;
        bool is_mapped = hardware_translates(p, input_of(shadow, i), &result);

        assert_int_equal(is_mapped, shadow->mapped[i]);
        assert_int_equal(piommu_pgtable_lookup(p->table, input_of(shadow, i), &translation),
                         is_mapped ? 0 : -PIOMMU_ENOENT);
        if (is_mapped) {
            assert_int_equal(result.output, shadow->output[i]);
            assert_int_equal(translation.physical, shadow->output[i]);
        }
    }
    compare_leaves(shadow);
    /* The whole tables take longer. */
    if (shadow->comparisons++ % 8 != 0) {
        return;
    }
    check_walker_view(p);
    if (!p->config.coherent_walk) {
        observe_tree(p);
        assert_int_equal(stale_descriptors(p), 0);
    }
    p->is_verifying = true;
    assert_int_equal(piommu_pgtable_verify(p->table, NULL, NULL, NULL), 0);
    p->is_verifying = false;
}

static void map_pages(struct shadow *shadow, size_t start, size_t count, uint64_t output)
{
    struct pgt *p = shadow->p;
    uint64_t leaf = shadow->leaf;
    size_t free = 0;
    uint64_t mapped = 1;
    int result = piommu_pgtable_map(p->table, input_of(shadow, start), output, count * leaf,
                                    READ_WRITE, &mapped);

    while (free < count && !shadow->mapped[start + free]) {
        shadow->mapped[start + free] = true;
        shadow->output[start + free] = output + free * leaf;
        free++;
    }
    assert_int_equal(result, free == count ? 0 : -PIOMMU_EEXIST);
    assert_int_equal(mapped, free * leaf);
}

static void unmap_pages(struct shadow *shadow, size_t start, size_t count)
{
    struct pgt *p = shadow->p;
    uint64_t leaf = shadow->leaf;
    struct piommu_gather gather;
    size_t removed = 0;
    size_t first = 0;
    size_t last = 0;
    uint64_t unmapped = 1;
    int result;

    piommu_gather_init(&gather);
    result =
        piommu_pgtable_unmap(p->table, input_of(shadow, start), count * leaf, &gather, &unmapped);
    for (size_t i = start; i < start + count; i++) {
        if (shadow->mapped[i]) {
            first = removed == 0 ? i : first;
            last = i;
            removed++;
        }
        shadow->mapped[i] = false;
    }
    assert_int_equal(result, removed == 0 ? -PIOMMU_ENOENT : 0);
    assert_int_equal(unmapped, removed * leaf);
    assert_int_equal(gather.pending, removed != 0);
    if (removed != 0) {
        assert_true(gather.range.first <= input_of(shadow, first));
        assert_true(gather.range.first >= input_of(shadow, start));
        assert_true(gather.range.last >= input_of(shadow, last) + leaf - 1);
        assert_true(gather.range.last <= input_of(shadow, start + count - 1) + leaf - 1);
    }
    piommu_pgtable_detach_empty(p->table, &gather);
    stale_tlb_invalidate_all(p->tlb);
    piommu_pgtable_release(p->table, &gather);
}

static void open_shadow(struct shadow *shadow, const struct window_kind *kind)
{
    memset(shadow, 0, sizeof(*shadow));
    shadow->p = open_kind(kind);
    shadow->leaf = kind->leaf;
    shadow->first =
        base_of(shadow->p) + (1ull << (kind->input - 1)) + (uint64_t)kind->start * kind->leaf;
}

static void close_shadow(struct shadow *shadow)
{
    observe_barrier(shadow->p);
    shadow->p->is_watched = true;
    unmap_all(shadow->p);
    close_table(shadow->p);
}

static void test_ranges_of_all_lengths_at_all_offsets(void **state)
{
    (void)state;
    for (size_t k = 0; k < COUNT_OF(kinds); k++) {
        struct shadow shadow;

        open_shadow(&shadow, &kinds[k]);
        for (size_t start = 0; start < 20; start++) {
            for (size_t count = 1; count <= 20; count++) {
                uint64_t output = (64 + start) * kinds[k].leaf;

                map_pages(&shadow, start, count, output);
                compare(&shadow);
                unmap_pages(&shadow, start, count);
                compare(&shadow);
            }
        }
        close_shadow(&shadow);
    }
}

static void test_a_leaf_in_the_way_at_all_places(void **state)
{
    (void)state;
    for (size_t k = 0; k < COUNT_OF(kinds); k++) {
        struct shadow shadow;
        uint64_t leaf = kinds[k].leaf;

        open_shadow(&shadow, &kinds[k]);
        for (size_t start = 0; start < 9; start++) {
            for (size_t count = 1; count <= 31; count += 3) {
                for (size_t at = start; at < start + count; at += 2) {
                    map_pages(&shadow, at, 1, 7 * leaf);
                    map_pages(&shadow, start, count, (128 + start) * leaf);
                    compare(&shadow);
                    unmap_pages(&shadow, 0, WINDOW);
                }
            }
        }
        close_shadow(&shadow);
    }
}

static void test_holes_in_all_patterns(void **state)
{
    uint32_t random = 2463534242u;

    (void)state;
    for (size_t k = 0; k < COUNT_OF(kinds); k++) {
        struct shadow shadow;
        uint64_t leaf = kinds[k].leaf;

        open_shadow(&shadow, &kinds[k]);
        for (unsigned int round = 0; round < 300; round++) {
            size_t start;
            size_t count;

            for (size_t i = 0; i < WINDOW; i++) {
                random = random * 1664525u + 1013904223u;
                if ((random >> 16 & 7) < round % 8 && !shadow.mapped[i]) {
                    map_pages(&shadow, i, 1, (i * 3 + round) * leaf);
                }
            }
            start = (random >> 8) % WINDOW;
            count = 1 + (random >> 20) % (WINDOW - start);
            unmap_pages(&shadow, start, count);
            compare(&shadow);
        }
        close_shadow(&shadow);
    }
}

static void test_protect_of_all_lengths_at_all_offsets(void **state)
{
    (void)state;
    for (size_t k = 0; k < COUNT_OF(kinds); k++) {
        struct shadow shadow;
        struct pgt *p;
        uint64_t leaf = kinds[k].leaf;

        if ((kinds[k].flags & PIOMMU_PGTABLE_CONTIGUOUS) != 0) {
            continue; /* groups would be cut */
        }
        open_shadow(&shadow, &kinds[k]);
        p = shadow.p;
        p->may_change_access = true;
        /* Every third place is a hole. */
        for (size_t i = 0; i < WINDOW; i++) {
            if (i % 3 != 2) {
                map_pages(&shadow, i, 1, (3 * i + 1) * leaf);
            }
        }
        for (size_t start = 0; start < 18; start++) {
            for (size_t count = 1; count <= 20; count++) {
                piommu_prot prot = READ | PIOMMU_PROT_SOFTWARE(1 + (start + count) % 7);
                struct piommu_gather gather;
                uint64_t changed = 1;
                size_t there = 0;
                int result;

                for (size_t i = start; i < start + count; i++) {
                    there += shadow.mapped[i] ? 1u : 0u;
                }
                piommu_gather_init(&gather);
                result = piommu_pgtable_protect(p->table, input_of(&shadow, start), count * leaf,
                                                prot, &gather, &changed);
                assert_int_equal(result, there == 0 ? -PIOMMU_ENOENT : 0);
                assert_int_equal(changed, there * leaf);
                for (size_t i = 0; i < WINDOW; i++) {
                    struct piommu_translation translation;

                    if (!shadow.mapped[i]) {
                        continue;
                    }
                    assert_int_equal(
                        piommu_pgtable_lookup(p->table, input_of(&shadow, i), &translation), 0);
                    assert_int_equal(translation.prot,
                                     i >= start && i < start + count ? prot : READ_WRITE);
                }
                compare(&shadow);
                if (there != 0) {
                    piommu_pgtable_protect(p->table, input_of(&shadow, start), count * leaf,
                                           READ_WRITE, &gather, &changed);
                }
                piommu_pgtable_detach_empty(p->table, &gather);
                piommu_pgtable_release(p->table, &gather);
            }
        }
        close_shadow(&shadow);
    }
}

/* Arguments that are wrong are refused wherever the range lies, and whatever is there. */
static void test_wrong_arguments_are_refused_on_every_way_down(void **state)
{
    (void)state;
    for (size_t k = 0; k < COUNT_OF(kinds); k++) {
        struct shadow shadow;
        uint64_t granule = kinds[k].granule;
        struct pgt *p;

        if (kinds[k].leaf != granule) {
            continue;
        }
        open_shadow(&shadow, &kinds[k]);
        p = shadow.p;
        /* With no table there, with one that is empty, with a neighbour, with a conflict. */
        for (unsigned int round = 0; round < 4; round++) {
            uint64_t input = input_of(&shadow, 3);
            uint64_t end = 1ull << kinds[k].output;
            const struct {
                uint64_t input;
                uint64_t output;
                uint64_t size;
                piommu_prot prot;
                int error;
            } wrong[] = {
                {input + 1, 0, granule, READ, -PIOMMU_EINVAL},
                {input + granule / 2, 0, granule, READ, -PIOMMU_EINVAL},
                {input, 1, granule, READ, -PIOMMU_EINVAL},
                {input, granule / 2, granule, READ, -PIOMMU_EINVAL},
                {input, 0, 0, READ, -PIOMMU_EINVAL},
                {input, 0, granule / 2, READ, -PIOMMU_EINVAL},
                {input, 0, granule + 1, READ, -PIOMMU_EINVAL},
                {input, 0, granule, 0, -PIOMMU_EINVAL},
                {input, 0, granule, PIOMMU_PROT_NONCACHEABLE, -PIOMMU_EINVAL},
                {input, 0, granule, PIOMMU_PROT_SOFTWARE(3), -PIOMMU_EINVAL},
                {input, 0, granule, PIOMMU_PROT_SHARE_INNER, -PIOMMU_EINVAL},
                {input, 0, granule, PIOMMU_PROT_PRIVILEGED | PIOMMU_PROT_GLOBAL, -PIOMMU_EINVAL},
                {input, 0, granule, READ | 1u << 13, -PIOMMU_EINVAL},
                {input, 0, granule, READ | 1u << 31, -PIOMMU_EINVAL},
                {input, end, granule, READ, -PIOMMU_ERANGE},
                {input, end - granule, 2 * granule, READ, -PIOMMU_ERANGE},
                {input, 0 - granule, granule, READ, -PIOMMU_ERANGE},
                {input, 0 - granule, 2 * granule, READ, -PIOMMU_ERANGE},
                {input, 0, granule, READ | PIOMMU_PROT_DEVICE | PIOMMU_PROT_NONCACHEABLE,
                 -PIOMMU_EOPNOTSUPP},
                {input, 0, granule, READ | PIOMMU_PROT_DEVICE | PIOMMU_PROT_SHARE_NONE,
                 -PIOMMU_EOPNOTSUPP},
                {input, 0, granule, READ_WRITE | PIOMMU_PROT_PRIVILEGED | PIOMMU_PROT_EXECUTE,
                 -PIOMMU_EOPNOTSUPP},
            };

            if (round == 1) {
                map_pages(&shadow, 3, 1, granule);
                unmap_pages(&shadow, 3, 1);
            } else if (round == 2) {
                map_pages(&shadow, 4, 1, granule);
            } else if (round == 3) {
                map_pages(&shadow, 3, 1, granule);
            }
            for (size_t i = 0; i < COUNT_OF(wrong); i++) {
                uint64_t mapped = 1;
                int result = piommu_pgtable_map(p->table, wrong[i].input, wrong[i].output,
                                                wrong[i].size, wrong[i].prot, &mapped);

                if (result != wrong[i].error) {
                    fail_msg("kind %u, round %u, case %u: %d", (unsigned int)k, round,
                             (unsigned int)i, result);
                }
                assert_int_equal(mapped, 0);
            }
            compare(&shadow);
        }
        close_shadow(&shadow);
    }
}

/* The next call in one place, after calls in others: nothing may be remembered wrongly. */
static void test_calls_in_many_tables_by_turns(void **state)
{
    (void)state;
    for (size_t k = 0; k < COUNT_OF(kinds); k++) {
        struct pgt *p;
        uint64_t granule = kinds[k].granule;
        uint64_t table = granule * (granule / 8);
        uint32_t random = 99;
        bool mapped[64][16] = {{false}};

        if (kinds[k].leaf != granule) {
            continue;
        }
        p = open_kind(&kinds[k]);
        for (unsigned int i = 0; i < 4000; i++) {
            uint64_t input;
            uint64_t bytes;
            unsigned int t;
            unsigned int page;
            struct piommu_translation translation;
            struct piommu_gather gather;

            random = random * 1664525u + 1013904223u;
            t = (random >> 10) % 64;
            page = (random >> 20) % 16;
            input = base_of(p) + t * table + page * granule;
            assert_int_equal(piommu_pgtable_lookup(p->table, input, &translation),
                             mapped[t][page] ? 0 : -PIOMMU_ENOENT);
            if (!mapped[t][page]) {
                map_quickly(p, input, (t * 16ull + page) * granule, granule, READ);
                mapped[t][page] = true;
                continue;
            }
            assert_int_equal(translation.physical, (t * 16ull + page) * granule);
            if (i % 3 == 0) {
                continue;
            }
            piommu_gather_init(&gather);
            assert_int_equal(piommu_pgtable_unmap(p->table, input, granule, &gather, &bytes), 0);
            mapped[t][page] = false;
            if (i % 5 == 0) {
                piommu_pgtable_trim(p->table, &gather);
            } else {
                piommu_pgtable_detach_empty(p->table, &gather);
            }
            piommu_pgtable_release(p->table, &gather);
            if (i % 100 == 0) {
                verify(p);
            }
        }
        observe_barrier(p);
        p->is_watched = true;
        unmap_all(p);
        close_table(p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ranges_of_all_lengths_at_all_offsets),
        cmocka_unit_test(test_a_leaf_in_the_way_at_all_places),
        cmocka_unit_test(test_holes_in_all_patterns),
        cmocka_unit_test(test_protect_of_all_lengths_at_all_offsets),
        cmocka_unit_test(test_wrong_arguments_are_refused_on_every_way_down),
        cmocka_unit_test(test_calls_in_many_tables_by_turns),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
