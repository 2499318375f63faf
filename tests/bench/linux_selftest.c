/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Runs the test that Linux's page tables bring along. It has to pass for the comparison to mean
 * anything: it is the proof that the shim is a good enough kernel.
 */

#include <stdarg.h>
#include <stdio.h>

#include "bench.h"

int linux_selftest(void);

bench_invalidate invalidate;
uint64_t cleaned_lines;
static unsigned int warnings;

void wrong(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    warnings++;
}

int main(void)
{
    int error;
    long leaked = 0;

    pool_poisons = true;
    error = linux_selftest();
    for (size_t size = 4096; size <= 65536; size *= 2) {
        leaked += pool_in_use(size);
    }
    printf("%u warnings, %ld tables leaked\n", warnings, leaked);
    return error != 0 || warnings != 0 || leaked != 0;
}
