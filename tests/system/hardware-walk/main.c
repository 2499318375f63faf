/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Hardware walks: page tables that the library builds in this image are judged by the CPU that runs
 * it. See README.md.
 */

#include "groups.h"
#include "memory.h"

#include "machine.h"

#include <string.h>

#define DEFAULT_SEED 20240229u

/* Called by the start-up code. */
_Noreturn void image_main(void);
_Noreturn void image_exception(uint64_t vector, uint64_t syndrome, uint64_t link, uint64_t fault);

struct tally tally_start(const char *name)
{
    return (struct tally){name, 0, cpu_queries, failures};
}

void tally_end(const struct tally *tally)
{
    machine_printf("%s %-30s %5u tables %8llu queries\n",
                   failures == tally->failures_before ? "ok  " : "FAIL", tally->name, tally->tables,
                   (unsigned long long)(cpu_queries - tally->queries_before));
}

/* The number after "name=" in the command line, or the value given. */
static uint64_t argument(const char *name, uint64_t value)
{
    static char line[256];
    const char *text = line;
    size_t length = strlen(name);

    cpu_command_line(line, sizeof(line));
    for (; *text != '\0'; text++) {
        if (strncmp(text, name, length) == 0 && text[length] == '=') {
            value = 0;
            for (text += length + 1; *text >= '0' && *text <= '9'; text++) {
                value = value * 10 + (uint64_t)(*text - '0');
            }
            return value;
        }
    }
    return value;
}

void image_main(void)
{
    uint64_t seed = argument("seed", DEFAULT_SEED);
    unsigned int programs = (unsigned int)argument("programs", 250);
    /* Which parts to run, as a sum of powers of two. */
    uint64_t groups = argument("groups", 63);

    machine_printf("seed=%llu programs=%u\n", (unsigned long long)seed, programs);
    if ((groups & 1) != 0) {
        group_configurations(seed);
    }
    if ((groups & 2) != 0) {
        group_programs(seed, programs);
        if (sizeof(void *) > 4) {
            group_beyond_ram(seed);
        }
    }
    if ((groups & 4) != 0) {
        group_descriptors(seed);
    }
    if (sizeof(void *) > 4 && (groups & 8) != 0) {
        group_execute(seed);
    }
    if ((groups & 16) != 0) {
        group_regimes(seed);
    }
    if (sizeof(void *) > 4 && (groups & 32) != 0) {
        group_dirty(seed);
    }

    machine_printf("hardware-walk: %llu queries, %llu of the walker, %llu lookups, %u failures\n",
                   (unsigned long long)cpu_queries, (unsigned long long)walker_queries,
                   (unsigned long long)lookups, failures);
    cpu_exit(failures == 0 ? 0 : 1);
}

void image_exception(uint64_t vector, uint64_t syndrome, uint64_t link, uint64_t fault)
{
    machine_fail("exception %llu: syndrome 0x%llx, at 0x%llx, address 0x%llx",
                 (unsigned long long)vector, (unsigned long long)syndrome, (unsigned long long)link,
                 (unsigned long long)fault);
}

/* What machine.h of the example promises, for its printing. */

void machine_exit(int status)
{
    cpu_exit(status);
}

void machine_fail(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    machine_printf("FAIL ");
    machine_vprintf(format, arguments);
    machine_putc('\n');
    va_end(arguments);
    cpu_exit(1);
}
