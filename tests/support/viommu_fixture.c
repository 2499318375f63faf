/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "device_ids.h"
#include "viommu_fixture.h"
#include "without.h"

#include <piommu/virtio.h>

#include <inttypes.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LAST_LOOK UINT64_MAX

/* ---- Between the fake OS and the model ---- */

static uint32_t config_read(void *ctx, unsigned int offset, unsigned int width)
{
    struct viommu_fixture *fixture = ctx;

    return viommu_model_config_read(fixture->model, offset, width);
}

static void config_write(void *ctx, unsigned int offset, unsigned int width, uint32_t value)
{
    struct viommu_fixture *fixture = ctx;

    viommu_model_config_write(fixture->model, offset, width, value);
}

static uint64_t bar_address(void *ctx, unsigned int number)
{
    struct viommu_fixture *fixture = ctx;

    return viommu_model_bar_address(fixture->model, number);
}

static uint64_t bar_size(void *ctx, unsigned int number)
{
    struct viommu_fixture *fixture = ctx;

    return viommu_model_bar_size(fixture->model, number);
}

static void look_at_masters(struct viommu_fixture *fixture)
{
    if (fixture->on_look != NULL) {
        fixture->on_look(fixture);
    }
    if (!fixture->paused) {
        viommu_fixture_probe(fixture);
    }
}

/* After each access: what the device can reach, and whether it is done with its rings. */
static void look_at_device(struct viommu_fixture *fixture)
{
    bool running = (viommu_model_status(fixture->model) & PIOMMU_VIRTIO_STATUS_DRIVER_OK) != 0;

    if (fixture->was_running && !running) {
        fake_os_device_stopped(fixture->os);
    }
    fixture->was_running = running;
    look_at_masters(fixture);
}

static uint32_t mmio_read(void *ctx, uint64_t offset, unsigned int width)
{
    struct viommu_fixture *fixture = ctx;
    uint32_t value = viommu_model_mmio_read(fixture->model, offset, width);

    look_at_device(fixture);
    return value;
}

static void mmio_write(void *ctx, uint64_t offset, unsigned int width, uint32_t value)
{
    struct viommu_fixture *fixture = ctx;

    viommu_model_mmio_write(fixture->model, offset, width, value);
    look_at_device(fixture);
}

/* Where in the registers of virtio-mmio an address lies. */
static uint64_t slot_offset(const struct viommu_fixture *fixture, uint64_t physical)
{
    uint64_t first = viommu_model_mmio_address(fixture->model);

    if (physical < first || physical - first >= VIOMMU_MODEL_MMIO_SIZE) {
        fail_msg("access to 0x%" PRIx64 ", where the device is not", physical);
    }
    return physical - first;
}

static uint32_t slot_read(void *ctx, uint64_t physical, unsigned int width)
{
    return mmio_read(ctx, slot_offset(ctx, physical), width);
}

static void slot_write(void *ctx, uint64_t physical, unsigned int width, uint32_t value)
{
    mmio_write(ctx, slot_offset(ctx, physical), width, value);
}

static void progress(void *ctx)
{
    struct viommu_fixture *fixture = ctx;

    if (fixture->options.processing == VIOMMU_MODEL_AT_RUN && !fixture->completion_stopped) {
        viommu_model_run(fixture->model, fixture->options.run_per_wait);
    }
    if (!fixture->completion_stopped) {
        viommu_model_tick(fixture->model);
    }
    look_at_masters(fixture);
}

/* A message that nobody has asked for would be a write to some memory. */
static void take_message(void *ctx, uint64_t address, uint32_t data)
{
    struct viommu_fixture *fixture = ctx;

    for (size_t i = 0; i < fixture->options.message_count; i++) {
        if (fixture->messages[i].address == address && fixture->messages[i].data == data) {
            fixture->messages_sent[i]++;
            return;
        }
    }
    fail_msg("message 0x%" PRIx32 " to 0x%" PRIx64 ", which nobody has asked for", data, address);
}

/* Every thread that sleeps is woken by each interrupt. */
static bool interrupted(void *ctx)
{
    static _Thread_local uint64_t seen;
    static _Thread_local uint64_t seen_of; /* an earlier fixture has counted for itself */
    struct viommu_fixture *fixture = ctx;
    const struct viommu_model_counters *counters = viommu_model_counters(fixture->model);
    uint64_t count = counters->messages + counters->interrupts;
    bool is_new = count != (seen_of == fixture->serial ? seen : 0);

    seen_of = fixture->serial;
    seen = count;
    return is_new || viommu_model_interrupt_pending(fixture->model);
}

static bool memory_read(void *ctx, uint64_t physical, void *buffer, size_t size)
{
    return fake_os_device_read(ctx, physical, buffer, size);
}

static bool memory_write(void *ctx, uint64_t physical, const void *buffer, size_t size)
{
    return fake_os_device_write(ctx, physical, buffer, size);
}

static void observe(void *ctx, const struct viommu_model_request *request, int status)
{
    struct viommu_fixture *fixture = ctx;

    if (fixture->log_count < VIOMMU_FIXTURE_MAX_LOG) {
        fixture->log[fixture->log_count].request = *request;
        fixture->log[fixture->log_count].status = status;
        fixture->log_count++;
    }
}

/* Rings must outlive the last look that the device takes at them. */
static void on_dma_free(void *ctx, uint64_t physical, uint64_t size)
{
    struct viommu_fixture *fixture = ctx;

    (void)physical;
    (void)size;
    if ((viommu_model_status(fixture->model) & PIOMMU_VIRTIO_STATUS_DRIVER_OK) != 0 &&
        !fixture->forgive_free) {
        fixture->memory_dropped++;
        fail_msg("memory of a running device was given back");
    }
}

static enum piommu_fault_answer on_fault(void *cookie, const struct piommu_fault *fault)
{
    struct viommu_fixture *fixture = cookie;

    if (fixture->fault_count < VIOMMU_FIXTURE_MAX_FAULTS) {
        fixture->faults[fixture->fault_count] = *fault;
    }
    fixture->fault_count++;
    return fixture->fault_answer;
}

/* ---- Variants ---- */

#define BOTH   VIOMMU_RING_FEATURES
#define PACKED VIOMMU_MODEL_F_RING_PACKED

/* An honest device, where it is, and what is between it and the CPU. */
struct variant {
    const char *name;
    enum viommu_kind kind;
    enum viommu_connection connection;
    uint64_t ring_features; /* of VIOMMU_RING_FEATURES, and PACKED */
    bool non_coherent;      /* it does not snoop the caches */
    bool sleeps;            /* the host sleeps until it interrupts */
};

static const struct variant variants[] = {
    {.name = "the model's defaults", .kind = VIOMMU_PLAIN},
    {.name = "strict, INTx, all of rings", .kind = VIOMMU_STRICT, .ring_features = BOTH},
    {.name = "strict, a message, indirect descriptors, not coherent",
     .kind = VIOMMU_STRICT,
     .connection = VIOMMU_MESSAGE,
     .ring_features = VIOMMU_MODEL_F_INDIRECT_DESC,
     .non_coherent = true},
    {.name = "strict, messages, all of rings, sleeping host",
     .kind = VIOMMU_STRICT,
     .connection = VIOMMU_MESSAGES,
     .ring_features = BOTH,
     .sleeps = true},
    {.name = "strict, messages, event indices, not coherent",
     .kind = VIOMMU_STRICT,
     .connection = VIOMMU_MESSAGES,
     .ring_features = VIOMMU_MODEL_F_EVENT_IDX,
     .non_coherent = true},
    {.name = "strict, MMIO, event indices",
     .kind = VIOMMU_STRICT,
     .connection = VIOMMU_OVER_MMIO,
     .ring_features = VIOMMU_MODEL_F_EVENT_IDX},
    {.name = "strict, MMIO, all of rings, not coherent, sleeping host",
     .kind = VIOMMU_STRICT,
     .connection = VIOMMU_OVER_MMIO,
     .ring_features = BOTH,
     .non_coherent = true,
     .sleeps = true},
    {.name = "strict, MMIO, plain rings, not coherent",
     .kind = VIOMMU_STRICT,
     .connection = VIOMMU_OVER_MMIO,
     .non_coherent = true},
    {.name = "lax, INTx, all of rings", .kind = VIOMMU_LAX, .ring_features = BOTH},
    {.name = "lax, INTx, plain rings, sleeping host", .kind = VIOMMU_LAX, .sleeps = true},
    {.name = "rigid, messages", .kind = VIOMMU_RIGID, .connection = VIOMMU_MESSAGES},
    {.name = "rigid, a message, not coherent, sleeping host",
     .kind = VIOMMU_RIGID,
     .connection = VIOMMU_MESSAGE,
     .non_coherent = true,
     .sleeps = true},
    {.name = "refusing, INTx", .kind = VIOMMU_REFUSING},
    {.name = "refusing, messages, all of rings, sleeping host",
     .kind = VIOMMU_REFUSING,
     .connection = VIOMMU_MESSAGES,
     .ring_features = BOTH,
     .sleeps = true},
    {.name = "refusing, MMIO, event indices, not coherent",
     .kind = VIOMMU_REFUSING,
     .connection = VIOMMU_OVER_MMIO,
     .ring_features = VIOMMU_MODEL_F_EVENT_IDX,
     .non_coherent = true},
    {.name = "strict, INTx, packed rings", .kind = VIOMMU_STRICT, .ring_features = PACKED},
    {.name = "strict, messages, packed rings with all there is, sleeping host",
     .kind = VIOMMU_STRICT,
     .connection = VIOMMU_MESSAGES,
     .ring_features = PACKED | BOTH,
     .sleeps = true},
    {.name = "lax, MMIO, packed rings with event indices",
     .kind = VIOMMU_LAX,
     .connection = VIOMMU_OVER_MMIO,
     .ring_features = PACKED | VIOMMU_MODEL_F_EVENT_IDX},
    {.name = "refusing, messages, packed rings with indirect tables",
     .kind = VIOMMU_REFUSING,
     .connection = VIOMMU_MESSAGES,
     .ring_features = PACKED | VIOMMU_MODEL_F_INDIRECT_DESC},
    {.name = "strict, MMIO, packed rings offered but not coherent",
     .kind = VIOMMU_STRICT,
     .connection = VIOMMU_OVER_MMIO,
     .ring_features = PACKED | BOTH,
     .non_coherent = true},
};

static unsigned int variant_in_use;

unsigned int viommu_fixture_variants(void)
{
    return sizeof(variants) / sizeof(variants[0]) - 1;
}

void viommu_fixture_use(unsigned int number)
{
    assert_true(number <= viommu_fixture_variants());
    variant_in_use = number;
}

unsigned int viommu_fixture_variant(void)
{
    return variant_in_use;
}

bool viommu_fixture_is_packed(const struct viommu_fixture_options *options)
{
    return (options->model.offered_features & PACKED) != 0 && !options->os.non_coherent_rings &&
           !is_without("packed");
}

void viommu_fixture_need_features(uint64_t features)
{
    struct viommu_fixture_options options;

    viommu_fixture_default_options(&options);
    if ((options.model.offered_features & features) != features) {
        skip();
    }
}

static bool provides(const struct viommu_model_parameters *model, enum viommu_need need)
{
    switch (need) {
    case VIOMMU_NEED_EVENTS:
        return !model->no_events;
    case VIOMMU_NEED_TOP:
        return !model->no_top;
    case VIOMMU_NEED_DETACH:
        return !model->lone_detach;
    case VIOMMU_NEED_PCI:
        return model->transport == VIOMMU_MODEL_PCI;
    }
    return false;
}

void viommu_fixture_need(enum viommu_need need)
{
    struct viommu_fixture_options options;

    viommu_fixture_default_options(&options);
    if (!provides(&options.model, need)) {
        skip();
    }
}

/* Those that have all kinds, connections and features of rings among them. */
static bool is_one_of_few(unsigned int number)
{
    return number == 0 || number == 2 || number == 6 || number == 10 || number == 13 ||
           number == 16;
}

int viommu_fixture_run(const char *name, const struct CMUnitTest *tests, size_t count)
{
    const char *which = getenv("PIOMMU_VARIANTS");
    bool few = which != NULL && strcmp(which, "few") == 0;
    int failed = 0;

    for (unsigned int i = 0; i <= viommu_fixture_variants(); i++) {
        bool mmio = variants[i].connection == VIOMMU_OVER_MMIO;

        if ((few && !is_one_of_few(i)) || is_without(mmio ? "mmio" : "pci")) {
            continue;
        }
        viommu_fixture_use(i);
        printf("# %s: %s\n", name, variants[i].name);
        (void)fflush(stdout);
        failed += _cmocka_run_group_tests(variants[i].name, tests, count, NULL, NULL);
    }
    return failed;
}

/* ---- Life ---- */

void viommu_fixture_default_options(struct viommu_fixture_options *options)
{
    const struct variant *variant = &variants[variant_in_use];

    memset(options, 0, sizeof(*options));
    options->run_per_wait = 1;
    viommu_kind_parameters(variant->kind, &options->model);
    options->model.offered_features |= variant->ring_features;
    options->os.non_coherent_rings = variant->non_coherent;
    options->os.sleeps = variant->sleeps;
    switch (variant->connection) {
    case VIOMMU_INTX:
        break;
    case VIOMMU_MESSAGE:
        options->message_count = 1;
        break;
    case VIOMMU_MESSAGES:
        options->message_count = 2;
        break;
    case VIOMMU_OVER_MMIO:
        options->model.transport = VIOMMU_MODEL_MMIO;
        break;
    }
}

static void connect_device(struct viommu_fixture *fixture)
{
    struct fake_os_bus bus = {
        .ctx = fixture,
        .read = slot_read,
        .write = slot_write,
        .progress = progress,
        .interrupted = interrupted,
    };
    struct fake_os_device device = {
        .ctx = fixture,
        .config_read = config_read,
        .config_write = config_write,
        .bar_address = bar_address,
        .bar_size = bar_size,
        .mmio_read = mmio_read,
        .mmio_write = mmio_write,
        .progress = progress,
        .interrupted = interrupted,
        .bdf = viommu_model_bdf(fixture->model),
        .bar = VIOMMU_MODEL_BAR,
    };

    if (fixture->options.model.transport == VIOMMU_MODEL_MMIO) {
        fake_os_connect_bus(fixture->os, &bus);
    } else {
        fake_os_connect(fixture->os, &device);
    }
}

struct viommu_fixture *viommu_fixture_create(const struct viommu_fixture_options *options)
{
    static uint64_t serial;
    struct viommu_fixture *fixture = calloc(1, sizeof(*fixture));
    struct viommu_model_memory memory = {.read = memory_read, .write = memory_write};

    assert_non_null(fixture);
    fixture->serial = ++serial;
    if (options != NULL) {
        fixture->options = *options;
    } else {
        viommu_fixture_default_options(&fixture->options);
    }
    fixture->os = fake_os_create(&fixture->options.os);
    memory.ctx = fixture->os;
    fixture->model = viommu_model_create(&fixture->options.model, memory);
    assert_non_null(fixture->model);
    viommu_model_set_processing(fixture->model, fixture->options.processing);
    viommu_model_set_delay(fixture->model, fixture->options.delay);
    viommu_model_observe(fixture->model, observe, fixture);
    connect_device(fixture);
    for (uint32_t i = 0; i < PIOMMU_VIRTIO_MAX_MESSAGES; i++) {
        fixture->messages[i] =
            (struct piommu_virtio_message){.address = 0x1fee00040ull + 0x10 * i, .data = 70 + i};
    }
    viommu_model_on_message(fixture->model, take_message, fixture);
    fake_os_on_dma_free(fixture->os, on_dma_free, fixture);
    fixture->memory = fake_os_test_pages(fixture->os, VIOMMU_FIXTURE_PAGES);
    viommu_fixture_look(fixture, 0);
    viommu_fixture_look(fixture, fixture->memory);
    viommu_fixture_look(fixture, fixture->memory + 0x1000);
    viommu_fixture_look(fixture, LAST_LOOK);
    return fixture;
}

struct piommu_virtio_iommu_config viommu_fixture_place(struct viommu_fixture *fixture)
{
    struct piommu_virtio_iommu_config place = {
        .non_coherent = fixture->options.os.non_coherent_rings,
        .wait_sleeps = fixture->options.os.sleeps,
    };

    if (fixture->options.model.transport == VIOMMU_MODEL_MMIO) {
        place.registers = viommu_model_mmio_address(fixture->model);
        place.registers_size = VIOMMU_MODEL_MMIO_SIZE;
    } else {
        place.pci.bdf = viommu_model_bdf(fixture->model);
        place.messages = fixture->options.message_count != 0 ? fixture->messages : NULL;
        place.message_count = fixture->options.message_count;
    }
    return place;
}

int viommu_fixture_start(struct viommu_fixture *fixture)
{
    struct piommu_virtio_iommu_config place = viommu_fixture_place(fixture);

    return viommu_fixture_start_at(fixture, &place);
}

int viommu_fixture_start_at(struct viommu_fixture *fixture,
                            const struct piommu_virtio_iommu_config *where)
{
    struct piommu_context_config context = {
        .fault = on_fault, .choose_domain = fixture->choose_domain, .cookie = fixture};
    struct piommu_instance_config config = {
        .name = "viommu",
        .owner = fixture,
        .unknown_ids = fixture->options.unknown_ids,
        .timeout = fixture->options.timeout,
    };

    if (fixture->context == NULL) {
        assert_int_equal(
            piommu_context_create(fake_os_host(fixture->os), &context, &fixture->context), 0);
    }
    return piommu_instance_create(fixture->context, piommu_virtio_iommu_backend(), where, &config,
                                  &fixture->instance);
}

struct viommu_fixture *viommu_fixture_started(const struct viommu_fixture_options *options)
{
    struct viommu_fixture *fixture = viommu_fixture_create(options);

    assert_int_equal(viommu_fixture_start(fixture), 0);
    return fixture;
}

void viommu_fixture_wait(struct viommu_fixture *fixture)
{
    struct piommu_host host = fake_os_host(fixture->os);

    host.os->wait(host.ctx, host.os->now(host.ctx) + 100000);
}

void viommu_fixture_lose_power(struct viommu_fixture *fixture)
{
    viommu_model_system_reset(fixture->model);
    look_at_device(fixture);
}

int viommu_fixture_try_add(struct viommu_fixture *fixture, const uint32_t *ids, size_t count,
                           struct piommu_device **device)
{
    struct device_ids room;
    struct piommu_device_config config = {
        .ids = device_ids_of(&room, fixture->instance, ids, count),
        .id_count = count,
        .name = "device",
        .owner = (void *)(uintptr_t)(0x1000u + ids[0]),
    };
    size_t slot = 0;
    int error;

    while (slot < VIOMMU_FIXTURE_MAX_DEVICES && fixture->devices[slot] != NULL) {
        slot++;
    }
    assert_true(slot < VIOMMU_FIXTURE_MAX_DEVICES);
    error = piommu_device_add(fixture->context, &config, device);
    if (error == 0) {
        fixture->devices[slot] = *device;
        for (size_t i = 0; i < count; i++) {
            viommu_fixture_watch(fixture, ids[i]);
        }
        viommu_fixture_probe(fixture);
    }
    return error;
}

struct piommu_device *viommu_fixture_add_device(struct viommu_fixture *fixture, uint32_t id)
{
    struct piommu_device *device = NULL;

    viommu_model_add_endpoint(fixture->model, id, NULL, 0);
    assert_int_equal(viommu_fixture_try_add(fixture, &id, 1, &device), 0);
    assert_non_null(device);
    return device;
}

struct piommu_domain *viommu_fixture_add_domain(struct viommu_fixture *fixture,
                                                enum piommu_domain_type type)
{
    struct piommu_domain_config config = {
        .type = type, .instances = &fixture->instance, .instance_count = 1, .name = "domain"};
    size_t slot = 0;

    while (slot < VIOMMU_FIXTURE_MAX_DOMAINS && fixture->domains[slot] != NULL) {
        slot++;
    }
    assert_true(slot < VIOMMU_FIXTURE_MAX_DOMAINS);
    config.owner = &fixture->domains[slot];
    assert_int_equal(piommu_domain_create(&config, &fixture->domains[slot]), 0);
    return fixture->domains[slot];
}

void viommu_fixture_remove_device(struct viommu_fixture *fixture, struct piommu_device *device)
{
    size_t slot = 0;

    while (slot < VIOMMU_FIXTURE_MAX_DEVICES && fixture->devices[slot] != device) {
        slot++;
    }
    assert_true(slot < VIOMMU_FIXTURE_MAX_DEVICES);
    assert_int_equal(piommu_device_remove(device), 0);
    fixture->devices[slot] = NULL;
}

void viommu_fixture_remove_domain(struct viommu_fixture *fixture, struct piommu_domain *domain)
{
    size_t slot = 0;

    while (slot < VIOMMU_FIXTURE_MAX_DOMAINS && fixture->domains[slot] != domain) {
        slot++;
    }
    assert_true(slot < VIOMMU_FIXTURE_MAX_DOMAINS);
    assert_int_equal(piommu_domain_destroy(domain), 0);
    fixture->domains[slot] = NULL;
}

void viommu_fixture_take_down(struct viommu_fixture *fixture)
{
    for (size_t i = 0; i < VIOMMU_FIXTURE_MAX_DEVICES; i++) {
        if (fixture->devices[i] != NULL) {
            assert_int_equal(piommu_group_detach(piommu_device_group(fixture->devices[i])), 0);
        }
    }
    for (size_t i = 0; i < fixture->watched_count; i++) {
        viommu_fixture_forbid(fixture, fixture->watched[i], 0, 0);
    }
    viommu_fixture_probe(fixture);
    for (size_t i = 0; i < VIOMMU_FIXTURE_MAX_DEVICES; i++) {
        if (fixture->devices[i] != NULL) {
            viommu_fixture_remove_device(fixture, fixture->devices[i]);
        }
    }
    viommu_fixture_probe(fixture);
    for (size_t i = 0; i < VIOMMU_FIXTURE_MAX_DOMAINS; i++) {
        if (fixture->domains[i] != NULL) {
            viommu_fixture_remove_domain(fixture, fixture->domains[i]);
        }
    }
    if (fixture->options.unknown_ids == PIOMMU_UNKNOWN_IDS_LEAVE) {
        fixture->watched_count = 0; /* destruction lets them go */
    }
    if (fixture->instance != NULL) {
        assert_int_equal(piommu_instance_destroy(fixture->instance), 0);
        fixture->instance = NULL;
    }
    assert_int_equal(piommu_context_destroy(fixture->context), 0);
    fixture->context = NULL;
}

void viommu_fixture_destroy(struct viommu_fixture *fixture)
{
    struct fake_os_counters counters;

    viommu_fixture_take_down(fixture);
    if (viommu_model_violations(fixture->model) != 0) {
        fail_msg("%zu violations, the first: %s", viommu_model_violations(fixture->model),
                 viommu_model_violation(fixture->model, 0));
    }
    fake_os_get_counters(fixture->os, &counters);
    assert_int_equal(counters.overwritten_lines, 0);
    fake_os_destroy(fixture->os);
    viommu_model_destroy(fixture->model);
    free(fixture);
}

/* ---- The log ---- */

size_t viommu_fixture_count(const struct viommu_fixture *fixture, uint8_t type)
{
    size_t count = 0;

    for (size_t i = 0; i < fixture->log_count; i++) {
        count += type == 0 || fixture->log[i].request.type == type;
    }
    return count;
}

const struct viommu_fixture_request *viommu_fixture_logged(const struct viommu_fixture *fixture,
                                                           uint8_t type, size_t nth)
{
    for (size_t i = 0; i < fixture->log_count; i++) {
        if (fixture->log[i].request.type == type && nth-- == 0) {
            return &fixture->log[i];
        }
    }
    fail_msg("no such request of type %u in the log", type);
    return NULL;
}

/* ---- The DMA prober ---- */

void viommu_fixture_watch(struct viommu_fixture *fixture, uint32_t endpoint)
{
    for (size_t i = 0; i < fixture->watched_count; i++) {
        if (fixture->watched[i] == endpoint) {
            return;
        }
    }
    assert_true(fixture->watched_count < VIOMMU_FIXTURE_MAX_WATCHED);
    fixture->watched[fixture->watched_count++] = endpoint;
}

void viommu_fixture_unwatch(struct viommu_fixture *fixture, uint32_t endpoint)
{
    for (size_t i = 0; i < fixture->watched_count; i++) {
        if (fixture->watched[i] == endpoint) {
            fixture->watched[i] = fixture->watched[--fixture->watched_count];
            return;
        }
    }
}

void viommu_fixture_look(struct viommu_fixture *fixture, uint64_t iova)
{
    for (size_t i = 0; i < fixture->look_count; i++) {
        if (fixture->looks[i] == iova) {
            return;
        }
    }
    if (fixture->look_count == VIOMMU_FIXTURE_MAX_LOOKS) {
        fixture->looks[iova >> 12 & (VIOMMU_FIXTURE_MAX_LOOKS - 1)] = iova;
        return;
    }
    fixture->looks[fixture->look_count++] = iova;
}

static void add_grant(struct viommu_fixture *fixture, struct viommu_fixture_grant grant)
{
    assert_true(fixture->grant_count < VIOMMU_FIXTURE_MAX_GRANTS);
    fixture->grants[fixture->grant_count++] = grant;
}

void viommu_fixture_allow(struct viommu_fixture *fixture, uint32_t endpoint, uint64_t iova,
                          uint64_t physical, uint64_t size, piommu_prot prot)
{
    add_grant(fixture, (struct viommu_fixture_grant){.endpoint = endpoint,
                                                     .first = iova,
                                                     .last = iova + (size - 1),
                                                     .physical = physical,
                                                     .prot = prot});
    viommu_fixture_look(fixture, iova);
    viommu_fixture_look(fixture, iova + (size - 1));
    viommu_fixture_look(fixture, iova - 1);
    viommu_fixture_look(fixture, iova + size);
    viommu_fixture_look(fixture, physical);
}

void viommu_fixture_allow_identity(struct viommu_fixture *fixture, uint32_t endpoint)
{
    add_grant(fixture, (struct viommu_fixture_grant){.endpoint = endpoint,
                                                     .last = UINT64_MAX,
                                                     .prot = PIOMMU_PROT_READ | PIOMMU_PROT_WRITE});
}

void viommu_fixture_forbid(struct viommu_fixture *fixture, uint32_t endpoint, uint64_t iova,
                           uint64_t size)
{
    size_t kept = 0;

    for (size_t i = 0; i < fixture->grant_count; i++) {
        const struct viommu_fixture_grant *grant = &fixture->grants[i];
        bool inside = size == 0 || (grant->first >= iova && grant->last <= iova + (size - 1));

        if (grant->endpoint != endpoint || !inside) {
            fixture->grants[kept++] = *grant;
        }
    }
    fixture->grant_count = kept;
}

/* Whether some grant covers an access that leads to `physical`. */
static bool is_granted(const struct viommu_fixture *fixture, uint32_t endpoint, uint64_t iova,
                       bool write, uint64_t physical)
{
    piommu_prot needed = write ? PIOMMU_PROT_WRITE : PIOMMU_PROT_READ;

    for (size_t i = 0; i < fixture->grant_count; i++) {
        const struct viommu_fixture_grant *grant = &fixture->grants[i];

        if (grant->endpoint == endpoint && iova >= grant->first && iova <= grant->last &&
            grant->physical + (iova - grant->first) == physical && (grant->prot & needed) != 0) {
            return true;
        }
    }
    return false;
}

static void try_access(struct viommu_fixture *fixture, uint32_t endpoint, uint64_t iova, bool write)
{
    uint64_t physical = 0;
    enum viommu_model_verdict verdict =
        viommu_model_translate(fixture->model, endpoint, iova, write, &physical);

    fixture->probes++;
    if ((verdict == VIOMMU_MODEL_MAPPED || verdict == VIOMMU_MODEL_IDENTITY) &&
        !is_granted(fixture, endpoint, iova, write, physical)) {
        fail_msg("%s: endpoint 0x%" PRIx32 " can %s 0x%" PRIx64 " by 0x%" PRIx64
                 ", which it was not granted",
                 fixture->scene, endpoint, write ? "write" : "read", physical, iova);
    }
}

void viommu_fixture_probe(struct viommu_fixture *fixture)
{
    for (size_t i = 0; i < fixture->watched_count; i++) {
        for (size_t j = 0; j < fixture->look_count; j++) {
            try_access(fixture, fixture->watched[i], fixture->looks[j], false);
            try_access(fixture, fixture->watched[i], fixture->looks[j], true);
        }
    }
}

static void expect_access(struct viommu_fixture *fixture, const struct viommu_fixture_grant *grant,
                          uint64_t iova, bool write)
{
    uint64_t physical = 0;
    enum viommu_model_verdict verdict;
    uint8_t byte = 0;

    if ((grant->prot & (write ? PIOMMU_PROT_WRITE : PIOMMU_PROT_READ)) == 0) {
        return;
    }
    verdict = viommu_model_translate(fixture->model, grant->endpoint, iova, write, &physical);
    if ((verdict != VIOMMU_MODEL_MAPPED && verdict != VIOMMU_MODEL_IDENTITY) ||
        physical != grant->physical + (iova - grant->first)) {
        fail_msg("%s: endpoint 0x%" PRIx32 " cannot %s by 0x%" PRIx64 ", which it was granted",
                 fixture->scene, grant->endpoint, write ? "write" : "read", iova);
    }
    if (physical >= fixture->memory &&
        physical < fixture->memory + (uint64_t)VIOMMU_FIXTURE_PAGES * FAKE_OS_PAGE_SIZE) {
        assert_int_equal(viommu_model_dma(fixture->model, grant->endpoint, iova, &byte, 1, write),
                         1);
    }
}

void viommu_fixture_probe_exactly(struct viommu_fixture *fixture)
{
    viommu_fixture_probe(fixture);
    for (size_t i = 0; i < fixture->grant_count; i++) {
        const struct viommu_fixture_grant *grant = &fixture->grants[i];

        expect_access(fixture, grant, grant->first, false);
        expect_access(fixture, grant, grant->last, false);
        expect_access(fixture, grant, grant->first, true);
        expect_access(fixture, grant, grant->last, true);
    }
    viommu_fixture_probe(fixture);
}

void viommu_fixture_map(struct viommu_fixture *fixture, struct piommu_domain *domain, uint64_t iova,
                        uint64_t physical, uint64_t size, piommu_prot prot,
                        const uint32_t *endpoints)
{
    for (size_t i = 0; endpoints != NULL && endpoints[i] != UINT32_MAX; i++) {
        viommu_fixture_allow(fixture, endpoints[i], iova, physical, size, prot);
    }
    assert_int_equal(piommu_domain_map(domain, iova, physical, size, prot), 0);
    viommu_fixture_probe(fixture);
}

void viommu_fixture_unmap(struct viommu_fixture *fixture, struct piommu_domain *domain,
                          uint64_t iova, uint64_t size, const uint32_t *endpoints)
{
    struct piommu_gather gather;

    piommu_gather_init(&gather);
    assert_int_equal(piommu_domain_unmap(domain, iova, size, &gather, NULL), 0);
    assert_true(gather.pending);
    assert_int_equal(piommu_domain_sync(domain, &gather), 0);
    assert_false(gather.pending);
    for (size_t i = 0; endpoints != NULL && endpoints[i] != UINT32_MAX; i++) {
        viommu_fixture_forbid(fixture, endpoints[i], iova, size);
    }
    viommu_fixture_probe(fixture);
}
