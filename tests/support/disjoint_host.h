/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef DISJOINT_HOST_H
#define DISJOINT_HOST_H

/*
 * A host for page tables that several threads change at once. As strict as fake_os.h about table
 * memory, and in one thing stricter: it has no lock. Each thread takes memory from a share of its
 * own and gives it back there, and the caches' lines that one thread has cleaned arrive with a
 * barrier of that thread, whatever barriers others make. So nothing here puts the threads in an
 * order that the library itself does not, and the thread sanitizer sees what is missing.
 *
 * What is wrong ends the process by abort(), from whatever thread.
 */

#include "fake_os.h"
#include "pgtable_host.h"
#include "pgtable_rules.h"

#include <piommu/models/lpae-walker.h>

#include <stdatomic.h>

#define DISJOINT_THREADS 4u

#if ATOMIC_LLONG_LOCK_FREE == 2 && !defined(PIOMMU_DESCRIPTOR_HALVES)
#define DISJOINT_TABLES_EXIST 1
#else
#define DISJOINT_TABLES_EXIST 0
#endif

/* What hardware may see of the memory. */
enum disjoint_view {
    DISJOINT_STORED,  /* all that was stored */
    DISJOINT_CLEANED, /* what was cleaned, and nothing else: no line has left a cache by itself */
    DISJOINT_LEAKED,  /* what was cleaned, and what disjoint_leak() has let out early */
    DISJOINT_VIEWS,
};

struct disjoint_line {
    size_t word; /* the first of the line */
    size_t slot;
};

/* What belongs to one thread. The test may set the members of the second part between calls. */
struct disjoint_share {
    size_t *slots; /* free ones, in a ring */
    size_t first;
    size_t count;
    struct disjoint_line *lines; /* cleaned, and not known to have arrived */
    size_t line_count;
    size_t line_room;
    uint64_t random;

    unsigned int forbidden;   /* sum of FAKE_OS_FORBID_ALLOCATION and FAKE_OS_FORBID_FREE */
    unsigned int fail_chance; /* of 65536: how often dma_alloc fails */
    uint64_t fail_at;         /* makes the nth from now fail; 0: none */
    uint64_t allocations;     /* dma_alloc, the failures not counted */
    uint64_t failures;        /* dma_alloc */
    uint64_t frees;           /* dma_free */
};

struct disjoint_slot {
    _Atomic(uint32_t) in_use;    /* not of one byte, for which some hosts have no exchange */
    _Atomic(unsigned int) taker; /* the thread that has asked for it */
    _Atomic(size_t) size;
};

struct disjoint_host;

/* One way to read the memory. */
struct disjoint_reader {
    struct disjoint_host *h;
    enum disjoint_view view;
};

struct disjoint_host {
    struct piommu_os shim;
    struct piommu_host host;
    struct pgtable_rules rules;
    struct piommu_pgtable *table;
    struct piommu_pgtable_info info;
    struct piommu_walker_regime regime;
    struct disjoint_reader readers[DISJOINT_VIEWS];
    struct piommu_walker_memory memory[DISJOINT_VIEWS];

    bool scattered;
    size_t slot_bytes;
    unsigned int slot_shift; /* of its words */
    size_t share_slots;
    size_t slot_count; /* the first one is for the root, and larger */
    size_t word_count;
    _Atomic(uint64_t) *words;                /* what the CPUs see */
    _Atomic(uint64_t) *seen[DISJOINT_VIEWS]; /* not for DISJOINT_STORED */
    struct disjoint_slot *slots;
    struct disjoint_share shares[DISJOINT_THREADS + 1]; /* the last: while there are no threads */
    _Atomic(uint64_t) object_bytes;
    _Atomic(uint32_t) is_arriving; /* held while a line does */

    /* May be set: called first in every callback, and before memory is taken back. */
    void (*at_callback)(void *ctx);
    void (*on_free)(void *ctx, uint64_t physical, size_t size);
    void *hook_ctx;
};

struct disjoint_options {
    bool scattered;
    size_t tables_per_thread;
    uint64_t seed;
};

/* Whose calls those of this CPU thread are from now on; DISJOINT_THREADS: nobody's. */
void disjoint_become(unsigned int thread);
/* The share of the thread that asks. */
struct disjoint_share *disjoint_share(struct disjoint_host *h);

/* Creates a table. */
struct disjoint_host *disjoint_open(const struct piommu_pgtable_config *config,
                                    const struct disjoint_options *options);
/* Destroys it, and checks that nothing was lost. */
void disjoint_close(struct disjoint_host *h);

/* Walks; asks for no access. */
void disjoint_walk(struct disjoint_host *h, enum disjoint_view view, uint64_t iova,
                   struct piommu_walker_result *result);
/* A line with this probability of 65536 each leaves its cache for no reason. */
void disjoint_leak(struct disjoint_host *h, unsigned int chance, uint64_t *random);
/* The place of an address inside table memory, as hardware knows it; false: it is none. */
bool disjoint_physical(const struct disjoint_host *h, const volatile void *address,
                       uint64_t *physical);
/* The place of a table among all, for arrays of the test; SIZE_MAX: it is none. */
size_t disjoint_slot(const struct disjoint_host *h, uint64_t physical);
/* Is this the address of a table that the library holds? */
bool disjoint_is_table(const struct disjoint_host *h, uint64_t physical, uint64_t size);
/* The table that a descriptor leads to, if it is taken for a link. */
uint64_t disjoint_link_target(const struct disjoint_host *h, uint64_t descriptor);
/* Does the root lead to this table? Not to be relied on while somebody changes the way. */
bool disjoint_is_linked(const struct disjoint_host *h, uint64_t physical);
/* How many tables the library holds, the root not counted. */
uint64_t disjoint_tables_held(const struct disjoint_host *h);

struct disjoint_counts {
    uint64_t linked; /* tables, the root not counted */
    uint64_t empty;
    uint64_t leaves; /* descriptors */
};

/*
 * What must hold while no call is in progress: the walker finds nothing wrong in any view, and the
 * library neither; the views agree; no table is lost; the counters are right.
 */
void disjoint_check_all(struct disjoint_host *h, struct disjoint_counts *counts);

#endif
