/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * How a virtio device is found, agreed with and set up, on both transports: capability lists, BARs,
 * MSI-X, registers and configuration are what the fuzzer makes of those of an honest device
 * (hostile_device.h). Nothing is mapped beyond a BAR and no register accessed beyond what was
 * mapped, no call is without end, no error other than its header says, and all memory comes back.
 */

#include "hostile_device.h"

#include <piommu/piommu.h>
#include <piommu/virtio.h>

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

#define TIMEOUT   200000u /* nanoseconds */
#define MAX_CALLS 60u
#define COUNT(a)  (sizeof(a) / sizeof((a)[0]))

struct fuzz {
    struct hostile_device *hostile;
    struct piommu_virtio_device *device;
    struct piommu_virtqueue *queues[HOSTILE_QUEUES];
    bool reset; /* the device has been reset, and not been told anything since */
    bool agreed;
};

static unsigned int byte(struct fuzz *fuzz)
{
    return hostile_byte(fuzz->hostile);
}

static void begin(struct fuzz *fuzz, const char *name)
{
    hostile_begin_call(fuzz->hostile, name);
}

#define EXPECT(fuzz, error, ...) \
    hostile_expect((fuzz)->hostile, error, (const int[]){__VA_ARGS__, 0})

/* ---- What is there ---- */

/* A few bytes of the configuration space, and the size of a BAR, are not as they should be. */
static void change_space(struct fuzz *fuzz)
{
    struct hostile_device *hostile = fuzz->hostile;

    for (unsigned int i = byte(fuzz) % 16; i > 0; i--) {
        unsigned int at = byte(fuzz);

        hostile->space[at] = (uint8_t)byte(fuzz);
    }
    for (unsigned int i = byte(fuzz) % 4; i > 0; i--) {
        unsigned int number = byte(fuzz) % HOSTILE_BARS;

        hostile->bar_size[number] = hostile_boundary(hostile) & 0xffffffffu;
    }
}

static int open_device(struct fuzz *fuzz, bool mmio)
{
    static const struct piommu_virtio_message messages[] = {{0x8020040, 7}, {0x8020040, 8}};
    const struct piommu_virtio_pci_config pci = {.function = {0, HOSTILE_BDF},
                                                 .type = HOSTILE_TYPE,
                                                 .non_coherent = fuzz->hostile->non_coherent,
                                                 .messages = messages,
                                                 .message_count = byte(fuzz) % 3};
    const struct piommu_virtio_mmio_config slot = {.registers = HOSTILE_MMIO_ADDRESS,
                                                   .size = HOSTILE_MMIO_SIZE,
                                                   .type = HOSTILE_TYPE,
                                                   .non_coherent = fuzz->hostile->non_coherent};
    struct piommu_host host = fake_os_host(fuzz->hostile->os);

    begin(fuzz, mmio ? "piommu_virtio_mmio_open" : "piommu_virtio_pci_open");
    return mmio ? piommu_virtio_mmio_open(host, &slot, &fuzz->device)
                : piommu_virtio_pci_open(host, &pci, &fuzz->device);
}

/* ---- Calls ---- */

static void destroy_queues(struct fuzz *fuzz)
{
    for (unsigned int i = 0; i < HOSTILE_QUEUES; i++) {
        begin(fuzz, "piommu_virtqueue_destroy");
        piommu_virtqueue_destroy(fuzz->queues[i]);
        fuzz->queues[i] = NULL;
    }
}

static void reset(struct fuzz *fuzz)
{
    int error;

    begin(fuzz, "piommu_virtio_reset");
    error = piommu_virtio_reset(fuzz->device, TIMEOUT);
    EXPECT(fuzz, error, PIOMMU_ETIMEDOUT);
    fuzz->agreed = false;
    fuzz->reset = error == 0;
    if (error == 0) {
        destroy_queues(fuzz);
    }
}

static void negotiate(struct fuzz *fuzz)
{
    uint64_t wanted = PIOMMU_VIRTIO_F_GENERIC | byte(fuzz);
    uint64_t required = byte(fuzz) & wanted;
    uint64_t accepted = 0;
    int error;

    if (!fuzz->reset) {
        return;
    }
    fuzz->reset = false;
    begin(fuzz, "piommu_virtio_negotiate");
    error = piommu_virtio_negotiate(fuzz->device, wanted, required, &accepted);
    EXPECT(fuzz, error, PIOMMU_EOPNOTSUPP);
    fuzz->agreed = error == 0;
    required |= PIOMMU_VIRTIO_F_VERSION_1;
    if (error == 0 && ((accepted & ~wanted) != 0 || (accepted & required) != required)) {
        hostile_broken("agreed on features that were not wanted, or not on those required");
    }
}

static void read_config(struct fuzz *fuzz)
{
    struct piommu_virtio_field fields[PIOMMU_VIRTIO_MAX_FIELDS];
    uint64_t values[PIOMMU_VIRTIO_MAX_FIELDS];
    size_t count = 1 + byte(fuzz) % COUNT(fields);

    for (size_t i = 0; i < count; i++) {
        unsigned int choice = byte(fuzz);

        fields[i].width = 1u << (choice % 4);
        fields[i].offset =
            (choice & 0x80) != 0 ? (uint32_t)hostile_boundary(fuzz->hostile) : choice / 4;
        fields[i].offset &= ~((fields[i].width > 4 ? 4 : fields[i].width) - 1);
    }
    begin(fuzz, "piommu_virtio_read_config");
    EXPECT(fuzz, piommu_virtio_read_config(fuzz->device, fields, count, values), PIOMMU_EBADMSG);
}

static void write_config(struct fuzz *fuzz)
{
    unsigned int choice = byte(fuzz);
    uint32_t offset = choice > 200 ? (uint32_t)hostile_boundary(fuzz->hostile) : choice;
    uint8_t value;

    begin(fuzz, "piommu_virtio_write_config_byte");
    EXPECT(fuzz, piommu_virtio_write_config_byte(fuzz->device, offset, 1), PIOMMU_EBADMSG);
    begin(fuzz, "piommu_virtio_read_config_byte");
    EXPECT(fuzz, piommu_virtio_read_config_byte(fuzz->device, offset, &value), PIOMMU_EBADMSG);
}

static void create_queue(struct fuzz *fuzz)
{
    unsigned int choice = byte(fuzz);
    unsigned int number = choice % HOSTILE_QUEUES;
    const struct piommu_virtqueue_config config = {.index = (uint16_t)number,
                                                   .max_size = (uint16_t)(2u << (choice / 16 % 15)),
                                                   .max_pieces = (uint16_t)(choice / 2 % 4)};
    int error;

    if (!fuzz->agreed || fuzz->queues[number] != NULL) {
        return;
    }
    begin(fuzz, "piommu_virtqueue_create");
    error = piommu_virtqueue_create(fuzz->device, &config, &fuzz->queues[number]);
    EXPECT(fuzz, error, PIOMMU_EBADMSG);
    if (error != 0) {
        fuzz->queues[number] = NULL;
        return;
    }
    if (piommu_virtqueue_size(fuzz->queues[number]) > config.max_size ||
        piommu_virtqueue_size(fuzz->queues[number]) < 2) {
        hostile_broken("a queue with an impossible size");
    }
}

static void start(struct fuzz *fuzz)
{
    if (fuzz->agreed) {
        begin(fuzz, "piommu_virtio_start");
        piommu_virtio_start(fuzz->device);
    }
}

static void ring(struct fuzz *fuzz)
{
    unsigned int number = byte(fuzz) % HOSTILE_QUEUES;

    if (fuzz->queues[number] != NULL) {
        begin(fuzz, "piommu_virtqueue_ring");
        piommu_virtqueue_ring(fuzz->queues[number]);
    }
}

static void look(struct fuzz *fuzz)
{
    begin(fuzz, "piommu_virtio_status and piommu_virtio_interrupt_status");
    piommu_virtio_status(fuzz->device);
    if (piommu_virtio_interrupt_status(fuzz->device) != 0 &&
        piommu_virtio_messages_used(fuzz->device) != 0) {
        hostile_broken("an interrupt status in spite of messages");
    }
}

static void wake(struct fuzz *fuzz)
{
    begin(fuzz, "piommu_virtio_wake");
    EXPECT(fuzz, piommu_virtio_wake(fuzz->device), PIOMMU_ENODEV);
}

static void act(struct fuzz *fuzz)
{
    hostile_act(fuzz->hostile);
}

static void (*const calls[])(struct fuzz *fuzz) = {
    reset, negotiate, read_config, create_queue, start, ring, look, write_config, wake, act};

/* ---- Life ---- */

static void close_world(struct fuzz *fuzz)
{
    fuzz->hostile->honest = true;
    reset(fuzz);
    piommu_virtio_close(fuzz->device);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct fuzz fuzz = {.hostile = hostile_create(bytes, size, false)};
    unsigned int choice = byte(&fuzz);
    int error;

    fuzz.hostile->mmio = (choice & 1) != 0;
    fuzz.hostile->features = PIOMMU_VIRTIO_F_VERSION_1 | (uint64_t)(choice >> 1 & 3) << 28 | 0x77;
    fuzz.hostile->features |= (choice & 8) != 0 ? PIOMMU_VIRTIO_F_RING_PACKED : 0;
    fuzz.hostile->queue_max =
        (uint16_t)((choice & 0x80) != 0 ? hostile_boundary(fuzz.hostile) : 64);
    change_space(&fuzz);
    error = open_device(&fuzz, fuzz.hostile->mmio);
    if (fuzz.hostile->mmio) {
        EXPECT(&fuzz, error, PIOMMU_ENODEV, PIOMMU_EOPNOTSUPP);
    } else {
        EXPECT(&fuzz, error, PIOMMU_ENODEV, PIOMMU_EBADMSG, PIOMMU_ENOMEM);
    }
    for (unsigned int i = 0; i < MAX_CALLS && error == 0 && fuzz.hostile->left != 0; i++) {
        unsigned int call = byte(&fuzz) % 16;

        /* The first calls are most often those with which a driver begins. */
        calls[call < COUNT(calls) ? call : (i + call) % 5](&fuzz);
    }
    if (error == 0) {
        close_world(&fuzz);
    }
    hostile_destroy(fuzz.hostile, false);
    return 0;
}
