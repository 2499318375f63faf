/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_RCAR_PCIE_OSID_H
#define PIOMMU_RCAR_PCIE_OSID_H

/**
 * @file rcar-pcie-osid.h
 * Experimental: which micro-TLB of the IPMMU a PCIe function uses, on R-Car Gen4.
 *
 * The PCIe controller marks each DMA with a number of 4 bits, the OSID, by the function that has
 * sent it; OSID n goes to the micro-TLB whose number is that of the controller's first one plus n.
 * Functions that nobody has steered have OSID 0. So the functions of up to 15 devices can be in
 * domains of their own; add each to the core with the micro-TLB that this says
 * (piommu/ipmmu-vmsa.h), and what has OSID 0, if it is to be kept apart, with the first one.
 *
 * The host stops a function's DMA while it is steered elsewhere: the controller may mark some of it
 * in the old way.
 *
 * Source: two hypervisors' trees, which agree on the registers and not on the mask; there is no
 * public manual, and it was not run on a board.
 *
 * Concurrency: the caller serialises the calls on one steering. They are made in task context.
 */

#include <piommu/os.h>

#ifdef __cplusplus
extern "C" {
#endif

/** How many functions, or ranges of them, can be steered by a controller. */
#define PIOMMU_RCAR_PCIE_OSID_ENTRIES 16u
/** The highest OSID. */
#define PIOMMU_RCAR_PCIE_OSID_LAST 15u

/** The steering of one PCIe controller. */
struct piommu_rcar_pcie_osid;

/**
 * Begins to steer: all functions have OSID 0.
 *
 * @param host      the shim; BASE and MMIO callbacks.
 * @param registers physical address of the controller's application registers (the device tree's
 *                  "app" region).
 * @param result    set on success.
 * @return 0; -PIOMMU_EINVAL (NULL, incomplete shim); -PIOMMU_ENOMEM; or an error of
 *         piommu_os::mmio_map.
 */
int piommu_rcar_pcie_osid_open(struct piommu_host host, uint64_t registers,
                               struct piommu_rcar_pcie_osid **result);

/** Ends to steer: all functions have OSID 0 again. NULL is ignored. */
void piommu_rcar_pcie_osid_close(struct piommu_rcar_pcie_osid *steering);

/**
 * Gives functions an OSID. Functions that have one already get this one.
 *
 * @param requester bus, device and function, as in piommu_pci_function::bdf.
 * @param ignored   bits of it that do not matter, as far as is known; 0: just this function. Must
 *                  be 0 in `requester`.
 * @param osid      1 to PIOMMU_RCAR_PCIE_OSID_LAST.
 * @return 0; -PIOMMU_EINVAL; -PIOMMU_EEXIST: the functions are some, not all, of those that another
 *         call has steered, or the other way round; -PIOMMU_ENOSPC: all entries are in use.
 */
int piommu_rcar_pcie_osid_steer(struct piommu_rcar_pcie_osid *steering, uint16_t requester,
                                uint16_t ignored, unsigned int osid);

/**
 * Gives the functions of an earlier piommu_rcar_pcie_osid_steer OSID 0 again.
 *
 * @return 0; -PIOMMU_EINVAL; -PIOMMU_ENOENT: there was no such call.
 */
int piommu_rcar_pcie_osid_forget(struct piommu_rcar_pcie_osid *steering, uint16_t requester,
                                 uint16_t ignored);

#ifdef __cplusplus
}
#endif

#endif
