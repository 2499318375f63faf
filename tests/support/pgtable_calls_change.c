/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* Syncs, memory, permissions and dirty state. */

#include "pgtable_calls.h"

#include <piommu/io-pgtable-dirty.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- Sync ---- */

/* What the gather has collected is in its range, and the hardware would find it gone. */
static void check_ready_to_release(struct pgtable_run *run)
{
    const struct piommu_gather *gather = current_gather(run);
    struct model_ranges removed = ranges_of(&run->m.removed, OWNER_OF(run->current));
    struct model_ranges changed = ranges_of(&run->m.changed, OWNER_OF(run->current));

    for (size_t i = 0; i < removed.count; i++) {
        static const struct piommu_walker_access nothing = {.privileged = true};
        const struct piommu_range *range = &removed.ranges[i];
        struct piommu_walker_result result;

        CHECK(gather->pending);
        CHECK(gather->range.first <= range->first && gather->range.last >= range->last);
        host_walk(run->h, range->first, &result);
        CHECK(result.fault == PIOMMU_WALKER_FAULT_TRANSLATION);
        /* Walk caches are still in use, whatever they lead to. */
        stale_tlb_translate(run->h->tlb, &run->h->regime, &run->h->memory, range->last, &nothing,
                            &result);
    }
    for (size_t i = 0; i < changed.count; i++) {
        const struct piommu_range *range = &changed.ranges[i];

        CHECK(gather->pending);
        CHECK(gather->range.first <= range->first && gather->range.last >= range->last);
    }
}

static void release(struct pgtable_run *run, struct piommu_gather *gather, unsigned int owner)
{
    struct piommu_pgtable_statistics statistics;
    size_t pieces = run->h->piece_count;

    run->h->releasing = owner;
    forbid(run, FAKE_OS_FORBID_ALLOCATION | FAKE_OS_FORBID_WAIT);
    piommu_pgtable_release(run->h->table, gather);
    allow(run);
    run->h->releasing = 0;
    host_hand_over(run->h, owner, 0);
    host_note_release(run->h);
    CHECK(!gather->pending && gather->tables == NULL);
    piommu_pgtable_get_statistics(run->h->table, &statistics);
    /* What is released goes to the reserve first. */
    CHECK(run->h->piece_count >= pieces || statistics.tables_spare == statistics.tables_reserved);
}

/* What a gather holds has a stale pointer in no walk cache: it may be used again. */
static void check_forgotten(struct pgtable_run *run, unsigned int owner)
{
    struct pgtable_host *h = run->h;

    if (h->piece_count > 64) {
        return;
    }
    host_observe(h);
    for (size_t i = 0; i < h->piece_count; i++) {
        CHECK(h->pieces[i]->linked ||
              (h->pieces[i]->held_by != 0 && h->pieces[i]->held_by != owner) ||
              !stale_tlb_table_reaches(h->tlb, h->pieces[i]->physical, h->pieces[i]->size));
    }
}

static void probe_ranges(struct pgtable_run *run, const struct model_ranges *ranges)
{
    for (size_t i = 0; i < ranges->count; i++) {
        model_probe_range(&run->m, ranges->ranges[i].first, ranges->ranges[i].last);
    }
}

static void invalidate_and_release(struct pgtable_run *run)
{
    unsigned int owner = OWNER_OF(run->current);
    struct piommu_gather *gather = current_gather(run);
    struct model_ranges removed = ranges_of(&run->m.removed, owner);
    struct model_ranges changed = ranges_of(&run->m.changed, owner);

    if (gather->pending) {
        stale_tlb_invalidate(run->h->tlb, gather->range.first, gather->range.last, false);
    }
    for (size_t i = 0; i < removed.count; i++) {
        CHECK(!stale_tlb_holds_input(run->h->tlb, removed.ranges[i].first, removed.ranges[i].last));
    }
    check_forgotten(run, owner);
    release(run, gather, owner);
    ranges_drop(&run->m.removed, owner);
    ranges_drop(&run->m.changed, owner);
    ranges_drop(&run->m.given, owner);
    probe_ranges(run, &removed);
    probe_ranges(run, &changed);
}

void run_recovery(struct pgtable_run *run)
{
    model_say(&run->m, "    invalidate all, release what was moved\n");
    /* The ranges were left behind when the tables were moved. */
    stale_tlb_invalidate_all(run->h->tlb);
    check_forgotten(run, OWNER_HOSPITAL);
    release(run, &run->hospital, OWNER_HOSPITAL);
    ranges_drop(&run->m.given, OWNER_HOSPITAL);
}

static void sync_one(struct pgtable_run *run, unsigned int gather)
{
    unsigned int current = run->current;

    run->current = gather;
    run_sync(run, SYNC_DETACH);
    run->current = current;
}

void run_sync_all(struct pgtable_run *run)
{
    for (unsigned int i = 0; i < CALLS_GATHERS; i++) {
        sync_one(run, (run->current + i) % CALLS_GATHERS);
    }
    if (run->hospital.tables != NULL || run->m.given.count != 0) {
        run_recovery(run);
    }
    CHECK(run->h->held_count == 0);
}

void sync_for(struct pgtable_run *run, uint64_t first, uint64_t last)
{
    for (unsigned int i = 0; i < CALLS_GATHERS; i++) {
        struct model_ranges removed = ranges_of(&run->m.removed, OWNER_OF(i));
        struct model_ranges given = ranges_of(&run->m.given, OWNER_OF(i));

        if (ranges_overlap(&removed, first, last) || ranges_overlap(&given, first, last)) {
            sync_one(run, i);
        }
    }
    if (ranges_overlap(&run->m.given, first, last)) {
        run_recovery(run);
    }
}

/* To look at all tables after every call is for few and small ones. */
static bool looks_at_empty(const struct pgtable_run *run)
{
    return run->rules->config.empty_tables_kept != 0 && run->rules->config.granule == 4096 &&
           run->h->piece_count <= 24;
}

/* In a disjoint table those that are kept are counted, and no others. */
static void check_counted(struct pgtable_run *run)
{
    struct piommu_pgtable_statistics statistics;
    uint64_t counted = 0;

    piommu_pgtable_get_statistics(run->h->table, &statistics);
    if (!run->knows_counted && statistics.tables_empty != 0) {
        return;
    }
    for (size_t i = 0; i < run->h->piece_count; i++) {
        struct host_piece *piece = run->h->pieces[i];

        piece->is_counted = piece->is_counted && run->knows_counted;
        counted += piece->is_counted;
    }
    CHECK(counted == statistics.tables_empty);
    run->knows_counted = true;
}

void note_empty(struct pgtable_run *run)
{
    if (!looks_at_empty(run)) {
        for (size_t i = 0; i < run->h->piece_count; i++) {
            run->h->pieces[i]->emptied = 0; /* what was noted may no longer be so */
        }
        run->knows_counted = false;
        return;
    }
    host_note_empty(run->h);
    if (rules_is_disjoint(run->rules)) {
        check_counted(run);
    }
}

void note_kept(struct pgtable_run *run, const struct unmap_pass *pass)
{
    if (!looks_at_empty(run)) {
        return;
    }
    host_note_empty(run->h);
    for (size_t i = 0; i < run->h->piece_count; i++) {
        struct host_piece *piece = run->h->pieces[i];

        if (!piece->empty || piece->span.first < pass->range.first ||
            piece->span.last < pass->from || piece->span.last > pass->until) {
            continue;
        }
        if (piece->span.last <= pass->range.last) {
            piece->is_counted = true;
        } else {
            run->knows_counted = false;
        }
    }
}

/* In an exclusive table the quota keeps the tables that were emptied last. */
static void check_quota(struct pgtable_run *run)
{
    struct pgtable_host *h = run->h;
    uint64_t last_detached = 0;

    host_observe(h);
    for (size_t i = 0; i < h->piece_count; i++) {
        const struct host_piece *piece = h->pieces[i];

        if (piece->emptied != 0 && !piece->linked && piece->emptied > last_detached) {
            last_detached = piece->emptied;
        }
    }
    for (size_t i = 0; i < h->piece_count; i++) {
        /* Those that the detach itself has emptied are the last of all. */
        CHECK(!h->pieces[i]->empty || h->pieces[i]->emptied == 0 ||
              h->pieces[i]->emptied >= last_detached);
    }
    host_note_empty(h);
}

/* Which tables are gone. In a disjoint table only a trim takes any. */
static void note_detached(struct pgtable_run *run, const struct piommu_gather *before, bool trims)
{
    const struct piommu_gather *gather = current_gather(run);
    const struct host_piece *first =
        host_note_detached(run->h, &run->rules->aperture, OWNER_OF(run->current), true);

    CHECK(first == NULL || trims || !rules_is_disjoint(run->rules));
    if (first == NULL) {
        CHECK(gather->tables == before->tables && gather->pending == before->pending);
        CHECK(!gather->pending || (gather->range.first == before->range.first &&
                                   gather->range.last == before->range.last));
        return;
    }
    for (size_t i = 0; i < run->h->piece_count; i++) {
        const struct host_piece *piece = run->h->pieces[i];

        if (piece->held_by == OWNER_OF(run->current)) {
            CHECK(gather->pending && gather->tables != NULL);
            CHECK(gather->range.first <= piece->span.first);
            CHECK(gather->range.last >= piece->span.last);
        }
    }
}

/* Tables that were moved are not linked again, nor may their places be used, before they go. */
static void move_to_hospital(struct pgtable_run *run)
{
    struct piommu_gather *gather = current_gather(run);
    struct piommu_gather before = *gather;
    struct model_ranges given = ranges_of(&run->m.given, OWNER_OF(run->current));

    if (run->m.given.count + given.count + 2 > MODEL_MAXIMUM_RANGES) {
        return;
    }
    piommu_pgtable_move_detached(run->h->table, gather, &run->hospital);
    CHECK(gather->tables == NULL && gather->pending == before.pending);
    CHECK(before.tables == NULL || run->hospital.tables != NULL);
    CHECK(!before.pending ||
          (gather->range.first == before.range.first && gather->range.last == before.range.last));
    host_hand_over(run->h, OWNER_OF(run->current), OWNER_HOSPITAL);
    for (size_t i = 0; i < given.count; i++) {
        ranges_add(&run->m.given, OWNER_HOSPITAL, given.ranges[i].first, given.ranges[i].last);
    }
}

void run_sync(struct pgtable_run *run, enum sync_kind kind)
{
    static const char *const names[] = {"detach, invalidate, release", "trim, invalidate, release",
                                        "detach; no invalidation yet", "trim; no invalidation yet",
                                        "detach; the invalidation fails; move_detached"};
    struct pgtable_model *m = &run->m;
    bool trims = kind == SYNC_TRIM || kind == SYNC_TRIM_FAILS;
    struct piommu_gather before = *current_gather(run);
    struct piommu_pgtable_statistics statistics;

    model_say(m, "    gather %u: %s\n", run->current, names[kind]);
    note_empty(run);
    forbid(run, FAKE_OS_FORBID_ALLOCATION | FAKE_OS_FORBID_FREE | FAKE_OS_FORBID_WAIT);
    if (trims) {
        piommu_pgtable_trim(run->h->table, current_gather(run));
    } else {
        piommu_pgtable_detach_empty(run->h->table, current_gather(run));
    }
    allow(run);
    note_detached(run, &before, trims);
    if (looks_at_empty(run) && !rules_is_disjoint(run->rules)) {
        check_quota(run);
    }
    check_ready_to_release(run);
    piommu_pgtable_get_statistics(run->h->table, &statistics);
    CHECK(statistics.tables_empty <= (trims ? 0u : run->rules->config.empty_tables_kept));
    if (trims) {
        host_observe(run->h);
        CHECK(run->h->empty_count == 0);
    }
    if (kind == SYNC_FAILS_AND_MOVES) {
        move_to_hospital(run);
    } else if (kind == SYNC_DETACH || kind == SYNC_TRIM) {
        invalidate_and_release(run);
    }
}

/* ---- Memory ---- */

void run_reserve(struct pgtable_run *run, uint32_t count, uint32_t fail_at)
{
    struct piommu_pgtable_statistics statistics;
    struct table_count before = count_tables(run);
    struct table_count after;
    uint32_t reserved;
    int result;

    piommu_pgtable_get_statistics(run->h->table, &statistics);
    reserved = statistics.tables_reserved;
    if (count != UINT32_MAX &&
        (reserved + (uint64_t)count) * run->rules->config.granule > CALLS_TABLE_BYTES / 8) {
        return;
    }
    if (count == UINT32_MAX && reserved == 0) {
        return; /* would be possible, if there were as much memory */
    }
    fake_os_fail_call(run->h->os, fail_at, false);
    result = piommu_pgtable_reserve(run->h->table, count);
    fake_os_fail_call(run->h->os, 0, false);
    model_say(&run->m, "    reserve(%u) = %d%s\n", (unsigned int)count, result,
              fail_at != 0 ? ", an allocation fails" : "");
    after = count_tables(run);
    piommu_pgtable_get_statistics(run->h->table, &statistics);
    if (count == UINT32_MAX) {
        CHECK(result == -PIOMMU_EINVAL);
    } else if (fail_at != 0 && fail_at <= count) {
        CHECK(result == -PIOMMU_ENOMEM);
    } else if (fail_at == count + 1 && result == -PIOMMU_ENOMEM) {
        /* A disjoint table allocates to keep the reserve in order, too. */
        CHECK(rules_is_disjoint(run->rules));
    } else {
        CHECK(result == 0);
        CHECK(statistics.tables_reserved == reserved + count);
        CHECK(after.spare == before.spare + count);
        CHECK(after.pieces == before.pieces + count);
        return;
    }
    CHECK(statistics.tables_reserved == reserved);
    CHECK(after.spare == before.spare && after.bytes == before.bytes);
}

void run_unreserve(struct pgtable_run *run, uint32_t count)
{
    struct piommu_pgtable_statistics statistics;
    struct table_count before = count_tables(run);
    struct table_count after;
    uint32_t reserved;
    uint32_t left;

    piommu_pgtable_get_statistics(run->h->table, &statistics);
    reserved = statistics.tables_reserved;
    left = reserved > count ? reserved - count : 0;
    piommu_pgtable_unreserve(run->h->table, count);
    model_say(&run->m, "    unreserve(%u)\n", (unsigned int)count);
    after = count_tables(run);
    piommu_pgtable_get_statistics(run->h->table, &statistics);
    CHECK(statistics.tables_reserved == left);
    CHECK(after.spare <= left && after.spare <= before.spare);
    CHECK(after.spare + count >= before.spare);
    CHECK(before.pieces - after.pieces == before.spare - after.spare);
}

void run_plan(struct pgtable_run *run, uint64_t iova, uint64_t size, uint64_t alignment)
{
    int error = rules_judge_range(run->rules, iova, size);
    uint64_t to_map = 0xdead;
    uint64_t to_cut = 0xdead;
    int result;

    if (alignment < run->rules->config.granule || (alignment & (alignment - 1)) != 0) {
        error = -PIOMMU_EINVAL;
    }
    result = piommu_pgtable_plan(run->h->table, iova, size, alignment, &to_map, &to_cut);
    model_say(&run->m, "    plan(0x%" PRIx64 ", 0x%" PRIx64 ", 0x%" PRIx64 ") = %d\n", iova, size,
              alignment, result);
    CHECK(result == error);
    if (result == 0) {
        uint64_t levels = (uint64_t)(3 - run->rules->start_level);

        CHECK(to_map <= levels * (size / run->rules->config.granule));
        CHECK(piommu_pgtable_plan(run->h->table, iova, size, alignment, NULL, NULL) == 0);
    }
}

/* ---- Permissions ---- */

/* What hardware finds in the members of a leaf. */
static struct model_leaf look_at_leaf(struct pgtable_run *run, const struct model_leaf *leaf)
{
    uint64_t member = rules_member_size(run->rules, leaf->last - leaf->first + 1);
    struct model_leaf seen = *leaf;

    for (uint64_t at = leaf->first; at - 1 != leaf->last; at += member) {
        struct piommu_walker_result result;

        host_walk(run->h, at, &result);
        CHECK(result.fault == PIOMMU_WALKER_FAULT_NONE);
        if (at == leaf->first) {
            seen.tracked = result.attributes.dirty_bit_modifier;
            seen.dirty = false;
        }
        CHECK(seen.tracked == result.attributes.dirty_bit_modifier);
        seen.dirty = seen.dirty || result.attributes.dirty;
    }
    return seen;
}

/* The leaves of a range that is not cut by its ends; false and the error otherwise. */
static bool whole_leaves(const struct pgtable_run *run, uint64_t first, uint64_t last,
                         size_t *index, size_t *behind, int *error)
{
    const struct pgtable_model *m = &run->m;

    *index = model_index(m, first);
    *behind = *index;
    while (*behind < m->count && m->leaves[*behind].first <= last) {
        ++*behind;
    }
    if (*behind == *index) {
        *error = -PIOMMU_ENOENT;
    } else if (m->leaves[*index].first < first || m->leaves[*behind - 1].last > last) {
        *error = -PIOMMU_ECUT;
    } else {
        *error = 0;
    }
    return *error == 0;
}

static void protect_leaf(struct pgtable_run *run, struct model_leaf *leaf, piommu_prot prot)
{
    const piommu_prot mask = PIOMMU_PROT_ACCESS | PIOMMU_PROT_SOFTWARE_MASK;
    bool was_writable = (leaf->prot & PIOMMU_PROT_WRITE) != 0;

    leaf->prot = (leaf->prot & ~mask) | prot;
    if ((prot & PIOMMU_PROT_WRITE) == 0) {
        leaf->tracked = false;
    } else if (!was_writable) {
        leaf->tracked = run->m.tracking;
    } else if (run->switching && look_at_leaf(run, leaf).tracked != leaf->tracked) {
        /* Switched on the way. */
        leaf->tracked = run->m.tracking;
        leaf->dirty = false;
    }
    leaf->dirty = leaf->dirty && leaf->tracked;
}

/* How many leaves, groups counted as one, reach into a range. */
static uint64_t leaves_in(const struct pgtable_model *m, uint64_t first, uint64_t last)
{
    size_t begin = model_index(m, first);
    size_t end = begin;

    while (end < m->count && m->leaves[end].first <= last) {
        end++;
    }
    return end - begin;
}

struct protection {
    uint64_t iova;
    uint64_t size;
    piommu_prot prot;
};

static int protect_in_portions(struct pgtable_run *run, const struct protection *protection,
                               uint32_t seed, uint64_t *changed)
{
    static const uint32_t budgets[] = {0, 1, 2, 7, 50, 600, 10000, UINT32_MAX};
    struct pgtable_model *m = &run->m;
    struct piommu_pgtable_cursor cursor = {0};
    uint64_t room = 16 * slots_of_tables(run) + 64;
    int result;

    do {
        uint32_t budget = room % 64 == 0 ? 100000 : budgets[(seed >> 16) % 8];
        uint64_t from = cursor.done;

        seed = seed * 1664525u + 1013904223u;
        result =
            piommu_pgtable_protect_some(run->h->table, protection->iova, protection->size,
                                        protection->prot, budget, current_gather(run), &cursor);
        model_say(m, "    budget %u: %d, done 0x%" PRIx64 "\n", (unsigned int)budget, result,
                  cursor.done);
        if (cursor.done != from) {
            uint64_t first = protection->iova + from;
            uint64_t last = protection->iova + (cursor.done - 1);

            CHECK(cursor.done > from);
            CHECK(leaves_in(m, first, last) <= (budget == 0 ? 1 : budget));
            CHECK(cursor.changed == model_mapped_bytes(m, protection->iova, last));
        } else {
            CHECK(result != -PIOMMU_EAGAIN);
        }
        CHECK(room-- != 0);
    } while (result == -PIOMMU_EAGAIN);
    *changed = cursor.changed;
    return result;
}

/* Takes over what was changed, and checks that it is gathered. */
static void note_protection(struct pgtable_run *run, size_t index, size_t behind, piommu_prot prot)
{
    struct pgtable_model *m = &run->m;
    const struct piommu_gather *gather = current_gather(run);
    uint64_t first = m->leaves[index].first;
    uint64_t last = m->leaves[behind - 1].last;

    /* A gather need not name a leaf that had these rights before, so only others count. */
    for (size_t i = index; i < behind; i++) {
        struct model_leaf before = m->leaves[i];

        protect_leaf(run, &m->leaves[i], prot);
        if (before.prot != m->leaves[i].prot || before.tracked != m->leaves[i].tracked) {
            CHECK(gather->pending);
            CHECK(gather->range.first <= before.first);
            CHECK(gather->range.last >= before.last);
        }
    }
    first = first > gather->range.first ? first : gather->range.first;
    last = last < gather->range.last ? last : gather->range.last;
    if (gather->pending && first <= last) {
        note_changed(run, first, last);
    }
}

void run_protect(struct pgtable_run *run, uint64_t iova, uint64_t size, piommu_prot prot,
                 uint32_t budget_seed)
{
    struct pgtable_model *m = &run->m;
    struct protection protection = {.iova = iova, .size = size, .prot = prot};
    int error = rules_judge_range(run->rules, iova, size);
    int prot_error = rules_judge_access(run->rules, prot);
    uint64_t last = iova + (size - 1);
    uint64_t expected = 0;
    uint64_t changed = 0xdead;
    size_t index = 0;
    size_t behind = 0;
    int result;

    if (error == 0 || prot_error == -PIOMMU_EINVAL) {
        error = prot_error != 0 ? prot_error : error;
    }
    if (error == 0 && whole_leaves(run, iova, last, &index, &behind, &error)) {
        expected = model_mapped_bytes(m, iova, last);
        model_probe(m, m->leaves[index].first);
        model_probe(m, m->leaves[behind - 1].last);
    }
    make_room(run);
    forbid(run, FAKE_OS_FORBID_ALLOCATION | FAKE_OS_FORBID_FREE | FAKE_OS_FORBID_WAIT);
    if (budget_seed != 0) {
        result = protect_in_portions(run, &protection, budget_seed, &changed);
    } else {
        result =
            piommu_pgtable_protect(run->h->table, iova, size, prot, current_gather(run), &changed);
    }
    allow(run);
    model_say(m,
              "    protect(0x%" PRIx64 ", 0x%" PRIx64 ", prot 0x%x) = %d, changed 0x%" PRIx64 "\n",
              iova, size, (unsigned int)prot, result, changed);
    CHECK(result == error);
    CHECK(changed == expected);
    if (error == 0) {
        note_protection(run, index, behind, prot);
    }
    if (error != -PIOMMU_EINVAL && error != -PIOMMU_ERANGE) {
        model_probe_range(m, iova, last);
    }
}

/* ---- Dirty state ---- */

/* Takes over which leaves are tracked now, and checks that nothing else became of them. */
static void learn_tracking(struct pgtable_run *run, bool on, bool complete)
{
    struct pgtable_model *m = &run->m;
    const struct piommu_gather *gather = current_gather(run);
    uint64_t first = UINT64_MAX;
    uint64_t last = 0;

    for (size_t i = 0; i < m->count; i++) {
        struct model_leaf *leaf = &m->leaves[i];
        struct model_leaf seen = look_at_leaf(run, leaf);
        bool target = on && (leaf->prot & PIOMMU_PROT_WRITE) != 0;

        CHECK(seen.tracked == leaf->tracked || seen.tracked == target);
        CHECK(!complete || seen.tracked == target);
        if (seen.tracked == leaf->tracked) {
            CHECK(seen.dirty == leaf->dirty);
            continue;
        }
        CHECK(!seen.dirty);
        leaf->tracked = seen.tracked;
        leaf->dirty = false;
        first = first < leaf->first ? first : leaf->first;
        last = last > leaf->last ? last : leaf->last;
    }
    if (first <= last) {
        CHECK(gather->pending);
        CHECK(gather->range.first <= first && gather->range.last >= last);
        note_changed(run, first, last);
    }
}

static bool is_dirty_table(const struct pgtable_run *run)
{
    return (run->rules->config.flags & PIOMMU_PGTABLE_DIRTY) != 0;
}

void run_track(struct pgtable_run *run, bool on)
{
    int result;

    make_room(run);
    forbid(run, FAKE_OS_FORBID_ALLOCATION | FAKE_OS_FORBID_FREE | FAKE_OS_FORBID_WAIT);
    result = piommu_pgtable_track_dirty(run->h->table, on, current_gather(run));
    allow(run);
    model_say(&run->m, "    track_dirty(%d) = %d\n", on, result);
    if (!is_dirty_table(run)) {
        CHECK(result == -PIOMMU_EOPNOTSUPP);
        return;
    }
    CHECK(result == 0);
    run->m.tracking = on;
    run->switching = false;
    learn_tracking(run, on, true);
}

void run_track_portion(struct pgtable_run *run, uint32_t budget)
{
    int result;

    make_room(run);
    if (!run->switching) {
        run->switching = true;
        run->switching_on = !run->m.tracking;
        memset(&run->switch_cursor, 0, sizeof(run->switch_cursor));
    }
    forbid(run, FAKE_OS_FORBID_ALLOCATION | FAKE_OS_FORBID_FREE | FAKE_OS_FORBID_WAIT);
    result = piommu_pgtable_track_dirty_some(run->h->table, run->switching_on, budget,
                                             current_gather(run), &run->switch_cursor);
    allow(run);
    model_say(&run->m, "    track_dirty_some(%d, budget %u) = %d\n", run->switching_on,
              (unsigned int)budget, result);
    if (!is_dirty_table(run)) {
        CHECK(result == -PIOMMU_EOPNOTSUPP);
        run->switching = false;
        return;
    }
    CHECK(result == 0 || result == -PIOMMU_EAGAIN);
    run->m.tracking = run->switching_on;
    run->switching = result != 0;
    learn_tracking(run, run->switching_on, result == 0);
}

/* Which units of a range are dirty, by the model. */
static uint64_t expect_bitmap(const struct pgtable_run *run, uint64_t iova, uint64_t last,
                              uint64_t unit, uint8_t *bitmap)
{
    const struct pgtable_model *m = &run->m;
    uint64_t dirty = 0;

    for (size_t i = model_index(m, iova); i < m->count && m->leaves[i].first <= last; i++) {
        const struct model_leaf *leaf = &m->leaves[i];
        uint64_t begin = leaf->first > iova ? leaf->first : iova;
        uint64_t end = leaf->last < last ? leaf->last : last;

        if (!leaf->dirty) {
            continue;
        }
        dirty += end - begin + 1;
        for (uint64_t bit = (begin - iova) / unit; bit <= (end - iova) / unit; bit++) {
            bitmap[bit / 8] = (uint8_t)(bitmap[bit / 8] | 1u << bit % 8);
        }
    }
    return dirty;
}

static void note_clean(struct pgtable_run *run, uint64_t iova, uint64_t last)
{
    struct pgtable_model *m = &run->m;
    const struct piommu_gather *gather = current_gather(run);
    uint64_t first_clean = UINT64_MAX;
    uint64_t last_clean = 0;

    for (size_t i = model_index(m, iova); i < m->count && m->leaves[i].first <= last; i++) {
        struct model_leaf *leaf = &m->leaves[i];

        if (leaf->dirty) {
            first_clean = first_clean < leaf->first ? first_clean : leaf->first;
            last_clean = leaf->last;
            leaf->dirty = false;
            CHECK(!look_at_leaf(run, leaf).dirty);
        }
    }
    if (first_clean <= last_clean) {
        CHECK(gather->pending);
        CHECK(gather->range.first <= first_clean && gather->range.last >= last_clean);
        note_changed(run, first_clean, last_clean);
    }
}

void run_read_dirty(struct pgtable_run *run, uint64_t iova, uint64_t size, uint64_t unit,
                    bool clear, bool wants_bitmap)
{
    int error = rules_judge_range(run->rules, iova, size);
    size_t bytes = 1;
    uint64_t expected_dirty = 0;
    uint64_t dirty = 0xdead;
    uint8_t *bitmap;
    uint8_t *expected;
    int result;

    if (unit < run->rules->config.granule || (unit & (unit - 1)) != 0) {
        error = -PIOMMU_EINVAL;
    }
    if (error == 0) {
        while ((size - 1) / unit / 8 >= 1u << 16) {
            unit *= 2;
        }
        bytes = (size_t)((size - 1) / unit / 8) + 1;
        error = is_dirty_table(run) ? 0 : -PIOMMU_EOPNOTSUPP;
    }
    make_room(run);
    bitmap = malloc(bytes);
    expected = malloc(bytes);
    /* Bits that are set already stay so. */
    memset(bitmap, (int)(size >> 20 & 1), bytes);
    memcpy(expected, bitmap, bytes);
    if (error == 0) {
        expected_dirty = expect_bitmap(run, iova, iova + (size - 1), unit, expected);
    }
    forbid(run, FAKE_OS_FORBID_ALLOCATION | FAKE_OS_FORBID_FREE | FAKE_OS_FORBID_WAIT);
    result =
        piommu_pgtable_read_dirty(run->h->table, iova, size, unit, wants_bitmap ? bitmap : NULL,
                                  clear, clear ? current_gather(run) : NULL, &dirty);
    allow(run);
    model_say(&run->m,
              "    read_dirty(0x%" PRIx64 ", 0x%" PRIx64 ", unit 0x%" PRIx64
              "%s) = %d, dirty 0x%" PRIx64 "\n",
              iova, size, unit, clear ? ", clear" : "", result, dirty);
    /* Which of two errors is reported is open. */
    CHECK(result == error || (!is_dirty_table(run) && result == -PIOMMU_EOPNOTSUPP));
    if (error == 0) {
        CHECK(dirty == expected_dirty);
        CHECK(!wants_bitmap || memcmp(bitmap, expected, bytes) == 0);
        if (clear) {
            note_clean(run, iova, iova + (size - 1));
        }
    }
    free(bitmap);
    free(expected);
}

void run_hardware_write(struct pgtable_run *run, uint64_t address, bool misses)
{
    static const struct piommu_walker_access access = {.write = true, .privileged = true};
    struct pgtable_model *m = &run->m;
    size_t index = model_index(m, address);
    struct model_leaf *leaf;
    struct piommu_walker_result result;
    bool may_be_stale;
    bool dirty;

    /* Where the walker does not snoop, what it stores is not seen by the CPU. */
    if (index == m->count || m->leaves[index].first > address ||
        !run->rules->config.coherent_walk) {
        return;
    }
    leaf = &m->leaves[index];
    model_say(m, "    hardware writes to 0x%" PRIx64 "\n", address);
    may_be_stale = !misses && ranges_overlap(&m->changed, leaf->first, leaf->last);
    if (misses) {
        piommu_walker_translate(&run->h->regime, &run->h->memory, address, &access, &result);
    } else {
        stale_tlb_translate(run->h->tlb, &run->h->regime, &run->h->memory, address, &access,
                            &result);
    }
    dirty = look_at_leaf(run, leaf).dirty;
    CHECK(dirty || !leaf->dirty);
    if (!may_be_stale) {
        bool writable = (leaf->prot & PIOMMU_PROT_WRITE) != 0;

        CHECK(result.fault ==
              (writable ? PIOMMU_WALKER_FAULT_NONE : PIOMMU_WALKER_FAULT_PERMISSION));
        CHECK(dirty == (leaf->dirty || leaf->tracked));
    }
    leaf->dirty = dirty;
}
