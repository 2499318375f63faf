/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Unmapping that cuts leaves: what stays, and in which order hardware sees it. A probe stands where
 * the owner would invalidate, and another at each barrier.
 */

#include "pgtable_fixture.h"

#include <stdlib.h>
#include <string.h>

/* What is mapped: each piece one leaf or group, or several that follow each other. */
#define MOST_PIECES 4u

struct scene {
    struct pgt *p;
    struct greedy_piece pieces[MOST_PIECES];
    size_t count;
    piommu_prot prot;
    uint64_t cut; /* start of the range to unmap */
    uint64_t size;

    /* The probe. */
    int answer; /* what the invalidation returns */
    unsigned int invalidations;
    struct piommu_range invalidated;
};

static bool is_in(uint64_t address, uint64_t start, uint64_t size)
{
    return address - start < size;
}

static bool is_cut_away(const struct scene *scene, uint64_t input)
{
    return is_in(input, scene->cut, scene->size);
}

static const struct greedy_piece *piece_at(const struct scene *scene, uint64_t input)
{
    for (size_t i = 0; i < scene->count; i++) {
        if (is_in(input, scene->pieces[i].iova, scene->pieces[i].size)) {
            return &scene->pieces[i];
        }
    }
    return NULL;
}

/* The bytes of the pieces that lie in the range, and all bytes. */
static uint64_t bytes_inside(const struct scene *scene)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < scene->count; i++) {
        const struct greedy_piece *piece = &scene->pieces[i];
        uint64_t last = piece->iova + (piece->size - 1);
        uint64_t cut_last = scene->cut + (scene->size - 1);
        uint64_t from = piece->iova > scene->cut ? piece->iova : scene->cut;
        uint64_t to = last < cut_last ? last : cut_last;

        bytes += from <= to ? to - from + 1 : 0;
    }
    return bytes;
}

static uint64_t bytes_mapped(const struct scene *scene)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < scene->count; i++) {
        bytes += scene->pieces[i].size;
    }
    return bytes;
}

/* A leaf of the table after the cut: nothing else than before, and nothing of the range. */
struct check {
    struct scene *scene;
    uint64_t bytes;
};

static bool check_leaf(void *ctx, const struct piommu_walker_leaf *leaf)
{
    struct check *check = ctx;
    struct scene *scene = check->scene;
    uint64_t size = 1ull << leaf->shift;
    const struct greedy_piece *piece = piece_at(scene, leaf->input);

    assert_non_null(piece);
    assert_true(is_in(leaf->input + size - 1, piece->iova, piece->size));
    assert_int_equal(leaf->output, piece->physical + (leaf->input - piece->iova));
    assert_false(is_cut_away(scene, leaf->input));
    assert_false(is_cut_away(scene, leaf->input + size - 1));
    assert_false(is_in(scene->cut, leaf->input, size));
    assert_true(attributes_mean(scene->p, &leaf->attributes, scene->prot));
    check->bytes += size;
    return true;
}

static void check_leaves(struct scene *scene, uint64_t expected_bytes)
{
    struct check check = {.scene = scene};

    assert_true(
        piommu_walker_for_each_leaf(&scene->p->regime, &scene->p->memory, check_leaf, &check));
    assert_int_equal(check.bytes, expected_bytes);
}

/* ---- What hardware sees meanwhile ---- */

/*
 * Addresses around the ends of the range and of the pieces. `see` gets each one that is mapped
 * before the cut.
 */
static void for_each_sample(struct scene *scene,
                            void (*see)(struct scene *scene, uint64_t input,
                                        const struct piommu_walker_result *result))
{
    uint64_t granule = scene->p->info.granule;
    uint64_t samples[4 * MOST_PIECES + 4];
    size_t count = 0;

    samples[count++] = scene->cut;
    samples[count++] = scene->cut - granule;
    samples[count++] = scene->cut + scene->size;
    samples[count++] = scene->cut + scene->size - granule;
    for (size_t i = 0; i < scene->count; i++) {
        const struct greedy_piece *piece = &scene->pieces[i];

        samples[count++] = piece->iova;
        samples[count++] = piece->iova + granule;
        samples[count++] = piece->iova + piece->size / 2;
        samples[count++] = piece->iova + piece->size - granule;
    }
    for (size_t i = 0; i < count; i++) {
        struct piommu_walker_result result;

        if (piece_at(scene, samples[i]) != NULL) {
            hardware_translates(scene->p, samples[i], &result);
            see(scene, samples[i], &result);
        }
    }
}

/* Does a leaf of the original mapping that contains the address reach into the range, in part? */
static bool is_of_a_cut_leaf(const struct scene *scene, uint64_t input)
{
    const struct greedy_piece *piece = piece_at(scene, input);
    uint64_t sizes = scene->p->info.leaf_sizes | scene->p->info.contiguous_sizes;
    uint64_t done = 0;

    /* The leaf of the greedy rule. */
    for (;;) {
        uint64_t odd = (piece->iova + done) | (piece->physical + done);
        uint64_t size = 0;
        uint64_t first = piece->iova + done;

        for (unsigned int bit = 12; bit < 64; bit++) {
            if ((sizes >> bit & 1) != 0 && (odd & ((1ull << bit) - 1)) == 0 &&
                piece->size - done >= 1ull << bit) {
                size = 1ull << bit;
            }
        }
        if (is_in(input, first, size)) {
            bool starts_inside = is_cut_away(scene, first);
            bool ends_inside = is_cut_away(scene, first + size - 1);
            bool touches = starts_inside || ends_inside || is_in(scene->cut, first, size);

            return touches && !(starts_inside && ends_inside);
        }
        done += size;
    }
}

static void expect_right_output(struct scene *scene, uint64_t input,
                                const struct piommu_walker_result *result)
{
    const struct greedy_piece *piece = piece_at(scene, input);

    if (result->fault == PIOMMU_WALKER_FAULT_NONE) {
        assert_int_equal(result->output, piece->physical + (input - piece->iova));
        assert_true(attributes_mean(scene->p, &result->attributes, scene->prot));
    }
}

/* Level 2 of FEAT_BBM is of use only to who can replace a descriptor at once. */
static bool splits_live_leaves(const struct pgt *p)
{
    return stores_at_once() && (p->info.flags & PIOMMU_PGTABLE_BBM_LEVEL_2) != 0;
}

/* At each barrier: never a wrong translation; a leaf that is not concerned is always there. */
static void see_at_barrier(struct scene *scene, uint64_t input,
                           const struct piommu_walker_result *result)
{
    bool splits_live = splits_live_leaves(scene->p);

    expect_right_output(scene, input, result);
    if (!is_cut_away(scene, input) && (splits_live || !is_of_a_cut_leaf(scene, input))) {
        assert_int_equal(result->fault, PIOMMU_WALKER_FAULT_NONE);
    }
}

static void probe_barrier(struct pgt *p, void *ctx)
{
    (void)p;
    for_each_sample(ctx, see_at_barrier);
}

/* During the invalidation: what has to be cut is absent, so that the TLB cannot fetch it again. */
static void see_at_invalidation(struct scene *scene, uint64_t input,
                                const struct piommu_walker_result *result)
{
    bool splits_live = splits_live_leaves(scene->p);

    expect_right_output(scene, input, result);
    if (is_cut_away(scene, input)) {
        assert_int_equal(result->fault, PIOMMU_WALKER_FAULT_TRANSLATION);
    } else if (is_of_a_cut_leaf(scene, input) && !splits_live) {
        assert_int_equal(result->fault, PIOMMU_WALKER_FAULT_TRANSLATION);
    } else {
        assert_int_equal(result->fault, PIOMMU_WALKER_FAULT_NONE);
    }
}

static int probe_invalidation(void *cookie, const struct piommu_range *range)
{
    struct scene *scene = cookie;
    struct pgt *p = scene->p;

    scene->invalidations++;
    scene->invalidated = *range;
    assert_true(range->first <= range->last);
    for_each_sample(scene, see_at_invalidation);
    /* Visible to a walker that does not snoop, too. */
    assert_int_equal(stale_descriptors(p), 0);
    if (scene->answer == 0) {
        fill_tlb(p);
        stale_tlb_invalidate(p->tlb, range->first, range->last, false);
        fill_tlb(p);
    }
    return scene->answer;
}

/* ---- Playing a scene ---- */

struct cut_kind {
    enum piommu_pgtable_format format;
    uint32_t granule;
    uint8_t input;
    uint8_t output;
    uint32_t flags;
    uint64_t leaf_sizes;
    uint64_t leaf; /* size of the leaf or group that is cut */
};

static void open_scene(struct scene *scene, const struct cut_kind *kind, bool coherent)
{
    struct piommu_pgtable_config config =
        config_of(kind->format, kind->granule, kind->input, kind->output);

    memset(scene, 0, sizeof(*scene));
    config.flags = possible_flags(kind->flags);
    config.leaf_sizes = kind->leaf_sizes;
    config.coherent_walk = coherent;
    scene->prot = READ_WRITE | PIOMMU_PROT_SOFTWARE(3);
    scene->p = open_table(&config);
    scene->p->may_resize = (kind->flags & PIOMMU_PGTABLE_BBM_LEVEL_2) != 0;
    /* The TLB is slow with thousands of leaves. */
    scene->p->has_tlb = kind->granule == 4096 || kind->leaf < 8 * MIB;
}

static void map_pieces(struct scene *scene)
{
    struct pgt *p = scene->p;

    for (size_t i = 0; i < scene->count; i++) {
        map_quickly(p, scene->pieces[i].iova, scene->pieces[i].physical, scene->pieces[i].size,
                    scene->prot);
    }
    verify(p);
}

static int cut(struct scene *scene, struct piommu_gather *gather, uint64_t *unmapped)
{
    struct pgt *p = scene->p;
    int result;

    *unmapped = 0x5a5a5a5a5a5a5a5aull;
    scene->invalidations = 0;
    p->at_barrier = probe_barrier;
    p->at_barrier_ctx = scene;
    result = piommu_pgtable_unmap_cut(p->table, scene->cut, scene->size, probe_invalidation, scene,
                                      gather, unmapped);
    p->at_barrier = NULL;
    return result;
}

static void play(struct scene *scene)
{
    struct pgt *p = scene->p;
    struct piommu_gather gather;
    uint64_t unmapped;
    uint64_t requests = p->requests;
    uint64_t to_cut;
    uint64_t inside = bytes_inside(scene);

    piommu_gather_init(&gather);
    assert_int_equal(
        piommu_pgtable_plan(p->table, scene->cut, scene->size, p->info.granule, NULL, &to_cut), 0);
    if (inside == 0) {
        assert_int_equal(cut(scene, &gather, &unmapped), -PIOMMU_ENOENT);
        assert_int_equal(unmapped, 0);
        assert_int_equal(scene->invalidations, 0);
        assert_int_equal(p->requests, requests);
    } else {
        assert_int_equal(cut(scene, &gather, &unmapped), 0);
        assert_int_equal(unmapped, inside);
        assert_int_equal(scene->invalidations, 1);
        assert_true(p->requests - requests <= to_cut);
    }
    assert_false(gather.pending);
    assert_null(gather.tables);
    check_leaves(scene, bytes_mapped(scene) - inside);
    /* The TLB holds just what is left: all that was removed has been invalidated. */
    verify(p);
}

static void play_and_close(struct scene *scene)
{
    map_pieces(scene);
    play(scene);
    unmap_all(scene->p);
    /* An unmap of a disjoint table takes out nothing if it finds nothing. */
    assert_true(scene->p->linked_count == 0 ||
                (is_disjoint(&scene->p->info) && bytes_mapped(scene) == bytes_inside(scene)));
    close_table(scene->p);
}

static const struct cut_kind kinds[] = {
    {S1_64, 4096, 48, 48, 0, 0, 2 * MIB},
    {S1_64, 4096, 48, 48, 0, 0, GIB},
    {S1_64, 4096, 48, 48, PIOMMU_PGTABLE_TTBR1, 0, GIB},
    {S1_64, 4096, 48, 48, 0, 4 * KIB + 2 * MIB, 2 * MIB},
    {S1_64, 4096, 52, 52, 0, 0, 512 * GIB},
    {S2_64, 4096, 40, 40, 0, 0, GIB},
    {S2_64, 4096, 43, 48, PIOMMU_PGTABLE_CONCATENATE, 0, GIB},
    {S1_64, 16384, 40, 48, 0, 0, 32 * MIB},
    {S2_64, 16384, 48, 52, 0, 0, 64 * GIB},
    {S1_64, 65536, 40, 48, 0, 0, 512 * MIB},
    {S2_64, 65536, 48, 52, 0, 0, 4 * TIB},
    {S1_32, 4096, 32, 40, 0, 0, GIB},
    {S2_32, 4096, 40, 40, 0, 0, 2 * MIB},
    /* Groups. */
    {S1_64, 4096, 48, 48, PIOMMU_PGTABLE_CONTIGUOUS, 0, 64 * KIB},
    {S1_64, 4096, 48, 48, PIOMMU_PGTABLE_CONTIGUOUS, 0, 32 * MIB},
    {S1_64, 4096, 48, 48, PIOMMU_PGTABLE_CONTIGUOUS, 0, 16 * GIB},
    {S2_64, 16384, 40, 48, PIOMMU_PGTABLE_CONTIGUOUS, 0, 2 * MIB},
    {S1_64, 16384, 40, 48, PIOMMU_PGTABLE_CONTIGUOUS, 0, GIB},
    {S2_64, 65536, 44, 48, PIOMMU_PGTABLE_CONTIGUOUS, 0, 2 * MIB},
    {S1_64, 65536, 44, 48, PIOMMU_PGTABLE_CONTIGUOUS | PIOMMU_PGTABLE_TTBR1, 0, 16 * GIB},
    /* With level 2 of FEAT_BBM. */
    {S1_64, 4096, 48, 48, PIOMMU_PGTABLE_BBM_LEVEL_2, 0, 2 * MIB},
    {S1_64, 4096, 48, 48, PIOMMU_PGTABLE_BBM_LEVEL_2, 0, GIB},
    {S2_64, 4096, 40, 40, PIOMMU_PGTABLE_BBM_LEVEL_2 | PIOMMU_PGTABLE_CONTIGUOUS, 0, 64 * KIB},
    {S2_64, 4096, 40, 40, PIOMMU_PGTABLE_BBM_LEVEL_2 | PIOMMU_PGTABLE_CONTIGUOUS, 0, 32 * MIB},
    {S1_64, 16384, 40, 48, PIOMMU_PGTABLE_BBM_LEVEL_2, 0, 32 * MIB},
    {S1_64, 65536, 40, 48, PIOMMU_PGTABLE_BBM_LEVEL_2, 0, 512 * MIB},
    {S2_32, 4096, 40, 40, PIOMMU_PGTABLE_BBM_LEVEL_2, 0, GIB},
    {S1_64, 4096, 48, 48, PIOMMU_PGTABLE_DISJOINT, 0, GIB},
    {S2_64, 4096, 40, 40, PIOMMU_PGTABLE_DISJOINT | PIOMMU_PGTABLE_CONTIGUOUS, 0, 64 * KIB},
};

/* Ranges relative to a leaf, in terms of its size and of the granule. */
static size_t ranges_of(uint64_t leaf, uint64_t granule, struct piommu_segment *ranges)
{
    const struct piommu_segment all[] = {
        {0, granule},                  /* the first */
        {leaf - granule, granule},     /* the last */
        {leaf / 2, granule},           /* one in the middle */
        {granule, granule},            /* near an end */
        {granule, leaf - granule},     /* all but the first */
        {0, leaf - granule},           /* all but the last */
        {granule, leaf - 2 * granule}, /* both ends in one leaf */
        {leaf / 2, leaf / 2},          /* halves */
        {0, leaf / 2},
        {0, leaf},                                    /* nothing is cut */
        {0 - granule, 2 * granule},                   /* a hole, and the first */
        {leaf / 2 - granule, leaf / 2 + 2 * granule}, /* an end, and a hole */
    };

    memcpy(ranges, all, sizeof(all));
    return COUNT_OF(all);
}

#define MOST_RANGES 16

static void test_what_lies_outside_stays_mapped(void **state)
{
    struct piommu_segment ranges[MOST_RANGES];

    (void)state;
    for (size_t k = 0; k < COUNT_OF(kinds); k++) {
        size_t count = ranges_of(kinds[k].leaf, kinds[k].granule, ranges);

        for (size_t r = 0; r < count; r++) {
            struct scene scene;

            if (is_left_out()) {
                continue;
            }
            open_scene(&scene, &kinds[k], r % 2 == 0);
            scene.pieces[0] =
                (struct greedy_piece){base_of(scene.p) + kinds[k].leaf, 0, kinds[k].leaf};
            scene.count = 1;
            scene.cut = scene.pieces[0].iova + ranges[r].physical;
            scene.size = ranges[r].size;
            if (kinds[k].leaf > scene.p->info.aperture.last - scene.pieces[0].iova) {
                scene.pieces[0].iova -= kinds[k].leaf;
                scene.cut -= kinds[k].leaf;
            }
            play_and_close(&scene);
        }
    }
}

static void test_two_leaves_are_cut_and_those_between_are_removed(void **state)
{
    (void)state;
    for (size_t k = 0; k < COUNT_OF(kinds); k++) {
        uint64_t leaf = kinds[k].leaf;
        uint64_t granule = kinds[k].granule;

        if (kinds[k].input < 40 || leaf > 16 * GIB) {
            continue;
        }
        for (unsigned int variant = 0; variant < 4; variant++) {
            struct scene scene;

            open_scene(&scene, &kinds[k], variant % 2 != 0);
            /* Side by side, or apart; the output is not consecutive over the pieces. */
            scene.pieces[0] = (struct greedy_piece){base_of(scene.p) + leaf, 4 * leaf, leaf};
            scene.pieces[1] = (struct greedy_piece){base_of(scene.p) + 2 * leaf, 2 * leaf, granule};
            scene.pieces[2] = (struct greedy_piece){base_of(scene.p) + 3 * leaf, 0, 2 * leaf};
            scene.count = 3;
            scene.cut = scene.pieces[0].iova + (variant / 2 == 0 ? granule : leaf - granule);
            scene.size = scene.pieces[2].iova + leaf + 2 * granule - scene.cut;
            play_and_close(&scene);
        }
    }
}

static void test_the_rest_of_a_leaf_is_mapped_by_the_sizes_in_use(void **state)
{
    /* 2 MiB are not in use: a table of pages for each of them. */
    const struct cut_kind kind = {S1_64, 4096, 48, 48, 0, 4 * KIB + GIB, GIB};
    struct scene scene;
    uint64_t requests;

    (void)state;
    open_scene(&scene, &kind, true);
    scene.p->has_tlb = false;
    scene.p->is_watched = false;
    scene.pieces[0] = (struct greedy_piece){5 * GIB, GIB, GIB};
    scene.count = 1;
    scene.cut = 5 * GIB + 4 * MIB + 4096;
    scene.size = 6 * MIB;
    map_pieces(&scene);
    requests = scene.p->requests;
    play(&scene);
    /* Of 512 tables of pages two lie within the hole; and one above them. */
    assert_int_equal(scene.p->requests - requests, 1 + 512 - 2);
    unmap_all(scene.p);
    close_table(scene.p);
}

static void test_the_rest_of_a_leaf_is_mapped_by_the_largest_leaves(void **state)
{
    struct pgt *p;
    struct scene scene;
    const struct cut_kind kind = {S1_64, 4096, 48, 48, 0, 0, GIB};
    struct piommu_gather gather;
    uint64_t unmapped;

    (void)state;
    open_scene(&scene, &kind, true);
    p = scene.p;
    scene.pieces[0] = (struct greedy_piece){4 * GIB, 8 * GIB, GIB};
    scene.count = 1;
    scene.cut = 4 * GIB + 6 * MIB + 8192;
    scene.size = 4096;
    map_pieces(&scene);
    piommu_gather_init(&gather);
    assert_int_equal(cut(&scene, &gather, &unmapped), 0);
    expect_counts(p, 511, 511, 0);
    assert_int_equal(p->requests, 1 + 1 + 2);
    close_table(p);
}

/* ---- Failures ---- */

static void test_running_out_of_memory_changes_nothing(void **state)
{
    (void)state;
    for (size_t k = 0; k < COUNT_OF(kinds); k++) {
        uint64_t leaf = kinds[k].leaf;
        uint64_t granule = kinds[k].granule;
        struct scene scene;
        struct piommu_gather gather;
        uint64_t unmapped;
        unsigned int nth = 1;

        if (kinds[k].input < 40) {
            continue;
        }
        open_scene(&scene, &kinds[k], true);
        scene.pieces[0] = (struct greedy_piece){base_of(scene.p) + leaf, 0, leaf};
        scene.pieces[1] = (struct greedy_piece){base_of(scene.p) + 2 * leaf, 4 * leaf, leaf};
        scene.count = 4 * leaf < 1ull << kinds[k].output ? 2 : 1;
        scene.cut = base_of(scene.p) + 2 * leaf - granule;
        scene.size = scene.count == 2 ? 2 * granule : granule;
        map_pieces(&scene);
        for (;; nth++) {
            uint64_t bytes = fake_os_bytes_outstanding(scene.p->os);
            size_t leaves = count_leaves(scene.p);
            int result;

            piommu_gather_init(&gather);
            fake_os_fail_call(scene.p->os, nth, true);
            result = cut(&scene, &gather, &unmapped);
            fake_os_fail_call(scene.p->os, 0, false);
            if (result == 0) {
                break;
            }
            assert_int_equal(result, -PIOMMU_ENOMEM);
            assert_int_equal(unmapped, 0);
            assert_int_equal(scene.invalidations, 0);
            assert_false(gather.pending);
            assert_int_equal(fake_os_bytes_outstanding(scene.p->os), bytes);
            assert_int_equal(count_leaves(scene.p), leaves);
            verify(scene.p);
        }
        check_leaves(&scene, bytes_mapped(&scene) - scene.size);
        verify(scene.p);
        close_table(scene.p);
    }
}

static void test_a_failed_invalidation_leaves_all_of_it_to_the_gather(void **state)
{
    struct piommu_segment ranges[MOST_RANGES];

    (void)state;
    for (size_t k = 0; k < COUNT_OF(kinds); k++) {
        uint64_t leaf = kinds[k].leaf;
        size_t count = ranges_of(leaf, kinds[k].granule, ranges);

        if (kinds[k].input < 40 || (kinds[k].flags & PIOMMU_PGTABLE_BBM_LEVEL_2) != 0) {
            continue;
        }
        for (size_t r = 0; r < count; r++) {
            struct scene scene;
            struct piommu_gather gather;
            uint64_t unmapped;
            uint64_t first;

            open_scene(&scene, &kinds[k], r % 2 == 0);
            first = base_of(scene.p) + 2 * leaf;
            scene.pieces[0] = (struct greedy_piece){first, 0, leaf};
            scene.pieces[1] = (struct greedy_piece){base_of(scene.p), 2 * leaf, kinds[k].granule};
            scene.count = 2;
            scene.cut = first + ranges[r].physical;
            scene.size = ranges[r].size;
            scene.answer = r % 3 == 0 ? -PIOMMU_EIO : -PIOMMU_ETIMEDOUT;
            map_pieces(&scene);
            piommu_gather_init(&gather);
            assert_int_equal(cut(&scene, &gather, &unmapped), scene.answer);
            scene.p->unsynced = true;
            assert_int_equal(scene.invalidations, 1);
            assert_int_equal(unmapped, bytes_inside(&scene));
            assert_true(gather.pending);
            /* The leaf as a whole may still be in a TLB. */
            assert_true(gather.range.first <= first && gather.range.last >= first + (leaf - 1));
            EXPECT_LEAVES(scene.p, {base_of(scene.p), 2 * leaf, kinds[k].granule});
            sync_gather(scene.p, &gather);
            assert_false(stale_tlb_holds_input(scene.p->tlb, first, first + (leaf - 1)));
            /* From now on it can be mapped again. */
            map(scene.p, first, 0, leaf, READ);
            unmap_all(scene.p);
            assert_int_equal(scene.p->linked_count, 0);
            close_table(scene.p);
        }
    }
}

static void test_a_failed_invalidation_with_bbm_level_2_is_gathered_as_well(void **state)
{
    const struct cut_kind kind = {S1_64, 4096, 48, 48, PIOMMU_PGTABLE_BBM_LEVEL_2, 0, GIB};
    struct scene scene;
    struct piommu_gather gather;
    uint64_t unmapped;

    (void)state;
    open_scene(&scene, &kind, true);
    scene.pieces[0] = (struct greedy_piece){2 * GIB, 0, GIB};
    scene.count = 1;
    scene.cut = 2 * GIB + 4096;
    scene.size = 4096;
    scene.answer = -PIOMMU_EIO;
    map_pieces(&scene);
    piommu_gather_init(&gather);
    assert_int_equal(cut(&scene, &gather, &unmapped), -PIOMMU_EIO);
    scene.p->unsynced = true;
    assert_int_equal(unmapped, 4096);
    assert_true(gather.pending);
    assert_true(gather.range.first <= 2 * GIB && gather.range.last >= 3 * GIB - 1);
    verify(scene.p);
    sync_gather(scene.p, &gather);
    close_table(scene.p);
}

static int never(void *cookie, const struct piommu_range *range)
{
    (void)cookie;
    (void)range;
    fail_msg("there was nothing to invalidate");
    return 0;
}

static void cut_fails(struct pgt *p, uint64_t iova, uint64_t size, int error)
{
    struct piommu_gather gather;
    uint64_t unmapped = 1;

    piommu_gather_init(&gather);
    fake_os_forbid(p->os, FAKE_OS_FORBID_FREE);
    assert_int_equal(
        piommu_pgtable_unmap_cut(p->table, iova, size, never, NULL, &gather, &unmapped), error);
    fake_os_forbid(p->os, 0);
    assert_int_equal(unmapped, 0);
    assert_false(gather.pending);
    verify(p);
}

static void test_what_is_malformed_or_not_mapped_is_refused(void **state)
{
    struct piommu_pgtable_config config = stage1_config(40);
    struct pgt *p = open_table(&config);

    (void)state;
    map(p, 4 * MIB, 0, 2 * MIB, READ);
    for (unsigned int bit = 0; bit < 12; bit++) {
        cut_fails(p, 4 * MIB + (1ull << bit), 4096, -PIOMMU_EINVAL);
        cut_fails(p, 4 * MIB, 4096 + (1ull << bit), -PIOMMU_EINVAL);
        cut_fails(p, 4 * MIB, 1ull << bit, -PIOMMU_EINVAL);
    }
    cut_fails(p, 4 * MIB, 0, -PIOMMU_EINVAL);
    cut_fails(p, TIB, 4096, -PIOMMU_ERANGE);
    cut_fails(p, 0, TIB + 4096, -PIOMMU_ERANGE);
    cut_fails(p, TIB - 4096, 8192, -PIOMMU_ERANGE);
    cut_fails(p, 4096, 0 - 4096ull, -PIOMMU_ERANGE);
    cut_fails(p, 0, 4 * MIB, -PIOMMU_ENOENT);
    cut_fails(p, 6 * MIB, TIB - 6 * MIB, -PIOMMU_ENOENT);
    EXPECT_LEAVES(p, {4 * MIB, 0, 2 * MIB});
    close_table(p);
}

/* ---- Gathers and empty tables ---- */

static void test_a_gather_in_use_keeps_what_it_has(void **state)
{
    const struct cut_kind kind = {S1_64, 4096, 48, 48, 0, 0, 2 * MIB};
    struct scene scene;
    struct piommu_gather gather;
    uint64_t unmapped;
    struct pgt *p;

    (void)state;
    open_scene(&scene, &kind, true);
    p = scene.p;
    map(p, 9 * GIB, 0, 4096, scene.prot);
    scene.pieces[0] = (struct greedy_piece){2 * GIB, 0, 2 * MIB};
    scene.count = 1;
    scene.cut = 2 * GIB + MIB;
    scene.size = 4096;
    map_pieces(&scene);
    piommu_gather_init(&gather);
    unmap(p, 9 * GIB, 4096, &gather, 4096);
    piommu_pgtable_detach_empty(p->table, &gather);
    assert_int_equal(cut(&scene, &gather, &unmapped), 0);
    assert_int_equal(unmapped, 4096);
    assert_true(gather.pending);
    assert_true(gather.range.first <= 9 * GIB && gather.range.last >= 9 * GIB + 4095);
    assert_int_equal(statistics_of(p).tables_freed, 0);
    sync_gather(p, &gather);
    assert_int_equal(statistics_of(p).tables_freed, 2);
    check_leaves(&scene, 2 * MIB - 4096);
    close_table(p);
}

static void test_tables_that_a_cut_empties_are_freed_by_the_next_sync(void **state)
{
    struct piommu_pgtable_config config = stage1_config(48);
    struct pgt *p = open_table(&config);
    struct scene scene = {.p = p, .prot = READ};
    struct piommu_gather gather;
    uint64_t unmapped;

    (void)state;
    scene.pieces[0] = (struct greedy_piece){2 * MIB - 8192, 6 * MIB - 8192, 8192};
    scene.pieces[1] = (struct greedy_piece){2 * MIB, 6 * MIB, 2 * MIB};
    scene.count = 2;
    scene.cut = 2 * MIB - 8192;
    scene.size = MIB + 8192;
    map_pieces(&scene);
    assert_int_equal(p->linked_count, 3);
    piommu_gather_init(&gather);
    assert_int_equal(cut(&scene, &gather, &unmapped), 0);
    assert_int_equal(unmapped, MIB + 8192);
    check_leaves(&scene, MIB);
    verify(p);
    sync_gather(p, &gather);
    unmap_and_sync(p, 3 * MIB, MIB, MIB);
    assert_int_equal(p->linked_count, 0);
    close_table(p);
}

static void test_cut_again_and_again(void **state)
{
    (void)state;
    for (unsigned int flags = 0; flags < 2; flags++) {
        struct piommu_pgtable_config config = stage1_config(48);
        struct scene scene = {.prot = READ};
        struct piommu_gather gather;
        uint64_t left = GIB;
        uint64_t at = 0;
        struct pgt *p;

        config.flags = flags == 0 ? 0 : PIOMMU_PGTABLE_CONTIGUOUS;
        p = open_table(&config);
        scene.p = p;
        p->has_tlb = false;
        scene.pieces[0] = (struct greedy_piece){16 * GIB, 32 * GIB, GIB};
        scene.count = 1;
        map_pieces(&scene);
        piommu_gather_init(&gather);
        for (unsigned int i = 0; i < 12; i++) {
            struct piommu_range gone = {16 * GIB + at, 16 * GIB + at + 4096 * (i + 1) - 1};
            uint64_t unmapped;

            assert_int_equal(piommu_pgtable_unmap_cut(
                                 p->table, gone.first, gone.last - gone.first + 1,
                                 probe_invalidation, &(struct scene){.p = p}, &gather, &unmapped),
                             0);
            assert_int_equal(unmapped, gone.last - gone.first + 1);
            left -= unmapped;
            at += 87 * MIB + 5 * 4096;
            verify(p);
        }
        unmap_and_sync(p, 0, 1ull << 48, left);
        assert_int_equal(p->linked_count, 0);
        close_table(p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_lies_outside_stays_mapped),
        cmocka_unit_test(test_two_leaves_are_cut_and_those_between_are_removed),
        cmocka_unit_test(test_the_rest_of_a_leaf_is_mapped_by_the_sizes_in_use),
        cmocka_unit_test(test_the_rest_of_a_leaf_is_mapped_by_the_largest_leaves),
        cmocka_unit_test(test_running_out_of_memory_changes_nothing),
        cmocka_unit_test(test_a_failed_invalidation_leaves_all_of_it_to_the_gather),
        cmocka_unit_test(test_a_failed_invalidation_with_bbm_level_2_is_gathered_as_well),
        cmocka_unit_test(test_what_is_malformed_or_not_mapped_is_refused),
        cmocka_unit_test(test_a_gather_in_use_keeps_what_it_has),
        cmocka_unit_test(test_tables_that_a_cut_empties_are_freed_by_the_next_sync),
        cmocka_unit_test(test_cut_again_and_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
