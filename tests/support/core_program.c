/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "core_program.h"

#define CHECK_EVERY 32u

enum operation_kind {
    OPERATION_INSTANCE_CREATE,
    OPERATION_INSTANCE_DESTROY,
    OPERATION_SUSPEND,
    OPERATION_RESUME,
    OPERATION_DEVICE_ADD,
    OPERATION_DEVICE_REMOVE,
    OPERATION_ATTACH,
    OPERATION_DETACH,
    OPERATION_FAULT,
    OPERATION_DOMAIN_CREATE,
    OPERATION_DOMAIN_DESTROY,
    OPERATION_REQUIREMENTS,
    OPERATION_MAP,
    OPERATION_MAP_LIST,
    OPERATION_MAP_AGAIN,
    OPERATION_MAP_SOME,
    OPERATION_UNMAP,
    OPERATION_UNMAP_SOME,
    OPERATION_UNMAP_LEAVES,
    OPERATION_UNMAP_CUT,
    OPERATION_PROTECT,
    OPERATION_REPLACE,
    OPERATION_SYNC,
    OPERATION_INVALIDATE,
    OPERATION_LOOKUP,
    OPERATION_NEXT,
    OPERATION_MAP_MSI,
    OPERATION_POPULATE,
    OPERATION_FRAMES,
    OPERATION_SHARED_CHANGE,
    OPERATION_FAIL_ALLOCATION,
    OPERATION_FAIL_BACKEND,
    OPERATION_BE_SILENT,
    OPERATION_SPECULATE,
    OPERATION_CHECK_ALL,
    OPERATION_PROTECT_SOME,
    OPERATION_FAIL_ATTACHES,
    OPERATION_DOMAIN_FAULT,
    OPERATION_KINDS,
};

/* What each does, and how often it is chosen, in parts of the sum. */
static const struct {
    core_call *call;
    unsigned int weight;
} operations[OPERATION_KINDS] = {
    [OPERATION_INSTANCE_CREATE] = {core_call_instance_create, 12},
    [OPERATION_INSTANCE_DESTROY] = {core_call_instance_destroy, 6},
    [OPERATION_SUSPEND] = {core_call_suspend, 6},
    [OPERATION_RESUME] = {core_call_resume, 14},
    [OPERATION_DEVICE_ADD] = {core_call_device_add, 20},
    [OPERATION_DEVICE_REMOVE] = {core_call_device_remove, 8},
    [OPERATION_ATTACH] = {core_call_attach, 40},
    [OPERATION_DETACH] = {core_call_detach, 14},
    [OPERATION_FAULT] = {core_call_fault, 16},
    [OPERATION_DOMAIN_FAULT] = {core_call_domain_fault, 5},
    [OPERATION_DOMAIN_CREATE] = {core_call_domain_create, 18},
    [OPERATION_DOMAIN_DESTROY] = {core_call_domain_destroy, 8},
    [OPERATION_REQUIREMENTS] = {core_call_requirements, 4},
    [OPERATION_MAP] = {core_call_map, 60},
    [OPERATION_MAP_LIST] = {core_call_map_list, 20},
    [OPERATION_MAP_AGAIN] = {core_call_map_again, 16},
    [OPERATION_MAP_SOME] = {core_call_map_some, 16},
    [OPERATION_UNMAP] = {core_call_unmap, 40},
    [OPERATION_UNMAP_SOME] = {core_call_unmap_some, 12},
    [OPERATION_UNMAP_LEAVES] = {core_call_unmap_leaves, 12},
    [OPERATION_UNMAP_CUT] = {core_call_unmap_cut, 20},
    [OPERATION_PROTECT] = {core_call_protect, 16},
    [OPERATION_PROTECT_SOME] = {core_call_protect_some, 8},
    [OPERATION_REPLACE] = {core_call_replace, 20},
    [OPERATION_SYNC] = {core_call_sync, 40},
    [OPERATION_INVALIDATE] = {core_call_invalidate, 4},
    [OPERATION_LOOKUP] = {core_call_lookup, 12},
    [OPERATION_NEXT] = {core_call_next, 8},
    [OPERATION_MAP_MSI] = {core_call_map_msi, 8},
    [OPERATION_POPULATE] = {core_call_populate, 14},
    [OPERATION_FRAMES] = {core_call_frames, 10},
    [OPERATION_SHARED_CHANGE] = {core_call_shared_change, 14},
    [OPERATION_FAIL_ALLOCATION] = {core_call_fail_allocation, 14},
    [OPERATION_FAIL_BACKEND] = {core_call_fail_backend, 12},
    [OPERATION_FAIL_ATTACHES] = {core_call_fail_attaches, 16},
    [OPERATION_BE_SILENT] = {core_call_be_silent, 2},
    [OPERATION_SPECULATE] = {core_call_speculate, 2},
    [OPERATION_CHECK_ALL] = {core_call_check_all, 4},
};

/* What a world begins with, mostly: units, devices on them, domains. */
static const enum operation_kind beginning[] = {
    OPERATION_INSTANCE_CREATE, OPERATION_INSTANCE_CREATE, OPERATION_INSTANCE_CREATE,
    OPERATION_DEVICE_ADD,      OPERATION_INSTANCE_CREATE, OPERATION_DEVICE_ADD,
    OPERATION_INSTANCE_CREATE, OPERATION_DEVICE_ADD,      OPERATION_DOMAIN_CREATE,
    OPERATION_DOMAIN_CREATE,   OPERATION_DOMAIN_CREATE,   OPERATION_MAP,
    OPERATION_ATTACH,          OPERATION_ATTACH,          OPERATION_ATTACH,
};

#define BEGINNING (sizeof(beginning) / sizeof(beginning[0]))

static enum operation_kind choose_kind(uint64_t *random)
{
    unsigned int sum = 0;
    unsigned int number;
    unsigned int kind = 0;

    for (unsigned int i = 0; i < OPERATION_KINDS; i++) {
        sum += operations[i].weight;
    }
    number = (unsigned int)(core_random(random) % sum);
    while (number >= operations[kind].weight) {
        number -= operations[kind++].weight;
    }
    return (enum operation_kind)kind;
}

void core_program_generate(struct core_program *program, uint64_t seed, size_t length)
{
    uint64_t random = seed;
    /* Half of the programs meet no failures, so that what needs a long life has one. */
    bool calm = core_random(&random) % 2 == 0;
    unsigned int first = (unsigned int)core_random(&random) % CORE_UNITS;
    unsigned int units = 0;

    for (unsigned int i = 0; i < CORE_CONFIG_NUMBERS; i++) {
        /* Mostly the plainest units there are. */
        uint64_t bits = core_random(&random) & core_random(&random);

        program->config[i] = (uint16_t)(core_random(&random) % 2 == 0 ? bits : 0);
    }
    program->length = length;
    for (size_t i = 0; i < length; i++) {
        struct core_operation *operation = &program->operations[i];

        do {
            operation->kind = (uint16_t)(i < BEGINNING ? beginning[i] : choose_kind(&random));
        } while (calm && (operation->kind == OPERATION_FAIL_BACKEND ||
                          operation->kind == OPERATION_BE_SILENT));
        for (unsigned int j = 0; j < CORE_CALL_NUMBERS; j++) {
            operation->raw[j] = (uint16_t)core_random(&random);
        }
        if (i < BEGINNING && operation->kind == OPERATION_INSTANCE_CREATE) {
            operation->raw[0] = (uint16_t)(first + units++);
        }
    }
}

void core_program_run(const struct core_program *program, bool verbose)
{
    uint64_t seed = 0;
    struct core_world *world;

    for (unsigned int i = 0; i < CORE_CONFIG_NUMBERS; i++) {
        seed = seed * 31 + program->config[i];
    }
    world = core_world_create(program->config, seed, verbose);
    if (verbose) {
        core_world_print(world);
    }
    for (size_t i = 0; i < program->length; i++) {
        const struct core_operation *operation = &program->operations[i];

        operations[operation->kind % OPERATION_KINDS].call(world, operation->raw);
        if (world->disturbed || core_in_doubt(world)) {
            core_adopt(world);
            core_probe(world);
            core_check_all(world);
        } else {
            core_probe(world);
            core_check_some(world);
        }
        if (i % CHECK_EVERY == 0) {
            core_check_all(world);
        }
    }
    core_check_all(world);
    core_world_destroy(world);
}
