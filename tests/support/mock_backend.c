/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "mock_backend.h"

#include "stale_tlb.h"

#include <piommu/error.h>
#include <piommu/models/lpae-walker.h>

#include <pthread.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MAX_CONTEXTS 256u /* that one unit has made */
#define MAX_RESERVED 64u
#define MAX_FAULTS   64u
#define TLB_ROOM     1024u /* it searches from end to end */
#define MAGIC        0x6d6f636b62617365ull

/* What calls may be made when, and what they are. */
#define WHILE_SUSPENDED 0x01u
#define AFTER_STOP      0x02u
#define WHEN_LOST       0x04u
#define IN_INTERRUPT    0x08u /* and within service */
#define FALLIBLE        0x10u /* mock_fail_call counts it */
#define WAITS           0x20u

/* What the next call of a unit that has just failed can be. */
#define TAKES_DOWN (WHILE_SUSPENDED | WHEN_LOST)

/* A hardware context: what the backend calls a domain. */
struct mock_domain {
    struct mock_domain *next;
    const struct mock *maker; /* kind REQUESTS: contexts belong to one unit */
    const void *identity;
    enum piommu_domain_type type;
    uint64_t root;
    unsigned int holders;   /* units that have made it */
    unsigned int awake;     /* those of them that can be asked to invalidate it */
    unsigned int endpoints; /* of all of them */
    unsigned int invalidations;
    /* Kind TABLES: the hardware's view of the tables. */
    struct piommu_walker_regime regime;
    struct stale_tlb *tlb;
    /* Kind REQUESTS: what the hardware holds. */
    struct piommu_backend_mapping *mappings;
    size_t mapping_count;
    size_t mapping_room;
};

/* What a unit shares with those that have it as parent. */
struct mock_family {
    pthread_mutex_t mutex; /* over all members' state: calls of one unit may run in parallel */
    struct mock_domain *contexts;
    unsigned int context_count;
    unsigned int context_limit;
    unsigned int invalidations;
    uint64_t past_conflicts; /* of contexts that are gone */
};

struct mock_endpoint {
    bool used;
    uint32_t id;
    uint32_t group;
    struct mock_domain *domain; /* NULL: blocked */
    bool blocked_now;           /* reaches nothing, although it counts as in its domain */
    bool doubtful;              /* an attach has failed: to be blocked next */
};

struct mock_reserved {
    uint32_t id;
    struct piommu_reserved_region region;
};

struct mock {
    uint64_t magic;
    struct piommu_backend own_backend;
    struct piommu_backend *backend;
    struct fake_os *os;
    struct mock_family own_family;
    struct mock_family *family;
    struct mock *destined_parent; /* of mock_create_child */
    struct piommu_backend_info info;

    /* From probe to remove. */
    struct piommu_host host;
    struct piommu_instance *instance;
    struct mock *parent;
    unsigned int children;
    unsigned int children_awake; /* neither suspended nor stopped */
    uint64_t key;
    uint64_t timeout;
    enum piommu_unknown_ids unknown_ids;
    bool probed;
    bool stopped;
    bool suspended;
    bool lost; /* a call has failed the instance, and stop has not succeeded since */
    bool known_ids[MOCK_ID_LIMIT]; /* that were ever added */
    struct mock_endpoint endpoints[MOCK_MAX_ENDPOINTS];
    struct mock_domain *domains[MAX_CONTEXTS];

    /* What the test wants. */
    bool refuse_stop;
    bool never_answers;
    bool interrupt;
    struct piommu_reserved_region reserved_for_all;
    bool has_reserved_for_all;
    struct mock_reserved reserved[MAX_RESERVED];
    unsigned int reserved_count;
    uint32_t groups[MOCK_ID_LIMIT];
    unsigned int fail_in;
    int fail_error;
    bool fail_forever;
    unsigned int fallible_calls;
    unsigned int failing_attaches;
    int attach_error;
    enum mock_failed_attach failed_attach;
    int block_now_error;
    struct piommu_backend_fault faults[MAX_FAULTS];
    unsigned int fault_count;
    int service_error;
    void (*observer)(void *ctx);
    void *observer_ctx;
    struct mock_counters counters;
    unsigned int probes;
    unsigned int removals;
};

/* Whose service function this thread is in. */
static _Thread_local const struct mock *serving;

static void broken(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* On stderr too: outside a test of cmocka its complaint would not be seen. */
static void broken(const char *format, ...)
{
    char text[256];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    fprintf(stderr, "mock backend: %s\n", text);
    fail_msg("mock backend: %s", text);
    abort();
}

#define HOLDS(condition)                                           \
    do {                                                           \
        if (!(condition)) {                                        \
            broken("line %d: not true: %s", __LINE__, #condition); \
        }                                                          \
    } while (0)

/* ---- What each call begins and ends with ---- */

static void lock(struct mock *mock)
{
    pthread_mutex_lock(&mock->family->mutex);
}

static void unlock(struct mock *mock)
{
    pthread_mutex_unlock(&mock->family->mutex);
}

static void check_state(const struct mock *mock, const char *name, unsigned int rules)
{
    if (mock->magic != MAGIC) {
        broken("%s of something that is not a unit", name);
    }
    if (!mock->probed) {
        broken("%s of a unit that was removed, or not probed", name);
    }
    if (mock->stopped && (rules & AFTER_STOP) == 0) {
        broken("%s of a unit that was stopped", name);
    }
    if (mock->lost && (rules & WHEN_LOST) == 0) {
        broken("%s of a unit that has failed, and was not stopped", name);
    }
    if (mock->suspended && (rules & WHILE_SUSPENDED) == 0) {
        broken("%s of a unit that is suspended", name);
    }
    if ((mock->interrupt || serving == mock) && (rules & IN_INTERRUPT) == 0) {
        broken("%s in an interrupt, or within service", name);
    }
}

/* The least wait: the fake OS checks that no lock is held, and that waiting is allowed here. */
static void wait_a_little(const struct mock *mock)
{
    mock->host.os->wait(mock->host.ctx, mock->host.os->now(mock->host.ctx) + 1);
}

static int wait_in_vain(const struct mock *mock)
{
    const struct piommu_os *os = mock->host.os;
    uint64_t deadline = os->now(mock->host.ctx) + mock->timeout;

    while (os->now(mock->host.ctx) < deadline) {
        os->wait(mock->host.ctx, deadline);
    }
    return -PIOMMU_ETIMEDOUT;
}

static int injected_error(struct mock *mock)
{
    int error = 0;

    lock(mock);
    mock->fallible_calls++;
    if (mock->fail_in == 1) {
        error = mock->fail_error;
    }
    if (mock->fail_in > 1 || (mock->fail_in == 1 && !mock->fail_forever)) {
        mock->fail_in--;
    }
    unlock(mock);
    return error;
}

/* Everything that is the same for all calls. Returns the error with which this one has to fail. */
static int begin(struct mock *mock, const char *name, unsigned int rules, unsigned int *counter)
{
    int error = 0;

    check_state(mock, name, rules);
    lock(mock);
    (*counter)++;
    unlock(mock);
    if ((rules & FALLIBLE) != 0) {
        error = injected_error(mock);
    }
    if ((rules & WAITS) != 0 && mock->never_answers) {
        return wait_in_vain(mock);
    }
    if ((rules & WAITS) != 0) {
        wait_a_little(mock);
    }
    return error;
}

static bool is_running(const struct mock *mock)
{
    return !mock->suspended && !mock->stopped;
}

/* Can it be asked for anything? */
static bool is_awake(const struct mock *mock)
{
    return is_running(mock) && !mock->lost;
}

/* Contexts that nobody can be asked to invalidate forget what they have cached. */
static void forget_unattended(struct mock *mock)
{
    for (unsigned int i = 0; i < MAX_CONTEXTS; i++) {
        if (mock->domains[i] != NULL && mock->domains[i]->awake == 0) {
            stale_tlb_invalidate_all(mock->domains[i]->tlb);
        }
    }
}

static void fall_asleep(struct mock *mock)
{
    for (unsigned int i = 0; i < MAX_CONTEXTS; i++) {
        struct mock_domain *domain = mock->domains[i];

        if (domain != NULL) {
            domain->awake--;
        }
    }
    forget_unattended(mock);
    if (mock->parent != NULL) {
        mock->parent->children_awake--;
    }
}

/* The unit has failed: nobody may ask it for anything any more. */
static void lose(struct mock *mock)
{
    lock(mock);
    if (is_awake(mock)) {
        fall_asleep(mock);
    }
    mock->lost = true;
    unlock(mock);
}

/* Ends a call. `fatal`: any failure of it fails the instance. */
static int end(struct mock *mock, int error, bool fatal)
{
    if (error == -PIOMMU_ETIMEDOUT || error == -PIOMMU_EFAILED || (error != 0 && fatal)) {
        lose(mock);
    }
    if (mock->observer != NULL) {
        mock->observer(mock->observer_ctx);
    }
    return error;
}

/* ---- Contexts ---- */

static bool is_tables(const struct mock *mock)
{
    return mock->backend->kind == PIOMMU_BACKEND_TABLES;
}

static struct mock_domain **held_slot(struct mock *mock, const struct mock_domain *domain)
{
    for (unsigned int i = 0; i < MAX_CONTEXTS; i++) {
        if (mock->domains[i] == domain) {
            return &mock->domains[i];
        }
    }
    return NULL;
}

/* The handle as a context that this unit has made. */
static struct mock_domain *check_held(struct mock *mock, void *handle)
{
    bool held;

    HOLDS(handle != NULL);
    lock(mock);
    held = held_slot(mock, handle) != NULL;
    unlock(mock);
    HOLDS(held);
    return handle;
}

static struct mock_domain *find_context(struct mock *mock, const void *identity)
{
    struct mock_domain *domain;

    lock(mock);
    domain = mock->family->contexts;
    while (domain != NULL &&
           !(domain->identity == identity && (is_tables(mock) || domain->maker == mock))) {
        domain = domain->next;
    }
    unlock(mock);
    return domain;
}

static void leave(struct mock_endpoint *endpoint)
{
    struct mock_domain *domain = endpoint->domain;

    /* The last endpoint takes all mappings with it, as with a virtio-iommu. */
    if (domain != NULL && --domain->endpoints == 0) {
        domain->mapping_count = 0;
    }
    endpoint->domain = NULL;
    endpoint->blocked_now = false;
    endpoint->doubtful = false;
}

static void enter(struct mock_endpoint *endpoint, struct mock_domain *domain)
{
    leave(endpoint);
    endpoint->domain = domain;
    domain->endpoints++;
}

static void leave_all(struct mock *mock)
{
    for (unsigned int i = 0; i < MOCK_MAX_ENDPOINTS; i++) {
        leave(&mock->endpoints[i]);
    }
}

static const uint32_t descriptor_features = PIOMMU_PGTABLE_CONTIGUOUS | PIOMMU_PGTABLE_XNX |
                                            PIOMMU_PGTABLE_DIRTY | PIOMMU_PGTABLE_BBM_LEVEL_2;

static void check_paging_table(const struct mock *mock, const struct piommu_pgtable_info *table)
{
    const struct piommu_pgtable_config *wanted = &mock->info.table;
    uint32_t others = ~(descriptor_features | PIOMMU_PGTABLE_DISJOINT);

    HOLDS(table->format == wanted->format);
    HOLDS(table->granule == wanted->granule);
    HOLDS(table->input_bits <= wanted->input_bits);
    HOLDS(table->output_bits <= wanted->output_bits);
    HOLDS(wanted->coherent_walk || !table->coherent_walk);
    HOLDS((table->flags & others) == (wanted->flags & others));
    HOLDS((table->flags & descriptor_features & ~wanted->flags) == 0);
    HOLDS(wanted->leaf_sizes == 0 || (table->leaf_sizes & ~wanted->leaf_sizes) == 0);
}

static void check_shared_table(const struct mock *mock, const struct piommu_pgtable_info *table)
{
    const struct piommu_shared_limits *limits = &mock->info.shared;
    uint32_t features = PIOMMU_PGTABLE_CONTIGUOUS | PIOMMU_PGTABLE_DIRTY |
                        PIOMMU_PGTABLE_FORCE_WRITE_BACK | PIOMMU_PGTABLE_XNX;

    HOLDS(table->format == PIOMMU_ARM_64_LPAE_S2 || table->format == PIOMMU_ARM_32_LPAE_S2);
    HOLDS((limits->formats & (1u << table->format)) != 0);
    HOLDS((limits->granules & table->granule) != 0);
    HOLDS(table->input_bits >= limits->input_first);
    HOLDS(table->input_bits <= limits->input_last);
    HOLDS(table->start_level >= limits->start_first);
    HOLDS(table->start_level <= limits->start_last);
    HOLDS(table->root_size <= (size_t)table->granule * limits->concatenated);
    HOLDS(table->output_bits <= limits->output_bits);
    HOLDS((table->flags & features & ~limits->features) == 0);
    HOLDS(limits->ds || !table->registers.stage2.ds);
}

static struct piommu_walker_hardware hardware_for(const struct piommu_pgtable_info *table)
{
    return (struct piommu_walker_hardware){
        .physical_bits = table->output_bits,
        .has_small_tables = (table->flags & PIOMMU_PGTABLE_SMALL_INPUT) != 0,
        .has_large_virtual_addresses = true,
        .has_lpa2 = true,
        .has_execute_never_by_privilege = (table->flags & PIOMMU_PGTABLE_XNX) != 0,
        .has_access_flag_updates = (table->flags & PIOMMU_PGTABLE_DIRTY) != 0,
        .has_dirty_updates = (table->flags & PIOMMU_PGTABLE_DIRTY) != 0,
        .break_before_make_level = (table->flags & PIOMMU_PGTABLE_BBM_LEVEL_2) != 0 ? 2 : 0,
    };
}

static enum piommu_walker_setup make_regime(const struct piommu_pgtable_info *table,
                                            struct piommu_walker_regime *regime)
{
    struct piommu_walker_hardware hardware = hardware_for(table);
    bool upper = (table->flags & PIOMMU_PGTABLE_TTBR1) != 0;
    const struct piommu_pgtable_info *low = upper ? NULL : table;
    const struct piommu_pgtable_info *high = upper ? table : NULL;
    enum piommu_walker_setup setup = PIOMMU_WALKER_SETUP_UNSUPPORTED;

    switch (table->format) {
    case PIOMMU_ARM_64_LPAE_S1:
        setup = piommu_walker_regime_from_tcr(&hardware, piommu_pgtable_tcr_el1(low, high),
                                              table->registers.stage1.ttbr,
                                              table->registers.stage1.mair, upper, regime);
        break;
    case PIOMMU_ARM_64_LPAE_S2:
        setup = piommu_walker_regime_from_vtcr(&hardware, piommu_pgtable_vtcr_el2(table),
                                               table->registers.stage2.vttbr, regime);
        regime->forced_write_back = (table->flags & PIOMMU_PGTABLE_FORCE_WRITE_BACK) != 0;
        break;
    case PIOMMU_ARM_32_LPAE_S1:
        setup = piommu_walker_regime_from_ttbcr(
            &hardware, piommu_pgtable_ttbcr(low, high), table->registers.stage1.ttbr,
            (uint32_t)table->registers.stage1.mair, (uint32_t)(table->registers.stage1.mair >> 32),
            upper, regime);
        break;
    case PIOMMU_ARM_32_LPAE_S2:
        setup = piommu_walker_regime_from_aarch32_vtcr(&hardware, piommu_pgtable_vtcr(table),
                                                       table->registers.stage2.vttbr, regime);
        break;
    }
    return setup;
}

/* Does the core ask for what exists, and say of it what backend.h promises? */
static void check_domain(const struct mock *mock, const struct piommu_backend_domain *domain)
{
    HOLDS(domain->identity != NULL);
    HOLDS(domain->type == PIOMMU_DOMAIN_IDENTITY || domain->type == PIOMMU_DOMAIN_PAGING ||
          domain->type == PIOMMU_DOMAIN_SHARED);
    HOLDS(domain->type != PIOMMU_DOMAIN_IDENTITY || mock->info.identity);
    HOLDS(domain->type != PIOMMU_DOMAIN_SHARED || is_tables(mock));
    if (!is_tables(mock) || domain->type == PIOMMU_DOMAIN_IDENTITY) {
        HOLDS(domain->table == NULL);
        return;
    }
    HOLDS(domain->table != NULL);
    if (domain->type == PIOMMU_DOMAIN_PAGING) {
        check_paging_table(mock, domain->table);
    } else {
        check_shared_table(mock, domain->table);
    }
}

static struct mock_domain *make_context(struct mock *mock,
                                        const struct piommu_backend_domain *wanted)
{
    struct mock_domain *domain = calloc(1, sizeof(*domain));

    domain->maker = mock;
    domain->identity = wanted->identity;
    domain->type = wanted->type;
    domain->tlb = stale_tlb_create();
    if (wanted->table != NULL) {
        domain->root = wanted->table->root_physical;
        HOLDS(make_regime(wanted->table, &domain->regime) == PIOMMU_WALKER_SETUP_OK);
    }
    lock(mock);
    domain->next = mock->family->contexts;
    mock->family->contexts = domain;
    mock->family->context_count++;
    unlock(mock);
    return domain;
}

static void free_context(struct mock *mock, struct mock_domain *domain)
{
    struct mock_domain **link = &mock->family->contexts;

    while (*link != domain) {
        link = &(*link)->next;
    }
    *link = domain->next;
    mock->family->context_count--;
    mock->family->past_conflicts += stale_tlb_conflicts(domain->tlb);
    stale_tlb_destroy(domain->tlb);
    free(domain->mappings);
    free(domain);
}

static int domain_create(void *unit, const struct piommu_backend_domain *wanted, void **result)
{
    struct mock *mock = unit;
    int error =
        begin(mock, "domain_create", WHILE_SUSPENDED | FALLIBLE, &mock->counters.domain_create);
    struct mock_domain *domain = find_context(mock, wanted->identity);
    struct mock_domain **slot = held_slot(mock, NULL);

    check_domain(mock, wanted);
    if (error == 0 && domain == NULL &&
        mock->family->context_count >= mock->family->context_limit) {
        error = -PIOMMU_ENOSPC;
    }
    if (error != 0) {
        return end(mock, error, false);
    }
    if (domain == NULL) {
        domain = make_context(mock, wanted);
    }
    HOLDS(held_slot(mock, domain) == NULL);
    HOLDS(domain->type == wanted->type);
    HOLDS(wanted->table == NULL || wanted->table->root_physical == domain->root);
    HOLDS(slot != NULL);
    lock(mock);
    *slot = domain;
    domain->holders++;
    domain->awake += is_awake(mock);
    unlock(mock);
    *result = domain;
    return end(mock, 0, false);
}

static int domain_destroy(void *unit, void *handle)
{
    struct mock *mock = unit;
    struct mock_domain *domain;

    begin(mock, "domain_destroy", TAKES_DOWN | AFTER_STOP, &mock->counters.domain_destroy);
    domain = check_held(mock, handle);
    for (unsigned int i = 0; i < MOCK_MAX_ENDPOINTS; i++) {
        HOLDS(!(mock->endpoints[i].used && mock->endpoints[i].domain == domain));
    }
    lock(mock);
    *held_slot(mock, domain) = NULL;
    domain->awake -= is_awake(mock);
    if (--domain->holders == 0) {
        free_context(mock, domain);
    } else if (domain->awake == 0) {
        stale_tlb_invalidate_all(domain->tlb);
    }
    unlock(mock);
    end(mock, 0, false);
    return 0;
}

/* ---- The unit ---- */

static void check_parent(struct mock *mock, const struct piommu_instance_config *config,
                         struct mock *parent)
{
    HOLDS((parent != NULL) == (config->parent_key != 0));
    if (parent == NULL) {
        return;
    }
    check_state(parent, "probe of a child", IN_INTERRUPT);
    HOLDS(parent->key == config->parent_key);
    HOLDS(parent->backend == mock->backend);
    HOLDS(mock->destined_parent == NULL || mock->destined_parent == parent);
    parent->children++;
    parent->children_awake++;
    mock->parent = parent;
    mock->family = parent->family;
}

static int probe(struct piommu_host host, struct piommu_instance *instance,
                 const struct piommu_instance_config *config, const void *backend_config,
                 void *parent, void **unit, struct piommu_backend_info *info)
{
    static const struct piommu_backend_info nothing;
    struct mock *mock = *(struct mock *const *)backend_config;
    int error;

    HOLDS(!mock->probed);
    HOLDS(instance != NULL);
    HOLDS(config->name != NULL);
    HOLDS(config->timeout != 0);
    HOLDS(memcmp(info, &nothing, sizeof(nothing)) == 0);
    mock->host = host;
    mock->timeout = config->timeout;
    mock->probed = true;
    mock->stopped = false;
    mock->suspended = false;
    mock->lost = false;
    error = begin(mock, "probe", FALLIBLE | WAITS, &mock->probes);
    if (error != 0) {
        mock->probed = false;
        return error;
    }
    check_parent(mock, config, parent);
    mock->instance = instance;
    mock->key = config->key;
    mock->unknown_ids = config->unknown_ids;
    memset(mock->known_ids, 0, sizeof(mock->known_ids));
    *info = mock->info;
    *unit = mock;
    return 0;
}

static int remove_unit(void *unit)
{
    struct mock *mock = unit;
    int error = begin(mock, "remove", TAKES_DOWN | AFTER_STOP | WAITS, &mock->removals);

    if (error != 0 || mock->refuse_stop) {
        return -PIOMMU_ETIMEDOUT;
    }
    HOLDS(mock->children == 0);
    for (unsigned int i = 0; i < MOCK_MAX_ENDPOINTS; i++) {
        HOLDS(!mock->endpoints[i].used);
    }
    for (unsigned int i = 0; i < MAX_CONTEXTS; i++) {
        HOLDS(mock->domains[i] == NULL);
    }
    if (mock->parent != NULL) {
        mock->parent->children--;
        mock->parent->children_awake -= is_awake(mock);
    }
    mock->parent = NULL;
    mock->family = &mock->own_family;
    mock->probed = false;
    return 0;
}

static void wake_up(struct mock *mock)
{
    for (unsigned int i = 0; i < MAX_CONTEXTS; i++) {
        if (mock->domains[i] != NULL) {
            mock->domains[i]->awake++;
        }
    }
    if (mock->parent != NULL) {
        mock->parent->children_awake++;
    }
}

static int stop(void *unit)
{
    struct mock *mock = unit;
    int error = begin(mock, "stop", TAKES_DOWN | WAITS, &mock->counters.stop);

    if (error != 0 || mock->refuse_stop) {
        return end(mock, -PIOMMU_ETIMEDOUT, false);
    }
    lock(mock);
    leave_all(mock);
    if (is_awake(mock)) {
        fall_asleep(mock);
    }
    /* One that was lost has gone on until now. */
    forget_unattended(mock);
    mock->stopped = true;
    unlock(mock);
    return end(mock, 0, false);
}

static int suspend(void *unit)
{
    struct mock *mock = unit;
    int error = begin(mock, "suspend", FALLIBLE | WAITS, &mock->counters.suspend);

    HOLDS(mock->children_awake == 0);
    if (error == 0) {
        lock(mock);
        leave_all(mock);
        fall_asleep(mock);
        mock->suspended = true;
        unlock(mock);
    }
    return end(mock, error, true);
}

static int resume(void *unit)
{
    struct mock *mock = unit;
    int error = begin(mock, "resume", WHILE_SUSPENDED | FALLIBLE | WAITS, &mock->counters.resume);

    HOLDS(mock->suspended);
    HOLDS(mock->parent == NULL || !mock->parent->suspended || mock->parent->stopped);
    if (error == 0) {
        lock(mock);
        wake_up(mock);
        mock->suspended = false;
        unlock(mock);
    }
    return end(mock, error, true);
}

static int service(void *unit, unsigned int budget)
{
    struct mock *mock = unit;
    unsigned int reports = 0;

    begin(mock, "service", WHEN_LOST | IN_INTERRUPT, &mock->counters.service);
    HOLDS(serving == NULL);
    if (mock->service_error != 0) {
        return mock->service_error;
    }
    serving = mock;
    while (reports < budget && mock->fault_count != 0) {
        struct piommu_backend_fault fault = mock->faults[0];

        mock->fault_count--;
        memmove(mock->faults, mock->faults + 1, mock->fault_count * sizeof(fault));
        piommu_backend_report_fault(mock->instance, &fault);
        reports++;
    }
    serving = NULL;
    return (int)reports;
}

/* ---- Endpoints ---- */

static int tell_facts(const struct mock *mock, uint32_t id, struct piommu_endpoint_facts *facts)
{
    int error = 0;

    if (mock->has_reserved_for_all) {
        error = piommu_backend_add_reserved(facts, &mock->reserved_for_all);
    }
    for (unsigned int i = 0; error == 0 && i < mock->reserved_count; i++) {
        if (mock->reserved[i].id == id) {
            error = piommu_backend_add_reserved(facts, &mock->reserved[i].region);
        }
    }
    if (error == 0 && mock->groups[id] != 0) {
        piommu_backend_set_group(facts, mock->groups[id]);
    }
    return error;
}

static struct mock_endpoint *new_endpoint(struct mock *mock, uint32_t id)
{
    for (unsigned int i = 0; i < MOCK_MAX_ENDPOINTS; i++) {
        HOLDS(!(mock->endpoints[i].used && mock->endpoints[i].id == id));
    }
    for (unsigned int i = 0; i < MOCK_MAX_ENDPOINTS; i++) {
        struct mock_endpoint *endpoint = &mock->endpoints[i];

        if (!endpoint->used) {
            lock(mock);
            *endpoint = (struct mock_endpoint){.used = true, .id = id, .group = mock->groups[id]};
            unlock(mock);
            return endpoint;
        }
    }
    broken("the mock has no room for endpoint %u", id);
    return NULL;
}

static int add_endpoint(void *unit, uint32_t id, struct piommu_endpoint_facts *facts,
                        void **endpoint)
{
    struct mock *mock = unit;
    int error = begin(mock, "add_endpoint", FALLIBLE | WAITS, &mock->counters.add_endpoint);

    if (error == 0 && id >= MOCK_ID_LIMIT) {
        error = -PIOMMU_ENOENT;
    }
    if (error == 0) {
        error = tell_facts(mock, id, facts);
    }
    if (error == 0) {
        *endpoint = new_endpoint(mock, id);
        mock->known_ids[id] = true;
    }
    return end(mock, error, false);
}

/* The handle as an endpoint of this unit. */
static struct mock_endpoint *check_endpoint(struct mock *mock, void *handle)
{
    struct mock_endpoint *endpoint = handle;

    HOLDS(endpoint >= mock->endpoints && endpoint < mock->endpoints + MOCK_MAX_ENDPOINTS);
    HOLDS(endpoint->used);
    return endpoint;
}

static void release_endpoint(void *unit, void *handle)
{
    struct mock *mock = unit;
    struct mock_endpoint *endpoint;

    begin(mock, "release_endpoint", TAKES_DOWN | AFTER_STOP, &mock->counters.release_endpoint);
    endpoint = check_endpoint(mock, handle);
    HOLDS(endpoint->domain == NULL);
    HOLDS(!endpoint->doubtful);
    lock(mock);
    endpoint->used = false;
    unlock(mock);
    end(mock, 0, false);
}

static void check_attach(const struct mock *mock, const struct mock_endpoint *endpoint,
                         const struct mock_domain *domain)
{
    HOLDS(endpoint->domain != domain);
    HOLDS(!endpoint->doubtful);
    if (endpoint->domain != NULL && !mock->info.atomic_switch) {
        broken("attach of endpoint %u, which is not blocked", endpoint->id);
    }
    for (unsigned int i = 0; endpoint->group != 0 && i < MOCK_MAX_ENDPOINTS; i++) {
        const struct mock_endpoint *other = &mock->endpoints[i];

        if (other->used && other != endpoint && other->group == endpoint->group &&
            other->domain != NULL && other->domain != domain) {
            broken("endpoints %u and %u of group %u are in different domains", endpoint->id,
                   other->id, endpoint->group);
        }
    }
}

static int attach_error(struct mock *mock)
{
    if (mock->failing_attaches == 0) {
        return 0;
    }
    mock->failing_attaches--;
    return mock->attach_error;
}

static int attach(void *unit, void *handle, void *domain_handle)
{
    struct mock *mock = unit;
    int error = begin(mock, "attach", FALLIBLE | WAITS, &mock->counters.attach);
    struct mock_endpoint *endpoint = check_endpoint(mock, handle);
    struct mock_domain *domain = check_held(mock, domain_handle);

    check_attach(mock, endpoint, domain);
    if (error == 0) {
        error = attach_error(mock);
    }
    lock(mock);
    if (error == 0 || mock->failed_attach == MOCK_FAILED_ATTACH_ENTERS) {
        enter(endpoint, domain);
    } else if (mock->failed_attach == MOCK_FAILED_ATTACH_BLOCKS) {
        leave(endpoint);
    }
    endpoint->doubtful = error != 0;
    unlock(mock);
    return end(mock, error, false);
}

static int block(void *unit, void *handle)
{
    struct mock *mock = unit;
    int error = begin(mock, "block", FALLIBLE | WAITS, &mock->counters.block);
    struct mock_endpoint *endpoint = check_endpoint(mock, handle);

    if (error == 0) {
        lock(mock);
        leave(endpoint);
        unlock(mock);
    }
    return end(mock, error, true);
}

static int block_now(void *unit, void *handle)
{
    struct mock *mock = unit;
    struct mock_endpoint *endpoint;

    begin(mock, "block_now", WHEN_LOST | IN_INTERRUPT, &mock->counters.block_now);
    endpoint = check_endpoint(mock, handle);
    if (mock->block_now_error == 0) {
        lock(mock);
        endpoint->blocked_now = true;
        unlock(mock);
    }
    if (mock->observer != NULL) {
        mock->observer(mock->observer_ctx);
    }
    return mock->block_now_error;
}

/* ---- Mappings ---- */

static uint64_t granule_of(const struct mock *mock)
{
    return mock->info.leaf_sizes & -mock->info.leaf_sizes;
}

static void check_range(const struct mock *mock, const struct piommu_range *range)
{
    uint64_t mask = granule_of(mock) - 1;

    HOLDS(range->first <= range->last);
    HOLDS(range->first >= mock->info.aperture.first);
    HOLDS(range->last <= mock->info.aperture.last);
    HOLDS((range->first & mask) == 0 && (range->last & mask) == mask);
}

static void check_mapping(const struct mock *mock, const struct mock_domain *domain,
                          const struct piommu_backend_mapping *mapping)
{
    uint64_t size = mapping->iova.last - mapping->iova.first;
    unsigned int bits = mock->info.output_bits;

    check_range(mock, &mapping->iova);
    HOLDS((mapping->physical & (granule_of(mock) - 1)) == 0);
    HOLDS(mapping->physical + size >= mapping->physical);
    HOLDS(bits == 0 || bits == 64 || (mapping->physical + size) >> bits == 0);
    HOLDS((mapping->prot & ~mock->info.prot) == 0);
    HOLDS((mapping->prot & PIOMMU_PROT_READ) != 0 ||
          ((mapping->prot & PIOMMU_PROT_WRITE) != 0 && mock->info.write_only));
    for (size_t i = 0; i < domain->mapping_count; i++) {
        HOLDS(domain->mappings[i].iova.last < mapping->iova.first ||
              domain->mappings[i].iova.first > mapping->iova.last);
    }
}

static void keep_mapping(struct mock *mock, struct mock_domain *domain,
                         const struct piommu_backend_mapping *mapping)
{
    lock(mock);
    if (domain->mapping_count == domain->mapping_room) {
        domain->mapping_room = domain->mapping_room == 0 ? 64 : 2 * domain->mapping_room;
        domain->mappings =
            realloc(domain->mappings, domain->mapping_room * sizeof(*domain->mappings));
    }
    domain->mappings[domain->mapping_count++] = *mapping;
    mock->counters.mappings++;
    unlock(mock);
}

static int map(void *unit, void *handle, struct piommu_mapping_source *source)
{
    struct mock *mock = unit;
    int error = begin(mock, "map", FALLIBLE | WAITS, &mock->counters.map);
    struct mock_domain *domain = check_held(mock, handle);
    struct piommu_backend_mapping mapping;
    bool first = true;
    uint64_t behind = 0;

    HOLDS(domain->endpoints != 0);
    while (source->next(source, &mapping)) {
        HOLDS(first || mapping.iova.first > behind);
        check_mapping(mock, domain, &mapping);
        keep_mapping(mock, domain, &mapping);
        first = false;
        behind = mapping.iova.last;
        /* A failure comes after some of the mappings are in force. */
        if (error != 0) {
            break;
        }
    }
    return end(mock, error, false);
}

static void drop_mappings(struct mock *mock, struct mock_domain *domain,
                          const struct piommu_range *range)
{
    size_t kept = 0;

    lock(mock);
    for (size_t i = 0; i < domain->mapping_count; i++) {
        const struct piommu_backend_mapping *mapping = &domain->mappings[i];

        if (mapping->iova.last < range->first || mapping->iova.first > range->last) {
            domain->mappings[kept++] = *mapping;
        } else if (mapping->iova.first < range->first || mapping->iova.last > range->last) {
            unlock(mock);
            broken("unmap would cut a mapping");
        }
    }
    domain->mapping_count = kept;
    unlock(mock);
}

static int unmap(void *unit, void *handle, struct piommu_range_source *source)
{
    struct mock *mock = unit;
    int error = begin(mock, "unmap", FALLIBLE | WAITS, &mock->counters.unmap);
    struct mock_domain *domain = check_held(mock, handle);
    struct piommu_range range;

    HOLDS(domain->endpoints != 0);
    while (error == 0 && source->next(source, &range)) {
        mock->counters.ranges++;
        check_range(mock, &range);
        drop_mappings(mock, domain, &range);
    }
    return end(mock, error, true);
}

static int invalidate(void *unit, void *handle, struct piommu_range range, bool tables)
{
    struct mock *mock = unit;
    int error = begin(mock, "invalidate", FALLIBLE | WAITS, &mock->counters.invalidate);
    struct mock_domain *domain = check_held(mock, handle);

    HOLDS(domain->type != PIOMMU_DOMAIN_IDENTITY);
    HOLDS(range.first <= range.last);
    lock(mock);
    mock->family->invalidations++;
    domain->invalidations++;
    if (error == 0) {
        stale_tlb_invalidate(domain->tlb, range.first, range.last, !tables);
    }
    unlock(mock);
    return end(mock, error, true);
}

/* ---- For the test ---- */

static void open_family(struct mock_family *family)
{
    pthread_mutexattr_t attributes;

    pthread_mutexattr_init(&attributes);
    /* An observer looks at what devices reach from within a call. */
    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&family->mutex, &attributes);
    pthread_mutexattr_destroy(&attributes);
    family->context_limit = MAX_CONTEXTS;
}

static void describe(struct piommu_backend_info *info, enum piommu_backend_kind kind)
{
    info->aperture.last = (1ull << 39) - 1;
    info->leaf_sizes = 0x40201000;
    info->prot = PIOMMU_PROT_READ | PIOMMU_PROT_WRITE;
    info->identity = true;
    info->atomic_switch = true;
    if (kind != PIOMMU_BACKEND_TABLES) {
        return;
    }
    info->table.format = PIOMMU_ARM_64_LPAE_S1;
    info->table.granule = 4096;
    info->table.input_bits = 39;
    info->table.output_bits = 40;
    info->table.coherent_walk = true;
    info->shared = (struct piommu_shared_limits){
        .formats = 1u << PIOMMU_ARM_64_LPAE_S2,
        .granules = 4096,
        .input_first = 32,
        .input_last = 40,
        .start_first = 1,
        .start_last = 2,
        .concatenated = 16,
        .output_bits = 40,
        .leaf_sizes = 0x40201000,
        .features = PIOMMU_PGTABLE_CONTIGUOUS | PIOMMU_PGTABLE_XNX,
        .coherent_walk = true,
    };
}

struct mock *mock_create(struct fake_os *os, enum piommu_backend_kind kind)
{
    struct mock *mock = calloc(1, sizeof(*mock));

    serving = NULL;
    mock->magic = MAGIC;
    mock->os = os;
    mock->family = &mock->own_family;
    open_family(mock->family);
    describe(&mock->info, kind);
    mock->backend = &mock->own_backend;
    mock->own_backend = (struct piommu_backend){
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
        .suspend = suspend,
        .resume = resume,
    };
    return mock;
}

struct mock *mock_create_child(struct mock *parent)
{
    struct mock *mock = mock_create(parent->os, parent->backend->kind);

    mock->backend = parent->backend;
    mock->destined_parent = parent;
    return mock;
}

void mock_destroy(struct mock *mock)
{
    HOLDS(!mock->probed);
    HOLDS(mock->own_family.contexts == NULL);
    pthread_mutex_destroy(&mock->own_family.mutex);
    mock->magic = 0;
    free(mock);
}

const struct piommu_backend *mock_backend(struct mock *mock)
{
    return mock->backend;
}

struct piommu_backend_info *mock_info(struct mock *mock)
{
    return &mock->info;
}

void mock_set_aperture(struct mock *mock, struct piommu_range aperture)
{
    mock->info.aperture = aperture;
}

void mock_set_atomic_switch(struct mock *mock, bool atomic_switch)
{
    mock->info.atomic_switch = atomic_switch;
}

void mock_set_suspend(struct mock *mock, bool present)
{
    mock->backend->suspend = present ? suspend : NULL;
    mock->backend->resume = present ? resume : NULL;
}

void mock_set_block_now(struct mock *mock, bool present)
{
    mock->backend->block_now = present ? block_now : NULL;
}

void mock_limit_contexts(struct mock *mock, unsigned int limit)
{
    mock->family->context_limit = limit;
}

void mock_set_reserved(struct mock *mock, const struct piommu_reserved_region *region)
{
    mock->has_reserved_for_all = region != NULL;
    if (region != NULL) {
        mock->reserved_for_all = *region;
    }
}

void mock_add_reserved(struct mock *mock, uint32_t id, const struct piommu_reserved_region *region)
{
    HOLDS(mock->reserved_count < MAX_RESERVED);
    mock->reserved[mock->reserved_count++] = (struct mock_reserved){id, *region};
}

void mock_set_group(struct mock *mock, uint32_t id, uint32_t number)
{
    HOLDS(id < MOCK_ID_LIMIT);
    mock->groups[id] = number;
}

void mock_fail_call(struct mock *mock, unsigned int kth, int error, bool forever)
{
    mock->fail_in = kth;
    mock->fail_error = error;
    mock->fail_forever = forever;
}

unsigned int mock_fallible_calls(const struct mock *mock)
{
    return mock->fallible_calls;
}

void mock_fail_attaches(struct mock *mock, unsigned int count, int error)
{
    mock->failing_attaches = count;
    mock->attach_error = error;
}

void mock_set_failed_attach(struct mock *mock, enum mock_failed_attach outcome)
{
    mock->failed_attach = outcome;
}

void mock_fail_block_now(struct mock *mock, int error)
{
    mock->block_now_error = error;
}

void mock_refuse_stop(struct mock *mock, bool refuse)
{
    mock->refuse_stop = refuse;
}

void mock_never_answer(struct mock *mock, bool never)
{
    mock->never_answers = never;
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

static const struct mock_endpoint *find_endpoint(const struct mock *mock, uint32_t id)
{
    for (unsigned int i = 0; i < MOCK_MAX_ENDPOINTS; i++) {
        if (mock->endpoints[i].used && mock->endpoints[i].id == id) {
            return &mock->endpoints[i];
        }
    }
    return NULL;
}

unsigned int mock_context_invalidations(struct mock *mock, uint32_t id)
{
    const struct mock_endpoint *endpoint = find_endpoint(mock, id);

    return endpoint == NULL || endpoint->domain == NULL ? 0 : endpoint->domain->invalidations;
}

unsigned int mock_family_invalidations(struct mock *mock)
{
    return mock->family->invalidations;
}

unsigned int mock_contexts(struct mock *mock)
{
    return mock->family->context_count;
}

void mock_raise_fault(struct mock *mock, const struct piommu_backend_fault *fault)
{
    HOLDS(mock->fault_count < MAX_FAULTS);
    mock->faults[mock->fault_count++] = *fault;
}

void mock_fail_service(struct mock *mock, int error)
{
    mock->service_error = error;
}

void mock_set_interrupt(struct mock *mock, bool interrupt)
{
    mock->interrupt = interrupt;
}

/* ---- Devices ---- */

static struct piommu_walker_memory walker_memory(struct mock *mock)
{
    return (struct piommu_walker_memory){.read64 = fake_os_device_read64, .ctx = mock->os};
}

static bool tables_reach(struct mock *mock, struct mock_domain *domain, uint64_t iova, bool write,
                         uint64_t *physical)
{
    struct piommu_walker_memory memory = walker_memory(mock);
    struct piommu_walker_access access = {.read = !write, .write = write};
    struct piommu_walker_result result;

    if (stale_tlb_leaf_count(domain->tlb) + stale_tlb_table_count(domain->tlb) > TLB_ROOM) {
        stale_tlb_invalidate_all(domain->tlb);
    }
    stale_tlb_translate(domain->tlb, &domain->regime, &memory, iova, &access, &result);
    *physical = result.output;
    return result.fault == PIOMMU_WALKER_FAULT_NONE;
}

static bool requests_reach(const struct mock_domain *domain, uint64_t iova, bool write,
                           uint64_t *physical)
{
    for (size_t i = 0; i < domain->mapping_count; i++) {
        const struct piommu_backend_mapping *mapping = &domain->mappings[i];

        if (iova >= mapping->iova.first && iova <= mapping->iova.last) {
            *physical = mapping->physical + (iova - mapping->iova.first);
            return (mapping->prot & (write ? PIOMMU_PROT_WRITE : PIOMMU_PROT_READ)) != 0;
        }
    }
    return false;
}

static bool endpoint_reaches(struct mock *mock, const struct mock_endpoint *endpoint, uint64_t iova,
                             bool write, uint64_t *physical)
{
    if (endpoint->domain == NULL || endpoint->blocked_now) {
        return false;
    }
    if (endpoint->domain->type == PIOMMU_DOMAIN_IDENTITY) {
        *physical = iova;
        return true;
    }
    return is_tables(mock) ? tables_reach(mock, endpoint->domain, iova, write, physical)
                           : requests_reach(endpoint->domain, iova, write, physical);
}

bool mock_reaches(struct mock *mock, uint32_t id, uint64_t iova, bool write, uint64_t *physical)
{
    const struct mock_endpoint *endpoint;
    bool reaches;

    if (!mock->probed || !is_running(mock)) {
        return false;
    }
    lock(mock);
    endpoint = find_endpoint(mock, id);
    if (endpoint != NULL) {
        reaches = endpoint_reaches(mock, endpoint, iova, write, physical);
    } else {
        *physical = iova;
        reaches = mock->unknown_ids == PIOMMU_UNKNOWN_IDS_LEAVE && id < MOCK_ID_LIMIT &&
                  !mock->known_ids[id];
    }
    unlock(mock);
    return reaches;
}

bool mock_has_stopped(const struct mock *mock)
{
    return mock->stopped;
}

bool mock_is_attached(struct mock *mock, uint32_t id)
{
    const struct mock_endpoint *endpoint;
    bool attached;

    lock(mock);
    endpoint = find_endpoint(mock, id);
    attached = mock->probed && is_running(mock) && endpoint != NULL && endpoint->domain != NULL &&
               !endpoint->blocked_now;
    unlock(mock);
    return attached;
}

const void *mock_identity(struct mock *mock, uint32_t id)
{
    const struct mock_endpoint *endpoint;
    const void *identity;

    lock(mock);
    endpoint = find_endpoint(mock, id);
    identity = endpoint != NULL && endpoint->domain != NULL ? endpoint->domain->identity : NULL;
    unlock(mock);
    return identity;
}

void mock_speculate(struct mock *mock)
{
    struct piommu_walker_memory memory = walker_memory(mock);

    lock(mock);
    for (struct mock_domain *domain = mock->family->contexts; domain != NULL;
         domain = domain->next) {
        if (domain->endpoints != 0 && domain->type != PIOMMU_DOMAIN_IDENTITY && is_tables(mock)) {
            stale_tlb_fill(domain->tlb, &domain->regime, &memory);
        }
    }
    unlock(mock);
}

bool mock_walks(struct mock *mock, uint64_t physical, uint64_t size)
{
    bool walks = false;

    lock(mock);
    for (struct mock_domain *domain = mock->family->contexts; domain != NULL;
         domain = domain->next) {
        uint64_t root_last;

        if (domain->endpoints == 0 || domain->type == PIOMMU_DOMAIN_IDENTITY || !is_tables(mock)) {
            continue;
        }
        root_last = domain->regime.root + (piommu_walker_root_size(&domain->regime) - 1);
        walks = walks || stale_tlb_table_reaches(domain->tlb, physical, size) ||
                (domain->regime.root <= physical + (size - 1) && physical <= root_last);
    }
    unlock(mock);
    return walks;
}

uint64_t mock_conflicts(struct mock *mock)
{
    uint64_t conflicts;

    lock(mock);
    conflicts = mock->family->past_conflicts;
    for (struct mock_domain *domain = mock->family->contexts; domain != NULL;
         domain = domain->next) {
        conflicts += stale_tlb_conflicts(domain->tlb);
    }
    unlock(mock);
    return conflicts;
}
