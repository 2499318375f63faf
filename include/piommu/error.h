/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_ERROR_H
#define PIOMMU_ERROR_H

/**
 * @file error.h
 * Error constants, grouped by whose fault it is. Functions that can fail return 0 or
 * one of these, negated. Where Linux and Xen have an errno of the same meaning the value equals it,
 * so that a port can pass it on; constants above 1000 have no such meaning there.
 */

/* The caller's fault: the call was wrong, and nothing was changed. */

/**
 * An argument is malformed: NULL, zero size, misaligned, an unknown flag, a wrong kind of object.
 */
#define PIOMMU_EINVAL 22
/**
 * An address or a range reaches beyond what the table, the domain or the hardware can translate.
 */
#define PIOMMU_ERANGE 34
/** Something is mapped there already. */
#define PIOMMU_EEXIST 17
/** What was named is not there: nothing is mapped, no such device, no such property. */
#define PIOMMU_ENOENT 2
/**
 * The object is in use: a domain with groups attached, an instance with devices, the place of a
 * table that hardware may still walk.
 */
#define PIOMMU_EBUSY 16
/** The range would cut a leaf or a mapping in two. */
#define PIOMMU_ECUT 1001
/** The call would put members of one group into different domains. */
#define PIOMMU_EGROUP 1002
/**
 * Things that do not go together: instances of different contexts or kinds, a domain and a device
 * whose IOMMU cannot use it.
 */
#define PIOMMU_EMIXED 1003
/** The range overlaps a reserved region of a device in the domain, or the domain's MSI window. */
#define PIOMMU_ERESERVED 1004
/** It waits for an instance that is not there yet. */
#define PIOMMU_EWAITING 1008
/** DMA to what stays mapped could fail for a moment, and the caller does not allow that. */
#define PIOMMU_EHOLE 1007

/* Nobody's fault: the request cannot be expressed. */

/** The format, the backend or the device cannot do this. */
#define PIOMMU_EOPNOTSUPP 95
/**
 * The budget of the call is used up: the same call goes on where it stopped. Or what a post needs
 * is taken at the moment, and nothing was changed: the same call may succeed later.
 */
#define PIOMMU_EAGAIN 11

/* The system ran out of something. */

/** The shim gave no memory, or the device said that it has none. */
#define PIOMMU_ENOMEM 12
/** No hardware context, domain number or table slot is left. */
#define PIOMMU_ENOSPC 28

/* Firmware, a device or the hardware is at fault. */

/** A device tree, a page table, or what a device says of itself, is malformed. */
#define PIOMMU_EBADMSG 74
/** There is no device at that place, or not one that this backend drives. */
#define PIOMMU_ENODEV 19
/** The device answered with an error, or with nonsense. */
#define PIOMMU_EIO 5
/** The device did not answer before the deadline. */
#define PIOMMU_ETIMEDOUT 110
/** The instance failed earlier and accepts nothing but being taken down. */
#define PIOMMU_EFAILED 1005
/** The call failed, and going back failed too: every device concerned is blocked. */
#define PIOMMU_EBLOCKED 1006

#ifdef __cplusplus
extern "C" {
#endif

/**
 * A short English sentence for an error code.
 *
 * @param error 0, or a value that a function of this library returned (negative), or a constant
 *              from this file (positive).
 * @return a constant string, never NULL.
 *
 * May be called at any time, from any context.
 */
const char *piommu_strerror(int error);

#ifdef __cplusplus
}
#endif

#endif
