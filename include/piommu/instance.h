/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_INSTANCE_H
#define PIOMMU_INSTANCE_H

/**
 * @file instance.h
 * One IOMMU unit, driven by a backend.
 */

#include <piommu/context.h>

#ifdef __cplusplus
extern "C" {
#endif

struct piommu_backend;

/** What happens to DMA with an ID that nobody has added. */
enum piommu_unknown_ids {
    /** It is blocked, as far as the hardware can: the default. */
    PIOMMU_UNKNOWN_IDS_BLOCK = 0,
    /** It stays as firmware left it. Devices that are added are blocked all the same. */
    PIOMMU_UNKNOWN_IDS_LEAVE,
};

/** Options of an instance. Zero selects each default. */
struct piommu_instance_config {
    const char *name; /**< for log lines and faults; must stay valid; NULL: the backend's name */
    void *owner;      /**< cookie for fault reports and memory requests */
    enum piommu_unknown_ids unknown_ids; /**< policy for IDs that nobody has added */
    /** How long the hardware may take for one answer, in nanoseconds. Default: one second. */
    uint64_t timeout;
    /**
     * By which devices and other instances can name it before it exists: a node of the device tree,
     * or what else the host identifies IOMMUs by. Different for all instances of a context.
     * Default: none.
     */
    uint64_t key;
    /**
     * The key of the instance that this one is a part of: hardware that hangs below another unit
     * and shares its contexts (the cache units of a Renesas IPMMU). If there is no such instance
     * yet, this one waits, and is started when it comes. Default: none.
     */
    uint64_t parent_key;
    /** How many fault records are kept for piommu_instance_take_fault. Default: none. */
    uint32_t fault_records;
    /**
     * Storm limit: at most so many faults of one ID, and as many of all unknown IDs together, are
     * taken notice of in a second; others are counted only. Default: all are.
     */
    uint32_t fault_limit;
};

/** How an instance is. */
enum piommu_instance_state {
    PIOMMU_INSTANCE_RUNNING,   /**< it works */
    PIOMMU_INSTANCE_WAITING,   /**< for its parent; nothing is blocked yet */
    PIOMMU_INSTANCE_SUSPENDED, /**< see piommu_instance_suspend */
    PIOMMU_INSTANCE_FAILED,    /**< see piommu_instance_create */
};

/** What an instance can do. While it waits only name, backend and state mean something. */
struct piommu_instance_info {
    const char *name;                 /**< as configured */
    const char *backend;              /**< the backend's name */
    void *owner;                      /**< as configured */
    enum piommu_instance_state state; /**< how it is */
    struct piommu_range aperture;     /**< addresses that paging domains can map */
    uint64_t granule;                 /**< smallest unit of a mapping, in bytes */
    uint64_t leaf_sizes;              /**< sizes that are cheap to map; the lowest is the granule */
    piommu_prot prot;                 /**< all flags that some mapping may have */
    bool tables;                      /**< it walks page tables; if not, it takes requests */
    bool write_only;                  /**< write without read can be expressed */
    bool identity;                    /**< identity domains exist */
    bool shared;                      /**< shared domains exist; see piommu_requirements_get */
    bool atomic_switch;        /**< an ID goes from one domain to another without being blocked */
    bool suspend;              /**< piommu_instance_suspend works */
    bool failed;               /**< state is PIOMMU_INSTANCE_FAILED */
    uint64_t faults;           /**< fault reports received */
    uint64_t faults_held_back; /**< those of them that the storm limit has held back */
    uint64_t faults_dropped;   /**< records that found no room, and pushed out the oldest */
    /** Invalidations, or batches of requests to unmap; some may be missed by calls in parallel. */
    uint64_t invalidations;
};

/**
 * Finds and starts an IOMMU. When it returns success the isolation guarantee holds for unknown IDs
 * as their policy says; no device has a mapping. Instances that waited for this one are started,
 * then devices that waited for any of these are completed.
 *
 * Success with an instance that waits for its parent (see piommu_instance_get_info) means that
 * nothing was done in hardware yet. An instance that fails while devices are completed is there all
 * the same, and the call succeeds: its state and device_ready tell.
 *
 * An instance that stops answering, or refuses to forget a mapping, has *failed*: it is reset, so
 * that all its devices are blocked as far as it obeys; every further call that would need it
 * returns -PIOMMU_EFAILED. Its devices and domains can still be detached, removed and destroyed;
 * piommu_instance_recover tries to bring it back.
 *
 * @param context        where it belongs.
 * @param backend        which kind it is, e.g. piommu_virtio_iommu_backend().
 * @param backend_config what that backend needs to find it; the backend's header says its type. If
 *                       the instance has to wait, it must stay valid until it is started or
 *                       destroyed.
 * @param config         options, copied; NULL for the defaults.
 * @param instance       set on success.
 * @return 0; -PIOMMU_EINVAL (NULL, incomplete backend or shim, its own parent); -PIOMMU_EEXIST: the
 *         key is taken; -PIOMMU_ENOMEM; -PIOMMU_ENODEV: not such a device; -PIOMMU_EOPNOTSUPP: it
 *         lacks a feature that the library needs, the parent has another backend, or the library
 *         was built without page tables, which this backend takes, or without the transport;
 *         -PIOMMU_EBADMSG: it says impossible things of itself; -PIOMMU_EIO, -PIOMMU_ETIMEDOUT: it
 *         did not start; -PIOMMU_EFAILED: its parent has failed; -PIOMMU_EBUSY: its parent is
 *         suspended; or an error of a callback of the shim. After an error the unit is stopped,
 *         unless it was not found, or the library was built without what it takes to reach it; if
 *         it does not obey, the memory that it was given is never reused, and a log line says so.
 *
 * Context: task; may wait. Registration.
 */
int piommu_instance_create(struct piommu_context *context, const struct piommu_backend *backend,
                           const void *backend_config, const struct piommu_instance_config *config,
                           struct piommu_instance **instance);

/**
 * Stops an IOMMU and frees what belonged to it. The guarantee of isolation ends here. NULL is
 * ignored.
 *
 * @return 0; -PIOMMU_EBUSY: it has devices or domains, or is the parent of others;
 *         -PIOMMU_ETIMEDOUT: the unit did not stop, so its memory cannot be reused and nothing was
 *         freed: the call may be tried again.
 *
 * Context: task; may wait. Registration.
 */
int piommu_instance_destroy(struct piommu_instance *instance);

/** Fills in what an instance can do. Runs beside anything but its destruction. */
void piommu_instance_get_info(struct piommu_instance *instance, struct piommu_instance_info *info);

/**
 * Takes in what the hardware has to report: counts each fault, asks the fault callback, keeps a
 * record; and blocks the devices that the callback wants blocked. Takes in what became of posts
 * (post.h), and completes them. The host calls it when piommu_instance_interrupt says so, or
 * periodically.
 *
 * @param budget at most so many reports are handled.
 * @return the number of reports handled, not above budget; -PIOMMU_EINVAL; -PIOMMU_EFAILED: the
 *         instance has failed, now or earlier.
 *
 * Context: any in which it may wait: for the hardware while it blocks a device, or for the reset of
 * a unit that it finds broken; no longer than the instance's timeout for each. A suspended or
 * waiting instance has nothing to report. See context.h for what it may run beside.
 */
int piommu_instance_service(struct piommu_instance *instance, unsigned int budget);

/**
 * Does as piommu_instance_service what can be done without waiting: for the unit's interrupt
 * handler.
 *
 * @param more set to true if piommu_instance_service has to be called, where it may wait: devices
 *             are to be blocked (also after they were blocked at once: there it is completed), the
 *             unit is broken, or the budget was not enough for all that is known of. May be NULL.
 * @return as piommu_instance_service; a unit that is found broken has failed, and is not reset yet.
 *
 * Context: any. Neither allocates nor waits.
 */
int piommu_instance_interrupt(struct piommu_instance *instance, unsigned int budget, bool *more);

/**
 * Takes the oldest record out of the instance's ring of faults. When a device is removed, or a
 * domain is destroyed, its cookie and name in the records become NULL.
 *
 * @param fault set on success.
 * @return 0; -PIOMMU_ENOENT: there is none; -PIOMMU_EINVAL.
 *
 * Context: any. Runs beside anything but the instance's destruction.
 */
int piommu_instance_take_fault(struct piommu_instance *instance, struct piommu_fault *fault);

/**
 * Makes a unit ready to lose its power: when the system sleeps, or while none of its masters run.
 * The host has stopped the masters, and keeps them so until piommu_instance_resume has returned.
 * What the hardware holds is given up; what the library knows stays. Until then domains can be
 * mapped, unmapped and synced (without any access to this unit), and groups can be attached and
 * detached. Devices cannot be added.
 *
 * @return 0, also if it is suspended; -PIOMMU_EINVAL; -PIOMMU_EOPNOTSUPP: the backend cannot do
 *         this, or the library was built without; -PIOMMU_EBUSY: it waits for its parent, or an
 *         instance that has it as parent is not suspended; -PIOMMU_EFAILED: the instance has
 *         failed, now or earlier.
 *
 * Context: task; may wait. Registration. Not beside servicing of any instance.
 */
int piommu_instance_suspend(struct piommu_instance *instance);

/**
 * Programs a unit again, from what the library knows, after its power came back: first it blocks
 * every ID, then each group enters its domain. When it returns success the isolation guarantee
 * holds again, and the masters may run.
 *
 * @return 0, also if it is not suspended; -PIOMMU_EINVAL; -PIOMMU_EBUSY: its parent is suspended;
 *         -PIOMMU_EFAILED: the unit could not be programmed, or its parent has failed: it has
 *         failed, too.
 *
 * Context: task; may wait. Registration. Not beside servicing of any instance.
 */
int piommu_instance_resume(struct piommu_instance *instance);

/**
 * Brings an instance back that has failed (also while it was suspended): stops it if that could not
 * be confirmed yet, resets it, blocks every ID, and lets each group enter its domain again with all
 * that is mapped there, from what the library knows. Groups that are blocked because of a fault
 * stay so. What was parked since a sync has failed is free after the next sync that succeeds.
 *
 * @return 0, also if it has not failed; -PIOMMU_EINVAL; -PIOMMU_EOPNOTSUPP: the backend cannot do
 *         this, or the library was built without; -PIOMMU_EBUSY: its parent has failed or is
 *         suspended, or it was never started;
 *         -PIOMMU_ETIMEDOUT: it does not stop, so it may still use what it had: nothing was
 *         changed, and the call may be tried again; -PIOMMU_EFAILED: it does not work: it has
 *         failed again; or an error of piommu_group_attach, for a group of which the failure had
 *         left some IDs blocked, and they still are: the instance works.
 *
 * Context: task; may wait. Registration. Not beside servicing of any instance.
 */
int piommu_instance_recover(struct piommu_instance *instance);

#ifdef __cplusplus
}
#endif

#endif
