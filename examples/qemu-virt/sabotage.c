/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Numbers: OASIS Virtual I/O Device (VIRTIO) Version 1.2, sections 2.7 (split virtqueues), 2.8
 * (packed virtqueues), 4.1.4 (virtio over PCI), 5.13 (IOMMU device).
 */

#include "sabotage.h"

#include "machine.h"

#define CAPABILITY_VENDOR 0x09
#define CAPABILITY_TYPE   3u
#define CAPABILITY_BAR    4u
#define CAPABILITY_OFFSET 8u
#define CAPABILITY_FACTOR 16u

#define TYPE_COMMON 1u
#define TYPE_NOTIFY 2u
#define TYPE_DEVICE 4u

#define COMMON_DEVICE_FEATURE_SELECT 0u
#define COMMON_DEVICE_FEATURE        4u
#define COMMON_DRIVER_FEATURE_SELECT 8u
#define COMMON_DRIVER_FEATURE        12u
#define COMMON_STATUS                20u
#define COMMON_QUEUE_SELECT          22u
#define COMMON_QUEUE_SIZE            24u
#define COMMON_QUEUE_NOTIFY          30u
#define COMMON_QUEUE_DESCRIPTORS     32u
#define COMMON_QUEUE_AVAILABLE       40u

#define CONFIG_BYPASS 36u

#define STATUS_FEATURES_OK 0x0bu /* with ACKNOWLEDGE and DRIVER, which come before */
#define STATUS_NEEDS_RESET 0x40u

#define FEATURE_BYPASS_CONFIG (1u << 6)
#define FEATURE_VERSION_1     (1u << 0) /* of the upper half */
#define FEATURE_RING_PACKED   (1ull << 34)

#define PACKED_AVAILABLE (1u << 7)
#define PACKED_USED      (1u << 15)

#define REQUEST_QUEUE 0u
#define EVENT_QUEUE   1u

#define SHORT_REQUEST 2u /* a request's head alone has 4 bytes */
#define SHORT_EVENT   8u /* a report has 24 */

#define PATIENCE 20000000000ull
#define INTERVAL 1000000ull

/* A descriptor, and the ring of those that are available. */
struct descriptor {
    uint64_t address;
    uint32_t length;
    union {
        struct {
            uint16_t flags;
            uint16_t next;
        };
        struct {
            uint16_t id;
            uint16_t flags;
        } packed;
    };
};

struct available {
    uint16_t flags;
    uint16_t index;
    uint16_t ring[];
};

struct queue {
    uint16_t size;
    volatile struct descriptor *descriptors;
    volatile struct available *available;
};

int sabotage_open(struct sabotage *sabotage, uint16_t bdf)
{
    unsigned int offset = 0;

    *sabotage = (struct sabotage){.common = 0};
    while ((offset = machine_pci_capability(bdf, CAPABILITY_VENDOR, offset)) != 0) {
        unsigned int bar = machine_pci_read(bdf, offset + CAPABILITY_BAR, 1);
        uint64_t address, size;

        if (machine_pci_bar(bdf, bar, &address, &size) != 0 || size == 0) {
            continue;
        }
        address += machine_pci_read(bdf, offset + CAPABILITY_OFFSET, 4);
        switch (machine_pci_read(bdf, offset + CAPABILITY_TYPE, 1)) {
        case TYPE_COMMON:
            sabotage->common = (uintptr_t)address;
            break;
        case TYPE_NOTIFY:
            sabotage->notify = (uintptr_t)address;
            sabotage->notify_multiplier = machine_pci_read(bdf, offset + CAPABILITY_FACTOR, 4);
            break;
        case TYPE_DEVICE:
            sabotage->config = (uintptr_t)address;
            break;
        default:
            break;
        }
    }
    return sabotage->common != 0 && sabotage->notify != 0 && sabotage->config != 0 ? 0 : -1;
}

static uint64_t read_common(const struct sabotage *sabotage, unsigned int offset,
                            unsigned int width)
{
    return machine_mmio_read(sabotage->common + offset, width);
}

/* An address is two registers. */
static uint64_t read_address(const struct sabotage *sabotage, unsigned int offset)
{
    return read_common(sabotage, offset, 4) | read_common(sabotage, offset + 4, 4) << 32;
}

static struct queue select_queue(const struct sabotage *sabotage, uint16_t number)
{
    machine_mmio_write(sabotage->common + COMMON_QUEUE_SELECT, 2, number);
    return (struct queue){
        .size = (uint16_t)read_common(sabotage, COMMON_QUEUE_SIZE, 2),
        .descriptors = (struct descriptor *)read_address(sabotage, COMMON_QUEUE_DESCRIPTORS),
        .available = (struct available *)read_address(sabotage, COMMON_QUEUE_AVAILABLE),
    };
}

/* Features are read half by half. */
static uint64_t read_features(const struct sabotage *sabotage, unsigned int select,
                              unsigned int features)
{
    uint64_t all = 0;

    for (unsigned int i = 0; i < 2; i++) {
        machine_mmio_write(sabotage->common + select, 4, i);
        all |= read_common(sabotage, features, 4) << 32 * i;
    }
    return all;
}

uint64_t sabotage_offered(const struct sabotage *sabotage)
{
    return read_features(sabotage, COMMON_DEVICE_FEATURE_SELECT, COMMON_DEVICE_FEATURE);
}

uint64_t sabotage_accepted(const struct sabotage *sabotage)
{
    return read_features(sabotage, COMMON_DRIVER_FEATURE_SELECT, COMMON_DRIVER_FEATURE);
}

bool sabotage_is_broken(const struct sabotage *sabotage)
{
    uint64_t start = machine_now();

    do {
        if ((read_common(sabotage, COMMON_STATUS, 1) & STATUS_NEEDS_RESET) != 0) {
            return true;
        }
        machine_delay(INTERVAL);
    } while (machine_now() - start < PATIENCE);
    return false;
}

bool sabotage_bypasses(const struct sabotage *sabotage)
{
    return machine_mmio_read(sabotage->config + CONFIG_BYPASS, 1) != 0;
}

static void add_split(const struct queue *queue, const void *request, uint32_t size)
{
    /* While no request is in flight every descriptor is free. */
    uint16_t head = (uint16_t)(queue->size - 1);
    uint16_t index = queue->available->index;

    queue->descriptors[head].address = machine_physical(request);
    queue->descriptors[head].length = size;
    queue->descriptors[head].flags = 0;
    queue->available->ring[index % queue->size] = head;
    machine_barrier();
    queue->available->index = (uint16_t)(index + 1);
}

static void add_packed(const struct queue *queue, const void *request, uint32_t size)
{
    unsigned int round = queue->descriptors[0].packed.flags & PACKED_AVAILABLE;
    uint16_t slot = 1;

    /* The driver goes on behind the last descriptor that it has written in this round. */
    while (slot < queue->size &&
           (queue->descriptors[slot].packed.flags & PACKED_AVAILABLE) == round) {
        slot++;
    }
    if (slot == queue->size) {
        slot = 0;
        round ^= PACKED_AVAILABLE;
    }
    queue->descriptors[slot].address = machine_physical(request);
    queue->descriptors[slot].length = size;
    queue->descriptors[slot].packed.id = 0;
    machine_barrier();
    queue->descriptors[slot].packed.flags = (uint16_t)(round != 0 ? round : PACKED_USED);
}

void sabotage_short_request(const struct sabotage *sabotage)
{
    static uint8_t request[SHORT_REQUEST];
    struct queue queue = select_queue(sabotage, REQUEST_QUEUE);

    if ((sabotage_accepted(sabotage) & FEATURE_RING_PACKED) != 0) {
        add_packed(&queue, request, sizeof(request));
    } else {
        add_split(&queue, request, sizeof(request));
    }
    machine_barrier();
    machine_mmio_write(sabotage->notify + sabotage->notify_multiplier *
                                              read_common(sabotage, COMMON_QUEUE_NOTIFY, 2),
                       2, REQUEST_QUEUE);
}

void sabotage_short_events(const struct sabotage *sabotage)
{
    struct queue queue = select_queue(sabotage, EVENT_QUEUE);

    for (unsigned int i = 0; i < queue.size; i++) {
        queue.descriptors[i].length = SHORT_EVENT;
    }
    machine_barrier();
}

static void set_features(const struct sabotage *sabotage, unsigned int half, uint32_t features)
{
    machine_mmio_write(sabotage->common + COMMON_DRIVER_FEATURE_SELECT, 4, half);
    machine_mmio_write(sabotage->common + COMMON_DRIVER_FEATURE, 4, features);
}

static void reset(const struct sabotage *sabotage)
{
    machine_mmio_write(sabotage->common + COMMON_STATUS, 1, 0);
    while (read_common(sabotage, COMMON_STATUS, 1) != 0) {
    }
}

void sabotage_power_cycle(const struct sabotage *sabotage)
{
    /* A reset leaves it closed, if it is. It can be opened by who has agreed on this feature. */
    reset(sabotage);
    set_features(sabotage, 0, FEATURE_BYPASS_CONFIG);
    set_features(sabotage, 1, FEATURE_VERSION_1);
    machine_mmio_write(sabotage->common + COMMON_STATUS, 1, STATUS_FEATURES_OK);
    machine_mmio_write(sabotage->config + CONFIG_BYPASS, 1, 1);
    reset(sabotage);
}
