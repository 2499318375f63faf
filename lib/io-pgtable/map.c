/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Mapping: count the tables that are missing, take them all, then store leaves.
 */

#include "pgtable.h"

#include "chain.h"
#include "quick.h"

/* Takes the segments in that go on where the source ends. */
static void extend(struct source *source)
{
    while (source->count != 0 && source->segments->physical == source->physical + source->left) {
        source->left += source->segments->size;
        source->segments++;
        source->count--;
    }
}

static void load_segment(struct source *source)
{
    if (source->count != 0) {
        source->physical = source->segments->physical;
        extend(source);
    }
}

void piommu_source_begin_(struct source *source, uint64_t iova,
                          const struct piommu_segment *segments, size_t count)
{
    source->segments = segments;
    source->count = count;
    source->iova = iova;
    source->left = 0;
    source->budget = UINT64_MAX;
    load_segment(source);
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

/* The greatest height, from `height` downwards, at which leaves are in use. */
static unsigned int leaf_height_from(const struct piommu_pgtable *table, unsigned int height)
{
    while (((table->leaf_heights >> height) & 1) == 0) {
        height--;
    }
    return height;
}

/* The height of the largest leaf that fits the alignment and what is left. */
static unsigned int largest_leaf(const struct piommu_pgtable *table, const struct source *source)
{
    unsigned int height = leaf_height_from(table, table->root_height);

    while (height > 0) {
        uint64_t span = pgtable_span(table, height);

        if (((source->iova | source->physical) & (span - 1)) == 0 && source->left >= span) {
            break;
        }
        height = leaf_height_from(table, height - 1);
    }
    return height;
}

/* Whether contiguous groups can be formed: input and output are at the same place in a group. */
static bool forms_groups(const struct piommu_pgtable *table, const struct source *source,
                         unsigned int height)
{
    uint64_t mask = (pgtable_span(table, height) << table->group_shift[height]) - 1;

    return table->group_shift[height] != 0 && ((source->iova ^ source->physical) & mask) == 0;
}

/*
 * How many leaves of a height can be stored side by side: up to the end of the table, of the
 * source, of the budget, or to where the part of the address changes that a descriptor holds apart.
 * A contiguous group is not given up for the end of the budget.
 */
static uint32_t run_length(const struct piommu_pgtable *table, const struct source *source,
                           unsigned int height)
{
    uint32_t index = pgtable_index(table, height, source->iova);
    uint64_t run = table->index_mask[height] - index + 1u;
    uint64_t leaves = source->left >> table->shift[height];

    if (leaves < run) {
        run = leaves;
    }
    if (table->address_fold != 0) {
        uint64_t in_place = table->address_mask | (pgtable_span(table, 0) - 1);
        uint64_t behind = (in_place - (source->physical & in_place)) >> table->shift[height];

        if (behind + 1 < run) {
            run = behind + 1;
        }
    }
    if (source->budget < run) {
        uint64_t most = run;

        run = source->budget;
        if (forms_groups(table, source, height)) {
            uint64_t group = 1ull << table->group_shift[height];
            uint64_t end = (index + run + group - 1) & ~(group - 1);

            if (end - index <= most && end - group >= index) {
                run = end - index;
            }
        }
    }
    return (uint32_t)run;
}

static void spend(struct source *source, uint32_t leaves)
{
    source->budget -= leaves < source->budget ? leaves : source->budget;
}

/* How many leading slots of a run can take a leaf: up to the first that is in use. */
static uint32_t usable_slots(descriptor_slot *slots, uint32_t limit)
{
    uint32_t usable = 0;

    while (usable < limit && descriptor_read(&slots[usable]) == 0) {
        usable++;
    }
    return usable;
}

void piommu_probe_begin_(struct probe *probe, const struct piommu_pgtable *table)
{
    probe->table = table;
    probe->height = table->root_height;
    probe->tables[probe->height] = table->root;
    probe->iova = table->aperture.first;
    probe->missing = 0;
    probe->replace = false;
    probe->thorough = false;
}

static void probe_move(struct probe *probe, uint64_t iova)
{
    const struct piommu_pgtable *table = probe->table;

    while (probe->height < table->root_height &&
           ((iova ^ probe->iova) >> table->shift[probe->height + 1]) != 0) {
        probe->height++;
    }
    probe->iova = iova;
}

/* The current slot, or NULL if its table does not exist or is empty. */
static descriptor_slot *probe_slot(const struct probe *probe)
{
    descriptor_slot *slots = probe->tables[probe->height];

    return slots != NULL ? &slots[pgtable_index(probe->table, probe->height, probe->iova)] : NULL;
}

/*
 * Goes down to the table where a leaf of the wanted height belongs: there, or below if a table is
 * in its place. Returns false if a leaf is in the way.
 */
static bool probe_descend(struct probe *probe, unsigned int wanted)
{
    const struct piommu_pgtable *table = probe->table;

    for (;;) {
        descriptor_slot *slot = probe_slot(probe);
        uint64_t descriptor = slot != NULL ? descriptor_read(slot) : 0;
        descriptor_slot *next = NULL;

        if (descriptor_is_table(descriptor, probe->height)) {
            /* An empty table is as good as a hole below; its words are not descriptors. */
            if (descriptor_count(descriptor) != 0) {
                next = pgtable_next(table, descriptor);
            }
        } else if (descriptor != 0 && !probe->replace) {
            return false;
        } else if (probe->height == wanted) {
            return true;
        } else {
            probe->missing++;
        }
        probe->height--;
        probe->tables[probe->height] = next;
        if (probe->height < wanted) {
            wanted = leaf_height_from(table, probe->height);
        }
    }
}

void piommu_probe_count_(struct probe *probe, struct source source)
{
    const struct piommu_pgtable *table = probe->table;

    while (source.left != 0 && source.budget != 0) {
        descriptor_slot *slot;
        uint32_t run;

        probe_move(probe, source.iova);
        if (!probe_descend(probe, largest_leaf(table, &source))) {
            return;
        }
        slot = probe_slot(probe);
        run = run_length(table, &source, probe->height);
        if (slot != NULL && !probe->replace && (probe->thorough || probe->height != 0)) {
            run = usable_slots(slot, run);
        }
        if (run == 0) {
            return;
        }
        spend(&source, run);
        advance(&source, (uint64_t)run << table->shift[probe->height]);
    }
}

/*
 * Goes down to the table where the next leaf belongs, as probe_descend does. Returns false if a
 * leaf is in the way. `spare` holds as many tables as can be missing.
 */
static bool descend(struct path *path, unsigned int wanted, descriptor_slot **spare)
{
    struct piommu_pgtable *table = path->table;

    for (;;) {
        uint64_t descriptor = descriptor_read(path_slot(path));

        if (descriptor_is_table(descriptor, path->height)) {
            if (descriptor_count(descriptor) == 0) {
                empty_forget(table, pgtable_next(table, descriptor));
            }
            path_enter(path, descriptor);
            if (path->height < wanted) {
                wanted = leaf_height_from(table, path->height);
            }
        } else if (descriptor != 0 && !path->replace) {
            return false;
        } else if (path->height == wanted) {
            return true;
        } else {
            uint64_t physical;
            descriptor_slot *fresh = piommu_tables_pop_(spare, &physical);

            path_enter_fresh(path, fresh, physical);
        }
    }
}

/*
 * Stores `count` leaves side by side, up to a slot that is in use; returns how many. One look for
 * each cache line: this is where large mappings spend their time.
 */
static inline uint32_t fill_slots(descriptor_slot *slots, uint64_t descriptor, uint64_t step,
                                  uint32_t count)
{
    uint32_t stored = 0;

    while (count - stored >= SLOTS_AT_ONCE) {
        descriptor_slot *line = &slots[stored];

        if ((descriptor_raw(&line[0]) | descriptor_raw(&line[1]) | descriptor_raw(&line[2]) |
             descriptor_raw(&line[3]) | descriptor_raw(&line[4]) | descriptor_raw(&line[5]) |
             descriptor_raw(&line[6]) | descriptor_raw(&line[7])) != 0) {
            break;
        }
        descriptor_write(&line[0], descriptor);
        descriptor_write(&line[1], descriptor += step);
        descriptor_write(&line[2], descriptor += step);
        descriptor_write(&line[3], descriptor += step);
        descriptor_write(&line[4], descriptor += step);
        descriptor_write(&line[5], descriptor += step);
        descriptor_write(&line[6], descriptor += step);
        descriptor_write(&line[7], descriptor += step);
        descriptor += step;
        stored += SLOTS_AT_ONCE;
    }
    while (stored < count && descriptor_raw(&slots[stored]) == 0) {
        descriptor_write(&slots[stored], descriptor);
        descriptor += step;
        stored++;
    }
    return stored;
}

/* The same for slots that hold leaves already. */
static uint32_t replace_slots(descriptor_slot *slots, uint64_t descriptor, uint64_t step,
                              uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        descriptor_write(&slots[i], descriptor);
        descriptor += step;
    }
    return count;
}

static bool all_free(descriptor_slot *slots, uint32_t count)
{
    uint32_t i = 0;

    while (i < count && descriptor_read(&slots[i]) == 0) {
        i++;
    }
    return i == count;
}

/*
 * Does as fill_slots, and forms contiguous groups of those that are aligned in input and output and
 * free as a whole. Source: Arm ARM, "The Contiguous bit".
 */
static uint32_t fill_groups(descriptor_slot *slots, uint32_t index, uint64_t descriptor,
                            uint64_t step, uint32_t count, uint32_t group)
{
    uint32_t stored = 0;

    while (stored < count) {
        uint32_t part = group - ((index + stored) & (group - 1));
        uint64_t hint = 0;
        uint32_t done;

        if (part > count - stored) {
            part = count - stored;
        }
        if (part == group && all_free(&slots[stored], group)) {
            hint = DESCRIPTOR_CONTIGUOUS;
        }
        done = fill_slots(&slots[stored], (descriptor + stored * step) | hint, step, part);
        stored += done;
        if (done != part) {
            break;
        }
    }
    return stored;
}

/* Stores leaves from the path's slot on; returns how many. */
static uint32_t store_run(struct path *path, const struct source *source, uint64_t attributes)
{
    struct piommu_pgtable *table = path->table;
    unsigned int height = path->height;
    descriptor_slot *slots = path_slot(path);
    uint64_t type = height == 0 ? DESCRIPTOR_PAGE : DESCRIPTOR_BLOCK;
    uint64_t descriptor = pgtable_encode(table, source->physical) | attributes | type;
    uint64_t step = pgtable_span(table, height);
    uint32_t limit = run_length(table, source, height);
    uint32_t stored;

    if (path->replace && !path->fresh[height]) {
        /* These are members of a group that is cut: in use before and after. */
        stored = replace_slots(slots, descriptor, step, limit);
    } else {
        if (forms_groups(table, source, height)) {
            stored = fill_groups(slots, pgtable_index(table, height, source->iova), descriptor,
                                 step, limit, 1u << table->group_shift[height]);
        } else {
            stored = fill_slots(slots, descriptor, step, limit);
        }
        path->change[height] += (int32_t)stored;
    }
    if (!path->fresh[height]) {
        pgtable_clean(table, slots, stored);
    }
    return stored;
}

void piommu_store_leaves_(struct path *path, struct source *source, uint64_t attributes,
                          descriptor_slot **spare)
{
    const struct piommu_pgtable *table = path->table;

    while (source->left != 0 && source->budget != 0) {
        uint32_t stored;

        piommu_path_move_(path, source->iova);
        if (!descend(path, largest_leaf(table, source), spare)) {
            break;
        }
        stored = store_run(path, source, attributes);
        if (stored == 0) {
            break;
        }
        spend(source, stored);
        advance(source, (uint64_t)stored << table->shift[path->height]);
    }
}

/*
 * Checks every argument over its whole range.
 *
 * The order of the errors is that of the header: what is malformed, what is out of range, what
 * cannot be expressed.
 */
static int check(const struct piommu_pgtable *table, uint64_t iova,
                 const struct piommu_segment *segments, size_t count, piommu_prot prot)
{
    uint64_t granule_mask = table->info.granule - 1;
    uint64_t next = iova;
    bool in_range = true;

    if (count == 0 || (prot & ~PIOMMU_PROT_ALL) != 0 ||
        (prot & (PIOMMU_PROT_READ | PIOMMU_PROT_WRITE | PIOMMU_PROT_EXECUTE_ALL)) == 0 ||
        (iova & granule_mask) != 0) {
        return -PIOMMU_EINVAL;
    }
    for (size_t i = 0; i < count; i++) {
        uint64_t physical = segments[i].physical;
        uint64_t size = segments[i].size;

        if (size == 0 || ((physical | size) & granule_mask) != 0) {
            return -PIOMMU_EINVAL;
        }
        in_range = in_range && pgtable_has_range(table, next, size) &&
                   physical <= table->last_output && size - 1 <= table->last_output - physical;
        next += size;
    }
    if (!in_range) {
        return -PIOMMU_ERANGE;
    }
    return !table->adopted && pgtable_leaf_attributes(table, prot) != 0 ? 0 : -PIOMMU_EOPNOTSUPP;
}

/* Maps what the budget allows. Returns an error, or 0 even if something was in the way. */
static int map_part(struct piommu_pgtable *table, struct source *source, piommu_prot prot)
{
    uint64_t attributes = pgtable_leaf_attributes(table, prot);
    struct probe probe;
    struct path path;
    descriptor_slot *spare;
    int error;

    if (table->tracking) {
        attributes = piommu_pgtable_tracked_(table, attributes);
    }
    /*
     * Pages are not looked at one by one but where it matters: if something is in the way, no table
     * behind it is needed.
     */
    piommu_probe_begin_(&probe, table);
    piommu_probe_count_(&probe, *source);
    if (probe.missing != 0) {
        piommu_probe_begin_(&probe, table);
        probe.thorough = true;
        piommu_probe_count_(&probe, *source);
    }
    error = piommu_tables_take_(table, probe.missing, &spare);
    if (error != 0) {
        return error;
    }
    piommu_path_begin_(&path, table);
    piommu_store_leaves_(&path, source, attributes, &spare);
    piommu_path_end_(&path);
    piommu_host_barrier(table->host, PIOMMU_BARRIER_WRITE);
    piommu_tables_give_(table, spare);
    return 0;
}

int piommu_pgtable_map_list(struct piommu_pgtable *table, uint64_t iova,
                            const struct piommu_segment *segments, size_t count, piommu_prot prot,
                            uint64_t *mapped)
{
    struct source source;
    int error;

    *mapped = 0;
    error = check(table, iova, segments, count, prot);
    if (error != 0) {
        return error;
    }
    piommu_source_begin_(&source, iova, segments, count);
    error = map_part(table, &source, prot);
    if (error != 0) {
        return error;
    }
    *mapped = source.iova - iova;
    return source.left == 0 ? 0 : -PIOMMU_EEXIST;
}

NEVER_INLINE int map_slowly(struct piommu_pgtable *table, uint64_t iova, uint64_t physical,
                            uint64_t size, piommu_prot prot, uint64_t *mapped)
{
    struct piommu_segment segment = {.physical = physical, .size = size};

    return piommu_pgtable_map_list(table, iova, &segment, 1, prot, mapped);
}

/* Makes leaves that were stored in a linked table visible. */
NEVER_INLINE int publish(const struct piommu_pgtable *table, descriptor_slot *slots, uint32_t count)
{
    pgtable_clean(table, slots, count);
    piommu_host_barrier(table->host, PIOMMU_BARRIER_WRITE);
    return 0;
}

/*
 * Maps one leaf into a table that is there, and leaves everything else to the general code.
 * Everything else includes all errors.
 */
ALWAYS_INLINE int map_leaf(struct piommu_pgtable *table, uint64_t iova, uint64_t physical,
                           uint64_t size, piommu_prot prot, uint64_t *mapped,
                           unsigned int page_shift, unsigned int index_bits)
{
    uint64_t attributes = pgtable_leaf_attributes(table, prot);
    struct descent descent;

    if (attributes == 0 || ((iova | physical) & (size - 1)) != 0 || prot > PIOMMU_PROT_ALL ||
        iova - table->aperture.first > table->last_offset || physical > table->last_output) {
        return map_slowly(table, iova, physical, size, prot, mapped);
    }
    descent = descend_quickly(table, iova, page_shift, index_bits);
    if (1ull << descent.shift != size || descent.link == NULL) {
        return map_slowly(table, iova, physical, size, prot, mapped);
    }
    if (descriptor_links_empty(descent.link_descriptor)) {
        empty_forget(table, pgtable_next(table, descent.link_descriptor));
    } else if (descent.descriptor != 0) {
        return map_slowly(table, iova, physical, size, prot, mapped);
    }
    descriptor_write(descent.slot,
                     physical | attributes |
                         (descent.shift == page_shift ? DESCRIPTOR_PAGE : DESCRIPTOR_BLOCK));
    descriptor_write(descent.link, descriptor_count_up(descent.link_descriptor, 1));
    *mapped = size;
    if (!table->coherent_walk) {
        return publish(table, descent.slot, 1);
    }
    piommu_host_barrier(table->host, PIOMMU_BARRIER_WRITE);
    return 0;
}

/* The same for a range of leaves of one size that lies in one table. */
NEVER_INLINE int map_run(struct piommu_pgtable *table, uint64_t iova, uint64_t physical,
                         uint64_t size, piommu_prot prot, uint64_t *mapped)
{
    uint64_t attributes = pgtable_leaf_attributes(table, prot);
    struct descent descent;
    uint64_t span;
    uint64_t count;
    uint32_t stored;
    bool page;

    if (attributes == 0 || ((iova | physical | size) & (table->info.granule - 1)) != 0 ||
        prot > PIOMMU_PROT_ALL || !pgtable_has_range(table, iova, size) ||
        physical > table->last_output || size - 1 > table->last_output - physical) {
        return map_slowly(table, iova, physical, size, prot, mapped);
    }
    descent = descend_any(table, iova);
    /* Leaves of the slots' size fit; larger ones would have to be where there are tables. */
    span = 1ull << descent.shift;
    count = size >> descent.shift;
    if (((iova | physical | size) & (span - 1)) != 0 || (table->quick_sizes & span) == 0 ||
        count > descent_slots(table, iova, &descent)) {
        return map_slowly(table, iova, physical, size, prot, mapped);
    }
    page = span == table->quick_page;
    if (descent.link != NULL && descriptor_links_empty(descent.link_descriptor)) {
        empty_forget(table, pgtable_next(table, descent.link_descriptor));
    } else if (!page && !all_free(descent.slot, (uint32_t)count)) {
        /* What is there may be a table, below which smaller leaves go. */
        return map_slowly(table, iova, physical, size, prot, mapped);
    }
    stored = fill_slots(descent.slot,
                        physical | attributes | (page ? DESCRIPTOR_PAGE : DESCRIPTOR_BLOCK), span,
                        (uint32_t)count);
    *mapped = (uint64_t)stored << descent.shift;
    if (stored == 0) {
        return -PIOMMU_EEXIST;
    }
    if (descent.link != NULL) {
        descriptor_write(descent.link, descriptor_count_up(descent.link_descriptor, stored));
    }
    publish(table, descent.slot, stored);
    return stored == count ? 0 : -PIOMMU_EEXIST;
}

NEVER_INLINE int map_block(struct piommu_pgtable *table, uint64_t iova, uint64_t physical,
                           uint64_t size, piommu_prot prot, uint64_t *mapped)
{
    return map_leaf(table, iova, physical, size, prot, mapped, table->shift[0], table->index_bits);
}

int piommu_pgtable_map(struct piommu_pgtable *table, uint64_t iova, uint64_t physical,
                       uint64_t size, piommu_prot prot, uint64_t *mapped)
{
    if (size == table->quick_page) {
        switch (size) {
        case 1u << 12:
            return map_leaf(table, iova, physical, 1u << 12, prot, mapped, 12, 9);
        case 1u << 14:
            return map_leaf(table, iova, physical, 1u << 14, prot, mapped, 14, 11);
        case 1u << 16:
            return map_leaf(table, iova, physical, 1u << 16, prot, mapped, 16, 13);
        default: /* both are 0 */
            break;
        }
    }
    if (is_quick_leaf(table, size)) {
        return map_block(table, iova, physical, size, prot, mapped);
    }
    if (table->quick_sizes != 0 && size != 0) {
        return map_run(table, iova, physical, size, prot, mapped);
    }
    return map_slowly(table, iova, physical, size, prot, mapped);
}

/* Begins where the cursor stands, which may be inside a segment. */
static void resume(struct source *source, uint64_t iova, const struct piommu_segment *segments,
                   size_t count, const struct piommu_pgtable_cursor *cursor)
{
    const struct piommu_segment *current = &segments[cursor->segment];

    source->segments = current + 1;
    source->count = count - cursor->segment - 1;
    source->iova = iova + cursor->done;
    source->physical = current->physical + cursor->offset;
    source->left = current->size - cursor->offset;
    extend(source);
}

static void move_cursor(struct piommu_pgtable_cursor *cursor, uint64_t size,
                        const struct piommu_segment *segments)
{
    cursor->done += size;
    cursor->changed += size;
    while (size != 0) {
        uint64_t left = segments[cursor->segment].size - cursor->offset;

        if (size < left) {
            cursor->offset += size;
            return;
        }
        size -= left;
        cursor->segment++;
        cursor->offset = 0;
    }
}

int piommu_pgtable_map_some(struct piommu_pgtable *table, uint64_t iova,
                            const struct piommu_segment *segments, size_t count, piommu_prot prot,
                            uint32_t budget, struct piommu_pgtable_cursor *cursor)
{
    struct source source;
    int error;

    /* Later calls rely on what the first one has checked: the arguments are the same. */
    if (cursor->done == 0) {
        error = check(table, iova, segments, count, prot);
        if (error != 0) {
            return error;
        }
    } else if (cursor->segment >= count || cursor->offset >= segments[cursor->segment].size) {
        return -PIOMMU_EINVAL;
    }
    resume(&source, iova, segments, count, cursor);
    source.budget = budget != 0 ? budget : 1;
    error = map_part(table, &source, prot);
    if (error != 0) {
        return error;
    }
    move_cursor(cursor, source.iova - (iova + cursor->done), segments);
    if (source.left == 0) {
        return 0;
    }
    return source.budget == 0 ? -PIOMMU_EAGAIN : -PIOMMU_EEXIST;
}
