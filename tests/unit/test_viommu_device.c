/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * A virtio-iommu as a whole (viommu-device.h), with the library's own driver in the guest: over all
 * transports, interrupts and rings, on each kind of hardware. viommu_machine.h says what must not
 * happen meanwhile.
 */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "viommu_bench.h"
#include "viommu_machine.h"

#define PAGE     MACHINE_PAGE
#define RW       (PIOMMU_PROT_READ | PIOMMU_PROT_WRITE)
#define R        PIOMMU_PROT_READ
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define PACKED   PIOMMU_VIRTIO_F_RING_PACKED
#define INDIRECT PIOMMU_VIRTIO_F_INDIRECT_DESC
#define EVENT    PIOMMU_VIRTIO_F_EVENT_IDX
/* What is not mapped by any test. */
#define HOLE 0x17000u

static const uint64_t rings[] = {INDIRECT | EVENT,          INDIRECT,      EVENT, PACKED,
                                 PACKED | INDIRECT | EVENT, PACKED | EVENT};

static struct machine_options usual(enum machine_connection connection)
{
    return (struct machine_options){.connection = connection,
                                    .devices = 2,
                                    .software = 1,
                                    .bypass = true,
                                    .fragment = 16,
                                    .seed = 5};
}

/* With mock units that have page tables. */
static struct viommu_machine *open_usual(enum machine_connection connection)
{
    const struct machine_options options = usual(connection);

    return machine_open_alone(VIOMMU_HARDWARE_TABLES, &options);
}

/* A guest with a domain of two mappings, and everybody in it. */
static struct viommu_machine *open_running(enum machine_connection connection)
{
    struct viommu_machine *machine = open_usual(connection);

    machine_boot_fully(machine, 2);
    machine_map(machine, 0, 0x1000, 3, 5, RW);
    machine_map(machine, 0, 0x8000, 30, 3, R);
    for (unsigned int i = 0; i < machine->endpoint_count; i++) {
        machine_attach(machine, i, 0);
    }
    machine_expect_exactly(machine);
    return machine;
}

static void close_running(struct viommu_machine *machine)
{
    machine_shut(machine);
    machine_close_alone(machine);
}

/* ---- Everyday life ---- */

/* What is told of an endpoint that has no mapping there. */
static void check_fault(struct viommu_machine *machine, unsigned int number)
{
    const struct piommu_fault *fault = &machine->faults[machine->fault_count];
    const unsigned int before = machine->fault_count;
    unsigned int lines;
    unsigned int sent;

    machine_interrupts(machine); /* those for requests */
    lines = machine->lines;
    sent = machine->messages;
    assert_int_equal(machine_dma(machine, number, HOLE, true), MACHINE_NOTHING);
    machine_interrupts(machine);
    assert_int_equal(machine->fault_count, before + 1);
    assert_ptr_equal(fault->device_owner, &machine->endpoints[number]);
    assert_true(fault->id_valid);
    assert_int_equal(fault->id, machine->endpoints[number].id);
    assert_int_equal(fault->reason, PIOMMU_FAULT_MAPPING);
    assert_true(fault->iova_valid && fault->write && !fault->read);
    assert_int_equal(fault->iova, HOLE);
    if (machine->options.connection >= MACHINE_PCI_MESSAGE) {
        const struct piommu_virtio_message asked =
            machine_message(machine->options.connection - MACHINE_PCI_MESSAGE);

        assert_true(machine->messages > sent);
        assert_int_equal(machine->last_message.address, asked.address);
        assert_int_equal(machine->last_message.data, asked.data);
        assert_int_equal(machine->lines, 0);
    } else {
        assert_true(machine->lines > lines);
        assert_int_equal(machine->messages, 0);
    }
    assert_false(machine->line);
}

static void map_and_attach(struct viommu_machine *machine)
{
    machine_expect_nothing(machine);
    machine_map(machine, 0, 0x1000, 3, 5, RW);
    machine_map(machine, 0, 0x8000, 12, 9, R); /* from one fragment of memory into the next */
    machine_expect_nothing(machine);
    machine_attach(machine, 0, 0);
    machine_expect_exactly(machine);
    machine_attach(machine, 1, 0);
    machine_attach(machine, 2, 0);
    machine_expect_exactly(machine);
    machine_map(machine, 0, 0, 40, 1, RW);
    assert_int_equal(machine_reached(machine, 0, 0xfff, true), machine->memory + 41 * PAGE - 1);
    assert_int_equal(machine_reached(machine, 2, 0x8000, false), machine->memory + 12 * PAGE);
    machine_expect_exactly(machine);
    assert_int_equal(machine_statistics(machine).mappings, 3);
    assert_int_equal(machine->endpoints[2].told_count, 3);
}

static void change_and_move(struct viommu_machine *machine)
{
    uint64_t changed = 0;

    machine_unmap(machine, 0, 0x1000, 5);
    machine_expect_exactly(machine);
    assert_int_equal(
        piommu_domain_protect(machine->domains[0], 0, PAGE, R, PIOMMU_ALLOW_HOLE, &changed), 0);
    assert_int_equal(machine_reached(machine, 1, 0, true), MACHINE_NOTHING);
    machine_map(machine, 1, 0x3000, 50, 2, RW);
    machine_attach(machine, 1, 1);
    machine_expect_exactly(machine);
    machine_map(machine, 1, 0x6000, 52, 2, RW);
    machine_map(machine, 0, 0x5000, 54, 2, RW);
    machine_expect_exactly(machine);
    assert_int_equal(machine_statistics(machine).domains, 2);
}

static void live(struct viommu_machine *machine)
{
    machine_boot_fully(machine, 2);
    map_and_attach(machine);
    change_and_move(machine);
    if (machine->host->hardware->raise != NULL) {
        check_fault(machine, 0);
    }
    check_fault(machine, 2);
    machine_detach(machine, 2);
    machine_detach(machine, 0);
    machine_expect_exactly(machine);
    machine_detach(machine, 1);
    machine_expect_nothing(machine);
    machine_settle(machine);
    assert_int_equal(machine_statistics(machine).domains, 0);
    assert_int_equal(machine_statistics(machine).bytes, 0);
    machine_shut(machine);
    machine_expect_nothing(machine);
}

static void guest_lives_with(const struct machine_options *options)
{
    for (unsigned int kind = 0; kind < VIOMMU_HARDWARE_KINDS; kind++) {
        struct viommu_machine *machine =
            machine_open_alone((enum viommu_hardware_kind)kind, options);

        live(machine);
        live(machine); /* a second driver finds what the first one has left */
        machine_close_alone(machine);
    }
}

static void guest_lives_over_each_connection_and_ring(void **state)
{
    (void)state;
    for (unsigned int connection = 0; connection < MACHINE_CONNECTIONS; connection++) {
        for (unsigned int i = 0; i < COUNT(rings); i++) {
            struct machine_options options = usual((enum machine_connection)connection);

            options.ring_features = rings[i];
            options.sleeps = i % 2 != 0;
            options.eager = (connection + i) % 2 != 0;
            options.seed = 100 * connection + i;
            guest_lives_with(&options);
        }
    }
}

static void smallest_queues(struct piommu_viommu_device_config *config)
{
    config->request_entries = 2;
    config->event_entries = 2;
}

static void guest_lives_with_little(void **state)
{
    (void)state;
    for (unsigned int connection = 0; connection < MACHINE_CONNECTIONS; connection++) {
        struct machine_options options = usual((enum machine_connection)connection);

        options.adjust = smallest_queues;
        options.budget = 1;
        options.bypass = false;
        guest_lives_with(&options);
    }
}

/* Another device takes over before each access of a register, and in each wait. */
static void guest_does_not_notice_that_it_moves(void **state)
{
    (void)state;
    for (unsigned int connection = 0; connection < MACHINE_CONNECTIONS; connection++) {
        for (unsigned int i = 0; i < COUNT(rings); i++) {
            struct machine_options options = usual((enum machine_connection)connection);
            struct viommu_machine *machine;

            options.ring_features = rings[i];
            options.sleeps = i % 2 != 0;
            options.seed = 100 * connection + i;
            machine = machine_open_alone((enum viommu_hardware_kind)(i % VIOMMU_HARDWARE_KINDS),
                                         &options);
            machine->meddle = machine_migrate;
            live(machine);
            machine_close_alone(machine);
        }
    }
}

static void state_that_lies_leaves_a_device_as_new(void **state)
{
    struct machine_options options = usual(MACHINE_PCI_LINE);
    struct viommu_machine *machine = machine_open_alone(VIOMMU_HARDWARE_TABLES, &options);
    uint8_t bytes[8192];
    size_t size;

    (void)state;
    machine_boot_fully(machine, 2);
    map_and_attach(machine);
    machine_settle(machine);
    assert_int_equal(piommu_viommu_device_save(machine->device, bytes, sizeof(bytes), &size), 0);
    for (size_t cut = 0; cut < size; cut += 1 + cut / 50) {
        assert_int_equal(piommu_viommu_device_restore(machine->device, bytes, cut), -PIOMMU_EINVAL);
        assert_int_equal(machine_status(machine), 0);
        machine_settle(machine);
        assert_int_equal(machine_statistics(machine).domains, 0);
        machine_expect_nothing(machine);
    }
    /* The engine's part is right, that of the front is not. */
    bytes[size - 1] ^= 0x80;
    assert_int_equal(piommu_viommu_device_restore(machine->device, bytes, size), -PIOMMU_EINVAL);
    machine_expect_nothing(machine);
    assert_int_equal(piommu_viommu_device_restore(machine->device, NULL, 0), -PIOMMU_EINVAL);
    assert_int_equal(piommu_viommu_device_restore(NULL, bytes, size), -PIOMMU_EINVAL);
    assert_int_equal(piommu_viommu_device_save(NULL, bytes, size, &size), -PIOMMU_EINVAL);
    assert_int_equal(piommu_viommu_device_save(machine->device, bytes, size, NULL), -PIOMMU_EINVAL);
    bytes[size - 1] ^= 0x80;
    assert_int_equal(piommu_viommu_device_restore(machine->device, bytes, size), 0);
    machine_expect_exactly(machine);
    close_running(machine);
}

static void guest_lives_on_an_ipmmu(void **state)
{
    (void)state;
    for (unsigned int connection = 0; connection < MACHINE_CONNECTIONS; connection++) {
        const struct machine_options options = usual((enum machine_connection)connection);
        struct viommu_machine *machine =
            machine_open(machine_host_open(viommu_hardware_open_ipmmu()), &options);

        live(machine);
        machine_close_alone(machine);
    }
}

/* ---- What the device is ---- */

static void pci_function_is_that_of_an_iommu(void **state)
{
    struct viommu_machine *machine = open_usual(MACHINE_PCI_LINE);

    (void)state;
    assert_int_equal(piommu_virtio_front_pci_config_read(machine->front, 0, 4), 0x10571af4);
    assert_int_equal(piommu_virtio_front_pci_config_read(machine->front, 8, 4) >> 8, 0x080600);
    machine_close_alone(machine);
}

static void own_vendor(struct piommu_viommu_device_config *config)
{
    config->vendor = 0x1234;
    config->request_entries = 64;
    config->event_entries = 16;
}

static void class_vendor_and_sizes_can_be_chosen(void **state)
{
    struct machine_options options = usual(MACHINE_MMIO);
    struct viommu_machine *machine;
    struct piommu_viommu_device_config config;
    struct piommu_virtio_front_pci_config pci;
    struct piommu_viommu_device *device;
    struct piommu_virtio_front *front;

    (void)state;
    options.adjust = own_vendor;
    machine = machine_open_alone(VIOMMU_HARDWARE_TABLES, &options);
    assert_int_equal(machine_read(machine, 0x008, 4), 23);
    assert_int_equal(machine_read(machine, 0x00c, 4), 0x1234);
    assert_int_equal(machine_read(machine, 0x034, 4), 64);
    machine_write(machine, 0x030, 4, 1);
    assert_int_equal(machine_read(machine, 0x034, 4), 16);
    machine_write(machine, 0x030, 4, 2);
    assert_int_equal(machine_read(machine, 0x034, 4), 0);
    machine_describe(machine, &config, &pci);
    pci.class_code = 0xff0000;
    assert_int_equal(piommu_viommu_device_create_pci(fake_os_host(machine->host->hardware->os),
                                                     &config, &pci, &device),
                     0);
    front = piommu_viommu_device_front(device);
    assert_int_equal(piommu_virtio_front_pci_config_read(front, 8, 4) >> 8, 0xff0000);
    assert_int_equal(piommu_virtio_front_pci_config_read(front, 0x2c, 2), 0x1234);
    assert_int_equal(piommu_viommu_device_destroy(device), 0);
    machine_close_alone(machine);
}

static void default_queues_and_features(void **state)
{
    struct viommu_machine *machine = open_usual(MACHINE_MMIO);

    (void)state;
    assert_int_equal(machine_read(machine, 0x034, 4), 256);
    machine_write(machine, 0x030, 4, 1);
    assert_int_equal(machine_read(machine, 0x034, 4), 64);
    assert_int_equal(machine_read(machine, 0x010, 4), 0x30000074);
    machine_write(machine, 0x014, 4, 1);
    assert_int_equal(machine_read(machine, 0x010, 4), 1);
    machine_close_alone(machine);
}

static void narrow(struct piommu_viommu_device_config *config)
{
    config->engine.input = (struct piommu_range){.first = 0x2000, .last = 0x13fff};
    config->engine.last_domain = 9;
    config->engine.probe_size = 64;
    config->engine.page_sizes = 0x1000;
}

static void driver_keeps_to_what_the_configuration_says(void **state)
{
    struct machine_options options = usual(MACHINE_PCI_MESSAGES);
    struct viommu_machine *machine;
    struct piommu_instance_info info;

    (void)state;
    options.adjust = narrow;
    machine = machine_open_alone(VIOMMU_HARDWARE_TABLES, &options);
    machine_boot_fully(machine, 1);
    piommu_instance_get_info(machine->instance, &info);
    assert_int_equal(info.aperture.first, 0x2000);
    assert_int_equal(info.aperture.last, 0x13fff);
    assert_int_equal(info.leaf_sizes, 0x1000);
    machine_map(machine, 0, 0x2000, 0, 18, RW);
    machine_attach(machine, 0, 0);
    machine_expect_exactly(machine);
    assert_int_equal(piommu_domain_map(machine->domains[0], 0x14000, machine->memory, PAGE, RW),
                     -PIOMMU_ERANGE);
    close_running(machine);
}

static void reserved_regions_are_found(void **state)
{
    static const struct piommu_reserved_region regions[] = {
        {.range = {.first = 0x5000, .last = 0x5fff}, .kind = PIOMMU_RESERVED_MSI},
        {.range = {.first = 0x9000, .last = 0xafff}, .kind = PIOMMU_RESERVED},
    };

    (void)state;
    for (unsigned int connection = 0; connection < MACHINE_CONNECTIONS; connection++) {
        struct machine_options options = usual((enum machine_connection)connection);
        struct viommu_machine *machine;

        options.regions = regions;
        options.region_count = COUNT(regions);
        machine = machine_open_alone(VIOMMU_HARDWARE_REQUESTS, &options);
        machine_boot_fully(machine, 1);
        for (unsigned int i = 0; i <= COUNT(regions); i++) {
            struct piommu_reserved_region found;
            int error = piommu_device_reserved_region(machine->devices[0], i, &found);

            assert_int_equal(error, i < COUNT(regions) ? 0 : -PIOMMU_ENOENT);
            if (error == 0) {
                assert_int_equal(found.range.first, regions[i].range.first);
                assert_int_equal(found.range.last, regions[i].range.last);
                assert_int_equal(found.kind, regions[i].kind);
            }
            assert_int_equal(piommu_device_reserved_region(machine->devices[1], i, &found),
                             -PIOMMU_ENOENT);
        }
        machine_attach(machine, 0, 0);
        assert_int_equal(piommu_domain_map(machine->domains[0], 0x5000, machine->memory, PAGE, RW),
                         -PIOMMU_ERESERVED);
        close_running(machine);
    }
}

/* A driver without a core, which agrees on what a test wants. */
struct driver {
    struct viommu_machine *machine;
    struct piommu_virtio_device *device;
    struct piommu_virtqueue *queue;
};

static struct driver open_driver(struct viommu_machine *machine, uint64_t refused)
{
    static const struct piommu_virtio_mmio_config place = {
        .registers = MACHINE_REGISTERS, .size = 0x128, .type = 23};
    const struct piommu_virtqueue_config queue = {.max_size = 16, .max_pieces = 2};
    struct driver driver = {.machine = machine};
    uint64_t accepted;

    assert_int_equal(piommu_virtio_mmio_open(fake_os_host(machine->os), &place, &driver.device), 0);
    assert_int_equal(piommu_virtio_reset(driver.device, MACHINE_SECOND), 0);
    assert_int_equal(piommu_virtio_negotiate(
                         driver.device, (PIOMMU_VIRTIO_F_GENERIC | 0x7f) & ~refused, 0, &accepted),
                     0);
    assert_int_equal(accepted & refused, 0);
    assert_int_equal(piommu_virtqueue_create(driver.device, &queue, &driver.queue), 0);
    piommu_virtio_start(driver.device);
    return driver;
}

static void close_driver(struct driver *driver)
{
    assert_int_equal(piommu_virtio_reset(driver->device, MACHINE_SECOND), 0);
    piommu_virtqueue_destroy(driver->queue);
    piommu_virtio_close(driver->device);
}

/* Where the answer will be. */
static const uint8_t *send(struct driver *driver, const struct engine_request *request)
{
    const uint64_t place = driver->machine->memory;
    uint8_t *bytes = fake_os_pointer(driver->machine->os, place, 2 * PAGE);
    const struct piommu_virtio_buffer pieces[] = {
        {.physical = place, .size = request->readable},
        {.physical = place + PAGE, .size = request->writable, .writable = true}};
    uint16_t head;

    memcpy(bytes, request->bytes, sizeof(request->bytes));
    assert_int_equal(piommu_virtqueue_add(driver->queue, pieces, COUNT(pieces), &head), 0);
    piommu_virtqueue_kick(driver->queue);
    return bytes + PAGE;
}

static enum viommu_status ask(struct driver *driver, const struct engine_request *request)
{
    const uint8_t *status = send(driver, request);
    uint32_t length;
    uint16_t head;

    machine_settle(driver->machine);
    assert_int_equal(piommu_virtqueue_take(driver->queue, &head, &length), 1);
    assert_int_equal(length, request->writable);
    return (enum viommu_status) * status;
}

static void features_count_that_were_agreed_on(void **state)
{
    static const uint64_t refused[] = {0, PIOMMU_VIOMMU_F_MMIO, PIOMMU_VIOMMU_F_BYPASS_CONFIG};
    const struct engine_request attach = engine_attach_request(1, MACHINE_DEVICE(0), 0);
    const struct engine_request pass = engine_attach_request(2, MACHINE_DEVICE(1), VIOMMU_BYPASS);
    const struct engine_request registers = engine_map_request(
        1, 0x1000, 0x1fff, MACHINE_OTHER, VIOMMU_READ | VIOMMU_WRITE | VIOMMU_MMIO);
    struct viommu_machine *machine = open_usual(MACHINE_MMIO);

    (void)state;
    for (unsigned int i = 0; i < COUNT(refused); i++) {
        struct driver driver = open_driver(machine, refused[i]);

        assert_int_equal(ask(&driver, &attach), VIOMMU_OK);
        assert_int_equal(ask(&driver, &registers), i == 1 ? VIOMMU_INVAL : VIOMMU_OK);
        assert_int_equal(machine_reached(machine, 0, 0x1000, true),
                         i == 1 ? MACHINE_NOTHING : MACHINE_OTHER);
        assert_int_equal(ask(&driver, &pass), i == 2 ? VIOMMU_INVAL : VIOMMU_OK);
        assert_int_equal(machine_reached(machine, 1, machine->memory, true),
                         i == 2 ? MACHINE_NOTHING : machine->memory);
        close_driver(&driver);
        machine_expect_nothing(machine);
    }
    machine_close_alone(machine);
}

static void endpoints_come_and_go_while_nobody_uses_them(void **state)
{
    (void)state;
    for (unsigned int kind = 0; kind < VIOMMU_HARDWARE_KINDS; kind++) {
        const struct machine_options options = usual(MACHINE_PCI_LINE);
        struct viommu_machine *machine =
            machine_open_alone((enum viommu_hardware_kind)kind, &options);

        machine_boot_fully(machine, 1);
        machine_map(machine, 0, 0x1000, 3, 5, RW);
        machine_attach(machine, 0, 0);
        for (unsigned int i = 1; i < machine->endpoint_count; i++) {
            assert_int_equal(piommu_device_remove(machine->devices[i]), 0);
            machine->devices[i] = NULL;
            assert_int_equal(machine_remove_endpoint(machine, i), 0);
            assert_int_equal(machine_add_device(machine, i), -PIOMMU_ENOENT);
            assert_int_equal(machine_state(machine), PIOMMU_INSTANCE_RUNNING);
            machine_add_endpoint(machine, i);
            assert_int_equal(machine_add_device(machine, i), 0);
            machine_attach(machine, i, 0);
        }
        machine_expect_exactly(machine);
        close_running(machine);
    }
}

/* ---- Bypass ---- */

static void expect_identity(struct viommu_machine *machine)
{
    for (unsigned int i = 0; i < machine->endpoint_count; i++) {
        const uint64_t last = machine->memory + MACHINE_IDENTITY_PAGES * PAGE - 1;

        assert_int_equal(machine_reached(machine, i, machine->memory, false), machine->memory);
        assert_int_equal(machine_reached(machine, i, last, true), last);
    }
}

static void bypass_ends_when_the_driver_starts(void **state)
{
    (void)state;
    for (unsigned int connection = 0; connection < MACHINE_CONNECTIONS; connection++) {
        struct machine_options options = usual((enum machine_connection)connection);
        struct viommu_machine *machine;

        options.starts_bypassed = true;
        machine = machine_open_alone(VIOMMU_HARDWARE_TABLES, &options);
        expect_identity(machine);
        assert_int_equal(machine_bypass(machine), 1);
        assert_int_equal(machine_boot(machine), 0);
        assert_int_equal(machine_bypass(machine), 0);
        machine_expect_nothing(machine);
        machine_shut(machine);
        machine_expect_nothing(machine);
        machine_write_bypass(machine, 1);
        expect_identity(machine);
        machine_write_status(machine, 0); /* which does not change it */
        expect_identity(machine);
        assert_int_equal(machine_bypass(machine), 1);
        machine_write_bypass(machine, 0);
        machine_expect_nothing(machine);
        machine_system_reset(machine);
        assert_int_equal(machine_bypass(machine), 1);
        expect_identity(machine);
        machine_close_alone(machine);
    }
}

static void identity_domain_is_the_bypass(void **state)
{
    (void)state;
    for (unsigned int kind = 0; kind < VIOMMU_HARDWARE_KINDS; kind++) {
        const struct machine_options options = usual(MACHINE_MMIO);
        struct viommu_machine *machine =
            machine_open_alone((enum viommu_hardware_kind)kind, &options);
        const struct piommu_domain_config config = {
            .type = PIOMMU_DOMAIN_IDENTITY, .instances = &machine->instance, .instance_count = 1};

        machine_boot_fully(machine, 1);
        assert_int_equal(piommu_domain_create(&config, &machine->domains[1]), 0);
        machine_map(machine, 0, 0x1000, 3, 5, RW);
        for (unsigned int i = 0; i < machine->endpoint_count; i++) {
            machine_attach(machine, i, 1);
        }
        expect_identity(machine);
        machine_attach(machine, 0, 0);
        assert_int_equal(machine_reached(machine, 0, machine->memory, false), MACHINE_NOTHING);
        machine_detach(machine, 2);
        machine_attach(machine, 0, 1);
        machine_detach(machine, 1);
        machine_attach(machine, 1, 0);
        assert_int_equal(machine_reached(machine, 0, machine->memory, true), machine->memory);
        assert_int_equal(machine_reached(machine, 1, machine->memory, true), MACHINE_NOTHING);
        assert_int_equal(machine_reached(machine, 2, machine->memory, true), MACHINE_NOTHING);
        close_running(machine);
    }
}

static void unknown_endpoints_are_left_bypassed(void **state)
{
    struct machine_options options = usual(MACHINE_PCI_MESSAGE);
    struct viommu_machine *machine;

    (void)state;
    options.unknown_ids = PIOMMU_UNKNOWN_IDS_LEAVE;
    options.starts_bypassed = true;
    machine = machine_open_alone(VIOMMU_HARDWARE_TABLES, &options);
    assert_int_equal(machine_boot(machine), 0);
    expect_identity(machine);
    machine_shut(machine);
    machine_boot_fully(machine, 1);
    assert_int_equal(machine_bypass(machine), 1);
    machine_expect_nothing(machine); /* all are known now */
    assert_int_equal(piommu_instance_suspend(machine->instance), 0);
    machine_expect_nothing(machine);
    assert_int_equal(machine_bypass(machine), 0);
    assert_int_equal(piommu_instance_resume(machine->instance), 0);
    assert_int_equal(machine_bypass(machine), 1);
    machine_expect_nothing(machine);
    close_running(machine);
}

/* ---- Lives of the driver ---- */

static void driver_is_suspended_and_resumed(void **state)
{
    (void)state;
    for (unsigned int connection = 0; connection < MACHINE_CONNECTIONS; connection++) {
        struct viommu_machine *machine = open_running((enum machine_connection)connection);

        for (unsigned int i = 0; i < 3; i++) {
            assert_int_equal(piommu_instance_suspend(machine->instance), 0);
            machine_expect_nothing(machine);
            machine_settle(machine);
            assert_int_equal(machine_statistics(machine).bytes, 0);
            machine_map(machine, 0, 0xc000 + i * PAGE, i, 1, RW);
            assert_int_equal(piommu_instance_resume(machine->instance), 0);
            machine_expect_exactly(machine);
            check_fault(machine, 0);
        }
        close_running(machine);
    }
}

/* What was the driver's is gone, and it finds out; then it brings all back. */
static void expect_recovery(struct viommu_machine *machine)
{
    assert_int_equal(machine_state(machine), PIOMMU_INSTANCE_FAILED);
    machine_expect_nothing(machine);
    assert_int_equal(piommu_instance_recover(machine->instance), 0);
    assert_int_equal(machine_state(machine), PIOMMU_INSTANCE_RUNNING);
    machine_expect_exactly(machine);
    machine_map(machine, 0, 0x14000, 44, 1, RW);
    machine_expect_exactly(machine);
    check_fault(machine, 1);
}

static int map_another(struct viommu_machine *machine)
{
    return piommu_domain_map(machine->domains[0], 0x10000, machine->memory, PAGE, RW);
}

static void driver_recovers_from_a_reset_by_others(void **state)
{
    (void)state;
    for (unsigned int connection = 0; connection < MACHINE_CONNECTIONS; connection++) {
        struct viommu_machine *machine = open_running((enum machine_connection)connection);

        machine_write_status(machine, 0);
        machine_expect_nothing(machine); /* at once, not when it is serviced */
        assert_true(machine->work);      /* there is memory to be freed */
        machine_settle(machine);
        assert_int_equal(machine_statistics(machine).domains, 0);
        assert_int_equal(machine_statistics(machine).bytes, 0);
        assert_int_equal(machine->endpoints[2].told_count, 0);
        assert_int_equal(map_another(machine), -PIOMMU_EFAILED);
        expect_recovery(machine);
        close_running(machine);
    }
}

/* An index that jumps, a descriptor or buffer ID that cannot be. */
static void corrupt(struct viommu_machine *machine, uint64_t address, uint8_t *bytes, size_t size)
{
    (void)machine;
    (void)address;
    if (size == 2) {
        bytes[1] ^= 0x40;
    } else if (size == 16) {
        bytes[12] = 0xff;
        bytes[13] = 0xff;
    }
}

static void driver_recovers_from_a_broken_ring(void **state)
{
    (void)state;
    for (unsigned int connection = 0; connection < MACHINE_CONNECTIONS; connection++) {
        for (unsigned int i = 0; i < COUNT(rings); i++) {
            struct machine_options options = usual((enum machine_connection)connection);
            struct viommu_machine *machine;

            options.ring_features = rings[i];
            machine = machine_open_alone(VIOMMU_HARDWARE_TABLES, &options);
            machine_boot_fully(machine, 1);
            machine_map(machine, 0, 0x1000, 3, 5, RW);
            machine_attach(machine, 1, 0);
            machine->tamper = corrupt;
            machine_notify(machine, 0);
            (void)map_another(machine);
            machine->tamper = NULL;
            machine_interrupts(machine);
            expect_recovery(machine);
            close_running(machine);
        }
    }
}

/* A ring that is broken while nobody asks anything: the device's interrupt tells. */
static void broken_ring_is_told_by_an_interrupt(void **state)
{
    (void)state;
    for (unsigned int connection = 0; connection < MACHINE_CONNECTIONS; connection++) {
        struct viommu_machine *machine = open_running((enum machine_connection)connection);

        machine->tamper = corrupt;
        machine_notify(machine, 0);
        machine_settle(machine);
        machine->tamper = NULL;
        assert_int_equal(machine_status(machine) & PIOMMU_VIRTIO_STATUS_NEEDS_RESET,
                         PIOMMU_VIRTIO_STATUS_NEEDS_RESET);
        machine_interrupts(machine);
        expect_recovery(machine);
        close_running(machine);
    }
}

static void driver_recovers_from_silence(void **state)
{
    (void)state;
    for (unsigned int connection = 0; connection < MACHINE_CONNECTIONS; connection++) {
        struct viommu_machine *machine = open_running((enum machine_connection)connection);

        machine->idle = true;
        assert_int_equal(map_another(machine), -PIOMMU_EFAILED);
        machine->idle = false;
        expect_recovery(machine);
        close_running(machine);
    }
}

/* Counts accesses and waits down, and changes the command register when that is over. */
static unsigned int countdown;
static uint16_t command;

static void command_later(struct viommu_machine *machine)
{
    if (countdown != 0 && --countdown == 0) {
        piommu_virtio_front_pci_config_write(machine->front, 4, 2, command);
    }
}

static void answers_wait_until_the_bus_may_be_mastered(void **state)
{
    (void)state;
    for (unsigned int delay = 1; delay < 30; delay++) {
        struct viommu_machine *machine = open_running(MACHINE_PCI_LINE);

        machine->options.budget = 1;
        machine->idle = true; /* requests are taken, but not before it cannot answer */
        piommu_virtio_front_pci_config_write(machine->front, 4, 2, 2);
        machine->idle = false;
        countdown = delay;
        command = 6;
        machine->meddle = command_later;
        assert_int_equal(map_another(machine), 0);
        assert_int_equal(countdown, 0);
        machine_expect_exactly(machine);
        close_running(machine);
    }
}

/* Mastering ends in the midst of a request that takes many services. */
static void mastering_ends_within_a_request(void **state)
{
    unsigned int failures = 0;

    (void)state;
    for (unsigned int delay = 1; delay < 40; delay++) {
        struct viommu_machine *machine = open_running(MACHINE_PCI_MESSAGES);
        int error;

        machine->options.budget = 1;
        countdown = delay;
        command = 2;
        machine->meddle = command_later;
        error = piommu_domain_map(machine->domains[0], 0x10000, machine->memory + 10 * PAGE,
                                  5 * PAGE, RW);
        machine->meddle = NULL;
        if (countdown == 0 && error != 0) {
            assert_int_equal(error, -PIOMMU_EFAILED);
            assert_int_equal(piommu_instance_recover(machine->instance), 0);
            failures++;
        } else {
            piommu_virtio_front_pci_config_write(machine->front, 4, 2, 6);
            assert_int_equal(error, 0);
        }
        machine_expect_exactly(machine);
        close_running(machine);
    }
    assert_in_range(failures, 2, 38); /* it ended before, within and after it */
}

static void stop_queue(struct viommu_machine *machine, bool again)
{
    machine_write(machine, 0x030, 4, PIOMMU_VIOMMU_REQUESTS);
    machine_write(machine, 0x044, 4, 0);
    if (again) {
        machine_write(machine, 0x044, 4, 1);
    }
}

static bool starts_again;

static void stop_later(struct viommu_machine *machine)
{
    if (countdown != 0 && --countdown == 0) {
        stop_queue(machine, starts_again);
    }
}

/* The request is carried out or not; what the driver brings back is right all the same. */
static void queue_is_stopped_within_a_request(void **state)
{
    unsigned int failures = 0;

    (void)state;
    for (unsigned int i = 0; i < 60; i++) {
        struct viommu_machine *machine = open_running(MACHINE_MMIO);
        int error;

        machine->options.budget = 1;
        countdown = 1 + i / 2;
        starts_again = i % 2 != 0;
        machine->meddle = stop_later;
        error = piommu_domain_map(machine->domains[0], 0x10000, machine->memory + 10 * PAGE,
                                  5 * PAGE, RW);
        machine->meddle = NULL;
        if (error != 0) {
            assert_int_equal(error, -PIOMMU_EFAILED);
            expect_recovery(machine);
            failures++;
        }
        machine_expect_exactly(machine);
        close_running(machine);
    }
    assert_in_range(failures, 2, 58);
}

/*
 * The request that was being carried out comes to its end and is not answered, since the ring that
 * it came from is none any more; in the new one the device finds what lies in its memory.
 */
static void stop_and_start_later(struct viommu_machine *machine)
{
    if (countdown == 0 || --countdown != 0) {
        return;
    }
    stop_queue(machine, false);
    machine_settle(machine);
    assert_int_equal(machine_status(machine), 0xf);
    stop_queue(machine, true);
    machine_notify(machine, PIOMMU_VIOMMU_REQUESTS);
    machine_settle(machine);
    assert_int_equal(machine_status(machine), 0xf);
}

static void answers_do_not_go_to_a_ring_that_was_started_anew(void **state)
{
    (void)state;
    for (unsigned int delay = 1; delay < 20; delay++) {
        struct viommu_machine *machine = open_running(MACHINE_MMIO);

        machine->options.budget = 1;
        countdown = delay;
        machine->meddle = stop_and_start_later;
        (void)piommu_domain_map(machine->domains[0], 0x10000, machine->memory + 10 * PAGE, 5 * PAGE,
                                RW);
        machine->meddle = NULL;
        close_running(machine);
    }
}

static void stop_events_later(struct viommu_machine *machine)
{
    if (countdown != 0 && --countdown == 0) {
        machine_write(machine, 0x030, 4, PIOMMU_VIOMMU_EVENTS);
        machine_write(machine, 0x044, 4, 0);
    }
}

static void stopped_queue_for_events_is_no_matter_of_requests(void **state)
{
    (void)state;
    for (unsigned int delay = 1; delay < 20; delay++) {
        struct viommu_machine *machine = open_running(MACHINE_MMIO);

        machine->options.budget = 1;
        countdown = delay;
        machine->meddle = stop_events_later;
        assert_int_equal(piommu_domain_map(machine->domains[0], 0x10000,
                                           machine->memory + 10 * PAGE, 5 * PAGE, RW),
                         0);
        machine->meddle = NULL;
        machine_expect_exactly(machine);
        close_running(machine);
    }
}

static void whole_guest_is_reset(void **state)
{
    (void)state;
    for (unsigned int connection = 0; connection < MACHINE_CONNECTIONS; connection++) {
        struct viommu_machine *machine = open_running((enum machine_connection)connection);

        assert_int_equal(machine_dma(machine, 0, HOLE, false), MACHINE_NOTHING);
        machine_system_reset(machine);
        machine_expect_nothing(machine);
        assert_int_equal(machine_status(machine), 0);
        assert_true(machine->work);
        machine_settle(machine);
        assert_int_equal(machine_statistics(machine).bytes, 0);
        assert_int_equal(machine_statistics(machine).faults, 0);
        machine_shut(machine); /* the program that was running is gone */
        live(machine);
        machine_close_alone(machine);
    }
}

static void reset_all_later(struct viommu_machine *machine)
{
    if (countdown != 0 && --countdown == 0) {
        machine_system_reset(machine);
    }
}

static void whole_guest_is_reset_within_a_request(void **state)
{
    (void)state;
    for (unsigned int delay = 1; delay < 30; delay++) {
        struct viommu_machine *machine =
            open_running((enum machine_connection)(delay % MACHINE_CONNECTIONS));

        machine->options.budget = 1;
        countdown = delay;
        machine->meddle = reset_all_later;
        (void)piommu_domain_map(machine->domains[0], 0x10000, machine->memory + 10 * PAGE, 5 * PAGE,
                                RW);
        machine->meddle = NULL;
        if (countdown == 0) {
            machine_expect_nothing(machine);
        }
        machine->options.budget = 0;
        machine_shut(machine);
        live(machine);
        machine_close_alone(machine);
    }
}

/* ---- Several guests ---- */

static void two_guests_do_not_see_each_other(void **state)
{
    (void)state;
    for (unsigned int kind = 0; kind < VIOMMU_HARDWARE_KINDS; kind++) {
        struct viommu_host *host =
            machine_host_open(viommu_hardware_open_mocks((enum viommu_hardware_kind)kind));
        struct machine_options options = usual(MACHINE_PCI_MESSAGES);
        struct viommu_machine *one = machine_open(host, &options);
        struct viommu_machine *other;

        options.connection = MACHINE_MMIO;
        options.bypass = false;
        other = machine_open(host, &options);
        machine_boot_fully(one, 1);
        machine_boot_fully(other, 1);
        machine_map(one, 0, 0x1000, 3, 5, RW);
        machine_map(other, 0, 0x1000, 3, 9, RW);
        machine_attach(one, 0, 0);
        machine_expect_nothing(other);
        machine_attach(other, 0, 0);
        machine_attach(other, 1, 0);
        machine_expect_exactly(one);
        machine_expect_exactly(other);
        assert_int_equal(machine_statistics(one).mappings, 1);
        check_fault(one, 0);
        machine_interrupts(other);
        assert_int_equal(other->fault_count, 0);
        machine_write_status(one, 0);
        machine_expect_nothing(one);
        machine_expect_exactly(other);
        machine_shut(one);
        machine_close(one);
        machine_expect_exactly(other);
        machine_shut(other);
        machine_close(other);
        machine_host_close(host);
    }
}

/* ---- Limits, and hardware that fails ---- */

static void few(struct piommu_viommu_device_config *config)
{
    config->engine.max_mappings = 4;
    config->engine.max_domains = 2;
}

static void limits_are_told(void **state)
{
    struct machine_options options = usual(MACHINE_MMIO);
    struct viommu_machine *machine;

    (void)state;
    options.adjust = few;
    options.devices = 3;
    machine = machine_open_alone(VIOMMU_HARDWARE_TABLES, &options);
    machine_boot_fully(machine, 3);
    machine_attach(machine, 0, 0);
    machine_attach(machine, 1, 1);
    assert_int_equal(piommu_device_attach(machine->devices[2], machine->domains[2]),
                     -PIOMMU_ENOMEM);
    for (unsigned int i = 0; i < 4; i++) {
        machine_map(machine, i % 2, i * PAGE, i, 1, RW);
    }
    assert_int_equal(map_another(machine), -PIOMMU_ENOMEM);
    machine_expect_exactly(machine);
    machine_unmap(machine, 1, PAGE, 1);
    assert_int_equal(map_another(machine), 0);
    machine_expect_exactly(machine);
    close_running(machine);
}

static void memory_that_is_not_the_guests_is_refused(void **state)
{
    (void)state;
    for (unsigned int kind = 0; kind < VIOMMU_HARDWARE_KINDS; kind++) {
        const struct machine_options options = usual(MACHINE_PCI_LINE);
        struct viommu_machine *machine =
            machine_open_alone((enum viommu_hardware_kind)kind, &options);
        const uint64_t end = MACHINE_MEMORY + FAKE_OS_MEMORY_SIZE;

        machine_boot_fully(machine, 1);
        machine_attach(machine, 0, 0);
        /* The last page of it, and the first that is not. */
        assert_int_equal(piommu_domain_map(machine->domains[0], 0x1000, end - PAGE, 2 * PAGE, RW),
                         -PIOMMU_EIO);
        machine_expect_nothing(machine);
        assert_int_equal(piommu_domain_map(machine->domains[0], 0x1000, end - PAGE, PAGE, RW), 0);
        assert_int_equal(piommu_domain_map(machine->domains[0], 0x2000, MACHINE_OTHER, PAGE,
                                           RW | PIOMMU_PROT_DEVICE),
                         0);
        assert_int_equal(piommu_domain_map(machine->domains[0], 0x3000, MACHINE_OTHER, PAGE, RW),
                         -PIOMMU_EIO);
        machine_expect_exactly(machine);
        close_running(machine);
    }
}

static void hardware_that_refuses_a_mapping(void **state)
{
    const struct machine_options options = usual(MACHINE_PCI_MESSAGES);
    struct viommu_machine *machine = machine_open_alone(VIOMMU_HARDWARE_REQUESTS, &options);
    struct viommu_hardware *hardware = machine->host->hardware;

    (void)state;
    machine_boot_fully(machine, 1);
    machine_map(machine, 0, 0x1000, 3, 5, RW);
    machine_attach(machine, 0, 0);
    mock_fail_call(hardware->unit(hardware, machine->endpoints[0].number), 1, -PIOMMU_EIO, false);
    assert_int_equal(map_another(machine), -PIOMMU_EIO);
    machine_expect_exactly(machine);
    assert_int_equal(map_another(machine), 0);
    machine_expect_exactly(machine);
    close_running(machine);
}

/* What a call says that was refused, or was not. */
static void expect_done_or_refused(struct viommu_machine *machine, int error)
{
    assert_true(error == 0 || error == -PIOMMU_ENOMEM);
    machine_expect_exactly(machine);
}

static bool runs_out_of_memory(enum viommu_hardware_kind kind, unsigned int nth)
{
    const struct machine_options options = usual(MACHINE_PCI_MESSAGES);
    struct viommu_machine *machine = machine_open_alone(kind, &options);
    struct fake_os *os = machine->host->hardware->os;
    struct fake_os_counters before;
    struct fake_os_counters after;

    machine_boot_fully(machine, 1);
    fake_os_get_counters(os, &before);
    fake_os_fail_call(os, nth, false);
    machine_map(machine, 0, 0x1000, 3, 5, RW);
    for (unsigned int i = 0; i < machine->endpoint_count; i++) {
        expect_done_or_refused(machine,
                               piommu_device_attach(machine->devices[i], machine->domains[0]));
    }
    expect_done_or_refused(machine, map_another(machine));
    machine_unmap(machine, 0, 0x1000, 5);
    fake_os_get_counters(os, &after);
    fake_os_fail_call(os, 0, false);
    machine_expect_exactly(machine);
    machine_shut(machine);
    live(machine);
    machine_close_alone(machine);
    return nth <= after.fallible_calls - before.fallible_calls;
}

static void memory_of_the_hypervisor_runs_out(void **state)
{
    (void)state;
    for (unsigned int kind = 0; kind < VIOMMU_HARDWARE_KINDS; kind++) {
        unsigned int nth = 1;

        while (runs_out_of_memory((enum viommu_hardware_kind)kind, nth)) {
            nth++;
        }
        assert_true(nth > 6);
    }
}

/* More faults than the guest has buffers: the oldest ones come, others are counted. */
static void faults_wait_for_buffers_or_are_dropped(void **state)
{
    struct viommu_machine *machine = open_running(MACHINE_MMIO);
    const unsigned int burst = 30;

    (void)state;
    for (unsigned int i = 0; i < burst; i++) {
        assert_int_equal(machine_dma(machine, i % 3, HOLE + i, false), MACHINE_NOTHING);
    }
    machine_interrupts(machine);
    assert_int_equal(machine->fault_count, 16);
    assert_int_equal(machine_statistics(machine).faults, 16);
    assert_int_equal(machine_statistics(machine).faults_dropped, burst - 16);
    for (unsigned int i = 0; i < machine->fault_count; i++) {
        assert_int_equal(machine->faults[i].iova, HOLE + i);
        assert_int_equal(machine->faults[i].id, machine->endpoints[i % 3].id);
    }
    close_running(machine);
}

/* ---- Creating and destroying ---- */

static int create(struct viommu_machine *machine, const struct piommu_viommu_device_config *config,
                  const struct piommu_virtio_front_pci_config *pci, bool is_pci,
                  struct piommu_viommu_device **device)
{
    const struct piommu_host host = fake_os_host(machine->host->hardware->os);

    return is_pci ? piommu_viommu_device_create_pci(host, config, pci, device)
                  : piommu_viommu_device_create_mmio(host, config, device);
}

static void creation_that_fails_leaves_nothing(void **state)
{
    struct viommu_machine *machine = open_usual(MACHINE_MMIO);
    struct fake_os *os = machine->host->hardware->os;
    const uint64_t bytes = fake_os_bytes_outstanding(os);
    struct piommu_viommu_device_config config;
    struct piommu_virtio_front_pci_config pci;

    (void)state;
    machine_describe(machine, &config, &pci);
    for (unsigned int i = 0; i < 4; i++) {
        const bool is_pci = i % 2 != 0;
        unsigned int nth = 1;
        int error;

        do {
            struct piommu_viommu_device *device = NULL;

            fake_os_fail_call(os, nth, i >= 2);
            error = create(machine, &config, &pci, is_pci, &device);
            fake_os_fail_call(os, 0, false);
            if (error != 0) {
                assert_int_equal(error, -PIOMMU_ENOMEM);
                assert_null(device);
            } else {
                assert_int_equal(piommu_viommu_device_destroy(device), 0);
            }
            assert_int_equal(fake_os_bytes_outstanding(os), bytes);
            nth++;
        } while (error != 0);
        assert_true(nth > 6);
    }
    machine_close_alone(machine);
}

struct wrong {
    void (*change)(struct piommu_viommu_device_config *config,
                   struct piommu_virtio_front_pci_config *pci);
    bool pci_only;
};

#define WRONG(name, statement)                                   \
    static void name(struct piommu_viommu_device_config *config, \
                     struct piommu_virtio_front_pci_config *pci) \
    {                                                            \
        (void)config;                                            \
        (void)pci;                                               \
        statement;                                               \
    }

static struct piommu_device_ring *no_ring(void *cookie, unsigned int queue)
{
    (void)cookie;
    (void)queue;
    return NULL;
}

static void not_completed(void *cookie, unsigned int queue)
{
    (void)cookie;
    (void)queue;
}

static void no_reset(void *cookie)
{
    (void)cookie;
}

WRONG(without_translate, config->engine.callbacks.translate = NULL)
WRONG(with_ring, config->engine.callbacks.ring = no_ring)
WRONG(with_completed, config->engine.callbacks.completed = not_completed)
WRONG(with_needs_reset, config->engine.callbacks.needs_reset = no_reset)
WRONG(without_work, config->work = NULL)
WRONG(odd_feature, config->ring_features = PIOMMU_VIRTIO_F_ACCESS_PLATFORM)
WRONG(feature_of_devices, config->ring_features = PIOMMU_VIOMMU_F_PROBE)
WRONG(odd_request_entries, config->request_entries = 48)
WRONG(odd_event_entries, config->event_entries = 3)
WRONG(too_many_entries, config->request_entries = 0xffff)
WRONG(bypassed_without_bypass, config->engine.bypass = NULL; config->engine.starts_bypassed = true)
WRONG(reversed_input, config->engine.input = ((struct piommu_range){.first = 2, .last = 1}))
WRONG(large_probe, config->engine.probe_size = 4097)
WRONG(without_interrupt, config->set_interrupt = NULL)
WRONG(without_messages, config->send_message = NULL)
WRONG(many_messages, pci->message_count = 10)
WRONG(fifth_pin, pci->interrupt_pin = 5)
WRONG(large_class, pci->class_code = 0x1000000)
WRONG(wide_vendor, config->vendor = 0x10000)

static void impossible_configurations_are_refused(void **state)
{
    static const struct wrong wrongs[] = {
        {.change = without_translate},
        {.change = with_ring},
        {.change = with_completed},
        {.change = with_needs_reset},
        {.change = without_work},
        {.change = odd_feature},
        {.change = feature_of_devices},
        {.change = odd_request_entries},
        {.change = odd_event_entries},
        {.change = too_many_entries},
        {.change = bypassed_without_bypass},
        {.change = reversed_input},
        {.change = large_probe},
        {.change = without_interrupt},
        {.change = without_messages, .pci_only = true},
        {.change = many_messages, .pci_only = true},
        {.change = fifth_pin, .pci_only = true},
        {.change = large_class, .pci_only = true},
        {.change = wide_vendor, .pci_only = true},
    };
    struct viommu_machine *machine = open_usual(MACHINE_PCI_MESSAGES);
    const uint64_t bytes = fake_os_bytes_outstanding(machine->host->hardware->os);

    (void)state;
    for (unsigned int i = 0; i < 2 * COUNT(wrongs); i++) {
        const struct wrong *wrong = &wrongs[i / 2];
        const bool is_pci = i % 2 != 0;
        struct piommu_viommu_device_config config;
        struct piommu_virtio_front_pci_config pci;
        struct piommu_viommu_device *device = NULL;

        if (!is_pci && wrong->pci_only) {
            continue;
        }
        machine_describe(machine, &config, &pci);
        wrong->change(&config, &pci);
        assert_int_equal(create(machine, &config, &pci, is_pci, &device), -PIOMMU_EINVAL);
        assert_null(device);
        assert_int_equal(fake_os_bytes_outstanding(machine->host->hardware->os), bytes);
    }
    machine_close_alone(machine);
}

static void missing_arguments_are_refused(void **state)
{
    struct viommu_machine *machine = open_usual(MACHINE_MMIO);
    struct fake_os *os = machine->host->hardware->os;
    struct piommu_host host = fake_os_host(os);
    struct piommu_viommu_device_config config;
    struct piommu_virtio_front_pci_config pci;
    struct piommu_viommu_device *device = NULL;

    (void)state;
    machine_describe(machine, &config, &pci);
    for (unsigned int i = 0; i < 2; i++) {
        assert_int_equal(create(machine, NULL, &pci, i != 0, &device), -PIOMMU_EINVAL);
        assert_int_equal(create(machine, &config, &pci, i != 0, NULL), -PIOMMU_EINVAL);
    }
    assert_int_equal(piommu_viommu_device_create_pci(host, &config, NULL, &device), -PIOMMU_EINVAL);
    host.os = NULL;
    assert_int_equal(piommu_viommu_device_create_mmio(host, &config, &device), -PIOMMU_EINVAL);
    host = fake_os_host(os);
    fake_os_callbacks(os)->lock_create = NULL;
    assert_int_equal(piommu_viommu_device_create_mmio(host, &config, &device), -PIOMMU_EINVAL);
    assert_null(device);
    assert_int_equal(piommu_viommu_device_destroy(NULL), 0);
    piommu_viommu_device_system_reset(NULL);
    machine_close_alone(machine);
}

/* A device that cannot be blocked keeps the virtio-iommu, which does nothing more for its guest. */
static void destruction_that_fails_can_be_tried_again(void **state)
{
    struct viommu_machine *machine = open_running(MACHINE_MMIO);
    struct viommu_hardware *hardware = machine->host->hardware;
    struct mock *unit = hardware->unit(hardware, machine->endpoints[0].number);
    uint64_t requests;

    (void)state;
    mock_never_answer(unit, true);
    mock_refuse_stop(unit, true);
    assert_int_equal(piommu_viommu_device_destroy(machine->device), -PIOMMU_EFAILED);
    requests = machine_statistics(machine).requests;
    machine_write_bypass(machine, 1);
    assert_int_equal(machine_reached(machine, 1, machine->memory, false), MACHINE_NOTHING);
    assert_int_equal(map_another(machine), -PIOMMU_EFAILED);
    assert_int_equal(piommu_instance_recover(machine->instance), -PIOMMU_EFAILED);
    machine_settle(machine);
    assert_int_equal(machine_statistics(machine).requests, requests);
    mock_never_answer(unit, false);
    mock_refuse_stop(unit, false);
    close_running(machine);
}

/* However far it has come, nothing is left of it. */
static void destruction_within_a_request(void **state)
{
    const struct engine_request attach = engine_attach_request(1, MACHINE_DEVICE(0), 0);
    const struct engine_request map =
        engine_map_request(1, 0x1000, 0x14fff, MACHINE_MEMORY, VIOMMU_READ);

    (void)state;
    for (unsigned int services = 0; services < 30; services++) {
        struct machine_options options = usual(MACHINE_MMIO);
        struct viommu_machine *machine;
        struct driver driver;

        options.budget = 1;
        options.fragment = 1;
        machine = machine_open_alone((enum viommu_hardware_kind)(services % VIOMMU_HARDWARE_KINDS),
                                     &options);
        driver = open_driver(machine, 0);
        assert_int_equal(ask(&driver, &attach), VIOMMU_OK);
        send(&driver, &map);
        for (unsigned int i = 0; i < services; i++) {
            machine_service(machine);
        }
        assert_int_equal(piommu_viommu_device_destroy(machine->device), 0);
        machine->device = NULL;
        machine->work = false;
        piommu_virtqueue_destroy(driver.queue);
        piommu_virtio_close(driver.device);
        machine_close_alone(machine);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(guest_lives_over_each_connection_and_ring),
        cmocka_unit_test(guest_lives_with_little),
        cmocka_unit_test(guest_does_not_notice_that_it_moves),
        cmocka_unit_test(state_that_lies_leaves_a_device_as_new),
        cmocka_unit_test(guest_lives_on_an_ipmmu),
        cmocka_unit_test(pci_function_is_that_of_an_iommu),
        cmocka_unit_test(class_vendor_and_sizes_can_be_chosen),
        cmocka_unit_test(default_queues_and_features),
        cmocka_unit_test(driver_keeps_to_what_the_configuration_says),
        cmocka_unit_test(reserved_regions_are_found),
        cmocka_unit_test(endpoints_come_and_go_while_nobody_uses_them),
        cmocka_unit_test(features_count_that_were_agreed_on),
        cmocka_unit_test(bypass_ends_when_the_driver_starts),
        cmocka_unit_test(identity_domain_is_the_bypass),
        cmocka_unit_test(unknown_endpoints_are_left_bypassed),
        cmocka_unit_test(driver_is_suspended_and_resumed),
        cmocka_unit_test(driver_recovers_from_a_reset_by_others),
        cmocka_unit_test(driver_recovers_from_a_broken_ring),
        cmocka_unit_test(broken_ring_is_told_by_an_interrupt),
        cmocka_unit_test(driver_recovers_from_silence),
        cmocka_unit_test(answers_wait_until_the_bus_may_be_mastered),
        cmocka_unit_test(mastering_ends_within_a_request),
        cmocka_unit_test(queue_is_stopped_within_a_request),
        cmocka_unit_test(answers_do_not_go_to_a_ring_that_was_started_anew),
        cmocka_unit_test(stopped_queue_for_events_is_no_matter_of_requests),
        cmocka_unit_test(whole_guest_is_reset),
        cmocka_unit_test(whole_guest_is_reset_within_a_request),
        cmocka_unit_test(two_guests_do_not_see_each_other),
        cmocka_unit_test(limits_are_told),
        cmocka_unit_test(memory_that_is_not_the_guests_is_refused),
        cmocka_unit_test(hardware_that_refuses_a_mapping),
        cmocka_unit_test(memory_of_the_hypervisor_runs_out),
        cmocka_unit_test(faults_wait_for_buffers_or_are_dropped),
        cmocka_unit_test(creation_that_fails_leaves_nothing),
        cmocka_unit_test(impossible_configurations_are_refused),
        cmocka_unit_test(missing_arguments_are_refused),
        cmocka_unit_test(destruction_that_fails_can_be_tried_again),
        cmocka_unit_test(destruction_within_a_request),
    };

    return cmocka_run_group_tests_name("viommu_device", tests, NULL, NULL);
}
