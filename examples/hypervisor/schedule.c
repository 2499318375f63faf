/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Who runs. Cooperative: a guest has the CPU until it yields, waits for an event, or is stopped; no
 * timer takes it away. So each run of the demonstration has the same transcript, and what is shown
 * here, that memory is safe from DMA, does not depend on how often guests change. The one interrupt
 * is that of the IOMMU: faults are taken in while the guest runs whose device causes them.
 */

#include "hypervisor.h"

#include "machine.h"

/* After this time without a report there is none to come. */
#define QUIET ((uint64_t)5000000)

/* A part of what guests have asked of their own IOMMUs. Whether there was anything to do. */
static bool serve(struct guest *guest)
{
    bool work = guest->viommu != NULL && guest->viommu->work;

    if (work) {
        viommu_service(guest->viommu);
    }
    return work;
}

bool service(struct hypervisor *hypervisor)
{
    bool any = iommu_service(&hypervisor->iommu) != 0;

    if (hypervisor->edu.owner != NULL && passthrough_is_blocked(&hypervisor->edu)) {
        machine_printf("     hypervisor: guest %s loses the device for what it did\n",
                       hypervisor->edu.owner->name);
        passthrough_take(&hypervisor->edu);
    }
    for (unsigned int i = 0; i < GUESTS; i++) {
        any = serve(&hypervisor->guests[i]) || any;
    }
    return any;
}

/* A guest that is stopped has no device: whoever it was meant for does not look after it. */
static void bury(struct hypervisor *hypervisor, const struct guest *guest)
{
    if (guest->state == GUEST_STOPPED && hypervisor->edu.owner == guest) {
        passthrough_take(&hypervisor->edu);
    }
}

static void run_turn(struct hypervisor *hypervisor, struct guest *guest)
{
    bool goes_on;

    guest->turns++;
    do {
        enum cpu_exit reason = cpu_run(&guest->cpu, guest->stage2.vttbr, guest->stage2.vtcr);

        goes_on = trap_handle(hypervisor, guest, reason);
        /* At each trap, so that a guest that waits for the rest gets it by yielding. */
        serve(guest);
    } while (goes_on && guest->state == GUEST_RUNNABLE);
    bury(hypervisor, guest);
}

/* One turn for each that can run. False if there was none. */
static bool run_round(struct hypervisor *hypervisor)
{
    bool any = false;

    for (unsigned int i = 0; i < GUESTS; i++) {
        if (hypervisor->guests[i].state == GUEST_RUNNABLE) {
            run_turn(hypervisor, &hypervisor->guests[i]);
            any = true;
        }
    }
    return any;
}

void schedule(struct hypervisor *hypervisor)
{
    do {
        while (run_round(hypervisor)) {
        }
        machine_delay(QUIET);
    } while (service(hypervisor));
}
