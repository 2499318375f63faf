/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Dirty tracking. The writes are those of the walker, which notes them in the descriptors as
 * hardware does.
 */

#include "pgtable_fixture.h"

#include <stdlib.h>
#include <string.h>

static const struct kind kinds[] = {
    {S1_64, 4096, 48, 48, 0, 0},
    {S1_64, 4096, 40, 48, PIOMMU_PGTABLE_TTBR1 | PIOMMU_PGTABLE_CONTIGUOUS, 0},
    {S1_64, 4096, 48, 52, PIOMMU_PGTABLE_CONTIGUOUS, 0},
    {S2_64, 4096, 40, 40, 0, 0},
    {S2_64, 4096, 40, 40, PIOMMU_PGTABLE_CONTIGUOUS | PIOMMU_PGTABLE_XNX, 0},
    {S1_64, 16384, 40, 48, PIOMMU_PGTABLE_CONTIGUOUS, 0},
    {S2_64, 65536, 40, 48, PIOMMU_PGTABLE_CONTIGUOUS | PIOMMU_PGTABLE_FORCE_WRITE_BACK, 0},
    {S1_64, 4096, 48, 48, PIOMMU_PGTABLE_DISJOINT | PIOMMU_PGTABLE_CONTIGUOUS, 0},
    {S2_64, 4096, 40, 40, PIOMMU_PGTABLE_DISJOINT, 0},
};

static void need_atomics(void)
{
    if (!stores_at_once()) {
        skip();
    }
}

static struct pgt *open_kind(const struct kind *kind)
{
    struct piommu_pgtable_config config = config_of_kind(kind);
    struct pgt *p;

    config.flags |= PIOMMU_PGTABLE_DIRTY;
    p = open_table(&config);
    p->may_track = true;
    p->may_change_access = true;
    p->has_tlb = false;
    return p;
}

/* ---- What devices do ---- */

static bool device_writes(struct pgt *p, uint64_t input)
{
    static const struct piommu_walker_access writing = {.write = true};
    struct piommu_walker_result result;

    piommu_walker_translate(&p->regime, &p->memory, input, &writing, &result);
    return result.fault == PIOMMU_WALKER_FAULT_NONE;
}

static bool device_reads(struct pgt *p, uint64_t input)
{
    static const struct piommu_walker_access reading = {.read = true};
    struct piommu_walker_result result;

    piommu_walker_translate(&p->regime, &p->memory, input, &reading, &result);
    return result.fault == PIOMMU_WALKER_FAULT_NONE;
}

static void sync_changes(struct pgt *p, struct piommu_gather *gather)
{
    p->unsynced = true;
    sync_gather(p, gather);
}

static void track(struct pgt *p, bool on)
{
    struct piommu_gather gather;

    piommu_gather_init(&gather);
    fake_os_forbid(p->os, FAKE_OS_FORBID_ALLOCATION | FAKE_OS_FORBID_FREE);
    assert_int_equal(piommu_pgtable_track_dirty(p->table, on, &gather), 0);
    fake_os_forbid(p->os, 0);
    sync_changes(p, &gather);
}

static uint64_t read_dirty(struct pgt *p, uint64_t iova, uint64_t size, uint64_t unit,
                           uint8_t *bitmap)
{
    uint64_t dirty = 0x5a5a5a5a5a5a5a5aull;

    fake_os_forbid(p->os, FAKE_OS_FORBID_ALLOCATION | FAKE_OS_FORBID_FREE);
    assert_int_equal(
        piommu_pgtable_read_dirty(p->table, iova, size, unit, bitmap, false, NULL, &dirty), 0);
    fake_os_forbid(p->os, 0);
    return dirty;
}

static uint64_t clear_dirty(struct pgt *p, uint64_t iova, uint64_t size, uint64_t unit,
                            uint8_t *bitmap)
{
    struct piommu_gather gather;
    uint64_t dirty = 0x5a5a5a5a5a5a5a5aull;

    piommu_gather_init(&gather);
    fake_os_forbid(p->os, FAKE_OS_FORBID_ALLOCATION | FAKE_OS_FORBID_FREE);
    assert_int_equal(
        piommu_pgtable_read_dirty(p->table, iova, size, unit, bitmap, true, &gather, &dirty), 0);
    fake_os_forbid(p->os, 0);
    assert_int_equal(gather.pending, dirty != 0);
    sync_changes(p, &gather);
    return dirty;
}

static bool is_set(const uint8_t *bitmap, size_t bit)
{
    return (bitmap[bit / 8] >> (bit % 8) & 1) != 0;
}

/* ---- Tracking ---- */

static void test_tracked_leaves_are_clean_until_a_device_writes(void **state)
{
    (void)state;
    need_atomics();
    for (size_t k = 0; k < COUNT_OF(kinds); k++) {
        struct pgt *p = open_kind(&kinds[k]);
        uint64_t granule = p->info.granule;
        uint64_t base = base_of(p);
        uint8_t bitmap[4] = {0};

        map(p, base, 0, 5 * granule, READ_WRITE);
        map(p, base + 8 * granule, 0, 2 * granule, READ);
        /* Not tracked: nothing is noted. */
        assert_true(device_writes(p, base));
        assert_int_equal(read_dirty(p, base, 16 * granule, granule, bitmap), 0);
        track(p, true);
        assert_int_equal(read_dirty(p, base, 16 * granule, granule, bitmap), 0);
        assert_int_equal(bitmap[0] | bitmap[1], 0);
        /* Reading is no writing. Who may not write still cannot. */
        assert_true(device_reads(p, base));
        assert_false(device_writes(p, base + 8 * granule));
        assert_int_equal(read_dirty(p, base, 16 * granule, granule, bitmap), 0);
        assert_true(device_writes(p, base + 3 * granule + 17));
        assert_true(device_writes(p, base + 4 * granule + (granule - 1)));
        assert_true(device_writes(p, base));
        verify(p);
        assert_int_equal(read_dirty(p, base, 16 * granule, granule, bitmap), 3 * granule);
        assert_int_equal(bitmap[0], 0x19);
        assert_int_equal(bitmap[1], 0);
        /* Looking does not change it; clearing does. */
        bitmap[0] = 0;
        assert_int_equal(clear_dirty(p, base, 16 * granule, granule, bitmap), 3 * granule);
        assert_int_equal(bitmap[0], 0x19);
        bitmap[0] = 0;
        assert_int_equal(clear_dirty(p, base, 16 * granule, granule, bitmap), 0);
        assert_int_equal(bitmap[0], 0);
        verify(p);
        assert_true(device_writes(p, base + granule));
        assert_int_equal(clear_dirty(p, base, 16 * granule, granule, NULL), granule);
        assert_int_equal(read_dirty(p, base, 16 * granule, granule, bitmap), 0);
        close_table(p);
    }
}

static void test_what_is_mapped_later_is_tracked_as_well(void **state)
{
    (void)state;
    need_atomics();
    for (size_t k = 0; k < COUNT_OF(kinds); k++) {
        struct pgt *p = open_kind(&kinds[k]);
        uint64_t granule = p->info.granule;
        uint64_t base = base_of(p);
        uint64_t leaf = p->info.leaf_sizes & ~(granule | (granule - 1));
        uint8_t bitmap[2] = {0};

        leaf &= 0 - leaf; /* the smallest block */
        track(p, true);
        map(p, base, 0, 3 * granule, READ_WRITE);
        map(p, base + 2 * leaf, leaf, leaf, READ_WRITE | PIOMMU_PROT_DEVICE);
        assert_true(device_writes(p, base + granule));
        assert_true(device_writes(p, base + 2 * leaf + leaf / 3));
        assert_int_equal(read_dirty(p, base, 4 * leaf, leaf, bitmap), leaf + granule);
        assert_int_equal(bitmap[0], 0x05);
        track(p, false);
        /* From now on nothing is noted, whenever it was mapped. */
        assert_int_equal(read_dirty(p, base, 4 * leaf, leaf, bitmap), 0);
        map(p, base + 4 * granule, 0, granule, READ_WRITE);
        assert_true(device_writes(p, base + 4 * granule));
        assert_true(device_writes(p, base));
        assert_int_equal(read_dirty(p, base, 4 * leaf, leaf, bitmap), 0);
        verify(p);
        close_table(p);
    }
}

static void test_leaves_look_the_same_whether_tracked_or_not(void **state)
{
    struct pgt *p;
    struct piommu_translation translation;
    struct piommu_pgtable_walk walk;

    (void)state;
    need_atomics();
    for (size_t k = 0; k < COUNT_OF(kinds); k++) {
        p = open_kind(&kinds[k]);
        map(p, base_of(p), 0, p->info.granule, READ_WRITE | PIOMMU_PROT_SOFTWARE(6));
        map(p, base_of(p) + 4 * p->info.granule, 0, p->info.granule, READ);
        for (unsigned int i = 0; i < 4; i++) {
            const struct piommu_pgtable_step *step;

            if (i == 1) {
                track(p, true);
            } else if (i == 2) {
                assert_true(device_writes(p, base_of(p)));
            } else if (i == 3) {
                track(p, false);
            }
            assert_int_equal(piommu_pgtable_lookup(p->table, base_of(p), &translation), 0);
            assert_int_equal(translation.prot, READ_WRITE | PIOMMU_PROT_SOFTWARE(6));
            assert_int_equal(piommu_pgtable_walk(p->table, base_of(p), &walk), 0);
            step = &walk.steps[walk.count - 1];
            assert_int_equal(step->prot, READ_WRITE | PIOMMU_PROT_SOFTWARE(6));
            assert_int_equal(step->tracked, i == 1 || i == 2);
            assert_int_equal(step->dirty, i == 2);
            assert_int_equal(piommu_pgtable_walk(p->table, base_of(p) + 4 * p->info.granule, &walk),
                             0);
            step = &walk.steps[walk.count - 1];
            assert_int_equal(step->prot, READ);
            assert_false(step->tracked);
            assert_false(step->dirty);
        }
        close_table(p);
    }
}

static void test_switching_gathers_what_it_changes_and_no_more(void **state)
{
    struct pgt *p;
    struct piommu_gather gather;

    (void)state;
    need_atomics();
    p = open_kind(&kinds[0]);
    piommu_gather_init(&gather);
    assert_int_equal(piommu_pgtable_track_dirty(p->table, true, &gather), 0);
    assert_false(gather.pending);
    assert_int_equal(piommu_pgtable_track_dirty(p->table, false, &gather), 0);
    map(p, 0, 0, 4096, READ);
    map(p, GIB, 0, 4096, READ_WRITE);
    map(p, 3 * GIB, 0, GIB, READ_WRITE);
    map(p, 9 * GIB, 0, GIB, READ);
    assert_int_equal(piommu_pgtable_track_dirty(p->table, true, &gather), 0);
    assert_true(gather.pending);
    assert_int_equal(gather.range.first, GIB);
    assert_int_equal(gather.range.last, 4 * GIB - 1);
    sync_changes(p, &gather);
    /* Again: nothing to do, and what is dirty stays dirty. */
    assert_true(device_writes(p, 3 * GIB + 5));
    assert_int_equal(piommu_pgtable_track_dirty(p->table, true, &gather), 0);
    assert_false(gather.pending);
    assert_int_equal(read_dirty(p, 0, 16 * GIB, GIB, NULL), GIB);
    assert_int_equal(piommu_pgtable_track_dirty(p->table, false, &gather), 0);
    sync_changes(p, &gather);
    assert_int_equal(read_dirty(p, 0, 16 * GIB, GIB, NULL), 0);
    close_table(p);
}

static void test_tracking_is_switched_in_portions(void **state)
{
    (void)state;
    need_atomics();
    for (size_t k = 0; k < COUNT_OF(kinds); k++) {
        for (uint32_t budget = 0; budget <= 40; budget = 7 * budget + 3) {
            struct pgt *p = open_kind(&kinds[k]);
            struct piommu_pgtable_cursor cursor = {0};
            struct piommu_gather gather;
            uint64_t granule = p->info.granule;
            uint64_t base = base_of(p);
            unsigned int calls = 0;
            int result;

            piommu_gather_init(&gather);
            /* The observer is slow with large tables and hundreds of calls. */
            p->is_watched = granule == 4096;
            for (unsigned int i = 0; i < 20; i++) {
                map_quickly(p, base + 3 * i * granule, 0, granule, i % 4 == 0 ? READ : READ_WRITE);
            }
            map_quickly(p, base + 256 * granule, 0, 300 * granule, READ_WRITE);
            map_quickly(p, p->info.aperture.last - granule + 1, 0, granule, READ_WRITE);
            do {
                result = piommu_pgtable_track_dirty_some(p->table, true, budget, &gather, &cursor);
                assert_true(result == 0 || result == -PIOMMU_EAGAIN);
                calls++;
                assert_true(calls < 100000);
                if (calls == 1) {
                    /* Mappings come and go meanwhile: those ahead of the cursor, and behind. */
                    map_quickly(p, base + granule, 0, granule, READ_WRITE);
                    map_quickly(p, base + 200 * granule, 0, granule, READ_WRITE);
                }
                if (calls == 2) {
                    verify(p);
                }
            } while (result == -PIOMMU_EAGAIN);
            sync_changes(p, &gather);
            /* All that can be written is tracked now. */
            for (unsigned int i = 0; i < 20; i++) {
                device_writes(p, base + 3 * i * granule);
            }
            assert_true(device_writes(p, base + granule));
            assert_true(device_writes(p, base + 200 * granule));
            assert_true(device_writes(p, p->info.aperture.last));
            for (unsigned int i = 0; i < 300; i++) {
                assert_true(device_writes(p, base + (256 + i) * granule));
            }
            assert_int_equal(read_dirty(p, base, 1024 * granule, granule, NULL),
                             (15 + 2 + 300) * granule);
            assert_int_equal(
                read_dirty(p, p->info.aperture.last - granule + 1, granule, granule, NULL),
                granule);
            cursor = (struct piommu_pgtable_cursor){0};
            do {
                result = piommu_pgtable_track_dirty_some(p->table, false, budget, &gather, &cursor);
            } while (result == -PIOMMU_EAGAIN);
            assert_int_equal(result, 0);
            sync_changes(p, &gather);
            assert_int_equal(read_dirty(p, base, 1024 * granule, granule, NULL), 0);
            close_table(p);
        }
    }
}

/* ---- Reading ---- */

static void test_units_may_be_larger_or_smaller_than_leaves(void **state)
{
    struct pgt *p;
    uint8_t bitmap[2048];

    (void)state;
    need_atomics();
    p = open_kind(&kinds[0]);
    track(p, true);
    map(p, 0, 0, 16 * 4096, READ_WRITE);
    map(p, 2 * MIB, 2 * MIB, 4 * MIB, READ_WRITE);
    assert_true(device_writes(p, 0x3000));
    assert_true(device_writes(p, 4 * MIB + 123));

    /* A page each: the whole block is dirty. */
    memset(bitmap, 0, sizeof(bitmap));
    assert_int_equal(read_dirty(p, 0, 8 * MIB, 4096, bitmap), 4096 + 2 * MIB);
    for (size_t i = 0; i < 2048; i++) {
        assert_int_equal(is_set(bitmap, i), i == 3 || (i >= 1024 && i < 1536));
    }
    /* 16 KiB each, 64 KiB each, 2 MiB each, 4 MiB each, all. */
    memset(bitmap, 0, sizeof(bitmap));
    assert_int_equal(read_dirty(p, 0, 8 * MIB, 16384, bitmap), 4096 + 2 * MIB);
    for (size_t i = 0; i < 512; i++) {
        assert_int_equal(is_set(bitmap, i), i == 0 || (i >= 256 && i < 384));
    }
    memset(bitmap, 0, sizeof(bitmap));
    assert_int_equal(read_dirty(p, 0, 8 * MIB, 2 * MIB, bitmap), 4096 + 2 * MIB);
    assert_int_equal(bitmap[0], 0x05);
    bitmap[0] = 0;
    assert_int_equal(read_dirty(p, 0, 8 * MIB, 4 * MIB, bitmap), 4096 + 2 * MIB);
    assert_int_equal(bitmap[0], 0x03);
    bitmap[0] = 0;
    assert_int_equal(read_dirty(p, 0, 8 * MIB, 1ull << 63, bitmap), 4096 + 2 * MIB);
    assert_int_equal(bitmap[0], 0x01);
    /* Units count from the start of the range, wherever that is. */
    memset(bitmap, 0, sizeof(bitmap));
    assert_int_equal(read_dirty(p, 0x3000, 8 * MIB, 16384, bitmap), 4096 + 2 * MIB);
    assert_true(is_set(bitmap, 0));
    assert_true(is_set(bitmap, (4 * MIB - 0x3000) / 16384));
    assert_false(is_set(bitmap, (4 * MIB - 0x3000) / 16384 - 1));
    assert_true(is_set(bitmap, (6 * MIB - 0x3000 - 1) / 16384));
    assert_false(is_set(bitmap, (6 * MIB - 0x3000 - 1) / 16384 + 1));
    close_table(p);
}

static void test_a_part_of_a_leaf_counts_for_the_part(void **state)
{
    struct pgt *p;
    uint8_t bitmap[2] = {0};

    (void)state;
    need_atomics();
    p = open_kind(&kinds[0]);
    track(p, true);
    map(p, 2 * MIB, 2 * MIB, 2 * MIB, READ_WRITE);
    assert_true(device_writes(p, 2 * MIB));
    assert_int_equal(read_dirty(p, 3 * MIB, 3 * 4096, 4096, bitmap), 3 * 4096);
    assert_int_equal(bitmap[0], 0x07);
    assert_int_equal(read_dirty(p, 4 * MIB - 4096, 8192, 4096, bitmap + 1), 4096);
    assert_int_equal(bitmap[1], 0x01);
    assert_int_equal(read_dirty(p, MIB, MIB + 4096, MIB, NULL), 4096);
    /* Made clean as a whole, and gathered as a whole. */
    {
        struct piommu_gather gather;
        uint64_t dirty;

        piommu_gather_init(&gather);
        assert_int_equal(
            piommu_pgtable_read_dirty(p->table, 3 * MIB, 4096, 4096, NULL, true, &gather, &dirty),
            0);
        assert_int_equal(dirty, 4096);
        assert_true(gather.pending);
        assert_true(gather.range.first <= 2 * MIB && gather.range.last >= 4 * MIB - 1);
        sync_changes(p, &gather);
    }
    assert_int_equal(read_dirty(p, 0, 8 * MIB, 4096 * 64, NULL), 0);
    close_table(p);
}

static void test_no_bit_is_cleared_and_none_beyond_the_range_is_touched(void **state)
{
    struct pgt *p;
    uint8_t bitmap[4] = {0xa0, 0x00, 0x5a, 0x5a};

    (void)state;
    need_atomics();
    p = open_kind(&kinds[3]);
    track(p, true);
    map(p, 0, 0, 32 * 4096, READ_WRITE);
    for (unsigned int i = 0; i < 32; i++) {
        assert_true(device_writes(p, i * 4096));
    }
    /* Ten pages; then three of two pages, of which the last is in part outside. */
    assert_int_equal(read_dirty(p, 0, 10 * 4096, 4096, bitmap), 10 * 4096);
    assert_int_equal(bitmap[0], 0xff);
    assert_int_equal(bitmap[1], 0x03);
    assert_int_equal(bitmap[2], 0x5a);
    memset(bitmap, 0, 2);
    assert_int_equal(clear_dirty(p, 4096, 5 * 4096, 8192, bitmap), 5 * 4096);
    assert_int_equal(bitmap[0], 0x07);
    assert_int_equal(bitmap[1], 0x00);
    bitmap[0] = 0xf8;
    assert_int_equal(read_dirty(p, 4096, 5 * 4096, 8192, bitmap), 0);
    assert_int_equal(bitmap[0], 0xf8);
    assert_int_equal(read_dirty(p, 0, 32 * 4096, 4096, NULL), 27 * 4096);
    close_table(p);
}

static void test_clearing_gathers_just_what_was_dirty(void **state)
{
    struct pgt *p;

    (void)state;
    need_atomics();
    p = open_kind(&kinds[0]);
    track(p, true);
    map(p, 0, 0, 32 * 4096, READ_WRITE);
    map(p, 4 * MIB, 4 * MIB, 4 * MIB, READ_WRITE);
    for (unsigned int first = 0; first < 20; first += 3) {
        for (unsigned int last = first; last < 32; last += 4) {
            struct piommu_gather gather;
            uint64_t dirty;
            uint64_t expected = first == last ? 4096 : 8192;

            assert_true(device_writes(p, first * 4096));
            assert_true(device_writes(p, last * 4096 + 4095));
            piommu_gather_init(&gather);
            assert_int_equal(
                piommu_pgtable_read_dirty(p->table, 0, 8 * MIB, 4096, NULL, false, &gather, &dirty),
                0);
            assert_int_equal(dirty, expected);
            assert_false(gather.pending);
            assert_int_equal(
                piommu_pgtable_read_dirty(p->table, 0, 8 * MIB, 4096, NULL, true, &gather, &dirty),
                0);
            assert_int_equal(dirty, expected);
            assert_true(gather.pending);
            assert_int_equal(gather.range.first, first * 4096);
            assert_int_equal(gather.range.last, last * 4096 + 4095);
            sync_changes(p, &gather);
        }
    }
    /* Only what lies in the range asked for. */
    {
        struct piommu_gather gather;
        uint64_t dirty;

        piommu_gather_init(&gather);
        assert_true(device_writes(p, 0));
        assert_true(device_writes(p, 5 * 4096));
        assert_true(device_writes(p, 9 * 4096));
        assert_true(device_writes(p, 4 * MIB));
        assert_true(device_writes(p, 6 * MIB));
        assert_int_equal(
            piommu_pgtable_read_dirty(p->table, 4096, 8 * 4096, 4096, NULL, true, &gather, &dirty),
            0);
        assert_int_equal(dirty, 4096);
        assert_int_equal(gather.range.first, 5 * 4096);
        assert_int_equal(gather.range.last, 6 * 4096 - 1);
        sync_changes(p, &gather);
        assert_int_equal(
            piommu_pgtable_read_dirty(p->table, MIB, 5 * MIB, 4096, NULL, true, &gather, &dirty),
            0);
        assert_int_equal(dirty, 2 * MIB);
        assert_int_equal(gather.range.first, 4 * MIB);
        assert_int_equal(gather.range.last, 6 * MIB - 1);
        sync_changes(p, &gather);
        assert_int_equal(read_dirty(p, 0, 8 * MIB, 4096, NULL), 2 * MIB + 8192);
    }
    close_table(p);
}

static void test_holes_and_untracked_leaves_are_clean(void **state)
{
    struct pgt *p;
    uint8_t bitmap[64] = {0};

    (void)state;
    need_atomics();
    p = open_kind(&kinds[0]);
    track(p, true);
    map(p, 0, 0, 4096, READ);
    map(p, 700 * GIB, 0, 4096, READ_WRITE);
    map(p, (1ull << 48) - 4096, 0, 4096, READ_WRITE);
    assert_int_equal(read_dirty(p, 0, 1ull << 48, 1ull << 40, bitmap), 0);
    assert_true(device_writes(p, (1ull << 48) - 1));
    assert_int_equal(read_dirty(p, 0, 1ull << 48, 1ull << 40, bitmap), 4096);
    for (unsigned int i = 0; i < 256; i++) {
        assert_int_equal(is_set(bitmap, i), i == 255);
    }
    assert_int_equal(clear_dirty(p, 0, 1ull << 48, 1ull << 40, bitmap), 4096);
    close_table(p);
}

static void test_members_of_a_group_are_dirty_together(void **state)
{
    (void)state;
    need_atomics();
    for (size_t k = 0; k < COUNT_OF(kinds); k++) {
        struct pgt *p = open_kind(&kinds[k]);
        uint64_t group = p->info.contiguous_sizes & (0 - p->info.contiguous_sizes);
        uint64_t granule = p->info.granule;
        uint64_t base = base_of(p);

        if (group == 0) {
            close_table(p);
            continue;
        }
        track(p, true);
        map(p, base + group, 0, 2 * group, READ_WRITE);
        for (uint64_t at = 0; at < group; at += group / 4 + granule) {
            uint8_t bitmap[128] = {0};
            uint64_t member = at & ~(granule - 1);

            assert_true(device_writes(p, base + group + member + 3));
            verify(p);
            assert_int_equal(read_dirty(p, base, 4 * group, granule, bitmap + 0), group);
            memset(bitmap, 0, sizeof(bitmap));
            assert_int_equal(read_dirty(p, base, 4 * group, group, bitmap), group);
            assert_int_equal(bitmap[0], 0x02);
            /* Through any part of it. */
            assert_int_equal(read_dirty(p, base + 2 * group - granule, granule, granule, NULL),
                             granule);
            assert_int_equal(clear_dirty(p, base + group + granule, granule, granule, NULL),
                             granule);
            assert_int_equal(read_dirty(p, base, 4 * group, granule, NULL), 0);
            verify(p);
        }
        close_table(p);
    }
}

static void read_fails(struct pgt *p, uint64_t iova, uint64_t size, uint64_t unit, int error)
{
    struct piommu_gather gather;
    uint8_t bitmap[8] = {0};
    uint64_t dirty;

    piommu_gather_init(&gather);
    assert_int_equal(
        piommu_pgtable_read_dirty(p->table, iova, size, unit, bitmap, true, &gather, &dirty),
        error);
    assert_false(gather.pending);
    for (unsigned int i = 0; i < 8; i++) {
        assert_int_equal(bitmap[i], 0);
    }
}

static void test_malformed_ranges_and_units_are_refused(void **state)
{
    struct pgt *p;

    (void)state;
    need_atomics();
    p = open_kind(&kinds[3]);
    track(p, true);
    map(p, 0, 0, 4096, READ_WRITE);
    assert_true(device_writes(p, 0));
    read_fails(p, 0, 0, 4096, -PIOMMU_EINVAL);
    read_fails(p, 1, 4096, 4096, -PIOMMU_EINVAL);
    read_fails(p, 0, 4097, 4096, -PIOMMU_EINVAL);
    read_fails(p, 0, 4096, 0, -PIOMMU_EINVAL);
    read_fails(p, 0, 4096, 2048, -PIOMMU_EINVAL);
    read_fails(p, 0, 4096, 4096 * 3, -PIOMMU_EINVAL);
    read_fails(p, 0, 4096, 4097, -PIOMMU_EINVAL);
    read_fails(p, TIB, 4096, 4096, -PIOMMU_ERANGE);
    read_fails(p, 0, TIB + 4096, TIB, -PIOMMU_ERANGE);
    read_fails(p, 4096, 0 - 4096ull, 1ull << 63, -PIOMMU_ERANGE);
    assert_int_equal(read_dirty(p, 0, 4096, 4096, NULL), 4096);
    close_table(p);
}

static void test_without_the_flag_there_is_no_tracking(void **state)
{
    struct piommu_pgtable_config config = stage1_config(40);
    struct pgt *p = open_table(&config);
    struct piommu_pgtable_cursor cursor = {0};
    struct piommu_gather gather;
    uint64_t dirty;

    (void)state;
    piommu_gather_init(&gather);
    map(p, 0, 0, 4096, READ_WRITE);
    assert_int_equal(piommu_pgtable_track_dirty(p->table, true, &gather), -PIOMMU_EOPNOTSUPP);
    assert_int_equal(piommu_pgtable_track_dirty(p->table, false, &gather), -PIOMMU_EOPNOTSUPP);
    assert_int_equal(piommu_pgtable_track_dirty_some(p->table, true, 1, &gather, &cursor),
                     -PIOMMU_EOPNOTSUPP);
    assert_int_equal(piommu_pgtable_read_dirty(p->table, 0, 4096, 4096, NULL, false, NULL, &dirty),
                     -PIOMMU_EOPNOTSUPP);
    assert_int_equal(
        piommu_pgtable_read_dirty(p->table, 0, 4096, 4096, NULL, true, &gather, &dirty),
        -PIOMMU_EOPNOTSUPP);
    assert_false(gather.pending);
    verify(p);
    close_table(p);
}

/* ---- Together with other calls ---- */

static void test_protect_takes_tracked_leaves_along(void **state)
{
    (void)state;
    need_atomics();
    for (size_t k = 0; k < COUNT_OF(kinds); k++) {
        struct pgt *p = open_kind(&kinds[k]);
        uint64_t granule = p->info.granule;
        uint64_t base = base_of(p);
        struct piommu_gather gather;
        uint64_t changed;

        piommu_gather_init(&gather);
        map(p, base, 0, 2 * granule, READ_WRITE);
        map(p, base + 2 * granule, 0, granule, READ);
        track(p, true);
        assert_true(device_writes(p, base));
        /* Another number, the same rights: dirty stays dirty, and clean clean. */
        assert_int_equal(piommu_pgtable_protect(p->table, base, 2 * granule,
                                                READ_WRITE | PIOMMU_PROT_SOFTWARE(1), &gather,
                                                &changed),
                         0);
        sync_changes(p, &gather);
        assert_int_equal(read_dirty(p, base, 4 * granule, granule, NULL), granule);
        /* Who may write from now on is tracked from now on. */
        assert_int_equal(piommu_pgtable_protect(p->table, base + 2 * granule, granule, READ_WRITE,
                                                &gather, &changed),
                         0);
        sync_changes(p, &gather);
        assert_int_equal(read_dirty(p, base, 4 * granule, granule, NULL), granule);
        assert_true(device_writes(p, base + 2 * granule));
        assert_int_equal(read_dirty(p, base, 4 * granule, granule, NULL), 2 * granule);
        /* And who may not, is not. */
        assert_int_equal(
            piommu_pgtable_protect(p->table, base, 3 * granule, READ, &gather, &changed), 0);
        assert_int_equal(changed, 3 * granule);
        sync_changes(p, &gather);
        assert_int_equal(read_dirty(p, base, 4 * granule, granule, NULL), 0);
        assert_false(device_writes(p, base));
        assert_true(device_reads(p, base));
        track(p, false);
        assert_false(device_writes(p, base));
        assert_int_equal(
            piommu_pgtable_protect(p->table, base, 3 * granule, READ_WRITE, &gather, &changed), 0);
        sync_changes(p, &gather);
        assert_true(device_writes(p, base));
        assert_int_equal(read_dirty(p, base, 4 * granule, granule, NULL), 0);
        close_table(p);
    }
}

static int forget(void *cookie, const struct piommu_range *range)
{
    struct pgt *p = cookie;

    stale_tlb_invalidate(p->tlb, range->first, range->last, false);
    return 0;
}

static void test_what_a_cut_leaves_is_tracked_and_dirty(void **state)
{
    (void)state;
    need_atomics();
    for (unsigned int flags = 0; flags < 2; flags++) {
        const struct kind kind = {
            S1_64,
            4096,
            48,
            48,
            PIOMMU_PGTABLE_CONTIGUOUS | (flags == 0 ? 0 : PIOMMU_PGTABLE_BBM_LEVEL_2),
            0};
        struct pgt *p = open_kind(&kind);
        struct piommu_gather gather;
        uint64_t unmapped;

        p->may_resize = flags != 0;
        piommu_gather_init(&gather);
        track(p, true);
        map(p, 4 * MIB, 4 * MIB, 2 * MIB, READ_WRITE);
        map(p, 0x20000, 0x40000, 0x10000, READ_WRITE);
        assert_int_equal(
            piommu_pgtable_unmap_cut(p->table, 5 * MIB, 4096, forget, p, &gather, &unmapped), 0);
        assert_int_equal(
            piommu_pgtable_unmap_cut(p->table, 0x24000, 4096, forget, p, &gather, &unmapped), 0);
        /* A device may have written to what stays before it was broken: all of it counts. */
        assert_int_equal(read_dirty(p, 0, 16 * MIB, 4096, NULL), 2 * MIB + 0x10000 - 8192);
        assert_int_equal(clear_dirty(p, 0, 16 * MIB, 4096, NULL), 2 * MIB + 0x10000 - 8192);
        assert_int_equal(read_dirty(p, 0, 16 * MIB, 4096, NULL), 0);
        assert_true(device_writes(p, 4 * MIB));
        assert_true(device_writes(p, 6 * MIB - 1));
        assert_false(device_writes(p, 5 * MIB));
        assert_true(device_writes(p, 0x20000));
        assert_false(device_writes(p, 0x24000));
        /* What is noted is noted for pages now, or for groups of them. */
        assert_int_equal(read_dirty(p, 4 * MIB, 4096, 4096, NULL), 4096);
        assert_int_equal(read_dirty(p, 6 * MIB - 4096, 4096, 4096, NULL), 4096);
        assert_int_equal(read_dirty(p, 5 * MIB + 4096, 4096, 4096, NULL), 0);
        assert_int_equal(read_dirty(p, 0x20000, 0x10000, 4096, NULL), 4096);
        verify(p);
        close_table(p);
    }
}

static void test_an_adopted_table_can_be_read_but_not_cleared(void **state)
{
    struct piommu_pgtable_config config = stage1_config(40);
    struct fake_os_options options = {.scattered = true};
    struct piommu_pgtable *adopted;
    struct piommu_gather gather;
    uint8_t bitmap[1] = {0};
    uint64_t dirty;
    struct pgt *p;

    (void)state;
    need_atomics();
    config.flags = PIOMMU_PGTABLE_DIRTY;
    p = open_table_with(&config, &options);
    p->may_track = true;
    p->may_change_access = true;
    track(p, true);
    map(p, 0, 0, 4 * 4096, READ_WRITE);
    assert_true(device_writes(p, 8192));
    assert_int_equal(
        piommu_pgtable_adopt(p->host, &config,
                             fake_os_pointer(p->os, p->info.root_physical, p->info.root_size),
                             p->info.root_physical, &adopted),
        0);
    assert_int_equal(
        piommu_pgtable_read_dirty(adopted, 0, 8 * 4096, 4096, bitmap, false, NULL, &dirty), 0);
    assert_int_equal(dirty, 4096);
    assert_int_equal(bitmap[0], 0x04);
    piommu_gather_init(&gather);
    assert_int_equal(
        piommu_pgtable_read_dirty(adopted, 0, 8 * 4096, 4096, bitmap, true, &gather, &dirty),
        -PIOMMU_EOPNOTSUPP);
    piommu_pgtable_destroy(adopted);
    assert_int_equal(read_dirty(p, 0, 8 * 4096, 4096, NULL), 4096);
    close_table(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tracked_leaves_are_clean_until_a_device_writes),
        cmocka_unit_test(test_what_is_mapped_later_is_tracked_as_well),
        cmocka_unit_test(test_leaves_look_the_same_whether_tracked_or_not),
        cmocka_unit_test(test_switching_gathers_what_it_changes_and_no_more),
        cmocka_unit_test(test_tracking_is_switched_in_portions),
        cmocka_unit_test(test_units_may_be_larger_or_smaller_than_leaves),
        cmocka_unit_test(test_a_part_of_a_leaf_counts_for_the_part),
        cmocka_unit_test(test_no_bit_is_cleared_and_none_beyond_the_range_is_touched),
        cmocka_unit_test(test_clearing_gathers_just_what_was_dirty),
        cmocka_unit_test(test_holes_and_untracked_leaves_are_clean),
        cmocka_unit_test(test_members_of_a_group_are_dirty_together),
        cmocka_unit_test(test_malformed_ranges_and_units_are_refused),
        cmocka_unit_test(test_without_the_flag_there_is_no_tracking),
        cmocka_unit_test(test_protect_takes_tracked_leaves_along),
        cmocka_unit_test(test_what_a_cut_leaves_is_tracked_and_dirty),
        cmocka_unit_test(test_an_adopted_table_can_be_read_but_not_cleared),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
