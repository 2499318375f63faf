/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "ipmmu_fixture.h"
#include "viommu_hardware.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

struct ipmmu {
    struct viommu_hardware hardware;
    struct ipmmu_fixture *fixture;
};

static struct ipmmu *ipmmu_of(struct viommu_hardware *hardware)
{
    return (struct ipmmu *)(void *)hardware;
}

/* In turn behind both cache units; a master is reported by no name, so there is no owner. */
static struct piommu_device *add_device(struct viommu_hardware *hardware, void *owner)
{
    struct ipmmu_fixture *fixture = ipmmu_of(hardware)->fixture;
    const unsigned int number = hardware->device_count++;
    const size_t unit = number % 2 == 0 ? IPMMU_CACHE_1 : IPMMU_CACHE_2;

    (void)owner;
    assert_true(number < VIOMMU_HARDWARE_DEVICES);
    assert_int_equal(ipmmu_add_master(fixture, unit, 3 + number), number);
    hardware->devices[number] = fixture->masters[number].device;
    return hardware->devices[number];
}

static struct piommu_domain *make_domain(struct viommu_hardware *hardware)
{
    struct ipmmu_fixture *fixture = ipmmu_of(hardware)->fixture;
    struct piommu_domain *domain;

    assert_int_equal(ipmmu_try_domain(fixture, PIOMMU_DOMAIN_PAGING, &domain), 0);
    return domain;
}

static bool reaches(struct viommu_hardware *hardware, unsigned int number, uint64_t iova,
                    bool write, uint64_t *physical)
{
    struct ipmmu_fixture *fixture = ipmmu_of(hardware)->fixture;
    const struct ipmmu_place *place = &fixture->masters[number].places[0];

    return piommu_ipmmu_model_dma(fixture->model, place->unit, place->micro_tlb, iova, write,
                                  physical) != PIOMMU_IPMMU_MODEL_BLOCKED;
}

static struct mock *no_unit(struct viommu_hardware *hardware, unsigned int number)
{
    (void)hardware;
    (void)number;
    return NULL;
}

static void on_access(struct ipmmu_fixture *fixture, const struct piommu_ipmmu_model_access *access)
{
    const struct viommu_hardware *hardware = fixture->test_data;

    if (access->is_write && hardware->listener.changed != NULL) {
        hardware->listener.changed(hardware->listener.ctx);
    }
}

static void close_ipmmu(struct viommu_hardware *hardware)
{
    struct ipmmu *ipmmu = ipmmu_of(hardware);

    hardware->listener = (struct viommu_listener){0};
    ipmmu_drain(ipmmu->fixture);
    ipmmu_close(ipmmu->fixture);
    free(ipmmu);
}

struct viommu_hardware *viommu_hardware_open_ipmmu(void)
{
    const struct ipmmu_options options = {.scattered = true};
    struct ipmmu *ipmmu = calloc(1, sizeof(*ipmmu));
    struct ipmmu_fixture *fixture;

    assert_non_null(ipmmu);
    fixture = ipmmu_open(ipmmu_system_named("Gen3, stage 2"), &options);
    fixture->test_data = ipmmu;
    fixture->on_access = on_access;
    ipmmu_start(fixture);
    fixture->probing = false; /* who may reach what is not for it to know */
    ipmmu->fixture = fixture;
    ipmmu->hardware = (struct viommu_hardware){.os = fixture->os,
                                               .context = fixture->context,
                                               .add_device = add_device,
                                               .make_domain = make_domain,
                                               .reaches = reaches,
                                               .unit = no_unit,
                                               .close = close_ipmmu};
    return &ipmmu->hardware;
}
