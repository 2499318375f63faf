/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* Finding, starting and stopping a virtio-iommu. */

#include "unit.h"

/*
 * Whoever has smaller pages than the device is told so by the granule; beyond this it is nonsense.
 */
#define MIN_GRANULE 0x1000ull
#define MAX_GRANULE 0x40000000ull

#define WANTED_FEATURES \
    (F_INPUT_RANGE | F_DOMAIN_RANGE | F_MAP_UNMAP | F_PROBE | F_MMIO | F_BYPASS_CONFIG)

static int read_config(struct virtio_iommu *unit, uint32_t offset, uint32_t width, uint64_t *value)
{
    struct piommu_virtio_field field = {.offset = offset, .width = width};

    return piommu_virtio_read_config(unit->device, &field, 1, value);
}

/* What can be mapped: the device's sizes, and its input range cut down to whole granules. */
static int read_aperture(struct virtio_iommu *unit, struct piommu_backend_info *info)
{
    static const struct piommu_virtio_field fields[] = {
        {CONFIG_PAGE_SIZE_MASK, 8}, {CONFIG_INPUT_START, 8}, {CONFIG_INPUT_END, 8}};
    uint64_t values[3] = {0, 0, UINT64_MAX};
    bool has_range = (unit->features & F_INPUT_RANGE) != 0;
    uint64_t granule;
    int error = piommu_virtio_read_config(unit->device, fields, has_range ? 3 : 1, values);

    if (error != 0) {
        return error;
    }
    granule = values[0] & (~values[0] + 1);
    if (granule == 0 || granule > MAX_GRANULE || values[1] > values[2]) {
        return -PIOMMU_EBADMSG;
    }
    if (granule < MIN_GRANULE) {
        granule = MIN_GRANULE;
    }
    info->leaf_sizes = (values[0] & ~(granule - 1)) | granule;
    info->aperture.first = values[1];
    if ((values[1] & (granule - 1)) != 0) {
        info->aperture.first = (values[1] | (granule - 1)) + 1;
    }
    /* The last byte of the last whole granule. */
    info->aperture.last = values[2];
    if ((values[2] & (granule - 1)) != granule - 1) {
        info->aperture.last = (values[2] & ~(granule - 1)) - 1;
    }
    if (info->aperture.first < values[1] || info->aperture.last > values[2] ||
        info->aperture.first > info->aperture.last) {
        return -PIOMMU_EBADMSG;
    }
    return 0;
}

static int read_domain_range(struct virtio_iommu *unit)
{
    static const struct piommu_virtio_field fields[] = {{CONFIG_DOMAIN_START, 4},
                                                        {CONFIG_DOMAIN_END, 4}};
    uint64_t values[2] = {0, UINT32_MAX};

    if ((unit->features & F_DOMAIN_RANGE) != 0) {
        int error = piommu_virtio_read_config(unit->device, fields, 2, values);

        if (error != 0) {
            return error;
        }
    }
    if (values[0] > values[1]) {
        return -PIOMMU_EBADMSG;
    }
    if (values[1] - values[0] < fixed_domains(unit)) {
        return -PIOMMU_EOPNOTSUPP;
    }
    unit->first_domain = (uint32_t)values[0];
    unit->last_domain = (uint32_t)values[1];
    unit->next_domain = unit->first_domain + fixed_domains(unit);
    return 0;
}

static int read_probe_size(struct virtio_iommu *unit)
{
    uint64_t size = 0;
    int error = 0;

    if ((unit->features & F_PROBE) != 0) {
        error = read_config(unit, CONFIG_PROBE_SIZE, 4, &size);
    }
    if (error == 0 && size > MAX_PROBE_SIZE) {
        error = -PIOMMU_EBADMSG;
    }
    unit->probe_size = (uint32_t)size;
    return error;
}

static int take_memory(struct virtio_iommu *unit, size_t size, uint8_t **memory, uint64_t *physical)
{
    struct piommu_dma_request request = {.size = size,
                                         .alignment = 64,
                                         .max_physical = UINT64_MAX,
                                         .purpose = PIOMMU_DMA_RING,
                                         .owner = unit->config.owner};

    *memory = unit->host.os->dma_alloc(unit->host.ctx, &request, physical);
    if (*memory == NULL) {
        return -PIOMMU_ENOMEM;
    }
    /* A device that claims to have written and has not must not make us report what was there. */
    memset(*memory, 0, size);
    return 0;
}

static void give_memory(struct virtio_iommu *unit, uint8_t *memory, size_t size)
{
    if (memory != NULL) {
        unit->host.os->dma_free(unit->host.ctx, memory, size);
    }
}

static int create_queues(struct virtio_iommu *unit)
{
    int error = piommu_virtqueue_create(unit->device, REQUEST_QUEUE, REQUEST_QUEUE_SIZE,
                                        unit->config.owner, &unit->requests);

    if (error == 0) {
        error = piommu_virtqueue_create(unit->device, EVENT_QUEUE, EVENT_QUEUE_SIZE,
                                        unit->config.owner, &unit->events);
    }
    if (error == 0) {
        unit->slot_count = piommu_virtqueue_size(unit->requests) / 2;
        unit->event_count = piommu_virtqueue_size(unit->events);
        error = take_memory(unit, unit->slot_count * SLOT_SIZE, &unit->slot_memory,
                            &unit->slot_physical);
    }
    if (error == 0) {
        error = take_memory(unit, unit->event_count * EVENT_SLOT_SIZE, &unit->event_memory,
                            &unit->event_physical);
    }
    if (error == 0 && (unit->features & F_PROBE) != 0) {
        error = take_memory(unit, unit->probe_size + TAIL_SIZE, &unit->probe_memory,
                            &unit->probe_physical);
    }
    return error;
}

/*
 * Closes the way for endpoints in no domain. The field is always written: a device may bypass
 * although it reads 0. If it does not stay 0, the device cannot isolate. Nothing of this is asked
 * of a device without the field: it must block those endpoints (5.13.6.2).
 */
static int set_bypass(struct virtio_iommu *unit)
{
    uint64_t value;
    int error;

    if ((unit->features & F_BYPASS_CONFIG) == 0) {
        unit->unattached_is_blocked = true;
        return 0;
    }
    if (unit->config.unknown_ids == PIOMMU_UNKNOWN_IDS_LEAVE) {
        return 0;
    }
    error = piommu_virtio_write_config_byte(unit->device, CONFIG_BYPASS, 0);
    if (error == 0) {
        error = read_config(unit, CONFIG_BYPASS, 1, &value);
    }
    if (error == 0 && (value & 1) != 0) {
        error = -PIOMMU_EIO;
    }
    unit->unattached_is_blocked = true;
    return error;
}

static int start(struct virtio_iommu *unit, struct piommu_backend_info *info)
{
    int error = piommu_virtio_reset(unit->device, unit->config.timeout);

    if (error == 0) {
        error =
            piommu_virtio_negotiate(unit->device, WANTED_FEATURES, F_MAP_UNMAP, &unit->features);
    }
    if (error == 0) {
        error = read_aperture(unit, info);
    }
    if (error == 0) {
        error = read_domain_range(unit);
    }
    if (error == 0) {
        error = read_probe_size(unit);
    }
    if (error == 0) {
        error = create_queues(unit);
    }
    if (error != 0) {
        return error;
    }
    piommu_virtio_iommu_post_events_(unit);
    piommu_virtio_start(unit->device);
    if ((piommu_virtio_status(unit->device) & PIOMMU_VIRTIO_STATUS_NEEDS_RESET) != 0) {
        return -PIOMMU_EIO;
    }
    piommu_virtqueue_kick(unit->events);
    info->prot = PIOMMU_PROT_READ | PIOMMU_PROT_WRITE |
                 ((unit->features & F_MMIO) != 0 ? PIOMMU_PROT_DEVICE : 0);
    info->atomic_switch = true;
    info->identity = (unit->features & F_BYPASS_CONFIG) != 0;
    return set_bypass(unit);
}

/* Frees everything, however much of it there is. The device has been reset. */
static void destroy(struct virtio_iommu *unit)
{
    while (unit->parked != NULL) {
        struct virtio_endpoint *endpoint = unit->parked;

        unit->parked = endpoint->next;
        piommu_host_free(unit->host, endpoint, sizeof(*endpoint));
    }
    piommu_virtqueue_destroy(unit->requests);
    piommu_virtqueue_destroy(unit->events);
    give_memory(unit, unit->slot_memory, unit->slot_count * SLOT_SIZE);
    give_memory(unit, unit->event_memory, unit->event_count * EVENT_SLOT_SIZE);
    give_memory(unit, unit->probe_memory, unit->probe_size + TAIL_SIZE);
    piommu_virtio_close(unit->device);
    if (unit->lock != NULL) {
        unit->host.os->lock_destroy(unit->host.ctx, unit->lock);
    }
    piommu_host_free(unit->host, unit, sizeof(*unit));
}

/*
 * Undoes a start that has failed. A device that does not confirm its reset may go on using the
 * rings: their memory is given up for good rather than given to somebody else.
 */
static void abandon_start(struct virtio_iommu *unit)
{
    /* Without a queue the device has no memory of ours, whatever it does. */
    if (unit->requests == NULL || piommu_virtio_reset(unit->device, unit->config.timeout) == 0) {
        destroy(unit);
        return;
    }
    piommu_host_log_(unit->host, PIOMMU_LOG_ERROR,
                     "%s: the device does not stop; the memory of its queues is lost",
                     unit->config.name);
}

static int probe(struct piommu_host host, struct piommu_instance *instance,
                 const struct piommu_instance_config *config, const void *backend_config,
                 void *parent, void **result, struct piommu_backend_info *info)
{
    const struct piommu_virtio_iommu_config *place = backend_config;
    struct virtio_iommu *unit;
    int error;

    if (place == NULL || parent != NULL) {
        return -PIOMMU_EINVAL;
    }
    unit = piommu_host_alloc(host, sizeof(*unit));
    if (unit == NULL) {
        return -PIOMMU_ENOMEM;
    }
    unit->host = host;
    unit->instance = instance;
    unit->config = *config;
    unit->lock = host.os->lock_create(host.ctx);
    error = unit->lock != NULL ? 0 : -PIOMMU_ENOMEM;
    if (error == 0) {
        error = piommu_virtio_pci_open(host, place->pci, PIOMMU_VIRTIO_IOMMU_TYPE, &unit->device);
    }
    if (error == 0) {
        error = start(unit, info);
    }
    if (error != 0) {
        abandon_start(unit);
        return error;
    }
    *result = unit;
    return 0;
}

/*
 * After a reset no endpoint is in any domain, and the bypass field is as it was. So an endpoint
 * that we have blocked stays blocked only if the field is 0; this outranks the policy to leave
 * unknown IDs alone.
 */
static int stop(void *handle)
{
    struct virtio_iommu *unit = handle;

    atomic_store_explicit(&unit->dead, 1, memory_order_release);
    if (!unit->unattached_is_blocked) {
        uint64_t value = 1;

        (void)piommu_virtio_write_config_byte(unit->device, CONFIG_BYPASS, 0);
        /* If it does not stay 0, a reset would open what the attachments still hold closed. */
        if (read_config(unit, CONFIG_BYPASS, 1, &value) != 0 || (value & 1) != 0) {
            return -PIOMMU_ETIMEDOUT;
        }
    }
    return piommu_virtio_reset(unit->device, unit->config.timeout);
}

static int remove_unit(void *handle)
{
    struct virtio_iommu *unit = handle;
    int error;

    atomic_store_explicit(&unit->dead, 1, memory_order_release);
    error = piommu_virtio_reset(unit->device, unit->config.timeout);

    if (error == 0) {
        destroy(unit);
    }
    return error;
}

static const char *const compatible[] = {"virtio,pci-iommu", "pci1af4,1057", NULL};

static const struct piommu_backend backend = {
    .size = sizeof(struct piommu_backend),
    .name = "virtio-iommu",
    .compatible = compatible,
    .kind = PIOMMU_BACKEND_REQUESTS,
    .needs = PIOMMU_OS_NEED_BASE | PIOMMU_OS_NEED_LOCK | PIOMMU_OS_NEED_MMIO | PIOMMU_OS_NEED_PCI,
    .probe = probe,
    .remove = remove_unit,
    .stop = stop,
    .add_endpoint = piommu_virtio_iommu_add_endpoint_,
    .release_endpoint = piommu_virtio_iommu_release_endpoint_,
    .domain_create = piommu_virtio_iommu_domain_create_,
    .domain_destroy = piommu_virtio_iommu_domain_destroy_,
    .attach = piommu_virtio_iommu_attach_,
    .block = piommu_virtio_iommu_block_,
    .map = piommu_virtio_iommu_map_,
    .unmap = piommu_virtio_iommu_unmap_,
    .service = piommu_virtio_iommu_service_,
};

const struct piommu_backend *piommu_virtio_iommu_backend(void)
{
    return &backend;
}
