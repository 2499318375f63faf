/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Threads that post to domains over two instances, and others that service these: they block
 * devices, too, which the posters attach again. Worth most under the thread sanitizer: nothing but
 * the library, and one lock in each unit as a backend has it, puts the threads in an order.
 */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <piommu/piommu.h>

#include "poster.h"
#include "threaded_unit.h"

#define UNITS   2u
#define POSTERS 2u
#define ROUNDS  300u
#define ROOM    4u /* requests that a unit takes */
#define PLACES  32u
#define BASE    0x100000ull
#define MEMORY  0x80000000ull
#define PAGE    POSTER_PAGE
#define RW      (PIOMMU_PROT_READ | PIOMMU_PROT_WRITE)

/* ---- Units that take posts ---- */

/* Where an endpoint is. */
struct place {
    const void *endpoint;
    const void *domain; /* NULL: nowhere */
};

struct batch {
    struct piommu_completion *completion;
    const void *domain;
    bool maps;
};

/* What is posted is answered in polls, now and then, in another order; the effect is left out. */
struct side {
    struct threaded_unit *unit;
    struct piommu_backend backend;
    struct piommu_instance *instance;
    pthread_mutex_t mutex; /* over what follows */
    uint32_t chance;
    struct place places[PLACES];
    struct batch batches[ROOM];
    unsigned int count;
    unsigned int answered; /* so far */
};

static struct side *sides; /* on the heap: compilers read both of two static ones at once */

static struct side *side_of(const void *handle)
{
    return handle == sides[0].unit ? &sides[0] : &sides[1];
}

static const struct piommu_backend *inner_of(const struct side *side)
{
    return threaded_unit_backend(side->unit);
}

static uint32_t pick(struct side *side, uint32_t limit)
{
    side->chance = side->chance * 1664525u + 1013904223u;
    return (side->chance >> 16) % limit;
}

/* A call that no post of the domain may run beside. The lock is held. */
static void check_quiet(const struct side *side, const void *domain)
{
    for (unsigned int i = 0; i < side->count; i++) {
        CHECK(side->batches[i].domain != domain);
    }
}

static struct place *place_of(struct side *side, const void *endpoint)
{
    unsigned int i = 0;

    while (side->places[i].endpoint != NULL && side->places[i].endpoint != endpoint) {
        i++;
        CHECK(i < PLACES);
    }
    side->places[i].endpoint = endpoint;
    return &side->places[i];
}

static void begin_alone(struct side *side, const void *domain)
{
    pthread_mutex_lock(&side->mutex);
    check_quiet(side, domain);
    pthread_mutex_unlock(&side->mutex);
}

static void move(struct side *side, const void *endpoint, const void *domain)
{
    pthread_mutex_lock(&side->mutex);
    check_quiet(side, place_of(side, endpoint)->domain);
    check_quiet(side, domain);
    place_of(side, endpoint)->domain = domain;
    pthread_mutex_unlock(&side->mutex);
}

static int attach(void *handle, void *endpoint, void *domain)
{
    struct side *side = side_of(handle);

    move(side, endpoint, domain);
    return inner_of(side)->attach(handle, endpoint, domain);
}

static int block(void *handle, void *endpoint)
{
    struct side *side = side_of(handle);

    move(side, endpoint, NULL);
    return inner_of(side)->block(handle, endpoint);
}

static int map(void *handle, void *domain, struct piommu_mapping_source *source)
{
    struct side *side = side_of(handle);

    begin_alone(side, domain);
    return inner_of(side)->map(handle, domain, source);
}

static int unmap(void *handle, void *domain, struct piommu_range_source *source)
{
    struct side *side = side_of(handle);

    begin_alone(side, domain);
    return inner_of(side)->unmap(handle, domain, source);
}

static bool has_endpoints(const struct side *side, const void *domain)
{
    unsigned int i = 0;

    while (i < PLACES && side->places[i].domain != domain) {
        i++;
    }
    return i < PLACES;
}

/* The lock is held. */
static void add_batch(struct side *side, const void *domain, struct piommu_completion *completion,
                      bool maps)
{
    CHECK(has_endpoints(side, domain));
    completion->answer = 0;
    side->batches[side->count++] =
        (struct batch){.completion = completion, .domain = domain, .maps = maps};
}

static int post_map(void *handle, void *domain, struct piommu_mapping_source *source,
                    struct piommu_completion *completion)
{
    struct side *side = side_of(handle);
    struct piommu_backend_mapping mapping;
    int sent = -PIOMMU_EAGAIN;

    pthread_mutex_lock(&side->mutex);
    if (side->count < ROOM) {
        for (sent = 0; source->next(source, &mapping);) {
            sent++;
        }
        add_batch(side, domain, completion, true);
    }
    pthread_mutex_unlock(&side->mutex);
    return sent;
}

static int post_unmap(void *handle, void *domain, struct piommu_range_source *source,
                      struct piommu_completion *completion)
{
    struct side *side = side_of(handle);
    struct piommu_range range;
    int sent = -PIOMMU_EAGAIN;

    pthread_mutex_lock(&side->mutex);
    if (side->count < ROOM) {
        for (sent = 0; source->next(source, &range);) {
            sent++;
        }
        add_batch(side, domain, completion, false);
    }
    pthread_mutex_unlock(&side->mutex);
    return sent;
}

static int poll(void *handle)
{
    struct side *side = side_of(handle);
    struct piommu_completion *answered[ROOM];
    unsigned int count = 0;

    pthread_mutex_lock(&side->mutex);
    for (unsigned int i = side->count; i-- > 0;) {
        const struct batch *batch = &side->batches[i];

        if (pick(side, 3) == 0) {
            continue;
        }
        if (batch->maps && pick(side, 8) == 0) {
            batch->completion->answer = -PIOMMU_EIO;
        }
        answered[count++] = batch->completion;
        side->answered++;
        side->batches[i] = side->batches[--side->count];
    }
    pthread_mutex_unlock(&side->mutex);
    for (unsigned int i = 0; i < count; i++) {
        piommu_backend_report_answer(side->instance, answered[i]);
    }
    return 0;
}

static void open_side(struct side *side, struct threaded_host *host, struct piommu_context *context)
{
    const struct threaded_unit_options options = {.kind = PIOMMU_BACKEND_REQUESTS,
                                                  .block_now = THREADED_NO_BLOCK_NOW};
    const struct piommu_instance_config config = {.name = "side", .timeout = 600 * 1000000000ull};

    side->chance = 1 + (uint32_t)(side - sides);
    side->unit = threaded_unit_create(host, &options);
    pthread_mutex_init(&side->mutex, NULL);
    side->backend = *inner_of(side);
    side->backend.attach = attach;
    side->backend.block = block;
    side->backend.map = map;
    side->backend.unmap = unmap;
    side->backend.post_map = post_map;
    side->backend.post_unmap = post_unmap;
    side->backend.poll = poll;
    CHECK(piommu_instance_create(context, &side->backend, &side->unit, &config, &side->instance) ==
          0);
}

/* ---- Threads ---- */

static pthread_mutex_t registration = PTHREAD_MUTEX_INITIALIZER;
static atomic_bool posters_done;

struct worker {
    unsigned int number;
    struct poster poster;
    struct piommu_device *devices[UNITS];
    const char *complaint;
};

static enum piommu_fault_answer block_it(void *cookie, const struct piommu_fault *fault)
{
    (void)cookie;
    (void)fault;
    return PIOMMU_FAULT_BLOCK;
}

static uint32_t id_of(const struct worker *worker)
{
    return worker->number;
}

static const char *attach_all(const struct worker *worker)
{
    int error = 0;

    pthread_mutex_lock(&registration);
    for (unsigned int i = 0; i < UNITS && error == 0; i++) {
        error = piommu_device_attach(worker->devices[i], worker->poster.domain);
    }
    pthread_mutex_unlock(&registration);
    return error == 0 ? NULL : "an attach failed";
}

/* A device is on its way out while posts and calls that wait go on; next time it comes back. */
static const char *disturb(struct poster *poster, unsigned long turn)
{
    struct worker *worker = poster->cookie;
    uint64_t iova = poster->base + 0x20000;
    struct piommu_gather gather;

    if (turn % 2 == 0) {
        return attach_all(worker);
    }
    threaded_unit_provoke(sides[turn / 2 % UNITS].unit, id_of(worker));
    piommu_gather_init(&gather);
    if (turn % 4 == 1 && (piommu_domain_map(poster->domain, iova, MEMORY, PAGE, RW) != 0 ||
                          piommu_domain_unmap(poster->domain, iova, PAGE, &gather, NULL) != 0 ||
                          piommu_domain_sync(poster->domain, &gather) != 0)) {
        return "a call that waits failed";
    }
    return NULL;
}

static void *poster_thread(void *argument)
{
    struct worker *worker = argument;

    threaded_become(worker->number);
    worker->complaint = poster_run(&worker->poster);
    return NULL;
}

static void *servicing_thread(void *argument)
{
    struct side *side = argument;
    bool failed = false;

    threaded_become(POSTERS + (unsigned int)(side - sides));
    while (!atomic_load(&posters_done)) {
        failed = piommu_instance_service(side->instance, 4) < 0 || failed;
        (void)sched_yield();
    }
    return failed ? (void *)(uintptr_t) "servicing failed" : NULL;
}

static void open_worker(struct worker *worker, unsigned int number, struct piommu_context *context)
{
    struct piommu_instance *instances[UNITS] = {sides[0].instance, sides[1].instance};
    const struct piommu_domain_config config = {
        .type = PIOMMU_DOMAIN_PAGING, .instances = instances, .instance_count = UNITS};

    memset(worker, 0, sizeof(*worker));
    worker->number = number;
    worker->poster = (struct poster){.base = BASE,
                                     .physical = MEMORY,
                                     .rounds = ROUNDS,
                                     .refusal = -PIOMMU_EIO,
                                     .beside = disturb,
                                     .cookie = worker};
    CHECK(piommu_domain_create(&config, &worker->poster.domain) == 0);
    for (unsigned int i = 0; i < UNITS; i++) {
        const struct piommu_device_id at = {.instance = sides[i].instance, .id = id_of(worker)};
        const struct piommu_device_config device = {.name = "device", .ids = &at, .id_count = 1};

        threaded_unit_permit(sides[i].unit, id_of(worker), true);
        CHECK(piommu_device_add(context, &device, &worker->devices[i]) == 0);
        CHECK(piommu_device_attach(worker->devices[i], worker->poster.domain) == 0);
    }
}

static void close_worker(struct worker *worker)
{
    for (unsigned int i = 0; i < UNITS; i++) {
        CHECK(piommu_device_detach(worker->devices[i]) == 0);
        CHECK(piommu_device_remove(worker->devices[i]) == 0);
    }
    CHECK(piommu_domain_destroy(worker->poster.domain) == 0);
}

static void run(struct worker *workers)
{
    pthread_t servicing[UNITS];
    pthread_t posting[POSTERS];

    atomic_store(&posters_done, false);
    for (unsigned int i = 0; i < UNITS; i++) {
        CHECK(pthread_create(&servicing[i], NULL, servicing_thread, &sides[i]) == 0);
    }
    for (unsigned int i = 0; i < POSTERS; i++) {
        CHECK(pthread_create(&posting[i], NULL, poster_thread, &workers[i]) == 0);
    }
    for (unsigned int i = 0; i < POSTERS; i++) {
        CHECK(pthread_join(posting[i], NULL) == 0);
    }
    atomic_store(&posters_done, true);
    for (unsigned int i = 0; i < UNITS; i++) {
        void *complaint;

        CHECK(pthread_join(servicing[i], &complaint) == 0);
        if (complaint != NULL) {
            fail_msg("%s", (const char *)complaint);
        }
    }
}

static void test_posters_run_beside_servicing_that_blocks_their_devices(void **state)
{
    const struct piommu_context_config config = {.fault = block_it};
    struct threaded_host *host = threaded_host_create();
    struct worker workers[POSTERS];
    struct piommu_context *context;

    (void)state;
    threaded_become(THREADED_MAIN);
    sides = calloc(UNITS, sizeof(*sides));
    assert_non_null(sides);
    CHECK(piommu_context_create(threaded_host_shim(host), &config, &context) == 0);
    for (unsigned int i = 0; i < UNITS; i++) {
        open_side(&sides[i], host, context);
    }
    for (unsigned int i = 0; i < POSTERS; i++) {
        open_worker(&workers[i], i, context);
    }
    run(workers);
    for (unsigned int i = 0; i < POSTERS; i++) {
        if (workers[i].complaint != NULL) {
            fail_msg("%s", workers[i].complaint);
        }
        close_worker(&workers[i]);
    }
    /* Before the first fault all devices are where posts are told. */
    assert_true(sides[0].answered != 0);
    for (unsigned int i = 0; i < UNITS; i++) {
        assert_int_equal(sides[i].count, 0);
        CHECK(piommu_instance_destroy(sides[i].instance) == 0);
    }
    CHECK(piommu_context_destroy(context) == 0);
    for (unsigned int i = 0; i < UNITS; i++) {
        threaded_unit_destroy(sides[i].unit);
        pthread_mutex_destroy(&sides[i].mutex);
    }
    threaded_host_destroy(host);
    free(sides);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_posters_run_beside_servicing_that_blocks_their_devices),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
