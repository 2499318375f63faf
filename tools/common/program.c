/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "program.h"

#include <piommu/version.h>

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static const char *program_name = "piommu";

void program_begin(const char *name)
{
    program_name = name;
}

static void say(const char *format, va_list arguments)
{
    fprintf(stderr, "%s: ", program_name);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
}

void complain(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    say(format, arguments);
    va_end(arguments);
}

enum status wrong_usage(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    say(format, arguments);
    va_end(arguments);
    fprintf(stderr, "Try '%s --help'.\n", program_name);
    return STATUS_USAGE;
}

bool program_answers(const char *argument, const char *help)
{
    if (strcmp(argument, "--help") == 0) {
        printf("%s", help);
        return true;
    }
    if (strcmp(argument, "--version") == 0) {
        printf("%s %s\n", program_name, piommu_version());
        return true;
    }
    return false;
}

bool written(FILE *file, const char *name)
{
    if (fflush(file) == 0 && !ferror(file)) {
        return true;
    }
    complain("%s: %s", name, strerror(errno));
    return false;
}

void *must_realloc(void *memory, size_t count, size_t size)
{
    void *moved = count > SIZE_MAX / size ? NULL : realloc(memory, count * size);

    if (moved == NULL) {
        complain("no memory");
        exit(STATUS_USAGE);
    }
    return moved;
}

void *library_alloc(void *ctx, size_t size)
{
    (void)ctx;
    return malloc(size);
}

void library_free(void *ctx, void *memory, size_t size)
{
    (void)ctx;
    (void)size;
    free(memory);
}
