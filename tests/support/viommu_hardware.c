/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "viommu_hardware.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define UNITS 2u

struct mocks {
    struct viommu_hardware hardware;
    struct mock *units[UNITS];
    struct piommu_instance *instances[UNITS];
};

static struct mocks *mocks_of(struct viommu_hardware *hardware)
{
    return (struct mocks *)(void *)hardware;
}

/* What the IOMMU knows the nth device by. */
static uint32_t id_of(unsigned int number)
{
    return 1 + number;
}

static struct mock *unit(struct viommu_hardware *hardware, unsigned int number)
{
    return mocks_of(hardware)->units[number % UNITS];
}

static struct piommu_device *add_device(struct viommu_hardware *hardware, void *owner)
{
    const unsigned int number = hardware->device_count++;
    const struct piommu_device_id ids[] = {
        {.instance = mocks_of(hardware)->instances[number % UNITS], .id = id_of(number)}};
    const struct piommu_device_config config = {
        .ids = ids, .id_count = 1, .name = "passed through", .owner = owner};

    assert_true(number < VIOMMU_HARDWARE_DEVICES);
    assert_int_equal(piommu_device_add(hardware->context, &config, &hardware->devices[number]), 0);
    return hardware->devices[number];
}

static struct piommu_domain *make_domain(struct viommu_hardware *hardware)
{
    const struct piommu_domain_config config = {.type = PIOMMU_DOMAIN_PAGING,
                                                .instances = mocks_of(hardware)->instances,
                                                .instance_count = UNITS,
                                                .name = "all memory"};
    struct piommu_domain *domain;

    assert_int_equal(piommu_domain_create(&config, &domain), 0);
    return domain;
}

static bool reaches(struct viommu_hardware *hardware, unsigned int number, uint64_t iova,
                    bool write, uint64_t *physical)
{
    return mock_reaches(unit(hardware, number), id_of(number), iova, write, physical);
}

static void raise_fault(struct viommu_hardware *hardware, unsigned int number,
                        enum piommu_fault_reason reason, uint64_t iova, bool write)
{
    const struct piommu_backend_fault fault = {.id = id_of(number),
                                               .reason = reason,
                                               .iova_valid = true,
                                               .iova = iova,
                                               .read = !write,
                                               .write = write};

    mock_raise_fault(unit(hardware, number), &fault);
    (void)piommu_instance_service(mocks_of(hardware)->instances[number % UNITS], 1);
}

static void changed(void *ctx)
{
    const struct viommu_hardware *hardware = ctx;

    if (hardware->listener.changed != NULL) {
        hardware->listener.changed(hardware->listener.ctx);
    }
}

static enum piommu_fault_answer on_fault(void *cookie, const struct piommu_fault *fault)
{
    const struct viommu_hardware *hardware = cookie;

    if (hardware->listener.fault != NULL) {
        hardware->listener.fault(hardware->listener.ctx, fault);
    }
    return PIOMMU_FAULT_IGNORE;
}

static void check_freed(void *ctx, uint64_t physical, uint64_t size)
{
    struct mocks *mocks = ctx;

    for (unsigned int i = 0; i < UNITS; i++) {
        assert_false(mocks->instances[i] != NULL && mock_walks(mocks->units[i], physical, size));
    }
}

static void close_mocks(struct viommu_hardware *hardware)
{
    struct mocks *mocks = mocks_of(hardware);

    hardware->listener = (struct viommu_listener){0};
    for (unsigned int i = 0; i < hardware->device_count; i++) {
        assert_int_equal(piommu_device_remove(hardware->devices[i]), 0);
    }
    for (unsigned int i = 0; i < UNITS; i++) {
        struct piommu_instance *instance = mocks->instances[i];

        mocks->instances[i] = NULL;
        assert_int_equal(piommu_instance_destroy(instance), 0);
    }
    assert_int_equal(piommu_context_destroy(hardware->context), 0);
    fake_os_destroy(hardware->os);
    for (unsigned int i = 0; i < UNITS; i++) {
        mock_destroy(mocks->units[i]);
    }
    free(mocks);
}

struct viommu_hardware *viommu_hardware_open_mocks(enum viommu_hardware_kind kind)
{
    static const char *const names[UNITS] = {"mock0", "mock1"};
    /* Nobody needs a linear map, which would be one large block of memory. */
    const struct fake_os_options os = {.scattered = true};
    struct mocks *mocks = calloc(1, sizeof(*mocks));
    struct piommu_context_config config = {.cookie = mocks, .fault = on_fault};

    assert_non_null(mocks);
    mocks->hardware = (struct viommu_hardware){.os = fake_os_create(&os),
                                               .add_device = add_device,
                                               .make_domain = make_domain,
                                               .reaches = reaches,
                                               .raise = raise_fault,
                                               .unit = unit,
                                               .close = close_mocks};
    fake_os_on_dma_free(mocks->hardware.os, check_freed, mocks);
    assert_int_equal(
        piommu_context_create(fake_os_host(mocks->hardware.os), &config, &mocks->hardware.context),
        0);
    for (unsigned int i = 0; i < UNITS; i++) {
        const struct piommu_instance_config instance = {.name = names[i]};

        mocks->units[i] = mock_create(mocks->hardware.os, kind == VIOMMU_HARDWARE_TABLES
                                                              ? PIOMMU_BACKEND_TABLES
                                                              : PIOMMU_BACKEND_REQUESTS);
        assert_int_equal(piommu_instance_create(mocks->hardware.context,
                                                mock_backend(mocks->units[i]), &mocks->units[i],
                                                &instance, &mocks->instances[i]),
                         0);
        mock_observe(mocks->units[i], changed, mocks);
    }
    return &mocks->hardware;
}
