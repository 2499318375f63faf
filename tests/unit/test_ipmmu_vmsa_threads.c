/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The IPMMU-VMSA backend when several CPUs use it: two that map, unmap and sync in one domain,
 * whose context they flush, one that attaches and detaches beside them, one that serves faults, and
 * the masters. When a sync has returned, no TLB holds anything of what was unmapped before: a FLUSH
 * that runs does not cover what is cleared later. Worth most under the thread sanitizer: neither
 * the host nor the hardware puts the threads in an order.
 *
 * The amount of work is fixed, but for faults and DMA, which go on as long as there is anything to
 * go on beside, and until a fault was told. Threads take turns as they like.
 */

#include "ipmmu_fixture.h"
#include "threaded_host.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define UNITS      3u
#define MAPPERS    2u
#define ROUNDS     30u
#define PAGES      8u /* of each mapper; all are in one table */
#define MOST_PAGES 3u
#define PAGE       IPMMU_PAGE
#define IOVA       IPMMU_IOVA
#define ELSEWHERE  0x50000000ull
#define MEMORY     0x2000000000ull
#define TABLES     0x40000000ull
#define REGISTERS  0xe6000000ull

#if ATOMIC_LLONG_LOCK_FREE == 2
#define DISJOINT_DOMAINS_EXIST 1
#else
#define DISJOINT_DOMAINS_EXIST 0
#endif

enum { MASTER_D, MASTER_H, WANDERER, MASTERS };

static const struct ipmmu_place places[MASTERS] = {{1, 3}, {2, 31}, {1, 16}};

struct bench {
    const struct ipmmu_system *system;
    struct threaded_host *host;
    pthread_mutex_t mutex; /* protects the model */
    struct piommu_ipmmu_model *model;
    struct piommu_ipmmu_model_unit units[UNITS];
    struct piommu_ipmmu_vmsa_config configs[UNITS];
    struct piommu_context *context;
    struct piommu_instance *instances[UNITS];
    struct piommu_device *devices[MASTERS];
    struct piommu_domain *domain; /* of the mappers */
    struct piommu_domain *other;
    bool is_disjoint;
    atomic_uint is_over;
    atomic_uint faults;
};

/* ---- Hardware, which puts no threads in an order ---- */

static void lock_model(struct bench *bench)
{
    threaded_unseen_begin();
    pthread_mutex_lock(&bench->mutex);
}

static void unlock_model(struct bench *bench)
{
    pthread_mutex_unlock(&bench->mutex);
    threaded_unseen_end();
}

/* The shim's callbacks get the host, so they have to find this. */
static struct bench *current;

static int map_registers(void *ctx, uint64_t physical, uint64_t size, uintptr_t *base)
{
    (void)ctx;
    (void)size;
    *base = (uintptr_t)(physical - REGISTERS);
    return 0;
}

static void unmap_registers(void *ctx, uintptr_t base, uint64_t size)
{
    (void)ctx;
    (void)base;
    (void)size;
}

static uint32_t read_register(void *ctx, uintptr_t address, unsigned int width)
{
    uint32_t value;

    (void)ctx;
    lock_model(current);
    value = piommu_ipmmu_model_read(current->model, REGISTERS + address, width);
    unlock_model(current);
    return value;
}

static void write_register(void *ctx, uintptr_t address, unsigned int width, uint32_t value)
{
    (void)ctx;
    lock_model(current);
    piommu_ipmmu_model_write(current->model, REGISTERS + address, width, value);
    unlock_model(current);
}

/* Walks read what the CPU has stored. */
static void clean_cache(void *ctx, const void *address, size_t size)
{
    (void)ctx;
    (void)address;
    (void)size;
}

static bool reaches(struct bench *bench, size_t master, uint64_t iova, uint64_t *physical)
{
    bool result;

    lock_model(bench);
    result = piommu_ipmmu_model_dma(bench->model, places[master].unit, places[master].micro_tlb,
                                    iova, false, physical) != PIOMMU_IPMMU_MODEL_BLOCKED;
    unlock_model(bench);
    return result;
}

static bool any_tlb_leads_to(struct bench *bench, uint64_t physical, uint64_t size)
{
    bool result;

    lock_model(bench);
    result = piommu_ipmmu_model_leaf_reaches(bench->model, physical, size);
    unlock_model(bench);
    return result;
}

static void check_table_is_out_of_reach(void *ctx, uint64_t physical, uint64_t size)
{
    struct bench *bench = ctx;

    lock_model(bench);
    CHECK(!piommu_ipmmu_model_table_reaches(bench->model, physical, size));
    unlock_model(bench);
}

/* ---- Making and ending ---- */

/* Now and then the group of the wanderer is blocked; the mappers' masters never are. */
static enum piommu_fault_answer on_fault(void *cookie, const struct piommu_fault *fault)
{
    struct bench *bench = cookie;

    threaded_add(&bench->faults, 1);
    return fault->domain_owner == &bench->other && threaded_look(&bench->faults) % 4 == 0
               ? PIOMMU_FAULT_BLOCK
               : PIOMMU_FAULT_NOTE;
}

static void make_model(struct bench *bench, const struct piommu_ipmmu_model_readings *readings)
{
    static const char *const names[UNITS] = {"M", "D", "H"};
    bool is_gen2 = bench->system->generation == PIOMMU_IPMMU_MODEL_GEN2;
    const struct piommu_ipmmu_model_parameters parameters = {
        .generation = bench->system->generation,
        .units = bench->units,
        .unit_count = UNITS,
        .product = bench->system->product,
        .readings = readings,
    };

    for (size_t i = 0; i < UNITS; i++) {
        bench->units[i] = (struct piommu_ipmmu_model_unit){
            .name = names[i], .base = REGISTERS + i * 0x100000, .root = is_gen2 ? i : 0};
    }
    bench->model = piommu_ipmmu_model_create(
        &parameters,
        (struct piommu_walker_memory){.read64 = threaded_host_read64, .ctx = bench->host});
    CHECK(bench->model != NULL);
}

static void start_unit(struct bench *bench, size_t unit)
{
    const struct piommu_instance_config config = {
        .name = bench->units[unit].name,
        .key = 1 + unit,
        .parent_key = bench->units[unit].root == unit ? 0 : 1 + bench->units[unit].root,
        /* Nobody who waits for another thread does so in vain, however long that takes. */
        .timeout = 600 * 1000000000ull,
    };

    bench->configs[unit] = (struct piommu_ipmmu_vmsa_config){
        .compatible = bench->system->compatible,
        .registers = bench->units[unit].base,
        .tables = config.parent_key == 0 ? bench->system->tables : PIOMMU_IPMMU_VMSA_STAGE1,
        .contexts = config.parent_key == 0 ? bench->system->contexts : 0,
        .product = bench->system->product,
    };
    CHECK(piommu_instance_create(bench->context, piommu_ipmmu_vmsa_backend(), &bench->configs[unit],
                                 &config, &bench->instances[unit]) == 0);
    piommu_ipmmu_model_set_flush_polls(bench->model, unit, 1 + (uint32_t)unit);
}

static struct piommu_domain *make_domain(struct bench *bench, void *owner, bool is_disjoint)
{
    const struct piommu_domain_config config = {.type = PIOMMU_DOMAIN_PAGING,
                                                .instances = &bench->instances[1],
                                                .instance_count = UNITS - 1,
                                                .owner = owner,
                                                .disjoint = is_disjoint};
    struct piommu_domain *domain = NULL;

    CHECK(piommu_domain_create(&config, &domain) == 0);
    return domain;
}

static void add_device(struct bench *bench, size_t master)
{
    const struct piommu_device_id id = {.instance = bench->instances[places[master].unit],
                                        .id = places[master].micro_tlb};
    const struct piommu_device_config config = {.ids = &id, .id_count = 1};

    CHECK(piommu_device_add(bench->context, &config, &bench->devices[master]) == 0);
}

static void open_bench(struct bench *bench, const struct ipmmu_system *system,
                       const struct piommu_ipmmu_model_readings *readings, bool is_disjoint)
{
    const struct piommu_context_config config = {.cookie = bench, .fault = on_fault};
    struct piommu_os *callbacks;

    memset(bench, 0, sizeof(*bench));
    current = bench;
    bench->system = system;
    bench->is_disjoint = is_disjoint;
    pthread_mutex_init(&bench->mutex, NULL);
    bench->host = threaded_host_create();
    threaded_host_place_memory(bench->host, TABLES);
    threaded_host_on_dma_free(bench->host, check_table_is_out_of_reach, bench);
    callbacks = threaded_host_callbacks(bench->host);
    callbacks->mmio_map = map_registers;
    callbacks->mmio_unmap = unmap_registers;
    callbacks->mmio_read = read_register;
    callbacks->mmio_write = write_register;
    callbacks->cache_clean = clean_cache;
    make_model(bench, readings);
    CHECK(piommu_context_create(threaded_host_shim(bench->host), &config, &bench->context) == 0);
    for (size_t i = 0; i < UNITS; i++) {
        start_unit(bench, i);
    }
    for (size_t i = 0; i < MASTERS; i++) {
        add_device(bench, i);
    }
    bench->domain = make_domain(bench, &bench->domain, is_disjoint);
    bench->other = make_domain(bench, &bench->other, false);
    CHECK(piommu_device_attach(bench->devices[MASTER_D], bench->domain) == 0);
    CHECK(piommu_device_attach(bench->devices[MASTER_H], bench->domain) == 0);
}

static void close_bench(struct bench *bench)
{
    for (size_t i = 0; i < MASTERS; i++) {
        CHECK(piommu_device_detach(bench->devices[i]) == 0);
        CHECK(piommu_device_remove(bench->devices[i]) == 0);
    }
    CHECK(piommu_domain_destroy(bench->domain) == 0);
    CHECK(piommu_domain_destroy(bench->other) == 0);
    for (size_t i = UNITS; i-- > 0;) {
        CHECK(piommu_instance_destroy(bench->instances[i]) == 0);
    }
    CHECK(piommu_context_destroy(bench->context) == 0);
    if (piommu_ipmmu_model_violations(bench->model) != 0) {
        fail_msg("%s", piommu_ipmmu_model_violation(bench->model, 0));
    }
    piommu_ipmmu_model_destroy(bench->model);
    threaded_host_destroy(bench->host);
    pthread_mutex_destroy(&bench->mutex);
}

/* ---- What the CPUs do ---- */

struct worker {
    pthread_t thread;
    pthread_barrier_t *start;
    struct bench *bench;
    unsigned int number;
    void (*work)(struct worker *worker);
};

static void *run_worker(void *argument)
{
    struct worker *worker = argument;

    threaded_become(worker->number);
    pthread_barrier_wait(worker->start);
    worker->work(worker);
    return NULL;
}

/* Both masters use what was mapped, so that all TLBs have it. */
static void use(struct bench *bench, uint64_t iova, uint64_t physical, uint64_t size)
{
    for (uint64_t offset = 0; offset < size; offset += PAGE) {
        for (size_t master = MASTER_D; master <= MASTER_H; master++) {
            uint64_t found = 0;

            CHECK(reaches(bench, master, iova + offset, &found) && found == physical + offset);
        }
    }
}

static void map_and_unmap(struct worker *worker)
{
    struct bench *bench = worker->bench;
    uint64_t first = IOVA + worker->number * PAGES * PAGE;
    uint64_t physical = MEMORY + worker->number * 0x10000000ull;

    for (unsigned int i = 0; i < ROUNDS; i++) {
        uint64_t size = (1 + i % MOST_PAGES) * PAGE;
        uint64_t iova = first + i % (PAGES - MOST_PAGES) * PAGE;
        struct piommu_gather gather;

        piommu_gather_init(&gather);
        physical += MOST_PAGES * PAGE; /* memory that nothing was mapped to before */
        CHECK(piommu_domain_map(bench->domain, iova, physical, size, IPMMU_READ) == 0);
        use(bench, iova, physical, size);
        CHECK(piommu_domain_unmap(bench->domain, iova, size, &gather, NULL) == 0);
        CHECK(piommu_domain_sync(bench->domain, &gather) == 0);
        CHECK(!any_tlb_leads_to(bench, physical, size));
    }
}

/* Another CPU flushes the context of the one mapper that there is. */
static void invalidate(struct worker *worker)
{
    for (unsigned int i = 0; i < ROUNDS; i++) {
        CHECK(piommu_domain_invalidate(worker->bench->domain, IOVA, IOVA + PAGE - 1) == 0);
    }
}

/* A device comes and goes beside all this; what it may reach changes as well. */
static void attach_and_detach(struct worker *worker)
{
    struct bench *bench = worker->bench;
    uint64_t physical = MEMORY + 0x40000000ull;

    for (unsigned int i = 0; i < ROUNDS; i++) {
        struct piommu_gather gather;
        uint64_t found = 0;

        piommu_gather_init(&gather);
        physical += PAGE;
        CHECK(piommu_device_attach(bench->devices[WANDERER], bench->other) == 0);
        CHECK(piommu_domain_map(bench->other, ELSEWHERE, physical, PAGE, IPMMU_READ) == 0);
        /* A fault may have blocked it. */
        CHECK(!reaches(bench, WANDERER, ELSEWHERE, &found) || found == physical);
        CHECK(!reaches(bench, WANDERER, IOVA, &found));
        if (i % 2 == 0) {
            CHECK(piommu_device_detach(bench->devices[WANDERER]) == 0);
            CHECK(!reaches(bench, WANDERER, ELSEWHERE, &found));
        }
        CHECK(piommu_domain_unmap(bench->other, ELSEWHERE, PAGE, &gather, NULL) == 0);
        CHECK(piommu_domain_sync(bench->other, &gather) == 0);
        CHECK(!any_tlb_leads_to(bench, physical, PAGE));
    }
}

static size_t root_of(const struct bench *bench, size_t unit)
{
    return bench->units[unit].root;
}

/*
 * However the threads were scheduled, a fault has come: what no domain maps any more is accessed.
 */
static bool is_over(struct bench *bench)
{
    return threaded_look(&bench->is_over) != 0 && threaded_look(&bench->faults) != 0;
}

static void serve_faults(struct worker *worker)
{
    struct bench *bench = worker->bench;

    while (!is_over(bench)) {
        for (size_t unit = 1; unit < UNITS; unit++) {
            struct piommu_instance *root = bench->instances[root_of(bench, unit)];
            bool more = false;

            CHECK(piommu_instance_interrupt(root, 4, &more) >= 0);
            CHECK(!more || piommu_instance_service(root, 4) >= 0);
        }
        sched_yield();
    }
}

/* Masters fetch in advance what they can, and now and then what they must not. */
static void be_masters(struct worker *worker)
{
    struct bench *bench = worker->bench;
    uint64_t found;

    for (unsigned int i = 0; !is_over(bench); i++) {
        size_t master = i % MASTERS;

        lock_model(bench);
        piommu_ipmmu_model_prefetch(bench->model, places[master].unit, places[master].micro_tlb);
        unlock_model(bench);
        (void)reaches(bench, master, IOVA + i % 16 * PAGE, &found);
        sched_yield();
    }
}

static void start_worker(struct worker *worker, struct bench *bench, unsigned int number,
                         pthread_barrier_t *start, void (*work)(struct worker *worker))
{
    *worker = (struct worker){.start = start, .bench = bench, .number = number, .work = work};
    CHECK(pthread_create(&worker->thread, NULL, run_worker, worker) == 0);
}

static void run_all(struct bench *bench)
{
    struct worker workers[MAPPERS + 3];
    pthread_barrier_t start;

    pthread_barrier_init(&start, NULL, MAPPERS + 3);
    start_worker(&workers[0], bench, 0, &start, map_and_unmap);
    start_worker(&workers[1], bench, 1, &start, bench->is_disjoint ? map_and_unmap : invalidate);
    start_worker(&workers[2], bench, 2, &start, attach_and_detach);
    start_worker(&workers[3], bench, 3, &start, serve_faults);
    start_worker(&workers[4], bench, 4, &start, be_masters);
    for (unsigned int i = 0; i < MAPPERS + 3; i++) {
        if (i == MAPPERS + 1) {
            threaded_add(&bench->is_over, 1);
        }
        CHECK(pthread_join(workers[i].thread, NULL) == 0);
    }
    pthread_barrier_destroy(&start);
}

/* ---- Tests ---- */

/* When a FLUSH acts decides what two of them at once may miss. */
static void run_under_each_reading(const struct ipmmu_system *system, bool is_disjoint)
{
    for (unsigned int i = 0; i < 6; i++) {
        struct piommu_ipmmu_model_readings readings;
        struct bench bench;

        piommu_ipmmu_model_default_readings(&readings);
        readings.cache_flush = (enum piommu_ipmmu_model_flush)(i % 3);
        readings.flush_restarts = i >= 3;
        open_bench(&bench, system, &readings, is_disjoint);
        run_all(&bench);
        close_bench(&bench);
    }
}

/* Registers and their latencies depend on the class alone: the first system of each will do. */
static bool is_first_of_class(const struct ipmmu_system *system)
{
    size_t i = 0;

    /* With one context all masters of a unit are in one domain. */
    while (ipmmu_system(i)->generation != system->generation || ipmmu_system(i)->contexts == 1) {
        i++;
    }
    return ipmmu_system(i) == system;
}

static void test_cpus_that_flush_one_context(const struct ipmmu_system *system)
{
    if (DISJOINT_DOMAINS_EXIST && is_first_of_class(system)) {
        run_under_each_reading(system, true);
    }
}

static void test_cpus_that_flush_beside_a_mapper(const struct ipmmu_system *system)
{
    if (is_first_of_class(system)) {
        run_under_each_reading(system, false);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IPMMU_TEST(IPMMU_ALL, test_cpus_that_flush_one_context),
        IPMMU_TEST(IPMMU_ALL, test_cpus_that_flush_beside_a_mapper),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
