/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Random programs of calls on IPMMU units of every class and kind of tables, under random readings
 * of what is not known of the hardware, against a plain model of who was granted what. After each
 * access to a register everything that can be cached is, and every master tries every address.
 */

#include "ipmmu_program.h"
#include "random_programs.h"

static struct ipmmu_program program;

static uint16_t *numbers_of(void *operation)
{
    return ((struct ipmmu_operation *)operation)->raw;
}

static void generate(void *generated, uint64_t seed, size_t length)
{
    ipmmu_program_generate(generated, seed, length);
}

static void run(const void *tried, bool verbose)
{
    ipmmu_program_run(tried, verbose);
}

int main(int argc, char **argv)
{
    const struct random_programs programs = {
        .name = "IPMMU-VMSA",
        .default_steps = 70000,
        .longest = IPMMU_PROGRAM_LENGTH,
        .shrinking = {.operations = program.operations,
                      .operation_size = sizeof(program.operations[0]),
                      .length = &program.length,
                      .numbers = numbers_of,
                      .number_count = IPMMU_CALL_NUMBERS,
                      .config = program.config,
                      .config_count = IPMMU_WORLD_NUMBERS},
        .program = &program,
        .generate = generate,
        .run = run,
    };

    return random_programs_main(&programs, argc, argv);
}
