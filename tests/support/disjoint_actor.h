/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef DISJOINT_ACTOR_H
#define DISJOINT_ACTOR_H

/*
 * One of several who change a page table at once: it has ranges of its own, calls whatever may be
 * called for them, at random, and knows what must come of it. Actors are dealt ranges that lie next
 * to each other, so that they share tables on all levels, and some that contain tables wholly.
 */

#include "disjoint_host.h"

#define ACTOR_RANGES   64u
#define ACTOR_MAPPINGS 256u
#define ACTOR_SEGMENTS 4u
#define ACTOR_UNSYNCED 8u

struct actor_mapping {
    uint64_t first;
    uint64_t last;
    uint64_t physical;
    piommu_prot prot; /* without the flags that name defaults */
};

enum actor_flight_kind {
    ACTOR_RESTS,
    ACTOR_MAPS,
    ACTOR_UNMAPS,
    ACTOR_PROTECTS,
};

/* The call in progress: where an address may be as before, or as after. */
struct actor_flight {
    enum actor_flight_kind kind;
    uint64_t first;
    uint64_t last;
    struct piommu_segment segments[ACTOR_SEGMENTS];
    size_t count;
    piommu_prot prot;
};

struct disjoint_actor {
    struct disjoint_host *h;
    unsigned int number;
    uint64_t random;
    bool is_reserved;    /* no call may ask for memory */
    void (*yield)(void); /* called now and then, between two calls; may be NULL */

    struct piommu_range ranges[ACTOR_RANGES];
    size_t range_count;
    struct actor_mapping mappings[ACTOR_MAPPINGS]; /* ascending */
    size_t mapping_count;
    struct actor_flight flight;

    struct piommu_gather gather;
    struct piommu_range unsynced[ACTOR_UNSYNCED]; /* given to unmap, and not released */
    size_t unsynced_count;
    /*
     * Makes hardware forget, before the release; NULL: there is none that remembers. What is
     * returned matters to unmap_cut alone.
     */
    void (*invalidate)(void *ctx, const struct piommu_range *range);
    void *invalidate_ctx;

    uint64_t calls;
};

/* Makes actors without ranges. */
void actors_init(struct disjoint_actor *actors, unsigned int count, struct disjoint_host *h,
                 uint64_t seed);
/* Deals ranges of about `sections` kinds; nothing may be mapped. */
void actors_deal(struct disjoint_actor *actors, unsigned int count, unsigned int sections,
                 uint64_t seed);
/* How many tables the ranges of all can need at most. */
uint64_t actors_plan(const struct disjoint_actor *actors, unsigned int count);

/* One call at random, on the thread of the actor, often with a sync. */
void actor_step(struct disjoint_actor *actor);
/* What was unmapped is synced. */
void actor_sync(struct disjoint_actor *actor);
/* Unmaps everything, and syncs. */
void actor_clear(struct disjoint_actor *actor);

/* Single calls with all their checks, for tests that choose them. False: there was no memory. */
bool actor_map(struct disjoint_actor *actor, uint64_t first, uint64_t last, uint64_t physical);
void actor_unmap(struct disjoint_actor *actor, uint64_t first, uint64_t last);
void actor_cut(struct disjoint_actor *actor, uint64_t first, uint64_t last);
void actor_protect(struct disjoint_actor *actor, uint64_t first, uint64_t last);
void actor_look(struct disjoint_actor *actor, uint64_t address);
void actor_look_at_range(struct disjoint_actor *actor, uint64_t first, uint64_t last);

/* The mapping of an address; NULL: there is none. */
const struct actor_mapping *actor_mapping_at(const struct disjoint_actor *actor, uint64_t address);
/*
 * Is this what a walk may find at an address of this actor? `forgets_late`: the walk may remember
 * what was not yet invalidated.
 */
bool actor_allows(const struct disjoint_actor *actor, uint64_t address,
                  const struct piommu_walker_result *result, bool forgets_late);
/* When all is quiet: the table has what the actors know, and nothing else. */
void actors_check_all(const struct disjoint_actor *actors, unsigned int count);

#endif
