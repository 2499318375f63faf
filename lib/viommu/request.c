/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Requests: taken from the ring, copied once, answered. How they lie in descriptors does not
 * matter. Source: VIRTIO 1.2, section 5.13.6 "Device operations".
 */

#include "engine.h"

#define TAIL_SIZE 4u

/* What the device reads of a request of each type; 0: there is no such type. */
static const uint8_t readable_sizes[] = {
    [REQUEST_ATTACH] = ATTACH_BYTES,
    [REQUEST_DETACH] = 20,
    [REQUEST_MAP] = MAP_BYTES,
    [REQUEST_UNMAP] = 28,
    [REQUEST_PROBE] = 72,
};

/* Gives a request back; `written` is 0 for one that cannot be answered. */
static void give_back(struct piommu_viommu *viommu, struct piommu_device_ring *ring, uint16_t head,
                      uint32_t written)
{
    if (piommu_device_ring_complete(ring, head, written) != 0) {
        piommu_viommu_break_(viommu);
        return;
    }
    viommu->completed[PIOMMU_VIOMMU_REQUESTS] = true;
}

/* Answers a request, of which `offset` bytes are written in front of its tail. */
static void answer(struct piommu_viommu *viommu, struct piommu_device_ring *ring, uint16_t head,
                   enum status status, uint32_t offset)
{
    const uint8_t tail[TAIL_SIZE] = {(uint8_t)status};
    bool written = piommu_device_ring_write(ring, offset, tail, TAIL_SIZE) == TAIL_SIZE;

    viommu->statistics.requests++;
    viommu->statistics.refused += status != STATUS_OK;
    give_back(viommu, ring, head, written ? offset + TAIL_SIZE : 0);
}

static void probe(struct piommu_viommu *viommu, struct piommu_device_ring *ring,
                  const struct piommu_device_request *taken, const uint8_t *bytes)
{
    const struct piommu_viommu_endpoint *endpoint =
        piommu_viommu_find_endpoint_(viommu, piommu_get_le32(bytes + 4));
    enum status status = endpoint != NULL ? STATUS_OK : STATUS_NOENT;
    uint32_t size = viommu->config.probe_size;

    if (taken->writable < size + TAIL_SIZE) {
        size = taken->writable - TAIL_SIZE;
        status = STATUS_INVAL;
    }
    memset(viommu->properties, 0, viommu->config.probe_size);
    if (status == STATUS_OK) {
        piommu_viommu_properties_(endpoint, viommu->properties);
    }
    /* All that the used length tells of is written, also where there is nothing to tell. */
    if (piommu_device_ring_write(ring, 0, viommu->properties, size) != size) {
        give_back(viommu, ring, taken->head, 0);
        return;
    }
    answer(viommu, ring, taken->head, status, size);
}

static enum status begin(struct piommu_viommu *viommu, const uint8_t *bytes)
{
    switch (bytes[0]) {
    case REQUEST_ATTACH:
        return piommu_viommu_begin_attach_(viommu, bytes);
    case REQUEST_DETACH:
        return piommu_viommu_detach_(viommu, bytes);
    case REQUEST_MAP:
        return piommu_viommu_begin_map_(viommu, bytes);
    default:
        return piommu_viommu_begin_unmap_(viommu, bytes);
    }
}

/* A request comes to its end. */
static void finish(struct piommu_viommu *viommu, enum status status)
{
    viommu->request.stage = STAGE_ANSWER;
    viommu->request.status = status;
    (void)piommu_viommu_tell_answer_(viommu);
}

bool piommu_viommu_tell_answer_(struct piommu_viommu *viommu)
{
    struct request *request = &viommu->request;

    if (!request->unheard) {
        struct piommu_device_ring *ring = piommu_viommu_ring_(viommu, PIOMMU_VIOMMU_REQUESTS);

        if (ring == NULL) {
            return false;
        }
        answer(viommu, ring, request->head, request->status, 0);
    }
    request->stage = STAGE_NONE;
    return true;
}

bool piommu_viommu_take_request_(struct piommu_viommu *viommu)
{
    struct request *request = &viommu->request;
    struct piommu_device_request taken;
    uint8_t *bytes = viommu->bytes;
    enum status status;
    uint32_t size;
    struct piommu_device_ring *ring = piommu_viommu_ring_(viommu, PIOMMU_VIOMMU_REQUESTS);
    int result = ring != NULL ? piommu_device_ring_take(ring, &taken) : 0;

    if (result < 0) {
        piommu_viommu_break_(viommu);
    }
    if (result <= 0) {
        return false;
    }
    memset(bytes, 0, REQUEST_BYTES);
    size = taken.readable < REQUEST_BYTES ? taken.readable : REQUEST_BYTES;
    size = (uint32_t)piommu_device_ring_read(ring, 0, bytes, size);
    if (size == 0 || bytes[0] >= sizeof(readable_sizes) || readable_sizes[bytes[0]] == 0 ||
        size < readable_sizes[bytes[0]] || taken.writable < TAIL_SIZE) {
        give_back(viommu, ring, taken.head, 0);
        return true;
    }
    if (bytes[0] == REQUEST_PROBE) {
        probe(viommu, ring, &taken, bytes);
        return true;
    }
    *request = (struct request){.head = taken.head};
    piommu_gather_init(&request->gather);
    status = begin(viommu, bytes);
    if (status != STATUS_UNFINISHED) {
        finish(viommu, status);
    }
    return true;
}

/* Goes on with a stage. By a jump: what is below needs the stack. */
static NEVER_INLINE enum status go_on(struct piommu_viommu *viommu, uint32_t *budget)
{
    switch (viommu->request.stage) {
    case STAGE_REPLAY:
        return piommu_viommu_replay_(viommu, budget);
    case STAGE_TELL:
        return piommu_viommu_tell_(viommu, budget);
    case STAGE_DROP:
        return piommu_viommu_drop_(viommu, budget);
    case STAGE_MAP:
        return piommu_viommu_map_(viommu, budget);
    case STAGE_UNDO:
        return piommu_viommu_undo_(viommu, budget);
    case STAGE_UNMAP:
        return piommu_viommu_unmap_(viommu, budget);
    case STAGE_ANSWER:
    case STAGE_NONE:
        break;
    }
    return STATUS_DEVERR;
}

void piommu_viommu_advance_(struct piommu_viommu *viommu, uint32_t *budget)
{
    enum status status = go_on(viommu, budget);

    if (status != STATUS_UNFINISHED) {
        finish(viommu, status);
    }
}

void piommu_viommu_open_unheard_(struct piommu_viommu *viommu)
{
    struct request *request = &viommu->request;

    *request = (struct request){.unheard = true};
    piommu_gather_init(&request->gather);
}

enum status piommu_viommu_complete_unheard_(struct piommu_viommu *viommu, enum status status)
{
    struct request *request = &viommu->request;

    if (status != STATUS_UNFINISHED) {
        finish(viommu, status);
    }
    while (request->stage != STAGE_NONE) {
        uint32_t budget = UINT32_MAX;

        status = go_on(viommu, &budget);
        if (status != STATUS_UNFINISHED) {
            finish(viommu, status);
        }
    }
    status = request->status;
    *request = (struct request){.stage = STAGE_NONE};
    return status;
}

bool piommu_viommu_is_half_done_(const struct piommu_viommu *viommu)
{
    return viommu->request.stage != STAGE_NONE && viommu->request.stage != STAGE_ANSWER;
}

void piommu_viommu_abandon_(struct piommu_viommu *viommu)
{
    struct request *request = &viommu->request;

    if (request->mapping != NULL) {
        piommu_viommu_free_(viommu, request->mapping, sizeof(*request->mapping));
    }
    /* One that an endpoint was on its way to, and nobody is in. */
    if (request->stage == STAGE_REPLAY && request->fresh) {
        piommu_viommu_end_domain_(viommu, request->domain);
    }
    *request = (struct request){.stage = STAGE_NONE};
}
