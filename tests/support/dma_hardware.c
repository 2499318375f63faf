/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "dma_hardware.h"

#include "ipmmu_fixture.h"
#include "viommu_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

struct dma_hardware {
    const char *name;
    struct ipmmu_fixture *ipmmu;   /* either this */
    struct viommu_fixture *viommu; /* or that */
};

/* With one context all masters of a unit are in one domain, so that one is missing. */
static const char *const systems[] = {
    "Gen3, stage 1",
    "Gen4, 64-bit stage 1",
    "Gen2, four contexts",
    "Gen3, stage 2",
};

/* Variants of the virtio-iommu. */
static const unsigned int variants[] = {0, 2, 8};

static const struct ipmmu_place places[DMA_HARDWARE_MASTERS] = {
    {IPMMU_CACHE_1, 3}, {IPMMU_CACHE_2, 2}, {IPMMU_CACHE_1, 7}, {IPMMU_CACHE_2, 5}};
static const uint32_t endpoints[DMA_HARDWARE_MASTERS] = {0x10, 0x18, 0x20, 0x28};

unsigned int dma_hardware_kinds(void)
{
    return COUNT(systems) + COUNT(variants);
}

static struct viommu_fixture *open_viommu(unsigned int variant)
{
    struct viommu_fixture_options options;
    struct viommu_fixture *fixture;

    viommu_fixture_use(variant);
    viommu_fixture_default_options(&options);
    fixture = viommu_fixture_started(&options);
    fixture->paused = true;
    for (size_t i = 0; i < DMA_HARDWARE_MASTERS; i++) {
        assert_true(viommu_model_add_endpoint(fixture->model, endpoints[i], NULL, 0));
    }
    return fixture;
}

struct dma_hardware *dma_hardware_open(unsigned int kind)
{
    struct dma_hardware *hardware = calloc(1, sizeof(*hardware));

    assert_non_null(hardware);
    if (kind < COUNT(systems)) {
        hardware->name = systems[kind];
        hardware->ipmmu = ipmmu_open(ipmmu_system_named(systems[kind]), NULL);
        ipmmu_start(hardware->ipmmu);
    } else {
        hardware->name = "virtio-iommu";
        hardware->viommu = open_viommu(variants[(kind - COUNT(systems)) % COUNT(variants)]);
    }
    return hardware;
}

void dma_hardware_close(struct dma_hardware *hardware)
{
    if (hardware->ipmmu != NULL) {
        ipmmu_close(hardware->ipmmu);
    } else {
        viommu_fixture_destroy(hardware->viommu);
    }
    free(hardware);
}

const char *dma_hardware_name(const struct dma_hardware *hardware)
{
    return hardware->name;
}

struct fake_os *dma_hardware_os(struct dma_hardware *hardware)
{
    return hardware->ipmmu != NULL ? hardware->ipmmu->os : hardware->viommu->os;
}

bool dma_hardware_has_tables(const struct dma_hardware *hardware)
{
    return hardware->ipmmu != NULL;
}

bool dma_hardware_can_be_disjoint(const struct dma_hardware *hardware)
{
    return dma_hardware_has_tables(hardware) && ATOMIC_LLONG_LOCK_FREE == 2;
}

struct piommu_domain *dma_hardware_domain(struct dma_hardware *hardware, bool is_disjoint)
{
    struct piommu_domain_config config = {
        .type = PIOMMU_DOMAIN_DMA, .name = "dma", .disjoint = is_disjoint};
    struct piommu_domain *domain = NULL;

    if (hardware->ipmmu != NULL) {
        config.instances = &hardware->ipmmu->instances[IPMMU_CACHE_1];
        config.instance_count = 2;
    } else {
        config.instances = &hardware->viommu->instance;
        config.instance_count = 1;
    }
    assert_int_equal(piommu_domain_create(&config, &domain), 0);
    return domain;
}

struct piommu_device *dma_hardware_device(struct dma_hardware *hardware, unsigned int master,
                                          struct piommu_device_config config)
{
    struct piommu_context *context;
    struct piommu_device_id id;
    struct piommu_device *device = NULL;

    if (hardware->ipmmu != NULL) {
        context = hardware->ipmmu->context;
        id = (struct piommu_device_id){.instance = hardware->ipmmu->instances[places[master].unit],
                                       .id = places[master].micro_tlb};
    } else {
        context = hardware->viommu->context;
        id = (struct piommu_device_id){.instance = hardware->viommu->instance,
                                       .id = endpoints[master]};
    }
    config.ids = &id;
    config.id_count = 1;
    assert_int_equal(piommu_device_add(context, &config, &device), 0);
    return device;
}

bool dma_hardware_access(struct dma_hardware *hardware, unsigned int master, uint64_t iova,
                         bool write, uint64_t *physical)
{
    if (hardware->ipmmu == NULL) {
        return dma_hardware_look(hardware, master, iova, write, physical);
    }
    return piommu_ipmmu_model_dma(hardware->ipmmu->model, places[master].unit,
                                  places[master].micro_tlb, iova, write,
                                  physical) != PIOMMU_IPMMU_MODEL_BLOCKED;
}

bool dma_hardware_look(const struct dma_hardware *hardware, unsigned int master, uint64_t iova,
                       bool write, uint64_t *physical)
{
    enum viommu_model_verdict verdict;

    if (hardware->ipmmu != NULL) {
        return piommu_ipmmu_model_look(hardware->ipmmu->model, places[master].unit,
                                       places[master].micro_tlb, iova, write,
                                       physical) != PIOMMU_IPMMU_MODEL_BLOCKED;
    }
    verdict =
        viommu_model_translate(hardware->viommu->model, endpoints[master], iova, write, physical);
    return verdict == VIOMMU_MODEL_MAPPED || verdict == VIOMMU_MODEL_IDENTITY;
}
