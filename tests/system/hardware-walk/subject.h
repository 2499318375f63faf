/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef SUBJECT_H
#define SUBJECT_H

/*
 * A page table of the library, together with the model of what it should translate, and the CPU and
 * the software walker that look at it. Every operation is done on the table and on the model, and
 * their results compared.
 */

#include "cpu.h"
#include "model.h"
#include "random.h"

#include <piommu/io-pgtable.h>
#include <piommu/models/lpae-walker.h>

struct subject {
    const char *group; /* of the test */
    uint64_t seed;     /* the random numbers of this table came from it */
    unsigned int step; /* of a random program */
    struct random random;
    struct piommu_pgtable_config config;
    struct piommu_pgtable *table;
    struct piommu_pgtable_info info;
    struct piommu_gather gather;
    struct cpu_regime regime;
    uint64_t pinned;     /* regime.window_intermediate, which is never unmapped */
    bool has_other_half; /* addresses of the other half are somebody else's */
    bool is_starving;    /* memory and hardware fail now and then */
    bool is_beyond_ram;  /* the tables, so that the CPU cannot be asked */
    bool has_walker;     /* the software walker has this format */
    struct piommu_walker_regime walker;
    struct model model;
};

/* What the whole run counts. */
extern unsigned int failures;
extern uint64_t walker_queries;
extern uint64_t lookups;

/* Reports a failure, with what is needed to find the place again. */
void subject_fail(const struct subject *subject, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/*
 * Makes a table, and checks all that it says of itself. The random numbers of the subject are
 * started with the seed. False, and a failure, if there is no table.
 */
bool subject_create(struct subject *subject, const char *group,
                    const struct piommu_pgtable_config *config, uint64_t seed);

/* The same, with tables at addresses above 2^48, where only the software walker can follow. */
bool subject_create_beyond_ram(struct subject *subject, const char *group,
                               const struct piommu_pgtable_config *config, uint64_t seed);

/* Destroys it, and checks that all memory came back. */
void subject_destroy(struct subject *subject);

/* Points the CPU at it. */
void subject_use(const struct subject *subject);

/*
 * Asks for one address: CPU, software walker, lookup and model have to agree. The address may be
 * any.
 */
void subject_judge(struct subject *subject, uint64_t address);

/* The CPU and the software walker alone. */
void subject_judge_walker(const struct subject *subject, uint64_t address);

/* Whether the software walker allows execution. */
bool subject_walker_executes(const struct subject *subject, uint64_t address, bool privileged);

/* The lookup and the model alone. */
void subject_judge_lookup(struct subject *subject, uint64_t address,
                          const struct model_answer *answer);

/* Asks at the edges of a range, in its middle, and for a hole beside it on each level. */
void subject_judge_range(struct subject *subject, uint64_t first, uint64_t last);

/* Asks at the ends of the aperture and beyond them. */
void subject_judge_aperture(struct subject *subject);

/* Asks at the ranges of `count` runs of the model. */
void subject_judge_runs(struct subject *subject, unsigned int count);

/* Has the software walker check every descriptor, and the library itself. */
void subject_check_structure(struct subject *subject);

/* A prot that the table can express. */
piommu_prot subject_random_prot(struct subject *subject);

/* An address of memory for a mapping: often such that large leaves are possible. */
uint64_t subject_random_physical(struct subject *subject, uint64_t iova, uint64_t size);

/* The operations. */
void subject_map(struct subject *subject, uint64_t iova, uint64_t physical, uint64_t size,
                 piommu_prot prot);
void subject_map_list(struct subject *subject, uint64_t iova, const struct piommu_segment *segments,
                      size_t count, piommu_prot prot);
void subject_unmap(struct subject *subject, uint64_t iova, uint64_t size);
void subject_unmap_leaves(struct subject *subject, uint64_t first, uint64_t last);
void subject_unmap_cut(struct subject *subject, uint64_t iova, uint64_t size);
void subject_protect(struct subject *subject, uint64_t iova, uint64_t size, piommu_prot prot);

#endif
