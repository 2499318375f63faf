/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "mock_backend.h"

#include "lpae_walker.h"
#include "stale_tlb.h"

#include <piommu/error.h>

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MAX_MAPPINGS 4096u

struct mock_domain {
    enum piommu_domain_type type;
    unsigned int endpoints;
    /* Kind TABLES: the hardware's view of the tables. */
    struct walker_regime regime;
    struct stale_tlb *tlb;
    /* Kind REQUESTS: what the hardware holds. */
    struct piommu_backend_mapping mappings[MAX_MAPPINGS];
    unsigned int mapping_count;
};

struct mock_endpoint {
    bool used;
    uint32_t id;
    struct mock_domain *domain; /* NULL: blocked */
};

struct mock {
    struct piommu_backend backend;
    struct fake_os *os;
    struct piommu_instance *instance;
    bool probed;
    bool stopped;
    bool refuse_stop;
    struct mock_endpoint endpoints[MOCK_MAX_ENDPOINTS];
    unsigned int domains;
    struct piommu_reserved_region reserved;
    bool has_reserved;
    unsigned int fail_in;
    int fail_error;
    bool fail_forever;
    unsigned int fallible_calls;
    unsigned int failing_attaches;
    int attach_error;
    struct piommu_range aperture;
    struct piommu_backend_fault fault;
    bool has_fault;
    int service_error;
    void (*observer)(void *ctx);
    void *observer_ctx;
    struct mock_counters counters;
};

static int fails(struct mock *mock)
{
    mock->fallible_calls++;
    if (mock->stopped) {
        fail_msg("the core called a backend that it has stopped");
    }
    if (mock->fail_in == 0) {
        return 0;
    }
    if (mock->fail_in > 1) {
        mock->fail_in--;
        return 0;
    }
    if (!mock->fail_forever) {
        mock->fail_in = 0;
    }
    return mock->fail_error;
}

static void observe(struct mock *mock)
{
    if (mock->observer != NULL) {
        mock->observer(mock->observer_ctx);
    }
}

static int probe(struct piommu_host host, struct piommu_instance *instance,
                 const struct piommu_instance_config *config, const void *backend_config,
                 void **unit, struct piommu_backend_info *info)
{
    struct mock *mock = *(struct mock *const *)backend_config;
    int error = fails(mock);

    (void)host;
    if (error != 0) {
        return error;
    }
    assert_non_null(config->name);
    assert_true(config->timeout != 0);
    mock->instance = instance;
    mock->probed = true;
    info->aperture = mock->aperture;
    info->leaf_sizes = 0x40201000;
    info->prot = PIOMMU_PROT_READ | PIOMMU_PROT_WRITE;
    info->identity = true;
    info->table.format = PIOMMU_ARM_64_LPAE_S1;
    info->table.granule = 4096;
    info->table.input_bits = 39;
    info->table.output_bits = 40;
    info->table.coherent_walk = true;
    *unit = mock;
    return 0;
}

static int remove_unit(void *unit)
{
    struct mock *mock = unit;

    if (mock->refuse_stop) {
        return -PIOMMU_ETIMEDOUT;
    }
    assert_int_equal(mock->domains, 0);
    for (unsigned int i = 0; i < MOCK_MAX_ENDPOINTS; i++) {
        assert_false(mock->endpoints[i].used);
    }
    mock->probed = false;
    return 0;
}

static int stop(void *unit)
{
    struct mock *mock = unit;

    mock->counters.stop++;
    if (mock->refuse_stop) {
        return -PIOMMU_ETIMEDOUT;
    }
    for (unsigned int i = 0; i < MOCK_MAX_ENDPOINTS; i++) {
        mock->endpoints[i].domain = NULL;
    }
    mock->stopped = true;
    return 0;
}

static int add_endpoint(void *unit, uint32_t id, struct piommu_reserved_list *reserved,
                        void **endpoint)
{
    struct mock *mock = unit;
    int error = fails(mock);

    mock->counters.add_endpoint++;
    if (error == 0 && id >= MOCK_ID_LIMIT) {
        error = -PIOMMU_ENOENT;
    }
    if (error == 0 && mock->has_reserved) {
        error = piommu_backend_add_reserved(reserved, &mock->reserved);
    }
    if (error != 0) {
        return error;
    }
    for (unsigned int i = 0; i < MOCK_MAX_ENDPOINTS; i++) {
        assert_false(mock->endpoints[i].used && mock->endpoints[i].id == id);
    }
    for (unsigned int i = 0; i < MOCK_MAX_ENDPOINTS; i++) {
        if (!mock->endpoints[i].used) {
            mock->endpoints[i] = (struct mock_endpoint){.used = true, .id = id};
            *endpoint = &mock->endpoints[i];
            return 0;
        }
    }
    fail_msg("the mock has no room for endpoint %u", id);
    return -PIOMMU_ENOSPC;
}

static void release_endpoint(void *unit, void *handle)
{
    struct mock *mock = unit;
    struct mock_endpoint *endpoint = handle;

    mock->counters.release_endpoint++;
    assert_true(endpoint->used);
    assert_null(endpoint->domain);
    endpoint->used = false;
}

static int domain_create(void *unit, enum piommu_domain_type type,
                         const struct piommu_pgtable_info *table, void **result)
{
    struct mock *mock = unit;
    struct walker_hardware hardware = {.physical_bits = 40};
    struct mock_domain *domain;
    int error = fails(mock);

    if (error != 0) {
        return error;
    }
    assert_true(type != PIOMMU_DOMAIN_BLOCKED);
    domain = calloc(1, sizeof(*domain));
    domain->type = type;
    domain->tlb = stale_tlb_create();
    if (mock->backend.kind == PIOMMU_BACKEND_TABLES && type == PIOMMU_DOMAIN_PAGING) {
        assert_non_null(table);
        assert_int_equal(walker_regime_from_tcr(&hardware, piommu_pgtable_tcr_el1(table, NULL),
                                                table->registers.stage1.ttbr,
                                                table->registers.stage1.mair, false,
                                                &domain->regime),
                         WALKER_SETUP_OK);
    } else {
        assert_null(table);
    }
    mock->domains++;
    *result = domain;
    return 0;
}

static void domain_destroy(void *unit, void *handle)
{
    struct mock *mock = unit;
    struct mock_domain *domain = handle;

    for (unsigned int i = 0; i < MOCK_MAX_ENDPOINTS; i++) {
        assert_false(mock->endpoints[i].used && mock->endpoints[i].domain == domain);
    }
    mock->domains--;
    stale_tlb_destroy(domain->tlb);
    free(domain);
}

static void leave(struct mock_endpoint *endpoint)
{
    struct mock_domain *domain = endpoint->domain;

    /* The last endpoint takes all mappings with it, as with a virtio-iommu. */
    if (domain != NULL && --domain->endpoints == 0) {
        domain->mapping_count = 0;
    }
    endpoint->domain = NULL;
}

static int attach(void *unit, void *handle, void *domain_handle)
{
    struct mock *mock = unit;
    struct mock_endpoint *endpoint = handle;
    struct mock_domain *domain = domain_handle;
    int error = fails(mock);

    mock->counters.attach++;
    assert_true(endpoint->used);
    if (error == 0 && mock->failing_attaches != 0) {
        mock->failing_attaches--;
        error = mock->attach_error;
    }
    if (error != 0) {
        observe(mock);
        return error;
    }
    assert_ptr_not_equal(endpoint->domain, domain);
    leave(endpoint);
    endpoint->domain = domain;
    domain->endpoints++;
    observe(mock);
    return 0;
}

static int block(void *unit, void *handle)
{
    struct mock *mock = unit;
    struct mock_endpoint *endpoint = handle;
    int error = fails(mock);

    mock->counters.block++;
    assert_true(endpoint->used);
    if (error == 0) {
        leave(endpoint);
    }
    observe(mock);
    return error;
}

static int map(void *unit, void *handle, struct piommu_mapping_source *source)
{
    struct mock *mock = unit;
    struct mock_domain *domain = handle;
    struct piommu_backend_mapping mapping;
    int error = fails(mock);

    mock->counters.map++;
    assert_true(domain->endpoints != 0);
    while (source->next(source, &mapping)) {
        for (unsigned int i = 0; i < domain->mapping_count; i++) {
            assert_true(domain->mappings[i].iova.last < mapping.iova.first ||
                        domain->mappings[i].iova.first > mapping.iova.last);
        }
        assert_true(domain->mapping_count < MAX_MAPPINGS);
        domain->mappings[domain->mapping_count++] = mapping;
        mock->counters.mappings++;
        /* A failure comes after some of the mappings are in force. */
        if (error != 0) {
            break;
        }
    }
    observe(mock);
    return error;
}

static int unmap(void *unit, void *handle, struct piommu_range_source *source)
{
    struct mock *mock = unit;
    struct mock_domain *domain = handle;
    struct piommu_range range;
    int error = fails(mock);

    mock->counters.unmap++;
    assert_true(domain->endpoints != 0);
    while (error == 0 && source->next(source, &range)) {
        unsigned int kept = 0;

        mock->counters.ranges++;
        for (unsigned int i = 0; i < domain->mapping_count; i++) {
            const struct piommu_backend_mapping *mapping = &domain->mappings[i];

            if (mapping->iova.last < range.first || mapping->iova.first > range.last) {
                domain->mappings[kept++] = *mapping;
            } else {
                /* Never cuts. */
                assert_true(mapping->iova.first >= range.first);
                assert_true(mapping->iova.last <= range.last);
            }
        }
        domain->mapping_count = kept;
    }
    observe(mock);
    return error;
}

static int invalidate(void *unit, void *handle, struct piommu_range range, bool tables)
{
    struct mock *mock = unit;
    struct mock_domain *domain = handle;
    int error = fails(mock);

    mock->counters.invalidate++;
    if (error == 0) {
        stale_tlb_invalidate(domain->tlb, range.first, range.last, !tables);
    }
    observe(mock);
    return error;
}

static int service(void *unit, unsigned int budget)
{
    struct mock *mock = unit;

    if (mock->service_error != 0) {
        return mock->service_error;
    }
    if (budget == 0 || !mock->has_fault) {
        return 0;
    }
    mock->has_fault = false;
    piommu_backend_report_fault(mock->instance, &mock->fault);
    return 1;
}

struct mock *mock_create(struct fake_os *os, enum piommu_backend_kind kind)
{
    struct mock *mock = calloc(1, sizeof(*mock));

    mock->os = os;
    mock->aperture.last = (1ull << 39) - 1;
    mock->backend = (struct piommu_backend){
        .size = sizeof(struct piommu_backend),
        .name = "mock",
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
    };
    return mock;
}

void mock_destroy(struct mock *mock)
{
    assert_false(mock->probed);
    free(mock);
}

const struct piommu_backend *mock_backend(struct mock *mock)
{
    return &mock->backend;
}

void mock_fail_call(struct mock *mock, unsigned int kth, int error, bool forever)
{
    mock->fail_in = kth;
    mock->fail_error = error;
    mock->fail_forever = forever;
}

void mock_fail_attaches(struct mock *mock, unsigned int count, int error)
{
    mock->failing_attaches = count;
    mock->attach_error = error;
}

void mock_set_aperture(struct mock *mock, struct piommu_range aperture)
{
    assert_int_equal(mock->backend.kind, PIOMMU_BACKEND_REQUESTS);
    mock->aperture = aperture;
}

unsigned int mock_fallible_calls(const struct mock *mock)
{
    return mock->fallible_calls;
}

void mock_refuse_stop(struct mock *mock, bool refuse)
{
    mock->refuse_stop = refuse;
}

void mock_set_reserved(struct mock *mock, const struct piommu_reserved_region *region)
{
    mock->has_reserved = region != NULL;
    if (region != NULL) {
        mock->reserved = *region;
    }
}

void mock_observe(struct mock *mock, void (*callback)(void *ctx), void *ctx)
{
    mock->observer = callback;
    mock->observer_ctx = ctx;
}

const struct mock_counters *mock_counters(const struct mock *mock)
{
    return &mock->counters;
}

void mock_raise_fault(struct mock *mock, const struct piommu_backend_fault *fault)
{
    mock->fault = *fault;
    mock->has_fault = true;
}

void mock_fail_service(struct mock *mock, int error)
{
    mock->service_error = error;
}

static bool tables_reach(struct mock *mock, struct mock_domain *domain, uint64_t iova, bool write,
                         uint64_t *physical)
{
    struct walker_memory memory = {.read64 = fake_os_device_read64, .ctx = mock->os};
    struct walker_access access = {.read = !write, .write = write};
    struct walker_result result;

    stale_tlb_translate(domain->tlb, &domain->regime, &memory, iova, &access, &result);
    *physical = result.output;
    return result.fault == WALKER_FAULT_NONE;
}

static bool requests_reach(const struct mock_domain *domain, uint64_t iova, bool write,
                           uint64_t *physical)
{
    for (unsigned int i = 0; i < domain->mapping_count; i++) {
        const struct piommu_backend_mapping *mapping = &domain->mappings[i];

        if (iova >= mapping->iova.first && iova <= mapping->iova.last) {
            *physical = mapping->physical + (iova - mapping->iova.first);
            return (mapping->prot & (write ? PIOMMU_PROT_WRITE : PIOMMU_PROT_READ)) != 0;
        }
    }
    return false;
}

bool mock_reaches(struct mock *mock, uint32_t id, uint64_t iova, bool write, uint64_t *physical)
{
    for (unsigned int i = 0; i < MOCK_MAX_ENDPOINTS; i++) {
        struct mock_domain *domain = mock->endpoints[i].domain;

        if (!mock->endpoints[i].used || mock->endpoints[i].id != id || domain == NULL) {
            continue;
        }
        if (domain->type == PIOMMU_DOMAIN_IDENTITY) {
            *physical = iova;
            return true;
        }
        return mock->backend.kind == PIOMMU_BACKEND_TABLES
                   ? tables_reach(mock, domain, iova, write, physical)
                   : requests_reach(domain, iova, write, physical);
    }
    return false;
}
