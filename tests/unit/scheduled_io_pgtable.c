/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Tables that are made for several CPUs, used by tasks that give way to each other at every atomic
 * access of the library and at every call of the host: in small cases in all ways with a few
 * switches, in larger ones in ways drawn at random. After every store hardware that sees all, one
 * that sees only what was cleaned, one that sees some lines early, and one that remembers all until
 * it is told to forget, must find each address as the call in progress has it before or after, and
 * those of all others as they are.
 *
 * What one CPU sees of another out of order is not tried here, but by the thread sanitizer.
 *
 * Environment: PIOMMU_RANDOM_SEED; PIOMMU_RANDOM_STEPS, the number of calls, roughly.
 */

#include "disjoint_actor.h"
#include "instrumented/instrumented.h"
#include "pgtable_fixture.h"
#include "scheduler.h"
#include "stale_tlb.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ALL_STEPS   60000u
#define MOST_ACTS   6u
#define MOST_PROBES 12u
#define MOST_SLOTS  2000u
#define LEAK_CHANCE 3000u /* of 65536, for a line, after each store */

#define FEW_OF_RUN 64u
#define SHORT_RUN  12u

#define PAGE  0x1000ull
#define BLOCK 0x200000ull
#define LARGE 0x40000000ull
#define HUGE  0x8000000000ull

enum act_kind {
    NOTHING,
    MAPS,   /* to memory that only pages can lead to, if there is room for a block */
    BLOCKS, /* to memory at the same place of a block */
    UNMAPS,
    CUTS,
    PROTECTS,
    LOOKS,
};

struct act {
    enum act_kind kind;
    uint64_t first;
    uint64_t size;
};

/* A small case: what the tasks do one after the other before, and then beside each other. */
struct scene {
    const char *name;
    uint32_t flags;
    uint16_t kept;
    bool is_reserved;
    uint8_t fail_at[SCHEDULER_TASKS]; /* which call for memory finds none; 0: none of them */
    uint8_t bound;                    /* of the search for all ways; 0: 1 */
    bool apart_from_tables;           /* no points but at counters and the reserve */
    struct act before[SCHEDULER_TASKS][MOST_ACTS];
    struct act beside[SCHEDULER_TASKS][MOST_ACTS];
};

static const struct scene scenes[] = {
    {.name = "the top of the reserve goes and comes back",
     .is_reserved = true,
     .bound = 2,
     .apart_from_tables = true,
     .before = {{{MAPS, 0, PAGE}}},
     .beside = {{{MAPS, BLOCK, PAGE}, {MAPS, 4 * BLOCK, PAGE}},
                {{MAPS, 2 * BLOCK, PAGE}, {UNMAPS, 2 * BLOCK, BLOCK}},
                {{MAPS, 3 * BLOCK, PAGE}}}},
    {.name = "two maps that lack the same three tables",
     .beside = {{{MAPS, LARGE, PAGE}}, {{MAPS, LARGE + PAGE, PAGE}}}},
    {.name = "two maps that lack the same two tables",
     .before = {{{MAPS, 0, PAGE}}},
     .beside = {{{MAPS, LARGE, PAGE}}, {{MAPS, LARGE + PAGE, PAGE}}}},
    {.name = "two maps that lack the same table",
     .before = {{{MAPS, 0, PAGE}}},
     .bound = 2,
     .beside = {{{MAPS, BLOCK, PAGE}}, {{MAPS, BLOCK + PAGE, PAGE}}}},
    {.name = "two maps that lack three tables, of which two are the same",
     .beside = {{{MAPS, 0, PAGE}}, {{MAPS, BLOCK, PAGE}}}},
    {.name = "two maps that lack three tables, of which one is the same",
     .beside = {{{MAPS, 0, PAGE}}, {{MAPS, LARGE, PAGE}}}},
    {.name = "a block beside a page", .beside = {{{BLOCKS, 0, BLOCK}}, {{MAPS, BLOCK, PAGE}}}},
    {.name = "maps that reach into two tables each",
     .beside = {{{MAPS, BLOCK - 2 * PAGE, 3 * PAGE}}, {{MAPS, 2 * BLOCK - PAGE, 2 * PAGE}}}},
    {.name = "one finds no memory for the first table",
     .fail_at = {1, 0},
     .beside = {{{MAPS, 0, PAGE}}, {{MAPS, PAGE, PAGE}}}},
    {.name = "one finds no memory for the second table",
     .fail_at = {2, 0},
     .beside = {{{MAPS, 0, PAGE}}, {{MAPS, PAGE, PAGE}}}},
    {.name = "one finds no memory for the third table, the other for the second",
     .fail_at = {3, 2},
     .beside = {{{MAPS, 0, PAGE}}, {{MAPS, PAGE, PAGE}}}},
    {.name = "both need the same tables from a reserve",
     .is_reserved = true,
     .beside = {{{MAPS, 0, PAGE}}, {{MAPS, PAGE, PAGE}}}},
    {.name = "a map beside an unmap that contains the table next to it",
     .before = {{{MAPS, BLOCK, PAGE}}},
     .beside = {{{UNMAPS, BLOCK, BLOCK}}, {{MAPS, 0, PAGE}}}},
    {.name = "a map in the same table of tables as an unmap of all that is in it",
     .before = {{{MAPS, BLOCK, PAGE}, {MAPS, 2 * BLOCK, PAGE}}},
     .beside = {{{UNMAPS, BLOCK, 2 * BLOCK}}, {{MAPS, 3 * BLOCK, PAGE}}}},
    {.name = "a map beside an unmap of a table of tables",
     .before = {{{MAPS, LARGE, PAGE}}},
     .beside = {{{UNMAPS, LARGE, LARGE}}, {{MAPS, 0, PAGE}}}},
    {.name = "a map beside an unmap, a map and an unmap of a table of tables",
     .before = {{{MAPS, LARGE, PAGE}}},
     .beside = {{{UNMAPS, LARGE, LARGE}, {MAPS, LARGE, PAGE}, {UNMAPS, LARGE, LARGE}},
                {{MAPS, 0, PAGE}, {UNMAPS, 0, LARGE}, {MAPS, BLOCK, PAGE}}}},
    {.name = "two unmaps that contain one table each",
     .before = {{{MAPS, 0, PAGE}}, {{MAPS, BLOCK, PAGE}}},
     .beside = {{{UNMAPS, 0, BLOCK}}, {{UNMAPS, BLOCK, BLOCK}}}},
    {.name = "two unmaps that contain one table each, and a quota of one",
     .before = {{{MAPS, 0, PAGE}}, {{MAPS, BLOCK, PAGE}}},
     .kept = 1,
     .beside = {{{UNMAPS, 0, BLOCK}}, {{UNMAPS, BLOCK, BLOCK}}}},
    {.name = "two unmaps that contain one table each, and a quota of two",
     .before = {{{MAPS, 0, PAGE}}, {{MAPS, BLOCK, PAGE}}},
     .kept = 2,
     .beside = {{{UNMAPS, 0, BLOCK}}, {{UNMAPS, BLOCK, BLOCK}}}},
    {.name = "two unmaps of a table's halves",
     .before = {{{MAPS, 0, PAGE}}, {{MAPS, PAGE, PAGE}}},
     .kept = 1,
     .beside = {{{UNMAPS, 0, PAGE}, {MAPS, 0, PAGE}}, {{UNMAPS, PAGE, PAGE}}}},
    {.name = "two maps into a table of the quota",
     .before = {{{MAPS, 0, PAGE}, {UNMAPS, 0, BLOCK}}},
     .kept = 1,
     .bound = 2,
     .beside = {{{MAPS, 0, PAGE}}, {{MAPS, PAGE, PAGE}}}},
    {.name = "two maps into a table of the quota, and two unmaps",
     .before = {{{MAPS, 0, PAGE}, {UNMAPS, 0, BLOCK}}},
     .kept = 1,
     .beside = {{{MAPS, 0, PAGE}, {UNMAPS, 0, PAGE}}, {{MAPS, PAGE, PAGE}, {UNMAPS, PAGE, PAGE}}}},
    {.name = "a map into a table of the quota while another table would come in",
     .before = {{{MAPS, 0, PAGE}, {UNMAPS, 0, BLOCK}}, {{MAPS, BLOCK, PAGE}}},
     .kept = 1,
     .beside = {{{MAPS, 0, PAGE}}, {{UNMAPS, BLOCK, BLOCK}}}},
    {.name = "an unmap around a table of the quota beside a map of a neighbour",
     .before = {{{MAPS, LARGE, PAGE}, {UNMAPS, LARGE, BLOCK}, {MAPS, LARGE + BLOCK, PAGE}}},
     .kept = 1,
     .beside = {{{UNMAPS, LARGE, LARGE}}, {{MAPS, 0, PAGE}}}},
    {.name = "an unmap in a table beside looks at its other half",
     .before = {{{MAPS, 0, PAGE}}, {{MAPS, PAGE, PAGE}}},
     .beside = {{{UNMAPS, 0, PAGE}}, {{LOOKS, PAGE, BLOCK - PAGE}}}},
    {.name = "an unmap of a whole table beside looks next door",
     .before = {{{MAPS, BLOCK, 3 * PAGE}}, {{MAPS, 0, PAGE}}},
     .beside = {{{UNMAPS, BLOCK, BLOCK}}, {{LOOKS, 0, BLOCK}}}},
    {.name = "a cut of a block beside a map next to it",
     .before = {{{BLOCKS, BLOCK, BLOCK}}},
     .beside = {{{CUTS, BLOCK + 5 * PAGE, 2 * PAGE}}, {{MAPS, 0, PAGE}}}},
    {.name = "a cut of a live block beside an unmap of a table next to it",
     .flags = PIOMMU_PGTABLE_BBM_LEVEL_2,
     .before = {{{BLOCKS, BLOCK, BLOCK}}, {{MAPS, 0, PAGE}}},
     .beside = {{{CUTS, BLOCK + 5 * PAGE, 2 * PAGE}}, {{UNMAPS, 0, BLOCK}}}},
    {.name = "two cuts of blocks side by side",
     .flags = PIOMMU_PGTABLE_BBM_LEVEL_2,
     .before = {{{BLOCKS, 0, BLOCK}}, {{BLOCKS, BLOCK, BLOCK}}},
     .beside = {{{CUTS, 5 * PAGE, 2 * PAGE}}, {{CUTS, BLOCK, PAGE}}}},
    {.name = "a protect beside a map in the same table",
     .before = {{{MAPS, 0, 2 * PAGE}}},
     .beside = {{{PROTECTS, 0, 2 * PAGE}}, {{MAPS, 2 * PAGE, PAGE}}}},
    {.name = "groups side by side",
     .flags = PIOMMU_PGTABLE_CONTIGUOUS,
     .before = {{{BLOCKS, 0, 16 * PAGE}}},
     .beside = {{{UNMAPS, 0, 16 * PAGE}}, {{BLOCKS, 16 * PAGE, 16 * PAGE}}}},
    {.name = "three maps that lack the same three tables",
     .beside = {{{MAPS, 0, PAGE}}, {{MAPS, PAGE, PAGE}}, {{MAPS, BLOCK, PAGE}}}},
    {.name = "two maps and an unmap between them",
     .before = {{{MAPS, BLOCK, PAGE}}},
     .kept = 1,
     .beside = {{{UNMAPS, BLOCK, BLOCK}}, {{MAPS, 0, PAGE}}, {{MAPS, 2 * BLOCK, PAGE}}}},
    {.name = "tables go into a reserve and come out of it",
     .before = {{{MAPS, 0, PAGE}}},
     .is_reserved = true,
     .beside = {{{UNMAPS, 0, BLOCK}, {MAPS, 0, PAGE}}, {{MAPS, BLOCK, PAGE}}}},
};

/* Accesses of a task to one table, with none to anything else between. */
struct run {
    size_t slot;
    unsigned int length;
};

/* What happens, for the hooks and for whoever has to say what was wrong. */
struct world {
    struct disjoint_host *h;
    struct scheduler *scheduler;
    struct stale_tlb *tlb;
    struct disjoint_actor actors[SCHEDULER_TASKS];
    unsigned int count;
    bool is_coherent;
    uint64_t random;
    uint64_t run;

    const char *name;
    const struct scene *scene; /* NULL: at random */
    unsigned int steps;        /* then: of each task */
    uint64_t probes[SCHEDULER_TASKS][MOST_PROBES];
    size_t probe_count[SCHEDULER_TASKS];

    bool was_linked[MOST_SLOTS]; /* since it was given out */
    struct run runs[SCHEDULER_TASKS];
    bool is_counting; /* the counters are read to check them: no points there */
};

static uint64_t number_from(const char *name, uint64_t usual)
{
    const char *text = getenv(name);

    return text != NULL && *text != '\0' ? strtoull(text, NULL, 0) : usual;
}

static void describe(const void *what)
{
    const struct world *w = what;

    fprintf(stderr, "%s, %s, run %llu\n", w->name, w->is_coherent ? "coherent" : "not coherent",
            (unsigned long long)w->run);
    scheduler_describe(w->scheduler);
}

static bool is_scheduled(const struct world *w)
{
    return scheduler_current(w->scheduler) != SCHEDULER_TASKS;
}

static void give_way(struct world *w)
{
    scheduler_point(w->scheduler);
    disjoint_become(scheduler_current(w->scheduler));
}

/* ---- Hardware looks ---- */

/* An address of the actor: one of those that the case is about, or any. */
static uint64_t probe_of(struct world *w, unsigned int number, size_t index)
{
    const struct disjoint_actor *actor = &w->actors[number];
    const struct piommu_range *range;

    if (w->scene != NULL) {
        return w->probes[number][index];
    }
    if (index < 2 && actor->flight.kind != ACTOR_RESTS) {
        return index == 0 ? actor->flight.first : actor->flight.last;
    }
    if (index < 6 && actor->mapping_count != 0) {
        const struct actor_mapping *mapping =
            &actor->mappings[pgtable_random(&w->random) % actor->mapping_count];

        return index % 2 == 0 ? mapping->first : mapping->last;
    }
    range = &actor->ranges[pgtable_random(&w->random) % actor->range_count];
    return range->first + pgtable_random(&w->random) % (range->last - range->first + 1);
}

static size_t probe_count(const struct world *w, unsigned int number)
{
    return w->scene != NULL ? w->probe_count[number] : 8;
}

static void look_from_all_sides(struct world *w)
{
    unsigned int views = w->is_coherent ? 1 : DISJOINT_VIEWS;

    for (unsigned int i = 0; i < w->count; i++) {
        for (size_t j = 0; j < probe_count(w, i); j++) {
            uint64_t address = probe_of(w, i, j);

            for (unsigned int view = 0; view < views; view++) {
                struct piommu_walker_result result;

                disjoint_walk(w->h, (enum disjoint_view)view, address, &result);
                CHECK(actor_allows(&w->actors[i], address, &result, view != DISJOINT_STORED));
            }
        }
    }
}

/* What hardware remembers, all that it could see at any time, is right until it is told. */
static void look_with_memory(struct world *w, enum disjoint_view view)
{
    static const struct piommu_walker_access nothing = {.privileged = true};

    for (unsigned int i = 0; i < w->count; i++) {
        for (size_t j = 0; j < probe_count(w, i); j++) {
            uint64_t address = probe_of(w, i, j);
            struct piommu_walker_result result;

            stale_tlb_translate(w->tlb, &w->h->regime, &w->h->memory[view], address, &nothing,
                                &result);
            CHECK(actor_allows(&w->actors[i], address, &result, true));
        }
    }
}

/* The counters are right at every moment. */
static void look_at_counters(struct world *w)
{
    struct piommu_pgtable_statistics statistics;

    w->is_counting = true;
    piommu_pgtable_get_statistics(w->h->table, &statistics);
    w->is_counting = false;
    CHECK(statistics.tables_empty <= w->h->rules.config.empty_tables_kept);
    CHECK(statistics.tables_spare <= statistics.tables_reserved);
    CHECK(statistics.tables_freed <= statistics.tables_allocated);
}

/* ---- The hooks ---- */

/*
 * What nobody else can have seen: a table that the task has asked for, and which no descriptor has
 * ever led to.
 */
static bool is_private(const struct world *w, const volatile void *object)
{
    uint64_t physical;
    size_t slot;

    if (object == NULL || !disjoint_physical(w->h, object, &physical)) {
        return false;
    }
    slot = disjoint_slot(w->h, physical);
    return !w->was_linked[slot] &&
           atomic_load_explicit(&w->h->slots[slot].taker, memory_order_relaxed) ==
               scheduler_current(w->scheduler);
}

/*
 * A table that is looked through, or filled, is few points behind the first ones, not hundreds:
 * most of its words belong to one task.
 */
static void before_access(void *ctx, const volatile void *object)
{
    struct world *w = ctx;
    struct run *run;
    uint64_t physical = 0;
    size_t slot = SIZE_MAX;

    if (!is_scheduled(w) || w->is_counting || is_private(w, object)) {
        return;
    }
    if (object != NULL && disjoint_physical(w->h, object, &physical)) {
        slot = disjoint_slot(w->h, physical);
    }
    if (w->scene != NULL && w->scene->apart_from_tables && slot != SIZE_MAX) {
        return;
    }
    run = &w->runs[scheduler_current(w->scheduler)];
    run->length = slot != SIZE_MAX && slot == run->slot ? run->length + 1 : 0;
    run->slot = slot;
    if (run->length < SHORT_RUN || run->length % FEW_OF_RUN == 0) {
        give_way(w);
    }
}

static void note_link(struct world *w, uint64_t descriptor)
{
    uint64_t target = disjoint_link_target(w->h, descriptor);
    size_t slot = disjoint_slot(w->h, target);

    if ((descriptor & 3) != 3 || slot == SIZE_MAX || slot == 0 ||
        !disjoint_is_table(w->h, target, 8)) {
        return;
    }
    /* A table that was somewhere else before must have been forgotten there. */
    if (!w->was_linked[slot]) {
        CHECK(!stale_tlb_table_reaches(w->tlb, target, w->h->slot_bytes));
    }
    w->was_linked[slot] = true;
}

static void after_store(void *ctx, const volatile void *object, size_t size)
{
    struct world *w = ctx;
    uint64_t physical;
    uint64_t descriptor = 0;
    size_t slot;

    if (is_scheduled(w)) {
        look_at_counters(w);
    }
    if (size != 8 || !disjoint_physical(w->h, object, &physical)) {
        return;
    }
    CHECK(w->h->memory[DISJOINT_STORED].read64(w->h->memory[DISJOINT_STORED].ctx, physical,
                                               &descriptor));
    slot = disjoint_slot(w->h, physical);
    note_link(w, descriptor);
    if ((slot != 0 && !w->was_linked[slot]) || w->tlb == NULL) {
        return;
    }
    if (!w->is_coherent) {
        disjoint_leak(w->h, LEAK_CHANCE, &w->random);
    }
    if (w->scene == NULL && (descriptor & 1) != 0 && pgtable_random(&w->random) % 4 == 0) {
        stale_tlb_fill(w->tlb, &w->h->regime, &w->h->memory[DISJOINT_STORED]);
    }
    look_with_memory(w, DISJOINT_STORED);
    look_from_all_sides(w);
}

static void at_callback(void *ctx)
{
    struct world *w = ctx;

    if (is_scheduled(w)) {
        look_from_all_sides(w);
        look_with_memory(w, DISJOINT_CLEANED);
        if (w->scene == NULL || !w->scene->apart_from_tables) {
            give_way(w);
        }
    }
}

static void on_free(void *ctx, uint64_t physical, size_t size)
{
    struct world *w = ctx;

    /* Not even by a way that was there before. */
    CHECK(!stale_tlb_table_reaches(w->tlb, physical, size));
    w->was_linked[disjoint_slot(w->h, physical)] = false;
}

static void forget_range(void *ctx, const struct piommu_range *range)
{
    struct world *w = ctx;

    if (is_scheduled(w)) {
        give_way(w);
    }
    stale_tlb_invalidate(w->tlb, range->first, range->last, false);
    if (is_scheduled(w)) {
        give_way(w);
    }
}

/* ---- Opening and closing ---- */

static void open_world(struct world *w, const struct piommu_pgtable_config *config,
                       const struct disjoint_options *options)
{
    struct piommu_pgtable_config disjoint = *config;

    disjoint.flags |= PIOMMU_PGTABLE_DISJOINT;
    disjoint.coherent_walk = w->is_coherent;
    memset(w->was_linked, 0, sizeof(w->was_linked));
    memset(w->runs, 0, sizeof(w->runs));
    w->h = disjoint_open(&disjoint, options);
    CHECK(w->h->slot_count <= MOST_SLOTS);
    w->tlb = stale_tlb_create();
    w->h->at_callback = at_callback;
    w->h->on_free = on_free;
    w->h->hook_ctx = w;
    actors_init(w->actors, w->count, w->h, options->seed);
    for (unsigned int i = 0; i < w->count; i++) {
        w->actors[i].invalidate = forget_range;
        w->actors[i].invalidate_ctx = w;
    }
}

static void start_watching(struct world *w)
{
    static struct instrumented_hooks hooks;

    hooks =
        (struct instrumented_hooks){.before = before_access, .after_store = after_store, .ctx = w};
    instrumented_set_hooks(&hooks);
}

/* All is quiet: everything is compared, taken down and counted. */
static void close_world(struct world *w, uint64_t plan)
{
    struct disjoint_counts counts;
    struct piommu_gather gather;

    disjoint_become(DISJOINT_THREADS);
    look_at_counters(w);
    actors_check_all(w->actors, w->count);
    if (w->scene == NULL || w->run % 8 == 0) {
        disjoint_check_all(w->h, &counts);
    }
    for (unsigned int i = 0; i < w->count; i++) {
        actor_clear(&w->actors[i]);
    }
    piommu_gather_init(&gather);
    piommu_pgtable_trim(w->h->table, &gather);
    if (gather.pending) {
        forget_range(w, &gather.range);
    }
    piommu_pgtable_release(w->h->table, &gather);
    CHECK(disjoint_tables_held(w->h) == plan);
    instrumented_set_hooks(NULL);
    disjoint_close(w->h);
    stale_tlb_destroy(w->tlb);
    w->tlb = NULL;
}

/* ---- Small cases ---- */

static void perform(struct world *w, struct disjoint_actor *actor, const struct act *act)
{
    uint64_t last = act->first + (act->size - 1);
    uint64_t memory = 0x100000000ull + actor->number * 2 * LARGE;

    switch (act->kind) {
    case NOTHING:
        break;
    case MAPS:
        (void)actor_map(actor, act->first, last, memory + act->first % LARGE + PAGE);
        break;
    case BLOCKS:
        (void)actor_map(actor, act->first, last, memory + act->first % LARGE);
        break;
    case UNMAPS:
        actor_unmap(actor, act->first, last);
        actor_sync(actor);
        actor->flight.kind = ACTOR_RESTS;
        break;
    case CUTS:
        actor_cut(actor, act->first, last);
        break;
    case PROTECTS:
        actor_protect(actor, act->first, last);
        break;
    case LOOKS:
        actor_look(actor, act->first);
        actor_look(actor, last);
        actor_look_at_range(actor, act->first, last);
        break;
    }
    (void)w;
}

static void perform_task(void *ctx, unsigned int task)
{
    struct world *w = ctx;

    disjoint_become(task);
    for (size_t i = 0; i < MOST_ACTS; i++) {
        perform(w, &w->actors[task], &w->scene->beside[task][i]);
    }
}

/* The ends of all that a task does are looked at; its ranges are what it does beside others. */
static void note_act(struct world *w, unsigned int task, const struct act *act, bool beside)
{
    struct disjoint_actor *actor = &w->actors[task];
    uint64_t last = act->first + (act->size - 1);

    if (act->kind == NOTHING) {
        return;
    }
    if (beside) {
        actor->ranges[actor->range_count++] =
            (struct piommu_range){.first = act->first, .last = last};
        CHECK(w->probe_count[task] + 2 <= MOST_PROBES);
        w->probes[task][w->probe_count[task]++] = act->first;
        w->probes[task][w->probe_count[task]++] = last;
    } else {
        /* A table of the quota is left by one and used by all. */
        bool is_all_of_it = act->kind == UNMAPS;

        if (!is_all_of_it && w->scene->before[task][1].kind != UNMAPS) {
            actor->ranges[actor->range_count++] =
                (struct piommu_range){.first = act->first, .last = last};
        }
    }
}

static unsigned int count_tasks(const struct scene *scene)
{
    unsigned int count = SCHEDULER_TASKS;

    while (scene->beside[count - 1][0].kind == NOTHING) {
        count--;
    }
    return count;
}

static void prepare_scene(struct world *w, uint64_t *plan)
{
    const struct scene *scene = w->scene;

    *plan = 0;
    memset(w->probe_count, 0, sizeof(w->probe_count));
    for (unsigned int i = 0; i < w->count; i++) {
        for (size_t j = 0; j < MOST_ACTS; j++) {
            note_act(w, i, &scene->before[i][j], false);
            note_act(w, i, &scene->beside[i][j], true);
        }
    }
    disjoint_become(DISJOINT_THREADS);
    if (scene->is_reserved) {
        *plan = actors_plan(w->actors, w->count);
        CHECK(piommu_pgtable_reserve(w->h->table, (uint32_t)*plan) == 0);
    }
    for (unsigned int i = 0; i < w->count; i++) {
        disjoint_become(i);
        for (size_t j = 0; j < MOST_ACTS; j++) {
            perform(w, &w->actors[i], &scene->before[i][j]);
        }
        w->actors[i].is_reserved = scene->is_reserved;
        w->h->shares[i].fail_at = scene->fail_at[i];
    }
}

/* Once, in the next way; false: that was the last one. */
static bool run_scene(struct world *w, uint64_t seed)
{
    struct piommu_pgtable_config config = stage1_config(48);
    struct disjoint_options options = {
        .scattered = seed % 2 != 0, .tables_per_thread = 16, .seed = seed};
    uint64_t plan;
    bool goes_on;

    if (w->scene->is_reserved) {
        options.tables_per_thread = 64;
    }
    config.flags = w->scene->flags;
    config.empty_tables_kept = w->scene->kept;
    w->random = seed;
    w->count = count_tasks(w->scene);
    open_world(w, &config, &options);
    start_watching(w);
    prepare_scene(w, &plan);
    goes_on = scheduler_run(w->scheduler, w->count, perform_task, w);
    close_world(w, plan);
    w->run++;
    return goes_on;
}

/* Every way with a switch or two; then ways with more of them at random. */
static void explore_scene(struct world *w, uint64_t seed, uint64_t steps)
{
    uint64_t runs = steps / 2500;
    struct scheduler_options options = {.policy = SCHEDULER_ALL, .seed = seed};
    bool goes_on = true;

    w->name = w->scene->name;
    w->run = 0;
    options.bound = w->scene->bound != 0 ? w->scene->bound : 1;
    if (steps < ALL_STEPS) {
        options.bound = 1;
    } else if (steps >= 10 * ALL_STEPS) {
        options.bound++;
    }
    scheduler_set(w->scheduler, &options);
    while (goes_on) {
        goes_on = run_scene(w, seed);
    }
    options.policy = SCHEDULER_FEW;
    for (uint64_t i = 0; i < runs; i++) {
        options.bound = 2 + (unsigned int)(i % 8);
        options.seed = seed + i;
        scheduler_set(w->scheduler, &options);
        (void)run_scene(w, seed + i);
    }
    options.policy = SCHEDULER_RANDOM;
    for (uint64_t i = 0; i < runs; i++) {
        options.chance = 8u << (i % 5);
        options.seed = seed + i;
        scheduler_set(w->scheduler, &options);
        (void)run_scene(w, seed + i);
    }
}

static void in_small_cases_all_ways_are_right(void **state)
{
    static struct world w;
    uint64_t seed = number_from("PIOMMU_RANDOM_SEED", 1);
    uint64_t steps = number_from("PIOMMU_RANDOM_STEPS", ALL_STEPS);

    (void)state;
    if (!DISJOINT_TABLES_EXIST) {
        skip();
    }
    memset(&w, 0, sizeof(w));
    w.scheduler = scheduler_create();
    if (w.scheduler == NULL) {
        skip();
    }
    pgtable_describe(describe, &w);
    for (size_t i = 0; i < sizeof(scenes) / sizeof(scenes[0]); i++) {
        w.scene = &scenes[i];
        for (unsigned int coherent = 0; coherent < 2; coherent++) {
            w.is_coherent = coherent != 0;
            explore_scene(&w, seed, steps);
        }
    }
    pgtable_describe(NULL, NULL);
    scheduler_destroy(w.scheduler);
}

/* ---- Anything at all ---- */

struct setting {
    const char *name;
    struct kind kind;
    bool coherent;
    bool scattered;
    bool is_reserved;
    uint16_t kept;
    uint16_t fail_chance; /* of 65536 */
    uint8_t tasks;
};

static const struct setting settings[] = {
    {.name = "4K", .kind = {S1_64, 4096, 39, 48, 0, 0}, .coherent = true, .tasks = 3},
    {.name = "4K, four levels, a quota, short of memory",
     .kind = {S1_64, 4096, 48, 48, PIOMMU_PGTABLE_CONTIGUOUS, 0},
     .coherent = true,
     .scattered = true,
     .kept = 2,
     .fail_chance = 6000,
     .tasks = 3},
    {.name = "4K, not coherent",
     .kind = {S1_64, 4096, 48, 48, PIOMMU_PGTABLE_BBM_LEVEL_2, 0},
     .kept = 1,
     .tasks = 3},
    {.name = "4K, pages alone, not coherent, short of memory",
     .kind = {S2_64, 4096, 40, 40, PIOMMU_PGTABLE_CONCATENATE, 4096},
     .fail_chance = 3000,
     .tasks = 2},
    {.name = "4K, a reserve, not coherent",
     .kind = {S1_64, 4096, 39, 48, 0, 0},
     .is_reserved = true,
     .kept = 2,
     .tasks = 3},
    {.name = "16K", .kind = {S2_64, 16384, 40, 48, 0, 0}, .coherent = false, .kept = 3, .tasks = 3},
    {.name = "32-bit",
     .kind = {S1_32, 4096, 32, 40, 0, 0},
     .coherent = true,
     .kept = 1,
     .tasks = 2},
};

static void step_task(void *ctx, unsigned int task)
{
    struct world *w = ctx;

    disjoint_become(task);
    for (unsigned int i = 0; i < w->steps; i++) {
        actor_step(&w->actors[task]);
    }
    actor_sync(&w->actors[task]);
    w->actors[task].flight.kind = ACTOR_RESTS;
}

static void run_setting(struct world *w, const struct setting *setting, uint64_t seed)
{
    struct piommu_pgtable_config config = config_of_kind(&setting->kind);
    struct disjoint_options options = {
        .scattered = setting->scattered, .tables_per_thread = 300, .seed = seed};
    uint64_t plan = 0;

    config.empty_tables_kept = setting->kept;
    w->name = setting->name;
    w->is_coherent = setting->coherent;
    w->count = setting->tasks;
    w->random = seed;
    open_world(w, &config, &options);
    do {
        actors_deal(w->actors, w->count, setting->is_reserved ? 2 : 5, seed++);
        plan = setting->is_reserved ? actors_plan(w->actors, w->count) : 0;
    } while (plan > options.tables_per_thread);
    disjoint_become(DISJOINT_THREADS);
    CHECK(piommu_pgtable_reserve(w->h->table, (uint32_t)plan) == 0);
    for (unsigned int i = 0; i < w->count; i++) {
        w->actors[i].is_reserved = setting->is_reserved;
        w->h->shares[i].fail_chance = setting->fail_chance;
    }
    start_watching(w);
    (void)scheduler_run(w->scheduler, w->count, step_task, w);
    for (unsigned int i = 0; i < w->count; i++) {
        w->h->shares[i].fail_chance = 0;
    }
    close_world(w, plan);
    w->run++;
}

static void random_calls_in_random_turns_are_right(void **state)
{
    static struct world w;
    uint64_t seed = number_from("PIOMMU_RANDOM_SEED", 1);
    uint64_t steps = number_from("PIOMMU_RANDOM_STEPS", ALL_STEPS);

    (void)state;
    if (!DISJOINT_TABLES_EXIST) {
        skip();
    }
    memset(&w, 0, sizeof(w));
    w.scheduler = scheduler_create();
    if (w.scheduler == NULL) {
        skip();
    }
    w.steps = 40;
    pgtable_describe(describe, &w);
    for (uint64_t i = 0; i < steps / 1500; i++) {
        struct scheduler_options options = {
            .policy = SCHEDULER_RANDOM, .chance = 1u << (i % 8), .seed = seed + i};

        scheduler_set(w.scheduler, &options);
        run_setting(&w, &settings[i % (sizeof(settings) / sizeof(settings[0]))], seed + i);
    }
    pgtable_describe(NULL, NULL);
    scheduler_destroy(w.scheduler);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_small_cases_all_ways_are_right),
        cmocka_unit_test(random_calls_in_random_turns_are_right),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
