/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef CONSOLE_H
#define CONSOLE_H

/* The UART that a guest sees: whole lines go to the real one, with the guest's name. */

#include "mmio.h"

#define CONSOLE_LINE 120u

struct console {
    const char *name;
    char line[CONSOLE_LINE];
    unsigned int length;
};

/* The handler of its registers; ctx is the console. */
void console_access(void *ctx, struct mmio_access *access);

#endif
