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
 * and Gen4, so 6 (Gen3) or 14 (Gen4) domains can have a context at a time: shared and paging ones
 * from when they are created, deferred ones from when they are populated.
 *
 * With PIOMMU_UNKNOWN_IDS_BLOCK every micro-TLB of a unit is blocked when its instance starts. With
 * _LEAVE those that nobody adds are not touched, but for those that firmware has enabled: the
 * context that they name is a domain's from then on, so they are blocked.
 *
 * A unit whose FLUSH does not end in time has failed. A cache unit is out of the game then, with
 * its masters blocked as far as it obeys, and the others go on; a root takes the cache units with
 * it that have the context in question, and all that need it later. piommu_instance_recover waits
 * for what was not over, and has everything forgotten; the root comes before its cache units.
 *
 * Gen2. Four contexts are said to exist, and nobody has used more than one; so that is what is used
 * unless `contexts` says more. With one context nothing can tell the masters of a unit apart: they
 * are one group, devices are added before it is attached, and what a domain is granted reaches
 * masters that nobody has added, too. Blocked means that the context has an empty table then. The
 * roots of all tables lie below 4 GiB then, so that one store takes the context from one to the
 * other; there must be such memory.
 *
 * When an instance is destroyed its micro-TLBs are switched off, since the table of the blocked
 * context goes with the root: DMA passes, as before the library came. An instance that is
 * destroyed while it is suspended is not touched: it must have lost its power, or its masters must
 * stay quiet until it does.
 *
 * Faults are reported by the root, whose interrupt it is: the hardware names the context and not
 * the master. They have level and reason; whether it was a read or a write is not known.
 *
 * The host gives the units power before the instance is created, or by the `power` callback.
 * Everything else in the registers is this backend's, but for bits of IMSCTLR and IMSAUXCTLR that
 * firmware has set.
 *
 * Not supported: the block mapping mode (PMB), remapping (TREN), the secure side, performance
 * counters.
 *
 * Sources: there is no public manual. What is known comes from drivers, firmware and device trees;
 * what is not known is written at the place where it matters. None of it was run on a board.
 */

#include <piommu/backend.h>

#ifdef __cplusplus
extern "C" {
#endif

/** What tables the contexts of a root have. */
enum piommu_ipmmu_vmsa_tables {
    /** Stage 1 with 32-bit addresses, and the long descriptors of Armv7. */
    PIOMMU_IPMMU_VMSA_STAGE1 = 0,
    /**
     * Stage 1 with 39-bit addresses, and 64-bit descriptors. Gen3 and Gen4. Experimental: one
     * vendor's hypervisor has used it. A master that emits an address above reaches what the one
     * with the bits below leads to.
     */
    PIOMMU_IPMMU_VMSA_STAGE1_64,
    /** Stage 2 with 40-bit addresses; domains can share the CPU's tables. Later cuts only. */
    PIOMMU_IPMMU_VMSA_STAGE2,
};

/**
 * Where a unit is, and how to use it: the backend_config of piommu_instance_create. Zero selects
 * the default of each member marked so. What is said of a root is not looked at for a cache unit.
 */
struct piommu_ipmmu_vmsa_config {
    /** The string of its device tree node that piommu_backend::compatible names; must stay. */
    const char *compatible;
    uint64_t registers; /**< physical address of its registers */
    /** Root: what its tables are. Default: stage 1. */
    enum piommu_ipmmu_vmsa_tables tables;
    /**
     * Root of stage 1: shared domains (which are of stage 2) exist beside the paging ones, by
     * context. Experimental: nobody is known to have mixed them. Default: no.
     */
    bool mixed_stages;
    /**
     * Root: how many contexts to use, the blocked one and on Gen3 and Gen4 the unused one among
     * them; others are only switched off. Default: Gen2 1, Gen3 8, Gen4 16.
     */
    unsigned int contexts;
    /**
     * Root: physical address of the product register (PRR). It tells parts that can do stage 2 from
     * earlier cuts that cannot, and those whose cache units translate wrongly unless their TLBs are
     * switched off (H3 before ES3.0, M3-N and E3 ES1.x), which is done then. Default: `product`
     * says it.
     */
    uint64_t product_register;
    /**
     * Root: the value of the product register, if product_register is 0. Default: not known; then
     * stage 2 is refused, and where a product of that name has wrong TLBs all are switched off.
     */
    uint32_t product;
    /**
     * Micro-TLBs that no device may have, a bit each: masters of which is known that they do not
     * work behind an IOMMU, or must not be given away. piommu_device_add refuses them with
     * -PIOMMU_EOPNOTSUPP; the policy for unknown IDs is applied to them. Default: none.
     */
    uint64_t denied_micro_tlbs;
    /**
     * The same, and their registers are never written: they stay as firmware left them, and nothing
     * is guaranteed of them. Default: none.
     */
    uint64_t untouched_micro_tlbs;
    /**
     * Called with true before the first access to a unit's registers, and with false after the
     * last, or when it is suspended. Default (NULL): the unit has power, and keeps it.
     *
     * @return 0, or a negative PIOMMU_E*: creating the instance returns it; suspending and resuming
     *         it fail; destroying it goes on.
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
