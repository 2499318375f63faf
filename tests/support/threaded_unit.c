/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "threaded_unit.h"

#include "stale_tlb.h"

#include <piommu/error.h>
#include <piommu/models/lpae-walker.h>

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define MAGIC         0x646f6d61696e73ull
#define ENDPOINTS     2048u
#define INPUT_BITS    39u
#define OUTPUT_BITS   48u
#define REPORTS       3u /* of one call of service, at most, but for those provoked */
#define REFUSAL_CYCLE 3u

struct domain {
    uint64_t magic;
    struct domain *next;
    enum piommu_domain_type type;
    struct piommu_walker_regime regime;
    atomic_uint is_busy;   /* kind REQUESTS: map, unmap, attach or block is in progress */
    pthread_mutex_t mutex; /* protects what follows */
    bool is_destroyed;
    unsigned int endpoints;
    struct piommu_backend_mapping *mappings;
    size_t count;
    size_t room;
};

enum endpoint_state {
    ENDPOINT_FREE,
    ENDPOINT_LIVE,
    ENDPOINT_RELEASED,
};

/* Never used for a second ID, so that a late use is seen. */
struct endpoint {
    atomic_uint state;
    atomic_uint is_changing; /* attach, block, block_now or release is in progress */
    uint32_t id;
    pthread_mutex_t mutex; /* protects what follows */
    struct domain *domain; /* NULL: blocked */
    bool is_cut;           /* by block_now */
    struct stale_tlb *tlb;
};

struct threaded_unit {
    struct piommu_backend backend;
    struct threaded_unit_options options;
    struct threaded_host *host;
    struct piommu_instance *instance;
    bool is_probed;
    bool is_suspended;
    struct domain *domains; /* destroyed ones included */
    atomic_uint is_stopped;
    atomic_uint is_stopping;
    atomic_uint is_serving;
    atomic_uint refuses_stop;
    atomic_uint mapping_calls_left; /* until they fail; 0: they do not */
    atomic_uint service_calls_left;
    atomic_uint endpoint_count;
    struct endpoint *endpoints;
    uint64_t random; /* of service alone */
    atomic_uint refusals;

    struct {
        _Atomic(struct endpoint *) endpoint; /* NULL: not added */
        atomic_uint may_attach;
        atomic_uint makes_faults;
        atomic_uint is_provoked;
    } ids[THREADED_IDS];
};

static void enter_alone(atomic_uint *value)
{
    CHECK(atomic_exchange_explicit(value, 1, memory_order_relaxed) == 0);
}

static void leave_alone(atomic_uint *value)
{
    CHECK(atomic_exchange_explicit(value, 0, memory_order_relaxed) == 1);
}

static void lock(pthread_mutex_t *mutex)
{
    threaded_unseen_begin();
    pthread_mutex_lock(mutex);
}

static void unlock(pthread_mutex_t *mutex)
{
    pthread_mutex_unlock(mutex);
    threaded_unseen_end();
}

/* True from the call on that was chosen to fail. */
static bool has_to_fail(atomic_uint *calls_left)
{
    unsigned int left;

    threaded_unseen_begin();
    left = atomic_load(calls_left);
    while (left > 1 && !atomic_compare_exchange_weak(calls_left, &left, left - 1)) {
    }
    threaded_unseen_end();
    return left == 1;
}

/* Hardware takes its time. */
static void work(const struct threaded_unit *unit)
{
    if (unit->options.work != NULL) {
        unit->options.work();
    } else {
        sched_yield();
    }
}

static bool is_lost(struct threaded_unit *unit)
{
    CHECK(!unit->is_suspended);
    return threaded_look(&unit->is_stopped) != 0;
}

/* ---- Unit ---- */

static int probe(struct piommu_host host, struct piommu_instance *instance,
                 const struct piommu_instance_config *config, const void *backend_config,
                 void *parent, void **result, struct piommu_backend_info *info)
{
    struct threaded_unit *unit = *(struct threaded_unit *const *)backend_config;

    (void)host;
    CHECK(!unit->is_probed && config->name != NULL && config->timeout != 0 && parent == NULL);
    unit->is_probed = true;
    unit->instance = instance;
    info->aperture.last = (1ull << INPUT_BITS) - 1;
    info->leaf_sizes = 0x40201000;
    info->prot = PIOMMU_PROT_READ | PIOMMU_PROT_WRITE;
    info->identity = true;
    info->atomic_switch = unit->options.atomic_switch;
    info->output_bits = OUTPUT_BITS;
    if (unit->options.kind == PIOMMU_BACKEND_TABLES) {
        info->table = (struct piommu_pgtable_config){.format = PIOMMU_ARM_64_LPAE_S1,
                                                     .granule = 4096,
                                                     .input_bits = INPUT_BITS,
                                                     .output_bits = OUTPUT_BITS,
                                                     .coherent_walk = true,
                                                     .flags = unit->options.table_flags};
    }
    *result = unit;
    return 0;
}

static void free_domains(struct threaded_unit *unit)
{
    while (unit->domains != NULL) {
        struct domain *domain = unit->domains;

        CHECK(domain->is_destroyed);
        unit->domains = domain->next;
        pthread_mutex_destroy(&domain->mutex);
        free(domain);
    }
}

static int remove_unit(void *handle)
{
    struct threaded_unit *unit = handle;

    CHECK(unit->is_probed);
    if (threaded_look(&unit->refuses_stop) != 0) {
        return -PIOMMU_ETIMEDOUT;
    }
    for (unsigned int i = 0; i < atomic_load(&unit->endpoint_count); i++) {
        struct endpoint *endpoint = &unit->endpoints[i];

        CHECK(atomic_load(&endpoint->state) == ENDPOINT_RELEASED);
        pthread_mutex_destroy(&endpoint->mutex);
        memset(endpoint, 0, sizeof(*endpoint));
    }
    free_domains(unit);
    atomic_store(&unit->endpoint_count, 0);
    unit->is_probed = false;
    unit->is_suspended = false;
    return 0;
}

/* The endpoint's lock is held. */
static void leave_domain(struct endpoint *endpoint)
{
    struct domain *domain = endpoint->domain;

    if (domain == NULL) {
        return;
    }
    endpoint->domain = NULL;
    stale_tlb_invalidate_all(endpoint->tlb);
    lock(&domain->mutex);
    CHECK(domain->endpoints != 0);
    /* The last endpoint takes all mappings with it. */
    if (--domain->endpoints == 0) {
        domain->count = 0;
    }
    unlock(&domain->mutex);
}

static void block_all(struct threaded_unit *unit)
{
    unsigned int count = threaded_look(&unit->endpoint_count);

    for (unsigned int i = 0; i < count; i++) {
        struct endpoint *endpoint = &unit->endpoints[i];

        lock(&endpoint->mutex);
        leave_domain(endpoint);
        endpoint->is_cut = false;
        unlock(&endpoint->mutex);
    }
}

static int stop(void *handle)
{
    struct threaded_unit *unit = handle;

    enter_alone(&unit->is_stopping);
    if (threaded_look(&unit->refuses_stop) != 0) {
        leave_alone(&unit->is_stopping);
        return -PIOMMU_ETIMEDOUT;
    }
    threaded_set(&unit->is_stopped, 1);
    block_all(unit);
    leave_alone(&unit->is_stopping);
    return 0;
}

static int suspend(void *handle)
{
    struct threaded_unit *unit = handle;

    if (is_lost(unit)) {
        return -PIOMMU_EFAILED;
    }
    block_all(unit);
    unit->is_suspended = true;
    return 0;
}

static int resume(void *handle)
{
    struct threaded_unit *unit = handle;

    CHECK(unit->is_suspended);
    unit->is_suspended = false;
    return 0;
}

/* ---- Endpoints ---- */

static int add_endpoint(void *handle, uint32_t id, struct piommu_endpoint_facts *facts,
                        void **result)
{
    struct threaded_unit *unit = handle;
    struct endpoint *endpoint;

    (void)facts;
    if (id >= THREADED_IDS) {
        return -PIOMMU_ENOENT;
    }
    if (is_lost(unit)) {
        return -PIOMMU_EFAILED;
    }
    CHECK(atomic_load_explicit(&unit->ids[id].endpoint, memory_order_relaxed) == NULL);
    CHECK(threaded_look(&unit->endpoint_count) < unit->options.most_added);
    endpoint = &unit->endpoints[threaded_look(&unit->endpoint_count)];
    endpoint->id = id;
    threaded_unseen_begin();
    pthread_mutex_init(&endpoint->mutex, NULL);
    endpoint->tlb = stale_tlb_create();
    threaded_unseen_end();
    CHECK(endpoint->tlb != NULL);
    atomic_store_explicit(&endpoint->state, ENDPOINT_LIVE, memory_order_relaxed);
    threaded_set(&unit->endpoint_count, threaded_look(&unit->endpoint_count) + 1);
    threaded_unseen_begin();
    atomic_store(&unit->ids[id].endpoint, endpoint);
    threaded_unseen_end();
    work(unit);
    *result = endpoint;
    return 0;
}

static struct endpoint *live(struct endpoint *endpoint)
{
    CHECK(atomic_load_explicit(&endpoint->state, memory_order_relaxed) == ENDPOINT_LIVE);
    CHECK(endpoint->id < THREADED_IDS);
    return endpoint;
}

static void release_endpoint(void *handle, void *endpoint_handle)
{
    struct threaded_unit *unit = handle;
    struct endpoint *endpoint = live(endpoint_handle);

    enter_alone(&endpoint->is_changing);
    work(unit);
    lock(&endpoint->mutex);
    CHECK(endpoint->domain == NULL);
    stale_tlb_destroy(endpoint->tlb);
    endpoint->tlb = NULL;
    unlock(&endpoint->mutex);
    threaded_unseen_begin();
    atomic_store(&unit->ids[endpoint->id].endpoint, NULL);
    threaded_unseen_end();
    atomic_store_explicit(&endpoint->state, ENDPOINT_RELEASED, memory_order_relaxed);
    leave_alone(&endpoint->is_changing);
}

static struct domain *existing(struct domain *domain)
{
    CHECK(domain->magic == MAGIC);
    return domain;
}

static void enter_domain(const struct threaded_unit *unit, struct domain *domain)
{
    if (domain != NULL && unit->options.kind == PIOMMU_BACKEND_REQUESTS) {
        enter_alone(&domain->is_busy);
    }
}

static void exit_domain(const struct threaded_unit *unit, struct domain *domain)
{
    if (domain != NULL && unit->options.kind == PIOMMU_BACKEND_REQUESTS) {
        leave_alone(&domain->is_busy);
    }
}

static int attach(void *handle, void *endpoint_handle, void *domain_handle)
{
    struct threaded_unit *unit = handle;
    struct endpoint *endpoint = live(endpoint_handle);
    struct domain *domain = existing(domain_handle);
    int result = 0;

    enter_alone(&endpoint->is_changing);
    enter_domain(unit, domain);
    CHECK(threaded_look(&unit->ids[endpoint->id].may_attach) != 0);
    work(unit);
    lock(&endpoint->mutex);
    CHECK(endpoint->domain != domain);
    CHECK(endpoint->domain == NULL || unit->options.atomic_switch);
    if (is_lost(unit)) {
        result = -PIOMMU_EFAILED;
    } else {
        leave_domain(endpoint);
        endpoint->domain = domain;
        endpoint->is_cut = false;
        lock(&domain->mutex);
        CHECK(!domain->is_destroyed);
        domain->endpoints++;
        unlock(&domain->mutex);
    }
    unlock(&endpoint->mutex);
    work(unit);
    exit_domain(unit, domain);
    leave_alone(&endpoint->is_changing);
    return result;
}

static int block(void *handle, void *endpoint_handle)
{
    struct threaded_unit *unit = handle;
    struct endpoint *endpoint = live(endpoint_handle);
    struct domain *domain;
    int result = 0;

    enter_alone(&endpoint->is_changing);
    lock(&endpoint->mutex);
    domain = endpoint->domain;
    unlock(&endpoint->mutex);
    enter_domain(unit, domain);
    work(unit);
    lock(&endpoint->mutex);
    if (is_lost(unit)) {
        result = -PIOMMU_EFAILED;
    } else {
        leave_domain(endpoint);
        endpoint->is_cut = false;
    }
    unlock(&endpoint->mutex);
    work(unit);
    exit_domain(unit, domain);
    leave_alone(&endpoint->is_changing);
    return result;
}

static int block_now(void *handle, void *endpoint_handle)
{
    struct threaded_unit *unit = handle;
    struct endpoint *endpoint = live(endpoint_handle);
    int result = 0;

    enter_alone(&endpoint->is_changing);
    work(unit);
    lock(&endpoint->mutex);
    if (is_lost(unit)) {
        result = -PIOMMU_EFAILED;
    } else if (unit->options.block_now == THREADED_BLOCK_NOW_REFUSES &&
               atomic_fetch_add(&unit->refusals, 1) % REFUSAL_CYCLE == 0) {
        result = -PIOMMU_EIO;
    } else {
        endpoint->is_cut = true;
        stale_tlb_invalidate_all(endpoint->tlb);
    }
    unlock(&endpoint->mutex);
    leave_alone(&endpoint->is_changing);
    return result;
}

/* ---- Domains ---- */

static int domain_create(void *handle, const struct piommu_backend_domain *wanted, void **result)
{
    struct threaded_unit *unit = handle;
    struct piommu_walker_hardware hardware = {.physical_bits = OUTPUT_BITS};
    struct domain *domain;

    if (threaded_look(&unit->is_stopped) != 0) {
        return -PIOMMU_EFAILED;
    }
    domain = calloc(1, sizeof(*domain));
    CHECK(domain != NULL);
    domain->magic = MAGIC;
    domain->type = wanted->type;
    if (unit->options.kind == PIOMMU_BACKEND_TABLES && wanted->type == PIOMMU_DOMAIN_PAGING) {
        const struct piommu_pgtable_info *table = wanted->table;

        CHECK(table != NULL);
        CHECK(piommu_walker_regime_from_tcr(
                  &hardware, piommu_pgtable_tcr_el1(table, NULL), table->registers.stage1.ttbr,
                  table->registers.stage1.mair, false, &domain->regime) == PIOMMU_WALKER_SETUP_OK);
    } else {
        CHECK(wanted->table == NULL);
    }
    threaded_unseen_begin();
    pthread_mutex_init(&domain->mutex, NULL);
    threaded_unseen_end();
    domain->next = unit->domains;
    unit->domains = domain;
    *result = domain;
    return 0;
}

static int domain_destroy(void *handle, void *domain_handle)
{
    struct domain *domain = existing(domain_handle);

    (void)handle;
    lock(&domain->mutex);
    CHECK(!domain->is_destroyed && domain->endpoints == 0);
    domain->is_destroyed = true;
    free(domain->mappings);
    domain->mappings = NULL;
    unlock(&domain->mutex);
    return 0;
}

/* The domain's lock is held. */
static void add_mapping(struct domain *domain, const struct piommu_backend_mapping *mapping)
{
    for (size_t i = 0; i < domain->count; i++) {
        CHECK(domain->mappings[i].iova.last < mapping->iova.first ||
              domain->mappings[i].iova.first > mapping->iova.last);
    }
    if (domain->count == domain->room) {
        domain->room = 2 * domain->room + 64;
        domain->mappings = realloc(domain->mappings, domain->room * sizeof(*domain->mappings));
        CHECK(domain->mappings != NULL);
    }
    domain->mappings[domain->count++] = *mapping;
}

/* The domain's lock is held. */
static void remove_mappings(struct domain *domain, struct piommu_range range)
{
    size_t kept = 0;

    for (size_t i = 0; i < domain->count; i++) {
        const struct piommu_backend_mapping *mapping = &domain->mappings[i];

        if (mapping->iova.last < range.first || mapping->iova.first > range.last) {
            domain->mappings[kept++] = *mapping;
        } else {
            CHECK(mapping->iova.first >= range.first && mapping->iova.last <= range.last);
        }
    }
    domain->count = kept;
}

/* The lock is taken for each mapping anew: what `next` does is the library's, and is looked at. */
static int map(void *handle, void *domain_handle, struct piommu_mapping_source *source)
{
    struct threaded_unit *unit = handle;
    struct domain *domain = existing(domain_handle);
    struct piommu_backend_mapping mapping;
    bool fails = has_to_fail(&unit->mapping_calls_left);

    enter_domain(unit, domain);
    work(unit);
    while (!is_lost(unit) && source->next(source, &mapping)) {
        lock(&domain->mutex);
        CHECK(!domain->is_destroyed);
        /* Whoever stops the unit may have been faster. */
        CHECK(domain->endpoints != 0 || is_lost(unit));
        if (domain->endpoints != 0) {
            add_mapping(domain, &mapping);
        }
        unlock(&domain->mutex);
        if (fails) {
            break;
        }
    }
    exit_domain(unit, domain);
    return fails ? -PIOMMU_ETIMEDOUT : is_lost(unit) ? -PIOMMU_EFAILED : 0;
}

static int unmap(void *handle, void *domain_handle, struct piommu_range_source *source)
{
    struct threaded_unit *unit = handle;
    struct domain *domain = existing(domain_handle);
    struct piommu_range range;

    if (has_to_fail(&unit->mapping_calls_left)) {
        return -PIOMMU_ETIMEDOUT;
    }
    enter_domain(unit, domain);
    work(unit);
    while (!is_lost(unit) && source->next(source, &range)) {
        lock(&domain->mutex);
        CHECK(!domain->is_destroyed);
        CHECK(domain->endpoints != 0 || is_lost(unit));
        remove_mappings(domain, range);
        unlock(&domain->mutex);
    }
    exit_domain(unit, domain);
    return is_lost(unit) ? -PIOMMU_EFAILED : 0;
}

static int invalidate(void *handle, void *domain_handle, struct piommu_range range, bool tables)
{
    struct threaded_unit *unit = handle;
    struct domain *domain = existing(domain_handle);
    unsigned int count = threaded_look(&unit->endpoint_count);

    CHECK(range.first <= range.last);
    if (has_to_fail(&unit->mapping_calls_left)) {
        return -PIOMMU_ETIMEDOUT;
    }
    if (is_lost(unit)) {
        return -PIOMMU_EFAILED;
    }
    work(unit);
    for (unsigned int i = 0; i < count; i++) {
        struct endpoint *endpoint = &unit->endpoints[i];

        lock(&endpoint->mutex);
        if (endpoint->domain == domain) {
            stale_tlb_invalidate(endpoint->tlb, range.first, range.last, !tables);
        }
        unlock(&endpoint->mutex);
    }
    return 0;
}

/* ---- Faults ---- */

static void report(struct threaded_unit *unit, uint32_t id, uint32_t raw)
{
    uint64_t random = pgtable_random(&unit->random);
    struct piommu_backend_fault fault = {.id = id,
                                         .reason = PIOMMU_FAULT_MAPPING,
                                         .iova_valid = (random & 1) != 0,
                                         .read = (random & 2) != 0,
                                         .write = (random & 2) == 0,
                                         .iova = random & 0xfffff000u,
                                         .raw = raw};

    piommu_backend_report_fault(unit->instance, &fault);
}

static unsigned int report_provoked(struct threaded_unit *unit, unsigned int budget)
{
    unsigned int count = 0;

    for (uint32_t id = 0; id < THREADED_IDS && count < budget; id++) {
        if (threaded_look(&unit->ids[id].is_provoked) != 0) {
            report(unit, id, THREADED_PROVOKED);
            threaded_set(&unit->ids[id].is_provoked, 0);
            count++;
        }
    }
    return count;
}

static int service(void *handle, unsigned int budget)
{
    struct threaded_unit *unit = handle;
    unsigned int count;

    enter_alone(&unit->is_serving);
    work(unit);
    if (is_lost(unit) || has_to_fail(&unit->service_calls_left)) {
        leave_alone(&unit->is_serving);
        return -PIOMMU_EFAILED;
    }
    count = report_provoked(unit, budget);
    for (unsigned int i = 0; i < REPORTS && count < budget; i++) {
        uint32_t id = (uint32_t)(pgtable_random(&unit->random) % THREADED_IDS);

        if (threaded_look(&unit->ids[id].makes_faults) != 0) {
            report(unit, id, 0);
            count++;
        }
    }
    leave_alone(&unit->is_serving);
    return (int)count;
}

/* ---- For the test ---- */

bool threaded_unit_holds_table(struct threaded_unit *unit, uint64_t physical, uint64_t size)
{
    bool result = false;
    unsigned int count = threaded_look(&unit->endpoint_count);

    for (unsigned int i = 0; i < count && !result; i++) {
        struct endpoint *endpoint = &unit->endpoints[i];

        lock(&endpoint->mutex);
        result = endpoint->tlb != NULL && stale_tlb_table_reaches(endpoint->tlb, physical, size);
        unlock(&endpoint->mutex);
    }
    return result;
}

struct threaded_unit *threaded_unit_create(struct threaded_host *h,
                                           const struct threaded_unit_options *options)
{
    struct threaded_unit *unit = calloc(1, sizeof(*unit));
    bool tables = options->kind == PIOMMU_BACKEND_TABLES;

    CHECK(unit != NULL);
    unit->host = h;
    unit->options = *options;
    unit->random = options->seed;
    if (unit->options.most_added == 0) {
        unit->options.most_added = ENDPOINTS;
    }
    unit->endpoints = calloc(unit->options.most_added, sizeof(*unit->endpoints));
    CHECK(unit->endpoints != NULL);
    unit->backend = (struct piommu_backend){
        .size = sizeof(struct piommu_backend),
        .name = "threaded",
        .kind = options->kind,
        .needs = PIOMMU_OS_NEED_LOCK,
        .probe = probe,
        .remove = remove_unit,
        .stop = stop,
        .add_endpoint = add_endpoint,
        .release_endpoint = release_endpoint,
        .domain_create = domain_create,
        .domain_destroy = domain_destroy,
        .attach = attach,
        .block = block,
        .map = tables ? NULL : map,
        .unmap = tables ? NULL : unmap,
        .invalidate = tables ? invalidate : NULL,
        .service = service,
        .block_now = options->block_now == THREADED_NO_BLOCK_NOW ? NULL : block_now,
        .suspend = suspend,
        .resume = resume,
    };
    return unit;
}

void threaded_unit_destroy(struct threaded_unit *unit)
{
    CHECK(!unit->is_probed);
    free(unit->endpoints);
    free(unit);
}

const struct piommu_backend *threaded_unit_backend(const struct threaded_unit *unit)
{
    return &unit->backend;
}

void threaded_unit_permit(struct threaded_unit *unit, uint32_t id, bool may_attach)
{
    threaded_set(&unit->ids[id].may_attach, may_attach);
}

static bool tables_reach(const struct threaded_unit *unit, const struct endpoint *endpoint,
                         uint64_t iova, bool write, uint64_t *physical)
{
    struct piommu_walker_memory memory = {.read64 = threaded_host_read64, .ctx = unit->host};
    struct piommu_walker_access access = {.read = !write, .write = write};
    struct piommu_walker_result result;

    stale_tlb_translate(endpoint->tlb, &endpoint->domain->regime, &memory, iova, &access, &result);
    /* Nothing was made before what was there had been broken. */
    CHECK(stale_tlb_conflicts(endpoint->tlb) == 0);
    *physical = result.output;
    return result.fault == PIOMMU_WALKER_FAULT_NONE;
}

static bool requests_reach(struct domain *domain, uint64_t iova, bool write, uint64_t *physical)
{
    bool result = false;

    lock(&domain->mutex);
    for (size_t i = 0; i < domain->count; i++) {
        const struct piommu_backend_mapping *mapping = &domain->mappings[i];

        if (iova >= mapping->iova.first && iova <= mapping->iova.last) {
            *physical = mapping->physical + (iova - mapping->iova.first);
            result = (mapping->prot & (write ? PIOMMU_PROT_WRITE : PIOMMU_PROT_READ)) != 0;
            break;
        }
    }
    unlock(&domain->mutex);
    return result;
}

bool threaded_unit_reaches(struct threaded_unit *unit, uint32_t id, uint64_t iova, bool write,
                           uint64_t *physical)
{
    struct endpoint *endpoint;
    bool result = false;

    threaded_unseen_begin();
    endpoint = atomic_load(&unit->ids[id].endpoint);
    if (endpoint != NULL) {
        lock(&endpoint->mutex);
        if (endpoint->domain == NULL || endpoint->is_cut) {
            result = false;
        } else if (endpoint->domain->type == PIOMMU_DOMAIN_IDENTITY) {
            *physical = iova;
            result = true;
        } else if (unit->options.kind == PIOMMU_BACKEND_TABLES) {
            result = tables_reach(unit, endpoint, iova, write, physical);
        } else {
            result = requests_reach(endpoint->domain, iova, write, physical);
        }
        unlock(&endpoint->mutex);
    }
    threaded_unseen_end();
    return result;
}

void threaded_unit_make_faults(struct threaded_unit *unit, uint32_t id, bool on)
{
    threaded_set(&unit->ids[id].makes_faults, on);
}

void threaded_unit_provoke(struct threaded_unit *unit, uint32_t id)
{
    threaded_set(&unit->ids[id].is_provoked, 1);
}

bool threaded_unit_is_provoked(struct threaded_unit *unit, uint32_t id)
{
    return threaded_look(&unit->ids[id].is_provoked) != 0;
}

void threaded_unit_fail_mapping(struct threaded_unit *unit, unsigned int nth)
{
    threaded_set(&unit->mapping_calls_left, nth);
}

void threaded_unit_fail_service(struct threaded_unit *unit, unsigned int nth)
{
    threaded_set(&unit->service_calls_left, nth);
}

void threaded_unit_refuse_stop(struct threaded_unit *unit, bool refuse)
{
    threaded_set(&unit->refuses_stop, refuse);
}

bool threaded_unit_is_stopped(struct threaded_unit *unit)
{
    return threaded_look(&unit->is_stopped) != 0;
}
