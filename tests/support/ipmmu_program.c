/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "ipmmu_program.h"

enum operation_kind {
    OPERATION_START,
    OPERATION_STOP,
    OPERATION_SUSPEND,
    OPERATION_RESUME,
    OPERATION_ADD,
    OPERATION_REMOVE,
    OPERATION_ATTACH,
    OPERATION_DETACH,
    OPERATION_CREATE,
    OPERATION_DESTROY,
    OPERATION_MAP,
    OPERATION_UNMAP,
    OPERATION_SYNC,
    OPERATION_PROTECT,
    OPERATION_FAULT,
    OPERATION_SERVICE,
    OPERATION_LATENCY,
    OPERATION_KINDS,
};

/* What each does, and how often it is chosen, in parts of the sum. */
static const struct {
    ipmmu_call *call;
    unsigned int weight;
} operations[OPERATION_KINDS] = {
    [OPERATION_START] = {ipmmu_call_start, 10},    [OPERATION_STOP] = {ipmmu_call_stop, 3},
    [OPERATION_SUSPEND] = {ipmmu_call_suspend, 5}, [OPERATION_RESUME] = {ipmmu_call_resume, 12},
    [OPERATION_ADD] = {ipmmu_call_add, 14},        [OPERATION_REMOVE] = {ipmmu_call_remove, 6},
    [OPERATION_ATTACH] = {ipmmu_call_attach, 30},  [OPERATION_DETACH] = {ipmmu_call_detach, 8},
    [OPERATION_CREATE] = {ipmmu_call_create, 16},  [OPERATION_DESTROY] = {ipmmu_call_destroy, 6},
    [OPERATION_MAP] = {ipmmu_call_map, 40},        [OPERATION_UNMAP] = {ipmmu_call_unmap, 20},
    [OPERATION_SYNC] = {ipmmu_call_sync, 20},      [OPERATION_PROTECT] = {ipmmu_call_protect, 8},
    [OPERATION_FAULT] = {ipmmu_call_fault, 5},     [OPERATION_SERVICE] = {ipmmu_call_service, 5},
    [OPERATION_LATENCY] = {ipmmu_call_latency, 8},
};

/* What a world begins with. Starting comes once for each unit. */
static const enum operation_kind beginning[] = {
    OPERATION_START,  OPERATION_START,  OPERATION_START,  OPERATION_START, OPERATION_START,
    OPERATION_ADD,    OPERATION_ADD,    OPERATION_ADD,    OPERATION_ADD,   OPERATION_CREATE,
    OPERATION_CREATE, OPERATION_MAP,    OPERATION_MAP,    OPERATION_MAP,   OPERATION_LATENCY,
    OPERATION_ATTACH, OPERATION_ATTACH, OPERATION_ATTACH,
};

#define BEGINNING (sizeof(beginning) / sizeof(beginning[0]))

static uint64_t next(uint64_t *random)
{
    *random = *random * 6364136223846793005u + 1442695040888963407u;
    return *random >> 33;
}

static enum operation_kind choose_kind(uint64_t *random)
{
    unsigned int sum = 0;
    unsigned int number;
    unsigned int kind = 0;

    for (unsigned int i = 0; i < OPERATION_KINDS; i++) {
        sum += operations[i].weight;
    }
    number = (unsigned int)(next(random) % sum);
    while (number >= operations[kind].weight) {
        number -= operations[kind++].weight;
    }
    return (enum operation_kind)kind;
}

void ipmmu_program_generate(struct ipmmu_program *program, uint64_t seed, size_t length)
{
    uint64_t random = seed;
    uint16_t units = (uint16_t)next(&random);

    for (unsigned int i = 0; i < IPMMU_WORLD_NUMBERS; i++) {
        program->config[i] = (uint16_t)next(&random);
    }
    program->length = length;
    for (size_t i = 0; i < length; i++) {
        struct ipmmu_operation *operation = &program->operations[i];

        operation->kind = (uint16_t)(i < BEGINNING ? beginning[i] : choose_kind(&random));
        for (unsigned int j = 0; j < IPMMU_CALL_NUMBERS; j++) {
            operation->raw[j] = (uint16_t)next(&random);
        }
        if (i < BEGINNING && operation->kind == OPERATION_START) {
            operation->raw[0] = units++;
        }
    }
}

void ipmmu_program_run(const struct ipmmu_program *program, bool verbose)
{
    struct ipmmu_world *world = ipmmu_world_create(program->config, verbose);

    for (size_t i = 0; i < program->length; i++) {
        const struct ipmmu_operation *operation = &program->operations[i];

        operations[operation->kind % OPERATION_KINDS].call(world, operation->raw);
        ipmmu_world_check(world);
    }
    ipmmu_world_destroy(world);
}
