/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_LIB_VIRTIO_SPLIT_LAYOUT_H
#define PIOMMU_LIB_VIRTIO_SPLIT_LAYOUT_H

/*
 * What a split ring looks like in memory, for both ends of it. All is little-endian.
 *
 * Source: VIRTIO 1.2, sections 2.7.5 to 2.7.10.
 */

#include <stddef.h>
#include <stdint.h>

#include "descriptor.h"

#define USED_NO_NOTIFY     1u
#define AVAIL_NO_INTERRUPT 1u

struct ring_descriptor {
    uint64_t address;
    uint32_t length;
    uint16_t flags;
    uint16_t next;
};

struct ring_available {
    uint16_t flags;
    uint16_t index;
    uint16_t ring[]; /* and behind it, for EVENT_IDX: up to where no interrupt is wanted */
};

struct ring_used_entry {
    uint32_t id;
    uint32_t length;
};

struct ring_used {
    uint16_t flags;
    uint16_t index;
    struct ring_used_entry ring[]; /* and behind it, for EVENT_IDX: the same for the doorbell */
};

#define AVAILABLE_INDEX_OFFSET       offsetof(struct ring_available, index)
#define AVAILABLE_ENTRY_OFFSET(slot) (sizeof(struct ring_available) + sizeof(uint16_t) * (slot))
#define AVAILABLE_EVENT_OFFSET(size) AVAILABLE_ENTRY_OFFSET((size_t)(size))
#define AVAILABLE_SIZE(size)         (AVAILABLE_EVENT_OFFSET(size) + sizeof(uint16_t))
#define USED_INDEX_OFFSET            offsetof(struct ring_used, index)
#define USED_ENTRY_SIZE              sizeof(struct ring_used_entry)
#define USED_ENTRY_OFFSET(slot)      (sizeof(struct ring_used) + USED_ENTRY_SIZE * (slot))
#define USED_EVENT_OFFSET(size)      USED_ENTRY_OFFSET((size_t)(size))
#define USED_SIZE(size)              (USED_EVENT_OFFSET(size) + sizeof(uint16_t))

#endif
