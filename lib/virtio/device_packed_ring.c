/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The device's end of a packed ring.
 *
 * Source: VIRTIO 1.2, section 2.8 "Packed Virtqueues".
 */

#include "device_ring.h"
#include "packed_layout.h"

static bool check(const struct piommu_device_ring_config *config)
{
    return device_ring_is_place(config->descriptors, 16, config->size * DESCRIPTOR_SIZE) &&
           device_ring_is_place(config->available, 4, sizeof(struct packed_event)) &&
           device_ring_is_place(config->used, 4, sizeof(struct packed_event));
}

static void clear(struct piommu_device_ring *ring)
{
    ring->packed =
        (struct device_packed_ring){.next_avail = packed_start(), .next_used = packed_start()};
}

static uint64_t address_of(const struct piommu_device_ring *ring, struct packed_place place)
{
    return ring->config.descriptors + (uint64_t)place.slot * DESCRIPTOR_SIZE;
}

static bool read_descriptor(const struct piommu_device_ring *ring, uint64_t address,
                            struct packed_descriptor *descriptor)
{
    if (!device_ring_read(ring, address, descriptor, sizeof(*descriptor))) {
        return false;
    }
    descriptor->address = piommu_le64(descriptor->address);
    descriptor->length = piommu_le32(descriptor->length);
    descriptor->id = piommu_le16(descriptor->id);
    descriptor->flags = piommu_le16(descriptor->flags);
    return true;
}

static bool add_piece(struct piommu_device_ring *ring, struct piommu_device_request *request,
                      const struct packed_descriptor *descriptor)
{
    return piommu_device_ring_add_piece_(ring, request, descriptor->address, descriptor->length,
                                         (descriptor->flags & DESCRIPTOR_WRITABLE) != 0);
}

/*
 * Copies an indirect table, all of whose entries are pieces. How long that takes is bounded by the
 * pieces that there is room for.
 */
static bool copy_table(struct piommu_device_ring *ring, struct piommu_device_request *request,
                       const struct packed_descriptor *table)
{
    struct packed_descriptor descriptor;

    if (!piommu_device_ring_is_table_(ring, table->address, table->length)) {
        return false;
    }
    for (uint32_t offset = 0; offset < table->length; offset += DESCRIPTOR_SIZE) {
        if (!read_descriptor(ring, table->address + offset, &descriptor) ||
            !add_piece(ring, request, &descriptor)) {
            return false;
        }
    }
    return true;
}

static bool look(struct piommu_device_ring *ring, bool *found)
{
    const struct device_packed_ring *packed = &ring->packed;
    uint64_t address = address_of(ring, packed->next_avail);
    uint16_t flags;

    if (!device_ring_read_word(ring, address + offsetof(struct packed_descriptor, flags), &flags)) {
        return false;
    }
    *found = (flags & PACKED_STATE) == packed_available(packed->next_avail);
    return true;
}

static bool ask(struct piommu_device_ring *ring)
{
    uint64_t event = ring->config.used;

    /* Without EVENT_IDX nothing was ever switched off. */
    if (!ring->config.event_idx) {
        return true;
    }
    if (!device_ring_write_word(ring, event + offsetof(struct packed_event, place),
                                packed_event_place(ring->packed.next_avail))) {
        return false;
    }
    /* The first time, until the flags say that a place counts, there is a notification of all. */
    piommu_host_barrier(ring->host, PIOMMU_BARRIER_WRITE);
    return device_ring_write_word(ring, event + offsetof(struct packed_event, flags),
                                  EVENT_DESCRIPTOR);
}

/*
 * Copies the chain that begins at the next place; `next` and `count` are where it ends and how long
 * it is then. It may take no descriptor that the device has already.
 */
static bool copy_chain(struct piommu_device_ring *ring, struct piommu_device_request *request,
                       struct packed_place *next, uint16_t *count)
{
    uint16_t limit = (uint16_t)(ring->config.size - ring->packed.in_flight);
    struct packed_descriptor descriptor = {.flags = DESCRIPTOR_NEXT};

    while ((descriptor.flags & DESCRIPTOR_NEXT) != 0) {
        /* All of a chain is available before its first descriptor is. */
        if (*count == limit || !read_descriptor(ring, address_of(ring, *next), &descriptor) ||
            (descriptor.flags & PACKED_STATE) != packed_available(*next)) {
            return false;
        }
        if ((descriptor.flags & DESCRIPTOR_INDIRECT) == 0) {
            if (!add_piece(ring, request, &descriptor)) {
                return false;
            }
        } else if (*count != 0 || (descriptor.flags & DESCRIPTOR_NEXT) != 0 ||
                   !copy_table(ring, request, &descriptor)) {
            return false; /* a table is all of its request */
        }
        request->head = descriptor.id; /* the one of the last descriptor counts */
        (*count)++;
        packed_advance(next, 1, ring->config.size);
    }
    return true;
}

static bool take_request(struct piommu_device_ring *ring, struct piommu_device_request *request)
{
    struct device_packed_ring *packed = &ring->packed;
    struct packed_place next = packed->next_avail;
    uint16_t count = 0;

    *request = (struct piommu_device_request){0};
    if (!copy_chain(ring, request, &next, &count) || request->head >= ring->config.size ||
        ring->taken[request->head] != 0) {
        return false;
    }
    packed->next_avail = next;
    packed->in_flight = (uint16_t)(packed->in_flight + count);
    ring->taken[request->head] = count;
    return true;
}

static bool complete(struct piommu_device_ring *ring, uint16_t head, uint32_t written)
{
    struct device_packed_ring *packed = &ring->packed;
    const size_t begin = offsetof(struct packed_descriptor, length);
    const size_t end = offsetof(struct packed_descriptor, flags);
    struct packed_descriptor used = {.length = piommu_le32(written), .id = piommu_le16(head)};
    uint16_t flags = packed_used(packed->next_used);
    uint64_t address = address_of(ring, packed->next_used);
    uint16_t count = ring->taken[head];
    uint32_t unsignalled = packed->unsignalled + count;

    ring->taken[head] = 0;
    if (!device_ring_write(ring, address + begin, (const uint8_t *)&used + begin, end - begin)) {
        return false;
    }
    packed->in_flight = (uint16_t)(packed->in_flight - count);
    packed->unsignalled =
        unsignalled < 2u * ring->config.size ? unsignalled : 2u * ring->config.size;
    packed_advance(&packed->next_used, count, ring->config.size);
    /* What was written, and the rest of the descriptor, are there before its flags say so. */
    piommu_host_barrier(ring->host, PIOMMU_BARRIER_WRITE);
    return device_ring_write_word(ring, address + end,
                                  (uint16_t)(flags | (written != 0 ? DESCRIPTOR_WRITABLE : 0u)));
}

static bool wants_interrupt(struct piommu_device_ring *ring)
{
    struct device_packed_ring *packed = &ring->packed;
    uint64_t address = ring->config.available;
    uint32_t step = packed->unsignalled;
    struct packed_event event;

    if (step == 0) {
        return false;
    }
    packed->unsignalled = 0;
    /* The driver must see the flags of descriptors before we see its wish. */
    piommu_host_barrier(ring->host, PIOMMU_BARRIER_FULL);
    if (!device_ring_read_word(ring, address + offsetof(struct packed_event, flags),
                               &event.flags)) {
        return false;
    }
    /* A driver that changes to a place writes the place first. */
    piommu_host_barrier(ring->host, PIOMMU_BARRIER_READ);
    return device_ring_read_word(ring, address + offsetof(struct packed_event, place),
                                 &event.place) &&
           packed_wants(event, ring->config.event_idx, packed->next_used, step, ring->config.size);
}

static void place_state(const struct piommu_device_ring *ring, struct packed_place *place,
                        struct blob *blob)
{
    blob_16(blob, &place->slot);
    blob_flag(blob, &place->wrap);
    blob_check(blob, place->slot < ring->config.size);
}

static void state(struct piommu_device_ring *ring, struct blob *blob)
{
    place_state(ring, &ring->packed.next_avail, blob);
    place_state(ring, &ring->packed.next_used, blob);
    blob_32(blob, &ring->packed.unsignalled);
    blob_check(blob, ring->packed.unsignalled <= 2u * ring->config.size);
}

static bool adopt(struct piommu_device_ring *ring, uint16_t descriptors)
{
    if (descriptors > ring->config.size - ring->packed.in_flight) {
        return false;
    }
    ring->packed.in_flight = (uint16_t)(ring->packed.in_flight + descriptors);
    return true;
}

const struct virtio_device_ring piommu_device_packed_ring_ = {
    .check = check,
    .clear = clear,
    .look = look,
    .ask = ask,
    .take_request = take_request,
    .complete = complete,
    .wants_interrupt = wants_interrupt,
    .state = state,
    .adopt = adopt,
};
