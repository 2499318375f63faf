/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "viommu_hostile.h"

#include "viommu_guest_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define PAGE     MACHINE_PAGE
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define RW       (PIOMMU_PROT_READ | PIOMMU_PROT_WRITE)
#define WINDOW   10u /* pages that are mapped, and tried */

/* Where things lie in the guest's pages. */
#define RING_PAGES   3u /* of each queue: descriptors, driver area, device area */
#define EVENTS       6u
#define SLOTS        8u
#define SLOT_PAGES   4u
#define SLOT         256u
#define ENTRIES      16u
#define MOST_PIECES  6u
#define SLOT_COUNT   (SLOT_PAGES * PAGE / SLOT)
#define SLOT_ANSWERS 128u /* in a slot: where the device writes */

enum { NEXT = 1, WRITE = 2, INDIRECT = 4, AVAILABLE = 0x80, USED = 0x8000 };

/* One end of a ring, as a driver has it that means well. */
struct ring {
    uint16_t published;
    uint16_t next;
    bool wrap;
};

struct guest {
    struct viommu_machine *machine;
    bool is_packed;
    bool hardware_failed;
    unsigned int slot;
    struct ring rings[2];
};

static const struct front_hostile_source *source;
static struct viommu_hostile_result *result;

static uint32_t below(uint32_t limit)
{
    return front_hostile_below(source, limit);
}

static uint64_t value(void)
{
    return front_hostile_value(source, MACHINE_MEMORY, PAGE, 64);
}

static uint8_t *page_at(struct guest *guest, unsigned int number)
{
    uint8_t *page =
        fake_os_pointer(guest->machine->os, guest->machine->memory + number * PAGE, PAGE);

    assert_non_null(page);
    return page;
}

static void put(uint8_t *bytes, uint64_t number, unsigned int size)
{
    for (unsigned int i = 0; i < size; i++) {
        bytes[i] = (uint8_t)(number >> (8 * i));
    }
}

static void set(struct guest *guest, enum front_machine_register what, uint32_t number)
{
    const struct front_place place =
        front_register_place(guest->machine->options.connection != MACHINE_MMIO, what);

    machine_write(guest->machine, place.offset, place.width, number);
}

static uint32_t get(struct guest *guest, enum front_machine_register what)
{
    const struct front_place place =
        front_register_place(guest->machine->options.connection != MACHINE_MMIO, what);

    return (uint32_t)machine_read(guest->machine, place.offset, place.width);
}

/* ---- A driver that means well, so far ---- */

static void enable(struct guest *guest, unsigned int queue)
{
    const uint64_t place = guest->machine->memory + queue * RING_PAGES * PAGE;

    for (unsigned int i = 0; i < RING_PAGES; i++) {
        memset(page_at(guest, queue * RING_PAGES + i), 0, PAGE);
        set(guest, QUEUE_SEL, queue);
        set(guest, QUEUE_DESC + 2 * i, (uint32_t)(place + i * PAGE));
        set(guest, QUEUE_DESC_HIGH + 2 * i, (uint32_t)((place + i * PAGE) >> 32));
    }
    set(guest, QUEUE_SIZE, ENTRIES);
    set(guest, QUEUE_READY, 1);
    guest->rings[queue] = (struct ring){.wrap = true};
}

static void agree(struct guest *guest, uint64_t features)
{
    features |= PIOMMU_VIRTIO_F_VERSION_1;
    set(guest, STATUS, 1);
    set(guest, STATUS, 3);
    for (unsigned int i = 0; i < 2; i++) {
        set(guest, DRIVER_FEATURES_SEL, i);
        set(guest, DRIVER_FEATURES, (uint32_t)(features >> (32 * i)));
    }
    set(guest, STATUS, 0xb);
}

static uint64_t offered(struct guest *guest)
{
    uint64_t features = 0;

    for (unsigned int i = 0; i < 2; i++) {
        set(guest, DEVICE_FEATURES_SEL, i);
        features |= (uint64_t)get(guest, DEVICE_FEATURES) << (32 * i);
    }
    return features;
}

/* ---- Rings ---- */

struct piece {
    uint64_t address;
    uint32_t size;
    uint16_t flags;
};

static void write_descriptor(uint8_t *at, const struct piece *piece, uint16_t flags, uint16_t last)
{
    put(at, piece->address, 8);
    put(at + 8, piece->size, 4);
    put(at + 12, flags, 2);
    put(at + 14, last, 2);
}

static void publish_split(struct guest *guest, unsigned int queue, const struct piece *pieces,
                          unsigned int count)
{
    struct ring *ring = &guest->rings[queue];
    uint8_t *descriptors = page_at(guest, queue * RING_PAGES);
    uint8_t *available = page_at(guest, queue * RING_PAGES + 1);
    const uint16_t head = ring->next;

    for (unsigned int i = 0; i < count; i++) {
        const uint16_t next = (uint16_t)((ring->next + 1) % ENTRIES);

        write_descriptor(descriptors + 16u * ring->next, &pieces[i],
                         (uint16_t)(pieces[i].flags | (i + 1 < count ? NEXT : 0)), next);
        ring->next = next;
    }
    put(available + 4 + 2u * (ring->published % ENTRIES), head, 2);
    ring->published++;
    put(available + 2, ring->published, 2);
}

/* The order of bytes of a packed descriptor is another one: the ID comes before the flags. */
static void publish_packed(struct guest *guest, unsigned int queue, const struct piece *pieces,
                           unsigned int count)
{
    struct ring *ring = &guest->rings[queue];
    uint8_t *descriptors = page_at(guest, queue * RING_PAGES);
    const uint16_t id = ring->next;

    for (unsigned int i = 0; i < count; i++) {
        const unsigned int phase = ring->wrap ? AVAILABLE : USED;

        write_descriptor(descriptors + 16u * ring->next, &pieces[i], id,
                         (uint16_t)(pieces[i].flags | (i + 1 < count ? NEXT : 0u) | phase));
        ring->next = (uint16_t)((ring->next + 1) % ENTRIES);
        ring->wrap = ring->wrap != (ring->next == 0);
    }
}

static void publish(struct guest *guest, unsigned int queue, const struct piece *pieces,
                    unsigned int count)
{
    if (guest->is_packed) {
        publish_packed(guest, queue, pieces, count);
    } else {
        publish_split(guest, queue, pieces, count);
    }
    if (below(4) != 0) {
        machine_notify(guest->machine, (uint16_t)queue);
    }
}

/* ---- Requests ---- */

static uint32_t some_domain(void)
{
    const uint32_t choice = below(32);

    return choice == 0 ? (uint32_t)value() : choice < 20 ? 0 : choice % 4;
}

static uint32_t some_endpoint(struct guest *guest)
{
    const uint32_t choice = below(32);

    return choice == 0 ? (uint32_t)value()
                       : guest->machine->endpoints[choice % guest->machine->endpoint_count].id;
}

/* A range of pages, at `at` in a request. */
static void put_range(uint8_t *at)
{
    const uint32_t choice = below(256);
    const uint64_t first = (choice % WINDOW) * PAGE;
    const uint64_t last = first + (1 + choice / WINDOW % 4) * PAGE - 1;

    put(at, choice >= 240 ? value() : first, 8);
    put(at + 8, choice >= 245 ? value() : last, 8);
}

static unsigned int make_request(struct guest *guest, uint8_t *bytes)
{
    static const uint8_t sizes[] = {20, 20, 20, 36, 28, 72};
    static const uint8_t types[] = {1, 1, 1, 2, 3, 3, 3, 3, 3, 4, 4, 4, 5};
    const uint32_t choice = below(128);
    const uint8_t type = choice < 120 ? types[choice % COUNT(types)] : (uint8_t)choice;
    const bool is_attachment = type == VIOMMU_ATTACH || type == VIOMMU_DETACH;

    memset(bytes, 0, SLOT_ANSWERS);
    bytes[0] = type;
    put(bytes + 4, type == VIOMMU_PROBE ? some_endpoint(guest) : some_domain(), 4);
    if (is_attachment) {
        put(bytes + 8, some_endpoint(guest), 4);
        put(bytes + 12, below(16) == 0 ? value() : 0, 4);
    } else if (type != VIOMMU_PROBE) {
        put_range(bytes + 8);
        put(bytes + 24,
            type == VIOMMU_UNMAP ? 0
            : below(16) == 0     ? value()
                                 : guest->machine->memory + below(64) * PAGE,
            8);
        put(bytes + 32, below(16) == 0 ? value() : 1 + below(3), 4);
    }
    if (below(32) == 0) {
        bytes[below(SLOT_ANSWERS)] = (uint8_t)value();
    }
    return sizes[type < COUNT(sizes) ? type : 0];
}

/* Cuts so many bytes into pieces. */
static unsigned int cut(struct piece *pieces, unsigned int room, uint64_t address, uint32_t size,
                        uint16_t flags)
{
    unsigned int count = 0;

    while (size != 0 && count < room) {
        const uint32_t part = count + 1 < room && below(4) == 0 ? 1 + below(size) : size;

        pieces[count++] = (struct piece){.address = address, .size = part, .flags = flags};
        address += part;
        size -= part;
    }
    return count;
}

/* A place for a request, and its address. */
static uint8_t *take_slot(struct guest *guest, uint64_t *place)
{
    const uint64_t offset = guest->slot++ % SLOT_COUNT * SLOT;

    *place = guest->machine->memory + SLOTS * PAGE + offset;
    return page_at(guest, SLOTS + (unsigned int)(offset / PAGE)) + offset % PAGE;
}

static void post(struct guest *guest)
{
    uint64_t place;
    uint8_t *bytes = take_slot(guest, &place);
    uint32_t readable = make_request(guest, bytes);
    uint32_t writable = bytes[0] == VIOMMU_PROBE ? SLOT_ANSWERS : 4;
    struct piece pieces[MOST_PIECES];
    unsigned int count;

    if (below(16) == 0) {
        readable = below(SLOT_ANSWERS);
        writable = below(SLOT_ANSWERS);
    }
    count = cut(pieces, MOST_PIECES / 2, place, readable, 0);
    count += cut(pieces + count, MOST_PIECES / 2, place + SLOT_ANSWERS, writable, WRITE);
    if (below(32) == 0 && count != 0) {
        pieces[below(count)] = (struct piece){
            .address = value(), .size = (uint32_t)value(), .flags = (uint16_t)below(8)};
    }
    if (count != 0) {
        publish(guest, PIOMMU_VIOMMU_REQUESTS, pieces, count);
    }
}

/* In a table of descriptors, whose order of fields is that of the ring. */
static void post_indirect(struct guest *guest)
{
    uint64_t place;
    uint8_t *bytes = take_slot(guest, &place);
    const uint32_t readable = make_request(guest, bytes);
    const struct piece parts[] = {{.address = place, .size = readable, .flags = NEXT},
                                  {.address = place + SLOT_ANSWERS, .size = 4, .flags = WRITE}};
    const struct piece table = {.address = place + SLOT_ANSWERS + 16,
                                .size = below(8) == 0 ? (uint32_t)value() : 32,
                                .flags = (uint16_t)(INDIRECT | (below(16) == 0 ? below(8) : 0))};

    for (unsigned int i = 0; i < 2; i++) {
        const uint16_t flags = guest->is_packed ? parts[i].flags & WRITE : parts[i].flags;

        write_descriptor(bytes + SLOT_ANSWERS + 16 + 16u * i, &parts[i],
                         guest->is_packed ? 0 : flags, guest->is_packed ? flags : 1);
    }
    publish(guest, PIOMMU_VIOMMU_REQUESTS, &table, 1);
}

/* Every endpoint gets into domain 0. */
static void attach_all(struct guest *guest)
{
    for (unsigned int i = 0; i < guest->machine->endpoint_count; i++) {
        uint64_t place;
        uint8_t *bytes = take_slot(guest, &place);
        const struct piece pieces[] = {
            {.address = place, .size = 20},
            {.address = place + SLOT_ANSWERS, .size = 4, .flags = WRITE}};

        memset(bytes, 0, SLOT_ANSWERS);
        bytes[0] = VIOMMU_ATTACH;
        put(bytes + 8, guest->machine->endpoints[i].id, 4);
        publish(guest, PIOMMU_VIOMMU_REQUESTS, pieces, COUNT(pieces));
    }
}

static void post_event(struct guest *guest)
{
    const struct piece piece = {.address =
                                    guest->machine->memory + EVENTS * PAGE + 32ull * below(128),
                                .size = below(8) == 0 ? 1 + below(40) : 24,
                                .flags = WRITE};

    publish(guest, PIOMMU_VIOMMU_EVENTS, &piece, 1);
}

static void start(struct guest *guest)
{
    const uint64_t wanted =
        offered(guest) & ~(below(4) == 0 ? 1ull << below(64) : 0) &
        ~(below(2) == 0 ? PIOMMU_VIRTIO_F_RING_PACKED | PIOMMU_VIRTIO_F_EVENT_IDX : 0);

    result->broken += (machine_status(guest->machine) & PIOMMU_VIRTIO_STATUS_NEEDS_RESET) != 0;
    set(guest, STATUS, 0);
    if (below(4) == 0 && machine_status(guest->machine) == 0 &&
        machine_bypass(guest->machine) == 0) {
        machine_expect_nothing(guest->machine);
    }
    agree(guest, wanted);
    guest->is_packed = (wanted & PIOMMU_VIRTIO_F_RING_PACKED) != 0;
    enable(guest, PIOMMU_VIOMMU_REQUESTS);
    enable(guest, PIOMMU_VIOMMU_EVENTS);
    set(guest, STATUS, 0xf);
    if (below(4) != 0) {
        attach_all(guest);
        machine_settle(guest->machine);
    }
}

/* Bytes of rings and requests change: where the device has looked, or anywhere. */
static void scribble(struct guest *guest)
{
    struct viommu_machine *machine = guest->machine;

    for (unsigned int i = 1 + below(4); i > 0; i--) {
        const struct machine_access *recent = &machine->recent[below(MACHINE_RECENT)];
        uint8_t *bytes = fake_os_pointer(machine->os, recent->address, recent->size);

        if (below(2) == 0 && bytes != NULL && recent->size != 0) {
            bytes[below((uint32_t)recent->size)] = (uint8_t)value();
        } else {
            page_at(guest, below(SLOTS + SLOT_PAGES))[below(256)] = (uint8_t)value();
        }
    }
}

/* ---- Registers ---- */

static void access_registers(struct guest *guest)
{
    struct viommu_machine *machine = guest->machine;
    const uint64_t page = machine->options.connection != MACHINE_MMIO ? below(8) * 0x1000ull : 0;
    uint64_t offset = below(8) == 0 ? value() : page + below(0x130);
    unsigned int width = below(8) == 0 ? (unsigned int)value() : 1u << below(4);

    if (below(4) != 0) {
        offset &= ~3ull;
        width = 4;
    }
    if (below(4) == 0) {
        if (machine->options.connection == MACHINE_MMIO) {
            (void)piommu_virtio_front_mmio_read(machine->front, offset, width);
        } else {
            (void)piommu_virtio_front_bar_read(machine->front, offset, width);
        }
    } else {
        machine_write(machine, offset, width, value());
    }
}

static void access_space(struct guest *guest)
{
    struct viommu_machine *machine = guest->machine;
    const uint64_t offset = below(8) == 0 ? value() : below(0x100);
    const unsigned int width = below(8) == 0 ? (unsigned int)value() : 1u << below(3);

    if (machine->options.connection == MACHINE_MMIO) {
        return;
    }
    if (below(4) == 0) {
        (void)piommu_virtio_front_pci_config_read(machine->front, offset, width);
    } else {
        piommu_virtio_front_pci_config_write(machine->front, offset, width, (uint32_t)value());
    }
    if (below(4) != 0) {
        machine_place_bar(machine);
    }
}

static void set_register(struct guest *guest)
{
    set(guest, (enum front_machine_register)below(QUEUE_DEVICE_HIGH + 1), (uint32_t)value());
}

static void stop_queue(struct guest *guest)
{
    const unsigned int queue = below(3);

    set(guest, QUEUE_SEL, queue);
    set(guest, QUEUE_READY, 0);
    if (queue < 2 && below(2) == 0) {
        enable(guest, queue);
    }
}

static void write_status(struct guest *guest)
{
    set(guest, STATUS, below(2) == 0 ? 0 : (uint32_t)value());
}

static void notify(struct guest *guest)
{
    machine_notify(guest->machine, (uint16_t)below(3));
}

static void write_bypass(struct guest *guest)
{
    machine_write_bypass(guest->machine, (uint8_t)value());
}

/* ---- The hypervisor ---- */

static void service(struct guest *guest)
{
    for (unsigned int i = 1 + below(8); i > 0; i--) {
        machine_service(guest->machine);
    }
}

static void settle(struct guest *guest)
{
    machine_settle(guest->machine);
}

static void move_endpoint(struct guest *guest)
{
    struct viommu_machine *machine = guest->machine;
    const unsigned int number = below(machine->endpoint_count);

    if (machine->endpoints[number].endpoint == NULL) {
        machine_add_endpoint(machine, number);
    } else if (machine_remove_endpoint(machine, number) == -PIOMMU_EAGAIN) {
        machine_settle(machine);
        (void)machine_remove_endpoint(machine, number);
    }
}

static void dma(struct guest *guest)
{
    struct viommu_machine *machine = guest->machine;
    const unsigned int number = below(machine->endpoint_count);

    (void)machine_dma(machine, number, below(2 * WINDOW) * PAGE, below(2) == 0);
}

static void refuse_memory(struct guest *guest)
{
    guest->machine->fail_translation = below(4) == 0;
}

static void fail_hardware(struct guest *guest)
{
    static const int errors[] = {-PIOMMU_EIO, -PIOMMU_ENOMEM, -PIOMMU_ENOSPC, -PIOMMU_ETIMEDOUT};
    struct viommu_hardware *hardware = guest->machine->host->hardware;
    struct mock *unit = hardware->unit(hardware, below(2));

    if (below(8) == 0 && !guest->machine->options.bypass) {
        guest->hardware_failed = true;
        mock_fail_call(unit, 1 + below(8), errors[below(COUNT(errors))], below(8) == 0);
    }
}

/* The device is saved, and restored from what somebody has changed in between. */
static void restore_changed(struct guest *guest)
{
    struct viommu_machine *machine = guest->machine;
    static uint8_t bytes[16384];
    size_t size = 0;

    if (piommu_viommu_device_save(machine->device, bytes, sizeof(bytes), &size) != 0) {
        return;
    }
    for (unsigned int i = below(4); i > 0; i--) {
        bytes[below((uint32_t)size)] ^= (uint8_t)value();
    }
    if (below(8) == 0) {
        size = below((uint32_t)size + 1);
    }
    if (piommu_viommu_device_restore(machine->device, bytes, size) == 0) {
        result->restored++;
    }
    machine_place_bar(machine);
}

static void reset_all(struct guest *guest)
{
    if (below(4) == 0) {
        machine_system_reset(guest->machine);
    }
}

/* ---- All of it ---- */

static void (*const steps[])(struct guest *guest) = {
    post,          post,          post,      post,    post,           post,
    post_indirect, service,       service,   service, settle,         post_event,
    post_event,    dma,           scribble,  start,   write_bypass,   move_endpoint,
    refuse_memory, fail_hardware, reset_all, notify,  restore_changed};

static void (*const access_steps[])(struct guest *guest) = {
    access_registers, access_registers, access_space, set_register, stop_queue, write_status};

static void step(struct guest *guest, bool accesses)
{
    const uint8_t status = machine_status(guest->machine);
    const uint32_t choice = below(COUNT(steps) + (accesses ? COUNT(access_steps) : 0));

    /* A device that does nothing is no fun for long. */
    if (((status & PIOMMU_VIRTIO_STATUS_DRIVER_OK) == 0 ||
         (status & PIOMMU_VIRTIO_STATUS_NEEDS_RESET) != 0) &&
        below(4) == 0) {
        start(guest);
    }
    if (choice < COUNT(steps)) {
        steps[choice](guest);
    } else {
        access_steps[choice - COUNT(steps)](guest);
    }
}

/* Hardware works again, the guest's memory is there, and nothing of the guest is left. */
static void end(struct guest *guest)
{
    struct viommu_machine *machine = guest->machine;
    struct viommu_hardware *hardware = machine->host->hardware;

    for (unsigned int i = 0; i < 2; i++) {
        mock_fail_call(hardware->unit(hardware, i), 0, 0, false);
    }
    machine->fail_translation = false;
    machine_place_bar(machine);
    machine_write_status(machine, 0);
    machine_settle(machine);
    result->requests += machine_statistics(machine).requests;
    result->refused += machine_statistics(machine).refused;
    result->faults += machine_statistics(machine).faults;
    for (unsigned int i = 0; i < MACHINE_DMA_PAGES; i++) {
        result->granted += machine->granted[(machine->memory - MACHINE_MEMORY) / PAGE + i] != 0;
    }
    if (!guest->hardware_failed) {
        assert_int_equal(machine_statistics(machine).bytes, 0);
        assert_int_equal(machine_statistics(machine).domains, 0);
        assert_int_equal(machine_statistics(machine).mappings, 0);
    }
}

static void live(struct viommu_machine *machine)
{
    for (unsigned int i = 0; i < machine->endpoint_count; i++) {
        if (machine->endpoints[i].endpoint == NULL) {
            machine_add_endpoint(machine, i);
        }
    }
    machine_boot_fully(machine, 1);
    machine_map(machine, 0, PAGE, 20, 3, RW);
    for (unsigned int i = 0; i < machine->endpoint_count; i++) {
        machine_attach(machine, i, 0);
    }
    machine_expect_exactly(machine);
    machine_unmap(machine, 0, PAGE, 3);
    machine_expect_exactly(machine);
    machine_shut(machine);
}

static struct machine_options options_of(uint32_t choice, uint32_t seed)
{
    static const uint64_t rings[] = {0, PIOMMU_VIRTIO_F_INDIRECT_DESC,
                                     PIOMMU_VIRTIO_F_RING_PACKED | PIOMMU_VIRTIO_F_INDIRECT_DESC,
                                     PIOMMU_VIRTIO_F_RING_PACKED | PIOMMU_VIRTIO_F_EVENT_IDX |
                                         PIOMMU_VIRTIO_F_INDIRECT_DESC};

    return (struct machine_options){
        .connection = (enum machine_connection)(choice % MACHINE_CONNECTIONS),
        .ring_features = rings[choice / 4 % 4],
        .devices = 2,
        .software = 1,
        .window = WINDOW,
        /* No more than what can be mapped soon. */
        .pages = 1024,
        .fragment = choice / 16 % 2 == 0 ? 4 : 512,
        .bypass = choice / 16 % 4 == 3,
        .starts_bypassed = choice / 64 % 2 != 0 && choice / 16 % 4 == 3,
        .seed = seed,
    };
}

static void few(struct piommu_viommu_device_config *config)
{
    config->engine.max_domains = 3;
    config->engine.max_mappings = 12;
    config->engine.max_bytes = 3000;
}

void viommu_hostile_run(const struct front_hostile_source *randomness, bool accesses, size_t count,
                        struct viommu_hostile_result *sum)
{
    struct machine_options options;
    struct guest guest = {0};
    uint32_t choice;

    source = randomness;
    result = sum;
    choice = below(256);
    options = options_of(choice, below(256));
    options.adjust = choice / 128 != 0 ? few : NULL;
    guest.machine = machine_open_alone(
        below(2) == 0 ? VIOMMU_HARDWARE_TABLES : VIOMMU_HARDWARE_REQUESTS, &options);
    guest.machine->host->patience = 8;
    start(&guest);
    for (size_t i = 0; i < count && source->more(source->ctx); i++) {
        step(&guest, accesses);
    }
    end(&guest);
    if (!guest.hardware_failed) {
        live(guest.machine);
    }
    machine_close_alone(guest.machine);
}
