/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_PIOMMU_H
#define PIOMMU_PIOMMU_H

/**
 * @file piommu.h
 * Everything that a host needs, in one include. A backend has a header of its own, e.g.
 * piommu/virtio-iommu.h; so has the device tree reader, piommu/fdt.h.
 *
 * Conventions that hold for every function:
 *
 *  - Errors. 0 (or, where said, a number) is success, negative is -PIOMMU_E* (error.h). A call that
 *    fails leaves everything as it was, and results are untouched, unless its comment says what is
 *    left.
 *  - Pointers must not be NULL unless the comment allows it. Functions that return int answer NULL
 *    with -PIOMMU_EINVAL as a service, except where each instruction counts: the calls on a page
 *    table once it was created, and those that add to or take from a ring.
 *  - Configurations are copied; what they point to need not stay, except where the comment says so
 *    (names, the shim). Zero selects the default of each optional member.
 *  - Sizes and addresses are 64 bits wide on every host. struct piommu_range has inclusive ends.
 *  - Objects are created by the library with memory of the shim, and belong to the caller until he
 *    destroys them.
 *  - Context. "Task" functions may allocate and may wait; they must not be called from an
 *    interrupt. "Any" functions may be called with interrupts off, if the shim's callbacks can work
 *    so.
 *  - Concurrency is said at the top of context.h and io-pgtable.h; each function names its class.
 *  - Waiting always has a deadline on the shim's clock, and no lock is held meanwhile.
 */

#include <piommu/context.h>
#include <piommu/device.h>
#include <piommu/dma.h>
#include <piommu/domain.h>
#include <piommu/dump.h>
#include <piommu/error.h>
#include <piommu/fault.h>
#include <piommu/gather.h>
#include <piommu/instance.h>
#include <piommu/io-pgtable-dirty.h>
#include <piommu/io-pgtable-inspect.h>
#include <piommu/io-pgtable.h>
#include <piommu/iova.h>
#include <piommu/os.h>
#include <piommu/post.h>
#include <piommu/requirements.h>
#include <piommu/trace.h>
#include <piommu/types.h>
#include <piommu/version.h>

#endif
