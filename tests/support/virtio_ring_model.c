/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* The device's side of the rings. See virtio_iommu_model.h. */

#include "virtio_iommu_model.h"
#include "virtio_iommu_model_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- rings ----------------------------------------------------------------------------------- */

/* Whether the device may touch the memory of a queue at all. */
static bool queue_works(const struct viommu_model *model, const struct model_queue *queue)
{
    return queue->enabled && (model->status & STATUS_DRIVER_OK) != 0 &&
           (model->status & STATUS_NEEDS_RESET) == 0 &&
           !viommu_model_misbehaves(model, VIOMMU_MODEL_GONE) &&
           model->processing != VIOMMU_MODEL_NEVER && viommu_model_is_master(model);
}

/* A mistake after which the ring cannot be trusted any more. */
static void break_queue(struct viommu_model *model, unsigned int number, const char *why)
{
    viommu_model_violate(model, "queue %u: %s", number, why);
    viommu_model_need_reset(model);
}

static void check_event_buffer(struct viommu_model *model, const struct model_chain *chain)
{
    if (chain->readable_count != 0 || chain->writable_count != 1) {
        viommu_model_violate(model, "an event buffer of %zu readable and %zu writable descriptors",
                             chain->readable_count, chain->writable_count);
    }
    if (chain->writable_length < MODEL_EVENT_SIZE) {
        viommu_model_violate(model, "an event buffer of %" PRIu64 " bytes", chain->writable_length);
    }
}

static void free_pending(struct model_pending *pending)
{
    free(pending->chain.table);
    free(pending->answer);
    free(pending);
}

/* Takes what a doorbell has announced. */
static void fetch(struct viommu_model *model, unsigned int number)
{
    struct model_queue *queue = &model->queues[number];
    struct model_pending **end = &queue->first;

    while (*end != NULL) {
        end = &(*end)->next;
    }
    while (queue_works(model, queue) && queue->fetched != queue->announced) {
        struct model_pending *pending = calloc(1, sizeof *pending);
        const char *mistake;

        if (pending == NULL) {
            abort(); /* a test machine without memory proves nothing */
        }
        mistake = viommu_model_fetch_chain(model, queue, &pending->chain);
        if (mistake == NULL && !viommu_model_read_request(model, &pending->chain, pending->request,
                                                          &pending->request_length)) {
            mistake = "a request that is not in memory";
        }
        if (mistake != NULL) {
            free_pending(pending);
            break_queue(model, number, mistake);
            return;
        }
        pending->due = model->ticks + model->delay;
        *end = pending;
        end = &pending->next;
        if (number == VIOMMU_MODEL_EVENT_QUEUE) {
            check_event_buffer(model, &pending->chain);
            continue;
        }
        pending->held = model->hold_in > 0 && --model->hold_in == 0;
        if (model->effect == VIOMMU_MODEL_EFFECT_AT_DOORBELL) {
            viommu_model_perform(model, pending);
        }
    }
}

static void unlink_pending(struct model_queue *queue, struct model_pending *pending)
{
    struct model_pending **link = &queue->first;

    while (*link != pending) {
        link = &(*link)->next;
    }
    *link = pending->next;
}

/*
 * Picks the next chain to give back, by the order that the test has set, out of those that are due
 * by some tick.
 */
static struct model_pending *pick(struct viommu_model *model, struct model_queue *queue,
                                  uint64_t tick)
{
    struct model_pending *picked = NULL;
    uint32_t candidates = 0;

    for (struct model_pending *pending = queue->first; pending != NULL; pending = pending->next) {
        if (pending->stuck || pending->held || pending->due > tick) {
            continue;
        }
        candidates++;
        if (picked == NULL || model->order == VIOMMU_MODEL_REVERSED) {
            picked = pending;
        } else if (model->order == VIOMMU_MODEL_SHUFFLED) {
            model->random ^= model->random << 13;
            model->random ^= model->random >> 17;
            model->random ^= model->random << 5;
            if (model->random % candidates == 0) {
                picked = pending;
            }
        }
    }
    return picked;
}

/* A used entry that in a packed ring gives back so many descriptors. */
static void write_used_entry(struct viommu_model *model, struct model_queue *queue, uint32_t id,
                             uint32_t length, size_t descriptors)
{
    uint8_t bytes[8];
    uint64_t slot = queue->used % queue->size;

    if (viommu_model_is_packed(model)) {
        viommu_model_packed_write_used(model, queue, (uint16_t)(id & 0xffff), length, descriptors);
        return;
    }
    viommu_model_put32(bytes, id);
    viommu_model_put32(bytes + 4, length);
    (void)viommu_model_write_memory(model, queue->device + 4 + 8 * slot, bytes, sizeof bytes);
    queue->used++;
}

static uint32_t id_not_in_flight(const struct model_queue *queue, uint32_t first)
{
    for (uint32_t i = 0; i < queue->size; i++) {
        uint32_t id = (first + i) % queue->size;

        if (!queue->in_flight[id]) {
            return id;
        }
    }
    return queue->size;
}

/* The ids of packed rings have nothing to do with where a chain is. */
static uint32_t id_in_the_middle(const struct viommu_model *model, const struct model_queue *queue,
                                 const struct model_chain *chain)
{
    if (viommu_model_is_packed(model)) {
        return id_not_in_flight(queue, chain->id + 1U);
    }
    return chain->count > 1 ? chain->slots[1] : (chain->id + 1U) % queue->size;
}

static uint32_t used_id(struct viommu_model *model, const struct model_queue *queue,
                        const struct model_chain *chain, bool *lie)
{
    *lie = true;
    if (viommu_model_misbehaves(model, VIOMMU_MODEL_USED_ID_OUT_OF_RANGE)) {
        uint64_t argument = viommu_model_argument_of(model, VIOMMU_MODEL_USED_ID_OUT_OF_RANGE);

        if (viommu_model_strikes(model, VIOMMU_MODEL_USED_ID_OUT_OF_RANGE)) {
            return argument != 0 ? (uint32_t)argument : queue->size;
        }
    }
    if (viommu_model_strikes(model, VIOMMU_MODEL_USED_ID_NOT_IN_FLIGHT)) {
        return id_not_in_flight(queue, 0);
    }
    if (viommu_model_strikes(model, VIOMMU_MODEL_USED_ID_MIDDLE)) {
        return id_in_the_middle(model, queue, chain);
    }
    *lie = false;
    return chain->id;
}

/* Writes the answer, as honestly as the test wants. Returns the used length. */
static uint32_t write_answer(struct viommu_model *model, struct model_pending *pending)
{
    uint64_t value = viommu_model_argument_of(model, VIOMMU_MODEL_STATUS_VALUE);
    uint64_t length = viommu_model_argument_of(model, VIOMMU_MODEL_USED_LENGTH);
    bool untouched = viommu_model_strikes(model, VIOMMU_MODEL_STATUS_UNTOUCHED);
    uint32_t used_length = (uint32_t)pending->answer_length;

    if (viommu_model_strikes(model, VIOMMU_MODEL_ANSWER_EMPTY) || pending->status < 0) {
        model->counters.empty_answers++;
        return 0;
    }
    if (viommu_model_strikes(model, VIOMMU_MODEL_STATUS_VALUE)) {
        pending->answer[pending->status_offset] = (uint8_t)(value & 0xff);
    }
    if (untouched) {
        model->counters.odd_answers++;
    } else {
        uint8_t status = pending->answer[pending->status_offset];

        if (status <= VIOMMU_MODEL_S_NOMEM) {
            model->counters.answers[status]++;
        } else {
            model->counters.odd_answers++;
        }
    }
    if (!viommu_model_write_buffer(model, &pending->chain, 0, pending->answer,
                                   pending->status_offset) ||
        (!untouched &&
         !viommu_model_write_buffer(model, &pending->chain, pending->status_offset,
                                    pending->answer + pending->status_offset,
                                    pending->answer_length - pending->status_offset))) {
        viommu_model_violate(model, "a writable buffer that is not in memory");
    }
    if (viommu_model_strikes(model, VIOMMU_MODEL_USED_LENGTH)) {
        used_length = (uint32_t)(length & UINT32_MAX);
    }
    return used_length;
}

/*
 * Destroys what the driver has written in the available ring, but what is still to be fetched; in a
 * packed ring what is in flight, as the driver cannot know that of anything else.
 */
static void scribble_available(struct viommu_model *model, struct model_queue *queue)
{
    static const uint8_t bytes[2] = {0xff, 0xff};
    uint16_t taken = (uint16_t)(queue->size - (uint16_t)(queue->announced - queue->fetched));

    if (viommu_model_is_packed(model)) {
        for (struct model_pending *chain = queue->first; chain != NULL; chain = chain->next) {
            viommu_model_scribble_slots(model, queue, &chain->chain);
        }
        return;
    }
    for (uint16_t i = 0; i < taken; i++) {
        uint64_t slot = (uint16_t)(queue->announced + i) % queue->size;

        (void)viommu_model_write_memory(model, queue->driver + 4 + 2 * slot, bytes, sizeof bytes);
    }
}

/* Shows more used entries than there are. */
static void jump(struct viommu_model *model, struct model_queue *queue, uint64_t distance)
{
    if (viommu_model_is_packed(model)) {
        viommu_model_packed_jump(model, queue, distance);
    } else {
        queue->used = (uint16_t)((queue->used + distance) & 0xffff);
    }
}

/* Completes one request, or leaves it hanging if that is the misbehaviour. */
static void complete(struct viommu_model *model, struct model_pending *pending)
{
    struct model_queue *queue = &model->queues[VIOMMU_MODEL_REQUEST_QUEUE];
    uint64_t distance = viommu_model_argument_of(model, VIOMMU_MODEL_USED_INDEX_JUMPS);
    uint32_t length;
    uint32_t id;
    bool lie;

    viommu_model_check_untouched(model, queue, pending);
    if (!pending->performed) {
        viommu_model_perform(model, pending);
    }
    if (viommu_model_strikes(model, VIOMMU_MODEL_NOT_COMPLETED)) {
        pending->stuck = true;
        return;
    }
    viommu_model_completed(model, pending);
    length = write_answer(model, pending);
    id = used_id(model, queue, &pending->chain, &lie);
    model->last_id = pending->chain.id;
    model->last_length = length;
    write_used_entry(model, queue, id, length, pending->chain.count);
    if (viommu_model_strikes(model, VIOMMU_MODEL_USED_ID_REPEATED)) {
        write_used_entry(model, queue, id, length, 0);
    }
    if (viommu_model_strikes(model, VIOMMU_MODEL_SCRIBBLE)) {
        viommu_model_scribble(model, queue, &pending->chain);
    }
    if (viommu_model_strikes(model, VIOMMU_MODEL_SCRIBBLE_AVAILABLE)) {
        scribble_available(model, queue);
    }
    if (viommu_model_strikes(model, VIOMMU_MODEL_USED_INDEX_JUMPS)) {
        jump(model, queue, distance);
    }
    if ((uint16_t)(queue->used - queue->published) >= model->batch) {
        viommu_model_publish_used(model, queue);
    }
    if (lie) {
        pending->stuck = true; /* never returned under its own number */
    } else {
        viommu_model_release_chain(model, queue, &pending->chain);
        unlink_pending(queue, pending);
        free_pending(pending);
    }
    if (viommu_model_strikes(model, VIOMMU_MODEL_NEEDS_RESET_AFTER)) {
        viommu_model_publish_used(model, queue);
        viommu_model_need_reset(model);
    }
}

/* Completes what is due by some tick. Tells of it when a batch is full, or all is done. */
static size_t complete_some(struct viommu_model *model, size_t max_requests, uint64_t tick)
{
    struct model_queue *queue = &model->queues[VIOMMU_MODEL_REQUEST_QUEUE];
    size_t done = 0;

    fetch(model, VIOMMU_MODEL_REQUEST_QUEUE);
    while (done < max_requests && queue_works(model, queue)) {
        struct model_pending *pending = pick(model, queue, tick);

        if (pending == NULL) {
            break;
        }
        complete(model, pending);
        done++;
    }
    if (queue->used != queue->published && queue_works(model, queue) &&
        pick(model, queue, UINT64_MAX) == NULL) {
        viommu_model_publish_used(model, queue);
    }
    return done;
}

/* Writes a report into the next event buffer. false: there is none. */
static bool deliver_event(struct viommu_model *model, const uint8_t *bytes, size_t size,
                          uint32_t length)
{
    struct model_queue *queue = &model->queues[VIOMMU_MODEL_EVENT_QUEUE];
    struct model_pending *pending;

    fetch(model, VIOMMU_MODEL_EVENT_QUEUE);
    if (!queue_works(model, queue)) {
        return false;
    }
    pending = pick(model, queue, UINT64_MAX);
    if (pending == NULL) {
        return false;
    }
    viommu_model_check_untouched(model, queue, pending);
    if (!viommu_model_write_buffer(model, &pending->chain, 0, bytes, size)) {
        viommu_model_violate(model, "an event buffer that is not in memory");
    }
    write_used_entry(model, queue, pending->chain.id, length, pending->chain.count);
    viommu_model_publish_used(model, queue);
    model->counters.events_sent++;
    viommu_model_release_chain(model, queue, &pending->chain);
    unlink_pending(queue, pending);
    free_pending(pending);
    return true;
}

static void deliver_held_events(struct viommu_model *model)
{
    while (model->held_count > 0 &&
           deliver_event(model, model->held[0], MODEL_EVENT_SIZE, MODEL_EVENT_SIZE)) {
        model->held_count--;
        memmove(model->held[0], model->held[1], model->held_count * MODEL_EVENT_SIZE);
    }
}

/* Fills all buffers with the report of a storm. */
static void blow(struct viommu_model *model)
{
    while (model->storm_left > 0 &&
           deliver_event(model, model->storm, sizeof model->storm, sizeof model->storm)) {
        model->storm_left--;
    }
}

void viommu_model_start_storm(struct viommu_model *model, const uint8_t *event, uint64_t count)
{
    memcpy(model->storm, event, sizeof model->storm);
    model->storm_left = count;
    blow(model);
}

uint64_t viommu_model_storm_left(const struct viommu_model *model)
{
    return model->storm_left;
}

/* false: it is not in memory. */
static bool read_available(struct viommu_model *model, const struct model_queue *queue,
                           struct model_available *available)
{
    if (viommu_model_is_packed(model)) {
        return viommu_model_packed_read_available(model, queue, available);
    }
    return viommu_model_read_word(model, queue->driver + 2, &available->index);
}

/* Whether there is room in a ring for what a driver says is there. */
static bool has_room(const struct viommu_model *model, const struct model_queue *queue,
                     const struct model_available *available)
{
    if (viommu_model_is_packed(model)) {
        return available->place <= queue->used_place + queue->size;
    }
    return (uint16_t)(available->index - queue->fetched) <= queue->size &&
           (uint16_t)(available->index - queue->fetched) >=
               (uint16_t)(queue->announced - queue->fetched);
}

/* Looks at what is new in the available ring. */
static void announce(struct viommu_model *model, unsigned int number)
{
    struct model_queue *queue = &model->queues[number];
    struct model_available available = {.place = queue->announced_place};

    if (!viommu_model_check_interrupt_wish(model, number) ||
        !read_available(model, queue, &available)) {
        break_queue(model, number, "the available ring is not in memory");
        return;
    }
    if (!has_room(model, queue, &available)) {
        break_queue(model, number, "the available index went back or moved too far");
        return;
    }
    queue->announced = available.index;
    queue->announced_place = available.place;
    queue->missed = false;
    fetch(model, number);
    if (queue_works(model, queue)) {
        viommu_model_ask_for_doorbells(model, number);
    }
    if (number == VIOMMU_MODEL_EVENT_QUEUE) {
        deliver_held_events(model);
        blow(model);
    } else if (model->processing == VIOMMU_MODEL_AT_DOORBELL) {
        (void)complete_some(model, SIZE_MAX, UINT64_MAX);
    }
}

/* Looks at the available ring by itself, as a device does that wants no doorbell. */
static void look(struct viommu_model *model, unsigned int number)
{
    const struct model_queue *queue = &model->queues[number];
    struct model_available available;

    if (!queue_works(model, queue) || !read_available(model, queue, &available) ||
        available.index == queue->announced) {
        return;
    }
    viommu_model_count_missing_doorbell(model, number, &available);
    if (model->notifications[number].mode != VIOMMU_MODEL_NOTIFY_ALWAYS) {
        announce(model, number);
    }
}

static void look_at_all(struct viommu_model *model)
{
    for (unsigned int i = 0; i < MODEL_QUEUES; i++) {
        look(model, i);
    }
}

size_t viommu_model_run(struct viommu_model *model, size_t max_requests)
{
    look_at_all(model);
    return complete_some(model, max_requests, UINT64_MAX);
}

void viommu_model_tick(struct viommu_model *model)
{
    model->ticks++;
    look_at_all(model);
    if (model->processing == VIOMMU_MODEL_AT_TICK) {
        (void)complete_some(model, SIZE_MAX, model->ticks);
    }
}

void viommu_model_release(struct viommu_model *model)
{
    struct model_queue *queue = &model->queues[VIOMMU_MODEL_REQUEST_QUEUE];

    for (struct model_pending *pending = queue->first; pending != NULL; pending = pending->next) {
        pending->held = false;
    }
    if (model->processing == VIOMMU_MODEL_AT_DOORBELL) {
        (void)complete_some(model, SIZE_MAX, UINT64_MAX);
    }
}

bool viommu_model_send_event(struct viommu_model *model, const uint8_t *bytes, size_t size,
                             uint32_t length, bool may_hold)
{
    look(model, VIOMMU_MODEL_EVENT_QUEUE);
    if (model->held_count == 0 && deliver_event(model, bytes, size, length)) {
        return true;
    }
    if (may_hold && model->parameters.hold_events && model->held_count < MODEL_HELD_EVENTS &&
        size == MODEL_EVENT_SIZE) {
        memcpy(model->held[model->held_count++], bytes, size);
    } else {
        model->counters.events_dropped++;
    }
    return false;
}

void viommu_model_inject_used_event(struct viommu_model *model, uint32_t id, uint32_t length)
{
    viommu_model_inject_used(model, VIOMMU_MODEL_EVENT_QUEUE, id, length);
}

void viommu_model_complete_again(struct viommu_model *model)
{
    viommu_model_inject_used(model, VIOMMU_MODEL_REQUEST_QUEUE, model->last_id, model->last_length);
}

/* How many descriptors the driver thinks it gets back with an id. */
static size_t descriptors_of(const struct model_queue *queue, uint32_t id)
{
    for (const struct model_pending *pending = queue->first; pending != NULL;
         pending = pending->next) {
        if (pending->chain.id == id) {
            return pending->chain.count;
        }
    }
    return 0;
}

void viommu_model_inject_used(struct viommu_model *model, unsigned int number, uint32_t id,
                              uint32_t length)
{
    struct model_queue *queue = &model->queues[number];

    if (queue_works(model, queue)) {
        write_used_entry(model, queue, id, length, descriptors_of(queue, id));
        viommu_model_publish_used(model, queue);
    }
}

static size_t queue_length(const struct model_queue *queue, bool with_stuck)
{
    size_t count = 0;

    for (const struct model_pending *pending = queue->first; pending != NULL;
         pending = pending->next) {
        count += with_stuck || !pending->stuck ? 1 : 0;
    }
    return count;
}

size_t viommu_model_pending(const struct viommu_model *model)
{
    const struct model_queue *queue = &model->queues[VIOMMU_MODEL_REQUEST_QUEUE];

    return queue_length(queue, true) + (uint16_t)(queue->announced - queue->fetched);
}

size_t viommu_model_event_buffers(const struct viommu_model *model)
{
    const struct model_queue *queue = &model->queues[VIOMMU_MODEL_EVENT_QUEUE];

    return queue_length(queue, false) + (uint16_t)(queue->announced - queue->fetched);
}

size_t viommu_model_unannounced(struct viommu_model *model, unsigned int number)
{
    const struct model_queue *queue = &model->queues[number];
    struct model_available available;

    if (!queue->enabled || !read_available(model, queue, &available)) {
        return 0;
    }
    return (uint16_t)(available.index - queue->announced);
}

static void check_doorbell(struct viommu_model *model, unsigned int number)
{
    const struct model_queue *queue = &model->queues[number];
    struct model_available available;

    if (!read_available(model, queue, &available)) {
        return;
    }
    if (!viommu_model_wants_doorbell(model, queue, &available)) {
        model->counters.superfluous_doorbells[number]++;
    }
    if (viommu_model_is_packed(model) && available.place == queue->announced_place) {
        viommu_model_packed_check_wrap(model, number);
    }
}

void viommu_model_set_notification(struct viommu_model *model, unsigned int number,
                                   enum viommu_model_notification mode, uint16_t count)
{
    model->notifications[number] = (struct model_notification){.mode = mode, .count = count};
    viommu_model_queue_started(model, number);
}

void viommu_model_queue_started(struct viommu_model *model, unsigned int number)
{
    if (queue_works(model, &model->queues[number])) {
        viommu_model_ask_for_doorbells(model, number);
        look(model, number);
    }
}

void viommu_model_doorbell(struct viommu_model *model, unsigned int number)
{
    model->counters.doorbells[number]++;
    if ((model->status & STATUS_DRIVER_OK) == 0) {
        viommu_model_violate(model, "notification before DRIVER_OK");
        return;
    }
    if (!model->queues[number].enabled) {
        if (!viommu_model_misbehaves(model, VIOMMU_MODEL_QUEUE_READY)) {
            viommu_model_violate(model, "notification of queue %u, which is off", number);
        }
        return;
    }
    if (!viommu_model_is_master(model)) {
        viommu_model_violate(model, "notification while bus master is off");
        return;
    }
    if ((model->status & STATUS_NEEDS_RESET) == 0) {
        check_doorbell(model, number);
        announce(model, number);
    }
}

void viommu_model_reset_queue(struct model_queue *queue)
{
    while (queue->first != NULL) {
        struct model_pending *next = queue->first->next;

        free_pending(queue->first);
        queue->first = next;
    }
    memset(queue, 0, sizeof *queue);
}
