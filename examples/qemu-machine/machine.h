/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef MACHINE_H
#define MACHINE_H

/*
 * What a bare-metal program on QEMU's "virt" machine gets from the code in this folder. One CPU, no
 * interrupt handlers, MMU and caches on, every virtual address equal to the physical one.
 *
 * The same image runs at EL1 and at EL2. Only the start of RAM and the UART's address are compiled
 * in; the size of RAM, the PCI host bridge and its windows come from the device tree.
 *
 * Functions that return int return 0, or -1 if the comment's condition for success does not hold.
 */

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The program. Called when all of the machine below works; what it returns ends the run, as if it
 * were given to machine_exit. Written by whoever uses this folder.
 */
int main(void);

/* ---- CPU and device tree (start.c) ---- */

/* The exception level that the program runs at: 1 or 2. */
unsigned int machine_current_el(void);

/* The device tree blob that QEMU made, checked by fdt_check_full. Never NULL inside main. */
const void *machine_device_tree(void);

/* The RAM that the device tree's /memory node describes. */
uint64_t machine_ram_base(void);
uint64_t machine_ram_size(void);

/* ---- The end of a run (exit.c) ---- */

/*
 * Ends QEMU with this exit status, 0 to 255. Without -semihosting the status is lost, but QEMU
 * ends.
 */
_Noreturn void machine_exit(int status);

/*
 * Prints a line that begins with "machine: " and ends with a newline, then ends QEMU with status 1.
 */
_Noreturn void machine_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ---- Text on the UART (uart.c, print.c) ---- */

void machine_putc(char c);

/*
 * A small printf: %c %s %d %i %u %x %X %p %%, the lengths l, ll, z and j, a width (also *), the
 * flags 0 and -, and a precision for %s. No floating point.
 */
void machine_printf(const char *format, ...) __attribute__((format(printf, 1, 2)));
void machine_vprintf(const char *format, va_list arguments) __attribute__((format(printf, 1, 0)));

/* ---- Memory (memory.c) ---- */

#define MACHINE_PAGE_SIZE ((size_t)4096)

/*
 * Whole pages of RAM: `bytes` (rounded up) at the lowest address that is free and a multiple of
 * `alignment`, a power of two. NULL if there are none. The content is garbage, on purpose.
 */
void *machine_pages_alloc(size_t bytes, size_t alignment);
/* Takes them back, with the size that was asked for. Freeing twice ends the run. */
void machine_pages_free(void *pages, size_t bytes);
/* The sum of all `bytes` that were allocated and not yet freed. */
size_t machine_pages_outstanding(void);

/* The same for small objects, aligned to 16 bytes, from a heap of a few MiB. */
void *machine_alloc(size_t bytes);
void machine_free(void *memory, size_t bytes);
size_t machine_heap_outstanding(void);

/* The address of memory as a device without an IOMMU sees it. */
static inline uint64_t machine_physical(const volatile void *pointer)
{
    return (uint64_t)(uintptr_t)pointer;
}

/* ---- Time (time.c) ---- */

/* Nanoseconds since some moment before main; never goes back. */
uint64_t machine_now(void);
/* Returns after at least this time. */
void machine_delay(uint64_t nanoseconds);

/* ---- Registers and barriers ---- */

/*
 * Device registers of 1, 2, 4 or 8 bytes, naturally aligned. The volatile access becomes one load
 * or store; the MMU maps everything but RAM as Device-nGnRnE, so that they stay in program order.
 */
static inline uint64_t machine_mmio_read(uintptr_t address, unsigned int width)
{
    switch (width) {
    case 1:
        return *(const volatile uint8_t *)address;
    case 2:
        return *(const volatile uint16_t *)address;
    case 4:
        return *(const volatile uint32_t *)address;
    default:
        return *(const volatile uint64_t *)address;
    }
}

static inline void machine_mmio_write(uintptr_t address, unsigned int width, uint64_t value)
{
    switch (width) {
    case 1:
        *(volatile uint8_t *)address = (uint8_t)value;
        break;
    case 2:
        *(volatile uint16_t *)address = (uint16_t)value;
        break;
    case 4:
        *(volatile uint32_t *)address = (uint32_t)value;
        break;
    default:
        *(volatile uint64_t *)address = value;
        break;
    }
}

/* Every load and store before it is complete before anything after it starts, devices included. */
static inline void machine_barrier(void)
{
    __asm__ volatile("dsb sy" ::: "memory");
}

/* ---- Interrupts (gic.c, its.c) ---- */

/*
 * GICv2 with its frame for messages (v2m), or GICv3 with its ITS. No interrupt is ever taken,
 * unless the program has handlers of its own: it asks for one, and gets it from the CPU interface
 * as a handler would.
 */

#define MACHINE_FIRST_SPI 32u

/* Lets an interrupt through to this CPU, or not: a shared one (SPI), or one of the CPU alone. */
void machine_interrupt_enable(unsigned int intid, bool edge);
void machine_interrupt_disable(unsigned int intid);
/* 0 to 255; 0, which all have at first, is the highest. */
void machine_interrupt_set_priority(unsigned int intid, unsigned int priority);

/* 2 or 3; 0: the machine has no interrupt controller. */
unsigned int machine_gic_version(void);

/*
 * Waits until this interrupt is signalled, and acknowledges it; machine_interrupt_done has to
 * follow. False if it was not until then. Others that come meanwhile are dropped.
 */
bool machine_interrupt_wait(unsigned int intid, uint64_t deadline);
void machine_interrupt_done(unsigned int intid);

/* An interrupt message: what a device has to write, and where; and what comes of it. */
struct machine_message {
    uint64_t address;
    uint32_t data;
    unsigned int intid; /* enabled */
};

/* Makes one for a function, by its requester ID. -1 if the machine has none left. */
int machine_message_create(uint16_t requester, struct machine_message *message);

/* ---- PCI (pci.c) ---- */

/*
 * A function is named by its BDF: bus in bits 15:8, device in 7:3, function in 2:0. Before main,
 * all buses have numbers, all memory BARs have addresses, memory decoding is on and bus mastering
 * is off: no device can do DMA until the program says so.
 */

/* The number of functions found, and the BDF of each in the order of the scan. */
unsigned int machine_pci_count(void);
uint16_t machine_pci_function(unsigned int index);

/* Finds the first function with these IDs. -1 if there is none. */
int machine_pci_find(uint16_t vendor, uint16_t device, uint16_t *bdf);

/*
 * Where BAR number 0 to 5 was put, as an address of the CPU. *size is 0 for a BAR that does not
 * exist, is the upper half of the one before, or decodes I/O ports. -1 if the function does not
 * exist.
 */
int machine_pci_bar(uint16_t bdf, unsigned int number, uint64_t *physical, uint64_t *size);

/*
 * Lets a function do DMA, or stops it. Allowing it does the same for the bridges on the way, which
 * forward its requests. -1 if the function does not exist.
 */
int machine_pci_bus_master(uint16_t bdf, bool allow);

/* The interrupt (level-triggered) that the function's pin ends up at. -1 if it has none. */
int machine_pci_interrupt(uint16_t bdf, unsigned int *intid);

/*
 * The requester ID that the function's DMA carries when it reaches the root: its BDF, or, behind a
 * bridge from PCI Express to conventional PCI, that of function 0 of the bus behind the bridge
 * (PCI Express to PCI/PCI-X Bridge Specification 1.0, section 2.3).
 */
uint16_t machine_pci_requester(uint16_t bdf);

/*
 * The offset of the first capability with this ID behind `previous`, which is the offset of one, or
 * 0 to begin. 0 if there is none.
 */
unsigned int machine_pci_capability(uint16_t bdf, unsigned int id, unsigned int previous);

/*
 * Configuration space: 1, 2 or 4 bytes, naturally aligned, offset below 4096. All ones if absent.
 */
uint32_t machine_pci_read(uint16_t bdf, unsigned int offset, unsigned int width);
void machine_pci_write(uint16_t bdf, unsigned int offset, unsigned int width, uint32_t value);

/* ---- Stage 2 by the CPU's own translation hardware (stage2.c) ---- */

/*
 * Translates an intermediate physical address with the stage-2 tables that vttbr and vtcr (values
 * of VTTBR_EL2 and VTCR_EL2) describe, as a read or a write of EL1, and returns what the CPU left
 * in PAR_EL1. The CPU's own set-up is as before afterwards. -1 at EL1, where there is no stage 2 to
 * use.
 */
int machine_stage2_translate(uint64_t vttbr, uint64_t vtcr, uint64_t address, bool write,
                             uint64_t *par);

/* What PAR_EL1 says. */
struct machine_par {
    bool fault;
    /* If it is a fault: */
    unsigned int status; /* FST, bits 6:1: 4 + level translation, 12 + level permission */
    bool stage2;         /* S: the fault is one of stage 2 */
    bool table_walk;     /* PTW: it came up when a stage-1 table was read */
    /* If it is not: */
    uint64_t physical;         /* the output address, with the low 12 bits of the input */
    unsigned int attributes;   /* ATTR, coded as in MAIR_EL1: 0xff is Normal Write-Back */
    unsigned int shareability; /* SH: 0 none, 2 outer, 3 inner */
};

struct machine_par machine_par_decode(uint64_t par, uint64_t address);

#endif
