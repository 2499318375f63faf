/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef VIOMMU_HOSTILE_H
#define VIOMMU_HOSTILE_H

/**
 * @file viommu_hostile.h
 * A guest that does anything with its virtio-iommu: rings and requests that make no sense, or
 * nearly none, and, if it is to be so, accesses of all offsets and widths to registers. Meanwhile
 * the hypervisor removes and adds endpoints, takes in faults, refuses memory, restores the device
 * from changed bytes, and its hardware fails. viommu_machine.h says what must not happen. In the
 * end the device is reset, nothing of the guest is left, and, unless hardware has failed, the
 * library's driver works on it.
 */

#include "front_hostile.h"
#include "viommu_machine.h"

/** What has come of it; added to what was there. */
struct viommu_hostile_result {
    uint64_t requests; /**< that were answered */
    uint64_t refused;  /**< those of them that were not answered with OK */
    uint64_t granted;  /**< pages of memory that devices could have reached */
    uint64_t faults;   /**< that were reported */
    uint64_t restored; /**< how often changed bytes were taken for a device's state */
    uint64_t broken;   /**< how often the device was found to need a reset */
};

/**
 * Makes a machine, and does at most `count` steps. `accesses`: to registers, too; else the
 * transport is used as it should be.
 */
void viommu_hostile_run(const struct front_hostile_source *randomness, bool accesses, size_t count,
                        struct viommu_hostile_result *result);

#endif
