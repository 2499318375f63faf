/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* The steps with the guest that has an IOMMU of its own. */

#include "hypervisor.h"
#include "judge.h"
#include "machine.h"
#include "transcript.h"

#define TRIED_SIZE 16u
#define PAGES      4u /* that the guest maps for the device */
#define LEFT       2u /* of them, after it has taken away some */
#define MAPPINGS   2u

static const struct guest *guest_a(const struct hypervisor *hypervisor)
{
    return &hypervisor->guests[0];
}

static struct guest *guest_c(struct hypervisor *hypervisor)
{
    return &hypervisor->guests[2];
}

/* Tells it, and lets it run. */
static void tell(struct hypervisor *hypervisor, enum guest_event event, uint64_t argument)
{
    iommu_forget(&hypervisor->iommu);
    guest_tell(guest_c(hypervisor), event, argument);
    schedule(hypervisor);
}

static bool reaches(struct hypervisor *hypervisor, unsigned int pages)
{
    return judge_reach(hypervisor, guest_c(hypervisor)) == (uint64_t)pages * GUEST_PAGE_SIZE;
}

void step_own_iommu(struct hypervisor *hypervisor)
{
    struct guest *c = guest_c(hypervisor);
    struct piommu_viommu_statistics statistics;

    section("Guest C has an IOMMU of its own, and drives it with the library");
    passthrough_take(&hypervisor->edu);
    schedule(hypervisor);
    iommu_forget(&hypervisor->iommu);
    passthrough_give(&hypervisor->edu, c);
    schedule(hypervisor);
    check(judge_reach(hypervisor, c) == GUEST_RAM_SIZE + PAGES * GUEST_PAGE_SIZE &&
              hypervisor->iommu.fault_count == 0,
          "without a driver the device reaches all memory of C");
    tell(hypervisor, EVENT_IOMMU_START, 0);
    statistics = viommu_statistics(&hypervisor->viommu);
    check(statistics.domains == 1 && statistics.mappings == MAPPINGS && statistics.refused == 0 &&
              statistics.faults_dropped == 0,
          "%u requests were carried out, and %u faults reported: there is %u domain with %u "
          "mappings",
          (unsigned int)statistics.requests, (unsigned int)statistics.faults, statistics.domains,
          statistics.mappings);
    check(reaches(hypervisor, PAGES), "the device reaches %u pages, which are C's", PAGES);
}

void step_foreign_mapping(struct hypervisor *hypervisor)
{
    struct guest *c = guest_c(hypervisor);
    uint64_t of_a = judge_memory(guest_a(hypervisor));
    uint64_t secret = machine_physical(guest_a(hypervisor)->slots[1]);
    uint64_t refused;

    section("C tries to reach A through its own IOMMU");
    tell(hypervisor, EVENT_STRAY_DMA, secret);
    judge_print_fault(&hypervisor->iommu);
    check(judge_fault(hypervisor, c, secret, TRIED_SIZE) && hypervisor->edu.owner == c,
          "the fault is one of the domain that C has made; it is C's affair, and C keeps the "
          "device");
    refused = viommu_statistics(&hypervisor->viommu).refused;
    tell(hypervisor, EVENT_IOMMU_FOREIGN, secret);
    refused = viommu_statistics(&hypervisor->viommu).refused - refused;
    check(refused != 0 && reaches(hypervisor, PAGES),
          "%u requests were refused, and the device reaches the same %u pages",
          (unsigned int)refused, PAGES);
    check(judge_memory(guest_a(hypervisor)) == of_a && judge_apart(hypervisor),
          "no byte of A has changed; nothing is reached by two guests");
}

void step_own_limits(struct hypervisor *hypervisor)
{
    struct piommu_viommu_statistics statistics;
    unsigned int portions = hypervisor->viommu.portions;

    section("C fills its IOMMU, takes pages away from the device, and stops the driver");
    tell(hypervisor, EVENT_IOMMU_FILL, 0);
    check(reaches(hypervisor, PAGES), "the device reaches the same %u pages", PAGES);
    check(hypervisor->viommu.portions > portions + 1,
          "the requests were carried out in portions, with traps of C between them");
    tell(hypervisor, EVENT_IOMMU_UNMAP, 0);
    check(reaches(hypervisor, LEFT), "it reaches %u", LEFT);
    tell(hypervisor, EVENT_IOMMU_STOP, 0);
    statistics = viommu_statistics(&hypervisor->viommu);
    check(statistics.domains == 0 && statistics.mappings == 0 && statistics.bytes == 0 &&
              reaches(hypervisor, 0),
          "no domain is left, nor any byte of what they took, and the device is blocked");
}
