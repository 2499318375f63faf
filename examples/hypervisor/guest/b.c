/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* Guest B: has the device after A, and tries what it can do with it. */

#include "guest.h"

#include "sysreg.h"

#include <string.h>

#define MARK     0x11
#define TRY_SIZE 16u

/* What the device holds, from its start on. */
static void read_device(uint8_t *page, size_t size)
{
    memset(page, 0, size);
    edu_dma_from_device(&guest_edu, 0, (uintptr_t)page, size);
}

static void use_device(void)
{
    uint8_t *page = guest_page(0);

    guest_check(edu_open(&guest_edu, GUEST_EDU) == 0, "the device answers");
    memset(page, MARK, GUEST_PAGE_SIZE);
    edu_dma_from_device(&guest_edu, 0, (uintptr_t)page, EDU_BUFFER_SIZE);
    guest_check(guest_is_filled(page, EDU_BUFFER_SIZE, 0),
                "the device has forgotten what its last owner did with it");
    guest_device_works();
}

static void load_device(void)
{
    memset(guest_page(0), MARK, TRY_SIZE);
    edu_dma_to_device(&guest_edu, (uintptr_t)guest_page(0), 0, TRY_SIZE);
}

/* Lets the device write there, and read. */
static void try_dma(uint64_t address)
{
    machine_printf("the device is to write to 0x%llx, and to read there\n",
                   (unsigned long long)address);
    load_device();
    edu_dma_from_device(&guest_edu, 0, address, TRY_SIZE);
    edu_dma_to_device(&guest_edu, address, 0, TRY_SIZE);
    read_device(guest_page(1), TRY_SIZE);
    guest_check(!guest_contains(guest_page(1), TRY_SIZE, GUEST_SECRET),
                "nothing that the device reads there is another's");
}

static bool can_give(uint64_t address)
{
    return hypercall(HYPERCALL_GIVE_PAGE, address, 0, 0).x0 == 0;
}

/* Gives a page away between the start of a copy to it and its end. */
static void give_page(uint8_t *page)
{
    uint64_t address = (uintptr_t)page;
    bool given, aborted;

    load_device();
    machine_printf("the device begins to write to %p\n", (void *)page);
    edu_dma_begin_from_device(&guest_edu, 0, address, TRY_SIZE);
    /* A TLB knows the page when it goes, and nothing happens before the next look at it. */
    memset(page, MARK, GUEST_PAGE_SIZE);
    given = can_give(address);
    aborted = guest_aborts_at(address, false);
    guest_check(given, "the page is given back meanwhile");
    guest_check(aborted, "to look at it is an abort from then on");
    hypercall(HYPERCALL_YIELD, 0, 0, 0);
    guest_check(edu_dma_wait(&guest_edu) == 0 &&
                    edu_dma_from_device(&guest_edu, 0, address, TRY_SIZE) == 0,
                "the device is done with that copy, and with another one to the same place");
    guest_check(!can_give(address) && !can_give(GUEST_RAM) && !can_give(GUEST_EDU),
                "it cannot be given twice, nor what is no single page");
}

/* Without a way to take exceptions. */
static void crash(void)
{
    WRITE_SYSREG(vbar_el1, 0);
    instruction_barrier();
    machine_mmio_write(GUEST_GIC, 4, 0);
}

void guest_event(enum guest_event event, uint64_t argument)
{
    switch (event) {
    case EVENT_DEVICE:
        use_device();
        break;
    case EVENT_TRY_DMA:
        try_dma(argument);
        break;
    case EVENT_GIVE_PAGE:
        give_page((uint8_t *)(uintptr_t)argument);
        break;
    case EVENT_CRASH:
        crash();
        break;
    default:
        guest_check(false, "an event that is not for this guest");
        break;
    }
}
