/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_LIB_IO_PGTABLE_PGTABLE_H
#define PIOMMU_LIB_IO_PGTABLE_PGTABLE_H

/*
 * The private side of a page table, shared by the files of this folder.
 *
 * Inside, tables are told apart by height, not by level: 0 holds pages (level 3), and the number
 * grows towards the root (4 is level -1). So all shifts and loops are the same for all formats.
 */

#include <piommu/io-pgtable.h>

#include "../base/host.h"
#include "descriptor.h"
#include "options.h"

#define HEIGHTS    5u /* 0 to 4 */
#define LAST_LEVEL 3

/* The two parts of a prot that decide on attribute bits; see attributes.c. */
#define ACCESS_VALUES (PIOMMU_PROT_ACCESS + 1u)
#define MEMORY_SHIFT  5
#define MEMORY_VALUES 32u
/* Values of the leaf's bits 9:2 and 58:51, from which a prot is decoded. */
#define LOW_DECODED  256u
#define HIGH_DECODED 256u
/* From the bits of PIOMMU_PROT_SOFTWARE to those of a leaf. */
#define LEAF_SOFTWARE_SHIFT 46

/* Whether there are disjoint tables at all. */
#define HAS_DISJOINT (DESCRIPTOR_ATOMIC && PIOMMU_PGTABLE_WITH_DISJOINT)

/* A figure that, in a disjoint table, several CPUs change at once. */
#if HAS_DISJOINT
typedef _Atomic uint64_t counter;
#else
typedef uint64_t counter;
#endif

struct places;

struct piommu_pgtable {
    struct piommu_host host;
    descriptor_slot *root;
    uintptr_t virtual_offset; /* virtual minus physical address of all tables, if linear */
    bool linear;
    bool coherent_walk;
    bool adopted;
    bool disjoint; /* see pgtable_is_disjoint */
    bool tracking; /* new writable leaves are tracked (dirty.c) */

    /*
     * Sum of the leaf sizes in use, if the short ways may be taken, since the table is an own,
     * linear one that uses nothing rare; else 0.
     */
    uint64_t quick_sizes;
    uint64_t quick_page; /* the granule, if the short ways may be taken; else 0 */
    uint32_t quick_way;  /* the same with the root's height in its lowest bits */

    /* The table of pages that was last changed in the short way; see find_page. */
    struct {
        uint64_t tag;          /* the bits of the address above those that the table translates */
        descriptor_slot *link; /* the slot that leads to it */
        descriptor_slot *slots;
    } recent;

    /* Geometry. */
    uint8_t root_height;
    uint8_t root_shift;           /* shift[root_height] */
    uint8_t leaf_heights;         /* bit H set: leaves at height H are in use */
    uint8_t block_heights;        /* bit H set: the format has leaves at height H */
    uint8_t fold_shift;           /* see address_fold */
    uint8_t index_bits;           /* log2 of the slots in a table */
    uint8_t shift[HEIGHTS];       /* log2 of the span of one slot, by height */
    uint8_t group_shift[HEIGHTS]; /* log2 of the slots in a contiguous group, 0: no groups */
    uint64_t root_mask;           /* index_mask[root_height] */
    uint32_t index_mask[HEIGHTS]; /* slots in a table minus one, by height */
    struct piommu_range aperture;
    uint64_t last_output; /* highest output address; tables lie below it too */
    /*
     * Where descriptors hold an address: these bits in place, and, with 52-bit output, the highest
     * ones folded down: descriptor bits `address_fold` hold the address shifted by fold_shift.
     */
    uint64_t address_mask;
    uint64_t address_fold;
    uint64_t link_attributes; /* type and attributes of a descriptor that leads to a table */

    /* Attribute bits by the two parts of a prot; 0 where the format cannot express it. */
    uint64_t access_attributes[ACCESS_VALUES];
    uint64_t memory_attributes[MEMORY_VALUES];
    /* The way back, by the leaf's bits; see pgtable_leaf_prot. */
    uint16_t prot_of_low[LOW_DECODED];
    uint16_t prot_of_high[HIGH_DECODED];
    piommu_prot not_if_privileged;
    piommu_prot global_flag; /* PIOMMU_PROT_GLOBAL in a stage 1 */

    /* Tables that are linked and empty; see empty.c. */
    struct {
        descriptor_slot *oldest; /* of the list */
        descriptor_slot *newest;
        descriptor_slot *last; /* the one that became empty last, if it is not on the list yet */
        unsigned int last_height;
        uint64_t last_iova; /* an address that it covers */
    } empty;
    uint32_t empty_tables_kept;

    /* The reserve; see reserve.c. */
    descriptor_slot *spare; /* chained, if the table is exclusive */
    struct places *places;  /* else, once something was reserved */
    uint32_t tables_reserved;
    counter tables_spare;
    void *owner;

    /*
     * Tables that were detached from places where a map could come, and are not released yet, and
     * the range that they span. Nothing new may be linked there.
     */
    counter tables_detached;
    struct piommu_range detached_range; /* valid while tables_detached is not 0 */

    /* How far the destruction is; see destroy.c. */
    struct {
        bool begun;
        unsigned int height;
        descriptor_slot *tables[HEIGHTS];
        uint32_t index[HEIGHTS];
    } teardown;

    counter tables_allocated;
    counter tables_freed;
    counter tables_empty; /* without empty.last */
    struct piommu_pgtable_info info;
};

/* format.c: fills in geometry and register values; 0, -EINVAL or -EOPNOTSUPP. */
int piommu_pgtable_set_format_(struct piommu_pgtable *table,
                               const struct piommu_pgtable_config *config);
/* format.c: fills in the register value that holds the root's address. */
void piommu_pgtable_set_root_(struct piommu_pgtable *table, uint64_t physical);

/* attributes.c: fills in the attribute bits by prot, and those of links. */
void piommu_pgtable_set_attributes_(struct piommu_pgtable *table);
/* leaf.c: the bits of a leaf that PIOMMU_PROT_ACCESS and _SOFTWARE decide on. */
uint64_t piommu_pgtable_access_mask_(const struct piommu_pgtable *table);
/* leaf.c: a leaf, or its attributes, as tracked and clean if it allows writing, else as is */
uint64_t piommu_pgtable_tracked_(const struct piommu_pgtable *table, uint64_t descriptor);
/* leaf.c: the same, but as dirty. */
uint64_t piommu_pgtable_tracked_dirty_(const struct piommu_pgtable *table, uint64_t descriptor);
/* leaf.c: the leaf with write permission in force and no longer tracked. */
uint64_t piommu_pgtable_untracked_(const struct piommu_pgtable *table, uint64_t descriptor);
/* leaf.c: tells what hardware has noted in a leaf. */
bool piommu_pgtable_is_accessed_(uint64_t descriptor);
bool piommu_pgtable_is_tracked_(uint64_t descriptor);
bool piommu_pgtable_is_dirty_(const struct piommu_pgtable *table, uint64_t descriptor);

static inline bool pgtable_is_stage1(const struct piommu_pgtable *table)
{
    return format_is_stage1(table->info.format);
}

static inline bool pgtable_is_32bit(const struct piommu_pgtable *table)
{
    return format_is_32bit(table->info.format);
}

/* Several CPUs may change the table at once. Code that serves this alone is dropped elsewhere. */
static inline bool pgtable_is_disjoint(const struct piommu_pgtable *table)
{
    return HAS_DISJOINT && table->disjoint;
}

static inline uint64_t counter_read(const counter *value)
{
#if HAS_DISJOINT
    return atomic_load_explicit(value, memory_order_relaxed);
#else
    return *value;
#endif
}

static inline void counter_add(const struct piommu_pgtable *table, counter *value, uint64_t change)
{
#if HAS_DISJOINT
    if (table->disjoint) {
        atomic_fetch_add_explicit(value, change, memory_order_relaxed);
    } else {
        /* No instruction that locks the cache line. */
        atomic_store_explicit(value, counter_read(value) + change, memory_order_relaxed);
    }
#else
    (void)table;
    *value += change;
#endif
}

static inline void counter_subtract(const struct piommu_pgtable *table, counter *value,
                                    uint64_t change)
{
    counter_add(table, value, 0 - change);
}

static inline int pgtable_level(unsigned int height)
{
    return LAST_LEVEL - (int)height;
}

static inline uint64_t pgtable_span(const struct piommu_pgtable *table, unsigned int height)
{
    return 1ull << table->shift[height];
}

static inline uint32_t pgtable_index(const struct piommu_pgtable *table, unsigned int height,
                                     uint64_t iova)
{
    return (uint32_t)(iova >> table->shift[height]) & table->index_mask[height];
}

/* Slots of any table but the root. */
static inline uint32_t pgtable_slots(const struct piommu_pgtable *table)
{
    return 1u << (table->shift[1] - table->shift[0]);
}

/* Checks that the range lies in the aperture. */
static inline bool pgtable_has_range(const struct piommu_pgtable *table, uint64_t iova,
                                     uint64_t size)
{
    return iova >= table->aperture.first && iova <= table->aperture.last &&
           size - 1 <= table->aperture.last - iova;
}

/* Forgets which table of pages was last changed. */
static inline void pgtable_forget_recent(struct piommu_pgtable *table)
{
    table->recent.tag = UINT64_MAX; /* of no address */
    table->recent.slots = NULL;
}

static inline bool pgtable_is_leaf(const struct piommu_pgtable *table, uint64_t descriptor,
                                   unsigned int height)
{
    if (height == 0) {
        return (descriptor & DESCRIPTOR_TYPE_MASK) == DESCRIPTOR_PAGE;
    }
    return (descriptor & DESCRIPTOR_TYPE_MASK) == DESCRIPTOR_BLOCK &&
           ((table->block_heights >> height) & 1) != 0;
}

/* Input addresses that a leaf covers, all of its contiguous group counted; a power of two. */
static inline uint64_t pgtable_leaf_size(const struct piommu_pgtable *table, uint64_t descriptor,
                                         unsigned int height)
{
    unsigned int shift = table->shift[height];

    if ((descriptor & DESCRIPTOR_CONTIGUOUS) != 0) {
        shift += table->group_shift[height];
    }
    return 1ull << shift;
}

/* The attribute bits of a leaf, or 0 if the format cannot express the prot. */
static inline uint64_t pgtable_leaf_attributes(const struct piommu_pgtable *table, piommu_prot prot)
{
    uint64_t access = table->access_attributes[prot & PIOMMU_PROT_ACCESS];
    uint64_t memory = table->memory_attributes[(prot >> MEMORY_SHIFT) & (MEMORY_VALUES - 1)];

    if (access == 0 || memory == 0) {
        return 0;
    }
    return access | memory | ((uint64_t)(prot & PIOMMU_PROT_SOFTWARE_MASK) << LEAF_SOFTWARE_SHIFT);
}

/*
 * The prot that a leaf was made of. In all formats it depends on the leaf's bits 9:2, 58:51 and 11,
 * and each of them adds flags of its own. But in a 32-bit stage 1 what only privileged transactions
 * may use has the bit set that lets the others execute, if it can be executed at all.
 */
static inline piommu_prot pgtable_leaf_prot(const struct piommu_pgtable *table, uint64_t descriptor)
{
    piommu_prot prot = (piommu_prot)table->prot_of_low[(descriptor >> 2) & (LOW_DECODED - 1)] |
                       table->prot_of_high[(descriptor >> 51) & (HIGH_DECODED - 1)] |
                       ((piommu_prot)(~descriptor >> 2) & table->global_flag);

    return (prot & PIOMMU_PROT_PRIVILEGED) != 0 ? prot & ~table->not_if_privileged : prot;
}

static inline uint64_t pgtable_encode(const struct piommu_pgtable *table, uint64_t physical)
{
    return (physical & table->address_mask) |
           ((physical >> table->fold_shift) & table->address_fold);
}

/* The address in a descriptor. In a leaf the bits below the leaf's size are to be ignored. */
static inline uint64_t pgtable_decode(const struct piommu_pgtable *table, uint64_t descriptor)
{
    return (descriptor & table->address_mask) |
           ((descriptor & table->address_fold) << table->fold_shift);
}

/* The table that a descriptor leads to; NULL only in an adopted table. */
static inline descriptor_slot *pgtable_next(const struct piommu_pgtable *table, uint64_t descriptor)
{
    uint64_t physical = pgtable_decode(table, descriptor);

    if (table->linear) {
        return (descriptor_slot *)((uintptr_t)physical + table->virtual_offset);
    }
    return table->host.os->dma_virtual(table->host.ctx, physical);
}

/* Makes changed slots visible to a walker that does not snoop. A barrier must follow. */
static inline void pgtable_clean(const struct piommu_pgtable *table, descriptor_slot *slots,
                                 size_t count)
{
    if (!table->coherent_walk) {
        table->host.os->cache_clean(table->host.ctx, slots, count * sizeof(*slots));
    }
}

/*
 * A way from the root to the table at `height` that covers `iova`. Tables that a map call has taken
 * but not linked yet are `fresh`: hardware cannot see them until the path leaves them.
 */
struct path {
    struct piommu_pgtable *table;
    descriptor_slot *tables[HEIGHTS];
    /* How many slots of each table came into use, less those that went out of it. */
    int32_t change[HEIGHTS];
    uint8_t height;
    uint8_t fresh_heights; /* below this all are fresh */
    bool dirty;            /* the table on top is fresh, and not cleared yet */
    /* Leaves that are there are replaced, which only a walker with BBM level 2 bears. */
    bool replace;
    /* Of the highest fresh table; those below it are linked in each other. */
    uint64_t fresh_physical;
    uint64_t iova;
    /*
     * Asked for in a disjoint table only: no other call has to do with what lies wholly inside this
     * range.
     */
    struct piommu_range own;
};

/* path.c */
void piommu_path_begin_(struct path *path, struct piommu_pgtable *table);
/*
 * Climbs until the table on top covers iova; on the way up links fresh tables and updates counts.
 */
void piommu_path_move_(struct path *path, uint64_t iova);
/* One step of this. */
void piommu_path_leave_(struct path *path);
/* Climbs to the root. */
void piommu_path_end_(struct path *path);
/*
 * Enters the linked table that the current slot's descriptor leads to, in order to fill it.
 */
void piommu_path_enter_to_fill_(struct path *path, uint64_t descriptor);
/*
 * Enters a new table, taken from the chain, where the current slot is empty or holds a leaf to be
 * replaced. If another CPU was faster the path stays where it is, and the slot must be read again.
 */
void piommu_path_enter_new_(struct path *path, descriptor_slot **spare);

/* Enters the linked table that the current slot's descriptor leads to. */
static inline void path_enter(struct path *path, uint64_t descriptor)
{
    descriptor_slot *next = pgtable_next(path->table, descriptor);

    path->height--;
    path->tables[path->height] = next;
    path->change[path->height] = 0;
}

static inline descriptor_slot *path_slot(const struct path *path)
{
    return &path->tables[path->height][pgtable_index(path->table, path->height, path->iova)];
}

static inline bool path_is_fresh(const struct path *path)
{
    return path->height < path->fresh_heights;
}

/* The table on top does not cover an address. */
static inline bool path_ends_before(const struct path *path, uint64_t iova)
{
    return path->height < path->table->root_height &&
           ((iova ^ path->iova) >> path->table->shift[path->height + 1]) != 0;
}

/* What the table at `height` on the path spans. */
static inline struct piommu_range path_span(const struct path *path, unsigned int height)
{
    uint64_t mask = pgtable_span(path->table, height + 1) - 1;

    return (struct piommu_range){.first = path->iova & ~mask, .last = path->iova | mask};
}

/* No other call has to do with the table at `height` on the path. */
static inline bool path_owns(const struct path *path, unsigned int height)
{
    struct piommu_range span = path_span(path, height);

    return span.first >= path->own.first && span.last <= path->own.last;
}

/* tables.c: memory of tables. */

/*
 * Takes `count` tables and chains them, from the reserve first: all of them, or none and an error.
 */
int piommu_tables_take_(struct piommu_pgtable *table, uint64_t count, descriptor_slot **chain);
/*
 * Takes the first table off a chain. Sets `dirty` unless it is all zero; then it must be cleared by
 * piommu_tables_clear_, or wholly overwritten, before hardware sees it.
 */
descriptor_slot *piommu_tables_pop_(descriptor_slot **chain, uint64_t *physical, bool *dirty);
void piommu_tables_clear_(const struct piommu_pgtable *table, descriptor_slot *slots);
/* Gives all tables of a chain to the reserve or back to the shim. */
void piommu_tables_give_(struct piommu_pgtable *table, descriptor_slot *chain);
/* Gives one table back to the shim that nothing links to. */
void piommu_tables_free_(struct piommu_pgtable *table, descriptor_slot *slots);
/* Gets a table from the shim as it is, and writes where it is into its first words. */
int piommu_tables_get_(struct piommu_pgtable *table, descriptor_slot **result);

/* reserve.c: tables, zero but for their first words, that wait to be used. */

/* Takes a table out, or returns NULL. */
descriptor_slot *piommu_reserve_take_(struct piommu_pgtable *table);
/* Puts a table in; returns false if the reserve is full. */
bool piommu_reserve_give_(struct piommu_pgtable *table, descriptor_slot *slots);
/* Frees what the reserve takes beside its tables, all of which have been taken out. */
void piommu_reserve_destroy_(struct piommu_pgtable *table);

/* empty.c: tables that are linked, but empty. */

/* How many there are; in a disjoint table how many are kept. */
uint32_t piommu_empty_count_(const struct piommu_pgtable *table);
/*
 * Notes that the table of a span was detached, and that nothing new may be linked there before the
 * gather is released.
 */
void piommu_empty_block_(struct piommu_pgtable *table, struct piommu_range span,
                         struct piommu_gather *gather);
/* Whether something new must not be linked in the range. */
static inline bool pgtable_is_blocked(const struct piommu_pgtable *table, uint64_t first,
                                      uint64_t last)
{
    return counter_read(&table->tables_detached) != 0 && first <= table->detached_range.last &&
           last >= table->detached_range.first;
}

/* disjoint.c: what disjoint tables do otherwise. */

/*
 * A removal of all leaves of a range that cuts none.
 *
 * In disjoint tables leaving a table means to detach it if it is empty. An unmap that finds nothing
 * returns -ENOENT and must change nothing, so empty tables are passed by until something was found;
 * if any were, the unmap goes through its range once more.
 */
struct removal {
    uint64_t first; /* of the whole series, if this is a portion */
    uint64_t last;
    uint64_t iova;                /* where to go on */
    uint64_t budget;              /* how many more slots may be looked at */
    uint64_t removed;             /* bytes */
    struct piommu_gather *gather; /* takes tables that are detached, too; NULL: all stay */

    /* Of the call itself; zeros before it. */

    /* From the first leaf that was removed to the last; if its last address is 0, none was. */
    struct piommu_range span;
    uint64_t begin;     /* what is in front of it was not looked at */
    bool found;         /* something was removed, now or in an earlier portion */
    bool passed;        /* an empty table was left alone, as nothing was found yet */
    bool kept[HEIGHTS]; /* the table on the path has a child that stays */
};

#if HAS_DISJOINT

/*
 * Links a cleared table in an empty slot, unless another CPU was faster; returns whether it was
 * linked.
 */
bool piommu_disjoint_install_(struct piommu_pgtable *table, descriptor_slot *slot,
                              descriptor_slot *slots, uint64_t physical);
/* Makes a link, of which LINK_IN_USE is not true, fit for filling the table below. */
bool piommu_disjoint_prepare_(struct piommu_pgtable *table, descriptor_slot *slot, uint64_t link);
/*
 * Keeps or detaches the table that the slot links: it is empty, and wholly inside an unmap's range.
 * Returns whether it was detached.
 */
bool piommu_disjoint_emptied_(struct piommu_pgtable *table, descriptor_slot *slot,
                              const struct piommu_range *span, struct piommu_gather *gather);
/* Does that after an unmap has dealt with the table below the path's slot, if it is so. */
void piommu_disjoint_leave_(struct path *path, struct removal *removal);
/* Detaches every empty table. */
void piommu_disjoint_trim_(struct piommu_pgtable *table, struct piommu_gather *gather);

#else

/* Never called; but a compiler that does not optimise wants them to be there. */

static inline bool piommu_disjoint_install_(struct piommu_pgtable *table, descriptor_slot *slot,
                                            descriptor_slot *slots, uint64_t physical)
{
    (void)table;
    (void)slot;
    (void)slots;
    (void)physical;
    return false;
}

static inline bool piommu_disjoint_prepare_(struct piommu_pgtable *table, descriptor_slot *slot,
                                            uint64_t link)
{
    (void)table;
    (void)slot;
    (void)link;
    return true;
}

static inline bool piommu_disjoint_emptied_(struct piommu_pgtable *table, descriptor_slot *slot,
                                            const struct piommu_range *span,
                                            struct piommu_gather *gather)
{
    (void)table;
    (void)slot;
    (void)span;
    (void)gather;
    return false;
}

static inline void piommu_disjoint_leave_(struct path *path, struct removal *removal)
{
    (void)path;
    (void)removal;
}

static inline void piommu_disjoint_trim_(struct piommu_pgtable *table, struct piommu_gather *gather)
{
    (void)table;
    (void)gather;
}

#endif

/* lookup.c */

/* The leaf that covers an address of the aperture, and its height, or 0. */
uint64_t piommu_pgtable_find_leaf_(const struct piommu_pgtable *table, uint64_t iova,
                                   unsigned int *height);

/* Goes from leaf to leaf. After a call that found one: that leaf. */
struct scan {
    const struct piommu_pgtable *table;
    descriptor_slot *tables[HEIGHTS]; /* from the root to the current table */
    unsigned int height;
    uint64_t iova; /* where to go on; after a find: the first address of the leaf's descriptor */
    uint64_t last; /* inclusive */
    uint64_t descriptor;
    bool done;       /* nothing is left */
    uint64_t budget; /* how many more slots may be looked at */
};

/* Begins at `first`, which lies in the aperture as `last` does. */
void piommu_scan_begin_(struct scan *scan, const struct piommu_pgtable *table, uint64_t first,
                        uint64_t last);
/* Finds the next leaf; false if the range has none, or if the budget is used up (not done then). */
bool piommu_scan_next_(struct scan *scan);
/* Goes on behind the leaf that was found. */
void piommu_scan_skip_(struct scan *scan);

static inline descriptor_slot *scan_slot(const struct scan *scan)
{
    return &scan->tables[scan->height][pgtable_index(scan->table, scan->height, scan->iova)];
}

/* map.c: shared with portions and the cut. */

/* What is still to be mapped: segments in order, adjacent ones taken as one. */
struct source {
    const struct piommu_segment *segments;
    size_t count;      /* of the segments not yet begun */
    uint64_t iova;     /* where the next byte goes */
    uint64_t physical; /* where it is */
    uint64_t left;     /* bytes up to where physical contiguity ends; 0: all done */
    uint64_t budget;   /* how many more leaves may be stored */
};

void piommu_source_begin_(struct source *source, uint64_t iova,
                          const struct piommu_segment *segments, size_t count);
/* Takes the segments in that go on where the source ends. */
void piommu_source_extend_(struct source *source);

/*
 * Checks every argument of a map over its whole range, and tells the last address of that.
 *
 * The order of the errors is that of the header: what is malformed, what is out of range, what
 * cannot be expressed.
 */
int piommu_map_check_(const struct piommu_pgtable *table, uint64_t iova,
                      const struct piommu_segment *segments, size_t count, piommu_prot prot,
                      uint64_t *last);
/*
 * Maps what the source's budget allows. `range` is that of the whole series. Returns an error, or 0
 * even if something was in the way.
 */
int piommu_map_part_(struct piommu_pgtable *table, struct source *source, struct piommu_range range,
                     piommu_prot prot);

/* A way through tables of which some do not exist, to count those. */
struct probe {
    const struct piommu_pgtable *table;
    descriptor_slot *tables[HEIGHTS]; /* NULL where nothing is in use */
    unsigned int height;
    uint64_t iova;
    uint64_t missing; /* tables that were missing on the way so far */
    bool blocked;     /* something would be put where nothing may be; see pgtable_is_blocked */
    bool replace;     /* as in struct path */
    bool thorough;    /* looks at each slot for a page, too */
};

void piommu_probe_begin_(struct probe *probe, const struct piommu_pgtable *table);
/* Counts the tables that storing the source will take, up to the first conflict. */
void piommu_probe_count_(struct probe *probe, struct source source);
/* Stores leaves at the path's end as long as nothing is in the way. `spare` has the tables. */
void piommu_store_leaves_(struct path *path, struct source *source, uint64_t attributes,
                          descriptor_slot **spare);

/* unmap.c: shared with portions and the cut. */

/* The check of arguments that all calls over a range begin with. */
int piommu_pgtable_check_range_(const struct piommu_pgtable *table, uint64_t iova, uint64_t size);
/* The same for calls that change the table, which an adopted one refuses. */
int piommu_pgtable_check_change_(const struct piommu_pgtable *table, uint64_t iova, uint64_t size);
/* Tells whether the range would cut a leaf at either end. */
bool piommu_pgtable_cuts_(const struct piommu_pgtable *table, uint64_t iova, uint64_t last);
/*
 * Goes on until the budget or the range ends; returns whether it was the range. The gather learns
 * what was removed.
 */
bool piommu_pgtable_remove_(struct piommu_pgtable *table, struct removal *removal);

#endif
