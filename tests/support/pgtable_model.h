/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PGTABLE_MODEL_H
#define PGTABLE_MODEL_H

/*
 * What should be in a page table: a plain list of leaves, and what of it hardware may still
 * remember. The comparisons of that list with lookups, with the independent walker and with a TLB
 * that forgets nothing by itself are here, too.
 */

#include "pgtable_host.h"

#define MODEL_MAXIMUM_RANGES 64u

/* A leaf, or a contiguous group, which counts as one. */
struct model_leaf {
    uint64_t first;
    uint64_t last;
    uint64_t physical;
    piommu_prot prot; /* without the flags that name defaults */
    bool tracked;
    bool dirty;
};

/* Each range belongs to a gather, by its number. */
struct model_ranges {
    struct piommu_range ranges[MODEL_MAXIMUM_RANGES];
    unsigned int owners[MODEL_MAXIMUM_RANGES];
    size_t count;
};

struct pgtable_model {
    struct pgtable_host *h;
    const struct pgtable_rules *rules;
    bool verbose;
    bool tracking;             /* new writable leaves become tracked */
    struct model_leaf *leaves; /* ascending */
    size_t count;
    size_t room;
    struct model_ranges removed; /* unmapped and not synced */
    struct model_ranges changed; /* hardware may know other rights or dirty state */
    struct model_ranges given;   /* disjoint tables: given to unmap, holes too, and not synced */
    uint64_t random;             /* for probes: not a part of a program's meaning */
};

void model_init(struct pgtable_model *m, struct pgtable_host *h, uint64_t seed);
void model_free(struct pgtable_model *m);

void model_say(const struct pgtable_model *m, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The index of the first leaf that ends at or behind an address; count if there is none. */
size_t model_index(const struct pgtable_model *m, uint64_t address);
const struct model_leaf *model_leaf_at(const struct pgtable_model *m, uint64_t address);
/* Puts leaves that come one after the other into their place. */
void model_insert(struct pgtable_model *m, const struct model_leaf *leaves, size_t count);
/* Takes out the leaves from one index to before another. */
void model_erase(struct pgtable_model *m, size_t first, size_t behind);
/* Bytes that are mapped in a range, cut leaves counted in part. */
uint64_t model_mapped_bytes(const struct pgtable_model *m, uint64_t first, uint64_t last);

void ranges_add(struct model_ranges *ranges, unsigned int owner, uint64_t first, uint64_t last);
/* Forgets those of an owner. */
void ranges_drop(struct model_ranges *ranges, unsigned int owner);
/* Those of one owner alone. */
struct model_ranges ranges_of(const struct model_ranges *ranges, unsigned int owner);
bool ranges_overlap(const struct model_ranges *ranges, uint64_t first, uint64_t last);
bool ranges_full(const struct model_ranges *ranges);

/* Does hardware see this leaf at this address? */
void model_check_translation(struct pgtable_model *m, const struct model_leaf *leaf,
                             uint64_t address, const struct piommu_walker_result *result,
                             bool rights_are_known);
/* Model, lookup, walk, walker and TLB agree about an address. */
void model_probe(struct pgtable_model *m, uint64_t address);
/* The ends, what lies outside them, and something within. */
void model_probe_range(struct pgtable_model *m, uint64_t first, uint64_t last);
/* Everything at once: the structure, all leaves, the counters, the library's own verification. */
void model_check_all(struct pgtable_model *m);
/* What holds after every call. */
void model_check_counters(struct pgtable_model *m);

/*
 * The leaves that mapping a range to consecutive memory has to make now: the largest that
 * alignment, size and existing tables allow. Nothing may be mapped in the range. At most `room`;
 * returns how many.
 */
size_t model_predict(struct pgtable_model *m, uint64_t iova, uint64_t physical, uint64_t size,
                     struct model_leaf *leaves, size_t room);
/* The leaf that hardware sees at an address; size 0 of prot: only place, size and output count. */
struct model_leaf model_learn(struct pgtable_model *m, uint64_t address);

#endif
