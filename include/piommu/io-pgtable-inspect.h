/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_IO_PGTABLE_INSPECT_H
#define PIOMMU_IO_PGTABLE_INSPECT_H

/**
 * @file io-pgtable-inspect.h
 * Looking into page tables: walks, mappings, a structural check, a dump; and tables that somebody
 * else has built.
 *
 * No function here changes a table. All may be used with tables of piommu_pgtable_create and of
 * piommu_pgtable_adopt.
 */

#include <piommu/io-pgtable.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The most levels that a walk can have: -1 to 3. */
#define PIOMMU_PGTABLE_MAX_LEVELS 5

/** What a descriptor is. */
enum piommu_pgtable_step_kind {
    PIOMMU_PGTABLE_STEP_INVALID,  /**< bit 0 clear: a hole */
    PIOMMU_PGTABLE_STEP_TABLE,    /**< leads to the next level */
    PIOMMU_PGTABLE_STEP_LEAF,     /**< translates */
    PIOMMU_PGTABLE_STEP_RESERVED, /**< hardware faults: a block where there can be none */
    /** Leads to a table that the host has no address for; adopted tables only. */
    PIOMMU_PGTABLE_STEP_UNREACHABLE,
};

/** One descriptor on the way of a walk, raw and decoded. */
struct piommu_pgtable_step {
    int8_t level;                       /**< level of the table that the descriptor is in */
    enum piommu_pgtable_step_kind kind; /**< what it is */
    uint32_t index;                     /**< its place in the table (in the whole root) */
    uint64_t table_physical;            /**< where that table begins */
    uint64_t descriptor;                /**< the raw value, as a number of the host */
    struct piommu_range covers;         /**< the input addresses that it decides on */
    /**
     * Where it leads: the next table (TABLE, UNREACHABLE), or the output address of covers.first
     * (LEAF).
     */
    uint64_t physical;
    piommu_prot prot; /**< LEAF: what is allowed */
    bool contiguous;  /**< LEAF: member of a contiguous group */
    bool accessed;    /**< LEAF: the access flag is set */
    bool tracked;     /**< LEAF: writable, and hardware notes the first write */
    bool dirty;       /**< LEAF: tracked, and written to */
};

/** The way of a walk from the root. */
struct piommu_pgtable_walk {
    unsigned int count; /**< how many steps; the last one is not a TABLE */
    struct piommu_pgtable_step steps[PIOMMU_PGTABLE_MAX_LEVELS]; /**< the root's first */
};

/**
 * Walks to an address as hardware does, and notes every level.
 *
 * @param iova any address.
 * @param walk filled in, also with -PIOMMU_ENOENT. Not NULL.
 * @return 0: the last step is a leaf; -PIOMMU_ENOENT: it is not; -PIOMMU_ERANGE: outside the
 *         aperture.
 *
 * Context: any. Looks, by range (of that address); see io-pgtable.h.
 */
int piommu_pgtable_walk(const struct piommu_pgtable *table, uint64_t iova,
                        struct piommu_pgtable_walk *walk);

/** A run of leaves that go on in input and output and have the same prot. */
struct piommu_pgtable_mapping {
    struct piommu_range range; /**< input addresses */
    uint64_t physical;         /**< where the first one leads */
    piommu_prot prot;          /**< what is allowed */
};

/** Takes a mapping; returns whether to go on. Must not change the table. */
typedef bool (*piommu_pgtable_visit)(void *cookie, const struct piommu_pgtable_mapping *mapping);

/**
 * Visits the mappings of a range in ascending order, neighbouring leaves merged where they go on
 * without a break. What reaches beyond the ends of the range is clipped.
 *
 * @param first where to begin; any address.
 * @param last  where to end, inclusive.
 * @return 0: the visitor saw all, or ended it; -PIOMMU_EINVAL: first is above last.
 *
 * Context: any. Takes time in proportion to the tables and leaves in the range. Looks, by range.
 */
int piommu_pgtable_for_each_mapping(const struct piommu_pgtable *table, uint64_t first,
                                    uint64_t last, piommu_pgtable_visit visit, void *cookie);

/** What can be wrong with a descriptor or a table. */
enum piommu_pgtable_problem_kind {
    PIOMMU_PGTABLE_PROBLEM_BLOCK_LEVEL,       /**< a block at a level that has none */
    PIOMMU_PGTABLE_PROBLEM_PAGE_TYPE,         /**< a block's type at level 3 */
    PIOMMU_PGTABLE_PROBLEM_LEAF_SIZE,         /**< a block of a size that is not in use here */
    PIOMMU_PGTABLE_PROBLEM_RESERVED_BITS,     /**< bits that must be zero are not */
    PIOMMU_PGTABLE_PROBLEM_OUTPUT,            /**< a leaf's address is beyond the output width */
    PIOMMU_PGTABLE_PROBLEM_TABLE_ADDRESS,     /**< a table's address is */
    PIOMMU_PGTABLE_PROBLEM_TABLE_SHARED,      /**< a table was reached a second time */
    PIOMMU_PGTABLE_PROBLEM_TABLE_UNREACHABLE, /**< the host has no address for a table */
    PIOMMU_PGTABLE_PROBLEM_ACCESS_FLAG,       /**< clear, and hardware does not set it */
    PIOMMU_PGTABLE_PROBLEM_SHAREABILITY,      /**< the reserved encoding */
    PIOMMU_PGTABLE_PROBLEM_MEMORY_TYPE,   /**< a slot of MAIR or an encoding that is not in use */
    PIOMMU_PGTABLE_PROBLEM_EXECUTE_NEVER, /**< an encoding that allows more than it seems to */
    PIOMMU_PGTABLE_PROBLEM_DIRTY_STATE,   /**< noted by hardware that was not told to */
    PIOMMU_PGTABLE_PROBLEM_NON_SECURE,    /**< NS or NSTable differ from what was configured */
    PIOMMU_PGTABLE_PROBLEM_TABLE_ATTRIBUTES, /**< a table takes rights away from its leaves */
    PIOMMU_PGTABLE_PROBLEM_CONTIGUOUS, /**< a contiguous group that breaks the group's rules */
    PIOMMU_PGTABLE_PROBLEM_COUNT,      /**< a table's count of used slots is wrong */
    PIOMMU_PGTABLE_PROBLEM_EMPTY_LIST, /**< an empty table is not known as such, or the reverse */
};

/** A problem and its place. */
struct piommu_pgtable_problem {
    enum piommu_pgtable_problem_kind kind; /**< what is wrong */
    struct piommu_pgtable_step step;       /**< the descriptor, as a walk would report it */
};

/** What a check found. */
struct piommu_pgtable_report {
    uint64_t tables;   /**< tables below the root */
    uint64_t empty;    /**< those of them without a used slot */
    uint64_t leaves;   /**< descriptors that translate, each member of a group counted */
    uint64_t mapped;   /**< bytes that they translate */
    uint64_t problems; /**< problems found */
};

/** Takes a problem. Must not change the table. */
typedef void (*piommu_pgtable_complain)(void *cookie, const struct piommu_pgtable_problem *problem);

/**
 * Checks every descriptor of a tree against what the architecture demands and what this library
 * makes. Hardware puts up with much of this for a while; a table that is checked clean has none of
 * it.
 *
 * A broken contiguous group is reported at its first member; if that is none, at each of the
 * others.
 *
 * A table that is reached a second time is not entered again, so that it ends with any input. With
 * a linear map (piommu_os::dma_virtual is NULL) addresses of tables below the output width are
 * believed.
 *
 * @param complain called for each problem; may be NULL.
 * @param cookie   handed to it.
 * @param report   filled in; may be NULL.
 * @return 0: all is well; -PIOMMU_EBADMSG: there are problems; -PIOMMU_ENOMEM: no memory for the
 *         list of tables seen (16 to 32 bytes a table).
 *
 * Context: any (piommu_os::alloc is called). Runs beside other calls that do not change the table.
 */
int piommu_pgtable_verify(const struct piommu_pgtable *table, piommu_pgtable_complain complain,
                          void *cookie, struct piommu_pgtable_report *report);

/** A short English phrase for a kind of problem: a constant string. Runs beside anything. */
const char *piommu_pgtable_problem_name(enum piommu_pgtable_problem_kind kind);

/** Takes a line of text without a newline, at most 159 characters. Must not change the table. */
typedef void (*piommu_pgtable_print)(void *cookie, const char *line);

/**
 * Prints a table for people: what it is, its register fields, and the tree, a line for each table
 * and each run of leaves that go on in input and output with the same attributes.
 *
 * @param first where to begin; any address.
 * @param last  where to end, inclusive.
 *
 * Context: any. Takes time in proportion to the tables and leaves in the range. Runs beside other
 * calls that do not change the table.
 */
void piommu_pgtable_dump(const struct piommu_pgtable *table, uint64_t first, uint64_t last,
                         piommu_pgtable_print print, void *cookie);

/**
 * Makes an object for looking into a table that somebody else has built: lookup, next_leaf and
 * everything of this header work with it, and nothing that would change the table (those return
 * -PIOMMU_EOPNOTSUPP). Destroying it frees the object alone.
 *
 * The table may be hostile. An address of a next table is believed only if
 * piommu_os::dma_virtual, which is required here, has an address for it; it must return NULL for
 * physical addresses that it does not know. In a table whose links go in circles the functions that
 * go through a range find leaves without end, or nearly so: ask piommu_pgtable_verify first.
 *
 * @param config        what the table is, as its builder configured the hardware; leaf_sizes is
 *                      ignored, PIOMMU_PGTABLE_CONCATENATE tells the start level,
 *                      PIOMMU_PGTABLE_CONTIGUOUS that groups count as one leaf, and
 *                      PIOMMU_PGTABLE_DIRTY that hardware notes writes. Memory kinds of a stage 1
 *                      are decoded by the slots of MAIR that this library uses.
 * @param root          address of the root for the CPU; all concatenated tables follow.
 * @param root_physical its address for the hardware.
 * @param table         set on success.
 * @return as piommu_pgtable_create; -PIOMMU_EINVAL also for a root either of whose addresses is not
 *         aligned to its size.
 *
 * Context: task. The table must not be changed by others during a call.
 */
int piommu_pgtable_adopt(struct piommu_host host, const struct piommu_pgtable_config *config,
                         void *root, uint64_t root_physical, struct piommu_pgtable **table);

/**
 * Tells how to point hardware at a table that somebody else has built, without looking at the
 * table: what piommu_pgtable_get_info would say of it.
 *
 * @param config as for piommu_pgtable_adopt, but that leaf_sizes counts.
 * @param root   physical address of the root.
 * @param info   set on success.
 * @return as piommu_pgtable_create (the object is gone at return); -PIOMMU_EINVAL also for a root
 *         that is not aligned to its size, or beyond the output width.
 *
 * Context: task. Runs beside anything.
 */
int piommu_pgtable_describe(struct piommu_host host, const struct piommu_pgtable_config *config,
                            uint64_t root, struct piommu_pgtable_info *info);

#ifdef __cplusplus
}
#endif

#endif
