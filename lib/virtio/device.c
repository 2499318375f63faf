/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* What is the same for every transport: status, features, configuration. */

#include "virtio.h"

/* A configuration that changes this often while it is read is taken for an attack. */
#define MAX_CONFIG_READS 16u

void piommu_virtio_close(struct piommu_virtio_device *device)
{
    if (device != NULL) {
        virtio_transport_of(device)->close(device);
    }
}

int piommu_virtio_wake(struct piommu_virtio_device *device)
{
    return device != NULL ? virtio_transport_of(device)->wake(device) : -PIOMMU_EINVAL;
}

int piommu_virtio_reset(struct piommu_virtio_device *device, uint64_t timeout)
{
    uint64_t deadline;

    if (device == NULL) {
        return -PIOMMU_EINVAL;
    }
    deadline = piommu_host_deadline_(device->host, timeout);
    virtio_transport_of(device)->set_status(device, 0);
    while (virtio_transport_of(device)->get_status(device) != 0) {
        if (!piommu_host_poll_(device->host, deadline)) {
            return -PIOMMU_ETIMEDOUT;
        }
    }
    return 0;
}

static void add_status(struct piommu_virtio_device *device, uint32_t bits)
{
    virtio_transport_of(device)->set_status(
        device, (uint8_t)(virtio_transport_of(device)->get_status(device) | bits));
}

int piommu_virtio_negotiate(struct piommu_virtio_device *device, uint64_t wanted, uint64_t required,
                            uint64_t *accepted)
{
    uint64_t offered;

    if (device == NULL || accepted == NULL) {
        return -PIOMMU_EINVAL;
    }
    required |= PIOMMU_VIRTIO_F_VERSION_1;
    add_status(device, PIOMMU_VIRTIO_STATUS_ACKNOWLEDGE);
    add_status(device, PIOMMU_VIRTIO_STATUS_DRIVER);
    offered = virtio_transport_of(device)->get_features(device);
    if (device->non_coherent || !PIOMMU_VIRTIO_WITH_PACKED) {
        /* What either side writes of a packed ring lies in the same cache lines. */
        offered &= ~PIOMMU_VIRTIO_F_RING_PACKED;
    }
    if ((offered & required) == required) {
        uint64_t features = offered & (wanted | required);

        virtio_transport_of(device)->set_features(device, features);
        add_status(device, PIOMMU_VIRTIO_STATUS_FEATURES_OK);
        if ((virtio_transport_of(device)->get_status(device) & PIOMMU_VIRTIO_STATUS_FEATURES_OK) !=
            0) {
            device->features = features;
            *accepted = features;
            return 0;
        }
    }
    add_status(device, PIOMMU_VIRTIO_STATUS_FAILED);
    return -PIOMMU_EOPNOTSUPP;
}

/* Configuration is accessed by the width of the field; 64-bit fields as two halves. */
static uint64_t read_field(struct piommu_virtio_device *device, struct piommu_virtio_field field)
{
    uint64_t value;

    if (field.width != 8) {
        return virtio_transport_of(device)->config_read(device, field.offset, field.width);
    }
    value = virtio_transport_of(device)->config_read(device, field.offset, 4);
    return value |
           ((uint64_t)virtio_transport_of(device)->config_read(device, field.offset + 4, 4) << 32);
}

int piommu_virtio_read_config(struct piommu_virtio_device *device,
                              const struct piommu_virtio_field *fields, size_t count,
                              uint64_t *values)
{
    uint64_t read[PIOMMU_VIRTIO_MAX_FIELDS];

    if (device == NULL || fields == NULL || values == NULL || count > PIOMMU_VIRTIO_MAX_FIELDS) {
        return -PIOMMU_EINVAL;
    }
    for (size_t i = 0; i < count; i++) {
        if (fields[i].offset > device->config_size ||
            fields[i].width > device->config_size - fields[i].offset) {
            return -PIOMMU_EBADMSG;
        }
    }
    for (unsigned int attempt = 0; attempt < MAX_CONFIG_READS; attempt++) {
        uint32_t generation = virtio_transport_of(device)->config_generation(device);

        for (size_t i = 0; i < count; i++) {
            read[i] = read_field(device, fields[i]);
        }
        if (virtio_transport_of(device)->config_generation(device) == generation) {
            memcpy(values, read, count * sizeof(*values));
            return 0;
        }
    }
    return -PIOMMU_EBADMSG;
}

int piommu_virtio_read_config_byte(struct piommu_virtio_device *device, uint32_t offset,
                                   uint8_t *value)
{
    if (device == NULL || value == NULL) {
        return -PIOMMU_EINVAL;
    }
    if (offset >= device->config_size) {
        return -PIOMMU_EBADMSG;
    }
    *value = (uint8_t)virtio_transport_of(device)->config_read(device, offset, 1);
    return 0;
}

int piommu_virtio_write_config_byte(struct piommu_virtio_device *device, uint32_t offset,
                                    uint8_t value)
{
    if (device == NULL) {
        return -PIOMMU_EINVAL;
    }
    if (offset >= device->config_size) {
        return -PIOMMU_EBADMSG;
    }
    virtio_transport_of(device)->config_write_byte(device, offset, value);
    return 0;
}

void piommu_virtio_start(struct piommu_virtio_device *device)
{
    add_status(device, PIOMMU_VIRTIO_STATUS_DRIVER_OK);
}

unsigned int piommu_virtio_messages_used(const struct piommu_virtio_device *device)
{
    return device->messages_used;
}

void piommu_virtio_to_device(const struct piommu_virtio_device *device, const void *memory,
                             size_t size)
{
    if (device->non_coherent && size != 0) {
        device->host.os->cache_clean(device->host.ctx, memory, size);
    }
}

void piommu_virtio_from_device(const struct piommu_virtio_device *device, const void *memory,
                               size_t size)
{
    if (device->non_coherent && size != 0) {
        device->host.os->cache_invalidate(device->host.ctx, memory, size);
    }
}

uint8_t piommu_virtio_status(struct piommu_virtio_device *device)
{
    return virtio_transport_of(device)->get_status(device);
}

uint8_t piommu_virtio_interrupt_status(struct piommu_virtio_device *device)
{
    return virtio_transport_of(device)->interrupt_status(device);
}
