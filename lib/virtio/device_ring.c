/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The device's end of a virtqueue, whatever its ring looks like. The ring is the driver's memory:
 * each word of it is copied once, and only the copy is looked at.
 *
 * Source: VIRTIO 1.2, sections 2.6 to 2.8.
 */

#include "device_ring.h"

#define MAX_SIZE   32768u
#define MAX_PIECES 1024u

static size_t object_size(uint16_t max_size)
{
    return sizeof(struct piommu_device_ring) + max_size * sizeof(uint16_t);
}

int piommu_device_ring_create(struct piommu_host host, const struct piommu_guest_memory *memory,
                              uint16_t max_size, uint16_t max_pieces,
                              struct piommu_device_ring **result)
{
    struct piommu_device_ring *ring;
    int error;

    if (memory == NULL || memory->read == NULL || memory->write == NULL || result == NULL ||
        max_size == 0 || max_size > MAX_SIZE || max_pieces == 0 || max_pieces > MAX_PIECES) {
        return -PIOMMU_EINVAL;
    }
    error = piommu_host_check_(host, PIOMMU_OS_NEED_BASE);
    if (error != 0) {
        return error;
    }
    ring = piommu_host_alloc_(host, object_size(max_size));
    if (ring == NULL) {
        return -PIOMMU_ENOMEM;
    }
    ring->host = host;
    ring->memory = *memory;
    ring->max_size = max_size;
    ring->max_pieces = max_pieces;
    ring->pieces = piommu_host_alloc_(host, max_pieces * sizeof(*ring->pieces));
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
        piommu_host_free_(ring->host, ring->pieces, ring->max_pieces * sizeof(*ring->pieces));
        piommu_host_free_(ring->host, ring, object_size(ring->max_size));
    }
}

int piommu_device_ring_start(struct piommu_device_ring *ring,
                             const struct piommu_device_ring_config *config)
{
    const struct virtio_device_ring *kind;

    if (ring == NULL || config == NULL || config->size == 0 || config->size > ring->max_size) {
        return -PIOMMU_EINVAL;
    }
    kind = config->packed ? &piommu_device_packed_ring_ : &piommu_device_split_ring_;
    if (!kind->check(config)) {
        return -PIOMMU_EINVAL;
    }
    ring->config = *config;
    ring->kind = kind;
    ring->broken = false;
    ring->piece_count = 0;
    memset(ring->taken, 0, ring->max_size * sizeof(*ring->taken));
    kind->clear(ring);
    return 0;
}

void piommu_device_ring_stop(struct piommu_device_ring *ring)
{
    ring->kind = NULL;
    ring->piece_count = 0;
}

static int break_ring(struct piommu_device_ring *ring)
{
    ring->broken = true;
    ring->piece_count = 0;
    return -PIOMMU_EIO;
}

bool piommu_device_ring_is_table_(const struct piommu_device_ring *ring, uint64_t address,
                                  uint32_t size)
{
    return ring->config.indirect && size != 0 && size % DESCRIPTOR_SIZE == 0 &&
           address <= UINT64_MAX - (size - 1u);
}

bool piommu_device_ring_add_piece_(struct piommu_device_ring *ring,
                                   struct piommu_device_request *request, uint64_t address,
                                   uint32_t size, bool writable)
{
    uint32_t *total = writable ? &request->writable : &request->readable;

    if (ring->piece_count == ring->max_pieces || (!writable && request->writable != 0) ||
        size > UINT32_MAX - *total || size == 0 || address > UINT64_MAX - (size - 1u)) {
        return false;
    }
    ring->pieces[ring->piece_count] = (struct piece){.address = address, .size = size};
    ring->piece_count++;
    ring->readable_pieces = (uint16_t)(ring->readable_pieces + !writable);
    *total += size;
    return true;
}

/* Looks whether there is a request, and asks to be notified of the next one if there is none. */
static bool look(struct piommu_device_ring *ring, bool *found)
{
    if (!ring->kind->look(ring, found)) {
        return false;
    }
    if (*found) {
        return true;
    }
    if (!ring->kind->ask(ring)) {
        return false;
    }
    /* The driver must see our wish before we look again; else both could go to sleep. */
    piommu_host_barrier(ring->host, PIOMMU_BARRIER_FULL);
    return ring->kind->look(ring, found);
}

int piommu_device_ring_take(struct piommu_device_ring *ring, struct piommu_device_request *request)
{
    bool found = false;

    if (ring == NULL || request == NULL) {
        return -PIOMMU_EINVAL;
    }
    if (ring->broken) {
        return -PIOMMU_EIO;
    }
    ring->piece_count = 0;
    ring->readable_pieces = 0;
    if (ring->kind == NULL) {
        return 0;
    }
    if (!look(ring, &found)) {
        return break_ring(ring);
    }
    if (!found) {
        return 0;
    }
    /* What the driver wrote before it said that there is something is read behind that. */
    piommu_host_barrier(ring->host, PIOMMU_BARRIER_READ);
    if (!ring->kind->take_request(ring, request)) {
        return break_ring(ring);
    }
    request->pieces = ring->piece_count;
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
        copied = out != NULL ? device_ring_read(ring, address, out + done, part)
                             : device_ring_write(ring, address, in + done, part);
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
    if (ring == NULL || head >= ring->max_size || ring->taken[head] == 0) {
        return -PIOMMU_EINVAL;
    }
    if (ring->broken || ring->kind == NULL) {
        return -PIOMMU_EIO;
    }
    ring->piece_count = 0;
    if (!ring->kind->complete(ring, head, written)) {
        return break_ring(ring);
    }
    return 0;
}

/* ---- State ---- */

static uint16_t count_taken(const struct piommu_device_ring *ring)
{
    uint16_t count = 0;

    for (uint16_t head = 0; head < ring->config.size; head++) {
        count = (uint16_t)(count + (ring->taken[head] != 0));
    }
    return count;
}

static void adopt_request(struct piommu_device_ring *ring, struct blob *blob)
{
    uint16_t head = 0;
    uint16_t descriptors = 0;

    blob_16(blob, &head);
    blob_16(blob, &descriptors);
    if (head < ring->config.size && descriptors != 0 && ring->taken[head] == 0 &&
        ring->kind->adopt(ring, descriptors)) {
        ring->taken[head] = descriptors;
    } else {
        blob_refuse(blob);
    }
}

/* Requests that are out. */
static void taken_state(struct piommu_device_ring *ring, struct blob *blob)
{
    uint16_t count = count_taken(ring);

    blob_16(blob, &count);
    for (uint16_t i = 0; blob_is_read(blob) && i < count && !blob->refused; i++) {
        adopt_request(ring, blob);
    }
    for (uint16_t head = 0; !blob_is_read(blob) && head < ring->config.size; head++) {
        if (ring->taken[head] != 0) {
            uint16_t copy_of_head = head;

            blob_16(blob, &copy_of_head);
            blob_16(blob, &ring->taken[head]);
        }
    }
}

static void piece_state(struct piommu_device_ring *ring, struct piommu_device_request *request,
                        struct piece *piece, bool writable, struct blob *blob)
{
    struct piece copied = blob_is_read(blob) ? (struct piece){0} : *piece;

    blob_64(blob, &copied.address);
    blob_32(blob, &copied.size);
    if (blob_is_read(blob) &&
        !piommu_device_ring_add_piece_(ring, request, copied.address, copied.size, writable)) {
        blob_refuse(blob);
    }
}

/* The pieces of the request that was taken last. */
static void pieces_state(struct piommu_device_ring *ring, struct blob *blob)
{
    struct piommu_device_request request = {0};
    uint16_t count = ring->piece_count;
    uint16_t readable = count != 0 ? ring->readable_pieces : 0;

    blob_16(blob, &count);
    blob_16(blob, &readable);
    if (blob_is_read(blob)) {
        ring->piece_count = 0;
        ring->readable_pieces = 0;
    }
    for (uint16_t i = 0; i < count && !blob->refused; i++) {
        piece_state(ring, &request, &ring->pieces[i], i >= readable, blob);
    }
}

void piommu_device_ring_state_(struct piommu_device_ring *ring, struct blob *blob)
{
    blob_flag(blob, &ring->broken);
    ring->kind->state(ring, blob);
    taken_state(ring, blob);
    pieces_state(ring, blob);
}

bool piommu_device_ring_wants_interrupt(struct piommu_device_ring *ring)
{
    return ring->kind != NULL && !ring->broken && ring->kind->wants_interrupt(ring);
}
