/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PGTABLE_HOST_H
#define PGTABLE_HOST_H

/*
 * A page table, the strict host below it, and the hardware that walks it: for programs of calls of
 * io-pgtable.h in any configuration.
 *
 * Between the library and the strict host stands an observer that knows every table. It moves table
 * memory to any place below the output width, and asks at each barrier what a walker may have seen
 * since the one before. What is wrong ends the process by abort().
 */

#include "fake_os.h"
#include "pgtable_rules.h"
#include "stale_tlb.h"

#include <piommu/models/lpae-walker.h>

#define HOST_PAGES (FAKE_OS_MEMORY_SIZE / FAKE_OS_PAGE_SIZE)

/* A table, or the tables of a root. */
struct host_piece {
    uint64_t physical; /* as hardware knows it */
    size_t size;
    const uint8_t *memory;
    uint8_t *before; /* the content at the last barrier; NULL if nobody watches */
    int level;
    bool linked; /* the root reaches it */
    bool was_linked;
    bool once_linked; /* and no release since */
    bool empty;       /* linked, and nothing is in it */
    uint64_t emptied; /* when this was seen, by host_note_empty() */
    bool is_counted;  /* empty, and kept by an unmap: one of the quota of a disjoint table */
    /* What is known without looking at all tables; see host_note_path(). */
    bool is_known; /* linked, as far as is known, for this range of input: */
    struct piommu_range span;
    unsigned int held_by; /* detached, and this gather is not released; 0: no gather */
    bool refuses;         /* so nothing can be put in its place */
};

struct pgtable_host {
    struct fake_os *os;
    bool owns_os;
    struct piommu_os shim;
    struct piommu_os below; /* the strict host */
    struct piommu_host host;
    uint64_t offset; /* address for the hardware, minus the strict host's */
    struct pgtable_rules rules;
    struct piommu_pgtable *table;
    struct piommu_pgtable_info info;

    struct piommu_walker_regime regime;
    struct piommu_walker_memory memory;     /* what a walker sees */
    struct piommu_walker_memory cpu_memory; /* what the CPU has stored */
    struct stale_tlb *tlb;

    struct host_piece **pieces;
    size_t piece_count;
    size_t piece_room;
    struct host_piece *piece_at[HOST_PAGES]; /* by first page */
    bool ready;                              /* the regime is known */
    bool is_watched;                         /* observe at each barrier */
    bool is_at_barrier;
    bool is_amid_call;   /* what is checked is not complete */
    bool is_adopted_use; /* dma_virtual may be asked for any address */

    /* Found by host_observe(), the root not counted. */
    size_t linked_count;
    size_t empty_count;
    uint64_t leaf_count; /* descriptors */
    uint64_t time;       /* counts calls of host_note_empty() */
                         /* The hull of what refuses, since there was last nothing that did. */
    bool is_refusing;
    struct piommu_range refused;
    size_t held_count;      /* tables that were detached and not released */
    unsigned int releasing; /* the gather that a release is in progress of; 0: none */
};

struct pgtable_host_options {
    struct fake_os *os; /* NULL: one of its own */
    bool scattered;     /* must agree with os */
    uint16_t placement; /* where table memory lies for the hardware */
    bool is_watched;
    bool large_hardware; /* implements more than is configured */
};

void pgtable_check_failed(const char *file, int line, const char *text)
    __attribute__((noreturn, cold));

/* What is being tried: printed in front of what is not true. Not copied. */
void pgtable_describe(void (*describe)(const void *what), const void *what);

#define CHECK(condition)                                          \
    do {                                                          \
        if (!(condition)) {                                       \
            pgtable_check_failed(__FILE__, __LINE__, #condition); \
        }                                                         \
    } while (0)

/* SplitMix64. */
uint64_t pgtable_random(uint64_t *state);

/* Dirty tracking and disjoint tables need atomics of the host. */
bool host_lacks_atomics(const struct piommu_pgtable_config *config);
/*
 * Creates a table. NULL: the configuration does not exist on this host, for want of atomics or of
 * memory below the output width.
 */
struct pgtable_host *host_open(const struct piommu_pgtable_config *config,
                               const struct pgtable_host_options *options);
/*
 * Destroys the table, in portions of `budget` slots unless this is 0, and checks that nothing was
 * lost.
 */
void host_close(struct pgtable_host *h, uint32_t budget);

/* Follows all links as the CPU has stored them. */
void host_observe(struct pgtable_host *h);
/*
 * Notes which tables have become empty since the last time. To be called after every call, or not
 * at all.
 */
void host_note_empty(struct pgtable_host *h);
/* The library has released what it had detached: it may do with that memory what it likes. */
void host_note_release(struct pgtable_host *h);
/* Takes note of the tables on the way of a walk. */
void host_note_path(struct pgtable_host *h, uint64_t iova,
                    const struct piommu_walker_result *result);
/*
 * Looks which of the known tables whose spans lie in a range are gone, and notes that a gather
 * holds them now. The first of these in the list of pieces, or NULL.
 */
struct host_piece *host_note_detached(struct pgtable_host *h, const struct piommu_range *range,
                                      unsigned int gather, bool refuses);
/* The tables that a gather held are no longer held; or (other not 0) by another gather. */
void host_hand_over(struct pgtable_host *h, unsigned int gather, unsigned int other);
/* Lets the time pass in which what was cleaned arrives. */
void host_settle(struct pgtable_host *h);
/* The walker finds nothing wrong with the structure. */
void host_check_structure(struct pgtable_host *h);
/* Bytes of table memory. */
uint64_t host_table_bytes(const struct pgtable_host *h);

/* Walks as the CPU has stored the tables, or as hardware sees them; asks for no access. */
void host_walk_as_cpu(struct pgtable_host *h, uint64_t iova, struct piommu_walker_result *result);
void host_walk(struct pgtable_host *h, uint64_t iova, struct piommu_walker_result *result);

/* Do the attributes that hardware sees mean exactly what was asked for? */
bool host_attributes_mean(const struct pgtable_host *h,
                          const struct piommu_walker_attributes *attributes, piommu_prot prot,
                          bool is_group, bool tracked);

#endif
