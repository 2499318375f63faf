/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_LIB_IO_PGTABLE_ATTRIBUTES_H
#define PIOMMU_LIB_IO_PGTABLE_ATTRIBUTES_H

/*
 * The attribute bits of leaves and links.
 *
 * Source: Arm ARM, VMSAv8-64: "Attribute fields in VMSAv8-64 translation table format descriptors",
 * "Stage 2 memory region attributes", "Stage 2 forced write-back"; VMSAv8-32: "Attribute fields in
 * VMSAv8-32 Long-descriptor format stage 1 (and 2) Block and Page descriptors".
 */

#include "pgtable.h"

/* Both stages. */
#define LEAF_SHAREABILITY_SHIFT 8
#define LEAF_SHAREABILITY_MASK  (3ull << LEAF_SHAREABILITY_SHIFT)
#define LEAF_ACCESS_FLAG        (1ull << 10)
#define LEAF_WRITTEN            (1ull << 7) /* AP[2] and S2AP[1], where hardware notes writes */
#define LEAF_DIRTY_MODIFIER     (1ull << 51)
#define LEAF_SOFTWARE_MASK      (7ull << 56)
/* Free for software; this library uses the other three. */
#define LEAF_SOFTWARE_SPARE (1ull << 55)

/* Stage 1. */
#define LEAF_S1_MEMORY_SHIFT       2
#define LEAF_S1_MEMORY_MASK        (7ull << LEAF_S1_MEMORY_SHIFT)
#define LEAF_S1_NON_SECURE         (1ull << 5)
#define LEAF_S1_UNPRIVILEGED       (1ull << 6) /* AP[1] */
#define LEAF_S1_READ_ONLY          (1ull << 7) /* AP[2] */
#define LEAF_S1_NOT_GLOBAL         (1ull << 11)
#define LEAF_S1_PRIVILEGED_NO_EXEC (1ull << 53)
/* 64-bit: for unprivileged transactions; 32-bit: for all. */
#define LEAF_S1_NO_EXEC    (1ull << 54)
#define LINK_S1_NON_SECURE (1ull << 63)

/* Slots of MAIR; the values are in format.c. */
#define S1_NONCACHEABLE 0ull
#define S1_CACHEABLE    1ull
#define S1_DEVICE       2ull

/* Stage 2. */
#define LEAF_S2_MEMORY_SHIFT 2
#define LEAF_S2_MEMORY_MASK  (0xfull << LEAF_S2_MEMORY_SHIFT)
#define LEAF_S2_READ         (1ull << 6)
#define LEAF_S2_WRITE        (1ull << 7)
#define LEAF_S2_EXEC_MASK    (3ull << 53)
/*
 * XN[1:0]. 10 forbids execution to all, with FEAT_XNX and without. 11 would do so only without; it
 * means "privileged only" otherwise.
 */
#define LEAF_S2_EXEC_ALL          (0ull << 53)
#define LEAF_S2_EXEC_UNPRIVILEGED (1ull << 53)
#define LEAF_S2_EXEC_NONE         (2ull << 53)
#define LEAF_S2_EXEC_PRIVILEGED   (3ull << 53)

#define S2_DEVICE       0x1ull /* nGnRE, in both encodings */
#define S2_NONCACHEABLE 0x5ull /* in both encodings */
#define S2_CACHEABLE    0xfull
#define S2_FORCED       0x6ull /* with FEAT_S2FWB */

#define SHAREABILITY_NONE  0ull
#define SHAREABILITY_OUTER 2ull
#define SHAREABILITY_INNER 3ull

/* With FEAT_LPA2 the whole regime has one shareability, and leaves have address bits there. */
static inline bool leaves_share_alike(const struct piommu_pgtable *table)
{
    return table->address_fold == LEAF_SHAREABILITY_MASK;
}

#endif
