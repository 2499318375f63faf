/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* Finding, starting and stopping a virtio-iommu. */

#include "unit.h"

/*
 * Not ACCESS_PLATFORM: it would mean that the device's own accesses go through an IOMMU, and there
 * is none but itself. QEMU (7.2), where it can be switched on, does just that, and does not survive
 * it.
 */
#define WANTED_FEATURES                                                             \
    ((PIOMMU_VIRTIO_F_GENERIC & ~PIOMMU_VIRTIO_F_ACCESS_PLATFORM) | F_INPUT_RANGE | \
     F_DOMAIN_RANGE | F_MAP_UNMAP | F_PROBE | F_MMIO | F_BYPASS_CONFIG)

static int take_memory(struct virtio_iommu *unit, size_t size, uint8_t **memory, uint64_t *physical)
{
    struct piommu_dma_request request = {.size = size,
                                         .alignment = SLOT_SIZE,
                                         .max_physical = UINT64_MAX,
                                         .purpose = PIOMMU_DMA_RING,
                                         .owner = unit->config.owner};

    *memory = unit->host.os->dma_alloc(unit->host.ctx, &request, physical);
    if (*memory == NULL) {
        return -PIOMMU_ENOMEM;
    }
    /* A device that claims to have written and has not must not make us report what was there. */
    memset(*memory, 0, size);
    piommu_virtio_to_device(unit->device, *memory, size);
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
    const struct piommu_virtqueue_config requests = {.index = REQUEST_QUEUE,
                                                     .max_size = REQUEST_QUEUE_SIZE,
                                                     .max_pieces = REQUEST_PIECES,
                                                     .polled = !unit->place.wait_sleeps,
                                                     .owner = unit->config.owner};
    const struct piommu_virtqueue_config events = {
        .index = EVENT_QUEUE, .max_size = EVENT_QUEUE_SIZE, .owner = unit->config.owner};
    int error = piommu_virtqueue_create(unit->device, &requests, &unit->requests);

    if (error == 0) {
        error = piommu_virtqueue_create(unit->device, &events, &unit->events);
    }
    if (error == 0) {
        unit->slot_count = piommu_virtqueue_capacity(unit->requests, REQUEST_PIECES);
        unit->event_count = piommu_virtqueue_size(unit->events);
        error = take_memory(unit, (size_t)unit->slot_count * SLOT_SIZE, &unit->slot_memory,
                            &unit->slot_physical);
    }
    if (error == 0) {
        error = take_memory(unit, (size_t)unit->event_count * EVENT_SLOT_SIZE, &unit->event_memory,
                            &unit->event_physical);
    }
    if (error == 0 && (unit->features & F_PROBE) != 0) {
        error = take_memory(unit, unit->facts.probe_size + TAIL_SIZE, &unit->probe_memory,
                            &unit->probe_physical);
    }
    return error;
}

static bool blocks_unknown(const struct virtio_iommu *unit)
{
    return unit->config.unknown_ids == PIOMMU_UNKNOWN_IDS_BLOCK;
}

/*
 * Closes the way for endpoints in no domain, but for those that are to run on. The field is always
 * written: a device may bypass although it reads 0. If it does not stay 0, the device cannot
 * isolate. Nothing of this is asked of a device without the field: it must block those endpoints
 * (5.13.6.2).
 */
static int close_bypass(struct virtio_iommu *unit)
{
    int error = passes_by_domain(unit) && blocks_unknown(unit)
                    ? piommu_virtio_iommu_write_bypass_(unit, 0)
                    : 0;

    unit->unattached_is_blocked = !passes_by_domain(unit) || blocks_unknown(unit);
    return error;
}

/* Tells the device that all is ready for it. */
static int run(struct virtio_iommu *unit)
{
    piommu_virtio_iommu_forget_requests_(unit);
    piommu_virtio_iommu_post_events_(unit);
    piommu_virtio_start(unit->device);
    if ((piommu_virtio_status(unit->device) & PIOMMU_VIRTIO_STATUS_NEEDS_RESET) != 0) {
        return -PIOMMU_EIO;
    }
    piommu_virtqueue_kick(unit->events);
    (void)piommu_virtqueue_want_interrupt(unit->events);
    return 0;
}

static int start(struct virtio_iommu *unit)
{
    uint8_t bypass = 0;
    int error = piommu_virtio_reset(unit->device, unit->config.timeout);

    if (error == 0) {
        error =
            piommu_virtio_negotiate(unit->device, WANTED_FEATURES, F_MAP_UNMAP, &unit->features);
    }
    if (error == 0) {
        error = piommu_virtio_iommu_read_config_(unit);
    }
    if (error == 0 && passes_by_domain(unit)) {
        error = piommu_virtio_read_config_byte(unit->device, CONFIG_BYPASS, &bypass);
    }
    if (error == 0) {
        error = create_queues(unit);
    }
    if (error != 0) {
        return error;
    }
    unit->bypass = bypass & 1;
    unit->next_domain = unit->facts.first_domain + fixed_domains(unit);
    error = run(unit);
    if (error == 0) {
        error = piommu_virtio_iommu_let_run_(unit);
    }
    return error != 0 ? error : close_bypass(unit);
}

static void fill_info(const struct virtio_iommu *unit, struct piommu_backend_info *info)
{
    info->aperture = unit->facts.aperture;
    info->leaf_sizes = unit->facts.leaf_sizes;
    info->prot = PIOMMU_PROT_READ | PIOMMU_PROT_WRITE |
                 ((unit->features & F_MMIO) != 0 ? PIOMMU_PROT_DEVICE : 0);
    info->atomic_switch = true;
    info->identity = true;
}

/* Frees everything, however much of it there is. The device has been reset. */
static void destroy(struct virtio_iommu *unit)
{
    piommu_virtio_iommu_free_endpoints_(unit);
    piommu_virtqueue_destroy(unit->requests);
    piommu_virtqueue_destroy(unit->events);
    give_memory(unit, unit->slot_memory, (size_t)unit->slot_count * SLOT_SIZE);
    give_memory(unit, unit->event_memory, (size_t)unit->event_count * EVENT_SLOT_SIZE);
    give_memory(unit, unit->probe_memory, unit->facts.probe_size + TAIL_SIZE);
    piommu_virtio_close(unit->device);
    if (unit->lock != NULL) {
        unit->host.os->lock_destroy(unit->host.ctx, unit->lock);
    }
    piommu_host_free_(unit->host, unit, sizeof(*unit));
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
                     text_value(unit->config.name), 0, 0);
}

static int open_device(struct virtio_iommu *unit)
{
    const struct piommu_virtio_iommu_config *place = &unit->place;
    const struct piommu_virtio_mmio_config mmio = {.registers = place->registers,
                                                   .size = place->registers_size,
                                                   .type = PIOMMU_VIRTIO_IOMMU_TYPE,
                                                   .non_coherent = place->non_coherent};
    const struct piommu_virtio_pci_config pci = {.function = place->pci,
                                                 .type = PIOMMU_VIRTIO_IOMMU_TYPE,
                                                 .messages = place->messages,
                                                 .message_count = place->message_count,
                                                 .non_coherent = place->non_coherent};

    return place->registers != 0 ? piommu_virtio_mmio_open(unit->host, &mmio, &unit->device)
                                 : piommu_virtio_pci_open(unit->host, &pci, &unit->device);
}

static int probe(struct piommu_host host, struct piommu_instance *instance,
                 const struct piommu_instance_config *config, const void *backend_config,
                 void *parent, void **result, struct piommu_backend_info *info)
{
    const struct piommu_virtio_iommu_config *place = backend_config;
    struct virtio_iommu *unit;
    int error;

    if (place == NULL || parent != NULL || (place->running_count != 0 && place->running == NULL)) {
        return -PIOMMU_EINVAL;
    }
    unit = piommu_host_alloc_(host, sizeof(*unit));
    if (unit == NULL) {
        return -PIOMMU_ENOMEM;
    }
    unit->host = host;
    unit->instance = instance;
    unit->config = *config;
    unit->place = *place;
    unit->lock = host.os->lock_create(host.ctx);
    error = unit->lock != NULL ? open_device(unit) : -PIOMMU_ENOMEM;
    if (error == 0) {
        error = start(unit);
    }
    if (error != 0) {
        abandon_start(unit);
        return error;
    }
    fill_info(unit, info);
    *result = unit;
    return 0;
}

/*
 * Closes the bypass of a device that may have lost its power: then it has to agree on features
 * before it takes the field.
 */
static int close_before_reset(struct virtio_iommu *unit)
{
    const uint64_t needed = PIOMMU_VIRTIO_F_VERSION_1 | F_BYPASS_CONFIG;
    uint64_t features;
    int error = 0;

    if (!passes_by_domain(unit)) {
        return 0;
    }
    if ((piommu_virtio_status(unit->device) & PIOMMU_VIRTIO_STATUS_FEATURES_OK) == 0) {
        error = piommu_virtio_reset(unit->device, unit->config.timeout);
        if (error == 0) {
            error = piommu_virtio_negotiate(unit->device, needed, needed, &features);
        }
    }
    return error != 0 ? error : piommu_virtio_iommu_write_bypass_(unit, 0);
}

/*
 * Resets the device so that everything is blocked. After a reset no endpoint is in any domain, and
 * the bypass field is as it was: so that has to be 0 before, which outranks the policy to leave
 * unknown IDs alone. If it does not stay 0, a reset would open what attachments still hold closed.
 */
static int shut(struct virtio_iommu *unit)
{
    int error;

    atomic_store_explicit(&unit->dead, 1, memory_order_release);
    if (close_before_reset(unit) != 0 && !unit->unattached_is_blocked) {
        return -PIOMMU_ETIMEDOUT;
    }
    error = piommu_virtio_reset(unit->device, unit->config.timeout);
    for (struct virtio_endpoint *endpoint = unit->endpoints; endpoint != NULL && error == 0;
         endpoint = endpoint->next) {
        endpoint->attached = false;
        endpoint->doubtful = false;
    }
    return error;
}

static int stop(void *handle)
{
    struct virtio_iommu *unit = handle;
    int error = shut(unit);

    if (PIOMMU_CORE_WITH_POSTS) {
        /* Now that it is stopped, if it obeys. */
        piommu_virtio_iommu_abort_posts_(unit);
    }
    return error;
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

static int suspend(void *unit)
{
    return shut(unit);
}

/* Agrees with the device on what was agreed on before; it must be the same device. */
static int renegotiate(struct virtio_iommu *unit)
{
    struct virtio_iommu_facts facts = unit->facts;
    uint64_t features;
    int error = piommu_virtio_wake(unit->device);

    if (error == 0) {
        error = piommu_virtio_reset(unit->device, unit->config.timeout);
    }
    if (error == 0) {
        error = piommu_virtio_negotiate(unit->device, unit->features, unit->features, &features);
    }
    if (error == 0) {
        error = piommu_virtio_iommu_read_config_(unit);
    }
    if (error == 0 && (unit->facts.aperture.first != facts.aperture.first ||
                       unit->facts.aperture.last != facts.aperture.last ||
                       unit->facts.leaf_sizes != facts.leaf_sizes ||
                       unit->facts.first_domain != facts.first_domain ||
                       unit->facts.last_domain != facts.last_domain ||
                       unit->facts.probe_size != facts.probe_size)) {
        error = -PIOMMU_EBADMSG;
    }
    /* Whatever it says of itself now: all that was made is made for this. */
    unit->facts = facts;
    return error;
}

/* With the policy to leave unknown IDs: what is known is blocked before the others are let go. */
static int reopen_bypass(struct virtio_iommu *unit)
{
    int error;

    if (unit->unattached_is_blocked) {
        return 0;
    }
    error = piommu_virtio_iommu_block_all_(unit);
    return error != 0 ? error : piommu_virtio_iommu_write_bypass_(unit, unit->bypass);
}

/*
 * Nothing is in a domain, so the device has forgotten all mappings. Power may have been lost, and
 * with it the bypass field may be as it is at first: it is written as soon as the device takes it.
 */
static int resume(void *handle)
{
    struct virtio_iommu *unit = handle;
    int error = renegotiate(unit);

    if (error == 0 && passes_by_domain(unit)) {
        error = piommu_virtio_iommu_write_bypass_(unit, 0);
    }
    if (error == 0) {
        error = piommu_virtqueue_restart(unit->requests);
    }
    if (error == 0) {
        error = piommu_virtqueue_restart(unit->events);
    }
    if (error == 0) {
        error = run(unit);
    }
    if (error != 0) {
        return error;
    }
    atomic_store_explicit(&unit->dead, 0, memory_order_release);
    return reopen_bypass(unit);
}

static const char *const compatible[] = {"virtio,pci-iommu", "pci1af4,1057", NULL};

static const struct piommu_backend backend = {
    .size = sizeof(struct piommu_backend),
    .name = "virtio-iommu",
    .compatible = compatible,
    .kind = PIOMMU_BACKEND_REQUESTS,
    .needs = PIOMMU_OS_NEED_LOCK | PIOMMU_OS_NEED_MMIO,
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
    .suspend = PIOMMU_CORE_WITH_POWER ? suspend : NULL,
    .resume = PIOMMU_CORE_WITH_POWER ? resume : NULL,
    .post_map = PIOMMU_CORE_WITH_POSTS ? piommu_virtio_iommu_post_map_ : NULL,
    .post_unmap = PIOMMU_CORE_WITH_POSTS ? piommu_virtio_iommu_post_unmap_ : NULL,
    .poll = PIOMMU_CORE_WITH_POSTS ? piommu_virtio_iommu_poll_ : NULL,
};

const struct piommu_backend *piommu_virtio_iommu_backend(void)
{
    return &backend;
}
