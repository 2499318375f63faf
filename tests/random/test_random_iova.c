/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Random programs of calls of iova.h, on spaces from some granules to 2^36, with and without CPUs
 * that keep ranges, against a plain list of what lives. Whether there is a place is judged exactly.
 */

#include "iova_program.h"
#include "random_programs.h"

static struct iova_program program;

static uint16_t *numbers_of(void *operation)
{
    return ((struct iova_operation *)operation)->raw;
}

static void generate(void *generated, uint64_t seed, size_t length)
{
    iova_program_generate(generated, seed, length);
}

static void run(const void *tried, bool verbose)
{
    iova_program_run(tried, NULL, verbose);
}

int main(int argc, char **argv)
{
    const struct random_programs programs = {
        .name = "IOVA",
        .default_steps = 300000,
        .longest = IOVA_PROGRAM_LENGTH,
        .shrinking = {.operations = program.operations,
                      .operation_size = sizeof(program.operations[0]),
                      .length = &program.length,
                      .numbers = numbers_of,
                      .number_count = IOVA_PROGRAM_NUMBERS,
                      .config = program.config,
                      .config_count = IOVA_PROGRAM_CONFIG},
        .program = &program,
        .generate = generate,
        .run = run,
    };

    return random_programs_main(&programs, argc, argv);
}
