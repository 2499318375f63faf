/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * What context.h says may run beside what, done by threads. Worth most under the thread sanitizer:
 * neither the host nor the hardware puts the threads in an order.
 *
 * The amount of work is fixed, but for the service of faults, which goes on as long as there is
 * anything to go on beside.
 *
 * Environment: PIOMMU_RANDOM_SEED. The threads take turns as they like, so that a seed makes the
 * same calls, but not the same outcome.
 */

#include "threaded_mapper.h"

#include <piommu/piommu.h>

#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

#define UNITS      2u
#define MAPPERS    4u
#define MIB        0x100000ull
#define GIB        0x40000000ull
#define PAGE       MAPPER_PAGE
#define READ_WRITE (PIOMMU_PROT_READ | PIOMMU_PROT_WRITE)

/* IDs of the devices through which the mappers look; those below belong to the test itself. */
#define MAPPER_ID 8u

#if ATOMIC_LLONG_LOCK_FREE == 2
#define DISJOINT_DOMAINS_EXIST 1
#else
#define DISJOINT_DOMAINS_EXIST 0
#endif

static uint64_t seed_in_use(void)
{
    const char *text = getenv("PIOMMU_RANDOM_SEED");

    return text != NULL && *text != '\0' ? strtoull(text, NULL, 0) : 1;
}

static void describe(const void *what)
{
    fprintf(stderr, "%s, PIOMMU_RANDOM_SEED=%llu\n", (const char *)what,
            (unsigned long long)seed_in_use());
}

/* ---- A context with units ---- */

struct bench {
    struct threaded_host *host;
    bool owns_host;
    struct threaded_unit *units[UNITS];
    struct piommu_context *context;
    struct piommu_instance *instances[UNITS];
    unsigned int count;
};

static void check_table_is_out_of_reach(void *ctx, uint64_t physical, uint64_t size)
{
    struct bench *bench = ctx;

    for (unsigned int i = 0; i < bench->count; i++) {
        CHECK(!threaded_unit_holds_table(bench->units[i], physical, size));
    }
}

static void start_instance(struct piommu_context *context, struct threaded_unit **unit,
                           const struct piommu_instance_config *wanted,
                           struct piommu_instance **instance)
{
    struct piommu_instance_config config = *wanted;

    /* Nobody who waits for another thread does so in vain, however long that takes. */
    config.timeout = 600 * 1000000000ull;
    CHECK(piommu_instance_create(context, threaded_unit_backend(*unit), unit, &config, instance) ==
          0);
}

/* On this host, or, if it is NULL, on one of its own. */
static void open_bench(struct bench *bench, struct threaded_host *host, unsigned int count,
                       const struct threaded_unit_options *options,
                       const struct piommu_context_config *config)
{
    static const struct piommu_instance_config instance = {.fault_records = 8};

    memset(bench, 0, sizeof(*bench));
    bench->owns_host = host == NULL;
    bench->host = host != NULL ? host : threaded_host_create();
    bench->count = count;
    CHECK(piommu_context_create(threaded_host_shim(bench->host), config, &bench->context) == 0);
    for (unsigned int i = 0; i < count; i++) {
        struct threaded_unit_options own = *options;

        own.seed = seed_in_use() + i;
        bench->units[i] = threaded_unit_create(bench->host, &own);
        start_instance(bench->context, &bench->units[i], &instance, &bench->instances[i]);
    }
    if (bench->owns_host) {
        threaded_host_on_dma_free(bench->host, check_table_is_out_of_reach, bench);
    }
}

static void close_bench(struct bench *bench)
{
    for (unsigned int i = 0; i < bench->count; i++) {
        CHECK(piommu_instance_destroy(bench->instances[i]) == 0);
    }
    CHECK(piommu_context_destroy(bench->context) == 0);
    for (unsigned int i = 0; i < bench->count; i++) {
        threaded_unit_destroy(bench->units[i]);
    }
    if (bench->owns_host) {
        threaded_host_destroy(bench->host);
    }
}

static struct piommu_domain *make_domain(struct bench *bench, unsigned int first,
                                         unsigned int count, bool is_disjoint, void *owner)
{
    struct piommu_domain_config config = {.type = PIOMMU_DOMAIN_PAGING,
                                          .instances = &bench->instances[first],
                                          .instance_count = count,
                                          .owner = owner,
                                          .disjoint = is_disjoint};
    struct piommu_domain *domain = NULL;

    CHECK(piommu_domain_create(&config, &domain) == 0);
    return domain;
}

/* A device with one ID on each of some units. */
static struct piommu_device *add_device(struct bench *bench, unsigned int first, unsigned int count,
                                        uint32_t id, uint64_t group_key, void *owner)
{
    struct piommu_device_id ids[UNITS];
    struct piommu_device_config config = {
        .ids = ids, .id_count = count, .group_key = group_key, .owner = owner};
    struct piommu_device *device = NULL;

    for (unsigned int i = 0; i < count; i++) {
        ids[i] = (struct piommu_device_id){.instance = bench->instances[first + i], .id = id};
    }
    CHECK(piommu_device_add(bench->context, &config, &device) == 0);
    return device;
}

static void permit(struct bench *bench, uint32_t id, bool may_attach)
{
    for (unsigned int i = 0; i < bench->count; i++) {
        threaded_unit_permit(bench->units[i], id, may_attach);
    }
}

static void attach_device(struct bench *bench, struct piommu_device *device, uint32_t id,
                          struct piommu_domain *domain)
{
    permit(bench, id, true);
    CHECK(piommu_device_attach(device, domain) == 0);
    permit(bench, id, false);
}

/* ---- Threads ---- */

struct worker {
    pthread_t thread;
    unsigned int number;
    pthread_barrier_t *start;
    void (*work)(void *ctx);
    void *ctx;
};

static void *run_worker(void *argument)
{
    struct worker *worker = argument;

    threaded_become(worker->number);
    pthread_barrier_wait(worker->start);
    worker->work(worker->ctx);
    return NULL;
}

/* All begin together, and with whoever waits at the barrier too. */
static void start_workers(struct worker *workers, unsigned int count, pthread_barrier_t *start)
{
    for (unsigned int i = 0; i < count; i++) {
        workers[i].number = i;
        workers[i].start = start;
        CHECK(pthread_create(&workers[i].thread, NULL, run_worker, &workers[i]) == 0);
    }
}

static void join_workers(struct worker *workers, unsigned int count)
{
    for (unsigned int i = 0; i < count; i++) {
        CHECK(pthread_join(workers[i].thread, NULL) == 0);
    }
}

/* The threads' work, while this one does nothing. */
static void run_all(struct worker *workers, unsigned int count)
{
    pthread_barrier_t start;

    pthread_barrier_init(&start, NULL, count);
    start_workers(workers, count, &start);
    join_workers(workers, count);
    pthread_barrier_destroy(&start);
}

/* ---- Mappers ---- */

struct mapping_work {
    struct mapper mapper;
    unsigned int steps;
    struct piommu_instance *looked_at; /* NULL: none */
};

/* What only looks counts as mapping, too. */
static void look_at_domain(const struct mapping_work *work)
{
    struct piommu_domain_info info;
    struct piommu_domain_statistics statistics;

    piommu_domain_get_info(work->mapper.domain, &info);
    CHECK(info.type == PIOMMU_DOMAIN_PAGING && info.granule == PAGE);
    piommu_domain_get_statistics(work->mapper.domain, &statistics);
    CHECK(statistics.endpoints == work->mapper.eyes);
    CHECK(statistics.mapped == mapper_bytes(&work->mapper));
}

static void do_mapping(void *ctx)
{
    struct mapping_work *work = ctx;

    for (unsigned int i = 0; i < work->steps; i++) {
        mapper_step(&work->mapper);
        if (i % 64 == 0) {
            mapper_check_all(&work->mapper);
        }
        if (i % 16 == 0 && work->looked_at != NULL) {
            struct piommu_instance_info info;

            piommu_instance_get_info(work->looked_at, &info);
            CHECK(info.state == PIOMMU_INSTANCE_RUNNING && !info.failed);
        }
        if (i % 16 == 0 && !work->mapper.options.is_disjoint) {
            look_at_domain(work);
        }
    }
    mapper_check_all(&work->mapper);
    mapper_clear(&work->mapper);
}

/* Pages of a table go to several mappers, then whole tables, then ranges that end inside tables. */
static void deal_sections(struct mapper *m, unsigned int number, unsigned int mappers)
{
    for (unsigned int i = 0; i < 3; i++) {
        mapper_add_section(m, (i * mappers + number) * 24 * PAGE, 24);
    }
    mapper_add_section(m, GIB + number * 2 * MIB, 512);
    mapper_add_section(m, 2 * GIB - 6 * MIB + number * 3 * MIB, 768);
    mapper_add_section(m, (3 + number) * GIB, 64);
}

/* Everything that the threads were to meet, they have met. */
static void check_outcomes(const struct mapping_work *works, unsigned int count)
{
    unsigned int sums[MAPPER_OUTCOMES] = {0};
    const struct mapper_options *options = &works[0].mapper.options;

    for (unsigned int i = 0; i < count; i++) {
        for (unsigned int j = 0; j < MAPPER_OUTCOMES; j++) {
            sums[j] += works[i].mapper.outcomes[j];
        }
    }
    for (unsigned int j = 0; j < MAPPER_OUTCOMES; j++) {
        bool is_expected = (j != MAPPER_INVALIDATED || !options->takes_requests) &&
                           (j != MAPPER_REPLACED || !options->is_disjoint);

        if (is_expected && sums[j] == 0) {
            fail_msg("outcome %u was never met", j);
        }
    }
}

/* ---- One domain, by range ---- */

struct disjoint_setting {
    const char *name;
    unsigned int units;
    uint32_t table_flags;
    bool has_one_gather;
    unsigned int steps;
};

static void share_domain(const struct disjoint_setting *setting)
{
    static struct mapping_work works[MAPPERS];
    struct threaded_unit_options unit = {.kind = PIOMMU_BACKEND_TABLES,
                                         .table_flags = setting->table_flags};
    struct mapper_options options = {.is_disjoint = true,
                                     .has_one_gather = setting->has_one_gather};
    struct worker workers[MAPPERS];
    struct piommu_device *devices[MAPPERS];
    struct piommu_domain_statistics statistics;
    struct piommu_domain *domain;
    struct bench bench;

    pgtable_describe(describe, setting->name);
    open_bench(&bench, NULL, setting->units, &unit, NULL);
    domain = make_domain(&bench, 0, setting->units, true, NULL);
    for (unsigned int i = 0; i < MAPPERS; i++) {
        works[i].steps = setting->steps;
        works[i].looked_at = bench.instances[0];
        mapper_init(&works[i].mapper, domain, &options, i, seed_in_use());
        deal_sections(&works[i].mapper, i, MAPPERS);
        devices[i] = add_device(&bench, 0, setting->units, MAPPER_ID + i, 0, NULL);
        attach_device(&bench, devices[i], MAPPER_ID + i, domain);
        for (unsigned int j = 0; j < setting->units; j++) {
            mapper_add_eye(&works[i].mapper, bench.units[j], MAPPER_ID + i);
        }
        workers[i] = (struct worker){.work = do_mapping, .ctx = &works[i]};
    }
    run_all(workers, MAPPERS);
    check_outcomes(works, MAPPERS);
    for (unsigned int i = 0; i < MAPPERS; i++) {
        /* Nothing is left for anybody's device, whoever has unmapped it. */
        mapper_check_all(&works[i].mapper);
        CHECK(piommu_device_detach(devices[i]) == 0);
        CHECK(piommu_device_remove(devices[i]) == 0);
        mapper_close(&works[i].mapper);
    }
    piommu_domain_get_statistics(domain, &statistics);
    assert_true(statistics.maps == 0 && statistics.unmaps == 0 && statistics.mapped == 0);
    CHECK(piommu_domain_destroy(domain) == 0);
    close_bench(&bench);
    pgtable_describe(NULL, NULL);
}

static void a_disjoint_domain_takes_calls_on_different_ranges_at_once(void **state)
{
    static const struct disjoint_setting settings[] = {
        {.name = "one instance", .units = 1, .steps = 1400},
        {.name = "two instances, a gather for several ranges",
         .units = 2,
         .has_one_gather = true,
         .steps = 800},
        {.name = "two instances, contiguous groups",
         .units = 2,
         .table_flags = PIOMMU_PGTABLE_CONTIGUOUS,
         .steps = 800},
        {.name = "one instance that splits blocks while they are in use",
         .units = 1,
         .table_flags = PIOMMU_PGTABLE_BBM_LEVEL_2,
         .steps = 800},
    };

    (void)state;
    if (!DISJOINT_DOMAINS_EXIST) {
        skip();
    }
    for (size_t i = 0; i < COUNT_OF(settings); i++) {
        share_domain(&settings[i]);
    }
}

/* ---- A domain for each thread ---- */

struct own_setting {
    const char *name;
    enum piommu_backend_kind kind;
    unsigned int units;
    unsigned int steps;
};

#define INVALIDATIONS 1500u

struct invalidating_work {
    const struct mapping_work *works;
    uint64_t random;
};

/* Beside whatever else is done in these domains. */
static void invalidate_all(void *ctx)
{
    struct invalidating_work *work = ctx;

    for (unsigned int i = 0; i < INVALIDATIONS; i++) {
        uint64_t random = pgtable_random(&work->random);
        uint64_t first = random % (4 * GIB);

        CHECK(piommu_domain_invalidate(work->works[i % MAPPERS].mapper.domain, first,
                                       first + random % 0x9000) == 0);
    }
}

static void own_domains(const struct own_setting *setting)
{
    static struct mapping_work works[MAPPERS];
    struct threaded_unit_options unit = {.kind = setting->kind};
    struct mapper_options options = {.takes_requests = setting->kind == PIOMMU_BACKEND_REQUESTS};
    struct invalidating_work invalidating = {.works = works, .random = seed_in_use()};
    struct worker workers[MAPPERS + 1] = {
        [MAPPERS] = {.work = invalidate_all, .ctx = &invalidating}};
    struct piommu_device *devices[MAPPERS];
    struct bench bench;

    pgtable_describe(describe, setting->name);
    open_bench(&bench, NULL, setting->units, &unit, NULL);
    for (unsigned int i = 0; i < MAPPERS; i++) {
        struct piommu_domain *domain = make_domain(&bench, 0, setting->units, false, NULL);

        works[i].steps = setting->steps;
        works[i].looked_at = bench.instances[0];
        mapper_init(&works[i].mapper, domain, &options, i, seed_in_use());
        deal_sections(&works[i].mapper, 0, MAPPERS);
        devices[i] = add_device(&bench, 0, setting->units, MAPPER_ID + i, 0, NULL);
        attach_device(&bench, devices[i], MAPPER_ID + i, domain);
        for (unsigned int j = 0; j < setting->units; j++) {
            mapper_add_eye(&works[i].mapper, bench.units[j], MAPPER_ID + i);
        }
        workers[i] = (struct worker){.work = do_mapping, .ctx = &works[i]};
    }
    /* Nobody can be told to forget what he was told to map. */
    run_all(workers, options.takes_requests ? MAPPERS : MAPPERS + 1);
    check_outcomes(works, MAPPERS);
    for (unsigned int i = 0; i < MAPPERS; i++) {
        struct piommu_domain *domain = works[i].mapper.domain;
        struct piommu_domain_statistics statistics;

        piommu_domain_get_statistics(domain, &statistics);
        assert_int_equal(statistics.mapped, 0);
        assert_int_equal(statistics.endpoints, setting->units);
        CHECK(piommu_device_detach(devices[i]) == 0);
        CHECK(piommu_device_remove(devices[i]) == 0);
        CHECK(piommu_domain_destroy(domain) == 0);
        mapper_close(&works[i].mapper);
    }
    close_bench(&bench);
    pgtable_describe(NULL, NULL);
}

static void domains_of_one_instance_are_mapped_in_parallel(void **state)
{
    static const struct own_setting settings[] = {
        {.name = "own domains, tables", .kind = PIOMMU_BACKEND_TABLES, .units = 1, .steps = 1200},
        {.name = "own domains, tables, two instances",
         .kind = PIOMMU_BACKEND_TABLES,
         .units = 2,
         .steps = 600},
        {.name = "own domains, requests",
         .kind = PIOMMU_BACKEND_REQUESTS,
         .units = 1,
         .steps = 1200},
        {.name = "own domains, requests, two instances",
         .kind = PIOMMU_BACKEND_REQUESTS,
         .units = 2,
         .steps = 600},
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(settings); i++) {
        own_domains(&settings[i]);
    }
}

/* ---- Registration, beside mapping and the service of faults ---- */

#define SLOTS        6u
#define DOMAINS      3u
#define LIFE_MAPPERS 2u
/* One for each instance, and one for the interrupts of the first; they are the first threads. */
#define SERVANTS     (UNITS + 1)
#define LIFE_THREADS (SERVANTS + LIFE_MAPPERS)
#define MARK         (5 * GIB)
#define MARKED       0x7f00000000ull
#define UNKNOWN_ID   7u
#define ALIVE        0x616c697665ull
#define DEAD         0x64656164ull

/* The host's own object behind a device. It is of no use any more once the device was removed. */
struct cookie {
    uint64_t magic;
    uint32_t id;
    unsigned int faults[THREADED_THREADS]; /* by the thread that was told */
};

struct domain_cookie {
    uint64_t magic;
};

/* A device that comes and goes. */
struct slot {
    /* Fixed. */
    unsigned int first_unit;
    unsigned int unit_count;
    unsigned int group; /* slots with the same one are in one group */
    /* Variable. */
    struct piommu_device *device; /* NULL: there is none */
    struct cookie *cookie;
};

struct group {
    unsigned int domain; /* DOMAINS: none */
};

struct servant {
    struct piommu_instance *instance;
    struct servant *waiter; /* does what may wait: itself, or another one */
    pthread_mutex_t *gate;  /* held in each turn; NULL: none */
    uint64_t random;
    atomic_uint turns;       /* finished ones */
    atomic_uint is_deferred; /* it leaves all that may wait for later */
    atomic_uint owes;        /* something that may wait has to be done */
    atomic_uint has_to_stop;
    uint64_t faults;
};

struct life_setting {
    const char *name;
    enum piommu_backend_kind kind;
    enum threaded_block_now block_now;
    bool atomic_switch;
    bool has_faults;
    unsigned int mappers;
    unsigned int steps;
};

struct life {
    const struct life_setting *setting;
    struct bench bench;
    uint64_t random;
    struct slot slots[SLOTS];
    struct group groups[SLOTS];
    struct piommu_domain *domains[DOMAINS]; /* NULL: there is none */
    struct servant servants[SERVANTS];
    struct domain_cookie *domain_cookies[DOMAINS];
    struct domain_cookie *all_domain_cookies; /* as cookies */
    unsigned int domain_cookie_count;
    struct cookie *cookies; /* all there ever were: never freed, so that a late use is seen */
    unsigned int cookie_count;
    unsigned int cookie_room;
    atomic_uint answers[3]; /* of the fault callback, by their kind */
    atomic_uint blocks;     /* traced */
    unsigned int seen_blocked;
    unsigned int seen_attached;
    unsigned int records;
};

/* Slots 4 and 5 are one group, on different units; slot 3 has an ID on each. */
static const struct slot first_slots[SLOTS] = {
    {.first_unit = 0, .unit_count = 1, .group = 0}, {.first_unit = 0, .unit_count = 1, .group = 1},
    {.first_unit = 1, .unit_count = 1, .group = 2}, {.first_unit = 0, .unit_count = 2, .group = 3},
    {.first_unit = 0, .unit_count = 1, .group = 4}, {.first_unit = 1, .unit_count = 1, .group = 4},
};

static uint32_t choose(struct life *life, uint32_t count)
{
    return (uint32_t)(pgtable_random(&life->random) % count);
}

/* Time for what is told of to go, if the library let it. */
static void check_cookies(const struct cookie *cookie, const struct domain_cookie *domain)
{
    sched_yield();
    CHECK(cookie == NULL || cookie->magic == ALIVE);
    CHECK(domain == NULL || domain->magic == ALIVE);
}

static enum piommu_fault_answer on_fault(void *ctx, const struct piommu_fault *fault)
{
    struct life *life = ctx;
    struct cookie *cookie = fault->device_owner;
    struct servant *servant = &life->servants[threaded_self()];
    uint64_t random = pgtable_random(&servant->random);
    enum piommu_fault_answer answer = (enum piommu_fault_answer)(random % 3);

    CHECK(threaded_self() < SERVANTS);
    servant->faults++;
    check_cookies(cookie, fault->domain_owner);
    if (cookie != NULL) {
        CHECK(cookie->id == fault->id);
        cookie->faults[threaded_self()]++;
    }
    if (fault->raw == THREADED_PROVOKED) {
        answer = PIOMMU_FAULT_BLOCK;
    } else if (answer == PIOMMU_FAULT_BLOCK && random % 4 != 0) {
        answer = PIOMMU_FAULT_NOTE;
    }
    threaded_add(&life->answers[answer], 1);
    return answer;
}

static void on_event(void *ctx, const struct piommu_event *event)
{
    struct life *life = ctx;

    check_cookies(event->device_owner, event->domain_owner);
    if (event->kind == PIOMMU_EVENT_FAULT_BLOCK) {
        threaded_add(&life->blocks, 1);
    }
}

/* One turn: what was reported until it began is done when it ends, or is owed. */
static void serve_once(struct servant *servant)
{
    bool is_waiter = servant->waiter == servant;
    bool more = false;
    int result;

    pgtable_random(&servant->random);
    if (!is_waiter || threaded_look(&servant->is_deferred) != 0 || (servant->random & 1) != 0) {
        result = piommu_instance_interrupt(servant->instance, 4, &more);
        CHECK(result >= 0 && result <= 4);
    } else {
        more = true;
    }
    if (more) {
        threaded_set(&servant->waiter->owes, 1);
    }
    if (is_waiter && threaded_look(&servant->is_deferred) == 0 &&
        threaded_look(&servant->owes) != 0) {
        threaded_set(&servant->owes, 0);
        result = piommu_instance_service(servant->instance, 4);
        CHECK(result >= 0 && result <= 4);
    }
}

static void serve(void *ctx)
{
    struct servant *servant = ctx;
    uint64_t faults_before = 0;

    while (threaded_look(&servant->has_to_stop) == 0) {
        struct piommu_instance_info info;

        if (servant->gate != NULL) {
            pthread_mutex_lock(servant->gate);
        }
        serve_once(servant);
        if (servant->gate != NULL) {
            pthread_mutex_unlock(servant->gate);
        }
        piommu_instance_get_info(servant->instance, &info);
        CHECK(info.state == PIOMMU_INSTANCE_RUNNING && info.faults >= faults_before);
        faults_before = info.faults;
        threaded_add(&servant->turns, 1);
        sched_yield();
    }
}

/* Returns when each servant has had a turn from its beginning to its end. */
static void await_turns(struct life *life)
{
    unsigned int turns[SERVANTS];

    for (unsigned int i = 0; i < SERVANTS; i++) {
        turns[i] = threaded_look(&life->servants[i].turns);
    }
    for (unsigned int i = 0; i < SERVANTS; i++) {
        while (threaded_look(&life->servants[i].turns) - turns[i] < 2) {
            sched_yield();
        }
    }
}

/* Returns when all that was reported before is done, unless that is deferred. */
static void await_service(struct life *life)
{
    /* Taken in by one, it may be owed by another. */
    await_turns(life);
    await_turns(life);
}

static void make_faults(struct life *life, uint32_t id, bool on)
{
    for (unsigned int i = 0; i < UNITS; i++) {
        threaded_unit_make_faults(life->bench.units[i], id, on && life->setting->has_faults);
    }
}

static void make_faults_of_group(struct life *life, unsigned int group, bool on)
{
    for (uint32_t i = 0; i < SLOTS; i++) {
        if (life->slots[i].group == group) {
            make_faults(life, i, on);
        }
    }
}

/* Where an ID's DMA goes: the number of a domain, or DOMAINS: nowhere. */
static unsigned int reach_of_id(struct life *life, unsigned int unit, uint32_t id)
{
    uint64_t physical = 0;

    if (!threaded_unit_reaches(life->bench.units[unit], id, MARK, false, &physical)) {
        return DOMAINS;
    }
    CHECK(physical >= MARKED && physical < MARKED + DOMAINS * PAGE && physical % PAGE == 0);
    return (unsigned int)((physical - MARKED) / PAGE);
}

/* At any time: nothing but the domain where the device is. */
static void check_isolation(struct life *life)
{
    for (uint32_t i = 0; i < SLOTS; i++) {
        const struct slot *slot = &life->slots[i];

        for (unsigned int unit = 0; unit < UNITS; unit++) {
            unsigned int reach = reach_of_id(life, unit, i);

            CHECK(reach == DOMAINS || (slot->device != NULL && unit >= slot->first_unit &&
                                       unit < slot->first_unit + slot->unit_count));
            CHECK(reach == DOMAINS || reach == life->groups[slot->group].domain);
        }
    }
}

/* While the group makes no faults: hardware and library agree, for all its IDs. */
static bool check_settled(struct life *life, unsigned int group)
{
    bool is_blocked = false;

    for (uint32_t i = 0; i < SLOTS; i++) {
        const struct slot *slot = &life->slots[i];
        struct piommu_device_info info;

        if (slot->group != group || slot->device == NULL) {
            continue;
        }
        piommu_device_get_info(slot->device, &info);
        CHECK(info.owner == slot->cookie && !info.waiting);
        if (life->groups[group].domain == DOMAINS) {
            CHECK(info.domain == NULL && !info.fault_blocked);
        } else {
            CHECK(info.domain == life->domains[life->groups[group].domain]);
        }
        is_blocked = info.fault_blocked;
        for (unsigned int j = 0; j < slot->unit_count; j++) {
            CHECK(reach_of_id(life, slot->first_unit + j, i) ==
                  (is_blocked ? DOMAINS : life->groups[group].domain));
        }
    }
    return is_blocked;
}

static struct piommu_group *group_object(struct life *life, unsigned int group)
{
    for (unsigned int i = 0; i < SLOTS; i++) {
        if (life->slots[i].group == group && life->slots[i].device != NULL) {
            return piommu_device_group(life->slots[i].device);
        }
    }
    return NULL;
}

static void permit_group(struct life *life, unsigned int group, bool may_attach)
{
    for (uint32_t i = 0; i < SLOTS; i++) {
        if (life->slots[i].group == group) {
            permit(&life->bench, i, may_attach);
        }
    }
}

static void attach_group(struct life *life, unsigned int group, unsigned int domain)
{
    /* It may be in either meanwhile, but nobody looks. */
    permit_group(life, group, true);
    CHECK(piommu_group_attach(group_object(life, group), life->domains[domain]) == 0);
    permit_group(life, group, false);
    life->groups[group].domain = domain;
}

static void detach_group(struct life *life, unsigned int group)
{
    CHECK(piommu_group_detach(group_object(life, group)) == 0);
    life->groups[group].domain = DOMAINS;
}

/* A record that is taken out now names what is there now, or nothing. */
static void take_records(struct life *life)
{
    struct piommu_fault fault;

    for (unsigned int i = 0; i < UNITS; i++) {
        /* No more than there may be at once: reports go on. */
        for (unsigned int j = 0; j < 16; j++) {
            bool is_known = false;
            bool is_known_domain = false;
            int result = piommu_instance_take_fault(life->bench.instances[i], &fault);

            if (result != 0) {
                CHECK(result == -PIOMMU_ENOENT);
                break;
            }
            life->records++;
            for (unsigned int k = 0; k < SLOTS; k++) {
                is_known = is_known || (life->slots[k].device != NULL &&
                                        fault.device_owner == life->slots[k].cookie);
            }
            for (unsigned int k = 0; k < DOMAINS; k++) {
                is_known_domain =
                    is_known_domain ||
                    (life->domains[k] != NULL && fault.domain_owner == life->domain_cookies[k]);
            }
            CHECK(fault.device_owner == NULL || is_known);
            CHECK(fault.domain_owner == NULL || is_known_domain);
        }
    }
}

static void add_slot(struct life *life, uint32_t number)
{
    struct slot *slot = &life->slots[number];

    CHECK(life->cookie_count < life->cookie_room);
    slot->cookie = &life->cookies[life->cookie_count++];
    slot->cookie->magic = ALIVE;
    slot->cookie->id = number;
    slot->device = add_device(&life->bench, slot->first_unit, slot->unit_count, number,
                              slot->group == 4 ? 4 : 0, slot->cookie);
}

static void remove_slot(struct life *life, uint32_t number)
{
    struct slot *slot = &life->slots[number];

    CHECK(piommu_device_remove(slot->device) == 0);
    /* From here on the host may do with it what it likes. */
    memset(slot->cookie, 0xdd, sizeof(*slot->cookie));
    slot->cookie->magic = DEAD;
    slot->cookie = NULL;
    slot->device = NULL;
    take_records(life);
}

static void create_domain(struct life *life, unsigned int number)
{
    struct domain_cookie *cookie = &life->all_domain_cookies[life->domain_cookie_count++];
    struct piommu_domain *domain;

    CHECK(life->domain_cookie_count <= life->cookie_room);
    cookie->magic = ALIVE;
    domain = make_domain(&life->bench, 0, UNITS, false, cookie);
    CHECK(piommu_domain_map(domain, MARK, MARKED + number * PAGE, PAGE, READ_WRITE) == 0);
    life->domains[number] = domain;
    life->domain_cookies[number] = cookie;
}

static void destroy_domain(struct life *life, unsigned int number)
{
    if (life->domains[number] == NULL) {
        return;
    }
    CHECK(piommu_domain_destroy(life->domains[number]) == 0);
    life->domain_cookies[number]->magic = DEAD;
    life->domains[number] = NULL;
    take_records(life);
}

static bool is_empty(const struct life *life, unsigned int domain)
{
    bool result = true;

    for (unsigned int i = 0; i < SLOTS; i++) {
        result = result && life->groups[i].domain != domain;
    }
    return result;
}

static unsigned int count_members(const struct life *life, unsigned int group)
{
    unsigned int count = 0;

    for (unsigned int i = 0; i < SLOTS; i++) {
        count += life->slots[i].group == group && life->slots[i].device != NULL;
    }
    return count;
}

/* ---- One step of registration each ---- */

static void change_slot(struct life *life)
{
    uint32_t number = choose(life, SLOTS);
    struct slot *slot = &life->slots[number];

    /* Out of a group that is in a domain, if others stay; into it never. */
    if (life->groups[slot->group].domain != DOMAINS &&
        (slot->device == NULL || count_members(life, slot->group) == 1)) {
        return;
    }
    if (slot->device != NULL) {
        remove_slot(life, number);
    } else {
        add_slot(life, number);
    }
}

static void change_domain(struct life *life)
{
    unsigned int number = choose(life, DOMAINS);

    if (life->domains[number] == NULL) {
        create_domain(life, number);
    } else if (is_empty(life, number)) {
        destroy_domain(life, number);
    }
}

static void try_attach(struct life *life)
{
    unsigned int group = choose(life, SLOTS);
    unsigned int domain = choose(life, DOMAINS);

    if (group_object(life, group) != NULL && life->domains[domain] != NULL) {
        attach_group(life, group, domain);
    }
}

static void try_detach(struct life *life)
{
    unsigned int group = choose(life, SLOTS);

    if (group_object(life, group) != NULL) {
        detach_group(life, group);
    }
}

static void try_instance(struct life *life)
{
    struct threaded_unit_options options = {.kind = life->setting->kind};
    struct threaded_unit *unit = threaded_unit_create(life->bench.host, &options);
    struct piommu_instance_config config = {.name = "guest"};
    struct piommu_instance *instance = NULL;

    start_instance(life->bench.context, &unit, &config, &instance);
    CHECK(piommu_instance_destroy(instance) == 0);
    threaded_unit_destroy(unit);
}

/* An explicit attach wins over all blocks that were asked for before, and so does a detach. */
static void check_attach_wins(struct life *life, unsigned int group)
{
    if (group_object(life, group) == NULL) {
        return;
    }
    make_faults_of_group(life, group, false);
    await_service(life);
    life->seen_blocked += check_settled(life, group);
    if (life->groups[group].domain != DOMAINS) {
        attach_group(life, group, life->groups[group].domain);
        CHECK(!check_settled(life, group));
        await_service(life);
        CHECK(!check_settled(life, group));
        life->seen_attached++;
    }
    make_faults_of_group(life, group, true);
}

/* Has a device of the group report a fault for which it is to be blocked; false: there is none. */
static bool provoke(struct life *life, unsigned int group)
{
    for (uint32_t i = 0; i < SLOTS; i++) {
        struct slot *slot = &life->slots[i];

        if (slot->group == group && slot->device != NULL) {
            unsigned int unit = slot->first_unit + choose(life, slot->unit_count);

            threaded_unit_provoke(life->bench.units[unit], i);
            while (threaded_unit_is_provoked(life->bench.units[unit], i)) {
                sched_yield();
            }
            return true;
        }
    }
    return false;
}

/* A block that is asked for is done, at the latest in service. */
static void check_block_is_done(struct life *life, unsigned int group)
{
    make_faults_of_group(life, group, false);
    await_service(life);
    if (provoke(life, group)) {
        await_service(life);
        CHECK(check_settled(life, group) == (life->groups[group].domain != DOMAINS));
        check_isolation(life);
        life->seen_blocked++;
    }
    make_faults_of_group(life, group, true);
}

static void defer(struct life *life, bool on)
{
    for (unsigned int i = 0; i < SERVANTS; i++) {
        threaded_set(&life->servants[i].is_deferred, on);
    }
    await_service(life);
}

/* A block that is asked for and not done yet is not done after an attach, a detach, a removal. */
static void check_registration_wins(struct life *life, unsigned int group)
{
    unsigned int domain = choose(life, DOMAINS);
    uint32_t what = choose(life, 3);

    make_faults_of_group(life, group, false);
    await_service(life);
    defer(life, true);
    if (provoke(life, group)) {
        await_service(life);
        if (what != 0 || life->domains[domain] == NULL) {
            detach_group(life, group);
            check_isolation(life);
        }
        for (uint32_t i = 0; i < SLOTS && what == 1; i++) {
            if (life->slots[i].group == group && life->slots[i].device != NULL) {
                remove_slot(life, i);
            }
        }
        if (what != 1 && life->domains[domain] != NULL) {
            attach_group(life, group, domain);
            CHECK(!check_settled(life, group));
        }
    }
    defer(life, false);
    CHECK(!check_settled(life, group));
    make_faults_of_group(life, group, true);
}

/* Each check, for each kind of group. */
static void register_in_order(struct life *life)
{
    create_domain(life, 0);
    for (uint32_t i = 0; i < SLOTS; i++) {
        add_slot(life, i);
    }
    for (unsigned int group = 0; group < SLOTS; group++) {
        if (group_object(life, group) != NULL) {
            attach_group(life, group, 0);
            if (life->setting->has_faults) {
                check_attach_wins(life, group);
                check_block_is_done(life, group);
                check_registration_wins(life, group);
            }
        }
    }
}

static void register_at_random(struct life *life)
{
    static void (*const tries[])(struct life * life) = {
        change_slot, change_slot, change_slot, change_domain, try_attach,  try_attach,
        try_attach,  try_attach,  try_detach,  try_detach,    try_instance};
    static void (*const checks[])(struct life * life, unsigned int group) = {
        check_attach_wins, check_block_is_done, check_registration_wins};

    for (unsigned int i = 0; i < life->setting->steps; i++) {
        if (life->setting->has_faults && choose(life, 8) == 0) {
            checks[choose(life, COUNT_OF(checks))](life, choose(life, SLOTS));
        } else {
            tries[choose(life, COUNT_OF(tries))](life);
        }
        check_isolation(life);
        if (i % 8 == 0) {
            take_records(life);
        }
        if (!life->setting->has_faults) {
            for (unsigned int group = 0; group < SLOTS; group++) {
                CHECK(!check_settled(life, group));
            }
        }
    }
}

static void open_life(struct life *life, const struct life_setting *setting)
{
    struct piommu_context_config config = {.cookie = life, .fault = on_fault, .trace = on_event};
    struct threaded_unit_options unit = {.kind = setting->kind,
                                         .block_now = setting->block_now,
                                         .atomic_switch = setting->atomic_switch};

    memset(life, 0, sizeof(*life));
    life->setting = setting;
    life->random = seed_in_use();
    life->cookie_room = setting->steps + 2 * SLOTS;
    life->cookies = calloc(life->cookie_room, sizeof(*life->cookies));
    life->all_domain_cookies = calloc(life->cookie_room, sizeof(*life->all_domain_cookies));
    CHECK(life->cookies != NULL && life->all_domain_cookies != NULL);
    memcpy(life->slots, first_slots, sizeof(first_slots));
    open_bench(&life->bench, NULL, UNITS, &unit, &config);
    for (unsigned int i = 0; i < SLOTS; i++) {
        life->groups[i].domain = DOMAINS;
        make_faults(life, i, true);
    }
    make_faults(life, UNKNOWN_ID, true);
    for (unsigned int i = 0; i < SERVANTS; i++) {
        struct servant *servant = &life->servants[i];

        servant->instance = life->bench.instances[i % UNITS];
        servant->waiter = &life->servants[i % UNITS];
        servant->random = seed_in_use() + 100 + i;
    }
}

static void close_life(struct life *life)
{
    for (unsigned int i = 0; i < SLOTS; i++) {
        if (group_object(life, i) != NULL) {
            detach_group(life, i);
        }
    }
    for (uint32_t i = 0; i < SLOTS; i++) {
        if (life->slots[i].device != NULL) {
            remove_slot(life, i);
        }
    }
    check_isolation(life);
    for (unsigned int i = 0; i < DOMAINS; i++) {
        destroy_domain(life, i);
    }
}

/* A domain over all units for a mapper, with a device that makes no faults. */
static struct piommu_device *open_mapping(struct bench *bench, struct mapping_work *work,
                                          unsigned int first_unit, unsigned int number,
                                          bool requests)
{
    struct mapper_options options = {.takes_requests = requests};
    unsigned int count = bench->count - first_unit;
    struct piommu_domain *domain = make_domain(bench, first_unit, count, false, NULL);
    struct piommu_device *device =
        add_device(bench, first_unit, count, MAPPER_ID + number, 0, NULL);

    memset(work, 0, sizeof(*work));
    mapper_init(&work->mapper, domain, &options, number, seed_in_use());
    mapper_add_section(&work->mapper, 0, 40);
    mapper_add_section(&work->mapper, GIB - MIB, 768);
    attach_device(bench, device, MAPPER_ID + number, domain);
    for (unsigned int i = first_unit; i < bench->count; i++) {
        mapper_add_eye(&work->mapper, bench->units[i], MAPPER_ID + number);
    }
    return device;
}

static void close_mapping(struct mapping_work *work, struct piommu_device *device)
{
    CHECK(piommu_device_detach(device) == 0);
    CHECK(piommu_device_remove(device) == 0);
    CHECK(piommu_domain_destroy(work->mapper.domain) == 0);
    mapper_close(&work->mapper);
}

static void check_life(struct life *life)
{
    struct piommu_instance_info info;

    if (!life->setting->has_faults) {
        return;
    }
    for (unsigned int i = 0; i < UNITS; i++) {
        uint64_t faults = 0;

        for (unsigned int j = i; j < SERVANTS; j += UNITS) {
            faults += life->servants[j].faults;
        }
        piommu_instance_get_info(life->bench.instances[i], &info);
        assert_true(faults != 0);
        assert_int_equal(info.faults, faults);
    }
    assert_true(threaded_look(&life->blocks) != 0);
    for (unsigned int i = 0; i < COUNT_OF(life->answers); i++) {
        assert_true(threaded_look(&life->answers[i]) != 0);
    }
    assert_true(life->seen_blocked != 0);
    assert_true(life->seen_attached != 0);
    assert_true(life->records != 0);
}

static void live(const struct life_setting *setting)
{
    static struct life life;
    static struct mapping_work works[LIFE_MAPPERS];
    struct piommu_device *devices[LIFE_MAPPERS];
    struct worker workers[LIFE_THREADS];
    pthread_barrier_t start;

    pgtable_describe(describe, setting->name);
    open_life(&life, setting);
    pthread_barrier_init(&start, NULL, SERVANTS + setting->mappers + 1);
    for (unsigned int i = 0; i < SERVANTS; i++) {
        workers[i] = (struct worker){.work = serve, .ctx = &life.servants[i]};
    }
    for (unsigned int i = 0; i < setting->mappers; i++) {
        devices[i] =
            open_mapping(&life.bench, &works[i], 0, i, setting->kind == PIOMMU_BACKEND_REQUESTS);
        works[i].steps = setting->steps;
        workers[SERVANTS + i] = (struct worker){.work = do_mapping, .ctx = &works[i]};
    }
    start_workers(workers, SERVANTS + setting->mappers, &start);
    pthread_barrier_wait(&start);
    register_in_order(&life);
    register_at_random(&life);
    join_workers(&workers[SERVANTS], setting->mappers);
    close_life(&life);
    for (unsigned int i = 0; i < SERVANTS; i++) {
        threaded_set(&life.servants[i].has_to_stop, 1);
    }
    join_workers(workers, SERVANTS);
    take_records(&life);
    check_life(&life);
    for (unsigned int i = 0; i < setting->mappers; i++) {
        close_mapping(&works[i], devices[i]);
    }
    pthread_barrier_destroy(&start);
    close_bench(&life.bench);
    free(life.cookies);
    free(life.all_domain_cookies);
    pgtable_describe(NULL, NULL);
}

static void groups_move_beside_mapping_of_other_domains(void **state)
{
    static const struct life_setting settings[] = {
        {.name = "groups move, tables",
         .kind = PIOMMU_BACKEND_TABLES,
         .atomic_switch = true,
         .mappers = 2,
         .steps = 800},
        {.name = "groups move, requests",
         .kind = PIOMMU_BACKEND_REQUESTS,
         .mappers = 2,
         .steps = 800},
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(settings); i++) {
        live(&settings[i]);
    }
}

static void faults_are_served_beside_registration_and_mapping(void **state)
{
    static const struct life_setting settings[] = {
        {.name = "faults, tables, blocked at once",
         .kind = PIOMMU_BACKEND_TABLES,
         .block_now = THREADED_BLOCK_NOW,
         .atomic_switch = true,
         .has_faults = true,
         .steps = 1200},
        {.name = "faults, tables, sometimes blocked at once",
         .kind = PIOMMU_BACKEND_TABLES,
         .block_now = THREADED_BLOCK_NOW_REFUSES,
         .has_faults = true,
         .mappers = 1,
         .steps = 800},
        {.name = "faults, tables, blocked in service",
         .kind = PIOMMU_BACKEND_TABLES,
         .block_now = THREADED_NO_BLOCK_NOW,
         .atomic_switch = true,
         .has_faults = true,
         .mappers = 2,
         .steps = 800},
        {.name = "faults, requests, blocked in service",
         .kind = PIOMMU_BACKEND_REQUESTS,
         .block_now = THREADED_NO_BLOCK_NOW,
         .atomic_switch = true,
         .has_faults = true,
         .mappers = 1,
         .steps = 800},
        {.name = "faults, requests, sometimes blocked at once",
         .kind = PIOMMU_BACKEND_REQUESTS,
         .block_now = THREADED_BLOCK_NOW_REFUSES,
         .has_faults = true,
         .steps = 800},
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(settings); i++) {
        live(&settings[i]);
    }
}

/* ---- One instance sleeps, the other works ---- */

#define NAPS 40u

struct sleeper {
    struct bench bench;
    struct mapping_work work; /* on the unit that sleeps */
    struct piommu_device *device;
    struct piommu_device *guest; /* comes and goes while the unit sleeps */
    pthread_mutex_t gate;        /* nobody serves while any unit falls asleep or wakes up */
};

#define GUEST_ID (MAPPER_ID + 4)

static bool guest_reaches(struct sleeper *s, uint64_t iova)
{
    uint64_t physical = 0;
    bool result = threaded_unit_reaches(s->bench.units[0], GUEST_ID, iova, false, &physical);

    CHECK(!result || physical == MARKED);
    return result;
}

/* Maps, unmaps, attaches and detaches: nothing of which may touch the unit. */
static void work_asleep(struct sleeper *s, unsigned int nap)
{
    struct piommu_domain *domain = s->work.mapper.domain;
    struct piommu_gather gather;

    CHECK(piommu_domain_map(domain, MARK, MARKED, PAGE, READ_WRITE) == 0);
    CHECK(piommu_domain_map(domain, MARK + PAGE, MARKED, PAGE, READ_WRITE) == 0);
    piommu_gather_init(&gather);
    CHECK(piommu_domain_unmap(domain, MARK + PAGE, PAGE, &gather, NULL) == 0);
    CHECK(piommu_domain_sync(domain, &gather) == 0);
    if (nap % 2 == 0) {
        CHECK(piommu_device_attach(s->guest, domain) == 0);
    } else {
        CHECK(piommu_device_detach(s->guest) == 0);
    }
    CHECK(!guest_reaches(s, MARK));
}

static void nap(struct sleeper *s, unsigned int number)
{
    struct piommu_instance *instance = s->bench.instances[0];
    struct piommu_domain *domain = s->work.mapper.domain;
    struct piommu_gather gather;

    for (unsigned int i = 0; i < 4; i++) {
        mapper_step(&s->work.mapper);
    }
    pthread_mutex_lock(&s->gate);
    CHECK(piommu_instance_suspend(instance) == 0);
    pthread_mutex_unlock(&s->gate);
    CHECK(!guest_reaches(s, MARK));
    work_asleep(s, number);
    permit(&s->bench, MAPPER_ID + 3, true);
    permit(&s->bench, GUEST_ID, number % 2 == 0);
    pthread_mutex_lock(&s->gate);
    CHECK(piommu_instance_resume(instance) == 0);
    pthread_mutex_unlock(&s->gate);
    permit(&s->bench, MAPPER_ID + 3, false);
    permit(&s->bench, GUEST_ID, false);
    mapper_check_all(&s->work.mapper);
    CHECK(guest_reaches(s, MARK) == (number % 2 == 0));
    CHECK(!guest_reaches(s, MARK + PAGE));
    piommu_gather_init(&gather);
    CHECK(piommu_domain_unmap(domain, MARK, PAGE, &gather, NULL) == 0);
    CHECK(piommu_domain_sync(domain, &gather) == 0);
    CHECK(!guest_reaches(s, MARK));
}

static void sleep_and_work(enum piommu_backend_kind kind)
{
    static struct sleeper s;
    static struct mapping_work works[2];
    struct threaded_unit_options unit = {.kind = kind, .atomic_switch = true};
    bool requests = kind == PIOMMU_BACKEND_REQUESTS;
    struct mapper_options options = {.takes_requests = requests};
    struct piommu_device *devices[2];
    struct servant servant = {.random = seed_in_use()};
    struct worker workers[3];
    pthread_barrier_t start;

    pgtable_describe(describe, requests ? "one sleeps, requests" : "one sleeps, tables");
    open_bench(&s.bench, NULL, UNITS, &unit, NULL);
    memset(&s.work, 0, sizeof(s.work));
    mapper_init(&s.work.mapper, make_domain(&s.bench, 0, 1, false, NULL), &options, 3,
                seed_in_use());
    mapper_add_section(&s.work.mapper, GIB - MIB / 2, 300);
    mapper_add_eye(&s.work.mapper, s.bench.units[0], MAPPER_ID + 3);
    s.device = add_device(&s.bench, 0, 1, MAPPER_ID + 3, 0, NULL);
    s.guest = add_device(&s.bench, 0, 1, GUEST_ID, 0, NULL);
    attach_device(&s.bench, s.device, MAPPER_ID + 3, s.work.mapper.domain);

    threaded_unit_make_faults(s.bench.units[1], UNKNOWN_ID, true);
    pthread_mutex_init(&s.gate, NULL);
    servant.instance = s.bench.instances[1];
    servant.waiter = &servant;
    servant.gate = &s.gate;
    workers[0] = (struct worker){.work = serve, .ctx = &servant};
    for (unsigned int i = 0; i < COUNT_OF(works); i++) {
        devices[i] = open_mapping(&s.bench, &works[i], 1, i, requests);
        works[i].steps = 6 * NAPS;
        works[i].looked_at = s.bench.instances[1];
        workers[1 + i] = (struct worker){.work = do_mapping, .ctx = &works[i]};
    }
    pthread_barrier_init(&start, NULL, COUNT_OF(workers) + 1);
    start_workers(workers, COUNT_OF(workers), &start);
    pthread_barrier_wait(&start);
    for (unsigned int i = 0; i < NAPS; i++) {
        nap(&s, i);
    }
    join_workers(&workers[1], COUNT_OF(works));
    threaded_set(&servant.has_to_stop, 1);
    join_workers(workers, 1);
    for (unsigned int i = 0; i < COUNT_OF(works); i++) {
        close_mapping(&works[i], devices[i]);
    }
    CHECK(piommu_device_remove(s.guest) == 0);
    close_mapping(&s.work, s.device);
    pthread_mutex_destroy(&s.gate);
    pthread_barrier_destroy(&start);
    close_bench(&s.bench);
    pgtable_describe(NULL, NULL);
}

static void an_instance_sleeps_beside_mapping_on_another(void **state)
{
    (void)state;
    sleep_and_work(PIOMMU_BACKEND_TABLES);
    sleep_and_work(PIOMMU_BACKEND_REQUESTS);
}

/* ---- An instance fails under several threads ---- */

#define FAIL_THREADS 3u
#define FAIL_STEPS   300u
#define FAIL_PAGES   8u
#define FAIL_STRIDE  (16 * PAGE)

struct fail_setting {
    const char *name;
    enum piommu_backend_kind kind;
    unsigned int units; /* of which the first fails */
    bool is_disjoint;   /* one domain for all threads */
    bool is_found_by_service;
    bool refuses_stop;
};

struct failing_work {
    struct piommu_domain *domain;
    struct threaded_unit *good_unit; /* NULL: there is none */
    uint32_t id;
    bool is_disjoint;
    uint64_t iova;
    uint64_t random;
    struct piommu_gather gathers[FAIL_STEPS];
    unsigned int successes;
    unsigned int failures;
};

static int succeeds_or_fails(struct failing_work *work, int result)
{
    CHECK(result == 0 || result == -PIOMMU_EFAILED);
    work->successes += result == 0;
    work->failures += result != 0;
    return result;
}

/* What changes a mapping makes it unknown when it fails; then all that is left goes. */
static void change_in_failure(struct failing_work *work, uint64_t iova, uint64_t size)
{
    int result = 0;

    switch (pgtable_random(&work->random) % 4) {
    case 0:
        result = piommu_domain_protect(work->domain, iova, size, PIOMMU_PROT_READ,
                                       PIOMMU_ALLOW_HOLE, NULL);
        break;
    case 1:
        result = piommu_domain_unmap_cut(work->domain, iova, PAGE, PIOMMU_ALLOW_HOLE, NULL);
        break;
    case 2:
        /* Not by range. */
        if (!work->is_disjoint) {
            result = piommu_domain_replace(work->domain, iova, MARKED + 16 * PAGE, size, READ_WRITE,
                                           PIOMMU_ALLOW_HOLE, NULL);
        }
        break;
    default:
        break;
    }
    (void)succeeds_or_fails(work, result);
}

/* Whatever comes out, those that obey have obeyed. */
static void check_good_unit(const struct failing_work *work, uint64_t iova)
{
    uint64_t physical;

    CHECK(work->good_unit == NULL ||
          !threaded_unit_reaches(work->good_unit, work->id, iova, false, &physical));
}

static void map_in_failure(void *ctx)
{
    struct failing_work *work = ctx;

    for (unsigned int i = 0; i < FAIL_STEPS; i++) {
        uint64_t iova = work->iova + i * FAIL_STRIDE;
        uint64_t size = (1 + pgtable_random(&work->random) % FAIL_PAGES) * PAGE;
        struct piommu_gather *gather = &work->gathers[i];
        struct piommu_translation translation;
        int result;

        piommu_gather_init(gather);
        result = succeeds_or_fails(work,
                                   piommu_domain_map(work->domain, iova, MARKED, size, READ_WRITE));
        CHECK(piommu_domain_lookup(work->domain, iova, &translation) ==
              (result == 0 ? 0 : -PIOMMU_ENOENT));
        if (result == 0) {
            change_in_failure(work, iova, size);
        }
        result = piommu_domain_unmap(work->domain, iova, size, gather, NULL);
        CHECK(result == 0 || result == -PIOMMU_ENOENT);
        CHECK(gather->pending == (result == 0));
        result = succeeds_or_fails(work, piommu_domain_sync(work->domain, gather));
        CHECK(result == 0 ? !gather->pending : gather->pending);
        check_good_unit(work, iova);
    }
}

static void serve_until_failure(void *ctx)
{
    struct piommu_instance *instance = ctx;
    int result = 0;

    while (result >= 0) {
        result = piommu_instance_service(instance, 4);
        sched_yield();
    }
    CHECK(result == -PIOMMU_EFAILED);
}

/* A unit that does not stop keeps what it has, and says so; once it stops all can be taken down. */
static void check_refusal(struct bench *bench, struct piommu_device **devices)
{
    for (unsigned int i = 0; i < FAIL_THREADS; i++) {
        struct piommu_id_info info;

        CHECK(piommu_device_detach(devices[i]) == -PIOMMU_EFAILED);
        CHECK(piommu_device_get_id(devices[i], 0, &info) == 0);
        CHECK(info.state == PIOMMU_ID_DOUBTFUL);
    }
    CHECK(!threaded_unit_is_stopped(bench->units[0]));
    threaded_unit_refuse_stop(bench->units[0], false);
}

static void take_down_failed(struct bench *bench, struct failing_work *works,
                             struct piommu_device **devices)
{
    for (unsigned int i = 0; i < FAIL_THREADS; i++) {
        uint64_t physical;

        CHECK(piommu_device_detach(devices[i]) == 0);
        for (unsigned int j = 0; j < bench->count; j++) {
            CHECK(!threaded_unit_reaches(bench->units[j], MAPPER_ID + i, MARK, false, &physical));
        }
        CHECK(piommu_device_remove(devices[i]) == 0);
    }
    CHECK(threaded_unit_is_stopped(bench->units[0]));
    for (unsigned int i = 0; i < FAIL_THREADS; i++) {
        for (unsigned int j = 0; j < FAIL_STEPS; j++) {
            /* The groups have been detached: now there is nothing that could disobey. */
            CHECK(piommu_domain_sync(works[i].domain, &works[i].gathers[j]) == 0);
        }
    }
    for (unsigned int i = 0; i < FAIL_THREADS; i++) {
        if (i == 0 || works[i].domain != works[0].domain) {
            CHECK(piommu_domain_destroy(works[i].domain) == 0);
        }
    }
}

static void fail_under_threads(const struct fail_setting *setting)
{
    static struct failing_work works[FAIL_THREADS];
    struct threaded_unit_options unit = {.kind = setting->kind};
    struct piommu_device *devices[FAIL_THREADS];
    struct worker workers[FAIL_THREADS + 1];
    struct piommu_instance_info info;
    struct bench bench;
    unsigned int failures = 0;

    pgtable_describe(describe, setting->name);
    open_bench(&bench, NULL, setting->units, &unit, NULL);
    for (unsigned int i = 0; i < FAIL_THREADS; i++) {
        struct failing_work *work = &works[i];

        memset(work, 0, sizeof(*work));
        work->domain = setting->is_disjoint && i != 0
                           ? works[0].domain
                           : make_domain(&bench, 0, setting->units, setting->is_disjoint, NULL);
        work->is_disjoint = setting->is_disjoint;
        work->iova = i * 2 * FAIL_STEPS * FAIL_STRIDE;
        work->random = seed_in_use() + i;
        if (!setting->is_disjoint || i == 0) {
            CHECK(piommu_domain_map(work->domain, MARK, MARKED, PAGE, READ_WRITE) == 0);
        }
        devices[i] = add_device(&bench, 0, setting->units, MAPPER_ID + i, 0, NULL);
        attach_device(&bench, devices[i], MAPPER_ID + i, work->domain);
        work->id = MAPPER_ID + i;
        work->good_unit = setting->units == 1 ? NULL : bench.units[1];
        workers[i] = (struct worker){.work = map_in_failure, .ctx = work};
    }
    workers[FAIL_THREADS] = (struct worker){.work = serve_until_failure, .ctx = bench.instances[0]};
    threaded_unit_refuse_stop(bench.units[0], setting->refuses_stop);
    if (setting->is_found_by_service) {
        threaded_unit_fail_service(bench.units[0], 50);
    } else {
        threaded_unit_fail_mapping(bench.units[0], 100);
    }
    run_all(workers, FAIL_THREADS + 1);
    for (unsigned int i = 0; i < FAIL_THREADS; i++) {
        failures += works[i].failures;
        CHECK(piommu_domain_map(works[i].domain, MARK + PAGE, MARKED, PAGE, READ_WRITE) ==
              -PIOMMU_EFAILED);
    }
    assert_true(failures != 0 || setting->is_found_by_service);
    piommu_instance_get_info(bench.instances[0], &info);
    assert_true(info.failed && info.state == PIOMMU_INSTANCE_FAILED);
    if (setting->refuses_stop) {
        check_refusal(&bench, devices);
    }
    take_down_failed(&bench, works, devices);
    close_bench(&bench);
    pgtable_describe(NULL, NULL);
}

static void an_instance_fails_for_all_threads(void **state)
{
    static const struct fail_setting settings[] = {
        {.name = "fails in a sync, tables", .kind = PIOMMU_BACKEND_TABLES, .units = 1},
        {.name = "fails in a sync, one disjoint domain",
         .kind = PIOMMU_BACKEND_TABLES,
         .units = 1,
         .is_disjoint = true},
        {.name = "fails in a sync and does not stop, one disjoint domain",
         .kind = PIOMMU_BACKEND_TABLES,
         .units = 1,
         .is_disjoint = true,
         .refuses_stop = true},
        {.name = "fails in service, tables",
         .kind = PIOMMU_BACKEND_TABLES,
         .units = 1,
         .is_found_by_service = true},
        {.name = "fails in a map, requests", .kind = PIOMMU_BACKEND_REQUESTS, .units = 1},
        {.name = "fails in a map and does not stop, requests",
         .kind = PIOMMU_BACKEND_REQUESTS,
         .units = 1,
         .refuses_stop = true},
        {.name = "one of two fails in a sync, one disjoint domain",
         .kind = PIOMMU_BACKEND_TABLES,
         .units = 2,
         .is_disjoint = true},
        {.name = "one of two fails in service, tables",
         .kind = PIOMMU_BACKEND_TABLES,
         .units = 2,
         .is_found_by_service = true},
        {.name = "one of two fails and does not stop, requests",
         .kind = PIOMMU_BACKEND_REQUESTS,
         .units = 2,
         .refuses_stop = true},
        {.name = "fails in service, requests",
         .kind = PIOMMU_BACKEND_REQUESTS,
         .units = 1,
         .is_found_by_service = true},
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(settings); i++) {
        if (!settings[i].is_disjoint || DISJOINT_DOMAINS_EXIST) {
            fail_under_threads(&settings[i]);
        }
    }
}

/* ---- Contexts that know nothing of each other ---- */

#define CONTEXT_THREADS 4u
#define CONTEXT_ROUNDS  12u
#define CONTEXT_STEPS   30u

struct context_work {
    struct threaded_host *host;
    unsigned int number;
    unsigned int faults;
    unsigned int events;
};

static enum piommu_fault_answer block_always(void *ctx, const struct piommu_fault *fault)
{
    struct context_work *work = ctx;

    CHECK(fault->device_owner == work);
    work->faults++;
    return PIOMMU_FAULT_BLOCK;
}

static void count_event(void *ctx, const struct piommu_event *event)
{
    struct context_work *work = ctx;

    (void)event;
    work->events++;
}

static void use_context(struct context_work *work, unsigned int round)
{
    struct piommu_context_config config = {
        .cookie = work, .fault = block_always, .trace = count_event};
    struct threaded_unit_options unit = {
        .kind = round % 2 == 0 ? PIOMMU_BACKEND_TABLES : PIOMMU_BACKEND_REQUESTS,
        .block_now = round % 3 == 0 ? THREADED_NO_BLOCK_NOW : THREADED_BLOCK_NOW};
    struct mapper_options options = {.takes_requests = round % 2 != 0};
    uint32_t id = MAPPER_ID + work->number;
    struct mapper mapper;
    struct piommu_domain *domain;
    struct piommu_device *device;
    struct bench bench;

    open_bench(&bench, work->host, 1, &unit, &config);
    domain = make_domain(&bench, 0, 1, false, NULL);
    device = add_device(&bench, 0, 1, id, 0, work);
    mapper_init(&mapper, domain, &options, work->number, seed_in_use() + round);
    mapper_add_section(&mapper, MIB, 700);
    mapper_add_eye(&mapper, bench.units[0], id);
    attach_device(&bench, device, id, domain);
    for (unsigned int i = 0; i < CONTEXT_STEPS; i++) {
        mapper_step(&mapper);
    }
    threaded_unit_provoke(bench.units[0], id);
    CHECK(piommu_instance_service(bench.instances[0], 8) == 1);
    attach_device(&bench, device, id, domain);
    mapper_check_all(&mapper);
    mapper_clear(&mapper);
    CHECK(piommu_device_detach(device) == 0);
    CHECK(piommu_device_remove(device) == 0);
    CHECK(piommu_domain_destroy(domain) == 0);
    mapper_close(&mapper);
    close_bench(&bench);
}

static void use_contexts(void *ctx)
{
    struct context_work *work = ctx;

    for (unsigned int i = 0; i < CONTEXT_ROUNDS; i++) {
        use_context(work, i);
    }
    CHECK(work->faults == CONTEXT_ROUNDS && work->events != 0);
}

static void contexts_are_used_in_parallel(void **state)
{
    struct threaded_host *host = threaded_host_create();
    struct context_work works[CONTEXT_THREADS];
    struct worker workers[CONTEXT_THREADS];

    (void)state;
    pgtable_describe(describe, "several contexts");
    for (unsigned int i = 0; i < CONTEXT_THREADS; i++) {
        works[i] = (struct context_work){.host = host, .number = i};
        workers[i] = (struct worker){.work = use_contexts, .ctx = &works[i]};
    }
    run_all(workers, CONTEXT_THREADS);
    threaded_host_destroy(host);
    pgtable_describe(NULL, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_disjoint_domain_takes_calls_on_different_ranges_at_once),
        cmocka_unit_test(domains_of_one_instance_are_mapped_in_parallel),
        cmocka_unit_test(groups_move_beside_mapping_of_other_domains),
        cmocka_unit_test(faults_are_served_beside_registration_and_mapping),
        cmocka_unit_test(an_instance_sleeps_beside_mapping_on_another),
        cmocka_unit_test(an_instance_fails_for_all_threads),
        cmocka_unit_test(contexts_are_used_in_parallel),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
