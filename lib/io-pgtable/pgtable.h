/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_LIB_IO_PGTABLE_PGTABLE_H
#define PIOMMU_LIB_IO_PGTABLE_PGTABLE_H

/* The private side of a page table, shared by the files of this folder. */

#include <piommu/io-pgtable.h>

#include "../base/host.h"
#include "descriptor.h"

#define LEVELS      4u /* 0 to 3 */
#define LAST_LEVEL  3u
#define PROT_VALUES (PIOMMU_PROT_ALL + 1u)

struct piommu_pgtable {
    struct piommu_host host;
    descriptor_slot *root;
    uintptr_t virtual_offset; /* virtual minus physical address of all tables, if linear */
    bool linear;
    bool coherent_walk;
    uint8_t start_level;
    uint8_t leaf_levels;   /* bit L set: leaves at level L are in use */
    uint8_t shift[LEVELS]; /* log2 of the span of one slot, by level */
    uint32_t slots;        /* in a table other than the root */
    uint32_t root_slots;
    uint64_t last_input;  /* highest input address */
    uint64_t last_output; /* highest output address */
    uint64_t max_table;   /* highest physical address that a table may have */
    void *owner;

    /* The leaf's attribute bits by prot; 0 where the format cannot express it. */
    uint64_t leaf_attributes[PROT_VALUES];

    /* Tables that are linked and empty, oldest first; see tables.c. */
    descriptor_slot *oldest_empty;
    descriptor_slot *newest_empty;
    uint32_t empty_tables_kept;

    struct piommu_pgtable_statistics statistics;
    struct piommu_pgtable_info info;
};

/* format.c: fills in geometry, attributes and register values; 0, -EINVAL or -EOPNOTSUPP. */
int piommu_pgtable_set_format_(struct piommu_pgtable *table,
                               const struct piommu_pgtable_config *config);
/* format.c: fills in the register value that holds the root's address. */
void piommu_pgtable_set_root_(struct piommu_pgtable *table, uint64_t physical);
/* format.c: the prot that a leaf was made of. */
piommu_prot piommu_pgtable_leaf_prot_(const struct piommu_pgtable *table, uint64_t descriptor);

static inline uint64_t pgtable_span(const struct piommu_pgtable *table, unsigned int level)
{
    return 1ull << table->shift[level];
}

/* The root has its own number of slots; the input check keeps the index below it. */
static inline uint32_t pgtable_index(const struct piommu_pgtable *table, unsigned int level,
                                     uint64_t iova)
{
    uint32_t index = (uint32_t)(iova >> table->shift[level]);

    return level == table->start_level ? index : index & (table->slots - 1);
}

static inline uint32_t pgtable_slots(const struct piommu_pgtable *table, unsigned int level)
{
    return level == table->start_level ? table->root_slots : table->slots;
}

static inline descriptor_slot *pgtable_next(const struct piommu_pgtable *table, uint64_t descriptor)
{
    uint64_t physical = descriptor & DESCRIPTOR_ADDRESS;

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
 * A way from the root to the table at `level` that covers `iova`. Tables that a map call has taken
 * but not linked yet are `fresh`: hardware cannot see them until the path leaves them.
 */
struct path {
    struct piommu_pgtable *table;
    descriptor_slot *tables[LEVELS];
    uint64_t fresh_physical[LEVELS]; /* valid where fresh */
    bool fresh[LEVELS];
    int32_t
        change[LEVELS]; /* how many slots of that table came into use, less those that went out */
    unsigned int level;
    uint64_t iova;
};

/* path.c */
void piommu_path_begin_(struct path *path, struct piommu_pgtable *table);
/*
 * Climbs until the table on top covers iova; on the way up links fresh tables and updates counts.
 */
void piommu_path_move_(struct path *path, uint64_t iova);
/* Climbs to the root. */
void piommu_path_end_(struct path *path);

/* Enters the linked table that the current slot's descriptor leads to. */
static inline void path_enter(struct path *path, uint64_t descriptor)
{
    descriptor_slot *next = pgtable_next(path->table, descriptor);

    path->level++;
    path->tables[path->level] = next;
    path->fresh[path->level] = false;
    path->change[path->level] = 0;
}

/* Enters a table that is not linked yet. */
static inline void path_enter_fresh(struct path *path, descriptor_slot *fresh, uint64_t physical)
{
    path->level++;
    path->tables[path->level] = fresh;
    path->fresh[path->level] = true;
    path->fresh_physical[path->level] = physical;
    path->change[path->level] = 0;
}

static inline descriptor_slot *path_slot(const struct path *path)
{
    return &path->tables[path->level][pgtable_index(path->table, path->level, path->iova)];
}

/* tables.c: memory of tables, and the list of empty ones. */

/* Takes `count` zeroed tables and chains them: all of them, or none and an error. */
int piommu_tables_take_(struct piommu_pgtable *table, uint32_t count, descriptor_slot **chain);
/* Takes the first table off a chain; it is all zero afterwards. */
descriptor_slot *piommu_tables_pop_(descriptor_slot **chain, uint64_t *physical);
/* Gives all tables of a chain back to the shim. */
void piommu_tables_give_(struct piommu_pgtable *table, descriptor_slot *chain);
/* Gives one table back that nothing links to. */
void piommu_tables_give_one_(struct piommu_pgtable *table, descriptor_slot *slots);
/* Notes that the linked table at `level` that covers iova has become empty. */
void piommu_tables_note_empty_(struct piommu_pgtable *table, descriptor_slot *slots,
                               unsigned int level, uint64_t iova);
/* Takes a linked, empty table off the list, since it is about to be filled or detached. */
void piommu_tables_forget_empty_(struct piommu_pgtable *table, descriptor_slot *slots);

/* lookup.c: the leaf that covers an address and its level, or 0. */
uint64_t piommu_pgtable_find_leaf_(const struct piommu_pgtable *table, uint64_t iova,
                                   unsigned int *level);

#endif
