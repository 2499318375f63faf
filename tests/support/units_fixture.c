/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "units_fixture.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PAGE   0x1000ull
#define RW     (PIOMMU_PROT_READ | PIOMMU_PROT_WRITE)
#define MEMORY 0x900000000ull
#define STRIDE 0x010000000ull

/*
 * The shim's callbacks get the fake OS, which does not know of the fixture, so this remembers whose
 * clock and log it is: tests of one program run one after the other.
 */
static struct units *current;
static uint64_t (*fake_now)(void *ctx);
static void (*fake_log)(void *ctx, enum piommu_log_level level, const char *line);

static uint64_t now(void *ctx)
{
    return fake_now(ctx) + current->clock_offset;
}

static void log_line(void *ctx, enum piommu_log_level level, const char *line)
{
    size_t length = strlen(line);

    fake_log(ctx, level, line);
    if (current->log_length + length + 2 <= UNITS_LOG_SIZE) {
        memcpy(current->log + current->log_length, line, length);
        current->log_length += length;
        current->log[current->log_length++] = '\n';
        current->log[current->log_length] = '\0';
    }
}

/* ---- Callbacks of the context ---- */

static enum piommu_fault_answer on_fault(void *cookie, const struct piommu_fault *fault)
{
    struct units *units = cookie;

    assert_true(units->fault_count < UNITS_MAX_FAULTS);
    units->faults[units->fault_count++] = *fault;
    if (units->on_fault != NULL) {
        units->on_fault(units, fault);
    }
    return units->answer;
}

static struct piommu_domain *on_choose(void *cookie, const struct piommu_device *device)
{
    struct units *units = cookie;

    units->choices++;
    units->asked = device;
    return units->choose != NULL ? units->choose(units, device) : units->chosen;
}

static void on_instance_ready(void *cookie, struct piommu_instance *instance, int error)
{
    struct units *units = cookie;

    assert_true(units->news_count < UNITS_MAX_NEWS);
    units->news[units->news_count++] =
        (struct units_news){.instance = instance, .device = NULL, .error = error};
    if (units->on_news != NULL) {
        units->on_news(units, instance, NULL, error);
    }
}

static void on_device_ready(void *cookie, struct piommu_device *device, int error)
{
    struct units *units = cookie;

    assert_true(units->news_count < UNITS_MAX_NEWS);
    units->news[units->news_count++] =
        (struct units_news){.instance = NULL, .device = device, .error = error};
    if (units->on_news != NULL) {
        units->on_news(units, NULL, device, error);
    }
}

static void on_event(void *cookie, const struct piommu_event *event)
{
    struct units *units = cookie;

    /* Long tests that do not ask make more of them than anybody wants. */
    if (units->event_count < UNITS_MAX_EVENTS) {
        units->events[units->event_count++] = *event;
    }
    if (units->on_event != NULL) {
        units->on_event(units, event);
    }
}

/* ---- Opening and closing ---- */

struct units *units_open(void)
{
    return units_open_over(NULL);
}

struct units *units_open_over(const struct fake_os_options *options)
{
    struct units *units = calloc(1, sizeof(*units));
    struct piommu_context_config config = {.cookie = units,
                                           .fault = on_fault,
                                           .choose_domain = on_choose,
                                           .instance_ready = on_instance_ready,
                                           .device_ready = on_device_ready,
                                           .trace = on_event};
    struct piommu_os *callbacks;

    current = units;
    units->os = fake_os_create(options);
    callbacks = fake_os_callbacks(units->os);
    fake_now = callbacks->now;
    fake_log = callbacks->log;
    callbacks->now = now;
    callbacks->log = log_line;
    units->spy = spy_create(units->os);
    spy_observe(units->spy, units_probe, units);
    assert_int_equal(piommu_context_create(fake_os_host(units->os), &config, &units->context), 0);
    return units;
}

/* Children go before their parents, whatever the order in which they came. */
static void destroy_instances(struct units *units)
{
    for (unsigned int round = 0; round < SPY_MAX_UNITS; round++) {
        for (unsigned int i = 0; i < SPY_MAX_UNITS; i++) {
            if (units->instances[i] != NULL && piommu_instance_destroy(units->instances[i]) == 0) {
                units->instances[i] = NULL;
            }
        }
    }
    for (unsigned int i = 0; i < SPY_MAX_UNITS; i++) {
        assert_null(units->instances[i]);
    }
}

void units_close(struct units *units)
{
    for (unsigned int i = 0; i < units->device_count; i++) {
        if (units->devices[i].device != NULL) {
            units_detach(units, units->devices[i].device);
        }
    }
    for (unsigned int i = 0; i < units->domain_count; i++) {
        if (units->domains[i] != NULL) {
            assert_int_equal(piommu_domain_destroy(units->domains[i]), 0);
        }
    }
    for (unsigned int i = 0; i < units->device_count; i++) {
        assert_int_equal(piommu_device_remove(units->devices[i].device), 0);
    }
    destroy_instances(units);
    assert_int_equal(piommu_context_destroy(units->context), 0);
    spy_destroy(units->spy);
    fake_os_destroy(units->os);
    current = NULL;
    free(units);
}

/* ---- Units ---- */

unsigned int units_prepare(struct units *units, const struct spy_options *options)
{
    return spy_add_unit(units->spy, options);
}

int units_start(struct units *units, unsigned int unit, struct piommu_instance_config config)
{
    config.owner = &units->instances[unit];
    return piommu_instance_create(units->context, spy_backend(units->spy, unit),
                                  spy_config(units->spy, unit), &config, &units->instances[unit]);
}

unsigned int units_add(struct units *units, const struct spy_options *options, const char *name)
{
    return units_add_keyed(units, options, name, 0, 0);
}

unsigned int units_add_keyed(struct units *units, const struct spy_options *options,
                             const char *name, uint64_t key, uint64_t parent_key)
{
    unsigned int unit = units_prepare(units, options);
    struct piommu_instance_config config = {.name = name, .key = key, .parent_key = parent_key};

    assert_int_equal(units_start(units, unit, config), 0);
    return unit;
}

enum piommu_instance_state units_state(struct units *units, unsigned int unit)
{
    struct piommu_instance_info info;

    piommu_instance_get_info(units->instances[unit], &info);
    assert_int_equal(info.failed, info.state == PIOMMU_INSTANCE_FAILED);
    return info.state;
}

/* ---- Devices ---- */

int units_try_device(struct units *units, const struct piommu_device_config *config,
                     const struct units_id *ids, struct piommu_device **device)
{
    struct units_device *record = &units->devices[units->device_count];
    int error;

    assert_true(units->device_count < UNITS_MAX_DEVICES);
    *record = (struct units_device){.device = NULL, .id_count = config->id_count};
    for (size_t i = 0; i < config->id_count; i++) {
        record->ids[i] = ids[i];
    }
    /* Before the call: choose_domain may let it reach something within. */
    units->device_count++;
    error = piommu_device_add(units->context, config, &record->device);
    if (error != 0) {
        units->device_count--;
        return error;
    }
    *device = record->device;
    return 0;
}

struct piommu_device *units_device(struct units *units, const char *name,
                                   const struct units_id *ids, size_t count)
{
    struct piommu_device_id places[PIOMMU_DEVICE_MAX_IDS];
    struct piommu_device_config config = {.ids = places,
                                          .id_count = count,
                                          .name = name,
                                          .owner = &units->devices[units->device_count]};
    struct piommu_device *device;

    for (size_t i = 0; i < count; i++) {
        places[i] = (struct piommu_device_id){
            .instance = units->instances[ids[i].unit], .key = 0, .id = ids[i].id};
    }
    assert_int_equal(units_try_device(units, &config, ids, &device), 0);
    return device;
}

struct piommu_device *units_device_one(struct units *units, const char *name, unsigned int unit,
                                       uint32_t id)
{
    const struct units_id ids[] = {{unit, id}};

    return units_device(units, name, ids, 1);
}

static struct units_device *record_of(struct units *units, const struct piommu_device *device)
{
    for (unsigned int i = 0; i < units->device_count; i++) {
        if (units->devices[i].device == device) {
            return &units->devices[i];
        }
    }
    fail_msg("the fixture does not know the device");
    return NULL;
}

void units_remove(struct units *units, struct piommu_device *device)
{
    struct units_device *record = record_of(units, device);

    assert_int_equal(piommu_device_remove(device), 0);
    record->device = NULL;
}

/* ---- Domains ---- */

static unsigned int number_of(const struct units *units, const struct piommu_domain *domain)
{
    for (unsigned int i = 0; i < units->domain_count; i++) {
        if (units->domains[i] == domain) {
            return i;
        }
    }
    fail_msg("the fixture does not know the domain");
    return 0;
}

int units_try_domain(struct units *units, const struct piommu_domain_config *config,
                     struct piommu_domain **domain)
{
    int error = piommu_domain_create(config, domain);

    if (error == 0) {
        assert_true(units->domain_count < UNITS_MAX_DOMAINS);
        units->domains[units->domain_count++] = *domain;
    }
    return error;
}

struct piommu_domain *units_domain(struct units *units, const char *name, unsigned int first,
                                   unsigned int count)
{
    struct piommu_domain_config config = {.type = PIOMMU_DOMAIN_PAGING,
                                          .instances = &units->instances[first],
                                          .instance_count = count,
                                          .name = name,
                                          .owner = &units->domains[units->domain_count]};
    struct piommu_domain *domain;

    assert_int_equal(units_try_domain(units, &config, &domain), 0);
    units_fill(units, domain);
    return domain;
}

void units_fill(struct units *units, struct piommu_domain *domain)
{
    uint64_t memory = units_memory(units, domain);

    assert_int_equal(piommu_domain_map(domain, UNITS_PAGE, memory, PAGE, RW), 0);
    assert_int_equal(
        piommu_domain_map(domain, units_own_page(units, domain), memory + PAGE, PAGE, RW), 0);
}

uint64_t units_own_page(const struct units *units, const struct piommu_domain *domain)
{
    return 0x100000ull * (number_of(units, domain) + 1u);
}

uint64_t units_memory(const struct units *units, const struct piommu_domain *domain)
{
    return MEMORY + STRIDE * number_of(units, domain);
}

void units_drop(struct units *units, struct piommu_domain *domain)
{
    unsigned int number = number_of(units, domain);

    assert_int_equal(piommu_domain_destroy(domain), 0);
    units->domains[number] = NULL;
}

/* ---- Who is where ---- */

static void set_grants(struct units *units, const struct piommu_device *device, uint32_t domains)
{
    for (unsigned int i = 0; i < units->device_count; i++) {
        const struct units_device *record = &units->devices[i];

        if (record->device != NULL &&
            piommu_device_group(record->device) == piommu_device_group(device)) {
            for (size_t j = 0; j < record->id_count; j++) {
                if (record->ids[j].id < MOCK_ID_LIMIT) {
                    units->granted[record->ids[j].unit][record->ids[j].id] = domains;
                }
            }
        }
    }
}

static uint32_t grants_of(struct units *units, const struct piommu_device *device)
{
    const struct units_device *record = record_of(units, device);

    return units->granted[record->ids[0].unit][record->ids[0].id];
}

static uint32_t bit_of(const struct units *units, const struct piommu_domain *domain)
{
    return domain != NULL ? 1u << number_of(units, domain) : 0;
}

void units_grant(struct units *units, struct piommu_device *device, struct piommu_domain *domain)
{
    set_grants(units, device, bit_of(units, domain));
    units_probe(units);
}

int units_attach(struct units *units, struct piommu_device *device, struct piommu_domain *domain)
{
    uint32_t before = grants_of(units, device);
    uint32_t after = bit_of(units, domain);
    int error;

    set_grants(units, device, before | after);
    error = piommu_group_attach(piommu_device_group(device), domain);
    if (error == -PIOMMU_EBLOCKED || error == -PIOMMU_EFAILED) {
        after = 0;
    } else if (error != 0) {
        after = before;
    }
    set_grants(units, device, after);
    units_probe(units);
    return error;
}

void units_detach(struct units *units, struct piommu_device *device)
{
    assert_int_equal(piommu_group_detach(piommu_device_group(device)), 0);
    set_grants(units, device, 0);
    units_probe(units);
}

/* Is this what a domain of the set maps at the address? */
static bool is_granted(const struct units *units, uint32_t domains, uint64_t iova,
                       uint64_t physical)
{
    for (unsigned int i = 0; i < units->domain_count; i++) {
        uint64_t memory = MEMORY + STRIDE * i;

        if ((domains >> i & 1u) == 0) {
            continue;
        }
        if ((iova == UNITS_PAGE && physical == memory) ||
            (iova == 0x100000ull * (i + 1u) && physical == memory + PAGE)) {
            return true;
        }
    }
    return false;
}

static bool only_reaches(struct units *units, unsigned int unit, uint32_t id, uint32_t domains)
{
    for (unsigned int i = 0; i <= UNITS_MAX_DOMAINS + 1u; i++) {
        uint64_t iova = i == UNITS_MAX_DOMAINS + 1u ? MEMORY
                        : i == UNITS_MAX_DOMAINS    ? UNITS_PAGE
                                                    : 0x100000ull * (i + 1u);

        for (unsigned int write = 0; write < 2; write++) {
            uint64_t physical;

            units->probes++;
            if (spy_reaches(units->spy, unit, id, iova, write != 0, &physical)) {
                units->reached++;
                if (!is_granted(units, domains, iova, physical)) {
                    return false;
                }
            }
        }
    }
    return true;
}

void units_probe(void *ctx)
{
    struct units *units = ctx;

    if (units->anything_goes) {
        return;
    }
    for (unsigned int i = 0; i < units->device_count; i++) {
        const struct units_device *record = &units->devices[i];

        for (size_t j = 0; j < record->id_count; j++) {
            struct units_id id = record->ids[j];

            if (id.id < MOCK_ID_LIMIT &&
                !only_reaches(units, id.unit, id.id, units->granted[id.unit][id.id])) {
                fail_msg("ID %u of unit %u reaches what is not granted", (unsigned int)id.id,
                         id.unit);
            }
        }
    }
}

bool units_id_is_in(struct units *units, unsigned int unit, uint32_t id,
                    struct piommu_domain *domain)
{
    uint64_t physical;

    if (!only_reaches(units, unit, id, bit_of(units, domain))) {
        return false;
    }
    return domain == NULL ||
           (spy_reaches(units->spy, unit, id, UNITS_PAGE, true, &physical) &&
            spy_reaches(units->spy, unit, id, units_own_page(units, domain), false, &physical));
}

bool units_is_in(struct units *units, struct piommu_device *device, struct piommu_domain *domain)
{
    const struct units_device *record = record_of(units, device);

    for (size_t i = 0; i < record->id_count; i++) {
        if (!units_id_is_in(units, record->ids[i].unit, record->ids[i].id, domain)) {
            return false;
        }
    }
    return true;
}

enum piommu_id_state units_id_state(struct piommu_device *device, size_t index)
{
    struct piommu_id_info info;

    assert_int_equal(piommu_device_get_id(device, index, &info), 0);
    return info.state;
}

struct piommu_domain *units_domain_of(struct piommu_device *device)
{
    struct piommu_device_info info;

    piommu_device_get_info(device, &info);
    return info.domain;
}

bool units_fault_blocked(struct piommu_device *device)
{
    struct piommu_device_info info;

    piommu_device_get_info(device, &info);
    return info.fault_blocked;
}

bool units_waits(struct piommu_device *device)
{
    struct piommu_device_info info;

    piommu_device_get_info(device, &info);
    return info.waiting;
}

void units_unmap(struct piommu_domain *domain, uint64_t iova, uint64_t size)
{
    struct piommu_gather gather;

    piommu_gather_init(&gather);
    assert_int_equal(piommu_domain_unmap(domain, iova, size, &gather, NULL), 0);
    assert_int_equal(piommu_domain_sync(domain, &gather), 0);
}

/* ---- Clock, log, events ---- */

void units_pass(struct units *units, uint64_t nanoseconds)
{
    units->clock_offset += nanoseconds;
}

bool units_logged(const struct units *units, const char *text)
{
    return strstr(units->log, text) != NULL;
}

bool units_logged_both(const struct units *units, const char *one, const char *other)
{
    const char *line = units->log;

    while (*line != '\0') {
        const char *end = strchr(line, '\n');
        const char *first = strstr(line, one);
        const char *second = strstr(line, other);

        if (first != NULL && first < end && second != NULL && second < end) {
            return true;
        }
        line = end + 1;
    }
    return false;
}

void units_forget_log(struct units *units)
{
    units->log[0] = '\0';
    units->log_length = 0;
}

const struct piommu_event *units_event(const struct units *units, enum piommu_event_kind kind,
                                       unsigned int nth)
{
    for (unsigned int i = 0; i < units->event_count; i++) {
        if (units->events[i].kind == kind && --nth == 0) {
            return &units->events[i];
        }
    }
    return NULL;
}

void units_forget_events(struct units *units)
{
    units->event_count = 0;
}
