/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The rings alone (virtio.h), against a device that the fuzzer leads (hostile_device.h). A shadow
 * knows which requests are in flight: none is taken back that is not, none twice, no length is more
 * than the device could write; and what was added is there for the device, piece by piece, as soon
 * as it was published. A ring that has said that it is corrupt says so until it is made anew.
 */

#include "hostile_device.h"

#include <piommu/piommu.h>
#include <piommu/virtio.h>

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

#define MAX_SIZE   64u
#define MAX_PIECES 9u
#define MAX_CALLS  600u
#define SECOND     1000000000ull
#define COUNT(a)   (sizeof(a) / sizeof((a)[0]))

/* A request as it was added. */
struct request {
    bool in_flight;
    uint16_t count;
    uint32_t writable;
    struct piommu_virtio_buffer pieces[MAX_PIECES];
};

struct fuzz {
    struct hostile_device *hostile;
    struct piommu_virtio_device *device;
    struct piommu_virtqueue *queue;
    struct request requests[MAX_SIZE];
    uint16_t order[MAX_SIZE]; /* heads that were added since the last publish */
    unsigned int unpublished;
    unsigned int unpublished_entries;
    uint32_t published; /* free-running: requests, or descriptors of a packed ring */
    uint16_t size;
    uint16_t max_pieces;
    bool indirect;
    bool packed;
    bool corrupt;
};

static unsigned int byte(struct fuzz *fuzz)
{
    return hostile_byte(fuzz->hostile);
}

static void begin(struct fuzz *fuzz, const char *name)
{
    hostile_begin_call(fuzz->hostile, name);
}

#define MUST(condition)                                       \
    do {                                                      \
        if (!(condition)) {                                   \
            hostile_broken("line %d: " #condition, __LINE__); \
        }                                                     \
    } while (0)

/* ---- What is in flight ---- */

static unsigned int entries_of(const struct fuzz *fuzz, unsigned int count)
{
    return fuzz->indirect ? 1 : count;
}

static unsigned int entries_in_use(const struct fuzz *fuzz)
{
    unsigned int used = 0;

    for (unsigned int i = 0; i < fuzz->size; i++) {
        used += fuzz->requests[i].in_flight ? entries_of(fuzz, fuzz->requests[i].count) : 0;
    }
    return used;
}

static void forget_requests(struct fuzz *fuzz)
{
    memset(fuzz->requests, 0, sizeof(fuzz->requests));
    fuzz->unpublished = 0;
    fuzz->unpublished_entries = 0;
    fuzz->published = 0;
    fuzz->corrupt = false;
}

/* ---- What the device sees ---- */

static uint64_t look(struct fuzz *fuzz, uint64_t physical, size_t size)
{
    uint8_t bytes[8] = {0};
    uint64_t value = 0;

    MUST(fake_os_device_read(fuzz->hostile->os, physical, bytes, size));
    for (size_t i = 0; i < size; i++) {
        value |= (uint64_t)bytes[i] << (8 * i);
    }
    return value;
}

/* A descriptor is a piece of a request; the flags of a packed one have its state in them. */
static void check_piece(struct fuzz *fuzz, uint64_t at, const struct piommu_virtio_buffer *piece,
                        uint64_t flags)
{
    MUST(look(fuzz, at, 8) == piece->physical);
    MUST(look(fuzz, at + 8, 4) == piece->size);
    MUST(look(fuzz, at + (fuzz->packed ? 14 : 12), 2) == (flags | (piece->writable ? 2u : 0u)));
}

/* A chain is the request that was added, wherever it lies. */
static void check_chain(struct fuzz *fuzz, uint16_t head)
{
    const struct request *request = &fuzz->requests[head];
    uint64_t table = fuzz->hostile->queues[0].parts[0];
    uint64_t limit = fuzz->size;
    uint64_t at = table + 16ull * head;

    if (look(fuzz, at + 12, 2) == 4) {
        MUST((fuzz->hostile->accepted & PIOMMU_VIRTIO_F_INDIRECT_DESC) != 0);
        table = look(fuzz, at, 8);
        limit = look(fuzz, at + 8, 4) / 16;
        MUST(limit == request->count);
        at = table;
    }
    for (uint16_t i = 0; i < request->count; i++) {
        bool last = i + 1 == request->count;
        uint64_t next = look(fuzz, at + 14, 2);

        check_piece(fuzz, at, &request->pieces[i], last ? 0 : 1);
        MUST(last || next < limit);
        at = table + 16 * next;
    }
}

static uint64_t packed_descriptor(const struct fuzz *fuzz, uint32_t place)
{
    return fuzz->hostile->queues[0].parts[0] + 16ull * (place % fuzz->size);
}

static unsigned int packed_state(const struct fuzz *fuzz, uint32_t place)
{
    return place / fuzz->size % 2 == 0 ? 0x80 : 0x8000;
}

/* The same in a packed ring, where it lies at the next place. */
static void check_packed_chain(struct fuzz *fuzz, uint32_t place, uint16_t head)
{
    const struct request *request = &fuzz->requests[head];
    uint64_t at = packed_descriptor(fuzz, place);
    unsigned int flags = packed_state(fuzz, place);

    if (fuzz->indirect && request->count > 1) {
        uint64_t table = look(fuzz, at, 8);

        MUST(look(fuzz, at + 8, 4) == 16u * request->count);
        MUST(look(fuzz, at + 14, 2) == (flags | 4));
        for (uint16_t i = 0; i < request->count; i++) {
            check_piece(fuzz, table + 16ull * i, &request->pieces[i], 0);
        }
    } else {
        for (uint16_t i = 0; i < request->count; i++) {
            at = packed_descriptor(fuzz, place + i);
            check_piece(fuzz, at, &request->pieces[i],
                        packed_state(fuzz, place + i) | (i + 1 == request->count ? 0u : 1u));
        }
    }
    MUST(look(fuzz, at + 12, 2) == head);
}

static void check_published(struct fuzz *fuzz)
{
    uint64_t ring = fuzz->hostile->queues[0].parts[1];
    uint16_t index = (uint16_t)look(fuzz, ring + 2, 2);

    MUST(index == (uint16_t)(fuzz->published + fuzz->unpublished));
    for (unsigned int i = 0; i < fuzz->unpublished && !fuzz->hostile->tampered; i++) {
        uint32_t slot = (fuzz->published + i) % fuzz->size;
        uint16_t head = (uint16_t)look(fuzz, ring + 4 + 2ull * slot, 2);

        MUST(head == fuzz->order[i]);
        check_chain(fuzz, head);
    }
    fuzz->published += fuzz->unpublished;
}

/* The first descriptor was written just now, and nobody can have changed its state since. */
static void check_packed_published(struct fuzz *fuzz)
{
    uint32_t place = fuzz->published;
    uint64_t state = look(fuzz, packed_descriptor(fuzz, place) + 14, 2) & 0x8080;

    MUST(state == packed_state(fuzz, place));
    for (unsigned int i = 0; i < fuzz->unpublished && !fuzz->hostile->tampered; i++) {
        check_packed_chain(fuzz, place, fuzz->order[i]);
        place += entries_of(fuzz, fuzz->requests[fuzz->order[i]].count);
    }
    fuzz->published += fuzz->unpublished_entries;
    if (!fuzz->hostile->tampered) {
        state = look(fuzz, packed_descriptor(fuzz, place) + 14, 2) & 0x8080;
        MUST(state != packed_state(fuzz, place));
    }
}

/* ---- Calls ---- */

static void add(struct fuzz *fuzz)
{
    struct request request = {0};
    unsigned int choice = byte(fuzz);
    unsigned int readable = choice % 4;
    uint16_t head = UINT16_MAX;
    bool wrong = false;
    int error;

    request.count = (uint16_t)(choice / 4 % (MAX_PIECES + 1));
    for (unsigned int i = 0; i < request.count; i++) {
        request.pieces[i].physical = 0x1000ull * (i + 1) + byte(fuzz);
        request.pieces[i].size = choice > 250 ? choice - 251 : i * 24 + 1;
        request.pieces[i].writable = i >= readable;
        request.writable += request.pieces[i].writable ? request.pieces[i].size : 0;
        wrong |= request.pieces[i].size == 0;
    }
    begin(fuzz, "piommu_virtqueue_add");
    error = piommu_virtqueue_add(fuzz->queue, request.pieces, request.count, &head);
    if (request.count == 0 || request.count > fuzz->max_pieces || wrong) {
        MUST(error == -PIOMMU_EINVAL);
    } else if (fuzz->corrupt) {
        MUST(error == -PIOMMU_EIO);
    } else if (entries_in_use(fuzz) + entries_of(fuzz, request.count) > fuzz->size) {
        MUST(error == -PIOMMU_ENOSPC);
    } else {
        MUST(error == 0 && head < fuzz->size && !fuzz->requests[head].in_flight);
        request.in_flight = true;
        fuzz->requests[head] = request;
        fuzz->order[fuzz->unpublished++] = head;
        fuzz->unpublished_entries += entries_of(fuzz, request.count);
    }
}

/* The device looks at once, before it can have written there. */
static void publish(struct fuzz *fuzz)
{
    begin(fuzz, "piommu_virtqueue_publish");
    fuzz->hostile->quiet = true;
    if (piommu_virtqueue_publish(fuzz->queue)) {
        MUST(fuzz->unpublished != 0);
    }
    fuzz->hostile->quiet = false;
    if (fuzz->unpublished == 0) {
        return;
    }
    if (fuzz->packed) {
        check_packed_published(fuzz);
    } else {
        check_published(fuzz);
    }
    fuzz->unpublished = 0;
    fuzz->unpublished_entries = 0;
}

static void ring(struct fuzz *fuzz)
{
    begin(fuzz, "piommu_virtqueue_ring");
    piommu_virtqueue_ring(fuzz->queue);
}

static void publish_and_ring(struct fuzz *fuzz)
{
    publish(fuzz);
    ring(fuzz);
}

static void take(struct fuzz *fuzz)
{
    uint16_t head = UINT16_MAX;
    uint32_t length = UINT32_MAX;
    int taken;

    begin(fuzz, "piommu_virtqueue_take");
    taken = piommu_virtqueue_take(fuzz->queue, &head, &length);
    hostile_say(fuzz->hostile, "  -> %d: %u, %u\n", taken, head, (unsigned int)length);
    MUST(taken == 1 || taken == 0 || taken == -PIOMMU_EIO);
    MUST(!fuzz->corrupt || taken == -PIOMMU_EIO);
    fuzz->corrupt = taken < 0;
    if (taken == 1) {
        MUST(head < fuzz->size && fuzz->requests[head].in_flight);
        MUST(length <= fuzz->requests[head].writable);
        fuzz->requests[head].in_flight = false;
        /* A liar says that it is done with what it has not been shown. */
        for (unsigned int i = 0; i < fuzz->unpublished; i++) {
            fuzz->hostile->tampered |= fuzz->order[i] == head;
        }
    }
}

static void take_all(struct fuzz *fuzz)
{
    for (unsigned int i = 0; i < 2 * MAX_SIZE; i++) {
        unsigned int before = entries_in_use(fuzz);

        take(fuzz);
        if (entries_in_use(fuzz) == before) {
            return;
        }
    }
    hostile_broken("more was taken than was in flight");
}

static void want_interrupt(struct fuzz *fuzz)
{
    begin(fuzz, "piommu_virtqueue_want_interrupt");
    piommu_virtqueue_want_interrupt(fuzz->queue);
}

static void act(struct fuzz *fuzz)
{
    hostile_act(fuzz->hostile);
}

static void answer(struct fuzz *fuzz)
{
    hostile_answer(fuzz->hostile, 0, 1 + byte(fuzz) % 8);
}

/* ---- Life ---- */

/* To where queues are made; the registers do not lie here. */
static void prepare(struct fuzz *fuzz)
{
    uint64_t accepted;

    begin(fuzz, "piommu_virtio_reset");
    MUST(piommu_virtio_reset(fuzz->device, SECOND) == 0);
    begin(fuzz, "piommu_virtio_negotiate");
    MUST(piommu_virtio_negotiate(fuzz->device, PIOMMU_VIRTIO_F_GENERIC, 0, &accepted) == 0);
    fuzz->packed = (accepted & PIOMMU_VIRTIO_F_RING_PACKED) != 0;
    MUST(!fuzz->packed || !fuzz->hostile->non_coherent);
    fuzz->indirect = fuzz->max_pieces > 1 && (accepted & PIOMMU_VIRTIO_F_INDIRECT_DESC) != 0;
}

static void restart(struct fuzz *fuzz)
{
    fuzz->hostile->quiet = true;
    prepare(fuzz);
    begin(fuzz, "piommu_virtqueue_restart");
    MUST(piommu_virtqueue_restart(fuzz->queue) == 0);
    piommu_virtio_start(fuzz->device);
    fuzz->hostile->quiet = false;
    forget_requests(fuzz);
}

static void (*const calls[])(struct fuzz *fuzz) = {
    add, add, add,    publish_and_ring, publish, take, take_all, want_interrupt,
    act, act, answer, restart,          ring,    add,  take_all, publish_and_ring};

static void open_world(struct fuzz *fuzz)
{
    const struct piommu_virtio_mmio_config where = {.registers = HOSTILE_MMIO_ADDRESS,
                                                    .size = HOSTILE_MMIO_SIZE,
                                                    .type = HOSTILE_TYPE,
                                                    .non_coherent = fuzz->hostile->non_coherent};
    unsigned int choice = byte(fuzz);
    unsigned int pieces = byte(fuzz);
    bool offered = pieces / (MAX_PIECES + 1) % 2 != 0;
    bool packed = offered && !fuzz->hostile->non_coherent;
    const struct piommu_virtqueue_config config = {
        .max_size = (uint16_t)(packed ? 2 + (choice >> 3) : 2u << (choice >> 3) % 6),
        .max_pieces = (uint16_t)(pieces % (MAX_PIECES + 1)),
        .polled = (choice & 4) != 0};

    fuzz->hostile->quiet = true;
    fuzz->hostile->features = PIOMMU_VIRTIO_F_VERSION_1 | (uint64_t)(choice & 3)
                                                              << 28; /* INDIRECT_DESC, EVENT_IDX */
    fuzz->hostile->features |= offered ? PIOMMU_VIRTIO_F_RING_PACKED : 0;
    fuzz->max_pieces = config.max_pieces != 0 ? config.max_pieces : 1;
    MUST(piommu_virtio_mmio_open(fake_os_host(fuzz->hostile->os), &where, &fuzz->device) == 0);
    prepare(fuzz);
    MUST(piommu_virtqueue_create(fuzz->device, &config, &fuzz->queue) == 0);
    fuzz->size = piommu_virtqueue_size(fuzz->queue);
    MUST(fuzz->size == config.max_size);
    for (uint16_t i = 1; i <= fuzz->max_pieces; i++) {
        MUST(piommu_virtqueue_capacity(fuzz->queue, i) == fuzz->size / entries_of(fuzz, i));
    }
    piommu_virtio_start(fuzz->device);
    fuzz->hostile->quiet = false;
}

static void close_world(struct fuzz *fuzz)
{
    fuzz->hostile->honest = true;
    begin(fuzz, "taking down");
    MUST(piommu_virtio_reset(fuzz->device, SECOND) == 0);
    piommu_virtqueue_destroy(fuzz->queue);
    piommu_virtio_close(fuzz->device);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct fuzz fuzz = {.hostile = hostile_create(bytes, size, true)};

    open_world(&fuzz);
    for (unsigned int i = 0; i < MAX_CALLS && fuzz.hostile->left != 0; i++) {
        calls[byte(&fuzz) % COUNT(calls)](&fuzz);
    }
    close_world(&fuzz);
    hostile_destroy(fuzz.hostile, false);
    return 0;
}
