/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* Masters of the device tree: what they are, and whose. */

#include "piommu-xen.h"

static void forget(device_t *dev)
{
    xfree(dev->iommu);
    dev->iommu = NULL;
}

/*
 * The unit is named by its node, so it need not be there yet. The caller lets one device name one
 * unit only; the library would take several.
 */
int piommu_xen_dt_xlate(device_t *dev, const struct dt_phandle_args *spec)
{
    struct piommu_xen_device *device = dev->iommu;

    if (spec->args_count != 1) {
        return -EINVAL;
    }
    if (device == NULL) {
        device = xzalloc(struct piommu_xen_device);
        dev->iommu = device;
    }
    if (device == NULL) {
        return -ENOMEM;
    }
    if (device->id_count == PIOMMU_DEVICE_MAX_IDS) {
        forget(dev);
        return -ENOSPC;
    }
    device->ids[device->id_count++] = (struct piommu_device_id){
        .key = (uint64_t)(uintptr_t)spec->np,
        .id = spec->args[0],
    };
    return 0;
}

static int add(struct piommu_xen_device *device, struct dt_device_node *node)
{
    const struct piommu_device_config config = {
        .ids = device->ids,
        .id_count = device->id_count,
        .name = dt_node_full_name(node),
        .owner = device,
    };
    int error = piommu_device_add(piommu_xen.context, &config, &device->device);

    if (error == 0) {
        device->next = piommu_xen.devices;
        piommu_xen.devices = device;
        dt_device_set_protected(node);
    }
    return piommu_xen_error(error);
}

/* PCI functions need requester IDs and, on Gen4, the bridge's steering: docs/porting-xen.md. */
int piommu_xen_add_device(uint8_t devfn, device_t *dev)
{
    struct piommu_xen_device *device = dev->iommu;
    int error;

    (void)devfn;
    if (!dev_is_dt(dev) || device == NULL) {
        return -ENODEV;
    }
    if (device->device != NULL) {
        return -EEXIST;
    }
    spin_lock(&piommu_xen.registration);
    error = add(device, dev_to_dt(dev));
    spin_unlock(&piommu_xen.registration);
    if (error != 0 && device->device == NULL) {
        forget(dev);
    }
    return error;
}

static void take_out_of_list(struct piommu_xen_device *device)
{
    struct piommu_xen_device **place = &piommu_xen.devices;

    while (*place != device) {
        place = &(*place)->next;
    }
    *place = device->next;
}

int piommu_xen_remove_device(uint8_t devfn, device_t *dev)
{
    struct piommu_xen_device *device = dev->iommu;
    int error;

    (void)devfn;
    if (device == NULL || device->device == NULL) {
        return -ENODEV;
    }
    spin_lock(&piommu_xen.registration);
    error = piommu_device_remove(device->device);
    if (error == 0) {
        take_out_of_list(device);
        dev_to_dt(dev)->is_protected = false;
    }
    spin_unlock(&piommu_xen.registration);
    if (error == 0) {
        forget(dev);
    }
    return piommu_xen_error(error);
}

/* ---- Whose they are ---- */

/* Devices that the hardware cannot tell apart (they share a micro-TLB) go to one guest only. */
static bool is_with_another(const struct piommu_xen_device *device,
                            const struct piommu_xen_domain *domain)
{
    struct piommu_device_info info;

    piommu_device_get_info(device->device, &info);
    return info.domain != NULL && info.domain != domain->domain;
}

static int attach(struct piommu_xen_device *device, struct piommu_xen_domain *domain)
{
    int error;

    if (device->owner != NULL || is_with_another(device, domain)) {
        return -EBUSY;
    }
    error = piommu_xen_prepare_domain(domain);
    if (error != 0) {
        return error;
    }
    spin_lock(&domain->lock);
    error = piommu_group_attach(piommu_device_group(device->device), domain->domain);
    spin_unlock(&domain->lock);
    if (error == 0) {
        device->owner = domain->d;
    }
    return piommu_xen_error(error);
}

int piommu_xen_assign_device(struct domain *d, uint8_t devfn, device_t *dev, uint32_t flag)
{
    struct piommu_xen_device *device = dev->iommu;
    struct piommu_xen_domain *domain = dom_iommu(d)->arch.priv;
    int error;

    (void)devfn;
    (void)flag;
    if (device == NULL || device->device == NULL) {
        return -ENODEV;
    }
    if (domain == NULL) {
        return -EINVAL;
    }
    spin_lock(&piommu_xen.registration);
    error = attach(device, domain);
    spin_unlock(&piommu_xen.registration);
    return error;
}

/* Does the guest have another device of this group? Then the group stays where it is. */
static bool has_companion(const struct piommu_xen_device *device)
{
    const struct piommu_group *group = piommu_device_group(device->device);

    for (const struct piommu_xen_device *other = piommu_xen.devices; other != NULL;
         other = other->next) {
        if (other != device && other->owner == device->owner &&
            piommu_device_group(other->device) == group) {
            return true;
        }
    }
    return false;
}

/* A device that nobody has is blocked: it reaches nothing. */
static int detach(struct piommu_xen_device *device, struct domain *d)
{
    struct piommu_xen_domain *domain = dom_iommu(d)->arch.priv;
    int error = 0;

    if (device->owner != d) {
        return -ESRCH;
    }
    if (!has_companion(device)) {
        spin_lock(&domain->lock);
        error = piommu_group_detach(piommu_device_group(device->device));
        spin_unlock(&domain->lock);
    }
    if (error == 0) {
        device->owner = NULL;
    }
    return piommu_xen_error(error);
}

/*
 * `t` NULL: to nobody; dom_io: in quarantine, which is the same. While others of its group stay
 * with `s`, so does what the device can reach: the toolstack deassigns all before it gives one to
 * somebody else, and assigning it is refused until then.
 */
int piommu_xen_reassign_device(struct domain *s, struct domain *t, uint8_t devfn, device_t *dev)
{
    struct piommu_xen_device *device = dev->iommu;
    int error;

    if (t != NULL && t != dom_io && !is_hardware_domain(t)) {
        return -EPERM;
    }
    if (device == NULL || device->device == NULL) {
        return -ENODEV;
    }
    if (t == s) {
        return 0;
    }
    spin_lock(&piommu_xen.registration);
    error = detach(device, s);
    spin_unlock(&piommu_xen.registration);
    if (error == 0 && t != NULL && t != dom_io) {
        error = piommu_xen_assign_device(t, devfn, dev, 0);
    }
    return error;
}
