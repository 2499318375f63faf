/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_IO_PGTABLE_H
#define PIOMMU_IO_PGTABLE_H

/**
 * @file io-pgtable.h
 * Arm long-descriptor page tables for an IOMMU (or a CPU's stage 2), usable alone.
 *
 * Dictionary. The *granule* is the size of a table and of the smallest leaf. A *leaf* is a
 * descriptor that translates: a *page* at level 3, a *block* above. A *hole* is an address without
 * a leaf. The *root* is the table where a walk starts; at stage 2 it may be several tables side by
 * side (*concatenated*). Levels are numbered as in the Arm architecture: 0 is the farthest from the
 * page.
 *
 * Concurrency. A table is *exclusive*: the caller serialises all calls on one table. The hardware
 * may walk it at any time: every descriptor changes by one single-copy-atomic store (or, on a host
 * without such a store, in an order in which no half-written descriptor is valid), and a table is
 * linked only after its content is visible.
 *
 * What the table cannot do for its owner is to invalidate TLBs. The sequence for removing is:
 *
 *     piommu_pgtable_unmap(table, iova, size, &gather, &unmapped);     any number of times
 *     piommu_pgtable_detach_empty(table, &gather);
 *     ...invalidate gather.range in the TLBs, with walk caches, and wait for the completion...
 *     piommu_pgtable_release(table, &gather);
 *
 * Source of all descriptor rules: Arm Architecture Reference Manual for A-profile, chapter "The
 * AArch64 Virtual Memory System Architecture" (VMSAv8-64), sections on translation table descriptor
 * formats.
 */

#include <piommu/gather.h>
#include <piommu/os.h>
#include <piommu/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The formats. */
enum piommu_pgtable_format {
    /** VMSAv8-64 stage 1, one table for the low half of the space (TTBR0). */
    PIOMMU_ARM_64_LPAE_S1 = 1,
    /** VMSAv8-64 stage 2. */
    PIOMMU_ARM_64_LPAE_S2 = 2,
};

/** What a table should be. Zero selects the default of each member marked so. */
struct piommu_pgtable_config {
    enum piommu_pgtable_format format; /**< the format */
    uint32_t granule;                  /**< bytes; 4096 is the only granule so far */
    uint8_t input_bits;                /**< width of the IOVA (or IPA) space: 25 to 48 */
    /**
     * Width of physical addresses: 32, 36, 40, 42, 44 or 48, not above what the hardware
     * implements. At stage 2 input_bits must not exceed it.
     */
    uint8_t output_bits;
    /**
     * The walker snoops the CPU's caches. If not, each changed cache line is cleaned through
     * piommu_os::cache_clean.
     */
    bool coherent_walk;
    /**
     * How many empty tables (the most recently emptied ones) stay linked over a sync, so that
     * mapping and unmapping the same page again and again does not free and allocate a table each
     * time. Default: 0.
     */
    uint16_t empty_tables_kept;
    /** Sum of the leaf sizes to use: 4 KiB (required), 2 MiB, 1 GiB. Default (0): all. */
    uint64_t leaf_sizes;
    /** Handed to piommu_os::dma_alloc as the owner. */
    void *owner;
};

/** Stage-1 values for the hardware, by field. TG is 0 (4 KiB). */
struct piommu_pgtable_stage1_registers {
    uint64_t ttbr; /**< physical address of the root */
    uint64_t mair; /**< memory attributes; the leaves use slots 0 to 2 */
    uint8_t tsz;   /**< TxSZ: 64 - input bits */
    uint8_t tg;    /**< TG0 encoding of the granule */
    uint8_t irgn;  /**< inner cacheability of walks */
    uint8_t orgn;  /**< outer cacheability of walks */
    uint8_t sh;    /**< shareability of walks */
    uint8_t ips;   /**< output size code */
};

/** Stage-2 values for the hardware, by field. */
struct piommu_pgtable_stage2_registers {
    uint64_t vttbr; /**< physical address of the root, without a VMID */
    uint8_t tsz;    /**< T0SZ: 64 - input bits */
    uint8_t tg;     /**< TG0 encoding of the granule */
    uint8_t irgn;   /**< inner cacheability of walks */
    uint8_t orgn;   /**< outer cacheability of walks */
    uint8_t sh;     /**< shareability of walks */
    uint8_t ps;     /**< output size code */
    uint8_t sl;     /**< SL0 encoding of the start level */
};

/** What a table turned out to be, and how to point hardware at it. */
struct piommu_pgtable_info {
    enum piommu_pgtable_format format; /**< as configured */
    uint32_t granule;                  /**< bytes */
    uint8_t input_bits;                /**< as configured */
    uint8_t output_bits;               /**< as configured */
    uint8_t start_level;               /**< level of the root */
    bool write_only;                   /**< write without read can be expressed */
    uint64_t leaf_sizes;               /**< sum of the leaf sizes in use */
    uint64_t root_physical;            /**< physical address of the root */
    size_t root_size;                  /**< bytes of the root, all concatenated tables */
    union {
        struct piommu_pgtable_stage1_registers stage1; /**< if the format is a stage 1 */
        struct piommu_pgtable_stage2_registers stage2; /**< if the format is a stage 2 */
    } registers;                                       /**< what the hardware wants */
};

/** Counters of a table's memory. */
struct piommu_pgtable_statistics {
    uint64_t
        tables_allocated;  /**< tables taken from the shim since creation, the root not counted */
    uint64_t tables_freed; /**< tables given back since creation */
    uint32_t tables_empty; /**< tables that are linked and empty now */
};

struct piommu_pgtable;

/**
 * Creates an empty table.
 *
 * Allocates the object and the root (aligned to its size, at least 64 bytes).
 *
 * @param host   the shim; BASE callbacks, and CLEAN if coherent_walk is false.
 * @param config what it should be; copied.
 * @param table  set on success.
 * @return 0; -PIOMMU_EINVAL for a bad argument or an incomplete shim; -PIOMMU_EOPNOTSUPP for a
 *         format, granule, width or leaf size that does not exist; -PIOMMU_ENOMEM.
 *
 * Context: task. Runs beside anything.
 */
int piommu_pgtable_create(struct piommu_host host, const struct piommu_pgtable_config *config,
                          struct piommu_pgtable **table);

/**
 * Frees a table and all its memory, whatever is mapped. No hardware may use it any more: the caller
 * has taken the root out and invalidated, and every gather was released. NULL is ignored.
 *
 * Context: task. Exclusive.
 */
void piommu_pgtable_destroy(struct piommu_pgtable *table);

/** Fills in what a table is. Runs beside anything but creation and destruction. */
void piommu_pgtable_get_info(const struct piommu_pgtable *table, struct piommu_pgtable_info *info);

/** Fills in the counters. Exclusive. */
void piommu_pgtable_get_statistics(const struct piommu_pgtable *table,
                                   struct piommu_pgtable_statistics *statistics);

/**
 * Maps a range, with the largest leaves that alignment, size and existing tables allow.
 *
 * All tables that are needed are allocated before the first leaf is stored.
 *
 * @param iova     start; aligned to the granule.
 * @param physical start of the memory; aligned to the granule.
 * @param size     bytes; a multiple of the granule, not 0.
 * @param prot     permissions and memory kind.
 * @param mapped   set to the bytes mapped, from `iova` on: `size` on success, less with
 *                 -PIOMMU_EEXIST, 0 with any other error. Not NULL.
 * @return 0; -PIOMMU_EINVAL (alignment, size 0, unknown flag, no access asked for); -PIOMMU_ERANGE
 *         (either end outside the input or output width); -PIOMMU_EOPNOTSUPP (prot cannot be
 *         expressed); -PIOMMU_ENOMEM (nothing was changed); -PIOMMU_EEXIST: something is mapped at
 *         iova + *mapped; what lies before it was mapped and stays so.
 *
 * Context: any (dma_alloc is called). Exclusive. Ends with a write barrier; no TLB invalidation is
 * needed for what was a hole before (invalid descriptors are never cached).
 */
int piommu_pgtable_map(struct piommu_pgtable *table, uint64_t iova, uint64_t physical,
                       uint64_t size, piommu_prot prot, uint64_t *mapped);

/**
 * Maps pieces of physical memory one after the other at ascending addresses, as one call.
 *
 * @param segments the pieces; each aligned to the granule in start and size.
 * @param count    how many, not 0.
 *
 * Everything else as piommu_pgtable_map: all segments are checked, and all tables taken, before the
 * first leaf is stored.
 */
int piommu_pgtable_map_list(struct piommu_pgtable *table, uint64_t iova,
                            const struct piommu_segment *segments, size_t count, piommu_prot prot,
                            uint64_t *mapped);

/**
 * Unmaps all leaves in a range. Holes in it are fine.
 *
 * @param iova     start; aligned to the granule.
 * @param size     bytes; a multiple of the granule, not 0.
 * @param gather   collects what was removed. Not NULL.
 * @param unmapped set to the bytes removed: less than `size` if there were holes. Not NULL.
 * @return 0; -PIOMMU_EINVAL; -PIOMMU_ERANGE; -PIOMMU_ECUT: the range would cut a block at either
 *         end, nothing was changed; -PIOMMU_ENOENT: nothing is mapped in the range.
 *
 * Context: any. Allocates nothing and frees nothing. Exclusive. The barrier that makes the removal
 * visible to walkers is the one of piommu_pgtable_detach_empty.
 */
int piommu_pgtable_unmap(struct piommu_pgtable *table, uint64_t iova, uint64_t size,
                         struct piommu_gather *gather, uint64_t *unmapped);

/**
 * Detaches tables that unmaps have emptied, but for the quota of empty tables. To be called before
 * the invalidation, which then must cover walk caches. Extends gather->range over the detached
 * tables' span.
 *
 * Context: any. Allocates nothing and frees nothing. Exclusive.
 */
void piommu_pgtable_detach_empty(struct piommu_pgtable *table, struct piommu_gather *gather);

/**
 * Frees what piommu_pgtable_detach_empty has detached, and empties the gather. To be called when
 * the invalidation is complete, and only if it succeeded.
 *
 * Context: any (dma_free is called). Exclusive.
 */
void piommu_pgtable_release(struct piommu_pgtable *table, struct piommu_gather *gather);

/**
 * Moves the detached tables of one gather to another: for an owner whose invalidation has failed,
 * and who must keep their memory longer than the first gather lives. Range and pending of both stay
 * as they are.
 *
 * Context: any. Exclusive.
 */
void piommu_pgtable_move_detached(struct piommu_pgtable *table, struct piommu_gather *from,
                                  struct piommu_gather *to);

/**
 * Translates an address as the hardware would.
 *
 * @param iova   any address.
 * @param result set on success.
 * @return 0; -PIOMMU_ERANGE: beyond the input width; -PIOMMU_ENOENT: nothing is mapped there.
 *
 * Context: any. Exclusive.
 */
int piommu_pgtable_lookup(struct piommu_pgtable *table, uint64_t iova,
                          struct piommu_translation *result);

/**
 * Finds the first leaf that reaches into a range, to iterate over the mappings of that range: go on
 * at *found + result->leaf_size.
 *
 * @param first  where to begin; any address.
 * @param last   where to end, inclusive.
 * @param found  set on success to the first address of the leaf, which may lie below `first`.
 * @param result set on success to the translation of *found.
 * @return 0; -PIOMMU_ENOENT: the range has no (further) leaf.
 *
 * Context: any. Takes time in proportion to the tables that the range meets. Exclusive.
 */
int piommu_pgtable_next_leaf(struct piommu_pgtable *table, uint64_t first, uint64_t last,
                             uint64_t *found, struct piommu_translation *result);

/**
 * Packs stage-1 values into the CPU register TCR_EL1 (walks by TTBR1 disabled, HA and HD off).
 * Source: Arm ARM, TCR_EL1. Runs beside anything.
 *
 * @return the value, or 0 if the table is not a stage 1.
 */
uint64_t piommu_pgtable_tcr_el1(const struct piommu_pgtable_info *info);

/**
 * Packs stage-2 values into the CPU register VTCR_EL2 (8-bit VMID, HA and HD off).
 * Source: Arm ARM, VTCR_EL2. Runs beside anything.
 *
 * @return the value, or 0 if the table is not a stage 2.
 */
uint64_t piommu_pgtable_vtcr_el2(const struct piommu_pgtable_info *info);

#ifdef __cplusplus
}
#endif

#endif
