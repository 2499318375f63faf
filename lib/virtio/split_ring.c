/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The driver's side of a split virtqueue.
 *
 * The device can write to all of the ring's memory, whatever the specification says. So the ring is
 * write-only here but for the used part; chains, free entries and lengths live in private memory.
 *
 * Source: VIRTIO 1.2, section 2.7 "Split Virtqueues".
 */

#include "virtio.h"

#include "../base/byte_order.h"
#include "split_layout.h"

#define MAX_SIZE   32768u
#define MAX_PIECES 1024u

/* Parts that different sides write lie in cache lines of their own, the widest that there are. */
#define LINE 128u

/* What we know of each descriptor, out of the device's reach. */
struct entry {
    uint32_t writable; /* of a head in flight: bytes that the device may write */
    uint16_t next;     /* free list, or the chain in flight */
    uint16_t count;    /* of a head in flight: entries that it takes; else 0 */
};

struct piommu_virtqueue {
    struct piommu_virtio_device *device;
    volatile struct ring_descriptor *descriptors;
    volatile struct ring_available *available;
    volatile struct ring_used *used;
    volatile uint16_t *used_event;           /* EVENT_IDX, else NULL */
    const volatile uint16_t *avail_event;    /* EVENT_IDX, else NULL */
    volatile struct ring_descriptor *tables; /* INDIRECT_DESC, else NULL */
    uint64_t tables_physical;
    void *memory;
    uint64_t physical;
    size_t memory_size;
    uint64_t features; /* with which the ring was laid out */
    uintptr_t doorbell;
    uint16_t index;
    uint16_t size;
    uint16_t max_pieces;
    uint16_t free_head;
    uint16_t free_count;
    uint16_t in_flight;  /* requests */
    uint16_t next_avail; /* free-running, as the ones below */
    uint16_t published;  /* what the device has been shown of it */
    uint16_t next_used;
    bool polled;
    bool broken;
    struct entry entries[];
};

/* Where the parts of a ring lie in its memory. */
struct layout {
    size_t available;
    size_t used;
    size_t tables;
    size_t size;
};

static size_t object_size(uint16_t size)
{
    return sizeof(struct piommu_virtqueue) + size * sizeof(struct entry);
}

static size_t align(size_t offset)
{
    return (offset + (LINE - 1)) & ~(size_t)(LINE - 1);
}

static struct layout layout_of(uint16_t size, uint16_t table_pieces)
{
    struct layout layout;

    layout.available = align(size * sizeof(struct ring_descriptor));
    layout.used = align(layout.available + AVAILABLE_SIZE(size));
    layout.tables = align(layout.used + USED_SIZE(size));
    layout.size =
        align(layout.tables + (size_t)size * table_pieces * sizeof(struct ring_descriptor));
    return layout;
}

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

static bool is_indirect(const struct piommu_virtqueue *queue)
{
    return queue->max_pieces > 1 && (queue->features & PIOMMU_VIRTIO_F_INDIRECT_DESC) != 0;
}

static struct layout layout_of_queue(const struct piommu_virtqueue *queue)
{
    return layout_of(queue->size, is_indirect(queue) ? queue->max_pieces : 0);
}

static int take_memory(struct piommu_virtqueue *queue, void *owner)
{
    struct piommu_host host = queue->device->host;
    struct piommu_dma_request request = {.size = layout_of_queue(queue).size,
                                         .alignment = LINE,
                                         .max_physical = UINT64_MAX,
                                         .purpose = PIOMMU_DMA_RING,
                                         .owner = owner};

    queue->memory = host.os->dma_alloc(host.ctx, &request, &queue->physical);
    queue->memory_size = request.size;
    return queue->memory != NULL ? 0 : -PIOMMU_ENOMEM;
}

/* Finds the parts of the ring in its memory. */
static void set_parts(struct piommu_virtqueue *queue, const struct layout *layout)
{
    uint8_t *base = queue->memory;

    queue->descriptors = (volatile struct ring_descriptor *)queue->memory;
    queue->available = (volatile struct ring_available *)(void *)(base + layout->available);
    queue->used = (volatile struct ring_used *)(void *)(base + layout->used);
    if ((queue->features & PIOMMU_VIRTIO_F_EVENT_IDX) != 0) {
        queue->used_event = &queue->available->ring[queue->size];
        queue->avail_event =
            (const volatile uint16_t *)(const volatile void *)&queue->used->ring[queue->size];
    }
    if (is_indirect(queue)) {
        queue->tables = (volatile struct ring_descriptor *)(void *)(base + layout->tables);
        queue->tables_physical = queue->physical + layout->tables;
    }
}

/* Makes the ring as it is when nothing has happened yet. */
static void clear(struct piommu_virtqueue *queue)
{
    memset(queue->memory, 0, queue->memory_size);
    if (queue->polled && queue->used_event != NULL) {
        *queue->used_event = piommu_le16(UINT16_MAX); /* as far away as can be */
    } else if (queue->polled) {
        queue->available->flags = piommu_le16(AVAIL_NO_INTERRUPT);
    }
    for (uint16_t i = 0; i < queue->size; i++) {
        queue->entries[i] = (struct entry){.next = (uint16_t)(i + 1)};
    }
    queue->free_head = 0;
    queue->free_count = queue->size;
    queue->in_flight = 0;
    queue->next_avail = 0;
    queue->published = 0;
    queue->next_used = 0;
    queue->broken = false;
    to_device(queue, queue->memory, queue->memory_size);
}

/* Hands an empty ring to the device. */
static int hand_over(struct piommu_virtqueue *queue)
{
    struct piommu_virtio_device *device = queue->device;
    struct layout layout = layout_of_queue(queue);
    struct virtio_ring_addresses addresses = {.descriptors = queue->physical,
                                              .available = queue->physical + layout.available,
                                              .used = queue->physical + layout.used};

    clear(queue);
    piommu_host_barrier(device->host, PIOMMU_BARRIER_WRITE);
    return device->transport->queue_start(device, queue->index, queue->size, &addresses,
                                          &queue->doorbell);
}

/* Whether a number of entries is one that a ring can have. */
static bool is_size(uint32_t size)
{
    return size >= 2 && size <= MAX_SIZE && (size & (size - 1)) == 0;
}

int piommu_virtqueue_create(struct piommu_virtio_device *device,
                            const struct piommu_virtqueue_config *config,
                            struct piommu_virtqueue **result)
{
    struct piommu_virtqueue *queue;
    uint32_t size;
    int error;

    if (device == NULL || config == NULL || result == NULL || !is_size(config->max_size) ||
        config->max_pieces > MAX_PIECES) {
        return -PIOMMU_EINVAL;
    }
    size = device->transport->queue_max(device, config->index);
    if (!is_size(size)) {
        return -PIOMMU_EBADMSG;
    }
    if (size > config->max_size) {
        size = config->max_size;
    }
    queue = piommu_host_alloc(device->host, object_size((uint16_t)size));
    if (queue == NULL) {
        return -PIOMMU_ENOMEM;
    }
    queue->device = device;
    queue->index = config->index;
    queue->size = (uint16_t)size;
    queue->max_pieces = config->max_pieces != 0 ? config->max_pieces : 1;
    queue->polled = config->polled;
    queue->features = device->features;
    error = take_memory(queue, config->owner);
    if (error == 0) {
        struct layout layout = layout_of_queue(queue);

        set_parts(queue, &layout);
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
    size = device->transport->queue_max(device, queue->index);
    return is_size(size) && size >= queue->size ? hand_over(queue) : -PIOMMU_EBADMSG;
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
    piommu_host_free(host, queue, object_size(queue->size));
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

static void write_descriptor(volatile struct ring_descriptor *descriptor, uint64_t address,
                             uint32_t length, uint32_t flags, uint16_t next)
{
    descriptor->address = piommu_le64(address);
    descriptor->length = piommu_le32(length);
    descriptor->flags = piommu_le16((uint16_t)flags);
    descriptor->next = piommu_le16(next);
}

static uint32_t flags_of(const struct piommu_virtio_buffer *buffer, bool more)
{
    return (more ? DESCRIPTOR_NEXT : 0u) | (buffer->writable ? DESCRIPTOR_WRITABLE : 0u);
}

/* Writes a request into the table of an entry, and the entry. */
static void write_table(struct piommu_virtqueue *queue, uint16_t head,
                        const struct piommu_virtio_buffer *buffers, uint16_t count)
{
    size_t first = (size_t)head * queue->max_pieces;
    volatile struct ring_descriptor *table = &queue->tables[first];

    for (uint16_t i = 0; i < count; i++) {
        bool more = i + 1 < count;

        write_descriptor(&table[i], buffers[i].physical, buffers[i].size,
                         flags_of(&buffers[i], more), (uint16_t)(more ? i + 1 : 0));
    }
    to_device(queue, table, count * sizeof(*table));
    write_descriptor(&queue->descriptors[head], queue->tables_physical + first * sizeof(*table),
                     (uint32_t)(count * sizeof(*table)), DESCRIPTOR_INDIRECT, 0);
    to_device(queue, &queue->descriptors[head], sizeof(*table));
    queue->free_head = queue->entries[head].next;
}

/* Writes a request into entries of the ring. */
static void write_chain(struct piommu_virtqueue *queue, uint16_t head,
                        const struct piommu_virtio_buffer *buffers, uint16_t count)
{
    uint16_t number = head;

    for (uint16_t i = 0; i < count; i++) {
        uint16_t next = queue->entries[number].next;
        bool more = i + 1 < count;

        write_descriptor(&queue->descriptors[number], buffers[i].physical, buffers[i].size,
                         flags_of(&buffers[i], more), (uint16_t)(more ? next : 0));
        to_device(queue, &queue->descriptors[number], sizeof(struct ring_descriptor));
        number = next;
    }
    queue->free_head = number;
}

int piommu_virtqueue_add(struct piommu_virtqueue *queue, const struct piommu_virtio_buffer *buffers,
                         uint16_t count, uint16_t *head)
{
    uint16_t number = queue->free_head;
    bool table = queue->tables != NULL && count > 1;
    uint16_t taken = table ? 1 : count;
    volatile uint16_t *slot = &queue->available->ring[queue->next_avail & (queue->size - 1)];
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
    if (table) {
        write_table(queue, number, buffers, count);
    } else {
        write_chain(queue, number, buffers, count);
    }
    queue->free_count = (uint16_t)(queue->free_count - taken);
    queue->entries[number].writable = writable;
    queue->entries[number].count = taken;
    queue->in_flight++;
    *slot = piommu_le16(number);
    to_device(queue, slot, sizeof(*slot));
    queue->next_avail++;
    *head = number;
    return 0;
}

/*
 * Whether the doorbell has to be rung after entries up to `now` were shown, of which `before` was
 * the end when it was looked at last. With EVENT_IDX: if the step went past what the device waits
 * for.
 */
static bool is_wanted(const struct piommu_virtqueue *queue, uint16_t before, uint16_t now)
{
    uint16_t event;

    if (queue->avail_event == NULL) {
        from_device(queue, &queue->used->flags, sizeof(queue->used->flags));
        return (piommu_le16(queue->used->flags) & USED_NO_NOTIFY) == 0;
    }
    from_device(queue, queue->avail_event, sizeof(*queue->avail_event));
    event = piommu_le16(*queue->avail_event);
    return (uint16_t)(now - event - 1) < (uint16_t)(now - before);
}

bool piommu_virtqueue_publish(struct piommu_virtqueue *queue)
{
    struct piommu_host host = queue->device->host;
    uint16_t before = queue->published;
    uint16_t now = queue->next_avail;

    if (before == now) {
        return false;
    }
    /* The device may look at the index at any time: what it leads to must be there before. */
    piommu_host_barrier(host, PIOMMU_BARRIER_WRITE);
    queue->available->index = piommu_le16(now);
    to_device(queue, &queue->available->index, sizeof(queue->available->index));
    queue->published = now;
    /* The device must see the index before we see its wish; else both could go to sleep. */
    piommu_host_barrier(host, PIOMMU_BARRIER_FULL);
    return is_wanted(queue, before, now);
}

void piommu_virtqueue_ring(struct piommu_virtqueue *queue)
{
    queue->device->transport->notify(queue->device, queue->index, queue->doorbell);
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
    queue->in_flight--;
}

/* How many requests the device says it is done with, taken ones not among them. */
static uint16_t done(const struct piommu_virtqueue *queue)
{
    from_device(queue, &queue->used->index, sizeof(queue->used->index));
    return (uint16_t)(piommu_le16(queue->used->index) - queue->next_used);
}

int piommu_virtqueue_take(struct piommu_virtqueue *queue, uint16_t *head, uint32_t *length)
{
    volatile struct ring_used_entry *used =
        &queue->used->ring[queue->next_used & (queue->size - 1)];
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
    if (count > queue->in_flight || id >= queue->size || queue->entries[id].count == 0 ||
        written > queue->entries[id].writable) {
        queue->broken = true;
        return -PIOMMU_EIO;
    }
    queue->next_used++;
    if (queue->polled && queue->used_event != NULL) {
        /* As far behind as can be, so that it is never passed. */
        *queue->used_event = piommu_le16((uint16_t)(queue->next_used - 1));
        to_device(queue, queue->used_event, sizeof(*queue->used_event));
    }
    free_chain(queue, (uint16_t)id);
    *head = (uint16_t)id;
    *length = written;
    return 1;
}

bool piommu_virtqueue_want_interrupt(struct piommu_virtqueue *queue)
{
    if (!queue->polled && queue->used_event != NULL) {
        *queue->used_event = piommu_le16(queue->next_used);
        to_device(queue, queue->used_event, sizeof(*queue->used_event));
    }
    piommu_host_barrier(queue->device->host, PIOMMU_BARRIER_FULL);
    return done(queue) != 0;
}
