/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_FAULT_H
#define PIOMMU_FAULT_H

/**
 * @file fault.h
 * What a device was refused.
 */

#include <piommu/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Why an access was refused, as far as the hardware says. */
enum piommu_fault_reason {
    PIOMMU_FAULT_UNKNOWN, /**< the hardware does not say */
    PIOMMU_FAULT_BLOCKED, /**< the device is in no domain */
    /** Nothing is mapped there, or the access is not allowed: the hardware does not say which. */
    PIOMMU_FAULT_MAPPING,
    PIOMMU_FAULT_TRANSLATION, /**< nothing is mapped there, or a descriptor makes no sense */
    PIOMMU_FAULT_PERMISSION,  /**< something is mapped there, and the access is not allowed */
    PIOMMU_FAULT_TABLE,       /**< a page table could not be read */
    PIOMMU_FAULT_CONFLICT,    /**< the TLB has several translations: an invalidation was left out */
    PIOMMU_FAULT_SECURITY,    /**< a table or memory of the other security state */
};

/** A short English phrase for a reason: a constant string. Runs beside anything. */
const char *piommu_fault_reason_name(enum piommu_fault_reason reason);

/**
 * One report. It holds the host's own cookies, never a pointer to an object of the library. Devices
 * may report one bad access in many pieces, or drop reports when there are too many.
 */
struct piommu_fault {
    void *instance_owner;      /**< cookie of the instance */
    void *device_owner;        /**< cookie of the device, or NULL if it could be several or none */
    void *domain_owner;        /**< cookie of the domain that it was in, or NULL if in none */
    const char *instance_name; /**< name of the instance, or NULL */
    const char *device_name;   /**< name of the device, or NULL */
    const char *domain_name;   /**< name of the domain, or NULL */
    uint64_t time;             /**< the shim's clock when the report was taken in */
    bool id_valid;             /**< the hardware has named an ID; if not, a domain at best */
    uint32_t id;               /**< the endpoint or stream ID that it has named */
    enum piommu_fault_reason reason; /**< why */
    bool iova_valid;                 /**< iova means something */
    bool read;                       /**< known to be a read; if neither is set, not known */
    bool write;                      /**< known to be a write */
    bool level_valid;                /**< level means something */
    uint8_t level;                   /**< of the table at which the walk ended */
    uint64_t iova;                   /**< the address that the device used */
    uint32_t raw;                    /**< the hardware's own status, for a log */
};

/** What is to be done about a fault. */
enum piommu_fault_answer {
    /** It is noted: counted, and kept in the instance's ring of records. */
    PIOMMU_FAULT_NOTE = 0,
    /**
     * It is noted, and the group of the device is blocked until somebody attaches or detaches it:
     * at once where the hardware can do that without waiting, otherwise within
     * piommu_instance_service. If no device has the ID there is nothing to block; if the hardware
     * has named only the domain, all groups in it are blocked that have IDs on the instance, or on
     * those that are parts of it.
     */
    PIOMMU_FAULT_BLOCK,
    /** It is counted, and not kept. */
    PIOMMU_FAULT_IGNORE,
};

/**
 * Takes a fault report and says what is to be done. Called from piommu_instance_service or
 * piommu_instance_interrupt, in its context, with no lock held. Not called for what the storm limit
 * holds back. It must not call the library, except piommu_domain_lookup where the caller's own
 * serialisation allows it, and piommu_viommu_report_fault.
 */
typedef enum piommu_fault_answer piommu_fault_callback(void *cookie,
                                                       const struct piommu_fault *fault);

#ifdef __cplusplus
}
#endif

#endif
