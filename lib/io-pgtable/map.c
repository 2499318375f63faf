/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "pgtable.h"

/* What is still to be mapped: segments in order, adjacent ones taken as one. */
struct source {
    const struct piommu_segment *segments;
    size_t count;      /* of the segments not yet begun */
    uint64_t iova;     /* where the next byte goes */
    uint64_t physical; /* where it is */
    uint64_t left;     /* bytes up to where physical contiguity ends; 0: all done */
};

static void load_segment(struct source *source)
{
    source->left = 0;
    while (source->count != 0) {
        if (source->left == 0) {
            source->physical = source->segments->physical;
        } else if (source->segments->physical != source->physical + source->left) {
            break;
        }
        source->left += source->segments->size;
        source->segments++;
        source->count--;
    }
}

static void advance(struct source *source, uint64_t size)
{
    source->iova += size;
    source->physical += size;
    source->left -= size;
    if (source->left == 0) {
        load_segment(source);
    }
}

/* The first level, from `level` downwards, at which leaves are in use. */
static unsigned int leaf_level_from(const struct piommu_pgtable *table, unsigned int level)
{
    while (((table->leaf_levels >> level) & 1) == 0) {
        level++;
    }
    return level;
}

/* The level of the largest leaf that fits the alignment and what is left. */
static unsigned int largest_leaf(const struct piommu_pgtable *table, const struct source *source)
{
    unsigned int level = leaf_level_from(table, table->start_level);

    while (level < LAST_LEVEL) {
        uint64_t span = pgtable_span(table, level);

        if (((source->iova | source->physical) & (span - 1)) == 0 && source->left >= span) {
            break;
        }
        level = leaf_level_from(table, level + 1);
    }
    return level;
}

/* How many leaves of a level can be stored side by side before the table or the source ends. */
static uint32_t run_length(const struct piommu_pgtable *table, const struct source *source,
                           unsigned int level)
{
    uint32_t slots = pgtable_slots(table, level) - pgtable_index(table, level, source->iova);
    uint64_t leaves = source->left >> table->shift[level];

    return leaves < slots ? (uint32_t)leaves : slots;
}

/*
 * How many leading slots of a run can take a leaf: up to the first that is in use. At level 3 the
 * answer is the whole run, since counting tables does not depend on it.
 */
static uint32_t usable_slots(descriptor_slot *slots, unsigned int level, uint32_t limit)
{
    uint32_t usable = 0;

    if (level == LAST_LEVEL) {
        return limit;
    }
    while (usable < limit && descriptor_read(&slots[usable]) == 0) {
        usable++;
    }
    return usable;
}

/*
 * Counts the tables that storing the source will take, up to the first conflict. Follows the same
 * decisions as store_leaves below: the largest leaf that fits, or what lies below a table that is
 * there.
 */
static uint32_t count_missing_tables(const struct piommu_pgtable *table, struct source source)
{
    uint64_t counted[LEVELS]; /* first address of the last missing table that was counted */
    uint32_t missing = 0;

    for (unsigned int level = 0; level < LEVELS; level++) {
        counted[level] = UINT64_MAX;
    }
    while (source.left != 0) {
        unsigned int wanted = largest_leaf(table, &source);
        unsigned int level = table->start_level;
        descriptor_slot *slots = table->root; /* NULL where nothing is in use */
        uint32_t run;

        while (level < wanted ||
               (slots != NULL &&
                descriptor_is_table(
                    descriptor_read(&slots[pgtable_index(table, level, source.iova)]), level))) {
            uint64_t descriptor =
                slots != NULL ? descriptor_read(&slots[pgtable_index(table, level, source.iova)])
                              : 0;
            uint64_t first = source.iova & ~(pgtable_span(table, level) - 1);

            level++;
            if (descriptor_is_table(descriptor, level - 1)) {
                /* An empty table is as good as a hole below; its words are not descriptors. */
                slots = descriptor_count(descriptor) != 0 ? pgtable_next(table, descriptor) : NULL;
            } else if (descriptor != 0) {
                return missing;
            } else {
                slots = NULL;
                if (counted[level] != first) {
                    counted[level] = first;
                    missing++;
                }
            }
            if (level > wanted) {
                wanted = leaf_level_from(table, level);
            }
        }
        run = run_length(table, &source, level);
        if (slots != NULL) {
            run = usable_slots(&slots[pgtable_index(table, level, source.iova)], level, run);
        }
        if (run == 0) {
            return missing;
        }
        advance(&source, (uint64_t)run << table->shift[level]);
    }
    return missing;
}

/*
 * Goes down to the table where the next leaf belongs. Returns false if a leaf is in the way.
 * `spare` holds as many tables as can be missing.
 */
static bool descend(struct path *path, unsigned int wanted, descriptor_slot **spare)
{
    struct piommu_pgtable *table = path->table;

    for (;;) {
        uint64_t descriptor = descriptor_read(path_slot(path));

        if (descriptor_is_table(descriptor, path->level)) {
            if (descriptor_count(descriptor) == 0) {
                piommu_tables_forget_empty_(table, pgtable_next(table, descriptor));
            }
            path_enter(path, descriptor);
            if (path->level > wanted) {
                wanted = leaf_level_from(table, path->level);
            }
        } else if (descriptor != 0) {
            return false;
        } else if (path->level == wanted) {
            return true;
        } else {
            uint64_t physical;
            descriptor_slot *fresh = piommu_tables_pop_(spare, &physical);

            path_enter_fresh(path, fresh, physical);
        }
    }
}

/* Stores leaves side by side, up to a slot that is in use; returns how many. */
static uint32_t store_run(struct path *path, const struct source *source, uint64_t attributes)
{
    struct piommu_pgtable *table = path->table;
    unsigned int level = path->level;
    descriptor_slot *slots = path_slot(path);
    uint64_t type = level == LAST_LEVEL ? DESCRIPTOR_PAGE : DESCRIPTOR_BLOCK;
    uint64_t descriptor = source->physical | attributes | type;
    uint32_t limit = run_length(table, source, level);
    uint32_t stored = 0;

    while (stored < limit && descriptor_read(&slots[stored]) == 0) {
        descriptor_write(&slots[stored], descriptor);
        descriptor += pgtable_span(table, level);
        stored++;
    }
    path->change[level] += (int32_t)stored;
    if (!path->fresh[level]) {
        pgtable_clean(table, slots, stored);
    }
    return stored;
}

static void store_leaves(struct piommu_pgtable *table, struct source *source, uint64_t attributes,
                         descriptor_slot **spare)
{
    struct path path;

    piommu_path_begin_(&path, table);
    while (source->left != 0) {
        piommu_path_move_(&path, source->iova);
        if (!descend(&path, largest_leaf(table, source), spare)) {
            break;
        }
        advance(source, (uint64_t)store_run(&path, source, attributes) << table->shift[path.level]);
    }
    piommu_path_end_(&path);
    piommu_host_barrier(table->host, PIOMMU_BARRIER_WRITE);
}

/* Checks every argument over its whole range, and sums up the size. */
static int check(const struct piommu_pgtable *table, uint64_t iova,
                 const struct piommu_segment *segments, size_t count, piommu_prot prot)
{
    uint64_t granule_mask = table->info.granule - 1;
    uint64_t next = iova;

    if (count == 0 || prot >= PROT_VALUES ||
        (prot & (PIOMMU_PROT_READ | PIOMMU_PROT_WRITE | PIOMMU_PROT_EXECUTE)) == 0 ||
        (iova & granule_mask) != 0) {
        return -PIOMMU_EINVAL;
    }
    for (size_t i = 0; i < count; i++) {
        uint64_t physical = segments[i].physical;
        uint64_t size = segments[i].size;

        if (size == 0 || ((physical | size) & granule_mask) != 0) {
            return -PIOMMU_EINVAL;
        }
        if (next > table->last_input || size - 1 > table->last_input - next ||
            physical > table->last_output || size - 1 > table->last_output - physical) {
            return -PIOMMU_ERANGE;
        }
        next += size;
    }
    return table->leaf_attributes[prot] != 0 ? 0 : -PIOMMU_EOPNOTSUPP;
}

int piommu_pgtable_map_list(struct piommu_pgtable *table, uint64_t iova,
                            const struct piommu_segment *segments, size_t count, piommu_prot prot,
                            uint64_t *mapped)
{
    struct source source = {.segments = segments, .count = count, .iova = iova};
    descriptor_slot *spare;
    int error;

    *mapped = 0;
    error = check(table, iova, segments, count, prot);
    if (error != 0) {
        return error;
    }
    load_segment(&source);
    error = piommu_tables_take_(table, count_missing_tables(table, source), &spare);
    if (error != 0) {
        return error;
    }
    store_leaves(table, &source, table->leaf_attributes[prot], &spare);
    piommu_tables_give_(table, spare);
    *mapped = source.iova - iova;
    return source.left == 0 ? 0 : -PIOMMU_EEXIST;
}

int piommu_pgtable_map(struct piommu_pgtable *table, uint64_t iova, uint64_t physical,
                       uint64_t size, piommu_prot prot, uint64_t *mapped)
{
    struct piommu_segment segment = {.physical = physical, .size = size};

    return piommu_pgtable_map_list(table, iova, &segment, 1, prot, mapped);
}
