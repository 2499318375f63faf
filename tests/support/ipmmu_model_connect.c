/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "ipmmu_model_connect.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static uint32_t bus_read(void *ctx, uint64_t physical, unsigned int width)
{
    return piommu_ipmmu_model_read(ctx, physical, width);
}

static void bus_write(void *ctx, uint64_t physical, unsigned int width, uint32_t value)
{
    piommu_ipmmu_model_write(ctx, physical, width, value);
}

void ipmmu_model_connect(struct piommu_ipmmu_model *model, struct fake_os *os)
{
    const struct fake_os_bus bus = {.ctx = model, .read = bus_read, .write = bus_write};

    fake_os_connect_bus(os, &bus);
}

void ipmmu_model_assert_clean(const struct piommu_ipmmu_model *model)
{
    size_t count = piommu_ipmmu_model_violations(model);

    if (count != 0) {
        fail_msg("IPMMU model: %s (%zu violations)", piommu_ipmmu_model_violation(model, 0), count);
    }
}
