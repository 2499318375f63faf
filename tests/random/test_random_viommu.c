/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Random requests of a hostile guest, with budgets, resets, and endpoints that come and go, to the
 * engine of a virtio-iommu over mock units of both kinds, against a plain model of its domains.
 */

#include "viommu_program.h"
#include "random_programs.h"

static struct viommu_program program;

static uint16_t *numbers_of(void *operation)
{
    return ((struct viommu_operation *)operation)->raw;
}

static void generate(void *generated, uint64_t seed, size_t length)
{
    viommu_program_generate(generated, seed, length);
}

static void run(const void *tried, bool verbose)
{
    viommu_program_run(tried, verbose);
}

int main(int argc, char **argv)
{
    const struct random_programs programs = {
        .name = "viommu",
        .default_steps = 300000,
        .longest = VIOMMU_PROGRAM_LENGTH,
        .shrinking = {.operations = program.operations,
                      .operation_size = sizeof(program.operations[0]),
                      .length = &program.length,
                      .numbers = numbers_of,
                      .number_count = VIOMMU_PROGRAM_NUMBERS,
                      .config = program.config,
                      .config_count = VIOMMU_PROGRAM_CONFIG},
        .program = &program,
        .generate = generate,
        .run = run,
    };

    return random_programs_main(&programs, argc, argv);
}
