/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "viommu_raw.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

/* ---- memory -------------------------------------------------------------------------------- */

static bool memory_read(void *ctx, uint64_t physical, void *buffer, size_t size)
{
    const struct raw *raw = ctx;

    if (physical < RAW_MEMORY_BASE || physical - RAW_MEMORY_BASE > RAW_MEMORY_SIZE ||
        size > RAW_MEMORY_SIZE - (physical - RAW_MEMORY_BASE)) {
        return false;
    }
    memcpy(buffer, raw->memory + (physical - RAW_MEMORY_BASE), size);
    return true;
}

static bool memory_write(void *ctx, uint64_t physical, const void *buffer, size_t size)
{
    struct raw *raw = ctx;

    if (physical < RAW_MEMORY_BASE || physical - RAW_MEMORY_BASE > RAW_MEMORY_SIZE ||
        size > RAW_MEMORY_SIZE - (physical - RAW_MEMORY_BASE)) {
        return false;
    }
    memcpy(raw->memory + (physical - RAW_MEMORY_BASE), buffer, size);
    if (raw->on_write != NULL) {
        raw->on_write(raw, physical, size);
    }
    return true;
}

void raw_put(uint8_t *at, unsigned int size, uint64_t value)
{
    for (unsigned int i = 0; i < size; i++) {
        at[i] = (uint8_t)(value >> (8 * i) & 0xff);
    }
}

uint64_t raw_get(const uint8_t *at, unsigned int size)
{
    uint64_t value = 0;

    for (unsigned int i = 0; i < size; i++) {
        value |= (uint64_t)at[i] << (8 * i);
    }
    return value;
}

/* ---- registers ----------------------------------------------------------------------------- */

static const struct raw_registers pci_registers = {
    .device_select = VIOMMU_MODEL_COMMON_OFFSET + RAW_COMMON_DEVICE_SELECT,
    .device_features = VIOMMU_MODEL_COMMON_OFFSET + RAW_COMMON_DEVICE_FEATURES,
    .driver_select = VIOMMU_MODEL_COMMON_OFFSET + RAW_COMMON_DRIVER_SELECT,
    .driver_features = VIOMMU_MODEL_COMMON_OFFSET + RAW_COMMON_DRIVER_FEATURES,
    .status = VIOMMU_MODEL_COMMON_OFFSET + RAW_COMMON_STATUS,
    .status_width = 1,
    .queue_select = VIOMMU_MODEL_COMMON_OFFSET + RAW_COMMON_QUEUE_SELECT,
    .queue_max = VIOMMU_MODEL_COMMON_OFFSET + RAW_COMMON_QUEUE_SIZE,
    .queue_size = VIOMMU_MODEL_COMMON_OFFSET + RAW_COMMON_QUEUE_SIZE,
    .queue_enable = VIOMMU_MODEL_COMMON_OFFSET + RAW_COMMON_QUEUE_ENABLE,
    .queue_width = 2,
    .descriptors = VIOMMU_MODEL_COMMON_OFFSET + RAW_COMMON_DESCRIPTORS,
    .driver = VIOMMU_MODEL_COMMON_OFFSET + RAW_COMMON_DRIVER,
    .device = VIOMMU_MODEL_COMMON_OFFSET + RAW_COMMON_DEVICE,
    .config = VIOMMU_MODEL_DEVICE_OFFSET,
};

static const struct raw_registers mmio_registers = {
    .device_select = RAW_MMIO_DEVICE_SELECT,
    .device_features = RAW_MMIO_DEVICE_FEATURES,
    .driver_select = RAW_MMIO_DRIVER_SELECT,
    .driver_features = RAW_MMIO_DRIVER_FEATURES,
    .status = RAW_MMIO_STATUS,
    .status_width = 4,
    .queue_select = RAW_MMIO_QUEUE_SELECT,
    .queue_max = RAW_MMIO_QUEUE_MAX,
    .queue_size = RAW_MMIO_QUEUE_SIZE,
    .queue_enable = RAW_MMIO_QUEUE_READY,
    .queue_width = 4,
    .descriptors = RAW_MMIO_DESCRIPTORS,
    .driver = RAW_MMIO_DRIVER,
    .device = RAW_MMIO_DEVICE,
    .config = RAW_MMIO_CONFIG,
};

static bool is_mmio(const struct raw *raw)
{
    return raw->parameters.transport == VIOMMU_MODEL_MMIO;
}

uint32_t raw_read(struct raw *raw, uint64_t offset, unsigned int width)
{
    return viommu_model_mmio_read(raw->model, offset, width);
}

void raw_write(struct raw *raw, uint64_t offset, unsigned int width, uint32_t value)
{
    viommu_model_mmio_write(raw->model, offset, width, value);
}

uint32_t raw_common_read(struct raw *raw, uint64_t offset, unsigned int width)
{
    return raw_read(raw, VIOMMU_MODEL_COMMON_OFFSET + offset, width);
}

void raw_common_write(struct raw *raw, uint64_t offset, unsigned int width, uint32_t value)
{
    raw_write(raw, VIOMMU_MODEL_COMMON_OFFSET + offset, width, value);
}

uint8_t raw_status(struct raw *raw)
{
    return (uint8_t)raw_read(raw, raw->registers->status, raw->registers->status_width);
}

void raw_write_status(struct raw *raw, uint8_t value)
{
    raw_write(raw, raw->registers->status, raw->registers->status_width, value);
}

void raw_set_status(struct raw *raw, uint8_t bits)
{
    raw_write_status(raw, raw_status(raw) | bits);
}

void raw_notify(struct raw *raw, unsigned int queue)
{
    if (is_mmio(raw)) {
        raw_write(raw, RAW_MMIO_NOTIFY, 4, queue);
    } else {
        raw_write(raw,
                  VIOMMU_MODEL_NOTIFY_OFFSET + (uint64_t)queue * VIOMMU_MODEL_NOTIFY_MULTIPLIER, 2,
                  queue);
    }
}

void raw_write_bypass(struct raw *raw, uint8_t value)
{
    raw_write(raw, raw->registers->config + 36, 1, value);
}

void raw_enable_device(struct raw *raw)
{
    if (is_mmio(raw)) {
        (void)raw_read(raw, RAW_MMIO_MAGIC, 4);
        (void)raw_read(raw, RAW_MMIO_VERSION, 4);
        (void)raw_read(raw, RAW_MMIO_DEVICE_ID, 4);
    } else {
        viommu_model_config_write(raw->model, 4, 2, 6);
    }
}

void raw_write_features(struct raw *raw, uint64_t features)
{
    const struct raw_registers *registers = raw->registers;

    raw_write(raw, registers->driver_select, 4, 0);
    raw_write(raw, registers->driver_features, 4, (uint32_t)(features & UINT32_MAX));
    raw_write(raw, registers->driver_select, 4, 1);
    raw_write(raw, registers->driver_features, 4, (uint32_t)(features >> 32));
}

uint64_t raw_read_features(struct raw *raw)
{
    const struct raw_registers *registers = raw->registers;
    uint64_t features;

    raw_write(raw, registers->device_select, 4, 0);
    features = raw_read(raw, registers->device_features, 4);
    raw_write(raw, registers->device_select, 4, 1);
    return features | (uint64_t)raw_read(raw, registers->device_features, 4) << 32;
}

bool raw_negotiate(struct raw *raw, uint64_t features)
{
    raw_enable_device(raw);
    raw_write_status(raw, 0);
    assert_int_equal(raw_status(raw), 0);
    raw_set_status(raw, 1);
    raw_set_status(raw, 2);
    raw_write_features(raw, raw_read_features(raw) & features);
    raw_set_status(raw, 8);
    return (raw_status(raw) & 8) != 0;
}

void raw_write_address(struct raw *raw, uint64_t offset, uint64_t value)
{
    raw_write(raw, offset, 4, (uint32_t)(value & UINT32_MAX));
    raw_write(raw, offset + 4, 4, (uint32_t)(value >> 32));
}

void raw_set_queue(struct raw *raw, unsigned int number)
{
    const struct raw_registers *registers = raw->registers;
    struct raw_ring *ring = &raw->rings[number];

    raw->packed = (viommu_model_accepted_features(raw->model) & VIOMMU_MODEL_F_RING_PACKED) != 0;
    memset(ring, 0, sizeof *ring);
    ring->base = RAW_MEMORY_BASE + RAW_RINGS + UINT64_C(0x1000) * number;
    memset(raw->memory + RAW_RINGS + 0x1000u * number, 0, 0x1000);
    raw_write(raw, registers->queue_select, registers->queue_width, number);
    assert_true(raw_read(raw, registers->queue_max, registers->queue_width) >= RAW_QUEUE_SIZE);
    raw_write(raw, registers->queue_size, registers->queue_width, raw->queue_size);
    raw_write_address(raw, registers->descriptors, ring->base);
    raw_write_address(raw, registers->driver, ring->base + RAW_RING_DRIVER);
    raw_write_address(raw, registers->device, ring->base + RAW_RING_DEVICE);
    raw_write(raw, registers->queue_enable, registers->queue_width, 1);
}

void raw_start_with(struct raw *raw, uint64_t features)
{
    assert_true(raw_negotiate(raw, features));
    raw_set_queue(raw, 0);
    raw_set_queue(raw, 1);
    raw_set_status(raw, 4);
}

void raw_start(struct raw *raw)
{
    raw_start_with(raw, UINT64_MAX);
}

/* ---- rings --------------------------------------------------------------------------------- */

uint8_t *raw_at(struct raw *raw, uint64_t physical)
{
    return raw->memory + (physical - RAW_MEMORY_BASE);
}

void raw_set_descriptor(struct raw *raw, unsigned int queue, unsigned int id, uint64_t address,
                        uint32_t length, uint16_t flags, uint16_t next)
{
    uint8_t *descriptor = raw->packed ? raw->rings[queue].descriptors[id]
                                      : raw_at(raw, raw->rings[queue].base) + 16u * id;

    raw_put(descriptor, 8, address);
    raw_put(descriptor + 8, 4, length);
    raw_put(descriptor + 12, 2, flags);
    raw_put(descriptor + 14, 2, next);
}

uint8_t *raw_at_place(struct raw *raw, unsigned int queue, uint64_t place)
{
    return raw_at(raw, raw->rings[queue].base) + 16 * (place % raw->queue_size);
}

/* The wrap counter is 1 in the first lap, and in every other one then. */
uint16_t raw_available_flags(const struct raw *raw, uint64_t place, uint16_t flags)
{
    return flags | (place / raw->queue_size % 2 == 0 ? 0x0080 : 0x8000);
}

uint16_t raw_used_flags(const struct raw *raw, uint64_t place)
{
    return place / raw->queue_size % 2 == 0 ? 0x8080 : 0;
}

/* Copies a chain into a packed ring; the flags of its first descriptor come last. */
static void publish_packed(struct raw *raw, unsigned int queue, unsigned int head)
{
    struct raw_ring *ring = &raw->rings[queue];
    uint64_t first = ring->next;
    uint16_t first_flags = (uint16_t)raw_get(ring->descriptors[head] + 12, 2);
    uint16_t flags = first_flags;
    const uint8_t *from = ring->descriptors[head];

    for (;;) {
        uint8_t *to = raw_at_place(raw, queue, ring->next);

        memcpy(to, from, 12);
        raw_put(to + 12, 2, head);
        if (ring->next != first) {
            raw_put(to + 14, 2, raw_available_flags(raw, ring->next, flags));
        }
        ring->next++;
        if ((flags & 1) == 0) {
            break;
        }
        from = ring->descriptors[raw_get(from + 14, 2)];
        flags = (uint16_t)raw_get(from + 12, 2);
    }
    ring->counts[head] = (unsigned int)(ring->next - first);
    ring->available++;
    raw_put(raw_at_place(raw, queue, first) + 14, 2, raw_available_flags(raw, first, first_flags));
}

void raw_publish(struct raw *raw, unsigned int queue, unsigned int head)
{
    struct raw_ring *ring = &raw->rings[queue];
    uint8_t *available = raw_at(raw, ring->base + RAW_RING_DRIVER);

    if (raw->packed) {
        publish_packed(raw, queue, head);
        return;
    }
    raw_put(available + 4 + 2u * (ring->available % RAW_QUEUE_SIZE), 2, head);
    ring->available++;
    raw_put(available + 2, 2, ring->available);
}

/* An id that nobody has given is looked at once, and gives back nothing. */
static bool next_used_packed(struct raw *raw, unsigned int queue, struct raw_answer *answer)
{
    struct raw_ring *ring = &raw->rings[queue];
    uint64_t place = ring->next_used;
    uint8_t *entry = raw_at_place(raw, queue, place);

    if ((raw_get(entry + 14, 2) & 0x8080) != raw_used_flags(raw, place)) {
        return false;
    }
    answer->id = (uint32_t)raw_get(entry + 12, 2);
    answer->length = (uint32_t)raw_get(entry + 8, 4);
    if (answer->id < raw->queue_size && ring->counts[answer->id] > 0) {
        ring->next_used += ring->counts[answer->id];
        ring->counts[answer->id] = 0;
    } else {
        raw_put(entry + 14, 2, ~raw_used_flags(raw, place) & 0x8080);
    }
    ring->seen++;
    return true;
}

bool raw_next_used(struct raw *raw, unsigned int queue, struct raw_answer *answer)
{
    struct raw_ring *ring = &raw->rings[queue];
    const uint8_t *used = raw_at(raw, ring->base + RAW_RING_DEVICE);
    const uint8_t *entry = used + 4 + 8u * (ring->seen % RAW_QUEUE_SIZE);

    if (raw->packed) {
        return next_used_packed(raw, queue, answer);
    }
    if ((uint16_t)raw_get(used + 2, 2) == ring->seen) {
        return false;
    }
    ring->seen++;
    answer->id = (uint32_t)raw_get(entry, 4);
    answer->length = (uint32_t)raw_get(entry + 4, 4);
    return true;
}

uint64_t raw_slot_address(unsigned int slot)
{
    return RAW_MEMORY_BASE + RAW_BUFFERS + (uint64_t)slot * RAW_BUFFER_SIZE;
}

/* Puts a request in a slot (descriptors 2 * slot and the next) and makes it available. */
void raw_post(struct raw *raw, unsigned int slot, const uint8_t *request, uint32_t readable,
              uint32_t writable)
{
    uint64_t address = raw_slot_address(slot);

    memset(raw_at(raw, address), RAW_POISON, RAW_BUFFER_SIZE);
    memcpy(raw_at(raw, address), request, readable);
    raw_set_descriptor(raw, 0, 2 * slot, address, readable, 1, (uint16_t)(2 * slot + 1));
    raw_set_descriptor(raw, 0, 2 * slot + 1, address + 128, writable, 2, 0);
    raw_publish(raw, 0, 2 * slot);
}

/* Posts in slot 0, notifies and returns the answer, which has to be there. */
struct raw_answer raw_ask(struct raw *raw, const uint8_t *request, uint32_t readable,
                          uint32_t writable)
{
    struct raw_answer answer = {.status = 0};

    raw_post(raw, 0, request, readable, writable);
    raw_notify(raw, 0);
    assert_true(raw_next_used(raw, 0, &answer));
    assert_int_equal(answer.id, 0);
    if (!raw->packed) {
        assert_int_equal(raw_get(raw_at(raw, raw->rings[0].base + RAW_RING_DEVICE + 2), 2),
                         raw->rings[0].seen);
    }
    answer.status = *raw_at(raw, raw_slot_address(0) + 128 + writable - 4);
    return answer;
}

void raw_build_attach(uint8_t *request, uint32_t domain, uint32_t endpoint, uint32_t flags)
{
    memset(request, 0, 20);
    request[0] = VIOMMU_MODEL_ATTACH;
    raw_put(request + 4, 4, domain);
    raw_put(request + 8, 4, endpoint);
    raw_put(request + 12, 4, flags);
}

void raw_build_detach(uint8_t *request, uint32_t domain, uint32_t endpoint)
{
    raw_build_attach(request, domain, endpoint, 0);
    request[0] = VIOMMU_MODEL_DETACH;
}

void raw_build_map(uint8_t *request, uint32_t domain, uint64_t first, uint64_t last,
                   uint64_t physical, uint32_t flags)
{
    memset(request, 0, 36);
    request[0] = VIOMMU_MODEL_MAP;
    raw_put(request + 4, 4, domain);
    raw_put(request + 8, 8, first);
    raw_put(request + 16, 8, last);
    raw_put(request + 24, 8, physical);
    raw_put(request + 32, 4, flags);
}

void raw_build_unmap(uint8_t *request, uint32_t domain, uint64_t first, uint64_t last)
{
    memset(request, 0, 28);
    request[0] = VIOMMU_MODEL_UNMAP;
    raw_put(request + 4, 4, domain);
    raw_put(request + 8, 8, first);
    raw_put(request + 16, 8, last);
}

/* An honest answer of 4 bytes; returns its status. */
static int status_of(struct raw_answer answer)
{
    assert_int_equal(answer.length, 4);
    return answer.status;
}

int raw_attach(struct raw *raw, uint32_t domain, uint32_t endpoint, uint32_t flags)
{
    uint8_t request[20];

    raw_build_attach(request, domain, endpoint, flags);
    return status_of(raw_ask(raw, request, sizeof request, 4));
}

int raw_detach(struct raw *raw, uint32_t domain, uint32_t endpoint)
{
    uint8_t request[20];

    raw_build_detach(request, domain, endpoint);
    return status_of(raw_ask(raw, request, sizeof request, 4));
}

int raw_map(struct raw *raw, uint32_t domain, uint64_t first, uint64_t last, uint64_t physical,
            uint32_t flags)
{
    uint8_t request[36];

    raw_build_map(request, domain, first, last, physical, flags);
    return status_of(raw_ask(raw, request, sizeof request, 4));
}

int raw_unmap(struct raw *raw, uint32_t domain, uint64_t first, uint64_t last)
{
    uint8_t request[28];

    raw_build_unmap(request, domain, first, last);
    return status_of(raw_ask(raw, request, sizeof request, 4));
}

struct raw_answer raw_probe(struct raw *raw, uint32_t endpoint)
{
    uint8_t request[72] = {VIOMMU_MODEL_PROBE};

    raw_put(request + 4, 4, endpoint);
    return raw_ask(raw, request, sizeof request, raw->parameters.probe_size + 4);
}

void raw_post_event_buffer(struct raw *raw, unsigned int id, uint32_t size)
{
    memset(raw->memory + RAW_EVENTS + 32u * id, RAW_POISON, 32);
    raw_set_descriptor(raw, 1, id, RAW_MEMORY_BASE + RAW_EVENTS + 32u * id, size, 2, 0);
    raw_publish(raw, 1, id);
}

void raw_post_event_buffers(struct raw *raw, unsigned int count)
{
    for (unsigned int i = 0; i < count; i++) {
        raw_post_event_buffer(raw, i, 24);
    }
    raw_notify(raw, 1);
}

/* The next report, which must be a well-formed one. */
static const uint8_t *next_event(struct raw *raw)
{
    struct raw_answer answer;
    const uint8_t *event;

    assert_true(raw_next_used(raw, 1, &answer));
    assert_int_equal(answer.length, 24);
    assert_true(answer.id < RAW_QUEUE_SIZE);
    event = raw->memory + RAW_EVENTS + 32u * answer.id;
    assert_int_equal(raw_get(event + 1, 3), 0);
    assert_int_equal(raw_get(event + 12, 4), 0);
    return event;
}

void raw_expect_event(struct raw *raw, uint8_t reason, uint32_t flags, uint32_t endpoint,
                      uint64_t address)
{
    const uint8_t *event = next_event(raw);

    assert_int_equal(event[0], reason);
    assert_int_equal(raw_get(event + 4, 4), flags);
    assert_int_equal(raw_get(event + 8, 4), endpoint);
    assert_int_equal(raw_get(event + 16, 8), address);
}

enum viommu_model_verdict raw_verdict(struct raw *raw, uint32_t endpoint, uint64_t iova, bool write)
{
    return viommu_model_translate(raw->model, endpoint, iova, write, NULL);
}

/* The test has provoked exactly one violation, whose text contains `part`. */
void raw_expect_violation(struct raw *raw, const char *part)
{
    const char *text = viommu_model_violation(raw->model, 0);

    if (viommu_model_violations(raw->model) != 1 || text == NULL || strstr(text, part) == NULL) {
        fail_msg("expected one violation with \"%s\", got %zu, first: %s", part,
                 viommu_model_violations(raw->model), text != NULL ? text : "none");
    }
    viommu_model_forget_violations(raw->model);
}

/* ---- set-up -------------------------------------------------------------------------------- */

void raw_make_model(struct raw *raw)
{
    static const struct viommu_model_region regions[] = {{RAW_MSI_START, RAW_MSI_END, 1},
                                                         {RAW_RESERVED_START, RAW_RESERVED_END, 0}};
    struct viommu_model_memory memory = {memory_read, memory_write, raw};

    raw->registers = is_mmio(raw) ? &mmio_registers : &pci_registers;
    viommu_model_destroy(raw->model);
    raw->model = viommu_model_create(&raw->parameters, memory);
    assert_non_null(raw->model);
    assert_true(viommu_model_add_endpoint(raw->model, RAW_ENDPOINT, NULL, 0));
    assert_true(viommu_model_add_endpoint(raw->model, RAW_OTHER, NULL, 0));
    assert_true(viommu_model_add_endpoint(raw->model, RAW_THIRD, regions, 2));
}

static int set_up_behind(void **state, enum viommu_model_transport transport, uint64_t features)
{
    static struct raw raw;

    memset(&raw, 0, sizeof raw);
    viommu_model_default_parameters(&raw.parameters);
    raw.parameters.transport = transport;
    raw.parameters.offered_features |= features;
    raw.queue_size = RAW_QUEUE_SIZE;
    raw.parameters.initial_bypass = 0;
    raw_make_model(&raw);
    *state = &raw;
    return 0;
}

int raw_set_up(void **state)
{
    return set_up_behind(state, VIOMMU_MODEL_PCI, 0);
}

int raw_set_up_mmio(void **state)
{
    return set_up_behind(state, VIOMMU_MODEL_MMIO, 0);
}

int raw_set_up_packed(void **state)
{
    return set_up_behind(state, VIOMMU_MODEL_PCI, VIOMMU_MODEL_F_RING_PACKED);
}

int raw_tear_down(void **state)
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
