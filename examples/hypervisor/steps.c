/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The steps of the demonstration. The guests check what they see; here is checked what they cannot
 * see, or could be wrong about.
 */

#include "hypervisor.h"
#include "judge.h"
#include "machine.h"
#include "transcript.h"

#define STRAY_ADDRESS 0x60000000ull /* in no guest */
#define TRIED_SIZE    16u
#define GIVEN_SLOT    4u
#define LAST_SLOT_A   5u /* B has no such slot */
#define TURNS         4u /* those that saying hello takes */

static struct guest *guest_a(struct hypervisor *hypervisor)
{
    return &hypervisor->guests[0];
}

static struct guest *guest_b(struct hypervisor *hypervisor)
{
    return &hypervisor->guests[1];
}

/* Tells a guest, and lets it and all that follows run. */
static void tell(struct hypervisor *hypervisor, struct guest *guest, enum guest_event event,
                 uint64_t argument)
{
    iommu_forget(&hypervisor->iommu);
    guest_tell(guest, event, argument);
    schedule(hypervisor);
}

void step_guests(struct hypervisor *hypervisor)
{
    bool turns = true;
    bool waiting = true;

    section("They run in turns");
    for (unsigned int i = 0; i < GUESTS; i++) {
        guest_tell(&hypervisor->guests[i], EVENT_HELLO, 0);
    }
    schedule(hypervisor);
    for (unsigned int i = 0; i < GUESTS; i++) {
        turns = turns && hypervisor->guests[i].turns == TURNS;
        waiting = waiting && hypervisor->guests[i].state == GUEST_WAITING;
    }
    check(turns, "each of them had %u turns", TURNS);
    check(waiting, "now all wait");
}

void step_device(struct hypervisor *hypervisor)
{
    struct guest *a = guest_a(hypervisor);

    section("Guest A drives a device");
    passthrough_open(&hypervisor->edu, &hypervisor->iommu);
    iommu_forget(&hypervisor->iommu);
    passthrough_give(&hypervisor->edu, a);
    schedule(hypervisor);
    check(a->aborts == 0 && hypervisor->iommu.fault_count == 0, "all that without any fault");
}

void step_stray_dma(struct hypervisor *hypervisor)
{
    struct guest *a = guest_a(hypervisor);
    uint64_t of_b = judge_memory(guest_b(hypervisor));
    unsigned int interrupts = hypervisor->iommu.interrupts;

    section("DMA to where A has no memory");
    tell(hypervisor, a, EVENT_STRAY_DMA, STRAY_ADDRESS);
    judge_print_fault(&hypervisor->iommu);
    check(judge_fault(hypervisor, a, STRAY_ADDRESS, TRIED_SIZE),
          "the fault is that of edu, in the domain of guest A, at that address");
    check(hypervisor->iommu.interrupts > interrupts, "it came by interrupt, while A had the CPU");
    check(hypervisor->edu.owner == NULL && a->state == GUEST_WAITING,
          "A has lost the device, and goes on");
    check(judge_memory(guest_b(hypervisor)) == of_b, "no byte of B has changed");
}

void step_move(struct hypervisor *hypervisor)
{
    struct guest *b = guest_b(hypervisor);
    uint64_t of_a = judge_memory(guest_a(hypervisor));

    section("The device goes to guest B");
    iommu_forget(&hypervisor->iommu);
    passthrough_give(&hypervisor->edu, b);
    schedule(hypervisor);
    check(hypervisor->iommu.fault_count == 0, "all that without any fault");
    check(judge_memory(guest_a(hypervisor)) == of_a,
          "no byte of A has changed, although B uses the same addresses");
}

static void try_foreign(struct hypervisor *hypervisor, const char *what, uint64_t address)
{
    struct guest *b = guest_b(hypervisor);
    uint64_t of_a = judge_memory(guest_a(hypervisor));

    tell(hypervisor, b, EVENT_TRY_DMA, address);
    judge_print_fault(&hypervisor->iommu);
    check(judge_fault(hypervisor, b, address, TRIED_SIZE) &&
              judge_memory(guest_a(hypervisor)) == of_a,
          "%s: a fault in the domain of guest B, and no byte of A has changed", what);
}

void step_foreign_dma(struct hypervisor *hypervisor)
{
    const struct guest *a = guest_a(hypervisor);

    section("B tries to reach A by DMA");
    try_foreign(hypervisor, "the physical address of A's secret", machine_physical(a->slots[1]));
    try_foreign(hypervisor, "the physical address of A's RAM", machine_physical(a->ram));
    try_foreign(hypervisor, "an address that A has and B has not", guest_slot_address(LAST_SLOT_A));
    check(hypervisor->edu.owner == guest_b(hypervisor), "B, of whom that is tolerated, keeps it");
}

void step_balloon(struct hypervisor *hypervisor)
{
    struct guest *a = guest_a(hypervisor);
    struct guest *b = guest_b(hypervisor);
    uint64_t address = guest_slot_address(GIVEN_SLOT);
    const uint8_t *page = b->slots[GIVEN_SLOT];
    unsigned int slot = 0;

    section("B gives a page back while its device writes to it; A gets the page");
    tell(hypervisor, b, EVENT_GIVE_PAGE, address);
    while (slot < GUEST_SLOTS - 1 && a->slots[slot] != page) {
        slot++;
    }
    judge_print_fault(&hypervisor->iommu);
    check(judge_fault(hypervisor, b, address, TRIED_SIZE),
          "DMA to where the page was is a fault, in the domain of guest B");
    check(b->slots[GIVEN_SLOT] == NULL && a->slots[slot] == page,
          "the page is physical 0x%llx as before, and A's now",
          (unsigned long long)machine_physical(page));
    tell(hypervisor, a, EVENT_LOOK_PAGE, guest_slot_address(slot));
    check(judge_views(a) && judge_apart(hypervisor),
          "domain, stage-2 table and the CPU's own walk agree; nothing is reached by both");
}

void step_outside(struct hypervisor *hypervisor)
{
    struct guest *a = guest_a(hypervisor);
    struct guest *b = guest_b(hypervisor);

    section("CPUs that touch what is not theirs");
    tell(hypervisor, a, EVENT_OUTSIDE, machine_physical(b->ram));
    check(a->state == GUEST_WAITING, "A, which can take aborts, goes on");
    tell(hypervisor, b, EVENT_CRASH, 0);
    check(b->state == GUEST_STOPPED && hypervisor->edu.owner == NULL,
          "B, which cannot, is stopped, and the device is taken from it");
    iommu_forget(&hypervisor->iommu);
    passthrough_give(&hypervisor->edu, a);
    schedule(hypervisor);
    check(a->state == GUEST_WAITING && hypervisor->iommu.fault_count == 0,
          "A has the device again: what was in place of its registers is gone");
}
