/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The transport half of the model: PCI configuration space, the registers in BAR 4, the device's
 * side of the split rings, and misbehaviour. See virtio_iommu_model.h.
 */

#include "virtio_iommu_model.h"
#include "virtio_iommu_model_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    PCI_COMMAND = 0x04,
    PCI_COMMAND_MEMORY = 2,
    PCI_COMMAND_MASTER = 4,
    PCI_COMMAND_NO_INTX = 0x400,
    PCI_STATUS = 0x06,
    PCI_STATUS_INTERRUPT = 8,
    PCI_STATUS_CAPABILITIES = 16,
    PCI_BARS = 0x10,
    PCI_BAR4 = 0x20,
    PCI_BAR5 = 0x24,
    PCI_BAR_FLAGS = 0xc, /* 64 bits, prefetchable */
    PCI_CAPABILITIES = 0x34,
    PCI_INTERRUPT_LINE = 0x3c,
    PCI_INTERRUPT_PIN = 0x3d,

    /* Where the capabilities lie; the foreign one comes first and has to be stepped over. */
    CAPABILITY_FOREIGN = 0xb0,
    CAPABILITY_COMMON = 0x40,
    CAPABILITY_ISR = 0x50,
    CAPABILITY_DEVICE = 0x60,
    CAPABILITY_NOTIFY = 0x70,
    CAPABILITY_WINDOW = 0x84,
    WINDOW_BAR = CAPABILITY_WINDOW + 4,
    WINDOW_OFFSET = CAPABILITY_WINDOW + 8,
    WINDOW_LENGTH = CAPABILITY_WINDOW + 12,
    WINDOW_DATA = CAPABILITY_WINDOW + 16,

    TYPE_COMMON = 1,
    TYPE_NOTIFY = 2,
    TYPE_ISR = 3,
    TYPE_DEVICE = 4,
    TYPE_WINDOW = 5,

    COMMON_LENGTH = 56, /* as version 1.0 had it: what came later is not implemented */
    NOTIFY_LENGTH = 0x1000,

    COMMON_DEVICE_FEATURE_SELECT = 0,
    COMMON_DEVICE_FEATURE = 4,
    COMMON_DRIVER_FEATURE_SELECT = 8,
    COMMON_DRIVER_FEATURE = 12,
    COMMON_CONFIG_VECTOR = 16,
    COMMON_QUEUE_COUNT = 18,
    COMMON_STATUS = 20,
    COMMON_GENERATION = 21,
    COMMON_QUEUE_SELECT = 22,
    COMMON_QUEUE_SIZE = 24,
    COMMON_QUEUE_VECTOR = 26,
    COMMON_QUEUE_ENABLE = 28,
    COMMON_QUEUE_NOTIFY_OFF = 30,
    COMMON_QUEUE_DESCRIPTORS = 32,
    COMMON_QUEUE_DRIVER = 40,
    COMMON_QUEUE_DEVICE = 48,

    NO_VECTOR = 0xffff,

    ISR_QUEUE = 1,
    ISR_CONFIG = 2,

    DESCRIPTOR_SIZE = 16,
    DESCRIPTOR_NEXT = 1,
    DESCRIPTOR_WRITE = 2,

    AVAILABLE_NO_INTERRUPT = 1,
};

/* What the model implements. Other bits may be offered, to see that a driver leaves them alone. */
static const uint64_t implemented_features =
    VIOMMU_MODEL_F_INPUT_RANGE | VIOMMU_MODEL_F_DOMAIN_RANGE | VIOMMU_MODEL_F_MAP_UNMAP |
    VIOMMU_MODEL_F_BYPASS | VIOMMU_MODEL_F_PROBE | VIOMMU_MODEL_F_MMIO |
    VIOMMU_MODEL_F_BYPASS_CONFIG | VIOMMU_MODEL_F_VERSION_1 | VIOMMU_MODEL_F_ACCESS_PLATFORM |
    VIOMMU_MODEL_F_ORDER_PLATFORM;

static uint32_t all_ones(unsigned int width)
{
    return width >= 4 ? UINT32_MAX : (UINT32_C(1) << (8 * width)) - 1;
}

static bool misbehaves(const struct viommu_model *model, enum viommu_model_misbehaviour what)
{
    return model->misbehaviours[what].on;
}

static uint64_t argument_of(const struct viommu_model *model, enum viommu_model_misbehaviour what)
{
    return model->misbehaviours[what].argument;
}

bool viommu_model_strikes(struct viommu_model *model, enum viommu_model_misbehaviour what)
{
    struct model_misbehaviour *misbehaviour = &model->misbehaviours[what];

    if (!misbehaviour->on || misbehaviour->nth == 0) {
        return misbehaviour->on;
    }
    if (--misbehaviour->nth > 0) {
        return false;
    }
    misbehaviour->on = false;
    return true;
}

/* ---- interrupts ------------------------------------------------------------------------------ */

static void raise_interrupt(struct viommu_model *model, uint8_t cause)
{
    if (misbehaves(model, VIOMMU_MODEL_NO_INTERRUPTS)) {
        return;
    }
    if (model->isr == 0) {
        model->counters.interrupts++;
    }
    model->isr |= cause;
}

bool viommu_model_interrupt_pending(const struct viommu_model *model)
{
    return model->isr != 0 &&
           (viommu_model_get16(model->config + PCI_COMMAND) & PCI_COMMAND_NO_INTX) == 0 &&
           !misbehaves(model, VIOMMU_MODEL_GONE);
}

static void need_reset(struct viommu_model *model)
{
    model->status |= STATUS_NEEDS_RESET;
    if ((model->status & STATUS_DRIVER_OK) != 0) {
        raise_interrupt(model, ISR_CONFIG);
    }
}

/* ---- rings ----------------------------------------------------------------------------------- */

/* Whether the device may touch the memory of a queue at all. */
static bool queue_works(const struct viommu_model *model, const struct model_queue *queue)
{
    return queue->enabled && (model->status & STATUS_DRIVER_OK) != 0 &&
           (model->status & STATUS_NEEDS_RESET) == 0 && !misbehaves(model, VIOMMU_MODEL_GONE) &&
           model->processing != VIOMMU_MODEL_NEVER &&
           (viommu_model_get16(model->config + PCI_COMMAND) & PCI_COMMAND_MASTER) != 0;
}

static bool read_memory(struct viommu_model *model, uint64_t physical, void *buffer, size_t size)
{
    return model->memory.read(model->memory.ctx, physical, buffer, size);
}

static bool write_memory(struct viommu_model *model, uint64_t physical, const void *buffer,
                         size_t size)
{
    return model->memory.write(model->memory.ctx, physical, buffer, size);
}

static bool read_word(struct viommu_model *model, uint64_t physical, uint16_t *value)
{
    uint8_t bytes[2];

    if (!read_memory(model, physical, bytes, sizeof bytes)) {
        return false;
    }
    *value = viommu_model_get16(bytes);
    return true;
}

/* A mistake after which the ring cannot be trusted any more. */
static void break_queue(struct viommu_model *model, unsigned int number, const char *why)
{
    viommu_model_violate(model, "queue %u: %s", number, why);
    need_reset(model);
}

/* Looks at one descriptor. NULL, or what is wrong with it. */
static const char *add_descriptor(struct viommu_model *model, struct model_queue *queue,
                                  struct model_chain *chain, uint16_t id)
{
    uint8_t *bytes = chain->descriptors[chain->count];
    struct model_segment segment;
    uint16_t flags;

    if (!read_memory(model, queue->descriptors + (uint64_t)id * DESCRIPTOR_SIZE, bytes,
                     DESCRIPTOR_SIZE)) {
        return "the descriptor table is not in memory";
    }
    queue->in_flight[id] = true;
    chain->ids[chain->count++] = id;
    segment.address = viommu_model_get64(bytes);
    segment.length = viommu_model_get32(bytes + 8);
    flags = viommu_model_get16(bytes + 12);
    if ((flags & ~(DESCRIPTOR_NEXT | DESCRIPTOR_WRITE)) != 0) {
        return "descriptor flags that were not negotiated";
    }
    if (segment.length == 0) {
        return "a descriptor of length 0";
    }
    if ((flags & DESCRIPTOR_WRITE) != 0) {
        chain->writable[chain->writable_count++] = segment;
        chain->writable_length += segment.length;
    } else if (chain->writable_count > 0) {
        return "a readable descriptor behind a writable one";
    } else {
        chain->readable[chain->readable_count++] = segment;
        chain->readable_length += segment.length;
    }
    return NULL;
}

static const char *fetch_chain(struct viommu_model *model, struct model_queue *queue,
                               struct model_chain *chain)
{
    uint16_t id;
    uint64_t slot = queue->fetched % queue->size;

    if (!read_word(model, queue->driver + 4 + 2 * slot, &id)) {
        return "the available ring is not in memory";
    }
    for (;;) {
        const uint8_t *bytes;
        const char *mistake;

        if (id >= queue->size) {
            return "a descriptor number that does not exist";
        }
        if (queue->in_flight[id]) {
            return "a descriptor that is in flight already";
        }
        if (chain->count == MODEL_MAX_CHAIN) {
            return "a chain of more than 16 descriptors";
        }
        mistake = add_descriptor(model, queue, chain, id);
        if (mistake != NULL) {
            return mistake;
        }
        bytes = chain->descriptors[chain->count - 1];
        if ((viommu_model_get16(bytes + 12) & DESCRIPTOR_NEXT) == 0) {
            return NULL;
        }
        id = viommu_model_get16(bytes + 14);
    }
}

/* Copies the start of a request. false: it is not in memory. */
static bool read_request(struct viommu_model *model, const struct model_chain *chain,
                         uint8_t *bytes, size_t *length)
{
    *length = 0;
    for (size_t i = 0; i < chain->readable_count && *length < MODEL_MAX_READABLE; i++) {
        size_t part = chain->readable[i].length;

        if (part > MODEL_MAX_READABLE - *length) {
            part = MODEL_MAX_READABLE - *length;
        }
        if (!read_memory(model, chain->readable[i].address, bytes + *length, part)) {
            return false;
        }
        *length += part;
    }
    return true;
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
        mistake = fetch_chain(model, queue, &pending->chain);
        queue->fetched++;
        if (mistake == NULL &&
            !read_request(model, &pending->chain, pending->request, &pending->request_length)) {
            mistake = "a request that is not in memory";
        }
        if (mistake != NULL) {
            free(pending);
            break_queue(model, number, mistake);
            return;
        }
        *end = pending;
        end = &pending->next;
        if (number == VIOMMU_MODEL_EVENT_QUEUE) {
            check_event_buffer(model, &pending->chain);
        } else if (model->effect == VIOMMU_MODEL_EFFECT_AT_DOORBELL) {
            viommu_model_perform(model, pending);
        }
    }
}

static void free_pending(struct model_pending *pending)
{
    free(pending->answer);
    free(pending);
}

static void unlink_pending(struct model_queue *queue, struct model_pending *pending)
{
    struct model_pending **link = &queue->first;

    while (*link != pending) {
        link = &(*link)->next;
    }
    *link = pending->next;
}

static void release_chain(struct model_queue *queue, const struct model_chain *chain)
{
    for (size_t i = 0; i < chain->count; i++) {
        queue->in_flight[chain->ids[i]] = false;
    }
}

/* Picks the next chain to give back, by the order that the test has set. */
static struct model_pending *pick(struct viommu_model *model, struct model_queue *queue)
{
    struct model_pending *picked = NULL;
    uint32_t candidates = 0;

    for (struct model_pending *pending = queue->first; pending != NULL; pending = pending->next) {
        if (pending->stuck) {
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

static bool write_buffer(struct viommu_model *model, const struct model_chain *chain, size_t offset,
                         const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < chain->writable_count && size > 0; i++) {
        size_t length = chain->writable[i].length;
        size_t part;

        if (offset >= length) {
            offset -= length;
            continue;
        }
        part = length - offset < size ? length - offset : size;
        if (!write_memory(model, chain->writable[i].address + offset, bytes, part)) {
            return false;
        }
        bytes += part;
        size -= part;
        offset = 0;
    }
    return true;
}

static void write_used_entry(struct viommu_model *model, struct model_queue *queue, uint32_t id,
                             uint32_t length)
{
    uint8_t bytes[8];
    uint64_t slot = queue->used % queue->size;

    viommu_model_put32(bytes, id);
    viommu_model_put32(bytes + 4, length);
    (void)write_memory(model, queue->device + 4 + 8 * slot, bytes, sizeof bytes);
    queue->used++;
}

static void publish_used(struct viommu_model *model, struct model_queue *queue)
{
    uint8_t bytes[2];
    uint16_t flags = 0;

    viommu_model_put16(bytes, queue->used);
    (void)write_memory(model, queue->device + 2, bytes, sizeof bytes);
    (void)read_word(model, queue->driver, &flags);
    if ((flags & AVAILABLE_NO_INTERRUPT) == 0) {
        raise_interrupt(model, ISR_QUEUE);
    }
}

/* What was announced belongs to the device: the driver must not have changed it since. */
static void check_untouched(struct viommu_model *model, const struct model_queue *queue,
                            const struct model_pending *pending)
{
    uint8_t request[MODEL_MAX_READABLE];
    uint8_t descriptor[DESCRIPTOR_SIZE];
    size_t length;

    for (size_t i = 0; i < pending->chain.count; i++) {
        uint64_t id = pending->chain.ids[i];

        if (!read_memory(model, queue->descriptors + id * DESCRIPTOR_SIZE, descriptor,
                         sizeof descriptor) ||
            memcmp(descriptor, pending->chain.descriptors[i], sizeof descriptor) != 0) {
            viommu_model_violate(model, "descriptor %" PRIu64 " was changed in flight", id);
        }
    }
    if (!read_request(model, &pending->chain, request, &length) ||
        length != pending->request_length || memcmp(request, pending->request, length) != 0) {
        viommu_model_violate(model, "a request of type %u was changed in flight",
                             pending->request[0]);
    }
}

static uint32_t id_not_in_flight(const struct model_queue *queue)
{
    for (uint32_t i = 0; i < queue->size; i++) {
        if (!queue->in_flight[i]) {
            return i;
        }
    }
    return queue->size;
}

static uint32_t used_id(struct viommu_model *model, const struct model_queue *queue,
                        const struct model_chain *chain, bool *lie)
{
    *lie = true;
    if (misbehaves(model, VIOMMU_MODEL_USED_ID_OUT_OF_RANGE)) {
        uint64_t argument = argument_of(model, VIOMMU_MODEL_USED_ID_OUT_OF_RANGE);

        if (viommu_model_strikes(model, VIOMMU_MODEL_USED_ID_OUT_OF_RANGE)) {
            return argument != 0 ? (uint32_t)argument : queue->size;
        }
    }
    if (viommu_model_strikes(model, VIOMMU_MODEL_USED_ID_NOT_IN_FLIGHT)) {
        return id_not_in_flight(queue);
    }
    if (viommu_model_strikes(model, VIOMMU_MODEL_USED_ID_MIDDLE)) {
        return chain->ids[chain->count > 1 ? 1 : 0];
    }
    *lie = false;
    return chain->ids[0];
}

/* Writes the answer, as honestly as the test wants. Returns the used length. */
static uint32_t write_answer(struct viommu_model *model, struct model_pending *pending)
{
    uint64_t value = argument_of(model, VIOMMU_MODEL_STATUS_VALUE);
    uint64_t length = argument_of(model, VIOMMU_MODEL_USED_LENGTH);
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
    if (!write_buffer(model, &pending->chain, 0, pending->answer, pending->status_offset) ||
        (!untouched && !write_buffer(model, &pending->chain, pending->status_offset,
                                     pending->answer + pending->status_offset,
                                     pending->answer_length - pending->status_offset))) {
        viommu_model_violate(model, "a writable buffer that is not in memory");
    }
    if (viommu_model_strikes(model, VIOMMU_MODEL_USED_LENGTH)) {
        used_length = (uint32_t)(length & UINT32_MAX);
    }
    return used_length;
}

static void scribble(struct viommu_model *model, const struct model_queue *queue,
                     const struct model_chain *chain)
{
    uint8_t bytes[DESCRIPTOR_SIZE];

    memset(bytes, 0xff, sizeof bytes);
    for (size_t i = 0; i < chain->count; i++) {
        (void)write_memory(model, queue->descriptors + (uint64_t)chain->ids[i] * DESCRIPTOR_SIZE,
                           bytes, sizeof bytes);
    }
}

/* Completes one request, or leaves it hanging if that is the misbehaviour. */
static void complete(struct viommu_model *model, struct model_pending *pending)
{
    struct model_queue *queue = &model->queues[VIOMMU_MODEL_REQUEST_QUEUE];
    uint64_t jump = argument_of(model, VIOMMU_MODEL_USED_INDEX_JUMPS);
    uint32_t length;
    uint32_t id;
    bool lie;

    check_untouched(model, queue, pending);
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
    write_used_entry(model, queue, id, length);
    if (viommu_model_strikes(model, VIOMMU_MODEL_USED_ID_REPEATED)) {
        write_used_entry(model, queue, id, length);
    }
    if (viommu_model_strikes(model, VIOMMU_MODEL_SCRIBBLE)) {
        scribble(model, queue, &pending->chain);
    }
    if (viommu_model_strikes(model, VIOMMU_MODEL_USED_INDEX_JUMPS)) {
        queue->used = (uint16_t)((queue->used + jump) & 0xffff);
    }
    publish_used(model, queue);
    if (lie) {
        pending->stuck = true; /* never returned under its own number */
    } else {
        release_chain(queue, &pending->chain);
        unlink_pending(queue, pending);
        free_pending(pending);
    }
    if (viommu_model_strikes(model, VIOMMU_MODEL_NEEDS_RESET_AFTER)) {
        need_reset(model);
    }
}

size_t viommu_model_run(struct viommu_model *model, size_t max_requests)
{
    struct model_queue *queue = &model->queues[VIOMMU_MODEL_REQUEST_QUEUE];
    size_t done = 0;

    fetch(model, VIOMMU_MODEL_REQUEST_QUEUE);
    while (done < max_requests && queue_works(model, queue)) {
        struct model_pending *pending = pick(model, queue);

        if (pending == NULL) {
            break;
        }
        complete(model, pending);
        done++;
    }
    return done;
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
    uint16_t index;

    if (!queue->enabled || !read_word(model, queue->driver + 2, &index)) {
        return 0;
    }
    return (uint16_t)(index - queue->announced);
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
    pending = pick(model, queue);
    if (pending == NULL) {
        return false;
    }
    check_untouched(model, queue, pending);
    if (!write_buffer(model, &pending->chain, 0, bytes, size)) {
        viommu_model_violate(model, "an event buffer that is not in memory");
    }
    write_used_entry(model, queue, pending->chain.ids[0], length);
    publish_used(model, queue);
    model->counters.events_sent++;
    release_chain(queue, &pending->chain);
    unlink_pending(queue, pending);
    free_pending(pending);
    return true;
}

bool viommu_model_send_event(struct viommu_model *model, const uint8_t *bytes, size_t size,
                             uint32_t length, bool may_hold)
{
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

static void deliver_held_events(struct viommu_model *model)
{
    while (model->held_count > 0 &&
           deliver_event(model, model->held[0], MODEL_EVENT_SIZE, MODEL_EVENT_SIZE)) {
        model->held_count--;
        memmove(model->held[0], model->held[1], model->held_count * MODEL_EVENT_SIZE);
    }
}

void viommu_model_inject_used_event(struct viommu_model *model, uint32_t id, uint32_t length)
{
    struct model_queue *queue = &model->queues[VIOMMU_MODEL_EVENT_QUEUE];

    if (queue_works(model, queue)) {
        write_used_entry(model, queue, id, length);
        publish_used(model, queue);
    }
}

/* A doorbell: looks at what is new in the available ring. */
static void announce(struct viommu_model *model, unsigned int number)
{
    struct model_queue *queue = &model->queues[number];
    uint16_t flags = 0;
    uint16_t index;

    if (!read_word(model, queue->driver, &flags) || !read_word(model, queue->driver + 2, &index)) {
        break_queue(model, number, "the available ring is not in memory");
        return;
    }
    if ((flags & ~AVAILABLE_NO_INTERRUPT) != 0) {
        viommu_model_violate(model, "queue %u: available ring flags 0x%x", number, flags);
    }
    if ((uint16_t)(index - queue->fetched) > queue->size ||
        (uint16_t)(index - queue->fetched) < (uint16_t)(queue->announced - queue->fetched)) {
        break_queue(model, number, "the available index went back or moved too far");
        return;
    }
    queue->announced = index;
    fetch(model, number);
    if (number == VIOMMU_MODEL_EVENT_QUEUE) {
        deliver_held_events(model);
    } else if (model->processing == VIOMMU_MODEL_AT_DOORBELL) {
        (void)viommu_model_run(model, SIZE_MAX);
    }
}

static void doorbell(struct viommu_model *model, uint64_t offset, unsigned int width,
                     uint32_t value)
{
    uint64_t number = offset / VIOMMU_MODEL_NOTIFY_MULTIPLIER;

    if (number >= MODEL_QUEUES || offset % VIOMMU_MODEL_NOTIFY_MULTIPLIER != 0 || width != 2 ||
        value != number) {
        viommu_model_violate(model,
                             "notification of %" PRIu32 " in %u bytes at notify offset %" PRIu64,
                             value, width, offset);
        return;
    }
    model->counters.doorbells[number]++;
    if ((model->status & STATUS_DRIVER_OK) == 0) {
        viommu_model_violate(model, "notification before DRIVER_OK");
        return;
    }
    if (!model->queues[number].enabled) {
        viommu_model_violate(model, "notification of queue %" PRIu64 ", which is off", number);
        return;
    }
    if ((viommu_model_get16(model->config + PCI_COMMAND) & PCI_COMMAND_MASTER) == 0) {
        viommu_model_violate(model, "notification while bus master is off");
        return;
    }
    if ((model->status & STATUS_NEEDS_RESET) == 0) {
        announce(model, (unsigned int)number);
    }
}

/* ---- the common registers -------------------------------------------------------------------- */

static void reset_queue(struct model_queue *queue)
{
    while (queue->first != NULL) {
        struct model_pending *next = queue->first->next;

        free_pending(queue->first);
        queue->first = next;
    }
    memset(queue, 0, sizeof *queue);
}

void viommu_model_transport_reset(struct viommu_model *model)
{
    for (unsigned int i = 0; i < MODEL_QUEUES; i++) {
        reset_queue(&model->queues[i]);
    }
    model->status = 0;
    model->zero_was_read = false;
    model->features_were_read = false;
    model->resetting = false;
    model->device_feature_select = 0;
    model->driver_feature_select = 0;
    model->accepted = 0;
    model->queue_select = 0;
    model->isr = 0;
    model->held_count = 0;
}

void viommu_model_transport_destroy(struct viommu_model *model)
{
    viommu_model_transport_reset(model);
}

static void finish_reset(struct viommu_model *model)
{
    viommu_model_transport_reset(model);
    viommu_model_device_reset(model);
}

static uint8_t read_status(struct viommu_model *model)
{
    if (model->resetting && !misbehaves(model, VIOMMU_MODEL_RESET_HANGS)) {
        if (model->reset_reads_left == 0) {
            finish_reset(model);
        } else {
            model->reset_reads_left--;
        }
    }
    if (model->status == 0) {
        model->zero_was_read = true;
    }
    if ((model->status & STATUS_FEATURES_OK) != 0) {
        model->features_were_read = true;
    }
    return model->status;
}

/* Whether the device agrees with the features that the driver accepted. */
static bool features_are_fine(struct viommu_model *model)
{
    uint64_t demanded = model->parameters.demanded_features;

    if ((model->accepted & ~model->parameters.offered_features) != 0) {
        viommu_model_violate(model, "features accepted that were not offered: 0x%" PRIx64,
                             model->accepted & ~model->parameters.offered_features);
        return false;
    }
    if ((model->accepted & ~implemented_features) != 0) {
        viommu_model_violate(model,
                             "features accepted that no driver of this device needs: "
                             "0x%" PRIx64,
                             model->accepted & ~implemented_features);
        return false;
    }
    if ((model->parameters.offered_features & VIOMMU_MODEL_F_VERSION_1) != 0 &&
        (model->accepted & VIOMMU_MODEL_F_VERSION_1) == 0) {
        viommu_model_violate(model, "VERSION_1 was not accepted");
        return false;
    }
    return (model->accepted & demanded) == demanded &&
           !misbehaves(model, VIOMMU_MODEL_REFUSE_FEATURES);
}

static void write_status(struct viommu_model *model, uint8_t value)
{
    const uint8_t known =
        STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_DRIVER_OK | STATUS_FEATURES_OK | STATUS_FAILED;
    uint8_t old = model->status;
    uint8_t added;

    if (value == 0) {
        model->counters.resets++;
        model->resetting = true;
        model->reset_reads_left = model->parameters.reset_reads;
        if (model->reset_reads_left == 0 && !misbehaves(model, VIOMMU_MODEL_RESET_HANGS)) {
            finish_reset(model);
        }
        return;
    }
    if (model->resetting || (old == 0 && !model->zero_was_read)) {
        viommu_model_violate(model, "status 0x%x written before a reset was seen to end", value);
    }
    if (model->resetting) {
        return;
    }
    /* NEEDS_RESET is the device's: it may have come up after the driver looked. */
    if ((old & ~value & ~STATUS_NEEDS_RESET & 0xff) != 0) {
        viommu_model_violate(model, "status 0x%x written over 0x%x: bits cleared", value, old);
    }
    added = (uint8_t)(value & ~old & 0xff);
    if ((added & ~known & 0xff) != 0) {
        viommu_model_violate(model, "status bits 0x%x written, which no driver may set", added);
        added &= known;
    }
    if ((added & STATUS_DRIVER) != 0 && (old & STATUS_ACKNOWLEDGE) == 0) {
        viommu_model_violate(model, "DRIVER before ACKNOWLEDGE");
    }
    if ((added & STATUS_FEATURES_OK) != 0) {
        if ((old & STATUS_DRIVER) == 0) {
            viommu_model_violate(model, "FEATURES_OK before DRIVER");
        }
        if (!features_are_fine(model)) {
            added &= (uint8_t)~STATUS_FEATURES_OK;
        }
    }
    if ((added & STATUS_DRIVER_OK) != 0) {
        if ((old & STATUS_FEATURES_OK) == 0) {
            viommu_model_violate(model, "DRIVER_OK before FEATURES_OK");
            added &= (uint8_t)~STATUS_DRIVER_OK;
        } else if (!model->features_were_read) {
            viommu_model_violate(model, "DRIVER_OK without having re-read FEATURES_OK");
        }
        if (!model->queues[VIOMMU_MODEL_REQUEST_QUEUE].enabled) {
            viommu_model_violate(model, "DRIVER_OK without a request queue");
        }
    }
    model->status |= added;
}

/* The largest size that a queue offers. */
static uint16_t offered_size(const struct viommu_model *model, unsigned int number)
{
    if (misbehaves(model, VIOMMU_MODEL_QUEUE_SIZE)) {
        return (uint16_t)(argument_of(model, VIOMMU_MODEL_QUEUE_SIZE) & 0xffff);
    }
    return model->parameters.queue_size[number];
}

static uint32_t read_generation(struct viommu_model *model)
{
    if (misbehaves(model, VIOMMU_MODEL_GENERATION_CHANGES) &&
        (argument_of(model, VIOMMU_MODEL_GENERATION_CHANGES) == 0 ||
         model->generation_reads_left > 0)) {
        model->generation++;
        if (model->generation_reads_left > 0) {
            model->generation_reads_left--;
        }
    }
    return model->generation;
}

static unsigned int common_width(uint64_t offset)
{
    if (offset < COMMON_CONFIG_VECTOR || offset >= COMMON_QUEUE_DESCRIPTORS) {
        return 4;
    }
    return offset == COMMON_STATUS || offset == COMMON_GENERATION ? 1 : 2;
}

static bool common_access_is_fine(struct viommu_model *model, uint64_t offset, unsigned int width)
{
    if (common_width(offset) == width && offset % width == 0) {
        return true;
    }
    viommu_model_violate(model, "common register access of %u bytes at offset %" PRIu64, width,
                         offset);
    return false;
}

static uint32_t half(uint64_t value, uint64_t offset)
{
    return (uint32_t)(offset % 8 == 0 ? value & UINT32_MAX : value >> 32);
}

static uint32_t read_queue_register(struct viommu_model *model, uint64_t offset)
{
    const struct model_queue *queue;

    if (model->queue_select >= MODEL_QUEUES) {
        return offset == COMMON_QUEUE_VECTOR ? NO_VECTOR : 0;
    }
    queue = &model->queues[model->queue_select];
    switch (offset) {
    case COMMON_QUEUE_SIZE:
        return queue->size != 0 ? queue->size : offered_size(model, model->queue_select);
    case COMMON_QUEUE_VECTOR:
        return NO_VECTOR;
    case COMMON_QUEUE_ENABLE:
        return queue->enabled ? 1 : 0;
    case COMMON_QUEUE_NOTIFY_OFF:
        return misbehaves(model, VIOMMU_MODEL_NOTIFY_OFF)
                   ? (uint32_t)(argument_of(model, VIOMMU_MODEL_NOTIFY_OFF) & 0xffff)
                   : model->queue_select;
    case COMMON_QUEUE_DESCRIPTORS:
    case COMMON_QUEUE_DESCRIPTORS + 4:
        return half(queue->descriptors, offset);
    case COMMON_QUEUE_DRIVER:
    case COMMON_QUEUE_DRIVER + 4:
        return half(queue->driver, offset);
    default:
        return half(queue->device, offset);
    }
}

static uint32_t read_common(struct viommu_model *model, uint64_t offset, unsigned int width)
{
    if (!common_access_is_fine(model, offset, width)) {
        return all_ones(width);
    }
    switch (offset) {
    case COMMON_DEVICE_FEATURE_SELECT:
        return model->device_feature_select;
    case COMMON_DEVICE_FEATURE:
        if ((model->status & STATUS_DRIVER) == 0) {
            viommu_model_violate(model, "features read before DRIVER");
        }
        if (model->device_feature_select > 1) {
            return 0;
        }
        return half(model->parameters.offered_features, 4 * model->device_feature_select);
    case COMMON_DRIVER_FEATURE_SELECT:
        return model->driver_feature_select;
    case COMMON_DRIVER_FEATURE:
        if (model->driver_feature_select > 1) {
            return 0;
        }
        return half(model->accepted, 4 * model->driver_feature_select);
    case COMMON_CONFIG_VECTOR:
        return NO_VECTOR;
    case COMMON_QUEUE_COUNT:
        return misbehaves(model, VIOMMU_MODEL_QUEUE_COUNT)
                   ? (uint32_t)(argument_of(model, VIOMMU_MODEL_QUEUE_COUNT) & 0xffff)
                   : MODEL_QUEUES;
    case COMMON_STATUS:
        return read_status(model);
    case COMMON_GENERATION:
        return read_generation(model);
    case COMMON_QUEUE_SELECT:
        return model->queue_select;
    default:
        return read_queue_register(model, offset);
    }
}

static void write_features(struct viommu_model *model, uint32_t value)
{
    unsigned int shift = 32 * (model->driver_feature_select & 1);

    if ((model->status & STATUS_DRIVER) == 0 || (model->status & STATUS_FEATURES_OK) != 0) {
        viommu_model_violate(model, "features written before DRIVER or after FEATURES_OK");
        return;
    }
    if (model->driver_feature_select > 1) {
        if (value != 0) {
            viommu_model_violate(model, "features accepted that were not offered: word %" PRIu32,
                                 model->driver_feature_select);
        }
        return;
    }
    model->accepted &= ~((uint64_t)UINT32_MAX << shift);
    model->accepted |= (uint64_t)value << shift;
}

static bool is_power_of_two(uint32_t value)
{
    return value != 0 && (value & (value - 1)) == 0;
}

/* Whether a ring lies in memory: the last bytes are looked at. */
static bool reachable(struct viommu_model *model, uint64_t physical, uint64_t size)
{
    uint16_t word;

    return physical <= UINT64_MAX - size && read_word(model, physical, &word) &&
           read_word(model, physical + size - 2, &word);
}

static void enable_queue(struct viommu_model *model, struct model_queue *queue, uint32_t value)
{
    uint16_t size = queue->size != 0 ? queue->size : offered_size(model, model->queue_select);

    if (value != 1) {
        viommu_model_violate(model, "queue_enable written with %" PRIu32, value);
        return;
    }
    if (!is_power_of_two(size) || size > MODEL_MAX_QUEUE_SIZE) {
        viommu_model_violate(model, "queue enabled with size %u", size);
        return;
    }
    if (queue->descriptors % 16 != 0 || queue->driver % 2 != 0 || queue->device % 4 != 0) {
        viommu_model_violate(model, "queue enabled with rings that are not aligned");
        return;
    }
    if ((viommu_model_get16(model->config + PCI_COMMAND) & PCI_COMMAND_MASTER) != 0 &&
        (!reachable(model, queue->descriptors, UINT64_C(16) * size) ||
         !reachable(model, queue->driver, 6 + UINT64_C(2) * size) ||
         !reachable(model, queue->device, 6 + UINT64_C(8) * size))) {
        viommu_model_violate(model, "queue enabled with rings that are not in memory");
        return;
    }
    queue->size = size;
    queue->enabled = true;
}

static void set_half(uint64_t *value, uint64_t offset, uint32_t part)
{
    if (offset % 8 == 0) {
        *value = (*value & ~(uint64_t)UINT32_MAX) | part;
    } else {
        *value = (*value & UINT32_MAX) | (uint64_t)part << 32;
    }
}

static void write_queue_register(struct viommu_model *model, uint64_t offset, uint32_t value)
{
    struct model_queue *queue;

    if (offset == COMMON_QUEUE_VECTOR) {
        if (value != NO_VECTOR) {
            viommu_model_violate(model, "an MSI-X vector without MSI-X");
        }
        return;
    }
    if ((model->status & STATUS_FEATURES_OK) == 0 || (model->status & STATUS_DRIVER_OK) != 0) {
        viommu_model_violate(model, "queue register %" PRIu64 " written %s", offset,
                             (model->status & STATUS_DRIVER_OK) != 0 ? "after DRIVER_OK"
                                                                     : "before FEATURES_OK");
        return;
    }
    if (model->queue_select >= MODEL_QUEUES) {
        viommu_model_violate(model, "register of queue %u written, which does not exist",
                             model->queue_select);
        return;
    }
    queue = &model->queues[model->queue_select];
    if (queue->enabled) {
        viommu_model_violate(model, "queue register %" PRIu64 " written while the queue is on",
                             offset);
        return;
    }
    switch (offset) {
    case COMMON_QUEUE_SIZE:
        if (!is_power_of_two(value) || value > offered_size(model, model->queue_select)) {
            viommu_model_violate(model, "queue size %" PRIu32, value);
            break;
        }
        queue->size = (uint16_t)value;
        break;
    case COMMON_QUEUE_ENABLE:
        enable_queue(model, queue, value);
        break;
    case COMMON_QUEUE_NOTIFY_OFF:
        viommu_model_violate(model, "queue_notify_off written");
        break;
    case COMMON_QUEUE_DESCRIPTORS:
    case COMMON_QUEUE_DESCRIPTORS + 4:
        set_half(&queue->descriptors, offset, value);
        break;
    case COMMON_QUEUE_DRIVER:
    case COMMON_QUEUE_DRIVER + 4:
        set_half(&queue->driver, offset, value);
        break;
    default:
        set_half(&queue->device, offset, value);
        break;
    }
}

static void write_common(struct viommu_model *model, uint64_t offset, unsigned int width,
                         uint32_t value)
{
    if (!common_access_is_fine(model, offset, width)) {
        return;
    }
    switch (offset) {
    case COMMON_DEVICE_FEATURE_SELECT:
        model->device_feature_select = value;
        break;
    case COMMON_DRIVER_FEATURE_SELECT:
        model->driver_feature_select = value;
        break;
    case COMMON_DRIVER_FEATURE:
        write_features(model, value);
        break;
    case COMMON_CONFIG_VECTOR:
        if (value != NO_VECTOR) {
            viommu_model_violate(model, "an MSI-X vector without MSI-X");
        }
        break;
    case COMMON_STATUS:
        write_status(model, (uint8_t)(value & 0xff));
        break;
    case COMMON_QUEUE_SELECT:
        model->queue_select = (uint16_t)(value & 0xffff);
        break;
    case COMMON_DEVICE_FEATURE:
    case COMMON_QUEUE_COUNT:
    case COMMON_GENERATION:
        viommu_model_violate(model, "write to the read-only common register %" PRIu64, offset);
        break;
    default:
        write_queue_register(model, offset, value);
        break;
    }
}

/* ---- BAR 4 ----------------------------------------------------------------------------------- */

static bool mmio_access_is_fine(struct viommu_model *model, uint64_t offset, unsigned int width)
{
    if (misbehaves(model, VIOMMU_MODEL_GONE)) {
        return false;
    }
    if ((viommu_model_get16(model->config + PCI_COMMAND) & PCI_COMMAND_MEMORY) == 0) {
        viommu_model_violate(model, "register access while memory decode is off");
        return false;
    }
    if ((width != 1 && width != 2 && width != 4) || offset % width != 0 ||
        offset >= VIOMMU_MODEL_BAR_SIZE) {
        viommu_model_violate(model, "register access of %u bytes at offset 0x%" PRIx64, width,
                             offset);
        return false;
    }
    return true;
}

uint32_t viommu_model_mmio_read(struct viommu_model *model, uint64_t offset, unsigned int width)
{
    uint8_t isr;

    if (!mmio_access_is_fine(model, offset, width)) {
        return all_ones(width);
    }
    if (offset < COMMON_LENGTH) {
        return read_common(model, offset, width);
    }
    if (offset == VIOMMU_MODEL_ISR_OFFSET && width == 1) {
        isr = model->isr;
        model->isr = 0;
        return isr;
    }
    if (offset >= VIOMMU_MODEL_DEVICE_OFFSET &&
        offset < VIOMMU_MODEL_DEVICE_OFFSET + (uint64_t)model->parameters.config_length) {
        return viommu_model_device_read(model, offset - VIOMMU_MODEL_DEVICE_OFFSET, width);
    }
    viommu_model_violate(model, "read of %u bytes at offset 0x%" PRIx64 ": no register", width,
                         offset);
    return all_ones(width);
}

void viommu_model_mmio_write(struct viommu_model *model, uint64_t offset, unsigned int width,
                             uint32_t value)
{
    if (!mmio_access_is_fine(model, offset, width)) {
        return;
    }
    if ((value & ~all_ones(width)) != 0) {
        viommu_model_violate(model, "write of 0x%" PRIx32 " in %u bytes", value, width);
        value &= all_ones(width);
    }
    if (offset < COMMON_LENGTH) {
        write_common(model, offset, width, value);
    } else if (offset >= VIOMMU_MODEL_NOTIFY_OFFSET) {
        doorbell(model, offset - VIOMMU_MODEL_NOTIFY_OFFSET, width, value);
    } else if (offset >= VIOMMU_MODEL_DEVICE_OFFSET &&
               offset < VIOMMU_MODEL_DEVICE_OFFSET + (uint64_t)model->parameters.config_length) {
        viommu_model_device_write(model, offset - VIOMMU_MODEL_DEVICE_OFFSET, width, value);
    } else {
        viommu_model_violate(model, "write of %u bytes at offset 0x%" PRIx64 ": no register", width,
                             offset);
    }
}

/* ---- PCI configuration space ----------------------------------------------------------------- */

static void put_capability(struct viommu_model *model, uint8_t at, uint8_t type, uint32_t offset,
                           uint32_t length, uint8_t size)
{
    uint8_t *bytes = model->config + at;

    bytes[0] = 0x09;
    bytes[2] = size;
    bytes[3] = type;
    bytes[4] = VIOMMU_MODEL_BAR;
    viommu_model_put32(bytes + 8, offset);
    viommu_model_put32(bytes + 12, length);
    if (type == TYPE_WINDOW) {
        return; /* what the window shows is the driver's choice */
    }
    if (misbehaves(model, VIOMMU_MODEL_CAPABILITY_BAR)) {
        bytes[4] = (uint8_t)(argument_of(model, VIOMMU_MODEL_CAPABILITY_BAR) & 0xff);
    }
    if (misbehaves(model, VIOMMU_MODEL_CAPABILITY_OFFSET)) {
        viommu_model_put32(
            bytes + 8, (uint32_t)(argument_of(model, VIOMMU_MODEL_CAPABILITY_OFFSET) & UINT32_MAX));
    }
    if (misbehaves(model, VIOMMU_MODEL_CAPABILITY_LENGTH)) {
        viommu_model_put32(
            bytes + 12,
            (uint32_t)(argument_of(model, VIOMMU_MODEL_CAPABILITY_LENGTH) & UINT32_MAX));
    }
    if (misbehaves(model, VIOMMU_MODEL_CAPABILITY_SHORT)) {
        bytes[2] = (uint8_t)(argument_of(model, VIOMMU_MODEL_CAPABILITY_SHORT) & 0xff);
    }
}

static void put_notify_multiplier(struct viommu_model *model)
{
    uint64_t multiplier = VIOMMU_MODEL_NOTIFY_MULTIPLIER;

    if (misbehaves(model, VIOMMU_MODEL_NOTIFY_MULTIPLIER_IS)) {
        multiplier = argument_of(model, VIOMMU_MODEL_NOTIFY_MULTIPLIER_IS);
    }
    viommu_model_put32(model->config + CAPABILITY_NOTIFY + 16, (uint32_t)(multiplier & UINT32_MAX));
}

/* Builds the capability list, with the misbehaviours that are on. */
static void build_capabilities(struct viommu_model *model)
{
    static const uint8_t places[] = {CAPABILITY_FOREIGN, CAPABILITY_COMMON, CAPABILITY_ISR,
                                     CAPABILITY_DEVICE,  CAPABILITY_NOTIFY, CAPABILITY_WINDOW};
    uint8_t *last = &model->config[PCI_CAPABILITIES];

    memset(model->config + 0x40, 0, sizeof model->config - 0x40);
    model->config[CAPABILITY_FOREIGN] = 0x01; /* power management, which does nothing here */
    put_capability(model, CAPABILITY_COMMON, TYPE_COMMON, VIOMMU_MODEL_COMMON_OFFSET, COMMON_LENGTH,
                   16);
    put_capability(model, CAPABILITY_ISR, TYPE_ISR, VIOMMU_MODEL_ISR_OFFSET, 1, 16);
    put_capability(model, CAPABILITY_DEVICE, TYPE_DEVICE, VIOMMU_MODEL_DEVICE_OFFSET,
                   model->parameters.config_length, 16);
    put_capability(model, CAPABILITY_NOTIFY, TYPE_NOTIFY, VIOMMU_MODEL_NOTIFY_OFFSET, NOTIFY_LENGTH,
                   20);
    put_notify_multiplier(model);
    put_capability(model, CAPABILITY_WINDOW, TYPE_WINDOW, 0, 0, 20);
    for (size_t i = 0; i < sizeof places; i++) {
        if (i > 0 && misbehaves(model, VIOMMU_MODEL_CAPABILITY_MISSING) &&
            argument_of(model, VIOMMU_MODEL_CAPABILITY_MISSING) == model->config[places[i] + 3]) {
            continue;
        }
        *last = places[i];
        last = &model->config[places[i] + 1];
    }
    *last = misbehaves(model, VIOMMU_MODEL_CAPABILITY_LOOP) ? places[0] : 0;
    if (misbehaves(model, VIOMMU_MODEL_CAPABILITY_POINTER)) {
        model->config[PCI_CAPABILITIES] =
            (uint8_t)(argument_of(model, VIOMMU_MODEL_CAPABILITY_POINTER) & 0xff);
    }
}

void viommu_model_transport_init(struct viommu_model *model)
{
    uint8_t *config = model->config;

    memset(config, 0, sizeof model->config);
    viommu_model_put16(config, 0x1af4);
    viommu_model_put16(config + 2, 0x1057);
    viommu_model_put16(config + PCI_STATUS, PCI_STATUS_CAPABILITIES);
    config[0x08] = 1;                          /* revision */
    viommu_model_put16(config + 0x0a, 0x0806); /* class: IOMMU */
    viommu_model_put16(config + 0x2c, 0x1af4);
    viommu_model_put16(config + 0x2e, 0x1100);
    config[PCI_INTERRUPT_PIN] = 1;
    model->bar_address = model->parameters.bar_address & ~(uint64_t)(VIOMMU_MODEL_BAR_SIZE - 1);
    build_capabilities(model);
}

uint64_t viommu_model_bar_size(const struct viommu_model *model, unsigned int number)
{
    (void)model;
    return number == VIOMMU_MODEL_BAR ? VIOMMU_MODEL_BAR_SIZE : 0;
}

uint64_t viommu_model_bar_address(const struct viommu_model *model, unsigned int number)
{
    return number == VIOMMU_MODEL_BAR ? model->bar_address : 0;
}

static bool config_access_is_fine(struct viommu_model *model, unsigned int offset,
                                  unsigned int width)
{
    if (misbehaves(model, VIOMMU_MODEL_GONE)) {
        return false;
    }
    if ((width != 1 && width != 2 && width != 4) || offset % width != 0 ||
        offset + width > sizeof model->config) {
        viommu_model_violate(model, "PCI config access of %u bytes at offset 0x%x", width, offset);
        return false;
    }
    return true;
}

/* Whether the PCI config window points at registers. The BAR is the only one there is. */
static bool window_is_open(const struct viommu_model *model, unsigned int width)
{
    return model->config[WINDOW_BAR] == VIOMMU_MODEL_BAR &&
           viommu_model_get32(model->config + WINDOW_LENGTH) == width;
}

uint32_t viommu_model_config_read(struct viommu_model *model, unsigned int offset,
                                  unsigned int width)
{
    uint8_t *config = model->config;

    if (!config_access_is_fine(model, offset, width)) {
        return all_ones(width);
    }
    viommu_model_put16(
        config + PCI_STATUS,
        (uint16_t)(PCI_STATUS_CAPABILITIES | (model->isr != 0 ? PCI_STATUS_INTERRUPT : 0)));
    viommu_model_put32(config + PCI_BAR4, half(model->bar_address, 0) | PCI_BAR_FLAGS);
    viommu_model_put32(config + PCI_BAR5, half(model->bar_address, 4));
    if (offset == WINDOW_DATA && window_is_open(model, width)) {
        return viommu_model_mmio_read(model, viommu_model_get32(config + WINDOW_OFFSET), width);
    }
    if (width == 4) {
        return viommu_model_get32(config + offset);
    }
    return width == 2 ? viommu_model_get16(config + offset) : config[offset];
}

static void write_bar(struct viommu_model *model, unsigned int offset, unsigned int width,
                      uint32_t value)
{
    if (width != 4) {
        viommu_model_violate(model, "BAR written in %u bytes", width);
        return;
    }
    if (offset != PCI_BAR4 && offset != PCI_BAR5) {
        return; /* not implemented: reads as 0, so that sizing finds nothing */
    }
    if ((viommu_model_get16(model->config + PCI_COMMAND) & PCI_COMMAND_MEMORY) != 0) {
        viommu_model_violate(model, "BAR written while memory decode is on");
    }
    set_half(&model->bar_address, offset - PCI_BAR4, value);
    model->bar_address &= ~(uint64_t)(VIOMMU_MODEL_BAR_SIZE - 1);
}

void viommu_model_config_write(struct viommu_model *model, unsigned int offset, unsigned int width,
                               uint32_t value)
{
    uint8_t *config = model->config;
    uint8_t bytes[4];

    if (!config_access_is_fine(model, offset, width)) {
        return;
    }
    viommu_model_put32(bytes, value);
    if (offset == WINDOW_DATA && window_is_open(model, width)) {
        viommu_model_mmio_write(model, viommu_model_get32(config + WINDOW_OFFSET), width, value);
    } else if (offset >= PCI_BARS && offset <= PCI_BAR5) {
        write_bar(model, offset, width, value);
    } else if (offset == PCI_COMMAND) {
        /* The status half that a 4-byte write includes is write-1-to-clear: nothing to clear. */
        uint16_t command = viommu_model_get16(config + PCI_COMMAND);

        memcpy(config + PCI_COMMAND, bytes, width < 2 ? width : 2);
        if (width < 2) {
            config[PCI_COMMAND + 1] = (uint8_t)(command >> 8);
        }
        viommu_model_put16(config + PCI_COMMAND,
                           viommu_model_get16(config + PCI_COMMAND) &
                               (PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_NO_INTX));
    } else if (offset == WINDOW_BAR || offset == PCI_INTERRUPT_LINE) {
        config[offset] = bytes[0];
    } else if ((offset == WINDOW_OFFSET || offset == WINDOW_LENGTH) && width == 4) {
        memcpy(config + offset, bytes, width);
    }
    /* Everything else is read-only, which PCI lets anyone write without effect. */
}

/* ---- knobs ----------------------------------------------------------------------------------- */

void viommu_model_set_processing(struct viommu_model *model,
                                 enum viommu_model_processing processing)
{
    model->processing = processing;
}

void viommu_model_set_order(struct viommu_model *model, enum viommu_model_order order,
                            uint32_t seed)
{
    model->order = order;
    model->random = seed != 0 ? seed : 1;
}

void viommu_model_set_effect(struct viommu_model *model, enum viommu_model_effect effect)
{
    model->effect = effect;
}

void viommu_model_set_retain(struct viommu_model *model, bool retain)
{
    model->retain = retain;
}

uint8_t viommu_model_status(const struct viommu_model *model)
{
    return model->status;
}

uint64_t viommu_model_accepted_features(const struct viommu_model *model)
{
    return model->accepted;
}

void viommu_model_misbehave(struct viommu_model *model, enum viommu_model_misbehaviour what,
                            uint64_t nth, uint64_t argument)
{
    model->misbehaviours[what] =
        (struct model_misbehaviour){.on = true, .nth = nth, .argument = argument};
    if (what == VIOMMU_MODEL_NEEDS_RESET) {
        model->misbehaviours[what].on = false; /* it is done once */
        need_reset(model);
    }
    if (what == VIOMMU_MODEL_GENERATION_CHANGES) {
        model->generation_reads_left = argument;
    }
    build_capabilities(model);
}

void viommu_model_behave(struct viommu_model *model)
{
    memset(model->misbehaviours, 0, sizeof model->misbehaviours);
    model->script_count = 0;
    build_capabilities(model);
}
