/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "viommu_bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Where things lie in the memory that the guest's driver uses. */
#define DESCRIPTORS       (GUEST + 0x0000)
#define AVAILABLE         (GUEST + 0x1000)
#define USED              (GUEST + 0x2000)
#define EVENT_DESCRIPTORS (GUEST + 0x3000)
#define EVENT_AVAILABLE   (GUEST + 0x3800)
#define EVENT_USED        (GUEST + 0x4000)
#define EVENT_BUFFERS     (GUEST + 0x5000)
#define EVENT_BUFFER      32u
#define SLOTS             (GUEST + 0x6000)
#define SLOT              0x800u
#define SLOT_WRITABLE     0x400u

#define MACHINE           0x4000000000ull
#define MACHINE_REGISTERS 0x5000000000ull
#define MEMORY_PAGES      (ENGINE_MEMORY / CORE_PAGE)
#define HARDWARE_LAST     ((1ull << 39) - 1)
/* No test needs as many calls. */
#define MOST_SERVICES 1000000u

enum { NEXT = 1, WRITABLE = 2 };

/* ---- The hypervisor ---- */

uint64_t engine_machine(const struct engine_bench *bench, uint64_t guest)
{
    const uint64_t page = guest / CORE_PAGE;
    const uint64_t fragment = bench->options.fragment;
    const uint64_t place = MEMORY_PAGES / fragment - 1 - page / fragment;

    if (guest >= ENGINE_REGISTERS) {
        return MACHINE_REGISTERS + (guest - ENGINE_REGISTERS);
    }
    return MACHINE + (place * fragment + page % fragment) * CORE_PAGE + guest % CORE_PAGE;
}

/* How much from there on may be used so. */
static uint64_t granted(uint64_t guest, uint32_t flags)
{
    const bool device = (flags & VIOMMU_MMIO) != 0;
    uint64_t end = (flags & VIOMMU_WRITE) != 0 ? ENGINE_ROM : ENGINE_MEMORY;
    uint64_t first = 0;

    if (device) {
        first = ENGINE_REGISTERS;
        end = ENGINE_REGISTERS_END;
    }
    return guest >= first && guest < end ? end - guest : 0;
}

static bool grants(uint64_t guest, uint64_t size, uint32_t flags)
{
    return size != 0 && size <= granted(guest, flags);
}

static int translate(void *cookie, uint64_t guest, uint64_t size, piommu_prot prot,
                     struct piommu_segment *piece)
{
    struct engine_bench *bench = cookie;
    const uint64_t contiguous = bench->options.fragment * CORE_PAGE;
    uint64_t left = granted(guest, ((prot & PIOMMU_PROT_WRITE) != 0 ? VIOMMU_WRITE : 0) |
                                       ((prot & PIOMMU_PROT_DEVICE) != 0 ? VIOMMU_MMIO : 0));

    assert_int_equal(guest % CORE_PAGE, 0);
    assert_true(size != 0 && size % CORE_PAGE == 0);
    assert_true((prot & (PIOMMU_PROT_READ | PIOMMU_PROT_WRITE)) != 0);
    bench->translations++;
    if (bench->fail_translation != 0 && --bench->fail_translation == 0) {
        return -PIOMMU_EINVAL;
    }
    if (bench->lie.size != 0) {
        *piece = bench->lie;
        return 0;
    }
    if (left == 0) {
        return -PIOMMU_ENOENT;
    }
    if (guest < ENGINE_MEMORY && left > contiguous - guest % contiguous) {
        left = contiguous - guest % contiguous;
    }
    piece->physical = engine_machine(bench, guest);
    piece->size = size < left ? size : left;
    return 0;
}

static void completed(void *cookie, unsigned int queue)
{
    struct engine_bench *bench = cookie;

    assert_in_range(queue, PIOMMU_VIOMMU_REQUESTS, PIOMMU_VIOMMU_EVENTS);
    bench->completions[queue]++;
    if (bench->on_completed != NULL) {
        bench->on_completed(bench);
    }
}

static void needs_reset(void *cookie)
{
    ((struct engine_bench *)cookie)->needed_resets++;
}

static struct piommu_device_ring *ring(void *cookie, unsigned int queue)
{
    const struct engine_bench *bench = cookie;

    assert_in_range(queue, PIOMMU_VIOMMU_REQUESTS, PIOMMU_VIOMMU_EVENTS);
    if (bench->ring_gone[queue]) {
        return NULL;
    }
    return queue == PIOMMU_VIOMMU_REQUESTS ? bench->guest->ring : bench->events;
}

/* Whether two ranges have an address in common. */
static bool ranges_meet(const struct piommu_range *one, const struct piommu_range *other)
{
    return one->first <= other->last && other->first <= one->last;
}

static void mapped(void *cookie, void *endpoint_cookie, struct piommu_range iova, uint64_t guest,
                   piommu_prot prot)
{
    struct engine_endpoint *endpoint = endpoint_cookie;

    assert_ptr_equal(cookie, endpoint->bench);
    assert_null(endpoint->device);
    assert_true(endpoint->told_count < MODEL_MAPPINGS);
    for (unsigned int i = 0; i < endpoint->told_count; i++) {
        assert_false(ranges_meet(&endpoint->told[i].iova, &iova));
    }
    endpoint->told[endpoint->told_count++] =
        (struct engine_told){.iova = iova, .guest = guest, .prot = prot};
}

static void unmapped(void *cookie, void *endpoint_cookie, struct piommu_range iova)
{
    struct engine_endpoint *endpoint = endpoint_cookie;
    unsigned int kept = 0;

    assert_ptr_equal(cookie, endpoint->bench);
    assert_null(endpoint->device);
    for (unsigned int i = 0; i < endpoint->told_count; i++) {
        const struct piommu_range *told = &endpoint->told[i].iova;

        if (ranges_meet(told, &iova)) {
            assert_true(told->first >= iova.first && told->last <= iova.last);
        } else {
            endpoint->told[kept++] = endpoint->told[i];
        }
    }
    endpoint->told_count = kept;
}

/* ---- Making and taking down ---- */

static void express_write_only(unsigned int unit, struct piommu_backend_info *info)
{
    (void)unit;
    info->write_only = true;
}

static void map_bypass(struct engine_bench *bench)
{
    uint64_t step = bench->options.fragment * CORE_PAGE;

    step = step < ENGINE_BYPASSED ? step : ENGINE_BYPASSED;
    bench->bypass = core_paging(bench->core);
    for (uint64_t guest = 0; guest < ENGINE_BYPASSED; guest += step) {
        core_map(bench->bypass, guest, engine_machine(bench, guest), step, CORE_RW);
    }
}

static void make_model(struct engine_bench *bench, const struct piommu_viommu_config *config)
{
    struct guest_model *model = guest_model_create();

    model->granule = CORE_PAGE;
    model->input_first = config->input.first;
    model->input_last = config->input.last != 0 ? config->input.last : UINT64_MAX;
    model->hardware_last = HARDWARE_LAST;
    model->last_domain = config->last_domain != 0 ? config->last_domain : UINT32_MAX;
    model->max_domains = config->max_domains != 0 ? config->max_domains : 64;
    model->max_mappings = config->max_mappings != 0 ? config->max_mappings : 65536;
    model->probe_size = config->probe_size;
    model->grants = grants;
    bench->model = model;
}

static struct piommu_viommu_config configuration(struct engine_bench *bench)
{
    struct piommu_viommu_config config = {
        .callbacks = {.translate = translate,
                      .completed = completed,
                      .needs_reset = needs_reset,
                      .ring = ring,
                      .mapped = mapped,
                      .unmapped = unmapped},
        .cookie = bench,
        .probe_size = ENGINE_PROBE_SIZE,
        .bypass = bench->bypass,
        .starts_bypassed = bench->options.starts_bypassed,
        .owner = bench,
        .name = "guest",
    };

    if (bench->options.adjust != NULL) {
        bench->options.adjust(&config);
    }
    return config;
}

static void make_engine(struct engine_bench *bench)
{
    const struct piommu_viommu_config config = configuration(bench);

    make_model(bench, &config);
    assert_int_equal(piommu_viommu_create(fake_os_host(bench->core->os), &config, &bench->viommu),
                     0);
}

static void make_endpoints(struct engine_bench *bench)
{
    const struct engine_options *options = &bench->options;

    assert_true(options->devices + options->software <= MODEL_ENDPOINTS);
    for (unsigned int i = 0; i < options->devices + options->software; i++) {
        struct engine_endpoint *endpoint = &bench->endpoints[i];

        endpoint->bench = bench;
        endpoint->hardware_id = i + 1;
        if (i < options->devices) {
            endpoint->id = ENGINE_DEVICE(i);
            endpoint->device = core_add_device(bench->core, i % options->core.units,
                                               endpoint->hardware_id, NULL, 0, 0);
        } else {
            endpoint->id = ENGINE_SOFTWARE(i - options->devices);
            endpoint->told = calloc(MODEL_MAPPINGS, sizeof(endpoint->told[0]));
            assert_non_null(endpoint->told);
        }
        engine_add(bench, i);
    }
}

struct engine_bench *engine_open(const struct engine_options *options)
{
    struct engine_bench *bench = calloc(1, sizeof(*bench));

    assert_non_null(bench);
    bench->options = *options;
    bench->options.fragment = options->fragment != 0 ? options->fragment : 16;
    bench->budget = UINT32_MAX;
    bench->bypassed = options->starts_bypassed;
    bench->core =
        core_open(&options->core, options->write_only ? express_write_only : options->adjust_units);
    bench->guest = guest_open(ENGINE_RING, ENGINE_RING);
    assert_int_equal(piommu_device_ring_create(fake_os_host(bench->guest->os),
                                               &bench->guest->access, ENGINE_EVENTS, 4,
                                               &bench->events),
                     0);
    if (options->bypass) {
        map_bypass(bench);
    }
    make_engine(bench);
    make_endpoints(bench);
    engine_window(bench, 0, 40 * CORE_PAGE);
    engine_start(bench);
    engine_check(bench);
    return bench;
}

void engine_close(struct engine_bench *bench)
{
    assert_int_equal(piommu_viommu_destroy(bench->viommu), 0);
    for (unsigned int i = 0; i < MODEL_ENDPOINTS; i++) {
        assert_int_equal(bench->endpoints[i].told_count, 0);
        free(bench->endpoints[i].told);
    }
    guest_model_destroy(bench->model);
    piommu_device_ring_destroy(bench->events);
    guest_close(bench->guest);
    core_close(bench->core);
    free(bench);
}

void engine_start(struct engine_bench *bench)
{
    const struct piommu_device_ring_config requests = {
        .size = ENGINE_RING, .descriptors = DESCRIPTORS, .available = AVAILABLE, .used = USED};
    const struct piommu_device_ring_config events = {.size = ENGINE_EVENTS,
                                                     .descriptors = EVENT_DESCRIPTORS,
                                                     .available = EVENT_AVAILABLE,
                                                     .used = EVENT_USED};
    const uint64_t features = piommu_viommu_features(bench->viommu) & ~bench->options.refused;

    guest_start(bench->guest, &requests);
    assert_int_equal(piommu_device_ring_start(bench->events, &events), 0);
    bench->posted = 0;
    bench->next_descriptor = 0;
    bench->answered = 0;
    bench->events_posted = 0;
    bench->events_taken = 0;
    bench->model->agreed_mmio = (features & PIOMMU_VIOMMU_F_MMIO) != 0;
    bench->model->agreed_bypass = (features & PIOMMU_VIOMMU_F_BYPASS_CONFIG) != 0;
    piommu_viommu_start(bench->viommu, features);
}

void engine_reset(struct engine_bench *bench)
{
    guest_model_reset(bench->model);
    piommu_viommu_reset(bench->viommu);
    engine_service(bench);
    engine_start(bench);
    engine_check(bench);
}

int engine_add_with(struct engine_bench *bench, unsigned int number,
                    const struct piommu_reserved_region *regions, size_t count)
{
    struct engine_endpoint *endpoint = &bench->endpoints[number];
    struct model_endpoint *model = &bench->model->endpoints[number];
    const struct piommu_viommu_endpoint_config config = {
        .id = endpoint->id,
        .device = endpoint->device,
        .cookie = endpoint,
        .regions = regions,
        .region_count = count,
    };
    int error = piommu_viommu_add_endpoint(bench->viommu, &config, &endpoint->endpoint);

    if (error != 0) {
        return error;
    }
    *model = (struct model_endpoint){
        .used = true,
        .id = endpoint->id,
        .device = endpoint->device != NULL,
        .region_count = (unsigned int)count,
    };
    for (size_t i = 0; i < count; i++) {
        model->regions[i].first = regions[i].range.first;
        model->regions[i].last = regions[i].range.last;
    }
    return 0;
}

void engine_add(struct engine_bench *bench, unsigned int number)
{
    assert_int_equal(engine_add_with(bench, number, NULL, 0), 0);
}

int engine_remove(struct engine_bench *bench, unsigned int number)
{
    struct model_endpoint *model = &bench->model->endpoints[number];
    int error = piommu_viommu_remove_endpoint(bench->endpoints[number].endpoint);

    if (error == 0) {
        bench->endpoints[number].endpoint = NULL;
        guest_model_leave(bench->model, model);
        *model = (struct model_endpoint){0};
    }
    return error;
}

/* The same endpoints for another engine. */
static void add_again(struct engine_bench *bench, unsigned int number)
{
    const struct model_endpoint *model = &bench->model->endpoints[number];
    struct engine_endpoint *endpoint = &bench->endpoints[number];
    struct piommu_reserved_region regions[MODEL_REGIONS];
    const struct piommu_viommu_endpoint_config config = {
        .id = endpoint->id,
        .device = endpoint->device,
        .cookie = endpoint,
        .regions = regions,
        .region_count = model->region_count,
    };

    for (unsigned int i = 0; i < model->region_count; i++) {
        regions[i] = (struct piommu_reserved_region){
            .range = {model->regions[i].first, model->regions[i].last}, .kind = PIOMMU_RESERVED};
    }
    assert_int_equal(piommu_viommu_add_endpoint(bench->viommu, &config, &endpoint->endpoint), 0);
}

void *engine_save(struct engine_bench *bench, size_t *size)
{
    void *buffer;
    int error;

    while ((error = piommu_viommu_save(bench->viommu, NULL, 0, size)) == -PIOMMU_EAGAIN) {
        (void)piommu_viommu_service(bench->viommu, bench->budget);
    }
    assert_int_equal(error, -PIOMMU_ENOSPC);
    buffer = malloc(*size);
    assert_non_null(buffer);
    assert_int_equal(piommu_viommu_save(bench->viommu, buffer, *size - 1, size), -PIOMMU_ENOSPC);
    assert_int_equal(piommu_viommu_save(bench->viommu, buffer, *size, size), 0);
    return buffer;
}

void engine_renew(struct engine_bench *bench)
{
    const struct piommu_viommu_config config = configuration(bench);

    assert_int_equal(piommu_viommu_destroy(bench->viommu), 0);
    assert_int_equal(piommu_viommu_create(fake_os_host(bench->core->os), &config, &bench->viommu),
                     0);
    for (unsigned int i = 0; i < MODEL_ENDPOINTS; i++) {
        if (bench->endpoints[i].endpoint != NULL) {
            add_again(bench, i);
        }
    }
}

void engine_migrate(struct engine_bench *bench)
{
    size_t size;
    void *state = engine_save(bench, &size);
    void *again;
    size_t size_again;

    engine_renew(bench);
    assert_int_equal(piommu_viommu_restore(bench->viommu, state, size), 0);
    guest_model_forget_devices(bench->model);
    /* Nothing was lost on the way. */
    again = engine_save(bench, &size_again);
    assert_int_equal(size, size_again);
    free(again);
    free(state);
}

void engine_window(struct engine_bench *bench, uint64_t first, uint64_t size)
{
    assert_true(bench->window_count < ENGINE_WINDOWS);
    bench->windows[bench->window_count++] =
        (struct piommu_range){.first = first, .last = first + (size - 1)};
}

void engine_write_bypass(struct engine_bench *bench, uint8_t value)
{
    piommu_viommu_write_config(bench->viommu, 36, &value, 1);
    bench->bypassed = bench->bypass != NULL && (value & 1) != 0;
}

/* ---- Requests ---- */

void engine_put(struct engine_request *request, unsigned int offset, uint64_t value,
                unsigned int size)
{
    for (unsigned int i = 0; i < size; i++) {
        request->bytes[offset + i] = (uint8_t)(value >> (8 * i));
    }
}

static struct engine_request make_request(enum viommu_type type, uint32_t readable, uint32_t first)
{
    struct engine_request request = {.readable = readable, .writable = 4};

    request.bytes[0] = (uint8_t)type;
    engine_put(&request, 4, first, 4);
    return request;
}

struct engine_request engine_attach_request(uint32_t domain, uint32_t endpoint, uint32_t flags)
{
    struct engine_request request = make_request(VIOMMU_ATTACH, 20, domain);

    engine_put(&request, 8, endpoint, 4);
    engine_put(&request, 12, flags, 4);
    return request;
}

struct engine_request engine_detach_request(uint32_t domain, uint32_t endpoint)
{
    struct engine_request request = make_request(VIOMMU_DETACH, 20, domain);

    engine_put(&request, 8, endpoint, 4);
    return request;
}

struct engine_request engine_map_request(uint32_t domain, uint64_t first, uint64_t last,
                                         uint64_t guest, uint32_t flags)
{
    struct engine_request request = make_request(VIOMMU_MAP, 36, domain);

    engine_put(&request, 8, first, 8);
    engine_put(&request, 16, last, 8);
    engine_put(&request, 24, guest, 8);
    engine_put(&request, 32, flags, 4);
    return request;
}

struct engine_request engine_unmap_request(uint32_t domain, uint64_t first, uint64_t last)
{
    struct engine_request request = make_request(VIOMMU_UNMAP, 28, domain);

    engine_put(&request, 8, first, 8);
    engine_put(&request, 16, last, 8);
    return request;
}

struct engine_request engine_probe_request(uint32_t endpoint)
{
    struct engine_request request = make_request(VIOMMU_PROBE, 72, endpoint);

    request.writable = ENGINE_PROBE_SIZE + 4;
    return request;
}

/* ---- The driver ---- */

uint64_t engine_readable(unsigned int slot)
{
    return SLOTS + (uint64_t)slot * SLOT;
}

uint64_t engine_writable(unsigned int slot)
{
    return engine_readable(slot) + SLOT_WRITABLE;
}

static void put_descriptor(struct guest *guest, uint64_t table, unsigned int number,
                           uint64_t address, uint32_t length, unsigned int flags)
{
    guest_put(guest, table + 16ull * number, address, 8);
    guest_put(guest, table + 16ull * number + 8, length, 4);
    guest_put(guest, table + 16ull * number + 12, flags, 2);
    guest_put(guest, table + 16ull * number + 14, (number + 1) % ENGINE_RING, 2);
}

static uint32_t piece_size(const struct engine_bench *bench, uint32_t left)
{
    uint32_t size = left;

    if (bench->framing == ENGINE_IN_BYTES) {
        size = 1;
    } else if (bench->framing == ENGINE_UNEVEN) {
        size = 1 + (left + bench->posted) % 7;
    }
    return size < left ? size : left;
}

/* Descriptors for a part of a request, of which `more` follows. */
static void put_part(struct engine_bench *bench, uint64_t address, uint32_t size,
                     unsigned int flags, bool more)
{
    while (size != 0) {
        const uint32_t piece = piece_size(bench, size);

        put_descriptor(bench->guest, DESCRIPTORS, bench->next_descriptor, address, piece,
                       flags | (more || piece != size ? NEXT : 0));
        bench->next_descriptor = (uint16_t)((bench->next_descriptor + 1) % ENGINE_RING);
        address += piece;
        size -= piece;
    }
}

static void offer(struct guest *guest, uint64_t available, unsigned int size, uint16_t *posted,
                  unsigned int head)
{
    guest_put(guest, available + 4 + 2ull * (*posted % size), head, 2);
    (*posted)++;
    guest_put(guest, available + 2, *posted, 2);
}

unsigned int engine_post(struct engine_bench *bench, const struct engine_request *request)
{
    const unsigned int slot = bench->posted % ENGINE_SLOTS;
    const unsigned int head = bench->next_descriptor;

    assert_true(request->readable + request->writable != 0);
    assert_true(request->readable <= sizeof(request->bytes) && request->writable <= SLOT_WRITABLE);
    assert_true((uint16_t)(bench->posted - bench->answered) < ENGINE_SLOTS);
    memcpy(bench->guest->memory + (engine_readable(slot) - GUEST), request->bytes,
           request->readable);
    memset(bench->guest->memory + (engine_writable(slot) - GUEST), ENGINE_POISON, SLOT_WRITABLE);
    put_part(bench, engine_readable(slot), request->readable, 0, request->writable != 0);
    put_part(bench, engine_writable(slot), request->writable, WRITABLE, false);
    bench->slots[head] = slot;
    bench->requests[slot] = *request;
    offer(bench->guest, AVAILABLE, ENGINE_RING, &bench->posted, head);
    return slot;
}

void engine_service(struct engine_bench *bench)
{
    bench->services = 1;
    while (piommu_viommu_service(bench->viommu, bench->budget) != 0) {
        if (++bench->services > MOST_SERVICES) {
            fail_msg("service does not come to an end");
        }
    }
}

/* What was written of an answer lies at its beginning, and no byte behind it was touched. */
static enum viommu_status status_of(struct engine_bench *bench, const struct engine_answer *answer)
{
    const struct engine_request *request = &bench->requests[answer->slot];
    const uint8_t *bytes = bench->guest->memory + (engine_writable(answer->slot) - GUEST);
    const uint32_t tail = answer->length - 4;

    for (uint32_t i = answer->length; i < SLOT_WRITABLE; i++) {
        assert_int_equal(bytes[i], ENGINE_POISON);
    }
    if (answer->length == 0) {
        return VIOMMU_UNANSWERED;
    }
    assert_in_range(answer->length, 4, request->writable);
    assert_int_equal(bytes[tail + 1] | bytes[tail + 2] | bytes[tail + 3], 0);
    assert_in_range(bytes[tail], VIOMMU_OK, VIOMMU_NOMEM);
    if (request->bytes[0] != VIOMMU_PROBE) {
        assert_int_equal(answer->length, 4);
    }
    return (enum viommu_status)bytes[tail];
}

static void judge(struct engine_bench *bench, const struct engine_request *request,
                  enum viommu_status status)
{
    const uint32_t right =
        guest_model_judge(bench->model, request->bytes, request->readable, request->writable);

    if (!bench->unjudged && (right & 1u << status) == 0) {
        fail_msg("a request of type %u is answered with %u, instead of one in %#" PRIx32,
                 request->bytes[0], status, right);
    }
    if (status == VIOMMU_OK) {
        guest_model_apply(bench->model, request->bytes);
    }
}

bool engine_answer(struct engine_bench *bench, struct engine_answer *answer)
{
    const uint64_t entry = USED + 4 + 8ull * (bench->answered % ENGINE_RING);
    uint64_t head;

    if (guest_get(bench->guest, USED + 2, 2) == bench->answered) {
        return false;
    }
    head = guest_get(bench->guest, entry, 4);
    assert_in_range(head, 0, ENGINE_RING - 1);
    answer->slot = bench->slots[head];
    answer->length = (uint32_t)guest_get(bench->guest, entry + 4, 4);
    /* Requests are answered in their order. */
    assert_int_equal(answer->slot, bench->answered % ENGINE_SLOTS);
    bench->answered++;
    answer->status = status_of(bench, answer);
    judge(bench, &bench->requests[answer->slot], answer->status);
    return true;
}

enum viommu_status engine_ask(struct engine_bench *bench, const struct engine_request *request)
{
    struct engine_answer answer;
    struct engine_answer another;

    (void)engine_post(bench, request);
    engine_service(bench);
    if (!engine_answer(bench, &answer)) {
        fail_msg("a request of type %u is not given back", request->bytes[0]);
    }
    assert_false(engine_answer(bench, &another));
    engine_check(bench);
    return answer.status;
}

enum viommu_status engine_attach(struct engine_bench *bench, uint32_t domain, uint32_t endpoint,
                                 uint32_t flags)
{
    const struct engine_request request = engine_attach_request(domain, endpoint, flags);

    return engine_ask(bench, &request);
}

enum viommu_status engine_detach(struct engine_bench *bench, uint32_t domain, uint32_t endpoint)
{
    const struct engine_request request = engine_detach_request(domain, endpoint);

    return engine_ask(bench, &request);
}

enum viommu_status engine_map(struct engine_bench *bench, uint32_t domain, uint64_t first,
                              uint64_t last, uint64_t guest, uint32_t flags)
{
    const struct engine_request request = engine_map_request(domain, first, last, guest, flags);

    return engine_ask(bench, &request);
}

enum viommu_status engine_unmap(struct engine_bench *bench, uint32_t domain, uint64_t first,
                                uint64_t last)
{
    const struct engine_request request = engine_unmap_request(domain, first, last);

    return engine_ask(bench, &request);
}

/* ---- Events ---- */

static uint64_t event_buffer(unsigned int number)
{
    return EVENT_BUFFERS + (uint64_t)(number % ENGINE_EVENTS) * EVENT_BUFFER;
}

void engine_post_event(struct engine_bench *bench, uint32_t size)
{
    const unsigned int number = bench->events_posted % ENGINE_EVENTS;

    assert_true(size <= EVENT_BUFFER);
    memset(bench->guest->memory + (event_buffer(number) - GUEST), ENGINE_POISON, EVENT_BUFFER);
    put_descriptor(bench->guest, EVENT_DESCRIPTORS, number, event_buffer(number), size, WRITABLE);
    offer(bench->guest, EVENT_AVAILABLE, ENGINE_EVENTS, &bench->events_posted, number);
}

const uint8_t *engine_event(struct engine_bench *bench, uint32_t *length)
{
    const uint64_t entry = EVENT_USED + 4 + 8ull * (bench->events_taken % ENGINE_EVENTS);

    if (guest_get(bench->guest, EVENT_USED + 2, 2) == bench->events_taken) {
        return NULL;
    }
    bench->events_taken++;
    *length = (uint32_t)guest_get(bench->guest, entry + 4, 4);
    return bench->guest->memory +
           (event_buffer((unsigned int)guest_get(bench->guest, entry, 4)) - GUEST);
}

/* ---- Comparing ---- */

/* What an endpoint may do at an address, as flags of MAP, and where that leads. */
static uint32_t allowed(const struct engine_bench *bench, unsigned int number, uint64_t iova,
                        uint64_t *guest)
{
    const struct model_endpoint *endpoint = &bench->model->endpoints[number];
    const struct model_mapping *mapping;

    if (endpoint->domain == NULL ? bench->bypassed : endpoint->domain->bypass) {
        *guest = iova;
        return VIOMMU_READ | VIOMMU_WRITE;
    }
    mapping = endpoint->domain != NULL ? guest_model_find(endpoint->domain, iova) : NULL;
    if (mapping == NULL) {
        return 0;
    }
    *guest = mapping->guest + (iova - mapping->first);
    return mapping->flags & (VIOMMU_READ | VIOMMU_WRITE);
}

static void check_access(struct engine_bench *bench, unsigned int number, uint64_t iova, bool write,
                         bool expected, uint64_t guest)
{
    const struct engine_endpoint *endpoint = &bench->endpoints[number];
    const uint64_t reached = core_reached(bench->core, endpoint->hardware_id, iova, write);

    if (reached != (expected ? engine_machine(bench, guest) : CORE_NOTHING)) {
        fail_msg("device %u gets to %#" PRIx64 " at %#" PRIx64 " for %s, which is %s", number,
                 reached, iova, write ? "writing" : "reading", expected ? "wrong" : "forbidden");
    }
}

/* What the core says that it has mapped for a device that is in a domain of the guest. */
static void check_lookup(struct engine_bench *bench, unsigned int number, uint64_t iova,
                         bool expected, uint64_t guest)
{
    const struct model_endpoint *model = &bench->model->endpoints[number];
    struct piommu_device_info info;
    struct piommu_translation result;
    int error;

    if (model->domain == NULL || model->domain->bypass) {
        return;
    }
    piommu_device_get_info(bench->endpoints[number].device, &info);
    assert_non_null(info.domain);
    error = piommu_domain_lookup(info.domain, iova, &result);
    assert_int_equal(error, expected ? 0 : -PIOMMU_ENOENT);
    if (expected) {
        assert_int_equal(result.physical, engine_machine(bench, guest));
    }
}

static void check_device(struct engine_bench *bench, unsigned int number, uint64_t iova)
{
    uint64_t guest = 0;
    uint32_t flags = allowed(bench, number, iova, &guest);

    if (guest == iova && guest >= ENGINE_BYPASSED && (flags & VIOMMU_WRITE) != 0 &&
        (bench->model->endpoints[number].domain == NULL ||
         bench->model->endpoints[number].domain->bypass)) {
        flags = 0;
    }
    /* Hardware may let a device read what it may write. */
    if ((flags & VIOMMU_WRITE) != 0 && !bench->options.write_only) {
        flags |= VIOMMU_READ;
    }
    check_access(bench, number, iova, false, (flags & VIOMMU_READ) != 0, guest);
    check_access(bench, number, iova, true, (flags & VIOMMU_WRITE) != 0, guest);
    check_lookup(bench, number, iova, flags != 0, guest);
}

static void check_translation(struct engine_bench *bench, unsigned int number, uint64_t iova,
                              piommu_prot prot)
{
    struct piommu_segment piece;
    uint64_t guest = 0;
    const uint32_t flags = allowed(bench, number, iova, &guest);
    size_t count = 0;
    int error = piommu_viommu_translate(bench->endpoints[number].endpoint, iova, 1, prot, &piece, 1,
                                        &count);

    if (flags == 0) {
        assert_int_equal(error, -PIOMMU_ENOENT);
    } else if ((flags & prot) != prot) {
        assert_int_equal(error, -PIOMMU_EOPNOTSUPP);
    } else {
        assert_int_equal(error, 0);
        assert_int_equal(count, 1);
        assert_int_equal(piece.physical, guest);
        assert_int_equal(piece.size, 1);
    }
}

static bool was_told(const struct engine_endpoint *endpoint, const struct model_mapping *mapping)
{
    for (unsigned int i = 0; i < endpoint->told_count; i++) {
        const struct engine_told *told = &endpoint->told[i];

        if (told->iova.first == mapping->first && told->iova.last == mapping->last) {
            return told->guest == mapping->guest &&
                   (told->prot & CORE_RW) == (mapping->flags & CORE_RW) &&
                   ((told->prot & PIOMMU_PROT_DEVICE) != 0) ==
                       ((mapping->flags & VIOMMU_MMIO) != 0);
        }
    }
    return false;
}

static void check_told(struct engine_bench *bench, unsigned int number)
{
    const struct engine_endpoint *endpoint = &bench->endpoints[number];
    const struct model_domain *domain = bench->model->endpoints[number].domain;

    assert_int_equal(endpoint->told_count, domain != NULL ? domain->count : 0);
    for (unsigned int i = 0; i < endpoint->told_count; i++) {
        assert_true(was_told(endpoint, &domain->mappings[i]));
    }
}

static void check_address(struct engine_bench *bench, unsigned int number, uint64_t iova)
{
    if (bench->endpoints[number].device != NULL) {
        check_device(bench, number, iova);
        return;
    }
    check_translation(bench, number, iova, PIOMMU_PROT_READ);
    check_translation(bench, number, iova + 1, PIOMMU_PROT_WRITE);
    check_translation(bench, number, iova + CORE_PAGE - 1, CORE_RW);
}

struct piommu_viommu_statistics engine_statistics(const struct engine_bench *bench)
{
    struct piommu_viommu_statistics statistics;

    piommu_viommu_get_statistics(bench->viommu, &statistics);
    return statistics;
}

void engine_check_reach(struct engine_bench *bench)
{
    for (unsigned int i = 0; i < MODEL_ENDPOINTS; i++) {
        if (bench->endpoints[i].endpoint == NULL) {
            continue;
        }
        for (unsigned int j = 0; j < bench->window_count; j++) {
            const struct piommu_range *window = &bench->windows[j];

            for (uint64_t at = 0; at <= window->last - window->first; at += CORE_PAGE) {
                check_address(bench, i, window->first + at);
            }
        }
        if (bench->endpoints[i].device == NULL) {
            check_told(bench, i);
        }
    }
}

void engine_check(struct engine_bench *bench)
{
    uint8_t bypass = 0;

    engine_check_reach(bench);
    assert_int_equal(engine_statistics(bench).domains, guest_model_domains(bench->model));
    assert_int_equal(engine_statistics(bench).mappings, guest_model_mappings(bench->model));
    piommu_viommu_read_config(bench->viommu, 36, &bypass, 1);
    assert_int_equal(bypass, bench->bypassed);
}
