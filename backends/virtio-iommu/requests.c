/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Sending requests and waiting for the answers.
 *
 * Each request has a slot of device-visible memory, taken beforehand. Several callers have requests
 * in flight at once: each fills slots under the lock; then, without it, rings the doorbell and
 * waits until its own are answered. Whoever looks at the queue takes in all answers, also those of
 * others.
 *
 * A request that the device does not answer in time keeps its slot until the device was reset,
 * because the device may still write to it.
 */

#include "unit.h"

/* In a wait the queue is looked at so often before the device is asked how it is: that may trap. */
#define LOOKS_PER_STATUS 64u

/* PROBE has a large answer, for which there is one buffer; all others answer within their slot. */
static void set_answer(struct virtio_iommu *unit, uint32_t number, uint8_t type,
                       struct piommu_virtio_buffer *answer)
{
    struct slot *slot = &unit->slots[number];

    answer->writable = true;
    slot->type = type;
    if (type == TYPE_PROBE) {
        memset(unit->probe_memory, 0, unit->facts.probe_size);
        answer->physical = unit->probe_physical;
        answer->size = unit->facts.probe_size + TAIL_SIZE;
        slot->tail = unit->probe_memory + unit->facts.probe_size;
        slot->tail_offset = unit->facts.probe_size;
        *slot->tail = STATUS_POISON;
        piommu_virtio_to_device(unit->device, unit->probe_memory, answer->size);
    } else {
        answer->physical = unit->slot_physical + number * SLOT_SIZE + SLOT_TAIL;
        answer->size = TAIL_SIZE;
        slot->tail = unit->slot_memory + number * SLOT_SIZE + SLOT_TAIL;
        slot->tail_offset = 0;
        *slot->tail = STATUS_POISON;
    }
}

/* Writes a request into the free slot `number`, with its buffers. */
static APART_IF_SHALLOW void write_slot(struct virtio_iommu *unit, uint16_t number,
                                        const struct request *request,
                                        struct piommu_virtio_buffer *buffers)
{
    uint8_t *memory = unit->slot_memory + (size_t)number * SLOT_SIZE;

    memcpy(memory, request->bytes, sizeof(request->bytes));
    if (request->size > sizeof(request->bytes)) {
        memset(memory + sizeof(request->bytes), 0, request->size - sizeof(request->bytes));
    }
    buffers[0].physical = unit->slot_physical + (uint64_t)number * SLOT_SIZE;
    buffers[0].size = request->size;
    buffers[0].writable = false;
    set_answer(unit, number, request->bytes[AT_TYPE], &buffers[1]);
    piommu_virtio_to_device(unit->device, memory, SLOT_SIZE);
}

/* Puts one request into the queue; NULL if there is no room. The lock is held. */
static struct slot *put(struct virtio_iommu *unit, const struct request *request)
{
    struct piommu_virtio_buffer buffers[REQUEST_PIECES];
    uint16_t number = unit->free_slot;
    uint16_t head;

    if (number == NO_SLOT) {
        return NULL;
    }
    write_slot(unit, number, request, buffers);
    if (piommu_virtqueue_add(unit->requests, buffers, REQUEST_PIECES, &head) != 0) {
        return NULL;
    }
    unit->free_slot = unit->slots[number].next;
    unit->slot_of_head[head] = number;
    return &unit->slots[number];
}

/*
 * The status is read once; it means nothing unless the device says that it has written it. Statuses
 * that a caller can make something of have errors of their own where they make sense; the others
 * are refusals.
 */
static int answer_of(const struct virtio_iommu *unit, const struct slot *slot, uint32_t length)
{
    if (length <= slot->tail_offset) {
        return -PIOMMU_EIO;
    }
    piommu_virtio_from_device(unit->device, slot->tail, TAIL_SIZE);
    switch (*(volatile const uint8_t *)slot->tail) {
    case STATUS_OK:
        return 0;
    case STATUS_UNSUPP:
        return slot->type == TYPE_ATTACH ? -PIOMMU_EOPNOTSUPP : -PIOMMU_EIO;
    case STATUS_NOENT:
        return slot->type == TYPE_MAP || slot->type == TYPE_UNMAP ? -PIOMMU_EIO : -PIOMMU_ENOENT;
    case STATUS_INVAL:
        /* An endpoint that is not where it was to be taken from may be answered like this. */
        return slot->type == TYPE_DETACH ? -PIOMMU_ENOENT : -PIOMMU_EIO;
    case STATUS_NOMEM:
        return -PIOMMU_ENOMEM;
    default:
        return -PIOMMU_EIO;
    }
}

/* One request of what was posted is answered. The lock is held. */
static void answer_post(struct virtio_iommu *unit, struct slot *slot, int error)
{
    struct piommu_completion *completion = slot->completion;

    slot->completion = NULL;
    unit->posted--;
    if (completion->answer == 0) {
        completion->answer = error;
    }
    if (--completion->unanswered == 0) {
        completions_append(&unit->answered, completion);
    }
}

/* Takes in all answers that are there. The lock is held. */
static void take_answers(struct virtio_iommu *unit)
{
    uint16_t head;
    uint32_t length;
    int taken;

    while ((taken = piommu_virtqueue_take(unit->requests, &head, &length)) > 0) {
        uint16_t number = unit->slot_of_head[head];
        struct slot *slot = &unit->slots[number];
        int error = answer_of(unit, slot, length);

        if (slot->batch != NULL) {
            slot->batch->pending--;
            if (slot->batch->error == 0) {
                slot->batch->error = error;
            }
        } else if (PIOMMU_CORE_WITH_POSTS && slot->completion != NULL) {
            answer_post(unit, slot, error);
        }
        slot->batch = NULL;
        slot->next = unit->free_slot;
        unit->free_slot = number;
    }
    if (taken < 0) {
        atomic_store_explicit(&unit->dead, 1, memory_order_release);
    }
}

void piommu_virtio_iommu_forget_requests_(struct virtio_iommu *unit)
{
    unit->free_slot = 0;
    unit->posted = 0;
    for (uint16_t i = 0; i < unit->slot_count; i++) {
        unit->slots[i].batch = NULL;
        unit->slots[i].completion = NULL;
        unit->slots[i].next = i + 1u < unit->slot_count ? (uint16_t)(i + 1) : NO_SLOT;
    }
}

/*
 * If something was posted whose answers nobody waits for, a host that wants interrupts gets one for
 * the next of them. To be done after a look at the queue, or before something is added to it. The
 * lock is held.
 */
static ALWAYS_INLINE void watch_posts(struct virtio_iommu *unit)
{
    /* What the device says it has answered, and then has not, must not keep us here. */
    unsigned int most = PIOMMU_CORE_WITH_POSTS && unit->place.wait_sleeps ? MAX_REQUESTS : 0;

    for (unsigned int looks = 0; unit->posted != 0 && looks < most; looks++) {
        if (!piommu_virtqueue_want_interrupt(unit->requests)) {
            return;
        }
        take_answers(unit);
    }
}

/* Nobody will wait for the batch any more; its slots stay in use. The lock is held. */
static void give_up(struct virtio_iommu *unit, const struct batch *batch)
{
    for (uint32_t i = 0; i < unit->slot_count; i++) {
        if (unit->slots[i].batch == batch) {
            unit->slots[i].batch = NULL;
        }
    }
    atomic_store_explicit(&unit->dead, 1, memory_order_release);
}

/*
 * A moment of a wait; false: the deadline has passed. `answered`: there is something to look at
 * already, which may be the device's lie, so the deadline counts all the same.
 */
static bool pause_until(struct virtio_iommu *unit, uint64_t deadline, bool answered)
{
    if (answered) {
        return unit->host.os->now(unit->host.ctx) < deadline;
    }
    return unit->place.wait_sleeps ? piommu_host_wait_(unit->host, deadline)
                                   : piommu_host_poll_(unit->host, deadline);
}

/*
 * Waits until every request of a batch is answered, or (if `room`) until a slot is free. After a
 * failure the device is dead and the batch is forgotten.
 */
static int wait_for_answers(struct virtio_iommu *unit, struct batch *batch, bool room)
{
    uint64_t deadline = piommu_host_deadline_(unit->host, unit->config.timeout);
    bool in_time = true;

    for (unsigned int looks = 1;; looks++) {
        unsigned long state = piommu_host_lock(unit->host, unit->lock);
        bool answered = false;
        bool done;

        take_answers(unit);
        done = room ? unit->free_slot != NO_SLOT : batch->pending == 0;
        if (!done && (!in_time || unit_dead(unit))) {
            give_up(unit, batch);
            piommu_host_unlock(unit->host, unit->lock, state);
            return in_time ? -PIOMMU_EFAILED : -PIOMMU_ETIMEDOUT;
        }
        if (done) {
            watch_posts(unit);
        } else if (unit->place.wait_sleeps) {
            answered = piommu_virtqueue_want_interrupt(unit->requests);
        }
        piommu_host_unlock(unit->host, unit->lock, state);
        if (done) {
            return 0;
        }
        if (looks % LOOKS_PER_STATUS == 0 && piommu_virtio_iommu_is_broken_(unit)) {
            atomic_store_explicit(&unit->dead, 1, memory_order_release);
        }
        /* The deadline may pass while we are not running: look at the queue once more after it. */
        in_time = pause_until(unit, deadline, answered);
    }
}

/*
 * Fills the queue from the source as far as there is room, and rings the doorbell. *next holds the
 * request that did not fit; *more tells whether there is one. Returns whether anything was posted.
 */
static bool fill(struct virtio_iommu *unit, piommu_virtio_iommu_make_request_ *make, void *source,
                 struct batch *batch, struct request *next, bool *more)
{
    unsigned long state = piommu_host_lock(unit->host, unit->lock);
    bool posted = false;
    bool ring;

    while (*more) {
        struct slot *slot = put(unit, next);

        if (slot == NULL) {
            break;
        }
        slot->batch = batch;
        batch->pending++;
        *more = make(source, next);
        posted = true;
    }
    ring = piommu_virtqueue_publish(unit->requests);
    piommu_host_unlock(unit->host, unit->lock, state);
    /* Without the lock: a doorbell may take as long as a trap into a hypervisor does. */
    if (ring) {
        piommu_virtqueue_ring(unit->requests);
    }
    return posted;
}

int piommu_virtio_iommu_send_(struct virtio_iommu *unit, piommu_virtio_iommu_make_request_ *make,
                              void *source)
{
    struct batch batch = {.pending = 0, .error = 0};
    struct request next;
    bool more = make(source, &next);

    while (more) {
        bool posted;
        int error;

        if (unit_dead(unit)) {
            return -PIOMMU_EFAILED;
        }
        /* If nothing could be posted, others hold all slots: wait for one of those. */
        posted = fill(unit, make, source, &batch, &next, &more);
        error = wait_for_answers(unit, &batch, !posted);
        if (error != 0) {
            return error;
        }
        if (batch.error != 0) {
            return batch.error;
        }
    }
    return 0;
}

static bool make_one(void *source, struct request *request)
{
    const struct request **one = source;

    if (*one == NULL) {
        return false;
    }
    *request = **one;
    *one = NULL;
    return true;
}

int piommu_virtio_iommu_send_one_(struct virtio_iommu *unit, const struct request *request)
{
    return piommu_virtio_iommu_send_(unit, make_one, &request);
}

/* Puts what was posted into the queue; see piommu_backend::post_map. The lock is held. */
static int put_all(struct virtio_iommu *unit, piommu_virtio_iommu_make_request_ *make, void *source,
                   struct piommu_completion *completion)
{
    struct request *request = &unit->post;

    if (unit->free_slot == NO_SLOT && !unit_dead(unit)) {
        take_answers(unit);
    }
    if (unit_dead(unit)) {
        return -PIOMMU_EFAILED;
    }
    if (unit->free_slot == NO_SLOT) {
        return -PIOMMU_EAGAIN;
    }
    while (unit->free_slot != NO_SLOT && make(source, request)) {
        struct slot *slot = put(unit, request);

        if (slot == NULL) {
            /* The ring has fewer entries than slots: the device has corrupted it. */
            atomic_store_explicit(&unit->dead, 1, memory_order_release);
            break;
        }
        slot->completion = completion;
        unit->posted++;
        completion->unanswered++;
    }
    if (completion->unanswered == 0 && unit_dead(unit)) {
        return -PIOMMU_EFAILED;
    }
    return (int)completion->unanswered;
}

int piommu_virtio_iommu_post_(struct virtio_iommu *unit, piommu_virtio_iommu_make_request_ *make,
                              void *source, struct piommu_completion *completion)
{
    uint64_t deadline = piommu_host_deadline_(unit->host, unit->config.timeout);
    unsigned long state = piommu_host_lock(unit->host, unit->lock);
    bool ring = false;
    int sent;

    completion->deadline = deadline;
    completion->unanswered = 0;
    completion->answer = 0;
    sent = put_all(unit, make, source, completion);
    if (sent > 0) {
        /* Before the device sees them, so that none of their answers can be missed. */
        watch_posts(unit);
        ring = piommu_virtqueue_publish(unit->requests);
    }
    piommu_host_unlock(unit->host, unit->lock, state);
    if (ring) {
        piommu_virtqueue_ring(unit->requests);
    }
    return sent;
}

/* Whether an answer to what was posted should have been there by now. The lock is held. */
static bool is_overdue(const struct virtio_iommu *unit, uint64_t now)
{
    for (uint32_t i = 0; i < unit->slot_count; i++) {
        const struct piommu_completion *completion = unit->slots[i].completion;

        if (completion != NULL && completion->deadline <= now) {
            return true;
        }
    }
    return false;
}

/* Looks at the queue for what was posted. The lock is held. */
static int look_for_posts(struct virtio_iommu *unit, uint64_t now)
{
    take_answers(unit);
    watch_posts(unit);
    if (unit_dead(unit)) {
        return unit->posted != 0 ? -PIOMMU_EFAILED : 0;
    }
    if (unit->posted != 0 && is_overdue(unit, now)) {
        atomic_store_explicit(&unit->dead, 1, memory_order_release);
        return -PIOMMU_ETIMEDOUT;
    }
    return 0;
}

int piommu_virtio_iommu_poll_(void *handle)
{
    struct virtio_iommu *unit = handle;
    /* The deadline may pass while we are not running: the queue is looked at after this. */
    uint64_t now = unit->host.os->now(unit->host.ctx);
    unsigned long state = piommu_host_lock(unit->host, unit->lock);
    int error = unit->posted != 0 ? look_for_posts(unit, now) : 0;
    struct piommu_completion *answered = completions_take(&unit->answered);

    piommu_host_unlock(unit->host, unit->lock, state);
    while (answered != NULL) {
        struct piommu_completion *next = answered->next;

        piommu_backend_report_answer(unit->instance, answered);
        answered = next;
    }
    return error;
}

void piommu_virtio_iommu_abort_posts_(struct virtio_iommu *unit)
{
    unsigned long state = piommu_host_lock(unit->host, unit->lock);

    for (uint32_t i = 0; i < unit->slot_count; i++) {
        if (unit->slots[i].completion != NULL) {
            answer_post(unit, &unit->slots[i], -PIOMMU_EFAILED);
        }
    }
    piommu_host_unlock(unit->host, unit->lock, state);
}
