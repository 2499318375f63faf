/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_CONTEXT_H
#define PIOMMU_CONTEXT_H

/**
 * @file context.h
 * The root of all objects. The library has no writable globals: several contexts can live in one
 * image.
 *
 * Concurrency of the core, said once for all its headers:
 *  - *Registration* (creating, destroying, suspending and resuming contexts, instances and domains;
 *    adding, removing, attaching and detaching devices and groups) is serialised by the caller, per
 *    context. It may run beside Mapping in all domains that it does not concern.
 *  - *Mapping* (what maps, unmaps, changes, syncs or looks) is serialised by the caller, per
 *    domain. Calls on different domains run in parallel, also on one instance. These count
 *    as a call on a domain, too: attaching to it and detaching from it (also when it is done for
 *    choose_domain), removing a device from a group in it, suspending and resuming an instance
 *    that it was created for or has devices of, and its destruction. What was posted (post.h) is
 *    not a call any more.
 *  - *Mapping, by range*: in a domain that was created with `disjoint`, such calls run beside each
 *    other without a lock as long as their ranges do not overlap, as io-pgtable.h says it of
 *    disjoint tables. In other domains they are Mapping.
 *  - *Servicing* (piommu_instance_service, _interrupt, _take_fault), also on one instance, may run
 *    beside itself and all else, from when piommu_instance_create has returned (or instance_ready
 *    was called), with two exceptions: the destruction of that instance, and suspending and
 *    resuming any. On one CPU, piommu_instance_service must not be interrupted by calls that attach
 *    or detach, nor, with a backend that is told each mapping, by calls that map, sync or protect:
 *    they would wait for it.
 */

#include <piommu/fault.h>
#include <piommu/os.h>
#include <piommu/trace.h>

#ifdef __cplusplus
extern "C" {
#endif

struct piommu_context;
struct piommu_device;
struct piommu_domain;
struct piommu_instance;

/**
 * Chooses the domain of a device that was just added, or completed: for a host in which several
 * trusted devices share one domain because hardware contexts are scarce.
 *
 * @return the domain into which the device's group is attached at once; NULL: it stays blocked.
 *
 * Called within piommu_device_add or piommu_instance_create, for the first device of a group, when
 * no device of the group waits any more, with no lock held. (To a group that is attached no device
 * can be added: for a group of several, answer NULL, and attach it when all of them are there.) It
 * may create a domain and map in it, and must not call anything else that is Registration.
 */
typedef struct piommu_domain *piommu_choose_domain(void *cookie,
                                                   const struct piommu_device *device);

/**
 * Takes the news that an instance which waited for its parent runs now, or that it does not.
 *
 * @param error 0; or why it was not started: it stays, as one that has failed, until destroyed.
 *
 * Called at the end of piommu_instance_create (of the parent), with no lock held. It may call
 * anything but the destruction of instances.
 */
typedef void piommu_instance_ready(void *cookie, struct piommu_instance *instance, int error);

/**
 * Takes the news that a device which waited for an instance is complete, or could not be.
 *
 * @param error 0: the device is blocked now, or in the domain that choose_domain named;
 *              otherwise an error of piommu_device_add, and the device goes on waiting: only its
 *              removal makes sense; or of piommu_group_attach, and the device is complete and
 *              blocked.
 *
 * Called at the end of piommu_instance_create, with no lock held. It may call anything but the
 * destruction of instances.
 */
typedef void piommu_device_ready(void *cookie, struct piommu_device *device, int error);

/** Options of a context. Each callback may be NULL. */
struct piommu_context_config {
    void *cookie;                          /**< handed to each callback */
    piommu_fault_callback *fault;          /**< called for each fault; NULL: all are noted */
    piommu_choose_domain *choose_domain;   /**< NULL: new devices are blocked */
    piommu_instance_ready *instance_ready; /**< told what became of waiting instances */
    piommu_device_ready *device_ready;     /**< told what became of waiting devices */
    piommu_trace_callback *trace;          /**< called for each event */
};

/**
 * Creates a context.
 *
 * @param host    the shim; BASE and LOCK callbacks.
 * @param config  options, copied; NULL for none.
 * @param context set on success.
 * @return 0; -PIOMMU_EINVAL (NULL, or the shim is incomplete: the log names the callback);
 *         -PIOMMU_EOPNOTSUPP: a trace callback, and the library was built without events;
 *         -PIOMMU_ENOMEM.
 *
 * Context: task. Runs beside anything.
 */
int piommu_context_create(struct piommu_host host, const struct piommu_context_config *config,
                          struct piommu_context **context);

/**
 * Destroys a context. NULL is ignored.
 *
 * @return 0; -PIOMMU_EBUSY: instances, domains or waiting devices are left, nothing was changed.
 *
 * Context: task. Registration.
 */
int piommu_context_destroy(struct piommu_context *context);

#ifdef __cplusplus
}
#endif

#endif
