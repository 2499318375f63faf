/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_TYPES_H
#define PIOMMU_TYPES_H

/**
 * @file types.h
 * Types that every part of the library shares: ranges, segments, permissions.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** A range of addresses. Both ends are inclusive, so that it can reach the top of the space. */
struct piommu_range {
    uint64_t first; /**< the lowest address */
    uint64_t last;  /**< the highest address, not below first */
};

/** A piece of physical memory, one element of a scatter list. */
struct piommu_segment {
    uint64_t physical; /**< start, in bytes */
    uint64_t size;     /**< length, in bytes */
};

/**
 * What a device may do through a mapping, and what kind of memory lies behind it: a sum of the
 * PIOMMU_PROT_* flags. A combination that the hardware cannot express is refused with
 * -PIOMMU_EOPNOTSUPP, never approximated.
 */
typedef uint32_t piommu_prot;

/** The device may read. */
#define PIOMMU_PROT_READ 0x01u
/** The device may write. Write without read exists only where the capability write_only says so. */
#define PIOMMU_PROT_WRITE 0x02u
/** Its own side may fetch code. Without it they may not, where the hardware can tell. */
#define PIOMMU_PROT_EXECUTE 0x04u
/** Only privileged transactions may use the mapping (stage 1). */
#define PIOMMU_PROT_PRIVILEGED 0x08u
/**
 * Normal memory, not cacheable. Without this flag and the next one: normal, write-back cacheable.
 */
#define PIOMMU_PROT_NONCACHEABLE 0x10u
/** Device memory (registers of a peer device, a doorbell). Excludes PIOMMU_PROT_NONCACHEABLE. */
#define PIOMMU_PROT_DEVICE 0x20u
/** All flags that exist. */
#define PIOMMU_PROT_ALL 0x3fu

/** A translation. */
struct piommu_translation {
    uint64_t physical;  /**< where the address asked for leads */
    uint64_t leaf_size; /**< bytes that the leaf or the mapping covers */
    piommu_prot prot;   /**< what is allowed */
};

#endif
