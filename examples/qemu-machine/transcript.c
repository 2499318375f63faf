/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* What a demonstration prints, and what it is told on its command line. */

#include "transcript.h"

#include "machine.h"

#include <piommu/error.h>

#include <libfdt.h>
#include <string.h>

static unsigned int passed;
static unsigned int failed;
static unsigned int sections;

void check(bool holds, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    machine_printf(holds ? "ok   " : "FAIL ");
    machine_vprintf(format, arguments);
    machine_printf("\n");
    va_end(arguments);
    *(holds ? &passed : &failed) += 1;
}

int summary(void)
{
    machine_printf("\ndemo: %u checks passed, %u failed\n", passed, failed);
    return failed == 0 ? 0 : 1;
}

void must(int error, const char *what)
{
    if (error != 0) {
        check(false, "%s: %s", what, piommu_strerror(error));
        machine_exit(summary());
    }
}

void section(const char *title)
{
    machine_printf("\n%u. %s\n", ++sections, title);
}

bool told(const char *word)
{
    const void *blob = machine_device_tree();
    const char *words = fdt_getprop(blob, fdt_path_offset(blob, "/chosen"), "bootargs", NULL);

    while (words != NULL) {
        const char *end = strchr(words, ' ');
        size_t size = end == NULL ? strlen(words) : (size_t)(end - words);

        if (size == strlen(word) && memcmp(words, word, size) == 0) {
            return true;
        }
        words = end == NULL ? NULL : end + 1;
    }
    return false;
}
