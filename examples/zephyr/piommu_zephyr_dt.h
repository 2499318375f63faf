/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_ZEPHYR_DT_H
#define PIOMMU_ZEPHYR_DT_H

/**
 * @file piommu_zephyr_dt.h
 * What the device tree says of a Renesas IPMMU, as initialisers. Units and devices find each other
 * by keys, so the order in which they are created does not matter.
 *
 *     DT_FOREACH_STATUS_OKAY(renesas_ipmmu_vmsa, MY_UNIT)
 */

#include <zephyr/devicetree.h>

/** The key of the instance that drives a node: never 0. */
#define PIOMMU_ZEPHYR_KEY(node) (DT_DEP_ORD(node) + 1u)

/** The key of the root of a cache unit; 0 for a root. */
#define PIOMMU_ZEPHYR_PARENT_KEY(node)                      \
    COND_CODE_1(DT_NODE_HAS_PROP(node, renesas_ipmmu_main), \
                (PIOMMU_ZEPHYR_KEY(DT_PHANDLE_BY_IDX(node, renesas_ipmmu_main, 0))), (0u))

/** A struct piommu_ipmmu_vmsa_config: the part's own string comes first in `compatible`. */
#define PIOMMU_ZEPHYR_IPMMU(node)                                                          \
    {                                                                                      \
        .compatible = DT_PROP_BY_IDX(node, compatible, 0), .registers = DT_REG_ADDR(node), \
    }

/** A struct piommu_device_id: an entry of a device's `iommus`. */
#define PIOMMU_ZEPHYR_DEVICE_ID(node, index)                              \
    {                                                                     \
        .key = PIOMMU_ZEPHYR_KEY(DT_PHANDLE_BY_IDX(node, iommus, index)), \
        .id = DT_PHA_BY_IDX(node, iommus, index, id),                     \
    }

#endif
