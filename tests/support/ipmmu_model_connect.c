/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* The model's place in the fake OS; the rest of the model knows nothing about it. */

#include "fake_os.h"
#include "ipmmu_model.h"

static uint32_t bus_read(void *ctx, uint64_t physical, unsigned int width)
{
    return ipmmu_model_read(ctx, physical, width);
}

static void bus_write(void *ctx, uint64_t physical, unsigned int width, uint32_t value)
{
    ipmmu_model_write(ctx, physical, width, value);
}

void ipmmu_model_connect(struct ipmmu_model *model, struct fake_os *os)
{
    const struct fake_os_bus bus = {.ctx = model, .read = bus_read, .write = bus_write};

    fake_os_connect_bus(os, &bus);
}
