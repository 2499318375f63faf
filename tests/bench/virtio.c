/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * virtio-iommu: how many requests and doorbells calls of a domain take, which is exact, beside what
 * Linux's driver takes for the same calls; and what the rings take alone.
 *
 * The device is the simplest that there is: behind virtio-mmio, with rings of 256 entries, indirect
 * descriptors and (but for some rows) event indices, as QEMU's. It answers everything with success
 * within the doorbell, and counts. Virtual and physical addresses are the same.
 *
 * Source: OASIS Virtual I/O Device (VIRTIO) Version 1.2, sections 2.7 and 2.8 (split and packed
 * virtqueues), 4.2 (MMIO), 5.13 (IOMMU device).
 */

#include <piommu/piommu.h>
#include <piommu/virtio-iommu.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report.h"
#include "rows.h"

#define REGISTERS  0x0a000000u
#define SIZE       0x200u
#define RING       256u /* entries, of which the driver uses fewer */
#define DRIVER     128u /* requests that ours has in flight at most */
#define SCATTERED  512u
#define REPLAYED   10000u
#define PAGE       4096u
#define CALLS      262144u
#define QUEUES     2u
#define COUNT(a)   (sizeof(a) / sizeof((a)[0]))
#define TYPE_IOMMU 23u

/* ---- The device ---- */

enum { NEXT = 1, WRITABLE = 2, INDIRECT = 4, AVAILABLE = 0x80, USED = 0x8000 };

struct descriptor {
    uint64_t address;
    uint32_t length;
    uint16_t flags;
    uint16_t next;
};

struct queue {
    uint32_t parts[3][2]; /* addresses of descriptors, available and used ring, in halves */
    uint16_t size;
    uint16_t seen; /* free-running; in a packed ring descriptors, as of two rounds */
};

static struct device {
    uint64_t features;
    uint32_t status;
    uint32_t feature_select;
    uint32_t queue_select;
    struct queue queues[QUEUES];
    uint8_t config[40];
    unsigned long requests;
    unsigned long doorbells;
} device;

static void *part_of(const struct queue *queue, unsigned int part)
{
    return (void *)(uintptr_t)((uint64_t)queue->parts[part][1] << 32 | queue->parts[part][0]);
}

/* Success, in the last four bytes that can be written. */
static uint32_t answer_chain(const struct descriptor *table, const struct descriptor *at)
{
    uint32_t written = 0;

    if ((at->flags & INDIRECT) != 0) {
        table = (const struct descriptor *)(uintptr_t)at->address;
        at = table;
    }
    for (;;) {
        if ((at->flags & WRITABLE) != 0) {
            memset((void *)(uintptr_t)at->address, 0, at->length);
            written += at->length;
        }
        if ((at->flags & NEXT) == 0) {
            return written;
        }
        at = &table[at->next];
    }
}

static void answer_split(struct queue *queue)
{
    const struct descriptor *table = part_of(queue, 0);
    const volatile uint16_t *available = part_of(queue, 1);
    volatile uint16_t *used = part_of(queue, 2);

    while (queue->seen != available[1]) {
        unsigned int slot = queue->seen & (queue->size - 1u);
        uint16_t head = available[2 + slot];
        volatile uint32_t *entry = (volatile uint32_t *)(volatile void *)&used[2 + 4 * slot];

        entry[0] = head;
        entry[1] = answer_chain(table, &table[head]);
        queue->seen++;
        used[1] = queue->seen;
        device.requests++;
    }
    if ((device.features & PIOMMU_VIRTIO_F_EVENT_IDX) != 0) {
        used[2 + 4 * queue->size] = queue->seen;
    }
}

struct packed_descriptor {
    uint64_t address;
    uint32_t length;
    uint16_t id;
    uint16_t flags;
};

/* Success, in all that can be written; how many descriptors the chain has. */
static uint16_t answer_packed_chain(struct packed_descriptor *ring, const struct queue *queue,
                                    uint16_t *id, uint32_t *written)
{
    uint16_t count = 0;
    uint16_t flags;

    *written = 0;
    do {
        const struct packed_descriptor *at = &ring[(queue->seen + count) % queue->size];

        flags = at->flags;
        *id = at->id;
        count++;
        if ((flags & WRITABLE) != 0) {
            memset((void *)(uintptr_t)at->address, 0, at->length);
            *written += at->length;
        }
    } while ((flags & NEXT) != 0);
    return count;
}

/* Without tables. */
static void answer_packed(struct queue *queue)
{
    struct packed_descriptor *ring = part_of(queue, 0);
    volatile uint16_t *event = part_of(queue, 2);

    for (;;) {
        volatile struct packed_descriptor *used = &ring[queue->seen % queue->size];
        bool first = queue->seen < queue->size;
        uint16_t id;
        uint16_t count;
        uint32_t written;

        if ((used->flags & (AVAILABLE | USED)) != (first ? AVAILABLE : USED)) {
            break;
        }
        count = answer_packed_chain(ring, queue, &id, &written);
        used->id = id;
        used->length = written;
        used->flags = (uint16_t)(WRITABLE | (first ? AVAILABLE | USED : 0));
        queue->seen = (uint16_t)((queue->seen + count) % (2u * queue->size));
        device.requests++;
    }
    if ((device.features & PIOMMU_VIRTIO_F_EVENT_IDX) != 0) {
        event[0] = (uint16_t)(queue->seen % queue->size | (queue->seen < queue->size ? 0x8000 : 0));
        event[1] = 2;
    }
}

static void answer(struct queue *queue)
{
    if ((device.features & PIOMMU_VIRTIO_F_RING_PACKED) != 0) {
        answer_packed(queue);
    } else {
        answer_split(queue);
    }
}

static uint32_t device_read(void *ctx, uintptr_t address, unsigned int width)
{
    uintptr_t offset = address - REGISTERS;
    uint32_t value = 0;

    (void)ctx;
    switch (offset) {
    case 0x000:
        return 0x74726976;
    case 0x004:
        return 2;
    case 0x008:
        return TYPE_IOMMU;
    case 0x010:
        return (uint32_t)(device.features >> (32 * device.feature_select));
    case 0x034:
        return device.queue_select < QUEUES ? RING : 0;
    case 0x070:
        return device.status;
    default:
        if (offset >= 0x100 && offset + width <= 0x100 + sizeof(device.config)) {
            memcpy(&value, &device.config[offset - 0x100], width);
        }
        return value;
    }
}

static void device_write(void *ctx, uintptr_t address, unsigned int width, uint32_t value)
{
    uintptr_t offset = address - REGISTERS;
    struct queue *queue = &device.queues[device.queue_select % QUEUES];

    (void)ctx;
    (void)width;
    if (offset == 0x050) {
        device.doorbells += value == 0;
        if (value == 0) {
            answer(&device.queues[0]);
        }
    } else if (offset == 0x014) {
        device.feature_select = value & 1;
    } else if (offset == 0x030) {
        device.queue_select = value;
    } else if (offset == 0x038) {
        queue->size = (uint16_t)value;
    } else if (offset >= 0x080 && offset < 0x0a8) {
        queue->parts[(offset - 0x080) / 16][offset / 4 % 2] = value;
    } else if (offset == 0x070) {
        device.status = value;
        if (value == 0) {
            memset(device.queues, 0, sizeof(device.queues));
        }
    }
}

static void make_device(uint64_t ring_features)
{
    memset(&device, 0, sizeof(device));
    /* INPUT_RANGE, DOMAIN_RANGE, MAP_UNMAP, MMIO, BYPASS_CONFIG. */
    device.features = PIOMMU_VIRTIO_F_VERSION_1 | ring_features | 0x67;
    memset(&device.config[1], 0xff, 7);
    device.config[1] = 0xf0; /* pages of 4 KiB */
    memset(&device.config[16], 0xff, 8);
    memset(&device.config[28], 0xff, 4);
}

/* ---- The host ---- */

static void *host_dma_alloc(void *ctx, const struct piommu_dma_request *request, uint64_t *physical)
{
    void *memory = aligned_alloc(PAGE, (request->size + PAGE - 1) / PAGE * PAGE);

    (void)ctx;
    *physical = (uintptr_t)memory;
    return memory;
}

static void host_dma_free(void *ctx, void *memory, size_t size)
{
    (void)ctx;
    (void)size;
    free(memory);
}

static int host_mmio_map(void *ctx, uint64_t physical, uint64_t size, uintptr_t *base)
{
    (void)ctx;
    (void)size;
    *base = (uintptr_t)physical;
    return 0;
}

static void host_mmio_unmap(void *ctx, uintptr_t base, uint64_t size)
{
    (void)ctx;
    (void)base;
    (void)size;
}

/* So that a wait for what never comes has an end. */
static uint64_t host_now(void *ctx)
{
    static uint64_t time;

    (void)ctx;
    return time += 1000000;
}

static const struct piommu_os *virtio_os(void)
{
    static struct piommu_os os;

    os = ours_os;
    os.dma_alloc = host_dma_alloc;
    os.dma_free = host_dma_free;
    os.mmio_map = host_mmio_map;
    os.mmio_unmap = host_mmio_unmap;
    os.mmio_read = device_read;
    os.mmio_write = device_write;
    os.now = host_now;
    return &os;
}

/* ---- Requests and doorbells ---- */

/* What a call took. */
struct sent {
    unsigned long requests;
    unsigned long doorbells;
};

/*
 * What Linux's driver does, since its version 6.8, in a ring in which a request takes one entry
 * (indirect descriptors): a MAP is put into the ring without a doorbell; a full ring is rung and
 * waited for; the end of a map or map_sg call rings once. When the first device enters a domain,
 * each mapping that is there already is sent, and waited for, by itself.
 *
 * Source: what drivers/iommu/virtio-iommu.c of Linux 6.8 and later does.
 */
static void linux_sync(struct sent *sent, unsigned int *waiting)
{
    sent->doorbells += *waiting != 0;
    *waiting = 0;
}

static struct sent linux_maps(unsigned int runs, bool one_by_one)
{
    struct sent sent = {0, 0};
    unsigned int waiting = 0;

    for (unsigned int i = 0; i < runs; i++) {
        if (waiting == RING || one_by_one) {
            linux_sync(&sent, &waiting);
        }
        waiting++;
        sent.requests++;
    }
    linux_sync(&sent, &waiting);
    return sent;
}

static struct sent sent_since(const struct sent *before)
{
    return (struct sent){device.requests - before->requests, device.doorbells - before->doorbells};
}

static struct sent sent_now(void)
{
    return (struct sent){device.requests, device.doorbells};
}

static struct sent map_contiguous(struct core *core, size_t pages)
{
    struct sent before = sent_now();

    if (piommu_domain_map(core->domain, BENCH_BASE, BENCH_OFFSET, pages * (uint64_t)PAGE,
                          PIOMMU_PROT_READ | PIOMMU_PROT_WRITE) != 0) {
        wrong("virtio: a map failed");
    }
    return sent_since(&before);
}

/* Each page is elsewhere. */
static struct sent map_scattered(struct core *core, size_t pages)
{
    static struct piommu_segment segments[REPLAYED];
    struct sent before = sent_now();

    for (size_t i = 0; i < pages; i++) {
        segments[i] = (struct piommu_segment){BENCH_OFFSET + (pages - i) * 2 * PAGE, PAGE};
    }
    if (piommu_domain_map_list(core->domain, BENCH_BASE, segments, pages,
                               PIOMMU_PROT_READ | PIOMMU_PROT_WRITE) != 0) {
        wrong("virtio: a map of a list failed");
    }
    return sent_since(&before);
}

static void unmap_pages(struct core *core, size_t pages)
{
    struct piommu_gather gather;

    piommu_gather_init(&gather);
    if (piommu_domain_unmap(core->domain, BENCH_BASE, pages * (uint64_t)PAGE, &gather, NULL) != 0 ||
        piommu_domain_sync(core->domain, &gather) != 0) {
        wrong("virtio: an unmap failed");
    }
}

static struct sent replay(struct core *core)
{
    struct sent before;

    if (piommu_device_detach(core->device) != 0) {
        wrong("virtio: a detach failed");
    }
    map_scattered(core, REPLAYED);
    before = sent_now();
    if (piommu_device_attach(core->device, core->domain) != 0) {
        wrong("virtio: an attach failed");
    }
    /* The ATTACH is there without anything to replay, too. */
    before.requests++;
    before.doorbells++;
    return sent_since(&before);
}

static void report_sent(const char *name, struct sent our_own, struct sent of_linux)
{
    char row[ROW_NAME_SIZE];

    snprintf(row, sizeof(row), "requests_%s", name);
    report_add_exact("virtio", row, UNIT_REQUESTS, (double)our_own.requests,
                     (double)of_linux.requests);
    snprintf(row, sizeof(row), "doorbells_%s", name);
    report_add_exact("virtio", row, UNIT_DOORBELLS, (double)our_own.doorbells,
                     (double)of_linux.doorbells);
}

void virtio_count(void)
{
    static const size_t contiguous[] = {1, 512, 262144};
    static const size_t scattered[] = {DRIVER, SCATTERED};
    const struct piommu_virtio_iommu_config where = {.registers = REGISTERS,
                                                     .registers_size = SIZE};
    struct core core;
    char name[16];

    make_device(PIOMMU_VIRTIO_F_INDIRECT_DESC | PIOMMU_VIRTIO_F_EVENT_IDX);
    if (!core_open(&core, virtio_os(), piommu_virtio_iommu_backend(), &where)) {
        wrong("virtio: the core does not start");
        return;
    }
    for (unsigned int i = 0; i < COUNT(contiguous); i++) {
        snprintf(name, sizeof(name), "map_%zu", contiguous[i]);
        report_sent(name, map_contiguous(&core, contiguous[i]), linux_maps(1, false));
        unmap_pages(&core, contiguous[i]);
    }
    for (unsigned int i = 0; i < COUNT(scattered); i++) {
        snprintf(name, sizeof(name), "scatter_%zu", scattered[i]);
        report_sent(name, map_scattered(&core, scattered[i]),
                    linux_maps((unsigned int)scattered[i], false));
        unmap_pages(&core, scattered[i]);
    }
    report_sent("replay_10000", replay(&core), linux_maps(REPLAYED, true));
    core_close(&core);
}

/* ---- The rings alone ---- */

struct ring {
    struct piommu_virtio_device *device;
    struct piommu_virtqueue *queue;
    uint8_t *request;
};

static bool ring_open(struct ring *ring, uint64_t features)
{
    const struct piommu_virtio_mmio_config where = {
        .registers = REGISTERS, .size = SIZE, .type = TYPE_IOMMU};
    const struct piommu_virtqueue_config config = {
        .max_size = DRIVER, .polled = true, .max_pieces = 2};
    uint64_t accepted;

    memset(ring, 0, sizeof(*ring));
    make_device(features);
    ring->request = aligned_alloc(64, 64);
    if (ring->request == NULL ||
        piommu_virtio_mmio_open((struct piommu_host){.os = virtio_os()}, &where, &ring->device) !=
            0 ||
        piommu_virtio_negotiate(ring->device, PIOMMU_VIRTIO_F_GENERIC, 0, &accepted) != 0 ||
        piommu_virtqueue_create(ring->device, &config, &ring->queue) != 0) {
        return false;
    }
    piommu_virtio_start(ring->device);
    return true;
}

static void ring_close(struct ring *ring)
{
    if (piommu_virtio_reset(ring->device, 1) != 0) {
        wrong("virtio: the device does not stop");
    }
    piommu_virtqueue_destroy(ring->queue);
    piommu_virtio_close(ring->device);
    free(ring->request);
}

/*
 * A request of two pieces: put into the ring, shown, answered, taken back. The name is for
 * callgrind.
 */
__attribute__((noinline)) static bool counted_requests(struct ring *ring, size_t calls)
{
    const struct piommu_virtio_buffer pieces[] = {
        {.physical = (uintptr_t)ring->request, .size = 36},
        {.physical = (uintptr_t)ring->request + 36, .size = 4, .writable = true}};
    bool good = true;

    for (size_t i = 0; i < calls; i++) {
        uint16_t head;
        uint16_t taken;
        uint32_t length;

        good &= piommu_virtqueue_add(ring->queue, pieces, 2, &head) == 0;
        good &= piommu_virtqueue_publish(ring->queue);
        answer(&device.queues[0]);
        good &= piommu_virtqueue_take(ring->queue, &taken, &length) == 1;
        good &= taken == head && length == 4;
    }
    return good;
}

static const struct {
    const char *name;
    uint64_t features;
} kinds[] = {{"ring_split", 0},
             {"ring_split_event_idx", PIOMMU_VIRTIO_F_EVENT_IDX},
             {"ring_packed", PIOMMU_VIRTIO_F_RING_PACKED},
             {"ring_packed_event_idx", PIOMMU_VIRTIO_F_RING_PACKED | PIOMMU_VIRTIO_F_EVENT_IDX}};

static void measure_ring(const char *name, uint64_t features, const struct effort *effort)
{
    size_t calls = CALLS / effort->divisor;
    struct samples samples[IMPLEMENTATIONS] = {0};
    struct ring ring;

    if (!ring_open(&ring, features)) {
        wrong("virtio: there is no ring");
        return;
    }
    for (unsigned int i = 0; i <= effort->repetitions; i++) {
        double begin = now();
        bool good = counted_requests(&ring, calls);
        double end = now();

        if (!good) {
            wrong("virtio: %s failed", name);
        }
        if (i != 0) {
            samples_add(&samples[OURS], (end - begin) / (double)calls);
        }
    }
    ring_close(&ring);
    report_add("virtio", name, UNIT_CALL, samples);
}

void virtio_measure(const struct effort *effort)
{
    for (unsigned int i = 0; i < COUNT(kinds); i++) {
        measure_ring(kinds[i].name, kinds[i].features, effort);
    }
}

bool virtio_run(const char *operation, size_t calls)
{
    struct ring ring;
    unsigned int kind = 0;
    bool good;

    while (strcmp(kinds[kind].name, operation) != 0) {
        if (++kind == COUNT(kinds)) {
            return false;
        }
    }
    good = ring_open(&ring, kinds[kind].features) && counted_requests(&ring, calls);
    ring_close(&ring);
    return good;
}
