/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_TRACE_H
#define PIOMMU_TRACE_H

/**
 * @file trace.h
 * Events: everything that the core does for its callers, one by one, for a recorder.
 */

#include <piommu/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/** What happened. */
enum piommu_event_kind {
    PIOMMU_EVENT_INSTANCE_START,   /**< an instance was started, or could not be */
    PIOMMU_EVENT_INSTANCE_FAIL,    /**< an instance has failed, for the error given */
    PIOMMU_EVENT_INSTANCE_STOP,    /**< an instance is being destroyed */
    PIOMMU_EVENT_INSTANCE_SUSPEND, /**< piommu_instance_suspend */
    PIOMMU_EVENT_INSTANCE_RESUME,  /**< piommu_instance_resume */
    PIOMMU_EVENT_INSTANCE_RECOVER, /**< piommu_instance_recover */
    PIOMMU_EVENT_DEVICE_ADD,       /**< a device was added, or could not be */
    PIOMMU_EVENT_DEVICE_READY,     /**< a device that waited is complete, or cannot be */
    PIOMMU_EVENT_DEVICE_REMOVE,    /**< a device is being removed */
    PIOMMU_EVENT_DOMAIN_CREATE,    /**< a domain was created, or could not be */
    PIOMMU_EVENT_DOMAIN_DESTROY,   /**< a domain is being destroyed */
    PIOMMU_EVENT_ATTACH,           /**< a group, named by its first device, was moved to a domain */
    PIOMMU_EVENT_DETACH,           /**< a group, named by its first device, was blocked */
    PIOMMU_EVENT_MAP,              /**< a map call, of any kind */
    PIOMMU_EVENT_UNMAP,            /**< an unmap call, of any kind */
    PIOMMU_EVENT_PROTECT,          /**< piommu_domain_protect */
    PIOMMU_EVENT_SYNC,             /**< an invalidation on behalf of a caller */
    PIOMMU_EVENT_POPULATE,         /**< a step of piommu_domain_populate */
    PIOMMU_EVENT_FAULT,            /**< a fault report, before the fault callback is asked */
    PIOMMU_EVENT_FAULT_BLOCK,      /**< a device was blocked because of its faults */
};

/** A short English phrase for a kind of event: a constant string. Runs beside anything. */
const char *piommu_event_name(enum piommu_event_kind kind);

/** One event. It holds the host's own cookies and names, never a pointer to a library's object. */
struct piommu_event {
    enum piommu_event_kind kind; /**< what happened */
    int error;                   /**< 0, or the negative error that the caller gets */
    void *instance_owner;        /**< cookie of the instance, if it is about one */
    void *device_owner;          /**< cookie of the device, if it is about one */
    void *domain_owner;          /**< cookie of the domain, if it is about one */
    const char *instance_name;   /**< names of the same; may be NULL */
    const char *device_name;     /**< see instance_name */
    const char *domain_name;     /**< see instance_name */
    uint64_t iova;               /**< MAP to SYNC, FAULT: the address; POPULATE: how far it came */
    uint64_t size;               /**< MAP to SYNC: bytes, as asked for */
    uint64_t physical;           /**< MAP: where the first byte leads */
    piommu_prot prot;            /**< MAP, PROTECT: the permissions */
    uint32_t id;                 /**< FAULT: the ID that the hardware named */
};

/**
 * Takes an event, after it has happened. Called in the context of the call that caused it (for what
 * was posted: of the one that takes in the last answer, before the completion), with no lock held;
 * but other CPUs may wait for that call, so it must not block. Must not call the library.
 */
typedef void piommu_trace_callback(void *cookie, const struct piommu_event *event);

#ifdef __cplusplus
}
#endif

#endif
