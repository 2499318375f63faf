/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "viommu_machine.h"

#include <piommu/virtio-iommu.h>

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Where guests are in the machine. */
#define PLACE        0x4000000000ull
#define PLACE_STRIDE 0x10000000ull
#define OTHER_PLACE  0x5000000000ull

/* In the BAR; where capabilities say, which test_virtio_front_pci.c looks at. */
#define PCI_COMMON_STATUS 0x0014u
#define PCI_DEVICE        0x2000u
#define MMIO_STATUS       0x070u
#define MMIO_NOTIFY       0x050u
#define CONFIG_BYPASS     36u

#define RW (PIOMMU_PROT_READ | PIOMMU_PROT_WRITE)
#define RUNNING_OR_NOT                                                   \
    (PIOMMU_VIRTIO_STATUS_DRIVER_OK | PIOMMU_VIRTIO_STATUS_NEEDS_RESET | \
     PIOMMU_VIRTIO_STATUS_FAILED)
/* A service reads and writes so much for each unit of its budget, and besides. */
#define MOST_ACCESSES 64u
/* No test needs as many calls. */
#define MOST_SERVICES 2000000u

static const struct piommu_virtio_message messages[PIOMMU_VIRTIO_MAX_MESSAGES] = {
    {0x08020040, 7}, {0x108020040ull, 8}};

static uint32_t random_below(struct viommu_machine *machine, uint32_t limit)
{
    machine->random = machine->random * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(machine->random >> 33) % limit;
}

static bool is_pci(const struct viommu_machine *machine)
{
    return machine->options.connection != MACHINE_MMIO;
}

/* ---- Where memory is ---- */

/* A page of guest memory by its number in the machine, and the other way round. */
static uint64_t mirrored(const struct viommu_machine *machine, uint64_t page)
{
    const uint64_t fragment = machine->options.fragment;

    return (machine->options.pages / fragment - 1 - page / fragment) * fragment + page % fragment;
}

uint64_t machine_place_of(const struct viommu_machine *machine, uint64_t guest)
{
    const uint64_t page = (guest - MACHINE_MEMORY) / MACHINE_PAGE;

    if (guest >= MACHINE_OTHER && guest < MACHINE_OTHER + MACHINE_OTHER_SIZE) {
        return OTHER_PLACE + machine->number * MACHINE_OTHER_SIZE + (guest - MACHINE_OTHER);
    }
    if (guest < MACHINE_MEMORY || page >= machine->options.pages) {
        return MACHINE_NOTHING;
    }
    return PLACE + machine->number * PLACE_STRIDE + mirrored(machine, page) * MACHINE_PAGE +
           guest % MACHINE_PAGE;
}

uint64_t machine_guest_of(const struct viommu_machine *machine, uint64_t place)
{
    const uint64_t memory = PLACE + machine->number * PLACE_STRIDE;
    const uint64_t other = OTHER_PLACE + machine->number * MACHINE_OTHER_SIZE;
    const uint64_t page = (place - memory) / MACHINE_PAGE;

    if (place >= other && place < other + MACHINE_OTHER_SIZE) {
        return MACHINE_OTHER + (place - other);
    }
    if (place < memory || page >= machine->options.pages) {
        return MACHINE_NOTHING;
    }
    return MACHINE_MEMORY + mirrored(machine, page) * MACHINE_PAGE + place % MACHINE_PAGE;
}

/* How much from there on a device may use so. */
static uint64_t usable(const struct viommu_machine *machine, uint64_t guest, piommu_prot prot)
{
    const bool other = (prot & PIOMMU_PROT_DEVICE) != 0;
    const uint64_t first = other ? MACHINE_OTHER : MACHINE_MEMORY;
    const uint64_t size = other ? MACHINE_OTHER_SIZE : machine->options.pages * MACHINE_PAGE;

    return guest >= first && guest - first < size ? size - (guest - first) : 0;
}

static void grant(struct viommu_machine *machine, uint64_t guest, uint64_t size, piommu_prot prot)
{
    if (guest < MACHINE_MEMORY) {
        machine->other_granted = true;
        return;
    }
    for (uint64_t at = 0; at < size; at += MACHINE_PAGE) {
        machine->granted[(guest - MACHINE_MEMORY + at) / MACHINE_PAGE] |= (uint8_t)(prot & RW);
    }
}

/* ---- What the device asks ---- */

static int translate(void *cookie, uint64_t guest, uint64_t size, piommu_prot prot,
                     struct piommu_segment *piece)
{
    struct viommu_machine *machine = cookie;
    const uint64_t contiguous = machine->options.fragment * MACHINE_PAGE;
    uint64_t left = usable(machine, guest, prot);

    assert_int_equal(guest % MACHINE_PAGE, 0);
    assert_true(size != 0 && size % MACHINE_PAGE == 0);
    assert_true((prot & RW) != 0);
    machine->translations++;
    if (left == 0 || machine->fail_translation) {
        return -PIOMMU_ENOENT;
    }
    if (guest >= MACHINE_MEMORY && left > contiguous - guest % contiguous) {
        left = contiguous - guest % contiguous;
    }
    piece->physical = machine_place_of(machine, guest);
    piece->size = size < left ? size : left;
    grant(machine, guest, piece->size, prot);
    return 0;
}

static bool ranges_meet(const struct piommu_range *one, const struct piommu_range *other)
{
    return one->first <= other->last && other->first <= one->last;
}

static void mapped(void *cookie, void *endpoint_cookie, struct piommu_range iova, uint64_t guest,
                   piommu_prot prot)
{
    struct machine_endpoint *endpoint = endpoint_cookie;

    assert_ptr_equal(cookie, endpoint->machine);
    assert_false(endpoint->is_device);
    assert_true(endpoint->told_count < MACHINE_MAX_TOLD);
    for (unsigned int i = 0; i < endpoint->told_count; i++) {
        assert_false(ranges_meet(&endpoint->told[i].iova, &iova));
    }
    endpoint->told[endpoint->told_count++] =
        (struct machine_told){.iova = iova, .guest = guest, .prot = prot};
}

static void unmapped(void *cookie, void *endpoint_cookie, struct piommu_range iova)
{
    struct machine_endpoint *endpoint = endpoint_cookie;
    unsigned int kept = 0;

    assert_ptr_equal(cookie, endpoint->machine);
    for (unsigned int i = 0; i < endpoint->told_count; i++) {
        if (!ranges_meet(&endpoint->told[i].iova, &iova)) {
            endpoint->told[kept++] = endpoint->told[i];
        }
    }
    endpoint->told_count = kept;
}

static void on_work(void *cookie)
{
    ((struct viommu_machine *)cookie)->work = true;
}

static void on_interrupt(void *cookie, bool high)
{
    struct viommu_machine *machine = cookie;

    assert_true(high != machine->line);
    machine->line = high;
    machine->lines += high;
    machine->interrupted = machine->interrupted || high;
}

static void on_message(void *cookie, uint64_t address, uint32_t data)
{
    struct viommu_machine *machine = cookie;

    machine->last_message = (struct piommu_virtio_message){.address = address, .data = data};
    machine->messages++;
    machine->messages_pending++;
    machine->interrupted = true;
}

static void on_bar_moved(void *cookie, bool decoded, uint64_t address)
{
    struct viommu_machine *machine = cookie;

    machine->decoded = decoded;
    machine->bar = address;
}

/* A device that does not run touches no memory. */
static void note_access(struct viommu_machine *machine, uint64_t address, size_t size)
{
    assert_int_equal(machine_status(machine) & RUNNING_OR_NOT, PIOMMU_VIRTIO_STATUS_DRIVER_OK);
    machine->accesses++;
    machine->recent[machine->recent_count++ % MACHINE_RECENT] =
        (struct machine_access){.address = address, .size = size};
}

static bool read_memory(void *ctx, uint64_t address, void *buffer, size_t size)
{
    struct viommu_machine *machine = ctx;
    bool there = fake_os_device_read(machine->os, address, buffer, size);

    note_access(machine, address, size);
    if (there && machine->tamper != NULL) {
        machine->tamper(machine, address, buffer, size);
    }
    return there;
}

static bool write_memory(void *ctx, uint64_t address, const void *buffer, size_t size)
{
    note_access(ctx, address, size);
    return fake_os_device_write(((struct viommu_machine *)ctx)->os, address, buffer, size);
}

/* ---- What devices reach ---- */

uint64_t machine_reached(struct viommu_machine *machine, unsigned int number, uint64_t iova,
                         bool write)
{
    const struct machine_endpoint *endpoint = &machine->endpoints[number];
    struct viommu_hardware *hardware = machine->host->hardware;
    struct piommu_segment piece;
    size_t count = 0;
    uint64_t place;
    uint64_t guest;

    if (!endpoint->is_device) {
        return piommu_viommu_translate(endpoint->endpoint, iova, 1,
                                       write ? PIOMMU_PROT_WRITE : PIOMMU_PROT_READ, &piece, 1,
                                       &count) == 0
                   ? piece.physical
                   : MACHINE_NOTHING;
    }
    if (!hardware->reaches(hardware, endpoint->number, iova, write, &place)) {
        return MACHINE_NOTHING;
    }
    guest = machine_guest_of(machine, place);
    if (guest == MACHINE_NOTHING) {
        fail_msg("device %u of guest %u reaches %#" PRIx64 " at %#" PRIx64
                 ", which is not the guest's",
                 number, machine->number, place, iova);
    }
    return guest;
}

/* Was this ever granted to a device? Hardware may let through reads where writes are allowed. */
static void check_granted(const struct viommu_machine *machine, unsigned int number, uint64_t iova,
                          bool write, uint64_t guest)
{
    const uint8_t wanted = write ? PIOMMU_PROT_WRITE : RW;

    if (guest != MACHINE_NOTHING && machine->bypass == NULL &&
        (guest < MACHINE_MEMORY
             ? !machine->other_granted
             : (machine->granted[(guest - MACHINE_MEMORY) / MACHINE_PAGE] & wanted) == 0)) {
        fail_msg("device %u of guest %u %s %#" PRIx64 " at %#" PRIx64 ", which was never granted",
                 number, machine->number, write ? "writes" : "reads", guest, iova);
    }
}

/* The nth address that is tried, and how many there are. */
static uint64_t tried(const struct viommu_machine *machine, unsigned int number)
{
    const unsigned int window = machine->options.window;

    return number < window ? number * MACHINE_PAGE
                           : machine->memory + (number - window) * MACHINE_PAGE;
}

static unsigned int tries(const struct viommu_machine *machine)
{
    return machine->options.window + MACHINE_IDENTITY_PAGES;
}

static void look_at(struct viommu_machine *machine)
{
    for (unsigned int i = 0; i < machine->endpoint_count; i++) {
        for (unsigned int j = 0; j < tries(machine) && machine->endpoints[i].is_device; j++) {
            const uint64_t iova = tried(machine, j);

            check_granted(machine, i, iova, false, machine_reached(machine, i, iova, false));
            check_granted(machine, i, iova, true, machine_reached(machine, i, iova, true));
        }
    }
}

static void look(struct viommu_host *host)
{
    host->changes = 0;
    host->looking = true;
    for (unsigned int i = 0; i < MACHINE_MAX_GUESTS; i++) {
        if (host->machines[i] != NULL) {
            look_at(host->machines[i]);
        }
    }
    host->looking = false;
}

static void on_change(void *ctx)
{
    struct viommu_host *host = ctx;

    if (!host->looking && ++host->changes >= host->patience) {
        look(host);
    }
}

/* ---- Services ---- */

struct piommu_viommu_statistics machine_statistics(const struct viommu_machine *machine)
{
    struct piommu_viommu_statistics statistics;

    piommu_viommu_get_statistics(machine->engine, &statistics);
    return statistics;
}

static void check_limits(const struct viommu_machine *machine)
{
    const struct piommu_viommu_config *config = &machine->config.engine;
    const struct piommu_viommu_statistics statistics = machine_statistics(machine);

    assert_true(statistics.domains <= (config->max_domains != 0 ? config->max_domains : 64));
    assert_true(statistics.mappings <= (config->max_mappings != 0 ? config->max_mappings : 65536));
    assert_true(config->max_bytes == 0 || statistics.bytes <= config->max_bytes);
    assert_true(statistics.refused <= statistics.requests);
}

static void service_now(struct viommu_machine *machine)
{
    const uint32_t budget =
        machine->options.budget != 0 ? machine->options.budget : 1 + random_below(machine, 12);

    machine->accesses = 0;
    machine->translations = 0;
    machine->work = false;
    if (piommu_viommu_service(machine->engine, budget) != 0) {
        machine->work = true;
    }
    machine->services++;
    if (machine->accesses > (uint64_t)MOST_ACCESSES * ((uint64_t)budget + 2) ||
        machine->translations > 2 * (uint64_t)budget + 2) {
        fail_msg("a service of %" PRIu32 " has made %" PRIu64 " accesses, %" PRIu64 " translations",
                 budget, machine->accesses, machine->translations);
    }
    check_limits(machine);
    /* With page tables hardware is not asked for what is mapped anew. */
    if (machine->translations != 0) {
        on_change(machine->host);
    }
}

void machine_service(struct viommu_machine *machine)
{
    if (machine->work && !machine->idle) {
        service_now(machine);
    }
}

void machine_settle(struct viommu_machine *machine)
{
    for (unsigned int i = 0; machine->work && !machine->idle; i++) {
        if (i == MOST_SERVICES) {
            fail_msg("there is no end of services");
        }
        service_now(machine);
    }
}

/* ---- Traps ---- */

static void before_access(void *ctx)
{
    struct viommu_machine *machine = ctx;

    if (machine->meddle != NULL) {
        machine->meddle(machine);
    }
}

static void after_access(struct viommu_machine *machine)
{
    if (machine->options.eager && random_below(machine, 2) == 0) {
        machine_service(machine);
    }
}

static void progress(void *ctx)
{
    before_access(ctx);
    machine_service(ctx);
}

static bool was_interrupted(void *ctx)
{
    struct viommu_machine *machine = ctx;
    const bool was = machine->interrupted;

    machine->interrupted = false;
    return was;
}

uint64_t machine_read(struct viommu_machine *machine, uint64_t offset, unsigned int width)
{
    if (!is_pci(machine)) {
        return piommu_virtio_front_mmio_read(machine->front, offset, width);
    }
    return machine->decoded ? piommu_virtio_front_bar_read(machine->front, offset, width)
                            : UINT64_MAX >> (64 - 8 * width);
}

void machine_write(struct viommu_machine *machine, uint64_t offset, unsigned int width,
                   uint64_t value)
{
    if (!is_pci(machine)) {
        piommu_virtio_front_mmio_write(machine->front, offset, width, value);
    } else if (machine->decoded) {
        piommu_virtio_front_bar_write(machine->front, offset, width, value);
    }
}

static uint32_t bar_read(void *ctx, uint64_t offset, unsigned int width)
{
    uint32_t value;

    before_access(ctx);
    value = (uint32_t)machine_read(ctx, offset, width);
    after_access(ctx);
    return value;
}

static void bar_write(void *ctx, uint64_t offset, unsigned int width, uint32_t value)
{
    before_access(ctx);
    machine_write(ctx, offset, width, value);
    after_access(ctx);
}

static uint32_t bus_read(void *ctx, uint64_t physical, unsigned int width)
{
    return bar_read(ctx, physical - MACHINE_REGISTERS, width);
}

static void bus_write(void *ctx, uint64_t physical, unsigned int width, uint32_t value)
{
    bar_write(ctx, physical - MACHINE_REGISTERS, width, value);
}

static uint32_t space_read(void *ctx, unsigned int offset, unsigned int width)
{
    return piommu_virtio_front_pci_config_read(((struct viommu_machine *)ctx)->front, offset,
                                               width);
}

static void space_write(void *ctx, unsigned int offset, unsigned int width, uint32_t value)
{
    piommu_virtio_front_pci_config_write(((struct viommu_machine *)ctx)->front, offset, width,
                                         value);
}

/* The driver finds the BAR where firmware has put it, whatever was done with it since. */
static uint64_t bar_address(void *ctx, unsigned int number)
{
    (void)ctx;
    return number == 0 ? MACHINE_BAR : 0;
}

static uint64_t bar_size(void *ctx, unsigned int number)
{
    (void)ctx;
    return number == 0 ? PIOMMU_VIRTIO_FRONT_BAR_SIZE : 0;
}

static void connect(struct viommu_machine *machine)
{
    const struct fake_os_device device = {
        .ctx = machine,
        .config_read = space_read,
        .config_write = space_write,
        .bar_address = bar_address,
        .bar_size = bar_size,
        .mmio_read = bar_read,
        .mmio_write = bar_write,
        .progress = progress,
        .interrupted = was_interrupted,
        .bdf = MACHINE_BDF,
    };
    const struct fake_os_bus bus = {.ctx = machine,
                                    .read = bus_read,
                                    .write = bus_write,
                                    .progress = progress,
                                    .interrupted = was_interrupted};

    if (is_pci(machine)) {
        fake_os_connect(machine->os, &device);
    } else {
        fake_os_connect_bus(machine->os, &bus);
    }
}

/* ---- The hypervisor's side: making and taking down ---- */

void machine_describe(struct viommu_machine *machine, struct piommu_viommu_device_config *config,
                      struct piommu_virtio_front_pci_config *pci)
{
    const enum machine_connection connection = machine->options.connection;

    *config = (struct piommu_viommu_device_config){
        .engine = {.callbacks = {.translate = translate, .mapped = mapped, .unmapped = unmapped},
                   .cookie = machine,
                   .bypass = machine->bypass,
                   .starts_bypassed = machine->options.starts_bypassed,
                   .owner = machine,
                   .name = "guest"},
        .memory = {.read = read_memory, .write = write_memory, .ctx = machine},
        .ring_features = machine->options.ring_features,
        .work = on_work,
        .set_interrupt = on_interrupt,
        .send_message = on_message,
        .bar_moved = on_bar_moved,
    };
    *pci = (struct piommu_virtio_front_pci_config){
        .message_count = connection >= MACHINE_PCI_MESSAGE ? MACHINE_MESSAGES : 0,
        .interrupt_pin = 1,
    };
    if (machine->options.adjust != NULL) {
        machine->options.adjust(config);
    }
}

static void map_bypass(struct viommu_machine *machine)
{
    struct viommu_hardware *hardware = machine->host->hardware;
    const uint64_t step = machine->options.fragment * MACHINE_PAGE;

    machine->bypass = hardware->make_domain(hardware);
    for (uint64_t at = 0; at < machine->options.pages * MACHINE_PAGE; at += step) {
        assert_int_equal(piommu_domain_map(machine->bypass, MACHINE_MEMORY + at,
                                           machine_place_of(machine, MACHINE_MEMORY + at), step,
                                           RW),
                         0);
    }
}

static void make_device(struct viommu_machine *machine)
{
    const struct piommu_host host = fake_os_host(machine->host->hardware->os);
    struct piommu_virtio_front_pci_config pci;

    machine_describe(machine, &machine->config, &pci);
    assert_int_equal(
        is_pci(machine)
            ? piommu_viommu_device_create_pci(host, &machine->config, &pci, &machine->device)
            : piommu_viommu_device_create_mmio(host, &machine->config, &machine->device),
        0);
    machine->engine = piommu_viommu_device_engine(machine->device);
    machine->front = piommu_viommu_device_front(machine->device);
}

void machine_add_endpoint(struct viommu_machine *machine, unsigned int number)
{
    struct machine_endpoint *endpoint = &machine->endpoints[number];
    struct piommu_viommu_endpoint_config config = {.id = endpoint->id, .cookie = endpoint};

    if (endpoint->is_device) {
        config.device = machine->host->hardware->devices[endpoint->number];
    }
    if (number == 0) {
        config.regions = machine->options.regions;
        config.region_count = machine->options.region_count;
    }
    assert_int_equal(piommu_viommu_add_endpoint(machine->engine, &config, &endpoint->endpoint), 0);
}

int machine_remove_endpoint(struct viommu_machine *machine, unsigned int number)
{
    struct machine_endpoint *endpoint = &machine->endpoints[number];
    int error = piommu_viommu_remove_endpoint(endpoint->endpoint);

    if (error == 0) {
        endpoint->endpoint = NULL;
        assert_int_equal(endpoint->told_count, 0);
    }
    return error;
}

static void make_endpoint(struct viommu_machine *machine, unsigned int number)
{
    struct machine_endpoint *endpoint = &machine->endpoints[number];
    struct viommu_hardware *hardware = machine->host->hardware;

    endpoint->machine = machine;
    endpoint->is_device = number < machine->options.devices;
    endpoint->id = endpoint->is_device ? MACHINE_DEVICE(number)
                                       : MACHINE_SOFTWARE(number - machine->options.devices);
    if (endpoint->is_device) {
        endpoint->number = hardware->device_count;
        (void)hardware->add_device(hardware, endpoint);
    }
    machine_add_endpoint(machine, number);
    machine->endpoint_count++;
}

void machine_place_bar(struct viommu_machine *machine)
{
    if (is_pci(machine)) {
        space_write(machine, 0x10, 4, (uint32_t)MACHINE_BAR);
        space_write(machine, 0x14, 4, (uint32_t)(MACHINE_BAR >> 32));
        space_write(machine, 0x04, 2, 0x6);
        assert_true(machine->decoded);
        assert_int_equal(machine->bar, MACHINE_BAR);
    }
}

struct viommu_machine *machine_open(struct viommu_host *host, const struct machine_options *options)
{
    struct viommu_machine *machine = calloc(1, sizeof(*machine));
    /* Nobody needs a linear map, which would be one large block of memory. */
    const struct fake_os_options os = {.scattered = true, .sleeps = options->sleeps};

    assert_non_null(machine);
    assert_true(options->devices + options->software <= MACHINE_MAX_ENDPOINTS);
    machine->host = host;
    machine->options = *options;
    machine->options.fragment = options->fragment != 0 ? options->fragment : 16;
    machine->options.pages = options->pages != 0 ? options->pages : MACHINE_MEMORY_PAGES;
    assert_int_equal(machine->options.pages % machine->options.fragment, 0);
    machine->options.window = options->window != 0 ? options->window : MACHINE_WINDOW;
    machine->number = host->machine_count;
    machine->random = options->seed;
    machine->os = fake_os_create(&os);
    machine->memory = fake_os_test_pages(machine->os, MACHINE_DMA_PAGES);
    machine->granted = calloc(MACHINE_MEMORY_PAGES, 1);
    assert_non_null(machine->granted);
    if (options->bypass) {
        map_bypass(machine);
    }
    make_device(machine);
    for (unsigned int i = 0; i < options->devices + options->software; i++) {
        make_endpoint(machine, i);
    }
    connect(machine);
    machine_place_bar(machine);
    assert_true(host->machine_count < MACHINE_MAX_GUESTS);
    host->machines[host->machine_count++] = machine;
    return machine;
}

/* Nothing of a device that was destroyed is left in hardware, or known to who emulates devices. */
static void expect_gone(struct viommu_machine *machine)
{
    for (unsigned int i = 0; i < machine->endpoint_count; i++) {
        assert_int_equal(machine->endpoints[i].told_count, 0);
        for (unsigned int j = 0; j < tries(machine) && machine->endpoints[i].is_device; j++) {
            assert_int_equal(machine_reached(machine, i, tried(machine, j), false),
                             MACHINE_NOTHING);
        }
    }
}

static void *save(struct viommu_machine *machine, size_t *size)
{
    void *bytes;
    int error = piommu_viommu_device_save(machine->device, NULL, 0, size);

    if (error == -PIOMMU_EAGAIN) {
        machine_settle(machine);
        error = piommu_viommu_device_save(machine->device, NULL, 0, size);
    }
    assert_int_equal(error, -PIOMMU_ENOSPC);
    bytes = malloc(*size);
    assert_non_null(bytes);
    assert_int_equal(piommu_viommu_device_save(machine->device, bytes, *size - 1, size),
                     -PIOMMU_ENOSPC);
    assert_int_equal(piommu_viommu_device_save(machine->device, bytes, *size, size), 0);
    return bytes;
}

void machine_migrate(struct viommu_machine *machine)
{
    size_t size;
    void *bytes = save(machine, &size);

    assert_int_equal(piommu_viommu_device_destroy(machine->device), 0);
    expect_gone(machine);
    machine->line = false;
    machine->decoded = false;
    machine->bar = 0;
    make_device(machine);
    for (unsigned int i = 0; i < machine->endpoint_count; i++) {
        if (machine->endpoints[i].endpoint != NULL) {
            machine_add_endpoint(machine, i);
        }
    }
    machine->work = false;
    assert_int_equal(piommu_viommu_device_restore(machine->device, bytes, size), 0);
    assert_true(machine->work);
    free(bytes);
}

void machine_close(struct viommu_machine *machine)
{
    assert_null(machine->context);
    machine_settle(machine);
    assert_int_equal(piommu_viommu_device_destroy(machine->device), 0);
    expect_gone(machine);
    assert_int_equal(piommu_domain_destroy(machine->bypass), 0);
    machine->host->machines[machine->number] = NULL;
    fake_os_destroy(machine->os);
    free(machine->granted);
    free(machine);
}

static void on_fault_of_hardware(void *ctx, const struct piommu_fault *fault)
{
    struct machine_endpoint *endpoint = fault->device_owner;

    (void)ctx;
    assert_non_null(endpoint);
    if (piommu_viommu_report_fault(endpoint->machine->engine, endpoint->id, fault)) {
        endpoint->machine->work = true;
    }
}

struct viommu_host *machine_host_open(struct viommu_hardware *hardware)
{
    struct viommu_host *host = calloc(1, sizeof(*host));

    assert_non_null(host);
    host->hardware = hardware;
    hardware->listener =
        (struct viommu_listener){.changed = on_change, .fault = on_fault_of_hardware, .ctx = host};
    return host;
}

void machine_host_close(struct viommu_host *host)
{
    host->hardware->close(host->hardware);
    free(host);
}

struct viommu_machine *machine_open_alone(enum viommu_hardware_kind kind,
                                          const struct machine_options *options)
{
    return machine_open(machine_host_open(viommu_hardware_open_mocks(kind)), options);
}

void machine_close_alone(struct viommu_machine *machine)
{
    struct viommu_host *host = machine->host;

    machine_close(machine);
    machine_host_close(host);
}

void machine_system_reset(struct viommu_machine *machine)
{
    piommu_viommu_device_system_reset(machine->device);
    machine->messages_pending = 0;
    assert_false(machine->line);
    assert_false(is_pci(machine) && machine->decoded);
    look(machine->host);
    machine_place_bar(machine);
}

/* ---- Accesses of a driver ---- */

static uint64_t config_offset(const struct viommu_machine *machine, uint64_t offset)
{
    return (is_pci(machine) ? PCI_DEVICE : PIOMMU_VIRTIO_FRONT_MMIO_CONFIG) + offset;
}

uint8_t machine_status(const struct viommu_machine *machine)
{
    return piommu_virtio_front_status(machine->front);
}

void machine_write_status(struct viommu_machine *machine, uint8_t value)
{
    machine_write(machine, is_pci(machine) ? PCI_COMMON_STATUS : MMIO_STATUS,
                  is_pci(machine) ? 1 : 4, value);
}

void machine_notify(struct viommu_machine *machine, uint16_t queue)
{
    if (is_pci(machine)) {
        machine_write(machine,
                      PIOMMU_VIRTIO_FRONT_DOORBELLS + PIOMMU_VIRTIO_FRONT_DOORBELL_SIZE * queue, 2,
                      queue);
    } else {
        machine_write(machine, MMIO_NOTIFY, 4, queue);
    }
}

uint8_t machine_bypass(struct viommu_machine *machine)
{
    return (uint8_t)machine_read(machine, config_offset(machine, CONFIG_BYPASS), 1);
}

void machine_write_bypass(struct viommu_machine *machine, uint8_t value)
{
    machine_write(machine, config_offset(machine, CONFIG_BYPASS), 1, value);
}

/* ---- The guest ---- */

static enum piommu_fault_answer on_fault_of_guest(void *cookie, const struct piommu_fault *fault)
{
    struct viommu_machine *machine = cookie;

    if (machine->fault_count < MACHINE_MAX_FAULTS) {
        machine->faults[machine->fault_count] = *fault;
    }
    machine->fault_count++;
    return PIOMMU_FAULT_NOTE;
}

/* What the guest's interrupt handler does; a line that stays high would call it for ever. */
static void handle_interrupt(void *ctx)
{
    struct viommu_machine *machine = ctx;

    for (unsigned int i = 0;
         i < 8 && machine->instance != NULL && (machine->line || machine->messages_pending != 0);
         i++) {
        bool more = false;

        machine->messages_pending = 0;
        (void)piommu_instance_interrupt(machine->instance, 16, &more);
        machine->more = machine->more || more;
    }
}

void machine_interrupts(struct viommu_machine *machine)
{
    machine_settle(machine);
    for (unsigned int i = 0; i < 8; i++) {
        handle_interrupt(machine);
        if (!machine->more || machine->instance == NULL) {
            return;
        }
        machine->more = false;
        (void)piommu_instance_service(machine->instance, 64);
        machine_settle(machine);
    }
}

struct piommu_virtio_message machine_message(unsigned int number)
{
    return messages[number];
}

static struct piommu_virtio_iommu_config place_of(const struct viommu_machine *machine)
{
    struct piommu_virtio_iommu_config place = {.wait_sleeps = machine->options.sleeps};

    if (is_pci(machine)) {
        place.pci.bdf = MACHINE_BDF;
        place.messages = messages;
        place.message_count = machine->options.connection - MACHINE_PCI_LINE;
    } else {
        place.registers = MACHINE_REGISTERS;
        place.registers_size = PIOMMU_VIRTIO_FRONT_MMIO_CONFIG + PIOMMU_VIOMMU_CONFIG_SIZE;
    }
    return place;
}

int machine_boot(struct viommu_machine *machine)
{
    const struct piommu_context_config context = {.cookie = machine, .fault = on_fault_of_guest};
    const struct piommu_instance_config config = {
        .name = "viommu",
        .owner = machine,
        .unknown_ids = machine->options.unknown_ids,
        .timeout = machine->options.timeout != 0 ? machine->options.timeout : MACHINE_SECOND / 20,
    };
    const struct piommu_virtio_iommu_config place = place_of(machine);

    if (machine->context == NULL) {
        assert_int_equal(
            piommu_context_create(fake_os_host(machine->os), &context, &machine->context), 0);
    }
    fake_os_on_wait(machine->os, handle_interrupt, machine);
    return piommu_instance_create(machine->context, piommu_virtio_iommu_backend(), &place, &config,
                                  &machine->instance);
}

int machine_add_device(struct viommu_machine *machine, unsigned int number)
{
    const struct piommu_device_id ids[] = {
        {.instance = machine->instance, .id = machine->endpoints[number].id}};
    const struct piommu_device_config config = {
        .ids = ids, .id_count = 1, .name = "of the guest", .owner = &machine->endpoints[number]};

    return piommu_device_add(machine->context, &config, &machine->devices[number]);
}

void machine_boot_fully(struct viommu_machine *machine, unsigned int domains)
{
    const struct piommu_domain_config config = {.type = PIOMMU_DOMAIN_PAGING,
                                                .instances = &machine->instance,
                                                .instance_count = 1,
                                                .name = "of the guest"};

    assert_int_equal(machine_boot(machine), 0);
    for (unsigned int i = 0; i < machine->endpoint_count; i++) {
        assert_int_equal(machine_add_device(machine, i), 0);
    }
    assert_true(domains <= MACHINE_MAX_DOMAINS);
    for (unsigned int i = 0; i < domains; i++) {
        assert_int_equal(piommu_domain_create(&config, &machine->domains[i]), 0);
    }
}

void machine_shut(struct viommu_machine *machine)
{
    for (unsigned int i = 0; i < MACHINE_MAX_ENDPOINTS; i++) {
        if (machine->devices[i] != NULL) {
            assert_int_equal(piommu_group_detach(piommu_device_group(machine->devices[i])), 0);
        }
    }
    for (unsigned int i = 0; i < MACHINE_MAX_DOMAINS; i++) {
        assert_int_equal(piommu_domain_destroy(machine->domains[i]), 0);
        machine->domains[i] = NULL;
    }
    for (unsigned int i = 0; i < MACHINE_MAX_ENDPOINTS; i++) {
        assert_int_equal(piommu_device_remove(machine->devices[i]), 0);
        machine->devices[i] = NULL;
    }
    assert_int_equal(piommu_instance_destroy(machine->instance), 0);
    machine->instance = NULL;
    machine->more = false;
    assert_int_equal(piommu_context_destroy(machine->context), 0);
    machine->context = NULL;
    machine_settle(machine);
}

enum piommu_instance_state machine_state(const struct viommu_machine *machine)
{
    struct piommu_instance_info info;

    piommu_instance_get_info(machine->instance, &info);
    return info.state;
}

void machine_map(struct viommu_machine *machine, unsigned int domain, uint64_t iova, uint64_t page,
                 uint64_t pages, piommu_prot prot)
{
    assert_int_equal(piommu_domain_map(machine->domains[domain], iova,
                                       machine->memory + page * MACHINE_PAGE, pages * MACHINE_PAGE,
                                       prot),
                     0);
}

int machine_try_unmap(struct viommu_machine *machine, unsigned int domain, uint64_t iova,
                      uint64_t size)
{
    struct piommu_gather gather;
    int error;

    piommu_gather_init(&gather);
    error = piommu_domain_unmap(machine->domains[domain], iova, size, &gather, NULL);
    return error != 0 ? error : piommu_domain_sync(machine->domains[domain], &gather);
}

void machine_unmap(struct viommu_machine *machine, unsigned int domain, uint64_t iova,
                   uint64_t pages)
{
    assert_int_equal(machine_try_unmap(machine, domain, iova, pages * MACHINE_PAGE), 0);
}

void machine_attach(struct viommu_machine *machine, unsigned int endpoint, unsigned int domain)
{
    assert_int_equal(piommu_device_attach(machine->devices[endpoint], machine->domains[domain]), 0);
}

void machine_detach(struct viommu_machine *machine, unsigned int endpoint)
{
    assert_int_equal(piommu_device_detach(machine->devices[endpoint]), 0);
}

/* ---- DMA ---- */

uint64_t machine_dma(struct viommu_machine *machine, unsigned int number, uint64_t iova, bool write)
{
    const struct machine_endpoint *endpoint = &machine->endpoints[number];
    struct viommu_hardware *hardware = machine->host->hardware;
    const uint64_t guest = machine_reached(machine, number, iova, write);
    const struct piommu_fault fault = {.reason = PIOMMU_FAULT_TRANSLATION,
                                       .iova_valid = true,
                                       .iova = iova,
                                       .read = !write,
                                       .write = write};

    if (guest != MACHINE_NOTHING) {
        return guest;
    }
    if (!endpoint->is_device) {
        machine->work =
            piommu_viommu_report_fault(machine->engine, endpoint->id, &fault) || machine->work;
    } else if (hardware->raise != NULL) {
        hardware->raise(hardware, endpoint->number, PIOMMU_FAULT_TRANSLATION, iova, write);
    }
    return guest;
}

void machine_expect_nothing(struct viommu_machine *machine)
{
    for (unsigned int i = 0; i < machine->endpoint_count; i++) {
        for (unsigned int j = 0; j < tries(machine); j++) {
            assert_int_equal(machine_reached(machine, i, tried(machine, j), false),
                             MACHINE_NOTHING);
            assert_int_equal(machine_reached(machine, i, tried(machine, j), true), MACHINE_NOTHING);
        }
    }
}

/* Where the guest's core says that an endpoint gets to, and what it may do there. */
static uint64_t held(const struct viommu_machine *machine, unsigned int number, uint64_t iova,
                     piommu_prot *prot)
{
    struct piommu_device_info device;
    struct piommu_domain_info domain;
    struct piommu_translation translation;

    *prot = 0;
    piommu_device_get_info(machine->devices[number], &device);
    if (device.domain == NULL || device.fault_blocked) {
        return MACHINE_NOTHING;
    }
    piommu_domain_get_info(device.domain, &domain);
    if (domain.type == PIOMMU_DOMAIN_IDENTITY) {
        *prot = RW;
        return iova;
    }
    if (piommu_domain_lookup(device.domain, iova, &translation) != 0) {
        return MACHINE_NOTHING;
    }
    *prot = translation.prot;
    return translation.physical;
}

static void expect_access(struct viommu_machine *machine, unsigned int number, uint64_t iova,
                          bool write)
{
    const uint64_t reached = machine_reached(machine, number, iova, write);
    piommu_prot prot;
    uint64_t expected = held(machine, number, iova, &prot);

    if ((prot & (write ? PIOMMU_PROT_WRITE : PIOMMU_PROT_READ)) == 0) {
        expected = MACHINE_NOTHING;
    }
    if (reached != expected) {
        fail_msg("endpoint %u of guest %u %s %#" PRIx64 " at %#" PRIx64
                 ", which should be %#" PRIx64,
                 number, machine->number, write ? "writes" : "reads", reached, iova, expected);
    }
}

void machine_expect_exactly(struct viommu_machine *machine)
{
    for (unsigned int i = 0; i < machine->endpoint_count; i++) {
        for (unsigned int j = 0; j < tries(machine); j++) {
            expect_access(machine, i, tried(machine, j), false);
            expect_access(machine, i, tried(machine, j) + MACHINE_PAGE - 1, true);
        }
    }
}
