/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The driver's side of a virtqueue, whatever its ring looks like.
 *
 * The device can write to all of the ring's memory, whatever the specification says. So chains,
 * free entries and lengths live in private memory.
 *
 * Source: VIRTIO 1.2, sections 2.6 to 2.8.
 */

#include "queue.h"

#define MAX_SIZE   32768u
#define MAX_PIECES 1024u

/* Parts that different sides write lie in cache lines of their own, the widest that there are. */
#define LINE 128u

_Static_assert(sizeof(struct ring_descriptor) == DESCRIPTOR_SIZE, "as the specification says");
_Static_assert(sizeof(struct packed_descriptor) == DESCRIPTOR_SIZE, "as the specification says");
_Static_assert(sizeof(struct packed_event) == sizeof(uint32_t), "it is accessed as one word");

static size_t object_size(uint16_t size)
{
    return sizeof(struct piommu_virtqueue) + size * sizeof(struct entry);
}

static size_t align(size_t offset)
{
    return (offset + (LINE - 1)) & ~(size_t)(LINE - 1);
}

static bool is_indirect(const struct piommu_virtqueue *queue)
{
    return queue->max_pieces > 1 && (queue->features & PIOMMU_VIRTIO_F_INDIRECT_DESC) != 0;
}

static struct layout layout_of(const struct piommu_virtqueue *queue)
{
    size_t descriptors = (size_t)queue->size * DESCRIPTOR_SIZE;
    struct layout layout;

    layout.driver_area = align(descriptors);
    layout.device_area =
        align(layout.driver_area + virtqueue_ring_of(queue)->driver_area_size(queue->size));
    layout.tables =
        align(layout.device_area + virtqueue_ring_of(queue)->device_area_size(queue->size));
    layout.size = align(layout.tables + (is_indirect(queue) ? descriptors * queue->max_pieces : 0));
    return layout;
}

static int take_memory(struct piommu_virtqueue *queue, void *owner)
{
    struct piommu_host host = queue->device->host;
    struct piommu_dma_request request = {.size = layout_of(queue).size,
                                         .alignment = LINE,
                                         .max_physical = UINT64_MAX,
                                         .purpose = PIOMMU_DMA_RING,
                                         .owner = owner};

    queue->memory = host.os->dma_alloc(host.ctx, &request, &queue->physical);
    queue->memory_size = request.size;
    return queue->memory != NULL ? 0 : -PIOMMU_ENOMEM;
}

/* Finds the parts of the ring in its memory. */
static void set_parts(struct piommu_virtqueue *queue)
{
    struct layout layout = layout_of(queue);

    virtqueue_ring_of(queue)->set_parts(queue, &layout);
    if (is_indirect(queue)) {
        queue->tables = (uint8_t *)queue->memory + layout.tables;
        queue->tables_physical = queue->physical + layout.tables;
    }
}

/* Makes the ring as it is when nothing has happened yet. */
static void clear(struct piommu_virtqueue *queue)
{
    memset(queue->memory, 0, queue->memory_size);
    for (uint16_t i = 0; i < queue->size; i++) {
        queue->entries[i] = (struct entry){.next = (uint16_t)(i + 1)};
    }
    queue->free_head = 0;
    queue->free_count = queue->size;
    queue->broken = false;
    virtqueue_ring_of(queue)->clear(queue);
    piommu_virtio_to_device(queue->device, queue->memory, queue->memory_size);
}

/* Hands an empty ring to the device. */
static int hand_over(struct piommu_virtqueue *queue)
{
    struct piommu_virtio_device *device = queue->device;
    struct layout layout = layout_of(queue);
    struct virtio_ring_addresses addresses = {.descriptors = queue->physical,
                                              .driver_area = queue->physical + layout.driver_area,
                                              .device_area = queue->physical + layout.device_area};

    clear(queue);
    piommu_host_barrier(device->host, PIOMMU_BARRIER_WRITE);
    return virtio_transport_of(device)->queue_start(device, queue->index, queue->size, &addresses,
                                                    &queue->doorbell);
}

/* Whether a number of entries is one that a ring can have with these features. */
static bool is_size(uint64_t features, uint32_t size)
{
    return size >= 2 && size <= MAX_SIZE &&
           (virtio_is_packed(features) || (size & (size - 1)) == 0);
}

int piommu_virtqueue_create(struct piommu_virtio_device *device,
                            const struct piommu_virtqueue_config *config,
                            struct piommu_virtqueue **result)
{
    struct piommu_virtqueue *queue;
    uint32_t size;
    int error;

    if (device == NULL || config == NULL || result == NULL ||
        !is_size(device->features, config->max_size) || config->max_pieces > MAX_PIECES) {
        return -PIOMMU_EINVAL;
    }
    size = virtio_transport_of(device)->queue_max(device, config->index);
    if (!is_size(device->features, size)) {
        return -PIOMMU_EBADMSG;
    }
    if (size > config->max_size) {
        size = config->max_size;
    }
    queue = piommu_host_alloc_(device->host, object_size((uint16_t)size));
    if (queue == NULL) {
        return -PIOMMU_ENOMEM;
    }
    queue->device = device;
    queue->index = config->index;
    queue->size = (uint16_t)size;
    queue->max_pieces = config->max_pieces != 0 ? config->max_pieces : 1;
    queue->polled = config->polled;
    queue->features = device->features;
    queue->ring = virtio_is_packed(device->features) ? &piommu_packed_ring_ : &piommu_split_ring_;
    error = take_memory(queue, config->owner);
    if (error == 0) {
        set_parts(queue);
        error = hand_over(queue);
    }
    if (error != 0) {
        piommu_virtqueue_destroy(queue);
        return error;
    }
    *result = queue;
    return 0;
}

int piommu_virtqueue_restart(struct piommu_virtqueue *queue)
{
    struct piommu_virtio_device *device;
    uint32_t size;

    if (queue == NULL || queue->features != queue->device->features) {
        return -PIOMMU_EINVAL;
    }
    device = queue->device;
    size = virtio_transport_of(device)->queue_max(device, queue->index);
    return is_size(device->features, size) && size >= queue->size ? hand_over(queue)
                                                                  : -PIOMMU_EBADMSG;
}

void piommu_virtqueue_destroy(struct piommu_virtqueue *queue)
{
    struct piommu_host host;

    if (queue == NULL) {
        return;
    }
    host = queue->device->host;
    if (queue->memory != NULL) {
        host.os->dma_free(host.ctx, queue->memory, queue->memory_size);
    }
    piommu_host_free_(host, queue, object_size(queue->size));
}

uint16_t piommu_virtqueue_size(const struct piommu_virtqueue *queue)
{
    return queue->size;
}

uint16_t piommu_virtqueue_capacity(const struct piommu_virtqueue *queue, uint16_t pieces)
{
    if (pieces > queue->max_pieces) {
        return 0;
    }
    return (uint16_t)(queue->tables != NULL ? queue->size : queue->size / pieces);
}

/* Checks the pieces of a request and sums up what the device may write. */
static int check_buffers(const struct piommu_virtqueue *queue,
                         const struct piommu_virtio_buffer *buffers, uint16_t count,
                         uint32_t *writable)
{
    *writable = 0;
    for (uint16_t i = 0; i < count; i++) {
        if (buffers[i].size == 0 || (i != 0 && buffers[i - 1].writable && !buffers[i].writable)) {
            return -PIOMMU_EINVAL;
        }
        if (buffers[i].writable) {
            if (buffers[i].size > UINT32_MAX - *writable) {
                return -PIOMMU_EINVAL;
            }
            *writable += buffers[i].size;
        }
    }
    return count != 0 && count <= queue->max_pieces ? 0 : -PIOMMU_EINVAL;
}

int piommu_virtqueue_add(struct piommu_virtqueue *queue, const struct piommu_virtio_buffer *buffers,
                         uint16_t count, uint16_t *head)
{
    uint16_t number = queue->free_head;
    bool table = queue->tables != NULL && count > 1;
    uint16_t taken = table ? 1 : count;
    uint32_t writable;
    int error = check_buffers(queue, buffers, count, &writable);

    if (error != 0) {
        return error;
    }
    if (queue->broken) {
        return -PIOMMU_EIO;
    }
    if (taken > queue->free_count) {
        return -PIOMMU_ENOSPC;
    }
    queue->free_count = (uint16_t)(queue->free_count - taken);
    queue->entries[number].writable = writable;
    queue->entries[number].count = taken;
    *head = number;
    virtqueue_ring_of(queue)->add(queue, number, buffers, count, table);
    return 0;
}

bool piommu_virtqueue_publish(struct piommu_virtqueue *queue)
{
    return virtqueue_ring_of(queue)->publish(queue);
}

void piommu_virtqueue_ring(struct piommu_virtqueue *queue)
{
    virtio_transport_of(queue->device)->notify(queue->device, queue->index, queue->doorbell);
}

int piommu_virtqueue_take(struct piommu_virtqueue *queue, uint16_t *head, uint32_t *length)
{
    return virtqueue_ring_of(queue)->take(queue, head, length);
}

bool piommu_virtqueue_want_interrupt(struct piommu_virtqueue *queue)
{
    return virtqueue_ring_of(queue)->want_interrupt(queue);
}
