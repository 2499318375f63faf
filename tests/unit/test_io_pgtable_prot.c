/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * What a prot turns into: each of the 2^13 sums of flags, in each format, is refused where the
 * header says that it cannot be expressed, and else gives just what was asked for.
 */

#include "pgtable_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ANY_ACCESS (PIOMMU_PROT_READ | PIOMMU_PROT_WRITE | PIOMMU_PROT_EXECUTE_ALL)

static int expected_result(const struct pgt *p, piommu_prot prot)
{
    if ((prot & ANY_ACCESS) == 0) {
        return -PIOMMU_EINVAL;
    }
    return prot_is_expressible(&p->info, prot) ? 0 : -PIOMMU_EOPNOTSUPP;
}

/* Bits of a stage-2 leaf that no attribute of the walker shows. */
static void check_execute_never(const struct pgt *p, uint64_t descriptor, piommu_prot prot)
{
    unsigned int xn = descriptor >> 53 & 3;

    if (is_stage1(&p->info)) {
        return;
    }
    if ((prot & PIOMMU_PROT_EXECUTE_ALL) == 0) {
        assert_int_equal(xn, 2);
    }
    if ((p->info.flags & PIOMMU_PGTABLE_XNX) == 0) {
        assert_int_equal(xn & 1, 0);
    }
}

static void check_links(const struct pgt *p, const struct piommu_walker_result *result)
{
    bool non_secure = (p->info.flags & PIOMMU_PGTABLE_NON_SECURE) != 0;

    for (unsigned int i = 0; i + 1 < result->step_count; i++) {
        assert_true(result->steps[i].is_table);
        assert_int_equal(result->steps[i].descriptor >> 59, non_secure ? 0x10 : 0);
    }
}

static void check_leaf(struct pgt *p, uint64_t input, uint64_t output, uint64_t size,
                       piommu_prot prot)
{
    struct piommu_walker_regime older = p->regime;
    struct piommu_translation translation;
    struct piommu_walker_result result;
    static const struct piommu_walker_access nothing = {.privileged = true};

    if (!hardware_translates(p, input, &result) || result.output != output ||
        1ull << result.leaf_shift != size || !attributes_mean(p, &result.attributes, prot)) {
        fail_msg("format %d, flags 0x%x, prot 0x%x: descriptor 0x%llx", (int)p->info.format,
                 (unsigned int)p->info.flags, (unsigned int)prot,
                 (unsigned long long)result.descriptor);
    }
    check_execute_never(p, result.descriptor, prot);
    check_links(p, &result);
    /* Without the flag, hardware that lacks FEAT_XNX has to understand it as well. */
    if ((p->info.flags & PIOMMU_PGTABLE_XNX) == 0) {
        older.hardware.has_execute_never_by_privilege = false;
        piommu_walker_translate(&older, &p->memory, input, &nothing, &result);
        assert_true(attributes_mean(p, &result.attributes, prot));
    }
    assert_int_equal(piommu_pgtable_lookup(p->table, input + 5, &translation), 0);
    assert_int_equal(translation.physical, output + 5);
    assert_int_equal(translation.leaf_size, size);
    assert_int_equal(translation.prot, prot_without_defaults(&p->info, prot));
}

static void forget(struct pgt *p, uint64_t input, uint64_t size)
{
    struct piommu_gather gather;
    uint64_t unmapped;

    piommu_gather_init(&gather);
    assert_int_equal(piommu_pgtable_unmap(p->table, input, size, &gather, &unmapped), 0);
    piommu_pgtable_detach_empty(p->table, &gather);
    piommu_pgtable_release(p->table, &gather);
}

static void check_prot(struct pgt *p, piommu_prot prot, uint64_t size)
{
    uint64_t input = base_of(p) + 3 * size;
    uint64_t bytes = fake_os_bytes_outstanding(p->os);
    int expected = expected_result(p, prot);
    uint64_t mapped = 1;
    int result = piommu_pgtable_map(p->table, input, 5 * size, size, prot, &mapped);

    if (result != expected) {
        fail_msg("format %d, flags 0x%x, prot 0x%x: %d, not %d", (int)p->info.format,
                 (unsigned int)p->info.flags, (unsigned int)prot, result, expected);
    }
    assert_int_equal(mapped, result == 0 ? size : 0);
    if (result != 0) {
        assert_int_equal(fake_os_bytes_outstanding(p->os), bytes);
        return;
    }
    check_leaf(p, input, 5 * size, size, prot);
    forget(p, input, size);
}

struct prot_kind {
    enum piommu_pgtable_format format;
    uint32_t granule;
    uint8_t input;
    uint8_t output;
    bool coherent;
    uint32_t flags;
};

static void check_all_prots(const struct prot_kind *kind)
{
    struct piommu_pgtable_config config =
        config_of(kind->format, kind->granule, kind->input, kind->output);
    struct pgt *p;
    uint64_t block = 0;

    config.flags = kind->flags;
    config.coherent_walk = kind->coherent;
    config.empty_tables_kept = 8;
    p = open_table(&config);
    p->is_watched = false;
    /* The smallest block. */
    for (unsigned int bit = 17; block == 0; bit++) {
        block = p->info.leaf_sizes & 1ull << bit;
    }
    for (piommu_prot prot = 0; prot <= PIOMMU_PROT_ALL; prot++) {
        check_prot(p, prot, kind->granule);
    }
    unmap_all(p);
    close_table(p);

    /* No table is kept where blocks have to go. */
    config.empty_tables_kept = 0;
    p = open_table(&config);
    p->is_watched = false;
    for (piommu_prot prot = 0; prot <= PIOMMU_PROT_ALL; prot += 1 + (prot >> 10)) {
        check_prot(p, prot, block);
    }
    close_table(p);
}

static void test_each_prot_of_64_bit_stage_1_is_expressed_exactly_or_refused(void **state)
{
    static const struct prot_kind kinds[] = {
        {S1_64, 4096, 39, 48, true, 0},
        {S1_64, 4096, 40, 40, false, PIOMMU_PGTABLE_TTBR1},
        {S1_64, 16384, 36, 44, true, PIOMMU_PGTABLE_NON_SECURE},
        {S1_64, 65536, 34, 52, true, PIOMMU_PGTABLE_TTBR1 | PIOMMU_PGTABLE_NON_SECURE},
        {S1_64, 4096, 39, 48, true, PIOMMU_PGTABLE_CONTIGUOUS | PIOMMU_PGTABLE_BBM_LEVEL_2},
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        check_all_prots(&kinds[i]);
    }
}

static void test_each_prot_of_64_bit_stage_2_is_expressed_exactly_or_refused(void **state)
{
    static const struct prot_kind kinds[] = {
        {S2_64, 4096, 39, 40, true, 0},
        {S2_64, 4096, 40, 40, false, PIOMMU_PGTABLE_XNX},
        {S2_64, 16384, 36, 44, true, PIOMMU_PGTABLE_FORCE_WRITE_BACK},
        {S2_64, 65536, 34, 52, true, PIOMMU_PGTABLE_FORCE_WRITE_BACK | PIOMMU_PGTABLE_XNX},
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        check_all_prots(&kinds[i]);
    }
}

static void test_each_prot_of_tables_with_52_bits_is_expressed_exactly_or_refused(void **state)
{
    static const struct prot_kind kinds[] = {
        {S1_64, 4096, 39, 52, true, 0},
        {S1_64, 16384, 36, 52, false, PIOMMU_PGTABLE_NON_SECURE},
        {S2_64, 4096, 39, 52, true, PIOMMU_PGTABLE_XNX},
        {S2_64, 16384, 36, 52, false, PIOMMU_PGTABLE_FORCE_WRITE_BACK},
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        check_all_prots(&kinds[i]);
    }
}

static void test_each_prot_of_32_bit_tables_is_expressed_exactly_or_refused(void **state)
{
    static const struct prot_kind kinds[] = {
        {S1_32, 4096, 32, 40, true, 0},
        {S1_32, 4096, 30, 32, false, PIOMMU_PGTABLE_TTBR1 | PIOMMU_PGTABLE_NON_SECURE},
        {S2_32, 4096, 40, 40, true, 0},
        {S2_32, 4096, 32, 36, false, PIOMMU_PGTABLE_CONCATENATE},
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        check_all_prots(&kinds[i]);
    }
}

/* ---- Whole descriptors, for formats in which nothing is left to choose ---- */

static void test_known_descriptors_of_stage_2(void **state)
{
    static const struct {
        enum piommu_pgtable_format format;
        uint32_t flags;
        piommu_prot prot;
        uint64_t descriptor;
    } cases[] = {
        {S2_64, 0, READ_WRITE, 0x00400000000007ffull},
        {S2_64, 0, READ, 0x004000000000077full},
        {S2_64, 0, WRITE, 0x00400000000007bfull},
        {S2_64, 0, READ_WRITE | PIOMMU_PROT_EXECUTE_ALL, 0x00000000000007ffull},
        {S2_64, 0, PIOMMU_PROT_EXECUTE_ALL, 0x000000000000073full},
        {S2_64, 0, READ_WRITE | PIOMMU_PROT_DEVICE, 0x00400000000006c7ull},
        {S2_64, 0, READ_WRITE | PIOMMU_PROT_NONCACHEABLE, 0x00400000000006d7ull},
        {S2_64, 0, READ_WRITE | PIOMMU_PROT_SHARE_NONE, 0x00400000000004ffull},
        {S2_64, 0, READ_WRITE | PIOMMU_PROT_SHARE_OUTER, 0x00400000000006ffull},
        {S2_64, 0, READ_WRITE | PIOMMU_PROT_SOFTWARE(7), 0x07400000000007ffull},
        {S2_64, 0, READ_WRITE | PIOMMU_PROT_SOFTWARE(1), 0x01400000000007ffull},
        {S2_64, PIOMMU_PGTABLE_XNX, READ_WRITE, 0x00400000000007ffull},
        {S2_64, PIOMMU_PGTABLE_XNX, READ | PIOMMU_PROT_EXECUTE, 0x002000000000077full},
        {S2_64, PIOMMU_PGTABLE_XNX, READ | PIOMMU_PROT_EXECUTE_PRIVILEGED, 0x006000000000077full},
        {S2_64, PIOMMU_PGTABLE_XNX, READ | PIOMMU_PROT_EXECUTE_ALL, 0x000000000000077full},
        {S2_64, PIOMMU_PGTABLE_FORCE_WRITE_BACK, READ_WRITE, 0x00400000000007dbull},
        {S2_64, PIOMMU_PGTABLE_FORCE_WRITE_BACK, READ_WRITE | PIOMMU_PROT_NONCACHEABLE,
         0x00400000000006d7ull},
        {S2_64, PIOMMU_PGTABLE_FORCE_WRITE_BACK, READ_WRITE | PIOMMU_PROT_DEVICE,
         0x00400000000006c7ull},
        {S2_32, 0, READ_WRITE, 0x00400000000007ffull},
        {S2_32, 0, READ | PIOMMU_PROT_EXECUTE_ALL, 0x000000000000077full},
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct piommu_pgtable_config config = config_of(cases[i].format, 4096, 40, 40);
        struct piommu_walker_result result;
        struct pgt *p;

        config.flags = cases[i].flags;
        p = open_table(&config);
        map(p, 0x12345000, 0xab00000000ull, 4096, cases[i].prot);
        assert_true(hardware_translates(p, 0x12345000, &result));
        assert_int_equal(result.descriptor, 0xab00000000ull | cases[i].descriptor);
        close_table(p);
    }
}

/* All but AttrIndx, which the library may choose. */
static void test_known_descriptors_of_stage_1(void **state)
{
    static const struct {
        enum piommu_pgtable_format format;
        uint32_t flags;
        piommu_prot prot;
        uint64_t descriptor;
    } cases[] = {
        {S1_64, 0, READ_WRITE, 0x0060000000000f43ull},
        {S1_64, 0, READ, 0x0060000000000fc3ull},
        {S1_64, 0, READ_WRITE | PIOMMU_PROT_PRIVILEGED, 0x0060000000000f03ull},
        {S1_64, 0, READ | PIOMMU_PROT_PRIVILEGED, 0x0060000000000f83ull},
        {S1_64, 0, READ_WRITE | PIOMMU_PROT_GLOBAL, 0x0060000000000743ull},
        {S1_64, 0, READ_WRITE | PIOMMU_PROT_DEVICE, 0x0060000000000e43ull},
        {S1_64, 0, READ | PIOMMU_PROT_EXECUTE, 0x0020000000000fc3ull},
        {S1_64, 0, READ | PIOMMU_PROT_EXECUTE_PRIVILEGED, 0x0040000000000fc3ull},
        {S1_64, 0, READ | PIOMMU_PROT_EXECUTE_ALL, 0x0000000000000fc3ull},
        {S1_64, 0, READ | PIOMMU_PROT_SOFTWARE(5), 0x0560000000000fc3ull},
        {S1_64, PIOMMU_PGTABLE_NON_SECURE, READ, 0x0060000000000fe3ull},
        {S1_32, 0, READ, 0x0060000000000fc3ull},
        {S1_32, 0, READ | PIOMMU_PROT_EXECUTE, 0x0020000000000fc3ull},
        {S1_32, 0, READ | PIOMMU_PROT_EXECUTE_ALL, 0x0000000000000fc3ull},
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct piommu_pgtable_config config = config_of(cases[i].format, 4096, 32, 40);
        struct piommu_walker_result result;
        struct pgt *p;

        config.flags = cases[i].flags;
        p = open_table(&config);
        map(p, 0x12345000, 0xab00000000ull, 4096, cases[i].prot);
        assert_true(hardware_translates(p, 0x12345000, &result));
        assert_int_equal(result.descriptor & ~0x1cull, 0xab00000000ull | cases[i].descriptor);
        close_table(p);
    }
}

static void test_unknown_flags_are_refused_before_all_else(void **state)
{
    struct piommu_pgtable_config config = stage2_config(39, 40);
    struct pgt *p = open_table(&config);

    (void)state;
    for (unsigned int bit = 13; bit < 32; bit++) {
        map_fails(p, 0, 0, 4096, READ | 1u << bit, -PIOMMU_EINVAL);
        /* It cannot be expressed, and lies outside, but first of all it does not exist. */
        map_fails(p, 0, TIB, 4096, READ | PIOMMU_PROT_GLOBAL | 1u << bit, -PIOMMU_EINVAL);
    }
    map_fails(p, 0, TIB, 4096, READ | PIOMMU_PROT_GLOBAL, -PIOMMU_ERANGE);
    map_fails(p, 0, TIB, 4096, PIOMMU_PROT_GLOBAL, -PIOMMU_EINVAL);
    map_fails(p, 0, 0, 4096, READ | PIOMMU_PROT_GLOBAL, -PIOMMU_EOPNOTSUPP);
    close_table(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_prot_of_64_bit_stage_1_is_expressed_exactly_or_refused),
        cmocka_unit_test(test_each_prot_of_64_bit_stage_2_is_expressed_exactly_or_refused),
        cmocka_unit_test(test_each_prot_of_tables_with_52_bits_is_expressed_exactly_or_refused),
        cmocka_unit_test(test_each_prot_of_32_bit_tables_is_expressed_exactly_or_refused),
        cmocka_unit_test(test_known_descriptors_of_stage_2),
        cmocka_unit_test(test_known_descriptors_of_stage_1),
        cmocka_unit_test(test_unknown_flags_are_refused_before_all_else),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
