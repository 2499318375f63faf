/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Mapping: count the tables that are missing, take them all, then store leaves.
 */

#include "pgtable.h"

#include "chain.h"
#include "quick.h"

void piommu_source_extend_(struct source *source)
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
        piommu_source_extend_(source);
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
    probe->blocked = false;
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

/* Notes that something will be put into so many slots, from the current one on. */
static void probe_touch(struct probe *probe, uint64_t slots)
{
    const struct piommu_pgtable *table = probe->table;
    uint64_t first = probe->iova & ~(pgtable_span(table, probe->height) - 1);
    uint64_t size = slots << table->shift[probe->height];

    probe->blocked = probe->blocked || pgtable_is_blocked(table, first, first + (size - 1));
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
        uint64_t descriptor = slot != NULL ? descriptor_read_link(slot) : 0;
        descriptor_slot *next = NULL;

        if (descriptor_is_table(descriptor, probe->height)) {
            /* An empty table is as good as a hole below; its words are not descriptors. */
            if (!descriptor_links_empty(descriptor)) {
                next = pgtable_next(table, descriptor);
            }
        } else if (descriptor != 0 && !probe->replace) {
            return false;
        } else if (probe->height == wanted) {
            return true;
        } else {
            probe->missing++;
            probe_touch(probe, 1);
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
        if (probe->height != 0) {
            probe_touch(probe, run);
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
    const struct piommu_pgtable *table = path->table;

    for (;;) {
        /* What is fresh is empty, though it may not look so yet. */
        uint64_t descriptor = path->dirty ? 0 : descriptor_read_link(path_slot(path));

        if (descriptor_is_table(descriptor, path->height)) {
            piommu_path_enter_to_fill_(path, descriptor);
            if (path->height < wanted) {
                wanted = leaf_height_from(table, path->height);
            }
        } else if (descriptor != 0 && !path->replace) {
            return false;
        } else if (path->height == wanted) {
            return true;
        } else {
            piommu_path_enter_new_(path, spare);
        }
    }
}

/* Stores leaves in all slots of a cache line; returns what the next one would be. */
static inline uint64_t fill_line(descriptor_slot *line, uint64_t descriptor, uint64_t step)
{
    descriptor_write(&line[0], descriptor);
    descriptor_write(&line[1], descriptor += step);
    descriptor_write(&line[2], descriptor += step);
    descriptor_write(&line[3], descriptor += step);
    descriptor_write(&line[4], descriptor += step);
    descriptor_write(&line[5], descriptor += step);
    descriptor_write(&line[6], descriptor += step);
    descriptor_write(&line[7], descriptor += step);
    return descriptor + step;
}

/*
 * Stores `count` leaves side by side, up to a slot that is in use; returns how many. One look for
 * each cache line: this is where large mappings spend their time.
 */
static uint32_t fill_slots(descriptor_slot *slots, uint64_t descriptor, uint64_t step,
                           uint32_t count)
{
    uint32_t stored = 0;

    while (PIOMMU_PGTABLE_WITH_SHORT_WAYS && count - stored >= SLOTS_AT_ONCE) {
        descriptor_slot *line = &slots[stored];

        if ((descriptor_raw(&line[0]) | descriptor_raw(&line[1]) | descriptor_raw(&line[2]) |
             descriptor_raw(&line[3]) | descriptor_raw(&line[4]) | descriptor_raw(&line[5]) |
             descriptor_raw(&line[6]) | descriptor_raw(&line[7])) != 0) {
            break;
        }
        descriptor = fill_line(line, descriptor, step);
        stored += SLOTS_AT_ONCE;
    }
    while (stored < count && descriptor_raw(&slots[stored]) == 0) {
        descriptor_write(&slots[stored], descriptor);
        descriptor += step;
        stored++;
    }
    return stored;
}

/* The same whatever the slots hold. */
static uint32_t overwrite_slots(descriptor_slot *slots, uint64_t descriptor, uint64_t step,
                                uint32_t count)
{
    uint32_t stored = 0;

    while (PIOMMU_PGTABLE_WITH_SHORT_WAYS && count - stored >= SLOTS_AT_ONCE) {
        descriptor = fill_line(&slots[stored], descriptor, step);
        stored += SLOTS_AT_ONCE;
    }
    while (stored < count) {
        descriptor_write(&slots[stored], descriptor);
        descriptor += step;
        stored++;
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
static NEVER_INLINE uint32_t store_run(struct path *path, const struct source *source,
                                       uint64_t attributes)
{
    struct piommu_pgtable *table = path->table;
    unsigned int height = path->height;
    descriptor_slot *slots = path_slot(path);
    uint64_t type = height == 0 ? DESCRIPTOR_PAGE : DESCRIPTOR_BLOCK;
    uint64_t descriptor = pgtable_encode(table, source->physical) | attributes | type;
    uint64_t step = pgtable_span(table, height);
    uint32_t limit = run_length(table, source, height);
    bool groups = forms_groups(table, source, height);
    /* Members of a group that is cut: in use before and after. */
    bool replaces = path->replace && !path_is_fresh(path);
    /* A new table that is filled as a whole need not be cleared before. */
    bool fills_whole = path->dirty && limit == pgtable_slots(table) && !groups;
    uint32_t stored;

    if (path->dirty) {
        path->dirty = false;
        if (!fills_whole) {
            piommu_tables_clear_(table, path->tables[height]);
        }
    }
    if (replaces) {
        stored = overwrite_slots(slots, descriptor, step, limit);
    } else {
        if (fills_whole) {
            stored = overwrite_slots(slots, descriptor, step, limit);
        } else if (groups) {
            stored = fill_groups(slots, pgtable_index(table, height, source->iova), descriptor,
                                 step, limit, 1u << table->group_shift[height]);
        } else {
            stored = fill_slots(slots, descriptor, step, limit);
        }
        path->change[height] += (int32_t)stored;
    }
    if (!path_is_fresh(path)) {
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

int piommu_map_check_(const struct piommu_pgtable *table, uint64_t iova,
                      const struct piommu_segment *segments, size_t count, piommu_prot prot,
                      uint64_t *last)
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
    *last = next - 1;
    if (!in_range) {
        return -PIOMMU_ERANGE;
    }
    return !table->adopted && pgtable_leaf_attributes(table, prot) != 0 ? 0 : -PIOMMU_EOPNOTSUPP;
}

/* Tables that a call is going to use, or an error. */
struct taken {
    descriptor_slot *spare; /* a chain */
    int error;
};

/*
 * Takes the tables that are missing for what is to be mapped; apart, since its stack is not needed
 * when they are filled. Pages are not looked at one by one but where it matters: if something is in
 * the way, nothing behind it is needed.
 */
static NEVER_INLINE struct taken take_missing(struct piommu_pgtable *table,
                                              const struct source *source)
{
    struct taken taken = {.spare = NULL, .error = -PIOMMU_EBUSY};
    struct probe probe;

    piommu_probe_begin_(&probe, table);
    piommu_probe_count_(&probe, *source);
    if (probe.missing != 0 || probe.blocked) {
        piommu_probe_begin_(&probe, table);
        probe.thorough = true;
        piommu_probe_count_(&probe, *source);
    }
    if (!probe.blocked) {
        taken.error = piommu_tables_take_(table, probe.missing, &taken.spare);
    }
    return taken;
}

/* Maps what the tables that were taken suffice for. */
static APART_IF_SHALLOW int map_with(struct piommu_pgtable *table, struct source *source,
                                     struct piommu_range range, piommu_prot prot,
                                     descriptor_slot *spare)
{
    uint64_t attributes = pgtable_leaf_attributes(table, prot);
    struct path path;

    if (table->tracking) {
        attributes = piommu_pgtable_tracked_(table, attributes);
    }
    piommu_path_begin_(&path, table);
    if (pgtable_is_disjoint(table)) {
        path.own = range;
    }
    piommu_store_leaves_(&path, source, attributes, &spare);
    piommu_path_end_(&path);
    piommu_host_barrier(table->host, PIOMMU_BARRIER_WRITE);
    /* In a disjoint table others may have linked what was missing here, too. */
    piommu_tables_give_(table, spare);
    return 0;
}

int piommu_map_part_(struct piommu_pgtable *table, struct source *source, struct piommu_range range,
                     piommu_prot prot)
{
    struct taken taken = take_missing(table, source);

    return taken.error != 0 ? taken.error : map_with(table, source, range, prot, taken.spare);
}

static NEVER_INLINE int map_list_slowly(struct piommu_pgtable *table, uint64_t iova,
                                        const struct piommu_segment *segments, size_t count,
                                        piommu_prot prot, uint64_t *mapped)
{
    struct piommu_range range = {.first = iova};
    struct source source;
    int error;

    *mapped = 0;
    error = piommu_map_check_(table, iova, segments, count, prot, &range.last);
    if (error != 0) {
        return error;
    }
    piommu_source_begin_(&source, iova, segments, count);
    error = piommu_map_part_(table, &source, range, prot);
    if (error != 0) {
        return error;
    }
    *mapped = source.iova - iova;
    return source.left == 0 ? 0 : -PIOMMU_EEXIST;
}

static NEVER_INLINE int map_slowly(struct piommu_pgtable *table, uint64_t iova, uint64_t physical,
                                   uint64_t size, piommu_prot prot, uint64_t *mapped)
{
    struct piommu_segment segment = {.physical = physical, .size = size};

    return map_list_slowly(table, iova, &segment, 1, prot, mapped);
}

/* Makes leaves visible that were stored in a linked table. */
static NEVER_INLINE int publish(const struct piommu_pgtable *table, descriptor_slot *slots,
                                uint32_t count)
{
    pgtable_clean(table, slots, count);
    piommu_host_barrier(table->host, PIOMMU_BARRIER_WRITE);
    return 0;
}

/*
 * Maps one page into a table that is there, and leaves everything else to the general code.
 * Everything else includes all errors.
 */
static ALWAYS_INLINE int map_page(struct piommu_pgtable *table, uint64_t iova, uint64_t physical,
                                  piommu_prot prot, uint64_t *mapped, unsigned int page_shift,
                                  unsigned int index_bits)
{
    const uint64_t size = 1ull << page_shift;
    uint64_t attributes = pgtable_leaf_attributes(table, prot);
    struct descent descent;

    if (UNLIKELY(attributes == 0 || ((iova | physical) & (size - 1)) != 0 ||
                 prot > PIOMMU_PROT_ALL || physical > table->last_output)) {
        return map_slowly(table, iova, physical, size, prot, mapped);
    }
    if (!find_page(table, iova, page_shift, index_bits, &descent)) {
        return map_slowly(table, iova, physical, size, prot, mapped);
    }
    if (pgtable_is_disjoint(table)) {
        if (UNLIKELY(descriptor_raw(descent.slot) != 0 ||
                     !descriptor_links_in_use(descent.link_descriptor))) {
            return map_slowly(table, iova, physical, size, prot, mapped);
        }
    } else {
        if (!descriptor_links_empty(descent.link_descriptor)) {
            if (UNLIKELY(descriptor_raw(descent.slot) != 0)) {
                return map_slowly(table, iova, physical, size, prot, mapped);
            }
        } else if (table->empty.last == quick_next(table, descent.link_descriptor)) {
            table->empty.last = NULL;
        } else {
            return map_slowly(table, iova, physical, size, prot, mapped);
        }
        descriptor_write(descent.link, descriptor_count_up(descent.link_descriptor, 1));
    }
    descriptor_write(descent.slot, physical | attributes | DESCRIPTOR_PAGE);
    *mapped = size;
    if (UNLIKELY(!table->coherent_walk)) {
        return publish(table, descent.slot, 1);
    }
    piommu_host_barrier(table->host, PIOMMU_BARRIER_WRITE);
    return 0;
}

/* The same for a range of leaves of one size that lies in one table. */
static NEVER_INLINE int map_run(struct piommu_pgtable *table, uint64_t iova, uint64_t physical,
                                uint64_t size, piommu_prot prot, uint64_t *mapped)
{
    uint64_t attributes = pgtable_leaf_attributes(table, prot);
    struct descent descent;
    uint64_t span;
    uint64_t count;
    uint32_t stored;

    if (attributes == 0 || prot > PIOMMU_PROT_ALL || !pgtable_has_range(table, iova, size) ||
        physical > table->last_output || size - 1 > table->last_output - physical) {
        return map_slowly(table, iova, physical, size, prot, mapped);
    }
    (void)descend_to_leaf(table, iova, &descent);
    /* Leaves of the slots' size fit; larger ones would have to be where there are tables. */
    span = pgtable_span(table, descent.height);
    count = size >> table->shift[descent.height];
    if (((iova | physical | size) & (span - 1)) != 0 || (table->quick_sizes & span) == 0 ||
        count > descent_slots(table, iova, &descent)) {
        return map_slowly(table, iova, physical, size, prot, mapped);
    }
    if (descent.height == 0) {
        attributes |= DESCRIPTOR_PAGE;
    } else {
        attributes |= DESCRIPTOR_BLOCK;
        /* What is there may be tables, below which smaller leaves go. */
        if (counter_read(&table->tables_detached) != 0 ||
            ((descent.link == NULL || !descriptor_links_empty(descent.link_descriptor)) &&
             !all_free(descent.slot, (uint32_t)count))) {
            return map_slowly(table, iova, physical, size, prot, mapped);
        }
    }
    if (descent.link != NULL) {
        link_prepare(table, descent.link, descent.link_descriptor);
    }
    stored = fill_slots(descent.slot, physical | attributes, span, (uint32_t)count);
    *mapped = (uint64_t)stored << table->shift[descent.height];
    if (stored == 0) {
        return -PIOMMU_EEXIST;
    }
    if (descent.link != NULL && !pgtable_is_disjoint(table)) {
        descriptor_write(descent.link, descriptor_count_up(descent.link_descriptor, stored));
    }
    publish(table, descent.slot, stored);
    return stored == count ? 0 : -PIOMMU_EEXIST;
}

/*
 * The sum of all sizes; 0: it is more than `limit`, which is not above that of a table, or
 * something is not as it must be for pages. The loop has no branch.
 */
static inline uint64_t size_of_pages(const struct piommu_pgtable *table,
                                     const struct piommu_segment *segments, size_t count,
                                     uint64_t limit)
{
    uint64_t physicals = 0;
    uint64_t sizes = 0;
    uint64_t lasts = 0; /* of each piece, as an offset from its beginning */
    uint64_t highest = 0;
    uint64_t size = 0;

    if (count > limit / table->info.granule) {
        return 0;
    }
    for (size_t i = 0; i < count; i++) {
        uint64_t end = segments[i].physical + segments[i].size;

        physicals |= segments[i].physical;
        sizes |= segments[i].size;
        lasts |= segments[i].size - 1;
        highest = end > highest ? end : highest;
        size += segments[i].size;
    }
    /* None is 0 or very large, so that no sum has wrapped around. */
    if (lasts > UINT32_MAX || (physicals & ~table->last_output) != 0 ||
        highest - 1 > table->last_output || size > limit) {
        return 0;
    }
    return ((physicals | sizes) & (table->info.granule - 1)) == 0 ? size : 0;
}

/*
 * Maps a list that needs some pages of one table that is there, but not all of them: no larger leaf
 * can be in it. Leaves everything else to the general code, which a list of scattered pages would
 * take most of its time (rows dma.sg_16, insn.map_list_16 of the benchmark).
 */
int piommu_pgtable_map_list(struct piommu_pgtable *table, uint64_t iova,
                            const struct piommu_segment *segments, size_t count, piommu_prot prot,
                            uint64_t *mapped)
{
    uint64_t attributes = pgtable_leaf_attributes(table, prot);
    const unsigned int shift = table->shift[0];
    struct descent descent;
    uint64_t size;
    uint32_t stored = 0;
    uint32_t wanted = 0;

    if (!is_quick_run(table, count) || attributes == 0 || prot > PIOMMU_PROT_ALL ||
        (table->quick_sizes & table->info.granule) == 0) {
        return map_list_slowly(table, iova, segments, count, prot, mapped);
    }
    size = size_of_pages(table, segments, count, (uint64_t)table->index_mask[0] << shift);
    if (size == 0 || (iova & (table->info.granule - 1)) != 0 ||
        !pgtable_has_range(table, iova, size)) {
        return map_list_slowly(table, iova, segments, count, prot, mapped);
    }
    (void)descend_to_leaf(table, iova, &descent);
    if (descent.height != 0 || descent.link == NULL ||
        size >> shift > descent_slots(table, iova, &descent)) {
        return map_list_slowly(table, iova, segments, count, prot, mapped);
    }
    attributes |= DESCRIPTOR_PAGE;
    link_prepare(table, descent.link, descent.link_descriptor);
    for (size_t i = 0; i < count && stored == wanted; i++) {
        uint32_t pages = (uint32_t)(segments[i].size >> shift);
        uint64_t descriptor = segments[i].physical | attributes;

        wanted += pages;
        if (pages != 1) {
            stored += fill_slots(descent.slot + stored, descriptor, table->info.granule, pages);
        } else if (descriptor_raw(descent.slot + stored) == 0) {
            descriptor_write(descent.slot + stored, descriptor);
            stored++;
        }
    }
    *mapped = (uint64_t)stored << shift;
    if (stored != 0) {
        if (!pgtable_is_disjoint(table)) {
            descriptor_write(descent.link, descriptor_count_up(descent.link_descriptor, stored));
        }
        publish(table, descent.slot, stored);
    }
    return stored == size >> shift ? 0 : -PIOMMU_EEXIST;
}

int piommu_pgtable_map(struct piommu_pgtable *table, uint64_t iova, uint64_t physical,
                       uint64_t size, piommu_prot prot, uint64_t *mapped)
{
    if (is_quick_page(table, size, GRANULE_4K)) {
        return map_page(table, iova, physical, prot, mapped, 12, 9);
    }
    if (is_quick_page(table, size, GRANULE_64K)) {
        return map_page(table, iova, physical, prot, mapped, 16, 13);
    }
    if (is_quick_page(table, size, GRANULE_16K)) {
        return map_page(table, iova, physical, prot, mapped, 14, 11);
    }
    if (is_quick_run(table, size)) {
        return map_run(table, iova, physical, size, prot, mapped);
    }
    return map_slowly(table, iova, physical, size, prot, mapped);
}
