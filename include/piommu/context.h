/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_CONTEXT_H
#define PIOMMU_CONTEXT_H

/**
 * @file context.h
 * The root of all objects. The library has no writable globals: several contexts
 * can live in one image.
 *
 * Concurrency of the core, said once for all its headers:
 *  - *Registration* (creating and destroying contexts, instances and domains; adding, removing,
 *    attaching and detaching devices and groups) is serialised by the caller, per context.
 *  - *Mapping* (what maps, unmaps, changes, syncs or looks) is serialised by the caller, per
 *    domain. Calls on different domains run in parallel, also on one instance. Attaching and
 *    detaching counts as a call on each domain that the group enters or leaves.
 *  - piommu_instance_service may run in parallel with all of it, except the removal of a device of
 *    that instance and the destruction of the instance. It must not run twice at once on one
 *    instance.
 */

#include <piommu/fault.h>
#include <piommu/os.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Options of a context. */
struct piommu_context_config {
    /** Called for each fault. NULL: faults are counted only. */
    piommu_fault_callback *fault;
    /** Handed to it. */
    void *fault_cookie;
};

struct piommu_context;

/**
 * Creates a context.
 *
 * @param host    the shim; BASE and LOCK callbacks.
 * @param config  options, copied; NULL for none.
 * @param context set on success.
 * @return 0; -PIOMMU_EINVAL (NULL, or the shim is incomplete: the log names the callback);
 *         -PIOMMU_ENOMEM.
 *
 * Context: task. Runs beside anything.
 */
int piommu_context_create(struct piommu_host host, const struct piommu_context_config *config,
                          struct piommu_context **context);

/**
 * Destroys a context. NULL is ignored.
 *
 * @return 0; -PIOMMU_EBUSY: instances are left, nothing was changed.
 *
 * Context: task. Registration.
 */
int piommu_context_destroy(struct piommu_context *context);

#ifdef __cplusplus
}
#endif

#endif
