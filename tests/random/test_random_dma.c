/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Random programs of calls of the DMA API, for devices that may be trusted or not and snoop or not,
 * in strict and lazy spaces on models of IPMMUs and virtio-iommus, against a plain model: what each
 * byte of memory is and whose, and what each device may reach. After each call every device tries
 * every address there is to give out.
 */

#include "dma_program.h"
#include "random_programs.h"

static struct dma_program program;

static uint16_t *numbers_of(void *operation)
{
    return ((struct dma_operation *)operation)->raw;
}

static void generate(void *generated, uint64_t seed, size_t length)
{
    dma_program_generate(generated, seed, length);
}

static void run(const void *tried, bool verbose)
{
    dma_program_run(tried, verbose);
}

int main(int argc, char **argv)
{
    const struct random_programs programs = {
        .name = "DMA API",
        .default_steps = 100000,
        .longest = DMA_PROGRAM_LENGTH,
        .shrinking = {.operations = program.operations,
                      .operation_size = sizeof(program.operations[0]),
                      .length = &program.length,
                      .numbers = numbers_of,
                      .number_count = DMA_CALL_NUMBERS,
                      .config = program.config,
                      .config_count = DMA_WORLD_NUMBERS},
        .program = &program,
        .generate = generate,
        .run = run,
    };

    return random_programs_main(&programs, argc, argv);
}
