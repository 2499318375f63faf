/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "front_machine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PAGE 4096u

/* In the BAR; where capabilities say, which test_virtio_front_pci.c looks at. */
#define PCI_COMMON 0x0000u
#define PCI_ISR    0x1000u
#define PCI_DEVICE 0x2000u
#define PCI_NOTIFY 0x3000u

static const struct {
    uint16_t mmio;
    uint16_t pci;
    unsigned int pci_width;
} places[] = {
    [DEVICE_FEATURES_SEL] = {0x014, 0, 4},
    [DEVICE_FEATURES] = {0x010, 4, 4},
    [DRIVER_FEATURES_SEL] = {0x024, 8, 4},
    [DRIVER_FEATURES] = {0x020, 12, 4},
    [STATUS] = {0x070, 20, 1},
    [GENERATION] = {0x0fc, 21, 1},
    [QUEUE_SEL] = {0x030, 22, 2},
    [QUEUE_SIZE] = {0x038, 24, 2},
    [QUEUE_READY] = {0x044, 28, 2},
    [QUEUE_DESC] = {0x080, 32, 4},
    [QUEUE_DESC_HIGH] = {0x084, 36, 4},
    [QUEUE_DRIVER] = {0x090, 40, 4},
    [QUEUE_DRIVER_HIGH] = {0x094, 44, 4},
    [QUEUE_DEVICE] = {0x0a0, 48, 4},
    [QUEUE_DEVICE_HIGH] = {0x0a4, 52, 4},
};

/* ---- The device ---- */

static void note_access(struct front_machine *machine)
{
    assert_false(machine->memory_forbidden);
    machine->accesses++;
    if (machine->on_access != NULL) {
        machine->on_access(machine);
    }
}

static bool read_memory(void *ctx, uint64_t address, void *buffer, size_t size)
{
    struct front_machine *machine = ctx;

    note_access(machine);
    return fake_os_device_read(machine->os, address, buffer, size);
}

static bool write_memory(void *ctx, uint64_t address, const void *buffer, size_t size)
{
    struct front_machine *machine = ctx;

    note_access(machine);
    return fake_os_device_write(machine->os, address, buffer, size);
}

static bool on_reset(void *ctx)
{
    struct front_machine *machine = ctx;

    assert_false(machine->resetting);
    machine->resets++;
    machine->resetting = machine->slow_reset;
    for (unsigned int i = 0; i < FRONT_MACHINE_QUEUES; i++) {
        assert_null(piommu_virtio_front_ring(machine->front, i));
    }
    return !machine->slow_reset;
}

static bool on_check(void *ctx, uint64_t features)
{
    struct front_machine *machine = ctx;

    assert_int_equal(features & ~(machine->options.features | PIOMMU_VIRTIO_F_VERSION_1), 0);
    return (features & machine->needs_feature) == machine->needs_feature;
}

static bool on_ready(void *ctx, uint64_t features)
{
    struct front_machine *machine = ctx;

    assert_int_equal(features, piommu_virtio_front_features(machine->front));
    machine->starts++;
    return !machine->refuses_start;
}

/* No more of a request is copied, and no more are taken at once: there may be no end of them. */
#define MAX_ECHO  1024u
#define MAX_TAKEN 64u

/* Copies as much as both parts have, through a small buffer. */
static uint32_t echo(struct piommu_device_ring *ring, const struct piommu_device_request *request)
{
    uint32_t limit = request->readable < request->writable ? request->readable : request->writable;
    uint32_t done = 0;
    uint8_t buffer[7];

    limit = limit < MAX_ECHO ? limit : MAX_ECHO;
    while (done < limit) {
        size_t size = limit - done < sizeof(buffer) ? limit - done : sizeof(buffer);

        size = piommu_device_ring_read(ring, done, buffer, size);
        size = piommu_device_ring_write(ring, done, buffer, size);
        if (size == 0) {
            break;
        }
        done += (uint32_t)size;
    }
    return done;
}

void front_machine_complete(struct front_machine *machine, unsigned int queue)
{
    machine->working_on = queue;
    piommu_virtio_front_completed(machine->front, queue);
}

static void on_notify(void *ctx, unsigned int queue)
{
    struct front_machine *machine = ctx;
    struct piommu_device_ring *ring = piommu_virtio_front_ring(machine->front, queue);
    struct piommu_device_request request;
    int taken = 0;

    assert_true(queue < FRONT_MACHINE_QUEUES);
    assert_non_null(ring);
    machine->notifications[queue]++;
    machine->working_on = queue;
    for (unsigned int i = 0;
         i < MAX_TAKEN && !machine->idle && (taken = piommu_device_ring_take(ring, &request)) == 1;
         i++) {
        if (piommu_device_ring_complete(ring, request.head, echo(ring, &request)) != 0) {
            taken = -PIOMMU_EIO;
            break;
        }
        machine->completed++;
    }
    if (taken < 0) {
        piommu_virtio_front_fail(machine->front);
    } else {
        front_machine_complete(machine, queue);
    }
}

static void on_queue_stopped(void *ctx, unsigned int queue)
{
    struct front_machine *machine = ctx;

    assert_null(piommu_virtio_front_ring(machine->front, queue));
    machine->stops++;
}

/* No access may lie outside, be unaligned, or have more bits than its width. */
static void check_config_access(uint32_t offset, unsigned int width, uint32_t value)
{
    assert_true(width == 1 || width == 2 || width == 4);
    assert_int_equal(offset % width, 0);
    assert_true(offset <= FRONT_MACHINE_CONFIG - width);
    assert_true(width == 4 || value >> (8 * width) == 0);
}

static uint32_t on_read_config(void *ctx, uint32_t offset, unsigned int width)
{
    struct front_machine *machine = ctx;
    uint32_t value = 0;

    check_config_access(offset, width, 0);
    for (unsigned int i = 0; i < width; i++) {
        value |= (uint32_t)machine->config[offset + i] << (8 * i);
    }
    if (machine->config_moves) {
        machine->config[0]++;
        piommu_virtio_front_config_changed(machine->front);
    }
    return value;
}

static void on_write_config(void *ctx, uint32_t offset, unsigned int width, uint32_t value)
{
    struct front_machine *machine = ctx;

    check_config_access(offset, width, value);
    if (offset == FRONT_MACHINE_WRITABLE) {
        machine->config[offset] = (uint8_t)value;
    }
}

static void on_set_interrupt(void *ctx, bool high)
{
    struct front_machine *machine = ctx;

    assert_true(high != machine->line);
    machine->line = high;
}

static void on_message(void *ctx, uint64_t address, uint32_t data)
{
    struct front_machine *machine = ctx;

    if (machine->message_count < FRONT_MACHINE_MESSAGES) {
        machine->messages[machine->message_count] = (struct piommu_virtio_message){address, data};
    }
    machine->message_count++;
}

static void on_bar_moved(void *ctx, bool decoded, uint64_t address)
{
    struct front_machine *machine = ctx;

    assert_true(decoded != machine->decoded || address != machine->bar);
    machine->decoded = decoded;
    machine->bar = address;
}

/* ---- The state ---- */

void *front_machine_save(struct front_machine *machine, size_t *size)
{
    int error = piommu_virtio_front_save(machine->front, NULL, 0, size);
    void *buffer;

    if (error == -PIOMMU_EAGAIN) {
        return NULL;
    }
    assert_int_equal(error, -PIOMMU_ENOSPC);
    buffer = malloc(*size);
    assert_non_null(buffer);
    assert_int_equal(piommu_virtio_front_save(machine->front, buffer, *size - 1, size),
                     -PIOMMU_ENOSPC);
    assert_int_equal(piommu_virtio_front_save(machine->front, buffer, *size, size), 0);
    return buffer;
}

static void make_front(struct front_machine *machine)
{
    struct piommu_virtio_front_config config;
    struct piommu_virtio_front_pci_config pci;
    struct piommu_host host = fake_os_host(machine->hypervisor);

    front_machine_describe(machine, &config, &pci);
    assert_int_equal(machine->options.pci
                         ? piommu_virtio_front_create_pci(host, &config, &pci, &machine->front)
                         : piommu_virtio_front_create_mmio(host, &config, &machine->front),
                     0);
}

void front_machine_renew(struct front_machine *machine)
{
    piommu_virtio_front_destroy(machine->front);
    machine->line = false;
    machine->decoded = false;
    machine->bar = 0;
    make_front(machine);
}

void front_machine_migrate(struct front_machine *machine)
{
    size_t size;
    void *state = front_machine_save(machine, &size);

    if (state != NULL) {
        front_machine_renew(machine);
        assert_int_equal(piommu_virtio_front_restore(machine->front, state, size), 0);
        free(state);
    }
}

/* ---- The machine around it ---- */

static void migrate_if_wanted(struct front_machine *machine)
{
    if (machine->options.migrates) {
        front_machine_migrate(machine);
    }
}

static void progress(void *ctx)
{
    struct front_machine *machine = ctx;

    if (machine->resetting) {
        machine->resetting = false;
        piommu_virtio_front_reset_done(machine->front);
    }
}

static uint32_t bus_read(void *ctx, uint64_t physical, unsigned int width)
{
    struct front_machine *machine = ctx;

    return (uint32_t)piommu_virtio_front_mmio_read(machine->front,
                                                   physical - FRONT_MACHINE_REGISTERS, width);
}

static void bus_write(void *ctx, uint64_t physical, unsigned int width, uint32_t value)
{
    struct front_machine *machine = ctx;

    piommu_virtio_front_mmio_write(machine->front, physical - FRONT_MACHINE_REGISTERS, width,
                                   value);
    migrate_if_wanted(machine);
}

static uint32_t config_read(void *ctx, unsigned int offset, unsigned int width)
{
    struct front_machine *machine = ctx;

    return piommu_virtio_front_pci_config_read(machine->front, offset, width);
}

static void config_write(void *ctx, unsigned int offset, unsigned int width, uint32_t value)
{
    struct front_machine *machine = ctx;

    piommu_virtio_front_pci_config_write(machine->front, offset, width, value);
    migrate_if_wanted(machine);
}

static uint64_t bar_address(void *ctx, unsigned int number)
{
    struct front_machine *machine = ctx;

    return number == 0 ? machine->bar : 0;
}

static uint64_t bar_size(void *ctx, unsigned int number)
{
    (void)ctx;
    return number == 0 ? PIOMMU_VIRTIO_FRONT_BAR_SIZE : 0;
}

static uint32_t bar_read(void *ctx, uint64_t offset, unsigned int width)
{
    struct front_machine *machine = ctx;

    assert_true(machine->decoded);
    return (uint32_t)piommu_virtio_front_bar_read(machine->front, offset, width);
}

static void bar_write(void *ctx, uint64_t offset, unsigned int width, uint32_t value)
{
    struct front_machine *machine = ctx;

    assert_true(machine->decoded);
    piommu_virtio_front_bar_write(machine->front, offset, width, value);
    migrate_if_wanted(machine);
}

static void connect(struct front_machine *machine)
{
    const struct fake_os_device device = {
        .ctx = machine,
        .config_read = config_read,
        .config_write = config_write,
        .bar_address = bar_address,
        .bar_size = bar_size,
        .mmio_read = bar_read,
        .mmio_write = bar_write,
        .progress = progress,
        .bdf = FRONT_MACHINE_BDF,
    };
    const struct fake_os_bus bus = {
        .ctx = machine, .read = bus_read, .write = bus_write, .progress = progress};

    if (machine->options.pci) {
        fake_os_connect(machine->os, &device);
    } else {
        fake_os_connect_bus(machine->os, &bus);
    }
}

void front_machine_describe(struct front_machine *machine,
                            struct piommu_virtio_front_config *config,
                            struct piommu_virtio_front_pci_config *pci)
{
    *config = (struct piommu_virtio_front_config){
        .type = FRONT_MACHINE_TYPE,
        .features = machine->options.features,
        .config_size = FRONT_MACHINE_CONFIG,
        .queue_count = FRONT_MACHINE_QUEUES,
        .memory = {.read = read_memory, .write = write_memory, .ctx = machine},
        .callbacks = {.reset = on_reset,
                      .check_features = on_check,
                      .ready = on_ready,
                      .notify = on_notify,
                      .queue_stopped = on_queue_stopped,
                      .read_config = on_read_config,
                      .write_config = on_write_config,
                      .set_interrupt = on_set_interrupt,
                      .send_message = on_message,
                      .bar_moved = on_bar_moved},
        .ctx = machine,
    };
    for (unsigned int i = 0; i < FRONT_MACHINE_QUEUES; i++) {
        config->queues[i] = (struct piommu_virtio_front_queue){.max_size = FRONT_MACHINE_QUEUE_SIZE,
                                                               .max_pieces = 8};
    }
    *pci = (struct piommu_virtio_front_pci_config){.class_code = FRONT_MACHINE_CLASS,
                                                   .message_count = machine->options.message_count,
                                                   .interrupt_pin = machine->options.interrupt_pin};
}

struct front_machine *front_machine_power_on(const struct front_machine_options *options)
{
    /* Nobody needs a linear map, which would be one large block of memory. */
    const struct fake_os_options os = {.scattered = true};
    struct front_machine *machine = calloc(1, sizeof(*machine));

    assert_non_null(machine);
    machine->options = *options;
    machine->os = fake_os_create(&os);
    machine->hypervisor = fake_os_create(&os);
    machine->memory = fake_os_test_pages(machine->os, FRONT_MACHINE_PAGES);
    make_front(machine);
    for (unsigned int i = 0; i < FRONT_MACHINE_CONFIG; i++) {
        machine->config[i] = (uint8_t)(0x80 + i);
    }
    connect(machine);
    return machine;
}

struct front_machine *front_machine_start(const struct front_machine_options *options)
{
    struct front_machine *machine = front_machine_power_on(options);

    if (options->pci) {
        config_write(machine, 0x10, 4, (uint32_t)FRONT_MACHINE_BAR);
        config_write(machine, 0x14, 4, (uint32_t)(FRONT_MACHINE_BAR >> 32));
        config_write(machine, 0x04, 2, 0x6);
        assert_true(machine->decoded);
        assert_int_equal(machine->bar, FRONT_MACHINE_BAR);
    }
    return machine;
}

void front_machine_stop(struct front_machine *machine)
{
    piommu_virtio_front_destroy(machine->front);
    fake_os_destroy(machine->hypervisor);
    fake_os_destroy(machine->os);
    free(machine);
}

/* ---- The driver, played ---- */

struct front_place front_register_place(bool pci, enum front_machine_register what)
{
    return pci ? (struct front_place){.offset = (uint16_t)(PCI_COMMON + places[what].pci),
                                      .width = (uint16_t)places[what].pci_width}
               : (struct front_place){.offset = places[what].mmio, .width = 4};
}

uint32_t front_machine_get(struct front_machine *machine, enum front_machine_register what)
{
    const struct front_place place = front_register_place(machine->options.pci, what);

    return (uint32_t)(machine->options.pci
                          ? piommu_virtio_front_bar_read(machine->front, place.offset, place.width)
                          : piommu_virtio_front_mmio_read(machine->front, place.offset, 4));
}

void front_machine_set(struct front_machine *machine, enum front_machine_register what,
                       uint32_t value)
{
    const struct front_place place = front_register_place(machine->options.pci, what);

    if (machine->options.pci) {
        piommu_virtio_front_bar_write(machine->front, place.offset, place.width, value);
    } else {
        piommu_virtio_front_mmio_write(machine->front, place.offset, 4, value);
    }
}

void front_machine_set64(struct front_machine *machine, enum front_machine_register low,
                         uint64_t value)
{
    front_machine_set(machine, low, (uint32_t)value);
    front_machine_set(machine, low + 1, (uint32_t)(value >> 32));
}

void front_machine_notify(struct front_machine *machine, uint16_t queue)
{
    if (machine->options.pci) {
        piommu_virtio_front_bar_write(machine->front, PCI_NOTIFY + 4u * queue, 2, queue);
    } else {
        piommu_virtio_front_mmio_write(machine->front, 0x050, 4, queue);
    }
}

uint32_t front_machine_take_interrupt(struct front_machine *machine)
{
    uint32_t status;

    if (machine->options.pci) {
        return (uint32_t)piommu_virtio_front_bar_read(machine->front, PCI_ISR, 1);
    }
    status = (uint32_t)piommu_virtio_front_mmio_read(machine->front, 0x060, 4);
    piommu_virtio_front_mmio_write(machine->front, 0x064, 4, status);
    return status;
}

uint64_t front_machine_read_config(struct front_machine *machine, uint64_t offset,
                                   unsigned int width)
{
    return machine->options.pci
               ? piommu_virtio_front_bar_read(machine->front, PCI_DEVICE + offset, width)
               : piommu_virtio_front_mmio_read(machine->front, 0x100 + offset, width);
}

void front_machine_write_config(struct front_machine *machine, uint64_t offset, unsigned int width,
                                uint64_t value)
{
    if (machine->options.pci) {
        piommu_virtio_front_bar_write(machine->front, PCI_DEVICE + offset, width, value);
    } else {
        piommu_virtio_front_mmio_write(machine->front, 0x100 + offset, width, value);
    }
}

uint32_t front_machine_agree(struct front_machine *machine, uint64_t features)
{
    features |= PIOMMU_VIRTIO_F_VERSION_1;
    front_machine_set(machine, STATUS, 1);
    front_machine_set(machine, STATUS, 3);
    front_machine_set(machine, DRIVER_FEATURES_SEL, 0);
    front_machine_set(machine, DRIVER_FEATURES, (uint32_t)features);
    front_machine_set(machine, DRIVER_FEATURES_SEL, 1);
    front_machine_set(machine, DRIVER_FEATURES, (uint32_t)(features >> 32));
    front_machine_set(machine, STATUS, 0xb);
    return front_machine_get(machine, STATUS);
}

/* Where the parts of a ring are in its page. */
#define AVAILABLE 0x800u
#define USED      0xa00u
#define DATA      0xe00u

void front_machine_enable(struct front_machine *machine, uint16_t queue, uint16_t size,
                          unsigned int page)
{
    uint64_t ring = machine->memory + (uint64_t)page * PAGE;

    front_machine_set(machine, QUEUE_SEL, queue);
    front_machine_set(machine, QUEUE_SIZE, size);
    front_machine_set64(machine, QUEUE_DESC, ring);
    front_machine_set64(machine, QUEUE_DRIVER, ring + AVAILABLE);
    front_machine_set64(machine, QUEUE_DEVICE, ring + USED);
    front_machine_set(machine, QUEUE_READY, 1);
}

static void put(struct front_machine *machine, uint64_t physical, uint64_t value, size_t size)
{
    uint8_t *bytes = fake_os_pointer(machine->os, physical, size);

    assert_non_null(bytes);
    for (size_t i = 0; i < size; i++) {
        bytes[i] = (uint8_t)(value >> (8 * i));
    }
}

void front_machine_request(struct front_machine *machine, unsigned int page, uint16_t size)
{
    const uint64_t ring = machine->memory + (uint64_t)page * PAGE;

    memset(fake_os_pointer(machine->os, ring, PAGE), 0, PAGE);
    for (unsigned int i = 0; i < 2; i++) {
        put(machine, ring + 16u * i, ring + DATA + (uint64_t)i * size, 8);
        put(machine, ring + 16u * i + 8, size, 4);
        put(machine, ring + 16u * i + 12, i == 0 ? 1 : 2, 2); /* NEXT; WRITE */
        put(machine, ring + 16u * i + 14, 1, 2);
    }
    put(machine, ring + AVAILABLE + 2, 1, 2);
}

struct piommu_virtio_pci_config front_machine_pci_place(void)
{
    return (struct piommu_virtio_pci_config){.function = {0, FRONT_MACHINE_BDF},
                                             .type = FRONT_MACHINE_TYPE};
}

struct piommu_virtio_mmio_config front_machine_mmio_place(void)
{
    return (struct piommu_virtio_mmio_config){.registers = FRONT_MACHINE_REGISTERS,
                                              .size = PIOMMU_VIRTIO_FRONT_MMIO_CONFIG +
                                                      FRONT_MACHINE_CONFIG,
                                              .type = FRONT_MACHINE_TYPE};
}
