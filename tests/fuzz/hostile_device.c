/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "hostile_device.h"

#include <piommu/error.h>
#include <piommu/virtio.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* More than any call needs with deadlines as short as they are here. */
#define MAX_CALLS 300000u

#define STATUS_READY      0x0fu
#define STATUS_NEED_RESET 0x40u

#define BAR_BASE(number) (((uint64_t)(number) + 1) << 36)
#define BAR              4u
#define BAR_COMMON       0x0000u
#define BAR_ISR          0x1000u
#define BAR_CONFIG       0x2000u
#define BAR_NOTIFY       0x3000u
#define BAR_MESSAGES     0x3800u
#define BAR_SIZE         0x4000u

#define LONGEST 16u /* descriptors of a chain that the device reads */

enum part { DESCRIPTORS, AVAILABLE, USED };

enum {
    NEXT = 1,
    WRITABLE = 2,
    INDIRECT = 4,
    PACKED_AVAILABLE = 0x80,
    PACKED_USED = 0x8000,
    PACKED_STATE = PACKED_AVAILABLE | PACKED_USED
};

/* The callbacks of the shim have the fake OS as their context. */
static struct hostile_device *current;
static struct piommu_os strict;

void hostile_broken(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    abort();
}

void hostile_say(const struct hostile_device *device, const char *format, ...)
{
    va_list arguments;

    if (device->talks) {
        va_start(arguments, format);
        vfprintf(stderr, format, arguments);
        va_end(arguments);
    }
}

/*
 * The fake OS knows what did not come back, and also what need not: the library gives up for good
 * what a device may go on using that has not confirmed its reset.
 */
const char *__asan_default_options(void);

const char *__asan_default_options(void)
{
    return "detect_leaks=0";
}

/* ---- What the fuzzer says ---- */

unsigned int hostile_byte(struct hostile_device *device)
{
    if (device->left == 0) {
        return 0;
    }
    device->left--;
    return *device->bytes++;
}

unsigned int hostile_own_byte(struct hostile_device *device)
{
    if (device->left == 0) {
        return 0;
    }
    return device->bytes[--device->left];
}

uint64_t hostile_boundary(struct hostile_device *device)
{
    unsigned int choice = hostile_own_byte(device);
    uint64_t power = 1ull << (choice % 64);
    const uint64_t numbers[] = {power, power - 1, 0 - power, choice % 64};

    return numbers[choice / 64];
}

/* How many turns pass until the next lie: most often few, but it can be far away. */
static unsigned int patience(struct hostile_device *device)
{
    unsigned int choice = hostile_own_byte(device);

    return device->left == 0 ? UINT32_MAX : choice < 128 ? choice : (choice - 127) * 16;
}

/* ---- Memory ---- */

static uint64_t get(struct hostile_device *device, uint64_t physical, size_t size)
{
    uint8_t bytes[8] = {0};
    uint64_t value = 0;

    fake_os_device_read(device->os, physical, bytes, size);
    for (size_t i = 0; i < size; i++) {
        value |= (uint64_t)bytes[i] << (8 * i);
    }
    return value;
}

static void put(struct hostile_device *device, uint64_t physical, uint64_t value, size_t size)
{
    uint8_t bytes[8];

    for (size_t i = 0; i < size; i++) {
        bytes[i] = (uint8_t)(value >> (8 * i) & 0xff);
    }
    fake_os_device_write(device->os, physical, bytes, size);
}

static bool is_packed(const struct hostile_device *device)
{
    return (device->accepted & PIOMMU_VIRTIO_F_RING_PACKED) != 0;
}

static uint64_t used_entry(const struct hostile_queue *queue, uint32_t number)
{
    return queue->parts[USED] + 4 + 8ull * (number & (queue->size - 1u));
}

/* Where the device says from where on it is to be notified. */
static uint64_t event_word(const struct hostile_device *device, const struct hostile_queue *queue)
{
    return queue->parts[USED] + (is_packed(device) ? 0 : 4 + 8ull * queue->size);
}

/* Descriptors of a packed ring, and the rounds in which they lie; the first one is round 0. */
static uint64_t packed_descriptor(const struct hostile_queue *queue, uint32_t number)
{
    return queue->parts[DESCRIPTORS] + 16ull * (number % queue->size);
}

static bool is_odd_round(const struct hostile_queue *queue, uint32_t number)
{
    return number / queue->size % 2 != 0;
}

/* ---- Answers ---- */

/* A request as it lies in memory: its first piece, and the first one that can be written. */
struct chain {
    uint16_t head;
    uint16_t count; /* of descriptors, in a packed ring */
    uint64_t readable;
    uint32_t readable_size;
    uint64_t writable;
    uint32_t writable_size;
};

/* Reads a descriptor and answers with its flags, which both kinds of rings have elsewhere. */
static unsigned int read_piece(struct hostile_device *device, uint64_t at, struct chain *chain)
{
    uint64_t address = get(device, at, 8);
    uint32_t size = (uint32_t)get(device, at + 8, 4);
    unsigned int flags = (unsigned int)get(device, at + (is_packed(device) ? 14 : 12), 2);

    if ((flags & WRITABLE) != 0 && chain->writable_size == 0) {
        chain->writable = address;
        chain->writable_size = size;
    } else if ((flags & (WRITABLE | INDIRECT)) == 0 && chain->readable_size == 0) {
        chain->readable = address;
        chain->readable_size = size;
    }
    return flags;
}

static void read_chain(struct hostile_device *device, const struct hostile_queue *queue,
                       struct chain *chain)
{
    uint64_t table = queue->parts[DESCRIPTORS];
    uint64_t at = table + 16ull * chain->head;

    if ((get(device, at + 12, 2) & INDIRECT) != 0) {
        table = get(device, at, 8);
        at = table;
    }
    /* What was scribbled over may have no end. */
    for (unsigned int i = 0; i < LONGEST; i++) {
        if ((read_piece(device, at, chain) & NEXT) == 0) {
            break;
        }
        at = table + 16 * get(device, at + 14, 2);
    }
}

static bool fetch_split(struct hostile_device *device, struct hostile_queue *queue,
                        struct chain *chain)
{
    uint64_t ring = queue->parts[AVAILABLE];

    if ((uint16_t)queue->available == (uint16_t)get(device, ring + 2, 2)) {
        return false;
    }
    chain->head =
        (uint16_t)get(device, ring + 4 + 2ull * (queue->available & (queue->size - 1u)), 2);
    if (chain->head >= queue->size) {
        return false;
    }
    queue->available++;
    read_chain(device, queue, chain);
    return true;
}

static bool fetch_packed(struct hostile_device *device, struct hostile_queue *queue,
                         struct chain *chain)
{
    bool odd = is_odd_round(queue, queue->available);
    uint64_t at = packed_descriptor(queue, queue->available);
    unsigned int flags = (unsigned int)get(device, at + 14, 2);

    if ((flags & PACKED_STATE) != (odd ? PACKED_USED : PACKED_AVAILABLE)) {
        return false;
    }
    if ((flags & INDIRECT) != 0) {
        uint64_t table = get(device, at, 8);
        uint32_t entries = (uint32_t)get(device, at + 8, 4) / 16;

        for (unsigned int i = 0; i < entries && i < LONGEST; i++) {
            read_piece(device, table + 16 * i, chain);
        }
    }
    do {
        at = packed_descriptor(queue, queue->available);
        flags = read_piece(device, at, chain);
        queue->available++;
        chain->count++;
    } while ((flags & NEXT) != 0 && chain->count < LONGEST && chain->count < queue->size);
    chain->head = (uint16_t)get(device, at + 12, 2);
    return true;
}

static bool fetch(struct hostile_device *device, struct hostile_queue *queue, struct chain *chain)
{
    *chain = (struct chain){0};
    return is_packed(device) ? fetch_packed(device, queue, chain)
                             : fetch_split(device, queue, chain);
}

static void put_used_packed(struct hostile_device *device, struct hostile_queue *queue, uint32_t id,
                            uint32_t length, uint16_t count)
{
    uint64_t at = packed_descriptor(queue, queue->used);
    unsigned int state = is_odd_round(queue, queue->used) ? 0 : PACKED_STATE;

    put(device, at + 8, length, 4);
    put(device, at + 12, id, 2);
    put(device, at + 14, state | (length != 0 ? WRITABLE : 0), 2);
    queue->used += count;
}

/* Says that a request of `count` packed descriptors is done, which need not be true. */
static void put_used(struct hostile_device *device, struct hostile_queue *queue, uint32_t id,
                     uint32_t length, uint16_t count)
{
    if (is_packed(device)) {
        put_used_packed(device, queue, id, length, count);
    } else {
        put(device, used_entry(queue, queue->used), id, 4);
        put(device, used_entry(queue, queue->used) + 4, length, 4);
        queue->used++;
        put(device, queue->parts[USED] + 2, queue->used & 0xffff, 2);
    }
    device->interrupts |= 1;
}

/* A driver never sends a request that is none, whatever the device has done to it. */
static void judge(const struct hostile_device *device, const struct chain *chain, unsigned int type,
                  uint64_t first, uint64_t last)
{
    static const uint32_t readable[] = {0, 20, 20, 36, 28, 72};

    if (type == 0 || type > 5 || chain->readable_size != readable[type] ||
        chain->writable_size < 4) {
        hostile_broken("%s sends a request of type %u in %" PRIu32 " + %" PRIu32 " bytes",
                       device->call, type, chain->readable_size, chain->writable_size);
    }
    if ((type == 3 || type == 4) && first >= last) {
        hostile_broken("%s sends a request for 0x%" PRIx64 " to 0x%" PRIx64, device->call, first,
                       last);
    }
}

/* Properties of an endpoint: most of them begin well. */
static void put_properties(struct hostile_device *device, uint64_t at, uint32_t size)
{
    uint32_t offset = 0;

    for (unsigned int i = hostile_own_byte(device) % 8; i > 0 && offset + 24 <= size; i--) {
        unsigned int choice = hostile_own_byte(device);

        put(device, at + offset, choice < 200 ? 1 : choice, 2);
        put(device, at + offset + 2, choice % 4 != 0 ? 20 : hostile_boundary(device), 2);
        put(device, at + offset + 4, choice % 3, 1);
        put(device, at + offset + 8, hostile_boundary(device), 8);
        put(device, at + offset + 16, hostile_boundary(device), 8);
        offset += (choice & 16) != 0 ? 24 : hostile_own_byte(device);
    }
}

static bool lies_in_answer(struct hostile_device *device)
{
    if (device->honest || device->answers-- != 0) {
        return false;
    }
    device->answers = patience(device);
    return device->left != 0;
}

/* What the device writes into a request, and how much of it. */
static uint32_t fill(struct hostile_device *device, unsigned int number, const struct chain *chain,
                     uint8_t status)
{
    uint32_t length = chain->writable_size;

    if (number != 0) {
        /* A report of a fault: reason, flags, endpoint, address. */
        put(device, chain->writable, hostile_own_byte(device) % 5, 4);
        put(device, chain->writable + 4, 0x100 | hostile_own_byte(device), 4);
        put(device, chain->writable + 8, hostile_own_byte(device) % 8, 8);
        put(device, chain->writable + 16, hostile_boundary(device), 8);
        return length < 24 ? length : 24;
    }
    if (device->driver_judged && !device->tampered) {
        judge(device, chain, (unsigned int)get(device, chain->readable, 1),
              get(device, chain->readable + 8, 8), get(device, chain->readable + 16, 8));
    }
    if (length >= 4) {
        if (device->driver_judged && get(device, chain->readable, 1) == 5) {
            put_properties(device, chain->writable, length - 4);
        }
        put(device, chain->writable + length - 4, status, 4);
    }
    return length;
}

static void answer_badly(struct hostile_device *device, unsigned int number,
                         const struct chain *chain)
{
    struct hostile_queue *queue = &device->queues[number];
    unsigned int choice = hostile_own_byte(device);
    uint32_t length;

    device->tampered = true;
    hostile_say(device, "    a bad answer %u to request %u of queue %u\n", choice % 8, chain->head,
                number);
    switch (choice % 8) {
    case 0: /* says so, and writes nothing */
        put_used(device, queue, chain->head, (uint32_t)hostile_boundary(device), chain->count);
        break;
    case 1: /* never */
        break;
    case 2: /* twice */
        length = fill(device, number, chain, 0);
        put_used(device, queue, chain->head, length, chain->count);
        put_used(device, queue, chain->head, length, chain->count);
        break;
    case 3: /* for another */
        length = fill(device, number, chain, 0);
        put_used(device, queue, (uint32_t)hostile_boundary(device), length, chain->count);
        break;
    case 4:
        fill(device, number, chain, 0);
        put_used(device, queue, chain->head, (uint32_t)hostile_boundary(device), chain->count);
        break;
    case 5: /* written, but not there for who waits */
        fill(device, number, chain, 0);
        device->held = patience(device);
        break;
    default:
        length = fill(device, number, chain, (uint8_t)(choice / 8));
        put_used(device, queue, chain->head, length, chain->count);
        break;
    }
}

/* The driver is to notify of the request that comes next. */
static void ask_for_next(struct hostile_device *device, const struct hostile_queue *queue)
{
    unsigned int wrap = is_odd_round(queue, queue->available) ? 0 : 0x8000;

    if (!is_packed(device)) {
        put(device, event_word(device, queue), queue->available & 0xffff, 2);
    } else if ((device->accepted & PIOMMU_VIRTIO_F_EVENT_IDX) != 0) {
        put(device, event_word(device, queue), queue->available % queue->size | wrap, 2);
        put(device, event_word(device, queue) + 2, 2, 2);
    }
}

/* It goes on elsewhere: by an index that jumps, or with an answer in another place. */
static void jump(struct hostile_device *device, struct hostile_queue *queue)
{
    queue->used += (uint16_t)hostile_boundary(device);
    if (is_packed(device)) {
        put_used_packed(device, queue, queue->used % queue->size, 0, 0);
    } else {
        put(device, queue->parts[USED] + 2, queue->used & 0xffff, 2);
    }
}

unsigned int hostile_answer(struct hostile_device *device, unsigned int number, unsigned int count)
{
    struct hostile_queue *queue = &device->queues[number];
    unsigned int answered = 0;
    struct chain chain;

    if (!queue->enabled || (device->status & 4) == 0 || device->resetting) {
        return 0;
    }
    while (answered < count && fetch(device, queue, &chain)) {
        if (lies_in_answer(device)) {
            answer_badly(device, number, &chain);
        } else {
            put_used(device, queue, chain.head, fill(device, number, &chain, 0), chain.count);
        }
        answered++;
    }
    ask_for_next(device, queue);
    return answered;
}

/* ---- Turns ---- */

/* Any bytes anywhere in what the device can reach of a queue. */
static void scribble(struct hostile_device *device)
{
    const struct hostile_queue *queue = &device->queues[hostile_own_byte(device) % HOSTILE_QUEUES];
    unsigned int choice = hostile_own_byte(device);
    enum part part = (enum part)(choice % 3);
    uint64_t at = queue->parts[part];

    if (!queue->enabled) {
        return;
    }
    if ((choice & 0x80) != 0) {
        at = get(device, queue->parts[DESCRIPTORS] + 16ull * hostile_own_byte(device), 8);
    }
    put(device, at + hostile_own_byte(device) * ((choice & 0x40) != 0 ? 8ull : 1ull),
        hostile_boundary(device), 1u << (choice / 16 % 4));
}

static void send_event(struct hostile_device *device)
{
    unsigned int count = 1 + hostile_own_byte(device) % 8;

    hostile_answer(device, 1, count);
}

void hostile_act(struct hostile_device *device)
{
    struct hostile_queue *queue = &device->queues[hostile_own_byte(device) % HOSTILE_QUEUES];
    unsigned int choice = hostile_own_byte(device) % 10;

    device->tampered |= choice == 1 || choice == 2 || choice > 6;
    hostile_say(device, "    the device does %u\n", choice);
    switch (choice) {
    case 0:
        device->held = patience(device);
        break;
    case 1:
        if (queue->enabled) {
            put_used(device, queue, (uint32_t)hostile_boundary(device),
                     (uint32_t)hostile_boundary(device), 1);
        }
        break;
    case 2:
        if (queue->enabled) {
            jump(device, queue);
        }
        break;
    case 3:
        device->status |= STATUS_NEED_RESET;
        break;
    case 4:
        device->generation++;
        device->config[hostile_own_byte(device) % HOSTILE_CONFIG] =
            (uint8_t)hostile_own_byte(device);
        device->interrupts |= 2;
        break;
    case 5:
        if (queue->enabled) {
            put(device, event_word(device, queue), hostile_boundary(device), 2);
            put(device, queue->parts[USED] + (is_packed(device) ? 2 : 0), hostile_own_byte(device),
                2);
        }
        break;
    case 6:
        send_event(device);
        break;
    default:
        scribble(device);
        break;
    }
}

/* Something that the device could use: true if it does. */
static bool is_turn(struct hostile_device *device)
{
    if (++device->calls > MAX_CALLS) {
        hostile_broken("%s calls the shim without end", device->call);
    }
    if (device->held > 0) {
        device->held--;
    }
    if (device->honest || device->quiet || device->turns-- != 0) {
        return false;
    }
    device->turns = patience(device);
    return device->left != 0;
}

static void work(struct hostile_device *device)
{
    if (!device->quiet && (device->honest || device->held == 0)) {
        hostile_answer(device, 0, UINT32_MAX);
    }
}

/* What a register reads as in the end. */
static uint32_t told(struct hostile_device *device, uint64_t offset, uint32_t value)
{
    for (unsigned int i = 0; i < HOSTILE_LIES && !device->honest; i++) {
        if (device->lies[i].left > 0 && device->lies[i].offset == offset) {
            device->lies[i].left--;
            value = device->lies[i].value;
        }
    }
    if (is_turn(device)) {
        unsigned int choice = hostile_own_byte(device);

        if ((choice & 1) != 0) {
            hostile_act(device);
        } else {
            struct hostile_lie *lie = &device->lies[device->next_lie++ % HOSTILE_LIES];

            value = (choice & 2) != 0 ? (uint32_t)hostile_boundary(device)
                                      : value ^ (1u << (hostile_own_byte(device) % 32));
            *lie = (struct hostile_lie){offset, value, choice / 4};
            hostile_say(device, "    register 0x%" PRIx64 " lies: 0x%" PRIx32 ", and %u times\n",
                        offset, value, choice / 4);
        }
    }
    return value;
}

/* ---- Registers ---- */

static void reset(struct hostile_device *device)
{
    memset(device->queues, 0, sizeof(device->queues));
    device->resetting = false;
    device->tampered = false;
    device->status = 0;
    device->interrupts = 0;
    device->accepted = 0;
    device->queue_select = 0;
}

static void write_status(struct hostile_device *device, uint8_t value)
{
    device->resetting = value == 0 && device->status != 0;
    if (value != 0) {
        device->status = (uint8_t)(value | (device->status & STATUS_NEED_RESET));
    }
}

static uint8_t read_status(struct hostile_device *device, uint64_t offset)
{
    uint8_t value = (uint8_t)told(device, offset, device->resetting ? 0 : device->status);

    if (value == 0 && device->resetting) {
        reset(device);
    }
    return value;
}

static struct hostile_queue *selected(struct hostile_device *device)
{
    return device->queue_select < HOSTILE_QUEUES ? &device->queues[device->queue_select] : NULL;
}

static uint32_t select_half(uint64_t value, uint32_t half)
{
    return half < 2 ? (uint32_t)(value >> (32 * half)) : 0;
}

static void put_half(uint64_t *value, unsigned int half, uint32_t part)
{
    *value &= half == 0 ? 0xffffffff00000000ull : 0xffffffffull;
    *value |= (uint64_t)part << (half == 0 ? 0 : 32);
}

static uint32_t read_config(const struct hostile_device *device, uint64_t offset,
                            unsigned int width)
{
    uint32_t value = 0;

    for (unsigned int i = 0; i < width && offset + i < HOSTILE_CONFIG; i++) {
        value |= (uint32_t)device->config[offset + i] << (8 * i);
    }
    return value;
}

static void write_config(struct hostile_device *device, uint64_t offset, uint32_t value)
{
    if (offset < HOSTILE_CONFIG) {
        device->config[offset] = (uint8_t)value;
    }
}

static uint32_t take_interrupts(struct hostile_device *device)
{
    uint32_t value = device->interrupts;

    device->interrupts = 0;
    return value;
}

static uint32_t read_pci(struct hostile_device *device, uint64_t offset, unsigned int width)
{
    const struct hostile_queue *queue = selected(device);

    switch (offset) {
    case 0:
        return device->device_select;
    case 4:
        return select_half(device->features, device->device_select);
    case 16:
        return device->config_vector;
    case 18:
        return HOSTILE_QUEUES;
    case 21:
        return device->generation;
    case 22:
        return device->queue_select;
    case 24:
        return queue == NULL ? 0 : queue->size != 0 ? queue->size : device->queue_max;
    case 26:
        return queue != NULL ? queue->vector : 0xffff;
    case 28:
        return queue != NULL && queue->enabled;
    case 30:
        return device->queue_select;
    case BAR_ISR:
        return take_interrupts(device);
    default:
        return offset >= BAR_CONFIG && offset < BAR_NOTIFY
                   ? read_config(device, offset - BAR_CONFIG, width)
                   : 0;
    }
}

static void write_pci(struct hostile_device *device, uint64_t offset, uint32_t value)
{
    struct hostile_queue *queue = selected(device);

    if (offset >= BAR_NOTIFY && offset < BAR_MESSAGES) {
        work(device);
    } else if (offset >= BAR_CONFIG && offset < BAR_NOTIFY) {
        write_config(device, offset - BAR_CONFIG, value);
    } else if (offset >= 32 && offset < 56 && queue != NULL) {
        put_half(&queue->parts[(offset - 32) / 8], offset / 4 % 2, value);
    } else if (offset == 0) {
        device->device_select = value;
    } else if (offset == 8) {
        device->driver_select = value;
    } else if (offset == 12 && device->driver_select < 2) {
        put_half(&device->accepted, device->driver_select, value);
    } else if (offset == 16) {
        device->config_vector = (uint16_t)value;
    } else if (offset == 20) {
        write_status(device, (uint8_t)value);
    } else if (offset == 22) {
        device->queue_select = (uint16_t)value;
    } else if (offset == 24 && queue != NULL) {
        queue->size = (uint16_t)value;
    } else if (offset == 26 && queue != NULL) {
        queue->vector = (uint16_t)value;
    } else if (offset == 28 && queue != NULL) {
        queue->enabled = value != 0;
    }
}

static uint32_t read_mmio(struct hostile_device *device, uint64_t offset, unsigned int width)
{
    const struct hostile_queue *queue = selected(device);

    switch (offset) {
    case 0x000:
        return 0x74726976;
    case 0x004:
        return 2;
    case 0x008:
        return HOSTILE_TYPE;
    case 0x010:
        return select_half(device->features, device->device_select);
    case 0x034:
        return queue != NULL ? device->queue_max : 0;
    case 0x044:
        return queue != NULL && queue->enabled;
    case 0x060:
        return device->interrupts;
    case 0x0fc:
        return device->generation;
    default:
        return offset >= 0x100 ? read_config(device, offset - 0x100, width) : 0;
    }
}

static void write_mmio(struct hostile_device *device, uint64_t offset, uint32_t value)
{
    struct hostile_queue *queue = selected(device);

    if (offset == 0x050) {
        work(device);
    } else if (offset >= 0x100) {
        write_config(device, offset - 0x100, value);
    } else if (offset >= 0x080 && offset < 0x0a8 && queue != NULL) {
        put_half(&queue->parts[(offset - 0x80) / 16], offset / 4 % 2, value);
    } else if (offset == 0x014) {
        device->device_select = value;
    } else if (offset == 0x024) {
        device->driver_select = value;
    } else if (offset == 0x020 && device->driver_select < 2) {
        put_half(&device->accepted, device->driver_select, value);
    } else if (offset == 0x030) {
        device->queue_select = (uint16_t)value;
    } else if (offset == 0x038 && queue != NULL) {
        queue->size = (uint16_t)value;
    } else if (offset == 0x044 && queue != NULL) {
        queue->enabled = value != 0;
    } else if (offset == 0x064) {
        device->interrupts &= (uint8_t)~value;
    } else if (offset == 0x070) {
        write_status(device, (uint8_t)value);
    }
}

static uint64_t offset_of(const struct hostile_device *device, uint64_t physical)
{
    return device->mmio ? physical - HOSTILE_MMIO_ADDRESS : physical - BAR_BASE(BAR);
}

static uint32_t on_read(void *ctx, uint64_t physical, unsigned int width)
{
    struct hostile_device *device = ctx;
    uint64_t offset = offset_of(device, physical);
    uint32_t value;

    if (offset == (device->mmio ? 0x070u : BAR_COMMON + 20u)) {
        return read_status(device, offset);
    }
    value = device->mmio ? read_mmio(device, offset, width) : read_pci(device, offset, width);
    return told(device, offset, value) & (UINT32_MAX >> (32 - 8 * width));
}

static void on_write(void *ctx, uint64_t physical, unsigned int width, uint32_t value)
{
    struct hostile_device *device = ctx;
    uint64_t offset = offset_of(device, physical);

    (void)width;
    if (is_turn(device)) {
        hostile_act(device);
    }
    if (device->mmio) {
        write_mmio(device, offset, value);
    } else {
        write_pci(device, offset, value);
    }
}

static void on_wait(void *ctx)
{
    struct hostile_device *device = ctx;

    if (is_turn(device)) {
        hostile_act(device);
    }
    work(device);
}

/* ---- The shim ---- */

static void on_barrier(void *ctx, enum piommu_barrier kind)
{
    strict.barrier(ctx, kind);
    if (is_turn(current)) {
        hostile_act(current);
    }
}

static uint64_t on_now(void *ctx)
{
    if (++current->calls > MAX_CALLS) {
        hostile_broken("%s looks at the clock without end", current->call);
    }
    return strict.now(ctx);
}

static bool is_register(const struct hostile_device *device, uint64_t physical, uint64_t size)
{
    uint64_t first = HOSTILE_MMIO_ADDRESS;
    uint64_t room = HOSTILE_MMIO_SIZE;

    if (!device->mmio) {
        uint64_t number = (physical >> 36) - 1;

        if (number >= HOSTILE_BARS) {
            return false;
        }
        first = BAR_BASE(number);
        room = device->bar_size[number];
    }
    return physical >= first && physical - first < room && size <= room - (physical - first);
}

static int on_mmio_map(void *ctx, uint64_t physical, uint64_t size, uintptr_t *base)
{
    if (!is_register(current, physical, size)) {
        hostile_broken("%s maps 0x%" PRIx64 " + 0x%" PRIx64 ", which are no registers",
                       current->call, physical, size);
    }
    /* A host has an end to what it can map, too. */
    return size <= 0x100000 ? strict.mmio_map(ctx, physical, size, base) : -PIOMMU_ENOMEM;
}

static uint32_t on_config_read(void *ctx, struct piommu_pci_function function, unsigned int offset,
                               unsigned int width)
{
    uint32_t value = strict.pci_config_read(ctx, function, offset, width);

    if (current->mmio || function.bdf != HOSTILE_BDF) {
        return value;
    }
    value = 0;
    for (unsigned int i = 0; i < width; i++) {
        value |= (uint32_t)current->space[offset + i] << (8 * i);
    }
    return told(current, 0x10000 + offset, value) & (UINT32_MAX >> (32 - 8 * width));
}

static void on_config_write(void *ctx, struct piommu_pci_function function, unsigned int offset,
                            unsigned int width, uint32_t value)
{
    strict.pci_config_write(ctx, function, offset, width, value);
    for (unsigned int i = 0; i < width && !current->mmio; i++) {
        current->space[offset + i] = (uint8_t)(value >> (8 * i));
    }
    if (is_turn(current)) {
        hostile_act(current);
    }
}

static int on_bar(void *ctx, struct piommu_pci_function function, unsigned int number,
                  struct piommu_pci_bar *bar)
{
    int error = strict.pci_bar(ctx, function, number, bar);

    bar->physical = BAR_BASE(number);
    bar->size = current->bar_size[number];
    return error;
}

/* Rings belong to the device until it has confirmed its reset. */
static void on_dma_free(void *ctx, uint64_t physical, uint64_t size)
{
    const struct hostile_device *device = ctx;

    for (unsigned int i = 0; i < HOSTILE_QUEUES; i++) {
        for (unsigned int j = 0; j < 3 && device->queues[i].enabled; j++) {
            if (device->queues[i].parts[j] - physical < size && hostile_is_live(device)) {
                hostile_broken("%s gives back the rings of a live device", device->call);
            }
        }
    }
}

static void replace_callbacks(struct fake_os *os)
{
    struct piommu_os *callbacks = fake_os_callbacks(os);

    strict = *callbacks;
    callbacks->barrier = on_barrier;
    callbacks->now = on_now;
    callbacks->mmio_map = on_mmio_map;
    callbacks->pci_config_read = on_config_read;
    callbacks->pci_config_write = on_config_write;
    callbacks->pci_bar = on_bar;
}

/* ---- Life ---- */

static void put_capability(uint8_t *space, unsigned int at, unsigned int next, unsigned int type,
                           uint32_t offset, uint32_t length)
{
    space[at] = 0x09;
    space[at + 1] = (uint8_t)next;
    space[at + 2] = type == 2 ? 20 : 16;
    space[at + 3] = (uint8_t)type;
    space[at + 4] = BAR;
    for (unsigned int i = 0; i < 4; i++) {
        space[at + 8 + i] = (uint8_t)(offset >> (8 * i));
        space[at + 12 + i] = (uint8_t)(length >> (8 * i));
    }
}

static void fill_space(struct hostile_device *device)
{
    uint8_t *space = device->space;

    space[0x00] = 0xf4;
    space[0x01] = 0x1a;
    space[0x02] = 0x40 + HOSTILE_TYPE;
    space[0x03] = 0x10;
    space[0x06] = 0x10; /* there is a list of capabilities */
    space[0x08] = 1;
    space[0x34] = 0x40;
    put_capability(space, 0x40, 0x50, 1, BAR_COMMON, 0x40);
    put_capability(space, 0x50, 0x70, 2, BAR_NOTIFY, 0x100);
    space[0x50 + 16] = 4; /* bytes from one doorbell to the next */
    put_capability(space, 0x70, 0x80, 3, BAR_ISR, 0x20);
    put_capability(space, 0x80, 0x90, 4, BAR_CONFIG, HOSTILE_CONFIG);
    space[0x90] = 0x11; /* MSI-X: two vectors, table and pending bits */
    space[0x92] = 1;
    space[0x94] = (uint8_t)(BAR_MESSAGES & 0xff) | BAR;
    space[0x95] = (uint8_t)(BAR_MESSAGES >> 8);
    space[0x98] = 0x80 | BAR;
    space[0x99] = (uint8_t)(BAR_MESSAGES >> 8);
    device->bar_size[BAR] = BAR_SIZE;
}

struct hostile_device *hostile_create(const uint8_t *bytes, size_t size, bool mmio)
{
    /* Each piece of memory is an object of its own, whose ends the address sanitizer guards. */
    struct fake_os_options options = {.scattered = true};
    struct hostile_device *device = calloc(1, sizeof(*device));
    struct fake_os_bus bus = {
        .ctx = device, .read = on_read, .write = on_write, .progress = on_wait};

    if (device == NULL) {
        hostile_broken("no memory");
    }
    device->bytes = bytes;
    device->left = size;
    device->mmio = mmio;
    device->talks = getenv("PIOMMU_FUZZ_TALK") != NULL;
    device->queue_max = 64;
    device->call = "nothing";
    fill_space(device);
    device->non_coherent = hostile_own_byte(device) % 8 == 1;
    options.non_coherent_rings = device->non_coherent;
    device->os = fake_os_create(&options);
    fake_os_connect_bus(device->os, &bus);
    fake_os_on_dma_free(device->os, on_dma_free, device);
    replace_callbacks(device->os);
    current = device;
    device->turns = patience(device);
    device->answers = patience(device);
    return device;
}

void hostile_destroy(struct hostile_device *device, bool leaks)
{
    if (leaks) {
        fake_os_destroy_with_leaks(device->os);
    } else {
        fake_os_destroy(device->os);
    }
    free(device);
}

bool hostile_is_live(const struct hostile_device *device)
{
    return (device->status & STATUS_READY) != 0;
}

void hostile_begin_call(struct hostile_device *device, const char *name)
{
    device->call = name;
    device->calls = 0;
    hostile_say(device, "%s\n", name);
}

void hostile_expect(struct hostile_device *device, int error, const int *documented)
{
    hostile_say(device, "  -> %d\n", error);
    if (error == 0) {
        return;
    }
    for (; *documented != 0; documented++) {
        if (error == -*documented) {
            return;
        }
    }
    hostile_broken("%s returned %d, which its header does not say", device->call, error);
}
