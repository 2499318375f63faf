/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The transport virtio-mmio, version 2.
 *
 * Source: VIRTIO 1.2, section 4.2 "Virtio Over MMIO".
 */

#include "virtio.h"

#define MAGIC                 0x000u
#define MAGIC_VALUE           0x74726976u /* "virt" */
#define VERSION               0x004u
#define VERSION_LEGACY        1u
#define VERSION_MODERN        2u
#define DEVICE_ID             0x008u
#define DEVICE_FEATURES       0x010u
#define DEVICE_FEATURES_SEL   0x014u
#define DRIVER_FEATURES       0x020u
#define DRIVER_FEATURES_SEL   0x024u
#define QUEUE_SEL             0x030u
#define QUEUE_SIZE_MAX        0x034u
#define QUEUE_SIZE            0x038u
#define QUEUE_READY           0x044u
#define QUEUE_NOTIFY          0x050u
#define INTERRUPT_STATUS      0x060u
#define INTERRUPT_ACKNOWLEDGE 0x064u
#define INTERRUPT_BITS        0x3u
#define STATUS                0x070u
#define QUEUE_DESCRIPTORS     0x080u
#define QUEUE_AVAILABLE       0x090u
#define QUEUE_USED            0x0a0u
#define CONFIG_GENERATION     0x0fcu
#define CONFIG                0x100u

#define MAX_SIZE 0x10000u

struct mmio_device {
    struct piommu_virtio_device device;
    uintptr_t base;
    uint32_t size;
};

static const struct mmio_device *mmio_of(const struct piommu_virtio_device *device)
{
    return (const struct mmio_device *)(const void *)device;
}

static uint32_t read(const struct piommu_virtio_device *device, uint32_t offset)
{
    return device->host.os->mmio_read(device->host.ctx, mmio_of(device)->base + offset, 4);
}

static void write(const struct piommu_virtio_device *device, uint32_t offset, uint32_t value)
{
    device->host.os->mmio_write(device->host.ctx, mmio_of(device)->base + offset, 4, value);
}

static void write64(const struct piommu_virtio_device *device, uint32_t offset, uint64_t value)
{
    write(device, offset, (uint32_t)value);
    write(device, offset + 4, (uint32_t)(value >> 32));
}

static uint8_t get_status(struct piommu_virtio_device *device)
{
    return (uint8_t)read(device, STATUS);
}

static void set_status(struct piommu_virtio_device *device, uint8_t status)
{
    write(device, STATUS, status);
}

static uint64_t get_features(struct piommu_virtio_device *device)
{
    uint64_t low;

    write(device, DEVICE_FEATURES_SEL, 0);
    low = read(device, DEVICE_FEATURES);
    write(device, DEVICE_FEATURES_SEL, 1);
    return low | ((uint64_t)read(device, DEVICE_FEATURES) << 32);
}

static void set_features(struct piommu_virtio_device *device, uint64_t features)
{
    write(device, DRIVER_FEATURES_SEL, 0);
    write(device, DRIVER_FEATURES, (uint32_t)features);
    write(device, DRIVER_FEATURES_SEL, 1);
    write(device, DRIVER_FEATURES, (uint32_t)(features >> 32));
}

static uint8_t interrupt_status(struct piommu_virtio_device *device)
{
    uint32_t status = read(device, INTERRUPT_STATUS) & INTERRUPT_BITS;

    if (status != 0) {
        write(device, INTERRUPT_ACKNOWLEDGE, status);
    }
    return (uint8_t)status;
}

static uint32_t config_generation(struct piommu_virtio_device *device)
{
    return read(device, CONFIG_GENERATION);
}

static uint32_t config_read(struct piommu_virtio_device *device, uint32_t offset, uint32_t width)
{
    return device->host.os->mmio_read(device->host.ctx, mmio_of(device)->base + CONFIG + offset,
                                      width);
}

static void config_write_byte(struct piommu_virtio_device *device, uint32_t offset, uint8_t value)
{
    device->host.os->mmio_write(device->host.ctx, mmio_of(device)->base + CONFIG + offset, 1,
                                value);
}

static uint32_t queue_max(struct piommu_virtio_device *device, uint16_t index)
{
    write(device, QUEUE_SEL, index);
    return read(device, QUEUE_READY) != 0 ? 0 : read(device, QUEUE_SIZE_MAX);
}

static int queue_start(struct piommu_virtio_device *device, uint16_t index, uint16_t size,
                       const struct virtio_ring_addresses *addresses, uintptr_t *doorbell)
{
    write(device, QUEUE_SEL, index);
    write(device, QUEUE_SIZE, size);
    write64(device, QUEUE_DESCRIPTORS, addresses->descriptors);
    write64(device, QUEUE_AVAILABLE, addresses->driver_area);
    write64(device, QUEUE_USED, addresses->device_area);
    write(device, QUEUE_READY, 1);
    *doorbell = mmio_of(device)->base + QUEUE_NOTIFY;
    return 0;
}

static void notify(struct piommu_virtio_device *device, uint16_t index, uintptr_t doorbell)
{
    device->host.os->mmio_write(device->host.ctx, doorbell, 4, index);
}

/* Of an empty slot nothing but these may be read. */
static int identify(struct piommu_virtio_device *device)
{
    uint32_t version;

    if (read(device, MAGIC) != MAGIC_VALUE) {
        return -PIOMMU_ENODEV;
    }
    version = read(device, VERSION);
    if (version != VERSION_MODERN) {
        return version == VERSION_LEGACY ? -PIOMMU_EOPNOTSUPP : -PIOMMU_ENODEV;
    }
    return read(device, DEVICE_ID) == device->type ? 0 : -PIOMMU_ENODEV;
}

static int wake(struct piommu_virtio_device *device)
{
    return identify(device) == 0 ? 0 : -PIOMMU_ENODEV;
}

static void close_device(struct piommu_virtio_device *device)
{
    struct mmio_device *mmio = (struct mmio_device *)(void *)device;
    struct piommu_host host = device->host;

    host.os->mmio_unmap(host.ctx, mmio->base, mmio->size);
    piommu_host_free_(host, mmio, sizeof(*mmio));
}

const struct virtio_transport piommu_virtio_mmio_transport_ = {
    .get_status = get_status,
    .set_status = set_status,
    .get_features = get_features,
    .set_features = set_features,
    .interrupt_status = interrupt_status,
    .config_generation = config_generation,
    .config_read = config_read,
    .config_write_byte = config_write_byte,
    .queue_max = queue_max,
    .queue_start = queue_start,
    .notify = notify,
    .wake = wake,
    .close = close_device,
};

int piommu_virtio_mmio_open(struct piommu_host host, const struct piommu_virtio_mmio_config *config,
                            struct piommu_virtio_device **device)
{
    struct mmio_device *mmio;
    int error;

    if (config == NULL || device == NULL || config->type == 0 || config->size <= CONFIG) {
        return -PIOMMU_EINVAL;
    }
    if (!PIOMMU_VIRTIO_WITH_MMIO) {
        return -PIOMMU_EOPNOTSUPP;
    }
    error = piommu_host_check_(host, PIOMMU_OS_NEED_LOCK | PIOMMU_OS_NEED_MMIO |
                                         virtio_coherency_needs(config->non_coherent));
    if (error != 0) {
        return error;
    }
    mmio = piommu_host_alloc_(host, sizeof(*mmio));
    if (mmio == NULL) {
        return -PIOMMU_ENOMEM;
    }
    mmio->device.host = host;
    mmio->device.transport = &piommu_virtio_mmio_transport_;
    mmio->device.type = config->type;
    mmio->device.non_coherent = config->non_coherent;
    mmio->size = (uint32_t)(config->size < MAX_SIZE ? config->size : MAX_SIZE);
    mmio->device.config_size = mmio->size - CONFIG;
    error = host.os->mmio_map(host.ctx, config->registers, mmio->size, &mmio->base);
    if (error == 0) {
        error = identify(&mmio->device);
        if (error != 0) {
            host.os->mmio_unmap(host.ctx, mmio->base, mmio->size);
        }
    }
    if (error != 0) {
        piommu_host_free_(host, mmio, sizeof(*mmio));
        return error;
    }
    *device = &mmio->device;
    return 0;
}
