/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_DEVICE_H
#define PIOMMU_DEVICE_H

/**
 * @file device.h
 * Devices (DMA masters) and groups (sets of devices that the hardware cannot tell apart).
 */

#include <piommu/domain.h>

#ifdef __cplusplus
extern "C" {
#endif

struct piommu_group;

/** One ID of a device: what its DMA carries, and which IOMMU looks at it. */
struct piommu_device_id {
    struct piommu_instance *instance; /**< the IOMMU; NULL: the one that has `key` */
    uint64_t key; /**< see piommu_instance_config; that instance may come later */
    uint32_t id;  /**< endpoint, stream or micro-TLB number */
};

/** Why addresses are reserved. */
enum piommu_reserved_kind {
    PIOMMU_RESERVED,     /**< must not be mapped */
    PIOMMU_RESERVED_MSI, /**< writes to it are interrupts and are not translated */
    /**
     * The device uses this memory all the time, by its physical addresses (a frame buffer that
     * firmware has set up). It is mapped so, readable and writable, in every paging domain that the
     * device is in: from before it enters until after it has left. It takes whole granules. (The
     * first device that enters a domain whose backend is told each mapping is there for a moment
     * before any mapping is.) Where such regions of several devices overlap in part, a backend that
     * is told each mapping may keep what one of them has left until the others have left, too.
     */
    PIOMMU_RESERVED_DIRECT,
    /**
     * As PIOMMU_RESERVED_DIRECT, but the device can do without once a driver has it. It is mapped
     * in domains whose owner consents (piommu_domain_config::map_relaxable), and means nothing in
     * others.
     */
    PIOMMU_RESERVED_RELAXABLE,
};

/** Addresses that mean something else than memory to a device. */
struct piommu_reserved_region {
    struct piommu_range range;      /**< where */
    enum piommu_reserved_kind kind; /**< why */
};

/** What a device is. */
struct piommu_device_config {
    /**
     * Every ID that its DMA may carry: copied. What a bridge on the way may put in place of the
     * device's own (a requester alias) is one of them. All different.
     */
    const struct piommu_device_id *ids;
    size_t id_count; /**< how many: 1 to PIOMMU_DEVICE_MAX_IDS */
    /**
     * Reserved regions that the host knows of, besides those that the hardware reports: copied.
     */
    const struct piommu_reserved_region *regions;
    size_t region_count; /**< how many: 0 to PIOMMU_DEVICE_MAX_REGIONS */
    /**
     * Not 0: all devices with this number are in one group, because they can reach each other
     * without passing the IOMMU, or can send with each other's IDs (functions below a bridge
     * without access control).
     */
    uint64_t group_key;
    /** It may be hostile: layers above do not trade its isolation for speed. */
    bool untrusted;
    const char *name; /**< for log lines and faults; must stay valid; may be NULL */
    void *owner;      /**< cookie for fault reports */
};

/** The most IDs that one device can have. */
#define PIOMMU_DEVICE_MAX_IDS 64u
/** The most reserved regions that the host can state for one device. */
#define PIOMMU_DEVICE_MAX_REGIONS 256u

/** What is known of a device. */
struct piommu_device_info {
    const char *name;             /**< as configured */
    void *owner;                  /**< as configured */
    bool untrusted;               /**< as configured */
    bool waiting;                 /**< some of its instances are not there yet */
    size_t id_count;              /**< how many IDs it has */
    struct piommu_group *group;   /**< see piommu_device_group */
    struct piommu_domain *domain; /**< the domain of its group; NULL: none, it is blocked */
    bool fault_blocked;           /**< blocked because of a fault, although it is in a domain */
};

/** How an ID is. */
enum piommu_id_state {
    PIOMMU_ID_WAITING, /**< its instance is not there yet: nothing is known of it */
    PIOMMU_ID_BLOCKED, /**< it reaches nothing, in whatever domain its group is */
    /** It reaches what its domain grants, or if its instance is suspended, will then. */
    PIOMMU_ID_ATTACHED,
    /**
     * The hardware has refused to release it, and the instance could not be stopped: it may still
     * reach what it reached before.
     */
    PIOMMU_ID_DOUBTFUL,
};

/** What is known of an ID. */
struct piommu_id_info {
    struct piommu_instance *instance; /**< NULL: it waits for it */
    uint64_t key;                     /**< as configured */
    uint32_t id;                      /**< the number */
    enum piommu_id_state state;       /**< how it is */
};

/**
 * Adds a device. When it returns success the device is blocked (or in the domain that
 * piommu_context_config::choose_domain has named), and the isolation guarantee holds for it, until
 * piommu_device_remove is called. For an ID whose instance is not there yet it begins when that
 * instance comes: the device waits, and is completed then.
 *
 * A device joins the group of every device with which it shares an ID, a group number of the
 * backend, or its group_key; groups that it connects become one. All of them must be blocked.
 *
 * @return 0; -PIOMMU_EINVAL; -PIOMMU_ENOENT: the hardware does not know an ID;
 *         -PIOMMU_EOPNOTSUPP: the configuration of its backend denies an ID to devices;
 *         -PIOMMU_EBUSY: a group that it would join is attached to a domain, or an instance is
 *         suspended;
 *         -PIOMMU_EMIXED: an instance belongs to another context; -PIOMMU_ENOMEM;
 *         -PIOMMU_EBADMSG: the hardware describes the ID in an impossible way; -PIOMMU_EIO: it
 *         refused; -PIOMMU_EFAILED: an instance has failed, now or earlier; or an error of
 *         piommu_group_attach for the domain that was chosen. After an error the device is not
 *         added; but if an instance failed in that attach and could not be stopped it stays, and
 *         *device is set.
 *
 * Context: task; may wait. Registration.
 */
int piommu_device_add(struct piommu_context *context, const struct piommu_device_config *config,
                      struct piommu_device **device);

/**
 * Removes a device; the host must have stopped it. Its group must be blocked, or have other
 * members. The hardware is left blocking the IDs that only this device has. When it returns success
 * no fault or trace callback with the device's cookie runs any more, and none will. NULL is
 * ignored.
 *
 * @return 0; -PIOMMU_EBUSY: it is alone in its group and the group is attached to a domain, or a
 *         fault callback does not return: nothing was changed; -PIOMMU_EFAILED: the instance has
 *         failed and could not be stopped.
 *
 * Context: task; may wait; not from a fault callback. Registration.
 */
int piommu_device_remove(struct piommu_device *device);

/** Fills in what is known of a device. Registration. */
void piommu_device_get_info(const struct piommu_device *device, struct piommu_device_info *info);

/**
 * Tells the IDs of a device and how they are, one by one.
 *
 * @param index 0, 1, ... in the order of piommu_device_config::ids.
 * @param info  set on success.
 * @return 0; -PIOMMU_EINVAL; -PIOMMU_ENOENT: there are no more.
 *
 * Context: any. Registration.
 */
int piommu_device_get_id(const struct piommu_device *device, size_t index,
                         struct piommu_id_info *info);

/**
 * The group of a device. Never NULL. It stays the same until a device is added, or completed, that
 * connects it to another group. Runs beside anything but the adding and removal of devices.
 */
struct piommu_group *piommu_device_group(const struct piommu_device *device);

/**
 * Tells the reserved regions of a device, one by one: those of its configuration, then those that
 * the hardware has reported.
 *
 * @param index  0, 1, ...
 * @param region set on success.
 * @return 0; -PIOMMU_EINVAL; -PIOMMU_ENOENT: there are no more.
 *
 * Context: any. Registration.
 */
int piommu_device_reserved_region(const struct piommu_device *device, size_t index,
                                  struct piommu_reserved_region *region);

/**
 * Moves a group, with all its IDs, from where it is into a domain. At no step can a device reach
 * memory that neither domain grants; a group with several IDs passes through blocked, and so does a
 * single one if the hardware cannot switch it at once. The caller quiesces the devices if a fault
 * meanwhile would hurt them. Attaching to the domain where the group is does nothing, but for a
 * group that is blocked because of a fault, which enters again.
 *
 * A domain takes in devices of other instances than it was created for, if their hardware can
 * honour all that is mapped in it; as long as such a device is in it, its aperture, granule and
 * permissions are what all of them can do. Direct regions of the devices are mapped before, and
 * unmapped after they have left: with page tables no gather of the domain may be pending then.
 *
 * @return 0; -PIOMMU_EINVAL; -PIOMMU_EWAITING: a device waits for an instance; -PIOMMU_EAGAIN: the
 *         domain is deferred and not populated: see piommu_domain_populate; -PIOMMU_EMIXED: the
 *         domain is of another context, or of instances of another kind, or with tables that the
 *         device's instance cannot walk; -PIOMMU_ERANGE, -PIOMMU_EOPNOTSUPP: a mapping in the
 *         domain is outside the instance's aperture or not on its granule, or has permissions that
 *         it cannot express, or a direct region of a device cannot be mapped so; -PIOMMU_ERESERVED:
 *         a mapping in the domain overlaps a reserved region of a device; -PIOMMU_ENOENT: the
 *         hardware does not know an ID any more; -PIOMMU_ENOSPC: no hardware context is left;
 *         -PIOMMU_ENOMEM, -PIOMMU_EOPNOTSUPP, -PIOMMU_EIO: refused by the hardware. After these the
 *         group is where it was. -PIOMMU_EBLOCKED: refused, and going back failed too: the group is
 *         blocked. -PIOMMU_EFAILED: an instance has failed, now or earlier: all its devices are
 *         blocked as far as it obeys, and the group is in no domain; or, if the unit could not be
 *         stopped, in the domain where it was or in the one where it was to go, as
 *         piommu_device_get_info says; piommu_device_get_id tells which IDs are in doubt. Also if
 *         another instance of the domain has failed, and a direct region can
 * not be mapped: then the group is where it was.
 *
 * Context: task; may wait. Registration.
 */
int piommu_group_attach(struct piommu_group *group, struct piommu_domain *domain);

/**
 * Takes a group out of its domain: it is blocked, and stays so until it is attached again. A group
 * that is blocked stays so.
 *
 * @return 0; -PIOMMU_EINVAL; -PIOMMU_EFAILED: an instance failed in this call and could not be
 *         stopped: its devices may still reach memory (piommu_device_get_id tells which), and the
 *         group stays in its domain; the call may be tried again.
 *
 * Context: task; may wait. Registration.
 */
int piommu_group_detach(struct piommu_group *group);

/**
 * piommu_group_attach for a device that is alone in its group.
 *
 * @return as piommu_group_attach; -PIOMMU_EGROUP: the group has other members, nothing was changed.
 */
int piommu_device_attach(struct piommu_device *device, struct piommu_domain *domain);

/**
 * piommu_group_detach for a device that is alone in its group.
 *
 * @return as piommu_group_detach; -PIOMMU_EGROUP: the group has other members, nothing was changed.
 */
int piommu_device_detach(struct piommu_device *device);

/**
 * Tells the address to which a device has to write its message-signalled interrupts, and makes it
 * work. If the doorbell lies in an MSI window of the device, or the device is in an identity
 * domain, that is the doorbell's own address. Otherwise the doorbell's page is mapped (as device
 * memory where that can be expressed; writable, and readable where write-only cannot be expressed)
 * in the software MSI window of the domain (piommu_domain_config::msi_window); it stays
 * until the domain is destroyed, and asking again gives the same address.
 *
 * @param doorbell physical address of the interrupt controller's register.
 * @param iova     set on success.
 * @return 0; -PIOMMU_EINVAL: the device is blocked, or in a shared domain; -PIOMMU_ENOSPC: the
 *         domain has no software MSI window, or it is full; or an error of piommu_domain_map.
 *
 * Context: any that may allocate; may wait for the hardware. Registration, and mapping of the
 * domain.
 */
int piommu_device_map_msi(struct piommu_device *device, uint64_t doorbell, uint64_t *iova);

#ifdef __cplusplus
}
#endif

#endif
