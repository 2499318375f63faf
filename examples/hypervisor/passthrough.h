/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PASSTHROUGH_H
#define PASSTHROUGH_H

/*
 * The device edu, which guests drive themselves: its registers are mapped into a guest, and its
 * DMA goes through that guest's domain.
 */

#include "edu.h"
#include "guest.h"
#include "iommu.h"

struct passthrough {
    struct edu edu; /* at its physical address, for the time between two guests */
    struct piommu_device *device;
    uint32_t endpoint;
    struct guest *owner;          /* NULL: nobody, and it reaches nothing */
    struct piommu_domain *domain; /* the hypervisor's own, for what it does with the device */
    uint8_t *blank;               /* a page of zeros, all that is in that domain */
};

/* Finds the device and blocks it. */
void passthrough_open(struct passthrough *passthrough, struct iommu *iommu);
void passthrough_close(struct passthrough *passthrough);

/*
 * Gives the device, which nobody has, to a guest. What the last one has left in it is overwritten
 * before.
 */
void passthrough_give(struct passthrough *passthrough, struct guest *guest);

/*
 * Takes it away from its owner. When it returns the device reaches nothing of the guest, and the
 * guest nothing of the device: its registers read as all ones.
 */
void passthrough_take(struct passthrough *passthrough);

/* Whether it was blocked for what it did. */
bool passthrough_is_blocked(const struct passthrough *passthrough);

#endif
