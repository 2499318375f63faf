/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The driver's side of a packed ring.
 *
 * Each side writes into the descriptors of the other one: the device is done with requests where
 * they were made available, or elsewhere if it changes their order. So nothing is read here but the
 * one descriptor in which the next answer comes, and what the device wants to be notified of.
 *
 * There is no cache to clean: a device that does not snoop never has such a ring.
 *
 * Source: VIRTIO 1.2, section 2.8 "Packed Virtqueues".
 */

#include "queue.h"

#include "../base/byte_order.h"

static size_t event_size(uint16_t size)
{
    (void)size;
    return sizeof(struct packed_event);
}

static void set_parts(struct piommu_virtqueue *queue, const struct layout *layout)
{
    uint8_t *base = queue->memory;

    queue->packed.descriptors = (volatile struct packed_descriptor *)queue->memory;
    queue->packed.driver_event = (volatile uint32_t *)(void *)(base + layout->driver_area);
    queue->packed.device_event = (const volatile uint32_t *)(void *)(base + layout->device_area);
}

/* Tells the device of which answer it is to notify. */
static void want_event(struct piommu_virtqueue *queue, uint32_t flags, struct packed_place place)
{
    *queue->packed.driver_event = piommu_le32(packed_event_place(place) | flags << 16);
}

static void clear(struct piommu_virtqueue *queue)
{
    struct packed_queue *packed = &queue->packed;

    packed->next_avail = packed_start();
    packed->first = packed_start();
    packed->next_used = packed_start();
    packed->added = 0;
    packed->shown = 0;
    if (queue->polled) {
        want_event(queue, EVENT_DISABLE, packed_start());
    } else if (virtqueue_has_event_idx(queue)) {
        want_event(queue, EVENT_DESCRIPTOR, packed_start());
    }
}

/* Writes all of a descriptor but its flags. */
static void write_piece(volatile struct packed_descriptor *descriptor, uint64_t address,
                        uint32_t length, uint16_t id)
{
    descriptor->address = piommu_le64(address);
    descriptor->length = piommu_le32(length);
    descriptor->id = piommu_le16(id);
}

/*
 * Writes the next descriptor of the ring. The device goes from one to the next and stops at the
 * first that is not available: if that is the first one since the last publish, it gets no further,
 * whatever the others say. So the flags of that one are kept back, and show all of them.
 */
static void write_descriptor(struct piommu_virtqueue *queue, uint64_t address, uint32_t length,
                             uint16_t id, uint32_t flags)
{
    struct packed_queue *packed = &queue->packed;
    volatile struct packed_descriptor *descriptor = &packed->descriptors[packed->next_avail.slot];

    flags |= packed_available(packed->next_avail);
    write_piece(descriptor, address, length, id);
    if (packed->added == 0) {
        packed->first_flags = (uint16_t)flags;
    } else {
        descriptor->flags = piommu_le16((uint16_t)flags);
    }
    packed->added++;
    packed_advance(&packed->next_avail, 1, queue->size);
}

/* Writes a request into the table of a head, where descriptors follow each other without a link. */
static void write_table(struct piommu_virtqueue *queue, uint16_t head,
                        const struct piommu_virtio_buffer *buffers, uint16_t count)
{
    size_t first = (size_t)head * queue->max_pieces;
    volatile struct packed_descriptor *table =
        (volatile struct packed_descriptor *)queue->tables + first;

    for (uint16_t i = 0; i < count; i++) {
        write_piece(&table[i], buffers[i].physical, buffers[i].size, 0);
        table[i].flags = piommu_le16((uint16_t)virtqueue_flags_of(&buffers[i], false));
    }
    write_descriptor(queue, queue->tables_physical + first * sizeof(*table),
                     (uint32_t)(count * sizeof(*table)), head, DESCRIPTOR_INDIRECT);
}

static void add(struct piommu_virtqueue *queue, uint16_t head,
                const struct piommu_virtio_buffer *buffers, uint16_t count, bool table)
{
    queue->free_head = queue->entries[head].next;
    if (table) {
        write_table(queue, head, buffers, count);
        return;
    }
    for (uint16_t i = 0; i < count; i++) {
        write_descriptor(queue, buffers[i].physical, buffers[i].size, head,
                         virtqueue_flags_of(&buffers[i], i + 1 < count));
    }
}

/* Whether the doorbell has to be rung after so many descriptors were shown. */
static bool is_wanted(const struct piommu_virtqueue *queue, uint16_t step)
{
    uint32_t word = piommu_le32(*queue->packed.device_event);
    struct packed_event event = {.place = (uint16_t)word, .flags = (uint16_t)(word >> 16)};

    return packed_wants(event, virtqueue_has_event_idx(queue), queue->packed.next_avail, step,
                        queue->size);
}

static bool publish(struct piommu_virtqueue *queue)
{
    struct packed_queue *packed = &queue->packed;
    struct piommu_host host = queue->device->host;
    uint16_t step = packed->added;

    if (step == 0) {
        return false;
    }
    /* The device may look at these flags at any time: what they lead to must be there before. */
    piommu_host_barrier(host, PIOMMU_BARRIER_WRITE);
    packed->descriptors[packed->first.slot].flags = piommu_le16(packed->first_flags);
    packed->first = packed->next_avail;
    packed->shown = (uint16_t)(packed->shown + step);
    packed->added = 0;
    /* The device must see the flags before we see its wish; else both could go to sleep. */
    piommu_host_barrier(host, PIOMMU_BARRIER_FULL);
    return is_wanted(queue, step);
}

/*
 * Looks where the next answer comes: 1 if it is there, 0 if not, -PIOMMU_EIO if the descriptor is
 * neither used nor, as it was left, available; or if the device has none that it could have used.
 */
static int look(const struct piommu_virtqueue *queue, uint16_t *flags)
{
    const struct packed_queue *packed = &queue->packed;
    uint16_t state;

    *flags = piommu_le16(packed->descriptors[packed->next_used.slot].flags);
    state = *flags & PACKED_STATE;
    if (packed->shown == 0) {
        return state == packed_used(packed->next_used) ? -PIOMMU_EIO : 0;
    }
    if (state == packed_used(packed->next_used)) {
        return 1;
    }
    return state == packed_available(packed->next_used) ? 0 : -PIOMMU_EIO;
}

/*
 * What the device says it is done with; false if that cannot be. A length without the flag that
 * something was written means nothing. But there are devices that never set the flag, and tell the
 * length all the same (QEMU 7.2): so it is believed then where it can be true.
 */
static bool read_answer(const struct piommu_virtqueue *queue, uint16_t flags, uint16_t *id,
                        uint32_t *written)
{
    const struct packed_queue *packed = &queue->packed;
    const volatile struct packed_descriptor *used = &packed->descriptors[packed->next_used.slot];
    const struct entry *entry;

    *id = piommu_le16(used->id);
    *written = piommu_le32(used->length);
    if (*id >= queue->size) {
        return false;
    }
    entry = &queue->entries[*id];
    if ((flags & DESCRIPTOR_WRITABLE) == 0 && *written > entry->writable) {
        *written = 0;
    }
    return entry->count != 0 && entry->count <= packed->shown && *written <= entry->writable;
}

static int take(struct piommu_virtqueue *queue, uint16_t *head, uint32_t *length)
{
    struct packed_queue *packed = &queue->packed;
    uint16_t flags;
    uint16_t id;
    uint16_t count;
    uint32_t written;
    int found = look(queue, &flags);

    if (queue->broken) {
        return -PIOMMU_EIO;
    }
    if (found == 0) {
        return 0;
    }
    piommu_host_barrier(queue->device->host, PIOMMU_BARRIER_READ);
    if (found < 0 || !read_answer(queue, flags, &id, &written)) {
        queue->broken = true;
        return -PIOMMU_EIO;
    }
    count = queue->entries[id].count;
    queue->entries[id] = (struct entry){.next = queue->free_head};
    queue->free_head = id;
    queue->free_count = (uint16_t)(queue->free_count + count);
    packed->shown = (uint16_t)(packed->shown - count);
    packed_advance(&packed->next_used, count, queue->size);
    *head = id;
    *length = written;
    return 1;
}

static bool want_interrupt(struct piommu_virtqueue *queue)
{
    uint16_t flags;

    if (!queue->polled && virtqueue_has_event_idx(queue)) {
        want_event(queue, EVENT_DESCRIPTOR, queue->packed.next_used);
    }
    piommu_host_barrier(queue->device->host, PIOMMU_BARRIER_FULL);
    return look(queue, &flags) != 0;
}

const struct virtio_ring piommu_packed_ring_ = {
    .driver_area_size = event_size,
    .device_area_size = event_size,
    .set_parts = set_parts,
    .clear = clear,
    .add = add,
    .publish = publish,
    .take = take,
    .want_interrupt = want_interrupt,
};
