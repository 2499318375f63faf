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
struct piommu_instance;

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
};

/** What an instance can do. */
struct piommu_instance_info {
    const char *name;             /**< as configured */
    const char *backend;          /**< the backend's name */
    struct piommu_range aperture; /**< addresses that paging domains can map */
    uint64_t granule;             /**< smallest unit of a mapping, in bytes */
    uint64_t leaf_sizes;          /**< sizes that are cheap to map; the lowest is the granule */
    piommu_prot prot;             /**< all flags that some mapping may have */
    bool write_only;              /**< write without read can be expressed */
    bool identity;                /**< identity domains exist */
    bool failed;     /**< see piommu_instance_create; nothing works but taking it down */
    uint64_t faults; /**< fault reports received */
};

/**
 * Finds and starts an IOMMU. When it returns success the isolation guarantee holds for unknown IDs
 * as their policy says; no device has a mapping.
 *
 * An instance that stops answering, or refuses to forget a mapping, has *failed*: it is reset, so
 * that all its devices are blocked as far as it obeys; every further call that would need it
 * returns -PIOMMU_EFAILED. Its devices and domains can still be detached, removed and destroyed.
 *
 * @param context        where it belongs.
 * @param backend        which kind it is, e.g. piommu_virtio_iommu_backend().
 * @param backend_config what that backend needs to find it; the backend's header says its type.
 * @param config         options, copied; NULL for the defaults.
 * @param instance       set on success.
 * @return 0; -PIOMMU_EINVAL (NULL, incomplete backend or shim); -PIOMMU_ENOMEM; -PIOMMU_ENODEV: not
 *         such a device; -PIOMMU_EOPNOTSUPP: it lacks a feature that the library needs;
 *         -PIOMMU_EBADMSG: it says impossible things of itself; -PIOMMU_EIO, -PIOMMU_ETIMEDOUT: it
 *         did not start; or an error of a callback of the shim. After an error the unit is stopped;
 *         if it does not obey, the memory that it was given is never reused, and a log line says
 *         so.
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
 * @return 0; -PIOMMU_EBUSY: it has devices or domains; -PIOMMU_ETIMEDOUT: the unit did not stop, so
 *         its memory cannot be reused and nothing was freed: the call may be tried again.
 *
 * Context: task; may wait. Registration.
 */
int piommu_instance_destroy(struct piommu_instance *instance);

/** Fills in what an instance can do. Runs beside anything but its destruction. */
void piommu_instance_get_info(struct piommu_instance *instance, struct piommu_instance_info *info);

/**
 * Takes in what the hardware has to report and calls the fault callback for each fault. The host
 * calls it from the unit's interrupt, or periodically.
 *
 * @param budget at most so many reports are handled.
 * @return the number of reports handled, not above budget; -PIOMMU_EINVAL; -PIOMMU_EFAILED: the
 *         instance has failed, now or earlier.
 *
 * Context: any. Allocates nothing, and does not wait, unless it is this call that finds the unit
 * broken: then it waits for the unit's reset, no longer than the instance's timeout. See context.h
 * for what it may run beside.
 */
int piommu_instance_service(struct piommu_instance *instance, unsigned int budget);

#ifdef __cplusplus
}
#endif

#endif
