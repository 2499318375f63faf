/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef SABOTAGE_H
#define SABOTAGE_H

/*
 * Does to a virtio-iommu, past its driver, what no driver would do: so that it breaks, or forgets,
 * as a device may do by itself.
 */

#include <stdbool.h>
#include <stdint.h>

struct sabotage {
    uintptr_t common; /* registers of virtio-pci: common configuration */
    uintptr_t notify;
    uintptr_t config; /* of the device */
    uint32_t notify_multiplier;
};

/* Finds the registers of the function. -1: it does not have all of them. */
int sabotage_open(struct sabotage *sabotage, uint16_t bdf);

/* The features that the device offers, and those that its driver has accepted. */
uint64_t sabotage_offered(const struct sabotage *sabotage);
uint64_t sabotage_accepted(const struct sabotage *sabotage);

/* Whether the device says that it is broken; waits until it does, but not for ever. */
bool sabotage_is_broken(const struct sabotage *sabotage);

/* Whether endpoints in no domain reach memory. */
bool sabotage_bypasses(const struct sabotage *sabotage);

/* Puts a request into the request queue that is shorter than any can be. */
void sabotage_short_request(const struct sabotage *sabotage);

/* Makes all buffers in the event queue shorter than a report: the next fault breaks the device. */
void sabotage_short_events(const struct sabotage *sabotage);

/* Leaves the device as it is when its power has come back: reset, and open to everybody. */
void sabotage_power_cycle(const struct sabotage *sabotage);

#endif
