/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_LIB_BASE_OPTIONS_H
#define PIOMMU_LIB_BASE_OPTIONS_H

/*
 * What of the core and of virtio is built, and how; of page tables lib/io-pgtable/options.h says
 * it.
 *
 * Everything is, unless one of the macros below is defined as 0 for all files of the library, by
 * hand (-DPIOMMU_CORE_WITH_TRACE=0) or by CMake's PIOMMU_CORE_FEATURES and PIOMMU_VIRTIO_FEATURES.
 * They exist for what a linker cannot find out by itself: code that hangs on a pointer, or on a
 * value that a program never sets. What is not built is refused with -PIOMMU_EOPNOTSUPP by the call
 * that would need it, before anything is changed; structures and headers stay as they are.
 */

/*
 * Domains in page tables, owned or shared, and so backends that take tables. Without, the core
 * calls nothing of lib/io-pgtable, though it takes a linker that drops unused sections to be rid of
 * it.
 */
#ifndef PIOMMU_CORE_WITH_TABLES
#define PIOMMU_CORE_WITH_TABLES 1
#endif

/* Domains that are filled bit by bit (PIOMMU_DOMAIN_DEFERRED). */
#ifndef PIOMMU_CORE_WITH_DEFERRED
#define PIOMMU_CORE_WITH_DEFERRED 1
#endif

/* Changes that nobody waits for (post.h). */
#ifndef PIOMMU_CORE_WITH_POSTS
#define PIOMMU_CORE_WITH_POSTS 1
#endif

/* Suspending, resuming and recovering instances. */
#ifndef PIOMMU_CORE_WITH_POWER
#define PIOMMU_CORE_WITH_POWER 1
#endif

/* Events for the host's recorder (trace.h). */
#ifndef PIOMMU_CORE_WITH_TRACE
#define PIOMMU_CORE_WITH_TRACE 1
#endif

/*
 * The short ways of map, unmap and sync through the core, which cost memory and save time; as
 * PIOMMU_PGTABLE_WITH_SHORT_WAYS, who compiles for size has decided.
 */
#ifndef PIOMMU_CORE_WITH_SHORT_WAYS
#ifdef __OPTIMIZE_SIZE__
#define PIOMMU_CORE_WITH_SHORT_WAYS 0
#else
#define PIOMMU_CORE_WITH_SHORT_WAYS 1
#endif
#endif

/*
 * Whether functions stay apart where their caller would keep their stack otherwise. It takes a few
 * hundred bytes of code for some hundred bytes of stack, and time.
 */
#ifndef PIOMMU_WITH_SHALLOW_CALLS
#ifdef __OPTIMIZE_SIZE__
#define PIOMMU_WITH_SHALLOW_CALLS 1
#else
#define PIOMMU_WITH_SHALLOW_CALLS 0
#endif
#endif

/*
 * How many pieces of memory the DMA API collects before it maps them by one call, where it has to
 * take care of a device. They are on the stack; who compiles for size has less of that, too, but
 * the three that one buffer can need, whose ends are bounced.
 */
#ifndef PIOMMU_DMA_PIECES
#ifdef __OPTIMIZE_SIZE__
#define PIOMMU_DMA_PIECES 3
#else
#define PIOMMU_DMA_PIECES 16
#endif
#endif
#if PIOMMU_DMA_PIECES < 1 || PIOMMU_DMA_PIECES > 65535
#error "piommu: PIOMMU_DMA_PIECES is less than 1 or more than 65535"
#endif

/*
 * Of the driver's side of virtio: transports, and packed rings. Split rings are always there: every
 * device has them.
 */
#ifndef PIOMMU_VIRTIO_WITH_PCI
#define PIOMMU_VIRTIO_WITH_PCI 1
#endif
#ifndef PIOMMU_VIRTIO_WITH_MMIO
#define PIOMMU_VIRTIO_WITH_MMIO 1
#endif
#ifndef PIOMMU_VIRTIO_WITH_PACKED
#define PIOMMU_VIRTIO_WITH_PACKED 1
#endif

#endif
