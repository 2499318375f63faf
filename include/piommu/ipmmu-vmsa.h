/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_IPMMU_VMSA_H
#define PIOMMU_IPMMU_VMSA_H

/**
 * @file ipmmu-vmsa.h
 * The backend for the Renesas IPMMU-VMSA of R-Car Gen2, Gen3 and Gen4, RZ/G1, RZ/G2 and R-Mobile
 * APE6.
 *
 * An instance is one unit: a *root*, which has the contexts (tables, faults), or a *cache unit*,
 * to whose micro-TLBs the masters are wired and whose parent is the root (`renesas,ipmmu-main`;
 * piommu_instance_config::parent_key). On Gen2 every unit is a root with micro-TLBs of its own. The
 * ID of a device is the number of its micro-TLB; devices with the same one are a group. A domain
 * takes one context, however many cache units its devices are behind.
 *
 * Blocked means blocked. A micro-TLB that is switched off lets DMA pass untranslated, so none is
 * ever switched off, but for an identity domain: a blocked one is enabled on a context of its own,
 * whose table is empty. That takes the highest context number, and number 0 stays unused on Gen3
 * and Gen4, so 6 (Gen3) or 14 (Gen4) domains can have devices at a time. With
 * PIOMMU_UNKNOWN_IDS_BLOCK every micro-TLB of a unit is blocked when its instance starts; with
 * _LEAVE those that nobody adds are not touched.
 *
 * When an instance is destroyed its micro-TLBs are switched off, since the table of the blocked
 * context goes with the root: DMA passes, as before the library came.
 *
 * Faults are reported by the root, whose interrupt it is: the hardware names the context and not
 * the master.
 *
 * The host gives the units power before the instance is created, or by the `power` callback.
 * Everything else in the registers is this backend's, but for bits of IMSCTLR and IMSAUXCTLR that
 * firmware has set.
 *
 * Sources: there is no public manual. What is known comes from drivers, firmware and device trees;
 * what is not known is written at the place where it matters.
 */

#include <piommu/backend.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Where a unit is, and how to use it: the backend_config of piommu_instance_create. */
struct piommu_ipmmu_vmsa_config {
    /** The string of its device tree node that piommu_backend::compatible names; must stay. */
    const char *compatible;
    uint64_t registers; /**< physical address of its registers */
    /**
     * Root: 1 or 2, what stage its tables are; 0: 1. Stage 1 has 32-bit addresses and the long
     * descriptors of Armv7; stage 2 has 40 bits, and tables that can be the CPU's own.
     */
    unsigned int stage;
    /**
     * Stage 2: physical address of the product register (PRR), which tells parts that can from
     * earlier cuts that cannot. 0: `product` says it.
     */
    uint64_t product_register;
    uint32_t product; /**< the value of the product register, if product_register is 0 */
    /**
     * Called with true before the first access to a unit's registers, and with false after the
     * last, or when it is suspended. NULL: the unit has power, and keeps it.
     *
     * @return 0, or a negative PIOMMU_E* that the call in progress returns.
     */
    int (*power)(void *cookie, bool on);
    void *power_cookie; /**< handed to it */
};

/** The backend, for piommu_instance_create. Never NULL. Runs beside anything. */
const struct piommu_backend *piommu_ipmmu_vmsa_backend(void);

#ifdef __cplusplus
}
#endif

#endif
