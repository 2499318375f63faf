/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef INTERNAL_H
#define INTERNAL_H

/* What the files of the machine tell each other and the program does not need. */

#include "machine.h"
#include "sysreg.h"

/* The only two addresses that are compiled in; the linker script knows the first one too. */
#define RAM_BASE  0x40000000u
#define UART_BASE 0x09000000u

/* Of the linker script. */
extern char image_start[], image_end[];

/* Called by boot.S. */
_Noreturn void machine_start(void);
_Noreturn void machine_exception(unsigned int vector);

/* start.c: a number of `count` cells (1 or 2) in a property of the device tree. */
uint64_t machine_read_cells(const void *property, int count);

/* exit.c: whether machine_exit was called, so that an exception is just a way out that failed. */
bool machine_is_ending(void);

/*
 * mmu.c: turns the MMU on with the image, the blob and the UART mapped; then, when the size of RAM
 * is known, maps all of the 1 TiB space.
 */
void machine_mmu_start(void);
void machine_mmu_map_all(uint64_t ram_base, uint64_t ram_size);

/* memory.c: takes the RAM from the end of the image to the end of RAM. */
void machine_memory_start(uint64_t ram_base, uint64_t ram_size);

/* pci.c: finds the host bridge, gives out bus numbers and addresses. */
void machine_pci_start(void);

/* gic.c: finds the interrupt controller and switches it on. */
void machine_gic_start(void);

/* start.c: where a node of the device tree has its registers; 0 if it has not so many regions. */
uintptr_t machine_registers(int node, unsigned int index);

/*
 * its.c: makes the ITS, if the machine has one, ready to give messages to the CPU with this
 * redistributor; and machine_message_create of a machine that has one.
 */
void machine_its_start(uintptr_t redistributor);
int machine_its_message(uint16_t requester, struct machine_message *message);

#endif
