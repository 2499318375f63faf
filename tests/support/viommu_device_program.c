/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "viommu_device_program.h"

#include "viommu_machine.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PAGE      MACHINE_PAGE
#define RW        (PIOMMU_PROT_READ | PIOMMU_PROT_WRITE)
#define COUNT(a)  (sizeof(a) / sizeof((a)[0]))
#define DOMAINS   3u
#define DEVICES   2u
#define ENDPOINTS 3u /* the last one is emulated */
#define WINDOW    16u
#define PACKED    PIOMMU_VIRTIO_F_RING_PACKED
#define INDIRECT  PIOMMU_VIRTIO_F_INDIRECT_DESC
#define EVENT     PIOMMU_VIRTIO_F_EVENT_IDX

enum kind {
    KIND_MAP,
    KIND_OVERLAP,
    KIND_UNMAP,
    KIND_UNMAP_ALL,
    KIND_PROTECT,
    KIND_ATTACH,
    KIND_DETACH,
    KIND_FAULT,
    KIND_SUSPEND,
    KIND_LOSE,
    KIND_REBOOT,
    KIND_INTERFERE,
    KIND_HEAL,
    KINDS,
};

static const char *const names[KINDS] = {"map",    "overlap",   "unmap", "unmap all", "protect",
                                         "attach", "detach",    "fault", "suspend",   "lose",
                                         "reboot", "interfere", "heal"};

static const unsigned int weights[KINDS] = {
    [KIND_MAP] = 40,    [KIND_OVERLAP] = 4, [KIND_UNMAP] = 24, [KIND_UNMAP_ALL] = 3,
    [KIND_PROTECT] = 6, [KIND_ATTACH] = 20, [KIND_DETACH] = 6, [KIND_FAULT] = 6,
    [KIND_SUSPEND] = 2, [KIND_LOSE] = 2,    [KIND_REBOOT] = 1, [KIND_INTERFERE] = 10,
    [KIND_HEAL] = 6,
};

/* What the man in the middle does. */
enum interference {
    FLIP_READ,      /* a bit of what the device reads */
    FLIP_MEMORY,    /* a bit of memory that it has accessed */
    REORDER,        /* entries of the available ring */
    NOTIFY,         /* once more */
    WRITE_REGISTER, /* any */
    WRITE_STATUS,   /* a reset, or any bits */
    WRITE_BYPASS,
    STOP_QUEUE,     /* and start it again, or not: virtio-mmio */
    STOP_MASTERING, /* and begin again, or not: virtio-pci */
    INTERFERENCES,
};

/* A page as the guest has mapped it. */
struct plain_page {
    bool mapped;
    unsigned int first; /* page of its mapping, and how many that has */
    unsigned int count;
    uint64_t guest;
    piommu_prot prot;
};

struct world {
    struct viommu_machine *machine;
    struct plain_page pages[DOMAINS][WINDOW];
    unsigned int domain_of[ENDPOINTS]; /* DOMAINS: in none */
    struct piommu_gather gathers[DOMAINS];
    bool limited; /* the device may have no room */
    bool tainted; /* somebody has interfered since all was right */
    bool unsure;  /* a change of permissions has failed: the core knows what there is */
    /* The man in the middle. */
    enum interference interference;
    unsigned int countdown; /* accesses and waits until then; 0: nothing is to come */
    unsigned int flips;     /* reads that are still to be changed */
    uint16_t numbers[3];
    bool done; /* it has come to that */
};

void viommu_device_program_generate(struct viommu_program *program, uint64_t seed, size_t length)
{
    viommu_program_fill(program, seed, length, weights, KINDS);
}

/* ---- The man in the middle ---- */

static void flip_memory(struct viommu_machine *machine, const uint16_t *numbers)
{
    const struct machine_access *access = &machine->recent[numbers[0] % MACHINE_RECENT];
    uint8_t *bytes = fake_os_pointer(machine->os, access->address, access->size);

    if (bytes != NULL && access->size != 0) {
        bytes[numbers[1] % access->size] ^= (uint8_t)(1u << numbers[2] % 8);
    }
}

/*
 * The last access of two bytes to be read is to an index or an entry of the available ring: what
 * lies before it there changes places. (In a packed ring that is nothing but other bytes.)
 */
static void reorder(struct viommu_machine *machine)
{
    for (unsigned int i = 1; i <= MACHINE_RECENT; i++) {
        const struct machine_access *access =
            &machine->recent[(machine->recent_count - i) % MACHINE_RECENT];
        uint8_t *bytes = fake_os_pointer(machine->os, access->address - 2, 4);

        if (access->size == 2 && bytes != NULL) {
            const uint8_t copy[4] = {bytes[2], bytes[3], bytes[0], bytes[1]};

            memcpy(bytes, copy, sizeof(copy));
            return;
        }
    }
}

static void write_register(struct viommu_machine *machine, const uint16_t *numbers)
{
    static const uint64_t pages[] = {0, 0, 0, 0x1000, 0x2000, 0x3000, 0x4000, 0x5000};

    if (machine->options.connection == MACHINE_MMIO) {
        machine_write(machine, numbers[0] % 0x130 & ~3u, 4, numbers[1]);
    } else if (numbers[0] % 8 == 0) {
        piommu_virtio_front_pci_config_write(machine->front, numbers[0] >> 8, 1u << numbers[2] % 3,
                                             numbers[1]);
    } else {
        machine_write(machine, pages[numbers[0] % 8] + numbers[1] % 0x40, 1u << numbers[2] % 3,
                      numbers[2] >> 4);
    }
}

static void stop_queue(struct viommu_machine *machine, const uint16_t *numbers)
{
    machine_write(machine, 0x030, 4, numbers[0] % 2);
    machine_write(machine, 0x044, 4, 0);
    if (numbers[1] % 2 != 0) {
        machine_write(machine, 0x044, 4, 1);
    }
}

/* A second time, it begins again. */
static void stop_mastering(struct world *world)
{
    struct piommu_virtio_front *front = world->machine->front;
    const bool masters = (piommu_virtio_front_pci_config_read(front, 4, 2) & 4) != 0;

    piommu_virtio_front_pci_config_write(front, 4, 2, masters ? 2 : 6);
    if (masters && world->numbers[0] % 2 != 0) {
        world->countdown = 1 + world->numbers[1] % 20u;
    }
}

static void act(struct world *world)
{
    struct viommu_machine *machine = world->machine;

    switch (world->interference) {
    case FLIP_READ:
        world->flips = 1 + world->numbers[0] % 4u;
        break;
    case FLIP_MEMORY:
        flip_memory(machine, world->numbers);
        break;
    case REORDER:
        reorder(machine);
        break;
    case NOTIFY:
        machine_notify(machine, world->numbers[0] % 3u);
        break;
    case WRITE_REGISTER:
        write_register(machine, world->numbers);
        break;
    case WRITE_STATUS:
        machine_write_status(machine, world->numbers[0] % 2 != 0 ? (uint8_t)world->numbers[1] : 0);
        break;
    case WRITE_BYPASS:
        machine_write_bypass(machine, (uint8_t)world->numbers[0]);
        break;
    case STOP_QUEUE:
        stop_queue(machine, world->numbers);
        break;
    default:
        stop_mastering(world);
        break;
    }
}

static void meddle(struct viommu_machine *machine)
{
    struct world *world = machine->test_data;

    if (world->countdown != 0 && --world->countdown == 0) {
        act(world);
    }
}

static void tamper(struct viommu_machine *machine, uint64_t address, uint8_t *bytes, size_t size)
{
    struct world *world = machine->test_data;

    (void)address;
    if (world->flips != 0 && size != 0) {
        world->flips--;
        bytes[(world->numbers[1] + world->flips) % size] ^=
            (uint8_t)(1u << (world->numbers[2] + world->flips) % 8);
    }
}

static void interfere(struct world *world, const uint16_t *raw)
{
    const bool pci = world->machine->options.connection != MACHINE_MMIO;
    enum interference interference = (enum interference)(raw[0] % INTERFERENCES);

    if (interference == STOP_QUEUE || interference == STOP_MASTERING) {
        interference = pci ? STOP_MASTERING : STOP_QUEUE;
    }
    world->interference = interference;
    memcpy(world->numbers, raw + 1, sizeof(world->numbers));
    world->countdown = raw[4] % 24u;
    world->tainted = true;
    if (world->countdown == 0) {
        act(world);
    }
}

/* ---- The model ---- */

static bool is_free(const struct world *world, unsigned int domain, unsigned int first,
                    unsigned int count)
{
    for (unsigned int i = first; i < first + count; i++) {
        if (world->pages[domain][i].mapped) {
            return false;
        }
    }
    return true;
}

static void note_mapping(struct world *world, unsigned int domain, unsigned int first,
                         unsigned int count, uint64_t guest, piommu_prot prot)
{
    for (unsigned int i = 0; i < count; i++) {
        world->pages[domain][first + i] = (struct plain_page){.mapped = true,
                                                              .first = first,
                                                              .count = count,
                                                              .guest = guest + i * PAGE,
                                                              .prot = prot};
    }
}

static void note_removal(struct world *world, unsigned int domain, unsigned int first,
                         unsigned int count)
{
    memset(&world->pages[domain][first], 0, count * sizeof(world->pages[0][0]));
}

/* Takes over what the core says: after a call that was free to leave one thing or another. */
static void reload(struct world *world)
{
    for (unsigned int i = 0; i < DOMAINS; i++) {
        struct piommu_translation found;
        uint64_t from = 0;
        uint64_t first;

        note_removal(world, i, 0, WINDOW);
        while (piommu_domain_next(world->machine->domains[i], from, WINDOW * PAGE - 1, &first,
                                  &found) == 0) {
            note_mapping(world, i, (unsigned int)(first / PAGE),
                         (unsigned int)(found.leaf_size / PAGE), found.physical, found.prot);
            from = first + found.leaf_size;
        }
    }
    world->unsure = false;
}

/* Where each group is, as the core says. */
static void reload_attachments(struct world *world)
{
    for (unsigned int i = 0; i < ENDPOINTS; i++) {
        struct piommu_device_info info;

        piommu_device_get_info(world->machine->devices[i], &info);
        for (unsigned int j = 0; j <= DOMAINS; j++) {
            if (j == DOMAINS || info.domain == world->machine->domains[j]) {
                world->domain_of[i] = j;
                break;
            }
        }
    }
}

/* What an access leads to; MACHINE_NOTHING: it is refused. */
static uint64_t expected(const struct world *world, unsigned int endpoint, unsigned int page,
                         bool write)
{
    const struct plain_page *plain;

    if (world->domain_of[endpoint] == DOMAINS) {
        return MACHINE_NOTHING;
    }
    plain = &world->pages[world->domain_of[endpoint]][page];
    return plain->mapped && (plain->prot & (write ? PIOMMU_PROT_WRITE : PIOMMU_PROT_READ)) != 0
               ? plain->guest
               : MACHINE_NOTHING;
}

static void check_told(const struct world *world)
{
    const struct machine_endpoint *endpoint = &world->machine->endpoints[ENDPOINTS - 1];
    unsigned int pages = 0;

    for (unsigned int i = 0; i < WINDOW; i++) {
        pages += expected(world, ENDPOINTS - 1, i, false) != MACHINE_NOTHING;
    }
    for (unsigned int i = 0; i < endpoint->told_count; i++) {
        const struct machine_told *told = &endpoint->told[i];

        for (uint64_t at = told->iova.first; at < told->iova.last; at += PAGE) {
            assert_true(at < WINDOW * PAGE);
            assert_int_equal(told->guest + (at - told->iova.first),
                             expected(world, ENDPOINTS - 1, (unsigned int)(at / PAGE), false));
            pages--;
        }
    }
    assert_int_equal(pages, 0);
}

static void check(const struct world *world)
{
    if (world->tainted) {
        return;
    }
    for (unsigned int i = 0; i < ENDPOINTS; i++) {
        for (unsigned int j = 0; j < 2 * WINDOW; j++) {
            const unsigned int page = j / 2;
            const bool write = j % 2 != 0;
            const uint64_t reached = machine_reached(world->machine, i, page * PAGE, write);

            if (reached != expected(world, i, page, write)) {
                fail_msg("endpoint %u %s %#" PRIx64 " at page %u, which should be %#" PRIx64, i,
                         write ? "writes" : "reads", reached, page,
                         expected(world, i, page, write));
            }
        }
    }
    check_told(world);
}

/* ---- What calls return ---- */

/* The errors that headers name for a device that does not do what it should. */
static void check_error(const struct world *world, int error)
{
    static const int possible[] = {0,
                                   -PIOMMU_EIO,
                                   -PIOMMU_EFAILED,
                                   -PIOMMU_ENOMEM,
                                   -PIOMMU_ENOENT,
                                   -PIOMMU_ENOSPC,
                                   -PIOMMU_EEXIST,
                                   -PIOMMU_EBLOCKED,
                                   -PIOMMU_EOPNOTSUPP};

    if (!world->tainted && error != 0 && (!world->limited || error != -PIOMMU_ENOMEM)) {
        fail_msg("error %d, and nobody has interfered", error);
    }
    for (unsigned int i = 0; i < COUNT(possible); i++) {
        if (error == possible[i]) {
            return;
        }
    }
    fail_msg("error %d", error);
}

/* ---- Calls ---- */

static void map(struct world *world, const uint16_t *raw)
{
    struct viommu_machine *machine = world->machine;
    const unsigned int domain = raw[0] % DOMAINS;
    const unsigned int first = raw[1] % WINDOW;
    const unsigned int room = WINDOW - first;
    const unsigned int count = 1 + raw[2] % (room < 5 ? room : 5u);
    const uint64_t guest = machine->memory + raw[3] % (MACHINE_DMA_PAGES - 5u) * PAGE;
    const piommu_prot prot = raw[4] % 3 == 1 ? PIOMMU_PROT_READ : RW;
    int error;

    if (!is_free(world, domain, first, count)) {
        return;
    }
    error = piommu_domain_map(machine->domains[domain], first * PAGE, guest, count * PAGE, prot);
    check_error(world, error);
    if (error == 0) {
        note_mapping(world, domain, first, count, guest, prot);
    }
}

static void overlap(struct world *world, const uint16_t *raw)
{
    struct viommu_machine *machine = world->machine;
    const unsigned int domain = raw[0] % DOMAINS;
    const unsigned int page = raw[1] % WINDOW;

    if (world->pages[domain][page].mapped && !world->unsure) {
        const int error =
            piommu_domain_map(machine->domains[domain], page * PAGE, machine->memory, PAGE, RW);

        assert_true(error == -PIOMMU_EEXIST || (world->tainted && error == -PIOMMU_EFAILED));
    }
}

static void sync_domain(struct world *world, unsigned int domain)
{
    const int error = piommu_domain_sync(world->machine->domains[domain], &world->gathers[domain]);

    assert_true(error == 0 || (world->tainted && error == -PIOMMU_EFAILED));
    assert_int_equal(world->gathers[domain].pending, error != 0);
}

static void unmap_range(struct world *world, unsigned int domain, unsigned int first,
                        unsigned int count)
{
    const int error = piommu_domain_unmap(world->machine->domains[domain], first * PAGE,
                                          count * PAGE, &world->gathers[domain], NULL);

    if (world->unsure) {
        assert_true(error == 0 || error == -PIOMMU_ENOENT || error == -PIOMMU_ECUT);
        return;
    }
    assert_int_equal(error, is_free(world, domain, first, count) ? -PIOMMU_ENOENT : 0);
    note_removal(world, domain, first, count);
    sync_domain(world, domain);
}

/* The mapping of the page, or of the next one that has any. */
static void unmap(struct world *world, const uint16_t *raw)
{
    const unsigned int domain = raw[0] % DOMAINS;

    for (unsigned int i = 0; i < WINDOW; i++) {
        const struct plain_page *page = &world->pages[domain][(raw[1] + i) % WINDOW];

        if (page->mapped) {
            unmap_range(world, domain, page->first, page->count);
            return;
        }
    }
}

/* All mappings that begin in a range, and holes between them. */
static void unmap_all(struct world *world, const uint16_t *raw)
{
    const unsigned int domain = raw[0] % DOMAINS;
    const struct plain_page *pages = world->pages[domain];
    unsigned int first = raw[1] % WINDOW;
    unsigned int end = first + 1 + raw[2] % (WINDOW - first);

    if (pages[first].mapped) {
        first = pages[first].first;
    }
    if (pages[end - 1].mapped) {
        end = pages[end - 1].first + pages[end - 1].count;
    }
    unmap_range(world, domain, first, end - first);
}

static void protect(struct world *world, const uint16_t *raw)
{
    const unsigned int domain = raw[0] % DOMAINS;
    const struct plain_page page = world->pages[domain][raw[1] % WINDOW];
    const piommu_prot prot = raw[2] % 2 == 0 ? PIOMMU_PROT_READ : RW;
    int error;

    if (!page.mapped || world->unsure) {
        return;
    }
    error = piommu_domain_protect(world->machine->domains[domain], page.first * PAGE,
                                  page.count * PAGE, prot, PIOMMU_ALLOW_HOLE, NULL);
    check_error(world, error);
    if (error == 0) {
        note_mapping(world, domain, page.first, page.count, world->pages[domain][page.first].guest,
                     prot);
    } else {
        world->unsure = true;
    }
}

static void attach(struct world *world, const uint16_t *raw)
{
    const unsigned int endpoint = raw[0] % ENDPOINTS;
    const unsigned int domain = raw[1] % DOMAINS;
    const int error =
        piommu_device_attach(world->machine->devices[endpoint], world->machine->domains[domain]);

    check_error(world, error);
    if (error == 0) {
        world->domain_of[endpoint] = domain;
    } else {
        reload_attachments(world);
    }
}

static void detach(struct world *world, const uint16_t *raw)
{
    const unsigned int endpoint = raw[0] % ENDPOINTS;
    const int error = piommu_device_detach(world->machine->devices[endpoint]);

    check_error(world, error);
    if (error == 0) {
        world->domain_of[endpoint] = DOMAINS;
    } else {
        reload_attachments(world);
    }
}

/* DMA that is refused is reported to the guest. */
static void fault(struct world *world, const uint16_t *raw)
{
    struct viommu_machine *machine = world->machine;
    const unsigned int endpoint = raw[0] % ENDPOINTS;
    const unsigned int page = raw[1] % WINDOW;
    const bool write = raw[2] % 2 != 0;
    uint64_t reached;

    machine_interrupts(machine);
    machine->fault_count = 0;
    reached = machine_dma(machine, endpoint, page * PAGE, write);
    machine_interrupts(machine);
    if (world->tainted) {
        return;
    }
    assert_int_equal(reached, expected(world, endpoint, page, write));
    assert_int_equal(machine->fault_count, reached == MACHINE_NOTHING);
    if (reached == MACHINE_NOTHING) {
        assert_ptr_equal(machine->faults[0].device_owner, &machine->endpoints[endpoint]);
        assert_int_equal(machine->faults[0].iova, page * PAGE);
        assert_int_equal(machine->faults[0].write, write);
    }
}

/* ---- Resets ---- */

static void recover(struct world *world)
{
    assert_int_equal(machine_state(world->machine), PIOMMU_INSTANCE_FAILED);
    assert_int_equal(piommu_instance_recover(world->machine->instance), 0);
}

static void suspend(struct world *world)
{
    struct piommu_instance *instance = world->machine->instance;
    int error = piommu_instance_suspend(instance);

    if (error == 0) {
        if (!world->tainted) {
            machine_expect_nothing(world->machine);
        }
        error = piommu_instance_resume(instance);
    }
    if (error != 0 && (!world->tainted || error != -PIOMMU_EFAILED)) {
        fail_msg("suspended, and resumed: error %d", error);
    }
}

/* The man in the middle goes away, and the driver resets the device. */
static void heal(struct world *world)
{
    struct viommu_machine *machine = world->machine;

    world->countdown = 0;
    world->flips = 0;
    if (!world->tainted) {
        return;
    }
    machine_place_bar(machine);
    machine_interrupts(machine);
    if (machine_state(machine) == PIOMMU_INSTANCE_RUNNING) {
        suspend(world);
    }
    if (machine_state(machine) != PIOMMU_INSTANCE_RUNNING) {
        recover(world);
    }
    assert_int_equal(machine_state(machine), PIOMMU_INSTANCE_RUNNING);
    world->tainted = false;
    machine_interrupts(machine);
    for (unsigned int i = 0; i < DOMAINS; i++) {
        sync_domain(world, i);
    }
    if (world->unsure) {
        reload(world);
    }
    reload_attachments(world);
    machine_expect_exactly(machine);
}

/* Somebody else resets the device while nobody asks it anything: the driver finds out. */
static void lose(struct world *world)
{
    struct viommu_machine *machine = world->machine;

    heal(world);
    machine_write_status(machine, 0);
    machine_expect_nothing(machine);
    machine_settle(machine);
    assert_int_equal(machine_statistics(machine).bytes, 0);
    world->tainted = true;
    heal(world);
}

static void begin(struct world *world)
{
    memset(world->pages, 0, sizeof(world->pages));
    for (unsigned int i = 0; i < ENDPOINTS; i++) {
        world->domain_of[i] = DOMAINS;
    }
    for (unsigned int i = 0; i < DOMAINS; i++) {
        piommu_gather_init(&world->gathers[i]);
    }
    machine_boot_fully(world->machine, DOMAINS);
}

/* The whole guest is reset, in the midst of whatever there is. */
static void reboot(struct world *world)
{
    struct viommu_machine *machine = world->machine;

    world->countdown = 0;
    world->flips = 0;
    machine_system_reset(machine);
    if (!machine->options.starts_bypassed) {
        machine_expect_nothing(machine);
    }
    machine_settle(machine);
    assert_int_equal(machine_statistics(machine).bytes, 0);
    machine_shut(machine);
    world->tainted = false;
    world->unsure = false;
    begin(world);
}

/* ---- Running ---- */

static void run_operation(struct world *world, const struct viommu_operation *operation)
{
    const uint16_t *raw = operation->raw;

    switch ((enum kind)(operation->kind % KINDS)) {
    case KIND_MAP:
        map(world, raw);
        break;
    case KIND_OVERLAP:
        overlap(world, raw);
        break;
    case KIND_UNMAP:
        unmap(world, raw);
        break;
    case KIND_UNMAP_ALL:
        unmap_all(world, raw);
        break;
    case KIND_PROTECT:
        protect(world, raw);
        break;
    case KIND_ATTACH:
        attach(world, raw);
        break;
    case KIND_DETACH:
        detach(world, raw);
        break;
    case KIND_FAULT:
        fault(world, raw);
        break;
    case KIND_SUSPEND:
        heal(world);
        suspend(world);
        break;
    case KIND_LOSE:
        lose(world);
        break;
    case KIND_REBOOT:
        reboot(world);
        break;
    case KIND_INTERFERE:
        interfere(world, raw);
        break;
    default:
        heal(world);
        break;
    }
}

static void few(struct piommu_viommu_device_config *config)
{
    config->engine.max_mappings = 6;
    config->engine.max_domains = 2;
    config->request_entries = 4;
    config->event_entries = 4;
}

static struct machine_options options_of(const uint16_t *config)
{
    static const uint64_t rings[] = {0,      INDIRECT,          EVENT,
                                     PACKED, PACKED | INDIRECT, PACKED | EVENT | INDIRECT};
    static const uint64_t fragments[] = {16, 1, 4, 512};
    const bool bypass = config[3] % 3 != 0 && config[2] % 4 != 1;

    return (struct machine_options){
        .connection = (enum machine_connection)(config[0] % MACHINE_CONNECTIONS),
        .ring_features = rings[config[1] % COUNT(rings)],
        .devices = DEVICES,
        .software = ENDPOINTS - DEVICES,
        .fragment = fragments[config[2] % 4],
        .window = WINDOW,
        .bypass = bypass,
        .starts_bypassed = bypass && config[3] % 3 == 2,
        .sleeps = config[4] % 2 != 0,
        .eager = config[4] % 4 >= 2,
        .budget = config[5] % 4 == 1 ? 1 : 0,
        .seed = config[6],
        /* Tables of a life that has ended are freed slot by slot, if it must be so. */
        .timeout = MACHINE_SECOND / (config[5] % 4 == 1 ? 2 : 20),
        .adjust = config[7] % 8 == 1 ? few : NULL,
    };
}

void viommu_device_program_run(const struct viommu_program *program, bool verbose)
{
    const struct machine_options options = options_of(program->config);
    struct world *world = calloc(1, sizeof(*world));

    assert_non_null(world);
    world->limited = options.adjust != NULL;
    world->machine = machine_open_alone(
        program->config[6] % 2 != 0 ? VIOMMU_HARDWARE_REQUESTS : VIOMMU_HARDWARE_TABLES, &options);
    world->machine->test_data = world;
    world->machine->meddle = meddle;
    world->machine->tamper = tamper;
    if (verbose) {
        printf("connection %d, rings %#" PRIx64 ", fragments of %" PRIu64
               ", bypass %d %d, sleeps %d, eager %d, budget %" PRIu32 ", seed %" PRIu32
               ", limited %d\n",
               (int)options.connection, options.ring_features, options.fragment, options.bypass,
               options.starts_bypassed, options.sleeps, options.eager, options.budget, options.seed,
               world->limited);
    }
    begin(world);
    for (size_t i = 0; i < program->length; i++) {
        if (verbose) {
            viommu_program_print(i, names[program->operations[i].kind % KINDS],
                                 &program->operations[i]);
        }
        run_operation(world, &program->operations[i]);
        check(world);
    }
    heal(world);
    check(world);
    machine_shut(world->machine);
    machine_close_alone(world->machine);
    free(world);
}
