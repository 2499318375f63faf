/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "guest.h"

#include "sysreg.h"

#include <string.h>

#define UNDEFINED  0x00u
#define DATA_ABORT 0x25u /* at the same exception level */
#define TURNS      3u
#define COPY_SIZE  3072u /* from the middle of a page on, so that it ends in the next one */
#define COPY_START (GUEST_PAGE_SIZE / 2)

/* boot.S */
_Noreturn void guest_main(unsigned int pages);
void guest_exception(void);

struct edu guest_edu;
volatile struct guest_aborts guest_aborts;

static unsigned int pages;

struct hypercall_result hypercall(enum hypercall number, uint64_t a, uint64_t b, uint64_t c)
{
    register uint64_t x0 __asm__("x0") = number;
    register uint64_t x1 __asm__("x1") = a;
    register uint64_t x2 __asm__("x2") = b;
    register uint64_t x3 __asm__("x3") = c;

    __asm__ volatile("hvc #0" : "+r"(x0), "+r"(x1) : "r"(x2), "r"(x3) : "memory");
    return (struct hypercall_result){.x0 = x0, .x1 = x1};
}

void guest_check(bool holds, const char *text)
{
    hypercall(HYPERCALL_CHECK, holds, (uintptr_t)text, strlen(text));
}

uint8_t *guest_page(unsigned int slot)
{
    return (uint8_t *)(uintptr_t)(GUEST_PAGES + (uint64_t)slot * GUEST_PAGE_SIZE);
}

bool guest_is_filled(const uint8_t *memory, size_t size, uint8_t value)
{
    for (size_t i = 0; i < size; i++) {
        if (memory[i] != value) {
            return false;
        }
    }
    return true;
}

bool guest_contains(const uint8_t *memory, size_t size, uint8_t value)
{
    return memchr(memory, value, size) != NULL;
}

void guest_exception(void)
{
    uint64_t class = READ_SYSREG(esr_el1) >> 26;

    if (class != DATA_ABORT && class != UNDEFINED) {
        hypercall(HYPERCALL_STOP, 0, 0, 0);
    }
    guest_aborts.address = READ_SYSREG(far_el1);
    guest_aborts.count++;
    WRITE_SYSREG(elr_el1, READ_SYSREG(elr_el1) + 4);
}

bool guest_aborts_at(uint64_t address, bool write)
{
    unsigned int before = guest_aborts.count;

    if (write) {
        machine_mmio_write(address, 4, 0xdeadbeef);
    } else {
        machine_mmio_read(address, 4);
    }
    return guest_aborts.count == before + 1 && guest_aborts.address == address;
}

/* Gives the CPU away with numbers in registers that nobody saves here. True: all are still so. */
static bool survive_a_turn(uint64_t number)
{
    uint64_t different;

    WRITE_SYSREG(tpidr_el1, number);
    WRITE_SYSREG(sp_el0, number + 1);
    __asm__ volatile("mov x19, %1\n\t"
                     "add x20, x19, #1\n\t"
                     "add x28, x19, #2\n\t"
                     "mov x0, %2\n\t"
                     "hvc #0\n\t"
                     "sub x28, x28, x19\n\t"
                     "sub x20, x20, x19\n\t"
                     "eor x19, x19, %1\n\t"
                     "eor x20, x20, #1\n\t"
                     "eor x28, x28, #2\n\t"
                     "orr x19, x19, x20\n\t"
                     "orr %0, x19, x28"
                     : "=&r"(different)
                     : "r"(number), "i"(HYPERCALL_YIELD)
                     : "x0", "x1", "x19", "x20", "x28", "memory");
    return different == 0 && READ_SYSREG(tpidr_el1) == number && READ_SYSREG(sp_el0) == number + 1;
}

static bool memory_works(void)
{
    for (unsigned int slot = 0; slot < pages; slot++) {
        memset(guest_page(slot), (int)slot + 1, GUEST_PAGE_SIZE);
    }
    for (unsigned int slot = 0; slot < pages; slot++) {
        if (!guest_is_filled(guest_page(slot), GUEST_PAGE_SIZE, (uint8_t)(slot + 1))) {
            return false;
        }
    }
    return true;
}

static void hello(void)
{
    bool survived = true;

    machine_printf("hello from EL%u, with %llu KiB of RAM and %u single pages\n",
                   (unsigned int)(READ_SYSREG(CurrentEL) >> 2) & 3,
                   (unsigned long long)(GUEST_RAM_SIZE >> 10), pages);
    guest_check(memory_works(), "each single page keeps what is written to it");
    for (unsigned int i = 1; i <= TURNS; i++) {
        machine_printf("turn %u\n", i);
        survived = survived && survive_a_turn(machine_now());
    }
    guest_check(survived, "the registers are as they were when the others have had their turns");
}

static uint8_t pattern(size_t offset)
{
    return (uint8_t)(offset * 7 + (offset >> 8) + 1);
}

bool guest_copies(uint64_t source_address, uint64_t target_address)
{
    uint8_t *source = guest_page(0) + COPY_START;
    uint8_t *target = guest_page(2) + COPY_START;

    for (size_t i = 0; i < COPY_SIZE; i++) {
        source[i] = pattern(i);
    }
    memset(target, 0, COPY_SIZE);
    return edu_dma_to_device(&guest_edu, source_address + COPY_START, 0, COPY_SIZE) == 0 &&
           edu_dma_from_device(&guest_edu, 0, target_address + COPY_START, COPY_SIZE) == 0 &&
           memcmp(source, target, COPY_SIZE) == 0;
}

void guest_device_works(void)
{
    guest_check(edu_open(&guest_edu, GUEST_EDU) == 0, "the device is there");
    guest_check(guest_copies((uintptr_t)guest_page(0), (uintptr_t)guest_page(2)),
                "3072 bytes go to the device and back, by the guest's own addresses");
}

void guest_main(unsigned int page_count)
{
    pages = page_count;
    for (;;) {
        struct hypercall_result news = hypercall(HYPERCALL_EVENT, 0, 0, 0);

        if (news.x0 == EVENT_NONE) {
            __asm__ volatile("wfi" ::: "memory");
        } else if (news.x0 == EVENT_HELLO) {
            hello();
        } else {
            guest_event((enum guest_event)news.x0, news.x1);
        }
    }
}
