/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_IOVA_H
#define PIOMMU_IOVA_H

/**
 * @file iova.h
 * Address space: gives out ranges of I/O virtual addresses, and takes them back. It knows nothing
 * of page tables or IOMMUs and can be used alone.
 *
 * All sizes and addresses are bytes, and multiples of the granule unless a comment says otherwise.
 *
 * Time. An allocation or release looks at a number of nodes that grows with the logarithm of the
 * space's size, however many ranges live and however fragmented it is; see
 * piommu_iova_statistics::visited_most. In front of that, each CPU keeps some ranges of up to 64
 * granules that were released there, and gives them out again without a lock. Where a range is
 * too long for one piece of the tree, both grow with the number of powers of two it is made of.
 *
 * Exactness. If there is a place for a range of that size and alignment below that limit, it is
 * found: before an allocation fails, what CPUs keep is taken back.
 *
 * Memory. Two nodes of about 260 bytes for each 512 granules in which something lives, wherever
 * they are; asked for in pieces of 16 nodes, which stay until the space is destroyed.
 *
 * Concurrency. All functions but creation, destruction and reserve_memory may run beside each
 * other, unless the space was created as `serialised`. Context: any, unless said otherwise;
 * allocation, take and reserve_memory call piommu_os::alloc if the memory that is there does not
 * suffice.
 */

#include <piommu/error.h>
#include <piommu/os.h>
#include <piommu/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Addresses are given out below so many granules. */
#define PIOMMU_IOVA_MAX_GRANULES (UINT64_C(1) << 43)

/** What a space is to be. Zero selects the default of each member marked so. */
struct piommu_iova_config {
    uint64_t granule;             /**< smallest unit, a power of two, 64 or more */
    struct piommu_range aperture; /**< addresses to give out; cut down to whole granules */
    /**
     * Lower addresses are given out first. Default: higher ones, so that those below a device's
     * limit stay free for it as long as possible.
     */
    bool bottom_up;
    /**
     * How many CPUs keep released ranges: numbers from 0 to this less one, as piommu_os::cpu has
     * them; at most 4096. 10.2 KiB each (half of it where pointers have 32 bits). Default: none
     * does. Without piommu_os::cpu all share one store.
     */
    unsigned int cpus;
    /**
     * The caller serialises all calls on the space: nothing is locked. Default: they may run beside
     * each other.
     */
    bool serialised;
};

/** What a range is to be like. Zero selects the default of each member marked so. */
struct piommu_iova_request {
    uint64_t size;      /**< bytes, not 0; rounded up to whole granules */
    uint64_t alignment; /**< a power of two. Default: the granule */
    uint64_t limit;     /**< the last byte lies at or below this. Default: no limit */
    /**
     * As `limit`, but only tried first: for devices that reach low addresses faster, as those on
     * PCI do below 4 GiB. Default: no preference.
     */
    uint64_t preferred;
    /**
     * A power of two: the range does not cross a multiple of it. Where no place is found that is
     * aligned to the size, at most 64 other candidates are looked at, from the top; there may be
     * one beyond those. Default: no boundary.
     */
    uint64_t boundary;
};

/** Counters of a space. */
struct piommu_iova_statistics {
    uint64_t granules_taken; /**< given out, taken, or kept by CPUs */
    uint64_t granules_kept;  /**< by CPUs, of these; right only while no other call runs */
    uint64_t bytes;          /**< memory that was asked for, the space's own object included */
    uint32_t nodes;          /**< in use */
    uint32_t nodes_spare;    /**< there, and not in use */
    uint32_t visited_last;   /**< nodes that the last call which changed something looked at */
    uint32_t visited_most;   /**< the most of any such call */
};

struct piommu_iova_space;

/**
 * Creates a space in which everything is free.
 *
 * @param host   the shim; BASE and LOCK callbacks.
 * @param config what it is to be; copied.
 * @param space  set on success.
 * @return 0; -PIOMMU_EINVAL (bad granule, reversed or empty aperture, too many CPUs, incomplete
 *         shim); -PIOMMU_ERANGE: the aperture goes beyond PIOMMU_IOVA_MAX_GRANULES;
 *         -PIOMMU_ENOMEM.
 *
 * Context: task.
 */
int piommu_iova_create(struct piommu_host host, const struct piommu_iova_config *config,
                       struct piommu_iova_space **space);

/** Frees a space, whatever is given out. NULL is ignored. Context: task. */
void piommu_iova_destroy(struct piommu_iova_space *space);

/**
 * Sees to it that `ranges` ranges more can be given out or taken without asking the shim for
 * memory, wherever they lie. A range of more than 512 granules counts as one for each power of two
 * that it is made of.
 *
 * @return 0; -PIOMMU_EINVAL; -PIOMMU_ENOMEM: what could be had was kept. Context: task.
 */
int piommu_iova_reserve_memory(struct piommu_iova_space *space, uint32_t ranges);

/**
 * Gives out a range.
 *
 * @param address set on success.
 * @return 0; -PIOMMU_EINVAL (size 0, an alignment or boundary that is no power of two, a size above
 *         the boundary); -PIOMMU_ENOSPC: there is no such place; -PIOMMU_ERANGE: 2^32 - 1
 *         granules or more; -PIOMMU_ENOMEM.
 */
int piommu_iova_alloc(struct piommu_iova_space *space, const struct piommu_iova_request *request,
                      uint64_t *address);

/**
 * Takes a range back.
 *
 * @param size as it was asked for.
 * @return 0; -PIOMMU_EINVAL: no range of that size was given out or taken there. Not found out,
 *         where CPUs keep ranges of that size: the caller is believed then.
 */
int piommu_iova_free(struct piommu_iova_space *space, uint64_t address, uint64_t size);

/**
 * Takes a certain range out: for a reserved region, or for a caller who says where. What CPUs keep
 * is not in the way.
 *
 * @param range its ends; cut outwards to whole granules, and to the aperture.
 * @return 0, also if it lies outside the aperture; -PIOMMU_EINVAL; -PIOMMU_EEXIST: part of it is
 *         not free; -PIOMMU_ENOMEM.
 */
int piommu_iova_take(struct piommu_iova_space *space, struct piommu_range range);

/**
 * Finds the range in which an address lies.
 *
 * @param range set on success: as it was given out or taken, in whole granules.
 * @return 0; -PIOMMU_EINVAL; -PIOMMU_ENOENT: it is free. A range that a CPU keeps is found, too.
 */
int piommu_iova_find(struct piommu_iova_space *space, uint64_t address, struct piommu_range *range);

/** Takes back what CPUs keep. */
void piommu_iova_drain(struct piommu_iova_space *space);

/** Fills in the counters. */
void piommu_iova_get_statistics(struct piommu_iova_space *space,
                                struct piommu_iova_statistics *statistics);

#ifdef __cplusplus
}
#endif

#endif
