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
 *
 * Devices that do not know privilege count as unprivileged.
 */
typedef uint32_t piommu_prot;

/** The device may read. */
#define PIOMMU_PROT_READ 0x001u
/** The device may write. Write without read exists only where the capability write_only says so. */
#define PIOMMU_PROT_WRITE 0x002u
/** Unprivileged transactions may fetch code. Without it they may not, where hardware can tell. */
#define PIOMMU_PROT_EXECUTE 0x004u
/** Privileged transactions may fetch code. */
#define PIOMMU_PROT_EXECUTE_PRIVILEGED 0x008u
/** Whoever may use the mapping may fetch code: what stage 2 can express everywhere. */
#define PIOMMU_PROT_EXECUTE_ALL (PIOMMU_PROT_EXECUTE | PIOMMU_PROT_EXECUTE_PRIVILEGED)
/** Only privileged transactions may use the mapping (stage 1). Excludes PIOMMU_PROT_EXECUTE. */
#define PIOMMU_PROT_PRIVILEGED 0x010u
/** The flags that say who may do what; the others say what kind of memory it is. */
#define PIOMMU_PROT_ACCESS 0x01fu

/**
 * Normal memory, not cacheable. Without this flag and the next one: normal, write-back cacheable.
 */
#define PIOMMU_PROT_NONCACHEABLE 0x020u
/** Device memory (registers of a peer device, a doorbell). Excludes PIOMMU_PROT_NONCACHEABLE. */
#define PIOMMU_PROT_DEVICE 0x040u
/**
 * Shareability of cacheable memory, at most one of three. Default: inner shareable. Memory that is
 * not cacheable is always outer shareable, so only that one may be named for it.
 */
#define PIOMMU_PROT_SHARE_NONE 0x080u
/** Outer shareable. */
#define PIOMMU_PROT_SHARE_OUTER 0x100u
/** Inner shareable. */
#define PIOMMU_PROT_SHARE_INNER 0x180u
/** The bits of the shareability flags. */
#define PIOMMU_PROT_SHARE_MASK 0x180u
/** The translation is the same for all address spaces (stage 1: not tagged with an ASID). */
#define PIOMMU_PROT_GLOBAL 0x200u

/** A number of 0 to 7 that the owner may keep with a mapping; hardware ignores it. */
#define PIOMMU_PROT_SOFTWARE(number) ((piommu_prot)((number)&7u) << 10)
/** The bits of PIOMMU_PROT_SOFTWARE. */
#define PIOMMU_PROT_SOFTWARE_MASK 0x1c00u

/** All flags that exist. */
#define PIOMMU_PROT_ALL 0x1fffu

/** A translation. */
struct piommu_translation {
    uint64_t physical;  /**< where the address asked for leads */
    uint64_t leaf_size; /**< bytes that the leaf or the mapping covers */
    piommu_prot prot;   /**< what is allowed */
};

#endif
