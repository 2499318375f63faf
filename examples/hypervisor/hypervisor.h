/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef HYPERVISOR_H
#define HYPERVISOR_H

#include "guest.h"
#include "iommu.h"
#include "passthrough.h"

#define GUESTS 3u

struct hypervisor {
    struct iommu iommu;
    struct stage2_geometry geometry;
    struct guest guests[GUESTS];
    struct viommu viommu; /* of guest C */
    struct passthrough edu;
};

/* ---- trap.c ---- */

/*
 * Does what a guest was left for. True: it goes on at once, if it still can; false: others are to
 * run first.
 */
bool trap_handle(struct hypervisor *hypervisor, struct guest *guest, enum cpu_exit reason);

/* ---- hypercall.c ---- */

/* Does what the guest asks for by HVC; the result as of trap_handle. */
bool hypercall_handle(struct hypervisor *hypervisor, struct guest *guest);

/* ---- schedule.c ---- */

/*
 * Lets the guests run in turns, each until it gives the CPU back, until all of them wait or are
 * stopped and the IOMMU has nothing to report any more.
 */
void schedule(struct hypervisor *hypervisor);

/*
 * Takes in what the IOMMU reports, for guests with an IOMMU of their own, too; a device that is
 * blocked for it is taken from its guest. Whether anything was to be done.
 */
bool service(struct hypervisor *hypervisor);

/* ---- The demonstration (steps.c) ---- */

void step_guests(struct hypervisor *hypervisor);
void step_device(struct hypervisor *hypervisor);
void step_stray_dma(struct hypervisor *hypervisor);
void step_move(struct hypervisor *hypervisor);
void step_foreign_dma(struct hypervisor *hypervisor);
void step_balloon(struct hypervisor *hypervisor);
void step_outside(struct hypervisor *hypervisor);
void step_own_iommu(struct hypervisor *hypervisor);
void step_foreign_mapping(struct hypervisor *hypervisor);
void step_own_limits(struct hypervisor *hypervisor);

#endif
