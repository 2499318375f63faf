/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The device's end of a split virtqueue. The ring is the driver's memory: each word of it is copied
 * once, and only the copy is looked at.
 *
 * Source: VIRTIO 1.2, section 2.7 "Split Virtqueues".
 */

#include <piommu/virtio-device.h>

#include "../base/byte_order.h"
#include "../base/host.h"
#include "split_layout.h"

#define MAX_SIZE   32768u
#define MAX_PIECES 1024u

struct piece {
    uint64_t address;
    uint32_t size;
};

struct piommu_device_ring {
    struct piommu_host host;
    struct piommu_guest_memory memory;
    struct piommu_device_ring_config config;
    uint16_t max_size;
    uint16_t max_pieces;
    bool started;
    bool broken;
    uint16_t next_avail; /* free-running, as the ones below */
    uint16_t next_used;
    uint16_t signalled; /* up to where interrupts were thought about */
    uint16_t in_flight;
    uint16_t readable_pieces; /* of the request that was taken last */
    uint16_t piece_count;
    struct piece *pieces;
    uint8_t taken[]; /* by head: whether a request is out */
};

static size_t object_size(uint16_t max_size)
{
    return sizeof(struct piommu_device_ring) + max_size;
}

int piommu_device_ring_create(struct piommu_host host, const struct piommu_guest_memory *memory,
                              uint16_t max_size, uint16_t max_pieces,
                              struct piommu_device_ring **result)
{
    struct piommu_device_ring *ring;
    int error;

    if (memory == NULL || memory->read == NULL || memory->write == NULL || result == NULL ||
        max_size == 0 || max_size > MAX_SIZE || (max_size & (max_size - 1)) != 0 ||
        max_pieces == 0 || max_pieces > MAX_PIECES) {
        return -PIOMMU_EINVAL;
    }
    error = piommu_host_check_(host, PIOMMU_OS_NEED_BASE);
    if (error != 0) {
        return error;
    }
    ring = piommu_host_alloc(host, object_size(max_size));
    if (ring == NULL) {
        return -PIOMMU_ENOMEM;
    }
    ring->host = host;
    ring->memory = *memory;
    ring->max_size = max_size;
    ring->max_pieces = max_pieces;
    ring->pieces = piommu_host_alloc(host, max_pieces * sizeof(*ring->pieces));
    if (ring->pieces == NULL) {
        piommu_device_ring_destroy(ring);
        return -PIOMMU_ENOMEM;
    }
    *result = ring;
    return 0;
}

void piommu_device_ring_destroy(struct piommu_device_ring *ring)
{
    if (ring != NULL) {
        piommu_host_free(ring->host, ring->pieces, ring->max_pieces * sizeof(*ring->pieces));
        piommu_host_free(ring->host, ring, object_size(ring->max_size));
    }
}

/* Whether a part of a ring can lie there. */
static bool is_place(uint64_t address, uint64_t alignment, uint64_t size)
{
    return (address & (alignment - 1)) == 0 && address <= UINT64_MAX - (size - 1);
}

int piommu_device_ring_start(struct piommu_device_ring *ring,
                             const struct piommu_device_ring_config *config)
{
    uint64_t size;

    if (ring == NULL || config == NULL || config->size == 0 || config->size > ring->max_size ||
        (config->size & (config->size - 1)) != 0) {
        return -PIOMMU_EINVAL;
    }
    size = config->size;
    if (!is_place(config->descriptors, 16, size * sizeof(struct ring_descriptor)) ||
        !is_place(config->available, 2, AVAILABLE_SIZE(size)) ||
        !is_place(config->used, 4, USED_SIZE(size))) {
        return -PIOMMU_EINVAL;
    }
    ring->config = *config;
    ring->started = true;
    ring->broken = false;
    ring->next_avail = 0;
    ring->next_used = 0;
    ring->signalled = 0;
    ring->in_flight = 0;
    ring->piece_count = 0;
    memset(ring->taken, 0, ring->max_size);
    return 0;
}

void piommu_device_ring_stop(struct piommu_device_ring *ring)
{
    ring->started = false;
    ring->piece_count = 0;
}

static int break_ring(struct piommu_device_ring *ring)
{
    ring->broken = true;
    ring->piece_count = 0;
    return -PIOMMU_EIO;
}

static bool read_word(const struct piommu_device_ring *ring, uint64_t address, uint16_t *value)
{
    uint16_t raw;

    if (!ring->memory.read(ring->memory.ctx, address, &raw, sizeof(raw))) {
        return false;
    }
    *value = piommu_le16(raw);
    return true;
}

static bool write_word(const struct piommu_device_ring *ring, uint64_t address, uint16_t value)
{
    uint16_t raw = piommu_le16(value);

    return ring->memory.write(ring->memory.ctx, address, &raw, sizeof(raw));
}

static bool read_descriptor(const struct piommu_device_ring *ring, uint64_t table, uint32_t number,
                            struct ring_descriptor *descriptor)
{
    if (!ring->memory.read(ring->memory.ctx, table + (uint64_t)number * sizeof(*descriptor),
                           descriptor, sizeof(*descriptor))) {
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
    if (!ring->config.indirect || chain->indirect || (descriptor->flags & DESCRIPTOR_NEXT) != 0 ||
        descriptor->length == 0 || descriptor->length % sizeof(*descriptor) != 0 ||
        descriptor->address > UINT64_MAX - (descriptor->length - 1u)) {
        return false;
    }
    chain->indirect = true;
    chain->table = descriptor->address;
    chain->entries = descriptor->length / (uint32_t)sizeof(*descriptor);
    chain->number = 0;
    return true;
}

/* Adds a piece; false: the request makes no sense with it. */
static bool add_piece(struct piommu_device_ring *ring, struct piommu_device_request *request,
                      const struct ring_descriptor *descriptor)
{
    bool writable = (descriptor->flags & DESCRIPTOR_WRITABLE) != 0;
    uint32_t *total = writable ? &request->writable : &request->readable;

    if (ring->piece_count == ring->max_pieces || (!writable && request->writable != 0) ||
        descriptor->length > UINT32_MAX - *total || descriptor->length == 0 ||
        descriptor->address > UINT64_MAX - (descriptor->length - 1u)) {
        return false;
    }
    ring->pieces[ring->piece_count] =
        (struct piece){.address = descriptor->address, .size = descriptor->length};
    ring->piece_count++;
    ring->readable_pieces = (uint16_t)(ring->readable_pieces + !writable);
    *total += descriptor->length;
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
        if (!add_piece(ring, request, &descriptor)) {
            return false;
        }
        chain.number = descriptor.next;
    }
    return true;
}

/* Asks the driver to notify, and looks whether it has something by now. */
static int ask_for_notification(struct piommu_device_ring *ring, uint16_t *index)
{
    /* Without EVENT_IDX nothing was ever switched off. */
    if (ring->config.event_idx &&
        !write_word(ring, ring->config.used + USED_EVENT_OFFSET(ring->config.size),
                    ring->next_avail)) {
        return break_ring(ring);
    }
    piommu_host_barrier(ring->host, PIOMMU_BARRIER_FULL);
    return read_word(ring, ring->config.available + AVAILABLE_INDEX_OFFSET, index)
               ? 0
               : break_ring(ring);
}

int piommu_device_ring_take(struct piommu_device_ring *ring, struct piommu_device_request *request)
{
    uint16_t index;
    uint16_t head;

    if (ring == NULL || request == NULL) {
        return -PIOMMU_EINVAL;
    }
    if (ring->broken) {
        return -PIOMMU_EIO;
    }
    ring->piece_count = 0;
    ring->readable_pieces = 0;
    if (!ring->started) {
        return 0;
    }
    if (!read_word(ring, ring->config.available + AVAILABLE_INDEX_OFFSET, &index)) {
        return break_ring(ring);
    }
    if (index == ring->next_avail) {
        int error = ask_for_notification(ring, &index);

        if (error != 0 || index == ring->next_avail) {
            return error;
        }
    }
    /* More than the ring has room for cannot have been made available. */
    if ((uint16_t)(index - ring->next_avail) > ring->config.size - ring->in_flight) {
        return break_ring(ring);
    }
    /* The entry was written before the index. */
    piommu_host_barrier(ring->host, PIOMMU_BARRIER_READ);
    if (!read_word(ring,
                   ring->config.available +
                       AVAILABLE_ENTRY_OFFSET(ring->next_avail & (ring->config.size - 1u)),
                   &head) ||
        head >= ring->config.size || ring->taken[head] != 0) {
        return break_ring(ring);
    }
    *request = (struct piommu_device_request){.head = head};
    if (!copy_chain(ring, request)) {
        return break_ring(ring);
    }
    request->pieces = ring->piece_count;
    ring->next_avail++;
    ring->in_flight++;
    ring->taken[head] = 1;
    return 1;
}

/* Copies between a buffer and some pieces; one of `out` and `in` is NULL. */
static size_t copy(const struct piommu_device_ring *ring, const struct piece *pieces, size_t count,
                   uint32_t offset, uint8_t *out, const uint8_t *in, size_t size)
{
    size_t done = 0;

    for (size_t i = 0; i < count && done < size; i++) {
        uint64_t address = pieces[i].address + offset;
        size_t part;
        bool copied;

        if (offset >= pieces[i].size) {
            offset -= pieces[i].size;
            continue;
        }
        part = pieces[i].size - offset < size - done ? pieces[i].size - offset : size - done;
        copied = out != NULL ? ring->memory.read(ring->memory.ctx, address, out + done, part)
                             : ring->memory.write(ring->memory.ctx, address, in + done, part);
        if (!copied) {
            break;
        }
        done += part;
        offset = 0;
    }
    return done;
}

size_t piommu_device_ring_read(struct piommu_device_ring *ring, uint32_t offset, void *buffer,
                               size_t size)
{
    uint16_t count = ring->piece_count < ring->readable_pieces ? 0 : ring->readable_pieces;

    return copy(ring, ring->pieces, count, offset, buffer, NULL, size);
}

size_t piommu_device_ring_write(struct piommu_device_ring *ring, uint32_t offset,
                                const void *buffer, size_t size)
{
    uint16_t first = ring->readable_pieces;

    if (ring->piece_count <= first) {
        return 0;
    }
    return copy(ring, ring->pieces + first, (size_t)(ring->piece_count - first), offset, NULL,
                buffer, size);
}

int piommu_device_ring_complete(struct piommu_device_ring *ring, uint16_t head, uint32_t written)
{
    struct ring_used_entry entry = {.id = piommu_le32(head), .length = piommu_le32(written)};

    if (ring == NULL || head >= ring->max_size || ring->taken[head] == 0) {
        return -PIOMMU_EINVAL;
    }
    if (ring->broken || !ring->started) {
        return -PIOMMU_EIO;
    }
    ring->piece_count = 0;
    ring->taken[head] = 0;
    ring->in_flight--;
    if (!ring->memory.write(ring->memory.ctx,
                            ring->config.used +
                                USED_ENTRY_OFFSET(ring->next_used & (ring->config.size - 1u)),
                            &entry, sizeof(entry))) {
        return break_ring(ring);
    }
    ring->next_used++;
    /* What was written, and the entry, are there before the index says so. */
    piommu_host_barrier(ring->host, PIOMMU_BARRIER_WRITE);
    return write_word(ring, ring->config.used + USED_INDEX_OFFSET, ring->next_used)
               ? 0
               : break_ring(ring);
}

bool piommu_device_ring_wants_interrupt(struct piommu_device_ring *ring)
{
    uint16_t before = ring->signalled;
    uint16_t now = ring->next_used;
    uint16_t word;

    if (!ring->started || ring->broken || before == now) {
        return false;
    }
    ring->signalled = now;
    /* The driver must see the index before we see its wish. */
    piommu_host_barrier(ring->host, PIOMMU_BARRIER_FULL);
    if (!ring->config.event_idx) {
        return read_word(ring, ring->config.available, &word) && (word & AVAIL_NO_INTERRUPT) == 0;
    }
    return read_word(ring, ring->config.available + AVAILABLE_EVENT_OFFSET(ring->config.size),
                     &word) &&
           (uint16_t)(now - word - 1) < (uint16_t)(now - before);
}
