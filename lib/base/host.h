/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_LIB_BASE_HOST_H
#define PIOMMU_LIB_BASE_HOST_H

/* Short forms for calls through the shim, so that the callers read as prose. */

#include <piommu/error.h>
#include <piommu/os.h>

#include "memory.h"
#include "text.h"

/* Checks the shim as piommu_os_check does and logs the name of what is missing. */
int piommu_host_check_(struct piommu_host host, unsigned int needs);

/* Zeroed memory for an object, or NULL. */
void *piommu_host_alloc_(struct piommu_host host, size_t size);

/* Gives it back. NULL is ignored. */
void piommu_host_free_(struct piommu_host host, void *memory, size_t size);

static inline void piommu_host_barrier(struct piommu_host host, enum piommu_barrier kind)
{
    host.os->barrier(host.ctx, kind);
}

static inline unsigned long piommu_host_lock(struct piommu_host host, void *lock)
{
    return host.os->lock(host.ctx, lock);
}

static inline void piommu_host_unlock(struct piommu_host host, void *lock, unsigned long state)
{
    host.os->unlock(host.ctx, lock, state);
}

/* When a wait of `timeout` nanoseconds that begins now has to end. */
uint64_t piommu_host_deadline_(struct piommu_host host, uint64_t timeout);

/* One step of a wait: lets the host pause, and tells whether the deadline has passed. */
bool piommu_host_wait_(struct piommu_host host, uint64_t deadline);

/*
 * The same for hardware that interrupts nobody when it is done: a port that sleeps until an
 * interrupt comes is woken soon enough to look again.
 */
bool piommu_host_poll_(struct piommu_host host, uint64_t deadline);

/*
 * Logs one line; the format and what goes into it are those of text.h (piommu_text_put_values_).
 * Longer lines are cut. Not variadic: this is what comes last where a unit fails, at the end of the
 * longest chains of calls, and the arguments would take a third more of the stack.
 */
void piommu_host_log_(struct piommu_host host, enum piommu_log_level level, const char *format,
                      uint64_t first, uint64_t second, uint64_t third);

#endif
