/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * When driver and device of the model tell each other of new entries in a ring, by flags or by
 * event indices. See virtio_iommu_model.h.
 */

#include "virtio_iommu_model.h"
#include "virtio_iommu_model_internal.h"

enum {
    AVAILABLE_NO_INTERRUPT = 1,
    USED_NO_NOTIFY = 1,
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

/* ---- doorbells ------------------------------------------------------------------------------- */

bool viommu_model_wants_doorbell(const struct viommu_model *model, const struct model_queue *queue,
                                 uint16_t index)
{
    if (has_event_index(model)) {
        return passes(queue->avail_event, queue->announced, index);
    }
    return index != queue->announced && (queue->used_flags & USED_NO_NOTIFY) == 0;
}

void viommu_model_ask_for_doorbells(struct viommu_model *model, unsigned int number)
{
    struct model_queue *queue = &model->queues[number];
    const struct model_notification *wish = &model->notifications[number];
    bool never = wish->mode == VIOMMU_MODEL_NOTIFY_NEVER;

    if (has_event_index(model)) {
        uint16_t event = queue->announced;

        if (never) {
            event--; /* the last one that the index reaches */
        } else if (wish->mode == VIOMMU_MODEL_NOTIFY_AFTER) {
            event = (uint16_t)(event + wish->count - 1);
        }
        event = (uint16_t)viommu_model_lie_or(model, VIOMMU_MODEL_AVAIL_EVENT, event);
        queue->avail_event = event;
        write_word(model, queue->device + 4 + UINT64_C(8) * queue->size, event);
    } else {
        uint16_t flags = (uint16_t)viommu_model_lie_or(model, VIOMMU_MODEL_USED_FLAGS,
                                                       never ? USED_NO_NOTIFY : 0);

        if (flags != queue->used_flags) {
            queue->used_flags = flags;
            write_word(model, queue->device, flags);
        }
    }
}

void viommu_model_count_missing_doorbell(struct viommu_model *model, unsigned int number,
                                         uint16_t index)
{
    struct model_queue *queue = &model->queues[number];

    if (!viommu_model_wants_doorbell(model, queue, index) ||
        (queue->missed && queue->missed_at == index)) {
        return;
    }
    queue->missed = true;
    queue->missed_at = index;
    model->counters.missing_doorbells[number]++;
}

/* ---- interrupts ------------------------------------------------------------------------------ */

bool viommu_model_available_flags_are_fine(const struct viommu_model *model, uint16_t flags)
{
    return (flags & ~(has_event_index(model) ? 0U : AVAILABLE_NO_INTERRUPT)) == 0;
}

static bool wants_interrupt(struct viommu_model *model, const struct model_queue *queue)
{
    uint16_t word = 0;

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

    write_word(model, queue->device + 2, queue->used);
    wanted = wants_interrupt(model, queue);
    queue->published = queue->used;
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
