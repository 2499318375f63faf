/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_LIB_VIRTIO_QUEUE_H
#define PIOMMU_LIB_VIRTIO_QUEUE_H

/* The driver's side of a virtqueue: what rings of both kinds have in common, and what not. */

#include "virtio.h"

#include "packed_layout.h"
#include "split_layout.h"

/* What we know of each request by its head, or of each free entry, out of the device's reach. */
struct entry {
    uint32_t writable; /* of a head in flight: bytes that the device may write */
    uint16_t next;     /* free list, or the chain in flight */
    uint16_t count;    /* of a head in flight: descriptors of the ring that it takes; else 0 */
};

struct split_queue {
    volatile struct ring_descriptor *descriptors;
    volatile struct ring_available *available;
    volatile struct ring_used *used;
    volatile uint16_t *used_event;        /* EVENT_IDX, else NULL */
    const volatile uint16_t *avail_event; /* EVENT_IDX, else NULL */
    uint16_t in_flight;                   /* requests */
    uint16_t next_avail;                  /* free-running, as the ones below */
    uint16_t published;                   /* what the device has been shown of it */
    uint16_t next_used;
};

struct packed_queue {
    volatile struct packed_descriptor *descriptors;
    volatile uint32_t
        *driver_event; /* a struct packed_event, which is always accessed as a whole */
    const volatile uint32_t *device_event;
    struct packed_place next_avail;
    struct packed_place first; /* of what was added since the last publish */
    struct packed_place next_used;
    uint16_t first_flags; /* which are kept back until the next publish */
    uint16_t added;       /* descriptors, since the last publish */
    uint16_t shown;       /* descriptors that the device has and may be done with */
};

/* Where the parts of a ring lie in its memory. */
struct layout {
    size_t driver_area;
    size_t device_area;
    size_t tables;
    size_t size;
};

struct virtio_ring;

struct piommu_virtqueue {
    struct piommu_virtio_device *device;
    const struct virtio_ring *ring;
    void *tables; /* INDIRECT_DESC: max_pieces descriptors for each entry, else NULL */
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
    uint16_t free_count; /* descriptors of the ring */
    bool polled;
    bool broken;
    union {
        struct split_queue split;
        struct packed_queue packed;
    };
    struct entry entries[];
};

/* What is different for the two kinds. */
struct virtio_ring {
    size_t (*driver_area_size)(uint16_t size);
    size_t (*device_area_size)(uint16_t size);
    /* Finds the parts of the ring in its memory. */
    void (*set_parts)(struct piommu_virtqueue *queue, const struct layout *layout);
    /* Makes the ring, whose memory is zero, as it is when nothing has happened yet. */
    void (*clear)(struct piommu_virtqueue *queue);
    /* Puts a request that was checked into the free entry `head`, and takes that off the list. */
    void (*add)(struct piommu_virtqueue *queue, uint16_t head,
                const struct piommu_virtio_buffer *buffers, uint16_t count, bool table);
    bool (*publish)(struct piommu_virtqueue *queue);
    int (*take)(struct piommu_virtqueue *queue, uint16_t *head, uint32_t *length);
    bool (*want_interrupt)(struct piommu_virtqueue *queue);
};

extern const struct virtio_ring piommu_split_ring_;
extern const struct virtio_ring piommu_packed_ring_;

static inline const struct virtio_ring *virtqueue_ring_of(const struct piommu_virtqueue *queue)
{
    return PIOMMU_VIRTIO_WITH_PACKED ? queue->ring : &piommu_split_ring_;
}

static inline bool virtqueue_has_event_idx(const struct piommu_virtqueue *queue)
{
    return (queue->features & PIOMMU_VIRTIO_F_EVENT_IDX) != 0;
}

/* The flags of a descriptor for a piece. */
static inline uint32_t virtqueue_flags_of(const struct piommu_virtio_buffer *buffer, bool more)
{
    return (more ? DESCRIPTOR_NEXT : 0u) | (buffer->writable ? DESCRIPTOR_WRITABLE : 0u);
}

#endif
