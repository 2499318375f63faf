/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_FAULT_H
#define PIOMMU_FAULT_H

/**
 * @file fault.h
 * What a device was refused.
 */

#include <piommu/types.h>

/** Why an access was refused, as far as the hardware says. */
enum piommu_fault_reason {
    PIOMMU_FAULT_UNKNOWN, /**< the hardware does not say */
    PIOMMU_FAULT_BLOCKED, /**< the device is in no domain */
    PIOMMU_FAULT_MAPPING, /**< nothing is mapped there, or the access is not allowed */
};

/**
 * One report. It holds the host's own cookies, never a pointer to an object of the library. Devices
 * may report one bad access in many pieces, or drop reports when there are too many.
 */
struct piommu_fault {
    void *instance_owner;            /**< cookie of the instance */
    void *device_owner;              /**< cookie of the device, or NULL if no device has the ID */
    void *domain_owner;              /**< cookie of the domain that it was in, or NULL if in none */
    const char *instance_name;       /**< name of the instance, or NULL */
    const char *device_name;         /**< name of the device, or NULL */
    uint32_t id;                     /**< the endpoint or stream ID that the hardware named */
    enum piommu_fault_reason reason; /**< why */
    bool iova_valid;                 /**< iova means something */
    bool read;                       /**< known to be a read; if neither is set, not known */
    bool write;                      /**< known to be a write */
    uint64_t iova;                   /**< the address that the device used */
    uint32_t raw;                    /**< the hardware's own status, for a log */
};

/**
 * Takes a fault report. Called from piommu_instance_service, in its context, with no lock held. It
 * must not call the library, except piommu_domain_lookup where the caller's own serialisation
 * allows it.
 */
typedef void piommu_fault_callback(void *cookie, const struct piommu_fault *fault);

#endif
