/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "transcript.h"

#include <piommu/error.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static unsigned int sections;
static unsigned int checks;
static unsigned int failures;

static void print_line(const char *mark, const char *format, va_list arguments)
{
    fputs(mark, stdout);
    vprintf(format, arguments);
    putchar('\n');
}

void section(const char *title)
{
    printf("\n%u. %s\n", ++sections, title);
}

bool check(bool holds, const char *format, ...)
{
    va_list arguments;

    checks++;
    failures += !holds;
    va_start(arguments, format);
    print_line(holds ? "PASS " : "FAIL ", format, arguments);
    va_end(arguments);
    return holds;
}

void note(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    print_line("     ", format, arguments);
    va_end(arguments);
}

void note_line(void *cookie, const char *line)
{
    (void)cookie;
    note("%s", line);
}

void must(int error, const char *what)
{
    if (error != 0) {
        check(false, "%s: %s", what, piommu_strerror(error));
        exit(summary());
    }
}

int summary(void)
{
    printf("\nipmmu-model: %u checks, %u failed\n", checks, failures);
    return failures == 0 ? 0 : 1;
}
