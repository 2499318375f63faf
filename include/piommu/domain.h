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
