/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "simulator.h"

#include <stdlib.h>
#include <string.h>

#define MEMORY_SIZE ((SIMULATOR_GRANULES + 1u) * PIOMMU_FREERTOS_GRANULE)
#define COMPATIBLE  "renesas,ipmmu-r8a7795"
#define ROOT_BASE   0xe67b0000u
#define CACHE_BASE  0xe7740000u
/* So often a FLUSH is seen to run. */
#define FLUSH_POLLS 3u

/* NULL: there is no memory of so many bytes. */
static unsigned char *find(const struct simulator *simulator, uint64_t physical, size_t size)
{
    if (physical < SIMULATOR_MEMORY || physical - SIMULATOR_MEMORY > MEMORY_SIZE - size) {
        return NULL;
    }
    return simulator->memory + (size_t)(physical - SIMULATOR_MEMORY);
}

/* Descriptors are little-endian. */
static bool read64(void *ctx, uint64_t physical, uint64_t *value)
{
    const unsigned char *bytes = find(ctx, physical, sizeof(*value));

    *value = 0;
    for (unsigned int i = 0; bytes != NULL && i < sizeof(*value); i++) {
        *value |= (uint64_t)bytes[i] << 8 * i;
    }
    return bytes != NULL;
}

bool simulator_open(struct simulator *simulator)
{
    static const struct piommu_ipmmu_model_unit units[] = {
        [SIMULATOR_ROOT] = {.name = "MM", .base = ROOT_BASE, .root = SIMULATOR_ROOT},
        [SIMULATOR_CACHE] = {.name = "DS1", .base = CACHE_BASE, .root = SIMULATOR_ROOT},
    };
    const struct piommu_ipmmu_model_parameters parameters = {
        .generation = PIOMMU_IPMMU_MODEL_GEN3,
        .units = units,
        .unit_count = sizeof(units) / sizeof(units[0]),
        .non_coherent = true,
    };
    struct piommu_walker_memory memory = {.read64 = read64, .ctx = simulator};

    memset(simulator, 0, sizeof(*simulator));
    simulator->memory = aligned_alloc(PIOMMU_FREERTOS_GRANULE, MEMORY_SIZE);
    simulator->model = piommu_ipmmu_model_create(&parameters, memory);
    if (simulator->memory == NULL || simulator->model == NULL) {
        simulator_close(simulator);
        return false;
    }
    memset(simulator->memory, 0, MEMORY_SIZE);
    piommu_ipmmu_model_set_flush_polls(simulator->model, PIOMMU_IPMMU_MODEL_ALL_UNITS, FLUSH_POLLS);
    return true;
}

void simulator_close(struct simulator *simulator)
{
    piommu_ipmmu_model_destroy(simulator->model);
    free(simulator->memory);
}

/* ---- The board's callbacks ---- */

static void board_cache_clean(void *cookie, const void *address, size_t size)
{
    struct simulator *simulator = cookie;
    uint64_t offset = (uint64_t)((const unsigned char *)address - simulator->memory);

    piommu_ipmmu_model_clean(simulator->model, SIMULATOR_MEMORY + offset, size);
}

static void board_barrier(void *cookie)
{
    struct simulator *simulator = cookie;

    piommu_ipmmu_model_barrier(simulator->model);
}

static uint32_t board_register_read(void *cookie, uintptr_t address, unsigned int width)
{
    struct simulator *simulator = cookie;

    return piommu_ipmmu_model_read(simulator->model, address, width);
}

static void board_register_write(void *cookie, uintptr_t address, unsigned int width,
                                 uint32_t value)
{
    struct simulator *simulator = cookie;

    piommu_ipmmu_model_write(simulator->model, address, width, value);
}

void simulator_describe(struct simulator *simulator, struct piommu_freertos_board *board,
                        struct sample_hardware *hardware)
{
    *board = (struct piommu_freertos_board){
        .cached = {.memory = simulator->memory,
                   .physical = SIMULATOR_MEMORY,
                   .granules = SIMULATOR_GRANULES,
                   .taken = simulator->taken},
        .cookie = simulator,
        .cache_clean = board_cache_clean,
        .barrier = board_barrier,
        .register_read = board_register_read,
        .register_write = board_register_write,
    };
    simulator->root = (struct piommu_ipmmu_vmsa_config){
        .compatible = COMPATIBLE,
        .registers = ROOT_BASE,
        .product = piommu_ipmmu_model_product(simulator->model),
    };
    simulator->cache =
        (struct piommu_ipmmu_vmsa_config){.compatible = COMPATIBLE, .registers = CACHE_BASE};
    *hardware = (struct sample_hardware){
        .root = {.backend = piommu_ipmmu_vmsa_backend(), .config = &simulator->root},
        .cache = {.backend = piommu_ipmmu_vmsa_backend(), .config = &simulator->cache},
        .id = SIMULATOR_MICRO_TLB,
    };
}

/* ---- The device ---- */

bool simulator_device_writes(struct simulator *simulator, uint64_t iova, unsigned char byte)
{
    uint64_t physical;
    unsigned char *target;

    if (piommu_ipmmu_model_dma(simulator->model, SIMULATOR_CACHE, SIMULATOR_MICRO_TLB, iova, true,
                               &physical) == PIOMMU_IPMMU_MODEL_BLOCKED) {
        return false;
    }
    target = find(simulator, physical, 1);
    if (target != NULL) {
        *target = byte;
    }
    return true;
}

unsigned char simulator_buffer(const struct simulator *simulator, size_t offset)
{
    return *find(simulator, SIMULATOR_BUFFER + offset, 1);
}
