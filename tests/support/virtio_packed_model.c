/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* What the model's packed rings have and its split rings have not. See virtio_iommu_model.h. */

#include "virtio_iommu_model.h"
#include "virtio_iommu_model_internal.h"

enum {
    DESCRIPTOR_SIZE = 16,
    DESCRIPTOR_LENGTH = 8,
    DESCRIPTOR_ID = 12,
    DESCRIPTOR_FLAGS = 14,

    FLAG_NEXT = 1,
    FLAG_WRITE = 2,

    EVENT_WRAP = 0x8000,
};

bool viommu_model_is_packed(const struct viommu_model *model)
{
    return viommu_model_accepted(model, VIOMMU_MODEL_F_RING_PACKED);
}

/* ---- places ---------------------------------------------------------------------------------- */

uint16_t viommu_model_packed_slot(const struct model_queue *queue, uint64_t place)
{
    return (uint16_t)(place % queue->size);
}

/* The wrap counter of who comes to a place: set at first, and turned over with each lap. */
static bool wrap_at(const struct model_queue *queue, uint64_t place)
{
    return place / queue->size % 2 == 0;
}

static uint64_t address_of(const struct model_queue *queue, uint64_t place)
{
    return queue->descriptors + (uint64_t)DESCRIPTOR_SIZE * viommu_model_packed_slot(queue, place);
}

bool viommu_model_packed_is_available(const struct model_queue *queue, uint64_t place,
                                      uint16_t flags)
{
    bool wrap = wrap_at(queue, place);

    return ((flags & MODEL_PACKED_AVAILABLE) != 0) == wrap &&
           ((flags & MODEL_PACKED_USED) != 0) != wrap;
}

static uint16_t flags_of_used(const struct viommu_model *model, const struct model_queue *queue,
                              uint64_t place, bool written)
{
    uint16_t flags = wrap_at(queue, place) ? MODEL_PACKED_AVAILABLE | MODEL_PACKED_USED : 0;

    return written && !model->parameters.write_is_unsaid ? flags | FLAG_WRITE : flags;
}

uint16_t viommu_model_packed_event_at(const struct model_queue *queue, uint64_t place)
{
    uint16_t slot = viommu_model_packed_slot(queue, place);

    return wrap_at(queue, place) ? slot | EVENT_WRAP : slot;
}

bool viommu_model_packed_event_is_in(const struct model_queue *queue, uint16_t event,
                                     uint64_t first, uint64_t end)
{
    for (uint64_t place = first; place < end; place++) {
        if (viommu_model_packed_event_at(queue, place) == event) {
            return true;
        }
    }
    return false;
}

/* ---- what is available ----------------------------------------------------------------------- */

/* Goes from chain to chain, up to the first that is not available or that cannot be there. */
bool viommu_model_packed_read_available(struct viommu_model *model, const struct model_queue *queue,
                                        struct model_available *available)
{
    bool inside = false;

    *available =
        (struct model_available){.index = queue->announced, .place = queue->announced_place};
    while (available->place <= queue->used_place + queue->size) {
        uint64_t place = available->place;
        uint16_t flags;

        if (!viommu_model_read_word(model, address_of(queue, place) + DESCRIPTOR_FLAGS, &flags)) {
            return false;
        }
        if (!inside && !viommu_model_packed_is_available(queue, place, flags)) {
            break;
        }
        inside = (flags & FLAG_NEXT) != 0;
        available->place++;
        if (!inside) {
            available->index++;
        }
    }
    return true;
}

void viommu_model_packed_check_wrap(struct viommu_model *model, unsigned int number)
{
    const struct model_queue *queue = &model->queues[number];
    uint64_t place = queue->announced_place;
    uint16_t slot = viommu_model_packed_slot(queue, place);
    uint16_t flags;

    if (viommu_model_read_word(model, address_of(queue, place) + DESCRIPTOR_FLAGS, &flags) &&
        flags != queue->known_flags[slot]) {
        viommu_model_violate(model, "queue %u: a doorbell for descriptor %u with flags 0x%x: %s",
                             number, slot, flags, "it is not available");
    }
}

/* ---- what is used ---------------------------------------------------------------------------- */

/* What chains in flight had in these places is theirs no more, but the driver's, or overwritten. */
static void give_up(struct model_queue *queue, uint64_t place, uint64_t descriptors)
{
    uint64_t first = viommu_model_packed_slot(queue, place);

    for (struct model_pending *pending = queue->first; pending != NULL; pending = pending->next) {
        struct model_chain *chain = &pending->chain;

        for (size_t i = 0; i < chain->count; i++) {
            if ((chain->slots[i] + queue->size - first) % queue->size < descriptors) {
                chain->given_up[i] = true;
            }
        }
    }
}

static void write_flags(struct viommu_model *model, struct model_queue *queue, uint64_t place,
                        uint16_t flags)
{
    uint8_t bytes[2];

    viommu_model_put16(bytes, flags);
    (void)viommu_model_write_memory(model, address_of(queue, place) + DESCRIPTOR_FLAGS, bytes,
                                    sizeof bytes);
}

/* The driver stops at the first that is not flagged: so its flags hide all that is behind it. */
void viommu_model_packed_write_used(struct viommu_model *model, struct model_queue *queue,
                                    uint16_t id, uint32_t length, size_t descriptors)
{
    uint64_t place = queue->used_place;
    uint16_t flags = flags_of_used(model, queue, place, length != 0);
    uint8_t bytes[DESCRIPTOR_FLAGS - DESCRIPTOR_LENGTH];

    viommu_model_put32(bytes, length);
    viommu_model_put16(bytes + (DESCRIPTOR_ID - DESCRIPTOR_LENGTH), id);
    (void)viommu_model_write_memory(model, address_of(queue, place) + DESCRIPTOR_LENGTH, bytes,
                                    sizeof bytes);
    if (queue->used == queue->published) {
        queue->withheld_flags = flags;
    } else {
        write_flags(model, queue, place, flags);
    }
    queue->known_flags[viommu_model_packed_slot(queue, place)] = flags;
    give_up(queue, place, descriptors > 0 ? descriptors : 1);
    queue->used_place += descriptors;
    queue->used++;
}

/*
 * Not so far that what the driver has to look at first would be hit. Where the driver's own
 * descriptor is, its length is said to have been written.
 */
void viommu_model_packed_jump(struct viommu_model *model, struct model_queue *queue,
                              uint64_t descriptors)
{
    uint64_t end = queue->published_place + queue->size;

    for (uint64_t place = queue->used_place; descriptors > 0 && place < end;
         place++, descriptors--) {
        uint16_t flags = flags_of_used(model, queue, place, true);

        write_flags(model, queue, place, flags);
        queue->known_flags[viommu_model_packed_slot(queue, place)] = flags;
        give_up(queue, place, 1);
    }
}

void viommu_model_packed_publish(struct viommu_model *model, struct model_queue *queue)
{
    if (queue->used != queue->published) {
        write_flags(model, queue, queue->published_place, queue->withheld_flags);
    }
}
