/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_VERSION_H
#define PIOMMU_VERSION_H

/**
 * @file version.h
 * The version of the library, by semantic versioning. Below 1.0.0 any release may change the
 * programming interface; CHANGELOG.md says what users and port authors must do.
 */

#define PIOMMU_VERSION_MAJOR 0 /**< 0: the programming interface is not settled */
#define PIOMMU_VERSION_MINOR 1 /**< grows with what is added */
#define PIOMMU_VERSION_PATCH 0 /**< grows with what is repaired */

/** "MAJOR.MINOR.PATCH" of the headers. */
#define PIOMMU_VERSION_STRING "0.1.0"

#ifdef __cplusplus
extern "C" {
#endif

/** "MAJOR.MINOR.PATCH" of the library that was linked. May be called at any time. */
const char *piommu_version(void);

#ifdef __cplusplus
}
#endif

#endif
