/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_NULL_IOMMU_H
#define PIOMMU_NULL_IOMMU_H

/**
 * @file null-iommu.h
 * A backend without hardware: it accepts what it is told, and nothing comes of it.
 *
 * It isolates nothing and translates nothing. It is for trying a port's callbacks and a host's own
 * code, where there is no IOMMU yet, and the smallest example of a backend, through which
 * docs/adding-a-backend.md goes.
 *
 * The aperture begins at 0. Any ID exists, and each is a group of its own. Mappings may have all
 * flags that there are but PIOMMU_PROT_SOFTWARE. Identity domains exist, suspend and resume work,
 * and no fault is ever reported. It needs memory and locks of the shim, and no registers.
 */

#include <piommu/backend.h>

#ifdef __cplusplus
extern "C" {
#endif

/** What the unit is like: the backend_config of piommu_instance_create, where NULL is fine, too. */
struct piommu_null_iommu_config {
    /** Width of the aperture: 12 to 64. Default (0): 48. */
    uint8_t input_bits;
};

/** The backend, for piommu_instance_create. Never NULL. Runs beside anything. */
const struct piommu_backend *piommu_null_iommu_backend(void);

#ifdef __cplusplus
}
#endif

#endif
