/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef THREADED_MAPPER_H
#define THREADED_MAPPER_H

/*
 * A thread's part of a domain: sections of its addresses, a model of what is mapped there, and
 * devices through whose eyes it looks. Each step is one call at random, of which the model knows
 * the outcome; after it the devices must reach what is mapped, and after a successful sync nothing
 * that was unmapped.
 *
 * What is wrong ends the process by abort().
 */

#include "threaded_unit.h"

#include <piommu/domain.h>

#define MAPPER_PAGE     4096ull
#define MAPPER_EYES     2u
#define MAPPER_SECTIONS 8u

/** What may come out of a mapper's steps; counted, to see that all of it has. */
enum mapper_outcome {
    MAPPER_MAPPED,
    MAPPER_MAPPED_LIST,
    MAPPER_MAPPED_IN_PORTIONS,
    MAPPER_MAPPED_AGAIN,
    MAPPER_FOUND_OCCUPIED,
    MAPPER_UNMAPPED,
    MAPPER_UNMAPPED_IN_PORTIONS,
    MAPPER_UNMAPPED_LEAVES,
    MAPPER_FOUND_NOTHING,
    MAPPER_REFUSED_TO_CUT,
    MAPPER_CUT,
    MAPPER_PROTECTED,
    MAPPER_PROTECTED_IN_PORTIONS,
    MAPPER_REPLACED,
    MAPPER_SYNCED,
    MAPPER_LOOKED_UP,
    MAPPER_WENT_ON,
    MAPPER_INVALIDATED,
    MAPPER_OUTCOMES,
};

/** What is known of a page. */
struct mapper_page {
    uint64_t physical;
    piommu_prot prot; /* 0: a hole */
    bool is_stale;    /* unmapped, and not synced */
    uint64_t stale;   /* where it led */
};

struct mapper_section {
    uint64_t iova;
    uint32_t count; /* of pages */
    struct mapper_page *pages;
    bool *edges; /* no leaf reaches over the start of this page, as far as is known */
    struct piommu_gather gather;
};

/** How a domain may be used. */
struct mapper_options {
    bool is_disjoint; /* the domain belongs to others, too */
    bool takes_requests;
    bool has_one_gather; /* for all sections */
};

struct mapper {
    struct piommu_domain *domain;
    struct mapper_options options;
    uint64_t random;
    uint64_t physical; /* memory of its own: 1 GiB from here */
    struct threaded_unit *eye_units[MAPPER_EYES];
    uint32_t eye_ids[MAPPER_EYES];
    unsigned int eyes;
    struct mapper_section sections[MAPPER_SECTIONS];
    unsigned int section_count;
    struct piommu_gather gather;
    unsigned int outcomes[MAPPER_OUTCOMES];
};

/** Prepares a mapper without sections and eyes. `number` chooses its memory. */
void mapper_init(struct mapper *m, struct piommu_domain *domain,
                 const struct mapper_options *options, unsigned int number, uint64_t seed);
/** Gives it addresses, in which nothing is mapped. */
void mapper_add_section(struct mapper *m, uint64_t iova, uint32_t pages);
/** Gives it a device, which is in the domain as long as the mapper takes steps. */
void mapper_add_eye(struct mapper *m, struct threaded_unit *unit, uint32_t id);

/** One call at random. */
void mapper_step(struct mapper *m);
/** Looks at every page. */
void mapper_check_all(const struct mapper *m);
/** How much is mapped. */
uint64_t mapper_bytes(const struct mapper *m);
/** Syncs what is pending, and unmaps all. */
void mapper_clear(struct mapper *m);
/** Frees it, whatever is mapped. */
void mapper_close(struct mapper *m);

#endif
