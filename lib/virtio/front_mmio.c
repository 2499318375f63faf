/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The front of a virtio device behind virtio-mmio, version 2.
 *
 * Source: VIRTIO 1.2, section 4.2.2 "MMIO Device Register Layout".
 */

#include "front.h"

#define MAGIC                 0x000u
#define MAGIC_VALUE           0x74726976u /* "virt" */
#define VERSION               0x004u
#define VERSION_MODERN        2u
#define DEVICE_ID             0x008u
#define VENDOR_ID             0x00cu
#define QUEUE_NOTIFY          0x050u
#define INTERRUPT_STATUS      0x060u
#define INTERRUPT_ACKNOWLEDGE 0x064u
#define QUEUE_ADDRESSES       0x080u
#define QUEUE_ADDRESS_STRIDE  0x010u
#define QUEUE_ADDRESSES_END   0x0b0u
#define SHARED_MEMORY         0x0b0u /* length and base, 64 bits each */
#define SHARED_MEMORY_END     0x0c0u

/* Those that the front knows; what can only be written reads as what was written. */
static const struct {
    uint16_t offset;
    uint16_t what;
} registers[] = {
    {0x010, FRONT_DEVICE_FEATURES}, {0x014, FRONT_DEVICE_FEATURES_SELECT},
    {0x020, FRONT_DRIVER_FEATURES}, {0x024, FRONT_DRIVER_FEATURES_SELECT},
    {0x030, FRONT_QUEUE_SELECT},    {0x034, FRONT_QUEUE_MAX},
    {0x038, FRONT_QUEUE_SIZE},      {0x044, FRONT_QUEUE_ENABLE},
    {0x070, FRONT_STATUS},          {0x0fc, FRONT_GENERATION},
};

/* Which register of the front is there; false: none. */
static bool find(uint64_t offset, enum front_register *what)
{
    if (offset >= QUEUE_ADDRESSES && offset < QUEUE_ADDRESSES_END) {
        uint32_t place = (uint32_t)offset - QUEUE_ADDRESSES;

        *what = FRONT_QUEUE_ADDRESSES + place / QUEUE_ADDRESS_STRIDE * 2 +
                place % QUEUE_ADDRESS_STRIDE / 4;
        return place % QUEUE_ADDRESS_STRIDE < 8;
    }
    for (size_t i = 0; i < sizeof(registers) / sizeof(registers[0]); i++) {
        if (registers[i].offset == offset) {
            *what = registers[i].what;
            return true;
        }
    }
    return false;
}

/* Registers have 32 bits, and nothing but these can be accessed: 4.2.2.2. */
static bool is_register(uint64_t offset, unsigned int width)
{
    return width == 4 && front_is_access(offset, width, PIOMMU_VIRTIO_FRONT_MMIO_CONFIG);
}

static uint32_t read_register(struct piommu_virtio_front *front, uint64_t offset)
{
    enum front_register what;

    if (find(offset, &what)) {
        return piommu_virtio_front_read_(front, what);
    }
    if (offset >= SHARED_MEMORY && offset < SHARED_MEMORY_END) {
        return UINT32_MAX; /* there is no such region, whichever is selected */
    }
    switch (offset) {
    case MAGIC:
        return MAGIC_VALUE;
    case VERSION:
        return VERSION_MODERN;
    case DEVICE_ID:
        return front->config.type;
    case VENDOR_ID:
        return front->config.vendor;
    case INTERRUPT_STATUS:
        return front->isr;
    default:
        return 0;
    }
}

uint64_t piommu_virtio_front_mmio_read(struct piommu_virtio_front *front, uint64_t offset,
                                       unsigned int width)
{
    if (offset >= PIOMMU_VIRTIO_FRONT_MMIO_CONFIG) {
        return piommu_virtio_front_read_config_(front, offset - PIOMMU_VIRTIO_FRONT_MMIO_CONFIG,
                                                width);
    }
    return is_register(offset, width) ? read_register(front, offset) : 0;
}

static void write_register(struct piommu_virtio_front *front, uint64_t offset, uint32_t value)
{
    enum front_register what;

    if (find(offset, &what)) {
        piommu_virtio_front_write_(front, what, value);
    } else if (offset == QUEUE_NOTIFY) {
        piommu_virtio_front_notify_(front, value);
    } else if (offset == INTERRUPT_ACKNOWLEDGE) {
        piommu_virtio_front_acknowledge_(front, value);
    }
}

void piommu_virtio_front_mmio_write(struct piommu_virtio_front *front, uint64_t offset,
                                    unsigned int width, uint64_t value)
{
    if (offset >= PIOMMU_VIRTIO_FRONT_MMIO_CONFIG) {
        piommu_virtio_front_write_config_(front, offset - PIOMMU_VIRTIO_FRONT_MMIO_CONFIG, width,
                                          value);
    } else if (is_register(offset, width)) {
        write_register(front, offset, (uint32_t)value);
    }
}

/* 4.2.2: the line is high as long as something is not acknowledged. */
static bool line(const struct piommu_virtio_front *front)
{
    return front->isr != 0;
}

static const struct front_transport mmio_transport = {
    .size = sizeof(struct piommu_virtio_front),
    .kind = 1,
    .line = line,
};

int piommu_virtio_front_create_mmio(struct piommu_host host,
                                    const struct piommu_virtio_front_config *config,
                                    struct piommu_virtio_front **front)
{
    int error;

    if (config == NULL || front == NULL || config->callbacks.set_interrupt == NULL) {
        return -PIOMMU_EINVAL;
    }
    error = piommu_virtio_front_create_(host, config, &mmio_transport, front);
    if (error == 0) {
        (*front)->may_use_memory = true;
    }
    return error;
}
