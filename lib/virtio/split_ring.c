/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The driver's side of a split ring, which is write-only here but for the used part.
 *
 * Source: VIRTIO 1.2, section 2.7 "Split Virtqueues".
 */

#include "queue.h"

#include "../base/byte_order.h"

static void to_device(const struct piommu_virtqueue *queue, const volatile void *memory,
                      size_t size)
{
    if (queue->device->non_coherent) {
        piommu_virtio_to_device(queue->device, (const void *)(uintptr_t)memory, size);
    }
}

static void from_device(const struct piommu_virtqueue *queue, const volatile void *memory,
                        size_t size)
{
    if (queue->device->non_coherent) {
        piommu_virtio_from_device(queue->device, (const void *)(uintptr_t)memory, size);
    }
}

static size_t driver_area_size(uint16_t size)
{
    return AVAILABLE_SIZE(size);
}

static size_t device_area_size(uint16_t size)
{
    return USED_SIZE(size);
}

static void set_parts(struct piommu_virtqueue *queue, const struct layout *layout)
{
    struct split_queue *split = &queue->split;
    uint8_t *base = queue->memory;

    split->descriptors = (volatile struct ring_descriptor *)queue->memory;
    split->available = (volatile struct ring_available *)(void *)(base + layout->driver_area);
    split->used = (volatile struct ring_used *)(void *)(base + layout->device_area);
    if (virtqueue_has_event_idx(queue)) {
        split->used_event = &split->available->ring[queue->size];
        split->avail_event =
            (const volatile uint16_t *)(const volatile void *)&split->used->ring[queue->size];
    }
}

static void clear(struct piommu_virtqueue *queue)
{
    struct split_queue *split = &queue->split;

    if (queue->polled && split->used_event != NULL) {
        *split->used_event = piommu_le16(UINT16_MAX); /* as far away as can be */
    } else if (queue->polled) {
        split->available->flags = piommu_le16(AVAIL_NO_INTERRUPT);
    }
    split->in_flight = 0;
    split->next_avail = 0;
    split->published = 0;
    split->next_used = 0;
}

static void write_descriptor(volatile struct ring_descriptor *descriptor, uint64_t address,
                             uint32_t length, uint32_t flags, uint16_t next)
{
    descriptor->address = piommu_le64(address);
    descriptor->length = piommu_le32(length);
    descriptor->flags = piommu_le16((uint16_t)flags);
    descriptor->next = piommu_le16(next);
}

/* Writes a request into the table of an entry, and the entry. */
static void write_table(struct piommu_virtqueue *queue, uint16_t head,
                        const struct piommu_virtio_buffer *buffers, uint16_t count)
{
    volatile struct ring_descriptor *descriptor = &queue->split.descriptors[head];
    size_t first = (size_t)head * queue->max_pieces;
    volatile struct ring_descriptor *table =
        (volatile struct ring_descriptor *)queue->tables + first;

    for (uint16_t i = 0; i < count; i++) {
        bool more = i + 1 < count;

        write_descriptor(&table[i], buffers[i].physical, buffers[i].size,
                         virtqueue_flags_of(&buffers[i], more), (uint16_t)(more ? i + 1 : 0));
    }
    to_device(queue, table, count * sizeof(*table));
    write_descriptor(descriptor, queue->tables_physical + first * sizeof(*table),
                     (uint32_t)(count * sizeof(*table)), DESCRIPTOR_INDIRECT, 0);
    to_device(queue, descriptor, sizeof(*descriptor));
    queue->free_head = queue->entries[head].next;
}

/* Writes a request into entries of the ring. */
static void write_chain(struct piommu_virtqueue *queue, uint16_t head,
                        const struct piommu_virtio_buffer *buffers, uint16_t count)
{
    uint16_t number = head;

    for (uint16_t i = 0; i < count; i++) {
        volatile struct ring_descriptor *descriptor = &queue->split.descriptors[number];
        uint16_t next = queue->entries[number].next;
        bool more = i + 1 < count;

        write_descriptor(descriptor, buffers[i].physical, buffers[i].size,
                         virtqueue_flags_of(&buffers[i], more), (uint16_t)(more ? next : 0));
        to_device(queue, descriptor, sizeof(*descriptor));
        number = next;
    }
    queue->free_head = number;
}

static void add(struct piommu_virtqueue *queue, uint16_t head,
                const struct piommu_virtio_buffer *buffers, uint16_t count, bool table)
{
    struct split_queue *split = &queue->split;
    volatile uint16_t *slot = &split->available->ring[split->next_avail & (queue->size - 1)];

    /* The device looks at none of this before it is shown the new index. */
    *slot = piommu_le16(head);
    to_device(queue, slot, sizeof(*slot));
    split->next_avail++;
    split->in_flight++;
    if (table) {
        write_table(queue, head, buffers, count);
    } else {
        write_chain(queue, head, buffers, count);
    }
}

/*
 * Whether the doorbell has to be rung after entries up to `now` were shown, of which `before` was
 * the end when it was looked at last. With EVENT_IDX: if the step went past what the device waits
 * for.
 */
static bool is_wanted(const struct piommu_virtqueue *queue, uint16_t before, uint16_t now)
{
    const struct split_queue *split = &queue->split;
    uint16_t event;

    if (split->avail_event == NULL) {
        from_device(queue, &split->used->flags, sizeof(split->used->flags));
        return (piommu_le16(split->used->flags) & USED_NO_NOTIFY) == 0;
    }
    from_device(queue, split->avail_event, sizeof(*split->avail_event));
    event = piommu_le16(*split->avail_event);
    return (uint16_t)(now - event - 1) < (uint16_t)(now - before);
}

static bool publish(struct piommu_virtqueue *queue)
{
    struct split_queue *split = &queue->split;
    struct piommu_host host = queue->device->host;
    uint16_t before = split->published;
    uint16_t now = split->next_avail;

    if (before == now) {
        return false;
    }
    /* The device may look at the index at any time: what it leads to must be there before. */
    piommu_host_barrier(host, PIOMMU_BARRIER_WRITE);
    split->available->index = piommu_le16(now);
    to_device(queue, &split->available->index, sizeof(split->available->index));
    split->published = now;
    /* The device must see the index before we see its wish; else both could go to sleep. */
    piommu_host_barrier(host, PIOMMU_BARRIER_FULL);
    return is_wanted(queue, before, now);
}

/* Puts the entries of a head back into the free list. */
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
    queue->split.in_flight--;
}

/* How many requests the device says it is done with, taken ones not among them. */
static uint16_t done(const struct piommu_virtqueue *queue)
{
    const struct split_queue *split = &queue->split;

    from_device(queue, &split->used->index, sizeof(split->used->index));
    return (uint16_t)(piommu_le16(split->used->index) - split->next_used);
}

/* Whether what the device says it is done with can be so. */
static bool is_answer(const struct piommu_virtqueue *queue, uint32_t id, uint32_t written)
{
    return id < queue->size && queue->entries[id].count != 0 &&
           written <= queue->entries[id].writable;
}

static int take(struct piommu_virtqueue *queue, uint16_t *head, uint32_t *length)
{
    struct split_queue *split = &queue->split;
    volatile struct ring_used_entry *used =
        &split->used->ring[split->next_used & (queue->size - 1)];
    uint16_t count = done(queue);
    uint32_t id;
    uint32_t written;

    if (queue->broken) {
        return -PIOMMU_EIO;
    }
    if (count == 0) {
        return 0;
    }
    piommu_host_barrier(queue->device->host, PIOMMU_BARRIER_READ);
    from_device(queue, used, sizeof(*used));
    id = piommu_le32(used->id);
    written = piommu_le32(used->length);
    if (count > split->in_flight || !is_answer(queue, id, written)) {
        queue->broken = true;
        return -PIOMMU_EIO;
    }
    split->next_used++;
    if (queue->polled && split->used_event != NULL) {
        /* As far behind as can be, so that it is never passed. */
        *split->used_event = piommu_le16((uint16_t)(split->next_used - 1));
        to_device(queue, split->used_event, sizeof(*split->used_event));
    }
    free_chain(queue, (uint16_t)id);
    *head = (uint16_t)id;
    *length = written;
    return 1;
}

static bool want_interrupt(struct piommu_virtqueue *queue)
{
    struct split_queue *split = &queue->split;

    if (!queue->polled && split->used_event != NULL) {
        *split->used_event = piommu_le16(split->next_used);
        to_device(queue, split->used_event, sizeof(*split->used_event));
    }
    piommu_host_barrier(queue->device->host, PIOMMU_BARRIER_FULL);
    return done(queue) != 0;
}

const struct virtio_ring piommu_split_ring_ = {
    .driver_area_size = driver_area_size,
    .device_area_size = device_area_size,
    .set_parts = set_parts,
    .clear = clear,
    .add = add,
    .publish = publish,
    .take = take,
    .want_interrupt = want_interrupt,
};
