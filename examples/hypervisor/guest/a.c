/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* Guest A: has the device first, and a secret. */

#include "guest.h"

#include "sysreg.h"

#include <string.h>

#define SECRET_SLOT 1u
#define STRAY_SIZE  16u
#define OWN_DATA    0xa7

/* The secret is in a page, and what the device holds at the end. */
static void use_device(void)
{
    uint8_t *page = guest_page(SECRET_SLOT);

    guest_device_works();
    memset(page, GUEST_SECRET, GUEST_PAGE_SIZE);
    guest_check(edu_dma_to_device(&guest_edu, (uintptr_t)page, 0, EDU_BUFFER_SIZE) == 0,
                "what is in the device now is nobody else's business");
}

static void stray_dma(uint64_t address)
{
    machine_printf("the device is to write to 0x%llx\n", (unsigned long long)address);
    /* It may be gone before it is done, or a moment later: the event tells. */
    edu_dma_from_device(&guest_edu, 0, address, STRAY_SIZE);
}

static void device_gone(void)
{
    struct edu edu;
    unsigned int before = guest_aborts.count;
    bool is_all_ones = machine_mmio_read(GUEST_EDU, 4) == UINT32_MAX &&
                       machine_mmio_read(GUEST_EDU + 0x98, 8) == UINT64_MAX;

    machine_mmio_write(GUEST_EDU + 0x98, 8, 1);
    guest_check(is_all_ones && guest_aborts.count == before,
                "the device is gone: its registers read as all ones, writes do nothing");
    guest_check(edu_open(&edu, GUEST_EDU) != 0 && edu_dma_wait(&guest_edu) != 0,
                "the driver notices");
}

static void page_came(uint8_t *page)
{
    machine_printf("a page has come at %p\n", (void *)page);
    guest_check(guest_is_filled(page, GUEST_PAGE_SIZE, 0), "the page that has come is blank");
    memset(page, OWN_DATA, GUEST_PAGE_SIZE);
}

/* Floating point, the physical timer, the performance monitors. */
static void use_what_is_absent(void)
{
    unsigned int before = guest_aborts.count;

    WRITE_SYSREG(cpacr_el1, 3u << 20); /* EL1 itself would let floating point through */
    instruction_barrier();
    __asm__ volatile(".inst 0x9e6703e0" ::: "memory"); /* fmov d0, xzr */
    (void)READ_SYSREG(cntp_ctl_el0);
    (void)READ_SYSREG(pmcr_el0);
    guest_check(guest_aborts.count == before + 3,
                "what guests do not have is an undefined instruction, three times");
}

static void go_outside(uint64_t foreign)
{
    const uint64_t places[] = {0,
                               GUEST_GIC,
                               GUEST_RAM - 4,
                               GUEST_RAM + GUEST_RAM_SIZE,
                               (uintptr_t)guest_page(GUEST_SLOTS - 1),
                               foreign};
    bool all = true;

    for (unsigned int i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        all = all && guest_aborts_at(places[i], false) && guest_aborts_at(places[i], true);
    }
    guest_check(all, "12 accesses to what is not its own: each ends in an abort with its address");
}

void guest_event(enum guest_event event, uint64_t argument)
{
    switch (event) {
    case EVENT_DEVICE:
        use_device();
        break;
    case EVENT_DEVICE_GONE:
        device_gone();
        break;
    case EVENT_STRAY_DMA:
        stray_dma(argument);
        break;
    case EVENT_PAGE:
        page_came((uint8_t *)(uintptr_t)argument);
        break;
    case EVENT_LOOK_PAGE:
        guest_check(guest_is_filled((uint8_t *)(uintptr_t)argument, GUEST_PAGE_SIZE, OWN_DATA),
                    "the page that has come holds what was written to it here, and nothing else");
        break;
    case EVENT_OUTSIDE:
        go_outside(argument);
        use_what_is_absent();
        break;
    default:
        guest_check(false, "an event that is not for this guest");
        break;
    }
}
