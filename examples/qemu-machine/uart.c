/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* The PL011 UART. QEMU's needs no set-up; a real one wants its baud rate and an enable bit. */

#include "internal.h"
#include "machine.h"

#define UARTDR      0x00
#define UARTFR      0x18
#define UARTFR_TXFF 0x20u /* the transmit FIFO is full */

void machine_putc(char c)
{
    while ((machine_mmio_read(UART_BASE + UARTFR, 4) & UARTFR_TXFF) != 0) {
        ;
    }
    machine_mmio_write(UART_BASE + UARTDR, 4, (unsigned char)c);
}
