/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The device's end of a split ring.
 *
 * Source: VIRTIO 1.2, section 2.7 "Split Virtqueues".
 */

#include "device_ring.h"
#include "split_layout.h"

static bool check(const struct piommu_device_ring_config *config)
{
    uint64_t size = config->size;

    return (size & (size - 1)) == 0 &&
           device_ring_is_place(config->descriptors, 16, size * DESCRIPTOR_SIZE) &&
           device_ring_is_place(config->available, 2, AVAILABLE_SIZE(size)) &&
           device_ring_is_place(config->used, 4, USED_SIZE(size));
}

static void clear(struct piommu_device_ring *ring)
{
    ring->split = (struct device_split_ring){0};
}

static bool read_descriptor(const struct piommu_device_ring *ring, uint64_t table, uint32_t number,
                            struct ring_descriptor *descriptor)
{
    if (!device_ring_read(ring, table + (uint64_t)number * sizeof(*descriptor), descriptor,
                          sizeof(*descriptor))) {
        return false;
    }
    descriptor->address = piommu_le64(descriptor->address);
    descriptor->length = piommu_le32(descriptor->length);
    descriptor->flags = piommu_le16(descriptor->flags);
    descriptor->next = piommu_le16(descriptor->next);
    return true;
}

/* A chain that is being copied. */
struct chain {
    uint64_t table;
    uint32_t entries; /* of the table */
    uint32_t number;  /* of the next descriptor in it */
    bool indirect;
};

/* Goes into an indirect table, which is all of the request. */
static bool enter_table(const struct piommu_device_ring *ring, struct chain *chain,
                        const struct ring_descriptor *descriptor)
{
    if (chain->indirect || (descriptor->flags & DESCRIPTOR_NEXT) != 0 ||
        !piommu_device_ring_is_table_(ring, descriptor->address, descriptor->length)) {
        return false;
    }
    chain->indirect = true;
    chain->table = descriptor->address;
    chain->entries = descriptor->length / DESCRIPTOR_SIZE;
    chain->number = 0;
    return true;
}

/* Copies the chain of a head. Its length is bounded by the pieces that there is room for. */
static bool copy_chain(struct piommu_device_ring *ring, struct piommu_device_request *request)
{
    struct chain chain = {
        .table = ring->config.descriptors, .entries = ring->config.size, .number = request->head};
    struct ring_descriptor descriptor = {.flags = DESCRIPTOR_NEXT};

    while ((descriptor.flags & DESCRIPTOR_NEXT) != 0) {
        if (chain.number >= chain.entries ||
            !read_descriptor(ring, chain.table, chain.number, &descriptor)) {
            return false;
        }
        if ((descriptor.flags & DESCRIPTOR_INDIRECT) != 0) {
            if (!enter_table(ring, &chain, &descriptor)) {
                return false;
            }
            descriptor.flags = DESCRIPTOR_NEXT;
            continue;
        }
        if (!piommu_device_ring_add_piece_(ring, request, descriptor.address, descriptor.length,
                                           (descriptor.flags & DESCRIPTOR_WRITABLE) != 0)) {
            return false;
        }
        chain.number = descriptor.next;
    }
    return true;
}

static bool look(struct piommu_device_ring *ring, bool *found)
{
    uint16_t index;
    uint16_t count;

    if (!device_ring_read_word(ring, ring->config.available + AVAILABLE_INDEX_OFFSET, &index)) {
        return false;
    }
    count = (uint16_t)(index - ring->split.next_avail);
    *found = count != 0;
    /* More than the ring has room for cannot have been made available. */
    return count <= ring->config.size - ring->split.in_flight;
}

static bool ask(struct piommu_device_ring *ring)
{
    /* Without EVENT_IDX nothing was ever switched off. */
    return !ring->config.event_idx ||
           device_ring_write_word(ring, ring->config.used + USED_EVENT_OFFSET(ring->config.size),
                                  ring->split.next_avail);
}

static bool take_request(struct piommu_device_ring *ring, struct piommu_device_request *request)
{
    uint16_t slot = ring->split.next_avail & (uint16_t)(ring->config.size - 1);
    uint16_t head;

    if (!device_ring_read_word(ring, ring->config.available + AVAILABLE_ENTRY_OFFSET(slot),
                               &head) ||
        head >= ring->config.size || ring->taken[head] != 0) {
        return false;
    }
    *request = (struct piommu_device_request){.head = head};
    if (!copy_chain(ring, request)) {
        return false;
    }
    ring->split.next_avail++;
    ring->split.in_flight++;
    ring->taken[head] = 1;
    return true;
}

static bool complete(struct piommu_device_ring *ring, uint16_t head, uint32_t written)
{
    struct ring_used_entry entry = {.id = piommu_le32(head), .length = piommu_le32(written)};
    uint16_t slot = ring->split.next_used & (uint16_t)(ring->config.size - 1);

    ring->taken[head] = 0;
    ring->split.in_flight--;
    if (!device_ring_write(ring, ring->config.used + USED_ENTRY_OFFSET(slot), &entry,
                           sizeof(entry))) {
        return false;
    }
    ring->split.next_used++;
    /* What was written, and the entry, are there before the index says so. */
    piommu_host_barrier(ring->host, PIOMMU_BARRIER_WRITE);
    return device_ring_write_word(ring, ring->config.used + USED_INDEX_OFFSET,
                                  ring->split.next_used);
}

static bool wants_interrupt(struct piommu_device_ring *ring)
{
    uint16_t before = ring->split.signalled;
    uint16_t now = ring->split.next_used;
    uint16_t word;

    if (before == now) {
        return false;
    }
    ring->split.signalled = now;
    /* The driver must see the index before we see its wish. */
    piommu_host_barrier(ring->host, PIOMMU_BARRIER_FULL);
    if (!ring->config.event_idx) {
        return device_ring_read_word(ring, ring->config.available, &word) &&
               (word & AVAIL_NO_INTERRUPT) == 0;
    }
    return device_ring_read_word(
               ring, ring->config.available + AVAILABLE_EVENT_OFFSET(ring->config.size), &word) &&
           (uint16_t)(now - word - 1) < (uint16_t)(now - before);
}

static void state(struct piommu_device_ring *ring, struct blob *blob)
{
    /* They run freely: each value is possible. */
    blob_16(blob, &ring->split.next_avail);
    blob_16(blob, &ring->split.next_used);
    blob_16(blob, &ring->split.signalled);
}

static bool adopt(struct piommu_device_ring *ring, uint16_t descriptors)
{
    ring->split.in_flight++;
    return descriptors == 1;
}

const struct virtio_device_ring piommu_device_split_ring_ = {
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
