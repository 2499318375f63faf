/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_LIB_VIRTIO_PACKED_LAYOUT_H
#define PIOMMU_LIB_VIRTIO_PACKED_LAYOUT_H

/*
 * What a packed ring looks like in memory, and how both ends of it count. All is little-endian.
 *
 * Source: VIRTIO 1.2, sections 2.8.1 to 2.8.14.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "descriptor.h"

#define PACKED_AVAILABLE (1u << 7)
#define PACKED_USED      (1u << 15)
#define PACKED_STATE     (PACKED_AVAILABLE | PACKED_USED)

#define EVENT_FLAGS      3u
#define EVENT_DISABLE    1u
#define EVENT_DESCRIPTOR 2u
#define EVENT_SLOT       0x7fffu
#define EVENT_WRAP       0x8000u

struct packed_descriptor {
    uint64_t address;
    uint32_t length;
    uint16_t id;
    uint16_t flags;
};

/* What a side says of the notifications that it wants. */
struct packed_event {
    uint16_t place; /* the slot, and the wrap counter above it */
    uint16_t flags;
};

/* A slot of the ring, and the wrap counter of who is there. */
struct packed_place {
    uint16_t slot;
    bool wrap;
};

static inline struct packed_place packed_start(void)
{
    return (struct packed_place){.slot = 0, .wrap = true};
}

/* Goes on by at most the size of the ring. */
static inline void packed_advance(struct packed_place *place, uint16_t count, uint16_t size)
{
    uint32_t slot = (uint32_t)place->slot + count;

    if (slot >= size) {
        slot -= size;
        place->wrap = !place->wrap;
    }
    place->slot = (uint16_t)slot;
}

/* The state of a descriptor that was made available in this round. */
static inline uint16_t packed_available(struct packed_place place)
{
    return place.wrap ? PACKED_AVAILABLE : PACKED_USED;
}

/* The state of one that was used in this round. */
static inline uint16_t packed_used(struct packed_place place)
{
    return place.wrap ? PACKED_STATE : 0;
}

/* A place, as an event names it. */
static inline uint16_t packed_event_place(struct packed_place place)
{
    return (uint16_t)(place.slot | (place.wrap ? EVENT_WRAP : 0u));
}

/*
 * Whether a side that wants what `event` says is to be notified, now that the other one has gone
 * `step` slots to `now`. The event may be any nonsense: then it is, which does no harm.
 */
static inline bool packed_wants(struct packed_event event, bool event_idx, struct packed_place now,
                                uint32_t step, uint16_t size)
{
    uint32_t slot = event.place & EVENT_SLOT;
    uint32_t here = now.slot + (now.wrap ? 0u : size);

    if ((event.flags & EVENT_FLAGS) != EVENT_DESCRIPTOR || !event_idx || slot >= size) {
        return (event.flags & EVENT_FLAGS) != EVENT_DISABLE;
    }
    /* Places come again after two rounds. */
    slot += (event.place & EVENT_WRAP) != 0 ? 0u : size;
    return (here > slot ? here : here + 2u * size) - slot <= step;
}

#endif
