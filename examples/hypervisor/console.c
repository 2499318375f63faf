/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * A PL011 (Arm DDI 0183) of which only the transmit side exists: its flags say that it is never
 * full and has received nothing, all other registers read as zero.
 */

#include "console.h"

#include "machine.h"

#define UARTDR      0x00
#define UARTFR      0x18
#define UARTFR_RXFE 0x10u /* nothing received */
#define UARTFR_TXFE 0x80u /* all was sent */

static void put(struct console *console, char c)
{
    bool is_printable = c >= ' ' && c <= '~';

    if (c != '\n' && is_printable) {
        console->line[console->length++] = c;
    }
    /* A guest cannot make the transcript illegible, nor say anything in another's name. */
    if (c == '\n' || console->length == CONSOLE_LINE) {
        machine_printf("     %s| %.*s\n", console->name, (int)console->length, console->line);
        console->length = 0;
    }
}

void console_access(void *ctx, struct mmio_access *access)
{
    if (access->write) {
        if (access->offset == UARTDR) {
            put(ctx, (char)access->value);
        }
    } else {
        access->value = access->offset == UARTFR ? UARTFR_RXFE | UARTFR_TXFE : 0;
    }
}
