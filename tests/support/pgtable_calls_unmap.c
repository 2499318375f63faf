/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "pgtable_calls.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* What an unmap of this range means. */
struct removal {
    int error;
    size_t index;  /* of the first leaf in the range */
    size_t behind; /* of the first one behind it */
    uint64_t bytes;
    uint64_t first; /* of all these leaves, whole */
    uint64_t last;
};

static struct removal foresee(struct pgtable_run *run, uint64_t iova, uint64_t size, bool may_cut)
{
    struct pgtable_model *m = &run->m;
    struct removal removal = {.error = rules_judge_range(run->rules, iova, size)};
    uint64_t last = iova + (size - 1);

    if (removal.error != 0) {
        return removal;
    }
    removal.index = model_index(m, iova);
    removal.behind = removal.index;
    while (removal.behind < m->count && m->leaves[removal.behind].first <= last) {
        removal.behind++;
    }
    if (removal.behind == removal.index) {
        removal.error = -PIOMMU_ENOENT;
        return removal;
    }
    removal.bytes = model_mapped_bytes(m, iova, last);
    removal.first = m->leaves[removal.index].first;
    removal.last = m->leaves[removal.behind - 1].last;
    if (!may_cut && (removal.first < iova || removal.last > last)) {
        removal.error = -PIOMMU_ECUT;
        removal.bytes = 0;
    }
    return removal;
}

/* Hardware knows some of what will be removed, and the tables on the way to it. */
static void warm_up(struct pgtable_run *run, const struct removal *removal)
{
    struct pgtable_model *m = &run->m;

    if (removal->behind > removal->index) {
        model_probe(m, m->leaves[removal->index].first);
        model_probe(m, m->leaves[removal->behind - 1].last);
        model_probe(m, m->leaves[(removal->index + removal->behind) / 2].first);
    }
}

static void check_gather_covers(struct pgtable_run *run, uint64_t first, uint64_t last)
{
    const struct piommu_gather *gather = current_gather(run);

    CHECK(gather->pending);
    CHECK(gather->range.first <= first && gather->range.last >= last);
}

/* An error leaves the gather as it was. */
static void check_same_gather(struct pgtable_run *run, const struct piommu_gather *before)
{
    const struct piommu_gather *gather = current_gather(run);

    CHECK(gather->pending == before->pending && gather->tables == before->tables);
    CHECK(!before->pending ||
          (gather->range.first == before->range.first && gather->range.last == before->range.last));
}

static void note_removal(struct pgtable_run *run, const struct removal *removal)
{
    check_gather_covers(run, removal->first, removal->last);
    model_erase(&run->m, removal->index, removal->behind);
    note_removed(run, removal->first, removal->last);
}

/* ---- Tables that an unmap takes out ---- */

/* Nothing may be mapped there before the release, in holes neither. */
static void note_given(struct pgtable_run *run, uint64_t first, uint64_t last)
{
    if (rules_is_disjoint(run->rules)) {
        ranges_add(&run->m.given, OWNER_OF(run->current), first, last);
    }
}

/* Nobody but an unmap of a disjoint table takes any. */
static void check_nothing_detached(struct pgtable_run *run)
{
    CHECK(host_note_detached(run->h, &run->rules->aperture, OWNER_OF(run->current), false) == NULL);
}

/* A table that had a leaf just before goes only when enough are kept. */
static void check_not_kept(struct pgtable_run *run, const struct model_leaf *leaf,
                           uint32_t tables_empty)
{
    bool is_group;
    int level = rules_level_of_size(run->rules, leaf->last - leaf->first + 1, &is_group);

    for (size_t i = 0; i < run->h->piece_count; i++) {
        const struct host_piece *piece = run->h->pieces[i];

        if (piece->held_by == OWNER_OF(run->current) && piece->level == level &&
            piece->span.first <= leaf->first && piece->span.last >= leaf->last && !piece->refuses) {
            CHECK(tables_empty == run->rules->config.empty_tables_kept);
        }
    }
}

/* Is it a table without tables below? */
static bool is_lowest(const struct pgtable_host *h, const struct host_piece *piece)
{
    for (size_t i = 0; i < h->piece_count; i++) {
        const struct host_piece *other = h->pieces[i];

        if (other->is_known && other->level > piece->level &&
            other->span.first >= piece->span.first && other->span.last <= piece->span.last) {
            return false;
        }
    }
    return true;
}

/* All tables wholly inside the range are gone, but for those that the quota has kept. */
static void check_left_behind(struct pgtable_run *run, const struct unmap_pass *pass,
                              uint32_t tables_empty)
{
    struct pgtable_host *h = run->h;
    uint64_t left = 0;

    for (size_t i = 0; i < h->piece_count && left <= tables_empty; i++) {
        const struct host_piece *piece = h->pieces[i];

        left += piece->is_known && piece->span.first >= pass->range.first &&
                piece->span.last >= pass->from && piece->span.last <= pass->range.last &&
                piece->span.last <= pass->until && is_lowest(h, piece);
    }
    CHECK(left <= tables_empty);
}

/*
 * What an unmap has done to the tables in its range, or one portion of it. `removal` is what was
 * removed, and still in the model.
 */
static void note_tables(struct pgtable_run *run, const struct unmap_pass *pass,
                        const struct removal *removal, const struct piommu_gather *before)
{
    const struct piommu_gather *gather = current_gather(run);
    uint64_t mask = run->rules->config.granule - 1;
    struct piommu_pgtable_statistics statistics;
    /* A range touches the leaves of which it contains a byte. */
    struct piommu_range touched = {.first = pass->range.first & ~mask,
                                   .last = pass->range.last | mask};

    if (!rules_is_disjoint(run->rules)) {
        CHECK(gather->tables == before->tables);
        return;
    }
    piommu_pgtable_get_statistics(run->h->table, &statistics);
    CHECK(statistics.tables_empty <= run->rules->config.empty_tables_kept);
    if (host_note_detached(run->h, &touched, OWNER_OF(run->current), false) == NULL) {
        CHECK(gather->tables == before->tables);
    } else {
        CHECK(gather->tables != NULL);
        for (size_t i = 0; i < run->h->piece_count; i++) {
            const struct host_piece *piece = run->h->pieces[i];

            if (piece->held_by == OWNER_OF(run->current)) {
                check_gather_covers(run, piece->span.first, piece->span.last);
            }
        }
    }
    if (removal != NULL && removal->behind > removal->index) {
        check_not_kept(run, &run->m.leaves[removal->index], statistics.tables_empty);
        check_not_kept(run, &run->m.leaves[removal->behind - 1], statistics.tables_empty);
    }
    check_left_behind(run, pass, statistics.tables_empty);
    if (run->h->piece_count <= 64) {
        check_nothing_detached(run); /* elsewhere */
    }
    note_kept(run, pass);
}

/* ---- Unmapping ---- */

void run_unmap(struct pgtable_run *run, uint64_t iova, uint64_t size)
{
    struct removal removal = foresee(run, iova, size, false);
    struct piommu_gather before;
    uint64_t unmapped = 0xdead;
    int result;

    make_room(run);
    warm_up(run, &removal);
    before = *current_gather(run);
    forbid(run, FAKE_OS_FORBID_ALLOCATION | FAKE_OS_FORBID_FREE | FAKE_OS_FORBID_WAIT);
    result = piommu_pgtable_unmap(run->h->table, iova, size, current_gather(run), &unmapped);
    allow(run);
    model_say(&run->m, "    unmap(0x%" PRIx64 ", 0x%" PRIx64 ") = %d, unmapped 0x%" PRIx64 "\n",
              iova, size, result, unmapped);
    CHECK(result == removal.error);
    CHECK(unmapped == removal.bytes);
    if (result == 0) {
        uint64_t last = iova + (size - 1);
        struct unmap_pass pass = {.range = {iova, last}, .from = iova, .until = last};

        note_tables(run, &pass, &removal, &before);
        note_removal(run, &removal);
        note_given(run, iova, last);
    } else {
        check_same_gather(run, &before);
    }
    if (result != -PIOMMU_EINVAL && result != -PIOMMU_ERANGE) {
        model_probe_range(&run->m, iova, iova + (size - 1));
    }
}

static uint32_t next_budget(uint32_t *seed)
{
    static const uint32_t budgets[] = {0, 1, 2, 5, 16, 100, 512, 5000, 100000, UINT32_MAX};

    *seed = *seed * 1664525u + 1013904223u;
    return budgets[(*seed >> 16) % 10];
}

void run_unmap_portions(struct pgtable_run *run, uint64_t iova, uint64_t size, uint32_t seed)
{
    struct removal removal = foresee(run, iova, size, false);
    struct piommu_pgtable_cursor cursor = {0};
    struct unmap_pass pass = {.range = {iova, iova + (size - 1)}, .from = removal.first};
    struct piommu_gather before;
    uint64_t room = 16 * slots_of_tables(run) + removal.behind - removal.index + 64;
    bool in_vain = removal.error != 0;
    uint64_t calls = 0;
    int result;

    make_room(run);
    warm_up(run, &removal);
    before = *current_gather(run);
    if (removal.error == 0) {
        note_given(run, iova, pass.range.last);
    }
    do {
        uint64_t from = cursor.done;
        uint64_t changed = cursor.changed;
        /* Small portions of large ranges take too long. */
        uint32_t budget = calls > 200 ? 100000 : next_budget(&seed);
        struct piommu_gather so_far = *current_gather(run);
        bool synced = false;

        forbid(run, FAKE_OS_FORBID_ALLOCATION | FAKE_OS_FORBID_FREE | FAKE_OS_FORBID_WAIT);
        result = piommu_pgtable_unmap_some(run->h->table, iova, size, budget, current_gather(run),
                                           &cursor);
        allow(run);
        model_say(&run->m,
                  "    unmap_some(0x%" PRIx64 ", 0x%" PRIx64 ", budget %u) = %d, done 0x%" PRIx64
                  ", changed 0x%" PRIx64 "\n",
                  iova, size, (unsigned int)budget, result, cursor.done, cursor.changed);
        budget = budget == 0 ? 1 : budget;
        CHECK(cursor.done >= from && cursor.changed >= changed);
        if (cursor.changed != changed) {
            struct removal part = foresee(run, iova, cursor.done, false);

            CHECK(part.error == 0);
            CHECK(part.bytes == cursor.changed - changed);
            CHECK(part.behind - part.index <= budget);
            pass.until = iova + (cursor.done - 1);
            note_tables(run, &pass, &part, &so_far);
            note_removal(run, &part);
            synced = make_room(run);
            in_vain = false;
        } else if (result == -PIOMMU_EAGAIN) {
            CHECK(cursor.done > from);
            CHECK(model_mapped_bytes(&run->m, iova, iova + (cursor.done - 1)) == 0);
        }
        if (cursor.changed == changed && removal.error == 0) {
            pass.until = iova + (cursor.done - 1);
            note_tables(run, &pass, NULL, &so_far);
        }
        if (result == -PIOMMU_EAGAIN && seed % 4 == 0) {
            run_sync(run, SYNC_DETACH);
            before = *current_gather(run);
            synced = true;
        }
        if (synced && removal.error == 0) {
            note_given(run, iova, pass.range.last);
        }
        CHECK(++calls <= room);
    } while (result == -PIOMMU_EAGAIN);
    CHECK(result == removal.error);
    CHECK(cursor.changed == removal.bytes);
    if (in_vain) {
        check_same_gather(run, &before);
    }
    if (result != -PIOMMU_EINVAL && result != -PIOMMU_ERANGE) {
        model_probe_range(&run->m, iova, iova + (size - 1));
    }
}

void run_unmap_leaves(struct pgtable_run *run, uint64_t first, uint64_t last)
{
    const struct piommu_range *aperture = &run->rules->aperture;
    uint64_t mask = run->rules->config.granule - 1;
    struct removal removal = {.error = -PIOMMU_EINVAL};
    struct piommu_gather before;
    struct piommu_range removed = {.first = 1, .last = 0};
    struct unmap_pass pass;
    uint64_t unmapped = 0xdead;
    int result;

    make_room(run);
    if (first <= last) {
        removal.error = -PIOMMU_ERANGE;
        if (first >= aperture->first && last <= aperture->last) {
            removal = foresee(run, first & ~mask, (last | mask) - (first & ~mask) + 1, true);
        }
    }
    warm_up(run, &removal);
    before = *current_gather(run);
    forbid(run, FAKE_OS_FORBID_ALLOCATION | FAKE_OS_FORBID_FREE | FAKE_OS_FORBID_WAIT);
    result = piommu_pgtable_unmap_leaves(run->h->table, first, last, current_gather(run), &removed,
                                         &unmapped);
    allow(run);
    model_say(&run->m,
              "    unmap_leaves(0x%" PRIx64 ", 0x%" PRIx64 ") = %d, unmapped 0x%" PRIx64
              ", from 0x%" PRIx64 " to 0x%" PRIx64 "\n",
              first, last, result, unmapped, removed.first, removed.last);
    CHECK(result == removal.error);
    if (result != 0) {
        CHECK(unmapped == 0);
        check_same_gather(run, &before);
        return;
    }
    CHECK(removed.first == (removal.first < first ? removal.first : first));
    CHECK(removed.last == (removal.last > last ? removal.last : last));
    CHECK(unmapped == model_mapped_bytes(&run->m, removal.first, removal.last));
    pass =
        (struct unmap_pass){.range = removed, .from = removed.first, .until = removed.last | mask};
    note_tables(run, &pass, &removal, &before);
    note_removal(run, &removal);
    note_given(run, removed.first & ~mask, removed.last | mask);
    model_probe_range(&run->m, removal.first, removal.last);
}

/* ---- Cutting ---- */

struct cutting {
    struct pgtable_run *run;
    const struct removal *removal;
    uint64_t iova;
    uint64_t last;
    bool fails;
    unsigned int calls;
};

/* Between removal and replacement: what is to be seen then of the leaves that are cut. */
static int invalidate(void *cookie, const struct piommu_range *range)
{
    struct cutting *cutting = cookie;
    struct pgtable_run *run = cutting->run;
    const struct removal *removal = cutting->removal;
    bool may_stay = (run->rules->config.flags & PIOMMU_PGTABLE_BBM_LEVEL_2) != 0;

    cutting->calls++;
    CHECK(cutting->calls == 1);
    CHECK(range->first <= removal->first && range->last >= removal->last);
    for (size_t i = removal->index; i < removal->behind; i++) {
        const struct model_leaf *leaf = &run->m.leaves[i];
        uint64_t probes[3] = {leaf->first, leaf->last,
                              leaf->first > cutting->iova ? leaf->first : cutting->iova};

        for (unsigned int j = 0; j < 3; j++) {
            bool outside = probes[j] < cutting->iova || probes[j] > cutting->last;
            struct piommu_walker_result result;

            host_walk(run->h, probes[j], &result);
            if (may_stay && outside && result.fault == PIOMMU_WALKER_FAULT_NONE) {
                CHECK(result.output == leaf->physical + (probes[j] - leaf->first));
            } else {
                CHECK(result.fault == PIOMMU_WALKER_FAULT_TRANSLATION);
            }
        }
    }
    /* All that is still needed has been taken before. */
    forbid(run, FAKE_OS_FORBID_ALLOCATION | FAKE_OS_FORBID_WAIT);
    if (cutting->fails) {
        return -PIOMMU_ETIMEDOUT;
    }
    stale_tlb_invalidate(run->h->tlb, range->first, range->last, false);
    return 0;
}

struct remainder {
    struct model_leaf *leaves;
    size_t count;
    size_t room;
};

/* The leaves that what stays of a leaf has to be made of: the largest of those below its size. */
static void predict_remainder(const struct pgtable_run *run, struct remainder *remainder,
                              const struct model_leaf *leaf, uint64_t first, uint64_t last)
{
    uint64_t whole = leaf->last - leaf->first + 1;

    while (first - 1 != last && remainder->count < CALLS_REMAINDER) {
        size_t i = 0;
        struct model_leaf *next;

        while (run->rules->sizes[i] >= whole || (first & (run->rules->sizes[i] - 1)) != 0 ||
               run->rules->sizes[i] - 1 > last - first) {
            i++;
        }
        if (remainder->count == remainder->room) {
            remainder->room = 2 * remainder->room + 64;
            remainder->leaves =
                realloc(remainder->leaves, remainder->room * sizeof(*remainder->leaves));
        }
        next = &remainder->leaves[remainder->count++];
        *next = *leaf;
        next->first = first;
        next->last = first + (run->rules->sizes[i] - 1);
        next->physical = leaf->physical + (first - leaf->first);
        first = next->last + 1;
    }
}

static struct remainder find_remainder(struct pgtable_run *run, const struct removal *removal,
                                       uint64_t iova, uint64_t last)
{
    struct remainder remainder = {0};

    if (removal->first < iova) {
        predict_remainder(run, &remainder, &run->m.leaves[removal->index], removal->first,
                          iova - 1);
    }
    if (removal->last > last) {
        predict_remainder(run, &remainder, &run->m.leaves[removal->behind - 1], last + 1,
                          removal->last);
    }
    return remainder;
}

static void check_remainder(struct pgtable_run *run, const struct remainder *remainder)
{
    for (size_t i = 0; i < remainder->count; i++) {
        struct model_leaf *leaf = &remainder->leaves[i];
        struct model_leaf learned = model_learn(&run->m, leaf->first);
        struct piommu_walker_result result;

        CHECK(learned.first == leaf->first && learned.last == leaf->last);
        /* A write may have come until the leaf was gone: what was tracked counts as dirty. */
        CHECK(learned.dirty == leaf->tracked);
        leaf->dirty = learned.dirty;
        host_walk(run->h, leaf->first, &result);
        host_note_path(run->h, leaf->first, &result);
        model_check_translation(&run->m, leaf, leaf->first, &result, true);
    }
}

static void adopt_remainder(struct pgtable_run *run, const struct remainder *remainder)
{
    check_remainder(run, remainder);
    for (size_t i = 0; i < remainder->count;) {
        size_t begin = i;

        /* Those before and those behind the range are two pieces. */
        do {
            i++;
        } while (i < remainder->count &&
                 remainder->leaves[i].first == remainder->leaves[i - 1].last + 1);
        model_insert(&run->m, &remainder->leaves[begin], i - begin);
    }
}

/* The hardware did not obey: what was removed is gathered, and what was to stay is gone. */
static void note_failed_cut(struct pgtable_run *run, const struct removal *removal,
                            const struct remainder *remainder, uint64_t iova, uint64_t last)
{
    struct pgtable_model *m = &run->m;
    bool may_stay = (run->rules->config.flags & PIOMMU_PGTABLE_BBM_LEVEL_2) != 0;
    size_t kept = 0;

    check_gather_covers(run, removal->first, removal->last);
    model_erase(m, removal->index, removal->behind);
    host_settle(run->h);
    for (size_t i = 0; i < remainder->count; i++) {
        struct piommu_walker_result result;

        host_walk(run->h, remainder->leaves[i].first, &result);
        kept += result.fault == PIOMMU_WALKER_FAULT_NONE;
    }
    if (kept == 0) {
        note_removed(run, removal->first, removal->last);
        return;
    }
    /* What was replaced without a break can stay, as long as nobody needs to know its size. */
    CHECK(may_stay && kept == remainder->count);
    note_removed(run, iova, last);
    note_changed(run, removal->first, removal->last);
    adopt_remainder(run, remainder);
}

static int call_cut(struct pgtable_run *run, struct cutting *cutting, uint64_t size,
                    uint32_t fail_at, uint64_t *unmapped)
{
    int result;

    *unmapped = 0xdead;
    forbid(run, FAKE_OS_FORBID_WAIT);
    fake_os_fail_call(run->h->os, fail_at, false);
    result = piommu_pgtable_unmap_cut(run->h->table, cutting->iova, size, invalidate, cutting,
                                      current_gather(run), unmapped);
    fake_os_fail_call(run->h->os, 0, false);
    allow(run);
    model_say(
        &run->m, "    unmap_cut(0x%" PRIx64 ", 0x%" PRIx64 ") = %d, unmapped 0x%" PRIx64 "%s%s\n",
        cutting->iova, size, result, *unmapped, cutting->fails ? ", the invalidation fails" : "",
        fail_at != 0 ? ", an allocation fails" : "");
    return result;
}

void run_cut(struct pgtable_run *run, uint64_t iova, uint64_t size, bool invalidation_fails,
             uint32_t fail_at)
{
    struct removal removal = foresee(run, iova, size, true);
    struct cutting cutting = {.run = run,
                              .removal = &removal,
                              .iova = iova,
                              .last = iova + (size - 1),
                              .fails = invalidation_fails};
    struct remainder remainder = {0};
    struct piommu_gather gather_before;
    struct table_count before;
    uint64_t to_cut = 0;
    uint64_t unmapped;
    int result;

    make_room(run);
    if (removal.error == 0) {
        remainder = find_remainder(run, &removal, iova, cutting.last);
        if (remainder.count >= CALLS_REMAINDER ||
            (remainder.count > 2000 && run->m.count > CALLS_MANY_LEAVES) ||
            host_table_bytes(run->h) > CALLS_TABLE_BYTES) {
            free(remainder.leaves);
            return;
        }
        if (run->planned_count != 0 && run->m.removed.count != 0) {
            run_sync_all(run);
        }
        warm_up(run, &removal);
        CHECK(piommu_pgtable_plan(run->h->table, iova, size, run->rules->config.granule, NULL,
                                  &to_cut) == 0);
    }
    gather_before = *current_gather(run);
    before = count_tables(run);
    result = call_cut(run, &cutting, size, fail_at, &unmapped);

    if (result == -PIOMMU_ENOMEM && fail_at != 0 && removal.error == 0) {
        struct table_count after = count_tables(run);

        CHECK(cutting.calls == 0 && unmapped == 0);
        CHECK(after.bytes == before.bytes && after.spare == before.spare);
        check_same_gather(run, &gather_before);
    } else if (removal.error != 0) {
        CHECK(result == removal.error);
        CHECK(cutting.calls == 0 && unmapped == 0);
        check_same_gather(run, &gather_before);
    } else if (invalidation_fails) {
        CHECK(cutting.calls == 1);
        CHECK(result == -PIOMMU_ETIMEDOUT);
        CHECK(unmapped == removal.bytes);
        note_failed_cut(run, &removal, &remainder, iova, cutting.last);
    } else {
        CHECK(cutting.calls == 1);
        CHECK(result == 0);
        CHECK(unmapped == removal.bytes);
        CHECK(tables_taken(run, &before, true) <= to_cut);
        check_same_gather(run, &gather_before);
        model_erase(&run->m, removal.index, removal.behind);
        adopt_remainder(run, &remainder);
    }
    if (run->h->piece_count <= 64) {
        check_nothing_detached(run);
    }
    if (removal.error != -PIOMMU_EINVAL && removal.error != -PIOMMU_ERANGE) {
        model_probe_range(&run->m, iova, cutting.last);
        if (removal.error == 0) {
            model_probe_range(&run->m, removal.first, removal.last);
        }
    }
    free(remainder.leaves);
}
