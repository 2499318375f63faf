/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_IO_PGTABLE_H
#define PIOMMU_IO_PGTABLE_H

/**
 * @file io-pgtable.h
 * Arm long-descriptor page tables for an IOMMU (or a CPU's stage 2), usable alone.
 *
 * Looking into tables is in io-pgtable-inspect.h, dirty tracking in io-pgtable-dirty.h.
 *
 * Dictionary. The *granule* is the size of a table and of the smallest leaf. A *leaf* is a
 * descriptor that translates: a *page* at level 3, a *block* above. A *contiguous group* is a run
 * of leaves that hardware may hold in one TLB entry; it counts as one leaf here. A *hole* is an
 * address without a leaf. The *root* is the table where a walk starts; at stage 2 it may be several
 * tables side by side (*concatenated*). Levels are numbered as in the Arm architecture: -1 or 0 is
 * the farthest from the page. The *aperture* is the range of input addresses.
 *
 * Concurrency. A table is *exclusive*, unless it is created with PIOMMU_PGTABLE_DISJOINT: the
 * caller serialises all calls that change one table, and lets those that only look at it run beside
 * each other, but not beside a change.
 *
 * In a *disjoint* table calls run beside each other without any lock, as long as their ranges do
 * not overlap. Two ranges overlap if they touch the same leaf. A range touches the leaves of which
 * it contains a byte, and those that a map would put there; a contiguous group is one leaf. A call
 * in portions has the whole range of its series, from its first portion to its last.
 *
 * What a function may run beside is the last sentence of its comment:
 * "Exclusive": no other call with that table, whatever the kind of the table.
 * "By range": in an exclusive table as just said for changes; in a disjoint table, beside every
 * other call that is "by range" and has another range. A gather belongs to one caller at a time.
 * "Looks, by range": as "by range", and in an exclusive table beside others that look.
 *
 * The hardware may walk a table at any time: every descriptor changes by one single-copy-atomic
 * store (or, on a host without such a store, in an order in which no half-written descriptor is
 * valid), and a table is linked only after its content is visible.
 *
 * What the table cannot do for its owner is to invalidate TLBs. The sequence for removing is:
 *
 *     piommu_pgtable_unmap(table, iova, size, &gather, &unmapped);     any number of times
 *     piommu_pgtable_detach_empty(table, &gather);
 *     ...invalidate gather.range in the TLBs, and wait for the completion...
 *     piommu_pgtable_release(table, &gather);
 *
 * The last three always go together: without the second the removal may not even be visible to the
 * hardware that is told to forget it. If piommu_gather_has_tables, the invalidation must reach walk
 * caches; if not, the last call may be left out for a gather that is not used again. Until the
 * release, what was unmapped must not be mapped again; in a disjoint table nothing may be mapped in
 * the ranges given to unmap, holes included.
 *
 * Where a table was detached hardware may still take its way through it, so nothing new can be put
 * in its place before the release: a map that would have to returns -PIOMMU_EBUSY. (Not where an
 * unmap of a disjoint table has detached it: there the rule of the last paragraph is all there is.)
 *
 * Empty tables. In an exclusive table piommu_pgtable_detach_empty takes out the tables that unmaps
 * have emptied, but for a quota that the caller sets. In a disjoint table an unmap takes out those
 * that lie wholly inside its range (but for the quota), since nobody else can be on the way to
 * them; others that are empty stay linked, are used again by maps (for which a block that would
 * have their place is cut into smaller leaves), and go by piommu_pgtable_trim.
 *
 * Bounded work. A call's work grows with the number of leaves and tables that it meets, not with
 * the size of the addresses. Where even that is too long (a hypercall that must not keep the CPU),
 * the functions whose names end in `_some` do the same in portions: they return -PIOMMU_EAGAIN
 * until all is done. Nothing recurses.
 *
 * Memory. Tables come through piommu_os::dma_alloc during a map, and go back in a release; with a
 * reserve (piommu_pgtable_reserve) both happen inside the reserve.
 *
 * Source of all descriptor rules: Arm Architecture Reference Manual for A-profile, chapters "The
 * AArch64 Virtual Memory System Architecture" (VMSAv8-64) and "The AArch32 Virtual Memory System
 * Architecture" (VMSAv8-32, long-descriptor format), sections on translation table descriptor
 * formats.
 */

#include <piommu/error.h>
#include <piommu/gather.h>
#include <piommu/os.h>
#include <piommu/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The formats. */
enum piommu_pgtable_format {
    /** VMSAv8-64 stage 1: one half of the space. */
    PIOMMU_ARM_64_LPAE_S1 = 1,
    /** VMSAv8-64 stage 2. */
    PIOMMU_ARM_64_LPAE_S2 = 2,
    /** VMSAv8-32 long descriptors (Armv7 LPAE), stage 1: one half of the space. */
    PIOMMU_ARM_32_LPAE_S1 = 3,
    /** VMSAv8-32 long descriptors (Armv7 LPAE), stage 2. */
    PIOMMU_ARM_32_LPAE_S2 = 4,
};

/**
 * Stage 1: the table serves the upper half of the space, whose input addresses have all bits above
 * input_bits set: up to 2^64 - 1 (64-bit) or 2^32 - 1 (32-bit). Hardware finds it by TTBR1.
 */
#define PIOMMU_PGTABLE_TTBR1 0x001u
/**
 * Stage 1: sets NS in leaves and NSTable in table descriptors, as some IOMMUs demand (Renesas
 * IPMMU-VMSA).
 */
#define PIOMMU_PGTABLE_NON_SECURE 0x002u
/**
 * Stage 2, 64-bit: memory attributes in the encoding of FEAT_S2FWB (HCR_EL2.FWB, STE.S2FWB), in
 * which cacheable memory is so whatever stage 1 says.
 */
#define PIOMMU_PGTABLE_FORCE_WRITE_BACK 0x004u
/**
 * Stage 2, 64-bit: the walker has FEAT_XNX, so that PIOMMU_PROT_EXECUTE and
 * PIOMMU_PROT_EXECUTE_PRIVILEGED can be had apart.
 */
#define PIOMMU_PGTABLE_XNX 0x008u
/**
 * Stage 2: concatenates tables at the root wherever this saves a level. Without this flag it is
 * done only where the architecture leaves no choice.
 */
#define PIOMMU_PGTABLE_CONCATENATE 0x010u
/** 64-bit: the walker has FEAT_TTST, so that input_bits may be below 25. */
#define PIOMMU_PGTABLE_SMALL_INPUT 0x020u
/** 64-bit: forms contiguous groups where a mapping allows it. */
#define PIOMMU_PGTABLE_CONTIGUOUS 0x040u
/**
 * 64-bit: the walker sets dirty state (FEAT_HAFDBS, HA and HD); see io-pgtable-dirty.h. Only with
 * coherent_walk: what a walker that does not snoop has written could not be seen here.
 */
#define PIOMMU_PGTABLE_DIRTY 0x080u
/**
 * The walker has FEAT_BBM level 2: a block may be replaced by a table of the same translations
 * without breaking it first. Made use of on hosts with lock-free 64-bit atomics.
 */
#define PIOMMU_PGTABLE_BBM_LEVEL_2 0x100u
/**
 * Several CPUs may change the table at once, as long as their ranges are disjoint; see the top of
 * this file. Only on hosts with lock-free 64-bit atomics, and not if left out of the build.
 */
#define PIOMMU_PGTABLE_DISJOINT 0x200u
/** All flags that exist. */
#define PIOMMU_PGTABLE_FLAGS 0x3ffu

/** What a table should be. Zero selects the default of each member marked so. */
struct piommu_pgtable_config {
    enum piommu_pgtable_format format; /**< the format */
    /** Bytes: 4096, 16384 or 65536 (the 32-bit formats: 4096). */
    uint32_t granule;
    /**
     * Width of the aperture.
     *
     * 64-bit stage 1: 25 to 48; to 52 where the walker can (64 KiB: FEAT_LVA; 4 and 16 KiB:
     * FEAT_LPA2, which is then switched on by the ds field). 64-bit stage 2: the same, but not
     * above output_bits. With PIOMMU_PGTABLE_SMALL_INPUT from 16 (64 KiB: 17).
     *
     * 32-bit stage 1: 25 to 32, with PIOMMU_PGTABLE_TTBR1 to 31. 32-bit stage 2: 25 to 40, not
     * above output_bits.
     */
    uint8_t input_bits;
    /**
     * Width of physical addresses, not above what the hardware implements: 32, 36, 40, 42, 44, 48
     * or 52 (64 KiB: FEAT_LPA; 4 and 16 KiB: FEAT_LPA2). 32-bit formats: 32, 36 or 40.
     */
    uint8_t output_bits;
    /**
     * The walker snoops the CPU's caches. If not, each changed cache line is cleaned through
     * piommu_os::cache_clean.
     */
    bool coherent_walk;
    /**
     * How many empty tables stay linked over a sync, so that mapping and unmapping the same page
     * again and again does not free and allocate a table each time. In an exclusive table the most
     * recently emptied ones stay. In a disjoint one those stay that an unmap has emptied while
     * there were fewer of them; what is empty since several unmaps have emptied it together is not
     * counted. Default: 0.
     */
    uint16_t empty_tables_kept;
    /** Sum of PIOMMU_PGTABLE_* flags. Default: none. */
    uint32_t flags;
    /**
     * Sum of the leaf sizes to use, contiguous groups not among them. The granule is required.
     * Sizes that the granule has, but that do not fit the aperture or the output width, or that
     * need a feature which is not in use, may be named and are left out. 4 KiB: 2 MiB, 1 GiB, and
     * 512 GiB with FEAT_LPA2. 16 KiB: 32 MiB, and 64 GiB with FEAT_LPA2. 64 KiB: 512 MiB, and 4 TiB
     * with 52 bits of output. Default (0): all.
     */
    uint64_t leaf_sizes;
    /** Least alignment of the root: a power of two. Default (0): its size. */
    uint32_t root_alignment;
    /**
     * Width of the physical addresses at which the root may lie, for hardware whose register for it
     * is narrower than its descriptors; not above output_bits. Default (0): output_bits.
     */
    uint8_t root_bits;
    /** Handed to piommu_os::dma_alloc as the owner. */
    void *owner;
};

/** Stage-1 values for the hardware, by field. */
struct piommu_pgtable_stage1_registers {
    /**
     * The value of TTBR0 or TTBR1 without an ASID: the root's address, with 52 bits of output
     * folded as the register wants it (address bits 51:48 in bits 5:2).
     */
    uint64_t ttbr;
    uint64_t mair; /**< memory attributes; the leaves use slots 0 to 2. MAIR0 is the low half */
    uint8_t tsz;   /**< TxSZ: 64 (32-bit formats: 32) - input bits */
    uint8_t tg;    /**< granule: encoding of TG0, or with PIOMMU_PGTABLE_TTBR1 of TG1 */
    uint8_t irgn;  /**< inner cacheability of walks */
    uint8_t orgn;  /**< outer cacheability of walks */
    uint8_t sh;    /**< shareability of walks, and with ds of cacheable leaves */
    uint8_t ips;   /**< output size code; 0 in the 32-bit formats */
    bool ds;       /**< descriptors of FEAT_LPA2 */
    bool ha;       /**< hardware sets the access flag */
    bool hd;       /**< hardware sets dirty state */
};

/** Stage-2 values for the hardware, by field. */
struct piommu_pgtable_stage2_registers {
    /** The value of VTTBR without a VMID; folded as piommu_pgtable_stage1_registers::ttbr. */
    uint64_t vttbr;
    uint8_t tsz;  /**< T0SZ: 64 - input bits; 32-bit: 32 - input bits in five bits (S, T0SZ) */
    uint8_t tg;   /**< TG0 encoding of the granule */
    uint8_t irgn; /**< inner cacheability of walks */
    uint8_t orgn; /**< outer cacheability of walks */
    uint8_t sh;   /**< shareability of walks, and with ds of cacheable leaves */
    uint8_t ps;   /**< output size code; 0 in the 32-bit format */
    uint8_t sl;   /**< SL0 encoding of the start level */
    bool sl2;     /**< start at level -1 */
    bool ds;      /**< descriptors of FEAT_LPA2 */
    bool ha;      /**< hardware sets the access flag */
    bool hd;      /**< hardware sets dirty state */
};

/** What a table turned out to be, and how to point hardware at it. */
struct piommu_pgtable_info {
    enum piommu_pgtable_format format; /**< as configured */
    uint32_t granule;                  /**< bytes */
    uint32_t flags;                    /**< as configured */
    uint8_t input_bits;                /**< as configured */
    uint8_t output_bits;               /**< as configured */
    int8_t start_level;                /**< level of the root */
    bool coherent_walk;                /**< as configured */
    bool write_only;                   /**< write without read can be expressed */
    bool live_cut;                     /**< piommu_pgtable_unmap_cut opens no window */
    bool adopted;                      /**< made by somebody else: read only */
    /** Bit n: the flags of PIOMMU_PROT_ACCESS with the value n can be expressed. */
    uint32_t access_values;
    /** Bit n: the other flags, but for PIOMMU_PROT_SOFTWARE, with the value n << 5 can. */
    uint32_t memory_values;
    struct piommu_range aperture; /**< the input addresses */
    uint64_t leaf_sizes;          /**< sum of the leaf sizes in use */
    uint64_t contiguous_sizes;    /**< sum of the sizes of contiguous groups in use */
    uint64_t root_physical;       /**< physical address of the root */
    size_t root_size;             /**< bytes of the root, all concatenated tables */
    union {
        struct piommu_pgtable_stage1_registers stage1; /**< if the format is a stage 1 */
        struct piommu_pgtable_stage2_registers stage2; /**< if the format is a stage 2 */
    } registers;                                       /**< what the hardware wants */
};

/** Whether a mapping can have a prot: what piommu_pgtable_map would say of it. */
static inline bool piommu_pgtable_expresses(const struct piommu_pgtable_info *info,
                                            piommu_prot prot)
{
    return (prot & ~PIOMMU_PROT_ALL) == 0 &&
           ((info->access_values >> (prot & PIOMMU_PROT_ACCESS)) & 1) != 0 &&
           ((info->memory_values >> ((prot >> 5) & 0x1fu)) & 1) != 0;
}

/** Counters of a table's memory. */
struct piommu_pgtable_statistics {
    /** Tables taken from the shim since creation, the root not counted. */
    uint64_t tables_allocated;
    /** Tables given back to the shim since creation. */
    uint64_t tables_freed;
    /** Tables that are linked and empty now; in a disjoint table only those of the quota. */
    uint32_t tables_empty;
    /** What piommu_pgtable_reserve has asked for in all. */
    uint32_t tables_reserved;
    /** How many tables of the reserve are there now. */
    uint32_t tables_spare;
};

struct piommu_pgtable;

/**
 * Creates an empty table.
 *
 * Allocates the object and the root. The root is aligned to its size, at least to 64 bytes and to
 * root_alignment, and takes at least 64 bytes, since registers hold no address below that.
 *
 * @param host   the shim; BASE callbacks, and CLEAN if coherent_walk is false.
 * @param config what it should be; copied.
 * @param table  set on success.
 * @return 0; -PIOMMU_EINVAL for a bad argument, an unknown flag or an incomplete shim;
 *         -PIOMMU_EOPNOTSUPP for a format, granule, width, leaf size or flag that does not exist,
 *         or not together with the others, or not on this host (PIOMMU_PGTABLE_DIRTY or
 *         _DISJOINT without lock-free 64-bit atomics), or for a format, granule or kind that was
 *         left out when the library was built; -PIOMMU_ENOMEM.
 *
 * Context: task. Runs beside anything.
 */
int piommu_pgtable_create(struct piommu_host host, const struct piommu_pgtable_config *config,
                          struct piommu_pgtable **table);

/**
 * Frees a table and all its memory, the reserve included, whatever is mapped. No hardware may use
 * it any more: the caller has taken the root out and invalidated, and every gather was released.
 * NULL is ignored.
 *
 * Context: task. Exclusive.
 */
void piommu_pgtable_destroy(struct piommu_pgtable *table);

/**
 * Does as piommu_pgtable_destroy, in portions. After the first call nothing but further calls of
 * this function may be made with the table.
 *
 * @param budget how many slots of tables to look at, and tables to free, in this call; 0 counts as
 *               1.
 * @return 0: the table is gone; -PIOMMU_EAGAIN: call again.
 *
 * Context: task. Exclusive.
 */
int piommu_pgtable_destroy_some(struct piommu_pgtable *table, uint32_t budget);

/** Fills in what a table is. Runs beside anything but creation and destruction. */
void piommu_pgtable_get_info(const struct piommu_pgtable *table, struct piommu_pgtable_info *info);

/**
 * Fills in the counters. While other calls run in a disjoint table, each is right for some moment.
 *
 * Looks, by range (of no address).
 */
void piommu_pgtable_get_statistics(const struct piommu_pgtable *table,
                                   struct piommu_pgtable_statistics *statistics);

/**
 * Maps a range, with the largest leaves that alignment, size and existing tables allow.
 *
 * All tables that are needed are taken before the first leaf is stored.
 *
 * @param iova     start; aligned to the granule.
 * @param physical start of the memory; aligned to the granule.
 * @param size     bytes; a multiple of the granule, not 0.
 * @param prot     permissions and memory kind, at least one of READ, WRITE and the EXECUTE flags.
 * @param mapped   set to the bytes mapped, from `iova` on: `size` on success, less with
 *                 -PIOMMU_EEXIST, 0 with any other error. Not NULL.
 * @return 0; -PIOMMU_EINVAL (alignment, size 0, unknown flag, no access asked for; or the shim gave
 *         a table elsewhere than it was asked to); -PIOMMU_ERANGE (either end outside the aperture
 *         or the output width); -PIOMMU_EOPNOTSUPP (prot cannot be expressed, or the table is an
 *         adopted one); -PIOMMU_EBUSY (nothing was changed: a table or a block would have to be put
 *         into the range, hull of all, in which piommu_pgtable_detach_empty in an exclusive table,
 *         or piommu_pgtable_trim, have detached tables since there was last none of these that
 *         waited for its release); -PIOMMU_ENOMEM (nothing was changed); -PIOMMU_EEXIST: something
 *         is mapped at iova + *mapped; what lies before it was mapped and stays so. Where several
 *         apply, the first in this order, but that running out of memory hides a conflict, and a
 *         conflict hides what is behind it.
 *
 * What prot can express. Everywhere: READ, READ + WRITE, cacheable, NONCACHEABLE, DEVICE, SOFTWARE.
 * Stage 1: PRIVILEGED, GLOBAL; not WRITE or the EXECUTE flags without READ; EXECUTE_PRIVILEGED only
 * if PRIVILEGED or not WRITE (what unprivileged transactions can write, hardware does not let
 * privileged ones execute); in the 32-bit format only together with PRIVILEGED or EXECUTE. Stage 2:
 * WRITE without READ; both EXECUTE flags or none, but with PIOMMU_PGTABLE_XNX any; not PRIVILEGED
 * or GLOBAL; in the 32-bit format EXECUTE only with READ. Shareability: any for cacheable memory,
 * but with ds only that of the table's register fields, which then is the default.
 *
 * Context: any (dma_alloc is called; in a disjoint table dma_free, too). Ends with a write barrier;
 * no TLB invalidation is needed for what was a hole before (invalid descriptors are never cached).
 * By range.
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

/** Where a call in portions stands. To be made all zero before the first call of a series. */
struct piommu_pgtable_cursor {
    uint64_t done;    /**< bytes of the range that are behind, from its start on */
    uint64_t changed; /**< bytes mapped, unmapped or changed so far: done without the holes */
    size_t segment;   /**< private: the segment in which to go on */
    uint64_t offset;  /**< private: where in it */
    uint64_t last;    /**< private: the last address of the whole range */
};

/**
 * Does as piommu_pgtable_map_list, in portions. Each call maps a part completely; the tables for
 * that part are taken before the first of its leaves is stored.
 *
 * @param cursor all zero at first; then handed in again with the same other arguments.
 * @param budget how many leaves to store in this call; 0 counts as 1. Where there could be a
 *               contiguous group a call goes on to its end, so it may store one group more. The
 *               tables taken are at most as many as the leaves stored, and one per level.
 * @return as piommu_pgtable_map; -PIOMMU_EAGAIN: call again. With -PIOMMU_ENOMEM the call changed
 *         nothing, and can be made again. At each return cursor->changed bytes are mapped, from
 *         iova on.
 *
 * Context: as piommu_pgtable_map.
 */
int piommu_pgtable_map_some(struct piommu_pgtable *table, uint64_t iova,
                            const struct piommu_segment *segments, size_t count, piommu_prot prot,
                            uint32_t budget, struct piommu_pgtable_cursor *cursor);

/**
 * Unmaps all leaves in a range. Holes in it are fine.
 *
 * @param iova     start; aligned to the granule.
 * @param size     bytes; a multiple of the granule, not 0.
 * @param gather   collects what was removed. Not NULL.
 * @param unmapped set to the bytes removed: less than `size` if there were holes. Not NULL.
 * @return 0; -PIOMMU_EINVAL; -PIOMMU_ERANGE; -PIOMMU_EOPNOTSUPP: the table is an adopted one;
 *         -PIOMMU_ECUT: the range would cut a leaf at either end, nothing was changed;
 *         -PIOMMU_ENOENT: nothing is mapped in the range.
 *
 * Context: any. Allocates nothing and frees nothing. The barrier that makes the removal visible to
 * walkers is the one of piommu_pgtable_detach_empty. By range.
 */
int piommu_pgtable_unmap(struct piommu_pgtable *table, uint64_t iova, uint64_t size,
                         struct piommu_gather *gather, uint64_t *unmapped);

/**
 * Does as piommu_pgtable_unmap, in portions. Between the calls, and after the last, the gather may
 * be synced: a portion empties at most as many tables as its budget, and one per level. In a
 * disjoint table, empty tables in front of the first leaf of the series stay linked.
 *
 * @param cursor all zero at first; then handed in again with the same other arguments.
 * @param budget how many leaves to remove and holes to skip in this call; 0 counts as 1. A
 *               contiguous group is removed whole, and counts as what was left of the budget.
 * @return as piommu_pgtable_unmap, judged over the whole series; -PIOMMU_EAGAIN: call again.
 *
 * Context: as piommu_pgtable_unmap.
 */
int piommu_pgtable_unmap_some(struct piommu_pgtable *table, uint64_t iova, uint64_t size,
                              uint32_t budget, struct piommu_gather *gather,
                              struct piommu_pgtable_cursor *cursor);

/**
 * Unmaps all leaves that reach into a range, whole: what lies beyond the ends of the range goes
 * too.
 *
 * @param first    any address.
 * @param last     any address, inclusive, not below first.
 * @param removed  set, on success, to the true range: the range asked for, widened at either end to
 *                 the leaf there. Not NULL.
 * @param unmapped set to the bytes removed. Not NULL.
 * @return as piommu_pgtable_unmap, but never -PIOMMU_ECUT.
 *
 * Context: as piommu_pgtable_unmap.
 */
int piommu_pgtable_unmap_leaves(struct piommu_pgtable *table, uint64_t first, uint64_t last,
                                struct piommu_gather *gather, struct piommu_range *removed,
                                uint64_t *unmapped);

/**
 * Makes hardware forget a range, with walk caches, and waits for it: what piommu_pgtable_unmap_cut
 * asks of its caller.
 *
 * @return 0, or a negative PIOMMU_E*: the hardware did not obey.
 */
typedef int (*piommu_pgtable_invalidate)(void *cookie, const struct piommu_range *range);

/**
 * Unmaps a range exactly, cutting the leaves at its ends: what they translate outside the range
 * stays mapped, by smaller leaves.
 *
 * A leaf that is cut is live, and the architecture forbids to replace it in one step
 * (break-before-make). So it is removed, invalidated, and only then replaced: in between, and only
 * then, DMA to the part of it that stays may fault. With PIOMMU_PGTABLE_BBM_LEVEL_2, on a host with
 * lock-free 64-bit atomics, there is no such window.
 *
 * @param invalidate called at most once, after the removal and before the replacement. Not NULL.
 * @param cookie     handed to it.
 * @param gather     not touched on success. If the invalidation fails it holds what was removed.
 *                   Not NULL.
 * @param unmapped   set to the bytes removed inside the range. Not NULL.
 * @return 0: all that was removed has been invalidated; -PIOMMU_EINVAL; -PIOMMU_ERANGE;
 *         -PIOMMU_EOPNOTSUPP: the table is an adopted one; -PIOMMU_ENOENT: nothing is mapped in the
 *         range; -PIOMMU_ENOMEM: no table for what stays (nothing was changed); or what
 *         `invalidate` returned: then the range is unmapped, without PIOMMU_PGTABLE_BBM_LEVEL_2 the
 *         leaves that had to be cut are gone as a whole, and the gather must be synced before
 *         anything in its range is mapped again.
 *
 * Tables that the call has emptied stay linked until the next piommu_pgtable_detach_empty; in a
 * disjoint table until piommu_pgtable_trim, or an unmap that contains them.
 *
 * Context: any in which `invalidate` may be called (dma_alloc is called, and dma_free on failure).
 * By range.
 */
int piommu_pgtable_unmap_cut(struct piommu_pgtable *table, uint64_t iova, uint64_t size,
                             piommu_pgtable_invalidate invalidate, void *cookie,
                             struct piommu_gather *gather, uint64_t *unmapped);

/**
 * Changes who may do what in a range, in place: no translation of the range faults for it that was
 * allowed before and after. Holes are skipped. The kind of memory stays as it is.
 *
 * @param iova    start; aligned to the granule.
 * @param size    bytes; a multiple of the granule, not 0.
 * @param prot    flags of PIOMMU_PROT_ACCESS and a PIOMMU_PROT_SOFTWARE number, no others.
 * @param gather  collects where hardware may know the old permissions; to be synced before the new
 *                ones can be relied on. Not NULL.
 * @param changed set to the bytes that are mapped in the range, all with the new permissions now.
 *                Not NULL.
 * @return 0; -PIOMMU_EINVAL; -PIOMMU_ERANGE; -PIOMMU_EOPNOTSUPP: prot cannot be expressed, or the
 *         table is an adopted one; -PIOMMU_ECUT: the range would cut a leaf at either end, nothing
 *         was changed; -PIOMMU_ENOENT: nothing is mapped in the range.
 *
 * Context: any. Allocates nothing. Ends with a write barrier. By range.
 */
int piommu_pgtable_protect(struct piommu_pgtable *table, uint64_t iova, uint64_t size,
                           piommu_prot prot, struct piommu_gather *gather, uint64_t *changed);

/**
 * Does as piommu_pgtable_protect, in portions: for the write protection of a big guest.
 *
 * @param cursor all zero at first; then handed in again with the same other arguments.
 * @param budget how many leaves to change and holes to skip in this call; 0 counts as 1. A
 *               contiguous group counts as one leaf.
 * @return as piommu_pgtable_protect, judged over the whole series; -PIOMMU_EAGAIN: call again.
 *
 * Context: as piommu_pgtable_protect.
 */
int piommu_pgtable_protect_some(struct piommu_pgtable *table, uint64_t iova, uint64_t size,
                                piommu_prot prot, uint32_t budget, struct piommu_gather *gather,
                                struct piommu_pgtable_cursor *cursor);

/**
 * Detaches tables that unmaps have emptied, but for the quota of empty tables, and makes all that
 * was removed before visible to walkers. To be called before the invalidation. Extends
 * gather->range over the detached tables' span. Takes time in proportion to the tables that are
 * detached. In a disjoint table there is nothing left to detach.
 *
 * Context: any. Allocates nothing and frees nothing. By range (that of the gather).
 */
void piommu_pgtable_detach_empty(struct piommu_pgtable *table, struct piommu_gather *gather);

/**
 * Detaches all empty tables, those of the quota too. Otherwise as piommu_pgtable_detach_empty, in
 * whose place it is called. In a disjoint table it looks at all tables.
 *
 * Context: any. Allocates nothing and frees nothing. Exclusive.
 */
void piommu_pgtable_trim(struct piommu_pgtable *table, struct piommu_gather *gather);

/**
 * Frees the tables that were detached into the gather (into the reserve, as long as that is not
 * full), and empties it. To be called when the invalidation is complete, and only if it
 * succeeded.
 *
 * Context: any (dma_free is called). By range (that of the gather).
 */
void piommu_pgtable_release(struct piommu_pgtable *table, struct piommu_gather *gather);

/**
 * Moves the detached tables of one gather to another: for an owner whose invalidation has failed,
 * and who must keep their memory longer than the first gather lives. Range and pending of both stay
 * as they are.
 *
 * Context: any. By range (that of the two gathers).
 */
void piommu_pgtable_move_detached(struct piommu_pgtable *table, struct piommu_gather *from,
                                  struct piommu_gather *to);

/**
 * Computes how many tables a range can need at most.
 *
 * @param iova      start; aligned to the granule.
 * @param size      bytes; a multiple of the granule, not 0.
 * @param alignment a power of two, not below the granule: the caller will map the range in pieces
 *                  of which each starts, in iova and physical, at a multiple of this, and has a
 *                  multiple of it as size (but for the ends of the range itself, if they are not so
 *                  aligned; there the offsets of iova and physical within `alignment` agree). The
 *                  granule says: anything may happen.
 * @param to_map    set to the number of tables that mapping the range takes at most, however it is
 *                  cut into calls and whatever is mapped around it. Exact: an empty table takes as
 *                  many. (Where leaf_sizes leaves out a size between two, only as long as the range
 *                  has no empty tables, which empty_tables_kept, cuts, and in a disjoint table
 *                  unmaps of less than a table leave.) May be NULL.
 * @param to_cut    set to the number of tables that one piommu_pgtable_unmap_cut of the range takes
 *                  at most, with the leaf sizes that are in use. Exact: there are mappings for
 *                  which it takes as many. May be NULL.
 * @return 0; -PIOMMU_EINVAL; -PIOMMU_ERANGE.
 *
 * Runs beside anything but creation and destruction.
 */
int piommu_pgtable_plan(const struct piommu_pgtable *table, uint64_t iova, uint64_t size,
                        uint64_t alignment, uint64_t *to_map, uint64_t *to_cut);

/**
 * Adds tables to the reserve. Map and cut take tables from it before they ask the shim, and
 * released tables go back to it until it is full again. So whoever has reserved what
 * piommu_pgtable_plan says for each range, and uses no others, sees no allocation in map, unmap,
 * cut and release.
 *
 * @param count how many.
 * @return 0; -PIOMMU_ENOMEM: nothing was changed; -PIOMMU_EINVAL: more than 2^32 - 1 in all, or the
 *         shim gave what it was not asked for; -PIOMMU_EOPNOTSUPP: the table is an adopted one.
 *
 * Context: any (dma_alloc is called, and dma_free on failure; in a disjoint table alloc and free,
 * too). Exclusive.
 */
int piommu_pgtable_reserve(struct piommu_pgtable *table, uint32_t count);

/**
 * Makes the reserve smaller by `count` tables, or empties it if it is not that large. Tables that
 * are in use at that time are freed when they are released.
 *
 * Context: any (dma_free is called). Exclusive.
 */
void piommu_pgtable_unreserve(struct piommu_pgtable *table, uint32_t count);

/**
 * Translates an address as the hardware would.
 *
 * @param iova   any address.
 * @param result set on success. The prot is the one that the leaf was mapped with; flags that name
 *               a default are left out. With -PIOMMU_ENOENT leaf_size alone is set: to the size of
 *               the hole around iova, as far as it is aligned like a leaf and seen in one table.
 * @return 0; -PIOMMU_ERANGE: outside the aperture; -PIOMMU_ENOENT: nothing is mapped there.
 *
 * Context: any. Looks, by range (of that address).
 */
int piommu_pgtable_lookup(const struct piommu_pgtable *table, uint64_t iova,
                          struct piommu_translation *result);

/** No address: above all that physical addresses can be. */
#define PIOMMU_PGTABLE_NO_ADDRESS UINT64_MAX

/**
 * Translates an address as piommu_pgtable_lookup does, and tells only where it leads: that is all
 * that a hot path wants to know, and takes less time.
 *
 * @param iova any address.
 * @return the physical address, or PIOMMU_PGTABLE_NO_ADDRESS: nothing is mapped there, or it is
 *         outside the aperture.
 *
 * Context: any. Looks, by range (of that address).
 */
uint64_t piommu_pgtable_translate(const struct piommu_pgtable *table, uint64_t iova);

/**
 * Finds the first leaf that reaches into a range, to iterate over the leaves of that range: go on
 * at *found + result->leaf_size, unless *found + (result->leaf_size - 1) has reached the end.
 *
 * @param first  where to begin; any address.
 * @param last   where to end, inclusive.
 * @param found  set on success to the first address of the leaf, which may lie below `first`.
 * @param result set on success to the translation of *found.
 * @return 0; -PIOMMU_ENOENT: the range has no (further) leaf.
 *
 * Context: any. Takes time in proportion to the tables that the range meets before the leaf. Looks,
 * by range.
 */
int piommu_pgtable_next_leaf(const struct piommu_pgtable *table, uint64_t first, uint64_t last,
                             uint64_t *found, struct piommu_translation *result);

/**
 * Packs stage-1 values into the CPU register TCR_EL1, with walks disabled (EPD0, EPD1) in a half
 * that has no table. Source: Arm ARM, TCR_EL1. Runs beside anything.
 *
 * @param lower the table for TTBR0, or NULL.
 * @param upper the table for TTBR1, or NULL.
 * @return the value, or 0 if there is none: both are NULL, a table is not a 64-bit stage 1 or is
 *         for the other half, or the two differ in output size, ds, ha or hd.
 */
uint64_t piommu_pgtable_tcr_el1(const struct piommu_pgtable_info *lower,
                                const struct piommu_pgtable_info *upper);

/**
 * Packs stage-2 values into the CPU register VTCR_EL2 (8-bit VMID). Source: Arm ARM, VTCR_EL2. Runs
 * beside anything.
 *
 * @return the value, or 0 if the table is not a 64-bit stage 2.
 */
uint64_t piommu_pgtable_vtcr_el2(const struct piommu_pgtable_info *info);

/**
 * Packs stage-1 values into the CPU register TTBCR with EAE set; as piommu_pgtable_tcr_el1, for the
 * 32-bit format. Source: Arm ARM, TTBCR. Runs beside anything.
 */
uint32_t piommu_pgtable_ttbcr(const struct piommu_pgtable_info *lower,
                              const struct piommu_pgtable_info *upper);

/**
 * Packs stage-2 values into the CPU register VTCR. Source: Arm ARM, VTCR. Runs beside anything.
 *
 * @return the value, or 0 if the table is not a 32-bit stage 2.
 */
uint32_t piommu_pgtable_vtcr(const struct piommu_pgtable_info *info);

#ifdef __cplusplus
}
#endif

#endif
