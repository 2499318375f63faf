/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_DOMAIN_H
#define PIOMMU_DOMAIN_H

/**
 * @file domain.h
 * A domain: what the devices attached to it may reach.
 */

#include <piommu/gather.h>
#include <piommu/instance.h>

#ifdef __cplusplus
extern "C" {
#endif

struct piommu_domain;

/** Kinds of domain. */
enum piommu_domain_type {
    /** Nothing. Every group is in this state until it is attached, and after it was detached. */
    PIOMMU_DOMAIN_BLOCKED,
    /** All memory, untranslated. */
    PIOMMU_DOMAIN_IDENTITY,
    /** What is mapped. */
    PIOMMU_DOMAIN_PAGING,
};

/** What a domain should be. */
struct piommu_domain_config {
    enum piommu_domain_type type;     /**< the kind */
    struct piommu_instance *instance; /**< whose devices it is for */
    const char *name;                 /**< for log lines; must stay valid; may be NULL */
    void *owner;                      /**< cookie for fault reports */
};

/** Counters of a domain. */
struct piommu_domain_statistics {
    uint64_t maps;      /**< map calls that succeeded */
    uint64_t unmaps;    /**< unmap calls that removed something */
    uint64_t syncs;     /**< syncs that had something to do, and did it */
    uint64_t mapped;    /**< bytes mapped now */
    uint32_t endpoints; /**< IDs attached now */
};

/**
 * Creates a domain without mappings and without devices.
 *
 * @return 0; -PIOMMU_EINVAL; -PIOMMU_EOPNOTSUPP: the hardware has no such domain; -PIOMMU_ENOMEM;
 *         -PIOMMU_ENOSPC: no hardware context is left; -PIOMMU_EFAILED.
 *
 * Context: task. Registration.
 */
int piommu_domain_create(const struct piommu_domain_config *config, struct piommu_domain **domain);

/**
 * Destroys a domain with all its mappings. Gathers of it that are still pending become void and
 * need no sync. NULL is ignored.
 *
 * @return 0; -PIOMMU_EBUSY: groups are attached to it; -PIOMMU_EFAILED: the instance has failed and
 *         could not be stopped, so devices may still use the domain's tables: nothing was changed.
 *
 * Context: task. Registration.
 */
int piommu_domain_destroy(struct piommu_domain *domain);

/** Fills in the counters. Mapping. */
void piommu_domain_get_statistics(const struct piommu_domain *domain,
                                  struct piommu_domain_statistics *statistics);

/**
 * Maps a range of a paging domain to contiguous physical memory. When it returns success, every
 * device in the domain can use the mapping.
 *
 * @param iova     start; aligned to the instance's granule.
 * @param physical start of the memory; aligned to the granule.
 * @param size     bytes; a multiple of the granule, not 0.
 * @param prot     PIOMMU_PROT_* flags.
 * @return 0; -PIOMMU_EINVAL (not a paging domain, alignment, size 0, unknown flag, no access asked
 *         for); -PIOMMU_ERANGE (outside the aperture or the width of addresses); -PIOMMU_EOPNOTSUPP
 *         (prot cannot be expressed); -PIOMMU_EEXIST (something in the range is mapped, or unmapped
 *         but not yet synced); -PIOMMU_ERESERVED; -PIOMMU_ENOMEM; -PIOMMU_EIO: the hardware
 *         refused; -PIOMMU_EFAILED: the instance has failed, now or earlier. After an error nothing
 *         of the range is mapped that was not before; but after -PIOMMU_EFAILED the memory must be
 *         kept until piommu_domain_destroy has succeeded, since a unit that could not be stopped
 *         may still reach it.
 *
 * Context: any that may allocate; may wait for the hardware. Mapping.
 */
int piommu_domain_map(struct piommu_domain *domain, uint64_t iova, uint64_t physical, uint64_t size,
                      piommu_prot prot);

/**
 * Maps pieces of physical memory one after the other at ascending addresses from `iova` on: all of
 * them, or none.
 *
 * @param segments the pieces; each aligned to the granule in start and size.
 * @param count    how many, not 0.
 *
 * Everything else as piommu_domain_map.
 */
int piommu_domain_map_list(struct piommu_domain *domain, uint64_t iova,
                           const struct piommu_segment *segments, size_t count, piommu_prot prot);

/**
 * Unmaps all that lies in a range. Holes in it are fine. Devices may go on using what was unmapped
 * until piommu_domain_sync has returned success for the gather; so long the memory must not be
 * reused, and nothing must be mapped in gather->range. (With a backend that is told each mapping,
 * map checks this and answers -PIOMMU_EEXIST; with page tables it is the caller's duty.)
 *
 * What one call of map or map_list has mapped can always be unmapped by one call with the same
 * range.
 *
 * @param iova     start; aligned to the granule.
 * @param size     bytes; a multiple of the granule, not 0.
 * @param gather   collects what was removed.
 * @param unmapped set to the bytes removed: less than size if there were holes. May be NULL.
 * @return 0; -PIOMMU_EINVAL; -PIOMMU_ERANGE; -PIOMMU_ECUT: the range would cut a leaf at either
 *         end, or, with a backend that is told each mapping, a physically contiguous run of one map
 *         call; -PIOMMU_ENOENT: nothing is mapped in the range. After an error nothing was changed.
 *
 * Context: any. Neither allocates nor waits. Works on a failed instance too. Mapping.
 */
int piommu_domain_unmap(struct piommu_domain *domain, uint64_t iova, uint64_t size,
                        struct piommu_gather *gather, uint64_t *unmapped);

/**
 * Makes the hardware forget all that a gather has collected. After success no device can use it any
 * more, and the gather is empty.
 *
 * @return 0 (also if there was nothing to do); -PIOMMU_EINVAL; -PIOMMU_EFAILED: the hardware did
 *         not obey, now or earlier, and the instance has failed: the gather stays pending, and the
 *         memory that was mapped in gather->range must be kept until the domain was destroyed.
 *
 * Context: any; may wait for the hardware. Allocates nothing; frees. Mapping.
 */
int piommu_domain_sync(struct piommu_domain *domain, struct piommu_gather *gather);

/**
 * Unmaps all that reaches into a range, whole: what lies beyond the ends of the range goes too.
 *
 * @param first    any address.
 * @param last     any address, inclusive, not below first.
 * @param gather   collects what was removed.
 * @param removed  set, on success, to the true range: the range asked for, widened at either end to
 *                 the leaf there, or to the physically contiguous run of one map call. May be NULL.
 * @param unmapped set to the bytes removed. May be NULL.
 * @return 0; -PIOMMU_EINVAL; -PIOMMU_ERANGE; -PIOMMU_ENOENT: nothing is mapped in the range. After
 *         an error nothing was changed.
 *
 * Context: any. Neither allocates nor waits. Works on a failed instance too. Mapping.
 */
int piommu_domain_unmap_leaves(struct piommu_domain *domain, uint64_t first, uint64_t last,
                               struct piommu_gather *gather, struct piommu_range *removed,
                               uint64_t *unmapped);

/**
 * Lets a call take out for a moment what stays mapped, if the hardware cannot do without: DMA to it
 * may fail until the call has returned. Without this flag such a call is refused.
 */
#define PIOMMU_ALLOW_HOLE 0x1u

/**
 * Unmaps a range exactly, and makes the hardware forget it: what leaves or mapping requests at its
 * ends reach beyond it stays mapped. If any of them is cut DMA to the part that stays may fail
 * meanwhile, but not with page tables whose walker has FEAT_BBM level 2, and not if the domain has
 * no device.
 *
 * @param iova     start; aligned to the instance's granule.
 * @param size     bytes; a multiple of the granule, not 0.
 * @param flags    0 or PIOMMU_ALLOW_HOLE.
 * @param unmapped set to the bytes removed inside the range. May be NULL.
 * @return 0; -PIOMMU_EINVAL; -PIOMMU_ERANGE; -PIOMMU_ENOENT: nothing is mapped in the range;
 *         -PIOMMU_EHOLE: a hole would open, and is not allowed; -PIOMMU_ENOMEM. After these nothing
 *         was changed. -PIOMMU_EIO: the hardware has refused to take again what stays: it is
 *         unmapped, too, and has been forgotten. -PIOMMU_EFAILED: the instance has failed, now or
 *         earlier; if now, what was to go and what was cut is unmapped, and its memory must be kept
 *         until piommu_domain_destroy has succeeded.
 *
 * Context: any that may allocate; may wait for the hardware. Mapping.
 */
int piommu_domain_unmap_cut(struct piommu_domain *domain, uint64_t iova, uint64_t size,
                            unsigned int flags, uint64_t *unmapped);

/**
 * Changes who may do what in a range, and makes the hardware forget the old permissions. Holes are
 * skipped. The kind of memory stays as it is. With page tables no DMA fails that was allowed before
 * and is afterwards; with a backend that is told each mapping, what changes is unmapped for a
 * moment, unless the domain has no device.
 *
 * @param iova    start; aligned to the granule.
 * @param size    bytes; a multiple of the granule, not 0.
 * @param prot    flags of PIOMMU_PROT_ACCESS and a PIOMMU_PROT_SOFTWARE number, no others.
 * @param flags   0 or PIOMMU_ALLOW_HOLE.
 * @param changed set to the bytes that are mapped in the range. May be NULL.
 * @return 0; -PIOMMU_EINVAL; -PIOMMU_ERANGE; -PIOMMU_EOPNOTSUPP: prot cannot be expressed;
 *         -PIOMMU_ECUT: as piommu_domain_unmap; -PIOMMU_ENOENT: nothing is mapped in the range;
 *         -PIOMMU_EHOLE: as piommu_domain_unmap_cut. After these nothing was changed. -PIOMMU_EIO:
 *         the hardware has refused the new permissions: the range is unmapped, and has been
 *         forgotten. -PIOMMU_EFAILED: the instance has failed, now or earlier; if now, the range
 *         may have the old permissions or the new ones.
 *
 * Context: any; may wait for the hardware. Allocates nothing. Mapping.
 */
int piommu_domain_protect(struct piommu_domain *domain, uint64_t iova, uint64_t size,
                          piommu_prot prot, unsigned int flags, uint64_t *changed);

/**
 * Finds the first leaf, or mapping request, that reaches into a range, to iterate over what is
 * mapped there: go on at *found + result->leaf_size, unless *found + (result->leaf_size - 1) has
 * reached the end.
 *
 * @param first  where to begin; any address.
 * @param last   where to end, inclusive.
 * @param found  set on success to its first address, which may lie below `first`.
 * @param result set on success to the translation of *found.
 * @return 0; -PIOMMU_EINVAL: not a paging domain; -PIOMMU_ENOENT: the range has no (further) one.
 *
 * Context: any. Takes time in proportion to the tables that the range meets before the leaf, or to
 * what was unmapped and not synced. Mapping.
 */
int piommu_domain_next(struct piommu_domain *domain, uint64_t first, uint64_t last, uint64_t *found,
                       struct piommu_translation *result);

/**
 * Translates an address of a paging domain as its devices see it.
 *
 * @param result set on success; leaf_size is that of the leaf or of the mapping request.
 * @return 0; -PIOMMU_EINVAL: not a paging domain; -PIOMMU_ERANGE: outside the aperture;
 *         -PIOMMU_ENOENT.
 *
 * Context: any. Mapping.
 */
int piommu_domain_lookup(struct piommu_domain *domain, uint64_t iova,
                         struct piommu_translation *result);

#ifdef __cplusplus
}
#endif

#endif
