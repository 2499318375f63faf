/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The driver's side of a split virtqueue, polled: no event index, no indirect descriptors.
 *
 * The device can write to all of the ring's memory, whatever the specification says. So the ring is
 * write-only here but for the used part; chains, free entries and lengths live in private memory.
 *
 * Source: VIRTIO 1.2, section 2.7 "Split Virtqueues".
 */

#include "virtio.h"

#include "../base/byte_order.h"

#define MAX_SIZE 32768u

#define DESCRIPTOR_NEXT     1u
#define DESCRIPTOR_WRITABLE 2u
#define USED_NO_NOTIFY      1u
#define AVAIL_NO_INTERRUPT  0u /* interrupts are welcome: the host decides what it does with them */

struct ring_descriptor {
    uint64_t address;
    uint32_t length;
    uint16_t flags;
    uint16_t next;
};

struct ring_available {
    uint16_t flags;
    uint16_t index;
    uint16_t ring[];
};

struct ring_used_entry {
    uint32_t id;
    uint32_t length;
};

struct ring_used {
    uint16_t flags;
    uint16_t index;
    struct ring_used_entry ring[];
};

/* What we know of each descriptor, out of the device's reach. */
struct entry {
    uint32_t writable; /* of a head in flight: bytes that the device may write */
    uint16_t next;     /* free list, or the chain in flight */
    uint16_t count;    /* of a head in flight: descriptors in its chain; else 0 */
};

struct piommu_virtqueue {
    struct piommu_virtio_device *device;
    volatile struct ring_descriptor *descriptors;
    volatile struct ring_available *available;
    volatile struct ring_used *used;
    void *memory;
    size_t memory_size;
    uintptr_t doorbell;
    uint16_t index;
    uint16_t size;
    uint16_t free_head;
    uint16_t free_count;
    uint16_t in_flight;  /* chains */
    uint16_t next_avail; /* free-running */
    uint16_t next_used;  /* free-running */
    bool broken;
    struct entry entries[];
};

static size_t object_size(uint16_t size)
{
    return sizeof(struct piommu_virtqueue) + size * sizeof(struct entry);
}

/* The parts lie one behind the other; the used ring needs an alignment of 4. */
static size_t used_offset(uint16_t size)
{
    size_t end = size * sizeof(struct ring_descriptor) + sizeof(struct ring_available) +
                 size * sizeof(uint16_t) + sizeof(uint16_t);

    return (end + 3) & ~(size_t)3;
}

static size_t ring_size(uint16_t size)
{
    return used_offset(size) + sizeof(struct ring_used) + size * sizeof(struct ring_used_entry) +
           sizeof(uint16_t);
}

static int take_memory(struct piommu_virtqueue *queue, void *owner, uint64_t *physical)
{
    struct piommu_host host = queue->device->host;
    struct piommu_dma_request request = {.size = ring_size(queue->size),
                                         .alignment = 16,
                                         .max_physical = UINT64_MAX,
                                         .purpose = PIOMMU_DMA_RING,
                                         .owner = owner};

    queue->memory = host.os->dma_alloc(host.ctx, &request, physical);
    if (queue->memory == NULL) {
        return -PIOMMU_ENOMEM;
    }
    queue->memory_size = request.size;
    memset(queue->memory, 0, request.size);
    return 0;
}

static void set_up(struct piommu_virtqueue *queue)
{
    uint8_t *base = queue->memory;

    queue->descriptors = (volatile struct ring_descriptor *)queue->memory;
    queue->available =
        (volatile struct ring_available *)(void *)(base +
                                                   queue->size * sizeof(struct ring_descriptor));
    queue->used = (volatile struct ring_used *)(void *)(base + used_offset(queue->size));
    queue->available->flags = piommu_le16(AVAIL_NO_INTERRUPT);
    for (uint16_t i = 0; i < queue->size; i++) {
        queue->entries[i].next = (uint16_t)(i + 1);
    }
    queue->free_count = queue->size;
}

int piommu_virtqueue_create(struct piommu_virtio_device *device, uint16_t index, uint16_t max_size,
                            void *owner, struct piommu_virtqueue **result)
{
    struct virtio_ring_addresses addresses;
    struct piommu_virtqueue *queue;
    uint32_t size;
    int error;

    if (device == NULL || result == NULL || max_size < 2 || max_size > MAX_SIZE ||
        (max_size & (max_size - 1)) != 0) {
        return -PIOMMU_EINVAL;
    }
    size = device->transport->queue_max(device, index);
    if (size < 2 || size > MAX_SIZE || (size & (size - 1)) != 0) {
        return -PIOMMU_EBADMSG;
    }
    if (size > max_size) {
        size = max_size;
    }
    queue = piommu_host_alloc(device->host, object_size((uint16_t)size));
    if (queue == NULL) {
        return -PIOMMU_ENOMEM;
    }
    queue->device = device;
    queue->index = index;
    queue->size = (uint16_t)size;
    error = take_memory(queue, owner, &addresses.descriptors);
    if (error != 0) {
        piommu_host_free(device->host, queue, object_size(queue->size));
        return error;
    }
    set_up(queue);
    piommu_host_barrier(device->host, PIOMMU_BARRIER_WRITE);
    addresses.available = addresses.descriptors + size * sizeof(struct ring_descriptor);
    addresses.used = addresses.descriptors + used_offset(queue->size);
    error =
        device->transport->queue_start(device, index, queue->size, &addresses, &queue->doorbell);
    if (error != 0) {
        piommu_virtqueue_destroy(queue);
        return error;
    }
    *result = queue;
    return 0;
}

void piommu_virtqueue_destroy(struct piommu_virtqueue *queue)
{
    struct piommu_host host;

    if (queue == NULL) {
        return;
    }
    host = queue->device->host;
    host.os->dma_free(host.ctx, queue->memory, queue->memory_size);
    piommu_host_free(host, queue, object_size(queue->size));
}

uint16_t piommu_virtqueue_size(const struct piommu_virtqueue *queue)
{
    return queue->size;
}

/* Checks the pieces of a request and sums up what the device may write. */
static int check_buffers(const struct piommu_virtio_buffer *buffers, uint16_t count,
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
    return count != 0 ? 0 : -PIOMMU_EINVAL;
}

int piommu_virtqueue_add(struct piommu_virtqueue *queue, const struct piommu_virtio_buffer *buffers,
                         uint16_t count, uint16_t *head)
{
    uint16_t number = queue->free_head;
    uint32_t writable;
    int error = check_buffers(buffers, count, &writable);

    if (error != 0) {
        return error;
    }
    if (queue->broken) {
        return -PIOMMU_EIO;
    }
    if (count > queue->free_count) {
        return -PIOMMU_ENOSPC;
    }
    *head = number;
    for (uint16_t i = 0; i < count; i++) {
        volatile struct ring_descriptor *descriptor = &queue->descriptors[number];
        uint16_t next = queue->entries[number].next;
        bool more = i + 1 < count;
        uint32_t flags =
            (more ? DESCRIPTOR_NEXT : 0u) | (buffers[i].writable ? DESCRIPTOR_WRITABLE : 0u);

        descriptor->address = piommu_le64(buffers[i].physical);
        descriptor->length = piommu_le32(buffers[i].size);
        descriptor->flags = piommu_le16((uint16_t)flags);
        descriptor->next = piommu_le16(more ? next : 0);
        number = next;
    }
    queue->free_head = number;
    queue->free_count = (uint16_t)(queue->free_count - count);
    queue->entries[*head].writable = writable;
    queue->entries[*head].count = count;
    queue->in_flight++;

    queue->available->ring[queue->next_avail & (queue->size - 1)] = piommu_le16(*head);
    queue->next_avail++;
    /* The device may look at the index at any time: what it leads to must be there before. */
    piommu_host_barrier(queue->device->host, PIOMMU_BARRIER_WRITE);
    queue->available->index = piommu_le16(queue->next_avail);
    return 0;
}

void piommu_virtqueue_kick(struct piommu_virtqueue *queue)
{
    /* The device must see the index before we see its wish; else both could go to sleep. */
    piommu_host_barrier(queue->device->host, PIOMMU_BARRIER_FULL);
    if ((piommu_le16(queue->used->flags) & USED_NO_NOTIFY) == 0) {
        queue->device->transport->notify(queue->device, queue->index, queue->doorbell);
    }
}

/* Puts the chain of a head back into the free list. */
static void free_chain(struct piommu_virtqueue *queue, uint16_t head)
{
    uint16_t last = head;
    uint16_t count = queue->entries[head].count;

    for (uint16_t i = 1; i < count; i++) {
        last = queue->entries[last].next;
    }
    queue->entries[last].next = queue->free_head;
    queue->entries[head].count = 0;
    queue->free_head = head;
    queue->free_count = (uint16_t)(queue->free_count + count);
    queue->in_flight--;
}

int piommu_virtqueue_take(struct piommu_virtqueue *queue, uint16_t *head, uint32_t *length)
{
    volatile struct ring_used_entry *used =
        &queue->used->ring[queue->next_used & (queue->size - 1)];
    uint16_t done = (uint16_t)(piommu_le16(queue->used->index) - queue->next_used);
    uint32_t id;
    uint32_t written;

    if (queue->broken) {
        return -PIOMMU_EIO;
    }
    if (done == 0) {
        return 0;
    }
    piommu_host_barrier(queue->device->host, PIOMMU_BARRIER_READ);
    id = piommu_le32(used->id);
    written = piommu_le32(used->length);
    if (done > queue->in_flight || id >= queue->size || queue->entries[id].count == 0 ||
        written > queue->entries[id].writable) {
        queue->broken = true;
        return -PIOMMU_EIO;
    }
    queue->next_used++;
    free_chain(queue, (uint16_t)id);
    *head = (uint16_t)id;
    *length = written;
    return 1;
}
