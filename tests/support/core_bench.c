/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "core_bench.h"

#include <piommu/error.h>

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <inttypes.h>
#include <stdlib.h>

#include <cmocka.h>

struct core_case core_cases[4] = {
    {PIOMMU_BACKEND_TABLES, 1},
    {PIOMMU_BACKEND_TABLES, CORE_MAX_UNITS},
    {PIOMMU_BACKEND_REQUESTS, 1},
    {PIOMMU_BACKEND_REQUESTS, CORE_MAX_UNITS},
};

/* ---- The backend: the mock's, with a look at each call ---- */

static int fails(struct core_unit *unit, enum core_call call)
{
    unit->calls[call]++;
    if (unit->fail_in[call] == 0 || --unit->fail_in[call] != 0) {
        return 0;
    }
    if (unit->fail_forever[call]) {
        unit->fail_in[call] = 1;
    }
    return unit->fail_error[call];
}

static const struct piommu_backend *mock_of(const struct core_unit *unit)
{
    return mock_backend(unit->mock);
}

static int probe(struct piommu_host host, struct piommu_instance *instance,
                 const struct piommu_instance_config *config, const void *backend_config,
                 void *parent, void **result, struct piommu_backend_info *info)
{
    struct core_unit *unit = *(struct core_unit *const *)backend_config;
    int error =
        mock_of(unit)->probe(host, instance, config, &unit->mock, parent, &unit->inner, info);

    if (error == 0) {
        *result = unit;
    }
    return error;
}

static int remove_unit(void *handle)
{
    struct core_unit *unit = handle;
    int error = mock_of(unit)->remove(unit->inner);

    if (error == 0) {
        unit->inner = NULL;
    }
    return error;
}

static int stop(void *handle)
{
    struct core_unit *unit = handle;
    int error = mock_of(unit)->stop(unit->inner);

    for (unsigned int i = 0; error == 0 && i < CORE_MAX_ENDPOINTS; i++) {
        unit->endpoints[i].domain = NULL;
    }
    core_probe(unit->bench);
    return error;
}

static int add_endpoint(void *handle, uint32_t id, struct piommu_endpoint_facts *facts,
                        void **result)
{
    struct core_unit *unit = handle;
    void *inner;
    int error = mock_of(unit)->add_endpoint(unit->inner, id, facts, &inner);

    if (error != 0) {
        return error;
    }
    for (unsigned int i = 0; i < CORE_MAX_ENDPOINTS; i++) {
        if (!unit->endpoints[i].used) {
            unit->endpoints[i] = (struct core_endpoint){.used = true, .id = id, .inner = inner};
            *result = &unit->endpoints[i];
            return 0;
        }
    }
    fail_msg("no room for endpoint %" PRIu32, id);
    return -PIOMMU_ENOSPC;
}

static void release_endpoint(void *handle, void *endpoint_handle)
{
    struct core_unit *unit = handle;
    struct core_endpoint *endpoint = endpoint_handle;

    mock_of(unit)->release_endpoint(unit->inner, endpoint->inner);
    endpoint->used = false;
}

static int domain_create(void *handle, const struct piommu_backend_domain *config, void **result)
{
    struct core_unit *unit = handle;
    struct core_hardware_domain *domain;
    void *inner;
    int error = fails(unit, CORE_DOMAIN_CREATE);

    if (error == 0) {
        error = mock_of(unit)->domain_create(unit->inner, config, &inner);
    }
    if (error != 0) {
        return error;
    }
    domain = calloc(1, sizeof(*domain));
    assert_non_null(domain);
    domain->unit = unit;
    domain->inner = inner;
    *result = domain;
    return 0;
}

static int domain_destroy(void *handle, void *domain_handle)
{
    struct core_unit *unit = handle;
    struct core_hardware_domain *domain = domain_handle;
    int error = mock_of(unit)->domain_destroy(unit->inner, domain->inner);

    free(domain);
    return error;
}

static void leave(struct core_endpoint *endpoint)
{
    if (endpoint->domain != NULL && --endpoint->domain->endpoints == 0) {
        endpoint->domain->filled = false;
    }
    endpoint->domain = NULL;
}

static int attach(void *handle, void *endpoint_handle, void *domain_handle)
{
    struct core_unit *unit = handle;
    struct core_endpoint *endpoint = endpoint_handle;
    struct core_hardware_domain *domain = domain_handle;
    int error = fails(unit, CORE_ATTACH);

    assert_ptr_equal(domain->unit, unit);
    if (error == 0) {
        error = mock_of(unit)->attach(unit->inner, endpoint->inner, domain->inner);
    }
    if (error == 0) {
        leave(endpoint);
        endpoint->domain = domain;
        if (domain->endpoints++ == 0) {
            domain->filled = unit->backend.kind == PIOMMU_BACKEND_TABLES;
        }
    }
    core_probe(unit->bench);
    return error;
}

static int block(void *handle, void *endpoint_handle)
{
    struct core_unit *unit = handle;
    struct core_endpoint *endpoint = endpoint_handle;
    int error = fails(unit, CORE_BLOCK_ID);

    if (error == 0) {
        error = mock_of(unit)->block(unit->inner, endpoint->inner);
    }
    if (error == 0) {
        leave(endpoint);
    }
    core_probe(unit->bench);
    return error;
}

static int map(void *handle, void *domain_handle, struct piommu_mapping_source *source)
{
    struct core_unit *unit = handle;
    struct core_hardware_domain *domain = domain_handle;
    int error = fails(unit, CORE_MAP);

    if (error == 0) {
        error = mock_of(unit)->map(unit->inner, domain->inner, source);
    }
    if (error == 0) {
        domain->filled = true;
    }
    core_probe(unit->bench);
    return error;
}

static int unmap(void *handle, void *domain_handle, struct piommu_range_source *source)
{
    struct core_unit *unit = handle;
    struct core_hardware_domain *domain = domain_handle;
    int error = fails(unit, CORE_UNMAP);

    if (error == 0) {
        error = mock_of(unit)->unmap(unit->inner, domain->inner, source);
    }
    core_probe(unit->bench);
    return error;
}

static int invalidate(void *handle, void *domain_handle, struct piommu_range range, bool tables)
{
    struct core_unit *unit = handle;
    struct core_hardware_domain *domain = domain_handle;
    int error = fails(unit, CORE_INVALIDATE);

    if (error == 0) {
        error = mock_of(unit)->invalidate(unit->inner, domain->inner, range, tables);
    }
    core_probe(unit->bench);
    return error;
}

static int service(void *handle, unsigned int budget)
{
    struct core_unit *unit = handle;

    return mock_of(unit)->service(unit->inner, budget);
}

static void make_backend(struct core_unit *unit)
{
    const struct piommu_backend *mock = mock_of(unit);

    unit->backend = (struct piommu_backend){
        .size = sizeof(struct piommu_backend),
        .name = mock->name,
        .kind = mock->kind,
        .needs = mock->needs,
        .probe = probe,
        .remove = remove_unit,
        .stop = stop,
        .add_endpoint = add_endpoint,
        .release_endpoint = release_endpoint,
        .domain_create = domain_create,
        .domain_destroy = domain_destroy,
        .attach = attach,
        .block = block,
        .map = mock->map != NULL ? map : NULL,
        .unmap = mock->unmap != NULL ? unmap : NULL,
        .invalidate = mock->invalidate != NULL ? invalidate : NULL,
        .service = service,
    };
}

/* ---- Making and taking down ---- */

/* Memory of a table is given back: no walker may be on its way through it. */
static void check_freed(void *ctx, uint64_t physical, uint64_t size)
{
    struct core_bench *bench = ctx;

    for (unsigned int i = 0; core_has_tables(bench) && i < bench->options.units; i++) {
        assert_false(bench->units[i].inner != NULL &&
                     mock_walks(bench->units[i].mock, physical, size));
    }
}

struct core_bench *core_open(const struct core_case *options, core_adjust *adjust)
{
    static const char *const names[CORE_MAX_UNITS] = {"mock0", "mock1", "mock2"};
    struct core_bench *bench = calloc(1, sizeof(*bench));

    assert_non_null(bench);
    bench->options = *options;
    bench->os = fake_os_create(NULL);
    fake_os_on_dma_free(bench->os, check_freed, bench);
    assert_int_equal(piommu_context_create(fake_os_host(bench->os), NULL, &bench->context), 0);
    for (unsigned int i = 0; i < options->units; i++) {
        struct core_unit *unit = &bench->units[i];
        const struct piommu_instance_config config = {.name = names[i], .owner = unit};

        unit->bench = bench;
        unit->mock = mock_create(bench->os, options->kind);
        if (adjust != NULL) {
            adjust(i, mock_info(unit->mock));
        }
        make_backend(unit);
        assert_int_equal(
            piommu_instance_create(bench->context, &unit->backend, &unit, &config, &unit->instance),
            0);
        bench->instances[i] = unit->instance;
    }
    return bench;
}

void core_close(struct core_bench *bench)
{
    core_forget_rules(bench);
    bench->window_count = 0;
    for (unsigned int i = 0; i < bench->device_count; i++) {
        if (bench->devices[i] != NULL) {
            core_detach(bench->devices[i]);
        }
    }
    for (unsigned int i = 0; i < bench->domain_count; i++) {
        assert_int_equal(piommu_domain_destroy(bench->domains[i]), 0);
    }
    for (unsigned int i = 0; i < bench->device_count; i++) {
        assert_int_equal(piommu_device_remove(bench->devices[i]), 0);
    }
    for (unsigned int i = 0; i < bench->options.units; i++) {
        assert_int_equal(piommu_instance_destroy(bench->instances[i]), 0);
    }
    assert_int_equal(piommu_context_destroy(bench->context), 0);
    fake_os_destroy(bench->os);
    for (unsigned int i = 0; i < bench->options.units; i++) {
        mock_destroy(bench->units[i].mock);
    }
    free(bench);
}

const struct core_case *core_case_of(void **state)
{
    return *state;
}

bool core_has_tables(const struct core_bench *bench)
{
    return bench->options.kind == PIOMMU_BACKEND_TABLES;
}

struct piommu_device *core_add_device(struct core_bench *bench, unsigned int unit, uint32_t id,
                                      const struct piommu_reserved_region *regions, size_t count,
                                      uint64_t group_key)
{
    const struct piommu_device_id ids[] = {{.instance = bench->instances[unit], .id = id}};
    const struct piommu_device_config config = {
        .ids = ids,
        .id_count = 1,
        .regions = regions,
        .region_count = count,
        .group_key = group_key,
        .name = "dma",
    };
    struct piommu_device **device = &bench->devices[bench->device_count];

    assert_true(bench->device_count < CORE_MAX_DEVICES);
    assert_int_equal(piommu_device_add(bench->context, &config, device), 0);
    bench->device_count++;
    return *device;
}

void core_remove_device(struct core_bench *bench, struct piommu_device *device)
{
    assert_int_equal(piommu_device_remove(device), 0);
    for (unsigned int i = 0; i < bench->device_count; i++) {
        if (bench->devices[i] == device) {
            bench->devices[i] = NULL;
            return;
        }
    }
    fail_msg("no such device");
}

int core_attach(struct piommu_device *device, struct piommu_domain *domain)
{
    return piommu_group_attach(piommu_device_group(device), domain);
}

void core_detach(struct piommu_device *device)
{
    assert_int_equal(piommu_group_detach(piommu_device_group(device)), 0);
}

struct piommu_domain_config core_config(struct core_bench *bench, enum piommu_domain_type type)
{
    return (struct piommu_domain_config){
        .type = type,
        .instances = bench->instances,
        .instance_count = bench->options.units,
        .name = "domain",
    };
}

struct piommu_domain *core_create(struct core_bench *bench,
                                  const struct piommu_domain_config *config)
{
    struct piommu_domain **domain = &bench->domains[bench->domain_count];

    assert_true(bench->domain_count < CORE_MAX_DOMAINS);
    assert_int_equal(piommu_domain_create(config, domain), 0);
    bench->domain_count++;
    return *domain;
}

struct piommu_domain *core_paging(struct core_bench *bench)
{
    const struct piommu_domain_config config = core_config(bench, PIOMMU_DOMAIN_PAGING);

    return core_create(bench, &config);
}

void core_destroy(struct core_bench *bench, struct piommu_domain *domain)
{
    assert_int_equal(piommu_domain_destroy(domain), 0);
    for (unsigned int i = 0; i < bench->domain_count; i++) {
        if (bench->domains[i] == domain) {
            bench->domains[i] = NULL;
            return;
        }
    }
    fail_msg("no such domain");
}

void core_map(struct piommu_domain *domain, uint64_t iova, uint64_t physical, uint64_t size,
              piommu_prot prot)
{
    assert_int_equal(piommu_domain_map(domain, iova, physical, size, prot), 0);
}

void core_unmap(struct piommu_domain *domain, uint64_t iova, uint64_t size)
{
    struct piommu_gather gather;
    uint64_t unmapped = 0;

    piommu_gather_init(&gather);
    assert_int_equal(piommu_domain_unmap(domain, iova, size, &gather, &unmapped), 0);
    assert_true(unmapped != 0);
    assert_int_equal(piommu_domain_sync(domain, &gather), 0);
    assert_false(gather.pending);
}

struct piommu_domain_statistics core_statistics(struct piommu_domain *domain)
{
    struct piommu_domain_statistics statistics;

    piommu_domain_get_statistics(domain, &statistics);
    return statistics;
}

struct piommu_domain_info core_info(struct piommu_domain *domain)
{
    struct piommu_domain_info info;

    piommu_domain_get_info(domain, &info);
    return info;
}

/* ---- Failures ---- */

void core_fail(struct core_unit *unit, enum core_call call, unsigned int nth, int error,
               bool forever)
{
    unit->fail_in[call] = nth;
    unit->fail_error[call] = error;
    unit->fail_forever[call] = forever;
}

void core_fail_nothing(struct core_unit *unit)
{
    for (unsigned int i = 0; i < CORE_CALLS; i++) {
        unit->fail_in[i] = 0;
    }
}

unsigned int core_calls(const struct core_bench *bench, enum core_call call)
{
    unsigned int sum = 0;

    for (unsigned int i = 0; i < bench->options.units; i++) {
        sum += bench->units[i].calls[call];
    }
    return sum;
}

/* ---- What devices reach ---- */

void core_window(struct core_bench *bench, uint64_t first, uint64_t size)
{
    assert_true(bench->window_count < CORE_MAX_WINDOWS);
    bench->windows[bench->window_count].first = first;
    bench->windows[bench->window_count].last = first + (size - 1);
    bench->window_count++;
}

static void add_rule(struct core_bench *bench, uint32_t id, bool must, uint64_t iova,
                     uint64_t physical, uint64_t size, piommu_prot prot)
{
    assert_true(bench->rule_count < CORE_MAX_RULES);
    bench->rules[bench->rule_count++] = (struct core_rule){
        .id = id,
        .must = must,
        .iova = {iova, iova + (size - 1)},
        .physical = physical,
        .prot = prot,
    };
}

void core_may(struct core_bench *bench, uint32_t id, uint64_t iova, uint64_t physical,
              uint64_t size, piommu_prot prot)
{
    add_rule(bench, id, false, iova, physical, size, prot);
}

void core_must(struct core_bench *bench, uint32_t id, uint64_t iova, uint64_t physical,
               uint64_t size, piommu_prot prot)
{
    add_rule(bench, id, true, iova, physical, size, prot);
}

void core_forget_rules(struct core_bench *bench)
{
    bench->rule_count = 0;
}

/* One access; an error of the test if no rule permits what happens. */
static void try_access(struct core_bench *bench, struct core_unit *unit,
                       const struct core_endpoint *endpoint, uint64_t iova, bool write)
{
    const piommu_prot needed = write ? PIOMMU_PROT_WRITE : PIOMMU_PROT_READ;
    uint64_t physical = 0;
    bool reached = mock_reaches(unit->mock, endpoint->id, iova, write, &physical);
    bool allowed = false;
    bool demanded = false;

    bench->probes++;
    for (unsigned int i = 0; i < bench->rule_count; i++) {
        const struct core_rule *rule = &bench->rules[i];

        if ((rule->id != CORE_ANY_ID && rule->id != endpoint->id) || iova < rule->iova.first ||
            iova > rule->iova.last || (rule->prot & needed) == 0) {
            continue;
        }
        demanded = demanded || rule->must;
        allowed = allowed || physical == rule->physical + (iova - rule->iova.first);
    }
    if (reached && !allowed) {
        fail_msg("ID %" PRIu32 " reaches %#" PRIx64 " at %#" PRIx64 " for %s", endpoint->id,
                 physical, iova, write ? "writing" : "reading");
    }
    if (demanded && !bench->relaxed && endpoint->domain != NULL && endpoint->domain->filled) {
        bench->demands++;
        if (!reached) {
            fail_msg("ID %" PRIu32 " has a fault at %#" PRIx64 " for %s", endpoint->id, iova,
                     write ? "writing" : "reading");
        }
    }
}

void core_probe(struct core_bench *bench)
{
    for (unsigned int i = 0; i < bench->options.units; i++) {
        struct core_unit *unit = &bench->units[i];

        for (unsigned int j = 0; j < CORE_MAX_ENDPOINTS; j++) {
            const struct core_endpoint *endpoint = &unit->endpoints[j];

            for (unsigned int k = 0; endpoint->used && k < bench->window_count; k++) {
                const struct piommu_range *window = &bench->windows[k];

                for (uint64_t at = window->first; at <= window->last; at += CORE_PAGE) {
                    try_access(bench, unit, endpoint, at, false);
                    try_access(bench, unit, endpoint, at, true);
                }
            }
        }
    }
}

uint64_t core_reached(struct core_bench *bench, uint32_t id, uint64_t iova, bool write)
{
    for (unsigned int i = 0; i < bench->options.units; i++) {
        struct core_unit *unit = &bench->units[i];

        for (unsigned int j = 0; j < CORE_MAX_ENDPOINTS; j++) {
            uint64_t physical;

            if (unit->endpoints[j].used && unit->endpoints[j].id == id) {
                return mock_reaches(unit->mock, id, iova, write, &physical) ? physical
                                                                            : CORE_NOTHING;
            }
        }
    }
    fail_msg("no unit has ID %" PRIu32, id);
    return CORE_NOTHING;
}

void core_expect_mapped(struct core_bench *bench, uint32_t id, uint64_t iova, uint64_t physical,
                        uint64_t size, piommu_prot prot)
{
    for (uint64_t at = 0; at < size; at += CORE_PAGE) {
        assert_int_equal(core_reached(bench, id, iova + at, false),
                         (prot & PIOMMU_PROT_READ) != 0 ? physical + at : CORE_NOTHING);
        assert_int_equal(core_reached(bench, id, iova + at, true),
                         (prot & PIOMMU_PROT_WRITE) != 0 ? physical + at : CORE_NOTHING);
    }
}

void core_expect_nothing(struct core_bench *bench, uint32_t id, uint64_t iova, uint64_t size)
{
    core_expect_mapped(bench, id, iova, 0, size, 0);
}

void core_expect_held(struct piommu_domain *domain, uint64_t iova, uint64_t physical, uint64_t size,
                      piommu_prot prot)
{
    for (uint64_t at = 0; at < size; at += CORE_PAGE) {
        struct piommu_translation result;

        assert_int_equal(piommu_domain_lookup(domain, iova + at, &result), 0);
        assert_int_equal(result.physical, physical + at);
        assert_int_equal(result.prot & CORE_RW, prot & CORE_RW);
    }
}

void core_expect_hole(struct piommu_domain *domain, uint64_t iova, uint64_t size)
{
    for (uint64_t at = 0; at < size; at += CORE_PAGE) {
        struct piommu_translation result;

        assert_int_equal(piommu_domain_lookup(domain, iova + at, &result), -PIOMMU_ENOENT);
    }
}
