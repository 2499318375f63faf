/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef BOARD_H
#define BOARD_H

/*
 * QEMU's "virt" machine as a board for the kernel and for the port: the tick, one more interrupt,
 * memory for DMA, PCI. What it consists of is in examples/qemu-machine.
 */

#include "machine.h"
#include "piommu_freertos.h"

/* What the port has to know of the board. */
void board_describe(struct piommu_freertos_board *board);

/* How much of the board's memory for DMA the library has, in granules. */
unsigned int board_granules_taken(void);

/*
 * Gives this interrupt, a level, a handler, and a priority from which the kernel may be called. One
 * can have it. It is let through by machine_interrupt_enable.
 */
void board_set_handler(unsigned int intid, void (*handler)(void *cookie), void *cookie);

/* Ends the run if the machine is not the one that this image was built for. */
void board_check(void);

/* Called by the kernel's port: what the interrupt controller says of the interrupt. */
void vApplicationIRQHandler(uint32_t acknowledged);
/* Called by the kernel: a task has used more stack than it has. */
void vApplicationStackOverflowHook(TaskHandle_t task, char *name);

#endif
