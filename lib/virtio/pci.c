/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The transport virtio-pci, modern interface.
 *
 * Source: VIRTIO 1.2, section 4.1 "Virtio Over PCI Bus".
 */

#include "pci.h"

#define PCI_VENDOR         0x00u
#define PCI_DEVICE         0x02u
#define PCI_COMMAND        0x04u
#define PCI_STATUS         0x06u
#define PCI_CAPABILITIES   0x34u
#define PCI_COMMAND_MEMORY 0x0002u
#define PCI_COMMAND_MASTER 0x0004u
#define PCI_STATUS_CAPS    0x0010u

#define VENDOR_VIRTIO 0x1af4u
#define DEVICE_MODERN 0x1040u

/* A vendor capability of virtio. */
#define CAP_LENGTH        2u
#define CAP_TYPE          3u
#define CAP_BAR           4u
#define CAP_OFFSET        8u
#define CAP_SIZE          12u
#define CAP_MULTIPLIER    16u
#define CAP_MIN_LENGTH    16u
#define CAP_NOTIFY_LENGTH 20u

/* Common configuration. */
#define COMMON_DEVICE_FEATURE_SELECT 0u
#define COMMON_DEVICE_FEATURE        4u
#define COMMON_DRIVER_FEATURE_SELECT 8u
#define COMMON_DRIVER_FEATURE        12u
#define COMMON_CONFIG_VECTOR         16u
#define COMMON_QUEUE_COUNT           18u
#define COMMON_STATUS                20u
#define COMMON_GENERATION            21u
#define COMMON_QUEUE_SELECT          22u
#define COMMON_QUEUE_SIZE            24u
#define COMMON_QUEUE_VECTOR          26u
#define COMMON_QUEUE_ENABLE          28u
#define COMMON_QUEUE_NOTIFY_OFFSET   30u
#define COMMON_QUEUE_DESCRIPTORS     32u
#define COMMON_QUEUE_AVAILABLE       40u
#define COMMON_QUEUE_USED            48u
#define COMMON_END                   56u

/* How much of each region the driver can make use of; a longer one is mapped only so far. */
static const uint32_t region_limits[REGION_COUNT] = {COMMON_END, 0x100000, 1, 0x1000};
/* How much of each there must be. */
static const uint32_t region_minima[REGION_COUNT] = {COMMON_END, 2, 1, 1};

static uint32_t read_common(struct piommu_virtio_device *device, uint32_t offset,
                            unsigned int width)
{
    return device->host.os->mmio_read(
        device->host.ctx, virtio_pci_of(device)->regions[REGION_COMMON].base + offset, width);
}

static void write_common(struct piommu_virtio_device *device, uint32_t offset, unsigned int width,
                         uint32_t value)
{
    device->host.os->mmio_write(device->host.ctx,
                                virtio_pci_of(device)->regions[REGION_COMMON].base + offset, width,
                                value);
}

static void write_common64(struct piommu_virtio_device *device, uint32_t offset, uint64_t value)
{
    write_common(device, offset, 4, (uint32_t)value);
    write_common(device, offset + 4, 4, (uint32_t)(value >> 32));
}

static uint8_t get_status(struct piommu_virtio_device *device)
{
    return (uint8_t)read_common(device, COMMON_STATUS, 1);
}

static void set_status(struct piommu_virtio_device *device, uint8_t status)
{
    write_common(device, COMMON_STATUS, 1, status);
}

static uint64_t get_features(struct piommu_virtio_device *device)
{
    uint64_t low;

    write_common(device, COMMON_DEVICE_FEATURE_SELECT, 4, 0);
    low = read_common(device, COMMON_DEVICE_FEATURE, 4);
    write_common(device, COMMON_DEVICE_FEATURE_SELECT, 4, 1);
    return low | ((uint64_t)read_common(device, COMMON_DEVICE_FEATURE, 4) << 32);
}

static void set_features(struct piommu_virtio_device *device, uint64_t features)
{
    write_common(device, COMMON_DRIVER_FEATURE_SELECT, 4, 0);
    write_common(device, COMMON_DRIVER_FEATURE, 4, (uint32_t)features);
    write_common(device, COMMON_DRIVER_FEATURE_SELECT, 4, 1);
    write_common(device, COMMON_DRIVER_FEATURE, 4, (uint32_t)(features >> 32));
}

static uint8_t interrupt_status(struct piommu_virtio_device *device)
{
    if (device->messages_used != 0) {
        return 0; /* reading it would release a line that is not in use, and tells nothing */
    }
    return (uint8_t)device->host.os->mmio_read(device->host.ctx,
                                               virtio_pci_of(device)->regions[REGION_ISR].base, 1);
}

static uint32_t config_generation(struct piommu_virtio_device *device)
{
    return read_common(device, COMMON_GENERATION, 1);
}

static uint32_t config_read(struct piommu_virtio_device *device, uint32_t offset, uint32_t width)
{
    return device->host.os->mmio_read(
        device->host.ctx, virtio_pci_of(device)->regions[REGION_DEVICE].base + offset, width);
}

static void config_write_byte(struct piommu_virtio_device *device, uint32_t offset, uint8_t value)
{
    device->host.os->mmio_write(
        device->host.ctx, virtio_pci_of(device)->regions[REGION_DEVICE].base + offset, 1, value);
}

static uint32_t queue_max(struct piommu_virtio_device *device, uint16_t index)
{
    if (index >= read_common(device, COMMON_QUEUE_COUNT, 2)) {
        return 0;
    }
    write_common(device, COMMON_QUEUE_SELECT, 2, index);
    if (read_common(device, COMMON_QUEUE_ENABLE, 2) != 0) {
        return 0;
    }
    return read_common(device, COMMON_QUEUE_SIZE, 2);
}

/* Has the device use a message; false if it refuses. A reset makes it forget. */
static bool set_vector(struct piommu_virtio_device *device, uint32_t offset, uint16_t vector)
{
    write_common(device, offset, 2, vector);
    return read_common(device, offset, 2) == vector;
}

/* Tells the device which message is for what; the queue is selected. */
static bool set_vectors(struct piommu_virtio_device *device)
{
    return device->messages_used == 0 ||
           (set_vector(device, COMMON_CONFIG_VECTOR, 0) &&
            set_vector(device, COMMON_QUEUE_VECTOR, (uint16_t)(device->messages_used - 1u)));
}

static int queue_start(struct piommu_virtio_device *device, uint16_t index, uint16_t size,
                       const struct virtio_ring_addresses *addresses, uintptr_t *doorbell)
{
    const struct virtio_pci_device *pci = virtio_pci_of(device);
    const struct region *notify = &pci->regions[REGION_NOTIFY];
    uint64_t offset;

    write_common(device, COMMON_QUEUE_SELECT, 2, index);
    offset = (uint64_t)read_common(device, COMMON_QUEUE_NOTIFY_OFFSET, 2) * pci->notify_multiplier;
    if (offset > notify->size - 2u || (offset & 1) != 0 || !set_vectors(device)) {
        return -PIOMMU_EBADMSG;
    }
    write_common(device, COMMON_QUEUE_SIZE, 2, size);
    if (read_common(device, COMMON_QUEUE_SIZE, 2) != size) {
        return -PIOMMU_EBADMSG;
    }
    write_common64(device, COMMON_QUEUE_DESCRIPTORS, addresses->descriptors);
    write_common64(device, COMMON_QUEUE_AVAILABLE, addresses->driver_area);
    write_common64(device, COMMON_QUEUE_USED, addresses->device_area);
    write_common(device, COMMON_QUEUE_ENABLE, 2, 1);
    *doorbell = notify->base + (uintptr_t)offset;
    return 0;
}

static void notify(struct piommu_virtio_device *device, uint16_t index, uintptr_t doorbell)
{
    device->host.os->mmio_write(device->host.ctx, doorbell, 2, index);
}

static bool is_there(struct piommu_host host, struct piommu_pci_function function, uint32_t type)
{
    return host.os->pci_config_read(host.ctx, function, PCI_VENDOR, 2) == VENDOR_VIRTIO &&
           host.os->pci_config_read(host.ctx, function, PCI_DEVICE, 2) == DEVICE_MODERN + type;
}

static int wake(struct piommu_virtio_device *device)
{
    const struct virtio_pci_device *pci = virtio_pci_of(device);

    if (!is_there(device->host, pci->function, device->type)) {
        return -PIOMMU_ENODEV;
    }
    virtio_pci_write(pci, PCI_COMMAND, 2,
                     pci->old_command | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    piommu_virtio_pci_messages_write_(pci);
    return 0;
}

static void unmap_regions(struct virtio_pci_device *pci)
{
    struct piommu_host host = pci->device.host;

    for (unsigned int i = 0; i < REGION_COUNT; i++) {
        if (pci->regions[i].base != 0) {
            host.os->mmio_unmap(host.ctx, pci->regions[i].base, pci->regions[i].size);
        }
    }
}

static void close_device(struct piommu_virtio_device *device)
{
    struct virtio_pci_device *pci = virtio_pci_of(device);
    struct piommu_host host = device->host;

    piommu_virtio_pci_messages_close_(pci);
    unmap_regions(pci);
    virtio_pci_write(pci, PCI_COMMAND, 2, pci->old_command);
    piommu_host_free_(host, pci, sizeof(*pci));
}

const struct virtio_transport piommu_virtio_pci_transport_ = {
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

bool piommu_virtio_pci_next_capability_(struct virtio_pci_device *pci, uint8_t id, uint32_t *at)
{
    /* A list cannot be longer: each takes 4 bytes above the header. A longer one has a loop. */
    const unsigned int longest = (PCI_CONFIG_SIZE - PCI_HEADER_SIZE) / 4;

    if (*at == 0) {
        pci->capabilities = 0;
        if ((virtio_pci_read(pci, PCI_STATUS, 2) & PCI_STATUS_CAPS) == 0) {
            return false;
        }
    }
    *at = virtio_pci_read(pci, *at == 0 ? PCI_CAPABILITIES : *at + 1, 1) & 0xfcu;
    while (*at >= PCI_HEADER_SIZE && pci->capabilities < longest) {
        pci->capabilities++;
        if (virtio_pci_read(pci, *at, 1) == id) {
            return true;
        }
        *at = virtio_pci_read(pci, *at + 1, 1) & 0xfcu;
    }
    return false;
}

/*
 * Looks at one vendor capability. Others may follow with the same type: the first that is usable
 * counts. Returns 0 also for those that are not; an error only if the shim reports one.
 */
static int read_capability(struct virtio_pci_device *pci, uint32_t at)
{
    struct piommu_host host = pci->device.host;
    uint32_t length = virtio_pci_read(pci, at + CAP_LENGTH, 1);
    uint32_t type = virtio_pci_read(pci, at + CAP_TYPE, 1);
    uint32_t number = virtio_pci_read(pci, at + CAP_BAR, 1);
    struct piommu_pci_bar bar = {0, 0};
    struct region *region;
    uint64_t offset;
    uint64_t size;
    int error;

    if (type < 1 || type > REGION_COUNT || number >= PCI_BAR_COUNT) {
        return 0;
    }
    region = &pci->regions[type - 1];
    if (region->size != 0 ||
        length < (type - 1 == REGION_NOTIFY ? CAP_NOTIFY_LENGTH : CAP_MIN_LENGTH) ||
        at + length > PCI_CONFIG_SIZE) {
        return 0;
    }
    error = host.os->pci_bar(host.ctx, pci->function, number, &bar);
    if (error != 0) {
        return error;
    }
    offset = virtio_pci_read(pci, at + CAP_OFFSET, 4);
    size = virtio_pci_read(pci, at + CAP_SIZE, 4);
    if (size < region_minima[type - 1] || offset > bar.size || size > bar.size - offset ||
        (offset & 3) != 0) {
        return 0;
    }
    region->physical = bar.physical + offset;
    region->size = (uint32_t)(size < region_limits[type - 1] ? size : region_limits[type - 1]);
    if (type - 1 == REGION_NOTIFY) {
        pci->notify_multiplier = virtio_pci_read(pci, at + CAP_MULTIPLIER, 4);
    }
    return 0;
}

static int find_regions(struct virtio_pci_device *pci)
{
    uint32_t at = 0;

    while (piommu_virtio_pci_next_capability_(pci, PCI_CAP_VENDOR, &at)) {
        int error = at + CAP_MIN_LENGTH <= PCI_CONFIG_SIZE ? read_capability(pci, at) : 0;

        if (error != 0) {
            return error;
        }
    }
    for (unsigned int i = 0; i < REGION_COUNT; i++) {
        if (pci->regions[i].size == 0) {
            return -PIOMMU_EBADMSG;
        }
    }
    return 0;
}

static int map_regions(struct virtio_pci_device *pci)
{
    struct piommu_host host = pci->device.host;

    for (unsigned int i = 0; i < REGION_COUNT; i++) {
        struct region *region = &pci->regions[i];
        int error = host.os->mmio_map(host.ctx, region->physical, region->size, &region->base);

        if (error != 0) {
            region->base = 0;
            unmap_regions(pci);
            return error;
        }
    }
    return 0;
}

/* Finds and maps what is needed. After a failure nothing is mapped. */
static int find_and_map(struct virtio_pci_device *pci,
                        const struct piommu_virtio_pci_config *config)
{
    int error = find_regions(pci);

    if (error == 0) {
        error = map_regions(pci);
    }
    if (error == 0) {
        error = piommu_virtio_pci_messages_open_(pci, config->messages, config->message_count);
        if (error != 0) {
            unmap_regions(pci);
        }
    }
    return error;
}

int piommu_virtio_pci_open(struct piommu_host host, const struct piommu_virtio_pci_config *config,
                           struct piommu_virtio_device **device)
{
    struct virtio_pci_device *pci;
    int error;

    if (config == NULL || device == NULL || config->message_count > PIOMMU_VIRTIO_MAX_MESSAGES ||
        (config->message_count != 0 && config->messages == NULL)) {
        return -PIOMMU_EINVAL;
    }
    if (!PIOMMU_VIRTIO_WITH_PCI) {
        return -PIOMMU_EOPNOTSUPP;
    }
    error =
        piommu_host_check_(host, PIOMMU_OS_NEED_LOCK | PIOMMU_OS_NEED_MMIO | PIOMMU_OS_NEED_PCI |
                                     virtio_coherency_needs(config->non_coherent));
    if (error != 0) {
        return error;
    }
    if (!is_there(host, config->function, config->type)) {
        return -PIOMMU_ENODEV;
    }
    pci = piommu_host_alloc_(host, sizeof(*pci));
    if (pci == NULL) {
        return -PIOMMU_ENOMEM;
    }
    pci->device.host = host;
    pci->device.transport = &piommu_virtio_pci_transport_;
    pci->device.type = config->type;
    pci->device.non_coherent = config->non_coherent;
    pci->function = config->function;
    pci->old_command = (uint16_t)virtio_pci_read(pci, PCI_COMMAND, 2);
    virtio_pci_write(pci, PCI_COMMAND, 2, pci->old_command | PCI_COMMAND_MEMORY);
    error = find_and_map(pci, config);
    if (error != 0) {
        virtio_pci_write(pci, PCI_COMMAND, 2, pci->old_command);
        piommu_host_free_(host, pci, sizeof(*pci));
        return error;
    }
    pci->device.config_size = pci->regions[REGION_DEVICE].size;
    virtio_pci_write(pci, PCI_COMMAND, 2,
                     pci->old_command | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    *device = &pci->device;
    return 0;
}
