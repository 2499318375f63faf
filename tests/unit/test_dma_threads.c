/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The DMA API when several CPUs use one space: each maps and unmaps buffers of its own, single ones
 * and lists, or takes coherent ones, and sees that the device finds what it has put there, that it
 * finds what the device has, and that nobody else's buffers come in between. Another one polls and
 * flushes a lazy space meanwhile. Worth most under the thread sanitizer: neither the host nor the
 * hardware puts the threads in an order, and bounce pages go from one to the other.
 *
 * Environment: PIOMMU_RANDOM_SEED. Threads take turns as they like.
 */

#include "threaded_unit.h"

#include <piommu/piommu.h>

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define DRIVERS      4u
#define HOUSEKEEPER  DRIVERS
#define THREADS      (DRIVERS + 1)
#define ROUNDS       500u
#define PAGE         4096u
#define PAGES        12u                     /* of each driver's memory */
#define POOL_PAGES   (6u * THREADED_THREADS) /* of what the library asks for */
#define COHERENT     2u                      /* most pages of a coherent buffer */
#define BOUNCE_PAGES 6u                      /* of all drivers together; a list may need all */
#define NARROW       64u /* pages of addresses: for all drivers, but not for much that waits */
#define LIST         3u
#define SEGMENTS     16u
#define MEMORY       UINT64_C(0x100000000)
#define POOL         (MEMORY + UINT64_C(0x1000000))

#if ATOMIC_LLONG_LOCK_FREE == 2
#define DISJOINT_DOMAINS_EXIST 1
#else
#define DISJOINT_DOMAINS_EXIST 0
#endif

enum { TRUSTED, UNTRUSTED, DEVICES };

struct options {
    const char *name;
    bool is_lazy;
    bool has_cpus; /* the host says which CPU it is, and each keeps addresses */
    bool is_debug;
    bool is_bounced; /* drivers use both devices, else the trusted one */
    bool is_narrow;  /* what waits is in the way of what is to be mapped */
};

struct bench {
    const struct options *options;
    struct threaded_host *host;
    struct piommu_os callbacks; /* of the host */
    struct threaded_unit *unit;
    struct piommu_context *context;
    struct piommu_instance *instance;
    struct piommu_domain *domain;
    struct piommu_device *devices[DEVICES];
    struct piommu_dma_space *space;
    struct piommu_dma_device *dma[DEVICES];
    atomic_uint ended; /* drivers that have */
    uint8_t *memory;
    uint8_t *pool;
    bool pool_used[POOL_PAGES]; /* each by one thread */
};

/* The shim's callbacks get the host, so they have to find this. */
static struct bench *current;

static uint64_t seed_in_use(void)
{
    const char *text = getenv("PIOMMU_RANDOM_SEED");

    return text != NULL && *text != '\0' ? strtoull(text, NULL, 0) : 1;
}

static void describe(const void *what)
{
    fprintf(stderr, "%s, PIOMMU_RANDOM_SEED=%llu\n", ((const struct options *)what)->name,
            (unsigned long long)seed_in_use());
}

/* ---- The shim: buffers, and memory for them ---- */

static uint8_t *pointer_to(struct bench *bench, uint64_t physical)
{
    if (physical >= POOL) {
        CHECK(physical - POOL < POOL_PAGES * PAGE);
        return bench->pool + (physical - POOL);
    }
    CHECK(physical >= MEMORY && physical - MEMORY < DRIVERS * PAGES * PAGE);
    return bench->memory + (physical - MEMORY);
}

/* Of each thread's share. */
static void *allocate(void *ctx, const struct piommu_dma_request *request, uint64_t *physical)
{
    struct bench *bench = current;
    size_t pages = (request->size + PAGE - 1) / PAGE;
    size_t share = POOL_PAGES / THREADED_THREADS;
    size_t first = threaded_self() * share;

    if (request->purpose != PIOMMU_DMA_BUFFER) {
        return bench->callbacks.dma_alloc(ctx, request, physical);
    }
    for (size_t i = first; i + pages <= first + share; i++) {
        if (memchr(&bench->pool_used[i], true, pages) == NULL) {
            memset(&bench->pool_used[i], true, pages);
            *physical = POOL + i * PAGE;
            return bench->pool + i * PAGE;
        }
    }
    return NULL;
}

static void give_back(void *ctx, void *memory, size_t size)
{
    struct bench *bench = current;
    uintptr_t offset = (uintptr_t)memory - (uintptr_t)bench->pool;

    if ((uintptr_t)memory < (uintptr_t)bench->pool || offset >= POOL_PAGES * PAGE) {
        bench->callbacks.dma_free(ctx, memory, size);
        return;
    }
    memset(&bench->pool_used[offset / PAGE], false, (size + PAGE - 1) / PAGE);
}

static void *memory_at(void *ctx, uint64_t physical, uint64_t size)
{
    (void)ctx;
    (void)pointer_to(current, physical + (size - 1));
    return pointer_to(current, physical);
}

static unsigned int which_cpu(void *ctx)
{
    (void)ctx;
    return threaded_self() % 3;
}

/* ---- Making and ending ---- */

static void check_table_is_out_of_reach(void *ctx, uint64_t physical, uint64_t size)
{
    CHECK(!threaded_unit_holds_table(((struct bench *)ctx)->unit, physical, size));
}

/* Nothing leads anywhere from addresses that are said to be free, and not free yet. */
static void on_released(void *cookie, uint64_t address, uint64_t size)
{
    struct bench *bench = cookie;

    for (uint64_t offset = 0; offset < size; offset += PAGE) {
        uint64_t physical;

        CHECK(!threaded_unit_reaches(bench->unit, TRUSTED, address + offset, false, &physical));
    }
}

static void make_space(struct bench *bench)
{
    const struct piommu_dma_space_config config = {
        .domain = bench->domain,
        .cpus = bench->options->has_cpus ? 2 : 0,
        .lazy = bench->options->is_lazy,
        .lazy_count = 5,
        .lazy_time = 1,
        .released = on_released,
        .cookie = bench,
        .bounce_pages = bench->options->is_bounced ? BOUNCE_PAGES : 0,
        .debug = bench->options->is_debug,
    };
    const struct piommu_dma_device_config limits = {
        .mask = bench->options->is_narrow ? NARROW * PAGE - 1 : 0xffffff,
        .max_segment_size = 0x1800,
    };

    CHECK(piommu_dma_space_create(threaded_host_shim(bench->host), &config, &bench->space) == 0);
    for (unsigned int i = 0; i < DEVICES; i++) {
        struct piommu_device_id id = {.instance = bench->instance, .id = i};
        const struct piommu_device_config device = {
            .ids = &id, .id_count = 1, .untrusted = i == UNTRUSTED && !config.lazy};

        CHECK(piommu_device_add(bench->context, &device, &bench->devices[i]) == 0);
        CHECK(piommu_dma_device_add(bench->space, bench->devices[i], &limits, &bench->dma[i]) == 0);
        threaded_unit_permit(bench->unit, i, true);
        CHECK(piommu_device_attach(bench->devices[i], bench->domain) == 0);
    }
}

static void open_bench(struct bench *bench, const struct options *options)
{
    const struct threaded_unit_options unit = {.kind = PIOMMU_BACKEND_TABLES,
                                               .seed = seed_in_use()};
    const struct piommu_context_config context = {0};
    /* Nobody who waits for another thread does so in vain, however long that takes. */
    const struct piommu_instance_config instance = {.timeout = 600 * UINT64_C(1000000000)};
    struct piommu_domain_config domain = {
        .type = PIOMMU_DOMAIN_DMA, .instance_count = 1, .disjoint = true};
    struct piommu_os *callbacks;

    memset(bench, 0, sizeof(*bench));
    current = bench;
    bench->options = options;
    pgtable_describe(describe, options);
    bench->memory = aligned_alloc(PAGE, DRIVERS * PAGES * PAGE);
    bench->pool = aligned_alloc(PAGE, POOL_PAGES * PAGE);
    CHECK(bench->memory != NULL && bench->pool != NULL);
    bench->host = threaded_host_create();
    callbacks = threaded_host_callbacks(bench->host);
    bench->callbacks = *callbacks;
    callbacks->dma_alloc = allocate;
    callbacks->dma_free = give_back;
    callbacks->memory_at = memory_at;
    callbacks->cpu = options->has_cpus ? which_cpu : NULL;
    CHECK(piommu_context_create(threaded_host_shim(bench->host), &context, &bench->context) == 0);
    bench->unit = threaded_unit_create(bench->host, &unit);
    CHECK(piommu_instance_create(bench->context, threaded_unit_backend(bench->unit), &bench->unit,
                                 &instance, &bench->instance) == 0);
    domain.instances = &bench->instance;
    CHECK(piommu_domain_create(&domain, &bench->domain) == 0);
    threaded_host_on_dma_free(bench->host, check_table_is_out_of_reach, bench);
    make_space(bench);
}

static void close_bench(struct bench *bench)
{
    for (unsigned int i = 0; i < DEVICES; i++) {
        piommu_dma_device_remove(bench->dma[i]);
        CHECK(piommu_device_detach(bench->devices[i]) == 0);
        CHECK(piommu_device_remove(bench->devices[i]) == 0);
    }
    CHECK(piommu_dma_space_destroy(bench->space) == 0);
    CHECK(memchr(bench->pool_used, true, sizeof(bench->pool_used)) == NULL);
    CHECK(piommu_domain_destroy(bench->domain) == 0);
    CHECK(piommu_instance_destroy(bench->instance) == 0);
    CHECK(piommu_context_destroy(bench->context) == 0);
    threaded_unit_destroy(bench->unit);
    threaded_host_destroy(bench->host);
    free(bench->memory);
    free(bench->pool);
}

/* ---- Drivers ---- */

struct driver {
    pthread_t thread;
    pthread_barrier_t *start;
    struct bench *bench;
    unsigned int number;
    uint64_t random;
};

static uint64_t pick(struct driver *driver, uint64_t limit)
{
    return pgtable_random(&driver->random) % limit;
}

/* The byte of memory that a device gets to. */
static uint8_t *through(struct bench *bench, unsigned int device, uint64_t address)
{
    uint64_t physical = 0;

    CHECK(threaded_unit_reaches(bench->unit, device, address, true, &physical));
    return pointer_to(bench, physical);
}

/* A buffer as the device has it, byte by byte: what it was given, and what it leaves there. */
static void use(struct driver *driver, unsigned int device, const struct piommu_segment *list,
                size_t count, const struct piommu_dma_segment *segments, const uint8_t *given)
{
    uint64_t done = 0; /* of a segment */
    uint8_t *byte = NULL;

    for (size_t i = 0; i < count; i++) {
        for (uint64_t k = 0; k < list[i].size; k++) {
            uint64_t address = segments->address + done;

            if (done == 0 || address % PAGE == 0) {
                byte = through(driver->bench, device, address);
            }
            CHECK(*byte == given[list[i].physical + k - MEMORY - driver->number * PAGES * PAGE]);
            *byte = (uint8_t) ~*byte;
            byte++;
            if (++done == segments->size) {
                segments++;
                done = 0;
            }
        }
    }
}

/* What a buffer of this driver was must not be found at addresses that it had. */
static void check_gone(struct driver *driver, unsigned int device,
                       const struct piommu_dma_segment *segments, size_t count)
{
    uint64_t own = MEMORY + driver->number * PAGES * PAGE;

    for (size_t i = 0; i < count && !driver->bench->options->is_lazy; i++) {
        for (uint64_t offset = 0; offset < segments[i].size; offset += PAGE) {
            uint64_t physical = 0;

            CHECK(!threaded_unit_reaches(driver->bench->unit, device, segments[i].address + offset,
                                         false, &physical) ||
                  physical < own || physical >= own + PAGES * PAGE);
        }
    }
}

/* Buffers one behind the other, now and then adjacent. */
static size_t choose_list(struct driver *driver, struct piommu_segment *list)
{
    uint64_t end = MEMORY + (driver->number + 1) * PAGES * PAGE;
    uint64_t at = MEMORY + driver->number * PAGES * PAGE + pick(driver, PAGE);
    size_t count = 1 + (size_t)pick(driver, LIST);

    if (pick(driver, 4) == 0) {
        at &= ~(uint64_t)(PAGE - 1);
    }
    for (size_t i = 0; i < count; i++) {
        list[i] = (struct piommu_segment){at, 1 + pick(driver, 2 * PAGE)};
        at += list[i].size + pick(driver, 2) * pick(driver, PAGE);
    }
    CHECK(at <= end);
    return count;
}

static int map_list(struct driver *driver, unsigned int device, const struct piommu_segment *list,
                    size_t count, struct piommu_dma_segment *segments, size_t *used)
{
    struct piommu_dma_device *dma = driver->bench->dma[device];

    if (count > 1) {
        return piommu_dma_map_sg(dma, list, count, PIOMMU_DMA_BIDIRECTIONAL, 0, segments, SEGMENTS,
                                 used);
    }
    *used = 1;
    segments[0].size = list[0].size;
    return piommu_dma_map_single(dma, list[0].physical, list[0].size, PIOMMU_DMA_BIDIRECTIONAL, 0,
                                 &segments[0].address);
}

static int unmap_list(struct driver *driver, unsigned int device, size_t count,
                      const struct piommu_dma_segment *segments, size_t used)
{
    struct piommu_dma_device *dma = driver->bench->dma[device];

    return count > 1 ? piommu_dma_unmap_sg(dma, segments, used, PIOMMU_DMA_BIDIRECTIONAL, 0)
                     : piommu_dma_unmap_single(dma, segments[0].address, segments[0].size,
                                               PIOMMU_DMA_BIDIRECTIONAL, 0);
}

static void use_buffers(struct driver *driver, unsigned int device)
{
    uint8_t *memory = driver->bench->memory + driver->number * PAGES * PAGE;
    uint8_t given[PAGES * PAGE];
    struct piommu_segment list[LIST];
    size_t count = choose_list(driver, list);
    struct piommu_dma_segment segments[SEGMENTS];
    size_t used = 0;
    int error;

    for (size_t i = 0; i < sizeof(given); i++) {
        given[i] = (uint8_t)(driver->random >> i % 8 * 8);
    }
    memcpy(memory, given, sizeof(given));
    error = map_list(driver, device, list, count, segments, &used);
    /* Others have the bounce pages or addresses, and give them back. */
    while (error == -PIOMMU_EAGAIN ||
           (driver->bench->options->is_narrow && error == -PIOMMU_ENOSPC)) {
        sched_yield();
        error = map_list(driver, device, list, count, segments, &used);
    }
    CHECK(error == 0);
    use(driver, device, list, count, segments, given);
    CHECK(unmap_list(driver, device, count, segments, used) == 0);
    check_gone(driver, device, segments, used);
    for (size_t i = 0; i < count; i++) {
        for (uint64_t k = 0; k < list[i].size; k++) {
            size_t index = (size_t)(list[i].physical + k - MEMORY) - driver->number * PAGES * PAGE;

            given[index] = (uint8_t)~given[index];
        }
    }
    CHECK(memcmp(memory, given, sizeof(given)) == 0);
}

static void use_coherent(struct driver *driver, unsigned int device)
{
    struct piommu_dma_device *dma = driver->bench->dma[device];
    uint64_t size = 1 + pick(driver, COHERENT * PAGE);
    uint64_t at = pick(driver, size);
    struct piommu_dma_buffer buffer;
    uint8_t *byte;
    int error;

    while ((error = piommu_dma_alloc(dma, size, &buffer)) == -PIOMMU_ENOSPC) {
        CHECK(driver->bench->options->is_narrow);
        sched_yield();
    }
    CHECK(error == 0);
    byte = (uint8_t *)buffer.memory + at;
    CHECK(*byte == 0);
    *byte = (uint8_t)(driver->number + 1);
    CHECK(*through(driver->bench, device, buffer.address + at) == driver->number + 1);
    CHECK(piommu_dma_free(dma, &buffer) == 0);
}

static void *drive(void *argument)
{
    struct driver *driver = argument;

    threaded_become(driver->number);
    pthread_barrier_wait(driver->start);
    for (unsigned int i = 0; i < ROUNDS; i++) {
        unsigned int device = driver->bench->options->is_bounced ? i % DEVICES : TRUSTED;

        if (i % 8 == 7) {
            use_coherent(driver, device);
        } else {
            use_buffers(driver, device);
        }
    }
    threaded_add(&driver->bench->ended, 1);
    return NULL;
}

static void *keep_house(void *argument)
{
    struct driver *driver = argument;
    struct bench *bench = driver->bench;

    threaded_become(driver->number);
    pthread_barrier_wait(driver->start);
    while (threaded_look(&bench->ended) != DRIVERS) {
        struct piommu_dma_statistics statistics;
        uint64_t next = 0;
        int error;

        CHECK(piommu_dma_space_poll(bench->space, &next) == 0);
        error = piommu_dma_space_flush(bench->space);
        CHECK(error == 0 || error == -PIOMMU_EAGAIN);
        piommu_dma_space_get_statistics(bench->space, &statistics);
        CHECK(statistics.stuck == 0);
        sched_yield();
    }
    return NULL;
}

static void check_end(struct bench *bench)
{
    struct piommu_dma_statistics statistics;

    CHECK(piommu_dma_space_flush(bench->space) == 0);
    piommu_dma_space_get_statistics(bench->space, &statistics);
    CHECK(statistics.waiting == 0 && statistics.stuck == 0 && statistics.bounce_pages_used == 0);
    CHECK(!bench->options->is_bounced || statistics.bounce_pages_most != 0);
}

static void run_space(void **state)
{
    struct driver drivers[THREADS];
    pthread_barrier_t start;
    struct bench bench;

    if (!DISJOINT_DOMAINS_EXIST) {
        skip();
    }
    open_bench(&bench, *state);
    pthread_barrier_init(&start, NULL, THREADS);
    for (unsigned int i = 0; i < THREADS; i++) {
        drivers[i] = (struct driver){
            .start = &start, .bench = &bench, .number = i, .random = seed_in_use() * 1000 + i};
        CHECK(pthread_create(&drivers[i].thread, NULL, i == HOUSEKEEPER ? keep_house : drive,
                             &drivers[i]) == 0);
    }
    for (unsigned int i = 0; i < THREADS; i++) {
        CHECK(pthread_join(drivers[i].thread, NULL) == 0);
    }
    pthread_barrier_destroy(&start);
    check_end(&bench);
    close_bench(&bench);
    pgtable_describe(NULL, NULL);
}

int main(void)
{
    static const struct options spaces[] = {
        {.name = "strict", .is_bounced = true},
        {.name = "strict, kept addresses", .has_cpus = true, .is_bounced = true},
        {.name = "strict, debug", .is_debug = true, .is_bounced = true},
        {.name = "lazy", .is_lazy = true},
        {.name = "lazy, kept addresses", .is_lazy = true, .has_cpus = true},
        {.name = "strict, few addresses", .is_narrow = true, .is_bounced = true},
        {.name = "lazy, few addresses", .is_lazy = true, .has_cpus = true, .is_narrow = true},
        {.name = "lazy, debug", .is_lazy = true, .has_cpus = true, .is_debug = true},
    };
    struct CMUnitTest tests[sizeof(spaces) / sizeof(spaces[0])] = {0};

    printf("PIOMMU_RANDOM_SEED=%llu\n", (unsigned long long)seed_in_use());
    for (size_t i = 0; i < sizeof(spaces) / sizeof(spaces[0]); i++) {
        tests[i] = (struct CMUnitTest){.name = spaces[i].name,
                                       .test_func = run_space,
                                       .initial_state = (void *)(uintptr_t)&spaces[i]};
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
