/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * When driver and device of the model tell each other of new entries in a ring: by flags, by event
 * indices, or, in packed rings, by event suppression structures. See virtio_iommu_model.h.
 */

#include "virtio_iommu_model.h"
#include "virtio_iommu_model_internal.h"

enum {
    AVAILABLE_NO_INTERRUPT = 1,
    USED_NO_NOTIFY = 1,

    /* The flags of event suppression structures: those of packed rings. */
    EVENT_ALWAYS = 0,
    EVENT_NEVER = 1,
    EVENT_AT_DESCRIPTOR = 2,
    EVENT_OFFSET_MASK = 0x7fff,
};

static bool has_event_index(const struct viommu_model *model)
{
    return viommu_model_accepted(model, VIOMMU_MODEL_F_EVENT_IDX);
}

/* Whether an index has passed the event: the event is one of those from `old` to before `now`. */
static bool passes(uint16_t event, uint16_t old, uint16_t now)
{
    return (uint16_t)(event - old) < (uint16_t)(now - old);
}

static void write_word(struct viommu_model *model, uint64_t physical, uint16_t value)
{
    uint8_t bytes[2];

    viommu_model_put16(bytes, value);
    (void)viommu_model_write_memory(model, physical, bytes, sizeof bytes);
}

/* Whether a side of a packed ring wants to hear of the places from `first` to before `end`. */
static bool wants_event(const struct viommu_model *model, const struct model_queue *queue,
                        uint16_t event, uint16_t flags, uint64_t first, uint64_t end)
{
    if (flags == EVENT_AT_DESCRIPTOR && has_event_index(model)) {
        return viommu_model_packed_event_is_in(queue, event, first, end);
    }
    return flags != EVENT_NEVER;
}

/* ---- doorbells ------------------------------------------------------------------------------- */

bool viommu_model_wants_doorbell(const struct viommu_model *model, const struct model_queue *queue,
                                 const struct model_available *available)
{
    if (viommu_model_is_packed(model)) {
        return available->place != queue->announced_place &&
               wants_event(model, queue, queue->avail_event, queue->used_flags,
                           queue->announced_place, available->place);
    }
    if (has_event_index(model)) {
        return passes(queue->avail_event, queue->announced, available->index);
    }
    return available->index != queue->announced && (queue->used_flags & USED_NO_NOTIFY) == 0;
}

/* An event for what is behind the next lap cannot be told from one for what is in it. */
static void ask_by_structure(struct viommu_model *model, struct model_queue *queue,
                             const struct model_notification *wish)
{
    uint64_t place = queue->announced_place;
    uint16_t flags = has_event_index(model) ? EVENT_AT_DESCRIPTOR : EVENT_ALWAYS;
    uint16_t event = 0;

    if (wish->mode == VIOMMU_MODEL_NOTIFY_NEVER &&
        !viommu_model_misbehaves(model, VIOMMU_MODEL_AVAIL_EVENT)) {
        flags = EVENT_NEVER;
    }
    if (wish->mode == VIOMMU_MODEL_NOTIFY_AFTER && wish->count > 0) {
        place += wish->count < queue->size ? wish->count - 1U : queue->size - 1U;
    }
    if (flags == EVENT_AT_DESCRIPTOR) {
        event = viommu_model_packed_event_at(queue, place);
        event = (uint16_t)viommu_model_lie_or(model, VIOMMU_MODEL_AVAIL_EVENT, event);
    }
    flags = (uint16_t)viommu_model_lie_or(model, VIOMMU_MODEL_USED_FLAGS, flags);
    if (event != queue->avail_event || flags != queue->used_flags) {
        queue->avail_event = event;
        queue->used_flags = flags;
        write_word(model, queue->device, event);
        write_word(model, queue->device + 2, flags);
    }
}

static void ask_by_index(struct viommu_model *model, struct model_queue *queue,
                         const struct model_notification *wish)
{
    uint16_t event = queue->announced;

    if (wish->mode == VIOMMU_MODEL_NOTIFY_NEVER) {
        event--; /* the last one that the index reaches */
    } else if (wish->mode == VIOMMU_MODEL_NOTIFY_AFTER) {
        event = (uint16_t)(event + wish->count - 1);
    }
    event = (uint16_t)viommu_model_lie_or(model, VIOMMU_MODEL_AVAIL_EVENT, event);
    queue->avail_event = event;
    write_word(model, queue->device + 4 + UINT64_C(8) * queue->size, event);
}

static void ask_by_flag(struct viommu_model *model, struct model_queue *queue,
                        const struct model_notification *wish)
{
    uint16_t flags = wish->mode == VIOMMU_MODEL_NOTIFY_NEVER ? USED_NO_NOTIFY : 0;

    flags = (uint16_t)viommu_model_lie_or(model, VIOMMU_MODEL_USED_FLAGS, flags);
    if (flags != queue->used_flags) {
        queue->used_flags = flags;
        write_word(model, queue->device, flags);
    }
}

void viommu_model_ask_for_doorbells(struct viommu_model *model, unsigned int number)
{
    struct model_queue *queue = &model->queues[number];
    const struct model_notification *wish = &model->notifications[number];

    if (viommu_model_is_packed(model)) {
        ask_by_structure(model, queue, wish);
    } else if (has_event_index(model)) {
        ask_by_index(model, queue, wish);
    } else {
        ask_by_flag(model, queue, wish);
    }
}

void viommu_model_count_missing_doorbell(struct viommu_model *model, unsigned int number,
                                         const struct model_available *available)
{
    struct model_queue *queue = &model->queues[number];

    if (!viommu_model_wants_doorbell(model, queue, available) ||
        (queue->missed && queue->missed_at == available->index)) {
        return;
    }
    queue->missed = true;
    queue->missed_at = available->index;
    model->counters.missing_doorbells[number]++;
}

/* ---- interrupts ------------------------------------------------------------------------------ */

static bool structure_is_fine(const struct viommu_model *model, const struct model_queue *queue,
                              uint16_t event, uint16_t flags)
{
    if (flags == EVENT_AT_DESCRIPTOR) {
        return has_event_index(model) && (event & EVENT_OFFSET_MASK) < queue->size;
    }
    return flags == EVENT_ALWAYS || flags == EVENT_NEVER;
}

bool viommu_model_check_interrupt_wish(struct viommu_model *model, unsigned int number)
{
    const struct model_queue *queue = &model->queues[number];
    uint16_t first;
    uint16_t second;

    if (!viommu_model_read_word(model, queue->driver, &first) ||
        !viommu_model_read_word(model, queue->driver + 2, &second)) {
        return false;
    }
    if (viommu_model_is_packed(model)) {
        if (!structure_is_fine(model, queue, first, second)) {
            viommu_model_violate(model, "queue %u: event suppression flags 0x%x, offset 0x%x",
                                 number, second, first);
        }
    } else if ((first & ~(has_event_index(model) ? 0U : AVAILABLE_NO_INTERRUPT)) != 0) {
        viommu_model_violate(model, "queue %u: available ring flags 0x%x", number, first);
    }
    return true;
}

static bool wants_interrupt(struct viommu_model *model, const struct model_queue *queue)
{
    uint16_t word = 0;

    if (viommu_model_is_packed(model)) {
        uint16_t flags = 0;

        (void)viommu_model_read_word(model, queue->driver, &word);
        (void)viommu_model_read_word(model, queue->driver + 2, &flags);
        return wants_event(model, queue, word, flags, queue->published_place, queue->used_place);
    }
    if (has_event_index(model)) {
        (void)viommu_model_read_word(model, queue->driver + 4 + UINT64_C(2) * queue->size, &word);
        return passes(word, queue->published, queue->used);
    }
    (void)viommu_model_read_word(model, queue->driver, &word);
    return (word & AVAILABLE_NO_INTERRUPT) == 0;
}

void viommu_model_publish_used(struct viommu_model *model, struct model_queue *queue)
{
    bool wanted;

    if (viommu_model_is_packed(model)) {
        viommu_model_packed_publish(model, queue);
    } else {
        write_word(model, queue->device + 2, queue->used);
    }
    wanted = wants_interrupt(model, queue);
    queue->published = queue->used;
    queue->published_place = queue->used_place;
    if (wanted) {
        viommu_model_raise_interrupt(model, (unsigned int)(queue - model->queues));
    } else {
        model->counters.interrupts_spared++;
    }
}

void viommu_model_raise_for_nothing(struct viommu_model *model)
{
    viommu_model_raise_interrupt(model, VIOMMU_MODEL_REQUEST_QUEUE);
}
