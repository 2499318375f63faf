/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* What the kernel's files call that needs a libc; see linux_shim.h. */

#include <stdarg.h>
#include <stdio.h>

#include "bench.h"

void linux_warn(const char *file, int line);
void linux_print(const char *format, ...) __attribute__((format(printf, 1, 2)));

void linux_warn(const char *file, int line)
{
    wrong("Linux warns in %s, line %d", file, line);
}

void linux_print(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
}
