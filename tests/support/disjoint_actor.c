/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "disjoint_actor.h"

#include <piommu/io-pgtable-inspect.h>

#include <string.h>

/* Above all table memory, so that no leaf can be taken for a link. */
#define PHYSICAL_FIRST 0x100000000ull
#define PHYSICAL_BITS  33u
#define MOST_PAGES     700u /* that a map may have to store one by one */

static uint64_t below(uint64_t *random, uint64_t limit)
{
    return pgtable_random(random) % limit;
}

static uint64_t minimum(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t maximum(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t granule_of(const struct disjoint_actor *actor)
{
    return actor->h->rules.config.granule;
}

/* What one descriptor of a level covers; 0: there is no such level. */
static uint64_t span_of(const struct disjoint_host *h, int level)
{
    return level < h->rules.start_level ? 0 : UINT64_C(1) << rules_level_shift(&h->rules, level);
}

/* ---- What the actor knows ---- */

/* The first mapping that ends at or behind an address. */
static size_t index_of(const struct disjoint_actor *actor, uint64_t address)
{
    size_t index = 0;

    while (index < actor->mapping_count && actor->mappings[index].last < address) {
        index++;
    }
    return index;
}

const struct actor_mapping *actor_mapping_at(const struct disjoint_actor *actor, uint64_t address)
{
    size_t index = index_of(actor, address);

    return index < actor->mapping_count && actor->mappings[index].first <= address
               ? &actor->mappings[index]
               : NULL;
}

static void insert(struct disjoint_actor *actor, size_t index, struct actor_mapping mapping)
{
    CHECK(actor->mapping_count < ACTOR_MAPPINGS);
    memmove(&actor->mappings[index + 1], &actor->mappings[index],
            (actor->mapping_count - index) * sizeof(mapping));
    actor->mappings[index] = mapping;
    actor->mapping_count++;
}

static void add(struct disjoint_actor *actor, struct actor_mapping mapping)
{
    insert(actor, index_of(actor, mapping.first), mapping);
}

/* Makes a mapping begin at an address, if one reaches over it. */
static void split(struct disjoint_actor *actor, uint64_t address)
{
    size_t index = index_of(actor, address);
    struct actor_mapping upper;

    if (index == actor->mapping_count || actor->mappings[index].first >= address) {
        return;
    }
    upper = actor->mappings[index];
    upper.physical += address - upper.first;
    upper.first = address;
    actor->mappings[index].last = address - 1;
    insert(actor, index + 1, upper);
}

/* The mappings of a range as whole ones: those from the result to before *behind. */
static size_t cut_out(struct disjoint_actor *actor, uint64_t first, uint64_t last, size_t *behind)
{
    size_t begin;

    split(actor, first);
    if (last != UINT64_MAX) {
        split(actor, last + 1);
    }
    begin = index_of(actor, first);
    *behind = begin;
    while (*behind < actor->mapping_count && actor->mappings[*behind].first <= last) {
        (*behind)++;
    }
    return begin;
}

static uint64_t mapped_bytes(const struct disjoint_actor *actor, uint64_t first, uint64_t last)
{
    uint64_t bytes = 0;

    for (size_t i = index_of(actor, first);
         i < actor->mapping_count && actor->mappings[i].first <= last; i++) {
        bytes +=
            minimum(actor->mappings[i].last, last) - maximum(actor->mappings[i].first, first) + 1;
    }
    return bytes;
}

static void forget(struct disjoint_actor *actor, uint64_t first, uint64_t last)
{
    size_t behind;
    size_t begin = cut_out(actor, first, last, &behind);

    memmove(&actor->mappings[begin], &actor->mappings[behind],
            (actor->mapping_count - behind) * sizeof(actor->mappings[0]));
    actor->mapping_count -= behind - begin;
}

static bool is_unsynced(const struct disjoint_actor *actor, uint64_t first, uint64_t last)
{
    for (size_t i = 0; i < actor->unsynced_count; i++) {
        if (first <= actor->unsynced[i].last && actor->unsynced[i].first <= last) {
            return true;
        }
    }
    return false;
}

/* The leaf around an address, which is mapped. */
static struct piommu_range leaf_at(const struct disjoint_actor *actor, uint64_t address)
{
    struct piommu_translation translation;
    struct piommu_range leaf;

    CHECK(piommu_pgtable_lookup(actor->h->table, address, &translation) == 0);
    leaf.first = address & ~(translation.leaf_size - 1);
    leaf.last = leaf.first + (translation.leaf_size - 1);
    return leaf;
}

/* A range, widened to the leaves at its ends. */
static struct piommu_range whole_leaves(const struct disjoint_actor *actor, uint64_t first,
                                        uint64_t last)
{
    struct piommu_range range = {.first = first, .last = last};

    if (actor_mapping_at(actor, first) != NULL) {
        range.first = leaf_at(actor, first).first;
    }
    if (actor_mapping_at(actor, last) != NULL) {
        range.last = leaf_at(actor, last).last;
    }
    return range;
}

/* ---- What hardware may see ---- */

/* The output address for a byte of a map in progress. */
static uint64_t flight_output(const struct actor_flight *flight, uint64_t address)
{
    uint64_t offset = address - flight->first;

    for (size_t i = 0; i < flight->count; i++) {
        if (offset < flight->segments[i].size) {
            return flight->segments[i].physical + offset;
        }
        offset -= flight->segments[i].size;
    }
    pgtable_check_failed(__FILE__, __LINE__, "the segments are as long as the range");
}

static bool leads_to(const struct piommu_walker_result *result, uint64_t output, piommu_prot prot)
{
    const struct piommu_walker_rights *rights = &result->attributes.privileged;

    return result->fault == PIOMMU_WALKER_FAULT_NONE && result->output == output &&
           rights->read == ((prot & PIOMMU_PROT_READ) != 0) &&
           rights->write == ((prot & PIOMMU_PROT_WRITE) != 0);
}

bool actor_allows(const struct disjoint_actor *actor, uint64_t address,
                  const struct piommu_walker_result *result, bool forgets_late)
{
    const struct actor_mapping *mapping = actor_mapping_at(actor, address);
    const struct actor_flight *flight = &actor->flight;
    bool in_flight =
        flight->kind != ACTOR_RESTS && address >= flight->first && address <= flight->last;

    if (forgets_late && is_unsynced(actor, address, address)) {
        return result->fault == PIOMMU_WALKER_FAULT_NONE ||
               result->fault == PIOMMU_WALKER_FAULT_TRANSLATION;
    }
    if (mapping == NULL) {
        return result->fault == PIOMMU_WALKER_FAULT_TRANSLATION ||
               (in_flight && flight->kind == ACTOR_MAPS &&
                leads_to(result, flight_output(flight, address), flight->prot));
    }
    if (leads_to(result, mapping->physical + (address - mapping->first), mapping->prot)) {
        return true;
    }
    if (in_flight && flight->kind == ACTOR_PROTECTS) {
        if (forgets_late && result->fault == PIOMMU_WALKER_FAULT_NONE) {
            return result->output == mapping->physical + (address - mapping->first);
        }
        return leads_to(result, mapping->physical + (address - mapping->first), flight->prot);
    }
    return in_flight && flight->kind == ACTOR_UNMAPS &&
           result->fault == PIOMMU_WALKER_FAULT_TRANSLATION;
}

/* Both of those who see all and those who see only what was cleaned have to agree. */
static void check_views(const struct disjoint_actor *actor, uint64_t address)
{
    unsigned int views = actor->h->rules.config.coherent_walk ? 1 : DISJOINT_VIEWS;

    for (unsigned int view = 0; view < views; view++) {
        struct piommu_walker_result result;

        disjoint_walk(actor->h, (enum disjoint_view)view, address, &result);
        CHECK(actor_allows(actor, address, &result, false));
    }
}

static void check_range(struct disjoint_actor *actor, uint64_t first, uint64_t last)
{
    check_views(actor, first);
    check_views(actor, last);
    check_views(actor, first + below(&actor->random, last - first + 1));
}

/* ---- Looking ---- */

void actor_look(struct disjoint_actor *actor, uint64_t address)
{
    const struct actor_mapping *mapping = actor_mapping_at(actor, address);
    struct piommu_translation translation;
    struct piommu_pgtable_walk walk;
    int result = piommu_pgtable_lookup(actor->h->table, address, &translation);
    uint64_t output = PIOMMU_PGTABLE_NO_ADDRESS;

    if (mapping != NULL) {
        output = mapping->physical + (address - mapping->first);
        CHECK(result == 0 && translation.physical == output);
        CHECK(translation.prot == mapping->prot);
        CHECK((address & ~(translation.leaf_size - 1)) >= mapping->first);
        CHECK((address | (translation.leaf_size - 1)) <= mapping->last);
    } else {
        CHECK(result == -PIOMMU_ENOENT);
        CHECK(translation.leaf_size >= granule_of(actor));
    }
    CHECK(piommu_pgtable_translate(actor->h->table, address) == output);
    result = piommu_pgtable_walk(actor->h->table, address, &walk);
    CHECK(result == (mapping != NULL ? 0 : -PIOMMU_ENOENT));
    if (mapping != NULL) {
        const struct piommu_pgtable_step *step = &walk.steps[walk.count - 1];

        CHECK(step->kind == PIOMMU_PGTABLE_STEP_LEAF);
        CHECK(step->physical + (address - step->covers.first) == output);
    }
}

static void look_for_leaf(struct disjoint_actor *actor, uint64_t first, uint64_t last)
{
    size_t index = index_of(actor, first);
    struct piommu_translation translation;
    uint64_t found = 0;
    int result = piommu_pgtable_next_leaf(actor->h->table, first, last, &found, &translation);

    if (index == actor->mapping_count || actor->mappings[index].first > last) {
        CHECK(result == -PIOMMU_ENOENT);
        return;
    }
    CHECK(result == 0);
    CHECK(found >= actor->mappings[index].first);
    CHECK(found <= maximum(actor->mappings[index].first, first));
    CHECK(found + (translation.leaf_size - 1) >= maximum(actor->mappings[index].first, first));
    CHECK(translation.physical ==
          actor->mappings[index].physical + (found - actor->mappings[index].first));
}

struct tour {
    const struct disjoint_actor *actor;
    uint64_t bytes;
};

static bool visit(void *cookie, const struct piommu_pgtable_mapping *mapping)
{
    struct tour *tour = cookie;
    uint64_t first = mapping->range.first;

    tour->bytes += mapping->range.last - first + 1;
    /* Neighbours that go on are seen as one. */
    while (first <= mapping->range.last) {
        const struct actor_mapping *known = actor_mapping_at(tour->actor, first);

        CHECK(known != NULL && known->prot == mapping->prot);
        CHECK(known->physical + (first - known->first) ==
              mapping->physical + (first - mapping->range.first));
        if (known->last >= mapping->range.last) {
            break;
        }
        first = known->last + 1;
    }
    return true;
}

static void look_at_all(struct disjoint_actor *actor, uint64_t first, uint64_t last)
{
    struct tour tour = {.actor = actor};

    CHECK(piommu_pgtable_for_each_mapping(actor->h->table, first, last, visit, &tour) == 0);
    CHECK(tour.bytes == mapped_bytes(actor, first, last));
}

void actor_look_at_range(struct disjoint_actor *actor, uint64_t first, uint64_t last)
{
    look_for_leaf(actor, first, last);
    look_at_all(actor, first, last);
}

/* ---- Calls ---- */

/* Every call may or may not allocate and free. */
static void begin_call(struct disjoint_actor *actor, bool may_allocate)
{
    unsigned int nothing = FAKE_OS_FORBID_ALLOCATION | FAKE_OS_FORBID_FREE;

    disjoint_share(actor->h)->forbidden = may_allocate && !actor->is_reserved ? 0 : nothing;
    actor->calls++;
}

static void end_call(struct disjoint_actor *actor)
{
    disjoint_share(actor->h)->forbidden = 0;
}

static void take_off(struct disjoint_actor *actor, enum actor_flight_kind kind, uint64_t first,
                     uint64_t last)
{
    actor->flight.first = first;
    actor->flight.last = last;
    actor->flight.kind = kind;
}

static void land(struct disjoint_actor *actor)
{
    actor->flight.kind = ACTOR_RESTS;
}

static void pause_between(struct disjoint_actor *actor)
{
    if (actor->yield != NULL && below(&actor->random, 8) == 0) {
        actor->yield();
    }
}

void actor_sync(struct disjoint_actor *actor)
{
    struct piommu_gather *gather = &actor->gather;

    begin_call(actor, false);
    piommu_pgtable_detach_empty(actor->h->table, gather);
    end_call(actor);
    for (size_t i = 0; i < actor->unsynced_count; i++) {
        /* What was removed may be seen by nobody from here on, whatever was cleaned since. */
        check_range(actor, actor->unsynced[i].first, actor->unsynced[i].last);
    }
    pause_between(actor);
    if (gather->pending && actor->invalidate != NULL) {
        actor->invalidate(actor->invalidate_ctx, &gather->range);
    }
    actor->unsynced_count = 0;
    disjoint_share(actor->h)->forbidden =
        FAKE_OS_FORBID_ALLOCATION | (actor->is_reserved ? FAKE_OS_FORBID_FREE : 0u);
    if (below(&actor->random, 8) == 0) {
        struct piommu_gather other;

        piommu_gather_init(&other);
        piommu_pgtable_move_detached(actor->h->table, gather, &other);
        piommu_pgtable_release(actor->h->table, gather);
        piommu_pgtable_release(actor->h->table, &other);
    } else {
        piommu_pgtable_release(actor->h->table, gather);
    }
    CHECK(!gather->pending);
    end_call(actor);
}

static void note_unmap(struct disjoint_actor *actor, uint64_t first, uint64_t last)
{
    actor->unsynced[actor->unsynced_count++] = (struct piommu_range){.first = first, .last = last};
}

/* After an unmap: mostly at once, sometimes with others together. */
static void maybe_sync(struct disjoint_actor *actor)
{
    if (actor->unsynced_count == ACTOR_UNSYNCED || below(&actor->random, 4) != 0) {
        actor_sync(actor);
    }
}

/* What a map of the flight's range has to return; *mapped: how far it gets. */
static int judge_map(const struct disjoint_actor *actor, uint64_t *mapped)
{
    const struct actor_flight *flight = &actor->flight;
    size_t index = index_of(actor, flight->first);

    *mapped = flight->last - flight->first + 1;
    if (index == actor->mapping_count || actor->mappings[index].first > flight->last) {
        return 0;
    }
    *mapped = maximum(actor->mappings[index].first, flight->first) - flight->first;
    return -PIOMMU_EEXIST;
}

/* Notes what was mapped, segment by segment. */
static void note_map(struct disjoint_actor *actor, uint64_t mapped)
{
    const struct actor_flight *flight = &actor->flight;
    uint64_t first = flight->first;

    for (size_t i = 0; i < flight->count && mapped != 0; i++) {
        uint64_t size = minimum(flight->segments[i].size, mapped);

        add(actor,
            (struct actor_mapping){.first = first,
                                   .last = first + (size - 1),
                                   .physical = flight->segments[i].physical,
                                   .prot = rules_normal_prot(&actor->h->rules, flight->prot)});
        first += size;
        mapped -= size;
    }
}

static int map_in_portions(struct disjoint_actor *actor, uint64_t *mapped)
{
    const struct actor_flight *flight = &actor->flight;
    uint32_t budget = (uint32_t)below(&actor->random, 20);
    struct piommu_pgtable_cursor cursor;
    unsigned int attempts = 0;
    int result;

    memset(&cursor, 0, sizeof(cursor));
    do {
        result = piommu_pgtable_map_some(actor->h->table, flight->first, flight->segments,
                                         flight->count, flight->prot, budget, &cursor);
        if (result == -PIOMMU_ENOMEM && attempts++ < 4) {
            result = -PIOMMU_EAGAIN;
        }
    } while (result == -PIOMMU_EAGAIN);
    *mapped = cursor.changed;
    return result;
}

/* Maps what actor->flight says. */
static bool map_flight(struct disjoint_actor *actor)
{
    const struct actor_flight *flight = &actor->flight;
    const struct disjoint_share *share = disjoint_share(actor->h);
    uint64_t failures = share->failures;
    uint64_t size = flight->last - flight->first + 1;
    uint64_t expected;
    uint64_t mapped = 1;
    int wanted = judge_map(actor, &expected);
    bool in_portions = below(&actor->random, 4) == 0;
    int result;

    begin_call(actor, true);
    if (in_portions) {
        result = map_in_portions(actor, &mapped);
    } else if (flight->count == 1) {
        result = piommu_pgtable_map(actor->h->table, flight->first, flight->segments[0].physical,
                                    size, flight->prot, &mapped);
    } else {
        result = piommu_pgtable_map_list(actor->h->table, flight->first, flight->segments,
                                         flight->count, flight->prot, &mapped);
    }
    end_call(actor);
    if (result == -PIOMMU_ENOMEM) {
        CHECK(share->failures > failures);
        CHECK(in_portions ? mapped <= expected : mapped == 0);
    } else {
        CHECK(result == wanted && mapped == expected);
    }
    note_map(actor, mapped);
    land(actor);
    if (mapped != 0) {
        /* Hardware that sees nothing but what was cleaned has the whole range now. */
        check_range(actor, flight->first, flight->first + (mapped - 1));
    }
    return result != -PIOMMU_ENOMEM;
}

bool actor_map(struct disjoint_actor *actor, uint64_t first, uint64_t last, uint64_t physical)
{
    actor->flight.segments[0] =
        (struct piommu_segment){.physical = physical, .size = last - first + 1};
    actor->flight.count = 1;
    actor->flight.prot = PIOMMU_PROT_READ | PIOMMU_PROT_WRITE;
    take_off(actor, ACTOR_MAPS, first, last);
    return map_flight(actor);
}

/* What an unmap or a protect of a range has to return. */
static int judge_removal(const struct disjoint_actor *actor, uint64_t first, uint64_t last)
{
    struct piommu_range leaves = whole_leaves(actor, first, last);

    if (leaves.first < first || leaves.last > last) {
        return -PIOMMU_ECUT;
    }
    return mapped_bytes(actor, first, last) == 0 ? -PIOMMU_ENOENT : 0;
}

/* In portions, between which hardware may be told. */
static int unmap_in_portions(struct disjoint_actor *actor, uint64_t first, uint64_t last,
                             uint64_t *unmapped)
{
    uint32_t budget = (uint32_t)below(&actor->random, 20);
    struct piommu_pgtable_cursor cursor;
    int result;

    memset(&cursor, 0, sizeof(cursor));
    do {
        result = piommu_pgtable_unmap_some(actor->h->table, first, last - first + 1, budget,
                                           &actor->gather, &cursor);
        if (result == -PIOMMU_EAGAIN && below(&actor->random, 4) == 0) {
            if (cursor.done != 0) {
                forget(actor, first, first + (cursor.done - 1));
            }
            end_call(actor);
            actor_sync(actor);
            note_unmap(actor, first, last);
            begin_call(actor, false);
        }
    } while (result == -PIOMMU_EAGAIN);
    *unmapped = cursor.changed;
    return result;
}

/* Does the gather have what is mapped in a range? */
static bool is_gathered(const struct disjoint_actor *actor, uint64_t first, uint64_t last)
{
    const struct piommu_gather *gather = &actor->gather;

    for (size_t i = index_of(actor, first);
         i < actor->mapping_count && actor->mappings[i].first <= last; i++) {
        if (!gather->pending || gather->range.first > maximum(first, actor->mappings[i].first) ||
            gather->range.last < minimum(last, actor->mappings[i].last)) {
            return false;
        }
    }
    return true;
}

void actor_unmap(struct disjoint_actor *actor, uint64_t first, uint64_t last)
{
    int wanted = judge_removal(actor, first, last);
    uint64_t expected = mapped_bytes(actor, first, last);
    bool in_portions = wanted == 0 && below(&actor->random, 4) == 0;
    uint64_t unmapped = 1;
    int result;

    note_unmap(actor, first, last);
    take_off(actor, ACTOR_UNMAPS, first, last);
    begin_call(actor, false);
    if (in_portions) {
        result = unmap_in_portions(actor, first, last, &unmapped);
    } else {
        result = piommu_pgtable_unmap(actor->h->table, first, last - first + 1, &actor->gather,
                                      &unmapped);
    }
    end_call(actor);
    CHECK(result == wanted);
    if (result == 0) {
        CHECK(unmapped == expected);
        CHECK(in_portions || is_gathered(actor, first, last));
        forget(actor, first, last);
    }
    /* Before the barrier of the sync, hardware may or may not see it. */
    maybe_sync(actor);
    if (actor->unsynced_count == 0) {
        land(actor);
    }
}

static void unmap_leaves(struct disjoint_actor *actor, uint64_t first, uint64_t last)
{
    struct piommu_range wanted = whole_leaves(actor, first, last);
    uint64_t expected = mapped_bytes(actor, wanted.first, wanted.last);
    struct piommu_range removed;
    uint64_t unmapped;
    int result;

    note_unmap(actor, wanted.first & ~(granule_of(actor) - 1),
               wanted.last | (granule_of(actor) - 1));
    take_off(actor, ACTOR_UNMAPS, wanted.first, wanted.last);
    begin_call(actor, false);
    result = piommu_pgtable_unmap_leaves(actor->h->table, first, last, &actor->gather, &removed,
                                         &unmapped);
    end_call(actor);
    if (expected == 0) {
        CHECK(result == -PIOMMU_ENOENT);
    } else {
        CHECK(result == 0 && unmapped == expected);
        CHECK(removed.first == wanted.first && removed.last == wanted.last);
        forget(actor, wanted.first, wanted.last);
    }
    actor_sync(actor);
    land(actor);
}

struct cut {
    struct disjoint_actor *actor;
    unsigned int invalidations;
    bool fails;
};

static int invalidate_cut(void *cookie, const struct piommu_range *range)
{
    struct cut *cut = cookie;

    cut->invalidations++;
    pause_between(cut->actor);
    if (cut->fails) {
        return -PIOMMU_EIO;
    }
    if (cut->actor->invalidate != NULL) {
        cut->actor->invalidate(cut->actor->invalidate_ctx, range);
    }
    return 0;
}

void actor_cut(struct disjoint_actor *actor, uint64_t first, uint64_t last)
{
    const struct disjoint_share *share = disjoint_share(actor->h);
    bool splits_live = (actor->h->rules.config.flags & PIOMMU_PGTABLE_BBM_LEVEL_2) != 0;
    struct piommu_range leaves = whole_leaves(actor, first, last);
    uint64_t expected = mapped_bytes(actor, first, last);
    uint64_t failures = share->failures;
    struct cut cut = {.actor = actor, .fails = below(&actor->random, 8) == 0};
    uint64_t unmapped;
    int result;

    take_off(actor, ACTOR_UNMAPS, splits_live ? first : leaves.first,
             splits_live ? last : leaves.last);
    note_unmap(actor, leaves.first, leaves.last);
    begin_call(actor, true);
    result = piommu_pgtable_unmap_cut(actor->h->table, first, last - first + 1, invalidate_cut,
                                      &cut, &actor->gather, &unmapped);
    end_call(actor);
    CHECK(cut.invalidations <= 1);
    if (result == -PIOMMU_ENOMEM) {
        CHECK(share->failures > failures && cut.invalidations == 0);
    } else if (expected == 0) {
        CHECK(result == -PIOMMU_ENOENT);
    } else if (cut.fails) {
        CHECK(result == -PIOMMU_EIO && cut.invalidations == 1 && actor->gather.pending);
        forget(actor, actor->flight.first, actor->flight.last);
        actor_sync(actor);
    } else {
        CHECK(result == 0 && cut.invalidations == 1 && unmapped == expected);
        CHECK(!actor->gather.pending);
        forget(actor, first, last);
    }
    actor->unsynced_count = 0;
    land(actor);
    check_range(actor, leaves.first, leaves.last);
}

void actor_protect(struct disjoint_actor *actor, uint64_t first, uint64_t last)
{
    piommu_prot prot = PIOMMU_PROT_READ | PIOMMU_PROT_SOFTWARE(pgtable_random(&actor->random));
    int wanted = judge_removal(actor, first, last);
    uint32_t budget = (uint32_t)below(&actor->random, 20);
    struct piommu_pgtable_cursor cursor;
    uint64_t changed = 1;
    int result;

    if (below(&actor->random, 2) == 0) {
        prot |= PIOMMU_PROT_WRITE;
    }
    memset(&cursor, 0, sizeof(cursor));
    actor->flight.prot = prot;
    take_off(actor, ACTOR_PROTECTS, first, last);
    begin_call(actor, false);
    if (below(&actor->random, 2) == 0) {
        result = piommu_pgtable_protect(actor->h->table, first, last - first + 1, prot,
                                        &actor->gather, &changed);
    } else {
        do {
            result = piommu_pgtable_protect_some(actor->h->table, first, last - first + 1, prot,
                                                 budget, &actor->gather, &cursor);
        } while (result == -PIOMMU_EAGAIN);
        changed = cursor.changed;
    }
    end_call(actor);
    CHECK(result == wanted);
    if (result == 0) {
        size_t behind;

        CHECK(changed == mapped_bytes(actor, first, last));
        for (size_t i = cut_out(actor, first, last, &behind); i < behind; i++) {
            piommu_prot kept = actor->mappings[i].prot &
                               ~(piommu_prot)(PIOMMU_PROT_ACCESS | PIOMMU_PROT_SOFTWARE_MASK);

            actor->mappings[i].prot = kept | prot;
        }
        check_range(actor, first, last);
    }
    actor_sync(actor);
    land(actor);
}

/* ---- Choosing ---- */

static piommu_prot choose_prot(struct disjoint_actor *actor)
{
    static const piommu_prot prots[] = {
        PIOMMU_PROT_READ,
        PIOMMU_PROT_READ | PIOMMU_PROT_WRITE,
        PIOMMU_PROT_READ | PIOMMU_PROT_WRITE | PIOMMU_PROT_NONCACHEABLE,
        PIOMMU_PROT_READ | PIOMMU_PROT_WRITE | PIOMMU_PROT_DEVICE | PIOMMU_PROT_SOFTWARE(5),
    };

    return prots[below(&actor->random, sizeof(prots) / sizeof(prots[0]))];
}

/* A part of a range: often from one of its ends, and of few pages. */
static struct piommu_range choose_part(struct disjoint_actor *actor, struct piommu_range range)
{
    uint64_t granule = granule_of(actor);
    uint64_t pages = (range.last - range.first) / granule + 1;
    uint64_t most = below(&actor->random, 4) == 0 ? 64 : 8;
    uint64_t count = 1 + below(&actor->random, minimum(pages, most));
    uint64_t skipped = below(&actor->random, pages - count + 1);

    switch (below(&actor->random, 4)) {
    case 0:
        skipped = 0;
        break;
    case 1:
        skipped = pages - count;
        break;
    default:
        break;
    }
    return (struct piommu_range){.first = range.first + skipped * granule,
                                 .last = range.first + (skipped + count) * granule - 1};
}

/* Some large leaves; false: there is no room for one. */
static bool choose_blocks(struct disjoint_actor *actor, struct piommu_range range, uint64_t size,
                          struct piommu_range *part)
{
    uint64_t first = (range.first + (size - 1)) & ~(size - 1);
    uint64_t count;

    if (size == 0 || first < range.first || first > range.last ||
        (range.last - first) / size + ((range.last - first) % size == size - 1) == 0) {
        return false;
    }
    count = (range.last - first) / size + ((range.last - first) % size == size - 1);
    part->first = first + below(&actor->random, count) * size;
    count -= (part->first - first) / size;
    part->last = part->first + (1 + below(&actor->random, minimum(count, 3))) * size - 1;
    return true;
}

/*
 * Memory at the same place within a large leaf as the addresses, or anywhere. That of one segment
 * never goes on where that of the one before ended, so that no leaf has both.
 */
static uint64_t choose_physical(struct disjoint_actor *actor, uint64_t iova, uint64_t size,
                                size_t segment)
{
    uint64_t place = pgtable_random(&actor->random) & ((UINT64_C(1) << PHYSICAL_BITS) - 1);

    place += (uint64_t)segment << (PHYSICAL_BITS + 1);
    return PHYSICAL_FIRST + (place & ~(size - 1)) + (iova & (size - 1));
}

/* How much a map may have to store, page by page, where large leaves find tables in their place. */
static bool is_too_long(const struct disjoint_actor *actor, struct piommu_range range)
{
    uint64_t block = span_of(actor->h, 2);
    uint64_t longest = MOST_PAGES * granule_of(actor);

    if ((actor->h->rules.leaf_sizes & block) != 0) {
        longest = maximum(longest, 3 * block);
    }
    return range.last - range.first >= longest;
}

static void map_something(struct disjoint_actor *actor, struct piommu_range range)
{
    struct actor_flight *flight = &actor->flight;
    struct piommu_range part = choose_part(actor, range);
    uint64_t unit = granule_of(actor);
    uint64_t block = span_of(actor->h, 2);
    uint64_t left;

    switch (below(&actor->random, 8)) {
    case 0:
    case 1:
        if ((actor->h->rules.leaf_sizes & block) != 0 &&
            choose_blocks(actor, range, block, &part)) {
            unit = block;
        }
        break;
    case 2:
        if ((actor->h->rules.leaf_sizes & span_of(actor->h, 1)) != 0 &&
            choose_blocks(actor, range, span_of(actor->h, 1), &part)) {
            unit = span_of(actor->h, 1);
        }
        break;
    case 3:
        if (!is_too_long(actor, range)) {
            part = range;
            unit = maximum(unit, actor->h->rules.leaf_sizes & block);
        }
        break;
    default:
        if (below(&actor->random, 2) == 0) {
            unit = maximum(unit, actor->h->rules.contiguous_sizes & (16 * unit));
        }
        break;
    }
    if (is_unsynced(actor, part.first, part.last)) {
        actor_sync(actor);
        land(actor);
    }
    flight->prot = choose_prot(actor);
    left = part.last - part.first + 1;
    for (flight->count = 0; left != 0; flight->count++) {
        struct piommu_segment *segment = &flight->segments[flight->count];
        uint64_t pages = left / granule_of(actor);

        segment->size = left;
        if (flight->count + 1 < ACTOR_SEGMENTS && below(&actor->random, 4) == 0) {
            segment->size = (1 + below(&actor->random, pages)) * granule_of(actor);
        }
        segment->physical = choose_physical(actor, part.first + (part.last - part.first + 1 - left),
                                            unit, flight->count);
        left -= segment->size;
    }
    take_off(actor, ACTOR_MAPS, part.first, part.last);
    (void)map_flight(actor);
}

/* A range that a removal may get: all, one mapping, from one to another, anything. */
static struct piommu_range choose_removal(struct disjoint_actor *actor, struct piommu_range range)
{
    size_t begin = index_of(actor, range.first);
    size_t end = begin;
    struct piommu_range part = choose_part(actor, range);

    while (end < actor->mapping_count && actor->mappings[end].last <= range.last) {
        end++;
    }
    switch (below(&actor->random, 5)) {
    case 0:
    case 1:
        return range;
    case 2:
    case 3:
        if (end > begin) {
            size_t from = begin + (size_t)below(&actor->random, end - begin);
            size_t to = from + (size_t)below(&actor->random, minimum(end - from, 3));

            part.first = actor->mappings[from].first;
            part.last = actor->mappings[to].last;
        }
        return part;
    default:
        return part;
    }
}

static void remove_something(struct disjoint_actor *actor, struct piommu_range range)
{
    struct piommu_range part = choose_removal(actor, range);

    switch (below(&actor->random, 8)) {
    case 0:
        /* Any bytes of it will do. */
        part.first += below(&actor->random, granule_of(actor));
        unmap_leaves(actor, part.first,
                     part.last -
                         below(&actor->random, granule_of(actor) - part.first % granule_of(actor)));
        break;
    case 1:
        if (actor->unsynced_count == 0) {
            actor_cut(actor, part.first, part.last);
        }
        break;
    default:
        actor_unmap(actor, part.first, part.last);
        break;
    }
}

void actor_step(struct disjoint_actor *actor)
{
    struct piommu_range range = actor->ranges[below(&actor->random, actor->range_count)];
    struct piommu_range part = choose_part(actor, range);
    uint64_t address = part.first + below(&actor->random, part.last - part.first + 1);

    if (actor->mapping_count > ACTOR_MAPPINGS - 16) {
        actor_clear(actor);
    }
    switch (below(&actor->random, 16)) {
    case 0:
        if (is_unsynced(actor, range.first, range.last)) {
            actor_sync(actor);
            land(actor);
        }
        part = choose_removal(actor, range);
        actor_protect(actor, part.first, part.last);
        break;
    case 1:
    case 2:
        begin_call(actor, false);
        actor_look(actor, address);
        end_call(actor);
        break;
    case 3:
        begin_call(actor, false);
        actor_look_at_range(actor, address, range.last);
        actor_look_at_range(actor, range.first, address);
        end_call(actor);
        break;
    case 4:
    case 5:
    case 6:
    case 7:
    case 8:
        remove_something(actor, range);
        break;
    default:
        map_something(actor, range);
        break;
    }
    pause_between(actor);
}

void actor_clear(struct disjoint_actor *actor)
{
    actor_sync(actor);
    for (size_t i = 0; i < actor->range_count; i++) {
        actor_unmap(actor, actor->ranges[i].first, actor->ranges[i].last);
    }
    actor_sync(actor);
    land(actor);
    CHECK(actor->mapping_count == 0);
}

/* ---- Dealing ---- */

void actors_init(struct disjoint_actor *actors, unsigned int count, struct disjoint_host *h,
                 uint64_t seed)
{
    memset(actors, 0, count * sizeof(*actors));
    for (unsigned int i = 0; i < count; i++) {
        actors[i].h = h;
        actors[i].number = i;
        actors[i].random = seed + 1000 * (i + 1);
        piommu_gather_init(&actors[i].gather);
    }
}

struct dealer {
    struct disjoint_actor *actors;
    unsigned int count;
    unsigned int next_owner;
    uint64_t random;
    uint64_t at;   /* the first address that nobody has */
    uint64_t last; /* of the aperture */
    bool is_at_end;
};

static void deal_range(struct dealer *dealer, uint64_t size)
{
    struct disjoint_actor *owner = &dealer->actors[dealer->next_owner % dealer->count];

    if (dealer->is_at_end || dealer->last - dealer->at < size ||
        owner->range_count == ACTOR_RANGES) {
        dealer->is_at_end = true;
        return;
    }
    owner->ranges[owner->range_count++] =
        (struct piommu_range){.first = dealer->at, .last = dealer->at + (size - 1)};
    dealer->at += size;
    dealer->next_owner += 1 + (unsigned int)(below(&dealer->random, 4) == 0);
}

static void skip_to(struct dealer *dealer, uint64_t alignment)
{
    uint64_t place = (dealer->at + (alignment - 1)) & ~(alignment - 1);

    dealer->is_at_end = dealer->is_at_end || place < dealer->at || place > dealer->last;
    if (!dealer->is_at_end) {
        dealer->at = place;
    }
}

static void deal_section(struct dealer *dealer)
{
    const struct disjoint_host *h = dealer->actors[0].h;
    uint64_t granule = h->rules.config.granule;
    uint64_t block = span_of(h, 2);
    uint64_t large = span_of(h, 1);
    uint64_t random = below(&dealer->random, 8);
    uint64_t count = 2 + below(&dealer->random, 4);

    if (random < 3) {
        /* Neighbours in one table. */
        for (uint64_t i = 0; i < count * dealer->count; i++) {
            deal_range(dealer, (1 + below(&dealer->random, 4)) * granule);
        }
    } else if (random < 5) {
        /* Whole tables. */
        skip_to(dealer, block);
        for (uint64_t i = 0; i < count; i++) {
            deal_range(dealer, (1 + below(&dealer->random, 2)) * block);
        }
    } else if (random < 7 || large == 0) {
        /* Parts of tables, with whole ones between. */
        deal_range(dealer, count / 2 * block + (1 + below(&dealer->random, 100)) * granule);
    } else {
        /* Whole tables of tables, and somebody close behind. */
        skip_to(dealer, large);
        deal_range(dealer, large);
        deal_range(dealer, granule);
        deal_range(dealer, 2 * granule);
    }
}

void actors_deal(struct disjoint_actor *actors, unsigned int count, unsigned int sections,
                 uint64_t seed)
{
    const struct pgtable_rules *rules = &actors[0].h->rules;
    uint64_t block = span_of(actors[0].h, 2);
    uint64_t large = span_of(actors[0].h, 1);
    struct dealer dealer = {.actors = actors, .count = count, .random = seed};

    for (unsigned int i = 0; i < count; i++) {
        CHECK(actors[i].mapping_count == 0);
        actors[i].range_count = 0;
    }
    dealer.last = rules->aperture.last;
    dealer.at = rules->aperture.first + (large != 0 ? large - 2 * block : block);
    while (sections-- != 0) {
        deal_section(&dealer);
    }
    dealer.is_at_end = false;
    for (unsigned int i = 0; i < count; i++) {
        /* Nobody goes away with nothing. */
        while (actors[i].range_count == 0) {
            dealer.next_owner = i;
            deal_range(&dealer, rules->config.granule);
            CHECK(!dealer.is_at_end);
        }
    }
}

uint64_t actors_plan(const struct disjoint_actor *actors, unsigned int count)
{
    uint64_t sum = 0;

    for (unsigned int i = 0; i < count; i++) {
        for (size_t j = 0; j < actors[i].range_count; j++) {
            const struct piommu_range *range = &actors[i].ranges[j];
            uint64_t to_map = 0;

            CHECK(piommu_pgtable_plan(actors[i].h->table, range->first,
                                      range->last - range->first + 1, granule_of(&actors[i]),
                                      &to_map, NULL) == 0);
            sum += to_map;
        }
    }
    return sum;
}

/* ---- When all is quiet ---- */

struct comparison {
    const struct disjoint_actor *actors;
    unsigned int count;
    uint64_t bytes;
};

static bool compare_leaf(void *ctx, const struct piommu_walker_leaf *leaf)
{
    struct comparison *comparison = ctx;
    uint64_t size = UINT64_C(1) << leaf->shift;

    for (unsigned int i = 0; i < comparison->count; i++) {
        const struct actor_mapping *known = actor_mapping_at(&comparison->actors[i], leaf->input);

        if (known != NULL) {
            const struct piommu_walker_rights *rights = &leaf->attributes.privileged;

            CHECK(known->last - leaf->input >= size - 1);
            CHECK(leaf->output == known->physical + (leaf->input - known->first));
            CHECK(rights->read == ((known->prot & PIOMMU_PROT_READ) != 0));
            CHECK(rights->write == ((known->prot & PIOMMU_PROT_WRITE) != 0));
            comparison->bytes += size;
            return true;
        }
    }
    pgtable_check_failed(__FILE__, __LINE__, "somebody has mapped each leaf");
}

void actors_check_all(const struct disjoint_actor *actors, unsigned int count)
{
    struct disjoint_host *h = actors[0].h;
    unsigned int views = h->rules.config.coherent_walk ? 1 : DISJOINT_VIEWS;

    for (unsigned int view = 0; view < views; view++) {
        struct comparison comparison = {.actors = actors, .count = count};
        uint64_t bytes = 0;

        for (unsigned int i = 0; i < count; i++) {
            for (size_t j = 0; j < actors[i].mapping_count; j++) {
                bytes += actors[i].mappings[j].last - actors[i].mappings[j].first + 1;
            }
        }
        CHECK(piommu_walker_for_each_leaf(&h->regime, &h->memory[view], compare_leaf, &comparison));
        CHECK(comparison.bytes == bytes);
    }
}
