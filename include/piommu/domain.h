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

struct piommu_pgtable_config;

/** Kinds of domain. */
enum piommu_domain_type {
    /** Nothing. Every group is in this state until it is attached, and after it was detached. */
    PIOMMU_DOMAIN_BLOCKED,
    /** All memory, untranslated. */
    PIOMMU_DOMAIN_IDENTITY,
    /**
     * What a stage-2 table grants that is the CPU's own and belongs to the host; see
     * piommu_shared_table.
     */
    PIOMMU_DOMAIN_SHARED,
    /** What is mapped. */
    PIOMMU_DOMAIN_PAGING,
    /** As PAGING, with addresses that the library hands out: for drivers of the host itself. */
    PIOMMU_DOMAIN_DMA,
    /**
     * As PAGING, but nothing is spent on it until a device is to be attached: no table and no
     * hardware context; see piommu_domain_populate.
     */
    PIOMMU_DOMAIN_DEFERRED,
};

/** The types that are made of mappings (PAGING, DMA and DEFERRED) are called *paging domains*. */

/**
 * A stage-2 table of the CPU that devices are to use too. The library tells hardware where it is
 * and invalidates; it never writes or frees it, and does not look into it.
 *
 * The contract: the table is what `config` says, with no other features than
 * piommu_shared_limits::features allows on each instance of the domain. Where coherent_walk is
 * false there, whoever changes a descriptor cleans it to memory. After a change that takes
 * something away or changes it, the host calls piommu_domain_invalidate, and frees pages or tables
 * only when that has returned success. While any instance needs break-before-make, that call stands
 * between the break and the make. The table stays until the domain is destroyed.
 */
struct piommu_shared_table {
    /**
     * What it is: a stage-2 format; leaf_sizes are those that the host uses, coherent_walk says
     * that it does not clean; empty_tables_kept and owner are ignored.
     */
    const struct piommu_pgtable_config *config;
    uint64_t root; /**< physical address of the root, aligned to the size of the root */
};

/** A piece of a guest's memory. */
struct piommu_frames {
    uint64_t iova;     /**< guest physical address; on the domain's granule */
    uint64_t physical; /**< machine address; on the domain's granule */
    uint64_t size;     /**< bytes, a multiple of the granule, not 0 */
    piommu_prot prot;  /**< what devices may do */
};

/**
 * Walks a hypervisor's own record of guest memory, in the order of guest physical addresses.
 *
 * @param from   look at this address and above.
 * @param frames set on success to the lowest piece that reaches `from` or lies above it.
 * @return 0; -PIOMMU_ENOENT: there is none; any other error ends the step with that error.
 *
 * Called from piommu_domain_populate alone, in its context.
 */
typedef int piommu_next_frames(void *cookie, uint64_t from, struct piommu_frames *frames);

/** What a domain should be. */
struct piommu_domain_config {
    enum piommu_domain_type type; /**< the kind */
    /** For whose devices it is: all of one context and of one kind. Copied. */
    struct piommu_instance *const *instances;
    size_t instance_count; /**< how many, at least 1 */
    const char *name;      /**< for log lines; must stay valid; may be NULL */
    void *owner;           /**< cookie for fault reports */
    /**
     * Paging domains with page tables: calls on disjoint ranges may run beside each other; see
     * context.h. (A deferred one only when it is populated, and all gathers from before are
     * synced.) The counters maps, unmaps and mapped stay 0 then.
     */
    bool disjoint;
    /** The owner consents to PIOMMU_RESERVED_RELAXABLE regions of its devices being mapped. */
    bool map_relaxable;
    /**
     * Paging domains: addresses to which piommu_device_map_msi may map doorbells; nothing else can
     * be mapped there. Both 0: none.
     */
    struct piommu_range msi_window;
    /** SHARED: the table. Copied, with what it points to. */
    const struct piommu_shared_table *shared;
    /**
     * DEFERRED: tells what is to be mapped, when it is needed. NULL: the domain keeps a record of
     * the calls made.
     */
    piommu_next_frames *next_frames;
    void *frames_cookie; /**< handed to it */
};

/** What a domain can do. */
struct piommu_domain_info {
    enum piommu_domain_type type; /**< as configured */
    const char *name;             /**< as configured */
    void *owner;                  /**< as configured */
    struct piommu_range aperture; /**< addresses that can be mapped now; paging domains */
    uint64_t granule;             /**< smallest unit of a mapping, in bytes */
    uint64_t leaf_sizes;          /**< sizes that are cheap to map */
    piommu_prot prot;             /**< flags that a mapping may have */
    bool write_only;              /**< write without read can be expressed */
    bool live_protect;            /**< piommu_domain_protect opens no hole */
    bool live_cut;                /**< piommu_domain_unmap_cut opens no hole */
    bool live_replace;            /**< piommu_domain_replace opens no hole */
    bool populated; /**< DEFERRED: it has been filled, and is as a PAGING domain from then on */
    bool disjoint;  /**< as configured */
    bool told_each; /**< its backend is told each mapping; false: it has page tables */
    bool failed;    /**< an instance with devices in it has failed: maps and syncs do, too */
    struct piommu_range msi_window; /**< as configured */
    uint64_t last_physical; /**< the highest address of memory that can be mapped; paging domains */
};

/** Counters of a domain. */
struct piommu_domain_statistics {
    uint64_t maps;   /**< map calls that succeeded */
    uint64_t unmaps; /**< unmap calls that removed something */
    uint64_t syncs;  /**< syncs that had something to do, and did it */
    /** Bytes mapped now; direct regions and doorbells, which the library maps, do not count. */
    uint64_t mapped;
    uint32_t endpoints; /**< IDs attached now */
};

/**
 * Creates a domain without mappings and without devices.
 *
 * @return 0; -PIOMMU_EINVAL; -PIOMMU_EMIXED: no domain can span these instances, see
 *         piommu_requirements_get; -PIOMMU_EOPNOTSUPP: the hardware has no such domain, or the
 *         shared table is not as the instances demand (a log line names the instance and the
 *         limit), or `disjoint` cannot be had, or the library was built without deferred domains;
 *         -PIOMMU_ERANGE: the MSI window is outside the aperture or not on the granule;
 *         -PIOMMU_EWAITING: an instance waits for its parent; -PIOMMU_ENOMEM; -PIOMMU_ENOSPC: no
 *         hardware context is left; -PIOMMU_EFAILED.
 *
 * Context: task. Registration.
 */
int piommu_domain_create(const struct piommu_domain_config *config, struct piommu_domain **domain);

/**
 * Destroys a domain with all its mappings. Gathers of it that are still pending become void and
 * need no sync (in a domain with `disjoint` they must have been given to piommu_domain_sync before,
 * with whatever success). When it returns success no fault or trace callback with the domain's
 * cookie runs any more, and none will. NULL is ignored.
 *
 * @return 0; -PIOMMU_EBUSY: groups are attached to it, or completions of posts are still to come,
 *         or a fault callback does not return;
 *         -PIOMMU_EFAILED: an instance has failed and could not be stopped, so devices may still
 *         use the domain's tables: nothing was changed. If an instance fails in this call, or has
 *         failed and was stopped but not recovered, the domain is gone; but tables that hardware
 *         may still read are never given back, and a log line says so.
 *
 * Context: task. Registration.
 */
int piommu_domain_destroy(struct piommu_domain *domain);

/**
 * Does as piommu_domain_destroy, in portions. After a first call that returned -PIOMMU_EAGAIN
 * nothing but further calls of this function may be made with the domain.
 *
 * @param budget how many slots of tables, tables and mapping records to look at in this call; 0
 *               counts as 1.
 * @return as piommu_domain_destroy; -PIOMMU_EAGAIN: call again.
 *
 * Context: task. Registration.
 */
int piommu_domain_destroy_some(struct piommu_domain *domain, uint32_t budget);

/** Fills in what a domain can do. Mapping. */
void piommu_domain_get_info(const struct piommu_domain *domain, struct piommu_domain_info *info);

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
 *         but not yet synced); -PIOMMU_EBUSY (a table would have to be put where one was taken out
 *         whose invalidation has failed); -PIOMMU_ERESERVED (a reserved region of a device in the
 *         domain, or the MSI window, lies in the range);
 *         -PIOMMU_ENOMEM; -PIOMMU_EIO: the hardware refused; -PIOMMU_EFAILED: the instance has
 *         failed, now or earlier. After an error nothing of the range is mapped that was not
 *         before; but after -PIOMMU_EFAILED the memory must be kept as piommu_domain_sync says,
 *         since a unit that could not be stopped may still reach it.
 *
 * Context: any that may allocate; may wait for the hardware. Mapping, by range.
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
 * reused, and nothing must be mapped in gather->range (in a domain with `disjoint`: in the ranges
 * that were given to unmap). (With a backend that is told each mapping,
 * map checks this and answers -PIOMMU_EEXIST; with page tables it is the caller's duty.)
 *
 * What one call of map or map_list has mapped can always be unmapped by one call with the same
 * range.
 *
 * @param iova     start; aligned to the granule.
 * @param size     bytes; a multiple of the granule, not 0.
 * @param gather   collects what was removed.
 * @param unmapped set to the bytes removed: less than size if there were holes. May be NULL.
 * @return 0; -PIOMMU_EINVAL; -PIOMMU_ERANGE; -PIOMMU_ERESERVED: a direct region of a device or a
 *         doorbell lies in the range; -PIOMMU_ECUT: the range would cut a leaf at either end, or,
 *         with a backend that is told each mapping, a physically contiguous run of one map call;
 *         -PIOMMU_ENOENT: nothing is mapped in the range. After an error nothing was changed.
 *
 * Context: any. Neither allocates nor waits. Works on a failed instance too. Mapping, by range.
 */
int piommu_domain_unmap(struct piommu_domain *domain, uint64_t iova, uint64_t size,
                        struct piommu_gather *gather, uint64_t *unmapped);

/**
 * Makes the hardware forget all that a gather has collected. After success no device can use it any
 * more, and the gather is empty.
 *
 * @return 0 (also if there was nothing to do); -PIOMMU_EINVAL; -PIOMMU_EFAILED: an instance did not
 *         obey, now or earlier, and has failed (all others have done it): the gather stays pending,
 *         and the memory that was mapped in gather->range must be kept until the domain was
 *         destroyed, or the groups of that instance have been detached and the gather was synced
 *         again, with success.
 *
 * Context: any; may wait for the hardware. Allocates nothing; frees. Mapping, by range.
 */
int piommu_domain_sync(struct piommu_domain *domain, struct piommu_gather *gather);

/**
 * Puts what one gather has collected into another of the same domain, and makes it empty: one sync
 * of the other is enough for both.
 *
 * @return 0; -PIOMMU_EINVAL: not a paging domain. Context: any. Mapping, by range.
 */
int piommu_domain_merge_gather(struct piommu_domain *domain, struct piommu_gather *from,
                               struct piommu_gather *into);

/**
 * Unmaps all that reaches into a range, whole: what lies beyond the ends of the range goes too.
 *
 * @param first    any address.
 * @param last     any address, inclusive, not below first.
 * @param gather   collects what was removed.
 * @param removed  set, on success, to the true range: the range asked for, widened at either end to
 *                 the leaf there, or to the physically contiguous run of one map call. May be NULL.
 * @param unmapped set to the bytes removed. May be NULL.
 * @return 0; -PIOMMU_EINVAL; -PIOMMU_ERANGE; -PIOMMU_ERESERVED: as piommu_domain_unmap;
 *         -PIOMMU_ENOENT: nothing is mapped in the range. After an error nothing was changed.
 *
 * Context: any. Neither allocates nor waits. Works on a failed instance too. Mapping, by range.
 */
int piommu_domain_unmap_leaves(struct piommu_domain *domain, uint64_t first, uint64_t last,
                               struct piommu_gather *gather, struct piommu_range *removed,
                               uint64_t *unmapped);

/**
 * Maps as piommu_domain_map what is not mapped in the range, and leaves alone what is mapped there
 * to the same memory with the same permissions: to be used where the same mapping may be asked for
 * more than once.
 *
 * @return as piommu_domain_map; -PIOMMU_EEXIST: something else is mapped in the range.
 *
 * Context: as piommu_domain_map; takes time in proportion to the leaves in the range.
 */
int piommu_domain_map_again(struct piommu_domain *domain, uint64_t iova, uint64_t physical,
                            uint64_t size, piommu_prot prot);

/**
 * Maps a first portion of a range, with bounded work. To be called again with what is left of the
 * range, from iova + *mapped and physical + *mapped on. The calls need not follow each other at
 * once; each portion can be used when its call has returned.
 *
 * @param budget how many leaves to store in this call; 0 counts as 1. Where contiguous groups are
 *               in use a call may store one of them more. A backend that is told each mapping is
 *               told of the whole range at once.
 * @param mapped set to the bytes mapped by this call, from iova on; 0 after an error.
 * @return 0: all; -PIOMMU_EAGAIN: a part; else as piommu_domain_map, and nothing is mapped by this
 *         call.
 *
 * What the calls together have mapped can be unmapped by one call with the whole range, if that is
 * in page tables; else by one for each portion, or by piommu_domain_unmap_some. Context: as
 * piommu_domain_map.
 */
int piommu_domain_map_some(struct piommu_domain *domain, uint64_t iova, uint64_t physical,
                           uint64_t size, piommu_prot prot, uint32_t budget, uint64_t *mapped);

/**
 * Unmaps a first portion of a range, with bounded work. To be called again with what is left of the
 * range, from iova + *done on. In between the gather may be synced, so that the sync is bounded,
 * too.
 *
 * @param budget how many leaves (or mapping requests) to remove and holes to skip in this call; 0
 *               counts as 1.
 * @param done     set to the bytes of the range that are behind, holes included; 0 after an error.
 * @param unmapped set to the bytes removed. May be NULL.
 * @return 0: the range is done (also if nothing was mapped); -PIOMMU_EAGAIN: a part; else as
 *         piommu_domain_unmap, and nothing was changed by this call.
 *
 * Context: as piommu_domain_unmap.
 */
int piommu_domain_unmap_some(struct piommu_domain *domain, uint64_t iova, uint64_t size,
                             uint32_t budget, struct piommu_gather *gather, uint64_t *done,
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
 * @return 0; -PIOMMU_EINVAL; -PIOMMU_ERANGE; -PIOMMU_ERESERVED; -PIOMMU_ENOENT: nothing is mapped
 *         in the range; -PIOMMU_EHOLE: a hole would open, and is not allowed; -PIOMMU_ENOMEM. After
 *         these nothing was changed. -PIOMMU_EIO: the hardware has refused to take again what
 *         stays: it is unmapped, too, and has been forgotten. -PIOMMU_EFAILED: the instance has
 *         failed, now or earlier; if now, what was to go and what was cut is unmapped, and its
 *         memory must be kept until piommu_domain_destroy has succeeded.
 *
 * Context: any that may allocate; may wait for the hardware. Mapping, by range.
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
 *         -PIOMMU_ERESERVED, -PIOMMU_ECUT: as piommu_domain_unmap; -PIOMMU_ENOENT: nothing is
 *         mapped in the range; -PIOMMU_EHOLE: as piommu_domain_unmap_cut. After these nothing was
 *         changed. -PIOMMU_EIO: the hardware has refused the new permissions: the range is
 *         unmapped, and has been forgotten. -PIOMMU_EFAILED: the instance has failed, now or
 *         earlier; if now, the range
 *         has the old permissions or the new ones, or is unmapped, if a unit had refused them.
 *
 * Context: any; may wait for the hardware. Allocates nothing. Mapping, by range.
 */
int piommu_domain_protect(struct piommu_domain *domain, uint64_t iova, uint64_t size,
                          piommu_prot prot, unsigned int flags, uint64_t *changed);

/**
 * Does as piommu_domain_protect for a first portion of a range, with bounded work: for the write
 * protection of a big guest. To be called again with what is left of the range, from iova + *done
 * on.
 *
 * @param budget  how many leaves (or mapping requests) to change and holes to skip in this call; 0
 *                counts as 1.
 * @param done    set to the bytes of the range that are behind, holes included; 0 after an error.
 * @param changed set to the bytes that are mapped in what is behind. May be NULL.
 * @return 0: the range is done (also if nothing was mapped); -PIOMMU_EAGAIN: a part; else as
 *         piommu_domain_protect for this portion; -PIOMMU_ECUT is judged over the whole range.
 *
 * Context: as piommu_domain_protect.
 */
int piommu_domain_protect_some(struct piommu_domain *domain, uint64_t iova, uint64_t size,
                               piommu_prot prot, unsigned int flags, uint32_t budget,
                               uint64_t *done, uint64_t *changed);

/**
 * Maps a range to other memory, or with other permissions, whatever was mapped there, and makes the
 * hardware forget what was. What is mapped so already stays as it is, if nothing else has to be
 * taken out. If something has, DMA to the range may fail meanwhile, unless the domain has no
 * device; that has to be allowed. Leaves or requests that reach beyond the range are cut as by
 * piommu_domain_unmap_cut.
 *
 * @param flags    0 or PIOMMU_ALLOW_HOLE.
 * @param replaced set to the bytes that were mapped otherwise before. May be NULL.
 * @return as piommu_domain_map, but for -PIOMMU_EEXIST, which only what is not yet synced causes;
 *         -PIOMMU_EHOLE: a hole would open, and is not allowed. After these nothing was changed.
 *         -PIOMMU_EIO: the hardware has refused the new mapping, or what stays of a request that
 *         was cut: if something had to be taken out, the range is unmapped, and has been forgotten;
 *         if not, nothing was changed. -PIOMMU_EFAILED: the instance has failed, now or earlier; if
 *         now, the range is unmapped, and the memory that was mapped there must be kept as
 *         piommu_domain_sync says.
 *
 * Context: any that may allocate; may wait for the hardware. Mapping, also in a domain with
 * `disjoint`.
 */
int piommu_domain_replace(struct piommu_domain *domain, uint64_t iova, uint64_t physical,
                          uint64_t size, piommu_prot prot, unsigned int flags, uint64_t *replaced);

/**
 * Makes the hardware forget a range of a domain, with walk caches. For shared domains, whose tables
 * the host changes itself; in paging domains all calls do this where it is needed.
 *
 * @param first the first address; any.
 * @param last  the last one, not below first.
 * @return 0: no translation of the range from before the call is used any more; -PIOMMU_EINVAL: not
 *         a shared or paging domain, or backends that are told each mapping; -PIOMMU_EFAILED: an
 *         instance did not obey, now or earlier (all others have done it): what was taken away must
 *         be kept as piommu_domain_sync says.
 *
 * Context: any; may wait for the hardware. Runs beside itself and all Mapping of the domain, but
 * not beside Registration that counts as a call on it.
 */
int piommu_domain_invalidate(struct piommu_domain *domain, uint64_t first, uint64_t last);

/**
 * Fills a deferred domain, step by step, before its first device is attached: from the record of
 * calls made before, or through piommu_domain_config::next_frames.
 *
 * The first call makes the tables and the hardware contexts. From then on the domain knows how far
 * it has come: calls that map, unmap, protect or replace addresses below that point change the
 * tables; above it they change the record, or, without a record, do nothing and return 0 (with 0
 * bytes), since next_frames will tell. A range across the point is taken apart there. What one call
 * has mapped contiguously is one piece of the record, which counts as a mapping request does: unmap
 * does not cut it, unmap_cut does. So a hypervisor holds one lock around each step, and around each
 * change of its own record together with the call that tells it here; between the steps nothing is
 * held.
 *
 * When it has returned 0 the domain is as a PAGING domain, and groups can be attached.
 *
 * @param budget how many leaves to store, or mapping requests to record, in this call; 0 counts as
 *               1.
 * @return 0: all is there, also if it was before; -PIOMMU_EAGAIN: call again; -PIOMMU_EINVAL: not a
 *         deferred domain; -PIOMMU_ENOMEM, -PIOMMU_ENOSPC (no hardware context): may be called
 *         again later; an error of next_frames; or an error of piommu_domain_map for what
 *         next_frames has told (-PIOMMU_EBADMSG if it went backwards): the domain stays as far as
 *         it is, and the call may be made again; -PIOMMU_EFAILED.
 *
 * Context: task. Registration, and mapping of the domain.
 */
int piommu_domain_populate(struct piommu_domain *domain, uint32_t budget);

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
 * what was unmapped and not synced. Mapping, by range.
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
 * Context: any. Mapping, by range.
 */
int piommu_domain_lookup(struct piommu_domain *domain, uint64_t iova,
                         struct piommu_translation *result);

#ifdef __cplusplus
}
#endif

#endif
