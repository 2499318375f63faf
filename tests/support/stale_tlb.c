/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "stale_tlb.h"

#include <stdlib.h>
#include <string.h>

struct cached_leaf {
    uint64_t first; /* input */
    uint64_t last;
    uint64_t output; /* of the first byte */
    int level;
    unsigned int leaf_shift; /* of the one descriptor, even if the entry holds a group */
    uint64_t descriptor;
    struct piommu_walker_attributes attributes;
};

struct cached_table {
    uint64_t first; /* input */
    uint64_t last;
    uint64_t table_last; /* last byte of the table */
    struct piommu_walker_position position;
};

struct stale_tlb {
    struct cached_leaf *leaves; /* by their first address; of the same, the youngest comes first */
    size_t leaf_count;
    size_t leaf_capacity;
    uint64_t reach; /* from the first byte of the largest leaf that was ever kept to its last */
    struct cached_table *tables;
    size_t table_count;
    size_t table_capacity;
    uint64_t conflicts;
};

static bool overlaps(uint64_t first, uint64_t last, uint64_t other_first, uint64_t other_last)
{
    return first <= other_last && other_first <= last;
}

struct stale_tlb *stale_tlb_create(void)
{
    return calloc(1, sizeof(struct stale_tlb));
}

void stale_tlb_destroy(struct stale_tlb *tlb)
{
    if (tlb == NULL) {
        return;
    }
    free(tlb->leaves);
    free(tlb->tables);
    free(tlb);
}

static void *grow(void *array, size_t *capacity, size_t element_size)
{
    *capacity = *capacity ? 2 * *capacity : 64;
    array = realloc(array, *capacity * element_size);
    if (array == NULL) {
        abort();
    }
    return array;
}

/* How many leaves begin below an address. */
static size_t count_leaves_below(const struct stale_tlb *tlb, uint64_t first)
{
    size_t low = 0;
    size_t high = tlb->leaf_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (tlb->leaves[middle].first < first) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* Of several, the smallest: a larger one is kept only if a lookup has missed those before it. */
static const struct cached_leaf *find_leaf(const struct stale_tlb *tlb, uint64_t input)
{
    size_t i = input == UINT64_MAX ? tlb->leaf_count : count_leaves_below(tlb, input + 1);

    while (i-- != 0 && input - tlb->leaves[i].first <= tlb->reach) {
        if (input <= tlb->leaves[i].last) {
            return &tlb->leaves[i];
        }
    }
    return NULL;
}

static const struct cached_table *find_deepest_table(const struct stale_tlb *tlb, uint64_t input)
{
    const struct cached_table *deepest = NULL;

    for (size_t i = 0; i < tlb->table_count; i++) {
        const struct cached_table *table = &tlb->tables[i];

        if (table->first <= input && input <= table->last &&
            (deepest == NULL || table->position.level > deepest->position.level)) {
            deepest = table;
        }
    }
    return deepest;
}

/* Is there a pointer to a table of this level for the address? */
static bool holds_table(const struct stale_tlb *tlb, uint64_t input, int level)
{
    for (size_t i = 0; i < tlb->table_count; i++) {
        const struct cached_table *table = &tlb->tables[i];

        if (table->first <= input && input <= table->last && table->position.level == level) {
            return true;
        }
    }
    return false;
}

/* log2 of the input that hardware may keep as one entry: a contiguous group counts as one leaf. */
static unsigned int cached_shift(const struct piommu_walker_regime *regime,
                                 const struct piommu_walker_result *result)
{
    unsigned int shift = result->leaf_shift;
    unsigned int entries = piommu_walker_contiguous_entries(regime, result->level);

    if (!result->attributes.contiguous) {
        return shift;
    }
    for (; entries > 1; entries /= 2) {
        shift++;
    }
    /* The architecture gives no meaning to a group that reaches out of the input range. */
    return shift <= regime->input_bits ? shift : result->leaf_shift;
}

/*
 * The lookup missed, so an entry that overlaps the new one has another size: hardware may find
 * both for one address.
 */
static void note_overlaps(struct stale_tlb *tlb, const struct piommu_walker_regime *regime,
                          uint64_t first, uint64_t last, uint64_t output)
{
    for (size_t i = 0; i < tlb->leaf_count; i++) {
        const struct cached_leaf *leaf = &tlb->leaves[i];

        if (overlaps(leaf->first, leaf->last, first, last) &&
            (regime->hardware.break_before_make_level < 2 ||
             leaf->output - leaf->first != output - first)) {
            tlb->conflicts++;
            return;
        }
    }
}

static void keep_leaf(struct stale_tlb *tlb, const struct piommu_walker_regime *regime,
                      uint64_t input, const struct piommu_walker_result *result)
{
    uint64_t mask = (UINT64_C(1) << cached_shift(regime, result)) - 1;
    struct cached_leaf *leaf;
    size_t place;

    if (result->attributes.no_cache_entry) {
        return;
    }
    note_overlaps(tlb, regime, input & ~mask, input | mask, result->output & ~mask);
    if (tlb->leaf_count == tlb->leaf_capacity) {
        tlb->leaves = grow(tlb->leaves, &tlb->leaf_capacity, sizeof(*tlb->leaves));
    }
    place = count_leaves_below(tlb, input & ~mask);
    leaf = &tlb->leaves[place];
    memmove(leaf + 1, leaf, (tlb->leaf_count - place) * sizeof(*leaf));
    tlb->leaf_count++;
    tlb->reach = mask > tlb->reach ? mask : tlb->reach;
    leaf->first = input & ~mask;
    leaf->last = input | mask;
    leaf->output = result->output & ~mask;
    leaf->level = result->level;
    leaf->leaf_shift = result->leaf_shift;
    leaf->descriptor = result->descriptor;
    leaf->attributes = result->attributes;
}

static void keep_table(struct stale_tlb *tlb, const struct piommu_walker_regime *regime,
                       uint64_t input, const struct piommu_walker_position *position)
{
    uint64_t mask = (UINT64_C(1) << piommu_walker_level_shift(regime, position->level - 1)) - 1;
    struct cached_table *table;

    if (tlb->table_count == tlb->table_capacity) {
        tlb->tables = grow(tlb->tables, &tlb->table_capacity, sizeof(*tlb->tables));
    }
    table = &tlb->tables[tlb->table_count++];
    table->first = input & ~mask;
    table->last = input | mask;
    table->table_last = position->table + (UINT64_C(1) << regime->granule_shift) - 1;
    table->position = *position;
}

static void keep_tables(struct stale_tlb *tlb, const struct piommu_walker_regime *regime,
                        uint64_t input, const struct piommu_walker_result *result)
{
    for (unsigned int i = 0; i < result->step_count; i++) {
        const struct piommu_walker_step *step = &result->steps[i];
        const struct piommu_walker_position position = {step->level + 1, step->next_table,
                                                        step->inherited};

        if (step->is_table) {
            keep_table(tlb, regime, input, &position);
        }
    }
}

static void walk_from_caches(struct stale_tlb *tlb, const struct piommu_walker_regime *regime,
                             const struct piommu_walker_memory *memory, uint64_t input,
                             const struct piommu_walker_access *access,
                             struct piommu_walker_result *result)
{
    const struct cached_table *table = find_deepest_table(tlb, input);

    if (table != NULL) {
        piommu_walker_translate_from(regime, memory, input, access, &table->position, result);
    } else {
        piommu_walker_translate(regime, memory, input, access, result);
    }
    keep_tables(tlb, regime, input, result);
}

static void answer_from_leaf(const struct cached_leaf *leaf, uint64_t input,
                             const struct piommu_walker_access *access,
                             struct piommu_walker_result *result)
{
    memset(result, 0, sizeof(*result));
    result->fault = piommu_walker_permits(&leaf->attributes, access)
                        ? PIOMMU_WALKER_FAULT_NONE
                        : PIOMMU_WALKER_FAULT_PERMISSION;
    result->level = leaf->level;
    result->output = leaf->output + (input - leaf->first);
    result->leaf_shift = leaf->leaf_shift;
    result->descriptor = leaf->descriptor;
    result->attributes = leaf->attributes;
}

static bool needs_break_before_make(const struct piommu_walker_regime *regime,
                                    const struct piommu_walker_result *cached,
                                    const struct piommu_walker_result *current)
{
    unsigned int level = regime->hardware.break_before_make_level;
    const struct piommu_walker_attributes *before = &cached->attributes;
    const struct piommu_walker_attributes *after = &current->attributes;

    if (cached->output != current->output || before->memory_index != after->memory_index ||
        before->shareability != after->shareability || (before->not_global && !after->not_global)) {
        return true;
    }
    if (level >= 2) {
        return false;
    }
    if (before->contiguous != after->contiguous) {
        return true;
    }
    return cached->leaf_shift != current->leaf_shift && !after->no_cache_entry;
}

/* Looks at memory as it is now, leaving no trace there. */
static void note_conflict(struct stale_tlb *tlb, const struct piommu_walker_regime *regime,
                          const struct piommu_walker_memory *memory, uint64_t input,
                          const struct piommu_walker_result *cached)
{
    const struct piommu_walker_memory silent = {memory->read64, NULL, memory->ctx};
    const struct piommu_walker_access nothing = {false, false, false, true};
    struct piommu_walker_result current;

    piommu_walker_translate(regime, &silent, input, &nothing, &current);
    if (current.fault == PIOMMU_WALKER_FAULT_NONE &&
        needs_break_before_make(regime, cached, &current)) {
        tlb->conflicts++;
    }
}

static void drop_leaves(struct stale_tlb *tlb, uint64_t first, uint64_t last)
{
    size_t kept = 0;

    for (size_t i = 0; i < tlb->leaf_count; i++) {
        if (!overlaps(tlb->leaves[i].first, tlb->leaves[i].last, first, last)) {
            tlb->leaves[kept++] = tlb->leaves[i];
        }
    }
    tlb->leaf_count = kept;
}

static void drop_tables(struct stale_tlb *tlb, uint64_t first, uint64_t last)
{
    size_t kept = 0;

    for (size_t i = 0; i < tlb->table_count; i++) {
        if (!overlaps(tlb->tables[i].first, tlb->tables[i].last, first, last)) {
            tlb->tables[kept++] = tlb->tables[i];
        }
    }
    tlb->table_count = kept;
}

void stale_tlb_translate(struct stale_tlb *tlb, const struct piommu_walker_regime *regime,
                         const struct piommu_walker_memory *memory, uint64_t input,
                         const struct piommu_walker_access *access,
                         struct piommu_walker_result *result)
{
    const struct cached_leaf *leaf;

    input = piommu_walker_untagged_input(regime, input);
    /* The other half of an AArch32 regime may own a part of what a cached leaf covers. */
    if (!piommu_walker_input_is_in_range(regime, input)) {
        piommu_walker_translate(regime, memory, input, access, result);
        return;
    }
    leaf = find_leaf(tlb, input);
    if (leaf == NULL) {
        walk_from_caches(tlb, regime, memory, input, access, result);
        if (result->fault == PIOMMU_WALKER_FAULT_NONE ||
            result->fault == PIOMMU_WALKER_FAULT_PERMISSION) {
            keep_leaf(tlb, regime, input, result);
        }
        return;
    }
    answer_from_leaf(leaf, input, access, result);
    note_conflict(tlb, regime, memory, input, result);
    if (!access->write || result->fault != PIOMMU_WALKER_FAULT_NONE ||
        !leaf->attributes.writable_clean) {
        return;
    }
    /* The first write through a clean entry has to go to memory, to make the descriptor dirty. */
    walk_from_caches(tlb, regime, memory, input, access, result);
    if (result->fault == PIOMMU_WALKER_FAULT_NONE) {
        drop_leaves(tlb, input, input);
        keep_leaf(tlb, regime, input, result);
    }
}

struct filling {
    struct stale_tlb *tlb;
    const struct piommu_walker_regime *regime;
    const struct piommu_walker_memory *memory;
};

/* What is cached already stays as it is, even if the link in memory is another one by now. */
static bool fill_link(void *ctx, const struct piommu_walker_link *link)
{
    const struct filling *filling = ctx;

    if (!holds_table(filling->tlb, link->input, link->next.level)) {
        keep_table(filling->tlb, filling->regime, link->input, &link->next);
    }
    return true;
}

static bool fill_leaf(void *ctx, const struct piommu_walker_leaf *leaf)
{
    static const struct piommu_walker_access nothing = {false, false, false, true};
    const struct filling *filling = ctx;
    const struct piommu_walker_memory silent = {filling->memory->read64, NULL,
                                                filling->memory->ctx};
    struct piommu_walker_result ignored;

    /* Without AF there is nothing to cache: speculation does not report the fault, either. */
    if (leaf->attributes.access_flag) {
        stale_tlb_translate(filling->tlb, filling->regime, &silent, leaf->input, &nothing,
                            &ignored);
    }
    return true;
}

void stale_tlb_fill(struct stale_tlb *tlb, const struct piommu_walker_regime *regime,
                    const struct piommu_walker_memory *memory)
{
    struct filling filling = {tlb, regime, memory};

    piommu_walker_for_each_link(regime, memory, fill_link, &filling);
    piommu_walker_for_each_leaf(regime, memory, fill_leaf, &filling);
}

void stale_tlb_invalidate(struct stale_tlb *tlb, uint64_t first, uint64_t last, bool leaf_only)
{
    drop_leaves(tlb, first, last);
    if (!leaf_only) {
        drop_tables(tlb, first, last);
    }
}

void stale_tlb_invalidate_all(struct stale_tlb *tlb)
{
    tlb->leaf_count = 0;
    tlb->table_count = 0;
}

bool stale_tlb_leaf_reaches(const struct stale_tlb *tlb, uint64_t first, uint64_t last)
{
    for (size_t i = 0; i < tlb->leaf_count; i++) {
        const struct cached_leaf *leaf = &tlb->leaves[i];

        if (overlaps(leaf->output, leaf->output + (leaf->last - leaf->first), first, last)) {
            return true;
        }
    }
    return false;
}

bool stale_tlb_table_reaches(const struct stale_tlb *tlb, uint64_t physical, uint64_t size)
{
    for (size_t i = 0; size != 0 && i < tlb->table_count; i++) {
        const struct cached_table *table = &tlb->tables[i];

        if (overlaps(table->position.table, table->table_last, physical, physical + (size - 1))) {
            return true;
        }
    }
    return false;
}

bool stale_tlb_holds_input(const struct stale_tlb *tlb, uint64_t first, uint64_t last)
{
    for (size_t i = 0; i < tlb->leaf_count; i++) {
        if (overlaps(tlb->leaves[i].first, tlb->leaves[i].last, first, last)) {
            return true;
        }
    }
    return false;
}

size_t stale_tlb_leaf_count(const struct stale_tlb *tlb)
{
    return tlb->leaf_count;
}

size_t stale_tlb_table_count(const struct stale_tlb *tlb)
{
    return tlb->table_count;
}

uint64_t stale_tlb_conflicts(const struct stale_tlb *tlb)
{
    return tlb->conflicts;
}
