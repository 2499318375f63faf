/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* Changing permissions in place. */

#include "pgtable_fixture.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define ANY_ACCESS (PIOMMU_PROT_READ | PIOMMU_PROT_WRITE | PIOMMU_PROT_EXECUTE_ALL)
/* What a protect may name, and what it has to leave alone. */
#define CHANGED (PIOMMU_PROT_ACCESS | PIOMMU_PROT_SOFTWARE_MASK)
#define KEPT    (PIOMMU_PROT_ALL & ~CHANGED)

struct protect_kind {
    enum piommu_pgtable_format format;
    uint32_t granule;
    uint8_t input;
    uint8_t output;
    bool coherent;
    uint32_t flags;
};

static const struct protect_kind kinds[] = {
    {S1_64, 4096, 48, 48, true, 0},
    {S1_64, 4096, 48, 48, false, PIOMMU_PGTABLE_CONTIGUOUS},
    {S1_64, 4096, 40, 48, true, PIOMMU_PGTABLE_TTBR1 | PIOMMU_PGTABLE_NON_SECURE},
    {S1_64, 4096, 48, 52, true, PIOMMU_PGTABLE_CONTIGUOUS},
    {S1_64, 16384, 40, 48, false, 0},
    {S1_64, 65536, 40, 52, true, PIOMMU_PGTABLE_CONTIGUOUS},
    {S2_64, 4096, 40, 40, true, PIOMMU_PGTABLE_CONTIGUOUS},
    {S2_64, 4096, 40, 40, false, PIOMMU_PGTABLE_XNX},
    {S2_64, 16384, 40, 52, true, PIOMMU_PGTABLE_FORCE_WRITE_BACK | PIOMMU_PGTABLE_XNX},
    {S1_32, 4096, 32, 40, true, 0},
    {S1_32, 4096, 31, 40, false, PIOMMU_PGTABLE_TTBR1},
    {S2_32, 4096, 40, 40, true, 0},
    {S1_64, 4096, 48, 48, true, PIOMMU_PGTABLE_DISJOINT | PIOMMU_PGTABLE_CONTIGUOUS},
    {S2_64, 4096, 40, 40, false, PIOMMU_PGTABLE_DISJOINT},
};

static struct pgt *open_kind(const struct protect_kind *kind)
{
    struct piommu_pgtable_config config =
        config_of(kind->format, kind->granule, kind->input, kind->output);
    struct pgt *p;

    config.flags = possible_flags(kind->flags);
    config.coherent_walk = kind->coherent;
    p = open_table(&config);
    p->may_change_access = true;
    return p;
}

/* ---- A protect under observation ---- */

struct watch {
    uint64_t inputs[8];
    uint64_t outputs[8];
    size_t count;
    piommu_prot before;
    piommu_prot after;
};

/* Whenever somebody could look: the translation is there, with the old rights or the new ones. */
static void see_old_or_new(struct pgt *p, void *ctx)
{
    struct watch *watch = ctx;

    for (size_t i = 0; i < watch->count; i++) {
        struct piommu_walker_result result;

        assert_true(hardware_translates(p, watch->inputs[i], &result));
        assert_int_equal(result.output, watch->outputs[i]);
        assert_true(attributes_mean(p, &result.attributes, watch->before) ||
                    attributes_mean(p, &result.attributes, watch->after));
    }
}

static int protect(struct pgt *p, uint64_t iova, uint64_t size, piommu_prot prot,
                   struct piommu_gather *gather, uint64_t *changed)
{
    int result;

    *changed = 0x5a5a5a5a5a5a5a5aull;
    fake_os_forbid(p->os, FAKE_OS_FORBID_ALLOCATION | FAKE_OS_FORBID_FREE | FAKE_OS_FORBID_WAIT);
    result = piommu_pgtable_protect(p->table, iova, size, prot, gather, changed);
    fake_os_forbid(p->os, 0);
    return result;
}

static void sync_protect(struct pgt *p, struct piommu_gather *gather)
{
    p->unsynced = true;
    sync_gather(p, gather);
}

static void protect_fails(struct pgt *p, uint64_t iova, uint64_t size, piommu_prot prot, int error)
{
    struct piommu_gather gather;
    uint64_t changed;

    piommu_gather_init(&gather);
    p->may_change_access = false;
    assert_int_equal(protect(p, iova, size, prot, &gather, &changed), error);
    assert_int_equal(changed, 0);
    assert_false(gather.pending);
    verify(p);
    p->may_change_access = true;
}

/* ---- Every prot ---- */

/* Kinds of memory that the format has, with access that goes with all of them. */
static const piommu_prot memory_kinds[] = {
    READ,
    READ | PIOMMU_PROT_NONCACHEABLE,
    READ | PIOMMU_PROT_DEVICE,
    READ | PIOMMU_PROT_SHARE_NONE,
    READ | PIOMMU_PROT_SHARE_OUTER,
    READ | PIOMMU_PROT_GLOBAL,
    READ | PIOMMU_PROT_GLOBAL | PIOMMU_PROT_DEVICE,
};

static int expected_result(const struct pgt *p, piommu_prot prot)
{
    if ((prot & ~CHANGED) != 0 || (prot & ANY_ACCESS) == 0) {
        return -PIOMMU_EINVAL;
    }
    return prot_is_expressible(&p->info, prot) ? 0 : -PIOMMU_EOPNOTSUPP;
}

/* A page, the smallest block and, where there is one, the smallest group. */
static size_t sizes_to_try(const struct pgt *p, uint64_t *sizes)
{
    size_t count = 0;

    sizes[count++] = p->info.granule;
    for (unsigned int bit = 17; bit < 40; bit++) {
        if ((p->info.leaf_sizes >> bit & 1) != 0) {
            sizes[count++] = 1ull << bit;
            break;
        }
    }
    for (unsigned int bit = 12; bit < 40; bit++) {
        if ((p->info.contiguous_sizes >> bit & 1) != 0) {
            sizes[count++] = 1ull << bit;
            break;
        }
    }
    return count;
}

static void check_protected(struct pgt *p, uint64_t input, uint64_t size, piommu_prot prot)
{
    struct piommu_translation translation;
    struct piommu_walker_result result;

    assert_true(hardware_translates(p, input, &result));
    assert_true(attributes_mean(p, &result.attributes, prot));
    assert_true(hardware_translates(p, input + (size - 1), &result));
    assert_true(attributes_mean(p, &result.attributes, prot));
    assert_int_equal(piommu_pgtable_lookup(p->table, input, &translation), 0);
    assert_int_equal(translation.prot, prot_without_defaults(&p->info, prot));
    assert_int_equal(translation.leaf_size, size);
}

static void protect_with_all(struct pgt *p, uint64_t input, uint64_t output, uint64_t size,
                             piommu_prot start)
{
    struct watch watch = {
        .inputs = {input, input + size / 2, input + size - 1},
        .outputs = {output, output + size / 2, output + size - 1},
        .count = 3,
        .before = start,
        .after = start,
    };

    p->at_barrier = see_old_or_new;
    p->at_barrier_ctx = &watch;
    for (piommu_prot prot = 0; prot <= PIOMMU_PROT_ALL; prot++) {
        struct piommu_gather gather;
        uint64_t changed;
        int expected = expected_result(p, prot);

        /* All sums of the flags that may be named, and some with others. */
        if ((prot & (KEPT | PIOMMU_PROT_SOFTWARE_MASK)) != 0 && prot % 29 != 0) {
            continue;
        }
        piommu_gather_init(&gather);
        watch.after = (watch.before & KEPT) | prot;
        assert_int_equal(protect(p, input, size, prot, &gather, &changed), expected);
        assert_int_equal(changed, expected == 0 ? size : 0);
        assert_int_equal(gather.pending, expected == 0 && watch.after != watch.before);
        if (gather.pending) {
            assert_true(gather.range.first == input && gather.range.last == input + (size - 1));
        }
        assert_int_equal(stale_descriptors(p), 0);
        if (expected == 0) {
            watch.before = watch.after;
        }
        check_protected(p, input, size, watch.before);
    }
    p->at_barrier = NULL;
}

static void test_each_prot_is_expressed_in_place_or_refused(void **state)
{
    (void)state;
    for (size_t k = 0; k < COUNT_OF(kinds); k++) {
        struct pgt *p = open_kind(&kinds[k]);
        uint64_t sizes[3];
        size_t count = sizes_to_try(p, sizes);

        p->has_tlb = false;
        for (size_t i = 0; i < count * COUNT_OF(memory_kinds); i++) {
            uint64_t size = sizes[i % count];
            piommu_prot start = memory_kinds[i / count];
            uint64_t input = base_of(p) + size;

            if (!prot_is_expressible(&p->info, start) || is_left_out()) {
                continue;
            }
            map(p, input, 3 * size, size, start);
            protect_with_all(p, input, 3 * size, size, start);
            verify(p);
            unmap_all(p);
        }
        close_table(p);
    }
}

/* ---- Ranges ---- */

static void test_holes_are_skipped_and_neighbours_left_alone(void **state)
{
    struct piommu_pgtable_config config = stage1_config(48);
    struct pgt *p = open_table(&config);
    struct piommu_gather gather;
    struct piommu_translation translation;
    uint64_t changed;

    (void)state;
    p->may_change_access = true;
    map(p, 0x3000, 0x3000, 4096, READ);
    map(p, 0x5000, 0x5000, 4096, READ_WRITE);
    map(p, 0x6000, 0x6000, 4096, READ | PIOMMU_PROT_DEVICE);
    map(p, 4 * MIB, 0, 2 * MIB, READ);
    map(p, 3 * GIB, 0, GIB, READ | PIOMMU_PROT_SOFTWARE(2));
    map(p, 700 * GIB, 0, 4096, READ);
    map(p, 800 * GIB, 0, 4096, READ);
    piommu_gather_init(&gather);
    assert_int_equal(protect(p, 0x4000, 700 * GIB + 4096 - 0x4000, READ_WRITE, &gather, &changed),
                     0);
    assert_int_equal(changed, 8192 + 2 * MIB + GIB + 4096);
    assert_true(gather.pending);
    /* The page that was so before need not be in it, but the others. */
    assert_true(gather.range.first >= 0x4000 && gather.range.first <= 0x6000);
    assert_int_equal(gather.range.last, 700 * GIB + 4095);
    sync_protect(p, &gather);

    assert_int_equal(piommu_pgtable_lookup(p->table, 0x3000, &translation), 0);
    assert_int_equal(translation.prot, READ);
    assert_int_equal(piommu_pgtable_lookup(p->table, 0x6000, &translation), 0);
    assert_int_equal(translation.prot, READ_WRITE | PIOMMU_PROT_DEVICE);
    assert_int_equal(piommu_pgtable_lookup(p->table, 4 * MIB, &translation), 0);
    assert_int_equal(translation.prot, READ_WRITE);
    assert_int_equal(translation.leaf_size, 2 * MIB);
    assert_int_equal(piommu_pgtable_lookup(p->table, 3 * GIB, &translation), 0);
    assert_int_equal(translation.prot, READ_WRITE);
    assert_int_equal(piommu_pgtable_lookup(p->table, 800 * GIB, &translation), 0);
    assert_int_equal(translation.prot, READ);
    close_table(p);
}

static void test_nothing_is_gathered_where_nothing_changes(void **state)
{
    struct piommu_pgtable_config config = stage2_config(40, 40);
    struct pgt *p = open_table(&config);
    struct piommu_gather gather;
    uint64_t changed;

    (void)state;
    p->may_change_access = true;
    map(p, 0x3000, 0x3000, 3 * 4096, READ | PIOMMU_PROT_SOFTWARE(4));
    map(p, 4 * MIB, 0, 2 * MIB, READ | PIOMMU_PROT_SOFTWARE(4));
    piommu_gather_init(&gather);
    assert_int_equal(protect(p, 0, 6 * MIB, READ | PIOMMU_PROT_SOFTWARE(4), &gather, &changed), 0);
    assert_int_equal(changed, 2 * MIB + 3 * 4096);
    assert_false(gather.pending);
    /* One page in the middle. */
    assert_int_equal(protect(p, 0x4000, 4096, READ_WRITE, &gather, &changed), 0);
    sync_protect(p, &gather);
    assert_int_equal(protect(p, 0, 6 * MIB, READ | PIOMMU_PROT_SOFTWARE(4), &gather, &changed), 0);
    assert_int_equal(changed, 2 * MIB + 3 * 4096);
    assert_true(gather.pending);
    assert_int_equal(gather.range.first, 0x4000);
    assert_int_equal(gather.range.last, 0x4fff);
    sync_protect(p, &gather);
    close_table(p);
}

static void test_what_would_cut_a_leaf_changes_nothing(void **state)
{
    static const struct {
        uint64_t first;
        uint64_t size;
    } cuts[] = {
        {4 * MIB, 4096},
        {4 * MIB, MIB},
        {5 * MIB, MIB},
        {6 * MIB - 4096, 4096},
        {6 * MIB - 4096, MIB},
        {0, 4 * MIB + 4096},
        {0, 6 * MIB - 4096},
        {4 * MIB + 4096, 4 * GIB},
        {0, 3 * GIB + 2 * MIB},
        {3 * GIB + 4096, 10 * GIB},
        /* A group. */
        {0x20000, 0x8000},
        {0x28000, 0x8000},
        {0x10000, 0x1f000},
        {0x2f000, 0x11000},
    };
    struct piommu_pgtable_config config = stage1_config(48);
    struct pgt *p;

    (void)state;
    config.flags = PIOMMU_PGTABLE_CONTIGUOUS;
    p = open_table(&config);
    map(p, 0x5000, 0, 4096, READ);
    map(p, 0x20000, 0x40000, 0x10000, READ);
    map(p, 4 * MIB, 0, 2 * MIB, READ);
    map(p, 3 * GIB, 0, GIB, READ);
    for (size_t i = 0; i < COUNT_OF(cuts); i++) {
        protect_fails(p, cuts[i].first, cuts[i].size, READ_WRITE, -PIOMMU_ECUT);
    }
    EXPECT_LEAVES(p, {0x5000, 0, 4096}, {0x20000, 0x40000, 0x10000}, {4 * MIB, 0, 2 * MIB},
                  {3 * GIB, 0, GIB});
    close_table(p);
}

static void test_what_is_malformed_or_not_mapped_is_refused(void **state)
{
    struct piommu_pgtable_config config = stage1_config(40);
    struct pgt *p = open_table(&config);

    (void)state;
    map(p, 4 * MIB, 0, 2 * MIB, READ);
    for (unsigned int bit = 0; bit < 12; bit++) {
        protect_fails(p, 4 * MIB + (1ull << bit), 4096, READ, -PIOMMU_EINVAL);
        protect_fails(p, 4 * MIB, 1ull << bit, READ, -PIOMMU_EINVAL);
        protect_fails(p, 4 * MIB, 4096 + (1ull << bit), READ, -PIOMMU_EINVAL);
    }
    protect_fails(p, 4 * MIB, 0, READ, -PIOMMU_EINVAL);
    for (unsigned int bit = 5; bit < 32; bit++) {
        if ((1u << bit & PIOMMU_PROT_SOFTWARE_MASK) == 0) {
            protect_fails(p, 4 * MIB, 2 * MIB, READ | 1u << bit, -PIOMMU_EINVAL);
        }
    }
    protect_fails(p, TIB, 4096, READ, -PIOMMU_ERANGE);
    protect_fails(p, 0, TIB + 4096, READ, -PIOMMU_ERANGE);
    protect_fails(p, 4096, 0 - 4096ull, READ, -PIOMMU_ERANGE);
    protect_fails(p, 4 * MIB, 2 * MIB, WRITE, -PIOMMU_EOPNOTSUPP);
    protect_fails(p, 0, 4 * MIB, READ, -PIOMMU_ENOENT);
    protect_fails(p, 6 * MIB, TIB - 6 * MIB, READ, -PIOMMU_ENOENT);
    EXPECT_LEAVES(p, {4 * MIB, 0, 2 * MIB});
    close_table(p);
}

static void test_the_end_of_the_space_can_be_protected(void **state)
{
    (void)state;
    for (size_t k = 0; k < COUNT_OF(kinds); k++) {
        struct pgt *p = open_kind(&kinds[k]);
        uint64_t granule = p->info.granule;
        uint64_t top = p->info.aperture.last - granule + 1;
        struct piommu_gather gather;
        uint64_t changed;

        piommu_gather_init(&gather);
        p->has_tlb = false;
        map(p, top, 0, granule, READ);
        map(p, base_of(p), 0, granule, READ);
        assert_int_equal(protect(p, top, granule, READ_WRITE, &gather, &changed), 0);
        assert_int_equal(changed, granule);
        assert_int_equal(gather.range.last, p->info.aperture.last);
        check_protected(p, top, granule, READ_WRITE);
        check_protected(p, base_of(p), granule, READ);
        assert_int_equal(protect(p, base_of(p), p->info.aperture.last - base_of(p) + 1, READ_WRITE,
                                 &gather, &changed),
                         0);
        assert_int_equal(changed, 2 * granule);
        sync_protect(p, &gather);
        close_table(p);
    }
}

static void test_protect_ends_with_a_write_barrier(void **state)
{
    struct piommu_pgtable_config config = stage1_config(40);
    struct pgt *p = open_table(&config);
    struct piommu_gather gather;
    uint64_t changed;
    uint64_t barriers;

    (void)state;
    p->may_change_access = true;
    map(p, 0, 0, 8 * 4096, READ);
    piommu_gather_init(&gather);
    barriers = p->write_barriers;
    assert_int_equal(protect(p, 0, 8 * 4096, READ_WRITE, &gather, &changed), 0);
    assert_true(p->write_barriers > barriers);
    sync_protect(p, &gather);
    close_table(p);
}

/* ---- Beside a walker ---- */

struct race {
    struct pgt *p;
    uint64_t input;
    uint64_t size;
    atomic_bool is_over;
    atomic_uint seen;
    atomic_uint wrong;
};

/* Reads descriptors as hardware does: all at once. */
static bool read_at_once(void *ctx, uint64_t physical, uint64_t *value)
{
    struct pgt *p = ctx;
    uint64_t *word = fake_os_pointer(p->os, physical, 8);

    if (word == NULL) {
        return false;
    }
    *value = __atomic_load_n(word, __ATOMIC_RELAXED);
    *value = little_endian_word((const uint8_t *)value);
    return true;
}

static void *walk_all_the_time(void *argument)
{
    struct race *race = argument;
    struct piommu_walker_memory memory = {.read64 = read_at_once, .ctx = race->p};
    const struct piommu_walker_access reading = {.read = true};
    uint64_t at = 0;

    while (!race->is_over) {
        struct piommu_walker_result result;

        piommu_walker_translate(&race->p->regime, &memory, race->input + at, &reading, &result);
        if (result.fault != PIOMMU_WALKER_FAULT_NONE || result.output != 16 * MIB + at) {
            race->wrong++;
        }
        race->seen++;
        at = (at + 4096) % race->size;
    }
    return NULL;
}

static void test_no_translation_faults_while_a_walker_looks_on(void **state)
{
    struct piommu_pgtable_config config = stage1_config(39);
    struct race race = {.input = 8 * MIB, .size = 4 * MIB + 64 * 4096};
    struct piommu_gather gather;
    pthread_t thread;

    (void)state;
    if (!stores_at_once()) {
        skip(); /* nothing could read a descriptor at once here */
    }
    race.p = open_table(&config);
    race.p->may_change_access = true;
    race.p->has_tlb = false;
    map(race.p, race.input, 16 * MIB, race.size, READ);
    piommu_gather_init(&gather);
    assert_int_equal(pthread_create(&thread, NULL, walk_all_the_time, &race), 0);
    while (race.seen == 0) {
    }
    for (unsigned int i = 0; i < 4000; i++) {
        uint64_t changed;

        if (piommu_pgtable_protect(race.p->table, race.input, race.size,
                                   i % 2 == 0 ? READ_WRITE | PIOMMU_PROT_SOFTWARE(3) : READ,
                                   &gather, &changed) != 0) {
            race.wrong++;
        }
    }
    race.is_over = true;
    pthread_join(thread, NULL);
    assert_int_equal(race.wrong, 0);
    sync_protect(race.p, &gather);
    close_table(race.p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_prot_is_expressed_in_place_or_refused),
        cmocka_unit_test(test_holes_are_skipped_and_neighbours_left_alone),
        cmocka_unit_test(test_nothing_is_gathered_where_nothing_changes),
        cmocka_unit_test(test_what_would_cut_a_leaf_changes_nothing),
        cmocka_unit_test(test_what_is_malformed_or_not_mapped_is_refused),
        cmocka_unit_test(test_the_end_of_the_space_can_be_protected),
        cmocka_unit_test(test_protect_ends_with_a_write_barrier),
        cmocka_unit_test(test_no_translation_faults_while_a_walker_looks_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
