/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "pgtable_calls.h"

#include <inttypes.h>

/* What a map of this request means, as far as can be said before it is made. */
struct map_outcome {
    int error; /* 0, -PIOMMU_EEXIST, or of the arguments */
    uint64_t total;
    uint64_t mapped;
    size_t predicted;   /* leaves, no leaf reaching over two segments */
    size_t alternative; /* the same with segments that go on merged */
    bool may_merge;     /* the two differ */
    /* A detached table is in the way: refusing is right, or the only right thing. */
    bool may_be_busy;
    bool must_be_busy;
};

static int first_in_order(int one, int other)
{
    static const int order[] = {-PIOMMU_EINVAL, -PIOMMU_ERANGE, -PIOMMU_EOPNOTSUPP};

    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
        if (one == order[i] || other == order[i]) {
            return order[i];
        }
    }
    return 0;
}

static int judge_arguments(const struct pgtable_run *run, const struct map_request *request)
{
    int error = rules_judge_prot(run->rules, request->prot);
    uint64_t next = request->iova;
    bool beyond = false;

    if (request->count == 0) {
        return -PIOMMU_EINVAL;
    }
    for (size_t i = 0; i < request->count; i++) {
        const struct piommu_segment *segment = &request->segments[i];

        /* Behind the top of all addresses only the size can still be wrong. */
        error = first_in_order(error, rules_judge_range(run->rules,
                                                        beyond ? run->rules->aperture.first : next,
                                                        segment->size));
        error =
            first_in_order(error, rules_judge_output(run->rules, segment->physical, segment->size));
        if (beyond) {
            error = first_in_order(error, -PIOMMU_ERANGE);
        }
        beyond = beyond || segment->size > UINT64_MAX - next;
        next += segment->size;
    }
    return error;
}

/* Predicts the leaves of the first `mapped` bytes; makes the request smaller if it is too large. */
static size_t predict(struct pgtable_run *run, const struct map_request *request, uint64_t *mapped,
                      bool merge, struct model_leaf *leaves)
{
    uint64_t done = 0;
    size_t count = 0;

    for (size_t i = 0; i < request->count && done < *mapped && count < CALLS_LEAVES_PER_MAP;) {
        uint64_t physical = request->segments[i].physical;
        uint64_t size = request->segments[i].size;

        for (i++; merge && i < request->count && request->segments[i].physical == physical + size;
             i++) {
            size += request->segments[i].size;
        }
        size = size < *mapped - done ? size : *mapped - done;
        count += model_predict(&run->m, request->iova + done, physical, size, &leaves[count],
                               CALLS_LEAVES_PER_MAP - count);
        done += size;
    }
    if (count == CALLS_LEAVES_PER_MAP) {
        *mapped = leaves[count - 1].last - request->iova + 1;
    }
    return count;
}

static void shorten(struct map_request *request, uint64_t size)
{
    size_t i = 0;

    while (i + 1 < request->count && size > request->segments[i].size) {
        size -= request->segments[i].size;
        i++;
    }
    size = size < request->segments[i].size ? size : request->segments[i].size;
    request->segments[i].size = size;
    request->count = i + 1;
}

/*
 * Is there something in a range for which a new table is needed, or that is above level 3? With
 * `counts_tables` if only the range of a new table reaches there, too: one far up takes the place
 * of others, but need not lead to where they were.
 */
static bool changes_slots(struct pgtable_run *run, const struct model_leaf *leaves, size_t count,
                          bool counts_tables)
{
    const struct piommu_range *range = &run->h->refused;

    for (size_t i = 0; i < count; i++) {
        struct piommu_walker_result result;
        uint64_t rest;

        host_walk_as_cpu(run->h, leaves[i].first, &result);
        CHECK(result.fault == PIOMMU_WALKER_FAULT_TRANSLATION);
        rest = counts_tables ? (1ull << rules_level_shift(run->rules, result.level)) - 1 : 0;
        if (result.level < 3 && (leaves[i].first & ~rest) <= range->last &&
            (leaves[i].last | rest) >= range->first) {
            return true;
        }
    }
    return false;
}

/*
 * What is in the way until it is released. A conflict may be hidden by what would be in the way
 * behind it.
 */
static void foresee_busy(struct pgtable_run *run, const struct map_request *request,
                         struct map_outcome *outcome)
{
    const struct piommu_range *range = &run->h->refused;

    if (!run->h->is_refusing) {
        return;
    }
    outcome->may_be_busy = (outcome->error == -PIOMMU_EEXIST && request->iova <= range->last &&
                            request->iova + (outcome->total - 1) >= range->first) ||
                           changes_slots(run, run->predicted, outcome->predicted, true) ||
                           changes_slots(run, run->alternative, outcome->alternative, true);
    outcome->must_be_busy = changes_slots(run, run->predicted, outcome->predicted, false) &&
                            changes_slots(run, run->alternative, outcome->alternative, false);
}

static struct map_outcome foresee(struct pgtable_run *run, struct map_request *request)
{
    struct map_outcome outcome = {.error = judge_arguments(run, request)};
    struct pgtable_model *m = &run->m;
    uint64_t limit;
    size_t index;

    if (outcome.error != 0) {
        return outcome;
    }
    for (size_t i = 0; i < request->count; i++) {
        outcome.total += request->segments[i].size;
    }
    index = model_index(m, request->iova);
    outcome.mapped = outcome.total;
    if (index < m->count && m->leaves[index].first <= request->iova + (outcome.total - 1)) {
        outcome.error = -PIOMMU_EEXIST;
        outcome.mapped =
            m->leaves[index].first > request->iova ? m->leaves[index].first - request->iova : 0;
    }
    limit = outcome.mapped;
    outcome.predicted = predict(run, request, &limit, false, run->predicted);
    if (limit != outcome.mapped) {
        shorten(request, limit);
        return foresee(run, request);
    }
    outcome.alternative = predict(run, request, &limit, true, run->alternative);
    outcome.may_merge = outcome.alternative != outcome.predicted;
    foresee_busy(run, request, &outcome);
    return outcome;
}

/* The largest alignment that piommu_pgtable_plan may be told for one segment. */
static uint64_t agreement_of(const struct map_request *request)
{
    uint64_t difference = request->iova ^ request->segments[0].physical;

    return difference == 0 ? 1ull << 52 : difference & (~difference + 1);
}

static uint64_t planned_tables(struct pgtable_run *run, const struct map_request *request,
                               uint64_t total)
{
    uint64_t granule = run->rules->config.granule;
    uint64_t alignment = request->count == 1 ? agreement_of(request) : granule;
    uint64_t anything = 0;
    uint64_t aligned = 0;

    CHECK(piommu_pgtable_plan(run->h->table, request->iova, total, granule, &anything, NULL) == 0);
    CHECK(piommu_pgtable_plan(run->h->table, request->iova, total, alignment, &aligned, NULL) == 0);
    CHECK(aligned <= anything);
    /* Tables of mappings that were not so aligned keep large leaves away. */
    return run->h->piece_count - 1 == count_tables(run).spare ? aligned : anything;
}

/* Does hardware see the leaves that were predicted, from one address on? */
static size_t compare_leaves(struct pgtable_run *run, const struct model_leaf *leaves, size_t count,
                             uint64_t mapped_end, struct model_leaf *learned)
{
    size_t i = 0;

    while (i < count && leaves[i].last <= mapped_end) {
        learned[i] = model_learn(&run->m, leaves[i].first);
        if (learned[i].first != leaves[i].first || learned[i].last != leaves[i].last) {
            return 0;
        }
        i++;
    }
    return i;
}

static void adopt_leaves(struct pgtable_run *run, const struct map_request *request,
                         const struct map_outcome *outcome)
{
    struct pgtable_model *m = &run->m;
    struct model_leaf *leaves = run->predicted;
    uint64_t last = request->iova + (outcome->mapped - 1);
    size_t count = outcome->predicted;
    struct model_leaf learned[2];

    /* Whether a leaf may reach over two segments that go on is left open. */
    if (outcome->may_merge) {
        size_t same = 0;

        while (same < count && compare_leaves(run, &leaves[same], 1, last, learned) == 1) {
            same++;
        }
        if (same != count) {
            leaves = run->alternative;
            count = outcome->alternative;
        }
    }
    for (size_t i = 0; i < count; i++) {
        struct piommu_walker_result result;

        learned[0] = model_learn(m, leaves[i].first);
        CHECK(learned[0].first == leaves[i].first && learned[0].last == leaves[i].last);
        CHECK(learned[0].physical == leaves[i].physical);
        CHECK(!learned[0].dirty);
        leaves[i].prot = rules_normal_prot(run->rules, request->prot);
        leaves[i].tracked = m->tracking && (request->prot & PIOMMU_PROT_WRITE) != 0;
        leaves[i].dirty = false;
        host_walk(run->h, leaves[i].first, &result);
        host_note_path(run->h, leaves[i].first, &result);
        model_check_translation(m, &leaves[i], leaves[i].first, &result, true);
    }
    model_insert(m, leaves, count);
}

static void say_request(const struct pgtable_run *run, const struct map_request *request)
{
    static const char *const names[] = {"map", "map_list", "map_some"};

    model_say(&run->m, "    %s(0x%" PRIx64 ", {", names[request->how], request->iova);
    for (size_t i = 0; i < request->count; i++) {
        model_say(&run->m, "%s{0x%" PRIx64 ", 0x%" PRIx64 "}", i == 0 ? "" : ", ",
                  request->segments[i].physical, request->segments[i].size);
    }
    model_say(&run->m, "}, prot 0x%x)", (unsigned int)request->prot);
    if (request->fail_at != 0) {
        model_say(&run->m, " with allocation %u%s failing", (unsigned int)request->fail_at,
                  request->fail_forever ? " and later" : "");
    }
}

static int call_once(struct pgtable_run *run, const struct map_request *request, uint64_t *mapped)
{
    *mapped = 0x5a5a5a5a5a5a5a5aull;
    if (request->how == MAP_PLAIN) {
        return piommu_pgtable_map(run->h->table, request->iova, request->segments[0].physical,
                                  request->segments[0].size, request->prot, mapped);
    }
    return piommu_pgtable_map_list(run->h->table, request->iova, request->segments, request->count,
                                   request->prot, mapped);
}

/* How many of the predicted leaves lie between two distances from the start. */
static uint64_t leaves_between(struct pgtable_run *run, const struct map_request *request,
                               uint64_t from, uint64_t to)
{
    uint64_t count = 0;

    while (from < to) {
        struct model_leaf leaf = model_learn(&run->m, request->iova + from);

        CHECK(leaf.first == request->iova + from);
        from += leaf.last - leaf.first + 1;
        count++;
    }
    CHECK(from == to);
    return count;
}

static uint32_t next_budget(uint32_t *seed)
{
    static const uint32_t budgets[] = {0, 1, 2, 3, 7, 16, 100, 1000, 100000, UINT32_MAX};

    *seed = *seed * 1664525u + 1013904223u;
    return budgets[(*seed >> 16) % 10];
}

/* One call after the other; `mapped` as of one call. */
static int call_in_portions(struct pgtable_run *run, struct map_request *request, uint64_t *mapped)
{
    struct piommu_pgtable_cursor cursor = {0};
    uint64_t levels = (uint64_t)(4 - run->rules->start_level);
    bool has_groups = (run->rules->config.flags & PIOMMU_PGTABLE_CONTIGUOUS) != 0;
    uint64_t one_group = has_groups ? 128 : 0;
    uint64_t calls = 0;
    int result;

    do {
        uint32_t budget = next_budget(&request->budget_seed);
        struct table_count before = count_tables(run);
        uint64_t from = cursor.changed;
        uint64_t stored;

        if (calls > 64) {
            budget = 500;
        }
        result = piommu_pgtable_map_some(run->h->table, request->iova, request->segments,
                                         request->count, request->prot, budget, &cursor);
        model_say(&run->m, " %d with budget %u, changed 0x%" PRIx64 ";", result,
                  (unsigned int)budget, cursor.changed);
        budget = budget == 0 ? 1 : budget;
        CHECK(cursor.changed >= from && cursor.done == cursor.changed);
        stored = leaves_between(run, request, from, cursor.changed);
        CHECK(stored <= budget + one_group);
        CHECK(tables_taken(run, &before, result != -PIOMMU_EEXIST) <= stored + levels);
        if (result == -PIOMMU_EAGAIN) {
            CHECK(cursor.changed > from);
        }
        if (result == -PIOMMU_ENOMEM || result == -PIOMMU_EBUSY) {
            struct table_count after = count_tables(run);

            CHECK(cursor.changed == from && after.bytes == before.bytes);
            CHECK(after.spare == before.spare);
        }
        if (result == -PIOMMU_ENOMEM) {
            CHECK(request->fail_at != 0);
            fake_os_fail_call(run->h->os, 0, false);
            result = -PIOMMU_EAGAIN;
        }
        CHECK(++calls < 100000);
    } while (result == -PIOMMU_EAGAIN);
    *mapped = cursor.changed;
    return result;
}

static void check_nothing_changed(struct pgtable_run *run, const struct map_request *request,
                                  const struct map_outcome *outcome,
                                  const struct table_count *before)
{
    struct table_count after = count_tables(run);

    CHECK(after.bytes == before->bytes && after.spare == before->spare);
    if (outcome->total != 0) {
        model_probe_range(&run->m, request->iova, request->iova + (outcome->total - 1));
    }
}

/* What was mapped in portions before one of them was refused stays. */
static void shorten_outcome(const struct pgtable_run *run, const struct map_request *request,
                            struct map_outcome *outcome, uint64_t mapped)
{
    uint64_t last = request->iova + (mapped - 1);
    size_t predicted = 0;
    size_t alternative = 0;

    while (predicted < outcome->predicted && run->predicted[predicted].last <= last) {
        predicted++;
    }
    while (alternative < outcome->alternative && run->alternative[alternative].last <= last) {
        alternative++;
    }
    outcome->predicted = predicted;
    outcome->alternative = alternative;
    outcome->mapped = mapped;
}

/* Refused because of a detached table. */
static void check_busy(struct pgtable_run *run, const struct map_request *request,
                       struct map_outcome *outcome, uint64_t mapped,
                       const struct table_count *before)
{
    CHECK(outcome->may_be_busy);
    CHECK(mapped < outcome->mapped || outcome->error != 0);
    if (mapped == 0) {
        check_nothing_changed(run, request, outcome, before);
        return;
    }
    CHECK(request->how == MAP_PORTIONS);
    shorten_outcome(run, request, outcome, mapped);
    adopt_leaves(run, request, outcome);
    model_probe_range(&run->m, request->iova, request->iova + (mapped - 1));
}

void run_map(struct pgtable_run *run, struct map_request *request)
{
    struct pgtable_model *m = &run->m;
    struct map_outcome outcome = foresee(run, request);
    struct table_count before;
    uint64_t planned = 0;
    uint64_t mapped = 0;
    bool is_empty;
    uint64_t taken;
    int result;

    if (outcome.total != 0) {
        uint64_t last = request->iova + (outcome.total - 1);

        if (run->planned_count != 0 && m->removed.count != 0) {
            run_sync_all(run);
            outcome = foresee(run, request);
        }
        if (ranges_overlap(&m->removed, request->iova, last) ||
            ranges_overlap(&m->given, request->iova, last)) {
            sync_for(run, request->iova, last);
            outcome = foresee(run, request); /* with fewer tables in the way */
        }
        if (host_table_bytes(run->h) > CALLS_TABLE_BYTES ||
            (m->count > CALLS_MANY_LEAVES && outcome.predicted > 16)) {
            return;
        }
        planned = planned_tables(run, request, outcome.total);
        if (planned * run->rules->config.granule > CALLS_TABLE_BYTES / 4) {
            /* Beyond the conflict there is more than the simulated memory has tables for. */
            shorten(request, outcome.mapped + 16 * run->rules->config.granule);
            outcome = foresee(run, request);
            planned = planned_tables(run, request, outcome.total);
        }
    }

    say_request(run, request);
    before = count_tables(run);
    is_empty = before.pieces - 1 == before.spare;
    fake_os_fail_call(run->h->os, request->fail_at, request->fail_forever);
    forbid(run, FAKE_OS_FORBID_WAIT);
    result = request->how == MAP_PORTIONS ? call_in_portions(run, request, &mapped)
                                          : call_once(run, request, &mapped);
    allow(run);
    fake_os_fail_call(run->h->os, 0, false);
    model_say(m, " = %d, mapped 0x%" PRIx64 "\n", result, mapped);

    if (result == -PIOMMU_EBUSY) {
        check_busy(run, request, &outcome, mapped, &before);
        return;
    }
    CHECK(!outcome.must_be_busy);
    if (result == -PIOMMU_ENOMEM && request->fail_at != 0 && outcome.total != 0) {
        CHECK(mapped == 0);
        check_nothing_changed(run, request, &outcome, &before);
        return;
    }
    CHECK(result == outcome.error);
    CHECK(mapped == outcome.mapped);
    if (outcome.total == 0) {
        check_nothing_changed(run, request, &outcome, &before);
        return;
    }
    taken = tables_taken(run, &before, result == 0);
    CHECK(taken <= planned);
    if (is_empty && result == 0 && request->count == 1) {
        CHECK(taken == planned);
    }
    if (mapped != 0) {
        adopt_leaves(run, request, &outcome);
        model_probe_range(m, request->iova, request->iova + (mapped - 1));
    }
    if (result == -PIOMMU_EEXIST) {
        model_probe(m, request->iova + mapped);
    }
}
