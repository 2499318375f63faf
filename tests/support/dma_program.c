/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "dma_program.h"

/* What each operation does, and how often it is chosen, in parts of the sum. */
static const struct {
    dma_call *call;
    unsigned int weight;
} operations[] = {
    {dma_call_map_single, 24},    {dma_call_map_sg, 20},     {dma_call_map_resource, 3},
    {dma_call_link, 14},          {dma_call_alloc, 4},       {dma_call_unmap, 34},
    {dma_call_unmap_twice, 3},    {dma_call_unmap_wrong, 3}, {dma_call_sync_cpu, 14},
    {dma_call_sync_device, 14},   {dma_call_sync_wrong, 2},  {dma_call_cpu_writes, 22},
    {dma_call_device_writes, 30}, {dma_call_poll, 4},        {dma_call_flush, 2},
    {dma_call_clock, 4},          {dma_call_cpu, 3},         {dma_call_masks, 2},
};

#define KINDS (sizeof(operations) / sizeof(operations[0]))

static uint64_t next(uint64_t *random)
{
    *random = *random * 6364136223846793005u + 1442695040888963407u;
    return *random >> 33;
}

static uint16_t choose_kind(uint64_t *random)
{
    unsigned int sum = 0;
    unsigned int number;
    uint16_t kind = 0;

    for (size_t i = 0; i < KINDS; i++) {
        sum += operations[i].weight;
    }
    number = (unsigned int)(next(random) % sum);
    while (number >= operations[kind].weight) {
        number -= operations[kind++].weight;
    }
    return kind;
}

void dma_program_generate(struct dma_program *program, uint64_t seed, size_t length)
{
    uint64_t random = seed;

    for (unsigned int i = 0; i < DMA_WORLD_NUMBERS; i++) {
        program->config[i] = (uint16_t)next(&random);
    }
    program->length = length;
    for (size_t i = 0; i < length; i++) {
        program->operations[i].kind = choose_kind(&random);
        for (unsigned int k = 0; k < DMA_CALL_NUMBERS; k++) {
            program->operations[i].raw[k] = (uint16_t)next(&random);
        }
    }
}

void dma_program_run(const struct dma_program *program, bool verbose)
{
    struct dma_world *world = dma_world_create(program->config, verbose);

    for (size_t i = 0; i < program->length; i++) {
        const struct dma_operation *operation = &program->operations[i];

        world->random = operation->raw[DMA_CALL_NUMBERS - 1];
        operations[operation->kind % KINDS].call(world, operation->raw);
        dma_world_check(world);
    }
    dma_calls_end(world);
    dma_world_check(world);
    dma_world_destroy(world);
}
