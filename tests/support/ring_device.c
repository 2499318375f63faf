/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "ring_device.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define REGISTERS      0x0a000000ull
#define REGISTERS_SIZE 0x200u
#define TYPE           23u
#define SECOND         1000000000ull
#define DRIVER_OK      4u

enum {
    MAGIC = 0x000,
    VERSION = 0x004,
    DEVICE_ID = 0x008,
    DEVICE_FEATURES = 0x010,
    DEVICE_FEATURES_SEL = 0x014,
    DRIVER_FEATURES = 0x020,
    DRIVER_FEATURES_SEL = 0x024,
    QUEUE_SEL = 0x030,
    QUEUE_SIZE_MAX = 0x034,
    QUEUE_SIZE = 0x038,
    QUEUE_READY = 0x044,
    QUEUE_NOTIFY = 0x050,
    INTERRUPT_STATUS = 0x060,
    INTERRUPT_ACKNOWLEDGE = 0x064,
    STATUS = 0x070,
    QUEUE_DESCRIPTORS = 0x080,
    QUEUE_DRIVER = 0x090,
    QUEUE_DEVICE = 0x0a0,
};

static uint32_t read_register(void *ctx, uint64_t physical, unsigned int width)
{
    struct ring_device *device = ctx;

    assert_int_equal(width, 4);
    switch (physical - REGISTERS) {
    case MAGIC:
        return 0x74726976;
    case VERSION:
        return 2;
    case DEVICE_ID:
        return TYPE;
    case DEVICE_FEATURES:
        return (uint32_t)((device->offered | PIOMMU_VIRTIO_F_VERSION_1) >>
                          32 * device->device_select);
    case QUEUE_SIZE_MAX:
        return device->queue_select == 0 ? device->queue_max : 0;
    case QUEUE_READY:
        return device->ready;
    case INTERRUPT_STATUS:
        return device->interrupted;
    case STATUS:
        return device->status;
    default:
        fail_msg("read of register 0x%x", (unsigned int)(physical - REGISTERS));
        return 0;
    }
}

static void set_half(uint64_t *value, bool upper, uint32_t half)
{
    unsigned int shift = upper ? 32 : 0;

    *value = (*value & ~(0xffffffffull << shift)) | (uint64_t)half << shift;
}

static void set_status(struct ring_device *device, uint32_t status)
{
    device->status = status;
    if (status == 0) {
        device->ready = false;
        device->accepted = 0;
        device->interrupted = false;
        fake_os_device_stopped(device->os);
    }
}

/* Sets one of the addresses; a queue is set up while it is not ready. */
static void set_address(struct ring_device *device, uint64_t offset, uint32_t value)
{
    uint64_t *const addresses[] = {&device->descriptors, &device->driver_area,
                                   &device->device_area};
    uint64_t number = (offset - QUEUE_DESCRIPTORS) / 16;

    if (offset < QUEUE_DESCRIPTORS || number >= 3 || offset % 16 > 4) {
        fail_msg("write to register 0x%x", (unsigned int)offset);
        return;
    }
    assert_false(device->ready);
    set_half(addresses[number], offset % 16 != 0, value);
}

static void write_register(void *ctx, uint64_t physical, unsigned int width, uint32_t value)
{
    struct ring_device *device = ctx;
    uint64_t offset = physical - REGISTERS;

    assert_int_equal(width, 4);
    switch (offset) {
    case DEVICE_FEATURES_SEL:
        device->device_select = value & 1;
        break;
    case DRIVER_FEATURES_SEL:
        device->driver_select = value & 1;
        break;
    case DRIVER_FEATURES:
        set_half(&device->accepted, device->driver_select != 0, value);
        break;
    case QUEUE_SEL:
        device->queue_select = value;
        break;
    case QUEUE_SIZE:
        assert_false(device->ready);
        assert_in_range(value, 1, device->queue_max);
        device->size = (uint16_t)value;
        break;
    case QUEUE_READY:
        device->ready = value != 0;
        break;
    case QUEUE_NOTIFY:
        assert_int_equal(value, 0);
        assert_int_not_equal(device->status & DRIVER_OK, 0);
        device->doorbells++;
        break;
    case INTERRUPT_ACKNOWLEDGE:
        device->interrupted = false;
        break;
    case STATUS:
        set_status(device, value);
        break;
    default:
        set_address(device, offset, value);
        break;
    }
}

struct ring_device *ring_device_create(const struct fake_os_options *options)
{
    struct ring_device *device = calloc(1, sizeof(*device));
    const struct fake_os_bus bus = {.ctx = device, .read = read_register, .write = write_register};

    assert_non_null(device);
    device->os = fake_os_create(options);
    device->queue_max = 32768;
    device->memory = fake_os_test_pages(device->os, RING_DEVICE_PAGES);
    fake_os_connect_bus(device->os, &bus);
    return device;
}

static void negotiate(struct ring_device *device, uint64_t wanted)
{
    uint64_t accepted;

    assert_int_equal(piommu_virtio_reset(device->driver, SECOND), 0);
    assert_int_equal(piommu_virtio_negotiate(device->driver, wanted, 0, &accepted), 0);
    assert_int_equal(accepted, device->accepted);
}

void ring_device_open(struct ring_device *device, uint64_t wanted)
{
    const struct piommu_virtio_mmio_config config = {.registers = REGISTERS,
                                                     .size = REGISTERS_SIZE,
                                                     .type = TYPE,
                                                     .non_coherent = device->non_coherent};

    assert_int_equal(piommu_virtio_mmio_open(fake_os_host(device->os), &config, &device->driver),
                     0);
    negotiate(device, wanted);
}

void ring_device_start(struct ring_device *device, const struct piommu_virtqueue_config *config)
{
    ring_device_open(device, PIOMMU_VIRTIO_F_GENERIC);
    assert_int_equal(piommu_virtqueue_create(device->driver, config, &device->queue), 0);
    assert_int_equal(piommu_virtqueue_size(device->queue), device->size);
    piommu_virtio_start(device->driver);
}

void ring_device_restart(struct ring_device *device)
{
    negotiate(device, PIOMMU_VIRTIO_F_GENERIC);
    assert_int_equal(piommu_virtqueue_restart(device->queue), 0);
    piommu_virtio_start(device->driver);
}

void ring_device_destroy(struct ring_device *device)
{
    if (device->driver != NULL) {
        assert_int_equal(piommu_virtio_reset(device->driver, SECOND), 0);
        piommu_virtqueue_destroy(device->queue);
        piommu_virtio_close(device->driver);
    }
    fake_os_destroy(device->os);
    free(device);
}

uint64_t ring_device_get(struct ring_device *device, uint64_t physical, size_t size)
{
    uint8_t bytes[8] = {0};
    uint64_t value = 0;

    assert_true(fake_os_device_read(device->os, physical, bytes, size));
    for (size_t i = 0; i < size; i++) {
        value |= (uint64_t)bytes[i] << (8 * i);
    }
    return value;
}

void ring_device_put(struct ring_device *device, uint64_t physical, uint64_t value, size_t size)
{
    uint8_t bytes[8];

    for (size_t i = 0; i < size; i++) {
        bytes[i] = (uint8_t)(value >> (8 * i) & 0xff);
    }
    assert_true(fake_os_device_write(device->os, physical, bytes, size));
}
