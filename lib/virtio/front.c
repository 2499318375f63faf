/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The front of a virtio device, whatever the transport: status, features, queues, configuration.
 *
 * Source: VIRTIO 1.2, sections 2.1 to 2.5, 3.1, 4.1.4.3 and 4.2.2.
 */

#include "front.h"

/* 4.1.2: the device IDs of virtio-pci have room for so many types. */
#define MAX_TYPE 63u
/* 6: bits that say how rings and registers work. Of these the front has to know what it offers. */
#define TRANSPORT_FEATURES (((1ull << 26) - 1) << 24)

/* ---- Life ---- */

static bool has_callbacks(const struct piommu_virtio_front_config *config)
{
    return config->callbacks.notify != NULL &&
           (config->callbacks.read_config != NULL || config->config_size == 0);
}

static bool is_possible(const struct piommu_virtio_front_config *config)
{
    if (config->type == 0 || config->type > MAX_TYPE || !has_callbacks(config) ||
        (config->features & TRANSPORT_FEATURES & ~PIOMMU_VIRTIO_F_GENERIC) != 0 ||
        config->config_size > PIOMMU_VIRTIO_FRONT_MAX_CONFIG || config->queue_count == 0 ||
        config->queue_count > PIOMMU_VIRTIO_FRONT_MAX_QUEUES) {
        return false;
    }
    for (unsigned int i = 0; i < config->queue_count; i++) {
        if ((config->queues[i].max_size & (config->queues[i].max_size - 1u)) != 0) {
            return false;
        }
    }
    return true;
}

/* Everything that a reset brings back but the device's own state. */
static void initialise(struct piommu_virtio_front *front)
{
    front->driver_features = 0;
    front->device_features_select = 0;
    front->driver_features_select = 0;
    front->queue_select = 0;
    front->status = 0;
    front->isr = 0;
    front->change_untold = false;
    for (unsigned int i = 0; i < front->config.queue_count; i++) {
        struct front_queue *queue = &front->queues[i];

        *queue =
            (struct front_queue){.ring = queue->ring, .size = front->config.queues[i].max_size};
    }
    if (front->transport->initialise != NULL) {
        front->transport->initialise(front);
    }
}

int piommu_virtio_front_create_(struct piommu_host host,
                                const struct piommu_virtio_front_config *config,
                                const struct front_transport *transport,
                                struct piommu_virtio_front **result)
{
    struct piommu_virtio_front *front;
    int error = piommu_host_check_(host, PIOMMU_OS_NEED_BASE);

    if (error != 0) {
        return error;
    }
    if (!is_possible(config)) {
        return -PIOMMU_EINVAL;
    }
    front = piommu_host_alloc_(host, transport->size);
    if (front == NULL) {
        return -PIOMMU_ENOMEM;
    }
    front->host = host;
    front->transport = transport;
    front->config = *config;
    front->config.features |= PIOMMU_VIRTIO_F_VERSION_1;
    if (front->config.vendor == 0) {
        front->config.vendor = FRONT_DEFAULT_VENDOR;
    }
    for (unsigned int i = 0; i < config->queue_count; i++) {
        error = piommu_device_ring_create(host, &config->memory, config->queues[i].max_size,
                                          config->queues[i].max_pieces, &front->queues[i].ring);
        if (error != 0) {
            piommu_virtio_front_destroy(front);
            return error;
        }
    }
    initialise(front);
    *result = front;
    return 0;
}

void piommu_virtio_front_destroy(struct piommu_virtio_front *front)
{
    if (front != NULL) {
        for (unsigned int i = 0; i < front->config.queue_count; i++) {
            piommu_device_ring_destroy(front->queues[i].ring);
        }
        piommu_host_free_(front->host, front, front->transport->size);
    }
}

/* ---- Interrupts ---- */

void piommu_virtio_front_update_line_(struct piommu_virtio_front *front)
{
    bool high = front->transport->line(front);

    if (high != front->line) {
        front->line = high;
        front->config.callbacks.set_interrupt(front->config.ctx, high);
    }
}

void piommu_virtio_front_acknowledge_(struct piommu_virtio_front *front, uint32_t bits)
{
    front->isr = (uint8_t)(front->isr & ~bits);
    piommu_virtio_front_update_line_(front);
}

/* With messages the status tells of the configuration only: 4.1.4.5.1. */
static void interrupt(struct piommu_virtio_front *front, unsigned int source)
{
    uint32_t bit = source == FRONT_SOURCE_CONFIG ? FRONT_ISR_CONFIG : FRONT_ISR_QUEUE;

    if (source == FRONT_SOURCE_CONFIG) {
        front->isr |= FRONT_ISR_CONFIG;
    }
    if (front->transport->message == NULL || !front->transport->message(front, source)) {
        front->isr = (uint8_t)(front->isr | bit);
        piommu_virtio_front_update_line_(front);
    }
}

/* A driver that is not ready yet may have no handler, but may have read the configuration. */
static void tell_of_change(struct piommu_virtio_front *front)
{
    if ((front->status & PIOMMU_VIRTIO_STATUS_DRIVER_OK) == 0) {
        front->change_untold = true;
    } else if (!front->resetting) {
        front->change_untold = false;
        interrupt(front, FRONT_SOURCE_CONFIG);
    }
}

void piommu_virtio_front_config_changed(struct piommu_virtio_front *front)
{
    front->generation++;
    tell_of_change(front);
}

void piommu_virtio_front_completed(struct piommu_virtio_front *front, unsigned int queue)
{
    struct piommu_device_ring *ring = piommu_virtio_front_ring(front, queue);

    if (ring != NULL && piommu_device_ring_wants_interrupt(ring)) {
        interrupt(front, FRONT_SOURCE_QUEUE(queue));
    }
}

/* ---- Rings ---- */

bool piommu_virtio_front_is_running_(const struct piommu_virtio_front *front)
{
    const unsigned int bits = PIOMMU_VIRTIO_STATUS_DRIVER_OK | PIOMMU_VIRTIO_STATUS_NEEDS_RESET |
                              PIOMMU_VIRTIO_STATUS_FAILED;

    return !front->resetting && (front->status & bits) == PIOMMU_VIRTIO_STATUS_DRIVER_OK;
}

static void stop_ring(struct front_queue *queue)
{
    piommu_device_ring_stop(queue->ring);
    queue->started = false;
}

static void stop_rings(struct piommu_virtio_front *front)
{
    for (unsigned int i = 0; i < front->config.queue_count; i++) {
        stop_ring(&front->queues[i]);
    }
}

void piommu_virtio_front_fail(struct piommu_virtio_front *front)
{
    if (front->resetting || (front->status & PIOMMU_VIRTIO_STATUS_NEEDS_RESET) != 0) {
        return;
    }
    front->status |= PIOMMU_VIRTIO_STATUS_NEEDS_RESET;
    stop_rings(front);
    tell_of_change(front);
}

bool piommu_virtio_front_start_ring_(struct piommu_virtio_front *front, struct front_queue *queue)
{
    const uint64_t features = front->driver_features;
    const struct piommu_device_ring_config config = {
        .size = queue->size,
        .descriptors = queue->addresses[0],
        .available = queue->addresses[1],
        .used = queue->addresses[2],
        .indirect = (features & PIOMMU_VIRTIO_F_INDIRECT_DESC) != 0,
        .event_idx = (features & PIOMMU_VIRTIO_F_EVENT_IDX) != 0,
        .packed = (features & PIOMMU_VIRTIO_F_RING_PACKED) != 0,
    };

    queue->started = piommu_device_ring_start(queue->ring, &config) == 0;
    return queue->started;
}

/* Starts a ring whose time has come. That it cannot be is seen here, not when it is set up. */
static void start_ring(struct piommu_virtio_front *front, struct front_queue *queue)
{
    if (queue->enabled && piommu_virtio_front_is_running_(front) &&
        !piommu_virtio_front_start_ring_(front, queue)) {
        piommu_virtio_front_fail(front);
    }
}

struct piommu_device_ring *piommu_virtio_front_ring(struct piommu_virtio_front *front,
                                                    unsigned int queue)
{
    return queue < front->config.queue_count && front->queues[queue].started &&
                   front->may_use_memory
               ? front->queues[queue].ring
               : NULL;
}

void piommu_virtio_front_notify_(struct piommu_virtio_front *front, unsigned int queue)
{
    if (piommu_virtio_front_ring(front, queue) != NULL) {
        front->config.callbacks.notify(front->config.ctx, queue);
    }
}

/* The queue that the driver has selected; NULL: there is none. */
static struct front_queue *selected(struct piommu_virtio_front *front)
{
    return front->queue_select < front->config.queue_count ? &front->queues[front->queue_select]
                                                           : NULL;
}

static uint32_t read_queue(struct piommu_virtio_front *front, enum front_register what)
{
    const struct front_queue *queue = selected(front);
    unsigned int half;

    if (queue == NULL) {
        return 0;
    }
    switch (what) {
    case FRONT_QUEUE_MAX:
        return front->config.queues[front->queue_select].max_size;
    case FRONT_QUEUE_SIZE:
        return queue->size;
    case FRONT_QUEUE_ENABLE:
        return queue->enabled;
    default:
        half = what - FRONT_QUEUE_ADDRESSES;
        return (uint32_t)(queue->addresses[half / 2] >> (32 * (half % 2)));
    }
}

/* What is more than there can be becomes 0, which no ring can have. */
static void set_size(struct piommu_virtio_front *front, struct front_queue *queue, uint32_t size)
{
    queue->size = size <= front->config.queues[front->queue_select].max_size ? (uint16_t)size : 0;
}

static void disable_queue(struct piommu_virtio_front *front, struct front_queue *queue)
{
    bool started = queue->started;

    queue->enabled = false;
    stop_ring(queue);
    if (started && front->config.callbacks.queue_stopped != NULL) {
        front->config.callbacks.queue_stopped(front->config.ctx, front->queue_select);
    }
}

static void write_queue(struct piommu_virtio_front *front, enum front_register what, uint32_t value)
{
    struct front_queue *queue = selected(front);

    if (queue == NULL) {
        return;
    }
    if (queue->enabled) {
        if (what == FRONT_QUEUE_ENABLE && value == 0) {
            disable_queue(front, queue);
        }
    } else if (what == FRONT_QUEUE_SIZE) {
        set_size(front, queue, value);
    } else if (what == FRONT_QUEUE_ENABLE) {
        queue->enabled = value == 1;
        start_ring(front, queue);
    } else if (what >= FRONT_QUEUE_ADDRESSES) {
        unsigned int half = what - FRONT_QUEUE_ADDRESSES;

        front_set_half(&queue->addresses[half / 2], half % 2, value);
    }
}

/* ---- Status and features ---- */

static void reset(struct piommu_virtio_front *front)
{
    /* Until the device is done, which may be after it was asked: 2.1.2, 2.4.1. */
    front->resetting = true;
    stop_rings(front);
    if (front->config.callbacks.reset == NULL || front->config.callbacks.reset(front->config.ctx)) {
        piommu_virtio_front_reset_done(front);
    }
}

void piommu_virtio_front_reset_done(struct piommu_virtio_front *front)
{
    if (front->resetting) {
        front->resetting = false;
        initialise(front);
        piommu_virtio_front_update_line_(front);
    }
}

void piommu_virtio_front_system_reset(struct piommu_virtio_front *front)
{
    front->resetting = false;
    stop_rings(front);
    initialise(front);
    if (front->transport->power_on != NULL) {
        front->transport->power_on(front);
    }
    piommu_virtio_front_update_line_(front);
}

/* 2.2.1, 6.1: VERSION_1, and nothing that was not offered. */
bool piommu_virtio_front_agrees_(const struct piommu_virtio_front *front)
{
    uint64_t features = front->driver_features;

    return (features & PIOMMU_VIRTIO_F_VERSION_1) != 0 &&
           (features & ~front->config.features) == 0 &&
           (front->config.callbacks.check_features == NULL ||
            front->config.callbacks.check_features(front->config.ctx, features));
}

static void start(struct piommu_virtio_front *front)
{
    front->status |= PIOMMU_VIRTIO_STATUS_DRIVER_OK;
    for (unsigned int i = 0; i < front->config.queue_count; i++) {
        start_ring(front, &front->queues[i]);
    }
    if (piommu_virtio_front_is_running_(front) && front->config.callbacks.ready != NULL &&
        !front->config.callbacks.ready(front->config.ctx, front->driver_features)) {
        piommu_virtio_front_fail(front);
    }
    if (front->change_untold) {
        tell_of_change(front);
    }
}

/* Bits can be added, in the order of 3.1.1, and are all cleared by a reset. */
static void write_status(struct piommu_virtio_front *front, uint32_t value)
{
    uint32_t added = value & FRONT_STATUS_OF_DRIVER & ~(uint32_t)front->status;

    if (front->resetting) {
        return;
    }
    if (value == 0) {
        reset(front);
        return;
    }
    front->status =
        (uint8_t)(front->status |
                  (added & ~(PIOMMU_VIRTIO_STATUS_FEATURES_OK | PIOMMU_VIRTIO_STATUS_DRIVER_OK)));
    if ((added & PIOMMU_VIRTIO_STATUS_FAILED) != 0) {
        stop_rings(front);
    }
    if ((added & PIOMMU_VIRTIO_STATUS_FEATURES_OK) != 0 && piommu_virtio_front_agrees_(front)) {
        front->status |= PIOMMU_VIRTIO_STATUS_FEATURES_OK;
    }
    if ((added & PIOMMU_VIRTIO_STATUS_DRIVER_OK) != 0 &&
        (front->status & PIOMMU_VIRTIO_STATUS_FEATURES_OK) != 0) {
        start(front);
    }
}

uint8_t piommu_virtio_front_status(const struct piommu_virtio_front *front)
{
    return front->status;
}

uint64_t piommu_virtio_front_features(const struct piommu_virtio_front *front)
{
    return (front->status & PIOMMU_VIRTIO_STATUS_FEATURES_OK) != 0 ? front->driver_features : 0;
}

static uint32_t feature_word(uint64_t features, uint32_t select)
{
    return select < 2 ? (uint32_t)(features >> (32 * select)) : 0;
}

/* What was agreed on stays: 3.1.1. */
static void write_features(struct piommu_virtio_front *front, uint32_t word)
{
    if (front->driver_features_select < 2 &&
        (front->status & PIOMMU_VIRTIO_STATUS_FEATURES_OK) == 0) {
        front_set_half(&front->driver_features, front->driver_features_select, word);
    }
}

/* ---- Registers ---- */

uint32_t piommu_virtio_front_read_(struct piommu_virtio_front *front, enum front_register what)
{
    switch (what) {
    case FRONT_DEVICE_FEATURES_SELECT:
        return front->device_features_select;
    case FRONT_DEVICE_FEATURES:
        return feature_word(front->config.features, front->device_features_select);
    case FRONT_DRIVER_FEATURES_SELECT:
        return front->driver_features_select;
    case FRONT_DRIVER_FEATURES:
        return feature_word(front->driver_features, front->driver_features_select);
    case FRONT_STATUS:
        return front->status;
    case FRONT_GENERATION:
        return front->generation;
    case FRONT_QUEUE_SELECT:
        return front->queue_select;
    default:
        return read_queue(front, what);
    }
}

void piommu_virtio_front_write_(struct piommu_virtio_front *front, enum front_register what,
                                uint32_t value)
{
    switch (what) {
    case FRONT_DEVICE_FEATURES_SELECT:
        front->device_features_select = value;
        break;
    case FRONT_DEVICE_FEATURES:
    case FRONT_GENERATION:
    case FRONT_QUEUE_MAX:
        break; /* can only be read */
    case FRONT_DRIVER_FEATURES_SELECT:
        front->driver_features_select = value;
        break;
    case FRONT_DRIVER_FEATURES:
        write_features(front, value);
        break;
    case FRONT_STATUS:
        write_status(front, value);
        break;
    case FRONT_QUEUE_SELECT:
        front->queue_select = value;
        break;
    default:
        write_queue(front, what, value);
    }
}

uint64_t piommu_virtio_front_read_config_(struct piommu_virtio_front *front, uint64_t offset,
                                          unsigned int width)
{
    const struct piommu_virtio_front_config *config = &front->config;
    uint64_t value = 0;
    unsigned int step = width < 4 ? width : 4;

    if (!front_is_access(offset, width, config->config_size)) {
        return 0;
    }
    for (unsigned int i = 0; i < width; i += step) {
        uint64_t part = config->callbacks.read_config(config->ctx, (uint32_t)offset + i, step);

        value |= (part & (UINT32_MAX >> (32 - 8 * step))) << (8 * i);
    }
    return value;
}

void piommu_virtio_front_write_config_(struct piommu_virtio_front *front, uint64_t offset,
                                       unsigned int width, uint64_t value)
{
    const struct piommu_virtio_front_config *config = &front->config;
    unsigned int step = width < 4 ? width : 4;

    if (!front_is_access(offset, width, config->config_size) ||
        config->callbacks.write_config == NULL) {
        return;
    }
    for (unsigned int i = 0; i < width; i += step) {
        uint32_t part = (uint32_t)(value >> (8 * i)) & (UINT32_MAX >> (32 - 8 * step));

        config->callbacks.write_config(config->ctx, (uint32_t)offset + i, step, part);
    }
}
