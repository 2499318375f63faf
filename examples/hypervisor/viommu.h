/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef VIOMMU_H
#define VIOMMU_H

/* The virtio-iommu that a guest has of its own, behind virtio-mmio: the library's other half. */

#include <piommu/piommu.h>
#include <piommu/viommu-device.h>

struct guest;

/* What the guest may have at a time. */
#define VIOMMU_DOMAINS 2u
#define VIOMMU_BYTES   16384u /* of the engine's memory, for these and their mappings */

struct viommu {
    struct guest *guest;
    struct piommu_viommu_device *device;
    struct piommu_viommu_endpoint *endpoint; /* NULL: the guest has no device */
    bool work;                               /* viommu_service is to be called */
    unsigned int portions;                   /* how often it was, and left something */
};

/*
 * Gives a guest an IOMMU, which can map what the machine's own can. Until its driver starts it,
 * devices reach what the guest's domain holds. The name is that of the domains that it makes.
 */
void viommu_create(struct viommu *viommu, const char *name, struct guest *guest,
                   const struct piommu_requirements *requirements);
/* The guest does not run any more, and has no device. */
void viommu_destroy(struct viommu *viommu);

/* Puts a device that is blocked behind it, and takes it back, blocked. There is one at most. */
void viommu_add_device(struct viommu *viommu, uint32_t endpoint, struct piommu_device *device);
void viommu_remove_device(struct viommu *viommu);

/* A fault of that device, for the guest. Can be called from a fault callback. */
void viommu_fault(struct viommu *viommu, uint32_t endpoint, const struct piommu_fault *fault);

/* Does a small part of what there is to do, if there is anything; whether there is more. */
bool viommu_service(struct viommu *viommu);

struct piommu_viommu_statistics viommu_statistics(const struct viommu *viommu);

#endif
