/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Tests of the virtio-iommu model itself. The driver here is as raw as can be, with ring code of
 * its own, so that the model is not judged by the library that it is to judge.
 */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "virtio_iommu_model.h"

#define MEMORY_BASE UINT64_C(0x40000000)
#define MEMORY_SIZE 0x40000u

enum {
    QUEUE_SIZE = 64,
    RINGS = 0x0000,   /* 0x1000 for each queue */
    BUFFERS = 0x2000, /* 0x400 for each request slot */
    BUFFER_SIZE = 0x400,
    EVENTS = 0x30000, /* 32 for each event buffer */
    DATA = 0x38000,   /* what DMA reads and writes */

    COMMON_DEVICE_SELECT = 0,
    COMMON_DEVICE_FEATURES = 4,
    COMMON_DRIVER_SELECT = 8,
    COMMON_DRIVER_FEATURES = 12,
    COMMON_STATUS = 20,
    COMMON_GENERATION = 21,
    COMMON_QUEUE_SELECT = 22,
    COMMON_QUEUE_SIZE = 24,
    COMMON_QUEUE_ENABLE = 28,
    COMMON_NOTIFY_OFF = 30,
    COMMON_DESCRIPTORS = 32,
    COMMON_DRIVER = 40,
    COMMON_DEVICE = 48,

    READ = 1,
    WRITE = 2,

    ENDPOINT = 0x10,
    OTHER = 0x18,
    THIRD = 0x20, /* has an MSI window and a reserved region */
    STRANGER = 0x99,

    POISON = 0xee,
};

#define MSI_START      UINT64_C(0x08000000)
#define MSI_END        UINT64_C(0x080fffff)
#define RESERVED_START UINT64_C(0x10000000)
#define RESERVED_END   UINT64_C(0x10000fff)

struct ring {
    uint64_t base; /* descriptors at 0, available at 0x400, used at 0x600 */
    uint16_t available;
    uint16_t seen; /* used entries that were looked at */
};

struct raw {
    struct viommu_model_parameters parameters;
    struct viommu_model *model;
    struct ring rings[2];
    uint8_t memory[MEMORY_SIZE];
};

struct answer {
    uint32_t id;
    uint32_t length;
    uint8_t status;
};

/* ---- memory -------------------------------------------------------------------------------- */

static bool memory_read(void *ctx, uint64_t physical, void *buffer, size_t size)
{
    const struct raw *raw = ctx;

    if (physical < MEMORY_BASE || physical - MEMORY_BASE > MEMORY_SIZE ||
        size > MEMORY_SIZE - (physical - MEMORY_BASE)) {
        return false;
    }
    memcpy(buffer, raw->memory + (physical - MEMORY_BASE), size);
    return true;
}

static bool memory_write(void *ctx, uint64_t physical, const void *buffer, size_t size)
{
    struct raw *raw = ctx;

    if (physical < MEMORY_BASE || physical - MEMORY_BASE > MEMORY_SIZE ||
        size > MEMORY_SIZE - (physical - MEMORY_BASE)) {
        return false;
    }
    memcpy(raw->memory + (physical - MEMORY_BASE), buffer, size);
    return true;
}

static void put(uint8_t *at, unsigned int size, uint64_t value)
{
    for (unsigned int i = 0; i < size; i++) {
        at[i] = (uint8_t)(value >> (8 * i) & 0xff);
    }
}

static uint64_t get(const uint8_t *at, unsigned int size)
{
    uint64_t value = 0;

    for (unsigned int i = 0; i < size; i++) {
        value |= (uint64_t)at[i] << (8 * i);
    }
    return value;
}

/* ---- the raw driver ------------------------------------------------------------------------ */

static uint32_t common_read(struct raw *raw, uint64_t offset, unsigned int width)
{
    return viommu_model_mmio_read(raw->model, VIOMMU_MODEL_COMMON_OFFSET + offset, width);
}

static void common_write(struct raw *raw, uint64_t offset, unsigned int width, uint32_t value)
{
    viommu_model_mmio_write(raw->model, VIOMMU_MODEL_COMMON_OFFSET + offset, width, value);
}

static void set_status(struct raw *raw, uint8_t bits)
{
    common_write(raw, COMMON_STATUS, 1, common_read(raw, COMMON_STATUS, 1) | bits);
}

static void notify(struct raw *raw, unsigned int queue)
{
    viommu_model_mmio_write(
        raw->model, VIOMMU_MODEL_NOTIFY_OFFSET + (uint64_t)queue * VIOMMU_MODEL_NOTIFY_MULTIPLIER,
        2, queue);
}

static void write_bypass(struct raw *raw, uint8_t value)
{
    viommu_model_mmio_write(raw->model, VIOMMU_MODEL_DEVICE_OFFSET + 36, 1, value);
}

static void enable_device(struct raw *raw)
{
    viommu_model_config_write(raw->model, 4, 2, 6);
}

static void write_features(struct raw *raw, uint64_t features)
{
    common_write(raw, COMMON_DRIVER_SELECT, 4, 0);
    common_write(raw, COMMON_DRIVER_FEATURES, 4, (uint32_t)(features & UINT32_MAX));
    common_write(raw, COMMON_DRIVER_SELECT, 4, 1);
    common_write(raw, COMMON_DRIVER_FEATURES, 4, (uint32_t)(features >> 32));
}

static uint64_t read_features(struct raw *raw)
{
    uint64_t features;

    common_write(raw, COMMON_DEVICE_SELECT, 4, 0);
    features = common_read(raw, COMMON_DEVICE_FEATURES, 4);
    common_write(raw, COMMON_DEVICE_SELECT, 4, 1);
    return features | (uint64_t)common_read(raw, COMMON_DEVICE_FEATURES, 4) << 32;
}

/* Reset, ACKNOWLEDGE, DRIVER, features. Returns whether FEATURES_OK stayed. */
static bool negotiate(struct raw *raw, uint64_t features)
{
    enable_device(raw);
    common_write(raw, COMMON_STATUS, 1, 0);
    assert_int_equal(common_read(raw, COMMON_STATUS, 1), 0);
    set_status(raw, 1);
    set_status(raw, 2);
    write_features(raw, read_features(raw) & features);
    set_status(raw, 8);
    return (common_read(raw, COMMON_STATUS, 1) & 8) != 0;
}

static void write_address(struct raw *raw, uint64_t offset, uint64_t value)
{
    common_write(raw, offset, 4, (uint32_t)(value & UINT32_MAX));
    common_write(raw, offset + 4, 4, (uint32_t)(value >> 32));
}

static void set_queue(struct raw *raw, unsigned int number)
{
    struct ring *ring = &raw->rings[number];

    ring->base = MEMORY_BASE + RINGS + UINT64_C(0x1000) * number;
    ring->available = 0;
    ring->seen = 0;
    memset(raw->memory + RINGS + 0x1000u * number, 0, 0x1000);
    common_write(raw, COMMON_QUEUE_SELECT, 2, number);
    common_write(raw, COMMON_QUEUE_SIZE, 2, QUEUE_SIZE);
    write_address(raw, COMMON_DESCRIPTORS, ring->base);
    write_address(raw, COMMON_DRIVER, ring->base + 0x400);
    write_address(raw, COMMON_DEVICE, ring->base + 0x600);
    common_write(raw, COMMON_QUEUE_ENABLE, 2, 1);
}

static void start_with(struct raw *raw, uint64_t features)
{
    assert_true(negotiate(raw, features));
    set_queue(raw, 0);
    set_queue(raw, 1);
    set_status(raw, 4);
}

static void start(struct raw *raw)
{
    start_with(raw, UINT64_MAX);
}

static uint8_t *at(struct raw *raw, uint64_t physical)
{
    return raw->memory + (physical - MEMORY_BASE);
}

static void set_descriptor(struct raw *raw, unsigned int queue, unsigned int id, uint64_t address,
                           uint32_t length, uint16_t flags, uint16_t next)
{
    uint8_t *descriptor = at(raw, raw->rings[queue].base) + 16u * id;

    put(descriptor, 8, address);
    put(descriptor + 8, 4, length);
    put(descriptor + 12, 2, flags);
    put(descriptor + 14, 2, next);
}

static void publish(struct raw *raw, unsigned int queue, unsigned int head)
{
    struct ring *ring = &raw->rings[queue];
    uint8_t *available = at(raw, ring->base + 0x400);

    put(available + 4 + 2u * (ring->available % QUEUE_SIZE), 2, head);
    ring->available++;
    put(available + 2, 2, ring->available);
}

static bool next_used(struct raw *raw, unsigned int queue, struct answer *answer)
{
    struct ring *ring = &raw->rings[queue];
    const uint8_t *used = at(raw, ring->base + 0x600);
    const uint8_t *entry = used + 4 + 8u * (ring->seen % QUEUE_SIZE);

    if ((uint16_t)get(used + 2, 2) == ring->seen) {
        return false;
    }
    ring->seen++;
    answer->id = (uint32_t)get(entry, 4);
    answer->length = (uint32_t)get(entry + 4, 4);
    return true;
}

static uint64_t slot_address(unsigned int slot)
{
    return MEMORY_BASE + BUFFERS + (uint64_t)slot * BUFFER_SIZE;
}

/* Puts a request in a slot (descriptors 2 * slot and the next) and makes it available. */
static void post(struct raw *raw, unsigned int slot, const uint8_t *request, uint32_t readable,
                 uint32_t writable)
{
    uint64_t address = slot_address(slot);

    memset(at(raw, address), POISON, BUFFER_SIZE);
    memcpy(at(raw, address), request, readable);
    set_descriptor(raw, 0, 2 * slot, address, readable, 1, (uint16_t)(2 * slot + 1));
    set_descriptor(raw, 0, 2 * slot + 1, address + 128, writable, 2, 0);
    publish(raw, 0, 2 * slot);
}

/* Posts in slot 0, notifies and returns the answer, which has to be there. */
static struct answer ask(struct raw *raw, const uint8_t *request, uint32_t readable,
                         uint32_t writable)
{
    struct answer answer = {.status = 0};

    post(raw, 0, request, readable, writable);
    notify(raw, 0);
    assert_true(next_used(raw, 0, &answer));
    assert_int_equal(answer.id, 0);
    assert_int_equal(get(at(raw, raw->rings[0].base + 0x602), 2), raw->rings[0].seen);
    answer.status = *at(raw, slot_address(0) + 128 + writable - 4);
    return answer;
}

static void build_attach(uint8_t *request, uint32_t domain, uint32_t endpoint, uint32_t flags)
{
    memset(request, 0, 20);
    request[0] = VIOMMU_MODEL_ATTACH;
    put(request + 4, 4, domain);
    put(request + 8, 4, endpoint);
    put(request + 12, 4, flags);
}

static void build_detach(uint8_t *request, uint32_t domain, uint32_t endpoint)
{
    build_attach(request, domain, endpoint, 0);
    request[0] = VIOMMU_MODEL_DETACH;
}

static void build_map(uint8_t *request, uint32_t domain, uint64_t first, uint64_t last,
                      uint64_t physical, uint32_t flags)
{
    memset(request, 0, 36);
    request[0] = VIOMMU_MODEL_MAP;
    put(request + 4, 4, domain);
    put(request + 8, 8, first);
    put(request + 16, 8, last);
    put(request + 24, 8, physical);
    put(request + 32, 4, flags);
}

static void build_unmap(uint8_t *request, uint32_t domain, uint64_t first, uint64_t last)
{
    memset(request, 0, 28);
    request[0] = VIOMMU_MODEL_UNMAP;
    put(request + 4, 4, domain);
    put(request + 8, 8, first);
    put(request + 16, 8, last);
}

/* An honest answer of 4 bytes; returns its status. */
static int status_of(struct answer answer)
{
    assert_int_equal(answer.length, 4);
    return answer.status;
}

static int attach(struct raw *raw, uint32_t domain, uint32_t endpoint, uint32_t flags)
{
    uint8_t request[20];

    build_attach(request, domain, endpoint, flags);
    return status_of(ask(raw, request, sizeof request, 4));
}

static int detach(struct raw *raw, uint32_t domain, uint32_t endpoint)
{
    uint8_t request[20];

    build_detach(request, domain, endpoint);
    return status_of(ask(raw, request, sizeof request, 4));
}

static int map(struct raw *raw, uint32_t domain, uint64_t first, uint64_t last, uint64_t physical,
               uint32_t flags)
{
    uint8_t request[36];

    build_map(request, domain, first, last, physical, flags);
    return status_of(ask(raw, request, sizeof request, 4));
}

static int unmap(struct raw *raw, uint32_t domain, uint64_t first, uint64_t last)
{
    uint8_t request[28];

    build_unmap(request, domain, first, last);
    return status_of(ask(raw, request, sizeof request, 4));
}

static struct answer probe(struct raw *raw, uint32_t endpoint)
{
    uint8_t request[72] = {VIOMMU_MODEL_PROBE};

    put(request + 4, 4, endpoint);
    return ask(raw, request, sizeof request, raw->parameters.probe_size + 4);
}

static void post_event_buffer(struct raw *raw, unsigned int id, uint32_t size)
{
    memset(raw->memory + EVENTS + 32u * id, POISON, 32);
    set_descriptor(raw, 1, id, MEMORY_BASE + EVENTS + 32u * id, size, 2, 0);
    publish(raw, 1, id);
}

static void post_event_buffers(struct raw *raw, unsigned int count)
{
    for (unsigned int i = 0; i < count; i++) {
        post_event_buffer(raw, i, 24);
    }
    notify(raw, 1);
}

/* The next report, which must be a well-formed one. */
static const uint8_t *next_event(struct raw *raw)
{
    struct answer answer;
    const uint8_t *event;

    assert_true(next_used(raw, 1, &answer));
    assert_int_equal(answer.length, 24);
    assert_true(answer.id < QUEUE_SIZE);
    event = raw->memory + EVENTS + 32u * answer.id;
    assert_int_equal(get(event + 1, 3), 0);
    assert_int_equal(get(event + 12, 4), 0);
    return event;
}

static void expect_event(struct raw *raw, uint8_t reason, uint32_t flags, uint32_t endpoint,
                         uint64_t address)
{
    const uint8_t *event = next_event(raw);

    assert_int_equal(event[0], reason);
    assert_int_equal(get(event + 4, 4), flags);
    assert_int_equal(get(event + 8, 4), endpoint);
    assert_int_equal(get(event + 16, 8), address);
}

static enum viommu_model_verdict verdict(struct raw *raw, uint32_t endpoint, uint64_t iova,
                                         bool write)
{
    return viommu_model_translate(raw->model, endpoint, iova, write, NULL);
}

/* The test has provoked exactly one violation, whose text contains `part`. */
static void expect_violation(struct raw *raw, const char *part)
{
    const char *text = viommu_model_violation(raw->model, 0);

    if (viommu_model_violations(raw->model) != 1 || text == NULL || strstr(text, part) == NULL) {
        fail_msg("expected one violation with \"%s\", got %zu, first: %s", part,
                 viommu_model_violations(raw->model), text != NULL ? text : "none");
    }
    viommu_model_forget_violations(raw->model);
}

/* ---- set-up -------------------------------------------------------------------------------- */

static void make_model(struct raw *raw)
{
    static const struct viommu_model_region regions[] = {{MSI_START, MSI_END, 1},
                                                         {RESERVED_START, RESERVED_END, 0}};
    struct viommu_model_memory memory = {memory_read, memory_write, raw};

    viommu_model_destroy(raw->model);
    raw->model = viommu_model_create(&raw->parameters, memory);
    assert_non_null(raw->model);
    assert_true(viommu_model_add_endpoint(raw->model, ENDPOINT, NULL, 0));
    assert_true(viommu_model_add_endpoint(raw->model, OTHER, NULL, 0));
    assert_true(viommu_model_add_endpoint(raw->model, THIRD, regions, 2));
}

static int set_up(void **state)
{
    static struct raw raw;

    memset(&raw, 0, sizeof raw);
    viommu_model_default_parameters(&raw.parameters);
    raw.parameters.initial_bypass = 0;
    make_model(&raw);
    *state = &raw;
    return 0;
}

/* A violation that a test did not expect fails it. */
static int tear_down(void **state)
{
    struct raw *raw = *state;
    size_t violations = viommu_model_violations(raw->model);

    for (size_t i = 0; viommu_model_violation(raw->model, i) != NULL; i++) {
        print_error("violation: %s\n", viommu_model_violation(raw->model, i));
    }
    viommu_model_destroy(raw->model);
    raw->model = NULL;
    return violations == 0 ? 0 : -1;
}

/* ---- PCI ----------------------------------------------------------------------------------- */

static void test_model_is_found_by_its_pci_capabilities(void **state)
{
    struct raw *raw = *state;
    struct viommu_model *model = raw->model;
    unsigned int found[6] = {0};
    unsigned int at_offset;

    assert_int_equal(viommu_model_bdf(model), 0x0008);
    assert_int_equal(viommu_model_config_read(model, 0, 4), 0x10571af4);
    assert_true((viommu_model_config_read(model, 6, 2) & 0x10) != 0);
    at_offset = viommu_model_config_read(model, 0x34, 1);
    for (unsigned int i = 0; at_offset != 0; i++) {
        assert_true(i < 48);
        if (viommu_model_config_read(model, at_offset, 1) == 9) {
            unsigned int type = viommu_model_config_read(model, at_offset + 3, 1);

            assert_true(type >= 1 && type <= 5);
            found[type] = at_offset;
        }
        at_offset = viommu_model_config_read(model, at_offset + 1, 1);
    }
    for (unsigned int type = 1; type <= 5; type++) {
        assert_int_not_equal(found[type], 0);
    }
    for (unsigned int type = 1; type <= 4; type++) {
        static const uint32_t offsets[] = {0, 0, 0x3000, 0x1000, 0x2000};

        assert_int_equal(viommu_model_config_read(model, found[type] + 4, 1), 4);
        assert_int_equal(viommu_model_config_read(model, found[type] + 8, 4), offsets[type]);
    }
    assert_int_equal(viommu_model_config_read(model, found[4] + 12, 4), 40);
    assert_int_equal(viommu_model_config_read(model, found[2] + 16, 4), 4);
}

static void test_model_tells_the_size_of_its_bar(void **state)
{
    struct raw *raw = *state;
    struct viommu_model *model = raw->model;

    assert_int_equal(viommu_model_bar_size(model, 4), 0x4000);
    assert_int_equal(viommu_model_bar_size(model, 0), 0);
    viommu_model_config_write(model, 0x20, 4, UINT32_MAX);
    viommu_model_config_write(model, 0x24, 4, UINT32_MAX);
    assert_int_equal(viommu_model_config_read(model, 0x20, 4), 0xffffc00c);
    assert_int_equal(viommu_model_config_read(model, 0x24, 4), 0xffffffff);
    viommu_model_config_write(model, 0x20, 4, 0x10008000);
    viommu_model_config_write(model, 0x24, 4, 2);
    assert_int_equal(viommu_model_bar_address(model, 4), UINT64_C(0x210008000));
    viommu_model_config_write(model, 0x10, 4, UINT32_MAX);
    assert_int_equal(viommu_model_config_read(model, 0x10, 4), 0);
}

static void test_model_reads_as_all_ones_while_memory_decode_is_off(void **state)
{
    struct raw *raw = *state;

    assert_int_equal(common_read(raw, COMMON_STATUS, 1), 0xff);
    expect_violation(raw, "decode");
    enable_device(raw);
    assert_int_equal(common_read(raw, COMMON_STATUS, 1), 0);
}

static void test_model_opens_a_window_to_its_registers_in_config_space(void **state)
{
    struct raw *raw = *state;
    struct viommu_model *model = raw->model;

    enable_device(raw);
    viommu_model_config_write(model, 0x88, 1, 4);
    viommu_model_config_write(model, 0x8c, 4, COMMON_QUEUE_SIZE);
    viommu_model_config_write(model, 0x90, 4, 2);
    assert_int_equal(viommu_model_config_read(model, 0x94, 2), 256);
}

static void test_model_without_bus_master_touches_no_memory(void **state)
{
    struct raw *raw = *state;
    uint8_t request[20];
    struct answer answer;

    start(raw);
    build_attach(request, 1, ENDPOINT, 0);
    post(raw, 0, request, sizeof request, 4);
    viommu_model_config_write(raw->model, 4, 2, 2);
    notify(raw, 0);
    assert_false(next_used(raw, 0, &answer));
    expect_violation(raw, "bus master");
    enable_device(raw);
    notify(raw, 0);
    assert_true(next_used(raw, 0, &answer));
}

/* ---- starting ------------------------------------------------------------------------------ */

static void test_model_finds_no_fault_with_a_proper_start(void **state)
{
    struct raw *raw = *state;

    start(raw);
    assert_int_equal(viommu_model_status(raw->model), 0x0f);
    assert_int_equal(viommu_model_accepted_features(raw->model), raw->parameters.offered_features);
    assert_int_equal(viommu_model_counters(raw->model)->resets, 1);
    assert_int_equal(viommu_model_violations(raw->model), 0);
}

static void test_model_shows_its_config_in_32_bit_pieces(void **state)
{
    struct raw *raw = *state;
    uint8_t bytes[36];

    raw->parameters.page_size_mask = UINT64_C(0x1122334455667000);
    raw->parameters.input_start = 0x1000;
    raw->parameters.input_end = UINT64_C(0xfffffffff);
    raw->parameters.domain_start = 3;
    raw->parameters.domain_end = 0x10203;
    make_model(raw);
    start(raw);
    for (unsigned int i = 0; i < sizeof bytes; i += 4) {
        put(bytes + i, 4, viommu_model_mmio_read(raw->model, VIOMMU_MODEL_DEVICE_OFFSET + i, 4));
    }
    assert_true(get(bytes, 8) == raw->parameters.page_size_mask);
    assert_true(get(bytes + 8, 8) == 0x1000);
    assert_true(get(bytes + 16, 8) == UINT64_C(0xfffffffff));
    assert_int_equal(get(bytes + 24, 4), 3);
    assert_int_equal(get(bytes + 28, 4), 0x10203);
    assert_int_equal(get(bytes + 32, 4), 512);
    assert_int_equal(viommu_model_mmio_read(raw->model, VIOMMU_MODEL_DEVICE_OFFSET + 36, 1), 0);
    (void)viommu_model_mmio_read(raw->model, VIOMMU_MODEL_DEVICE_OFFSET + 36, 4);
    expect_violation(raw, "config read of 4 bytes");
    (void)viommu_model_mmio_read(raw->model, VIOMMU_MODEL_DEVICE_OFFSET + 4, 2);
    expect_violation(raw, "config read of 2 bytes");
    viommu_model_mmio_write(raw->model, VIOMMU_MODEL_DEVICE_OFFSET + 32, 4, 1);
    expect_violation(raw, "config write");
}

static void test_model_of_an_old_device_has_no_bypass_byte(void **state)
{
    struct raw *raw = *state;

    raw->parameters.config_length = 36;
    raw->parameters.offered_features &= ~VIOMMU_MODEL_F_BYPASS_CONFIG;
    make_model(raw);
    start(raw);
    (void)viommu_model_mmio_read(raw->model, VIOMMU_MODEL_DEVICE_OFFSET + 36, 1);
    expect_violation(raw, "no register");
}

static void test_model_records_a_start_without_reset(void **state)
{
    struct raw *raw = *state;

    enable_device(raw);
    common_write(raw, COMMON_STATUS, 1, 1);
    expect_violation(raw, "reset");
}

static void test_model_records_a_start_before_the_reset_was_seen_to_end(void **state)
{
    struct raw *raw = *state;

    start(raw);
    common_write(raw, COMMON_STATUS, 1, 0);
    common_write(raw, COMMON_STATUS, 1, 1);
    expect_violation(raw, "reset");
}

static void test_model_records_driver_before_acknowledge(void **state)
{
    struct raw *raw = *state;

    enable_device(raw);
    common_write(raw, COMMON_STATUS, 1, 0);
    (void)common_read(raw, COMMON_STATUS, 1);
    common_write(raw, COMMON_STATUS, 1, 3);
    expect_violation(raw, "ACKNOWLEDGE");
}

static void test_model_records_status_bits_that_vanish(void **state)
{
    struct raw *raw = *state;

    assert_true(negotiate(raw, UINT64_MAX));
    common_write(raw, COMMON_STATUS, 1, 2);
    expect_violation(raw, "cleared");
    assert_int_equal(viommu_model_status(raw->model), 0x0b);
}

static void test_model_records_features_that_were_not_offered(void **state)
{
    struct raw *raw = *state;

    enable_device(raw);
    common_write(raw, COMMON_STATUS, 1, 0);
    (void)common_read(raw, COMMON_STATUS, 1);
    set_status(raw, 1);
    set_status(raw, 2);
    write_features(raw, raw->parameters.offered_features | VIOMMU_MODEL_F_EVENT_IDX);
    set_status(raw, 8);
    expect_violation(raw, "not offered");
    assert_int_equal(common_read(raw, COMMON_STATUS, 1), 3);
}

static void test_model_records_features_without_version_1(void **state)
{
    struct raw *raw = *state;

    assert_false(negotiate(raw, UINT32_MAX));
    expect_violation(raw, "VERSION_1");
}

static void test_model_records_features_that_change_the_ring(void **state)
{
    struct raw *raw = *state;

    raw->parameters.offered_features |= VIOMMU_MODEL_F_RING_PACKED;
    make_model(raw);
    assert_false(negotiate(raw, UINT64_MAX));
    expect_violation(raw, "0x400000000");
}

static void test_model_refuses_features_when_it_demands_others(void **state)
{
    struct raw *raw = *state;

    raw->parameters.offered_features |= VIOMMU_MODEL_F_ACCESS_PLATFORM;
    raw->parameters.demanded_features |= VIOMMU_MODEL_F_ACCESS_PLATFORM;
    make_model(raw);
    assert_false(negotiate(raw, ~VIOMMU_MODEL_F_ACCESS_PLATFORM));
    assert_true(negotiate(raw, UINT64_MAX));
}

static void test_model_records_driver_ok_without_rereading_features_ok(void **state)
{
    struct raw *raw = *state;

    assert_true(negotiate(raw, UINT64_MAX));
    common_write(raw, COMMON_STATUS, 1, 0);
    (void)common_read(raw, COMMON_STATUS, 1);
    common_write(raw, COMMON_STATUS, 1, 1);
    common_write(raw, COMMON_STATUS, 1, 3);
    write_features(raw, raw->parameters.offered_features);
    common_write(raw, COMMON_STATUS, 1, 0x0b);
    set_queue(raw, 0);
    common_write(raw, COMMON_STATUS, 1, 0x0f);
    expect_violation(raw, "re-read");
}

static void test_model_records_driver_ok_without_a_request_queue(void **state)
{
    struct raw *raw = *state;

    assert_true(negotiate(raw, UINT64_MAX));
    set_status(raw, 4);
    expect_violation(raw, "request queue");
}

static void test_model_records_queue_registers_touched_at_the_wrong_time(void **state)
{
    struct raw *raw = *state;

    enable_device(raw);
    common_write(raw, COMMON_QUEUE_SIZE, 2, 64);
    expect_violation(raw, "before FEATURES_OK");
    assert_true(negotiate(raw, UINT64_MAX));
    set_queue(raw, 0);
    common_write(raw, COMMON_DESCRIPTORS, 4, 0);
    expect_violation(raw, "while the queue is on");
    set_status(raw, 4);
    common_write(raw, COMMON_QUEUE_SELECT, 2, 1);
    common_write(raw, COMMON_QUEUE_SIZE, 2, 64);
    expect_violation(raw, "after DRIVER_OK");
}

static void test_model_records_bad_queue_settings(void **state)
{
    struct raw *raw = *state;

    assert_true(negotiate(raw, UINT64_MAX));
    common_write(raw, COMMON_QUEUE_SIZE, 2, 48);
    expect_violation(raw, "queue size 48");
    common_write(raw, COMMON_QUEUE_SIZE, 2, 512);
    expect_violation(raw, "queue size 512");
    common_write(raw, COMMON_QUEUE_SIZE, 2, 64);
    write_address(raw, COMMON_DESCRIPTORS, MEMORY_BASE + 8);
    write_address(raw, COMMON_DRIVER, MEMORY_BASE + 0x400);
    write_address(raw, COMMON_DEVICE, MEMORY_BASE + 0x600);
    common_write(raw, COMMON_QUEUE_ENABLE, 2, 1);
    expect_violation(raw, "aligned");
    write_address(raw, COMMON_DESCRIPTORS, 0x1000);
    common_write(raw, COMMON_QUEUE_ENABLE, 2, 1);
    expect_violation(raw, "not in memory");
    write_address(raw, COMMON_DESCRIPTORS, MEMORY_BASE);
    common_write(raw, COMMON_QUEUE_ENABLE, 2, 0);
    expect_violation(raw, "queue_enable");
    common_write(raw, COMMON_QUEUE_ENABLE, 2, 1);
    assert_int_equal(common_read(raw, COMMON_QUEUE_ENABLE, 2), 1);
}

static void test_model_records_accesses_of_the_wrong_width(void **state)
{
    struct raw *raw = *state;

    enable_device(raw);
    (void)common_read(raw, COMMON_STATUS, 4);
    expect_violation(raw, "4 bytes at offset 20");
    common_write(raw, COMMON_QUEUE_SELECT, 4, 0);
    expect_violation(raw, "4 bytes");
    (void)viommu_model_mmio_read(raw->model, VIOMMU_MODEL_ISR_OFFSET, 4);
    expect_violation(raw, "no register");
    (void)viommu_model_mmio_read(raw->model, 0x800, 4);
    expect_violation(raw, "no register");
}

static void test_model_records_notifications_that_come_too_early_or_are_malformed(void **state)
{
    struct raw *raw = *state;

    assert_true(negotiate(raw, UINT64_MAX));
    set_queue(raw, 0);
    notify(raw, 0);
    expect_violation(raw, "before DRIVER_OK");
    set_status(raw, 4);
    notify(raw, 1);
    expect_violation(raw, "which is off");
    viommu_model_mmio_write(raw->model, VIOMMU_MODEL_NOTIFY_OFFSET, 4, 0);
    expect_violation(raw, "4 bytes");
    viommu_model_mmio_write(raw->model, VIOMMU_MODEL_NOTIFY_OFFSET, 2, 1);
    expect_violation(raw, "notification of 1");
    notify(raw, 0); /* one without a new buffer is fine */
}

/* ---- domains ------------------------------------------------------------------------------- */

static void test_model_creates_a_domain_with_the_first_attach(void **state)
{
    struct raw *raw = *state;
    uint32_t domain = 0;

    start(raw);
    assert_false(viommu_model_domain_of(raw->model, ENDPOINT, &domain));
    assert_int_equal(attach(raw, 5, ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    assert_true(viommu_model_domain_exists(raw->model, 5));
    assert_true(viommu_model_domain_of(raw->model, ENDPOINT, &domain));
    assert_int_equal(domain, 5);
    assert_int_equal(viommu_model_counters(raw->model)->requests[VIOMMU_MODEL_ATTACH], 1);
    assert_int_equal(viommu_model_counters(raw->model)->doorbells[0], 1);
}

static void test_model_refuses_attach_by_the_specification(void **state)
{
    struct raw *raw = *state;
    uint8_t request[20];

    start(raw);
    assert_int_equal(attach(raw, 1, STRANGER, 0), VIOMMU_MODEL_S_NOENT);
    assert_int_equal(attach(raw, 1, ENDPOINT, 2), VIOMMU_MODEL_S_INVAL);
    expect_violation(raw, "unknown flags");
    build_attach(request, 1, ENDPOINT, 0);
    request[19] = 1;
    assert_int_equal(ask(raw, request, 20, 4).status, VIOMMU_MODEL_S_INVAL);
    expect_violation(raw, "reserved");
    assert_int_equal(viommu_model_domain_count(raw->model), 0);
    assert_int_equal(attach(raw, 1, ENDPOINT, 1), VIOMMU_MODEL_S_OK);
    assert_int_equal(attach(raw, 1, OTHER, 0), VIOMMU_MODEL_S_INVAL);
    assert_int_equal(attach(raw, 1, OTHER, 1), VIOMMU_MODEL_S_OK);
}

static void test_model_drops_mappings_when_the_last_endpoint_leaves_the_domain(void **state)
{
    struct raw *raw = *state;

    start(raw);
    assert_int_equal(attach(raw, 1, ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    assert_int_equal(attach(raw, 1, OTHER, 0), VIOMMU_MODEL_S_OK);
    assert_int_equal(map(raw, 1, 0x1000, 0x1fff, MEMORY_BASE, READ), VIOMMU_MODEL_S_OK);
    assert_int_equal(detach(raw, 1, ENDPOINT), VIOMMU_MODEL_S_OK);
    assert_int_equal(verdict(raw, ENDPOINT, 0x1000, false), VIOMMU_MODEL_BLOCKED);
    assert_int_equal(verdict(raw, OTHER, 0x1000, false), VIOMMU_MODEL_MAPPED);
    assert_int_equal(detach(raw, 1, OTHER), VIOMMU_MODEL_S_OK);
    assert_false(viommu_model_domain_exists(raw->model, 1));
    assert_int_equal(map(raw, 1, 0x1000, 0x1fff, MEMORY_BASE, READ), VIOMMU_MODEL_S_NOENT);
    assert_int_equal(attach(raw, 1, ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    assert_int_equal(viommu_model_mapping_count(raw->model, 1), 0);
}

static void test_model_drops_mappings_when_the_last_endpoint_moves_away(void **state)
{
    struct raw *raw = *state;

    start(raw);
    assert_int_equal(attach(raw, 1, ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    assert_int_equal(map(raw, 1, 0x1000, 0x1fff, MEMORY_BASE, READ), VIOMMU_MODEL_S_OK);
    assert_int_equal(attach(raw, 2, ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    assert_false(viommu_model_domain_exists(raw->model, 1));
    assert_int_equal(verdict(raw, ENDPOINT, 0x1000, false), VIOMMU_MODEL_BLOCKED);
}

static void test_model_records_an_attach_to_the_same_domain_and_loses_the_mappings(void **state)
{
    struct raw *raw = *state;

    start(raw);
    assert_int_equal(attach(raw, 1, ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    assert_int_equal(map(raw, 1, 0x1000, 0x1fff, MEMORY_BASE, READ), VIOMMU_MODEL_S_OK);
    assert_int_equal(attach(raw, 1, ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    expect_violation(raw, "its own domain");
    assert_true(viommu_model_domain_exists(raw->model, 1));
    assert_int_equal(viommu_model_mapping_count(raw->model, 1), 0);
}

static void test_model_may_keep_mappings_on_an_attach_to_the_same_domain(void **state)
{
    struct raw *raw = *state;

    raw->parameters.keep_on_reattach = true;
    make_model(raw);
    start(raw);
    assert_int_equal(attach(raw, 1, ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    assert_int_equal(map(raw, 1, 0x1000, 0x1fff, MEMORY_BASE, READ), VIOMMU_MODEL_S_OK);
    assert_int_equal(attach(raw, 1, ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    expect_violation(raw, "its own domain");
    assert_int_equal(viommu_model_mapping_count(raw->model, 1), 1);
}

static void test_model_may_not_support_moving_and_sharing(void **state)
{
    struct raw *raw = *state;

    raw->parameters.no_move = true;
    raw->parameters.one_endpoint = true;
    make_model(raw);
    start(raw);
    assert_int_equal(attach(raw, 1, ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    assert_int_equal(attach(raw, 1, OTHER, 0), VIOMMU_MODEL_S_UNSUPP);
    assert_int_equal(attach(raw, 2, ENDPOINT, 0), VIOMMU_MODEL_S_UNSUPP);
    assert_int_equal(detach(raw, 1, ENDPOINT), VIOMMU_MODEL_S_OK);
    assert_int_equal(attach(raw, 2, ENDPOINT, 0), VIOMMU_MODEL_S_OK);
}

static void test_model_runs_out_of_domains_and_mappings_when_told_to(void **state)
{
    struct raw *raw = *state;

    raw->parameters.max_domains = 1;
    raw->parameters.max_mappings = 1;
    make_model(raw);
    start(raw);
    assert_int_equal(attach(raw, 1, ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    assert_int_equal(attach(raw, 2, OTHER, 0), VIOMMU_MODEL_S_NOMEM);
    assert_int_equal(attach(raw, 2, ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    assert_int_equal(map(raw, 2, 0, 0xfff, MEMORY_BASE, READ), VIOMMU_MODEL_S_OK);
    assert_int_equal(map(raw, 2, 0x1000, 0x1fff, MEMORY_BASE, READ), VIOMMU_MODEL_S_NOMEM);
}

static void test_model_detaches_by_the_specification(void **state)
{
    struct raw *raw = *state;
    uint8_t request[20];

    start(raw);
    assert_int_equal(detach(raw, 1, STRANGER), VIOMMU_MODEL_S_NOENT);
    assert_int_equal(detach(raw, 1, ENDPOINT), VIOMMU_MODEL_S_INVAL);
    assert_int_equal(attach(raw, 1, ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    assert_int_equal(detach(raw, 2, ENDPOINT), VIOMMU_MODEL_S_INVAL);
    build_detach(request, 1, ENDPOINT);
    request[12] = 1; /* ignored by the device, but not the driver's to set */
    assert_int_equal(ask(raw, request, 20, 4).status, VIOMMU_MODEL_S_OK);
    expect_violation(raw, "reserved");
}

static void test_model_keeps_domains_in_their_range(void **state)
{
    struct raw *raw = *state;

    raw->parameters.domain_start = 2;
    raw->parameters.domain_end = 3;
    make_model(raw);
    start(raw);
    assert_int_equal(attach(raw, 1, ENDPOINT, 0), VIOMMU_MODEL_S_RANGE);
    expect_violation(raw, "domain_range");
    assert_int_equal(attach(raw, 4, ENDPOINT, 0), VIOMMU_MODEL_S_RANGE);
    expect_violation(raw, "domain_range");
    assert_int_equal(attach(raw, 2, ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    assert_int_equal(attach(raw, 3, ENDPOINT, 0), VIOMMU_MODEL_S_OK);
}

/* ---- mappings ------------------------------------------------------------------------------ */

static void test_model_refuses_map_by_the_specification(void **state)
{
    struct raw *raw = *state;

    start(raw);
    assert_int_equal(attach(raw, 1, ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    assert_int_equal(attach(raw, 2, OTHER, 1), VIOMMU_MODEL_S_OK);
    assert_int_equal(map(raw, 3, 0, 0xfff, 0, READ), VIOMMU_MODEL_S_NOENT);
    assert_int_equal(map(raw, 2, 0, 0xfff, 0, READ), VIOMMU_MODEL_S_INVAL);
    assert_int_equal(map(raw, 1, 0x1000, 0x2fff, 0, READ), VIOMMU_MODEL_S_OK);
    assert_int_equal(map(raw, 1, 0x1000, 0x2fff, 0, READ), VIOMMU_MODEL_S_INVAL);
    assert_int_equal(map(raw, 1, 0x2000, 0x3fff, 0, READ), VIOMMU_MODEL_S_INVAL);
    assert_int_equal(map(raw, 1, 0, 0x1fff, 0, READ), VIOMMU_MODEL_S_INVAL);
    assert_int_equal(map(raw, 1, 0, 0x4fff, 0, READ), VIOMMU_MODEL_S_INVAL);
    assert_int_equal(map(raw, 1, 0, 0xfff, 0, READ), VIOMMU_MODEL_S_OK);
    assert_int_equal(map(raw, 1, 0x3000, 0x3fff, 0, READ | WRITE | 4), VIOMMU_MODEL_S_OK);
    assert_int_equal(viommu_model_violations(raw->model), 0);

    assert_int_equal(map(raw, 1, 0x4000, 0x4fff, 0, 8), VIOMMU_MODEL_S_INVAL);
    expect_violation(raw, "unknown flags");
    assert_int_equal(map(raw, 1, 0x5000, 0x4fff, 0, READ), VIOMMU_MODEL_S_INVAL);
    expect_violation(raw, "not a range");
    assert_int_equal(map(raw, 1, 0x4800, 0x4fff, 0, READ), VIOMMU_MODEL_S_RANGE);
    expect_violation(raw, "unaligned");
    assert_int_equal(map(raw, 1, 0x4000, 0x47ff, 0, READ), VIOMMU_MODEL_S_RANGE);
    expect_violation(raw, "unaligned");
    assert_int_equal(map(raw, 1, 0x4000, 0x4fff, 0x800, READ), VIOMMU_MODEL_S_RANGE);
    expect_violation(raw, "unaligned");
    assert_int_equal(map(raw, 1, 0x4000, 0x5fff, UINT64_C(0xfffffffffffff000), READ),
                     VIOMMU_MODEL_S_RANGE);
    expect_violation(raw, "wraps");
    assert_int_equal(viommu_model_mapping_count(raw->model, 1), 3);
}

static void test_model_maps_the_whole_address_space(void **state)
{
    struct raw *raw = *state;
    uint64_t physical = 0;

    start(raw);
    assert_int_equal(attach(raw, 1, ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    assert_int_equal(map(raw, 1, 0, UINT64_MAX, 0, READ | WRITE), VIOMMU_MODEL_S_OK);
    assert_int_equal(viommu_model_translate(raw->model, ENDPOINT, UINT64_MAX, true, &physical),
                     VIOMMU_MODEL_MAPPED);
    assert_true(physical == UINT64_MAX);
    assert_int_equal(unmap(raw, 1, 0, UINT64_MAX), VIOMMU_MODEL_S_OK);
    assert_int_equal(verdict(raw, ENDPOINT, 0, false), VIOMMU_MODEL_BLOCKED);
}

static void test_model_keeps_mappings_in_the_input_range(void **state)
{
    struct raw *raw = *state;

    raw->parameters.input_start = 0x1000;
    raw->parameters.input_end = 0xffff;
    make_model(raw);
    start(raw);
    assert_int_equal(attach(raw, 1, ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    assert_int_equal(map(raw, 1, 0x1000, 0xffff, 0, READ), VIOMMU_MODEL_S_OK);
    assert_int_equal(unmap(raw, 1, 0, UINT64_MAX), VIOMMU_MODEL_S_OK);
    assert_int_equal(map(raw, 1, 0, 0x1fff, 0, READ), VIOMMU_MODEL_S_RANGE);
    expect_violation(raw, "input_range");
    assert_int_equal(map(raw, 1, 0xf000, 0x10fff, 0, READ), VIOMMU_MODEL_S_RANGE);
    expect_violation(raw, "input_range");
}

static void test_model_records_mappings_over_reserved_regions(void **state)
{
    struct raw *raw = *state;

    start(raw);
    assert_int_equal(attach(raw, 1, THIRD, 0), VIOMMU_MODEL_S_OK);
    assert_int_equal(map(raw, 1, MSI_END - 0xfff, MSI_END, 0, WRITE), VIOMMU_MODEL_S_INVAL);
    expect_violation(raw, "reserved region");
    assert_int_equal(map(raw, 1, RESERVED_START - 0x1000, RESERVED_END + 0x1000, 0, WRITE),
                     VIOMMU_MODEL_S_INVAL);
    expect_violation(raw, "reserved region");
    assert_int_equal(map(raw, 1, MSI_END + 1, RESERVED_START - 1, 0, WRITE), VIOMMU_MODEL_S_OK);
}

static void test_model_knows_the_last_byte_of_a_reserved_region(void **state)
{
    struct raw *raw = *state;

    raw->parameters.page_size_mask = UINT64_MAX;
    make_model(raw);
    start(raw);
    assert_int_equal(attach(raw, 1, THIRD, 0), VIOMMU_MODEL_S_OK);
    assert_int_equal(map(raw, 1, RESERVED_END, RESERVED_END + 1, 0, WRITE), VIOMMU_MODEL_S_INVAL);
    expect_violation(raw, "reserved region");
    assert_int_equal(map(raw, 1, RESERVED_START - 1, RESERVED_START, 0, WRITE),
                     VIOMMU_MODEL_S_INVAL);
    expect_violation(raw, "reserved region");
    assert_int_equal(map(raw, 1, RESERVED_END + 1, RESERVED_END + 2, 0, WRITE), VIOMMU_MODEL_S_OK);
}

static void test_model_refuses_to_attach_where_a_mapping_lies_in_a_reserved_region(void **state)
{
    struct raw *raw = *state;

    start(raw);
    assert_int_equal(attach(raw, 1, ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    assert_int_equal(map(raw, 1, MSI_START, MSI_START + 0xfff, 0, WRITE), VIOMMU_MODEL_S_OK);
    assert_int_equal(attach(raw, 1, THIRD, 0), VIOMMU_MODEL_S_UNSUPP);
}

static void prepare_unmap(struct raw *raw)
{
    raw->parameters.page_size_mask = UINT64_MAX; /* the examples count in bytes */
    make_model(raw);
    start(raw);
    assert_int_equal(attach(raw, 1, ENDPOINT, 0), VIOMMU_MODEL_S_OK);
}

static int map_bytes(struct raw *raw, uint64_t first, uint64_t last)
{
    return map(raw, 1, first, last, MEMORY_BASE + first, READ);
}

static void test_model_unmap_example_1_nothing_is_mapped(void **state)
{
    struct raw *raw = *state;

    prepare_unmap(raw);
    assert_int_equal(unmap(raw, 1, 0, 4), VIOMMU_MODEL_S_OK);
}

static void test_model_unmap_example_2_one_whole_mapping(void **state)
{
    struct raw *raw = *state;

    prepare_unmap(raw);
    assert_int_equal(map_bytes(raw, 0, 9), VIOMMU_MODEL_S_OK);
    assert_int_equal(unmap(raw, 1, 0, 9), VIOMMU_MODEL_S_OK);
    assert_int_equal(viommu_model_mapping_count(raw->model, 1), 0);
}

static void test_model_unmap_example_3_two_whole_mappings(void **state)
{
    struct raw *raw = *state;

    prepare_unmap(raw);
    assert_int_equal(map_bytes(raw, 0, 4), VIOMMU_MODEL_S_OK);
    assert_int_equal(map_bytes(raw, 5, 9), VIOMMU_MODEL_S_OK);
    assert_int_equal(unmap(raw, 1, 0, 9), VIOMMU_MODEL_S_OK);
    assert_int_equal(viommu_model_mapping_count(raw->model, 1), 0);
}

static void test_model_unmap_example_4_a_cut_fails_and_removes_nothing(void **state)
{
    struct raw *raw = *state;

    prepare_unmap(raw);
    assert_int_equal(map_bytes(raw, 0, 9), VIOMMU_MODEL_S_OK);
    assert_int_equal(unmap(raw, 1, 0, 4), VIOMMU_MODEL_S_RANGE);
    expect_violation(raw, "cuts");
    assert_int_equal(viommu_model_mapping_count(raw->model, 1), 1);
    for (uint64_t i = 0; i < 10; i++) {
        assert_int_equal(verdict(raw, ENDPOINT, i, false), VIOMMU_MODEL_MAPPED);
    }
}

static void test_model_unmap_example_5_the_first_of_two(void **state)
{
    struct raw *raw = *state;

    prepare_unmap(raw);
    assert_int_equal(map_bytes(raw, 0, 4), VIOMMU_MODEL_S_OK);
    assert_int_equal(map_bytes(raw, 5, 9), VIOMMU_MODEL_S_OK);
    assert_int_equal(unmap(raw, 1, 0, 4), VIOMMU_MODEL_S_OK);
    assert_int_equal(verdict(raw, ENDPOINT, 4, false), VIOMMU_MODEL_BLOCKED);
    assert_int_equal(verdict(raw, ENDPOINT, 5, false), VIOMMU_MODEL_MAPPED);
}

static void test_model_unmap_example_6_more_than_is_mapped(void **state)
{
    struct raw *raw = *state;

    prepare_unmap(raw);
    assert_int_equal(map_bytes(raw, 0, 4), VIOMMU_MODEL_S_OK);
    assert_int_equal(unmap(raw, 1, 0, 9), VIOMMU_MODEL_S_OK);
    assert_int_equal(viommu_model_mapping_count(raw->model, 1), 0);
}

static void test_model_unmap_example_7_two_mappings_with_a_hole(void **state)
{
    struct raw *raw = *state;

    prepare_unmap(raw);
    assert_int_equal(map_bytes(raw, 0, 4), VIOMMU_MODEL_S_OK);
    assert_int_equal(map_bytes(raw, 10, 14), VIOMMU_MODEL_S_OK);
    assert_int_equal(unmap(raw, 1, 0, 14), VIOMMU_MODEL_S_OK);
    assert_int_equal(viommu_model_mapping_count(raw->model, 1), 0);
}

static void test_model_refuses_unmap_by_the_specification(void **state)
{
    struct raw *raw = *state;
    uint8_t request[28];

    start(raw);
    assert_int_equal(attach(raw, 1, ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    assert_int_equal(attach(raw, 2, OTHER, 1), VIOMMU_MODEL_S_OK);
    assert_int_equal(unmap(raw, 3, 0, 0xfff), VIOMMU_MODEL_S_NOENT);
    assert_int_equal(unmap(raw, 2, 0, 0xfff), VIOMMU_MODEL_S_INVAL);
    assert_int_equal(unmap(raw, 1, 0x2000, 0xfff), VIOMMU_MODEL_S_INVAL);
    expect_violation(raw, "not a range");
    assert_int_equal(unmap(raw, 1, 0, 0x1ffe), VIOMMU_MODEL_S_OK);
    expect_violation(raw, "unaligned");
    assert_int_equal(map(raw, 1, 0, 0xfff, 0, READ), VIOMMU_MODEL_S_OK);
    build_unmap(request, 1, 0, 0xfff);
    request[27] = 1;
    assert_int_equal(ask(raw, request, 28, 4).status, VIOMMU_MODEL_S_INVAL);
    expect_violation(raw, "reserved");
    assert_int_equal(viommu_model_mapping_count(raw->model, 1), 0);
}

static void test_model_keeps_all_or_removes_some_when_an_unmap_cuts(void **state)
{
    struct raw *raw = *state;

    prepare_unmap(raw);
    assert_int_equal(map_bytes(raw, 0, 4), VIOMMU_MODEL_S_OK);
    assert_int_equal(map_bytes(raw, 5, 9), VIOMMU_MODEL_S_OK);
    assert_int_equal(unmap(raw, 1, 0, 7), VIOMMU_MODEL_S_RANGE);
    assert_int_equal(viommu_model_mapping_count(raw->model, 1), 2);
    expect_violation(raw, "cuts");

    raw->parameters.partial_unmap = true;
    prepare_unmap(raw);
    assert_int_equal(map_bytes(raw, 0, 4), VIOMMU_MODEL_S_OK);
    assert_int_equal(map_bytes(raw, 5, 9), VIOMMU_MODEL_S_OK);
    assert_int_equal(unmap(raw, 1, 0, 7), VIOMMU_MODEL_S_RANGE);
    assert_int_equal(viommu_model_mapping_count(raw->model, 1), 1);
    expect_violation(raw, "cuts");
}

/* A table with one entry for each byte, against the model's sorted intervals. */
static void test_model_agrees_with_a_table_of_bytes(void **state)
{
    struct raw *raw = *state;
    uint64_t table[64] = {0}; /* physical address, 0 if unmapped */
    unsigned int owner[64] = {0};
    uint32_t random = 12345;

    prepare_unmap(raw);
    for (unsigned int step = 1; step <= 20000; step++) {
        uint64_t first;
        uint64_t last;
        bool is_map;
        bool bad = false;

        random = random * 1664525 + 1013904223;
        first = random >> 26;
        last = first + 1 + (random >> 20) % 12;
        is_map = (random >> 19) % 2 != 0;
        if (last > 63) {
            continue;
        }
        for (uint64_t i = 0; i < 64; i++) {
            bool inside = i >= first && i <= last;

            if (is_map) {
                bad = bad || (inside && table[i] != 0);
            } else if (inside && table[i] != 0) {
                bad = bad || (i == first && first > 0 && owner[first - 1] == owner[first]) ||
                      (i == last && last < 63 && owner[last + 1] == owner[last]);
            }
        }
        if (is_map) {
            assert_int_equal(map_bytes(raw, first, last),
                             bad ? VIOMMU_MODEL_S_INVAL : VIOMMU_MODEL_S_OK);
        } else {
            assert_int_equal(unmap(raw, 1, first, last),
                             bad ? VIOMMU_MODEL_S_RANGE : VIOMMU_MODEL_S_OK);
        }
        for (uint64_t i = first; !bad && i <= last; i++) {
            table[i] = is_map ? MEMORY_BASE + i : 0;
            owner[i] = is_map ? step : 0;
        }
        for (uint64_t i = 0; i < 64; i++) {
            uint64_t physical = 0;

            (void)viommu_model_translate(raw->model, ENDPOINT, i, false, &physical);
            assert_true(physical == table[i]);
        }
    }
    viommu_model_forget_violations(raw->model);
}

/* ---- probing, framing ---------------------------------------------------------------------- */

static void test_model_probes_regions(void **state)
{
    struct raw *raw = *state;
    struct answer answer;
    const uint8_t *bytes = at(raw, slot_address(0) + 128);

    start(raw);
    answer = probe(raw, THIRD);
    assert_int_equal(answer.length, 516);
    assert_int_equal(answer.status, VIOMMU_MODEL_S_OK);
    assert_int_equal(get(bytes, 2), 1);
    assert_int_equal(get(bytes + 2, 2), 20);
    assert_int_equal(bytes[4], 1);
    assert_true(get(bytes + 8, 8) == MSI_START);
    assert_true(get(bytes + 16, 8) == MSI_END);
    assert_int_equal(bytes[28], 0);
    assert_true(get(bytes + 32, 8) == RESERVED_START);
    assert_true(get(bytes + 40, 8) == RESERVED_END);
    for (unsigned int i = 48; i < 512; i++) {
        assert_int_equal(bytes[i], 0);
    }
    answer = probe(raw, STRANGER);
    assert_int_equal(answer.status, VIOMMU_MODEL_S_NOENT);
    assert_int_equal(answer.length, 516);
}

static void test_model_probe_can_lie(void **state)
{
    struct raw *raw = *state;
    uint8_t lie[600];

    start(raw);
    memset(lie, 0x5a, sizeof lie);
    assert_true(viommu_model_set_probe_bytes(raw->model, ENDPOINT, lie, sizeof lie));
    assert_int_equal(probe(raw, ENDPOINT).status, VIOMMU_MODEL_S_OK);
    assert_memory_equal(at(raw, slot_address(0) + 128), lie, 512);
    assert_true(viommu_model_set_probe_bytes(raw->model, ENDPOINT, NULL, 0));
    assert_int_equal(probe(raw, ENDPOINT).status, VIOMMU_MODEL_S_OK);
    assert_int_equal(*at(raw, slot_address(0) + 128), 0);
    assert_false(viommu_model_set_probe_bytes(raw->model, STRANGER, lie, 1));
}

static void test_model_records_a_probe_with_reserved_bytes(void **state)
{
    struct raw *raw = *state;
    uint8_t request[72] = {VIOMMU_MODEL_PROBE};

    start(raw);
    put(request + 4, 4, ENDPOINT);
    request[71] = 1;
    assert_int_equal(ask(raw, request, sizeof request, 516).length, 516);
    expect_violation(raw, "reserved");
}

static void test_model_answers_a_short_probe_buffer_without_properties(void **state)
{
    struct raw *raw = *state;
    uint8_t request[72] = {VIOMMU_MODEL_PROBE};
    struct answer answer;

    start(raw);
    put(request + 4, 4, THIRD);
    answer = ask(raw, request, sizeof request, 104);
    assert_int_equal(answer.status, VIOMMU_MODEL_S_INVAL);
    assert_int_equal(*at(raw, slot_address(0) + 128), 0);
    expect_violation(raw, "writable");
}

static void test_model_answers_an_unknown_type_with_used_length_0(void **state)
{
    struct raw *raw = *state;
    uint8_t request[20] = {9};
    struct answer answer;

    start(raw);
    answer = ask(raw, request, sizeof request, 4);
    assert_int_equal(answer.length, 0);
    assert_int_equal(answer.status, POISON);
    assert_int_equal(viommu_model_counters(raw->model)->empty_answers, 1);
    assert_int_equal(viommu_model_counters(raw->model)->requests[0], 1);
    expect_violation(raw, "unknown type 9");
}

static void test_model_answers_an_unnegotiated_type_with_used_length_0(void **state)
{
    struct raw *raw = *state;

    start_with(raw, ~VIOMMU_MODEL_F_PROBE);
    assert_int_equal(probe(raw, ENDPOINT).length, 0);
    expect_violation(raw, "PROBE without PROBE");
}

static void test_model_records_bad_lengths_but_reads_what_it_can(void **state)
{
    struct raw *raw = *state;
    uint8_t request[40];
    struct answer answer;

    start(raw);
    build_attach(request, 1, ENDPOINT, 0);
    assert_int_equal(ask(raw, request, 16, 4).length, 0);
    expect_violation(raw, "16 bytes");
    answer = ask(raw, request, 20, 3);
    assert_int_equal(answer.length, 0);
    expect_violation(raw, "3 bytes");
    memset(request + 20, 0, 4);
    answer = ask(raw, request, 24, 8);
    assert_int_equal(answer.length, 4);
    assert_int_equal(*at(raw, slot_address(0) + 128), VIOMMU_MODEL_S_OK);
    assert_int_equal(*at(raw, slot_address(0) + 132), POISON);
    expect_violation(raw, "24 bytes");
    build_attach(request, 2, ENDPOINT, 0);
    request[3] = 1;
    assert_int_equal(ask(raw, request, 20, 4).status, VIOMMU_MODEL_S_OK);
    expect_violation(raw, "head");
}

static void test_model_understands_split_requests_unless_told_not_to(void **state)
{
    struct raw *raw = *state;
    uint8_t request[20];
    struct answer answer;

    for (unsigned int fixed = 0; fixed < 2; fixed++) {
        raw->parameters.fixed_framing = fixed != 0;
        make_model(raw);
        start(raw);
        build_attach(request, 1, ENDPOINT, 0);
        memcpy(at(raw, slot_address(0)), request, sizeof request);
        set_descriptor(raw, 0, 0, slot_address(0), 8, 1, 1);
        set_descriptor(raw, 0, 1, slot_address(0) + 8, 12, 1, 2);
        set_descriptor(raw, 0, 2, slot_address(0) + 20, 4, 2, 0);
        publish(raw, 0, 0);
        notify(raw, 0);
        assert_true(next_used(raw, 0, &answer));
        assert_int_equal(answer.length, fixed != 0 ? 0 : 4);
        assert_true(viommu_model_domain_exists(raw->model, 1) == (fixed == 0));
        expect_violation(raw, "2 readable descriptors");
    }
}

/* Publishes a chain that cannot be used: the device stops. */
static void expect_broken_chain(struct raw *raw, unsigned int head, const char *part)
{
    struct answer answer;

    publish(raw, 0, head);
    notify(raw, 0);
    assert_false(next_used(raw, 0, &answer));
    assert_int_equal(common_read(raw, COMMON_STATUS, 1), 0x4f);
    expect_violation(raw, part);
}

static void test_model_stops_at_a_ring_it_cannot_follow(void **state)
{
    struct raw *raw = *state;

    start(raw);
    expect_broken_chain(raw, QUEUE_SIZE, "does not exist");
    start(raw);
    set_descriptor(raw, 0, 0, MEMORY_BASE, 20, 1, 0);
    expect_broken_chain(raw, 0, "in flight already");
    start(raw);
    set_descriptor(raw, 0, 0, MEMORY_BASE, 4, 3, 1);
    set_descriptor(raw, 0, 1, MEMORY_BASE, 20, 0, 0);
    expect_broken_chain(raw, 0, "readable descriptor behind");
    start(raw);
    set_descriptor(raw, 0, 0, MEMORY_BASE, 32, 4, 0);
    expect_broken_chain(raw, 0, "not negotiated");
    start(raw);
    set_descriptor(raw, 0, 0, 0x1000, 20, 0, 0);
    expect_broken_chain(raw, 0, "not in memory");
    start(raw);
    put(at(raw, raw->rings[0].base + 0x402), 2, QUEUE_SIZE + 1);
    notify(raw, 0);
    expect_violation(raw, "too far");
}

static void test_model_records_requests_that_change_in_flight(void **state)
{
    struct raw *raw = *state;
    uint8_t request[20];

    start(raw);
    viommu_model_set_processing(raw->model, VIOMMU_MODEL_AT_RUN);
    build_attach(request, 1, ENDPOINT, 0);
    post(raw, 0, request, sizeof request, 4);
    notify(raw, 0);
    at(raw, slot_address(0))[4] = 2;
    assert_int_equal(viommu_model_run(raw->model, 1), 1);
    assert_true(viommu_model_domain_exists(raw->model, 1));
    expect_violation(raw, "changed in flight");
}

/* ---- bypass -------------------------------------------------------------------------------- */

static void test_model_bypass_survives_a_device_reset_but_not_a_system_reset(void **state)
{
    struct raw *raw = *state;

    raw->parameters.initial_bypass = 1;
    make_model(raw);
    assert_int_equal(verdict(raw, ENDPOINT, 0x1234, true), VIOMMU_MODEL_IDENTITY);
    start(raw);
    assert_int_equal(verdict(raw, ENDPOINT, 0x1234, true), VIOMMU_MODEL_IDENTITY);
    write_bypass(raw, 0);
    assert_int_equal(viommu_model_bypass(raw->model), 0);
    assert_int_equal(verdict(raw, ENDPOINT, 0x1234, true), VIOMMU_MODEL_BLOCKED);
    common_write(raw, COMMON_STATUS, 1, 0);
    assert_int_equal(viommu_model_status(raw->model), 0);
    assert_int_equal(verdict(raw, ENDPOINT, 0x1234, true), VIOMMU_MODEL_BLOCKED);
    viommu_model_system_reset(raw->model);
    assert_int_equal(verdict(raw, ENDPOINT, 0x1234, true), VIOMMU_MODEL_IDENTITY);
    assert_int_equal(viommu_model_config_read(raw->model, 4, 2), 0);
}

static void test_model_bypasses_even_if_the_driver_refuses_the_feature(void **state)
{
    struct raw *raw = *state;

    raw->parameters.initial_bypass = 1;
    make_model(raw);
    start_with(raw, ~VIOMMU_MODEL_F_BYPASS_CONFIG);
    assert_int_equal(verdict(raw, ENDPOINT, 0, false), VIOMMU_MODEL_IDENTITY);
    write_bypass(raw, 0);
    expect_violation(raw, "bypass");
    assert_int_equal(verdict(raw, ENDPOINT, 0, false), VIOMMU_MODEL_IDENTITY);
    assert_int_equal(attach(raw, 1, ENDPOINT, 1), VIOMMU_MODEL_S_INVAL);
    expect_violation(raw, "unknown flags");
}

static void test_model_old_bypass_holds_once_negotiated(void **state)
{
    struct raw *raw = *state;

    raw->parameters.offered_features &= ~VIOMMU_MODEL_F_BYPASS_CONFIG;
    raw->parameters.offered_features |= VIOMMU_MODEL_F_BYPASS;
    make_model(raw);
    assert_int_equal(verdict(raw, ENDPOINT, 0, false), VIOMMU_MODEL_BLOCKED);
    start(raw);
    assert_int_equal(verdict(raw, ENDPOINT, 0, false), VIOMMU_MODEL_IDENTITY);
    start_with(raw, ~VIOMMU_MODEL_F_BYPASS);
    assert_int_equal(verdict(raw, ENDPOINT, 0, false), VIOMMU_MODEL_BLOCKED);
}

static void test_model_bypass_domain_is_identity(void **state)
{
    struct raw *raw = *state;
    uint64_t physical = 0;

    start(raw);
    assert_int_equal(attach(raw, 1, ENDPOINT, 1), VIOMMU_MODEL_S_OK);
    assert_int_equal(viommu_model_translate(raw->model, ENDPOINT, 0x7777, true, &physical),
                     VIOMMU_MODEL_IDENTITY);
    assert_int_equal(physical, 0x7777);
    assert_int_equal(verdict(raw, OTHER, 0x7777, true), VIOMMU_MODEL_BLOCKED);
}

static void test_model_takes_only_0_and_1_for_bypass(void **state)
{
    struct raw *raw = *state;

    start(raw);
    write_bypass(raw, 3);
    expect_violation(raw, "bypass");
    assert_int_equal(viommu_model_bypass(raw->model), 1);
}

/* ---- DMA and events ------------------------------------------------------------------------ */

static void test_model_dma_goes_byte_by_byte_over_mappings(void **state)
{
    struct raw *raw = *state;
    uint8_t buffer[16] = {0};

    prepare_unmap(raw);
    post_event_buffers(raw, 2);
    for (uint8_t i = 0; i < 32; i++) {
        raw->memory[DATA + i] = i;
    }
    assert_int_equal(map(raw, 1, 0x100, 0x104, MEMORY_BASE + DATA + 10, READ), VIOMMU_MODEL_S_OK);
    assert_int_equal(map(raw, 1, 0x105, 0x109, MEMORY_BASE + DATA, READ | WRITE),
                     VIOMMU_MODEL_S_OK);
    assert_int_equal(viommu_model_dma(raw->model, ENDPOINT, 0x103, buffer, 7, false), 7);
    assert_memory_equal(buffer, ((uint8_t[]){13, 14, 0, 1, 2, 3, 4}), 7);
    assert_int_equal(viommu_model_dma(raw->model, ENDPOINT, 0x108, buffer, 8, false), 2);
    expect_event(raw, 2, 0x101, ENDPOINT, 0x10a);
    memset(buffer, 0x77, sizeof buffer);
    assert_int_equal(viommu_model_dma(raw->model, ENDPOINT, 0x104, buffer, 8, true), 0);
    expect_event(raw, 2, 0x102, ENDPOINT, 0x104);
    assert_int_equal(raw->memory[DATA + 14], 14);
    assert_int_equal(viommu_model_dma(raw->model, ENDPOINT, 0x105, buffer, 5, true), 5);
    assert_int_equal(raw->memory[DATA + 4], 0x77);
    assert_int_equal(raw->memory[DATA + 5], 5);
    assert_int_equal(viommu_model_counters(raw->model)->dma_faults, 2);
    assert_int_equal(viommu_model_counters(raw->model)->events_sent, 2);
}

static void test_model_dma_stops_where_there_is_no_memory_without_a_report(void **state)
{
    struct raw *raw = *state;
    uint8_t buffer[16] = {0};

    start(raw);
    assert_int_equal(attach(raw, 1, ENDPOINT, 1), VIOMMU_MODEL_S_OK);
    assert_int_equal(
        viommu_model_dma(raw->model, ENDPOINT, MEMORY_BASE + MEMORY_SIZE - 4, buffer, 16, true), 4);
    assert_int_equal(viommu_model_dma(raw->model, ENDPOINT, UINT64_MAX - 3, buffer, 16, true), 0);
    assert_int_equal(viommu_model_counters(raw->model)->dma_faults, 0);
}

static void test_model_write_only_mappings_can_be_read_only_if_read_is_implied(void **state)
{
    struct raw *raw = *state;

    for (unsigned int implied = 0; implied < 2; implied++) {
        raw->parameters.read_is_implied = implied != 0;
        make_model(raw);
        start(raw);
        assert_int_equal(attach(raw, 1, ENDPOINT, 0), VIOMMU_MODEL_S_OK);
        assert_int_equal(map(raw, 1, 0, 0xfff, 0, WRITE), VIOMMU_MODEL_S_OK);
        assert_int_equal(verdict(raw, ENDPOINT, 0, true), VIOMMU_MODEL_MAPPED);
        assert_int_equal(verdict(raw, ENDPOINT, 0, false),
                         implied != 0 ? VIOMMU_MODEL_MAPPED : VIOMMU_MODEL_BLOCKED);
    }
}

static void test_model_lets_writes_to_the_msi_window_through(void **state)
{
    struct raw *raw = *state;
    uint8_t buffer[4] = {0};

    start(raw);
    assert_int_equal(attach(raw, 1, THIRD, 0), VIOMMU_MODEL_S_OK);
    assert_int_equal(verdict(raw, THIRD, MSI_START, true), VIOMMU_MODEL_DOORBELL);
    assert_int_equal(verdict(raw, THIRD, MSI_END, false), VIOMMU_MODEL_BLOCKED);
    assert_int_equal(verdict(raw, ENDPOINT, MSI_START, true), VIOMMU_MODEL_BLOCKED);
    assert_int_equal(viommu_model_dma(raw->model, THIRD, MSI_END - 3, buffer, 4, true), 4);
    assert_int_equal(verdict(raw, THIRD, RESERVED_START, true), VIOMMU_MODEL_BLOCKED);
}

static void test_model_tells_why_a_dma_failed(void **state)
{
    struct raw *raw = *state;
    uint8_t byte = 0;

    start(raw);
    post_event_buffers(raw, 4);
    assert_int_equal(viommu_model_dma(raw->model, STRANGER, 0x5000, &byte, 1, false), 0);
    expect_event(raw, 0, 0x101, STRANGER, 0x5000);
    assert_int_equal(viommu_model_dma(raw->model, ENDPOINT, 0x5000, &byte, 1, true), 0);
    expect_event(raw, 1, 0x102, ENDPOINT, 0x5000);
    assert_int_equal(attach(raw, 1, ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    assert_int_equal(viommu_model_dma(raw->model, ENDPOINT, UINT64_MAX, &byte, 1, true), 0);
    expect_event(raw, 2, 0x102, ENDPOINT, UINT64_MAX);
}

static void test_model_drops_or_holds_reports_without_a_buffer(void **state)
{
    struct raw *raw = *state;
    uint8_t byte = 0;
    struct answer answer;

    start(raw);
    assert_int_equal(viommu_model_dma(raw->model, ENDPOINT, 1, &byte, 1, true), 0);
    assert_int_equal(viommu_model_counters(raw->model)->events_dropped, 1);
    post_event_buffers(raw, 1);
    assert_int_equal(viommu_model_event_buffers(raw->model), 1);
    assert_false(next_used(raw, 1, &answer));

    raw->parameters.hold_events = true;
    make_model(raw);
    start(raw);
    assert_int_equal(viommu_model_dma(raw->model, ENDPOINT, 1, &byte, 1, true), 0);
    assert_int_equal(viommu_model_dma(raw->model, ENDPOINT, 2, &byte, 1, true), 0);
    assert_int_equal(viommu_model_counters(raw->model)->events_dropped, 0);
    post_event_buffers(raw, 3);
    expect_event(raw, 1, 0x102, ENDPOINT, 1);
    expect_event(raw, 1, 0x102, ENDPOINT, 2);
    assert_int_equal(viommu_model_event_buffers(raw->model), 1);
}

static void test_model_does_not_see_event_buffers_before_their_doorbell(void **state)
{
    struct raw *raw = *state;
    uint8_t byte = 0;

    start(raw);
    post_event_buffer(raw, 0, 24);
    assert_int_equal(viommu_model_unannounced(raw->model, 1), 1);
    assert_int_equal(viommu_model_dma(raw->model, ENDPOINT, 1, &byte, 1, true), 0);
    assert_int_equal(viommu_model_counters(raw->model)->events_dropped, 1);
    notify(raw, 1);
    assert_int_equal(viommu_model_unannounced(raw->model, 1), 0);
    assert_int_equal(viommu_model_dma(raw->model, ENDPOINT, 1, &byte, 1, true), 0);
    expect_event(raw, 1, 0x102, ENDPOINT, 1);
}

static void test_model_reports_in_pieces_when_told_to(void **state)
{
    struct raw *raw = *state;
    uint8_t buffer[64] = {0};

    raw->parameters.event_piece = 4;
    make_model(raw);
    start(raw);
    post_event_buffers(raw, 10);
    assert_int_equal(viommu_model_dma(raw->model, ENDPOINT, 0x1000, buffer, 64, true), 0);
    for (unsigned int i = 0; i < 10; i++) {
        expect_event(raw, 1, 0x102, ENDPOINT, 0x1000 + 4 * i);
    }
    assert_int_equal(viommu_model_counters(raw->model)->events_dropped, 6);
    assert_int_equal(viommu_model_counters(raw->model)->dma_faults, 1);
}

static void test_model_without_events_never_reports(void **state)
{
    struct raw *raw = *state;
    uint8_t byte = 0;

    raw->parameters.no_events = true;
    make_model(raw);
    start(raw);
    post_event_buffers(raw, 1);
    assert_int_equal(viommu_model_dma(raw->model, ENDPOINT, 1, &byte, 1, true), 0);
    assert_int_equal(viommu_model_event_buffers(raw->model), 1);
}

static void test_model_records_bad_event_buffers(void **state)
{
    struct raw *raw = *state;

    start(raw);
    post_event_buffer(raw, 0, 23);
    notify(raw, 1);
    expect_violation(raw, "event buffer of 23 bytes");
    set_descriptor(raw, 1, 1, MEMORY_BASE + EVENTS, 12, 3, 2);
    set_descriptor(raw, 1, 2, MEMORY_BASE + EVENTS + 12, 12, 2, 0);
    publish(raw, 1, 1);
    notify(raw, 1);
    expect_violation(raw, "2 writable");
}

static void test_model_uses_its_event_buffers_again(void **state)
{
    struct raw *raw = *state;
    uint8_t byte = 0;

    start(raw);
    post_event_buffers(raw, 2);
    for (unsigned int i = 0; i < 3 * QUEUE_SIZE; i++) {
        assert_int_equal(viommu_model_dma(raw->model, ENDPOINT, i, &byte, 1, true), 0);
        expect_event(raw, 1, 0x102, ENDPOINT, i);
        post_event_buffer(raw, i % 2, 24);
        notify(raw, 1);
    }
}

static void test_model_injects_events_of_any_content(void **state)
{
    struct raw *raw = *state;
    uint8_t nonsense[24];
    struct answer answer;

    start(raw);
    post_event_buffers(raw, 3);
    memset(nonsense, 0xff, sizeof nonsense);
    assert_true(viommu_model_inject_event(raw->model, nonsense, 24, 99));
    assert_true(next_used(raw, 1, &answer));
    assert_int_equal(answer.length, 99);
    assert_memory_equal(raw->memory + EVENTS, nonsense, 24);
    assert_int_equal(viommu_model_flood(raw->model, STRANGER, 0x1000, 100), 2);
    expect_event(raw, 2, 0x101, STRANGER, 0x1000);
    expect_event(raw, 2, 0x101, STRANGER, 0x1000);
    viommu_model_inject_used_event(raw->model, 12345, 6);
    assert_true(next_used(raw, 1, &answer));
    assert_int_equal(answer.id, 12345);
    assert_int_equal(answer.length, 6);
}

/* ---- time ---------------------------------------------------------------------------------- */

static void post_maps(struct raw *raw, unsigned int count)
{
    uint8_t request[36];

    for (unsigned int i = 0; i < count; i++) {
        build_map(request, 1, 0x1000 * (uint64_t)i, 0x1000 * (uint64_t)i + 0xfff, MEMORY_BASE,
                  READ);
        post(raw, i, request, sizeof request, 4);
    }
    notify(raw, 0);
}

static void test_model_completes_only_when_run(void **state)
{
    struct raw *raw = *state;
    struct answer answer;

    start(raw);
    assert_int_equal(attach(raw, 1, ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    viommu_model_set_processing(raw->model, VIOMMU_MODEL_AT_RUN);
    post_maps(raw, 3);
    assert_false(next_used(raw, 0, &answer));
    assert_int_equal(viommu_model_pending(raw->model), 3);
    assert_int_equal(verdict(raw, ENDPOINT, 0, false), VIOMMU_MODEL_BLOCKED);
    assert_int_equal(viommu_model_run(raw->model, 2), 2);
    assert_int_equal(verdict(raw, ENDPOINT, 0x1000, false), VIOMMU_MODEL_MAPPED);
    assert_int_equal(verdict(raw, ENDPOINT, 0x2000, false), VIOMMU_MODEL_BLOCKED);
    assert_int_equal(viommu_model_run(raw->model, SIZE_MAX), 1);
    assert_int_equal(viommu_model_pending(raw->model), 0);
    for (unsigned int i = 0; i < 3; i++) {
        assert_true(next_used(raw, 0, &answer));
        assert_int_equal(answer.id, 2 * i);
    }
}

static void test_model_does_not_see_requests_before_their_doorbell(void **state)
{
    struct raw *raw = *state;
    uint8_t request[20];

    start(raw);
    build_attach(request, 1, ENDPOINT, 0);
    post(raw, 0, request, sizeof request, 4);
    assert_int_equal(viommu_model_unannounced(raw->model, 0), 1);
    assert_int_equal(viommu_model_run(raw->model, SIZE_MAX), 0);
    notify(raw, 0);
    assert_int_equal(viommu_model_unannounced(raw->model, 0), 0);
    assert_true(viommu_model_domain_exists(raw->model, 1));
}

static void test_model_may_never_answer(void **state)
{
    struct raw *raw = *state;
    uint8_t request[20];
    struct answer answer;

    start(raw);
    viommu_model_set_processing(raw->model, VIOMMU_MODEL_NEVER);
    build_attach(request, 1, ENDPOINT, 0);
    post(raw, 0, request, sizeof request, 4);
    notify(raw, 0);
    assert_int_equal(viommu_model_run(raw->model, SIZE_MAX), 0);
    assert_int_equal(viommu_model_pending(raw->model), 1);
    assert_false(next_used(raw, 0, &answer));
    viommu_model_set_processing(raw->model, VIOMMU_MODEL_AT_RUN);
    assert_int_equal(viommu_model_run(raw->model, SIZE_MAX), 1);
}

static void test_model_completes_out_of_order(void **state)
{
    struct raw *raw = *state;
    struct answer answer;
    bool seen[8] = {false};
    bool sorted = true;

    start(raw);
    assert_int_equal(attach(raw, 1, ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    viommu_model_set_order(raw->model, VIOMMU_MODEL_REVERSED, 0);
    post_maps(raw, 3);
    for (unsigned int i = 0; i < 3; i++) {
        assert_true(next_used(raw, 0, &answer));
        assert_int_equal(answer.id, 4 - 2 * i);
    }
    assert_int_equal(unmap(raw, 1, 0, UINT64_MAX), VIOMMU_MODEL_S_OK);
    viommu_model_set_order(raw->model, VIOMMU_MODEL_SHUFFLED, 7);
    post_maps(raw, 8);
    for (unsigned int i = 0; i < 8; i++) {
        assert_true(next_used(raw, 0, &answer));
        assert_true(answer.id / 2 < 8);
        assert_false(seen[answer.id / 2]);
        seen[answer.id / 2] = true;
        sorted = sorted && answer.id == 2 * i;
    }
    assert_false(sorted);
}

static void prepare_retention(struct raw *raw, bool retain)
{
    uint8_t byte = 0;

    start(raw);
    viommu_model_set_effect(raw->model, VIOMMU_MODEL_EFFECT_AT_DOORBELL);
    viommu_model_set_retain(raw->model, retain);
    assert_int_equal(attach(raw, 1, ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    assert_int_equal(attach(raw, 1, OTHER, 0), VIOMMU_MODEL_S_OK);
    assert_int_equal(map(raw, 1, 0, 0xfff, MEMORY_BASE, READ), VIOMMU_MODEL_S_OK);
    assert_int_equal(map(raw, 1, 0x1000, 0x1fff, MEMORY_BASE, READ), VIOMMU_MODEL_S_OK);
    assert_int_equal(viommu_model_dma(raw->model, ENDPOINT, 8, &byte, 1, false), 1);
    viommu_model_set_processing(raw->model, VIOMMU_MODEL_AT_RUN);
}

static void test_model_may_unmap_at_the_doorbell(void **state)
{
    struct raw *raw = *state;
    uint8_t request[28];

    prepare_retention(raw, false);
    build_unmap(request, 1, 0, 0x1fff);
    post(raw, 0, request, sizeof request, 4);
    notify(raw, 0);
    assert_int_equal(verdict(raw, ENDPOINT, 0, false), VIOMMU_MODEL_BLOCKED);
    assert_int_equal(viommu_model_run(raw->model, 1), 1);
}

static void test_model_retains_used_translations_until_unmap_completes(void **state)
{
    struct raw *raw = *state;
    uint8_t request[28];

    prepare_retention(raw, true);
    build_unmap(request, 1, 0, 0x1fff);
    post(raw, 0, request, sizeof request, 4);
    notify(raw, 0);
    assert_int_equal(verdict(raw, ENDPOINT, 0, false), VIOMMU_MODEL_MAPPED);
    assert_int_equal(verdict(raw, ENDPOINT, 0, true), VIOMMU_MODEL_BLOCKED);
    assert_int_equal(verdict(raw, ENDPOINT, 0x1000, false), VIOMMU_MODEL_BLOCKED);
    assert_int_equal(verdict(raw, OTHER, 0, false), VIOMMU_MODEL_BLOCKED);
    assert_int_equal(viommu_model_run(raw->model, 1), 1);
    assert_int_equal(verdict(raw, ENDPOINT, 0, false), VIOMMU_MODEL_BLOCKED);
}

static void test_model_retains_used_translations_until_detach_completes(void **state)
{
    struct raw *raw = *state;
    uint8_t request[20];

    prepare_retention(raw, true);
    build_detach(request, 1, ENDPOINT);
    post(raw, 0, request, sizeof request, 4);
    notify(raw, 0);
    assert_int_equal(verdict(raw, ENDPOINT, 0, false), VIOMMU_MODEL_MAPPED);
    assert_int_equal(viommu_model_run(raw->model, 1), 1);
    assert_int_equal(verdict(raw, ENDPOINT, 0, false), VIOMMU_MODEL_BLOCKED);
}

static void test_model_retains_bypass_until_attach_completes(void **state)
{
    struct raw *raw = *state;
    uint8_t request[20];
    uint8_t byte = 0;

    raw->parameters.initial_bypass = 1;
    make_model(raw);
    start(raw);
    viommu_model_set_effect(raw->model, VIOMMU_MODEL_EFFECT_AT_DOORBELL);
    viommu_model_set_retain(raw->model, true);
    viommu_model_set_processing(raw->model, VIOMMU_MODEL_AT_RUN);
    assert_int_equal(viommu_model_dma(raw->model, ENDPOINT, MEMORY_BASE, &byte, 1, true), 1);
    build_attach(request, 1, ENDPOINT, 0);
    post(raw, 0, request, sizeof request, 4);
    notify(raw, 0);
    assert_int_equal(verdict(raw, ENDPOINT, MEMORY_BASE + 5, true), VIOMMU_MODEL_IDENTITY);
    assert_int_equal(verdict(raw, ENDPOINT, MEMORY_BASE + 0x1000, true), VIOMMU_MODEL_BLOCKED);
    assert_int_equal(viommu_model_run(raw->model, 1), 1);
    assert_int_equal(verdict(raw, ENDPOINT, MEMORY_BASE + 5, true), VIOMMU_MODEL_BLOCKED);
}

static void test_model_retains_nothing_over_a_write_to_bypass(void **state)
{
    struct raw *raw = *state;
    uint8_t byte = 0;

    raw->parameters.initial_bypass = 1;
    make_model(raw);
    start(raw);
    viommu_model_set_effect(raw->model, VIOMMU_MODEL_EFFECT_AT_DOORBELL);
    viommu_model_set_retain(raw->model, true);
    assert_int_equal(viommu_model_dma(raw->model, ENDPOINT, MEMORY_BASE, &byte, 1, true), 1);
    write_bypass(raw, 0);
    assert_int_equal(verdict(raw, ENDPOINT, MEMORY_BASE, true), VIOMMU_MODEL_BLOCKED);
}

static void test_model_retains_nothing_over_a_reset(void **state)
{
    struct raw *raw = *state;

    prepare_retention(raw, true);
    assert_int_equal(verdict(raw, ENDPOINT, 0, false), VIOMMU_MODEL_MAPPED);
    common_write(raw, COMMON_STATUS, 1, 0);
    assert_int_equal(verdict(raw, ENDPOINT, 0, false), VIOMMU_MODEL_BLOCKED);
    assert_false(viommu_model_interrupt_pending(raw->model));
}

static void test_model_forgets_everything_but_bypass_on_reset(void **state)
{
    struct raw *raw = *state;
    uint8_t request[20];
    struct answer answer;

    start(raw);
    assert_int_equal(attach(raw, 1, ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    viommu_model_set_processing(raw->model, VIOMMU_MODEL_AT_RUN);
    build_attach(request, 2, OTHER, 0);
    post(raw, 0, request, sizeof request, 4);
    notify(raw, 0);
    common_write(raw, COMMON_STATUS, 1, 0);
    assert_int_equal(viommu_model_pending(raw->model), 0);
    assert_int_equal(viommu_model_domain_count(raw->model), 0);
    assert_int_equal(viommu_model_run(raw->model, SIZE_MAX), 0);
    assert_false(next_used(raw, 0, &answer));
    viommu_model_set_processing(raw->model, VIOMMU_MODEL_AT_DOORBELL);
    start(raw);
    assert_int_equal(attach(raw, 1, ENDPOINT, 0), VIOMMU_MODEL_S_OK);
}

static void test_model_reset_may_take_time_and_must_be_waited_for(void **state)
{
    struct raw *raw = *state;

    raw->parameters.reset_reads = 2;
    make_model(raw);
    enable_device(raw);
    common_write(raw, COMMON_STATUS, 1, 0);
    for (unsigned int i = 0; i < 3; i++) {
        (void)common_read(raw, COMMON_STATUS, 1);
    }
    common_write(raw, COMMON_STATUS, 1, 1);
    common_write(raw, COMMON_STATUS, 1, 0);
    assert_int_equal(common_read(raw, COMMON_STATUS, 1), 1);
    common_write(raw, COMMON_STATUS, 1, 3);
    expect_violation(raw, "reset");
    assert_int_equal(common_read(raw, COMMON_STATUS, 1), 1);
    assert_int_equal(common_read(raw, COMMON_STATUS, 1), 0);
}

static void test_model_interrupt_is_cleared_by_reading_isr(void **state)
{
    struct raw *raw = *state;

    start(raw);
    assert_false(viommu_model_interrupt_pending(raw->model));
    assert_int_equal(attach(raw, 1, ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    assert_true(viommu_model_interrupt_pending(raw->model));
    assert_true((viommu_model_config_read(raw->model, 6, 2) & 8) != 0);
    assert_int_equal(viommu_model_mmio_read(raw->model, VIOMMU_MODEL_ISR_OFFSET, 1), 1);
    assert_false(viommu_model_interrupt_pending(raw->model));
    assert_int_equal(viommu_model_mmio_read(raw->model, VIOMMU_MODEL_ISR_OFFSET, 1), 0);
    put(at(raw, raw->rings[0].base + 0x400), 2, 1); /* no interrupts please */
    assert_int_equal(detach(raw, 1, ENDPOINT), VIOMMU_MODEL_S_OK);
    assert_false(viommu_model_interrupt_pending(raw->model));
    viommu_model_misbehave(raw->model, VIOMMU_MODEL_NEEDS_RESET, 0, 0);
    assert_int_equal(viommu_model_mmio_read(raw->model, VIOMMU_MODEL_ISR_OFFSET, 1), 2);
}

struct observed {
    unsigned int count;
    struct viommu_model_request last;
    int status;
};

static void observe(void *ctx, const struct viommu_model_request *request, int status)
{
    struct observed *observed = ctx;

    observed->count++;
    observed->last = *request;
    observed->status = status;
}

static void test_model_tells_an_observer_of_each_request(void **state)
{
    struct raw *raw = *state;
    struct observed observed = {0};

    start(raw);
    viommu_model_observe(raw->model, observe, &observed);
    assert_int_equal(attach(raw, 7, ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    assert_int_equal(observed.last.type, VIOMMU_MODEL_ATTACH);
    assert_int_equal(observed.last.domain, 7);
    assert_int_equal(observed.last.endpoint, ENDPOINT);
    assert_int_equal(map(raw, 8, 0x1000, 0x1fff, 0x5000, READ), VIOMMU_MODEL_S_NOENT);
    assert_int_equal(observed.count, 2);
    assert_int_equal(observed.status, VIOMMU_MODEL_S_NOENT);
    assert_int_equal(observed.last.virt_start, 0x1000);
    assert_int_equal(observed.last.virt_end, 0x1fff);
    assert_int_equal(observed.last.phys_start, 0x5000);
    assert_int_equal(observed.last.flags, READ);
}

/* ---- misbehaviour -------------------------------------------------------------------------- */

static void test_model_fails_the_requests_that_were_scripted(void **state)
{
    struct raw *raw = *state;

    start(raw);
    assert_true(viommu_model_fail_request(raw->model, VIOMMU_MODEL_MAP, 2, VIOMMU_MODEL_S_NOMEM));
    assert_true(viommu_model_fail_request(raw->model, 0, 4, VIOMMU_MODEL_S_DEVERR));
    assert_int_equal(attach(raw, 1, ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    assert_int_equal(map(raw, 1, 0, 0xfff, 0, READ), VIOMMU_MODEL_S_OK);
    assert_int_equal(map(raw, 1, 0x1000, 0x1fff, 0, READ), VIOMMU_MODEL_S_NOMEM);
    assert_int_equal(viommu_model_mapping_count(raw->model, 1), 1);
    assert_int_equal(unmap(raw, 1, 0, 0xfff), VIOMMU_MODEL_S_DEVERR);
    assert_int_equal(viommu_model_mapping_count(raw->model, 1), 1);
    assert_int_equal(unmap(raw, 1, 0, 0xfff), VIOMMU_MODEL_S_OK);
    assert_int_equal(viommu_model_counters(raw->model)->answers[VIOMMU_MODEL_S_NOMEM], 1);
}

static struct answer misbehaving_attach(struct raw *raw, enum viommu_model_misbehaviour what,
                                        uint64_t argument)
{
    uint8_t request[20];
    struct answer answer = {.status = 0};

    start(raw);
    viommu_model_misbehave(raw->model, what, 1, argument);
    build_attach(request, 1, ENDPOINT, 0);
    post(raw, 0, request, sizeof request, 4);
    notify(raw, 0);
    assert_true(next_used(raw, 0, &answer));
    answer.status = *at(raw, slot_address(0) + 128);
    return answer;
}

static void test_model_lies_about_used_ids(void **state)
{
    struct raw *raw = *state;
    struct answer answer;

    answer = misbehaving_attach(raw, VIOMMU_MODEL_USED_ID_OUT_OF_RANGE, 0);
    assert_int_equal(answer.id, QUEUE_SIZE);
    answer = misbehaving_attach(raw, VIOMMU_MODEL_USED_ID_OUT_OF_RANGE, 0x10000);
    assert_int_equal(answer.id, 0x10000);
    answer = misbehaving_attach(raw, VIOMMU_MODEL_USED_ID_NOT_IN_FLIGHT, 0);
    assert_int_equal(answer.id, 2);
    answer = misbehaving_attach(raw, VIOMMU_MODEL_USED_ID_MIDDLE, 0);
    assert_int_equal(answer.id, 1);
    answer = misbehaving_attach(raw, VIOMMU_MODEL_USED_ID_REPEATED, 0);
    assert_int_equal(answer.id, 0);
    assert_true(next_used(raw, 0, &answer));
    assert_int_equal(answer.id, 0);
    assert_false(next_used(raw, 0, &answer));
}

static void test_model_lies_about_used_index_length_and_status(void **state)
{
    struct raw *raw = *state;
    struct answer answer;

    (void)misbehaving_attach(raw, VIOMMU_MODEL_USED_INDEX_JUMPS, 1000);
    assert_int_equal(get(at(raw, raw->rings[0].base + 0x602), 2), 1001);
    answer = misbehaving_attach(raw, VIOMMU_MODEL_USED_LENGTH, 0xfffffff0);
    assert_int_equal(answer.length, 0xfffffff0);
    assert_int_equal(answer.status, VIOMMU_MODEL_S_OK);
    answer = misbehaving_attach(raw, VIOMMU_MODEL_ANSWER_EMPTY, 0);
    assert_int_equal(answer.length, 0);
    assert_int_equal(answer.status, POISON);
    answer = misbehaving_attach(raw, VIOMMU_MODEL_STATUS_UNTOUCHED, 0);
    assert_int_equal(answer.length, 4);
    assert_int_equal(answer.status, POISON);
    answer = misbehaving_attach(raw, VIOMMU_MODEL_STATUS_VALUE, 0x55);
    assert_int_equal(answer.status, 0x55);
    assert_true(viommu_model_domain_exists(raw->model, 1));
    answer = misbehaving_attach(raw, VIOMMU_MODEL_NOT_PERFORMED, 0);
    assert_int_equal(answer.status, VIOMMU_MODEL_S_OK);
    assert_false(viommu_model_domain_exists(raw->model, 1));
    (void)misbehaving_attach(raw, VIOMMU_MODEL_SCRIBBLE, 0);
    assert_int_equal(get(at(raw, raw->rings[0].base + 16), 8), UINT64_MAX);
    (void)misbehaving_attach(raw, VIOMMU_MODEL_NEEDS_RESET_AFTER, 0);
    assert_int_equal(common_read(raw, COMMON_STATUS, 1), 0x4f);
}

static void test_model_leaves_the_chosen_request_hanging(void **state)
{
    struct raw *raw = *state;
    struct answer answer;

    start(raw);
    assert_int_equal(attach(raw, 1, ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    viommu_model_misbehave(raw->model, VIOMMU_MODEL_NOT_COMPLETED, 2, 0);
    post_maps(raw, 3);
    assert_true(next_used(raw, 0, &answer));
    assert_int_equal(answer.id, 0);
    assert_true(next_used(raw, 0, &answer));
    assert_int_equal(answer.id, 4);
    assert_false(next_used(raw, 0, &answer));
    assert_int_equal(viommu_model_pending(raw->model), 1);
    assert_int_equal(verdict(raw, ENDPOINT, 0x1000, false), VIOMMU_MODEL_MAPPED);
    assert_int_equal(viommu_model_run(raw->model, SIZE_MAX), 0);
}

static void test_model_breaks_the_start_in_every_way(void **state)
{
    struct raw *raw = *state;
    struct viommu_model *model = raw->model;

    viommu_model_misbehave(model, VIOMMU_MODEL_REFUSE_FEATURES, 0, 0);
    assert_false(negotiate(raw, UINT64_MAX));
    viommu_model_behave(model);
    viommu_model_misbehave(model, VIOMMU_MODEL_QUEUE_SIZE, 0, 3);
    viommu_model_misbehave(model, VIOMMU_MODEL_QUEUE_COUNT, 0, 1);
    viommu_model_misbehave(model, VIOMMU_MODEL_NOTIFY_OFF, 0, 0xfff0);
    assert_true(negotiate(raw, UINT64_MAX));
    assert_int_equal(common_read(raw, COMMON_QUEUE_SIZE, 2), 3);
    assert_int_equal(common_read(raw, 18, 2), 1);
    assert_int_equal(common_read(raw, COMMON_NOTIFY_OFF, 2), 0xfff0);
    viommu_model_behave(model);
    assert_int_equal(common_read(raw, COMMON_QUEUE_SIZE, 2), 256);
    viommu_model_misbehave(model, VIOMMU_MODEL_RESET_HANGS, 0, 0);
    common_write(raw, COMMON_STATUS, 1, 0);
    assert_int_equal(common_read(raw, COMMON_STATUS, 1), 0x0b);
    viommu_model_behave(model);
    assert_int_equal(common_read(raw, COMMON_STATUS, 1), 0);
    viommu_model_misbehave(model, VIOMMU_MODEL_GONE, 0, 0);
    assert_int_equal(common_read(raw, COMMON_STATUS, 1), 0xff);
    assert_int_equal(viommu_model_config_read(model, 0, 4), UINT32_MAX);
}

static void test_model_changes_its_config_generation(void **state)
{
    struct raw *raw = *state;
    uint32_t first;

    start(raw);
    first = common_read(raw, COMMON_GENERATION, 1);
    assert_int_equal(common_read(raw, COMMON_GENERATION, 1), first);
    viommu_model_misbehave(raw->model, VIOMMU_MODEL_GENERATION_CHANGES, 0, 2);
    assert_int_not_equal(common_read(raw, COMMON_GENERATION, 1), first);
    first = common_read(raw, COMMON_GENERATION, 1);
    assert_int_equal(common_read(raw, COMMON_GENERATION, 1), first);
    viommu_model_misbehave(raw->model, VIOMMU_MODEL_GENERATION_CHANGES, 0, 0);
    for (unsigned int i = 0; i < 10; i++) {
        assert_int_not_equal(common_read(raw, COMMON_GENERATION, 1), first);
        first = (first + 1) & 0xff;
    }
}

/* Follows the capability list; returns how many entries it has, 48 at most. */
static unsigned int walk(struct raw *raw, uint8_t type, unsigned int *found)
{
    unsigned int offset = viommu_model_config_read(raw->model, 0x34, 1) & 0xfc;
    unsigned int count = 0;

    *found = 0;
    while (offset >= 0x40 && count < 48) {
        if (viommu_model_config_read(raw->model, offset, 1) == 9 &&
            viommu_model_config_read(raw->model, offset + 3, 1) == type) {
            *found = offset;
        }
        offset = viommu_model_config_read(raw->model, offset + 1, 1) & 0xfc;
        count++;
    }
    return count;
}

static void test_model_breaks_its_capabilities(void **state)
{
    struct raw *raw = *state;
    struct viommu_model *model = raw->model;
    unsigned int found;

    assert_int_equal(walk(raw, 2, &found), 6);
    viommu_model_misbehave(model, VIOMMU_MODEL_CAPABILITY_LOOP, 0, 0);
    assert_int_equal(walk(raw, 2, &found), 48);
    viommu_model_behave(model);
    viommu_model_misbehave(model, VIOMMU_MODEL_CAPABILITY_MISSING, 0, 2);
    assert_int_equal(walk(raw, 2, &found), 5);
    assert_int_equal(found, 0);
    viommu_model_behave(model);
    viommu_model_misbehave(model, VIOMMU_MODEL_CAPABILITY_BAR, 0, 6);
    viommu_model_misbehave(model, VIOMMU_MODEL_CAPABILITY_OFFSET, 0, 0xfffffff0);
    viommu_model_misbehave(model, VIOMMU_MODEL_CAPABILITY_LENGTH, 0, 0x20);
    viommu_model_misbehave(model, VIOMMU_MODEL_CAPABILITY_SHORT, 0, 3);
    viommu_model_misbehave(model, VIOMMU_MODEL_NOTIFY_MULTIPLIER_IS, 0, 0x80000000);
    (void)walk(raw, 2, &found);
    assert_int_equal(viommu_model_config_read(model, found + 4, 1), 6);
    assert_int_equal(viommu_model_config_read(model, found + 8, 4), 0xfffffff0);
    assert_int_equal(viommu_model_config_read(model, found + 12, 4), 0x20);
    assert_int_equal(viommu_model_config_read(model, found + 2, 1), 3);
    assert_int_equal(viommu_model_config_read(model, found + 16, 4), 0x80000000);
    viommu_model_misbehave(model, VIOMMU_MODEL_CAPABILITY_POINTER, 0, 0x10);
    assert_int_equal(viommu_model_config_read(model, 0x34, 1), 0x10);
}

static void test_model_does_no_work_when_it_needs_a_reset(void **state)
{
    struct raw *raw = *state;
    uint8_t request[20];
    struct answer answer;

    start(raw);
    assert_int_equal(attach(raw, 1, ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    viommu_model_misbehave(raw->model, VIOMMU_MODEL_NEEDS_RESET, 0, 0);
    build_attach(request, 2, OTHER, 0);
    post(raw, 0, request, sizeof request, 4);
    notify(raw, 0);
    assert_false(next_used(raw, 0, &answer));
    start(raw);
    assert_int_equal(attach(raw, 2, OTHER, 0), VIOMMU_MODEL_S_OK);
}

static void test_model_endpoints_come_and_go(void **state)
{
    struct raw *raw = *state;

    start(raw);
    assert_false(viommu_model_add_endpoint(raw->model, ENDPOINT, NULL, 0));
    assert_int_equal(attach(raw, 1, ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    viommu_model_remove_endpoint(raw->model, ENDPOINT);
    assert_false(viommu_model_domain_exists(raw->model, 1));
    assert_int_equal(attach(raw, 1, ENDPOINT, 0), VIOMMU_MODEL_S_NOENT);
    assert_int_equal(attach(raw, 1, THIRD, 0), VIOMMU_MODEL_S_OK);
    assert_true(viommu_model_add_endpoint(raw->model, ENDPOINT, NULL, 0));
    assert_int_equal(attach(raw, 1, ENDPOINT, 0), VIOMMU_MODEL_S_OK);
}

static void test_model_keeps_going_over_the_end_of_the_ring_index(void **state)
{
    struct raw *raw = *state;

    start(raw);
    for (unsigned int i = 0; i < 33000; i++) {
        assert_int_equal(attach(raw, 1, ENDPOINT, 0), VIOMMU_MODEL_S_OK);
        assert_int_equal(detach(raw, 1, ENDPOINT), VIOMMU_MODEL_S_OK);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_model_is_found_by_its_pci_capabilities),
        TEST(test_model_tells_the_size_of_its_bar),
        TEST(test_model_reads_as_all_ones_while_memory_decode_is_off),
        TEST(test_model_opens_a_window_to_its_registers_in_config_space),
        TEST(test_model_without_bus_master_touches_no_memory),
        TEST(test_model_finds_no_fault_with_a_proper_start),
        TEST(test_model_shows_its_config_in_32_bit_pieces),
        TEST(test_model_of_an_old_device_has_no_bypass_byte),
        TEST(test_model_records_a_start_without_reset),
        TEST(test_model_records_a_start_before_the_reset_was_seen_to_end),
        TEST(test_model_records_driver_before_acknowledge),
        TEST(test_model_records_status_bits_that_vanish),
        TEST(test_model_records_features_that_were_not_offered),
        TEST(test_model_records_features_without_version_1),
        TEST(test_model_records_features_that_change_the_ring),
        TEST(test_model_refuses_features_when_it_demands_others),
        TEST(test_model_records_driver_ok_without_rereading_features_ok),
        TEST(test_model_records_driver_ok_without_a_request_queue),
        TEST(test_model_records_queue_registers_touched_at_the_wrong_time),
        TEST(test_model_records_bad_queue_settings),
        TEST(test_model_records_accesses_of_the_wrong_width),
        TEST(test_model_records_notifications_that_come_too_early_or_are_malformed),
        TEST(test_model_creates_a_domain_with_the_first_attach),
        TEST(test_model_refuses_attach_by_the_specification),
        TEST(test_model_drops_mappings_when_the_last_endpoint_leaves_the_domain),
        TEST(test_model_drops_mappings_when_the_last_endpoint_moves_away),
        TEST(test_model_records_an_attach_to_the_same_domain_and_loses_the_mappings),
        TEST(test_model_may_keep_mappings_on_an_attach_to_the_same_domain),
        TEST(test_model_may_not_support_moving_and_sharing),
        TEST(test_model_runs_out_of_domains_and_mappings_when_told_to),
        TEST(test_model_detaches_by_the_specification),
        TEST(test_model_keeps_domains_in_their_range),
        TEST(test_model_refuses_map_by_the_specification),
        TEST(test_model_maps_the_whole_address_space),
        TEST(test_model_keeps_mappings_in_the_input_range),
        TEST(test_model_records_mappings_over_reserved_regions),
        TEST(test_model_knows_the_last_byte_of_a_reserved_region),
        TEST(test_model_refuses_to_attach_where_a_mapping_lies_in_a_reserved_region),
        TEST(test_model_unmap_example_1_nothing_is_mapped),
        TEST(test_model_unmap_example_2_one_whole_mapping),
        TEST(test_model_unmap_example_3_two_whole_mappings),
        TEST(test_model_unmap_example_4_a_cut_fails_and_removes_nothing),
        TEST(test_model_unmap_example_5_the_first_of_two),
        TEST(test_model_unmap_example_6_more_than_is_mapped),
        TEST(test_model_unmap_example_7_two_mappings_with_a_hole),
        TEST(test_model_refuses_unmap_by_the_specification),
        TEST(test_model_keeps_all_or_removes_some_when_an_unmap_cuts),
        TEST(test_model_agrees_with_a_table_of_bytes),
        TEST(test_model_probes_regions),
        TEST(test_model_probe_can_lie),
        TEST(test_model_records_a_probe_with_reserved_bytes),
        TEST(test_model_answers_a_short_probe_buffer_without_properties),
        TEST(test_model_answers_an_unknown_type_with_used_length_0),
        TEST(test_model_answers_an_unnegotiated_type_with_used_length_0),
        TEST(test_model_records_bad_lengths_but_reads_what_it_can),
        TEST(test_model_understands_split_requests_unless_told_not_to),
        TEST(test_model_stops_at_a_ring_it_cannot_follow),
        TEST(test_model_records_requests_that_change_in_flight),
        TEST(test_model_bypass_survives_a_device_reset_but_not_a_system_reset),
        TEST(test_model_bypasses_even_if_the_driver_refuses_the_feature),
        TEST(test_model_old_bypass_holds_once_negotiated),
        TEST(test_model_bypass_domain_is_identity),
        TEST(test_model_takes_only_0_and_1_for_bypass),
        TEST(test_model_dma_goes_byte_by_byte_over_mappings),
        TEST(test_model_dma_stops_where_there_is_no_memory_without_a_report),
        TEST(test_model_write_only_mappings_can_be_read_only_if_read_is_implied),
        TEST(test_model_lets_writes_to_the_msi_window_through),
        TEST(test_model_tells_why_a_dma_failed),
        TEST(test_model_drops_or_holds_reports_without_a_buffer),
        TEST(test_model_does_not_see_event_buffers_before_their_doorbell),
        TEST(test_model_reports_in_pieces_when_told_to),
        TEST(test_model_without_events_never_reports),
        TEST(test_model_records_bad_event_buffers),
        TEST(test_model_uses_its_event_buffers_again),
        TEST(test_model_injects_events_of_any_content),
        TEST(test_model_completes_only_when_run),
        TEST(test_model_does_not_see_requests_before_their_doorbell),
        TEST(test_model_may_never_answer),
        TEST(test_model_completes_out_of_order),
        TEST(test_model_may_unmap_at_the_doorbell),
        TEST(test_model_retains_used_translations_until_unmap_completes),
        TEST(test_model_retains_used_translations_until_detach_completes),
        TEST(test_model_retains_bypass_until_attach_completes),
        TEST(test_model_retains_nothing_over_a_write_to_bypass),
        TEST(test_model_retains_nothing_over_a_reset),
        TEST(test_model_forgets_everything_but_bypass_on_reset),
        TEST(test_model_reset_may_take_time_and_must_be_waited_for),
        TEST(test_model_interrupt_is_cleared_by_reading_isr),
        TEST(test_model_tells_an_observer_of_each_request),
        TEST(test_model_fails_the_requests_that_were_scripted),
        TEST(test_model_lies_about_used_ids),
        TEST(test_model_lies_about_used_index_length_and_status),
        TEST(test_model_leaves_the_chosen_request_hanging),
        TEST(test_model_breaks_the_start_in_every_way),
        TEST(test_model_changes_its_config_generation),
        TEST(test_model_breaks_its_capabilities),
        TEST(test_model_does_no_work_when_it_needs_a_reset),
        TEST(test_model_endpoints_come_and_go),
        TEST(test_model_keeps_going_over_the_end_of_the_ring_index),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
