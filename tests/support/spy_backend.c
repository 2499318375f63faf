/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "spy_backend.h"

#include <piommu/error.h>

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MAX_RECORDS 8192u

struct unit {
    struct spy *spy;
    struct unit *self; /* what the config of the backend points to */
    unsigned int number;
    struct spy_options options;
    struct mock *mock;
    bool probed;
    bool refuses_stop;
    /* Which ID each handle of the mock stands for. */
    struct {
        void *handle;
        uint32_t id;
    } endpoints[MOCK_MAX_ENDPOINTS];
    unsigned int endpoint_count;
    unsigned int fail_in[SPY_CALLS];
    int fail_error[SPY_CALLS];
    int fail_always[SPY_CALLS];
};

struct spy {
    struct fake_os *os;
    struct unit units[SPY_MAX_UNITS];
    unsigned int unit_count;
    struct piommu_backend backends[2][2]; /* [kind][bare] */
    struct spy_record records[MAX_RECORDS];
    unsigned int record_count;
    void (*observer)(void *ctx);
    void *observer_ctx;
};

/* The core hands the mocks around, which do not know of the spy. */
static struct spy *watching;

static struct unit *unit_of(const void *mock)
{
    for (unsigned int i = 0; i < watching->unit_count; i++) {
        if (watching->units[i].mock == mock) {
            return &watching->units[i];
        }
    }
    fail_msg("the core calls a unit that there is not");
    return NULL;
}

static const struct piommu_backend *inner(const struct unit *unit)
{
    return mock_backend(unit->mock);
}

static uint32_t id_of(const struct unit *unit, const void *handle)
{
    /* A handle may be used again, so the latest counts. */
    for (unsigned int i = unit->endpoint_count; i-- != 0;) {
        if (unit->endpoints[i].handle == handle) {
            return unit->endpoints[i].id;
        }
    }
    fail_msg("unit %u does not know the endpoint", unit->number);
    return 0;
}

static struct spy_record *note(const struct unit *unit, enum spy_call call, uint32_t id)
{
    struct spy_record *record;

    assert_true(watching->record_count < MAX_RECORDS);
    record = &watching->records[watching->record_count++];
    *record = (struct spy_record){.call = call, .unit = unit->number, .id = id};
    return record;
}

static int planned_error(struct unit *unit, enum spy_call call)
{
    if (unit->fail_always[call] != 0) {
        return unit->fail_always[call];
    }
    if (unit->fail_in[call] != 0 && --unit->fail_in[call] == 0) {
        return unit->fail_error[call];
    }
    return 0;
}

/* Notes a call, and lets the mock fail it if that was asked for. */
static struct spy_record *begin(struct unit *unit, enum spy_call call, uint32_t id)
{
    int error = planned_error(unit, call);

    if (error != 0) {
        mock_fail_call(unit->mock, 1, error, false);
    }
    return note(unit, call, id);
}

/* ---- The functions of the backend ---- */

static void equip(struct unit *unit)
{
    const struct spy_options *options = &unit->options;

    if (options->adjust != NULL) {
        options->adjust(mock_info(unit->mock));
    }
    if (options->contexts != 0) {
        mock_limit_contexts(unit->mock, options->contexts);
    }
    if (options->region_id != 0) {
        mock_add_reserved(unit->mock, options->region_id, &options->region);
    }
    for (uint32_t id = 0; options->group != NULL && id < MOCK_ID_LIMIT; id++) {
        mock_set_group(unit->mock, id, options->group(id));
    }
    mock_refuse_stop(unit->mock, unit->refuses_stop);
    mock_observe(unit->mock, unit->spy->observer, unit->spy->observer_ctx);
}

static int probe(struct piommu_host host, struct piommu_instance *instance,
                 const struct piommu_instance_config *config, const void *backend_config,
                 void *parent, void **result, struct piommu_backend_info *info)
{
    struct unit *unit = *(struct unit *const *)backend_config;
    struct spy_record *record;

    assert_false(unit->probed);
    if (unit->mock != NULL) {
        mock_destroy(unit->mock);
    }
    unit->mock =
        parent != NULL ? mock_create_child(parent) : mock_create(unit->spy->os, unit->options.kind);
    unit->endpoint_count = 0;
    equip(unit);
    record = begin(unit, SPY_PROBE, 0);
    record->error = inner(unit)->probe(host, instance, config, &unit->mock, parent, result, info);
    unit->probed = record->error == 0;
    return record->error;
}

static int remove_unit(void *handle)
{
    struct unit *unit = unit_of(handle);
    struct spy_record *record = note(unit, SPY_REMOVE, 0);

    record->error = inner(unit)->remove(handle);
    unit->probed = record->error != 0;
    return record->error;
}

static int stop(void *handle)
{
    struct unit *unit = unit_of(handle);
    struct spy_record *record = note(unit, SPY_STOP, 0);

    record->error = inner(unit)->stop(handle);
    return record->error;
}

static int suspend(void *handle)
{
    struct unit *unit = unit_of(handle);
    struct spy_record *record = begin(unit, SPY_SUSPEND, 0);

    record->error = inner(unit)->suspend(handle);
    return record->error;
}

static int resume(void *handle)
{
    struct unit *unit = unit_of(handle);
    struct spy_record *record = begin(unit, SPY_RESUME, 0);

    record->error = inner(unit)->resume(handle);
    return record->error;
}

static int add_endpoint(void *handle, uint32_t id, struct piommu_endpoint_facts *facts,
                        void **endpoint)
{
    struct unit *unit = unit_of(handle);
    struct spy_record *record = begin(unit, SPY_ADD_ENDPOINT, id);

    for (unsigned int i = 0; i < unit->options.many_regions; i++) {
        const uint64_t first = 0x100000000ull + i * 0x2000ull;
        const struct piommu_reserved_region region = {.range = {first, first + 0xfff},
                                                      .kind = PIOMMU_RESERVED};
        int error = piommu_backend_add_reserved(facts, &region);

        if (error != 0) {
            record->error = error;
            return error;
        }
    }
    record->error = inner(unit)->add_endpoint(handle, id, facts, endpoint);
    if (record->error == 0) {
        assert_true(unit->endpoint_count < MOCK_MAX_ENDPOINTS);
        unit->endpoints[unit->endpoint_count].handle = *endpoint;
        unit->endpoints[unit->endpoint_count++].id = id;
    }
    return record->error;
}

static void release_endpoint(void *handle, void *endpoint)
{
    struct unit *unit = unit_of(handle);

    (void)note(unit, SPY_RELEASE_ENDPOINT, id_of(unit, endpoint));
    inner(unit)->release_endpoint(handle, endpoint);
}

static int domain_create(void *handle, const struct piommu_backend_domain *domain, void **result)
{
    struct unit *unit = unit_of(handle);
    struct spy_record *record = begin(unit, SPY_DOMAIN_CREATE, 0);

    record->error = inner(unit)->domain_create(handle, domain, result);
    return record->error;
}

static int domain_destroy(void *handle, void *domain)
{
    struct unit *unit = unit_of(handle);

    (void)note(unit, SPY_DOMAIN_DESTROY, 0);
    return inner(unit)->domain_destroy(handle, domain);
}

static int attach(void *handle, void *endpoint, void *domain)
{
    struct unit *unit = unit_of(handle);
    struct spy_record *record = begin(unit, SPY_ATTACH, id_of(unit, endpoint));

    record->error = inner(unit)->attach(handle, endpoint, domain);
    return record->error;
}

static int block(void *handle, void *endpoint)
{
    struct unit *unit = unit_of(handle);
    struct spy_record *record = begin(unit, SPY_BLOCK, id_of(unit, endpoint));

    record->error = inner(unit)->block(handle, endpoint);
    return record->error;
}

static int block_now(void *handle, void *endpoint)
{
    struct unit *unit = unit_of(handle);
    struct spy_record *record = note(unit, SPY_BLOCK_NOW, id_of(unit, endpoint));

    mock_fail_block_now(unit->mock, planned_error(unit, SPY_BLOCK_NOW));
    /* The backends of the mocks leave it out unless they are told. */
    mock_set_block_now(unit->mock, true);
    record->error = inner(unit)->block_now(handle, endpoint);
    return record->error;
}

static int map(void *handle, void *domain, struct piommu_mapping_source *source)
{
    struct unit *unit = unit_of(handle);
    struct spy_record *record = begin(unit, SPY_MAP, 0);

    record->error = inner(unit)->map(handle, domain, source);
    return record->error;
}

static int unmap(void *handle, void *domain, struct piommu_range_source *source)
{
    struct unit *unit = unit_of(handle);
    struct spy_record *record = begin(unit, SPY_UNMAP, 0);

    record->error = inner(unit)->unmap(handle, domain, source);
    return record->error;
}

static int invalidate(void *handle, void *domain, struct piommu_range range, bool walk_caches)
{
    struct unit *unit = unit_of(handle);
    struct spy_record *record = begin(unit, SPY_INVALIDATE, 0);

    record->range = range;
    record->tables = walk_caches;
    record->error = inner(unit)->invalidate(handle, domain, range, walk_caches);
    return record->error;
}

static int service(void *handle, unsigned int budget)
{
    struct unit *unit = unit_of(handle);
    struct spy_record *record = note(unit, SPY_SERVICE, 0);
    int result;

    mock_fail_service(unit->mock, planned_error(unit, SPY_SERVICE));
    result = inner(unit)->service(handle, budget);
    record->error = result < 0 ? result : 0;
    return result;
}

/* ---- For tests ---- */

static struct piommu_backend make_backend(enum piommu_backend_kind kind, bool bare)
{
    return (struct piommu_backend){
        .size = sizeof(struct piommu_backend),
        .name = bare ? "bare spy" : "spy",
        .kind = kind,
        .probe = probe,
        .remove = remove_unit,
        .stop = stop,
        .add_endpoint = add_endpoint,
        .release_endpoint = release_endpoint,
        .domain_create = domain_create,
        .domain_destroy = domain_destroy,
        .attach = attach,
        .block = block,
        .map = kind == PIOMMU_BACKEND_REQUESTS ? map : NULL,
        .unmap = kind == PIOMMU_BACKEND_REQUESTS ? unmap : NULL,
        .invalidate = kind == PIOMMU_BACKEND_TABLES ? invalidate : NULL,
        .service = service,
        .block_now = bare ? NULL : block_now,
        .suspend = bare ? NULL : suspend,
        .resume = bare ? NULL : resume,
    };
}

struct spy *spy_create(struct fake_os *os)
{
    struct spy *spy = calloc(1, sizeof(*spy));

    spy->os = os;
    for (unsigned int bare = 0; bare < 2; bare++) {
        spy->backends[0][bare] = make_backend(PIOMMU_BACKEND_TABLES, bare != 0);
        spy->backends[1][bare] = make_backend(PIOMMU_BACKEND_REQUESTS, bare != 0);
    }
    watching = spy;
    return spy;
}

void spy_destroy(struct spy *spy)
{
    for (unsigned int i = 0; i < spy->unit_count; i++) {
        assert_false(spy->units[i].probed);
        if (spy->units[i].mock != NULL) {
            mock_destroy(spy->units[i].mock);
        }
    }
    watching = NULL;
    free(spy);
}

unsigned int spy_add_unit(struct spy *spy, const struct spy_options *options)
{
    struct unit *unit = &spy->units[spy->unit_count];

    assert_true(spy->unit_count < SPY_MAX_UNITS);
    unit->spy = spy;
    unit->self = unit;
    unit->number = spy->unit_count++;
    unit->options = *options;
    return unit->number;
}

static struct unit *unit_at(struct spy *spy, unsigned int unit)
{
    assert_true(unit < spy->unit_count);
    return &spy->units[unit];
}

const struct piommu_backend *spy_backend(struct spy *spy, unsigned int unit)
{
    const struct spy_options *options = &unit_at(spy, unit)->options;

    return &spy->backends[options->kind == PIOMMU_BACKEND_REQUESTS ? 1 : 0][options->bare ? 1 : 0];
}

const void *spy_config(struct spy *spy, unsigned int unit)
{
    return &unit_at(spy, unit)->self;
}

struct mock *spy_mock(const struct spy *spy, unsigned int unit)
{
    return spy->units[unit].mock;
}

bool spy_runs(const struct spy *spy, unsigned int unit)
{
    return spy->units[unit].probed;
}

void spy_fail(struct spy *spy, unsigned int unit, enum spy_call call, unsigned int nth, int error)
{
    unit_at(spy, unit)->fail_in[call] = nth;
    unit_at(spy, unit)->fail_error[call] = error;
}

void spy_fail_always(struct spy *spy, unsigned int unit, enum spy_call call, int error)
{
    unit_at(spy, unit)->fail_always[call] = error;
}

void spy_refuse_stop(struct spy *spy, unsigned int unit, bool refuse)
{
    struct unit *at = unit_at(spy, unit);

    at->refuses_stop = refuse;
    if (at->mock != NULL) {
        mock_refuse_stop(at->mock, refuse);
    }
}

void spy_observe(struct spy *spy, void (*callback)(void *ctx), void *ctx)
{
    spy->observer = callback;
    spy->observer_ctx = ctx;
    for (unsigned int i = 0; i < spy->unit_count; i++) {
        if (spy->units[i].mock != NULL) {
            mock_observe(spy->units[i].mock, callback, ctx);
        }
    }
}

static bool is_of(const struct spy_record *record, unsigned int unit)
{
    return unit == SPY_ANY || record->unit == unit;
}

unsigned int spy_count(const struct spy *spy, unsigned int unit, enum spy_call call)
{
    unsigned int count = 0;

    for (unsigned int i = 0; i < spy->record_count; i++) {
        count += spy->records[i].call == call && is_of(&spy->records[i], unit) ? 1u : 0u;
    }
    return count;
}

unsigned int spy_calls(const struct spy *spy, unsigned int unit)
{
    unsigned int count = 0;

    for (unsigned int i = 0; i < spy->record_count; i++) {
        count += is_of(&spy->records[i], unit) ? 1u : 0u;
    }
    return count;
}

const struct spy_record *spy_record(const struct spy *spy, unsigned int index)
{
    return index < spy->record_count ? &spy->records[index] : NULL;
}

unsigned int spy_find(const struct spy *spy, unsigned int unit, enum spy_call call,
                      unsigned int nth)
{
    for (unsigned int i = 0; i < spy->record_count; i++) {
        if (spy->records[i].call == call && is_of(&spy->records[i], unit) && --nth == 0) {
            return i;
        }
    }
    fail_msg("function %u of unit %u was not called so often", (unsigned int)call, unit);
    return 0;
}

unsigned int spy_find_last(const struct spy *spy, unsigned int unit, enum spy_call call)
{
    return spy_find(spy, unit, call, spy_count(spy, unit, call));
}

void spy_forget(struct spy *spy)
{
    spy->record_count = 0;
}

bool spy_reaches(struct spy *spy, unsigned int unit, uint32_t id, uint64_t iova, bool write,
                 uint64_t *physical)
{
    struct mock *mock = unit_at(spy, unit)->mock;

    return mock != NULL && mock_reaches(mock, id, iova, write, physical);
}
