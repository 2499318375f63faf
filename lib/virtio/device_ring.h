/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_LIB_VIRTIO_DEVICE_RING_H
#define PIOMMU_LIB_VIRTIO_DEVICE_RING_H

/* The device's end of a ring: what both kinds have in common, and what not. */

#include <piommu/virtio-device.h>

#include "../base/blob.h"
#include "../base/byte_order.h"
#include "../base/host.h"
#include "descriptor.h"
#include "packed_layout.h"

struct piece {
    uint64_t address;
    uint32_t size;
};

struct device_split_ring {
    uint16_t next_avail; /* free-running, as the ones below */
    uint16_t next_used;
    uint16_t signalled; /* up to where interrupts were thought about */
    uint16_t in_flight; /* requests */
};

struct device_packed_ring {
    struct packed_place next_avail;
    struct packed_place next_used;
    uint32_t unsignalled; /* descriptors since interrupts were thought about, two rounds at most */
    uint16_t in_flight;   /* descriptors */
};

struct virtio_device_ring;

struct piommu_device_ring {
    struct piommu_host host;
    struct piommu_guest_memory memory;
    struct piommu_device_ring_config config;
    const struct virtio_device_ring *kind; /* NULL: not started */
    uint16_t max_size;
    uint16_t max_pieces;
    bool broken;
    uint16_t readable_pieces; /* of the request that was taken last */
    uint16_t piece_count;
    struct piece *pieces;
    union {
        struct device_split_ring split;
        struct device_packed_ring packed;
    };
    uint16_t taken[]; /* by head: how many descriptors of the ring a request has that is out */
};

/*
 * What is different for the two kinds. What returns bool says by false that the ring makes no
 * sense, or lies where no memory is.
 */
struct virtio_device_ring {
    /* Whether the ring can be there, and as big as that. */
    bool (*check)(const struct piommu_device_ring_config *config);
    void (*clear)(struct piommu_device_ring *ring);
    /* Whether there is a request; if so, what was written before it became so can be read. */
    bool (*look)(struct piommu_device_ring *ring, bool *found);
    /* Asks the driver to notify of the next request. */
    bool (*ask)(struct piommu_device_ring *ring);
    /* Takes the request that look has found. */
    bool (*take_request)(struct piommu_device_ring *ring, struct piommu_device_request *request);
    bool (*complete)(struct piommu_device_ring *ring, uint16_t head, uint32_t written);
    bool (*wants_interrupt)(struct piommu_device_ring *ring);
    /* Places in the ring. */
    void (*state)(struct piommu_device_ring *ring, struct blob *blob);
    /* Adopts a request that is out, with so many descriptors; false: there cannot be as many. */
    bool (*adopt)(struct piommu_device_ring *ring, uint16_t descriptors);
};

extern const struct virtio_device_ring piommu_device_split_ring_;
extern const struct virtio_device_ring piommu_device_packed_ring_;

/* Whether a part of a ring can lie there. */
static inline bool device_ring_is_place(uint64_t address, uint64_t alignment, uint64_t size)
{
    return (address & (alignment - 1)) == 0 && address <= UINT64_MAX - (size - 1);
}

static inline bool device_ring_read(const struct piommu_device_ring *ring, uint64_t address,
                                    void *buffer, size_t size)
{
    return ring->memory.read(ring->memory.ctx, address, buffer, size);
}

static inline bool device_ring_write(const struct piommu_device_ring *ring, uint64_t address,
                                     const void *buffer, size_t size)
{
    return ring->memory.write(ring->memory.ctx, address, buffer, size);
}

static inline bool device_ring_read_word(const struct piommu_device_ring *ring, uint64_t address,
                                         uint16_t *value)
{
    uint16_t raw;

    if (!device_ring_read(ring, address, &raw, sizeof(raw))) {
        return false;
    }
    *value = piommu_le16(raw);
    return true;
}

static inline bool device_ring_write_word(const struct piommu_device_ring *ring, uint64_t address,
                                          uint16_t value)
{
    uint16_t raw = piommu_le16(value);

    return device_ring_write(ring, address, &raw, sizeof(raw));
}

/* Adds a piece to the request that is being taken; false: it makes no sense with it. */
bool piommu_device_ring_add_piece_(struct piommu_device_ring *ring,
                                   struct piommu_device_request *request, uint64_t address,
                                   uint32_t size, bool writable);

/* The state of a ring that was started: where its ends are, and what is out. */
void piommu_device_ring_state_(struct piommu_device_ring *ring, struct blob *blob);

/* Whether an indirect table can be there. */
bool piommu_device_ring_is_table_(const struct piommu_device_ring *ring, uint64_t address,
                                  uint32_t size);

#endif
