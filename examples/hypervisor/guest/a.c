/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* Guest A: has the device first, and a secret. */

#include "guest.h"

#include "sysreg.h"

#include <string.h>

#define SECRET_SLOT     1u
#define STRAY_SIZE      16u
#define OWN_DATA        0xa7
#define NONSENSE_SEED   0x9e3779b97f4a7c15ull
#define NONSENSE_ROUNDS 1000u

static bool is_refused(enum hypercall number, uint64_t a, uint64_t b, uint64_t c)
{
    return hypercall(number, a, b, c).x0 == HYPERCALL_REFUSED;
}

/* The secret is in a page, and what the device holds at the end. */
static void use_device(void)
{
    uint8_t *page = guest_page(SECRET_SLOT);

    guest_device_works();
    memset(page, GUEST_SECRET, GUEST_PAGE_SIZE);
    guest_check(edu_dma_to_device(&guest_edu, (uintptr_t)page, 0, EDU_BUFFER_SIZE) == 0,
                "what is in the device now is nobody else's business");
    guest_check(is_refused(HYPERCALL_CHECK, 0, GUEST_EDU, 4),
                "the hypervisor takes no text from the device's registers");
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

/* xorshift64 (Marsaglia 2003); the same numbers in each run. */
static uint64_t random_number(void)
{
    static uint64_t state = NONSENSE_SEED;

    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

/* An address that is not in RAM, with any number of low bits. */
static uint64_t random_address(void)
{
    uint64_t address = random_number() >> random_number() % 64;

    return address >= GUEST_RAM && address < GUEST_RAM + GUEST_RAM_SIZE ? 0 : address;
}

/* Texts of checks that are not all memory, pages that are none, calls that do not exist. */
static void ask_nonsense(void)
{
    const uint64_t end_of_ram = GUEST_RAM + GUEST_RAM_SIZE;
    const uint64_t end_of_slots = (uintptr_t)guest_page(GUEST_SLOTS);
    bool all = is_refused(HYPERCALL_CHECK, 0, end_of_ram - 1, 2) &&
               is_refused(HYPERCALL_CHECK, 0, GUEST_UART, 1) &&
               is_refused(HYPERCALL_CHECK, 0, UINT64_MAX, 2) &&
               is_refused(HYPERCALL_GIVE_PAGE, GUEST_PAGES + 1, 0, 0) &&
               is_refused(HYPERCALL_GIVE_PAGE, end_of_slots, 0, 0);

    machine_printf("nonsense from seed 0x%llx\n", NONSENSE_SEED);
    for (unsigned int i = 0; i < NONSENSE_ROUNDS; i++) {
        uint64_t unknown = random_number() | 8; /* above all that exist */

        all = all && is_refused(HYPERCALL_CHECK, 0, random_address() | 1ull << 63, i + 1) &&
              is_refused(HYPERCALL_GIVE_PAGE, random_address() | 1, random_number(), i) &&
              is_refused((enum hypercall)unknown, random_number(), random_number(), i);
    }
    guest_check(all, "3005 hypercalls that make no sense are refused");
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
        ask_nonsense();
        break;
    default:
        guest_check(false, "an event that is not for this guest");
        break;
    }
}
