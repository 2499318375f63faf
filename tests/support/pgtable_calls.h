/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PGTABLE_CALLS_H
#define PGTABLE_CALLS_H

/*
 * The calls that programs are made of, each with all that must hold before and after it.
 */

#include "pgtable_model.h"

#define CALLS_MAXIMUM_SEGMENTS 6u
#define CALLS_PLANNED_RANGES   3u
#define CALLS_GATHERS          3u
#define CALLS_LEAVES_PER_MAP   3000u  /* larger maps are made smaller */
#define CALLS_MANY_LEAVES      9000u  /* with more than this the program unmaps all */
#define CALLS_REMAINDER        40000u /* a cut that leaves more is not made */
#define CALLS_TABLE_BYTES      (40u << 20)

struct pgtable_run {
    struct pgtable_model m;
    struct pgtable_host *h;
    const struct pgtable_rules *rules;
    /* Several are open at once. What is collected goes to the current one. */
    struct piommu_gather gathers[CALLS_GATHERS];
    unsigned int current;
    /* Tables of gathers whose invalidation has failed. */
    struct piommu_gather hospital;
    uint64_t windows[8];
    size_t window_count;
    uint64_t window_pages;
    /* If there are any: no others are used, and nothing is allocated or freed any more. */
    struct piommu_range planned[CALLS_PLANNED_RANGES];
    size_t planned_count;
    /* A switch of dirty tracking in portions that other calls may interrupt. */
    bool switching;
    bool switching_on;
    /* Disjoint tables: which tables are counted as kept is known. */
    bool knows_counted;
    struct piommu_pgtable_cursor switch_cursor;
    struct model_leaf *predicted;
    struct model_leaf *alternative;
};

/* NULL: the configuration does not exist on this host. */
struct pgtable_run *run_open(const struct piommu_pgtable_config *config,
                             const struct pgtable_host_options *options, uint64_t seed);
/* Owners of ranges and of detached tables: the gathers, and the one of the hospital. */
#define OWNER_HOSPITAL  (CALLS_GATHERS + 1)
#define OWNER_OF(index) ((index) + 1)

static inline struct piommu_gather *current_gather(struct pgtable_run *run)
{
    return &run->gathers[run->current];
}

/* Notes what was removed, or changed, with the current gather. */
void note_removed(struct pgtable_run *run, uint64_t first, uint64_t last);
void note_changed(struct pgtable_run *run, uint64_t first, uint64_t last);
/* Syncs, and returns true, if there is little room to note more. */
bool make_room(struct pgtable_run *run);
/* Syncs the gathers that still hold something in a range: nothing may be mapped there before. */
void sync_for(struct pgtable_run *run, uint64_t first, uint64_t last);

/* Destroys the table with all that is in it, in portions of `budget` unless this is 0. */
void run_close(struct pgtable_run *run, uint32_t budget);

/* A range of input, from raw numbers. */
struct chosen_range {
    uint64_t iova;
    uint64_t size;
    uint64_t agreement; /* where output should agree with input */
};

struct map_request {
    uint64_t iova;
    struct piommu_segment segments[CALLS_MAXIMUM_SEGMENTS];
    size_t count;
    piommu_prot prot;
    enum { MAP_PLAIN, MAP_LIST, MAP_PORTIONS } how;
    uint32_t fail_at; /* this allocation fails, 0: none */
    bool fail_forever;
    uint32_t budget_seed;
};

void run_map(struct pgtable_run *run, struct map_request *request);

/* How a range is unmapped. */
void run_unmap(struct pgtable_run *run, uint64_t iova, uint64_t size);
void run_unmap_portions(struct pgtable_run *run, uint64_t iova, uint64_t size,
                        uint32_t budget_seed);
void run_unmap_leaves(struct pgtable_run *run, uint64_t first, uint64_t last);
void run_cut(struct pgtable_run *run, uint64_t iova, uint64_t size, bool invalidation_fails,
             uint32_t fail_at);

enum sync_kind {
    SYNC_DETACH,
    SYNC_TRIM,
    SYNC_FAILS, /* the invalidation does; all is kept for the next time */
    SYNC_TRIM_FAILS,
    SYNC_FAILS_AND_MOVES,
};
/* To be called after every operation: notes what has become empty, if this is looked at. */
void note_empty(struct pgtable_run *run);

/* The tables that an unmap of a disjoint table has to do with. */
struct unmap_pass {
    struct piommu_range range; /* of the call or the whole series */
    uint64_t from;             /* tables that end before may stay */
    uint64_t until;            /* with tables that end behind it is not done yet */
};

/* What such an unmap has left in its range is kept by the quota. */
void note_kept(struct pgtable_run *run, const struct unmap_pass *pass);
/* Of the current gather. */
void run_sync(struct pgtable_run *run, enum sync_kind kind);
/* The invalidation that had failed is made again, of all there is. */
void run_recovery(struct pgtable_run *run);
/* Nothing is held any more. */
void run_sync_all(struct pgtable_run *run);

/* In one call, or if budget_seed is not 0 in portions. */
void run_protect(struct pgtable_run *run, uint64_t iova, uint64_t size, piommu_prot prot,
                 uint32_t budget_seed);
void run_track(struct pgtable_run *run, bool on);
void run_track_portion(struct pgtable_run *run, uint32_t budget);
void run_read_dirty(struct pgtable_run *run, uint64_t iova, uint64_t size, uint64_t unit,
                    bool clear, bool wants_bitmap);
/* A device writes; if `misses`, one whose TLB knows nothing. */
void run_hardware_write(struct pgtable_run *run, uint64_t address, bool misses);

void run_next_leaf(struct pgtable_run *run, uint64_t first, uint64_t last);
void run_for_each_mapping(struct pgtable_run *run, uint64_t first, uint64_t last, uint32_t visits);
void run_dump(struct pgtable_run *run, uint64_t first, uint64_t last);
void run_adopt(struct pgtable_run *run, uint32_t seed);
void run_verify_without_memory(struct pgtable_run *run);
void run_reserve(struct pgtable_run *run, uint32_t count, uint32_t fail_at);
void run_unreserve(struct pgtable_run *run, uint32_t count);
void run_plan(struct pgtable_run *run, uint64_t iova, uint64_t size, uint64_t alignment);

/* How many tables the library holds for a later map, and how many it took from anywhere. */
struct table_count {
    uint64_t pieces;
    uint64_t spare;
    uint64_t bytes;
};
struct table_count count_tables(struct pgtable_run *run);
uint64_t tables_taken(struct pgtable_run *run, const struct table_count *before, bool is_complete);

/* Callbacks that a call may not use: in a planned program, allocation by nobody. */
void forbid(struct pgtable_run *run, unsigned int what);
void allow(struct pgtable_run *run);

/* The number of slots that a walk over a range could meet: what bounds calls in portions. */
uint64_t slots_of_tables(const struct pgtable_run *run);

#endif
