/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Random programs of calls of the core, over mock units of both kinds, against a model written
 * from the headers. Devices try to reach memory after every call of a backend.
 */

#include "core_program.h"
#include "random_programs.h"

static struct core_program program;

static uint16_t *numbers_of(void *operation)
{
    return ((struct core_operation *)operation)->raw;
}

static void generate(void *generated, uint64_t seed, size_t length)
{
    core_program_generate(generated, seed, length);
}

static void run(const void *tried, bool verbose)
{
    core_program_run(tried, verbose);
}

int main(int argc, char **argv)
{
    const struct random_programs programs = {
        .name = "core",
        .default_steps = 1000000,
        .longest = CORE_PROGRAM_LENGTH,
        .shrinking = {.operations = program.operations,
                      .operation_size = sizeof(program.operations[0]),
                      .length = &program.length,
                      .numbers = numbers_of,
                      .number_count = CORE_CALL_NUMBERS,
                      .config = program.config,
                      .config_count = CORE_CONFIG_NUMBERS},
        .program = &program,
        .generate = generate,
        .run = run,
    };

    return random_programs_main(&programs, argc, argv);
}
