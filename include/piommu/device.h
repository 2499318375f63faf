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

struct piommu_device;
struct piommu_group;

/** What a device is. */
struct piommu_device_config {
    struct piommu_instance *instance; /**< the IOMMU that it is behind */
    const uint32_t *ids;              /**< the IDs that its DMA carries; copied */
    size_t id_count;                  /**< how many: 1 to PIOMMU_DEVICE_MAX_IDS, all different */
    const char *name;                 /**< for log lines and faults; must stay valid; may be NULL */
    void *owner;                      /**< cookie for fault reports */
};

/** The most IDs that one device can have. */
#define PIOMMU_DEVICE_MAX_IDS 64u

/** Why addresses are reserved. */
enum piommu_reserved_kind {
    PIOMMU_RESERVED,     /**< must not be mapped */
    PIOMMU_RESERVED_MSI, /**< writes to it are interrupts and are not translated */
};

/** Addresses that mean something else than memory to a device. */
struct piommu_reserved_region {
    struct piommu_range range;      /**< where */
    enum piommu_reserved_kind kind; /**< why */
};

/**
 * Adds a device. When it returns success the device is blocked, and the isolation guarantee holds
 * for it, until piommu_device_remove is called.
 *
 * A device with an ID that another device has joins that one's group, which must be blocked then.
 *
 * @return 0; -PIOMMU_EINVAL; -PIOMMU_ENOENT: the hardware does not know an ID; -PIOMMU_EBUSY: the
 *         group it would join is attached to a domain; -PIOMMU_EGROUP: its IDs belong to two
 *         groups; -PIOMMU_ENOMEM; -PIOMMU_EBADMSG: the hardware describes the ID in an impossible
 *         way; -PIOMMU_EIO: it refused; -PIOMMU_EFAILED: the instance has failed, now or earlier.
 *
 * Context: task; may wait. Registration.
 */
int piommu_device_add(const struct piommu_device_config *config, struct piommu_device **device);

/**
 * Removes a device; the host must have stopped it. Its group must be blocked (or have other members
 * that keep the IDs). The hardware is left blocking the device's IDs. NULL is ignored.
 *
 * @return 0; -PIOMMU_EBUSY: it is alone in its group and the group is attached to a domain;
 *         -PIOMMU_EFAILED: the instance has failed and could not be stopped.
 *
 * Context: task; may wait. Registration. piommu_instance_service must not be running on its
 * instance.
 */
int piommu_device_remove(struct piommu_device *device);

/** The group of a device. Never NULL. Runs beside anything but the device's removal. */
struct piommu_group *piommu_device_group(const struct piommu_device *device);

/**
 * Tells the reserved regions of a device, one by one.
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
 * memory that neither domain grants; a group with several IDs passes through blocked. The caller
 * quiesces the devices if a fault meanwhile would hurt them. Attaching to the domain where the
 * group is does nothing.
 *
 * @return 0; -PIOMMU_EINVAL; -PIOMMU_EMIXED: the domain is for another instance; -PIOMMU_ERESERVED:
 *         a mapping in the domain overlaps a reserved region of a device; -PIOMMU_ENOENT: the
 *         hardware does not know an ID any more; -PIOMMU_ENOMEM, -PIOMMU_EOPNOTSUPP, -PIOMMU_EIO:
 *         refused by the hardware. After these the group is where it was. -PIOMMU_EBLOCKED:
 *         refused, and going back failed too: the group is blocked. -PIOMMU_EFAILED: the instance
 *         has failed, now or earlier: all its devices are blocked as far as it obeys, and the group
 *         is in no domain; or, if the unit could not be stopped, still in its old one.
 *
 * Context: task; may wait. Registration.
 */
int piommu_group_attach(struct piommu_group *group, struct piommu_domain *domain);

/**
 * Takes a group out of its domain: it is blocked. A group that is blocked stays so.
 *
 * @return 0; -PIOMMU_EINVAL; -PIOMMU_EFAILED: the instance failed in this call and could not be
 *         stopped: its devices may still reach memory, and the group stays in its domain; the call
 *         may be tried again.
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

#ifdef __cplusplus
}
#endif

#endif
